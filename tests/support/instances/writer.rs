//! Writes an instance as a file of the schema "evsched-1" or "evsched-3p-1", and a plan as what their checks read.
//!
//! Decides nothing: what is written here is read back equal by [`super::reader`].

use super::{Amounts, Instance, Limit, Session, Unit};
use serde_json::{Value, json};

/// The file of an instance in whole units whose slots are all of length one.
pub fn file(instance: &Instance) -> Value {
    assert!(
        instance.parts == 1 && instance.lengths.iter().all(|length| *length == 1),
        "the schemas have whole units and slots of one length"
    );
    let nodes: Vec<Value> = (instance.nodes.iter().enumerate())
        .map(|(id, node)| {
            let parent = node.parent.map_or(-1, |parent| parent as i64);
            let limits: Vec<Value> = node.limits.iter().map(limit).collect();
            match instance.unit {
                Unit::Watt => json!({"id": id, "parent": parent, "limit_kw": limits[0]}),
                Unit::MilliampPerPhase { .. } => json!({"id": id, "parent": parent, "limit_a": limits}),
            }
        })
        .collect();
    let sessions: Vec<Value> = (instance.sessions.iter().enumerate())
        .map(|(id, session)| written(instance, id, session))
        .collect();
    let mut file = json!({
        "schema": match instance.unit {
            Unit::Watt => "evsched-1",
            Unit::MilliampPerPhase { .. } => "evsched-3p-1",
        },
        "name": instance.name,
        "slots": instance.slots(),
        "slot_hours": instance.slot_seconds as f64 / 3_600.0,
        "price_per_kwh": instance.prices.iter().map(|price| *price as f64 / 1e6).collect::<Vec<f64>>(),
        "demand_charge_per_kw": instance.demand_charge as f64 / 1e6,
        "unserved_penalty_per_kwh": instance.penalty as f64 / 1e6,
        "nodes": nodes,
        "sessions": sessions,
    });
    if let Unit::MilliampPerPhase { volts } = instance.unit {
        file["volts"] = json!(volts);
    }
    file
}

/// What `check.py` reads beside the instance's file.
pub fn solution(instance: &Instance, amounts: &Amounts) -> Value {
    let thousands = 1e3 * instance.parts as f64;
    let rates: Vec<Vec<f64>> = (instance.sessions.iter().zip(amounts))
        .map(|(session, amounts)| {
            let by_slot = amounts.iter().zip(&instance.lengths[session.stay()]);
            by_slot
                .map(|(amount, length)| *amount as f64 / *length as f64 / thousands)
                .collect()
        })
        .collect();
    match instance.unit {
        Unit::Watt => json!({ "power_kw": rates }),
        Unit::MilliampPerPhase { .. } => json!({ "current_a": rates }),
    }
}

fn limit(limit: &Limit) -> Value {
    match limit {
        Limit::Always(limit) => json!(*limit as f64 / 1e3),
        Limit::BySlot(limits) => json!(limits.iter().map(|limit| *limit as f64 / 1e3).collect::<Vec<f64>>()),
    }
}

fn written(instance: &Instance, id: usize, session: &Session) -> Value {
    let milliwatt_slots = session.energy * instance.milliwatts(session);
    let mut written = json!({
        "id": id,
        "node": session.node,
        "arrival": session.arrival,
        "departure": session.departure,
        "energy_kwh": milliwatt_slots as f64 * instance.slot_seconds as f64 / 3.6e9,
    });
    let (most, least) = (session.most as f64 / 1e3, session.least as f64 / 1e3);
    match instance.unit {
        Unit::Watt => {
            written["max_kw"] = json!(most);
            written["min_kw"] = json!(least);
        }
        Unit::MilliampPerPhase { .. } => {
            let phases: Vec<usize> = session.lines.iter().map(|line| line + 1).collect();
            written["phases"] = json!(phases);
            written["max_a"] = json!(most);
            written["min_a"] = json!(least);
        }
    }
    written
}
