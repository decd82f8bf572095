//! What is the matter with a site at one moment.
//!
//! Decides which conditions hold, from the state and the roll-out's ledger, and when time alone changes that. How long one has to
//! last to be an alarm is decided in [`super`].

use super::super::state::{Described, SiteState};
use crate::domain::alarm::{AlarmKind, Condition, MAX_NAMED_EVSES, Subject};
use crate::domain::conversion::Load;
use crate::domain::ids::EvseId;
use crate::domain::limits::{Capacity, Excess};
use crate::domain::session::{MeterSample, Override};
use crate::domain::site::{Evse, Mode};
use crate::domain::timeline::Timeline;
use crate::rollout::Trust;
use crate::units::Instant;

/// What holds at a moment.
#[derive(Debug)]
pub struct Judged {
    pub holding: Vec<Condition>,
    /// When time alone next changes it.
    pub next_change: Option<Instant>,
}

/// `available` is what each place has for charging.
pub fn judge(state: &SiteState, available: &[Timeline<Capacity>], now: Instant) -> Judged {
    let mut judged = Judged {
        holding: state.alarms.meters.conditions(now).collect(),
        next_change: None,
    };
    // Whatever the mode: a fuse does not ask for it.
    if let Some(site) = state.site() {
        judged.holding.extend(state.overloads.conditions(site, now));
    }
    // In any other mode nothing is sent, and whoever charges there is not ours to mind.
    if let Some(described) = &state.described
        && described.site.spec().mode == Mode::Control
    {
        let site = Judging {
            state,
            described,
            available,
            now,
        };
        judged.holding.extend(site.gateway());
        judged.holding.extend(site.disobedience());
        site.places(&mut judged);
        let expiry = described.ledger.next_expiry(now);
        judged.next_change = judged.next_change.into_iter().chain(expiry).min();
    }
    judged
}

struct Judging<'a> {
    state: &'a SiteState,
    described: &'a Described,
    available: &'a [Timeline<Capacity>],
    now: Instant,
}

/// One EVSE where a place may carry too much.
struct Share<'a> {
    evse: &'a EvseId,
    place: usize,
    /// What it may be following.
    worst: Load,
    /// What it takes even if it is told to stop.
    floor: Load,
    /// What the newest command lets it draw, whatever became of that.
    told: Load,
}

impl Judging<'_> {
    fn gateway(&self) -> Option<Condition> {
        let gateway = self.described.site.spec().gateway.clone()?;
        let ledger = &self.described.ledger;
        (!ledger.is_linked()).then(|| Condition {
            kind: AlarmKind::GatewaySilent,
            subject: Subject::Gateway(gateway),
            what: if ledger.was_linked() {
                "its stream ended".to_owned()
            } else {
                "it never said hello".to_owned()
            },
            evses: Vec::new(),
            until: None,
        })
    }

    fn disobedience(&self) -> impl Iterator<Item = Condition> {
        let ledger = &self.described.ledger;
        let evses = self.described.site.evses().map(|(_, evse)| &evse.id);
        evses.filter_map(|evse| {
            let sample = ledger.disobeyed(evse)?;
            Some(Condition {
                kind: AlarmKind::EvseDisobeys,
                subject: Subject::Evse(evse.clone()),
                what: format!("its meter showed {}", draw(sample)),
                evses: Vec::new(),
                until: None,
            })
        })
    }

    fn places(&self, judged: &mut Judged) {
        // Few sites are ever above anywhere, so the EVSEs are looked at only then.
        let mut shares: Option<Vec<Share<'_>>> = None;
        // Most places are stations without a limit of their own.
        let is_unlimited = |available: &Timeline<Capacity>| {
            let mut ever = available.points().iter();
            ever.all(|(_, capacity)| *capacity == Capacity::UNLIMITED)
        };
        let places = self.available.iter().enumerate();
        for (place, available) in places.filter(|(_, available)| !is_unlimited(available)) {
            let worst = self.described.ledger.worst_case(place, self.now);
            let excess = worst
                .zip(available, |load, available| available.excess(load))
                .since(self.now);
            let next = excess.points().get(1).map(|(change, _)| *change);
            judged.next_change = judged.next_change.into_iter().chain(next).min();
            if let Some(above) = excess.at(self.now) {
                let shares = shares.get_or_insert_with(|| self.shares());
                judged.holding.extend(self.at_place(place, above, &excess, shares));
            }
        }
    }

    /// What holds at a place where EVSEs may be following more than it may carry.
    fn at_place(
        &self,
        place: usize,
        above: &Excess,
        excess: &Timeline<Option<Excess>>,
        shares: &[Share<'_>],
    ) -> Vec<Condition> {
        let site = &self.described.site;
        let mut below: Vec<&Share<'_>> = (shares.iter())
            .filter(|share| site.path_to_root(share.place).any(|above| above == place))
            .collect();
        below.sort_by_key(|share| (-(share.worst.total - share.floor.total).watts(), share.evse));
        let available = self.available[place].at(self.now);
        let condition = |kind, what: String, is_meant: &dyn Fn(&Share<'_>) -> bool, until| Condition {
            kind,
            subject: Subject::Node(site.places()[place].id.clone()),
            what,
            evses: named(below.iter().filter(|share| is_meant(share))),
            until,
        };
        let over = excess
            .points()
            .iter()
            .find(|(at, excess)| *at > self.now && excess.is_none());
        let mut holding = vec![condition(
            AlarmKind::AboveAvailable,
            above.to_string(),
            &|share| share.worst != share.floor,
            over.map(|(at, _)| *at),
        )];
        let floor: Load = below.iter().map(|share| share.floor).sum();
        if let Some(unmet) = available.excess(&floor) {
            let what = match self.state.not_controlled_because(self.now) {
                Some(_) => format!("{unmet}; nothing is sent to the site until it fits"),
                None => unmet.to_string(),
            };
            holding.push(condition(
                AlarmKind::LimitCannotBeMet,
                what,
                &|share| share.floor != Load::ZERO,
                None,
            ));
        }
        let can_be_told = |share: &Share<'_>| share.told.max(share.floor) != share.floor;
        let told: Load = below.iter().map(|share| share.told).sum();
        if let Some(unsent) = available
            .excess(&told)
            .filter(|_| below.iter().any(|share| can_be_told(share)))
        {
            holding.push(condition(
                AlarmKind::DecreasesUnsent,
                unsent.to_string(),
                &can_be_told,
                None,
            ));
        }
        holding
    }

    fn shares(&self) -> Vec<Share<'_>> {
        let evses = self.described.site.evses();
        evses.map(|(place, evse)| self.share(place, evse)).collect()
    }

    fn share<'b>(&self, place: usize, evse: &'b Evse) -> Share<'b> {
        let ledger = &self.described.ledger;
        let worst = *ledger.held(&evse.id, self.now).at(self.now);
        let session = self.state.session_on(&evse.id);
        let told = session.and_then(|session| ledger.told_now(&evse.id, &session.spec.id, self.now));
        let is_handed_back = session.is_some_and(|session| session.overridden == Override::HandBack);
        let floor = match told {
            _ if ledger.trust(&evse.id) == Trust::Disobeys => worst,
            // An operator left it to the station.
            Some(told) if is_handed_back => told.max(evse.default_load()),
            _ => evse.default_load(),
        };
        Share {
            evse: &evse.id,
            place,
            worst,
            floor,
            told: told.map_or(floor, |told| told.max(floor)),
        }
    }
}

fn named<'a, 'b: 'a>(shares: impl Iterator<Item = &'a &'a Share<'b>>) -> Vec<EvseId> {
    shares.take(MAX_NAMED_EVSES).map(|share| share.evse.clone()).collect()
}

fn draw(sample: &MeterSample) -> String {
    match (sample.currents, sample.power) {
        (Some([one, two, three]), _) => format!("{one}, {two} and {three}"),
        (None, Some(power)) => power.to_string(),
        (None, None) => "more".to_owned(),
    }
}
