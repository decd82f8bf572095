//! What a small site is like, and how much may go wrong there: one configuration of the model.

use super::super::build::*;
use crate::domain::conversion::Rate;
use crate::domain::ids::{EvseId, SessionId};
use crate::domain::limits::Capacity;
use crate::domain::site::{Site, Steps};
use crate::domain::timeline::Timeline;
use crate::rollout::may_follow::WrongRule;
use crate::rollout::{TailWish, Target, Wish};
use crate::units::{Instant, Seconds};

pub const EVSES: usize = 2;
/// Time passes in steps of this: the shortest after which a command is sent again.
const TICK: Seconds = Seconds::from_secs(30);
/// The two levels that a car may be told, beside nothing.
const LOW: Rate = Rate::new(60);
pub const HIGH: Rate = Rate::new(160);

/// What a meter at an EVSE shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meter {
    None,
    Currents,
    /// It counts energy and nothing else.
    EnergyOnly,
}

/// What may go wrong a few times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// A command without an answer is sent again.
    Retry,
    /// A command takes effect twice where the gateway fences, and an answer comes twice anywhere.
    Copy,
    Restart,
    /// The service dies.
    Crash,
    /// Another car comes to the first EVSE.
    Swap,
    LostStore,
}

impl Mishap {
    pub const ALL: &'static [Self] = &[
        Self::Retry,
        Self::Copy,
        Self::Restart,
        Self::Crash,
        Self::Swap,
        Self::LostStore,
    ];
}

#[derive(Clone, Debug)]
pub struct Case {
    /// The gateway refuses what is not newer than what it has applied, and may bring a command twice.
    pub fences: bool,
    /// Answers are believed where no meter is.
    pub trust_unmetered: bool,
    pub meters: [Meter; EVSES],
    /// A car may take less than it is allowed when its meter is read.
    pub modest_cars: bool,
    /// A station with a meter may accept without effect.
    pub ignores: bool,
    /// Stations follow what was meant for a car that has left.
    pub takes_any_session: bool,
    /// What each EVSE does without a profile, in deciamperes.
    pub defaults: [Option<i64>; EVSES],
    /// A car at the high level keeps its minimum when its lease is over.
    pub tails: bool,
    /// In deciamperes.
    pub room: i64,
    /// In ticks.
    pub lease: i64,
    /// Clocks and cars together are wrong by this many ticks at most.
    pub skew: i64,
    /// How many ticks each station's clock is ahead.
    pub clocks: [i64; EVSES],
    /// Cars go on for a tick when they may less.
    pub slow_cars: [bool; EVSES],
    /// Revisions sent to each EVSE.
    pub revisions: [u8; EVSES],
    /// What may go wrong beside loss, lateness, reordering and refusal, which always may.
    pub mishaps: &'static [Mishap],
    /// How many of these, all together.
    pub most_mishaps: u8,
    /// The last tick.
    pub end: i64,
    pub wrong: Option<WrongRule>,
}

impl Case {
    /// A gateway that fences nothing, no meters, clocks as wrong as they may be, room for one car at the high level beside one at the low.
    pub fn plain() -> Self {
        Self {
            fences: false,
            trust_unmetered: true,
            meters: [Meter::None; EVSES],
            modest_cars: false,
            ignores: false,
            takes_any_session: false,
            defaults: [Some(0); EVSES],
            tails: false,
            room: 220,
            lease: 2,
            skew: 1,
            clocks: [-1, 1],
            slow_cars: [false; EVSES],
            revisions: [2; EVSES],
            mishaps: Mishap::ALL,
            most_mishaps: 0,
            end: 5,
            wrong: None,
        }
    }

    pub fn site(&self) -> Site {
        let evses = (0..EVSES).map(|number| {
            let mut evse = evse(number);
            evse.metered = self.meters[number] != Meter::None;
            evse.connectors[0].default = self.defaults[number].map(Rate::new);
            evse.connectors[0].steps = Steps::Listed(vec![LOW, HIGH, Rate::new(320)]);
            evse
        });
        let mut spec = spec(evses.collect());
        spec.lease = ticks(self.lease);
        spec.clock_skew = ticks(self.skew);
        spec.trust_unmetered = self.trust_unmetered;
        site(spec)
    }

    pub fn available(&self, site: &Site) -> Vec<Timeline<Capacity>> {
        room_of(site, self.room)
    }
}

/// What a car may be wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    Low,
    High,
}

impl Level {
    pub fn target(self, evse: &EvseId, session: &SessionId, tails: bool) -> Target {
        let (rate, tail) = match self {
            Self::High if tails => (HIGH, TailWish::Minimum),
            Self::High => (HIGH, TailWish::Zero),
            Self::Low => (LOW, TailWish::Zero),
        };
        Target {
            evse: evse.clone(),
            session: session.clone(),
            connector: connector_id(),
            wish: Wish::Follow {
                rates: Timeline::constant(rate),
                tail,
            },
        }
    }
}

fn ticks(count: i64) -> Seconds {
    Seconds::from_secs(count * TICK.secs())
}

/// The instant of a tick.
pub fn tick(number: i64) -> Instant {
    at(0) + ticks(number)
}
