//! An integer plan while it is being made: amounts, what is unserved, and the load of every row that can bind.
//!
//! Decides nothing. Every change goes through [`Draft::shift`], which keeps amounts and loads together, and
//! [`Draft::room`] says how far a cell can still be raised. The allowed peak is a number here: its rows' capacity moves with it.

use super::layout::{Group, Layout};
use super::problem::{Plan, Value};
use super::rows::{LANES, UNLIMITED};

#[derive(Debug, Clone)]
pub(super) struct Draft<'a> {
    pub layout: &'a Layout<'a>,
    /// By position in the layout's cells, then slot of the stay (the layout's padding is not used).
    amounts: Vec<i64>,
    /// By position in the layout's cells.
    pub left: Vec<i64>,
    /// By row.
    pub loads: Vec<i64>,
    pub capacities: Vec<i64>,
    /// By cone and slot: the loads on the conductors.
    cone_loads: Vec<[i64; 3]>,
}

impl<'a> Draft<'a> {
    /// Nobody charges.
    pub fn new(layout: &'a Layout<'a>) -> Draft<'a> {
        let left = layout
            .cells
            .iter()
            .map(|cells| layout.problem.sessions[cells.session].wanted)
            .collect();
        Draft {
            layout,
            amounts: vec![0; layout.cell_count],
            left,
            loads: vec![0; layout.rows.capacity.len()],
            capacities: layout.rows.capacity.clone(),
            cone_loads: vec![[0; 3]; layout.problem.cones.len() * layout.problem.slots()],
        }
    }

    /// Allows a peak. Loads may exceed it afterwards.
    pub fn allow_peak(&mut self, peak: i64) {
        let rows = self.layout.rows.peak.start * LANES..self.layout.rows.peak.end * LANES;
        for (row, &length) in rows.zip(&self.layout.problem.lengths) {
            self.capacities[row] = self.layout.rows.capacity[row]
                .saturating_add(peak.saturating_mul(length))
                .max(0);
        }
    }

    /// Amounts of one session by slot of its stay.
    pub fn of(&self, position: usize) -> &[i64] {
        let cells = &self.layout.cells[position];
        &self.amounts[cells.offset..cells.offset + cells.slots]
    }

    /// Sets all amounts of one session. Loads are to be summed anew afterwards.
    pub fn replace(&mut self, position: usize, amounts: impl Iterator<Item = i64>) {
        let cells = &self.layout.cells[position];
        let own = &mut self.amounts[cells.offset..cells.offset + cells.slots];
        for (own, amount) in own.iter_mut().zip(amounts) {
            *own = amount;
        }
        self.left[position] = self.layout.problem.sessions[cells.session].wanted - own.iter().sum::<i64>();
    }

    /// Sums all loads anew, of the groups that are chosen.
    pub fn sum_loads(&mut self, chosen: impl Fn(usize) -> bool) {
        self.loads.fill(0);
        self.cone_loads.fill([0; 3]);
        let mut taken = Vec::new();
        for (index, group) in self.layout.groups.iter().enumerate() {
            if chosen(index) {
                self.sum_group(group, &mut taken);
                self.add_to_cones(group, &taken);
                for (column, taken) in taken.chunks_exact(LANES).enumerate() {
                    for crossing in self.layout.crossed(group, column) {
                        for (load, taken) in self.loads[crossing.chunk * LANES..].iter_mut().zip(taken) {
                            *load += crossing.coefficient * taken;
                        }
                    }
                }
            }
        }
        for (index, chunk) in self.layout.rows.chunks.iter().enumerate().skip(1).rev() {
            let (above, own) = self.loads.split_at_mut(index * LANES);
            for (above, own) in above[chunk.parent * LANES..].iter_mut().zip(&own[..LANES]) {
                *above += own;
            }
        }
    }

    fn add_to_cones(&mut self, group: &Group, taken: &[i64]) {
        let slots = self.layout.problem.slots();
        for &cone in &group.cones {
            for (loads, taken) in self.cone_loads[cone * slots + group.first_slot..(cone + 1) * slots]
                .iter_mut()
                .zip(taken)
            {
                for (load, coefficient) in loads.iter_mut().zip(&group.coefficients) {
                    *load += coefficient * taken;
                }
            }
        }
    }

    fn sum_group(&self, group: &Group, taken: &mut Vec<i64>) {
        taken.clear();
        taken.resize(group.columns * LANES, 0);
        for &member in &group.members {
            let from = self.layout.cells[member].first_slot - group.first_slot;
            for (taken, amount) in taken[from..].iter_mut().zip(self.of(member)) {
                *taken += amount;
            }
        }
    }

    /// Every row that a session loads in a slot, with what one unit of amount puts on it.
    pub fn rows_of(&self, position: usize, slot: usize) -> impl Iterator<Item = (usize, i64)> + 'a {
        let layout = self.layout;
        let group = &layout.groups[layout.cells[position].group];
        let lane = slot % LANES;
        layout
            .crossed(group, (slot - group.first_slot) / LANES)
            .iter()
            .flat_map(move |crossing| {
                let up = |&chunk: &usize| Some(layout.rows.chunks[chunk].parent).filter(|&parent| parent > 0);
                let chunks = std::iter::successors(Some(crossing.chunk), up);
                chunks.map(move |chunk| (chunk * LANES + lane, crossing.coefficient))
            })
    }

    /// How much a cell can be raised, by the rows and the session's highest rate; not by what it still wants.
    pub fn room(&self, position: usize, slot: usize) -> i64 {
        let mut room = self.spare_rate(position, slot);
        for (row, coefficient) in self.rows_of(position, slot) {
            if room <= 0 {
                return 0;
            }
            // Most rows have slack enough: a product is cheaper than a quotient.
            let slack = self.capacities[row] - self.loads[row];
            if self.capacities[row] < UNLIMITED && slack < room.saturating_mul(coefficient) {
                room = slack.max(0) / coefficient;
            }
        }
        self.within_cones(position, slot, room, 1)
    }

    /// How much of its amount a cell can be lowered by: loads of phasors that point apart may have to stay together.
    pub fn removable(&self, position: usize, slot: usize) -> i64 {
        self.within_cones(position, slot, self.amount(position, slot), -1)
    }

    /// How far a cell can go in a direction, up to `most`, by the cones.
    fn within_cones(&self, position: usize, slot: usize, mut most: i64, sign: i64) -> i64 {
        let problem = self.layout.problem;
        let group = &self.layout.groups[self.layout.cells[position].group];
        for &cone in &group.cones {
            let loads = self.cone_loads[cone * problem.slots() + slot];
            let direction = std::array::from_fn(|kind| sign * group.coefficients[kind]);
            most = problem.cones[cone].furthest(loads, direction, most, slot, problem.lengths[slot]);
        }
        most
    }

    /// The loads under a cone.
    pub fn cone_loads(&self, cone: usize, slot: usize) -> [i64; 3] {
        self.cone_loads[cone * self.layout.problem.slots() + slot]
    }

    /// How much a cell can be raised by the session's highest rate alone.
    pub fn spare_rate(&self, position: usize, slot: usize) -> i64 {
        let cells = &self.layout.cells[position];
        let session = &self.layout.problem.sessions[cells.session];
        session.most * self.layout.problem.lengths[slot] - self.amounts[cells.offset + slot - cells.first_slot]
    }

    /// Amount in one cell.
    pub fn amount(&self, position: usize, slot: usize) -> i64 {
        let cells = &self.layout.cells[position];
        self.amounts[cells.offset + slot - cells.first_slot]
    }

    /// Raises a cell, or lowers it.
    pub fn shift(&mut self, position: usize, slot: usize, amount: i64) {
        let cells = &self.layout.cells[position];
        self.amounts[cells.offset + slot - cells.first_slot] += amount;
        self.left[position] -= amount;
        let group = &self.layout.groups[cells.group];
        for &cone in &group.cones {
            let loads = &mut self.cone_loads[cone * self.layout.problem.slots() + slot];
            for (load, coefficient) in loads.iter_mut().zip(&group.coefficients) {
                *load += coefficient * amount;
            }
        }
        for (row, coefficient) in self.rows_of(position, slot) {
            self.loads[row] += coefficient * amount;
        }
    }

    /// What the plan as it stands is worth.
    pub fn value(&self) -> Value {
        let problem = self.layout.problem;
        let (mut power, mut unserved) = (vec![0i64; problem.slots()], 0);
        for (position, cells) in self.layout.cells.iter().enumerate() {
            let group = &self.layout.groups[cells.group];
            for (power, amount) in power[cells.first_slot..].iter_mut().zip(self.of(position)) {
                *power += group.power * amount;
            }
            unserved += i128::from(group.penalty) * i128::from(self.left[position]);
        }
        problem.value_of(&power, unserved + self.layout.never_served)
    }

    /// The plan as it stands.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan::idle(self.layout.problem);
        for (position, cells) in self.layout.cells.iter().enumerate() {
            plan.of_mut(cells.session).copy_from_slice(self.of(position));
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::super::cone::Cone;
    use super::super::problem::{Problem, Session};
    use super::super::testing::{Numbers, Shape, keeps_all_limits, random};
    use super::*;

    #[test]
    fn what_has_room_keeps_every_limit_and_what_has_none_is_full() {
        for seed in 0..60 {
            let problem = random(seed, Shape::General, false);
            let layout = Layout::new(&problem);
            let mut draft = Draft::new(&layout);
            let mut numbers = Numbers::new(seed);
            for _ in 0..100 * layout.cells.len() {
                let position = numbers.between(0, layout.cells.len() as i64) as usize;
                let cells = &layout.cells[position];
                let slot = cells.first_slot + numbers.between(0, cells.slots as i64) as usize;
                let amount = draft.room(position, slot).min(draft.left[position]);
                draft.shift(position, slot, amount);
            }
            let plan = draft.plan();
            assert!(keeps_all_limits(&problem, &plan), "seed {seed}");
            assert_eq!(problem.assess(&plan), Ok(draft.value()), "seed {seed}");
            let loads = draft.loads.clone();
            draft.sum_loads(|_| true);
            assert_eq!(
                loads[LANES..],
                draft.loads[LANES..],
                "seed {seed}: loads kept are loads summed"
            );
        }
    }

    /// Two loads that point apart: 8 and 5 make 7, 8 and 3 still do, 8 and 2 are too long.
    #[test]
    fn a_load_that_balances_another_can_only_go_so_far() {
        let car = |line: [i64; 3]| Session {
            node: 0,
            first_slot: 0,
            end_slot: 1,
            most: 10,
            wanted: 10,
            line,
            total: 0,
            uneven: [0; 3],
            power: 1,
            penalty: 1,
        };
        let problem = Problem {
            lengths: vec![1],
            prices: vec![1],
            parents: vec![None],
            sessions: vec![car([1, 0, 0]), car([0, 0, 1])],
            cones: vec![Cone {
                node: 0,
                squares: [1, 0, 1],
                products: [0, -1, 0],
                scale: 1,
                by_slot: vec![7],
            }],
            ..Problem::default()
        };
        let layout = Layout::new(&problem);
        let mut draft = Draft::new(&layout);
        let at = |session: usize| {
            layout
                .cells
                .iter()
                .position(|cells| cells.session == session)
                .expect("it stays")
        };
        for (session, amount) in [(0, 7), (1, 5), (0, 1)] {
            assert!(draft.room(at(session), 0) >= amount);
            draft.shift(at(session), 0, amount);
        }
        assert_eq!(draft.room(at(0), 0), 0);
        assert_eq!(draft.removable(at(1), 0), 2);
        assert_eq!(draft.removable(at(0), 0), 8);
    }
}
