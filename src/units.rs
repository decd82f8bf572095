//! Physical quantities as integer newtypes.
//!
//! Decides how a number carries its unit, and which way it rounds: a limit always rounds down, a load always rounds up.
//! Assumes values were bounded when they entered (see [`crate::domain::bounds`]), so sums of them fit in an `i64`.
//! Never holds a float and never reads a clock.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $from:ident, $get:ident, $suffix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            pub const ZERO: Self = Self(0);

            pub const fn $from(value: i64) -> Self {
                Self(value)
            }

            pub const fn $get(self) -> i64 {
                self.0
            }

            /// The value, or zero where it is negative.
            pub fn or_zero(self) -> Self {
                Self(self.0.max(0))
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }

        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                self.0 -= other.0;
            }
        }

        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                values.fold(Self::ZERO, Add::add)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{} ", $suffix), self.0)
            }
        }
    };
}

quantity!(
    /// Power, in watts. Negative only where a difference of powers is meant.
    Watts, from_watts, watts, "W"
);
quantity!(
    /// Current of one conductor, in tenths of an ampere. Negative only where a difference is meant.
    DeciAmps, from_deciamps, deciamps, "dA"
);
quantity!(
    /// Energy, in watt-seconds: the unit in which power times a slot is exact.
    WattSeconds, from_watt_seconds, watt_seconds, "Ws"
);
quantity!(
    /// A length of time, in seconds.
    Seconds, from_secs, secs, "s"
);
quantity!(
    /// Nominal voltage, in volts.
    Volts, from_volts, volts, "V"
);
quantity!(
    /// Money, in millionths of the site's currency unit. May be negative.
    MoneyMicros, from_micros, micros, "µ"
);
quantity!(
    /// Price of energy, in millionths of the site's currency unit per kilowatt-hour. May be negative.
    MicrosPerKwh, from_micros_per_kwh, micros_per_kwh, "µ/kWh"
);

impl WattSeconds {
    pub const fn from_watt_hours(watt_hours: i64) -> Self {
        Self(watt_hours * 3600)
    }

    /// Whole watt-hours, rounded down.
    pub const fn floor_watt_hours(self) -> i64 {
        self.0.div_euclid(3600)
    }
}

impl Watts {
    /// The energy of this power held for `length`.
    pub const fn over(self, length: Seconds) -> WattSeconds {
        WattSeconds(self.0 * length.0)
    }
}

impl Seconds {
    pub const fn from_mins(minutes: i64) -> Self {
        Self(minutes * 60)
    }

    pub const fn from_hours(hours: i64) -> Self {
        Self(hours * 3600)
    }
}

impl MicrosPerKwh {
    /// What `energy` costs at this price, rounded to the nearest micro.
    pub fn times(self, energy: WattSeconds) -> MoneyMicros {
        const WATT_SECONDS_PER_KWH: i128 = 3_600_000;
        let micro_watt_seconds = i128::from(self.0) * i128::from(energy.0);
        let rounded = (micro_watt_seconds + WATT_SECONDS_PER_KWH / 2).div_euclid(WATT_SECONDS_PER_KWH);
        MoneyMicros(i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX }))
    }
}

/// A point in time: seconds since 1970-01-01T00:00:00Z.
///
/// Seconds are enough: OCPI profiles have no finer step, and every limit holds for whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

impl Instant {
    /// Later than anything that is planned; stands for "for ever".
    pub const FAR_FUTURE: Self = Self(i64::MAX / 4);
    /// Earlier than anything that is recorded; stands for "always has been".
    pub const FAR_PAST: Self = Self(i64::MIN / 4);

    pub const fn from_unix_secs(secs: i64) -> Self {
        Self(secs)
    }

    pub const fn unix_secs(self) -> i64 {
        self.0
    }

    /// The last multiple of `step` at or before this instant.
    pub const fn floor_to(self, step: Seconds) -> Self {
        Self(self.0 - self.0.rem_euclid(step.0))
    }
}

impl Add<Seconds> for Instant {
    type Output = Self;
    fn add(self, length: Seconds) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

impl Sub<Seconds> for Instant {
    type Output = Self;
    fn sub(self, length: Seconds) -> Self {
        Self(self.0.saturating_sub(length.0))
    }
}

impl Sub for Instant {
    type Output = Seconds;
    fn sub(self, earlier: Self) -> Seconds {
        Seconds(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Instant {
    /// Unix seconds; calendars belong to [`crate::calendar`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_times_energy_is_exact_and_rounds_to_nearest() {
        let two_euro = MicrosPerKwh::from_micros_per_kwh(2_000_000);
        assert_eq!(
            two_euro.times(WattSeconds::from_watt_hours(500)),
            MoneyMicros::from_micros(1_000_000)
        );
        assert_eq!(
            MicrosPerKwh::from_micros_per_kwh(1).times(WattSeconds::from_watt_seconds(1_800_000)),
            MoneyMicros::from_micros(1)
        );
        assert_eq!(
            MicrosPerKwh::from_micros_per_kwh(-4).times(WattSeconds::from_watt_hours(500)),
            MoneyMicros::from_micros(-2)
        );
    }

    #[test]
    fn instants_floor_towards_the_past_on_both_sides_of_1970() {
        let quarter = Seconds::from_mins(15);
        assert_eq!(
            Instant::from_unix_secs(901).floor_to(quarter),
            Instant::from_unix_secs(900)
        );
        assert_eq!(
            Instant::from_unix_secs(-1).floor_to(quarter),
            Instant::from_unix_secs(-900)
        );
    }
}
