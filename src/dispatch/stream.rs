//! The gRPC service that gateways call: a stream from its first message to its end.
//!
//! Decides who is let in: a gateway that a site names, which says hello first. A second stream of the same gateway ends the first.

use super::live::{FIRST_NUMBER, LiveStream, check_number, unknown_gateway};
use super::outbox::{End, Outbox};
use super::upstream::{Hello, hello};
use super::{GatewayKey, Limits, Streams, stopping};
use crate::access::Caller;
use crate::domain::rejection::Rejection;
use crate::engine::Engine;
use crate::engine::ports::Clock;
use crate::units::Seconds;
use crate::wire::common::timestamp;
use crate::wire::proto;
use crate::wire::status::{exhausted, rejected, status};
use proto::connect_request::Message;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::Streaming;
use tonic::{Request, Response, Status};

/// What a gateway is told who finds no room.
const GATEWAY_STREAMS: &str = "gateway streams";
const STREAMS_OF_TENANT: &str = "gateway streams of this tenant";

type Downstream = mpsc::Sender<Result<proto::ConnectResponse, Status>>;

/// The gRPC service that gateways call.
#[derive(Clone)]
pub struct GatewayApi {
    pub(super) streams: Streams,
    pub(super) engine: Engine,
    pub(super) clock: Arc<dyn Clock>,
}

impl GatewayApi {
    pub fn new(streams: Streams, engine: Engine, clock: Arc<dyn Clock>) -> Self {
        Self { streams, engine, clock }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.streams.shared.limits
    }
}

#[tonic::async_trait]
impl proto::gateway_service_server::GatewayService for GatewayApi {
    type ConnectStream = ReceiverStream<Result<proto::ConnectResponse, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<proto::ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let Ok(room) = Arc::clone(&self.streams.shared.room).try_acquire_owned() else {
            return Err(exhausted(GATEWAY_STREAMS));
        };
        let caller: Option<Arc<Caller>> = request.extensions().get().cloned();
        let caller = caller.ok_or_else(|| Status::internal("the call was not let in"))?;
        let share = caller
            .room
            .as_ref()
            .map(|room| room.enter_gateway().ok_or_else(|| exhausted(STREAMS_OF_TENANT)));
        let share = share.transpose()?;
        let (downstream, responses) = mpsc::channel(self.limits().max_ahead);
        let api = self.clone();
        let upstream = request.into_inner();
        // Answered at once: a client may wait for the headers before it says hello.
        tokio::spawn(async move {
            api.run(&caller, upstream, downstream).await;
            drop((room, share));
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

impl GatewayApi {
    async fn run(self, caller: &Caller, mut upstream: Streaming<proto::ConnectRequest>, downstream: Downstream) {
        let outbox = Arc::new(Outbox::new(self.limits(), Arc::clone(&self.streams.shared.counters)));
        let writer = tokio::spawn(write(Arc::clone(&outbox), downstream, self.limits().farewell_timeout));
        let end = match self.greet(caller, &mut upstream).await {
            Ok((key, hello)) => self.serve(key, hello, &outbox, upstream).await,
            Err(status) => {
                tracing::info!(code = ?status.code(), reason = status.message(), "gateway stream refused");
                Some(status)
            }
        };
        outbox.close(end);
        // Fails only if the writer panicked, and then there is nobody to tell.
        let _ = writer.await;
    }

    /// Waits for the first message, which must be a hello of a gateway that a site names.
    async fn greet(
        &self,
        caller: &Caller,
        upstream: &mut Streaming<proto::ConnectRequest>,
    ) -> Result<(GatewayKey, Hello), Status> {
        let mut closing = self.streams.shared.closing.subscribe();
        let first = tokio::select! {
            _ = closing.wait_for(|closing| *closing) => return Err(stopping()),
            first = timeout(self.limits().hello_timeout, upstream.message()) => first,
        };
        let Ok(first) = first else {
            return Err(Status::deadline_exceeded("no hello in time"));
        };
        let first = first?.ok_or_else(|| Status::cancelled("the stream ended before its hello"))?;
        let Some(Message::Hello(message)) = first.message else {
            let rejection = Rejection::one("message", "must be a hello first", "another message", "hello");
            return Err(rejected(&rejection));
        };
        check_number(first.number, FIRST_NUMBER)?;
        let hello = hello(&message).map_err(|rejection| rejected(&rejection))?;
        // Of another tenant, not this caller's to be, or of no site: all look alike.
        let unknown = || status(&unknown_gateway(&hello.gateway));
        let own = caller
            .grant
            .tenant
            .as_ref()
            .filter(|own| hello.tenant.as_ref().is_none_or(|named| named == *own));
        let key = GatewayKey {
            tenant: own.ok_or_else(unknown)?.clone(),
            gateway: hello.gateway.clone(),
        };
        let is_his = caller.grant.may_be_gateway(&key.gateway);
        if !is_his || self.engine.sites_of_gateway(&key.tenant, &key.gateway).is_empty() {
            return Err(unknown());
        }
        self.compare_clocks(&key, message.clock.as_ref());
        Ok((key, hello))
    }

    fn compare_clocks(&self, key: &GatewayKey, clock: Option<&prost_types::Timestamp>) {
        let Some(Ok(theirs)) = clock.map(timestamp) else { return };
        let ahead = theirs - self.clock.now();
        let tolerated = Seconds::from_secs(self.limits().clock_difference.as_secs().cast_signed());
        if ahead > tolerated || ahead < -tolerated {
            tracing::warn!(tenant = %key.tenant, gateway = %key.gateway, ahead_secs = ahead.secs(), "clocks differ");
        }
    }

    /// From the hello to the end of the stream; returns how it ends.
    async fn serve(
        &self,
        key: GatewayKey,
        hello: Hello,
        outbox: &Arc<Outbox>,
        upstream: Streaming<proto::ConnectRequest>,
    ) -> Option<Status> {
        let mut live = LiveStream::new(self, &key, hello.fences, outbox);
        let turn = self.streams.turn(&key).await;
        if let Err(status) = self.streams.admit(&key, outbox) {
            return Some(status);
        }
        tracing::info!(tenant = %key.tenant, gateway = %key.gateway, fences = hello.fences, "gateway connected");
        live.open(hello.known).await;
        drop(turn);

        let end = live.listen(upstream).await;

        let _turn = self.streams.turn(&key).await;
        if self.streams.dismiss(&key, outbox) {
            live.leave().await;
        }
        let code = end.as_ref().map_or(tonic::Code::Ok, Status::code);
        tracing::info!(tenant = %key.tenant, gateway = %key.gateway, ?code, "gateway disconnected");
        end
    }
}

/// Hands over what waits, until the stream ends or nobody reads it any more.
async fn write(outbox: Arc<Outbox>, downstream: Downstream, farewell: Duration) {
    loop {
        let next = tokio::select! {
            () = downstream.closed() => break,
            next = outbox.next() => next,
        };
        let message = match next {
            Ok(message) => Ok(proto::ConnectResponse { message: Some(message) }),
            Err(End(Some(status))) => Err(status),
            Err(End(None)) => break,
        };
        let last = message.is_err();
        let mut sending = pin!(downstream.send(message));
        let sent = tokio::select! {
            sent = &mut sending => sent.is_ok(),
            () = outbox.closed() => timeout(farewell, sending).await.is_ok_and(|sent| sent.is_ok()),
        };
        if last || !sent {
            break;
        }
    }
    outbox.close(None);
}
