//! The limits that matter: which rows (node, kind, slot) can bind at all, laid out for the search.
//!
//! A row is left out if the sessions below it can never load it beyond its limit, the limits below it considered, or if a row above
//! it is at least as tight. Leaving it out changes nothing: every plan that keeps the rest keeps it. On real sites nine rows in ten go.
//!
//! What remains is stored in **chunks** of [`LANES`] consecutive slots of one node and kind, parents before children, so that sums up
//! the tree and prices down the tree are plain loops over arrays. Chunk 0 is empty and stands for "no limit above".

use super::problem::{KINDS, Problem};

/// Slots in a chunk; also the width of the vector instructions.
pub(super) const LANES: usize = 8;
/// The kind of the demand charge's rows: expected power, at the root alone.
pub(super) const PEAK: usize = KINDS;
/// Kinds of row.
pub(super) const ROW_KINDS: usize = KINDS + 1;
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

#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub chunks: Vec<Chunk>,
    /// Most load in amounts, [`LANES`] for each chunk. For the peak's rows: minus the base load, to which the peak is to be added.
    pub capacity: Vec<i64>,
    /// Chunks in a row of slots.
    pub columns: usize,
    /// By (node, kind, column): the lowest chunk at or above the node.
    lowest: Vec<usize>,
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
            peak: 1..1,
        };
        rows.add_peak(problem);
        let limits = limits_by_kind(problem);
        for kind in 0..KINDS {
            if let Some(limits) = &limits[kind] {
                rows.add_kind(problem, kind, limits);
            }
        }
        rows
    }

    /// The lowest chunk of a kind at or above a node; 0 if nothing limits it.
    pub fn lowest(&self, node: usize, kind: usize, column: usize) -> usize {
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
        // The tightest limit at or above each node.
        let mut tightest = limits.to_vec();
        for node in 0..problem.parents.len() {
            for slot in 0..slots {
                let above = problem.parents[node].map_or(UNLIMITED, |parent| tightest[parent * slots + slot]);
                let own = node * slots + slot;
                tightest[own] = above.min(limits[own]);
            }
            for column in 0..self.columns {
                let above = problem.parents[node].map_or(0, |parent| self.lowest(parent, kind, column));
                let binds = |slot: usize| {
                    let limit = limits[node * slots + slot];
                    let implied = problem.parents[node].is_some_and(|parent| limit >= tightest[parent * slots + slot]);
                    worst[node * slots + slot] > limit && !implied
                };
                let in_chunk = column * LANES..((column + 1) * LANES).min(slots);
                let chunk = if in_chunk.clone().any(binds) {
                    self.chunks.push(Chunk {
                        kind,
                        node,
                        column,
                        parent: above,
                    });
                    let row = |slot: usize| match in_chunk.contains(&slot) && binds(slot) {
                        true => limits[node * slots + slot] * problem.lengths[slot],
                        false => UNLIMITED,
                    };
                    self.capacity.extend((column * LANES..(column + 1) * LANES).map(row));
                    self.chunks.len() - 1
                } else {
                    above
                };
                self.lowest[(node * KINDS + kind) * self.columns + column] = chunk;
            }
        }
    }
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
