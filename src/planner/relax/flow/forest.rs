//! The places of a flow: a tree for all cars, or one for each line.
//!
//! Decides how much room each place has, in units of power, for cars that load the supply alike, and whether that is one number at all.

use super::super::super::problem::Problem;
use super::super::Settled;
use super::units::Units;
use crate::domain::conversion::{Conversion, Load, PerRate, Phase, PhasePair, Rate};
use crate::domain::limits::Capacity;
use crate::units::DeciAmps;

/// The lines whose cars are searched together as one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// All cars are of one kind, whatever it is.
    Only,
    /// Single-phase cars on this line.
    Line(Phase),
}

pub(super) fn most_rate(problem: &Problem, index: usize) -> i64 {
    let choice = &problem.session(index).choice;
    choice.floor(choice.maximum).value()
}

/// The lanes of a site whose cars are alike.
pub(super) fn lanes(problem: &Problem, searched: &[usize]) -> Option<Vec<Lane>> {
    let conversion = |session: &usize| &problem.session(*session).conversion;
    let first = conversion(searched.first()?);
    let is_like_first = |session: &usize| {
        let conversion = conversion(session);
        conversion == first || !problem.unbalance_can_bind() && conversion.loads_like(first)
    };
    if searched.iter().all(is_like_first) {
        return Some(vec![Lane::Only]);
    }
    let are_lines = searched.iter().all(|session| only_line(conversion(session)).is_some());
    let same_total = searched.iter().all(|session| conversion(session).total == first.total);
    (are_lines && same_total && !problem.difference_can_bind()).then(|| Phase::ALL.map(Lane::Line).to_vec())
}

/// The line of a car that loads just one, an ampere for an ampere.
pub(super) fn only_line(conversion: &Conversion) -> Option<Phase> {
    let loads = |phase: &Phase| conversion.star[phase.index()] != PerRate::NONE;
    let mut lines = Phase::ALL.into_iter().filter(loads);
    let line = lines
        .next()
        .filter(|line| conversion.star[line.index()] == PerRate::ONE)?;
    (lines.next().is_none() && !conversion.has_delta()).then_some(line)
}

/// A tree for each lane, under one place that stands for the grid connection.
pub(super) struct Forest {
    pub(super) parents: Vec<Option<usize>>,
    /// By node, then slot: the rates, in units, that it has room for.
    room: Vec<i64>,
    slots: usize,
    /// By lane, then watched node.
    nodes: Vec<usize>,
    watched: usize,
}

impl Forest {
    pub(super) fn new(settled: &Settled, searched: &[usize], lanes: &[Lane], units: Units) -> Option<Self> {
        let problem = settled.problem;
        let (slots, watched) = (problem.slots, problem.watched_count());
        let everything: i64 = (searched.iter())
            .map(|session| units.power_of_rates(most_rate(problem, *session)))
            .sum();
        let mut forest = Self {
            parents: vec![None],
            room: vec![everything; slots],
            slots,
            nodes: Vec::new(),
            watched,
        };
        let carried = settled.carried();
        let conversion = &problem.session(searched[0]).conversion;
        for lane in lanes {
            let base = forest.parents.len();
            for node in 0..watched {
                forest.nodes.push(base + node);
                forest
                    .parents
                    .push(Some(problem.watched_parent(node).map_or(0, |parent| base + parent)));
                for slot in 0..slots {
                    let left = &Capacity {
                        unbalance: (problem.capacity(node, slot).unbalance).filter(|_| problem.unbalance_can_bind()),
                        ..*problem.capacity(node, slot)
                    };
                    let carried = &carried[node * slots + slot];
                    let rates = match lane {
                        // Whichever line is overloaded.
                        _ if problem.is_overloaded(node, slot) => Some(0),
                        Lane::Only => room(conversion, left, carried)?,
                        Lane::Line(line) => room_in_line(left, carried, *line),
                    };
                    forest
                        .room
                        .push(rates.map_or(everything, |rates| units.power_within_rates(rates).clamp(0, everything)));
                }
            }
        }
        if lanes.len() > 1 {
            forest.limit_total(problem, searched, &carried, units)?;
        }
        Some(forest)
    }

    /// Limits in total watts, which all lanes share: only the grid connection may have one that can bind.
    pub(super) fn limit_total(
        &mut self,
        problem: &Problem,
        searched: &[usize],
        carried: &[Load],
        units: Units,
    ) -> Option<()> {
        let total = problem.session(searched[0]).conversion.total;
        for node in 0..self.watched {
            let is_above_all = searched.iter().all(|session| problem.path(*session).contains(&node));
            let below: i64 = (searched.iter())
                .filter(|session| problem.path(**session).contains(&node))
                .map(|session| most_rate(problem, *session))
                .sum();
            for slot in 0..self.slots {
                let Some(limit) = problem.capacity(node, slot).total else {
                    continue;
                };
                let left = (limit - carried[node * self.slots + slot].total).watts();
                let rates = total.rate_within(left)?.value();
                if is_above_all {
                    self.room[slot] = self.room[slot].min(units.power_within_rates(rates).max(0));
                } else if rates < below {
                    return None;
                }
            }
        }
        Some(())
    }

    /// Where a session of the problem hangs.
    pub(super) fn node_of(&self, problem: &Problem, session: usize, lanes: &[Lane]) -> usize {
        let Some(watched) = problem.path(session).first() else {
            return 0;
        };
        let line = only_line(&problem.session(session).conversion);
        let lane = lanes
            .iter()
            .position(|lane| matches!(lane, Lane::Line(of) if Some(*of) == line))
            .unwrap_or(0);
        self.nodes[lane * self.watched + watched]
    }

    pub(super) fn capacities(&self, lengths: &[i32]) -> Vec<i32> {
        (self.room.iter().enumerate())
            .map(|(index, room)| {
                let energy = room.saturating_mul(i64::from(lengths[index % self.slots]));
                i32::try_from(energy).unwrap_or(i32::MAX)
            })
            .collect()
    }
}

/// How much rate cars of one kind have room for beside `carried`: `Some(None)` without limit, `None` where that is no single number.
pub(super) fn room(conversion: &Conversion, left: &Capacity, carried: &Load) -> Option<Option<i64>> {
    let currents = carried.line_currents();
    let has_delta = PhasePair::ALL.map(|pair| conversion.delta[pair.index()] != PerRate::NONE);
    if has_delta.contains(&true) && carried.delta != Load::ZERO.delta {
        return None;
    }
    let lines = Phase::ALL.into_iter().filter_map(|phase| {
        let limit = left.line[phase.index()]?;
        let pairs = PhasePair::meeting_in(phase).map(|pair| conversion.delta[pair.index()]);
        let loads = pairs.into_iter().chain([conversion.star[phase.index()]]);
        let within = |load: PerRate| load.rate_within((limit - currents[phase.index()]).deciamps());
        loads.filter_map(within).min()
    });
    let total = left
        .total
        .and_then(|limit| conversion.total.rate_within((limit - carried.total).watts()));
    let alone = Phase::ALL.map(Phase::index).into_iter().filter_map(|line| {
        let limit = left.unbalance?[line];
        conversion.uneven[line].rate_within((limit - carried.uneven[line]).deciamps())
    });
    let between = PhasePair::ALL
        .into_iter()
        .filter_map(|pair| room_between(conversion, pair, left, carried));
    Some(lines.chain(total).chain(alone).chain(between).map(Rate::value).min())
}

/// The room that the lines of `pair` have against each other, for cars that lie all between two lines or none.
pub(super) fn room_between(conversion: &Conversion, pair: PhasePair, left: &Capacity, carried: &Load) -> Option<Rate> {
    let limit = left.difference?[pair.index()] - carried.line_differences()[pair.index()];
    let star = pair.lines().map(|line| conversion.star[line.index()]);
    // What lies between the two lines flows in both, in opposite directions.
    let own = conversion.delta[pair.index()];
    let counted: Vec<PerRate> = (star.into_iter().chain([own]).chain(conversion.delta))
        .filter(|load| *load != PerRate::NONE)
        .collect();
    let each = -(-limit.deciamps()).div_euclid(counted.len().max(1) as i64);
    counted.first()?.rate_within(each)
}

pub(super) fn room_in_line(left: &Capacity, carried: &Load, line: Phase) -> Option<i64> {
    let line = line.index();
    let in_line = left.line[line].map(|limit| limit - carried.line_currents()[line]);
    let alone = left.unbalance.map(|limits| limits[line] - carried.uneven[line]);
    in_line.into_iter().chain(alone).min().map(DeciAmps::deciamps)
}
