//! Judges a plan against the facts it was made from: a second, obvious implementation of every constraint.
//!
//! Decides whether a plan may leave. Shares no code with the planner and recomputes everything from the snapshot: every limit of
//! every node in every slot, every rate, every figure, every note. Never a float, never a tolerance.

use crate::domain::conversion::{Load, Rate};
use crate::domain::ids::{NodeId, SessionId};
use crate::domain::limits::Excess;
use crate::domain::plan::{Note, Plan};
use crate::domain::snapshot::{Snapshot, SnapshotSession};
use crate::units::{Instant, MoneyMicros, WattSeconds, Watts};
use std::fmt;

/// A reason why a plan must not leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The plan is for other slots, or for other sessions in another order.
    Mismatch {
        what: &'static str,
        got: String,
        expected: String,
    },
    /// A rate outside the stay.
    OutsideStay {
        session: SessionId,
        slot: usize,
        rate: Rate,
    },
    /// Neither zero nor a step from minimum to maximum.
    RateNotAllowed {
        session: SessionId,
        slot: usize,
        rate: Rate,
    },
    /// A node carries more than is available.
    OverLimit {
        node: NodeId,
        slot: usize,
        from: Instant,
        excess: Excess,
    },
    /// A node is overloaded even with every session at its least, and this one is not at its least.
    NotShed {
        node: NodeId,
        session: SessionId,
        slot: usize,
        rate: Rate,
    },
    /// More energy than the need and one step.
    TooMuchEnergy {
        session: SessionId,
        delivered: WattSeconds,
        allowed: WattSeconds,
    },
    /// A figure of the plan is not what its rates give.
    WrongFigure {
        figure: &'static str,
        claimed: String,
        actual: String,
    },
    /// Something gave way and no note says so.
    NoteMissing { note: Note },
    /// A note says that something gave way that did not.
    NoteFalse { note: Note },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch { what, got, expected } => write!(f, "{what}: got {got}, expected {expected}"),
            Self::OutsideStay { session, slot, rate } => {
                write!(f, "session {session} has rate {rate} in slot {slot}, outside its stay")
            }
            Self::RateNotAllowed { session, slot, rate } => {
                write!(
                    f,
                    "session {session} has rate {rate} in slot {slot}, which its connector cannot take"
                )
            }
            Self::OverLimit {
                node,
                slot,
                from,
                excess,
            } => {
                write!(f, "node {node} in slot {slot} from {from}: {excess}")
            }
            Self::NotShed {
                node,
                session,
                slot,
                rate,
            } => write!(
                f,
                "session {session} has rate {rate} in slot {slot} though node {node} is overloaded without it"
            ),
            Self::TooMuchEnergy {
                session,
                delivered,
                allowed,
            } => {
                write!(f, "session {session} gets {delivered}, more than {allowed}")
            }
            Self::WrongFigure {
                figure,
                claimed,
                actual,
            } => write!(f, "{figure} is {actual}, not {claimed}"),
            Self::NoteMissing { note } => write!(f, "no note says {note:?}"),
            Self::NoteFalse { note } => write!(f, "a note says what is not so: {note:?}"),
        }
    }
}

/// The figures of a plan, from its rates alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanFigures {
    pub delivered: WattSeconds,
    pub unserved: WattSeconds,
    pub energy_cost: MoneyMicros,
    pub demand_cost: MoneyMicros,
    pub peak: Watts,
}

/// Everything that is wrong with `plan`; empty if it may leave.
pub fn check(snapshot: &Snapshot, plan: &Plan) -> Vec<Violation> {
    let shape = check_shape(snapshot, plan);
    if !shape.is_empty() {
        return shape;
    }
    let mut violations = Vec::new();
    for (index, session) in snapshot.sessions.iter().enumerate() {
        check_session(snapshot, session, &plan.schedules[index].rates, &mut violations);
    }
    for node in 0..snapshot.nodes.len() {
        check_node(snapshot, plan, node, &mut violations);
    }
    check_figures(snapshot, plan, &mut violations);
    check_notes(snapshot, plan, &mut violations);
    violations
}

/// The figures that the rates of `plan` give. The plan must be of this snapshot's sessions and slots.
pub fn figures(snapshot: &Snapshot, plan: &Plan) -> PlanFigures {
    let mut delivered = WattSeconds::ZERO;
    let mut unserved = WattSeconds::ZERO;
    for (session, schedule) in snapshot.sessions.iter().zip(&plan.schedules) {
        let energy = energy_of(snapshot, session, &schedule.rates);
        delivered += energy;
        unserved += session.need.map_or(WattSeconds::ZERO, |need| (need - energy).or_zero());
    }
    let mut energy_cost = MoneyMicros::ZERO;
    let mut peak: Option<Watts> = None;
    for slot in 0..snapshot.grid.count() {
        let mut energy = WattSeconds::ZERO;
        let mut drawn = snapshot
            .demand_charge
            .as_ref()
            .map_or(Watts::ZERO, |charge| charge.expected_base[slot]);
        for (session, schedule) in snapshot.sessions.iter().zip(&plan.schedules) {
            energy += session.energy(schedule.rates[slot], snapshot.grid.seconds(slot));
            drawn += Watts::from_watts(session.power.floor(schedule.rates[slot]));
        }
        energy_cost += snapshot.prices[slot].times(energy);
        peak = peak.max(Some(drawn));
    }
    let peak = peak.unwrap_or(Watts::ZERO);
    PlanFigures {
        delivered,
        unserved,
        energy_cost,
        demand_cost: demand_cost(snapshot, peak),
        peak,
    }
}

fn demand_cost(snapshot: &Snapshot, peak: Watts) -> MoneyMicros {
    let Some(charge) = &snapshot.demand_charge else {
        return MoneyMicros::ZERO;
    };
    let watts_above = i128::from((peak - charge.peak_so_far).or_zero().watts());
    let thousandths = watts_above * i128::from(charge.micros_per_kw);
    MoneyMicros::from_micros(i64::try_from((thousandths + 500).div_euclid(1000)).unwrap_or(i64::MAX))
}

fn energy_of(snapshot: &Snapshot, session: &SnapshotSession, rates: &[Rate]) -> WattSeconds {
    rates
        .iter()
        .enumerate()
        .map(|(slot, rate)| session.energy(*rate, snapshot.grid.seconds(slot)))
        .sum()
}

/// Whether the plan speaks of the same slots and sessions at all.
fn check_shape(snapshot: &Snapshot, plan: &Plan) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut expect = |what: &'static str, got: String, expected: String| {
        if got != expected {
            violations.push(Violation::Mismatch { what, got, expected });
        }
    };
    expect("slots", format!("{:?}", plan.grid), format!("{:?}", snapshot.grid));
    expect(
        "number of schedules",
        plan.schedules.len().to_string(),
        snapshot.sessions.len().to_string(),
    );
    for (session, schedule) in snapshot.sessions.iter().zip(&plan.schedules) {
        expect("session", schedule.session.to_string(), session.id.to_string());
        expect("EVSE", schedule.evse.to_string(), session.evse.to_string());
        expect(
            "number of rates",
            schedule.rates.len().to_string(),
            snapshot.grid.count().to_string(),
        );
    }
    violations
}

fn check_session(snapshot: &Snapshot, session: &SnapshotSession, rates: &[Rate], violations: &mut Vec<Violation>) {
    for (slot, rate) in rates.iter().copied().enumerate() {
        let id = || session.id.clone();
        if rate < Rate::ZERO || !session.choice.allows(rate) {
            violations.push(Violation::RateNotAllowed {
                session: id(),
                slot,
                rate,
            });
        }
        if !rate.is_zero() && (slot < session.first_slot || slot >= session.end_slot) {
            violations.push(Violation::OutsideStay {
                session: id(),
                slot,
                rate,
            });
        }
    }
    let Some(need) = session.need else {
        return;
    };
    // With one step less somewhere the need would not be met.
    let delivered = energy_of(snapshot, session, rates);
    let one_step = (0..rates.len())
        .filter(|slot| !rates[*slot].is_zero())
        .map(|slot| {
            let below = session.choice.floor(Rate::new(rates[slot].value() - 1));
            let length = snapshot.grid.seconds(slot);
            session.energy(rates[slot], length) - session.energy(below, length)
        })
        .max()
        .unwrap_or(WattSeconds::ZERO);
    let allowed = need.or_zero() + one_step;
    if delivered > need.or_zero() && delivered >= allowed {
        violations.push(Violation::TooMuchEnergy {
            session: session.id.clone(),
            delivered,
            allowed,
        });
    }
}

/// The sessions under `node`.
fn sessions_below(snapshot: &Snapshot, node: usize) -> impl Iterator<Item = (usize, &SnapshotSession)> {
    snapshot.sessions.iter().enumerate().filter(move |(_, session)| {
        let mut place = Some(session.node);
        while let Some(at) = place {
            if at == node {
                return true;
            }
            place = snapshot.nodes[at].parent;
        }
        false
    })
}

fn check_node(snapshot: &Snapshot, plan: &Plan, node: usize, violations: &mut Vec<Violation>) {
    let below: Vec<(usize, &SnapshotSession)> = sessions_below(snapshot, node).collect();
    let least: Load = below.iter().map(|(_, session)| session.load(Rate::ZERO)).sum();
    for slot in 0..snapshot.grid.count() {
        let available = &snapshot.nodes[node].available[slot];
        let rate_of = |index: usize| plan.schedules[index].rates[slot];
        let id = || snapshot.nodes[node].id.clone();
        if available.fits(&least) {
            let load: Load = below.iter().map(|(index, session)| session.load(rate_of(*index))).sum();
            if let Some(excess) = available.excess(&load) {
                violations.push(Violation::OverLimit {
                    node: id(),
                    slot,
                    from: snapshot.grid.begin(slot),
                    excess,
                });
            }
            continue;
        }
        for (index, session) in &below {
            if session.load(rate_of(*index)) != session.load(Rate::ZERO) {
                violations.push(Violation::NotShed {
                    node: id(),
                    session: session.id.clone(),
                    slot,
                    rate: rate_of(*index),
                });
            }
        }
    }
}

fn check_figures(snapshot: &Snapshot, plan: &Plan, violations: &mut Vec<Violation>) {
    let actual = figures(snapshot, plan);
    let stats = &plan.stats;
    let mut expect = |figure: &'static str, claimed: String, actual: String| {
        if claimed != actual {
            violations.push(Violation::WrongFigure {
                figure,
                claimed,
                actual,
            });
        }
    };
    expect("delivered", stats.delivered.to_string(), actual.delivered.to_string());
    expect("unserved", stats.unserved.to_string(), actual.unserved.to_string());
    expect(
        "energy cost",
        stats.energy_cost.to_string(),
        actual.energy_cost.to_string(),
    );
    expect(
        "demand cost",
        stats.demand_cost.to_string(),
        actual.demand_cost.to_string(),
    );
    expect("peak", stats.peak.to_string(), actual.peak.to_string());
}

/// What gave way, and nothing else, is in the notes. How the search ended and what the roll-out withholds is not judged here.
fn check_notes(snapshot: &Snapshot, plan: &Plan, violations: &mut Vec<Violation>) {
    let mut due: Vec<Note> = (0..snapshot.nodes.len())
        .filter_map(|node| overload_note(snapshot, node))
        .collect();
    for (session, schedule) in snapshot.sessions.iter().zip(&plan.schedules) {
        due.extend(session_notes(snapshot, session, &schedule.rates));
    }
    for note in &due {
        if !plan.notes.contains(note) {
            violations.push(Violation::NoteMissing { note: note.clone() });
        }
    }
    for note in &plan.notes {
        let judged = !matches!(note, Note::SearchStopped { .. } | Note::Withheld { .. });
        if judged && !due.contains(note) {
            violations.push(Violation::NoteFalse { note: note.clone() });
        }
    }
}

fn overload_note(snapshot: &Snapshot, node: usize) -> Option<Note> {
    let least: Load = sessions_below(snapshot, node)
        .map(|(_, session)| session.load(Rate::ZERO))
        .sum();
    let slot = (0..snapshot.grid.count()).find(|slot| !snapshot.nodes[node].available[*slot].fits(&least))?;
    Some(Note::NodeOverloaded {
        node: snapshot.nodes[node].id.to_string(),
        from: snapshot.grid.begin(slot),
    })
}

fn session_notes(snapshot: &Snapshot, session: &SnapshotSession, rates: &[Rate]) -> Vec<Note> {
    let delivered = energy_of(snapshot, session, rates);
    let mut notes = Vec::new();
    if !session.interruptible && is_interrupted(snapshot, session, rates) {
        notes.push(Note::Interrupted {
            session: session.id.clone(),
        });
    }
    if delivered < session.guaranteed {
        notes.push(Note::GuaranteeBroken {
            session: session.id.clone(),
            missing: session.guaranteed - delivered,
        });
    }
    if let Some(need) = session.need
        && delivered < need
    {
        notes.push(Note::Unserved {
            session: session.id.clone(),
            missing: need - delivered,
        });
    }
    notes
}

/// A session charges without a pause from when it begins (now, if it charges already) until its need is met or it leaves.
fn is_interrupted(snapshot: &Snapshot, session: &SnapshotSession, rates: &[Rate]) -> bool {
    let charges_now = session.first_slot == 0 && !session.current.is_zero();
    let begins = if charges_now {
        Some(0)
    } else {
        rates.iter().position(|rate| !rate.is_zero())
    };
    let Some(begins) = begins else {
        return false;
    };
    (begins..session.end_slot).any(|slot| {
        let so_far = energy_of(snapshot, session, &rates[..slot]);
        rates[slot].is_zero() && session.need.is_none_or(|need| so_far < need)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conversion::{Conversion, Phase, Wiring};
    use crate::domain::ids::EvseId;
    use crate::domain::limits::Capacity;
    use crate::domain::plan::{Outcome, PlanStats, Schedule};
    use crate::domain::session::Tier;
    use crate::domain::site::{Fairness, RateChoice, Steps};
    use crate::domain::snapshot::{DemandCharge, SlotGrid, SnapshotNode};
    use crate::units::{DeciAmps, MicrosPerKwh, Seconds, Volts};

    const HOUR: Seconds = Seconds::from_hours(1);

    /// Two cars on L1 behind 20 A, three slots of an hour; each needs 12 Ah, the second one only in the last two slots.
    fn facts() -> Snapshot {
        let conversion = Conversion::new(&Wiring::Star(vec![Phase::L1]), Volts::from_volts(230));
        let session = |name: &str, first_slot: usize| SnapshotSession {
            id: SessionId::parse(name).unwrap(),
            evse: EvseId::parse(name).unwrap(),
            node: 1,
            power: conversion.nominal_power(None),
            conversion: conversion.clone(),
            default: Rate::ZERO,
            choice: RateChoice {
                minimum: Rate::new(60),
                maximum: Rate::new(160),
                steps: Steps::Multiple(Rate::new(10)),
            },
            first_slot,
            end_slot: 3,
            need: Some(WattSeconds::from_watt_hours(12 * 230)),
            guaranteed: WattSeconds::ZERO,
            interruptible: true,
            tier: Tier::NORMAL,
            current: Rate::ZERO,
            planned: Vec::new(),
            arrival: Instant::from_unix_secs(0),
        };
        let node = |name: &str, parent: Option<usize>, limit: i64| SnapshotNode {
            id: NodeId::parse(name).unwrap(),
            parent,
            available: vec![
                Capacity {
                    line: [Some(DeciAmps::from_deciamps(limit)); 3],
                    ..Capacity::UNLIMITED
                };
                3
            ],
        };
        Snapshot {
            grid: SlotGrid::new(Instant::from_unix_secs(0), HOUR, 3),
            nodes: vec![node("grid", None, 400), node("panel", Some(0), 200)],
            sessions: vec![session("anna", 0), session("bert", 1)],
            prices: [1, 2, 3]
                .map(|price| MicrosPerKwh::from_micros_per_kwh(price * 100_000))
                .to_vec(),
            demand_charge: Some(DemandCharge {
                micros_per_kw: 1_000_000,
                peak_so_far: Watts::from_watts(1_000),
                expected_base: vec![Watts::from_watts(100); 3],
            }),
            fairness: Fairness::MaxMin,
        }
    }

    /// A plan with these rates in A; its figures are what they should be.
    fn plan(snapshot: &Snapshot, amperes: [[i64; 3]; 2]) -> Plan {
        let mut plan = Plan {
            grid: snapshot.grid,
            schedules: snapshot
                .sessions
                .iter()
                .zip(amperes)
                .map(|(session, amperes)| Schedule {
                    session: session.id.clone(),
                    evse: session.evse.clone(),
                    rates: amperes.map(|amperes| Rate::new(amperes * 10)).to_vec(),
                })
                .collect(),
            notes: Vec::new(),
            stats: PlanStats {
                outcome: Outcome::Greedy,
                delivered: WattSeconds::ZERO,
                unserved: WattSeconds::ZERO,
                energy_cost: MoneyMicros::ZERO,
                demand_cost: MoneyMicros::ZERO,
                peak: Watts::ZERO,
                relaxed_delivered: None,
                relaxed_cost: None,
                proven: false,
                iterations: 0,
            },
        };
        let actual = figures(snapshot, &plan);
        plan.stats.delivered = actual.delivered;
        plan.stats.unserved = actual.unserved;
        plan.stats.energy_cost = actual.energy_cost;
        plan.stats.demand_cost = actual.demand_cost;
        plan.stats.peak = actual.peak;
        for (session, schedule) in snapshot.sessions.iter().zip(&plan.schedules) {
            plan.notes.extend(session_notes(snapshot, session, &schedule.rates));
        }
        plan
    }

    fn found(snapshot: &Snapshot, plan: &Plan) -> Vec<String> {
        check(snapshot, plan).iter().map(ToString::to_string).collect()
    }

    const GOOD: [[i64; 3]; 2] = [[12, 0, 0], [0, 12, 0]];

    #[test]
    fn a_good_plan_passes_and_its_figures_are_as_by_hand() {
        let facts = facts();
        let plan = plan(&facts, GOOD);
        assert_eq!(check(&facts, &plan), []);
        // 2.76 kWh at 0.10 and at 0.20; 2 860 W are 1 860 W above the old peak.
        assert_eq!(plan.stats.energy_cost, MoneyMicros::from_micros(276_000 + 552_000));
        assert_eq!(plan.stats.demand_cost, MoneyMicros::from_micros(1_860_000));
        assert_eq!(plan.stats.peak, Watts::from_watts(2_860));
    }

    #[test]
    fn a_broken_limit_is_named_with_node_slot_load_and_limit() {
        let facts = facts();
        let plan = plan(&facts, [[0, 12, 0], [0, 9, 0]]);
        let violations = found(&facts, &plan);
        assert_eq!(
            violations,
            ["node panel in slot 1 from @3600: L1 carries 210 dA of 200 dA"]
        );
    }

    #[test]
    fn a_rate_between_zero_and_the_minimum_or_off_its_steps_is_found() {
        let facts = facts();
        for rate in [50, 65, 170, -10] {
            let mut plan = plan(&facts, GOOD);
            plan.schedules[0].rates[0] = Rate::new(rate);
            assert!(
                check(&facts, &plan)
                    .iter()
                    .any(|found| matches!(found, Violation::RateNotAllowed { .. })),
                "{rate}"
            );
        }
    }

    #[test]
    fn power_outside_the_stay_is_found() {
        let facts = facts();
        let violations = found(&facts, &plan(&facts, [[12, 0, 0], [12, 0, 0]]));
        assert!(
            violations[0].contains("session bert has rate 120 in slot 0"),
            "{violations:?}"
        );
    }

    #[test]
    fn an_overloaded_node_wants_every_session_below_at_its_least() {
        let mut facts = facts();
        facts.nodes[1].available[0].line[0] = Some(DeciAmps::from_deciamps(-1));
        let violations = found(&facts, &plan(&facts, GOOD));
        assert_eq!(violations.len(), 2, "{violations:?}");
        assert!(violations[0].contains("node panel is overloaded without it"));
        assert!(violations[1].starts_with("no note says NodeOverloaded"));
    }

    #[test]
    fn one_step_above_the_need_is_allowed_and_two_are_not() {
        let mut facts = facts();
        facts.sessions[0].need = Some(WattSeconds::from_watt_hours(11 * 230 + 1));
        assert_eq!(found(&facts, &plan(&facts, GOOD)), [""; 0]);
        facts.sessions[0].need = Some(WattSeconds::from_watt_hours(11 * 230));
        let violations = found(&facts, &plan(&facts, GOOD));
        assert!(violations[0].starts_with("session anna gets"), "{violations:?}");
    }

    #[test]
    fn every_wrong_figure_is_found() {
        let facts = facts();
        let wrong: [fn(&mut PlanStats); 5] = [
            |stats| stats.delivered += WattSeconds::from_watt_seconds(1),
            |stats| stats.unserved += WattSeconds::from_watt_seconds(1),
            |stats| stats.energy_cost += MoneyMicros::from_micros(1),
            |stats| stats.demand_cost += MoneyMicros::from_micros(1),
            |stats| stats.peak += Watts::from_watts(1),
        ];
        for forge in wrong {
            let mut plan = plan(&facts, GOOD);
            forge(&mut plan.stats);
            assert!(matches!(check(&facts, &plan)[..], [Violation::WrongFigure { .. }]));
        }
    }

    #[test]
    fn notes_must_be_there_and_true() {
        let mut facts = facts();
        facts.sessions[0].guaranteed = WattSeconds::from_watt_hours(230 * 9);
        let mut plan = plan(&facts, [[8, 0, 0], [0, 12, 0]]);
        assert_eq!(plan.notes.len(), 2);
        assert_eq!(check(&facts, &plan), []);
        let dropped = plan.notes.pop().unwrap();
        assert_eq!(check(&facts, &plan), [Violation::NoteMissing { note: dropped }]);
        plan.schedules[0].rates[0] = Rate::new(120);
        assert!(
            check(&facts, &plan)
                .iter()
                .any(|found| matches!(found, Violation::NoteFalse { .. }))
        );
    }

    #[test]
    fn a_pause_of_a_session_that_may_not_be_interrupted_needs_a_note() {
        let mut facts = facts();
        facts.sessions[0].interruptible = false;
        assert_eq!(plan(&facts, [[6, 6, 0], [0, 12, 0]]).notes, []);
        for (rates, running) in [([6, 0, 6], false), ([0, 6, 6], true), ([6, 0, 0], false)] {
            facts.sessions[0].current = Rate::new(if running { 60 } else { 0 });
            let mut plan = plan(&facts, [rates, [0, 12, 0]]);
            plan.notes.retain(|note| !matches!(note, Note::Interrupted { .. }));
            assert!(
                matches!(check(&facts, &plan)[..], [Violation::NoteMissing { .. }]),
                "{rates:?}"
            );
        }
    }

    #[test]
    fn a_plan_for_other_sessions_or_slots_is_not_judged_further() {
        let facts = facts();
        let mut plan = plan(&facts, GOOD);
        plan.schedules.swap(0, 1);
        plan.schedules[0].rates.pop();
        let violations = check(&facts, &plan);
        assert!(
            violations
                .iter()
                .all(|found| matches!(found, Violation::Mismatch { .. }))
        );
        assert_eq!(violations.len(), 5, "{violations:?}");
        plan.schedules.pop();
        assert!(!check(&facts, &plan).is_empty());
    }
}
