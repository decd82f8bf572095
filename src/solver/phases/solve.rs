//! The whole: begin, search, polish and prove in turn, until the gap is small enough or the budget is spent.
//!
//! Everything is counted in iterations of the search, never in time, so the same problem gives the same outcome everywhere.

use super::bound::{Multipliers, Objective};
use super::descent::Descent;
use super::layout::Layout;
use super::polish::{Polish, Proposal};
use super::problem::{Plan, Problem, Session, Value};
use super::rows::{CONE, LANES};
use super::start::Start;

/// Iterations before the first polish.
const FIRST_CHECK: usize = 32;
/// The same with a demand charge: the peak takes longer to find.
const FIRST_CHECK_WITH_PEAK: usize = 48;
/// The same from an earlier outcome.
const FIRST_CHECK_WARM: usize = 16;

/// So many times the gap that is allowed is far.
const FAR: i128 = 2;
/// Checks of the bound alone in a row.
const MOST_SKIPPED: usize = 4;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Most iterations of the search; 0 still gives a plan and a bound.
    pub iterations: usize,
    /// Stop at this gap between value and bound, in millionths of the value.
    pub gap_millionths: u32,
}

/// What one unit of load on a row is worth: a multiplier of the search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowPrice {
    pub node: usize,
    /// Of a limit, or [`KINDS`](super::KINDS) for the demand charge's peak, which is at node 0. After it come two for each cone.
    pub kind: usize,
    pub slot: usize,
    /// Money for one unit of load.
    pub money: f64,
}

/// Where an earlier outcome left off, to begin from. Nothing in it needs to fit the problem: it is only a proposal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WarmStart {
    pub prices: Vec<RowPrice>,
    /// Amounts by session and slot of its stay; a session may be missing or too short.
    pub amounts: Vec<Vec<i64>>,
    /// The peak that the plan allowed itself.
    pub peak: i64,
    /// The search's weight between amounts and prices; 0 where none is known.
    pub weight: f64,
}

/// A plan with its proof.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Keeps every limit; integers.
    pub plan: Plan,
    pub value: Value,
    /// No plan is worth less.
    pub bound: i128,
    /// In every plan at least so much money is lost by what is not served.
    pub unserved_bound: i128,
    pub iterations: usize,
    /// To begin from when the problem has changed a little.
    pub warm_start: WarmStart,
}

impl Outcome {
    /// What the value may be above the best, as a share of the value.
    pub fn gap(&self) -> f64 {
        share(self.value.total() - self.bound, self.value.total())
    }

    /// What is lost by not serving that may not have to be, as a share of what is lost in `worth`, the loss if nothing were served.
    pub fn energy_gap(&self, worth: i128) -> f64 {
        share(self.value.unserved - self.unserved_bound, worth)
    }

    /// What the plan may cost above the cheapest plan that loses no more by not serving, as a share of its cost; infinite if it is free.
    pub fn cost_gap(&self) -> f64 {
        share(self.value.total() - self.bound, self.value.cost)
    }
}

fn share(part: i128, whole: i128) -> f64 {
    if part <= 0 {
        0.0
    } else {
        part as f64 / whole.abs() as f64
    }
}

/// Solves a problem, from an earlier outcome if there is one.
pub fn solve(problem: &Problem, warm: Option<&WarmStart>, budget: Budget) -> Outcome {
    let layout = Layout::new(problem);
    let mut run = Run::new(&layout, budget);
    let start = match warm {
        Some(warm) => start_from(&layout, warm),
        None => Start::from_flows(&layout),
    };
    run.learn_bound(&start.multipliers);
    run.least_unserved = start.cut.bound(&layout, Objective::Unserved).max(run.least_unserved);
    let mut descent = Descent::new(&layout);
    let known_weight = warm.map(|warm| warm.weight).filter(|weight| *weight > 0.0);
    let weight = known_weight.unwrap_or_else(|| run.first_weight());
    descent.begin(&start.amounts, &start.multipliers, start.peak, weight);
    if warm.is_some() || budget.iterations == 0 {
        run.check(descent.proposal(), start.peak, start.highest_power);
    }
    let first_check = match warm {
        Some(_) => FIRST_CHECK_WARM,
        None if layout.rows.peak.is_empty() => FIRST_CHECK,
        None => FIRST_CHECK_WITH_PEAK,
    };
    while !run.is_done() && descent.iterations() < budget.iterations {
        let next = (descent.iterations() * 11 / 10 + 16)
            .max(first_check)
            .min(budget.iterations);
        descent.advance(next - descent.iterations());
        run.learn_bound(descent.multipliers());
        if !run.is_done() && (run.may_be_close() || descent.iterations() == budget.iterations) {
            run.check(descent.proposal(), descent.peak(), start.highest_power);
        }
    }
    run.finish(&descent)
}

/// A plan and what it is worth.
struct Polished {
    value: Value,
    plan: Plan,
}

/// What is known so far.
struct Run<'a> {
    layout: &'a Layout<'a>,
    budget: Budget,
    polish: Polish<'a>,
    best: Option<Polished>,
    bound: i128,
    least_unserved: i128,
    checks: usize,
    /// The peak of the last plan that needed more than the search allowed.
    known_peak: Option<i64>,
    exacts: usize,
    /// Checks of the bound alone since the last plan.
    skipped: usize,
    /// No exact flows before this check.
    next_exact: usize,
}

impl<'a> Run<'a> {
    fn new(layout: &'a Layout<'a>, budget: Budget) -> Run<'a> {
        let idle = Multipliers::from_money(layout, |_| 0.0);
        Run {
            layout,
            budget,
            polish: Polish::new(layout),
            best: None,
            bound: idle.bound(layout, Objective::All),
            least_unserved: idle.bound(layout, Objective::Unserved),
            checks: 0,
            known_peak: None,
            exacts: 0,
            skipped: 0,
            next_exact: 0,
        }
    }

    /// Where energy is scarce, prices are as large as what is lost by not serving, and the multipliers have further to go.
    fn first_weight(&self) -> f64 {
        if !self.layout.problem.cones.is_empty() {
            // Nothing is known of it beside cones: take it for scarce.
            return 4.5;
        }
        let scarcity = share(self.least_unserved, self.bound);
        let scarce = scarcity / (scarcity + 0.1);
        if self.layout.rows.peak.is_empty() {
            0.5 + 4.0 * scarce
        } else {
            2.5 + 10.0 * scarce
        }
    }

    fn learn_bound(&mut self, multipliers: &[f32]) {
        let bound = Multipliers::from_search(self.layout, multipliers).bound(self.layout, Objective::All);
        self.bound = self.bound.max(bound);
    }

    fn is_done(&self) -> bool {
        self.best
            .as_ref()
            .is_some_and(|best| self.is_close(best.value.total() - self.bound))
    }

    /// Whether an amount of money is within the gap that is allowed.
    fn is_close(&self, money: i128) -> bool {
        let value = self.best.as_ref().map_or(0, |best| best.value.total().abs());
        money * 1_000_000 <= value * i128::from(self.budget.gap_millionths)
    }

    /// Whether a plan now may be good enough. While the bound is far below the best plan it is not worth making one each time.
    fn may_be_close(&mut self) -> bool {
        self.skipped += 1;
        let is_far = self
            .best
            .as_ref()
            .is_some_and(|best| !self.is_close((best.value.total() - self.bound) / FAR));
        if is_far && self.skipped <= MOST_SKIPPED {
            return false;
        }
        self.skipped = 0;
        true
    }

    /// Makes plans from a proposal. `highest`: no peak above it is of use.
    fn check(&mut self, proposal: Proposal, peak: i64, highest: i64) {
        self.checks += 1;
        let mut best = (self.quick(proposal, peak), peak);
        if !self.layout.rows.peak.is_empty() && self.wastes(best.0) {
            // The peak was too low for the energy: the best is between it and one that is known to be high enough.
            let high = self.known_peak.unwrap_or(highest);
            for peak in [high, peak + (high - peak) / 2] {
                if high > best.1 && !self.is_done() {
                    let value = self.quick(proposal, peak);
                    if value.total() < best.0.total() {
                        best = (value, peak);
                    }
                }
            }
            self.known_peak = Some(best.1);
        }
        // What quick plans leave unserved the exact flows may serve. They cost more, so what did not help is not done again soon.
        let is_due = self.checks >= self.next_exact && self.layout.problem.cones.is_empty();
        if is_due && !self.is_done() && (self.wastes(best.0) || self.checks.is_multiple_of(4)) {
            let value = self.polish.exact(proposal, best.1);
            self.accept(value);
            self.exacts += 1;
            self.next_exact = self.checks + self.exacts;
        }
    }

    /// Whether more is lost by not serving than must be, so that it matters.
    fn wastes(&self, value: Value) -> bool {
        !self.is_close(2 * (value.unserved - self.least_unserved))
    }

    fn quick(&mut self, proposal: Proposal, peak: i64) -> Value {
        let value = self.polish.quick(proposal, peak);
        self.accept(value);
        value
    }

    fn accept(&mut self, value: Value) {
        if self.best.as_ref().is_none_or(|best| value.total() < best.value.total()) {
            self.best = Some(Polished {
                value,
                plan: self.polish.plan(),
            });
        }
    }

    fn finish(self, descent: &Descent) -> Outcome {
        let layout = self.layout;
        let idle = || Polished {
            value: layout.problem.value(&Plan::idle(layout.problem)),
            plan: Plan::idle(layout.problem),
        };
        let proven = |best: &Polished| layout.problem.assess(&best.plan) == Ok(best.value);
        // The draft keeps the limits by construction; the judge has the last word all the same.
        let best = self.best.filter(proven).unwrap_or_else(idle);
        let prices = row_prices(layout, descent.multipliers());
        let unserved_bound = self
            .least_unserved
            .max(self.bound.saturating_sub(most_cost(layout.problem)));
        Outcome {
            bound: self.bound.min(best.value.total()),
            unserved_bound: unserved_bound.min(best.value.unserved),
            iterations: descent.iterations(),
            warm_start: WarmStart {
                prices,
                amounts: (0..layout.problem.sessions.len())
                    .map(|session| best.plan.of(session).to_vec())
                    .collect(),
                peak: best.value.peak,
                weight: descent.weight(),
            },
            value: best.value,
            plan: best.plan,
        }
    }
}

/// No plan's energy costs more; unlimited with a demand charge. What a bound on all exceeds this by is lost by not serving.
fn most_cost(problem: &Problem) -> i128 {
    if problem.demand_charge.is_some() {
        return i128::MAX;
    }
    let dearest = |session: &Session| problem.prices[session.stay()].iter().copied().fold(0, i64::max);
    let cost = |session: &Session| i128::from(session.wanted) * i128::from(session.power * dearest(session));
    problem.sessions.iter().map(cost).sum()
}

/// The multipliers that are not zero, as money.
fn row_prices(layout: &Layout, multipliers: &[f32]) -> Vec<RowPrice> {
    let mut prices = Vec::new();
    for (row, &multiplier) in multipliers
        .iter()
        .enumerate()
        .filter(|(_, multiplier)| **multiplier != 0.0)
    {
        let chunk = &layout.rows.chunks[row / LANES];
        let money = f64::from(multiplier) * layout.scale.multiplier(chunk.kind);
        let kind = match layout
            .rows
            .cones
            .iter()
            .find(|cone| (cone.chunk..cone.chunk + 2).contains(&(row / LANES)))
        {
            Some(cone) => CONE + 2 * cone.cone + row / LANES - cone.chunk,
            None => chunk.kind,
        };
        prices.push(RowPrice {
            node: chunk.node,
            kind,
            slot: chunk.column * LANES + row % LANES,
            money,
        });
    }
    prices
}

/// Sets one of the two multipliers of a cone, if there is such a cone.
fn set_cone_price(layout: &Layout, price: &RowPrice, multipliers: &mut [f32]) {
    let (cone, phasor) = ((price.kind - CONE) / 2, (price.kind - CONE) % 2);
    if cone >= layout.problem.cones.len() {
        return;
    }
    let first = layout.rows.cone_chunk(cone, price.slot / LANES);
    if first > 0 {
        let row = (first + phasor) * LANES + price.slot % LANES;
        multipliers[row] = (price.money / layout.scale.multiplier(CONE)) as f32;
    }
}

/// A start from an earlier outcome: what it knows of rows and sessions that are still there.
fn start_from(layout: &Layout, warm: &WarmStart) -> Start {
    let mut start = Start::idle(layout);
    for price in &warm.prices {
        if price.node >= layout.problem.parents.len() || price.slot >= layout.problem.slots() {
            continue;
        }
        if price.kind >= CONE {
            set_cone_price(layout, price, &mut start.multipliers);
        } else {
            let chunk = layout.rows.lowest(price.node, price.kind, price.slot / LANES);
            if chunk > 0 && layout.rows.chunks[chunk].node == price.node {
                let multiplier = price.money.max(0.0) / layout.scale.multiplier(price.kind);
                start.multipliers[chunk * LANES + price.slot % LANES] = multiplier as f32;
            }
        }
    }
    for cells in &layout.cells {
        let Some(amounts) = warm.amounts.get(cells.session) else {
            continue;
        };
        for (amount, &known) in start.amounts[cells.offset..][..cells.slots].iter_mut().zip(amounts) {
            *amount = (known.max(0) as f64 / layout.scale.amount) as f32;
        }
    }
    start.peak = warm.peak.max(start.peak);
    start.highest_power = start.peak;
    start
}
