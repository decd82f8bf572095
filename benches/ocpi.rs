//! How long it takes to turn a profile into OCPI's JSON, and to judge one.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use laddplan::domain::conversion::{Rate, RateUnit};
use laddplan::domain::profile::ChargingProfile;
use laddplan::domain::timeline::Timeline;
use laddplan::ocpi;
use laddplan::units::{Instant, Seconds};
use std::hint::black_box;

/// 2026-11-22T15:45:00Z
const START: Instant = Instant::from_unix_secs(1_795_362_300);
const MINIMUM: Rate = Rate::new(60);

/// A lease that is cut into `periods` periods, each with another rate than the one before.
fn profile(periods: i64) -> ChargingProfile {
    let points = (0..periods).map(|index| (START + Seconds::from_secs(index * 60), Rate::new(60 + index % 7 * 37)));
    let lease_end = START + Seconds::from_secs(periods * 60);
    ChargingProfile::cut(
        RateUnit::DeciAmpere,
        &Timeline::from_points(points),
        START,
        lease_end,
        Rate::ZERO,
    )
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ocpi_encode_to_json");
    for periods in [3, 24, 500] {
        let profile = profile(periods);
        group.throughput(Throughput::Elements(1));
        group.bench_with_input(BenchmarkId::from_parameter(periods), &profile, |bencher, profile| {
            bencher.iter(|| serde_json::to_string(&ocpi::profile::encode(black_box(profile), MINIMUM)));
        });
    }
    group.finish();
}

fn check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ocpi_check");
    for periods in [3, 24, 500] {
        let text = serde_json::to_string(&ocpi::profile::encode(&profile(periods), MINIMUM)).expect("it has no maps");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(periods), &text, |bencher, text| {
            bencher.iter(|| ocpi::check::check(black_box(text), ocpi::check::Expectation::default()));
        });
    }
    group.finish();
}

criterion_group!(benches, encode, check);
criterion_main!(benches);
