//! The limits that matter: which rows (node, kind, slot) can bind at all, laid out for the search.
//!
//! A row is left out if the sessions below it can never load it beyond its limit, the limits below it considered, or if a row above
//! it is at least as tight. Leaving it out changes nothing: every plan that keeps the rest keeps it. On real sites nine rows in ten go.
//!
//! What remains is stored in **chunks** of [`LANES`] consecutive slots of one node and kind, parents before children, so that sums up
//! the tree and prices down the tree are plain loops over arrays. Chunk 0 is empty and stands for "no limit above". A cone's rows come in
//! pairs after all others, and are left out alike where everyone charging at once is within it.

use super::cone::Cone;
use super::problem::{KINDS, Problem, TOTAL};

/// Slots in a chunk; also the width of the vector instructions.
pub(super) const LANES: usize = 8;
/// The kind of the demand charge's rows: expected power, at the root alone.
pub(super) const PEAK: usize = KINDS;
/// The kind of a cone's rows, which come in pairs and have no capacity of their own.
pub(super) const CONE: usize = KINDS + 1;
/// Kinds of row.
pub(super) const ROW_KINDS: usize = KINDS + 2;
/// Capacity of a row that cannot bind.
pub(super) const UNLIMITED: i64 = 1 << 60;

/// One chunk of rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub kind: usize,
    pub node: usize,
    /// The slots `LANES * column ..` are in it.
    pub column: usize,
    /// The next chunk of the same kind and column on the way to the root; 0 if there is none.
    pub parent: usize,
}

/// A cone over one chunk of slots: the chunk of its first phasor's rows; the second's is the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConeChunks {
    pub cone: usize,
    pub chunk: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub chunks: Vec<Chunk>,
    /// Most load in amounts, [`LANES`] for each chunk. For the peak's rows: minus the base load, to which the peak is to be added.
    pub capacity: Vec<i64>,
    /// Chunks in a row of slots.
    pub columns: usize,
    /// By (node, kind, column): the lowest chunk at or above the node.
    lowest: Vec<usize>,
    /// Nodes on the longest way to the root.
    pub depth: usize,
    /// The cones' chunks, in pairs; all after those of other rows.
    pub cones: Vec<ConeChunks>,
    /// By cone, then column: the chunk of its first phasor; 0 if it cannot bind there.
    of_cone: Vec<usize>,
    /// Chunks of the peak's rows, by column; empty without a demand charge.
    pub peak: std::ops::Range<usize>,
}

impl Rows {
    pub fn new(problem: &Problem) -> Rows {
        let columns = problem.slots().div_ceil(LANES);
        let nothing = Chunk {
            kind: PEAK,
            node: 0,
            column: 0,
            parent: 0,
        };
        let mut rows = Rows {
            chunks: vec![nothing],
            capacity: vec![UNLIMITED; LANES],
            columns,
            lowest: vec![0; problem.parents.len() * KINDS * columns],
            depth: depth(problem),
            cones: Vec::new(),
            of_cone: Vec::with_capacity(problem.cones.len() * columns),
            peak: 1..1,
        };
        rows.add_peak(problem);
        let limits = limits_by_kind(problem);
        for kind in 0..KINDS {
            if let Some(limits) = &limits[kind] {
                rows.add_kind(problem, kind, limits);
            }
        }
        rows.add_cones(problem);
        rows
    }

    /// The lowest chunk of a kind at or above a node; 0 if nothing limits it.
    pub fn lowest(&self, node: usize, kind: usize, column: usize) -> usize {
        if kind == CONE {
            return 0;
        }
        if kind == PEAK {
            return if self.peak.is_empty() {
                0
            } else {
                self.peak.start + column
            };
        }
        self.lowest[(node * KINDS + kind) * self.columns + column]
    }

    /// Whether any row of this node itself is kept.
    pub fn holds(&self, node: usize, kind: usize) -> bool {
        (0..self.columns).any(|column| {
            let chunk = &self.chunks[self.lowest(node, kind, column)];
            chunk.kind == kind && chunk.node == node
        })
    }

    /// The first chunk of the cones' rows.
    pub fn first_cone(&self) -> usize {
        self.cones.first().map_or(self.chunks.len(), |cone| cone.chunk)
    }

    /// The chunk of a cone's first phasor in a column, the second's being the next; 0 if it cannot bind there.
    pub fn cone_chunk(&self, cone: usize, column: usize) -> usize {
        self.of_cone[cone * self.columns + column]
    }

    fn add_cones(&mut self, problem: &Problem) {
        if problem.cones.is_empty() {
            return;
        }
        let slots = problem.slots();
        let unlimited = vec![UNLIMITED; problem.parents.len() * slots];
        let worst: [Vec<i64>; TOTAL] = std::array::from_fn(|kind| worst_loads(problem, kind, &unlimited));
        for (index, cone) in problem.cones.iter().enumerate() {
            let can_bind = |slot: usize| {
                let most = std::array::from_fn(|kind| worst[kind][cone.node * slots + slot]);
                !cone.holds_all_up_to(most, slot)
            };
            for column in 0..self.columns {
                let of_column = column * LANES..slots.min((column + 1) * LANES);
                let chunk = if of_column.into_iter().any(can_bind) {
                    self.add_phasors(index, cone, column)
                } else {
                    0
                };
                self.of_cone.push(chunk);
            }
        }
    }

    /// Returns the first chunk.
    fn add_phasors(&mut self, index: usize, cone: &Cone, column: usize) -> usize {
        let chunk = self.chunks.len();
        self.cones.push(ConeChunks { cone: index, chunk });
        for _ in 0..2 {
            self.chunks.push(Chunk {
                kind: CONE,
                node: cone.node,
                column,
                parent: 0,
            });
            self.capacity.extend([UNLIMITED; LANES]);
        }
        chunk
    }

    fn add_peak(&mut self, problem: &Problem) {
        let Some(charge) = &problem.demand_charge else { return };
        for column in 0..self.columns {
            self.chunks.push(Chunk {
                kind: PEAK,
                node: 0,
                column,
                parent: 0,
            });
            for slot in column * LANES..(column + 1) * LANES {
                let capacity = charge
                    .base_load
                    .get(slot)
                    .map_or(UNLIMITED, |base| -base * problem.lengths[slot]);
                self.capacity.push(capacity);
            }
        }
        self.peak = 1..self.chunks.len();
    }

    /// `limits`: rate limits by (node, slot) of one kind.
    fn add_kind(&mut self, problem: &Problem, kind: usize, limits: &[i64]) {
        let slots = problem.slots();
        let worst = worst_loads(problem, kind, limits);
        // The tightest row kept at or above each node. Rows left out must not imply each other in a circle: only kept ones count.
        let mut tightest = vec![UNLIMITED; limits.len()];
        for node in 0..problem.parents.len() {
            let own = node * slots..(node + 1) * slots;
            let mut kept = vec![false; slots];
            for (slot, at) in own.clone().enumerate() {
                let above = problem.parents[node].map_or(UNLIMITED, |parent| tightest[parent * slots + slot]);
                kept[slot] = worst[at] > limits[at] && limits[at] < above;
                tightest[at] = if kept[slot] { limits[at] } else { above };
            }
            self.add_node(problem, node, kind, &kept, &limits[own]);
        }
    }

    /// `kept` and `limits` by slot.
    fn add_node(&mut self, problem: &Problem, node: usize, kind: usize, kept: &[bool], limits: &[i64]) {
        for column in 0..self.columns {
            let above = problem.parents[node].map_or(0, |parent| self.lowest(parent, kind, column));
            let slots = column * LANES..(column + 1) * LANES;
            let keeps = |slot: usize| kept.get(slot).is_some_and(|kept| *kept);
            let chunk = if slots.clone().any(keeps) {
                self.chunks.push(Chunk {
                    kind,
                    node,
                    column,
                    parent: above,
                });
                let capacity = |slot: usize| {
                    if keeps(slot) {
                        limits[slot] * problem.lengths[slot]
                    } else {
                        UNLIMITED
                    }
                };
                self.capacity.extend(slots.map(capacity));
                self.chunks.len() - 1
            } else {
                above
            };
            self.lowest[(node * KINDS + kind) * self.columns + column] = chunk;
        }
    }
}

fn depth(problem: &Problem) -> usize {
    let mut depths: Vec<usize> = Vec::with_capacity(problem.parents.len());
    for parent in &problem.parents {
        depths.push(1 + parent.map_or(0, |parent| depths[parent]));
    }
    depths.into_iter().fold(1, usize::max)
}

/// Rate limits by (node, slot) for each kind that has any.
fn limits_by_kind(problem: &Problem) -> [Option<Vec<i64>>; KINDS] {
    let slots = problem.slots();
    let mut by_kind = [const { None }; KINDS];
    for limit in &problem.limits {
        let limits = by_kind[limit.kind].get_or_insert_with(|| vec![UNLIMITED; problem.parents.len() * slots]);
        for (own, &most) in limits[limit.node * slots..][..slots].iter_mut().zip(&limit.by_slot) {
            *own = (*own).min(most.max(0));
        }
    }
    by_kind
}

/// The most that the sessions below can load each (node, slot) with, as rates, if every limit further below is kept.
fn worst_loads(problem: &Problem, kind: usize, limits: &[i64]) -> Vec<i64> {
    let slots = problem.slots();
    // First the changes from slot to slot, then their running sums, then the sums up the tree.
    let mut change = vec![0i64; problem.parents.len() * (slots + 1)];
    for session in &problem.sessions {
        let load = session.coefficient(kind) * session.most;
        change[session.node * (slots + 1) + session.first_slot] += load;
        change[session.node * (slots + 1) + session.end_slot] -= load;
    }
    let mut worst = vec![0i64; problem.parents.len() * slots];
    for (node, of_node) in worst.chunks_exact_mut(slots).enumerate() {
        let mut sum = 0;
        for (load, change) in of_node.iter_mut().zip(&change[node * (slots + 1)..]) {
            sum += change;
            *load = sum;
        }
    }
    for node in (1..problem.parents.len()).rev() {
        let parent = problem.parents[node].unwrap_or_default();
        for slot in 0..slots {
            worst[parent * slots + slot] += worst[node * slots + slot].min(limits[node * slots + slot]);
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::super::problem::{Limit, Session};
    use super::*;

    /// A root with a feeder and a panel below it, ten slots, one car of rate 10 on the first conductor at the panel in slots 2..9.
    fn rows(limits: [i64; 3]) -> Rows {
        let session = Session {
            node: 2,
            first_slot: 2,
            end_slot: 9,
            most: 10,
            wanted: 100,
            line: [1, 0, 0],
            total: 0,
            uneven: [0; 3],
            power: 1,
            penalty: 1,
        };
        let limit = |(node, most): (usize, &i64)| Limit {
            node,
            kind: 0,
            by_slot: vec![*most; 10],
        };
        Rows::new(&Problem {
            lengths: vec![1; 10],
            prices: vec![1; 10],
            parents: vec![None, Some(0), Some(1)],
            limits: limits.iter().enumerate().map(limit).collect(),
            sessions: vec![session],
            demand_charge: None,
            cones: Vec::new(),
        })
    }

    /// Nodes that keep a row.
    fn kept(limits: [i64; 3]) -> Vec<usize> {
        let rows = rows(limits);
        (0..3).filter(|&node| rows.holds(node, 0)).collect()
    }

    #[test]
    fn what_cannot_be_loaded_so_far_is_left_out() {
        assert!(kept([10, 10, 10]).is_empty());
        assert_eq!(kept([9, 10, 10]), [0]);
    }

    #[test]
    fn what_a_row_above_or_below_implies_is_left_out() {
        assert_eq!(kept([20, 7, 8]), [1]);
        assert_eq!(kept([20, 7, 5]), [2]);
    }

    #[test]
    fn equal_rows_do_not_imply_each_other_away() {
        assert_eq!(kept([7, 7, 7]).len(), 1);
    }

    #[test]
    fn only_slots_with_cars_bind() {
        let rows = rows([5, 20, 20]);
        assert_eq!(rows.chunks.len(), 1 + 2);
        let lanes: Vec<bool> = rows.capacity[LANES..]
            .iter()
            .map(|&capacity| capacity < UNLIMITED)
            .collect();
        assert_eq!(lanes.iter().filter(|binds| **binds).count(), 7);
        assert!(!lanes[1] && lanes[2] && lanes[8] && !lanes[9]);
        assert_eq!(rows.lowest(2, 0, 0), 1);
        assert_eq!(rows.lowest(2, 1, 0), 0);
    }
    #[test]
    fn cones_are_left_out_where_everyone_at_once_is_within_them() {
        let session = |conductor: usize, stay: std::ops::Range<usize>| {
            let mut line = [0; 3];
            line[conductor] = 1;
            Session {
                node: 0,
                first_slot: stay.start,
                end_slot: stay.end,
                most: 10,
                wanted: 100,
                line,
                total: 0,
                uneven: [0; 3],
                power: 1,
                penalty: 1,
            }
        };
        let cone = |product: i64, limit: i64| Cone {
            node: 0,
            squares: [1, 1, 0],
            products: [product, 0, 0],
            scale: 1,
            by_slot: vec![limit; 24],
        };
        let rows = Rows::new(&Problem {
            lengths: vec![1; 24],
            prices: vec![1; 24],
            parents: vec![None],
            sessions: vec![session(0, 0..12), session(1, 9..24)],
            // Both at once make 17.3, and either alone 10.
            cones: vec![cone(1, 17), cone(1, 18), cone(1, 9), cone(-1, 14), cone(-1, 15)],
            ..Problem::default()
        });
        let kept = |cone: usize| [0, 1, 2].map(|column| rows.cone_chunk(cone, column) > 0);
        assert_eq!([0, 1, 2].map(kept), [[false, true, false], [false; 3], [true; 3]]);
        // That they pull against each other is not counted on: 14.1.
        assert_eq!([3, 4].map(kept), [[false, true, false], [false; 3]]);
        assert_eq!(rows.cones.len(), 1 + 3 + 1);
    }
}
