//! The solver.
pub mod flow;
pub mod phases;
