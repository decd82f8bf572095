//! One revision that was sent to an EVSE and may have effect there, with every transmission of it and what came back.
//!
//! Decides what answers mean: which transmissions are resolved, and in what order things must have happened. Knows one entry only;
//! what an entry means beside others is decided in [`super::may_follow`].

use super::evidence::Evidence;
use crate::domain::conversion::{Load, Rate};
use crate::domain::profile::{Answer, Attempt, Instruction, ProfileCommand};
use crate::domain::timeline::Timeline;
use crate::units::{Instant, Seconds};
#[cfg(test)]
use std::hash::{Hash, Hasher};

/// Position in the sequence of what the ledger was told. Finer than seconds, and the same whenever it is told the same.
pub(super) type Order = u64;

/// Stands for transmissions of entries that were merged. No answer names it, so it stays open.
const MERGED_ATTEMPT: Attempt = 0;
/// Transmissions of one revision that are told apart; the oldest of more become one that stays open.
const MAX_TRANSMISSIONS: usize = 16;

/// What came back for one transmission.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    Nothing,
    /// Says nothing about the effect, so it resolves nothing.
    Forwarded,
    Accepted,
    Rejected {
        reason: String,
    },
    /// Both accepted and rejected. Nobody knows what it did or will do.
    Contradicted,
}

impl Reply {
    /// What is known once `answer` came after this reply.
    fn then(&self, answer: &Answer) -> Self {
        match (self, answer) {
            (Self::Nothing | Self::Forwarded, Answer::Forwarded) => Self::Forwarded,
            (Self::Nothing | Self::Forwarded | Self::Accepted, Answer::Accepted) => Self::Accepted,
            (Self::Nothing | Self::Forwarded, Answer::Rejected { reason }) => Self::Rejected { reason: reason.clone() },
            (Self::Accepted, Answer::Rejected { .. }) | (Self::Rejected { .. }, Answer::Accepted) => Self::Contradicted,
            (known, _) => known.clone(),
        }
    }

    pub(super) fn is_rejection(&self) -> bool {
        matches!(self, Self::Rejected { .. })
    }
}

/// One attempt to bring a revision to a station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transmission {
    pub command: ProfileCommand,
    pub sent: Order,
    /// Whether the gateway refused older revisions durably when this was sent.
    pub fenced: bool,
    pub reply: Reply,
    pub replied: Order,
    pub replied_at: Instant,
    /// What had come back, and when, before an answer contradicted it.
    pub contradicted: Option<(Reply, Order, Instant)>,
}

impl Transmission {
    fn is_resolved(&self) -> bool {
        self.reply == Reply::Accepted || self.reply.is_rejection()
    }
}

/// What an answer means for what is known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learnt {
    Nothing,
    Accepted,
    /// An acceptance was taken back: nobody knows what the station follows.
    TakenBack,
}

/// What meter readings showed since the station said that it follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Obedience {
    /// The last reading above the ceiling since acceptance.
    last_above: Option<Instant>,
    /// One under the ceiling, long enough after that and the acceptance.
    kept: bool,
}

/// A revision and everything known about it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As it was first sent.
    pub command: ProfileCommand,
    /// The most it can make the EVSE draw at each instant, clocks being wrong by as much as they may.
    pub load: Timeline<Load>,
    /// On how many phases its session's car charges, as far as that was known when it was sent and still is.
    pub car_phases: Option<u8>,
    pub transmissions: Vec<Transmission>,
    /// When the station was seen following it: as good as an acceptance.
    pub seen_active: Option<(Order, Instant)>,
    accepted_at: Option<Instant>,
    obedience: Obedience,
    /// A meter showed a newer revision kept where this one allowed more.
    pub seen_left: bool,
    /// Where entries were merged: until all but one of them are over, no meter shows that none of them is followed.
    muddled_until: Instant,
}

impl Entry {
    pub fn new(command: &ProfileCommand, car_phases: Option<u8>, load: Timeline<Load>) -> Self {
        Self {
            command: command.clone(),
            load,
            car_phases,
            transmissions: Vec::new(),
            seen_active: None,
            accepted_at: None,
            obedience: Obedience::default(),
            seen_left: false,
            muddled_until: Instant::FAR_PAST,
        }
    }

    pub fn transmitted(&mut self, command: &ProfileCommand, fenced: bool, order: Order) {
        if self.transmission(command.attempt).is_some() {
            return;
        }
        self.transmissions.push(Transmission {
            command: command.clone(),
            sent: order,
            fenced,
            reply: Reply::Nothing,
            replied: order,
            replied_at: command.sent_at,
            contradicted: None,
        });
        if self.transmissions.len() > MAX_TRANSMISSIONS {
            self.transmissions.remove(0);
            self.leave_open();
        }
    }

    /// From here on it counts as if one more transmission had no answer and never will have one.
    fn leave_open(&mut self) {
        if let Some(oldest) = self.transmissions.first_mut() {
            oldest.command.attempt = MERGED_ATTEMPT;
            oldest.reply = Reply::Nothing;
            oldest.contradicted = None;
        }
    }

    pub fn transmission(&self, attempt: Attempt) -> Option<&Transmission> {
        self.transmissions.iter().find(|sent| sent.command.attempt == attempt)
    }

    pub fn last_attempt(&self) -> Attempt {
        self.transmissions
            .iter()
            .map(|sent| sent.command.attempt)
            .max()
            .unwrap_or_default()
    }

    pub fn last_transmission(&self) -> Option<&Transmission> {
        self.transmissions.iter().max_by_key(|sent| sent.sent)
    }

    pub fn answered(&mut self, attempt: Attempt, answer: &Answer, order: Order, now: Instant) -> Learnt {
        let Some(sent) = self
            .transmissions
            .iter_mut()
            .find(|sent| sent.command.attempt == attempt)
        else {
            return Learnt::Nothing;
        };
        let reply = sent.reply.then(answer);
        if reply == sent.reply {
            return Learnt::Nothing;
        }
        let was_accepted = sent.reply == Reply::Accepted;
        let is_accepted = reply == Reply::Accepted;
        let before = std::mem::replace(&mut sent.reply, reply);
        if sent.reply == Reply::Contradicted {
            sent.contradicted = Some((before, sent.replied, sent.replied_at));
        }
        sent.replied = order;
        sent.replied_at = now;
        if is_accepted {
            // Whatever an earlier acceptance showed: the station may have followed another since, and turn from it only now.
            self.accepted_at = Some(now);
            self.obedience = Obedience::default();
            return Learnt::Accepted;
        }
        if !self.is_accepted() {
            self.accepted_at = None;
            self.obedience = Obedience::default();
        }
        if was_accepted {
            Learnt::TakenBack
        } else {
            Learnt::Nothing
        }
    }

    pub fn reported_active(&mut self, order: Order, now: Instant) {
        self.seen_active.get_or_insert((order, now));
        self.accepted_at.get_or_insert(now);
    }

    /// The station said that it follows it.
    pub fn is_accepted(&self) -> bool {
        self.seen_active.is_some() || self.transmissions.iter().any(|sent| sent.reply == Reply::Accepted)
    }

    /// The station refused every transmission, so none will have effect.
    pub fn is_rejected(&self) -> bool {
        self.seen_active.is_none() && self.transmissions.iter().all(|sent| sent.reply.is_rejection())
    }

    /// When it is no longer followed since every transmission was refused; `None` while one was not.
    ///
    /// A command comes several times where the gateway fences. Then a refusal of one may say that a newer revision has replaced what
    /// another had brought just before, and the car needs its time.
    pub fn refused_at(&self, settling: Seconds) -> Option<Instant> {
        let replied = self.transmissions.iter().map(|sent| {
            let settling = if sent.fenced { settling } else { Seconds::ZERO };
            sent.replied_at + settling
        });
        self.is_rejected().then(|| replied.max().unwrap_or(Instant::FAR_PAST))
    }

    /// The station refused every transmission, and no car still follows what one of them may have brought.
    pub fn is_refused(&self, settling: Seconds, now: Instant) -> bool {
        self.refused_at(settling).is_some_and(|refused| refused <= now)
    }

    /// What the station said of it does not agree. Room that a refusal freed may have been given away since: that it counts again is no
    /// reason to send it, or as much, once more.
    pub fn is_contradicted(&self) -> bool {
        let mut replies = self.transmissions.iter().map(|sent| &sent.reply);
        if self.seen_active.is_some() && replies.clone().all(Reply::is_rejection) {
            return true;
        }
        replies.any(|reply| *reply == Reply::Contradicted)
    }

    /// No answer that says anything about the effect.
    pub fn is_unanswered(&self) -> bool {
        !self.is_accepted() && !self.is_rejected()
    }

    pub fn open_attempts(&self) -> usize {
        self.transmissions.iter().filter(|sent| !sent.is_resolved()).count()
    }

    /// Since when every transmission has a definite answer, so that none of them can take effect any more.
    fn resolved(&self) -> Option<Order> {
        let resolved = self.transmissions.iter().all(Transmission::is_resolved);
        resolved.then(|| {
            self.transmissions
                .iter()
                .map(|sent| sent.replied)
                .max()
                .unwrap_or_default()
        })
    }

    /// True if this revision, which the station has said it follows, must have come after every effect of `older`: either the
    /// gateway refuses older revisions, or the last of `older` was over before the accepted transmission of this one began.
    pub fn surely_replaced(&self, older: &Self, gateway_fences: bool) -> bool {
        let mut accepted = self.transmissions.iter().filter(|sent| sent.reply == Reply::Accepted);
        let fenced = gateway_fences
            && older.transmissions.iter().all(|sent| sent.fenced)
            && self.transmissions.iter().all(|sent| sent.fenced)
            && self.is_accepted();
        let sent_after = |resolved: Order| {
            let seen = self.seen_active.and(self.transmissions.first());
            accepted.any(|sent| sent.sent > resolved) || seen.is_some_and(|first| first.sent > resolved)
        };
        fenced || older.resolved().is_some_and(sent_after)
    }

    /// From when on only its tail holds; `None` if that never comes, as after a clear.
    pub fn lease_end(&self) -> Option<Instant> {
        match &self.command.instruction {
            Instruction::Set(profile) => Some(profile.lease_end()),
            Instruction::Clear => None,
        }
    }

    /// When it ends without anything else being sent, by the station's clock.
    fn over_by_itself(&self) -> Instant {
        match &self.command.instruction {
            Instruction::Set(profile) if profile.tail() == Rate::ZERO => profile.lease_end(),
            _ => Instant::FAR_FUTURE,
        }
    }

    /// Whether it stands for one revision, as far as a meter can show at `at`.
    pub fn is_plain(&self, at: Instant, skew: Seconds) -> bool {
        self.muddled_until + skew < at
    }

    /// Whether its lease has run out, by whatever clock.
    pub fn lease_is_over(&self, skew: Seconds, now: Instant) -> bool {
        self.lease_end().is_some_and(|end| end + skew < now)
    }

    /// When time alone next changes what it means: its lease is over, or its acceptance or refusal settled.
    pub fn next_change(&self, skew: Seconds, now: Instant) -> Option<Instant> {
        let over = self.lease_end().map(|end| end + skew + Seconds::from_secs(1));
        let settled = self.accepted_at.map(|accepted| accepted + skew);
        let refused = self.refused_at(skew);
        over.into_iter()
            .chain(settled)
            .chain(refused)
            .filter(|change| *change > now)
            .min()
    }

    /// True once a car had the time to follow after the station said that it does.
    pub fn is_settled(&self, settling: Seconds, now: Instant) -> bool {
        self.settled_at(settling).is_some_and(|settled| settled <= now)
    }

    /// From when on a car had that time; `None` while the station has not said that it follows.
    pub fn settled_at(&self, settling: Seconds) -> Option<Instant> {
        self.accepted_at.map(|accepted| accepted + settling)
    }

    /// A meter was read. True if it shows the ceiling kept, long enough after the car could still be following another.
    pub fn metered(&mut self, at: Instant, evidence: Evidence, settling: Seconds) -> bool {
        let Some(accepted_at) = self.accepted_at.filter(|accepted| *accepted <= at) else {
            return false;
        };
        match evidence {
            Evidence::Above => self.obedience.last_above = Some(at),
            Evidence::Under => {
                let quiet_since = self
                    .obedience
                    .last_above
                    .map_or(accepted_at, |last| last.max(accepted_at));
                self.obedience.kept |= at - quiet_since >= settling;
                return at - quiet_since >= settling;
            }
            Evidence::Silent => {}
        }
        false
    }

    /// Whether a meter has shown the ceiling kept since it was accepted.
    pub fn is_kept(&self) -> bool {
        self.obedience.kept
    }

    /// Takes `older` in: from here on this entry stands for both, worst case in everything. `command` covers the instructions of
    /// both, `load` what they may draw.
    pub fn absorb(&mut self, older: &Self, command: ProfileCommand, load: Timeline<Load>) {
        if self.command.instruction != older.command.instruction {
            let one_is_over = self.over_by_itself().min(older.over_by_itself());
            self.muddled_until = self.muddled_until.max(older.muddled_until).max(one_is_over);
        }
        self.command = command;
        self.load = load;
        // Obedience to both at once cannot be told by a meter.
        self.accepted_at = None;
        self.obedience = Obedience::default();
        self.seen_left = false;
        let fenced = older.transmissions.iter().all(|sent| sent.fenced);
        for sent in &mut self.transmissions {
            sent.fenced &= fenced;
        }
        match (older.resolved(), older.transmissions.first()) {
            (Some(resolved), _) => {
                let replied_at = older.transmissions.iter().map(|sent| sent.replied_at).max();
                for sent in &mut self.transmissions {
                    sent.replied = sent.replied.max(resolved);
                    sent.replied_at = sent.replied_at.max(replied_at.unwrap_or(sent.replied_at));
                }
            }
            (None, Some(first)) => {
                self.transmissions.insert(0, first.clone());
                self.leave_open();
                if self.transmissions.len() > MAX_TRANSMISSIONS {
                    self.transmissions.remove(1);
                }
            }
            (None, None) => {}
        }
    }

    /// Every place in the sequence of events that is remembered of it.
    #[cfg(test)]
    pub fn orders(&self) -> impl Iterator<Item = Order> + '_ {
        let sent = self.transmissions.iter().flat_map(|sent| {
            let contradicted = sent.contradicted.as_ref().map(|(_, order, _)| *order);
            [sent.sent, sent.replied].into_iter().chain(contradicted)
        });
        sent.chain(self.seen_active.map(|(order, _)| order))
    }

    /// Feeds `hasher` with all that it knows, `rank` standing for the order of events.
    #[cfg(test)]
    pub fn digest(&self, rank: impl Fn(Order) -> usize, hasher: &mut impl Hasher) {
        self.command.hash(hasher);
        self.load.hash(hasher);
        self.car_phases.hash(hasher);
        for sent in &self.transmissions {
            (sent.command.attempt, sent.command.sent_at, rank(sent.sent), sent.fenced).hash(hasher);
            (&sent.reply, rank(sent.replied), sent.replied_at).hash(hasher);
            let contradicted = sent.contradicted.as_ref();
            contradicted
                .map(|(reply, order, at)| (reply, rank(*order), at))
                .hash(hasher);
        }
        self.seen_active.map(|(order, at)| (rank(order), at)).hash(hasher);
        (self.accepted_at, self.obedience, self.seen_left, self.muddled_until).hash(hasher);
    }
}
