//! The exact flow core on a part of the sessions: where the limits that they see form a tree.
//!
//! A **branch** is a set of groups with one coefficient on each of one set of kinds: all rows of a node are then one capacity, the
//! least of slack / coefficient. Branches hang under a common top, which holds the rows that they share. Nodes without a row that
//! can bind are left out.

use std::collections::BTreeMap;

use super::layout::Layout;
use super::rows::{LANES, UNLIMITED};
use crate::solver::flow;

/// A kind of row and the load that one unit of flow puts on it.
pub(super) type Load = (usize, i64);

/// Groups that see the same kinds of row with the same coefficients.
#[derive(Debug, Clone, Default)]
pub(super) struct Branch {
    pub loads: Vec<Load>,
    pub groups: Vec<usize>,
}

/// A network for the flow core.
#[derive(Debug)]
pub(super) struct Forest {
    pub network: flow::Network,
    /// By node of the network: the branch (none for the top) and the node of the problem.
    nodes: Vec<(Option<usize>, usize)>,
    /// By session of the network: its position in the layout's cells.
    pub positions: Vec<usize>,
    top: Vec<Load>,
    branches: Vec<Branch>,
    /// By session of the network.
    pub wanted: Vec<i64>,
}

impl Forest {
    /// `unit` says by session how much flow one unit of its amount is. None if the sums do not fit the flow core's integers.
    pub fn new(layout: &Layout, top: Vec<Load>, branches: Vec<Branch>, unit: impl Fn(usize) -> i64) -> Option<Forest> {
        let mut forest_nodes = vec![(None, 0)];
        let mut parents = vec![None];
        let (mut sessions, mut positions, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        let mut sum = 0i64;
        let longest = layout.scale.length as i64;
        for (index, branch) in branches.iter().enumerate() {
            let node_of = grow(layout, index, branch, &mut forest_nodes, &mut parents);
            for &member in branch.groups.iter().flat_map(|&group| &layout.groups[group].members) {
                let session = &layout.problem.sessions[layout.cells[member].session];
                let most = session.most.checked_mul(unit(member))?;
                sum = sum.checked_add(most.checked_mul(longest)?)?;
                let node = node_of[session.node];
                let (first_slot, end_slot) = (session.first_slot, session.end_slot);
                sessions.push(flow::Session {
                    node,
                    first_slot,
                    end_slot,
                    most: i32::try_from(most).ok()?,
                });
                positions.push(member);
                wanted.push(session.wanted.checked_mul(unit(member))?);
            }
        }
        i32::try_from(sum).ok()?;
        let lengths = layout
            .problem
            .lengths
            .iter()
            .map(|&length| i32::try_from(length).ok())
            .collect::<Option<_>>()?;
        let network = flow::Network::new(lengths, parents, sessions);
        Some(Forest {
            network,
            nodes: forest_nodes,
            positions,
            top,
            branches,
            wanted,
        })
    }

    /// Capacities by node of the network and slot, from the slack of each row.
    pub fn capacities(&self, layout: &Layout, slack: impl Fn(usize) -> i64) -> Vec<i32> {
        let slots = layout.problem.slots();
        let mut capacities = vec![i32::MAX; self.nodes.len() * slots];
        for (index, own) in capacities.chunks_exact_mut(slots).enumerate() {
            let (branch, node) = self.nodes[index];
            let loads = branch.map_or(&self.top, |branch| &self.branches[branch].loads);
            for &(kind, coefficient) in loads {
                for (chunk, column) in own.chunks_mut(LANES).zip(0..) {
                    let Some(rows) = chunk_at(layout, node, kind, column) else {
                        continue;
                    };
                    for (capacity, row) in chunk.iter_mut().zip(rows) {
                        if layout.rows.capacity[row] < UNLIMITED {
                            let most = (slack(row) / coefficient).clamp(0, i64::from(i32::MAX));
                            *capacity = (*capacity).min(most as i32);
                        }
                    }
                }
            }
        }
        capacities
    }

    /// Calls `take(row, node of the network, slot)` for each row of the branches.
    pub fn for_each_row(&self, layout: &Layout, mut take: impl FnMut(usize, usize, usize)) {
        for (index, &(branch, node)) in self.nodes.iter().enumerate() {
            let Some(branch) = branch else { continue };
            for &(kind, _) in &self.branches[branch].loads {
                for column in 0..layout.rows.columns {
                    let Some(rows) = chunk_at(layout, node, kind, column) else {
                        continue;
                    };
                    for (row, slot) in rows.zip(column * LANES..layout.problem.slots()) {
                        take(row, index, slot);
                    }
                }
            }
        }
    }
}

/// The rows of a node itself in a column, if any is kept.
fn chunk_at(layout: &Layout, node: usize, kind: usize, column: usize) -> Option<std::ops::Range<usize>> {
    let chunk = layout.rows.lowest(node, kind, column);
    let own = chunk > 0 && layout.rows.chunks[chunk].node == node;
    own.then_some(chunk * LANES..(chunk + 1) * LANES)
}

/// Adds the nodes of a branch that hold a row. Returns, by node of the problem, the node of the network at or above it.
fn grow(
    layout: &Layout,
    index: usize,
    branch: &Branch,
    nodes: &mut Vec<(Option<usize>, usize)>,
    parents: &mut Vec<Option<usize>>,
) -> Vec<usize> {
    let mut node_of = vec![0; layout.problem.parents.len()];
    for (node, parent) in layout.problem.parents.iter().enumerate() {
        let above = parent.map_or(0, |parent| node_of[parent]);
        node_of[node] = if branch.loads.iter().any(|&(kind, _)| layout.rows.holds(node, kind)) {
            nodes.push((Some(index), node));
            parents.push(Some(above));
            nodes.len() - 1
        } else {
            above
        };
    }
    node_of
}

/// The branches in which each group's sessions can be solved exactly while the others stay: see [`polish`](super::polish).
///
/// One-conductor sessions that pay alike share a forest, one branch for each conductor, unless total power is limited below the root.
/// All others are one branch to a forest: equal coefficients on every kind.
pub(super) fn partition(layout: &Layout) -> Vec<(Vec<Load>, Vec<Branch>)> {
    use super::problem::TOTAL;
    use super::rows::PEAK;
    let total_below_root = (1..layout.problem.parents.len()).any(|node| layout.rows.holds(node, TOTAL));
    let mut forests: BTreeMap<Vec<i64>, (Vec<Load>, BTreeMap<Vec<Load>, Branch>)> = BTreeMap::new();
    for (index, group) in layout.groups.iter().enumerate() {
        let lines: Vec<Load> = (0..TOTAL)
            .map(|kind| (kind, group.coefficients[kind]))
            .filter(|load| load.1 > 0)
            .collect();
        let [shared_total, peak] = [TOTAL, PEAK].map(|kind| (kind, group.coefficients[kind]));
        let mut key = vec![-group.penalty, group.power];
        let (top, loads) = if lines.len() == 1 && !total_below_root {
            key.push(group.coefficients[TOTAL]);
            (vec![shared_total, peak], lines)
        } else {
            key.extend(group.coefficients);
            let mut loads = lines;
            loads.push(shared_total);
            (vec![peak], loads)
        };
        let counts = |loads: Vec<Load>| loads.into_iter().filter(|load| load.1 > 0).collect::<Vec<_>>();
        let forest = forests.entry(key).or_default();
        forest.0 = counts(top);
        let loads = counts(loads);
        let branch = forest.1.entry(loads.clone()).or_default();
        branch.loads = loads;
        branch.groups.push(index);
    }
    forests
        .into_values()
        .map(|(top, branches)| (top, branches.into_values().collect()))
        .collect()
}
