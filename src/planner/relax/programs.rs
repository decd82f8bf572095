//! The relaxation as a sequence of linear programs: for any site, if it is small.
//!
//! Decides what the most energy is, how it is shared and what it costs at least: each stage keeps what the stages before it
//! reached, so no weight is ever guessed. A stage whose bound the greedy plan reaches is not solved. Its answer is a wish: what
//! becomes of it is decided by [`super::repair`], in integers.

use super::super::draft::Draft;
use super::super::problem::{Class, Problem};
use super::Relaxed;
use super::cells::{Cells, KWH};
use super::lp::{self, Failure, Program, Relation, Solved};
use crate::domain::plan::{Note, Outcome};
use crate::domain::site::Fairness;
use crate::units::{MoneyMicros, WattSeconds, Watts};

/// Larger programs take minutes; the greedy plan has to do.
const MAX_COLUMNS: usize = 150_000;
/// No sound program of ours has taken half as many iterations.
const MAX_ITERATIONS_PER_SOLVE: u32 = 120;
/// How often the smallest share is raised for those whom nothing holds back yet.
const MAX_FAIRNESS_ROUNDS: usize = 4;
/// What a stage may lose of what an earlier one reached, so that the solver has room to move: a millionth and 0.01 Wh.
/// The repair gives it back.
const LOST_PART: f64 = 1e-6;
const LOST_KWH: f64 = 1e-5;
/// A row counts as holding a session back where this much of the objective hangs on it.
const HELD_BACK: f64 = 1e-6;

pub(super) fn relax(problem: &Problem, greedy: &Draft, iterations: u32) -> Relaxed {
    let mut search = Search::new(problem, greedy, iterations);
    let stopped = search.run().err();
    search.finish(stopped)
}

/// Why and where a search ended before its last stage.
struct Stopped {
    stage: &'static str,
    failure: Failure,
}

/// What earlier stages reached and later ones must keep, in kWh.
struct Kept {
    /// By session: exactly this much.
    exactly: Vec<Option<f64>>,
    /// By session: at least this much.
    least: Vec<f64>,
    /// By class: at least this much in total of those that are searched for.
    class_least: Vec<Option<f64>>,
}

/// A program with the columns that stand for the energy of each session.
struct Stage {
    program: Program,
    /// By session; `None` where the energy is settled.
    energy: Vec<Option<usize>>,
}

struct Search<'p> {
    problem: &'p Problem<'p>,
    greedy: &'p Draft<'p>,
    cells: Cells<'p>,
    kept: Kept,
    /// By class: the most it can get, once known.
    most: Vec<Option<f64>>,
    cost: Option<f64>,
    peak_kw: Option<f64>,
    last: Option<Solved>,
    iterations_left: u32,
    iterations: u32,
}

impl<'p> Search<'p> {
    fn new(problem: &'p Problem<'p>, greedy: &'p Draft<'p>, iterations: u32) -> Self {
        let sessions = problem.session_count();
        Self {
            problem,
            greedy,
            cells: Cells::new(problem, greedy),
            kept: Kept {
                exactly: vec![None; sessions],
                least: vec![0.0; sessions],
                class_least: vec![None; problem.classes.len()],
            },
            most: vec![None; problem.classes.len()],
            cost: None,
            peak_kw: None,
            last: None,
            iterations_left: iterations,
            iterations: 0,
        }
    }

    fn run(&mut self) -> Result<(), Stopped> {
        if self.cells.columns.len() > MAX_COLUMNS {
            return Err(Stopped {
                stage: "relaxation",
                failure: Failure::GaveUp(format!(
                    "{} cells are more than {MAX_COLUMNS}",
                    self.cells.columns.len()
                )),
            });
        }
        self.keep_guarantees()?;
        // What greedy serves can be had beside the promises only if it keeps them all.
        let mut greedy_is_best = self.cells.exact && self.greedy_keeps_promises();
        for index in 0..self.problem.classes.len() {
            greedy_is_best &= self.greedy_serves_all(index);
            if greedy_is_best {
                self.settle_all(index);
            } else {
                self.most_energy(index)?;
            }
        }
        for index in 0..self.problem.classes.len() {
            self.fair_shares(index)?;
        }
        self.least_money()
    }

    /// Energy that `session` could get at most, were it alone.
    fn reachable(&self, session: usize) -> WattSeconds {
        self.problem.wanted(session).min(self.problem.most_energy(session))
    }

    fn searched<'c>(&'c self, class: &'c Class) -> impl Iterator<Item = usize> + 'c {
        class
            .members
            .iter()
            .copied()
            .filter(|session| self.cells.is_searched(*session))
    }

    fn greedy_serves_all(&self, class: usize) -> bool {
        self.problem.classes[class]
            .members
            .iter()
            .all(|session| self.greedy.delivered(*session) >= self.reachable(*session))
    }

    fn settle_all(&mut self, index: usize) {
        let class = &self.problem.classes[index];
        let searched: Vec<usize> = self.searched(class).collect();
        self.most[index] = Some(searched.iter().map(|session| kwh(self.reachable(*session))).sum());
        for session in searched {
            self.kept.exactly[session] = Some(kwh(self.reachable(session)));
        }
    }

    fn greedy_keeps_promises(&self) -> bool {
        (0..self.problem.session_count())
            .filter(|session| self.cells.is_searched(*session))
            .all(|session| {
                let promised = self.problem.session(session).guaranteed.min(self.reachable(session));
                self.greedy.delivered(session) >= promised
            })
    }

    /// Stage 1: as much as can be of what was promised.
    fn keep_guarantees(&mut self) -> Result<(), Stopped> {
        // Each session with a promise, and the kWh of it that could be kept were it alone.
        let promised: Vec<(usize, f64)> = (0..self.problem.session_count())
            .filter(|session| self.cells.is_searched(*session))
            .map(|session| {
                (
                    session,
                    self.problem.session(session).guaranteed.min(self.reachable(session)),
                )
            })
            .filter(|(_, promise)| *promise > WattSeconds::ZERO)
            .map(|(session, promise)| (session, kwh(promise)))
            .collect();
        if promised.is_empty() || (self.cells.exact && self.greedy_keeps_promises()) {
            promised
                .into_iter()
                .for_each(|(session, promise)| self.kept.least[session] = kept_of(promise));
            return Ok(());
        }
        let mut stage = self.stage();
        let kept: Vec<(usize, usize)> = promised
            .into_iter()
            .filter_map(|(session, promise)| {
                let energy = stage.energy[session]?;
                // No more than the promise, no more than the energy.
                let kept = stage.program.column(0.0, promise, -1.0);
                stage
                    .program
                    .row(vec![(kept, 1.0), (energy, -1.0)], Relation::AtMost, 0.0);
                Some((session, kept))
            })
            .collect();
        let solved = self.solve("guarantees", &stage.program)?;
        for (session, kept) in kept {
            self.kept.least[session] = kept_of(solved.values[kept]);
        }
        self.last = Some(solved);
        Ok(())
    }

    /// Stage 2: the most energy for a class, with what all before it reached.
    fn most_energy(&mut self, index: usize) -> Result<(), Stopped> {
        let mut stage = self.stage();
        let columns: Vec<usize> = self
            .searched(&self.problem.classes[index])
            .filter_map(|session| stage.energy[session])
            .collect();
        if columns.is_empty() {
            self.most[index] = Some(0.0);
            return Ok(());
        }
        for column in &columns {
            stage.program.columns[*column].cost = -1.0;
        }
        let solved = self.solve("energy", &stage.program)?;
        let most = columns
            .iter()
            .map(|column| solved.values[*column])
            .sum::<f64>()
            .max(0.0);
        self.most[index] = Some(most);
        self.kept.class_least[index] = Some(kept_of(most));
        self.last = Some(solved);
        Ok(())
    }

    /// Stage 3: within a class the smallest share of a need as large as can be; then again for those whom nothing held back.
    fn fair_shares(&mut self, index: usize) -> Result<(), Stopped> {
        let class = &self.problem.classes[index];
        let scarce = self.kept.class_least[index].is_some();
        if !scarce || !class.need_known {
            return Ok(());
        }
        let whole = match self.problem.snapshot.fairness {
            Fairness::None => return Ok(()),
            Fairness::FirstCome | Fairness::LeastLaxity => return self.serve_in_order(index),
            Fairness::MaxMin => None,
            Fairness::Proportional => {
                let wanted = class.members.iter().map(|session| kwh(self.problem.wanted(*session)));
                Some(wanted.fold(0.0, f64::max))
            }
        };
        let mut open: Vec<usize> = self
            .searched(class)
            .filter(|session| self.problem.wanted(*session) > WattSeconds::ZERO)
            .collect();
        for _ in 0..MAX_FAIRNESS_ROUNDS {
            if open.len() < 2 {
                return Ok(());
            }
            let mut stage = self.stage();
            let share = stage.program.column(0.0, 1.0, -1.0);
            let rows: Vec<(usize, f64, usize)> = open
                .iter()
                .filter_map(|session| {
                    let wanted = whole.unwrap_or(kwh(self.problem.wanted(*session)));
                    let terms = vec![(share, wanted), (stage.energy[*session]?, -1.0)];
                    Some((*session, wanted, stage.program.row(terms, Relation::AtMost, 0.0)))
                })
                .collect();
            let solved = self.solve("fairness", &stage.program)?;
            let reached = solved.values[share];
            open.clear();
            for (session, wanted, row) in rows {
                let least = kept_of(reached * wanted).max(self.kept.least[session]);
                self.kept.least[session] = least.min(kwh(self.reachable(session)));
                if solved.duals[row].abs() * wanted < HELD_BACK {
                    open.push(session);
                }
            }
            self.last = Some(solved);
            if reached >= 1.0 - LOST_PART {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Stage 3 where the site serves one after the other: for each as much as those before leave.
    fn serve_in_order(&mut self, index: usize) -> Result<(), Stopped> {
        let members: Vec<usize> = self.searched(&self.problem.classes[index]).collect();
        for session in members {
            let mut stage = self.stage();
            let Some(energy) = stage.energy[session] else {
                continue;
            };
            stage.program.columns[energy].cost = -1.0;
            let solved = self.solve("order of service", &stage.program)?;
            let reached = kept_of(solved.values[energy]).max(self.kept.least[session]);
            self.kept.least[session] = reached.min(kwh(self.reachable(session)));
            self.last = Some(solved);
        }
        Ok(())
    }

    /// Stage 4: the least cost of energy and peak.
    fn least_money(&mut self) -> Result<(), Stopped> {
        let snapshot = self.problem.snapshot;
        let charge = snapshot
            .demand_charge
            .as_ref()
            .filter(|charge| charge.micros_per_kw > 0);
        let flat = snapshot.prices.windows(2).all(|pair| pair[0] == pair[1]);
        if flat && charge.is_none() && self.last.is_none() {
            return Ok(());
        }
        let mut stage = self.stage();
        for cell in &self.cells.list {
            let price = snapshot.prices[cell.slot].micros_per_kwh() as f64 / 1e6;
            for column in cell.columns() {
                stage.program.columns[column].cost = price * cell.hours;
            }
        }
        let peak = charge.map(|charge| {
            let unavoidable = self.cells.settled.peak().max(charge.peak_so_far);
            let peak = stage
                .program
                .column(kilowatts(unavoidable), f64::INFINITY, charge.micros_per_kw as f64 / 1e6);
            self.cells.add_peak_rows(&mut stage.program, peak, unavoidable);
            peak
        });
        let solved = self.solve("money", &stage.program)?;
        let settled = self.cells.settled.cost().micros() as f64 / 1e6;
        let so_far = charge.map_or(0.0, |charge| {
            kilowatts(charge.peak_so_far) * charge.micros_per_kw as f64 / 1e6
        });
        self.cost = Some(solved.cost + settled - so_far);
        self.peak_kw = peak.map(|peak| solved.values[peak]);
        self.last = Some(solved);
        Ok(())
    }

    /// The limits, and for each session its energy between what it keeps and what it wants.
    fn stage(&self) -> Stage {
        let mut program = Program {
            columns: self.cells.columns.clone(),
            rows: self.cells.rows.clone(),
        };
        let energy: Vec<Option<usize>> = (0..self.problem.session_count())
            .map(|session| {
                if !self.cells.is_searched(session) {
                    return None;
                }
                let mut terms = self.cells.energy_terms(session);
                if let Some(exactly) = self.kept.exactly[session] {
                    program.row(terms, Relation::Equal, exactly);
                    return None;
                }
                let energy = program.column(self.kept.least[session], kwh(self.reachable(session)), 0.0);
                terms.push((energy, -1.0));
                program.row(terms, Relation::Equal, 0.0);
                Some(energy)
            })
            .collect();
        for (class, least) in self.problem.classes.iter().zip(&self.kept.class_least) {
            if let Some(least) = least {
                let terms = class
                    .members
                    .iter()
                    .filter_map(|session| Some((energy[*session]?, 1.0)));
                program.row(terms.collect(), Relation::AtLeast, *least);
            }
        }
        Stage { program, energy }
    }

    fn solve(&mut self, stage: &'static str, program: &Program) -> Result<Solved, Stopped> {
        let most = self.iterations_left.min(MAX_ITERATIONS_PER_SOLVE);
        let solved = if most == 0 {
            Err(Failure::OutOfIterations)
        } else {
            lp::minimise(program, most)
        };
        let used = solved.as_ref().map_or(most, |solved| solved.iterations);
        self.iterations_left -= used.min(self.iterations_left);
        self.iterations += used;
        solved.map_err(|failure| Stopped { stage, failure })
    }

    fn finish(self, stopped: Option<Stopped>) -> Relaxed {
        let outcome = match &stopped {
            Some(Stopped {
                failure: Failure::OutOfIterations,
                ..
            }) => Outcome::BudgetSpent,
            Some(_) => Outcome::SolverFailed,
            None if self.last.is_none() => Outcome::Greedy,
            None => Outcome::Optimal,
        };
        let settled: f64 = kwh(self.cells.settled.energy());
        let most: Option<f64> = self.most.iter().copied().sum();
        Relaxed {
            rates: self
                .last
                .map_or_else(Vec::new, |solved| self.cells.rates(&solved.values)),
            peak: self
                .peak_kw
                .map(|peak| Watts::from_watts((peak * 1000.0).ceil() as i64)),
            delivered: most.map(|most| WattSeconds::from_watt_seconds(((most + settled) * KWH).round() as i64)),
            cost: self
                .cost
                .map(|cost| MoneyMicros::from_micros((cost * 1e6).round() as i64)),
            proven: false,
            iterations: self.iterations,
            outcome,
            stopped: stopped.map(|stopped| Note::SearchStopped {
                stage: stopped.stage.to_owned(),
                reason: match stopped.failure {
                    Failure::OutOfIterations => "the budget of iterations is spent".to_owned(),
                    Failure::GaveUp(reason) => reason,
                },
            }),
        }
    }
}

/// What later stages must keep of `reached`.
fn kept_of(reached: f64) -> f64 {
    (reached * (1.0 - LOST_PART) - LOST_KWH).max(0.0)
}

fn kwh(energy: WattSeconds) -> f64 {
    energy.watt_seconds() as f64 / KWH
}

fn kilowatts(power: Watts) -> f64 {
    power.watts() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::super::greedy;
    use super::super::super::testing::*;
    use super::*;
    use crate::domain::snapshot::Snapshot;
    use crate::units::MicrosPerKwh;

    fn relaxed(snapshot: &Snapshot, iterations: u32) -> Relaxed {
        let problem = Problem::new(snapshot);
        let draft = greedy::fill(&problem);
        relax(&problem, &draft, iterations)
    }

    fn delivered(snapshot: &Snapshot) -> Vec<f64> {
        let relaxed = relaxed(snapshot, 400);
        assert_eq!(relaxed.outcome, Outcome::Optimal);
        let slots = snapshot.grid.count();
        relaxed
            .rates
            .chunks(slots)
            .map(|rates| rates.iter().sum::<f64>() / 10.0)
            .collect()
    }

    #[track_caller]
    fn assert_near(got: &[f64], expected: &[f64]) {
        let near = got
            .iter()
            .zip(expected)
            .all(|(got, expected)| (got - expected).abs() < 0.01);
        assert!(near && got.len() == expected.len(), "{got:?} is not {expected:?}");
    }

    #[test]
    fn nothing_is_solved_where_greedy_serves_all_at_a_flat_price() {
        let mut snapshot = site(vec![amperes(20); 4]);
        car(&mut snapshot, on_l1(), 40);
        let relaxed = relaxed(&snapshot, 400);
        assert_eq!((relaxed.outcome, relaxed.iterations), (Outcome::Greedy, 0));
        assert_eq!(relaxed.delivered, Some(WattSeconds::from_watt_hours(40 * 230)));
    }

    #[test]
    fn scarce_energy_is_shared_so_that_the_smallest_share_is_largest() {
        let mut snapshot = site(vec![amperes(20); 3]);
        car(&mut snapshot, on_l1(), 30);
        car(&mut snapshot, on_l1(), 90);
        assert_near(&delivered(&snapshot), &[15.0, 45.0]);
    }

    #[test]
    fn who_cannot_have_more_does_not_hold_the_others_back() {
        let mut snapshot = site(vec![amperes(30); 3]);
        let brief = car(&mut snapshot, on_l1(), 60);
        snapshot.sessions[brief].end_slot = 1;
        snapshot.sessions[brief].choice.maximum = crate::domain::conversion::Rate::new(120);
        car(&mut snapshot, on_l1(), 40);
        car(&mut snapshot, on_l1(), 60);
        // The first gets 12 Ah at most, a fifth of its need; the other two share what is left equally by need.
        assert_near(&delivered(&snapshot), &[12.0, 31.2, 46.8]);
    }

    #[test]
    fn an_earlier_tier_takes_all_it_can() {
        let mut snapshot = site(vec![amperes(20); 2]);
        car(&mut snapshot, on_l1(), 30);
        car(&mut snapshot, on_l1(), 30);
        snapshot.sessions[1].tier = crate::domain::session::Tier::BOOST;
        assert_near(&delivered(&snapshot), &[10.0, 30.0]);
    }

    #[test]
    fn a_promise_that_greedy_cannot_keep_is_not_traded_for_what_it_serves() {
        let mut snapshot = site(vec![amperes(10)]);
        car(&mut snapshot, on_l1(), 10);
        let promised = car(&mut snapshot, on_l1(), 9);
        snapshot.sessions[0].tier = crate::domain::session::Tier::BOOST;
        // It takes 12 A or nothing, and was promised 5 Ah.
        snapshot.sessions[promised].choice.minimum = crate::domain::conversion::Rate::new(120);
        snapshot.sessions[promised].guaranteed = WattSeconds::from_watt_hours(5 * 230);
        assert_near(&delivered(&snapshot), &[5.0, 5.0]);
    }

    #[test]
    fn a_spent_budget_keeps_what_was_found_before() {
        let mut snapshot = site(vec![amperes(20); 3]);
        car(&mut snapshot, on_l1(), 40);
        car(&mut snapshot, on_l1(), 50);
        snapshot.prices[0] = MicrosPerKwh::from_micros_per_kwh(1);
        let first = (1..)
            .find(|iterations| !relaxed(&snapshot, *iterations).rates.is_empty())
            .unwrap();
        let relaxed = relaxed(&snapshot, first);
        assert_eq!(relaxed.outcome, Outcome::BudgetSpent);
        assert_eq!((relaxed.iterations, relaxed.cost), (first, None));
        assert!(relaxed.delivered.is_some() && relaxed.stopped.is_some());
    }
}
