//! Keeps sessions in step with what is known of their drivers.
//!
//! Decides when a session's driver is looked at again: when it starts, when something about his token changes, when an answer about him
//! comes, and all of them at the start. What differs from what the session knows is told to its site as an event. It looks at what is
//! there and never trusts that it heard of every change, so nothing is lost with a process that dies between a change and its event.
//! Never decides who may draw power: that is the site's policy.

use super::{Drivers, Known};
use crate::domain::driver::{Authorisation, Driver, DriverPolicy};
use crate::domain::event::Event;
use crate::domain::ids::{EvseId, PersonRef, SessionId, SiteKey, TenantId};
use crate::domain::session::Session;
use crate::engine::ports::Clock;
use crate::engine::{Engine, Refusal};
use crate::register::RegisterError;
use crate::units::Instant;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Where nobody answered about a driver, he is asked about again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// A site that could not be looked at is looked at again after this.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The one task that follows.
pub struct Following {
    drivers: Drivers,
    engine: Engine,
    clock: Arc<dyn Clock>,
    /// Whose sessions are where, as far as they have drivers.
    sessions: HashMap<SiteKey, Vec<Seen>>,
    asked: BTreeSet<(SiteKey, SessionId)>,
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
    answer: Authorisation,
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
        for site in engine.keys() {
            drivers.look_at(site);
        }
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
        let mut ask_again = tokio::time::interval(ASK_AGAIN_AFTER);
        let mut look_again = tokio::time::interval(LOOK_AGAIN_AFTER);
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
                _ = look_again.tick(), if !self.again.is_empty() => {
                    let sites = std::mem::take(&mut self.again);
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
            if let Err(error) = self.look_at(&site, unanswered).await {
                tracing::warn!(%site, %error, "drivers could not be looked at; it is tried again");
                self.again.insert(site);
            }
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
        let policy = &view.site.spec().drivers;
        let mut seen = Vec::new();
        for session in &view.sessions {
            let Some(before) = &session.spec.driver else { continue };
            let driver = self.look_at_driver(site, policy, session, before, unanswered).await?;
            seen.push(Seen {
                person: driver.person,
                unanswered: driver.answer == Some(Authorisation::Unanswered),
            });
        }
        if seen.is_empty() {
            self.sessions.remove(site);
        } else {
            self.sessions.insert(site.clone(), seen);
        }
        Ok(())
    }

    async fn look_at_driver(
        &mut self,
        site: &SiteKey,
        policy: &DriverPolicy,
        session: &Session,
        before: &Driver,
        unanswered: Unanswered,
    ) -> Result<Driver, NotLooked> {
        let now = self.clock.now();
        let known = self.drivers.known(&site.tenant, &before.person).await?;
        let driver = match &known {
            Some(known) => Driver {
                answer: answer_of(before, known, policy, now),
                ..known.driver(policy, now)
            },
            // He was forgotten. What was answered about him then is of the session, and tells nothing of him.
            None => Driver {
                answer: before.answer,
                ..Driver::unknown(before.person.clone())
            },
        };
        if driver != *before {
            self.tell(site, &session.spec.id, driver.clone()).await?;
        }
        let is_news = driver.answer.is_none() || unanswered == Unanswered::AskAgain;
        if let Some(known) = known.filter(|_| is_news && policy.asks(&driver, now)) {
            self.ask(site, &session.spec.evse, &session.spec.id, known);
        }
        Ok(driver)
    }

    fn ask(&mut self, site: &SiteKey, evse: &EvseId, session: &SessionId, known: Known) {
        if !self.asked.insert((site.clone(), session.clone())) {
            return;
        }
        let asking = self.drivers.asking().clone();
        let (site, evse, session) = (site.clone(), evse.clone(), session.clone());
        self.asking.spawn(async move {
            let answer = asking.ask(site.clone(), evse, session.clone(), known.name).await;
            Answered {
                site,
                session,
                person: known.person,
                answer,
            }
        });
    }

    /// An answer is kept for later sessions of the driver before his session is told of it.
    async fn take_answer(&mut self, answered: Answered) {
        let Answered {
            site,
            session,
            person,
            answer,
        } = answered;
        self.asked.remove(&(site.clone(), session.clone()));
        let taken = async {
            if answer != Authorisation::Unanswered {
                self.drivers
                    .keep_answer(&site.tenant, &person, answer, self.clock.now())
                    .await?;
            }
            let view = self.engine.site(&site).await?;
            let found = view.sessions.iter().find(|other| other.spec.id == session);
            let before = found.and_then(|session| session.spec.driver.clone());
            if let Some(before) = before.filter(|driver| driver.person == person) {
                let driver = Driver {
                    answer: Some(answer),
                    ..before.clone()
                };
                if driver != before {
                    self.tell(&site, &session, driver).await?;
                }
            }
            Ok::<(), NotLooked>(())
        };
        match taken.await {
            Ok(()) => {
                let seen = self.sessions.get_mut(&site).into_iter().flatten();
                for seen in seen.filter(|seen| seen.person == person) {
                    seen.unanswered = answer == Authorisation::Unanswered;
                }
            }
            Err(NotLooked::Refused(Refusal::NotFound { .. })) => {}
            Err(error) => {
                tracing::warn!(%site, %error, "an answer about a driver was not told; he is asked about again");
                self.again.insert(site);
            }
        }
    }

    /// A session that ended meanwhile needs no telling.
    async fn tell(&self, site: &SiteKey, session: &SessionId, driver: Driver) -> Result<(), Refusal> {
        let event = Event::DriverKnown {
            session: session.clone(),
            driver,
        };
        match self.engine.submit(site, None, event).await {
            Ok(_) | Err(Refusal::NotFound { .. }) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }
}

/// A session keeps its answer; only one that has none may use what was answered for another.
fn answer_of(before: &Driver, known: &Known, policy: &DriverPolicy, now: Instant) -> Option<Authorisation> {
    let remembered = known.driver(policy, now).answer;
    match before.answer {
        None => remembered,
        Some(Authorisation::Unanswered) => remembered.or(before.answer),
        given => given,
    }
}
