//! Alarms as a site raises and clears them, and as a restart finds them again.

use super::*;
use crate::domain::alarm::{AlarmKind, MAX_CLEARED_ALARMS, Subject};
use crate::engine::alarms::SETTLING;

impl Bench {
    /// The alarms of a kind, as they were shown last.
    fn of(&self, kind: AlarmKind) -> Vec<&Alarm> {
        self.alarms.iter().filter(|alarm| alarm.kind == kind).collect()
    }

    fn active(&self) -> Vec<AlarmKind> {
        let active = self.alarms.iter().filter(|alarm| alarm.is_active());
        active.map(|alarm| alarm.kind).collect()
    }

    fn gateway_is_there(&mut self, is_there: bool) {
        let gateway = GatewayId::parse("gateway").unwrap();
        self.submit(if is_there {
            Event::GatewayConnected { gateway, fences: true }
        } else {
            Event::GatewayDisconnected { gateway }
        });
        self.find_all();
    }

    fn reading(&mut self, number: usize, deciamps: i64) {
        self.submit(Event::Metered(vec![MeterSample {
            evse: evse_id(number),
            at: self.now,
            session_energy: None,
            power: None,
            currents: Some([deciamps, 0, 0].map(DeciAmps::from_deciamps)),
        }]));
    }

    /// What a process that starts now finds: from the whole journal, or from an image and what came after it.
    fn after_restart(&self, image: Option<&SiteImage>) -> Vec<Alarm> {
        let key = self.core.state().key().clone();
        let mut state = match image {
            Some(image) => SiteState::from_image(key, image.clone()),
            None => SiteState::empty(key),
        };
        let known = state.sequence();
        for entry in self.journal.iter().filter(|entry| entry.sequence > known) {
            state.apply(entry);
        }
        state.let_time_pass(self.now);
        state.alarms().list()
    }
}

#[test]
fn all_is_well_at_a_site_where_nothing_is_the_matter() {
    let mut bench = Bench::with_two_cars();
    for _ in 0..30 {
        bench.pass(60);
        bench.accept_all();
        bench.find_all();
    }
    assert_eq!(bench.alarms, []);
}

#[test]
fn a_gateway_that_is_gone_for_half_a_minute_is_told_and_is_one_alarm_while_it_flaps() {
    let mut bench = Bench::with_two_cars();
    bench.gateway_is_there(false);
    let gone = bench.now;
    bench.pass(30);
    assert_eq!(bench.active(), [], "it may be back soon");
    bench.pass(1);
    let [alarm] = bench.of(AlarmKind::GatewaySilent)[..] else {
        panic!("one alarm: {:?}", bench.alarms)
    };
    assert_eq!(alarm.since, gone);
    assert_eq!(alarm.subject, Subject::Gateway(GatewayId::parse("gateway").unwrap()));
    for times in 2..5 {
        bench.gateway_is_there(true);
        bench.pass(SETTLING.secs() - 2);
        // The site is judged in between, too.
        bench.reading(1, 60);
        bench.find_all();
        bench.pass(1);
        bench.gateway_is_there(false);
        bench.pass(2);
        let [alarm] = bench.of(AlarmKind::GatewaySilent)[..] else {
            panic!("one alarm: {:?}", bench.alarms)
        };
        assert_eq!((alarm.times, alarm.is_active(), alarm.since), (times, true, gone));
    }
    bench.gateway_is_there(true);
    let back = bench.now;
    bench.pass(SETTLING.secs() + 1);
    let [alarm] = bench.of(AlarmKind::GatewaySilent)[..] else {
        panic!("one alarm: {:?}", bench.alarms)
    };
    assert_eq!(alarm.gone_since, Some(back));
    assert_eq!(alarm.cleared_at, Some(back + SETTLING));
}

#[test]
fn a_gateway_that_never_says_hello_is_told() {
    let mut bench = Bench::new();
    bench.submit(Event::SitePut(Box::new(site())));
    bench.find_all();
    bench.pass(31);
    let [alarm] = bench.of(AlarmKind::GatewaySilent)[..] else {
        panic!("one alarm: {:?}", bench.alarms)
    };
    assert_eq!(alarm.what, "it never said hello");
    let mut shadow = site();
    shadow.mode = Mode::Shadow;
    bench.submit(Event::SitePut(Box::new(shadow)));
    bench.find_all();
    bench.pass(61);
    assert_eq!(bench.active(), [], "nothing is sent there");
}

#[test]
fn decreases_that_leave_at_once_are_no_alarm_and_those_that_cannot_leave_are_one_after_a_second() {
    let mut bench = Bench::with_two_cars();
    bench.submit(cut(20, Instant::FAR_PAST));
    bench.find_all();
    bench.pass(20);
    assert!(bench.of(AlarmKind::DecreasesUnsent).is_empty(), "{:?}", bench.alarms);

    let mut bench = Bench::with_two_cars();
    bench.gateway_is_there(false);
    bench.pass(5);
    bench.submit(cut(20, Instant::FAR_PAST));
    bench.find_all();
    let at = bench.now;
    bench.pass(1);
    assert!(bench.of(AlarmKind::DecreasesUnsent).is_empty(), "{:?}", bench.alarms);
    bench.pass(1);
    let [alarm] = bench.of(AlarmKind::DecreasesUnsent)[..] else {
        panic!("one alarm: {:?}", bench.alarms)
    };
    assert_eq!((alarm.since, alarm.what.as_str()), (at, "L1 carries 640 dA of 200 dA"));
    assert_eq!(alarm.evses, [evse_id(1), evse_id(2)]);
    bench.gateway_is_there(true);
    let sent = bench.now;
    bench.pass(1);
    assert_eq!(bench.of(AlarmKind::DecreasesUnsent)[0].gone_since, Some(sent));
}

#[test]
fn a_place_above_what_is_available_is_told_with_who_and_until_when() {
    let mut bench = Bench::with_two_cars();
    bench.submit(cut(20, Instant::FAR_PAST));
    bench.find_all();
    let at = bench.now;
    bench.pass(31);
    let [alarm] = bench.of(AlarmKind::AboveAvailable)[..] else {
        panic!("one alarm: {:?}", bench.alarms)
    };
    assert_eq!((alarm.since, alarm.what.as_str()), (at, "L1 carries 640 dA of 200 dA"));
    assert_eq!(alarm.subject, Subject::Node(node()));
    assert_eq!(alarm.evses, [evse_id(1), evse_id(2)]);
    let until = alarm.until.expect("leases run out");
    let lease = MORNING + Seconds::from_mins(15);
    assert!((lease..=lease + Seconds::from_secs(10)).contains(&until), "{until}");
    // Nobody answers until then.
    bench.pass((until - bench.now).secs() + 1);
    let alarm = bench.of(AlarmKind::AboveAvailable)[0];
    assert_eq!(alarm.gone_since, Some(until), "as it was foreseen");
}

#[test]
fn a_place_is_no_longer_above_once_stations_have_answered() {
    let mut bench = Bench::with_two_cars();
    bench.submit(cut(20, Instant::FAR_PAST));
    bench.find_all();
    bench.pass(31);
    assert_eq!(bench.active(), [AlarmKind::AboveAvailable]);
    bench.accept_all();
    let answered = bench.now;
    bench.pass(10);
    let alarm = bench.of(AlarmKind::AboveAvailable)[0];
    // Cars have the time of the clocks' skew to follow.
    assert_eq!(alarm.gone_since, Some(answered + Seconds::from_secs(5)));
}

#[test]
fn a_limit_below_what_cannot_be_shed_is_told() {
    let mut spec = site();
    spec.stations[0].evses[0].connectors[0].default = Some(Rate::new(100));
    let mut bench = Bench::with_two_cars();
    bench.submit(Event::SitePut(Box::new(spec)));
    bench.find_all();
    bench.submit(cut(9, Instant::FAR_PAST));
    bench.find_all();
    bench.pass(2);
    let [alarm] = bench.of(AlarmKind::LimitCannotBeMet)[..] else {
        panic!("one alarm: {:?}", bench.alarms)
    };
    assert_eq!(
        (alarm.what.as_str(), &alarm.evses[..]),
        ("L1 carries 100 dA of 90 dA", &[evse_id(1)][..])
    );
    assert!(
        bench.of(AlarmKind::DecreasesUnsent).is_empty(),
        "all that can be told was told"
    );
}

#[test]
fn an_evse_that_disobeys_is_told_until_it_obeys() {
    let mut bench = Bench::with_two_cars();
    bench.submit(Event::SessionOverridden {
        session: session_id(1),
        overridden: Override::Pause,
    });
    bench.find_all();
    bench.accept_all();
    bench.pass(60);
    bench.reading(1, 250);
    bench.find_all();
    let at = bench.now;
    bench.pass(1);
    let [alarm] = bench.of(AlarmKind::EvseDisobeys)[..] else {
        panic!("one alarm: {:?}", bench.alarms)
    };
    assert_eq!((alarm.since, &alarm.subject), (at, &Subject::Evse(evse_id(1))));
    assert_eq!(alarm.what, "its meter showed 250 dA, 0 dA and 0 dA");
    for _ in 0..2 {
        bench.pass(10);
        bench.reading(1, 0);
    }
    let obeys = bench.now;
    bench.pass(1);
    assert_eq!(bench.of(AlarmKind::EvseDisobeys)[0].gone_since, Some(obeys));
}

#[test]
fn a_meter_that_draws_without_a_session_is_told() {
    let mut bench = Bench::with_two_cars();
    bench.submit(Event::SessionEnded {
        session: session_id(1),
        at: bench.now,
        reason: String::new(),
    });
    bench.find_all();
    for _ in 0..3 {
        bench.pass(30);
        bench.reading(1, 100);
        bench.find_all();
    }
    bench.pass(1);
    let [alarm] = bench.of(AlarmKind::MeterDisagrees)[..] else {
        panic!("one alarm: {:?}", bench.alarms)
    };
    assert_eq!(alarm.subject, Subject::Evse(evse_id(1)));
}

#[test]
fn a_restart_finds_the_same_alarms_from_the_journal_and_from_an_image() {
    let mut bench = Bench::with_two_cars();
    let mut images: Vec<SiteImage> = Vec::new();
    let mut seen = 0;
    for step in 0..60 {
        match step {
            3 | 9 | 20 => bench.gateway_is_there(false),
            6 | 12 | 40 => bench.gateway_is_there(true),
            15 => bench.submit(cut(20, Instant::FAR_PAST)),
            17 => bench.submit(cut(4, bench.now + Seconds::from_secs(45))),
            30 => bench.submit(Event::GridLimitRemoved(GridLimitId::parse("cut").unwrap())),
            45 => bench.submit(Event::SiteStopped { stopped: true }),
            _ => {}
        }
        bench.find_all();
        if step % 7 == 0 {
            bench.accept_all();
            bench.find_all();
        }
        bench.reading(1 + step % 2, if step % 5 == 0 { 330 } else { 60 });
        bench.find_all();
        bench.pass(13 + step as i64 % 4 * 11);
        let live = bench.core.state().alarms().list();
        assert_eq!(bench.alarms, live, "what is shown is what is there");
        assert_eq!(bench.after_restart(None), live, "step {step}");
        for image in &images {
            assert_eq!(
                bench.after_restart(Some(image)),
                live,
                "step {step} after entry {}",
                image.sequence
            );
        }
        // A ledger that is made again from an image is as strict as after the loss of its store for the first lease of a site.
        if step % 5 == 0 && bench.now > MORNING + Seconds::from_mins(16) {
            images.extend(bench.core.state().image());
        }
        seen = seen.max(live.len());
    }
    assert!(seen >= 4 && images.len() >= 3, "{seen} alarms, {} images", images.len());
}

#[test]
fn alarms_that_are_over_are_forgotten_in_the_end() {
    let mut bench = Bench::with_two_cars();
    bench.gateway_is_there(false);
    let mut reading = 0;
    // Every second one is an alarm.
    while reading < 2 * MAX_CLEARED_ALARMS + 40 {
        // Beyond the doubt that a contradiction leaves.
        bench.pass(15 * 60 + SETTLING.secs() + 2);
        let energy = if reading % 2 == 0 { 5_000 } else { 1_000 };
        bench.submit(Event::Metered(vec![MeterSample {
            evse: evse_id(1),
            at: bench.now,
            session_energy: Some(WattSeconds::from_watt_hours(energy)),
            power: None,
            currents: None,
        }]));
        bench.find_all();
        reading += 1;
    }
    let numbers: Vec<u64> = bench.alarms.iter().map(|alarm| alarm.number).collect();
    assert!(numbers.is_sorted());
    let cleared = bench.alarms.iter().filter(|alarm| !alarm.is_active()).count();
    assert_eq!(cleared, MAX_CLEARED_ALARMS);
}

#[test]
fn what_is_not_an_alarm_yet_is_found_again_after_a_restart() {
    let mut bench = Bench::with_two_cars();
    bench.gateway_is_there(true);
    bench.pass(16 * 60);
    bench.accept_all();
    bench.find_all();
    bench.gateway_is_there(false);
    let gone = bench.now;
    bench.pass(20);
    let image = bench.core.state().image().expect("nothing is unknown here");
    bench.pass(11);
    let found = bench.after_restart(Some(&image));
    let silent = found.iter().find(|alarm| alarm.kind == AlarmKind::GatewaySilent);
    assert_eq!(silent.map(|alarm| alarm.since), Some(gone));
}

#[test]
fn an_image_knows_whose_profile_is_in_force() {
    let mut bench = Bench::with_two_cars();
    bench.gateway_is_there(true);
    bench.pass(16 * 60);
    bench.accept_all();
    bench.find_all();
    // Another car comes, and nothing can be sent for it.
    bench.gateway_is_there(false);
    bench.submit(Event::SessionEnded {
        session: session_id(1),
        at: bench.now,
        reason: String::new(),
    });
    let Event::SessionStarted(spec) = car(3) else {
        unreachable!("a car starts a session")
    };
    bench.submit(Event::SessionStarted(Box::new(SessionSpec {
        evse: evse_id(1),
        arrival: bench.now,
        ..*spec
    })));
    bench.find_all();
    let ceiling = |state: &SiteState| state.ledger().map(|ledger| ledger.ceiling_now(&evse_id(1), bench.now));
    let image = bench.core.state().image().expect("nothing is unknown here");
    let key = bench.core.state().key().clone();
    assert_eq!(ceiling(bench.core.state()), Some(Rate::ZERO), "what it does by default");
    assert_eq!(ceiling(&SiteState::from_image(key, image)), Some(Rate::ZERO));
}
