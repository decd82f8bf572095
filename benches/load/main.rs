//! The service under more than it can do: what rate it sustains, that a cut still comes through at five times that, that thousands of
//! gateways may come back at once, and how long a start takes.
//!
//! Prints tables and decides only whether what has to hold at any speed held: everything is answered or refused with
//! RESOURCE_EXHAUSTED, every cut comes through, every gateway is welcome again, no site is told more than it has. Never whether a time
//! is good: that is for who reads the tables. The service runs in a process of its own, and shares the processors with those that ask.
//!
//! `cargo bench --bench load` takes some four minutes, with `-- --quick` half a minute on small numbers.

mod cuts;
mod flood;
mod gateways;
mod service;
mod storm;
mod table;
mod yard;

use cuts::Cuts;
use gateways::Board;
use service::Service;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storm::Fleet;
use table::{Percentiles, head, ms, row, seconds};
use tempfile::TempDir;
use yard::{Yard, make_tenant};

/// A rate is sustained if every call is answered, and 99 of 100 within this: calls do not pile up.
const SUSTAINED_P99: Duration = Duration::from_millis(250);
const OVERLOAD: f64 = 5.0;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How much of everything.
struct Plan {
    loaded: Yard,
    /// Rates that are tried first, one after the other, until one is not sustained.
    rates: &'static [f64],
    /// Rates tried between the last that was sustained and the first that was not.
    halvings: usize,
    rate_seconds: u64,
    overload_seconds: u64,
    /// Of the service that is flooded.
    settings: &'static [(&'static str, &'static str)],
    storm: Yard,
    idle: Duration,
    start: Yard,
}

impl Plan {
    fn full() -> Self {
        Self {
            loaded: loaded(100),
            rates: &[
                250.0, 500.0, 1_000.0, 2_000.0, 3_000.0, 4_000.0, 5_500.0, 7_500.0, 10_000.0,
            ],
            halvings: 1,
            rate_seconds: 5,
            overload_seconds: 40,
            settings: &[],
            storm: storming(5_000),
            idle: Duration::from_secs(20),
            start: starting(200),
        }
    }

    /// The service is given so little room that it has to refuse also where few ask.
    fn quick() -> Self {
        Self {
            loaded: loaded(20),
            rates: &[200.0],
            halvings: 0,
            rate_seconds: 2,
            overload_seconds: 6,
            settings: &[
                ("LADDPLAN_LIMITS_IN_FLIGHT_TOTAL", "1"),
                ("LADDPLAN_LIMITS_IN_FLIGHT_PER_CONNECTION", "1"),
            ],
            storm: storming(200),
            idle: Duration::from_secs(1),
            start: starting(10),
        }
    }
}

fn loaded(sites: usize) -> Yard {
    Yard {
        sites,
        evses: 20,
        cars: 20,
        fuse_amperes: 400,
        sites_per_gateway: 10,
        arrival: yard::now(),
    }
}

fn storming(sites: usize) -> Yard {
    Yard {
        sites,
        evses: 3,
        cars: 2,
        fuse_amperes: 40,
        sites_per_gateway: 1,
        arrival: yard::now(),
    }
}

fn starting(sites: usize) -> Yard {
    Yard {
        sites,
        evses: 50,
        cars: 25,
        fuse_amperes: 600,
        sites_per_gateway: 10,
        arrival: yard::now(),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == flood::ROLE) {
        return flood::main(&arguments[1..]);
    }
    let plan = if arguments.iter().any(|argument| argument == "--quick") {
        Plan::quick()
    } else {
        Plan::full()
    };
    // Only parts that are named, if any are.
    let wanted = |part: &str| {
        let mut named = arguments
            .iter()
            .filter(|argument| !argument.starts_with("--"))
            .peekable();
        named.peek().is_none() || named.any(|name| name == part)
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("Service and callers share {cores} processors; its store is on disk, and what it acknowledges is synced.");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.expect("threads").block_on(async {
        if wanted("rate") || wanted("overload") {
            under_load(&plan, wanted("overload")).await;
        }
        if wanted("storm") {
            reconnect(&plan).await;
        }
        if wanted("start") {
            start_anew(&plan).await;
        }
    });
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

// --- Rate and overload ------------------------------------------------------------------------------------------------------

async fn under_load(plan: &Plan, overload: bool) {
    let data = folder();
    let yard = &plan.loaded;
    // Set up without the limits that are too tight for that.
    let service = Service::start(data.path(), &[]);
    make_tenant(&service.address, &service.first_token).await;
    yard.set_up(&service.address).await;
    service.kill();
    let service = Service::start(data.path(), plan.settings);
    let board = Board::new(yard.sites, yard.fuse_amperes);
    let gateways = storm::stay(&service.address, yard, &board).await;
    settle(&board).await;
    let sustained = find_rate(plan, &service, &board).await;
    println!("\nSustained: {sustained:.0} calls/s.");
    if overload {
        overloaded(plan, &service, &board, sustained * OVERLOAD).await;
    }
    assert_eq!(
        board.over_room.load(Ordering::Relaxed),
        0,
        "a site was told more than it has"
    );
    drop(gateways);
}

/// Until no gateway was told anything for a second.
#[expect(clippy::disallowed_methods, reason = "nothing says that nothing more will come")]
async fn settle(board: &Board) {
    loop {
        let before = board.commands.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if before > 0 && board.commands.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// The highest rate that was sustained.
async fn find_rate(plan: &Plan, service: &Service, board: &Board) -> f64 {
    let yard = &plan.loaded;
    let title = format!(
        "{} sites of {} EVSEs, {} gateways. Of 100 calls 50 GetSession, 25 ReportMeter with 4 readings, 15 UpdateSession, 5 StartSession, 5 \
         SetGridLimit. Times from when a call was due.",
        yard.sites,
        yard.evses,
        yard.gateways()
    );
    head(
        &title,
        &[
            "offered/s",
            "answered",
            "refused",
            "failed",
            "p50",
            "p99",
            "max",
            "service's processor",
            "commands sent",
        ],
    );
    let (mut sustained, mut too_much) = (0.0, None);
    for rate in plan.rates {
        if try_rate(plan, service, board, *rate).await {
            sustained = *rate;
        } else {
            too_much = Some(*rate);
            break;
        }
    }
    for _ in 0..plan.halvings {
        let Some(upper) = too_much else { break };
        let between = f64::midpoint(sustained, upper);
        if try_rate(plan, service, board, between).await {
            sustained = between;
        } else {
            too_much = Some(between);
        }
    }
    if sustained > 0.0 { sustained } else { plan.rates[0] }
}

async fn try_rate(plan: &Plan, service: &Service, board: &Board, rate: f64) -> bool {
    let (processor, commands) = (service.processor_seconds(), board.commands.load(Ordering::Relaxed));
    let outcome = flood::run(&service.address, &plan.loaded, rate, plan.rate_seconds).await;
    let processor = service.processor_seconds() - processor;
    row(&[
        format!("{rate:.0}"),
        outcome.answered.to_string(),
        (outcome.refused + outcome.given_up).to_string(),
        outcome.failed.to_string(),
        ms(outcome.times.p50),
        ms(outcome.times.p99),
        ms(outcome.times.max),
        format!("{:.0} %", 100.0 * processor / plan.rate_seconds as f64),
        (board.commands.load(Ordering::Relaxed) - commands).to_string(),
    ]);
    check(&outcome);
    outcome.answered == outcome.offered && outcome.times.p99 <= SUSTAINED_P99
}

fn check(outcome: &flood::Outcome) {
    assert_eq!(outcome.failed, 0, "{}", outcome.first_failure);
    assert_eq!(
        outcome.refused_without_hint, 0,
        "a refusal says what is full and when to come back"
    );
}

async fn overloaded(plan: &Plan, service: &Service, board: &std::sync::Arc<Board>, rate: f64) {
    let length = Duration::from_secs(plan.overload_seconds);
    let yard = &plan.loaded;
    let cuts = Cuts {
        sites: 0..yard.sites.min(20),
        from_amperes: yard.fuse_amperes,
        to_amperes: yard.fuse_amperes / 4,
    };
    let looking = async {
        let mut memory = Vec::new();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        for _ in 0..length.div_duration_f64(LOOK_EVERY) as usize {
            ticks.tick().await;
            memory.push(service.mebibytes());
        }
        memory
    };
    let processor = service.processor_seconds();
    let (outcome, mut cut, memory) = tokio::join!(
        flood::run(&service.address, yard, rate, plan.overload_seconds),
        cuts.run(&service.address, std::sync::Arc::clone(board), length),
        looking
    );
    let processor = service.processor_seconds() - processor;
    head(
        &format!(
            "Five times that, for {} s, while 20 sites are cut to a quarter in turn. A cut's time runs from when it was due until its \
             gateway was told enough decreases.",
            plan.overload_seconds
        ),
        &["", ""],
    );
    let quarter = memory.len() / 4;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let (first, last) = (mean(&memory[..quarter]), mean(&memory[memory.len() - quarter..]));
    let times = Percentiles::of(&mut cut.times);
    let per_second = |count: u64| format!("{:.0}", count as f64 / plan.overload_seconds as f64);
    for (name, value) in [
        ("calls offered/s", per_second(outcome.offered)),
        ("answered/s", per_second(outcome.answered)),
        ("refused with RESOURCE_EXHAUSTED/s", per_second(outcome.refused)),
        (
            "given up by the caller, 8 192 being under way/s",
            per_second(outcome.given_up),
        ),
        ("failed otherwise", outcome.failed.to_string()),
        ("answered calls: p50", ms(outcome.times.p50)),
        ("answered calls: p99", ms(outcome.times.p99)),
        ("cuts", cut.times.len().to_string()),
        ("cuts: p50", ms(times.p50)),
        ("cuts: p99", ms(times.p99)),
        ("cuts: max", ms(times.max)),
        ("cuts refused before they were taken", cut.refusals.to_string()),
        ("cuts not kept within 15 s", cut.missed.to_string()),
        ("sites not cut, drawing too little", cut.idle.to_string()),
        ("memory: first quarter", format!("{first:.0} MiB")),
        ("memory: last quarter", format!("{last:.0} MiB")),
        (
            "service's processor",
            format!("{:.0} %", 100.0 * processor / plan.overload_seconds as f64),
        ),
    ] {
        row(&[name.to_owned(), value]);
    }
    check(&outcome);
    assert!(outcome.refused > 0, "this shows nothing unless there is too much");
    assert_eq!(cut.missed, 0, "a cut did not come through");
    // A site whose cut was lifted is not raised again before its turn comes round, where there is so much else to do.
    assert!(2 * cut.times.len() >= cut.idle, "few sites drew enough to be cut");
}

// --- Reconnect storm --------------------------------------------------------------------------------------------------------

#[expect(clippy::disallowed_methods, reason = "gateways stay idle for a while")]
async fn reconnect(plan: &Plan) {
    let data = folder();
    let yard = &plan.storm;
    let service = Service::start(data.path(), &[]);
    make_tenant(&service.address, &service.first_token).await;
    yard.set_up(&service.address).await;
    let before = service.mebibytes();
    let board = Board::new(yard.sites, yard.fuse_amperes);
    let fleet = Fleet::connect(&service.address, yard, std::sync::Arc::clone(&board)).await;
    settle(&board).await;
    let processor = service.processor_seconds();
    tokio::time::sleep(plan.idle).await;
    let idle = (service.processor_seconds() - processor) / plan.idle.as_secs_f64();
    let connected = service.mebibytes();
    let commands = board.commands.load(Ordering::Relaxed);
    let storm = fleet.storm(yard).await;
    let after = service.mebibytes();
    let gateways = yard.gateways();
    head(
        &format!(
            "{gateways} gateways, each of one site with {} EVSEs and on a connection of its own, lose their streams at once and come back \
             at once.",
            yard.evses
        ),
        &["", ""],
    );
    let absorbed = storm.absorbed_in.map_or("never".to_owned(), seconds);
    for (name, value) in [
        ("all welcome again after", absorbed),
        ("tries that failed", storm.tries_that_failed.to_string()),
        (
            "commands sent meanwhile",
            (board.commands.load(Ordering::Relaxed) - commands).to_string(),
        ),
        (
            "sites told more than they have",
            board.over_room.load(Ordering::Relaxed).to_string(),
        ),
        ("memory: sites alone", format!("{before:.0} MiB")),
        ("memory: with idle streams", format!("{connected:.0} MiB")),
        (
            "memory of an idle stream with its connection",
            format!("{:.0} KiB", (connected - before) * 1024.0 / gateways as f64),
        ),
        ("memory: after the storm", format!("{after:.0} MiB")),
        ("service's processor, idle", format!("{:.0} %", 100.0 * idle)),
    ] {
        row(&[name.to_owned(), value]);
    }
    assert!(storm.absorbed_in.is_some(), "a gateway did not come back");
    assert_eq!(
        board.over_room.load(Ordering::Relaxed),
        0,
        "a site was told more than it has"
    );
}

// --- Start ------------------------------------------------------------------------------------------------------------------

async fn start_anew(plan: &Plan) {
    let data = folder();
    let yard = &plan.start;
    let service = Service::start(data.path(), &[]);
    make_tenant(&service.address, &service.first_token).await;
    yard.set_up(&service.address).await;
    service.kill();
    let service = Service::start(data.path(), &[]);
    head(
        &format!(
            "Killed, and started anew on its journals: {} sites of {} EVSEs.",
            yard.sites, yard.evses
        ),
        &["", ""],
    );
    row(&["EVSEs".to_owned(), (yard.sites * yard.evses).to_string()]);
    row(&["listens after".to_owned(), seconds(service.started_in)]);
    row(&["memory".to_owned(), format!("{:.0} MiB", service.mebibytes())]);
}
