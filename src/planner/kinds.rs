//! Sessions that load the supply alike.
//!
//! Decides which can stand in for each other under every limit that both are below.

use super::problem::Problem;

/// Conversions are told apart as long as there are no more of them than this; beyond these each session is a kind of its own.
const MAX_CONVERSIONS: usize = 32;

pub(super) struct Kinds {
    by_session: Vec<usize>,
    count: usize,
}

impl Kinds {
    pub(super) fn new(problem: &Problem) -> Self {
        let conversion = |index: usize| &problem.session(index).conversion;
        let mut examples: Vec<usize> = Vec::new();
        let mut alone = 0;
        let by_session = (0..problem.session_count()).map(|index| {
            let known = examples
                .iter()
                .position(|example| conversion(*example) == conversion(index));
            known.unwrap_or_else(|| {
                if examples.len() == MAX_CONVERSIONS {
                    alone += 1;
                    return MAX_CONVERSIONS + alone - 1;
                }
                examples.push(index);
                examples.len() - 1
            })
        });
        let by_session = by_session.collect();
        Self {
            by_session,
            count: examples.len() + alone,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn of(&self, session: usize) -> usize {
        self.by_session[session]
    }

    pub(super) fn are_alike(&self, one: usize, other: usize) -> bool {
        self.of(one) == self.of(other)
    }
}
