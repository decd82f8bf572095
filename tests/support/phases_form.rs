//! An instance with any limits as the solver's search for mixed phases takes it.
//!
//! Decides how limits and money become its integers; both are exact.
#![allow(dead_code, reason = "each test, bench and example uses its part of it")]

use super::instances::{Amounts, Instance, Unit};
use laddplan::solver::phases::{DemandCharge, Limit, Plan, Problem, Session, TOTAL};

pub struct PhasesForm {
    pub problem: Problem,
    /// What one unit of the problem's money is worth.
    money: f64,
}

impl PhasesForm {
    pub fn new(instance: &Instance, demand_charge: bool) -> Self {
        let by_length = greatest_common_divisor(instance.slot_seconds, 3_600);
        let (price_times, peak_times) = (instance.slot_seconds / by_length, 3_600 / by_length);
        let sessions = instance.sessions.iter().map(|session| {
            let power = instance.milliwatts(session);
            let mut line = [0; 3];
            if instance.unit != Unit::Watt {
                session.lines.iter().for_each(|index| line[*index] = 1);
            }
            Session {
                node: session.node,
                first_slot: session.arrival,
                end_slot: session.departure,
                most: session.most,
                wanted: session.energy,
                line,
                total: i64::from(instance.unit == Unit::Watt),
                uneven: [0; 3],
                power,
                penalty: instance.penalty * price_times * power,
            }
        });
        let problem = Problem {
            lengths: instance.lengths.clone(),
            prices: instance.prices.iter().map(|price| price * price_times).collect(),
            parents: instance.nodes.iter().map(|node| node.parent).collect(),
            limits: limits(instance),
            sessions: sessions.collect(),
            cones: Vec::new(),
            demand_charge: demand_charge.then(|| DemandCharge {
                price: instance.demand_charge * peak_times,
                peak_so_far: 0,
                base_load: vec![0; instance.slots()],
            }),
        };
        Self {
            problem,
            money: by_length as f64 / instance.parts as f64 / (1e6 * 1e6 * 3_600.0),
        }
    }

    /// # Errors
    /// If a number is larger than the solver counts with; names its field in a file.
    pub fn check_ranges(&self) -> Result<(), String> {
        const MOST_MONEY: i128 = 1 << 40;
        const MOST_LOAD: i128 = 1 << 60;
        let problem = &self.problem;
        let power = problem.sessions.iter().map(|session| session.power).max().unwrap_or(0);
        let dearest = problem.prices.iter().map(|price| price.abs()).max().unwrap_or(0);
        if i128::from(dearest) * i128::from(power) >= MOST_MONEY {
            return Err("price_per_kwh: a price is out of range".to_owned());
        }
        if problem
            .sessions
            .iter()
            .any(|session| i128::from(session.penalty) >= MOST_MONEY)
        {
            return Err("unserved_penalty_per_kwh: is out of range".to_owned());
        }
        let charge = problem.demand_charge.as_ref().map_or(0, |charge| charge.price);
        if i128::from(charge) >= MOST_MONEY {
            return Err("demand_charge_per_kw: is out of range".to_owned());
        }
        let longest = problem.lengths.iter().copied().max().unwrap_or(1);
        let worst: i128 = problem.sessions.iter().map(|session| i128::from(session.most)).sum();
        if worst * i128::from(longest) >= MOST_LOAD {
            return Err("sessions.max_a: the sum is out of range".to_owned());
        }
        let highest = problem.limits.iter().flat_map(|limit| &limit.by_slot).max();
        if highest.is_some_and(|highest| i128::from(*highest) * i128::from(longest) >= MOST_LOAD) {
            return Err("nodes.limit_a: a limit is out of range".to_owned());
        }
        Ok(())
    }

    pub fn money(&self, counted: i128) -> f64 {
        counted as f64 * self.money
    }

    pub fn amounts(&self, plan: &Plan) -> Amounts {
        (0..self.problem.sessions.len())
            .map(|session| plan.of(session).to_vec())
            .collect()
    }
}

fn limits(instance: &Instance) -> Vec<Limit> {
    let nodes = instance.nodes.iter().enumerate();
    let by_node = nodes.flat_map(|(node, limited)| {
        limited.limits.iter().enumerate().map(move |(line, limit)| Limit {
            node,
            kind: match instance.unit {
                Unit::Watt => TOTAL,
                Unit::MilliampPerPhase { .. } => line,
            },
            // In a slot that costs more than not to serve, nothing can be charged.
            by_slot: (0..instance.slots())
                .map(|slot| match instance.prices[slot] <= instance.penalty {
                    true => limit.at(slot),
                    false => 0,
                })
                .collect(),
        })
    });
    by_node.collect()
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
