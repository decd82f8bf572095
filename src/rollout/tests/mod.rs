//! Tests of the roll-out: rule by rule, and in a small world where everything goes wrong that can.

mod build;
mod explaining;
mod properties;
mod rules;
mod stepping;
mod world;
