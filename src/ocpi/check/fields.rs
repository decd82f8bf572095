//! Strict reading of one field: is it there, once, of the right type and within its bounds.
//!
//! Decides what a wrong value is called. Every reader gives the value, or notes a fault and gives nothing.

use super::Findings;
use super::json::Json;
use crate::domain::rejection::echo;
use crate::ocpi::date_time::DateTime;
use crate::ocpi::decimal::{Decimal, Tenths};
use std::collections::HashSet;

/// The largest whole number that every reader of an `int` can be expected to hold.
const MAX_INT: i64 = i32::MAX as i64;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// From the root, which is `$`.
    pub path: String,
    pub value: &'a Json,
}

/// The fields of one object.
pub struct Fields<'a> {
    path: String,
    fields: &'a [(String, Json)],
}

impl<'a> Fields<'a> {
    /// The object at `place`. Fields that are not `known` are warned of; a repeated name is an error.
    pub fn of(findings: &mut Findings, place: &Place<'a>, known: &[&str]) -> Option<Self> {
        let Json::Object(fields) = place.value else {
            findings
                .errors
                .add(&place.path, "has the wrong type", place.value, "an object");
            return None;
        };
        let mut seen = HashSet::new();
        for (name, value) in fields {
            let path = || format!("{}.{}", place.path, echo(name));
            if !seen.insert(name) {
                findings
                    .errors
                    .add(path(), "is there more than once", value, "each name once");
            } else if !known.contains(&name.as_str()) {
                findings
                    .warnings
                    .add(path(), "is not a field of this object", value, known.join(", "));
            }
        }
        Some(Self {
            path: place.path.clone(),
            fields,
        })
    }

    /// A field that must be there and not be null.
    pub fn required(&self, findings: &mut Findings, name: &str, allowed: &str) -> Option<Place<'a>> {
        let place = self.place(name);
        match &place {
            None => findings.errors.add(self.path_of(name), "is required", "", allowed),
            Some(place) if *place.value == Json::Null => {
                findings.errors.add(&place.path, "is required", "null", allowed);
                return None;
            }
            Some(_) => {}
        }
        place
    }

    /// A field that may be left out. Null is taken for that, with a warning.
    pub fn optional(&self, findings: &mut Findings, name: &str) -> Option<Place<'a>> {
        let place = self.place(name)?;
        if *place.value == Json::Null {
            let allowed = "a value, or no such field";
            findings.warnings.add(
                place.path,
                "stands for nothing, which some peers refuse",
                "null",
                allowed,
            );
            return None;
        }
        Some(place)
    }

    fn place(&self, name: &str) -> Option<Place<'a>> {
        let (_, value) = self.fields.iter().find(|(field, _)| field == name)?;
        Some(Place {
            path: self.path_of(name),
            value,
        })
    }

    pub fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}

impl<'a> Place<'a> {
    pub fn text(&self, findings: &mut Findings) -> Option<&'a str> {
        match self.value {
            Json::Text(text) => Some(text),
            other => {
                findings.errors.add(&self.path, "has the wrong type", other, "a text");
                None
            }
        }
    }

    pub fn list(&self, findings: &mut Findings) -> Option<&'a [Json]> {
        match self.value {
            Json::List(items) => Some(items),
            other => {
                findings.errors.add(&self.path, "has the wrong type", other, "a list");
                None
            }
        }
    }

    pub fn one_of(&self, findings: &mut Findings, allowed: &[&str]) -> Option<&'a str> {
        let text = self.text(findings)?;
        if allowed.contains(&text) {
            return Some(text);
        }
        let list = allowed.join(", ");
        findings
            .errors
            .add(&self.path, "is not one of the allowed values", self.value, list);
        None
    }

    pub fn date_time(&self, findings: &mut Findings) {
        let Some(text) = self.text(findings) else { return };
        if let Err(malformed) = DateTime::parse_strictly(text) {
            let allowed = "YYYY-MM-DDThh:mm:ssZ";
            findings
                .errors
                .add(&self.path, malformed.to_string(), self.value, allowed);
        }
    }

    /// A whole number from 0 up.
    pub fn count(&self, findings: &mut Findings, unit: &str) -> Option<i64> {
        let decimal = self.decimal(findings)?;
        let allowed = format!("a whole number from 0 to {MAX_INT}{unit}");
        let Some(count) = decimal.whole().filter(|count| (0..=MAX_INT).contains(count)) else {
            let rule = if decimal.decimals() > 0 {
                "is not a whole number"
            } else {
                "is out of range"
            };
            findings.errors.add(&self.path, rule, self.value, allowed);
            return None;
        };
        if let Json::Number(digits) = self.value
            && !digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            let rule = "is whole but not written so, which some readers refuse";
            findings.warnings.add(&self.path, rule, digits, count);
        }
        Some(count)
    }

    /// A limit or rate: not negative, one decimal at most.
    pub fn rate(&self, findings: &mut Findings, unit: &str) -> Option<Tenths> {
        let decimal = self.decimal(findings)?;
        let allowed = format!("0{unit} or more, with one decimal at most");
        if decimal.is_negative() {
            findings.errors.add(&self.path, "is negative", self.value, allowed);
            return None;
        }
        if decimal.decimals() > 1 {
            findings
                .errors
                .add(&self.path, "has more than one decimal", self.value, allowed);
            return None;
        }
        let rate = decimal.tenths().and_then(Tenths::exactly);
        if rate.is_none() {
            findings.errors.add(&self.path, "is out of range", self.value, allowed);
        }
        rate
    }

    fn decimal(&self, findings: &mut Findings) -> Option<Decimal> {
        let decimal = match self.value {
            Json::Number(digits) => Decimal::parse(digits),
            _ => None,
        };
        if decimal.is_none() {
            findings
                .errors
                .add(&self.path, "has the wrong type", self.value, "a number");
        }
        decimal
    }
}
