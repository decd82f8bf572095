//! A charging profile of ours: a ceiling over time that ends in a tail, and the commands that carry it to a gateway.
//!
//! Decides the shape of what is sent: absolute start, the plan cut to the lease, then the tail for ever. Never looser than what it
//! was made from: merging periods takes the lower rate.

use super::conversion::{Rate, RateUnit};
use super::ids::{ConnectorId, EvseId, SessionId};
use super::timeline::Timeline;
use crate::units::Instant;

/// A ceiling over time. Before its start a station that holds it may already follow its first rate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChargingProfile {
    pub unit: RateUnit,
    limits: Timeline<Rate>,
    lease_end: Instant,
}

impl ChargingProfile {
    /// `limits` from `start` until `lease_end`, then `tail` for ever.
    ///
    /// # Panics
    /// If the lease ends before it starts.
    pub fn cut(unit: RateUnit, limits: &Timeline<Rate>, start: Instant, lease_end: Instant, tail: Rate) -> Self {
        assert!(start < lease_end, "a lease ends after its start");
        let from_start = limits.since(start);
        let kept = from_start.points().iter().copied().filter(|(at, _)| *at < lease_end);
        Self {
            unit,
            limits: Timeline::from_points(kept.chain([(lease_end, tail)])),
            lease_end,
        }
    }

    /// A profile as it was recorded.
    ///
    /// # Panics
    /// If the lease ends before the profile starts.
    pub fn from_parts(unit: RateUnit, limits: Timeline<Rate>, lease_end: Instant) -> Self {
        assert!(limits.start() < lease_end, "a lease ends after its start");
        Self {
            unit,
            limits,
            lease_end,
        }
    }

    pub fn start(&self) -> Instant {
        self.limits.start()
    }

    pub fn limits(&self) -> &Timeline<Rate> {
        &self.limits
    }

    /// From here on only the tail holds.
    pub fn lease_end(&self) -> Instant {
        self.lease_end
    }

    /// What it allows for ever after the lease.
    pub fn tail(&self) -> Rate {
        *self.limits.last()
    }

    /// The same with at most `most` periods. Neighbours are merged to the lower rate, where that loses least energy first.
    pub fn with_at_most(self, most: usize) -> Self {
        let mut points = self.limits.points().to_vec();
        while points.len() > most.max(1) {
            let loss_of_merging = |index: usize| {
                let (start, rate) = points[index];
                let (middle, next_rate) = points[index + 1];
                if next_rate < rate {
                    // The earlier period sinks to the later one's rate.
                    (rate.value() - next_rate.value()) * (middle - start).secs()
                } else {
                    let end = points
                        .get(index + 2)
                        .map_or(self.lease_end.max(middle), |(end, _)| *end);
                    (next_rate.value() - rate.value()).saturating_mul((end - middle).secs().max(1))
                }
            };
            let index = (0..points.len() - 1)
                .min_by_key(|index| loss_of_merging(*index))
                .expect("there are two periods or more");
            points[index].1 = points[index].1.min(points[index + 1].1);
            points.remove(index + 1);
        }
        Self {
            limits: Timeline::from_points(points),
            ..self
        }
    }
}

/// Counts the profiles sent to one EVSE; a gateway ignores a revision at or below one it has applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    pub const NONE: Self = Self(0);

    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u64 {
        self.0
    }

    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Counts the transmissions of one revision.
pub type Attempt = u32;

/// What a gateway is told to do at one EVSE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Instruction {
    /// Replace whatever profile of ours the session has.
    Set(ChargingProfile),
    /// Remove our profile: the station decides from here on.
    Clear,
}

/// Why a command was sent; renewals and changes are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The ceiling differs from what was last sent.
    Change,
    /// Same ceiling, new lease.
    Renewal,
    /// Same revision again, because no answer came.
    Retry,
}

/// One transmission to a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProfileCommand {
    pub evse: EvseId,
    pub session: SessionId,
    pub connector: ConnectorId,
    pub revision: Revision,
    pub attempt: Attempt,
    pub sent_at: Instant,
    pub cause: Cause,
    pub instruction: Instruction,
}

/// What a gateway said about a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Passed on to the station; says nothing about its effect.
    Forwarded,
    /// The station follows it.
    Accepted,
    /// The station does not follow it.
    Rejected { reason: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Instant {
        Instant::from_unix_secs(secs)
    }

    fn profile(points: &[(i64, i64)], lease_end: i64, tail: i64) -> ChargingProfile {
        let limits = Timeline::from_points(points.iter().map(|(secs, rate)| (at(*secs), Rate::new(*rate))));
        ChargingProfile::cut(
            RateUnit::DeciAmpere,
            &limits,
            at(points[0].0),
            at(lease_end),
            Rate::new(tail),
        )
    }

    fn points(profile: &ChargingProfile) -> Vec<(i64, i64)> {
        profile
            .limits()
            .points()
            .iter()
            .map(|(at, rate)| (at.unix_secs(), rate.value()))
            .collect()
    }

    #[test]
    fn the_plan_is_cut_to_the_lease_and_ends_in_the_tail() {
        assert_eq!(
            points(&profile(&[(0, 160), (300, 100), (900, 320)], 900, 0)),
            [(0, 160), (300, 100), (900, 0)]
        );
        assert_eq!(points(&profile(&[(0, 60)], 900, 60)), [(0, 60)]);
    }

    #[test]
    fn fewer_periods_never_allow_more() {
        let full = profile(&[(0, 160), (10, 80), (20, 100), (30, 0), (40, 320)], 900, 60);
        for most in 1..=6 {
            let merged = full.clone().with_at_most(most);
            assert!(merged.limits().points().len() <= most);
            for secs in 0..2000 {
                assert!(
                    merged.limits().at(at(secs)) <= full.limits().at(at(secs)),
                    "{most} periods at second {secs}"
                );
            }
        }
    }
}
