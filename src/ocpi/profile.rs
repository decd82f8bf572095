//! Turns a charging profile of ours into OCPI's object.
//!
//! Decides the form only: amperes per phase for AC and watts for DC, absolute start in UTC, periods in seconds from it, no
//! `duration`, so that the last limit, the tail, holds until something replaces it. Never makes a limit higher than it was.

use super::date_time::DateTime;
use super::decimal::Tenths;
use super::objects::{ChargingProfile, ChargingProfilePeriod, ChargingRateUnit};
use crate::domain::conversion::{Rate, RateUnit};
use crate::domain::profile;

/// The object for `profile`, at a connector whose least rate above zero is `minimum`.
///
/// The profile's timeline starts at its first rate, strictly increases and has no equal neighbours; so do the periods.
pub fn encode(profile: &profile::ChargingProfile, minimum: Rate) -> ChargingProfile {
    let start = profile.start();
    let periods = profile.limits().points().iter();
    ChargingProfile {
        start_date_time: Some(DateTime(start)),
        duration: None,
        charging_rate_unit: match profile.unit {
            RateUnit::DeciAmpere => ChargingRateUnit::Ampere,
            RateUnit::Watt => ChargingRateUnit::Watt,
        },
        min_charging_rate: (minimum > Rate::ZERO).then(|| in_unit(profile.unit, minimum)),
        charging_profile_period: periods
            .map(|(at, rate)| ChargingProfilePeriod {
                start_period: (*at - start).secs(),
                limit: in_unit(profile.unit, *rate),
            })
            .collect(),
    }
}

/// A rate in amperes or watts. A deciampere is a tenth already, so nothing is rounded.
fn in_unit(unit: RateUnit, rate: Rate) -> Tenths {
    match unit {
        RateUnit::DeciAmpere => Tenths::new(rate.value()),
        RateUnit::Watt => Tenths::from_units(rate.value()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::timeline::Timeline;
    use crate::units::{Instant, Seconds};

    /// 2026-11-22T15:45:00Z
    const START: Instant = Instant::from_unix_secs(1_795_362_300);

    fn profile(unit: RateUnit, rates: &[(i64, i64)], tail: i64) -> profile::ChargingProfile {
        let limits = rates
            .iter()
            .map(|(secs, rate)| (START + Seconds::from_secs(*secs), Rate::new(*rate)));
        let lease_end = START + Seconds::from_mins(15);
        profile::ChargingProfile::cut(unit, &Timeline::from_points(limits), START, lease_end, Rate::new(tail))
    }

    #[test]
    fn an_ac_profile_is_amperes_per_phase_with_one_decimal() {
        let object = encode(
            &profile(RateUnit::DeciAmpere, &[(0, 161), (300, 0), (600, 105)], 60),
            Rate::new(60),
        );
        assert_eq!(
            serde_json::to_string(&object).unwrap(),
            concat!(
                r#"{"start_date_time":"2026-11-22T15:45:00Z","charging_rate_unit":"A","min_charging_rate":6.0,"#,
                r#""charging_profile_period":[{"start_period":0,"limit":16.1},{"start_period":300,"limit":0.0},"#,
                r#"{"start_period":600,"limit":10.5},{"start_period":900,"limit":6.0}]}"#
            )
        );
    }

    #[test]
    fn a_dc_profile_is_watts() {
        let object = encode(&profile(RateUnit::Watt, &[(0, 149_999)], 0), Rate::new(5_000));
        assert_eq!(
            serde_json::to_string(&object).unwrap(),
            concat!(
                r#"{"start_date_time":"2026-11-22T15:45:00Z","charging_rate_unit":"W","min_charging_rate":5000.0,"#,
                r#""charging_profile_period":[{"start_period":0,"limit":149999.0},{"start_period":900,"limit":0.0}]}"#
            )
        );
    }

    #[test]
    fn a_tail_that_equals_the_last_rate_is_no_period_of_its_own() {
        let object = encode(&profile(RateUnit::DeciAmpere, &[(0, 60), (300, 60)], 60), Rate::ZERO);
        assert_eq!(object.charging_profile_period.len(), 1);
        assert_eq!(object.min_charging_rate, None);
    }
}
