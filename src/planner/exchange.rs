//! Room for one session by moving another: the last energy that plain topping up cannot place.
//!
//! Decides which session gives way in a slot where it is not needed, because it can charge at another time. No one ends with less
//! than before, so the order of service is kept.

use super::draft::Draft;
use super::repair::top_up_session;
use crate::domain::conversion::Rate;
use crate::units::WattSeconds;

/// Moves that may fail for one session that lacks energy, and in all. Work is bounded by these, whatever the size of the site.
const MAX_FAILURES_PER_SESSION: usize = 600;
const MAX_FAILURES: usize = 3_000;

/// Gives the sessions that lack energy what moving others allows. `members` in order of service.
pub(super) fn make_room(draft: &mut Draft, members: impl Iterator<Item = usize>, order: &[usize]) {
    let mut failures_left = MAX_FAILURES;
    for session in members.filter(|session| draft.problem.session(*session).interruptible) {
        let allowed = failures_left.min(MAX_FAILURES_PER_SESSION);
        failures_left -= make_room_for(draft, session, order, allowed);
    }
}

/// Tells how many moves failed.
fn make_room_for(draft: &mut Draft, session: usize, order: &[usize], most_failures: usize) -> usize {
    let problem = draft.problem;
    let mut failures = 0;
    for slot in order.iter().copied().filter(|slot| problem.is_live(session, *slot)) {
        for other in 0..problem.session_count() {
            if draft.missing(session) == WattSeconds::ZERO || failures == most_failures {
                return failures;
            }
            let movable = other != session && problem.session(other).interruptible;
            if movable && !draft.rate(other, slot).is_zero() && may_help(draft, other, session) {
                failures += usize::from(!give_way(draft, other, session, slot, order));
            }
        }
    }
    failures
}

/// Whether the two share a limit.
fn may_help(draft: &Draft, other: usize, session: usize) -> bool {
    let path = draft.problem.path(session);
    draft.peak_allowed.is_some() || draft.problem.path(other).iter().any(|watched| path.contains(watched))
}

/// Lowers `other` in `slot` by what the next step of `session` needs, or to zero, if it can make that up elsewhere.
/// Tells whether it could.
fn give_way(draft: &mut Draft, other: usize, session: usize, slot: usize, order: &[usize]) -> bool {
    let problem = draft.problem;
    let Some(next) = problem.session(session).choice.above(draft.rate(session, slot)) else {
        return false;
    };
    if draft.fits(session, slot, next) {
        draft.set(session, slot, next);
        return true;
    }
    let step = next.value() - draft.rate(session, slot).value();
    let lowered = problem
        .session(other)
        .choice
        .floor(Rate::new(draft.rate(other, slot).value() - step));
    let before: Vec<Rate> = draft.rates(other).to_vec();
    let entitled = draft.delivered(other).min(problem.wanted(other));
    for rate in [lowered, Rate::ZERO] {
        draft.set(other, slot, rate);
        if draft.fits(session, slot, next) {
            let was = draft.rate(session, slot);
            draft.set(session, slot, next);
            let lost = (entitled - draft.delivered(other)).or_zero();
            top_up_session(draft, other, lost, order);
            if draft.delivered(other) >= entitled {
                let most = draft.rate_with(session, slot, draft.missing(session));
                draft.raise(session, slot, most);
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
