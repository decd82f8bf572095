//! Room for one session by moving another: the last energy that plain topping up cannot place.
//!
//! Decides which session gives way in a slot where it is not needed, because it can charge at another time. No one ends with less
//! than before, so the order of service is kept.

use super::draft::Draft;
use super::repair::top_up_session;
use crate::domain::conversion::Rate;
use crate::units::WattSeconds;

/// Moves tried for one session that lacks energy, and in all. Work is bounded by these, whatever the size of the site.
const MAX_TRIES_PER_SESSION: usize = 1_000;
const MAX_TRIES: usize = 4_000;

/// Gives the sessions that lack energy what moving others allows. `members` in order of service.
pub(super) fn make_room(draft: &mut Draft, members: impl Iterator<Item = usize>, order: &[usize]) {
    let mut tries_left = MAX_TRIES;
    for session in members.filter(|session| draft.problem.session(*session).interruptible) {
        let allowed = tries_left.min(MAX_TRIES_PER_SESSION);
        tries_left -= make_room_for(draft, session, order, allowed);
    }
}

/// Tells how many moves were tried.
fn make_room_for(draft: &mut Draft, session: usize, order: &[usize], most_tries: usize) -> usize {
    let problem = draft.problem;
    let mut tries = 0;
    for slot in order.iter().copied().filter(|slot| problem.is_live(session, *slot)) {
        for other in 0..problem.session_count() {
            if draft.missing(session) == WattSeconds::ZERO || tries == most_tries {
                return tries;
            }
            let movable = other != session && problem.session(other).interruptible;
            if !movable || draft.rate(other, slot).is_zero() || !may_help(draft, other, session) {
                continue;
            }
            tries += 1;
            // All that is missing at once, or else a step.
            let choice = &problem.session(session).choice;
            let all = draft.rate_with(session, slot, draft.missing(session));
            let step = choice.above(draft.rate(session, slot)).unwrap_or(all);
            let _gave_way =
                give_way(draft, other, session, slot, all, order) || give_way(draft, other, session, slot, step, order);
        }
    }
    tries
}

/// Whether the two share a limit.
fn may_help(draft: &Draft, other: usize, session: usize) -> bool {
    let path = draft.problem.path(session);
    draft.peak_allowed.is_some() || draft.problem.path(other).iter().any(|watched| path.contains(watched))
}

/// Lowers `other` in `slot` by what `session` needs to go to `target`, or to zero, if it can make that up elsewhere. Tells whether
/// it could.
fn give_way(draft: &mut Draft, other: usize, session: usize, slot: usize, target: Rate, order: &[usize]) -> bool {
    let problem = draft.problem;
    let was = draft.rate(session, slot);
    if target <= was {
        return false;
    }
    if draft.fits(session, slot, target) {
        draft.set(session, slot, target);
        return true;
    }
    let needed = target.value() - was.value();
    let lowered = problem
        .session(other)
        .choice
        .floor(Rate::new(draft.rate(other, slot).value() - needed));
    let before: Vec<Rate> = draft.rates(other).to_vec();
    let entitled = draft.delivered(other).min(problem.wanted(other));
    for rate in [lowered, Rate::ZERO] {
        draft.set(other, slot, rate);
        if draft.fits(session, slot, target) {
            draft.set(session, slot, target);
            let lost = (entitled - draft.delivered(other)).or_zero();
            top_up_session(draft, other, lost, order);
            if draft.delivered(other) >= entitled {
                return true;
            }
            draft.set(session, slot, was);
        }
        for (slot, rate) in before.iter().enumerate() {
            draft.set(other, slot, *rate);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::problem::Problem;
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_car_with_time_makes_room_for_one_without() {
        let mut snapshot = site(vec![amperes(20); 2]);
        let lax = car(&mut snapshot, on_l1(), 20);
        let pressed = car(&mut snapshot, on_l1(), 16);
        snapshot.sessions[pressed].end_slot = 1;
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(lax, 0, Rate::new(200));
        make_room(&mut draft, [pressed].into_iter(), &[0, 1]);
        assert_eq!(in_amperes(draft.rates(pressed)), [16, 0]);
        assert_eq!(draft.missing(lax), WattSeconds::ZERO);
    }

    #[test]
    fn no_one_gives_way_to_his_own_loss() {
        let mut snapshot = site(vec![amperes(20)]);
        let served = car(&mut snapshot, on_l1(), 20);
        let other = car(&mut snapshot, on_l1(), 20);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(served, 0, Rate::new(200));
        make_room(&mut draft, [other].into_iter(), &[0]);
        assert_eq!(in_amperes(draft.rates(served)), [20]);
        assert_eq!(in_amperes(draft.rates(other)), [0]);
    }
}
