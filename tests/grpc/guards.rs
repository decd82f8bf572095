//! What meters at nodes show, and checks of EVSEs.

use crate::service::*;
use laddplan::wire::proto;
use tonic::{Code, Status};

async fn report(
    service: &Service,
    readings: Vec<proto::NodeMeterReading>,
) -> Result<proto::ReportNodeMeterResponse, Status> {
    let request = proto::ReportNodeMeterRequest {
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        readings,
    };
    Ok(service.sites().report_node_meter(request).await?.into_inner())
}

fn reading(node_id: &str, current_deciampere: Vec<i64>) -> proto::NodeMeterReading {
    proto::NodeMeterReading {
        node_id: node_id.to_owned(),
        at: None,
        current_deciampere,
        power_watt: None,
    }
}

async fn rollout(service: &Service) -> proto::GetRolloutResponse {
    let request = proto::GetRolloutRequest {
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        page: None,
    };
    service.sites().get_rollout(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn what_a_meter_shows_at_a_node_is_shown_and_lowers_what_is_available() {
    let service = start().await;
    let site = site(SITE);
    let grid = site.nodes[0].id.clone();
    service.put_site(site).await.unwrap();
    assert!(rollout(&service).await.places[0].meter.is_none());
    let recorded = report(&service, vec![reading(&grid, vec![100, 0, -3])]).await.unwrap();
    assert_eq!((recorded.recorded, recorded.dropped), (1, 0));
    let again = report(&service, vec![reading(&grid, vec![9_000, 0, 0])]).await.unwrap();
    assert_eq!((again.recorded, again.dropped), (0, 1), "of the same second");
    let place = rollout(&service).await.places[0].clone();
    let meter = place.meter.unwrap();
    assert_eq!(
        (meter.l1_deciampere, meter.l3_deciampere, meter.total_watt),
        (Some(100), Some(-3), None)
    );
    assert_eq!((meter.overload_used_permille, meter.sheds_since), (0, None));
    assert!(place.available.unwrap().l1_deciampere > Some(0));

    service.clock.advance(1).await;
    report(&service, vec![reading(&grid, vec![9_000, 0, 0])]).await.unwrap();
    let place = rollout(&service).await.places[0].clone();
    assert!(place.meter.unwrap().sheds_since.is_some());
    let available = place.available.unwrap();
    assert_eq!(available.l1_deciampere, Some(0), "nothing that can be shed");
    assert!(available.l2_deciampere > Some(0));
}

#[tokio::test]
async fn every_fault_of_a_node_meter_is_told() {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    let mut silent = reading("", vec![]);
    silent.at = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    assert_eq!(
        rules(report(&service, vec![silent, reading("grid", vec![1, 2])]).await),
        [
            "readings[0].node_id: is required",
            "readings[0].at: is too far from the service's clock",
            "readings[0]: says nothing",
            "readings[1].current_deciampere: is not for three lines",
        ]
    );
    assert_eq!(
        rules(report(&service, vec![reading("nowhere", vec![1, 2, 3])]).await),
        ["readings[0].node_id: names no node of the site"]
    );
    let mut wrong = site(SITE);
    wrong.nodes[0].overload_curve = vec![proto::OverloadPoint {
        load_percent: 100,
        tolerated_seconds: 60,
    }];
    assert_eq!(
        rules(service.put_site(wrong).await),
        ["site.nodes[0].overload_curve[0].load_percent: is out of range"]
    );
}

#[tokio::test]
async fn a_check_needs_a_site_under_control_and_is_read_step_by_step() {
    let service = start().await;
    let site = site(SITE);
    let evse_id = site.stations[0].evses[0].id.clone();
    service.put_site(site).await.unwrap();
    let check = |id: &str| proto::CheckEvseRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        evse_id: id.to_owned(),
    };
    let get = proto::GetEvseCheckRequest {
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        evse_id: evse_id.clone(),
    };
    assert_eq!(code(service.sites().check_evse(check("nowhere")).await), Code::NotFound);
    assert_eq!(code(service.sites().get_evse_check(get.clone()).await), Code::NotFound);
    let told = rules(service.sites().check_evse(check(&evse_id)).await);
    assert_eq!(told, ["evse_id: cannot be checked"], "no gateway is there");
    let abort = proto::AbortEvseCheckRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        evse_id: evse_id.clone(),
    };
    assert_eq!(
        rules(service.sites().abort_evse_check(abort).await),
        ["evse_id: is not being checked"]
    );
}
