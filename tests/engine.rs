//! The engine in a small world: what is acknowledged, what is sent, and in which order.

mod support;

use laddplan::access::{Access, By, new_tenant};
use laddplan::app::NO_SHARES;
use laddplan::domain::alarm::AlarmKind;
use laddplan::domain::conversion::{Phase, Rate, Wiring};
use laddplan::domain::driver::{Admits, DriverToken, Listing, Personal, TokenKind, TokenName, Whitelist};
use laddplan::domain::event::{Event, Recorded};
use laddplan::domain::ids::*;
use laddplan::domain::profile::{Answer, Cause, Instruction};
use laddplan::domain::session::{MeterSample, Override};
use laddplan::domain::site::{Mode, SiteSpec};
use laddplan::drivers::Drivers;
use laddplan::drivers::following::Following;
use laddplan::engine::Refusal;
use laddplan::engine::ports::{Clock, OutgoingCommand};
use laddplan::engine::view::PlanView;
use laddplan::store::register::SqliteRegister;
use laddplan::units::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::*;

const HOUR: Seconds = Seconds::from_hours(1);

/// The ceiling that the last command for an EVSE sets at `at`, in deciamperes.
fn ceiling(sent: &[OutgoingCommand], number: usize, at: Instant) -> Option<i64> {
    let last = sent
        .iter()
        .rev()
        .find(|outgoing| outgoing.command.evse == evse(number))?;
    match &last.command.instruction {
        Instruction::Set(profile) => Some(profile.limits().at(at).value()),
        Instruction::Clear => None,
    }
}

/// The plan in force.
fn plan_of(world: &World) -> Arc<PlanView> {
    let plans = world.engine.watch_plan(&site_key()).unwrap();
    let plan = plans.borrow().clone();
    plan.expect("a plan")
}

async fn accept_all(world: &World) {
    for outgoing in world.gateway.sent() {
        let command = outgoing.command;
        let answered = Event::CommandAnswered {
            evse: command.evse,
            revision: command.revision,
            attempt: command.attempt,
            answer: Answer::Accepted,
        };
        world.submit(answered).await;
    }
    world.settle().await;
}

fn arrival(number: usize) -> Event {
    Event::SessionStarted(Box::new(session(number, MORNING, HOUR, 20)))
}

async fn site_with_two_cars() -> World {
    let world = World::start().await;
    world.put_site(site_spec(40, 2)).await;
    world.gateway_connects().await;
    world.submit_together([1, 2].map(arrival)).await;
    world.settle().await;
    world
}

#[tokio::test]
async fn two_cars_share_a_fuse() {
    let world = site_with_two_cars().await;
    let sent = world.gateway.sent();
    let [first, second] = [1, 2].map(|number| ceiling(&sent, number, MORNING).expect("a profile was sent"));
    assert!(first > 0 && second > 0, "both charge: {first} and {second}");
    assert_eq!(first + second, 400, "the fuse is used whole");
}

#[tokio::test]
async fn cars_share_what_may_run_in_one_line_alone_until_they_are_said_to_use_three_phases() {
    let mut spec = site_spec(40, 2);
    spec.nodes[0].fixed.unbalance = Some(DeciAmps::from_deciamps(200));
    for station in &mut spec.stations {
        station.evses[0].connectors[0].wiring = Wiring::Star(Phase::ALL.to_vec());
    }
    let world = World::start().await;
    world.put_site(spec).await;
    world.gateway_connects().await;
    let car = |number: usize, phases: Option<u8>| {
        let mut session = session(number, MORNING, HOUR, 20);
        session.car.phases = phases;
        Box::new(session)
    };
    let arrivals = [1, 2].map(|number| Event::SessionStarted(car(number, None)));
    world.submit_together(arrivals).await;
    world.settle().await;
    let total = || {
        let sent = world.gateway.sent();
        let ceilings = [1, 2].map(|number| ceiling(&sent, number, MORNING));
        ceilings.into_iter().flatten().sum::<i64>()
    };
    assert_eq!(total(), 200);
    accept_all(&world).await;
    let updates = [1, 2].map(|number| Event::SessionUpdated(car(number, Some(3))));
    world.submit_together(updates).await;
    world.settle().await;
    assert_eq!(total(), 400, "the fuse is used whole");
}

#[tokio::test]
async fn a_profile_ends_in_its_tail_when_the_lease_is_over() {
    let world = site_with_two_cars().await;
    let after_the_lease = MORNING + Seconds::from_mins(15);
    assert_eq!(ceiling(&world.gateway.sent(), 1, after_the_lease), Some(0));
}

#[tokio::test]
async fn a_cut_of_the_limit_lowers_the_ceilings_at_once() {
    let world = site_with_two_cars().await;
    accept_all(&world).await;
    world.submit(Event::GridLimitSet(fuse_limit(20))).await;
    world.settle().await;
    let sent = world.gateway.sent();
    let sum: i64 = [1, 2]
        .map(|number| ceiling(&sent, number, MORNING).expect("a profile was sent"))
        .iter()
        .sum();
    assert!(sum <= 200, "{sum} dA on a limit of 200 dA");
    world
        .submit(Event::GridLimitRemoved(id(GridLimitId::parse, "cut")))
        .await;
    world.settle().await;
    accept_all(&world).await;
    let sent = world.gateway.sent();
    let sum: i64 = [1, 2]
        .map(|number| ceiling(&sent, number, MORNING).expect("a profile was sent"))
        .iter()
        .sum();
    assert_eq!(sum, 400, "restored after the decreases were confirmed");
}

#[tokio::test]
async fn an_increase_waits_for_the_decrease_it_needs() {
    let world = World::start().await;
    world.put_site(site_spec(32, 2)).await;
    world.gateway_connects().await;
    world.submit(arrival(1)).await;
    world.settle().await;
    accept_all(&world).await;
    assert_eq!(ceiling(&world.gateway.sent(), 1, MORNING), Some(320));
    world.submit(arrival(2)).await;
    world.settle().await;
    let before = world.gateway.sent();
    assert!(
        ceiling(&before, 1, MORNING).unwrap() < 320,
        "the first car is lowered at once"
    );
    assert!(
        ceiling(&before, 2, MORNING).unwrap_or(0) == 0,
        "the second waits until that is confirmed"
    );
    accept_all(&world).await;
    // Cars are given time to follow.
    world.advance(Seconds::from_secs(11)).await;
    let after = world.gateway.sent();
    let soon = MORNING + Seconds::from_mins(2);
    let [first, second] = [1, 2].map(|number| ceiling(&after, number, soon).unwrap());
    assert!(second > 0 && first + second <= 320, "{first} and {second}");
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_appended() {
    let world = World::start().await;
    world.put_site(site_spec(40, 2)).await;
    world.settle().await;
    let taken = world.store.gate.acquire_many(1_000).await.unwrap();
    let started = arrival(1);
    let key = site_key();
    let submit = world.engine.submit(&key, None, started);
    tokio::pin!(submit);
    for _ in 0..1_000 {
        tokio::select! {
            biased;
            _ = &mut submit => panic!("acknowledged while the store had not written"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(taken);
    submit.await.expect("acknowledged once the store has written");
}

#[tokio::test]
async fn commands_are_in_the_journal_before_they_are_sent() {
    let world = site_with_two_cars().await;
    let diary = world.diary.lines();
    let sends = diary.iter().filter(|line| line.starts_with("send")).count();
    assert!(sends > 0);
    let mut appended = false;
    for line in &diary {
        if line == "append CommandsIssued" {
            appended = true;
        }
        assert!(
            !line.starts_with("send") || appended,
            "{line} before its journal entry: {diary:?}"
        );
        if line.starts_with("append") && line != "append CommandsIssued" {
            appended = false;
        }
    }
}

#[tokio::test]
async fn a_failed_append_is_refused_and_leaves_nothing_behind() {
    let world = site_with_two_cars().await;
    let entries = world.journal().await.len();
    let sent = world.gateway.sent().len();
    world.store.failing.store(true, Ordering::SeqCst);
    let cut = world
        .engine
        .submit(&site_key(), None, Event::GridLimitSet(fuse_limit(10)))
        .await;
    assert!(
        matches!(&cut, Err(Refusal::Unavailable(why)) if why.contains("no space left")),
        "{cut:?}"
    );
    world.store.failing.store(false, Ordering::SeqCst);
    assert_eq!(world.journal().await.len(), entries);
    let view = world.engine.site(&site_key()).await.expect("the site is still there");
    assert!(view.grid_limits.is_empty(), "the refused limit is not in force");
    assert_eq!(world.gateway.sent().len(), sent, "and led to no command");
    world.submit(Event::GridLimitSet(fuse_limit(10))).await;
}

#[tokio::test]
async fn a_burst_of_arrivals_makes_few_plans() {
    let world = World::start().await;
    world.put_site(site_spec(400, 60)).await;
    world.submit_together((1..=60).map(arrival)).await;
    world.settle().await;
    let plans = world
        .journal()
        .await
        .iter()
        .filter(|entry| kind(&entry.event) == "PlanMade")
        .count();
    assert!(plans < 20, "{plans} plans for one burst");
    let plan = plan_of(&world);
    assert_eq!(plan.sessions.len(), 60);
}

#[tokio::test]
async fn a_search_that_takes_too_long_gives_way_to_the_greedy_plan_and_never_blocks_intake() {
    let mut settings = SETTINGS;
    settings.solver_threads = 1;
    settings.watchdog = Duration::from_millis(1);
    settings.cut_watchdog = Duration::from_millis(1);
    let world = World::start_with(settings).await;
    // The only solver is busy with a large problem of someone else's.
    let engine = world.engine.clone();
    let large = tokio::spawn(async move { engine.plan_once(&site_key().tenant, large_problem()).await });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    world.put_site(site_spec(40, 2)).await;
    world.submit(arrival(1)).await;
    world.settle().await;
    let journal = world.journal().await;
    let fallback = journal.iter().any(
        |entry| matches!(&entry.event, Event::PlanMade(numbered) if numbered.provenance.watchdog_fallback && !numbered.plan.schedules.is_empty()),
    );
    assert!(fallback, "the journal says that the greedy plan stood in");
    large.await.unwrap().expect("the large problem has its plan");
}

#[tokio::test]
async fn a_cut_lowers_while_the_only_solver_is_busy_with_something_else() {
    let mut settings = SETTINGS;
    settings.solver_threads = 1;
    settings.watchdog = Duration::from_secs(600);
    settings.cut_watchdog = Duration::from_secs(600);
    let world = World::start_with(settings).await;
    world.put_site(site_spec(40, 2)).await;
    world.gateway_connects().await;
    world.submit_together([1, 2].map(arrival)).await;
    world.settle().await;
    accept_all(&world).await;
    let engine = world.engine.clone();
    let large = tokio::spawn(async move { engine.plan_once(&site_key().tenant, large_problem()).await });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    world.submit(Event::GridLimitSet(fuse_limit(20))).await;
    let sum = || {
        let sent = world.gateway.sent();
        [1, 2]
            .map(|number| ceiling(&sent, number, MORNING).unwrap())
            .iter()
            .sum::<i64>()
    };
    while sum() > 200 {
        assert!(!large.is_finished(), "the cut waited for the solver: {} dA", sum());
        tokio::task::yield_now().await;
    }
    assert!(!large.is_finished(), "this shows nothing unless the solver is busy");
    large.await.unwrap().expect("the large problem has its plan");
}

#[tokio::test]
async fn shadow_plans_and_sends_nothing_and_off_does_not_even_plan() {
    for (mode, plans_expected) in [(Mode::Shadow, true), (Mode::Off, false)] {
        let world = World::start().await;
        let mut spec = site_spec(40, 2);
        spec.mode = mode;
        world.put_site(spec).await;
        world.submit(arrival(1)).await;
        world.settle().await;
        let planned = world
            .journal()
            .await
            .iter()
            .any(|entry| kind(&entry.event) == "PlanMade");
        assert_eq!(planned, plans_expected, "{mode:?}");
        assert!(world.gateway.sent().is_empty(), "{mode:?} sends nothing");
    }
}

#[tokio::test]
async fn with_nothing_new_only_renewals_are_sent() {
    let world = site_with_two_cars().await;
    accept_all(&world).await;
    let sent = world.gateway.sent().len();
    for _ in 0..10 {
        world.advance(Seconds::from_mins(1)).await;
        accept_all(&world).await;
    }
    let later = world.gateway.sent();
    assert!(later.len() > sent, "leases were renewed at half their time");
    for outgoing in &later[sent..] {
        assert_eq!(outgoing.command.cause, Cause::Renewal, "{:?}", outgoing.command);
    }
}

#[tokio::test]
async fn a_start_brings_back_everything_that_was_acknowledged() {
    let before = site_with_two_cars().await;
    accept_all(&before).await;
    before.submit(Event::GridLimitSet(fuse_limit(20))).await;
    before
        .submit(Event::SessionOverridden {
            session: session_id(2),
            overridden: Override::Pause,
        })
        .await;
    before.settle().await;
    let seen = before.engine.site(&site_key()).await.unwrap();
    let after = World::start_on(Arc::clone(&before.store), Arc::clone(&before.clock), SETTINGS).await;
    let again = after.engine.site(&site_key()).await.unwrap();
    assert_eq!(again.sessions, seen.sessions);
    assert_eq!(again.grid_limits, seen.grid_limits);
    assert_eq!(again.site, seen.site);
}

/// Its key, and what describes it.
fn another_site() -> (SiteKey, Event) {
    let key = SiteKey {
        site: SiteId::parse("other").unwrap(),
        ..site_key()
    };
    let spec = SiteSpec {
        id: key.site.clone(),
        ..site_spec(40, 2)
    };
    (key, Event::SitePut(Box::new(spec)))
}

#[tokio::test]
async fn a_damaged_journal_stops_its_own_site_and_no_other() {
    let before = site_with_two_cars().await;
    let (other, put) = another_site();
    before.engine.submit(&other, None, put.clone()).await.unwrap();
    *before.store.damaged.lock().unwrap() = Some(other.clone());
    let after = World::start_on(Arc::clone(&before.store), Arc::clone(&before.clock), SETTINGS).await;
    assert!(after.engine.site(&site_key()).await.is_ok());
    // Nor is it taken for one that is new, and written to.
    let refused = after.engine.submit(&other, None, put).await;
    assert!(matches!(refused, Err(Refusal::Unavailable(_))), "{refused:?}");
    assert!(matches!(after.engine.site(&other).await, Err(Refusal::Unavailable(_))));
}

/// Kind and site of each alarm of the tenant.
fn alarms(world: &World) -> Vec<(AlarmKind, SiteId)> {
    let alarms = world.engine.alarms(&site_key().tenant, None).unwrap();
    alarms
        .into_iter()
        .map(|told| (told.alarm.kind, told.key.site))
        .collect()
}

#[tokio::test]
async fn a_damaged_journal_is_told_as_an_alarm_of_its_site() {
    let before = site_with_two_cars().await;
    *before.store.damaged.lock().unwrap() = Some(site_key());
    let after = World::start_on(Arc::clone(&before.store), Arc::clone(&before.clock), SETTINGS).await;
    assert_eq!(alarms(&after), [(AlarmKind::JournalDamaged, site_key().site)]);
    let alarm = &after.engine.alarms(&site_key().tenant, Some(&site_key().site)).unwrap()[0].alarm;
    assert!(
        alarm.is_active() && alarm.what.contains("fails its checksum"),
        "{alarm:?}"
    );
    assert!(matches!(
        after
            .engine
            .alarms(&site_key().tenant, Some(&SiteId::parse("nowhere").unwrap())),
        Err(Refusal::NotFound { .. })
    ));
}

#[tokio::test]
async fn a_site_whose_task_panics_is_stopped_and_told_and_no_other_notices() {
    let world = site_with_two_cars().await;
    let (other, put) = another_site();
    world.engine.submit(&other, None, put.clone()).await.unwrap();
    world.settle().await;
    *world.store.breaks.lock().unwrap() = Some(other.clone());
    let refused = world.engine.submit(&other, None, put.clone()).await;
    assert!(matches!(refused, Err(Refusal::Unavailable(_))), "{refused:?}");
    world.settle().await;
    assert_eq!(alarms(&world), [(AlarmKind::SiteBroke, other.site.clone())]);
    // It stays stopped, though the reason is gone, and is not listed among those that are served.
    *world.store.breaks.lock().unwrap() = None;
    let refused = world.engine.submit(&other, None, put).await;
    assert!(matches!(refused, Err(Refusal::Unavailable(_))), "{refused:?}");
    assert_eq!(world.engine.sites(&other.tenant, None, 10), [site_key().site]);
    let sent = world.gateway.sent().len();
    world.advance(Seconds::from_mins(8)).await;
    let renewed = &world.gateway.sent()[sent..];
    assert!(!renewed.is_empty(), "the site that is well goes on");
    assert!(renewed.iter().all(|outgoing| outgoing.key == site_key()));
    // A restart brings it back.
    let after = World::start_on(Arc::clone(&world.store), Arc::clone(&world.clock), SETTINGS).await;
    assert!(after.engine.site(&other).await.is_ok());
    world.engine.shut_down().await;
}

#[tokio::test]
async fn the_same_journal_leads_to_the_same_plan() {
    let rates = |world: &World| {
        let plan = plan_of(world);
        plan.sessions
            .iter()
            .map(|session| (session.session.clone(), session.rates.clone()))
            .collect::<Vec<_>>()
    };
    let first = site_with_two_cars().await;
    let second = World::start_on(Arc::clone(&first.store), Arc::clone(&first.clock), SETTINGS).await;
    second.settle().await;
    assert_eq!(rates(&first), rates(&second));
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_receipt_and_does_nothing() {
    let world = World::start().await;
    world.put_site(site_spec(40, 2)).await;
    let key = site_key();
    let started = || arrival(1);
    let first = world
        .engine
        .submit(&key, Some(stamp("call-1", 1)), started())
        .await
        .unwrap();
    world.settle().await;
    let entries = world.journal().await.len();
    let again = world
        .engine
        .submit(&key, Some(stamp("call-1", 1)), started())
        .await
        .unwrap();
    assert_eq!(again, first);
    assert_eq!(world.journal().await.len(), entries);
    let other = world.engine.submit(&key, Some(stamp("call-1", 2)), started()).await;
    assert!(matches!(other, Err(Refusal::RequestReused(_))), "{other:?}");
    let restarted = World::start_on(Arc::clone(&world.store), Arc::clone(&world.clock), SETTINGS).await;
    let after_a_start = restarted
        .engine
        .submit(&key, Some(stamp("call-1", 1)), started())
        .await
        .unwrap();
    assert_eq!(after_a_start, first, "remembered over a start");
}

#[tokio::test]
async fn after_a_start_the_gateway_is_gone_until_it_says_hello() {
    let world = site_with_two_cars().await;
    world.engine.shut_down().await;
    let restarted = World::start_on(Arc::clone(&world.store), Arc::clone(&world.clock), SETTINGS).await;
    restarted.settle().await;
    let gone = |entry: &&Recorded| matches!(entry.event, Event::GatewayDisconnected { .. });
    assert_eq!(restarted.journal().await.iter().filter(gone).count(), 1);
    restarted.engine.shut_down().await;
    let again = World::start_on(Arc::clone(&world.store), Arc::clone(&world.clock), SETTINGS).await;
    again.settle().await;
    assert_eq!(again.journal().await.iter().filter(gone).count(), 1, "told once");
}

#[tokio::test]
async fn a_new_car_ends_the_session_that_was_still_open_on_its_evse() {
    let world = site_with_two_cars().await;
    let mut next = session(9, MORNING, HOUR, 5);
    next.evse = evse(1);
    let receipt = world.submit(Event::SessionStarted(Box::new(next))).await;
    assert!(
        receipt.warnings.iter().any(|warning| warning.contains("session-1")),
        "{:?}",
        receipt.warnings
    );
    let ended = world
        .engine
        .ended_session(&site_key(), &session_id(1))
        .await
        .unwrap()
        .expect("it is listed as ended");
    assert!(ended.ended.is_some_and(|ended| ended.reason.contains("session-9")));
    let mut reused = session(1, MORNING, HOUR, 5);
    reused.evse = evse(2);
    let refused = world
        .engine
        .submit(&site_key(), None, Event::SessionStarted(Box::new(reused)))
        .await;
    assert!(
        matches!(refused, Err(Refusal::Rejected(_))),
        "an id is used once for ever: {refused:?}"
    );
}

#[tokio::test]
async fn operators_pause_boost_stop_and_hand_back() {
    let world = site_with_two_cars().await;
    accept_all(&world).await;
    // Answers come, and cars are given time to follow.
    let settle_answers = async || {
        world.settle().await;
        accept_all(&world).await;
        world.advance(Seconds::from_secs(11)).await;
    };
    world
        .submit(Event::SessionOverridden {
            session: session_id(1),
            overridden: Override::Pause,
        })
        .await;
    settle_answers().await;
    let soon = MORNING + Seconds::from_mins(2);
    assert_eq!(ceiling(&world.gateway.sent(), 1, soon), Some(0), "paused");
    world
        .submit(Event::SessionOverridden {
            session: session_id(1),
            overridden: Override::Boost,
        })
        .await;
    settle_answers().await;
    settle_answers().await;
    assert_eq!(ceiling(&world.gateway.sent(), 1, soon), Some(320), "boosted");
    world.submit(Event::SiteStopped { stopped: true }).await;
    settle_answers().await;
    let sent = world.gateway.sent();
    assert_eq!(
        [ceiling(&sent, 1, soon), ceiling(&sent, 2, soon)],
        [Some(0), Some(0)],
        "stopped"
    );
    world.submit(Event::SiteStopped { stopped: false }).await;
    world
        .submit(Event::SessionOverridden {
            session: session_id(1),
            overridden: Override::HandBack,
        })
        .await;
    for _ in 0..4 {
        settle_answers().await;
    }
    let last = world
        .gateway
        .sent()
        .into_iter()
        .rev()
        .find(|outgoing| outgoing.command.evse == evse(1))
        .unwrap();
    assert_eq!(
        last.command.instruction,
        Instruction::Clear,
        "handed back once its maximum fits"
    );
    let other = ceiling(&world.gateway.sent(), 2, soon).unwrap();
    assert!(
        other <= 80,
        "its maximum of 320 dA is reserved; the other has {other} dA"
    );
}

#[tokio::test]
async fn a_journal_never_runs_backwards() {
    let world = site_with_two_cars().await;
    world.clock.set(MORNING - HOUR);
    world.submit(Event::GridLimitSet(fuse_limit(20))).await;
    world.settle().await;
    let journal = world.journal().await;
    assert!(journal.windows(2).all(|pair| pair[0].at <= pair[1].at));
    assert!(
        journal
            .iter()
            .zip(1..)
            .all(|(entry, sequence)| entry.sequence == sequence)
    );
}

#[tokio::test]
async fn a_car_that_has_its_energy_leaves_its_room_to_others() {
    let world = site_with_two_cars().await;
    accept_all(&world).await;
    let full = MeterSample {
        evse: evse(1),
        at: MORNING + Seconds::from_mins(1),
        session_energy: Some(WattSeconds::from_watt_hours(20_000)),
        power: Some(Watts::ZERO),
        currents: None,
    };
    world.clock.advance(Seconds::from_mins(1));
    let receipt = world.engine.meter(&site_key(), vec![full.clone()]).await.unwrap();
    assert_eq!((receipt.recorded, receipt.dropped), (1, 0));
    let stale = world.engine.meter(&site_key(), vec![full]).await.unwrap();
    assert_eq!(
        (stale.recorded, stale.dropped),
        (0, 1),
        "the same reading again says nothing"
    );
    for _ in 0..6 {
        world.advance(Seconds::from_mins(1)).await;
        accept_all(&world).await;
    }
    assert_eq!(
        ceiling(&world.gateway.sent(), 2, MORNING + Seconds::from_mins(7)),
        Some(320)
    );
}

/// Says what the meters of both cars show, every minute from `first` on; both gateways' answers are quick.
async fn minutes_of_draw(world: &World, first: i64, watts: [i64; 2], minutes: i64) {
    for minute in first..first + minutes {
        let sample = |number: usize| MeterSample {
            evse: evse(number),
            at: MORNING + Seconds::from_mins(minute),
            session_energy: None,
            power: Some(Watts::from_watts(watts[number - 1])),
            currents: None,
        };
        world.advance(Seconds::from_mins(1)).await;
        world
            .engine
            .meter(&site_key(), vec![sample(1), sample(2)])
            .await
            .unwrap();
        world.settle().await;
        accept_all(world).await;
    }
}

#[tokio::test]
async fn a_car_that_stopped_by_itself_leaves_its_room_until_it_asks_again() {
    let world = site_with_two_cars().await;
    accept_all(&world).await;
    // The first takes nothing of its 20 A, though its driver asked for 20 kWh.
    minutes_of_draw(&world, 1, [0, 4_000], 14).await;
    let now = MORNING + Seconds::from_mins(14);
    let sent = world.gateway.sent();
    assert_eq!([1, 2].map(|number| ceiling(&sent, number, now)), [Some(60), Some(320)]);
    // It draws at the 6 A that were left to it: that is how a car asks.
    minutes_of_draw(&world, 15, [1_300, 7_000], 3).await;
    let now = MORNING + Seconds::from_mins(17);
    assert!(ceiling(&world.gateway.sent(), 1, now) > Some(60));
}

#[tokio::test]
async fn a_refused_profile_leads_to_a_new_plan_within_a_minute() {
    let world = site_with_two_cars().await;
    let plans = async || {
        let journal = world.journal().await;
        journal
            .iter()
            .filter(|entry| matches!(entry.event, Event::PlanMade(_)))
            .count()
    };
    let before = plans().await;
    let command = world.gateway.sent().pop().expect("profiles were sent").command;
    let refused = Event::CommandAnswered {
        evse: command.evse,
        revision: command.revision,
        attempt: command.attempt,
        answer: Answer::Rejected {
            reason: "busy".to_owned(),
        },
    };
    world.submit(refused).await;
    world.settle().await;
    assert_eq!(plans().await, before, "many may come at once");
    world.advance(Seconds::from_mins(1)).await;
    assert_eq!(plans().await, before + 1);
}

#[tokio::test]
async fn a_car_that_is_offered_nothing_has_not_stopped() {
    let world = site_with_two_cars().await;
    accept_all(&world).await;
    // Slow to start, and then there is no power.
    minutes_of_draw(&world, 1, [0, 0], 3).await;
    world.submit(Event::GridLimitSet(fuse_limit(0))).await;
    world.settle().await;
    accept_all(&world).await;
    minutes_of_draw(&world, 4, [0, 0], 14).await;
    world.submit(Event::GridLimitRemoved(fuse_limit(0).id)).await;
    minutes_of_draw(&world, 18, [0, 0], 2).await;
    let now = MORNING + Seconds::from_mins(19);
    let sent = world.gateway.sent();
    let ceilings = [1, 2].map(|number| ceiling(&sent, number, now).unwrap());
    // One that has stopped would have its minimum of 6 A.
    assert!(
        ceilings.iter().all(|ceiling| *ceiling > 100) && ceilings.iter().sum::<i64>() == 400,
        "{ceilings:?}"
    );
}

#[tokio::test]
async fn a_site_whose_unknown_defaults_do_not_fit_is_not_controlled_and_says_why() {
    let world = World::start().await;
    let mut spec = site_spec(40, 2);
    for station in &mut spec.stations {
        station.evses[0].connectors[0].default = None;
    }
    world.put_site(spec).await;
    world.gateway_connects().await;
    world.submit(arrival(1)).await;
    world.settle().await;
    assert!(world.gateway.sent().is_empty());
    let why = world
        .engine
        .site(&site_key())
        .await
        .unwrap()
        .not_controlled_because
        .clone()
        .expect("a reason");
    assert!(why.contains("grid") && why.contains("default"), "{why}");
}

#[tokio::test]
async fn an_answer_to_a_command_that_was_never_sent_is_refused() {
    let world = site_with_two_cars().await;
    let answer = Event::CommandAnswered {
        evse: evse(1),
        revision: laddplan::domain::profile::Revision::new(77),
        attempt: 1,
        answer: Answer::Accepted,
    };
    let refused = world.engine.submit(&site_key(), None, answer).await;
    assert!(
        matches!(&refused, Err(Refusal::Rejected(why)) if why.to_string().contains("never made")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_material_price_change_changes_the_profile_of_a_car_that_can_wait() {
    use laddplan::domain::timeline::Timeline;
    let world = World::start().await;
    world.put_site(site_spec(40, 2)).await;
    world.gateway_connects().await;
    world
        .submit(Event::SessionStarted(Box::new(session(
            1,
            MORNING,
            Seconds::from_hours(4),
            7,
        ))))
        .await;
    world.settle().await;
    accept_all(&world).await;
    assert!(
        ceiling(&world.gateway.sent(), 1, MORNING).unwrap() > 0,
        "without prices it charges early"
    );
    let price = |micros| MicrosPerKwh::from_micros_per_kwh(micros);
    let prices = Timeline::from_points([(MORNING, price(3_000_000)), (MORNING + HOUR, price(100_000))]);
    world.submit(Event::PricesSet(prices)).await;
    world.settle().await;
    let sent = world.gateway.sent();
    assert_eq!(ceiling(&sent, 1, MORNING), Some(0), "it waits for the cheap hour");
    assert_eq!(sent.last().unwrap().command.cause, Cause::Change);
}

#[tokio::test]
async fn rates_sent_are_zero_or_at_least_the_minimum() {
    let world = World::start().await;
    world.put_site(site_spec(16, 4)).await;
    world.gateway_connects().await;
    world.submit_together((1..=4).map(arrival)).await;
    world.settle().await;
    accept_all(&world).await;
    for outgoing in world.gateway.sent() {
        if let Instruction::Set(profile) = &outgoing.command.instruction {
            for (_, rate) in profile.limits().points() {
                assert!(rate.is_zero() || *rate >= Rate::new(60), "{rate} dA");
            }
        }
    }
}

/// As where a process dies between the change of a token and the event that tells its session.
#[tokio::test]
async fn what_changed_of_a_driver_while_nobody_followed_is_made_up_for_at_the_start() {
    let register = Arc::new(SqliteRegister::in_memory());
    let tenant = site_key().tenant;
    let access = Access::open(register.clone(), NO_SHARES).await.unwrap();
    access
        .put_tenant(new_tenant(&tenant, MORNING), &By::default())
        .await
        .unwrap();
    let token = |valid| DriverToken {
        name: TokenName {
            kind: TokenKind::Rfid,
            uid: Personal::parse("uid", "04A1").unwrap(),
        },
        contract_id: None,
        listing: Listing {
            valid,
            until: None,
            whitelist: Whitelist::Allowed,
            group: None,
        },
        updated_at: MORNING,
    };
    let before = Drivers::new(register.clone());
    before.put_tokens(&tenant, vec![token(true)]).await.unwrap();
    let world = World::start().await;
    let mut site = site_spec(40, 2);
    site.drivers.admits = Admits::Listed;
    let policy = site.drivers.clone();
    world.put_site(site).await;
    world.gateway_connects().await;
    let known = before.meet(&tenant, token(true).name).await.unwrap();
    let mut spec = session(1, MORNING, HOUR, 20);
    spec.driver = Some(known.driver(&policy, MORNING));
    world.submit(Event::SessionStarted(Box::new(spec))).await;
    world.settle().await;
    assert_eq!(ceiling(&world.gateway.sent(), 1, MORNING), Some(320));
    before.put_tokens(&tenant, vec![token(false)]).await.unwrap();

    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    let following = Following::new(Drivers::new(register), world.engine.clone(), clock);
    tokio::spawn(following.follow());
    let stopped = async {
        while ceiling(&world.gateway.sent(), 1, MORNING) != Some(0) {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, stopped).await.expect("the car stops");
}
