//! One solver on one instance: what it finds, how long it builds and solves, how much memory that takes.
//!
//! Decides how often a measurement is repeated: nine times, or fewer where that would take more than two seconds.

use crate::checker;
use crate::flow_form::{self, FlowForm};
use crate::instances::random::Random;
use crate::instances::{Instance, Unit};
use crate::oracle::{Backend, Extras, Program};
use crate::phases_form::PhasesForm;
use crate::snapshot_form::{self, Detail};
use crate::stopwatch::{self, Stopwatch};
use crate::{hot, source};
use laddplan::domain::site::Fairness;
use laddplan::planner;
use laddplan::solver::flow::Flow;
use laddplan::solver::flow::peak::PeakBudget;
use laddplan::solver::phases::{self, Budget, WarmStart};
use serde::{Deserialize, Serialize};

const REPETITIONS: usize = 9;
const ENOUGH_SECONDS: f64 = 2.0;
const PEAK_BUDGET: PeakBudget = PeakBudget {
    solves: 60,
    gap_millionths: 10,
};
const PHASES_BUDGET: Budget = Budget {
    iterations: 5_000,
    gap_millionths: 1_000,
};
const PLANNER_BUDGET: laddplan::domain::plan::Budget = laddplan::domain::plan::Budget { iterations: 2_000 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Table {
    Optimum,
    Peak,
    Replan,
    Minimum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Solver {
    Laddplan,
    HighsSimplex,
    HighsInteriorPoint,
    Clarabel,
    Microlp,
    /// The simplex method from the basis of the plan before.
    HighsHot,
    /// Integer programming.
    HighsInteger,
}

impl Table {
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Optimum, Self::Peak, Self::Replan, Self::Minimum];
        all.into_iter().find(|table| table.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Optimum => "optimum",
            Self::Peak => "peak",
            Self::Replan => "replan",
            Self::Minimum => "minimum",
        }
    }

    pub fn solvers(self, unit: Unit) -> Vec<Solver> {
        use Solver::*;
        match (self, unit) {
            (Self::Optimum | Self::Peak, _) => vec![Laddplan, HighsSimplex, HighsInteriorPoint, Clarabel, Microlp],
            (Self::Replan, _) => vec![Laddplan, HighsHot, HighsSimplex],
            (Self::Minimum, _) => vec![Laddplan, HighsInteger],
        }
    }

    fn has_peak(self) -> bool {
        self == Self::Peak
    }
}

/// What one process measures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub table: Table,
    pub solver: Solver,
    pub source: String,
    pub limit_seconds: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    pub objective: f64,
    /// What is proven; none where a solver's optimum is meant to be exact.
    pub bound: Option<f64>,
    pub build_seconds: f64,
    /// The lowest and the median.
    pub solve_seconds: [f64; 2],
    pub peak_rss_kib: Option<u64>,
    /// How an integer program ended, or the kWh that a plan leaves unserved.
    pub remark: Option<String>,
}

/// What one repetition gives.
pub struct Once {
    pub objective: f64,
    pub bound: Option<f64>,
    /// In kWh: no plan leaves less.
    pub least_unserved: Option<f64>,
    pub build_seconds: f64,
    pub solve_seconds: f64,
    pub remark: Option<String>,
}

impl Job {
    pub fn to_arguments(&self) -> [String; 1] {
        [serde_json::to_string(self).expect("a job can be written")]
    }
}

/// Runs a job in this process.
pub fn run(arguments: &[String]) -> Result<String, String> {
    let [job] = arguments else {
        return Err("--measure: one job at a time".to_owned());
    };
    let job: Job = serde_json::from_str(job).map_err(|error| error.to_string())?;
    let instance = source::read(&job.source)?;
    let measured = repeat(|| once(&job, &instance))?;
    serde_json::to_string(&measured).map_err(|error| error.to_string())
}

fn repeat(mut measure: impl FnMut() -> Result<Once, String>) -> Result<Measured, String> {
    let mut all: Vec<Once> = Vec::new();
    let mut seconds = 0.0;
    while all.len() < REPETITIONS && (all.is_empty() || seconds < ENOUGH_SECONDS) {
        let whole = Stopwatch::start();
        all.push(measure()?);
        seconds += whole.seconds();
    }
    let sorted = |of: fn(&Once) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let solve = sorted(|once| once.solve_seconds);
    let last = &all[all.len() - 1];
    Ok(Measured {
        objective: last.objective,
        bound: last.bound,
        build_seconds: sorted(|once| once.build_seconds)[0],
        solve_seconds: [solve[0], solve[solve.len() / 2]],
        peak_rss_kib: stopwatch::peak_rss_kib(),
        remark: last.remark.clone(),
    })
}

fn once(job: &Job, instance: &Instance) -> Result<Once, String> {
    let extras = Extras {
        demand_charge: job.table.has_peak(),
        minimum: job.table == Table::Minimum,
    };
    let backend = match job.solver {
        Solver::Laddplan => return laddplan(job.table, instance),
        Solver::HighsHot => return hot::replan(instance, &changed(instance)),
        Solver::HighsInteger => return hot::integer(instance, job.limit_seconds),
        Solver::HighsSimplex => Backend::HighsSimplex,
        Solver::HighsInteriorPoint => Backend::HighsInteriorPoint,
        Solver::Clarabel => Backend::Clarabel,
        Solver::Microlp => Backend::Microlp,
    };
    let changed = match job.table {
        Table::Replan => Some(changed(instance)),
        _ => None,
    };
    let building = Stopwatch::start();
    let loaded = Program::new(changed.as_ref().unwrap_or(instance), extras).load(backend);
    let build_seconds = building.seconds();
    let solving = Stopwatch::start();
    let optimum = loaded.with_time_limit(job.limit_seconds as f64).solve()?;
    Ok(Once {
        objective: optimum.cost,
        bound: None,
        least_unserved: None,
        build_seconds,
        solve_seconds: solving.seconds(),
        remark: None,
    })
}

/// The instance after five cars said something else: each wants up to 30 % less or more, as far as its stay allows.
pub fn changed(instance: &Instance) -> Instance {
    let mut changed = instance.clone();
    let mut random = Random::new(instance.sessions.len() as u64);
    for _ in 0..5 {
        let index = random.below(changed.sessions.len());
        let session = &mut changed.sessions[index];
        let possible = session.most * session.stay().len() as i64;
        session.energy = (session.energy * random.between(70, 130) / 100).min(possible);
    }
    changed
}

fn laddplan(table: Table, instance: &Instance) -> Result<Once, String> {
    match (table, instance.unit) {
        (Table::Minimum, _) => minimum(instance),
        (Table::Replan, Unit::Watt) => flow(&changed(instance), false),
        (Table::Replan, Unit::MilliampPerPhase { .. }) => {
            let before = PhasesForm::new(instance, false);
            let warm = phases::solve(&before.problem, None, PHASES_BUDGET).warm_start;
            Ok(mixed(&changed(instance), false, Some(&warm)))
        }
        (Table::Optimum | Table::Peak, Unit::Watt) => flow(instance, table.has_peak()),
        (Table::Optimum | Table::Peak, _) => Ok(mixed(instance, table.has_peak(), None)),
    }
}

/// A plan of zeros and rates from the minimum on, and what the linear program without minima proves.
fn minimum(instance: &Instance) -> Result<Once, String> {
    let (relaxed, least_unserved) = match instance.unit {
        Unit::Watt => flow(instance, false).map(|once| (once.bound, once.least_unserved))?,
        Unit::MilliampPerPhase { .. } => {
            let once = mixed(instance, false, None);
            (once.bound, once.least_unserved)
        }
    };
    let building = Stopwatch::start();
    let mut snapshot = snapshot_form::snapshot(instance, Detail::Minimum, false);
    snapshot.fairness = Fairness::None;
    let build_seconds = building.seconds();
    let solving = Stopwatch::start();
    let plan = planner::plan(&snapshot, PLANNER_BUDGET);
    let solve_seconds = solving.seconds();
    let mut amounts = snapshot_form::amounts(instance, &plan);
    for (index, (session, amounts)) in instance.sessions.iter().zip(&mut amounts).enumerate() {
        if amounts.iter().any(|amount| (1..session.least).contains(amount)) {
            return Err(format!("session {index} is below its minimum"));
        }
        // A car that has what it asked for stops within the slot.
        let mut left = session.energy;
        for amount in amounts {
            *amount = left.min(*amount);
            left -= *amount;
        }
    }
    let worth = checker::check(instance, &amounts)?;
    Ok(Once {
        objective: worth.money(),
        bound: relaxed,
        least_unserved: None,
        build_seconds,
        solve_seconds,
        remark: Some(format!(
            "{:.2} ({:.2})",
            worth.unserved_kwh(instance),
            least_unserved.unwrap_or(f64::NAN)
        )),
    })
}

fn flow(instance: &Instance, demand_charge: bool) -> Result<Once, String> {
    let building = Stopwatch::start();
    let parts = flow_form::finest_parts(instance);
    let form = FlowForm::new(&instance.finer(parts))?;
    let build_seconds = building.seconds();
    let (network, task) = (&form.network, form.task());
    let solving = Stopwatch::start();
    let mut flow = Flow::new(network);
    let (value, bound) = if demand_charge {
        let outcome = flow.solve_with_peak(network, &task, &form.charge(), PEAK_BUDGET, None);
        (outcome.value, outcome.bound - form.between_two_peaks())
    } else {
        flow.solve(network, &task);
        (flow.value(network, &task), flow.bound(network, &task))
    };
    let solve_seconds = solving.seconds();
    let kwh = flow.unserved_in_all() as f64 * instance.slot_seconds as f64 / (parts as f64 * 3.6e6);
    Ok(Once {
        objective: form.money(value),
        bound: Some(form.money(bound)),
        least_unserved: (!demand_charge).then_some(kwh),
        build_seconds,
        solve_seconds,
        remark: None,
    })
}

fn mixed(instance: &Instance, demand_charge: bool, warm: Option<&WarmStart>) -> Once {
    let building = Stopwatch::start();
    let form = PhasesForm::new(instance, demand_charge);
    let build_seconds = building.seconds();
    let solving = Stopwatch::start();
    let outcome = phases::solve(&form.problem, warm, PHASES_BUDGET);
    Once {
        objective: form.money(outcome.value.total()),
        bound: Some(form.money(outcome.bound)),
        least_unserved: Some(form.money(outcome.unserved_bound) / (instance.penalty as f64 / 1e6)),
        build_seconds,
        solve_seconds: solving.seconds(),
        remark: None,
    }
}
