//! Who gets the energy where there is not enough for all: what was promised, then rank by rank, within a rank by fair shares.
//!
//! Decides how much each session gets in all; when it gets it is left to [`Flow::solve`]. What sessions can get together is a
//! polymatroid, so serving the ranks one after the other, each as far as possible without taking from those before, gives each rank the
//! most that any plan can which gives no less to the ranks before it. And within a rank there is one division of the most energy
//! whose smallest share is largest, then the next smallest, and so on: the lexicographically optimal base (Fujishige 1980). It is found
//! by decomposition (Groenevelt 1991): one share for all, and where that cannot be had, the tightest cut parts those it holds back from the
//! others, and each part is divided by itself.

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
    /// The smallest energy of those who lack some as large as can be, then the next smallest, and so on.
    EqualEnergy,
    /// One after the other, by [`Claim::order`].
    InOrder,
}

/// A session's place in the order of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Lower ranks are served first.
    pub rank: u32,
    /// Within the rank, where it is served in order.
    pub order: u32,
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
        let turn = inside(self.network, |session| claims[session].order);
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
        order.sort_by_key(|session| (rank[*session], turn[*session]));
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
        if division == Division::InOrder {
            *self.flow = before;
            return self.in_order(members, goal, has);
        }
        *self.flow = before;
        let room = members.iter().map(|member| i128::from(after[*member])).sum();
        let level = self.equal_shares(members, room, goal, has, division);
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

    /// Serves `members` one after the other up to `goal`: as many at once as can all be served, then the one who cannot.
    fn in_order(&mut self, mut members: &[usize], goal: &[i64], mut has: Vec<i64>) -> Vec<i64> {
        let mut at_once = members.len();
        while !members.is_empty() {
            if self.shares.rounds >= self.most_rounds {
                self.shares.is_fair = false;
                return self.raise(&has, members, |member| goal[member]);
            }
            self.shares.rounds += 1;
            at_once = at_once.clamp(1, members.len());
            let (now, later) = members.split_at(at_once);
            let before = self.flow.clone();
            let after = self.raise(&has, now, |member| goal[member]);
            if at_once > 1 && now.iter().any(|member| after[*member] < goal[*member]) {
                *self.flow = before;
                at_once /= 2;
                continue;
            }
            (members, has) = (later, after);
            at_once *= 2;
        }
        has
    }

    /// Serves `members`, who can get `room` together, so that their shares, or their energies, are as equal as can be; tells what all
    /// have then. Begins with one share for all. Whoever cannot have it is settled by himself, with what the tightest cut leaves him,
    /// and then the others, with the rest.
    fn equal_shares(
        &mut self,
        members: &[usize],
        room: i128,
        goal: &[i64],
        mut has: Vec<i64>,
        division: Division,
    ) -> Vec<i64> {
        let most = members.iter().map(|member| goal[*member]).max().unwrap_or(0);
        let at_share = |member: usize, share: i64, has: i64| {
            let whole = match division {
                Division::EqualEnergy => most,
                _ => goal[member],
            };
            let level = i128::from(whole) * i128::from(share) / i128::from(WHOLE);
            (level as i64).min(goal[member]).max(has)
        };
        let mut groups = vec![(members.to_vec(), room)];
        while let Some((members, room)) = groups.pop() {
            if self.shares.rounds >= self.most_rounds {
                self.shares.is_fair = false;
                return has;
            }
            self.shares.rounds += 1;
            let share = greatest_where(WHOLE + 1, |share| {
                let takes = members
                    .iter()
                    .map(|member| i128::from(at_share(*member, share, has[*member])));
                takes.sum::<i128>() <= room
            });
            let before = self.flow.clone();
            let got = self.raise(&has, &members, |member| at_share(member, share, has[member]));
            if members
                .iter()
                .all(|member| got[*member] >= at_share(*member, share, has[*member]))
            {
                has = got;
                continue;
            }
            // Whoever cannot reach a slot with room shares what the full ones have.
            let prices = &self.flow.prices.by_session;
            let (held, free): (Vec<usize>, Vec<usize>) =
                members.iter().partition(|member| prices[**member] == self.task.penalty);
            let left = held.iter().map(|member| i128::from(got[*member])).sum();
            *self.flow = before;
            groups.push((free, room - left));
            groups.push((held, left));
        }
        has
    }
}

/// The greatest number below `high` where `is_so` holds, which it does up to somewhere; zero if nowhere.
fn greatest_where(mut high: i64, is_so: impl Fn(i64) -> bool) -> i64 {
    let mut low = 0;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_so(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}
