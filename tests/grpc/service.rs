//! A service on a port of its own, and clients of it. For the benches too.
#![allow(dead_code, reason = "tests and benches use a part of it each")]

use crate::support::{MORNING, ManualClock, SETTINGS};
use laddplan::access::room::Shares;
use laddplan::access::{Access, By, NewToken, everything_of, new_tenant};
use laddplan::api;
use laddplan::dispatch::{self, GatewayApi, Streams};
use laddplan::domain::access::{Grant, Scope};
use laddplan::domain::ids::{TenantId, TokenId};
use laddplan::drivers::Drivers;
use laddplan::drivers::following::Following;
use laddplan::engine::Engine;
use laddplan::engine::ports::Clock;
use laddplan::store::memory::MemoryStore;
use laddplan::store::register::SqliteRegister;
use laddplan::tls::Tls;
use laddplan::units::{Instant, Seconds};
use laddplan::wire::bearer::{Bearer, Calls};
use laddplan::wire::proto;
use prost_types::Timestamp;
use proto::admin_service_client::AdminServiceClient;
use proto::alarm_service_client::AlarmServiceClient;
use proto::connect_request::Message as Up;
use proto::connect_response::Message as Down;
use proto::driver_service_client::DriverServiceClient;
use proto::gateway_service_client::GatewayServiceClient;
use proto::plan_service_client::PlanServiceClient;
use proto::session_service_client::SessionServiceClient;
use proto::site_service_client::SiteServiceClient;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

pub const TENANT: &str = "cpo";
pub const SITE: &str = "yard";
pub const GATEWAY: &str = "gateway";

/// The service's clock, and when it has done what was due.
pub struct Hand {
    clock: Arc<ManualClock>,
    pub engine: Engine,
}

impl Hand {
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Lets so many seconds pass one by one, each with what is due in it.
    pub async fn advance(&self, seconds: i64) {
        for _ in 0..seconds {
            self.settle().await;
            self.clock.advance(Seconds::from_secs(1));
        }
        self.settle().await;
    }

    pub async fn settle(&self) {
        while !self.engine.is_settled() {
            tokio::task::yield_now().await;
        }
    }
}

pub struct Service {
    pub clock: Hand,
    pub address: SocketAddr,
    pub access: Access,
    /// Without a token.
    pub open: Channel,
    /// As everybody at tenant [`TENANT`].
    pub channel: Calls,
    pub streams: Streams,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

pub async fn start() -> Service {
    start_with(api::Limits::default(), dispatch::Limits::default()).await
}

pub async fn start_with(limits: api::Limits, gateway_limits: dispatch::Limits) -> Service {
    let clear = |address| Endpoint::from_shared(format!("http://{address}")).expect("an address");
    start_on(None, clear, limits, gateway_limits).await
}

/// With TLS or without; `endpoint` is how the first client speaks.
pub async fn start_on(
    tls: Option<Tls>,
    endpoint: impl FnOnce(SocketAddr) -> Endpoint,
    limits: api::Limits,
    gateway_limits: dispatch::Limits,
) -> Service {
    let clock = ManualClock::at(MORNING);
    let streams = Streams::new(gateway_limits);
    let engine = Engine::start(
        Arc::new(MemoryStore::default()),
        Arc::new(streams.clone()),
        Arc::clone(&clock) as Arc<dyn Clock>,
        SETTINGS,
    )
    .await
    .expect("an empty store opens");
    let register = Arc::new(SqliteRegister::in_memory());
    let access = Access::open(register.clone(), shares(&limits))
        .await
        .expect("an empty register opens");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("the port");
    let hand = Hand {
        clock: Arc::clone(&clock),
        engine: engine.clone(),
    };
    let drivers = Drivers::new(register);
    let following = Following::new(drivers.clone(), engine.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
    tokio::spawn(following.follow());
    let services = api::Services {
        gateways: GatewayApi::new(streams.clone(), engine.clone(), Arc::clone(&clock) as Arc<dyn Clock>),
        engine,
        access: access.clone(),
        drivers,
        clock,
        reflection: true,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let closing = streams.clone();
    let running = tokio::spawn(async move {
        let shutdown = async move {
            // Also where the test has ended without a word.
            let _ = stopped.await;
            closing.close();
        };
        let port = api::Port { listener, tls };
        api::serve(port, services, limits, shutdown)
            .await
            .expect("the server runs");
    });
    let open = endpoint(address).connect().await.expect("the server listens");
    let channel = token_of(&access, TENANT, &Scope::ALL).await.over(open.clone());
    Service {
        clock: hand,
        address,
        access,
        open,
        channel,
        streams,
        stop: Some(stop),
        running,
    }
}

/// Half of all for one tenant, as it is without settings.
fn shares(limits: &api::Limits) -> Shares {
    Shares {
        calls: limits.max_in_flight.div_ceil(2).max(1),
        urgent_calls: limits.max_urgent_in_flight.div_ceil(2),
        long_calls: limits.max_long_calls.div_ceil(2),
        gateway_streams: 5_000,
    }
}

/// A new token of a tenant, which is made if it is not there.
pub async fn token_of(access: &Access, tenant: &str, scopes: &[Scope]) -> Bearer {
    let tenant = TenantId::parse(tenant).expect("an id");
    if access.tenant(&tenant).is_err() {
        let tenant = new_tenant(&tenant, MORNING);
        access
            .put_tenant(tenant, &By::default())
            .await
            .expect("the tenant is made");
    }
    let grant = Grant {
        scopes: scopes.iter().copied().collect(),
        ..everything_of(&tenant)
    };
    bearer(access, grant).await.1
}

/// A new token, and its id.
pub async fn bearer(access: &Access, grant: Grant) -> (TokenId, Bearer) {
    let new = NewToken {
        name: String::new(),
        grant,
        expires_at: None,
    };
    let made = access.create_token(new, MORNING, &By::default()).await;
    let (token, secret) = made.expect("the token is made");
    let bearer = Bearer::new(secret.show()).expect("a token travels as metadata");
    (token.id, bearer)
}

impl Service {
    /// As everybody at a tenant.
    pub async fn of(&self, tenant: &str) -> Calls {
        if tenant == TENANT {
            return self.channel.clone();
        }
        token_of(&self.access, tenant, &Scope::ALL)
            .await
            .over(self.open.clone())
    }

    pub fn admin(&self) -> AdminServiceClient<Calls> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub fn sites(&self) -> SiteServiceClient<Calls> {
        SiteServiceClient::new(self.channel.clone())
    }

    pub fn sessions(&self) -> SessionServiceClient<Calls> {
        SessionServiceClient::new(self.channel.clone())
    }

    pub fn drivers(&self) -> DriverServiceClient<Calls> {
        DriverServiceClient::new(self.channel.clone())
    }

    pub fn alarms(&self) -> AlarmServiceClient<Calls> {
        AlarmServiceClient::new(self.channel.clone())
    }

    pub fn plans(&self) -> PlanServiceClient<Calls> {
        PlanServiceClient::new(self.channel.clone())
    }

    pub async fn put_site(&self, site: proto::Site) -> Result<proto::Receipt, Status> {
        self.put_site_of(TENANT, site).await
    }

    pub async fn put_site_of(&self, tenant: &str, site: proto::Site) -> Result<proto::Receipt, Status> {
        let request = proto::PutSiteRequest {
            meta: meta(),
            tenant_id: tenant.to_owned(),
            site: Some(site),
        };
        let response = SiteServiceClient::new(self.of(tenant).await).put_site(request).await?;
        Ok(response.into_inner().receipt.expect("a receipt"))
    }

    pub async fn set_limit(&self, limit: proto::GridLimit) -> Result<proto::Receipt, Status> {
        let request = proto::SetGridLimitRequest {
            meta: meta(),
            tenant_id: TENANT.to_owned(),
            site_id: SITE.to_owned(),
            grid_limit: Some(limit),
        };
        let response = self.sites().set_grid_limit(request).await?;
        Ok(response.into_inner().receipt.expect("a receipt"))
    }

    pub async fn start_session(&self, session: proto::SessionSpec) -> Result<proto::Receipt, Status> {
        let request = proto::StartSessionRequest {
            meta: meta(),
            tenant_id: TENANT.to_owned(),
            site_id: SITE.to_owned(),
            session: Some(session),
        };
        let response = self.sessions().start_session(request).await?;
        Ok(response.into_inner().receipt.expect("a receipt"))
    }

    pub async fn get_session(&self, id: &str) -> Result<proto::Session, Status> {
        let request = proto::GetSessionRequest {
            tenant_id: TENANT.to_owned(),
            site_id: SITE.to_owned(),
            session_id: id.to_owned(),
        };
        let response = self.sessions().get_session(request).await?;
        Ok(response.into_inner().session.expect("a session"))
    }

    pub async fn connect_gateway(&self) -> Stream {
        let mut stream = Stream::open(self.channel.clone()).await;
        stream.say(Up::Hello(hello())).await;
        stream
    }

    /// Tells the service to stop and waits until it has.
    pub async fn stop(mut self) {
        let stop = self.stop.take().expect("stopped once");
        stop.send(()).expect("the service runs");
        self.running.await.expect("the service ends well");
    }
}

/// A gateway's stream, as the gateway sees it.
pub struct Stream {
    up: mpsc::Sender<proto::ConnectRequest>,
    down: Streaming<proto::ConnectResponse>,
    pub number: i64,
}

impl Stream {
    pub async fn open(channel: Calls) -> Self {
        Self::try_open(channel).await.expect("the stream opens")
    }

    pub async fn try_open(channel: Calls) -> Result<Self, Status> {
        let (up, messages) = mpsc::channel(64);
        let response = GatewayServiceClient::new(channel)
            .connect(ReceiverStream::new(messages))
            .await?;
        Ok(Self {
            up,
            down: response.into_inner(),
            number: 0,
        })
    }

    /// Sends a message under the next number.
    pub async fn say(&mut self, message: Up) {
        self.number += 1;
        self.say_as(self.number, message).await;
    }

    pub async fn say_as(&mut self, number: i64, message: Up) {
        let message = proto::ConnectRequest {
            number,
            message: Some(message),
        };
        // A stream that has ended shows when it is heard.
        let _ = self.up.send(message).await;
    }

    /// The next message, whatever it is.
    pub async fn hear(&mut self) -> Result<Down, Status> {
        let response = self.down.message().await?.expect("the stream goes on");
        Ok(response.message.expect("a message"))
    }

    /// The next command; what comes before is passed over.
    pub async fn command(&mut self) -> proto::ProfileCommand {
        loop {
            if let Down::Command(command) = self.hear().await.expect("the stream goes on") {
                return command;
            }
        }
    }

    /// Waits until everything said so far is acknowledged; returns what was refused meanwhile.
    pub async fn acknowledged(&mut self) -> Vec<proto::Refused> {
        let mut refused = Vec::new();
        loop {
            match self.hear().await.expect("the stream goes on") {
                Down::Acknowledgement(up_to) if up_to.number == self.number => return refused,
                Down::Refused(message) => refused.push(message),
                _ => {}
            }
        }
    }

    /// How the stream ends; what comes before is passed over.
    pub async fn end(&mut self) -> Option<Status> {
        loop {
            match self.down.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }

    /// The gateway has nothing more to say.
    pub fn finish(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.up = closed;
    }
}

pub fn hello() -> proto::GatewayHello {
    proto::GatewayHello {
        tenant_id: TENANT.to_owned(),
        gateway_id: GATEWAY.to_owned(),
        fences_durably: true,
        applied: vec![],
        on_its_way: vec![],
        clock: Some(at(0)),
    }
}

pub fn answer(command: &proto::ProfileCommand, result: proto::CommandResult) -> Up {
    Up::Answer(proto::CommandAnswer {
        site_id: command.site_id.clone(),
        evse_id: command.evse_id.clone(),
        revision: command.revision,
        attempt: command.attempt,
        result: result as i32,
        reason: String::new(),
    })
}

/// A request id that no other call has.
pub fn meta() -> Option<proto::RequestMeta> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    request(&format!("request-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

pub fn request(id: &str) -> Option<proto::RequestMeta> {
    Some(proto::RequestMeta {
        request_id: id.to_owned(),
    })
}

/// Seconds after the morning at which the clock stands.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp {
        seconds: MORNING.unix_secs() + seconds,
        nanos: 0,
    }
}

pub fn amps(amps: i64) -> Option<proto::Rate> {
    Some(proto::Rate {
        rate: Some(proto::rate::Rate::CurrentDeciampere(amps * 10)),
    })
}

pub fn node(id: &str, parent: &str, limit_amps: i64) -> proto::Node {
    proto::Node {
        id: id.to_owned(),
        parent_id: parent.to_owned(),
        limit: Some(proto::NodeLimit {
            line_deciampere: Some(limit_amps * 10),
            total_watt: None,
        }),
        base_load_line_deciampere: 0,
        base_load_total_watt: 0,
        metered: false,
        overload_curve: Vec::new(),
        unbalance_deciampere: None,
        primary_line_deciampere: None,
        turns_ratio_permille: None,
    }
}

/// A station with one EVSE of 6 to 32 A on L1 that does nothing by itself.
pub fn station(number: usize) -> proto::Station {
    proto::Station {
        id: format!("station-{number}"),
        node_id: "grid".to_owned(),
        limit: None,
        evses: vec![proto::Evse {
            id: format!("evse-{number}"),
            uncontrollable: false,
            metered: true,
            connectors: vec![proto::Connector {
                id: "1".to_owned(),
                wiring: Some(proto::connector::Wiring::Star(proto::StarWiring {
                    phases: vec![proto::Phase::L1 as i32],
                })),
                nominal_volt: 230,
                minimum: amps(6),
                maximum: amps(32),
                default_rate: amps(0),
                ..Default::default()
            }],
        }],
    }
}

/// Two EVSEs behind a fuse of 40 A, in mode control.
pub fn site(id: &str) -> proto::Site {
    proto::Site {
        id: id.to_owned(),
        time_zone: "Europe/Stockholm".to_owned(),
        currency: "SEK".to_owned(),
        mode: proto::SiteMode::Control as i32,
        trust_unmetered: true,
        reserve_permille: Some(0),
        gateway_id: GATEWAY.to_owned(),
        nodes: vec![node("grid", "", 40)],
        stations: vec![station(1), station(2)],
        ..Default::default()
    }
}

/// A car at EVSE `number` that stays two hours and needs 5 kWh.
pub fn session(number: usize) -> proto::SessionSpec {
    proto::SessionSpec {
        id: format!("session-{number}"),
        evse_id: format!("evse-{number}"),
        arrival_time: Some(at(0)),
        departure_time: Some(at(7_200)),
        need_watt_hour: Some(5_000),
        ..Default::default()
    }
}

pub fn grid_limit(id: &str, limit_amps: i64) -> proto::GridLimit {
    proto::GridLimit {
        id: id.to_owned(),
        node_id: "grid".to_owned(),
        source: proto::LimitSource::SiteManager as i32,
        limit: Some(proto::NodeLimit {
            line_deciampere: Some(limit_amps * 10),
            total_watt: None,
        }),
        when: Some(proto::grid_limit::When::Once(proto::OnceWindow {
            from: Some(at(0)),
            until: None,
        })),
    }
}

/// The field violations of a refusal, in the form "field: rule; got X, allowed: Y".
pub fn faults<T: std::fmt::Debug>(refused: Result<T, Status>) -> Vec<String> {
    let status = refused.expect_err("it is refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    let violations = &details.bad_request().expect("a BadRequest").field_violations;
    let lines = violations
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.description));
    lines.collect()
}

/// Only field and rule of each violation.
pub fn rules<T: std::fmt::Debug>(refused: Result<T, Status>) -> Vec<String> {
    let told = faults(refused);
    let rule = |line: &String| line.split("; got ").next().unwrap_or_default().to_owned();
    told.iter().map(rule).collect()
}

pub fn code<T: std::fmt::Debug>(refused: Result<T, Status>) -> Code {
    refused.expect_err("it is refused").code()
}

/// An RFID card.
pub fn card(uid: &str) -> proto::DriverTokenName {
    proto::DriverTokenName {
        r#type: proto::DriverTokenType::Rfid.into(),
        uid: uid.to_owned(),
    }
}

/// Forgets whoever shows a card. How many something was known of.
pub async fn forget(service: &Service, uid: &str) -> i32 {
    let request = proto::ForgetDriverRequest {
        tenant_id: TENANT.to_owned(),
        driver: Some(proto::forget_driver_request::Driver::Token(card(uid))),
    };
    let forgot = service.drivers().forget_driver(request).await;
    forgot.expect("the call is answered").into_inner().forgotten
}
