//! An instance with one limit at each node as the solver's flow takes it.
//!
//! Decides the unit that a flow counts in, and how money becomes integers; both are exact.
#![allow(dead_code, reason = "each test, bench and example uses its part of it")]

use super::instances::{Instance, Unit};
use laddplan::solver::flow::peak::PeakCharge;
use laddplan::solver::flow::{Network, Session, Task};

pub struct FlowForm {
    pub network: Network,
    capacities: Vec<i32>,
    wanted: Vec<i64>,
    prices: Vec<i64>,
    penalty: i64,
    /// Of one unit of power.
    peak_price: i64,
    no_base: Vec<i64>,
    /// What one unit of the flow's money is worth.
    money: f64,
}

/// The finest decimal part of the unit in which all sums still fit the flow.
pub fn finest_parts(instance: &Instance) -> i64 {
    const FINEST: i64 = 1_000_000;
    let connected: i64 = instance.sessions.iter().map(|session| session.most).sum();
    let longest = instance.lengths.iter().copied().max().unwrap_or(1);
    let fits = |parts: &i64| (connected * longest).saturating_mul(*parts) < i64::from(i32::MAX);
    let parts = std::iter::successors(Some(FINEST), |parts| Some(parts / 10));
    parts.take_while(|parts| *parts > 1).find(fits).unwrap_or(1)
}

impl FlowForm {
    /// # Errors
    /// If the instance is no flow, or its sums do not fit one.
    pub fn new(instance: &Instance) -> Result<Self, String> {
        if instance.unit != Unit::Watt {
            return Err("limits on each conductor are no flow".to_owned());
        }
        let by_length = greatest_common_divisor(instance.slot_seconds, 3_600);
        let (price_times, peak_times) = (instance.slot_seconds / by_length, 3_600 / by_length);
        let penalty = instance.penalty * price_times;
        let sessions: Vec<Session> = (instance.sessions.iter())
            .map(|session| {
                Ok(Session {
                    node: session.node,
                    first_slot: session.arrival,
                    end_slot: session.departure,
                    most: small(session.most)?,
                })
            })
            .collect::<Result<_, String>>()?;
        let lengths: Vec<i32> = (instance.lengths.iter())
            .map(|length| small(*length))
            .collect::<Result<_, _>>()?;
        let parents = instance.nodes.iter().map(|node| node.parent).collect();
        Ok(Self {
            network: Network::new(lengths, parents, sessions),
            capacities: capacities(instance)?,
            wanted: instance.sessions.iter().map(|session| session.energy).collect(),
            // In a slot that costs more than not to serve, nothing can be charged.
            prices: instance
                .prices
                .iter()
                .map(|price| (price * price_times).min(penalty))
                .collect(),
            penalty,
            peak_price: instance.demand_charge * peak_times,
            no_base: vec![0; instance.slots()],
            money: by_length as f64 / instance.parts as f64 / (1e3 * 1e6 * 3_600.0),
        })
    }

    pub fn task(&self) -> Task<'_> {
        Task {
            capacities: &self.capacities,
            wanted: &self.wanted,
            prices: &self.prices,
            penalty: self.penalty,
        }
    }

    pub fn charge(&self) -> PeakCharge<'_> {
        PeakCharge {
            price: self.peak_price,
            so_far: 0,
            base: &self.no_base,
        }
    }

    /// Where a peak may lie between two units, no plan costs less than a proven bound less this.
    pub fn between_two_peaks(&self) -> i128 {
        i128::from(self.peak_price)
    }

    pub fn money(&self, counted: i128) -> f64 {
        counted as f64 * self.money
    }
}

/// By node, then slot; none above what all sessions below could carry.
fn capacities(instance: &Instance) -> Result<Vec<i32>, String> {
    let mut connected = vec![0_i64; instance.nodes.len()];
    for session in &instance.sessions {
        for node in instance.path(session.node) {
            connected[node] += session.most;
        }
    }
    let mut capacities = Vec::with_capacity(instance.nodes.len() * instance.slots());
    for (index, node) in instance.nodes.iter().enumerate() {
        for (slot, length) in instance.lengths.iter().enumerate() {
            let is_worth_it = index > 0 || instance.prices[slot] <= instance.penalty;
            let limit = if is_worth_it { node.limits[0].at(slot) } else { 0 };
            capacities.push(small(limit.clamp(0, connected[index]) * length)?);
        }
    }
    Ok(capacities)
}

fn small(value: i64) -> Result<i32, String> {
    i32::try_from(value).map_err(|_| format!("{value} is more than the flow can count"))
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
