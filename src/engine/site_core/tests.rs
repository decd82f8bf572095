//! The site's core, step by step: what leaves when, with searches and appends that end as the test says.

mod admission;
mod alarms;
mod commissioning;
mod overload;

use super::*;
use crate::domain::conversion::{Phase, Rate, Wiring};
use crate::domain::driver::DriverPolicy;
use crate::domain::ids::*;
use crate::domain::limits::{FixedLimits, GridLimit, LimitSource, LimitWindow, NodeLimit};
use crate::domain::profile::{Answer, Instruction};
use crate::domain::session::{Car, MeterSample, SessionSpec, Stated, Tier};
use crate::domain::site::*;
use crate::units::{DeciAmps, Volts, WattSeconds, Watts};

const MORNING: Instant = Instant::from_unix_secs(1_772_438_400);
const SETTINGS: Settings = Settings {
    budget: Budget { iterations: 100 },
    watchdog: Duration::from_secs(600),
    cut_watchdog: Duration::from_secs(600),
    solver_threads: 1,
};

fn node() -> NodeId {
    NodeId::parse("grid").unwrap()
}

fn evse_id(number: usize) -> EvseId {
    EvseId::parse(&format!("evse-{number}")).unwrap()
}

fn session_id(number: usize) -> SessionId {
    SessionId::parse(&format!("session-{number}")).unwrap()
}

/// One fuse of 64 A and two EVSEs of up to 32 A on L1 that do nothing by themselves.
fn site() -> SiteSpec {
    let station = |number: usize| Station {
        id: StationId::parse(&format!("station-{number}")).unwrap(),
        node: node(),
        limit: NodeLimit::default(),
        evses: vec![Evse {
            id: evse_id(number),
            controllable: true,
            metered: false,
            connectors: vec![Connector {
                id: ConnectorId::parse("1").unwrap(),
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
        tenant: TenantId::parse("cpo").unwrap(),
        id: SiteId::parse("depot").unwrap(),
        time_zone: "UTC".to_owned(),
        currency: "EUR".to_owned(),
        mode: Mode::Control,
        lease: Seconds::from_mins(15),
        clock_skew: Seconds::from_secs(5),
        reserve_permille: 0,
        slot: Seconds::from_mins(15),
        trust_unmetered: true,
        fairness: Fairness::MaxMin,
        demand_charge_micros_per_kw: None,
        peak_so_far: Watts::ZERO,
        gateway: Some(GatewayId::parse("gateway").unwrap()),
        drivers: DriverPolicy::default(),
        nodes: vec![Node {
            id: node(),
            parent: None,
            limit: amperes(64),
            fixed: FixedLimits::default(),
            base_load_line: DeciAmps::ZERO,
            base_load_total: Watts::ZERO,
            meter: Default::default(),
        }],
        stations: vec![station(1), station(2)],
    }
}

fn amperes(amps: i64) -> NodeLimit {
    NodeLimit {
        line: Some(DeciAmps::from_deciamps(amps * 10)),
        total: None,
    }
}

fn car(number: usize) -> Event {
    Event::SessionStarted(Box::new(SessionSpec {
        id: session_id(number),
        evse: evse_id(number),
        connector: None,
        arrival: MORNING,
        departure: Stated::Given(MORNING + Seconds::from_hours(4)),
        need: Stated::Given(WattSeconds::from_watt_hours(40_000)),
        guaranteed: WattSeconds::ZERO,
        interruptible: true,
        tier: Tier::NORMAL,
        group: None,
        driver: None,
        car: Car::default(),
        ocpi: None,
    }))
}

/// A limit on the fuse from `from` on.
fn cut(amps: i64, from: Instant) -> Event {
    Event::GridLimitSet(GridLimit {
        id: GridLimitId::parse("cut").unwrap(),
        node: node(),
        source: LimitSource::Dso,
        limit: amperes(amps),
        when: LimitWindow::Once { from, until: None },
    })
}

/// A core whose appends all succeed, and whose searches end when the test says.
struct Bench {
    core: SiteCore,
    now: Instant,
    job: Option<SearchJob>,
    sent: Vec<OutgoingCommand>,
    alarms: Vec<Alarm>,
    journal: Vec<Recorded>,
    /// What happened, in order.
    diary: Vec<&'static str>,
}

impl Bench {
    fn new() -> Self {
        let key = SiteKey {
            tenant: TenantId::parse("cpo").unwrap(),
            site: SiteId::parse("depot").unwrap(),
        };
        let mut bench = Self {
            core: SiteCore::new(SiteState::empty(key), SETTINGS),
            now: MORNING,
            job: None,
            sent: Vec::new(),
            alarms: Vec::new(),
            journal: Vec::new(),
            diary: Vec::new(),
        };
        bench.take(Input::Started);
        bench
    }

    /// Both cars charge at 32 A, and both stations have said so.
    fn with_two_cars() -> Self {
        let mut bench = Self::new();
        let gateway = GatewayId::parse("gateway").unwrap();
        bench.submit(Event::SitePut(Box::new(site())));
        bench.submit(Event::GatewayConnected { gateway, fences: true });
        bench.submit(car(1));
        bench.submit(car(2));
        bench.find_all();
        bench.accept_all();
        bench.find_all();
        assert_eq!(bench.ceilings(), [320, 320]);
        bench.diary.clear();
        bench
    }

    fn take(&mut self, input: Input) {
        let mut step = self.core.step(self.now, input);
        loop {
            for effect in step.effects {
                match effect {
                    Effect::Answer(..) => self.diary.push("answer"),
                    Effect::Send(command) => {
                        self.diary.push("send");
                        self.sent.push(command.into_inner());
                    }
                    Effect::Search(job) => {
                        assert!(self.job.is_none(), "one search at a time");
                        self.diary.push("search");
                        self.job = Some(job);
                    }
                    Effect::AbandonSearch => {
                        self.diary.push("abandon");
                        self.job = None;
                    }
                    Effect::ShowAlarms(alarms) => self.alarms = alarms.to_vec(),
                    Effect::KeepSnapshot(_) | Effect::ShowSummary(_) | Effect::ShowPlan(_) => {}
                }
            }
            step = match step.then {
                Then::Append(append) => {
                    self.diary.push("append");
                    self.journal.extend(append.batch.entries);
                    self.core.step(self.now, Input::Appended(append.unsaid, Ok(())))
                }
                Then::Wait => return,
                other => panic!("the store works: {other:?}"),
            };
        }
    }

    fn submit(&mut self, event: Event) {
        let question = Question::Submit {
            request: None,
            event,
            id_was_used: Ok(false),
        };
        self.take(Input::Asked(vec![Ask {
            caller: Caller(0),
            question,
        }]));
    }

    /// Lets the searches end until none is left.
    fn find_all(&mut self) {
        while let Some(job) = self.job.take() {
            let plan = planner_plan(&job);
            self.take(Input::SearchEnded(SearchEnd::Found(plan, 0)));
        }
    }

    /// Lets so many seconds pass one by one, with whatever is due in them.
    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now = self.now + Seconds::from_secs(1);
            while self.core.next_wake() <= self.now {
                self.take(Input::Woke);
                self.find_all();
            }
        }
    }

    fn accept_all(&mut self) {
        for outgoing in self.sent.clone() {
            self.submit(Event::CommandAnswered {
                evse: outgoing.command.evse,
                revision: outgoing.command.revision,
                attempt: outgoing.command.attempt,
                answer: Answer::Accepted,
            });
        }
    }

    /// What was last sent to each EVSE allows it now.
    fn ceilings(&self) -> [i64; 2] {
        [1, 2].map(|number| {
            let of_evse = |outgoing: &&OutgoingCommand| outgoing.command.evse == evse_id(number);
            let last = self.sent.iter().rev().find(of_evse).expect("it was told something");
            match &last.command.instruction {
                Instruction::Set(profile) => profile.limits().at(self.now).value(),
                Instruction::Clear => 320,
            }
        })
    }
}

fn planner_plan(job: &SearchJob) -> Plan {
    crate::planner::plan(&job.snapshot, job.budget)
}

#[test]
fn a_cut_lowers_at_once_though_a_search_never_ends() {
    let mut bench = Bench::with_two_cars();
    bench.submit(car_wants_more());
    assert!(bench.job.is_some(), "a search is under way");
    bench.diary.clear();
    bench.submit(cut(20, Instant::FAR_PAST));
    let sum: i64 = bench.ceilings().iter().sum();
    assert!(sum <= 200, "{:?} dA on a limit of 200 dA", bench.ceilings());
    // The cut is recorded and acknowledged, then the plan and its commands are recorded, then they leave; then a new search begins.
    assert_eq!(
        bench.diary,
        ["append", "answer", "abandon", "append", "send", "send", "search"]
    );
    let plan = bench.core.state().plan().unwrap();
    assert_eq!(plan.provenance.budget, Budget { iterations: 0 }, "it can be made again");
    assert!(!plan.provenance.watchdog_fallback);
}

#[test]
fn a_site_that_is_described_with_less_lowers_at_once() {
    let mut bench = Bench::with_two_cars();
    let mut less = site();
    less.nodes[0].base_load_line = DeciAmps::from_deciamps(440);
    bench.submit(Event::SitePut(Box::new(less)));
    assert!(bench.ceilings().iter().sum::<i64>() <= 200, "{:?}", bench.ceilings());
}

#[test]
fn whoever_is_paused_or_stopped_is_lowered_at_once() {
    let mut bench = Bench::with_two_cars();
    bench.submit(Event::SessionOverridden {
        session: session_id(1),
        overridden: Override::Pause,
    });
    assert_eq!(bench.ceilings()[0], 0);
    bench.submit(Event::SiteStopped { stopped: true });
    assert_eq!(bench.ceilings(), [0, 0]);
}

#[test]
fn a_cut_that_comes_after_a_search_would_be_over_leaves_it_alone() {
    let mut bench = Bench::with_two_cars();
    bench.submit(car_wants_more());
    bench.diary.clear();
    bench.submit(cut(20, MORNING + Seconds::from_mins(11)));
    assert_eq!(bench.diary, ["append", "answer"]);
    bench.submit(cut(20, MORNING + Seconds::from_mins(9)));
    assert_eq!(bench.diary[2..5], ["append", "answer", "abandon"]);
}

#[test]
fn a_limit_that_nobody_has_to_shed_for_leaves_the_search_alone() {
    let mut bench = Bench::with_two_cars();
    bench.submit(car_wants_more());
    bench.diary.clear();
    bench.submit(cut(64, Instant::FAR_PAST));
    bench.submit(cut(70, Instant::FAR_PAST));
    assert_eq!(bench.diary, ["append", "answer", "append", "answer"]);
}

#[test]
fn what_comes_during_a_search_that_takes_too_long_is_planned_after_it() {
    let mut bench = Bench::with_two_cars();
    bench.submit(cut(20, Instant::FAR_PAST));
    assert!(bench.job.is_some(), "a patient search");
    bench.submit(car_wants_more());
    bench.job = None;
    bench.take(Input::SearchEnded(SearchEnd::WatchdogBarked));
    assert!(bench.job.is_some(), "and one on what came meanwhile");
}

#[test]
fn whoever_disobeys_makes_room_for_nobody_and_is_planned_again_once_it_obeys() {
    let mut bench = Bench::with_two_cars();
    bench.submit(Event::SessionOverridden {
        session: session_id(1),
        overridden: Override::Pause,
    });
    bench.find_all();
    bench.accept_all();
    let mut minute_later = |readings: &[i64]| {
        for deciamps in readings {
            bench.now = bench.now + Seconds::from_secs(15);
            bench.submit(Event::Metered(vec![MeterSample {
                evse: evse_id(1),
                at: bench.now,
                session_energy: None,
                power: None,
                currents: Some([*deciamps, 0, 0].map(DeciAmps::from_deciamps)),
            }]));
        }
        let mut searches = bench.job.is_some();
        bench.find_all();
        bench.now = bench.now + REPLAN_INTERVAL;
        bench.take(Input::Woke);
        searches |= bench.job.is_some();
        bench.find_all();
        let trust = bench.core.state().ledger().unwrap().trust(&evse_id(1));
        (trust, searches)
    };
    assert_eq!(minute_later(&[0]), (Trust::Obeys, false));
    assert_eq!(
        minute_later(&[320]),
        (Trust::Disobeys, true),
        "its maximum is others' no more"
    );
    assert_eq!(minute_later(&[0, 0]), (Trust::Obeys, true), "it is planned again");
}

fn car_wants_more() -> Event {
    let Event::SessionStarted(mut spec) = car(2) else {
        unreachable!("a car arrives")
    };
    spec.need = Stated::Given(WattSeconds::from_watt_hours(50_000));
    Event::SessionUpdated(spec)
}

#[test]
fn nothing_leaves_if_the_append_fails() {
    let mut bench = Bench::with_two_cars();
    let ask = |event: Event| {
        let question = Question::Submit {
            request: None,
            event,
            id_was_used: Ok(false),
        };
        Input::Asked(vec![Ask {
            caller: Caller(0),
            question,
        }])
    };
    let step = bench.core.step(MORNING, ask(cut(20, Instant::FAR_PAST)));
    assert!(step.effects.is_empty());
    let Then::Append(append) = step.then else {
        panic!("the cut is to be recorded")
    };
    let full = StoreError::Write("no space left on device".to_owned());
    let step = bench.core.step(MORNING, Input::Appended(append.unsaid, Err(full)));
    let [Effect::Answer(Caller(0), _)] = &step.effects[..] else {
        panic!("one refusal and nothing else: {:?}", step.effects)
    };
    assert!(matches!(step.then, Then::ReadAgain));
}
