//! What may be drawn at every place of a site, kept up as it changes.
//!
//! Decides nothing. A site has hundreds of EVSEs and a step changes a few of them, so sums are not made anew but told each change.

use crate::domain::conversion::Load;
use crate::domain::timeline::Timeline;
use crate::units::Instant;
use std::collections::BTreeMap;
use std::ops::Bound;

#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    places: Vec<Sum>,
}

/// At one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    /// Before the first change.
    first: Load,
    changes: BTreeMap<Instant, Change>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Change {
    load: Load,
    /// How many loads change then.
    by: usize,
}

impl Sums {
    /// Nothing is drawn at any of so many places.
    pub fn new(places: usize) -> Self {
        Self {
            places: vec![Sum::default(); places],
        }
    }

    /// At the places of `path`, what was `old` is `new`.
    pub fn replace(&mut self, path: impl Iterator<Item = usize>, old: &Timeline<Load>, new: &Timeline<Load>) {
        if old == new {
            return;
        }
        for place in path {
            let sum = &mut self.places[place];
            sum.take_out(old);
            sum.put_in(new);
        }
    }

    /// The sum at `place` from `from` on.
    pub fn at(&self, place: usize, from: Instant) -> Timeline<Load> {
        self.places[place].since(from)
    }
}

impl Sum {
    pub fn since(&self, from: Instant) -> Timeline<Load> {
        let past = self.changes.range(..=from).map(|(_, change)| change.load);
        let mut load = past.fold(self.first, |sum, change| sum + change);
        let later = self.changes.range((Bound::Excluded(from), Bound::Unbounded));
        let mut points = vec![(from, load)];
        for (at, change) in later {
            load += change.load;
            points.push((*at, load));
        }
        Timeline::from_points(points)
    }

    pub fn put_in(&mut self, load: &Timeline<Load>) {
        self.first += load.points()[0].1;
        for (at, change) in changes(load) {
            let known = self.changes.entry(at).or_default();
            known.load += change;
            known.by += 1;
        }
    }

    fn take_out(&mut self, load: &Timeline<Load>) {
        self.first -= load.points()[0].1;
        for (at, change) in changes(load) {
            let Some(known) = self.changes.get_mut(&at) else {
                debug_assert!(false, "what is taken out was put in");
                continue;
            };
            known.load -= change;
            known.by -= 1;
            if known.by == 0 {
                self.changes.remove(&at);
            }
        }
    }
}

fn changes(load: &Timeline<Load>) -> impl Iterator<Item = (Instant, Load)> + '_ {
    load.points().windows(2).map(|pair| (pair[1].0, pair[1].1 - pair[0].1))
}
