//! From a proposal to a good integer plan: fit it to the limits, solve parts of it exactly, serve the last units.
//!
//! Sessions with equal coefficients see a tree of limits once everyone else stands still; one-conductor sessions that pay alike see a
//! tree for each conductor under a common top. So the draft is improved by exact flows, one part after the other, each given the rest.
//! With one- and three-phase cars alone these are two flows. Where total power is limited below the root, or coefficients differ from
//! car to car, there are more parts and each is smaller; sessions in none of the first [`MOST_FORESTS`] only move in the last stage.
//!
//! With a demand charge the draft is made for several peaks. Its value is convex in the peak, and the bound holds for all of them.

use super::draft::Draft;
use super::fit::fit;
use super::forest::{Forest, partition};
use super::layout::Layout;
use super::problem::{Plan, Value};
use super::reroute::serve_what_is_left;
use super::settle::settle;
use crate::solver::flow::{Flow, Task};

/// Parts that are solved exactly.
const MOST_FORESTS: usize = 16;
/// Cells that may be looked at to serve the last units, for each session.
const WORK_PER_SESSION: usize = 40;

#[derive(Debug)]
pub(super) struct Polish<'a> {
    layout: &'a Layout<'a>,
    draft: Draft<'a>,
    parts: Vec<Part>,
    /// By group: the part it is in.
    part_of: Vec<Option<usize>>,
    turn: usize,
}

/// Sessions that are solved together.
#[derive(Debug)]
struct Part {
    forest: Forest,
    flow: Flow,
    power: i64,
    penalty: i64,
}

/// A draft's value and plan.
#[derive(Debug, Clone)]
pub(super) struct Polished {
    pub value: Value,
    pub plan: Plan,
}

impl<'a> Polish<'a> {
    pub fn new(layout: &'a Layout<'a>) -> Polish<'a> {
        let mut polish = Polish {
            layout,
            draft: Draft::new(layout),
            parts: Vec::new(),
            part_of: vec![None; layout.groups.len()],
            turn: 0,
        };
        polish.make_parts();
        polish
    }

    fn make_parts(&mut self) {
        let layout = self.layout;
        for (top, branches) in partition(layout).into_iter().take(MOST_FORESTS) {
            let groups: Vec<usize> = branches
                .iter()
                .flat_map(|branch| branch.groups.iter().copied())
                .collect();
            let first = &layout.groups[groups[0]];
            let (power, penalty) = (first.power, first.penalty);
            if let Some(forest) = Forest::new(layout, top, branches, |_| 1) {
                let flow = Flow::new(&forest.network);
                groups
                    .iter()
                    .for_each(|&group| self.part_of[group] = Some(self.parts.len()));
                self.parts.push(Part {
                    forest,
                    flow,
                    power,
                    penalty,
                });
            }
        }
    }

    /// A plan from a proposal, under a peak. Returns what it is worth.
    pub fn quick(&mut self, proposal: &[f32], peak: i64) -> Value {
        self.draft.allow_peak(peak);
        fit(&mut self.draft, proposal);
        self.serve();
        settle(&mut self.draft);
        self.draft.value()
    }

    /// The same, with each part solved exactly given the rest.
    pub fn exact(&mut self, proposal: &[f32], peak: i64) -> Value {
        self.draft.allow_peak(peak);
        fit(&mut self.draft, proposal);
        let forwards = self.turn.is_multiple_of(2);
        self.turn += 1;
        for step in 0..self.parts.len() {
            let part = if forwards { step } else { self.parts.len() - 1 - step };
            self.solve_part(part);
        }
        self.draft.sum_loads(|_| true);
        self.serve();
        self.draft.value()
    }

    /// The last plan made.
    pub fn plan(&self) -> Plan {
        self.draft.plan()
    }

    fn serve(&mut self) {
        serve_what_is_left(&mut self.draft, WORK_PER_SESSION * self.layout.cells.len());
    }

    /// Solves one part exactly, given the rest.
    fn solve_part(&mut self, index: usize) {
        let part_of = &self.part_of;
        self.draft.sum_loads(|group| part_of[group] != Some(index));
        let part = &mut self.parts[index];
        let draft = &self.draft;
        let capacities = part
            .forest
            .capacities(self.layout, |row| draft.capacities[row] - draft.loads[row]);
        let prices = &self.layout.problem.prices;
        let dearest = prices.iter().copied().fold(1, i64::max);
        let penalty = (part.penalty / part.power.max(1)).max(dearest);
        let network = &part.forest.network;
        part.flow.solve(
            network,
            &Task {
                capacities: &capacities,
                wanted: &part.forest.wanted,
                prices,
                penalty,
            },
        );
        for (session, &position) in part.forest.positions.iter().enumerate() {
            let amounts = part.flow.amounts(network, session);
            self.draft
                .replace(position, amounts.iter().map(|&amount| i64::from(amount)));
        }
    }
}
