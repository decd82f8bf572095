//! What a meter reading says of a ceiling.
//!
//! Decides whether an EVSE was seen to draw more than a ceiling, to keep it, or neither. A reading never makes a ceiling lower.

use crate::domain::conversion::Load;
use crate::units::{DeciAmps, Watts};

/// A car may draw this much above its ceiling and still obey: accuracy of the pilot signal and of the meter.
const METER_TOLERANCE: DeciAmps = DeciAmps::from_deciamps(10);
const METER_TOLERANCE_WATTS: Watts = Watts::from_watts(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    Above,
    Under,
    /// As of a counter of energy alone.
    Silent,
}

/// What a meter showed, of what can be held against a ceiling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub power: Option<Watts>,
    pub currents: Option<[DeciAmps; 3]>,
}

impl Reading {
    /// Whether it is more than a counter of energy.
    pub fn shows_draw(&self) -> bool {
        self.power.is_some() || self.currents.is_some()
    }

    pub fn against(&self, ceiling: &Load) -> Evidence {
        let lines = ceiling.star.into_iter().chain(ceiling.delta);
        let most = lines.clone().fold(DeciAmps::ZERO, Ord::max) + METER_TOLERANCE;
        let current_is_above = self
            .currents
            .map(|currents| currents.into_iter().any(|current| current > most));
        let power_is_above = self.power.map(|power| power > ceiling.total + METER_TOLERANCE_WATTS);
        if current_is_above == Some(true) || power_is_above == Some(true) {
            return Evidence::Above;
        }
        // What is little for three lines may be too much for one, and power alone does not tell on which of them it is.
        let loaded = lines.filter(|current| *current > DeciAmps::ZERO).count().max(1) as i64;
        let fits_one_line = |power: Watts| power.watts() * loaded <= (ceiling.total + METER_TOLERANCE_WATTS).watts();
        if current_is_above.is_some() || self.power.is_some_and(fits_one_line) {
            return Evidence::Under;
        }
        Evidence::Silent
    }

    /// Whether a reading like this would have been above `ceiling`, had the car taken all that `other` allows.
    pub fn tells_apart(&self, ceiling: &Load, other: &Load) -> bool {
        let most = other.star.into_iter().chain(other.delta).fold(DeciAmps::ZERO, Ord::max);
        let of_other = Self {
            power: self.power.map(|_| other.total),
            currents: self.currents.map(|_| [most; 3]),
        };
        of_other.against(ceiling) == Evidence::Above
    }
}
