//! The golden cases of `tests/golden/ocpi`, and the promise that whatever we emit is right in every respect.

use laddplan::domain;
use laddplan::domain::conversion::{Rate, RateUnit};
use laddplan::domain::timeline::Timeline;
use laddplan::ocpi;
use laddplan::ocpi::check::{Expectation, Kind, Report};
use laddplan::ocpi::date_time::DateTime;
use laddplan::units::{Instant, Seconds};
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/ocpi")
        .join(folder);
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

fn described(report: &Report) -> String {
    let mut text = format!("{}\n", report.kind.map_or("unrecognised", Kind::name));
    for fault in &report.errors {
        writeln!(text, "error {fault}").unwrap();
    }
    for fault in &report.warnings {
        writeln!(text, "warning {fault}").unwrap();
    }
    text
}

#[test]
fn right_objects_have_no_errors() {
    for path in cases("right") {
        let report = ocpi::check::check(&std::fs::read_to_string(&path).unwrap(), Expectation::default());
        assert!(report.is_valid(), "{}: {}", path.display(), described(&report));
        // A duration is the one thing in them that a careful sender would leave out.
        for warning in &report.warnings {
            assert!(warning.field.ends_with(".duration"), "{}: {warning}", path.display());
        }
    }
}

#[test]
fn wrong_objects_have_exactly_the_findings_written_beside_them() {
    for path in cases("wrong") {
        let beside = path.with_extension("expected");
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        let (mut options, mut expectation) = (String::new(), Expectation::default());
        let mut findings = expected.as_str();
        while let Some((line, rest)) = findings.split_once('\n') {
            match line.split_once(": ") {
                Some(("as", kind)) => expectation.kind = Some(Kind::named(kind).unwrap()),
                Some(("max periods", most)) => expectation.max_periods = Some(most.parse().unwrap()),
                _ => break,
            }
            writeln!(options, "{line}").unwrap();
            findings = rest;
        }
        let report = ocpi::check::check(&std::fs::read_to_string(&path).unwrap(), expectation);
        if std::env::var_os("LADDPLAN_BLESS").is_some() {
            std::fs::write(&beside, options + &described(&report)).unwrap();
            continue;
        }
        assert_eq!(described(&report), findings, "{}", path.display());
    }
}

#[test]
fn right_objects_read_and_write_back_as_they_were() {
    fn round_trip<T: DeserializeOwned + serde::Serialize>(value: &serde_json::Value) -> serde_json::Value {
        serde_json::to_value(serde_json::from_value::<T>(value.clone()).unwrap()).unwrap()
    }
    for path in cases("right") {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut object: serde_json::Value = serde_json::from_str(&text).unwrap();
        let kind = ocpi::check::check(&text, Expectation::default()).kind.unwrap();
        if let Some(data) = object.get("data") {
            object = data.clone();
        }
        let back = match kind {
            Kind::ChargingProfile => round_trip::<ocpi::objects::ChargingProfile>(&object),
            Kind::SetChargingProfile => round_trip::<ocpi::objects::SetChargingProfile>(&object),
            Kind::ActiveChargingProfile => round_trip::<ocpi::objects::ActiveChargingProfile>(&object),
            Kind::ActiveChargingProfileResult => round_trip::<ocpi::objects::ActiveChargingProfileResult>(&object),
            Kind::ChargingProfileResult => round_trip::<ocpi::objects::ChargingProfileResult>(&object),
            Kind::ClearProfileResult => round_trip::<ocpi::objects::ClearProfileResult>(&object),
            Kind::ChargingProfileResponse => round_trip::<ocpi::objects::ChargingProfileResponse>(&object),
            Kind::ResponseEnvelope => continue,
        };
        assert_eq!(back, object, "{}", path.display());
    }
}

/// A case of `encode/`. Rates are in tenths of the unit, times in seconds from the start.
#[derive(Deserialize)]
struct EncodeCase {
    unit: String,
    minimum_tenths: i64,
    start_date_time: DateTime,
    lease_seconds: i64,
    tail_tenths: i64,
    plan_tenths: Vec<(i64, i64)>,
    charging_profile: serde_json::Value,
}

#[test]
fn plans_become_the_objects_written_beside_them() {
    for path in cases("encode") {
        let case: EncodeCase = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let (unit, tenths_per_rate) = match case.unit.as_str() {
            "A" => (RateUnit::DeciAmpere, 1),
            "W" => (RateUnit::Watt, 10),
            other => panic!("{other}"),
        };
        let rate = |tenths: i64| Rate::new(tenths / tenths_per_rate);
        let DateTime(start) = case.start_date_time;
        let plan = case.plan_tenths.iter();
        let profile = domain::profile::ChargingProfile::cut(
            unit,
            &Timeline::from_points(plan.map(|(secs, tenths)| (start + Seconds::from_secs(*secs), rate(*tenths)))),
            start,
            start + Seconds::from_secs(case.lease_seconds),
            rate(case.tail_tenths),
        );
        let object = ocpi::profile::encode(&profile, rate(case.minimum_tenths));
        // Text, not values: 16.1 must be written 16.1.
        assert_eq!(
            serde_json::to_string_pretty(&serde_json::to_value(&object).unwrap()).unwrap(),
            serde_json::to_string_pretty(&case.charging_profile).unwrap(),
            "{}",
            path.display()
        );
    }
}

prop_compose! {
    /// Any profile that the domain can hold: each rate zero or at least the minimum.
    fn any_profile()(
        unit in prop_oneof![Just(RateUnit::DeciAmpere), Just(RateUnit::Watt)],
        start in 0_i64..32_503_680_000,
        steps in prop::collection::vec((1_i64..100_000, 0_i64..4_000_000), 1..60),
        lease_secs in 1_i64..86_400,
        tail in 0_i64..4_000_000,
        minimum_over_least in 0_i64..1_000,
        most_periods in 2_usize..60,
    ) -> (domain::profile::ChargingProfile, Rate) {
        let minimum = minimum_over_least + if unit == RateUnit::DeciAmpere { 60 } else { 1 };
        let rate = |value: i64| Rate::new(if value < minimum { 0 } else { value });
        let mut at = start;
        let points: Vec<(Instant, Rate)> = steps
            .into_iter()
            .map(|(length, value)| {
                let begin = at;
                at += length;
                (Instant::from_unix_secs(begin), rate(value))
            })
            .collect();
        let start = Instant::from_unix_secs(start);
        let profile = domain::profile::ChargingProfile::cut(
            unit,
            &Timeline::from_points(points),
            start,
            start + Seconds::from_secs(lease_secs),
            rate(tail),
        );
        (profile.with_at_most(most_periods), Rate::new(minimum))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn whatever_is_emitted_is_right_in_every_respect((profile, minimum) in any_profile()) {
        let object = ocpi::profile::encode(&profile, minimum);
        let text = serde_json::to_string(&object).unwrap();
        let report = ocpi::check::check(&text, Expectation {
            kind: None,
            max_periods: Some(profile.limits().points().len()),
        });
        prop_assert_eq!(described(&report), "ChargingProfile\n");

        let back: ocpi::objects::ChargingProfile = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&back, &object);
        for pair in back.charging_profile_period.windows(2) {
            prop_assert_ne!(pair[0].limit, pair[1].limit, "equal neighbours are one period");
        }
    }

    #[test]
    fn what_is_emitted_allows_exactly_what_was_planned((profile, minimum) in any_profile()) {
        let object = ocpi::profile::encode(&profile, minimum);
        let DateTime(start) = object.start_date_time.unwrap();
        prop_assert_eq!(start, profile.start());
        let tenths_per_rate = if profile.unit == RateUnit::Watt { 10 } else { 1 };
        for period in &object.charging_profile_period {
            let at = start + Seconds::from_secs(period.start_period);
            prop_assert_eq!(period.limit.tenths(), profile.limits().at(at).value() * tenths_per_rate);
        }
        prop_assert_eq!(object.charging_profile_period.len(), profile.limits().points().len());
    }

    #[test]
    fn the_checker_survives_any_text(text in "\\PC{0,200}") {
        let report = ocpi::check::check(&text, Expectation::default());
        prop_assert!(report.kind.is_some() || !report.is_valid());
    }
}
