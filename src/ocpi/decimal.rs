//! Numbers as OCPI means them: decimal, with one digit after the point in a charging profile.
//!
//! Decides what a JSON number is worth from its digits, so that 16.1 stays 16.1. A float only carries the digits through serde;
//! it is exact for every number of up to 15 digits.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A decimal number, exactly as written: `digits` × 10^`exponent`, without leading or trailing zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads a JSON number. `None` if it is none, or its exponent is beyond reason.
    pub fn parse(literal: &str) -> Option<Self> {
        let (negative, unsigned) = match literal.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, literal),
        };
        let (mantissa, power) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, i64::from(power.parse::<i32>().ok()?)),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let without_tail = all.trim_end_matches('0');
        let dropped = i64::try_from(all.len() - without_tail.len()).ok()?;
        let digits = without_tail.trim_start_matches('0').to_owned();
        let exponent = power - i64::try_from(fraction.len()).ok()? + dropped;
        Some(Self {
            negative: negative && !digits.is_empty(),
            exponent: if digits.is_empty() { 0 } else { exponent },
            digits,
        })
    }

    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// How many digits after the point it needs.
    pub fn decimals(&self) -> u64 {
        u64::try_from(-self.exponent).unwrap_or(0)
    }

    /// The value, if it is a whole number that fits.
    pub fn whole(&self) -> Option<i64> {
        self.scaled(0)
    }

    /// Ten times the value, if that is a whole number that fits.
    pub fn tenths(&self) -> Option<i64> {
        self.scaled(1)
    }

    /// Ten times the value, rounded up to a whole number, if that fits.
    pub fn ceil_tenths(&self) -> Option<i64> {
        if self.exponent >= -1 {
            return self.tenths();
        }
        let kept = usize::try_from(-self.exponent - 1)
            .ok()
            .and_then(|cut| self.digits.len().checked_sub(cut))
            .unwrap_or(0);
        let floor: i64 = match &self.digits[..kept] {
            "" => 0,
            digits => digits.parse().ok()?,
        };
        // What was cut off is not zero: trailing zeros are never kept.
        if self.negative {
            Some(-floor)
        } else {
            floor.checked_add(1)
        }
    }

    fn scaled(&self, power: i64) -> Option<i64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let zeros = u32::try_from(self.exponent + power).ok()?;
        let magnitude: i64 = self.digits.parse().ok()?;
        let value = magnitude.checked_mul(10_i64.checked_pow(zeros)?)?;
        Some(if self.negative { -value } else { value })
    }
}

/// A limit or rate in tenths of its unit: the finest that OCPI allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenths(i64);

/// The most that a float carries exactly: 15 digits.
const MAX_TENTHS: i64 = 999_999_999_999_999;

impl Tenths {
    /// `None` beyond what a float carries, on either side of zero.
    pub fn exactly(tenths: i64) -> Option<Self> {
        (-MAX_TENTHS..=MAX_TENTHS).contains(&tenths).then_some(Self(tenths))
    }

    pub const fn new(tenths: i64) -> Self {
        Self(tenths)
    }

    pub const fn from_units(units: i64) -> Self {
        Self(units * 10)
    }

    pub const fn tenths(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        write!(f, "{sign}{}.{}", magnitude / 10, magnitude % 10)
    }
}

impl Serialize for Tenths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The division gives the float nearest to the decimal, which prints as that decimal.
        serializer.serialize_f64(self.0 as f64 / 10.0)
    }
}

impl<'de> Deserialize<'de> for Tenths {
    /// More decimals than one round up: what a station says it follows counts as a load.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Tenths;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Tenths, E> {
                let tenths = value.checked_mul(10);
                tenths
                    .and_then(Tenths::exactly)
                    .ok_or_else(|| E::custom("number is too large"))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tenths, E> {
                i64::try_from(value)
                    .map_err(|_| E::custom("number is too large"))
                    .and_then(|value| self.visit_i64(value))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tenths, E> {
                // The shortest text that reads back as this float is the decimal that was sent.
                Decimal::parse(&value.to_string())
                    .and_then(|decimal| decimal.ceil_tenths())
                    .and_then(Tenths::exactly)
                    .ok_or_else(|| E::custom("number is too large"))
            }
        }

        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenth_is_printed_with_its_own_digits() {
        let limits = (0..=60_000).chain((0..=40_000_000).step_by(9_973));
        for tenths in limits {
            let printed = serde_json::to_string(&Tenths::new(tenths)).unwrap();
            assert_eq!(printed, format!("{}.{}", tenths / 10, tenths % 10));
            assert_eq!(serde_json::from_str::<Tenths>(&printed).unwrap(), Tenths::new(tenths));
        }
    }

    #[test]
    fn a_number_is_judged_by_its_digits_and_not_by_a_float() {
        let decimals = |literal| Decimal::parse(literal).unwrap().decimals();
        assert_eq!(decimals("16.100000000000001"), 15);
        assert_eq!(decimals("16.10"), 1);
        assert_eq!(decimals("1.61e1"), 1);
        assert_eq!(decimals("1.61E-1"), 3);
        assert_eq!(decimals("1600"), 0);
        assert_eq!(Decimal::parse("1.61e1").unwrap().tenths(), Some(161));
        assert_eq!(Decimal::parse("-0.0").unwrap(), Decimal::parse("0").unwrap());
        assert_eq!(Decimal::parse("12e3").unwrap().whole(), Some(12_000));
        assert_eq!(Decimal::parse("12.5").unwrap().whole(), None);
        assert_eq!(Decimal::parse("99999999999999999999").unwrap().whole(), None);
        assert_eq!(Decimal::parse("1e30").unwrap().tenths(), None);
        for not_a_number in ["", "-", "NaN", "1e99999999999", "0x10", "+1", "1.2.3"] {
            assert_eq!(Decimal::parse(not_a_number), None, "{not_a_number}");
        }
    }

    #[test]
    fn what_a_peer_sends_with_too_many_decimals_rounds_up() {
        let read = |text| serde_json::from_str::<Tenths>(text).map(Tenths::tenths);
        assert_eq!(read("16.25").unwrap(), 163);
        assert_eq!(read("0.01").unwrap(), 1);
        assert_eq!(read("-16.25").unwrap(), -162);
        assert_eq!(read("-0.01").unwrap(), 0);
        assert_eq!(read("16").unwrap(), 160);
        assert_eq!(read("99999999999999.9").unwrap(), MAX_TENTHS);
        for too_large in ["1e300", "100000000000000", "100000000000000.0", "-1e14"] {
            assert!(read(too_large).is_err(), "{too_large}");
        }
        assert!(read("18446744073709551615").is_err());
        assert!(read("\"16\"").is_err());
    }
}
