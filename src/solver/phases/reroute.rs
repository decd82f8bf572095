//! The last units of energy: a car that no slot has room for is let in by moving others aside.
//!
//! A place that is full has several full rows at once, one or more on each conductor. Room is made on each of them by moving some car
//! on that row to another slot of its stay, where in turn room may have to be made: a search that branches over rows and goes a few
//! moves deep. Every move keeps all limits and everyone's energy, so whatever is found is a better plan. The work is counted and ends.

use super::draft::Draft;

/// Moves in a row: a car aside, and one more for its sake.
const DEPTH: usize = 2;

/// Serves what can be served of what is left, where the search's `prices`, by slot of the groups' rows, are lowest: there a unit takes
/// the least from others. `work` is the number of cells that may be looked at.
pub(super) fn serve_what_is_left(draft: &mut Draft, prices: &[f32], work: usize) {
    let mut search = Search {
        draft,
        prices,
        work,
        undo: Vec::new(),
    };
    let mut wanting: Vec<usize> = (0..search.draft.left.len())
        .filter(|&position| search.draft.left[position] > 0)
        .collect();
    let worth = |draft: &Draft, position: usize| {
        let group = &draft.layout.groups[draft.layout.cells[position].group];
        (std::cmp::Reverse(group.penalty), draft.left[position], position)
    };
    wanting.sort_by_key(|&position| worth(search.draft, position));
    // What is removable beside cones holds only until another moves in the same slot.
    let deepest = if search.draft.layout.problem.cones.is_empty() {
        DEPTH
    } else {
        1
    };
    for depth in 0..=deepest {
        for &position in &wanting {
            search.serve(position, depth);
        }
    }
}

struct Search<'d, 'a> {
    draft: &'d mut Draft<'a>,
    prices: &'d [f32],
    work: usize,
    /// Changes since the last success.
    undo: Vec<(usize, usize, i64)>,
}

impl Search<'_, '_> {
    fn serve(&mut self, position: usize, depth: usize) {
        for slot in self.slots_by_price(position) {
            let left = self.draft.left[position];
            if left == 0 || self.work == 0 {
                return;
            }
            self.undo.clear();
            if self.place(position, slot, left, depth) == 0 {
                self.take_back();
            }
        }
    }

    fn slots_by_price(&self, position: usize) -> Vec<usize> {
        let cells = &self.draft.layout.cells[position];
        let group = &self.draft.layout.groups[cells.group];
        let mut slots: Vec<usize> = (cells.first_slot..cells.first_slot + cells.slots).collect();
        let price = |slot: usize| self.prices[group.offset + slot - group.first_slot];
        slots.sort_by(|&a, &b| price(a).total_cmp(&price(b)));
        slots
    }

    fn shift(&mut self, position: usize, slot: usize, amount: i64) {
        self.draft.shift(position, slot, amount);
        self.undo.push((position, slot, amount));
    }

    fn take_back(&mut self) {
        while let Some((position, slot, amount)) = self.undo.pop() {
            self.draft.shift(position, slot, -amount);
        }
    }

    /// Raises a cell by up to `most`, making room if it is allowed to go deeper. Returns by how much.
    fn place(&mut self, position: usize, slot: usize, most: i64, depth: usize) -> i64 {
        self.work = self.work.saturating_sub(1);
        let most = most.min(self.draft.spare_rate(position, slot));
        if most <= 0 {
            return 0;
        }
        let mut room = self.draft.room(position, slot);
        if room < most && depth > 0 {
            for (row, coefficient) in self.draft.rows_of(position, slot) {
                let missing = self.draft.loads[row] + coefficient * most - self.draft.capacities[row];
                if missing > 0 && !self.clear(row, slot, missing, position, depth - 1) && self.is_full(row, coefficient)
                {
                    return 0;
                }
            }
            room = self.draft.room(position, slot);
        }
        let amount = room.min(most);
        if amount > 0 {
            self.shift(position, slot, amount);
        }
        amount
    }

    fn is_full(&self, row: usize, coefficient: i64) -> bool {
        self.draft.capacities[row] - self.draft.loads[row] < coefficient
    }

    /// Moves others than `guest` off a row until `load` is free. Returns whether it is.
    fn clear(&mut self, row: usize, slot: usize, mut load: i64, guest: usize, depth: usize) -> bool {
        let layout = self.draft.layout;
        for group in &layout.groups {
            let columns = group.first_slot..group.first_slot + group.columns * super::rows::LANES;
            if !columns.contains(&slot) {
                continue;
            }
            let on_row = self
                .draft
                .rows_of(group.members[0], slot)
                .find(|crossed| crossed.0 == row);
            let Some((_, coefficient)) = on_row else { continue };
            for &member in &group.members {
                let cells = &layout.cells[member];
                let present = (cells.first_slot..cells.first_slot + cells.slots).contains(&slot);
                if member != guest && present && self.draft.amount(member, slot) > 0 {
                    load -= coefficient * self.move_aside(member, slot, (load + coefficient - 1) / coefficient, depth);
                    if load <= 0 {
                        return true;
                    }
                    if self.work == 0 {
                        return false;
                    }
                }
            }
        }
        false
    }

    /// Moves up to `most` of a car's amount in a slot to other slots of its stay.
    fn move_aside(&mut self, member: usize, slot: usize, most: i64, depth: usize) -> i64 {
        let cells = self.draft.layout.cells[member];
        let mut moved = 0;
        for other in cells.first_slot..cells.first_slot + cells.slots {
            let amount = (most - moved).min(self.draft.removable(member, slot));
            if amount == 0 || self.work == 0 {
                break;
            }
            if other != slot {
                let placed = self.place(member, other, amount, depth);
                if placed > 0 {
                    self.shift(member, slot, -placed);
                    moved += placed;
                }
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Layout;
    use super::super::problem::{Limit, Problem, Session};
    use super::super::testing::{Shape, keeps_all_limits, random};
    use super::*;

    fn car(line: [i64; 3], stay: std::ops::Range<usize>) -> Session {
        let power = line.iter().sum();
        Session {
            node: 0,
            first_slot: stay.start,
            end_slot: stay.end,
            most: 10,
            wanted: 10,
            line,
            total: 0,
            uneven: [0; 3],
            power,
            penalty: 100 * power,
        }
    }

    /// A three-phase car can only charge in slot 0, where one car each is on the first and on the second conductor; the first can move
    /// to slot 1, the second only if a third moves on from there to slot 2.
    #[test]
    fn room_is_made_on_every_conductor_and_in_two_steps() {
        let sessions = vec![
            car([1, 0, 0], 0..2),
            car([0, 1, 0], 0..2),
            car([0, 1, 0], 1..3),
            car([1, 1, 1], 0..1),
        ];
        let problem = Problem {
            lengths: vec![1; 3],
            prices: vec![1; 3],
            parents: vec![None],
            limits: (0..3)
                .map(|kind| Limit {
                    node: 0,
                    kind,
                    by_slot: vec![10; 3],
                })
                .collect(),
            sessions,
            demand_charge: None,
            cones: Vec::new(),
        };
        let layout = Layout::new(&problem);
        let mut draft = Draft::new(&layout);
        let at = |session: usize| {
            layout
                .cells
                .iter()
                .position(|cells| cells.session == session)
                .expect("it has slots")
        };
        for (session, slot) in [(0, 0), (1, 0), (2, 1)] {
            draft.shift(at(session), slot, 10);
        }
        assert_eq!(draft.room(at(3), 0), 0);
        serve_what_is_left(&mut draft, &vec![1.0; layout.group_length], 1_000);
        let plan = draft.plan();
        assert!(keeps_all_limits(&problem, &plan));
        assert_eq!(draft.value().unserved, 0);
        assert_eq!(
            (plan.of(0), plan.of(1), plan.of(2)),
            (&[0, 10][..], &[0, 10][..], &[0, 10][..])
        );
    }

    #[test]
    fn whatever_is_moved_keeps_every_limit_and_serves_no_less() {
        for seed in 0..60 {
            let problem = random(seed, Shape::General, false);
            let layout = Layout::new(&problem);
            let mut draft = Draft::new(&layout);
            let mut left: i64 = draft.left.iter().sum();
            for work in [1, 10, 100, 1_000] {
                serve_what_is_left(&mut draft, &vec![1.0; layout.group_length], work);
                let now: i64 = draft.left.iter().sum();
                assert!(now <= left && draft.left.iter().all(|&left| left >= 0), "seed {seed}");
                left = now;
                assert!(keeps_all_limits(&problem, &draft.plan()), "seed {seed}");
            }
        }
    }
}
