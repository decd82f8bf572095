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
                    let contents = read(&self.files).await;
                    self.load(&contents, "told to");
                }
                _ = ticks.tick() => {
                    self.look().await;
                }
            }
        }
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

    fn load(&mut self, contents: &Contents, why: &'static str) -> Outcome {
        self.tried = contents.fingerprint();
        self.seen = self.tried;
        match contents.build(Time(Arc::clone(&self.clock))) {
            Ok(loaded) => {
                self.current.send_replace(Arc::clone(&loaded.config));
                self.loaded = loaded;
                tracing::info!(why, "certificates loaded anew; open connections keep the old ones");
                self.warn();
                Outcome::Loaded
            }
            Err(rejection) => {
                let faults = rejection.to_string().replace('\n', "; ");
                tracing::error!(why, faults, "certificates not loaded anew: the old ones stay in force");
                Outcome::Refused
            }
        }
    }

    fn warn(&mut self) {
        let time = Time(Arc::clone(&self.clock));
        self.warned = self.clock.now();
        for warning in self.loaded.warnings(time.now()) {
            tracing::warn!("{warning}");
        }
    }
}

/// Not on a thread that answers calls: a file may lie on a network.
async fn read(files: &Files) -> Contents {
    let files = files.clone();
    let reading = tokio::task::spawn_blocking(move || Contents::read(&files));
    reading.await.expect("reading files does not panic")
}
