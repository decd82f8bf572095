//! What always holds of the roll-out, each with an id and one predicate.
//!
//! Used by [`super::step`] on its own output, in release builds too, and by every test that plays the roll-out. The promise is about
//! the transition: a grid cut, a jump of the base load or a disobeying car can make the state too much through no act of ours; what
//! must never happen is that an act of ours makes it so, or worse.

use super::may_follow::MAX_OPEN_ENTRIES;
use crate::domain::conversion::{Load, Phase, PhasePair};
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
///
/// Where delta currents meet, a limit binds a root of several currents, each at its highest. Beside the highest of one a rise of
/// another may vanish in the root, or be rounded away, and yet be one where the first is not that high by now. So where such a limit is
/// broken already, nothing that goes into it may rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    capacity: Capacity,
    before: Load,
    /// Whether a limit that takes in the star current of each line, and the delta current of each pair, is broken.
    star_is_held: [bool; 3],
    delta_is_held: [bool; 3],
}

impl Allowed {
    pub fn new(before: &Load, available: &Capacity) -> Self {
        let lines = before.line_currents();
        let each = |limits: [DeciAmps; 3], were: [DeciAmps; 3]| [0, 1, 2].map(|index| limits[index].max(were[index]));
        let mut allowed = Self {
            capacity: Capacity {
                line: [0, 1, 2].map(|index| available.line[index].map(|limit| limit.max(lines[index]))),
                total: available.total.map(|limit| limit.max(before.total)),
                unbalance: (available.unbalance).map(|limits| each(limits, before.uneven)),
                difference: (available.difference).map(|limits| each(limits, before.line_differences())),
            },
            before: *before,
            star_is_held: [false; 3],
            delta_is_held: [false; 3],
        };
        for phase in Phase::ALL {
            if allowed.capacity.line[phase.index()] != available.line[phase.index()] {
                allowed.star_is_held[phase.index()] = true;
                for pair in PhasePair::meeting_in(phase) {
                    allowed.delta_is_held[pair.index()] = true;
                }
            }
        }
        for pair in PhasePair::ALL {
            let limit = |capacity: &Capacity| capacity.difference.map(|limits| limits[pair.index()]);
            if limit(&allowed.capacity) != limit(available) {
                allowed.delta_is_held = [true; 3];
                for phase in pair.lines() {
                    allowed.star_is_held[phase.index()] = true;
                }
            }
        }
        allowed
    }

    pub fn fits(&self, after: &Load) -> bool {
        self.capacity.excess(after).is_none() && !self.raises_what_is_held(after)
    }

    fn raises_what_is_held(&self, after: &Load) -> bool {
        let any = |held: [bool; 3], before: [DeciAmps; 3], after: [DeciAmps; 3]| {
            (0..3).any(|index| held[index] && after[index] > before[index])
        };
        any(self.star_is_held, self.before.star, after.star) || any(self.delta_is_held, self.before.delta, after.delta)
    }

    /// What is wrong with `after`, if it does not fit.
    fn excess(&self, after: &Load) -> Option<String> {
        let excess = self.capacity.excess(after).map(|excess| excess.to_string());
        let held = || {
            self.raises_what_is_held(after)
                .then(|| format!("{after:?} where a limit is broken by {:?}", self.before))
        };
        excess.or_else(held)
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
    let allowed = before.zip(available, Allowed::new);
    let excess = allowed.zip(after, |allowed, after| allowed.excess(after)).since(from);
    match (excess.points().iter()).find_map(|(at, excess)| Some((at, excess.as_ref()?))) {
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
