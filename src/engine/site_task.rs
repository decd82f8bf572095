//! One site's task: performs what [`SiteCore`] says, in its order, and tells it what comes back.
//!
//! Decides only what waits for what: the append before everything that comes after it, the search and the intake beside each other.

use super::board::Board;
use super::directory::Directory;
use super::inbox::Inbox;
use super::ports::{Clock, Gateway, Store, StoreError};
use super::recover;
use super::site_core::{Ask, Caller, Effect, Input, Question, Reply, SearchEnd, SearchJob, SiteCore, Summary, Then};
use super::solvers::Solvers;
use super::state::SiteState;
use super::stopwatch::{Stopwatch, timed};
use super::tallies::SiteTallies;
use super::view::{PlanView, RolloutView, SiteView};
use super::{MeterReceipt, Readings, Refusal, Settings};
use crate::domain::alarm::AlarmKind;
use crate::domain::event::{Event, Receipt, RequestStamp};
use crate::domain::ids::SiteKey;
use crate::domain::plan::Plan;
use crate::planner;
use crate::units::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// What the site's task is asked.
pub(super) enum Message {
    Submit {
        request: Option<RequestStamp>,
        event: Event,
        /// Since when it waits.
        asked: Stopwatch,
        reply: oneshot::Sender<Result<Receipt, Refusal>>,
    },
    Meter {
        readings: Readings,
        reply: oneshot::Sender<Result<MeterReceipt, Refusal>>,
    },
    View {
        reply: oneshot::Sender<Result<Arc<SiteView>, Refusal>>,
    },
    Rollout {
        reply: oneshot::Sender<Result<Arc<RolloutView>, Refusal>>,
    },
}

/// Who waits for an answer.
enum Waiting {
    Receipt(oneshot::Sender<Result<Receipt, Refusal>>),
    Meter(oneshot::Sender<Result<MeterReceipt, Refusal>>),
    View(oneshot::Sender<Result<Arc<SiteView>, Refusal>>),
    Rollout(oneshot::Sender<Result<Arc<RolloutView>, Refusal>>),
}

impl Waiting {
    fn tell(self, reply: Reply) {
        // Whoever asked may be gone; that is no reason to stop.
        match (self, reply) {
            (Self::Receipt(waiting), Reply::Receipt(answer)) => drop(waiting.send(answer)),
            (Self::Meter(waiting), Reply::Meter(answer)) => drop(waiting.send(answer)),
            (Self::View(waiting), Reply::View(answer)) => drop(waiting.send(answer)),
            (Self::Rollout(waiting), Reply::Rollout(answer)) => drop(waiting.send(answer)),
            (_, reply) => unreachable!("each question has its answer, not {reply:?}"),
        }
    }
}

/// Whether the task has anything left to do before the clock moves on.
pub(super) struct Status {
    /// Messages sent and not yet dealt with.
    pub waiting: AtomicUsize,
    /// Unix seconds until which the task has nothing to do by itself; the past while it is at work.
    quiet_until: AtomicI64,
    /// The task ended before its time, and never does anything again.
    ended: AtomicBool,
}

impl Status {
    pub fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            quiet_until: AtomicI64::new(i64::MIN),
            ended: AtomicBool::new(false),
        }
    }

    pub fn is_settled(&self, now: Instant) -> bool {
        let is_quiet = || self.quiet_until.load(Ordering::SeqCst) > now.unix_secs();
        self.has_ended() || (self.waiting.load(Ordering::SeqCst) == 0 && is_quiet())
    }

    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn at_work(&self) {
        self.quiet_until.store(i64::MIN, Ordering::SeqCst);
    }
}

/// The world as one site's task sees it.
pub(super) struct World {
    pub store: Arc<dyn Store>,
    pub gateway: Arc<dyn Gateway>,
    pub clock: Arc<dyn Clock>,
    pub solvers: Solvers,
    pub directory: Directory,
    pub settings: Settings,
    /// Sites that do nothing any more, and why.
    pub stopped: watch::Sender<BTreeMap<SiteKey, String>>,
    pub board: Board,
}

impl World {
    /// The site does nothing any more until the service starts again.
    pub fn stop(&self, key: &SiteKey, kind: AlarmKind, why: String) {
        self.board.stopped(key, kind, why.clone(), self.clock.now());
        self.stopped
            .send_modify(|stopped| drop(stopped.insert(key.clone(), why)));
    }
}

pub(super) struct SiteTask {
    world: Arc<World>,
    key: SiteKey,
    core: SiteCore,
    inbox: Inbox,
    status: Arc<Status>,
    summary: watch::Sender<Summary>,
    plans: watch::Sender<Option<Arc<PlanView>>>,
    search: Option<Search>,
    /// Who asked what the site is thinking about, by the number of the question.
    waiting: Vec<Option<Waiting>>,
    tallies: Arc<SiteTallies>,
    /// Since when the oldest change that the site is thinking about waits.
    asked: Option<Stopwatch>,
    /// Microseconds after that when the last command left.
    sent_after: Option<u64>,
}

/// A search under way.
struct Search {
    result: JoinHandle<(Plan, u64)>,
    watchdog: tokio::time::Instant,
}

/// Waits for the search, if there is one, or for its watchdog.
async fn search_end(search: &mut Option<Search>) -> SearchEnd {
    let Some(search) = search else {
        return std::future::pending().await;
    };
    tokio::select! {
        // A search that is done is never thrown away.
        biased;
        found = &mut search.result => match found {
            Ok((plan, solve_micros)) => SearchEnd::Found(plan, solve_micros),
            Err(error) => SearchEnd::Broken(error.to_string()),
        },
        () = tokio::time::sleep_until(search.watchdog) => SearchEnd::WatchdogBarked,
    }
}

impl SiteTask {
    pub fn new(
        world: Arc<World>,
        state: SiteState,
        inbox: Inbox,
        status: Arc<Status>,
        summary: watch::Sender<Summary>,
        plans: watch::Sender<Option<Arc<PlanView>>>,
        tallies: Arc<SiteTallies>,
    ) -> Self {
        Self {
            key: state.key().clone(),
            core: SiteCore::new(state, world.settings),
            world,
            inbox,
            status,
            summary,
            plans,
            search: None,
            waiting: Vec::new(),
            tallies,
            asked: None,
            sent_after: None,
        }
    }

    /// Runs until the engine lets go of the site, or the store fails it or says that another owner has it.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut result = self.take(Input::Started).await;
        while result.is_ok() {
            let wake = self.core.next_wake();
            let quiet_until = if self.core.is_searching() {
                i64::MIN
            } else {
                wake.unix_secs()
            };
            self.status.quiet_until.store(quiet_until, Ordering::SeqCst);
            let clock = Arc::clone(&self.world.clock);
            tokio::select! {
                group = self.inbox.next_group() => {
                    let count = group.len();
                    if count == 0 {
                        break;
                    }
                    self.status.at_work();
                    let asks = self.asks(group).await;
                    result = self.take(Input::Asked(asks)).await;
                    self.status.waiting.fetch_sub(count, Ordering::SeqCst);
                }
                end = search_end(&mut self.search) => {
                    self.drop_search();
                    if let SearchEnd::Found(_, micros) = &end {
                        self.tallies.searches.took(*micros);
                    }
                    result = self.take(Input::SearchEnded(end)).await;
                }
                () = clock.sleep_until(wake) => {
                    self.status.at_work();
                    result = self.take(Input::Woke).await;
                }
            }
        }
        result
    }

    /// The messages as questions, with what only the store knows of them.
    async fn asks(&mut self, group: Vec<Message>) -> Vec<Ask> {
        self.waiting.clear();
        self.asked = None;
        let mut asks = Vec::with_capacity(group.len());
        for (number, message) in group.into_iter().enumerate() {
            let (question, waiting) = match message {
                Message::Submit {
                    request,
                    event,
                    asked,
                    reply,
                } => {
                    // They come in the order in which they were asked.
                    self.asked.get_or_insert(asked);
                    let id_was_used = self.id_was_used(&event).await;
                    let question = Question::Submit {
                        request,
                        event,
                        id_was_used,
                    };
                    (question, Waiting::Receipt(reply))
                }
                Message::Meter { readings, reply } => (Question::Meter(readings), Waiting::Meter(reply)),
                Message::View { reply } => (Question::View, Waiting::View(reply)),
                Message::Rollout { reply } => (Question::Rollout, Waiting::Rollout(reply)),
            };
            self.waiting.push(Some(waiting));
            asks.push(Ask {
                caller: Caller(number),
                question,
            });
        }
        asks
    }

    async fn id_was_used(&self, event: &Event) -> Result<bool, StoreError> {
        let Event::SessionStarted(spec) = event else {
            return Ok(false);
        };
        Ok(self.world.store.ended_session(&self.key, &spec.id).await?.is_some())
    }

    /// Gives the site an input, and performs what that leads to until the site waits.
    async fn take(&mut self, input: Input) -> Result<(), StoreError> {
        let sheds = self.core.sheds();
        self.sent_after = None;
        let taken = self.go_through(input).await;
        if self.core.sheds() > sheds
            && let Some(micros) = self.sent_after
        {
            self.tallies.sheds.took(micros);
        }
        self.asked = None;
        taken
    }

    async fn go_through(&mut self, mut input: Input) -> Result<(), StoreError> {
        loop {
            let step = self.core.step(self.world.clock.now(), input);
            for effect in step.effects {
                self.perform(effect).await;
            }
            input = match step.then {
                Then::Wait => return Ok(()),
                Then::Append(append) => {
                    let (entries, began) = (append.batch.entries.len(), Stopwatch::start());
                    let outcome = self.world.store.append(&self.key, append.batch).await;
                    self.tallies.appends.took(began.micros());
                    if outcome.is_ok() {
                        self.tallies.entries.fetch_add(entries as u64, Ordering::Relaxed);
                    }
                    Input::Appended(append.unsaid, outcome)
                }
                Then::ReadAgain => {
                    let state = recover::load(self.world.store.as_ref(), &self.key).await?;
                    Input::ReadAgain(Box::new(state))
                }
                Then::Stop(error) => return Err(error),
            };
        }
    }

    async fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Answer(Caller(number), reply) => {
                let waiting = self.waiting.get_mut(number).and_then(Option::take);
                waiting
                    .expect("who asked waits for one answer")
                    .tell(reply.into_inner());
            }
            Effect::Send(command) => {
                let command = command.into_inner();
                self.tallies.sent(command.command.cause);
                self.world.gateway.send(command);
                self.sent_after = self.asked.map(Stopwatch::micros);
            }
            Effect::Search(job) => self.begin_search(job),
            Effect::AbandonSearch => self.drop_search(),
            Effect::KeepSnapshot(image) => {
                if let Err(error) = self.world.store.save_snapshot(&self.key, *image).await {
                    // The journal has everything; a start only takes longer.
                    tracing::warn!(site = %self.key, %error, "no snapshot was kept");
                }
            }
            Effect::ShowSummary(summary) => {
                let before = self.summary.borrow().gateway.clone();
                let directory = &self.world.directory;
                directory.moved(&self.key, before.as_ref(), summary.gateway.as_ref());
                self.summary.send_replace(summary);
            }
            Effect::ShowPlan(plan) => drop(self.plans.send_replace(plan)),
            Effect::ShowAlarms(alarms) => self.world.board.show(&self.key, alarms),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the watchdog looks at real time; that it barked is journalled"
    )]
    fn begin_search(&mut self, job: SearchJob) {
        let (world, tenant) = (Arc::clone(&self.world), self.key.tenant.clone());
        let SearchJob {
            snapshot,
            budget,
            patience,
        } = job;
        let result = tokio::spawn(async move {
            let search = move || timed(|| planner::plan(&snapshot, budget));
            let found = world.solvers.run(&tenant, search);
            found.await.expect("the search does not panic")
        });
        self.search = Some(Search {
            result,
            watchdog: tokio::time::Instant::now() + patience,
        });
    }

    /// Bounded by its budget, a search runs out by itself; what it finds is for facts that are old by then.
    fn drop_search(&mut self) {
        if let Some(search) = self.search.take() {
            search.result.abort();
        }
    }
}
