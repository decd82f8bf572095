//! Energy for one session by moving others: chains in which each gives way to the one before and takes up its loss elsewhere.
//!
//! Decides who gives way in which slot. A chain is the shortest way from a session that lacks something to free room; in a network
//! of equal steps it is what an augmenting path is to a flow. No one ends with less than before, so the order of service is kept.
//! Sessions from which no room was found are not asked again: what later chains do cannot open a way for them, except by chance.

use super::draft::{Draft, Hold};
use super::objective::promised_missing;
use super::repair::drop_excess;
use crate::domain::conversion::Rate;
use crate::units::WattSeconds;

/// Cells looked at in all, as a multiple of the cells there are. Work is bounded by this.
const LOOKS_PER_CELL: usize = 40;
const LEAST_LOOKS: usize = 100_000;
/// Marks for sessions and rooms that a failed search has seen.
const EXHAUSTED: u32 = u32::MAX;

/// A session that gives way, and for whom.
struct Link {
    session: usize,
    /// The link for which it gives way; the first link has none.
    gives_way: Option<GivesWay>,
    /// What it must find elsewhere.
    lost: WattSeconds,
}

#[derive(Clone, Copy)]
struct GivesWay {
    to: usize,
    slot: usize,
    lowered: Rate,
    /// What the other has there then.
    raised: Rate,
}

pub(super) struct Chains<'d, 'p> {
    pub(super) draft: &'d mut Draft<'p>,
    /// All slots, cheapest first, then earliest.
    order: &'d [usize],
    /// By slot: its place in `order`.
    rank: Vec<usize>,
    links: Vec<Link>,
    /// By session: the search that saw it last.
    seen: Vec<u32>,
    /// By what holds back, then slot: the search that asked all its sessions.
    asked: Vec<u32>,
    asked_now: Vec<usize>,
    search: u32,
    looks_left: usize,
    /// Session, slot and rate before each change of the chain in the making.
    undo: Vec<(usize, usize, Rate)>,
}

impl<'d, 'p> Chains<'d, 'p> {
    pub(super) fn new(draft: &'d mut Draft<'p>, order: &'d [usize]) -> Self {
        let problem = draft.problem;
        let mut rank = vec![0; problem.slots];
        order.iter().enumerate().for_each(|(place, slot)| rank[*slot] = place);
        let cells: usize = (0..problem.slots).map(|slot| problem.present(slot).len()).sum();
        Self {
            order,
            rank,
            links: Vec::new(),
            seen: vec![0; problem.session_count()],
            asked: vec![0; (problem.watched_count() + 1) * problem.slots],
            asked_now: Vec::new(),
            search: 0,
            looks_left: LEAST_LOOKS.max(cells * LOOKS_PER_CELL),
            undo: Vec::new(),
            draft,
        }
    }

    /// Forgets from whom no room was found.
    pub(super) fn start_over(&mut self) {
        self.seen.fill(0);
        self.asked.fill(0);
        self.search = 0;
    }

    /// Gives `session` up to a step of what it lacks. Tells whether it got something.
    pub(super) fn serve(&mut self, session: usize) -> bool {
        let missing = self.draft.missing(session).max(promised_missing(self.draft, session));
        missing > WattSeconds::ZERO && self.reroute(session, missing, usize::MAX)
    }

    /// Moves a step of `session`, or all it has there, from `slot` to a slot that comes before it in the order.
    pub(super) fn move_forward(&mut self, session: usize, slot: usize, lowered: Rate) -> bool {
        if self.seen[session] == EXHAUSTED {
            return false;
        }
        let draft = &mut *self.draft;
        let before = draft.rate(session, slot);
        let had = draft.delivered(session);
        draft.set(session, slot, lowered);
        let lost = had.min(draft.problem.wanted(session)) - draft.delivered(session);
        if lost <= WattSeconds::ZERO {
            return true;
        }
        let moved = self.reroute(session, lost, self.rank[slot]);
        if !moved {
            self.draft.set(session, slot, before);
        }
        moved
    }

    /// Finds `energy` more for `session` in slots before `rank`.
    fn reroute(&mut self, session: usize, energy: WattSeconds, rank: usize) -> bool {
        if self.seen[session] == EXHAUSTED || self.looks_left == 0 {
            return false;
        }
        self.search += 1;
        self.links.clear();
        self.asked_now.clear();
        self.seen[session] = self.search;
        self.links.push(Link {
            session,
            gives_way: None,
            lost: energy,
        });
        let mut next = 0;
        while next < self.links.len() && self.looks_left > 0 {
            if self.take_up(next, rank) {
                return true;
            }
            next += 1;
        }
        if self.looks_left > 0 {
            for link in &self.links {
                self.seen[link.session] = EXHAUSTED;
            }
            for asked in &self.asked_now {
                self.asked[*asked] = EXHAUSTED;
            }
        }
        false
    }

    /// Finds free room for what the session of a link has lost; where there is none, asks those who are in the way.
    fn take_up(&mut self, link: usize, rank: usize) -> bool {
        let problem = self.draft.problem;
        let Link { session, gives_way, lost } = self.links[link];
        let choice = &problem.session(session).choice;
        let left_behind = gives_way.map(|gives_way| gives_way.slot);
        let mut slots: Vec<usize> = problem
            .live_slots(session)
            .filter(|slot| self.rank[*slot] < rank && Some(*slot) != left_behind)
            .collect();
        slots.sort_unstable_by_key(|slot| self.rank[*slot]);
        let mut blocked = Vec::new();
        let mut gains = Vec::new();
        let mut left = lost;
        for slot in slots {
            let before = self.draft.rate(session, slot);
            let Some(step) = choice.above(before) else {
                continue;
            };
            self.looks_left = self.looks_left.saturating_sub(1);
            if let Some(hold) = self.draft.held_back(session, slot, step, None) {
                blocked.push((slot, hold, step));
                continue;
            }
            let most = self.draft.rate_with(session, slot, left).max(step);
            let rate = self.draft.greatest_fitting(session, slot, most);
            let length = problem.seconds(slot);
            let energy = |rate: Rate| problem.session(session).energy(rate, length);
            left = left - (energy(rate) - energy(before));
            gains.push((slot, rate));
            if left <= WattSeconds::ZERO {
                return self.settle(link, &gains);
            }
        }
        if gives_way.is_none() && rank == usize::MAX && !gains.is_empty() {
            return self.settle(link, &gains);
        }
        for (slot, hold, step) in blocked {
            let gained = problem.session(session).energy(step, problem.seconds(slot)) - self.draft.energy(session, slot);
            if gained >= lost || gives_way.is_none() && rank == usize::MAX {
                self.ask(link, slot, hold, step);
            }
        }
        false
    }

    /// Asks everyone who uses the room that holds a session back.
    fn ask(&mut self, link: usize, slot: usize, hold: Hold, raised: Rate) {
        let problem = self.draft.problem;
        let (place, sessions) = match hold {
            Hold::Node(watched) => (watched, problem.below(watched, slot)),
            Hold::Peak => (problem.watched_count(), problem.present(slot)),
        };
        let room = place * problem.slots + slot;
        if self.asked[room] == EXHAUSTED || self.asked[room] == self.search {
            return;
        }
        self.asked[room] = self.search;
        self.asked_now.push(room);
        let session = self.links[link].session;
        for other in sessions.iter().copied() {
            if self.seen[other] == EXHAUSTED || self.seen[other] == self.search || self.draft.rate(other, slot).is_zero() {
                continue;
            }
            self.looks_left = self.looks_left.saturating_sub(1);
            let Some(lowered) = self.giving_way(other, session, slot, raised) else {
                continue;
            };
            self.seen[other] = self.search;
            let length = problem.seconds(slot);
            let given = self.draft.energy(other, slot) - problem.session(other).energy(lowered, length);
            let spared = (self.draft.delivered(other) - problem.wanted(other)).or_zero();
            self.links.push(Link {
                session: other,
                gives_way: Some(GivesWay {
                    to: link,
                    slot,
                    lowered,
                    raised,
                }),
                lost: (given - spared).or_zero(),
            });
        }
    }

    /// The greatest rate of `other` in `slot` that lets `session` go to `raised`, if there is one.
    fn giving_way(&self, other: usize, session: usize, slot: usize, raised: Rate) -> Option<Rate> {
        let problem = self.draft.problem;
        if !problem.session(other).interruptible {
            return None;
        }
        let choice = &problem.session(other).choice;
        let rate = self.draft.rate(other, slot);
        let needed = raised.value() - self.draft.rate(session, slot).value();
        let step = choice.floor(Rate::new(rate.value() - 1));
        let much = choice.floor(Rate::new(rate.value() - needed));
        let enough = |lowered: &Rate| {
            *lowered >= Rate::ZERO
                && self.draft.held_back(session, slot, raised, Some((other, *lowered))).is_none()
        };
        if enough(&step) {
            return Some(step);
        }
        [much, Rate::ZERO].into_iter().filter(|lowered| *lowered < step).find(enough)
    }

    /// Makes the changes of a chain, from its end to its beginning. Tells whether all of them could be made.
    fn settle(&mut self, last: usize, gains: &[(usize, Rate)]) -> bool {
        self.undo.clear();
        let mut link = last;
        for (slot, rate) in gains {
            self.change(self.links[link].session, *slot, *rate);
        }
        while let Some(gives_way) = self.links[link].gives_way {
            self.change(self.links[link].session, gives_way.slot, gives_way.lowered);
            link = gives_way.to;
            let session = self.links[link].session;
            if !self.draft.fits(session, gives_way.slot, gives_way.raised) {
                while let Some((session, slot, rate)) = self.undo.pop() {
                    self.draft.set(session, slot, rate);
                }
                return false;
            }
            self.change(session, gives_way.slot, gives_way.raised);
        }
        let mut link = last;
        loop {
            drop_excess(self.draft, self.links[link].session, self.order);
            match self.links[link].gives_way {
                Some(gives_way) => link = gives_way.to,
                None => return true,
            }
        }
    }

    fn change(&mut self, session: usize, slot: usize, rate: Rate) {
        self.undo.push((session, slot, self.draft.rate(session, slot)));
        self.draft.set(session, slot, rate);
    }
}
