//! A clock that stands still until it is told to move on.
//!
//! Decides when sleepers wake: as soon as it is advanced to their instant. It never moves by itself, so between two moves
//! everything happens at one and the same instant.

use crate::engine::ports::Clock;
use crate::units::Instant;
use async_trait::async_trait;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// Virtual time.
#[derive(Debug)]
pub struct VirtualClock {
    now: watch::Sender<Instant>,
    /// How many sleepers wait for each instant, those included that are woken but have not run yet.
    sleepers: watch::Sender<BTreeMap<Instant, usize>>,
}

impl VirtualClock {
    pub fn starting_at(start: Instant) -> Self {
        Self {
            now: watch::Sender::new(start),
            sleepers: watch::Sender::new(BTreeMap::new()),
        }
    }

    /// Moves on to `instant`.
    ///
    /// # Panics
    /// If that is in the past: virtual time has no reason to run backwards.
    pub fn advance_to(&self, instant: Instant) {
        assert!(self.now() <= instant, "virtual time runs forwards");
        self.now.send_replace(instant);
    }

    /// The instant that the earliest sleeper waits for. At or before now: it is awake, and has not run yet.
    pub fn earliest_sleeper(&self) -> Option<Instant> {
        self.sleepers.borrow().keys().next().copied()
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        *self.now.borrow()
    }

    async fn sleep_until(&self, instant: Instant) {
        let _registered = Sleeper::register(&self.sleepers, instant);
        let mut now = self.now.subscribe();
        // Fails only without a clock, and the clock is borrowed here.
        let _ = now.wait_for(|now| *now >= instant).await;
    }
}

/// Counts a sleeper for as long as it sleeps, also if its task gives up before.
struct Sleeper<'clock> {
    sleepers: &'clock watch::Sender<BTreeMap<Instant, usize>>,
    instant: Instant,
}

impl<'clock> Sleeper<'clock> {
    fn register(sleepers: &'clock watch::Sender<BTreeMap<Instant, usize>>, instant: Instant) -> Self {
        sleepers.send_modify(|sleepers| *sleepers.entry(instant).or_default() += 1);
        Self { sleepers, instant }
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.sleepers.send_modify(|sleepers| {
            if let Some(count) = sleepers.get_mut(&self.instant) {
                *count -= 1;
                if *count == 0 {
                    sleepers.remove(&self.instant);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn at(secs: i64) -> Instant {
        Instant::from_unix_secs(secs)
    }

    #[tokio::test]
    async fn sleepers_wake_when_their_instant_is_reached_and_not_before() {
        let clock = Arc::new(VirtualClock::starting_at(at(100)));
        let sleep = |instant: Instant| {
            let clock = clock.clone();
            tokio::spawn(async move {
                clock.sleep_until(instant).await;
                clock.now()
            })
        };
        let (late, early) = (sleep(at(300)), sleep(at(200)));
        while clock.sleepers.borrow().len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(clock.earliest_sleeper(), Some(at(200)));
        clock.advance_to(at(250));
        assert_eq!(early.await.unwrap(), at(250));
        assert_eq!(clock.earliest_sleeper(), Some(at(300)));
        assert!(!late.is_finished());
        clock.advance_to(at(300));
        assert_eq!(late.await.unwrap(), at(300));
        assert_eq!(clock.earliest_sleeper(), None);
    }

    #[tokio::test]
    async fn a_sleeper_that_gives_up_is_forgotten() {
        let clock = Arc::new(VirtualClock::starting_at(at(0)));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(at(10)).await }
        });
        while clock.earliest_sleeper() != Some(at(10)) {
            tokio::task::yield_now().await;
        }
        sleeper.abort();
        assert!(sleeper.await.unwrap_err().is_cancelled());
        assert_eq!(clock.earliest_sleeper(), None);
    }

    #[tokio::test]
    async fn an_instant_that_has_passed_is_not_slept_for() {
        let clock = VirtualClock::starting_at(at(50));
        clock.sleep_until(at(50)).await;
        clock.sleep_until(at(7)).await;
    }
}
