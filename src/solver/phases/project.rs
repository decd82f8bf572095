//! The session's part of one step, exact: move down the prices, then back to the nearest amounts the session may have.
//!
//! The nearest point of `0 <= x <= most, sum x = wanted` is `clip(v + level)` for one water level; what would need a level above the
//! worth of not being served stays unserved. The level is found by Newton's method from the last step's, kept inside a bracket: the
//! sum is piecewise linear and increasing in the level, so it ends after as many passes as breakpoints are crossed, mostly one.
//!
//! Sums are taken in a fixed order and without fused multiply-add, so that every machine gets the same bits.

use fearless_simd::{Simd, f32x8, prelude::*};

use super::rows::LANES;

/// What the session asks for, in the search's scale.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    pub wanted: f32,
    /// Length of the step along the prices.
    pub step: f32,
    /// The level above which energy is better left unserved.
    pub highest_level: f32,
    /// Where to begin.
    pub level: f32,
    /// Weights of the extrapolated point and of the anchor in the average.
    pub forth: f32,
    pub back: f32,
}

/// One session's rows of cells; all of one length, a multiple of [`LANES`].
pub(super) struct Strips<'a> {
    pub amounts: &'a mut [f32],
    pub anchor: &'a [f32],
    /// Upper bounds.
    pub most: &'a [f32],
    pub prices: &'a [f32],
    /// Out: the projected point.
    pub projected: &'a mut [f32],
    /// In and out: what the group takes, to which the extrapolated point is added.
    pub taken: &'a mut [f32],
}

/// Most passes in search of the level; what is then missing is made good by the steps that follow.
const MOST_PASSES: usize = 4;
/// How far the sum may be off: relative to what is wanted, and absolutely.
const TOLERANCE: (f32, f32) = (1e-4, 3e-5);

/// Projects and averages. Returns the level and the squared length of the move.
#[inline(always)]
pub(super) fn project<S: Simd>(simd: S, strips: Strips<'_>, need: Need) -> (f32, f32) {
    // The same code with the number of lanes known: loops are unrolled and what is moved stays in registers.
    match strips.most.len() / LANES {
        1 => project_strips(simd, strips.of_length::<1>(), need),
        2 => project_strips(simd, strips.of_length::<2>(), need),
        3 => project_strips(simd, strips.of_length::<3>(), need),
        4 => project_strips(simd, strips.of_length::<4>(), need),
        5 => project_strips(simd, strips.of_length::<5>(), need),
        6 => project_strips(simd, strips.of_length::<6>(), need),
        _ => project_strips(simd, strips, need),
    }
}

impl<'a> Strips<'a> {
    #[inline(always)]
    fn of_length<const N: usize>(self) -> Strips<'a> {
        Strips {
            amounts: &mut self.amounts[..N * LANES],
            anchor: &self.anchor[..N * LANES],
            most: &self.most[..N * LANES],
            prices: &self.prices[..N * LANES],
            projected: &mut self.projected[..N * LANES],
            taken: &mut self.taken[..N * LANES],
        }
    }
}

#[inline(always)]
fn project_strips<S: Simd>(simd: S, strips: Strips<'_>, need: Need) -> (f32, f32) {
    let Strips {
        amounts,
        anchor,
        most,
        prices,
        projected,
        taken,
    } = strips;
    let step = f32x8::splat(simd, need.step);
    for ((x, price), out) in lanes(amounts).zip(lanes(prices)).zip(projected.chunks_exact_mut(LANES)) {
        let moved = f32x8::from_slice(simd, x) - step * f32x8::from_slice(simd, price);
        moved.store_slice(out);
    }
    let level = find_level(simd, projected, most, &need);

    let (forth, back) = (f32x8::splat(simd, need.forth), f32x8::splat(simd, need.back));
    let (zero, level_lanes) = (f32x8::splat(simd, 0.0), f32x8::splat(simd, level));
    let mut squares = zero;
    for ((((x, x0), bound), out), load) in amounts
        .chunks_exact_mut(LANES)
        .zip(lanes(anchor))
        .zip(lanes(most))
        .zip(projected.chunks_exact_mut(LANES))
        .zip(taken.chunks_exact_mut(LANES))
    {
        let point = clip(
            f32x8::from_slice(simd, out) + level_lanes,
            zero,
            f32x8::from_slice(simd, bound),
        );
        let moved = point - f32x8::from_slice(simd, x);
        let beyond = point + moved;
        squares += moved * moved;
        point.store_slice(out);
        (f32x8::from_slice(simd, load) + beyond).store_slice(load);
        (forth * beyond + back * f32x8::from_slice(simd, x0)).store_slice(x);
    }
    (level, sum(squares))
}

/// The level at which the clipped sum is what is wanted, or the highest there is.
#[inline(always)]
fn find_level<S: Simd>(simd: S, moved: &[f32], most: &[f32], need: &Need) -> f32 {
    let tolerance = TOLERANCE.0 * need.wanted + TOLERANCE.1;
    let mut level = need.level.min(need.highest_level);
    let (mut low, mut high) = (f32::NEG_INFINITY, f32::INFINITY);
    for _ in 0..MOST_PASSES {
        let (held, free) = fill(simd, moved, most, level);
        let missing = need.wanted - held;
        if missing.abs() <= tolerance || (missing > 0.0 && level >= need.highest_level) {
            break;
        }
        if missing > 0.0 {
            low = level
        } else {
            high = level
        }
        let mut next = if free > 0.0 { level + missing / free } else { f32::NAN };
        // Not a number compares false: without a free cell there is no Newton step.
        if !(next > low && next < high) {
            next = if low.is_finite() && high.is_finite() {
                0.5 * (low + high)
            } else {
                let Some(jump) = next_breakpoint(moved, most, level, missing > 0.0) else {
                    break;
                };
                let beyond = jump + (missing.abs() / 4.0).min(1.0);
                if missing > 0.0 { level + beyond } else { level - beyond }
            };
        }
        level = next.min(need.highest_level);
    }
    level
}

/// The clipped sum at a level, and in how many cells it would move with the level.
#[inline(always)]
fn fill<S: Simd>(simd: S, moved: &[f32], most: &[f32], level: f32) -> (f32, f32) {
    let (zero, one, level) = (
        f32x8::splat(simd, 0.0),
        f32x8::splat(simd, 1.0),
        f32x8::splat(simd, level),
    );
    let (mut held, mut free) = (zero, zero);
    for (moved, bound) in lanes(moved).zip(lanes(most)) {
        let (value, bound) = (f32x8::from_slice(simd, moved) + level, f32x8::from_slice(simd, bound));
        held += clip(value, zero, bound);
        free += (value.simd_gt(zero) & value.simd_lt(bound)).select(one, zero);
    }
    (sum(held), sum(free))
}

/// How far the level must go until a cell begins to move; none if no cell ever does.
#[inline(always)]
fn next_breakpoint(moved: &[f32], most: &[f32], level: f32, upwards: bool) -> Option<f32> {
    let distance = |(&moved, &bound): (&f32, &f32)| {
        let distance = if upwards {
            -(moved + level)
        } else {
            moved + level - bound
        };
        (bound > 0.0 && distance >= 0.0).then_some(distance)
    };
    moved.iter().zip(most).filter_map(distance).reduce(f32::min)
}

#[inline(always)]
fn clip<S: Simd>(value: f32x8<S>, low: f32x8<S>, high: f32x8<S>) -> f32x8<S> {
    value.max(low).min(high)
}

/// The sum over the lanes, always in the same order.
#[inline(always)]
pub(super) fn sum<S: Simd>(lanes: f32x8<S>) -> f32 {
    let [a, b, c, d, e, f, g, h]: [f32; 8] = lanes.into();
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[inline(always)]
fn lanes(cells: &[f32]) -> std::slice::ChunksExact<'_, f32> {
    cells.chunks_exact(LANES)
}

#[cfg(test)]
mod tests {
    use fearless_simd::{Level, dispatch};

    use super::super::testing::Numbers;
    use super::*;

    /// The level by halving, in `f64`.
    fn level_by_halving(moved: &[f64], most: &[f64], wanted: f64, highest: f64) -> f64 {
        let held = |level: f64| -> f64 {
            moved
                .iter()
                .zip(most)
                .map(|(v, most)| (v + level).clamp(0.0, *most))
                .sum()
        };
        let (mut low, mut high) = (-1e3, highest);
        if held(high) <= wanted {
            return high;
        }
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if held(middle) < wanted {
                low = middle
            } else {
                high = middle
            }
        }
        high
    }

    fn check(seed: u64) {
        let mut numbers = Numbers::new(seed);
        let lanes = numbers.between(1, 9) as usize;
        let mut draw = |low: f64, high: f64| low + (high - low) * numbers.between(0, 1_000_001) as f64 / 1e6;
        let (mut amounts, mut most, mut prices) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..lanes * LANES {
            most.push(if draw(0.0, 1.0) < 0.2 {
                0.0
            } else {
                draw(0.1, 1.0) as f32
            });
            amounts.push(draw(0.0, 1.0) as f32);
            prices.push(draw(-1.0, 3.0) as f32);
        }
        let room: f64 = most.iter().map(|&most| f64::from(most)).sum();
        let (wanted, step, highest) = (draw(0.0, 1.2) * room, draw(0.01, 2.0), draw(0.5, 5.0));
        let moved: Vec<f64> = amounts
            .iter()
            .zip(&prices)
            .map(|(&x, &p)| f64::from(x) - step * f64::from(p))
            .collect();
        let bounds: Vec<f64> = most.iter().map(|&most| f64::from(most)).collect();
        let level = level_by_halving(&moved, &bounds, wanted, highest);
        let anchor = vec![0.25; amounts.len()];
        let before = amounts.clone();
        let (mut projected, mut taken) = (vec![0.0; amounts.len()], vec![1.0; amounts.len()]);
        // A search that begins at the last level needs a pass or two; begun anywhere it may need all, several times.
        let mut begin = 0.0;
        for _ in 0..20 {
            amounts.copy_from_slice(&before);
            taken.fill(1.0);
            let need = Need {
                wanted: wanted as f32,
                step: step as f32,
                highest_level: highest as f32,
                level: begin,
                forth: 0.75,
                back: 0.5,
            };
            let strips = Strips {
                amounts: &mut amounts,
                anchor: &anchor,
                most: &most,
                prices: &prices,
                projected: &mut projected,
                taken: &mut taken,
            };
            begin = dispatch!(Level::new(), simd => project(simd, strips, need)).0;
        }
        let tolerance = 2.0 * (f64::from(TOLERANCE.0) * wanted + f64::from(TOLERANCE.1)) + 1e-4;
        let sum: f64 = projected.iter().map(|&x| f64::from(x)).sum();
        let expected: f64 = moved
            .iter()
            .zip(&bounds)
            .map(|(v, most)| (v + level).clamp(0.0, *most))
            .sum();
        assert!(
            (sum - expected).abs() <= tolerance,
            "seed {seed}: sum {sum}, expected {expected}"
        );
        for cell in 0..amounts.len() {
            let beyond = 2.0 * projected[cell] - before[cell];
            assert!((taken[cell] - (1.0 + beyond)).abs() < 1e-5, "seed {seed}");
            assert!(
                (amounts[cell] - (0.75 * beyond + 0.5 * 0.25)).abs() < 1e-5,
                "seed {seed}"
            );
            assert!((0.0..=most[cell]).contains(&projected[cell]), "seed {seed}");
        }
    }

    #[test]
    fn it_finds_the_nearest_point_that_has_what_is_wanted() {
        (0..500).for_each(check);
    }

    #[test]
    fn sums_are_the_same_on_every_machine() {
        let cells: Vec<f32> = (0..8).map(|lane| 1.0 / (lane as f32 + 3.0)).collect();
        let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|lane: usize| cells[lane]);
        let by_hand = ((a + e) + (c + g)) + ((b + f) + (d + h));
        let by_lanes = dispatch!(Level::new(), simd => sum(f32x8::from_slice(simd, &cells)));
        assert_eq!(by_lanes.to_bits(), by_hand.to_bits());
    }
}
