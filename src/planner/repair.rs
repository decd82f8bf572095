//! From the wishes of the relaxation to allowed rates, without losing what it found.
//!
//! Decides every rate of a searched plan, in integers and against every limit. Rounding passes what a slot could not give on to
//! the session's next one; what is still missing in the end is topped up in order of service, and what lies dear or late is moved.

use super::draft::Draft;
use super::exchange;
use super::greedy;
use super::objective::{self, Figures};
use super::problem::Problem;
use crate::domain::conversion::Rate;
use crate::units::{Seconds, WattSeconds, Watts};
use std::cmp::Reverse;

/// How often the span between the wished peak and the one that serves all is halved.
const PEAK_SEARCH_STEPS: usize = 6;
/// Which way of rounding leaves least undone depends on where it is tight, so all of these are tried.
const ROUNDED_UP_FROM: [f64; 3] = [0.5, 0.25, 0.05];
/// A wish below this part of a rate unit is the solver's noise.
const NOISE: f64 = 1e-3;

/// A feasible plan near `wishes` (rates by session, then slot). Sessions that may not be interrupted are as in `greedy`.
pub(super) fn repair<'p>(problem: &'p Problem<'p>, greedy: &Draft, wishes: &[f64], peak: Option<Watts>) -> Draft<'p> {
    let enough = Figures::of(greedy);
    let mut best: Option<(Figures, Draft)> = None;
    for rounded_up_from in ROUNDED_UP_FROM {
        let wishes = Wishes {
            rates: wishes,
            peak,
            rounded_up_from,
        };
        let draft = repair_once(problem, greedy, &wishes);
        let figures = Figures::of(&draft);
        let serves = figures.serves_as_well_as(&enough);
        if best.as_ref().is_none_or(|(best, _)| figures < *best) {
            best = Some((figures, draft));
        }
        if serves {
            break;
        }
    }
    best.expect("there is a way to round").1
}

/// What the relaxation would like.
struct Wishes<'w> {
    /// By session, then slot.
    rates: &'w [f64],
    peak: Option<Watts>,
    /// The part of a step from which on a wish is rounded up.
    rounded_up_from: f64,
}

fn repair_once<'p>(problem: &'p Problem<'p>, greedy: &Draft, wishes: &Wishes) -> Draft<'p> {
    let mut draft = Draft::new(problem);
    draft.peak_allowed = wishes.peak;
    let order = slots_by_price(problem);
    for session in (0..problem.session_count()).filter(|session| !problem.session(*session).interruptible) {
        for slot in problem.live_slots(session) {
            draft.set(session, slot, greedy.rate(session, slot));
        }
    }
    round(&mut draft, wishes, &order);
    let mut draft = match wishes.peak {
        Some(peak) => top_up_under(draft, peak, &order),
        None => topped_up(draft, None, &order),
    };
    polish(&mut draft);
    draft
}

/// Moves what can be moved to cheaper or earlier slots, and drops what is above the need.
pub(super) fn polish(draft: &mut Draft) {
    let order = slots_by_price(draft.problem);
    draft.peak_allowed = draft.peak_without_cost();
    for session in 0..draft.problem.session_count() {
        if draft.problem.session(session).interruptible {
            move_forward(draft, session, &order);
            drop_excess(draft, session, &order);
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

/// Slot by slot the wish, plus what the session's earlier slots could not give, down to a step; then up again for those who lost
/// most of a step, while it fits.
fn round(draft: &mut Draft, wishes: &Wishes, order: &[usize]) {
    let problem = draft.problem;
    // By session: energy wished for so far and not given, in watt-seconds. Negative where more was given.
    let mut owed = vec![0.0; problem.session_count()];
    let slack: Vec<Seconds> = (0..problem.session_count())
        .map(|session| greedy::laxity(problem, session, 0, problem.wanted(session)))
        .collect();
    for slot in order {
        let seconds = problem.seconds(*slot).secs() as f64;
        let mut wished: Vec<(usize, f64)> = (0..problem.session_count())
            .filter(|session| problem.is_live(*session, *slot) && problem.session(*session).interruptible)
            .filter_map(|session| {
                let wish = wishes.rates[session * problem.slots + slot];
                let per_rate = problem.session(session).power.as_f64() * seconds;
                (wish > NOISE).then(|| (session, wish + owed[session] / per_rate))
            })
            .collect();
        // Who could least make it up elsewhere goes first.
        wished.sort_by_key(|(session, _)| (slack[*session], *session));
        for (session, wish) in &wished {
            let most = Rate::new((wish + NOISE).max(0.0) as i64).min(enough(draft, *session, *slot));
            draft.raise(*session, *slot, most);
        }
        for (session, wish) in &wished {
            if lost_part(draft, *session, *slot, *wish) >= wishes.rounded_up_from {
                let next = problem.session(*session).choice.above(draft.rate(*session, *slot));
                let most = next.unwrap_or(Rate::ZERO).min(enough(draft, *session, *slot));
                draft.raise(*session, *slot, most);
            }
        }
        for (session, _) in wished {
            let wish = wishes.rates[session * problem.slots + slot] * problem.session(session).power.as_f64() * seconds;
            owed[session] += wish - draft.energy(session, *slot).watt_seconds() as f64;
        }
    }
}

/// The rate in `slot` that gives `session` all it still wants.
fn enough(draft: &Draft, session: usize, slot: usize) -> Rate {
    draft.rate_with(session, slot, draft.missing(session))
}

/// How much of its next step `session` wished for and did not get.
fn lost_part(draft: &Draft, session: usize, slot: usize, wish: f64) -> f64 {
    let rate = draft.rate(session, slot);
    draft.problem.session(session).choice.above(rate).map_or(0.0, |next| {
        (wish - rate.value() as f64) / (next.value() - rate.value()) as f64
    })
}

/// Tops up with the lowest peak from `peak` on that costs no energy.
fn top_up_under<'p>(draft: Draft<'p>, peak: Watts, order: &[usize]) -> Draft<'p> {
    let mut best = topped_up(draft.clone(), None, order);
    let goal = Figures::of(&best);
    let (mut too_low, mut enough) = (peak.watts() - 1, best.peak().watts());
    let mut next = peak.watts();
    for _ in 0..PEAK_SEARCH_STEPS {
        if next >= enough {
            break;
        }
        let trial = topped_up(draft.clone(), Some(Watts::from_watts(next)), order);
        if Figures::of(&trial).serves_as_well_as(&goal) {
            enough = next;
            best = trial;
        } else {
            too_low = next;
        }
        next = (too_low + enough + 1) / 2;
    }
    best
}

fn topped_up<'p>(mut draft: Draft<'p>, peak: Option<Watts>, order: &[usize]) -> Draft<'p> {
    draft.peak_allowed = peak;
    top_up(&mut draft, order);
    draft
}

/// Gives what is missing: first of what was promised, then class by class, whoever has the smallest share first.
fn top_up(draft: &mut Draft, order: &[usize]) {
    let problem = draft.problem;
    for session in 0..problem.session_count() {
        let missing = objective::promised_missing(draft, session);
        top_up_session(draft, session, missing, order);
    }
    for class in &problem.classes {
        let mut members = class.members.clone();
        members.sort_by_cached_key(|session| (Reverse(missing_share(draft, *session)), *session));
        for session in members {
            let missing = draft.missing(session);
            top_up_session(draft, session, missing, order);
        }
    }
    let members = problem.classes.iter().flat_map(|class| class.members.iter().copied());
    exchange::make_room(draft, members, order);
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

/// Moves power from dear and late slots to cheap and early ones, while it fits.
fn move_forward(draft: &mut Draft, index: usize, order: &[usize]) {
    let problem = draft.problem;
    let own: Vec<usize> = order
        .iter()
        .copied()
        .filter(|slot| problem.is_live(index, *slot))
        .collect();
    for (position, to) in own.iter().enumerate() {
        for from in own[position + 1..].iter().rev() {
            if !draft.rate(index, *from).is_zero() {
                shift(draft, index, *from, *to);
            }
        }
    }
}

/// Moves as much as fits from one slot to another; both rates stay allowed, and the session gets no less.
fn shift(draft: &mut Draft, index: usize, from: usize, to: usize) {
    let choice = &draft.problem.session(index).choice;
    let (source, target) = (draft.rate(index, from), draft.rate(index, to));
    let most = draft.greatest_fitting(index, to, rate_with_part(draft, index, from, to, Rate::ZERO));
    // If the rest would be below the minimum, leave the minimum behind.
    let leaving_minimum = rate_with_part(draft, index, from, to, choice.minimum);
    for raised in [most, choice.floor(most.min(leaving_minimum))] {
        let lowered = rest_of(draft, index, from, to, raised);
        if raised > target && lowered < source && choice.allows(lowered) {
            draft.set(index, from, lowered);
            draft.set(index, to, raised);
            return;
        }
    }
}

/// The rate in `to` that takes over all that `from` has above `left`. Only the first slot of a plan has a length of its own.
fn rate_with_part(draft: &Draft, index: usize, from: usize, to: usize, left: Rate) -> Rate {
    let problem = draft.problem;
    if problem.seconds(from) == problem.seconds(to) {
        return Rate::new(draft.rate(index, to).value() + draft.rate(index, from).value() - left.value());
    }
    let session = problem.session(index);
    let part = draft.energy(index, from) - session.energy(left, problem.seconds(from));
    draft.rate_with(index, to, part.or_zero())
}

/// What `from` must keep once `to` has `raised`.
fn rest_of(draft: &Draft, index: usize, from: usize, to: usize, raised: Rate) -> Rate {
    let problem = draft.problem;
    let (source, target) = (draft.rate(index, from), draft.rate(index, to));
    if problem.seconds(from) == problem.seconds(to) {
        return Rate::new((source.value() + target.value() - raised.value()).max(0));
    }
    let gained = problem.session(index).energy(raised, problem.seconds(to)) - draft.energy(index, to);
    problem.rate_for(index, from, draft.energy(index, from) - gained)
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
