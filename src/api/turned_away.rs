//! What the log is told of connections that came to nothing.
//!
//! Decides that whoever connects over and over fills no log: refusals for lack of room are counted, and of failed handshakes only some
//! are told one by one.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::interval;

/// How often the log is told of what was counted.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Handshakes in that time of which it is told why they failed.
const HANDSHAKES_TOLD: u64 = 10;

/// What there was no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Connections,
    ConnectionsOfAddress,
    Handshakes,
}

/// Connections turned away since it was last told.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    connections: AtomicU64,
    connections_of_address: AtomicU64,
    handshakes: AtomicU64,
    failed: AtomicU64,
}

impl TurnedAway {
    pub(super) fn no_room(&self, full: Full, address: SocketAddr) {
        let count = match full {
            Full::Connections => &self.connections,
            Full::ConnectionsOfAddress => &self.connections_of_address,
            Full::Handshakes => &self.handshakes,
        };
        count.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%address, ?full, "connection closed for lack of room");
    }

    pub(super) fn handshake_failed(&self, address: SocketAddr, why: &io::Error) {
        // Who connects and leaves wanted to see whether the port is open.
        let left = why.kind() == io::ErrorKind::UnexpectedEof;
        if !left && self.failed.fetch_add(1, Ordering::Relaxed) < HANDSHAKES_TOLD {
            tracing::info!(%address, %why, "TLS handshake failed");
        } else {
            tracing::debug!(%address, %why, "TLS handshake failed");
        }
    }

    /// Tells the log now and then. Never ends.
    pub(super) async fn tell(&self) -> Infallible {
        let seconds = TELL_EVERY.as_secs();
        let mut ticks = interval(TELL_EVERY);
        loop {
            ticks.tick().await;
            for (count, setting) in [
                (&self.connections, "limits.connections"),
                (&self.connections_of_address, "limits.connections_per_address"),
                (&self.handshakes, "limits.handshakes"),
            ] {
                let connections = count.swap(0, Ordering::Relaxed);
                if connections > 0 {
                    tracing::warn!(connections, seconds, setting, "connections closed for lack of room");
                }
            }
            let handshakes = self.failed.swap(0, Ordering::Relaxed);
            if handshakes > HANDSHAKES_TOLD {
                tracing::warn!(
                    handshakes,
                    seconds,
                    "TLS handshakes failed, most of them not told one by one"
                );
            }
        }
    }
}
