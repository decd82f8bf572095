//! How long a plan takes, by size: greedy and searched, with room for all and with energy scarce.

#[path = "../tests/support/instances/mod.rs"]
mod instances;
#[path = "../tests/support/line_to_line.rs"]
mod line_to_line;
#[path = "../tests/support/snapshot_form.rs"]
mod snapshot_form;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use instances::generator::{self, Schema, Shape, Supply};
use instances::{Instance, reader};
use laddplan::domain::plan::Budget;
use laddplan::planner;
use snapshot_form::{Detail, snapshot};
use std::hint::black_box;

const ENOUGH: Budget = Budget { iterations: 1_000 };

fn day(sessions: usize, supply: Supply) -> Instance {
    generator::generate(&Shape {
        schema: Schema::Power,
        sessions,
        slots: 96,
        supply,
        seed: 1,
    })
}

fn by_size(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10);
    for sessions in [20, 100, 500] {
        let snapshot = snapshot(&day(sessions, Supply::Normal), Detail::Steps, true);
        group.bench_with_input(BenchmarkId::new("greedy", sessions), &snapshot, |bench, snapshot| {
            bench.iter(|| planner::greedy(black_box(snapshot)));
        });
        group.bench_with_input(BenchmarkId::new("searched", sessions), &snapshot, |bench, snapshot| {
            bench.iter(|| planner::plan(black_box(snapshot), ENOUGH));
        });
    }
    let scarce = snapshot(&day(100, Supply::Scarce), Detail::Steps, true);
    group.bench_with_input(BenchmarkId::new("scarce", 100), &scarce, |bench, snapshot| {
        bench.iter(|| planner::plan(black_box(snapshot), ENOUGH));
    });
    group.finish();
}

fn between_lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan/between_lines");
    group.sample_size(10);
    for sessions in [50, 200, 1_000] {
        for (name, supply) in [("ample", Supply::Normal), ("scarce", Supply::Scarce)] {
            let snapshot = line_to_line::day(sessions, supply, 2, false);
            group.bench_with_input(BenchmarkId::new(name, sessions), &snapshot, |bench, snapshot| {
                bench.iter(|| planner::plan(black_box(snapshot), ENOUGH));
            });
        }
    }
    group.finish();
}

fn carried(criterion: &mut Criterion) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bench/ev_100x96.json");
    let snapshot = snapshot(&reader::read(path), Detail::Continuous, true);
    criterion.bench_function("plan/ev_100x96", |bench| {
        bench.iter(|| planner::plan(black_box(&snapshot), ENOUGH));
    });
}

criterion_group!(benches, by_size, between_lines, carried);
criterion_main!(benches);
