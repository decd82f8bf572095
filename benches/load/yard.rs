//! The sites that are under load: how they are built, and who charges there.

use laddplan::wire::bearer::{Bearer, Calls};
use laddplan::wire::proto;
use prost_types::Timestamp;
use proto::admin_service_client::AdminServiceClient;
use proto::session_service_client::SessionServiceClient;
use proto::site_service_client::SiteServiceClient;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

pub const TENANT: &str = "load";
/// What one EVSE may draw in its line.
pub const EVSE_AMPERES: i64 = 32;
/// Calls under way at once while sites are set up.
const CALLERS: usize = 32;

/// How one kind of site is built.
#[derive(Clone, Copy, Debug)]
pub struct Yard {
    pub sites: usize,
    pub evses: usize,
    /// EVSEs with a car: the first so many.
    pub cars: usize,
    /// What the site's fuse carries. Less than what its cars could take, so that a cut has somebody to lower.
    pub fuse_amperes: i64,
    /// Sites of one gateway.
    pub sites_per_gateway: usize,
    /// When its cars came, in unix seconds.
    pub arrival: i64,
}

pub fn site_id(number: usize) -> String {
    format!("site-{number}")
}

pub fn gateway_id(number: usize) -> String {
    format!("gateway-{number}")
}

pub fn evse_id(number: usize) -> String {
    format!("evse-{number}")
}

pub fn session_id(site: usize, evse: usize) -> String {
    format!("session-{site}-{evse}")
}

/// An id that no other call has.
pub fn meta() -> Option<proto::RequestMeta> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let process = std::process::id();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Some(proto::RequestMeta {
        request_id: format!("load-{process}-{number}"),
    })
}

/// Unix seconds.
#[expect(clippy::disallowed_methods, reason = "the service's clock is the machine's")]
pub fn now() -> i64 {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    since_epoch.as_secs().cast_signed()
}

pub fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

pub fn amperes(amperes: i64) -> Option<proto::Rate> {
    Some(proto::Rate {
        rate: Some(proto::rate::Rate::CurrentDeciampere(amperes * 10)),
    })
}

/// A limit on the fuse of a site from now on.
pub fn grid_limit(id: &str, amperes: i64) -> Option<proto::GridLimit> {
    Some(proto::GridLimit {
        id: id.to_owned(),
        node_id: "grid".to_owned(),
        source: proto::LimitSource::SiteManager as i32,
        limit: Some(proto::NodeLimit {
            line_deciampere: Some(amperes * 10),
            total_watt: None,
        }),
        when: Some(proto::grid_limit::When::Once(proto::OnceWindow {
            from: at(now() - 60),
            until: None,
        })),
    })
}

/// A car that wants more than the fuse can give it.
pub fn session(id: String, evse: usize, arrival: i64) -> proto::SessionSpec {
    proto::SessionSpec {
        id,
        evse_id: evse_id(evse),
        arrival_time: at(arrival),
        departure_time: at(arrival + 8 * 3_600),
        need_watt_hour: Some(60_000),
        ..Default::default()
    }
}

impl Yard {
    pub fn gateways(&self) -> usize {
        self.sites.div_ceil(self.sites_per_gateway)
    }

    fn site(&self, number: usize) -> proto::Site {
        let station = |number: usize| proto::Station {
            id: format!("station-{number}"),
            node_id: "grid".to_owned(),
            limit: None,
            evses: vec![proto::Evse {
                id: evse_id(number),
                connectors: vec![proto::Connector {
                    id: "1".to_owned(),
                    wiring: Some(proto::connector::Wiring::Star(proto::StarWiring {
                        phases: vec![proto::Phase::L1 as i32],
                    })),
                    nominal_volt: 230,
                    minimum: amperes(6),
                    maximum: amperes(EVSE_AMPERES),
                    default_rate: amperes(0),
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        proto::Site {
            id: site_id(number),
            time_zone: "Europe/Stockholm".to_owned(),
            currency: "SEK".to_owned(),
            mode: proto::SiteMode::Control as i32,
            trust_unmetered: true,
            reserve_permille: Some(0),
            gateway_id: gateway_id(number / self.sites_per_gateway),
            nodes: vec![proto::Node {
                id: "grid".to_owned(),
                limit: Some(proto::NodeLimit {
                    line_deciampere: Some(self.fuse_amperes * 10),
                    total_watt: None,
                }),
                ..Default::default()
            }],
            stations: (0..self.evses).map(station).collect(),
            ..Default::default()
        }
    }

    /// Describes every site and starts its sessions.
    pub async fn set_up(self, address: &str) {
        let channel = connect(address).await;
        let mut tasks = JoinSet::new();
        for number in 0..self.sites {
            if tasks.len() >= CALLERS {
                let done: Option<Result<(), _>> = tasks.join_next().await;
                done.expect("there are some").expect("the set-up does not panic");
            }
            let channel = channel.clone();
            tasks.spawn(async move { self.set_up_one(channel, number).await });
        }
        tasks.join_all().await;
    }

    async fn set_up_one(self, channel: Calls, number: usize) {
        let request = proto::PutSiteRequest {
            meta: meta(),
            tenant_id: TENANT.to_owned(),
            site: Some(self.site(number)),
        };
        let mut sites = SiteServiceClient::new(channel.clone());
        sites.put_site(request).await.expect("the site is sound");
        let mut sessions = SessionServiceClient::new(channel);
        for evse in 0..self.cars {
            let request = proto::StartSessionRequest {
                meta: meta(),
                tenant_id: TENANT.to_owned(),
                site_id: site_id(number),
                session: Some(session(session_id(number, evse), evse, self.arrival)),
            };
            sessions.start_session(request).await.expect("the session is sound");
        }
    }
}

/// A connection of one's own.
pub async fn connect(address: &str) -> Calls {
    bearer().over(open(address).await)
}

async fn open(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("the service listens")
}

/// Where the token is that everybody here calls with; a process that makes calls for another inherits it.
const TOKEN: &str = "LADDPLAN_TOKEN";
/// Services come and go within one run; each is a new one, so the newest token is the one that counts.
static MADE: Mutex<Option<String>> = Mutex::new(None);

fn token() -> String {
    let made = MADE.lock().expect("nobody panics").clone();
    made.or_else(|| std::env::var(TOKEN).ok()).expect("a token was made")
}

pub fn bearer() -> Bearer {
    Bearer::new(&token()).expect("a token travels as metadata")
}

/// What a process that makes calls for this one needs.
pub fn token_variable() -> (&'static str, String) {
    (TOKEN, token())
}

/// Makes the tenant, which may ask as much as it likes, and the token that everybody here calls with.
pub async fn make_tenant(address: &str, first_token: &str) {
    let administrator = Bearer::new(first_token).expect("a token travels as metadata");
    let mut admin = AdminServiceClient::new(administrator.over(open(address).await));
    let most = proto::Quota {
        sites: 100_000,
        evses: 1_000_000,
        calls_per_second: 100_000,
        ..Default::default()
    };
    let request = proto::PutTenantRequest {
        meta: meta(),
        tenant: Some(proto::Tenant {
            id: TENANT.to_owned(),
            quota: Some(most),
            ..Default::default()
        }),
    };
    admin.put_tenant(request).await.expect("the tenant is made");
    let scopes = [
        proto::Scope::SiteRead,
        proto::Scope::PlanWrite,
        proto::Scope::Limits,
        proto::Scope::Gateway,
    ];
    let request = proto::CreateTokenRequest {
        meta: meta(),
        tenant_id: TENANT.to_owned(),
        scopes: scopes.map(Into::into).to_vec(),
        ..Default::default()
    };
    let made = admin
        .create_token(request)
        .await
        .expect("the token is made")
        .into_inner();
    *MADE.lock().expect("nobody panics") = Some(made.secret);
}
