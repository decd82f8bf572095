//! The loop: one task per site takes events in, keeps them in the journal, plans, and sends what the roll-out allows.
//!
//! Decides when things happen: what is acknowledged was synced first, what is sent was synced first, bursts make one plan, and a
//! slow search never keeps an event waiting. Never decides how much power anyone gets.

mod admission;
pub mod alarms;
mod assemble;
mod board;
mod checks;
mod commissioning;
mod directory;
pub mod image;
mod inbox;
pub mod once;
mod overload;
pub mod ports;
pub(crate) mod recover;
mod room;
pub(crate) mod site_core;
mod site_task;
mod solvers;
pub(crate) mod state;
mod stopwatch;
pub mod tallies;
mod urgency;
pub mod view;

use crate::domain::alarm::{AlarmKind, SiteAlarm};
use crate::domain::event::{Event, Receipt, RequestStamp};
use crate::domain::ids::{GatewayId, RequestId, SessionId, SiteId, SiteKey, TenantId};
use crate::domain::overload::NodeReading;
use crate::domain::plan::Budget;
use crate::domain::rejection::Rejection;
use crate::domain::session::{MeterSample, Session};
use board::Board;
use directory::Directory;
use inbox::{Lane, NotTaken, Outlet};
use ports::{Clock, Gateway, Store, StoreError};
use site_core::Summary;
use site_task::{Message, SiteTask, Status, World};
use solvers::Solvers;
use state::SiteState;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use stopwatch::Stopwatch;
use tallies::{Figures, SiteTallies};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use view::{OnceRequest, PlanView, RolloutView, SiteView};

/// Stateless plans that wait for a solver or are being searched; one more is refused.
const MAX_WAITING_ONCE: usize = 64;

/// With a journal that cannot be read.
const WHAT_TO_DO: &str = "stop laddplan, save what can be read with \"laddplan journal export\", restore that into a new folder and start \
     there; see docs/damaged-store.md";

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The caller's mistake; nothing changed.
    #[error("{0}")]
    Rejected(#[from] Rejection),
    #[error("there is no {what} {id}")]
    NotFound { what: &'static str, id: String },
    #[error("request id {0} was used before with another body")]
    RequestReused(RequestId),
    /// A queue is full; try again later.
    #[error("too many {what} at once")]
    Busy { what: &'static str },
    /// It was done before, and what it was answered cannot be said again.
    #[error("{0}")]
    Done(String),
    /// Something else has to happen first.
    #[error("{0}")]
    NotNow(String),
    /// The store or the site's task is not there; nothing was acknowledged.
    #[error("{0}")]
    Unavailable(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What a tenant has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantSize {
    pub sites: usize,
    /// Of all its sites.
    pub evses: usize,
}

/// What became of a batch of meter readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterReceipt {
    pub recorded: usize,
    /// Older than the last known of their EVSE, or not newer than that of their node.
    pub dropped: usize,
}

/// A batch of meter readings, recorded as one.
#[derive(Clone, Debug)]
pub(crate) enum Readings {
    OfEvses(Vec<MeterSample>),
    OfNodes(Vec<NodeReading>),
}

impl Readings {
    fn len(&self) -> usize {
        match self {
            Self::OfEvses(samples) => samples.len(),
            Self::OfNodes(readings) => readings.len(),
        }
    }

    fn into_event(self) -> Event {
        match self {
            Self::OfEvses(samples) => Event::Metered(samples),
            Self::OfNodes(readings) => Event::NodesMetered(readings),
        }
    }
}

/// How the engine searches plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub budget: Budget,
    /// A search that takes longer is given up, and the greedy plan stands in.
    pub watchdog: Duration,
    /// The same where somebody must shed.
    pub cut_watchdog: Duration,
    /// Searches at the same time, over all sites.
    pub solver_threads: usize,
}

/// A handle on the engine; cheap to clone. The tasks end when the last handle is gone or [`Engine::shut_down`] was called.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    world: Arc<World>,
    /// Held only for look-ups and insertions, never across an await.
    sites: RwLock<BTreeMap<SiteKey, SiteHandle>>,
    waiting_once: AtomicUsize,
    refused_once: AtomicU64,
}

#[derive(Clone)]
struct SiteHandle {
    key: SiteKey,
    world: Arc<World>,
    outlet: Outlet,
    status: Arc<Status>,
    summary: watch::Receiver<Summary>,
    plans: watch::Receiver<Option<Arc<PlanView>>>,
    task: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
    tallies: Arc<SiteTallies>,
}

impl Engine {
    /// Brings every site back from the store and starts its task.
    pub async fn start(
        store: Arc<dyn Store>,
        gateway: Arc<dyn Gateway>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let world = Arc::new(World {
            store,
            gateway,
            clock,
            solvers: Solvers::new(settings.solver_threads),
            directory: Directory::default(),
            settings,
            stopped: watch::Sender::default(),
            board: Board::new(),
        });
        let shared = Shared {
            world,
            sites: RwLock::default(),
            waiting_once: AtomicUsize::new(0),
            refused_once: AtomicU64::new(0),
        };
        let engine = Self {
            shared: Arc::new(shared),
        };
        for key in engine.shared.world.store.sites().await? {
            match recover::load(engine.shared.world.store.as_ref(), &key).await {
                Ok(state) => {
                    tracing::info!(site = %key, sequence = state.sequence(), "recovered");
                    engine.open(key, state);
                }
                // The others are not to wait for it.
                Err(error @ StoreError::Damaged { .. }) => {
                    let why = format!("{error}; {WHAT_TO_DO}");
                    tracing::error!(site = %key, why, "this site stays stopped: its EVSEs fall back as their leases end");
                    engine.keep_stopped(key, why);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(engine)
    }

    /// Makes a change durable. `Event::SitePut` for an unknown site creates it.
    pub async fn submit(&self, key: &SiteKey, request: Option<RequestStamp>, event: Event) -> Result<Receipt, Refusal> {
        let handle = match (self.find(key), &event) {
            (Some(handle), _) => handle,
            (None, Event::SitePut(_)) => {
                let nothing = SiteState::empty(key.clone());
                nothing.admit(event.clone(), self.shared.world.clock.now())?;
                self.open(key.clone(), nothing)
            }
            (None, _) => return Err(no_such_site(key)),
        };
        let lane = Lane::of(&event);
        let asked = Stopwatch::start();
        handle
            .ask(lane, |reply| Message::Submit {
                request,
                event,
                asked,
                reply,
            })
            .await
    }

    /// Takes in what a back end's meters read.
    pub async fn meter(&self, key: &SiteKey, samples: Vec<MeterSample>) -> Result<MeterReceipt, Refusal> {
        self.take_readings(Lane::Ordinary, key, Readings::OfEvses(samples))
            .await
    }

    /// Takes in what a site's gateway reads, in the order of all that it says.
    pub async fn meter_of_gateway(&self, key: &SiteKey, samples: Vec<MeterSample>) -> Result<MeterReceipt, Refusal> {
        self.take_readings(Lane::Urgent, key, Readings::OfEvses(samples)).await
    }

    /// Takes in what meters at nodes of the supply read: charging may have to be lowered for it.
    pub async fn meter_nodes(&self, key: &SiteKey, readings: Vec<NodeReading>) -> Result<MeterReceipt, Refusal> {
        self.take_readings(Lane::Urgent, key, Readings::OfNodes(readings)).await
    }

    async fn take_readings(&self, lane: Lane, key: &SiteKey, readings: Readings) -> Result<MeterReceipt, Refusal> {
        let handle = self.find(key).ok_or_else(|| no_such_site(key))?;
        handle.ask(lane, |reply| Message::Meter { readings, reply }).await
    }

    /// At most `most` sites with an id after `after`, by id.
    pub fn sites(&self, tenant: &TenantId, after: Option<&SiteId>, most: usize) -> Vec<SiteId> {
        let sites = self.read_sites();
        let tenants_sites = sites.iter().filter(|(key, handle)| {
            let is_next = key.tenant == *tenant && after.is_none_or(|after| key.site > *after);
            is_next && handle.summary.borrow().exists && !handle.status.has_ended()
        });
        tenants_sites.map(|(key, _)| key.site.clone()).take(most).collect()
    }

    /// Every site of every tenant that does not stand still, also those that were deleted.
    pub fn keys(&self) -> Vec<SiteKey> {
        let sites = self.read_sites();
        let run = sites.iter().filter(|(_, handle)| !handle.status.has_ended());
        run.map(|(key, _)| key.clone()).collect()
    }

    /// Whether a site stands still until the service starts again.
    pub fn stands_still(&self, key: &SiteKey) -> bool {
        self.find(key).is_some_and(|handle| handle.status.has_ended())
    }

    /// What a tenant has, without site `except`.
    pub fn size_of(&self, tenant: &TenantId, except: Option<&SiteId>) -> TenantSize {
        let sites = self.read_sites();
        let others = sites
            .iter()
            .filter(|(key, _)| key.tenant == *tenant && Some(&key.site) != except);
        others.fold(TenantSize::default(), |size, (_, handle)| {
            let summary = handle.summary.borrow();
            TenantSize {
                // One that stands still has said nothing of itself, and is there.
                sites: size.sites + usize::from(summary.exists || handle.status.has_ended()),
                evses: size.evses + summary.evses,
            }
        })
    }

    /// The sites of a tenant that name `gateway`.
    pub fn sites_of_gateway(&self, tenant: &TenantId, gateway: &GatewayId) -> Vec<SiteId> {
        self.shared.world.directory.sites_of(tenant, gateway)
    }

    /// Whether a site of a tenant names `gateway`.
    pub fn names_gateway(&self, tenant: &TenantId, gateway: &GatewayId, site: &SiteId) -> bool {
        self.shared.world.directory.names(tenant, gateway, site)
    }

    /// A consistent picture of a site.
    pub async fn site(&self, key: &SiteKey) -> Result<Arc<SiteView>, Refusal> {
        let handle = self.find(key).ok_or_else(|| no_such_site(key))?;
        handle.ask(Lane::Ordinary, |reply| Message::View { reply }).await
    }

    /// What may be followed at a site now, why, and what is left.
    pub async fn rollout(&self, key: &SiteKey) -> Result<Arc<RolloutView>, Refusal> {
        let handle = self.find(key).ok_or_else(|| no_such_site(key))?;
        handle.ask(Lane::Ordinary, |reply| Message::Rollout { reply }).await
    }

    /// The plan in force, and each new one.
    pub fn watch_plan(&self, key: &SiteKey) -> Result<watch::Receiver<Option<Arc<PlanView>>>, Refusal> {
        let handle = self.find(key).ok_or_else(|| no_such_site(key))?;
        if self.shared.world.stopped.borrow().contains_key(key) {
            return Err(handle.gone());
        }
        let exists = handle.summary.borrow().exists;
        exists.then_some(handle.plans).ok_or_else(|| no_such_site(key))
    }

    /// The alarms of a tenant's sites, or of one of them, by site and number: those that hold and the last that were cleared.
    pub fn alarms(&self, tenant: &TenantId, site: Option<&SiteId>) -> Result<Vec<SiteAlarm>, Refusal> {
        let alarms = self.shared.world.board.list(tenant, site);
        match site {
            Some(site) if alarms.is_empty() => {
                let key = SiteKey {
                    tenant: tenant.clone(),
                    site: site.clone(),
                };
                let handle = self.find(&key).filter(|handle| handle.summary.borrow().exists);
                handle.map(|_| alarms).ok_or_else(|| no_such_site(&key))
            }
            _ => Ok(alarms),
        }
    }

    /// Changes whenever the alarms of any site do.
    pub fn watch_alarms(&self) -> watch::Receiver<u64> {
        self.shared.world.board.changes()
    }

    pub async fn ended_session(&self, key: &SiteKey, session: &SessionId) -> Result<Option<Session>, Refusal> {
        Ok(self.shared.world.store.ended_session(key, session).await?)
    }

    /// At most `most` ended sessions with an id after `after`, by id.
    pub async fn ended_sessions(
        &self,
        key: &SiteKey,
        after: Option<&SessionId>,
        most: usize,
    ) -> Result<Vec<Session>, Refusal> {
        Ok(self.shared.world.store.ended_sessions(key, after, most).await?)
    }

    /// Plans once, without remembering anything. Waits for a free solver; [`Refusal::Busy`] if too many wait already.
    pub async fn plan_once(&self, tenant: &TenantId, request: OnceRequest) -> Result<PlanView, Refusal> {
        let entered = WaitingOnce::enter(&self.shared.waiting_once);
        let _waiting = entered.inspect_err(|_| {
            self.shared.refused_once.fetch_add(1, Ordering::Relaxed);
        })?;
        let found = self
            .shared
            .world
            .solvers
            .run_once(tenant, move || once::plan(&request))
            .await;
        let found = found.map_err(|error| Refusal::Unavailable(format!("the search broke: {error}")))?;
        Ok(found?)
    }

    /// How at most `most` sites stand, and what was counted of them since the service started.
    pub async fn figures(&self, most: usize) -> Figures {
        tallies::figures(self, most).await
    }

    /// True if no site has anything left to do until the clock moves on or something comes in.
    pub fn is_settled(&self) -> bool {
        let now = self.shared.world.clock.now();
        self.read_sites().values().all(|handle| handle.status.is_settled(now))
    }

    /// Lets every site finish what it was given, then ends its task. Nothing can be submitted afterwards.
    pub async fn shut_down(&self) {
        let handles = std::mem::take(&mut *self.shared.sites.write().unwrap_or_else(PoisonError::into_inner));
        for handle in handles.into_values() {
            let task = handle.task.lock().await.take();
            drop(handle);
            if let Some(task) = task {
                // A task that panicked has logged it already.
                let _ = task.await;
            }
        }
    }

    /// Sites that do nothing until the service starts again, and why; each new one is told at once.
    pub fn stopped_sites(&self) -> watch::Receiver<BTreeMap<SiteKey, String>> {
        self.shared.world.stopped.subscribe()
    }

    /// Nothing can be asked of it or submitted to it.
    fn keep_stopped(&self, key: SiteKey, why: String) {
        self.shared.world.stop(&key, AlarmKind::JournalDamaged, why);
        let status = Status::new();
        status.end();
        let handle = SiteHandle {
            key: key.clone(),
            world: Arc::clone(&self.shared.world),
            outlet: inbox::lanes().0,
            status: Arc::new(status),
            summary: watch::channel(Summary::default()).1,
            plans: watch::channel(None).1,
            task: Arc::default(),
            tallies: Arc::default(),
        };
        let mut sites = self.shared.sites.write().unwrap_or_else(PoisonError::into_inner);
        sites.insert(key, handle);
    }

    fn open(&self, key: SiteKey, state: SiteState) -> SiteHandle {
        let mut sites = self.shared.sites.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = sites.get(&key) {
            return handle.clone();
        }
        let (outlet, inbox) = inbox::lanes();
        let (summary_sender, summary) = watch::channel(Summary::default());
        let (plan_sender, plans) = watch::channel(None);
        let status = Arc::new(Status::new());
        let world = Arc::clone(&self.shared.world);
        let tallies = Arc::new(SiteTallies::default());
        let task = SiteTask::new(
            Arc::clone(&world),
            state,
            inbox,
            Arc::clone(&status),
            summary_sender,
            plan_sender,
            Arc::clone(&tallies),
        );
        let watched = tokio::spawn(watch_over(
            Arc::clone(&world),
            key.clone(),
            Arc::clone(&status),
            tokio::spawn(task.run()),
        ));
        let task = Arc::new(tokio::sync::Mutex::new(Some(watched)));
        let handle = SiteHandle {
            key: key.clone(),
            world,
            outlet,
            status,
            summary,
            plans,
            task,
            tallies,
        };
        sites.insert(key, handle.clone());
        handle
    }

    fn find(&self, key: &SiteKey) -> Option<SiteHandle> {
        self.read_sites().get(key).cloned()
    }

    fn read_sites(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<SiteKey, SiteHandle>> {
        // A panic while the map was held leaves it whole: it is only read and inserted into.
        self.shared.sites.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees a site's task to its end. One that ends before its time leaves its site stopped: nothing more is sent, and leases run out to
/// their tails. No other site notices.
async fn watch_over(world: Arc<World>, key: SiteKey, status: Arc<Status>, serving: JoinHandle<Result<(), StoreError>>) {
    let (kind, what) = match serving.await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => (AlarmKind::StoreLost, error.to_string()),
        Err(error) => {
            tracing::error!(site = %key, %error, "the site's task broke");
            (AlarmKind::SiteBroke, "its task panicked; the log says where".to_owned())
        }
    };
    tracing::error!(site = %key, what, "the site stops: leases run out to their tails");
    world.stop(&key, kind, what);
    status.end();
}

impl SiteHandle {
    /// Sends a message to the site's task and waits for its answer.
    async fn ask<T>(
        &self,
        lane: Lane,
        message: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Message,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.status.waiting.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = self.outlet.try_send(lane, message(reply)) {
            self.status.waiting.fetch_sub(1, Ordering::SeqCst);
            return Err(match error {
                NotTaken::Full => {
                    self.tallies.refused.fetch_add(1, Ordering::Relaxed);
                    Refusal::Busy { what: lane.name() }
                }
                NotTaken::Gone => self.gone(),
            });
        }
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> Refusal {
        Refusal::Unavailable(match self.world.stopped.borrow().get(&self.key) {
            Some(why) => format!(
                "site {} is stopped until the service starts again: {why}",
                self.key.site
            ),
            None => format!(
                "site {} is stopped until the service starts again; its log says why",
                self.key.site
            ),
        })
    }
}

fn no_such_site(key: &SiteKey) -> Refusal {
    Refusal::NotFound {
        what: "site",
        id: key.site.to_string(),
    }
}

/// Counts a stateless plan while it waits or runs.
struct WaitingOnce<'a>(&'a AtomicUsize);

impl<'a> WaitingOnce<'a> {
    fn enter(count: &'a AtomicUsize) -> Result<Self, Refusal> {
        if count.fetch_add(1, Ordering::SeqCst) >= MAX_WAITING_ONCE {
            count.fetch_sub(1, Ordering::SeqCst);
            return Err(Refusal::Busy { what: "plans" });
        }
        Ok(Self(count))
    }
}

impl Drop for WaitingOnce<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
