//! The tree of the watched nodes, and their limits on one conductor, on total power, or on what may flow in one line alone.

use super::super::super::problem::Problem;
use super::conductors::Conductors;
use super::{LOAD_PARTS, UNLIMITED};
use crate::domain::conversion::{Load, Phase};
use crate::solver::phases;

/// Watched nodes of the problem below a root of their own.
pub(super) fn parents(problem: &Problem) -> Vec<Option<usize>> {
    let below =
        (0..problem.watched_count()).map(|node| Some(problem.watched_parent(node).map_or(0, |parent| parent + 1)));
    std::iter::once(None).chain(below).collect()
}

/// `carried`: by watched node, then slot, what is drawn there however the search ends.
pub(super) fn of(problem: &Problem, conductors: Conductors, carried: &[Load]) -> Vec<phases::Limit> {
    let mut limits = Vec::new();
    for node in 0..problem.watched_count() {
        let mut add = |kind: usize, left: &dyn Fn(usize) -> Option<i64>| {
            // Where anything is overloaded, no car below may charge, whichever lines it loads.
            let left = |slot| {
                if problem.is_overloaded(node, slot) {
                    Some(0)
                } else {
                    left(slot)
                }
            };
            let by_slot: Vec<Option<i64>> = (0..problem.slots).map(left).collect();
            if by_slot.iter().any(Option::is_some) {
                limits.push(phases::Limit {
                    node: node + 1,
                    kind,
                    by_slot: by_slot.into_iter().map(limit_in_parts).collect(),
                });
            }
        };
        let at = |slot: usize| (problem.capacity(node, slot), &carried[node * problem.slots + slot]);
        for conductor in Phase::ALL.map(Phase::index) {
            add(conductor, &|slot| match conductors {
                Conductors::Lines => {
                    let (capacity, carried) = at(slot);
                    capacity.line[conductor].map(|limit| (limit - carried.line_currents()[conductor]).deciamps())
                }
                // What lines carry is then a matter of two pairs, and of cones.
                Conductors::Pairs => None,
            });
        }
        add(phases::TOTAL, &|slot| {
            let (capacity, carried) = at(slot);
            capacity.total.map(|limit| (limit - carried.total).watts())
        });
        for line in Phase::ALL
            .map(Phase::index)
            .into_iter()
            .filter(|_| problem.unbalance_can_bind())
        {
            add(phases::UNEVEN + line, &|slot| {
                let (capacity, carried) = at(slot);
                Some((capacity.unbalance?[line] - carried.uneven[line]).deciamps())
            });
        }
    }
    limits
}

/// What is left, where anything limits it.
pub(super) fn limit_in_parts(left: Option<i64>) -> i64 {
    left.map_or(UNLIMITED, |left| left.saturating_mul(LOAD_PARTS).min(UNLIMITED))
}
