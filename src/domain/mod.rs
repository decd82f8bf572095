//! The nouns of smart charging, validated: site, limit, session, profile, plan, and the events that change them.
//!
//! Decides what a valid site, session or limit is, and what a rate at an EVSE counts for. Knows no wire format, no clock and no I/O.

pub mod access;
pub mod alarm;
pub mod bounds;
pub mod commissioning;
pub mod conversion;
pub mod driver;
pub mod driver_group;
pub mod event;
pub mod ids;
pub mod limits;
pub mod overload;
pub mod plan;
pub mod profile;
pub mod rejection;
pub mod session;
pub mod site;
pub mod snapshot;
pub mod timeline;
