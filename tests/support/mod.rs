//! A small world for tests of the engine: a clock that is moved by hand, a store that can fail, a gateway that writes down what it
//! is told.
#![allow(dead_code, reason = "each test file uses its part of it")]

use async_trait::async_trait;
use laddplan::domain::conversion::{Phase, Rate, Wiring};
use laddplan::domain::driver::DriverPolicy;
use laddplan::domain::event::{Event, Recorded, RequestStamp};
use laddplan::domain::ids::*;
use laddplan::domain::limits::{FixedLimits, GridLimit, LimitSource, LimitWindow, NodeLimit};
use laddplan::domain::plan::Budget;
use laddplan::domain::session::{Car, Override, Session, SessionSpec, Stated, Tier};
use laddplan::domain::site::*;
use laddplan::engine::image::SiteImage;
use laddplan::engine::ports::*;
use laddplan::engine::view::{OnceRequest, OnceSession};
use laddplan::engine::{Engine, Settings};
use laddplan::store::memory::MemoryStore;
use laddplan::units::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

/// 2026-03-02T08:00:00Z, a Monday.
pub const MORNING: Instant = Instant::from_unix_secs(1_772_438_400);

pub fn id<T>(parse: impl Fn(&str) -> Result<T, laddplan::domain::rejection::Rejection>, text: &str) -> T {
    parse(text).expect("a valid id")
}

pub fn site_key() -> SiteKey {
    SiteKey {
        tenant: id(TenantId::parse, "cpo"),
        site: id(SiteId::parse, "harbour"),
    }
}

/// A site of one fuse and one-phase 32 A EVSEs on L1 with default 0, metered, in mode control.
pub fn site_spec(fuse_amps: i64, evses: usize) -> SiteSpec {
    let station = |number: usize| Station {
        id: id(StationId::parse, &format!("station-{number}")),
        node: id(NodeId::parse, "grid"),
        limit: NodeLimit::default(),
        evses: vec![Evse {
            id: evse(number),
            controllable: true,
            metered: false,
            connectors: vec![Connector {
                id: id(ConnectorId::parse, "1"),
                wiring: Wiring::Star(vec![Phase::L1]),
                volt: Volts::from_volts(230),
                minimum: Rate::new(60),
                maximum: Rate::new(320),
                default: Some(Rate::ZERO),
                steps: Steps::Multiple(Rate::new(10)),
                max_profile_periods: 24,
            }],
        }],
    };
    SiteSpec {
        tenant: site_key().tenant,
        id: site_key().site,
        time_zone: "Europe/Stockholm".to_owned(),
        currency: "SEK".to_owned(),
        mode: Mode::Control,
        lease: Seconds::from_mins(15),
        clock_skew: Seconds::from_secs(5),
        reserve_permille: 0,
        slot: Seconds::from_mins(15),
        trust_unmetered: true,
        fairness: Fairness::MaxMin,
        demand_charge_micros_per_kw: None,
        peak_so_far: Watts::ZERO,
        gateway: Some(id(GatewayId::parse, "gateway-1")),
        drivers: DriverPolicy::default(),
        nodes: vec![Node {
            id: id(NodeId::parse, "grid"),
            parent: None,
            limit: NodeLimit {
                line: Some(DeciAmps::from_deciamps(fuse_amps * 10)),
                total: None,
            },
            fixed: FixedLimits::default(),
            base_load_line: DeciAmps::ZERO,
            base_load_total: Watts::ZERO,
            meter: Default::default(),
        }],
        stations: (1..=evses).map(station).collect(),
    }
}

pub fn evse(number: usize) -> EvseId {
    id(EvseId::parse, &format!("evse-{number}"))
}

pub fn session_id(number: usize) -> SessionId {
    id(SessionId::parse, &format!("session-{number}"))
}

/// A car at EVSE `number` that needs `need_kwh` within `stay`.
pub fn session(number: usize, arrival: Instant, stay: Seconds, need_kwh: i64) -> SessionSpec {
    SessionSpec {
        id: session_id(number),
        evse: evse(number),
        connector: None,
        arrival,
        departure: Stated::Given(arrival + stay),
        need: Stated::Given(WattSeconds::from_watt_hours(need_kwh * 1000)),
        guaranteed: WattSeconds::ZERO,
        interruptible: true,
        tier: Tier::NORMAL,
        group: None,
        driver: None,
        car: Car {
            phases: Some(1),
            ..Car::default()
        },
        ocpi: None,
    }
}

/// A limit on the fuse, from now on.
pub fn fuse_limit(amps: i64) -> GridLimit {
    GridLimit {
        id: id(GridLimitId::parse, "cut"),
        node: id(NodeId::parse, "grid"),
        source: LimitSource::SiteManager,
        limit: NodeLimit {
            line: Some(DeciAmps::from_deciamps(amps * 10)),
            total: None,
        },
        when: LimitWindow::Once {
            from: Instant::FAR_PAST,
            until: None,
        },
    }
}

pub fn stamp(text: &str, body: u8) -> RequestStamp {
    RequestStamp {
        id: id(RequestId::parse, text),
        body_hash: [body; 32],
        by: None,
    }
}

/// A clock that stands until it is moved.
pub struct ManualClock {
    now: Mutex<Instant>,
    moved: Notify,
}

impl ManualClock {
    pub fn at(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            now: Mutex::new(now),
            moved: Notify::new(),
        })
    }

    pub fn set(&self, now: Instant) {
        *self.now.lock().unwrap() = now;
        self.moved.notify_waiters();
    }

    pub fn advance(&self, length: Seconds) {
        let next = self.now() + length;
        self.set(next);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.now.lock().unwrap()
    }

    async fn sleep_until(&self, instant: Instant) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.now() >= instant {
                return;
            }
            moved.await;
        }
    }
}

/// A memory store that can be told to fail or to wait, and that says what it did and when.
pub struct TestStore {
    pub inner: MemoryStore,
    pub failing: AtomicBool,
    /// The journal of this site fails its checksum.
    pub damaged: Mutex<Option<SiteKey>>,
    /// Whoever appends to the journal of this site breaks.
    pub breaks: Mutex<Option<SiteKey>>,
    /// One permit per append; plenty unless a test takes them away.
    pub gate: Semaphore,
    pub diary: Arc<Diary>,
}

/// What happened, in order.
#[derive(Default)]
pub struct Diary(Mutex<Vec<String>>);

impl Diary {
    pub fn write(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Store for TestStore {
    async fn append(&self, key: &SiteKey, batch: Batch) -> Result<(), StoreError> {
        self.gate.acquire().await.expect("the gate stays").forget();
        self.gate.add_permits(1);
        let breaks = self.breaks.lock().unwrap().as_ref() == Some(key);
        assert!(!breaks, "the store breaks whoever appends");
        if self.failing.load(Ordering::SeqCst) {
            return Err(StoreError::Write("no space left on device".to_owned()));
        }
        let kinds: Vec<String> = batch.entries.iter().map(|entry| kind(&entry.event)).collect();
        self.inner.append(key, batch).await?;
        for kind in kinds {
            self.diary.write(format!("append {kind}"));
        }
        Ok(())
    }

    async fn read(&self, key: &SiteKey, after: u64, most: usize) -> Result<Vec<Recorded>, StoreError> {
        if self.damaged.lock().unwrap().as_ref() == Some(key) {
            return Err(StoreError::Damaged {
                what: format!("the journal of {key}"),
                why: "entry 1 fails its checksum".to_owned(),
            });
        }
        self.inner.read(key, after, most).await
    }

    async fn sites(&self) -> Result<Vec<SiteKey>, StoreError> {
        self.inner.sites().await
    }

    async fn save_snapshot(&self, key: &SiteKey, image: SiteImage) -> Result<(), StoreError> {
        self.inner.save_snapshot(key, image).await
    }

    async fn load_snapshot(&self, key: &SiteKey) -> Result<Option<SiteImage>, StoreError> {
        self.inner.load_snapshot(key).await
    }

    async fn ended_session(&self, key: &SiteKey, session: &SessionId) -> Result<Option<Session>, StoreError> {
        self.inner.ended_session(key, session).await
    }

    async fn ended_sessions(
        &self,
        key: &SiteKey,
        after: Option<&SessionId>,
        most: usize,
    ) -> Result<Vec<Session>, StoreError> {
        self.inner.ended_sessions(key, after, most).await
    }
}

pub fn kind(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split(|char: char| !char.is_alphanumeric())
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// A gateway that only writes down what it is told.
pub struct TestGateway {
    pub sent: Mutex<Vec<OutgoingCommand>>,
    pub diary: Arc<Diary>,
}

impl TestGateway {
    pub fn sent(&self) -> Vec<OutgoingCommand> {
        self.sent.lock().unwrap().clone()
    }
}

impl Gateway for TestGateway {
    fn send(&self, command: OutgoingCommand) {
        self.diary.write(format!(
            "send {} revision {}",
            command.command.evse,
            command.command.revision.number()
        ));
        self.sent.lock().unwrap().push(command);
    }
}

/// An engine with its world.
pub struct World {
    pub engine: Engine,
    pub store: Arc<TestStore>,
    pub gateway: Arc<TestGateway>,
    pub clock: Arc<ManualClock>,
    pub diary: Arc<Diary>,
}

pub const SETTINGS: Settings = Settings {
    budget: Budget { iterations: 2_000 },
    watchdog: Duration::from_secs(60),
    cut_watchdog: Duration::from_secs(60),
    solver_threads: 2,
};

impl World {
    pub async fn start() -> Self {
        Self::start_with(SETTINGS).await
    }

    pub async fn start_with(settings: Settings) -> Self {
        let diary = Arc::new(Diary::default());
        let store = Arc::new(TestStore {
            inner: MemoryStore::default(),
            failing: AtomicBool::new(false),
            damaged: Mutex::default(),
            breaks: Mutex::default(),
            gate: Semaphore::new(1_000),
            diary: Arc::clone(&diary),
        });
        Self::start_on(store, ManualClock::at(MORNING), settings).await
    }

    /// An engine on a store that may hold something already.
    pub async fn start_on(store: Arc<TestStore>, clock: Arc<ManualClock>, settings: Settings) -> Self {
        let diary = Arc::clone(&store.diary);
        let gateway = Arc::new(TestGateway {
            sent: Mutex::default(),
            diary: Arc::clone(&diary),
        });
        let engine = Engine::start(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(&gateway) as Arc<dyn Gateway>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            settings,
        )
        .await
        .expect("the store opens");
        Self {
            engine,
            store,
            gateway,
            clock,
            diary,
        }
    }

    pub async fn submit(&self, event: Event) -> laddplan::domain::event::Receipt {
        self.engine
            .submit(&site_key(), None, event)
            .await
            .expect("the event is admitted")
    }

    /// Asks all of them before any is answered, so that no plan for the first few is made and sent in between.
    pub async fn submit_together(&self, events: impl IntoIterator<Item = Event>) {
        let mut asked = JoinSet::new();
        for event in events {
            let engine = self.engine.clone();
            asked.spawn(async move { engine.submit(&site_key(), None, event).await });
        }
        for answer in asked.join_all().await {
            answer.expect("the event is admitted");
        }
    }

    pub async fn put_site(&self, spec: SiteSpec) {
        self.submit(Event::SitePut(Box::new(spec))).await;
    }

    /// A gateway says hello that has applied nothing and fences its revisions.
    pub async fn gateway_connects(&self) {
        let gateway = id(GatewayId::parse, "gateway-1");
        self.submit(Event::GatewayConnected { gateway, fences: true }).await;
    }

    /// Returns once the engine has nothing left to do at this instant.
    pub async fn settle(&self) {
        while !self.engine.is_settled() {
            tokio::task::yield_now().await;
        }
    }

    /// Moves the clock and lets the engine do what is due then.
    pub async fn advance(&self, length: Seconds) {
        self.clock.advance(length);
        self.settle().await;
    }

    pub async fn journal(&self) -> Vec<Recorded> {
        self.store
            .inner
            .read(&site_key(), 0, usize::MAX)
            .await
            .expect("the journal is there")
    }
}

/// A stateless problem that keeps a solver busy for much longer than a few milliseconds, and much longer than a site of two cars.
pub fn large_problem() -> OnceRequest {
    OnceRequest {
        site: site_spec(400, 60),
        now: MORNING,
        slot_count: None,
        grid_limits: Vec::new(),
        prices: None,
        base_load: None,
        solar: None,
        sessions: (1..=60)
            .map(|number| OnceSession {
                spec: session(number, MORNING, Seconds::from_hours(12), 60),
                delivered: WattSeconds::ZERO,
                overridden: Override::None,
            })
            .collect(),
        budget: SETTINGS.budget,
    }
}
