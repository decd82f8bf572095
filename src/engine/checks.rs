//! What a request may say about a session's end and a meter's reading.
//!
//! Decides which of them are absurd, by field. Whether the session is there is decided in [`super::state`].

use crate::domain::bounds::{
    MAX_CONNECTOR_WATTS, MAX_CURRENT_DECIAMPS, MAX_ENERGY_WATT_HOURS, MAX_EVENT_AGE, MAX_POWER_WATTS,
};
use crate::domain::overload::NodeReading;
use crate::domain::rejection::{Faults, Rejection};
use crate::domain::session::{MeterSample, Session};
use crate::domain::site::Site;
use crate::units::{Instant, Seconds};

/// Longest reason that is kept, in characters.
const MAX_REASON_CHARS: usize = 200;

pub fn admit_end(session: &Session, at: Instant, reason: &str, now: Instant) -> Result<(), Rejection> {
    let mut faults = Faults::default();
    faults.require(
        at >= session.spec.arrival && at <= now + Seconds::from_mins(5),
        "ended_at",
        "is not between arrival and now",
        at,
        format_args!("{} to {now}, as unix seconds", session.spec.arrival),
    );
    let chars = reason.chars().count();
    faults.require(
        chars <= MAX_REASON_CHARS,
        "reason",
        "is too long",
        format_args!("{chars} characters"),
        format_args!("{MAX_REASON_CHARS} characters"),
    );
    faults.finish(())
}

pub fn check_sample(faults: &mut Faults, site: &Site, index: usize, sample: &MeterSample, now: Instant) {
    let field = |name: &str| format!("readings[{index}].{name}");
    if site.evse(&sample.evse).is_none() {
        faults.add(
            field("evse_id"),
            "names no EVSE of the site",
            &sample.evse,
            format_args!("an EVSE of site {}", site.spec().id),
        );
    }
    check_time(faults, field("at"), sample.at, now);
    if let Some(energy) = sample.session_energy {
        faults.within(
            field("session_energy_watt_hour"),
            "Wh",
            energy.floor_watt_hours(),
            0..=MAX_ENERGY_WATT_HOURS,
        );
    }
    if let Some(power) = sample.power {
        faults.within(
            field("power_watt"),
            "W",
            power.watts(),
            -MAX_CONNECTOR_WATTS..=MAX_CONNECTOR_WATTS,
        );
    }
    for current in sample.currents.iter().flatten() {
        faults.within(
            field("current_deciampere"),
            "dA",
            current.deciamps(),
            -MAX_CURRENT_DECIAMPS..=MAX_CURRENT_DECIAMPS,
        );
    }
}

pub fn check_node_reading(faults: &mut Faults, site: &Site, index: usize, reading: &NodeReading, now: Instant) {
    let field = |name: &str| format!("readings[{index}].{name}");
    if let Err(unknown) = site.named_node(&reading.node) {
        faults.nest(&format!("readings[{index}]"), unknown);
    }
    check_time(faults, field("at"), reading.at, now);
    for current in reading.currents.iter().flatten() {
        faults.within(
            field("current_deciampere"),
            "dA",
            current.deciamps(),
            -MAX_CURRENT_DECIAMPS..=MAX_CURRENT_DECIAMPS,
        );
    }
    if let Some(power) = reading.power {
        faults.within(
            field("power_watt"),
            "W",
            power.watts(),
            -MAX_POWER_WATTS..=MAX_POWER_WATTS,
        );
    }
}

fn check_time(faults: &mut Faults, field: String, at: Instant, now: Instant) {
    let (oldest, newest) = (now - MAX_EVENT_AGE, now + Seconds::from_mins(5));
    faults.require(
        (oldest..=newest).contains(&at),
        field,
        "is too far from the site's clock",
        at,
        format_args!("{oldest} to {newest}, as unix seconds"),
    );
}
