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
    let reduced = Reduced::of(program);
    if reduced.program.columns.is_empty() {
        // Solvers are not made for this.
        return Ok(reduced.expand(program, &[], &[], 0));
    }
    // A solver that trips over a program must not take the site's plan with it.
    let answer = catch_unwind(AssertUnwindSafe(|| solver(&reduced.program, most_iterations)))
        .unwrap_or_else(|_| Err(Failure::GaveUp("the solver panicked".to_owned())))?;
    if answer.values.iter().any(|value| !value.is_finite()) {
        return Err(Failure::GaveUp("the solution is not finite".to_owned()));
    }
    Ok(reduced.expand(program, &answer.values, &answer.duals, answer.iterations))
}

/// A program without columns that cannot move: an interior point method wants an interior.
struct Reduced {
    program: Program,
    /// By column and by row of the whole program: where it is in the reduced one.
    columns: Vec<Option<usize>>,
    rows: Vec<Option<usize>>,
}

impl Reduced {
    fn of(program: &Program) -> Self {
        const FIXED: f64 = 1e-9;
        let mut reduced = Program::default();
        let columns: Vec<Option<usize>> = program
            .columns
            .iter()
            .map(|column| {
                (column.most - column.least > FIXED).then(|| reduced.column(column.least, column.most, column.cost))
            })
            .collect();
        let rows = program
            .rows
            .iter()
            .map(|row| {
                let fixed: f64 = (row.terms.iter())
                    .filter(|(column, _)| columns[*column].is_none())
                    .map(|(column, factor)| factor * program.columns[*column].least)
                    .sum();
                let terms: Vec<(usize, f64)> = (row.terms.iter())
                    .filter_map(|(column, factor)| Some((columns[*column]?, *factor)))
                    .collect();
                (!terms.is_empty()).then(|| reduced.row(terms, row.relation, row.bound - fixed))
            })
            .collect();
        Self {
            program: reduced,
            columns,
            rows,
        }
    }

    /// The answer in terms of the whole program.
    fn expand(&self, program: &Program, values: &[f64], duals: &[f64], iterations: u32) -> Solved {
        let values: Vec<f64> = (self.columns.iter().zip(&program.columns))
            .map(|(reduced, column)| reduced.map_or(column.least, |reduced| values[reduced]))
            .collect();
        let cost = values
            .iter()
            .zip(&program.columns)
            .map(|(value, column)| value * column.cost)
            .sum();
        Solved {
            values,
            duals: self.rows.iter().map(|row| row.map_or(0.0, |row| duals[row])).collect(),
            cost,
            iterations,
        }
    }
}

/// What a solver says.
struct Answer {
    values: Vec<f64>,
    duals: Vec<f64>,
    iterations: u32,
}

/// An interior point method in Rust.
#[cfg_attr(feature = "highs", allow(dead_code, reason = "the tests compare both solvers"))]
fn with_clarabel(program: &Program, most_iterations: u32) -> Result<Answer, Failure> {
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
    Ok(Answer {
        values,
        duals,
        iterations,
    })
}

/// HiGHS by its interior point method and crossover. It does not tell its iterations, so each solve counts as a usual one.
#[cfg(feature = "highs")]
fn with_highs(program: &Program, most_iterations: u32) -> Result<Answer, Failure> {
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
    if !matches!(solution.status(), good_lp::SolutionStatus::Optimal) {
        return Err(Failure::OutOfIterations);
    }
    let values = columns.iter().map(|column| solution.value(*column)).collect();
    let dual = solution.compute_dual();
    let duals = rows.into_iter().map(|row| dual.dual(row)).collect();
    Ok(Answer {
        values,
        duals,
        iterations: USUAL_ITERATIONS,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Two goods, two resources: 3 x + 2 y is most 12 at (2, 3), where both resources are used up.
    fn textbook() -> Program {
        let mut program = Program::default();
        let x = program.column(0.0, f64::INFINITY, -3.0);
        let y = program.column(0.0, 5.0, -2.0);
        program.row(vec![(x, 1.0), (y, 1.0)], Relation::AtMost, 5.0);
        program.row(vec![(x, 2.0), (y, 1.0)], Relation::AtMost, 7.0);
        program
    }

    #[test]
    fn a_textbook_program_is_solved_with_its_prices() {
        let solved = minimise(&textbook(), 100).unwrap();
        assert!((solved.cost + 12.0).abs() < 1e-6, "{solved:?}");
        assert!((solved.values[0] - 2.0).abs() < 1e-6 && (solved.values[1] - 3.0).abs() < 1e-6);
        assert!(
            solved.duals.iter().all(|dual| (dual.abs() - 1.0).abs() < 1e-6),
            "{:?}",
            solved.duals
        );
    }

    #[test]
    fn too_few_iterations_are_told_apart_from_a_program_without_solution() {
        assert_eq!(minimise(&textbook(), 1).unwrap_err(), Failure::OutOfIterations);
        let mut impossible = textbook();
        impossible.row(vec![(0, 1.0)], Relation::AtLeast, 9.0);
        assert!(matches!(minimise(&impossible, 100), Err(Failure::GaveUp(_))));
    }

    #[test]
    fn a_program_without_columns_has_nothing_to_solve() {
        assert_eq!(minimise(&Program::default(), 1).unwrap().cost, 0.0);
    }

    #[test]
    fn columns_that_cannot_move_are_counted_but_not_solved_for() {
        let mut program = textbook();
        let fixed = program.column(1.0, 1.0, 10.0);
        program.rows[0].terms.push((fixed, 1.0));
        program.row(vec![(fixed, 1.0)], Relation::AtMost, 2.0);
        let solved = minimise(&program, 100).unwrap();
        // One unit less of the first resource: 3 x + 2 y is most 11 at (3, 1).
        assert!((solved.cost - (10.0 - 11.0)).abs() < 1e-6, "{solved:?}");
        assert_eq!((solved.values[fixed], solved.duals[2]), (1.0, 0.0));
    }

    /// Cars that share a connection: what they need in each slot's price, from a formula.
    #[cfg(feature = "highs")]
    #[test]
    fn both_solvers_find_the_same_cost() {
        const CARS: usize = 30;
        const SLOTS: usize = 24;
        let mut program = Program::default();
        let price = |slot: usize| ((slot * 7919) % 31) as f64 / 100.0;
        let cells: Vec<Vec<usize>> = (0..CARS)
            .map(|car| {
                (0..SLOTS)
                    .map(|slot| program.column(0.0, 3.0 + (car % 5) as f64, price(slot)))
                    .collect()
            })
            .collect();
        for (car, own) in cells.iter().enumerate() {
            let terms = own[car % 10..].iter().map(|cell| (*cell, 1.0)).collect();
            program.row(terms, Relation::Equal, 5.0 + (car % 7) as f64);
        }
        for slot in 0..SLOTS {
            let terms = cells.iter().map(|own| (own[slot], 1.0)).collect();
            program.row(terms, Relation::AtMost, 25.0);
        }
        let cost_by = |solver: fn(&Program, u32) -> Result<Answer, Failure>| -> f64 {
            let values = solver(&program, 100).unwrap().values;
            let costs = values
                .iter()
                .zip(&program.columns)
                .map(|(value, column)| value * column.cost);
            costs.sum()
        };
        let (clarabel, highs) = (cost_by(with_clarabel), cost_by(with_highs));
        assert!(
            highs > 1.0 && (clarabel - highs).abs() < 1e-6 * highs,
            "{clarabel} and {highs}"
        );
    }
}
