//! Whether an EVSE is seen to obey, and what it has surely left for something newer.
//!
//! Decides what a meter reading means for trust and for each revision that may be followed. What was read never counts as a load.

use super::{MayFollow, Terms, Trust, WrongRule};
use crate::domain::conversion::{Load, RateUnit};
use crate::domain::profile::Instruction;
use crate::domain::session::MeterSample;
use crate::domain::site::Connector;
use crate::rollout::entry::{Entry, Order};
use crate::rollout::evidence::{Evidence, Reading};
#[cfg(test)]
use crate::units::DeciAmps;
use crate::units::{Instant, Seconds};

impl MayFollow {
    /// Takes a meter reading as evidence of obedience.
    pub fn metered(&mut self, sample: &MeterSample, terms: &Terms, order: Order, now: Instant) {
        // A reading says nothing of a time that has not come.
        let at = sample.at.min(now);
        let direct = |connector: &Connector| connector.conversion().unit != RateUnit::DeciAmpere;
        let reading = Reading {
            power: sample.power,
            // Only for alternating current do a car's amperes and the ceiling's mean the same.
            currents: sample.currents.filter(|_| !self.evse.connectors.iter().any(direct)),
        };
        #[cfg(test)]
        {
            self.last_drawn = reading
                .currents
                .map(|currents| currents.into_iter().fold(DeciAmps::ZERO, Ord::max));
        }
        for index in 0..self.entries.len() {
            let evidence = match reading.against(self.entries[index].load.at(at)) {
                Evidence::Silent if terms.break_rule(WrongRule::SilenceIsObedience) => Evidence::Under,
                evidence => evidence,
            };
            if self.entries[index].metered(at, evidence, terms.skew) {
                self.leave_older(index, &reading, at, terms);
            }
            if self.entries[index].is_kept() && self.trust == Trust::Unknown {
                self.trust = Trust::Obeys;
            }
        }
        match reading.against(&self.possible_at(at, terms)) {
            Evidence::Above if self.evse.controllable => {
                self.trust = Trust::Disobeys;
                self.disobeyed = Some((order, sample.clone()));
                self.obeys_since = None;
            }
            // It was seen above, so a reading of the same kind that is not above says that it is over.
            Evidence::Under | Evidence::Silent if self.trust == Trust::Disobeys && reading.shows_draw() => {
                let since = *self.obeys_since.get_or_insert(at);
                if at - since >= terms.skew {
                    self.trust = Trust::Obeys;
                    self.disobeyed = None;
                    self.obeys_since = None;
                }
            }
            _ => {}
        }
    }

    /// `reading` shows the ceiling of the entry at `index` kept. That says something of an older one only where that surely allowed more, or
    /// surely not as much.
    fn leave_older(&mut self, index: usize, reading: &Reading, at: Instant, terms: &Terms) {
        let ceiling = *self.entries[index].load.at(at);
        for older in 0..index {
            let surely = self.surely_allowed(&self.entries[older], at, terms);
            let tells_apart = surely.is_some_and(|surely| reading.tells_apart(&ceiling, &surely))
                || reading.against(self.entries[older].load.at(at)) == Evidence::Above;
            self.entries[older].seen_left |= tells_apart || terms.break_rule(WrongRule::SilenceIsObedience);
        }
    }

    /// The least that whoever follows `entry` may draw at `at`, by whatever clock; `None` where nobody can tell.
    fn surely_allowed(&self, entry: &Entry, at: Instant, terms: &Terms) -> Option<Load> {
        if !entry.is_plain(at, terms.skew) {
            return None;
        }
        let Instruction::Set(profile) = &entry.command.instruction else {
            return Some(self.evse.maximum_load());
        };
        let conversion = self.evse.connector(&entry.command.connector)?.conversion();
        let within_skew = profile
            .limits()
            .during(at - terms.skew, at + terms.skew + Seconds::from_secs(1));
        let least = within_skew.min().filter(|_| profile.unit == conversion.unit)?;
        Some(conversion.for_car(entry.car_phases).load(*least))
    }

    fn possible_at(&self, at: Instant, terms: &Terms) -> Load {
        let possible = *self.possible.at(at);
        match &self.earlier {
            Some((until, earlier)) if at < *until + terms.skew => possible.max(*earlier.at(at)),
            _ => possible,
        }
    }
}
