//! Cases that an engineer in the field can read and check by hand: `golden/planner/*.json`.
//!
//! Each file is a class of problems with three cases: *feasible*, where there is room for all; *tight*, where there is exactly enough;
//! *impossible*, where something must give, and the notes say what.
//!
//! Amperes are per phase, a wiring is "L1", "L1 L2 L3", "unknown 1", "L1-L2" or "DC". What `expect` does not mention is not
//! judged, except that greedy and searched plan must both verify.

use laddplan::domain::conversion::{Conversion, Load, Phase, PhasePair, Rate, Wiring};
use laddplan::domain::ids::{EvseId, NodeId, SessionId};
use laddplan::domain::limits::{Capacity, FixedLimits, NodeLimit, PrimaryLimit};
use laddplan::domain::plan::{Budget, Note, Plan};
use laddplan::domain::session::Tier;
use laddplan::domain::site::{Fairness, RateChoice, Steps};
use laddplan::domain::snapshot::{DemandCharge, SlotGrid, Snapshot, SnapshotNode, SnapshotSession};
use laddplan::units::{DeciAmps, Instant, MicrosPerKwh, Seconds, Volts, WattSeconds, Watts};
use laddplan::{planner, verify};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Class {
    feasible: Case,
    tight: Case,
    impossible: Case,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "what")]
    _what: String,
    slots: usize,
    #[serde(default = "volts")]
    volts: i64,
    prices_per_kwh: Option<Vec<f64>>,
    demand_charge_per_kw: Option<f64>,
    #[serde(default)]
    peak_so_far_w: i64,
    expected_base_w: Option<Vec<i64>>,
    #[serde(default = "fairness")]
    fairness: String,
    nodes: Vec<CaseNode>,
    sessions: Vec<CaseSession>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseNode {
    id: String,
    parent: Option<String>,
    limit_a: Option<BySlot>,
    limit_w: Option<BySlot>,
    /// How far apart two line currents may be.
    unbalance_a: Option<i64>,
    /// In each line of the primary of the transformer that the node hangs on.
    primary_a: Option<i64>,
    #[serde(default = "turns_ratio")]
    turns_ratio: u32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum BySlot {
    Always(i64),
    Each(Vec<i64>),
}

impl BySlot {
    fn at(&self, slot: usize) -> i64 {
        match self {
            Self::Always(value) => *value,
            Self::Each(values) => values[slot],
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseSession {
    id: String,
    node: String,
    wiring: String,
    #[serde(default = "efficiency_percent")]
    efficiency_percent: u8,
    #[serde(default)]
    standby_w: i64,
    #[serde(default = "max_a")]
    max_a: i64,
    #[serde(default)]
    max_w: i64,
    #[serde(default)]
    default_a: i64,
    /// On how many phases the car is said to charge.
    car_phases: Option<u8>,
    need_wh: Option<i64>,
    #[serde(default)]
    guaranteed_wh: i64,
    #[serde(default = "interruptible")]
    interruptible: bool,
    #[serde(default)]
    charging_now: bool,
    /// For how many hours it has been there.
    #[serde(default)]
    waits_h: i64,
    #[serde(default = "tier")]
    tier: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    #[serde(default)]
    rates_a: BTreeMap<String, Vec<f64>>,
    #[serde(default)]
    rates_w: BTreeMap<String, Vec<f64>>,
    #[serde(default)]
    delivered_wh: BTreeMap<String, i64>,
    #[serde(default)]
    least_delivered_wh: BTreeMap<String, i64>,
    /// On the most loaded line.
    #[serde(default)]
    load_a: BTreeMap<String, Vec<f64>>,
    peak_w: Option<i64>,
    demand_cost: Option<f64>,
    energy_cost: Option<f64>,
    /// All notes, in any order.
    notes: Option<Vec<String>>,
}

fn fairness() -> String {
    "max-min".to_owned()
}
fn volts() -> i64 {
    230
}
fn turns_ratio() -> u32 {
    4
}
fn efficiency_percent() -> u8 {
    100
}
fn max_a() -> i64 {
    32
}
fn interruptible() -> bool {
    true
}
fn tier() -> u8 {
    Tier::NORMAL.number()
}

impl CaseSession {
    fn wiring(&self) -> Wiring {
        let phase = |name: &str| match name {
            "L1" => Phase::L1,
            "L2" => Phase::L2,
            "L3" => Phase::L3,
            other => panic!("{other} is not a phase"),
        };
        match self.wiring.as_str() {
            "DC" => Wiring::Dc {
                efficiency_percent: self.efficiency_percent,
                standby: Watts::from_watts(self.standby_w),
            },
            "L1-L2" => Wiring::Delta(PhasePair::L1L2),
            "L2-L3" => Wiring::Delta(PhasePair::L2L3),
            "L3-L1" => Wiring::Delta(PhasePair::L3L1),
            text => match text.strip_prefix("unknown ") {
                Some(phases) => Wiring::StarUnknown {
                    phases: phases.parse().expect("a number of phases"),
                },
                None => Wiring::Star(text.split(' ').map(phase).collect()),
            },
        }
    }

    fn snapshot(&self, case: &Case) -> SnapshotSession {
        let is_dc = self.wiring == "DC";
        let conversion = Conversion::new(&self.wiring(), Volts::from_volts(case.volts)).for_car(self.car_phases);
        let (minimum, maximum, step) = if is_dc {
            (1, self.max_w, 1)
        } else {
            (60, self.max_a * 10, 10)
        };
        SnapshotSession {
            id: SessionId::parse(&self.id).expect("a valid id"),
            evse: EvseId::parse(&format!("evse-{}", self.id)).expect("a valid id"),
            node: case.node(&self.node),
            power: conversion.nominal_power(self.car_phases),
            conversion,
            default: Rate::new(self.default_a * 10),
            choice: RateChoice {
                // 1 A steps make small rests possible only where the minimum does not stand in the way.
                minimum: Rate::new(minimum),
                maximum: Rate::new(maximum),
                steps: Steps::Multiple(Rate::new(step)),
            },
            first_slot: 0,
            end_slot: case.slots,
            need: self.need_wh.map(WattSeconds::from_watt_hours),
            guaranteed: WattSeconds::from_watt_hours(self.guaranteed_wh),
            interruptible: self.interruptible,
            tier: Tier::from_number(self.tier).expect("a tier"),
            planned: Vec::new(),
            arrival: Instant::from_unix_secs(0) - Seconds::from_hours(self.waits_h),
            current: Rate::new(if self.charging_now { minimum } else { 0 }),
        }
    }
}

impl Case {
    fn node(&self, id: &str) -> usize {
        self.nodes.iter().position(|node| node.id == id).expect("a known node")
    }

    fn snapshot(&self) -> Snapshot {
        let amperes = |amperes: i64| DeciAmps::from_deciamps(amperes * 10);
        let capacity = |node: &CaseNode, slot: usize| {
            let limit = NodeLimit {
                line: node.limit_a.as_ref().map(|limit| amperes(limit.at(slot))),
                total: node.limit_w.as_ref().map(|limit| Watts::from_watts(limit.at(slot))),
            };
            Capacity::from(limit).with_fixed(&FixedLimits {
                unbalance: node.unbalance_a.map(amperes),
                primary: node.primary_a.map(|line| PrimaryLimit {
                    line: amperes(line),
                    turns_ratio_permille: node.turns_ratio * 1000,
                }),
            })
        };
        let prices = self.prices_per_kwh.clone().unwrap_or_else(|| vec![0.1; self.slots]);
        Snapshot {
            grid: SlotGrid::new(Instant::from_unix_secs(0), Seconds::from_mins(15), self.slots),
            nodes: self
                .nodes
                .iter()
                .map(|node| SnapshotNode {
                    id: NodeId::parse(&node.id).expect("a valid id"),
                    parent: node.parent.as_ref().map(|parent| self.node(parent)),
                    available: (0..self.slots).map(|slot| capacity(node, slot)).collect(),
                })
                .collect(),
            sessions: self.sessions.iter().map(|session| session.snapshot(self)).collect(),
            prices: prices
                .iter()
                .map(|price| MicrosPerKwh::from_micros_per_kwh(micros(*price)))
                .collect(),
            demand_charge: self.demand_charge_per_kw.map(|charge| DemandCharge {
                micros_per_kw: micros(charge),
                peak_so_far: Watts::from_watts(self.peak_so_far_w),
                expected_base: self
                    .expected_base_w
                    .clone()
                    .unwrap_or_else(|| vec![0; self.slots])
                    .into_iter()
                    .map(Watts::from_watts)
                    .collect(),
            }),
            fairness: match self.fairness.as_str() {
                "max-min" => Fairness::MaxMin,
                "proportional" => Fairness::Proportional,
                "first come" => Fairness::FirstCome,
                "least laxity" => Fairness::LeastLaxity,
                other => panic!("{other} is no fairness"),
            },
        }
    }
}

fn micros(money: f64) -> i64 {
    (money * 1e6).round() as i64
}

fn in_words(note: &Note) -> String {
    match note {
        Note::Unserved { session, missing } => format!("{session} misses {} Wh", missing.floor_watt_hours()),
        Note::GuaranteeBroken { session, missing } => {
            format!("{session} was promised {} Wh more", missing.floor_watt_hours())
        }
        Note::Interrupted { session } => format!("{session} is interrupted"),
        Note::NodeOverloaded { node, from } => format!("{node} is overloaded from {from}"),
        Note::SearchStopped { stage, reason } => format!("the search stopped in {stage}: {reason}"),
        Note::Withheld { session, reason } => format!("{session} is withheld: {reason}"),
    }
}

/// What is not as expected, in words.
fn differences(case: &Case, snapshot: &Snapshot, plan: &Plan) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: String, got: String, expected: String| {
        if got != expected {
            differences.push(format!("{what}: got {got}, expected {expected}"));
        }
    };
    let index = |id: &str| {
        case.sessions
            .iter()
            .position(|session| session.id == id)
            .expect("a known session")
    };
    let rates = |id: &str, unit: f64| -> Vec<f64> {
        plan.schedules[index(id)]
            .rates
            .iter()
            .map(|rate| rate.value() as f64 / unit)
            .collect()
    };
    let delivered = |id: &str| -> i64 {
        let session = &snapshot.sessions[index(id)];
        let rates = &plan.schedules[index(id)].rates;
        (0..case.slots)
            .map(|slot| session.energy(rates[slot], snapshot.grid.seconds(slot)))
            .sum::<WattSeconds>()
            .floor_watt_hours()
    };
    let load = |node: usize, slot: usize| -> f64 {
        let load: Load = (0..snapshot.sessions.len())
            .filter(|session| {
                snapshot
                    .path_to_root(snapshot.sessions[*session].node)
                    .any(|above| above == node)
            })
            .map(|session| snapshot.sessions[session].load(plan.schedules[session].rates[slot]))
            .sum();
        load.line_currents().iter().max().expect("three lines").deciamps() as f64 / 10.0
    };
    for (id, expected) in &case.expect.rates_a {
        compare(
            format!("amperes of {id}"),
            format!("{:?}", rates(id, 10.0)),
            format!("{expected:?}"),
        );
    }
    for (id, expected) in &case.expect.rates_w {
        compare(
            format!("watts of {id}"),
            format!("{:?}", rates(id, 1.0)),
            format!("{expected:?}"),
        );
    }
    for (id, expected) in &case.expect.delivered_wh {
        compare(
            format!("watt-hours of {id}"),
            delivered(id).to_string(),
            expected.to_string(),
        );
    }
    for (id, least) in &case.expect.least_delivered_wh {
        let enough = delivered(id) >= *least;
        compare(
            format!("{id} gets {} Wh, at least {least}", delivered(id)),
            enough.to_string(),
            "true".to_owned(),
        );
    }
    for (id, expected) in &case.expect.load_a {
        let loads: Vec<f64> = (0..case.slots).map(|slot| load(case.node(id), slot)).collect();
        compare(format!("load of {id}"), format!("{loads:?}"), format!("{expected:?}"));
    }
    if let Some(peak) = case.expect.peak_w {
        compare("peak".to_owned(), plan.stats.peak.watts().to_string(), peak.to_string());
    }
    if let Some(cost) = case.expect.demand_cost {
        compare(
            "power charge".to_owned(),
            plan.stats.demand_cost.micros().to_string(),
            micros(cost).to_string(),
        );
    }
    if let Some(cost) = case.expect.energy_cost {
        compare(
            "energy cost".to_owned(),
            plan.stats.energy_cost.micros().to_string(),
            micros(cost).to_string(),
        );
    }
    if let Some(expected) = &case.expect.notes {
        let (mut got, mut expected) = (plan.notes.iter().map(in_words).collect::<Vec<_>>(), expected.clone());
        got.sort();
        expected.sort();
        compare("notes".to_owned(), format!("{got:?}"), format!("{expected:?}"));
    }
    differences
}

#[test]
fn plans_are_as_worked_by_hand() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/planner");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("a case").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "cases are missing");
    let mut failures = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a readable case");
        let class: Class = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let cases = [
            ("feasible", class.feasible),
            ("tight", class.tight),
            ("impossible", class.impossible),
        ];
        for (name, case) in cases {
            let snapshot = case.snapshot();
            let plan = planner::plan(&snapshot, Budget { iterations: 400 });
            let mut wrong = differences(&case, &snapshot, &plan);
            for plan in [&plan, &planner::greedy(&snapshot)] {
                wrong.extend(verify::check(&snapshot, plan).iter().map(ToString::to_string));
            }
            let file = path.file_stem().unwrap_or_default().display();
            failures.extend(wrong.into_iter().map(|wrong| format!("{file}, {name}: {wrong}")));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
