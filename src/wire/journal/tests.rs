//! That the journal forgets nothing, and that no message makes it panic.

use super::*;
use crate::wire::json::{Layout, from_json, to_json};
use crate::wire::{DESCRIPTORS, samples};
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, Value};
use std::collections::BTreeSet;

#[test]
fn every_event_survives_the_journal_whole() {
    for entry in samples::journal() {
        let bytes = entry_message(&entry).encode_to_vec();
        let read = recorded(&proto::Entry::decode(bytes.as_slice()).unwrap());
        assert_eq!(read.as_ref(), Ok(&entry));
    }
    let session = samples::ended_session();
    assert_eq!(ended_session(&ended_session_message(&session)).unwrap(), session);
    let bare = Session {
        spec: samples::bare_session(),
        last_sample: None,
        idle_since: None,
        ended: None,
        ..session
    };
    assert_eq!(ended_session(&ended_session_message(&bare)).unwrap(), bare);
}

#[test]
fn every_event_that_has_a_date_survives_json_whole() {
    let always = |event: &Event| matches!(event, Event::PricesSet(prices) if prices.start() == Instant::FAR_PAST);
    for entry in samples::journal().into_iter().filter(|entry| !always(&entry.event)) {
        let json = to_json(&entry_message(&entry), Layout::Line).unwrap();
        assert_eq!(recorded(&from_json(&json).unwrap()).unwrap(), entry, "{json}");
    }
}

/// The test above proves little about a field that no sample sets.
#[test]
fn the_samples_set_every_field_of_the_journal_but_the_drivers_token() {
    let mut set = BTreeSet::new();
    let mut all = BTreeSet::new();
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let mut collect = |name: String, bytes: Vec<u8>| {
        let descriptor = pool.get_message_by_name(&name).unwrap();
        collect_all(&descriptor, &mut all);
        collect_set(&DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap(), &mut set);
    };
    for entry in samples::journal() {
        collect(proto::Entry::full_name(), entry_message(&entry).encode_to_vec());
    }
    let session = ended_session_message(&samples::ended_session());
    collect(proto::EndedSession::full_name(), session.encode_to_vec());
    let missing: Vec<&String> = all.difference(&set).collect();
    // Times are whole seconds.
    let never = [
        "google.protobuf.Timestamp.nanos",
        "laddplan.v1.DriverTokenName.type",
        "laddplan.v1.DriverTokenName.uid",
        "laddplan.v1.SessionSpec.driver_token",
    ];
    assert_eq!(missing, never);
}

fn collect_all(message: &MessageDescriptor, all: &mut BTreeSet<String>) {
    for field in message.fields() {
        if all.insert(field.full_name().to_owned())
            && let Kind::Message(inner) = field.kind()
        {
            collect_all(&inner, all);
        }
    }
}

fn collect_set(message: &DynamicMessage, set: &mut BTreeSet<String>) {
    for (field, value) in message.fields() {
        set.insert(field.full_name().to_owned());
        let items = match value {
            Value::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        for item in items {
            if let Value::Message(inner) = item {
                collect_set(inner, set);
            }
        }
    }
}

fn check_refused(change: impl FnOnce(&mut Arm), kind: fn(&Event) -> bool, field: &str) {
    let entry = samples::journal().into_iter().find(|entry| kind(&entry.event)).unwrap();
    let mut message = entry_message(&entry);
    change(message.event.as_mut().unwrap());
    let rejection = recorded(&message).expect_err("a message without meaning");
    assert_eq!(rejection.faults()[0].field, field);
}

#[test]
fn an_entry_without_an_event_or_with_a_short_hash_is_refused() {
    let rejection = recorded(&proto::Entry {
        request: Some(proto::Request::default()),
        ..Default::default()
    });
    let fields: Vec<String> = rejection
        .unwrap_err()
        .faults()
        .iter()
        .map(|fault| fault.field.clone())
        .collect();
    assert_eq!(fields, ["request.id", "request.body_hash", "event"]);
}

#[test]
fn values_that_would_break_the_domain_are_refused() {
    let plan = |event: &Event| matches!(event, Event::PlanMade(_));
    let change_plan = |change: fn(&mut proto::PlanMade)| {
        move |arm: &mut Arm| match arm {
            Arm::PlanMade(plan) => change(plan),
            _ => unreachable!("a plan was asked for"),
        }
    };
    check_refused(change_plan(|plan| plan.slot_count = 0), plan, "plan_made.slot_count");
    check_refused(
        change_plan(|plan| plan.slot_seconds = 0),
        plan,
        "plan_made.slot_seconds",
    );
    check_refused(change_plan(|plan| plan.stats = None), plan, "plan_made.stats");
    check_refused(
        change_plan(|plan| plan.schedules[0].run_slots[0] = 100_000),
        plan,
        "plan_made.schedules[0].run_slots",
    );
    check_refused(
        change_plan(|plan| {
            plan.schedules[0].run_slots[0] = 90_000;
            plan.schedules = vec![plan.schedules[0].clone(); 150];
        }),
        plan,
        "plan_made.schedules",
    );
    check_refused(
        change_plan(|plan| plan.schedules[0].run_rate.truncate(1)),
        plan,
        "plan_made.schedules[0].run_rate",
    );
    let prices = |event: &Event| matches!(event, Event::PricesSet(_));
    let no_prices = |arm: &mut Arm| *arm = Arm::PricesSet(proto::PricesSet::default());
    check_refused(no_prices, prices, "prices_set.prices");
}

#[test]
fn profiles_that_would_break_the_domain_are_refused() {
    let issued = |event: &Event| matches!(event, Event::CommandsIssued(_));
    let change_profile = |change: fn(&mut proto::Profile)| {
        move |arm: &mut Arm| match arm {
            Arm::CommandsIssued(issued) => change(issued.commands[0].profile.as_mut().unwrap()),
            _ => unreachable!("commands were asked for"),
        }
    };
    let field = |name: &str| format!("commands_issued.commands[0].profile.{name}");
    let early_end = change_profile(|profile| profile.lease_end_unix_seconds = profile.start_unix_seconds[0]);
    check_refused(early_end, issued, &field("lease_end_unix_seconds"));
    let backwards = change_profile(|profile| profile.start_unix_seconds.reverse());
    check_refused(backwards, issued, &field("start_unix_seconds"));
    let uneven = change_profile(|profile| profile.rate.push(1));
    check_refused(uneven, issued, &field("rate"));
    let unknown = change_profile(|profile| profile.unit = 9);
    check_refused(unknown, issued, &field("unit"));
}
