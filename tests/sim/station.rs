//! What is physically there: stations with clocks of their own, and the cars at them.
//!
//! Decides what really may be drawn. A station follows the last profile that it took for the running session, by a clock that is
//! wrong, with a car that is slow; without one it does what it does by default. A disobeying station draws all it can.

use super::dice::Dice;
use crate::domain::conversion::{Conversion, Load, Rate, RateUnit};
use crate::domain::ids::{ConnectorId, EvseId, SessionId};
use crate::domain::profile::{Instruction, ProfileCommand, Revision};
use crate::domain::session::MeterSample;
use crate::domain::site::{Connector, Evse};
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, Seconds, WattSeconds, Watts};
use std::collections::VecDeque;

/// A car that is plugged in.
#[derive(Clone, Debug)]
pub struct Plugged {
    pub session: SessionId,
    pub arrival: Instant,
    /// Which of the EVSE's connectors it uses.
    pub connector: usize,
    pub phases: u8,
    /// Whether anyone says on how many phases it charges.
    pub phases_said: bool,
    /// The most that it takes.
    pub takes: Rate,
    conversion: Conversion,
    energy: WattSeconds,
}

pub struct Station {
    pub evse: Evse,
    /// Its place in the site's tree.
    pub place: usize,
    /// How wrong clocks may be and how slow cars, by what the site says.
    skew: Seconds,
    /// How far its clock is ahead, in seconds.
    clock: i64,
    /// How long its car goes on at the old rate, in seconds.
    lag: i64,
    /// What it really does without a profile, by connector.
    defaults: Vec<Rate>,
    pub plugged: Option<Plugged>,
    pub follows: Option<(Revision, Instruction)>,
    pub disobeys: bool,
    /// What was sent since the newest revision that the service has heard it took, and that one: it may be sent again before the service
    /// hears that a limit came down, and repeats it against what it takes to be followed.
    pub may_follow: Vec<ProfileCommand>,
    /// What it allowed in each of the last seconds, newest last.
    recent: VecDeque<(Rate, Load)>,
    /// The last allowed rate with its load: seldom another than before.
    cached: Option<(Rate, Load)>,
}

impl Station {
    /// Clock and lag together stay within `most`.
    pub fn new(evse: Evse, place: usize, skew: Seconds, most: i64, dice: &mut Dice) -> Self {
        let clock = dice.roll(-most, most);
        let lag = dice.roll(0, most - clock.abs());
        let defaults = evse.connectors.iter().map(|connector| {
            let anything = || Rate::new(dice.roll(0, connector.maximum.value()));
            connector.default.unwrap_or_else(anything)
        });
        Self {
            defaults: defaults.collect(),
            evse,
            place,
            skew,
            clock,
            lag,
            plugged: None,
            follows: None,
            disobeys: false,
            may_follow: Vec::new(),
            recent: VecDeque::new(),
            cached: None,
        }
    }

    pub fn plug(&mut self, session: SessionId, arrival: Instant, dice: &mut Dice) {
        let connector = dice.roll(0, self.evse.connectors.len() as i64 - 1) as usize;
        let described = &self.evse.connectors[connector];
        let most = described.conversion().phases();
        let phases = if dice.happens(500) {
            most
        } else {
            dice.roll(1, i64::from(most)) as u8
        };
        let takes = if dice.happens(700) {
            described.maximum
        } else {
            Rate::new(dice.roll(described.minimum.value(), described.maximum.value()))
        };
        self.plugged = Some(Plugged {
            session,
            arrival,
            connector,
            phases,
            phases_said: dice.happens(750),
            takes,
            conversion: described.conversion().for_car(Some(phases)),
            energy: WattSeconds::ZERO,
        });
        self.follows = None;
        self.cached = None;
    }

    /// The service has heard that it took `revision`: it has no reason to tell it more than that and what came after.
    pub fn heard(&mut self, revision: Revision) {
        self.may_follow.retain(|command| command.revision >= revision);
    }

    pub fn unplug(&mut self) -> Option<Plugged> {
        self.follows = None;
        self.cached = None;
        self.plugged.take()
    }

    pub fn restart(&mut self) {
        self.follows = None;
    }

    pub fn is_at(&self, session: &SessionId) -> bool {
        self.plugged.as_ref().is_some_and(|plugged| plugged.session == *session)
    }

    fn connector(&self) -> &Connector {
        &self.evse.connectors[self.plugged.as_ref().map_or(0, |plugged| plugged.connector)]
    }

    pub fn connector_id(&self) -> &ConnectorId {
        &self.connector().id
    }

    /// What it lets its car take now.
    pub fn allows(&self, now: Instant) -> Rate {
        let connector = self.connector();
        if self.plugged.is_none() {
            return Rate::ZERO;
        }
        if !self.evse.controllable {
            return connector.maximum;
        }
        match &self.follows {
            None => self.defaults[self.plugged.as_ref().map_or(0, |plugged| plugged.connector)],
            Some((_, Instruction::Clear)) => connector.maximum,
            Some((_, Instruction::Set(profile))) => *profile.limits().at(now + Seconds::from_secs(self.clock)),
        }
    }

    /// A second passes. Returns what it really may draw in it.
    pub fn tick(&mut self, now: Instant) -> Load {
        let rate = self.allows(now);
        let load = match self.cached {
            Some((before, load)) if before == rate => load,
            _ => self.load_of(rate),
        };
        self.cached = Some((rate, load));
        self.recent.push_back((rate, load));
        while self.recent.len() > self.lag as usize + 1 {
            self.recent.pop_front();
        }
        if let Some(plugged) = &mut self.plugged {
            let power = plugged.conversion.nominal_power(Some(plugged.phases));
            plugged.energy += Watts::from_watts(power.floor(rate.min(plugged.takes))).over(Seconds::from_secs(1));
        }
        self.recent.iter().fold(Load::ZERO, |most, (_, load)| most.max(*load))
    }

    fn load_of(&self, rate: Rate) -> Load {
        match &self.plugged {
            Some(plugged) => plugged.conversion.load(rate),
            // Only what it needs for itself.
            None => self.evse.connectors.iter().fold(Load::ZERO, |most, connector| {
                most.max(connector.conversion().load(Rate::ZERO))
            }),
        }
    }

    /// What nothing can keep it from drawing from `now` on: what it drew, what it follows, what it was told and may be told again, what is
    /// on its way to it, and what it does by itself.
    pub fn unavoidable<'a>(
        &'a self,
        on_its_way: impl Iterator<Item = &'a ProfileCommand>,
        now: Instant,
    ) -> Timeline<Load> {
        let default = self.evse.default_load();
        let drawn = self.recent.iter().fold(default, |most, (_, load)| most.max(*load));
        // What it drew a moment ago it may go on drawing for its lag.
        let settled = now + self.skew + Seconds::from_secs(1);
        let sum = Timeline::from_points([(Instant::FAR_PAST, drawn), (settled, default)]);
        let told = self.may_follow.iter().chain(on_its_way);
        let told = told.map(|command| (&command.instruction, self.evse.connector(&command.connector)));
        let follows = self
            .follows
            .iter()
            .map(|(_, instruction)| (instruction, Some(self.connector())));
        told.chain(follows).fold(sum, |sum, (instruction, connector)| {
            let load = match (instruction, connector) {
                (Instruction::Clear, _) => Timeline::constant(self.evse.maximum_load()),
                (Instruction::Set(profile), Some(connector)) => {
                    let conversion = connector.conversion();
                    profile.limits().widen(self.skew).map(|rate| conversion.load(*rate))
                }
                (Instruction::Set(_), None) => return sum,
            };
            sum.zip(&load, |a, b| a.max(*b))
        })
    }

    /// What its meter shows. A meter that only counts energy shows neither power nor currents.
    pub fn reading(&self, now: Instant, only_energy: bool) -> Option<MeterSample> {
        let plugged = self.plugged.as_ref()?;
        let offered = if self.disobeys {
            self.connector().maximum
        } else {
            self.recent.iter().map(|(rate, _)| *rate).max()?
        };
        let drawn = offered.min(plugged.takes);
        let power = plugged.conversion.nominal_power(Some(plugged.phases));
        let currents = [0, 1, 2].map(|phase| {
            let used = phase < usize::from(plugged.phases.min(plugged.conversion.phases()));
            DeciAmps::from_deciamps(if used { drawn.value() } else { 0 })
        });
        let alternating = plugged.conversion.unit == RateUnit::DeciAmpere;
        Some(MeterSample {
            evse: self.evse.id.clone(),
            at: now,
            session_energy: Some(plugged.energy),
            power: (!only_energy).then(|| Watts::from_watts(power.floor(drawn))),
            currents: (!only_energy && alternating).then_some(currents),
        })
    }

    pub fn id(&self) -> &EvseId {
        &self.evse.id
    }
}
