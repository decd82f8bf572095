//! What is urgent passes what is not, on its way into a site; and nobody is left out for it.
//!
//! The store is held shut while calls pile up before one site, so that what was taken first is read from the journal.

mod support;

use laddplan::domain::event::Event;
use laddplan::domain::ids::{EvseId, GatewayId};
use laddplan::domain::session::MeterSample;
use laddplan::domain::timeline::Timeline;
use laddplan::engine::Refusal;
use laddplan::units::{MicrosPerKwh, Seconds, Watts};
use support::*;
use tokio::sync::SemaphorePermit;
use tokio::task::JoinSet;

/// Fewer than wait before a site at most, more than one group.
const FLOOD: usize = 500;
/// What waits before a site in the lane of what is not urgent.
const ORDINARY_QUEUE: usize = 1_024;

/// Lets every task go as far as it can.
async fn let_all_run() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Nothing is recorded while this is held.
async fn shut(world: &World) -> SemaphorePermit<'_> {
    let permits = u32::try_from(world.store.gate.available_permits()).expect("a small number");
    world.store.gate.acquire_many(permits).await.expect("the gate stays")
}

fn price() -> Event {
    Event::PricesSet(Timeline::constant(MicrosPerKwh::from_micros_per_kwh(100_000)))
}

/// `FLOOD` calls of one kind, of which the site's task is at the first, and the others wait.
async fn flood(world: &World, calls: &mut JoinSet<Result<(), Refusal>>) {
    for count in [1, FLOOD - 1] {
        for _ in 0..count {
            let engine = world.engine.clone();
            calls.spawn(async move { engine.submit(&site_key(), None, price()).await.map(drop) });
        }
        let_all_run().await;
    }
}

async fn all_done(calls: JoinSet<Result<(), Refusal>>) {
    for done in calls.join_all().await {
        done.expect("what was let in is answered");
    }
}

async fn kinds_since(world: &World, sequence: usize) -> Vec<String> {
    let journal = world.journal().await;
    journal[sequence..].iter().map(|entry| kind(&entry.event)).collect()
}

#[tokio::test]
async fn a_cut_passes_the_calls_that_wait_and_lowers_before_them() {
    let world = World::start().await;
    world.put_site(site_spec(40, 2)).await;
    world.gateway_connects().await;
    for number in [1, 2] {
        let spec = session(number, MORNING, Seconds::from_hours(2), 20);
        world.submit(Event::SessionStarted(Box::new(spec))).await;
    }
    world.settle().await;
    let begun = world.journal().await.len();
    let gate = shut(&world).await;
    let mut calls = JoinSet::new();
    flood(&world, &mut calls).await;
    let engine = world.engine.clone();
    calls.spawn(async move {
        let cut = Event::GridLimitSet(fuse_limit(20));
        engine.submit(&site_key(), None, cut).await.map(drop)
    });
    let_all_run().await;
    drop(gate);
    all_done(calls).await;
    world.settle().await;
    let kinds = kinds_since(&world, begun).await;
    let prices = kinds.iter().filter(|kind| *kind == "PricesSet").count();
    assert_eq!(prices, FLOOD, "nobody is left out");
    let before = |event: &str| {
        let at = kinds.iter().position(|kind| kind == event).expect(event);
        kinds[..at].iter().filter(|kind| *kind == "PricesSet").count()
    };
    // Only the one that the task was at.
    assert_eq!(before("GridLimitSet"), 1);
    assert_eq!(before("CommandsIssued"), 1);
}

#[tokio::test]
async fn what_a_gateway_says_passes_in_the_order_in_which_it_was_said() {
    let world = World::start().await;
    world.put_site(site_spec(40, 2)).await;
    let begun = world.journal().await.len();
    let gate = shut(&world).await;
    let mut calls = JoinSet::new();
    flood(&world, &mut calls).await;
    let evse: EvseId = evse(1);
    let gateway = id(GatewayId::parse, "gateway-1");
    let said = [
        Some(Event::GatewayConnected {
            gateway: gateway.clone(),
            fences: true,
        }),
        None,
        Some(Event::ActiveProfileReported {
            evse: evse.clone(),
            revision: None,
        }),
        Some(Event::GatewayDisconnected { gateway }),
    ];
    for statement in said {
        let engine = world.engine.clone();
        let reading = MeterSample {
            evse: evse.clone(),
            at: MORNING,
            session_energy: None,
            power: Some(Watts::ZERO),
            currents: None,
        };
        calls.spawn(async move {
            match statement {
                Some(event) => engine.submit(&site_key(), None, event).await.map(drop),
                None => engine.meter_of_gateway(&site_key(), vec![reading]).await.map(drop),
            }
        });
    }
    let_all_run().await;
    drop(gate);
    all_done(calls).await;
    let kinds = kinds_since(&world, begun).await;
    let told = kinds.iter().filter(|kind| *kind != "PlanMade").take(5);
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "PricesSet",
            "GatewayConnected",
            "Metered",
            "ActiveProfileReported",
            "GatewayDisconnected"
        ]
    );
}

#[tokio::test]
async fn one_lane_that_is_full_says_so_and_the_other_takes_what_comes() {
    let world = World::start().await;
    world.put_site(site_spec(40, 2)).await;
    world.settle().await;
    let gate = shut(&world).await;
    let mut calls = JoinSet::new();
    let engine = world.engine.clone();
    calls.spawn(async move { engine.submit(&site_key(), None, price()).await.map(drop) });
    let_all_run().await;
    for _ in 0..ORDINARY_QUEUE {
        let engine = world.engine.clone();
        calls.spawn(async move { engine.site(&site_key()).await.map(drop) });
    }
    let_all_run().await;
    let refused = world.engine.submit(&site_key(), None, price()).await.unwrap_err();
    assert_eq!(refused.to_string(), "too many requests for this site at once");
    let engine = world.engine.clone();
    calls.spawn(async move {
        let cut = Event::GridLimitSet(fuse_limit(20));
        engine.submit(&site_key(), None, cut).await.map(drop)
    });
    let_all_run().await;
    drop(gate);
    all_done(calls).await;
}

#[tokio::test]
async fn a_site_is_planned_beside_stateless_plans_and_not_after_them() {
    const PLANS: usize = 64;
    let world = World::start().await;
    world.put_site(site_spec(40, 2)).await;
    world.settle().await;
    let mut plans = JoinSet::new();
    for _ in 0..PLANS {
        let engine = world.engine.clone();
        plans.spawn(async move { engine.plan_once(&site_key().tenant, large_problem()).await.map(drop) });
    }
    // Now all of them wait for a solver.
    let_all_run().await;
    let spec = session(1, MORNING, Seconds::from_hours(2), 20);
    world.submit(Event::SessionStarted(Box::new(spec))).await;
    world.settle().await;
    let mut finished = 0;
    while plans.try_join_next().is_some() {
        finished += 1;
    }
    assert!(finished < PLANS / 2, "{finished} stateless plans were made first");
    plans.join_all().await;
}
