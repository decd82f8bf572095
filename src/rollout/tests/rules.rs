//! The ledger's rules, one by one: what counts, for how long, and what frees it.

use super::build::*;
use crate::domain::conversion::{Phase, Rate, Wiring};
use crate::domain::ids::{ConnectorId, GatewayId};
use crate::domain::profile::{Answer, Instruction, ProfileCommand, Revision};
use crate::domain::site::{Site, SiteSpec};
use crate::rollout::ledger::Link;
use crate::rollout::{Ledger, MAX_OPEN_ENTRIES, Trust};
use crate::units::Watts;

pub fn ledger_of(spec: SiteSpec) -> (Site, Ledger) {
    let site = site(spec);
    let ledger = Ledger::new(&site);
    (site, ledger)
}

pub fn one() -> Ledger {
    ledger_of(spec(vec![evse(0)])).1
}

pub fn answer(ledger: &mut Ledger, revision: u64, attempt: u32, answer: &Answer, secs: i64) {
    ledger
        .answered(&evse_id(0), Revision::new(revision), attempt, answer, at(secs))
        .unwrap();
}

/// What counts in L1 at the grid connection at each of `times`, as the ledger sees it at `now`.
pub fn counts(ledger: &mut Ledger, now: i64, times: &[i64]) -> Vec<i64> {
    ledger.forget_expired(at(now));
    let worst = ledger.worst_case(0, at(now));
    times.iter().map(|secs| line_1(&worst, *secs)).collect()
}

#[test]
fn what_was_sent_counts_from_before_it_starts_until_its_lease_is_over_by_any_clock() {
    let mut ledger = one();
    ledger.issued(&set(0, 1, 0, 160, 0));
    assert_eq!(counts(&mut ledger, 0, &[0, 899, 904, 905]), [160, 160, 160, 0]);
    assert_eq!(counts(&mut ledger, 906, &[906, 9_000]), [0, 0]);
    assert_eq!(ledger.last_revision(&evse_id(0)), Revision::new(1));
}

#[test]
fn a_tail_counts_for_ever_unless_the_evse_does_as_much_by_itself() {
    let mut ledger = one();
    ledger.issued(&set(0, 1, 0, 160, 60));
    assert_eq!(counts(&mut ledger, 1_000_000, &[1_000_000]), [60]);
    let mut at_minimum = evse(0);
    at_minimum.connectors[0].default = Some(Rate::new(60));
    let (_, mut ledger) = ledger_of(spec(vec![at_minimum]));
    ledger.issued(&set(0, 1, 0, 160, 60));
    assert_eq!(counts(&mut ledger, 0, &[0, 2_000]), [160, 60]);
}

#[test]
fn forwarding_and_waiting_resolve_nothing() {
    let mut ledger = one();
    ledger.issued(&set(0, 1, 0, 160, 0));
    answer(&mut ledger, 1, 1, &Answer::Forwarded, 1);
    ledger.issued(&set(0, 2, 10, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 11);
    assert_eq!(counts(&mut ledger, 300, &[300]), [160]);
    assert_eq!(ledger.open_attempts(&evse_id(0)), 1);
}

#[test]
fn without_a_fence_an_acceptance_frees_only_what_was_resolved_before_it_was_sent() {
    let mut ledger = one();
    ledger.issued(&set(0, 1, 0, 160, 0));
    ledger.issued(&set(0, 2, 10, 60, 0));
    // The answers may come in another order than the effects.
    answer(&mut ledger, 2, 1, &Answer::Accepted, 11);
    answer(&mut ledger, 1, 1, &Answer::Accepted, 12);
    assert_eq!(counts(&mut ledger, 100, &[100]), [160]);
    ledger.issued(&set(0, 3, 100, 60, 0));
    answer(&mut ledger, 3, 1, &Answer::Accepted, 101);
    assert_eq!(
        counts(&mut ledger, 105, &[105]),
        [160],
        "the car has the settling time to follow"
    );
    assert_eq!(counts(&mut ledger, 106, &[106]), [60]);
}

#[test]
fn a_second_transmission_stays_open_when_the_first_is_answered() {
    let mut ledger = one();
    let first = set(0, 1, 0, 160, 0);
    ledger.issued(&first);
    ledger.issued(&retry(&first, 2, 5));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 6);
    ledger.issued(&set(0, 2, 10, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 11);
    assert_eq!(counts(&mut ledger, 100, &[100]), [160]);
}

#[test]
fn with_a_durable_fence_an_acceptance_frees_all_that_was_sent_through_it() {
    let mut ledger = one();
    ledger.gateway_connected(&gateway_id(), true, at(0));
    ledger.issued(&set(0, 1, 0, 160, 0));
    ledger.issued(&set(0, 2, 10, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 11);
    assert_eq!(counts(&mut ledger, 16, &[16]), [60]);

    let mut ledger = one();
    ledger.issued(&set(0, 1, 0, 160, 0));
    ledger.gateway_connected(&gateway_id(), true, at(5));
    ledger.issued(&set(0, 2, 10, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 11);
    assert_eq!(counts(&mut ledger, 100, &[100]), [160], "the first went another way");
}

#[test]
fn a_refused_revision_counts_while_any_transmission_of_it_may_have_effect() {
    let mut ledger = one();
    let first = set(0, 1, 0, 160, 0);
    ledger.issued(&first);
    ledger.issued(&retry(&first, 2, 30));
    answer(&mut ledger, 1, 2, &rejected(), 31);
    assert_eq!(counts(&mut ledger, 31, &[31]), [160], "the first is still open");
    answer(&mut ledger, 1, 1, &rejected(), 40);
    assert_eq!(counts(&mut ledger, 40, &[40]), [0]);

    let mut ledger = one();
    ledger.issued(&first);
    ledger.issued(&retry(&first, 2, 30));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 31);
    answer(&mut ledger, 1, 2, &rejected(), 32);
    assert_eq!(
        counts(&mut ledger, 100, &[100]),
        [160],
        "a refused copy does not undo an accepted one"
    );
}

#[test]
fn answers_that_contradict_each_other_count_as_the_worst() {
    let mut ledger = one();
    ledger.issued(&set(0, 1, 0, 160, 0));
    answer(&mut ledger, 1, 1, &rejected(), 1);
    answer(&mut ledger, 1, 1, &rejected(), 2);
    assert_eq!(counts(&mut ledger, 2, &[2]), [0]);
    answer(&mut ledger, 1, 1, &Answer::Accepted, 3);
    assert_eq!(counts(&mut ledger, 3, &[3]), [160]);
    ledger.issued(&set(0, 2, 10, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 11);
    assert_eq!(
        counts(&mut ledger, 100, &[100]),
        [160],
        "nobody knows what the first did"
    );
    answer(&mut ledger, 2, 1, &rejected(), 101);
    assert_eq!(
        counts(&mut ledger, 101, &[101, 1_005, 1_100]),
        [320, 320, 0],
        "an acceptance taken back: anything, for a lease"
    );
}

#[test]
fn answers_to_what_was_never_sent_are_told_and_change_nothing() {
    let mut ledger = one();
    ledger.issued(&set(0, 1, 0, 160, 0));
    let before = ledger.worst_cases(at(0));
    for (evse, revision, attempt) in [(9, 1, 1), (0, 2, 1), (0, 0, 1), (0, 1, 2), (0, 1, 0), (0, u64::MAX, 1)] {
        let refused = ledger.answered(
            &evse_id(evse),
            Revision::new(revision),
            attempt,
            &Answer::Accepted,
            at(1),
        );
        assert!(refused.is_err(), "e{evse} {revision} {attempt}");
    }
    assert_eq!(ledger.worst_cases(at(0)), before);
    // Long forgotten, but sent.
    for revision in 2..5 {
        ledger.issued(&set(0, revision, revision as i64 * 2_000, 60, 0));
    }
    ledger.forget_expired(at(20_000));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 20_000);
}

#[test]
fn a_fence_that_refuses_says_what_is_not_followed_any_more_and_the_car_has_its_time() {
    let mut ledger = one();
    ledger.gateway_connected(&gateway_id(), true, at(0));
    ledger.issued(&set(0, 1, 0, 160, 0));
    // Of a copy, after a newer revision had replaced what the first had brought. The answer to that one is still under way.
    answer(&mut ledger, 1, 1, &rejected(), 10);
    assert_eq!(counts(&mut ledger, 14, &[14]), [160]);
    assert_eq!(counts(&mut ledger, 15, &[15]), [0]);
}

#[test]
fn defaults_count_always_and_unknown_ones_as_the_maximum() {
    let with_default = |number, default: Option<i64>| {
        let mut evse = evse(number);
        evse.connectors[0].default = default.map(Rate::new);
        evse
    };
    let mut uncontrollable = evse(3);
    uncontrollable.controllable = false;
    let mut two_plugs = evse(4);
    let mut other = two_plugs.connectors[0].clone();
    other.id = crate::domain::ids::ConnectorId::parse("2").unwrap();
    other.default = Some(Rate::new(70));
    two_plugs.connectors.push(other);
    let evses = vec![
        with_default(0, Some(0)),
        with_default(1, Some(60)),
        with_default(2, None),
        uncontrollable,
        two_plugs,
    ];
    let (_, ledger) = ledger_of(spec(evses));
    let held = |number: usize| line_1(&ledger.held(&evse_id(number), at(0)), 0);
    assert_eq!([0, 1, 2, 3, 4, 9].map(held), [0, 60, 320, 320, 70, 0]);
    assert_eq!(line_1(&ledger.worst_case(0, at(0)), 0), 60 + 320 + 320 + 70);
    assert_eq!(ledger.ceiling_now(&evse_id(1), at(0)), Rate::new(60));
}

#[test]
fn handing_back_counts_as_the_maximum_until_surely_taken_back() {
    let mut ledger = one();
    ledger.issued(&command(0, 1, 0, Instruction::Clear));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 1);
    assert_eq!(counts(&mut ledger, 100_000, &[100_000]), [320]);
    assert_eq!(ledger.ceiling_now(&evse_id(0), at(5)), Rate::new(320));
    ledger.issued(&set(0, 2, 100_000, 60, 0));
    assert_eq!(counts(&mut ledger, 100_000, &[100_000]), [320]);
    answer(&mut ledger, 2, 1, &Answer::Accepted, 100_001);
    assert_eq!(counts(&mut ledger, 100_006, &[100_006]), [60]);
}

#[test]
fn what_an_ended_session_was_told_counts_until_it_is_over_or_surely_replaced() {
    let mut ledger = one();
    ledger.session_started(&evse_id(0), &session_id(0), at(0));
    ledger.issued(&set(0, 1, 0, 160, 60));
    ledger.session_ended(&evse_id(0), &session_id(0), at(50));
    assert_eq!(counts(&mut ledger, 50, &[50, 2_000]), [160, 60]);
    ledger.session_started(&evse_id(0), &session_id(7), at(60));
    assert_eq!(
        ledger.ceiling_now(&evse_id(0), at(60)),
        Rate::ZERO,
        "a new session begins at the default"
    );
    let of_next = |revision, sent, rate| ProfileCommand {
        session: session_id(7),
        ..set(0, revision, sent, rate, 0)
    };
    ledger.issued(&of_next(2, 60, 100));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 62);
    assert_eq!(
        counts(&mut ledger, 67, &[67, 2_000]),
        [160, 60],
        "the profile for the car before may still be on its way, and reach this one"
    );
    answer(&mut ledger, 1, 1, &rejected(), 70);
    ledger.issued(&of_next(3, 71, 80));
    answer(&mut ledger, 3, 1, &Answer::Accepted, 72);
    assert_eq!(counts(&mut ledger, 77, &[77, 2_000]), [80, 0]);
}

#[test]
fn what_was_told_one_car_counts_as_any_cars_once_another_is_there() {
    let mut three_phase = evse(0);
    three_phase.connectors[0].wiring = Wiring::Star(Phase::ALL.to_vec());
    let (_, mut ledger) = ledger_of(spec(vec![three_phase]));
    ledger.session_started(&evse_id(0), &session_id(0), at(0));
    ledger.car_described(&evse_id(0), &session_id(0), Some(3), at(0));
    ledger.issued(&set(0, 1, 0, 160, 0));
    let alone = |ledger: &Ledger| ledger.worst_case(0, at(1)).at(at(100)).uneven[0].deciamps();
    assert_eq!(alone(&ledger), 0, "it draws evenly");
    ledger.session_started(&evse_id(0), &session_id(7), at(50));
    assert_eq!(alone(&ledger), 160);
}

#[test]
fn another_gateway_frees_nothing_that_went_through_the_one_before() {
    let mut ledger = one();
    ledger.gateway_connected(&gateway_id(), true, at(0));
    ledger.issued(&set(0, 1, 0, 160, 0));
    let mut elsewhere = spec(vec![evse(0)]);
    let other = GatewayId::parse("other").unwrap();
    elsewhere.gateway = Some(other.clone());
    ledger.site_changed(&site(elsewhere), at(5));
    ledger.gateway_connected(&other, true, at(6));
    ledger.issued(&set(0, 2, 10, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 11);
    assert_eq!(counts(&mut ledger, 100, &[100]), [160]);
}

#[test]
fn what_a_gateway_says_that_the_site_has_no_more_means_nothing() {
    let mut ledger = one();
    ledger.gateway_connected(&GatewayId::parse("former").unwrap(), true, at(0));
    ledger.issued(&set(0, 1, 0, 160, 0));
    ledger.issued(&set(0, 2, 10, 60, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 11);
    assert_eq!(counts(&mut ledger, 100, &[100]), [160], "its fence is not the site's");
    ledger.gateway_connected(&gateway_id(), true, at(100));
    ledger.gateway_disconnected(&GatewayId::parse("former").unwrap());
    assert!(matches!(ledger.link(), Link::Up { .. }));
}

#[test]
fn what_is_on_its_way_is_not_followed_yet() {
    let mut ledger = one();
    ledger.gateway_connected(&gateway_id(), true, at(0));
    ledger.issued(&set(0, 1, 0, 160, 0));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 1);
    ledger.issued(&set(0, 2, 10, 60, 0));
    ledger.on_its_way(&evse_id(0), Revision::new(2), at(20));
    assert_eq!(counts(&mut ledger, 100, &[100]), [160], "the station may refuse it");
    answer(&mut ledger, 2, 1, &rejected(), 101);
    ledger.on_its_way(&evse_id(0), Revision::new(2), at(110));
    assert_eq!(counts(&mut ledger, 110, &[110]), [320], "which of the two is true?");
}

#[test]
fn what_is_on_its_way_from_before_the_store_was_lost_may_be_anything() {
    let (site, _) = ledger_of(spec(vec![evse(0)]));
    let mut ledger = Ledger::unknown(&site, at(0));
    ledger.on_its_way(&evse_id(0), Revision::new(7), at(10));
    ledger.gateway_connected(&gateway_id(), true, at(10));
    assert_eq!(
        counts(&mut ledger, 10, &[10, 914, 2_000]),
        [320, 320, 60],
        "for one lease, and then its tail"
    );
}

#[test]
fn open_revisions_are_bounded_and_together_never_count_less() {
    let mut ledger = one();
    for revision in 1..=40 {
        ledger.issued(&set(
            0,
            revision,
            revision as i64,
            if revision == 3 { 320 } else { 100 },
            0,
        ));
        let open = ledger.record(&evse_id(0)).unwrap().entries().len();
        assert!(open <= MAX_OPEN_ENTRIES, "{open} entries");
    }
    assert_eq!(counts(&mut ledger, 50, &[50, 895, 2_000]), [320, 320, 0]);
    for revision in 35..=40 {
        answer(&mut ledger, revision, 1, &Answer::Accepted, 60);
    }
    ledger.issued(&set(0, 41, 70, 60, 0));
    answer(&mut ledger, 41, 1, &Answer::Accepted, 71);
    assert_eq!(
        counts(&mut ledger, 100, &[100]),
        [320],
        "what was merged had transmissions without an answer"
    );
}

#[test]
fn lost_tails_do_not_pile_up() {
    let mut ledger = one();
    for revision in 1..=40 {
        ledger.forget_expired(at(revision as i64 * 450));
        ledger.issued(&set(0, revision, revision as i64 * 450, 160, 60));
    }
    let open = ledger.record(&evse_id(0)).unwrap().entries().len();
    assert!(open <= 4, "{open} entries");
    assert_eq!(counts(&mut ledger, 40 * 450, &[40 * 450, 1_000_000]), [160, 60]);
}

#[test]
fn a_lost_store_means_anything_for_one_lease() {
    let site = site(spec(vec![evse(0)]));
    let mut ledger = Ledger::unknown(&site, at(0));
    assert_eq!(counts(&mut ledger, 0, &[0, 904, 905]), [320, 320, 0]);
    // What is sent now cannot be mistaken for what was sent then.
    assert!(ledger.last_revision(&evse_id(0)) > Revision::new(1_000));
    assert_eq!(ledger.history(), None, "no list of events says this");
    ledger.forget_expired(at(906));
    let events = ledger.history().unwrap();
    let mut again = Ledger::new(&site);
    events.iter().for_each(|(at, event)| again.tell(event, *at));
    assert_eq!(again.last_revision(&evse_id(0)), ledger.last_revision(&evse_id(0)));
}

#[test]
fn a_revision_that_we_never_sent_means_anything_for_one_lease() {
    let mut ledger = one();
    ledger.active_reported(&evse_id(0), Some(Revision::new(50)), at(0));
    assert_eq!(ledger.last_revision(&evse_id(0)), Revision::new(50));
    assert_eq!(counts(&mut ledger, 0, &[0, 905]), [320, 0]);
    ledger.active_reported(&evse_id(0), Some(Revision::new(u64::MAX)), at(1));
    assert_eq!(ledger.last_revision(&evse_id(0)), Revision::new(50), "nonsense");
    ledger.active_reported(&evse_id(9), Some(Revision::new(1)), at(1));
    ledger.active_reported(&evse_id(0), Some(Revision::NONE), at(1));
}

#[test]
fn being_seen_at_work_is_as_good_as_an_acceptance() {
    let mut ledger = one();
    ledger.issued(&set(0, 1, 0, 160, 0));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 1);
    ledger.issued(&set(0, 2, 10, 60, 0));
    ledger.active_reported(&evse_id(0), Some(Revision::new(2)), at(20));
    assert_eq!(counts(&mut ledger, 25, &[25]), [60]);
}

#[test]
fn an_evse_taken_out_of_the_site_keeps_its_reservation_until_it_is_over() {
    let mut old = spec(vec![evse(0), evse(1)]);
    let (_, mut ledger) = ledger_of(old.clone());
    ledger.issued(&set(0, 1, 0, 160, 0));
    old.stations.remove(0);
    let smaller = site(old);
    ledger.site_changed(&smaller, at(10));
    assert_eq!(ledger.history(), None, "a journal cut here would forget it");
    assert_eq!(counts(&mut ledger, 10, &[10, 899, 906]), [160, 160, 0]);
    answer(&mut ledger, 1, 1, &Answer::Accepted, 20);
    ledger.forget_expired(at(910));
    assert!(ledger.history().is_some());
    let (bigger, _) = ledger_of(spec(vec![evse(0), evse(1)]));
    ledger.site_changed(&bigger, at(920));
    assert_eq!(
        ledger.last_revision(&evse_id(0)),
        Revision::new(1),
        "its revisions go on when it comes back"
    );
}

#[test]
fn a_new_description_counts_for_what_was_already_sent() {
    let (_, mut ledger) = ledger_of(spec(vec![evse(0)]));
    ledger.issued(&set(0, 1, 0, 160, 0));
    let mut slower = spec(vec![evse(0)]);
    slower.clock_skew = crate::units::Seconds::from_secs(60);
    slower.stations[0].evses[0].connectors[0].default = Some(Rate::new(60));
    ledger.site_changed(&site(slower), at(10));
    assert_eq!(counts(&mut ledger, 10, &[10, 950, 970]), [160, 160, 60]);
}

#[test]
fn rates_that_the_site_counts_in_another_unit_now_may_be_anything() {
    let (_, mut ledger) = ledger_of(spec(vec![evse(0)]));
    ledger.issued(&set(0, 1, 0, 60, 0));
    let mut direct = spec(vec![evse(0)]);
    let connector = &mut direct.stations[0].evses[0].connectors[0];
    connector.wiring = Wiring::Dc {
        efficiency_percent: 100,
        standby: Watts::ZERO,
    };
    connector.maximum = Rate::new(6_900);
    let site = site(direct);
    ledger.site_changed(&site, at(10));
    let all = site.evse(&evse_id(0)).unwrap().maximum_load().line_currents()[0];
    assert_eq!(counts(&mut ledger, 10, &[10]), [all.deciamps()], "6 A are not 60 W");
}

#[test]
fn what_was_sent_for_a_connector_that_is_gone_may_be_anything_also_after_a_restart() {
    let (_, mut ledger) = ledger_of(spec(vec![evse(0)]));
    ledger.issued(&set(0, 1, 0, 160, 0));
    let mut renamed = spec(vec![evse(0)]);
    renamed.stations[0].evses[0].connectors[0].id = ConnectorId::parse("2").unwrap();
    let renamed = site(renamed);
    ledger.site_changed(&renamed, at(10));
    let mut again = Ledger::new(&renamed);
    for (at, event) in ledger.history().unwrap() {
        again.tell(&event, at);
    }
    for ledger in [&mut ledger, &mut again] {
        assert_eq!(counts(ledger, 20, &[20]), [320]);
    }
}

#[test]
fn an_evse_that_left_the_site_disobeying_may_do_anything_for_one_lease_more() {
    let mut disobeying = evse(1);
    disobeying.metered = true;
    let (_, mut ledger) = ledger_of(spec(vec![evse(0), disobeying]));
    ledger.metered(&drawing(1, 10, 200), at(10));
    assert_eq!(counts(&mut ledger, 10, &[10, 50_000]), [320, 320]);
    ledger.site_changed(&site(spec(vec![evse(0)])), at(20));
    assert_eq!(counts(&mut ledger, 20, &[20, 924, 926]), [320, 320, 0]);
    assert_eq!(counts(&mut ledger, 930, &[930]), [0]);
    assert!(ledger.history().is_some(), "the journal may be cut again");
}

#[test]
fn a_hello_wipes_nothing_that_a_station_has_said_of_a_lost_store() {
    let (site, _) = ledger_of(spec(vec![evse(0), evse(1)]));
    let mut ledger = Ledger::unknown(&site, at(0));
    ledger.active_reported(&evse_id(0), Some(Revision::new(at(0).unix_secs() as u64 + 5)), at(10));
    ledger.gateway_connected(&gateway_id(), true, at(10));
    assert_eq!(
        counts(&mut ledger, 10, &[10]),
        [320],
        "of the first something is under way, of the second nothing"
    );
}

#[test]
fn the_tail_of_what_a_lost_store_had_sent_counts_until_it_is_surely_replaced() {
    let (site, _) = ledger_of(spec(vec![evse(0)]));
    let mut ledger = Ledger::unknown(&site, at(0));
    let lost = Revision::new(at(0).unix_secs() as u64 + 5);
    ledger.active_reported(&evse_id(0), Some(lost), at(10));
    ledger.gateway_connected(&gateway_id(), true, at(10));
    assert_eq!(
        counts(&mut ledger, 2_000, &[2_000]),
        [60],
        "its lease is over, but not its tail"
    );
    ledger.issued(&set(0, lost.number() + 1, 2_000, 0, 0));
    answer(&mut ledger, lost.number() + 1, 1, &Answer::Accepted, 2_001);
    assert_eq!(counts(&mut ledger, 2_006, &[2_006]), [0]);
}

#[test]
fn a_hello_that_names_what_a_lost_store_had_sent_puts_its_tail_in_doubt() {
    let (site, _) = ledger_of(spec(vec![evse(0)]));
    let mut ledger = Ledger::unknown(&site, at(0));
    // Revisions of the new ledger go on from the unix time, beyond nearly all that was sent before it.
    ledger.active_reported(&evse_id(0), Some(Revision::new(3)), at(10));
    ledger.gateway_connected(&gateway_id(), true, at(10));
    assert_eq!(counts(&mut ledger, 10, &[10, 2_000]), [320, 60]);
    assert_eq!(counts(&mut ledger, 2_000, &[2_000]), [60], "its lease is over");
    let next = ledger.last_revision(&evse_id(0)).number() + 1;
    ledger.issued(&set(0, next, 2_000, 0, 0));
    answer(&mut ledger, next, 1, &Answer::Accepted, 2_001);
    assert_eq!(counts(&mut ledger, 2_006, &[2_006]), [0]);
}

#[test]
fn an_entry_that_cannot_be_read_may_have_been_a_command() {
    let mut ledger = one();
    ledger.issued(&set(0, 1, 0, 160, 0));
    ledger.doubt(at(10));
    assert_eq!(counts(&mut ledger, 10, &[10, 914, 916]), [320, 320, 0]);
    assert!(
        ledger.last_revision(&evse_id(0)).number() >= at(10).unix_secs() as u64,
        "it may have had the next number"
    );
}

#[test]
fn a_history_of_revisions_that_became_one_does_not_run_backwards() {
    let (_, mut ledger) = ledger_of(spec(vec![evse(0), evse(1)]));
    ledger.issued(&set(0, 1, 0, 160, 0));
    ledger.issued(&set(0, 2, 1, 100, 0));
    answer(&mut ledger, 2, 1, &Answer::Accepted, 20);
    ledger.issued(&set(1, 1, 30, 100, 0));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 50);
    for revision in 3..=9 {
        ledger.issued(&set(0, revision, 60, 100, 0));
    }
    let times: Vec<_> = ledger.history().unwrap().iter().map(|(at, _)| *at).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_history_makes_the_same_ledger_again() {
    let (site, mut ledger) = ledger_of(spec(vec![evse(0), evse(1)]));
    ledger.gateway_connected(&gateway_id(), true, at(0));
    ledger.issued(&set(0, 1, 0, 160, 60));
    ledger.issued(&set(1, 1, 0, 100, 0));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 3);
    ledger.gateway_connected(&gateway_id(), false, at(4));
    ledger.issued(&set(0, 2, 10, 120, 0));
    answer(&mut ledger, 2, 1, &rejected(), 11);
    let third = set(0, 3, 12, 60, 0);
    ledger.issued(&third);
    ledger.issued(&retry(&third, 2, 42));
    answer(&mut ledger, 3, 2, &Answer::Forwarded, 43);
    ledger.metered(&drawing(1, 50, 200), at(50));
    ledger.active_reported(&evse_id(1), None, at(60));
    ledger.gateway_disconnected(&gateway_id());
    let mut again = Ledger::new(&site);
    let events = ledger.history().unwrap();
    assert!(
        events.windows(2).all(|pair| pair[0].0 <= pair[1].0),
        "a journal never runs backwards"
    );
    events.iter().for_each(|(at, event)| again.tell(event, *at));
    assert_eq!(again.worst_cases(at(70)), ledger.worst_cases(at(70)));
    assert_eq!(again.trust(&evse_id(1)), Trust::Disobeys);
    assert_eq!(again.open_attempts(&evse_id(0)), ledger.open_attempts(&evse_id(0)));
    assert_eq!(again.history(), Some(events));
    // And what it learns next means the same to both.
    for ledger in [&mut ledger, &mut again] {
        answer(ledger, 3, 1, &Answer::Accepted, 80);
        answer(ledger, 3, 2, &Answer::Accepted, 80);
        ledger.issued(&set(0, 4, 90, 60, 0));
        answer(ledger, 4, 1, &Answer::Accepted, 91);
        assert_eq!(counts(ledger, 96, &[96, 5_000]), [60 + 320, 320]);
    }
}

#[test]
fn a_history_keeps_what_was_contradicted_after_its_lease() {
    let (site, mut ledger) = ledger_of(spec(vec![evse(0)]));
    ledger.gateway_connected(&gateway_id(), true, at(0));
    ledger.issued(&set(0, 1, 0, 160, 60));
    answer(&mut ledger, 1, 1, &Answer::Accepted, 1);
    ledger.issued(&set(0, 2, 10, 60, 0));
    // Of a copy, after the second has replaced what the first had brought; nothing is heard of the second.
    answer(&mut ledger, 1, 1, &rejected(), 1_000);
    assert_eq!(
        counts(&mut ledger, 3_000, &[3_000]),
        [60],
        "nobody knows what became of its tail"
    );
    let mut again = Ledger::new(&site);
    let events = ledger.history().unwrap();
    events.iter().for_each(|(at, event)| again.tell(event, *at));
    assert_eq!(counts(&mut again, 3_000, &[3_000]), [60]);
    assert_eq!(again.history(), Some(events));
}
