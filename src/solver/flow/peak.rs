//! A charge on the highest load: how high the load may go.
//!
//! Decides the allowed peak. With the root's capacity cut to a peak `P`, the least cost is a convex, piecewise linear function of `P`, and
//! what the root's capacity is worth in each slot gives a line below that function everywhere, not only at the `P` that was solved
//! (Kelley 1960). The lowest point of all lines is the next `P` to try, and its height a bound for every plan. When the best plan
//! meets the bound, it is optimal.

use super::network::Network;
use super::{Flow, Task};

/// The first step from the guess goes at most this part of it.
const FIRST_STEP_PART: i64 = 8;

/// What a new peak costs.
#[derive(Clone, Copy, Debug)]
pub struct PeakCharge<'a> {
    /// Of one unit of power above `so_far`; not negative.
    pub price: i64,
    /// The peak that is paid for already.
    pub so_far: i64,
    /// What the rest of the site draws, by slot.
    pub base: &'a [i64],
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakBudget {
    /// At most so many solves; at least one is made.
    pub solves: u32,
    /// Stop where value and bound differ by at most this many millionths.
    pub gap_millionths: u32,
}

/// What was found; the flow is the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakOutcome {
    /// The load that was allowed.
    pub allowed: i64,
    /// What the plan costs, with what it adds to the charge.
    pub value: i128,
    /// No plan costs less.
    pub bound: i128,
    pub solves: u32,
}

/// A line below the least cost: what was paid beside the root, less what the root's capacity is worth.
struct Cut {
    beside: i128,
    /// Slots in which the root's capacity is worth something, and how much.
    worth: Vec<(usize, i64)>,
}

impl Flow {
    /// Like [`Flow::solve`], with `charge` among the costs. A first `guess` saves solves if it is near.
    pub fn solve_with_peak(
        &mut self,
        network: &Network,
        task: &Task,
        charge: &PeakCharge,
        budget: PeakBudget,
        guess: Option<i64>,
    ) -> PeakOutcome {
        let root = Root::new(network, task, charge);
        let mut capacities = task.capacities.to_vec();
        let mut cuts: Vec<Cut> = Vec::new();
        let mut peak = guess.unwrap_or_else(|| root.guess(task)).clamp(root.least, root.most);
        let mut step = peak.abs() / FIRST_STEP_PART + 1;
        let mut best = PeakOutcome {
            allowed: peak,
            value: i128::MAX,
            bound: i128::MIN,
            solves: 0,
        };
        loop {
            self.solve_under(network, task, &root, peak, &mut capacities);
            best.solves += 1;
            let value = self.value(network, task) + root.charge(self.peak(network, &root));
            if value < best.value {
                (best.value, best.allowed) = (value, peak);
            }
            cuts.push(self.cut(network, task, &capacities));
            let (next, bound) = root.lowest(&cuts);
            best.bound = bound;
            let gap = (best.value - bound) * 1_000_000;
            let is_enough = gap <= best.value.abs() * i128::from(budget.gap_millionths);
            if is_enough || next == peak || best.solves >= budget.solves {
                break;
            }
            // A single line says in which direction to go, and little about how far.
            peak = next.clamp(peak - step, peak + step);
            if peak != next {
                step = step.saturating_mul(2);
            }
        }
        if peak != best.allowed {
            self.solve_under(network, task, &root, best.allowed, &mut capacities);
        }
        best
    }

    fn solve_under(&mut self, network: &Network, task: &Task, root: &Root, peak: i64, capacities: &mut [i32]) {
        for (slot, capacity) in capacities[..network.slots].iter_mut().enumerate() {
            *capacity = root.capacity(slot, peak) as i32;
        }
        self.solve(network, &Task { capacities, ..*task });
    }

    /// What the plan costs, without a charge on the peak.
    pub fn value(&self, network: &Network, task: &Task) -> i128 {
        let energy: i128 = (task.prices.iter().enumerate())
            .map(|(slot, price)| i128::from(*price) * i128::from(self.load(network, 0, slot)))
            .sum();
        energy + i128::from(task.penalty) * i128::from(self.unserved_in_all())
    }

    /// The highest load of the site, rounded up to a unit of power.
    fn peak(&self, network: &Network, root: &Root) -> i64 {
        let drawn = |slot: usize| {
            let length = i64::from(network.lengths[slot]);
            let load = i64::from(self.load(network, 0, slot));
            root.base[slot] + (load + length - 1).div_euclid(length)
        };
        (0..network.slots).map(drawn).max().unwrap_or(0).max(root.least)
    }

    fn cut(&self, network: &Network, task: &Task, capacities: &[i32]) -> Cut {
        let task = Task { capacities, ..*task };
        let worth = |slot: usize| Some((slot, self.capacity_price(network, &task, 0, slot)));
        Cut {
            beside: self.bound_without_root(network, &task),
            worth: (0..network.slots)
                .filter_map(worth)
                .filter(|(_, worth)| *worth > 0)
                .collect(),
        }
    }
}

/// The grid connection: what it may carry under a peak.
struct Root<'a> {
    capacities: &'a [i32],
    lengths: &'a [i32],
    base: &'a [i64],
    charge: &'a PeakCharge<'a>,
    /// No lower peak makes sense, since so much is drawn or paid for anyway; no higher one gives room for more.
    least: i64,
    most: i64,
}

impl<'a> Root<'a> {
    fn new(network: &'a Network, task: &Task<'a>, charge: &'a PeakCharge<'a>) -> Self {
        assert_eq!(charge.base.len(), network.slots, "what the rest draws in each slot");
        let capacities = &task.capacities[..network.slots];
        let least = charge.base.iter().copied().max().unwrap_or(0).max(charge.so_far);
        let most = |(slot, capacity): (usize, &i32)| {
            let length = i64::from(network.lengths[slot]);
            charge.base[slot] + (i64::from((*capacity).max(0)) + length - 1).div_euclid(length)
        };
        Self {
            capacities,
            lengths: &network.lengths,
            base: charge.base,
            charge,
            least,
            most: capacities.iter().enumerate().map(most).max().unwrap_or(0).max(least),
        }
    }

    /// What is left in `slot` under `peak`, as energy.
    fn capacity(&self, slot: usize, peak: i64) -> i64 {
        let capacity = i64::from(self.capacities[slot].max(0));
        (peak - self.base[slot])
            .max(0)
            .saturating_mul(i64::from(self.lengths[slot]))
            .min(capacity)
    }

    fn charge(&self, peak: i64) -> i128 {
        i128::from(self.charge.price) * i128::from(peak - self.charge.so_far)
    }

    /// A peak under which the slots have room for half as much again as is wanted.
    fn guess(&self, task: &Task) -> i64 {
        let wanted: i128 = task.wanted.iter().map(|wanted| i128::from(*wanted)).sum();
        lowest_where(self.least, self.most, |peak| {
            let room: i128 = (0..self.capacities.len())
                .map(|slot| i128::from(self.capacity(slot, peak)))
                .sum();
            room * 10 >= wanted * 17
        })
    }

    /// The peak at which the highest of `cuts` is lowest, and its height there.
    fn lowest(&self, cuts: &[Cut]) -> (i64, i128) {
        let height = |peak: i64| {
            let heights = cuts.iter().map(|cut| {
                let worth: i128 = (cut.worth.iter())
                    .map(|(slot, worth)| i128::from(*worth) * i128::from(self.capacity(*slot, peak)))
                    .sum();
                cut.beside - worth
            });
            heights.max().unwrap_or(i128::MIN) + self.charge(peak)
        };
        let peak = lowest_where(self.least, self.most, |peak| height(peak) <= height(peak + 1));
        (peak, height(peak))
    }
}

/// The least number from `low` to `high` where `is_so` holds, which it does from somewhere on; `high` if nowhere.
fn lowest_where(mut low: i64, mut high: i64, is_so: impl Fn(i64) -> bool) -> i64 {
    while low < high {
        let middle = low + (high - low) / 2;
        if is_so(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
