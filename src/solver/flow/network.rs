//! The tree and its sessions, laid out for the solver: what stays the same from one solve to the next.
//!
//! Decides the order in which things lie in memory. Sessions are numbered anew, node by node, so that those of a node are
//! neighbours; only the public functions of [`super::Flow`] speak of sessions by their number outside.

use std::ops::Range;

/// A car that is connected to a node from `first_slot` up to, not including, `end_slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub node: usize,
    pub first_slot: usize,
    pub end_slot: usize,
    /// The most it takes in one unit of slot length.
    pub most: i32,
}

/// A tree of nodes with sessions at them, over a row of slots.
#[derive(Clone, Debug)]
pub struct Network {
    pub(super) slots: usize,
    /// 64-bit words that hold one bit for each slot.
    pub(super) words: usize,
    /// By slot.
    pub(super) lengths: Vec<i32>,
    pub(super) parents: Vec<Option<u32>>,
    children: Vec<u32>,
    first_child: Vec<u32>,
    /// In the order of their nodes.
    pub(super) sessions: Vec<Session>,
    first_session: Vec<u32>,
    /// By session: where its cells, one for each slot of its stay, begin.
    first_cell: Vec<u32>,
    /// Where a session that is numbered so outside lies here.
    pub(super) inside: Vec<u32>,
}

impl Network {
    /// `lengths` by slot; `parents` by node, each smaller than its child, with the root as node 0.
    ///
    /// # Panics
    /// If there is no slot or no root, a parent does not come before its child, or a session lies outside the tree or the slots.
    pub fn new(lengths: Vec<i32>, parents: Vec<Option<usize>>, sessions: Vec<Session>) -> Self {
        let (slots, nodes) = (lengths.len(), parents.len());
        assert!(
            slots > 0 && lengths.iter().all(|length| *length > 0),
            "slots have lengths"
        );
        assert!(parents.first() == Some(&None), "node 0 is the root");
        let is_tree = |(node, parent): (usize, &Option<usize>)| parent.is_some_and(|parent| parent < node);
        assert!(
            parents.iter().enumerate().skip(1).all(is_tree),
            "parents come before their children"
        );
        for session in &sessions {
            assert!(
                session.node < nodes && session.most >= 0,
                "a session takes power at a node"
            );
            assert!(
                session.first_slot <= session.end_slot && session.end_slot <= slots,
                "a stay lies in the slots"
            );
        }

        let mut outside: Vec<u32> = (0..sessions.len() as u32).collect();
        outside.sort_by_key(|session| sessions[*session as usize].node);
        let mut inside = vec![0; sessions.len()];
        for (index, session) in outside.iter().enumerate() {
            inside[*session as usize] = index as u32;
        }
        let sessions: Vec<Session> = outside.iter().map(|session| sessions[*session as usize]).collect();
        let mut first_cell = vec![0];
        for session in &sessions {
            first_cell.push(first_cell[first_cell.len() - 1] + (session.end_slot - session.first_slot) as u32);
        }
        let below_root: Vec<u32> = (1..nodes as u32).collect();
        let (first_child, children) = group(nodes, &below_root, |node| parents[node as usize].unwrap_or_default());
        let numbers: Vec<u32> = (0..sessions.len() as u32).collect();
        let (first_session, _) = group(nodes, &numbers, |session| sessions[session as usize].node);
        Self {
            slots,
            words: slots.div_ceil(64),
            lengths,
            parents: parents
                .iter()
                .map(|parent| parent.map(|parent| parent as u32))
                .collect(),
            children,
            first_child,
            sessions,
            first_session,
            first_cell,
            inside,
        }
    }

    pub fn slots(&self) -> usize {
        self.slots
    }

    pub fn nodes(&self) -> usize {
        self.parents.len()
    }

    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn children(&self, node: usize) -> &[u32] {
        &self.children[self.first_child[node] as usize..self.first_child[node + 1] as usize]
    }

    pub(super) fn sessions_at(&self, node: usize) -> Range<usize> {
        self.first_session[node] as usize..self.first_session[node + 1] as usize
    }

    pub(super) fn cells(&self) -> usize {
        self.first_cell[self.sessions.len()] as usize
    }

    pub(super) fn cells_of(&self, session: usize) -> Range<usize> {
        self.first_cell[session] as usize..self.first_cell[session + 1] as usize
    }

    /// The cell of `session` in `slot` of its stay.
    pub(super) fn cell(&self, session: usize, slot: usize) -> usize {
        self.first_cell[session] as usize + slot - self.sessions[session].first_slot
    }

    /// The most that `session` takes in `slot`.
    pub(super) fn most(&self, session: usize, slot: usize) -> i32 {
        self.sessions[session].most * self.lengths[slot]
    }
}

/// `items` by the node each belongs to: where a node's items begin, and the items.
fn group(nodes: usize, items: &[u32], node_of: impl Fn(u32) -> usize) -> (Vec<u32>, Vec<u32>) {
    let mut first = vec![0; nodes + 1];
    for item in items {
        first[node_of(*item) + 1] += 1;
    }
    for node in 0..nodes {
        first[node + 1] += first[node];
    }
    let mut next = first.clone();
    let mut grouped = vec![0; items.len()];
    for item in items {
        let at = &mut next[node_of(*item)];
        grouped[*at as usize] = *item;
        *at += 1;
    }
    (first, grouped)
}
