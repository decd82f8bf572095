//! The plainest linear program of an instance, and what general solvers say of it.
//!
//! Decides nothing about charging: it is what a solver of the project's own is held against, and shares no code with one. One column for
//! each session and slot, one for what each session is not given; one row for each session, and one for each node, conductor
//! and slot. In kW or A, hours and whole money, in floats: what it says is right to about eight digits.
#![allow(dead_code, reason = "each test, bench and example uses its part of it")]

use super::instances::Instance;
use good_lp::{Constraint, Expression, ProblemVariables, Solution, SolverModel, Variable, constraint, variable};

/// Finer than clarabel's own choice: its cost would be off in the seventh digit.
const ACCURACY: f64 = 1e-10;

/// What counts beside energy and what is not served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    pub demand_charge: bool,
    /// Every rate is zero or at least the session's least: one binary column for each cell.
    pub minimum: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// An interior point method in Rust.
    Clarabel,
    /// A simplex method in Rust.
    #[cfg(feature = "compare")]
    Microlp,
    #[cfg(feature = "highs")]
    HighsSimplex,
    /// Interior point method and crossover.
    #[cfg(feature = "highs")]
    HighsInteriorPoint,
}

pub struct Program {
    variables: ProblemVariables,
    cost: Vec<(Variable, f64)>,
    rows: Vec<Constraint>,
    /// By session and slot of its stay.
    cells: Vec<Vec<Variable>>,
}

/// A program in the form of a solver.
pub struct Loaded {
    model: Model,
    cost: Vec<(Variable, f64)>,
    cells: Vec<Vec<Variable>>,
}

enum Model {
    Clarabel(Box<good_lp::solvers::clarabel::ClarabelProblem>),
    #[cfg(feature = "compare")]
    Microlp(good_lp::solvers::microlp::MicroLpProblem),
    #[cfg(feature = "highs")]
    Highs(good_lp::solvers::highs::HighsProblem),
}

pub struct Optimum {
    pub cost: f64,
    /// In kW or A, by session and slot of its stay.
    pub rates: Vec<Vec<f64>>,
}

/// The least cost by the solver that every build has.
pub fn least_cost(instance: &Instance, extras: Extras) -> f64 {
    if instance.sessions.is_empty() {
        // Solvers are not made for this.
        return 0.0;
    }
    let solved = Program::new(instance, extras).load(Backend::Clarabel).solve();
    solved.unwrap_or_else(|error| panic!("{}: {error}", instance.name)).cost
}

impl Program {
    pub fn new(instance: &Instance, extras: Extras) -> Self {
        let mut program = Self {
            variables: ProblemVariables::new(),
            cost: Vec::new(),
            rows: Vec::new(),
            cells: Vec::new(),
        };
        let hours: Vec<f64> = (instance.lengths.iter())
            .map(|length| (length * instance.slot_seconds) as f64 / 3_600.0)
            .collect();
        let thousands = thousands(instance);
        for session in &instance.sessions {
            let kilowatts = instance.milliwatts(session) as f64 / 1e3;
            let most = session.most as f64 / thousands;
            let wanted = session.energy as f64 / thousands * instance.slot_seconds as f64 / 3_600.0;
            let unserved = program.variables.add(variable().min(0.0));
            program.cost.push((unserved, instance.penalty as f64 / 1e6 * kilowatts));
            let mut served = Expression::from(unserved);
            let mut cells = Vec::with_capacity(session.stay().len());
            for slot in session.stay() {
                let cell = program.variables.add(variable().min(0.0).max(most));
                let price = instance.prices[slot] as f64 / 1e6;
                program.cost.push((cell, price * kilowatts * hours[slot]));
                served.add_mul(hours[slot], cell);
                cells.push(cell);
                if extras.minimum {
                    let is_on = program.variables.add(variable().binary());
                    program.rows.push(constraint!(cell <= most * is_on));
                    program
                        .rows
                        .push(constraint!(cell >= session.least as f64 / thousands * is_on));
                }
            }
            program.rows.push(constraint!(served == wanted));
            program.cells.push(cells);
        }
        program.limit_nodes(instance);
        if extras.demand_charge {
            program.charge_peak(instance);
        }
        program
    }

    fn limit_nodes(&mut self, instance: &Instance) {
        for line in 0..instance.unit.lines() {
            let mut below: Vec<Vec<Vec<Variable>>> = vec![vec![Vec::new(); instance.slots()]; instance.nodes.len()];
            for (session, cells) in instance.sessions.iter().zip(&self.cells) {
                if !session.lines.contains(&line) {
                    continue;
                }
                for node in instance.path(session.node) {
                    for (slot, cell) in session.stay().zip(cells) {
                        below[node][slot].push(*cell);
                    }
                }
            }
            for (node, by_slot) in instance.nodes.iter().zip(below) {
                for (slot, cells) in by_slot.into_iter().enumerate().filter(|(_, cells)| !cells.is_empty()) {
                    let load: Expression = cells.into_iter().sum();
                    let limit = node.limits[line].at(slot).max(0) as f64 / thousands(instance);
                    self.rows.push(constraint!(load <= limit));
                }
            }
        }
    }

    fn charge_peak(&mut self, instance: &Instance) {
        let peak = self.variables.add(variable().min(0.0));
        self.cost.push((peak, instance.demand_charge as f64 / 1e6));
        let mut power = vec![Expression::default(); instance.slots()];
        for (session, cells) in instance.sessions.iter().zip(&self.cells) {
            let kilowatts = instance.milliwatts(session) as f64 / 1e3;
            for (slot, cell) in session.stay().zip(cells) {
                power[slot].add_mul(kilowatts, *cell);
            }
        }
        for power in power {
            self.rows.push(constraint!(power <= peak));
        }
    }

    /// Hands the program to a solver.
    pub fn load(self, backend: Backend) -> Loaded {
        let mut cost = Expression::with_capacity(self.cost.len());
        for (variable, factor) in &self.cost {
            cost.add_mul(*factor, *variable);
        }
        let problem = self.variables.minimise(cost);
        let mut model = match backend {
            Backend::Clarabel => {
                let mut model = problem.using(good_lp::solvers::clarabel::clarabel);
                let settings = model.settings().max_threads(1);
                settings.tol_gap_rel(ACCURACY).tol_gap_abs(ACCURACY).tol_feas(ACCURACY);
                Model::Clarabel(Box::new(model))
            }
            #[cfg(feature = "compare")]
            Backend::Microlp => Model::Microlp(problem.using(good_lp::solvers::microlp::microlp)),
            #[cfg(feature = "highs")]
            Backend::HighsSimplex | Backend::HighsInteriorPoint => {
                use good_lp::solvers::highs::{HighsParallelType, HighsSolverType, highs};
                let solver = match backend {
                    Backend::HighsSimplex => HighsSolverType::Simplex,
                    _ => HighsSolverType::Ipm,
                };
                let model = problem.using(highs).set_solver(solver);
                Model::Highs(model.set_parallel(HighsParallelType::Off).set_threads(1))
            }
        };
        for row in self.rows {
            match &mut model {
                Model::Clarabel(model) => model.add_constraint(row),
                #[cfg(feature = "compare")]
                Model::Microlp(model) => model.add_constraint(row),
                #[cfg(feature = "highs")]
                Model::Highs(model) => model.add_constraint(row),
            };
        }
        Loaded {
            model,
            cost: self.cost,
            cells: self.cells,
        }
    }
}

impl Loaded {
    /// Searches for at most so long, where the solver can be told.
    pub fn with_time_limit(mut self, seconds: f64) -> Self {
        self.model = match self.model {
            Model::Clarabel(mut model) => {
                model.settings().time_limit(seconds);
                Model::Clarabel(model)
            }
            #[cfg(feature = "compare")]
            Model::Microlp(model) => Model::Microlp(good_lp::WithTimeLimit::with_time_limit(model, seconds)),
            #[cfg(feature = "highs")]
            Model::Highs(model) => Model::Highs(model.set_time_limit(seconds)),
        };
        self
    }

    pub fn solve(self) -> Result<Optimum, String> {
        match self.model {
            Model::Clarabel(model) => {
                let solution = model.solve().map_err(|error| error.to_string())?;
                let status = solution.inner().status.to_string();
                if status != "Solved" && status != "AlmostSolved" {
                    return Err(status);
                }
                Ok(optimum(&self.cost, &self.cells, &solution))
            }
            #[cfg(feature = "compare")]
            Model::Microlp(model) => proven(&self.cost, &self.cells, model.solve()),
            #[cfg(feature = "highs")]
            Model::Highs(model) => proven(&self.cost, &self.cells, model.solve()),
        }
    }
}

/// Rates in one kW or A.
fn thousands(instance: &Instance) -> f64 {
    1e3 * instance.parts as f64
}

#[cfg(feature = "highs")]
fn proven<S: Solution>(
    cost: &[(Variable, f64)],
    cells: &[Vec<Variable>],
    answer: Result<S, good_lp::ResolutionError>,
) -> Result<Optimum, String> {
    let solution = answer.map_err(|error| error.to_string())?;
    match solution.status() {
        good_lp::SolutionStatus::Optimal => Ok(optimum(cost, cells, &solution)),
        other => Err(format!("{other:?}")),
    }
}

fn optimum(cost: &[(Variable, f64)], cells: &[Vec<Variable>], solution: &impl Solution) -> Optimum {
    Optimum {
        cost: cost
            .iter()
            .map(|(variable, factor)| solution.value(*variable) * factor)
            .sum(),
        rates: (cells.iter())
            .map(|cells| cells.iter().map(|cell| solution.value(*cell)).collect())
            .collect(),
    }
}
