//! Mixed phases: charging under limits on several conductors and on total power at once, with a certificate.
//!
//! # Problem
//!
//! The tree, slots and sessions of [`flow`](super::flow), but a node limits each line conductor, the total power, and what may flow in
//! one conductor alone apart, and a car may load several of these at once, each with a coefficient of its own: a three-phase car all
//! conductors, a one-phase car one, a one-phase car on a three-phase connector all three for a third of the power, a DC charger the
//! total alone. Minimise the money for energy, for what is not served, and for the site's peak. See [`Problem`].
//!
//! Between lines, and wherever currents are out of phase, what is limited is the length of a sum of phasors: a [`Cone`]. These are kept
//! as they are, without polygons: two multipliers for each, which turn and shrink together.
//!
//! # Structure
//!
//! This is no longer a flow: one decision uses up capacity on several trees. But **nearly**: with the rows priced, each session is by
//! itself, and its best answer is known in closed form; and with all but one kind of car held still, the rest is a flow. So prices
//! are searched by a first-order method, plans are made and improved in integers, and both are compared.
//!
//! # Method
//!
//! 1. `rows` leaves out every limit that can never bind, `layout` gathers the cars that see the same rows.
//! 2. `start`: one exact flow for each conductor gives prices, and with them a bound within about 0.2 %.
//! 3. `descent`: restarted Halpern steps of the primal-dual hybrid gradient method (`project`, `ascent`, `sweep`, `scaled`) improve both.
//! 4. `polish`: the proposal becomes an integer plan: `fit`, `reroute`, `settle`, and where energy is scarce the exact flows of
//!    `parts`. Every step keeps every limit.
//! 5. `bound`: the prices, rounded to integers, prove how good any plan can be at most.
//!
//! [`solve`] takes turns until the two are close, or the budget of iterations is spent. After a small change it begins from the last
//! outcome's prices and plan, and most often has nothing left to do.
//!
//! # What is exact
//!
//! Amounts, loads, limits and money are integers, the bound too; `f32` only proposes. A plan is returned only if [`Problem::assess`],
//! which shares no code with the search, finds it feasible and worth what is claimed. The gap is therefore proven; how small it is is not
//! promised. The parts of step 4 are flows if cars come in few kinds; if each car has coefficients or a penalty of its own, only
//! rerouting and settling remain, and the gap may be wider. So it is beside cones: integers decide there too, but no flow helps.
//!
//! The outcome depends on nothing but the input: work is counted, not timed, and vectors are added up in one order without fused
//! multiplication, so machines with and without wide vectors agree bit for bit.

mod ascent;
mod bound;
mod cone;
mod cone_fit;
mod cone_price;
mod descent;
mod draft;
mod fit;
mod forest;
mod layout;
mod parts;
mod polish;
mod problem;
mod project;
mod reroute;
mod rows;
mod scaled;
mod settle;
mod solve;
mod start;
mod sweep;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use cone::Cone;
pub use problem::{DemandCharge, Fault, KINDS, Limit, Plan, Problem, Session, TOTAL, UNEVEN, Value};
pub use solve::{Budget, Outcome, RowPrice, WarmStart, solve};
