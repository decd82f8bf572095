//! Tests of the calendar, against the rule read literally: look at the local clock at every minute.

use super::*;
use crate::domain::conversion::{Phase, Rate, Wiring};
use crate::domain::driver::DriverPolicy;
use crate::domain::ids::*;
use crate::domain::limits::FixedLimits;
use crate::domain::site::*;
use crate::units::Volts;

fn at(text: &str) -> Instant {
    parse_rfc3339(text).expect("the test's time is a time")
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).expect("the test's zone exists")
}

fn site() -> Site {
    let node = |id: &str, parent: Option<&str>, line| Node {
        id: NodeId::parse(id).unwrap(),
        parent: parent.map(|parent| NodeId::parse(parent).unwrap()),
        limit: NodeLimit {
            line: Some(DeciAmps::from_deciamps(line)),
            total: None,
        },
        fixed: FixedLimits::default(),
        base_load_line: DeciAmps::ZERO,
        base_load_total: Watts::ZERO,
        meter: Default::default(),
    };
    let connector = Connector {
        id: ConnectorId::parse("1").unwrap(),
        wiring: Wiring::Star(vec![Phase::L1]),
        volt: Volts::from_volts(230),
        minimum: Rate::new(60),
        maximum: Rate::new(160),
        default: Some(Rate::ZERO),
        steps: Steps::Multiple(Rate::new(1)),
        max_profile_periods: 10,
    };
    Site::new(SiteSpec {
        tenant: TenantId::parse("cpo").unwrap(),
        id: SiteId::parse("depot").unwrap(),
        time_zone: "Europe/Stockholm".to_owned(),
        currency: "SEK".to_owned(),
        mode: Mode::Shadow,
        lease: Seconds::from_mins(15),
        clock_skew: Seconds::from_secs(5),
        reserve_permille: 30,
        slot: Seconds::from_mins(5),
        trust_unmetered: false,
        fairness: Fairness::MaxMin,
        demand_charge_micros_per_kw: None,
        peak_so_far: Watts::ZERO,
        gateway: None,
        drivers: DriverPolicy::default(),
        nodes: vec![node("grid", None, 1000), node("east", Some("grid"), 500)],
        stations: vec![Station {
            id: StationId::parse("s1").unwrap(),
            node: NodeId::parse("east").unwrap(),
            limit: NodeLimit::default(),
            evses: vec![Evse {
                id: EvseId::parse("e1").unwrap(),
                controllable: true,
                metered: true,
                connectors: vec![connector],
            }],
        }],
    })
    .unwrap()
}

fn grid_limit(id: &str, node: &str, line: i64, when: LimitWindow) -> GridLimit {
    GridLimit {
        id: GridLimitId::parse(id).unwrap(),
        node: NodeId::parse(node).unwrap(),
        source: LimitSource::Dso,
        limit: NodeLimit {
            line: Some(DeciAmps::from_deciamps(line)),
            total: None,
        },
        when,
    }
}

const EVERY_DAY: [bool; 7] = [true; 7];

fn weekly(days: [bool; 7], from: u16, until: u16) -> LimitWindow {
    LimitWindow::Weekly {
        days,
        from_minute_of_day: from,
        until_minute_of_day: until,
    }
}

/// Minutes of `[from, until)` at which the window's limit is in force at the grid connection.
fn minutes_in_force(zone_name: &str, when: LimitWindow, from: &str, until: &str) -> Vec<String> {
    let limits = [grid_limit("l", "grid", 1, when)];
    let zone = zone(zone_name);
    let line = node_limits(&site(), &zone, &limits, at(from), at(until)).remove(0);
    let mut found: Vec<String> = Vec::new();
    let mut minute = at(from);
    while minute < at(until) {
        let in_force = line.at(minute).line == Some(DeciAmps::from_deciamps(1));
        let named = binding_limits(&site(), &zone, &limits, 0, minute)
            .line
            .unwrap()
            .id
            .is_some();
        assert_eq!(in_force, named, "at {}", to_rfc3339(minute));
        if in_force {
            found.push(to_rfc3339(minute)[11..16].to_owned());
        }
        minute = minute + Seconds::from_mins(1);
    }
    found
}

fn first_last_count(minutes: &[String]) -> (&str, &str, usize) {
    (&minutes[0], &minutes[minutes.len() - 1], minutes.len())
}

#[test]
fn an_ordinary_window_is_in_local_time() {
    let monday = [true, false, false, false, false, false, false];
    let minutes = minutes_in_force(
        "Europe/Stockholm",
        weekly(monday, 960, 1200),
        "2026-01-12T00:00:00Z",
        "2026-01-14T00:00:00Z",
    );
    assert_eq!(first_last_count(&minutes), ("15:00", "18:59", 240));
}

#[test]
fn a_window_that_crosses_midnight_belongs_to_the_day_on_which_it_begins() {
    let sunday = [false, false, false, false, false, false, true];
    let minutes = minutes_in_force(
        "UTC",
        weekly(sunday, 1320, 120),
        "2026-01-12T00:00:00Z",
        "2026-01-19T00:00:00Z",
    );
    // Monday the 12th until 02:00 from the Sunday before, and Sunday the 18th from 22:00.
    assert_eq!(first_last_count(&minutes), ("00:00", "23:59", 120 + 120));
}

#[test]
fn equal_ends_are_a_whole_day() {
    let tuesday = [false, true, false, false, false, false, false];
    let minutes = minutes_in_force(
        "UTC",
        weekly(tuesday, 0, 0),
        "2026-01-12T00:00:00Z",
        "2026-01-19T00:00:00Z",
    );
    assert_eq!(minutes.len(), 24 * 60);
}

#[test]
fn a_local_time_that_is_skipped_makes_the_limit_longer() {
    // On 29 March 2026 clocks go from 02:00 to 03:00 at 01:00Z.
    let window = |from, until| {
        minutes_in_force(
            "Europe/Stockholm",
            weekly(EVERY_DAY, from, until),
            "2026-03-28T22:00:00Z",
            "2026-03-29T12:00:00Z",
        )
    };
    let ends_in_gap = window(60, 150);
    assert_eq!(first_last_count(&ends_in_gap), ("00:00", "01:29", 90));
    let begins_in_gap = window(150, 240);
    assert_eq!(first_last_count(&begins_in_gap), ("00:30", "01:59", 90));
    let lies_in_gap = window(130, 140);
    assert!(!lies_in_gap.is_empty(), "a window inside the gap still applies");
}

#[test]
fn a_local_time_that_comes_twice_makes_the_limit_longer() {
    // On 25 October 2026 clocks go from 03:00 back to 02:00 at 01:00Z: 02:30 is at 00:30Z and at 01:30Z.
    let window = |from, until| {
        minutes_in_force(
            "Europe/Stockholm",
            weekly(EVERY_DAY, from, until),
            "2026-10-24T22:00:00Z",
            "2026-10-25T12:00:00Z",
        )
    };
    assert_eq!(first_last_count(&window(60, 150)), ("23:00", "01:29", 150));
    assert_eq!(first_last_count(&window(150, 240)), ("00:30", "02:59", 150));
    assert_eq!(first_last_count(&window(130, 140)), ("00:10", "01:19", 70));
}

#[test]
fn never_shorter_than_the_local_clock_says_around_every_clock_change() {
    for (name, from, until) in [
        ("Europe/Stockholm", "2026-03-27T00:00:00Z", "2026-03-31T00:00:00Z"),
        ("America/Los_Angeles", "2026-10-30T00:00:00Z", "2026-11-03T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-03T00:00:00Z", "2026-04-07T00:00:00Z"),
        ("Pacific/Apia", "2011-12-28T00:00:00Z", "2012-01-02T00:00:00Z"),
        ("Africa/Cairo", "2026-04-22T00:00:00Z", "2026-04-26T00:00:00Z"),
    ] {
        let zone = zone(name);
        for (window_from, window_until) in [(0, 30), (60, 150), (110, 125), (1380, 45), (0, 0)] {
            let limits = [grid_limit("l", "grid", 1, weekly(EVERY_DAY, window_from, window_until))];
            let line = node_limits(&site(), &zone, &limits, at(from), at(until)).remove(0);
            let mut minute = at(from);
            while minute < at(until) {
                let utc = DateTime::from_timestamp(minute.unix_secs(), 0).unwrap();
                let local = utc.with_timezone(&zone.0).naive_local();
                let minute_of_day = (local - local.date().and_time(NaiveTime::MIN)).num_minutes() as u16;
                let inside = if window_from < window_until {
                    (window_from..window_until).contains(&minute_of_day)
                } else {
                    minute_of_day >= window_from || minute_of_day < window_until
                };
                if inside {
                    assert_eq!(
                        line.at(minute).line,
                        Some(DeciAmps::from_deciamps(1)),
                        "{name} {window_from}-{window_until} at {}",
                        to_rfc3339(minute)
                    );
                }
                minute = minute + Seconds::from_mins(1);
            }
        }
    }
}

#[test]
fn the_tightest_applies_and_is_named() {
    let once = |from, until| LimitWindow::Once {
        from: at(from),
        until: Some(at(until)),
    };
    let limits = [
        grid_limit("day", "grid", 800, once("2026-01-12T08:00:00Z", "2026-01-12T18:00:00Z")),
        grid_limit("noon", "grid", 0, once("2026-01-12T12:00:00Z", "2026-01-12T13:00:00Z")),
        grid_limit(
            "elsewhere",
            "nowhere",
            0,
            once("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ),
        grid_limit(
            "loose",
            "grid",
            2000,
            once("2026-01-12T00:00:00Z", "2026-01-13T00:00:00Z"),
        ),
    ];
    let utc = zone("UTC");
    let line = node_limits(
        &site(),
        &utc,
        &limits,
        at("2026-01-12T00:00:00Z"),
        at("2026-01-13T00:00:00Z"),
    )
    .remove(0);
    let values: Vec<i64> = line
        .points()
        .iter()
        .map(|(_, limit)| limit.line.unwrap().deciamps())
        .collect();
    assert_eq!(values, [1000, 800, 0, 800, 1000]);
    let named = |time: &str| binding_limits(&site(), &utc, &limits, 0, at(time)).line.unwrap();
    assert_eq!(named("2026-01-12T12:30:00Z").id.unwrap().as_str(), "noon");
    assert_eq!(named("2026-01-12T13:00:00Z").id.unwrap().as_str(), "day");
    assert_eq!(named("2026-01-12T19:00:00Z").source, LimitSource::Installation);
}

#[test]
fn after_the_end_holds_the_tightest_that_can_still_come() {
    let limits = [
        grid_limit(
            "week",
            "grid",
            700,
            weekly([false, false, false, false, true, false, false], 600, 660),
        ),
        grid_limit(
            "past",
            "grid",
            0,
            LimitWindow::Once {
                from: at("2026-01-12T02:00:00Z"),
                until: Some(at("2026-01-12T03:00:00Z")),
            },
        ),
        grid_limit(
            "next-year",
            "east",
            100,
            LimitWindow::Once {
                from: at("2027-01-01T00:00:00Z"),
                until: None,
            },
        ),
    ];
    let utc = zone("UTC");
    let lines = node_limits(
        &site(),
        &utc,
        &limits,
        at("2026-01-12T00:00:00Z"),
        at("2026-01-13T00:00:00Z"),
    );
    let last = |place: usize| lines[place].last().line.unwrap().deciamps();
    assert_eq!([last(0), last(1)], [700, 100]);
    assert_eq!(lines[0].at(at("2026-01-12T23:59:59Z")).line.unwrap().deciamps(), 1000);
    assert_eq!(lines[2].last().line, None);
    let ends_there = node_limits(
        &site(),
        &utc,
        &limits[1..2],
        at("2026-01-12T00:00:00Z"),
        at("2026-01-12T03:00:00Z"),
    );
    assert_eq!(ends_there[0].last().line.unwrap().deciamps(), 1000);
    // Longer horizons only ever loosen what holds at a given moment.
    let longer = node_limits(
        &site(),
        &utc,
        &limits,
        at("2026-01-12T00:00:00Z"),
        at("2028-01-13T00:00:00Z"),
    );
    for (short, long) in lines.iter().zip(&longer) {
        for day in 0..1000 {
            let moment = at("2026-01-12T00:00:00Z") + Seconds::from_hours(7 * day);
            let value = |line: &Timeline<NodeLimit>| line.at(moment).line.unwrap_or(DeciAmps::from_deciamps(i64::MAX));
            assert!(value(short) <= value(long));
        }
    }
}

#[test]
fn times_are_written_and_read_back() {
    for text in [
        "1970-01-01T00:00:00Z",
        "2026-03-29T01:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ] {
        assert_eq!(to_rfc3339(at(text)), text);
    }
    assert_eq!(at("2026-03-29T03:00:00.999+02:00"), at("2026-03-29T01:00:00Z"));
    for wrong in [
        "",
        "2026-03-29",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "now",
    ] {
        assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
    }
}

#[test]
fn no_instant_makes_it_panic() {
    let limits = [
        grid_limit("w", "grid", 5, weekly(EVERY_DAY, 60, 30)),
        grid_limit("m", "grid", 4, weekly(EVERY_DAY, u16::MAX, 0)),
    ];
    let extremes = [
        i64::MIN,
        i64::MIN / 4,
        -62_167_219_200,
        0,
        253_402_300_799,
        i64::MAX / 4,
        i64::MAX,
    ];
    for from in extremes.map(Instant::from_unix_secs) {
        to_rfc3339(from);
        zone("Europe/Stockholm").start_of_day(from);
        binding_limits(&site(), &zone("Europe/Stockholm"), &limits, 0, from);
        for until in extremes.map(Instant::from_unix_secs) {
            let lines = node_limits(&site(), &zone("Asia/Tokyo"), &limits, from, until);
            assert_eq!(lines[0].last().line, Some(DeciAmps::from_deciamps(4)));
        }
    }
    assert_eq!(to_rfc3339(Instant::from_unix_secs(i64::MAX)), "9999-12-31T23:59:59Z");
}

#[test]
fn an_unknown_zone_is_named_in_the_fault() {
    let fault = Zone::parse("Europe/Atlantis").unwrap_err().faults()[0].clone();
    assert_eq!(
        (fault.field.as_str(), fault.got.as_str()),
        ("time_zone", "Europe/Atlantis")
    );
    assert_eq!(zone("Europe/Stockholm").name(), "Europe/Stockholm");
}
