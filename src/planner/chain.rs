//! What a chain is made of: sessions, where each gives way and where it finds no room.
//!
//! Decides which slots are of use to a chain; [`super::exchange`] looks for them.

use super::draft::Hold;
use crate::domain::conversion::Rate;
use std::ops::Range;

/// A session of a chain.
pub(super) struct Link {
    pub(super) session: usize,
    /// None for the first, which gives way to nobody.
    pub(super) gives_way: Option<GivesWay>,
    /// Where it has no room, as a range of `Chains::full`.
    pub(super) full: Range<usize>,
}

#[derive(Clone, Copy)]
pub(super) struct GivesWay {
    /// The link for which it does.
    pub(super) to: usize,
    pub(super) slot: usize,
    /// To this rate.
    pub(super) lowered: Rate,
    /// So that the other can have this one.
    pub(super) raised: Rate,
}

/// A slot in which a session cannot have its next step, and what has no room for it.
#[derive(Clone, Copy)]
pub(super) struct Full {
    pub(super) slot: usize,
    pub(super) step: Rate,
    pub(super) hold: Hold,
}

/// What a chain is looked for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// More energy, wherever there is room, and be it only a part.
    Serve,
    /// The same energy, in slots before this place of the order; before the second one where nobody has to give way.
    Save { cheaper: usize, before: usize },
    /// The same energy in any slot but this one.
    Leave { slot: usize },
    /// More energy, which someone else gives up who keeps at least this [`super::objective::standing`].
    Share { floor: i128 },
}

impl Purpose {
    /// Only slots before this place of the order are of use.
    pub(super) fn end(self, is_first: bool) -> usize {
        match self {
            Self::Serve | Self::Share { .. } | Self::Leave { .. } => usize::MAX,
            Self::Save { before, .. } if is_first => before,
            Self::Save { cheaper, .. } => cheaper,
        }
    }

    /// Whether nobody may take more in `slot`.
    pub(super) fn leaves(self, slot: usize) -> bool {
        matches!(self, Self::Leave { slot: left } if left == slot)
    }
}
