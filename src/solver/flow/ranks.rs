//! Who gets the energy where there is not enough for all: what was promised, then rank by rank, within a rank by fair shares.
//!
//! Decides how much each session gets in all; when it gets it is left to [`Flow::solve`]. What sessions can get together is a
//! polymatroid, so serving the ranks one after the other, each as far as possible without taking from those before, gives each rank the
//! most that any plan can which gives no less to the ranks before it. And within a rank there is one division of the most energy
//! whose smallest share is largest, then the next smallest, and so on: the lexicographically optimal base (Fujishige 1980). It is found
//! by lowering a common share until it can be had by all (Newton's method on the tightest cut), which settles whoever is held back
//! by that cut; then the others go on.

use super::network::Network;
use super::{Flow, Task};

/// Shares are counted in this many parts of a need.
const WHOLE: i64 = 1_000_000_000;

/// How a rank divides what does not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// Whatever serves most.
    Any,
    /// The smallest share of a need as large as can be, then the next smallest, and so on.
    EqualShares,
}

/// A session's place in the order of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Lower ranks are served first.
    pub rank: u32,
    /// Served before all ranks; at most what is wanted.
    pub promised: i64,
}

/// What the sessions get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// By session.
    pub energy: Vec<i64>,
    /// Rounds of the search for equal shares.
    pub rounds: u32,
    /// The rounds that were allowed sufficed: shares are equal wherever they can be, to a unit of energy.
    pub is_fair: bool,
}

impl Flow {
    /// How much of what they want the sessions get, by `claims`. The flow is left as some plan that gives it to them.
    pub fn share(
        &mut self,
        network: &Network,
        task: &Task,
        claims: &[Claim],
        division: Division,
        most_rounds: u32,
    ) -> Shares {
        assert_eq!(claims.len(), network.sessions(), "a claim for each session");
        self.solve(network, task);
        let mut shares = Shares {
            energy: Vec::new(),
            rounds: 0,
            is_fair: true,
        };
        if self.unserved_in_all() > 0 {
            let mut sharing = Sharing {
                network,
                task,
                flow: self,
                wanted: inside(network, |session| task.wanted[session].max(0)),
                most_rounds,
                shares: &mut shares,
            };
            sharing.serve_all(claims, division);
        }
        shares.energy = (0..network.sessions())
            .map(|session| task.wanted[session].max(0) - self.unserved(network, session))
            .collect();
        shares
    }
}

/// Values of sessions, in the order of the network.
fn inside<T: Copy + Default>(network: &Network, of: impl Fn(usize) -> T) -> Vec<T> {
    let mut values = vec![T::default(); network.sessions()];
    for (outside, inside) in network.inside.iter().enumerate() {
        values[*inside as usize] = of(outside);
    }
    values
}

/// All by session in the order of the network.
struct Sharing<'a> {
    network: &'a Network,
    task: &'a Task<'a>,
    flow: &'a mut Flow,
    wanted: Vec<i64>,
    most_rounds: u32,
    shares: &'a mut Shares,
}

impl Sharing<'_> {
    fn serve_all(&mut self, claims: &[Claim], division: Division) {
        let rank = inside(self.network, |session| claims[session].rank);
        let promised = inside(self.network, |session| {
            claims[session].promised.clamp(0, self.task.wanted[session].max(0))
        });
        let nothing = vec![0; self.network.sessions()];
        self.flow.begin(
            self.network,
            &Task {
                wanted: &nothing,
                ..*self.task
            },
        );
        let mut order: Vec<usize> = (0..self.network.sessions()).collect();
        order.sort_by_key(|session| rank[*session]);
        let wanted = self.wanted.clone();
        let mut has = nothing;
        for goal in [&promised, &wanted] {
            for members in order.chunk_by(|a, b| rank[*a] == rank[*b]) {
                has = self.serve(members, goal, has, division);
            }
        }
        for ((unserved, wanted), has) in self.flow.unserved.iter_mut().zip(&wanted).zip(&has) {
            *unserved = wanted - has;
        }
    }

    /// Serves `members`, who have `has`, up to `goal`; tells what all have then.
    fn serve(&mut self, members: &[usize], goal: &[i64], has: Vec<i64>, division: Division) -> Vec<i64> {
        let before = self.flow.clone();
        let after = self.raise(&has, members, |member| goal[member]);
        let is_enough = members.iter().all(|member| after[*member] >= goal[*member]);
        if is_enough || division == Division::Any || members.len() < 2 {
            return after;
        }
        let fair = self.equal_shares(&before, members, goal, &has);
        *self.flow = before;
        let level = self.raise(&has, members, |member| fair[member]);
        // A unit here or there is left over.
        self.raise(&level, members, |member| goal[member])
    }

    /// Raises `members` to `to` from what all of them have, as far as can be; tells what all have then.
    fn raise(&mut self, has: &[i64], members: &[usize], to: impl Fn(usize) -> i64) -> Vec<i64> {
        let mut more = vec![0; has.len()];
        for member in members {
            more[*member] = (to(*member) - has[*member]).max(0);
        }
        self.flow.unserved.fill(0);
        self.flow.serve(self.network, self.task, &more);
        (has.iter().zip(&more).zip(&self.flow.unserved))
            .map(|((has, more), unserved)| has + more - unserved)
            .collect()
    }

    /// Up to which energy each of `members` is served so that their shares are as equal as can be.
    fn equal_shares(&mut self, before: &Flow, members: &[usize], goal: &[i64], has: &[i64]) -> Vec<i64> {
        let mut level = has.to_vec();
        let mut open = members.to_vec();
        while !open.is_empty() {
            let mut share = WHOLE;
            let mut held_back: Vec<usize> = Vec::new();
            loop {
                for member in &open {
                    level[*member] = at_share(goal[*member], share).max(has[*member]);
                }
                if self.shares.rounds >= self.most_rounds {
                    self.shares.is_fair = false;
                    return level;
                }
                self.shares.rounds += 1;
                self.flow.clone_from(before);
                let got = self.raise(has, members, |member| level[member]);
                if members.iter().all(|member| got[*member] >= level[*member]) {
                    break;
                }
                // Whoever cannot reach a slot with room shares what the full ones have.
                let held = |member: &usize| self.flow.prices.by_session[*member] == self.task.penalty;
                let room: i128 = members
                    .iter()
                    .filter(|member| held(member))
                    .map(|member| i128::from(got[*member]))
                    .sum();
                let settled: i128 = (members.iter().filter(|member| held(member) && !open.contains(member)))
                    .map(|member| i128::from(level[*member]))
                    .sum();
                held_back = open.iter().copied().filter(|member| held(member)).collect();
                share = greatest_share(share, room - settled, &held_back, goal, has);
            }
            if share == WHOLE {
                break;
            }
            open.retain(|member| !held_back.contains(member));
        }
        level
    }
}

fn at_share(goal: i64, share: i64) -> i64 {
    (i128::from(goal) * i128::from(share) / i128::from(WHOLE)) as i64
}

/// The greatest share below `share` at which `members` take no more than `room` together.
fn greatest_share(share: i64, room: i128, members: &[usize], goal: &[i64], has: &[i64]) -> i64 {
    let takes = |share: i64| -> i128 {
        let each = members
            .iter()
            .map(|member| at_share(goal[*member], share).max(has[*member]));
        each.map(i128::from).sum()
    };
    let (mut enough, mut too_much) = (0, share);
    while too_much - enough > 1 {
        let middle = enough + (too_much - enough) / 2;
        if takes(middle) <= room {
            enough = middle;
        } else {
            too_much = middle;
        }
    }
    enough
}
