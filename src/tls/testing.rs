//! What tests of TLS share: files of a service, and a clock for their validity.

#[path = "../../tests/support/certificates.rs"]
mod certificates;

use super::Files;
use crate::engine::ports::Clock;
use crate::units::Instant;
use async_trait::async_trait;
use rustls::RootCertStore;
use rustls::client::ClientConfig;
use rustls::crypto::ring::default_provider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio_rustls::{TlsConnector, client};

pub(crate) use certificates::{Authority, Folder, Pair, set_mode};

/// While every certificate is valid, and when those of clients no longer are.
pub(crate) const IN_2026: Instant = Instant::from_unix_secs(1_790_000_000);
pub(crate) const IN_2031: Instant = Instant::from_unix_secs(1_930_000_000);

/// A clock that stands until it is moved.
pub(crate) struct StandingClock(AtomicI64);

impl StandingClock {
    pub(crate) fn at(instant: Instant) -> Self {
        Self(AtomicI64::new(instant.unix_secs()))
    }

    pub(crate) fn set(&self, instant: Instant) {
        self.0.store(instant.unix_secs(), Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for StandingClock {
    fn now(&self) -> Instant {
        Instant::from_unix_secs(self.0.load(Ordering::Relaxed))
    }

    async fn sleep_until(&self, _: Instant) {
        std::future::pending().await
    }
}

/// A certificate with these URIs among its names, of an authority that nobody knows.
pub(crate) fn certificate_with(uris: &[&str]) -> CertificateDer<'static> {
    let pair = Authority::new("nobody").client(1, uris);
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
}

/// How a client speaks: whom it trusts, what it shows, what it wants to speak inside.
pub(crate) fn client(trusts: &Authority, shows: Option<&Pair>, protocols: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(trusts.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// The client's side of a handshake.
pub(crate) async fn connect(config: ClientConfig, stream: DuplexStream) -> io::Result<client::TlsStream<DuplexStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// What is waited for comes, or the test fails instead of waiting for ever.
pub(crate) async fn comes<T>(future: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, future).await.expect("it comes")
}

/// The files of a service that lie in `folder`.
pub(crate) fn files(folder: &Folder) -> Files {
    Files {
        certificate: folder.path("certificate.pem"),
        key: folder.path("key.pem"),
        client_ca: None,
        client_crl: None,
    }
}
