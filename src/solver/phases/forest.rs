//! The exact flow core on a part of the sessions: where the limits that they see form a tree.
//!
//! A **branch** is a set of groups with one coefficient on each of one set of kinds: all rows of a node are then one capacity, the
//! least of slack / coefficient. Branches hang under a common top, which holds the rows that they share. Nodes without a row that
//! can bind are left out.

use std::collections::BTreeMap;

use super::layout::Layout;
use super::problem::{KINDS, TOTAL, UNEVEN};
use super::rows::{LANES, PEAK, UNLIMITED};
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
    /// By session of the network, in grains.
    pub wanted: Vec<i64>,
    /// Amount that one unit of flow stands for, per unit of rate.
    pub grain: i64,
}

/// How much flow one unit of a session's rate is: a fraction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub parts: i64,
    pub of: i64,
}

impl Share {
    pub const WHOLE: Share = Share { parts: 1, of: 1 };

    fn of(self, number: i64) -> Option<i64> {
        Some(number.checked_mul(self.parts)? / self.of)
    }
}

impl Forest {
    /// `share` says by session how much flow one unit of its rate is. None if the sums do not fit the flow core's integers.
    pub fn new(
        layout: &Layout,
        top: Vec<Load>,
        branches: Vec<Branch>,
        share: impl Fn(usize) -> Share,
    ) -> Option<Forest> {
        let mut forest_nodes = vec![(None, 0)];
        let mut parents = vec![None];
        let (mut sessions, mut positions) = (Vec::new(), Vec::new());
        let mut rates = 0i64;
        for (index, branch) in branches.iter().enumerate() {
            let node_of = grow(layout, index, branch, &mut forest_nodes, &mut parents);
            for &member in branch.groups.iter().flat_map(|&group| &layout.groups[group].members) {
                let session = &layout.problem.sessions[layout.cells[member].session];
                let most = i32::try_from(share(member).of(session.most)?).ok()?;
                rates += i64::from(most);
                let (node, first_slot, end_slot) = (node_of[session.node], session.first_slot, session.end_slot);
                sessions.push(flow::Session {
                    node,
                    first_slot,
                    end_slot,
                    most,
                });
                positions.push(member);
            }
        }
        let grain = grain(layout, rates)?;
        let wanted = |&member: &usize| {
            let session = &layout.problem.sessions[layout.cells[member].session];
            share(member).of(session.wanted / grain)
        };
        let wanted = positions.iter().map(wanted).collect::<Option<Vec<i64>>>()?;
        let lengths = layout
            .problem
            .lengths
            .iter()
            .map(|&length| i32::try_from(length / grain).ok());
        let network = flow::Network::new(lengths.collect::<Option<_>>()?, parents, sessions);
        Some(Forest {
            network,
            nodes: forest_nodes,
            positions,
            top,
            branches,
            wanted,
            grain,
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
                            let most = (slack(row) / coefficient / self.grain).clamp(0, i64::from(i32::MAX));
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

/// The finest grain in which all rates over the longest slot fit; none if the shortest slot is shorter than that.
fn grain(layout: &Layout, rates: i64) -> Option<i64> {
    let lengths = &layout.problem.lengths;
    let (shortest, longest) = (lengths.iter().min()?, lengths.iter().max()?);
    let fits = |grain: &i64| {
        (longest / grain)
            .checked_mul(rates)
            .is_some_and(|sum| i32::try_from(sum).is_ok())
    };
    let divisor = lengths
        .iter()
        .fold(0, |divisor, &length| greatest_common_divisor(divisor, length));
    let finest = std::iter::successors(Some(divisor), |grain| grain.checked_mul(2)).find(fits)?;
    (finest <= *shortest).then_some(finest)
}

fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
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

/// What a forest is made of: the rows of its top, and its branches by their rows.
type Plot = (Vec<Load>, BTreeMap<Vec<Load>, Branch>);

/// The branches in which each group's sessions can be solved exactly while the others stay: see [`polish`](super::polish).
///
/// Sessions that load and pay alike, and one conductor alone, share a forest, one branch for each conductor, unless total power is limited
/// below the root.
/// All others are one branch to a forest: equal coefficients on every kind.
pub(super) fn partition(layout: &Layout) -> Vec<(Vec<Load>, Vec<Branch>)> {
    let total_below_root = (1..layout.problem.parents.len()).any(|node| layout.rows.holds(node, TOTAL));
    let mut forests: BTreeMap<Vec<i64>, Plot> = BTreeMap::new();
    for (index, group) in layout.groups.iter().enumerate() {
        let loads_of = |kinds: std::ops::Range<usize>| -> Vec<Load> {
            let loads = kinds.map(|kind| (kind, group.coefficients[kind]));
            loads.filter(|load| load.1 > 0).collect()
        };
        let (lines, uneven) = (loads_of(0..TOTAL), loads_of(UNEVEN..KINDS));
        let on_one_conductor = match (&lines[..], &uneven[..]) {
            ([_], []) => true,
            ([line], [alone]) => alone.0 == UNEVEN + line.0,
            _ => false,
        };
        let [shared_total, peak] = [TOTAL, PEAK].map(|kind| (kind, group.coefficients[kind]));
        let mut key = vec![-group.penalty, group.power];
        let own = [lines, uneven].concat();
        let (top, loads) = if on_one_conductor && !total_below_root {
            // Two branches may not share a row: one coefficient for all, so that there is one branch to a conductor.
            key.push(group.coefficients[TOTAL]);
            key.extend(own.iter().map(|load| load.1));
            (vec![shared_total, peak], own)
        } else {
            key.extend(group.coefficients);
            (vec![peak], [own, vec![shared_total]].concat())
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

#[cfg(test)]
mod tests {
    use super::super::problem::{Limit, Problem, Session};
    use super::*;

    fn car(line: [i64; 3]) -> Session {
        let power = line.iter().sum();
        Session {
            node: 1,
            first_slot: 0,
            end_slot: 2,
            most: 10,
            wanted: 20,
            line,
            total: power,
            uneven: [0; 3],
            power,
            penalty: 100,
        }
    }

    fn problem(total_limit_at: usize) -> Problem {
        let limit = |kind: usize| Limit {
            node: 1,
            kind,
            by_slot: vec![5; 2],
        };
        let mut limits: Vec<Limit> = (0..TOTAL).map(limit).collect();
        limits.push(Limit {
            node: total_limit_at,
            kind: TOTAL,
            by_slot: vec![12; 2],
        });
        let mut sessions = vec![car([1, 0, 0]), car([0, 1, 0]), car([1, 1, 1])];
        sessions.iter_mut().for_each(|session| session.penalty *= session.power);
        let parents = vec![None, Some(0)];
        Problem {
            lengths: vec![1; 2],
            prices: vec![1; 2],
            parents,
            limits,
            sessions,
            demand_charge: None,
            cones: Vec::new(),
        }
    }

    /// By part: by branch, how many cars it has.
    fn shape(problem: &Problem) -> Vec<Vec<usize>> {
        let layout = Layout::new(problem);
        let cars = |branch: &Branch| {
            branch
                .groups
                .iter()
                .map(|&group| layout.groups[group].members.len())
                .sum()
        };
        partition(&layout)
            .iter()
            .map(|(_, branches)| branches.iter().map(cars).collect())
            .collect()
    }

    #[test]
    fn one_conductor_cars_are_solved_together_under_a_common_top() {
        let problem = problem(0);
        assert_eq!(shape(&problem), [vec![1], vec![1, 1]]);
        let layout = Layout::new(&problem);
        let (top, branches) = partition(&layout).pop().expect("there are two parts");
        let forest = Forest::new(&layout, top, branches, |_| Share::WHOLE).expect("the sums are small");
        // The top has what is left of the total, each conductor its own row.
        let capacities = forest.capacities(&layout, |row| layout.rows.capacity[row]);
        assert_eq!(capacities, [12, 12, 5, 5, 5, 5]);
    }

    #[test]
    fn a_limit_on_the_total_below_the_root_parts_them() {
        assert_eq!(shape(&problem(1)), [vec![1], vec![1], vec![1]]);
    }

    #[test]
    fn cars_that_load_a_conductor_differently_are_not_solved_together() {
        let mut problem = problem(0);
        problem.sessions[1].line = [2, 0, 0];
        assert_eq!(shape(&problem), [vec![1], vec![1], vec![1]]);
    }

    #[test]
    fn sums_beyond_the_flow_core_are_refused() {
        let mut problem = problem(0);
        problem.sessions.iter_mut().for_each(|session| session.most = 1 << 31);
        let layout = Layout::new(&problem);
        assert!(
            partition(&layout)
                .into_iter()
                .all(|(top, branches)| Forest::new(&layout, top, branches, |_| Share::WHOLE).is_none())
        );
    }
}
