//! Who may draw power at a site, as its state knows it.
//!
//! Decides what the site's policy leaves to each session: everything, a part, or nothing. Pure: time comes as an argument, since a
//! token may expire. An operator who hands an EVSE back to its station has let its driver in.

use super::Refusal;
use super::assemble;
use super::state::SiteState;
use crate::domain::conversion::Rate;
use crate::domain::driver::{Driver, Verdict};
use crate::domain::ids::SessionId;
use crate::domain::session::{Override, Session, Tier};
use crate::domain::timeline::Timeline;
use crate::units::Instant;
use std::collections::BTreeMap;

/// What the policy of the site leaves to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Whole,
    /// No more than this, of what nobody else wants.
    UpTo(Rate),
    Nothing,
}

impl SiteState {
    pub(super) fn verdict(&self, session: &Session, now: Instant) -> Verdict {
        let Some(site) = self.site() else { return Ok(()) };
        site.spec().drivers.verdict(session.spec.driver.as_ref(), now)
    }

    pub(super) fn admission(&self, session: &Session, now: Instant) -> Admission {
        let Some(site) = self.site().filter(|_| self.verdict(session, now).is_err()) else {
            return Admission::Whole;
        };
        let evse = site.evse(&session.spec.evse);
        let Some(connector) = evse.and_then(|evse| evse.connector(&session.connector)) else {
            return Admission::Nothing;
        };
        // As if the car used every phase that it could: nobody knows what an unknown driver's car does.
        let power = connector.conversion().nominal_power(None);
        let most = power.rate_within(site.spec().drivers.limit_otherwise.watts());
        let choice = assemble::choice_with_car(connector, session);
        match choice.floor(most.unwrap_or(Rate::ZERO)) {
            Rate::ZERO => Admission::Nothing,
            rate => Admission::UpTo(rate),
        }
    }

    /// When it is served: whoever is not admitted comes after everybody who is.
    pub(super) fn serving_tier(&self, session: &Session, now: Instant) -> Tier {
        match self.verdict(session, now) {
            Ok(()) => session.tier_after(self.delivered(session)),
            Err(_) => Tier::SPARE,
        }
    }

    /// Sessions whose drivers are not admitted, with the most that is left to each.
    pub(super) fn turned_away(&self, now: Instant) -> BTreeMap<SessionId, Rate> {
        let is_turned_away =
            |session: &&Session| session.overridden != Override::HandBack && self.verdict(session, now).is_err();
        let turned_away = self.sessions().filter(is_turned_away);
        turned_away
            .map(|session| (session.spec.id.clone(), self.most(session, now).unwrap_or(Rate::ZERO)))
            .collect()
    }

    /// Whether the plan in force gives a session more than is left to it.
    pub(super) fn is_planned_above(&self, session: &SessionId, left: Rate) -> bool {
        let rates = self.plan().and_then(|numbered| numbered.plan.rates_of(session));
        rates.is_some_and(|rates| rates.points().iter().any(|(_, rate)| *rate > left))
    }

    /// `None`: as much as its car takes.
    fn most(&self, session: &Session, at: Instant) -> Option<Rate> {
        match self.admission(session, at) {
            Admission::Whole => None,
            Admission::UpTo(rate) => Some(rate),
            Admission::Nothing => Some(Rate::ZERO),
        }
    }

    /// Rates for a session, cut to what is left to it now, and from when its driver's token ends to what is left then: that holds
    /// also where nobody can be told any more.
    pub(super) fn within_admission(&self, session: &Session, rates: &Timeline<Rate>, now: Instant) -> Timeline<Rate> {
        let site = self.site();
        let changes_at = site.and_then(|site| site.spec().drivers.changes_at(session.spec.driver.as_ref(), now));
        if changes_at.is_none() && self.admission(session, now) == Admission::Whole {
            return rates.clone();
        }
        let most_from = |at: Instant| (at, self.most(session, at));
        let most = Timeline::from_points([now].into_iter().chain(changes_at).map(most_from));
        rates.zip(&most, |rate, most| most.map_or(*rate, |most| (*rate).min(most)))
    }

    /// Whether its driver is admitted now, and will be until `end`.
    pub(super) fn is_admitted_until(&self, session: &Session, now: Instant, end: Instant) -> bool {
        self.verdict(session, now).is_ok() && self.verdict(session, end).is_ok()
    }

    /// When time alone next changes who is admitted, after `now`.
    pub(super) fn next_verdict(&self, now: Instant) -> Instant {
        let Some(site) = self.site() else {
            return Instant::FAR_FUTURE;
        };
        let policy = &site.spec().drivers;
        let changes = self
            .sessions()
            .filter_map(|session| policy.changes_at(session.spec.driver.as_ref(), now));
        changes.min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// What is known of a driver is said of the session that is his, and of no other.
    pub(super) fn admit_driver(&self, session: &SessionId, driver: &Driver) -> Result<(), Refusal> {
        let is_his =
            |session: &Session| session.spec.driver.as_ref().map(|known| &known.person) == Some(&driver.person);
        if self.sessions.get(session).is_some_and(is_his) {
            return Ok(());
        }
        Err(Refusal::NotFound {
            what: "session of this driver",
            id: session.to_string(),
        })
    }

    pub(super) fn apply_driver(&mut self, session: &SessionId, driver: &Driver) {
        let session = self.sessions.get_mut(session);
        let known = session.and_then(|session| session.spec.driver.as_mut());
        if let Some(known) = known.filter(|known| known.person == driver.person) {
            *known = driver.clone();
        }
    }
}
