//! Linear programs and their solver: the only file that knows which one.
//!
//! Decides nothing about charging. Floats search here and nowhere else decide. One thread, no clock, no randomness: the same
//! program gives the same answer.

use good_lp::{
    Constraint, DualValues, Expression, ProblemVariables, ResolutionError, Solution, SolutionWithDual, SolverModel,
    Variable, constraint, variable,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A bounded variable and what one unit of it costs.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) cost: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Relation {
    AtMost,
    AtLeast,
    Equal,
}

/// A sum of columns, each times a factor, against a bound. No column twice.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) terms: Vec<(usize, f64)>,
    pub(super) relation: Relation,
    pub(super) bound: f64,
}

/// Minimise the cost of the columns under the rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
}

impl Program {
    /// Adds a column and tells its index.
    pub(super) fn column(&mut self, least: f64, most: f64, cost: f64) -> usize {
        self.columns.push(Column { least, most, cost });
        self.columns.len() - 1
    }

    /// Adds a row and tells its index.
    pub(super) fn row(&mut self, terms: Vec<(usize, f64)>, relation: Relation, bound: f64) -> usize {
        self.rows.push(Row { terms, relation, bound });
        self.rows.len() - 1
    }
}

#[derive(Clone, Debug)]
pub(super) struct Solved {
    /// By column.
    pub(super) values: Vec<f64>,
    /// By row.
    pub(super) duals: Vec<f64>,
    pub(super) cost: f64,
    pub(super) iterations: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    OutOfIterations,
    /// What the solver said.
    GaveUp(String),
}

/// Solves with the solver this build prefers: HiGHS where it is compiled in, else clarabel.
pub(super) fn minimise(program: &Program, most_iterations: u32) -> Result<Solved, Failure> {
    #[cfg(feature = "highs")]
    let solver = with_highs;
    #[cfg(not(feature = "highs"))]
    let solver = with_clarabel;
    if program.columns.is_empty() {
        // Solvers are not made for this.
        return finish(program, Vec::new(), vec![0.0; program.rows.len()], 0);
    }
    // A solver that trips over a program must not take the site's plan with it.
    catch_unwind(AssertUnwindSafe(|| solver(program, most_iterations)))
        .unwrap_or_else(|_| Err(Failure::GaveUp("the solver panicked".to_owned())))
}

/// An interior point method in Rust.
#[cfg_attr(feature = "highs", allow(dead_code, reason = "the tests compare both solvers"))]
pub(super) fn with_clarabel(program: &Program, most_iterations: u32) -> Result<Solved, Failure> {
    const SPENT: &str = "Max iterations reached";
    let (variables, columns) = variables_of(program);
    let mut model = variables
        .minimise(cost_of(program, &columns))
        .using(good_lp::solvers::clarabel::clarabel);
    model.settings().max_iter(most_iterations).max_threads(1);
    let rows: Vec<_> = constraints_of(program, &columns)
        .map(|row| model.add_constraint(row))
        .collect();
    let mut solution = model.solve().map_err(|error| match error {
        ResolutionError::Other(SPENT) => Failure::OutOfIterations,
        other => Failure::GaveUp(other.to_string()),
    })?;
    let status = solution.inner().status.to_string();
    if status != "Solved" && status != "AlmostSolved" {
        return Err(Failure::GaveUp(status));
    }
    let iterations = solution.inner().iterations;
    let values = columns.iter().map(|column| solution.value(*column)).collect();
    let dual = solution.compute_dual();
    let duals = rows.into_iter().map(|row| dual.dual(row)).collect();
    finish(program, values, duals, iterations)
}

/// HiGHS by its interior point method and crossover. It does not tell its iterations, so each solve counts as a usual one.
#[cfg(feature = "highs")]
pub(super) fn with_highs(program: &Program, most_iterations: u32) -> Result<Solved, Failure> {
    const USUAL_ITERATIONS: u32 = 20;
    /// Crossover takes steps of the simplex method, which are far cheaper.
    const SIMPLEX_STEPS_PER_ITERATION: u32 = 10_000;
    if most_iterations < USUAL_ITERATIONS {
        return Err(Failure::OutOfIterations);
    }
    let limit = |iterations: u32| i32::try_from(iterations).unwrap_or(i32::MAX);
    let (variables, columns) = variables_of(program);
    let mut model = variables
        .minimise(cost_of(program, &columns))
        .using(good_lp::solvers::highs::highs)
        .set_solver(good_lp::solvers::highs::HighsSolverType::Ipm)
        .set_parallel(good_lp::solvers::highs::HighsParallelType::Off)
        .set_threads(1)
        .set_option("ipm_iteration_limit", limit(most_iterations))
        .set_option(
            "simplex_iteration_limit",
            limit(most_iterations.saturating_mul(SIMPLEX_STEPS_PER_ITERATION)),
        );
    let rows: Vec<_> = constraints_of(program, &columns)
        .map(|row| model.add_constraint(row))
        .collect();
    let mut solution = model.solve().map_err(|error| Failure::GaveUp(error.to_string()))?;
    if solution.status() != good_lp::SolutionStatus::Optimal {
        return Err(Failure::OutOfIterations);
    }
    let values = columns.iter().map(|column| solution.value(*column)).collect();
    let dual = solution.compute_dual();
    let duals = rows.into_iter().map(|row| dual.dual(row)).collect();
    finish(program, values, duals, USUAL_ITERATIONS)
}

fn finish(program: &Program, values: Vec<f64>, duals: Vec<f64>, iterations: u32) -> Result<Solved, Failure> {
    if values.iter().any(|value| !value.is_finite()) {
        return Err(Failure::GaveUp("the solution is not finite".to_owned()));
    }
    let cost = values
        .iter()
        .zip(&program.columns)
        .map(|(value, column)| value * column.cost)
        .sum();
    Ok(Solved {
        values,
        duals,
        cost,
        iterations,
    })
}

fn variables_of(program: &Program) -> (ProblemVariables, Vec<Variable>) {
    let mut variables = ProblemVariables::new();
    let columns = program
        .columns
        .iter()
        .map(|column| variables.add(variable().min(column.least).max(column.most)))
        .collect();
    (variables, columns)
}

fn cost_of(program: &Program, columns: &[Variable]) -> Expression {
    let mut cost = Expression::with_capacity(columns.len());
    for (variable, column) in columns.iter().zip(&program.columns) {
        if column.cost != 0.0 {
            cost.add_mul(column.cost, *variable);
        }
    }
    cost
}

fn constraints_of<'a>(program: &'a Program, columns: &'a [Variable]) -> impl Iterator<Item = Constraint> + 'a {
    program.rows.iter().map(|row| {
        let mut sum = Expression::with_capacity(row.terms.len());
        for (column, factor) in &row.terms {
            sum.add_mul(*factor, columns[*column]);
        }
        match row.relation {
            Relation::AtMost => constraint!(sum <= row.bound),
            Relation::AtLeast => constraint!(sum >= row.bound),
            Relation::Equal => constraint!(sum == row.bound),
        }
    })
}
