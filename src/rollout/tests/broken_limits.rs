//! While too much may be drawn somewhere, nobody there is told more than what it surely follows.

use super::build::*;
use super::stepping::{Desk, first_rates, points};
use crate::domain::conversion::{PhasePair, Wiring};
use crate::domain::limits::Capacity;
use crate::domain::profile::{Cause, Instruction};
use crate::domain::timeline::Timeline;
use crate::rollout::{Target, Wish, WrongRule};
use crate::units::DeciAmps;

/// One EVSE that was told 32 A and then 10 A, and follows that, beside another with 16 A. A meter is to show it, so both still count.
fn lowered() -> Desk {
    let mut metered = evse(0);
    metered.metered = true;
    let mut desk = Desk::of(spec(vec![metered, evse(1)]), 640);
    let high = desk.send(0, &[target(0, &[(0, 320)]), target(1, &[(0, 160)])]);
    desk.accept(&high, 1);
    let low = desk.send(10, &[target(0, &[(0, 100)]), target(1, &[(0, 160)])]);
    assert_eq!(first_rates(&low), [("e0".to_owned(), 100)]);
    desk.accept(&low, 11);
    desk
}

#[test]
fn what_it_may_still_follow_is_no_reason_to_tell_it_that_again() {
    let mut desk = lowered();
    desk.available = room_of(&desk.site, 200);
    let wishes = [target(0, &[(0, 320)]), target(1, &[(0, 160)])];
    let decision = desk.ask(20, &wishes);
    assert!(decision.commands.is_empty(), "{:?}", decision.commands);
    assert_eq!(decision.notes.len(), 1);
    // Without the cut it would have been.
    desk.available = room_of(&desk.site, 640);
    assert_eq!(first_rates(&desk.ask(20, &wishes).commands), [("e0".to_owned(), 320)]);
}

#[test]
fn the_wrong_rule_would_tell_it_that_again() {
    let mut desk = lowered();
    desk.ledger.follow_wrong_rule(WrongRule::TellWhatMayBeFollowed);
    desk.available = room_of(&desk.site, 200);
    let wishes = [target(0, &[(0, 320)]), target(1, &[(0, 160)])];
    // It follows 10 A by now, and what its meter still has to show would become true: 48 A on a limit of 20 A.
    assert_eq!(first_rates(&desk.ask(20, &wishes).commands), [("e0".to_owned(), 320)]);
}

#[test]
fn it_is_not_handed_back_on_the_strength_of_what_it_may_still_follow() {
    let mut metered = evse(0);
    metered.metered = true;
    let mut desk = Desk::of(spec(vec![metered]), 640);
    let handed_back = Target {
        wish: Wish::HandBack,
        ..target(0, &[(0, 0)])
    };
    let cleared = desk.send(0, std::slice::from_ref(&handed_back));
    assert_eq!(cleared[0].instruction, Instruction::Clear);
    desk.accept(&cleared, 1);
    let low = desk.send(10, &[target(0, &[(0, 100)])]);
    desk.accept(&low, 11);
    desk.available = room_of(&desk.site, 200);
    assert!(desk.ask(20, std::slice::from_ref(&handed_back)).commands.is_empty());
    desk.available = room_of(&desk.site, 640);
    let commands = desk.ask(20, &[handed_back]).commands;
    assert_eq!(commands[0].instruction, Instruction::Clear);
}

#[test]
fn what_was_sent_last_may_be_lost_so_it_is_neither_repeated_nor_told_anew() {
    let mut desk = Desk::new(2, 640);
    let first = desk.send(0, &[target(0, &[(0, 100)]), target(1, &[(0, 160)])]);
    desk.accept(&first, 1);
    let raised = desk.send(10, &[target(0, &[(0, 320)]), target(1, &[(0, 160)])]);
    assert_eq!(first_rates(&raised), [("e0".to_owned(), 320)]);
    desk.available = room_of(&desk.site, 200);
    let wishes = [target(0, &[(0, 320)]), target(1, &[(0, 160)])];
    assert!(desk.ask(40, &wishes).commands.is_empty(), "a retry would raise it");
    let other = desk.ask(40, &[target(0, &[(0, 200)]), target(1, &[(0, 160)])]);
    assert_eq!(first_rates(&other.commands), [("e0".to_owned(), 100)]);
    // Once it has said that it follows, it may go on.
    desk.accept(&raised, 41);
    desk.available = room_of(&desk.site, 640);
    let renewed = desk.send(460, &wishes);
    assert!(renewed.iter().all(|command| command.cause == Cause::Renewal));
    assert_eq!(first_rates(&renewed), [("e0".to_owned(), 320), ("e1".to_owned(), 160)]);
}

#[test]
fn a_station_that_says_it_follows_nothing_is_not_told_again_until_it_fits() {
    let mut desk = Desk::new(2, 640);
    let wishes = [target(0, &[(0, 320)]), target(1, &[(0, 160)])];
    let first = desk.send(0, &wishes);
    desk.accept(&first, 1);
    desk.available = room_of(&desk.site, 200);
    desk.ledger.active_reported(&evse_id(0), None, at(60));
    let commands = desk.ask(60, &wishes).commands;
    assert_eq!(first_rates(&commands), [("e0".to_owned(), 0)]);
}

#[test]
fn what_it_follows_is_renewed_though_the_limit_is_broken() {
    let mut desk = Desk::new(2, 640);
    let wishes = [target(0, &[(0, 100)]), target(1, &[(0, 160)])];
    let first = desk.send(0, &wishes);
    desk.accept(&first, 1);
    // Another car draws what nobody told it to.
    desk.available = room_of(&desk.site, 200);
    let renewed = desk.send(450, &wishes);
    assert_eq!(first_rates(&renewed), [("e0".to_owned(), 100), ("e1".to_owned(), 160)]);
    // Beyond the leases that run nothing is broken, and what is left there goes to the first.
    assert_eq!(points(&renewed[0]), [(450, 100), (1_340, 0)]);
    assert_eq!(points(&renewed[1]), [(450, 160), (890, 100), (1_340, 0)]);
}

#[test]
fn beside_a_current_that_may_be_anything_another_does_not_rise_unseen_in_the_root() {
    let between = |number: usize, pair: PhasePair| {
        let mut evse = evse(number);
        evse.connectors[0].wiring = Wiring::Delta(pair);
        evse
    };
    let evses = vec![between(0, PhasePair::L1L2), between(1, PhasePair::L2L3)];
    let mut desk = Desk::of(spec(evses), 0);
    desk.available[0] = Timeline::constant(Capacity {
        difference: Some([293, 1_000, 1_000].map(DeciAmps::from_deciamps)),
        ..Capacity::UNLIMITED
    });
    let wish = |rate| [target(0, &[(0, 60)]), target(1, &[(0, rate)])];
    let sent = desk.send(0, &wish(78));
    desk.accept(&sent, 1);
    // The first may do anything for a lease: 683 dA of 293, with 78 or with 79 dA at the second.
    desk.refuse(&sent[0], 10);
    let commands = desk.ask(20, &wish(79)).commands;
    let second = commands.iter().find(|command| command.evse == evse_id(1));
    assert_eq!(second, None);
}
