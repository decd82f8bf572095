//! How sessions lie in memory for the search, and the scaling between the problem's integers and the search's `f32`.
//!
//! Sessions that cross the same rows with the same coefficients, and lose the same by
//! not being served, form a **group**: in every slot they see one price and add to one
//! load. A group's prices and loads are rows of slots, in whole chunks. A session's **cells** begin at its first slot and are padded to
//! whole lanes; the padding has the upper bound 0 and may hang over the end of its group's row, which is padded too.

use std::ops::RangeInclusive;

use super::cone::Cone;
use super::problem::{Problem, Session, TOTAL};
use super::rows::{CONE, LANES, PEAK, ROW_KINDS, Rows};

/// Sessions with the same rows and coefficients.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Coefficient on each kind of row.
    pub coefficients: [i64; ROW_KINDS],
    pub power: i64,
    pub penalty: i64,
    /// First slot of its row; a whole number of chunks.
    pub first_slot: usize,
    pub columns: usize,
    /// Where its row begins.
    pub offset: usize,
    /// Where the list of what its chunks load begins; see [`Layout::crossed`].
    first_crossing: usize,
    /// The cones that its sessions load.
    pub cones: Vec<usize>,
    /// Its sessions, as positions in [`Layout::cells`].
    pub members: Vec<usize>,
}

/// What one unit of amount in a group's chunk loads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crossing {
    /// Where the slots of the group are, in chunks of the groups' rows.
    pub column: usize,
    /// The chunk of rows that they load.
    pub chunk: usize,
    pub coefficient: i64,
    /// The coefficient in the search's scale.
    pub scaled: f32,
}

/// The cells of one session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells {
    pub session: usize,
    pub group: usize,
    pub first_slot: usize,
    /// Slots of the stay.
    pub slots: usize,
    /// With padding.
    pub padded: usize,
    pub offset: usize,
}

/// Units of the search, in units of the problem.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub amount: f64,
    /// Money per amount.
    pub price: f64,
    /// Load per amount, by kind of row.
    pub load: [f64; ROW_KINDS],
    /// The longest slot.
    pub length: f64,
}

#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub problem: &'a Problem,
    pub rows: Rows,
    pub groups: Vec<Group>,
    /// Shortest first, so that loops over their lanes run alike.
    pub cells: Vec<Cells>,
    pub scale: Scale,
    /// By kind of row: the least and the largest coefficient that is not zero; 1 where there is none.
    pub coefficients: [RangeInclusive<i64>; ROW_KINDS],
    /// Money lost by sessions whose stay has no slot; they are in no group.
    pub never_served: i128,
    /// Cells of all sessions, padded.
    pub cell_count: usize,
    /// Length of all groups' rows, padded.
    pub group_length: usize,
    /// All crossings, group by group and column by column.
    pub crossings: Vec<Crossing>,
    /// By chunk of a group: where its crossings end.
    crossing_ends: Vec<usize>,
    /// By cone.
    pub phasors: Vec<[[f64; 3]; 2]>,
}

impl<'a> Layout<'a> {
    pub fn new(problem: &'a Problem) -> Layout<'a> {
        let rows = Rows::new(problem);
        let scale = Scale::new(problem);
        let mut layout = Layout {
            problem,
            rows,
            groups: Vec::new(),
            cells: Vec::with_capacity(problem.sessions.len()),
            scale,
            coefficients: std::array::from_fn(|kind| coefficients(problem, kind)),
            never_served: never_served(problem),
            cell_count: 0,
            group_length: 0,
            crossings: Vec::new(),
            crossing_ends: Vec::new(),
            phasors: problem.cones.iter().map(Cone::phasors).collect(),
        };
        layout.gather_groups();
        layout.place_cells();
        for group in 0..layout.groups.len() {
            layout.list_crossings(group);
        }
        layout
    }

    /// What one unit of amount of a group loads in its chunk `column`, counted from the group's first.
    pub fn crossed(&self, group: &Group, column: usize) -> &[Crossing] {
        let chunk = group.first_crossing + column;
        let begin = if chunk == 0 { 0 } else { self.crossing_ends[chunk - 1] };
        &self.crossings[begin..self.crossing_ends[chunk]]
    }

    fn gather_groups(&mut self) {
        let problem = self.problem;
        // The lowest node at or above which holds any row: nodes below it do not tell sessions apart.
        let mut limiting = vec![0; problem.parents.len()];
        for (node, parent) in problem.parents.iter().enumerate() {
            let cone = problem.cones.iter().any(|cone| cone.node == node);
            let holds = cone || (0..PEAK).any(|kind| self.rows.holds(node, kind));
            limiting[node] = if holds {
                node
            } else {
                parent.map_or(0, |parent| limiting[parent])
            };
        }
        let key = |session: &Session| {
            (
                limiting[session.node],
                session.line,
                session.total,
                session.uneven,
                session.power,
                session.penalty,
            )
        };
        let mut order: Vec<usize> = (0..problem.sessions.len()).collect();
        order.retain(|&index| !problem.sessions[index].stay().is_empty());
        order.sort_by_cached_key(|&index| (key(&problem.sessions[index]), problem.sessions[index].first_slot, index));
        let mut last = None;
        for index in order {
            let session = &problem.sessions[index];
            if last != Some(key(session)) {
                last = Some(key(session));
                let coefficient = |kind: usize| match kind {
                    PEAK if problem.demand_charge.is_some() => session.power,
                    PEAK | CONE => 0,
                    kind => session.coefficient(kind),
                };
                self.groups.push(Group {
                    coefficients: std::array::from_fn(coefficient),
                    power: session.power,
                    penalty: session.penalty,
                    first_slot: session.first_slot / LANES * LANES,
                    columns: 0,
                    offset: 0,
                    first_crossing: 0,
                    cones: cones_above(problem, session.node),
                    members: Vec::new(),
                });
            }
            let group = self.groups.len() - 1;
            let columns = (session.end_slot - self.groups[group].first_slot).div_ceil(LANES);
            self.groups[group].columns = self.groups[group].columns.max(columns);
            let slots = session.stay().len();
            let padded = slots.next_multiple_of(LANES);
            self.cells.push(Cells {
                session: index,
                group,
                first_slot: session.first_slot,
                slots,
                padded,
                offset: 0,
            });
        }
    }

    fn place_cells(&mut self) {
        self.cells.sort_by_key(|cells| cells.padded);
        for (position, cells) in self.cells.iter_mut().enumerate() {
            cells.offset = self.cell_count;
            self.cell_count += cells.padded;
            self.groups[cells.group].members.push(position);
        }
        for group in &mut self.groups {
            group.offset = self.group_length;
            // One more chunk for what hangs over.
            self.group_length += (group.columns + 1) * LANES;
        }
    }

    fn list_crossings(&mut self, index: usize) {
        self.groups[index].first_crossing = self.crossing_ends.len();
        let node = self.problem.sessions[self.cells[self.groups[index].members[0]].session].node;
        for column in 0..self.groups[index].columns {
            let group = &self.groups[index];
            for kind in 0..ROW_KINDS {
                let coefficient = group.coefficients[kind];
                let chunk = self.rows.lowest(node, kind, group.first_slot / LANES + column);
                if coefficient > 0 && chunk > 0 {
                    let scaled = (coefficient as f64 / self.scale.load[kind]) as f32;
                    let column = group.offset / LANES + column;
                    self.crossings.push(Crossing {
                        column,
                        chunk,
                        coefficient,
                        scaled,
                    });
                }
            }
            self.list_cones(index, column);
            self.crossing_ends.push(self.crossings.len());
        }
    }

    /// The phasors' rows: their coefficients are only for the search.
    fn list_cones(&mut self, index: usize, column: usize) {
        let group = &self.groups[index];
        for &cone in &group.cones {
            let first = self.rows.cone_chunk(cone, group.first_slot / LANES + column);
            if first == 0 {
                continue;
            }
            for (phasor, row) in self.phasors[cone].iter().enumerate() {
                let load: f64 = (0..TOTAL).map(|kind| row[kind] * group.coefficients[kind] as f64).sum();
                self.crossings.push(Crossing {
                    column: group.offset / LANES + column,
                    chunk: first + phasor,
                    coefficient: 0,
                    scaled: (load / self.scale.load[CONE]) as f32,
                });
            }
        }
    }
}

/// The cones at a node or above it.
fn cones_above(problem: &Problem, node: usize) -> Vec<usize> {
    let path: Vec<usize> = std::iter::successors(Some(node), |&node| problem.parents[node]).collect();
    (0..problem.cones.len())
        .filter(|&cone| path.contains(&problem.cones[cone].node))
        .collect()
}

fn coefficients(problem: &Problem, kind: usize) -> RangeInclusive<i64> {
    let of = |session: &Session| {
        if kind == CONE {
            0
        } else if kind == PEAK {
            session.power
        } else {
            session.coefficient(kind)
        }
    };
    let positive = || problem.sessions.iter().map(of).filter(|coefficient| *coefficient > 0);
    positive().min().unwrap_or(1)..=positive().max().unwrap_or(1)
}

/// The longest phasor of one unit of rate.
fn largest_phasor(problem: &Problem) -> f64 {
    let phasors = problem
        .cones
        .iter()
        .flat_map(|cone| cone.phasors())
        .flatten()
        .map(f64::abs)
        .fold(0.0, f64::max);
    let line = problem
        .sessions
        .iter()
        .flat_map(|session| session.line)
        .fold(1, i64::max);
    if phasors > 0.0 { phasors * line as f64 } else { 1.0 }
}

fn never_served(problem: &Problem) -> i128 {
    let lost = |session: &Session| i128::from(session.penalty) * i128::from(session.wanted);
    problem
        .sessions
        .iter()
        .filter(|session| session.stay().is_empty())
        .map(lost)
        .sum()
}

impl Scale {
    fn new(problem: &Problem) -> Scale {
        let largest = |of: &dyn Fn(&Session) -> i64| problem.sessions.iter().map(of).fold(1, i64::max) as f64;
        let length = problem.lengths.iter().copied().fold(1, i64::max) as f64;
        let mut load = [1.0; ROW_KINDS];
        for (kind, load) in load.iter_mut().enumerate() {
            *load = *coefficients(problem, kind).end() as f64;
        }
        load[CONE] = largest_phasor(problem);
        // What an amount costs on average: prices count as they are written, sessions as they are many.
        let slots = problem.slots().max(1) as f64;
        let sessions = problem.sessions.len().max(1) as f64;
        let mean_price = problem.prices.iter().map(|price| price.abs() as f64).sum::<f64>() / slots;
        let mean_power = problem.sessions.iter().map(|session| session.power as f64).sum::<f64>() / sessions;
        let price = if mean_price * mean_power > 0.0 {
            mean_price * mean_power
        } else {
            largest(&|s| s.penalty)
        };
        Scale {
            amount: largest(&|s| s.most) * length,
            price,
            load,
            length,
        }
    }

    /// Money for one unit of load, of one unit of the search's multipliers.
    pub fn multiplier(&self, kind: usize) -> f64 {
        self.price / self.load[kind]
    }
}
