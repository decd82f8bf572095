//! The gateway's stream.

use crate::service::*;
use laddplan::dispatch;
use laddplan::wire::proto;
use proto::CommandResult;
use proto::connect_request::Message as Up;
use proto::connect_response::Message as Down;
use std::time::Duration;
use tonic::Code;

async fn yard_with(limits: dispatch::Limits) -> Service {
    let service = start_with(laddplan::api::Limits::default(), limits).await;
    service.put_site(site(SITE)).await.unwrap();
    service
}

async fn yard() -> Service {
    yard_with(dispatch::Limits::default()).await
}

fn heartbeat() -> Up {
    Up::Heartbeat(proto::GatewayHeartbeat { clock: Some(at(0)) })
}

#[tokio::test]
async fn a_hello_is_welcomed_then_acknowledged() {
    let service = yard().await;
    let mut gateway = service.connect_gateway().await;
    let Down::Welcome(welcome) = gateway.hear().await.unwrap() else {
        panic!("the first message is a welcome");
    };
    assert_eq!(welcome.site_ids, [SITE]);
    assert_eq!((welcome.heartbeat_seconds, welcome.clock), (10, Some(at(0))));
    assert_eq!(gateway.acknowledged().await, []);
}

#[tokio::test]
async fn a_session_leads_to_a_command_whose_answer_is_taken() {
    let service = yard().await;
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    service.start_session(session(1)).await.unwrap();
    let command = gateway.command().await;
    assert_eq!(
        (
            command.site_id.as_str(),
            command.evse_id.as_str(),
            command.session_id.as_str()
        ),
        (SITE, "evse-1", "session-1")
    );
    assert!(command.revision >= 1 && command.attempt == 1, "{command:?}");
    let Some(proto::profile_command::Instruction::SetChargingProfile(profile)) = &command.instruction else {
        panic!("a profile is set: {command:?}");
    };
    assert_eq!(profile.charging_rate_unit, "A");
    assert!(profile.start_date_time.ends_with('Z'), "{profile:?}");
    gateway.say(answer(&command, CommandResult::Forwarded)).await;
    gateway.say(answer(&command, CommandResult::Accepted)).await;
    assert_eq!(gateway.acknowledged().await, []);
    // The same answer again does no harm.
    gateway.say(answer(&command, CommandResult::Accepted)).await;
    assert_eq!(gateway.acknowledged().await, []);
    assert!(service.streams.commands_written() >= 1);
    assert_eq!(service.streams.waiting(), 0);
}

#[tokio::test]
async fn an_answer_to_a_revision_never_sent_is_refused_and_the_stream_goes_on() {
    let service = yard().await;
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    gateway
        .say(Up::Answer(proto::CommandAnswer {
            site_id: SITE.to_owned(),
            evse_id: "evse-1".to_owned(),
            revision: 77,
            attempt: 1,
            result: CommandResult::Accepted as i32,
            reason: String::new(),
        }))
        .await;
    let refused = gateway.acknowledged().await;
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].number, refused[0].try_again), (2, false));
    assert_eq!(
        refused[0].faults,
        [
            "answer.revision: names a transmission that was never made; got revision 77, attempt 1 at EVSE evse-1, allowed: \
          a revision and attempt from a command of this service"
        ]
    );
    service.start_session(session(1)).await.unwrap();
    assert_eq!(gateway.command().await.evse_id, "evse-1");
}

#[tokio::test]
async fn what_is_said_of_anothers_site_is_refused() {
    let service = yard().await;
    let mut foreign = site("foreign");
    foreign.gateway_id = "another-gateway".to_owned();
    service.put_site(foreign).await.unwrap();
    let mut gateway = service.connect_gateway().await;
    for site_id in ["foreign", "nowhere"] {
        gateway
            .say(Up::Active(proto::ActiveProfile {
                site_id: site_id.to_owned(),
                evse_id: "evse-1".to_owned(),
                revision: 0,
            }))
            .await;
    }
    let refused = gateway.acknowledged().await;
    let told: Vec<_> = refused.iter().flat_map(|refused| &refused.faults).collect();
    assert_eq!(
        told,
        [
            "site_id: is not served by this gateway; got foreign, allowed: a site of the welcome",
            "site_id: is not served by this gateway; got nowhere, allowed: a site of the welcome"
        ]
    );
}

#[tokio::test]
async fn readings_of_a_gateway_reach_the_session() {
    let service = yard().await;
    service.start_session(session(1)).await.unwrap();
    let mut gateway = service.connect_gateway().await;
    gateway
        .say(Up::Readings(proto::GatewayReadings {
            site_id: SITE.to_owned(),
            readings: vec![proto::MeterReading {
                evse_id: "evse-1".to_owned(),
                at: Some(at(60)),
                session_energy_watt_hour: Some(42),
                ..Default::default()
            }],
        }))
        .await;
    assert_eq!(gateway.acknowledged().await, []);
    assert_eq!(service.get_session("session-1").await.unwrap().delivered_watt_hour, 42);
}

#[tokio::test]
async fn after_a_break_what_was_not_answered_is_sent_again() {
    let service = yard().await;
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    service.start_session(session(1)).await.unwrap();
    let lost = gateway.command().await;
    gateway.finish();
    assert_eq!(gateway.end().await.map(|status| status.code()), None);

    let mut again = service.connect_gateway().await;
    let command = again.command().await;
    assert_eq!(
        (&command.evse_id, &command.session_id),
        (&lost.evse_id, &lost.session_id)
    );
    assert!(
        (command.revision, command.attempt) > (lost.revision, lost.attempt),
        "{command:?} after {lost:?}"
    );
}

#[tokio::test]
async fn a_second_stream_of_a_gateway_takes_over() {
    let service = yard().await;
    let mut first = service.connect_gateway().await;
    first.acknowledged().await;
    let mut second = service.connect_gateway().await;
    second.acknowledged().await;
    let end = first.end().await.unwrap();
    assert_eq!(end.code(), Code::Aborted);
    assert!(end.message().contains("took over"), "{end}");
    service.start_session(session(1)).await.unwrap();
    assert_eq!(second.command().await.evse_id, "evse-1");
}

#[tokio::test]
async fn two_tenants_may_name_a_gateway_alike() {
    let service = yard().await;
    service.put_site_of("other", site("other-yard")).await.unwrap();
    let mut mine = service.connect_gateway().await;
    mine.acknowledged().await;
    let mut theirs = Stream::open(service.of("other").await).await;
    let tenant_id = "other".to_owned();
    theirs
        .say(Up::Hello(proto::GatewayHello { tenant_id, ..hello() }))
        .await;
    let Down::Welcome(welcome) = theirs.hear().await.unwrap() else {
        panic!("the first message is a welcome");
    };
    assert_eq!(welcome.site_ids, ["other-yard"]);
    service.start_session(session(1)).await.unwrap();
    assert_eq!(mine.command().await.site_id, SITE);
}

#[tokio::test]
async fn a_gateway_that_no_site_names_is_not_let_in() {
    let service = yard().await;
    let mut stream = Stream::open(service.channel.clone()).await;
    let gateway_id = "stranger".to_owned();
    stream
        .say(Up::Hello(proto::GatewayHello { gateway_id, ..hello() }))
        .await;
    let end = stream.end().await.unwrap();
    assert_eq!(
        (end.code(), end.message()),
        (Code::NotFound, "there is no gateway stranger")
    );
}

#[tokio::test]
async fn a_stream_begins_with_a_hello_that_can_be_read() {
    let service = yard().await;
    let mut silent = Stream::open(service.channel.clone()).await;
    silent.say(heartbeat()).await;
    assert_eq!(
        rules::<()>(Err(silent.end().await.unwrap())),
        ["message: must be a hello first"]
    );

    let mut unreadable = Stream::open(service.channel.clone()).await;
    let applied = vec![proto::EvseRevision::default()];
    unreadable
        .say(Up::Hello(proto::GatewayHello {
            tenant_id: String::new(),
            applied,
            ..hello()
        }))
        .await;
    assert_eq!(
        rules::<()>(Err(unreadable.end().await.unwrap())),
        [
            "hello.applied[0].site_id: is required",
            "hello.applied[0].evse_id: is required",
            "hello.applied[0].revision: is out of range"
        ]
    );
}

#[tokio::test]
async fn a_number_that_was_used_is_acknowledged_and_one_that_skips_ends_the_stream() {
    let service = yard().await;
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    gateway.say(heartbeat()).await;
    gateway.acknowledged().await;
    // Would be refused if it were read.
    gateway.say_as(1, Up::Hello(hello())).await;
    assert_eq!(gateway.acknowledged().await, []);
    gateway.say_as(4, heartbeat()).await;
    let end = gateway.end().await.unwrap();
    assert_eq!(faults::<()>(Err(end)), ["number: is not the next; got 4, allowed: 3"]);
}

#[tokio::test]
async fn a_site_that_names_the_gateway_later_is_served_too() {
    let service = yard().await;
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    service.put_site(site("later")).await.unwrap();
    gateway.say(heartbeat()).await;
    let Down::Welcome(welcome) = gateway.hear().await.unwrap() else {
        panic!("the sites are told anew");
    };
    assert_eq!(welcome.site_ids, ["later", SITE]);
    gateway.acknowledged().await;
    let request = proto::StartSessionRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: "later".to_owned(),
        session: Some(session(2)),
    };
    service.sessions().start_session(request).await.unwrap();
    assert_eq!(gateway.command().await.site_id, "later");
}

#[tokio::test]
async fn a_gateway_whose_last_site_is_deleted_is_dismissed() {
    let service = yard().await;
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    let delete = proto::DeleteSiteRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
    };
    service.sites().delete_site(delete).await.unwrap();
    gateway.say(heartbeat()).await;
    assert_eq!(gateway.end().await.unwrap().code(), Code::NotFound);
}

#[tokio::test]
async fn silence_ends_a_stream() {
    let limits = dispatch::Limits {
        heartbeat: Duration::from_millis(1),
        ..dispatch::Limits::default()
    };
    let service = yard_with(limits).await;
    let mut gateway = service.connect_gateway().await;
    assert_eq!(gateway.end().await.unwrap().code(), Code::DeadlineExceeded);

    let limits = dispatch::Limits {
        hello_timeout: Duration::ZERO,
        ..dispatch::Limits::default()
    };
    let service = yard_with(limits).await;
    let mut gateway = Stream::open(service.channel.clone()).await;
    let end = gateway.end().await.unwrap();
    assert_eq!(
        (end.code(), end.message()),
        (Code::DeadlineExceeded, "no hello in time")
    );
}

#[tokio::test]
async fn there_is_room_for_so_many_streams() {
    let limits = dispatch::Limits {
        max_streams: 1,
        ..dispatch::Limits::default()
    };
    let service = yard_with(limits).await;
    let mut first = service.connect_gateway().await;
    first.acknowledged().await;
    let second = Stream::try_open(service.channel.clone()).await;
    assert_eq!(second.err().map(|status| status.code()), Some(Code::ResourceExhausted));
}
