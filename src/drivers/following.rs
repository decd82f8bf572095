//! Keeps sessions in step with what is known of their drivers.
//!
//! Decides when a session's driver is looked at again: when it starts, when something about his token changes, when an answer about him
//! comes, and all of them at the start and every ten minutes. What differs from what the session knows is told to its site as an event. It looks at what is
//! there and never trusts that it heard of every change, so nothing is lost with a process that dies between a change and its event.
//! Never decides who may draw power: that is the site's policy.

use super::Drivers;
use super::asking::Given;
use super::register::Known;
use crate::domain::driver::{Authorisation, Driver, DriverPolicy};
use crate::domain::event::Event;
use crate::domain::ids::{EvseId, PersonRef, SessionId, SiteKey, TenantId};
use crate::engine::ports::Clock;
use crate::engine::{Engine, Refusal};
use crate::register::RegisterError;
use crate::units::Instant;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior};

/// Where nobody answered about a driver, he is asked about again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// A site that could not be looked at is looked at again after this.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Sessions of one site that are told at once: their events go by the lane of cuts, which has to keep room for those.
const MAX_TELLING: usize = 32;
/// Every site is looked at again after this, whatever was heard of it.
const LOOK_AT_ALL_AFTER: Duration = Duration::from_secs(600);

/// The one task that follows.
pub struct Following {
    drivers: Drivers,
    engine: Engine,
    clock: Arc<dyn Clock>,
    /// Whose sessions are where, as far as they have drivers.
    sessions: HashMap<SiteKey, Vec<Seen>>,
    asked: BTreeSet<(SiteKey, SessionId, PersonRef)>,
    asking: JoinSet<Answered>,
    /// Sites that could not be looked at.
    again: BTreeSet<SiteKey>,
}

/// Whether those are asked about again of whom nobody answered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unanswered {
    Leave,
    AskAgain,
}

/// A session with a driver, as it was when its site was looked at.
struct Seen {
    person: PersonRef,
    unanswered: bool,
}

/// What came of a question.
struct Answered {
    site: SiteKey,
    session: SessionId,
    person: PersonRef,
    given: Option<Given>,
}

/// Why a site could not be looked at.
#[derive(Debug, thiserror::Error)]
enum NotLooked {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Register(#[from] RegisterError),
}

impl Following {
    pub fn new(drivers: Drivers, engine: Engine, clock: Arc<dyn Clock>) -> Self {
        Self {
            drivers,
            engine,
            clock,
            sessions: HashMap::new(),
            asked: BTreeSet::new(),
            asking: JoinSet::new(),
            again: BTreeSet::new(),
        }
    }

    /// Never ends by itself.
    pub async fn follow(mut self) -> Infallible {
        let mut ask_again = rounds(ASK_AGAIN_AFTER);
        let mut look_again = rounds(LOOK_AGAIN_AFTER);
        let mut look_at_all = rounds(LOOK_AT_ALL_AFTER);
        let drivers = self.drivers.clone();
        loop {
            tokio::select! {
                news = drivers.news() => {
                    let mut sites = news.sites;
                    sites.extend(self.sites_of(&news.people));
                    self.look_at_all(sites, Unanswered::Leave).await;
                }
                Some(answered) = self.asking.join_next() => {
                    match answered {
                        Ok(answered) => self.take_answer(answered).await,
                        Err(error) => tracing::error!(%error, "a question about a driver broke"),
                    }
                }
                _ = look_again.tick() => {
                    let sites = self.again.clone();
                    self.look_at_all(sites, Unanswered::Leave).await;
                }
                _ = look_at_all.tick() => {
                    let sites = self.engine.keys().into_iter().collect();
                    self.look_at_all(sites, Unanswered::Leave).await;
                }
                _ = ask_again.tick() => {
                    let unanswered = self.sessions.iter().filter(|(_, seen)| seen.iter().any(|seen| seen.unanswered));
                    let sites: BTreeSet<SiteKey> = unanswered.map(|(site, _)| site.clone()).collect();
                    self.look_at_all(sites, Unanswered::AskAgain).await;
                }
            }
        }
    }

    fn sites_of(&self, people: &BTreeMap<TenantId, BTreeSet<PersonRef>>) -> BTreeSet<SiteKey> {
        let has_one = |(site, seen): &(&SiteKey, &Vec<Seen>)| {
            let of_tenant = people.get(&site.tenant);
            of_tenant.is_some_and(|people| seen.iter().any(|seen| people.contains(&seen.person)))
        };
        let sites = self.sessions.iter().filter(has_one);
        sites.map(|(site, _)| site.clone()).collect()
    }

    async fn look_at_all(&mut self, sites: BTreeSet<SiteKey>, unanswered: Unanswered) {
        for site in sites {
            match self.look_at(&site, unanswered).await {
                Ok(()) => {
                    self.again.remove(&site);
                }
                // It does nothing until the service starts again, and then all are looked at.
                Err(_) if self.engine.stands_still(&site) => {
                    self.again.remove(&site);
                }
                Err(error) => self.try_again(site, &error),
            }
        }
    }

    /// Told once, however often it is tried.
    fn try_again(&mut self, site: SiteKey, error: &NotLooked) {
        if !self.again.contains(&site) {
            tracing::warn!(%site, %error, "drivers could not be looked at; it is tried again until it succeeds");
            self.again.insert(site);
        }
    }

    async fn look_at(&mut self, site: &SiteKey, unanswered: Unanswered) -> Result<(), NotLooked> {
        let view = match self.engine.site(site).await {
            Ok(view) => view,
            Err(Refusal::NotFound { .. }) => {
                self.sessions.remove(site);
                return Ok(());
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let (policy, now) = (&view.site.spec().drivers, self.clock.now());
        let mut seen = Vec::new();
        // Many at once, so that a site records and heeds them together.
        let mut telling = JoinSet::new();
        for session in &view.sessions {
            let Some(before) = &session.spec.driver else { continue };
            let known = self.drivers.known(&site.tenant, &before.person).await?;
            let driver = as_known(before, known.as_ref(), policy, now);
            seen.push(Seen {
                person: driver.person.clone(),
                unanswered: driver.answer == Some(Authorisation::Unanswered),
            });
            let is_news = driver.answer.is_none() || unanswered == Unanswered::AskAgain;
            if let Some(known) = known.filter(|_| is_news && policy.asks(&driver, now)) {
                self.ask(site, &session.spec.evse, &session.spec.id, known);
            }
            if driver != *before {
                if telling.len() >= MAX_TELLING {
                    told(telling.join_next().await)?;
                }
                telling.spawn(tell(self.engine.clone(), site.clone(), session.spec.id.clone(), driver));
            }
        }
        if seen.is_empty() {
            self.sessions.remove(site);
        } else {
            self.sessions.insert(site.clone(), seen);
        }
        while !telling.is_empty() {
            told(telling.join_next().await)?;
        }
        Ok(())
    }

    fn ask(&mut self, site: &SiteKey, evse: &EvseId, session: &SessionId, known: Known) {
        if !self.asked.insert((site.clone(), session.clone(), known.person.clone())) {
            return;
        }
        let asking = self.drivers.asking().clone();
        let (site, evse, session) = (site.clone(), evse.clone(), session.clone());
        self.asking.spawn(async move {
            let given = asking.ask(site.clone(), evse, session.clone(), known.name).await;
            Answered {
                site,
                session,
                person: known.person,
                given,
            }
        });
    }

    /// An answer is recorded, for the session and for later ones of the driver, before whoever gave it is told that it counts.
    async fn take_answer(&mut self, answered: Answered) {
        let (site, session, person) = (answered.site, answered.session, answered.person);
        self.asked.remove(&(site.clone(), session.clone(), person.clone()));
        let answer = answered.given.as_ref().map(|given| given.answer);
        match self.record(&site, &session, &person, answer).await {
            Ok(()) => {
                let seen = self.sessions.get_mut(&site).into_iter().flatten();
                for seen in seen.filter(|seen| seen.person == person) {
                    seen.unanswered = answer.is_none();
                }
                if let Some(given) = answered.given {
                    given.is_recorded();
                }
            }
            Err(NotLooked::Refused(Refusal::NotFound { .. })) => {}
            Err(error) => self.try_again(site, &error),
        }
    }

    async fn record(
        &self,
        site: &SiteKey,
        session: &SessionId,
        person: &PersonRef,
        answer: Option<Authorisation>,
    ) -> Result<(), NotLooked> {
        if let Some(answer) = answer {
            let now = self.clock.now();
            self.drivers.keep_answer(&site.tenant, person, answer, now).await?;
        }
        let view = self.engine.site(site).await?;
        let found = view.sessions.iter().find(|other| other.spec.id == *session);
        let before = found.and_then(|session| session.spec.driver.as_ref());
        let Some(before) = before.filter(|driver| driver.person == *person) else {
            // Another driver's by now, or over.
            return Ok(());
        };
        let driver = Driver {
            // What was answered meanwhile is not undone by silence.
            answer: answer.or(before.answer).or(Some(Authorisation::Unanswered)),
            ..before.clone()
        };
        if driver == *before {
            return Ok(());
        }
        let (site, session) = (site.clone(), session.clone());
        Ok(tell(self.engine.clone(), site, session, driver).await?)
    }
}

/// Nobody makes up for rounds that were missed.
fn rounds(every: Duration) -> Interval {
    let mut rounds = tokio::time::interval(every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

fn told(joined: Option<Result<Result<(), Refusal>, JoinError>>) -> Result<(), Refusal> {
    joined.map_or(Ok(()), |told| {
        told.map_err(|error| Refusal::Unavailable(error.to_string()))?
    })
}

/// A session that ended meanwhile needs no telling.
async fn tell(engine: Engine, site: SiteKey, session: SessionId, driver: Driver) -> Result<(), Refusal> {
    match engine.submit(&site, None, Event::DriverKnown { session, driver }).await {
        Ok(_) | Err(Refusal::NotFound { .. }) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

/// A session keeps its answer; only one that has none may use what was answered for another.
fn as_known(before: &Driver, known: Option<&Known>, policy: &DriverPolicy, now: Instant) -> Driver {
    // He was forgotten: what was answered about him is of the session, and tells nothing of him.
    let Some(known) = known else {
        return Driver {
            answer: before.answer,
            ..Driver::unknown(before.person.clone())
        };
    };
    let now_known = known.driver(policy, now);
    Driver {
        answer: match before.answer {
            None => now_known.answer,
            Some(Authorisation::Unanswered) => now_known.answer.or(before.answer),
            given => given,
        },
        ..now_known
    }
}
