//! Charging problems as plain numbers, for tests, benches and examples: a tree of limits, sessions, prices.
//!
//! Decides what an instance means, in exact integers; knows nothing of any solver. Files of the schemas "evsched-1" (limits on total
//! power) and "evsched-3p-1" (limits on each conductor) are read by [`reader`] and written by [`writer`]; new ones are drawn by
//! [`generator`] (days at real sites) and [`wild`] (anything that is valid).
#![allow(dead_code, reason = "each test, bench and example uses its part of it")]

pub mod generator;
pub mod random;
pub mod reader;
pub mod wild;
pub mod writer;

/// Choose a rate for each session in each slot of its stay: least cost of energy, of what is not served, and of the peak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub name: String,
    pub unit: Unit,
    /// Rates and limits are counted in so many parts of the unit.
    pub parts: i64,
    /// What a slot of length one lasts.
    pub slot_seconds: i64,
    /// By slot. Energy is counted as rate times length.
    pub lengths: Vec<i64>,
    /// Millionths per kWh, by slot.
    pub prices: Vec<i64>,
    /// Millionths per kW of the highest power in any slot.
    pub demand_charge: i64,
    /// Millionths per kWh that is asked for and not served.
    pub penalty: i64,
    /// The root is the first; parents come before their children.
    pub nodes: Vec<Node>,
    pub sessions: Vec<Session>,
}

/// What rates are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Watts in all: nodes have one limit.
    Watt,
    /// Milliamperes on each phase of the session: nodes have three limits.
    MilliampPerPhase { volts: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub parent: Option<usize>,
    /// One, or one for each conductor.
    pub limits: Vec<Limit>,
}

/// The highest sum of rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    Always(i64),
    BySlot(Vec<i64>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub node: usize,
    pub arrival: usize,
    /// The first slot in which it is no longer there.
    pub departure: usize,
    /// Which of its node's limits it counts against: the only one, or those of its phases.
    pub lines: Vec<usize>,
    /// The highest rate, and the lowest above zero; the latter binds only where a problem with minimum currents is asked for.
    pub most: i64,
    pub least: i64,
    /// What is asked for: rate times length.
    pub energy: i64,
}

/// Rate times length, by session and slot of its stay.
pub type Amounts = Vec<Vec<i64>>;

impl Unit {
    /// How many limits a node has.
    pub fn lines(self) -> usize {
        match self {
            Self::Watt => 1,
            Self::MilliampPerPhase { .. } => 3,
        }
    }
}

impl Limit {
    pub fn at(&self, slot: usize) -> i64 {
        match self {
            Self::Always(limit) => *limit,
            Self::BySlot(limits) => limits[slot],
        }
    }
}

impl Session {
    pub fn stay(&self) -> std::ops::Range<usize> {
        self.arrival..self.departure
    }
}

impl Instance {
    pub fn slots(&self) -> usize {
        self.lengths.len()
    }

    /// Sessions times slots of their stays.
    pub fn cells(&self) -> usize {
        self.sessions.iter().map(|session| session.stay().len()).sum()
    }

    /// The power of a rate of one, in mW by [`Instance::parts`].
    pub fn milliwatts(&self, session: &Session) -> i64 {
        match self.unit {
            Unit::Watt => 1_000,
            Unit::MilliampPerPhase { volts } => volts * session.lines.len() as i64,
        }
    }

    /// The same instance in units `times` smaller.
    pub fn finer(&self, times: i64) -> Self {
        let mut finer = self.clone();
        finer.parts *= times;
        for limit in finer.nodes.iter_mut().flat_map(|node| &mut node.limits) {
            match limit {
                Limit::Always(limit) => *limit *= times,
                Limit::BySlot(limits) => limits.iter_mut().for_each(|limit| *limit *= times),
            }
        }
        for session in &mut finer.sessions {
            session.most *= times;
            session.least *= times;
            session.energy *= times;
        }
        finer
    }

    /// A node and all nodes above it.
    pub fn path(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(Some(node), |node| self.nodes[*node].parent)
    }
}
