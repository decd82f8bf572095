//! `laddplan site rollout`: what is left at each place of a site, and why room is held for its EVSEs.

use super::client::{ClientArgs, every_page, refused, with_client};
use super::failure::Failure;
use super::table::{Column, table};
use super::{commissioning, output};
use crate::ocpi::decimal::Tenths;
use crate::wire::proto;
use clap::Args;
use proto::reservation_reason::Reason;
use std::cell::RefCell;

#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// Id of the site.
    site: String,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(args: RolloutArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let first: RefCell<Option<proto::GetRolloutResponse>> = RefCell::default();
        let evses = every_page(async |page| {
            let request = proto::GetRolloutRequest {
                tenant_id: args.client.tenant.clone(),
                site_id: args.site.clone(),
                page: Some(page),
            };
            let mut response = client.sites().get_rollout(request).await.map_err(refused)?.into_inner();
            let (evses, next) = (
                std::mem::take(&mut response.evses),
                std::mem::take(&mut response.next_page_token),
            );
            first.borrow_mut().get_or_insert(response);
            Ok((evses, next))
        })
        .await?;
        let whole = proto::GetRolloutResponse {
            evses,
            ..first.take().unwrap_or_default()
        };
        client.form.say(&whole, shown)
    })
}

fn shown(rollout: &proto::GetRolloutResponse) -> String {
    let link = if rollout.gateway_connected {
        "is connected"
    } else {
        "is NOT connected"
    };
    let mut parts = vec![
        format!("at {}, the gateway {link}", output::time(rollout.at.as_ref())),
        places_table(&rollout.places),
    ];
    parts.extend(meters_table(&rollout.places));
    parts.push(evses_table(&rollout.evses));
    parts.extend(checks_table(&rollout.evses));
    parts.extend(revisions_table(&rollout.evses));
    parts.join("\n\n")
}

fn places_table(places: &[proto::PlaceRoom]) -> String {
    let rows: Vec<[String; 6]> = places
        .iter()
        .map(|place| {
            [
                place.node_id.clone(),
                place.parent_id.clone(),
                capacity(place.available.as_ref()),
                load(place.worst_case.as_ref()),
                capacity(place.headroom.as_ref()),
                capacity(place.least_headroom.as_ref()),
            ]
        })
        .collect();
    let columns = [
        Column::Left("place"),
        Column::Left("fed from"),
        Column::Left("available"),
        Column::Left("worst case"),
        Column::Left("headroom"),
        Column::Left("least in a lease"),
    ];
    table(columns, &rows)
}

/// What meters at places show; nothing where there is none.
fn meters_table(places: &[proto::PlaceRoom]) -> Option<String> {
    let metered = places.iter().filter_map(|place| Some((place, place.meter.as_ref()?)));
    let rows: Vec<[String; 5]> = metered
        .map(|(place, meter)| {
            let read = proto::PlaceCapacity {
                l1_deciampere: meter.l1_deciampere,
                l2_deciampere: meter.l2_deciampere,
                l3_deciampere: meter.l3_deciampere,
                total_watt: meter.total_watt,
                ..Default::default()
            };
            [
                place.node_id.clone(),
                output::time(meter.at.as_ref()),
                capacity(Some(&read)),
                format!("{} %", Tenths::new(meter.overload_used_permille.into())),
                output::time(meter.sheds_since.as_ref()),
            ]
        })
        .collect();
    let columns = [
        Column::Left("metered"),
        Column::Left("read"),
        Column::Left("drawn"),
        Column::Right("overload used"),
        Column::Left("lowered since"),
    ];
    (!rows.is_empty()).then(|| table(columns, &rows))
}

fn evses_table(evses: &[proto::EvseRollout]) -> String {
    let rows: Vec<[String; 8]> = evses
        .iter()
        .map(|evse| {
            let why: Vec<String> = evse.reasons.iter().map(|reason| words(reason, evse)).collect();
            [
                evse.evse_id.clone(),
                evse.session_id.clone(),
                trust(evse.trust()).to_owned(),
                kw(evse.allowed.as_ref()),
                kw(evse.reserved.as_ref()),
                output::kw(evse.unused_watt),
                evse.open_attempts.to_string(),
                why.join("; "),
            ]
        })
        .collect();
    let columns = [
        Column::Left("EVSE"),
        Column::Left("session"),
        Column::Left("trust"),
        Column::Right("kW allowed"),
        Column::Right("reserved"),
        Column::Right("unused"),
        Column::Right("open"),
        Column::Left("because"),
    ];
    table(columns, &rows)
}

/// The last check of each EVSE; nothing where none was made.
fn checks_table(evses: &[proto::EvseRollout]) -> Option<String> {
    let checks = evses.iter().filter_map(|evse| evse.check.as_ref());
    let rows: Vec<[String; 2]> = checks
        .map(|check| [check.evse_id.clone(), commissioning::in_short(check)])
        .collect();
    (!rows.is_empty()).then(|| table([Column::Left("EVSE"), Column::Left("last check")], &rows))
}

/// Every transmission of the revisions that count; nothing where none does.
fn revisions_table(evses: &[proto::EvseRollout]) -> Option<String> {
    let mut rows: Vec<[String; 7]> = Vec::new();
    for evse in evses {
        let counting = (evse.revisions.iter()).filter(|revision| revision.hold() != proto::RevisionHold::Unspecified);
        for revision in counting {
            for attempt in &revision.attempts {
                rows.push([
                    evse.evse_id.clone(),
                    revision.revision.to_string(),
                    attempt.attempt.to_string(),
                    cause(revision.cause()).to_owned(),
                    output::time(attempt.sent_at.as_ref()),
                    answer(attempt.answer()).to_owned(),
                    output::time(revision.lease_end.as_ref()),
                ]);
            }
        }
    }
    let columns = [
        Column::Left("EVSE"),
        Column::Right("revision"),
        Column::Right("attempt"),
        Column::Left("cause"),
        Column::Left("sent"),
        Column::Left("answer"),
        Column::Left("lease ends"),
    ];
    (!rows.is_empty()).then(|| table(columns, &rows))
}

/// Why room is held, in words.
fn words(reason: &proto::ReservationReason, evse: &proto::EvseRollout) -> String {
    match &reason.reason {
        None => "-".to_owned(),
        Some(Reason::NotControllable(_)) => "it cannot be controlled".to_owned(),
        Some(Reason::Disobeys(_)) => "it disobeys".to_owned(),
        Some(Reason::DefaultCounts(_)) => "its default".to_owned(),
        Some(Reason::UnknownUntil(until)) => format!("unknown until {}", output::time(Some(until))),
        Some(Reason::TailInDoubt(_)) => "a tail of before".to_owned(),
        Some(Reason::Revision(number)) => {
            let found = evse.revisions.iter().find(|revision| revision.revision == *number);
            let hold = found.map(hold).unwrap_or_default();
            format!("revision {number} {hold}")
        }
    }
}

fn hold(revision: &proto::RevisionStatus) -> String {
    use proto::RevisionHold as Hold;
    let until = || output::time(revision.hold_until.as_ref());
    let lease = || output::time(revision.lease_end.as_ref());
    match revision.hold() {
        Hold::Unspecified => "does not count".to_owned(),
        Hold::InForce => "is in force".to_owned(),
        Hold::Unanswered => "is unanswered".to_owned(),
        Hold::Refused => format!("was refused, settles until {}", until()),
        Hold::NewerUnanswered => "waits for an answer to a newer one".to_owned(),
        Hold::Settles => format!("settles until {}", until()),
        Hold::MayComeLate => "may come late".to_owned(),
        Hold::WaitsForMeter => "waits for a meter".to_owned(),
        Hold::WaitsForLease => format!("waits for its lease to end at {}", lease()),
        Hold::Tail => "has a tail".to_owned(),
    }
}

fn trust(trust: proto::Trust) -> &'static str {
    match trust {
        proto::Trust::Unspecified => "-",
        proto::Trust::Unknown => "unknown",
        proto::Trust::Obeys => "obeys",
        proto::Trust::Disobeys => "DISOBEYS",
    }
}

fn cause(cause: proto::CommandCause) -> &'static str {
    match cause {
        proto::CommandCause::Unspecified => "-",
        proto::CommandCause::Change => "change",
        proto::CommandCause::Renewal => "renewal",
        proto::CommandCause::Retry => "retry",
    }
}

fn answer(answer: proto::AttemptAnswer) -> &'static str {
    match answer {
        proto::AttemptAnswer::Unspecified => "none",
        proto::AttemptAnswer::Forwarded => "forwarded",
        proto::AttemptAnswer::Accepted => "accepted",
        proto::AttemptAnswer::Rejected => "rejected",
        proto::AttemptAnswer::Contradicted => "CONTRADICTED",
    }
}

fn kw(load: Option<&proto::PlaceLoad>) -> String {
    load.map_or_else(|| "-".to_owned(), |load| output::kw(load.total_watt))
}

/// `16.0/16.0/0.0 A, 7.4 kW`.
fn load(load: Option<&proto::PlaceLoad>) -> String {
    let Some(load) = load else { return "-".to_owned() };
    let amps = [load.l1_deciampere, load.l2_deciampere, load.l3_deciampere].map(|line| Tenths::new(line).to_string());
    format!("{} A, {} kW", amps.join("/"), output::kw(load.total_watt))
}

/// The same, without what is not limited; `-` if nothing is.
fn capacity(capacity: Option<&proto::PlaceCapacity>) -> String {
    let Some(capacity) = capacity else {
        return "-".to_owned();
    };
    let lines = [capacity.l1_deciampere, capacity.l2_deciampere, capacity.l3_deciampere];
    let mut parts = Vec::new();
    if lines.iter().any(Option::is_some) {
        let amps = lines.map(|line| line.map_or_else(|| "-".to_owned(), |line| Tenths::new(line).to_string()));
        parts.push(format!("{} A", amps.join("/")));
    }
    parts.extend(capacity.total_watt.map(|watts| format!("{} kW", output::kw(watts))));
    let of = |what: &str, deciamps: Option<i64>| deciamps.map(|deciamps| format!("{} A {what}", Tenths::new(deciamps)));
    parts.extend(of("unbalance", capacity.unbalance_deciampere));
    parts.extend(of("difference", capacity.difference_deciampere));
    if parts.is_empty() {
        "-".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_said_with_its_reason() {
        let at = |seconds: i64| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let watts = |total_watt| {
            Some(proto::PlaceLoad {
                l1_deciampere: 160,
                total_watt,
                ..Default::default()
            })
        };
        let evse = proto::EvseRollout {
            evse_id: "evse-1".to_owned(),
            session_id: "s".to_owned(),
            trust: proto::Trust::Obeys.into(),
            reserved: watts(4_048),
            allowed: watts(1_500),
            unused_watt: 2_548,
            reasons: vec![proto::ReservationReason {
                reason: Some(Reason::Revision(7)),
            }],
            revisions: vec![proto::RevisionStatus {
                revision: 7,
                hold: proto::RevisionHold::Settles.into(),
                hold_until: at(10),
                lease_end: at(900),
                attempts: vec![proto::AttemptStatus {
                    attempt: 1,
                    sent_at: at(0),
                    answer: proto::AttemptAnswer::Accepted.into(),
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let place = proto::PlaceRoom {
            node_id: "grid".to_owned(),
            headroom: Some(proto::PlaceCapacity {
                l1_deciampere: Some(-5),
                l2_deciampere: Some(200),
                l3_deciampere: Some(200),
                total_watt: Some(9_000),
                ..Default::default()
            }),
            worst_case: watts(4_048),
            meter: Some(proto::PlaceMeter {
                at: at(20),
                l1_deciampere: Some(700),
                l2_deciampere: Some(615),
                l3_deciampere: Some(-3),
                total_watt: None,
                overload_used_permille: 987,
                sheds_since: at(30),
            }),
            ..Default::default()
        };
        let text = shown(&proto::GetRolloutResponse {
            at: at(0),
            gateway_connected: true,
            places: vec![place],
            evses: vec![evse],
            next_page_token: String::new(),
        });
        for part in [
            "the gateway is connected",
            "-0.5/20.0/20.0 A, 9.0 kW",
            "16.0/0.0/0.0 A, 4.0 kW",
            "1970-01-01T00:00:20Z  70.0/61.5/-0.3 A         98.7 %  1970-01-01T00:00:30Z",
            "revision 7 settles until 1970-01-01T00:00:10Z",
            "accepted  1970-01-01T00:15:00Z",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
