//! Who may draw power: what those get who may not, and how soon they stop.

use super::*;
use crate::domain::driver::{Admits, Authorisation, Driver, DriverPolicy, Listing, Offline, Whitelist};
use crate::domain::ids::PersonRef;
use crate::engine::image::SiteImage;

fn listed(until: Option<Instant>) -> Driver {
    Driver {
        person: PersonRef::parse("person-1").unwrap(),
        listing: Some(Listing {
            valid: true,
            until,
            whitelist: Whitelist::Allowed,
            group: None,
        }),
        answer: None,
    }
}

/// A site of one guarded kind or the other, its two cars at 32 A: the first driver's token is listed, the second's too.
fn guarded(admits: Admits, limit_otherwise: i64) -> Event {
    let mut site = site();
    site.drivers = DriverPolicy {
        admits,
        limit_otherwise: Watts::from_watts(limit_otherwise),
    };
    Event::SitePut(Box::new(site))
}

fn driven(number: usize, driver: Driver) -> Event {
    let Event::SessionStarted(mut spec) = car(number) else {
        panic!("a car arrives");
    };
    spec.driver = Some(driver);
    Event::SessionUpdated(spec)
}

impl Bench {
    fn with_two_drivers(first: Driver) -> Self {
        let mut bench = Self::with_two_cars();
        bench.submit(driven(1, first));
        bench.submit(driven(2, listed(None)));
        bench.find_all();
        bench.submit(guarded(Admits::Listed, 0));
        bench.find_all();
        assert_eq!(bench.ceilings(), [320, 320]);
        bench.diary.clear();
        bench
    }

    fn known(&mut self, number: usize, driver: Driver) {
        self.submit(Event::DriverKnown {
            session: session_id(number),
            driver,
        });
    }
}

#[test]
fn whoever_is_blocked_stops_at_once_and_charges_again_once_he_is_not() {
    let mut bench = Bench::with_two_drivers(listed(None));
    let mut blocked = listed(None);
    blocked.listing.as_mut().unwrap().valid = false;
    bench.known(1, blocked);
    assert_eq!(bench.ceilings(), [0, 320], "without a search");
    bench.find_all();
    bench.known(1, listed(None));
    bench.find_all();
    bench.accept_all();
    bench.find_all();
    assert_eq!(bench.ceilings(), [320, 320]);
}

#[test]
fn a_token_that_expires_stops_its_car_in_that_second() {
    let until = MORNING + Seconds::from_mins(4);
    let mut bench = Bench::with_two_drivers(listed(Some(until)));
    bench.pass((until - bench.now).secs() - 1);
    assert_eq!(bench.ceilings(), [320, 320]);
    bench.pass(1);
    assert_eq!(bench.ceilings(), [0, 320]);
}

#[test]
fn a_profile_ends_with_the_token_also_where_nobody_can_be_told_any_more() {
    let until = MORNING + Seconds::from_mins(4);
    let bench = Bench::with_two_drivers(listed(Some(until)));
    let last = bench.sent.iter().rev().find(|sent| sent.command.evse == evse_id(1));
    let Instruction::Set(profile) = &last.unwrap().command.instruction else {
        panic!("a profile");
    };
    let last_second = until - Seconds::from_secs(1);
    assert_eq!(profile.limits().at(last_second).value(), 320);
    assert_eq!(profile.limits().at(until).value(), 0);
    assert_eq!(profile.limits().last().value(), 0);
}

#[test]
fn whoever_comes_and_is_not_admitted_leaves_the_search_alone() {
    let mut bench = Bench::with_two_drivers(listed(None));
    bench.submit(Event::SessionEnded {
        session: session_id(1),
        at: bench.now,
        reason: String::new(),
    });
    assert!(bench.job.is_some());
    bench.diary.clear();
    let Event::SessionStarted(mut spec) = car(1) else {
        panic!("a car arrives");
    };
    spec.id = session_id(3);
    bench.submit(Event::SessionStarted(spec));
    assert!(!bench.diary.contains(&"abandon"), "{:?}", bench.diary);
    bench.find_all();
    assert_eq!(bench.ceilings(), [0, 320]);
}

#[test]
fn a_policy_that_is_tightened_stops_those_whom_it_admits_no_more() {
    let mut bench = Bench::with_two_cars();
    bench.submit(driven(2, listed(None)));
    bench.find_all();
    bench.submit(guarded(Admits::Listed, 0));
    assert_eq!(bench.ceilings(), [0, 320], "the first has no token");
    bench.find_all();
    bench.submit(guarded(Admits::Everybody, 0));
    bench.find_all();
    bench.accept_all();
    bench.find_all();
    assert_eq!(bench.ceilings(), [320, 320]);
}

#[test]
fn whoever_is_not_admitted_gets_the_limit_of_the_policy_and_only_what_nobody_else_wants() {
    let mut bench = Bench::with_two_cars();
    bench.submit(driven(2, listed(None)));
    bench.find_all();
    // At 230 V these are 7.3 A, and the connector takes whole amperes.
    bench.submit(guarded(Admits::Listed, 1_700));
    assert_eq!(bench.ceilings(), [70, 320]);
    bench.find_all();
    bench.accept_all();
    bench.submit(cut(33, Instant::FAR_PAST));
    bench.find_all();
    bench.accept_all();
    bench.find_all();
    assert_eq!(
        bench.ceilings()[0],
        0,
        "the other wants all there is: {:?}",
        bench.ceilings()
    );
}

#[test]
fn an_operator_who_hands_an_evse_back_lets_its_driver_in() {
    let mut bench = Bench::with_two_drivers(listed(None));
    bench.submit(Event::SessionOverridden {
        session: session_id(1),
        overridden: Override::HandBack,
    });
    bench.find_all();
    let unknown = Driver {
        listing: None,
        ..listed(None)
    };
    bench.known(1, unknown);
    bench.find_all();
    let last = bench.sent.iter().rev().find(|sent| sent.command.evse == evse_id(1));
    assert_eq!(last.unwrap().command.instruction, Instruction::Clear);
}

#[test]
fn what_is_known_of_a_driver_is_said_of_his_session_only_and_an_update_keeps_his_answer() {
    let asked = Admits::Authorised {
        offline: Offline::Nobody,
        remember: Seconds::ZERO,
    };
    let mut bench = Bench::with_two_drivers(listed(None));
    let allowed = |person: &str| Driver {
        person: PersonRef::parse(person).unwrap(),
        answer: Some(Authorisation::Allowed),
        ..listed(None)
    };
    let entries = bench.journal.len();
    bench.known(1, allowed("somebody-else"));
    bench.known(9, allowed("person-1"));
    assert_eq!(bench.journal.len(), entries, "refused");
    for number in [1, 2] {
        bench.known(number, allowed("person-1"));
        bench.submit(driven(number, listed(None)));
    }
    bench.find_all();
    bench.submit(guarded(asked, 0));
    bench.find_all();
    assert_eq!(
        bench.ceilings(),
        [320, 320],
        "the answer stays though the update does not have it"
    );
}

#[test]
fn a_start_on_the_journal_or_on_a_snapshot_admits_the_same() {
    let mut bench = Bench::with_two_drivers(listed(None));
    bench.known(
        1,
        Driver {
            listing: None,
            ..listed(None)
        },
    );
    let state = bench.core.state();
    let image: SiteImage = state.image().expect("nothing is held for what is gone");
    let from_image = SiteState::from_image(state.key().clone(), image);
    let mut from_journal = SiteState::empty(state.key().clone());
    for entry in &bench.journal {
        from_journal.apply(entry);
    }
    for other in [&from_image, &from_journal] {
        assert_eq!(other.turned_away(bench.now), [(session_id(1), Rate::ZERO)].into());
    }
}
