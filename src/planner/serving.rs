//! Energy for those who lack it: where there is room, then where others make some, with no higher a peak than that takes.
//!
//! Decides who is served first: what was promised, then class by class, whoever has the smallest share.

use super::draft::Draft;
use super::exchange::Chains;
use super::objective;
use crate::units::{Seconds, WattSeconds, Watts};
use std::cmp::Reverse;

/// How often the peak is raised, each time by at least four times as much, before it is given up.
const MAX_PEAK_RISES: usize = 5;

/// Gives what is missing with a peak that is raised only as far as it holds someone back.
pub(super) fn serve_under_peak(chains: &mut Chains) {
    let mut rise = Watts::ZERO;
    for _ in 0..MAX_PEAK_RISES {
        serve_missing(chains);
        let draft = chains.draft();
        let Some(allowed) = draft.peak_allowed else {
            return;
        };
        let Some(least) = least_rise(draft) else {
            return;
        };
        rise = least.max(Watts::from_watts(rise.watts() * 4));
        draft.peak_allowed = Some(allowed + rise);
        if !chains.peak_held_back() {
            return;
        }
        chains.forget();
    }
    chains.draft().peak_allowed = None;
    chains.renew();
    serve_missing(chains);
}

/// What the peak must rise by for all that is missing, were it spread over all slots: at least by a step of someone who lacks
/// something. None where nothing is missing.
fn least_rise(draft: &Draft) -> Option<Watts> {
    let problem = draft.problem;
    let lacking = || (0..problem.session_count()).filter(|session| draft.missing(*session) > WattSeconds::ZERO);
    let missing: WattSeconds = lacking().map(|session| draft.missing(session)).sum();
    let whole: Seconds = (0..problem.slots).map(|slot| problem.seconds(slot)).sum();
    let length = problem.snapshot.grid.length().secs();
    let step = lacking()
        .map(|session| problem.step_worth(session).watt_seconds() / length)
        .min()?;
    Some(Watts::from_watts(
        (missing.watt_seconds() / whole.secs().max(1) + 1).max(step),
    ))
}

/// Gives what is missing: first of what was promised, then class by class.
fn serve_missing(chains: &mut Chains) {
    let problem = chains.draft().problem;
    for session in (0..problem.session_count()).filter(|session| problem.session(*session).interruptible) {
        serve(chains, &[session], objective::promised_missing);
    }
    for class in &problem.classes {
        // A step that is wanted as a whole first: where not all can be served, one that is wanted in part wastes the rest of it.
        let whole_steps = |draft: &Draft, session: usize| {
            let part = problem.step_worth(session) - WattSeconds::from_watt_seconds(1);
            (draft.missing(session) - part).or_zero()
        };
        let mut members: Vec<usize> = class
            .members
            .iter()
            .copied()
            .filter(|session| {
                problem.session(*session).interruptible && chains.draft().missing(*session) > WattSeconds::ZERO
            })
            .collect();
        let draft = chains.draft();
        members.sort_by_cached_key(|session| (Reverse(missing_share(draft, *session)), *session));
        serve(chains, &members, whole_steps);
        let draft = chains.draft();
        members.sort_by_cached_key(|session| (Reverse(draft.missing(*session)), *session));
        serve(chains, &members, |draft, session| draft.missing(session));
    }
}

/// Gives `members`, who may be interrupted, in their order what they lack: where there is room, then where others make some.
fn serve(chains: &mut Chains, members: &[usize], lacking: impl Fn(&Draft, usize) -> WattSeconds) {
    for session in members.iter().copied() {
        let draft = chains.draft();
        let missing = lacking(draft, session);
        top_up_session(draft, session, missing, 0);
        drop_excess(draft, session);
    }
    for session in members.iter().copied() {
        loop {
            let missing = lacking(chains.draft(), session);
            if missing == WattSeconds::ZERO || !chains.serve(session, missing) && !chains.serve_by_several(session) {
                break;
            }
        }
    }
}

/// What `session` lacks of what it wants, in millionths.
fn missing_share(draft: &Draft, session: usize) -> i128 {
    let wanted = i128::from(draft.problem.wanted(session).watt_seconds()).max(1);
    i128::from(draft.missing(session).watt_seconds()) * 1_000_000 / wanted
}

/// Gives `session` what is `missing`, in the cheapest slots from `from` on.
pub(super) fn top_up_session(draft: &mut Draft, session: usize, missing: WattSeconds, from: usize) {
    let problem = draft.problem;
    let goal = draft.delivered(session) + missing;
    if missing == WattSeconds::ZERO || !problem.session(session).interruptible {
        return;
    }
    for slot in problem
        .ordered_slots(session)
        .iter()
        .copied()
        .filter(|slot| *slot >= from)
    {
        let left = goal - draft.delivered(session);
        if left <= WattSeconds::ZERO {
            return;
        }
        let most = draft.rate_with(session, slot, left);
        draft.raise(session, slot, most);
    }
}

/// Lowers the dearest slots while the session, which may be interrupted, keeps all it wants and was promised.
pub(super) fn drop_excess(draft: &mut Draft, index: usize) {
    let problem = draft.problem;
    let session = problem.session(index);
    for slot in problem.ordered_slots(index).iter().rev().copied() {
        let excess = draft.delivered(index) - problem.wanted(index);
        let rate = draft.rate(index, slot);
        if excess <= WattSeconds::ZERO {
            return;
        }
        if rate.is_zero() {
            continue;
        }
        // The least rate that keeps the need: never above the rate now.
        let lower = problem.rate_for(index, slot, draft.energy(index, slot) - excess);
        if session.choice.allows(lower) && lower < rate {
            draft.set(index, slot, lower);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::Problem;
    use super::super::testing::*;
    use super::*;
    use crate::domain::conversion::Rate;
    use crate::domain::session::Tier;
    use crate::domain::snapshot::{DemandCharge, Snapshot};

    /// Rates of each car once those who lack something are served, with this peak allowed at first.
    fn served(snapshot: &Snapshot, peak: Option<i64>) -> Vec<Vec<i64>> {
        let problem = Problem::new(snapshot);
        let mut draft = Draft::new(&problem);
        draft.peak_allowed = peak.map(|amperes| Watts::from_watts(amperes * 230));
        serve_under_peak(&mut Chains::new(&mut draft));
        (0..problem.session_count())
            .map(|car| in_amperes(draft.rates(car)))
            .collect()
    }

    #[test]
    fn a_step_that_is_wanted_as_a_whole_goes_before_one_that_is_not() {
        let mut snapshot = site(vec![amperes(20)]);
        let first = car(&mut snapshot, on_l1(), 10);
        // A tenth of an ampere-hour more than it could get without wasting the rest of a step.
        snapshot.sessions[first].need = Some(WattSeconds::from_watt_hours(10 * 230 + 23));
        car(&mut snapshot, on_l1(), 10);
        assert_eq!(served(&snapshot, None), [[10], [10]]);
    }

    #[test]
    fn an_earlier_class_is_served_to_the_last_step_first() {
        let mut snapshot = site(vec![amperes(20)]);
        car(&mut snapshot, on_l1(), 20);
        let boosted = car(&mut snapshot, on_l1(), 10);
        snapshot.sessions[boosted].need = Some(WattSeconds::from_watt_hours(10 * 230 + 23));
        snapshot.sessions[boosted].tier = Tier::BOOST;
        assert_eq!(served(&snapshot, None), [[9], [11]]);
    }

    #[test]
    fn a_promise_is_kept_before_any_class_is_served() {
        let mut snapshot = site(vec![amperes(20)]);
        car(&mut snapshot, on_l1(), 20);
        let promised = car(&mut snapshot, on_l1(), 20);
        snapshot.sessions[0].tier = Tier::BOOST;
        snapshot.sessions[promised].guaranteed = WattSeconds::from_watt_hours(8 * 230);
        assert_eq!(served(&snapshot, None), [[12], [8]]);
    }

    /// Two cars with an hour of 20 A each to charge in two hours.
    fn with_demand_charge() -> Snapshot {
        let mut snapshot = site(vec![amperes(63); 2]);
        car(&mut snapshot, on_l1(), 20);
        car(&mut snapshot, on_l1(), 20);
        snapshot.demand_charge = Some(DemandCharge {
            micros_per_kw: 1,
            peak_so_far: Watts::ZERO,
            expected_base: vec![Watts::ZERO; 2],
        });
        snapshot
    }

    #[test]
    fn the_peak_rises_as_far_as_what_is_missing_needs() {
        let rates = served(&with_demand_charge(), Some(1));
        let drawn: Vec<i64> = (0..2).map(|slot| rates.iter().map(|rates| rates[slot]).sum()).collect();
        assert!(drawn.iter().all(|drawn| (19..=21).contains(drawn)), "{drawn:?}");
    }

    #[test]
    fn a_peak_that_holds_nobody_back_is_left_alone() {
        let mut snapshot = with_demand_charge();
        snapshot.nodes[0].available = vec![amperes(10); 2];
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.peak_allowed = Some(Watts::from_watts(10 * 230));
        let mut chains = Chains::new(&mut draft);
        serve_missing(&mut chains);
        assert!(!chains.peak_held_back());
    }

    #[test]
    fn a_run_that_may_not_be_interrupted_keeps_what_it_has_too_much() {
        let mut snapshot = site(vec![amperes(20); 3]);
        let run = car(&mut snapshot, on_l1(), 10);
        snapshot.sessions[run].interruptible = false;
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        (0..2).for_each(|slot| draft.set(run, slot, Rate::new(100)));
        serve_under_peak(&mut Chains::new(&mut draft));
        assert_eq!(in_amperes(draft.rates(run)), [10, 10, 0]);
    }
}
