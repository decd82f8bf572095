//! Who searches when.
//!
//! Decides that solvers are shared, and that no tenant keeps another waiting for long: of each tenant no more searches stand in the
//! common queue than there are solvers, however many of its sites want one. Never decides what is searched.

use crate::domain::ids::TenantId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

/// Searches that run at once, and whose turn it is.
#[derive(Debug)]
pub(super) struct Solvers {
    count: usize,
    free: Arc<Semaphore>,
    /// Of each tenant that ever searched: of its sites, and of its stateless plans.
    turns: Mutex<HashMap<TenantId, Turns>>,
    /// Stateless plans take half of the solvers at most, so that a site's search waits for no more than that.
    turns_once: Arc<Semaphore>,
}

impl Solvers {
    pub(super) fn new(count: usize) -> Self {
        let count = count.max(1);
        Self {
            count,
            free: Arc::new(Semaphore::new(count)),
            turns: Mutex::default(),
            turns_once: Arc::new(Semaphore::new(half(count))),
        }
    }

    /// Runs a search of a tenant's site beside everything else, once it is its turn and a solver is free.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        search: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turn = place_of(self.turns_of(tenant).of_sites).await;
        self.in_turn(vec![turn], search).await
    }

    /// The same for a plan that belongs to no site.
    pub(super) async fn run_once<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        search: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turn = place_of(self.turns_of(tenant).once).await;
        let among_all = place_of(Arc::clone(&self.turns_once)).await;
        self.in_turn(vec![turn, among_all], search).await
    }

    fn turns_of(&self, tenant: &TenantId) -> Turns {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Turns {
            of_sites: Arc::new(Semaphore::new(self.count)),
            once: Arc::new(Semaphore::new(half(self.count))),
        };
        turns.entry(tenant.clone()).or_insert_with(new).clone()
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        turn: Vec<OwnedSemaphorePermit>,
        search: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let solver = place_of(Arc::clone(&self.free)).await;
        tokio::task::spawn_blocking(move || {
            // Held until the search itself has ended, also where nobody waits for it any more.
            let _held = (turn, solver);
            search()
        })
        .await
    }
}

/// Whose turn it is within one tenant.
#[derive(Clone, Debug)]
struct Turns {
    of_sites: Arc<Semaphore>,
    once: Arc<Semaphore>,
}

fn half(count: usize) -> usize {
    (count / 2).max(1)
}

async fn place_of(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    let place = semaphore.acquire_owned().await;
    place.expect("these semaphores are never closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::task::JoinSet;

    #[tokio::test]
    async fn a_tenant_with_many_searches_keeps_another_waiting_for_one() {
        let solvers = Arc::new(Solvers::new(1));
        let (done, order) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let mut searches = JoinSet::new();
        let mut begin = |tenant: &'static str, wait: Option<mpsc::Receiver<()>>| {
            let (solvers, done) = (Arc::clone(&solvers), done.clone());
            searches.spawn(async move {
                let search = move || {
                    if let Some(wait) = wait {
                        wait.recv().unwrap();
                    }
                    done.send(tenant).unwrap();
                };
                solvers.run(&TenantId::parse(tenant).unwrap(), search).await.unwrap();
            });
        };
        begin("greedy", Some(held));
        for _ in 0..20 {
            begin("greedy", None);
        }
        tokio::task::yield_now().await;
        begin("other", None);
        tokio::task::yield_now().await;
        release.send(()).unwrap();
        searches.join_all().await;
        drop(done);
        let order: Vec<&str> = order.iter().collect();
        assert_eq!(order.len(), 22);
        assert_eq!(order.iter().position(|tenant| *tenant == "other"), Some(1), "{order:?}");
    }

    #[tokio::test]
    async fn plans_of_nobody_leave_half_of_the_solvers() {
        let solvers = Arc::new(Solvers::new(2));
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let mut once = JoinSet::new();
        for _ in 0..2 {
            let (solvers, held) = (Arc::clone(&solvers), Arc::clone(&held));
            once.spawn(async move {
                let tenant = TenantId::parse("acme").unwrap();
                let search = move || held.lock().unwrap().recv().unwrap();
                solvers.run_once(&tenant, search).await
            });
        }
        tokio::task::yield_now().await;
        let tenant = TenantId::parse("acme").unwrap();
        solvers.run(&tenant, || ()).await.unwrap();
        for _ in 0..2 {
            release.send(()).unwrap();
        }
        once.join_all().await;
    }
}
