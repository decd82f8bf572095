//! Every way that a small site can go, not a sample of them: a model check of the real ledger and the real step.
//!
//! Two EVSEs, each with a car that may be wished two levels, of which the high one fits only once. Messages are lost, late, out of order and
//! refused at will; a few times commands and answers come twice, stations restart, the service dies, its store is lost, a car is swapped.
//! [`state`] holds what can happen and what must never be, [`case`] what a site is like, [`ledgers`] how millions of states share few
//! ledgers.
//!
//! `LADDPLAN_MODEL=large` tries the same sites with more of everything, for minutes.

mod case;
mod ledgers;
mod state;

use super::build::*;
use crate::domain::event::Event;
use crate::domain::profile::{Answer, Revision};
use crate::rollout::Ledger;
use crate::rollout::may_follow::WrongRule;
use case::{Case, Meter, Mishap};
use state::SmallSite;
use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Processors that a check takes.
const THREADS: usize = 2;
/// All cases together have at least as many states, or they show less than they say.
const LEAST_STATES: usize = 1_000_000;

/// A site of each kind, with nothing that goes wrong a few times.
struct Kinds {
    plain: Case,
    /// Stations follow what was meant for a car that has left.
    takes_any_session: Case,
    fenced: Case,
    /// Clocks are right and cars quick, so that what settles settles at once.
    exact: Case,
    metered: Case,
    /// A lease of two ticks is renewed before a command is sent again.
    resent: Case,
}

fn kinds() -> Kinds {
    let plain = Case::plain();
    Kinds {
        takes_any_session: Case {
            takes_any_session: true,
            ..plain.clone()
        },
        fenced: Case {
            fences: true,
            tails: true,
            ..plain.clone()
        },
        exact: Case {
            skew: 0,
            clocks: [0, 0],
            ..plain.clone()
        },
        metered: Case {
            meters: [Meter::Currents, Meter::None],
            trust_unmetered: false,
            ignores: true,
            clocks: [0, 1],
            slow_cars: [true, false],
            ..plain.clone()
        },
        resent: Case {
            lease: 3,
            ..plain.clone()
        },
        plain,
    }
}

impl Case {
    fn at_most(self, revisions: [u8; 2], most_mishaps: u8, end: i64) -> Self {
        Self {
            revisions,
            most_mishaps,
            end,
            ..self
        }
    }
}

/// The sites that are tried at every run.
fn cases() -> Vec<(&'static str, Case)> {
    let kinds = kinds();
    let swaps_and_crashes = Case {
        mishaps: &[Mishap::Crash, Mishap::Swap, Mishap::LostStore],
        ..kinds.plain.clone()
    };
    let retries_and_crashes = Case {
        mishaps: &[Mishap::Retry, Mishap::Crash],
        ..kinds.resent
    };
    let copies_and_crashes = Case {
        fences: true,
        tails: true,
        mishaps: &[Mishap::Copy, Mishap::Crash],
        ..kinds.exact
    };
    vec![
        ("two revisions each", swaps_and_crashes.at_most([2, 2], 1, 1)),
        ("leases run out", kinds.plain.at_most([1, 1], 1, 5)),
        ("commands are sent again", retries_and_crashes.at_most([1, 1], 1, 3)),
        ("a fence, and tails", kinds.fenced.at_most([1, 1], 1, 5)),
        ("a fence, copies and a crash", copies_and_crashes.at_most([2, 0], 2, 6)),
        (
            "stations that take any car's",
            kinds.takes_any_session.at_most([2, 1], 1, 1),
        ),
        ("meters", kinds.metered.at_most([2, 1], 0, 2)),
    ]
}

/// The same sites with more of everything.
fn large_cases() -> Vec<(&'static str, Case)> {
    let kinds = kinds();
    vec![
        ("two revisions each", kinds.plain.clone().at_most([2, 2], 1, 2)),
        ("leases run out", kinds.plain.at_most([2, 2], 0, 4)),
        ("commands are sent again", kinds.resent.at_most([1, 1], 1, 6)),
        ("a fence, and tails", kinds.fenced.at_most([2, 2], 1, 1)),
        (
            "stations that take any car's",
            kinds.takes_any_session.at_most([2, 1], 1, 3),
        ),
        ("exact clocks", kinds.exact.at_most([2, 1], 1, 3)),
        ("meters", kinds.metered.at_most([2, 1], 1, 2)),
    ]
}

/// What is checked is chosen by the environment.
fn chosen_cases() -> Vec<(&'static str, Case)> {
    match std::env::var("LADDPLAN_MODEL").as_deref() {
        Err(_) => cases(),
        Ok("large") => large_cases(),
        Ok(other) => panic!("LADDPLAN_MODEL is {other}; only large is known"),
    }
}

#[test]
fn nothing_that_can_happen_at_a_small_site_overloads_it() {
    let mut states = 0;
    for (name, case) in chosen_cases() {
        let checker = SmallSite::new(case).checker().threads(THREADS).spawn_bfs().join();
        let model = checker.model();
        println!(
            "{name}: {} states, {} steps deep, {} ledgers",
            checker.unique_state_count(),
            checker.max_depth(),
            model.ledgers.count(),
        );
        states += checker.unique_state_count();
        for property in model.properties() {
            let found = checker.discovery(property.name);
            if property.expectation == Expectation::Sometimes {
                let reached = found.is_some();
                assert!(reached, "{name}: never {}: it shows less than it says", property.name);
            } else if let Some(path) = found {
                let way: Vec<String> = path.into_actions().iter().map(|action| model.words(action)).collect();
                panic!("{name}: not always: {}\n{}", property.name, way.join("\n"));
            }
        }
    }
    println!("{states} states in all");
    assert!(states >= LEAST_STATES, "{states} states");
}

/// The smallest site at which each wrong rule overloads something, as far as known.
fn site_for(wrong: WrongRule) -> Case {
    let quiet = Case {
        revisions: [2, 1],
        end: 1,
        ..Case::plain()
    };
    let with = |mishaps| Case {
        mishaps,
        most_mishaps: 1,
        ..quiet.clone()
    };
    // Where something is drawn that is not of a command's high level, there is no room for it beside one.
    let tight = Case {
        room: 200,
        ..quiet.clone()
    };
    let at_low = [Some(60), Some(0)];
    let case = match wrong {
        WrongRule::SendAll
        | WrongRule::NewestOfEach
        | WrongRule::OnlyTheNewest
        | WrongRule::DropOnAnyAcceptance
        | WrongRule::AnswersTellTheOrder
        | WrongRule::NoClockSkew => quiet,
        WrongRule::RejectedRetryCancels => Case {
            revisions: [1, 1],
            lease: 3,
            end: 2,
            ..with(&[Mishap::Retry])
        },
        WrongRule::AnotherSessionFrees => Case {
            takes_any_session: true,
            ..with(&[Mishap::Swap])
        },
        // Until the lease is over by any clock.
        WrongRule::ForgetTails => Case {
            fences: true,
            tails: true,
            revisions: [1, 1],
            end: 4,
            ..tight
        },
        WrongRule::IgnoreDefaults => Case {
            defaults: at_low,
            ..tight
        },
        WrongRule::ForgetIdleDefaults => Case {
            defaults: at_low,
            room: tight.room,
            ..with(&[Mishap::Swap])
        },
        WrongRule::UnknownDefaultIsZero => Case {
            defaults: [None, Some(0)],
            room: 380,
            ..quiet
        },
        WrongRule::CreditTheMeteredDraw => Case {
            meters: [Meter::Currents, Meter::None],
            modest_cars: true,
            ..quiet
        },
        WrongRule::SilenceIsObedience => Case {
            meters: [Meter::EnergyOnly, Meter::None],
            ignores: true,
            ..quiet
        },
        WrongRule::ForgetAmnesia => with(&[Mishap::LostStore]),
        WrongRule::TellWhatMayBeFollowed => unreachable!("no limit is broken from outside in a model"),
    };
    Case {
        wrong: Some(wrong),
        ..case
    }
}

#[test]
fn every_wrong_rule_has_a_counterexample() {
    for wrong in WrongRule::ALL {
        let site = SmallSite::new(site_for(wrong)).checker();
        let checker = site
            .threads(THREADS)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let found = checker.discoveries().into_values().next();
        let states = checker.unique_state_count();
        let path = found.unwrap_or_else(|| panic!("{wrong:?} went unnoticed in {states} states"));
        println!(
            "{wrong:?}: overloads in {} steps, {states} states",
            path.into_actions().len()
        );
    }
}

/// What [`ledgers`] rests on.
#[test]
fn what_is_told_of_one_evse_says_nothing_of_another() {
    let answered = |number, revision, answer| Event::CommandAnswered {
        evse: evse_id(number),
        revision: Revision::new(revision),
        attempt: 1,
        answer,
    };
    let gone = Event::ActiveProfileReported {
        evse: evse_id(1),
        revision: None,
    };
    let events = [
        (0, 0, Event::CommandsIssued(vec![set(0, 1, 0, 160, 0)])),
        (1, 0, Event::CommandsIssued(vec![set(1, 1, 0, 60, 0)])),
        (1, 5, answered(1, 1, Answer::Accepted)),
        (0, 5, answered(0, 1, rejected())),
        (1, 10, gone),
        (0, 20, Event::CommandsIssued(vec![set(0, 2, 20, 60, 0)])),
        (1, 25, Event::Metered(vec![drawing(1, 25, 200)])),
        (0, 40, answered(0, 2, Answer::Accepted)),
    ];
    let mut all = Ledger::new(&Case::plain().site());
    let mut each = [all.clone(), all.clone()];
    for (number, secs, event) in &events {
        all.tell(event, at(*secs));
        each[*number].tell(event, at(*secs));
    }
    for secs in [40, 80, 2_000] {
        all.forget_expired(at(secs));
        each.iter_mut().for_each(|ledger| ledger.forget_expired(at(secs)));
        let joined = each[0].with_record_of(&evse_id(1), &each[1], at(secs));
        assert_eq!(joined.digest(at(secs)), all.digest(at(secs)), "at {secs}");
        assert_eq!(joined.worst_cases(at(secs)), all.worst_cases(at(secs)), "at {secs}");
    }
}
