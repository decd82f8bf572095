//! One site's task: the only owner of its state, from the first entry of its journal to the last.
//!
//! Decides the order of things. Requests that wait together are recorded together, and answered only once that record is synced.
//! A plan is searched beside the intake, never in its way; what the roll-out then wants to send is recorded before it is sent.
//! If the store fails, nothing of what it was given is answered or sent, and the state is read again from what is there.

mod planning;
mod sending;

use super::ports::{Batch, Clock, Durability, Gateway, Store, StoreError};
use super::recover;
use super::state::{SiteState, Urgency, urgency};
use super::view::{PlanView, SiteView};
use super::{MeterReceipt, Refusal, Settings};
use crate::domain::event::{Event, Receipt, Recorded, RequestStamp};
use crate::domain::ids::{GatewayId, SiteKey};
use crate::domain::session::{MeterSample, Session};
use crate::domain::site::Mode;
use crate::rollout::Ledger;
use crate::units::{Instant, Seconds};
use planning::{Search, search_end};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// At most this many requests are recorded together.
const MAX_GROUP: usize = 256;
/// A car that has got what it asked for, or a profile that was refused, leads to a new plan no sooner than this after the last one.
const REPLAN_INTERVAL: Seconds = Seconds::from_secs(60);
/// A snapshot of the state is kept after this many entries, so that a start need not read more than these.
const SNAPSHOT_EVERY: u64 = 2_000;

/// What the site's task is asked.
pub(super) enum Message {
    Submit {
        request: Option<RequestStamp>,
        event: Event,
        reply: oneshot::Sender<Result<Receipt, Refusal>>,
    },
    Meter {
        samples: Vec<MeterSample>,
        reply: oneshot::Sender<Result<MeterReceipt, Refusal>>,
    },
    View {
        reply: oneshot::Sender<Result<Arc<SiteView>, Refusal>>,
    },
}

/// What others may know about a site without asking its task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Described and not deleted.
    pub exists: bool,
    pub gateway: Option<GatewayId>,
}

/// Whether the task has anything left to do before the clock moves on.
pub(super) struct Status {
    /// Messages sent and not yet dealt with.
    pub waiting: AtomicUsize,
    /// Unix seconds until which the task has nothing to do by itself; the past while it is at work.
    quiet_until: AtomicI64,
}

impl Status {
    pub fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            quiet_until: AtomicI64::new(i64::MIN),
        }
    }

    pub fn is_settled(&self, now: Instant) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.quiet_until.load(Ordering::SeqCst) > now.unix_secs()
    }
}

/// The world as one site's task sees it.
pub(super) struct World {
    pub store: Arc<dyn Store>,
    pub gateway: Arc<dyn Gateway>,
    pub clock: Arc<dyn Clock>,
    pub solvers: Arc<Semaphore>,
    pub settings: Settings,
}

pub(super) struct SiteTask {
    world: Arc<World>,
    state: SiteState,
    inbox: mpsc::Receiver<Message>,
    status: Arc<Status>,
    summary: watch::Sender<Summary>,
    plans: watch::Sender<Option<Arc<PlanView>>>,
    search: Option<Search>,
    /// The greedy plan already stands in: this search may take its time.
    patient: bool,
    /// When a new plan is wanted.
    plan_due: Option<Instant>,
    last_planned: Instant,
    roll_out_at: Instant,
    snapshot_sequence: u64,
}

impl SiteTask {
    pub fn new(
        world: Arc<World>,
        state: SiteState,
        inbox: mpsc::Receiver<Message>,
        status: Arc<Status>,
        summary: watch::Sender<Summary>,
        plans: watch::Sender<Option<Arc<PlanView>>>,
    ) -> Self {
        let snapshot_sequence = state.sequence();
        Self {
            world,
            state,
            inbox,
            status,
            summary,
            plans,
            search: None,
            patient: false,
            // Whatever was planned before a start was planned by another process: plan anew at once.
            plan_due: Some(Instant::FAR_PAST),
            last_planned: Instant::FAR_PAST,
            roll_out_at: Instant::FAR_PAST,
            snapshot_sequence,
        }
    }

    /// Runs until the engine lets go of the site, or the store says that another owner has it.
    pub async fn run(mut self) {
        self.publish_summary();
        let mut result = self.begin().await;
        while result.is_ok() {
            let wake = self.next_wake();
            let quiet_until = if self.search.is_some() {
                i64::MIN
            } else {
                wake.unix_secs()
            };
            self.status.quiet_until.store(quiet_until, Ordering::SeqCst);
            let mut group = Vec::new();
            let clock = Arc::clone(&self.world.clock);
            tokio::select! {
                count = self.inbox.recv_many(&mut group, MAX_GROUP) => {
                    if count == 0 {
                        break;
                    }
                    self.status.quiet_until.store(i64::MIN, Ordering::SeqCst);
                    result = self.take_in(group).await;
                    self.status.waiting.fetch_sub(count, Ordering::SeqCst);
                }
                end = search_end(&mut self.search) => {
                    result = self.search_ended(end).await;
                }
                () = clock.sleep_until(wake) => {
                    self.status.quiet_until.store(i64::MIN, Ordering::SeqCst);
                    result = self.react().await;
                }
            }
            if let Err(error) = result {
                result = self.reload(error).await;
            }
        }
        if let Err(error) = result {
            tracing::error!(site = %self.state.key(), %error, "the site stops: leases run out to their tails");
        }
    }

    /// No stream outlives its process: a gateway that was there when the journal ended is gone until it says hello again.
    async fn begin(&mut self) -> Result<(), StoreError> {
        let gateway = self.state.site().and_then(|site| site.spec().gateway.clone());
        let is_linked = self.state.ledger().is_some_and(Ledger::is_linked);
        if let Some(gateway) = gateway.filter(|_| is_linked) {
            let mut intake = Intake::default();
            self.record(Event::GatewayDisconnected { gateway }, None, self.now(), &mut intake);
            self.append_and_send(intake, Vec::new()).await?;
        }
        self.react().await
    }

    fn key(&self) -> SiteKey {
        self.state.key().clone()
    }

    /// The site's clock: the world's, but never before the last entry.
    fn now(&self) -> Instant {
        self.world.clock.now().max(self.state.last_at())
    }

    fn mode(&self) -> Mode {
        self.state.site().map_or(Mode::Off, |site| site.spec().mode)
    }

    fn next_wake(&self) -> Instant {
        if self.mode() == Mode::Off {
            return Instant::FAR_FUTURE;
        }
        if self.search.is_some() {
            // What comes meanwhile is dealt with when the search has ended.
            return Instant::FAR_FUTURE;
        }
        let due = self.plan_due.unwrap_or(Instant::FAR_FUTURE);
        due.min(self.next_slot()).min(self.roll_out_at)
    }

    /// The first slot boundary after the last plan.
    fn next_slot(&self) -> Instant {
        match self.state.site() {
            Some(site) if self.last_planned > Instant::FAR_PAST => {
                self.last_planned.floor_to(site.spec().slot) + site.spec().slot
            }
            _ => Instant::FAR_FUTURE,
        }
    }

    // --- Intake -------------------------------------------------------------------------------------------------------------

    /// Records what the messages lead to, answers them, and goes on from there.
    async fn take_in(&mut self, group: Vec<Message>) -> Result<(), StoreError> {
        let at = self.now();
        let mut intake = Intake::default();
        for message in group {
            match message {
                Message::Submit { request, event, reply } => {
                    let answer = self.submit(request, event, at, &mut intake).await;
                    intake.receipts.push((reply, answer));
                }
                Message::Meter { samples, reply } => {
                    let answer = self.meter(samples, at, &mut intake);
                    intake.meter_receipts.push((reply, answer));
                }
                Message::View { reply } => intake.views.push(reply),
            }
        }
        if !intake.entries.is_empty() {
            let durability = if intake.synced {
                Durability::Synced
            } else {
                Durability::Buffered
            };
            let batch = Batch {
                entries: intake.entries,
                ended_sessions: intake.ended,
                durability,
            };
            if let Err(error) = self.world.store.append(&self.key(), batch).await {
                let why = error.to_string();
                for (reply, _) in intake.receipts {
                    let _ = reply.send(Err(Refusal::Unavailable(why.clone())));
                }
                for (reply, _) in intake.meter_receipts {
                    let _ = reply.send(Err(Refusal::Unavailable(why.clone())));
                }
                return Err(error);
            }
        }
        self.publish_summary();
        let view = if intake.views.is_empty() {
            None
        } else {
            Some(self.view())
        };
        // Whoever asked may be gone; that is no reason to stop.
        for (reply, answer) in intake.receipts {
            let _ = reply.send(answer);
        }
        for (reply, answer) in intake.meter_receipts {
            let _ = reply.send(answer);
        }
        for reply in intake.views {
            let answer = view.clone().flatten().ok_or_else(|| self.state.no_such_site());
            let _ = reply.send(answer);
        }
        self.react().await
    }

    async fn submit(
        &mut self,
        request: Option<RequestStamp>,
        event: Event,
        at: Instant,
        intake: &mut Intake,
    ) -> Result<Receipt, Refusal> {
        if let Some(answer) = request.as_ref().and_then(|stamp| self.state.remembered(stamp)) {
            return answer;
        }
        if let Event::SessionStarted(spec) = &event {
            self.refuse_used_id(&spec.id).await?;
        }
        let admitted = self.state.admit(event, at)?;
        let last = admitted.events.len() - 1;
        for (index, event) in admitted.events.into_iter().enumerate() {
            let stamp = request
                .clone()
                .filter(|_| index == last)
                .map(|stamp| (stamp, admitted.warnings.clone()));
            intake.synced |= !matches!(event, Event::Metered(_));
            self.record(event, stamp, at, intake);
        }
        Ok(Receipt {
            sequence: self.state.sequence(),
            recorded_at: at,
            warnings: admitted.warnings,
        })
    }

    async fn refuse_used_id(&self, id: &crate::domain::ids::SessionId) -> Result<(), Refusal> {
        let ended = self.world.store.ended_session(&self.key(), id).await;
        match ended.map_err(|error| Refusal::Unavailable(error.to_string()))? {
            None => Ok(()),
            Some(_) => Err(crate::domain::rejection::Rejection::one(
                "session.id",
                "is the id of a session that has ended",
                id,
                "an id that was never used at this site",
            )
            .into()),
        }
    }

    fn meter(&mut self, samples: Vec<MeterSample>, at: Instant, intake: &mut Intake) -> Result<MeterReceipt, Refusal> {
        let all = samples.len();
        // Judged whole, so that a fault is told by its place in what was sent.
        self.state.admit(Event::Metered(samples.clone()), at)?;
        let news: Vec<MeterSample> = samples
            .into_iter()
            .filter(|sample| self.state.is_news(sample))
            .collect();
        let recorded = news.len();
        if recorded > 0 {
            self.record(Event::Metered(news), None, at, intake);
        }
        Ok(MeterReceipt {
            recorded,
            dropped: all - recorded,
        })
    }

    /// Takes an event into the state and into the batch that is about to be appended.
    fn record(&mut self, event: Event, request: Option<(RequestStamp, Vec<String>)>, at: Instant, intake: &mut Intake) {
        let soon = at.max(self.last_planned + REPLAN_INTERVAL);
        match urgency(&event) {
            Urgency::Now => self.want_plan_by(at),
            Urgency::Soon if self.state.misses_out(&event) => self.want_plan_by(soon),
            Urgency::Soon | Urgency::Never => {}
        }
        let done_before = self.state.cars_done();
        let entry = Recorded {
            sequence: self.state.sequence() + 1,
            at,
            event,
            request,
        };
        intake.ended.extend(self.state.apply(&entry));
        if self.state.cars_done() != done_before {
            self.want_plan_by(soon);
        }
        intake.entries.push(entry);
    }

    fn want_plan_by(&mut self, due: Instant) {
        self.plan_due = Some(self.plan_due.map_or(due, |before| before.min(due)));
    }

    // --- Reaction -----------------------------------------------------------------------------------------------------------

    /// Does what is due: a new plan, or what the roll-out has to send for the plan in force.
    async fn react(&mut self) -> Result<(), StoreError> {
        if self.mode() == Mode::Off || self.search.is_some() {
            return Ok(());
        }
        let now = self.now();
        self.state.let_time_pass(now);
        let due = self.plan_due.is_some_and(|due| due <= now) || self.next_slot() <= now;
        if due {
            self.begin_search(now);
            Ok(())
        } else {
            let mut intake = Intake::default();
            let commands = self.roll_out(now, &mut intake);
            self.append_and_send(intake, commands).await
        }
    }

    // --- Housekeeping -------------------------------------------------------------------------------------------------------

    async fn keep_snapshot(&mut self) {
        if self.state.sequence() < self.snapshot_sequence + SNAPSHOT_EVERY {
            return;
        }
        self.snapshot_sequence = self.state.sequence();
        // None while something is held for an EVSE that is gone: then the journal alone will do.
        let Some(image) = self.state.image() else { return };
        let saved = self.world.store.save_snapshot(&self.key(), image).await;
        if let Err(error) = saved {
            // The journal has everything; a start only takes longer.
            tracing::warn!(site = %self.state.key(), %error, "no snapshot was kept");
        }
    }

    /// After a failed append the state may hold what the journal does not: read it again.
    async fn reload(&mut self, error: StoreError) -> Result<(), StoreError> {
        tracing::error!(site = %self.state.key(), %error, "the store failed; the state is read again");
        if matches!(error, StoreError::Conflict { .. }) {
            return Err(error);
        }
        self.search = None;
        self.state = recover::load(self.world.store.as_ref(), &self.key()).await?;
        self.plan_due = Some(Instant::FAR_PAST);
        self.roll_out_at = self.now() + Seconds::from_secs(1);
        self.publish_summary();
        Ok(())
    }

    fn publish_summary(&self) {
        let site = self.state.site();
        let summary = Summary {
            exists: site.is_some(),
            gateway: site.and_then(|site| site.spec().gateway.clone()),
        };
        let changed = self.summary.send_if_modified(|before| {
            let changed = *before != summary;
            *before = summary;
            changed
        });
        if changed && self.state.site().is_none() {
            // Whoever watches the plans learns here that there will be no more.
            self.plans.send_replace(None);
        }
    }

    fn view(&self) -> Option<Arc<SiteView>> {
        let site = self.state.site()?.clone();
        Some(Arc::new(SiteView {
            site,
            stopped: self.state.stopped,
            sequence: self.state.sequence(),
            not_controlled_because: self.state.not_controlled_because(self.now()),
            grid_limits: self.state.grid_limits.values().cloned().collect(),
            sessions: self
                .state
                .sessions()
                .map(|session| Session {
                    delivered: self.state.delivered(session),
                    ..session.clone()
                })
                .collect(),
        }))
    }
}

/// An answer, and to whom it goes once what it says is recorded.
type Owed<T> = (oneshot::Sender<Result<T, Refusal>>, Result<T, Refusal>);

/// What one round of intake leads to.
#[derive(Default)]
struct Intake {
    entries: Vec<Recorded>,
    ended: Vec<Session>,
    synced: bool,
    receipts: Vec<Owed<Receipt>>,
    meter_receipts: Vec<Owed<MeterReceipt>>,
    views: Vec<oneshot::Sender<Result<Arc<SiteView>, Refusal>>>,
}
