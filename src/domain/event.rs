//! What can happen at a site. The journal is a sequence of these, and a site's state is nothing but what they add up to.
//!
//! Decides the closed vocabulary between the outside and the engine. Records what was known when: needs, statements, answers.

use super::commissioning::EvseCheck;
use super::driver::Driver;
use super::ids::{EvseId, GatewayId, GridLimitId, RequestId, SessionId, TokenId};
use super::limits::GridLimit;
use super::overload::NodeReading;
use super::plan::NumberedPlan;
use super::profile::{Answer, Attempt, ProfileCommand, Revision};
use super::session::{MeterSample, Override, SessionSpec};
use super::site::SiteSpec;
use super::timeline::Timeline;
use crate::units::{Instant, MicrosPerKwh, Watts};

/// What a forecast is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForecastKind {
    /// Everything at the site that is not charging.
    BaseLoad,
    /// Production on the site.
    Solar,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The site was described, first or anew.
    SitePut(Box<SiteSpec>),
    SiteDeleted,
    /// All charging at the site was stopped by an operator, or allowed again.
    SiteStopped {
        stopped: bool,
    },
    GridLimitSet(GridLimit),
    GridLimitRemoved(GridLimitId),
    /// From the first instant on these replace the prices known before.
    PricesSet(Timeline<MicrosPerKwh>),
    ForecastSet {
        kind: ForecastKind,
        power: Timeline<Watts>,
    },
    SessionStarted(Box<SessionSpec>),
    SessionUpdated(Box<SessionSpec>),
    SessionOverridden {
        session: SessionId,
        overridden: Override,
    },
    /// What is known of a session's driver changed: his token's listing, or what its issuer answered.
    DriverKnown {
        session: SessionId,
        driver: Driver,
    },
    SessionEnded {
        session: SessionId,
        at: Instant,
        reason: String,
    },
    Metered(Vec<MeterSample>),
    /// What meters at nodes of the supply read. None of it makes room; see [`crate::domain::overload`].
    NodesMetered(Vec<NodeReading>),
    PlanMade(Box<NumberedPlan>),
    /// Recorded before they are sent.
    CommandsIssued(Vec<ProfileCommand>),
    CommandAnswered {
        evse: EvseId,
        revision: Revision,
        attempt: Attempt,
        answer: Answer,
    },
    /// A gateway said which of our profiles an EVSE follows; `None` is none of them.
    ActiveProfileReported {
        evse: EvseId,
        revision: Option<Revision>,
    },
    /// A gateway said that this command of ours is still under way to the station: nobody knows yet whether it will be followed.
    CommandOnItsWay {
        evse: EvseId,
        revision: Revision,
    },
    /// An operator wants an EVSE checked, or no longer.
    EvseCheckAsked {
        evse: EvseId,
        wanted: bool,
    },
    /// A check of an EVSE went on: all that is known of it.
    EvseCheckWentOn(Box<EvseCheck>),
    GatewayConnected {
        gateway: GatewayId,
        fences: bool,
    },
    GatewayDisconnected {
        gateway: GatewayId,
    },
    /// The journal up to here was restored from an export. What was recorded after the export is not in it, commands too: what
    /// EVSEs follow is unknown from the next start on.
    JournalRestored,
}

/// Names the call that caused an event, so that a repeat of it gets the same answer and does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestStamp {
    pub id: RequestId,
    /// Hash of the method and body: the same id with another body is a mistake.
    pub body_hash: [u8; 32],
    /// The token it was made with, where it was one.
    pub by: Option<TokenId>,
}

/// What a caller is told when a change was made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Place of the last event of the call in the site's journal.
    pub sequence: u64,
    pub recorded_at: Instant,
    /// What was accepted but deserves attention.
    pub warnings: Vec<String>,
}

/// An entry of a site's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// 1 for the first entry of a site, then without gaps.
    pub sequence: u64,
    /// The site's clock; never runs backwards within a journal.
    pub at: Instant,
    pub event: Event,
    /// The call that caused it, with the warnings it was answered with.
    pub request: Option<(RequestStamp, Vec<String>)>,
}
