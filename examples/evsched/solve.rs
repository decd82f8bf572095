//! Solves an instance by the part of the solver that fits it, and takes the time.
//!
//! Decides nothing but which part that is: a flow where nodes limit total power, the search for mixed phases where they limit conductors.

use crate::flow_form::{self, FlowForm};
use crate::instances::{Amounts, Instance, Unit};
use crate::phases_form::PhasesForm;
use crate::stopwatch::peak_rss_kib;
use laddplan::solver::flow::Flow;
use laddplan::solver::flow::peak::PeakBudget;
use laddplan::solver::phases::{self, Budget};

/// Both far beyond what any instance took so far.
const PEAK_BUDGET: PeakBudget = PeakBudget {
    solves: 60,
    gap_millionths: 1,
};
const PHASES_BUDGET: Budget = Budget {
    iterations: 5_000,
    gap_millionths: 1_000,
};

pub struct Solved {
    /// In the unit that the amounts are counted in.
    pub instance: Instance,
    pub amounts: Amounts,
    pub objective: f64,
    pub lower_bound: f64,
    pub build_micros: u64,
    pub solve_micros: u64,
    /// When the plan was there.
    pub peak_rss_kib: Option<u64>,
}

pub fn solve(instance: &Instance, demand_charge: bool) -> Result<Solved, String> {
    match instance.unit {
        Unit::Watt => flow(instance, demand_charge),
        Unit::MilliampPerPhase { .. } => phases(instance, demand_charge),
    }
}

fn flow(instance: &Instance, demand_charge: bool) -> Result<Solved, String> {
    let (built, build_micros) = timed(|| {
        let instance = instance.finer(flow_form::finest_parts(instance));
        FlowForm::new(&instance).map(|form| (instance, form))
    });
    let (instance, form) = built.map_err(|problem| format!("sessions.max_kw, nodes.limit_kw: {problem}"))?;
    let (network, task) = (&form.network, form.task());
    let ((flow, value, bound), solve_micros) = timed(|| {
        let mut flow = Flow::new(network);
        if demand_charge {
            let outcome = flow.solve_with_peak(network, &task, &form.charge(), PEAK_BUDGET, None);
            // The linear program's peak may lie between two whole ones.
            return (flow, outcome.value, outcome.bound - form.between_two_peaks());
        }
        flow.solve(network, &task);
        let (value, bound) = (flow.value(network, &task), flow.bound(network, &task));
        (flow, value, bound)
    });
    let peak_rss_kib = peak_rss_kib();
    let amounts = (0..network.sessions())
        .map(|session| {
            let amounts = flow.amounts(network, session);
            amounts.iter().map(|amount| i64::from(*amount)).collect()
        })
        .collect();
    Ok(Solved {
        amounts,
        objective: form.money(value),
        lower_bound: form.money(bound),
        build_micros,
        solve_micros,
        peak_rss_kib,
        instance,
    })
}

fn phases(instance: &Instance, demand_charge: bool) -> Result<Solved, String> {
    let (form, build_micros) = timed(|| PhasesForm::new(instance, demand_charge));
    form.check_ranges()?;
    let (outcome, solve_micros) = timed(|| phases::solve(&form.problem, None, PHASES_BUDGET));
    Ok(Solved {
        instance: instance.clone(),
        amounts: form.amounts(&outcome.plan),
        objective: form.money(outcome.value.total()),
        lower_bound: form.money(outcome.bound),
        build_micros,
        solve_micros,
        peak_rss_kib: peak_rss_kib(),
    })
}

/// What `work` gives, and how many microseconds it takes.
#[expect(clippy::disallowed_methods, reason = "a stopwatch that decides nothing")]
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let begin = std::time::Instant::now();
    let result = work();
    (result, u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX))
}
