//! The cones' part of the proof: a price on the three conductors' loads, and what the cone can be worth at most.
//!
//! For any vector `m`, the phasors `C X` of loads within the limit `L` satisfy `m . C X <= |m| L`. So the price `C^T m` may be laid on the
//! loads if `|m| L` is subtracted. Both are computed in `f64` and rounded outwards to integers: the price downwards, since loads are
//! not negative, and the worth upwards, with the limit enlarged by more than the rounding of `C` can matter.

use super::layout::Layout;
use super::problem::TOTAL;
use super::rows::{CONE, LANES};

/// More than the rounding errors of the few operations on each number, as a share of it.
const ROUNDING: f64 = 1e-12;

/// Prices by cone and slot, in units of money / 2^`shift`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ConePrices {
    /// On one unit of load of each conductor.
    prices: Vec<[i64; 3]>,
    /// What all cones are worth.
    pub worth: i128,
}

impl ConePrices {
    /// From multipliers in the search's scale. `most` bounds what a price on a unit of amount may be, by each conductor.
    pub fn from_search(layout: &Layout, multipliers: &[f32], shift: u32, most: i64) -> ConePrices {
        let problem = layout.problem;
        let unit = layout.scale.multiplier(CONE) * (1u64 << shift) as f64;
        let mut cone_prices = ConePrices {
            prices: vec![[0; 3]; problem.cones.len() * problem.slots()],
            worth: 0,
        };
        let most_load = most_load(layout);
        let ends = layout.coefficients[..TOTAL].iter().map(|range| *range.end());
        let largest = ends.fold(1, i64::max) as f64;
        for (index, cone) in problem.cones.iter().enumerate() {
            let phasors = &layout.phasors[index];
            let longest = phasors.iter().flatten().map(|entry| entry.abs()).fold(0.0, f64::max);
            let slack = ROUNDING * longest * most_load;
            for slot in 0..problem.slots() {
                let first = layout.rows.cone_chunk(index, slot / LANES);
                if first == 0 {
                    continue;
                }
                let rows = [first * LANES + slot % LANES, (first + 1) * LANES + slot % LANES];
                let pair = rows.map(|row| f64::from(multipliers[row]) * unit);
                let length = pair[0].hypot(pair[1]);
                if !(length > 0.0 && length * longest * largest < most as f64) {
                    continue;
                }
                let price = |k: usize| {
                    let terms = [phasors[0][k] * pair[0], phasors[1][k] * pair[1]];
                    (terms[0] + terms[1] - ROUNDING * (terms[0].abs() + terms[1].abs())).floor() as i64
                };
                cone_prices.prices[index * problem.slots() + slot] = std::array::from_fn(price);
                let limit = cone.by_slot[slot].max(0) as f64 * problem.lengths[slot] as f64 + slack;
                cone_prices.worth += (length * limit * (1.0 + ROUNDING)).ceil() as i128;
            }
        }
        cone_prices
    }

    /// Price of one unit of amount of a group in a slot.
    pub fn of(&self, layout: &Layout, group: &super::layout::Group, slot: usize) -> i64 {
        let price = |cone: &usize| -> i64 {
            let prices = self.prices[cone * layout.problem.slots() + slot];
            (0..TOTAL).map(|kind| prices[kind] * group.coefficients[kind]).sum()
        };
        if self.prices.is_empty() {
            0
        } else {
            group.cones.iter().map(price).sum()
        }
    }
}

/// More than the loads under any cone can sum to in any slot.
fn most_load(layout: &Layout) -> f64 {
    let load = |cells: &super::layout::Cells| {
        let coefficients: i64 = layout.groups[cells.group].coefficients[..TOTAL].iter().sum();
        let most = layout.problem.sessions[cells.session].most;
        coefficients as f64 * most as f64 * layout.scale.length
    };
    layout.cells.iter().map(load).sum()
}
