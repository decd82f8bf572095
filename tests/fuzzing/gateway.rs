//! A gateway that says anything, in any order, over the real service: its stream, the engine, the planner and the roll-out.
//!
//! The input is a script: messages as they come, answers to commands that were really sent, new streams, time that passes, cars and
//! limits. The roll-out asserts after every step that nothing it lets out raises the worst case above what is available. Beside
//! that: every message is acknowledged or ends the stream, revisions only rise, what is sent is sound OCPI for an EVSE of the site
//! and within its connector, the site is still there at the end, and its journal leads to the same state.
//!
//! The client and the service are joined without a socket, and time is the script's.

use super::{Cursor, Verdict, ocpi};
use laddplan::access::{Caller, Credential, everything_of};
use laddplan::dispatch::{GatewayApi, Limits, Streams};
use laddplan::domain::event::Event;
use laddplan::domain::ids::{GatewayId, SessionId, SiteId, SiteKey, TenantId};
use laddplan::domain::plan::Budget;
use laddplan::domain::profile::{Instruction, Revision};
use laddplan::engine::ports::{Clock, Store};
use laddplan::engine::view::SiteView;
use laddplan::engine::{Engine, Refusal, Settings};
use laddplan::simulate::clock::VirtualClock;
use laddplan::store::memory::MemoryStore;
use laddplan::units::{Instant, Seconds};
use laddplan::wire::proto;
use laddplan::wire::session::session_spec;
use laddplan::wire::site::{grid_limit, valid_site_spec};
use prost::Message;
use proto::connect_request::Message as Up;
use proto::connect_response::Message as Down;
use proto::gateway_service_client::GatewayServiceClient;
use proto::gateway_service_server::GatewayServiceServer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

/// 2026-03-02T08:00:00Z, a Monday.
pub const MORNING: Instant = Instant::from_unix_secs(1_772_438_400);
const TENANT: &str = "cpo";
const SITE: &str = "yard";
const GATEWAY: &str = "gateway";
const EVSES: usize = 3;
/// Two of the EVSEs can have all they take.
const FUSE_AMPS: i64 = 40;
const MAX_AMPS: i64 = 32;
/// A longer script is cut off.
const MAX_STEPS: usize = 40;
/// Turns of the runtime within which a message is acknowledged; what is recorded waits for nothing but others' turns.
const MAX_TURNS: usize = 20_000;

const SETTINGS: Settings = Settings {
    budget: Budget { iterations: 0 },
    watchdog: Duration::from_secs(600),
    cut_watchdog: Duration::from_secs(600),
    solver_threads: 1,
};

/// What a script does; the number is its first byte, modulo 8.
#[derive(Clone, Debug)]
pub enum Step {
    /// A message under the next number.
    Say(Up),
    /// Any message, as it is.
    SayRaw(proto::ConnectRequest),
    Wait {
        seconds: u16,
    },
    /// To the command of that number, counted from the newest.
    Answer {
        command: u8,
        result: u8,
        attempt: u8,
    },
    /// The old stream ends. A bit for each EVSE: whether the gateway says that the newest command for it is applied; the highest: it
    /// fences.
    Reconnect {
        said: u8,
    },
    /// The lowest bits are the EVSE, the highest: it ends instead.
    Car {
        which: u8,
    },
    Limit {
        amps: u8,
    },
    /// In tenths of a kilowatt.
    Reading {
        evse: u8,
        power: u8,
    },
}

impl Step {
    pub fn write(&self, script: &mut Vec<u8>) {
        let mut message = |number: u8, bytes: Vec<u8>| {
            script.push(number);
            script.extend(u16::try_from(bytes.len()).expect("a short message").to_le_bytes());
            script.extend(bytes);
        };
        match self {
            Self::Say(up) => message(
                0,
                proto::ConnectRequest {
                    number: 0,
                    message: Some(up.clone()),
                }
                .encode_to_vec(),
            ),
            Self::SayRaw(raw) => message(1, raw.encode_to_vec()),
            Self::Wait { seconds } => {
                script.push(2);
                script.extend(seconds.to_le_bytes());
            }
            Self::Answer {
                command,
                result,
                attempt,
            } => script.extend([3, *command, *result, *attempt]),
            Self::Reconnect { said } => script.extend([4, *said]),
            Self::Car { which } => script.extend([5, *which]),
            Self::Limit { amps } => script.extend([6, *amps]),
            Self::Reading { evse, power } => script.extend([7, *evse, *power]),
        }
    }

    /// `None` at the end, and where a message is none.
    fn read(script: &mut Cursor<'_>) -> Option<Self> {
        Some(match script.byte()? % 8 {
            0 => Self::Say(proto::ConnectRequest::decode(script.bytes()?).ok()?.message?),
            1 => Self::SayRaw(proto::ConnectRequest::decode(script.bytes()?).ok()?),
            2 => Self::Wait {
                seconds: script.number()?,
            },
            3 => Self::Answer {
                command: script.byte()?,
                result: script.byte()?,
                attempt: script.byte()?,
            },
            4 => Self::Reconnect { said: script.byte()? },
            5 => Self::Car { which: script.byte()? },
            6 => Self::Limit { amps: script.byte()? },
            _ => Self::Reading {
                evse: script.byte()?,
                power: script.byte()?,
            },
        })
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

pub fn run(data: &[u8]) -> Verdict {
    RUNTIME.with(|runtime| runtime.block_on(play(data)))
}

async fn play(data: &[u8]) -> Verdict {
    let yard = Yard::after(&mut Cursor(data)).await;
    let was_heard = yard.close().await;
    if was_heard { Verdict::Used } else { Verdict::Refused }
}

/// The store of the service after a script.
pub fn store_after(script: &mut Cursor<'_>) -> Arc<MemoryStore> {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let yard = Yard::after(script).await;
            let store = Arc::clone(&yard.store);
            yard.close().await;
            store
        })
    })
}

/// The service, its world, and the gateway's end of the stream.
struct Yard {
    clock: Arc<VirtualClock>,
    store: Arc<MemoryStore>,
    streams: Streams,
    engine: Engine,
    api: GatewayApi,
    stream: Option<Stream>,
    /// All that were sent.
    commands: Vec<proto::ProfileCommand>,
    cars: usize,
    /// Whether anything was acknowledged and not refused.
    was_heard: bool,
}

struct Stream {
    up: mpsc::Sender<proto::ConnectRequest>,
    down: Streaming<proto::ConnectResponse>,
    number: i64,
    acknowledged: i64,
}

impl Yard {
    async fn after(script: &mut Cursor<'_>) -> Self {
        let mut yard = Self::open().await;
        let mut steps = 0;
        while steps < MAX_STEPS
            && let Some(step) = Step::read(script)
        {
            yard.take(step).await;
            steps += 1;
        }
        yard
    }

    async fn open() -> Self {
        let clock = Arc::new(VirtualClock::starting_at(MORNING));
        let store = Arc::new(MemoryStore::default());
        let streams = Streams::new(Limits::default());
        let engine = start(&store, &streams, &clock).await;
        let spec = valid_site_spec(&key().tenant, &site()).expect("our own site");
        let put = Event::SitePut(Box::new(spec));
        engine.submit(&key(), None, put).await.expect("a new site");
        let api = GatewayApi::new(streams.clone(), engine.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
        let mut yard = Self {
            clock,
            store,
            streams,
            engine,
            api,
            stream: None,
            commands: Vec::new(),
            cars: 0,
            was_heard: false,
        };
        yard.settle().await;
        yard
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Say(Up::Hello(hello)) => self.connect(hello).await,
            Step::Say(message) => {
                let number = self.stream.as_ref().map_or(0, |stream| stream.number + 1);
                self.say(proto::ConnectRequest {
                    number,
                    message: Some(message),
                })
                .await;
            }
            Step::SayRaw(raw) => self.say(raw).await,
            Step::Wait { seconds } => {
                self.clock
                    .advance_to(self.clock.now() + Seconds::from_secs(seconds.into()));
            }
            Step::Answer {
                command,
                result,
                attempt,
            } => self.answer(command, result, attempt).await,
            Step::Reconnect { said } => self.reconnect(said).await,
            Step::Car { which } => self.car(which).await,
            Step::Limit { amps } => self.limit(amps).await,
            Step::Reading { evse, power } => self.reading(evse, power).await,
        }
        self.settle().await;
    }

    async fn connect(&mut self, hello: proto::GatewayHello) {
        self.settle().await;
        let service = GatewayServiceServer::new(self.api.clone());
        let (up, messages) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(messages));
        request.extensions_mut().insert(self.caller());
        let response = GatewayServiceClient::new(service).connect(request).await;
        self.stream = Some(Stream {
            up,
            down: response.expect("there is room for a stream").into_inner(),
            number: 0,
            acknowledged: 0,
        });
        self.say(proto::ConnectRequest {
            number: 1,
            message: Some(Up::Hello(hello)),
        })
        .await;
    }

    /// As the guard of the API would let it in.
    fn caller(&self) -> Arc<Caller> {
        Arc::new(Caller {
            credential: Credential::Certificate(GatewayId::parse("gateway").expect("is an id")),
            grant: everything_of(&key().tenant),
            room: None,
        })
    }

    async fn say(&mut self, message: proto::ConnectRequest) {
        let Some(stream) = &mut self.stream else { return };
        if message.number == stream.number + 1 {
            stream.number = message.number;
        }
        // Fails where the stream has ended, which shows when it is heard.
        let _ = stream.up.send(message).await;
    }

    async fn answer(&mut self, command: u8, result: u8, attempt: u8) {
        let Some(command) = self.commands.iter().rev().nth(command.into()) else {
            return;
        };
        let answer = proto::CommandAnswer {
            site_id: command.site_id.clone(),
            evse_id: command.evse_id.clone(),
            revision: command.revision,
            // Now and then to a transmission that was never made.
            attempt: command.attempt + i32::from(attempt / 64),
            result: i32::from(result % 4),
            reason: "why".to_owned(),
        };
        let number = self.stream.as_ref().map_or(0, |stream| stream.number + 1);
        let message = Some(Up::Answer(answer));
        self.say(proto::ConnectRequest { number, message }).await;
    }

    async fn reconnect(&mut self, said: u8) {
        let applied = (1..=EVSES)
            .filter(|number| said & (1 << number) != 0)
            .filter_map(|number| {
                let newest = self
                    .commands
                    .iter()
                    .rev()
                    .find(|command| command.evse_id == evse(number))?;
                Some(proto::EvseRevision {
                    site_id: SITE.to_owned(),
                    evse_id: newest.evse_id.clone(),
                    revision: newest.revision,
                })
            });
        let hello = proto::GatewayHello {
            tenant_id: TENANT.to_owned(),
            gateway_id: GATEWAY.to_owned(),
            fences_durably: said & 0x80 != 0,
            applied: applied.collect(),
            on_its_way: vec![],
            clock: None,
        };
        self.connect(hello).await;
    }

    async fn car(&mut self, which: u8) {
        let number = usize::from(which) % EVSES + 1;
        let event = if which & 0x80 == 0 {
            self.cars += 1;
            let spec = proto::SessionSpec {
                id: format!("car-{}", self.cars),
                evse_id: evse(number),
                arrival_time: Some(at(self.clock.now())),
                departure_time: Some(at(self.clock.now() + Seconds::from_hours(2))),
                need_watt_hour: Some(10_000),
                ..Default::default()
            };
            Event::SessionStarted(Box::new(session_spec(&spec, None).expect("our own session")))
        } else {
            Event::SessionEnded {
                session: SessionId::parse(&format!("car-{}", self.cars)).expect("is an id"),
                at: self.clock.now(),
                reason: "the car left".to_owned(),
            }
        };
        self.submit(event).await;
    }

    async fn limit(&mut self, amps: u8) {
        let limit = proto::GridLimit {
            id: "limit".to_owned(),
            node_id: "grid".to_owned(),
            source: proto::LimitSource::Dso.into(),
            limit: line_limit(i64::from(amps % 64)),
            when: Some(proto::grid_limit::When::Once(proto::OnceWindow {
                from: Some(at(self.clock.now())),
                until: None,
            })),
        };
        let limit = grid_limit(&limit).expect("our own limit");
        self.submit(Event::GridLimitSet(limit)).await;
    }

    async fn reading(&mut self, number: u8, power: u8) {
        let readings = proto::GatewayReadings {
            site_id: SITE.to_owned(),
            readings: vec![proto::MeterReading {
                evse_id: evse(usize::from(number) % EVSES + 1),
                at: Some(at(self.clock.now())),
                power_watt: Some(i64::from(power) * 100),
                ..Default::default()
            }],
        };
        let number = self.stream.as_ref().map_or(0, |stream| stream.number + 1);
        let message = Some(Up::Readings(readings));
        self.say(proto::ConnectRequest { number, message }).await;
    }

    async fn submit(&self, event: Event) {
        match self.engine.submit(&key(), None, event).await {
            Ok(_) | Err(Refusal::Rejected(_) | Refusal::NotFound { .. }) => {}
            Err(other) => panic!("the site is there: {other}"),
        }
    }

    /// Until nothing is left to do at this instant, and all that was said is acknowledged.
    async fn settle(&mut self) {
        let mut turns = 0;
        loop {
            self.hear().await;
            let engine_rests = self.engine.is_settled() && self.streams.waiting() == 0;
            let heard = |stream: &Stream| stream.acknowledged >= stream.number;
            let all_heard = self.stream.as_ref().is_none_or(heard);
            if engine_rests && all_heard {
                return;
            }
            // While a search runs nobody knows how many turns it takes.
            turns += usize::from(engine_rests);
            assert!(
                turns < MAX_TURNS,
                "a message is neither acknowledged nor does it end the stream"
            );
            tokio::task::yield_now().await;
        }
    }

    /// Takes in what has come down the stream.
    async fn hear(&mut self) {
        while let Some(stream) = &mut self.stream {
            let message = tokio::select! {
                biased;
                message = stream.down.message() => message,
                () = tokio::task::yield_now() => return,
            };
            match message {
                Ok(Some(message)) => self.take_down(message.message.expect("a message says something")),
                Ok(None) | Err(_) => self.stream = None,
            }
        }
    }

    fn take_down(&mut self, message: Down) {
        let stream = self.stream.as_mut().expect("it came down a stream");
        match message {
            Down::Welcome(welcome) => assert_eq!(welcome.site_ids, [SITE]),
            Down::Acknowledgement(up_to) => {
                assert!(
                    (stream.acknowledged..=stream.number).contains(&up_to.number),
                    "{up_to:?}"
                );
                self.was_heard |= up_to.number > 1;
                stream.acknowledged = up_to.number;
            }
            Down::Refused(refused) => {
                assert!((1..=stream.number).contains(&refused.number), "{refused:?}");
                assert!(!refused.faults.is_empty() && !refused.try_again, "{refused:?}");
                assert!(refused.faults.iter().all(|fault| fault.len() < 2_000), "{refused:?}");
            }
            Down::Command(command) => {
                self.check_command(&command);
                self.commands.push(command);
            }
        }
    }

    fn check_command(&self, command: &proto::ProfileCommand) {
        assert!((1..=EVSES).any(|number| evse(number) == command.evse_id) && command.site_id == SITE);
        let before = self
            .commands
            .iter()
            .rev()
            .find(|before| before.evse_id == command.evse_id);
        if let Some(before) = before {
            assert!(
                (before.revision, before.attempt) < (command.revision, command.attempt),
                "{command:?} after {before:?}"
            );
        }
        use proto::profile_command::Instruction as Arm;
        match command.instruction.as_ref().expect("a command says what to do") {
            Arm::SetChargingProfile(profile) => {
                ocpi::check_ours(profile);
                let limits = profile.charging_profile_period.iter().filter_map(|period| period.limit);
                assert!(
                    limits.into_iter().all(|limit| (0.0..=MAX_AMPS as f64).contains(&limit)),
                    "{profile:?}"
                );
            }
            Arm::ClearChargingProfile(_) => {}
        }
    }

    /// True if the gateway was heard.
    async fn close(mut self) -> bool {
        self.stream = None;
        self.settle().await;
        let view = self.engine.site(&key()).await.expect("the site is still there");
        self.check_what_was_sent().await;
        self.streams.close();
        self.engine.shut_down().await;
        let again = start(&self.store, &self.streams, &self.clock).await;
        let same = again.site(&key()).await.expect("the journal leads to a site");
        again.shut_down().await;
        assert_eq!(facts(&same), facts(&view));
        self.was_heard
    }

    /// Nothing was sent that the journal does not have.
    async fn check_what_was_sent(&self) {
        let journal = self.store.read(&key(), 0, usize::MAX).await.expect("a store in memory");
        let mut issued: BTreeMap<(String, Revision, u32), bool> = BTreeMap::new();
        for entry in &journal {
            if let Event::CommandsIssued(commands) = &entry.event {
                for command in commands {
                    let sets = matches!(command.instruction, Instruction::Set(_));
                    issued.insert((command.evse.to_string(), command.revision, command.attempt), sets);
                }
            }
        }
        for command in &self.commands {
            let revision = Revision::new(command.revision.cast_unsigned());
            let name = (command.evse_id.clone(), revision, command.attempt.cast_unsigned());
            assert!(issued.contains_key(&name), "{command:?} is not in the journal");
        }
    }
}

async fn start(store: &Arc<MemoryStore>, streams: &Streams, clock: &Arc<VirtualClock>) -> Engine {
    let store = Arc::clone(store) as Arc<dyn Store>;
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    Engine::start(store, Arc::new(streams.clone()), clock, SETTINGS)
        .await
        .expect("what was written can be read")
}

/// What a site is, whoever asks.
fn facts(view: &SiteView) -> String {
    format!(
        "{:?} {} {:?} {:?}",
        view.site.spec(),
        view.stopped,
        view.grid_limits,
        view.sessions
    )
}

pub fn key() -> SiteKey {
    SiteKey {
        tenant: TenantId::parse(TENANT).expect("is an id"),
        site: SiteId::parse(SITE).expect("is an id"),
    }
}

fn evse(number: usize) -> String {
    format!("evse-{number}")
}

fn at(instant: Instant) -> prost_types::Timestamp {
    laddplan::wire::common::timestamp_message(instant)
}

fn amps(amps: i64) -> Option<proto::Rate> {
    Some(proto::Rate {
        rate: Some(proto::rate::Rate::CurrentDeciampere(amps * 10)),
    })
}

fn line_limit(amps: i64) -> Option<proto::NodeLimit> {
    Some(proto::NodeLimit {
        line_deciampere: Some(amps * 10),
        total_watt: None,
    })
}

/// A fuse with three EVSEs on L1, the last of them without a meter.
fn site() -> proto::Site {
    let station = |number: usize| proto::Station {
        id: format!("station-{number}"),
        node_id: "grid".to_owned(),
        limit: None,
        evses: vec![proto::Evse {
            id: evse(number),
            uncontrollable: false,
            metered: number < EVSES,
            connectors: vec![proto::Connector {
                id: "1".to_owned(),
                wiring: Some(proto::connector::Wiring::Star(proto::StarWiring {
                    phases: vec![proto::Phase::L1 as i32],
                })),
                nominal_volt: 230,
                minimum: amps(6),
                maximum: amps(MAX_AMPS),
                default_rate: amps(0),
                ..Default::default()
            }],
        }],
    };
    proto::Site {
        id: SITE.to_owned(),
        time_zone: "Europe/Stockholm".to_owned(),
        currency: "SEK".to_owned(),
        mode: proto::SiteMode::Control as i32,
        trust_unmetered: true,
        reserve_permille: Some(0),
        lease_seconds: 300,
        gateway_id: GATEWAY.to_owned(),
        nodes: vec![proto::Node {
            id: "grid".to_owned(),
            limit: line_limit(FUSE_AMPS),
            ..Default::default()
        }],
        stations: (1..=EVSES).map(station).collect(),
        ..Default::default()
    }
}

/// A gateway that does what it should, and one that does not.
pub fn examples() -> Vec<(&'static str, Vec<Step>)> {
    let hello = |fences| {
        Step::Say(Up::Hello(proto::GatewayHello {
            tenant_id: TENANT.to_owned(),
            gateway_id: GATEWAY.to_owned(),
            fences_durably: fences,
            applied: vec![],
            on_its_way: vec![],
            clock: Some(at(MORNING)),
        }))
    };
    let answer = |command, result| Step::Answer {
        command,
        result,
        attempt: 0,
    };
    let heartbeat = || {
        Step::Say(Up::Heartbeat(proto::GatewayHeartbeat {
            clock: Some(at(MORNING)),
        }))
    };
    let active = |revision| {
        Step::Say(Up::Active(proto::ActiveProfile {
            site_id: SITE.to_owned(),
            evse_id: evse(1),
            revision,
        }))
    };
    let readings = Step::Say(Up::Readings(proto::GatewayReadings {
        site_id: SITE.to_owned(),
        readings: vec![proto::MeterReading {
            evse_id: evse(1),
            at: Some(at(MORNING)),
            session_energy_watt_hour: Some(42),
            power_watt: Some(7_000),
            current_deciampere: vec![160, 0, 0],
        }],
    }));
    let [car, wait] = [|which| Step::Car { which }, |_| Step::Wait { seconds: 200 }];
    vec![
        (
            "one-car",
            vec![
                hello(true),
                car(0),
                answer(0, 1),
                answer(0, 2),
                readings.clone(),
                wait(0),
                heartbeat(),
            ],
        ),
        (
            "two-cars-and-a-cut",
            vec![
                hello(true),
                car(0),
                car(1),
                answer(0, 2),
                answer(1, 2),
                Step::Limit { amps: 20 },
                answer(0, 2),
                answer(1, 2),
                Step::Reading { evse: 0, power: 20 },
                Step::Reading { evse: 1, power: 20 },
                Step::Limit { amps: 40 },
                wait(0),
                answer(0, 2),
            ],
        ),
        (
            "without-fences",
            vec![
                hello(false),
                car(0),
                car(1),
                car(2),
                answer(0, 1),
                answer(1, 3),
                answer(2, 2),
                wait(0),
                wait(0),
                active(1),
                active(0),
                Step::Car { which: 0x80 },
                wait(0),
            ],
        ),
        (
            "breaks-off",
            vec![
                hello(true),
                car(0),
                car(1),
                Step::Reconnect { said: 0x80 },
                answer(0, 2),
                wait(0),
                Step::Reconnect { said: 0x86 },
                answer(1, 2),
                Step::Wait { seconds: 900 },
                Step::Reconnect { said: 0x02 },
            ],
        ),
        (
            "out-of-order",
            vec![
                hello(true),
                Step::SayRaw(proto::ConnectRequest {
                    number: 1,
                    message: None,
                }),
                Step::SayRaw(proto::ConnectRequest {
                    number: 2,
                    message: Some(Up::Hello(Default::default())),
                }),
                heartbeat(),
                Step::SayRaw(proto::ConnectRequest {
                    number: 9,
                    message: None,
                }),
            ],
        ),
        (
            "disobeys",
            vec![
                hello(true),
                car(0),
                answer(0, 2),
                Step::Reading { evse: 0, power: 200 },
                wait(0),
                Step::Reading { evse: 0, power: 200 },
                car(1),
                wait(0),
                Step::Reading { evse: 0, power: 0 },
                answer(0, 2),
            ],
        ),
        (
            "is-nobody",
            vec![Step::Say(Up::Hello(proto::GatewayHello {
                tenant_id: TENANT.to_owned(),
                gateway_id: "stranger".to_owned(),
                ..Default::default()
            }))],
        ),
    ]
}
