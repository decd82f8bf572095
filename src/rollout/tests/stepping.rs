//! What a step sends, when, and with what content.

use super::build::*;
use super::world::World;
use crate::domain::conversion::{Phase, Rate, Wiring};
use crate::domain::ids::ConnectorId;
use crate::domain::limits::{Capacity, FixedLimits};
use crate::domain::plan::Note;
use crate::domain::profile::{Answer, Attempt, Cause, Instruction, ProfileCommand, Revision};
use crate::domain::site::{Site, SiteSpec};
use crate::domain::timeline::Timeline;
use crate::rollout::{Decision, Ledger, MAX_OPEN_ENTRIES, Room, TailWish, Target, Wish, step};
use crate::units::{DeciAmps, Instant, Seconds};

/// A service whose gateway answers when the test says so.
pub struct Desk {
    pub site: Site,
    pub ledger: Ledger,
    pub available: Vec<Timeline<Capacity>>,
}

impl Desk {
    /// `count` EVSEs behind `deciamps` per line.
    pub fn new(count: usize, deciamps: i64) -> Self {
        Self::of(spec((0..count).map(evse).collect()), deciamps)
    }

    pub fn of(spec: SiteSpec, deciamps: i64) -> Self {
        let site = site(spec);
        Self {
            ledger: Ledger::new(&site),
            available: room_of(&site, deciamps),
            site,
        }
    }

    pub fn ask(&mut self, now: i64, targets: &[Target]) -> Decision {
        self.ledger.forget_expired(at(now));
        let room = Room {
            site: &self.site,
            available: &self.available,
        };
        step(&self.ledger, &room, at(now), targets)
    }

    /// Asks, and records what is to be sent.
    pub fn send(&mut self, now: i64, targets: &[Target]) -> Vec<ProfileCommand> {
        let commands = self.ask(now, targets).commands;
        commands.iter().for_each(|command| self.ledger.issued(command));
        commands
    }

    pub fn accept(&mut self, commands: &[ProfileCommand], now: i64) {
        for command in commands {
            self.ledger
                .answered(
                    &command.evse,
                    command.revision,
                    command.attempt,
                    &Answer::Accepted,
                    at(now),
                )
                .unwrap();
        }
    }

    pub fn refuse(&mut self, command: &ProfileCommand, now: i64) {
        self.ledger
            .answered(&command.evse, command.revision, command.attempt, &rejected(), at(now))
            .unwrap();
    }
}

#[test]
fn a_car_at_a_three_phase_connector_is_balanced_only_if_it_is_said_to_be() {
    let mut three_phase = evse(0);
    three_phase.connectors[0].wiring = Wiring::Star(Phase::ALL.to_vec());
    let mut desk = Desk::of(spec(vec![three_phase]), 400);
    let unbalance = FixedLimits {
        unbalance: Some(DeciAmps::from_deciamps(100)),
        primary: None,
    };
    desk.available[0] = Timeline::constant(amperes(400).with_fixed(&unbalance));
    let car = |desk: &mut Desk, phases: Option<u8>, now: i64| {
        desk.ledger.car_described(&evse_id(0), &session_id(0), phases, at(now));
    };
    let uneven = |desk: &Desk, now: i64| desk.ledger.worst_case(0, at(now)).at(at(now)).uneven[0].deciamps();
    let wish = [target(0, &[(0, 160)])];
    let sent = desk.send(0, &wish);
    assert_eq!(first_rates(&sent), [("e0".to_owned(), 100)]);
    desk.accept(&sent, 1);
    car(&mut desk, Some(3), 10);
    // What was sent while nobody knew counts as it did.
    assert_eq!(uneven(&desk, 10), 100);
    let sent = desk.send(10, &wish);
    assert_eq!(first_rates(&sent), [("e0".to_owned(), 160)]);
    assert_eq!(uneven(&desk, 10), 100);
    // Someone was wrong: from now on it counts. What it was told stands until the plan says less.
    car(&mut desk, Some(1), 20);
    assert_eq!(uneven(&desk, 20), 160);
    assert_eq!(desk.send(20, &wish), []);
    let less = desk.send(21, &[target(0, &[(0, 100)])]);
    assert_eq!(first_rates(&less), [("e0".to_owned(), 100)]);
}

#[test]
fn what_one_car_is_said_to_be_says_nothing_of_another_at_the_same_evse() {
    let mut three_phase = evse(0);
    three_phase.connectors[0].wiring = Wiring::Star(Phase::ALL.to_vec());
    let mut ledger = Ledger::new(&site(spec(vec![three_phase])));
    let uneven = |ledger: &Ledger, now: i64| ledger.worst_case(0, at(now)).at(at(now)).uneven[0].deciamps();
    let of_the_next = |revision: u64| ProfileCommand {
        session: session_id(7),
        ..set(0, revision, 0, 200, 60)
    };
    ledger.car_described(&evse_id(0), &session_id(7), Some(3), at(0));
    ledger.issued(&set(0, 1, 0, 100, 60));
    assert_eq!(uneven(&ledger, 0), 100);
    ledger.issued(&of_the_next(2));
    ledger.issued(&of_the_next(3));
    assert_eq!(uneven(&ledger, 0), 100);
    // Once their leases are over, two tails are counted as one: what is not known of either is not known of both.
    ledger.forget_expired(at(2_000));
    assert_eq!(ledger.record(&evse_id(0)).unwrap().entries().len(), 2);
    assert_eq!(uneven(&ledger, 2_000), 60);
}

#[test]
fn an_evse_is_handed_back_only_if_any_of_its_connectors_may_run_at_its_maximum() {
    let mut two_plugs = evse(0);
    let mut other = two_plugs.connectors[0].clone();
    other.id = ConnectorId::parse("2").unwrap();
    other.wiring = Wiring::Star(vec![Phase::L2]);
    two_plugs.connectors.push(other);
    let mut desk = Desk::of(spec(vec![two_plugs]), 400);
    let handed_back = Target {
        wish: Wish::HandBack,
        ..target(0, &[(0, 0)])
    };
    let mut only_line_1 = amperes(400);
    only_line_1.line[1] = Some(DeciAmps::from_deciamps(100));
    desk.available[0] = Timeline::constant(only_line_1);
    assert_eq!(desk.send(0, std::slice::from_ref(&handed_back)), []);
    desk.available[0] = Timeline::constant(amperes(320));
    assert_eq!(desk.send(1, &[handed_back]).len(), 1);
}

/// The first rate of each command, by EVSE.
pub fn first_rates(commands: &[ProfileCommand]) -> Vec<(String, i64)> {
    let mut rates: Vec<_> = commands
        .iter()
        .map(|command| (command.evse.to_string(), points(command)[0].1))
        .collect();
    rates.sort();
    rates
}

pub fn points(command: &ProfileCommand) -> Vec<(i64, i64)> {
    let Instruction::Set(profile) = &command.instruction else {
        panic!("{command:?} sets no profile")
    };
    let since = |instant: &Instant| (*instant - at(0)).secs();
    profile
        .limits()
        .points()
        .iter()
        .map(|(start, rate)| (since(start), rate.value()))
        .collect()
}

/// EVSE, revision, attempt and cause of each command.
fn outline(commands: &[ProfileCommand]) -> Vec<(String, u64, Attempt, Cause)> {
    commands
        .iter()
        .map(|command| {
            (
                command.evse.to_string(),
                command.revision.number(),
                command.attempt,
                command.cause,
            )
        })
        .collect()
}

fn sent(evse: &str, revision: u64, attempt: Attempt, cause: Cause) -> (String, u64, Attempt, Cause) {
    (evse.to_owned(), revision, attempt, cause)
}

#[test]
fn the_plan_is_cut_to_the_lease_and_to_rates_that_the_connector_takes() {
    let mut desk = Desk::new(1, 1_000);
    let commands = desk.send(7, &[target(0, &[(0, 165), (300, 59), (600, 400), (900, 100)])]);
    // Lease ends fall on thirtieths of a lease: 907 s becomes 900 s, counted from the epoch 1 000 000.
    assert_eq!(points(&commands[0]), [(7, 165), (300, 0), (600, 320), (890, 0)]);
    assert_eq!(outline(&commands), [sent("e0", 1, 1, Cause::Change)]);
}

#[test]
fn room_is_given_in_the_order_of_the_targets() {
    let mut desk = Desk::new(3, 400);
    let commands = desk.send(
        0,
        &[target(2, &[(0, 320)]), target(0, &[(0, 320)]), target(1, &[(0, 160)])],
    );
    let expected = [("e0", 80), ("e1", 0), ("e2", 320)].map(|(evse, rate)| (evse.to_owned(), rate));
    assert_eq!(first_rates(&commands), expected);
}

#[test]
fn what_lowers_goes_first_and_what_raises_waits_for_the_answer() {
    let mut desk = Desk::new(2, 320);
    let first = desk.send(0, &[target(0, &[(0, 0)]), target(1, &[(0, 320)])]);
    desk.accept(&first, 1);
    let swapped = [target(0, &[(0, 200)]), target(1, &[(0, 120)])];
    let decision = desk.ask(60, &swapped);
    assert_eq!(outline(&decision.commands)[0], sent("e1", 2, 1, Cause::Change));
    assert_eq!(decision.urgent.len(), 1);
    assert!(
        matches!(&decision.notes[..], [Note::Withheld { reason, .. }] if reason.contains("grid")),
        "{:?}",
        decision.notes
    );
    let second = desk.send(60, &swapped);
    assert!(
        second
            .iter()
            .all(|command| command.evse != evse_id(0) || points(command)[0].1 == 0),
        "no room yet: {second:?}"
    );
    desk.accept(&second, 61);
    let third = desk.send(66, &swapped);
    assert_eq!(points(&third[0])[0], (66, 200));
    assert_eq!(third.len(), 1);
}

#[test]
fn an_increase_beside_a_planned_decrease_waits_for_every_clock() {
    let mut desk = Desk::new(2, 320);
    let commands = desk.send(
        0,
        &[target(0, &[(0, 220), (300, 100)]), target(1, &[(0, 100), (300, 220)])],
    );
    assert_eq!(points(&commands[0])[..2], [(0, 220), (300, 100)]);
    assert_eq!(points(&commands[1])[..2], [(0, 100), (310, 220)]);
}

#[test]
fn with_the_ledger_following_the_plan_nothing_but_renewals_is_sent() {
    let rate = |number: i64, slot: i64| [160, 0, 220, 60, 160, 100, 320][((slot + 3 * number) % 7) as usize];
    let plan = |number: i64| {
        target(
            number as usize,
            &(0..60).map(|slot| (slot * 200, rate(number, slot))).collect::<Vec<_>>(),
        )
    };
    let targets = [plan(0), plan(1), plan(2)];
    let just_enough = (0..60).map(|slot| (at(slot * 200), amperes((0..3).map(|number| rate(number, slot)).sum())));
    let tight = Timeline::from_points(just_enough);
    let ample = Timeline::constant(amperes(640));
    for (skew, most_periods) in [
        (0, 24),
        (5, 24),
        (30, 24),
        (5, 6),
        (30, 5),
        (5, 4),
        (5, 3),
        (0, 3),
        (5, 2),
    ] {
        for available in [&ample, &tight] {
            let mut evses: Vec<_> = (0..3).map(evse).collect();
            for evse in &mut evses {
                evse.connectors[0].max_profile_periods = most_periods;
            }
            let mut spec = spec(evses);
            spec.clock_skew = Seconds::from_secs(skew);
            let mut desk = Desk::of(spec, 640);
            desk.available[0] = available.clone();
            let renewals = count_renewals(&mut desk, &targets);
            assert!(
                (3 * 7_000 / 450 - 6..=3 * 7_000 / 400).contains(&renewals),
                "{renewals} renewals, skew {skew}"
            );
        }
    }
}

/// Renewals from second 1000, when everyone's first profile has long found its room, to 8000. Nothing else is sent.
fn count_renewals(desk: &mut Desk, targets: &[Target]) -> usize {
    let mut renewals = 0;
    for now in (0..8_000).step_by(7) {
        let commands = desk.send(now, targets);
        desk.accept(&commands, now);
        for command in commands.iter().filter(|_| now >= 1_000) {
            assert_eq!(
                command.cause,
                Cause::Renewal,
                "at {now}: {} {:?}",
                command.evse,
                points(command)
            );
            renewals += 1;
        }
    }
    renewals
}

#[test]
fn another_plan_is_a_change_and_only_for_whom_it_changes() {
    let mut desk = Desk::new(2, 640);
    let first = desk.send(0, &[target(0, &[(0, 160)]), target(1, &[(0, 160)])]);
    desk.accept(&first, 1);
    let dearer_later = [target(0, &[(0, 160), (600, 0)]), target(1, &[(0, 160)])];
    assert_eq!(
        outline(&desk.send(60, &dearer_later)),
        [sent("e0", 2, 1, Cause::Change)]
    );
    let cheaper_later = [target(0, &[(0, 160), (600, 0)]), target(1, &[(0, 160), (600, 320)])];
    assert_eq!(
        outline(&desk.send(61, &cheaper_later)),
        [sent("e1", 2, 1, Cause::Change)]
    );
}

#[test]
fn a_renewal_comes_at_half_the_lease_and_the_step_says_when() {
    let mut desk = Desk::new(1, 640);
    let targets = [target(0, &[(0, 160)])];
    let commands = desk.send(0, &targets);
    desk.accept(&commands, 1);
    let wake_at = desk.ask(100, &targets).wake_at;
    assert_eq!((wake_at - at(0)).secs(), 445);
    assert!(desk.send(444, &targets).is_empty());
    assert_eq!(outline(&desk.send(445, &targets)), [sent("e0", 2, 1, Cause::Renewal)]);
}

#[test]
fn after_a_cut_decreases_leave_at_once_and_nothing_is_raised() {
    let mut desk = Desk::new(3, 640);
    let first = desk.send(0, &[target(0, &[(0, 320)]), target(1, &[(0, 320)])]);
    desk.accept(&first, 1);
    desk.available = room_of(&desk.site, 200);
    let commands = desk.send(
        60,
        &[target(2, &[(0, 100)]), target(0, &[(0, 100)]), target(1, &[(0, 0)])],
    );
    // Nothing yet for the one that has nothing: until the answers, far more than the limit is possible.
    let expected = [("e0", 100), ("e1", 0), ("e2", 0)].map(|(evse, rate)| (evse.to_owned(), rate));
    assert_eq!(first_rates(&commands), expected);
}

#[test]
fn no_answer_is_tried_again_ever_less_often_while_it_is_still_wanted() {
    let mut desk = Desk::new(1, 640);
    let targets = [target(0, &[(0, 160)])];
    let first = desk.send(0, &targets);
    let mut retries = Vec::new();
    for now in 1..445 {
        for command in desk.send(now, &targets) {
            assert_eq!(
                (command.cause, &command.instruction),
                (Cause::Retry, &first[0].instruction)
            );
            retries.push((now, command.attempt));
        }
    }
    assert_eq!(retries, [(30, 2), (90, 3), (210, 4)]);
    // The gateway is back: at once.
    desk.ledger.gateway_disconnected(&gateway_id());
    assert!(desk.send(445, &targets).is_empty());
    desk.ledger.gateway_connected(&gateway_id(), false, at(446));
    assert_eq!(outline(&desk.send(446, &targets)), [sent("e0", 2, 1, Cause::Renewal)]);
    desk.ledger.gateway_connected(&gateway_id(), false, at(447));
    assert_eq!(outline(&desk.send(447, &targets)), [sent("e0", 2, 2, Cause::Retry)]);
    // Another wish is another revision.
    assert_eq!(
        outline(&desk.send(448, &[target(0, &[(0, 100)])])),
        [sent("e0", 3, 1, Cause::Change)]
    );
}

#[test]
fn what_was_refused_waits_but_a_decrease_does_not() {
    let mut desk = Desk::new(1, 640);
    let refused = desk.send(0, &[target(0, &[(0, 160)])]);
    desk.refuse(&refused[0], 1);
    let decision = desk.ask(2, &[target(0, &[(0, 160)])]);
    assert!(decision.commands.is_empty());
    assert_eq!(decision.wake_at, at(16));
    assert_eq!(
        outline(&desk.ask(2, &[target(0, &[(0, 60)])]).commands),
        [sent("e0", 2, 1, Cause::Change)]
    );
    let again = desk.send(16, &[target(0, &[(0, 160)])]);
    assert_eq!(outline(&again), [sent("e0", 2, 1, Cause::Change)]);
    desk.refuse(&again[0], 17);
    assert!(desk.send(46, &[target(0, &[(0, 160)])]).is_empty());
    assert_eq!(desk.send(47, &[target(0, &[(0, 160)])]).len(), 1);
}

#[test]
fn what_may_still_be_followed_is_lowered_even_by_more_than_what_was_told_last() {
    let mut desk = Desk::new(2, 640);
    let raised = desk.ask(0, &[target(0, &[(0, 160)])]);
    assert_eq!((raised.commands.len(), raised.urgent.len()), (1, 0));
    let first = desk.send(0, &[target(0, &[(0, 160)])]);
    desk.accept(&first, 1);
    // A decrease that no answer came to: once more, and then not as low.
    let lowered = desk.ask(60, &[target(0, &[(0, 60)])]);
    assert_eq!((lowered.commands.len(), lowered.urgent.len()), (1, 1));
    desk.send(60, &[target(0, &[(0, 60)])]);
    let retried = desk.ask(95, &[target(0, &[(0, 60)])]);
    assert_eq!(outline(&retried.commands), [sent("e0", 2, 2, Cause::Retry)]);
    assert_eq!(retried.urgent.len(), 1);
    let raised = desk.ask(95, &[target(0, &[(0, 80)])]);
    assert_eq!(outline(&raised.commands), [sent("e0", 3, 1, Cause::Change)]);
    assert_eq!(raised.urgent.len(), 1);
}

#[test]
fn a_renewal_lowers_nothing() {
    let mut desk = Desk::new(1, 320);
    let first = desk.send(0, &[target(0, &[(0, 160)])]);
    desk.accept(&first, 1);
    let renewed = desk.ask(460, &[target(0, &[(0, 160)])]);
    assert_eq!(outline(&renewed.commands), [sent("e0", 2, 1, Cause::Renewal)]);
    assert_eq!(renewed.urgent.len(), 0);
}

#[test]
fn handing_back_waits_for_the_maximum_to_fit_and_is_sent_once() {
    let mut desk = Desk::new(2, 400);
    let first = desk.send(0, &[target(0, &[(0, 100)]), target(1, &[(0, 100)])]);
    desk.accept(&first, 1);
    let hand_back = Target {
        wish: Wish::HandBack,
        ..target(0, &[(0, 0)])
    };
    let targets = [hand_back.clone(), target(1, &[(0, 80)])];
    let lowered = desk.ask(10, &targets);
    assert_eq!(outline(&lowered.commands), [sent("e1", 2, 1, Cause::Change)]);
    assert_eq!(lowered.notes.len(), 1);
    let lowered = desk.send(10, &targets);
    desk.accept(&lowered, 11);
    let cleared = desk.send(16, &targets);
    assert_eq!(cleared[0].instruction, Instruction::Clear);
    desk.accept(&cleared, 17);
    assert!(desk.send(100, &targets).is_empty());
    // Taken back.
    let taken = desk.send(110, &[target(0, &[(0, 60)]), target(1, &[(0, 80)])]);
    assert_eq!(outline(&taken), [sent("e0", 3, 1, Cause::Change)]);
}

#[test]
fn a_tail_at_the_minimum_is_given_while_it_fits() {
    let mut desk = Desk::new(2, 100);
    let with_tail = |number| Target {
        wish: Wish::Follow {
            rates: rates(&[(0, 80), (300, 0)]),
            tail: TailWish::Minimum,
        },
        ..target(number, &[(0, 0)])
    };
    let unfenced = desk.ask(0, &[with_tail(0)]);
    assert_eq!(
        points(&unfenced.commands[0]),
        [(0, 80), (300, 0)],
        "it could never be taken back for sure"
    );
    desk.ledger.gateway_connected(&gateway_id(), true, at(0));
    let decision = desk.ask(0, &[with_tail(0), with_tail(1)]);
    let tail = |command: &ProfileCommand| points(command).last().unwrap().1;
    let mut tails: Vec<_> = decision
        .commands
        .iter()
        .map(|command| (command.evse.to_string(), tail(command)))
        .collect();
    tails.sort();
    assert_eq!(tails, [("e0".to_owned(), 60), ("e1".to_owned(), 0)]);
    assert_eq!(decision.notes.len(), 1);
    // Nor could it be seen to be left where nobody believes answers and no meter is.
    let mut distrusted = spec(vec![evse(0)]);
    distrusted.trust_unmetered = false;
    let mut other = Desk::of(distrusted, 100);
    other.ledger.gateway_connected(&gateway_id(), true, at(0));
    assert_eq!(tail(&other.ask(0, &[with_tail(0)]).commands[0]), 0);
    // A limit far beyond the lease counts for a tail.
    desk.available[0] = Timeline::from_points([(at(0), amperes(1_000)), (at(50_000), amperes(0))]);
    let decision = desk.ask(0, &[with_tail(0)]);
    assert_eq!(points(&decision.commands[0]), [(0, 80), (300, 0)]);
}

#[test]
fn what_the_site_would_not_take_any_more_is_not_repeated_but_made_anew() {
    let anew = |change: fn(&mut SiteSpec)| {
        let mut desk = Desk::new(1, 1_000);
        let targets = [target(0, &[(0, 100), (100, 120), (200, 140)])];
        desk.send(0, &targets);
        let mut changed = spec(vec![evse(0)]);
        change(&mut changed);
        desk.site = site(changed);
        desk.ledger.site_changed(&desk.site, at(40));
        let again = desk.send(40, &targets);
        assert_eq!(outline(&again), [sent("e0", 2, 1, Cause::Change)]);
        points(&again[0])
    };
    let shorter_lease = anew(|spec| spec.lease = Seconds::from_secs(60));
    assert_eq!(shorter_lease, [(40, 100), (100, 0)]);
    let fewer_periods = anew(|spec| spec.stations[0].evses[0].connectors[0].max_profile_periods = 3);
    assert_eq!(fewer_periods, [(40, 100), (100, 120), (920, 0)]);
}

#[test]
fn where_too_much_is_open_nothing_is_raised_but_decreases_go() {
    let mut desk = Desk::new(1, 1_000);
    for revision in 1..=MAX_OPEN_ENTRIES as u64 {
        desk.ledger.issued(&set(0, revision, 0, 100, 0));
    }
    let raised = desk.ask(10, &[target(0, &[(0, 320)])]);
    assert!(
        raised
            .commands
            .iter()
            .all(|command| points(command).iter().all(|(_, rate)| *rate <= 100))
    );
    assert_eq!(raised.notes.len(), 1);
    let lowered = desk.send(10, &[target(0, &[(0, 60)])]);
    assert_eq!(points(&lowered[0])[0], (10, 60));
}

#[test]
fn that_an_evse_may_do_anything_is_no_reason_to_tell_it_to() {
    let mut desk = Desk::new(2, 100);
    desk.ledger = Ledger::unknown(&desk.site, at(0));
    let commands = desk.send(10, &[target(0, &[(0, 320)])]);
    assert_eq!(points(&commands[0])[0], (10, 0));
    let mut desk = Desk::new(2, 100);
    desk.ledger.metered(&drawing(1, 0, 320), at(0));
    let commands = desk.send(10, &[target(0, &[(0, 60)]), target(1, &[(0, 320)])]);
    let expected = [("e0", 0), ("e1", 100)].map(|(evse, rate)| (evse.to_owned(), rate));
    assert_eq!(
        first_rates(&commands),
        expected,
        "what a disobeying car takes is no room for anyone, itself included"
    );
}

#[test]
fn what_counts_again_after_a_refusal_is_not_told_again() {
    for fences in [false, true] {
        let mut desk = Desk::new(2, 220);
        desk.ledger.gateway_connected(&gateway_id(), fences, at(0));
        let first = desk.send(0, &[target(0, &[(0, 160)])]);
        desk.refuse(&first[0], 1);
        // Its room goes to another. Then the answer to a copy says that it was followed.
        let other = desk.send(10, &[target(1, &[(0, 160)])]);
        desk.accept(&other, 11);
        desk.accept(&first, 12);
        let wishes = [target(0, &[(0, 160)]), target(1, &[(0, 160)])];
        desk.ledger.gateway_connected(&gateway_id(), fences, at(20));
        assert!(
            desk.send(20, &wishes).is_empty(),
            "not repeated, though the gateway is new"
        );
        let again = desk.send(40, &wishes);
        assert_eq!(
            outline(&again),
            [sent("e0", 2, 1, Cause::Change)],
            "anew, and not what was contradicted"
        );
        assert_eq!(points(&again[0])[0], (40, 60));
    }
}

#[test]
fn a_profile_that_the_station_lost_is_sent_again() {
    let mut desk = Desk::new(1, 640);
    let targets = [target(0, &[(0, 160)])];
    let first = desk.send(0, &targets);
    desk.accept(&first, 1);
    desk.ledger.active_reported(&evse_id(0), None, at(60));
    assert_eq!(outline(&desk.send(60, &targets)), [sent("e0", 2, 1, Cause::Change)]);
    assert!(desk.send(61, &targets).is_empty());
}

#[test]
fn targets_that_cannot_be_served_are_named_and_do_not_stop_the_others() {
    let mut fixed = evse(1);
    fixed.controllable = false;
    let mut desk = Desk::of(spec(vec![evse(0), fixed]), 1_000);
    let mut wrong_plug = target(0, &[(0, 100)]);
    wrong_plug.connector = crate::domain::ids::ConnectorId::parse("9").unwrap();
    let decision = desk.ask(
        0,
        &[
            target(9, &[(0, 100)]),
            target(1, &[(0, 100)]),
            target(0, &[(0, -5)]),
            target(0, &[(0, 100)]),
        ],
    );
    assert_eq!(
        points(&decision.commands[0]),
        [(0, 0)],
        "the first target of an EVSE is the one"
    );
    assert_eq!((decision.commands.len(), decision.notes.len()), (1, 2));
    assert_eq!(desk.ask(0, &[wrong_plug]).notes.len(), 1);
}

#[test]
fn revisions_go_on_from_what_a_station_reports() {
    let mut desk = Desk::new(1, 640);
    desk.ledger.active_reported(&evse_id(0), Some(Revision::new(41)), at(0));
    assert_eq!(desk.send(1, &[target(0, &[(0, 0)])])[0].revision, Revision::new(42));
}

#[test]
fn when_faults_end_everyone_gets_the_plan_and_then_only_renewals_are_sent() {
    let mut reached = 0;
    for seed in 1..=60 {
        let mut world = World::new(seed, None);
        world.run(400);
        world.end_faults();
        world.link_is_up();
        world.give_room_for_all();
        world.settle_on_equal_shares(60);
        world.run(3 * 150 + 200);
        assert_eq!(world.overload, None, "seed {seed}");
        let allowed = world.allowed_rates();
        assert!(
            allowed.iter().all(|rate| *rate == Rate::new(60)),
            "seed {seed}: {allowed:?}"
        );
        let before = world.sent;
        world.run(300);
        let [changes, renewals, retries] = [0, 1, 2].map(|cause| world.sent[cause] - before[cause]);
        assert_eq!((changes, retries), (0, 0), "seed {seed}");
        reached += usize::from(renewals > 0);
    }
    assert_eq!(reached, 60);
}

#[test]
fn a_large_site_rolls_out_a_new_plan_in_one_step() {
    const EVSES: usize = 500;
    // A hundred of them fit at 32 A.
    let mut desk = Desk::new(EVSES, 100 * 320);
    let all = |rate: &dyn Fn(usize) -> i64| -> Vec<Target> {
        (0..EVSES).map(|index| target(index, &[(0, rate(index))])).collect()
    };
    let first = desk.send(0, &all(&|_| 60));
    assert_eq!(first.len(), EVSES);
    desk.accept(&first, 1);
    let second = desk.send(20, &all(&|index| if index % 5 == 0 { 320 } else { 0 }));
    let (decreases, increases) = second.split_at(EVSES * 4 / 5);
    assert!(
        decreases.iter().all(|command| points(command)[0].1 == 0),
        "every decrease goes, and first"
    );
    // Until they are confirmed, all 500 may draw 6 A each: 200 A are left to raise others by 26 A.
    let raised: Vec<i64> = increases.iter().map(|command| points(command)[0].1 - 60).collect();
    assert_eq!(raised, [260, 260, 260, 260, 260, 260, 260, 180]);
}
