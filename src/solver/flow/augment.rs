//! What a slot could still take from sessions that cannot reach it directly: others make way in one slot and move to another.
//!
//! Decides nothing that matters to the result, only whether there is a way. From the sessions that want more, all places that can be
//! reached are found layer by layer ([`Flow::find_layers`]); a place is a node in a slot, and the slots of a node are reached as
//! a set. Then power is pushed along shortest ways until none is left ([`Flow::push`]), and so on until the slot is full or out of
//! reach (Dinic 1970).
//!
//! What can be reached only shrinks while power is pushed, since a way back opens only between places that were in reach. So one
//! failed search answers for all slots that it did not reach, until the end.

use super::Flow;
use super::network::Network;
use super::slot_sets::{SlotSets, meet};

const NONE: u32 = u32::MAX;

/// Slots of a node that were first reached in the same layer.
#[derive(Clone, Copy, Debug)]
struct Visit {
    node: u32,
    layer: u32,
    /// The one before of the same node.
    before: u32,
}

/// Room to search in.
#[derive(Clone, Debug)]
pub(super) struct Search {
    words: usize,
    /// The slots of the root that may be in reach.
    in_reach: Vec<u64>,
    /// Sessions that want more.
    wanting: Vec<u32>,
    /// By node.
    reached: SlotSets,
    /// By session: the layer in which it was reached.
    layers: Vec<u32>,
    visits: Vec<Visit>,
    /// By visit: its slots, without those from which no way leads on.
    visit_slots: Vec<u64>,
    /// By node.
    last_visit: Vec<u32>,
    /// By node: slots reached for the layer that comes next.
    next: SlotSets,
    next_nodes: Vec<u32>,
    next_sessions: Vec<u32>,
    way: Vec<Step>,
}

/// A place on a way back from the slot's sink to a session.
#[derive(Clone, Copy, Debug)]
struct Step {
    place: Place,
    /// Which of the places before it is tried next.
    tried: u32,
    /// How the way goes on from here towards the sink, and how much can go there.
    onward: Arc,
    room: i32,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Node { node: usize, slot: usize },
    Session(usize),
}

/// A stretch of a way, and what going there changes.
#[derive(Clone, Copy, Debug)]
enum Arc {
    /// From the root into the sink.
    Sink { slot: usize },
    /// The session takes more in this slot.
    Take { session: usize, slot: usize },
    /// The session takes less in this slot.
    Release { session: usize, slot: usize },
    /// The node passes more on to its parent.
    Up { node: usize, slot: usize },
    /// The node passes less on to its parent.
    Down { node: usize, slot: usize },
}

impl Search {
    pub(super) fn new(network: &Network) -> Self {
        let (nodes, words) = (network.nodes(), network.words);
        Self {
            words,
            in_reach: vec![0; words],
            wanting: Vec::new(),
            reached: SlotSets::new(nodes, words),
            layers: vec![NONE; network.sessions()],
            visits: Vec::new(),
            visit_slots: Vec::new(),
            last_visit: vec![NONE; nodes],
            next: SlotSets::new(nodes, words),
            next_nodes: Vec::new(),
            next_sessions: Vec::new(),
            way: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self, network: &Network) {
        self.in_reach.fill(!0);
        self.wanting.clear();
        self.wanting.extend(0..network.sessions() as u32);
    }

    /// Begins a search from the sessions that want more.
    fn restart(&mut self, unserved: &[i64]) {
        self.wanting.retain(|session| unserved[*session as usize] > 0);
        self.reached.clear();
        self.layers.fill(NONE);
        self.last_visit.fill(NONE);
        self.visits.clear();
        self.visit_slots.clear();
    }

    /// Adds those of `slots` that are new to what the next layer reaches of `node`.
    #[inline]
    fn reach(&mut self, node: usize, word: usize, slots: u64) {
        let reached = &mut self.reached.row_mut(node)[word];
        let new = slots & !*reached;
        if new == 0 {
            return;
        }
        *reached |= new;
        let next = self.next.row_mut(node);
        if next.iter().all(|slots| *slots == 0) {
            self.next_nodes.push(node as u32);
        }
        next[word] |= new;
    }

    /// What was reached last becomes `layer`.
    fn close_layer(&mut self, layer: u32) {
        for node in self.next_nodes.drain(..) {
            let slots = self.next.row_mut(node as usize);
            self.visit_slots.extend_from_slice(slots);
            slots.fill(0);
            let before = std::mem::replace(&mut self.last_visit[node as usize], self.visits.len() as u32);
            self.visits.push(Visit { node, layer, before });
        }
    }

    /// The visit of `node` in `layer`, if there is one.
    fn visit_in(&self, node: usize, layer: u32) -> Option<usize> {
        let mut at = self.last_visit[node];
        while at != NONE && self.visits[at as usize].layer > layer {
            at = self.visits[at as usize].before;
        }
        (at != NONE && self.visits[at as usize].layer == layer).then_some(at as usize)
    }

    fn slots_in(&self, node: usize, layer: u32) -> &[u64] {
        match self.visit_in(node, layer) {
            Some(visit) => &self.visit_slots[visit * self.words..][..self.words],
            None => &[],
        }
    }

    fn is_in(&self, node: usize, slot: usize, layer: u32) -> bool {
        let slots = self.slots_in(node, layer);
        !slots.is_empty() && slots[slot / 64] >> (slot % 64) & 1 == 1
    }

    /// Forgets a place of `layer` to which no way leads.
    fn forget(&mut self, place: Place, layer: u32) {
        match place {
            Place::Session(session) => self.layers[session] = NONE,
            Place::Node { node, slot } => {
                let visit = self.visit_in(node, layer).expect("a place on a way was visited");
                self.visit_slots[visit * self.words + slot / 64] &= !(1 << (slot % 64));
            }
        }
    }
}

impl Flow {
    /// Fills `slot` as far as any moves of others allow.
    pub(super) fn augment(&mut self, network: &Network, slot: usize) {
        let root = slot * network.nodes();
        while self.loads[root] < self.capacities[root] && self.search.in_reach[slot / 64] >> (slot % 64) & 1 == 1 {
            let Some(layers) = self.find_layers(network, slot) else {
                for (in_reach, reached) in self.search.in_reach.iter_mut().zip(self.search.reached.row(0)) {
                    *in_reach &= reached;
                }
                return;
            };
            self.push(network, slot, layers);
        }
    }

    /// Finds what the sessions that want more can reach, up to the layer in which the root is reached in `slot`: that layer.
    fn find_layers(&mut self, network: &Network, slot: usize) -> Option<u32> {
        let search = &mut self.search;
        search.restart(&self.unserved);
        let mut sessions = search.wanting.clone();
        for session in &sessions {
            search.layers[*session as usize] = 0;
        }
        let mut visits = 0..0;
        let mut layer = 0;
        while !sessions.is_empty() || !visits.is_empty() {
            layer += 1;
            for session in &sessions {
                let session = *session as usize;
                let node = network.sessions[session].node;
                for (word, open) in self.open.row(session).iter().enumerate() {
                    search.reach(node, word, *open);
                }
            }
            for visit in visits.clone() {
                let node = search.visits[visit].node as usize;
                for word in 0..search.words {
                    let slots = search.visit_slots[visit * search.words + word];
                    if slots == 0 {
                        continue;
                    }
                    if let Some(parent) = network.parents[node] {
                        search.reach(parent as usize, word, slots & self.roomy.row(node)[word]);
                    }
                    for child in network.children(node) {
                        search.reach(*child as usize, word, slots & self.loaded.row(*child as usize)[word]);
                    }
                }
                let slots = &search.visit_slots[visit * search.words..][..search.words];
                for session in network.sessions_at(node) {
                    if search.layers[session] == NONE && meet(slots, self.charging.row(session)) {
                        search.layers[session] = layer;
                        search.next_sessions.push(session as u32);
                    }
                }
            }
            visits = search.visits.len()..search.visits.len();
            search.close_layer(layer);
            visits.end = search.visits.len();
            sessions.clear();
            std::mem::swap(&mut sessions, &mut search.next_sessions);
            if search.reached.has(0, slot) {
                search.next_sessions.clear();
                return Some(layer);
            }
        }
        None
    }

    /// Pushes along shortest ways until the slot is full or the layers have none left.
    fn push(&mut self, network: &Network, slot: usize, layers: u32) {
        let root = slot * network.nodes();
        let mut way = std::mem::take(&mut self.search.way);
        way.clear();
        way.push(Step {
            place: Place::Node { node: 0, slot },
            tried: 0,
            onward: Arc::Sink { slot },
            room: self.capacities[root] - self.loads[root],
        });
        while let Some(last) = way.last_mut() {
            let place = last.place;
            let layer = layers + 1 - way.len() as u32;
            if let (0, Place::Session(session)) = (layer, place)
                && self.unserved[session] > 0
            {
                self.push_along(network, session, &mut way);
                continue;
            }
            let before = way.last_mut().and_then(|last| self.step_back(network, last, layer));
            match before {
                Some(step) => way.push(step),
                None => {
                    self.search.forget(place, layer);
                    way.pop();
                }
            }
        }
        self.search.way = way;
    }

    /// The next place of the layer before `layer` from which power can go to `step`.
    fn step_back(&self, network: &Network, step: &mut Step, layer: u32) -> Option<Step> {
        let before = layer.checked_sub(1)?;
        let (place, onward, room) = match step.place {
            Place::Node { node, slot } => self.way_into_node(network, node, slot, before, &mut step.tried)?,
            Place::Session(session) => self.way_into_session(network, session, before, &mut step.tried)?,
        };
        Some(Step {
            place,
            tried: 0,
            onward,
            room,
        })
    }

    /// From the parent, then from each child, then from each session of `node`; `tried` of them led nowhere.
    fn way_into_node(
        &self,
        network: &Network,
        node: usize,
        slot: usize,
        layer: u32,
        tried: &mut u32,
    ) -> Option<(Place, Arc, i32)> {
        let column = slot * network.nodes();
        let at = |node: usize| Place::Node { node, slot };
        if *tried == 0 {
            *tried = 1;
            if let Some(parent) = network.parents[node] {
                let load = self.loads[column + node];
                if load > 0 && self.search.is_in(parent as usize, slot, layer) {
                    return Some((at(parent as usize), Arc::Down { node, slot }, load));
                }
            }
        }
        let children = network.children(node);
        while let Some(child) = children.get(*tried as usize - 1) {
            *tried += 1;
            let child = *child as usize;
            let room = self.capacities[column + child] - self.loads[column + child];
            if room > 0 && self.search.is_in(child, slot, layer) {
                return Some((at(child), Arc::Up { node: child, slot }, room));
            }
        }
        let sessions = network.sessions_at(node);
        let first = *tried as usize - 1 - children.len();
        for session in sessions.start + first..sessions.end {
            *tried += 1;
            if self.search.layers[session] == layer && self.open.has(session, slot) {
                let room = network.most(session, slot) - self.amounts[network.cell(session, slot)];
                return Some((Place::Session(session), Arc::Take { session, slot }, room));
            }
        }
        None
    }

    /// From its node in a slot in which it takes something; slots before `tried` led nowhere.
    fn way_into_session(
        &self,
        network: &Network,
        session: usize,
        layer: u32,
        tried: &mut u32,
    ) -> Option<(Place, Arc, i32)> {
        let node = network.sessions[session].node;
        let reached = self.search.slots_in(node, layer);
        let charging = self.charging.row(session);
        let slot = next_common(reached, charging, *tried as usize)?;
        *tried = slot as u32 + 1;
        let room = self.amounts[network.cell(session, slot)];
        Some((Place::Node { node, slot }, Arc::Release { session, slot }, room))
    }

    /// Pushes what the whole way can take, and goes back to where it is full.
    fn push_along(&mut self, network: &Network, session: usize, way: &mut Vec<Step>) {
        let narrowest = way.iter().map(|step| step.room).min().expect("a way leads to the sink");
        let amount = i64::from(narrowest).min(self.unserved[session]) as i32;
        self.unserved[session] -= i64::from(amount);
        for step in way.iter_mut() {
            step.room -= amount;
            match step.onward {
                Arc::Sink { slot } => self.change_load(network, 0, slot, amount),
                Arc::Take { session, slot } => self.change_amount(network, session, slot, amount),
                Arc::Release { session, slot } => self.change_amount(network, session, slot, -amount),
                Arc::Up { node, slot } => self.change_load(network, node, slot, amount),
                Arc::Down { node, slot } => self.change_load(network, node, slot, -amount),
            }
        }
        let full = way.iter().position(|step| step.room == 0).unwrap_or(way.len());
        way.truncate(full);
    }
}

/// The first slot from `from` on that is in both sets.
fn next_common(a: &[u64], b: &[u64], from: usize) -> Option<usize> {
    let first = from / 64;
    let words = a.iter().zip(b).enumerate().skip(first);
    words
        .map(|(index, (a, b))| {
            let before = if index == first { !0 << (from % 64) } else { !0 };
            (index, a & b & before)
        })
        .find(|(_, common)| *common != 0)
        .map(|(index, common)| index * 64 + common.trailing_zeros() as usize)
}
