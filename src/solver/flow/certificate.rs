//! The proof that comes with a solved flow: a price for every place, and a bound from the prices alone.
//!
//! Decides nothing. A place's price is that of the cheapest slot which one more unit could still reach from it, a session's at most the
//! penalty. [`Certificate::bound`] is the value of the linear program's dual at these prices; it is a lower bound whatever the
//! prices are, so a mistake in finding them can make it weak, but never false.

use super::network::Network;
use super::slot_sets::{SlotSets, slots_of};
use super::{Flow, Task, by_price};

/// Optimal prices of a solved [`Flow`].
#[derive(Clone, Debug)]
pub struct Certificate {
    slots: usize,
    /// By node, then slot.
    node_prices: Vec<i64>,
    /// By session, in the order of the network.
    session_prices: Vec<i64>,
}

impl Certificate {
    /// The prices at which `flow`, which solves `task`, is optimal.
    pub fn new(network: &Network, task: &Task, flow: &Flow) -> Self {
        let mut labels = Labels {
            network,
            flow,
            certificate: Self {
                slots: network.slots,
                node_prices: vec![task.penalty; network.nodes() * network.slots],
                session_prices: vec![task.penalty; network.sessions()],
            },
            labelled: SlotSets::new(network.nodes(), network.words),
            is_labelled: vec![false; network.sessions()],
            open: Vec::new(),
        };
        for slot in by_price(task.prices) {
            if flow.roomy.has(0, slot) {
                labels.spread(slot, task.prices[slot]);
            }
        }
        labels.certificate
    }

    /// What one more unit would cost at `node` in `slot`.
    pub fn node_price(&self, node: usize, slot: usize) -> i64 {
        self.node_prices[node * self.slots + slot]
    }

    /// What one more unit for `session` would cost.
    pub fn session_price(&self, network: &Network, session: usize) -> i64 {
        self.session_prices[network.inside[session] as usize]
    }

    /// How much cheaper the whole would be with one more unit of capacity at `node` in `slot`.
    pub fn capacity_price(&self, network: &Network, task: &Task, node: usize, slot: usize) -> i64 {
        let onward = match network.parents[node] {
            Some(parent) => self.node_price(parent as usize, slot),
            None => task.prices[slot],
        };
        (self.node_price(node, slot) - onward).max(0)
    }

    /// No plan for `task` costs less than this.
    pub fn bound(&self, network: &Network, task: &Task) -> i128 {
        self.bound_without_root(network, task) - self.root_rent(network, task)
    }

    /// The part of the bound that does not depend on the root's capacity.
    pub(super) fn bound_without_root(&self, network: &Network, task: &Task) -> i128 {
        let mut bound: i128 = 0;
        for (outside, inside) in network.inside.iter().enumerate() {
            let session = &network.sessions[*inside as usize];
            let price = self.session_prices[*inside as usize];
            let stay = session.first_slot..session.end_slot;
            let at_node = &self.node_prices[session.node * self.slots..][stay.clone()];
            let rent: i64 = (at_node.iter().zip(&network.lengths[stay]))
                .map(|(at_node, length)| (price - at_node).max(0) * i64::from(*length))
                .sum();
            bound += i128::from(price) * i128::from(task.wanted[outside].max(0));
            bound -= i128::from(rent) * i128::from(session.most);
        }
        for node in 1..network.nodes() {
            bound -= self.rent(network, task, node);
        }
        bound
    }

    fn root_rent(&self, network: &Network, task: &Task) -> i128 {
        self.rent(network, task, 0)
    }

    fn rent(&self, network: &Network, task: &Task, node: usize) -> i128 {
        let capacities = &task.capacities[node * self.slots..][..self.slots];
        (capacities.iter().enumerate())
            .map(|(slot, capacity)| {
                let price = self.capacity_price(network, task, node, slot);
                i128::from(price) * i128::from((*capacity).max(0))
            })
            .sum()
    }
}

/// Prices being spread from the slots to all places that can reach them.
struct Labels<'a> {
    network: &'a Network,
    flow: &'a Flow,
    certificate: Certificate,
    /// By node.
    labelled: SlotSets,
    /// By session.
    is_labelled: Vec<bool>,
    /// Nodes with slots from which to go on.
    open: Vec<(u32, usize, u64)>,
}

impl Labels<'_> {
    /// Gives `price` to every place without one that can reach the sink of `slot`.
    fn spread(&mut self, slot: usize, price: i64) {
        self.label(0, slot / 64, 1 << (slot % 64), price);
        while let Some((node, word, slots)) = self.open.pop() {
            let node = node as usize;
            if let Some(parent) = self.network.parents[node] {
                // Power that comes from the parent's other children could stay there.
                let loaded = self.flow.loaded.row(node)[word];
                self.label(parent as usize, word, slots & loaded, price);
            }
            for child in self.network.children(node) {
                let roomy = self.flow.roomy.row(*child as usize)[word];
                self.label(*child as usize, word, slots & roomy, price);
            }
            for session in self.network.sessions_at(node) {
                if !self.is_labelled[session] && self.flow.open.row(session)[word] & slots != 0 {
                    self.is_labelled[session] = true;
                    self.certificate.session_prices[session] = price;
                    for word in 0..self.network.words {
                        let charging = self.flow.charging.row(session)[word];
                        self.label(node, word, charging, price);
                    }
                }
            }
        }
    }

    fn label(&mut self, node: usize, word: usize, slots: u64, price: i64) {
        let labelled = &mut self.labelled.row_mut(node)[word];
        let new = slots & !*labelled;
        if new == 0 {
            return;
        }
        *labelled |= new;
        for slot in slots_of(&[new]) {
            self.certificate.node_prices[node * self.certificate.slots + word * 64 + slot] = price;
        }
        self.open.push((node as u32, word, new));
    }
}
