//! What it costs to let a call in, with one token and with ten thousand of a thousand tenants: the token's digest is taken and compared with
//! each call, everything else is looked up.

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use laddplan::access::register::{Register, RegisterWrite};
use laddplan::access::room::Shares;
use laddplan::access::{Access, By, NewToken, Secret, everything_of, new_tenant};
use laddplan::domain::access::{AccessChange, Token};
use laddplan::domain::ids::{TenantId, TokenId};
use laddplan::store::register::SqliteRegister;
use laddplan::units::Instant;
use std::hint::black_box;
use std::sync::Arc;
use tokio::runtime::Runtime;

const SHARES: Shares = Shares {
    calls: 512,
    urgent_calls: 256,
    long_calls: 1_000,
    gateway_streams: 5_000,
};
const NOW: Instant = Instant::from_unix_secs(1_772_438_400);
const TENANTS: usize = 1_000;

fn change() -> AccessChange {
    AccessChange {
        at: NOW,
        by: None,
        tenant: None,
        what: "made".to_owned(),
    }
}

/// A register of so many tokens, spread over the tenants.
async fn register(tokens: usize) -> Arc<SqliteRegister> {
    let register = Arc::new(SqliteRegister::in_memory());
    let tenants: Vec<TenantId> = (0..TENANTS.min(tokens))
        .map(|number| TenantId::parse(&format!("tenant-{number}")).expect("an id"))
        .collect();
    for tenant in &tenants {
        let write = RegisterWrite::PutTenant(new_tenant(tenant, NOW));
        register.write(write, change()).await.expect("it is written");
    }
    for number in 1..tokens {
        let id = TokenId::parse(&format!("{number:016x}")).expect("an id");
        let token = Token {
            name: "of many".to_owned(),
            grant: everything_of(&tenants[number % tenants.len()]),
            created_at: NOW,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            secret: Secret::of(&id).digest(),
            old_secret: None,
            request: None,
            id,
        };
        let write = RegisterWrite::PutToken(Box::new(token));
        register.write(write, change()).await.expect("it is written");
    }
    register
}

/// The register with one more token, and its secret.
async fn access(register: Arc<SqliteRegister>) -> (Access, Secret) {
    let access = Access::open(register, SHARES).await.expect("it opens");
    let tenant = TenantId::parse("tenant-0").expect("an id");
    let new = NewToken {
        name: "the one".to_owned(),
        grant: everything_of(&tenant),
        expires_at: None,
    };
    let made = access.create_token(new, NOW, &By::default()).await;
    let (_, secret) = made.expect("the tenant has room");
    (access, secret)
}

fn letting_in(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads");
    let mut group = criterion.benchmark_group("access");
    for tokens in [1, 10_000] {
        let register = runtime.block_on(register(tokens));
        let (access, secret) = runtime.block_on(access(Arc::clone(&register)));
        group.bench_function(BenchmarkId::new("sign_in", tokens), |bencher| {
            bencher.iter(|| black_box(access.sign_in(Some(secret.show()), NOW).is_ok()));
        });
        let forged = Secret::of(&TokenId::parse(&format!("{:016x}", 1)).expect("an id"));
        group.bench_function(BenchmarkId::new("sign_in_refused", tokens), |bencher| {
            bencher.iter(|| black_box(access.sign_in(Some(forged.show()), NOW).is_err()));
        });
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("open", tokens), |bencher| {
            let open = || runtime.block_on(Access::open(Arc::clone(&register) as Arc<dyn Register>, SHARES));
            bencher.iter_batched(|| (), |()| open().is_ok(), BatchSize::PerIteration);
        });
        let tenant = TenantId::parse("tenant-0").expect("an id");
        group.bench_function(BenchmarkId::new("list_tokens_of_a_tenant", tokens), |bencher| {
            bencher.iter(|| black_box(access.tokens(Some(&tenant), None, None, 100).len()));
        });
        group.bench_function(BenchmarkId::new("rotate_token", tokens), |bencher| {
            let id = access.tokens(Some(&tenant), None, None, 1)[0].id.clone();
            let by = By::default();
            bencher.iter(|| {
                let rotated = access.rotate_token(&id, None, laddplan::units::Seconds::ZERO, None, NOW, &by);
                runtime.block_on(rotated).is_ok()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, letting_in);
criterion_main!(benches);
