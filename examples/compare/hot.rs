//! What HiGHS can do beside solving a linear program from nothing: go on from the basis of the plan before, and integer programming.
//!
//! good_lp hands a model over and does not give it back, so the crate `highs` is used here directly.

use crate::instances::Instance;
use crate::measure::Once;
use crate::stopwatch::Stopwatch;
use highs::{Col, HighsModelStatus, Model, RowProblem, Sense, SolvedModel};

/// The program of `oracle.rs`, with what a car wants as a column that does not move: its bounds can be changed later.
struct HotProgram {
    problem: RowProblem,
    wanted: Vec<Col>,
}

impl HotProgram {
    fn new(instance: &Instance, minimum: bool) -> Self {
        let mut problem = RowProblem::new();
        let thousands = 1e3 * instance.parts as f64;
        let mut wanted = Vec::with_capacity(instance.sessions.len());
        let mut below: Vec<Vec<(Col, f64)>> =
            vec![Vec::new(); instance.nodes.len() * instance.unit.lines() * instance.slots()];
        for session in &instance.sessions {
            let kilowatts = instance.milliwatts(session) as f64 / 1e3;
            let most = session.most as f64 / thousands;
            let least = session.least as f64 / thousands;
            let unserved = problem.add_column(instance.penalty as f64 / 1e6 * kilowatts, 0.0..);
            let asked = energy(instance, session.energy);
            let wants = problem.add_column(0.0, asked..=asked);
            let mut served = vec![(unserved, 1.0), (wants, -1.0)];
            for slot in session.stay() {
                let hours = hours(instance, slot);
                let cell = problem.add_column(instance.prices[slot] as f64 / 1e6 * kilowatts * hours, 0.0..=most);
                served.push((cell, hours));
                if minimum {
                    let is_on = problem.add_integer_column(0.0, 0.0..=1.0);
                    problem.add_row(..=0.0, [(cell, 1.0), (is_on, -most)]);
                    problem.add_row(0.0.., [(cell, 1.0), (is_on, -least)]);
                }
                for node in instance.path(session.node) {
                    for line in &session.lines {
                        below[(node * instance.unit.lines() + line) * instance.slots() + slot].push((cell, 1.0));
                    }
                }
            }
            problem.add_row(0.0..=0.0, served);
            wanted.push(wants);
        }
        for (at, cells) in below.into_iter().enumerate().filter(|(_, cells)| !cells.is_empty()) {
            let (row, slot) = (at / instance.slots(), at % instance.slots());
            let (node, line) = (row / instance.unit.lines(), row % instance.unit.lines());
            let limit = instance.nodes[node].limits[line].at(slot).max(0);
            problem.add_row(..=limit as f64 / thousands, cells);
        }
        Self { problem, wanted }
    }

    fn into_model(self) -> (Model, Vec<Col>) {
        let mut model = self.problem.optimise(Sense::Minimise);
        model.make_quiet();
        model.set_option("threads", 1);
        model.set_option("parallel", "off");
        (model, self.wanted)
    }
}

fn hours(instance: &Instance, slot: usize) -> f64 {
    (instance.lengths[slot] * instance.slot_seconds) as f64 / 3_600.0
}

fn energy(instance: &Instance, energy: i64) -> f64 {
    energy as f64 / (1e3 * instance.parts as f64) * instance.slot_seconds as f64 / 3_600.0
}

/// Solves `before`, then `after`, which differs from it in what cars want, from the basis that is there. Only the latter is measured.
pub fn replan(before: &Instance, after: &Instance) -> Result<Once, String> {
    let building = Stopwatch::start();
    let (mut model, wanted) = HotProgram::new(before, false).into_model();
    model.set_option("solver", "simplex");
    let build_seconds = building.seconds();
    let solved = optimal(model.solve())?;
    let solving = Stopwatch::start();
    let mut model = Model::from(solved);
    for ((was, is), wanted) in before.sessions.iter().zip(&after.sessions).zip(wanted) {
        if was.energy != is.energy {
            let asked = energy(after, is.energy);
            model.change_column_bounds(wanted, asked..=asked);
        }
    }
    let solved = optimal(model.solve())?;
    Ok(Once {
        objective: solved.objective_value(),
        bound: None,
        least_unserved: None,
        build_seconds,
        solve_seconds: solving.seconds(),
        remark: None,
    })
}

/// Every rate zero or at least its minimum, for at most `limit_seconds`.
pub fn integer(instance: &Instance, limit_seconds: u64) -> Result<Once, String> {
    let building = Stopwatch::start();
    let (mut model, _) = HotProgram::new(instance, true).into_model();
    model.set_option("time_limit", limit_seconds as f64);
    model.set_option("mip_rel_gap", 1e-6);
    let build_seconds = building.seconds();
    let solving = Stopwatch::start();
    let solved = model.solve();
    let solve_seconds = solving.seconds();
    let status = solved.status();
    let gap = solved.mip_gap();
    if !gap.is_finite() {
        return Err(format!("{status:?}"));
    }
    let objective = solved.objective_value();
    Ok(Once {
        objective,
        bound: Some(objective - gap * objective.abs()),
        least_unserved: None,
        build_seconds,
        solve_seconds,
        remark: Some(format!("{status:?}")),
    })
}

fn optimal(solved: SolvedModel) -> Result<SolvedModel, String> {
    match solved.status() {
        HighsModelStatus::Optimal => Ok(solved),
        other => Err(format!("{other:?}")),
    }
}
