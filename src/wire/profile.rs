//! A charging profile as a message: field for field the OCPI object.
//!
//! Decides how a ceiling is written: absolute start in UTC, seconds from there, amperes per phase or watts with at most one decimal.
//! Never changes a ceiling: a tenth of an ampere is written exactly.

use super::proto;
use crate::domain::conversion::{Rate, RateUnit};
use crate::domain::profile::ChargingProfile;
use crate::units::Instant;
use chrono::DateTime;

/// `minimum` is the connector's least rate above zero.
pub fn charging_profile(profile: &ChargingProfile, minimum: Rate) -> proto::ChargingProfile {
    let period = |(from, rate): &(Instant, Rate)| proto::ChargingProfilePeriod {
        start_period: Some(seconds_from(profile.start(), *from)),
        limit: Some(in_unit(profile.unit, *rate)),
    };
    proto::ChargingProfile {
        start_date_time: utc_text(profile.start()),
        charging_rate_unit: unit_text(profile.unit).to_owned(),
        min_charging_rate: Some(in_unit(profile.unit, minimum)),
        charging_profile_period: profile.limits().points().iter().map(period).collect(),
    }
}

/// `YYYY-MM-DDThh:mm:ssZ`.
pub fn utc_text(instant: Instant) -> String {
    DateTime::from_timestamp(instant.unix_secs(), 0).map_or_else(
        || format!("{instant}"),
        |utc| utc.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

const fn unit_text(unit: RateUnit) -> &'static str {
    match unit {
        RateUnit::DeciAmpere => "A",
        RateUnit::Watt => "W",
    }
}

/// Dividing the integer by ten gives the double nearest to that decimal, which prints as it.
fn in_unit(unit: RateUnit, rate: Rate) -> f64 {
    match unit {
        RateUnit::DeciAmpere => rate.value() as f64 / 10.0,
        RateUnit::Watt => rate.value() as f64,
    }
}

/// A lease is a day at most, so this fits.
fn seconds_from(start: Instant, instant: Instant) -> i32 {
    i32::try_from((instant - start).secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::timeline::Timeline;

    fn profile(unit: RateUnit, points: &[(i64, i64)], lease_end: i64) -> ChargingProfile {
        let limits = points
            .iter()
            .map(|(secs, rate)| (Instant::from_unix_secs(*secs), Rate::new(*rate)));
        ChargingProfile::from_parts(unit, Timeline::from_points(limits), Instant::from_unix_secs(lease_end))
    }

    fn periods(message: &proto::ChargingProfile) -> Vec<(i32, String)> {
        message
            .charging_profile_period
            .iter()
            .map(|period| (period.start_period.unwrap(), period.limit.unwrap().to_string()))
            .collect()
    }

    #[test]
    fn ac_is_in_amperes_per_phase_from_an_absolute_start() {
        let ac = profile(
            RateUnit::DeciAmpere,
            &[(1_790_000_000, 160), (1_790_000_300, 163), (1_790_000_900, 0)],
            1_790_000_900,
        );
        let message = charging_profile(&ac, Rate::new(60));
        assert_eq!(message.start_date_time, "2026-09-21T14:13:20Z");
        assert_eq!(message.charging_rate_unit, "A");
        assert_eq!(message.min_charging_rate, Some(6.0));
        assert_eq!(
            periods(&message),
            [(0, "16".into()), (300, "16.3".into()), (900, "0".into())]
        );
    }

    #[test]
    fn dc_is_in_watts() {
        let dc = profile(RateUnit::Watt, &[(0, 49_999), (60, 0)], 60);
        let message = charging_profile(&dc, Rate::new(5_000));
        assert_eq!(message.charging_rate_unit, "W");
        assert_eq!(message.min_charging_rate, Some(5_000.0));
        assert_eq!(periods(&message), [(0, "49999".into()), (60, "0".into())]);
    }

    #[test]
    fn every_tenth_of_an_ampere_prints_with_one_decimal_at_most() {
        for deciamps in 0..=5_000 {
            let written = in_unit(RateUnit::DeciAmpere, Rate::new(deciamps)).to_string();
            let (whole, tenth) = (deciamps / 10, deciamps % 10);
            let expected = if tenth == 0 {
                whole.to_string()
            } else {
                format!("{whole}.{tenth}")
            };
            assert_eq!(written, expected);
        }
    }
}
