//! What a node's meter shows, and for how long a node bears more than its limit.
//!
//! Decides how much of the tolerated overload is used up, in integers and for the worst case, and from when until when what charges
//! below has to be lowered for it. Pure: knows no place and asks no clock. A measured draw only ever takes something away: what it leaves
//! free is nobody's room.
//!
//! # The account
//! A breaker bears an overload for a time that falls with its height. Each second of an overload that is tolerated for `t` seconds uses
//! up one `t`-th of what is tolerated; at or below the limit it is given back in the longest time of the curve. Between two readings the
//! higher one counts. Nothing is interpolated between the points of a curve: the shorter time counts.
//!
//! The account is *shed for* once it would be used up before decreases had their effect. That ends when the readings have been at or
//! below the limit for a while without a gap, the longer the sooner it came back: whoever draws too much beside us may go on doing so.
//!
//! # When the meter is silent
//! A reading counts as the draw for a minute. After that nobody knows: the account stands still until the next reading, and then the gap
//! counts as an overload only as far as both readings show one. What is shed for stays so: silence proves nothing.

use super::bounds::MAX_OVERLOAD_POINTS;
use super::ids::NodeId;
use super::rejection::{Faults, Rejection};
use crate::units::{DeciAmps, Instant, Seconds, Watts};

/// An account that is used up. Most times by which it is divided leave no rest.
const FULL: i64 = 3_600_000_000;
/// So long a reading counts as the draw.
pub const FRESH: Seconds = Seconds::from_secs(60);
/// A meter that has said nothing for this long is silent.
pub const SILENT_AFTER: Seconds = Seconds::from_mins(5);
/// From a decision until decreases have their effect, beside the time that cars take to follow: plan, gateway, station.
const WAY_OUT: Seconds = Seconds::from_secs(10);
/// At or below the limit for so long, and what was shed for is over; twice as long each time that it comes back before it was cold.
const RELEASE_AFTER: Seconds = Seconds::from_mins(5);
const LONGEST_RELEASE: Seconds = Seconds::from_mins(40);

const ALLOWED_PERCENT: std::ops::RangeInclusive<i64> = 101..=10_000;
const ALLOWED_SECONDS: std::ops::RangeInclusive<i64> = 1..=86_400;

/// Up to so much of the limit is tolerated for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OverloadPoint {
    pub percent: u16,
    pub tolerated: Seconds,
}

/// How long an overload is tolerated, by its height: points of an inverse-time curve. What is above the last is not tolerated at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverloadCurve {
    points: Vec<OverloadPoint>,
}

/// Below what breakers and fuses of households and small industry tolerate, from cold:
///
/// * IEC 60898-1 has a breaker carry 1.13 × its rated current for an hour without tripping, and trip within the hour at 1.45 ×
///   (Schneider Electric, *Characteristics of the inverse time-delay over-current opening releases of Acti 9 iC60*, FAQ FA369327).
///   At 2.55 × it may trip after a second, and has to within one minute or two.
/// * Between these the standard leaves it to the maker. Published bands of types B and C begin at about 15 s for 2 × and at more
///   than a minute for 1.45 ×.
/// * A gG fuse (IEC 60269-1) is slower: 1.25 × for an hour or longer without melting, 1.6 × to melt within that.
impl Default for OverloadCurve {
    fn default() -> Self {
        let points = [(113, 3_600), (145, 60), (200, 10), (255, 1)];
        Self {
            points: points.map(|(percent, secs)| point(percent, secs)).to_vec(),
        }
    }
}

const fn point(percent: u16, secs: i64) -> OverloadPoint {
    OverloadPoint {
        percent,
        tolerated: Seconds::from_secs(secs),
    }
}

impl OverloadCurve {
    /// A curve of these points; the usual one where there are none.
    pub fn new(points: Vec<OverloadPoint>) -> Result<Self, Rejection> {
        if points.is_empty() {
            return Ok(Self::default());
        }
        let mut faults = Faults::default();
        for (index, point) in points.iter().enumerate() {
            let field = |name: &str| format!("[{index}].{name}");
            let percent = i64::from(point.percent);
            faults.within(field("load_percent"), "%", percent, ALLOWED_PERCENT);
            faults.within(field("tolerated_seconds"), "s", point.tolerated.secs(), ALLOWED_SECONDS);
        }
        let is_inverse =
            |pair: &[OverloadPoint]| pair[0].percent < pair[1].percent && pair[0].tolerated > pair[1].tolerated;
        faults.require(
            points.len() <= MAX_OVERLOAD_POINTS && points.windows(2).all(is_inverse),
            "",
            "is not an inverse-time curve",
            format_args!("{} points", points.len()),
            format_args!("1 to {MAX_OVERLOAD_POINTS} points, higher and shorter from each to the next"),
        );
        faults.finish(Self { points })
    }

    pub fn points(&self) -> &[OverloadPoint] {
        &self.points
    }

    /// What a second at `load` adds to the account, rounded up; what it gives back is negative and rounded down.
    fn per_second(&self, load: i64, limit: Option<i64>) -> i64 {
        let Some(limit) = limit.filter(|limit| load > *limit) else {
            return -(FULL / self.points[0].tolerated.secs());
        };
        let within = |point: &&OverloadPoint| load * 100 <= limit * i64::from(point.percent);
        let tolerated = self.points.iter().find(within).map(|point| point.tolerated.secs());
        // Above the last, all of it at once.
        tolerated.map_or(FULL, |secs| (FULL + secs - 1) / secs)
    }
}

/// What is known of the meter of a node, if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeMeter {
    /// What is drawn there is metered and reported: a meter that falls silent is told.
    pub is_there: bool,
    /// What the node tolerates.
    pub curve: OverloadCurve,
}

/// What a meter says of a node: everything that is drawn there, charging included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReading {
    pub node: NodeId,
    pub at: Instant,
    /// In L1, L2, L3. Negative where it feeds in.
    pub currents: Option<[DeciAmps; 3]>,
    pub power: Option<Watts>,
}

/// By what an account is kept.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub curve: &'a OverloadCurve,
    /// How long decreases take to have their effect.
    pub reaction: Seconds,
}

impl<'a> Terms<'a> {
    /// `clock_skew` says how long cars take to follow.
    pub fn new(curve: &'a OverloadCurve, clock_skew: Seconds) -> Self {
        Self {
            curve,
            reaction: clock_skew + WAY_OUT,
        }
    }
}

/// The account of one quantity at a node: the current of a line, or the total power.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// When it was read last, and what it said.
    pub last: Option<(Instant, i64)>,
    /// What counts as the limit. A tighter one does so only once those below have had the time to follow it.
    pub limit: Option<i64>,
    /// Since when a tighter one is in force.
    pub fell_at: Option<Instant>,
    /// How much of the tolerated overload is used up, of 3 600 000 000.
    pub used: i64,
    pub shed: Option<Shed>,
    /// Since when it has been read at or below the limit without a gap.
    pub below_since: Option<Instant>,
    /// How often it was shed for since the account was last empty.
    pub times: u32,
}

/// What is shed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    pub since: Instant,
    /// The most that was read.
    pub peak: i64,
}

impl Gauge {
    /// A reading, newer than the last, while `limit` is in force.
    pub fn read(&mut self, at: Instant, load: i64, limit: Option<i64>, terms: &Terms<'_>) {
        // It was acted upon from then on, whatever this reading says.
        if let Some(since) = self.sheds_from(terms).filter(|since| *since <= at) {
            let peak = self.last.map_or(load, |(_, load)| load);
            self.begin_to_shed(Shed { since, peak });
        }
        let limit_before = self.limit;
        self.follow_limit(limit, at, terms.reaction);
        let gap = self.last.map(|(before, _)| at - before);
        if let (Some(gap), Some((_, before))) = (gap, self.last) {
            let tightest = limit_before.into_iter().chain(self.limit).min();
            let rate = |load: i64| terms.curve.per_second(load, tightest);
            let (sure, rest) = (gap.min(FRESH).secs(), (gap - FRESH).or_zero().secs());
            let added = rate(before.max(load)) * sure + rate(before.min(load)).max(0).saturating_mul(rest);
            self.used = self.used.saturating_add(added).clamp(0, FULL);
        }
        self.last = Some((at, load));
        if let Some(since) = self.sheds_from(terms).filter(|since| *since <= at) {
            self.begin_to_shed(Shed { since, peak: load });
        }
        self.release_if_below(at, gap);
        if self.used == 0 && self.shed.is_none() {
            self.times = 0;
        }
    }

    fn begin_to_shed(&mut self, shed: Shed) {
        match &mut self.shed {
            Some(known) => known.peak = known.peak.max(shed.peak),
            None => {
                self.shed = Some(shed);
                self.times = self.times.saturating_add(1);
            }
        }
    }

    fn follow_limit(&mut self, limit: Option<i64>, at: Instant, reaction: Seconds) {
        let is_tighter = limit.is_some_and(|limit| self.limit.is_none_or(|before| limit < before));
        if !is_tighter || self.last.is_none() {
            (self.limit, self.fell_at) = (limit, None);
            return;
        }
        let fell_at = *self.fell_at.get_or_insert(at);
        if at - fell_at >= reaction {
            (self.limit, self.fell_at) = (limit, None);
        }
    }

    fn release_if_below(&mut self, at: Instant, gap: Option<Seconds>) {
        if self.is_above() {
            self.below_since = None;
            return;
        }
        if gap.is_none_or(|gap| gap > SILENT_AFTER) {
            self.below_since = None;
        }
        let below_since = *self.below_since.get_or_insert(at);
        if at - below_since >= self.release_after() {
            self.shed = None;
        }
    }

    fn release_after(&self) -> Seconds {
        let doublings = self.times.saturating_sub(1).min(8);
        Seconds::from_secs(RELEASE_AFTER.secs() << doublings).min(LONGEST_RELEASE)
    }

    /// Whether the last reading is above the limit.
    pub fn is_above(&self) -> bool {
        let above = |(_, load): (Instant, i64)| self.limit.is_some_and(|limit| load > limit);
        self.last.is_some_and(above)
    }

    /// From when on charging is lowered for it, as far as the last reading tells: `None` if it is not.
    pub fn sheds_from(&self, terms: &Terms<'_>) -> Option<Instant> {
        if let Some(shed) = self.shed {
            return Some(shed.since);
        }
        let (at, load) = self.last.filter(|_| self.is_above())?;
        let rate = terms.curve.per_second(load, self.limit);
        let lasts = Seconds::from_secs((FULL - self.used) / rate) - terms.reaction;
        (lasts <= FRESH).then(|| at + lasts.or_zero())
    }

    /// How much of what is tolerated is used up, in thousandths, rounded up.
    pub fn used_permille(&self) -> i64 {
        (self.used + FULL / 1_000 - 1) / (FULL / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A fuse of 63 A, read as if it began to be read now.
    struct Fuse {
        curve: OverloadCurve,
        gauge: Gauge,
        now: i64,
    }

    const LIMIT: i64 = 630;

    impl Fuse {
        fn new() -> Self {
            Self {
                curve: OverloadCurve::default(),
                gauge: Gauge::default(),
                now: 0,
            }
        }

        /// With five seconds for cars to follow: decreases have their effect after 15.
        fn terms(&self) -> Terms<'_> {
            Terms::new(&self.curve, Seconds::from_secs(5))
        }

        fn read(&mut self, after: i64, load: i64) -> Option<i64> {
            self.read_under(after, load, Some(LIMIT))
        }

        fn read_under(&mut self, after: i64, load: i64, limit: Option<i64>) -> Option<i64> {
            self.now += after;
            let curve = self.curve.clone();
            let terms = Terms::new(&curve, Seconds::from_secs(5));
            self.gauge.read(Instant::from_unix_secs(self.now), load, limit, &terms);
            self.sheds_from()
        }

        fn sheds_from(&self) -> Option<i64> {
            self.gauge.sheds_from(&self.terms()).map(Instant::unix_secs)
        }

        /// Reads this every ten seconds for so long.
        fn keep(&mut self, seconds: i64, load: i64) {
            for _ in 0..seconds / 10 {
                self.read(10, load);
            }
        }

        /// The same until it is shed for; returns when it was first shed for.
        fn go_on(&mut self, seconds: i64, load: i64) -> Option<i64> {
            (0..seconds / 10).find_map(|_| self.read(10, load).filter(|since| *since <= self.now))
        }
    }

    #[test]
    fn a_blip_is_borne_and_what_lasts_is_shed_for_in_time() {
        let mut fuse = Fuse::new();
        fuse.read(0, 600);
        // 1.43 ×, for 60 s of which 30 are used.
        assert_eq!(fuse.go_on(30, 900), None);
        assert_eq!(fuse.go_on(600, 630), None, "at its limit it cools");
        assert!(fuse.gauge.used_permille() > 400, "but slowly");
        let mut fuse = Fuse::new();
        fuse.read(0, 600);
        fuse.read(10, 900);
        // The second of the jump is unknown, so all ten count: the account is full at 60 s, and 15 s before that it is time.
        assert_eq!(fuse.sheds_from(), Some(10 + 60 - 10 - 15));
    }

    #[test]
    fn the_higher_the_sooner_and_above_the_curve_at_once() {
        let first = |load: i64| {
            let mut fuse = Fuse::new();
            fuse.read(0, 0);
            fuse.go_on(4_000, load)
        };
        assert_eq!(first(LIMIT), None);
        // 1.13 × for an hour, of which 15 s are for the way out.
        assert_eq!(first(711), Some(3_600 - 15));
        // A little above, the next point counts: nothing is interpolated.
        assert_eq!(first(712), Some(45));
        assert_eq!([first(1_260), first(1_606), first(1_607)], [Some(10); 3]);
    }

    #[test]
    fn a_shed_ends_once_the_meter_has_been_below_for_a_while_and_takes_longer_each_time() {
        let mut fuse = Fuse::new();
        fuse.read(0, 2_000);
        for minutes in [5, 10, 20, 40, 40, 40] {
            assert!(fuse.sheds_from().is_some());
            for _ in 0..minutes * 6 {
                fuse.read(10, 600);
                assert!(fuse.sheds_from().is_some(), "not before {minutes} minutes");
            }
            fuse.read(10, 600);
            assert_eq!(fuse.sheds_from(), None, "after {minutes} minutes");
            fuse.read(10, 2_000);
        }
        // A reading above in between, and it starts anew.
        let mut fuse = Fuse::new();
        fuse.read(0, 2_000);
        fuse.keep(290, 600);
        fuse.read(10, 640);
        fuse.keep(300, 600);
        assert!(fuse.sheds_from().is_some());
        fuse.read(10, 600);
        assert_eq!(fuse.sheds_from(), None);
    }

    #[test]
    fn once_it_has_cooled_down_it_is_as_new() {
        let mut fuse = Fuse::new();
        fuse.read(0, 2_000);
        fuse.keep(400, 600);
        assert_eq!((fuse.sheds_from(), fuse.gauge.times), (None, 1));
        fuse.keep(3_600, 600);
        assert_eq!((fuse.gauge.used, fuse.gauge.times), (0, 0));
    }

    #[test]
    fn silence_neither_uses_up_nor_frees() {
        // An overload that would be shed for in 35 s, and nothing after it: the reading counts for a minute.
        let mut fuse = Fuse::new();
        fuse.read(0, 600);
        fuse.read(10, 900);
        assert_eq!(fuse.sheds_from(), Some(45));
        // One that would take an hour: the account stands still after that minute.
        let mut fuse = Fuse::new();
        fuse.read(0, 700);
        assert_eq!(fuse.sheds_from(), None);
        fuse.read(3_600, 600);
        assert_eq!(fuse.gauge.used_permille(), 17, "a minute of an hour");
        // Unless the next reading shows the same.
        let mut fuse = Fuse::new();
        fuse.read(0, 700);
        fuse.read(3_600, 700);
        assert_eq!(fuse.sheds_from(), Some(3_600));
        // What is shed for is not over because nobody looks.
        let mut fuse = Fuse::new();
        fuse.read(0, 2_000);
        fuse.read(100_000, 600);
        assert!(fuse.sheds_from().is_some(), "one reading tells of no while");
        fuse.read(300, 600);
        assert_eq!(fuse.sheds_from(), None, "two of them do");
    }

    #[test]
    fn a_limit_that_falls_counts_once_those_below_have_had_the_time_to_follow() {
        let mut fuse = Fuse::new();
        fuse.read(0, 600);
        for _ in 0..3 {
            assert_eq!(fuse.read_under(5, 600, Some(200)), None);
        }
        assert_eq!(fuse.read_under(5, 600, Some(200)), Some(20), "three times too much");
        // One that rises counts at once, and so does the first that is known.
        let mut fuse = Fuse::new();
        fuse.read_under(0, 105, Some(100));
        assert_eq!(fuse.gauge.limit, Some(100));
        fuse.read_under(5, 105, Some(200));
        assert!(!fuse.gauge.is_above());
        fuse.read_under(5, 105, None);
        assert!(!fuse.gauge.is_above(), "no limit is never too much");
        assert_eq!(fuse.read_under(5, 1, Some(0)), None, "and zero is one");
        assert_eq!(fuse.read_under(15, 1, Some(0)), Some(30));
    }

    #[test]
    fn a_curve_is_higher_and_shorter_from_point_to_point() {
        let curve = |points: &[(u16, i64)]| {
            let points = points.iter().map(|(percent, secs)| point(*percent, *secs)).collect();
            OverloadCurve::new(points).map_err(|fault| fault.to_string())
        };
        assert_eq!(curve(&[]), Ok(OverloadCurve::default()));
        assert!(curve(&[(110, 60)]).is_ok());
        for (wrong, rule) in [
            (&[(110, 60), (120, 60)][..], "is not an inverse-time curve"),
            (&[(120, 60), (110, 30)], "is not an inverse-time curve"),
            (&[(100, 60)], "[0].load_percent: is out of range"),
            (&[(110, 0)], "[0].tolerated_seconds: is out of range"),
        ] {
            let told = curve(wrong).expect_err("is wrong");
            assert!(told.contains(rule), "{told}");
        }
        assert!(curve(&(0..17).map(|n| (110 + n, 60 - i64::from(n))).collect::<Vec<_>>()).is_err());
    }

    proptest! {
        /// Against a fuse that is looked at every second and knows the true draw, which readings show now and then: it never bears more
        /// than its curve before it was to be shed for, as long as readings are no further apart than a minute and the draw between
        /// two of them is no higher than the higher one.
        #[test]
        fn it_is_shed_for_before_the_fuse_melts(
            readings in prop::collection::vec((1_i64..60, 0_i64..2_000), 1..200)
        ) {
            let mut fuse = Fuse::new();
            fuse.read(0, 0);
            let mut before = 0;
            let mut heat = 0;
            for (gap, load) in readings {
                for _ in 0..gap {
                    if fuse.sheds_from().is_none_or(|since| since > fuse.now) {
                        // As exact as it can be, and lower than ours by what ours rounds up: heat in parts of 3600 seconds.
                        let worst = before.max(load);
                        let tolerated = OverloadCurve::default().points.into_iter()
                            .find(|point| worst * 100 <= LIMIT * i64::from(point.percent))
                            .map_or(1, |point| point.tolerated.secs());
                        heat += if worst > LIMIT { 3_600 / tolerated } else { -1 };
                        heat = heat.max(0);
                    }
                }
                fuse.read(gap, load);
                before = load;
                let is_shed = fuse.sheds_from().is_some_and(|since| since <= fuse.now);
                prop_assert!(is_shed || heat < 3_600, "borne too much: {heat}");
                if is_shed {
                    return Ok(());
                }
            }
        }
    }
}
