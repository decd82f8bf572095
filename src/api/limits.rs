//! How much callers may ask of the service. tonic leaves most of this off.

use std::time::Duration;

/// Every limit of the gRPC server but those of gateway streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message taken in, also after decompression. A site with 10 000 EVSEs is about 2 MiB.
    pub max_request_bytes: usize,
    /// Largest message sent out: what gRPC clients take unless told otherwise. Lists end a page before it.
    pub max_response_bytes: usize,
    pub max_connections: usize,
    /// Connections from one address; an IPv6 network of 64 bits counts as one.
    pub max_connections_per_address: usize,
    /// Connections at once that have not said their first bytes of HTTP/2 yet.
    pub max_handshakes: usize,
    /// HTTP/2 streams of one connection.
    pub max_streams_per_connection: u32,
    /// Calls of one connection at work at once, of those that count for `max_in_flight`.
    pub max_in_flight_per_connection: usize,
    /// Calls at work at once, over all connections. Urgent ones, meter streams and gateway streams have room of their own; health
    /// checks are always let through.
    pub max_in_flight: usize,
    /// Calls at work at once that may lower what a site draws: of limits, sites, overrides and meters at nodes. They take no place of
    /// other calls, and no other call takes theirs.
    pub max_urgent_in_flight: usize,
    /// Plan and alarm watchers and meter streams at once, over all connections.
    pub max_long_calls: usize,
    /// From the start of a connection to the first bytes of HTTP/2, the TLS handshake included.
    pub handshake_timeout: Duration,
    /// For every call that is not a stream.
    pub call_timeout: Duration,
    /// For `PlanService.Plan`, which solves a whole problem.
    pub plan_timeout: Duration,
    /// From one message of a meter stream to the next.
    pub meter_idle_timeout: Duration,
    /// From one plan of a watched site to the next, or one alarm. Slots are an hour at most, so only a site in mode off is this quiet;
    /// who watches alarms watches again.
    pub watch_idle_timeout: Duration,
    /// An idle connection is asked whether it is still there.
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
    /// After this a connection takes no new calls, and its client opens another. Calls and streams under way go on.
    pub max_connection_age: Duration,
    /// Whether the stream of a gateway needs a certificate that names it: then a token is not enough.
    pub gateways_need_certificate: bool,
    /// Headers of one call.
    pub max_header_bytes: u32,
    /// From the signal to stop until connections are cut.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 4 << 20,
            max_response_bytes: 4 << 20,
            max_connections: 10_000,
            max_connections_per_address: 256,
            max_handshakes: 5_000,
            max_streams_per_connection: 100,
            max_in_flight_per_connection: 64,
            max_in_flight: 1_024,
            max_urgent_in_flight: 512,
            max_long_calls: 2_000,
            handshake_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            plan_timeout: Duration::from_secs(60),
            meter_idle_timeout: Duration::from_secs(60),
            watch_idle_timeout: Duration::from_secs(2 * 60 * 60),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_connection_age: Duration::from_secs(30 * 60),
            gateways_need_certificate: false,
            max_header_bytes: 16 << 10,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}
