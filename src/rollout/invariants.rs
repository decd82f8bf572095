//! What always holds of the roll-out, each with an id and one predicate.
//!
//! Used by [`super::step`] on its own output, in release builds too, and by every test that plays the roll-out. The promise is about
//! the transition: a grid cut, a jump of the base load or a disobeying car can make the state too much through no act of ours; what
//! must never happen is that an act of ours makes it so, or worse.

use super::may_follow::MAX_OPEN_ENTRIES;
use crate::domain::conversion::Load;
use crate::domain::limits::Capacity;
use crate::domain::profile::{Cause, Instruction, ProfileCommand, Revision};
use crate::domain::site::Site;
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant};
use std::fmt;

/// A promise that was broken. Never seen outside tests that break the rule on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    pub id: &'static str,
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.what)
    }
}

/// What a place may carry after an act of ours: what is available, or what it may be carrying already.
pub fn allowed(before: &Load, available: &Capacity) -> Capacity {
    let were = before.line_currents();
    let each = |limits: [DeciAmps; 3], were: [DeciAmps; 3]| [0, 1, 2].map(|index| limits[index].max(were[index]));
    Capacity {
        line: [0, 1, 2].map(|index| available.line[index].map(|limit| limit.max(were[index]))),
        total: available.total.map(|limit| limit.max(before.total)),
        unbalance: (available.unbalance).map(|limits| each(limits, before.uneven)),
        difference: (available.difference).map(|limits| each(limits, before.line_differences())),
    }
}

/// INV-1: no effect of ours raises, at any place, phase and instant from `from` on, the worst case of what may be drawn above what is
/// available there, nor raises it at all where it is above already. One timeline per place, each.
pub fn inv_1_nothing_is_raised_too_far(
    before: &[Timeline<Load>],
    after: &[Timeline<Load>],
    available: &[Timeline<Capacity>],
    from: Instant,
) -> Result<(), Breach> {
    let places = before.iter().zip(after).zip(available).enumerate();
    let mut checked =
        places.map(|(place, ((before, after), available))| inv_1_at(place, before, after, available, from));
    checked.find(Result::is_err).unwrap_or(Ok(()))
}

/// The same at one place.
pub fn inv_1_at(
    place: usize,
    before: &Timeline<Load>,
    after: &Timeline<Load>,
    available: &Timeline<Capacity>,
    from: Instant,
) -> Result<(), Breach> {
    let allowed = before.zip(available, allowed);
    let excess = allowed.zip(after, |allowed, after| allowed.excess(after)).since(from);
    match excess.points().iter().find_map(|(at, excess)| Some((at, (*excess)?))) {
        Some((at, excess)) => Err(Breach {
            id: "INV-1",
            what: format!("place {place} at {at}: {excess}"),
        }),
        None => Ok(()),
    }
}

/// INV-PROFILE: every profile sent starts by now, ends its lease within the site's, has as many periods as the station takes, and
/// has only rates that the connector takes.
pub fn inv_profile_can_be_followed(site: &Site, commands: &[ProfileCommand]) -> Result<(), Breach> {
    for command in commands {
        let Instruction::Set(profile) = &command.instruction else {
            continue;
        };
        let broken = |what: &str| {
            Err(Breach {
                id: "INV-PROFILE",
                what: format!("{} revision {}: {what}", command.evse, command.revision.number()),
            })
        };
        let connector = site
            .evse(&command.evse)
            .and_then(|evse| evse.connector(&command.connector));
        let Some(connector) = connector else {
            return broken("is for a connector that is not there");
        };
        let choice = connector.choice();
        if profile.start() > command.sent_at {
            return broken("starts in the future");
        }
        if profile.lease_end() > command.sent_at + site.spec().lease {
            return broken("has too long a lease");
        }
        if profile.limits().points().len() > usize::from(connector.max_profile_periods) {
            return broken("has too many periods");
        }
        if profile.limits().points().iter().any(|(_, rate)| !choice.allows(*rate)) {
            return broken("has a rate that the connector does not take");
        }
    }
    Ok(())
}

/// INV-REVISION: a new revision is the one after the last; a retry repeats the last but for its attempt.
pub fn inv_revision_counts_up(last: Revision, command: &ProfileCommand) -> Result<(), Breach> {
    let is_next = command.revision == last.next() && command.attempt == 1;
    let is_retry = command.cause == Cause::Retry && command.revision <= last && command.attempt > 1;
    if is_next || is_retry {
        return Ok(());
    }
    Err(Breach {
        id: "INV-REVISION",
        what: format!(
            "{} revision {} attempt {} after revision {}",
            command.evse,
            command.revision.number(),
            command.attempt,
            last.number()
        ),
    })
}

/// INV-BOUND: no EVSE has more open revisions than are told apart.
pub fn inv_open_entries_are_bounded(open: usize) -> Result<(), Breach> {
    if open <= MAX_OPEN_ENTRIES {
        return Ok(());
    }
    Err(Breach {
        id: "INV-BOUND",
        what: format!("{open} open revisions"),
    })
}
