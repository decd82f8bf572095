//! Alarms, listed and watched.

use crate::service::*;
use laddplan::wire::proto;
use proto::alarm::Subject;
use proto::alarm_service_client::AlarmServiceClient;
use tonic::{Code, Streaming};

fn list(tenant: &str, site: &str) -> proto::ListAlarmsRequest {
    proto::ListAlarmsRequest {
        tenant_id: tenant.to_owned(),
        site_id: site.to_owned(),
        include_cleared: true,
        page: None,
    }
}

async fn listed(service: &Service, request: proto::ListAlarmsRequest) -> Vec<proto::Alarm> {
    service.alarms().list_alarms(request).await.unwrap().into_inner().alarms
}

async fn next(alarms: &mut Streaming<proto::WatchAlarmsResponse>) -> proto::Alarm {
    alarms.message().await.unwrap().unwrap().alarm.unwrap()
}

/// A site where all EVSEs fit at their maximum, as nobody knows at first what they follow.
fn roomy(id: &str) -> proto::Site {
    proto::Site {
        nodes: vec![node("grid", "", 64)],
        ..site(id)
    }
}

/// A site whose gateway never says hello, half a minute later.
async fn silent(service: &Service, id: &str) {
    service.put_site(roomy(id)).await.unwrap();
    service.clock.advance(31).await;
}

#[tokio::test]
async fn a_silent_gateway_is_listed_and_cleared_once_it_is_back() {
    let service = start().await;
    silent(&service, SITE).await;
    let [alarm] = &listed(&service, list(TENANT, SITE)).await[..] else {
        panic!("one alarm")
    };
    assert_eq!(alarm.kind(), proto::AlarmKind::GatewaySilent);
    assert_eq!(alarm.severity(), proto::AlarmSeverity::Critical);
    assert_eq!(alarm.subject, Some(Subject::GatewayId(GATEWAY.to_owned())));
    assert_eq!((alarm.site_id.as_str(), alarm.number), (SITE, 1));
    assert_eq!(
        (alarm.since, alarm.last_seen, alarm.cleared_at),
        (Some(at(0)), Some(at(31)), None)
    );
    assert!(!alarm.meaning.is_empty() && !alarm.advice.is_empty());

    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    service.clock.advance(61).await;
    let [alarm] = &listed(&service, list(TENANT, SITE)).await[..] else {
        panic!("one alarm")
    };
    assert_eq!((alarm.last_seen, alarm.cleared_at), (Some(at(31)), Some(at(91))));
    let active = proto::ListAlarmsRequest {
        include_cleared: false,
        ..list(TENANT, "")
    };
    assert_eq!(listed(&service, active).await, []);
}

#[tokio::test]
async fn alarms_are_listed_page_by_page_over_all_sites() {
    let service = start().await;
    for number in 0..5 {
        service.put_site(roomy(&format!("site-{number}"))).await.unwrap();
    }
    service.clock.advance(31).await;
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request = proto::ListAlarmsRequest {
            page: Some(proto::PageRequest {
                page_size: 2,
                page_token: token,
            }),
            ..list(TENANT, "")
        };
        let page = service.alarms().list_alarms(request).await.unwrap().into_inner();
        assert!(page.alarms.len() <= 2);
        seen.extend(page.alarms.into_iter().map(|alarm| alarm.site_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["site-0", "site-1", "site-2", "site-3", "site-4"]);
}

#[tokio::test]
async fn a_tenant_sees_no_alarm_of_another() {
    let service = start().await;
    silent(&service, SITE).await;
    let mut others = AlarmServiceClient::new(service.of("other").await);
    let none = others.list_alarms(list("other", "")).await.unwrap().into_inner();
    assert_eq!(none.alarms, []);
    assert_eq!(code(others.list_alarms(list("other", SITE)).await), Code::NotFound);
    let watch_of = |tenant: &str, site: &str| proto::WatchAlarmsRequest {
        tenant_id: tenant.to_owned(),
        site_id: site.to_owned(),
    };
    assert_eq!(
        code(service.alarms().watch_alarms(watch_of("other", SITE)).await),
        Code::NotFound
    );
    assert_eq!(code(others.watch_alarms(watch_of("", SITE)).await), Code::NotFound);
}

#[tokio::test]
async fn a_watcher_is_told_what_holds_then_what_changes() {
    let service = start().await;
    silent(&service, SITE).await;
    let watch = proto::WatchAlarmsRequest {
        tenant_id: TENANT.to_owned(),
        site_id: String::new(),
    };
    let mut alarms = service.alarms().watch_alarms(watch).await.unwrap().into_inner();
    let first = next(&mut alarms).await;
    assert_eq!((first.number, first.cleared_at), (1, None));
    silent(&service, "other").await;
    let second = next(&mut alarms).await;
    assert_eq!((second.site_id.as_str(), second.number), ("other", 1));
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    service.clock.advance(61).await;
    let mut cleared = 0;
    while cleared < 2 {
        cleared += usize::from(next(&mut alarms).await.cleared_at.is_some());
    }
    service.stop().await;
    assert_eq!(code(alarms.message().await), Code::Unavailable);
}
