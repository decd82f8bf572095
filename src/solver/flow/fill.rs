//! What the sessions of a slot can use directly, the least patient first.
//!
//! Decides who takes the power of a slot where several could: who has the least time to spare if he waits. Which choice is made costs
//! nothing but work, since [`super::augment`] puts right what was chosen badly; a good one leaves it little to do.

use super::Flow;
use super::network::Network;

/// By slot the sessions that are present in it, the least patient first.
pub(super) struct SlotLists {
    first: Vec<u32>,
    sessions: Vec<u32>,
}

impl SlotLists {
    pub(super) fn new(network: &Network, wanted: &[i64]) -> Self {
        let mut order: Vec<(i64, u32)> = (0..network.sessions())
            .map(|session| (patience(network, session, wanted[session]), session as u32))
            .collect();
        order.sort_unstable();
        let mut first = vec![0; network.slots + 1];
        for session in &network.sessions {
            for slot in session.first_slot..session.end_slot {
                first[slot + 1] += 1;
            }
        }
        for slot in 0..network.slots {
            first[slot + 1] += first[slot];
        }
        let mut next = first.clone();
        let mut sessions = vec![0; network.cells()];
        for (_, index) in order {
            let session = &network.sessions[index as usize];
            for at in &mut next[session.first_slot..session.end_slot] {
                sessions[*at as usize] = index;
                *at += 1;
            }
        }
        Self { first, sessions }
    }

    fn present(&self, slot: usize) -> &[u32] {
        &self.sessions[self.first[slot] as usize..self.first[slot + 1] as usize]
    }
}

/// How long a session could wait before it has to charge at full power, in thousandths of a unit of slot length.
fn patience(network: &Network, index: usize, wanted: i64) -> i64 {
    let session = &network.sessions[index];
    let stay: i64 = (network.lengths[session.first_slot..session.end_slot].iter())
        .map(|length| i64::from(*length))
        .sum();
    let charging = i128::from(wanted) * 1000 / i128::from(session.most.max(1));
    stay.saturating_mul(1000)
        .saturating_sub(i64::try_from(charging).unwrap_or(i64::MAX))
}

impl Flow {
    pub(super) fn fill(&mut self, network: &Network, lists: &SlotLists, slot: usize) {
        let nodes = network.nodes();
        let column = slot * nodes..(slot + 1) * nodes;
        let capacities = &self.capacities[column.clone()];
        let loads = &mut self.loads[column];
        let length = network.lengths[slot];
        for index in lists.present(slot) {
            let index = *index as usize;
            let left = self.unserved[index];
            if left <= 0 {
                continue;
            }
            let session = &network.sessions[index];
            let cell = network.cell(index, slot);
            let most = session.most * length;
            let mut amount = most - self.amounts[cell];
            let mut place = Some(session.node as u32);
            while let Some(node) = place {
                amount = amount.min(capacities[node as usize] - loads[node as usize]);
                place = network.parents[node as usize];
            }
            amount = i64::from(amount).min(left) as i32;
            if amount <= 0 {
                if loads[0] >= capacities[0] {
                    break;
                }
                continue;
            }
            self.unserved[index] -= i64::from(amount);
            self.amounts[cell] += amount;
            self.charging.set(index, slot, true);
            self.open.set(index, slot, self.amounts[cell] < most);
            let mut place = Some(session.node as u32);
            while let Some(node) = place {
                loads[node as usize] += amount;
                place = network.parents[node as usize];
            }
        }
        for node in 0..nodes {
            self.loaded.set(node, slot, loads[node] > 0);
            self.roomy.set(node, slot, loads[node] < capacities[node]);
        }
    }
}
