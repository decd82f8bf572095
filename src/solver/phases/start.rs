//! Where the search begins: exact flows of the conductors.
//!
//! Give each car that loads several conductors one copy on each and forget that the copies are equal. Prices depend on the slot alone,
//! so each conductor is then a flow of one commodity, which the flow core solves exactly. The places' prices in these flows are
//! multipliers within about 0.2 % of the best, and the mean of the copies is a first proposal. Limits on total power and cars that
//! load no conductor are left to the search. A demand charge is first laid on the slots whose load stands out above a guessed peak.
//! Multipliers are only proposals; [`bound`](super::bound) is what proves.

use super::bound::Multipliers;
use super::forest::{Branch, Forest, Share};
use super::layout::Layout;
use super::problem::{DemandCharge, Session, TOTAL};
use super::rows::{LANES, PEAK};
use crate::solver::flow::{Flow, Task};

/// The guessed peak has room for so many times what is wanted.
const ROOM: f64 = 1.7;

/// Where to begin, in the search's scale.
#[derive(Debug, Clone)]
pub(super) struct Start {
    /// By cell.
    pub amounts: Vec<f32>,
    /// By row.
    pub multipliers: Vec<f32>,
    /// The peak that is allowed; 0 without a demand charge.
    pub peak: i64,
    /// The highest power that the proposal would draw; 0 without a demand charge.
    pub highest_power: i64,
    /// For the bound on what must stay unserved: only rows between places that can and that cannot be served further.
    pub cut: Multipliers,
}

impl Start {
    /// Nothing charges and nothing has a price.
    pub fn idle(layout: &Layout) -> Start {
        Start {
            amounts: vec![0.0; layout.cell_count],
            multipliers: vec![0.0; layout.rows.capacity.len()],
            peak: layout.problem.least_peak(),
            highest_power: layout.problem.least_peak(),
            cut: Multipliers::from_money(layout, |_| 0.0),
        }
    }

    /// The solutions of the conductors' flows; idle if there are none or their sums do not fit the flow core's integers.
    pub fn from_flows(layout: &Layout) -> Start {
        let mut start = Start::idle(layout);
        let Some(money) = money_per_price(layout) else {
            return start;
        };
        let mut cut = vec![0.0; layout.rows.capacity.len()];
        for conductor in 0..TOTAL {
            start.add_flow(layout, conductor, money, &mut cut);
        }
        start.cut = Multipliers::from_money(layout, |row| cut[row]);
        if let Some(charge) = &layout.problem.demand_charge {
            start.lay_charge(layout, charge, money);
        }
        start
    }

    /// Solves one conductor's flow and adds what it says. `money` for one unit of load at a price of 1.
    fn add_flow(&mut self, layout: &Layout, conductor: usize, money: f64, cut: &mut [f64]) {
        let problem = layout.problem;
        let loads = |group: &usize| layout.groups[*group].coefficients[conductor] > 0;
        // Flow is counted in the least coefficient of the conductor, so that it is nearly the amount itself.
        let least = *layout.coefficients[conductor].start();
        let branch = Branch {
            loads: vec![(conductor, least)],
            groups: (0..layout.groups.len()).filter(loads).collect(),
        };
        let coefficient = |member: usize| layout.groups[layout.cells[member].group].coefficients[conductor];
        let share = |member: usize| Share {
            parts: coefficient(member),
            of: least,
        };
        let Some(forest) = Forest::new(layout, Vec::new(), vec![branch], share) else {
            return;
        };
        let capacities = forest.capacities(layout, |row| layout.rows.capacity[row]);
        let dearest = problem.prices.iter().copied().fold(1, i64::max);
        let worth = |session: &Session| (session.penalty + session.power.max(1) - 1) / session.power.max(1);
        let penalty = problem.sessions.iter().map(worth).fold(dearest, i64::max);
        let task = Task {
            capacities: &capacities,
            wanted: &forest.wanted,
            prices: &problem.prices,
            penalty,
        };
        let mut flow = Flow::new(&forest.network);
        flow.solve(&forest.network, &task);

        forest.for_each_row(layout, |row, node, slot| {
            let price = flow.capacity_price(&forest.network, &task, node, slot);
            self.multipliers[row] = (price as f64 * money / layout.scale.multiplier(conductor)) as f32;
            if price > 0 && flow.node_price(node, slot) == penalty {
                cut[row] = penalty as f64 * money;
            }
        });
        for (session, &member) in forest.positions.iter().enumerate() {
            let cells = &layout.cells[member];
            let coefficients = &layout.groups[cells.group].coefficients[..TOTAL];
            let copies = coefficients.iter().filter(|coefficient| **coefficient > 0).count() as f64;
            let flow_per_amount = coefficient(member) as f64 / least as f64 / forest.grain as f64;
            let unit = layout.scale.amount * copies * flow_per_amount;
            for (amount, copy) in self.amounts[cells.offset..]
                .iter_mut()
                .zip(flow.amounts(&forest.network, session))
            {
                *amount += (f64::from(*copy) / unit) as f32;
            }
        }
    }

    /// Guesses the peak, and lays the charge on the slots whose load stands out above it.
    fn lay_charge(&mut self, layout: &Layout, charge: &DemandCharge, money: f64) {
        let problem = layout.problem;
        let power = self.power(layout, charge);
        let highest = power.iter().copied().fold(0.0, f64::max);
        let least = problem.least_peak() as f64;
        let peak = guessed_peak(layout, charge, money).min(highest).max(least);
        self.peak = peak as i64;
        self.highest_power = highest.max(least).ceil() as i64;
        let above: Vec<f64> = power.iter().map(|power| (power - 0.98 * peak).max(0.0)).collect();
        let weight: f64 = above
            .iter()
            .zip(&problem.lengths)
            .map(|(above, &length)| above * length as f64)
            .sum();
        let rows = layout.rows.peak.start * LANES..layout.rows.peak.end * LANES;
        for (row, above) in rows.zip(above) {
            let money = if weight > 0.0 {
                charge.price as f64 * above / weight
            } else {
                0.0
            };
            self.multipliers[row] = (money / layout.scale.multiplier(PEAK)) as f32;
        }
    }

    /// The site's power in each slot, the base load included.
    fn power(&self, layout: &Layout, charge: &DemandCharge) -> Vec<f64> {
        let mut power: Vec<f64> = charge.base_load.iter().map(|&base| base as f64).collect();
        for cells in &layout.cells {
            let unit = layout.groups[cells.group].power as f64 * layout.scale.amount;
            let slots = cells.first_slot..cells.first_slot + cells.slots;
            for (slot, amount) in slots.zip(&self.amounts[cells.offset..]) {
                power[slot] += f64::from(*amount) * unit / layout.problem.lengths[slot] as f64;
            }
        }
        power
    }
}

/// The lowest peak under which the site's connection has [`ROOM`] times the room for what is wanted, by halving.
fn guessed_peak(layout: &Layout, charge: &DemandCharge, money: f64) -> f64 {
    let problem = layout.problem;
    let mut most = vec![0.0; problem.slots()];
    for conductor in 0..TOTAL {
        let limits = problem
            .limits
            .iter()
            .filter(|limit| limit.node == 0 && limit.kind == conductor);
        for (slot, most) in most.iter_mut().enumerate() {
            let least = limits.clone().map(|limit| limit.by_slot[slot]).min();
            *most += least.map_or(f64::INFINITY, |limit| limit as f64 * money);
        }
    }
    let wanted: f64 = problem
        .sessions
        .iter()
        .map(|session| session.wanted as f64 * session.power as f64)
        .sum();
    let room = |peak: f64| -> f64 {
        let slots = most.iter().zip(&charge.base_load).zip(&problem.lengths);
        slots
            .map(|((most, &base), &length)| (peak - base as f64).clamp(0.0, most.max(0.0)) * length as f64)
            .sum()
    };
    let highest_base = charge.base_load.iter().copied().fold(0, i64::max) as f64;
    let (mut low, mut high) = (0.0, highest_base + ROOM * wanted);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if room(middle) < ROOM * wanted {
            low = middle
        } else {
            high = middle
        }
    }
    high
}

/// Money for one unit of load at a price of 1: the mean power behind a unit of load on the conductors.
fn money_per_price(layout: &Layout) -> Option<f64> {
    let mut sums = (0.0, 0.0);
    for group in &layout.groups {
        let load: i64 = group.coefficients[..TOTAL].iter().sum();
        if load > 0 {
            sums.0 += group.members.len() as f64 * group.power as f64;
            sums.1 += group.members.len() as f64 * load as f64;
        }
    }
    (sums.0 > 0.0).then(|| sums.0 / sums.1)
}

#[cfg(test)]
mod tests {
    use super::super::bound::Objective;
    use super::super::testing::{Shape, linear_optimum, random};
    use super::*;

    fn bound(problem: &super::super::Problem) -> f64 {
        let layout = Layout::new(problem);
        let start = Start::from_flows(&layout);
        Multipliers::from_search(&layout, &start.multipliers).bound(&layout, Objective::All) as f64
    }

    #[test]
    fn on_one_conductor_the_first_bound_is_the_optimum() {
        for seed in 0..60 {
            let mut problem = random(seed, Shape::Classical, false);
            problem.sessions.retain(|session| session.line == [0, 1, 0]);
            let optimum = linear_optimum(&problem);
            let bound = bound(&problem);
            assert!(
                (bound - optimum).abs() <= 1e-5 * optimum.abs() + 10.0,
                "seed {seed}: {bound}, optimum {optimum}"
            );
        }
    }

    #[test]
    fn mixed_phases_begin_near_the_optimum() {
        let (mut near, count) = (0, 100);
        for seed in 0..count {
            let problem = random(seed, Shape::Classical, false);
            let optimum = linear_optimum(&problem);
            near += usize::from(bound(&problem) >= 0.95 * optimum);
        }
        assert!(near >= 70, "only {near} of {count}");
    }

    #[test]
    fn without_conductors_nothing_is_known() {
        let mut problem = random(1, Shape::Classical, true);
        problem.sessions.iter_mut().for_each(|session| session.line = [0; 3]);
        let start = Start::from_flows(&Layout::new(&problem));
        assert!(start.multipliers.iter().all(|&multiplier| multiplier == 0.0));
        assert_eq!(start.peak, problem.least_peak());
    }
}
