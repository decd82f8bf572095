//! OCPI's `DateTime`: UTC, with `Z` or with no zone at all.
//!
//! Decides how a time is written (whole seconds, `Z`) and two manners of reading it: strictly as OCPI has it, and as peers send it.

use crate::units::Instant;
use chrono::{DateTime as ChronoDateTime, NaiveDateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// Longest text of a `DateTime`.
pub const MAX_CHARS: usize = 25;

/// First and last second that OCPI can write.
const YEAR_0: i64 = -62_167_219_200;
const YEAR_9999_END: i64 = 253_402_300_799;

/// A time in UTC, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime(pub Instant);

/// Why a text is not a `DateTime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("is longer than {MAX_CHARS} characters")]
    TooLong,
    #[error("has an offset, where only Z or nothing may stand")]
    Offset,
    #[error("is not a time")]
    NotATime,
}

impl DateTime {
    /// Reads `YYYY-MM-DDThh:mm:ss[.fraction][Z]`, and nothing else. A time without zone is UTC. A fraction rounds down.
    pub fn parse_strictly(text: &str) -> Result<Self, Malformed> {
        if text.chars().count() > MAX_CHARS {
            return Err(Malformed::TooLong);
        }
        let local = text.strip_suffix('Z').unwrap_or(text);
        if !has_the_shape(local) {
            let is_a_time = ChronoDateTime::parse_from_rfc3339(text).is_ok();
            let has_offset = is_a_time && !text.ends_with(['Z', 'z']);
            return Err(if has_offset {
                Malformed::Offset
            } else {
                Malformed::NotATime
            });
        }
        let parsed = NaiveDateTime::parse_from_str(local, "%Y-%m-%dT%H:%M:%S%.f").map_err(|_| Malformed::NotATime)?;
        Ok(Self(Instant::from_unix_secs(parsed.and_utc().timestamp())))
    }

    /// Reads what peers send: also offsets, which OCPI does not allow. One that leads out of the years 0 to 9999 is none.
    pub fn parse_leniently(text: &str) -> Result<Self, Malformed> {
        Self::parse_strictly(text).or_else(|malformed| {
            let time = ChronoDateTime::parse_from_rfc3339(text).map_err(|_| malformed)?;
            let secs = time.timestamp();
            let can_be_written = (YEAR_0..=YEAR_9999_END).contains(&secs);
            can_be_written
                .then_some(Self(Instant::from_unix_secs(secs)))
                .ok_or(Malformed::NotATime)
        })
    }
}

/// True for digits and separators in their places; whether the date exists is another question.
fn has_the_shape(local: &str) -> bool {
    let (seconds, fraction) = local.split_once('.').unwrap_or((local, "0"));
    let in_place = |(byte, pattern): (u8, u8)| match pattern {
        b'0' => byte.is_ascii_digit(),
        separator => byte == separator,
    };
    const PATTERN: &[u8] = b"0000-00-00T00:00:00";
    seconds.len() == PATTERN.len()
        && seconds.bytes().zip(PATTERN.iter().copied()).all(in_place)
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Years that OCPI cannot write are clamped; no time of an event reaches them.
        let secs = self.0.unix_secs().clamp(YEAR_0, YEAR_9999_END);
        let time = ChronoDateTime::<Utc>::from_timestamp(secs, 0).expect("years 0 to 9999 are within chrono's range");
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

impl Serialize for DateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DateTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_leniently(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T15:45:00Z
    const AFTERNOON: DateTime = DateTime(Instant::from_unix_secs(1_795_362_300));

    #[test]
    fn a_time_is_written_in_whole_seconds_with_z() {
        assert_eq!(AFTERNOON.to_string(), "2026-11-22T15:45:00Z");
        assert_eq!(DateTime(Instant::FAR_FUTURE).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(DateTime(Instant::FAR_PAST).to_string(), "0000-01-01T00:00:00Z");
    }

    #[test]
    fn z_or_no_zone_is_utc_and_fractions_round_down() {
        for text in [
            "2026-11-22T15:45:00Z",
            "2026-11-22T15:45:00",
            "2026-11-22T15:45:00.9Z",
            "2026-11-22T15:45:00.123",
        ] {
            assert_eq!(DateTime::parse_strictly(text), Ok(AFTERNOON), "{text}");
        }
    }

    #[test]
    fn offsets_are_read_from_peers_but_are_not_ocpi() {
        for text in ["2026-11-22T16:45:00+01:00", "2026-11-22T15:45:00+00:00"] {
            assert_eq!(DateTime::parse_strictly(text), Err(Malformed::Offset), "{text}");
            assert_eq!(DateTime::parse_leniently(text), Ok(AFTERNOON), "{text}");
        }
        for beyond in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01"] {
            assert_eq!(DateTime::parse_leniently(beyond), Err(Malformed::NotATime), "{beyond}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "Z",
            "2026-11-22",
            "2026-11-22 15:45:00Z",
            "2026-11-22t15:45:00z",
            "2026-13-22T15:45:00Z",
            "2026-02-30T15:45:00Z",
            "2026-11-22T15:45Z",
            "2026-11-22T15:45:00.Z",
            "+026-11-22T15:45:00Z",
            "2026-11-22T15:45:00ZZ",
        ] {
            assert_eq!(DateTime::parse_strictly(text), Err(Malformed::NotATime), "{text}");
        }
        assert_eq!(
            DateTime::parse_strictly("2026-11-22T15:45:00.123456Z"),
            Err(Malformed::TooLong)
        );
    }
}
