//! The check of an EVSE when it is commissioned: whether it does by itself what the site says, and whether it obeys.
//!
//! Decides what the EVSE is to be told in each step and what its readings show, in integers and words. Never decides what may be sent:
//! the roll-out tells it no more than there is room for, as always. Pure: told the same at the same instants it finds the same.
//!
//! A step is *passed* only where a reading shows the ceiling kept that the car was seen to exceed before. A car that takes nothing, a
//! meter that says nothing and room that is not there leave it *not seen*, which is no fault of the EVSE.

use super::conversion::{Conversion, Rate, RateUnit};
use super::ids::{EvseId, SessionId};
use super::profile::Revision;
use super::session::MeterSample;
use super::site::Connector;
use super::timeline::Timeline;
use crate::units::{DeciAmps, Instant, Seconds, Watts};

/// For a command to be sent, carried and accepted.
const TO_ACCEPT: Seconds = Seconds::from_mins(3);
/// For the meter to read something after that, and for a car to take more.
const TO_SEE: Seconds = Seconds::from_mins(2);
/// How long the last profile of ours holds before its tail.
const SHORT_LEASE: Seconds = Seconds::from_secs(60);
/// How long the EVSE is watched without a profile.
const WATCHED: Seconds = Seconds::from_secs(60);
/// A car may be read this much above its ceiling: accuracy of the pilot signal and of the meter.
const TOLERANCE: DeciAmps = DeciAmps::from_deciamps(10);
const TOLERANCE_WATTS: Watts = Watts::from_watts(300);

/// What is looked at, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckStep {
    /// Told its maximum, the car takes more than the least: else nothing can be seen.
    TakesPower,
    /// Told the least, it takes no more.
    FollowsLower,
    /// Told zero, it takes nothing.
    FollowsZero,
    /// Told its maximum again, it takes more.
    FollowsHigher,
    /// Once its lease is over, it takes nothing.
    FallsToTail,
    /// Told nothing, it takes no more than its default.
    KeepsDefault,
}

impl CheckStep {
    pub const ALL: [Self; 6] = [
        Self::TakesPower,
        Self::FollowsLower,
        Self::FollowsZero,
        Self::FollowsHigher,
        Self::FallsToTail,
        Self::KeepsDefault,
    ];

    fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step > self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    Passed,
    Failed,
    /// Nothing speaks against it, and nothing for it.
    NotSeen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepResult {
    pub step: CheckStep,
    pub finding: Finding,
    pub at: Instant,
    /// What was measured, in words.
    pub what: String,
}

/// The step under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub step: CheckStep,
    pub since: Instant,
    /// The last command before it.
    pub revision_before: Revision,
    /// Since when the EVSE says that it follows what the step tells it.
    pub followed_since: Option<Instant>,
}

/// A check, under way or over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvseCheck {
    pub evse: EvseId,
    /// The car by which it is seen; absent where none was there.
    pub session: Option<SessionId>,
    pub begun_at: Instant,
    pub results: Vec<StepResult>,
    /// Absent once it is over.
    pub running: Option<Running>,
    pub ended_at: Option<Instant>,
    /// Why it ended before its time, in words.
    pub aborted: Option<String>,
    /// What was read while the car took the most.
    pub drawn: Option<MeterSample>,
}

/// What the EVSE is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Rates(Timeline<Rate>),
    /// Our profile is removed.
    Nothing,
}

/// What is known of the EVSE at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub connector: &'a Connector,
    pub car_phases: Option<u8>,
    /// How long cars take to follow.
    pub settling: Seconds,
    /// The last command.
    pub revision: Revision,
    /// What the EVSE lets the car take, where it has accepted the last command.
    pub offered: Option<Rate>,
    pub sample: Option<&'a MeterSample>,
}

impl EvseCheck {
    /// A check that begins now. `unseen` says why nothing can be seen at all; then it is over at once.
    pub fn begin(
        evse: EvseId,
        session: Option<SessionId>,
        revision: Revision,
        unseen: Option<&str>,
        now: Instant,
    ) -> Self {
        let mut check = Self {
            evse,
            session,
            begun_at: now,
            results: Vec::new(),
            running: None,
            ended_at: None,
            aborted: None,
            drawn: None,
        };
        match unseen {
            Some(why) => {
                check.results = CheckStep::ALL
                    .map(|step| result(step, Finding::NotSeen, why, now))
                    .to_vec();
                check.ended_at = Some(now);
            }
            None => check.enter(CheckStep::TakesPower, revision, now),
        }
        check
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Failed if any step is; passed if all are.
    pub fn verdict(&self) -> Finding {
        let any = |finding| self.results.iter().any(|result| result.finding == finding);
        if any(Finding::Failed) {
            Finding::Failed
        } else if self.results.len() == CheckStep::ALL.len() && !any(Finding::NotSeen) {
            Finding::Passed
        } else {
            Finding::NotSeen
        }
    }

    /// It ends here; what was found stays.
    pub fn abort(&mut self, why: &str, now: Instant) {
        if self.running.take().is_some() {
            self.ended_at = Some(now);
            self.aborted = Some(why.to_owned());
        }
    }

    /// What the step under way tells the EVSE; `None` once it is over.
    pub fn told(&self, connector: &Connector) -> Option<Told> {
        let running = self.running.as_ref()?;
        let always = |rate: Rate| Told::Rates(Timeline::constant(rate));
        Some(match running.step {
            CheckStep::TakesPower | CheckStep::FollowsHigher => always(connector.maximum),
            CheckStep::FollowsLower => always(connector.minimum),
            CheckStep::FollowsZero => always(Rate::ZERO),
            // Sent as a profile with just that end: to a station a lease is nothing else.
            CheckStep::FallsToTail => Told::Rates(Timeline::from_points([
                (running.since, connector.maximum),
                (running.since + SHORT_LEASE, Rate::ZERO),
            ])),
            CheckStep::KeepsDefault => Told::Nothing,
        })
    }

    /// The check as it is after a look at the facts; `None` while nothing new is to be said.
    pub fn look(&self, facts: &Facts<'_>, now: Instant) -> Option<Self> {
        let running = self.running.as_ref()?;
        let Some(followed_since) = running.followed_since else {
            return self.await_acceptance(running, facts, now);
        };
        let settled = match running.step {
            // Its clock may be wrong, and the car slow.
            CheckStep::FallsToTail => running.since + SHORT_LEASE + facts.settling + facts.settling,
            _ => followed_since + facts.settling,
        };
        let shows_draw = |sample: &&MeterSample| sample.power.is_some() || sample.currents.is_some();
        let reading = facts.sample.filter(shows_draw).filter(|sample| sample.at >= settled);
        let (finding, what) = match reading {
            Some(reading) => self.judge(running.step, reading, facts, settled, now)?,
            None if now >= settled + TO_SEE => (Finding::NotSeen, "its meter said nothing in time".to_owned()),
            None => return None,
        };
        Some(self.found(running.step, finding, &what, facts, now))
    }

    fn await_acceptance(&self, running: &Running, facts: &Facts<'_>, now: Instant) -> Option<Self> {
        let is_new = facts.revision > running.revision_before;
        // At first it may be told its maximum already.
        let is_told =
            is_new || (running.step == CheckStep::TakesPower && facts.offered > Some(facts.connector.minimum));
        if is_told && facts.offered.is_some() {
            let mut followed = self.clone();
            followed.running.as_mut()?.followed_since = Some(now);
            return Some(followed);
        }
        if now < running.since + TO_ACCEPT {
            return None;
        }
        let (finding, what) = if is_new {
            (Finding::Failed, "it has not accepted its profile in three minutes")
        } else {
            (Finding::NotSeen, "there was no room for it in three minutes")
        };
        Some(self.found(running.step, finding, what, facts, now))
    }

    /// What a reading shows; `None` while another may show more.
    fn judge(
        &self,
        step: CheckStep,
        reading: &MeterSample,
        facts: &Facts<'_>,
        settled: Instant,
        now: Instant,
    ) -> Option<(Finding, String)> {
        let unit = facts.connector.unit();
        let took = drawn_words(reading);
        let ceiling = match step {
            CheckStep::TakesPower | CheckStep::FollowsHigher => {
                let offered = words(facts.offered.unwrap_or_default(), unit);
                return match facts.exceeds(reading, facts.connector.minimum) {
                    true => Some((Finding::Passed, format!("allowed {offered}, it took {took}"))),
                    false if now < settled + TO_SEE => None,
                    false => Some((Finding::NotSeen, format!("allowed {offered}, the car took only {took}"))),
                };
            }
            CheckStep::FollowsLower => facts.connector.minimum,
            CheckStep::FollowsZero | CheckStep::FallsToTail => Rate::ZERO,
            CheckStep::KeepsDefault => facts.connector.default_or_maximum(),
        };
        let allowed = match step {
            CheckStep::FallsToTail => "its lease over".to_owned(),
            CheckStep::KeepsDefault => format!("told nothing, with a default of {}", words(ceiling, unit)),
            _ => format!("allowed {}", words(ceiling, unit)),
        };
        if facts.exceeds(reading, ceiling) {
            return Some((Finding::Failed, format!("{allowed}, it took {took}")));
        }
        if step == CheckStep::KeepsDefault && reading.at < settled + WATCHED {
            return None;
        }
        let could_be_seen = self.drawn.as_ref().is_some_and(|drawn| facts.exceeds(drawn, ceiling));
        Some(if could_be_seen {
            (Finding::Passed, format!("{allowed}, it took {took}"))
        } else {
            let most = self.drawn.as_ref().map_or_else(|| "nothing".to_owned(), drawn_words);
            let why = format!("{allowed}, it took {took}; the car took no more than {most} before");
            (Finding::NotSeen, why)
        })
    }

    fn found(&self, step: CheckStep, finding: Finding, what: &str, facts: &Facts<'_>, now: Instant) -> Self {
        let mut next = self.clone();
        next.results.push(result(step, finding, what, now));
        if matches!(step, CheckStep::TakesPower | CheckStep::FollowsHigher)
            && let Some(sample) = facts.sample
            && next.drawn.as_ref().is_none_or(|drawn| draw(sample) > draw(drawn))
        {
            next.drawn = Some(sample.clone());
        }
        match step.next() {
            Some(step) => next.enter(step, facts.revision, now),
            None => {
                next.running = None;
                next.ended_at = Some(now);
            }
        }
        next
    }

    fn enter(&mut self, step: CheckStep, revision_before: Revision, now: Instant) {
        self.running = Some(Running {
            step,
            since: now,
            revision_before,
            followed_since: None,
        });
    }
}

impl Facts<'_> {
    fn conversion(&self) -> Conversion {
        self.connector.conversion().for_car(self.car_phases)
    }

    /// Whether more was read than `rate` allows, by more than meters and pilots err.
    fn exceeds(&self, sample: &MeterSample, rate: Rate) -> bool {
        match sample
            .currents
            .filter(|_| self.connector.unit() == RateUnit::DeciAmpere)
        {
            Some(currents) => currents.into_iter().max() > Some(DeciAmps::from_deciamps(rate.value()) + TOLERANCE),
            None => sample
                .power
                .is_some_and(|power| power > self.conversion().load(rate).total + TOLERANCE_WATTS),
        }
    }
}

fn result(step: CheckStep, finding: Finding, what: &str, at: Instant) -> StepResult {
    StepResult {
        step,
        finding,
        at,
        what: what.to_owned(),
    }
}

/// By what two readings of one meter are compared.
fn draw(sample: &MeterSample) -> (Option<DeciAmps>, Option<Watts>) {
    (
        sample.currents.and_then(|currents| currents.into_iter().max()),
        sample.power,
    )
}

fn drawn_words(sample: &MeterSample) -> String {
    match draw(sample) {
        (Some(current), _) => words(Rate::new(current.deciamps()), RateUnit::DeciAmpere),
        (None, Some(power)) => words(Rate::new(power.watts()), RateUnit::Watt),
        (None, None) => "nothing that was read".to_owned(),
    }
}

fn words(rate: Rate, unit: RateUnit) -> String {
    let value = rate.value();
    match unit {
        RateUnit::DeciAmpere if value < 0 => format!("-{}.{} A", -value / 10, -value % 10),
        RateUnit::DeciAmpere => format!("{}.{} A", value / 10, value % 10),
        RateUnit::Watt => format!("{value} W"),
    }
}
