//! Why a command did not do what it was told.
//!
//! Decides whose fault it is, and with that the exit code.

use crate::domain::rejection::Rejection;
use std::process::ExitCode;

/// What was given is wrong (EX_USAGE).
pub const BAD_INPUT: u8 = 64;
/// Everything else (EX_SOFTWARE).
const INTERNAL: u8 = 70;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The caller's mistake, one fault a line.
    #[error("{0}")]
    BadInput(String),
    /// What was checked is wrong, and that was the answer: nothing more to say.
    #[error("")]
    Invalid,
    /// Not the caller's mistake: no service, a full disk, a bug.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::BadInput(_) | Self::Invalid => BAD_INPUT.into(),
            Self::Internal(_) => INTERNAL.into(),
        }
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::BadInput(rejection.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    /// With every cause.
    fn from(error: anyhow::Error) -> Self {
        Self::Internal(format!("{error:#}"))
    }
}
