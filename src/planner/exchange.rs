//! Energy for one session by moving others: chains in which each gives way to the one before and makes up for it elsewhere.
//!
//! Decides who gives way in which slot. A chain is a shortest way from a session that lacks something to free room: in a network of
//! equal steps, what an augmenting path is to a flow. No one ends with less than before, so the order of service is kept; but for
//! [`super::sharing`], where the last of a chain may have to give something up.

use super::chain::{Full, GivesWay, Link, Purpose};
use super::draft::{Draft, Hold};
use super::marks::{Marks, Room};
use super::serving::drop_excess;
use super::sharing;
use crate::domain::conversion::Rate;
use crate::units::WattSeconds;

/// Cells looked at in all, at least and by cells there are: for energy, which comes first, and for money. Work is bounded by these.
const MIN_LOOKS: usize = 50_000;
const LOOKS_PER_CELL_TO_SERVE: usize = 8;
const LOOKS_PER_CELL_TO_SHARE: usize = 4;
const LOOKS_PER_CELL_TO_SAVE: usize = 2;
/// Cells looked at where several have to give way together. That closes the last gaps of a site that has energy enough; where it
/// has not, it only takes time.
const LOOKS_TOGETHER: usize = 20_000;
/// Cells looked at for one step's worth of money; what lies deeper is left.
const MAX_LOOKS_TO_SAVE: usize = 1_000;

pub(super) struct Chains<'d, 'p> {
    pub(super) draft: &'d mut Draft<'p>,
    purpose: Purpose,
    /// By slot: its place in the order of slots, and how many slots are cheaper.
    places: Vec<usize>,
    cheaper: Vec<usize>,
    pub(super) marks: Marks,
    links: Vec<Link>,
    full: Vec<Full>,
    /// Slots and rates by which the last link makes up for what it lost.
    gains: Vec<(usize, Rate)>,
    looks_to_serve: usize,
    pub(super) looks_together: usize,
    looks_to_share: usize,
    looks_to_save: usize,
    /// In this search.
    looks_left: usize,
    peak_held_back: bool,
}

impl Drop for Chains<'_, '_> {
    fn drop(&mut self) {
        self.draft.stop_log();
    }
}

impl<'d, 'p> Chains<'d, 'p> {
    pub(super) fn new(draft: &'d mut Draft<'p>) -> Self {
        let problem = draft.problem;
        let (order, prices) = (problem.order(), &problem.snapshot.prices);
        let mut places = vec![0; problem.slots];
        order.iter().enumerate().for_each(|(place, slot)| places[*slot] = place);
        let cheaper = prices
            .iter()
            .map(|price| order.partition_point(|slot| prices[*slot] < *price));
        let mut chains = Self {
            purpose: Purpose::Serve,
            places,
            cheaper: cheaper.collect(),
            marks: Marks::new(problem),
            links: Vec::new(),
            full: Vec::new(),
            gains: Vec::new(),
            peak_held_back: false,
            looks_to_serve: 0,
            looks_together: 0,
            looks_to_share: 0,
            looks_to_save: 0,
            looks_left: 0,
            draft,
        };
        chains.renew();
        chains
    }

    pub(super) fn draft(&mut self) -> &mut Draft<'p> {
        self.draft
    }

    /// Forgets where no room was found.
    pub(super) fn forget(&mut self) {
        self.peak_held_back = false;
        self.marks.forget();
    }

    /// Allows as much work as at first.
    pub(super) fn renew(&mut self) {
        let problem = self.draft.problem;
        let cells = problem.cell_count();
        self.looks_to_share = MIN_LOOKS.max(cells * LOOKS_PER_CELL_TO_SHARE);
        self.looks_together = LOOKS_TOGETHER;
        self.looks_to_serve = MIN_LOOKS.max(cells * LOOKS_PER_CELL_TO_SERVE);
        self.looks_to_save = MIN_LOOKS.max(cells * LOOKS_PER_CELL_TO_SAVE);
    }

    /// Whether someone would have had room but for the allowed peak, or may have had.
    pub(super) fn peak_held_back(&self) -> bool {
        self.peak_held_back || self.looks_to_serve == 0
    }

    /// Gives `session` some of what it is `missing`. Tells whether it got any.
    pub(super) fn serve(&mut self, session: usize, missing: WattSeconds) -> bool {
        self.draft.start_log();
        self.find(session, missing, Purpose::Serve)
    }

    /// Gives `session` a step that someone else gives up who then stands at least as well, and at `floor`. Tells whether anyone did.
    pub(super) fn share(&mut self, session: usize, floor: i128) -> bool {
        let missing = self.draft.missing(session);
        self.draft.start_log();
        self.find(session, missing, Purpose::Share { floor })
    }

    /// Lowers `session` to `rate` in `slot` and gives it the same energy in cheaper slots, or in equally cheap earlier ones of its
    /// own. Tells whether that was done.
    pub(super) fn save(&mut self, session: usize, slot: usize, rate: Rate) -> bool {
        if self.marks.is_exhausted(session) {
            return false;
        }
        let spent = self.draft.spent();
        let entitled = self.draft.delivered(session).min(self.draft.problem.wanted(session));
        self.draft.start_log();
        self.draft.set(session, slot, rate);
        let lost = entitled - self.draft.delivered(session);
        let purpose = Purpose::Save {
            cheaper: self.cheaper[slot],
            before: self.places[slot],
        };
        let saved = (lost <= WattSeconds::ZERO || self.find(session, lost, purpose)) && self.draft.spent() <= spent;
        if !saved {
            self.draft.take_back(0);
        }
        saved
    }

    /// Looks for a chain that gives `session` `energy` more, and makes it.
    pub(super) fn find(&mut self, session: usize, energy: WattSeconds, purpose: Purpose) -> bool {
        let allowed = match purpose {
            Purpose::Save { .. } => MAX_LOOKS_TO_SAVE.min(*self.looks_for(purpose)),
            _ => *self.looks_for(purpose),
        };
        if self.marks.is_exhausted(session) || allowed == 0 {
            return false;
        }
        self.looks_left = allowed;
        self.marks.begin();
        self.purpose = purpose;
        self.links.clear();
        self.full.clear();
        let found = self.make_up(session, None, energy) || self.widen();
        if !found {
            self.marks.exhaust();
        }
        *self.looks_for(purpose) -= allowed - self.looks_left;
        found
    }

    /// How many more cells may be looked at.
    fn looks_for(&mut self, purpose: Purpose) -> &mut usize {
        match purpose {
            Purpose::Serve => &mut self.looks_to_serve,
            Purpose::Leave { .. } => &mut self.looks_together,
            Purpose::Share { .. } => &mut self.looks_to_share,
            Purpose::Save { .. } => &mut self.looks_to_save,
        }
    }

    /// Asks link by link, so that the shortest chain is found. Tells whether there was one.
    fn widen(&mut self) -> bool {
        let mut next = 0;
        while next < self.links.len() {
            for full in self.links[next].full.clone() {
                if self.looks_left == 0 {
                    return false;
                }
                if self.ask(next, self.full[full]) {
                    return true;
                }
            }
            next += 1;
        }
        false
    }

    /// Adds a link for `session`, which has `lost` something. Where it can make up for it, the chain is complete and is made.
    fn make_up(&mut self, session: usize, gives_way: Option<GivesWay>, lost: WattSeconds) -> bool {
        let problem = self.draft.problem;
        let choice = &problem.session(session).choice;
        let left_slot = gives_way.map(|gives_way| gives_way.slot);
        let end = self.purpose.end(gives_way.is_none());
        let takes_parts = gives_way.is_none() && matches!(self.purpose, Purpose::Serve | Purpose::Share { .. });
        let full_before = self.full.len();
        self.marks.see(session);
        self.gains.clear();
        let mut left = lost;
        for slot in problem.ordered_slots(session).iter().copied() {
            if self.places[slot] >= end || left <= WattSeconds::ZERO {
                break;
            }
            let before = self.draft.rate(session, slot);
            let Some(step) = choice
                .above(before)
                .filter(|_| Some(slot) != left_slot && !self.purpose.leaves(slot))
            else {
                continue;
            };
            if self.all_asked(session, slot, step.value() - before.value()) {
                continue;
            }
            self.looks_left = self.looks_left.saturating_sub(1);
            let energy = |rate: Rate| problem.session(session).energy(rate, problem.seconds(slot));
            if let Some(hold) = self.draft.held_back(session, slot, step) {
                self.peak_held_back |= hold == Hold::Peak;
                // Room is made for one step, so that must do.
                if takes_parts || energy(step) - energy(before) >= lost {
                    self.full.push(Full { slot, step, hold });
                }
                continue;
            }
            let most = self.draft.rate_with(session, slot, left).max(step);
            let rate = self.draft.greatest_fitting(session, slot, most);
            left -= energy(rate) - energy(before);
            self.gains.push((slot, rate));
        }
        self.links.push(Link {
            session,
            gives_way,
            full: full_before..self.full.len(),
        });
        (left <= WattSeconds::ZERO || takes_parts && !self.gains.is_empty()) && self.complete()
    }

    /// Whether everyone who charges in `slot` has been asked for what would do for `session` to rise by `needed`.
    fn all_asked(&self, session: usize, slot: usize, needed: i64) -> bool {
        let problem = self.draft.problem;
        let root = problem.path(session).last().copied();
        let root = root.filter(|watched| problem.is_root(*watched));
        let places = [root, Some(problem.watched_count())].into_iter().flatten();
        let mut rooms = places.map(|place| Room { place, slot });
        rooms.any(|room| self.marks.is_asked(room, session, needed))
    }

    /// Asks everyone who uses the room that holds the session of `link` back to give way. Tells whether one could.
    fn ask(&mut self, link: usize, full: Full) -> bool {
        let problem = self.draft.problem;
        let Full { slot, step, hold } = full;
        let (place, users) = match hold {
            Hold::Node(watched) => (watched, problem.below(watched, slot)),
            Hold::Peak => (problem.watched_count(), problem.present(slot)),
        };
        let session = self.links[link].session;
        let needed = step.value() - self.draft.rate(session, slot).value();
        if !self.marks.ask(Room { place, slot }, session, needed) {
            return false;
        }
        let change = self.draft.change(session, slot, step);
        for user in users.iter().copied() {
            let could_give = !self.draft.rate(user, slot).is_zero() && problem.session(user).interruptible;
            if self.marks.is_seen(user) || !could_give {
                continue;
            }
            self.looks_left = self.looks_left.saturating_sub(1);
            let makes_room = |lowered: &Rate| {
                let less = self.draft.change(user, slot, *lowered);
                self.draft.hold(session, slot, &change, Some((user, &less))).is_none()
            };
            let Some(lowered) = self.lower_rates(user, slot, needed).find(makes_room) else {
                continue;
            };
            let given = self.draft.energy(user, slot) - problem.session(user).energy(lowered, problem.seconds(slot));
            let spared = (self.draft.delivered(user) - problem.wanted(user)).or_zero();
            let gives_way = GivesWay {
                to: link,
                slot,
                lowered,
                raised: step,
            };
            if self.gives_up(user, given - spared, link, full) {
                self.gains.clear();
                self.links.push(Link {
                    session: user,
                    gives_way: Some(gives_way),
                    full: 0..0,
                });
                return self.complete();
            }
            if self.make_up(user, Some(gives_way), given - spared) {
                return true;
            }
        }
        false
    }

    /// A step less than now, or less by `needed`, or nothing.
    pub(super) fn lower_rates(&self, session: usize, slot: usize, needed: i64) -> impl Iterator<Item = Rate> + use<> {
        let choice = &self.draft.problem.session(session).choice;
        let rate = self.draft.rate(session, slot).value();
        let step = choice.floor(Rate::new(rate - 1));
        let much = choice.floor(Rate::new((rate - needed).max(0)));
        let less = [much, Rate::ZERO].into_iter().filter(move |lowered| *lowered < step);
        std::iter::once(step).chain(less)
    }

    /// Whether `session` may lose this for good, so that the first session of the chain that leads over `link` and `full` has more.
    fn gives_up(&self, session: usize, lost: WattSeconds, mut link: usize, full: Full) -> bool {
        let Purpose::Share { floor } = self.purpose else {
            return false;
        };
        let (mut slot, mut step) = (full.slot, full.step);
        while let Some(gives_way) = self.links[link].gives_way {
            (link, slot, step) = (gives_way.to, gives_way.slot, gives_way.raised);
        }
        let (draft, problem) = (&*self.draft, self.draft.problem);
        let first = self.links[link].session;
        let more = problem.session(first).energy(step, problem.seconds(slot)) - draft.energy(first, slot);
        let gained = more.min(draft.missing(first));
        sharing::is_better(draft, (first, gained), (session, lost), floor)
    }

    /// Makes the changes of the chain that ends with the last link, from there to its beginning. Makes all of them or none.
    fn complete(&mut self) -> bool {
        let logged = self.draft.logged();
        let Some(mut link) = self.links.last() else {
            return false;
        };
        for (slot, rate) in &self.gains {
            self.draft.set(link.session, *slot, *rate);
        }
        while let Some(gives_way) = link.gives_way {
            self.draft.set(link.session, gives_way.slot, gives_way.lowered);
            link = &self.links[gives_way.to];
            if !self.draft.fits(link.session, gives_way.slot, gives_way.raised) {
                self.draft.take_back(logged);
                return false;
            }
            self.draft.set(link.session, gives_way.slot, gives_way.raised);
        }
        let mut link = self.links.last();
        while let Some(done) = link {
            drop_excess(self.draft, done.session);
            link = done.gives_way.map(|gives_way| &self.links[gives_way.to]);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::Problem;
    use super::super::testing::*;
    use super::*;
    use crate::domain::snapshot::Snapshot;
    use crate::units::MicrosPerKwh;
    use std::ops::Range;

    /// Serves `session` until nothing more is found.
    fn serve(draft: &mut Draft, session: usize) {
        let mut chains = Chains::new(draft);
        loop {
            let missing = chains.draft().missing(session);
            if missing == WattSeconds::ZERO || !chains.serve(session, missing) {
                return;
            }
        }
    }

    /// A site of 20 A with cars of these needs and stays.
    fn shared(slots: usize, cars: &[(i64, Range<usize>)]) -> Snapshot {
        let mut snapshot = site(vec![amperes(20); slots]);
        for (need, stay) in cars {
            let car = car(&mut snapshot, on_l1(), *need);
            snapshot.sessions[car].first_slot = stay.start;
            snapshot.sessions[car].end_slot = stay.end;
        }
        snapshot
    }

    #[test]
    fn a_car_with_time_makes_room_for_one_without() {
        let snapshot = shared(2, &[(20, 0..2), (16, 0..1)]);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 0, Rate::new(200));
        serve(&mut draft, 1);
        assert_eq!(in_amperes(draft.rates(1)), [16, 0]);
        assert_eq!(draft.missing(0), WattSeconds::ZERO);
    }

    #[test]
    fn no_one_gives_way_to_his_own_loss() {
        let snapshot = shared(1, &[(20, 0..1), (20, 0..1)]);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 0, Rate::new(200));
        serve(&mut draft, 1);
        assert_eq!([0, 1].map(|car| in_amperes(draft.rates(car))), [[20], [0]]);
    }

    #[test]
    fn who_gives_way_may_need_someone_to_give_way_himself() {
        // The first can only charge now; the second only now or next; the third has time.
        let snapshot = shared(3, &[(8, 0..1), (20, 0..2), (20, 1..3)]);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(1, 0, Rate::new(200));
        draft.set(2, 1, Rate::new(200));
        serve(&mut draft, 0);
        let rates = [0, 1, 2].map(|car| in_amperes(draft.rates(car)));
        assert_eq!(rates, [[8, 0, 0], [12, 8, 0], [0, 12, 8]]);
    }

    #[test]
    fn who_has_more_than_he_needs_gives_it_up() {
        let snapshot = shared(1, &[(5, 0..1), (20, 0..1)]);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 0, Rate::new(70));
        draft.set(1, 0, Rate::new(130));
        serve(&mut draft, 1);
        assert_eq!([0, 1].map(|car| in_amperes(draft.rates(car))), [[6], [14]]);
    }

    #[test]
    fn who_may_not_be_interrupted_is_left_alone() {
        let mut snapshot = shared(2, &[(20, 0..2), (16, 0..1)]);
        snapshot.sessions[0].interruptible = false;
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 0, Rate::new(200));
        serve(&mut draft, 1);
        assert_eq!(in_amperes(draft.rates(1)), [0, 0]);
    }

    #[test]
    fn power_moves_to_cheaper_slots_that_others_leave_for_it() {
        let mut snapshot = shared(3, &[(20, 0..2), (20, 1..3)]);
        snapshot.prices = [3, 2, 1].map(MicrosPerKwh::from_micros_per_kwh).to_vec();
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 0, Rate::new(200));
        draft.set(1, 1, Rate::new(200));
        let mut chains = Chains::new(&mut draft);
        while chains.draft.rate(0, 0) > Rate::new(60) {
            let lower = chains.draft.rate(0, 0).value() - 10;
            assert!(chains.save(0, 0, Rate::new(lower)), "to {lower} dA");
        }
        drop(chains);
        let rates = [0, 1].map(|car| in_amperes(draft.rates(car)));
        assert_eq!(rates, [[6, 14, 0], [0, 6, 14]]);
    }

    #[test]
    fn nothing_moves_that_would_cost_more() {
        // To save a step in the first hour a car would have to put three times as much into the last one.
        let mut snapshot = shared(3, &[(20, 0..2)]);
        let three_phases = car(&mut snapshot, on_three_phases(), 48);
        snapshot.prices = [20, 1, 19].map(MicrosPerKwh::from_micros_per_kwh).to_vec();
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        for (car, slot, amperes) in [(0, 0, 10), (0, 1, 10), (three_phases, 1, 10), (three_phases, 2, 6)] {
            draft.set(car, slot, Rate::new(amperes * 10));
        }
        assert!(!Chains::new(&mut draft).save(0, 0, Rate::new(90)));
        let rates = [0, three_phases].map(|car| in_amperes(draft.rates(car)));
        assert_eq!(rates, [[10, 10, 0], [0, 10, 6]]);
    }
}
