//! The plan without steps and minimum currents: what could be had at best, and what it would cost.
//!
//! Decides by which method a site is searched. Where all cars load the supply alike the problem is a flow and its optimum exact
//! ([`flow`]). Where they differ, or lie between different lines, a first-order search comes within a proven part of the optimum
//! ([`phases`]). What neither of the two can express, and the division of scarce energy at a small mixed site, is a sequence of linear
//! programs ([`programs`]); what they estimate, the search proves where it can. The answer is a wish: what becomes of it is decided by
//! [`super::repair`], in integers.

mod cells;
mod flow;
mod lp;
mod phases;
mod programs;

use super::draft::Draft;
use super::problem::Problem;
use crate::domain::conversion::{Load, Rate};
use crate::domain::plan::{Note, Outcome};
use crate::units::{MoneyMicros, WattSeconds, Watts};

/// Linear programs share scarce energy fairly, but their time grows faster than the site: larger sites do without.
const MOST_CELLS_OF_PROGRAMS: usize = 4_000;

/// What the relaxation found.
pub(super) struct Relaxed {
    /// By session, then slot: the rate it would like. Empty if nothing was searched for.
    pub(super) rates: Vec<f64>,
    /// The highest expected draw of the site that it needs, where that costs anything.
    pub(super) peak: Option<Watts>,
    pub(super) delivered: Option<WattSeconds>,
    pub(super) cost: Option<MoneyMicros>,
    /// `delivered` and `cost` are bounds that hold for every plan.
    pub(super) proven: bool,
    pub(super) iterations: u32,
    pub(super) outcome: Outcome,
    pub(super) stopped: Option<Note>,
}

/// What could be had beside what `greedy` gives those that are not searched for.
pub(super) fn relax(problem: &Problem, greedy: &Draft, iterations: u32) -> Relaxed {
    if let Some(site) = flow::Site::new(problem, greedy) {
        return site.relax(iterations);
    }
    let settled = Settled::new(problem, greedy);
    if settled.sessions.len() == problem.session_count() {
        return Relaxed::without_search(&settled);
    }
    match phases::Site::new(problem, settled) {
        Some(site) if site.is_ample() || site.cells() > MOST_CELLS_OF_PROGRAMS => site.relax(iterations),
        Some(site) if site.has_one_class() => {
            programs::relax(problem, greedy, iterations).bounded_by(&site, iterations)
        }
        _ => programs::relax(problem, greedy, iterations),
    }
}

impl Relaxed {
    /// The same wish, with what the first-order search proves where programs only estimate, if the rest of the `iterations` is enough.
    fn bounded_by(self, site: &phases::Site, iterations: u32) -> Self {
        let bounds = site.relax(iterations.saturating_sub(self.iterations));
        let iterations = self.iterations + bounds.iterations;
        if bounds.stopped.is_some() {
            return Self { iterations, ..self };
        }
        Self {
            delivered: bounds.delivered,
            cost: bounds.cost,
            proven: bounds.proven,
            iterations,
            ..self
        }
    }

    fn without_search(settled: &Settled) -> Self {
        Self {
            rates: Vec::new(),
            peak: None,
            delivered: Some(settled.energy()),
            cost: None,
            proven: settled.is_without_alternative(),
            iterations: 0,
            outcome: Outcome::Greedy,
            stopped: None,
        }
    }
}

/// Whether there is anything to search for: not where a session cannot be given power, may not be interrupted and keeps what the greedy
/// plan gives it, or only gets what others leave.
fn is_searched(problem: &Problem, index: usize) -> bool {
    let session = problem.session(index);
    session.interruptible
        && session.power.as_f64() > 0.0
        && !problem.is_spare(index)
        && problem.live_slots(index).next().is_some()
}

/// The sessions that are not searched for: they are as in the greedy plan.
struct Settled<'p> {
    problem: &'p Problem<'p>,
    greedy: &'p Draft<'p>,
    sessions: Vec<usize>,
}

impl<'p> Settled<'p> {
    fn new(problem: &'p Problem<'p>, greedy: &'p Draft<'p>) -> Self {
        Self {
            problem,
            greedy,
            sessions: (0..problem.session_count())
                .filter(|session| !is_searched(problem, *session))
                .collect(),
        }
    }

    /// Whether no plan could give them anything else. Those that may not be interrupted could have had another run.
    fn is_without_alternative(&self) -> bool {
        self.sessions
            .iter()
            .all(|session| self.problem.session(*session).interruptible)
    }

    /// What they get of what they want.
    fn energy(&self) -> WattSeconds {
        let served = |session: &usize| self.greedy.delivered(*session).min(self.problem.wanted(*session));
        self.sessions.iter().map(served).sum()
    }

    fn cost(&self) -> MoneyMicros {
        let in_slot = |slot: usize| -> MoneyMicros {
            let energies = self.sessions.iter().map(|session| self.greedy.energy(*session, slot));
            energies
                .map(|energy| self.problem.snapshot.prices[slot].times(energy))
                .sum()
        };
        (0..self.problem.slots).map(in_slot).sum()
    }

    /// What they are expected to draw, with the rest of the site.
    fn draw(&self, slot: usize) -> Watts {
        let draw = |session: &usize| {
            let rate = self.greedy.rate(*session, slot);
            Watts::from_watts(self.problem.session(*session).power.floor(rate))
        };
        self.problem.expected_base(slot) + self.sessions.iter().map(draw).sum()
    }

    fn draws_nothing(&self) -> bool {
        (0..self.problem.slots).all(|slot| self.draw(slot) == Watts::ZERO)
    }

    /// The highest of these draws.
    fn peak(&self) -> Watts {
        (0..self.problem.slots)
            .map(|slot| self.draw(slot))
            .max()
            .unwrap_or(Watts::ZERO)
    }

    /// By watched node, then slot: what is drawn there however the search ends.
    fn carried(&self) -> Vec<Load> {
        let problem = self.problem;
        let mut carried: Vec<Load> = (0..problem.watched_count())
            .flat_map(|watched| std::iter::repeat_n(problem.least_load(watched), problem.slots))
            .collect();
        for index in &self.sessions {
            let session = problem.session(*index);
            for slot in session.slots() {
                let more = session.load(self.greedy.rate(*index, slot)) - session.load(Rate::ZERO);
                for watched in problem.path(*index) {
                    carried[watched * problem.slots + slot] += more;
                }
            }
        }
        carried
    }
}
