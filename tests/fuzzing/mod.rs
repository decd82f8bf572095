//! What no input may do, whoever sent it: one body for each fuzz target.
//!
//! Decides what is asked of each way in beside that it does not panic: what is refused is refused by name and in few words, what is
//! accepted is used, and what is written of it reads back equal. The fuzzer (`.ci/fuzz`) and `tests/fuzz_seeds.rs` run the same
//! bodies. Reads no file, no clock and no environment, so that any input does the same again.
#![allow(dead_code, reason = "the test and each target use a part of it")]

pub mod api;
pub mod config;
pub mod files;
pub mod gateway;
pub mod journal;
pub mod ocpi;
pub mod planted;

use laddplan::domain::rejection::{Fault, MAX_FAULTS, Rejection};
use laddplan::wire::status::rejected;

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Refused,
    /// It was accepted, and used.
    Used,
}

/// A way in.
pub struct Target {
    /// Of its file in `fuzz/fuzz_targets` and of its folder in `fuzz/seeds`.
    pub name: &'static str,
    pub run: fn(&[u8]) -> Verdict,
}

pub const TARGETS: &[Target] = &[
    Target {
        name: "api",
        run: api::run,
    },
    Target {
        name: "gateway",
        run: gateway::run,
    },
    Target {
        name: "ocpi",
        run: ocpi::run,
    },
    Target {
        name: "journal",
        run: journal::run,
    },
    Target {
        name: "config",
        run: config::run,
    },
    Target {
        name: "files",
        run: files::run,
    },
];

/// Longest path of a field: of names that a caller chose 80 characters, each escaped.
const MAX_FIELD_CHARS: usize = 1_000;
/// Longest text of any other part of a fault: an echo of 80 characters, each escaped, or a list of what is allowed.
const MAX_TEXT_CHARS: usize = 1_600;
/// What gRPC clients take of headers.
const MAX_HEADER_BYTES: usize = 8_192;

/// Every fault names its field and is short, and so is the answer that tells them.
pub fn check_rejection(rejection: &Rejection) {
    check_faults(rejection.faults());
    assert!(!rejection.faults().is_empty(), "a refusal says why");
    let headers = rejected(rejection).into_http::<()>().into_parts().0.headers;
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    assert!(bytes < MAX_HEADER_BYTES, "{bytes} bytes of headers");
}

pub fn check_faults(faults: &[Fault]) {
    assert!(faults.len() <= MAX_FAULTS, "{} faults", faults.len());
    for fault in faults {
        assert!(!fault.field.is_empty(), "a fault names its field: {fault}");
        assert!(!fault.rule.is_empty() && !fault.got.is_empty(), "{fault}");
        let field = fault.field.chars().count();
        assert!(field <= MAX_FIELD_CHARS, "a field of {field} characters");
        for text in [&fault.rule, &fault.got, &fault.allowed] {
            let chars = text.chars().count();
            assert!(chars <= MAX_TEXT_CHARS, "{}: a text of {chars} characters", fault.field);
            assert!(!text.chars().any(char::is_control), "{}: {text:?}", fault.field);
        }
    }
}

/// Takes an input apart, from its front.
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn number(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    /// As many bytes as the next number says, or all that are left.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.number()?).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(bytes)
    }
}
