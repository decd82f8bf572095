//! TLS of the gRPC port: the certificates, loaded anew in place, and what a client's certificate says of its owner.
//!
//! Decides what a handshake takes: TLS 1.2 or 1.3, HTTP/2 alone, a client certificate that verifies or none at all. Older versions are
//! not refused by a setting: rustls does not have them. Decides nothing about what a client may do. Never logs or shows what is in a
//! key file.
//!
//! - [`Tls`] is what every new connection takes the certificates in force from.
//! - `files` reads them, with every fault at once; `reload` looks for changes and loads them anew.
//! - `identity` reads the gateway out of a client's certificate.

mod files;
mod identity;
mod reload;
#[cfg(test)]
pub(crate) mod testing;

use crate::domain::rejection::Rejection;
use crate::engine::ports::Clock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use files::{MAX_CERTIFICATE_BYTES, MAX_CLIENT_CA_BYTES, MAX_CLIENT_CRL_BYTES, MAX_KEY_BYTES};
pub use identity::{GatewayIdentity, NoIdentity, TrustDomain};
pub use reload::Keeper;

/// The one protocol that is spoken inside.
const HTTP_2: &[u8] = b"h2";

/// Where certificates and keys are, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The service's own, followed by those that lead to its root.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Roots of the certificates that clients may show; without it none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Which of those are revoked.
    pub client_crl: Option<PathBuf>,
}

/// The certificates in force. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    current: watch::Receiver<Arc<rustls::ServerConfig>>,
    trust_domain: TrustDomain,
}

impl Tls {
    /// Takes handshakes with the certificates that are in force now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.borrow()))
    }

    /// Which gateway the client of a finished handshake is, if it showed a certificate.
    pub(crate) fn identity<S>(&self, stream: &TlsStream<S>) -> Option<Result<GatewayIdentity, NoIdentity>> {
        let own = stream.get_ref().1.peer_certificates()?.first()?;
        Some(identity::read(own, &self.trust_domain))
    }
}

/// Whether it was agreed that HTTP/2 is spoken inside. rustls ends the handshake where a client names other protocols only; one that
/// names none is left to us.
pub(crate) fn speaks_http_2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP_2)
}

/// Loads the certificates, or says all that is wrong with them. They stay as they are unless the keeper is let run.
pub async fn open(files: Files, trust_domain: TrustDomain, clock: Arc<dyn Clock>) -> Result<(Tls, Keeper), Rejection> {
    let (keeper, current) = Keeper::open(files, clock).await?;
    Ok((Tls { current, trust_domain }, keeper))
}

/// Time for verifying certificates comes from the one clock too.
struct Time(Arc<dyn Clock>);

impl Time {
    fn now(&self) -> rustls_pki_types::UnixTime {
        let secs = u64::try_from(self.0.now().unix_secs()).unwrap_or(0);
        rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(secs))
    }
}

impl std::fmt::Debug for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Time")
    }
}

impl rustls::time_provider::TimeProvider for Time {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        Some(self.now())
    }
}
