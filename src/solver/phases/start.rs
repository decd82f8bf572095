//! Where the search begins: one exact flow for each conductor.
//!
//! Give each car that loads several conductors one copy on each and forget that the copies are equal. Prices depend on the slot alone,
//! so each conductor is then a flow of one commodity, which the flow core solves exactly. The places' prices in those flows are
//! multipliers within about 0.2 % of the best, and the mean of the copies is a first proposal. Limits on total power and cars that
//! load no conductor are left to the search. Multipliers are only proposals; [`bound`](super::bound) is what proves.

use super::bound::Multipliers;
use super::forest::{Branch, Forest};
use super::layout::Layout;
use super::problem::TOTAL;
use crate::solver::flow::{Flow, Task};

/// Where to begin, in the search's scale.
#[derive(Debug, Clone)]
pub(super) struct Start {
    /// By cell.
    pub amounts: Vec<f32>,
    /// By row.
    pub multipliers: Vec<f32>,
    /// For the bound on what must stay unserved: only rows between places that can and that cannot be served further.
    pub cut: Multipliers,
}

impl Start {
    pub fn new(layout: &Layout) -> Start {
        let mut amounts = vec![0.0; layout.cell_count];
        let mut multipliers = vec![0.0; layout.rows.capacity.len()];
        let mut cut = vec![0.0; layout.rows.capacity.len()];
        for conductor in 0..TOTAL {
            flow_on(layout, conductor, &mut amounts, &mut multipliers, &mut cut);
        }
        let cut = Multipliers::from_money(layout, |row| cut[row]);
        Start { amounts, multipliers, cut }
    }

    /// The highest power of the proposal.
    pub fn peak(&self, layout: &Layout) -> i64 {
        let mut power = vec![0.0; layout.problem.slots()];
        for cells in &layout.cells {
            let unit = layout.groups[cells.group].power as f64 * layout.scale.amount;
            for (power, amount) in power[cells.first_slot..].iter_mut().zip(&self.amounts[cells.offset..][..cells.slots]) {
                *power += f64::from(*amount) * unit;
            }
        }
        let rates = power.iter().zip(&layout.problem.lengths).map(|(power, &length)| power / length as f64);
        let Some(charge) = &layout.problem.demand_charge else { return 0 };
        rates.zip(&charge.base_load).map(|(rate, &base)| rate as i64 + base).fold(0, i64::max)
    }
}

/// Solves one conductor's flow and adds what it says.
fn flow_on(layout: &Layout, conductor: usize, amounts: &mut [f32], multipliers: &mut [f32], cut: &mut [f64]) {
    let groups: Vec<usize> =
        (0..layout.groups.len()).filter(|&group| layout.groups[group].coefficients[conductor] > 0).collect();
    if groups.is_empty() {
        return;
    }
    let money = money_per_price(layout, &groups);
    let coefficient = |member: usize| layout.groups[layout.cells[member].group].coefficients[conductor];
    let branch = Branch { loads: vec![(conductor, 1)], groups };
    let Some(forest) = Forest::new(layout, Vec::new(), vec![branch], coefficient) else { return };
    let problem = layout.problem;
    let capacities = forest.capacities(layout, |row| layout.rows.capacity[row]);
    let dearest = problem.prices.iter().copied().fold(1, i64::max);
    let worth = |session: &super::problem::Session| session.penalty.div_euclid(session.power.max(1)) + 1;
    let penalty = problem.sessions.iter().map(worth).fold(dearest, i64::max);
    let task = Task { capacities: &capacities, wanted: &forest.wanted, prices: &problem.prices, penalty };
    let mut flow = Flow::new(&forest.network);
    flow.solve(&forest.network, &task);

    forest.for_each_row(layout, |row, node, slot| {
        let price = flow.capacity_price(&forest.network, &task, node, slot);
        multipliers[row] = (price as f64 * money / layout.scale.multiplier(conductor)) as f32;
        if price > 0 && flow.node_price(node, slot) == penalty {
            cut[row] = penalty as f64 * money;
        }
    });
    for (session, &member) in forest.positions.iter().enumerate() {
        let cells = &layout.cells[member];
        let group = &layout.groups[cells.group];
        let copies = group.coefficients[..TOTAL].iter().filter(|coefficient| **coefficient > 0).count() as f64;
        let unit = layout.scale.amount * copies * coefficient(member) as f64;
        for (amount, copy) in amounts[cells.offset..].iter_mut().zip(flow.amounts(&forest.network, session)) {
            *amount += (f64::from(*copy) / unit) as f32;
        }
    }
}

/// Money for one unit of load at a price of 1: the mean power behind a unit of load on the conductors.
fn money_per_price(layout: &Layout, groups: &[usize]) -> f64 {
    let mut sums = (0.0, 0.0);
    for &group in groups {
        let group = &layout.groups[group];
        let weight = group.members.len() as f64;
        sums.0 += weight * group.power as f64;
        sums.1 += weight * group.coefficients[..TOTAL].iter().sum::<i64>() as f64;
    }
    sums.0 / sums.1
}
