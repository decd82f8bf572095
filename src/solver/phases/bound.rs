//! The proof: a lower bound on every plan's value, from any multipliers, in integers.
//!
//! Give each row a price that is not negative and let sessions exceed it at that price. What is left decomposes: each session fills
//! its cheapest slots first, a fractional knapsack, and the sum of these minima less what the rows' capacities are worth is below
//! the value of every plan that keeps the rows. Multipliers are rounded to integers first, in units of money / 2^[`shift`](Multipliers);
//! from there on nothing is rounded. So the bound holds whatever `f32` did before.
//!
//! The allowed peak is a variable too: its rows' multipliers, each times its slot's length, may not sum to more than the charge. If
//! they do, they are scaled down.

use super::cone_price::ConePrices;
use super::layout::Layout;
use super::problem::TOTAL;
use super::rows::{LANES, ROW_KINDS, UNLIMITED};

/// A cone's price on a load is at most so many times what any unit is worth.
const CONE_PRICES: i64 = 16;
/// Bits that a session's price, with its fraction, may fill.
const PRICE_BITS: u32 = 62;
/// Most bits of the fraction.
const FRACTION_BITS: u32 = 20;

/// Integer multipliers by row, in units of money / 2^`shift` per load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Multipliers {
    by_row: Vec<i64>,
    cones: ConePrices,
    shift: u32,
}

/// What is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objective {
    /// Money for energy, the demand charge, and what is not served.
    All,
    /// Only money for what is not served.
    Unserved,
}

impl Multipliers {
    /// Rounds multipliers in the search's scale.
    pub fn from_search(layout: &Layout, multipliers: &[f32]) -> Multipliers {
        let mut unit = [0.0; ROW_KINDS];
        let shift = fraction_bits(layout);
        for (kind, unit) in unit.iter_mut().enumerate() {
            *unit = layout.scale.multiplier(kind) * (1u64 << shift) as f64;
        }
        // Cones pull against each other: one alone may price a load higher than it is worth.
        let most = (largest_price(layout) << shift) * CONE_PRICES;
        Multipliers {
            cones: ConePrices::from_search(layout, multipliers, shift, most),
            ..Self::rounded(layout, shift, |row| {
                f64::from(multipliers[row]) * unit[layout.rows.chunks[row / LANES].kind]
            })
        }
    }

    /// Rounds multipliers in money per load.
    pub fn from_money(layout: &Layout, multiplier: impl Fn(usize) -> f64) -> Multipliers {
        let shift = fraction_bits(layout);
        Self::rounded(layout, shift, |row| multiplier(row) * (1u64 << shift) as f64)
    }

    /// `multiplier` by row, in the final unit. None above what the dearest session loses is of use to any, so that is the limit.
    fn rounded(layout: &Layout, shift: u32, multiplier: impl Fn(usize) -> f64) -> Multipliers {
        let worth = largest_price(layout) << shift;
        let rounded = |(row, &capacity): (usize, &i64)| {
            let kind = layout.rows.chunks[row / LANES].kind;
            let most = worth / layout.coefficients[kind].start();
            // Not a number becomes zero.
            if capacity < UNLIMITED {
                (multiplier(row) as i64).clamp(0, most)
            } else {
                0
            }
        };
        let by_row = layout.rows.capacity.iter().enumerate().map(rounded).collect();
        let cones = ConePrices::default();
        Multipliers { by_row, cones, shift }
    }

    /// No plan for the layout's problem is worth less.
    pub fn bound(&self, layout: &Layout, objective: Objective) -> i128 {
        let (by_row, mut bound) = self.with_peak(layout, objective);
        bound -= self.cones.worth;
        for (row, &multiplier) in by_row.iter().enumerate() {
            if multiplier > 0 {
                bound -= i128::from(multiplier) * i128::from(layout.rows.capacity[row]);
            }
        }
        let row_prices = sums_from_root(layout, &by_row);
        let mut prices = Vec::new();
        let mut order = Vec::new();
        for group in &layout.groups {
            self.group_prices(layout, group, &row_prices, objective, &mut prices);
            for &member in &group.members {
                bound += self.cheapest(layout, member, &prices, &mut order);
            }
        }
        // The value of a whole plan is a whole number: rounded up it is still not above any.
        -(-bound >> self.shift) + layout.never_served
    }

    /// Multipliers that keep to the demand charge, and what the charge comes to at the least peak.
    fn with_peak(&self, layout: &Layout, objective: Objective) -> (Vec<i64>, i128) {
        let mut by_row = self.by_row.clone();
        let charge = match (&layout.problem.demand_charge, objective) {
            (Some(charge), Objective::All) => i128::from(charge.price) << self.shift,
            _ => 0,
        };
        let of_peak = &mut by_row[layout.rows.peak.start * LANES..layout.rows.peak.end * LANES];
        let paid = |of_peak: &[i64]| -> i128 {
            let lengths = &layout.problem.lengths;
            of_peak
                .iter()
                .zip(lengths)
                .map(|(&m, &length)| i128::from(m) * i128::from(length))
                .sum()
        };
        let sum = paid(of_peak);
        if sum > charge {
            for multiplier in of_peak.iter_mut() {
                *multiplier = (i128::from(*multiplier) * charge / sum) as i64;
            }
        }
        let unpaid = charge - paid(of_peak);
        (by_row, unpaid * i128::from(layout.problem.least_peak()))
    }

    /// What one unit of amount costs in each slot of a group's row.
    fn group_prices(
        &self,
        layout: &Layout,
        group: &super::layout::Group,
        row_prices: &[i64],
        objective: Objective,
        prices: &mut Vec<i64>,
    ) {
        prices.clear();
        for column in 0..group.columns {
            let mut chunk = [0; LANES];
            if objective == Objective::All {
                for (price, slot) in chunk
                    .iter_mut()
                    .zip(group.first_slot + column * LANES..layout.problem.slots())
                {
                    *price = (layout.problem.prices[slot] * group.power) << self.shift;
                }
            }
            for crossing in layout.crossed(group, column) {
                for (price, row) in chunk.iter_mut().zip(&row_prices[crossing.chunk * LANES..]) {
                    *price += crossing.coefficient * row;
                }
            }
            for (price, slot) in chunk
                .iter_mut()
                .zip(group.first_slot + column * LANES..layout.problem.slots())
            {
                *price += self.cones.of(layout, group, slot);
            }
            prices.extend(chunk);
        }
    }

    /// The least that one session can cost.
    fn cheapest(&self, layout: &Layout, member: usize, prices: &[i64], order: &mut Vec<(i64, i64)>) -> i128 {
        let cells = &layout.cells[member];
        let session = &layout.problem.sessions[cells.session];
        let from = cells.first_slot - layout.groups[cells.group].first_slot;
        let worth = session.penalty << self.shift;
        order.clear();
        let lengths = &layout.problem.lengths[session.stay()];
        order.extend(
            prices[from..from + cells.slots]
                .iter()
                .copied()
                .zip(lengths.iter().copied()),
        );
        order.retain(|(price, _)| *price < worth);
        order.sort_unstable();
        let (mut left, mut cost) = (session.wanted, 0);
        for &(price, length) in order.iter() {
            let amount = left.min(session.most * length);
            cost += i128::from(price) * i128::from(amount);
            left -= amount;
            if left == 0 {
                break;
            }
        }
        cost + i128::from(worth) * i128::from(left)
    }
}

/// Each row's multiplier with those of all rows above it.
fn sums_from_root(layout: &Layout, by_row: &[i64]) -> Vec<i64> {
    let mut sums = by_row.to_vec();
    for (index, chunk) in layout.rows.chunks.iter().enumerate().skip(1) {
        let (above, own) = sums.split_at_mut(index * LANES);
        for (own, above) in own[..LANES].iter_mut().zip(&above[chunk.parent * LANES..]) {
            *own += above;
        }
    }
    sums
}

/// The most that a unit of amount is worth to any session: what it loses without, and what it may be paid.
fn largest_price(layout: &Layout) -> i64 {
    let problem = layout.problem;
    let dearest = problem.prices.iter().map(|price| price.abs()).max().unwrap_or(0);
    let worth = problem
        .sessions
        .iter()
        .map(|session| session.penalty + dearest * session.power);
    worth.fold(1, i64::max)
}

/// Bits of the fraction, so that the largest price on all rows that a session can cross stays in range.
fn fraction_bits(layout: &Layout) -> u32 {
    let bits = |number: i64| i64::BITS - number.leading_zeros();
    let spread = layout
        .coefficients
        .iter()
        .map(|range| range.end() / range.start())
        .fold(1, i64::max);
    let cones = layout.groups.iter().map(|group| group.cones.len()).fold(0, usize::max);
    let crossed = (layout.rows.depth * ROW_KINDS + cones * TOTAL * CONE_PRICES as usize) as i64;
    PRICE_BITS
        .saturating_sub(bits(largest_price(layout)) + bits(spread) + bits(crossed))
        .min(FRACTION_BITS)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Numbers, Shape, conic_optimum, linear_optimum, random, random_between_lines};
    use super::*;

    #[test]
    fn it_is_below_the_optimum_whatever_the_multipliers() {
        for seed in 0..60 {
            let problem = random(seed, Shape::General, seed % 2 == 0);
            let layout = Layout::new(&problem);
            let optimum = linear_optimum(&problem);
            let mut numbers = Numbers::new(seed);
            for scale in [1, 100, 10_000, 10_000_000] {
                let drawn: Vec<f64> = layout
                    .rows
                    .capacity
                    .iter()
                    .map(|_| numbers.between(-scale, scale) as f64)
                    .collect();
                let bound = Multipliers::from_money(&layout, |row| drawn[row]).bound(&layout, Objective::All);
                assert!(
                    bound as f64 <= optimum + 1e-6 * optimum.abs() + 10.0,
                    "seed {seed}: {bound}, optimum {optimum}"
                );
            }
        }
    }

    #[test]
    fn what_must_stay_unserved_is_bounded_too() {
        for seed in 0..60 {
            let mut problem = random(seed, Shape::General, false);
            let cut = super::super::start::Start::from_flows(&Layout::new(&problem)).cut;
            let bound = cut.bound(&Layout::new(&problem), Objective::Unserved);
            problem.prices.fill(0);
            let optimum = linear_optimum(&problem);
            assert!(
                bound as f64 <= optimum + 1e-6 * optimum + 10.0,
                "seed {seed}: {bound}, optimum {optimum}"
            );
        }
    }

    #[test]
    fn wild_multipliers_are_kept_in_range() {
        let problem = random(3, Shape::General, true);
        let layout = Layout::new(&problem);
        let optimum = linear_optimum(&problem);
        for wild in [f64::INFINITY, f64::NAN, -1e300, 1e300] {
            let bound = Multipliers::from_money(&layout, |_| wild).bound(&layout, Objective::All);
            assert!(bound as f64 <= optimum + 1e-6 * optimum.abs() + 10.0);
        }
    }
    #[test]
    fn wild_multipliers_of_cones_are_kept_in_range() {
        for seed in 0..20 {
            let mut problem = random_between_lines(seed);
            // Loads are counted in parts of a rate.
            for load in problem.sessions.iter_mut().flat_map(|session| &mut session.line) {
                *load *= 1 << 10;
            }
            for limit in problem.cones.iter_mut().flat_map(|cone| &mut cone.by_slot) {
                *limit *= 1 << 10;
            }
            // Money fills the integers.
            for session in &mut problem.sessions {
                (session.power, session.penalty) = (session.power << 17, session.penalty << 17);
            }
            let layout = Layout::new(&problem);
            let optimum = conic_optimum(&problem);
            let mut numbers = Numbers::new(seed);
            for wild in [1.0, 1e2, 1e4, 1e5, 1e6, 1e7, 1e8, 1e30, f32::INFINITY, f32::NAN] {
                let drawn = |_: &i64| wild * numbers.between(-100, 101) as f32 / 100.0;
                let multipliers: Vec<f32> = layout.rows.capacity.iter().map(drawn).collect();
                let bound = Multipliers::from_search(&layout, &multipliers).bound(&layout, Objective::All);
                assert!(
                    bound as f64 <= optimum + 1e-6 * optimum.abs() + 1_000.0,
                    "seed {seed}, {wild}: {bound}, optimum {optimum}"
                );
            }
        }
    }
}
