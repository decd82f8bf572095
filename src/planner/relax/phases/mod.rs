//! Sites where cars load the supply differently: single-phase beside three-phase, AC beside DC, or between two lines.
//!
//! Decides how such a site becomes a problem of [`crate::solver::phases`]: loads are rounded down and energy up, so that every plan that
//! keeps the limits is a plan there, and bounds hold for the plan that comes of it. First the energy, if the greedy plan does not show
//! that all can be served: then the money that this energy costs at least. How scarce energy is divided within a class is left to
//! the repair.
//!
//! Lines that cars lie between are limited by [`cones`], in the currents of the pairs. Those have no place for a car on one line alone:
//! where both are below one connection, [`super::programs`] add their magnitudes.

mod conductors;
mod cones;
mod limits;

use super::super::problem::Problem;
use super::{Relaxed, Settled, is_searched};
use crate::domain::conversion::{PerRate, Rate};
use crate::domain::plan::{Note, Outcome};
use crate::solver::phases;
use crate::units::{DeciAmps, MoneyMicros, WattSeconds, Watts};
use conductors::Conductors;

/// Units of load for a deciampere or a watt, and of power for a watt: what a unit of rate counts for is a whole number of them.
const LOAD_PARTS: i64 = 1 << 16;
const POWER_PARTS: i64 = 10;
/// More than any site carries, in parts.
const UNLIMITED: i64 = 1 << 46;
/// Watt-seconds in a kilowatt-hour.
const KWH: i128 = 3_600_000;
/// Value and bound differ by at most so many millionths.
const GAP_MILLIONTHS: u32 = 1_000;
/// While energy is searched for, a unit of it counts for so much, that prices for a part of load are fine enough.
const WORTH: i64 = 1 << 10;
/// Earlier classes count so many times as much as the next, while their energy is searched for.
const CLASS_WEIGHT: i64 = 8;
/// Weights do not grow beyond this.
const MOST_WEIGHT: i64 = 1 << 12;
/// With a peak to be found, prices have so many times as far to go.
const PEAK_WEIGHT: f64 = 5.0;
/// Money for a unit of energy stays below this: prices are counted more coarsely where they would not.
const MOST_PENALTY: i64 = 1 << 38;

/// A site as a problem with several kinds of limit.
pub(super) struct Site<'p> {
    problem: &'p Problem<'p>,
    settled: Settled<'p>,
    /// The sessions of the problem that are searched for.
    searched: Vec<usize>,
    /// With prices and penalties of zero.
    limits: phases::Problem,
    /// Every feasible plan is a plan for `limits`.
    is_outer: bool,
}

impl<'p> Site<'p> {
    /// `None` where cars draw without a profile, or where some lie between two lines and others on one of them.
    pub(super) fn new(problem: &'p Problem<'p>, settled: Settled<'p>) -> Option<Self> {
        let searched: Vec<usize> = (0..problem.session_count())
            .filter(|session| is_searched(problem, *session))
            .collect();
        let has_default = |session: &usize| problem.session(*session).default != Rate::ZERO;
        if searched.iter().any(has_default) {
            return None;
        }
        let conductors = Conductors::new(searched.iter().map(|session| &problem.session(*session).conversion))?;
        let carried = settled.carried();
        let sessions = searched.iter().map(|session| session_of(problem, *session, conductors));
        let limits = phases::Problem {
            lengths: (0..problem.slots).map(|slot| problem.seconds(slot).secs()).collect(),
            prices: vec![0; problem.slots],
            parents: limits::parents(problem),
            limits: limits::of(problem, conductors, &carried),
            sessions: sessions.collect(),
            demand_charge: None,
            cones: cones::of(problem, conductors, &carried),
        };
        // Beside currents between lines that are there already, cones are cut short by all of their length.
        let is_outer = conductors == Conductors::Lines || carried.iter().all(|load| load.delta == [DeciAmps::ZERO; 3]);
        Some(Self {
            problem,
            settled,
            searched,
            limits,
            is_outer,
        })
    }

    /// Cells: one for each session and slot of its stay.
    pub(super) fn cells(&self) -> usize {
        self.limits.sessions.iter().map(|session| session.stay().len()).sum()
    }

    /// Whether the greedy plan serves everyone, so that only money is at stake.
    pub(super) fn is_ample(&self) -> bool {
        let missing = |session: &usize| self.settled.greedy.missing(*session);
        self.searched
            .iter()
            .all(|session| missing(session) == WattSeconds::ZERO)
    }

    /// Whether all count alike while energy is searched for, so that what is proven of all energy is tight.
    pub(super) fn has_one_class(&self) -> bool {
        self.weights().min() == self.weights().max()
    }

    /// At most `iterations` of the search, over both stages.
    pub(super) fn relax(&self, iterations: u32) -> Relaxed {
        let energy = self.most_energy(iterations / 2);
        let asked: i128 = self
            .limits
            .sessions
            .iter()
            .map(|session| i128::from(session.power) * i128::from(session.wanted))
            .sum();
        let most = (asked - energy.unserved_bound).div_euclid(i128::from(POWER_PARTS));
        let money = Money::new(self, &energy.served);
        let budget = iterations - energy.iterations;
        let start = energy.outcome.map(|energy| money.start_from(energy));
        let outcome = self.solve(&money.problem, start.as_ref(), budget);
        let stages = [("energy", energy.is_close), ("money", is_close(&outcome))];
        let unfinished = stages.into_iter().find(|(_, is_close)| !is_close);
        let charge = &money.problem.demand_charge;
        Relaxed {
            rates: self.rates(&outcome.plan),
            peak: charge
                .as_ref()
                .map(|_| Watts::from_watts((outcome.value.peak + POWER_PARTS - 1).div_euclid(POWER_PARTS))),
            delivered: Some(WattSeconds::from_watt_seconds(whole(most)) + self.settled.energy()),
            cost: Some(money.micros(outcome.bound) + self.settled.cost()),
            proven: self.is_outer && self.settled.is_without_alternative(),
            iterations: energy.iterations + outcome.iterations as u32,
            outcome: match unfinished {
                None => Outcome::Optimal,
                Some(_) => Outcome::BudgetSpent,
            },
            stopped: unfinished.map(|(stage, _)| Note::SearchStopped {
                stage: stage.to_owned(),
                reason: "the budget of iterations is spent".to_owned(),
            }),
        }
    }

    fn solve(&self, problem: &phases::Problem, start: Option<&phases::WarmStart>, iterations: u32) -> phases::Outcome {
        let budget = phases::Budget {
            iterations: iterations as usize,
            gap_millionths: GAP_MILLIONTHS,
        };
        phases::solve(problem, start, budget)
    }

    /// The most energy, earlier classes before later ones.
    fn most_energy(&self, iterations: u32) -> Energy {
        let wanted = self.limits.sessions.iter().map(|session| session.wanted);
        if self.is_ample() {
            return Energy {
                served: wanted.collect(),
                unserved_bound: 0,
                is_close: true,
                iterations: 0,
                outcome: None,
            };
        }
        let mut problem = self.limits.clone();
        for (session, weight) in problem.sessions.iter_mut().zip(self.weights()) {
            session.penalty = WORTH * weight * session.power;
        }
        let outcome = self.solve(&problem, None, iterations);
        // What is missing counts at most by the largest weight, so at least so much is missing.
        let largest = self.weights().max().unwrap_or(1);
        Energy {
            served: (0..wanted.len())
                .map(|session| outcome.plan.of(session).iter().sum())
                .collect(),
            unserved_bound: outcome.unserved_bound.div_euclid(i128::from(WORTH * largest)),
            is_close: is_close(&outcome),
            iterations: outcome.iterations as u32,
            outcome: Some(outcome),
        }
    }

    /// What a unit of energy of each searched session counts for while energy is searched for: one in the last class.
    fn weights(&self) -> impl Iterator<Item = i64> + '_ {
        let last = self.problem.classes.len().saturating_sub(1);
        self.searched.iter().map(move |index| {
            let later = last - self.problem.class_of(*index).unwrap_or(last).min(last);
            CLASS_WEIGHT.saturating_pow(later as u32).min(MOST_WEIGHT)
        })
    }

    /// By session of the problem, then slot.
    fn rates(&self, plan: &phases::Plan) -> Vec<f64> {
        let mut rates = vec![0.0; self.problem.session_count() * self.problem.slots];
        for (at, index) in self.searched.iter().enumerate() {
            let stay = self.limits.sessions[at].stay();
            for (amount, slot) in plan.of(at).iter().zip(stay) {
                let seconds = self.limits.lengths[slot];
                rates[index * self.problem.slots + slot] = *amount as f64 / seconds as f64;
            }
        }
        rates
    }
}

/// What the first stage found.
struct Energy {
    /// By searched session, as the problem counts amounts.
    served: Vec<i64>,
    /// In every plan at least so much is missing, in parts of power.
    unserved_bound: i128,
    is_close: bool,
    iterations: u32,
    /// None where nothing had to be searched for.
    outcome: Option<phases::Outcome>,
}

/// Whether value and bound differ by no more than is allowed.
fn is_close(outcome: &phases::Outcome) -> bool {
    let gap = outcome.value.total() - outcome.bound;
    gap * 1_000_000 <= outcome.value.total().abs() * i128::from(GAP_MILLIONTHS)
}

/// The problem of what the energy costs at least.
struct Money {
    problem: phases::Problem,
    /// Prices are counted in so many millionths per kilowatt-hour.
    coarseness: i64,
    /// For a unit of energy that is not served.
    penalty: i64,
    /// What was paid for the peak before.
    paid: i128,
}

impl Money {
    fn new(site: &Site, served: &[i64]) -> Self {
        let snapshot = site.problem.snapshot;
        let prices = snapshot.prices.iter().map(|price| price.micros_per_kwh());
        let dearest = prices.clone().map(i64::abs).max().unwrap_or(0);
        // Of a tenth of a watt; so much that a second of it for an hour is its price per kilowatt.
        let charge = snapshot
            .demand_charge
            .as_ref()
            .filter(|charge| charge.micros_per_kw > 0);
        let peak_price = charge.map_or(0, |charge| charge.micros_per_kw.saturating_mul(3_600));
        // More than energy can cost, so that none is given up: a unit in a slot of full length, and a new peak for it.
        let length = snapshot.grid.length().secs();
        let penalty = (2 * dearest + 1).saturating_add(peak_price / length);
        let strongest = site
            .limits
            .sessions
            .iter()
            .map(|session| session.power)
            .max()
            .unwrap_or(1);
        let largest = i128::from(penalty) * i128::from(strongest.max(1));
        let coarseness = 1 + whole(largest / i128::from(MOST_PENALTY)).max(peak_price / MOST_PENALTY);
        let mut problem = site.limits.clone();
        problem.prices = prices.map(|price| price.div_euclid(coarseness)).collect();
        for (session, served) in problem.sessions.iter_mut().zip(served) {
            session.wanted = *served;
            session.penalty = penalty / coarseness * session.power;
        }
        problem.demand_charge = charge.map(|charge| phases::DemandCharge {
            price: peak_price / coarseness,
            peak_so_far: charge.peak_so_far.watts().saturating_mul(POWER_PARTS),
            base_load: (0..site.problem.slots)
                .map(|slot| site.settled.draw(slot).watts().saturating_mul(POWER_PARTS))
                .collect(),
        });
        let paid = problem.demand_charge.as_ref();
        let paid = paid.map_or(0, |charge| i128::from(charge.price) * i128::from(charge.peak_so_far));
        Self {
            problem,
            penalty: penalty / coarseness,
            coarseness,
            paid,
        }
    }

    /// Where the search for energy left off, with its prices in money. What is scarce has the same price as before, in units of what is
    /// lost by not serving; only that slots are not equally dear is new.
    fn start_from(&self, energy: phases::Outcome) -> phases::WarmStart {
        let mut start = energy.warm_start;
        for price in &mut start.prices {
            price.money *= self.penalty as f64 / WORTH as f64;
        }
        if self.problem.demand_charge.is_some() {
            start.peak = self.problem.assess(&energy.plan).map_or(0, |value| value.peak);
            start.weight *= PEAK_WEIGHT;
        }
        start
    }

    fn micros(&self, value: i128) -> MoneyMicros {
        let parts = KWH * i128::from(POWER_PARTS);
        MoneyMicros::from_micros(whole(
            ((value - self.paid) * i128::from(self.coarseness)).div_euclid(parts),
        ))
    }
}

fn whole(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn session_of(problem: &Problem, index: usize, conductors: Conductors) -> phases::Session {
    let session = problem.session(index);
    let power = session.power.amount_of(i128::from(POWER_PARTS));
    let wanted = session
        .power
        .rates_for(i128::from(problem.wanted(index).watt_seconds()))
        .unwrap_or(0);
    phases::Session {
        node: problem.path(index).first().map_or(0, |node| node + 1),
        first_slot: session.first_slot,
        end_slot: session.end_slot,
        most: session.choice.floor(session.choice.maximum).value(),
        wanted: whole(wanted),
        line: conductors.loads(&session.conversion),
        total: parts(session.conversion.total),
        // Cars that differ in nothing that can bind are searched as one kind.
        uneven: if problem.unbalance_can_bind() {
            session.conversion.uneven.map(parts)
        } else {
            [0; 3]
        },
        power: whole(power),
        penalty: 0,
    }
}

/// What a unit of rate counts for, rounded down.
fn parts(load: PerRate) -> i64 {
    whole(load.amount_of(i128::from(LOAD_PARTS)))
}

#[cfg(test)]
mod tests;
