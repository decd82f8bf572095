//! An instance as the planner takes it: a snapshot of a site.
//!
//! Decides what a rate is: a watt of a DC connector without losses where limits are on total power, a tenth of an ampere of an AC connector
//! where they are on conductors. Both are exact.
#![allow(dead_code, reason = "each test, bench and example uses its part of it")]

use super::instances::{Amounts, Instance, Node, Session, Unit};
use laddplan::domain::conversion::{Conversion, Phase, Rate, Wiring};
use laddplan::domain::ids::{EvseId, NodeId, SessionId};
use laddplan::domain::limits::Capacity;
use laddplan::domain::plan::Plan;
use laddplan::domain::session::Tier;
use laddplan::domain::site::{Fairness, RateChoice, Steps};
use laddplan::domain::snapshot::{DemandCharge, SlotGrid, Snapshot, SnapshotNode, SnapshotSession};
use laddplan::units::{DeciAmps, Instant, MicrosPerKwh, Seconds, Volts, WattSeconds, Watts};

/// How much of the real world a snapshot keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Any rate: what linear programs are for.
    Continuous,
    /// Zero or at least the session's minimum.
    Minimum,
    /// Zero or from the minimum in steps of one ampere.
    Steps,
}

/// An instance in whole units as a snapshot.
pub fn snapshot(instance: &Instance, detail: Detail, demand_charge: bool) -> Snapshot {
    assert!(instance.lengths.iter().all(|length| *length == 1) && instance.parts == 1);
    let (nodes, sessions) = (instance.nodes.iter().enumerate(), instance.sessions.iter().enumerate());
    Snapshot {
        grid: SlotGrid::new(
            Instant::from_unix_secs(0),
            Seconds::from_secs(instance.slot_seconds),
            instance.slots(),
        ),
        nodes: nodes.map(|(id, node)| snapshot_node(instance, id, node)).collect(),
        sessions: sessions
            .map(|(id, session)| snapshot_session(instance, id, session, detail))
            .collect(),
        prices: (instance.prices.iter())
            .map(|price| MicrosPerKwh::from_micros_per_kwh(*price))
            .collect(),
        demand_charge: demand_charge.then(|| DemandCharge {
            micros_per_kw: instance.demand_charge,
            peak_so_far: Watts::ZERO,
            expected_base: vec![Watts::ZERO; instance.slots()],
        }),
        fairness: Fairness::MaxMin,
    }
}

/// What a plan for the snapshot gives, in the instance's units.
pub fn amounts(instance: &Instance, plan: &Plan) -> Amounts {
    (instance.sessions.iter().zip(&plan.schedules))
        .map(|(session, schedule)| {
            let rates = &schedule.rates[session.stay()];
            rates
                .iter()
                .map(|rate| rate.value() * per_rate(instance.unit))
                .collect()
        })
        .collect()
}

/// Of the instance's units in one rate.
fn per_rate(unit: Unit) -> i64 {
    match unit {
        Unit::Watt => 1,
        Unit::MilliampPerPhase { .. } => 100,
    }
}

fn snapshot_node(instance: &Instance, id: usize, node: &Node) -> SnapshotNode {
    let available = (0..instance.slots()).map(|slot| match instance.unit {
        Unit::Watt => Capacity {
            total: Some(Watts::from_watts(node.limits[0].at(slot))),
            ..Capacity::UNLIMITED
        },
        Unit::MilliampPerPhase { .. } => Capacity {
            line: [0, 1, 2].map(|line| Some(DeciAmps::from_deciamps(node.limits[line].at(slot) / 100))),
            ..Capacity::UNLIMITED
        },
    });
    SnapshotNode {
        id: NodeId::parse(&format!("node-{id}")).expect("a valid id"),
        parent: node.parent,
        available: available.collect(),
    }
}

fn snapshot_session(instance: &Instance, id: usize, session: &Session, detail: Detail) -> SnapshotSession {
    let conversion = conversion(instance.unit, session);
    let per_rate = per_rate(instance.unit);
    let ampere = match instance.unit {
        Unit::Watt => 230,
        Unit::MilliampPerPhase { .. } => 10,
    };
    let (minimum, step) = match detail {
        Detail::Continuous => (1, 1),
        Detail::Minimum => (session.least / per_rate, 1),
        Detail::Steps => (session.least / per_rate, ampere),
    };
    let milliwatt_seconds = session.energy * instance.milliwatts(session) * instance.slot_seconds;
    SnapshotSession {
        id: SessionId::parse(&format!("session-{id}")).expect("a valid id"),
        evse: EvseId::parse(&format!("evse-{id}")).expect("a valid id"),
        node: session.node,
        power: conversion.nominal_power(None),
        conversion,
        default: Rate::ZERO,
        choice: RateChoice {
            minimum: Rate::new(minimum),
            maximum: Rate::new(session.most / per_rate),
            steps: Steps::Multiple(Rate::new(step)),
        },
        first_slot: session.arrival,
        end_slot: session.departure,
        need: Some(WattSeconds::from_watt_seconds(milliwatt_seconds / 1_000)),
        guaranteed: WattSeconds::ZERO,
        interruptible: true,
        tier: Tier::NORMAL,
        current: Rate::ZERO,
        planned: Vec::new(),
        arrival: Instant::from_unix_secs(session.arrival as i64),
    }
}

fn conversion(unit: Unit, session: &Session) -> Conversion {
    let (wiring, volts) = match unit {
        Unit::Watt => {
            let without_losses = Wiring::Dc {
                efficiency_percent: 100,
                standby: Watts::ZERO,
            };
            (without_losses, 230)
        }
        Unit::MilliampPerPhase { volts } => {
            let phases = session.lines.iter().map(|line| Phase::ALL[*line]);
            (Wiring::Star(phases.collect()), volts)
        }
    };
    Conversion::new(&wiring, Volts::from_volts(volts))
}
