//! A value that changes at known instants: limits, availability, charging profiles.
//!
//! Decides how such values are read, combined and widened. Always defined: the first value also holds before its instant, the last one for ever.

use crate::units::{Instant, Seconds};

/// A piecewise constant value over all time. Never empty; instants strictly increase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timeline<T> {
    points: Vec<(Instant, T)>,
}

impl<T: Clone + PartialEq> Timeline<T> {
    /// The same value at all times.
    pub fn constant(value: T) -> Self {
        Self {
            points: vec![(Instant::FAR_PAST, value)],
        }
    }

    /// A timeline that takes each value from its instant on. Equal neighbours are merged.
    ///
    /// # Panics
    /// If `points` is empty or its instants do not strictly increase.
    pub fn from_points(points: impl IntoIterator<Item = (Instant, T)>) -> Self {
        let mut merged: Vec<(Instant, T)> = Vec::new();
        let mut previous: Option<Instant> = None;
        for (start, value) in points {
            assert!(
                previous.is_none_or(|previous| previous < start),
                "instants of a timeline strictly increase"
            );
            previous = Some(start);
            if merged.last().is_none_or(|(_, last)| *last != value) {
                merged.push((start, value));
            }
        }
        assert!(!merged.is_empty(), "a timeline has at least one value");
        Self { points: merged }
    }

    pub fn points(&self) -> &[(Instant, T)] {
        &self.points
    }

    /// The first instant at which a value begins.
    pub fn start(&self) -> Instant {
        self.points[0].0
    }

    pub fn at(&self, instant: Instant) -> &T {
        let index = self.points.partition_point(|(start, _)| *start <= instant);
        &self.points[index.saturating_sub(1)].1
    }

    /// The value that holds from the last instant on, for ever.
    pub fn last(&self) -> &T {
        &self.points[self.points.len() - 1].1
    }

    /// Every value that holds at some moment of `[from, until)`; at least the one at `from`.
    pub fn during(&self, from: Instant, until: Instant) -> impl Iterator<Item = &T> {
        let first = self
            .points
            .partition_point(|(start, _)| *start <= from)
            .saturating_sub(1);
        self.points[first..]
            .iter()
            .enumerate()
            .take_while(move |(index, (start, _))| *index == 0 || *start < until)
            .map(|(_, (_, value))| value)
    }

    /// The same timeline with every value turned into another.
    pub fn map<U: Clone + PartialEq>(&self, mut turn: impl FnMut(&T) -> U) -> Timeline<U> {
        Timeline::from_points(self.points.iter().map(|(start, value)| (*start, turn(value))))
    }

    /// Both timelines at once, joined value by value.
    pub fn zip<U: Clone + PartialEq, V: Clone + PartialEq>(
        &self,
        other: &Timeline<U>,
        mut join: impl FnMut(&T, &U) -> V,
    ) -> Timeline<V> {
        let mut points = Vec::with_capacity(self.points.len() + other.points.len());
        // How many points of each have begun.
        let (mut own, mut others) = (0, 0);
        loop {
            let first = self.points.get(own).map(|(start, _)| *start);
            let second = other.points.get(others).map(|(start, _)| *start);
            let Some(start) = first.into_iter().chain(second).min() else {
                return Timeline::from_points(points);
            };
            own += usize::from(first == Some(start));
            others += usize::from(second == Some(start));
            // The first value also holds before its instant.
            let value = join(&self.points[own.max(1) - 1].1, &other.points[others.max(1) - 1].1);
            points.push((start, value));
        }
    }

    /// Whether `same` holds for the values of both at every moment of `[from, until)`.
    pub fn agrees<U: Clone + PartialEq>(
        &self,
        other: &Timeline<U>,
        from: Instant,
        until: Instant,
        same: impl Fn(&T, &U) -> bool,
    ) -> bool {
        let mut own = self.points.partition_point(|(start, _)| *start <= from);
        let mut others = other.points.partition_point(|(start, _)| *start <= from);
        loop {
            if !same(&self.points[own.max(1) - 1].1, &other.points[others.max(1) - 1].1) {
                return false;
            }
            let first = self.points.get(own).map(|(start, _)| *start);
            let second = other.points.get(others).map(|(start, _)| *start);
            let Some(start) = first.into_iter().chain(second).min().filter(|start| *start < until) else {
                return true;
            };
            own += usize::from(first == Some(start));
            others += usize::from(second == Some(start));
        }
    }

    /// The part from `from` on; what held before is forgotten.
    pub fn since(&self, from: Instant) -> Self {
        let first = (from, self.at(from).clone());
        Self::from_points(std::iter::once(first).chain(self.points.iter().filter(|(start, _)| *start > from).cloned()))
    }
}

impl<T: Clone + Ord> Timeline<T> {
    /// At each instant the greatest value within `reach` of it, before or after: what may hold if clocks differ by that much.
    pub fn widen(&self, reach: Seconds) -> Self {
        self.sweep(reach, |a, b| a.max(b))
    }

    /// At each instant the least value within `reach` of it, before or after: what is safe to use if clocks differ by that much.
    pub fn erode(&self, reach: Seconds) -> Self {
        self.sweep(reach, |a, b| a.min(b))
    }

    fn sweep(&self, reach: Seconds, choose: impl Fn(T, T) -> T) -> Self {
        let mut starts: Vec<Instant> = self
            .points
            .iter()
            .skip(1)
            .flat_map(|(start, _)| [*start - reach, *start + reach])
            .collect();
        starts.push(self.start());
        starts.sort_unstable();
        starts.dedup();
        let best_near = |instant: Instant| {
            // A value holds on [start, next), so it is within reach of `instant` up to and including instant + reach.
            let mut values = self
                .during(instant - reach, instant + reach + Seconds::from_secs(1))
                .cloned();
            let first = values.next().expect("a timeline has a value at every instant");
            values.fold(first, &choose)
        };
        Self::from_points(starts.into_iter().map(|start| (start, best_near(start))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(points: &[(i64, i64)]) -> Timeline<i64> {
        Timeline::from_points(
            points
                .iter()
                .map(|(start, value)| (Instant::from_unix_secs(*start), *value)),
        )
    }

    #[test]
    fn values_hold_from_their_instant_and_the_ends_hold_for_ever() {
        let load = timeline(&[(10, 1), (20, 3)]);
        let at = |secs| *load.at(Instant::from_unix_secs(secs));
        assert_eq!([at(-5), at(10), at(19), at(20), at(99)], [1, 1, 1, 3, 3]);
    }

    #[test]
    fn widening_agrees_with_looking_at_every_second() {
        let load = timeline(&[(10, 1), (20, 5), (24, 2), (40, 4), (41, 0)]);
        for reach in 0..7 {
            let widened = load.widen(Seconds::from_secs(reach));
            let eroded = load.erode(Seconds::from_secs(reach));
            for secs in 0..60 {
                let near = (secs - reach..=secs + reach).map(|second| *load.at(Instant::from_unix_secs(second)));
                assert_eq!(
                    *widened.at(Instant::from_unix_secs(secs)),
                    near.clone().max().unwrap(),
                    "reach {reach}, second {secs}"
                );
                assert_eq!(
                    *eroded.at(Instant::from_unix_secs(secs)),
                    near.min().unwrap(),
                    "reach {reach}, second {secs}"
                );
            }
        }
    }

    #[test]
    fn during_gives_what_holds_in_a_window() {
        let load = timeline(&[(10, 1), (20, 5), (24, 2)]);
        let during = |from, until| {
            load.during(Instant::from_unix_secs(from), Instant::from_unix_secs(until))
                .copied()
                .collect::<Vec<_>>()
        };
        assert_eq!(during(0, 5), [1]);
        assert_eq!(during(12, 20), [1]);
        assert_eq!(during(12, 21), [1, 5]);
        assert_eq!(during(20, 30), [5, 2]);
    }

    #[test]
    fn two_timelines_agree_over_a_span_where_all_their_values_do() {
        let at = Instant::from_unix_secs;
        let sent = timeline(&[(0, 1), (10, 2), (20, 3)]);
        let wanted = timeline(&[(-5, 1), (10, 2), (25, 3)]);
        let agree = |from: i64, until: i64| sent.agrees(&wanted, at(from), at(until), |a, b| a == b);
        assert!(agree(0, 20) && agree(-100, 15) && agree(25, 90) && agree(12, 13));
        assert!(!agree(0, 21) && !agree(20, 22));
        assert!(sent.agrees(&wanted, at(0), at(99), |a, b| a >= b));
    }
}
