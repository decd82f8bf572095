//! How long the solver takes, by size: flows with and without a demand charge, mixed phases cold and from the plan before. And how that
//! grows with the number of cells.

#[path = "../tests/support/flow_form.rs"]
mod flow_form;
#[path = "../tests/support/instances/mod.rs"]
mod instances;
#[path = "../tests/support/phases_form.rs"]
mod phases_form;
#[path = "../tests/support/stopwatch.rs"]
mod stopwatch;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flow_form::FlowForm;
use instances::Instance;
use instances::generator::{self, Schema, Shape, Supply};
use laddplan::solver::flow::Flow;
use laddplan::solver::flow::peak::PeakBudget;
use laddplan::solver::phases::{self, Budget};
use phases_form::PhasesForm;
use std::hint::black_box;
use stopwatch::Stopwatch;

const FLOW_SIZES: [usize; 7] = [20, 100, 500, 1_000, 2_000, 5_000, 10_000];
const PHASES_SIZES: [usize; 4] = [50, 200, 1_000, 5_000];
const SUPPLIES: [(&str, Supply); 3] = [
    ("normal", Supply::Normal),
    ("tight", Supply::Tight),
    ("scarce", Supply::Scarce),
];
const PEAK_BUDGET: PeakBudget = PeakBudget {
    solves: 60,
    gap_millionths: 10,
};
const PHASES_BUDGET: Budget = Budget {
    iterations: 5_000,
    gap_millionths: 1_000,
};

fn day(schema: Schema, sessions: usize, supply: Supply) -> Instance {
    generator::generate(&Shape {
        schema,
        sessions,
        slots: 96,
        supply,
        seed: 1,
    })
}

fn flow_form(sessions: usize, supply: Supply) -> FlowForm {
    let instance = day(Schema::Power, sessions, supply);
    FlowForm::new(&instance.finer(flow_form::finest_parts(&instance))).expect("a day is a flow")
}

/// From the integers of a problem to the plan and its bound.
fn solve_flow(form: &FlowForm) -> i128 {
    let mut flow = Flow::new(&form.network);
    flow.solve(&form.network, &form.task());
    flow.bound(&form.network, &form.task())
}

fn flow(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow");
    group.sample_size(10);
    for (name, supply) in SUPPLIES {
        for sessions in FLOW_SIZES {
            let cells = day(Schema::Power, sessions, supply).cells();
            let form = flow_form(sessions, supply);
            group.throughput(Throughput::Elements(cells as u64));
            group.bench_with_input(BenchmarkId::new(name, sessions), &form, |bench, form| {
                bench.iter(|| solve_flow(black_box(form)));
            });
        }
    }
    group.finish();
}

fn flow_with_peak(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow_with_peak");
    group.sample_size(10);
    for (name, supply) in SUPPLIES {
        for sessions in FLOW_SIZES {
            let form = flow_form(sessions, supply);
            group.bench_with_input(BenchmarkId::new(name, sessions), &form, |bench, form| {
                bench.iter(|| {
                    let mut flow = Flow::new(&form.network);
                    flow.solve_with_peak(&form.network, &form.task(), &form.charge(), PEAK_BUDGET, None)
                });
            });
        }
    }
    group.finish();
}

fn mixed_phases(criterion: &mut Criterion) {
    for demand_charge in [false, true] {
        let name = if demand_charge { "phases_with_peak" } else { "phases" };
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for (name, supply) in SUPPLIES {
            for sessions in PHASES_SIZES {
                let form = PhasesForm::new(&day(Schema::Phases, sessions, supply), demand_charge);
                group.bench_with_input(BenchmarkId::new(name, sessions), &form, |bench, form| {
                    bench.iter(|| phases::solve(black_box(&form.problem), None, PHASES_BUDGET));
                });
            }
        }
        group.finish();
    }
}

/// Five cars want a fifth more or less.
fn mixed_phases_again(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("phases_again");
    group.sample_size(10);
    for sessions in PHASES_SIZES {
        let mut instance = day(Schema::Phases, sessions, Supply::Normal);
        let before = PhasesForm::new(&instance, false);
        let warm = phases::solve(&before.problem, None, PHASES_BUDGET).warm_start;
        for session in instance.sessions.iter_mut().step_by(sessions / 5) {
            session.energy -= session.energy / 5;
        }
        let form = PhasesForm::new(&instance, false);
        group.bench_with_input(BenchmarkId::from_parameter(sessions), &form, |bench, form| {
            bench.iter_batched(
                || warm.clone(),
                |warm| phases::solve(&form.problem, Some(&warm), PHASES_BUDGET),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// Fits time = a x cells^b to the quickest of several solves of each size, and prints b.
fn growth(_: &mut Criterion) {
    for (name, supply) in SUPPLIES {
        let points: Vec<(f64, f64)> = (FLOW_SIZES.into_iter().filter(|sessions| *sessions >= 100))
            .map(|sessions| {
                let cells = day(Schema::Power, sessions, supply).cells();
                (cells as f64, quickest_seconds(&flow_form(sessions, supply)))
            })
            .collect();
        let exponent = slope(points.iter().map(|(cells, seconds)| (cells.ln(), seconds.ln())));
        println!("flow/{name}: time grows with cells to the power of {exponent:.2}");
    }
}

/// Of processor time.
fn quickest_seconds(form: &FlowForm) -> f64 {
    let seconds = (0..15).map(|_| {
        let solving = Stopwatch::start();
        black_box(solve_flow(form));
        solving.seconds()
    });
    seconds.fold(f64::INFINITY, f64::min)
}

/// Of the line through `points` with the least squares.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count() as f64;
    let (x, y) = points
        .clone()
        .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    let (x, y) = (x / count, y / count);
    let (above, below) = points.fold((0.0, 0.0), |sum, point| {
        (sum.0 + (point.0 - x) * (point.1 - y), sum.1 + (point.0 - x).powi(2))
    });
    above / below
}

criterion_group!(benches, flow, flow_with_peak, mixed_phases, mixed_phases_again, growth);
criterion_main!(benches);
