//! How a client's mistake is told: every fault of a request at once, each naming field, rule, what was got and what is allowed.
//!
//! Decides the shape of a refusal. A rejection is not an error of ours: it changes nothing and is answered, never logged as a failure.

use std::fmt;

/// At most this many faults are reported; a request with more is wrong in a way that one more line would not explain.
pub const MAX_FAULTS: usize = 64;
/// What a caller wrote is echoed only this far, so that a hostile value cannot fill logs or answers.
const MAX_ECHO_CHARS: usize = 80;

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path of the field in the request, as the caller wrote it: `nodes[2].parent_id`.
    pub field: String,
    /// The rule that was broken, in words.
    pub rule: String,
    pub got: String,
    pub allowed: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; got {}, allowed: {}",
            self.field, self.rule, self.got, self.allowed
        )
    }
}

/// Why a request was refused. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    faults: Vec<Fault>,
}

impl Rejection {
    pub fn one(
        field: impl Into<String>,
        rule: impl Into<String>,
        got: impl fmt::Display,
        allowed: impl fmt::Display,
    ) -> Self {
        let mut faults = Faults::default();
        faults.add(field, rule, got, allowed);
        Self { faults: faults.0 }
    }

    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The same as told of a whole in which the request is the part `prefix`.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        let mut faults = Faults::default();
        faults.nest(prefix, self);
        Self { faults: faults.0 }
    }

    /// What is wrong by either; of a field that both speak of, only what this one says.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let told: Vec<String> = self.faults.iter().map(|fault| fault.field.clone()).collect();
        let new = other.faults.into_iter().filter(|fault| !told.contains(&fault.field));
        self.faults.extend(new);
        self.faults.truncate(MAX_FAULTS);
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}

/// Collects the faults of one request while it is read.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub fn add(
        &mut self,
        field: impl Into<String>,
        rule: impl Into<String>,
        got: impl fmt::Display,
        allowed: impl fmt::Display,
    ) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(Fault {
                field: field.into(),
                rule: rule.into(),
                got: echo(&got.to_string()),
                allowed: allowed.to_string(),
            });
        }
    }

    /// Adds the fault unless `holds`.
    pub fn require(
        &mut self,
        holds: bool,
        field: impl Into<String>,
        rule: impl Into<String>,
        got: impl fmt::Display,
        allowed: impl fmt::Display,
    ) {
        if !holds {
            self.add(field, rule, got, allowed);
        }
    }

    /// The value, if it lies within `allowed`; otherwise a fault and nothing.
    pub fn within(
        &mut self,
        field: impl Into<String>,
        unit: &str,
        value: i64,
        allowed: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        if allowed.contains(&value) {
            return Some(value);
        }
        self.add(
            field,
            "is out of range",
            format_args!("{value} {unit}"),
            format_args!("{} to {} {unit}", allowed.start(), allowed.end()),
        );
        None
    }

    /// Takes over the faults of a part, putting `prefix` before their fields. A part may name itself with an empty field, and an
    /// item of a list with `[2]`.
    pub fn nest(&mut self, prefix: &str, rejection: Rejection) {
        for mut fault in rejection.faults {
            let joined = prefix.is_empty() || fault.field.is_empty() || fault.field.starts_with('[');
            let dot = if joined { "" } else { "." };
            fault.field = format!("{prefix}{dot}{}", fault.field);
            if self.0.len() < MAX_FAULTS {
                self.0.push(fault);
            }
        }
    }

    /// The value of a part of the request, or nothing and the part's faults under `prefix`.
    pub fn part<T>(&mut self, prefix: &str, part: Result<T, Rejection>) -> Option<T> {
        part.map_err(|rejection| self.nest(prefix, rejection)).ok()
    }

    /// The value of one field, or nothing and its faults, told by the name `field` instead of their own.
    pub fn field<T>(&mut self, field: &str, value: Result<T, Rejection>) -> Option<T> {
        let renamed = value.map_err(|mut rejection| {
            for fault in &mut rejection.faults {
                fault.field.clear();
            }
            rejection
        });
        self.part(field, renamed)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value` if nothing was wrong, else all that was.
    pub fn finish<T>(self, value: T) -> Result<T, Rejection> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(Rejection { faults: self.0 })
        }
    }

    /// All that was wrong. Call it only where something was.
    pub fn into_rejection(self) -> Rejection {
        assert!(!self.0.is_empty(), "a rejection names at least one fault");
        Rejection { faults: self.0 }
    }
}

/// What a caller wrote, fit to be told: its beginning, with nothing in it that a terminal would obey.
pub fn echo(got: &str) -> String {
    let mut shown: String = got.chars().take(MAX_ECHO_CHARS).flat_map(char::escape_debug).collect();
    if got.chars().count() > MAX_ECHO_CHARS {
        shown.push('…');
    }
    if shown.is_empty() { "nothing".to_owned() } else { shown }
}
