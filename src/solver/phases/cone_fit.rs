//! Making a proposal fit under cones: everyone in a slot shrinks alike, so that all sums of phasors keep their direction.

use super::cone::Cone;
use super::draft::Draft;
use super::layout::{Group, Layout};
use super::rows::LANES;

/// The proposal where nobody takes more than he may and wants.
pub(super) fn within_needs(layout: &Layout, proposal: &[f32]) -> Vec<f32> {
    let mut within = proposal.to_vec();
    for cells in &layout.cells {
        let session = &layout.problem.sessions[cells.session];
        let most = session.most as f64 / layout.scale.amount;
        let own = &mut within[cells.offset..cells.offset + cells.slots];
        for (amount, &length) in own.iter_mut().zip(&layout.problem.lengths[session.stay()]) {
            *amount = amount.clamp(0.0, (most * length as f64) as f32);
        }
        let sum: f32 = own.iter().sum();
        let wanted = (session.wanted as f64 / layout.scale.amount) as f32;
        if sum > wanted {
            own.iter_mut().for_each(|amount| *amount *= wanted / sum);
        }
    }
    within
}

/// Multiplies the shares of everyone under a cone by the slot's factor: the least that any cone needs.
pub(super) fn shrink_to_cones(layout: &Layout, proposed: &[f64], shares: &mut [f64]) {
    let problem = layout.problem;
    let present = count_present(layout);
    let in_slot = |slot: usize| {
        let factors = (0..problem.cones.len()).map(|cone| factor(layout, cone, slot, (proposed, shares), &present));
        factors.fold(1.0, f64::min)
    };
    let factors: Vec<f64> = (0..problem.slots()).map(in_slot).collect();
    for group in layout.groups.iter().filter(|group| !group.cones.is_empty()) {
        let row = &mut shares[group.offset..group.offset + group.columns * LANES];
        for (share, factor) in row.iter_mut().zip(&factors[group.first_slot..]) {
            *share *= factor;
        }
    }
}

/// What the loads under a cone must be multiplied by to be within it, rounding down included.
fn factor(layout: &Layout, index: usize, slot: usize, (proposed, shares): (&[f64], &[f64]), present: &[f64]) -> f64 {
    let (cone, length) = (&layout.problem.cones[index], layout.problem.lengths[slot]);
    let (mut loads, mut rounding) = ([0.0; 3], 0.0);
    let in_row = |group: &&Group| {
        let row = group.first_slot..group.first_slot + group.columns * LANES;
        group.cones.contains(&index) && row.contains(&slot)
    };
    for group in layout.groups.iter().filter(in_row) {
        let at = group.offset + slot - group.first_slot;
        for (load, &coefficient) in loads.iter_mut().zip(&group.coefficients) {
            *load += coefficient as f64 * proposed[at] * shares[at];
            rounding += coefficient as f64 * present[at];
        }
    }
    let phasors = cone.phasors();
    let along = |row: &[f64; 3]| row.iter().zip(&loads).map(|(entry, load)| entry * load).sum::<f64>();
    let longest = phasors.iter().flatten().map(|entry| entry.abs()).fold(0.0, f64::max);
    // A load that is rounded down may make the sum longer by as much.
    let limit = cone.by_slot[slot].max(0) as f64 * length as f64 - 1.5 * longest * rounding;
    let sum = along(&phasors[0]).hypot(along(&phasors[1]));
    if sum > limit { limit.max(0.0) / sum } else { 1.0 }
}

/// Sessions by slot of the groups' rows.
fn count_present(layout: &Layout) -> Vec<f64> {
    let mut present = vec![0.0; layout.group_length];
    for cells in &layout.cells {
        let group = &layout.groups[cells.group];
        let from = group.offset + cells.first_slot - group.first_slot;
        present[from..from + cells.slots]
            .iter_mut()
            .for_each(|count| *count += 1.0);
    }
    present
}

/// Nobody charges in a slot where rounding left a cone exceeded: nothing at all is within every limit.
pub(super) fn clear_beyond_cones(draft: &mut Draft) {
    let (layout, problem) = (draft.layout, draft.layout.problem);
    for slot in 0..problem.slots() {
        let exceeded =
            |(index, cone): (usize, &Cone)| !cone.holds(draft.cone_loads(index, slot), slot, problem.lengths[slot]);
        if problem.cones.iter().enumerate().any(exceeded) {
            for (position, cells) in layout.cells.iter().enumerate() {
                if (cells.first_slot..cells.first_slot + cells.slots).contains(&slot) {
                    let amount = draft.amount(position, slot);
                    draft.shift(position, slot, -amount);
                }
            }
        }
    }
}
