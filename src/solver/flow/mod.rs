//! The exact core: charging as a flow of one commodity, in integers.
//!
//! # Problem
//!
//! A tree of nodes, a row of slots, sessions at the nodes. Choose what each session takes in each slot of its stay, from zero to its
//! most, so that no node carries more than its capacity in any slot. In this order: the most energy in all, then the least cost at a
//! price for each slot, then as early as can be.
//!
//! # Structure
//!
//! This is a flow: from each session, through its node and all nodes above it in the same slot, to that slot's sink. The totals
//! that the slots can carry away are the independent vectors of a polymatroid: what a set of slots can take together is a submodular
//! function of the set (Megiddo 1974). On a polymatroid the greedy algorithm is exact (Edmonds 1970): visit the slots from the cheapest
//! to the dearest, at equal price from the earliest on, and let each take the most it can on top of what the slots before it took.
//! The result has at once the most energy, the least cost among all that have it, and the earliest charging among those. No
//! weights, no tolerance, no linear program.
//!
//! # Method
//!
//! * `fill`: give a slot what its own sessions can use directly, the least patient first. This places nearly everything.
//! * `augment`: what a slot could still take from sessions that are present only in other slots, by moving those who
//!   are present in both. Paths are found by layers (Dinic 1970), a set of slots at a time as bits of a word.
//! * A search that fails is never repeated: what sessions can reach only shrinks while they are served, so a slot that was out of reach
//!   stays so.
//! * `certificate`: in the end each node and session has a price, that of the cheapest slot which it can still reach.
//!   These prices are the linear program's dual solution: their value is a lower bound for every plan, and equals the plan's cost.
//! * [`peak`]: with a charge on the highest load, the least cost is a convex function of the load that is allowed, and the prices of each
//!   solve are a line below it everywhere. A handful of solves brings both together.
//! * [`ranks`]: where not everything can be served, who comes first.
//!
//! # What must hold of the input
//!
//! Capacities and sums of what sessions may take fit in an `i32`, energy in all in an `i64`; choose the unit so. Money is added up
//! in `i128` and cannot overflow.

mod augment;
mod certificate;
mod fill;
mod network;
pub mod peak;
pub mod ranks;
mod slot_sets;
#[cfg(test)]
mod tests;

pub use network::{Network, Session};

use augment::Search;
use certificate::Prices;
use slot_sets::SlotSets;

/// What is asked for on a [`Network`].
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// By node, then slot. Negative is zero.
    pub capacities: &'a [i32],
    /// By session.
    pub wanted: &'a [i64],
    /// Of one unit, by slot.
    pub prices: &'a [i64],
    /// The price of a unit that is wanted and not served; no slot is dearer.
    pub penalty: i64,
}

/// What each session takes in each slot, and the room to search in. Reusable: [`Flow::solve`] begins anew each time.
#[derive(Clone, Debug)]
pub struct Flow {
    /// By cell.
    amounts: Vec<i32>,
    /// By session: what it still wants.
    unserved: Vec<i64>,
    /// By slot, then node.
    loads: Vec<i32>,
    capacities: Vec<i32>,
    /// By session: the slots in which it takes something, and those in which it could take more.
    charging: SlotSets,
    open: SlotSets,
    /// By node: the slots in which it carries something, and those in which it could carry more.
    loaded: SlotSets,
    roomy: SlotSets,
    prices: Prices,
    search: Search,
}

impl Flow {
    pub fn new(network: &Network) -> Self {
        let (nodes, sessions, words) = (network.nodes(), network.sessions(), network.words);
        Self {
            amounts: vec![0; network.cells()],
            unserved: vec![0; sessions],
            loads: vec![0; nodes * network.slots],
            capacities: vec![0; nodes * network.slots],
            charging: SlotSets::new(sessions, words),
            open: SlotSets::new(sessions, words),
            loaded: SlotSets::new(nodes, words),
            roomy: SlotSets::new(nodes, words),
            prices: Prices::new(network),
            search: Search::new(network),
        }
    }

    /// The most energy, then the least cost, then the earliest.
    ///
    /// # Panics
    /// If `task` is not of the size of `network`.
    pub fn solve(&mut self, network: &Network, task: &Task) {
        assert_eq!(
            task.capacities.len(),
            network.nodes() * network.slots,
            "a capacity for each node and slot"
        );
        assert_eq!(task.wanted.len(), network.sessions(), "a wish for each session");
        assert_eq!(task.prices.len(), network.slots, "a price for each slot");
        self.begin(network, task);
        self.visit_slots(network, task);
    }

    /// Gives the sessions `more` than they wanted so far, as much as there is, and takes nothing from what any of them has: by
    /// augmenting, who was served stays served. Cost is not minded.
    fn serve(&mut self, network: &Network, task: &Task, more: &[i64]) {
        for (unserved, more) in self.unserved.iter_mut().zip(more) {
            *unserved += more;
        }
        self.prices.begin(task.penalty);
        self.search.begin(network);
        self.visit_slots(network, task);
    }

    /// Serves what is unserved, from the cheapest slot to the dearest.
    fn visit_slots(&mut self, network: &Network, task: &Task) {
        let lists = fill::SlotLists::new(network, &self.unserved);
        for slot in by_price(task.prices) {
            self.fill(network, &lists, slot);
            self.augment(network, slot, task.prices[slot]);
        }
    }

    /// Nothing is charged yet.
    fn begin(&mut self, network: &Network, task: &Task) {
        self.amounts.fill(0);
        self.loads.fill(0);
        for (session, inside) in network.inside.iter().enumerate() {
            self.unserved[*inside as usize] = task.wanted[session].max(0);
        }
        let nodes = network.nodes();
        for sets in [&mut self.charging, &mut self.open, &mut self.loaded, &mut self.roomy] {
            sets.clear();
        }
        for node in 0..nodes {
            for slot in 0..network.slots {
                let capacity = task.capacities[node * network.slots + slot].max(0);
                self.capacities[slot * nodes + node] = capacity;
                self.roomy.set(node, slot, capacity > 0);
            }
        }
        for (index, session) in network.sessions.iter().enumerate() {
            for slot in session.first_slot..session.end_slot {
                self.open.set(index, slot, session.most > 0);
            }
        }
        self.prices.begin(task.penalty);
        self.search.begin(network);
    }

    /// What `session` takes, by slot of its stay.
    pub fn amounts(&self, network: &Network, session: usize) -> &[i32] {
        &self.amounts[network.cells_of(network.inside[session] as usize)]
    }

    /// What `session` wants and does not get.
    pub fn unserved(&self, network: &Network, session: usize) -> i64 {
        self.unserved[network.inside[session] as usize]
    }

    /// What all sessions want and do not get.
    pub fn unserved_in_all(&self) -> i64 {
        self.unserved.iter().sum()
    }

    pub fn load(&self, network: &Network, node: usize, slot: usize) -> i32 {
        self.loads[slot * network.nodes() + node]
    }

    /// Adds `more`, which may be negative, to what `session` takes in `slot`.
    fn change_amount(&mut self, network: &Network, session: usize, slot: usize, more: i32) {
        let amount = &mut self.amounts[network.cell(session, slot)];
        *amount += more;
        self.charging.set(session, slot, *amount > 0);
        self.open.set(session, slot, *amount < network.most(session, slot));
    }

    /// Adds `more`, which may be negative, to what `node` carries in `slot`.
    fn change_load(&mut self, network: &Network, node: usize, slot: usize, more: i32) {
        let at = slot * network.nodes() + node;
        let load = &mut self.loads[at];
        *load += more;
        self.loaded.set(node, slot, *load > 0);
        self.roomy.set(node, slot, *load < self.capacities[at]);
    }
}

/// All slots, the cheapest first, the earliest first among equals.
fn by_price(prices: &[i64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..prices.len()).collect();
    order.sort_by_key(|slot| prices[*slot]);
    order
}
