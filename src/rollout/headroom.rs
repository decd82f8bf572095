//! How far one EVSE may be raised beside everyone else.
//!
//! Decides the ceiling that fits. A place where too much may be drawn already gives nothing and takes nothing away: what an EVSE surely
//! follows always fits. That it *may* be following more is no reason to tell it more there: perhaps it does not.

use super::invariants::Allowed;
use super::sums::Sums;
use crate::domain::conversion::{Load, Rate};
use crate::domain::limits::Capacity;
use crate::domain::site::RateChoice;
use crate::domain::timeline::Timeline;
use crate::units::{Instant, Seconds};
use std::collections::BTreeMap;

/// The values of `timeline` from `from` on, each with its start.
fn stretches<T: Clone + PartialEq>(timeline: &Timeline<T>, from: Instant) -> impl Iterator<Item = (Instant, T)> {
    let points = timeline.points();
    let first = points.partition_point(|(start, _)| *start <= from).saturating_sub(1);
    points[first..]
        .iter()
        .map(move |(start, value)| ((*start).max(from), value.clone()))
        .enumerate()
        .map(
            // The first value also holds before its instant.
            move |(index, (start, value))| if index == 0 { (from, value) } else { (start, value) },
        )
}

/// A stretch of time at one place, until the next one begins.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: Instant,
    /// What may be drawn there.
    load: Load,
    available: Capacity,
}

/// The room at every place of a site, from one instant on.
#[derive(Debug)]
pub(super) struct Headroom<'a> {
    sums: &'a Sums,
    available: &'a [Timeline<Capacity>],
    from: Instant,
    /// Of the places that were asked for so far: most steps raise few EVSEs.
    places: BTreeMap<usize, Vec<Stretch>>,
}

/// For a span of time at one place: the highest rate that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clip {
    pub from: Instant,
    pub until: Instant,
    pub rate: Rate,
    pub place: usize,
}

/// A span of time in which nothing changes at the EVSE that asks.
struct Span {
    from: Instant,
    until: Instant,
    own: Own,
    rate: Rate,
}

/// What the EVSE that asks may draw already; see [`Asking`].
#[derive(Clone, Copy, PartialEq)]
struct Own {
    reserved: Load,
    told: Load,
    follows: Load,
}

/// The EVSE that asks for room.
pub(super) struct Asking<'a> {
    /// Places above it, up to the grid connection.
    pub path: &'a [usize],
    /// What is in the sums for it.
    pub reserved: &'a Timeline<Load>,
    /// The most that it may be following of what it was told.
    pub told: &'a Timeline<Load>,
    /// The least of that: so much always fits.
    pub follows: &'a Timeline<Load>,
    /// The most it may draw once it is told a rate.
    pub load: &'a dyn Fn(Rate) -> Load,
    pub choice: &'a RateChoice,
    /// Nothing may be added to the most that it may be following.
    pub frozen: bool,
}

impl<'a> Headroom<'a> {
    pub fn new(sums: &'a Sums, available: &'a [Timeline<Capacity>], from: Instant) -> Self {
        Self {
            sums,
            available,
            from,
            places: BTreeMap::new(),
        }
    }

    fn at(&mut self, place: usize) -> &mut Vec<Stretch> {
        self.places.entry(place).or_insert_with(|| {
            let sum = self.sums.at(place, self.from);
            let joined = sum.zip(&self.available[place], |load, available| (*load, *available));
            stretches(&joined, self.from)
                .map(|(from, (load, available))| Stretch { from, load, available })
                .collect()
        })
    }

    /// Where the rates in `wanted`, clocks and all, are more than what fits beside the others: the most that does.
    pub fn clips(&mut self, asking: &Asking<'_>, wanted: &Timeline<Rate>) -> Vec<Clip> {
        let mut clips: Vec<Clip> = Vec::new();
        let from = self.from;
        let ours = asking.told.zip(asking.follows, |told, follows| (*told, *follows));
        let own = asking.reserved.zip(&ours, |reserved, (told, follows)| Own {
            reserved: *reserved,
            told: *told,
            follows: *follows,
        });
        let all = own.zip(wanted, |own, rate| (*own, *rate));
        let spans: Vec<(Instant, (Own, Rate))> = stretches(&all, from).collect();
        for (index, (start, (own, rate))) in spans.iter().enumerate() {
            let span = Span {
                from: *start,
                until: spans.get(index + 1).map_or(Instant::FAR_FUTURE, |(next, _)| *next),
                own: *own,
                rate: *rate,
            };
            if own.follows.max((asking.load)(span.rate)) == own.follows {
                continue;
            }
            for place in asking.path {
                self.clip_at(asking, *place, &span, &mut clips);
            }
        }
        clips
    }

    fn clip_at(&mut self, asking: &Asking<'_>, place: usize, span: &Span, clips: &mut Vec<Clip>) {
        let own = &span.own;
        let stretches = self.at(place);
        let first = stretches
            .partition_point(|stretch| stretch.from <= span.from)
            .saturating_sub(1);
        for (index, stretch) in stretches.iter().enumerate().skip(first) {
            if stretch.from >= span.until {
                break;
            }
            let others = stretch.load - own.reserved;
            let allowed = Allowed::new(&(others + own.follows), &stretch.available);
            // Beside what a car before was told, star and delta currents may add up to more than either.
            let with_all = Allowed::new(&(others + own.reserved), &stretch.available);
            let fits = |rate: Rate| {
                let load = (asking.load)(rate);
                let adds_to = |known: Load| known.max(load) != known;
                let fits = || {
                    allowed.fits(&(others + own.follows.max(load))) && with_all.fits(&(others + own.reserved.max(load)))
                };
                !adds_to(own.follows) || (!(asking.frozen && adds_to(own.told)) && fits())
            };
            if fits(span.rate) {
                continue;
            }
            let clip = Clip {
                from: stretch.from.max(span.from),
                until: stretches
                    .get(index + 1)
                    .map_or(Instant::FAR_FUTURE, |next| next.from)
                    .min(span.until),
                rate: most_that_fits(asking.choice, span.rate, fits),
                place,
            };
            match clips.last_mut() {
                Some(last) if last.until == clip.from && last.rate == clip.rate && last.place == place => {
                    last.until = clip.until;
                }
                _ => clips.push(clip),
            }
        }
    }

    /// An EVSE may now draw `new` where it could draw `old`, at each place of `path`.
    pub fn raise(&mut self, path: impl Iterator<Item = usize>, old: &Timeline<Load>, new: &Timeline<Load>) {
        let from = self.from;
        let change = new.zip(old, |new, old| *new - *old);
        let spans: Vec<(Instant, Load)> = stretches(&change, from).collect();
        for place in path {
            for (index, (start, change)) in spans.iter().enumerate() {
                if *change == Load::ZERO {
                    continue;
                }
                let until = spans.get(index + 1).map(|(next, _)| *next);
                self.add(place, *start, until, *change);
            }
        }
    }

    fn add(&mut self, place: usize, from: Instant, until: Option<Instant>, change: Load) {
        let stretches = self.at(place);
        let first = split(stretches, from);
        let end = until.map_or(stretches.len(), |until| split(stretches, until));
        for stretch in &mut stretches[first..end] {
            stretch.load += change;
        }
    }
}

/// Makes a stretch begin at `at`, and returns its index.
fn split(stretches: &mut Vec<Stretch>, at: Instant) -> usize {
    let index = stretches.partition_point(|stretch| stretch.from < at);
    if stretches.get(index).is_none_or(|stretch| stretch.from != at) {
        let before = stretches[index.saturating_sub(1)];
        stretches.insert(index, Stretch { from: at, ..before });
    }
    index
}

/// The highest allowed rate at or below `wanted` that fits. Zero always does: it is never more than the EVSE's default.
fn most_that_fits(choice: &RateChoice, wanted: Rate, fits: impl Fn(Rate) -> bool) -> Rate {
    let (mut fitting, mut too_much) = (0, wanted.value());
    while too_much - fitting > 1 {
        let middle = fitting + (too_much - fitting) / 2;
        if fits(Rate::new(middle)) {
            fitting = middle
        } else {
            too_much = middle
        }
    }
    choice.floor(Rate::new(fitting))
}

/// `wanted` cut to the clips, each reaching `skew` beyond its span: by the station's clock it may be that much earlier or later.
pub(super) fn clipped(wanted: &Timeline<Rate>, clips: &[Clip], skew: Seconds) -> Timeline<Rate> {
    if clips.is_empty() {
        return wanted.clone();
    }
    let spans: Vec<(Instant, Instant, Rate)> = clips
        .iter()
        .map(|clip| (clip.from - skew, clip.until + skew, clip.rate))
        .collect();
    let begin = wanted.start();
    let mut starts: Vec<Instant> = wanted
        .points()
        .iter()
        .map(|(start, _)| *start)
        .chain(
            spans
                .iter()
                .flat_map(|(from, until, _)| [*from, *until])
                .filter(|start| *start > begin),
        )
        .collect();
    starts.sort_unstable();
    starts.dedup();
    Timeline::from_points(starts.into_iter().map(|start| {
        let covering = spans.iter().filter(|(from, until, _)| *from <= start && start < *until);
        (
            start,
            covering.map(|(_, _, rate)| *rate).fold(*wanted.at(start), Rate::min),
        )
    }))
}
