//! From a snapshot to a plan: which session gets how much power, when.
//!
//! Decides in this order, and never by weights: what was promised; tier by tier the most energy; within that total the site's
//! fairness; money; charging early; keeping to the plan in force. Three steps: a greedy plan that always exists, a relaxation without
//! steps and minimum currents that says what could be had, and a repair that makes allowed rates of it. The better of greedy and
//! repaired plan, brought back to the plan in force where that costs nothing, is the answer. Pure: the same snapshot and budget give
//! the same plan, bit for bit. Never fails, never exceeds a limit that could be kept; what had to give way is in the notes.

mod chain;
mod draft;
mod ease;
mod exchange;
mod greedy;
mod kinds;
mod marks;
mod objective;
mod problem;
mod relax;
mod repair;
mod rounding;
mod serving;
mod sharing;
mod spare;
#[cfg(test)]
mod testing;
mod together;
mod trade;
mod whole_steps;

use crate::domain::plan::{Budget, Plan};
use crate::domain::snapshot::Snapshot;
use objective::Figures;
use problem::Problem;

/// A feasible plan without any search: the first after a cut, and what stands where a search fails.
pub fn greedy(snapshot: &Snapshot) -> Plan {
    let problem = Problem::new(snapshot);
    objective::plan_of(&greedy::fill(&problem))
}

/// The best plan that `budget` allows; never worse than [`greedy`] in the order of the objective.
pub fn plan(snapshot: &Snapshot, budget: Budget) -> Plan {
    let problem = Problem::new(snapshot);
    let mut greedy = greedy::fill(&problem);
    if budget.iterations == 0 {
        return objective::plan_of(&greedy);
    }
    let relaxed = relax::relax(&problem, &greedy, budget.iterations);
    let repaired = (!relaxed.rates.is_empty()).then(|| repair::repair(&problem, &greedy, &relaxed.rates, relaxed.peak));
    let mut best = match repaired {
        Some(repaired) if Figures::of(&repaired) < Figures::of(&greedy) => repaired,
        _ => {
            repair::polish(&mut greedy);
            greedy
        }
    };
    ease::settle(&mut best);
    let mut plan = objective::plan_of(&best);
    plan.notes.extend(relaxed.stopped);
    plan.stats.outcome = relaxed.outcome;
    // What cars get that have all they need was not searched for; it is the same on both sides of the comparison.
    let spare_energy = plan.stats.delivered - objective::delivered(&best);
    let spare_cost = plan.stats.energy_cost - objective::energy_cost(&best);
    plan.stats.relaxed_delivered = relaxed.delivered.map(|most| most + spare_energy);
    plan.stats.relaxed_cost = relaxed.cost.map(|least| least + spare_cost);
    plan.stats.proven = relaxed.proven;
    plan.stats.iterations = relaxed.iterations;
    plan
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use crate::domain::plan::Outcome;

    #[test]
    fn no_budget_gives_the_greedy_plan() {
        let mut snapshot = site(vec![amperes(20); 3]);
        car(&mut snapshot, on_l1(), 40);
        car(&mut snapshot, on_l1(), 50);
        let plan = plan(&snapshot, Budget { iterations: 0 });
        assert_eq!(plan, greedy(&snapshot));
        assert_eq!(plan.stats.outcome, Outcome::Greedy);
    }

    #[test]
    fn a_site_without_sessions_has_an_empty_plan() {
        let plan = plan(&site(vec![amperes(-1)]), Budget { iterations: 100 });
        assert!(plan.schedules.is_empty());
        assert_eq!(plan.notes.len(), 1, "the overload is told: {:?}", plan.notes);
    }
}
