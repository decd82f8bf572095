//! Loads the certificates anew when their files change, or when told to.
//!
//! Decides when a change is looked at: once it has stood still from one look to the next, so that a certificate and its key which are
//! written one after the other are taken together. What cannot be loaded changes nothing: the old ones stay in force, the log says why,
//! once, and the next change is another try. Never touches a connection that is open.

use super::files::{Contents, Fingerprint, Loaded};
use super::{Files, Time};
use crate::domain::rejection::Rejection;
use crate::engine::ports::Clock;
use crate::units::{Instant, Seconds};
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the log is told that a certificate expires.
const WARN_EVERY: Seconds = Seconds::from_secs(24 * 60 * 60);

/// Keeps the certificates in force up to date with their files.
pub struct Keeper {
    files: Files,
    clock: Arc<dyn Clock>,
    current: watch::Sender<Arc<ServerConfig>>,
    loaded: Loaded,
    /// What was last tried to load, and what was last seen.
    tried: Fingerprint,
    seen: Fingerprint,
    warned: Instant,
}

/// What came of a look or of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Unchanged,
    /// Not the same as at the last look: let it come to rest.
    Changing,
    Loaded,
    Refused,
}

impl Keeper {
    pub(super) async fn open(
        files: Files,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, watch::Receiver<Arc<ServerConfig>>), Rejection> {
        let contents = read(&files).await;
        let found = contents.fingerprint();
        let loaded = contents.build(Time(Arc::clone(&clock)))?;
        let (current, taken) = watch::channel(Arc::clone(&loaded.config));
        let mut keeper = Self {
            files,
            warned: clock.now(),
            clock,
            current,
            loaded,
            tried: found,
            seen: found,
        };
        keeper.warn();
        Ok((keeper, taken))
    }

    /// Goes on until nobody takes certificates any more. Each message of `told` loads them anew whether they changed or not.
    pub async fn keep(mut self, mut told: mpsc::Receiver<()>) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let current = self.current.clone();
        loop {
            tokio::select! {
                () = current.closed() => return,
                Some(()) = told.recv() => {
                    self.reload().await;
                }
                _ = ticks.tick() => {
                    self.look().await;
                }
            }
        }
    }

    /// Loads them anew whether they changed or not; whether they are in force.
    pub async fn reload(&mut self) -> bool {
        let contents = read(&self.files).await;
        self.load(&contents, "told to") == Outcome::Loaded
    }

    async fn look(&mut self) -> Outcome {
        if self.clock.now() - self.warned >= WARN_EVERY {
            self.warn();
        }
        let contents = read(&self.files).await;
        let found = contents.fingerprint();
        let before = std::mem::replace(&mut self.seen, found);
        if found == self.tried {
            return Outcome::Unchanged;
        }
        if found != before {
            return Outcome::Changing;
        }
        self.load(&contents, "the files changed")
    }

    fn load(&mut self, contents: &Contents, cause: &'static str) -> Outcome {
        self.tried = contents.fingerprint();
        self.seen = self.tried;
        match contents.build(Time(Arc::clone(&self.clock))) {
            Ok(loaded) => {
                self.current.send_replace(Arc::clone(&loaded.config));
                self.loaded = loaded;
                tracing::info!(cause, "certificates loaded anew; open connections keep the old ones");
                self.warn();
                Outcome::Loaded
            }
            Err(rejection) => {
                let faults = rejection.to_string().replace('\n', "; ");
                tracing::error!(
                    cause,
                    faults,
                    "certificates not loaded anew: the old ones stay in force"
                );
                Outcome::Refused
            }
        }
    }

    fn warn(&mut self) {
        let time = Time(Arc::clone(&self.clock));
        self.warned = self.clock.now();
        for warning in self.loaded.warnings(time.now()) {
            tracing::warn!(warning, "certificates want attention");
        }
    }
}

/// Not on a thread that answers calls: a file may lie on a network.
async fn read(files: &Files) -> Contents {
    let files = files.clone();
    let reading = tokio::task::spawn_blocking(move || Contents::read(&files));
    reading.await.expect("reading files does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Authority, Folder, IN_2026, Pair, StandingClock, client, comes, connect, files};
    use crate::tls::{Tls, TrustDomain, open};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_rustls::{client::TlsStream, server};

    struct Service {
        folder: Folder,
        authority: Authority,
        tls: Tls,
        keeper: Keeper,
    }

    async fn service() -> Service {
        let folder = Folder::new();
        let authority = Authority::new("ours");
        folder.put(&authority.server(1));
        let clock = Arc::new(StandingClock::at(IN_2026));
        let trust_domain = TrustDomain::parse("laddplan").unwrap();
        let (tls, keeper) = open(files(&folder), trust_domain, clock).await.unwrap();
        Service {
            folder,
            authority,
            tls,
            keeper,
        }
    }

    type Ends = (TlsStream<DuplexStream>, server::TlsStream<DuplexStream>);

    impl Service {
        async fn connect(&self) -> Ends {
            let (near, far) = duplex(1 << 16);
            let config = client(&self.authority, None, &[b"h2"]);
            let (near, far) =
                comes(async { tokio::join!(connect(config, near), self.tls.acceptor().accept(far)) }).await;
            (near.unwrap(), far.unwrap())
        }

        /// The serial number of the certificate that a new connection is shown.
        async fn serial(&self) -> u8 {
            shown(&self.connect().await)
        }
    }

    fn shown(ends: &Ends) -> u8 {
        let certificate = &ends.0.get_ref().1.peer_certificates().unwrap()[0];
        let certificate = webpki::EndEntityCert::try_from(certificate).unwrap();
        *certificate.serial().last().unwrap()
    }

    #[tokio::test]
    async fn new_connections_take_the_new_certificate_and_open_ones_go_on() {
        let mut service = service().await;
        let mut old = service.connect().await;
        assert_eq!(service.keeper.look().await, Outcome::Unchanged);
        service.folder.put(&service.authority.server(2));
        assert_eq!(service.keeper.look().await, Outcome::Changing);
        assert_eq!(service.serial().await, 1, "a change is let come to rest");
        assert_eq!(service.keeper.look().await, Outcome::Loaded);
        assert_eq!(service.keeper.look().await, Outcome::Unchanged);
        assert_eq!(service.serial().await, 2);
        assert_eq!(shown(&old), 1);
        old.0.write_all(b"still here").await.unwrap();
        old.0.flush().await.unwrap();
        let mut heard = [0; 10];
        comes(old.1.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"still here");
    }

    #[tokio::test]
    async fn what_cannot_be_loaded_leaves_the_old_ones_in_force_until_it_changes() {
        let mut service = service().await;
        let whole = service.authority.server(2);
        let other = service.authority.server(3);
        service.folder.put(&Pair {
            key: other.key,
            ..whole.clone()
        });
        assert_eq!(service.keeper.look().await, Outcome::Changing);
        assert_eq!(service.keeper.look().await, Outcome::Refused);
        assert_eq!(service.keeper.look().await, Outcome::Unchanged, "it is told once");
        assert_eq!(service.serial().await, 1);
        std::fs::remove_file(service.folder.path("key.pem")).unwrap();
        assert_eq!(service.keeper.look().await, Outcome::Changing);
        assert_eq!(service.keeper.look().await, Outcome::Refused);
        assert_eq!(service.serial().await, 1);
        service.folder.put(&whole);
        assert_eq!(service.keeper.look().await, Outcome::Changing);
        assert_eq!(service.keeper.look().await, Outcome::Loaded);
        assert_eq!(service.serial().await, 2);
    }

    #[tokio::test]
    async fn a_certificate_and_its_key_are_taken_together() {
        let mut service = service().await;
        let new = service.authority.server(2);
        service.folder.write("certificate.pem", &new.certificate);
        assert_eq!(service.keeper.look().await, Outcome::Changing);
        service.folder.write("key.pem", &new.key);
        assert_eq!(service.keeper.look().await, Outcome::Changing);
        assert_eq!(service.keeper.look().await, Outcome::Loaded);
    }

    #[tokio::test]
    async fn told_to_it_loads_at_once() {
        let mut service = service().await;
        assert!(service.keeper.reload().await, "also what did not change");
        service.folder.put(&service.authority.server(2));
        assert!(service.keeper.reload().await);
        assert_eq!(service.serial().await, 2);
        service.folder.write("key.pem", "");
        assert!(!service.keeper.reload().await);
        assert_eq!(service.serial().await, 2);
        assert_eq!(service.keeper.look().await, Outcome::Unchanged, "it was tried");
    }

    #[tokio::test]
    async fn keeping_ends_with_the_last_who_takes_certificates() {
        let Service { tls, keeper, .. } = service().await;
        let (tell, told) = mpsc::channel(1);
        let keeping = tokio::spawn(keeper.keep(told));
        tell.send(()).await.unwrap();
        drop(tls);
        comes(keeping).await.unwrap();
    }
}
