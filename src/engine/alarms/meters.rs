//! What meters say that cannot all be true.
//!
//! Decides when readings of one EVSE contradict each other, or what is known of it: it draws though no session is there, its counter
//! runs backwards, or counter and power are far apart. Only readings are compared; what a reading says of a ceiling is the roll-out's.

use crate::domain::alarm::{AlarmKind, Condition, Subject};
use crate::domain::ids::{EvseId, SessionId};
use crate::domain::session::MeterSample;
use crate::units::{Instant, Seconds, WattSeconds};
use std::collections::BTreeMap;

/// A contradiction is told for this long after it was last seen.
const DOUBT: Seconds = Seconds::from_mins(15);
/// A draw without a session is none of ordinary life once it was seen for this long: sessions are reported a little late.
const UNREPORTED_SESSION: Seconds = Seconds::from_secs(60);
/// A counter may fall by this much where it is rounded.
const COUNTER_STEP: WattSeconds = WattSeconds::from_watt_hours(10);
/// Counter and power are compared over at least this much energy, and only between readings not further apart than this.
const COMPARED_ENERGY: WattSeconds = WattSeconds::from_watt_hours(1_000);
const LONGEST_GAP: Seconds = Seconds::from_mins(5);
/// They may differ by this share of the greater: power is read now and then, and varies between.
const DIFFERENCE_PERCENT: i64 = 30;

/// Of each EVSE with a meter, what its readings said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meters {
    watches: BTreeMap<EvseId, MeterWatch>,
}

/// What the readings of one EVSE said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterWatch {
    /// The last reading, and the session that was there.
    pub last: Option<(Option<SessionId>, MeterSample)>,
    /// Since when it has drawn without a session.
    pub drawing_since: Option<Instant>,
    /// Energy since the last comparison, by the counter and by power.
    pub counted: WattSeconds,
    pub by_power: WattSeconds,
    /// The last contradiction.
    pub contradiction: Option<(Instant, Contradiction)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    DrawsWithoutSession,
    RunsBackwards {
        from: WattSeconds,
        to: WattSeconds,
    },
    FarApart {
        counted: WattSeconds,
        by_power: WattSeconds,
    },
}

impl Meters {
    /// What was kept of them.
    pub fn new(watches: impl IntoIterator<Item = (EvseId, MeterWatch)>) -> Self {
        Self {
            watches: watches.into_iter().collect(),
        }
    }

    pub fn watches(&self) -> impl Iterator<Item = (&EvseId, &MeterWatch)> {
        self.watches.iter()
    }

    /// A reading of an EVSE of the site, while `session` was there.
    pub fn read(&mut self, sample: &MeterSample, session: Option<&SessionId>) {
        let watch = self.watches.entry(sample.evse.clone()).or_default();
        if watch.last.as_ref().is_none_or(|(_, last)| last.at < sample.at) {
            watch.read(sample, session);
        }
    }

    /// Forgets EVSEs that are gone.
    pub fn keep(&mut self, is_there: impl Fn(&EvseId) -> bool) {
        self.watches.retain(|evse, _| is_there(evse));
    }

    /// The contradictions that are to be told at `now`.
    pub fn conditions(&self, now: Instant) -> impl Iterator<Item = Condition> + '_ {
        let told = self
            .watches
            .iter()
            .filter_map(|(evse, watch)| Some((evse, watch.contradiction?)));
        let fresh = told.filter(move |(_, (at, _))| now < *at + DOUBT);
        fresh.map(|(evse, (at, contradiction))| Condition {
            kind: AlarmKind::MeterDisagrees,
            subject: Subject::Evse(evse.clone()),
            what: contradiction.to_string(),
            evses: Vec::new(),
            until: Some(at + DOUBT),
        })
    }

    /// When time alone next ends one.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        let seen = self.watches.values().filter_map(|watch| watch.contradiction);
        seen.map(|(at, _)| at + DOUBT).filter(|end| *end > now).min()
    }
}

impl MeterWatch {
    fn read(&mut self, sample: &MeterSample, session: Option<&SessionId>) {
        let at = sample.at;
        self.watch_draw(sample, session);
        let before = self.last.replace((session.cloned(), sample.clone()));
        let Some((_, before)) = before.filter(|(before, _)| session.is_some() && before.as_ref() == session) else {
            self.counted = WattSeconds::ZERO;
            self.by_power = WattSeconds::ZERO;
            return;
        };
        let (Some(from), Some(to)) = (before.session_energy, sample.session_energy) else {
            return;
        };
        if to + COUNTER_STEP < from {
            self.contradiction = Some((at, Contradiction::RunsBackwards { from, to }));
            return;
        }
        let gap = at - before.at;
        let (Some(earlier), Some(later)) = (before.power, sample.power) else {
            return;
        };
        if gap > LONGEST_GAP {
            return;
        }
        self.counted += to - from;
        self.by_power += WattSeconds::from_watt_seconds((earlier + later).over(gap).watt_seconds() / 2);
        let (counted, by_power) = (self.counted, self.by_power);
        let greater = counted.max(by_power);
        if greater < COMPARED_ENERGY {
            return;
        }
        let apart = (counted - by_power).max(by_power - counted);
        if apart.watt_seconds() > greater.watt_seconds() / 100 * DIFFERENCE_PERCENT {
            self.contradiction = Some((at, Contradiction::FarApart { counted, by_power }));
        }
        self.counted = WattSeconds::ZERO;
        self.by_power = WattSeconds::ZERO;
    }

    fn watch_draw(&mut self, sample: &MeterSample, session: Option<&SessionId>) {
        match (session, sample.is_idle()) {
            (None, Some(false)) => {
                let since = *self.drawing_since.get_or_insert(sample.at);
                if sample.at - since >= UNREPORTED_SESSION {
                    self.contradiction = Some((sample.at, Contradiction::DrawsWithoutSession));
                }
            }
            (None, None) => {}
            (Some(_), _) | (None, Some(true)) => self.drawing_since = None,
        }
    }
}

impl std::fmt::Display for Contradiction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DrawsWithoutSession => f.write_str("it draws although no session is there"),
            Self::RunsBackwards { from, to } => write!(
                f,
                "its counter went from {} back to {} Wh",
                from.floor_watt_hours(),
                to.floor_watt_hours()
            ),
            Self::FarApart { counted, by_power } => write!(
                f,
                "its counter rose by {} Wh where its power comes to {} Wh",
                counted.floor_watt_hours(),
                by_power.floor_watt_hours()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Watts;

    fn evse() -> EvseId {
        EvseId::parse("evse").unwrap()
    }

    fn told(readings: &[(i64, Option<i64>, Option<i64>)], session: Option<&str>) -> Option<(i64, String)> {
        let session = session.map(|id| SessionId::parse(id).unwrap());
        let mut meters = Meters::default();
        for (secs, watt_hours, watts) in readings {
            let sample = MeterSample {
                evse: evse(),
                at: Instant::from_unix_secs(*secs),
                session_energy: watt_hours.map(WattSeconds::from_watt_hours),
                power: watts.map(Watts::from_watts),
                currents: None,
            };
            meters.read(&sample, session.as_ref());
        }
        let now = Instant::from_unix_secs(readings.last().unwrap().0);
        let mut conditions = meters.conditions(now);
        let told = conditions.next()?;
        let over = told.until.unwrap();
        assert_eq!(meters.next_change(now), Some(over));
        assert_eq!(meters.conditions(over).count(), 0, "it is told for a while only");
        Some((over.unix_secs(), told.what))
    }

    #[test]
    fn a_draw_without_a_session_is_told_once_it_lasts() {
        assert_eq!(told(&[(0, None, Some(3_000)), (59, None, Some(3_000))], None), None);
        let lasting = [(0, None, Some(3_000)), (60, None, Some(3_000))];
        assert_eq!(
            told(&lasting, None),
            Some((960, "it draws although no session is there".to_owned()))
        );
        assert_eq!(told(&lasting, Some("s")), None);
        let paused = [(0, None, Some(3_000)), (30, None, Some(50)), (60, None, Some(3_000))];
        assert_eq!(told(&paused, None), None);
    }

    #[test]
    fn a_counter_that_runs_backwards_is_told_unless_it_is_rounding_or_another_session() {
        let falling = |to| [(0, Some(500), None), (60, Some(to), None)];
        assert_eq!(told(&falling(490), Some("s")), None);
        assert_eq!(
            told(&falling(400), Some("s")),
            Some((960, "its counter went from 500 back to 400 Wh".to_owned()))
        );
        assert_eq!(told(&falling(400), None), None);
    }

    #[test]
    fn counter_and_power_are_compared_over_a_kilowatt_hour() {
        // 6 kW for twelve minutes are 1 200 Wh.
        let readings = |step: i64| {
            (0..=6)
                .map(|number| (number * 120, Some(number * step), Some(6_000)))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&readings(200), Some("s")), None);
        assert_eq!(told(&readings(160), Some("s")), None, "the power may have varied");
        let (_, what) = told(&readings(20), Some("s")).expect("a tenth of it is too little");
        assert_eq!(what, "its counter rose by 100 Wh where its power comes to 1000 Wh");
        let far_between: Vec<_> = readings(20)
            .iter()
            .map(|(at, energy, power)| (at * 3, *energy, *power))
            .collect();
        assert_eq!(told(&far_between, Some("s")), None, "nobody knows what it drew between");
    }
}
