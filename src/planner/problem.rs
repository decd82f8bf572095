//! A snapshot made ready to plan: dense, with only the limits that can bind and only the cells that can carry power.
//!
//! Decides which slots of which session may charge at all, who is served with whom, and which nodes need watching. Integers only.

use super::whole_steps::WholeSteps;
use crate::domain::conversion::{Load, Rate};
use crate::domain::limits::Capacity;
use crate::domain::session::Tier;
use crate::domain::site::Fairness;
use crate::domain::snapshot::{Snapshot, SnapshotSession};
use crate::units::{Instant, Seconds, WattSeconds, Watts};

/// Sessions that are served together, before all later classes: those of a tier that say what they need, then those that do not.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) need_known: bool,
    /// Indices of sessions, in the order in which the site serves them; by index where it serves all alike.
    pub(super) members: Vec<usize>,
}

/// What a plan is made from.
pub(super) struct Problem<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) slots: usize,
    /// Of each slot.
    lengths: Vec<Seconds>,
    /// All slots, cheapest first, then earliest.
    order: Vec<usize>,
    /// In order of service.
    pub(super) classes: Vec<Class>,
    /// By session, its class and its turn there; `None` for those that only get what all classes leave.
    class_of: Vec<Option<(usize, usize)>>,
    /// Nodes whose limits can bind, as indices of the snapshot.
    watched: Vec<usize>,
    /// For each session the nodes above it that are watched, as indices of `watched`.
    paths: Vec<Vec<usize>>,
    /// By watched node, the sessions below it.
    below: Vec<Vec<usize>>,
    /// By slot, the sessions that may be given power there.
    present: Vec<Vec<usize>>,
    /// By session, the slots in which it may be given power, in `order`.
    ordered: Vec<Vec<usize>>,
    /// What each watched node carries with every session at rate zero.
    least_loads: Vec<Load>,
    /// By watched node, then slot, as far as it can be had in whole steps.
    capacities: Vec<Capacity>,
    unbalance_can_bind: bool,
    difference_can_bind: bool,
    /// By session, then slot: whether power may be given there.
    live: Vec<bool>,
    /// Nodes that are overloaded even with every session at rate zero, and since when.
    pub(super) overloaded: Vec<(usize, Instant)>,
}

impl<'a> Problem<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let slots = snapshot.grid.count();
        let node_loads = |rate: fn(&SnapshotSession) -> Rate| {
            let mut loads = vec![Load::ZERO; snapshot.nodes.len()];
            for session in &snapshot.sessions {
                let load = session.load(rate(session));
                snapshot.path_to_root(session.node).for_each(|node| loads[node] += load);
            }
            loads
        };
        let least = node_loads(|_| Rate::ZERO);
        let most = node_loads(|session| session.choice.maximum);

        let fits = |node: usize, slot: usize, load: &Load| snapshot.nodes[node].available[slot].fits(load);
        let watched: Vec<usize> = (0..snapshot.nodes.len())
            .filter(|node| (0..slots).any(|slot| !fits(*node, slot, &most[*node])))
            .collect();
        let can_bind = |part: fn(&Capacity) -> Capacity| {
            let binds = |node: &usize, slot: usize| !part(&snapshot.nodes[*node].available[slot]).fits(&most[*node]);
            watched.iter().any(|node| (0..slots).any(|slot| binds(node, slot)))
        };
        let unbalance_can_bind = can_bind(|capacity| Capacity {
            unbalance: capacity.unbalance,
            ..Capacity::UNLIMITED
        });
        let difference_can_bind = can_bind(|capacity| Capacity {
            difference: capacity.difference,
            ..Capacity::UNLIMITED
        });
        let mut position = vec![None; snapshot.nodes.len()];
        for (index, node) in watched.iter().enumerate() {
            position[*node] = Some(index);
        }

        // A node is closed in a slot where it, or a node above it, is overloaded as it is.
        let mut closed = vec![false; snapshot.nodes.len() * slots];
        let mut overloaded = Vec::new();
        for (index, node) in snapshot.nodes.iter().enumerate() {
            let over: Vec<bool> = (0..slots).map(|slot| !fits(index, slot, &least[index])).collect();
            if let Some(first) = over.iter().position(|over| *over) {
                overloaded.push((index, snapshot.grid.begin(first)));
            }
            for slot in 0..slots {
                let above = node.parent.is_some_and(|parent| closed[parent * slots + slot]);
                closed[index * slots + slot] = above || over[slot];
            }
        }

        let mut live = vec![false; snapshot.sessions.len() * slots];
        for (index, session) in snapshot.sessions.iter().enumerate() {
            for slot in session.slots() {
                live[index * slots + slot] = !closed[session.node * slots + slot];
            }
        }
        let classes = classes(snapshot);
        let mut class_of = vec![None; snapshot.sessions.len()];
        for (index, class) in classes.iter().enumerate() {
            for (turn, session) in class.members.iter().enumerate() {
                class_of[*session] = Some((index, turn));
            }
        }
        let paths: Vec<Vec<usize>> = snapshot
            .sessions
            .iter()
            .map(|session| {
                snapshot
                    .path_to_root(session.node)
                    .filter_map(|node| position[node])
                    .collect()
            })
            .collect();
        let mut below = vec![Vec::new(); watched.len()];
        let mut present = vec![Vec::new(); slots];
        let in_whole_steps = |(node, steps): (&usize, WholeSteps)| {
            let least = &least[*node];
            let available = snapshot.nodes[*node].available[..slots].iter();
            available.map(move |available| steps.within(available, least))
        };
        let steps = WholeSteps::of(&snapshot.sessions, &paths, watched.len());
        let capacities = watched.iter().zip(steps).flat_map(in_whole_steps).collect();
        for (index, path) in paths.iter().enumerate() {
            path.iter().for_each(|watched| below[*watched].push(index));
            let live = &live[index * slots..][..slots];
            (0..slots)
                .filter(|slot| live[*slot])
                .for_each(|slot| present[slot].push(index));
        }
        let mut order: Vec<usize> = (0..slots).collect();
        order.sort_by_key(|slot| (snapshot.prices[*slot], *slot));
        let mut ordered: Vec<Vec<usize>> = (0..live.len() / slots)
            .map(|index| Vec::with_capacity(snapshot.sessions[index].slots().len()))
            .collect();
        for slot in &order {
            present[*slot].iter().for_each(|session| ordered[*session].push(*slot));
        }
        Self {
            snapshot,
            slots,
            lengths: (0..slots).map(|slot| snapshot.grid.seconds(slot)).collect(),
            classes,
            class_of,
            paths,
            below,
            present,
            ordered,
            order,
            capacities,
            least_loads: watched.iter().map(|node| least[*node]).collect(),
            watched,
            unbalance_can_bind,
            difference_can_bind,
            live,
            overloaded,
        }
    }

    pub(super) fn session(&self, index: usize) -> &'a SnapshotSession {
        &self.snapshot.sessions[index]
    }

    /// The index of the class that `session` is served with.
    pub(super) fn class_of(&self, session: usize) -> Option<usize> {
        self.class_of[session].map(|(class, _)| class)
    }

    /// The place of `session` in the order in which its class is served.
    pub(super) fn turn(&self, session: usize) -> usize {
        self.class_of[session].map_or(usize::MAX, |(_, turn)| turn)
    }

    /// Whether `session` has what it needs, and gets only what all others leave.
    pub(super) fn is_spare(&self, session: usize) -> bool {
        self.class_of[session].is_none()
    }

    pub(super) fn session_count(&self) -> usize {
        self.snapshot.sessions.len()
    }

    pub(super) fn seconds(&self, slot: usize) -> Seconds {
        self.lengths[slot]
    }

    pub(super) fn is_live(&self, session: usize, slot: usize) -> bool {
        self.live[session * self.slots + slot]
    }

    /// The slots in which `session` may be given power.
    pub(super) fn live_slots(&self, session: usize) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.session(session)
            .slots()
            .filter(move |slot| self.is_live(session, *slot))
    }

    /// All slots, cheapest first, then earliest.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    /// The slots in which `session` may be given power, cheapest first, then earliest.
    pub(super) fn ordered_slots(&self, session: usize) -> &[usize] {
        &self.ordered[session]
    }

    /// The watched nodes above `session`, deepest first.
    pub(super) fn path(&self, session: usize) -> &[usize] {
        &self.paths[session]
    }

    /// The sessions below `watched`, or at least all of them that may be given power in `slot`.
    pub(super) fn below(&self, watched: usize, slot: usize) -> &[usize] {
        let (below, present) = (&self.below[watched], &self.present[slot]);
        if below.len() <= present.len() { below } else { present }
    }

    /// How many slots of sessions may be given power.
    pub(super) fn cell_count(&self) -> usize {
        self.present.iter().map(Vec::len).sum()
    }

    /// The sessions that may be given power in `slot`.
    pub(super) fn present(&self, slot: usize) -> &[usize] {
        &self.present[slot]
    }

    /// All sessions below `watched`.
    pub(super) fn all_below(&self, watched: usize) -> &[usize] {
        &self.below[watched]
    }

    /// Whether `watched` is the grid connection, which everyone is below.
    pub(super) fn is_root(&self, watched: usize) -> bool {
        self.watched[watched] == 0
    }

    pub(super) fn watched_count(&self) -> usize {
        self.watched.len()
    }

    /// The nearest watched node above a watched one.
    pub(super) fn watched_parent(&self, watched: usize) -> Option<usize> {
        let mut above = self.snapshot.path_to_root(self.watched[watched]).skip(1);
        above.find_map(|node| self.watched.binary_search(&node).ok())
    }

    pub(super) fn least_load(&self, watched: usize) -> Load {
        self.least_loads[watched]
    }

    pub(super) fn capacity(&self, watched: usize, slot: usize) -> &Capacity {
        &self.capacities[watched * self.slots + slot]
    }

    /// Whether `watched` carries too much in `slot` even with every session at rate zero, so that nothing below it may charge.
    pub(super) fn is_overloaded(&self, watched: usize, slot: usize) -> bool {
        !self.fits(watched, slot, &self.least_load(watched))
    }

    /// Whether `watched` may carry `load` in `slot`.
    pub(super) fn fits(&self, watched: usize, slot: usize, load: &Load) -> bool {
        self.capacity(watched, slot).fits(load)
    }

    /// Whether the limit on unbalance of any watched node can bind.
    pub(super) fn unbalance_can_bind(&self) -> bool {
        self.unbalance_can_bind
    }

    /// Whether the limit on differences of lines of any watched node can bind.
    pub(super) fn difference_can_bind(&self) -> bool {
        self.difference_can_bind
    }

    /// From the beginning of one slot to that of another.
    pub(super) fn time_between(&self, from: usize, to: usize) -> Seconds {
        self.snapshot.grid.begin(to) - self.snapshot.grid.begin(from)
    }

    /// What the rest of the site is expected to draw.
    pub(super) fn expected_base(&self, slot: usize) -> Watts {
        self.snapshot
            .demand_charge
            .as_ref()
            .map_or(Watts::ZERO, |charge| charge.expected_base[slot])
    }

    /// The most `session` could take if it were alone and nothing limited it but its own connector.
    pub(super) fn most_energy(&self, index: usize) -> WattSeconds {
        let session = self.session(index);
        self.live_slots(index)
            .map(|slot| session.energy(session.choice.floor(session.choice.maximum), self.seconds(slot)))
            .sum()
    }

    /// What `session` wants: its need, or all that it could take.
    pub(super) fn wanted(&self, session: usize) -> WattSeconds {
        self.session(session)
            .need
            .unwrap_or_else(|| self.most_energy(session))
            .or_zero()
    }

    /// The energy of the smallest step of `index` in a whole slot.
    pub(super) fn step_worth(&self, index: usize) -> WattSeconds {
        let session = self.session(index);
        let least = session.choice.minimum;
        let next = session.choice.above(least);
        let step = next.map_or(least, |next| Rate::new(next.value() - least.value()));
        session.energy(step, self.snapshot.grid.length())
    }

    /// The least allowed rate that gives at least `energy` in `slot`; the greatest rate if none does.
    pub(super) fn rate_for(&self, index: usize, slot: usize, energy: WattSeconds) -> Rate {
        let session = self.session(index);
        let length = self.seconds(slot);
        let greatest = session.choice.floor(session.choice.maximum);
        if energy <= WattSeconds::ZERO {
            return Rate::ZERO;
        }
        if session.energy(greatest, length) <= energy {
            return greatest;
        }
        // Rounded down, so never above the least that is enough: forecasts round down too.
        let exact = energy.watt_seconds() as f64 / (session.power.as_f64() * length.secs() as f64);
        let mut enough = (exact as i64).clamp(1, greatest.value());
        while session.energy(Rate::new(enough), length) < energy {
            enough += 1;
        }
        session.choice.above(Rate::new(enough - 1)).unwrap_or(greatest)
    }
}

fn classes(snapshot: &Snapshot) -> Vec<Class> {
    let mut order: Vec<usize> = (0..snapshot.sessions.len())
        .filter(|index| snapshot.sessions[*index].tier < Tier::SPARE)
        .collect();
    let class_of = |index: usize| {
        let session = &snapshot.sessions[index];
        (session.tier, session.need.is_none())
    };
    let turn = |index: usize| {
        let session = &snapshot.sessions[index];
        match snapshot.fairness {
            Fairness::FirstCome => session.arrival.unix_secs(),
            Fairness::LeastLaxity => laxity(snapshot, session).secs(),
            Fairness::MaxMin | Fairness::Proportional | Fairness::None => 0,
        }
    };
    order.sort_by_cached_key(|index| (class_of(*index), turn(*index)));
    order
        .chunk_by(|a, b| class_of(*a) == class_of(*b))
        .map(|members| Class {
            need_known: snapshot.sessions[members[0]].need.is_some(),
            members: members.to_vec(),
        })
        .collect()
}

/// How long a session could wait before it has to charge at full rate; one of unknown need cannot.
fn laxity(snapshot: &Snapshot, session: &SnapshotSession) -> Seconds {
    let stay: Seconds = session.slots().map(|slot| snapshot.grid.seconds(slot)).sum();
    let second = session.energy(session.choice.maximum, Seconds::from_secs(1));
    let need = session.need.unwrap_or(WattSeconds::from_watt_seconds(i64::MAX));
    stay - Seconds::from_secs(need.watt_seconds() / second.watt_seconds().max(1))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn only_limits_that_can_bind_are_watched() {
        let mut snapshot = site(vec![amperes(40); 2]);
        let wide = add_panel(&mut snapshot, amperes(32));
        let narrow = add_panel(&mut snapshot, amperes(31));
        for node in [wide, narrow] {
            let car = car(&mut snapshot, on_l1(), 10);
            snapshot.sessions[car].node = node;
        }
        let problem = Problem::new(&snapshot);
        assert_eq!(problem.watched, [0, narrow]);
        assert_eq!([problem.path(0), problem.path(1)], [&[0][..], &[1, 0][..]]);
    }

    #[test]
    fn an_overloaded_node_closes_what_is_below_it_and_nothing_else() {
        let mut snapshot = site(vec![amperes(40); 2]);
        let kitchen = add_panel(&mut snapshot, amperes(-1));
        car(&mut snapshot, on_l1(), 10);
        let below = car(&mut snapshot, on_l1(), 10);
        snapshot.sessions[below].node = kitchen;
        let problem = Problem::new(&snapshot);
        assert_eq!(problem.overloaded, [(kitchen, snapshot.grid.begin(0))]);
        assert_eq!(
            [problem.live_slots(0).count(), problem.live_slots(below).count()],
            [2, 0]
        );
    }

    #[test]
    fn the_rate_for_an_energy_is_the_least_allowed_one_that_gives_it() {
        let mut snapshot = site(vec![amperes(40)]);
        car(&mut snapshot, on_l1(), 10);
        let problem = Problem::new(&snapshot);
        let rate_for = |watt_hours| problem.rate_for(0, 0, WattSeconds::from_watt_hours(watt_hours)).value();
        assert_eq!([0, 1, 1380, 1381, 7360, 9999].map(rate_for), [0, 60, 60, 70, 320, 320]);
    }

    #[test]
    fn sessions_of_unknown_need_come_after_the_others_of_their_tier() {
        let mut snapshot = site(vec![amperes(40)]);
        for (tier, need_known) in [(5, false), (5, true), (4, false)] {
            let car = car(&mut snapshot, on_l1(), 10);
            snapshot.sessions[car].tier = crate::domain::session::Tier::from_number(tier).unwrap();
            snapshot.sessions[car].need = snapshot.sessions[car].need.filter(|_| need_known);
        }
        let members: Vec<Vec<usize>> = Problem::new(&snapshot)
            .classes
            .into_iter()
            .map(|class| class.members)
            .collect();
        assert_eq!(members, [[2], [1], [0]]);
    }
}
