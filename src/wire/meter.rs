//! Meter readings, and what is known of the meters of nodes.
//!
//! Decides which readings mean something: each says when, and says energy, power or currents. Whether the site has the EVSE or node, and
//! whether a reading is older than one known already, is decided by the engine. A little below zero is what meters say of nothing.

use super::common::{bounded, list, read, required_timestamp};
use super::proto;
use crate::domain::bounds::{
    MAX_CONNECTOR_WATTS, MAX_CURRENT_DECIAMPS, MAX_ENERGY_WATT_HOURS, MAX_EVENT_AGE, MAX_OVERLOAD_POINTS,
    MAX_POWER_WATTS,
};
use crate::domain::ids::{EvseId, NodeId};
use crate::domain::overload::{NodeMeter, NodeReading, OverloadCurve, OverloadPoint};
use crate::domain::rejection::{Faults, Rejection};
use crate::domain::session::MeterSample;
use crate::units::{DeciAmps, Instant, Seconds, WattSeconds, Watts};
use prost_types::Timestamp;

/// Readings of one message.
pub const MAX_READINGS: usize = 1_000;
/// A meter's clock may be a little ahead of ours. One far ahead would make every later reading look old.
const MAX_AHEAD: Seconds = Seconds::from_mins(5);

/// `now` is the service's clock. Faults are told as `readings[2].…`.
pub fn meter_samples(messages: &[proto::MeterReading], now: Instant) -> Result<Vec<MeterSample>, Rejection> {
    all(messages, |message| meter_sample(message, now))
}

/// The same of nodes.
pub fn node_readings(messages: &[proto::NodeMeterReading], now: Instant) -> Result<Vec<NodeReading>, Rejection> {
    all(messages, |message| node_reading(message, now))
}

fn all<M, T>(messages: &[M], read_one: impl Fn(&M) -> Result<T, Rejection>) -> Result<Vec<T>, Rejection> {
    read(|faults| {
        if !(1..=MAX_READINGS).contains(&messages.len()) {
            let allowed = format_args!("1 to {MAX_READINGS}");
            faults.add("readings", "has a wrong number of items", messages.len(), allowed);
            return None;
        }
        Some(list(faults, "readings", messages, read_one))
    })
}

fn node_reading(message: &proto::NodeMeterReading, now: Instant) -> Result<NodeReading, Rejection> {
    read(|faults| {
        let node = faults.field("node_id", NodeId::parse(&message.node_id));
        let at = match &message.at {
            Some(at) => read_at(faults, Some(at), now),
            None => Some(now),
        };
        let currents = currents(faults, &message.current_deciampere);
        let power = message
            .power_watt
            .and_then(|value| faults.within("power_watt", "W", value, -MAX_POWER_WATTS..=MAX_POWER_WATTS));
        faults.require(
            message.power_watt.is_some() || !message.current_deciampere.is_empty(),
            "",
            "says nothing",
            "",
            "current_deciampere or power_watt",
        );
        Some(NodeReading {
            node: node?,
            at: at?,
            currents,
            power: power.map(Watts::from_watts),
        })
    })
}

fn read_at(faults: &mut Faults, message: Option<&Timestamp>, now: Instant) -> Option<Instant> {
    let at = required_timestamp(faults, "at", message)?;
    let allowed = now - MAX_EVENT_AGE..=now + MAX_AHEAD;
    let said = format_args!("{} to {}, as unix seconds", allowed.start(), allowed.end());
    faults.require(
        allowed.contains(&at),
        "at",
        "is too far from the service's clock",
        at,
        said,
    );
    Some(at)
}

/// The meter of a node, and what the node bears.
pub(super) fn node_meter(faults: &mut Faults, message: &proto::Node) -> Option<NodeMeter> {
    const CURVE: &str = "overload_curve";
    let points = bounded(faults, CURVE, &message.overload_curve, MAX_OVERLOAD_POINTS, |point| {
        let percent = u16::try_from(point.load_percent).map_err(|_| {
            Rejection::one(
                "load_percent",
                "is out of range",
                format_args!("{} %", point.load_percent),
                "101 to 10000 %",
            )
        })?;
        Ok(OverloadPoint {
            percent,
            tolerated: Seconds::from_secs(point.tolerated_seconds.into()),
        })
    });
    Some(NodeMeter {
        is_there: message.metered,
        curve: faults.part(CURVE, OverloadCurve::new(points))?,
    })
}

/// As the fields of a node: whether it is metered, and its curve, which is left out where it is the usual one.
pub(super) fn node_meter_message(meter: &NodeMeter) -> (bool, Vec<proto::OverloadPoint>) {
    let points = meter.curve.points().iter().map(|point| proto::OverloadPoint {
        load_percent: point.percent.into(),
        tolerated_seconds: i32::try_from(point.tolerated.secs()).unwrap_or(i32::MAX),
    });
    let is_usual = meter.curve == OverloadCurve::default();
    (meter.is_there, points.filter(|_| !is_usual).collect())
}

fn meter_sample(message: &proto::MeterReading, now: Instant) -> Result<MeterSample, Rejection> {
    read(|faults| {
        let evse = faults.field("evse_id", EvseId::parse(&message.evse_id));
        let at = read_at(faults, message.at.as_ref(), now);
        let session_energy = message
            .session_energy_watt_hour
            .and_then(|value| faults.within("session_energy_watt_hour", "Wh", value, 0..=MAX_ENERGY_WATT_HOURS));
        let power = message
            .power_watt
            .and_then(|value| faults.within("power_watt", "W", value, -MAX_CONNECTOR_WATTS..=MAX_CONNECTOR_WATTS));
        let currents = currents(faults, &message.current_deciampere);
        faults.require(
            message.session_energy_watt_hour.is_some()
                || message.power_watt.is_some()
                || !message.current_deciampere.is_empty(),
            "",
            "says nothing",
            "",
            "session_energy_watt_hour, power_watt or current_deciampere",
        );
        Some(MeterSample {
            evse: evse?,
            at: at?,
            session_energy: session_energy.map(WattSeconds::from_watt_hours),
            power: power.map(Watts::from_watts),
            currents,
        })
    })
}

fn currents(faults: &mut Faults, values: &[i64]) -> Option<[DeciAmps; 3]> {
    for (index, value) in values.iter().enumerate().take(3) {
        faults.within(
            format!("current_deciampere[{index}]"),
            "dA",
            *value,
            -MAX_CURRENT_DECIAMPS..=MAX_CURRENT_DECIAMPS,
        );
    }
    match *values {
        [] => None,
        [first, second, third] => Some([first, second, third].map(DeciAmps::from_deciamps)),
        _ => {
            let count = format_args!("{} values", values.len());
            faults.add("current_deciampere", "is not for three lines", count, "none or 3");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn reading(change: impl FnOnce(&mut proto::MeterReading)) -> proto::MeterReading {
        let mut reading = proto::MeterReading {
            evse_id: "e1".to_owned(),
            at: Some(Timestamp { seconds: NOW, nanos: 0 }),
            session_energy_watt_hour: None,
            power_watt: Some(7_000),
            current_deciampere: vec![],
        };
        change(&mut reading);
        reading
    }

    fn faults(readings: &[proto::MeterReading]) -> Vec<String> {
        let rejection = meter_samples(readings, Instant::from_unix_secs(NOW)).unwrap_err();
        rejection
            .faults()
            .iter()
            .map(|fault| format!("{}: {}", fault.field, fault.rule))
            .collect()
    }

    #[test]
    fn a_reading_keeps_what_it_says() {
        let read = meter_samples(
            &[reading(|reading| {
                reading.session_energy_watt_hour = Some(2);
                reading.current_deciampere = vec![1, 2, 3];
            })],
            Instant::from_unix_secs(NOW),
        )
        .unwrap();
        assert_eq!(
            read,
            [MeterSample {
                evse: EvseId::parse("e1").unwrap(),
                at: Instant::from_unix_secs(NOW),
                session_energy: Some(WattSeconds::from_watt_hours(2)),
                power: Some(Watts::from_watts(7_000)),
                currents: Some([1, 2, 3].map(DeciAmps::from_deciamps)),
            }]
        );
    }

    #[test]
    fn every_fault_of_every_reading_is_told() {
        let wrong = [
            reading(|reading| reading.power_watt = None),
            reading(|reading| {
                reading.evse_id = String::new();
                reading.at = None;
                reading.power_watt = Some(i64::MIN);
                reading.current_deciampere = vec![1, i64::MAX];
            }),
            reading(|reading| {
                reading.at = Some(Timestamp {
                    seconds: NOW + 301,
                    nanos: 0,
                })
            }),
        ];
        assert_eq!(
            faults(&wrong),
            [
                "readings[0]: says nothing",
                "readings[1].evse_id: is required",
                "readings[1].at: is required",
                "readings[1].power_watt: is out of range",
                "readings[1].current_deciampere[1]: is out of range",
                "readings[1].current_deciampere: is not for three lines",
                "readings[2].at: is too far from the service's clock",
            ]
        );
    }

    #[test]
    fn a_message_has_one_to_a_thousand_readings() {
        let many = vec![reading(|_| {}); MAX_READINGS + 1];
        assert_eq!(faults(&[]), ["readings: has a wrong number of items"]);
        assert_eq!(faults(&many), ["readings: has a wrong number of items"]);
        assert!(meter_samples(&many[1..], Instant::from_unix_secs(NOW)).is_ok());
    }
}
