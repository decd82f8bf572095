//! A charging day that really happened, played again: the cars, what the site's supply sees, and what simpler rules would have done.
//!
//! Decides how a car behaves and what a day is measured by. Everything here but [`demo`] is pure: no clock, no socket, no file.
//! [`demo`] plays the day through the real service over loopback, in virtual time, and is the only part that knows of it.

pub mod baseline;
pub mod car;
pub mod clock;
pub mod day;
pub mod demo;
pub mod report;
pub mod tally;
pub mod yard;
