//! The gateways' streams: commands go down to charging stations, answers and readings come up as events.
//!
//! Decides which stream carries a command, in which order, and when a stream ends. Never decides what is sent, and never keeps a
//! command for a gateway that is not there: the engine issues it again after the gateway's next hello.
//!
//! - [`Streams`] is the engine's way out: it finds the gateway's stream and never blocks.
//! - `outbox` holds what waits for one stream: per EVSE only the newest command.
//! - [`GatewayApi`] is the gRPC service that lets gateways in; `live` is a stream once it is in.
//! - `upstream` reads messages, `downstream` writes commands; `in_order` has many of them recorded at once and acknowledges them in order.

mod downstream;
mod in_order;
mod live;
mod outbox;
mod stream;
mod upstream;

use crate::domain::ids::{GatewayId, TenantId};
use crate::engine::ports::{Gateway, OutgoingCommand};
use outbox::{Counters, Outbox};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tonic::Status;

pub use stream::GatewayApi;

/// How much gateways may ask of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams at once, over all tenants. Twice the gateways: one that comes back may have an old one that is not known to be dead.
    pub max_streams: usize,
    /// From the start of a stream to its hello.
    pub hello_timeout: Duration,
    /// A gateway says something at least this often.
    pub heartbeat: Duration,
    /// Heartbeats missed in a row before the stream is closed.
    pub missed_heartbeats: u32,
    /// EVSEs for which a command may wait on one stream. A gateway that lets more wait does not read: its stream is closed.
    pub max_waiting_commands: usize,
    /// Refusals that may wait on one stream; a gateway that lets more wait is closed too.
    pub max_waiting_refusals: usize,
    /// Messages of one gateway that are being recorded at once.
    pub max_recording: usize,
    /// Messages handed to a connection ahead of what it has sent. Small, because what is here is no longer replaced by newer.
    pub max_ahead: usize,
    /// From the end of a stream until it is cut if the gateway does not read it.
    pub farewell_timeout: Duration,
    /// A gateway whose clock differs by more than this is reported in the log.
    pub clock_difference: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_streams: 10_000,
            hello_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            missed_heartbeats: 3,
            max_waiting_commands: 20_000,
            max_waiting_refusals: 1_000,
            max_recording: 64,
            max_ahead: 16,
            farewell_timeout: Duration::from_secs(5),
            clock_difference: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// Silence for this long closes a stream.
    fn silence(&self) -> Duration {
        self.heartbeat * self.missed_heartbeats
    }
}

/// A gateway belongs to a tenant: two tenants may use the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GatewayKey {
    tenant: TenantId,
    gateway: GatewayId,
}

/// Gateways whose comings and goings are told to the engine one after the other share a turn.
const TURNS: usize = 64;

/// The live streams of all gateways; cheap to clone.
#[derive(Clone)]
pub struct Streams {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    live: Mutex<HashMap<GatewayKey, Arc<Outbox>>>,
    counters: Arc<Counters>,
    room: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    turns: [tokio::sync::Mutex<()>; TURNS],
}

impl Streams {
    pub fn new(limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                live: Mutex::default(),
                counters: Arc::default(),
                room: Arc::new(Semaphore::new(limits.max_streams)),
                closing: watch::Sender::new(false),
                turns: std::array::from_fn(|_| tokio::sync::Mutex::default()),
                limits,
            }),
        }
    }

    /// Commands accepted and not yet put on a stream. Commands for a gateway that is not connected are dropped and do not count.
    ///
    /// Who wants both counts reads this one first: a command is counted as written before it stops to wait.
    pub fn waiting(&self) -> usize {
        self.shared.counters.waiting()
    }

    /// Commands put on streams so far.
    pub fn commands_written(&self) -> u64 {
        self.shared.counters.written()
    }

    /// Ends every stream and lets no new one in.
    pub fn close(&self) {
        self.shared.closing.send_replace(true);
        for outbox in self.live().values() {
            outbox.close(Some(stopping()));
        }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<GatewayKey, Arc<Outbox>>> {
        // A map is whole after every statement, so a panic elsewhere leaves it good.
        self.shared.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `outbox` the gateway's stream. One that was there before ends.
    fn admit(&self, key: &GatewayKey, outbox: &Arc<Outbox>) -> Result<(), Status> {
        let mut live = self.live();
        // Under the lock, so that no stream slips in behind `close`.
        if *self.shared.closing.borrow() {
            return Err(stopping());
        }
        if let Some(older) = live.insert(key.clone(), Arc::clone(outbox)) {
            let reason = format!("another stream of gateway {} took over", key.gateway);
            older.close(Some(Status::aborted(reason)));
        }
        Ok(())
    }

    /// True if `outbox` was still the gateway's stream.
    fn dismiss(&self, key: &GatewayKey, outbox: &Arc<Outbox>) -> bool {
        let mut live = self.live();
        let current = live.get(key).is_some_and(|current| Arc::ptr_eq(current, outbox));
        if current {
            live.remove(key);
        }
        current
    }

    /// Held while a gateway's coming or going is told to the engine, so that a going is never told after a later coming.
    async fn turn(&self, key: &GatewayKey) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let index = hasher.finish() % TURNS as u64;
        self.shared.turns[index as usize].lock().await
    }
}

impl Gateway for Streams {
    fn send(&self, command: OutgoingCommand) {
        let key = GatewayKey {
            tenant: command.key.tenant.clone(),
            gateway: command.gateway.clone(),
        };
        let outbox = self.live().get(&key).cloned();
        if let Some(outbox) = outbox {
            outbox.put(command);
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the service is stopping")
}
