//! Local time: weekly limits expanded into UTC, the limit that binds, and times as text.
//!
//! Decides what "Mondays from 16:00 to 20:00" means on every day, those with a clock change included: where a local time does not
//! exist or exists twice, the limit applies longer, never shorter. Data only: never asks what time it is, never knows the machine's zone.

use crate::domain::ids::GridLimitId;
use crate::domain::limits::{GridLimit, LimitSource, LimitWindow, NodeLimit};
use crate::domain::rejection::Rejection;
use crate::domain::site::Site;
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, Seconds, Watts};
use chrono::{
    DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Offset, SecondsFormat, TimeDelta, TimeZone,
};
use chrono_tz::Tz;
use std::collections::{BTreeMap, HashMap};

/// Weekly limits are expanded no further than this; after it the tightest of them holds for ever.
const MAX_EXPANDED: Seconds = Seconds::from_hours(24 * 400);
/// No zone has ever moved its clocks by more than a day, nor is any that far from UTC.
const MORE_THAN_ANY_CLOCK_CHANGE: TimeDelta = TimeDelta::hours(26);
/// How many days around an instant a window that touches it can have begun.
const DAYS_AROUND: u64 = 3;
/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what RFC 3339 can write.
const EARLIEST: Instant = Instant::from_unix_secs(-62_167_219_200);
const LATEST: Instant = Instant::from_unix_secs(253_402_300_799);

/// A time zone of the IANA database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

impl Zone {
    /// Accepts IANA names, such as `Europe/Stockholm`.
    pub fn parse(name: &str) -> Result<Self, Rejection> {
        name.parse().map(Self).map_err(|_| {
            Rejection::one(
                "time_zone",
                "is not a time zone",
                name,
                "a name of the IANA time zone database, such as Europe/Stockholm",
            )
        })
    }

    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Midnight of the local day in which `at` lies, or of the first moment of that day where midnight does not exist.
    /// `None` outside the calendar.
    pub fn start_of_day(&self, at: Instant) -> Option<Instant> {
        let date = self.local_date(at)?;
        Some(self.utc_range(date.and_time(NaiveTime::MIN))?.0)
    }

    fn local_date(&self, at: Instant) -> Option<NaiveDate> {
        let utc = to_utc(at)?.naive_utc();
        let offset = self.0.offset_from_utc_datetime(&utc).fix();
        Some(utc.checked_add_offset(offset)?.date())
    }

    /// The earliest and the latest instant that `local` can mean.
    fn utc_range(&self, local: NaiveDateTime) -> Option<(Instant, Instant)> {
        let candidates = match self.0.offset_from_local_datetime(&local) {
            chrono::LocalResult::Single(offset) => [offset.fix(), offset.fix()],
            chrono::LocalResult::Ambiguous(one, other) => [one.fix(), other.fix()],
            chrono::LocalResult::None => {
                let offset_at = |utc: NaiveDateTime| self.0.offset_from_utc_datetime(&utc).fix();
                [
                    offset_at(local.checked_sub_signed(MORE_THAN_ANY_CLOCK_CHANGE)?),
                    offset_at(local.checked_add_signed(MORE_THAN_ANY_CLOCK_CHANGE)?),
                ]
            }
        };
        let [one, other] = candidates
            .map(|offset| Instant::from_unix_secs(local.and_utc().timestamp() - i64::from(offset.local_minus_utc())));
        Some((one.min(other), one.max(other)))
    }
}

/// A span of time in which a limit applies; `until` is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: Instant,
    until: Instant,
}

impl Span {
    const ALWAYS: Self = Self {
        from: Instant::FAR_PAST,
        until: Instant::FAR_FUTURE,
    };

    fn holds_at(&self, at: Instant) -> bool {
        self.from <= at && at < self.until
    }
}

/// When `window` applies, as far as that touches `[from, until)`.
fn spans(zone: &Zone, window: &LimitWindow, from: Instant, until: Instant) -> Vec<Span> {
    let mut found = match window {
        LimitWindow::Once { from, until } => vec![Span {
            from: *from,
            until: until.unwrap_or(Instant::FAR_FUTURE),
        }],
        // Where the calendar ends a weekly limit is taken to apply: never looser than it is.
        LimitWindow::Weekly {
            days,
            from_minute_of_day,
            until_minute_of_day,
        } => weekly_spans(zone, days, [*from_minute_of_day, *until_minute_of_day], from, until)
            .unwrap_or_else(|| vec![Span::ALWAYS]),
    };
    found.retain(|span| span.from < span.until && span.from < until && from < span.until);
    found
}

/// `None` outside the calendar.
fn weekly_spans(
    zone: &Zone,
    days: &[bool; 7],
    [from_minute, until_minute]: [u16; 2],
    from: Instant,
    until: Instant,
) -> Option<Vec<Span>> {
    let minutes = |date: NaiveDate, minute: u16| {
        date.and_time(NaiveTime::MIN)
            .checked_add_signed(TimeDelta::minutes(i64::from(minute)))
    };
    let first = zone.local_date(from)?.checked_sub_days(Days::new(DAYS_AROUND))?;
    let last = zone.local_date(until)?.checked_add_days(Days::new(DAYS_AROUND))?;
    let mut spans = Vec::new();
    for date in first.iter_days().take_while(|date| *date <= last) {
        if !days[date.weekday().num_days_from_monday() as usize] {
            continue;
        }
        let end_date = if until_minute > from_minute {
            date
        } else {
            date.succ_opt()?
        };
        spans.push(Span {
            from: zone.utc_range(minutes(date, from_minute)?)?.0,
            until: zone.utc_range(minutes(end_date, until_minute)?)?.1,
        });
    }
    Some(spans)
}

fn applies_ever(window: &LimitWindow) -> bool {
    match window {
        LimitWindow::Once { .. } => true,
        LimitWindow::Weekly { days, .. } => days.contains(&true),
    }
}

/// What every place of the site may carry: the tightest of its own limit and of every grid limit in force.
///
/// Exact from `from` until `until` (400 days at most). After that the tightest of all that can still come holds for ever, so that
/// nothing planned beyond the end is too much. Limits on nodes that the site does not have are left out.
pub fn node_limits(
    site: &Site,
    zone: &Zone,
    limits: &[GridLimit],
    from: Instant,
    until: Instant,
) -> Vec<Timeline<NodeLimit>> {
    let until = until.clamp(from, from + MAX_EXPANDED);
    let mut changes: Vec<Vec<Change>> = site
        .places()
        .iter()
        .map(|place| vec![Change::for_good(place.limit)])
        .collect();
    let place_of: HashMap<&str, usize> = site
        .places()
        .iter()
        .enumerate()
        .map(|(place, described)| (described.id.as_str(), place))
        .collect();
    for limit in limits {
        let Some(place) = place_of.get(limit.node.as_str()) else {
            continue;
        };
        let in_window = spans(zone, &limit.when, from, until);
        changes[*place].extend(in_window.into_iter().flat_map(|span| Change::pair(span, limit.limit)));
        if may_come_after(&limit.when, until) {
            changes[*place].push(Change {
                at: until,
                begins: true,
                limit: limit.limit,
            });
        }
    }
    changes
        .into_iter()
        .map(|changes| tightest_over_time(changes, from, until))
        .collect()
}

fn may_come_after(window: &LimitWindow, until: Instant) -> bool {
    match window {
        LimitWindow::Once { until: end, .. } => end.is_none_or(|end| end > until),
        LimitWindow::Weekly { .. } => applies_ever(window),
    }
}

/// A limit begins or ceases to apply.
#[derive(Clone, Copy)]
struct Change {
    at: Instant,
    begins: bool,
    limit: NodeLimit,
}

impl Change {
    fn for_good(limit: NodeLimit) -> Self {
        Self {
            at: Instant::FAR_PAST,
            begins: true,
            limit,
        }
    }

    fn pair(span: Span, limit: NodeLimit) -> [Self; 2] {
        let change = |at, begins| Self { at, begins, limit };
        [change(span.from, true), change(span.until, false)]
    }
}

/// What holds from `from` on. What ends after `until` is not ended: from there on all that may come counts for ever.
fn tightest_over_time(mut changes: Vec<Change>, from: Instant, until: Instant) -> Timeline<NodeLimit> {
    for change in &mut changes {
        change.at = change.at.max(from);
    }
    changes.retain(|change| change.begins || change.at <= until);
    changes.sort_by_key(|change| change.at);
    let mut in_force = InForce::default();
    let mut points: Vec<(Instant, NodeLimit)> = Vec::new();
    for change in changes {
        in_force.apply(&change);
        match points.last_mut() {
            Some((at, limit)) if *at == change.at => *limit = in_force.tightest(),
            _ => points.push((change.at, in_force.tightest())),
        }
    }
    Timeline::from_points(points)
}

/// The limits in force at one moment, each counted as often as it applies.
#[derive(Default)]
struct InForce {
    line: BTreeMap<DeciAmps, usize>,
    total: BTreeMap<Watts, usize>,
}

impl InForce {
    fn apply(&mut self, change: &Change) {
        count(&mut self.line, change.limit.line, change.begins);
        count(&mut self.total, change.limit.total, change.begins);
    }

    fn tightest(&self) -> NodeLimit {
        NodeLimit {
            line: self.line.keys().next().copied(),
            total: self.total.keys().next().copied(),
        }
    }
}

fn count<T: Ord>(counts: &mut BTreeMap<T, usize>, value: Option<T>, begins: bool) {
    let Some(value) = value else { return };
    if begins {
        *counts.entry(value).or_insert(0) += 1;
    } else if let Some(times) = counts.get_mut(&value) {
        *times -= 1;
        if *times == 0 {
            counts.remove(&value);
        }
    }
}

/// A value of a limit and who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound<T> {
    pub value: T,
    pub source: LimitSource,
    /// `None` for the place's own limit.
    pub id: Option<GridLimitId>,
}

/// Which limits bind at a place at one instant. `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    pub line: Option<Bound<DeciAmps>>,
    pub total: Option<Bound<Watts>>,
}

/// Names the tightest limits at `place`. Of equal ones the place's own comes first, then the earlier in `limits`.
pub fn binding_limits(site: &Site, zone: &Zone, limits: &[GridLimit], place: usize, at: Instant) -> Binding {
    let Some(described) = site.places().get(place) else {
        return Binding::default();
    };
    let own = (described.limit, LimitSource::Installation, None);
    let in_force = limits
        .iter()
        .filter(|limit| limit.node == described.id)
        .filter(|limit| {
            let touching = spans(zone, &limit.when, at, at + Seconds::from_secs(1));
            touching.iter().any(|span| span.holds_at(at))
        })
        .map(|limit| (limit.limit, limit.source, Some(limit.id.clone())));
    let mut binding = Binding::default();
    for (limit, source, id) in std::iter::once(own).chain(in_force) {
        tighten(&mut binding.line, limit.line, source, id.as_ref());
        tighten(&mut binding.total, limit.total, source, id.as_ref());
    }
    binding
}

fn tighten<T: Ord + Copy>(
    bound: &mut Option<Bound<T>>,
    value: Option<T>,
    source: LimitSource,
    id: Option<&GridLimitId>,
) {
    if let Some(value) = value
        && bound.as_ref().is_none_or(|bound| value < bound.value)
    {
        *bound = Some(Bound {
            value,
            source,
            id: id.cloned(),
        });
    }
}

fn to_utc(at: Instant) -> Option<DateTime<chrono::Utc>> {
    (EARLIEST..=LATEST)
        .contains(&at)
        .then(|| DateTime::from_timestamp(at.unix_secs(), 0))?
}

/// `2026-03-29T01:00:00Z`. Instants outside the years 0 to 9999 are written as the nearest one inside.
pub fn to_rfc3339(at: Instant) -> String {
    to_utc(at.clamp(EARLIEST, LATEST))
        .expect("the instant was brought into the calendar")
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Reads any RFC 3339 time, with `Z` or an offset; fractions of a second are cut off.
pub fn parse_rfc3339(text: &str) -> Option<Instant> {
    let parsed = DateTime::parse_from_rfc3339(text).ok()?;
    let at = Instant::from_unix_secs(parsed.timestamp());
    (EARLIEST..=LATEST).contains(&at).then_some(at)
}

#[cfg(test)]
mod tests;
