//! Asking about a driver, and whoever answers.
//!
//! Decides who is told of a question, how long its answer is waited for, and that the first answer counts: whoever gives it is told so
//! once it is recorded. Never decides what an answer means. A question that nobody can be told of is unanswered at once: the site's offline rule is not kept waiting.

use crate::domain::driver::{Authorisation, TokenName};
use crate::domain::ids::{EvseId, SessionId, SiteKey, TenantId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

/// A car stands there and waits: after this the offline rule decides.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Questions of one tenant that wait for their answers. One more is unanswered at once.
pub const MAX_WAITING: usize = 1_000;
/// Questions that a watcher may be behind before its stream ends. More than may wait, so that whoever reads gets all of them.
const MAX_BEHIND: usize = 1_024;

/// Whether a driver may draw power at an EVSE.
#[derive(Clone, Debug)]
pub struct Question {
    /// Random: only who was told of it can answer it.
    pub id: Uuid,
    pub token: TokenName,
    pub site: SiteKey,
    pub evse: EvseId,
    pub session: SessionId,
}

/// The questions of all tenants; cheap to clone.
#[derive(Clone, Debug)]
pub struct Asking {
    within: Duration,
    tenants: Arc<Mutex<HashMap<TenantId, Desk>>>,
}

/// An answer that came in time. Whoever gave it waits until it is recorded.
#[derive(Debug)]
pub struct Given {
    pub answer: Authorisation,
    recorded: oneshot::Sender<()>,
}

impl Given {
    /// Tells whoever gave it that it counts. Dropped instead, it does not.
    pub fn is_recorded(self) {
        // Fails where he waits no more.
        let _ = self.recorded.send(());
    }
}

/// What came of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Counts,
    /// It was answered before, or nobody waits for it any more.
    TooLate,
    /// It could not be recorded. The driver is asked about again.
    Lost,
}

/// One tenant's questions, and those who are told of them.
#[derive(Debug)]
struct Desk {
    waiting: HashMap<Uuid, (Arc<Question>, oneshot::Sender<Given>)>,
    watchers: broadcast::Sender<Arc<Question>>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            watchers: broadcast::Sender::new(MAX_BEHIND),
        }
    }
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            within: ANSWER_WITHIN,
            tenants: Arc::default(),
        }
    }
}

impl Asking {
    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Desk>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer; `None` if there is none.
    pub(super) async fn ask(&self, site: SiteKey, evse: EvseId, session: SessionId, token: TokenName) -> Option<Given> {
        let tenant = site.tenant.clone();
        let question = Arc::new(Question {
            id: Uuid::new_v4(),
            token,
            site,
            evse,
            session,
        });
        let id = question.id;
        let answered = {
            let mut tenants = self.tenants();
            let desk = tenants.entry(tenant.clone()).or_default();
            if desk.waiting.len() >= MAX_WAITING || desk.watchers.send(Arc::clone(&question)).is_err() {
                return None;
            }
            let (answer, answered) = oneshot::channel();
            desk.waiting.insert(id, (question, answer));
            answered
        };
        let answer = timeout(self.within, answered).await;
        if let Some(desk) = self.tenants().get_mut(&tenant) {
            desk.waiting.remove(&id);
        }
        answer.ok().and_then(Result::ok)
    }

    /// The questions that wait, and those that come from now on.
    pub fn watch(&self, tenant: &TenantId) -> (Vec<Arc<Question>>, broadcast::Receiver<Arc<Question>>) {
        let mut tenants = self.tenants();
        let desk = tenants.entry(tenant.clone()).or_default();
        let waiting = desk.waiting.values().map(|(question, _)| Arc::clone(question));
        (waiting.collect(), desk.watchers.subscribe())
    }

    /// Answers a question of this tenant. What counts is recorded when this returns.
    pub async fn answer(&self, tenant: &TenantId, id: Uuid, answer: Authorisation) -> Outcome {
        let question = self.tenants().get_mut(tenant).and_then(|desk| desk.waiting.remove(&id));
        let Some((_, asked)) = question else {
            return Outcome::TooLate;
        };
        let (recorded, waiting) = oneshot::channel();
        if asked.send(Given { answer, recorded }).is_err() {
            return Outcome::TooLate;
        }
        match waiting.await {
            Ok(()) => Outcome::Counts,
            Err(_) => Outcome::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::driver::{Personal, TokenKind};
    use crate::domain::ids::SiteId;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    /// A test that waits for an answer that does not come would not end.
    fn patient() -> Asking {
        Asking {
            within: Duration::from_secs(3_600),
            ..Asking::default()
        }
    }

    /// Records every answer.
    async fn ask(asking: &Asking) -> Option<Authorisation> {
        let site = SiteKey {
            tenant: tenant("acme"),
            site: SiteId::parse("quay").unwrap(),
        };
        let token = TokenName {
            kind: TokenKind::Rfid,
            uid: Personal::parse("uid", "04A1").unwrap(),
        };
        let evse = EvseId::parse("evse-1").unwrap();
        let session = SessionId::parse("session-1").unwrap();
        let given = asking.ask(site, evse, session, token).await?;
        let answer = given.answer;
        given.is_recorded();
        Some(answer)
    }

    #[tokio::test]
    async fn where_nobody_watches_nothing_is_waited_for() {
        let asking = patient();
        assert_eq!(ask(&asking).await, None);
        let (_, other_tenant) = asking.watch(&tenant("other"));
        assert_eq!(ask(&asking).await, None);
        drop(other_tenant);
    }

    #[tokio::test]
    async fn the_first_answer_counts_and_only_from_the_tenant_itself() {
        let asking = patient();
        let (waiting, mut coming) = asking.watch(&tenant("acme"));
        assert!(waiting.is_empty());
        let clerk = async {
            let question = coming.recv().await.unwrap();
            // Whoever comes late is told of it too.
            assert_eq!(asking.watch(&tenant("acme")).0[0].id, question.id);
            let answer = async |of: &str, answer| asking.answer(&tenant(of), question.id, answer).await;
            assert_eq!(answer("other", Authorisation::Allowed).await, Outcome::TooLate);
            assert_eq!(answer("acme", Authorisation::NoCredit).await, Outcome::Counts);
            assert_eq!(answer("acme", Authorisation::Allowed).await, Outcome::TooLate);
        };
        let (answer, ()) = tokio::join!(ask(&asking), clerk);
        assert_eq!(answer, Some(Authorisation::NoCredit));
        assert!(asking.watch(&tenant("acme")).0.is_empty());
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_not_waited_for_for_ever() {
        let asking = Asking {
            within: Duration::from_millis(1),
            ..Asking::default()
        };
        let (_, mut coming) = asking.watch(&tenant("acme"));
        assert_eq!(ask(&asking).await, None);
        let question = coming.recv().await.unwrap();
        let acme = tenant("acme");
        let late = asking.answer(&acme, question.id, Authorisation::Allowed).await;
        assert_eq!(late, Outcome::TooLate);
    }

    #[tokio::test]
    async fn an_answer_that_is_not_recorded_does_not_count() {
        let asking = patient();
        let (_, mut coming) = asking.watch(&tenant("acme"));
        let site = SiteKey {
            tenant: tenant("acme"),
            site: SiteId::parse("quay").unwrap(),
        };
        let (evse, session) = (EvseId::parse("e").unwrap(), SessionId::parse("s").unwrap());
        let name = TokenName {
            kind: TokenKind::Rfid,
            uid: Personal::parse("uid", "04A1").unwrap(),
        };
        let forgetful = async { drop(asking.ask(site, evse, session, name).await.expect("an answer")) };
        let clerk = async {
            let question = coming.recv().await.unwrap();
            asking
                .answer(&tenant("acme"), question.id, Authorisation::Allowed)
                .await
        };
        assert_eq!(tokio::join!(forgetful, clerk).1, Outcome::Lost);
    }
}
