//! The roll-out: what each EVSE may be following, and what may be sent next.
//!
//! Signatures (the bodies follow; callers may be written against these):
//!
//! ```text
//! impl Ledger {
//!     pub fn new(site: &Site) -> Self;
//!     pub fn unknown(site: &Site, now: Instant) -> Self;          // after a lost or damaged store
//!     pub fn site_changed(&mut self, site: &Site, now: Instant);
//!     pub fn issued(&mut self, command: &ProfileCommand);         // after it is durable, before it is sent
//!     pub fn answered(&mut self, evse: &EvseId, revision: Revision, attempt: Attempt, answer: &Answer, now: Instant)
//!         -> Result<(), UnknownCommand>;                          // Err: never sent; nothing changed
//!     pub fn was_sent(&self, evse: &EvseId, revision: Revision, attempt: Attempt) -> Result<(), UnknownCommand>;
//!     pub fn active_reported(&mut self, evse: &EvseId, revision: Option<Revision>, now: Instant);
//!     pub fn metered(&mut self, sample: &MeterSample, now: Instant);
//!     pub fn gateway_connected(&mut self, fences: bool, now: Instant);
//!     pub fn gateway_disconnected(&mut self, now: Instant);       // nothing is sent until the next gateway_connected
//!     pub fn session_started(&mut self, evse: &EvseId, session: &SessionId, now: Instant);
//!     pub fn session_ended(&mut self, evse: &EvseId, session: &SessionId, now: Instant);
//!     pub fn forget_expired(&mut self, now: Instant);             // call before every step
//!
//!     pub fn worst_cases(&self, now: Instant) -> Vec<Timeline<Load>>;      // one per place of the site
//!     pub fn worst_case(&self, place: usize, now: Instant) -> Timeline<Load>;
//!     /// What the snapshot deducts, over time, for an EVSE that carries no session of the planner's.
//!     pub fn held(&self, evse: &EvseId, now: Instant) -> Timeline<Load>;
//!     pub fn ceiling_now(&self, evse: &EvseId, now: Instant) -> Rate;      // of the latest profile of the running session, else the default
//!     pub fn last_revision(&self, evse: &EvseId) -> Revision;
//!     pub fn trust(&self, evse: &EvseId) -> Trust;
//!     pub fn open_attempts(&self, evse: &EvseId) -> usize;
//!     /// The shortest list of events that rebuilds this ledger on `Ledger::new(site)`, for compaction of the journal. `None` while an
//!     /// EVSE that is no longer part of the site holds a reservation: then keep the whole journal.
//!     pub fn history(&self) -> Option<Vec<(Instant, Event)>>;
//! }
//! pub fn step(ledger: &Ledger, room: &Room<'_>, now: Instant, targets: &[Target]) -> Decision;
//! ```

mod entry;
mod headroom;
mod history;
pub mod invariants;
mod ledger;
mod may_follow;
mod step;

pub use ledger::{Ledger, UnknownCommand};
pub use may_follow::MAX_OPEN_ENTRIES;
pub use step::step;

use crate::domain::conversion::Rate;
use crate::domain::ids::{ConnectorId, EvseId, SessionId};
use crate::domain::limits::Capacity;
use crate::domain::plan::Note;
use crate::domain::profile::ProfileCommand;
use crate::domain::site::Site;
use crate::domain::timeline::Timeline;
use crate::units::Instant;

/// How far the EVSE has been seen to follow what it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Nothing seen yet in this session.
    #[default]
    Unknown,
    /// Its draw stayed under the ceiling that it accepted.
    Obeys,
    /// It drew more than any ceiling it may follow. Reserved at its maximum until it is seen obeying.
    Disobeys,
}

/// What the site has for charging.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    pub site: &'a Site,
    /// One per place of the site: limit less base load less reserve, and *not* less any EVSE.
    pub available: &'a [Timeline<Capacity>],
}

/// What is wanted of an EVSE that has a session. In order of priority, the first gets room first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub evse: EvseId,
    pub session: SessionId,
    pub connector: ConnectorId,
    pub wish: Wish,
}

/// What a session is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Follow the plan. `rates` are those of the plan in force; the roll-out cuts them to the lease.
    Follow { rates: Timeline<Rate>, tail: TailWish },
    /// The station decides: remove our profile. From the moment that this is wanted, snapshots deduct the EVSE's maximum, so that
    /// others make room; the command goes out once the maximum fits.
    HandBack,
}

/// What a session is to have when its lease runs out without a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TailWish {
    Zero,
    /// The connector's minimum, while that fits: for sessions with a guarantee or that may not be interrupted.
    Minimum,
}

/// What is to be sent now, and when to ask again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// In the order in which they are to be sent: what lowers first. Record them durably, then `Ledger::issued`, then send.
    pub commands: Vec<ProfileCommand>,
    /// [`Note::Withheld`] for each session that gets less than its plan for now.
    pub notes: Vec<Note>,
    /// Ask again no later than this, even if nothing happens. [`Instant::FAR_FUTURE`] if time alone changes nothing.
    pub wake_at: Instant,
}

#[cfg(test)]
mod tests;
