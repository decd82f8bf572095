//! The loop: one task per site takes events in, keeps them in the journal, plans, and sends what the roll-out allows.
//!
//! Decides when things happen: what is acknowledged was synced first, what is sent was synced first, bursts make one plan, and a
//! slow search never keeps an event waiting. Never decides how much power anyone gets.

pub mod ports;
pub mod view;

use crate::domain::event::{Event, Receipt, RequestStamp};
use crate::domain::ids::{GatewayId, PersonRef, RequestId, SessionId, SiteId, SiteKey, TenantId};
use crate::domain::rejection::Rejection;
use crate::domain::session::{MeterSample, Session};
use std::sync::Arc;
use tokio::sync::watch;
use view::{PlanView, SiteView};

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The caller's mistake; nothing changed.
    #[error("{0}")]
    Rejected(#[from] Rejection),
    #[error("there is no {what} {id}")]
    NotFound { what: &'static str, id: String },
    #[error("request id {0} was used before with another body")]
    RequestReused(RequestId),
    /// A queue is full; try again later.
    #[error("too many {what} at once")]
    Busy { what: &'static str },
    /// The store or the site's task is not there; nothing was acknowledged.
    #[error("{0}")]
    Unavailable(String),
}

/// What became of a batch of meter samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterReceipt {
    pub recorded: usize,
    /// Older than the last known of their EVSE.
    pub dropped: usize,
}

/// A handle on the engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// Makes a change durable. `Event::SitePut` for an unknown site creates it.
    pub async fn submit(&self, key: &SiteKey, request: Option<RequestStamp>, event: Event) -> Result<Receipt, Refusal> {
        let _ = (key, request, event);
        todo!()
    }

    pub async fn meter(&self, key: &SiteKey, samples: Vec<MeterSample>) -> Result<MeterReceipt, Refusal> {
        let _ = (key, samples);
        todo!()
    }

    /// At most `most` sites with an id after `after`, by id.
    pub fn sites(&self, tenant: &TenantId, after: Option<&SiteId>, most: usize) -> Vec<SiteId> {
        let _ = (tenant, after, most);
        todo!()
    }

    /// The sites of a tenant that name `gateway`.
    pub fn sites_of_gateway(&self, tenant: &TenantId, gateway: &GatewayId) -> Vec<SiteId> {
        let _ = (tenant, gateway);
        todo!()
    }

    /// A consistent picture of a site.
    pub async fn site(&self, key: &SiteKey) -> Result<Arc<SiteView>, Refusal> {
        let _ = key;
        todo!()
    }

    /// The plan in force, and each new one.
    pub fn watch_plan(&self, key: &SiteKey) -> Result<watch::Receiver<Option<Arc<PlanView>>>, Refusal> {
        let _ = key;
        todo!()
    }

    pub async fn ended_session(&self, key: &SiteKey, session: &SessionId) -> Result<Option<Session>, Refusal> {
        let _ = (key, session);
        todo!()
    }

    /// At most `most` ended sessions with an id after `after`, by id.
    pub async fn ended_sessions(
        &self,
        key: &SiteKey,
        after: Option<&SessionId>,
        most: usize,
    ) -> Result<Vec<Session>, Refusal> {
        let _ = (key, after, most);
        todo!()
    }

    pub async fn person(&self, tenant: &TenantId, driver: &str) -> Result<PersonRef, Refusal> {
        let _ = (tenant, driver);
        todo!()
    }

    pub async fn forget_person(&self, tenant: &TenantId, driver: &str) -> Result<bool, Refusal> {
        let _ = (tenant, driver);
        todo!()
    }

    /// Plans once, without remembering anything. Waits for a free solver; [`Refusal::Busy`] if too many wait already.
    pub async fn plan_once(&self, request: view::OnceRequest) -> Result<PlanView, Refusal> {
        let _ = request;
        todo!()
    }
}
