//! How to charge many cars at once, best and proven so: dense problems in integers, without a word about sites.
//!
//! # The problem
//!
//! Cars hang on a tree of limits. Each may take power in the slots of its stay, up to its own most, until it has what it wants. Every
//! node of the tree can carry so much in each slot. Wanted is, in this order: the most energy, shared as told; the least cost, at a
//! price for each slot and perhaps a charge on the highest load; and what is equally cheap, early.
//!
//! As a linear program this has a column for each car and slot and a row for each node and slot: 250 000 and 100 000 for ten thousand
//! cars and a day of quarter hours, which takes a general solver many seconds. Two things about it are special, and everything here
//! follows from them.
//!
//! # One commodity: a flow
//!
//! Where all cars load the nodes alike, power is one commodity and the program is a flow through a tree whose price depends on the slot
//! alone. What the slots can take together is then a polymatroid, and the greedy algorithm is exact on it: fill the slots from the
//! cheapest to the dearest, each as far as moving others allows. [`flow`] does so in integers, without tolerance, and in about
//! linear time; the price at which a search for more has to give up is the dual solution, so the proof costs nothing.
//!
//! # Several kinds of load: nearly flows
//!
//! Where single-phase and three-phase cars share conductors, one decision uses up capacity in several trees and the program is no flow. But
//! with a price on every limit each car is by itself, and with all kinds of cars but one held still the rest is a flow again.
//! [`phases`] searches the prices by a first-order method from the prices of three flows, makes integer plans of what it finds, and
//! stops when plan and bound are as close as asked.
//!
//! # What is proven
//!
//! Every answer comes with a lower bound that holds for every plan. It is the value of the dual program at some prices, computed in
//! integers. Weak duality makes it valid whatever the prices are; how they were found need not be trusted. For flows the bound equals
//! the value of the plan, and with a charge on the peak it comes as near as one asks. Plans are feasible by construction, in
//! integers, and checked again by whoever uses them.
//!
//! # What must never be
//!
//! No clock, no randomness, no input that is not an argument: the same problem gives the same answer, bit for bit. Budgets count work.
pub mod flow;
pub mod phases;
