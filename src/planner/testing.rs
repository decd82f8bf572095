//! Small snapshots for the tests of this module.

use crate::domain::conversion::{Conversion, Phase, PhasePair, Rate, Wiring};
use crate::domain::ids::{EvseId, NodeId, SessionId};
use crate::domain::limits::Capacity;
use crate::domain::session::Tier;
use crate::domain::site::{Fairness, RateChoice, Steps};
use crate::domain::snapshot::{SlotGrid, Snapshot, SnapshotNode, SnapshotSession};
use crate::units::{DeciAmps, Instant, MicrosPerKwh, Seconds, Volts, WattSeconds};

pub(super) fn amperes(limit: i64) -> Capacity {
    Capacity {
        line: [Some(DeciAmps::from_deciamps(limit * 10)); 3],
        ..Capacity::UNLIMITED
    }
}

/// A grid connection with this capacity in each slot, an hour long each.
pub(super) fn site(available: Vec<Capacity>) -> Snapshot {
    let slots = available.len();
    Snapshot {
        grid: SlotGrid::new(Instant::from_unix_secs(0), Seconds::from_hours(1), slots),
        nodes: vec![SnapshotNode {
            id: NodeId::parse("grid").unwrap(),
            parent: None,
            available,
        }],
        sessions: Vec::new(),
        prices: vec![MicrosPerKwh::from_micros_per_kwh(100_000); slots],
        demand_charge: None,
        fairness: Fairness::MaxMin,
    }
}

/// Another node under the grid connection, with the same limit all the time.
pub(super) fn add_panel(snapshot: &mut Snapshot, available: Capacity) -> usize {
    snapshot.nodes.push(SnapshotNode {
        id: NodeId::parse(&format!("panel-{}", snapshot.nodes.len())).unwrap(),
        parent: Some(0),
        available: vec![available; snapshot.grid.count()],
    });
    snapshot.nodes.len() - 1
}

/// A car that is there all the time: 6 to 32 A in steps of 1 A. Its need is in ampere-hours of one phase at 230 V.
pub(super) fn car(snapshot: &mut Snapshot, wiring: Wiring, ampere_hours: i64) -> usize {
    let conversion = Conversion::new(&wiring, Volts::from_volts(230));
    let index = snapshot.sessions.len();
    snapshot.sessions.push(SnapshotSession {
        id: SessionId::parse(&format!("car-{index}")).unwrap(),
        evse: EvseId::parse(&format!("evse-{index}")).unwrap(),
        node: 0,
        power: conversion.nominal_power(None),
        conversion,
        default: Rate::ZERO,
        choice: RateChoice {
            minimum: Rate::new(60),
            maximum: Rate::new(320),
            steps: Steps::Multiple(Rate::new(10)),
        },
        first_slot: 0,
        end_slot: snapshot.grid.count(),
        need: Some(WattSeconds::from_watt_hours(ampere_hours * 230)),
        guaranteed: WattSeconds::ZERO,
        interruptible: true,
        tier: Tier::NORMAL,
        current: Rate::ZERO,
        planned: Vec::new(),
        arrival: Instant::from_unix_secs(0),
    });
    index
}

pub(super) fn on_l1() -> Wiring {
    Wiring::Star(vec![Phase::L1])
}

pub(super) fn on_l2() -> Wiring {
    Wiring::Star(vec![Phase::L2])
}

pub(super) fn on_l3() -> Wiring {
    Wiring::Star(vec![Phase::L3])
}

pub(super) fn on_three_phases() -> Wiring {
    Wiring::Star(Phase::ALL.to_vec())
}

pub(super) fn line_to_line() -> Wiring {
    Wiring::Delta(PhasePair::L1L2)
}

/// Rates as whole amperes.
pub(super) fn in_amperes(rates: &[Rate]) -> Vec<i64> {
    rates.iter().map(|rate| rate.value() / 10).collect()
}
