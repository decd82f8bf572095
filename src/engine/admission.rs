//! Who may draw power at a site, as its state knows it.
//!
//! Decides what the site's policy leaves to each session: everything, a part, or nothing. Pure: time comes as an argument, since a
//! token may expire. An operator who hands an EVSE back to its station has let its driver in.

use super::Refusal;
use super::state::SiteState;
use crate::domain::conversion::Rate;
use crate::domain::driver::{Driver, Verdict};
use crate::domain::ids::SessionId;
use crate::domain::session::{Override, Session, Tier};
use crate::engine::assemble;
use crate::units::Instant;
use std::collections::BTreeSet;

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

    /// Sessions whose drivers are not admitted.
    pub(super) fn turned_away(&self, now: Instant) -> BTreeSet<SessionId> {
        let is_turned_away =
            |session: &&Session| session.overridden != Override::HandBack && self.verdict(session, now).is_err();
        let turned_away = self.sessions().filter(is_turned_away);
        turned_away.map(|session| session.spec.id.clone()).collect()
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
