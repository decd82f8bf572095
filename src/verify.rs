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
        if !rate.is_zero() && !(session.first_slot <= slot && slot < session.end_slot) {
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
