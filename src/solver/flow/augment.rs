//! What a slot could still take from sessions that cannot reach it directly: others make way in one slot and move to another.
//!
//! Decides whether there is a way, never what it is worth. From the slot's sink backwards, all places from which power could come are
//! found layer by layer; a place is a node in a slot, and the slots of a node are found as a set. Where the search meets sessions that
//! want more, power is pushed along shortest ways until none is left (Dinic 1970), and so on until the slot is full.
//!
//! Where it meets none, everything it found is frozen. No way from a session that wants more can ever lead through such a place, for
//! then it would have led on into the slot: what cannot be improved now stays as it is to the end. So the places of all failed
//! searches together are visited once, and the price of the slot is the price of these places (see [`super::certificate`]).

use super::Flow;
use super::certificate::Prices;
use super::network::Network;
use super::slot_sets::{SlotSets, meet};

/// A session that was not found.
const UNSEEN: u32 = u32::MAX;
/// A session to which no search leads any more.
const FROZEN: u32 = u32::MAX - 1;
const NONE: u32 = u32::MAX;

/// Slots of a node that were found in the same layer.
#[derive(Clone, Copy, Debug)]
struct Visit {
    node: u32,
    layer: u32,
    /// The one before of the same node, in this search.
    before: u32,
}

/// Room to search in.
#[derive(Clone, Debug)]
pub(super) struct Search {
    words: usize,
    /// By node: slots that were found, in this search or in one that failed.
    found: SlotSets,
    /// By node: slots that were found in a search that failed.
    pub(super) frozen: SlotSets,
    /// By session: the layer in which it was found.
    layers: Vec<u32>,
    /// Sessions found in this search.
    found_sessions: Vec<u32>,
    /// From here on they are of the last layer, and some want more.
    first_wanting: usize,
    /// Sessions at each node that are not frozen: the first `live[node]` of its part.
    live_sessions: Vec<u32>,
    live: Vec<u32>,
    visits: Vec<Visit>,
    /// By visit: its slots, without those from which no way leads on.
    visit_slots: Vec<u64>,
    /// By node.
    last_visit: Vec<u32>,
    /// By node: slots found for the layer that comes next.
    next: SlotSets,
    next_nodes: Vec<u32>,
    way: Vec<Step>,
}

/// A place on a way from a session to the slot's sink.
#[derive(Clone, Copy, Debug)]
struct Step {
    place: Place,
    /// Which of the places after it is tried next.
    tried: u32,
    /// How the way came here, and how much can come.
    arc: Arc,
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
    /// Where the way begins.
    Source,
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
            found: SlotSets::new(nodes, words),
            frozen: SlotSets::new(nodes, words),
            layers: vec![UNSEEN; network.sessions()],
            found_sessions: Vec::new(),
            first_wanting: 0,
            live_sessions: Vec::new(),
            live: Vec::new(),
            visits: Vec::new(),
            visit_slots: Vec::new(),
            last_visit: vec![NONE; nodes],
            next: SlotSets::new(nodes, words),
            next_nodes: Vec::new(),
            way: Vec::new(),
        }
    }

    /// Nothing is frozen yet.
    pub(super) fn begin(&mut self, network: &Network) {
        self.found.clear();
        self.frozen.clear();
        self.layers.fill(UNSEEN);
        self.live_sessions.clear();
        self.live_sessions.extend(0..network.sessions() as u32);
        self.live.clear();
        self.live
            .extend((0..network.nodes()).map(|node| network.sessions_at(node).len() as u32));
    }

    /// Adds those of `slots` that are new to what the next layer has of `node`.
    #[inline]
    fn find(&mut self, node: usize, word: usize, slots: u64) {
        let found = &mut self.found.row_mut(node)[word];
        let new = slots & !*found;
        if new == 0 {
            return;
        }
        *found |= new;
        let next = self.next.row_mut(node);
        if next.iter().all(|slots| *slots == 0) {
            self.next_nodes.push(node as u32);
        }
        next[word] |= new;
    }

    /// What was found last becomes `layer`.
    fn close_layer(&mut self, layer: u32) {
        for node in self.next_nodes.drain(..) {
            let slots = self.next.row_mut(node as usize);
            self.visit_slots.extend_from_slice(slots);
            slots.fill(0);
            let before = std::mem::replace(&mut self.last_visit[node as usize], self.visits.len() as u32);
            self.visits.push(Visit { node, layer, before });
        }
    }

    /// Freezes what the search found, at the price of its slot.
    fn freeze(&mut self, network: &Network, price: i64, prices: &mut Prices) {
        for session in self.found_sessions.drain(..) {
            self.layers[session as usize] = FROZEN;
            prices.by_session[session as usize] = price;
        }
        for (index, visit) in self.visits.iter().enumerate() {
            let node = visit.node as usize;
            let slots = &self.visit_slots[index * self.words..][..self.words];
            prices.set(node, slots, price);
            if self.last_visit[node] != index as u32 {
                continue;
            }
            self.last_visit[node] = NONE;
            self.frozen.row_mut(node).copy_from_slice(self.found.row(node));
            let first = network.sessions_at(node).start;
            let mut live = first;
            for at in first..first + self.live[node] as usize {
                let session = self.live_sessions[at];
                if self.layers[session as usize] != FROZEN {
                    self.live_sessions[live] = session;
                    live += 1;
                }
            }
            self.live[node] = (live - first) as u32;
        }
        self.visits.clear();
        self.visit_slots.clear();
    }

    /// Forgets what the search found.
    fn forget_all(&mut self) {
        for session in self.found_sessions.drain(..) {
            self.layers[session as usize] = UNSEEN;
        }
        for visit in self.visits.drain(..) {
            let node = visit.node as usize;
            self.found.row_mut(node).copy_from_slice(self.frozen.row(node));
            self.last_visit[node] = NONE;
        }
        self.visit_slots.clear();
    }

    /// Forgets a place of `layer` from which no way leads on.
    fn forget(&mut self, place: Place, layer: u32) {
        match place {
            Place::Session(session) => self.layers[session] = UNSEEN,
            Place::Node { node, slot } => {
                let visit = self.visit_in(node, layer).expect("a place on a way was visited");
                self.visit_slots[visit * self.words + slot / 64] &= !(1 << (slot % 64));
            }
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
        self.slots_in(node, layer)
            .get(slot / 64)
            .is_some_and(|slots| slots >> (slot % 64) & 1 == 1)
    }
}

impl Flow {
    /// Fills `slot` as far as any moves of others allow; what cannot be reached from it any more is frozen at `price`.
    pub(super) fn augment(&mut self, network: &Network, slot: usize, price: i64) {
        let root = slot * network.nodes();
        while self.loads[root] < self.capacities[root] && !self.search.frozen.has(0, slot) {
            match self.find_layers(network, slot) {
                Some(layer) => {
                    self.push(network, layer);
                    self.search.forget_all();
                }
                None => self.search.freeze(network, price, &mut self.prices),
            }
        }
    }

    /// Finds from where power can come into the sink of `slot`, up to the layer in which a session wants more: that layer.
    fn find_layers(&mut self, network: &Network, slot: usize) -> Option<u32> {
        let search = &mut self.search;
        search.find(0, slot / 64, 1 << (slot % 64));
        search.close_layer(0);
        let mut visits = 0..1;
        let mut sessions = 0..0;
        let mut layer = 0;
        while !sessions.is_empty() || !visits.is_empty() {
            layer += 1;
            let mut is_wanting = false;
            for at in sessions.clone() {
                let session = search.found_sessions[at] as usize;
                let node = network.sessions[session].node;
                for (word, charging) in self.charging.row(session).iter().enumerate() {
                    search.find(node, word, *charging);
                }
            }
            sessions.start = search.found_sessions.len();
            for visit in visits.clone() {
                let node = search.visits[visit].node as usize;
                for word in 0..search.words {
                    let slots = search.visit_slots[visit * search.words + word];
                    if slots == 0 {
                        continue;
                    }
                    if let Some(parent) = network.parents[node] {
                        search.find(parent as usize, word, slots & self.loaded.row(node)[word]);
                    }
                    for child in network.children(node) {
                        search.find(*child as usize, word, slots & self.roomy.row(*child as usize)[word]);
                    }
                }
                let slots = &search.visit_slots[visit * search.words..][..search.words];
                let first = network.sessions_at(node).start;
                for session in &search.live_sessions[first..first + search.live[node] as usize] {
                    let layer_of = &mut search.layers[*session as usize];
                    if *layer_of == UNSEEN && meet(slots, self.open.row(*session as usize)) {
                        *layer_of = layer;
                        search.found_sessions.push(*session);
                        is_wanting |= self.unserved[*session as usize] > 0;
                    }
                }
            }
            sessions.end = search.found_sessions.len();
            visits.start = search.visits.len();
            search.close_layer(layer);
            visits.end = search.visits.len();
            if is_wanting {
                search.first_wanting = sessions.start;
                return Some(layer);
            }
        }
        None
    }

    /// Pushes from the sessions of `layer` that want more, along shortest ways, until there are none.
    fn push(&mut self, network: &Network, layer: u32) {
        let mut way = std::mem::take(&mut self.search.way);
        for at in self.search.first_wanting..self.search.found_sessions.len() {
            let session = self.search.found_sessions[at] as usize;
            if self.unserved[session] == 0 {
                continue;
            }
            way.clear();
            way.push(Step {
                place: Place::Session(session),
                tried: 0,
                arc: Arc::Source,
                room: i32::try_from(self.unserved[session]).unwrap_or(i32::MAX),
            });
            while let Some(mut last) = way.pop() {
                let layer = layer - way.len() as u32;
                if let (0, Place::Node { node: 0, slot }) = (layer, last.place) {
                    way.push(last);
                    self.push_along(network, session, slot, &mut way);
                    continue;
                }
                match self.step_on(network, &mut last, layer - 1) {
                    Some(step) => way.extend([last, step]),
                    None => self.search.forget(last.place, layer),
                }
            }
        }
        self.search.way = way;
    }

    /// The next place of `layer` to which power can go from `step`.
    fn step_on(&self, network: &Network, step: &mut Step, layer: u32) -> Option<Step> {
        let (place, arc, room) = match step.place {
            Place::Node { node, slot } => self.way_from_node(network, node, slot, layer, &mut step.tried)?,
            Place::Session(session) => self.way_from_session(network, session, layer, &mut step.tried)?,
        };
        Some(Step {
            place,
            tried: 0,
            arc,
            room,
        })
    }

    /// To the parent, then to each child, then to each session of `node`; `tried` of them led nowhere.
    fn way_from_node(
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
                let room = self.capacities[column + node] - self.loads[column + node];
                if room > 0 && self.search.is_in(parent as usize, slot, layer) {
                    return Some((at(parent as usize), Arc::Up { node, slot }, room));
                }
            }
        }
        let children = network.children(node);
        while let Some(child) = children.get(*tried as usize - 1) {
            *tried += 1;
            let child = *child as usize;
            let load = self.loads[column + child];
            if load > 0 && self.search.is_in(child, slot, layer) {
                return Some((at(child), Arc::Down { node: child, slot }, load));
            }
        }
        let sessions = network.sessions_at(node);
        let first = *tried as usize - 1 - children.len();
        for session in sessions.start + first..sessions.end {
            *tried += 1;
            if self.search.layers[session] == layer && self.charging.has(session, slot) {
                let amount = self.amounts[network.cell(session, slot)];
                return Some((Place::Session(session), Arc::Release { session, slot }, amount));
            }
        }
        None
    }

    /// To its node, in a slot in which it could take more; slots before `tried` led nowhere.
    fn way_from_session(
        &self,
        network: &Network,
        session: usize,
        layer: u32,
        tried: &mut u32,
    ) -> Option<(Place, Arc, i32)> {
        let node = network.sessions[session].node;
        let found = self.search.slots_in(node, layer);
        let slot = first_common(found, self.open.row(session), *tried as usize)?;
        *tried = slot as u32 + 1;
        let room = network.most(session, slot) - self.amounts[network.cell(session, slot)];
        Some((Place::Node { node, slot }, Arc::Take { session, slot }, room))
    }

    /// Pushes what the whole way and the sink of `slot` can take, and goes back to where it is full.
    fn push_along(&mut self, network: &Network, session: usize, slot: usize, way: &mut Vec<Step>) {
        let root = slot * network.nodes();
        let sink = self.capacities[root] - self.loads[root];
        let narrowest = way.iter().map(|step| step.room).min().unwrap_or(0);
        let amount = narrowest.min(sink);
        self.unserved[session] -= i64::from(amount);
        self.change_load(network, 0, slot, amount);
        for step in way.iter_mut() {
            step.room -= amount;
            match step.arc {
                Arc::Source => {}
                Arc::Take { session, slot } => self.change_amount(network, session, slot, amount),
                Arc::Release { session, slot } => self.change_amount(network, session, slot, -amount),
                Arc::Up { node, slot } => self.change_load(network, node, slot, amount),
                Arc::Down { node, slot } => self.change_load(network, node, slot, -amount),
            }
        }
        let full = way.iter().position(|step| step.room == 0);
        way.truncate(if amount == sink { 0 } else { full.unwrap_or(0) });
    }
}

/// The first slot from `from` on that is in both sets.
fn first_common(a: &[u64], b: &[u64], from: usize) -> Option<usize> {
    let first = from / 64;
    (a.iter().zip(b).enumerate().skip(first))
        .map(|(index, (a, b))| {
            let later = if index == first { !0 << (from % 64) } else { !0 };
            (index * 64, a & b & later)
        })
        .find(|(_, common)| *common != 0)
        .map(|(start, common)| start + common.trailing_zeros() as usize)
}
