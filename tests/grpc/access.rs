//! Who is let in, and to what: every call of the API, as its protos list them, with every credential that is not good for it.
//!
//! A new call fails these tests until it has a row in [`rows`].

use crate::service::*;
use crate::support::{MORNING, ManualClock};
use laddplan::access::{By, everything_of};
use laddplan::config::{Config, Sources};
use laddplan::domain::access::{Grant, Scope};
use laddplan::domain::ids::{GatewayId, SiteId, TenantId};
use laddplan::units::{Instant, Seconds};
use laddplan::wire::bearer::{Bearer, Calls};
use laddplan::wire::{DESCRIPTORS, proto};
use prost::Message;
use prost_types::FileDescriptorSet;
use std::collections::BTreeSet;
use tokio_stream::StreamExt;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

/// What a call is about, which says what a stranger may learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// A site of the tenant.
    Site,
    /// The tenant as a whole.
    Tenant,
    /// A token.
    Token,
    /// Only for those who belong to no tenant.
    Service,
    /// Nothing that belongs to anybody.
    Nothing,
}

/// Makes the message of a call, as bytes.
type Body = dyn Fn(&str, &Things) -> Vec<u8>;

struct Row {
    method: &'static str,
    scope: Option<Scope>,
    about: About,
    /// A sound call about `tenant` and the site, session and token that are there.
    call: Box<Body>,
}

/// Where the car of the site is.
const EVSE: &str = "evse-1";
/// A tenant that has nothing.
const EMPTY: &str = "empty";

/// What is there to be called about.
struct Things {
    site: String,
    gateway: String,
    token: String,
}

fn row<M: Message>(
    method: &'static str,
    scope: impl Into<Option<Scope>>,
    about: About,
    call: impl Fn(String, &Things) -> M + 'static,
) -> Row {
    let call = move |tenant: &str, things: &Things| call(tenant.to_owned(), things).encode_to_vec();
    Row {
        method,
        scope: scope.into(),
        about,
        call: Box::new(call),
    }
}

/// Every call of the API.
fn rows() -> Vec<Row> {
    let mut rows = of_sites();
    rows.extend(of_sessions());
    rows.extend(of_drivers());
    rows.extend(of_plans_alarms_and_gateways());
    rows.extend(of_access());
    rows
}

fn of_sites() -> Vec<Row> {
    use About::{Site, Tenant};
    use Scope::{Limits, PlanWrite, SiteRead};
    vec![
        row("SiteService/PutSite", PlanWrite, Site, |tenant_id, things| {
            proto::PutSiteRequest {
                meta: meta(),
                tenant_id,
                site: Some(site(&things.site)),
            }
        }),
        row("SiteService/GetSite", SiteRead, Site, |tenant_id, things| {
            proto::GetSiteRequest {
                tenant_id,
                site_id: things.site.clone(),
            }
        }),
        row("SiteService/GetRollout", SiteRead, Site, |tenant_id, things| {
            proto::GetRolloutRequest {
                tenant_id,
                site_id: things.site.clone(),
                page: None,
            }
        }),
        row("SiteService/ListSites", SiteRead, Tenant, |tenant_id, _| {
            proto::ListSitesRequest { tenant_id, page: None }
        }),
        row("SiteService/DeleteSite", PlanWrite, Site, |tenant_id, things| {
            proto::DeleteSiteRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
            }
        }),
        row("SiteService/StopSite", Limits, Site, |tenant_id, things| {
            proto::StopSiteRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
                stopped: true,
            }
        }),
        row("SiteService/SetGridLimit", Limits, Site, |tenant_id, things| {
            proto::SetGridLimitRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
                grid_limit: Some(grid_limit("cut", 20)),
            }
        }),
        row("SiteService/ListGridLimits", SiteRead, Site, |tenant_id, things| {
            proto::ListGridLimitsRequest {
                tenant_id,
                site_id: things.site.clone(),
                page: None,
            }
        }),
        row("SiteService/RemoveGridLimit", Limits, Site, |tenant_id, things| {
            proto::RemoveGridLimitRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
                grid_limit_id: "cut".to_owned(),
            }
        }),
        row("SiteService/ReportNodeMeter", PlanWrite, Site, |tenant_id, things| {
            proto::ReportNodeMeterRequest {
                tenant_id,
                site_id: things.site.clone(),
                readings: vec![proto::NodeMeterReading {
                    node_id: "grid".to_owned(),
                    at: Some(at(0)),
                    power_watt: Some(0),
                    ..Default::default()
                }],
            }
        }),
        row("SiteService/CheckEvse", PlanWrite, Site, |tenant_id, things| {
            proto::CheckEvseRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
                evse_id: EVSE.to_owned(),
            }
        }),
        row("SiteService/AbortEvseCheck", PlanWrite, Site, |tenant_id, things| {
            proto::AbortEvseCheckRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
                evse_id: EVSE.to_owned(),
            }
        }),
        row("SiteService/GetEvseCheck", SiteRead, Site, |tenant_id, things| {
            proto::GetEvseCheckRequest {
                tenant_id,
                site_id: things.site.clone(),
                evse_id: EVSE.to_owned(),
            }
        }),
        row("SiteService/SetPrices", PlanWrite, Site, |tenant_id, things| {
            proto::SetPricesRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
                prices: vec![proto::PricePoint {
                    from: Some(at(0)),
                    micros_per_kwh: 1,
                }],
            }
        }),
        row("SiteService/SetForecast", PlanWrite, Site, |tenant_id, things| {
            proto::SetForecastRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
                kind: proto::ForecastKind::BaseLoad.into(),
                points: vec![proto::ForecastPoint {
                    from: Some(at(0)),
                    power_watt: 1,
                }],
            }
        }),
    ]
}

fn of_sessions() -> Vec<Row> {
    use About::Site;
    use Scope::{PlanWrite, SiteRead};
    vec![
        row("SessionService/StartSession", PlanWrite, Site, |tenant_id, things| {
            proto::StartSessionRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
                session: Some(proto::SessionSpec {
                    id: "another".to_owned(),
                    ..session(1)
                }),
            }
        }),
        row("SessionService/UpdateSession", PlanWrite, Site, |tenant_id, things| {
            proto::UpdateSessionRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
                session: Some(session(1)),
            }
        }),
        row(
            "SessionService/OverrideSession",
            PlanWrite,
            Site,
            |tenant_id, things| proto::OverrideSessionRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
                session_id: "session-1".to_owned(),
                session_override: proto::SessionOverride::Pause.into(),
            },
        ),
        row("SessionService/ReportMeter", PlanWrite, Site, |tenant_id, things| {
            proto::ReportMeterRequest {
                tenant_id,
                site_id: things.site.clone(),
                readings: vec![proto::MeterReading {
                    evse_id: "evse-1".to_owned(),
                    at: Some(at(0)),
                    power_watt: Some(0),
                    ..Default::default()
                }],
            }
        }),
        row("SessionService/EndSession", PlanWrite, Site, |tenant_id, things| {
            proto::EndSessionRequest {
                meta: meta(),
                tenant_id,
                site_id: things.site.clone(),
                session_id: "session-1".to_owned(),
                ..Default::default()
            }
        }),
        row("SessionService/GetSession", SiteRead, Site, |tenant_id, things| {
            proto::GetSessionRequest {
                tenant_id,
                site_id: things.site.clone(),
                session_id: "session-1".to_owned(),
            }
        }),
        row("SessionService/ListSessions", SiteRead, Site, |tenant_id, things| {
            proto::ListSessionsRequest {
                tenant_id,
                site_id: things.site.clone(),
                ..Default::default()
            }
        }),
    ]
}

fn of_drivers() -> Vec<Row> {
    use About::Tenant;
    use Scope::Drivers;
    vec![
        row("DriverService/PutDriverTokens", Drivers, Tenant, |tenant_id, _| {
            proto::PutDriverTokensRequest {
                tenant_id,
                tokens: vec![proto::DriverToken {
                    name: Some(card("04A1B2C3")),
                    ..Default::default()
                }],
            }
        }),
        row("DriverService/ListDriverTokens", Drivers, Tenant, |tenant_id, _| {
            proto::ListDriverTokensRequest {
                tenant_id,
                ..Default::default()
            }
        }),
        row("DriverService/ForgetDriver", Drivers, Tenant, |tenant_id, _| {
            proto::ForgetDriverRequest {
                tenant_id,
                driver: Some(proto::forget_driver_request::Driver::Token(card("nobody's card"))),
            }
        }),
        row("DriverService/PutDriverGroup", Drivers, Tenant, |tenant_id, _| {
            proto::PutDriverGroupRequest {
                tenant_id,
                group: Some(proto::DriverGroup {
                    id: "pool".to_owned(),
                    ..Default::default()
                }),
            }
        }),
        row("DriverService/ListDriverGroups", Drivers, Tenant, |tenant_id, _| {
            proto::ListDriverGroupsRequest {
                tenant_id,
                ..Default::default()
            }
        }),
        row("DriverService/RemoveDriverGroup", Drivers, Tenant, |tenant_id, _| {
            proto::RemoveDriverGroupRequest {
                tenant_id,
                group_id: "nobody's".to_owned(),
            }
        }),
        row("DriverService/WatchAuthorizations", Drivers, Tenant, |tenant_id, _| {
            proto::WatchAuthorizationsRequest { tenant_id }
        }),
        row("DriverService/AnswerAuthorization", Drivers, Tenant, |tenant_id, _| {
            proto::AnswerAuthorizationRequest {
                tenant_id,
                authorization_id: "5b0f7a52-96d8-4bd0-8a39-6d6a6f3b0f7d".to_owned(),
                authorization: proto::Authorization::Allowed.into(),
            }
        }),
    ]
}

fn of_plans_alarms_and_gateways() -> Vec<Row> {
    use About::{Nothing, Site};
    use Scope::{Gateway, PlanWrite, SiteRead};
    vec![
        row("PlanService/Plan", PlanWrite, Nothing, |_, _| proto::PlanRequest {
            site: Some(site("anywhere")),
            now: Some(at(0)),
            ..Default::default()
        }),
        row("PlanService/GetPlan", SiteRead, Site, |tenant_id, things| {
            proto::GetPlanRequest {
                tenant_id,
                site_id: things.site.clone(),
            }
        }),
        row("PlanService/WatchPlan", SiteRead, Site, |tenant_id, things| {
            proto::WatchPlanRequest {
                tenant_id,
                site_id: things.site.clone(),
            }
        }),
        row("AlarmService/ListAlarms", SiteRead, Site, |tenant_id, things| {
            proto::ListAlarmsRequest {
                tenant_id,
                site_id: things.site.clone(),
                ..Default::default()
            }
        }),
        row("AlarmService/WatchAlarms", SiteRead, Site, |tenant_id, things| {
            proto::WatchAlarmsRequest {
                tenant_id,
                site_id: things.site.clone(),
            }
        }),
        row("GatewayService/Connect", Gateway, Site, |tenant_id, things| {
            proto::ConnectRequest {
                number: 1,
                message: Some(proto::connect_request::Message::Hello(proto::GatewayHello {
                    tenant_id,
                    gateway_id: things.gateway.clone(),
                    ..hello()
                })),
            }
        }),
    ]
}

fn of_access() -> Vec<Row> {
    use About::{Nothing, Service, Tenant, Token};
    use Scope::Admin;
    vec![
        row("AdminService/GetCaller", None, Nothing, |_, _| {
            proto::GetCallerRequest {}
        }),
        row("AdminService/PutTenant", Admin, Service, |id, _| {
            proto::PutTenantRequest {
                meta: meta(),
                tenant: Some(proto::Tenant {
                    id,
                    ..Default::default()
                }),
            }
        }),
        row("AdminService/GetTenant", Admin, Tenant, |tenant_id, _| {
            proto::GetTenantRequest { tenant_id }
        }),
        row("AdminService/ListTenants", Admin, Nothing, |_, _| {
            proto::ListTenantsRequest::default()
        }),
        row("AdminService/RemoveTenant", Admin, Service, |_, _| {
            proto::RemoveTenantRequest {
                meta: meta(),
                tenant_id: EMPTY.to_owned(),
            }
        }),
        row("AdminService/CreateToken", Admin, Tenant, |tenant_id, _| {
            proto::CreateTokenRequest {
                meta: meta(),
                tenant_id,
                scopes: vec![proto::Scope::SiteRead.into()],
                ..Default::default()
            }
        }),
        row("AdminService/ListTokens", Admin, Tenant, |tenant_id, _| {
            proto::ListTokensRequest {
                tenant_id,
                ..Default::default()
            }
        }),
        row("AdminService/RotateToken", Admin, Token, |_, things| {
            proto::RotateTokenRequest {
                meta: meta(),
                token_id: things.token.clone(),
                ..Default::default()
            }
        }),
        row("AdminService/RevokeToken", Admin, Token, |_, things| {
            proto::RevokeTokenRequest {
                meta: meta(),
                token_id: things.token.clone(),
            }
        }),
        row("AdminService/ListAccessChanges", Admin, Tenant, |tenant_id, _| {
            proto::ListAccessChangesRequest { tenant_id, page: None }
        }),
    ]
}

/// Messages as bytes, so that one client makes every call.
#[derive(Clone, Copy, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        prost::bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = prost::bytes::Buf::remaining(buffer);
        Ok(Some(prost::bytes::Buf::copy_to_bytes(buffer, length).to_vec()))
    }
}

/// Makes a call and takes its first answer. A stream may have none yet.
async fn call<C>(calls: C, method: &str, body: Vec<u8>) -> Result<Vec<u8>, Status>
where
    C: tonic::client::GrpcService<tonic::body::Body>,
    C::ResponseBody: tonic::transport::Body<Data = prost::bytes::Bytes> + Send + 'static,
    <C::ResponseBody as tonic::transport::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut client = tonic::client::Grpc::new(calls);
    client.ready().await.map_err(|_| Status::unavailable("not connected"))?;
    let path = format!("/laddplan.v1.{method}").parse().unwrap();
    let said = tokio_stream::once(body);
    let answers = client.streaming(Request::new(said), path, Bytes).await?;
    let mut answers = answers.into_inner();
    if ["AlarmService/WatchAlarms", "DriverService/WatchAuthorizations"].contains(&method) {
        // They say nothing while there is nothing to be told.
        return Ok(Vec::new());
    }
    Ok(answers.next().await.transpose()?.unwrap_or_default())
}

/// A service with a tenant whose site, session and token the calls are about, and with another tenant.
struct Scene {
    service: Service,
    things: Things,
}

impl Scene {
    async fn new() -> Self {
        let service = start().await;
        service.put_site(site(SITE)).await.unwrap();
        service.start_session(session(1)).await.unwrap();
        for tenant in ["other", EMPTY] {
            service.of(tenant).await;
        }
        let token = service
            .access
            .tokens(Some(&TenantId::parse(TENANT).unwrap()), None, None, 1);
        let things = Things {
            site: SITE.to_owned(),
            gateway: GATEWAY.to_owned(),
            token: token[0].id.to_string(),
        };
        Self { service, things }
    }

    async fn call(&self, calls: Calls, row: &Row, tenant: &str) -> Result<Vec<u8>, Status> {
        call(calls, row.method, (row.call)(tenant, &self.things)).await
    }

    /// By whoever belongs to no tenant.
    async fn administrator(&self) -> Calls {
        let grant = Grant {
            tenant: None,
            scopes: [Scope::Admin].into(),
            sites: None,
            gateways: None,
        };
        bearer(&self.service.access, grant)
            .await
            .1
            .over(self.service.open.clone())
    }

    async fn with(&self, scopes: &[Scope]) -> Calls {
        token_of(&self.service.access, TENANT, scopes)
            .await
            .over(self.service.open.clone())
    }

    /// How far the site's journal has come.
    async fn sequence(&self) -> i64 {
        let request = proto::GetSiteRequest {
            tenant_id: TENANT.to_owned(),
            site_id: SITE.to_owned(),
        };
        self.service
            .sites()
            .get_site(request)
            .await
            .unwrap()
            .into_inner()
            .sequence
    }
}

fn told(result: Result<Vec<u8>, Status>) -> (Code, String) {
    match result {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), status.message().to_owned()),
    }
}

#[test]
fn every_call_of_the_protos_has_its_row() {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let services = files.iter().flat_map(|file| &file.service);
    let calls: BTreeSet<String> = services
        .flat_map(|service| (service.method.iter()).map(|method| format!("{}/{}", service.name(), method.name())))
        .collect();
    let rows: BTreeSet<String> = rows().iter().map(|row| row.method.to_owned()).collect();
    assert_eq!(rows, calls);
}

#[tokio::test]
async fn every_call_is_answered_with_the_scope_it_needs_and_refused_with_each_other() {
    for row in rows() {
        let scene = Scene::new().await;
        let own = scene.service.channel.clone();
        // What a call needs to be there.
        let cut = rows()
            .into_iter()
            .find(|row| row.method == "SiteService/SetGridLimit")
            .unwrap();
        scene.call(own.clone(), &cut, TENANT).await.unwrap();
        scene.service.start_session(session(2)).await.unwrap();
        let mut gateway = scene.service.connect_gateway().await;
        gateway.acknowledged().await;
        if ["SiteService/AbortEvseCheck", "SiteService/GetEvseCheck"].contains(&row.method) {
            let check = proto::CheckEvseRequest {
                meta: meta(),
                tenant_id: TENANT.to_owned(),
                site_id: SITE.to_owned(),
                evse_id: EVSE.to_owned(),
            };
            scene.service.sites().check_evse(check).await.unwrap();
        }
        for scope in Scope::ALL {
            let calls = match row.about {
                About::Service if scope == Scope::Admin => scene.administrator().await,
                _ => scene.with(&[scope]).await,
            };
            let (code, told) = told(scene.call(calls, &row, TENANT).await);
            if row.scope.is_none_or(|needed| needed == scope) {
                assert_eq!((code, told.as_str()), (Code::Ok, ""), "{} with {scope}", row.method);
            } else {
                let needed = row.scope.map_or("", Scope::name);
                let expected = format!("this call needs a token with scope {needed}");
                assert_eq!(
                    (code, told),
                    (Code::PermissionDenied, expected),
                    "{} with {scope}",
                    row.method
                );
            }
        }
        if row.about == About::Service {
            let by_tenant = told(scene.call(own, &row, TENANT).await);
            let expected = "this call needs a token that belongs to no tenant";
            assert_eq!(
                by_tenant,
                (Code::PermissionDenied, expected.to_owned()),
                "{}",
                row.method
            );
        }
    }
}

#[tokio::test]
async fn what_belongs_to_another_tenant_looks_like_what_is_not_there() {
    let scene = Scene::new().await;
    let before = scene.sequence().await;
    let nothing = Things {
        site: "no-such-site".to_owned(),
        gateway: "no-such-gateway".to_owned(),
        token: "no-such-token".to_owned(),
    };
    let stranger = scene.service.of("other").await;
    for row in rows() {
        // The stranger names the tenant; a tenant that is not there is answered the same.
        if row.about == About::Site || row.about == About::Tenant {
            let foreign = told(scene.call(stranger.clone(), &row, TENANT).await);
            let (code, unknown) = told(scene.call(stranger.clone(), &row, "nobody").await);
            assert_eq!(foreign, (code, unknown.replace("nobody", TENANT)), "{}", row.method);
            assert_eq!(code, Code::NotFound, "{}: {unknown}", row.method);
        }
        // He names only what is the tenant's; the same with what nobody has.
        if (row.about == About::Site || row.about == About::Token) && row.method != "SiteService/PutSite" {
            let foreign = told(scene.call(stranger.clone(), &row, "").await);
            let (code, unknown) = told(call(stranger.clone(), row.method, (row.call)("", &nothing)).await);
            let unknown = unknown
                .replace(&nothing.site, SITE)
                .replace(&nothing.gateway, GATEWAY)
                .replace(&nothing.token, &scene.things.token);
            assert_eq!(foreign, (code, unknown.clone()), "{}", row.method);
            assert_eq!(code, Code::NotFound, "{}: {unknown}", row.method);
        }
        // What he may ask tells him of himself.
        if row.about == About::Tenant || row.about == About::Nothing {
            let answer = scene.call(stranger.clone(), &row, "").await.unwrap();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            for planted in [SITE, &scene.things.token, EMPTY] {
                assert!(!answer.contains(planted), "{} tells of {planted}", row.method);
            }
        }
    }
    assert_eq!(scene.sequence().await, before, "nothing was changed");
    let own = scene
        .service
        .access
        .tokens(Some(&TenantId::parse(TENANT).unwrap()), None, None, 10);
    assert_eq!(own.len(), 1, "no token was made, and none ended");
    assert_eq!(own[0].revoked_at, None);
}

#[tokio::test]
async fn no_call_is_answered_without_a_good_token() {
    let scene = Scene::new().await;
    let access = &scene.service.access;
    let grant = everything_of(&TenantId::parse(TENANT).unwrap());
    let (newest, revoked) = bearer(access, grant).await;
    access
        .revoke_token(&newest, None, Instant::from_unix_secs(0), &By::default())
        .await
        .unwrap();
    // Made before the service's time, and over by then.
    let before = MORNING - Seconds::from_mins(2);
    let over = laddplan::access::NewToken {
        name: String::new(),
        grant: everything_of(&TenantId::parse(TENANT).unwrap()),
        expires_at: Some(before + Seconds::from_mins(1)),
    };
    let (_, expired) = access.create_token(over, before, &By::default()).await.unwrap();
    let forged = format!("laddplan_{}_{}", scene.things.token, "0".repeat(64));
    let bad = [
        Some(revoked),
        Bearer::new(expired.show()),
        Bearer::new(&forged),
        Bearer::new("laddplan_0000000000000000_x"),
        Bearer::new(""),
        None,
    ];
    for row in rows() {
        for bearer in &bad {
            let body = (row.call)(TENANT, &scene.things);
            let answered = match bearer {
                Some(bearer) => call(bearer.clone().over(scene.service.open.clone()), row.method, body).await,
                None => call(scene.service.open.clone(), row.method, body).await,
            };
            let (code, why) = told(answered);
            // After twenty of them the address is told that it fails too often.
            let refused = code == Code::Unauthenticated || code == Code::ResourceExhausted;
            assert!(refused, "{} with {bearer:?}: {code:?} {why}", row.method);
            assert!(!why.contains(&scene.things.token), "{why}");
        }
    }
}

#[tokio::test]
async fn a_token_for_some_sites_sees_and_changes_just_those() {
    let scene = Scene::new().await;
    scene.service.put_site(site("harbour")).await.unwrap();
    let grant = Grant {
        scopes: [Scope::SiteRead, Scope::PlanWrite, Scope::Limits].into(),
        sites: Some([SiteId::parse("harbour").unwrap(), SiteId::parse("planned").unwrap()].into()),
        ..everything_of(&TenantId::parse(TENANT).unwrap())
    };
    let calls = bearer(&scene.service.access, grant)
        .await
        .1
        .over(scene.service.open.clone());
    for row in rows()
        .into_iter()
        .filter(|row| row.about == About::Site && row.scope != Some(Scope::Gateway))
    {
        let (code, why) = told(scene.call(calls.clone(), &row, TENANT).await);
        assert_eq!(
            (code, why.as_str()),
            (Code::NotFound, "there is no site yard"),
            "{}",
            row.method
        );
    }
    let list = proto::ListSitesRequest::default().encode_to_vec();
    let listed = call(calls.clone(), "SiteService/ListSites", list).await.unwrap();
    let listed = proto::ListSitesResponse::decode(listed.as_slice()).unwrap();
    assert_eq!(
        listed.sites.iter().map(|site| site.id.as_str()).collect::<Vec<_>>(),
        ["harbour"]
    );
    // Half a minute without a gateway is an alarm at both sites.
    scene.service.clock.advance(31).await;
    let alarms_at = async |calls: Calls| {
        let list = proto::ListAlarmsRequest::default().encode_to_vec();
        let listed = call(calls, "AlarmService/ListAlarms", list).await.unwrap();
        let listed = proto::ListAlarmsResponse::decode(listed.as_slice()).unwrap();
        let at: BTreeSet<String> = listed.alarms.into_iter().map(|alarm| alarm.site_id).collect();
        at.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(alarms_at(scene.service.channel.clone()).await, ["harbour", SITE]);
    assert_eq!(alarms_at(calls.clone()).await, ["harbour"]);
    let mut watched = proto::alarm_service_client::AlarmServiceClient::new(calls);
    let watched = watched.watch_alarms(proto::WatchAlarmsRequest::default()).await;
    let first = watched.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!(first.alarm.unwrap().site_id, "harbour");
}

#[tokio::test]
async fn a_gateways_token_is_for_that_gateway() {
    let scene = Scene::new().await;
    let as_gateway = async |id: &str| {
        let grant = Grant {
            scopes: [Scope::Gateway].into(),
            gateways: Some([GatewayId::parse(id).unwrap()].into()),
            ..everything_of(&TenantId::parse(TENANT).unwrap())
        };
        bearer(&scene.service.access, grant)
            .await
            .1
            .over(scene.service.open.clone())
    };
    let row = rows()
        .into_iter()
        .find(|row| row.scope == Some(Scope::Gateway))
        .unwrap();
    let (code, why) = told(scene.call(as_gateway("another").await, &row, TENANT).await);
    assert_eq!((code, why.as_str()), (Code::NotFound, "there is no gateway gateway"));
    assert_eq!(told(scene.call(as_gateway(GATEWAY).await, &row, "").await).0, Code::Ok);
}

#[tokio::test]
async fn streams_end_with_the_token_that_opened_them() {
    let scene = Scene::new().await;
    let access = scene.service.access.clone();
    let everything = everything_of(&TenantId::parse(TENANT).unwrap());
    let (token, bearer) = bearer(&access, everything).await;
    let calls = || bearer.clone().over(scene.service.open.clone());

    let mut gateway = Stream::open(calls()).await;
    gateway.say(proto::connect_request::Message::Hello(hello())).await;
    gateway.acknowledged().await;
    let watch = proto::WatchAlarmsRequest::default();
    let alarms = proto::alarm_service_client::AlarmServiceClient::new(calls())
        .watch_alarms(watch)
        .await;
    let mut alarms = alarms.unwrap().into_inner();
    let watch = proto::WatchPlanRequest {
        site_id: SITE.to_owned(),
        ..Default::default()
    };
    let plans = proto::plan_service_client::PlanServiceClient::new(calls())
        .watch_plan(watch)
        .await;
    let mut plans = plans.unwrap().into_inner();
    let reading = proto::ReportMeterRequest {
        site_id: SITE.to_owned(),
        readings: vec![proto::MeterReading {
            evse_id: "evse-1".to_owned(),
            at: Some(at(0)),
            power_watt: Some(1_234),
            ..Default::default()
        }],
        ..Default::default()
    };
    // It never ends by itself.
    let readings = tokio_stream::once(reading).chain(tokio_stream::pending());
    let mut meters = proto::session_service_client::SessionServiceClient::new(calls());
    let metering = tokio::spawn(async move { meters.report_meter(readings).await });
    while scene.service.get_session("session-1").await.unwrap().metered_watt != 1_234 {
        tokio::task::yield_now().await;
    }

    access
        .revoke_token(&token, None, Instant::from_unix_secs(0), &By::default())
        .await
        .unwrap();
    let ends = [
        gateway.end().await.unwrap(),
        last(&mut alarms).await,
        last(&mut plans).await,
        metering.await.unwrap().unwrap_err(),
    ];
    for end in ends {
        assert_eq!(
            (end.code(), end.message()),
            (Code::Unauthenticated, "the token's access ended")
        );
    }
}

async fn last<T>(stream: &mut tonic::Streaming<T>) -> Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends with a reason"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires() {
    let scene = Scene::new().await;
    let access = scene.service.access.clone();
    let now = scene.service.clock.now();
    let new = laddplan::access::NewToken {
        name: String::new(),
        grant: everything_of(&TenantId::parse(TENANT).unwrap()),
        expires_at: Some(now + Seconds::from_mins(1)),
    };
    let (_, secret) = access.create_token(new, now, &By::default()).await.unwrap();
    let calls = Bearer::new(secret.show()).unwrap().over(scene.service.open.clone());
    let watch = proto::WatchAlarmsRequest::default();
    let alarms = proto::alarm_service_client::AlarmServiceClient::new(calls)
        .watch_alarms(watch)
        .await;
    let mut alarms = alarms.unwrap().into_inner();
    scene.service.clock.advance(60).await;
    access.time_passed(now, scene.service.clock.now());
    assert_eq!(last(&mut alarms).await.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_tenant_has_no_more_sites_and_evses_than_its_quota() {
    let scene = Scene::new().await;
    let access = &scene.service.access;
    let mut tenant = access.tenant(&TenantId::parse(TENANT).unwrap()).unwrap();
    let evses: usize = site(SITE).stations.iter().map(|station| station.evses.len()).sum();
    tenant.quota.sites = 2;
    tenant.quota.evses = u32::try_from(2 * evses).unwrap();
    access.put_tenant(tenant, &By::default()).await.unwrap();
    scene.service.put_site(site("second")).await.unwrap();
    let third = scene.service.put_site(site("third")).await.unwrap_err();
    assert_eq!(
        (third.code(), third.message()),
        (
            Code::FailedPrecondition,
            "tenant cpo would have 3 sites; its quota is 2"
        )
    );
    let mut larger = site("second");
    larger.stations.push(station(99));
    let larger = scene.service.put_site(larger).await.unwrap_err();
    let expected = format!(
        "tenant cpo would have {} EVSEs; its quota is {}",
        2 * evses + 1,
        2 * evses
    );
    assert_eq!(
        (larger.code(), larger.message()),
        (Code::FailedPrecondition, expected.as_str())
    );
    scene.service.put_site(site("second")).await.unwrap();
    // The other tenant has its own.
    scene.service.put_site_of("other", site("third")).await.unwrap();
}

#[tokio::test]
async fn a_tenant_that_asks_too_much_takes_nothing_of_another() {
    let scene = Scene::new().await;
    let access = &scene.service.access;
    let mut greedy = access.tenant(&TenantId::parse("other").unwrap()).unwrap();
    greedy.quota.calls_per_second = 1;
    access.put_tenant(greedy, &By::default()).await.unwrap();
    let calls = scene.service.of("other").await;
    let list = rows()
        .into_iter()
        .find(|row| row.method == "SiteService/ListSites")
        .unwrap();
    let mut refused = 0;
    for _ in 0..50 {
        let (code, why) = told(scene.call(calls.clone(), &list, "other").await);
        if code == Code::ResourceExhausted {
            assert_eq!(why, "too many calls of this tenant each second");
            refused += 1;
        }
        let own = scene.call(scene.service.channel.clone(), &list, TENANT).await;
        assert_eq!(told(own).0, Code::Ok);
    }
    assert!(refused > 0, "fifty calls take less than fifty seconds");
}

thread_local! {
    /// What was logged on this thread: that of a test, and of its service.
    static LOG: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// From now on everything is logged, whatever runs beside.
    fn begin() {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(|| Log)
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("only this test logs");
    }

    fn text() -> String {
        LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap())
    }

    /// The lines that tell of a refused call.
    fn refusals() -> Vec<String> {
        let text = Self::text();
        let lines = text.lines().filter(|line| line.contains("call refused"));
        lines.map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn each_refusal_is_logged_once_with_who_and_why_and_no_secret_is() {
    Log::begin();
    let scene = Scene::new().await;
    let access = &scene.service.access;
    let new = laddplan::access::NewToken {
        name: "reader".to_owned(),
        grant: Grant {
            scopes: [Scope::SiteRead, Scope::PlanWrite].into(),
            ..everything_of(&TenantId::parse(TENANT).unwrap())
        },
        expires_at: None,
    };
    let (token, secret) = access
        .create_token(new, Instant::from_unix_secs(0), &By::default())
        .await
        .unwrap();
    let random = secret.show()[secret.show().len() - 64..].to_owned();
    let as_token = |text: &str| Bearer::new(text).unwrap().over(scene.service.open.clone());
    let row = |method: &str| rows().into_iter().find(|row| row.method == method).unwrap();

    let stop = row("SiteService/StopSite");
    scene.call(as_token(secret.show()), &stop, TENANT).await.unwrap_err();
    let forged = secret.show().replace(&random, &"0".repeat(64));
    scene.call(as_token(&forged), &stop, TENANT).await.unwrap_err();
    let refusals = Log::refusals();
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    for said in [
        "StopSite",
        "PermissionDenied",
        &format!("token {}", token.id),
        "tenant=\"cpo\"",
    ] {
        assert!(refusals[0].contains(said), "{said} in {}", refusals[0]);
    }
    for said in ["StopSite", "Unauthenticated", token.id.as_str(), "wrong secret"] {
        assert!(refusals[1].contains(said), "{said} in {}", refusals[1]);
    }

    let (driver, contract, long) = ("DE8ACC12E46L89", "SE-ABC-C4711", "04A1B2C3".repeat(5));
    let planted = proto::SessionSpec {
        driver_token: Some(card(driver)),
        ..session(2)
    };
    scene.service.start_session(planted.clone()).await.unwrap();
    let wrong = proto::SessionSpec {
        tier: 99,
        ..planted.clone()
    };
    scene.service.start_session(wrong).await.unwrap_err();
    let unreadable = proto::SessionSpec {
        driver_token: Some(card(&long)),
        ..planted
    };
    scene.service.start_session(unreadable).await.unwrap_err();
    let listed = |uid: &str, valid_until| proto::PutDriverTokensRequest {
        tokens: vec![proto::DriverToken {
            name: Some(card(uid)),
            contract_id: contract.to_owned(),
            valid_until,
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut drivers = scene.service.drivers();
    drivers.put_driver_tokens(listed(driver, None)).await.unwrap();
    drivers.put_driver_tokens(listed(&long, None)).await.unwrap_err();
    let never = prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: 0,
    };
    drivers
        .put_driver_tokens(listed(driver, Some(never)))
        .await
        .unwrap_err();
    scene.service.clock.settle().await;
    let text = Log::text();
    for secret in [random.as_str(), driver, contract, &long, &"0".repeat(64)] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn messages_of_meters_count_as_calls() {
    let scene = Scene::new().await;
    let access = &scene.service.access;
    let mut tenant = access.tenant(&TenantId::parse(TENANT).unwrap()).unwrap();
    tenant.quota.calls_per_second = 5;
    access.put_tenant(tenant, &By::default()).await.unwrap();
    let message = proto::ReportMeterRequest {
        site_id: SITE.to_owned(),
        readings: vec![proto::MeterReading {
            evse_id: EVSE.to_owned(),
            at: Some(at(0)),
            power_watt: Some(0),
            ..Default::default()
        }],
        ..Default::default()
    };
    let list = rows().into_iter().find(|row| row.method == "SiteService/ListSites");
    let list = list.unwrap();
    // Ten at once are all that a tenant of five a second may make. Should a second pass meanwhile, it is tried again.
    let mut codes = Vec::new();
    while codes.len() < 3 && !codes.contains(&Code::ResourceExhausted) {
        let messages = tokio_stream::iter(vec![message.clone(); 10]);
        scene.service.sessions().report_meter(messages).await.unwrap();
        let listed = scene.call(scene.service.channel.clone(), &list, TENANT).await;
        codes.push(told(listed).0);
    }
    assert_eq!(codes.last(), Some(&Code::ResourceExhausted), "{codes:?}");
}

/// Waits until the service thinks the gateway of the site gone.
async fn gateway_is_gone(service: &Service) {
    let request = proto::GetRolloutRequest {
        site_id: SITE.to_owned(),
        ..Default::default()
    };
    for _ in 0..10_000 {
        let rollout = service.sites().get_rollout(request.clone()).await.unwrap().into_inner();
        if !rollout.gateway_connected {
            return;
        }
    }
    panic!("the gateway is still connected");
}

#[tokio::test]
async fn a_stream_whose_client_reads_nothing_ends_with_its_token_too() {
    let scene = Scene::new().await;
    let access = scene.service.access.clone();
    let mut tenant = access.tenant(&TenantId::parse(TENANT).unwrap()).unwrap();
    tenant.quota.calls_per_second = 100_000;
    access.put_tenant(tenant, &By::default()).await.unwrap();
    let (token, bearer) = bearer(&access, everything_of(&TenantId::parse(TENANT).unwrap())).await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", scene.service.address)).unwrap();
    // Nothing comes through that is not a header.
    let deaf = endpoint.initial_stream_window_size(0).connect().await.unwrap();
    let mut gateway = Stream::open(bearer.over(deaf)).await;
    gateway.say(proto::connect_request::Message::Hello(hello())).await;
    let reading = |watts: i64| {
        proto::connect_request::Message::Readings(proto::GatewayReadings {
            site_id: SITE.to_owned(),
            readings: vec![proto::MeterReading {
                evse_id: EVSE.to_owned(),
                at: Some(at(0)),
                power_watt: Some(watts),
                ..Default::default()
            }],
        })
    };
    gateway.say(reading(1_000)).await;
    while scene.service.get_session("session-1").await.unwrap().metered_watt != 1_000 {
        tokio::task::yield_now().await;
    }
    let now = Instant::from_unix_secs(0);
    access.revoke_token(&token, None, now, &By::default()).await.unwrap();
    gateway_is_gone(&scene.service).await;
}

#[tokio::test]
async fn a_gateway_that_its_site_names_no_more_is_heard_no_more() {
    let scene = Scene::new().await;
    let mut gateway = scene.service.connect_gateway().await;
    gateway.acknowledged().await;
    let moved = proto::Site {
        gateway_id: "another".to_owned(),
        ..site(SITE)
    };
    scene.service.put_site(moved).await.unwrap();
    let readings = proto::GatewayReadings {
        site_id: SITE.to_owned(),
        readings: vec![proto::MeterReading {
            evse_id: EVSE.to_owned(),
            at: Some(at(0)),
            power_watt: Some(1_000),
            ..Default::default()
        }],
    };
    gateway.say(proto::connect_request::Message::Readings(readings)).await;
    let end = gateway.end().await.unwrap();
    assert_eq!(
        (end.code(), end.message()),
        (Code::NotFound, "there is no gateway gateway")
    );
    assert_eq!(scene.service.get_session("session-1").await.unwrap().metered_watt, 0);
}

#[tokio::test]
async fn a_request_id_that_is_none_is_not_sent_back() {
    let scene = Scene::new().await;
    let request = proto::StopSiteRequest {
        meta: request(&"x".repeat(1_000_000)),
        site_id: SITE.to_owned(),
        ..Default::default()
    };
    let refused = scene.service.sites().stop_site(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.metadata().get("request-id").is_none());
}

#[tokio::test]
async fn the_service_itself_sees_that_time_ends_a_token() {
    let setting = |name: &str, value: &str| (format!("LADDPLAN_{name}"), value.into());
    let sources = Sources {
        environment: [setting("LISTEN", "127.0.0.1:0"), setting("STORE_KIND", "memory")].into(),
        ..Sources::default()
    };
    let clock = ManualClock::at(MORNING);
    let running = laddplan::app::start(Config::parse(&sources).unwrap(), clock.clone()).await;
    let running = running.unwrap();
    let access = &running.access;
    token_of(access, TENANT, &[Scope::SiteRead]).await;
    let new = laddplan::access::NewToken {
        name: String::new(),
        grant: everything_of(&TenantId::parse(TENANT).unwrap()),
        expires_at: Some(MORNING + Seconds::from_mins(1)),
    };
    let (_, secret) = access.create_token(new, MORNING, &By::default()).await.unwrap();
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", running.address)).unwrap();
    let calls = Bearer::new(secret.show())
        .unwrap()
        .over(endpoint.connect().await.unwrap());
    let mut alarms = proto::alarm_service_client::AlarmServiceClient::new(calls);
    let alarms = alarms.watch_alarms(proto::WatchAlarmsRequest::default()).await;
    let mut alarms = alarms.unwrap().into_inner();
    clock.advance(Seconds::from_mins(1));
    let end = tokio::time::timeout(PATIENCE, last(&mut alarms)).await;
    assert_eq!(end.expect("the stream ends").code(), Code::Unauthenticated);
    running.shut_down().await.unwrap();
}

/// Only for a test that has failed.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
