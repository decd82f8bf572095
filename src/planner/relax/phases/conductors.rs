//! What the three conductors of the solver's problem stand for.
//!
//! Decides in which currents a site's cars are counted, so that one problem has them all: in those of the lines, or, where cars lie between
//! two lines, in those of the pairs. A load that is the same on all three lines is a load on all three pairs too, 1/√3 of it on each:
//! the phasors of its line currents are the same. The planner's rule adds its magnitude instead, which is more, so counted by its
//! phasors every plan that keeps the rule still fits.

use super::parts;
use crate::domain::conversion::{Conversion, PerRate};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conductors {
    Lines,
    Pairs,
}

impl Conductors {
    /// `None` where a car lies between two lines, and another loads the lines unevenly: the two have no current in common.
    pub(super) fn new<'c>(conversions: impl Iterator<Item = &'c Conversion> + Clone) -> Option<Self> {
        if !conversions.clone().any(Conversion::has_delta) {
            return Some(Self::Lines);
        }
        let is_even = |conversion: &Conversion| conversion.star == [conversion.star[0]; 3];
        conversions.clone().all(is_even).then_some(Self::Pairs)
    }

    /// What a unit of rate loads each of them with, in parts, rounded down.
    pub(super) fn loads(self, conversion: &Conversion) -> [i64; 3] {
        match self {
            Self::Lines => conversion.star.map(parts),
            Self::Pairs if conversion.has_delta() => conversion.delta.map(parts),
            Self::Pairs => conversion.star.map(|line: PerRate| (parts(line).pow(2) / 3).isqrt()),
        }
    }
}
