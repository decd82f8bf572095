//! Sites and what belongs to them.

use crate::service::*;
use laddplan::wire::proto;
use laddplan::wire::proto::site_service_client::SiteServiceClient;
use tonic::{Code, Status};

async fn get(service: &Service, tenant: &str, id: &str) -> Result<proto::GetSiteResponse, Status> {
    let request = proto::GetSiteRequest {
        tenant_id: tenant.to_owned(),
        site_id: id.to_owned(),
    };
    let mut sites = SiteServiceClient::new(service.of(tenant).await);
    Ok(sites.get_site(request).await?.into_inner())
}

async fn list(service: &Service, tenant: &str, size: i32, token: &str) -> Result<(Vec<String>, String), Status> {
    let request = proto::ListSitesRequest {
        tenant_id: tenant.to_owned(),
        page: Some(proto::PageRequest {
            page_size: size,
            page_token: token.to_owned(),
        }),
    };
    let mut sites = SiteServiceClient::new(service.of(tenant).await);
    let page = sites.list_sites(request).await?.into_inner();
    let ids = page.sites.into_iter().map(|site| site.id).collect();
    Ok((ids, page.next_page_token))
}

async fn delete(service: &Service, tenant: &str, id: &str) -> Result<proto::Receipt, Status> {
    let request = proto::DeleteSiteRequest {
        meta: meta(),
        tenant_id: tenant.to_owned(),
        site_id: id.to_owned(),
    };
    let mut sites = SiteServiceClient::new(service.of(tenant).await);
    let response = sites.delete_site(request).await?.into_inner();
    Ok(response.receipt.expect("a receipt"))
}

async fn set_prices(
    service: &Service,
    meta: Option<proto::RequestMeta>,
    prices: &[(i64, i64)],
) -> Result<proto::Receipt, Status> {
    let request = proto::SetPricesRequest {
        meta,
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        prices: prices
            .iter()
            .map(|(seconds, micros_per_kwh)| proto::PricePoint {
                from: Some(at(*seconds)),
                micros_per_kwh: *micros_per_kwh,
            })
            .collect(),
    };
    let response = service.sites().set_prices(request).await?.into_inner();
    Ok(response.receipt.expect("a receipt"))
}

async fn set_limit(service: &Service, limit: proto::GridLimit) -> Result<proto::Receipt, Status> {
    let request = proto::SetGridLimitRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        grid_limit: Some(limit),
    };
    let response = service.sites().set_grid_limit(request).await?.into_inner();
    Ok(response.receipt.expect("a receipt"))
}

async fn list_limits(service: &Service, page: Option<proto::PageRequest>) -> proto::ListGridLimitsResponse {
    let request = proto::ListGridLimitsRequest {
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        page,
    };
    service.sites().list_grid_limits(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_site_is_kept_as_it_was_put_until_it_is_deleted() {
    let service = start().await;
    let receipt = service.put_site(site(SITE)).await.unwrap();
    assert_eq!((receipt.sequence, receipt.recorded_at), (1, Some(at(0))));
    let kept = get(&service, TENANT, SITE).await.unwrap();
    let given = site(SITE);
    let kept_site = kept.site.unwrap();
    assert_eq!(kept_site.nodes, given.nodes);
    assert_eq!(kept_site.gateway_id, given.gateway_id);
    assert_eq!(kept_site.lease_seconds, 900, "what was left out is told");
    assert!(!kept.stopped);

    let stop = proto::StopSiteRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        stopped: true,
    };
    service.sites().stop_site(stop).await.unwrap();
    assert!(get(&service, TENANT, SITE).await.unwrap().stopped);

    delete(&service, TENANT, SITE).await.unwrap();
    assert_eq!(code(get(&service, TENANT, SITE).await), Code::NotFound);
    assert_eq!(list(&service, TENANT, 0, "").await.unwrap(), (vec![], String::new()));
}

#[tokio::test]
async fn every_fault_of_a_site_is_told_at_once_and_nothing_changes() {
    let service = start().await;
    let mut wrong = site(SITE);
    wrong.time_zone = "Europe/Atlantis".to_owned();
    wrong.currency = "kronor".to_owned();
    wrong.lease_seconds = 1;
    wrong.nodes.push(node("second", "", 40));
    wrong.nodes.push(node("lost", "nowhere", 40));
    wrong.nodes.push(node("lost", "grid", 40));
    wrong.nodes.push(node("absurd", "grid", -1));
    wrong.stations[0].node_id = "elsewhere".to_owned();
    assert_eq!(
        faults(service.put_site(wrong).await),
        [
            "site.time_zone: is not a known time zone; got Europe/Atlantis, allowed: an IANA name, such as Europe/Stockholm",
            "site.currency: is not an ISO 4217 code; got kronor, allowed: three capital letters, such as EUR",
            "site.lease_seconds: is out of range; got 1 s, allowed: 60 to 86400 s",
            "site.nodes[3].id: is used twice; got lost, allowed: an id that no other node or station of the site has",
            "site.nodes[4].limit.line_deciampere: is out of range; got -10 dA, allowed: 0 to 1000000 dA",
            "site.nodes[1].parent_id: makes a second root; got nothing, allowed: one root only; grid is one already",
            "site.nodes[2].parent_id: names no node of the site; got nowhere, allowed: the id of a node in this request",
            "site.stations[0].node_id: names no node of the site; got elsewhere, allowed: the id of a node in this request",
        ]
    );
    assert_eq!(list(&service, TENANT, 0, "").await.unwrap().0, [""; 0]);
}

#[tokio::test]
async fn a_tree_with_a_cycle_is_refused() {
    let service = start().await;
    let mut cyclic = site(SITE);
    cyclic.nodes.push(node("a", "b", 40));
    cyclic.nodes.push(node("b", "a", 40));
    assert_eq!(
        faults(service.put_site(cyclic).await),
        [
            "site.nodes[1].parent_id: is part of a cycle or hangs below one; got b, allowed: a tree that leads to the root",
            "site.nodes[2].parent_id: is part of a cycle or hangs below one; got a, allowed: a tree that leads to the root",
        ]
    );
    let mut rootless = site(SITE);
    rootless.nodes[0].parent_id = "grid".to_owned();
    assert!(rules(service.put_site(rootless).await).contains(&"site.nodes: has no root".to_owned()));
}

#[tokio::test]
async fn a_request_that_names_nothing_is_told_all_that_is_missing() {
    let service = start().await;
    let empty = service.sites().put_site(proto::PutSiteRequest::default()).await;
    assert_eq!(rules(empty), ["meta.request_id: is required", "site: is required"]);
    let empty = service
        .sites()
        .set_grid_limit(proto::SetGridLimitRequest::default())
        .await;
    assert_eq!(
        rules(empty),
        [
            "meta.request_id: is required",
            "site_id: is required",
            "grid_limit: is required"
        ]
    );
}

#[tokio::test]
async fn the_same_request_is_done_once_and_another_body_is_refused() {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    let first = set_prices(&service, request("once"), &[(0, 800_000)]).await.unwrap();
    let again = set_prices(&service, request("once"), &[(0, 800_000)]).await.unwrap();
    assert_eq!(first, again);
    let later = set_prices(&service, request("twice"), &[(0, 800_000)]).await.unwrap();
    assert!(later.sequence > first.sequence);

    let refused = set_prices(&service, request("once"), &[(0, 1)]).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("once"), "{refused}");
    let named = refused
        .metadata()
        .get("request-id")
        .map(|value| value.to_str().unwrap());
    assert_eq!(named, Some("once"));
    let stop = proto::StopSiteRequest {
        meta: request("once"),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        stopped: true,
    };
    assert_eq!(code(service.sites().stop_site(stop).await), Code::AlreadyExists);
}

#[tokio::test]
async fn prices_and_forecasts_do_not_run_backwards() {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    let now = at(0).seconds;
    assert_eq!(
        faults(set_prices(&service, meta(), &[(0, 1), (0, 2), (-60, i64::MAX)]).await),
        [
            format!("prices[1].from: is not after the point before; got @{now}, allowed: after @{now}"),
            "prices[2].micros_per_kwh: is out of range; got 9223372036854775807 µ/kWh, allowed: -1000000000 to 1000000000 µ/kWh"
                .to_owned(),
            format!("prices[2].from: is not after the point before; got @{}, allowed: after @{now}", now - 60),
        ]
    );
    assert_eq!(
        rules(set_prices(&service, meta(), &[]).await),
        ["prices: has a wrong number of points"]
    );
    let forecast = proto::SetForecastRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        kind: 0,
        points: vec![proto::ForecastPoint {
            from: None,
            power_watt: -1,
        }],
    };
    assert_eq!(
        rules(service.sites().set_forecast(forecast).await),
        [
            "kind: is required",
            "points[0].power_watt: is out of range",
            "points[0].from: is required"
        ]
    );
}

#[tokio::test]
async fn limits_are_set_listed_page_by_page_and_removed() {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    for number in 0..5 {
        set_limit(&service, grid_limit(&format!("limit-{number}"), number))
            .await
            .unwrap();
    }
    let (mut ids, mut token) = (Vec::new(), String::new());
    loop {
        let page = proto::PageRequest {
            page_size: 2,
            page_token: token,
        };
        let page = list_limits(&service, Some(page)).await;
        assert!(page.grid_limits.len() <= 2);
        ids.extend(page.grid_limits.into_iter().map(|limit| limit.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(ids, ["limit-0", "limit-1", "limit-2", "limit-3", "limit-4"]);

    let remove = |id: &str| proto::RemoveGridLimitRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        grid_limit_id: id.to_owned(),
    };
    service.sites().remove_grid_limit(remove("limit-2")).await.unwrap();
    assert_eq!(list_limits(&service, None).await.grid_limits.len(), 4);
    let unknown = service.sites().remove_grid_limit(remove("limit-2")).await;
    assert_eq!(code(unknown), Code::NotFound);
}

#[tokio::test]
async fn a_limit_of_zero_is_legal_and_an_absurd_one_is_not() {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    set_limit(&service, grid_limit("cut", 0)).await.unwrap();
    let mut absurd = grid_limit("absurd", -4);
    absurd.source = 99;
    absurd.when = None;
    absurd.node_id = "nowhere".to_owned();
    assert_eq!(
        rules(set_limit(&service, absurd).await),
        [
            "grid_limit.source: is not known",
            "grid_limit.limit.line_deciampere: is out of range",
            "grid_limit.when: is required",
            "grid_limit.node_id: names no node of the site"
        ]
    );
    let mut elsewhere = grid_limit("elsewhere", 4);
    elsewhere.node_id = "nowhere".to_owned();
    assert_eq!(
        faults(set_limit(&service, elsewhere).await),
        ["grid_limit.node_id: names no node of the site; got nowhere, allowed: a node of site yard"]
    );
}

#[tokio::test]
async fn sites_are_listed_page_by_page_by_id() {
    let service = start().await;
    for id in ["b", "a", "c"] {
        service.put_site(site(id)).await.unwrap();
    }
    let (first, token) = list(&service, TENANT, 2, "").await.unwrap();
    assert_eq!(first, ["a", "b"]);
    let (second, end) = list(&service, TENANT, 2, &token).await.unwrap();
    assert_eq!((second, end.as_str()), (vec!["c".to_owned()], ""));
    assert_eq!(
        rules(list(&service, TENANT, 1_001, "nonsense").await),
        [
            "page.page_size: is out of range",
            "page.page_token: is not a token of this list"
        ]
    );
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    let unknown = get(&service, TENANT, "no-such-site").await.unwrap_err();
    let foreign = get(&service, "other", SITE).await.unwrap_err();
    assert_eq!(foreign.code(), unknown.code());
    assert_eq!(foreign.message().replace(SITE, "no-such-site"), unknown.message());
    assert_eq!(code(delete(&service, "other", SITE).await), Code::NotFound);
    assert_eq!(list(&service, "other", 0, "").await.unwrap().0, [""; 0]);

    let mut other = site(SITE);
    other.currency = "EUR".to_owned();
    service.put_site_of("other", other).await.unwrap();
    assert_eq!(get(&service, TENANT, SITE).await.unwrap().site.unwrap().currency, "SEK");
    delete(&service, "other", SITE).await.unwrap();
    assert!(get(&service, TENANT, SITE).await.is_ok());
}

#[tokio::test]
async fn the_roll_out_shows_why_room_is_held_until_the_answer_is_there() {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    service.start_session(session(1)).await.unwrap();
    let command = gateway.command().await;
    let request = |page_size, page_token| proto::GetRolloutRequest {
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        page: Some(proto::PageRequest { page_size, page_token }),
    };
    let rollout = service
        .sites()
        .get_rollout(request(1, String::new()))
        .await
        .unwrap()
        .into_inner();
    assert!(rollout.gateway_connected);
    let [place] = &rollout.places[..] else {
        panic!("the grid connection has a limit: {:?}", rollout.places)
    };
    let [available, worst, headroom] = [
        place.available.unwrap().l1_deciampere.unwrap(),
        place.worst_case.unwrap().l1_deciampere,
        place.headroom.unwrap().l1_deciampere.unwrap(),
    ];
    assert_eq!((available, headroom), (400, 400 - worst));
    assert!(place.least_headroom.unwrap().l1_deciampere.unwrap() <= headroom);
    let [evse] = &rollout.evses[..] else {
        panic!("a page of one")
    };
    assert_eq!(
        (evse.evse_id.as_str(), evse.session_id.as_str()),
        ("evse-1", "session-1")
    );
    assert_eq!(evse.open_attempts, 1);
    assert_eq!(evse.revisions[0].revision, command.revision);
    assert_eq!(evse.revisions[0].hold(), proto::RevisionHold::Unanswered);
    assert_eq!(evse.reserved.unwrap().l1_deciampere, worst);
    let rest = service
        .sites()
        .get_rollout(request(10, rollout.next_page_token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(rest.places, []);
    let ids: Vec<&str> = rest.evses.iter().map(|evse| evse.evse_id.as_str()).collect();
    assert_eq!((ids, rest.next_page_token.as_str()), (vec!["evse-2"], ""));

    gateway.say(answer(&command, proto::CommandResult::Accepted)).await;
    gateway.acknowledged().await;
    let rollout = service
        .sites()
        .get_rollout(request(1, String::new()))
        .await
        .unwrap()
        .into_inner();
    let evse = &rollout.evses[0];
    assert_eq!((evse.open_attempts, evse.unused_watt), (0, 0));
    assert_eq!(evse.revisions[0].hold(), proto::RevisionHold::InForce);

    let mut other = request(1, String::new());
    other.tenant_id = "other".to_owned();
    assert_eq!(code(service.sites().get_rollout(other).await), Code::NotFound);
}
