//! The search: restarted Halpern iterations of the primal-dual hybrid gradient method, in `f32`.
//!
//! The rows are priced by multipliers. Each step moves every session down its prices and projects it onto what it may take
//! ([`project`](super::project)), then raises the multipliers where the extrapolated load exceeds the row ([`ascent`](super::ascent)). Halpern's average with the
//! point of the last restart makes the residual fall like 1/k; restarts make it fall geometrically (Lu and Yang 2024). The **weight**
//! between amounts and multipliers is set anew at each restart.
//!
//! Whatever comes out is only a proposal: plans are made whole in integers by [`polish`](super::polish), and
//! [`bound`](super::bound) proves in integers whatever the multipliers are.

use fearless_simd::{Level, Simd, dispatch};

use super::ascent::{Halpern, Rows, Triple};
use super::layout::Layout;
use super::polish::Proposal;
use super::project::{Need, Strips, project};
use super::rows::LANES;
use super::scaled::Scaled;
use super::sweep::{sum_loads, sum_prices};

/// Steps between two looks at the residual.
const LOOK_EVERY: usize = 8;
/// A restart is due when the residual has fallen to this share of what it was at the last one.
const ENOUGH: f64 = 0.2;
/// It is also due when the residual has fallen to this share and rises again.
const SOME: f64 = 0.8;
/// Or when so many steps were made since the last one: a share of all, and some.
const LONG: (f64, f64) = (0.36, 40.0);
/// The weight stays between this and its inverse.
const LEAST_WEIGHT: f64 = 1e-3;

#[derive(Debug)]
pub(super) struct Descent<'a> {
    layout: &'a Layout<'a>,
    level: Level,
    scaled: Scaled,
    /// By cell.
    amounts: Triple,
    /// By row.
    multipliers: Triple,
    /// The allowed peak; one entry.
    peak: Triple,
    /// By slot of each group's row.
    prices: Vec<f32>,
    taken: Vec<f32>,
    /// By row: prices summed down the tree, loads summed up.
    row_prices: Vec<f32>,
    row_loads: Vec<f32>,
    weight: f64,
    iterations: usize,
    since_restart: usize,
    /// The residual when it was looked at first after the restart, and last.
    restarted_at: Option<f64>,
    last_residual: f64,
}

/// Squared moves, each in its own metric.
#[derive(Debug, Clone, Copy, Default)]
struct Moves {
    primal: f64,
    dual: f64,
}

impl<'a> Descent<'a> {
    pub fn new(layout: &'a Layout<'a>) -> Descent<'a> {
        let (rows, level) = (layout.rows.capacity.len(), Level::new());
        Descent {
            layout,
            level,
            scaled: Scaled::new(layout, level),
            amounts: Triple::new(layout.cell_count),
            multipliers: Triple::new(rows),
            peak: Triple::new(1),
            prices: vec![0.0; layout.group_length],
            taken: vec![0.0; layout.group_length],
            row_prices: vec![0.0; rows],
            row_loads: vec![0.0; rows],
            weight: 1.0,
            iterations: 0,
            since_restart: 0,
            restarted_at: None,
            last_residual: f64::INFINITY,
        }
    }

    /// Begins at a point. `amounts` by cell, `multipliers` by row, `peak` as power.
    pub fn begin(&mut self, amounts: &[f32], multipliers: &[f32], peak: i64, weight: f64) {
        self.amounts.set(amounts);
        self.multipliers.set(multipliers);
        if !self.layout.rows.peak.is_empty() {
            let scaled = (peak as f64 / self.scaled.peak.unit) as f32;
            self.peak.set(&[scaled.max(self.scaled.peak.least)]);
        }
        self.weight = weight.clamp(LEAST_WEIGHT, 1.0 / LEAST_WEIGHT);
        dispatch!(self.level, simd => self.sum_prices(simd));
    }

    pub fn weight(&self) -> f64 {
        self.weight
    }

    pub fn iterations(&self) -> usize {
        self.iterations
    }

    /// The last point: amounts by cell, and the prices that led there.
    pub fn proposal(&self) -> Proposal<'_> {
        Proposal {
            amounts: &self.amounts.projected,
            prices: &self.prices,
        }
    }

    /// Multipliers by row; those of cones are pairs, all others not negative.
    pub fn multipliers(&self) -> &[f32] {
        &self.multipliers.projected
    }

    /// The peak that the proposal allows itself.
    pub fn peak(&self) -> i64 {
        (f64::from(self.peak.projected[0]) * self.scaled.peak.unit).ceil() as i64
    }

    /// Takes a number of steps.
    pub fn advance(&mut self, iterations: usize) {
        dispatch!(self.level, simd => self.run(simd, iterations));
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, iterations: usize) {
        for _ in 0..iterations {
            let moves = self.step(simd);
            if self.iterations % LOOK_EVERY == 1 {
                self.look(moves);
            }
        }
    }

    #[inline(always)]
    fn step<S: Simd>(&mut self, simd: S) -> Moves {
        let layout = self.layout;
        self.sum_prices(simd);
        let count = self.since_restart as f32;
        let halpern = Halpern {
            forth: (count + 1.0) / (count + 2.0),
            back: 1.0 / (count + 2.0),
        };
        let mut primal = self.move_sessions(simd, halpern);
        sum_loads(simd, (layout, &layout.crossings), &self.taken, &mut self.row_loads);
        if !layout.rows.peak.is_empty() {
            primal += self.move_peak(halpern);
        }
        let rows = Rows {
            layout,
            scaled: &self.scaled,
            loads: &self.row_loads,
            weight: self.weight as f32,
        };
        let dual = rows.raise(simd, &mut self.multipliers, halpern) + rows.turn(simd, &mut self.multipliers, halpern);
        self.iterations += 1;
        self.since_restart += 1;
        Moves { primal, dual }
    }

    #[inline(always)]
    fn sum_prices<S: Simd>(&mut self, simd: S) {
        let crossed = (self.layout, &self.layout.crossings[..]);
        let (multipliers, costs) = (&self.multipliers.current, &self.scaled.costs);
        sum_prices(
            simd,
            crossed,
            multipliers,
            &mut self.row_prices,
            costs,
            &mut self.prices,
        );
    }

    #[inline(always)]
    fn move_sessions<S: Simd>(&mut self, simd: S, halpern: Halpern) -> f64 {
        self.taken.fill(0.0);
        let inverse_weight = (1.0 / self.weight) as f32;
        let mut squares = 0.0;
        for session in &mut self.scaled.sessions {
            let step = session.step * inverse_weight;
            let need = Need {
                wanted: session.wanted,
                step,
                highest_level: session.penalty * step,
                level: session.water * step,
                forth: halpern.forth,
                back: halpern.back,
            };
            let strips = Strips {
                amounts: &mut self.amounts.current[session.cells()],
                anchor: &self.amounts.anchor[session.cells()],
                most: &self.scaled.most[session.cells()],
                prices: &self.prices[session.row()],
                projected: &mut self.amounts.projected[session.cells()],
                taken: &mut self.taken[session.row()],
            };
            let (level, square) = project(simd, strips, need);
            session.water = level / step;
            squares += f64::from(square / session.step);
        }
        squares
    }

    /// The peak rises as far as its rows pay for more than the charge; its rows' loads become what exceeds it.
    fn move_peak(&mut self, halpern: Halpern) -> f64 {
        let rows = self.layout.rows.peak.start * LANES..self.layout.rows.peak.end * LANES;
        let scale = &self.scaled.peak;
        let multipliers = &self.multipliers.current[rows.clone()];
        let paid: f32 = multipliers
            .iter()
            .zip(&scale.lengths)
            .map(|(multiplier, length)| multiplier * length)
            .sum();
        let before = self.peak.current[0];
        let projected = (before - scale.step / self.weight as f32 * (scale.charge - paid)).max(scale.least);
        let beyond = 2.0 * projected - before;
        self.peak.projected[0] = projected;
        self.peak.current[0] = halpern.forth * beyond + halpern.back * self.peak.anchor[0];
        for (load, length) in self.row_loads[rows].iter_mut().zip(&scale.lengths) {
            *load -= beyond * length;
        }
        f64::from((projected - before) * (projected - before) / scale.step)
    }

    /// Restarts where the residual has fallen enough, has fallen some and rises, or the average has become long.
    fn look(&mut self, moves: Moves) {
        let residual = (moves.primal * self.weight + moves.dual / self.weight).sqrt();
        let last = std::mem::replace(&mut self.last_residual, residual);
        let Some(first) = self.restarted_at else {
            self.restarted_at = Some(residual);
            return;
        };
        let is_long = self.since_restart as f64 > LONG.0 * self.iterations as f64 + LONG.1;
        if residual <= ENOUGH * first || (residual <= SOME * first && residual > last) || is_long {
            self.restart();
        }
    }

    fn restart(&mut self) {
        let moves = self.moved_since_restart();
        // Without a move on both sides there is nothing to balance.
        if moves.primal > 1e-12 && moves.dual > 1e-14 {
            let balanced = (moves.dual / moves.primal).sqrt();
            self.weight = (balanced * self.weight).sqrt().clamp(LEAST_WEIGHT, 1.0 / LEAST_WEIGHT);
        }
        self.amounts.restart();
        self.multipliers.restart();
        self.peak.restart();
        self.since_restart = 0;
        self.restarted_at = None;
    }

    fn moved_since_restart(&self) -> Moves {
        let mut moves = Moves::default();
        let square = |(a, b): (&f32, &f32)| (a - b) * (a - b);
        for session in &self.scaled.sessions {
            let (projected, anchor) = (
                &self.amounts.projected[session.cells()],
                &self.amounts.anchor[session.cells()],
            );
            let squares: f32 = projected.iter().zip(anchor).map(square).sum();
            moves.primal += f64::from(squares / session.step);
        }
        let pairs = self.multipliers.projected.iter().zip(&self.multipliers.anchor);
        for (pair, step) in pairs.zip(&self.scaled.row_steps).filter(|(_, step)| **step > 0.0) {
            moves.dual += f64::from(square(pair) / step);
        }
        if !self.layout.rows.peak.is_empty() {
            moves.primal += f64::from(square((&self.peak.projected[0], &self.peak.anchor[0])) / self.scaled.peak.step);
        }
        moves
    }
}

#[cfg(test)]
mod tests {
    use super::super::bound::{Multipliers, Objective};
    use super::super::testing::{Shape, linear_optimum, random};
    use super::*;

    fn bound_after(layout: &Layout, descent: &Descent) -> f64 {
        Multipliers::from_search(layout, descent.multipliers()).bound(layout, Objective::All) as f64
    }

    #[test]
    fn from_nothing_its_multipliers_close_in_on_the_optimum() {
        let mut close = 0;
        for seed in 0..40 {
            let problem = random(seed, Shape::General, seed % 2 == 1);
            let layout = Layout::new(&problem);
            let mut descent = Descent::new(&layout);
            descent.advance(3_000);
            let (bound, optimum) = (bound_after(&layout, &descent), linear_optimum(&problem));
            close += usize::from(bound >= optimum - 1e-3 * optimum.abs() - 100.0);
        }
        assert!(close >= 36, "only {close} of 40 came close");
    }

    #[test]
    fn steps_do_not_depend_on_how_they_are_asked_for() {
        let problem = random(11, Shape::General, true);
        let layout = Layout::new(&problem);
        let (mut at_once, mut by_and_by) = (Descent::new(&layout), Descent::new(&layout));
        at_once.advance(200);
        (0..40).for_each(|_| by_and_by.advance(5));
        assert_eq!(at_once.proposal().amounts, by_and_by.proposal().amounts);
        assert_eq!(at_once.multipliers(), by_and_by.multipliers());
    }

    #[test]
    fn the_widest_vectors_and_none_give_the_same_bits() {
        let problem = random(12, Shape::General, true);
        let layout = Layout::new(&problem);
        let (mut wide, mut narrow) = (Descent::new(&layout), Descent::new(&layout));
        narrow.level = Level::baseline();
        wide.advance(300);
        narrow.advance(300);
        assert_eq!(wide.proposal().amounts, narrow.proposal().amounts);
        assert_eq!(wide.multipliers(), narrow.multipliers());
    }
}
