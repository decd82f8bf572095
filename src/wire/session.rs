//! Sessions: what a caller says about one, and what an operator decided.
//!
//! Decides what is missing or has no meaning in such a message. Whether the session fits its site is decided by
//! [`crate::domain::session::Session::start`]. Never lets a driver's token through: the domain knows only a reference.

use super::common::{
    any_rate, narrow, one_of, optional_id, rate_message, read, required_timestamp, timestamp, timestamp_message,
};
use super::proto;
use crate::domain::bounds::MAX_ENERGY_WATT_HOURS;
use crate::domain::conversion::{Rate, RateUnit};
use crate::domain::driver::Driver;
use crate::domain::ids::{ConnectorId, EvseId, GroupId, SessionId};
use crate::domain::rejection::{Faults, Rejection};
use crate::domain::session::{Car, OcpiSession, Override, SessionSpec, Stated, Tier};
use crate::units::{Instant, WattSeconds};

/// What the caller says; `driver` is who shows the message's `driver_token`.
pub fn session_spec(message: &proto::SessionSpec, driver: Option<Driver>) -> Result<SessionSpec, Rejection> {
    read(|faults| read_session(faults, message, driver))
}

/// As [`session_spec`], but gives what could be read also where there were faults, so that the rest of it can be judged as well.
pub(crate) fn read_session(
    faults: &mut Faults,
    message: &proto::SessionSpec,
    driver: Option<Driver>,
) -> Option<SessionSpec> {
    let id = faults.field("id", SessionId::parse(&message.id));
    let evse = faults.field("evse_id", EvseId::parse(&message.evse_id));
    let connector = optional_id(faults, "connector_id", &message.connector_id, ConnectorId::parse);
    let arrival = required_timestamp(faults, "arrival_time", message.arrival_time.as_ref());
    let departure = departure(faults, message);
    let need = need(faults, message);
    let guaranteed = energy(faults, "guaranteed_watt_hour", message.guaranteed_watt_hour);
    let tier = match message.tier {
        0 => Some(Tier::NORMAL),
        number => faults.field("tier", Tier::from_caller(number.into())),
    };
    let group = optional_id(faults, "group_id", &message.group_id, GroupId::parse);
    let car = message.car.as_ref().map(car);
    let car = car.map_or(Some(Car::default()), |car| faults.part("car", car));
    Some(SessionSpec {
        id: id?,
        evse: evse?,
        connector,
        arrival: arrival?,
        departure,
        need,
        guaranteed: guaranteed.unwrap_or_default(),
        interruptible: !message.not_interruptible,
        tier: tier.unwrap_or(Tier::NORMAL),
        group,
        driver,
        car: car.unwrap_or_default(),
        ocpi: message.ocpi.as_ref().map(ocpi_session),
    })
}

/// Never says who the driver is. Energy is in whole watt-hours, rounded down.
pub fn session_spec_message(spec: &SessionSpec) -> proto::SessionSpec {
    proto::SessionSpec {
        id: spec.id.to_string(),
        evse_id: spec.evse.to_string(),
        connector_id: spec.connector.as_ref().map(ConnectorId::to_string).unwrap_or_default(),
        arrival_time: Some(timestamp_message(spec.arrival)),
        departure_time: spec.departure.value().map(timestamp_message),
        departure_estimated: matches!(spec.departure, Stated::Estimated(_)),
        need_watt_hour: spec.need.value().map(WattSeconds::floor_watt_hours),
        need_estimated: matches!(spec.need, Stated::Estimated(_)),
        guaranteed_watt_hour: spec.guaranteed.floor_watt_hours(),
        not_interruptible: !spec.interruptible,
        tier: spec.tier.number().into(),
        group_id: spec.group.as_ref().map(GroupId::to_string).unwrap_or_default(),
        driver_token: None,
        car: (spec.car != Car::default()).then(|| car_message(&spec.car)),
        ocpi: spec.ocpi.as_ref().map(ocpi_session_message),
    }
}

fn departure(faults: &mut Faults, message: &proto::SessionSpec) -> Stated<Instant> {
    let departure = message.departure_time.as_ref();
    match departure.and_then(|departure| faults.part("departure_time", timestamp(departure))) {
        Some(departure) if message.departure_estimated => Stated::Estimated(departure),
        Some(departure) => Stated::Given(departure),
        None => Stated::Unknown,
    }
}

fn need(faults: &mut Faults, message: &proto::SessionSpec) -> Stated<WattSeconds> {
    match message
        .need_watt_hour
        .and_then(|need| energy(faults, "need_watt_hour", need))
    {
        Some(need) if message.need_estimated => Stated::Estimated(need),
        Some(need) => Stated::Given(need),
        None => Stated::Unknown,
    }
}

/// Bounded here already, because watt-hours far outside would not fit as watt-seconds.
fn energy(faults: &mut Faults, field: &str, watt_hours: i64) -> Option<WattSeconds> {
    faults
        .within(field, "Wh", watt_hours, 0..=MAX_ENERGY_WATT_HOURS)
        .map(WattSeconds::from_watt_hours)
}

fn car(message: &proto::Car) -> Result<Car, Rejection> {
    read(|faults| {
        let phases = match message.phase_count {
            0 => None,
            count => narrow(faults, "phase_count", "phases", count, 1..=3),
        };
        let mut rate =
            |field, message: Option<&proto::Rate>| message.and_then(|message| faults.part(field, any_rate(message)));
        let maximum: Option<(RateUnit, Rate)> = rate("maximum", message.maximum.as_ref());
        let minimum: Option<(RateUnit, Rate)> = rate("minimum", message.minimum.as_ref());
        if let (Some((maximum_unit, _)), Some((minimum_unit, _))) = (maximum, minimum) {
            faults.require(
                maximum_unit == minimum_unit,
                "minimum",
                "is in another unit than the maximum",
                minimum_unit,
                maximum_unit,
            );
        }
        Some(Car {
            phases,
            maximum: maximum.map(|(_, rate)| rate),
            minimum: minimum.map(|(_, rate)| rate),
            unit: maximum.or(minimum).map(|(unit, _)| unit),
        })
    })
}

/// Rates whose unit nobody gave are written as amperes, the unit of all but DC.
fn car_message(car: &Car) -> proto::Car {
    let rate = |rate| rate_message(rate, car.unit.unwrap_or(RateUnit::DeciAmpere));
    proto::Car {
        phase_count: car.phases.unwrap_or(0).into(),
        maximum: car.maximum.map(rate),
        minimum: car.minimum.map(rate),
    }
}

fn ocpi_session(message: &proto::OcpiSession) -> OcpiSession {
    OcpiSession {
        peer: message.peer.clone(),
        country_code: message.country_code.clone(),
        party_id: message.party_id.clone(),
        session_id: message.session_id.clone(),
    }
}

pub fn ocpi_session_message(session: &OcpiSession) -> proto::OcpiSession {
    proto::OcpiSession {
        peer: session.peer.clone(),
        country_code: session.country_code.clone(),
        party_id: session.party_id.clone(),
        session_id: session.session_id.clone(),
    }
}

pub fn session_override(number: i32) -> Result<Override, Rejection> {
    let all = [Override::None, Override::Boost, Override::Pause, Override::HandBack];
    one_of(
        number,
        &all,
        session_override_message,
        proto::SessionOverride::as_str_name,
    )
}

pub const fn session_override_message(overridden: Override) -> proto::SessionOverride {
    match overridden {
        Override::None => proto::SessionOverride::None,
        Override::Boost => proto::SessionOverride::Boost,
        Override::Pause => proto::SessionOverride::Pause,
        Override::HandBack => proto::SessionOverride::HandBack,
    }
}
