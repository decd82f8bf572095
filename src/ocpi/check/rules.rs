//! The rules of each object.
//!
//! Decides what is an error and what a warning. Beside what OCPI writes these are the rules of OCPP's charging schedules, since a
//! CPO maps a profile one to one: the first period starts at 0, starts increase, the last one lies within the duration.

use super::fields::{Fields, Place};
use super::json::Json;
use super::{Expectation, Findings, Kind};
use crate::ocpi::decimal::Tenths;
use crate::ocpi::objects::{ChargingProfileResponseType, ChargingProfileResultType, ChargingRateUnit};

/// Longest URL, in characters.
const MAX_URL_CHARS: usize = 255;
/// IEC 61851 has nothing between 0 and 6 A.
const MIN_AC_CURRENT: Tenths = Tenths::from_units(6);

/// Whether a profile is to be followed, or tells what is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sense {
    Command,
    Report,
}

/// Checks a document and says what it was taken for.
pub fn document(findings: &mut Findings, document: &Json, expectation: Expectation) -> Option<Kind> {
    let root = Place {
        path: "$".to_owned(),
        value: document,
    };
    let (place, data) = match document.field("status_code") {
        Some(_) => match envelope(findings, &root) {
            Some(data) => (data, true),
            None => return no_data(findings, expectation),
        },
        None => (root, false),
    };
    let Some(kind) = expectation.kind.or_else(|| recognise(place.value)) else {
        let names = Kind::ALL.map(Kind::name).join(", ");
        findings.errors.add(
            place.path,
            "cannot be recognised as an object of the module",
            place.value,
            names,
        );
        return None;
    };
    if data && kind != Kind::ChargingProfileResponse {
        let allowed = "the object itself: only a ChargingProfileResponse comes in an envelope";
        findings
            .errors
            .add("$", "is an envelope", format_args!("{} in data", kind.name()), allowed);
    }
    object(findings, &place, kind, expectation.max_periods);
    Some(kind)
}

/// The envelope's data, if it has any.
fn envelope<'a>(findings: &mut Findings, root: &Place<'a>) -> Option<Place<'a>> {
    let fields = Fields::of(findings, root, &["data", "status_code", "status_message", "timestamp"])?;
    if let Some(code) = fields.required(findings, "status_code", "an OCPI status code, such as 1000") {
        code.count(findings, "");
    }
    if let Some(message) = fields.optional(findings, "status_message") {
        message.text(findings);
    }
    if let Some(time) = fields.required(findings, "timestamp", "YYYY-MM-DDThh:mm:ssZ") {
        time.date_time(findings);
    }
    let data = fields.optional(findings, "data")?;
    match data.value {
        Json::List(items) if items.len() == 1 => {
            findings
                .errors
                .add(&data.path, "has the wrong type", data.value, "the object itself");
            Some(Place {
                path: format!("{}[0]", data.path),
                value: &items[0],
            })
        }
        _ => Some(data),
    }
}

fn no_data(findings: &mut Findings, expectation: Expectation) -> Option<Kind> {
    match expectation.kind {
        None | Some(Kind::ResponseEnvelope) => Some(Kind::ResponseEnvelope),
        Some(kind) => {
            findings.errors.add("$.data", "is required", "", kind.name());
            Some(kind)
        }
    }
}

/// What a value looks like, by the fields that only one object has. A set's and a clear's results look the same.
fn recognise(value: &Json) -> Option<Kind> {
    let has = |name| value.field(name).is_some();
    if has("charging_profile") {
        let is_active = has("start_date_time") && !has("response_url");
        return Some(if is_active {
            Kind::ActiveChargingProfile
        } else {
            Kind::SetChargingProfile
        });
    }
    if has("charging_rate_unit") || has("charging_profile_period") {
        return Some(Kind::ChargingProfile);
    }
    if has("profile") {
        return Some(Kind::ActiveChargingProfileResult);
    }
    let Json::Text(result) = value.field("result")? else {
        return Some(Kind::ChargingProfileResult);
    };
    let of_a_response_only = ChargingProfileResponseType::TEXTS.contains(&result.as_str())
        && !ChargingProfileResultType::TEXTS.contains(&result.as_str());
    Some(if has("timeout") || of_a_response_only {
        Kind::ChargingProfileResponse
    } else {
        Kind::ChargingProfileResult
    })
}

fn object(findings: &mut Findings, place: &Place<'_>, kind: Kind, max_periods: Option<usize>) {
    match kind {
        Kind::ChargingProfile => charging_profile(findings, place, Sense::Command, max_periods),
        Kind::SetChargingProfile => set_charging_profile(findings, place, max_periods),
        Kind::ActiveChargingProfile => active_charging_profile(findings, place, max_periods),
        Kind::ActiveChargingProfileResult => active_charging_profile_result(findings, place, max_periods),
        Kind::ChargingProfileResult | Kind::ClearProfileResult => {
            if let Some(fields) = Fields::of(findings, place, &["result"]) {
                result(findings, &fields);
            }
        }
        Kind::ChargingProfileResponse => response(findings, place),
        Kind::ResponseEnvelope => {
            envelope(findings, place);
        }
    }
}

fn set_charging_profile(findings: &mut Findings, place: &Place<'_>, max_periods: Option<usize>) {
    let Some(fields) = Fields::of(findings, place, &["charging_profile", "response_url"]) else {
        return;
    };
    if let Some(profile) = fields.required(findings, "charging_profile", "a ChargingProfile") {
        charging_profile(findings, &profile, Sense::Command, max_periods);
    }
    if let Some(url) = fields.required(findings, "response_url", "an https URL of up to 255 characters") {
        response_url(findings, &url);
    }
}

fn response_url(findings: &mut Findings, place: &Place<'_>) {
    let Some(url) = place.text(findings) else { return };
    let chars = url.chars().count();
    findings.errors.require(
        chars <= MAX_URL_CHARS,
        &place.path,
        "is too long",
        format_args!("{chars} characters"),
        format_args!("up to {MAX_URL_CHARS} characters"),
    );
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    let is_url =
        ["http", "https"].contains(&scheme) && !host.is_empty() && url.bytes().all(|byte| byte.is_ascii_graphic());
    findings.errors.require(
        is_url,
        &place.path,
        "is not a URL",
        url,
        "https://host/path, of printable ASCII characters without spaces",
    );
    findings
        .warnings
        .require(scheme != "http", &place.path, "is not encrypted", "http", "https");
}

fn charging_profile(findings: &mut Findings, place: &Place<'_>, sense: Sense, max_periods: Option<usize>) {
    const KNOWN: [&str; 5] = [
        "start_date_time",
        "duration",
        "charging_rate_unit",
        "min_charging_rate",
        "charging_profile_period",
    ];
    let Some(fields) = Fields::of(findings, place, &KNOWN) else {
        return;
    };
    match fields.optional(findings, "start_date_time") {
        Some(start) => start.date_time(findings),
        None if sense == Sense::Command => findings.warnings.add(
            fields.path_of("start_date_time"),
            "is absent: periods count from the start of the session's charging, not from now",
            "",
            "an absolute start",
        ),
        None => {}
    }
    let duration = duration(findings, &fields, sense);
    let allowed_units = ChargingRateUnit::TEXTS.join(" or ");
    let unit = fields
        .required(findings, "charging_rate_unit", &allowed_units)
        .and_then(|unit| unit.one_of(findings, ChargingRateUnit::TEXTS));
    if let Some(minimum) = fields.optional(findings, "min_charging_rate") {
        rate(findings, &minimum, unit);
    }
    periods(findings, &fields, unit, duration, max_periods);
}

fn duration(findings: &mut Findings, fields: &Fields<'_>, sense: Sense) -> Option<i64> {
    let place = fields.optional(findings, "duration")?;
    let seconds = place.count(findings, " s")?;
    if sense == Sense::Command {
        findings.warnings.add(
            place.path,
            "ends the profile, and what holds afterwards is not specified: possibly no limit at all",
            format_args!("{seconds} s"),
            "no duration, and a last limit that is safe to keep",
        );
    }
    Some(seconds)
}

fn periods(
    findings: &mut Findings,
    fields: &Fields<'_>,
    unit: Option<&str>,
    duration: Option<i64>,
    max_periods: Option<usize>,
) {
    const NAME: &str = "charging_profile_period";
    let place = fields.optional(findings, NAME);
    let list = match &place {
        Some(place) => match place.list(findings) {
            Some(list) => list,
            None => return,
        },
        None => &[],
    };
    let path = fields.path_of(NAME);
    findings.errors.require(
        !list.is_empty(),
        &path,
        "is empty, which OCPI allows and gives no meaning: never send it",
        "no period",
        "one period or more",
    );
    if let Some(most) = max_periods {
        findings.errors.require(
            list.len() <= most,
            &path,
            "has more periods than the station takes",
            list.len(),
            format_args!("up to {most}"),
        );
    }
    let mut before = None;
    for (index, value) in list.iter().enumerate() {
        let place = Place {
            path: format!("{path}[{index}]"),
            value,
        };
        let start = period(findings, &place, unit);
        if let Some(start) = start {
            start_of_period(findings, &place.path, index, start, before);
            before = Some(start);
        }
    }
    if let (Some(last), Some(duration)) = (before, duration) {
        findings.errors.require(
            last < duration,
            format!("{path}[{}].start_period", list.len() - 1),
            "is not before the end of the profile",
            format_args!("{last} s"),
            format_args!("less than the duration, {duration} s"),
        );
    }
}

/// The period's start, if it has one.
fn period(findings: &mut Findings, place: &Place<'_>, unit: Option<&str>) -> Option<i64> {
    let fields = Fields::of(findings, place, &["start_period", "limit"])?;
    let start = fields
        .required(findings, "start_period", "whole seconds from the start of the profile")
        .and_then(|start| start.count(findings, " s"));
    if let Some(limit) = fields.required(findings, "limit", "0 or more, with one decimal at most") {
        rate(findings, &limit, unit);
    }
    start
}

fn start_of_period(findings: &mut Findings, path: &str, index: usize, start: i64, before: Option<i64>) {
    let path = format!("{path}.start_period");
    let got = format!("{start} s");
    match before {
        None if index == 0 => {
            findings
                .errors
                .require(start == 0, path, "leaves a gap before the first period", got, "0 s")
        }
        None => {}
        Some(before) => {
            let rule = if start == before {
                "repeats the start of the period before"
            } else {
                "is out of order"
            };
            let allowed = format!("more than {before} s");
            findings.errors.require(start > before, path, rule, got, allowed);
        }
    }
}

fn rate(findings: &mut Findings, place: &Place<'_>, unit: Option<&str>) {
    let Some(rate) = place.rate(findings, &unit.map_or_else(String::new, |unit| format!(" {unit}"))) else {
        return;
    };
    let is_ampere = unit == Some(ChargingRateUnit::Ampere.as_str());
    let between = rate > Tenths::default() && rate < MIN_AC_CURRENT;
    findings.warnings.require(
        !(is_ampere && between),
        &place.path,
        "is below what AC charging can do: the station may pause or take the minimum",
        format_args!("{rate} A"),
        format_args!("0 A, or {MIN_AC_CURRENT} A and more"),
    );
}

fn active_charging_profile(findings: &mut Findings, place: &Place<'_>, max_periods: Option<usize>) {
    let Some(fields) = Fields::of(findings, place, &["start_date_time", "charging_profile"]) else {
        return;
    };
    if let Some(start) = fields.required(findings, "start_date_time", "YYYY-MM-DDThh:mm:ssZ") {
        start.date_time(findings);
    }
    if let Some(profile) = fields.required(findings, "charging_profile", "a ChargingProfile") {
        charging_profile(findings, &profile, Sense::Report, max_periods);
    }
}

fn active_charging_profile_result(findings: &mut Findings, place: &Place<'_>, max_periods: Option<usize>) {
    let Some(fields) = Fields::of(findings, place, &["result", "profile"]) else {
        return;
    };
    let accepted = result(findings, &fields).map(|result| result == ChargingProfileResultType::Accepted.as_str());
    let profile = fields.optional(findings, "profile");
    let path = fields.path_of("profile");
    match (accepted, &profile) {
        (Some(true), None) => findings.warnings.add(
            path,
            "is absent though the result is ACCEPTED",
            "",
            "an ActiveChargingProfile",
        ),
        (Some(false), Some(_)) => findings.warnings.add(
            path,
            "is there though the result is not ACCEPTED",
            "a profile",
            "no such field",
        ),
        _ => {}
    }
    if let Some(profile) = profile {
        active_charging_profile(findings, &profile, max_periods);
    }
}

fn result<'a>(findings: &mut Findings, fields: &Fields<'a>) -> Option<&'a str> {
    let texts = ChargingProfileResultType::TEXTS;
    fields
        .required(findings, "result", &texts.join(", "))
        .and_then(|result| result.one_of(findings, texts))
}

fn response(findings: &mut Findings, place: &Place<'_>) {
    let Some(fields) = Fields::of(findings, place, &["result", "timeout"]) else {
        return;
    };
    let texts = ChargingProfileResponseType::TEXTS;
    if let Some(result) = fields.required(findings, "result", &texts.join(", ")) {
        result.one_of(findings, texts);
    }
    if let Some(timeout) = fields.required(findings, "timeout", "seconds; 0 with a refusal") {
        timeout.count(findings, " s");
    }
}
