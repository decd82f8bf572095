//! Judges any JSON text that should be an object of the ChargingProfiles module.
//!
//! Decides what is wrong with it: an error where OCPI, or the station behind it, cannot be expected to do what is meant; a warning
//! where it may, and a careful sender would still write something else. Every fault of the text is told at once. Knows no session,
//! no clock and no site, so it never says whether a limit is a good one.

mod fields;
mod json;
mod rules;

use crate::domain::rejection::{Fault, Faults};
use json::Json;

/// What a text is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ChargingProfile,
    SetChargingProfile,
    ActiveChargingProfile,
    ActiveChargingProfileResult,
    ChargingProfileResult,
    ClearProfileResult,
    ChargingProfileResponse,
    /// The envelope of a response, without data.
    ResponseEnvelope,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::ChargingProfile,
        Self::SetChargingProfile,
        Self::ActiveChargingProfile,
        Self::ActiveChargingProfileResult,
        Self::ChargingProfileResult,
        Self::ClearProfileResult,
        Self::ChargingProfileResponse,
        Self::ResponseEnvelope,
    ];

    /// As OCPI names the object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChargingProfile => "ChargingProfile",
            Self::SetChargingProfile => "SetChargingProfile",
            Self::ActiveChargingProfile => "ActiveChargingProfile",
            Self::ActiveChargingProfileResult => "ActiveChargingProfileResult",
            Self::ChargingProfileResult => "ChargingProfileResult",
            Self::ClearProfileResult => "ClearProfileResult",
            Self::ChargingProfileResponse => "ChargingProfileResponse",
            Self::ResponseEnvelope => "ResponseEnvelope",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What to expect of a text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expectation {
    /// Recognised by its fields if absent.
    pub kind: Option<Kind>,
    /// Most periods the station takes, where known.
    pub max_periods: Option<usize>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the text was taken for; `None` if nothing could be made of it.
    pub kind: Option<Kind>,
    pub errors: Vec<Fault>,
    pub warnings: Vec<Fault>,
}

impl Report {
    /// No error; there may be warnings.
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }
}

/// Reads `text` and tells everything that is wrong with it, up to [`crate::domain::rejection::MAX_FAULTS`] of each severity.
pub fn check(text: &str, expectation: Expectation) -> Report {
    let mut findings = Findings::default();
    let kind = match Json::parse(text) {
        Ok(document) => rules::document(&mut findings, &document, expectation),
        Err(error) => {
            findings.errors.add("$", "is not JSON", error, "one JSON object");
            None
        }
    };
    Report {
        kind,
        errors: told(findings.errors),
        warnings: told(findings.warnings),
    }
}

#[derive(Debug, Default)]
struct Findings {
    errors: Faults,
    warnings: Faults,
}

fn told(faults: Faults) -> Vec<Fault> {
    match faults.finish(()) {
        Ok(()) => Vec::new(),
        Err(rejection) => rejection.faults().to_vec(),
    }
}
