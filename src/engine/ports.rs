//! What the engine needs of the world: a store, a gateway, a clock. Implemented at the edges, and by simulated ones in tests.
//!
//! Decides the contracts, above all the order in which things happen: append, then sync, then acknowledge and send.

pub use super::alarms::AlarmsImage;
pub use super::alarms::meters::{Contradiction, MeterWatch, Meters};
pub use super::image::SiteImage;
pub use super::overload::{NodeWatch, Overloads};
use crate::domain::conversion::Rate;
use crate::domain::event::Recorded;
use crate::domain::ids::{GatewayId, SessionId, SiteKey};
use crate::domain::profile::ProfileCommand;
use crate::domain::session::{OcpiSession, Session};
use crate::units::Instant;
use async_trait::async_trait;

/// How sure an append must be before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk, past power loss. For everything that is acknowledged or that must be known before something is sent.
    Synced,
    /// Written, and on disk with the next synced append. For meter readings.
    Buffered,
}

/// What is appended to one site's journal, as a whole or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Their sequence numbers continue the journal without a gap. Empty only where ended sessions are restored.
    pub entries: Vec<Recorded>,
    /// Sessions that these entries end, for the list of ended sessions, which can be made again from the journal.
    pub ended_sessions: Vec<Session>,
    pub durability: Durability,
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another owner wrote to this journal: step down.
    #[error("the journal of {key} is at entry {found}, not at {expected}: another process owns it")]
    Conflict { key: SiteKey, expected: u64, found: u64 },
    /// Nothing of the batch may be acknowledged; it may or may not be there after a restart.
    #[error("the store could not write: {0}")]
    Write(String),
    #[error("the store could not read: {0}")]
    Read(String),
    /// What is stored fails its checksum or cannot be understood.
    #[error("{what} is damaged: {why}")]
    Damaged { what: String, why: String },
}

/// Journals, snapshots and ended sessions. Tenant first in every key.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Appends if the journal's last sequence is the one before the batch's first, else [`StoreError::Conflict`].
    async fn append(&self, key: &SiteKey, batch: Batch) -> Result<(), StoreError>;

    /// At most `most` entries after `after`, in order. Empty at the end.
    async fn read(&self, key: &SiteKey, after: u64, most: usize) -> Result<Vec<Recorded>, StoreError>;

    /// Every site with a journal.
    async fn sites(&self) -> Result<Vec<SiteKey>, StoreError>;

    async fn save_snapshot(&self, key: &SiteKey, image: SiteImage) -> Result<(), StoreError>;

    /// The newest snapshot that can be read; `None` if there is none, or it is damaged: the journal has everything.
    async fn load_snapshot(&self, key: &SiteKey) -> Result<Option<SiteImage>, StoreError>;

    async fn ended_session(&self, key: &SiteKey, session: &SessionId) -> Result<Option<Session>, StoreError>;

    /// At most `most` ended sessions with an id after `after`, by id.
    async fn ended_sessions(
        &self,
        key: &SiteKey,
        after: Option<&SessionId>,
        most: usize,
    ) -> Result<Vec<Session>, StoreError>;
}

/// A command with all that a gateway needs to apply it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingCommand {
    pub key: SiteKey,
    pub gateway: GatewayId,
    pub command: ProfileCommand,
    pub ocpi: Option<OcpiSession>,
    /// The connector's least rate above zero.
    pub minimum: Rate,
    /// It allows less than its EVSE may be drawing: it waits for nothing that only raises.
    pub lowers: bool,
}

/// The way out to charging stations.
pub trait Gateway: Send + Sync + 'static {
    /// Hands over a command that is already in the journal. Never blocks and never fails: what cannot be delivered is dropped, and
    /// issued again after the gateway's next hello. Per EVSE the newest command replaces one that still waits, and what lowers goes
    /// before what does not.
    fn send(&self, command: OutgoingCommand);
}

/// The only clock.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time; may step, also backwards. The engine never lets a journal run backwards.
    fn now(&self) -> Instant;

    /// Returns once [`Clock::now`] is at or after `instant`.
    async fn sleep_until(&self, instant: Instant);
}
