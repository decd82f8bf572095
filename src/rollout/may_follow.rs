//! What one EVSE may be following: its default, always, and every revision whose effect cannot be excluded.
//!
//! Decides when a revision stops counting. A measured draw never makes the worst case smaller than the ceilings; it only shows whether a
//! ceiling is kept.

mod explain;
mod obeying;

use super::Trust;
use super::entry::{Entry, Order};
use crate::domain::conversion::{Load, Rate};
use crate::domain::ids::{NodeId, SessionId};
use crate::domain::profile::{ChargingProfile, Instruction, ProfileCommand, Revision};
use crate::domain::session::MeterSample;
use crate::domain::site::{Connector, Evse};
use crate::domain::timeline::Timeline;
#[cfg(test)]
use crate::units::DeciAmps;
use crate::units::{Instant, Seconds};
pub use explain::{AttemptAnswer, AttemptStatus, EvseStatus, Hold, Reason, RevisionStatus};
use std::borrow::Cow;
#[cfg(test)]
use std::collections::BTreeSet;
#[cfg(test)]
use std::hash::{Hash, Hasher};

/// Revisions of one EVSE that are told apart. Beyond, the oldest two become one worst case, and nothing more may be raised there.
pub const MAX_OPEN_ENTRIES: usize = 8;

/// Beyond this the revisions of ours do not go on from what a station reports: numbers are not to run out.
const MAX_REVISION_AHEAD: u64 = 1 << 32;

/// What the site says about everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Clocks may be this wrong, and cars this slow.
    pub skew: Seconds,
    pub lease: Seconds,
    pub trust_unmetered: bool,
    /// Whether the gateway refuses revisions at or below one it has applied, even after a restart.
    pub gateway_fences: bool,
    #[cfg(test)]
    pub wrong: Option<WrongRule>,
}

/// Rules that look right and are not. Tests follow them to show that they would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) enum WrongRule {
    /// A plan fits, so it may be sent as it is.
    SendAll,
    /// The newest revision that was accepted counts, and the newest without an answer.
    NewestOfEach,
    /// Only the newest revision counts.
    OnlyTheNewest,
    /// Any acceptance of a newer revision frees the older ones.
    DropOnAnyAcceptance,
    /// What was answered first had its effect first.
    AnswersTellTheOrder,
    /// One rejected transmission means that the revision is not followed.
    RejectedRetryCancels,
    /// An acceptance for the next car frees whatever was sent for the one before.
    AnotherSessionFrees,
    /// A revision counts until its lease is over, whatever its tail.
    ForgetTails,
    /// An EVSE without a profile counts as nothing.
    IgnoreDefaults,
    /// An EVSE without a session counts as nothing but what it was sent.
    ForgetIdleDefaults,
    /// An EVSE of which nobody knows what it does without a profile does nothing.
    UnknownDefaultIsZero,
    /// All clocks are right, and cars follow at once.
    NoClockSkew,
    /// What a car does not draw is free for others.
    CreditTheMeteredDraw,
    /// A reading that is not above the new ceiling shows obedience, whatever the old one was.
    SilenceIsObedience,
    /// A lost store knows that nothing was sent.
    ForgetAmnesia,
    /// While a limit is broken it may be told anew whatever it may be following by now. No world shows it, since it needs a limit that is
    /// broken from outside; `tests::broken_limits` does.
    TellWhatMayBeFollowed,
}

impl WrongRule {
    /// Those that overload a site by our own doing.
    #[cfg(test)]
    pub const ALL: [Self; 15] = [
        Self::SendAll,
        Self::NewestOfEach,
        Self::OnlyTheNewest,
        Self::DropOnAnyAcceptance,
        Self::AnswersTellTheOrder,
        Self::RejectedRetryCancels,
        Self::AnotherSessionFrees,
        Self::ForgetTails,
        Self::IgnoreDefaults,
        Self::ForgetIdleDefaults,
        Self::UnknownDefaultIsZero,
        Self::NoClockSkew,
        Self::CreditTheMeteredDraw,
        Self::SilenceIsObedience,
        Self::ForgetAmnesia,
    ];
}

impl Terms {
    /// Always false outside the tests of this crate.
    pub fn break_rule(&self, rule: WrongRule) -> bool {
        #[cfg(test)]
        {
            self.wrong == Some(rule)
        }
        #[cfg(not(test))]
        {
            let _ = rule;
            false
        }
    }

    /// Always false outside the tests of this crate. A ledger that follows a wrong rule cannot judge what comes of it.
    pub fn breaks_any_rule(&self) -> bool {
        #[cfg(test)]
        {
            self.wrong.is_some()
        }
        #[cfg(not(test))]
        {
            false
        }
    }

    /// How far each revision's ceiling reaches beyond its instants.
    pub fn reach(&self) -> Seconds {
        if self.break_rule(WrongRule::NoClockSkew) {
            Seconds::ZERO
        } else {
            self.skew
        }
    }
}

/// One EVSE's part of the ledger.
#[derive(Clone, Debug)]
pub(super) struct MayFollow {
    pub evse: Evse,
    /// Index of its station's place, or of the nearest place above that is still there.
    pub place: usize,
    /// From its station up to the grid connection, to find a place should the site change.
    pub path: Vec<NodeId>,
    /// False once the site no longer has it. Then only its reservations are left.
    pub in_site: bool,
    /// By revision. The newest stays even when it no longer counts, for its number and its content.
    entries: Vec<Entry>,
    /// A revision beyond any of ours that a station was seen following.
    pub foreign_revision: Option<(Revision, Order, Instant)>,
    pub session: Option<SessionId>,
    /// The session whose car was described last, and on how many phases it charges.
    car: Option<(SessionId, Option<u8>)>,
    pub trust: Trust,
    /// The reading that showed it disobeying.
    pub disobeyed: Option<(Order, MeterSample)>,
    obeys_since: Option<Instant>,
    /// Until then it may follow anything.
    pub unknown_until: Option<Instant>,
    /// Nobody has said yet what it followed before this ledger began.
    pub unheard: bool,
    /// What it follows of those before may have a tail, of which only is known that it is no more than a minimum.
    pub tail_in_doubt: bool,
    /// Since the last command the station said that it follows no profile of ours.
    pub lost_profile: Option<(Order, Instant)>,
    /// The most that its default and what we sent can make it draw.
    told: Timeline<Load>,
    /// The same, or anything while nothing is known of it.
    possible: Timeline<Load>,
    /// What `possible` was until then, for readings that arrive late.
    earlier: Option<(Instant, Timeline<Load>)>,
    maximum: Timeline<Load>,
    /// What is in the site's sums for it: the worst case since it was counted last.
    summed: Timeline<Load>,
    /// When time alone next changes what counts.
    pub next_expiry: Option<Instant>,
    #[cfg(test)]
    last_drawn: Option<DeciAmps>,
}

impl MayFollow {
    pub fn new(evse: &Evse, place: usize, path: Vec<NodeId>, terms: &Terms) -> Self {
        let mut record = Self {
            evse: evse.clone(),
            place,
            path,
            in_site: true,
            entries: Vec::new(),
            foreign_revision: None,
            session: None,
            car: None,
            trust: Trust::Unknown,
            disobeyed: None,
            obeys_since: None,
            unknown_until: None,
            unheard: false,
            tail_in_doubt: false,
            lost_profile: None,
            told: Timeline::constant(Load::ZERO),
            possible: Timeline::constant(Load::ZERO),
            earlier: None,
            maximum: Timeline::constant(evse.maximum_load()),
            summed: Timeline::constant(Load::ZERO),
            next_expiry: None,
            #[cfg(test)]
            last_drawn: None,
        };
        record.recount(terms, Instant::FAR_PAST);
        record
    }

    /// The site describes it anew. What was sent stays, counted by the new description.
    pub fn described(&mut self, evse: &Evse, place: usize, path: Vec<NodeId>, terms: &Terms, now: Instant) {
        self.evse = evse.clone();
        self.place = place;
        self.path = path;
        self.in_site = true;
        self.maximum = Timeline::constant(evse.maximum_load());
        for index in 0..self.entries.len() {
            self.count_anew(index, terms);
        }
        self.recount(terms, now);
    }

    /// The site no longer has it, so nobody will see whether it obeys again: it may do anything for one lease more.
    pub fn left_site(&mut self, terms: &Terms, now: Instant) {
        if std::mem::take(&mut self.trust) == Trust::Disobeys {
            self.unknown_until = Some(now + terms.lease + terms.skew);
            self.disobeyed = None;
            self.obeys_since = None;
        }
    }

    fn count_anew(&mut self, index: usize, terms: &Terms) {
        let entry = &self.entries[index];
        self.entries[index].load = self.load_of(&entry.command, entry.car_phases, terms);
    }

    /// Another gateway serves the site: it knows nothing of what went through the old one, and refuses none of it.
    pub fn no_longer_fenced(&mut self) {
        let sent = self.entries.iter_mut().flat_map(|entry| &mut entry.transmissions);
        sent.for_each(|sent| sent.fenced = false);
    }

    /// On how many phases the car of `session` charges, as far as that is known.
    pub fn car_phases(&self, session: &SessionId) -> Option<u8> {
        let (of, phases) = self.car.as_ref()?;
        if of == session { *phases } else { None }
    }

    /// It was said on how many phases the car of `session` charges. What was sent before counts as this car's only where that is
    /// worse: it holds for what is sent from here on.
    pub fn car_described(&mut self, session: &SessionId, phases: Option<u8>, terms: &Terms) {
        self.car = Some((session.clone(), phases));
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            if entry.command.session == *session && entry.car_phases != phases {
                entry.car_phases = None;
                self.count_anew(index, terms);
            }
        }
    }

    /// Another car is there: what was sent for those before it may reach this one, whatever it is.
    pub fn session_started(&mut self, session: &SessionId, terms: &Terms) {
        self.session = Some(session.clone());
        if self.trust == Trust::Obeys {
            self.trust = Trust::Unknown;
        }
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            if entry.command.session != *session && entry.car_phases.take().is_some() {
                self.count_anew(index, terms);
            }
        }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The most that `command` can make a car of so many phases draw over time: anything, where the site no longer has its connector or
    /// counts its rates in another unit.
    pub fn load_of(&self, command: &ProfileCommand, car_phases: Option<u8>, terms: &Terms) -> Timeline<Load> {
        let connector = self.evse.connector(&command.connector);
        match (&command.instruction, connector.map(Connector::conversion)) {
            (Instruction::Set(profile), Some(conversion)) if profile.unit == conversion.unit => {
                let conversion = conversion.for_car(car_phases);
                profile.limits().widen(terms.reach()).map(|rate| conversion.load(*rate))
            }
            _ => Timeline::constant(self.evse.maximum_load()),
        }
    }

    /// What it draws without a profile of ours.
    fn default_load(&self, terms: &Terms) -> Load {
        let is_forgotten = terms.break_rule(WrongRule::IgnoreDefaults)
            || (terms.break_rule(WrongRule::ForgetIdleDefaults) && self.session.is_none())
            || (terms.break_rule(WrongRule::UnknownDefaultIsZero) && self.evse.connectors[0].default.is_none());
        if !self.in_site || is_forgotten {
            return Load::ZERO;
        }
        self.evse.default_load()
    }

    /// The most it may draw at each instant: what everyone else has to leave free.
    pub fn worst(&self) -> &Timeline<Load> {
        let reserved_at_maximum = self.trust == Trust::Disobeys || (self.in_site && !self.evse.controllable);
        if reserved_at_maximum {
            &self.maximum
        } else {
            &self.possible
        }
    }

    pub fn summed(&self) -> &Timeline<Load> {
        &self.summed
    }

    /// From here on the worst case from `now` on is in the sums; returns what was.
    pub fn take_summed(&mut self, now: Instant) -> Timeline<Load> {
        let summed = self.worst().since(now);
        std::mem::replace(&mut self.summed, summed)
    }

    /// The part of it that is our doing towards `session`: not that the EVSE may do anything, nor that it may follow what another car was
    /// told or what it has refused.
    pub fn told(&self, session: &SessionId, terms: &Terms, now: Instant) -> Cow<'_, Timeline<Load>> {
        let is_own = |entry: &Entry| entry.command.session == *session && !entry.is_contradicted();
        if self.entries.iter().all(is_own) {
            return Cow::Borrowed(&self.told);
        }
        Cow::Owned(self.sum_up(terms, now, is_own))
    }

    /// The least that it may be following by now of what `session` was told: only this may be sent again beside others that may take too
    /// much already. What came after the newest revision that it surely took may have been lost, and without such a one it may do
    /// what it does by default.
    pub fn follows_at_least(&self, session: &SessionId, terms: &Terms, now: Instant) -> Timeline<Load> {
        if terms.break_rule(WrongRule::TellWhatMayBeFollowed) {
            return self.told(session, terms, now).into_owned();
        }
        let default = self.default_load(terms);
        let mut least: Option<Timeline<Load>> = None;
        for entry in self.entries.iter().rev().filter(|entry| !entry.is_rejected()) {
            if entry.command.session != *session || self.lost_profile.is_some() || !self.counts(entry, terms, now) {
                break;
            }
            let below = least.as_ref().map(|least| least.zip(&entry.load, |a, b| a.min(*b)));
            let below = below.unwrap_or_else(|| entry.load.clone());
            if entry.is_accepted() && !entry.is_contradicted() {
                return below.map(|load| load.max(default));
            }
            least = Some(below);
        }
        Timeline::constant(default)
    }

    /// True if anything has to be left free for it at some time.
    pub fn is_reserved(&self) -> bool {
        self.worst().points().iter().any(|(_, load)| *load != Load::ZERO)
    }

    /// The revision after which ours begin.
    pub fn revision_before(&self) -> Revision {
        self.foreign_revision
            .map_or(Revision::NONE, |(revision, _, _)| revision)
    }

    /// A station or its gateway has a revision that is not of ours.
    pub fn goes_on_from(&mut self, revision: Revision, order: Order, now: Instant) {
        let last = self.last_revision();
        if revision > last && revision.number() - last.number() <= MAX_REVISION_AHEAD {
            self.foreign_revision = Some((revision, order, now));
        }
    }

    pub fn last_revision(&self) -> Revision {
        self.entries
            .last()
            .map_or(Revision::NONE, |newest| newest.command.revision)
            .max(self.revision_before())
    }

    pub fn entry_mut(&mut self, revision: Revision) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.command.revision == revision)
    }

    /// The station said anew that it follows `revision`: what a meter showed before tells nothing of what that replaced.
    pub fn accepted_anew(&mut self, revision: Revision) {
        let older = (self.entries.iter_mut()).filter(|entry| entry.command.revision < revision);
        older.for_each(|entry| entry.seen_left = false);
    }

    pub fn insert(&mut self, entry: Entry) {
        let index = self
            .entries
            .partition_point(|other| other.command.revision < entry.command.revision);
        self.entries.insert(index, entry);
    }

    /// The newest revision that was not refused, if it is for `session`.
    pub fn current(&self, session: &SessionId) -> Option<&Entry> {
        let newest = self.entries.iter().rev().find(|entry| !entry.is_rejected())?;
        (newest.command.session == *session).then_some(newest)
    }

    /// Revisions refused since the newest that was not.
    pub fn refused(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().take_while(|entry| entry.is_rejected())
    }

    /// No more may be raised here: too much is unresolved already.
    pub fn is_full(&self) -> bool {
        self.entries.iter().filter(|entry| !entry.is_rejected()).count() >= MAX_OPEN_ENTRIES
    }

    /// The rate that its latest profile allows at `now`.
    pub fn ceiling_now(&self, now: Instant) -> Rate {
        let newest = self.entries.iter().rev().find(|entry| !entry.is_rejected());
        let of_session = newest.filter(|entry| {
            self.session
                .as_ref()
                .is_none_or(|session| entry.command.session == *session)
        });
        let connector = |entry: &Entry| self.evse.connector(&entry.command.connector);
        match of_session.map(|entry| (&entry.command.instruction, connector(entry))) {
            Some((Instruction::Set(profile), _)) => *profile.limits().at(now),
            Some((Instruction::Clear, Some(connector))) => connector.maximum,
            _ => self
                .evse
                .connectors
                .first()
                .map_or(Rate::ZERO, Connector::default_or_maximum),
        }
    }

    /// The same, but only where the station said that it follows it.
    pub fn offered(&self, now: Instant) -> Option<Rate> {
        let newest = self.entries.iter().rev().find(|entry| !entry.is_rejected())?;
        newest.is_accepted().then(|| self.ceiling_now(now))
    }

    /// Drops what can have no effect any more. Call it after anything that was learnt, and now and then for the passage of time.
    pub fn recount(&mut self, terms: &Terms, now: Instant) {
        if self.tail_in_doubt && self.follows_ours(terms, now) {
            self.tail_in_doubt = false;
        }
        self.drop_released(terms, now);
        self.merge_leftovers(terms, now);
        self.merge_beyond_bound(terms);
        if self.unknown_until.is_some_and(|until| until < now) || terms.break_rule(WrongRule::ForgetAmnesia) {
            self.unknown_until = None;
        }
        self.told = self.sum_up(terms, now, |_| true);
        let mut possible = self.told.clone();
        if let Some(until) = self.unknown_until {
            let anything = Timeline::from_points([(Instant::FAR_PAST, self.evse.maximum_load()), (until, Load::ZERO)]);
            possible = possible.zip(&anything, |a, b| a.max(*b));
        }
        // Only gateways that fence are given tails.
        if self.tail_in_doubt && terms.gateway_fences {
            let minimum = self.evse.minimum_load();
            possible = possible.map(|load| load.max(minimum));
        }
        #[cfg(test)]
        self.credit_the_metered_draw(&mut possible, terms);
        if possible != self.possible {
            let replaced = std::mem::replace(&mut self.possible, possible);
            self.remember(replaced, terms, now);
        }
        self.next_expiry = self
            .entries
            .iter()
            .filter_map(|entry| entry.next_change(terms.reach(), now))
            .chain(self.unknown_until)
            .min();
    }

    #[cfg(test)]
    fn credit_the_metered_draw(&self, possible: &mut Timeline<Load>, terms: &Terms) {
        if terms.break_rule(WrongRule::CreditTheMeteredDraw)
            && let Some(drawn) = self.last_drawn
        {
            let least = |load: &Load| {
                let most = Load {
                    star: [drawn; 3],
                    delta: [drawn; 3],
                    uneven: [drawn; 3],
                    total: load.total,
                };
                let each = |a: [DeciAmps; 3], b: [DeciAmps; 3]| [0, 1, 2].map(|line| a[line].min(b[line]));
                Load {
                    star: each(load.star, most.star),
                    delta: each(load.delta, most.delta),
                    uneven: each(load.uneven, most.uneven),
                    ..*load
                }
            };
            *possible = possible.map(least);
        }
    }

    fn remember(&mut self, replaced: Timeline<Load>, terms: &Terms, now: Instant) {
        let earlier = match &self.earlier {
            Some((until, earlier)) if now < *until + terms.skew => earlier.zip(&replaced, |a, b| a.max(*b)),
            _ => replaced,
        };
        self.earlier = Some((now, earlier.since(now - terms.lease)));
    }

    fn sum_up(&self, terms: &Terms, now: Instant, of: impl Fn(&Entry) -> bool) -> Timeline<Load> {
        let default = Timeline::constant(self.default_load(terms));
        let counting = (self.entries.iter()).filter(|entry| of(entry) && self.counts(entry, terms, now));
        counting.fold(default, |sum, entry| sum.zip(&entry.load, |a, b| a.max(*b)))
    }

    fn counts(&self, entry: &Entry, terms: &Terms, now: Instant) -> bool {
        if terms.break_rule(WrongRule::OnlyTheNewest) && !self.is_newest(entry) {
            return false;
        }
        if terms.break_rule(WrongRule::NewestOfEach) && !self.is_newest_of_its_kind(entry) {
            return false;
        }
        !self.is_refused(entry, terms, now) && !self.is_spent(entry, terms, now)
    }

    fn is_refused(&self, entry: &Entry, terms: &Terms, now: Instant) -> bool {
        let any = entry.transmissions.iter().any(|sent| sent.reply.is_rejection());
        entry.is_refused(terms.reach(), now) || (any && terms.break_rule(WrongRule::RejectedRetryCancels))
    }

    /// Its lease is over, and its tail is no more than what the EVSE does by itself.
    fn is_spent(&self, entry: &Entry, terms: &Terms, now: Instant) -> bool {
        let default = self.default_load(terms);
        let tail_is_covered = default.max(*entry.load.last()) == default || terms.break_rule(WrongRule::ForgetTails);
        entry.lease_is_over(terms.reach(), now) && tail_is_covered
    }

    fn is_newest(&self, entry: &Entry) -> bool {
        self.entries
            .last()
            .is_some_and(|newest| newest.command.revision == entry.command.revision)
    }

    fn is_newest_of_its_kind(&self, entry: &Entry) -> bool {
        let kind = |entry: &Entry| (entry.is_accepted(), entry.is_unanswered());
        let newer = |other: &&Entry| other.command.revision > entry.command.revision;
        !self
            .entries
            .iter()
            .filter(newer)
            .any(|other| kind(other) == kind(entry))
    }

    /// Whether it follows one of our revisions, and its gateway refuses all that came before.
    fn follows_ours(&self, terms: &Terms, now: Instant) -> bool {
        let surely = |entry: &Entry| {
            entry.command.revision > self.revision_before()
                && entry.is_accepted()
                && entry.is_settled(terms.reach(), now)
                && entry.transmissions.iter().all(|sent| sent.fenced)
        };
        terms.gateway_fences && self.entries.iter().any(surely)
    }

    /// Nobody knows what was sent to it: for one lease it may do anything, and revisions go on from the unix time, beyond all that may
    /// have been sent.
    pub fn doubt(&mut self, terms: &Terms, order: Order, now: Instant) {
        let beyond_all = Revision::new(now.unix_secs().try_into().unwrap_or_default());
        self.foreign_revision = Some((beyond_all.max(self.last_revision()), order, now));
        self.unknown_until = Some(now + terms.lease + terms.skew);
    }

    fn drop_released(&mut self, terms: &Terms, now: Instant) {
        let released: Vec<Revision> = self
            .entries
            .iter()
            .filter(|entry| !self.is_newest(entry))
            .filter(|entry| {
                // A refusal may yet be contradicted; remember the entry for as long as that would matter.
                (entry.is_rejected() && entry.lease_is_over(terms.reach(), now))
                    || self.is_spent(entry, terms, now)
                    || self.entries.iter().any(|newer| self.replaces(newer, entry, terms, now))
            })
            .map(|entry| entry.command.revision)
            .collect();
        self.entries.retain(|entry| !released.contains(&entry.command.revision));
    }

    /// Whether `newer` shows that `older` has no effect any more.
    fn replaces(&self, newer: &Entry, older: &Entry, terms: &Terms, now: Instant) -> bool {
        if newer.command.revision <= older.command.revision || !newer.is_accepted() {
            return false;
        }
        if terms.break_rule(WrongRule::DropOnAnyAcceptance) {
            return true;
        }
        if !newer.is_settled(terms.reach(), now) {
            return false;
        }
        let believed = older.seen_left || self.is_believed(terms);
        let answered_first = || older.is_accepted() && terms.break_rule(WrongRule::AnswersTellTheOrder);
        let replaced = newer.surely_replaced(older, terms.gateway_fences)
            || answered_first()
            || (newer.command.session != older.command.session && terms.break_rule(WrongRule::AnotherSessionFrees));
        replaced && believed
    }

    /// Whether its answers are believed, since there is no meter and the site has chosen to.
    fn is_believed(&self, terms: &Terms) -> bool {
        !self.evse.metered && terms.trust_unmetered
    }

    /// Whether it can ever be known that it has left a tail for something else.
    pub fn may_have_tail(&self, terms: &Terms) -> bool {
        // Where nothing fences, a transmission without an answer may have effect at any time, and a tail holds for ever.
        terms.gateway_fences && (self.evse.metered || self.is_believed(terms))
    }

    /// Tails of leases that are over hold until they are surely replaced. All of them together are one entry.
    fn merge_leftovers(&mut self, terms: &Terms, now: Instant) {
        let is_leftover = |entry: &Entry| !entry.is_rejected() && entry.lease_is_over(terms.reach(), now);
        while self.entries.len() > 2 && is_leftover(&self.entries[0]) && is_leftover(&self.entries[1]) {
            self.merge_oldest_two(terms);
        }
    }

    fn merge_beyond_bound(&mut self, terms: &Terms) {
        while self.entries.len() > MAX_OPEN_ENTRIES {
            match self.entries.iter().position(Entry::is_rejected) {
                Some(refused) => {
                    self.entries.remove(refused);
                }
                None => self.merge_oldest_two(terms),
            }
        }
    }

    fn merge_oldest_two(&mut self, terms: &Terms) {
        let older = self.entries.remove(0);
        let newer = &self.entries[0];
        let mut command = newer.command.clone();
        command.instruction = self.covering(&older.command, &newer.command);
        let car_phases = newer.car_phases.filter(|_| older.car_phases == newer.car_phases);
        let load = self.load_of(&command, car_phases, terms);
        self.entries[0].car_phases = car_phases;
        self.entries[0].absorb(&older, command, load);
    }

    /// An instruction under which at least as much may be drawn as under either.
    fn covering(&self, one: &ProfileCommand, other: &ProfileCommand) -> Instruction {
        match (&one.instruction, &other.instruction) {
            (Instruction::Set(a), Instruction::Set(b)) if one.connector == other.connector && a.unit == b.unit => {
                let limits = a.limits().zip(b.limits(), |a, b| *a.max(b));
                Instruction::Set(ChargingProfile::from_parts(
                    a.unit,
                    limits,
                    a.lease_end().max(b.lease_end()),
                ))
            }
            _ => Instruction::Clear,
        }
    }

    /// Feeds `hasher` with all of it that matters from `now` on. Orders count as ranks among each other and `link_since`: what it was
    /// told is what decides, not how much others were told in between.
    #[cfg(test)]
    pub fn digest(&self, link_since: Option<Order>, terms: &Terms, now: Instant, hasher: &mut impl Hasher) {
        let (foreign, lost, disobeyed) = (self.foreign_revision, self.lost_profile, self.disobeyed.as_ref());
        let own = [
            link_since,
            foreign.map(|(_, order, _)| order),
            lost.map(|(order, _)| order),
            disobeyed.map(|(order, _)| *order),
        ];
        let of_entries = self.entries.iter().flat_map(Entry::orders);
        let orders: BTreeSet<Order> = own.into_iter().flatten().chain(of_entries).collect();
        let rank = |order: Order| orders.range(..order).count();
        link_since.map(rank).hash(hasher);
        foreign
            .map(|(revision, order, at)| (revision, rank(order), at))
            .hash(hasher);
        lost.map(|(order, at)| (rank(order), at)).hash(hasher);
        disobeyed
            .map(|(order, sample)| (rank(*order), sample.at, sample.currents))
            .hash(hasher);
        (self.in_site, self.place, &self.session, &self.car).hash(hasher);
        (self.trust, self.obeys_since, self.last_drawn).hash(hasher);
        (self.unknown_until, self.unheard, self.tail_in_doubt).hash(hasher);
        (self.told.since(now), self.possible.since(now), self.next_expiry).hash(hasher);
        let earlier = self.earlier.as_ref().filter(|(until, _)| now < *until + terms.skew);
        earlier.map(|(until, earlier)| (until, earlier.since(now))).hash(hasher);
        self.entries.len().hash(hasher);
        for entry in &self.entries {
            entry.digest(rank, hasher);
        }
    }
}
