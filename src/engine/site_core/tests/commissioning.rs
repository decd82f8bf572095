//! Checks of EVSEs, with a station that does what it should, or does not.

use super::*;
use crate::domain::commissioning::{CheckStep, EvseCheck, Finding};
use Finding::{Failed, NotSeen, Passed};

/// A station as it may be built, with a car.
#[derive(Clone, Copy)]
struct Station {
    /// What it does without a profile, in tenths of an ampere.
    default: i64,
    obeys: bool,
    /// Keeps the last ceiling when its lease is over.
    forgets_tails: bool,
    car_takes: i64,
    metered: bool,
}

const GOOD: Station = Station {
    default: 0,
    obeys: true,
    forgets_tails: false,
    car_takes: 300,
    metered: true,
};

/// What the station lets the car take now, by the last command.
fn draw(bench: &Bench, station: &Station) -> i64 {
    let of_evse = |outgoing: &&OutgoingCommand| outgoing.command.evse == evse_id(1);
    let last = bench.sent.iter().rev().find(of_evse).expect("it was told something");
    let ceiling = match &last.command.instruction {
        _ if !station.obeys => 320,
        Instruction::Set(profile) if station.forgets_tails => {
            let most = profile.limits().points().iter().map(|(_, rate)| rate.value());
            most.max().unwrap_or_default()
        }
        Instruction::Set(profile) => profile.limits().at(bench.now).value(),
        Instruction::Clear => station.default,
    };
    ceiling.min(station.car_takes)
}

/// Lets so many seconds pass. The station accepts what it is told within a second, and is read every five.
fn play(bench: &mut Bench, station: &Station, seconds: i64) {
    let mut answered = 0;
    for second in 0..seconds {
        bench.pass(1);
        let sent: Vec<_> = bench.sent[answered..]
            .iter()
            .map(|outgoing| outgoing.command.clone())
            .collect();
        answered += sent.len();
        for command in sent {
            bench.submit(Event::CommandAnswered {
                evse: command.evse,
                revision: command.revision,
                attempt: command.attempt,
                answer: Answer::Accepted,
            });
        }
        if second % 5 == 0 && station.metered {
            let draw = draw(bench, station);
            bench.submit(Event::Metered(vec![MeterSample {
                evse: evse_id(1),
                at: bench.now,
                session_energy: None,
                power: None,
                currents: Some([draw, 0, 0].map(DeciAmps::from_deciamps)),
            }]));
        }
        bench.find_all();
    }
}

fn bench(station: &Station, declared: Option<i64>) -> Bench {
    let mut bench = Bench::with_two_cars();
    let mut spec = site();
    spec.stations[0].evses[0].metered = station.metered;
    spec.stations[0].evses[0].connectors[0].default = declared.map(Rate::new);
    bench.submit(Event::SitePut(Box::new(spec)));
    bench.find_all();
    play(&mut bench, station, 30);
    bench
}

fn asked(wanted: bool) -> Event {
    Event::EvseCheckAsked {
        evse: evse_id(1),
        wanted,
    }
}

fn check_of(bench: &Bench) -> EvseCheck {
    bench.core.state().evse_checks[&evse_id(1)].clone()
}

/// What each step found, with what was measured.
fn checked(station: &Station, declared: Option<i64>) -> (Bench, Vec<(CheckStep, Finding, String)>) {
    let mut bench = bench(station, declared);
    bench.submit(asked(true));
    play(&mut bench, station, 600);
    let check = check_of(&bench);
    assert!(check.ended_at.is_some(), "{check:?}");
    let results = check
        .results
        .into_iter()
        .map(|result| (result.step, result.finding, result.what));
    (bench, results.collect())
}

fn findings(results: &[(CheckStep, Finding, String)]) -> Vec<Finding> {
    results.iter().map(|(_, finding, _)| *finding).collect()
}

#[test]
fn a_good_evse_passes_and_goes_on_as_before() {
    let (bench, results) = checked(&GOOD, Some(0));
    assert_eq!(findings(&results), [Passed; 6], "{results:#?}");
    let words: Vec<&str> = results.iter().map(|(_, _, what)| what.as_str()).collect();
    assert_eq!(
        words,
        [
            "allowed 32.0 A, it took 30.0 A",
            "allowed 6.0 A, it took 6.0 A",
            "allowed 0.0 A, it took 0.0 A",
            "allowed 32.0 A, it took 30.0 A",
            "its lease over, it took 0.0 A",
            "told nothing, with a default of 0.0 A, it took 0.0 A",
        ]
    );
    assert_eq!(check_of(&bench).verdict(), Passed);
    assert_eq!(bench.ceilings(), [320, 320]);
    assert!(
        bench.alarms.iter().all(|alarm| !alarm.is_active()),
        "{:?}",
        bench.alarms
    );
}

#[test]
fn an_evse_that_does_more_by_itself_than_is_said_fails() {
    let wrong = Station { default: 320, ..GOOD };
    let (bench, results) = checked(&wrong, Some(0));
    assert_eq!(findings(&results), [Passed, Passed, Passed, Passed, Passed, Failed]);
    assert_eq!(results[5].2, "told nothing, with a default of 0.0 A, it took 30.0 A");
    assert_eq!(check_of(&bench).verdict(), Failed);
    // Where the site says so, it is as it is said.
    let (_, results) = checked(&wrong, Some(320));
    assert_eq!(findings(&results)[5], NotSeen, "no car takes more: {results:?}");
    let (_, results) = checked(&Station { default: 100, ..GOOD }, Some(100));
    assert_eq!(findings(&results), [Passed; 6], "{results:#?}");
}

#[test]
fn an_evse_that_ignores_what_it_accepts_fails() {
    let (_, results) = checked(&Station { obeys: false, ..GOOD }, Some(0));
    assert_eq!(
        findings(&results),
        [Passed, Failed, Failed, Passed, Failed, Failed],
        "{results:#?}"
    );
    let (_, results) = checked(
        &Station {
            forgets_tails: true,
            ..GOOD
        },
        Some(0),
    );
    assert_eq!(
        findings(&results),
        [Passed, Passed, Passed, Passed, Failed, Passed],
        "{results:#?}"
    );
}

#[test]
fn what_cannot_be_seen_is_said() {
    let (_, results) = checked(&Station { metered: false, ..GOOD }, Some(0));
    assert_eq!(findings(&results), [NotSeen; 6]);
    assert!(results.iter().all(|(_, _, what)| what == "the EVSE has no meter"));
    let (_, results) = checked(&Station { car_takes: 65, ..GOOD }, Some(0));
    assert_eq!(
        findings(&results),
        [NotSeen, NotSeen, Passed, NotSeen, Passed, Passed],
        "{results:#?}"
    );
    assert_eq!(results[0].2, "allowed 32.0 A, the car took only 6.5 A");
    let mut bench = Bench::with_two_cars();
    bench.submit(Event::SessionEnded {
        session: session_id(1),
        at: bench.now,
        reason: String::new(),
    });
    bench.find_all();
    bench.submit(asked(true));
    let check = check_of(&bench);
    assert_eq!(
        (check.results[0].what.as_str(), check.is_running()),
        ("no car is plugged in", false)
    );
}

#[test]
fn a_check_takes_no_room_from_anyone() {
    // Both cars may take 32 A of 40 A; the plan gives both a share.
    let mut bench = bench(&GOOD, Some(0));
    bench.submit(cut(40, Instant::FAR_PAST));
    bench.find_all();
    play(&mut bench, &GOOD, 40);
    let other = bench.ceilings()[1];
    bench.submit(asked(true));
    for _ in 0..200 {
        play(&mut bench, &GOOD, 5);
        let state = bench.core.state();
        let worst = state.ledger().unwrap().worst_case(0, bench.now);
        assert!(worst.at(bench.now).star[0] <= DeciAmps::from_deciamps(400));
        assert!(bench.ceilings()[1] >= other, "the other car goes on");
    }
    let check = check_of(&bench);
    assert!(check.ended_at.is_some() && check.verdict() != Failed, "{check:#?}");
    let last = check.results.last().unwrap();
    assert_eq!(
        (last.finding, last.what.as_str()),
        (NotSeen, "there was no room for it in three minutes")
    );
}

#[test]
fn a_check_ends_when_an_operator_or_the_car_says_so_and_there_is_one_at_a_time() {
    let mut bench = bench(&GOOD, Some(0));
    bench.submit(asked(false));
    assert!(bench.core.state().evse_checks.is_empty(), "there is none to end");
    bench.submit(asked(true));
    play(&mut bench, &GOOD, 30);
    let admitted = bench.core.state().admit(
        Event::EvseCheckAsked {
            evse: evse_id(2),
            wanted: true,
        },
        bench.now,
    );
    let refusal = admitted.expect_err("one at a time").to_string();
    assert!(
        refusal.contains("one check at a time: evse-1 is under way"),
        "{refusal}"
    );
    bench.submit(asked(false));
    play(&mut bench, &GOOD, 10);
    let check = check_of(&bench);
    assert_eq!(check.aborted.as_deref(), Some("an operator ended it"));
    assert_eq!(bench.ceilings(), [320, 320], "it follows the plan again");
    bench.submit(asked(true));
    bench.submit(Event::SessionOverridden {
        session: session_id(1),
        overridden: Override::Pause,
    });
    bench.find_all();
    bench.pass(2);
    assert!(!check_of(&bench).is_running());
    assert_eq!(bench.ceilings()[0], 0, "whoever is paused stays so");
    bench.submit(Event::SessionOverridden {
        session: session_id(1),
        overridden: Override::None,
    });
    bench.find_all();
    bench.submit(asked(true));
    bench.submit(Event::SessionEnded {
        session: session_id(1),
        at: bench.now,
        reason: String::new(),
    });
    bench.find_all();
    bench.pass(2);
    let check = check_of(&bench);
    let why = "the car left, its driver is not admitted, or an operator decided about its session or site";
    assert_eq!(check.aborted.as_deref(), Some(why));
}

#[test]
fn a_start_goes_on_with_a_check() {
    let mut bench = bench(&GOOD, Some(0));
    bench.submit(asked(true));
    for _ in 0..20 {
        play(&mut bench, &GOOD, 10);
        let state = bench.core.state();
        let image = state.image().expect("nothing is held for an EVSE that is gone");
        let mut from_journal = SiteState::empty(state.key().clone());
        for entry in &bench.journal {
            from_journal.apply(entry);
        }
        assert_eq!(from_journal.evse_checks, state.evse_checks);
        assert_eq!(
            SiteState::from_image(state.key().clone(), image).evse_checks,
            state.evse_checks
        );
    }
}
