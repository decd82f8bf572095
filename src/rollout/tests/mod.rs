//! Tests of the roll-out: rule by rule, and in a small world where everything goes wrong that can.

mod broken_limits;
mod build;
mod explaining;
mod meters;
mod model;
mod properties;
mod rules;
mod stepping;
mod world;
