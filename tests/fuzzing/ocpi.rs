//! OCPI objects as JSON, as a peer or a user may send them.
//!
//! The first byte chooses what the text is taken for. What the strict check finds nothing wrong with, not even a warning, is read by
//! the lenient reader, and what that writes is right and reads back equal. What the lenient reader takes of anything else it writes
//! so that it reads back equal too.

use super::{Verdict, check_faults};
use laddplan::ocpi::check::{Expectation, Kind, Report, check};
use laddplan::ocpi::objects;
use laddplan::wire::json::{Layout, to_json};
use laddplan::wire::proto;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// The kinds, and none: recognise it.
const CHOICES: usize = Kind::ALL.len() + 1;
const PERIODS: [Option<usize>; 3] = [None, Some(24), Some(2)];

/// An input: the text, taken for `kind`. Its first byte is printable.
pub fn input(kind: Option<Kind>, text: &str) -> Vec<u8> {
    let index = kind.map_or(Kind::ALL.len(), |kind| {
        Kind::ALL
            .iter()
            .position(|other| *other == kind)
            .expect("is one of all")
    });
    let first = (b'0'..=b'z').find(|byte| usize::from(*byte) % (CHOICES * PERIODS.len()) == index);
    let mut input = vec![first.expect("there are enough letters")];
    input.extend(text.as_bytes());
    input
}

pub fn run(data: &[u8]) -> Verdict {
    let Some((first, text)) = data.split_first() else {
        return Verdict::Refused;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return Verdict::Refused;
    };
    let choice = usize::from(*first) % (CHOICES * PERIODS.len());
    let expectation = Expectation {
        kind: Kind::ALL.get(choice % CHOICES).copied(),
        max_periods: PERIODS[choice / CHOICES],
    };
    let report = check(text, expectation);
    check_faults(&report.errors);
    check_faults(&report.warnings);
    read_leniently(text);
    if !report.is_valid() {
        return Verdict::Refused;
    }
    if report.warnings.is_empty() {
        use_it(&report, text, expectation);
    }
    Verdict::Used
}

/// What we send ourselves.
pub fn check_ours(profile: &proto::ChargingProfile) {
    let json = to_json(profile, Layout::Line).expect("a profile can be said in JSON");
    let expectation = Expectation {
        kind: Some(Kind::ChargingProfile),
        max_periods: None,
    };
    let report = check(&json, expectation);
    assert!(report.is_valid(), "{json}: {:?}", report.errors);
    read_back::<objects::ChargingProfile>(&json, Kind::ChargingProfile);
}

fn read_leniently(text: &str) {
    fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) {
        if let Ok(object) = serde_json::from_str::<T>(text) {
            let written = serde_json::to_string(&object).expect("what was read can be written");
            assert_eq!(
                serde_json::from_str::<T>(&written).expect("our own JSON"),
                object,
                "{written}"
            );
        }
    }
    same::<objects::SetChargingProfile>(text);
    same::<objects::ChargingProfile>(text);
    same::<objects::ActiveChargingProfile>(text);
    same::<objects::ActiveChargingProfileResult>(text);
    same::<objects::ChargingProfileResult>(text);
    same::<objects::ClearProfileResult>(text);
    same::<objects::ChargingProfileResponse>(text);
}

fn use_it(report: &Report, text: &str, expectation: Expectation) {
    let kind = report.kind.expect("what is right was recognised");
    assert!(expectation.kind.is_none_or(|expected| expected == kind));
    let document: serde_json::Value = serde_json::from_str(text).expect("what is right is JSON");
    let in_an_envelope = document.get("status_code").is_some();
    let object = if in_an_envelope { &document["data"] } else { &document };
    // As it stands in the text: a value would bring numbers into another form.
    let text = if in_an_envelope { &object.to_string() } else { text };
    match kind {
        Kind::ChargingProfile => read_back::<objects::ChargingProfile>(text, kind),
        Kind::SetChargingProfile => read_back::<objects::SetChargingProfile>(text, kind),
        Kind::ActiveChargingProfile => read_back::<objects::ActiveChargingProfile>(text, kind),
        Kind::ActiveChargingProfileResult => read_back::<objects::ActiveChargingProfileResult>(text, kind),
        Kind::ChargingProfileResult => read_back::<objects::ChargingProfileResult>(text, kind),
        Kind::ClearProfileResult => read_back::<objects::ClearProfileResult>(text, kind),
        Kind::ChargingProfileResponse => read_back::<objects::ChargingProfileResponse>(text, kind),
        Kind::ResponseEnvelope => {}
    }
}

/// What is right is read, and what is written of it is right.
fn read_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str, kind: Kind) {
    let object: T = serde_json::from_str(text).expect("what is right can be read");
    let written = serde_json::to_string(&object).expect("what was read can be written");
    let expectation = Expectation {
        kind: Some(kind),
        max_periods: None,
    };
    let report = check(&written, expectation);
    assert!(report.is_valid(), "{written}: {:?}", report.errors);
    assert_eq!(
        serde_json::from_str::<T>(&written).expect("our own JSON"),
        object,
        "{written}"
    );
}
