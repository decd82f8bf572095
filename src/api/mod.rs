//! The gRPC API: sites, sessions, plans and alarms for the back ends of CPOs, with health and reflection.
//!
//! Decides what a call means and how a refusal is told: every fault of a request at once, in one place (`crate::wire::status`).
//! Never decides anything about charging, and never answers a change before the engine said that it is durable.
//!
//! - `Api` implements the services; `site`, `session`, `driver`, `plan`, `alarm` and `admin` hold one each.
//! - `guard` stands before every call: who makes it, calls in flight, time, the log of refusals. `rights` says what each call needs.
//! - `caller` holds what a call names against whose call it is; `request` reads what calls share: request ids, pages.
//! - `connections` stands before every connection, with `addresses` and `turned_away`; `server` puts it all together.

mod addresses;
mod admin;
mod alarm;
mod caller;
mod commissioning;
mod connections;
mod driver;
mod ending;
mod guard;
mod limits;
mod plan;
mod request;
mod rights;
mod server;
mod session;
mod site;
mod turned_away;

use crate::access::{Access, Caller};
use crate::domain::ids::RequestId;
use crate::drivers::Drivers;
use crate::drivers::register::DriverRefusal;
use crate::engine::Engine;
use crate::engine::Refusal;
use crate::engine::ports::Clock;
use crate::register::RegisterError;
use crate::wire::status::{exhausted, status};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::metadata::MetadataValue;
use tonic::{Response, Status};

pub use limits::Limits;
pub use server::{Port, ServeError, Services, serve};

/// In the metadata of a refused call that had a request id.
const REQUEST_ID_METADATA: &str = "request-id";

/// What a caller is told who finds no room for a plan watcher or a meter stream.
const LONG_CALLS: &str = "long calls";
const LONG_CALLS_OF_TENANT: &str = "long calls of this tenant";

/// What a call takes of what calls share, and gives back when it ends.
type Room = Vec<OwnedSemaphorePermit>;

/// Implements the services; cheap to clone.
#[derive(Clone)]
struct Api {
    engine: Engine,
    access: Access,
    drivers: Drivers,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    /// Turns true when the service stops: streams end.
    stopping: watch::Receiver<bool>,
    /// Room for calls that last: plan and alarm watchers and meter streams.
    streams: Arc<Semaphore>,
}

impl Api {
    /// Room for a call that lasts: among all, and among its tenant's.
    fn long_call(&self, caller: &Caller) -> Result<Room, Status> {
        let mut room = Room::new();
        if let Some(tenant) = &caller.room {
            room.push(tenant.enter_long().ok_or_else(|| exhausted(LONG_CALLS_OF_TENANT))?);
        }
        let streams = Arc::clone(&self.streams).try_acquire_owned();
        room.push(streams.map_err(|_| exhausted(LONG_CALLS))?);
        Ok(room)
    }

    /// Waits until the service stops.
    async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // The sender lives as long as the server; if it is gone, so is the server.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

impl From<DriverRefusal> for Refusal {
    fn from(refusal: DriverRefusal) -> Self {
        match refusal {
            DriverRefusal::Full { .. } => Self::NotNow(refusal.to_string()),
            DriverRefusal::Unavailable(error) => error.into(),
        }
    }
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// The answer to a call that changes nothing.
fn answer<T>(result: Result<T, Refusal>) -> Answer<T> {
    result.map(Response::new).map_err(|refusal| status(&refusal))
}

/// The answer to a call with a request id, which goes with a refusal, so that the log names it.
fn answer_change<T>(request_id: &str, result: Result<T, Refusal>) -> Answer<T> {
    answer(result).map_err(|mut status| {
        // Anything else is the caller's text, which may be as long as a message.
        if let Ok(id) = RequestId::parse(request_id)
            && let Ok(value) = MetadataValue::try_from(id.as_str())
        {
            status.metadata_mut().insert(REQUEST_ID_METADATA, value);
        }
        status
    })
}

fn stopping() -> Status {
    Status::unavailable("the service is stopping")
}
