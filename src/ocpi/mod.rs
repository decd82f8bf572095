//! The OCPI ChargingProfiles objects as JSON: written by us, read from peers, judged for anyone.
//!
//! Decides how a charging profile of ours looks in OCPI and what is wrong with one that somebody else made. The objects are the
//! same in OCPI 2.2.1 and 2.3.0. Two manners of reading: [`objects`] takes what peers really send, [`check`] accepts only what is
//! right. Never opens a connection. Items are written qualified: `ocpi::objects::ChargingProfile`.

pub mod check;
pub mod date_time;
pub mod decimal;
pub mod objects;
pub mod profile;
