//! A plan in the making, with what it loads every watched node with.
//!
//! Decides whether a rate fits. Every change goes through [`Draft::set`], which keeps the sums; nothing here chooses.

use super::problem::Problem;
use crate::domain::conversion::{Load, Rate};
use crate::domain::limits::Excess;
use crate::units::{WattSeconds, Watts};

/// What has no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// A watched node.
    Node(usize),
    /// The peak that the expected draw of the site is allowed.
    Peak,
}

/// What another rate adds to the nodes above a session and to the expected draw of the site.
pub(super) struct Change {
    load: Load,
    watts: Watts,
}

#[derive(Clone)]
pub(super) struct Draft<'p> {
    pub(super) problem: &'p Problem<'p>,
    /// By session, then slot.
    rates: Vec<Rate>,
    /// By watched node, then slot.
    loads: Vec<Load>,
    /// By session.
    delivered: Vec<WattSeconds>,
    /// Expected draw of the whole site, by slot.
    drawn: Vec<Watts>,
    /// Price times energy, in micros x Ws / kWh: exact.
    spent: i128,
    /// Energy times the number of its slot, in Ws.
    lateness: i128,
    /// Session, slot and rate before each change since [`Draft::start_log`].
    log: Option<Vec<(usize, usize, Rate)>>,
    /// The expected draw of the site must not rise above this; for money, not for safety.
    pub(super) peak_allowed: Option<Watts>,
}

impl<'p> Draft<'p> {
    /// Every session at rate zero.
    pub(super) fn new(problem: &'p Problem<'p>) -> Self {
        let slots = problem.slots;
        Self {
            problem,
            rates: vec![Rate::ZERO; problem.session_count() * slots],
            loads: (0..problem.watched_count())
                .flat_map(|watched| std::iter::repeat_n(problem.least_load(watched), slots))
                .collect(),
            delivered: vec![WattSeconds::ZERO; problem.session_count()],
            drawn: (0..slots).map(|slot| problem.expected_base(slot)).collect(),
            spent: 0,
            lateness: 0,
            log: None,
            peak_allowed: None,
        }
    }

    pub(super) fn rate(&self, session: usize, slot: usize) -> Rate {
        self.rates[session * self.problem.slots + slot]
    }

    pub(super) fn rates(&self, session: usize) -> &[Rate] {
        &self.rates[session * self.problem.slots..][..self.problem.slots]
    }

    pub(super) fn delivered(&self, session: usize) -> WattSeconds {
        self.delivered[session]
    }

    /// Energy that `session` still lacks; zero where it has all it wants.
    pub(super) fn missing(&self, session: usize) -> WattSeconds {
        (self.problem.wanted(session) - self.delivered[session]).or_zero()
    }

    pub(super) fn energy(&self, session: usize, slot: usize) -> WattSeconds {
        self.problem
            .session(session)
            .energy(self.rate(session, slot), self.problem.seconds(slot))
    }

    /// Whether `session` may go to `rate` in `slot` with everyone else as they are.
    pub(super) fn fits(&self, index: usize, slot: usize, rate: Rate) -> bool {
        rate <= self.rate(index, slot)
            || self.problem.is_live(index, slot) && self.held_back(index, slot, rate).is_none()
    }

    /// What keeps `session` from `rate` in `slot`, which must be live: the deepest node that has no room, or the allowed peak.
    pub(super) fn held_back(&self, index: usize, slot: usize, rate: Rate) -> Option<Hold> {
        self.hold(index, slot, &self.change(index, slot, rate), None)
    }

    /// What has no room for `change` of `session` in `slot`. With `beside`, another session is taken to change in the same slot.
    pub(super) fn hold(
        &self,
        index: usize,
        slot: usize,
        change: &Change,
        beside: Option<(usize, &Change)>,
    ) -> Option<Hold> {
        self.obstacle(index, slot, change, beside).map(|(hold, _)| hold)
    }

    /// The same, with the first limit of the node that is in the way.
    pub(super) fn obstacle(
        &self,
        index: usize,
        slot: usize,
        change: &Change,
        beside: Option<(usize, &Change)>,
    ) -> Option<(Hold, Option<Excess>)> {
        for watched in self.problem.path(index) {
            let mut load = self.loads[watched * self.problem.slots + slot] + change.load;
            if let Some((other, change)) = beside
                && self.problem.path(other).contains(watched)
            {
                load += change.load;
            }
            if let Some(excess) = self.problem.capacity(*watched, slot).excess(&load) {
                return Some((Hold::Node(*watched), Some(excess)));
            }
        }
        let allowed = self.peak_allowed?;
        let drawn = self.drawn[slot] + change.watts + beside.map_or(Watts::ZERO, |(_, change)| change.watts);
        (drawn > allowed).then_some((Hold::Peak, None))
    }

    /// The first limit of `watched` that has no room for these changes of sessions below it.
    pub(super) fn excess_at(&self, watched: usize, slot: usize, changes: [&Change; 2]) -> Option<Excess> {
        let load = self.loads[watched * self.problem.slots + slot] + changes[0].load + changes[1].load;
        self.problem.capacity(watched, slot).excess(&load)
    }

    /// What going to `rate` adds.
    pub(super) fn change(&self, index: usize, slot: usize, rate: Rate) -> Change {
        let session = self.problem.session(index);
        let before = self.rate(index, slot);
        Change {
            load: session.load(rate) - session.load(before),
            watts: Watts::from_watts(session.power.floor(rate) - session.power.floor(before)),
        }
    }

    /// The greatest allowed rate up to `most` that fits; never less than the rate now.
    pub(super) fn greatest_fitting(&self, index: usize, slot: usize, most: Rate) -> Rate {
        let choice = &self.problem.session(index).choice;
        let before = self.rate(index, slot);
        let wanted = choice.floor(most);
        if wanted <= before || self.fits(index, slot, wanted) {
            return wanted.max(before);
        }
        let Some(next) = choice.above(before).filter(|next| self.fits(index, slot, *next)) else {
            return before;
        };
        let (mut fitting, mut too_much) = (next.value(), wanted.value());
        while too_much - fitting > 1 {
            let middle = (fitting + too_much) / 2;
            let stepped = choice.floor(Rate::new(middle));
            if stepped.value() <= fitting || self.fits(index, slot, stepped) {
                fitting = middle;
            } else {
                too_much = stepped.value();
            }
        }
        choice.floor(Rate::new(fitting)).max(next)
    }

    pub(super) fn set(&mut self, index: usize, slot: usize, rate: Rate) {
        let before = self.rate(index, slot);
        if rate == before {
            return;
        }
        let change = self.change(index, slot, rate);
        for watched in self.problem.path(index) {
            self.loads[watched * self.problem.slots + slot] += change.load;
        }
        if let Some(log) = &mut self.log {
            log.push((index, slot, before));
        }
        let energy = change.watts.over(self.problem.seconds(slot));
        self.delivered[index] += energy;
        let price = self.problem.snapshot.prices[slot].micros_per_kwh();
        self.spent += i128::from(price) * i128::from(energy.watt_seconds());
        self.lateness += i128::from(energy.watt_seconds()) * slot as i128;
        self.drawn[slot] += change.watts;
        self.rates[index * self.problem.slots + slot] = rate;
    }

    /// From now on changes are remembered, so that they can be taken back. Forgets earlier ones.
    pub(super) fn start_log(&mut self) {
        self.log.get_or_insert_default().clear();
    }

    pub(super) fn stop_log(&mut self) {
        self.log = None;
    }

    /// How many changes have been remembered.
    pub(super) fn logged(&self) -> usize {
        self.log.as_ref().map_or(0, Vec::len)
    }

    /// The slots of the changes that have been remembered, some more than once.
    pub(super) fn changed_slots(&self) -> impl Iterator<Item = usize> + '_ {
        self.log.iter().flatten().map(|(_, slot, _)| *slot)
    }

    /// Takes back all but the first `kept` changes that have been remembered.
    pub(super) fn take_back(&mut self, kept: usize) {
        let Some(mut log) = self.log.take() else {
            return;
        };
        while log.len() > kept
            && let Some((session, slot, rate)) = log.pop()
        {
            self.set(session, slot, rate);
        }
        self.log = Some(log);
    }

    /// What the energy costs so far, in millionths of the currency times Ws per kWh: exact, for comparisons.
    pub(super) fn spent(&self) -> i128 {
        self.spent
    }

    /// Energy times how late it is delivered.
    pub(super) fn lateness(&self) -> i128 {
        self.lateness
    }

    /// Raises `session` in `slot` towards `most` as far as it fits.
    pub(super) fn raise(&mut self, session: usize, slot: usize, most: Rate) {
        let rate = self.greatest_fitting(session, slot, most);
        self.set(session, slot, rate);
    }

    /// The rate that would give `session` what it has in `slot` and `more`, rounded up to a step.
    pub(super) fn rate_with(&self, session: usize, slot: usize, more: WattSeconds) -> Rate {
        self.problem.rate_for(session, slot, self.energy(session, slot) + more)
    }

    /// How high the draw may go without adding to the power charge; `None` where there is none.
    pub(super) fn peak_without_cost(&self) -> Option<Watts> {
        let charge = self.problem.snapshot.demand_charge.as_ref()?;
        Some(self.peak().max(charge.peak_so_far))
    }

    /// The highest expected draw of the site.
    pub(super) fn peak(&self) -> Watts {
        self.drawn.iter().copied().max().unwrap_or(Watts::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn the_greatest_fitting_rate_is_found_among_all_steps() {
        for limit in 0..40 {
            let mut snapshot = site(vec![amperes(limit)]);
            car(&mut snapshot, on_l1(), 100);
            let problem = Problem::new(&snapshot);
            let rate = Draft::new(&problem).greatest_fitting(0, 0, Rate::new(1_000));
            let expected = if limit < 6 { 0 } else { limit.min(32) };
            assert_eq!(rate, Rate::new(expected * 10), "limit {limit} A");
        }
    }

    #[test]
    fn sums_follow_every_change() {
        let mut snapshot = site(vec![amperes(20); 2]);
        car(&mut snapshot, on_l1(), 100);
        car(&mut snapshot, line_to_line(), 100);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 1, Rate::new(120));
        assert!(draft.fits(1, 1, Rate::new(80)) && !draft.fits(1, 1, Rate::new(90)));
        draft.set(1, 1, Rate::new(80));
        assert_eq!(draft.peak(), Watts::from_watts(20 * 230));
        draft.set(0, 1, Rate::ZERO);
        assert_eq!(draft.delivered(0), WattSeconds::ZERO);
        assert_eq!(draft.greatest_fitting(1, 1, Rate::new(320)), Rate::new(200));
    }

    #[test]
    fn what_is_taken_back_leaves_everything_as_it_was() {
        let mut snapshot = site(vec![amperes(20); 2]);
        car(&mut snapshot, on_l1(), 100);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(0, 1, Rate::new(120));
        let (spent, lateness) = (draft.spent(), draft.lateness());
        assert_eq!([spent, lateness], [100_000, 1].map(|per_ws| per_ws * 12 * 230 * 3600));
        draft.start_log();
        draft.set(0, 1, Rate::new(200));
        draft.set(0, 0, Rate::new(80));
        draft.set(0, 1, Rate::ZERO);
        draft.take_back(1);
        assert_eq!(in_amperes(draft.rates(0)), [0, 20]);
        draft.take_back(0);
        assert_eq!(in_amperes(draft.rates(0)), [0, 12]);
        assert_eq!((draft.spent(), draft.lateness()), (spent, lateness));
    }

    #[test]
    fn what_holds_back_is_the_deepest_node_without_room() {
        let mut snapshot = site(vec![amperes(20)]);
        for limit in [16, 18] {
            let car = car(&mut snapshot, on_l1(), 100);
            snapshot.sessions[car].node = car + 1;
            snapshot.nodes.push(crate::domain::snapshot::SnapshotNode {
                id: crate::domain::ids::NodeId::parse(&format!("panel-{limit}")).unwrap(),
                parent: Some(0),
                available: vec![amperes(limit)],
            });
        }
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.set(1, 0, Rate::new(100));
        let hold = |draft: &Draft, amperes: i64| draft.held_back(0, 0, Rate::new(amperes * 10));
        assert_eq!(
            [10, 11, 17].map(|rate| hold(&draft, rate)),
            [None, Some(Hold::Node(0)), Some(Hold::Node(1))]
        );
        draft.peak_allowed = Some(Watts::from_watts(19 * 230));
        assert_eq!(hold(&draft, 10), Some(Hold::Peak));
        let less = draft.change(1, 0, Rate::new(60));
        let more = draft.change(0, 0, Rate::new(130));
        assert_eq!(draft.hold(0, 0, &more, Some((1, &less))), None);
    }

    #[test]
    fn an_allowed_peak_holds_back_where_no_limit_does() {
        let mut snapshot = site(vec![amperes(32)]);
        car(&mut snapshot, on_l1(), 100);
        let problem = Problem::new(&snapshot);
        let mut draft = Draft::new(&problem);
        draft.peak_allowed = Some(Watts::from_watts(2_500));
        assert_eq!(draft.greatest_fitting(0, 0, Rate::new(320)), Rate::new(100));
    }
}
