//! Why so much is reserved for an EVSE: its record, explained.
//!
//! Decides nothing. Each reason is found by the predicates by which the rule itself counts, in the rule's order, so that what an
//! operator reads is why the rule holds room, and not a second guess.

use super::{Entry, MayFollow, Terms, Trust};
use crate::domain::conversion::Load;
use crate::domain::ids::{EvseId, SessionId};
use crate::domain::profile::{Attempt, Cause, Revision};
use crate::domain::session::MeterSample;
use crate::rollout::Ledger;
use crate::rollout::entry::Reply;
use crate::rollout::ledger::Link;
use crate::units::{Instant, Watts};

/// What is known of one EVSE at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvseStatus {
    pub evse: EvseId,
    /// Index of the place under which it counts.
    pub place: usize,
    /// False once the site no longer has it, while something is still held for it.
    pub in_site: bool,
    pub trust: Trust,
    /// The most that it may draw now: what everyone else leaves free.
    pub reserved: Load,
    /// What its latest profile allows now, or what it does without one.
    pub allowed: Load,
    /// Why more is reserved than is allowed; none where it is not.
    pub reasons: Vec<Reason>,
    /// Ascending.
    pub revisions: Vec<RevisionStatus>,
}

/// Why room is reserved beyond what the latest profile allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No profile can be sent to it, so its maximum counts.
    NotControllable,
    /// It drew more than it can have been told, so its maximum counts until it is seen obeying.
    Disobeys,
    /// What it does without a profile always counts.
    Default,
    /// Nobody knows what it was told; until then it may do anything.
    UnknownUntil(Instant),
    /// What was sent before this ledger began may have a tail at its minimum.
    TailInDoubt,
    /// It may be following this revision.
    Revision(Revision, Hold),
}

/// Why a revision still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The latest, and the station said that it follows it.
    InForce,
    /// The latest, and the station has not said what became of it.
    Unanswered,
    /// The station refused it; a car that followed it has until then to follow another.
    RefusedUntil(Instant),
    /// Nothing newer was accepted: this one is waited for.
    NewerUnanswered(Revision),
    /// A newer one was accepted; the car has until then to follow it.
    SettlesAt(Instant),
    /// A transmission of it may take effect after the newer one did.
    MayComeLate,
    /// A newer one is surely in force, but no meter has shown yet that it is kept; until its lease ends at the latest, and then its tail.
    WaitsForMeter,
    /// A newer one is surely in force, but unmetered answers are not believed here; until its lease ends, and then its tail.
    WaitsForLease,
    /// Its lease is over, and its tail counts until it was surely left for a newer one.
    Tail,
}

/// One revision that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionStatus {
    pub revision: Revision,
    pub session: SessionId,
    pub cause: Cause,
    /// `None` for an instruction to clear, which has none.
    pub lease_end: Option<Instant>,
    /// The most it can make the EVSE draw now, by whatever clock.
    pub load: Load,
    /// Why it counts; `None` if it does not any more.
    pub hold: Option<Hold>,
    pub attempts: Vec<AttemptStatus>,
}

/// One transmission of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptStatus {
    /// 0 stands for some that are not told apart any more.
    pub attempt: Attempt,
    pub sent_at: Instant,
    pub answer: AttemptAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptAnswer {
    None,
    /// Passed on: says nothing about the effect.
    Forwarded,
    Accepted,
    Rejected,
    /// Both accepted and rejected.
    Contradicted,
}

impl EvseStatus {
    /// Power that is reserved and that the latest profile does not allow.
    pub fn unused(&self) -> Watts {
        (self.reserved.total - self.allowed.total).or_zero()
    }

    /// Transmissions that still count and have no definite answer.
    pub fn open_attempts(&self) -> usize {
        let counting = self.revisions.iter().filter(|revision| revision.hold.is_some());
        let is_open =
            |attempt: &&AttemptStatus| !matches!(attempt.answer, AttemptAnswer::Accepted | AttemptAnswer::Rejected);
        let open = counting.map(|revision| revision.attempts.iter().filter(is_open).count());
        open.sum()
    }
}

impl Ledger {
    /// What is known of each EVSE that the site has, or for which something is still held.
    pub fn statuses(&self, now: Instant) -> impl Iterator<Item = EvseStatus> + '_ {
        let kept = |record: &&MayFollow| record.in_site || record.is_reserved();
        let records = self.records().iter().filter(kept);
        records.map(move |record| record.status(self.terms(), now))
    }

    /// What the newest command lets the car of `session` draw at `now`, whatever became of it: the default where none was sent. `None`
    /// where no profile can be sent.
    pub fn told_now(&self, evse: &EvseId, session: &SessionId, now: Instant) -> Option<Load> {
        let record = self
            .record(evse)
            .filter(|record| record.in_site && record.evse.controllable)?;
        let newest = record.entries.last().filter(|entry| entry.command.session == *session);
        Some(newest.map_or_else(|| record.default_load(self.terms()), |entry| *entry.load.at(now)))
    }

    /// Whether the gateway has ever said hello.
    pub fn was_linked(&self) -> bool {
        self.link() != Link::Unheard
    }

    /// The reading that showed the EVSE disobeying, while it counts as that.
    pub fn disobeyed(&self, evse: &EvseId) -> Option<&MeterSample> {
        let record = self.record(evse).filter(|record| record.trust == Trust::Disobeys)?;
        record.disobeyed.as_ref().map(|(_, sample)| sample)
    }
}

impl MayFollow {
    fn status(&self, terms: &Terms, now: Instant) -> EvseStatus {
        let allowed = self.allowed(terms, now);
        EvseStatus {
            evse: self.evse.id.clone(),
            place: self.place,
            in_site: self.in_site,
            trust: self.trust,
            reserved: *self.worst().at(now),
            allowed,
            reasons: self.reasons(&allowed, terms, now),
            revisions: self
                .entries
                .iter()
                .map(|entry| self.revision(entry, terms, now))
                .collect(),
        }
    }

    /// As [`MayFollow::ceiling_now`], as a load.
    fn allowed(&self, terms: &Terms, now: Instant) -> Load {
        let newest = self.entries.iter().rev().find(|entry| !entry.is_rejected());
        let is_own = |entry: &&Entry| {
            let session = self.session.as_ref();
            session.is_none_or(|session| entry.command.session == *session)
        };
        let own = newest.filter(is_own);
        own.map_or_else(|| self.default_load(terms), |entry| *entry.load.at(now))
    }

    fn reasons(&self, allowed: &Load, terms: &Terms, now: Instant) -> Vec<Reason> {
        let is_more = |load: &Load| allowed.max(*load) != *allowed;
        if !is_more(self.worst().at(now)) {
            return Vec::new();
        }
        if self.in_site && !self.evse.controllable {
            return vec![Reason::NotControllable];
        }
        if self.trust == Trust::Disobeys {
            return vec![Reason::Disobeys];
        }
        let mut reasons = Vec::new();
        if let Some(until) = self.unknown_until.filter(|until| now < *until) {
            reasons.push(Reason::UnknownUntil(until));
        }
        if self.tail_in_doubt && terms.gateway_fences && is_more(&self.evse.minimum_load()) {
            reasons.push(Reason::TailInDoubt);
        }
        if is_more(&self.default_load(terms)) {
            reasons.push(Reason::Default);
        }
        for entry in self.entries.iter().filter(|entry| is_more(entry.load.at(now))) {
            let hold = self.hold(entry, terms, now);
            reasons.extend(hold.map(|hold| Reason::Revision(entry.command.revision, hold)));
        }
        reasons
    }

    fn revision(&self, entry: &Entry, terms: &Terms, now: Instant) -> RevisionStatus {
        let attempts = entry.transmissions.iter().map(|sent| AttemptStatus {
            attempt: sent.command.attempt,
            sent_at: sent.command.sent_at,
            answer: match sent.reply {
                Reply::Nothing => AttemptAnswer::None,
                Reply::Forwarded => AttemptAnswer::Forwarded,
                Reply::Accepted => AttemptAnswer::Accepted,
                Reply::Rejected { .. } => AttemptAnswer::Rejected,
                Reply::Contradicted => AttemptAnswer::Contradicted,
            },
        });
        RevisionStatus {
            revision: entry.command.revision,
            session: entry.command.session.clone(),
            cause: entry.command.cause,
            lease_end: entry.lease_end(),
            load: *entry.load.at(now),
            hold: self.hold(entry, terms, now),
            attempts: attempts.collect(),
        }
    }

    /// Why `entry` counts; `None` if it does not. See [`MayFollow::replaces`], whose steps these are.
    pub(super) fn hold(&self, entry: &Entry, terms: &Terms, now: Instant) -> Option<Hold> {
        let reach = terms.reach();
        if !self.counts(entry, terms, now) {
            return None;
        }
        if entry.is_rejected() {
            return Some(Hold::RefusedUntil(entry.refused_at(reach).unwrap_or(now)));
        }
        let over = entry.lease_is_over(reach, now);
        if over {
            return Some(Hold::Tail);
        }
        let newer = |other: &&Entry| other.command.revision > entry.command.revision && !other.is_rejected();
        let Some(newest) = self.entries.iter().rev().find(newer) else {
            return Some(if entry.is_accepted() {
                Hold::InForce
            } else {
                Hold::Unanswered
            });
        };
        let accepted: Vec<&Entry> = (self.entries.iter().filter(newer))
            .filter(|other| other.is_accepted())
            .collect();
        let settled = || accepted.iter().filter(|other| other.is_settled(reach, now));
        let first_settles = accepted.iter().filter_map(|other| other.settled_at(reach)).min();
        let Some(first_settles) = first_settles else {
            return Some(Hold::NewerUnanswered(newest.command.revision));
        };
        if settled().next().is_none() {
            return Some(Hold::SettlesAt(first_settles));
        }
        if !settled().any(|other| other.surely_replaced(entry, terms.gateway_fences)) {
            return Some(Hold::MayComeLate);
        }
        Some(if self.evse.metered {
            Hold::WaitsForMeter
        } else {
            Hold::WaitsForLease
        })
    }
}
