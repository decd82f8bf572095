//! The register: one small file beside the journals, for what has to be gone from the disk when it is removed.
//!
//! Decides what whoever keeps something there is told when that fails. What is kept is decided by who keeps it
//! ([`crate::access::register`], [`crate::drivers::register`]), and how by [`crate::store::register`].

/// Why the register did not do what it was asked. Nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the register of tenants, tokens and drivers: {0}")]
pub struct RegisterError(pub String);
