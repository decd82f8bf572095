//! How a flow counts: in which unit of power and of energy.
//!
//! Decides the finest unit in which all sums fit, and the way everything rounds: outward, so that every plan that keeps the limits is
//! a flow.

use super::super::super::problem::Problem;
use super::super::Settled;
use crate::domain::conversion::PerRate;
use crate::domain::site::Steps;
use crate::units::{MoneyMicros, WattSeconds, Watts};

/// Watt-seconds in a kilowatt-hour.
const KWH: i128 = 3_600_000;
/// A slot is at least so many units long, so that one that has begun is not rounded up by much.
const LEAST_LENGTH: i64 = 10;
/// A unit of rate has at most so many units of power: enough to count watts where a unit of rate is many.
const MOST_PARTS: i64 = 64;

/// How the flow counts: `parts` units of power are `rate` units of rate, and a unit of energy is one of power for `seconds`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    pub(super) parts: i64,
    pub(super) rate: i64,
    pub(super) seconds: i64,
    pub(super) power: PerRate,
}

impl Units {
    /// The finest in which all that `rates` could take together in any slot can be counted.
    pub(super) fn finest(problem: &Problem, rates: i64, power: PerRate) -> Self {
        // Rounding up adds less than one unit a car, which the other half covers.
        const MOST: i64 = i32::MAX as i64 / 2;
        let longest = (0..problem.slots)
            .map(|slot| problem.seconds(slot).secs())
            .max()
            .unwrap_or(1);
        let fits = |seconds: i64| rates.saturating_mul(lengths(longest, seconds)) <= MOST;
        let mut even = (1..=longest / LEAST_LENGTH).filter(|seconds| longest % seconds == 0);
        let seconds = even
            .clone()
            .find(|seconds| fits(*seconds))
            .or(even.next_back())
            .unwrap_or(1);
        let most = MOST / lengths(longest, seconds);
        let mut units = Self {
            parts: 1,
            rate: 1,
            seconds,
            power,
        };
        while units.parts < MOST_PARTS && rates.saturating_mul(2 * units.parts) <= most {
            units.parts *= 2;
        }
        while rates / units.rate > most {
            units.rate *= 2;
        }
        units
    }

    /// Whole steps, where all cars have the same and all slots are equally long: every plan consists of those, so that needs can be rounded
    /// up to them, and less is lost when the flow becomes a plan. Not where the peak counts what others draw, in watts.
    pub(super) fn steps(settled: &Settled, searched: &[usize]) -> Option<Self> {
        let problem = settled.problem;
        let step = |session: &usize| match problem.session(*session).choice.steps {
            Steps::Multiple(step) => Some(step),
            Steps::Listed(_) => None,
        };
        let first = step(searched.first()?)?;
        let seconds = problem.seconds(0);
        let are_even = (0..problem.slots).all(|slot| problem.seconds(slot) == seconds);
        let charge = problem.snapshot.demand_charge.as_ref();
        let is_alone = charge.is_none_or(|charge| charge.peak_so_far == Watts::ZERO && settled.draws_nothing());
        (are_even && is_alone && searched.iter().all(|session| step(session) == Some(first))).then(|| Self {
            parts: 1,
            rate: first.value(),
            seconds: seconds.secs(),
            power: problem.session(searched[0]).power,
        })
    }

    /// How many units of power `rates` are at most.
    pub(super) fn power_of_rates(self, rates: i64) -> i64 {
        -(-i128::from(rates) * i128::from(self.parts)).div_euclid(i128::from(self.rate)) as i64
    }

    /// Units of power that fit in `rates`.
    pub(super) fn power_within_rates(self, rates: i64) -> i64 {
        -self.power_of_rates(-rates)
    }

    /// Units of power that give at least `watts`, and at most.
    pub(super) fn power_above(self, watts: Watts) -> i64 {
        let parts = self
            .power
            .rates_for(i128::from(watts.watts()) * i128::from(self.parts))
            .unwrap_or(0);
        whole(-(-parts).div_euclid(i128::from(self.rate)))
    }

    pub(super) fn power_below(self, watts: Watts) -> i64 {
        -self.power_above(-watts)
    }

    /// Units of energy that give at least `energy`.
    pub(super) fn enough(self, energy: WattSeconds) -> i64 {
        let parts = i128::from(energy.watt_seconds()) * i128::from(self.parts);
        let rates = self.power.rates_for(parts).unwrap_or(0);
        whole(-(-rates).div_euclid(i128::from(self.rate) * i128::from(self.seconds)))
    }

    /// `units` of power in watts, times any factor, rounded down.
    pub(super) fn watts_times(self, units: i128) -> i128 {
        self.power
            .amount_of(units * i128::from(self.rate))
            .div_euclid(i128::from(self.parts))
    }

    pub(super) fn watts(self, power: i64) -> Watts {
        Watts::from_watts(whole(-self.watts_times(-i128::from(power))))
    }

    pub(super) fn energy(self, units: i128) -> WattSeconds {
        WattSeconds::from_watt_seconds(whole(self.watts_times(units * i128::from(self.seconds))))
    }

    /// Prices of the flow are millionths per kilowatt-hour, taken for each unit of energy.
    pub(super) fn money(self, value: i128) -> MoneyMicros {
        MoneyMicros::from_micros(whole(
            self.watts_times(value * i128::from(self.seconds)).div_euclid(KWH),
        ))
    }

    pub(super) fn as_rate(self, energy: i32, seconds: i64) -> f64 {
        f64::from(energy) * (self.rate * self.seconds) as f64 / (self.parts * seconds) as f64
    }
}

/// How many times `unit` covers `seconds`.
pub(super) fn lengths(seconds: i64, unit: i64) -> i64 {
    (seconds + unit - 1).div_euclid(unit)
}

fn whole(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN + 1 } else { i64::MAX })
}
