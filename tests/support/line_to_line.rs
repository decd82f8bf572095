//! Days at sites where cars lie between two lines, as in North America: 208 V, behind delta-wye transformers.
//!
//! Decides their limits: fifty cars share a transformer, which is limited in the lines of both its sides, ten of them a panel, all
//! transformers the grid connection and its building. Who comes when and wants how much is drawn by [`generator`].
#![allow(dead_code, reason = "each test and bench uses its part of it")]

use super::instances::generator::{self, Schema, Shape, Supply};
use super::instances::random::Random;
use super::instances::{Instance, Session};
use laddplan::domain::conversion::{Conversion, PhasePair, Rate, Wiring};
use laddplan::domain::ids::{EvseId, NodeId, SessionId};
use laddplan::domain::limits::{Capacity, FixedLimits, PrimaryLimit};
use laddplan::domain::session::Tier;
use laddplan::domain::site::{Fairness, RateChoice, Steps};
use laddplan::domain::snapshot::{DemandCharge, SlotGrid, Snapshot, SnapshotNode, SnapshotSession};
use laddplan::units::{DeciAmps, Instant, MicrosPerKwh, Seconds, Volts, WattSeconds, Watts};

const VOLTS: i64 = 208;
const MOST_DECIAMPS: i64 = 320;
/// 480 V become 208 V between lines.
const TURNS_RATIO_PERMILLE: u32 = 4_000;
const SLOTS: usize = 96;

pub fn day(sessions: usize, supply: Supply, seed: u64, demand_charge: bool) -> Snapshot {
    let shape = Shape {
        schema: Schema::Power,
        sessions,
        slots: SLOTS,
        supply,
        seed,
    };
    let instance = generator::generate(&shape);
    let mut random = Random::new(seed);
    Snapshot {
        grid: SlotGrid::new(
            Instant::from_unix_secs(0),
            Seconds::from_secs(instance.slot_seconds),
            SLOTS,
        ),
        nodes: nodes(&instance, supply),
        sessions: (instance.sessions.iter().enumerate())
            .map(|(id, session)| snapshot_session(&instance, id, session, random.below(3)))
            .collect(),
        prices: (instance.prices.iter())
            .map(|price| MicrosPerKwh::from_micros_per_kwh(*price))
            .collect(),
        demand_charge: demand_charge.then(|| DemandCharge {
            micros_per_kw: instance.demand_charge,
            peak_so_far: Watts::ZERO,
            expected_base: vec![Watts::ZERO; SLOTS],
        }),
        fairness: Fairness::MaxMin,
    }
}

/// The instance's tree. Of all that the cars below could draw in balance, a panel carries 60 % and a transformer the supply's share.
fn nodes(instance: &Instance, supply: Supply) -> Vec<SnapshotNode> {
    let percent = match supply {
        Supply::Normal => 45,
        Supply::Tight => 25,
        Supply::Scarce => 12,
    };
    let mut below = vec![0; instance.nodes.len()];
    for session in &instance.sessions {
        let mut node = Some(session.node);
        while let Some(index) = node {
            below[index] += 1;
            node = instance.nodes[index].parent;
        }
    }
    let connected: i64 = instance.sessions.iter().map(|session| session.most).sum();
    let nodes = instance.nodes.iter().enumerate();
    nodes
        .map(|(id, node)| {
            // Balanced currents between lines are √3 times as large in the lines.
            let line = |percent: i64| DeciAmps::from_deciamps(below[id] * MOST_DECIAMPS * 577 * percent / 100_000);
            let is_transformer = node.parent == Some(0);
            let available = |slot: usize| match node.parent {
                None => Capacity {
                    total: Some(Watts::from_watts(
                        node.limits[0].at(slot) * below[0] * VOLTS * MOST_DECIAMPS / 10 / connected,
                    )),
                    ..Capacity::UNLIMITED
                },
                Some(0) => Capacity {
                    line: [Some(line(percent)); 3],
                    ..Capacity::UNLIMITED
                },
                Some(_) => Capacity {
                    line: [Some(line(60)); 3],
                    ..Capacity::UNLIMITED
                },
            };
            // The primary is rated for the same power: √3 times the current in a line, over the turns ratio.
            let primary = PrimaryLimit {
                line: DeciAmps::from_deciamps(line(percent).deciamps() * 1_732 / i64::from(TURNS_RATIO_PERMILLE)),
                turns_ratio_permille: TURNS_RATIO_PERMILLE,
            };
            let fixed = FixedLimits {
                unbalance: None,
                primary: is_transformer.then_some(primary),
            };
            SnapshotNode {
                id: NodeId::parse(&format!("node-{id}")).expect("a valid id"),
                parent: node.parent,
                available: (0..SLOTS).map(|slot| available(slot).with_fixed(&fixed)).collect(),
            }
        })
        .collect()
}

fn snapshot_session(instance: &Instance, id: usize, session: &Session, pair: usize) -> SnapshotSession {
    let conversion = Conversion::new(&Wiring::Delta(PhasePair::ALL[pair]), Volts::from_volts(VOLTS));
    let length = instance.slot_seconds;
    let possible = session.stay().len() as i64 * length * VOLTS * MOST_DECIAMPS / 10;
    SnapshotSession {
        id: SessionId::parse(&format!("session-{id}")).expect("a valid id"),
        evse: EvseId::parse(&format!("evse-{id}")).expect("a valid id"),
        node: session.node,
        power: conversion.nominal_power(None),
        conversion,
        default: Rate::ZERO,
        choice: RateChoice {
            minimum: Rate::new(60),
            maximum: Rate::new(MOST_DECIAMPS),
            steps: Steps::Multiple(Rate::new(10)),
        },
        first_slot: session.arrival,
        end_slot: session.departure,
        need: Some(WattSeconds::from_watt_seconds(
            (session.energy * length).min(possible * 92 / 100),
        )),
        guaranteed: WattSeconds::ZERO,
        interruptible: true,
        tier: Tier::NORMAL,
        current: Rate::ZERO,
        planned: Vec::new(),
        arrival: Instant::from_unix_secs(session.arrival as i64),
    }
}
