//! A site's state: what the events of its journal add up to.
//!
//! Decides what each event changes ([`SiteState::apply`]) and which events a request may cause ([`SiteState::admit`]). Pure: the
//! same entries give the same state, on any machine. Never plans and never sends.

use super::admission::Admission;
use super::alarms::Alarms;
use super::checks::{admit_end, check_node_reading, check_sample};
use super::overload::{self, Overloads, QUANTITIES};
use super::{Readings, Refusal, assemble, room};
use crate::calendar::{self, Zone};
use crate::domain::bounds::{MAX_GRID_LIMITS_PER_SITE, MAX_REMEMBERED_REQUESTS};
use crate::domain::commissioning::EvseCheck;
use crate::domain::event::{Event, ForecastKind, Receipt, Recorded, RequestStamp};
use crate::domain::ids::{EvseId, GridLimitId, RequestId, SessionId, SiteKey};
use crate::domain::limits::{Capacity, GridLimit, NodeLimit};
use crate::domain::overload::NodeReading;
use crate::domain::plan::NumberedPlan;
use crate::domain::rejection::{Faults, Rejection};
use crate::domain::session::{Ended, MeterSample, Override, Session, Tier};
use crate::domain::site::{Mode, Site, check_node_limit};
use crate::domain::timeline::Timeline;
use crate::rollout::Ledger;
use crate::units::{Instant, MicrosPerKwh, Seconds, WattSeconds, Watts};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// A request is remembered this long.
const REMEMBER_REQUESTS: Seconds = Seconds::from_hours(24);
/// Limits are looked at this far ahead, one by one; what comes later counts as always in force.
pub const LIMIT_HORIZON: Seconds = Seconds::from_hours(24 * 15);
/// A meter reading older than this says nothing about the load of now.
const FRESH_READING: Seconds = Seconds::from_mins(15);

/// What a site is at one point of its journal.
#[derive(Clone, Debug)]
pub struct SiteState {
    pub(super) key: SiteKey,
    pub(super) sequence: u64,
    pub(super) last_at: Instant,
    pub(super) described: Option<Described>,
    pub(super) stopped: bool,
    pub(super) grid_limits: BTreeMap<GridLimitId, GridLimit>,
    pub(super) prices: Option<Timeline<MicrosPerKwh>>,
    pub(super) base_load: Option<Timeline<Watts>>,
    pub(super) solar: Option<Timeline<Watts>>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    /// Energy that sessions without a meter are taken to have got: what their ceilings allowed.
    pub(super) assumed: BTreeMap<SessionId, WattSeconds>,
    pub(super) plan: Option<Arc<NumberedPlan>>,
    /// Highest sum of fresh meter readings and expected base load.
    pub(super) peak_seen: Watts,
    pub(super) requests: HashMap<RequestId, Remembered>,
    pub(super) requests_in_order: VecDeque<(Instant, RequestId)>,
    /// Whether nothing was recorded since the journal was restored.
    pub(super) restored: bool,
    pub(super) alarms: Alarms,
    pub(super) overloads: Overloads,
    /// The last check of each EVSE that was ever checked.
    pub(super) evse_checks: BTreeMap<EvseId, EvseCheck>,
}

/// What is there once a site has been described.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub site: Site,
    pub zone: Zone,
    pub ledger: Ledger,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub body_hash: [u8; 32],
    pub receipt: Receipt,
}

/// What a request leads to: its events, in order, and what the caller should be told.
#[derive(Debug, Default)]
pub struct Admitted {
    pub events: Vec<Event>,
    pub warnings: Vec<String>,
}

impl SiteState {
    /// A site of which nothing is known yet.
    pub fn empty(key: SiteKey) -> Self {
        Self {
            key,
            sequence: 0,
            last_at: Instant::FAR_PAST,
            described: None,
            stopped: false,
            grid_limits: BTreeMap::new(),
            prices: None,
            base_load: None,
            solar: None,
            sessions: BTreeMap::new(),
            assumed: BTreeMap::new(),
            plan: None,
            peak_seen: Watts::ZERO,
            requests: HashMap::new(),
            requests_in_order: VecDeque::new(),
            restored: false,
            alarms: Alarms::default(),
            overloads: Overloads::default(),
            evse_checks: BTreeMap::new(),
        }
    }

    pub fn key(&self) -> &SiteKey {
        &self.key
    }

    /// Last entry of the journal that is in this state.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The time of the last entry. No later entry is dated before it, whatever the clock says.
    pub fn last_at(&self) -> Instant {
        self.last_at
    }

    /// The site, unless it was never described or was deleted.
    pub fn site(&self) -> Option<&Site> {
        self.described.as_ref().map(|described| &described.site)
    }

    pub fn ledger(&self) -> Option<&Ledger> {
        self.described.as_ref().map(|described| &described.ledger)
    }

    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    pub fn session_on(&self, evse: &EvseId) -> Option<&Session> {
        self.sessions.values().find(|session| session.spec.evse == *evse)
    }

    pub fn plan(&self) -> Option<&Arc<NumberedPlan>> {
        self.plan.as_ref()
    }

    /// What all EVSEs below each place may draw together, from `now` on.
    pub fn available(&self, now: Instant) -> Vec<Timeline<Capacity>> {
        let mut available = self.available_by_limits(now);
        if let Some(site) = self.site() {
            self.overloads.take_down(site, &mut available, now);
        }
        available
    }

    /// The same as far as limits decide, whatever meters show.
    pub(super) fn available_by_limits(&self, now: Instant) -> Vec<Timeline<Capacity>> {
        let Some(described) = &self.described else {
            return Vec::new();
        };
        let limits: Vec<GridLimit> = self.grid_limits.values().cloned().collect();
        room::available(&described.site, &described.zone, &limits, now, now + LIMIT_HORIZON)
    }

    /// Energy the session is taken to have: metered where there is a meter, else what its ceilings allowed.
    pub fn delivered(&self, session: &Session) -> WattSeconds {
        if session.last_sample.is_some() {
            session.delivered
        } else {
            session.delivered + self.assumed.get(&session.spec.id).copied().unwrap_or_default()
        }
    }

    /// Whether this session's rates are the planner's to choose.
    pub(super) fn is_planned(&self, session: &Session, now: Instant) -> bool {
        let controllable = self
            .site()
            .and_then(|site| site.evse(&session.spec.evse))
            .is_some_and(|evse| evse.controllable);
        let may_be = controllable && !self.stopped && matches!(session.overridden, Override::None | Override::Boost);
        may_be && self.admission(session, now) != Admission::Nothing
    }

    /// Why a site in mode control is sent nothing: what its EVSEs do by themselves does not fit under its limits.
    pub fn not_controlled_because(&self, now: Instant) -> Option<String> {
        let described = self.described.as_ref()?;
        if described.site.spec().mode != Mode::Control {
            return None;
        }
        let mut defaults = vec![crate::domain::conversion::Load::ZERO; described.site.places().len()];
        let mut unknown = 0;
        for (place, evse) in described.site.evses() {
            unknown += evse
                .connectors
                .iter()
                .filter(|connector| connector.default.is_none())
                .count();
            for above in described.site.path_to_root(place) {
                defaults[above] += evse.default_load();
            }
        }
        // A limit that is cut below the defaults for a while is an alarm, not a reason to let go of the site: what the site was
        // built for decides.
        let built = room::available(&described.site, &described.zone, &[], now, now + LIMIT_HORIZON);
        let excess = built
            .iter()
            .enumerate()
            .find_map(|(place, capacity)| capacity.at(now).excess(&defaults[place]).map(|excess| (place, excess)));
        excess.map(|(place, excess)| {
            format!(
                "what EVSEs draw without a profile does not fit at {}: {excess}; {unknown} connectors have no known default and count at their maximum",
                described.site.places()[place].id
            )
        })
    }

    /// The answer that a repeated request was given.
    pub fn remembered(&self, stamp: &RequestStamp) -> Option<Result<Receipt, Refusal>> {
        let known = self.requests.get(&stamp.id)?;
        Some(if known.body_hash == stamp.body_hash {
            Ok(known.receipt.clone())
        } else {
            Err(Refusal::RequestReused(stamp.id.clone()))
        })
    }

    /// The events that a request leads to at `now`, or why it is refused. Changes nothing.
    pub fn admit(&self, event: Event, now: Instant) -> Result<Admitted, Refusal> {
        if let Event::SitePut(spec) = event {
            return self.admit_site(*spec);
        }
        let site = self.site().ok_or_else(|| self.no_such_site())?;
        let mut admitted = Admitted::default();
        match &event {
            Event::SitePut(_) => unreachable!("handled above"),
            Event::SiteDeleted
            | Event::SiteStopped { .. }
            | Event::GatewayConnected { .. }
            | Event::GatewayDisconnected { .. }
            | Event::PricesSet(_)
            | Event::ForecastSet { .. } => {}
            Event::GridLimitSet(limit) => self.admit_grid_limit(site, limit, now, &mut admitted)?,
            Event::GridLimitRemoved(id) => {
                if !self.grid_limits.contains_key(id) {
                    return Err(Refusal::NotFound {
                        what: "grid limit",
                        id: id.to_string(),
                    });
                }
            }
            Event::SessionStarted(spec) => {
                if self.sessions.contains_key(&spec.id) {
                    return Err(Rejection::one(
                        "session.id",
                        "is the id of a session that is there already",
                        &spec.id,
                        "an id that was never used at this site",
                    )
                    .into());
                }
                let started = Session::start((**spec).clone(), site, now).map_err(|fault| nested("session", fault))?;
                if let Some(open) = self.session_on(&started.spec.evse) {
                    let reason = format!("session {} began on the same EVSE", started.spec.id);
                    admitted.warnings.push(format!(
                        "session {} was still open on this EVSE and has ended",
                        open.spec.id
                    ));
                    admitted.events.push(Event::SessionEnded {
                        session: open.spec.id.clone(),
                        at: now,
                        reason,
                    });
                }
            }
            Event::SessionUpdated(spec) => {
                let session = self.find_session(&spec.id)?;
                session
                    .update((**spec).clone(), site, now)
                    .map_err(|fault| nested("session", fault))?;
            }
            Event::SessionOverridden { session, .. } => {
                self.find_session(session)?;
            }
            Event::DriverKnown { session, driver } => self.admit_driver(session, driver)?,
            Event::SessionEnded { session, at, reason } => {
                let session = self.find_session(session)?;
                admit_end(session, *at, reason, now)?;
            }
            Event::Metered(samples) => {
                let mut faults = Faults::default();
                for (index, sample) in samples.iter().enumerate() {
                    check_sample(&mut faults, site, index, sample, now);
                }
                faults.finish(())?;
            }
            Event::NodesMetered(readings) => {
                let mut faults = Faults::default();
                for (index, reading) in readings.iter().enumerate() {
                    check_node_reading(&mut faults, site, index, reading, now);
                }
                faults.finish(())?;
            }
            Event::CommandAnswered {
                evse,
                revision,
                attempt,
                ..
            } => {
                let known = self
                    .ledger()
                    .is_some_and(|ledger| ledger.was_sent(evse, *revision, *attempt).is_ok());
                if !known {
                    return Err(Rejection::one(
                        "answer.revision",
                        "names a transmission that was never made",
                        format_args!("revision {}, attempt {attempt} at EVSE {evse}", revision.number()),
                        "a revision and attempt from a command of this service",
                    )
                    .into());
                }
            }
            Event::ActiveProfileReported { evse, .. } | Event::CommandOnItsWay { evse, .. } => {
                if site.evse(evse).is_none() {
                    return Err(Refusal::NotFound {
                        what: "EVSE",
                        id: evse.to_string(),
                    });
                }
            }
            Event::EvseCheckAsked { evse, wanted } => self.admit_check(site, evse, *wanted)?,
            Event::PlanMade(_) | Event::CommandsIssued(_) | Event::EvseCheckWentOn(_) | Event::JournalRestored => {
                unreachable!("the engine's own and the store's are carried by no request")
            }
        }
        admitted.events.push(event);
        Ok(admitted)
    }

    fn admit_site(&self, spec: crate::domain::site::SiteSpec) -> Result<Admitted, Refusal> {
        let zone = Zone::parse(&spec.time_zone).map_err(|fault| nested("site", fault));
        let site = Site::new(spec.clone()).map_err(|fault| nested("site", fault));
        let site = match (zone, site) {
            (Ok(_), Ok(site)) => site,
            (Err(zone), Err(site)) => {
                let mut faults = Faults::default();
                faults.nest("", zone);
                faults.nest("", site);
                return Err(faults.into_rejection().into());
            }
            (Err(fault), _) | (_, Err(fault)) => return Err(fault.into()),
        };
        let mut admitted = Admitted::default();
        for session in self.sessions.values() {
            let there = site
                .evse(&session.spec.evse)
                .is_some_and(|evse| evse.connector(&session.connector).is_some());
            if !there {
                admitted
                    .warnings
                    .push(format!("session {} has ended: its connector is gone", session.spec.id));
                admitted.events.push(Event::SessionEnded {
                    session: session.spec.id.clone(),
                    at: self.last_at,
                    reason: "its connector is no longer part of the site".to_owned(),
                });
            }
        }
        for limit in self.grid_limits.values() {
            if site.place_of_node(&limit.node).is_none() {
                admitted
                    .warnings
                    .push(format!("grid limit {} is gone with its node", limit.id));
                admitted.events.push(Event::GridLimitRemoved(limit.id.clone()));
            }
        }
        admitted.events.push(Event::SitePut(Box::new(spec)));
        Ok(admitted)
    }

    fn admit_grid_limit(
        &self,
        site: &Site,
        limit: &GridLimit,
        now: Instant,
        admitted: &mut Admitted,
    ) -> Result<(), Refusal> {
        let place = site
            .named_node(&limit.node)
            .map_err(|fault| nested("grid_limit", fault))?;
        check_node_limit(&limit.limit).map_err(|fault| nested("grid_limit", fault))?;
        if !self.grid_limits.contains_key(&limit.id) && self.grid_limits.len() >= MAX_GRID_LIMITS_PER_SITE {
            return Err(Refusal::Busy { what: "grid limits" });
        }
        let mut with_it = self.grid_limits.clone();
        with_it.insert(limit.id.clone(), limit.clone());
        let limits: Vec<GridLimit> = with_it.into_values().collect();
        let described = self.described.as_ref().expect("the site is described");
        let available = room::available(site, &described.zone, &limits, now, now + LIMIT_HORIZON);
        let unsheddable = site
            .evses()
            .filter(|(at, _)| site.path_to_root(*at).any(|above| above == place));
        let load = unsheddable.map(|(_, evse)| evse.default_load()).sum();
        let tightest = available[place]
            .points()
            .iter()
            .fold(Capacity::UNLIMITED, |tightest, (_, capacity)| {
                tightest.tighter(capacity)
            });
        if let Some(excess) = tightest.excess(&load) {
            admitted.warnings.push(format!(
                "below what cannot be shed at {}: after base load and reserve, {excess} by EVSEs without a profile; everything that can be shed will be",
                limit.node
            ));
        }
        Ok(())
    }

    fn find_session(&self, id: &SessionId) -> Result<&Session, Refusal> {
        self.sessions.get(id).ok_or_else(|| Refusal::NotFound {
            what: "session",
            id: id.to_string(),
        })
    }

    pub fn no_such_site(&self) -> Refusal {
        Refusal::NotFound {
            what: "site",
            id: self.key.site.to_string(),
        }
    }

    /// What a process that starts on a restored journal cannot know: what was sent after the export. The next entry does the same, so
    /// that whoever reads the journal later doubts no less.
    pub fn doubt_what_was_restored(&mut self, now: Instant) {
        if self.restored
            && let Some(described) = &mut self.described
        {
            described.ledger.doubt(now);
        }
    }

    /// Forgets what has run out by `now`. Leads to the same state as the next entry would.
    pub fn let_time_pass(&mut self, now: Instant) {
        self.judge_until(now);
        if let Some(described) = &mut self.described {
            described.ledger.forget_expired(now);
        }
    }

    /// Takes in one entry of the journal. Total: an entry that does not fit the state changes only the sequence.
    ///
    /// Returns the session that the entry ended, for the list of ended sessions.
    pub fn apply(&mut self, entry: &Recorded) -> Option<Session> {
        self.sequence = entry.sequence;
        self.last_at = self.last_at.max(entry.at);
        let now = self.last_at;
        self.remember(entry);
        self.let_time_pass(now);
        self.doubt_what_was_restored(now);
        self.restored = entry.event == Event::JournalRestored;
        let ended = self.take_in(&entry.event, now);
        self.watch(&entry.event, now);
        ended
    }

    fn take_in(&mut self, event: &Event, now: Instant) -> Option<Session> {
        match event {
            Event::SitePut(spec) => self.apply_site(spec, now),
            Event::SiteDeleted => {
                self.described = None;
                self.overloads = Overloads::default();
                self.evse_checks.clear();
            }
            Event::SiteStopped { stopped } => self.stopped = *stopped,
            Event::GridLimitSet(limit) => {
                self.grid_limits.insert(limit.id.clone(), limit.clone());
            }
            Event::GridLimitRemoved(id) => {
                self.grid_limits.remove(id);
            }
            Event::PricesSet(prices) => self.prices = Some(spliced(self.prices.take(), prices, now)),
            Event::ForecastSet {
                kind: ForecastKind::BaseLoad,
                power,
            } => {
                self.base_load = Some(spliced(self.base_load.take(), power, now));
            }
            Event::ForecastSet {
                kind: ForecastKind::Solar,
                power,
            } => {
                self.solar = Some(spliced(self.solar.take(), power, now));
            }
            Event::SessionStarted(spec) => {
                if let Some(described) = &mut self.described
                    && let Ok(session) = Session::start((**spec).clone(), &described.site, now)
                {
                    described.ledger.session_started(&spec.evse, &spec.id, now);
                    described
                        .ledger
                        .car_described(&spec.evse, &spec.id, spec.car.phases, now);
                    self.sessions.insert(spec.id.clone(), session);
                }
            }
            Event::SessionUpdated(spec) => {
                let updated = self
                    .site()
                    .zip(self.sessions.get(&spec.id))
                    .and_then(|(site, session)| session.update((**spec).clone(), site, now).ok());
                if let Some(updated) = updated {
                    if let Some(described) = &mut self.described {
                        let spec = &updated.spec;
                        described
                            .ledger
                            .car_described(&spec.evse, &spec.id, spec.car.phases, now);
                    }
                    self.sessions.insert(spec.id.clone(), updated);
                }
            }
            Event::SessionOverridden { session, overridden } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.overridden = *overridden;
                }
            }
            Event::DriverKnown { session, driver } => self.apply_driver(session, driver),
            Event::SessionEnded { session, at, reason } => return self.apply_end(session, *at, reason, now),
            Event::Metered(samples) => {
                for sample in samples {
                    self.apply_sample(sample, now);
                }
                self.watch_peak(now);
            }
            Event::NodesMetered(readings) => {
                for reading in readings {
                    self.apply_node_reading(reading);
                }
            }
            Event::PlanMade(plan) => {
                self.assume_delivery(now);
                self.plan = Some(Arc::new((**plan).clone()));
            }
            Event::EvseCheckAsked { evse, wanted } => self.apply_check_asked(evse, *wanted, now),
            Event::EvseCheckWentOn(check) => {
                self.evse_checks.insert(check.evse.clone(), (**check).clone());
            }
            Event::CommandsIssued(_)
            | Event::CommandAnswered { .. }
            | Event::ActiveProfileReported { .. }
            | Event::CommandOnItsWay { .. }
            | Event::GatewayConnected { .. }
            | Event::GatewayDisconnected { .. } => {
                if let Some(described) = &mut self.described {
                    described.ledger.tell(event, now);
                }
            }
            Event::JournalRestored => {}
        }
        None
    }

    /// Passes over an entry that cannot be applied, and may have been a command: from here on stations may follow anything.
    pub fn skip(&mut self, entry: &Recorded) {
        self.sequence = entry.sequence;
        self.last_at = self.last_at.max(entry.at);
        if let Some(described) = &mut self.described {
            described.ledger.doubt(self.last_at);
        }
        self.judge_this_second(self.last_at);
    }

    fn remember(&mut self, entry: &Recorded) {
        if let Some((stamp, warnings)) = &entry.request {
            let receipt = Receipt {
                sequence: entry.sequence,
                recorded_at: entry.at,
                warnings: warnings.clone(),
            };
            let remembered = Remembered {
                body_hash: stamp.body_hash,
                receipt,
            };
            if self.requests.insert(stamp.id.clone(), remembered).is_none() {
                self.requests_in_order.push_back((entry.at, stamp.id.clone()));
            }
        }
        while let Some((at, _)) = self.requests_in_order.front() {
            let old = *at + REMEMBER_REQUESTS < self.last_at;
            if !old && self.requests_in_order.len() <= MAX_REMEMBERED_REQUESTS {
                break;
            }
            if let Some((_, id)) = self.requests_in_order.pop_front() {
                self.requests.remove(&id);
            }
        }
    }

    fn apply_site(&mut self, spec: &crate::domain::site::SiteSpec, now: Instant) {
        let (Ok(site), Ok(zone)) = (Site::new(spec.clone()), Zone::parse(&spec.time_zone)) else {
            return;
        };
        let ledger = match self.described.take() {
            Some(mut before) => {
                before.ledger.site_changed(&site, now);
                before.ledger
            }
            // A site that is new to this journal may have been another's until now, or its journal may have been lost: what its
            // EVSEs follow is unknown until a lease has passed, or a gateway that fences says what it has applied.
            None => Ledger::unknown(&site, now),
        };
        self.overloads.keep(|node| site.place_of_node(node).is_some());
        self.evse_checks.retain(|evse, _| site.evse(evse).is_some());
        self.described = Some(Described { site, zone, ledger });
    }

    fn apply_end(&mut self, id: &SessionId, at: Instant, reason: &str, now: Instant) -> Option<Session> {
        let mut session = self.sessions.remove(id)?;
        session.delivered = self.delivered(&session);
        self.assumed.remove(id);
        session.ended = Some(Ended {
            at,
            reason: reason.to_owned(),
        });
        if let Some(described) = &mut self.described {
            described.ledger.session_ended(&session.spec.evse, id, now);
        }
        Some(session)
    }

    fn apply_sample(&mut self, sample: &MeterSample, now: Instant) {
        let Some(described) = &mut self.described else { return };
        described.ledger.metered(sample, now);
        let Some(session) = self
            .sessions
            .values_mut()
            .find(|session| session.spec.evse == sample.evse)
        else {
            return;
        };
        let evse = described.site.evse(&sample.evse);
        let Some(connector) = evse.and_then(|evse| evse.connector(&session.connector)) else {
            return;
        };
        let offered = described.ledger.offered(&sample.evse, sample.at);
        let least = assemble::choice_with_car(connector, session).minimum;
        if sample.at < session.spec.arrival {
            return;
        }
        session.metered(sample, offered, least);
    }

    fn apply_node_reading(&mut self, reading: &NodeReading) {
        let Some(described) = &self.described else { return };
        let site = &described.site;
        let Some(place) = site.place_of_node(&reading.node) else {
            return;
        };
        let limits = self.grid_limits.values().filter(|limit| limit.node == reading.node);
        let limits: Vec<GridLimit> = limits.cloned().collect();
        let bound = calendar::binding_limits(site, &described.zone, &limits, place, reading.at);
        let limit = NodeLimit {
            line: bound.line.map(|bound| bound.value),
            total: bound.total.map(|bound| bound.value),
        };
        let terms = overload::terms(site, &site.spec().nodes[place]);
        self.overloads.read(reading, limit, &terms);
    }

    /// How many cars have all they want: when one more has, its room is others'; when one less has, it wants room again.
    pub fn cars_done(&self) -> usize {
        let done = |session: &&Session| session.tier_after(self.delivered(session)) == Tier::SPARE;
        self.sessions.values().filter(done).count()
    }

    /// Whether a refusal takes something from a car: it is of the latest profile, and the car is still there.
    pub fn misses_out(&self, event: &Event) -> bool {
        let Event::CommandAnswered { evse, revision, .. } = event else {
            return false;
        };
        let is_latest = |ledger: &Ledger| ledger.last_revision(evse) == *revision;
        self.session_on(evse).is_some() && self.ledger().is_some_and(is_latest)
    }

    /// Without what is known already. What comes from a clock ahead of ours is of now: else it would make later readings look old.
    pub(super) fn only_news(&self, readings: Readings, now: Instant) -> Readings {
        match readings {
            Readings::OfEvses(mut samples) => {
                samples.retain(|sample| self.is_news(sample));
                Readings::OfEvses(samples)
            }
            Readings::OfNodes(mut readings) => {
                readings.iter_mut().for_each(|reading| reading.at = reading.at.min(now));
                readings.retain(|reading| self.overloads.is_news(reading));
                Readings::OfNodes(readings)
            }
        }
    }

    /// Where charging is lowered because of what meters show.
    pub(super) fn overloaded(&self, now: Instant) -> Vec<(usize, [bool; QUANTITIES])> {
        self.site()
            .map_or_else(Vec::new, |site| self.overloads.sheds(site, now))
    }

    /// When time alone next has charging lowered because of that, after `now`.
    pub(super) fn next_overload(&self, now: Instant) -> Instant {
        let next = self.site().and_then(|site| self.overloads.next_shed(site, now));
        next.unwrap_or(Instant::FAR_FUTURE)
    }

    /// True if the sample is newer than the last one of its EVSE.
    fn is_news(&self, sample: &MeterSample) -> bool {
        self.session_on(&sample.evse)
            .and_then(|session| session.last_sample.as_ref())
            .is_none_or(|last| sample.at > last.at)
    }

    fn watch_peak(&mut self, now: Instant) {
        let charging: Watts = self
            .sessions
            .values()
            .filter_map(|session| session.last_sample.as_ref())
            .filter(|sample| sample.at + FRESH_READING >= now)
            .filter_map(|sample| sample.power)
            .sum();
        let forecast =
            |timeline: &Option<Timeline<Watts>>| timeline.as_ref().map_or(Watts::ZERO, |power| *power.at(now));
        let load = charging + forecast(&self.base_load) - forecast(&self.solar);
        self.peak_seen = self.peak_seen.max(load);
    }

    /// Counts what the plan in force allowed to sessions that no meter watches, from when it was made until `now`.
    fn assume_delivery(&mut self, now: Instant) {
        let Some(numbered) = self.plan.clone() else { return };
        let Some(described) = &self.described else { return };
        for schedule in &numbered.plan.schedules {
            let Some(session) = self.sessions.get(&schedule.session) else {
                continue;
            };
            if session.last_sample.is_some() {
                continue;
            }
            let Some(connector) = described
                .site
                .evse(&session.spec.evse)
                .and_then(|evse| evse.connector(&session.connector))
            else {
                continue;
            };
            let power = connector.conversion().nominal_power(session.spec.car.phases);
            let grid = &numbered.plan.grid;
            let energy = schedule
                .rates
                .iter()
                .enumerate()
                .fold(WattSeconds::ZERO, |energy, (slot, rate)| {
                    let end = grid.end(slot).min(now);
                    let held = (end - grid.begin(slot)).or_zero();
                    energy + Watts::from_watts(power.floor(*rate)).over(held)
                });
            *self.assumed.entry(schedule.session.clone()).or_default() += energy;
        }
    }
}

/// `new` from its first point on, `old` before that; what ended before `now` is forgotten.
fn spliced<T: Clone + PartialEq>(old: Option<Timeline<T>>, new: &Timeline<T>, now: Instant) -> Timeline<T> {
    let Some(old) = old else { return new.clone() };
    let kept = old.points().iter().filter(|(at, _)| *at < new.start()).cloned();
    let joined = Timeline::from_points(kept.chain(new.points().iter().cloned()));
    joined.since(joined.start().max(now - Seconds::from_hours(24)))
}

fn nested(field: &str, rejection: Rejection) -> Rejection {
    let mut faults = Faults::default();
    faults.nest(field, rejection);
    faults.into_rejection()
}
