//! The solver.
pub mod flow;
