//! The second guard: what meters show at the nodes of a site, and what is taken from charging for it.
//!
//! Decides where less is available than limits leave, because more is drawn there than a breaker bears ([`crate::domain::overload`]).
//! It only ever takes down what is available, so that planner, check and roll-out lower everyone below by the way they always do; that
//! a meter shows little makes no room. A function of the journal and the time alone.

use crate::domain::alarm::{AlarmKind, Condition, MAX_NAMED_EVSES, Subject};
use crate::domain::conversion::{Load, Phase};
use crate::domain::ids::NodeId;
use crate::domain::limits::{Capacity, NodeLimit};
use crate::domain::overload::{Gauge, NodeReading, SILENT_AFTER, Terms};
use crate::domain::site::{Node, Site};
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, Seconds, Watts};
use std::collections::BTreeMap;

/// Lines L1, L2, L3, and the total.
pub const QUANTITIES: usize = 4;
const TOTAL: usize = 3;
/// With the minute that an alarm of it takes, what [`SILENT_AFTER`] is.
const QUIET_AFTER: Seconds = Seconds::from_mins(4);

/// Of each node with a meter, what its readings said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overloads {
    watches: BTreeMap<NodeId, NodeWatch>,
}

/// What the readings of one node said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeWatch {
    pub last_at: Instant,
    /// Currents of L1, L2, L3 in tenths of an ampere, and watts in total.
    pub gauges: [Gauge; QUANTITIES],
}

/// What a meter shows at a node, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeMeterStatus {
    pub at: Instant,
    pub lines: [Option<DeciAmps>; 3],
    pub total: Option<Watts>,
    /// How much of the overload that is tolerated is used up, in thousandths: the most of any line and the total.
    pub used_permille: i64,
    /// Since when charging below is lowered for it.
    pub sheds_since: Option<Instant>,
}

impl Overloads {
    /// What was kept of them.
    pub fn new(watches: impl IntoIterator<Item = (NodeId, NodeWatch)>) -> Self {
        Self {
            watches: watches.into_iter().collect(),
        }
    }

    pub fn watches(&self) -> impl Iterator<Item = (&NodeId, &NodeWatch)> {
        self.watches.iter()
    }

    /// True if it is newer than the last of its node.
    pub fn is_news(&self, reading: &NodeReading) -> bool {
        let watch = self.watches.get(&reading.node);
        watch.is_none_or(|watch| watch.last_at < reading.at)
    }

    /// A reading of `node`, while `limit` is in force there.
    pub fn read(&mut self, reading: &NodeReading, limit: NodeLimit, terms: &Terms<'_>) {
        if !self.is_news(reading) {
            return;
        }
        let watch = self.watches.entry(reading.node.clone()).or_insert_with(|| NodeWatch {
            last_at: reading.at,
            gauges: Default::default(),
        });
        watch.last_at = reading.at;
        let lines = reading.currents.map(|lines| lines.map(DeciAmps::deciamps));
        let said = [0, 1, 2].map(|line| lines.map(|lines| lines[line]));
        let line = limit.line.map(DeciAmps::deciamps);
        let limits = [line, line, line, limit.total.map(Watts::watts)];
        let said = said.into_iter().chain([reading.power.map(Watts::watts)]);
        for ((gauge, said), limit) in watch.gauges.iter_mut().zip(said).zip(limits) {
            if let Some(load) = said {
                gauge.read(reading.at, load, limit, terms);
            }
        }
    }

    /// Forgets nodes that are gone.
    pub fn keep(&mut self, is_there: impl Fn(&NodeId) -> bool) {
        self.watches.retain(|node, _| is_there(node));
    }

    /// The places where charging is lowered at `now`, each with the lines and the total for which it is.
    pub fn sheds(&self, site: &Site, now: Instant) -> Vec<(usize, [bool; QUANTITIES])> {
        let of_watch = |(node, watch): (&NodeId, &NodeWatch)| {
            let place = site.place_of_node(node)?;
            let terms = terms(site, &site.spec().nodes[place]);
            let sheds = (watch.gauges)
                .each_ref()
                .map(|gauge| gauge.sheds_from(&terms).is_some_and(|since| since <= now));
            sheds.contains(&true).then_some((place, sheds))
        };
        self.watches.iter().filter_map(of_watch).collect()
    }

    /// Takes down what is available from `now` on, where charging is lowered, to what EVSEs draw there without a profile.
    pub fn take_down(&self, site: &Site, available: &mut [Timeline<Capacity>], now: Instant) {
        for (place, sheds) in self.sheds(site, now) {
            let below = site
                .evses()
                .filter(|(at, _)| site.path_to_root(*at).any(|above| above == place));
            let floor: Load = below.map(|(_, evse)| evse.default_load()).sum();
            let lines = floor.line_currents();
            let most = Capacity {
                line: [0, 1, 2].map(|line| sheds[line].then_some(lines[line])),
                total: sheds[TOTAL].then_some(floor.total),
                ..Capacity::UNLIMITED
            };
            available[place] = available[place].map(|capacity| capacity.tighter(&most));
        }
    }

    /// When time alone next has charging lowered somewhere.
    pub fn next_shed(&self, site: &Site, now: Instant) -> Option<Instant> {
        let starts = self.watches.iter().flat_map(|(node, watch)| {
            let place = site.place_of_node(node);
            let terms = place.map(|place| terms(site, &site.spec().nodes[place]));
            let gauges = watch.gauges.iter();
            gauges.filter_map(move |gauge| gauge.sheds_from(terms.as_ref()?))
        });
        starts.filter(|start| *start > now).min()
    }

    /// What operators are to be told of at `now`.
    pub fn conditions(&self, site: &Site, now: Instant) -> Vec<Condition> {
        let condition = |kind, place: usize, what: String| Condition {
            kind,
            subject: Subject::Node(site.places()[place].id.clone()),
            what,
            evses: Vec::new(),
            until: None,
        };
        let shed = self.sheds(site, now).into_iter().map(|(place, sheds)| {
            let watch = &self.watches[&site.places()[place].id];
            let mut told = condition(AlarmKind::OverloadMeasured, place, watch.words(&sheds, now));
            let below = site
                .evses()
                .filter(|(at, _)| site.path_to_root(*at).any(|above| above == place));
            told.evses = below.take(MAX_NAMED_EVSES).map(|(_, evse)| evse.id.clone()).collect();
            told
        });
        let metered = site
            .spec()
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.meter.is_there);
        let silent = metered.filter_map(|(place, node)| {
            let what = match self.watches.get(&node.id) {
                None => "it never said anything".to_owned(),
                Some(watch) if watch.last_at + QUIET_AFTER <= now => "nothing new came from it".to_owned(),
                Some(_) => return None,
            };
            Some(condition(AlarmKind::NodeMeterSilent, place, what))
        });
        shed.chain(silent).collect()
    }

    /// When time alone next changes what is to be told.
    pub fn next_change(&self, site: &Site, now: Instant) -> Option<Instant> {
        let quiet = self
            .watches
            .values()
            .flat_map(|watch| [watch.last_at + QUIET_AFTER, watch.last_at + SILENT_AFTER]);
        quiet.chain(self.next_shed(site, now)).filter(|at| *at > now).min()
    }

    /// What the meter of `node` shows; `None` where nothing came from it.
    pub fn status(&self, site: &Site, node: &NodeId, now: Instant) -> Option<NodeMeterStatus> {
        let watch = self.watches.get(node)?;
        let place = site.place_of_node(node)?;
        let terms = terms(site, &site.spec().nodes[place]);
        let last = (watch.gauges)
            .each_ref()
            .map(|gauge| gauge.last.filter(|(at, _)| *at == watch.last_at));
        let since = watch.gauges.iter().filter_map(|gauge| gauge.sheds_from(&terms));
        Some(NodeMeterStatus {
            at: watch.last_at,
            lines: [0, 1, 2].map(|line| last[line].map(|(_, load)| DeciAmps::from_deciamps(load))),
            total: last[TOTAL].map(|(_, load)| Watts::from_watts(load)),
            used_permille: watch.gauges.iter().map(Gauge::used_permille).max().unwrap_or_default(),
            sheds_since: since.filter(|since| *since <= now).min(),
        })
    }
}

/// By what the account of a node is kept.
pub fn terms<'a>(site: &'a Site, node: &'a Node) -> Terms<'a> {
    Terms::new(&node.meter.curve, site.spec().clock_skew)
}

impl NodeWatch {
    /// The most that was read since it is shed for, by line and total.
    fn words(&self, sheds: &[bool; QUANTITIES], now: Instant) -> String {
        let mut parts = Vec::new();
        for (index, gauge) in self.gauges.iter().enumerate().filter(|(index, _)| sheds[*index]) {
            let peak = gauge
                .shed
                .map(|shed| shed.peak)
                .or(gauge.last.map(|(_, load)| load))
                .unwrap_or_default();
            // Where there is no limit any more, none is broken by now.
            let limit = gauge.limit.unwrap_or(peak);
            parts.push(match Phase::ALL.get(index) {
                Some(phase) => format!("{phase:?} carried {peak} dA of {limit} dA"),
                None => format!("{peak} W of {limit} W in total"),
            });
        }
        if self.last_at + SILENT_AFTER <= now {
            parts.push("its meter is silent".to_owned());
        }
        parts.join(", ")
    }
}
