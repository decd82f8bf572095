//! From wished rates to allowed ones.
//!
//! Decides the first rate of every cell; what is lost here has to be found again step by step ([`super::serving`]). Where all cars load the
//! supply alike it does not matter who finds it, and each wish is rounded by itself. Where they differ, it does: if lines are
//! full in the right proportion, so must be what is rounded, as no exchange of equals can mend it afterwards.

use super::draft::Draft;
use super::kinds::Kinds;
use crate::domain::conversion::Rate;
use crate::units::WattSeconds;

/// A difference below this part of a rate unit is the solver's noise.
const NOISE: f64 = 1e-2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    Down,
    /// To the nearest allowed rate, up where half of what was lost or more is wished.
    Nearest,
    /// Down, and up for so many that in every slot the sessions of a kind keep together what they wish together, less a part of a step.
    ByKind,
}

/// Sets the rates of all who may be interrupted to what is left of `wishes`, rates by session and then slot.
pub(super) fn round(draft: &mut Draft, wishes: &[f64], rounding: Rounding) {
    match rounding {
        Rounding::Down => round_down(draft, wishes),
        Rounding::Nearest => {
            round_down(draft, wishes);
            raise_to_nearest(draft, wishes);
        }
        Rounding::ByKind => round_by_kind(draft, wishes),
    }
}

/// The slot's wishes of those who may be interrupted.
fn wished<'d>(draft: &Draft<'d>, wishes: &'d [f64], slot: usize) -> impl Iterator<Item = (usize, f64)> + use<'d> {
    let problem = draft.problem;
    let interruptible =
        (problem.present(slot).iter().copied()).filter(|session| problem.session(*session).interruptible);
    let wished = interruptible.map(move |session| (session, wishes[session * problem.slots + slot]));
    wished.filter(|(_, wish)| *wish > NOISE)
}

/// The greatest rate value that `wish` covers.
fn floor(wish: f64) -> Rate {
    Rate::new((wish + NOISE).max(0.0) as i64)
}

fn round_down(draft: &mut Draft, wishes: &[f64]) {
    for slot in 0..draft.problem.slots {
        for (session, wish) in wished(draft, wishes, slot) {
            draft.raise(session, slot, floor(wish));
        }
    }
}

fn raise_to_nearest(draft: &mut Draft, wishes: &[f64]) {
    for slot in 0..draft.problem.slots {
        for (session, wish) in wished(draft, wishes, slot) {
            let rate = draft.rate(session, slot);
            let next = draft.problem.session(session).choice.above(rate).unwrap_or(rate);
            let (lost, step) = (wish - rate.value() as f64, (next.value() - rate.value()) as f64);
            if 2.0 * lost >= step && draft.missing(session) > WattSeconds::ZERO {
                draft.raise(session, slot, next);
            }
        }
    }
}

/// A cell that was rounded down.
struct Lowered {
    session: usize,
    next: Rate,
    /// What the next allowed rate is more.
    more: f64,
    /// How much of that the session wishes, with what it was left owing in earlier slots.
    due: f64,
}

/// Carries what rounding loses on in two directions, as in error diffusion: to others of the kind in the slot, and to the session's
/// own next slots.
fn round_by_kind(draft: &mut Draft, wishes: &[f64]) {
    let problem = draft.problem;
    let kinds = Kinds::new(problem);
    // In rate times seconds.
    let mut owed = vec![0.0; problem.session_count()];
    let mut lowered: Vec<Vec<Lowered>> = (0..kinds.count()).map(|_| Vec::new()).collect();
    let mut lost = vec![0.0; kinds.count()];
    for slot in 0..problem.slots {
        let seconds = problem.seconds(slot).secs() as f64;
        for (session, wish) in wished(draft, wishes, slot) {
            let due = wish + owed[session] / seconds;
            draft.raise(session, slot, floor(due.min(wish)));
            let rate = draft.rate(session, slot);
            let left = wish - rate.value() as f64;
            lost[kinds.of(session)] += left;
            owed[session] += left * seconds;
            if let Some(next) = problem.session(session).choice.above(rate) {
                let more = (next.value() - rate.value()) as f64;
                let due = due - rate.value() as f64;
                lowered[kinds.of(session)].push(Lowered {
                    session,
                    next,
                    more,
                    due,
                });
            }
        }
        for (lowered, lost) in lowered.iter_mut().zip(&mut lost) {
            lowered.sort_by(|a, b| (b.due / b.more).total_cmp(&(a.due / a.more)));
            for Lowered {
                session, next, more, ..
            } in lowered.drain(..)
            {
                let is_wanted = *lost >= more - NOISE && draft.missing(session) > WattSeconds::ZERO;
                if is_wanted && draft.fits(session, slot, next) {
                    draft.set(session, slot, next);
                    *lost -= more;
                    owed[session] -= more * seconds;
                }
            }
            *lost = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::Problem;
    use super::super::testing::*;
    use super::*;

    #[test]
    fn wishes_are_rounded_down_or_to_the_nearest_step_and_never_above_the_need() {
        let mut snapshot = site(vec![amperes(32); 3]);
        car(&mut snapshot, on_l1(), 24);
        let problem = Problem::new(&snapshot);
        let rounded = |wishes: [f64; 3], rounding: Rounding| {
            let mut draft = Draft::new(&problem);
            round(&mut draft, &wishes, rounding);
            in_amperes(draft.rates(0))
        };
        assert_eq!(rounded([96.0, 94.0, 40.0], Rounding::Down), [9, 9, 0]);
        assert_eq!(rounded([96.0, 94.0, 40.0], Rounding::Nearest), [10, 9, 6]);
        assert_eq!(rounded([119.999, 120.0, 40.0], Rounding::Nearest), [12, 12, 0]);
    }

    #[test]
    fn what_is_below_the_minimum_is_gathered_by_those_who_load_the_same_line() {
        let mut snapshot = site(vec![amperes(32); 4]);
        for _ in 0..2 {
            car(&mut snapshot, on_l1(), 24);
        }
        for _ in 0..4 {
            car(&mut snapshot, on_l2(), 24);
        }
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        let wishes: Vec<f64> = [[30.0; 4]; 2]
            .concat()
            .into_iter()
            .chain([[15.0; 4]; 4].concat())
            .collect();
        round(&mut draft, &wishes, Rounding::ByKind);
        let drawn =
            |cars: std::ops::Range<usize>, slot: usize| cars.map(|car| draft.rate(car, slot).value()).sum::<i64>();
        // In every slot one of each line charges, and over the day each as much as it wished.
        assert_eq!(
            [0, 1, 2, 3].map(|slot| [drawn(0..2, slot), drawn(2..6, slot)]),
            [[60, 60]; 4]
        );
        let charged = |car: usize| in_amperes(draft.rates(car)).iter().sum::<i64>();
        assert_eq!([0, 1, 2, 3, 4, 5].map(charged), [12, 12, 6, 6, 6, 6]);
    }

    #[test]
    fn no_kind_gets_more_than_it_wishes_in_a_slot() {
        let mut snapshot = site(vec![amperes(32); 1]);
        for _ in 0..3 {
            car(&mut snapshot, on_l1(), 30);
        }
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        round(&mut draft, &[106.0, 105.0, 40.0], Rounding::ByKind);
        // 25.1 A in all. 10 A and 10 A leave 5.1 A: enough for two steps, not for the third car to begin.
        assert_eq!([0, 1, 2].map(|car| draft.rate(car, 0).value()), [110, 110, 0]);
    }
}
