//! A car while it is plugged in: how much of what it is offered it takes.
//!
//! Decides the two stages of charging: as much as offered, then less and less towards full. A pilot is a ceiling, and a car that is
//! offered less than it wants takes all of it. Never takes more than it really took on the day that is played.

use super::day::{DaySession, LEAST_PILOT, Wires};
use crate::units::{DeciAmps, Seconds, WattSeconds, Watts};

/// The second stage: the last tenth of the energy.
const TAPER_SHARE_PERCENT: i64 = 10;
/// What is left of the maximum at the very end of it.
const TAPER_END_PERCENT: i64 = 20;
/// A car that took more than this share of what it could in its whole stay left before it was full.
const FULL_STAY_PERCENT: i64 = 85;

/// On-board chargers where the data says nothing: 3.3 kW and 6.7 kW at the 208 V of a North American workplace.
const SMALL_CHARGER: DeciAmps = DeciAmps::from_deciamps(160);
const LARGE_CHARGER: DeciAmps = DeciAmps::from_deciamps(320);
/// More than the plug-in hybrids of the time could hold.
const HYBRID_BATTERY: WattSeconds = WattSeconds::from_watt_hours(13_000);

/// What a car draws at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    pub current: DeciAmps,
    pub power: Watts,
}

/// A car with what it still takes.
#[derive(Clone, Debug)]
pub struct Car {
    wires: Wires,
    maximum: DeciAmps,
    /// Energy left at which the second stage begins; zero for a car that leaves before it is full.
    taper_room: WattSeconds,
    left: WattSeconds,
}

impl Car {
    /// The car of a session. Where the data says what it took, not what it could take, that is read from it: a car that took less than 13 kWh at less than 3.3 kW on average is a plug-in hybrid with a 16 A charger, any other takes
    /// 32 A; and one that must have charged nearly all the time was not full when it left, so it shows no second stage.
    pub fn of(session: &DaySession, wires: &Wires) -> Self {
        let stay = session.departure - session.arrival;
        let in_whole_stay = |current: DeciAmps| wires.power(current).over(stay);
        let hybrid = session.energy < HYBRID_BATTERY && session.energy < in_whole_stay(SMALL_CHARGER);
        let guessed = if hybrid { SMALL_CHARGER } else { LARGE_CHARGER };
        let known = session.maximum.map(|maximum| wires.current(maximum).max(LEAST_PILOT));
        let maximum = known.unwrap_or(guessed).min(wires.maximum);
        let gets_full = session.energy.watt_seconds() * 100 < in_whole_stay(maximum).watt_seconds() * FULL_STAY_PERCENT;
        let taper_percent = if gets_full { TAPER_SHARE_PERCENT } else { 0 };
        Self {
            wires: wires.clone(),
            maximum,
            taper_room: WattSeconds::from_watt_seconds(session.energy.watt_seconds() * taper_percent / 100),
            left: session.energy,
        }
    }

    /// Charges for one second under `pilot`, and says what it drew.
    pub fn charge_one_second(&mut self, pilot: DeciAmps) -> Draw {
        if pilot < LEAST_PILOT || self.is_full() {
            return Draw::default();
        }
        let current = pilot.min(self.maximum_now());
        // In its last second it takes just the rest.
        let energy = self.wires.power(current).over(Seconds::from_secs(1)).min(self.left);
        self.left -= energy;
        Draw {
            current,
            power: Watts::from_watts(energy.watt_seconds()),
        }
    }

    pub fn is_full(&self) -> bool {
        self.left <= WattSeconds::ZERO
    }

    fn maximum_now(&self) -> DeciAmps {
        if self.left >= self.taper_room {
            return self.maximum;
        }
        let percent = TAPER_END_PERCENT
            + (100 - TAPER_END_PERCENT) * self.left.watt_seconds() / self.taper_room.watt_seconds().max(1);
        DeciAmps::from_deciamps(self.maximum.deciamps() * percent / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conversion::{PhasePair, Wiring};
    use crate::units::{Instant, Volts};

    const FULL_PILOT: DeciAmps = DeciAmps::from_deciamps(320);

    fn car(watt_hours: i64, stay_hours: i64) -> Car {
        let arrival = Instant::from_unix_secs(0);
        let session = DaySession {
            id: "s".to_owned(),
            evse: 0,
            arrival,
            departure: arrival + Seconds::from_hours(stay_hours),
            energy: WattSeconds::from_watt_hours(watt_hours),
            requested: None,
            requested_departure: None,
            maximum: None,
        };
        let wires = Wires {
            wiring: Wiring::Delta(PhasePair::L1L2),
            volt: Volts::from_volts(208),
            maximum: FULL_PILOT,
        };
        Car::of(&session, &wires)
    }

    /// Every second's draw until the car is full.
    fn draws(mut car: Car, pilot: DeciAmps) -> Vec<Draw> {
        let mut draws = Vec::new();
        while !car.is_full() && draws.len() < 100_000 {
            draws.push(car.charge_one_second(pilot));
        }
        draws
    }

    #[test]
    fn a_car_takes_exactly_its_energy_whatever_the_pilot() {
        for pilot in [60, 77, 160, 320] {
            let draws = draws(car(20_123, 12), DeciAmps::from_deciamps(pilot));
            let energy: i64 = draws.iter().map(|draw| draw.power.watts()).sum();
            assert_eq!(energy, 20_123 * 3600, "pilot {pilot} dA");
        }
    }

    #[test]
    fn a_car_never_draws_more_than_its_pilot() {
        for draw in draws(car(5_000, 12), DeciAmps::from_deciamps(97)) {
            assert!(draw.current <= DeciAmps::from_deciamps(97));
        }
    }

    #[test]
    fn a_pilot_below_six_amperes_pauses() {
        assert_eq!(
            car(5_000, 12).charge_one_second(DeciAmps::from_deciamps(59)),
            Draw::default()
        );
    }

    #[test]
    fn the_last_tenth_is_taken_slower_and_slower() {
        let draws = draws(car(20_000, 12), FULL_PILOT);
        assert!(draws.windows(2).all(|pair| pair[1].current <= pair[0].current));
        let mut energy = 0;
        for draw in &draws {
            // Before nine tenths are in, all of it is taken.
            if energy < 18_000 * 3600 {
                assert_eq!(draw.current, FULL_PILOT);
            }
            energy += draw.power.watts();
        }
        let last = draws[draws.len() - 2].current;
        assert_eq!(last, DeciAmps::from_deciamps(320 * 20 / 100));
    }

    #[test]
    fn small_and_slow_is_a_hybrid_and_one_that_hardly_made_it_was_never_full() {
        assert_eq!(car(8_000, 8).maximum, SMALL_CHARGER);
        assert_eq!(car(8_000, 2).maximum, LARGE_CHARGER);
        assert_eq!(car(20_000, 8).maximum, LARGE_CHARGER);
        assert_eq!(car(26_000, 4).taper_room, WattSeconds::ZERO);
        assert_eq!(car(20_000, 8).taper_room, WattSeconds::from_watt_hours(2_000));
    }
}
