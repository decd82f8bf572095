//! The protobuf types and their conversion to and from the domain: one set of twins for the API, the gateway stream, the journal
//! and the command line.
//!
//! Decides how a message is read: every fault of it is reported at once, by the field's name in the message. Never decides
//! anything about charging. Generated types are always written qualified: `proto::Site`.

pub mod access;
pub mod alarm;
pub mod bearer;
pub mod commissioning;
pub mod common;
pub mod driver;
pub mod journal;
pub mod json;
pub mod meter;
pub mod plan;
pub mod profile;
pub mod rollout;
pub mod session;
pub mod site;
pub mod status;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

/// Generated code, nested as the packages are, because messages refer to each other that way.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod generated {
    pub mod laddplan {
        pub mod v1 {
            tonic::include_proto!("laddplan.v1");
        }
        pub mod journal {
            pub mod v1 {
                tonic::include_proto!("laddplan.journal.v1");
            }
        }
    }
}

/// From `proto/laddplan/journal/v1`.
pub use generated::laddplan::journal::v1 as journal_proto;
/// From `proto/laddplan/v1`.
pub use generated::laddplan::v1 as proto;

/// Descriptors of every proto, for reflection and for JSON.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
