//! What every EVSE of a site may be following: the part of the roll-out that remembers.
//!
//! Decides what counts at each place, and what events teach about it. Total: nonsense (unknown EVSEs, answers given twice or to
//! nothing) changes nothing or counts as the worst case; only [`Ledger::answered`] tells, so that the caller can refuse it. Told the
//! same in the same order it always holds the same.

use super::Trust;
use super::entry::{Entry, Learnt, Order};
use super::may_follow::{MayFollow, Terms};
use super::sums::{Sum, Sums};
use crate::domain::conversion::{Load, Rate};
use crate::domain::ids::{EvseId, GatewayId, NodeId, SessionId};
use crate::domain::profile::{Answer, Attempt, ProfileCommand, Revision};
use crate::domain::session::MeterSample;
use crate::domain::site::Site;
use crate::domain::timeline::Timeline;
use crate::units::Instant;
use std::collections::{BTreeMap, HashMap};
#[cfg(test)]
use std::hash::{Hash, Hasher};

/// Records of EVSEs that the site no longer has, kept beside those it has.
const MAX_FORMER_EVSES: usize = 1_000;

/// An answer that belongs to no command of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no command with revision {} and attempt {attempt} was sent to {evse}", revision.number())]
pub struct UnknownCommand {
    pub evse: EvseId,
    pub revision: Revision,
    pub attempt: Attempt,
}

/// Whether commands can reach the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// It has never said hello, as a gateway that we call never does.
    Unheard,
    Up {
        since: Order,
    },
    Down,
}

/// What each EVSE may be following. See the [module](super) for the rule.
#[derive(Clone, Debug)]
pub struct Ledger {
    terms: Terms,
    gateway: Option<GatewayId>,
    link: Link,
    /// Of each place of the site.
    parents: Vec<Option<usize>>,
    records: Vec<MayFollow>,
    sums: Sums,
    index: HashMap<EvseId, usize>,
    order: Order,
}

impl Ledger {
    /// Nothing was ever sent: every EVSE does what it does by default.
    pub fn new(site: &Site) -> Self {
        let spec = site.spec();
        let mut ledger = Self {
            terms: Terms {
                skew: spec.clock_skew,
                lease: spec.lease,
                trust_unmetered: spec.trust_unmetered,
                gateway_fences: false,
                #[cfg(test)]
                wrong: None,
            },
            gateway: None,
            link: Link::Unheard,
            parents: Vec::new(),
            records: Vec::new(),
            sums: Sums::default(),
            index: HashMap::new(),
            order: 0,
        };
        ledger.describe(site, Instant::FAR_PAST);
        ledger
    }

    /// Nobody knows what was sent, as after the loss of a store: for one lease every EVSE may do anything, or until a gateway that
    /// fences durably has said what it has applied.
    ///
    /// Revisions go on from the unix time, so that no answer to what was sent before can be taken for one to what is sent from here
    /// on, and gateways that refuse old revisions take the new ones: no EVSE gets a revision a second for long.
    pub fn unknown(site: &Site, now: Instant) -> Self {
        let mut ledger = Self::new(site);
        for record in &mut ledger.records {
            record.doubt(&ledger.terms, 0, now);
            record.unheard = true;
            record.recount(&ledger.terms, now);
        }
        ledger.sum_up(now);
        ledger
    }

    /// Something of what was recorded at `now` cannot be read, and may have been a command: as after the loss of a store, but what
    /// is known still counts.
    pub fn doubt(&mut self, now: Instant) {
        let order = self.next_order();
        for index in 0..self.records.len() {
            self.records[index].doubt(&self.terms, order, now);
            self.recount(index, now);
        }
    }

    /// The site was described anew. EVSEs that are no longer part of it keep what is reserved for them, at the nearest place above
    /// that is still there, until that is resolved.
    pub fn site_changed(&mut self, site: &Site, now: Instant) {
        self.describe(site, now);
    }

    fn describe(&mut self, site: &Site, now: Instant) {
        let spec = site.spec();
        self.terms = Terms {
            skew: spec.clock_skew,
            lease: spec.lease,
            trust_unmetered: spec.trust_unmetered,
            ..self.terms
        };
        if self.gateway != spec.gateway {
            // Whatever the old one promised, the new one has not.
            self.terms.gateway_fences = false;
            self.gateway = spec.gateway.clone();
            self.records.iter_mut().for_each(MayFollow::no_longer_fenced);
        }
        self.parents = site.places().iter().map(|place| place.parent).collect();
        for record in &mut self.records {
            record.in_site = false;
        }
        for (place, evse) in site.evses() {
            let path: Vec<NodeId> = site
                .path_to_root(place)
                .map(|place| site.places()[place].id.clone())
                .collect();
            match self.index.get(&evse.id) {
                Some(index) => self.records[*index].described(evse, place, path, &self.terms, now),
                None => {
                    self.index.insert(evse.id.clone(), self.records.len());
                    self.records.push(MayFollow::new(evse, place, path, &self.terms));
                }
            }
        }
        self.keep_former_evses(site, now);
        self.sum_up(now);
    }

    fn keep_former_evses(&mut self, site: &Site, now: Instant) {
        let place_of: HashMap<&NodeId, usize> = site
            .places()
            .iter()
            .enumerate()
            .map(|(place, described)| (&described.id, place))
            .collect();
        for record in self.records.iter_mut().filter(|record| !record.in_site) {
            record.place = record.path.iter().find_map(|id| place_of.get(id).copied()).unwrap_or(0);
            record.left_site(&self.terms, now);
            record.recount(&self.terms, now);
        }
        let mut spare = self
            .records
            .iter()
            .filter(|record| !record.in_site)
            .count()
            .saturating_sub(MAX_FORMER_EVSES);
        self.records.retain(|record| {
            let drop = spare > 0 && !record.in_site && !record.is_reserved();
            spare -= usize::from(drop);
            !drop
        });
        self.index = self
            .records
            .iter()
            .enumerate()
            .map(|(index, record)| (record.evse.id.clone(), index))
            .collect();
    }

    /// A command is about to be sent, and is already durable.
    pub fn issued(&mut self, command: &ProfileCommand) {
        let (order, terms) = (self.next_order(), self.terms);
        let Some(index) = self.index_of(&command.evse) else {
            return;
        };
        let record = &mut self.records[index];
        let car_phases = record.car_phases(&command.session);
        let load = record.load_of(command, car_phases, &terms);
        if record.entry_mut(command.revision).is_none() {
            record.insert(Entry::new(command, car_phases, load));
        }
        if let Some(entry) = record.entry_mut(command.revision) {
            entry.transmitted(command, terms.gateway_fences, order);
        }
        record.lost_profile = None;
        self.recount(index, command.sent_at);
    }

    /// Whether such a command was ever sent. For refusing an answer before it is recorded.
    pub fn was_sent(&self, evse: &EvseId, revision: Revision, attempt: Attempt) -> Result<(), UnknownCommand> {
        let known = self.record(evse).is_some_and(|record| {
            let newest = record
                .entries()
                .last()
                .map_or(Revision::NONE, |newest| newest.command.revision);
            match record.entries().iter().find(|entry| entry.command.revision == revision) {
                Some(entry) => (1..=entry.last_attempt()).contains(&attempt),
                // Of what is forgotten only the revisions are known: from the first of this ledger to the newest.
                None => record.revision_before() < revision && revision <= newest && attempt > 0,
            }
        });
        if known {
            return Ok(());
        }
        Err(UnknownCommand {
            evse: evse.clone(),
            revision,
            attempt,
        })
    }

    /// An answer came. Late, repeated and contradictory ones are fine; one to nothing we sent is an error and changes nothing.
    pub fn answered(
        &mut self,
        evse: &EvseId,
        revision: Revision,
        attempt: Attempt,
        answer: &Answer,
        now: Instant,
    ) -> Result<(), UnknownCommand> {
        self.was_sent(evse, revision, attempt)?;
        let (order, terms) = (self.next_order(), self.terms);
        let Some(index) = self.index_of(evse) else {
            return Ok(());
        };
        let record = &mut self.records[index];
        let Some(entry) = record.entry_mut(revision) else {
            return Ok(());
        };
        match entry.answered(attempt, answer, order, now) {
            Learnt::Nothing => {}
            Learnt::Accepted => record.accepted_anew(revision),
            // Room may have been given away on the strength of it.
            Learnt::TakenBack => record.unknown_until = Some(now + terms.lease + terms.skew),
        }
        self.recount(index, now);
        Ok(())
    }

    /// The station said which of our profiles it follows; `None` is none of them.
    pub fn active_reported(&mut self, evse: &EvseId, revision: Option<Revision>, now: Instant) {
        let (order, terms) = (self.next_order(), self.terms);
        let Some(index) = self.index_of(evse) else {
            return;
        };
        let record = &mut self.records[index];
        match revision.filter(|revision| *revision > Revision::NONE) {
            None => record.lost_profile = Some((order, now)),
            Some(revision) if revision > record.last_revision() => {
                // It follows something of which nothing is known here: our store has lost it.
                record.unknown_until = Some(now + terms.lease + terms.skew);
                record.unheard = false;
                record.tail_in_doubt = true;
                record.goes_on_from(revision, order, now);
            }
            Some(revision) => {
                match record.entry_mut(revision) {
                    Some(entry) => entry.reported_active(order, now),
                    // It follows what was sent before this ledger began, or something long forgotten here.
                    None => {
                        record.unheard = false;
                        record.tail_in_doubt |= revision <= record.revision_before();
                    }
                }
                record.lost_profile = None;
            }
        }
        self.recount(index, now);
    }

    /// The gateway said that it has such a command under way to the station, which may follow it or not.
    pub fn on_its_way(&mut self, evse: &EvseId, revision: Revision, now: Instant) {
        let (order, terms) = (self.next_order(), self.terms);
        let Some(index) = self.index_of(evse) else {
            return;
        };
        let record = &mut self.records[index];
        let is_open = |entry: &Entry| entry.command.revision == revision && !entry.is_rejected();
        if record.entries().iter().any(is_open) || revision == Revision::NONE {
            // It counts anyway, until there is an answer.
            return;
        }
        // Of one that was never sent, replaced or refused, as far as anyone here knows.
        record.unknown_until = Some(now + terms.lease + terms.skew);
        record.unheard = false;
        record.tail_in_doubt = true;
        record.goes_on_from(revision, order, now);
        self.recount(index, now);
    }

    /// A meter was read. It shows whether a ceiling is kept; what is drawn is never counted.
    pub fn metered(&mut self, sample: &MeterSample, now: Instant) {
        let (order, terms) = (self.next_order(), self.terms);
        if let Some(index) = self.index_of(&sample.evse) {
            self.records[index].metered(sample, &terms, order, now);
            self.recount(index, now);
        }
    }

    /// The gateway said hello. `fences`: it refuses revisions at or below one it has applied, even after a restart.
    ///
    /// What another gateway than the site's says, as over a stream from before the site was changed, means nothing.
    pub fn gateway_connected(&mut self, gateway: &GatewayId, fences: bool, now: Instant) {
        if self.gateway.as_ref() != Some(gateway) {
            return;
        }
        self.link = Link::Up {
            since: self.next_order(),
        };
        self.terms.gateway_fences = fences;
        for index in 0..self.records.len() {
            let record = &mut self.records[index];
            // A gateway that fences durably has said before this what it has applied: nothing, where it said nothing.
            if fences && record.unheard {
                record.unknown_until = None;
            }
            record.unheard &= !fences;
            self.recount(index, now);
        }
    }

    /// The gateway is gone; nothing can be sent until it is back. What was sent may still arrive.
    pub fn gateway_disconnected(&mut self, gateway: &GatewayId) {
        if self.gateway.as_ref() == Some(gateway) {
            self.next_order();
            self.link = Link::Down;
        }
    }

    /// Another car: nothing is known yet of how it obeys.
    pub fn session_started(&mut self, evse: &EvseId, session: &SessionId, now: Instant) {
        self.next_order();
        let terms = self.terms;
        if let Some(index) = self.index_of(evse) {
            self.records[index].session_started(session, &terms);
            self.recount(index, now);
        }
    }

    /// Someone said on how many phases the car of `session` charges; `None` is that nobody knows.
    pub fn car_described(&mut self, evse: &EvseId, session: &SessionId, phases: Option<u8>, now: Instant) {
        let terms = self.terms;
        if let Some(index) = self.index_of(evse) {
            self.records[index].car_described(session, phases, &terms);
            self.recount(index, now);
        }
    }

    /// What was sent for the session stays until it is resolved.
    pub fn session_ended(&mut self, evse: &EvseId, session: &SessionId, now: Instant) {
        let _ = now;
        self.next_order();
        if let Some(record) = self.record_mut(evse)
            && record.session.as_ref() == Some(session)
        {
            record.session = None;
        }
    }

    /// Lets go of what time has ended. Call it before every step.
    pub fn forget_expired(&mut self, now: Instant) {
        for index in 0..self.records.len() {
            if self.records[index].next_expiry.is_some_and(|expiry| expiry <= now) {
                self.recount(index, now);
            }
        }
    }

    /// What is known of one EVSE has changed, or time has passed.
    fn recount(&mut self, index: usize, now: Instant) {
        let record = &mut self.records[index];
        record.recount(&self.terms, now);
        let before = record.take_summed(now);
        let path = path_to_root(&self.parents, record.place);
        self.sums.replace(path, &before, record.summed());
    }

    /// Sums up anew what may be drawn everywhere: places have changed.
    fn sum_up(&mut self, now: Instant) {
        self.sums = Sums::new(self.parents.len());
        let nothing = Timeline::constant(Load::ZERO);
        for record in &mut self.records {
            record.take_summed(now);
            let path = path_to_root(&self.parents, record.place);
            self.sums.replace(path, &nothing, record.summed());
        }
    }

    /// The most that may be drawn at each place of the site, from `now` on.
    pub fn worst_cases(&self, now: Instant) -> Vec<Timeline<Load>> {
        (0..self.parents.len())
            .map(|place| self.worst_case(place, now))
            .collect()
    }

    /// Each place where `commands` may change what is drawn: with the most that may be drawn there now, and once they are sent as well.
    pub(super) fn worst_cases_if(
        &self,
        commands: &[ProfileCommand],
        now: Instant,
    ) -> Vec<(usize, Timeline<Load>, Timeline<Load>)> {
        let mut follow: BTreeMap<usize, Timeline<Load>> = BTreeMap::new();
        for command in commands {
            if let Some(index) = self.index_of(&command.evse) {
                let record = &self.records[index];
                let load = record.load_of(command, record.car_phases(&command.session), &self.terms);
                let follows = follow.entry(index).or_insert_with(|| record.worst().clone());
                *follows = follows.zip(&load, |a, b| a.max(*b));
            }
        }
        let mut more: BTreeMap<usize, Sum> = BTreeMap::new();
        for (index, follows) in follow {
            let record = &self.records[index];
            let change = follows
                .since(now)
                .zip(&record.worst().since(now), |then, now| *then - *now);
            for place in self.path_to_root(record) {
                more.entry(place).or_default().put_in(&change);
            }
        }
        let each = more.into_iter().map(|(place, more)| {
            let before = self.worst_case(place, now);
            let after = before.zip(&more.since(now), |before, more| *before + *more);
            (place, before, after)
        });
        each.collect()
    }

    pub fn worst_case(&self, place: usize, now: Instant) -> Timeline<Load> {
        self.sums.at(place, now)
    }

    /// What has to be left free over time for one EVSE. Snapshots deduct it for every EVSE that carries no session of the planner's.
    pub fn held(&self, evse: &EvseId, now: Instant) -> Timeline<Load> {
        self.record(evse)
            .map_or_else(|| Timeline::constant(Load::ZERO), |record| record.worst().since(now))
    }

    /// The ceiling by the latest profile of the running session, or the default where it has none. Zero for an unknown EVSE.
    pub fn ceiling_now(&self, evse: &EvseId, now: Instant) -> Rate {
        self.record(evse).map_or(Rate::ZERO, |record| record.ceiling_now(now))
    }

    /// What the station lets the car of the running session take at `now`, by its own word; `None` while it has not answered to the
    /// latest profile.
    pub fn offered(&self, evse: &EvseId, now: Instant) -> Option<Rate> {
        self.record(evse)?.offered(now)
    }

    /// The highest revision known; the next command takes the one after it.
    pub fn last_revision(&self, evse: &EvseId) -> Revision {
        self.record(evse).map_or(Revision::NONE, MayFollow::last_revision)
    }

    pub fn trust(&self, evse: &EvseId) -> Trust {
        self.record(evse).map_or(Trust::Unknown, |record| record.trust)
    }

    /// Transmissions that still matter and have no definite answer.
    pub fn open_attempts(&self, evse: &EvseId) -> usize {
        self.record(evse)
            .map_or(0, |record| record.entries().iter().map(Entry::open_attempts).sum())
    }

    pub(super) fn sums(&self) -> &Sums {
        &self.sums
    }

    pub(super) fn index_of(&self, evse: &EvseId) -> Option<usize> {
        self.index.get(evse).copied()
    }

    /// The place of `record` and all above it.
    pub(super) fn path_to_root(&self, record: &MayFollow) -> impl Iterator<Item = usize> + '_ {
        path_to_root(&self.parents, record.place)
    }

    pub(super) fn record(&self, evse: &EvseId) -> Option<&MayFollow> {
        self.index.get(evse).map(|index| &self.records[*index])
    }

    fn record_mut(&mut self, evse: &EvseId) -> Option<&mut MayFollow> {
        self.index.get(evse).map(|index| &mut self.records[*index])
    }

    pub(super) fn records(&self) -> &[MayFollow] {
        &self.records
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(super) fn gateway(&self) -> Option<&GatewayId> {
        self.gateway.as_ref()
    }

    /// Whether the gateway is there: it said hello and did not leave since.
    pub fn is_linked(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    pub(super) fn link(&self) -> Link {
        self.link
    }

    pub(super) fn parents(&self) -> &[Option<usize>] {
        &self.parents
    }

    /// When time alone next changes what counts.
    pub fn next_expiry(&self, now: Instant) -> Option<Instant> {
        self.records
            .iter()
            .filter_map(|record| record.next_expiry)
            .filter(|expiry| *expiry > now)
            .min()
    }

    #[cfg(test)]
    pub(crate) fn follow_wrong_rule(&mut self, rule: super::may_follow::WrongRule) {
        self.terms.wrong = Some(rule);
        (0..self.records.len()).for_each(|index| self.recount(index, Instant::FAR_PAST));
    }

    /// This ledger, but with what `other` knows of `evse`: nothing that is told of one EVSE says anything of another.
    #[cfg(test)]
    pub(super) fn with_record_of(&self, evse: &EvseId, other: &Self, now: Instant) -> Self {
        let mut joined = self.clone();
        if let (Some(index), Some(record)) = (joined.index_of(evse), other.record(evse)) {
            joined.records[index] = record.clone();
        }
        joined.order = joined.order.max(other.order);
        joined.sum_up(now);
        joined
    }

    /// The same for ledgers that behave the same from `now` on.
    #[cfg(test)]
    pub(super) fn digest(&self, now: Instant) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        let link_since = match self.link {
            Link::Up { since } => Some(since),
            Link::Unheard | Link::Down => None,
        };
        (self.terms.gateway_fences, self.link == Link::Down).hash(&mut hasher);
        for record in &self.records {
            record.digest(link_since, &self.terms, now, &mut hasher);
        }
        hasher.finish()
    }

    fn next_order(&mut self) -> Order {
        self.order += 1;
        self.order
    }
}

/// `place` and all above it.
fn path_to_root(parents: &[Option<usize>], place: usize) -> impl Iterator<Item = usize> + '_ {
    std::iter::successors(Some(place), |place| parents[*place])
}
