//! The objects of the ChargingProfiles module, read as peers send them.
//!
//! Decides only the shapes. Lenient on purpose: null is the same as absent for what is optional, unknown fields are ignored, an
//! unknown value of an enum is kept as it came. What is written is strict.

use super::date_time::DateTime;
use super::decimal::Tenths;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A value that OCPI does not have, as it came.
            Other(String),
        }

        impl $name {
            /// Every value that OCPI has.
            pub const TEXTS: &[&str] = &[$($text),+];

            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $($text => Self::$variant,)+
                    _ => Self::Other(text),
                }
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

open_enum!(
    /// The unit of every limit in a profile.
    ChargingRateUnit {
        /// Total power in watts: for DC.
        Watt = "W",
        /// Amperes on each phase: for AC.
        Ampere = "A",
    }
);

open_enum!(
    /// The CPO's answer to a request, which says nothing yet about the station.
    ChargingProfileResponseType {
        /// It will be passed on; the result follows.
        Accepted = "ACCEPTED",
        /// This station takes no profiles.
        NotSupported = "NOT_SUPPORTED",
        /// Not a session of ours, or no contract.
        Rejected = "REJECTED",
        TooOften = "TOO_OFTEN",
        UnknownSession = "UNKNOWN_SESSION",
    }
);

open_enum!(
    /// The station's answer. There is no value for silence.
    ChargingProfileResultType {
        Accepted = "ACCEPTED",
        Rejected = "REJECTED",
        /// There is no such profile.
        Unknown = "UNKNOWN",
    }
);

/// A ceiling over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargingProfile {
    /// Absent: relative to the start of the session's charging, not to now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date_time: Option<DateTime>,
    /// Seconds. Absent: the last period goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    pub charging_rate_unit: ChargingRateUnit,
    /// The least the car can use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_charging_rate: Option<Tenths>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub charging_profile_period: Vec<ChargingProfilePeriod>,
}

/// From its start until the next period's start, at most `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargingProfilePeriod {
    /// Seconds from the start of the profile.
    pub start_period: i64,
    pub limit: Tenths,
}

/// Body of the request that sets a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetChargingProfile {
    pub charging_profile: ChargingProfile,
    /// Where the result is to be posted.
    pub response_url: String,
}

/// What the station will follow, all limits considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveChargingProfile {
    /// When the station worked it out. Periods count from here.
    pub start_date_time: DateTime,
    pub charging_profile: ChargingProfile,
}

/// The CPO's answer to set, get and clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargingProfileResponse {
    pub result: ChargingProfileResponseType,
    /// Seconds within which the result follows.
    pub timeout: i64,
}

/// The station's answer to a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargingProfileResult {
    pub result: ChargingProfileResultType,
}

/// The station's answer to a clear. The same JSON as [`ChargingProfileResult`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearProfileResult {
    pub result: ChargingProfileResultType,
}

/// The station's answer to a get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveChargingProfileResult {
    pub result: ChargingProfileResultType,
    /// Present when accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ActiveChargingProfile>,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_absent_and_unknown_fields_are_ignored() {
        let result: ActiveChargingProfileResult =
            serde_json::from_str(r#"{"result": "REJECTED", "profile": null, "vendor": {"reason": 7}}"#).unwrap();
        assert_eq!(result.result, ChargingProfileResultType::Rejected);
        assert_eq!(result.profile, None);

        let profile: ChargingProfile = serde_json::from_str(
            r#"{"start_date_time": null, "duration": null, "charging_rate_unit": "A", "min_charging_rate": null,
                "charging_profile_period": null}"#,
        )
        .unwrap();
        let absent: ChargingProfile = serde_json::from_str(r#"{"charging_rate_unit": "A"}"#).unwrap();
        assert_eq!(profile, absent);
    }

    #[test]
    fn an_unknown_value_of_an_enum_is_kept() {
        let response: ChargingProfileResponse =
            serde_json::from_str(r#"{"result": "MAYBE_LATER", "timeout": 30}"#).unwrap();
        assert_eq!(
            response.result,
            ChargingProfileResponseType::Other("MAYBE_LATER".to_owned())
        );
        assert_eq!(
            serde_json::to_string(&response).unwrap(),
            r#"{"result":"MAYBE_LATER","timeout":30}"#
        );
    }

    #[test]
    fn what_is_required_is_required() {
        assert!(serde_json::from_str::<ChargingProfileResult>(r#"{"result": null}"#).is_err());
        assert!(serde_json::from_str::<ChargingProfileResponse>(r#"{"result": "ACCEPTED"}"#).is_err());
        assert!(serde_json::from_str::<ChargingProfile>(r#"{"charging_profile_period": []}"#).is_err());
    }
}
