//! The server around the services: health, reflection, compression, limits, its end.

use crate::service::*;
use laddplan::wire::proto;
use laddplan::{api, dispatch};
use tonic::Code;
use tonic::codec::CompressionEncoding::Gzip;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

const SERVICES: [&str; 5] = [
    "laddplan.v1.AlarmService",
    "laddplan.v1.SiteService",
    "laddplan.v1.SessionService",
    "laddplan.v1.PlanService",
    "laddplan.v1.GatewayService",
];

#[tokio::test]
async fn every_service_is_healthy() {
    let service = start().await;
    let mut health = HealthClient::new(service.channel.clone());
    for name in SERVICES.into_iter().chain([""]) {
        let request = HealthCheckRequest {
            service: name.to_owned(),
        };
        let status = health.check(request).await.unwrap().into_inner().status;
        assert_eq!(status, ServingStatus::Serving as i32, "{name}");
    }
}

/// Asks one version of the reflection service which services there are, and for the file of a symbol.
macro_rules! reflect {
    ($service:expr, $version:ident, $symbol:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let ask = |message_request| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        };
        let asked = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol($symbol.to_owned())),
        ];
        let mut client = ServerReflectionClient::new($service.channel.clone());
        let answers = client.server_reflection_info(tokio_stream::iter(asked)).await.unwrap();
        let mut answers = answers.into_inner();
        let listed = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(listed) = listed else {
            panic!("services are listed");
        };
        let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
        let file = answers
            .message()
            .await
            .ok()
            .flatten()
            .and_then(|answer| answer.message_response);
        let found = matches!(file, Some(MessageResponse::FileDescriptorResponse(_)));
        (names, found)
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_show_the_services_and_not_the_journal() {
    let service = start().await;
    for (names, found) in [
        reflect!(service, v1, "laddplan.v1.Site"),
        reflect!(service, v1alpha, "laddplan.v1.Site"),
    ] {
        assert!(found);
        for name in SERVICES {
            assert!(
                names.iter().any(|listed| listed == name),
                "{name} is not among {names:?}"
            );
        }
    }
    let (_, found) = reflect!(service, v1, "laddplan.journal.v1.Entry");
    assert!(!found, "the journal is nobody else's");
}

#[tokio::test]
async fn compressed_calls_are_understood_and_answered() {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    let mut sites = service.sites().send_compressed(Gzip).accept_compressed(Gzip);
    let request = proto::GetSiteRequest {
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
    };
    let response = sites.get_site(request).await.unwrap();
    let encoding = response
        .metadata()
        .get("grpc-encoding")
        .map(|value| value.to_str().unwrap());
    assert_eq!(encoding, Some("gzip"));
    assert_eq!(response.into_inner().site.unwrap().id, SITE);
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_also_if_it_is_compressed() {
    let limits = api::Limits {
        max_request_bytes: 10_000,
        ..api::Limits::default()
    };
    let service = start_with(limits, dispatch::Limits::default()).await;
    let mut large = site(SITE);
    large.currency = "x".repeat(10_000);
    let refused = service.put_site(large.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("10000 bytes"), "{refused}");
    let request = proto::PutSiteRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site: Some(large),
    };
    let mut sites = service.sites().send_compressed(Gzip);
    let refused = sites.put_site(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(service.put_site(site(SITE)).await.is_ok());
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_cut_short() {
    let limits = api::Limits {
        max_response_bytes: 2_000,
        ..api::Limits::default()
    };
    let service = start_with(limits, dispatch::Limits::default()).await;
    for index in 0..20 {
        service.put_site(site(&format!("site-{index:02}"))).await.unwrap();
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request = proto::ListSitesRequest {
            tenant_id: TENANT.to_owned(),
            page: Some(proto::PageRequest {
                page_size: 1_000,
                page_token: token,
            }),
        };
        let page = service.sites().list_sites(request).await.unwrap().into_inner();
        assert!(page.sites.len() < 20, "all in one page are more than 2000 bytes");
        seen.extend(page.sites.into_iter().map(|site| site.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 20);
}

#[tokio::test]
async fn calls_that_last_have_limited_room() {
    let limits = api::Limits {
        max_long_calls: 1,
        ..api::Limits::default()
    };
    let service = start_with(limits, dispatch::Limits::default()).await;
    service.put_site(site(SITE)).await.unwrap();
    let watch = || proto::WatchPlanRequest {
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
    };
    let _first = service.plans().watch_plan(watch()).await.unwrap();
    assert_eq!(code(service.plans().watch_plan(watch()).await), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_cut_and_a_gateway_are_taken_where_other_calls_find_no_room() {
    let full = [
        api::Limits {
            max_in_flight: 0,
            ..api::Limits::default()
        },
        api::Limits {
            max_in_flight_per_connection: 0,
            ..api::Limits::default()
        },
    ];
    for (limits, name) in full.into_iter().zip(["calls", "calls of this connection"]) {
        let service = start_with(limits, dispatch::Limits::default()).await;
        service.put_site(site(SITE)).await.unwrap();
        let refused = service.start_session(session(1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let details = refused.get_error_details();
        assert_eq!(details.quota_failure().unwrap().violations[0].subject, name);
        assert!(details.retry_info().unwrap().retry_delay.is_some());
        let cut = proto::SetGridLimitRequest {
            meta: meta(),
            tenant_id: TENANT.to_owned(),
            site_id: SITE.to_owned(),
            grid_limit: Some(grid_limit("cut", 20)),
        };
        service.sites().set_grid_limit(cut).await.unwrap();
        let mut gateway = service.connect_gateway().await;
        assert!(gateway.acknowledged().await.is_empty());
    }
}

#[tokio::test]
async fn streams_end_when_the_service_stops() {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    let mut waiting = Stream::open(service.channel.clone()).await;
    let watch = proto::WatchPlanRequest {
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
    };
    let mut plans = service.plans().watch_plan(watch).await.unwrap().into_inner();
    service.stop().await;
    for end in [gateway.end().await, waiting.end().await] {
        assert_eq!(end.unwrap().code(), Code::Unavailable);
    }
    let end = loop {
        match plans.message().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert_eq!(code(end), Code::Unavailable);
}
