//! What one EVSE may be following: its default, always, and every revision whose effect cannot be excluded.
//!
//! Decides when a revision stops counting, and whether the EVSE is seen to obey. A measured draw never makes the worst case smaller
//! than the ceilings; it only shows whether a ceiling is kept.

use super::Trust;
use super::entry::{Entry, Order};
use crate::domain::conversion::{Load, Rate, RateUnit};
use crate::domain::ids::{NodeId, SessionId};
use crate::domain::profile::{ChargingProfile, Instruction, ProfileCommand, Revision};
use crate::domain::session::MeterSample;
use crate::domain::site::{Connector, Evse};
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, Seconds, Watts};

/// Revisions of one EVSE that are told apart. Beyond, the oldest two become one worst case, and nothing more may be raised there.
pub const MAX_OPEN_ENTRIES: usize = 8;
/// A car may draw this much above its ceiling and still obey: accuracy of the pilot signal and of the meter.
const METER_TOLERANCE: DeciAmps = DeciAmps::from_deciamps(10);
const METER_TOLERANCE_WATTS: Watts = Watts::from_watts(300);

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
    /// Any acceptance of a newer revision frees the older ones.
    DropOnAnyAcceptance,
    /// An EVSE without a profile counts as nothing.
    IgnoreDefaults,
    /// All clocks are right.
    NoClockSkew,
    /// One rejected transmission means that the revision is not followed.
    RejectedRetryCancels,
    /// A revision counts until its lease is over, whatever its tail.
    ForgetTails,
    /// Only the newest revision counts.
    OnlyTheNewest,
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
    /// Since the last command the station said that it follows no profile of ours.
    pub lost_profile: Option<(Order, Instant)>,
    /// The most that its default and what we sent can make it draw.
    told: Timeline<Load>,
    /// The same, or anything while nothing is known of it.
    possible: Timeline<Load>,
    /// What `possible` was until then, for readings that arrive late.
    earlier: Option<(Instant, Timeline<Load>)>,
    maximum: Timeline<Load>,
    /// When time alone next changes what counts.
    pub next_expiry: Option<Instant>,
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
            lost_profile: None,
            told: Timeline::constant(Load::ZERO),
            possible: Timeline::constant(Load::ZERO),
            earlier: None,
            maximum: Timeline::constant(evse.maximum_load()),
            next_expiry: None,
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

    fn count_anew(&mut self, index: usize, terms: &Terms) {
        let entry = &self.entries[index];
        if let Some(load) = self.load_of(&entry.command, entry.car_phases, terms) {
            self.entries[index].load = load;
        }
    }

    /// On how many phases the car of `session` charges, as far as that is known.
    pub fn car_phases(&self, session: &SessionId) -> Option<u8> {
        let (of, phases) = self.car.as_ref()?;
        if of == session { *phases } else { None }
    }

    /// It was said on how many phases the car of `session` charges. What was sent before counts as this car's only where that is
    /// worse: it holds for what is sent from here on.
    pub fn car_described(&mut self, session: &SessionId, phases: Option<u8>, terms: &Terms, now: Instant) {
        self.car = Some((session.clone(), phases));
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            if entry.command.session == *session && entry.car_phases != phases {
                entry.car_phases = None;
                self.count_anew(index, terms);
            }
        }
        self.recount(terms, now);
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The most that `command` can make a car of so many phases draw over time; `None` if it names a connector that is not there.
    pub fn load_of(&self, command: &ProfileCommand, car_phases: Option<u8>, terms: &Terms) -> Option<Timeline<Load>> {
        match &command.instruction {
            Instruction::Clear => Some(Timeline::constant(self.evse.maximum_load())),
            Instruction::Set(profile) => {
                let connector = self.evse.connector(&command.connector)?;
                let conversion = connector.conversion().for_car(car_phases);
                Some(profile.limits().widen(terms.reach()).map(|rate| conversion.load(*rate)))
            }
        }
    }

    /// What it draws without a profile of ours.
    fn default_load(&self, terms: &Terms) -> Load {
        if !self.in_site || terms.break_rule(WrongRule::IgnoreDefaults) {
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

    /// The part of it that is our doing. Only this may be sent again beside others that may take too much already: that it may do
    /// anything is no reason to tell it to.
    pub fn told(&self) -> &Timeline<Load> {
        &self.told
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

    pub fn last_revision(&self) -> Revision {
        self.entries
            .last()
            .map_or(Revision::NONE, |newest| newest.command.revision)
            .max(self.revision_before())
    }

    pub fn entry_mut(&mut self, revision: Revision) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.command.revision == revision)
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
        self.drop_released(terms, now);
        self.merge_leftovers(terms, now);
        self.merge_beyond_bound(terms);
        if self.unknown_until.is_some_and(|until| until < now) {
            self.unknown_until = None;
        }
        self.told = self.sum_up(terms, now);
        let mut possible = self.told.clone();
        if let Some(until) = self.unknown_until {
            let anything = Timeline::from_points([(Instant::FAR_PAST, self.evse.maximum_load()), (until, Load::ZERO)]);
            possible = possible.zip(&anything, |a, b| a.max(*b));
        }
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

    fn remember(&mut self, replaced: Timeline<Load>, terms: &Terms, now: Instant) {
        let earlier = match &self.earlier {
            Some((until, earlier)) if now < *until + terms.skew => earlier.zip(&replaced, |a, b| a.max(*b)),
            _ => replaced,
        };
        self.earlier = Some((now, earlier.since(now - terms.lease)));
    }

    fn sum_up(&self, terms: &Terms, now: Instant) -> Timeline<Load> {
        let default = Timeline::constant(self.default_load(terms));
        let counting = self.entries.iter().filter(|entry| self.counts(entry, terms, now));
        counting.fold(default, |sum, entry| sum.zip(&entry.load, |a, b| a.max(*b)))
    }

    fn counts(&self, entry: &Entry, terms: &Terms, now: Instant) -> bool {
        if terms.break_rule(WrongRule::OnlyTheNewest) && !self.is_newest(entry) {
            return false;
        }
        !self.is_refused(entry, terms) && !self.is_spent(entry, terms, now)
    }

    fn is_refused(&self, entry: &Entry, terms: &Terms) -> bool {
        let any = entry.transmissions.iter().any(|sent| sent.reply.is_rejection());
        entry.is_rejected() || (any && terms.break_rule(WrongRule::RejectedRetryCancels))
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

    fn drop_released(&mut self, terms: &Terms, now: Instant) {
        let released: Vec<Revision> = self
            .entries
            .iter()
            .filter(|entry| !self.is_newest(entry))
            .filter(|entry| {
                let over = entry.lease_is_over(terms.reach(), now);
                // A refusal may yet be contradicted; remember the entry for as long as that would matter.
                (entry.is_rejected() && over)
                    || self.is_spent(entry, terms, now)
                    || self
                        .entries
                        .iter()
                        .any(|newer| self.replaces(newer, entry, over, terms, now))
            })
            .map(|entry| entry.command.revision)
            .collect();
        self.entries.retain(|entry| !released.contains(&entry.command.revision));
    }

    /// Whether `newer` shows that `older` has no effect any more.
    fn replaces(&self, newer: &Entry, older: &Entry, older_is_over: bool, terms: &Terms, now: Instant) -> bool {
        if newer.command.revision <= older.command.revision || !newer.is_accepted() {
            return false;
        }
        if terms.break_rule(WrongRule::DropOnAnyAcceptance) {
            return true;
        }
        if !newer.is_settled(terms.reach(), now) {
            return false;
        }
        // A station follows profiles of its running session only, and that is another one now.
        let other_session = newer.command.session != older.command.session;
        let believed = newer.is_confirmed() || (!self.evse.metered && terms.trust_unmetered);
        let replaced = newer.surely_replaced(older, terms.gateway_fences);
        other_session || (replaced && (believed || older_is_over))
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
        let exact = older.load.zip(&newer.load, |a, b| a.max(*b));
        let car_phases = newer.car_phases.filter(|_| older.car_phases == newer.car_phases);
        let load = self.load_of(&command, car_phases, terms).unwrap_or(exact);
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

    /// Takes a meter reading as evidence of obedience.
    pub fn metered(&mut self, sample: &MeterSample, terms: &Terms, order: Order, now: Instant) {
        let alternating = self
            .evse
            .connectors
            .iter()
            .all(|connector| connector.conversion().unit == RateUnit::DeciAmpere);
        for index in 0..self.entries.len() {
            let above = draws_above(sample, self.entries[index].load.at(sample.at), alternating);
            self.entries[index].metered(sample, above, terms.skew);
            if self.entries[index].is_confirmed() && self.trust == Trust::Unknown {
                self.trust = Trust::Obeys;
            }
        }
        let possible = self.possible_at(sample.at, terms);
        if self.evse.controllable && draws_above(sample, &possible, alternating) {
            self.trust = Trust::Disobeys;
            self.disobeyed = Some((order, sample.clone()));
            self.obeys_since = None;
        } else if self.trust == Trust::Disobeys {
            let since = *self.obeys_since.get_or_insert(sample.at);
            if sample.at - since >= terms.skew {
                self.trust = Trust::Obeys;
                self.disobeyed = None;
                self.obeys_since = None;
            }
        }
        self.recount(terms, now);
    }

    fn possible_at(&self, at: Instant, terms: &Terms) -> Load {
        let possible = *self.possible.at(at);
        match &self.earlier {
            Some((until, earlier)) if at < *until + terms.skew => possible.max(*earlier.at(at)),
            _ => possible,
        }
    }
}

fn draws_above(sample: &MeterSample, ceiling: &Load, alternating: bool) -> bool {
    let too_much_power = sample
        .power
        .is_some_and(|power| power > ceiling.total + METER_TOLERANCE_WATTS);
    // Only for alternating current do a car's amperes and the ceiling's mean the same.
    let allowed = ceiling
        .star
        .into_iter()
        .chain(ceiling.delta)
        .fold(DeciAmps::ZERO, Ord::max)
        + METER_TOLERANCE;
    let too_much_current = sample
        .currents
        .is_some_and(|currents| currents.into_iter().any(|current| current > allowed));
    too_much_power || (alternating && too_much_current)
}
