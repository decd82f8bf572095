//! What tests of TLS share: files of a service, and a clock for their validity.

#[path = "../../tests/support/certificates.rs"]
mod certificates;

use super::Files;
use crate::engine::ports::Clock;
use crate::units::Instant;
use async_trait::async_trait;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::sync::atomic::{AtomicI64, Ordering};

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

/// The files of a service that lie in `folder`.
pub(crate) fn files(folder: &Folder) -> Files {
    Files {
        certificate: folder.path("certificate.pem"),
        key: folder.path("key.pem"),
        client_ca: None,
        client_crl: None,
    }
}
