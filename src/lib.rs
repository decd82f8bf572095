//! laddplan decides, for every connector of a charging site, how much power it gets and when.
#![forbid(unsafe_code)]

pub mod api;
pub mod app;
pub mod calendar;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod engine;
pub mod ocpi;
pub mod planner;
pub mod rollout;
pub mod simulate;
pub mod store;
pub mod telemetry;
pub mod units;
pub mod verify;
pub mod wire;
