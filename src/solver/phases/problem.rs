//! The problem in dense indices and integers, a plan for it, and what a plan is worth.
//!
//! Decides nothing. [`Problem::assess`] is the judge of every plan: it shares no code with the search, works in integers alone,
//! and recomputes every load from the plan.
//!
//! # Units
//! A session charges at an integer **rate**; a cell of its plan holds an **amount** = rate x slot length. Limits are in load, where
//! one unit of a session's rate puts `line[k]`, `total` or `uneven[k]` units of load on the rows of that kind at its node and every node
//! above.
//! Money of one unit of amount is `prices[slot] * power`; of one unit left unserved, the session's `penalty`.
//!
//! # Ranges
//! Coefficients, lengths (>= 1), rates, needs, powers and penalties are not negative; a negative limit counts as zero. Prices may be
//! negative. For every node and kind the worst load, the sum of `coefficient * most * length`, and every limit times its length, must
//! stay below 2^60; `penalty` and `price * power` below 2^40; the coefficients of a kind within a factor of 2^10, the tree less
//! than 64 deep; loads under a cone below 2^50. Money is summed in `i128`.

use super::cone::Cone;

/// Kinds of limit that a node may have: on each of the three conductors, on total power, and on each conductor once more, on what may
/// flow there alone.
pub const KINDS: usize = 7;
/// The kind of the limit on total power; the kinds before it are the conductors.
pub const TOTAL: usize = 3;
/// The first kind of the limits on what may flow in one conductor alone.
pub const UNEVEN: usize = 4;

/// Charge the sessions as fully and then as cheaply as the limits allow.
#[derive(Debug, Clone, Default)]
pub struct Problem {
    /// Length of each slot.
    pub lengths: Vec<i64>,
    /// Price of one unit of power over one unit of length, by slot.
    pub prices: Vec<i64>,
    /// The tree: parents before children, node 0 is the root.
    pub parents: Vec<Option<usize>>,
    pub limits: Vec<Limit>,
    pub sessions: Vec<Session>,
    pub demand_charge: Option<DemandCharge>,
    pub cones: Vec<Cone>,
}

/// A limit on one kind of load in the subtree of a node.
#[derive(Debug, Clone)]
pub struct Limit {
    pub node: usize,
    /// Below [`KINDS`].
    pub kind: usize,
    pub by_slot: Vec<i64>,
}

/// One car: where and when it may charge, how fast, how much, and what one unit of its rate loads.
#[derive(Debug, Clone)]
pub struct Session {
    pub node: usize,
    pub first_slot: usize,
    /// Exclusive.
    pub end_slot: usize,
    /// Highest rate.
    pub most: i64,
    /// Amount asked for.
    pub wanted: i64,
    /// Load on each conductor of one unit of rate.
    pub line: [i64; 3],
    /// Load on the total power of one unit of rate.
    pub total: i64,
    /// Load that one unit of rate may put on each conductor while there is none on the others.
    pub uneven: [i64; 3],
    /// Power that one unit of rate is expected to draw: what is paid for, and what makes the site's peak.
    pub power: i64,
    /// Money lost by one unit of amount not served.
    pub penalty: i64,
}

/// Money for the highest power of the site in any slot, its base load included.
#[derive(Debug, Clone)]
pub struct DemandCharge {
    pub price: i64,
    /// The peak that is paid for already.
    pub peak_so_far: i64,
    pub base_load: Vec<i64>,
}

/// The amounts of every session, slot by slot of its stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    offsets: Vec<usize>,
    amounts: Vec<i64>,
}

/// What a feasible plan costs. The parts are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// Money for energy and for the demand charge.
    pub cost: i128,
    /// Money lost by what is not served.
    pub unserved: i128,
    /// Highest power in any slot, rounded up; what is paid for already if that is more. Zero without a demand charge.
    pub peak: i64,
}

/// Why a plan is not a plan for a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The plan has another number of sessions or slots.
    Shape,
    /// A negative amount or one above the session's highest rate.
    Rate { session: usize, slot: usize },
    /// More than was asked for.
    Surplus { session: usize },
    /// A limit is exceeded.
    Excess { node: usize, kind: usize, slot: usize },
    /// A cone is exceeded.
    Beyond { cone: usize, slot: usize },
}

impl Session {
    /// Load that one unit of rate puts on the rows of a kind.
    pub fn coefficient(&self, kind: usize) -> i64 {
        match kind {
            TOTAL => self.total,
            UNEVEN.. => self.uneven[kind - UNEVEN],
            _ => self.line[kind],
        }
    }

    /// Slots of the stay.
    pub fn stay(&self) -> std::ops::Range<usize> {
        self.first_slot..self.end_slot
    }
}

impl Plan {
    /// The plan in which nobody charges.
    pub fn idle(problem: &Problem) -> Plan {
        let mut offsets = Vec::with_capacity(problem.sessions.len() + 1);
        let mut end = 0;
        offsets.push(end);
        for session in &problem.sessions {
            end += session.stay().len();
            offsets.push(end);
        }
        Plan {
            offsets,
            amounts: vec![0; end],
        }
    }

    /// Amounts of one session by slot of its stay.
    pub fn of(&self, session: usize) -> &[i64] {
        &self.amounts[self.offsets[session]..self.offsets[session + 1]]
    }

    /// Amounts of one session, to be changed.
    pub fn of_mut(&mut self, session: usize) -> &mut [i64] {
        &mut self.amounts[self.offsets[session]..self.offsets[session + 1]]
    }
}

impl Value {
    /// What is minimised.
    pub fn total(&self) -> i128 {
        self.cost + self.unserved
    }
}

impl Problem {
    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.lengths.len()
    }

    /// The least that must be paid for: the peak so far and the base load alone.
    pub(super) fn least_peak(&self) -> i64 {
        let base = |charge: &DemandCharge| charge.base_load.iter().copied().fold(charge.peak_so_far, i64::max);
        self.demand_charge.as_ref().map_or(0, base)
    }

    /// Checks a plan against every limit and sums what it costs, from nothing but the problem and the plan.
    pub fn assess(&self, plan: &Plan) -> Result<Value, Fault> {
        if plan.offsets != Plan::idle(self).offsets {
            return Err(Fault::Shape);
        }
        for (index, session) in self.sessions.iter().enumerate() {
            let amounts = plan.of(index);
            for (&amount, slot) in amounts.iter().zip(session.stay()) {
                if amount < 0 || amount > session.most * self.lengths[slot] {
                    return Err(Fault::Rate { session: index, slot });
                }
            }
            if amounts.iter().sum::<i64>() > session.wanted {
                return Err(Fault::Surplus { session: index });
            }
        }
        for kind in 0..KINDS {
            self.check_kind(plan, kind)?;
        }
        self.check_cones(plan)?;
        Ok(self.value(plan))
    }

    fn check_cones(&self, plan: &Plan) -> Result<(), Fault> {
        if self.cones.is_empty() {
            return Ok(());
        }
        let loads = [0, 1, 2].map(|kind| self.loads(plan, kind));
        for (index, cone) in self.cones.iter().enumerate() {
            for slot in 0..self.slots() {
                let at = cone.node * self.slots() + slot;
                if !cone.holds([loads[0][at], loads[1][at], loads[2][at]], slot, self.lengths[slot]) {
                    return Err(Fault::Beyond { cone: index, slot });
                }
            }
        }
        Ok(())
    }

    fn check_kind(&self, plan: &Plan, kind: usize) -> Result<(), Fault> {
        let mut limits = self.limits.iter().filter(|limit| limit.kind == kind).peekable();
        if limits.peek().is_none() {
            return Ok(());
        }
        let (slots, load) = (self.slots(), self.loads(plan, kind));
        for limit in limits {
            for slot in 0..slots {
                if load[limit.node * slots + slot] > limit.by_slot[slot].max(0).saturating_mul(self.lengths[slot]) {
                    return Err(Fault::Excess {
                        node: limit.node,
                        kind,
                        slot,
                    });
                }
            }
        }
        Ok(())
    }

    /// Loads of one kind by node and slot.
    fn loads(&self, plan: &Plan, kind: usize) -> Vec<i64> {
        let slots = self.slots();
        let mut load = vec![0i64; self.parents.len() * slots];
        for (index, session) in self.sessions.iter().enumerate() {
            for (&amount, slot) in plan.of(index).iter().zip(session.stay()) {
                load[session.node * slots + slot] += session.coefficient(kind) * amount;
            }
        }
        for node in (0..self.parents.len()).rev() {
            for slot in 0..slots {
                if let Some(parent) = self.parents[node] {
                    load[parent * slots + slot] += load[node * slots + slot];
                }
            }
        }
        load
    }

    /// What a plan of the right shape is worth.
    pub(super) fn value(&self, plan: &Plan) -> Value {
        let mut power = vec![0i64; self.slots()];
        let mut unserved = 0;
        for (index, session) in self.sessions.iter().enumerate() {
            let mut served = 0;
            for (&amount, slot) in plan.of(index).iter().zip(session.stay()) {
                power[slot] += session.power * amount;
                served += amount;
            }
            unserved += i128::from(session.penalty) * i128::from(session.wanted - served);
        }
        self.value_of(&power, unserved)
    }

    /// The value of a plan from the power in each slot, times its length, and the money lost by what is not served.
    pub(super) fn value_of(&self, power: &[i64], unserved: i128) -> Value {
        let mut cost: i128 = power
            .iter()
            .zip(&self.prices)
            .map(|(&p, &price)| i128::from(p) * i128::from(price))
            .sum();
        let mut peak = 0;
        if let Some(charge) = &self.demand_charge {
            peak = self.least_peak();
            for (slot, &drawn) in power.iter().enumerate() {
                // Rounded up: what is paid for is never understated.
                peak = peak.max(charge.base_load[slot] + (drawn + self.lengths[slot] - 1) / self.lengths[slot]);
            }
            cost += i128::from(charge.price) * i128::from(peak);
        }
        Value { cost, unserved, peak }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two slots of lengths 1 and 2; a feeder under the root; one car that loads the first conductor twice.
    fn problem() -> Problem {
        let session = Session {
            node: 1,
            first_slot: 0,
            end_slot: 2,
            most: 10,
            wanted: 25,
            line: [2, 0, 0],
            total: 0,
            uneven: [0; 3],
            power: 3,
            penalty: 100,
        };
        Problem {
            lengths: vec![1, 2],
            prices: vec![5, 7],
            parents: vec![None, Some(0)],
            limits: vec![Limit {
                node: 0,
                kind: 0,
                by_slot: vec![100, 10],
            }],
            sessions: vec![session],
            cones: Vec::new(),
            demand_charge: Some(DemandCharge {
                price: 11,
                peak_so_far: 4,
                base_load: vec![1, 6],
            }),
        }
    }

    fn plan(amounts: [i64; 2]) -> Plan {
        let mut plan = Plan::idle(&problem());
        plan.of_mut(0).copy_from_slice(&amounts);
        plan
    }

    #[test]
    fn a_plan_is_worth_what_it_is() {
        let value = problem().assess(&plan([10, 9])).expect("the plan is feasible");
        // Power 30 in the first slot; 27 over a length of 2 in the second, rounded up, and the base load of 6.
        assert_eq!(value.peak, 31);
        assert_eq!(value.cost, 5 * 30 + 7 * 27 + 11 * 31);
        assert_eq!(value.unserved, 100 * 6);
        assert_eq!(value.total(), value.cost + value.unserved);
    }

    #[test]
    fn every_fault_is_found() {
        let problem = problem();
        assert_eq!(problem.assess(&plan([11, 0])), Err(Fault::Rate { session: 0, slot: 0 }));
        assert_eq!(problem.assess(&plan([-1, 0])), Err(Fault::Rate { session: 0, slot: 0 }));
        assert_eq!(problem.assess(&plan([10, 20])), Err(Fault::Surplus { session: 0 }));
        // 2 x 11 is more than 10 over a length of 2.
        assert_eq!(
            problem.assess(&plan([0, 11])),
            Err(Fault::Excess {
                node: 0,
                kind: 0,
                slot: 1
            })
        );
        assert_eq!(problem.assess(&Plan::default()), Err(Fault::Shape));
    }

    #[test]
    fn a_negative_limit_counts_as_zero() {
        let mut problem = problem();
        problem.limits[0].by_slot[0] = -5;
        assert!(problem.assess(&plan([0, 5])).is_ok());
        assert_eq!(
            problem.assess(&plan([1, 5])),
            Err(Fault::Excess {
                node: 0,
                kind: 0,
                slot: 0
            })
        );
    }
}
