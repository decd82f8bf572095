//! What a site may carry, second by second, told apart from everything that the service believes.
//!
//! Decides what counts as too much: more than the limits that the service has acknowledged, and more than what nothing could take
//! back when a limit came down. That excuse is made of what stations follow and of what was sent to them, never of a ledger, and never
//! more than what was allowed before.

use crate::domain::conversion::Load;
use crate::domain::ids::GridLimitId;
use crate::domain::limits::{GridLimit, LimitWindow};
use crate::domain::site::SiteSpec;
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, Watts};
use std::collections::BTreeMap;

/// In each of the three lines, in total, of what may flow in a line alone and of two lines against each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    line: [i64; 3],
    total: i64,
    unbalance: [i64; 3],
    difference: [i64; 3],
}

impl Bound {
    pub const NOTHING: Self = Self {
        line: [i64::MIN; 3],
        total: i64::MIN,
        unbalance: [i64::MIN; 3],
        difference: [i64::MIN; 3],
    };

    pub fn of_load(load: &Load) -> Self {
        Self {
            line: load.line_currents().map(DeciAmps::deciamps),
            total: load.total.watts(),
            unbalance: load.uneven.map(DeciAmps::deciamps),
            difference: load.line_differences().map(DeciAmps::deciamps),
        }
    }

    fn join(self, other: Self, choose: fn(i64, i64) -> i64) -> Self {
        let each = |one: [i64; 3], other: [i64; 3]| [0, 1, 2].map(|index| choose(one[index], other[index]));
        Self {
            line: each(self.line, other.line),
            total: choose(self.total, other.total),
            unbalance: each(self.unbalance, other.unbalance),
            difference: each(self.difference, other.difference),
        }
    }

    fn max(self, other: Self) -> Self {
        self.join(other, i64::max)
    }

    fn min(self, other: Self) -> Self {
        self.join(other, i64::min)
    }
}

/// What the back end says that the site may draw.
#[derive(Clone, Debug)]
pub struct Limits {
    pub spec: SiteSpec,
    pub cuts: BTreeMap<GridLimitId, GridLimit>,
}

impl Limits {
    /// For EVSEs, at each place: nodes, then stations.
    pub fn bounds(&self) -> Vec<Timeline<Bound>> {
        let nodes = self.spec.nodes.iter().enumerate().map(|(index, node)| {
            let below = self.spec.nodes.iter().enumerate().filter(|(other, node)| {
                // The first node is above all others, and there are no more levels.
                *other == index || (index == 0 && node.parent.is_some())
            });
            let (mut base_line, mut base_total) = (0, 0);
            for (_, node) in below {
                base_line += node.base_load_line.deciamps();
                base_total += node.base_load_total.watts();
            }
            let reserve = if index == 0 {
                i64::from(self.spec.reserve_permille)
            } else {
                0
            };
            let usable = |limit: i64| limit - (limit * reserve + 999) / 1000;
            let left = |limit: Option<i64>, base: i64| limit.map_or(i64::MAX, |limit| usable(limit) - base);
            let primary = node.fixed.primary;
            let at = |instant: Instant| {
                let mut line = node.limit.line.map(DeciAmps::deciamps);
                let mut total = node.limit.total.map(Watts::watts);
                for cut in self
                    .cuts
                    .values()
                    .filter(|cut| cut.node == node.id && applies(cut, instant))
                {
                    let least = |had: Option<i64>, new: Option<i64>| match (had, new) {
                        (Some(had), Some(new)) => Some(had.min(new)),
                        (had, new) => had.or(new),
                    };
                    line = least(line, cut.limit.line.map(DeciAmps::deciamps));
                    total = least(total, cut.limit.total.map(Watts::watts));
                }
                Bound {
                    line: [left(line, base_line); 3],
                    total: left(total, base_total),
                    unbalance: [left(node.fixed.unbalance.map(DeciAmps::deciamps), 0); 3],
                    difference: [left(primary.map(|limit| limit.line_difference().deciamps()), 2 * base_line); 3],
                }
            };
            let mut starts = vec![Instant::FAR_PAST];
            for cut in self.cuts.values() {
                if let LimitWindow::Once { from, until } = cut.when {
                    starts.extend([Some(from), until].into_iter().flatten());
                }
            }
            starts.sort_unstable();
            starts.dedup();
            Timeline::from_points(starts.into_iter().map(|start| (start, at(start))))
        });
        let anything = Bound {
            line: [i64::MAX; 3],
            total: i64::MAX,
            unbalance: [i64::MAX; 3],
            difference: [i64::MAX; 3],
        };
        let stations = self.spec.stations.iter().map(|_| Timeline::constant(anything));
        nodes.chain(stations).collect()
    }
}

fn applies(cut: &GridLimit, at: Instant) -> bool {
    match cut.when {
        LimitWindow::Once { from, until } => from <= at && until.is_none_or(|until| at < until),
        LimitWindow::Weekly { .. } => unreachable!("no such limit is set here"),
    }
}

/// What is too much.
pub struct Truth {
    limits: Vec<Timeline<Bound>>,
    /// What could not be taken back when a limit came down.
    excuse: Vec<Timeline<Bound>>,
    /// What is drawn by default, which nobody can shed.
    floor: Vec<Bound>,
}

impl Truth {
    pub fn new(limits: Vec<Timeline<Bound>>, floor: Vec<Bound>) -> Self {
        let excuse = vec![Timeline::constant(Bound::NOTHING); limits.len()];
        Self { limits, excuse, floor }
    }

    /// A change was asked for, and may or may not be known from here on.
    pub fn loosen(&mut self, limits: &[Timeline<Bound>]) {
        for (had, new) in self.limits.iter_mut().zip(limits) {
            *had = had.zip(new, |had, new| had.max(*new));
        }
    }

    /// A change is known from here on, and nothing can keep stations from drawing what is `unavoidable` for a while.
    pub fn tighten(&mut self, limits: Vec<Timeline<Bound>>, unavoidable: &[Timeline<Bound>], now: Instant) {
        for (place, new) in limits.into_iter().enumerate() {
            let allowed = self.limits[place].zip(&self.excuse[place], |limit, excuse| limit.max(*excuse));
            let excuse = allowed.zip(&unavoidable[place], |allowed, drawn| allowed.min(*drawn));
            self.excuse[place] = excuse.since(now);
            self.limits[place] = new;
        }
    }

    /// What is wrong with `loads`, one for each place, at `now`.
    pub fn excess(&self, loads: &[Load], now: Instant) -> Option<String> {
        loads.iter().enumerate().find_map(|(place, load)| {
            if *load == Load::ZERO {
                return None;
            }
            let allowed = self.limits[place]
                .at(now)
                .max(*self.excuse[place].at(now))
                .max(self.floor[place]);
            let drawn = Bound::of_load(load);
            (drawn.max(allowed) != allowed).then(|| format!("place {place}: {drawn:?} of {allowed:?}"))
        })
    }
}
