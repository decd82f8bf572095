//! Limits of nodes: what they may carry, by whom it was said, and what is left of it.
//!
//! Decides how overlapping limits combine: the tightest applies and is named. Zero is a legal limit.

use super::conversion::{Load, Phase, PhasePair};
use super::ids::{GridLimitId, NodeId};
use crate::units::{DeciAmps, Instant, Watts};

/// What a node may carry: amperes in each line, total watts, or both. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeLimit {
    /// In each of L1, L2 and L3.
    pub line: Option<DeciAmps>,
    pub total: Option<Watts>,
}

/// What is built into a node beside its [`NodeLimit`]: no window and no grid limit changes it. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FixedLimits {
    /// The greatest difference between two line currents that charging may cause.
    pub unbalance: Option<DeciAmps>,
    pub primary: Option<PrimaryLimit>,
}

/// What each line on the delta side of a delta-wye transformer may carry; the node is its wye side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrimaryLimit {
    pub line: DeciAmps,
    /// Line-to-line volts of the delta side for one line-to-neutral volt of the wye side, in thousandths: 4000 where 480 V becomes
    /// 208 V between lines, which is 120 V to neutral.
    pub turns_ratio_permille: u32,
}

impl PrimaryLimit {
    /// The difference of two line currents on the wye side that makes a line on the delta side carry this much, rounded down.
    pub fn line_difference(&self) -> DeciAmps {
        DeciAmps::from_deciamps(self.line.deciamps() * i64::from(self.turns_ratio_permille) / 1000)
    }
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
    /// For [`Load::uneven`], on L1, L2, L3.
    pub unbalance: Option<[DeciAmps; 3]>,
    /// For [`Load::line_differences`], of L1 and L2, L2 and L3, L3 and L1.
    pub difference: Option<[DeciAmps; 3]>,
}

impl Capacity {
    pub const UNLIMITED: Self = Self {
        line: [None; 3],
        total: None,
        unbalance: None,
        difference: None,
    };

    /// The same with what is built into the node.
    pub fn with_fixed(self, fixed: &FixedLimits) -> Self {
        Self {
            unbalance: fixed.unbalance.map(|limit| [limit; 3]),
            difference: fixed.primary.map(|primary| [primary.line_difference(); 3]),
            ..self
        }
    }

    /// True if `load` is within every limit.
    pub fn fits(&self, load: &Load) -> bool {
        self.excess(load).is_none()
    }

    /// The first limit that `load` breaks.
    pub fn excess(&self, load: &Load) -> Option<Excess> {
        if self.line != [None; 3]
            && let Some(excess) = self.excess_in_a_line(load)
        {
            return Some(excess);
        }
        if let Some(limit) = self.total
            && load.total > limit
        {
            return Some(Excess::Total {
                load: load.total,
                limit,
            });
        }
        self.excess_between_lines(load)
    }

    fn excess_in_a_line(&self, load: &Load) -> Option<Excess> {
        let currents = load.line_currents();
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
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
        None
    }

    fn excess_between_lines(&self, load: &Load) -> Option<Excess> {
        let first_above = |limits: Option<[DeciAmps; 3]>, loads: &dyn Fn() -> [DeciAmps; 3]| {
            let (limits, loads) = (limits?, loads());
            (0..3)
                .find(|index| loads[*index] > limits[*index])
                .map(|index| (index, loads[index], limits[index]))
        };
        if let Some((index, load, limit)) = first_above(self.unbalance, &|| load.uneven) {
            let phase = Phase::ALL[index];
            return Some(Excess::Unbalance { phase, load, limit });
        }
        let (index, load, limit) = first_above(self.difference, &|| load.line_differences())?;
        let pair = PhasePair::ALL[index];
        Some(Excess::Difference { pair, load, limit })
    }

    /// Limit by limit the tighter of both.
    pub fn tighter(&self, other: &Self) -> Self {
        fn least<T: Copy>(a: Option<T>, b: Option<T>, lesser: impl Fn(T, T) -> T) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(lesser(a, b)),
                (a, b) => a.or(b),
            }
        }
        let each = |a: [DeciAmps; 3], b: [DeciAmps; 3]| [0, 1, 2].map(|index| a[index].min(b[index]));
        Self {
            line: [0, 1, 2].map(|index| least(self.line[index], other.line[index], Ord::min)),
            total: least(self.total, other.total, Ord::min),
            unbalance: least(self.unbalance, other.unbalance, each),
            difference: least(self.difference, other.difference, each),
        }
    }

    /// What is left after `load`. Whatever fits there fits here beside `load`: no sum of loads counts for more than its parts.
    pub fn less(&self, load: &Load) -> Self {
        let currents = load.line_currents();
        let each = |limits: [DeciAmps; 3], loads: [DeciAmps; 3]| [0, 1, 2].map(|index| limits[index] - loads[index]);
        Self {
            line: [0, 1, 2].map(|index| self.line[index].map(|limit| limit - currents[index])),
            total: self.total.map(|limit| limit - load.total),
            unbalance: self.unbalance.map(|limits| each(limits, load.uneven)),
            difference: self.difference.map(|limits| each(limits, load.line_differences())),
        }
    }
}

impl From<NodeLimit> for Capacity {
    fn from(limit: NodeLimit) -> Self {
        Self {
            line: [limit.line; 3],
            total: limit.total,
            ..Self::UNLIMITED
        }
    }
}

/// A limit that a load breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    Line {
        phase: Phase,
        load: DeciAmps,
        limit: DeciAmps,
    },
    Total {
        load: Watts,
        limit: Watts,
    },
    /// What may flow in this line alone.
    Unbalance {
        phase: Phase,
        load: DeciAmps,
        limit: DeciAmps,
    },
    /// What these lines may carry against each other, for the primary of their transformer.
    Difference {
        pair: PhasePair,
        load: DeciAmps,
        limit: DeciAmps,
    },
}

impl Excess {
    /// Whether both break the same limit of a node, by however much.
    pub fn is_of_same_limit(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Line { phase, .. }, Self::Line { phase: other, .. })
            | (Self::Unbalance { phase, .. }, Self::Unbalance { phase: other, .. }) => phase == other,
            (Self::Difference { pair, .. }, Self::Difference { pair: other, .. }) => pair == other,
            (Self::Total { .. }, Self::Total { .. }) => true,
            _ => false,
        }
    }
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line { phase, load, limit } => write!(f, "{phase:?} carries {load} of {limit}"),
            Self::Total { load, limit } => write!(f, "{load} of {limit} in total"),
            Self::Unbalance { phase, load, limit } => {
                write!(f, "{phase:?} may carry {load} more than another line, of {limit}")
            }
            Self::Difference { pair, load, limit } => write!(
                f,
                "the primary line of {pair:?} is loaded as by {load} of {limit} on the secondary"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conversion::{Conversion, Rate, Wiring};
    use crate::units::Volts;

    fn deciamps(value: i64) -> DeciAmps {
        DeciAmps::from_deciamps(value)
    }

    fn load(wiring: Wiring, rate: i64) -> Load {
        Conversion::new(&wiring, Volts::from_volts(208)).load(Rate::new(rate))
    }

    fn with(fixed: FixedLimits) -> Capacity {
        Capacity::UNLIMITED.with_fixed(&fixed)
    }

    #[test]
    fn cars_on_three_lines_are_unbalanced_once_two_of_them_stop() {
        let capacity = with(FixedLimits {
            unbalance: Some(deciamps(200)),
            primary: None,
        });
        let on_each = |rate: i64| {
            Phase::ALL
                .map(|phase| load(Wiring::Star(vec![phase]), rate))
                .into_iter()
                .sum()
        };
        assert!(capacity.fits(&on_each(200)));
        let excess = capacity.excess(&on_each(201)).expect("20.1 A may run alone");
        assert_eq!(
            excess.to_string(),
            "L1 may carry 201 dA more than another line, of 200 dA"
        );
        // Line-to-line cars that meet in a line add up there.
        let meeting = load(Wiring::Delta(PhasePair::L1L2), 100) + load(Wiring::Delta(PhasePair::L2L3), 100);
        assert!(capacity.fits(&meeting));
        assert!(!capacity.fits(&(meeting + load(Wiring::Star(vec![Phase::L2]), 1))));
    }

    #[test]
    fn a_primary_limit_is_multiplied_out_and_rounded_down() {
        let primary = |line: i64, turns_ratio_permille: u32| PrimaryLimit {
            line: deciamps(line),
            turns_ratio_permille,
        };
        assert_eq!(primary(541, 4_000).line_difference(), deciamps(2_164));
        assert_eq!(primary(3, 3_666).line_difference(), deciamps(10));
        let capacity = with(FixedLimits {
            unbalance: None,
            primary: Some(primary(150, 4_000)),
        });
        // 30 A from L1 to L2 are 60 A of difference, a quarter of that on the primary.
        assert!(capacity.fits(&load(Wiring::Delta(PhasePair::L1L2), 300)));
        let excess = capacity
            .excess(&load(Wiring::Delta(PhasePair::L1L2), 301))
            .expect("60.2 A");
        assert_eq!(
            excess.to_string(),
            "the primary line of L1L2 is loaded as by 602 dA of 600 dA on the secondary"
        );
    }

    #[test]
    fn what_fits_into_the_rest_fits_beside_what_was_taken() {
        let capacity = with(FixedLimits {
            unbalance: Some(deciamps(700)),
            primary: Some(PrimaryLimit {
                line: deciamps(200),
                turns_ratio_permille: 4_000,
            }),
        });
        let pairs = |[x, y, z]: [i64; 3]| -> Load {
            let rates = PhasePair::ALL.into_iter().zip([x, y, z]);
            rates.map(|(pair, rate)| load(Wiring::Delta(pair), rate)).sum()
        };
        let mut tight = 0;
        for taken in [[0, 150, 40], [200, 0, 0], [90, 90, 90]].map(pairs) {
            let left = capacity.less(&taken);
            for rate in (0..400).step_by(5) {
                for more in [[rate, 0, 0], [0, rate, rate], [rate / 2, rate, 10]].map(pairs) {
                    assert!(
                        !left.fits(&more) || capacity.fits(&(taken + more)),
                        "{taken:?} and {more:?}"
                    );
                    tight += i32::from(!left.fits(&more));
                }
            }
        }
        assert!(tight > 100);
    }

    #[test]
    fn the_tighter_of_two_capacities_is_the_tighter_line_by_line() {
        let one = with(FixedLimits {
            unbalance: Some(deciamps(100)),
            primary: None,
        });
        let taken = one.less(&load(Wiring::Star(vec![Phase::L2]), 30));
        assert_eq!(taken.unbalance, Some([100, 70, 100].map(deciamps)));
        assert_eq!(one.tighter(&taken), taken);
        assert_eq!(taken.tighter(&Capacity::UNLIMITED), taken);
    }
}
