//! Calls at a rate that is fixed beforehand, from a process of its own: what the service cannot do now waits, and its waiting counts.
//!
//! Decides the mix of calls and when each is due; a call's time runs from when it was due, not from when it left. Says what became of
//! the calls as one line of JSON. Never slows down because the service does: what would have to wait here as well is given up, and
//! counted.

use crate::table::Percentiles;
use crate::yard::{
    TENANT, Yard, at, connect, evse_id, grid_limit, meta, now, session, session_id, site_id, token_variable,
};
use laddplan::wire::bearer::Calls;
use laddplan::wire::proto;
use proto::session_service_client::SessionServiceClient;
use proto::site_service_client::SiteServiceClient;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What a process is called that makes these calls.
pub const ROLE: &str = "flood";
/// Connections that the calls are spread over.
const CONNECTIONS: usize = 32;
/// Calls under way at once; those that are due beyond that are given up.
const MAX_UNDER_WAY: usize = 8_192;
/// After the last call is due.
const PATIENCE: Duration = Duration::from_secs(15);
/// Readings in one batch.
const READINGS: usize = 4;
/// What `SetGridLimit` asks for: more than any fuse here, so that it is recorded and planned for, and lowers nobody.
const WIDE_AMPERES: i64 = 1_000;

/// The calls of the mix, with the share of each in percent.
const MIX: [(Kind, u64); 5] = [
    (Kind::GetSession, 50),
    (Kind::ReportMeter, 25),
    (Kind::UpdateSession, 15),
    (Kind::StartSession, 5),
    (Kind::SetGridLimit, 5),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    GetSession,
    ReportMeter,
    UpdateSession,
    StartSession,
    SetGridLimit,
}

/// What became of the calls.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub offered: u64,
    /// Never sent: too many were under way.
    pub given_up: u64,
    pub answered: u64,
    pub refused: u64,
    /// Refused without saying what is full and when to come back.
    pub refused_without_hint: u64,
    /// Any other end.
    pub failed: u64,
    pub first_failure: String,
    /// Of the calls that were answered.
    pub times: Percentiles,
}

/// Makes calls at `rate` a second for `seconds`, from another process; returns once all have ended.
pub async fn run(address: &str, yard: &Yard, rate: f64, seconds: u64) -> Outcome {
    let program = std::env::current_exe().expect("this program has a path");
    let arguments = [
        ROLE.to_owned(),
        address.to_owned(),
        rate.to_string(),
        seconds.to_string(),
        yard.sites.to_string(),
        yard.evses.to_string(),
        yard.cars.to_string(),
        yard.arrival.to_string(),
    ];
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(program);
        let (name, token) = token_variable();
        command
            .args(arguments)
            .env(name, token)
            .stderr(Stdio::inherit())
            .output()
    });
    let output = output.await.expect("it does not panic").expect("it starts");
    let said = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    read(&said)
}

fn read(said: &Value) -> Outcome {
    let count = |name: &str| said[name].as_u64().expect("a count");
    Outcome {
        offered: count("offered"),
        given_up: count("given_up"),
        answered: count("answered"),
        refused: count("refused"),
        refused_without_hint: count("refused_without_hint"),
        failed: count("failed"),
        first_failure: said["first_failure"].as_str().unwrap_or_default().to_owned(),
        times: Percentiles {
            p50: Duration::from_micros(count("p50_micros")),
            p99: Duration::from_micros(count("p99_micros")),
            max: Duration::from_micros(count("max_micros")),
        },
    }
}

/// The other process.
pub fn main(arguments: &[String]) {
    let number = |index: usize| arguments[index].parse::<usize>().expect("a number");
    let rate: f64 = arguments[1].parse().expect("a rate");
    let seconds = arguments[2].parse().expect("seconds");
    let yard = Yard {
        sites: number(3),
        evses: number(4),
        cars: number(5),
        fuse_amperes: 0,
        sites_per_gateway: 1,
        arrival: arguments[6].parse().expect("unix seconds"),
    };
    // One thread: it takes no more than one of the processors from the service.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let said = runtime
        .expect("a runtime")
        .block_on(flood(&arguments[0], yard, rate, seconds));
    println!("{said}");
}

#[derive(Default)]
struct Tally {
    offered: u64,
    given_up: u64,
    refused: u64,
    refused_without_hint: u64,
    failed: u64,
    first_failure: String,
    /// Of the calls that were answered.
    times: Vec<Duration>,
}

#[expect(clippy::disallowed_methods, reason = "time is what is measured here")]
async fn flood(address: &str, yard: Yard, rate: f64, seconds: u64) -> Value {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(address).await);
    }
    let tally = Arc::new(Mutex::new(Tally::default()));
    let under_way = Arc::new(Semaphore::new(MAX_UNDER_WAY));
    let mut dice = Dice::new();
    let begun = Instant::now();
    let end = Duration::from_secs(seconds);
    let mut due = Duration::ZERO;
    let mut number = 0_usize;
    while due < end {
        tokio::time::sleep_until((begun + due).into()).await;
        while due < end && due <= begun.elapsed() {
            number += 1;
            let mut counts = tally.lock().expect("nobody panics");
            counts.offered += 1;
            match Arc::clone(&under_way).try_acquire_owned() {
                Err(_) => counts.given_up += 1,
                Ok(room) => {
                    let call = dice.call(&yard, number);
                    let channel = connections[number % CONNECTIONS].clone();
                    let tally = Arc::clone(&tally);
                    let due_at = begun + due;
                    tokio::spawn(async move {
                        let result = call.make(channel).await;
                        note(&mut tally.lock().expect("nobody panics"), result, due_at.elapsed());
                        drop(room);
                    });
                }
            }
            due += dice.gap(rate);
        }
        tokio::task::yield_now().await;
    }
    let all = u32::try_from(MAX_UNDER_WAY).expect("a small number");
    // What has not ended by then is missing from the sum.
    let _ = tokio::time::timeout(PATIENCE, under_way.acquire_many(all)).await;
    let mut tally = tally.lock().expect("nobody panics");
    say(&mut tally)
}

fn note(tally: &mut Tally, result: Result<(), Status>, took: Duration) {
    match result {
        Ok(()) => tally.times.push(took),
        Err(status) if status.code() == Code::ResourceExhausted => {
            tally.refused += 1;
            let details = status.get_error_details();
            let has_hint = details.retry_info().is_some() && details.quota_failure().is_some();
            tally.refused_without_hint += u64::from(!has_hint);
        }
        Err(status) => {
            tally.failed += 1;
            if tally.first_failure.is_empty() {
                tally.first_failure = format!("{:?}: {}", status.code(), status.message());
            }
        }
    }
}

fn say(tally: &mut Tally) -> Value {
    let times = Percentiles::of(&mut tally.times);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    json!({
        "offered": tally.offered,
        "given_up": tally.given_up,
        "answered": tally.times.len(),
        "refused": tally.refused,
        "refused_without_hint": tally.refused_without_hint,
        "failed": tally.failed,
        "first_failure": tally.first_failure,
        "p50_micros": micros(times.p50),
        "p99_micros": micros(times.p99),
        "max_micros": micros(times.max),
    })
}

/// A call of the mix.
struct Call {
    kind: Kind,
    site: usize,
    /// Of a car that stays; of an EVSE where cars come and go for `StartSession`.
    evse: usize,
    /// Cars that stay at each site.
    staying: usize,
    arrival: i64,
    number: usize,
}

impl Call {
    async fn make(self, channel: Calls) -> Result<(), Status> {
        let tenant_id = TENANT.to_owned();
        let site_id = site_id(self.site);
        let mut sessions = SessionServiceClient::new(channel.clone());
        match self.kind {
            Kind::GetSession => {
                let request = proto::GetSessionRequest {
                    tenant_id,
                    site_id,
                    session_id: session_id(self.site, self.evse),
                };
                sessions.get_session(request).await.map(drop)
            }
            Kind::UpdateSession => {
                let mut told = session(session_id(self.site, self.evse), self.evse, self.arrival);
                told.need_watt_hour = Some(60_000 + i64::try_from(self.number % 1_000).unwrap_or_default());
                let request = proto::UpdateSessionRequest {
                    meta: meta(),
                    tenant_id,
                    site_id,
                    session: Some(told),
                };
                sessions.update_session(request).await.map(drop)
            }
            Kind::StartSession => {
                let id = format!("passing-{}-{}", std::process::id(), self.number);
                let request = proto::StartSessionRequest {
                    meta: meta(),
                    tenant_id,
                    site_id,
                    session: Some(session(id, self.evse, now())),
                };
                sessions.start_session(request).await.map(drop)
            }
            Kind::ReportMeter => {
                let reading = |offset: usize| proto::MeterReading {
                    evse_id: evse_id((self.evse + offset) % self.staying),
                    at: at(now()),
                    session_energy_watt_hour: None,
                    power_watt: Some(0),
                    current_deciampere: Vec::new(),
                };
                let batch = proto::ReportMeterRequest {
                    tenant_id,
                    site_id,
                    readings: (0..READINGS).map(reading).collect(),
                };
                sessions.report_meter(tokio_stream::iter([batch])).await.map(drop)
            }
            Kind::SetGridLimit => {
                let amperes = WIDE_AMPERES + i64::try_from(self.number % 100).unwrap_or_default();
                let request = proto::SetGridLimitRequest {
                    meta: meta(),
                    tenant_id,
                    site_id,
                    grid_limit: grid_limit("wide", amperes),
                };
                SiteServiceClient::new(channel).set_grid_limit(request).await.map(drop)
            }
        }
    }
}

/// Chance from a fixed seed (xorshift64*): the same calls in every run.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a small number");
        usize::try_from((self.next() >> 32) % bound).expect("a small number")
    }

    /// To the next call: exponential, as where callers know nothing of each other.
    fn gap(&mut self, rate: f64) -> Duration {
        let share = ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        Duration::from_secs_f64(-share.ln() / rate)
    }

    fn call(&mut self, yard: &Yard, number: usize) -> Call {
        let mut share = self.next() % 100;
        let mut kinds = MIX.iter();
        let kind = loop {
            let (kind, percent) = kinds.next().expect("the shares are 100 in all");
            if share < *percent {
                break *kind;
            }
            share -= percent;
        };
        let site = self.below(yard.sites);
        // Half of the cars stay; at the other half of the EVSEs they come and go.
        let staying = yard.cars / 2;
        let evse = match kind {
            Kind::StartSession => staying + self.below(yard.evses - staying),
            _ => self.below(staying),
        };
        Call {
            kind,
            site,
            evse,
            staying,
            arrival: yard.arrival,
            number,
        }
    }
}
