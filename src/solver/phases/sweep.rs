//! Sums over the rows: prices down the tree and onto the groups, loads from the groups and up the tree. Plain passes over arrays.

use fearless_simd::{Simd, f32x8, prelude::*};

use super::layout::{Crossing, Layout};
use super::rows::LANES;

/// Sums the multipliers from the root down, and over what each group crosses, on top of the groups' own `costs`.
#[inline(always)]
pub(super) fn sum_prices<S: Simd>(
    simd: S,
    (layout, crossings): (&Layout, &[Crossing]),
    multipliers: &[f32],
    row_prices: &mut [f32],
    costs: &[f32],
    prices: &mut [f32],
) {
    let load = |chunk: &[f32; LANES]| f32x8::from_slice(simd, chunk);
    let row_prices = chunks_mut(row_prices);
    for ((index, chunk), multiplier) in layout.rows.chunks.iter().enumerate().zip(chunks(multipliers)) {
        (load(&row_prices[chunk.parent]) + load(multiplier)).store_slice(&mut row_prices[index]);
    }
    prices.copy_from_slice(costs);
    let prices = chunks_mut(prices);
    for crossing in crossings {
        let price = &mut prices[crossing.column];
        (load(price) + f32x8::splat(simd, crossing.scaled) * load(&row_prices[crossing.chunk])).store_slice(price);
    }
}

/// Sums what the groups take over the rows they cross, and from there up to the root.
#[inline(always)]
pub(super) fn sum_loads<S: Simd>(
    simd: S,
    (layout, crossings): (&Layout, &[Crossing]),
    taken: &[f32],
    row_loads: &mut [f32],
) {
    let load = |chunk: &[f32; LANES]| f32x8::from_slice(simd, chunk);
    row_loads.fill(0.0);
    let (row_loads, taken) = (chunks_mut(row_loads), chunks(taken));
    for crossing in crossings {
        let row = &mut row_loads[crossing.chunk];
        (load(row) + f32x8::splat(simd, crossing.scaled) * load(&taken[crossing.column])).store_slice(row);
    }
    for (index, chunk) in layout.rows.chunks.iter().enumerate().rev() {
        if chunk.parent > 0 {
            (load(&row_loads[chunk.parent]) + load(&row_loads[index])).store_slice(&mut row_loads[chunk.parent]);
        }
    }
}

#[inline(always)]
pub(super) fn chunks(rows: &[f32]) -> &[[f32; LANES]] {
    rows.as_chunks().0
}

#[inline(always)]
pub(super) fn chunks_mut(rows: &mut [f32]) -> &mut [[f32; LANES]] {
    rows.as_chunks_mut().0
}
