//! Reads "evsched-1" instances: a tree of power limits, sessions with energy and greatest power, a price by slot.
//!
//! Decides how such a file becomes a snapshot: every session is a DC connector without losses, so a rate is a power in watts.

use laddplan::domain::conversion::{Conversion, PerRate, Rate, Wiring};
use laddplan::domain::ids::{EvseId, NodeId, SessionId};
use laddplan::domain::limits::Capacity;
use laddplan::domain::session::Tier;
use laddplan::domain::site::{Fairness, RateChoice, Steps};
use laddplan::domain::snapshot::{DemandCharge, SlotGrid, Snapshot, SnapshotNode, SnapshotSession};
use laddplan::units::{Instant, MicrosPerKwh, Seconds, Volts, WattSeconds, Watts};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Instance {
    pub slots: usize,
    pub slot_hours: f64,
    pub price_per_kwh: Vec<f64>,
    pub demand_charge_per_kw: f64,
    pub nodes: Vec<Node>,
    pub sessions: Vec<Session>,
}

#[derive(Deserialize)]
pub struct Node {
    pub parent: i64,
    pub limit_kw: Limit,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Limit {
    Always(f64),
    BySlot(Vec<f64>),
}

#[derive(Deserialize)]
pub struct Session {
    pub node: usize,
    pub arrival: usize,
    pub departure: usize,
    pub energy_kwh: f64,
    pub max_kw: f64,
    pub min_kw: f64,
}

/// How much of the real world a snapshot keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Any whole watt: what the files' known optima are for.
    Continuous,
    /// Zero or from the file's minimum in steps of one ampere at 230 V.
    Steps,
}

impl Instance {
    pub fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(path).expect("the instance can be read");
        serde_json::from_str(&text).expect("the instance is evsched-1")
    }

    pub fn snapshot(&self, detail: Detail, with_demand_charge: bool) -> Snapshot {
        let slot = Seconds::from_secs((self.slot_hours * 3600.0).round() as i64);
        Snapshot {
            grid: SlotGrid::new(Instant::from_unix_secs(0), slot, self.slots),
            nodes: self
                .nodes
                .iter()
                .enumerate()
                .map(|(id, node)| self.node(id, node))
                .collect(),
            sessions: self
                .sessions
                .iter()
                .enumerate()
                .map(|(id, session)| session.snapshot(id, detail))
                .collect(),
            prices: self
                .price_per_kwh
                .iter()
                .map(|price| MicrosPerKwh::from_micros_per_kwh((price * 1e6).round() as i64))
                .collect(),
            demand_charge: with_demand_charge.then(|| DemandCharge {
                micros_per_kw: (self.demand_charge_per_kw * 1e6).round() as i64,
                peak_so_far: Watts::ZERO,
                expected_base: vec![Watts::ZERO; self.slots],
            }),
            fairness: Fairness::MaxMin,
        }
    }

    fn node(&self, id: usize, node: &Node) -> SnapshotNode {
        let limit = |slot: usize| match &node.limit_kw {
            Limit::Always(limit) => *limit,
            Limit::BySlot(limits) => limits[slot],
        };
        SnapshotNode {
            id: NodeId::parse(&format!("node-{id}")).expect("a valid id"),
            parent: usize::try_from(node.parent).ok(),
            available: (0..self.slots)
                .map(|slot| Capacity {
                    total: Some(watts(limit(slot))),
                    ..Capacity::UNLIMITED
                })
                .collect(),
        }
    }
}

impl Session {
    fn snapshot(&self, id: usize, detail: Detail) -> SnapshotSession {
        let (minimum, step) = match detail {
            Detail::Continuous => (1, 1),
            Detail::Steps => (watts(self.min_kw).watts(), 230),
        };
        let conversion = Conversion::new(
            &Wiring::Dc {
                efficiency_percent: 100,
                standby: Watts::ZERO,
            },
            Volts::from_volts(230),
        );
        SnapshotSession {
            id: SessionId::parse(&format!("session-{id}")).expect("a valid id"),
            evse: EvseId::parse(&format!("evse-{id}")).expect("a valid id"),
            node: self.node,
            power: per_watt(&conversion),
            conversion,
            default: Rate::ZERO,
            choice: RateChoice {
                minimum: Rate::new(minimum),
                maximum: Rate::new(watts(self.max_kw).watts()),
                steps: Steps::Multiple(Rate::new(step)),
            },
            first_slot: self.arrival,
            end_slot: self.departure,
            need: Some(WattSeconds::from_watt_hours((self.energy_kwh * 1000.0).round() as i64)),
            guaranteed: WattSeconds::ZERO,
            interruptible: true,
            tier: Tier::NORMAL,
            current: Rate::ZERO,
            planned: Vec::new(),
            arrival: Instant::from_unix_secs(self.arrival as i64),
        }
    }
}

fn per_watt(conversion: &Conversion) -> PerRate {
    conversion.nominal_power(None)
}

fn watts(kilowatts: f64) -> Watts {
    Watts::from_watts((kilowatts * 1000.0).round() as i64)
}
