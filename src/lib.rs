//! laddplan decides, for every connector of a charging site, how much power it gets and when.
//!
//! A CPO's back end says over gRPC what a site may draw and what the parked cars need. laddplan searches the best plan, checks it
//! with a second implementation of every rule, writes it to a journal, and rolls it out as OCPI ChargingProfile objects that a
//! gateway applies. In OCPI terms it is a Smart Charging Service Provider (SCSP).
//!
//! # The way of an event
//!
//! ```text
//!  CPO back end --gRPC--> api ----Event--> engine (one task per site) --Snapshot--> planner --Plan--> verify
//!                                           ^   |                                                       |
//!                                           |   +--Event--> journal (store), before anything is sent    |
//!                                           |                                                           v
//!  gateway <--gRPC stream-- dispatch <--Command-- rollout (what each EVSE may be following) <-----------+
//!           --- answers, active profiles and meter readings come back only as new Events --->
//! ```
//!
//! # The map, in reading order
//!
//! * [`units`]: quantities as integers with their unit; which way they round.
//! * [`domain`]: site, limit, session, profile, plan, and the events that change them. What is valid, and what a rate at an EVSE
//!   counts for ([`domain::conversion`]).
//! * [`calendar`]: local days and weekly recurrences become UTC. Data only.
//! * [`solver`]: dense integer problems and their optima, with proof; knows nothing of charging sites but numbers.
//! * [`planner`]: a snapshot of facts becomes a plan. [`verify`]: a plan is judged, by code of its own.
//! * [`rollout`]: the ledger of what each EVSE may be following, and the rule by which a plan is let out without ever raising the
//!   worst case above what is available.
//! * [`engine`]: the loop that joins them, and the ports through which it sees the world: store, gateway, clock.
//! * [`access`]: who is let in: tenants, their tokens, and what each may take of the service. [`drivers`]: what is known
//!   of drivers' tokens, and the task by which sessions follow it. Both keep what they know in the [`register`], which can forget.
//! * [`wire`]: protobuf messages to and from the domain. [`ocpi`]: OCPI objects, and the strict check of them.
//! * [`store`]: journals on disk and in memory, and the register of tenants, tokens and drivers. [`tls`]: certificates, and which
//!   gateway one names. [`api`]: the gRPC services. [`dispatch`]: the stream to gateways. [`metrics`]: figures for Prometheus.
//! * [`simulate`]: cars, a gateway and a real day, for the demo.
//! * [`config`], [`telemetry`], [`app`], [`cli`]: from the command line to a running service.
//!
//! # What must never be
//!
//! * `planner`, `verify` and `rollout` never read a clock, never do I/O, never draw a random number, and never import each other.
//! * A float never decides: it may search, inside the planner; limits, accepted plans, `verify` and `rollout` are integers.
//! * Nothing is acknowledged, and nothing is sent, before the journal entry that says so is synced.
//! * No wire type leaves its edge; no domain type knows how it is written.
//! * No key in the store lacks its tenant, and no name of a person is in a journal, which cannot forget.
//! * No call reaches a site whose key was not held against whose call it is, and no secret is kept.
//! * No effect of ours raises the worst case of what EVSEs may follow above what is available, at any place, phase and instant.
//!
//! `tests/tidy.rs` holds the import table behind this list. `tests/sim` plays the engine, the roll-out and the planner in worlds where
//! everything goes wrong that can, and checks the last of these promises against what is really drawn.
#![forbid(unsafe_code)]

pub mod units;

pub mod domain;

pub mod calendar;

pub mod solver;

pub mod planner;

pub mod verify;

pub mod rollout;

pub mod engine;

pub mod register;

pub mod access;

pub mod drivers;

pub mod wire;

pub mod ocpi;

pub mod store;

pub mod tls;

pub mod api;

pub mod dispatch;

pub mod metrics;

pub mod simulate;

pub mod config;

pub mod telemetry;

pub mod app;

pub mod cli;

/// Worlds in which everything goes wrong, from seeds.
#[cfg(test)]
#[path = "../tests/sim/mod.rs"]
mod sim;
