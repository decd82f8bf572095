//! What meter readings say of ceilings, and what they do not.

use super::build::*;
use super::rules::{answer, counts, ledger_of, one};
use crate::domain::conversion::{Phase, Rate, RateUnit, Wiring};
use crate::domain::profile::{Answer, ChargingProfile, Instruction};
use crate::domain::session::MeterSample;
use crate::rollout::{Ledger, Trust};
use crate::units::{WattSeconds, Watts};

#[test]
fn where_a_meter_is_a_decrease_frees_room_only_once_the_draw_stayed_under_it() {
    let mut metered = evse(0);
    metered.metered = true;
    let mut spec = spec(vec![metered]);
    spec.trust_unmetered = false;
    let (_, mut ledger) = ledger_of(spec);
    ledger.issued(&set(0, 1, 0, 160, 0));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 1);
    ledger.issued(&set(0, 2, 10, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 20);
    assert_eq!(counts(&mut ledger, 60, &[60]), [160], "nothing was read");
    for (secs, drawn, counted) in [(22, 60, 160), (24, 160, 160), (28, 60, 160), (29, 70, 60)] {
        ledger.metered(&drawing(0, secs, drawn), at(secs));
        assert_eq!(counts(&mut ledger, secs, &[secs]), [counted], "at {secs}");
    }
    assert_eq!(ledger.trust(&evse_id(0)), Trust::Obeys);
}

/// The newer revision was followed first, then the older one, which came late; a second transmission makes it turn back.
fn turned_back(ledger: &mut Ledger) {
    let newer = set(0, 2, 0, 60, 0);
    ledger.issued(&set(0, 1, 0, 160, 0));
    ledger.issued(&newer);
    answer(ledger, 2, 1, &Answer::Accepted, 1);
    for secs in [2, 9] {
        ledger.metered(&drawing(0, secs, 60), at(secs));
    }
    answer(ledger, 1, 1, &Answer::Accepted, 10);
    ledger.issued(&retry(&newer, 2, 30));
    answer(ledger, 2, 2, &Answer::Accepted, 60);
}

#[test]
fn a_car_has_its_time_to_follow_from_the_acceptance_that_replaces() {
    let mut ledger = one();
    turned_back(&mut ledger);
    assert_eq!(
        counts(&mut ledger, 64, &[64]),
        [160],
        "it may have turned back just now"
    );
    assert_eq!(counts(&mut ledger, 65, &[65]), [60]);
}

#[test]
fn what_a_meter_showed_before_the_acceptance_that_replaces_shows_nothing() {
    let mut metered = evse(0);
    metered.metered = true;
    let (_, mut ledger) = ledger_of(spec(vec![metered]));
    turned_back(&mut ledger);
    assert_eq!(
        counts(&mut ledger, 70, &[70]),
        [160],
        "it followed the older one in between"
    );
    ledger.metered(&drawing(0, 71, 60), at(71));
    assert_eq!(counts(&mut ledger, 71, &[71]), [60]);
}

#[test]
fn a_reading_that_says_nothing_of_the_ceiling_confirms_nothing() {
    let mut metered = evse(0);
    metered.metered = true;
    metered.connectors[0].wiring = Wiring::Star(Phase::ALL.to_vec());
    let (_, mut ledger) = ledger_of(spec(vec![metered]));
    ledger.issued(&set(0, 1, 0, 160, 0));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 1);
    ledger.issued(&set(0, 2, 10, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 20);
    let reading = |secs: i64, watts: Option<i64>| MeterSample {
        currents: None,
        power: watts.map(Watts::from_watts),
        session_energy: Some(WattSeconds::from_watt_hours(1_000)),
        ..drawing(0, secs, 0)
    };
    ledger.metered(&reading(60, None), at(60));
    assert_eq!(counts(&mut ledger, 60, &[60]), [160], "a counter of energy alone");
    // 16 A on one line are less power than 6 A on three.
    ledger.metered(&reading(61, Some(3_680)), at(61));
    assert_eq!(
        counts(&mut ledger, 61, &[61]),
        [160],
        "power that one line may carry alone"
    );
    ledger.metered(&reading(62, Some(1_300)), at(62));
    assert_eq!(counts(&mut ledger, 62, &[62]), [60]);
}

#[test]
fn a_reading_says_nothing_of_which_is_followed_where_both_allow_it() {
    let mut metered = evse(0);
    metered.metered = true;
    let (_, mut ledger) = ledger_of(spec(vec![metered]));
    let profile = |revision, sent, points: &[(i64, i64)]| {
        let rates = rates(points);
        let profile = ChargingProfile::cut(RateUnit::DeciAmpere, &rates, at(sent), at(sent + 900), Rate::ZERO);
        command(0, revision, sent, Instruction::Set(profile))
    };
    ledger.issued(&profile(1, 0, &[(0, 60), (500, 160)]));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 1);
    ledger.issued(&profile(2, 10, &[(10, 60), (500, 80)]));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 11);
    ledger.metered(&drawing(0, 100, 60), at(100));
    assert_eq!(
        counts(&mut ledger, 100, &[100, 600]),
        [60, 160],
        "it may have accepted the second and follow the first"
    );
    ledger.metered(&drawing(0, 510, 80), at(510));
    assert_eq!(counts(&mut ledger, 510, &[600]), [80]);
}

#[test]
fn a_reading_shows_nothing_of_a_profile_that_by_some_clock_allowed_no_more() {
    let mut metered = evse(0);
    metered.metered = true;
    let (_, mut ledger) = ledger_of(spec(vec![metered]));
    let rising = ChargingProfile::cut(
        RateUnit::DeciAmpere,
        &rates(&[(0, 0), (100, 160)]),
        at(0),
        at(900),
        Rate::ZERO,
    );
    ledger.issued(&command(0, 1, 0, Instruction::Set(rising)));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 1);
    ledger.issued(&set(0, 2, 10, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 11);
    // From 95 on the first may allow 16 A, and has to from 105 on.
    for secs in [94, 96, 104] {
        ledger.metered(&drawing(0, secs, 0), at(secs));
        assert_eq!(counts(&mut ledger, secs, &[200]), [160], "at {secs}");
    }
    ledger.metered(&drawing(0, 105, 0), at(105));
    assert_eq!(counts(&mut ledger, 105, &[200]), [60]);
}

#[test]
fn a_reading_shows_nothing_of_revisions_that_became_one_until_one_of_them_is_over() {
    let mut metered = evse(0);
    metered.metered = true;
    let (_, mut ledger) = ledger_of(spec(vec![metered]));
    let profile = |revision, points: &[(i64, i64)], lease_end| {
        let profile = ChargingProfile::cut(RateUnit::DeciAmpere, &rates(points), at(0), at(lease_end), Rate::ZERO);
        command(0, revision, 0, Instruction::Set(profile))
    };
    // The oldest two become one. The station follows the second of them, and takes the others without effect.
    ledger.issued(&profile(1, &[(0, 320)], 300));
    ledger.issued(&profile(2, &[(0, 100), (200, 250)], 900));
    for revision in 3..=8 {
        ledger.issued(&profile(revision, &[(0, 120)], 900));
    }
    for revision in 1..=8 {
        answer(&mut ledger, revision, 1, &Answer::Accepted, 1);
    }
    ledger.issued(&set(0, 9, 2, 120, 0));
    answer(&mut ledger, 9, 1, &Answer::Accepted, 3);
    ledger.metered(&drawing(0, 20, 100), at(20));
    assert_eq!(counts(&mut ledger, 20, &[20, 299, 400]), [320, 320, 250]);
    // The first is over, so what is shown is shown of the second.
    ledger.metered(&drawing(0, 400, 120), at(400));
    assert_eq!(counts(&mut ledger, 400, &[400]), [120]);
}

#[test]
fn a_reading_from_the_future_is_one_of_now() {
    let mut metered = evse(0);
    metered.metered = true;
    let (_, mut ledger) = ledger_of(spec(vec![metered]));
    ledger.issued(&set(0, 1, 0, 160, 0));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 1);
    ledger.issued(&set(0, 2, 10, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 20);
    ledger.metered(&drawing(0, 300, 60), at(21));
    assert_eq!(counts(&mut ledger, 26, &[26]), [160], "the car had no time to follow");
    ledger.metered(&drawing(0, 26, 60), at(26));
    assert_eq!(counts(&mut ledger, 26, &[26]), [60]);
}

#[test]
fn where_no_meter_is_and_answers_are_not_trusted_only_time_frees_room() {
    let mut spec = spec(vec![evse(0)]);
    spec.trust_unmetered = false;
    let (_, mut ledger) = ledger_of(spec);
    ledger.issued(&set(0, 1, 0, 160, 0));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 1);
    ledger.issued(&set(0, 2, 100, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 101);
    assert_eq!(counts(&mut ledger, 800, &[800, 906, 1_100]), [160, 60, 0]);
    assert_eq!(counts(&mut ledger, 906, &[906, 1_100]), [60, 0]);
}

#[test]
fn an_evse_that_draws_more_than_it_can_have_been_told_is_reserved_at_its_maximum() {
    let mut ledger = one();
    ledger.issued(&set(0, 1, 0, 100, 0));
    ledger.metered(&drawing(0, 10, 109), at(10));
    assert_eq!(ledger.trust(&evse_id(0)), Trust::Unknown, "within tolerance");
    ledger.metered(&drawing(0, 20, 120), at(20));
    assert_eq!(ledger.trust(&evse_id(0)), Trust::Disobeys);
    assert_eq!(counts(&mut ledger, 20, &[20, 5_000]), [320, 320]);
    ledger.metered(&drawing(0, 30, 90), at(30));
    assert_eq!(ledger.trust(&evse_id(0)), Trust::Disobeys, "for one reading only");
    ledger.metered(&drawing(0, 36, 0), at(36));
    assert_eq!(ledger.trust(&evse_id(0)), Trust::Obeys);
    assert_eq!(
        counts(&mut ledger, 36, &[36, 5_000]),
        [100, 0],
        "a low draw alone frees nothing"
    );
}

#[test]
fn a_reading_that_comes_late_is_held_against_what_was_allowed_then() {
    let mut ledger = one();
    ledger.issued(&set(0, 1, 0, 160, 0));
    ledger.forget_expired(at(906));
    ledger.metered(&drawing(0, 899, 160), at(907));
    assert_eq!(ledger.trust(&evse_id(0)), Trust::Unknown);
    ledger.metered(&drawing(0, 912, 160), at(912));
    assert_eq!(ledger.trust(&evse_id(0)), Trust::Disobeys);
}

/// A tail of 6 A, and after its lease an accepted profile of `rate` from 920 on.
fn tail_replaced_by(rate: i64) -> Ledger {
    let mut metered = evse(0);
    metered.metered = true;
    let (_, mut ledger) = ledger_of(spec(vec![metered]));
    ledger.gateway_connected(&gateway_id(), true, at(0));
    ledger.issued(&set(0, 1, 0, 100, 60));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 1);
    ledger.issued(&set(0, 2, 920, rate, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 921);
    ledger
}

#[test]
fn a_tail_counts_until_a_meter_shows_that_it_was_left() {
    let mut ledger = tail_replaced_by(0);
    assert_eq!(
        counts(&mut ledger, 1_000, &[1_000]),
        [60],
        "it may have accepted without effect"
    );
    ledger.metered(&drawing(0, 1_000, 0), at(1_000));
    assert_eq!(counts(&mut ledger, 1_000, &[1_000]), [0]);
}

#[test]
fn a_draw_that_a_tail_does_not_allow_shows_that_it_was_left() {
    let mut ledger = tail_replaced_by(160);
    ledger.metered(&drawing(0, 1_000, 60), at(1_000));
    assert_eq!(counts(&mut ledger, 1_000, &[1_900]), [60], "both allow as much");
    ledger.metered(&drawing(0, 1_060, 120), at(1_060));
    assert_eq!(counts(&mut ledger, 1_060, &[1_900]), [0]);
}
