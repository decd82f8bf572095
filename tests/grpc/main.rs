//! The gRPC services as a client meets them: over a real socket, against the real engine, with the store in memory.

mod access;
mod alarms;
#[path = "../support/certificates.rs"]
mod certificates;
mod drivers;
mod gateways;
mod guards;
mod metrics;
mod plans;
mod server;
mod service;
mod sessions;
mod sites;
#[path = "../support/mod.rs"]
mod support;
mod tls;
