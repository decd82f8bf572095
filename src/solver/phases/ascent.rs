//! The rows' part of one step: multipliers move along what their rows are exceeded by, then everything is averaged.

use fearless_simd::{Simd, f32x8, prelude::*};

use super::layout::Layout;
use super::project::sum;
use super::rows::LANES;
use super::scaled::Scaled;
use super::sweep::{chunks, chunks_mut};

/// The last iterate, the anchor of the average, and the last projected point.
#[derive(Debug, Clone, Default)]
pub(super) struct Triple {
    pub current: Vec<f32>,
    pub anchor: Vec<f32>,
    pub projected: Vec<f32>,
}

/// Weights of the extrapolated point and of the anchor in the average.
#[derive(Debug, Clone, Copy)]
pub(super) struct Halpern {
    pub forth: f32,
    pub back: f32,
}

impl Triple {
    pub fn new(length: usize) -> Triple {
        let zero = vec![0.0; length];
        Triple {
            current: zero.clone(),
            anchor: zero.clone(),
            projected: zero,
        }
    }

    pub fn set(&mut self, point: &[f32]) {
        self.projected.copy_from_slice(point);
        self.restart();
    }

    pub fn restart(&mut self) {
        self.current.copy_from_slice(&self.projected);
        self.anchor.copy_from_slice(&self.projected);
    }
}

/// What the rows see in one step.
pub(super) struct Rows<'s> {
    pub layout: &'s Layout<'s>,
    pub scaled: &'s Scaled,
    pub loads: &'s [f32],
    pub weight: f32,
}

impl Rows<'_> {
    /// Multipliers rise where the load exceeds the capacity, and fall to zero at least where it does not. Returns the squared move.
    #[inline(always)]
    pub fn raise<S: Simd>(&self, simd: S, multipliers: &mut Triple, halpern: Halpern) -> f64 {
        let load = |chunk: &[f32; LANES]| f32x8::from_slice(simd, chunk);
        let splat = |number: f32| f32x8::splat(simd, number);
        let (weight, zero, one) = (splat(self.weight), splat(0.0), splat(1.0));
        let (forth, back) = (splat(halpern.forth), splat(halpern.back));
        let mut squares = zero;
        let Triple {
            current,
            anchor,
            projected,
        } = multipliers;
        let linear = self.layout.rows.first_cone();
        let points = chunks_mut(current)[..linear]
            .iter_mut()
            .zip(chunks(anchor))
            .zip(chunks_mut(projected));
        let (steps, capacities) = (chunks(&self.scaled.row_steps), chunks(&self.scaled.capacities));
        let rows = steps.iter().zip(chunks(self.loads)).zip(capacities);
        for (((current, anchor), projected), ((step, row_load), capacity)) in points.zip(rows) {
            let (before, step) = (load(current), load(step));
            let point = (before + weight * step * (load(row_load) - load(capacity))).max(zero);
            let moved = point - before;
            // A step of zero moves nothing: the quotient is taken of one instead.
            squares += moved * moved / step.simd_gt(zero).select(step, one);
            point.store_slice(projected);
            (forth * (point + moved) + back * load(anchor)).store_slice(current);
        }
        f64::from(sum(squares))
    }

    /// The cones' multipliers are pairs: they turn towards the load and are shortened by the limit.
    #[inline(always)]
    pub fn turn<S: Simd>(&self, simd: S, multipliers: &mut Triple, halpern: Halpern) -> f64 {
        let load = |chunk: &[f32; LANES]| f32x8::from_slice(simd, chunk);
        let splat = |number: f32| f32x8::splat(simd, number);
        let (weight, zero, one) = (splat(self.weight), splat(0.0), splat(1.0));
        let (forth, back) = (splat(halpern.forth), splat(halpern.back));
        let Triple {
            current,
            anchor,
            projected,
        } = multipliers;
        let (current, anchor, projected) = (chunks_mut(current), chunks(anchor), chunks_mut(projected));
        let (steps, loads) = (chunks(&self.scaled.row_steps), chunks(self.loads));
        let mut squares = zero;
        for (cone, limit) in self.layout.rows.cones.iter().zip(chunks(&self.scaled.cone_limits)) {
            let pair = [cone.chunk, cone.chunk + 1];
            let step = load(&steps[cone.chunk]);
            let turned = pair.map(|chunk| load(&current[chunk]) + weight * step * load(&loads[chunk]));
            let length = (turned[0] * turned[0] + turned[1] * turned[1]).sqrt();
            let is_long = length.simd_gt(zero);
            let share = (one - weight * step * load(limit) / is_long.select(length, one)).max(zero);
            for (chunk, turned) in pair.into_iter().zip(turned) {
                let point = share * turned;
                let moved = point - load(&current[chunk]);
                squares += moved * moved / step.simd_gt(zero).select(step, one);
                point.store_slice(&mut projected[chunk]);
                (forth * (point + moved) + back * load(&anchor[chunk])).store_slice(&mut current[chunk]);
            }
        }
        f64::from(sum(squares))
    }
}
