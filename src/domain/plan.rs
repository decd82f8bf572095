//! A plan: for each session its rate in each slot, what had to give way, and where the plan came from.
//!
//! Decides nothing; an immutable value that planner makes, verify judges, the journal keeps and the roll-out carries out.

use super::conversion::Rate;
use super::ids::{EvseId, SessionId};
use super::snapshot::SlotGrid;
use super::timeline::Timeline;
use crate::units::{Instant, MoneyMicros, Seconds, WattSeconds, Watts};

/// The rates of one session, one per slot of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub session: SessionId,
    pub evse: EvseId,
    pub rates: Vec<Rate>,
}

/// What a plan could not give, and why. Kept with the plan and shown to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The session will get less than it needs.
    Unserved { session: SessionId, missing: WattSeconds },
    /// The session will get less than was promised.
    GuaranteeBroken { session: SessionId, missing: WattSeconds },
    /// The session must pause though it should not.
    Interrupted { session: SessionId },
    /// The rest of the site alone takes more than this node may carry.
    NodeOverloaded { node: String, from: Instant },
    /// The search was cut short or failed, and this plan is what stood before it.
    SearchStopped { stage: String, reason: String },
    /// The plan could not be carried out as it is, for a reason of the roll-out.
    Withheld { session: SessionId, reason: String },
}

/// How far the search may go. Work, not time: the same budget gives the same plan on any machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Iterations of the solver, over all its stages. Zero asks for the greedy plan.
    pub iterations: u32,
}

/// How the search of a plan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Every stage was solved to its optimum before rounding.
    Optimal,
    /// The budget ended it.
    BudgetSpent,
    /// The solver gave up for numerical reasons.
    SolverFailed,
    /// No search was asked for, or none was needed.
    Greedy,
}

/// A plan in figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStats {
    pub outcome: Outcome,
    /// Energy the plan delivers, as forecast at nominal volt.
    pub delivered: WattSeconds,
    /// Energy asked for and not delivered.
    pub unserved: WattSeconds,
    pub energy_cost: MoneyMicros,
    /// What the plan adds to the power charge.
    pub demand_cost: MoneyMicros,
    /// Highest expected load at the grid connection.
    pub peak: Watts,
    /// The most energy any plan could deliver, from the relaxation before rounding.
    pub relaxed_delivered: Option<WattSeconds>,
    /// The least cost at that energy, from the same relaxation.
    pub relaxed_cost: Option<MoneyMicros>,
    /// Both were computed in integers and rounded outward: no plan can do better. Otherwise a float searched them: yardsticks.
    pub proven: bool,
    pub iterations: u32,
}

/// What the planner answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub grid: SlotGrid,
    /// In the order of the snapshot's sessions.
    pub schedules: Vec<Schedule>,
    pub notes: Vec<Note>,
    pub stats: PlanStats,
}

impl Plan {
    /// The rates of `session` over time, if the plan has any for it.
    pub fn rates_of(&self, session: &SessionId) -> Option<Timeline<Rate>> {
        let schedule = self.schedules.iter().find(|schedule| schedule.session == *session)?;
        Some(self.rates_over_time(schedule))
    }

    /// A schedule's rates over time; zero after the last slot.
    pub fn rates_over_time(&self, schedule: &Schedule) -> Timeline<Rate> {
        let slots = schedule
            .rates
            .iter()
            .enumerate()
            .map(|(slot, rate)| (self.grid.begin(slot), *rate));
        Timeline::from_points(slots.chain([(self.grid.begin(self.grid.count()), Rate::ZERO)]))
    }
}

/// Where a plan came from: enough to make it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Strictly increasing within a site.
    pub number: u64,
    /// The plan in force before.
    pub parent: Option<u64>,
    /// The last journal entry it knew.
    pub journal_sequence: u64,
    pub made_at: Instant,
    pub budget: Budget,
    /// The version of the program that made it.
    pub build: String,
    /// Set where the search took too long for the watchdog and the greedy plan stands in.
    pub watchdog_fallback: bool,
}

/// A plan with its origin, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedPlan {
    pub provenance: Provenance,
    pub plan: Plan,
    /// Wall-clock time the search took. For people; decides nothing.
    pub solve_micros: u64,
}

/// How much sooner a plan must be replaced than its slots run out.
pub const LEAST_HORIZON: Seconds = Seconds::from_hours(2);
