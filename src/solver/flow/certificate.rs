//! The proof that comes with a solved flow: a price for every place, and a bound from the prices alone.
//!
//! Decides nothing. The price of a place is that of the cheapest slot which one more unit could still reach from there; where none can
//! be reached it is the penalty. [`Flow::bound`] is the value of the linear program's dual at these prices. It is a lower bound
//! whatever the prices are: a mistake in finding them could make it weak, never false.

use super::network::Network;
use super::slot_sets::slots_of;
use super::{Flow, Task};

#[derive(Clone, Debug)]
pub(super) struct Prices {
    slots: usize,
    /// By node, then slot.
    by_place: Vec<i64>,
    pub(super) by_session: Vec<i64>,
}

impl Prices {
    pub(super) fn new(network: &Network) -> Self {
        Self {
            slots: network.slots,
            by_place: vec![0; network.nodes() * network.slots],
            by_session: vec![0; network.sessions()],
        }
    }

    pub(super) fn begin(&mut self, penalty: i64) {
        self.by_place.fill(penalty);
        self.by_session.fill(penalty);
    }

    pub(super) fn set(&mut self, node: usize, slots: &[u64], price: i64) {
        let by_slot = &mut self.by_place[node * self.slots..][..self.slots];
        for slot in slots_of(slots) {
            by_slot[slot] = price;
        }
    }
}

impl Flow {
    /// What one more unit would cost at `node` in `slot`.
    pub fn node_price(&self, node: usize, slot: usize) -> i64 {
        self.prices.by_place[node * self.prices.slots + slot]
    }

    /// What one more unit would cost for `session`.
    pub fn session_price(&self, network: &Network, session: usize) -> i64 {
        self.prices.by_session[network.inside[session] as usize]
    }

    /// How much cheaper all would be with one more unit of capacity at `node` in `slot`.
    pub fn capacity_price(&self, network: &Network, task: &Task, node: usize, slot: usize) -> i64 {
        let onward = match network.parents[node] {
            Some(parent) => self.node_price(parent as usize, slot),
            None => task.prices[slot],
        };
        (self.node_price(node, slot) - onward).max(0)
    }

    /// No plan for `task`, which was solved last, costs less.
    pub fn bound(&self, network: &Network, task: &Task) -> i128 {
        self.bound_without_root(network, task) - self.rent(network, task, 0)
    }

    /// The bound if the root's capacity were free.
    pub(super) fn bound_without_root(&self, network: &Network, task: &Task) -> i128 {
        let mut bound: i128 = 0;
        for (outside, inside) in network.inside.iter().enumerate() {
            let session = &network.sessions[*inside as usize];
            let price = self.prices.by_session[*inside as usize];
            let stay = session.first_slot..session.end_slot;
            let at_node = &self.prices.by_place[session.node * network.slots..][stay.clone()];
            let rent: i64 = (at_node.iter().zip(&network.lengths[stay]))
                .map(|(at_node, length)| (price - at_node).max(0) * i64::from(*length))
                .sum();
            bound += i128::from(price) * i128::from(task.wanted[outside].max(0));
            bound -= i128::from(rent) * i128::from(session.most);
        }
        let rents: i128 = (1..network.nodes()).map(|node| self.rent(network, task, node)).sum();
        bound - rents
    }

    /// What the capacity of `node` is worth in all slots.
    fn rent(&self, network: &Network, task: &Task, node: usize) -> i128 {
        let capacities = &task.capacities[node * network.slots..][..network.slots];
        (capacities.iter().enumerate())
            .map(|(slot, capacity)| {
                let price = self.capacity_price(network, task, node, slot);
                i128::from(price) * i128::from((*capacity).max(0))
            })
            .sum()
    }
}
