//! Checks of EVSEs, as part of a site.
//!
//! Decides when one may begin, what it sees of the site, and when it ends before its time. What it finds is decided in
//! [`crate::domain::commissioning`]; what is sent for it, by the roll-out.

use super::Refusal;
use super::admission::Admission;
use super::state::SiteState;

use crate::domain::commissioning::{EvseCheck, Facts, Told};
use crate::domain::ids::EvseId;
use crate::domain::profile::Revision;
use crate::domain::rejection::Rejection;
use crate::domain::session::Session;
use crate::domain::site::{Connector, Mode, Site};
use crate::rollout::Ledger;
use crate::units::Instant;

impl SiteState {
    pub fn running_check(&self) -> Option<&EvseCheck> {
        self.evse_checks.values().find(|check| check.is_running())
    }

    /// Whether an EVSE may be checked now, or its check ended.
    pub(super) fn admit_check(&self, site: &Site, evse: &EvseId, wanted: bool) -> Result<(), Refusal> {
        let no_such = || Refusal::NotFound {
            what: "EVSE",
            id: evse.to_string(),
        };
        let described = site.evse(evse).ok_or_else(no_such)?;
        let refuse = |rule: &str, allowed: &str| Err(Rejection::one("evse_id", rule, evse, allowed).into());
        if !wanted {
            return match self.evse_checks.get(evse) {
                Some(check) if check.is_running() => Ok(()),
                _ => refuse("is not being checked", "an EVSE whose check is under way"),
            };
        }
        if let Some(running) = self.running_check() {
            let allowed = format!("one check at a time: {} is under way", running.evse);
            return refuse("cannot be checked yet", &allowed);
        }
        if site.spec().mode != Mode::Control {
            return refuse("cannot be checked", "a site in mode control, where profiles are sent");
        }
        if !described.controllable {
            return refuse("cannot be controlled", "an EVSE to which profiles can be sent");
        }
        if !self.ledger().is_some_and(Ledger::is_linked) {
            return refuse("cannot be checked", "a site whose gateway is connected");
        }
        Ok(())
    }

    pub(super) fn apply_check_asked(&mut self, evse: &EvseId, wanted: bool, now: Instant) {
        if !wanted {
            if let Some(check) = self.evse_checks.get_mut(evse) {
                check.abort("an operator ended it", now);
            }
            return;
        }
        let Some(described) = self.site().and_then(|site| site.evse(evse)) else {
            return;
        };
        let session = self.session_on(evse);
        let unseen = match session {
            None => Some("no car is plugged in"),
            Some(_) if !described.metered => Some("the EVSE has no meter"),
            Some(session) if !self.may_be_checked(session, now) => {
                Some("an operator decides about its session, or its driver is not admitted")
            }
            Some(_) => None,
        };
        let revision = self
            .ledger()
            .map_or(Revision::NONE, |ledger| ledger.last_revision(evse));
        let session = session.map(|session| session.spec.id.clone());
        let check = EvseCheck::begin(evse.clone(), session, revision, unseen, now);
        self.evse_checks.insert(evse.clone(), check);
    }

    /// The check under way as it is now; `None` while there is nothing new to it.
    pub(super) fn look_at_check(&self, now: Instant) -> Option<EvseCheck> {
        let check = self.running_check()?;
        let Some((session, connector)) = self.checked_session(check, now) else {
            let mut ended = check.clone();
            ended.abort(
                "the car left, its driver is not admitted, or an operator decided about its session or site",
                now,
            );
            return Some(ended);
        };
        let (site, ledger) = self.site().zip(self.ledger())?;
        let facts = Facts {
            connector,
            car_phases: session.spec.car.phases,
            settling: site.spec().clock_skew,
            revision: ledger.last_revision(&check.evse),
            offered: ledger.offered(&check.evse, now),
            sample: session.last_sample.as_ref(),
        };
        check.look(&facts, now)
    }

    /// What a check tells the car of `session`, instead of the plan.
    pub(super) fn told_by_check(&self, session: &Session, now: Instant) -> Option<Told> {
        let check = self.evse_checks.get(&session.spec.evse)?;
        let (checked, connector) = self.checked_session(check, now)?;
        (checked.spec.id == session.spec.id).then(|| check.told(connector))?
    }

    /// The session by which a check sees, while it is the planner's to decide about.
    fn checked_session(&self, check: &EvseCheck, now: Instant) -> Option<(&Session, &Connector)> {
        let session = self.sessions.get(check.session.as_ref()?)?;
        let evse = self.site()?.evse(&check.evse)?;
        let connector = evse.connector(&session.connector)?;
        self.may_be_checked(session, now).then_some((session, connector))
    }

    /// A check has its car draw all that it may, whatever is planned.
    fn may_be_checked(&self, session: &Session, now: Instant) -> bool {
        self.is_planned(session, now) && self.admission(session, now) == Admission::Whole
    }
}
