//! Who may draw power: tokens, groups, and the answers of those who are asked.

use crate::service::*;
use laddplan::wire::proto;
use proto::driver_policy::Admits;
use proto::profile_command::Instruction;
use proto::{Authorization, NotAdmitted};
use std::time::Duration;
use tonic::{Code, Streaming};

/// Everything that is waited for comes of itself, and within this.
const PATIENCE: Duration = Duration::from_secs(30);

fn guarded(admits: Admits, limit_otherwise_watt: i64) -> proto::Site {
    proto::Site {
        drivers: Some(proto::DriverPolicy {
            admits: Some(admits),
            limit_otherwise_watt,
        }),
        ..site(SITE)
    }
}

fn listed_only() -> proto::Site {
    guarded(Admits::Listed(proto::AdmitListed {}), 0)
}

fn asking(offline: proto::OfflineRule, remember_seconds: i64) -> proto::Site {
    let authorized = proto::AdmitAuthorized {
        offline: offline.into(),
        remember_seconds,
    };
    guarded(Admits::Authorized(authorized), 0)
}

/// A service with this site, and its gateway.
async fn controlled(site: proto::Site) -> (Service, Stream) {
    let service = start().await;
    service.put_site(site).await.unwrap();
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    (service, gateway)
}

fn blocked(uid: &str) -> proto::DriverToken {
    proto::DriverToken {
        valid: false,
        ..token(uid)
    }
}

fn token(uid: &str) -> proto::DriverToken {
    proto::DriverToken {
        name: Some(card(uid)),
        valid: true,
        ..Default::default()
    }
}

async fn put(service: &Service, tokens: Vec<proto::DriverToken>) -> proto::PutDriverTokensResponse {
    let request = proto::PutDriverTokensRequest {
        tenant_id: TENANT.to_owned(),
        tokens,
    };
    let put = service.drivers().put_driver_tokens(request).await;
    put.unwrap().into_inner()
}

fn shows(number: usize, uid: &str) -> proto::SessionSpec {
    proto::SessionSpec {
        driver_token: Some(card(uid)),
        ..session(number)
    }
}

async fn verdict(service: &Service, session: &str) -> NotAdmitted {
    service.get_session(session).await.unwrap().not_admitted()
}

/// Waits until a session's driver stands like that.
async fn becomes(service: &Service, session: &str, expected: NotAdmitted) {
    let waiting = async {
        while verdict(service, session).await != expected {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    if waited.is_err() {
        panic!("{session} is {:?}, not {expected:?}", verdict(service, session).await);
    }
    service.clock.settle().await;
}

/// What the next profile lets an EVSE draw at first, in tenths of an ampere.
async fn next_ceiling(gateway: &mut Stream) -> (String, i64) {
    let command = gateway.command().await;
    let Some(Instruction::SetChargingProfile(profile)) = command.instruction else {
        panic!("no profile: {command:?}");
    };
    let amperes = profile.charging_profile_period[0].limit.unwrap();
    (command.evse_id, (amperes * 10.0).round() as i64)
}

#[tokio::test]
async fn only_listed_tokens_draw_power_and_sessions_follow_the_list() {
    let service = start().await;
    service.put_site(listed_only()).await.unwrap();
    service.start_session(session(2)).await.unwrap();
    assert_eq!(verdict(&service, "session-2").await, NotAdmitted::NoToken);
    service.start_session(shows(1, "04A1")).await.unwrap();
    assert_eq!(verdict(&service, "session-1").await, NotAdmitted::Unknown);

    let put_one = put(&service, vec![token("04a1")]).await;
    assert_eq!((put_one.changed, put_one.outdated), (1, 0));
    becomes(&service, "session-1", NotAdmitted::Unspecified).await;
    put(&service, vec![blocked("04A1")]).await;
    becomes(&service, "session-1", NotAdmitted::Blocked).await;
    let expiring = proto::DriverToken {
        valid_until: Some(at(60)),
        ..token("04A1")
    };
    put(&service, vec![expiring]).await;
    becomes(&service, "session-1", NotAdmitted::Unspecified).await;
    service.clock.advance(60).await;
    assert_eq!(verdict(&service, "session-1").await, NotAdmitted::Expired);
    assert_eq!(forget(&service, "04A1").await, 1);
    becomes(&service, "session-1", NotAdmitted::Unknown).await;

    service.put_site(site(SITE)).await.unwrap();
    assert_eq!(verdict(&service, "session-1").await, NotAdmitted::Unspecified);
    assert_eq!(
        verdict(&service, "session-2").await,
        NotAdmitted::Unspecified,
        "it is open to all"
    );
}

#[tokio::test]
async fn who_is_not_admitted_is_told_to_draw_nothing_and_stops_at_once_when_he_is_blocked() {
    let (service, mut gateway) = controlled(listed_only()).await;
    put(&service, vec![token("04A1")]).await;
    service.start_session(shows(1, "04A1")).await.unwrap();
    let (evse, current) = next_ceiling(&mut gateway).await;
    assert_eq!((evse.as_str(), current >= 60), ("evse-1", true), "{current} dA");
    service.start_session(shows(2, "04A2")).await.unwrap();
    assert_eq!(next_ceiling(&mut gateway).await, ("evse-2".to_owned(), 0));
    put(&service, vec![blocked("04A1")]).await;
    assert_eq!(next_ceiling(&mut gateway).await, ("evse-1".to_owned(), 0));
}

#[tokio::test]
async fn a_site_may_leave_some_power_to_whoever_is_not_admitted() {
    // At 230 V on one phase these are 6.5 A.
    let site = guarded(Admits::Listed(proto::AdmitListed {}), 1_500);
    let (service, mut gateway) = controlled(site).await;
    service.start_session(shows(1, "04A1")).await.unwrap();
    let (_, current) = next_ceiling(&mut gateway).await;
    assert_eq!(current, 65);
    assert_eq!(
        verdict(&service, "session-1").await,
        NotAdmitted::Unknown,
        "and says so"
    );
}

#[tokio::test]
async fn a_group_is_let_in_and_says_how_its_cars_are_planned() {
    let service = start().await;
    let groups = proto::AdmitGroups {
        group_ids: vec!["pool".to_owned()],
    };
    service.put_site(guarded(Admits::Groups(groups), 0)).await.unwrap();
    let pool = proto::DriverGroup {
        id: "pool".to_owned(),
        name: "Car pool".to_owned(),
        tier: 2,
        stay_seconds: 9 * 3_600,
        need_watt_hour: 12_000,
        guaranteed_watt_hour: 3_000,
    };
    let request = proto::PutDriverGroupRequest {
        tenant_id: TENANT.to_owned(),
        group: Some(pool.clone()),
    };
    service.drivers().put_driver_group(request).await.unwrap();
    let request = proto::ListDriverGroupsRequest::default();
    let groups = service
        .drivers()
        .list_driver_groups(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(groups.groups, [pool]);
    let member = proto::DriverToken {
        group_id: "pool".to_owned(),
        ..token("04A1")
    };
    let other = proto::DriverToken {
        group_id: "guests".to_owned(),
        ..token("04A2")
    };
    put(&service, vec![member, other]).await;
    let says_nothing = |number, uid| proto::SessionSpec {
        departure_time: None,
        need_watt_hour: None,
        ..shows(number, uid)
    };
    service.start_session(says_nothing(1, "04A1")).await.unwrap();
    service.start_session(says_nothing(2, "04A2")).await.unwrap();
    assert_eq!(verdict(&service, "session-1").await, NotAdmitted::Unspecified);
    assert_eq!(verdict(&service, "session-2").await, NotAdmitted::NotInGroup);
    let spec = service.get_session("session-1").await.unwrap().spec.unwrap();
    assert_eq!((spec.tier, spec.group_id.as_str()), (2, "pool"));
    assert_eq!((spec.need_watt_hour, spec.need_estimated), (Some(12_000), true));
    assert_eq!(
        (spec.departure_time, spec.departure_estimated),
        (Some(at(9 * 3_600)), true)
    );
    assert_eq!(spec.guaranteed_watt_hour, 3_000);

    // An update that says nothing of the driver leaves him as he was; what it says comes before his group.
    let update = proto::UpdateSessionRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        session: Some(proto::SessionSpec {
            tier: 7,
            departure_time: None,
            ..session(1)
        }),
    };
    service.sessions().update_session(update).await.unwrap();
    let kept = service.get_session("session-1").await.unwrap();
    assert_eq!(kept.not_admitted(), NotAdmitted::Unspecified);
    let spec = kept.spec.unwrap();
    assert_eq!(
        (spec.tier, spec.need_watt_hour, spec.need_estimated),
        (7, Some(5_000), false)
    );
    assert_eq!(spec.departure_time, Some(at(9 * 3_600)));
    let request = proto::RemoveDriverGroupRequest {
        tenant_id: TENANT.to_owned(),
        group_id: "pool".to_owned(),
    };
    let removed = service.drivers().remove_driver_group(request).await.unwrap();
    assert!(removed.into_inner().was_there);
}

async fn watch(service: &Service) -> Streaming<proto::WatchAuthorizationsResponse> {
    let request = proto::WatchAuthorizationsRequest::default();
    let questions = service.drivers().watch_authorizations(request).await;
    questions.unwrap().into_inner()
}

async fn asked(questions: &mut Streaming<proto::WatchAuthorizationsResponse>) -> proto::WatchAuthorizationsResponse {
    let next = tokio::time::timeout(PATIENCE, questions.message()).await;
    next.expect("somebody is asked").unwrap().unwrap()
}

async fn say(service: &Service, question: &proto::WatchAuthorizationsResponse, authorization: Authorization) -> bool {
    let request = proto::AnswerAuthorizationRequest {
        tenant_id: TENANT.to_owned(),
        authorization_id: question.authorization_id.clone(),
        authorization: authorization.into(),
    };
    let answered = service.drivers().answer_authorization(request).await;
    answered.unwrap().into_inner().counted
}

#[tokio::test]
async fn somebody_is_asked_and_the_answer_counts_once_and_is_remembered() {
    let service = start().await;
    service
        .put_site(asking(proto::OfflineRule::Nobody, 3_600))
        .await
        .unwrap();
    let mut questions = watch(&service).await;
    service.start_session(shows(1, "04A1")).await.unwrap();
    assert_eq!(verdict(&service, "session-1").await, NotAdmitted::Awaited);
    let question = asked(&mut questions).await;
    assert_eq!(question.token, Some(card("04A1")));
    let place = [&question.site_id, &question.evse_id, &question.session_id];
    assert_eq!(place, [SITE, "evse-1", "session-1"]);
    assert!(say(&service, &question, Authorization::Allowed).await);
    assert!(
        !say(&service, &question, Authorization::Blocked).await,
        "the first answer counts"
    );
    becomes(&service, "session-1", NotAdmitted::Unspecified).await;

    // The same driver again: nobody is asked, so the next question is about another.
    let again = proto::SessionSpec {
        id: "session-again".to_owned(),
        ..shows(1, "04A1")
    };
    service.start_session(again).await.unwrap();
    assert_eq!(verdict(&service, "session-again").await, NotAdmitted::Unspecified);
    service.start_session(shows(2, "04A2")).await.unwrap();
    let question = asked(&mut questions).await;
    assert_eq!(question.token, Some(card("04A2")));
    assert!(say(&service, &question, Authorization::NoCredit).await);
    becomes(&service, "session-2", NotAdmitted::NoCredit).await;

    // A session keeps its answer for as long as it lasts.
    service.clock.advance(1).await;
    service.put_site(asking(proto::OfflineRule::Nobody, 0)).await.unwrap();
    assert_eq!(verdict(&service, "session-again").await, NotAdmitted::Unspecified);
}

#[tokio::test]
async fn a_site_that_begins_to_ask_asks_about_those_who_are_there() {
    let service = start().await;
    service.put_site(site(SITE)).await.unwrap();
    service.start_session(shows(1, "04A1")).await.unwrap();
    let mut questions = watch(&service).await;
    service.put_site(asking(proto::OfflineRule::Nobody, 0)).await.unwrap();
    let question = asked(&mut questions).await;
    // Another card for the same session while the first is asked about: both are, and each answer is of its own.
    let update = proto::UpdateSessionRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        site_id: SITE.to_owned(),
        session: Some(shows(1, "04A2")),
    };
    service.sessions().update_session(update).await.unwrap();
    let other = asked(&mut questions).await;
    assert_eq!(other.token, Some(card("04A2")));
    say(&service, &question, Authorization::Allowed).await;
    assert_eq!(verdict(&service, "session-1").await, NotAdmitted::Awaited);
    assert!(say(&service, &other, Authorization::Allowed).await);
    assert_eq!(
        verdict(&service, "session-1").await,
        NotAdmitted::Unspecified,
        "it was recorded"
    );
}

#[tokio::test]
async fn a_policy_that_admits_nobody_in_particular_is_refused() {
    let service = start().await;
    let mut nobody = listed_only();
    nobody.drivers.as_mut().unwrap().admits = None;
    assert_eq!(
        rules(service.put_site(nobody).await),
        ["site.drivers.admits: is required"]
    );
}

#[tokio::test]
async fn where_nobody_answers_the_offline_rule_decides() {
    let service = start().await;
    service.put_site(asking(proto::OfflineRule::Listed, 0)).await.unwrap();
    put(&service, vec![token("04A1")]).await;
    service.start_session(shows(1, "04A1")).await.unwrap();
    service.start_session(shows(2, "04A2")).await.unwrap();
    becomes(&service, "session-1", NotAdmitted::Unspecified).await;
    becomes(&service, "session-2", NotAdmitted::Unanswered).await;
    service
        .put_site(asking(proto::OfflineRule::Everybody, 0))
        .await
        .unwrap();
    assert_eq!(verdict(&service, "session-2").await, NotAdmitted::Unspecified);
}

#[tokio::test]
async fn who_watches_late_is_told_of_those_who_wait() {
    let service = start().await;
    service.put_site(asking(proto::OfflineRule::Nobody, 0)).await.unwrap();
    let mut early = watch(&service).await;
    service.start_session(shows(1, "04A1")).await.unwrap();
    let question = asked(&mut early).await;
    let mut late = watch(&service).await;
    assert_eq!(asked(&mut late).await, question);
    let other = service.of("other").await;
    let request = proto::AnswerAuthorizationRequest {
        authorization_id: question.authorization_id.clone(),
        authorization: Authorization::Allowed.into(),
        ..Default::default()
    };
    let mut of_other = proto::driver_service_client::DriverServiceClient::new(other);
    let answered = of_other.answer_authorization(request).await.unwrap().into_inner();
    assert!(!answered.counted, "it is not theirs");
    assert!(say(&service, &question, Authorization::Allowed).await);
    becomes(&service, "session-1", NotAdmitted::Unspecified).await;
}

#[tokio::test]
async fn faults_of_tokens_are_told_by_their_place_and_tell_nobodys_token() {
    let service = start().await;
    let request = |tokens| proto::PutDriverTokensRequest {
        tenant_id: TENANT.to_owned(),
        tokens,
    };
    let long = "04A1".repeat(10);
    let wrong = vec![
        proto::DriverToken {
            name: None,
            ..token("04A1")
        },
        proto::DriverToken {
            group_id: "two words".to_owned(),
            whitelist: 9,
            contract_id: long.clone(),
            ..token(&long)
        },
        token("04A2"),
        token("04a2"),
        proto::DriverToken {
            updated_at: Some(at(3_600)),
            ..token("04A3")
        },
    ];
    let told = faults(service.drivers().put_driver_tokens(request(wrong)).await);
    assert!(
        told.iter().all(|line| !line.contains("04A1") && !line.contains("04a2")),
        "{told:?}"
    );
    let fields: Vec<&str> = told.iter().map(|line| line.split(':').next().unwrap()).collect();
    let expected = [
        "tokens[0].name",
        "tokens[1].name.uid",
        "tokens[1].contract_id",
        "tokens[1].whitelist",
        "tokens[1].group_id",
        "tokens[4].updated_at",
        "tokens[3].name",
    ];
    assert_eq!(fields, expected);
    let none = service.drivers().put_driver_tokens(request(Vec::new())).await;
    assert_eq!(code(none), Code::InvalidArgument);
    let many = (0..1_001).map(|number| token(&format!("{number}"))).collect();
    assert_eq!(
        code(service.drivers().put_driver_tokens(request(many)).await),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn tokens_are_listed_in_pages_and_by_contract() {
    let service = start().await;
    let tokens: Vec<proto::DriverToken> = (0..5)
        .map(|number| proto::DriverToken {
            contract_id: format!("SE-ABC-C{}", number % 2),
            updated_at: Some(at(0)),
            whitelist: proto::Whitelist::Never.into(),
            ..token(&format!("04A{number}"))
        })
        .collect();
    put(&service, tokens.clone()).await;
    let list = async |contract_id: &str, size: i32| {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListDriverTokensRequest {
                tenant_id: TENANT.to_owned(),
                page: Some(proto::PageRequest {
                    page_size: size,
                    page_token,
                }),
                contract_id: contract_id.to_owned(),
            };
            let page = service
                .drivers()
                .list_driver_tokens(request)
                .await
                .unwrap()
                .into_inner();
            all.extend(page.tokens);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                all.sort_by_key(|token| token.name.clone().unwrap().uid);
                return all;
            }
            assert!(!page_token.contains("04A"), "a page token tells nobody's token");
        }
    };
    assert_eq!(list("", 2).await, tokens);
    assert_eq!(list("se-abc-c1", 10).await, [tokens[1].clone(), tokens[3].clone()]);
}
