//! What every call passes first.
//!
//! Decides which calls are let in, how long they may take, and that each refusal is logged once: method, code and request id, never
//! a body.

use super::{Limits, REQUEST_ID_METADATA};
use crate::wire::status::exhausted;
use http::{HeaderMap, Request, Response};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Answered even when there is no room, lest an orchestrator kills a service that is only busy.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// Takes as long as its caller has something to say; it has a limit of its own.
const METER_STREAM: &str = "/laddplan.v1.SessionService/ReportMeter";
const PLAN: &str = "/laddplan.v1.PlanService/Plan";
/// A path is the caller's; what is logged of it is not longer than this.
const MAX_PATH_CHARS: usize = 100;

/// Puts a [`Guard`] before a service.
#[derive(Clone)]
pub(super) struct GuardLayer {
    in_flight: Arc<Semaphore>,
    limits: Arc<Limits>,
}

impl GuardLayer {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(limits.max_in_flight)),
            limits,
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

impl GuardLayer {
    /// A place among the calls in flight; none is needed for a health check.
    fn room(&self, path: &str) -> Result<Option<OwnedSemaphorePermit>, Status> {
        if path.starts_with(HEALTH) {
            return Ok(None);
        }
        let room = Arc::clone(&self.in_flight).try_acquire_owned();
        room.map(Some).map_err(|_| exhausted("too many calls at once"))
    }

    /// How long a call may take. Streams from the service answer at once, and are limited by what they carry.
    fn time(&self, path: &str) -> Option<Duration> {
        match path {
            METER_STREAM => None,
            PLAN => Some(self.limits.plan_timeout),
            _ => Some(self.limits.call_timeout),
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
        let room = match self.rules.room(&path) {
            Ok(room) => room,
            Err(status) => {
                let response = status.into_http();
                log_refusal(&path, response.headers());
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        let time = self.rules.time(&path);
        let call = self.inner.call(request);
        Box::pin(async move {
            let response = match time {
                None => call.await?,
                Some(time) => match timeout(time, call).await {
                    Ok(response) => response?,
                    Err(_) => too_slow(time).into_http(),
                },
            };
            log_refusal(&path, response.headers());
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

/// A refusal before the first message travels in the headers.
fn log_refusal(path: &str, headers: &HeaderMap) {
    if let Some(status) = Status::from_header_map(headers)
        && status.code() != Code::Ok
    {
        let request_id = headers.get(REQUEST_ID_METADATA).and_then(|value| value.to_str().ok());
        tracing::info!(method = path, code = ?status.code(), request_id, "call refused");
    }
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
