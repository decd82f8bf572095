//! A feasible plan without any search: guarantees first, then class by class, in each slot the least lax car first.
//!
//! Decides the plan that stands in whenever the search is not asked for, fails, or does worse. Always succeeds. It charges as early
//! as it can, because capacity left for later is lost to cars that arrive later.

use super::draft::Draft;
use super::problem::Problem;
use crate::domain::conversion::Rate;
use crate::domain::snapshot::SnapshotSession;
use crate::units::{Seconds, WattSeconds};
use std::cmp::Reverse;

pub(super) fn fill<'p>(problem: &'p Problem<'p>) -> Draft<'p> {
    let mut draft = Draft::new(problem);
    serve_guarantees(&mut draft);
    for class in &problem.classes {
        serve(&mut draft, &class.members, |session| problem.wanted(session));
    }
    draft
}

/// Gives sessions that may not be interrupted their run, then everyone what was promised.
pub(super) fn serve_guarantees(draft: &mut Draft) {
    let problem = draft.problem;
    let mut order: Vec<usize> = (0..problem.session_count())
        .filter(|session| !problem.session(*session).interruptible && problem.wanted(*session) > WattSeconds::ZERO)
        .collect();
    // Those that charge already have no choice of when to begin.
    order.sort_by_cached_key(|session| {
        let running = is_running(problem.session(*session));
        (!running, laxity(problem, *session, 0, problem.wanted(*session)))
    });
    for session in order {
        reserve_run(draft, session);
    }
    let promised: Vec<usize> = (0..problem.session_count())
        .filter(|session| problem.session(*session).guaranteed > WattSeconds::ZERO)
        .collect();
    serve(draft, &promised, |session| problem.session(session).guaranteed);
}

pub(super) fn is_running(session: &SnapshotSession) -> bool {
    session.first_slot == 0 && !session.current.is_zero()
}

/// Slot by slot: first everyone's pace (what is missing, spread over what is left of the stay), then as much as fits.
fn serve(draft: &mut Draft, members: &[usize], target: impl Fn(usize) -> WattSeconds) {
    let problem = draft.problem;
    let mut to_come: Vec<usize> = members.to_vec();
    to_come.sort_by_key(|session| Reverse(problem.session(*session).first_slot));
    // Those who are there and still lack something.
    let mut waiting: Vec<Waiting> = Vec::new();
    for slot in 0..problem.slots {
        while let Some(session) = to_come.pop_if(|session| problem.session(*session).first_slot <= slot) {
            waiting.push(Waiting::from(problem, session));
        }
        waiting.retain(|waiting| {
            waiting.slots_end > slot
                && (waiting.runs || lacking(draft, waiting.session, slot, &target) > WattSeconds::ZERO)
        });
        let mut present: Vec<(Seconds, usize, Seconds)> = waiting
            .iter()
            .map(|waiting| (waiting.session, waiting.time_left))
            .filter(|(session, _)| may_raise(draft, *session, slot))
            .map(|(session, left)| (session, left, lacking(draft, session, slot, &target)))
            .filter(|(_, _, missing)| *missing > WattSeconds::ZERO)
            .map(|(session, left, missing)| (laxity(problem, session, slot, missing), session, left))
            .collect();
        present.sort_unstable();
        for (_, session, left) in &present {
            let missing = lacking(draft, *session, slot, &target);
            let pace = share_of(missing, problem.seconds(slot), *left);
            let most = draft.rate_with(*session, slot, pace);
            draft.raise(*session, slot, most);
        }
        for (_, session, _) in &present {
            let missing = lacking(draft, *session, slot, &target);
            let most = draft.rate_with(*session, slot, missing);
            draft.raise(*session, slot, most);
            release_tail(draft, *session);
        }
        for waiting in waiting
            .iter_mut()
            .filter(|waiting| problem.is_live(waiting.session, slot))
        {
            waiting.time_left -= problem.seconds(slot);
        }
    }
}

/// A session that is there.
struct Waiting {
    session: usize,
    slots_end: usize,
    /// Seconds of live stay that are left.
    time_left: Seconds,
    /// It may not be interrupted, and has a run that counts only slot by slot.
    runs: bool,
}

impl Waiting {
    fn from(problem: &Problem, session: usize) -> Self {
        Self {
            session,
            slots_end: problem.session(session).end_slot,
            time_left: problem.live_slots(session).map(|live| problem.seconds(live)).sum(),
            runs: !problem.session(session).interruptible,
        }
    }
}

/// A session that may not be interrupted is raised only where it charges already.
fn may_raise(draft: &Draft, session: usize, slot: usize) -> bool {
    draft.problem.is_live(session, slot)
        && (draft.problem.session(session).interruptible || !draft.rate(session, slot).is_zero())
}

/// What `session` lacks of its target. The run of one that may not be interrupted counts only up to `slot`: what comes later
/// is dropped as soon as it is not needed.
fn lacking(draft: &Draft, session: usize, slot: usize, target: &impl Fn(usize) -> WattSeconds) -> WattSeconds {
    let delivered = if draft.problem.session(session).interruptible {
        draft.delivered(session)
    } else {
        (0..=slot).map(|slot| draft.energy(session, slot)).sum()
    };
    (target(session) - delivered).or_zero()
}

/// How long `session` could wait before it has to charge at full rate, to get `energy`.
pub(super) fn laxity(problem: &Problem, index: usize, slot: usize, energy: WattSeconds) -> Seconds {
    let session = problem.session(index);
    let from = slot.max(session.first_slot);
    let stay = problem.time_between(from, session.end_slot.max(from));
    let full_watts = session
        .energy(session.choice.maximum, Seconds::from_secs(1))
        .watt_seconds()
        .max(1);
    stay - Seconds::from_secs(energy.watt_seconds() / full_watts)
}

/// The part of `energy` that falls to `part` of `whole`.
fn share_of(energy: WattSeconds, part: Seconds, whole: Seconds) -> WattSeconds {
    let share = i128::from(energy.watt_seconds()) * i128::from(part.secs()) / i128::from(whole.secs().max(1));
    WattSeconds::from_watt_seconds(i64::try_from(share).unwrap_or(i64::MAX))
}

/// Gives `session` its minimum without a gap until its need is met or it leaves: from now on if it charges already, else from the
/// earliest slot where that can be done. Where it cannot, the longest stretch there is.
fn reserve_run(draft: &mut Draft, index: usize) {
    let problem = draft.problem;
    let session = problem.session(index);
    let Some(minimum) = session.choice.above(Rate::ZERO) else {
        return;
    };
    let wanted = problem.wanted(index);
    let fitting: Vec<bool> = (0..session.end_slot)
        .map(|slot| slot >= session.first_slot && draft.fits(index, slot, minimum))
        .collect();
    let mut from = session.first_slot;
    if is_running(session) {
        let run = run_from(problem, index, &fitting, from, minimum, wanted);
        run.slots.clone().for_each(|slot| draft.set(index, slot, minimum));
        if run.completes {
            return;
        }
        from = run.slots.end;
    }
    let mut best: Option<Run> = None;
    while let Some(start) = (from..session.end_slot).find(|slot| fitting[*slot]) {
        let run = run_from(
            problem,
            index,
            &fitting,
            start,
            minimum,
            wanted - draft.delivered(index),
        );
        from = run.slots.end;
        let better = best.as_ref().is_none_or(|best| {
            (run.completes, run.energy.watt_seconds()) > (best.completes, best.energy.watt_seconds())
        });
        if better {
            best = Some(run);
        }
        if best.as_ref().is_some_and(|best| best.completes) {
            break;
        }
    }
    for slot in best.map_or(0..0, |best| best.slots) {
        draft.set(index, slot, minimum);
    }
}

/// A stretch of slots at the minimum rate.
struct Run {
    slots: std::ops::Range<usize>,
    energy: WattSeconds,
    /// It lasts until the need is met or the stay ends.
    completes: bool,
}

fn run_from(
    problem: &Problem,
    index: usize,
    fitting: &[bool],
    start: usize,
    minimum: Rate,
    wanted: WattSeconds,
) -> Run {
    let session = problem.session(index);
    let mut energy = WattSeconds::ZERO;
    let mut end = start;
    while end < session.end_slot && fitting[end] && energy < wanted {
        energy += session.energy(minimum, problem.seconds(end));
        end += 1;
    }
    Run {
        slots: start..end,
        energy,
        completes: energy >= wanted || end == session.end_slot,
    }
}

/// Drops the last slots of a run that are no longer needed.
pub(super) fn release_tail(draft: &mut Draft, index: usize) {
    let problem = draft.problem;
    if problem.session(index).interruptible {
        return;
    }
    let wanted = problem.wanted(index);
    while let Some(last) = problem
        .live_slots(index)
        .rev()
        .find(|slot| !draft.rate(index, *slot).is_zero())
    {
        if draft.delivered(index) - draft.energy(index, last) < wanted {
            return;
        }
        draft.set(index, last, Rate::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn the_car_with_least_time_left_goes_first() {
        let mut snapshot = site(vec![amperes(20); 4]);
        let lax = car(&mut snapshot, on_l1(), 20);
        let pressed = car(&mut snapshot, on_l1(), 20);
        snapshot.sessions[pressed].end_slot = 1;
        let problem = Problem::new(&snapshot);
        let draft = fill(&problem);
        assert_eq!(in_amperes(draft.rates(pressed)), [20, 0, 0, 0]);
        assert_eq!(draft.missing(lax), WattSeconds::ZERO);
    }

    #[test]
    fn everyone_charges_at_the_pace_of_what_is_left_of_his_stay() {
        let mut snapshot = site(vec![amperes(20); 3]);
        let cars = [30, 30].map(|need| car(&mut snapshot, on_l1(), need));
        let problem = Problem::new(&snapshot);
        let draft = fill(&problem);
        assert_eq!(cars.map(|car| in_amperes(draft.rates(car))), [[10, 10, 10]; 2]);
    }

    #[test]
    fn a_run_begins_where_it_can_be_finished_without_a_pause() {
        let mut snapshot = site([20, 0, 20, 20].map(amperes).to_vec());
        let car = car(&mut snapshot, on_l1(), 24);
        snapshot.sessions[car].interruptible = false;
        let problem = Problem::new(&snapshot);
        assert_eq!(in_amperes(fill(&problem).rates(car)), [0, 0, 20, 6]);
    }

    #[test]
    fn a_run_that_charges_already_begins_now_even_if_it_must_be_cut() {
        let mut snapshot = site([20, 0, 20, 20].map(amperes).to_vec());
        let car = car(&mut snapshot, on_l1(), 24);
        snapshot.sessions[car].interruptible = false;
        snapshot.sessions[car].current = Rate::new(60);
        let problem = Problem::new(&snapshot);
        assert_eq!(in_amperes(fill(&problem).rates(car)), [20, 0, 6, 0]);
    }

    #[test]
    fn a_promise_is_kept_before_an_earlier_tier_is_served() {
        let mut snapshot = site(vec![amperes(10); 3]);
        let first = car(&mut snapshot, on_l1(), 30);
        let promised = car(&mut snapshot, on_l1(), 30);
        snapshot.sessions[first].tier = crate::domain::session::Tier::BOOST;
        snapshot.sessions[promised].guaranteed = WattSeconds::from_watt_hours(230 * 10);
        let problem = Problem::new(&snapshot);
        let draft = fill(&problem);
        assert!(draft.delivered(promised) >= snapshot.sessions[promised].guaranteed);
        assert!(draft.delivered(first) > WattSeconds::ZERO);
    }
}
