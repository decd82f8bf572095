//! The messages that every service shares, and the small readers of which all others are built.
//!
//! Decides how time, rates, limits, enums and narrow integers are read. A field's name is always the one in the message.

use super::proto;
use crate::domain::conversion::{Rate, RateUnit};
use crate::domain::limits::NodeLimit;
use crate::domain::rejection::{Faults, Rejection};
use crate::units::{DeciAmps, Instant, Watts};
use prost_types::Timestamp;
use std::ops::RangeInclusive;

/// 1970-01-01T00:00:00Z to 2200-01-01T00:00:00Z, in unix seconds.
const ALLOWED_TIME: RangeInclusive<i64> = 0..=7_258_118_400;
const ALLOWED_NANOS: RangeInclusive<i32> = 0..=999_999_999;

/// Reads a message: `build` notes every fault and gives nothing where there was one.
pub(crate) fn read<T>(build: impl FnOnce(&mut Faults) -> Option<T>) -> Result<T, Rejection> {
    let mut faults = Faults::default();
    match build(&mut faults) {
        Some(value) => faults.finish(value),
        None => Err(faults.into_rejection()),
    }
}

/// Reads every item of a list; a fault is told as `field[2].…`.
pub(crate) fn list<M, T>(
    faults: &mut Faults,
    field: &str,
    messages: &[M],
    read_item: impl Fn(&M) -> Result<T, Rejection>,
) -> Vec<T> {
    messages
        .iter()
        .enumerate()
        .filter_map(|(index, message)| faults.part(&format!("{field}[{index}]"), read_item(message)))
        .collect()
}

/// The same of a list of at most `most` items. A longer one is not read at all, so that it costs nobody time.
pub(crate) fn bounded<M, T>(
    faults: &mut Faults,
    field: &str,
    messages: &[M],
    most: usize,
    read_item: impl Fn(&M) -> Result<T, Rejection>,
) -> Vec<T> {
    if messages.len() > most {
        let allowed = format_args!("at most {most}");
        faults.add(field, "has too many items", messages.len(), allowed);
        return Vec::new();
    }
    list(faults, field, messages, read_item)
}

/// Whole seconds; a fraction is dropped, towards the past.
pub fn timestamp(message: &Timestamp) -> Result<Instant, Rejection> {
    if !ALLOWED_NANOS.contains(&message.nanos) {
        return Err(Rejection::one(
            "nanos",
            "is out of range",
            message.nanos,
            "0 to 999999999",
        ));
    }
    if !ALLOWED_TIME.contains(&message.seconds) {
        return Err(Rejection::one(
            "",
            "is too far away",
            format_args!("{} unix seconds", message.seconds),
            "1970-01-01T00:00:00Z to 2200-01-01T00:00:00Z",
        ));
    }
    Ok(Instant::from_unix_secs(message.seconds))
}

pub fn timestamp_message(instant: Instant) -> Timestamp {
    Timestamp {
        seconds: instant.unix_secs(),
        nanos: 0,
    }
}

/// A time that must be there.
pub(crate) fn required_timestamp(faults: &mut Faults, field: &str, message: Option<&Timestamp>) -> Option<Instant> {
    let message = required(faults, field, message, "a time")?;
    faults.part(field, timestamp(message))
}

/// The value of a message that must be there.
pub(crate) fn required<'message, T>(
    faults: &mut Faults,
    field: &str,
    message: Option<&'message T>,
    allowed: &str,
) -> Option<&'message T> {
    if message.is_none() {
        faults.add(field, "is required", "", allowed);
    }
    message
}

/// A rate with the unit in which it was given.
pub fn any_rate(message: &proto::Rate) -> Result<(RateUnit, Rate), Rejection> {
    use proto::rate::Rate as Arm;
    match message.rate {
        Some(Arm::CurrentDeciampere(value)) => Ok((RateUnit::DeciAmpere, Rate::new(value))),
        Some(Arm::PowerWatt(value)) => Ok((RateUnit::Watt, Rate::new(value))),
        None => Err(Rejection::one(
            "",
            "has no value",
            "",
            "current_deciampere or power_watt",
        )),
    }
}

/// A rate of a connector that is told its rates in `unit`.
pub fn rate(message: &proto::Rate, unit: RateUnit) -> Result<Rate, Rejection> {
    let (got, rate) = any_rate(message)?;
    if got == unit {
        return Ok(rate);
    }
    Err(Rejection::one(
        "",
        "is in another unit than the connector's",
        arm_name(got),
        arm_name(unit),
    ))
}

pub fn rate_message(rate: Rate, unit: RateUnit) -> proto::Rate {
    use proto::rate::Rate as Arm;
    proto::Rate {
        rate: Some(match unit {
            RateUnit::DeciAmpere => Arm::CurrentDeciampere(rate.value()),
            RateUnit::Watt => Arm::PowerWatt(rate.value()),
        }),
    }
}

const fn arm_name(unit: RateUnit) -> &'static str {
    match unit {
        RateUnit::DeciAmpere => "current_deciampere",
        RateUnit::Watt => "power_watt",
    }
}

/// Nothing can be wrong with its shape; absent is no limit. Its values are checked with the site, or by
/// [`crate::domain::site::check_node_limit`].
pub fn node_limit(message: Option<&proto::NodeLimit>) -> NodeLimit {
    message.map_or_else(NodeLimit::default, |message| NodeLimit {
        line: message.line_deciampere.map(DeciAmps::from_deciamps),
        total: message.total_watt.map(Watts::from_watts),
    })
}

pub fn node_limit_message(limit: &NodeLimit) -> proto::NodeLimit {
    proto::NodeLimit {
        line_deciampere: limit.line.map(DeciAmps::deciamps),
        total_watt: limit.total.map(Watts::watts),
    }
}

/// The value of `all` whose message has this number. `message` says how each is written, `name` what it is called.
pub(crate) fn one_of<D: Copy, P: Into<i32>>(
    number: i32,
    all: &[D],
    message: impl Fn(D) -> P,
    name: impl Fn(&P) -> &'static str,
) -> Result<D, Rejection> {
    if let Some(value) = all.iter().find(|value| message(**value).into() == number) {
        return Ok(*value);
    }
    let names: Vec<&str> = all.iter().map(|value| name(&message(*value))).collect();
    let (rule, got) = if number == 0 {
        ("is required", String::new())
    } else {
        ("is not known", number.to_string())
    };
    Err(Rejection::one("", rule, got, names.join(", ")))
}

/// An integer in a narrower type. `allowed` must fit that type.
pub(crate) fn narrow<T: TryFrom<i64>>(
    faults: &mut Faults,
    field: &str,
    unit: &str,
    value: i32,
    allowed: RangeInclusive<i64>,
) -> Option<T> {
    let value = faults.within(field, unit, i64::from(value), allowed)?;
    T::try_from(value).ok()
}

/// An id that may be left out: empty is none.
pub(crate) fn optional_id<T>(
    faults: &mut Faults,
    field: &str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, Rejection>,
) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    faults.field(field, parse(text))
}
