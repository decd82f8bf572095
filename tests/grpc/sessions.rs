//! Sessions, their meters and their drivers.

use crate::service::*;
use laddplan::wire::proto;
use tonic::{Code, Status};

async fn end(service: &Service, change: impl FnOnce(&mut proto::EndSessionRequest)) -> Result<proto::Receipt, Status> {
    let mut request = proto::EndSessionRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        session_id: "session-1".to_owned(),
        ended_at: None,
        reason: "unplugged".to_owned(),
        delivered_watt_hour: None,
    };
    change(&mut request);
    let response = service.sessions().end_session(request).await?.into_inner();
    Ok(response.receipt.expect("a receipt"))
}

async fn list(service: &Service, include_ended: bool, size: i32) -> Vec<String> {
    let (mut ids, mut token) = (Vec::new(), String::new());
    loop {
        let request = proto::ListSessionsRequest {
            tenant_id: TENANT.to_owned(),
            site_id: SITE.to_owned(),
            include_ended,
            page: Some(proto::PageRequest {
                page_size: size,
                page_token: token,
            }),
        };
        let page = service.sessions().list_sessions(request).await.unwrap().into_inner();
        ids.extend(page.sessions.into_iter().map(|session| session.spec.unwrap().id));
        token = page.next_page_token;
        if token.is_empty() {
            return ids;
        }
    }
}

fn reading(number: usize, seconds: i64, watt_hours: i64) -> proto::MeterReading {
    proto::MeterReading {
        evse_id: format!("evse-{number}"),
        at: Some(at(seconds)),
        session_energy_watt_hour: Some(watt_hours),
        power_watt: Some(3_000),
        current_deciampere: vec![130, 0, 0],
    }
}

async fn report(
    service: &Service,
    batches: Vec<Vec<proto::MeterReading>>,
) -> Result<proto::ReportMeterResponse, Status> {
    let requests = batches.into_iter().map(|readings| proto::ReportMeterRequest {
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        readings,
    });
    let requests: Vec<_> = requests.collect();
    let response = service.sessions().report_meter(tokio_stream::iter(requests)).await?;
    Ok(response.into_inner())
}

async fn yard() -> Service {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    service
}

#[tokio::test]
async fn a_session_is_told_as_it_was_started() {
    let service = yard().await;
    service.start_session(session(1)).await.unwrap();
    let kept = service.get_session("session-1").await.unwrap();
    let spec = kept.spec.unwrap();
    assert_eq!(spec.departure_time, Some(at(7_200)));
    assert_eq!((spec.need_watt_hour, spec.tier), (Some(5_000), 5));
    assert_eq!(spec.connector_id, "1", "the only connector of its EVSE");
    assert_eq!(kept.ended_at, None);
    assert_eq!(code(service.get_session("session-9").await), Code::NotFound);
}

#[tokio::test]
async fn every_fault_of_a_session_is_told_at_once_and_nothing_changes() {
    let service = yard().await;
    let wrong = proto::SessionSpec {
        evse_id: "evse-9".to_owned(),
        departure_time: Some(at(-60)),
        need_watt_hour: Some(10_000_000_000_000),
        tier: 12,
        group_id: "two words".to_owned(),
        ..session(1)
    };
    let now = at(0).seconds;
    assert_eq!(
        faults(service.start_session(wrong).await),
        [
            "session.need_watt_hour: is out of range; got 10000000000000 Wh, allowed: 0 to 10000000 Wh".to_owned(),
            "session.tier: is out of range; got 12 , allowed: 1 to 9 ".to_owned(),
            "session.group_id: has characters that are not allowed; got two words, allowed: 1 to 64 printable ASCII \
             characters without spaces"
                .to_owned(),
            "session.evse_id: names no EVSE of the site; got evse-9, allowed: an EVSE of site yard".to_owned(),
            format!(
                "session.departure_time: is not after the arrival; got @{}, allowed: after @{now}",
                now - 60
            ),
        ]
    );
    assert_eq!(list(&service, true, 10).await, [""; 0]);
}

#[tokio::test]
async fn a_session_of_another_time_is_refused() {
    let service = yard().await;
    let long_ago = proto::SessionSpec {
        arrival_time: Some(prost_types::Timestamp::default()),
        ..session(1)
    };
    assert_eq!(
        rules(service.start_session(long_ago).await),
        ["session.arrival_time: is too far from the site's clock"]
    );
    let missing = proto::SessionSpec {
        arrival_time: None,
        ..session(1)
    };
    assert_eq!(
        rules(service.start_session(missing).await),
        ["session.arrival_time: is required"]
    );
}

#[tokio::test]
async fn a_repeated_start_is_one_session() {
    let service = yard().await;
    let call = |departure| proto::StartSessionRequest {
        meta: request("start-1"),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        session: Some(proto::SessionSpec {
            departure_time: Some(at(departure)),
            driver_token: Some(card("card-of-anna")),
            ..session(1)
        }),
    };
    let first = service
        .sessions()
        .start_session(call(3_600))
        .await
        .unwrap()
        .into_inner();
    end(&service, |_| {}).await.unwrap();
    let again = service
        .sessions()
        .start_session(call(3_600))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, again);
    assert_eq!(
        code(service.sessions().start_session(call(60)).await),
        Code::AlreadyExists
    );
    assert_eq!(list(&service, false, 10).await, [""; 0]);
}

#[tokio::test]
async fn an_update_replaces_what_was_said() {
    let service = yard().await;
    service.start_session(session(1)).await.unwrap();
    let update = |change: fn(&mut proto::SessionSpec)| {
        let mut spec = session(1);
        change(&mut spec);
        proto::UpdateSessionRequest {
            meta: meta(),
            tenant_id: TENANT.to_owned(),
            site_id: SITE.to_owned(),
            session: Some(spec),
        }
    };
    let mut sessions = service.sessions();
    sessions
        .update_session(update(|spec| spec.need_watt_hour = None))
        .await
        .unwrap();
    let kept = service.get_session("session-1").await.unwrap();
    assert_eq!(kept.spec.unwrap().need_watt_hour, None);
    assert_eq!(
        rules(
            sessions
                .update_session(update(|spec| spec.evse_id = "evse-2".to_owned()))
                .await
        ),
        ["session.evse_id: cannot change"]
    );
    let unknown = sessions
        .update_session(update(|spec| spec.id = "session-9".to_owned()))
        .await;
    assert_eq!(code(unknown), Code::NotFound);
}

#[tokio::test]
async fn an_operator_overrides_a_session() {
    let service = yard().await;
    service.start_session(session(1)).await.unwrap();
    let call = |overridden: i32| proto::OverrideSessionRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        session_id: "session-1".to_owned(),
        session_override: overridden,
    };
    let pause = proto::SessionOverride::Pause as i32;
    service.sessions().override_session(call(pause)).await.unwrap();
    assert_eq!(service.get_session("session-1").await.unwrap().session_override, pause);
    assert_eq!(
        rules(service.sessions().override_session(call(0)).await),
        ["session_override: is required"]
    );
}

#[tokio::test]
async fn a_driver_is_a_reference_until_forgotten() {
    let service = yard().await;
    let driven = |number| proto::SessionSpec {
        driver_token: Some(card("card-of-anna")),
        ..session(number)
    };
    service.start_session(driven(1)).await.unwrap();
    service.start_session(driven(2)).await.unwrap();
    let first = service.get_session("session-1").await.unwrap();
    let second = service.get_session("session-2").await.unwrap();
    assert!(!first.driver_ref.is_empty());
    assert_eq!(first.driver_ref, second.driver_ref, "the same driver");
    assert_eq!(first.spec.unwrap().driver_token, None, "never told");

    assert_eq!(forget(&service, "CARD-of-anna").await, 1, "case says nothing");
    assert_eq!(forget(&service, "card-of-anna").await, 0);
    let list = proto::ListAccessChangesRequest::default();
    let changes = service
        .admin()
        .list_access_changes(list)
        .await
        .unwrap()
        .into_inner()
        .changes;
    let forgot = changes.iter().filter(|change| change.what == "forgot a driver");
    let told: Vec<_> = forgot
        .map(|change| (change.tenant_id.clone(), format!("token {}", change.token_id)))
        .collect();
    let caller = service.admin().get_caller(proto::GetCallerRequest {}).await.unwrap();
    assert_eq!(
        told,
        [(TENANT.to_owned(), caller.into_inner().credential)],
        "noted once"
    );
    end(&service, |_| {}).await.unwrap();
    let later = proto::SessionSpec {
        id: "session-3".to_owned(),
        ..driven(1)
    };
    service.start_session(later).await.unwrap();
    let third = service.get_session("session-3").await.unwrap();
    assert_ne!(
        third.driver_ref, second.driver_ref,
        "nothing ties the old sessions to the driver"
    );
}

#[tokio::test]
async fn a_refused_session_leaves_no_trace_of_its_driver() {
    let service = yard().await;
    let wrong = proto::SessionSpec {
        driver_token: Some(card("card-of-anna")),
        departure_time: Some(at(-60)),
        ..session(1)
    };
    assert_eq!(
        rules(service.start_session(wrong).await),
        ["session.departure_time: is not after the arrival"]
    );
    let secret = "x".repeat(300);
    let long = proto::SessionSpec {
        driver_token: Some(card(&secret)),
        ..session(1)
    };
    let told = faults(service.start_session(long).await);
    assert!(
        told[0].starts_with("session.driver_token.uid: is not an OCPI CiString(36)") && !told[0].contains("xxx"),
        "{told:?}"
    );
    assert_eq!(forget(&service, "card-of-anna").await, 0);
}

#[tokio::test]
async fn readings_are_counted_and_those_from_the_past_are_dropped() {
    let service = yard().await;
    service.start_session(session(1)).await.unwrap();
    let batches = vec![
        vec![reading(1, 60, 100)],
        vec![reading(1, 120, 200), reading(1, 60, 150)],
    ];
    let counted = report(&service, batches).await.unwrap();
    assert_eq!(
        counted,
        proto::ReportMeterResponse {
            recorded: 2,
            dropped: 1
        }
    );
    let kept = service.get_session("session-1").await.unwrap();
    assert_eq!((kept.delivered_watt_hour, kept.metered_watt), (200, 3_000));
    assert_eq!(kept.metered_at, Some(at(120)));
}

#[tokio::test]
async fn a_wrong_reading_is_told_by_its_place_and_what_came_before_is_kept() {
    let service = yard().await;
    service.start_session(session(1)).await.unwrap();
    let mut wrong = reading(1, 120, -1);
    wrong.current_deciampere = vec![1];
    let refused = report(
        &service,
        vec![vec![reading(1, 60, 100)], vec![reading(1, 90, 100), wrong]],
    )
    .await;
    assert_eq!(
        rules(refused),
        [
            "requests[1].readings[1].session_energy_watt_hour: is out of range",
            "requests[1].readings[1].current_deciampere: is not for three lines"
        ]
    );
    let kept = service.get_session("session-1").await.unwrap();
    assert_eq!(kept.metered_at, Some(at(60)));
    let unknown = report(&service, vec![vec![reading(9, 60, 100)]]).await;
    assert_eq!(
        rules(unknown),
        ["requests[0].readings[0].evse_id: names no EVSE of the site"]
    );
    let stale_and_unknown = vec![reading(1, 60, 100), reading(8, 70, 100), reading(9, 80, 100)];
    assert_eq!(
        rules(report(&service, vec![stale_and_unknown]).await),
        [
            "requests[0].readings[1].evse_id: names no EVSE of the site",
            "requests[0].readings[2].evse_id: names no EVSE of the site"
        ]
    );
    assert_eq!(
        rules(report(&service, vec![vec![]]).await),
        ["requests[0].readings: has a wrong number of items"]
    );
}

#[tokio::test]
async fn the_final_energy_counts_even_if_a_reading_was_as_late() {
    let service = yard().await;
    service.start_session(session(1)).await.unwrap();
    report(&service, vec![vec![reading(1, 60, 100)]]).await.unwrap();
    let call = |request: &mut proto::EndSessionRequest| {
        request.meta = crate::service::request("end-1");
        request.ended_at = Some(at(60));
        request.delivered_watt_hour = Some(150);
    };
    let first = end(&service, call).await.unwrap();
    // The next car is on the EVSE when the call is repeated.
    let next = proto::SessionSpec {
        id: "session-2".to_owned(),
        ..session(1)
    };
    service.start_session(next).await.unwrap();
    assert_eq!(end(&service, call).await.unwrap(), first);
    let ended = service.get_session("session-1").await.unwrap();
    assert_eq!(
        (ended.delivered_watt_hour, ended.end_reason.as_str()),
        (150, "unplugged")
    );
    assert_eq!(ended.ended_at, Some(at(60)));
    assert_eq!(service.get_session("session-2").await.unwrap().delivered_watt_hour, 0);
}

#[tokio::test]
async fn an_end_that_cannot_be_is_refused_and_changes_nothing() {
    let service = yard().await;
    service.start_session(session(1)).await.unwrap();
    let refused = end(&service, |request| {
        request.ended_at = Some(at(3_600));
        request.reason = "x".repeat(201);
        request.delivered_watt_hour = Some(-1);
    })
    .await;
    assert_eq!(
        rules(refused),
        [
            "ended_at: is too far from the service's clock",
            "reason: is too long or has control characters",
            "delivered_watt_hour: is out of range"
        ]
    );
    let before_arrival = end(&service, |request| {
        request.ended_at = Some(at(-60));
        request.delivered_watt_hour = Some(100);
    })
    .await;
    assert_eq!(rules(before_arrival), ["ended_at: is not between arrival and now"]);
    let kept = service.get_session("session-1").await.unwrap();
    assert_eq!((kept.ended_at, kept.delivered_watt_hour), (None, 0));
    let unknown = end(&service, |request| request.session_id = "session-9".to_owned()).await;
    assert_eq!(code(unknown), Code::NotFound);
}

#[tokio::test]
async fn sessions_are_listed_with_those_that_ended_in_one_order() {
    let service = yard().await;
    service.start_session(session(1)).await.unwrap();
    end(&service, |_| {}).await.unwrap();
    service.start_session(session(2)).await.unwrap();
    let third = proto::SessionSpec {
        id: "session-3".to_owned(),
        ..session(1)
    };
    service.start_session(third).await.unwrap();
    end(&service, |request| request.session_id = "session-3".to_owned())
        .await
        .unwrap();
    assert_eq!(list(&service, false, 10).await, ["session-2"]);
    for size in 1..=4 {
        assert_eq!(
            list(&service, true, size).await,
            ["session-1", "session-2", "session-3"]
        );
    }
}
