//! What searches for room have seen already.
//!
//! Decides who is not asked again. A search asks every session once. Where it found no room, those it asked stay marked: what later
//! chains do opens a way for them only by chance. So all searches that fail together look at each cell once.

use super::kinds::Kinds;
use super::problem::Problem;

/// The mark of a search without success.
const EXHAUSTED: u32 = u32::MAX;

/// A place that can be full: a watched node or, after these, the allowed peak; in one slot.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) place: usize,
    pub(super) slot: usize,
}

pub(super) struct Marks {
    slots: usize,
    /// The number of this search. Marks of earlier ones that succeeded are lower and say nothing.
    search: u32,
    /// By session: the last search that saw it.
    sessions: Vec<u32>,
    /// By room: the last search that asked all who use it; for whom, and how much he needed.
    rooms: Vec<u32>,
    needs: Vec<(usize, i64)>,
    kinds: Kinds,
    /// What this search marked.
    seen: Vec<usize>,
    asked: Vec<usize>,
}

impl Marks {
    pub(super) fn new(problem: &Problem) -> Self {
        let rooms = (problem.watched_count() + 1) * problem.slots;
        Self {
            slots: problem.slots,
            search: 0,
            sessions: vec![0; problem.session_count()],
            rooms: vec![0; rooms],
            needs: vec![(0, 0); rooms],
            kinds: Kinds::new(problem),
            seen: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// Forgets everything, also where no room was found.
    pub(super) fn forget(&mut self) {
        self.search = 0;
        self.sessions.fill(0);
        self.rooms.fill(0);
    }

    pub(super) fn begin(&mut self) {
        self.search += 1;
        self.seen.clear();
        self.asked.clear();
    }

    /// This search found nothing.
    pub(super) fn exhaust(&mut self) {
        self.seen.iter().for_each(|session| self.sessions[*session] = EXHAUSTED);
        self.asked.iter().for_each(|room| self.rooms[*room] = EXHAUSTED);
    }

    pub(super) fn see(&mut self, session: usize) {
        self.sessions[session] = self.search;
        self.seen.push(session);
    }

    pub(super) fn is_exhausted(&self, session: usize) -> bool {
        self.sessions[session] == EXHAUSTED
    }

    /// By this search, or by one without success.
    pub(super) fn is_seen(&self, session: usize) -> bool {
        self.is_over(self.sessions[session])
    }

    /// Marks that all who use `room` have been asked for `needed`, for `session`. Tells whether they had not been before.
    pub(super) fn ask(&mut self, room: Room, session: usize, needed: i64) -> bool {
        let room = self.index(room);
        if self.is_over(self.rooms[room]) {
            return false;
        }
        self.rooms[room] = self.search;
        self.needs[room] = (session, needed);
        self.asked.push(room);
        true
    }

    /// Whether all who use `room` have been asked for no more than `needed`, and for someone whose current flows the same way.
    pub(super) fn is_asked(&self, room: Room, session: usize, needed: i64) -> bool {
        let room = self.index(room);
        let (asker, enough) = self.needs[room];
        self.is_over(self.rooms[room]) && needed >= enough && self.kinds.are_alike(asker, session)
    }

    fn is_over(&self, mark: u32) -> bool {
        mark == self.search || mark == EXHAUSTED
    }

    fn index(&self, room: Room) -> usize {
        room.place * self.slots + room.slot
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const ROOM: Room = Room { place: 0, slot: 0 };

    fn marks() -> Marks {
        let mut snapshot = site(vec![amperes(20)]);
        car(&mut snapshot, on_l1(), 10);
        car(&mut snapshot, on_l1(), 20);
        car(&mut snapshot, line_to_line(), 10);
        Marks::new(&Problem::new(&snapshot))
    }

    #[test]
    fn a_search_asks_everyone_once() {
        let mut marks = marks();
        marks.begin();
        marks.see(0);
        assert!(marks.is_seen(0) && !marks.is_seen(1));
        assert_eq!([marks.ask(ROOM, 0, 10), marks.ask(ROOM, 0, 10)], [true, false]);
        marks.begin();
        assert!(!marks.is_seen(0) && marks.ask(ROOM, 0, 10));
    }

    #[test]
    fn where_a_search_found_nothing_none_asks_again_until_it_is_forgotten() {
        let mut marks = marks();
        marks.begin();
        marks.see(0);
        marks.ask(ROOM, 0, 10);
        marks.exhaust();
        marks.begin();
        assert!(marks.is_exhausted(0) && !marks.is_exhausted(1) && !marks.ask(ROOM, 1, 10));
        marks.forget();
        marks.begin();
        assert!(!marks.is_exhausted(0) && marks.ask(ROOM, 1, 10));
    }

    #[test]
    fn who_needs_less_or_loads_other_lines_may_still_have_room() {
        let mut marks = marks();
        marks.begin();
        marks.ask(ROOM, 0, 60);
        assert!(marks.is_asked(ROOM, 1, 60));
        assert!(!marks.is_asked(ROOM, 1, 10), "a step may fit where a minimum does not");
        assert!(!marks.is_asked(ROOM, 2, 60), "other lines");
    }
}
