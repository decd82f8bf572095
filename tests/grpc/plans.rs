//! Plans, in force and made once.

use crate::service::*;
use laddplan::wire::proto;
use tonic::Code;

fn watch() -> proto::WatchPlanRequest {
    proto::WatchPlanRequest {
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
    }
}

fn whole_problem() -> proto::PlanRequest {
    proto::PlanRequest {
        site: Some(site(SITE)),
        now: Some(at(0)),
        sessions: [1, 2]
            .map(|number| proto::PlanSession {
                spec: Some(session(number)),
                ..Default::default()
            })
            .to_vec(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_plan_made_once_is_verified_and_carries_a_profile_for_each_session() {
    let service = start().await;
    let plan = service.plans().plan(whole_problem()).await.unwrap().into_inner();
    assert!(plan.stats.unwrap().verified);
    assert_eq!(plan.sessions.len(), 2);
    for session in &plan.sessions {
        let profile = session.charging_profile.as_ref().unwrap();
        assert_eq!(profile.charging_rate_unit, "A");
        assert_eq!(profile.start_date_time, "2026-03-02T08:00:00Z");
        assert_eq!(profile.charging_profile_period[0].start_period, Some(0));
        assert!(!session.schedule.is_empty());
    }
}

#[tokio::test]
async fn every_fault_of_a_problem_is_told_by_its_place() {
    let service = start().await;
    let mut wrong = whole_problem();
    wrong.now = None;
    wrong.slot_count = -1;
    wrong.budget_iterations = i32::MAX;
    wrong.sessions[1].delivered_watt_hour = -1;
    wrong.sessions[1].spec = None;
    assert_eq!(
        rules(service.plans().plan(wrong).await),
        [
            "now: is required",
            "slot_count: is out of range",
            "budget_iterations: is out of range",
            "sessions[1].spec: is required",
            "sessions[1].delivered_watt_hour: is out of range"
        ]
    );
    // What breaks a rule of the site is told in the same breath as what cannot be read.
    let mut wrong = whole_problem();
    wrong.budget_iterations = -1;
    wrong.grid_limits = vec![crate::service::grid_limit("cut", -4)];
    wrong.grid_limits[0].node_id = "nowhere".to_owned();
    let spec = wrong.sessions[0].spec.as_mut().unwrap();
    spec.evse_id = "nowhere".to_owned();
    spec.guaranteed_watt_hour = -1;
    assert_eq!(
        rules(service.plans().plan(wrong).await),
        [
            "budget_iterations: is out of range",
            "grid_limits[0].limit.line_deciampere: is out of range",
            "grid_limits[0].node_id: names no node of the site",
            "sessions[0].spec.guaranteed_watt_hour: is out of range",
            "sessions[0].spec.evse_id: names no EVSE of the site"
        ]
    );
}

#[tokio::test]
async fn a_watcher_sees_new_plans_in_order_until_the_site_is_deleted() {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    let mut plans = service.plans().watch_plan(watch()).await.unwrap().into_inner();
    service.start_session(session(1)).await.unwrap();
    let mut last = 0;
    loop {
        let seen = plans.message().await.unwrap().unwrap();
        let number = seen.provenance.unwrap().number;
        assert!(number > last, "{number} after {last}");
        last = number;
        if seen.plan.unwrap().sessions.len() == 1 {
            break;
        }
    }
    let get = proto::GetPlanRequest {
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
    };
    let in_force = service.plans().get_plan(get.clone()).await.unwrap().into_inner();
    assert!(in_force.provenance.unwrap().number >= last);

    let delete = proto::DeleteSiteRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
    };
    service.sites().delete_site(delete).await.unwrap();
    while plans.message().await.unwrap().is_some() {}
    assert_eq!(code(service.plans().get_plan(get).await), Code::NotFound);
    assert_eq!(code(service.plans().watch_plan(watch()).await), Code::NotFound);
}
