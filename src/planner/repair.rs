//! From the wishes of the relaxation to allowed rates, without losing what it found.
//!
//! Decides every rate of a searched plan, in integers and against every limit. Rounding passes what a slot could not give on to
//! the session's next one; what is still missing in the end is topped up in order of service, and what lies dear or late is moved.

use super::draft::Draft;
use super::exchange::Chains;
use super::objective;
use super::problem::Problem;
use crate::domain::conversion::Rate;
use crate::units::{WattSeconds, Watts};
use std::cmp::Reverse;

/// A wish below this part of a rate unit is the solver's noise.
const NOISE: f64 = 1e-3;

/// A feasible plan near `wishes` (rates by session, then slot). Sessions that may not be interrupted are as in `greedy`.
pub(super) fn repair<'p>(problem: &'p Problem<'p>, greedy: &Draft, wishes: &[f64], peak: Option<Watts>) -> Draft<'p> {
    let mut draft = Draft::new(problem);
    let order = slots_by_price(problem);
    for session in (0..problem.session_count()).filter(|session| !problem.session(*session).interruptible) {
        for slot in problem.live_slots(session) {
            draft.set(session, slot, greedy.rate(session, slot));
        }
    }
    draft.peak_allowed = peak;
    round_down(&mut draft, wishes, &order);
    serve_missing(&mut draft, &order);
    if draft.peak_allowed.take().is_some() {
        serve_missing(&mut draft, &order);
    }
    polish(&mut draft);
    draft
}

/// Each wish down to an allowed rate.
fn round_down(draft: &mut Draft, wishes: &[f64], order: &[usize]) {
    let problem = draft.problem;
    for slot in order {
        for session in problem.present(*slot).iter().copied().filter(|session| problem.session(*session).interruptible) {
            let wish = wishes[session * problem.slots + slot];
            if wish > NOISE {
                let rate = problem.session(session).choice.floor(Rate::new((wish + NOISE) as i64));
                draft.raise(session, *slot, rate);
            }
        }
    }
}

/// Gives what is missing: first of what was promised, then class by class.
fn serve_missing(draft: &mut Draft, order: &[usize]) {
    let problem = draft.problem;
    for session in 0..problem.session_count() {
        let missing = objective::promised_missing(draft, session);
        top_up_session(draft, session, missing, order);
    }
    for class in &problem.classes {
        let mut members = class.members.clone();
        members.sort_by_cached_key(|session| (Reverse(missing_share(draft, *session)), *session));
        for session in &members {
            let missing = draft.missing(*session);
            top_up_session(draft, *session, missing, order);
            drop_excess(draft, *session, order);
        }
        let mut chains = Chains::new(draft, order);
        for session in members {
            while chains.serve(session) {}
        }
    }
}

/// Moves what can be moved to cheaper or earlier slots, and drops what is above the need.
pub(super) fn polish(draft: &mut Draft) {
    let problem = draft.problem;
    let order = slots_by_price(problem);
    draft.peak_allowed = draft.peak_without_cost();
    let mut chains = Chains::new(draft, &order);
    for pass in 0..2 {
        chains.start_over();
        for slot in order.iter().rev().copied() {
            for session in problem.present(slot).iter().copied().filter(|session| problem.session(*session).interruptible) {
                let choice = &problem.session(session).choice;
                loop {
                    let rate = chains.draft.rate(session, slot);
                    if rate.is_zero() { break; }
                    let lowered = if pass == 0 { Rate::ZERO } else { choice.floor(Rate::new(rate.value() - 1)) };
                    if pass == 1 && lowered.is_zero() { break; }
                    if !chains.move_forward(session, slot, lowered) { break; }
                }
            }
        }
    }
    draft.peak_allowed = None;
}

/// All slots, cheapest first, then earliest.
pub(super) fn slots_by_price(problem: &Problem) -> Vec<usize> {
    let mut order: Vec<usize> = (0..problem.slots).collect();
    order.sort_by_key(|slot| (problem.snapshot.prices[*slot], *slot));
    order
}

/// What `session` lacks of what it wants, in millionths.
fn missing_share(draft: &Draft, session: usize) -> i128 {
    let wanted = i128::from(draft.problem.wanted(session).watt_seconds()).max(1);
    i128::from(draft.missing(session).watt_seconds()) * 1_000_000 / wanted
}

pub(super) fn top_up_session(draft: &mut Draft, session: usize, missing: WattSeconds, order: &[usize]) {
    let goal = draft.delivered(session) + missing;
    if missing == WattSeconds::ZERO || !draft.problem.session(session).interruptible {
        return;
    }
    for slot in order.iter().filter(|slot| draft.problem.is_live(session, **slot)) {
        let left = goal - draft.delivered(session);
        if left <= WattSeconds::ZERO {
            return;
        }
        let most = draft.rate_with(session, *slot, left);
        draft.raise(session, *slot, most);
    }
}

/// Lowers the dearest slots while the session keeps all it wants and was promised.
pub(super) fn drop_excess(draft: &mut Draft, index: usize, order: &[usize]) {
    let problem = draft.problem;
    let session = problem.session(index);
    for slot in order.iter().rev().filter(|slot| problem.is_live(index, **slot)) {
        let excess = draft.delivered(index) - problem.wanted(index);
        let rate = draft.rate(index, *slot);
        if excess <= WattSeconds::ZERO {
            return;
        }
        // The least rate that keeps the need: never above the rate now.
        let lower = problem.rate_for(index, *slot, draft.energy(index, *slot) - excess);
        if session.choice.allows(lower) && lower < rate {
            draft.set(index, *slot, lower);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::domain::snapshot::SlotGrid;
    use crate::units::{Instant, MicrosPerKwh};

    #[test]
    fn wishes_below_the_minimum_are_gathered_into_slots_that_can_have_them() {
        let mut snapshot = site(vec![amperes(32); 4]);
        car(&mut snapshot, on_l1(), 16);
        let problem = Problem::new(&snapshot);
        let draft = repair(&problem, &Draft::new(&problem), &[40.0; 4], None);
        assert_eq!(draft.missing(0), WattSeconds::ZERO);
        assert_eq!(in_amperes(draft.rates(0)), [16, 0, 0, 0]);
    }

    #[test]
    fn power_moves_to_cheaper_slots_and_leaves_no_rate_below_the_minimum() {
        let mut snapshot = site(vec![amperes(20); 2]);
        car(&mut snapshot, on_l1(), 24);
        snapshot.prices[1] = MicrosPerKwh::from_micros_per_kwh(1);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 0, Rate::new(160));
        draft.set(0, 1, Rate::new(80));
        polish(&mut draft);
        assert_eq!(in_amperes(draft.rates(0)), [6, 18]);
    }

    #[test]
    fn what_is_left_of_the_slot_under_way_is_used_like_any_other() {
        let mut snapshot = site(vec![amperes(20); 3]);
        snapshot.grid = SlotGrid::new(Instant::from_unix_secs(3_000), Seconds::from_hours(1), 3);
        car(&mut snapshot, on_l1(), 20);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 2, Rate::new(200));
        polish(&mut draft);
        // Ten minutes of 18 A are 3 Ah, and 17 Ah are left for the next hour.
        assert_eq!(in_amperes(draft.rates(0)), [18, 17, 0]);
    }

    #[test]
    fn what_is_above_the_need_is_dropped_where_it_costs_most() {
        let mut snapshot = site(vec![amperes(20); 2]);
        car(&mut snapshot, on_l1(), 20);
        snapshot.prices[1] = MicrosPerKwh::from_micros_per_kwh(1);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 0, Rate::new(60));
        draft.set(0, 1, Rate::new(200));
        polish(&mut draft);
        assert_eq!(in_amperes(draft.rates(0)), [0, 20]);
    }

    #[test]
    fn topping_up_raises_the_peak_no_more_than_it_must() {
        let mut snapshot = site(vec![amperes(63); 2]);
        car(&mut snapshot, on_l1(), 20);
        car(&mut snapshot, on_l1(), 20);
        let problem = Problem::new(&snapshot);
        let order = slots_by_price(&problem);
        let draft = top_up_under(Draft::new(&problem), Watts::from_watts(1), &order);
        assert_eq!(draft.missing(0) + draft.missing(1), WattSeconds::ZERO);
        assert!(draft.peak() <= Watts::from_watts(22 * 230), "{}", draft.peak());
    }
}
