//! What every call passes first.
//!
//! Decides which calls are let in, how long they may take, and that each refusal is logged once: method, code and request id, never
//! a body. Refusals for lack of room are counted instead: a log of them would take what room there is. What may lower what a site draws has room of its own, so that a service which is asked too much still takes a cut.

use super::connections::RoomOfConnection;
use super::{Limits, REQUEST_ID_METADATA};
use crate::wire::status::exhausted;
use http::{HeaderMap, Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Answered even when there is no room, lest an orchestrator kills a service that is only busy.
const HEALTH: &str = "/grpc.health.v1.Health/";
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
}

impl GuardLayer {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(limits.max_in_flight)),
            urgent: Arc::new(Semaphore::new(limits.max_urgent_in_flight)),
            turned_away: Arc::default(),
            limits,
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

/// What a call takes of the guard, and gives back when it is answered.
type Room = Vec<OwnedSemaphorePermit>;

impl GuardLayer {
    /// A place among the calls at work, or which of them are too many.
    fn room(&self, path: &str, connection: Option<&RoomOfConnection>) -> Result<Room, Status> {
        let take = |room: &Arc<Semaphore>, what| Arc::clone(room).try_acquire_owned().map_err(|_| exhausted(what));
        if path.starts_with(HEALTH) || path.starts_with(GATEWAY) || path == METER_STREAM {
            return Ok(Room::new());
        }
        if URGENT.contains(&path) {
            return Ok(vec![take(&self.urgent, "urgent calls")?]);
        }
        let mut room = Room::new();
        if let Some(RoomOfConnection(connection)) = connection {
            room.push(take(connection, "calls of this connection")?);
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
    fn log_refusal(&self, path: &str, headers: &HeaderMap) {
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
                tracing::info!(method = path, ?code, request_id, "call refused");
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path: String = request.uri().path().chars().take(MAX_PATH_CHARS).collect();
        let room = match self.rules.room(&path, request.extensions().get()) {
            Ok(room) => room,
            Err(status) => {
                let response = status.into_http();
                self.rules.log_refusal(&path, response.headers());
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        let rules = self.rules.clone();
        let time = rules.time(&path);
        let call = self.inner.call(request);
        Box::pin(async move {
            let response = match time {
                None => call.await?,
                Some(time) => match timeout(time, call).await {
                    Ok(response) => response?,
                    Err(_) => too_slow(time).into_http(),
                },
            };
            rules.log_refusal(&path, response.headers());
            drop(room);
            Ok(response)
        })
    }
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
    use tokio::sync::oneshot;
    use tower::{ServiceExt, service_fn};

    fn limits() -> Limits {
        Limits {
            max_in_flight: 1,
            ..Limits::default()
        }
    }

    fn request(path: &str) -> Request<Body> {
        Request::builder().uri(path).body(Body::empty()).unwrap()
    }

    fn code(response: &Response<Body>) -> Code {
        Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
    }

    #[tokio::test]
    async fn calls_beyond_the_limit_are_shed_and_health_is_not() {
        let (release, held) = oneshot::channel::<()>();
        let held = Arc::new(tokio::sync::Mutex::new(Some(held)));
        let guard = GuardLayer::new(Arc::new(limits())).layer(service_fn(move |request: Request<Body>| {
            let held = Arc::clone(&held);
            async move {
                if request.uri().path() == "/slow" {
                    let held = held.lock().await.take().unwrap();
                    held.await.unwrap();
                }
                Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
            }
        }));
        let mut slow = guard.clone();
        let slow = slow.call(request("/slow"));
        let refused = guard.clone().oneshot(request("/other")).await.unwrap();
        assert_eq!(code(&refused), Code::ResourceExhausted);
        let health = guard
            .clone()
            .oneshot(request("/grpc.health.v1.Health/Check"))
            .await
            .unwrap();
        assert_eq!(code(&health), Code::Ok);
        release.send(()).unwrap();
        assert_eq!(code(&slow.await.unwrap()), Code::Ok);
        let later = guard.oneshot(request("/other")).await.unwrap();
        assert_eq!(code(&later), Code::Ok);
    }

    /// Takes places for calls to `paths` by one connection, as long as the result lives; says what there was no room for.
    fn rooms(rules: &GuardLayer, connection: &RoomOfConnection, paths: &[&str]) -> Vec<Result<Room, String>> {
        let room = |path: &&str| {
            let room = rules.room(path, Some(connection));
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

    #[test]
    fn calls_that_may_lower_what_is_drawn_have_room_of_their_own() {
        let rules = GuardLayer::new(Arc::new(Limits {
            max_in_flight: 1,
            max_urgent_in_flight: 1,
            ..Limits::default()
        }));
        let connection = RoomOfConnection(Arc::new(Semaphore::new(64)));
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

    #[test]
    fn a_connection_that_asks_too_much_takes_no_room_of_others_and_keeps_its_cuts() {
        let rules = GuardLayer::new(Arc::new(Limits::default()));
        let [busy, other] = [1, 1].map(|room| RoomOfConnection(Arc::new(Semaphore::new(room))));
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
        let guard = GuardLayer::new(Arc::new(limits)).layer(service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, std::convert::Infallible>>()
        }));
        let response = guard
            .oneshot(request("/laddplan.v1.SiteService/GetSite"))
            .await
            .unwrap();
        assert_eq!(code(&response), Code::DeadlineExceeded);
    }

    #[test]
    fn a_meter_stream_lasts_as_long_as_it_has_something_to_say() {
        let rules = GuardLayer::new(Arc::new(Limits::default()));
        assert_eq!(rules.time(METER_STREAM), None);
        assert_eq!(rules.time(PLAN), Some(rules.limits.plan_timeout));
        assert_eq!(
            rules.time("/laddplan.v1.SessionService/StartSession"),
            Some(rules.limits.call_timeout)
        );
    }
}
