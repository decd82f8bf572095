//! Judges a plan for an instance from these two alone, in integers.
//!
//! Decides whether every limit is kept and what the plan costs. It shares no code with any solver, and recomputes every sum.
#![allow(dead_code, reason = "each test, bench and example uses its part of it")]

use super::instances::{Amounts, Instance};

/// Money is counted in millionths per kWh times milliwatts times seconds: exact for all that an instance holds.
const MONEY: f64 = 1e6 * 1e6 * 3_600.0;

/// What a plan that keeps all limits is worth; power in mW by the instance's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    /// Power times slot lengths.
    pub unserved: i128,
    pub energy_cost: i128,
    pub penalties: i128,
    /// Of the highest power, rounded up where a slot is longer than one.
    pub demand_cost: i128,
    parts: i64,
}

impl Worth {
    pub fn money(&self) -> f64 {
        (self.energy_cost + self.penalties) as f64 / MONEY / self.parts as f64
    }

    pub fn unserved_kwh(&self, instance: &Instance) -> f64 {
        self.unserved as f64 * instance.slot_seconds as f64 / (1e6 * 3_600.0 * self.parts as f64)
    }

    pub fn money_with_demand_charge(&self) -> f64 {
        (self.energy_cost + self.penalties + self.demand_cost) as f64 / MONEY / self.parts as f64
    }
}

/// What `amounts` are worth, or the first limit they break.
pub fn check(instance: &Instance, amounts: &Amounts) -> Result<Worth, String> {
    if amounts.len() != instance.sessions.len() {
        return Err(format!(
            "{} rows for {} sessions",
            amounts.len(),
            instance.sessions.len()
        ));
    }
    let slots = instance.slots();
    let mut loads = vec![vec![0_i64; slots * instance.unit.lines()]; instance.nodes.len()];
    let mut power = vec![0_i128; slots];
    let mut worth = Worth {
        unserved: 0,
        energy_cost: 0,
        penalties: 0,
        demand_cost: 0,
        parts: instance.parts,
    };
    for (index, session) in instance.sessions.iter().enumerate() {
        let amounts = &amounts[index];
        if amounts.len() != session.stay().len() {
            return Err(format!("session {index} has {} slots", amounts.len()));
        }
        for (amount, slot) in amounts.iter().zip(session.stay()) {
            if !(0..=session.most * instance.lengths[slot]).contains(amount) {
                return Err(format!("session {index} takes {amount} in slot {slot}"));
            }
            power[slot] += i128::from(*amount * instance.milliwatts(session));
            for node in instance.path(session.node) {
                for line in &session.lines {
                    loads[node][line * slots + slot] += amount;
                }
            }
        }
        let served: i64 = amounts.iter().sum();
        if served > session.energy {
            return Err(format!("session {index} gets {served} of {}", session.energy));
        }
        worth.unserved += i128::from((session.energy - served) * instance.milliwatts(session));
    }
    check_limits(instance, &loads)?;
    let seconds = i128::from(instance.slot_seconds);
    let by_slot = power.iter().zip(&instance.prices);
    worth.energy_cost = by_slot.map(|(power, price)| power * i128::from(*price)).sum::<i128>() * seconds;
    worth.penalties = worth.unserved * i128::from(instance.penalty) * seconds;
    let peak = power.iter().zip(&instance.lengths).map(|(power, length)| {
        let length = i128::from(*length);
        (power + length - 1) / length
    });
    worth.demand_cost = i128::from(instance.demand_charge) * peak.max().unwrap_or(0) * 3_600;
    Ok(worth)
}

fn check_limits(instance: &Instance, loads: &[Vec<i64>]) -> Result<(), String> {
    let slots = instance.slots();
    for (index, (node, loads)) in instance.nodes.iter().zip(loads).enumerate() {
        for (line, limit) in node.limits.iter().enumerate() {
            for slot in 0..slots {
                let (load, most) = (loads[line * slots + slot], limit.at(slot) * instance.lengths[slot]);
                // A limit below zero leaves nothing.
                if load > most.max(0) {
                    return Err(format!(
                        "node {index} carries {load} of {most} on line {line} in slot {slot}"
                    ));
                }
            }
        }
    }
    Ok(())
}
