//! What the engine counts of its own work, for operators.
//!
//! Decides into which steps times are sorted. Nothing that the engine does depends on any of it, and nothing of it names a session or
//! a person.

use super::inbox::Lane;
use super::site_task::Message;
use super::view::RolloutView;
use super::{Engine, SiteHandle};
use crate::domain::alarm::{AlarmKind, SiteAlarm};
use crate::domain::ids::SiteKey;
use crate::domain::profile::Cause;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Upper ends of the steps into which times are sorted, in microseconds: 1 ms to 60 s.
pub const TIME_STEPS_MICROS: [u64; 15] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];
/// A site that does not say how it stands within this is told of without that.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long things took, sorted into [`TIME_STEPS_MICROS`].
#[derive(Debug, Default)]
pub struct Times {
    /// One more than there are steps, for what took longer than all.
    steps: [AtomicU64; TIME_STEPS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimesTaken {
    /// How many fell in each step; the last is for what took longer than all.
    pub steps: [u64; TIME_STEPS_MICROS.len() + 1],
    pub sum_micros: u64,
}

/// What is counted of one site.
#[derive(Debug, Default)]
pub(super) struct SiteTallies {
    commands: [AtomicU64; 3],
    /// From when a cut was asked for until the last decrease for it was sent (INV-2).
    pub sheds: Times,
    pub searches: Times,
    pub appends: Times,
    /// Entries written to the journal.
    pub entries: AtomicU64,
    /// Requests refused because the queue was full.
    pub refused: AtomicU64,
}

/// How a site stands, and what was counted of it since the service started.
#[derive(Clone, Debug)]
pub struct SiteFigures {
    pub key: SiteKey,
    /// `None` where the site did not say.
    pub rollout: Option<Arc<RolloutView>>,
    /// Active alarms of each kind, in the order of [`AlarmKind::ALL`].
    pub alarms: [u64; AlarmKind::ALL.len()],
    /// Commands sent, by cause: [`CAUSES`].
    pub commands: [u64; CAUSES.len()],
    pub sheds: TimesTaken,
    pub searches: TimesTaken,
    pub appends: TimesTaken,
    pub entries: u64,
    pub refused: u64,
    /// Requests that wait.
    pub waiting: u64,
}

/// What the engine says of itself.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// By tenant and id.
    pub sites: Vec<SiteFigures>,
    /// Sites that were left out because there are too many.
    pub left_out: u64,
    /// Stateless plans that wait or run, and those that were refused.
    pub once_waiting: u64,
    pub once_refused: u64,
}

pub const CAUSES: [Cause; 3] = [Cause::Change, Cause::Renewal, Cause::Retry];

impl Times {
    pub fn took(&self, micros: u64) {
        let step = TIME_STEPS_MICROS.partition_point(|end| *end < micros);
        self.steps[step].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn now(&self) -> TimesTaken {
        TimesTaken {
            steps: std::array::from_fn(|step| self.steps[step].load(Ordering::Relaxed)),
            sum_micros: self.sum_micros.load(Ordering::Relaxed),
        }
    }
}

impl SiteTallies {
    pub fn sent(&self, cause: Cause) {
        let index = CAUSES.iter().position(|known| *known == cause).unwrap_or_default();
        self.commands[index].fetch_add(1, Ordering::Relaxed);
    }
}

/// The figures of at most `most` sites.
pub(super) async fn figures(engine: &Engine, most: usize) -> Figures {
    let shared = &engine.shared;
    let listed = |(key, handle): (&SiteKey, &SiteHandle)| (key.clone(), handle.clone());
    let handles: Vec<_> = engine.read_sites().iter().map(listed).collect();
    let left_out = handles.len().saturating_sub(most);
    // All at once, so that one that is busy keeps no other waiting.
    let mut asked = JoinSet::new();
    let mut sites = BTreeMap::new();
    for (key, handle) in handles.into_iter().take(most) {
        let tallies = &handle.tallies;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let figures = SiteFigures {
            key: key.clone(),
            rollout: None,
            alarms: [0; AlarmKind::ALL.len()],
            commands: std::array::from_fn(|cause| count(&tallies.commands[cause])),
            sheds: tallies.sheds.now(),
            searches: tallies.searches.now(),
            appends: tallies.appends.now(),
            entries: count(&tallies.entries),
            refused: count(&tallies.refused),
            waiting: handle.status.waiting.load(Ordering::Relaxed) as u64,
        };
        if handle.summary.borrow().exists && !handle.status.has_ended() {
            let key = key.clone();
            asked.spawn(async move {
                let rollout = handle.ask(Lane::Ordinary, |reply| Message::Rollout { reply });
                (key, timeout(PATIENCE, rollout).await)
            });
        } else if !shared.world.board.has_any(&key) {
            // Deleted, and nothing is left to say of it.
            continue;
        }
        sites.insert(key, figures);
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok((key, Ok(Ok(view)))) = answer
            && let Some(figures) = sites.get_mut(&key)
        {
            figures.rollout = Some(view);
        }
    }
    for SiteAlarm { key, alarm } in shared.world.board.list_all() {
        if let Some(figures) = sites.get_mut(&key).filter(|_| alarm.is_active()) {
            let index = AlarmKind::ALL
                .iter()
                .position(|kind| *kind == alarm.kind)
                .unwrap_or_default();
            figures.alarms[index] += 1;
        }
    }
    Figures {
        sites: sites.into_values().collect(),
        left_out: left_out as u64,
        once_waiting: shared.waiting_once.load(Ordering::Relaxed) as u64,
        once_refused: shared.refused_once.load(Ordering::Relaxed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_in_the_step_that_ends_with_it() {
        let times = Times::default();
        for micros in [0, 1_000, 1_001, 60_000_000, 60_000_001] {
            times.took(micros);
        }
        let taken = times.now();
        assert_eq!(
            (taken.steps[0], taken.steps[1], taken.steps[14], taken.steps[15]),
            (2, 1, 1, 1)
        );
        assert_eq!(taken.sum_micros, 120_002_002);
        assert!(TIME_STEPS_MICROS.is_sorted());
    }
}
