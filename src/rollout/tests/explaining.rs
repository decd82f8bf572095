//! What is said of an EVSE is why the rule holds its room: in the worlds where everything goes wrong, second by second.

use super::build::at;
use super::world::World;
use crate::domain::conversion::Load;
use crate::rollout::{EvseStatus, Hold, Ledger, Reason};
use crate::units::{Instant, Seconds};
use std::collections::BTreeMap;

const SEEDS: u64 = 150;
const SECONDS: i64 = 600;

fn status(ledger: &Ledger, of: &EvseStatus, now: Instant) -> EvseStatus {
    let mut ledger = ledger.clone();
    ledger.forget_expired(now);
    let found = ledger.statuses(now).find(|status| status.evse == of.evse);
    found.expect("it is still there")
}

/// The reasons account for the whole of what is reserved, and for nothing else.
fn reasons_add_up(ledger: &Ledger, status: &EvseStatus) {
    let record = ledger.record(&status.evse).unwrap();
    let load = |reason: &Reason| match reason {
        Reason::NotControllable | Reason::Disobeys | Reason::UnknownUntil(_) => record.evse.maximum_load(),
        Reason::TailInDoubt => record.evse.minimum_load(),
        Reason::Default => record.evse.default_load(),
        Reason::Revision(revision, _) => {
            let found = status.revisions.iter().find(|known| known.revision == *revision);
            found.expect("it is told of").load
        }
    };
    let most = status.reasons.iter().map(load).fold(status.allowed, Load::max);
    assert_eq!(most, status.allowed.max(status.reserved), "{status:?}");
    assert_eq!(
        status.reasons.is_empty(),
        status.allowed.max(status.reserved) == status.allowed
    );
}

/// Where nothing more happens, a revision stops to be held for a reason when that reason says so, and not before.
fn reasons_end_when_they_say(
    ledger: &Ledger,
    of: &EvseStatus,
    now: Instant,
    skew: Seconds,
    seen: &mut BTreeMap<&'static str, u32>,
) {
    let second = Seconds::from_secs(1);
    for revision in &of.revisions {
        let Some(hold) = revision.hold else { continue };
        let hold_at = |at: Instant| {
            let later = status(ledger, of, at);
            let found = later.revisions.iter().find(|known| known.revision == revision.revision);
            found.and_then(|known| known.hold)
        };
        let over = revision.lease_end.map(|end| end + skew + second);
        let name = match hold {
            Hold::SettlesAt(until) => {
                assert!(until > now);
                let is_settling = |at: Instant| matches!(hold_at(at), Some(Hold::SettlesAt(_)));
                let still = over.is_some_and(|over| over < until) || is_settling(until - second);
                assert!(still && !is_settling(until), "{of:?} at {now}");
                "settles"
            }
            Hold::RefusedUntil(until) => {
                let still = over.is_some_and(|over| over < until) || hold_at(until - second) == Some(hold);
                assert!(until > now && still && hold_at(until).is_none(), "{of:?} at {now}");
                "refused"
            }
            Hold::WaitsForMeter | Hold::WaitsForLease => {
                // Removing our profile has no lease that would end.
                if let Some(over) = over {
                    assert_eq!(hold_at(over - second), Some(hold), "{of:?} at {now}");
                    assert!(matches!(hold_at(over), None | Some(Hold::Tail)), "{of:?} at {now}");
                }
                if hold == Hold::WaitsForMeter { "meter" } else { "lease" }
            }
            Hold::MayComeLate | Hold::NewerUnanswered(_) => {
                // Time alone does not tell; only what its tail is.
                if let Some(over) = over {
                    assert!(matches!(hold_at(over), None | Some(Hold::Tail)), "{of:?} at {now}");
                }
                if hold == Hold::MayComeLate { "late" } else { "newer" }
            }
            Hold::InForce => "in force",
            Hold::Unanswered => "unanswered",
            Hold::Tail => {
                assert!(over.is_some_and(|over| over <= now));
                "tail"
            }
        };
        *seen.entry(name).or_default() += 1;
    }
}

#[test]
fn what_is_said_of_each_evse_is_why_its_room_is_held() {
    let mut seen = BTreeMap::new();
    for seed in 1..=SEEDS {
        let mut world = World::new(seed, None);
        for second in 1..=SECONDS {
            world.run(1);
            if second % 7 != 0 {
                continue;
            }
            let now = at(world.now);
            let ledger = &mut world.ledger;
            ledger.forget_expired(now);
            let skew = ledger.terms().skew;
            for status in ledger.statuses(now).collect::<Vec<_>>() {
                reasons_add_up(ledger, &status);
                reasons_end_when_they_say(ledger, &status, now, skew, &mut seen);
            }
        }
    }
    println!("{seen:?}");
    assert_eq!(seen.len(), 9, "every reason is met: {seen:?}");
}
