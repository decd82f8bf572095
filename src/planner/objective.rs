//! What a plan is worth, in integers: the figures by which two plans are compared, in the order of the objective.
//!
//! Decides which of two feasible plans is better, and which notes a plan carries.

use super::draft::Draft;
use super::greedy::is_running;
use super::problem::Problem;
use super::spare;
use crate::domain::conversion::Rate;
use crate::domain::plan::{Note, Outcome, Plan, PlanStats, Schedule};
use crate::domain::site::Fairness;
use crate::units::{MoneyMicros, WattSeconds, Watts};
use std::cmp::Reverse;

/// Shares of a need are compared in millionths.
const WHOLE_SHARE: i128 = 1_000_000;
const WATT_SECONDS_PER_KWH: i128 = 3_600_000;

/// Less is better, field by field in this order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Figures {
    promised_missing: WattSeconds,
    interruptions: usize,
    /// Class by class what is wanted and missing.
    missing: Vec<WattSeconds>,
    /// Class by class how far the division of what does not suffice is from what the site wants.
    unfairness: Vec<Unfairness>,
    /// In millionths of the currency, times Ws per kWh.
    cost: i128,
    /// Energy times how late it is delivered.
    lateness: i128,
}

impl Figures {
    pub(super) fn of(draft: &Draft) -> Self {
        let problem = draft.problem;
        let sessions = 0..problem.session_count();
        Self {
            promised_missing: sessions.clone().map(|session| promised_missing(draft, session)).sum(),
            interruptions: sessions.filter(|session| is_interrupted(draft, *session)).count(),
            missing: problem
                .classes
                .iter()
                .map(|class| class.members.iter().map(|session| draft.missing(*session)).sum())
                .collect(),
            unfairness: problem
                .classes
                .iter()
                .filter(|class| class.need_known)
                .map(|class| Unfairness::of(draft, &class.members))
                .collect(),
            cost: i128::from(demand_cost(problem, draft.peak()).micros()) * WATT_SECONDS_PER_KWH + draft.spent(),
            lateness: draft.lateness(),
        }
    }
}

/// Less is better; by the site's fairness.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unfairness {
    /// The least [`standing`] of those who lack some.
    LeastStanding(Reverse<i128>),
    /// What each lacks, in the order of service, in whole watt-hours: less is lost in rounding to steps anyway.
    LackInOrder(Vec<i64>),
    Indifferent,
}

impl Unfairness {
    fn of(draft: &Draft, members: &[usize]) -> Self {
        match draft.problem.snapshot.fairness {
            Fairness::MaxMin | Fairness::Proportional => {
                let in_need = members
                    .iter()
                    .filter(|session| draft.missing(**session) > WattSeconds::ZERO);
                let least = in_need
                    .map(|session| standing(draft.problem, *session, draft.delivered(*session)))
                    .min();
                Self::LeastStanding(Reverse(least.unwrap_or(i128::MAX)))
            }
            Fairness::FirstCome | Fairness::LeastLaxity => {
                let lacks = members.iter().map(|session| draft.missing(*session).floor_watt_hours());
                Self::LackInOrder(lacks.collect())
            }
            Fairness::None => Self::Indifferent,
        }
    }
}

/// How well `session` stands with this energy, by the site's fairness: whoever stands better gives to whoever stands worse.
pub(super) fn standing(problem: &Problem, session: usize, energy: WattSeconds) -> i128 {
    let energy = i128::from(energy.watt_seconds());
    match problem.snapshot.fairness {
        Fairness::MaxMin => energy * WHOLE_SHARE / i128::from(problem.wanted(session).watt_seconds()).max(1),
        Fairness::Proportional => energy,
        Fairness::FirstCome | Fairness::LeastLaxity => problem.turn(session) as i128,
        Fairness::None => 0,
    }
}

pub(super) fn promised_missing(draft: &Draft, session: usize) -> WattSeconds {
    (draft.problem.session(session).guaranteed - draft.delivered(session)).or_zero()
}

/// Whether a session that may not be interrupted has a slot without power after it began and before its need is met.
fn is_interrupted(draft: &Draft, index: usize) -> bool {
    let session = draft.problem.session(index);
    if session.interruptible {
        return false;
    }
    let mut begun = is_running(session);
    let mut delivered = WattSeconds::ZERO;
    for slot in session.slots() {
        let rate = draft.rate(index, slot);
        let wants_more = session.need.is_none_or(|need| delivered < need);
        if rate == Rate::ZERO && begun && wants_more {
            return true;
        }
        begun |= rate != Rate::ZERO;
        delivered += draft.energy(index, slot);
    }
    false
}

pub(super) fn delivered(draft: &Draft) -> WattSeconds {
    (0..draft.problem.session_count())
        .map(|session| draft.delivered(session))
        .sum()
}

pub(super) fn energy_cost(draft: &Draft) -> MoneyMicros {
    let problem = draft.problem;
    let mut energy = vec![WattSeconds::ZERO; problem.slots];
    for session in 0..problem.session_count() {
        for slot in problem.live_slots(session) {
            energy[slot] += draft.energy(session, slot);
        }
    }
    let prices = problem.snapshot.prices.iter();
    prices.zip(energy).map(|(price, energy)| price.times(energy)).sum()
}

/// What a peak of `peak` adds to the power charge, rounded to the nearest micro.
pub(super) fn demand_cost(problem: &Problem, peak: Watts) -> MoneyMicros {
    let Some(charge) = &problem.snapshot.demand_charge else {
        return MoneyMicros::ZERO;
    };
    let above = i128::from((peak - charge.peak_so_far).or_zero().watts());
    let micros = (above * i128::from(charge.micros_per_kw) + 500).div_euclid(1000);
    MoneyMicros::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// The finished plan, with the notes that follow from its rates. What the search knows about itself is added by the caller.
pub(super) fn plan_of(draft: &Draft) -> Plan {
    let problem = draft.problem;
    let snapshot = problem.snapshot;
    let mut notes: Vec<Note> = problem
        .overloaded
        .iter()
        .map(|(node, from)| Note::NodeOverloaded {
            node: snapshot.nodes[*node].id.to_string(),
            from: *from,
        })
        .collect();
    let filled = spare::filled(draft);
    let mut unserved = WattSeconds::ZERO;
    for (index, session) in snapshot.sessions.iter().enumerate() {
        if problem.is_spare(index) {
            continue;
        }
        let id = || session.id.clone();
        if is_interrupted(draft, index) {
            notes.push(Note::Interrupted { session: id() });
        }
        let missing = promised_missing(draft, index);
        if missing > WattSeconds::ZERO {
            notes.push(Note::GuaranteeBroken { session: id(), missing });
        }
        let missing = session.need.map_or(WattSeconds::ZERO, |_| draft.missing(index));
        if missing > WattSeconds::ZERO {
            unserved += missing;
            notes.push(Note::Unserved { session: id(), missing });
        }
    }
    Plan {
        grid: snapshot.grid,
        schedules: snapshot
            .sessions
            .iter()
            .enumerate()
            .map(|(index, session)| Schedule {
                session: session.id.clone(),
                evse: session.evse.clone(),
                rates: filled.rates(index).to_vec(),
            })
            .collect(),
        notes,
        stats: PlanStats {
            outcome: Outcome::Greedy,
            delivered: delivered(&filled),
            unserved,
            energy_cost: energy_cost(&filled),
            demand_cost: demand_cost(problem, filled.peak()),
            peak: filled.peak(),
            relaxed_delivered: None,
            relaxed_cost: None,
            proven: false,
            iterations: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::units::MicrosPerKwh;

    /// Charges at 10 A in one of two hours, of which the second costs this much more or less.
    fn figures(slot: usize, dearer: i64) -> Figures {
        let mut snapshot = site(vec![amperes(20); 2]);
        car(&mut snapshot, on_l1(), 10);
        snapshot.prices[1] += MicrosPerKwh::from_micros_per_kwh(dearer);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, slot, Rate::new(100));
        Figures::of(&draft)
    }

    #[test]
    fn early_is_better_than_late_where_it_costs_the_same() {
        assert!(figures(0, 0) < figures(1, 0));
        assert!(figures(0, 1) < figures(1, 1));
        assert!(figures(1, -1) < figures(0, -1));
    }
}
