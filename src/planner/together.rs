//! Energy for one session for which several others give way together.
//!
//! Decides who does, where no one alone can make room: a three-phase car is held back by single-phase cars on two lines, or by one line
//! of its panel and another of the feeder. Limit by limit someone lowers his rate and makes up for it by a chain of his own
//! ([`super::exchange`]); where that cannot be had for all limits, everything is as it was.

use super::chain::Purpose;
use super::draft::Hold;
use super::exchange::Chains;
use super::serving::drop_excess;
use crate::domain::conversion::Rate;
use crate::units::WattSeconds;

/// So many give way for one step: one for each line, at two nodes.
const MOST_TOGETHER: usize = 6;

impl Chains<'_, '_> {
    /// Gives `session` a step in one slot. Tells whether it got it.
    pub(super) fn serve_by_several(&mut self, session: usize) -> bool {
        let problem = self.draft.problem;
        for slot in problem.ordered_slots(session).iter().copied() {
            if self.looks_together == 0 {
                return false;
            }
            let choice = &problem.session(session).choice;
            let Some(step) = choice.above(self.draft.rate(session, slot)) else {
                continue;
            };
            self.draft.start_log();
            if self.give_way(session, slot, step) {
                self.draft.set(session, slot, step);
                drop_excess(self.draft, session);
                return true;
            }
            self.draft.take_back(0);
        }
        false
    }

    /// Makes room for `session` to go to `step`, limit by limit. Tells whether there is.
    fn give_way(&mut self, session: usize, slot: usize, step: Rate) -> bool {
        for _ in 0..MOST_TOGETHER {
            if self.draft.fits(session, slot, step) {
                return true;
            }
            if !self.one_gives_way(session, slot, step) {
                return false;
            }
        }
        self.draft.fits(session, slot, step)
    }

    /// Has someone lower his rate so that the first limit in the way of `session` no longer is. Tells whether one could.
    fn one_gives_way(&mut self, session: usize, slot: usize, step: Rate) -> bool {
        let problem = self.draft.problem;
        let change = self.draft.change(session, slot, step);
        let Some((hold, excess)) = self.draft.obstacle(session, slot, &change, None) else {
            return true;
        };
        let users = match hold {
            Hold::Node(watched) => problem.below(watched, slot),
            Hold::Peak => problem.present(slot),
        };
        let needed = step.value() - self.draft.rate(session, slot).value();
        for user in users.iter().copied() {
            if self.looks_together == 0 {
                return false;
            }
            self.looks_together -= 1;
            let rate = self.draft.rate(user, slot);
            if user == session
                || rate.is_zero()
                || !problem.session(user).interruptible
                || self.marks.is_exhausted(user)
            {
                continue;
            }
            let clears = |lowered: &Rate| {
                let less = self.draft.change(user, slot, *lowered);
                match (self.draft.obstacle(session, slot, &change, Some((user, &less))), excess) {
                    (None, _) => true,
                    (Some((next, Some(left))), Some(excess)) => next != hold || !left.is_of_same_limit(&excess),
                    (Some((next, _)), _) => next != hold,
                }
            };
            let Some(lowered) = self.lower_rates(user, slot, needed).find(clears) else {
                continue;
            };
            let logged = self.draft.logged();
            let entitled = self.draft.delivered(user).min(problem.wanted(user));
            self.draft.set(user, slot, lowered);
            let lost = entitled - self.draft.delivered(user);
            if lost <= WattSeconds::ZERO || self.find(user, lost, Purpose::Leave { slot }) {
                return true;
            }
            self.draft.take_back(logged);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::draft::Draft;
    use super::super::problem::Problem;
    use super::super::testing::*;
    use super::*;
    use crate::domain::snapshot::Snapshot;

    /// A three-phase car that can only charge in the first of two hours, in which a car on L1 and one on L2 fill their lines.
    fn held_back_on_two_lines() -> Snapshot {
        let mut snapshot = site(vec![amperes(20); 2]);
        let three_phase = car(&mut snapshot, on_three_phases(), 3 * 6);
        snapshot.sessions[three_phase].end_slot = 1;
        car(&mut snapshot, on_l1(), 20);
        car(&mut snapshot, on_l2(), 20);
        snapshot
    }

    fn filled<'p>(problem: &'p Problem<'p>) -> Draft<'p> {
        let mut draft = Draft::new(problem);
        draft.set(1, 0, Rate::new(200));
        draft.set(2, 0, Rate::new(200));
        draft
    }

    #[test]
    fn cars_on_two_lines_make_room_for_one_on_three() {
        let snapshot = held_back_on_two_lines();
        let problem = Problem::new(&snapshot);
        let mut draft = filled(&problem);
        let mut chains = Chains::new(&mut draft);
        let missing = chains.draft().missing(0);
        assert!(!chains.serve(0, missing), "no one alone can make room");
        assert!(chains.serve_by_several(0));
        drop(chains);
        assert_eq!(
            [0, 1, 2].map(|car| in_amperes(draft.rates(car))),
            [[6, 0], [14, 6], [14, 6]]
        );
    }

    #[test]
    fn where_one_of_them_cannot_make_up_for_it_nothing_changes() {
        let mut snapshot = held_back_on_two_lines();
        snapshot.sessions[2].end_slot = 1;
        let problem = Problem::new(&snapshot);
        let mut draft = filled(&problem);
        assert!(!Chains::new(&mut draft).serve_by_several(0));
        assert_eq!(
            [0, 1, 2].map(|car| in_amperes(draft.rates(car))),
            [[0, 0], [20, 0], [20, 0]]
        );
    }
}
