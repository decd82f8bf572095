//! Measurements as Markdown.
//!
//! Decides what stands in a table: times in milliseconds, lowest of the repetitions, and how many times the solver's own time that is.

use crate::instances::{Instance, Unit};
use crate::measure::{Measured, Solver, Table};
use std::collections::BTreeMap;
use std::fmt::Write;

pub struct Row {
    name: String,
    unit: Unit,
    cells_of_plan: usize,
    pub cells: BTreeMap<Solver, Result<Measured, String>>,
}

impl Row {
    pub fn new(instance: &Instance) -> Self {
        Self {
            name: instance.name.clone(),
            unit: instance.unit,
            cells_of_plan: instance.cells(),
            cells: BTreeMap::new(),
        }
    }

    fn measured(&self, solver: Solver) -> Option<&Measured> {
        self.cells.get(&solver)?.as_ref().ok()
    }
}

pub fn render(table: Table, rows: &[Row], limit_seconds: u64) -> String {
    let mut text = format!("\n### {}\n\n", title(table));
    match table {
        Table::Minimum => minimum(&mut text, rows),
        _ => {
            times(&mut text, table, rows, limit_seconds);
            memory(&mut text, table, rows);
        }
    }
    text
}

fn title(table: Table) -> &'static str {
    match table {
        Table::Optimum => "Least cost",
        Table::Peak => "Least cost with a demand charge",
        Table::Replan => "A plan anew after five cars changed",
        Table::Minimum => "Every rate zero or at least its minimum",
    }
}

fn heading(solver: Solver) -> &'static str {
    match solver {
        Solver::Laddplan => "laddplan",
        Solver::HighsSimplex => "HiGHS simplex",
        Solver::HighsInteriorPoint => "HiGHS IPM",
        Solver::Clarabel => "clarabel",
        Solver::Microlp => "microlp",
        Solver::HighsHot => "HiGHS hot",
        Solver::HighsInteger => "HiGHS MILP",
    }
}

fn solvers(table: Table, rows: &[Row]) -> Vec<Solver> {
    rows.first().map_or(Vec::new(), |row| table.solvers(row.unit))
}

/// Writes the two lines that begin a table.
fn head(text: &mut String, columns: &[&str]) {
    line(text, columns.iter().map(|column| (*column).to_owned()));
    line(text, columns.iter().map(|_| "---".to_owned()));
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    writeln!(text, "| {} |", cells.join(" | ")).expect("text can be written");
}

fn times(text: &mut String, table: Table, rows: &[Row], limit_seconds: u64) {
    let solvers = solvers(table, rows);
    let mut columns = vec!["instance", "cells", "objective", "gap"];
    columns.extend(solvers.iter().map(|solver| heading(*solver)));
    columns.push("next best / laddplan");
    text.push_str("Solving, in ms of processor time (lowest of up to nine runs).\n\n");
    head(text, &columns);
    for row in rows {
        let own = row.measured(Solver::Laddplan);
        let mut cells = vec![
            row.name.clone(),
            row.cells_of_plan.to_string(),
            own.map_or("-".to_owned(), |own| format!("{:.5}", own.objective)),
            own.and_then(gap).map_or("-".to_owned(), |gap| format!("{gap:.1e}")),
        ];
        for solver in &solvers {
            cells.push(match row.cells.get(solver) {
                Some(Ok(measured)) => milliseconds(measured.solve_seconds[0]),
                Some(Err(problem)) if is_out_of_time(problem) => format!("> {limit_seconds} s"),
                Some(Err(_)) => "failed".to_owned(),
                None => "-".to_owned(),
            });
        }
        let others = solvers.iter().filter(|solver| **solver != Solver::Laddplan);
        let best = others
            .filter_map(|solver| row.measured(*solver))
            .map(|best| best.solve_seconds[0]);
        let ratio = best.min_by(f64::total_cmp).zip(own);
        cells.push(ratio.map_or("-".to_owned(), |(best, own)| {
            format!("{:.0}", best / own.solve_seconds[0])
        }));
        line(text, cells.into_iter());
    }
    differences(text, rows, &solvers);
}

/// Each solver has words of its own for it.
fn is_out_of_time(problem: &str) -> bool {
    let problem = problem.to_lowercase();
    problem.starts_with("more than") || problem.contains("time")
}

/// What a plan may be above the best, as a share.
fn gap(measured: &Measured) -> Option<f64> {
    let distance = (measured.objective - measured.bound?).max(0.0);
    Some(distance / measured.objective.abs().max(f64::MIN_POSITIVE))
}

/// How far the solvers' optima lie outside of what is proven.
fn differences(text: &mut String, rows: &[Row], solvers: &[Solver]) {
    let mut outside: f64 = 0.0;
    for row in rows {
        let Some(own) = row.measured(Solver::Laddplan) else {
            continue;
        };
        let others = solvers.iter().filter(|solver| **solver != Solver::Laddplan);
        for other in others.filter_map(|solver| row.measured(*solver)) {
            let below = own.bound.unwrap_or(own.objective) - other.objective;
            let above = other.objective - own.objective;
            outside = outside.max(below.max(above) / own.objective.abs().max(f64::MIN_POSITIVE));
        }
    }
    writeln!(
        text,
        "\nThe others' optima lie at most {:.0e} of the objective outside of laddplan's bound and plan.\n",
        outside.max(0.0)
    )
    .expect("text can be written");
}

fn milliseconds(seconds: f64) -> String {
    let milliseconds = seconds * 1e3;
    match milliseconds {
        _ if milliseconds < 10.0 => format!("{milliseconds:.2}"),
        _ if milliseconds < 100.0 => format!("{milliseconds:.1}"),
        _ => format!("{milliseconds:.0}"),
    }
}

fn memory(text: &mut String, table: Table, rows: &[Row]) {
    let solvers = solvers(table, rows);
    let mut columns = vec!["instance"];
    columns.extend(solvers.iter().map(|solver| heading(*solver)));
    text.push_str("Building, in ms / most memory of the process, in MB.\n\n");
    head(text, &columns);
    for row in rows {
        let mut cells = vec![row.name.clone()];
        for solver in &solvers {
            cells.push(row.measured(*solver).map_or("-".to_owned(), |measured| {
                let memory = measured
                    .peak_rss_kib
                    .map_or("-".to_owned(), |kib| format!("{:.0}", kib as f64 / 1024.0));
                format!("{} / {memory}", milliseconds(measured.build_seconds))
            }));
        }
        line(text, cells.into_iter());
    }
}

/// What minima cost: a plan against what is proven without them, and an integer program.
fn minimum(text: &mut String, rows: &[Row]) {
    head(
        text,
        &[
            "instance",
            "cells",
            "bound without minima",
            "laddplan",
            "above",
            "kWh unserved (at least)",
            "ms",
            "HiGHS MILP",
            "proven gap",
            "status",
            "s",
            "MB",
        ],
    );
    for row in rows {
        let mut cells = vec![row.name.clone(), row.cells_of_plan.to_string()];
        cells.extend(match row.cells.get(&Solver::Laddplan) {
            Some(Ok(own)) => [
                format!("{:.5}", own.bound.unwrap_or(f64::NAN)),
                format!("{:.5}", own.objective),
                format!("{:.2} %", 100.0 * gap(own).unwrap_or(f64::NAN)),
                own.remark.clone().unwrap_or_default(),
                milliseconds(own.solve_seconds[0]),
            ],
            _ => ["-"; 5].map(str::to_owned),
        });
        cells.extend(match row.cells.get(&Solver::HighsInteger) {
            Some(Ok(integer)) => [
                format!("{:.5}", integer.objective),
                format!("{:.2} %", 100.0 * gap(integer).unwrap_or(f64::NAN)),
                integer.remark.clone().unwrap_or_default(),
                format!("{:.1}", integer.solve_seconds[0]),
                integer
                    .peak_rss_kib
                    .map_or("-".to_owned(), |kib| (kib / 1024).to_string()),
            ],
            _ => ["-"; 5].map(str::to_owned),
        });
        line(text, cells.into_iter());
    }
}
