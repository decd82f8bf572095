//! Writes what a command has to say: answers to standard output, complaints to standard error.
//!
//! Decides that a reader who stops reading is no failure, and that nothing from a peer reaches a terminal as a control character.

use super::failure::Failure;
use crate::telemetry::escape_control;
use crate::units::Instant;
use crate::wire::json::{Layout, to_json};
use crate::{ocpi, wire};
use prost::{Message, Name};
use std::io::{ErrorKind, Write};

/// How an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Tables for people.
    Human,
    /// Proto3 JSON with the field names of the protos.
    Json,
}

impl Form {
    pub fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Human }
    }

    /// Says `message`, in JSON or as `human` puts it.
    pub fn say<M: Message + Name>(self, message: &M, human: impl FnOnce(&M) -> String) -> Result<(), Failure> {
        match self {
            Self::Human => say(&human(message)),
            Self::Json => {
                let json = to_json(message, Layout::Pretty).map_err(|error| Failure::Internal(error.to_string()))?;
                say(&json)
            }
        }
    }
}

/// Writes `text` and a line feed to standard output.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", lines_escaped(text)).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Internal(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes `text` to standard error.
pub fn complain(text: &str) {
    if !text.is_empty() {
        // Nobody is left to hear that this failed.
        let _ = writeln!(std::io::stderr().lock(), "{}", lines_escaped(text));
    }
}

/// Line feeds are ours, other control characters are not.
fn lines_escaped(text: &str) -> String {
    text.split('\n').map(escape_control).collect::<Vec<_>>().join("\n")
}

/// `12.3`, from watt-hours, rounded to the nearest.
pub fn kwh(watt_hours: i64) -> String {
    tenths_of_thousand(watt_hours)
}

/// `12.3`, from watts, rounded to the nearest.
pub fn kw(watts: i64) -> String {
    tenths_of_thousand(watts)
}

fn tenths_of_thousand(value: i64) -> String {
    ocpi::decimal::Tenths::new((value + 50).div_euclid(100)).to_string()
}

/// `16.0 A` or `50000 W`; `-` if there is none.
pub fn rate(rate: Option<&wire::proto::Rate>) -> String {
    use wire::proto::rate::Rate::{CurrentDeciampere, PowerWatt};
    match rate.and_then(|rate| rate.rate.as_ref()) {
        Some(CurrentDeciampere(deciamps)) => format!("{} A", ocpi::decimal::Tenths::new(*deciamps)),
        Some(PowerWatt(watts)) => format!("{watts} W"),
        None => "-".to_owned(),
    }
}

/// In UTC, to the second; `-` if there is none.
pub fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| ocpi::date_time::DateTime(Instant::from_unix_secs(time.seconds)).to_string(),
    )
}

/// What a receipt says.
pub fn receipt(receipt: Option<&wire::proto::Receipt>) -> String {
    let Some(receipt) = receipt else {
        return "done".to_owned();
    };
    let mut text = format!(
        "recorded as entry {} at {}",
        receipt.sequence,
        time(receipt.recorded_at.as_ref())
    );
    for warning in &receipt.warnings {
        text.push_str("\nwarning: ");
        text.push_str(warning);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_to_the_nearest_tenth() {
        assert_eq!([kwh(0), kwh(49), kwh(50), kwh(12_349)], ["0.0", "0.0", "0.1", "12.3"]);
        assert_eq!(kw(-1_250), "-1.2");
    }

    #[test]
    fn only_line_feeds_of_ours_reach_the_terminal() {
        assert_eq!(lines_escaped("a\u{1b}[2J\nb\r\tc"), "a\\u001b[2J\nb\\r\\tc");
    }
}
