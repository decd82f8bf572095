//! Limits of nodes: what they may carry, by whom it was said, and what is left of it.
//!
//! Decides how overlapping limits combine: the tightest applies and is named. Zero is a legal limit.

use super::conversion::Load;
use super::ids::{GridLimitId, NodeId};
use crate::units::{DeciAmps, Instant, Watts};

/// What a node may carry: amperes in each line, total watts, or both. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeLimit {
    /// In each of L1, L2 and L3.
    pub line: Option<DeciAmps>,
    pub total: Option<Watts>,
}

/// Who set a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitSource {
    /// The fuse, cable or transformer itself.
    Installation,
    SiteManager,
    /// The distribution system operator.
    Dso,
    /// Our own guard against a power tariff.
    TariffGuard,
}

/// A limit on one node for a window or a weekly recurrence. Overlaps are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridLimit {
    pub id: GridLimitId,
    pub node: NodeId,
    pub source: LimitSource,
    pub limit: NodeLimit,
    pub when: LimitWindow,
}

/// When a limit applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitWindow {
    /// From an instant until another, or for good.
    Once { from: Instant, until: Option<Instant> },
    /// Every week on the given days (Monday first), between two times of day in site time. An end at or before the start is
    /// on the next day; `until` equal to `from` is a whole day.
    Weekly {
        days: [bool; 7],
        from_minute_of_day: u16,
        until_minute_of_day: u16,
    },
}

/// What is left at a node for what we control, at one instant. Negative where the rest of the site takes more than the limit.
/// `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capacity {
    /// In L1, L2, L3.
    pub line: [Option<DeciAmps>; 3],
    pub total: Option<Watts>,
}

impl Capacity {
    pub const UNLIMITED: Self = Self {
        line: [None; 3],
        total: None,
    };

    /// True if `load` is within every limit.
    pub fn fits(&self, load: &Load) -> bool {
        self.excess(load).is_none()
    }

    /// The first limit that `load` breaks.
    pub fn excess(&self, load: &Load) -> Option<Excess> {
        let currents = load.line_currents();
        for (index, phase) in super::conversion::Phase::ALL.into_iter().enumerate() {
            if let Some(limit) = self.line[index]
                && currents[index] > limit
            {
                return Some(Excess::Line {
                    phase,
                    load: currents[index],
                    limit,
                });
            }
        }
        match self.total {
            Some(limit) if load.total > limit => Some(Excess::Total {
                load: load.total,
                limit,
            }),
            _ => None,
        }
    }

    /// Limit by limit the tighter of both.
    pub fn tighter(&self, other: &Self) -> Self {
        fn least<T: Ord + Copy>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        }
        Self {
            line: [
                least(self.line[0], other.line[0]),
                least(self.line[1], other.line[1]),
                least(self.line[2], other.line[2]),
            ],
            total: least(self.total, other.total),
        }
    }

    /// What is left after `load`.
    pub fn less(&self, load: &Load) -> Self {
        let currents = load.line_currents();
        let mut left = *self;
        for (limit, current) in left.line.iter_mut().zip(currents) {
            *limit = limit.map(|limit| limit - current);
        }
        left.total = left.total.map(|limit| limit - load.total);
        left
    }
}

impl From<NodeLimit> for Capacity {
    fn from(limit: NodeLimit) -> Self {
        Self {
            line: [limit.line; 3],
            total: limit.total,
        }
    }
}

/// A limit that a load breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    Line {
        phase: super::conversion::Phase,
        load: DeciAmps,
        limit: DeciAmps,
    },
    Total {
        load: Watts,
        limit: Watts,
    },
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line { phase, load, limit } => write!(f, "{phase:?} carries {load} of {limit}"),
            Self::Total { load, limit } => write!(f, "{load} of {limit} in total"),
        }
    }
}
