//! The service over loopback, with the store in memory: calls per second, and the way from an event to a profile on the stream.

#[path = "../tests/grpc/service.rs"]
mod service;
#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use laddplan::wire::proto;
use service::{SITE, Service, Stream, TENANT, amps, answer, at, meta, session, site, start, station};
use std::hint::black_box;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Calls that one sample makes, spread over the callers.
const CALLS: u64 = 64;
const CALLERS: [u64; 2] = [1, 16];
const EVSES: usize = 16;

fn runtime() -> Runtime {
    Runtime::new().expect("threads")
}

/// A site that records and plans nothing, so that only the call is measured.
async fn quiet_service() -> Service {
    let service = start().await;
    let quiet = proto::Site {
        mode: proto::SiteMode::Off as i32,
        stations: (1..=EVSES).map(station).collect(),
        ..site(SITE)
    };
    service.put_site(quiet).await.expect("the site is valid");
    service.start_session(session(1)).await.expect("the session is valid");
    service
}

/// A session with an id of its own; the one before it on the same EVSE ends.
fn next_session(number: u64) -> proto::SessionSpec {
    let evse = usize::try_from(number).unwrap_or_default() % EVSES + 1;
    proto::SessionSpec {
        id: format!("bench-{number}"),
        ..session(evse)
    }
}

/// `CALLS` calls by `callers` at a time, each on a channel that all of them share.
async fn share<F, Fut>(callers: u64, first: u64, call: F)
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let call = call.clone();
        tasks.spawn(async move {
            for number in (caller..CALLS).step_by(usize::try_from(callers).unwrap_or(1)) {
                call(first + number).await;
            }
        });
    }
    tasks.join_all().await;
}

fn calls(criterion: &mut Criterion) {
    let runtime = runtime();
    let service = runtime.block_on(quiet_service());
    let mut group = criterion.benchmark_group("grpc");
    group.throughput(Throughput::Elements(CALLS));
    for callers in CALLERS {
        let sessions = service.sessions();
        group.bench_function(BenchmarkId::new("get_session", callers), |bencher| {
            bencher.iter(|| {
                let sessions = sessions.clone();
                runtime.block_on(share(callers, 0, move |_| {
                    let mut sessions = sessions.clone();
                    async move {
                        let request = proto::GetSessionRequest {
                            tenant_id: TENANT.to_owned(),
                            site_id: SITE.to_owned(),
                            session_id: "session-1".to_owned(),
                        };
                        black_box(sessions.get_session(request).await.expect("it is there"));
                    }
                }));
            });
        });
    }
    let mut first = 0;
    for callers in CALLERS {
        let sessions = service.sessions();
        group.bench_function(BenchmarkId::new("start_session", callers), |bencher| {
            bencher.iter(|| {
                first += CALLS;
                let sessions = sessions.clone();
                runtime.block_on(share(callers, first, move |number| {
                    let mut sessions = sessions.clone();
                    async move {
                        let request = proto::StartSessionRequest {
                            meta: meta(),
                            tenant_id: TENANT.to_owned(),
                            site_id: SITE.to_owned(),
                            session: Some(next_session(number)),
                        };
                        black_box(sessions.start_session(request).await.expect("it starts"));
                    }
                }));
            });
        });
    }
    group.finish();
}

/// A site in control whose fuse is large enough for every EVSE, and its gateway.
async fn controlled_service() -> (Service, Stream) {
    let service = start().await;
    let mut wide = proto::Site {
        stations: (1..=EVSES).map(station).collect(),
        ..site(SITE)
    };
    wide.nodes[0].limit = Some(proto::NodeLimit {
        line_deciampere: Some(32 * 10 * i64::try_from(EVSES).unwrap_or_default()),
        total_watt: None,
    });
    service.put_site(wide).await.expect("the site is valid");
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    (service, gateway)
}

fn event_to_profile(criterion: &mut Criterion) {
    let runtime = runtime();
    let (service, mut gateway) = runtime.block_on(controlled_service());
    let mut number = 0;
    criterion.bench_function("grpc/event_to_profile", |bencher| {
        bencher.iter(|| {
            number += 1;
            runtime.block_on(async {
                let spec = proto::SessionSpec {
                    departure_time: Some(at(3_600)),
                    car: Some(proto::Car {
                        maximum: amps(16),
                        ..Default::default()
                    }),
                    ..next_session(number)
                };
                let id = spec.id.clone();
                service.start_session(spec).await.expect("it starts");
                loop {
                    let command = gateway.command().await;
                    gateway.say(answer(&command, proto::CommandResult::Accepted)).await;
                    if command.session_id == id {
                        return black_box(command);
                    }
                }
            })
        });
    });
}

criterion_group!(benches, calls, event_to_profile);
criterion_main!(benches);
