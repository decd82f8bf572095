//! What every call passes first.
//!
//! Decides who is let in and for which calls, how long they may take, and that each refusal is logged once: who, method, code and
//! request id, never a body and never a secret. Refusals for lack of room are counted instead: a log of them would take what room there
//! is. What may lower what a site draws has room of its own, so that a service which is asked too much still takes a cut.

use super::connections::Peer;
use super::ending::{Ending, access_ends, ended};
use super::rights::{Right, is_reflection, right};
use super::{Limits, REQUEST_ID_METADATA, Room};
use crate::access::room::{CallKind, TenantRoom};
use crate::access::{Access, Caller, SignInRefusal};
use crate::domain::ids::{TenantId, TokenId};
use crate::engine::ports::Clock;
use crate::wire::status::{exhausted, too_fast};
use http::{HeaderMap, HeaderValue, Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

/// A gateway's stream. It has a limit of its own, and so has what it says.
const GATEWAY: &str = "/laddplan.v1.GatewayService/";
/// Calls that may lower what a site draws; the site's task takes them before others too.
const URGENT: [&str; 8] = [
    "/laddplan.v1.SiteService/SetGridLimit",
    "/laddplan.v1.SiteService/RemoveGridLimit",
    "/laddplan.v1.SiteService/StopSite",
    "/laddplan.v1.SiteService/PutSite",
    "/laddplan.v1.SiteService/DeleteSite",
    "/laddplan.v1.SiteService/ReportNodeMeter",
    "/laddplan.v1.SiteService/AbortEvseCheck",
    "/laddplan.v1.SessionService/OverrideSession",
];
/// Takes as long as its caller has something to say; it has a limit of its own.
const METER_STREAM: &str = "/laddplan.v1.SessionService/ReportMeter";
const PLAN: &str = "/laddplan.v1.PlanService/Plan";
/// Their answers go on until somebody ends them.
const STREAMS: [&str; 4] = [
    "/laddplan.v1.GatewayService/Connect",
    "/laddplan.v1.PlanService/WatchPlan",
    "/laddplan.v1.AlarmService/WatchAlarms",
    "/laddplan.v1.DriverService/WatchAuthorizations",
];
/// What a token comes with.
const BEARER: &str = "Bearer ";
/// How often the log says how many calls were refused for lack of room.
const TELL_OF_LACK_EVERY: Duration = Duration::from_secs(10);
/// A path is the caller's; what is logged of it is not longer than this.
const MAX_PATH_CHARS: usize = 100;

/// Puts a [`Guard`] before a service.
#[derive(Clone)]
pub(super) struct GuardLayer {
    in_flight: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
    /// Calls refused for lack of room since this was last told.
    turned_away: Arc<AtomicU64>,
    limits: Arc<Limits>,
    access: Access,
    clock: Arc<dyn Clock>,
}

impl GuardLayer {
    pub(super) fn new(limits: Arc<Limits>, access: Access, clock: Arc<dyn Clock>) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(limits.max_in_flight)),
            urgent: Arc::new(Semaphore::new(limits.max_urgent_in_flight)),
            turned_away: Arc::default(),
            limits,
            access,
            clock,
        }
    }

    /// Tells the log now and then how many calls found no room. Never ends.
    pub(super) async fn tell_of_lack(self) -> Infallible {
        let mut ticks = tokio::time::interval(TELL_OF_LACK_EVERY);
        loop {
            ticks.tick().await;
            let calls = self.turned_away.swap(0, Ordering::Relaxed);
            if calls > 0 {
                let seconds = TELL_OF_LACK_EVERY.as_secs();
                tracing::warn!(calls, seconds, "calls refused for lack of room");
            }
        }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            inner,
            rules: self.clone(),
        }
    }
}

#[derive(Clone)]
pub(super) struct Guard<S> {
    inner: S,
    rules: GuardLayer,
}

/// Who makes a call, as far as it is known, for the log.
#[derive(Clone, Default)]
struct Who {
    caller: Option<Arc<Caller>>,
    /// What somebody claimed to be who was not let in.
    claimed: Option<TokenId>,
    why: Option<&'static str>,
}

impl GuardLayer {
    /// Returns once whoever was let in would not be any more; never, for a call that is open to all.
    fn access_ends(&self, who: &Who) -> impl Future<Output = ()> + Send + use<> {
        let caller = who.caller.clone();
        let (access, clock) = (self.access.clone(), Arc::clone(&self.clock));
        async move {
            match caller {
                Some(caller) => access_ends(access, caller, clock).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Lets a call in, or says why not. Nobody is let in to what is not in the table of rights.
    fn let_in(&self, path: &str, parts: &Parts<'_>, who: &mut Who) -> Result<Room, Status> {
        let right = right(path);
        if right == Some(Right::Open) {
            // Answered even when there is no room, lest an orchestrator kills a service that is only busy.
            return Ok(Room::new());
        }
        let caller = self.sign_in(path, parts, who)?;
        let may = match right {
            Some(Right::Open | Right::Anyone) => true,
            Some(Right::Scope(scope)) => caller.may(scope),
            None => false,
        };
        // Counted first, so that what is refused counts too.
        let room = self.room(path, parts.peer, caller.room.as_deref())?;
        if may { Ok(room) } else { Err(not_permitted(right)) }
    }

    fn sign_in(&self, path: &str, parts: &Parts<'_>, who: &mut Who) -> Result<Arc<Caller>, Status> {
        let now = self.clock.now();
        let certificate = parts.peer.and_then(|peer| peer.gateway.as_ref());
        let signed_in = match certificate.filter(|_| path.starts_with(GATEWAY)) {
            Some(identity) => self.access.let_gateway_in(&identity.tenant, &identity.gateway),
            None if path.starts_with(GATEWAY) && self.limits.gateways_need_certificate => {
                Err(SignInRefusal::NoCertificate)
            }
            None => self.access.sign_in(parts.token, now),
        };
        match signed_in {
            Ok(caller) => {
                who.caller = Some(Arc::clone(&caller));
                Ok(caller)
            }
            Err(refusal) => {
                who.claimed = parts.token.and_then(crate::access::claimed);
                who.why = Some(refusal.why());
                let fails_too_often = |peer: &Peer| self.access.failed(peer.address.ip(), now);
                if parts.peer.is_some_and(fails_too_often) {
                    return Err(exhausted("failed sign-ins of this address"));
                }
                Err(Status::unauthenticated(refusal.told()))
            }
        }
    }

    /// A place among the calls at work, or which of them are too many.
    fn room(&self, path: &str, peer: Option<&Peer>, tenant: Option<&TenantRoom>) -> Result<Room, Status> {
        let take = |room: &Arc<Semaphore>, what| Arc::clone(room).try_acquire_owned().map_err(|_| exhausted(what));
        if path.starts_with(GATEWAY) || path == METER_STREAM {
            return Ok(Room::new());
        }
        let mut room = Room::new();
        if URGENT.contains(&path) {
            if let Some(tenant) = tenant {
                let urgent = CallKind::Urgent;
                let count = tenant.count(urgent);
                count.map_err(|wait| too_fast("urgent calls of this tenant each second", wait))?;
                let place = tenant.enter(urgent);
                room.push(place.ok_or_else(|| exhausted("urgent calls of this tenant"))?);
            }
            room.push(take(&self.urgent, "urgent calls")?);
            return Ok(room);
        }
        if let Some(tenant) = tenant {
            let ordinary = CallKind::Ordinary;
            let count = tenant.count(ordinary);
            count.map_err(|wait| too_fast("calls of this tenant each second", wait))?;
            let place = tenant.enter(ordinary);
            room.push(place.ok_or_else(|| exhausted("calls of this tenant"))?);
        }
        if let Some(peer) = peer {
            room.push(take(&peer.room, "calls of this connection")?);
        }
        room.push(take(&self.in_flight, "calls")?);
        Ok(room)
    }

    /// How long a call may take. Streams from the service answer at once, and are limited by what they carry.
    fn time(&self, path: &str) -> Option<Duration> {
        match path {
            METER_STREAM => None,
            PLAN => Some(self.limits.plan_timeout),
            _ => Some(self.limits.call_timeout),
        }
    }

    /// A refusal before the first message travels in the headers.
    fn log_refusal(&self, path: &str, who: &Who, headers: &HeaderMap) {
        let Some(status) = Status::from_header_map(headers) else {
            return;
        };
        match status.code() {
            Code::Ok => {}
            Code::ResourceExhausted => {
                self.turned_away.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(method = path, reason = status.message(), "call refused");
            }
            code => {
                let request_id = headers.get(REQUEST_ID_METADATA).and_then(|value| value.to_str().ok());
                let caller = who.caller.as_ref().map(|caller| caller.credential.to_string());
                let tenant = who.caller.as_ref().and_then(|caller| caller.grant.tenant.as_ref());
                let (tenant, claimed) = (tenant.map(TenantId::as_str), who.claimed.as_ref().map(TokenId::as_str));
                tracing::info!(
                    method = path,
                    ?code,
                    caller,
                    tenant,
                    claimed,
                    why = who.why,
                    request_id,
                    "call refused"
                );
            }
        }
    }
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path: String = request.uri().path().chars().take(MAX_PATH_CHARS).collect();
        let mut who = Who::default();
        let room = match self.rules.let_in(&path, &Parts::of(&request), &mut who) {
            Ok(room) => room,
            Err(status) => {
                let response = status.into_http();
                self.rules.log_refusal(&path, &who, response.headers());
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        if let Some(caller) = &who.caller {
            request.extensions_mut().insert(Arc::clone(caller));
        }
        let rules = self.rules.clone();
        let time = rules.time(&path);
        let call = self.inner.call(request);
        Box::pin(async move {
            let response = match time {
                None => tokio::select! {
                    response = call => response?,
                    () = rules.access_ends(&who) => ended().into_http(),
                },
                Some(time) => match timeout(time, call).await {
                    Ok(response) => response?,
                    Err(_) => too_slow(time).into_http(),
                },
            };
            rules.log_refusal(&path, &who, response.headers());
            drop(room);
            if STREAMS.contains(&path.as_str()) || is_reflection(&path) {
                let ends = rules.access_ends(&who);
                return Ok(response.map(|body| Ending::wrap(body, ends)));
            }
            Ok(response)
        })
    }
}

/// What of a call says who makes it.
struct Parts<'call> {
    token: Option<&'call str>,
    peer: Option<&'call Peer>,
}

impl<'call> Parts<'call> {
    fn of(request: &'call Request<Body>) -> Self {
        let header = request.headers().get(http::header::AUTHORIZATION);
        let token = |value: &'call HeaderValue| value.to_str().ok().and_then(after_bearer).unwrap_or_default();
        Self {
            // Whatever else was brought is not a token, but is something.
            token: header.map(token),
            peer: request.extensions().get(),
        }
    }
}

/// What follows the name of the scheme, whose case does not matter (RFC 9110, 11.1).
fn after_bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then_some(token)
}

fn not_permitted(right: Option<Right>) -> Status {
    Status::permission_denied(match right {
        Some(Right::Scope(scope)) => format!("this call needs a token with scope {scope}"),
        _ => "nobody may make this call".to_owned(),
    })
}

fn too_slow(time: Duration) -> Status {
    let text = format!(
        "not done within {} s; a change may still have been made: repeat it with the same request id",
        time.as_secs()
    );
    Status::deadline_exceeded(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::room::Shares;
    use crate::access::{By, NewToken, Secret, everything_of, new_tenant};
    use crate::domain::access::{Grant, Scope};
    use crate::store::register::SqliteRegister;
    use crate::units::Instant;
    use tokio::sync::oneshot;
    use tower::{ServiceExt, service_fn};

    fn limits() -> Limits {
        Limits {
            max_in_flight: 1,
            ..Limits::default()
        }
    }

    struct StandingClock;

    #[async_trait::async_trait]
    impl Clock for StandingClock {
        fn now(&self) -> Instant {
            Instant::from_unix_secs(1_772_438_400)
        }

        async fn sleep_until(&self, _: Instant) {
            std::future::pending().await
        }
    }

    const SHARES: Shares = Shares {
        calls: 64,
        urgent_calls: 64,
        long_calls: 64,
        gateway_streams: 64,
    };

    /// The guard of a service with tenant `acme`, and a token of it.
    async fn layer(limits: Limits, scopes: &[Scope]) -> (GuardLayer, Secret) {
        let register = Arc::new(SqliteRegister::in_memory());
        let access = Access::open(register, SHARES).await.unwrap();
        let acme = TenantId::parse("acme").unwrap();
        let now = StandingClock.now();
        access.put_tenant(new_tenant(&acme, now), &By::default()).await.unwrap();
        let new = NewToken {
            name: String::new(),
            grant: Grant {
                scopes: scopes.iter().copied().collect(),
                ..everything_of(&acme)
            },
            expires_at: None,
        };
        let (_, secret) = access.create_token(new, now, &By::default()).await.unwrap();
        (
            GuardLayer::new(Arc::new(limits), access, Arc::new(StandingClock)),
            secret,
        )
    }

    fn request_with(path: &str, authorization: Option<&str>) -> Request<Body> {
        let request = Request::builder().uri(path);
        let request = match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        };
        request.extension(peer(64)).body(Body::empty()).unwrap()
    }

    fn request(path: &str, secret: &Secret) -> Request<Body> {
        request_with(path, Some(&format!("Bearer {}", secret.show())))
    }

    fn code(response: &Response<Body>) -> Code {
        Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
    }

    #[tokio::test]
    async fn calls_beyond_the_limit_are_shed_and_health_is_not() {
        let (release, held) = oneshot::channel::<()>();
        let held = Arc::new(tokio::sync::Mutex::new(Some(held)));
        let (layer, secret) = layer(limits(), &[Scope::SiteRead]).await;
        let [slow_path, other_path] =
            ["GetSite", "ListSites"].map(|method| format!("/laddplan.v1.SiteService/{method}"));
        let is_slow = slow_path.clone();
        let guard = layer.layer(service_fn(move |request: Request<Body>| {
            let (held, is_slow) = (Arc::clone(&held), is_slow.clone());
            async move {
                if request.uri().path() == is_slow {
                    let held = held.lock().await.take().unwrap();
                    held.await.unwrap();
                }
                Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
            }
        }));
        let mut slow = guard.clone();
        let slow = slow.call(request(&slow_path, &secret));
        let refused = guard.clone().oneshot(request(&other_path, &secret)).await.unwrap();
        assert_eq!(code(&refused), Code::ResourceExhausted);
        let health = guard
            .clone()
            .oneshot(request_with("/grpc.health.v1.Health/Check", None))
            .await
            .unwrap();
        assert_eq!(code(&health), Code::Ok);
        release.send(()).unwrap();
        assert_eq!(code(&slow.await.unwrap()), Code::Ok);
        let later = guard.oneshot(request(&other_path, &secret)).await.unwrap();
        assert_eq!(code(&later), Code::Ok);
    }

    /// A connection on which so many calls may be at work.
    fn peer(room: usize) -> Peer {
        Peer {
            room: Arc::new(Semaphore::new(room)),
            address: ([127, 0, 0, 1], 1).into(),
            gateway: None,
        }
    }

    /// Takes places for calls to `paths` by one connection, as long as the result lives; says what there was no room for.
    fn rooms(rules: &GuardLayer, connection: &Peer, paths: &[&str]) -> Vec<Result<Room, String>> {
        let room = |path: &&str| {
            let room = rules.room(path, Some(connection), None);
            room.map_err(|status| status.message().to_owned())
        };
        paths.iter().map(room).collect()
    }

    fn refused(rooms: &[Result<Room, String>]) -> Vec<Option<&str>> {
        rooms
            .iter()
            .map(|room| room.as_ref().err().map(String::as_str))
            .collect()
    }

    #[tokio::test]
    async fn calls_that_may_lower_what_is_drawn_have_room_of_their_own() {
        let limits = Limits {
            max_in_flight: 1,
            max_urgent_in_flight: 1,
            ..Limits::default()
        };
        let (rules, _) = layer(limits, &Scope::ALL).await;
        let connection = peer(64);
        let [get, cut] = ["/laddplan.v1.SiteService/GetSite", URGENT[0]];
        let gateway = "/laddplan.v1.GatewayService/Connect";
        let taken = rooms(&rules, &connection, &[get, get, cut, cut, gateway, METER_STREAM]);
        assert_eq!(
            refused(&taken),
            [
                None,
                Some("too many calls at once"),
                None,
                Some("too many urgent calls at once"),
                None,
                None
            ]
        );
        drop(taken);
        assert_eq!(refused(&rooms(&rules, &connection, &[cut, get])), [None, None]);
    }

    #[tokio::test]
    async fn a_connection_that_asks_too_much_takes_no_room_of_others_and_keeps_its_cuts() {
        let (rules, _) = layer(Limits::default(), &Scope::ALL).await;
        let [busy, other] = [1, 1].map(peer);
        let get = "/laddplan.v1.SiteService/GetSite";
        let taken = rooms(&rules, &busy, &[get, get, URGENT[0]]);
        assert_eq!(
            refused(&taken),
            [None, Some("too many calls of this connection at once"), None]
        );
        assert_eq!(refused(&rooms(&rules, &other, &[get])), [None]);
    }

    #[tokio::test]
    async fn a_call_that_takes_too_long_is_told_so() {
        let limits = Limits {
            call_timeout: Duration::ZERO,
            ..Limits::default()
        };
        let (layer, secret) = layer(limits, &Scope::ALL).await;
        let guard = layer.layer(service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, std::convert::Infallible>>()
        }));
        let response = guard
            .oneshot(request("/laddplan.v1.SiteService/GetSite", &secret))
            .await
            .unwrap();
        assert_eq!(code(&response), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_meter_stream_lasts_as_long_as_it_has_something_to_say() {
        let (rules, _) = layer(Limits::default(), &Scope::ALL).await;
        assert_eq!(rules.time(METER_STREAM), None);
        assert_eq!(rules.time(PLAN), Some(rules.limits.plan_timeout));
        assert_eq!(
            rules.time("/laddplan.v1.SessionService/StartSession"),
            Some(rules.limits.call_timeout)
        );
    }

    /// What comes of a call to a guard that lets everything through which it lets in.
    async fn answered(rules: &GuardLayer, request: Request<Body>) -> (Code, String) {
        let through = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let response = rules.layer(through).oneshot(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok(""));
        (status.code(), status.message().to_owned())
    }

    const GET: &str = "/laddplan.v1.SiteService/GetSite";
    const CUT: &str = "/laddplan.v1.SiteService/SetGridLimit";

    #[tokio::test]
    async fn nobody_is_let_in_without_a_token_with_the_right_scope() {
        let (rules, secret) = layer(Limits::default(), &[Scope::SiteRead]).await;
        assert_eq!(answered(&rules, request(GET, &secret)).await.0, Code::Ok);
        let (code, told) = answered(&rules, request(CUT, &secret)).await;
        assert_eq!(
            (code, told.as_str()),
            (Code::PermissionDenied, "this call needs a token with scope limits")
        );
        let (code, told) = answered(&rules, request("/laddplan.v1.SiteService/NoSuchCall", &secret)).await;
        assert_eq!(
            (code, told.as_str()),
            (Code::PermissionDenied, "nobody may make this call")
        );
        let plain = secret.show().to_owned();
        for authorization in [None, Some(""), Some("Bearer "), Some("Basic x"), Some(plain.as_str())] {
            let (code, told) = answered(&rules, request_with(GET, authorization)).await;
            assert_eq!(code, Code::Unauthenticated, "{authorization:?}");
            assert!(!told.contains(&plain), "{told}");
        }
        assert_eq!(
            answered(&rules, request_with("/grpc.health.v1.Health/Check", None))
                .await
                .0,
            Code::Ok
        );
    }

    #[tokio::test]
    async fn an_address_that_guesses_is_refused_after_a_while_and_a_good_token_from_it_is_not() {
        let (rules, secret) = layer(Limits::default(), &[Scope::SiteRead]).await;
        let guess = format!("Bearer {}x", secret.show());
        let mut codes = Vec::new();
        for _ in 0..30 {
            codes.push(answered(&rules, request_with(GET, Some(&guess))).await.0);
        }
        let refused = codes.iter().position(|code| *code == Code::ResourceExhausted);
        assert_eq!(refused, Some(20), "{codes:?}");
        assert_eq!(answered(&rules, request(GET, &secret)).await.0, Code::Ok);
    }

    #[tokio::test]
    async fn a_tenant_that_calls_too_often_is_told_when_to_come_back_and_keeps_its_cuts() {
        let (rules, secret) = layer(Limits::default(), &Scope::ALL).await;
        let acme = TenantId::parse("acme").unwrap();
        let mut tenant = new_tenant(&acme, StandingClock.now());
        tenant.quota.calls_per_second = 1;
        rules.access.put_tenant(tenant, &By::default()).await.unwrap();
        let mut codes = Vec::new();
        for _ in 0..3 {
            codes.push(answered(&rules, request(GET, &secret)).await.0);
        }
        assert_eq!(codes, [Code::Ok, Code::Ok, Code::ResourceExhausted]);
        assert_eq!(answered(&rules, request(CUT, &secret)).await.0, Code::Ok);
    }

    #[tokio::test]
    async fn calls_that_are_refused_count_too() {
        let (rules, secret) = layer(Limits::default(), &[Scope::SiteRead]).await;
        let mut tenant = new_tenant(&TenantId::parse("acme").unwrap(), StandingClock.now());
        tenant.quota.calls_per_second = 1;
        rules.access.put_tenant(tenant, &By::default()).await.unwrap();
        let mut codes = Vec::new();
        for _ in 0..3 {
            let call = request("/laddplan.v1.SiteService/SetPrices", &secret);
            codes.push(answered(&rules, call).await.0);
        }
        let expected = [Code::PermissionDenied, Code::PermissionDenied, Code::ResourceExhausted];
        assert_eq!(codes, expected);
    }

    #[tokio::test]
    async fn the_name_of_the_scheme_may_be_written_in_any_case() {
        let (rules, secret) = layer(Limits::default(), &[Scope::SiteRead]).await;
        for scheme in ["bearer", "BEARER"] {
            let call = request_with(GET, Some(&format!("{scheme} {}", secret.show())));
            assert_eq!(answered(&rules, call).await.0, Code::Ok, "{scheme}");
        }
    }

    #[test]
    fn every_stream_of_answers_ends_with_its_token() {
        use prost::Message;
        let files = prost_types::FileDescriptorSet::decode(crate::wire::DESCRIPTORS)
            .unwrap()
            .file;
        let services = files.iter().flat_map(|file| &file.service);
        let mut streams: Vec<String> = services
            .flat_map(|service| {
                let streams = service.method.iter().filter(|method| method.server_streaming());
                streams.map(|method| format!("/laddplan.v1.{}/{}", service.name(), method.name()))
            })
            .collect();
        let mut named = STREAMS.map(str::to_owned).to_vec();
        streams.sort();
        named.sort();
        assert_eq!(named, streams);
    }
}
