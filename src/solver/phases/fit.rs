//! From the search's proposal to an integer draft that keeps every limit: scale down what is too much, round down, trim the rest.

use std::borrow::Cow;

use super::cone_fit::{clear_beyond_cones, shrink_to_cones, within_needs};
use super::draft::Draft;
use super::layout::{Group, Layout};
use super::rows::{LANES, UNLIMITED};

/// Replaces a draft by the proposal, made to fit.
pub(super) fn fit(draft: &mut Draft, proposal: &[f32]) {
    let layout = draft.layout;
    // Cutting a session short in its last slots would disturb what balances under a cone.
    let proposal = match layout.problem.cones.is_empty() {
        true => Cow::Borrowed(proposal),
        false => Cow::Owned(within_needs(layout, proposal)),
    };
    let proposal = &proposal[..];
    let shares = shares(draft, proposal);
    for (position, cells) in layout.cells.iter().enumerate() {
        let session = &layout.problem.sessions[cells.session];
        let group = &layout.groups[cells.group];
        let from = group.offset + cells.first_slot - group.first_slot;
        let proposed = &proposal[cells.offset..cells.offset + cells.slots];
        let mut left = session.wanted;
        let amount = |((&amount, &share), &length): ((&f32, &f64), &i64)| {
            let scaled = (f64::from(amount) * layout.scale.amount * share) as i64;
            let amount = scaled.clamp(0, session.most * length).min(left);
            left -= amount;
            amount
        };
        let lengths = &layout.problem.lengths[session.stay()];
        draft.replace(position, proposed.iter().zip(&shares[from..]).zip(lengths).map(amount));
    }
    draft.sum_loads(|_| true);
    trim(draft);
    clear_beyond_cones(draft);
}

/// By slot of the groups' rows: the share of the proposal that every row can carry.
fn shares(draft: &Draft, proposal: &[f32]) -> Vec<f64> {
    let layout = draft.layout;
    let mut taken = vec![0.0; layout.group_length];
    for cells in &layout.cells {
        let group = &layout.groups[cells.group];
        let from = group.offset + cells.first_slot - group.first_slot;
        for (taken, amount) in taken[from..]
            .iter_mut()
            .zip(&proposal[cells.offset..cells.offset + cells.slots])
        {
            *taken += f64::from(*amount) * layout.scale.amount;
        }
    }
    let mut rows = row_loads(layout, &taken);
    for (index, chunk) in layout.rows.chunks.iter().enumerate().skip(1) {
        let (above, own) = rows.split_at_mut(index * LANES);
        for (lane, load) in own[..LANES].iter_mut().enumerate() {
            let capacity = draft.capacities[index * LANES + lane] as f64;
            let share = if *load > capacity { capacity / *load } else { 1.0 };
            *load = if chunk.parent > 0 {
                share.min(above[chunk.parent * LANES + lane])
            } else {
                share
            };
        }
    }
    let proposed = std::mem::replace(&mut taken, vec![1.0; layout.group_length]);
    for_each_crossing(layout, |at, row, _| taken[at] = f64::min(taken[at], rows[row]));
    if !layout.problem.cones.is_empty() {
        shrink_to_cones(layout, &proposed, &mut taken);
    }
    taken
}

fn row_loads(layout: &Layout, taken: &[f64]) -> Vec<f64> {
    let mut rows = vec![0.0; layout.rows.capacity.len()];
    for_each_crossing(layout, |at, row, coefficient| rows[row] += coefficient * taken[at]);
    for (index, chunk) in layout.rows.chunks.iter().enumerate().skip(1).rev() {
        let (above, own) = rows.split_at_mut(index * LANES);
        for (above, own) in above[chunk.parent * LANES..].iter_mut().zip(&own[..LANES]) {
            *above += own;
        }
    }
    rows
}

/// Calls `take(slot of the groups' rows, row, coefficient)` for each pair that meets.
fn for_each_crossing(layout: &Layout, mut take: impl FnMut(usize, usize, f64)) {
    let mut of_group = |group: &Group| {
        for column in 0..group.columns {
            for crossing in layout.crossed(group, column) {
                for lane in 0..LANES {
                    let at = group.offset + column * LANES + lane;
                    take(at, crossing.chunk * LANES + lane, crossing.coefficient as f64);
                }
            }
        }
    };
    layout.groups.iter().for_each(&mut of_group);
}

/// Takes away what rounding left above a limit, session by session.
fn trim(draft: &mut Draft) {
    let exceeded =
        |draft: &Draft, row: usize| draft.capacities[row] < UNLIMITED && draft.loads[row] > draft.capacities[row];
    if !(LANES..draft.loads.len()).any(|row| exceeded(draft, row)) {
        return;
    }
    for position in 0..draft.layout.cells.len() {
        let cells = draft.layout.cells[position];
        for slot in cells.first_slot..cells.first_slot + cells.slots {
            let mut less = 0;
            for (row, coefficient) in draft.rows_of(position, slot) {
                if exceeded(draft, row) {
                    less = less.max((draft.loads[row] - draft.capacities[row] + coefficient - 1) / coefficient);
                }
            }
            let amount = draft.amount(position, slot).min(less);
            if amount > 0 {
                draft.shift(position, slot, -amount);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Numbers, Shape, keeps_all_limits, random};
    use super::*;

    #[test]
    fn any_proposal_is_made_to_fit() {
        for seed in 0..60 {
            let problem = random(seed, Shape::General, true);
            let layout = Layout::new(&problem);
            let mut draft = Draft::new(&layout);
            draft.allow_peak(problem.least_peak() + 5_000);
            let mut numbers = Numbers::new(seed);
            let proposal: Vec<f32> = (0..layout.cell_count)
                .map(|_| numbers.between(-100, 1_000) as f32 / 500.0)
                .collect();
            fit(&mut draft, &proposal);
            assert!(keeps_all_limits(&problem, &draft.plan()), "seed {seed}");
            assert!(draft.value().peak <= problem.least_peak() + 5_000, "seed {seed}");
        }
    }

    #[test]
    fn a_proposal_that_fits_stays_but_for_rounding() {
        let problem = random(5, Shape::Classical, false);
        let layout = Layout::new(&problem);
        let mut draft = Draft::new(&layout);
        fit(&mut draft, &vec![0.3 / layout.scale.amount as f32; layout.cell_count]);
        assert!((0..layout.cells.len()).all(|position| draft.of(position).iter().all(|&amount| amount == 0)));
    }
}
