//! The problem in the search's scale, and how long its steps are.
//!
//! Steps are diagonal (Pock and Chambolle 2011): a row's is one over the sum of its coefficients, a session's one over the largest sum
//! in its stay, since the projection needs one metric for the whole session. With these, any weight between the two converges.

use fearless_simd::{Level, dispatch};

use super::layout::{Cells, Crossing, Layout};
use super::rows::{CONE, LANES, PEAK, UNLIMITED};
use super::sweep::{sum_loads, sum_prices};

/// Share of the mean row in the scale of the peak's step: about what a tenth of the cars in a slot sum to.
const PEAK_SHARE: f64 = 0.1;

#[derive(Debug)]
pub(super) struct Scaled {
    /// By position in the layout's cells.
    pub sessions: Vec<SessionStrip>,
    /// Upper bound of each cell.
    pub most: Vec<f32>,
    /// By slot of each group's row.
    pub costs: Vec<f32>,
    /// By row: the capacity, and the length of a step at weight 1 (0 where there is no row).
    pub capacities: Vec<f32>,
    pub row_steps: Vec<f32>,
    /// By slot of the cones' chunks: the limit.
    pub cone_limits: Vec<f32>,
    pub peak: PeakScale,
}

/// What the step needs of one session, close together.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionStrip {
    /// Where its cells and its part of the group's row begin, and how long they are.
    cells: u32,
    row: u32,
    length: u32,
    pub wanted: f32,
    /// Of one unit not served.
    pub penalty: f32,
    /// The length of a step at weight 1.
    pub step: f32,
    /// The water level as a price.
    pub water: f32,
}

/// The allowed peak, a variable without a session.
#[derive(Debug, Clone, Default)]
pub(super) struct PeakScale {
    pub least: f32,
    pub charge: f32,
    /// What counts for it in each of its rows.
    pub column_sum: f32,
    /// The length of a step at weight 1.
    pub step: f32,
    /// For each slot: its length over the longest.
    pub lengths: Vec<f32>,
    /// One unit of it, in units of power.
    pub unit: f64,
}

impl Scaled {
    pub fn new(layout: &Layout, level: Level) -> Scaled {
        let rows = layout.rows.capacity.len();
        let mut scaled = Scaled {
            sessions: layout
                .cells
                .iter()
                .map(|cells| SessionStrip::new(layout, cells))
                .collect(),
            most: vec![0.0; layout.cell_count],
            costs: vec![0.0; layout.group_length],
            capacities: vec![f32::MAX; rows],
            row_steps: vec![0.0; rows],
            cone_limits: vec![0.0; layout.rows.cones.len() * LANES],
            peak: PeakScale::new(layout),
        };
        scaled.lay_cells(layout);
        scaled.lay_rows(layout);
        scaled.set_steps(layout, level);
        scaled
    }

    fn lay_cells(&mut self, layout: &Layout) {
        let problem = layout.problem;
        for cells in &layout.cells {
            let most = problem.sessions[cells.session].most as f64 / layout.scale.amount;
            let slots = cells.first_slot..cells.first_slot + cells.slots;
            for (bound, slot) in self.most[cells.offset..].iter_mut().zip(slots) {
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

    fn lay_rows(&mut self, layout: &Layout) {
        for (row, &capacity) in layout.rows.capacity.iter().enumerate() {
            if capacity < UNLIMITED {
                let unit = layout.scale.load[layout.rows.chunks[row / LANES].kind] * layout.scale.amount;
                self.capacities[row] = (capacity as f64 / unit) as f32;
            }
        }
        let limits = layout
            .rows
            .cones
            .iter()
            .zip(self.cone_limits.as_chunks_mut::<LANES>().0);
        for (cone, limits) in limits {
            let column = layout.rows.chunks[cone.chunk].column;
            for (limit, slot) in limits.iter_mut().zip(column * LANES..layout.problem.slots()) {
                let most = layout.problem.cones[cone.cone].by_slot[slot].max(0) as f64;
                let unit = layout.scale.load[CONE] * layout.scale.amount;
                *limit = (most * layout.problem.lengths[slot] as f64 / unit) as f32;
            }
        }
    }

    fn set_steps(&mut self, layout: &Layout, level: Level) {
        // A row's coefficients: its load if everyone took 1 in every slot of the stay.
        let mut taken = vec![0.0; layout.group_length];
        for (cells, strip) in layout.cells.iter().zip(&self.sessions) {
            taken[strip.row()][..cells.slots]
                .iter_mut()
                .for_each(|count| *count += 1.0);
        }
        let mut sums = vec![0.0; self.row_steps.len()];
        // Phasors have either sign.
        let lengths = |crossing: &Crossing| Crossing {
            scaled: crossing.scaled.abs(),
            ..*crossing
        };
        let crossings: Vec<Crossing> = layout.crossings.iter().map(lengths).collect();
        dispatch!(level, simd => sum_loads(simd, (layout, &crossings), &taken, &mut sums));
        join_phasors(layout, &mut sums);
        let of_peak = layout.rows.peak.start * LANES..layout.rows.peak.end * LANES;
        for (row, step) in self.row_steps.iter_mut().enumerate() {
            // The peak counts in its rows even where nobody is present.
            let sum = sums[row]
                + if of_peak.contains(&row) {
                    self.peak.column_sum
                } else {
                    0.0
                };
            let is_row = self.capacities[row] < f32::MAX || row >= layout.rows.first_cone() * LANES;
            if is_row && sum > 0.0 {
                *step = 1.0 / sum;
            }
        }
        // A cell's coefficients: its price if every row cost 1.
        let ones: Vec<f32> = self
            .row_steps
            .iter()
            .map(|&step| if step > 0.0 { 1.0 } else { 0.0 })
            .collect();
        let (free, mut prices) = (vec![0.0; taken.len()], taken);
        dispatch!(level, simd => sum_prices(simd, (layout, &crossings), &ones, &mut sums, &free, &mut prices));
        for (cells, strip) in layout.cells.iter().zip(&mut self.sessions) {
            let sum = prices[strip.row()][..cells.slots].iter().copied().fold(0.0, f32::max);
            strip.step = if sum > 0.0 { 1.0 / sum } else { 1.0 };
        }
    }
}

/// Both phasors of a cone move at one pace: that of the more crowded.
fn join_phasors(layout: &Layout, sums: &mut [f32]) {
    for cone in &layout.rows.cones {
        for row in cone.chunk * LANES..(cone.chunk + 1) * LANES {
            let sum = sums[row].max(sums[row + LANES]);
            (sums[row], sums[row + LANES]) = (sum, sum);
        }
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
    pub fn cells(&self) -> std::ops::Range<usize> {
        self.cells as usize..(self.cells + self.length) as usize
    }

    #[inline(always)]
    pub fn row(&self) -> std::ops::Range<usize> {
        self.row as usize..(self.row + self.length) as usize
    }
}

impl PeakScale {
    fn new(layout: &Layout) -> PeakScale {
        let (problem, scale) = (layout.problem, &layout.scale);
        let Some(charge) = &problem.demand_charge else {
            return PeakScale::default();
        };
        let unit = scale.load[PEAK] * scale.amount / scale.length;
        let power = |cells: &Cells| cells.slots as f64 * layout.groups[cells.group].power as f64;
        let in_rows = layout.cells.iter().map(power).sum::<f64>() / scale.load[PEAK] / problem.slots() as f64;
        let column_sum = (PEAK_SHARE * in_rows).max(1.0);
        PeakScale {
            least: (problem.least_peak() as f64 / unit) as f32,
            charge: (charge.price as f64 * scale.load[PEAK] / (scale.length * scale.price)) as f32,
            column_sum: column_sum as f32,
            step: (column_sum / problem.slots() as f64) as f32,
            lengths: problem
                .lengths
                .iter()
                .map(|&length| (length as f64 / scale.length) as f32)
                .collect(),
            unit,
        }
    }
}
