//! Mixed phases (draft).
mod bound;
mod descent;
mod draft;
mod fit;
mod forest;
mod layout;
mod polish;
mod problem;
mod project;
mod reroute;
mod rows;
mod settle;
mod solve;
mod start;

pub use problem::{DemandCharge, Fault, KINDS, Limit, Plan, Problem, Session, TOTAL, Value};

pub use solve::{Budget, Outcome, RowPrice, WarmStart, solve};
