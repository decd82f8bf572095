//! From the wishes of the relaxation to allowed rates, without losing what it found.
//!
//! Decides every rate of a searched plan, in integers and against every limit: wishes are rounded, those who lack something are
//! served ([`super::serving`]), and what lies dear or late is moved ([`super::exchange`]). Small sites are repaired from several
//! starts, of which the best plan is kept. Where energy is scarce, some of it is then traded ([`super::trade`]).

use super::draft::Draft;
use super::exchange::Chains;
use super::kinds::Kinds;
use super::objective::{self, Figures};
use super::problem::Problem;
use super::rounding::{Rounding, round};
use super::serving::{drop_excess, serve_under_peak};
use super::sharing::even_out;
use super::trade::trade;
use crate::domain::conversion::Rate;
use crate::units::{WattSeconds, Watts};

/// Sites with no more live cells than this are repaired from several starts.
const MAX_CELLS_FOR_MORE_STARTS: usize = 5_000;
/// Steps added to the wished peak, and whether to round to the nearest rate.
const MORE_STARTS: [(i64, bool); 5] = [(0, true), (-1, false), (1, false), (-1, true), (1, true)];

/// A feasible plan near `wishes` (rates by session, then slot). Sessions that may not be interrupted are as in `greedy`.
pub(super) fn repair<'p>(problem: &'p Problem<'p>, greedy: &Draft, wishes: &[f64], peak: Option<Watts>) -> Draft<'p> {
    let best = repair_from_all(problem, greedy, wishes, peak);
    let mut traded = best.clone();
    if !trade(&mut traded) {
        return best;
    }
    share_and_save(&mut Chains::new(&mut traded));
    traded.peak_allowed = None;
    if Figures::of(&traded) < Figures::of(&best) {
        traded
    } else {
        best
    }
}

/// The best plan from one start, or from several at a small site.
fn repair_from_all<'p>(problem: &'p Problem<'p>, greedy: &Draft, wishes: &[f64], peak: Option<Watts>) -> Draft<'p> {
    let rounding = if Kinds::new(problem).count() > 1 {
        Rounding::ByKind
    } else {
        Rounding::Down
    };
    let mut best = repair_from(problem, greedy, wishes, &Start { peak, rounding });
    if problem.cell_count() > MAX_CELLS_FOR_MORE_STARTS {
        return best;
    }
    // On a small site a step more or less makes a difference.
    let step = least_step(problem);
    for (steps, nearest) in MORE_STARTS
        .into_iter()
        .filter(|(steps, _)| *steps == 0 || peak.is_some())
    {
        let peak = peak.map(|peak| peak + Watts::from_watts(steps * step));
        let rounding = if nearest { Rounding::Nearest } else { rounding };
        let other = repair_from(problem, greedy, wishes, &Start { peak, rounding });
        if Figures::of(&other) < Figures::of(&best) {
            best = other;
        }
    }
    best
}

/// What a repair begins with.
struct Start {
    peak: Option<Watts>,
    rounding: Rounding,
}

/// The least power that one step is worth.
fn least_step(problem: &Problem) -> i64 {
    let length = problem.snapshot.grid.length().secs();
    let steps = (0..problem.session_count()).map(|session| problem.step_worth(session).watt_seconds() / length);
    steps.min().unwrap_or(0)
}

fn repair_from<'p>(problem: &'p Problem<'p>, greedy: &Draft, wishes: &[f64], start: &Start) -> Draft<'p> {
    let mut draft = Draft::new(problem);
    for session in (0..problem.session_count()).filter(|session| !problem.session(*session).interruptible) {
        for slot in problem.live_slots(session) {
            draft.set(session, slot, greedy.rate(session, slot));
        }
    }
    draft.peak_allowed = start.peak;
    round(&mut draft, wishes, start.rounding);
    let mut chains = Chains::new(&mut draft);
    serve_under_peak(&mut chains);
    chains.draft().peak_allowed = None;
    adopt_what_serves_more(chains.draft(), greedy);
    share_and_save(&mut chains);
    drop(chains);
    draft.peak_allowed = None;
    draft
}

/// Divides what is scarce, then moves what can be moved to cheaper or earlier slots.
fn share_and_save(chains: &mut Chains) {
    even_out(chains);
    save(chains);
}

/// Makes all below a node as in `greedy` where that serves them better and there is room for it. Under a tight limit on few cars, how
/// minimum currents are packed is found by chance, and greedy may have found it.
fn adopt_what_serves_more(draft: &mut Draft, greedy: &Draft) {
    let problem = draft.problem;
    // Children come after their parents; the grid connection is left out, as it would be all or nothing.
    let nodes = (0..problem.watched_count()).rev();
    for watched in nodes.filter(|watched| !problem.is_root(*watched)) {
        if lacks(greedy, problem.all_below(watched)) < lacks(draft, problem.all_below(watched)) {
            adopt(draft, greedy, problem.all_below(watched));
        }
    }
    draft.stop_log();
}

/// What `sessions` lack of what was promised, and class by class of what they want.
fn lacks(draft: &Draft, sessions: &[usize]) -> (WattSeconds, Vec<WattSeconds>) {
    let problem = draft.problem;
    let mut missing = vec![WattSeconds::ZERO; problem.classes.len()];
    let mut promised = WattSeconds::ZERO;
    for session in sessions.iter().copied() {
        promised += objective::promised_missing(draft, session);
        if let Some(class) = problem.class_of(session) {
            missing[class] += draft.missing(session);
        }
    }
    (promised, missing)
}

/// Makes `sessions` as in `greedy`, if there is room for it.
fn adopt(draft: &mut Draft, greedy: &Draft, sessions: &[usize]) {
    let problem = draft.problem;
    let cells = || {
        let cells = |session: usize| problem.live_slots(session).map(move |slot| (session, slot));
        sessions.iter().copied().flat_map(cells)
    };
    draft.start_log();
    cells().for_each(|(session, slot)| draft.set(session, slot, Rate::ZERO));
    for (session, slot) in cells() {
        let rate = greedy.rate(session, slot);
        if !draft.fits(session, slot, rate) {
            draft.take_back(0);
            return;
        }
        draft.set(session, slot, rate);
    }
}

/// Drops what is above the need, and moves what can be moved to cheaper or earlier slots.
pub(super) fn polish(draft: &mut Draft) {
    let problem = draft.problem;
    (0..problem.session_count())
        .filter(|session| problem.session(*session).interruptible)
        .for_each(|session| drop_excess(draft, session));
    save(&mut Chains::new(draft));
    draft.peak_allowed = None;
}

/// Moves power step by step, from the dearest slots on.
fn save(chains: &mut Chains) {
    let draft = chains.draft();
    let problem = draft.problem;
    draft.peak_allowed = draft.peak_without_cost();
    chains.forget();
    for slot in problem.order().iter().rev().copied() {
        for session in problem.present(slot).iter().copied() {
            while problem.session(session).interruptible
                && let rate = chains.draft().rate(session, slot)
                && !rate.is_zero()
                && let lower = problem.session(session).choice.floor(Rate::new(rate.value() - 1))
                && chains.save(session, slot, lower)
            {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::domain::ids::NodeId;
    use crate::domain::snapshot::{SlotGrid, SnapshotNode};
    use crate::units::{Instant, MicrosPerKwh, Seconds};

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
    fn what_serves_more_together_is_had_though_some_lose_by_it() {
        let mut snapshot = site(vec![amperes(20)]);
        car(&mut snapshot, on_three_phases(), 3 * 20);
        car(&mut snapshot, on_l1(), 20);
        car(&mut snapshot, on_l2(), 20);
        let problem = Problem::new(&snapshot);
        let draft = repair(&problem, &Draft::new(&problem), &[0.0, 200.0, 200.0], None);
        assert_eq!([0, 1, 2].map(|car| draft.rate(car, 0).value()), [200, 0, 0]);
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
    fn what_greedy_serves_below_a_node_is_had() {
        let mut snapshot = site(vec![amperes(20); 2]);
        for need in [10, 24] {
            let car = car(&mut snapshot, on_l1(), need);
            snapshot.sessions[car].choice.minimum = Rate::new(100);
            snapshot.sessions[car].node = 1;
        }
        snapshot.nodes.push(SnapshotNode {
            id: NodeId::parse("panel").unwrap(),
            parent: Some(0),
            available: vec![amperes(18); 2],
        });
        let problem = Problem::new(&snapshot);
        let (mut draft, mut packed) = (Draft::new(&problem), Draft::new(&problem));
        draft.set(0, 0, Rate::new(100));
        draft.set(1, 1, Rate::new(180));
        // As each needs 10 A at least, the second cannot charge beside the first.
        packed.set(1, 0, Rate::new(140));
        packed.set(1, 1, Rate::new(100));
        packed.set(0, 1, Rate::ZERO);
        let lacking = |draft: &Draft| lacks(draft, &[0, 1]).1[0];
        assert!(lacking(&packed) > lacking(&draft));
        adopt_what_serves_more(&mut draft, &packed);
        assert_eq!(in_amperes(draft.rates(0)), [10, 0], "what serves less is left alone");
        draft.set(1, 1, Rate::ZERO);
        adopt_what_serves_more(&mut draft, &packed);
        assert_eq!([0, 1].map(|car| in_amperes(draft.rates(car))), [[0, 0], [14, 10]]);
    }

    #[test]
    fn what_greedy_serves_is_left_where_there_is_no_room_for_it() {
        let mut snapshot = site(vec![amperes(20)]);
        let elsewhere = car(&mut snapshot, on_l1(), 20);
        let below = car(&mut snapshot, on_l1(), 16);
        snapshot.sessions[below].node = 1;
        snapshot.nodes.push(SnapshotNode {
            id: NodeId::parse("panel").unwrap(),
            parent: Some(0),
            available: vec![amperes(18)],
        });
        let problem = Problem::new(&snapshot);
        let (mut draft, mut packed) = (Draft::new(&problem), Draft::new(&problem));
        draft.set(elsewhere, 0, Rate::new(100));
        draft.set(below, 0, Rate::new(70));
        packed.set(below, 0, Rate::new(160));
        adopt_what_serves_more(&mut draft, &packed);
        assert_eq!([0, 1].map(|car| in_amperes(draft.rates(car))), [[10], [7]]);
    }
}
