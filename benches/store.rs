//! How long an append takes until it is acknowledged: alone, and when 64 sites append at once and share syncs.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use laddplan::domain::event::{Event, Recorded};
use laddplan::domain::ids::{EvseId, SiteId, SiteKey, TenantId};
use laddplan::domain::session::MeterSample;
use laddplan::engine::ports::{Batch, Durability, Store};
use laddplan::store::memory::MemoryStore;
use laddplan::store::sled::{DEFAULT_CACHE_BYTES, SledStore};
use laddplan::units::{DeciAmps, Instant, WattSeconds, Watts};
use std::sync::Arc;
use tokio::runtime::Runtime;

const CONCURRENT: usize = 64;
const SAMPLES: usize = 5;

/// A journal that grows: each batch continues the one before.
struct Journal {
    key: SiteKey,
    last: u64,
}

impl Journal {
    fn new(number: usize) -> Self {
        Self {
            key: SiteKey {
                tenant: TenantId::parse("cpo").expect("an id"),
                site: SiteId::parse(&format!("site-{number}")).expect("an id"),
            },
            last: 0,
        }
    }

    /// One entry of about 250 bytes.
    fn next_batch(&mut self, durability: Durability) -> Batch {
        self.last += 1;
        let sample = |number: usize| MeterSample {
            evse: EvseId::parse(&format!("SE*ABC*E{number:06}")).expect("an id"),
            at: Instant::from_unix_secs(1_700_000_000),
            session_energy: Some(WattSeconds::from_watt_hours(7_000)),
            power: Some(Watts::from_watts(11_000)),
            currents: Some([DeciAmps::from_deciamps(160); 3]),
        };
        let entry = Recorded {
            sequence: self.last,
            at: Instant::from_unix_secs(1_700_000_000 + self.last as i64),
            event: Event::Metered((0..SAMPLES).map(sample).collect()),
            request: None,
        };
        Batch {
            entries: vec![entry],
            ended_sessions: Vec::new(),
            durability,
        }
    }
}

async fn append_at_once(store: &Arc<dyn Store>, journals: &mut [Journal], durability: Durability) {
    let mut tasks = tokio::task::JoinSet::new();
    for journal in journals {
        let (store, key, batch) = (store.clone(), journal.key.clone(), journal.next_batch(durability));
        tasks.spawn(async move { store.append(&key, batch).await });
    }
    while let Some(appended) = tasks.join_next().await {
        appended.expect("no panic").expect("appended");
    }
}

fn bench_store(criterion: &mut Criterion, name: &str, store: &Arc<dyn Store>, runtime: &Runtime) {
    let mut journals: Vec<Journal> = (0..=CONCURRENT).map(Journal::new).collect();
    let (alone, many) = journals.split_at_mut(1);
    let mut group = criterion.benchmark_group(format!("append/{name}"));
    group.sample_size(20);
    for (label, durability) in [("synced", Durability::Synced), ("buffered", Durability::Buffered)] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{label}/1"), |bencher| {
            bencher.iter(|| {
                let batch = alone[0].next_batch(durability);
                runtime.block_on(store.append(&alone[0].key, batch)).expect("appended");
            });
        });
        group.throughput(Throughput::Elements(CONCURRENT as u64));
        group.bench_function(format!("{label}/{CONCURRENT}"), |bencher| {
            bencher.iter(|| runtime.block_on(append_at_once(store, many, durability)));
        });
    }
    group.finish();
}

fn benches(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let sled = SledStore::open(folder.path(), DEFAULT_CACHE_BYTES).expect("an empty folder");
    bench_store(criterion, "sled", &(Arc::new(sled) as Arc<dyn Store>), &runtime);
    bench_store(
        criterion,
        "memory",
        &(Arc::new(MemoryStore::default()) as Arc<dyn Store>),
        &runtime,
    );
}

criterion_group!(store, benches);
criterion_main!(store);
