//! Parts of a plan that can be solved exactly while the rest stands still.
//!
//! Sessions with equal coefficients see a tree of limits once everyone else stands still; one-conductor sessions that pay alike see a
//! tree for each conductor under a common top. Each such part is a flow of one commodity. With one- and three-phase cars alone there
//! are two parts. Where total power is limited below the root, or coefficients and penalties differ from car to car, there are more
//! and each is smaller; sessions in none of the first [`MOST_PARTS`], the dearest to leave unserved first, stay as they are.

use super::draft::Draft;
use super::forest::{Forest, Share, partition};
use super::layout::Layout;
use crate::solver::flow::{Flow, Task};

/// Parts that are solved.
const MOST_PARTS: usize = 16;

#[derive(Debug)]
pub(super) struct Parts {
    parts: Vec<Part>,
    /// By group: the part it is in.
    part_of: Vec<Option<usize>>,
}

/// Sessions that are solved together.
#[derive(Debug)]
struct Part {
    forest: Forest,
    flow: Flow,
    power: i64,
    penalty: i64,
}

impl Parts {
    pub fn new(layout: &Layout) -> Parts {
        let mut parts = Parts {
            parts: Vec::new(),
            part_of: vec![None; layout.groups.len()],
        };
        if !layout.problem.cones.is_empty() {
            // The flow core knows no cones.
            return parts;
        }
        for (top, branches) in partition(layout).into_iter().take(MOST_PARTS) {
            let groups: Vec<usize> = branches
                .iter()
                .flat_map(|branch| branch.groups.iter().copied())
                .collect();
            let first = &layout.groups[groups[0]];
            // A part whose sums do not fit the flow core's integers stays as it is.
            let Some(forest) = Forest::new(layout, top, branches, |_| Share::WHOLE) else {
                continue;
            };
            for group in groups {
                parts.part_of[group] = Some(parts.parts.len());
            }
            let flow = Flow::new(&forest.network);
            parts.parts.push(Part {
                forest,
                flow,
                power: first.power,
                penalty: first.penalty,
            });
        }
        parts
    }

    /// Solves one part after the other, or from the last to the first.
    pub fn solve(&mut self, draft: &mut Draft, backwards: bool) {
        for step in 0..self.parts.len() {
            let index = if backwards { self.parts.len() - 1 - step } else { step };
            let part_of = &self.part_of;
            draft.sum_loads(|group| part_of[group] != Some(index));
            self.parts[index].solve(draft);
        }
        draft.sum_loads(|_| true);
    }
}

impl Part {
    /// Replaces this part of the draft, whose loads are those of the rest.
    fn solve(&mut self, draft: &mut Draft) {
        let problem = draft.layout.problem;
        let capacities = self
            .forest
            .capacities(draft.layout, |row| draft.capacities[row] - draft.loads[row]);
        let dearest = problem.prices.iter().copied().fold(1, i64::max);
        let penalty = (self.penalty / self.power.max(1)).max(dearest);
        let (network, wanted) = (&self.forest.network, &self.forest.wanted);
        self.flow.solve(
            network,
            &Task {
                capacities: &capacities,
                wanted,
                prices: &problem.prices,
                penalty,
            },
        );
        for (session, &position) in self.forest.positions.iter().enumerate() {
            let amounts = self.flow.amounts(network, session);
            draft.replace(
                position,
                amounts.iter().map(|&amount| i64::from(amount) * self.forest.grain),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shape, keeps_all_limits, linear_optimum, random};
    use super::*;

    #[test]
    fn a_single_part_is_solved_to_the_optimum() {
        for seed in 0..60 {
            let mut problem = random(seed, Shape::Classical, false);
            problem.sessions.retain(|session| session.line == [1, 1, 1]);
            let layout = Layout::new(&problem);
            let mut draft = Draft::new(&layout);
            Parts::new(&layout).solve(&mut draft, false);
            assert!(keeps_all_limits(&problem, &draft.plan()), "seed {seed}");
            let optimum = linear_optimum(&problem);
            let value = draft.value().total() as f64;
            assert!(
                (value - optimum).abs() <= 1e-6 * optimum + 10.0,
                "seed {seed}: {value}, optimum {optimum}"
            );
        }
    }

    #[test]
    fn parts_never_take_what_others_have() {
        for seed in 0..100 {
            let problem = random(seed, Shape::General, true);
            let layout = Layout::new(&problem);
            let mut draft = Draft::new(&layout);
            draft.allow_peak(problem.least_peak() + 20_000);
            let mut parts = Parts::new(&layout);
            for backwards in [false, true, false] {
                parts.solve(&mut draft, backwards);
                assert!(keeps_all_limits(&problem, &draft.plan()), "seed {seed}");
                assert!(draft.value().peak <= problem.least_peak() + 20_000, "seed {seed}");
            }
        }
    }
}
