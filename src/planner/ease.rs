//! Who charges now, among plans that are equally good: who is served first, then who has it already, then everyone at his own pace.
//!
//! Decides nothing about how much anyone gets in all. Optima are many, and each search may find another one. A rate that stays as it is
//! in the plan in force is one message less, one pause of a car less, and no room that waits for a confirmation. And drivers leave
//! before they said: a car that has what it needs by the pace of its stay loses least by that, one that was put off to the end most.
//!
//! Only the shares of two sessions in one slot are swapped, and paid back in later slots. So nothing is dearer, all get as much as
//! before, and nobody less by more than what one step is worth; power that is free now is never given up.

use super::draft::Draft;
use super::objective::promised_missing;
use super::problem::Problem;
use super::serving::{drop_excess, top_up_session};
use crate::domain::conversion::Rate;
use crate::units::{Seconds, WattSeconds};

/// Swaps tried in all. Work is bounded by this, whatever the size of the site.
const MAX_TRIES: usize = 20_000;
/// Swaps tried for one session in one slot.
const MAX_TRIES_PER_SESSION: usize = 100;
/// A session that has at least this part of its pace is left alone: pace changes all the time.
const ENOUGH_PACE_PERCENT: i64 = 75;

/// Brings the rates of now and of what a lease reaches to what is in force, then to everyone's pace.
pub(super) fn settle(draft: &mut Draft) {
    let problem = draft.problem;
    let planned_slots = (0..problem.session_count()).map(|session| problem.session(session).planned.len());
    let reach = planned_slots.max().unwrap_or(0).clamp(1, problem.slots);
    draft.peak_allowed = draft.peak_without_cost();
    let given: Vec<WattSeconds> = (0..problem.session_count())
        .map(|session| draft.delivered(session))
        .collect();
    let mut settling = Settling {
        missing: (0..problem.session_count())
            .map(|session| draft.missing(session))
            .collect(),
        tries: MAX_TRIES,
        reach,
        draft,
    };
    for slot in 0..reach {
        settling.serve_in_order(slot);
        settling.swap_all(slot, |problem, session| {
            let planned = *problem.session(session).planned.get(slot)?;
            Some(Wanted {
                least: planned,
                most: planned,
            })
        });
        settling.swap_all(slot, |problem, session| pace(problem, session, slot, given[session]));
    }
    settling.draft.peak_allowed = None;
    settling.draft.stop_log();
}

/// Between these a session keeps its rate. It gives only what is above `most`, and is raised to `most` if it has less than `least`.
struct Wanted {
    least: Rate,
    most: Rate,
}

/// What a session is `given` in all, spread over what is left of its stay; at least the minimum, so that a car charges when it is
/// plugged in.
fn pace(problem: &Problem, index: usize, slot: usize, given: WattSeconds) -> Option<Wanted> {
    let session = problem.session(index);
    session.need?;
    let left: Seconds = (slot..session.end_slot).map(|slot| problem.seconds(slot)).sum();
    let second = session.energy(session.choice.maximum, Seconds::from_secs(1));
    let per_second = given.watt_seconds() / left.secs().max(1);
    let rate = Rate::new(session.choice.maximum.value() * per_second / second.watt_seconds().max(1));
    let most = session.choice.floor(rate).max(session.choice.minimum);
    let least = Rate::new(most.value() * ENOUGH_PACE_PERCENT / 100);
    Some(Wanted { least, most })
}

struct Settling<'d, 'p> {
    draft: &'d mut Draft<'p>,
    /// By session, before anything was swapped.
    missing: Vec<WattSeconds>,
    tries: usize,
    /// Debts are paid back from this slot on.
    reach: usize,
}

impl<'p> Settling<'_, 'p> {
    /// Whoever is served first charges first: swaps in `slot` what a later class has there for what an earlier one has later.
    fn serve_in_order(&mut self, slot: usize) {
        let problem = self.draft.problem;
        let takes = |session: &usize| problem.session(*session).interruptible && problem.is_live(*session, slot);
        for (index, earlier) in problem.classes.iter().enumerate() {
            let later = problem.classes[index + 1..].iter().flat_map(|later| &later.members);
            let mut givers: Vec<usize> = later.copied().filter(takes).collect();
            for to in earlier.members.iter().copied().filter(takes) {
                givers.retain(|from| !self.draft.rate(*from, slot).is_zero());
                for from in givers.iter().take(MAX_TRIES_PER_SESSION).copied() {
                    let lack = problem.session(to).choice.maximum.value() - self.draft.rate(to, slot).value();
                    let most = lack.min(self.later_rate(to, slot));
                    if most <= 0 {
                        break;
                    }
                    self.swap(from, to, slot, most.min(self.draft.rate(from, slot).value()));
                }
            }
        }
    }

    fn swap(&mut self, from: usize, to: usize, slot: usize, amount: i64) {
        if amount > 0
            && let Some(left) = self.tries.checked_sub(1)
        {
            self.tries = left;
            Swap {
                settling: self,
                from,
                to,
            }
            .settle(slot, amount);
        }
    }

    /// The rate in `slot` that would give `session` all it has from `reach` on.
    fn later_rate(&self, session: usize, slot: usize) -> i64 {
        let problem = self.draft.problem;
        let later: WattSeconds = (self.reach..problem.slots)
            .map(|slot| self.draft.energy(session, slot))
            .sum();
        let whole = problem.session(session).choice.maximum;
        let at_most = problem
            .session(session)
            .energy(whole, problem.seconds(slot))
            .watt_seconds();
        (i128::from(later.watt_seconds()) * i128::from(whole.value()) / i128::from(at_most.max(1))) as i64
    }

    /// Swaps in `slot` between those who have more than `wanted` and those who have less.
    fn swap_all(&mut self, slot: usize, wanted: impl Fn(&Problem<'p>, usize) -> Option<Wanted>) {
        let problem = self.draft.problem;
        // Those that may not be interrupted have their run and keep it.
        let sessions: Vec<(usize, Wanted)> = (problem.present(slot).iter().copied())
            .filter(|session| problem.session(*session).interruptible)
            .filter_map(|session| Some((session, wanted(problem, session)?)))
            .collect();
        let mut givers: Vec<(usize, Rate)> = sessions.iter().map(|(from, wanted)| (*from, wanted.most)).collect();
        for (to, wanted) in &sessions {
            if self.draft.rate(*to, slot) >= wanted.least {
                continue;
            }
            givers.retain(|(from, most)| self.draft.rate(*from, slot) > *most);
            // Who is served first gives nothing up for who comes later.
            let givers = givers
                .iter()
                .filter(|(from, _)| problem.class_of(*from) >= problem.class_of(*to));
            for (from, most) in givers.take(MAX_TRIES_PER_SESSION) {
                let lack = wanted.most.value() - self.draft.rate(*to, slot).value();
                let excess = self.draft.rate(*from, slot).value() - most.value();
                if self.draft.rate(*to, slot) >= wanted.least {
                    break;
                }
                self.swap(*from, *to, slot, lack.min(excess));
            }
        }
    }
}

/// Two sessions that trade: `from` gives power to `to` in one slot, and gets it back later.
struct Swap<'s, 'd, 'p> {
    settling: &'s mut Settling<'d, 'p>,
    from: usize,
    to: usize,
}

impl<'s, 'd, 'p> Swap<'s, 'd, 'p> {
    fn settle(mut self, slot: usize, amount: i64) {
        let draft = &mut *self.settling.draft;
        let before = Before {
            missing: draft.missing(self.from) + draft.missing(self.to),
            spent: draft.spent(),
        };
        draft.start_log();
        let given = draft.energy(self.from, slot);
        if !self.hand_over(self.from, self.to, slot, amount) {
            return;
        }
        let given = given - self.settling.draft.energy(self.from, slot);
        self.pay_back(given);
        for session in [self.from, self.to] {
            self.make_up(session);
        }
        if !self.costs_nothing(&before) {
            self.settling.draft.take_back(0);
        }
    }

    /// `to` gives back `given`, in later slots where both can charge.
    fn pay_back(&mut self, given: WattSeconds) {
        let problem = self.settling.draft.problem;
        let before = self.settling.draft.delivered(self.from) + given;
        for later in self.settling.reach..problem.slots {
            let owed = (before - self.settling.draft.delivered(self.from)).watt_seconds() as f64;
            let one = problem.session(self.from).power.as_f64() * problem.seconds(later).secs() as f64;
            let amount = (owed / one).round() as i64;
            if amount <= 0 {
                return;
            }
            if problem.is_live(self.from, later) && problem.is_live(self.to, later) {
                self.hand_over(self.to, self.from, later, amount);
            }
        }
    }

    /// Gives `session` what it lost by it, from what is free later, and drops what it got too much.
    fn make_up(&mut self, session: usize) {
        let draft = &mut *self.settling.draft;
        let lost = (draft.missing(session) - self.settling.missing[session]).or_zero();
        top_up_session(draft, session, lost, self.settling.reach);
        drop_excess(draft, session);
    }

    /// Lowers `giver` in `slot` by up to `amount` and raises `taker` by what that leaves. Changes both or neither.
    fn hand_over(&mut self, giver: usize, taker: usize, slot: usize, amount: i64) -> bool {
        let draft = &mut *self.settling.draft;
        let problem = draft.problem;
        let (gives, takes) = (draft.rate(giver, slot), draft.rate(taker, slot));
        let most = Rate::new(takes.value() + amount.min(gives.value()));
        let raised = problem.session(taker).choice.floor(most);
        let lowered = Rate::new(gives.value() - (raised.value() - takes.value()));
        if raised <= takes || !problem.session(giver).choice.allows(lowered) {
            return false;
        }
        draft.set(giver, slot, lowered);
        if !draft.fits(taker, slot, raised) {
            draft.set(giver, slot, gives);
            return false;
        }
        draft.set(taker, slot, raised);
        true
    }

    /// Nobody loses what was promised, and nobody more than a step's worth of what he had; between classes nobody loses anything;
    /// together the two lose nothing and pay no more.
    fn costs_nothing(&self, before: &Before) -> bool {
        let draft = &*self.settling.draft;
        let problem = draft.problem;
        let same_class = problem.class_of(self.from) == problem.class_of(self.to);
        let kept = |session: usize| {
            let lost = draft.missing(session) - self.settling.missing[session];
            let most = if same_class {
                problem.step_worth(session)
            } else {
                WattSeconds::ZERO
            };
            lost <= most && promised_missing(draft, session) == WattSeconds::ZERO
        };
        let missing = draft.missing(self.from) + draft.missing(self.to);
        kept(self.from) && kept(self.to) && missing <= before.missing && draft.spent() <= before.spent
    }
}

/// What two sessions lacked before they traded, and what everyone's energy cost.
struct Before {
    missing: WattSeconds,
    spent: i128,
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::domain::snapshot::SlotGrid;
    use crate::units::Instant;

    /// Two cars share 20 A for four hours; a search gave the first all of the first hour. What the plan in force gives then is in
    /// `planned`.
    fn two_cars(planned: [i64; 2]) -> crate::domain::snapshot::Snapshot {
        let mut snapshot = site(vec![amperes(20); 4]);
        for planned in planned {
            let car = car(&mut snapshot, on_l1(), 40);
            snapshot.sessions[car].planned = vec![Rate::new(planned * 10)];
        }
        snapshot
    }

    fn searched<'p>(problem: &'p Problem<'p>) -> Draft<'p> {
        let mut draft = Draft::new(problem);
        for (slot, rates) in [[20, 0], [0, 20], [20, 0], [0, 20]].into_iter().enumerate() {
            for (session, rate) in rates.into_iter().enumerate() {
                draft.set(session, slot, Rate::new(rate * 10));
            }
        }
        draft
    }

    /// In amperes, of each car.
    fn settled(snapshot: &crate::domain::snapshot::Snapshot) -> [Vec<i64>; 2] {
        let problem = Problem::new(snapshot);
        let mut draft = searched(&problem);
        settle(&mut draft);
        [0, 1].map(|car| in_amperes(draft.rates(car)))
    }

    #[test]
    fn what_is_in_force_is_kept_and_paid_back_later() {
        let snapshot = two_cars([8, 12]);
        assert_eq!(settled(&snapshot), [[8, 12, 20, 0], [12, 8, 0, 20]]);
    }

    #[test]
    fn whoever_is_plugged_in_charges_at_his_pace() {
        let snapshot = two_cars([20, 0]);
        assert_eq!(settled(&snapshot), [[10, 10, 20, 0], [10, 10, 0, 20]]);
    }

    #[test]
    fn power_that_is_free_is_not_given_up() {
        let mut snapshot = two_cars([6, 6]);
        snapshot.sessions[1].first_slot = 1;
        assert_eq!(settled(&snapshot)[0], [20, 0, 20, 0]);
    }

    #[test]
    fn nobody_pays_for_it_with_energy() {
        let mut snapshot = two_cars([0, 20]);
        // The first car leaves after an hour: it cannot be paid back.
        snapshot.sessions[0].end_slot = 1;
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 0, Rate::new(200));
        draft.set(1, 1, Rate::new(200));
        settle(&mut draft);
        assert_eq!(in_amperes(draft.rates(0)), [20, 0, 0, 0]);
    }

    #[test]
    fn not_even_with_a_part_of_a_step() {
        let mut snapshot = two_cars([14, 6]);
        // What 6 A give in the 700 seconds that are left of this slot is no whole ampere in the next.
        snapshot.grid = SlotGrid::new(Instant::from_unix_secs(2_900), Seconds::from_hours(1), 4);
        snapshot.nodes[0].available[3] = amperes(0);
        for (car, ampere_seconds) in [20 * 700 + 26 * 3_600, 14 * 3_600].into_iter().enumerate() {
            snapshot.sessions[car].need = Some(WattSeconds::from_watt_seconds(230 * ampere_seconds));
        }
        let problem = Problem::new(&snapshot);
        let best = [[20, 6, 20, 0], [0, 14, 0, 0]];
        let mut draft = Draft::new(&problem);
        for (car, rates) in best.iter().enumerate() {
            for (slot, rate) in rates.iter().enumerate() {
                draft.set(car, slot, Rate::new(rate * 10));
            }
        }
        settle(&mut draft);
        assert_eq!([0, 1].map(|car| in_amperes(draft.rates(car))), best);
    }

    #[test]
    fn nor_with_money() {
        let mut snapshot = two_cars([0, 20]);
        let dear = crate::units::MicrosPerKwh::from_micros_per_kwh(500_000);
        // The first car could be paid back in dear hours only, and would then charge there more than the other less.
        snapshot.prices[1..].fill(dear);
        snapshot.sessions[1].power = {
            let wiring = crate::domain::conversion::Wiring::Star(vec![crate::domain::conversion::Phase::L1]);
            let conversion = crate::domain::conversion::Conversion::new(&wiring, crate::units::Volts::from_volts(200));
            conversion.nominal_power(None)
        };
        let problem = Problem::new(&snapshot);
        let mut draft = searched(&problem);
        let cost = super::super::objective::energy_cost(&draft);
        settle(&mut draft);
        assert!(super::super::objective::energy_cost(&draft) <= cost);
    }

    #[test]
    fn whoever_is_served_first_charges_first() {
        let mut snapshot = two_cars([0, 0]);
        snapshot.sessions.iter_mut().for_each(|session| session.planned.clear());
        snapshot.sessions[1].tier = crate::domain::session::Tier::BOOST;
        assert_eq!(settled(&snapshot), [[0, 20, 20, 0], [20, 0, 0, 20]]);
    }

    #[test]
    fn an_earlier_tier_gives_nothing_to_a_later_one() {
        let mut snapshot = two_cars([0, 20]);
        snapshot.sessions[0].tier = crate::domain::session::Tier::BOOST;
        snapshot.sessions[0].need = Some(WattSeconds::from_watt_hours(80 * 230));
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        for slot in 0..4 {
            draft.set(0, slot, Rate::new(200));
        }
        settle(&mut draft);
        assert_eq!(in_amperes(draft.rates(0)), [20; 4]);
    }
}
