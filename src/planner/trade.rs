//! Energy for one session for which others give some up, where all together then have more.
//!
//! Decides who gives up what at a site whose energy is scarce. Chains ([`super::exchange`]) move equal steps, one for one, and at their end one
//! may lose less than another gains ([`super::sharing`]). Beside minimum currents and mixed phases that is not enough: whoever begins needs
//! 6 A at once, and a three-phase car that begins on lines that two single-phase cars fill gives three for the two that they lose. So one
//! slot is changed as a whole: who is in the way gives way, limit by limit; what that leaves is filled with whoever lacks some; and who had all
//! he needed gets back what he gave by a trade of his own, in the slots where that costs the others least. A trade that does
//! not pay is taken back. These are ejection chains: F. Glover, *Ejection chains, reference structures and alternating path methods for
//! traveling salesman problems*, Discrete Applied Mathematics 65 (1996).

use super::draft::{Change, Draft, Hold};
use super::objective;
use super::problem::Problem;
use super::serving::{drop_excess, top_up_session};
use crate::domain::conversion::{PerRate, Rate};
use crate::domain::limits::Excess;
use crate::units::WattSeconds;

/// Cells looked at in all. Work is bounded by this, whatever the size of the site.
const LOOKS: usize = 250_000;
/// So many give way for one: one for each line, at two nodes, and some twice.
const MOST_TOGETHER: usize = 8;
/// Slots in which one who gave way may get it back.
const MOST_RETURNS: usize = 3;
/// Beyond so many cells the search for these slots would take all that may be looked at.
const MOST_CELLS_FOR_RETURNS: usize = 5_000;
/// Times that all cells are gone through.
const MOST_ROUNDS: usize = 4;
const MILLE: i64 = 1_000;

/// Trades until none pays. Tells whether any did.
pub(super) fn trade(draft: &mut Draft) -> bool {
    let mut trades = Trades::new(draft);
    if !(0..trades.problem.session_count()).any(|session| trades.lacks(session)) {
        return false;
    }
    let mut any = false;
    for _ in 0..MOST_ROUNDS {
        if trades.problem.cell_count() <= MOST_CELLS_FOR_RETURNS {
            trades.find_returns();
        }
        if !trades.round() {
            break;
        }
        any = true;
    }
    trades.draft.stop_log();
    any
}

/// Someone who gives way, and to which rate.
struct Gift {
    session: usize,
    lowered: Rate,
    lost: WattSeconds,
}

/// A slot in which a session can have more, and what others lose for a thousand that it gains.
#[derive(Clone, Copy)]
struct Return {
    slot: usize,
    lost_per_mille: i64,
}

/// What a session lacked before a trade.
struct Before {
    session: usize,
    missing: WattSeconds,
    promised_missing: WattSeconds,
}

struct Trades<'d, 'p> {
    draft: &'d mut Draft<'p>,
    problem: &'p Problem<'p>,
    looks_left: usize,
    /// Whom the trade under way has changed.
    changed: Vec<Before>,
    /// By slot: the number of trades that changed it.
    versions: Vec<u32>,
    /// By session, then slot: one more than the version at which no trade paid.
    failed: Vec<u32>,
    /// By session that has all it wants: the best first.
    returns: Vec<Vec<Return>>,
}

impl<'d, 'p> Trades<'d, 'p> {
    fn new(draft: &'d mut Draft<'p>) -> Self {
        let problem = draft.problem;
        Self {
            draft,
            problem,
            looks_left: LOOKS,
            changed: Vec::new(),
            versions: vec![0; problem.slots],
            failed: vec![0; problem.session_count() * problem.slots],
            returns: vec![Vec::new(); problem.session_count()],
        }
    }

    fn lacks(&self, session: usize) -> bool {
        self.problem.session(session).interruptible && self.draft.missing(session) > WattSeconds::ZERO
    }

    /// Tries every cell of those who lack some. Tells whether any trade paid.
    fn round(&mut self) -> bool {
        let mut any = false;
        for slot in 0..self.problem.slots {
            for session in self.problem.present(slot).iter().copied() {
                let cell = session * self.problem.slots + slot;
                while self.failed[cell] <= self.versions[slot] && self.lacks(session) && self.looks_left > 0 {
                    self.draft.start_log();
                    self.changed.clear();
                    if self.attempt(session, slot, MOST_RETURNS) {
                        any = true;
                        self.draft.changed_slots().for_each(|slot| self.versions[slot] += 1);
                    } else {
                        self.failed[cell] = self.versions[slot] + 1;
                    }
                }
            }
        }
        any
    }

    /// Gives `session` more in `slot` if all together gain by it; who gives way may have it back in `returns` slots. Changes nothing else.
    fn attempt(&mut self, session: usize, slot: usize, returns: usize) -> bool {
        let choice = &self.problem.session(session).choice;
        let Some(step) = choice.above(self.draft.rate(session, slot)) else {
            return false;
        };
        let before = self.gained();
        let (logged, changed) = (self.draft.logged(), self.changed.len());
        self.remember(session);
        let greatest = self
            .draft
            .rate_with(session, slot, self.draft.missing(session))
            .max(step);
        let most = self.energy(session, slot, greatest) - self.draft.energy(session, slot);
        if self.make_room(session, slot, step, most.min(self.draft.missing(session))) {
            self.draft.set(session, slot, step);
            self.draft.raise(session, slot, greatest);
            drop_excess(self.draft, session);
            self.fill(slot);
            for at in changed..self.changed.len() {
                self.make_up(at, slot, returns);
            }
            if self.gained() > before {
                return true;
            }
        }
        self.draft.take_back(logged);
        self.changed.truncate(changed);
        false
    }

    /// Has others give way until `session` may go to `step`, as long as that can pay: it gains no more than `most`.
    fn make_room(&mut self, session: usize, slot: usize, step: Rate, most: WattSeconds) -> bool {
        let mut left = most;
        for _ in 0..MOST_TOGETHER {
            let change = self.draft.change(session, slot, step);
            match self.draft.obstacle(session, slot, &change, None) {
                None => return true,
                Some((Hold::Node(node), Some(excess))) => {
                    let Some(gift) = self.least_gift(session, slot, &change, node, excess) else {
                        return false;
                    };
                    left -= gift.lost;
                    if left <= WattSeconds::ZERO {
                        return false;
                    }
                    self.remember(gift.session);
                    self.draft.set(gift.session, slot, gift.lowered);
                }
                Some(_) => return false,
            }
        }
        false
    }

    /// Who clears this limit of `node` for `change` of `session` at the least loss.
    fn least_gift(
        &mut self,
        session: usize,
        slot: usize,
        change: &Change,
        node: usize,
        excess: Excess,
    ) -> Option<Gift> {
        let problem = self.problem;
        let mut least: Option<Gift> = None;
        for user in problem.below(node, slot).iter().copied() {
            let rate = self.draft.rate(user, slot);
            if user == session || rate.is_zero() || !problem.session(user).interruptible {
                continue;
            }
            // Who is served first gives nothing up for who comes later.
            if problem.class_of(user) < problem.class_of(session) {
                continue;
            }
            self.looks_left = self.looks_left.saturating_sub(1);
            let Some(relief) = relief(problem, user, excess) else {
                continue;
            };
            let choice = &problem.session(user).choice;
            let enough = choice.floor(Rate::new((rate.value() - relief).max(0)));
            let clears = |lowered: &Rate| {
                let less = self.draft.change(user, slot, *lowered);
                let left = self.draft.excess_at(node, slot, [change, &less]);
                left.is_none_or(|left| !left.is_of_same_limit(&excess))
            };
            let Some(lowered) = [enough, Rate::ZERO].into_iter().find(clears) else {
                continue;
            };
            let lost = self.loss(session, user, slot, lowered);
            if least.as_ref().is_none_or(|least| lost < least.lost) {
                least = Some(Gift {
                    session: user,
                    lowered,
                    lost,
                });
            }
        }
        least
    }

    /// What is lost in the end if `user` goes to `lowered` for `session`: less if it can have it back elsewhere, nothing if it comes later.
    fn loss(&self, session: usize, user: usize, slot: usize, lowered: Rate) -> WattSeconds {
        if self.problem.class_of(user) > self.problem.class_of(session) {
            return WattSeconds::ZERO;
        }
        let given = self.draft.energy(user, slot) - self.energy(user, slot, lowered);
        let spared = (self.draft.delivered(user) - self.problem.wanted(user)).or_zero();
        let lost = (given - spared).or_zero();
        let back = self.returns[user].iter().find(|back| back.slot != slot);
        match back.filter(|_| self.draft.missing(user) == WattSeconds::ZERO) {
            Some(back) => WattSeconds::from_watt_seconds(lost.watt_seconds() / MILLE * back.lost_per_mille),
            None => lost,
        }
    }

    /// Gives whoever is changed at this place and lacks more than before what he lost: where there is room, then by trades in `returns` slots.
    fn make_up(&mut self, at: usize, left: usize, returns: usize) {
        let Before { session, missing, .. } = self.changed[at];
        let lost = |draft: &Draft| (draft.missing(session) - missing).or_zero();
        top_up_session(self.draft, session, lost(self.draft), 0);
        drop_excess(self.draft, session);
        if returns == 0 {
            return;
        }
        for Return { slot, .. } in self.returns[session].clone() {
            if lost(self.draft) == WattSeconds::ZERO {
                return;
            }
            if slot != left {
                self.attempt(session, slot, 0);
            }
        }
    }

    /// Uses the room that is left in `slot` for whoever lacks some.
    fn fill(&mut self, slot: usize) {
        self.looks_left = self.looks_left.saturating_sub(self.problem.present(slot).len());
        for session in self.problem.present(slot).iter().copied() {
            if !self.lacks(session) {
                continue;
            }
            let most = self.draft.rate_with(session, slot, self.draft.missing(session));
            let rate = self.draft.greatest_fitting(session, slot, most);
            if rate > self.draft.rate(session, slot) {
                self.remember(session);
                self.draft.set(session, slot, rate);
            }
        }
    }

    /// Where those who have all they want could have more, and at whose loss.
    fn find_returns(&mut self) {
        let problem = self.problem;
        for session in 0..problem.session_count() {
            self.returns[session].clear();
            if !problem.session(session).interruptible || self.lacks(session) {
                continue;
            }
            let mut found: Vec<Return> = Vec::new();
            for slot in problem.ordered_slots(session).iter().copied() {
                if self.looks_left == 0 {
                    return;
                }
                self.looks_left -= 1;
                found.extend(self.return_in(session, slot));
            }
            found.sort_by_key(|back| (back.lost_per_mille, back.slot));
            found.truncate(MOST_RETURNS);
            self.returns[session] = found;
        }
    }

    fn return_in(&mut self, session: usize, slot: usize) -> Option<Return> {
        let step = self
            .problem
            .session(session)
            .choice
            .above(self.draft.rate(session, slot))?;
        let gained = self.energy(session, slot, step) - self.draft.energy(session, slot);
        self.draft.start_log();
        self.changed.clear();
        let had_room = self.make_room(session, slot, step, gained);
        let mut lost_per_mille = MILLE;
        if had_room {
            self.draft.set(session, slot, step);
            self.fill(slot);
            let lost = WattSeconds::ZERO - self.gained().into_iter().sum::<WattSeconds>();
            lost_per_mille = lost.watt_seconds() * MILLE / gained.watt_seconds().max(1);
        }
        self.draft.take_back(0);
        self.changed.clear();
        (lost_per_mille < MILLE).then_some(Return { slot, lost_per_mille })
    }

    fn energy(&self, session: usize, slot: usize, rate: Rate) -> WattSeconds {
        self.problem.session(session).energy(rate, self.problem.seconds(slot))
    }

    fn remember(&mut self, session: usize) {
        if self.changed.iter().all(|before| before.session != session) {
            self.changed.push(Before {
                session,
                missing: self.draft.missing(session),
                promised_missing: objective::promised_missing(self.draft, session),
            });
        }
    }

    /// What all who are changed have more than before: of what was promised, then class by class. Less is worse, in this order.
    fn gained(&self) -> Vec<WattSeconds> {
        let mut gained = vec![WattSeconds::ZERO; self.problem.classes.len() + 1];
        for before in &self.changed {
            gained[0] += before.promised_missing - objective::promised_missing(self.draft, before.session);
            if let Some(class) = self.problem.class_of(before.session) {
                gained[class + 1] += before.missing - self.draft.missing(before.session);
            }
        }
        gained
    }
}

/// How much lower `user` must be for what is too much by `excess`; `None` where it does not load that limit.
fn relief(problem: &Problem, user: usize, excess: Excess) -> Option<i64> {
    let conversion = &problem.session(user).conversion;
    let (per_rate, over) = match excess {
        Excess::Line { phase, load, limit } if conversion.star[phase.index()] != PerRate::NONE => {
            (conversion.star[phase.index()], (load - limit).deciamps())
        }
        Excess::Unbalance { phase, load, limit } => (conversion.uneven[phase.index()], (load - limit).deciamps()),
        Excess::Total { load, limit } => (conversion.total, (load - limit).watts()),
        // Currents between lines add as phasors: by no less, and it is looked at whether that is enough.
        Excess::Line { load, limit, .. } | Excess::Difference { load, limit, .. } => {
            (PerRate::ONE, (load - limit).deciamps())
        }
    };
    per_rate
        .rates_for(i128::from(over))
        .and_then(|rates| i64::try_from(rates).ok())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::domain::session::Tier;
    use crate::domain::snapshot::Snapshot;

    /// An hour of 20 A on each line: a three-phase car with nothing, beside cars on L1 and L2 that fill theirs.
    fn two_lines_full() -> Snapshot {
        let mut snapshot = site(vec![amperes(20)]);
        car(&mut snapshot, on_three_phases(), 3 * 20);
        car(&mut snapshot, on_l1(), 20);
        car(&mut snapshot, on_l2(), 20);
        snapshot
    }

    /// In amperes, by car, from these rates in the same form.
    fn traded(snapshot: &Snapshot, rates: &[&[i64]]) -> Vec<Vec<i64>> {
        let problem = Problem::new(snapshot);
        let mut draft = Draft::new(&problem);
        for (car, rates) in rates.iter().enumerate() {
            for (slot, rate) in rates.iter().enumerate() {
                draft.set(car, slot, Rate::new(rate * 10));
            }
        }
        trade(&mut draft);
        (0..problem.session_count())
            .map(|car| in_amperes(draft.rates(car)))
            .collect()
    }

    #[test]
    fn three_are_had_for_two() {
        assert_eq!(traded(&two_lines_full(), &[&[0], &[20], &[20]]), [[20], [0], [0]]);
    }

    #[test]
    fn no_more_is_given_than_is_wanted() {
        let mut snapshot = two_lines_full();
        snapshot.sessions[0].need = Some(WattSeconds::from_watt_hours(3 * 8 * 230));
        assert_eq!(traded(&snapshot, &[&[0], &[20], &[20]]), [[8], [12], [12]]);
    }

    #[test]
    fn what_does_not_pay_is_left() {
        let mut snapshot = two_lines_full();
        car(&mut snapshot, on_l3(), 20);
        let rates: [&[i64]; 4] = [&[0], &[20], &[20], &[20]];
        assert_eq!(traded(&snapshot, &rates), rates);
    }

    #[test]
    fn what_was_promised_is_kept_and_who_is_served_first_gives_nothing() {
        let rates: [&[i64]; 3] = [&[0], &[20], &[20]];
        let mut promised = two_lines_full();
        promised.sessions[1].guaranteed = WattSeconds::from_watt_hours(20 * 230);
        assert_eq!(traded(&promised, &rates), rates);
        let mut boosted = two_lines_full();
        boosted.sessions[2].tier = Tier::BOOST;
        assert_eq!(traded(&boosted, &rates), rates);
    }

    #[test]
    fn who_had_all_he_needed_has_it_back_where_others_lose_least() {
        // The three-phase car gives up the first hour to cars on L1 and L2, for the second, in which only L1 was used.
        let mut snapshot = site(vec![amperes(20); 2]);
        car(&mut snapshot, on_three_phases(), 3 * 20);
        for (wiring, slot) in [(on_l1(), 0), (on_l2(), 0), (on_l1(), 1)] {
            let car = car(&mut snapshot, wiring, 20);
            (snapshot.sessions[car].first_slot, snapshot.sessions[car].end_slot) = (slot, slot + 1);
        }
        let rates: [&[i64]; 4] = [&[20, 0], &[0, 0], &[0, 0], &[0, 20]];
        assert_eq!(traded(&snapshot, &rates), [[0, 20], [20, 0], [20, 0], [0, 0]]);
    }
}
