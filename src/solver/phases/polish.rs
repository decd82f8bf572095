//! From a proposal to a good integer plan.
//!
//! A **quick** plan is the proposal, scaled to fit ([`fit`](super::fit)), with what is left served where there is room or room can be
//! made ([`reroute`](super::reroute)), and everyone's energy moved to his cheapest open slots ([`settle`](super::settle)). It costs
//! about as much as ten iterations, and is nearly always as good as the proposal.
//!
//! An **exact** plan has its parts solved as flows instead ([`parts`](super::parts)). It costs three times as much, and serves more
//! where energy is scarce.

use super::draft::Draft;
use super::fit::fit;
use super::layout::Layout;
use super::parts::Parts;
use super::problem::{Plan, Value};
use super::reroute::serve_what_is_left;
use super::settle::settle;

/// Cells that may be looked at to serve the last units, for each session.
const WORK_PER_SESSION: usize = 40;

/// What the search proposes: amounts by cell, and prices by slot of the groups' rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proposal<'p> {
    pub amounts: &'p [f32],
    pub prices: &'p [f32],
}

#[derive(Debug)]
pub(super) struct Polish<'a> {
    layout: &'a Layout<'a>,
    draft: Draft<'a>,
    /// Made when they are first needed.
    parts: Option<Parts>,
    backwards: bool,
}

impl<'a> Polish<'a> {
    pub fn new(layout: &'a Layout<'a>) -> Polish<'a> {
        Polish {
            layout,
            draft: Draft::new(layout),
            parts: None,
            backwards: false,
        }
    }

    /// A plan from a proposal, under a peak. Returns what it is worth.
    pub fn quick(&mut self, proposal: Proposal, peak: i64) -> Value {
        self.draft.allow_peak(peak);
        fit(&mut self.draft, proposal.amounts);
        self.serve(proposal);
        settle(&mut self.draft);
        self.draft.value()
    }

    /// The same, with each part solved exactly given the rest.
    pub fn exact(&mut self, proposal: Proposal, peak: i64) -> Value {
        self.draft.allow_peak(peak);
        fit(&mut self.draft, proposal.amounts);
        let parts = self.parts.get_or_insert_with(|| Parts::new(self.layout));
        parts.solve(&mut self.draft, self.backwards);
        // The part that comes first has the choice: take turns.
        self.backwards = !self.backwards;
        self.serve(proposal);
        settle(&mut self.draft);
        self.draft.value()
    }

    /// The last plan made.
    pub fn plan(&self) -> Plan {
        self.draft.plan()
    }

    fn serve(&mut self, proposal: Proposal) {
        serve_what_is_left(
            &mut self.draft,
            proposal.prices,
            WORK_PER_SESSION * self.layout.cells.len(),
        );
    }
}
