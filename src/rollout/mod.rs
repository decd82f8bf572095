//! The roll-out: what each EVSE may be following, and what may be sent next.
//!
//! Decides which commands go out so that, whatever the network, the gateways and the stations do with them, no place of the site
//! carries more through our doing than is available there ([`invariants`], INV-1). It never decides who should get power, never
//! looks at a clock, and no measured draw ever makes room: a ceiling is a promise that is kept by the ceiling alone.
//!
//! # How it is used
//! The engine tells the [`Ledger`] everything that happens, in the order of its journal, and asks [`step`] what to send. Commands
//! become durable, then [`Ledger::issued`], then they leave. A ledger told the same is the same, so a restart is a replay.
//!
//! # The rule
//! What an EVSE may draw at an instant is the most of its *default* (what it does without a profile of ours: always counted, the
//! maximum where nobody knows it) and of every revision whose effect cannot be excluded, each at its highest within the clocks' skew.
//! A revision is excluded, and only then:
//! 1. *Refused*: every transmission of it was refused. One accepted or unanswered transmission keeps it. Having passed it on is no
//!    answer, and no waiting is one either. A gateway that fences also refuses what it has applied and a newer one has replaced since:
//!    there the car has the settling time to follow.
//! 2. *Over*: its lease has run out by every clock, and its tail, which holds for ever, is no more than the default.
//! 3. *Surely replaced*: a newer one was accepted, and must have come after it. Either the gateway refuses older revisions, even
//!    after a restart, and all was sent through it; or every transmission of the older one had its definite answer before the
//!    accepted one was sent: two answers say nothing about the order of two effects. Since the last acceptance the car had the
//!    settling time to follow, and besides a meter showed the new ceiling kept, for the settling time, where the older one surely
//!    allowed more or surely less than what was drawn; where no meter is, the site has chosen to believe answers.
//!
//! That another session runs by now frees nothing: a late profile for the one before may reach it. From when the other is known, it
//! counts as any car's; that a car has come which draws on other lines is the world's doing, like a limit that falls.
//!
//! Answers that contradict each other, a revision that we never sent, a lost store: nobody knows, so anything may be drawn, for one
//! lease. An EVSE that draws more than it can have been told is reserved at its maximum until it is seen obeying. What was refused and
//! then accepted counts again, and its room may be another's by then. None of these is a reason to tell it more.
//!
//! A decrease always goes, at once. An increase goes as far as it fits beside the worst case of all others, eroded by the skew; what
//! does not fit yet is raised by a later step, once an answer or the time has made room.
//!
//! While a limit is broken somewhere, through no act of ours, nobody there is told more than the least that he may be following of ours
//! by now: to tell him once more what he *may* follow would not raise the worst case, but perhaps what is drawn. So there nothing
//! that was not accepted is repeated either, unless it lowers.
//!
//! A tail above the default is given only where the gateway fences, and a meter or the site's belief can show that it was left.
//! Elsewhere one lost transmission, or every change of mind, would hold its room for ever.
//!
//! The rule assumes one thing of the way out: unless the gateway fences, one transmission takes effect at most once, as with a
//! request over HTTP that is not repeated below us. Our own repetitions are transmissions of their own.
//!
//! # Where it comes from
//! Updates that stay within capacity in every mix of old and new state: Hong et al., *Achieving high utilization with software-driven
//! WAN* (SWAN), SIGCOMM 2013. Fences: generation numbers as in oxidecomputer/omicron. Leases with a tail: EEBUS LPC's heartbeat and
//! failsafe limit. Each of the rules that look simpler was seen to overload a simulated site; the tests keep some of them
//! (`may_follow::WrongRule`) and must notice each.

mod entry;
mod evidence;
mod headroom;
mod history;
pub mod invariants;
mod ledger;
mod may_follow;
mod step;
mod sums;

pub use ledger::{Ledger, UnknownCommand};
#[cfg(test)]
pub(crate) use may_follow::WrongRule;
pub use may_follow::{AttemptAnswer, AttemptStatus, EvseStatus, Hold, MAX_OPEN_ENTRIES, Reason, RevisionStatus};
pub use step::step;

use crate::domain::conversion::Rate;
use crate::domain::ids::{ConnectorId, EvseId, SessionId};
use crate::domain::limits::Capacity;
use crate::domain::plan::Note;
use crate::domain::profile::ProfileCommand;
use crate::domain::site::Site;
use crate::domain::timeline::Timeline;
use crate::units::Instant;
use std::collections::BTreeSet;

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

/// What is wanted of an EVSE that has a session. Targets are given in order of priority: the first gets room first.
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
    /// In the order in which they are to be sent: what raises nothing first. Record them durably, then [`Ledger::issued`], then send.
    pub commands: Vec<ProfileCommand>,
    /// The EVSEs whose commands allow less than what may be drawn there now. On their way they wait for nothing that only raises.
    pub urgent: BTreeSet<EvseId>,
    /// [`Note::Withheld`] for each session that gets less than its plan for now.
    pub notes: Vec<Note>,
    /// Ask again no later than this, even if nothing happens. [`Instant::FAR_FUTURE`] if time alone changes nothing.
    pub wake_at: Instant,
}

#[cfg(test)]
mod tests;
