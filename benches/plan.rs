//! How long a plan takes, by size: greedy and searched, with room for all and with energy scarce.

#[path = "../tests/support/evsched.rs"]
mod evsched;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evsched::{Detail, Instance, Limit, Node, Session};
use laddplan::domain::plan::Budget;
use laddplan::planner;
use std::hint::black_box;

const SLOTS: usize = 96;
const SESSIONS_PER_PANEL: usize = 10;
const ENOUGH: Budget = Budget { iterations: 1_000 };

/// A generator of the linear congruential kind: the same instances on every machine.
struct Seeded(u64);

impl Seeded {
    /// From 0 up to, not including, 1.
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.next()
    }
}

/// A workplace day: a grid connection with `root_share` of the connected power, panels of ten cars with half of theirs.
fn workplace(sessions: usize, root_share: f64) -> Instance {
    let mut random = Seeded(sessions as u64);
    let panels = sessions.div_ceil(SESSIONS_PER_PANEL);
    let sessions: Vec<Session> = (0..sessions)
        .map(|index| {
            let max_kw = [3.7, 7.4, 11.0, 22.0][(random.next() * 4.0) as usize];
            let arrival = random.between(0.0, 60.0) as usize;
            let stay = random.between(8.0, 36.0) as usize;
            Session {
                node: 1 + index / SESSIONS_PER_PANEL,
                arrival,
                departure: (arrival + stay).min(SLOTS),
                energy_kwh: max_kw * stay as f64 / 4.0 * random.between(0.1, 0.6),
                max_kw,
                min_kw: if max_kw > 8.0 { 4.1 } else { 1.4 },
            }
        })
        .collect();
    let connected: f64 = sessions.iter().map(|session| session.max_kw).sum();
    let mut nodes = vec![Node {
        parent: -1,
        limit_kw: Limit::Always(connected * root_share),
    }];
    nodes.extend((1..=panels).map(|panel| {
        let below: f64 = sessions
            .iter()
            .filter(|session| session.node == panel)
            .map(|session| session.max_kw)
            .sum();
        Node {
            parent: 0,
            limit_kw: Limit::Always(below * 0.5),
        }
    }));
    Instance {
        slots: SLOTS,
        slot_hours: 0.25,
        price_per_kwh: (0..SLOTS).map(|_| random.between(0.03, 0.33)).collect(),
        demand_charge_per_kw: 0.5,
        nodes,
        sessions,
    }
}

fn by_size(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10);
    for sessions in [20, 100, 500] {
        let snapshot = workplace(sessions, 0.3).snapshot(Detail::Steps, true);
        group.bench_with_input(BenchmarkId::new("greedy", sessions), &snapshot, |bench, snapshot| {
            bench.iter(|| planner::greedy(black_box(snapshot)));
        });
        group.bench_with_input(BenchmarkId::new("searched", sessions), &snapshot, |bench, snapshot| {
            bench.iter(|| planner::plan(black_box(snapshot), ENOUGH));
        });
    }
    let scarce = workplace(100, 0.1).snapshot(Detail::Steps, true);
    group.bench_with_input(BenchmarkId::new("scarce", 100), &scarce, |bench, snapshot| {
        bench.iter(|| planner::plan(black_box(snapshot), ENOUGH));
    });
    group.finish();
}

fn carried(criterion: &mut Criterion) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bench/ev_100x96.json");
    let snapshot = Instance::read(path).snapshot(Detail::Continuous, true);
    criterion.bench_function("plan/ev_100x96", |bench| {
        bench.iter(|| planner::plan(black_box(&snapshot), ENOUGH));
    });
}

criterion_group!(benches, by_size, carried);
criterion_main!(benches);
