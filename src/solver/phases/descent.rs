//! The search: restarted Halpern iterations of the primal-dual hybrid gradient method, in `f32`.
//!
//! The rows are priced by multipliers. Each step moves every session down its prices and projects it onto what it may take
//! ([`project`](super::project)), then raises the multipliers where the extrapolated load exceeds the row. Halpern's average with the
//! point of the last restart makes the residual fall like 1/k; restarts make it fall geometrically. Steps are diagonal (Pock and
//! Chambolle): each row by what its cells sum to, each session by the rows it crosses. The **weight** between amounts and multipliers
//! is set anew at each restart.
//!
//! Whatever comes out is only a proposal: plans are made whole in integers by [`polish`](super::polish), and
//! [`bound`](super::bound) proves in integers whatever the multipliers are.

use fearless_simd::{Level, Simd, dispatch, f32x8, prelude::*};

use super::layout::{Cells, Layout};
use super::project::{Need, Strips, project, sum};
use super::rows::{LANES, UNLIMITED};

/// Share of the mean row in the scale of the peak's step.
const PEAK_SHARE: f64 = 0.1;
/// Steps between two looks at the residual.
const LOOK_EVERY: usize = 8;
/// A restart is due when the residual has fallen to this share of what it was at the last one.
const ENOUGH: f64 = 0.2;
/// It is also due when the residual has fallen to this share and rises again.
const SOME: f64 = 0.8;

/// A point: the last iterate, the anchor of the average, and the last projected point.
#[derive(Debug, Clone, Default)]
struct Triple {
    current: Vec<f32>,
    anchor: Vec<f32>,
    projected: Vec<f32>,
}

/// The allowed peak as a variable, in the search's scale; see [`Descent::lower_peak`].
#[derive(Debug, Clone, Copy, Default)]
struct Peak {
    current: f32,
    anchor: f32,
    projected: f32,
    least: f32,
    charge: f32,
    /// What a step is scaled with, so that it suits the rows' sizes.
    column_sum: f32,
}

#[derive(Debug)]
pub(super) struct Descent<'a> {
    layout: &'a Layout<'a>,
    level: Level,
    amounts: Triple,
    multipliers: Triple,
    peak: Peak,
    /// Upper bound of each cell.
    most: Vec<f32>,
    /// By position in the layout's cells.
    sessions: Vec<SessionStrip>,
    /// By row: the length of a step (0 where there is no row), and the capacity.
    row_steps: Vec<f32>,
    capacities: Vec<f32>,
    /// For each slot of the peak's rows: its length over the longest.
    peak_lengths: Vec<f32>,
    /// By slot of each group's row.
    costs: Vec<f32>,
    prices: Vec<f32>,
    taken: Vec<f32>,
    /// By row: prices summed down the tree, loads summed up.
    row_prices: Vec<f32>,
    row_loads: Vec<f32>,
    weight: f64,
    iterations: usize,
    since_restart: usize,
    restarted_at: f64,
    last_residual: f64,
}

/// What the step needs of one session, close together.
#[derive(Debug, Clone, Copy)]
struct SessionStrip {
    /// Where its cells and its part of the group's row begin, and how long they are.
    cells: u32,
    row: u32,
    length: u32,
    wanted: f32,
    /// Of one unit not served.
    penalty: f32,
    /// The length of a step at weight 1.
    step: f32,
    /// The water level as a price.
    water: f32,
}

/// Squared moves of one step, each in its own metric.
#[derive(Debug, Clone, Copy, Default)]
struct Moves {
    primal: f64,
    dual: f64,
}

impl Triple {
    fn new(length: usize) -> Triple {
        let zero = vec![0.0; length];
        Triple {
            current: zero.clone(),
            anchor: zero.clone(),
            projected: zero,
        }
    }

    fn set(&mut self, point: &[f32]) {
        self.current.copy_from_slice(point);
        self.anchor.copy_from_slice(point);
        self.projected.copy_from_slice(point);
    }

    fn restart(&mut self) {
        self.current.copy_from_slice(&self.projected);
        self.anchor.copy_from_slice(&self.projected);
    }
}

impl SessionStrip {
    fn new(layout: &Layout, cells: &Cells) -> SessionStrip {
        let session = &layout.problem.sessions[cells.session];
        let group = &layout.groups[cells.group];
        SessionStrip {
            cells: cells.offset as u32,
            row: (group.offset + cells.first_slot - group.first_slot) as u32,
            length: cells.padded as u32,
            wanted: (session.wanted as f64 / layout.scale.amount) as f32,
            penalty: (session.penalty as f64 / layout.scale.price) as f32,
            step: 1.0,
            water: 1.0,
        }
    }

    #[inline(always)]
    fn cells(&self) -> std::ops::Range<usize> {
        self.cells as usize..(self.cells + self.length) as usize
    }

    #[inline(always)]
    fn row(&self) -> std::ops::Range<usize> {
        self.row as usize..(self.row + self.length) as usize
    }
}

impl<'a> Descent<'a> {
    pub fn new(layout: &'a Layout<'a>) -> Descent<'a> {
        let rows = layout.rows.capacity.len();
        let mut descent = Descent {
            layout,
            level: Level::new(),
            amounts: Triple::new(layout.cell_count),
            multipliers: Triple::new(rows),
            peak: Peak::default(),
            most: vec![0.0; layout.cell_count],
            sessions: layout
                .cells
                .iter()
                .map(|cells| SessionStrip::new(layout, cells))
                .collect(),
            row_steps: vec![0.0; rows],
            capacities: vec![f32::MAX; rows],
            peak_lengths: vec![0.0; layout.rows.peak.len() * LANES],
            costs: vec![0.0; layout.group_length],
            prices: vec![0.0; layout.group_length],
            taken: vec![0.0; layout.group_length],
            row_prices: vec![0.0; rows],
            row_loads: vec![0.0; rows],
            weight: 1.0,
            iterations: 0,
            since_restart: 0,
            restarted_at: f64::INFINITY,
            last_residual: f64::INFINITY,
        };
        descent.lay_cells();
        descent.lay_rows();
        descent.lay_peak();
        descent.set_steps();
        descent
    }

    /// Upper bounds of the cells and costs of the groups.
    fn lay_cells(&mut self) {
        let (layout, problem) = (self.layout, self.layout.problem);
        for cells in &layout.cells {
            let most = problem.sessions[cells.session].most as f64 / layout.scale.amount;
            for (bound, slot) in self.most[cells.offset..]
                .iter_mut()
                .zip(cells.first_slot..cells.first_slot + cells.slots)
            {
                *bound = (most * problem.lengths[slot] as f64) as f32;
            }
        }
        for group in &layout.groups {
            let power = group.power as f64 / layout.scale.price;
            let slots = group.first_slot..problem.slots().min(group.first_slot + group.columns * LANES);
            for (cost, slot) in self.costs[group.offset..].iter_mut().zip(slots) {
                *cost = (problem.prices[slot] as f64 * power) as f32;
            }
        }
    }

    fn lay_rows(&mut self) {
        let layout = self.layout;
        for (index, chunk) in layout.rows.chunks.iter().enumerate() {
            for row in index * LANES..(index + 1) * LANES {
                if layout.rows.capacity[row] < UNLIMITED {
                    let unit = layout.scale.load[chunk.kind] * layout.scale.amount;
                    self.capacities[row] = (layout.rows.capacity[row] as f64 / unit) as f32;
                }
            }
        }
    }

    /// Step sizes from the sums of the coefficients over each row and over each session's columns.
    fn set_steps(&mut self) {
        let layout = self.layout;
        self.taken.fill(0.0);
        for (cells, strip) in layout.cells.iter().zip(&self.sessions) {
            self.taken[strip.row()][..cells.slots]
                .iter_mut()
                .for_each(|count| *count += 1.0);
        }
        dispatch!(self.level, simd => self.sum_loads(simd));
        let peak_rows = layout.rows.peak.start * LANES..layout.rows.peak.end * LANES;
        for (row, step) in self.row_steps.iter_mut().enumerate() {
            if self.capacities[row] < f32::MAX && self.row_loads[row] > 0.0 {
                let peak = if peak_rows.contains(&row) {
                    self.peak.column_sum
                } else {
                    0.0
                };
                *step = 1.0 / (self.row_loads[row] + peak);
            }
        }
        // The columns of a group: as prices, if each row that counts costs 1.
        for (price, step) in self.multipliers.current.iter_mut().zip(&self.row_steps) {
            *price = if *step > 0.0 { 1.0 } else { 0.0 };
        }
        self.prices.fill(0.0);
        let costs = std::mem::take(&mut self.costs);
        self.costs = vec![0.0; costs.len()];
        dispatch!(self.level, simd => self.sum_prices(simd));
        self.costs = costs;
        self.multipliers.current.fill(0.0);
        for (cells, strip) in layout.cells.iter().zip(&mut self.sessions) {
            // The projection needs one metric for the whole session: that of its most crowded slot.
            let columns = self.prices[strip.row()][..cells.slots]
                .iter()
                .copied()
                .fold(0.0, f32::max);
            strip.step = if columns > 0.0 { 1.0 / columns } else { 1.0 };
        }
    }

    fn lay_peak(&mut self) {
        let (layout, scale) = (self.layout, &self.layout.scale);
        let Some(charge) = &layout.problem.demand_charge else {
            return;
        };
        let kind = super::rows::PEAK;
        self.peak.charge = (charge.price as f64 * scale.load[kind] / (scale.length * scale.price)) as f32;
        self.peak.least = (layout.problem.least_peak() as f64 / self.peak_unit()) as f32;
        for (share, &length) in self.peak_lengths.iter_mut().zip(&layout.problem.lengths) {
            *share = (length as f64 / scale.length) as f32;
        }
        let in_rows: f64 = layout
            .cells
            .iter()
            .map(|cells| cells.slots as f64 * layout.groups[cells.group].power as f64)
            .sum();
        self.peak.column_sum =
            (PEAK_SHARE * in_rows / scale.load[kind] / layout.problem.slots() as f64).max(1.0) as f32;
    }

    /// One unit of the peak in the search's scale, in units of power.
    fn peak_unit(&self) -> f64 {
        self.layout.scale.load[super::rows::PEAK] * self.layout.scale.amount / self.layout.scale.length
    }

    /// Begins at a point. `amounts` by cell, `multipliers` by row, `peak` as power.
    pub fn begin(&mut self, amounts: &[f32], multipliers: &[f32], peak: i64) {
        self.amounts.set(amounts);
        self.multipliers.set(multipliers);
        let peak = ((peak as f64 / self.peak_unit()) as f32).max(self.peak.least);
        (self.peak.current, self.peak.anchor, self.peak.projected) = (peak, peak, peak);
    }

    pub fn set_weight(&mut self, weight: f64) {
        self.weight = weight;
    }

    pub fn weight(&self) -> f64 {
        self.weight
    }

    pub fn iterations(&self) -> usize {
        self.iterations
    }

    /// The proposal: amounts by cell.
    pub fn amounts(&self) -> &[f32] {
        &self.amounts.projected
    }

    /// Multipliers by row; not negative.
    pub fn multipliers(&self) -> &[f32] {
        &self.multipliers.projected
    }

    /// The peak that the proposal allows itself.
    pub fn peak(&self) -> i64 {
        (f64::from(self.peak.projected) * self.peak_unit()).ceil() as i64
    }

    /// Takes a number of steps.
    pub fn advance(&mut self, iterations: usize) {
        dispatch!(self.level, simd => self.run(simd, iterations));
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, iterations: usize) {
        for _ in 0..iterations {
            let moves = self.step(simd);
            if (self.iterations - 1).is_multiple_of(LOOK_EVERY) {
                self.look(moves);
            }
        }
    }

    #[inline(always)]
    fn step<S: Simd>(&mut self, simd: S) -> Moves {
        self.sum_prices(simd);
        let count = self.since_restart as f32;
        let (forth, back) = ((count + 1.0) / (count + 2.0), 1.0 / (count + 2.0));
        let mut moves = Moves::default();
        moves.primal = self.move_sessions(simd, forth, back);
        self.sum_loads(simd);
        moves.primal += self.lower_peak(forth, back);
        moves.dual = self.raise_multipliers(simd, forth, back);
        self.iterations += 1;
        self.since_restart += 1;
        moves
    }

    /// Adds prices down the tree and over each group's rows.
    #[inline(always)]
    fn sum_prices<S: Simd>(&mut self, simd: S) {
        let load = |chunk: &[f32; LANES]| f32x8::from_slice(simd, chunk);
        let (row_prices, multipliers) = (chunks_mut(&mut self.row_prices), chunks(&self.multipliers.current));
        for ((index, chunk), multiplier) in self.layout.rows.chunks.iter().enumerate().zip(multipliers) {
            (load(&row_prices[chunk.parent]) + load(multiplier)).store_slice(&mut row_prices[index]);
        }
        let crossings = self.layout.crossings.iter();
        self.prices.copy_from_slice(&self.costs);
        let prices = chunks_mut(&mut self.prices);
        for crossing in crossings {
            let price = &mut prices[crossing.column];
            (load(price) + f32x8::splat(simd, crossing.scaled) * load(&row_prices[crossing.chunk])).store_slice(price);
        }
    }

    #[inline(always)]
    fn move_sessions<S: Simd>(&mut self, simd: S, forth: f32, back: f32) -> f64 {
        self.taken.fill(0.0);
        let inverse_weight = (1.0 / self.weight) as f32;
        let mut squares = 0.0;
        for session in &mut self.sessions {
            let step = session.step * inverse_weight;
            let need = Need {
                wanted: session.wanted,
                step,
                highest_level: session.penalty * step,
                level: session.water * step,
                forth,
                back,
            };
            let strips = Strips {
                amounts: &mut self.amounts.current[session.cells()],
                anchor: &self.amounts.anchor[session.cells()],
                most: &self.most[session.cells()],
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

    /// Adds the groups' loads to their rows and up the tree.
    #[inline(always)]
    fn sum_loads<S: Simd>(&mut self, simd: S) {
        let load = |chunk: &[f32; LANES]| f32x8::from_slice(simd, chunk);
        self.row_loads.fill(0.0);
        let (row_loads, taken) = (chunks_mut(&mut self.row_loads), chunks(&self.taken));
        for crossing in &self.layout.crossings {
            let row = &mut row_loads[crossing.chunk];
            (load(row) + f32x8::splat(simd, crossing.scaled) * load(&taken[crossing.column])).store_slice(row);
        }
        for (index, chunk) in self.layout.rows.chunks.iter().enumerate().rev() {
            if chunk.parent > 0 {
                (load(&row_loads[chunk.parent]) + load(&row_loads[index])).store_slice(&mut row_loads[chunk.parent]);
            }
        }
    }

    /// The peak moves up as far as its rows pay for more than the charge; its rows' loads become what exceeds it.
    fn lower_peak(&mut self, forth: f32, back: f32) -> f64 {
        let rows = self.layout.rows.peak.start * LANES..self.layout.rows.peak.end * LANES;
        if rows.is_empty() {
            return 0.0;
        }
        let slots = self.layout.problem.slots() as f32;
        let paid: f32 = self.multipliers.current[rows.clone()]
            .iter()
            .zip(&self.peak_lengths)
            .map(|(m, l)| m * l)
            .sum();
        let step = self.peak.column_sum / slots;
        let Peak {
            current,
            least,
            charge,
            anchor,
            ..
        } = self.peak;
        let projected = (current - step / self.weight as f32 * (charge - paid)).max(least);
        let beyond = 2.0 * projected - current;
        self.peak.projected = projected;
        self.peak.current = forth * beyond + back * anchor;
        for (load, length) in self.row_loads[rows].iter_mut().zip(&self.peak_lengths) {
            *load -= beyond * length;
        }
        f64::from((projected - current) * (projected - current) / step)
    }

    #[inline(always)]
    fn raise_multipliers<S: Simd>(&mut self, simd: S, forth: f32, back: f32) -> f64 {
        let weight = f32x8::splat(simd, self.weight as f32);
        let (forth, back, zero) = (
            f32x8::splat(simd, forth),
            f32x8::splat(simd, back),
            f32x8::splat(simd, 0.0),
        );
        let load = |chunk: &[f32; LANES]| f32x8::from_slice(simd, chunk);
        let one = f32x8::splat(simd, 1.0);
        let mut squares = zero;
        let Triple {
            current,
            anchor,
            projected,
        } = &mut self.multipliers;
        let points = chunks_mut(current)
            .iter_mut()
            .zip(chunks(anchor))
            .zip(chunks_mut(projected));
        let rows = chunks(&self.row_steps)
            .iter()
            .zip(chunks(&self.row_loads))
            .zip(chunks(&self.capacities));
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

    /// Restarts where the residual has fallen enough, has fallen some and rises, or the average has become long.
    fn look(&mut self, moves: Moves) {
        let residual = (moves.primal * self.weight + moves.dual / self.weight).sqrt();
        if self.since_restart == 1 || !self.restarted_at.is_finite() {
            (self.restarted_at, self.last_residual) = (residual, residual);
            return;
        }
        let enough = residual <= ENOUGH * self.restarted_at;
        let rising = residual <= SOME * self.restarted_at && residual > self.last_residual;
        let long = self.since_restart > self.iterations * 36 / 100 + 40;
        self.last_residual = residual;
        if enough || rising || long {
            self.restart();
        }
    }

    fn restart(&mut self) {
        let moves = self.moved_since_restart();
        if moves.primal > 1e-12 && moves.dual > 1e-14 {
            let ratio = (moves.dual.sqrt() / moves.primal.sqrt()).ln();
            self.weight = (0.5 * ratio + 0.5 * self.weight.ln()).exp().clamp(1e-3, 1e3);
        }
        self.amounts.restart();
        self.multipliers.restart();
        (self.peak.current, self.peak.anchor) = (self.peak.projected, self.peak.projected);
        self.since_restart = 0;
        self.restarted_at = f64::INFINITY;
    }

    fn moved_since_restart(&self) -> Moves {
        let mut moves = Moves::default();
        let square = |(a, b): (&f32, &f32)| (a - b) * (a - b);
        for session in &self.sessions {
            let (projected, anchor) = (
                &self.amounts.projected[session.cells()],
                &self.amounts.anchor[session.cells()],
            );
            let squares: f32 = projected.iter().zip(anchor).map(square).sum();
            moves.primal += f64::from(squares / session.step);
        }
        let pairs = self.multipliers.projected.iter().zip(&self.multipliers.anchor);
        for (pair, step) in pairs.zip(&self.row_steps).filter(|(_, step)| **step > 0.0) {
            moves.dual += f64::from(square(pair) / step);
        }
        if !self.layout.rows.peak.is_empty() {
            let step = self.peak.column_sum / self.layout.problem.slots() as f32;
            moves.primal += f64::from(square((&self.peak.projected, &self.peak.anchor)) / step);
        }
        moves
    }
}

#[inline(always)]
fn chunks(rows: &[f32]) -> &[[f32; LANES]] {
    rows.as_chunks().0
}

#[inline(always)]
fn chunks_mut(rows: &mut [f32]) -> &mut [[f32; LANES]] {
    rows.as_chunks_mut().0
}
