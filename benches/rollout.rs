//! How long one step of the roll-out takes, with its own check of every promise, by the number of EVSEs: criterion's estimate, and at
//! 500 EVSEs the median and the 99th percentile of single calls.

#[path = "../tests/support/stopwatch.rs"]
mod stopwatch;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use laddplan::domain::conversion::{Phase, Rate, Wiring};
use laddplan::domain::driver::DriverPolicy;
use laddplan::domain::ids::{ConnectorId, EvseId, GatewayId, NodeId, SessionId, SiteId, StationId, TenantId};
use laddplan::domain::limits::{Capacity, FixedLimits, NodeLimit};
use laddplan::domain::profile::Answer;
use laddplan::domain::site::{Connector, Evse, Fairness, Mode, Node, Site, SiteSpec, Station, Steps};
use laddplan::domain::timeline::Timeline;
use laddplan::rollout::{Ledger, Room, TailWish, Target, Wish, step};
use laddplan::units::{DeciAmps, Instant, Seconds, Volts, Watts};
use std::hint::black_box;
use stopwatch::Stopwatch;

/// 2026-11-22T15:45:00Z
const START: Instant = Instant::from_unix_secs(1_795_362_300);
/// Calls that are measured one by one, in processor time.
const SINGLE_CALLS: usize = 20_000;
const EVSES_PER_PANEL: usize = 25;
/// Leases are renewed after so long.
const HALF_A_LEASE: Seconds = Seconds::from_secs(450);
/// Half of what all could draw.
const DECIAMPS_PER_EVSE: i64 = 160;

/// Panels of 25 three-phase EVSEs under one grid connection; the gateway's answers are believed.
fn site(evses: usize) -> Site {
    let node = |id: &str, parent: Option<&str>, evses: usize| Node {
        id: NodeId::parse(id).expect("is an id"),
        parent: parent.map(|id| NodeId::parse(id).expect("is an id")),
        limit: NodeLimit {
            line: Some(DeciAmps::from_deciamps(DECIAMPS_PER_EVSE * evses as i64)),
            total: None,
        },
        fixed: FixedLimits::default(),
        base_load_line: DeciAmps::ZERO,
        base_load_total: Watts::ZERO,
        meter: Default::default(),
    };
    let panel_of = |index: usize| format!("panel-{}", index / EVSES_PER_PANEL);
    let mut nodes = vec![node("grid", None, evses)];
    nodes.extend(
        (0..evses.div_ceil(EVSES_PER_PANEL))
            .map(|panel| node(&panel_of(panel * EVSES_PER_PANEL), Some("grid"), EVSES_PER_PANEL)),
    );
    let station = |index: usize| Station {
        id: StationId::parse(&format!("station-{index}")).expect("is an id"),
        node: NodeId::parse(&panel_of(index)).expect("is an id"),
        limit: NodeLimit::default(),
        evses: vec![Evse {
            id: evse(index),
            controllable: true,
            metered: false,
            connectors: vec![Connector {
                id: connector(),
                wiring: Wiring::Star(Phase::ALL.to_vec()),
                volt: Volts::from_volts(230),
                minimum: Rate::new(60),
                maximum: Rate::new(320),
                default: Some(Rate::ZERO),
                steps: Steps::Multiple(Rate::new(10)),
                max_profile_periods: 24,
            }],
        }],
    };
    Site::new(SiteSpec {
        tenant: TenantId::parse("bench").expect("is an id"),
        id: SiteId::parse("bench").expect("is an id"),
        time_zone: "UTC".to_owned(),
        currency: "EUR".to_owned(),
        mode: Mode::Control,
        lease: Seconds::from_mins(15),
        clock_skew: Seconds::from_secs(10),
        reserve_permille: 0,
        slot: Seconds::from_mins(15),
        trust_unmetered: true,
        fairness: Fairness::MaxMin,
        demand_charge_micros_per_kw: None,
        peak_so_far: Watts::ZERO,
        gateway: Some(GatewayId::parse("gateway").expect("is an id")),
        drivers: DriverPolicy::default(),
        nodes,
        stations: (0..evses).map(station).collect(),
    })
    .expect("the site is sound")
}

fn evse(index: usize) -> EvseId {
    EvseId::parse(&format!("evse-{index}")).expect("is an id")
}

fn connector() -> ConnectorId {
    ConnectorId::parse("1").expect("is an id")
}

/// Every EVSE between two rates, slot by slot.
fn targets(evses: usize, rate: impl Fn(usize) -> i64) -> Vec<Target> {
    let target = |index: usize| Target {
        evse: evse(index),
        session: SessionId::parse(&format!("session-{index}")).expect("is an id"),
        connector: connector(),
        wish: Wish::Follow {
            rates: Timeline::from_points([
                (START, Rate::new(rate(index))),
                (START + Seconds::from_mins(10), Rate::new(160)),
            ]),
            tail: TailWish::Zero,
        },
    };
    (0..evses).map(target).collect()
}

/// What a mean hides.
fn single_calls(name: &str, call: impl Fn()) {
    let mut micros: Vec<f64> = (0..SINGLE_CALLS)
        .map(|_| {
            let watch = Stopwatch::start();
            call();
            watch.seconds() * 1e6
        })
        .collect();
    micros.sort_unstable_by(f64::total_cmp);
    let [p50, p99] = [50, 99].map(|percent| micros[SINGLE_CALLS * percent / 100]);
    println!("rollout_step/{name}/500 single calls: p50 {p50:.1} µs, p99 {p99:.1} µs");
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rollout_step");
    group.sample_size(20);
    for evses in [50, 500, 2_000] {
        let site = site(evses);
        let per_place = |place: usize| site.places()[place].limit.into();
        let available: Vec<Timeline<Capacity>> = (0..site.places().len())
            .map(|place| Timeline::constant(per_place(place)))
            .collect();
        let room = Room {
            site: &site,
            available: &available,
        };
        let empty = Ledger::new(&site);
        let before = targets(evses, |_| 160);
        // Sent one after the other, as on a day: so their leases end at as many times as they may.
        let mut followed = empty.clone();
        for (index, target) in before.iter().enumerate() {
            let now = START + Seconds::from_secs(index as i64 * HALF_A_LEASE.secs() / evses as i64);
            for command in step(&followed, &room, now, std::slice::from_ref(target)).commands {
                followed.issued(&command);
                followed
                    .answered(&command.evse, command.revision, command.attempt, &Answer::Accepted, now)
                    .expect("it was sent");
            }
        }
        let later = START + HALF_A_LEASE - Seconds::from_secs(30);
        followed.forget_expired(later);
        let after = targets(evses, |index| if index % 2 == 0 { 100 } else { 220 });
        let mut one = before.clone();
        one[evses / 2] = after[evses / 2].clone();
        let cases = [
            ("first_profiles", &empty, START, &before),
            ("nothing_new", &followed, later, &before),
            ("one_change", &followed, later, &one),
            ("all_change", &followed, later, &after),
        ];
        for (name, ledger, now, targets) in cases {
            group.bench_function(BenchmarkId::new(name, evses), |bencher| {
                bencher.iter(|| step(black_box(ledger), &room, now, targets));
            });
            if evses == 500 && ["nothing_new", "one_change"].contains(&name) {
                single_calls(name, || drop(black_box(step(black_box(ledger), &room, now, targets))));
            }
        }
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
