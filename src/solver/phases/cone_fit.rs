//! Making a proposal fit under cones: all that balances each other shrinks alike, so that sums of phasors keep their direction.
//!
//! Where every phasor of a cone turns with the others by less than a right angle, less of any load is a shorter sum: such a cone shrinks
//! only what is below it. Where loads pull against each other, everyone below the topmost cone above them shrinks alike.

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

/// Multiplies the shares of everyone under a cone by what its cones need.
pub(super) fn shrink_to_cones(layout: &Layout, proposed: &[f64], shares: &mut [f64]) {
    let (problem, slots) = (layout.problem, layout.problem.slots());
    let present = count_present(layout);
    let factors = factors(layout, proposed, shares, &present);
    for_each_share(layout, shares, |group, slot, share| {
        let steady = group.cones.iter().filter(|&&cone| problem.cones[cone].is_monotone());
        *share *= steady.map(|cone| factors[cone * slots + slot]).fold(1.0, f64::min);
    });
    if problem.cones.iter().all(Cone::is_monotone) {
        return;
    }
    let factors = self::factors(layout, proposed, shares, &present);
    let mut least = vec![1.0_f64; problem.parents.len() * slots];
    for group in &layout.groups {
        let Some(top) = topmost(layout, group) else { continue };
        for &cone in group.cones.iter().filter(|&&cone| !problem.cones[cone].is_monotone()) {
            for (least, factor) in least[top * slots..][..slots].iter_mut().zip(&factors[cone * slots..]) {
                *least = least.min(*factor);
            }
        }
    }
    for_each_share(layout, shares, |group, slot, share| {
        *share *= topmost(layout, group).map_or(1.0, |top| least[top * slots + slot]);
    });
}

/// Calls `change(group, slot, share)` for the shares of all groups under cones.
fn for_each_share(layout: &Layout, shares: &mut [f64], mut change: impl FnMut(&Group, usize, &mut f64)) {
    for group in layout.groups.iter().filter(|group| !group.cones.is_empty()) {
        let row = &mut shares[group.offset..group.offset + group.columns * LANES];
        for (share, slot) in row.iter_mut().zip(group.first_slot..layout.problem.slots()) {
            change(group, slot, share);
        }
    }
}

/// The node of the topmost cone above a group: parents come before their children.
fn topmost(layout: &Layout, group: &Group) -> Option<usize> {
    group.cones.iter().map(|&cone| layout.problem.cones[cone].node).min()
}

/// By cone, then slot: what the loads under it must be multiplied by to be within it, rounding down included.
fn factors(layout: &Layout, proposed: &[f64], shares: &[f64], present: &[f64]) -> Vec<f64> {
    let slots = layout.problem.slots();
    let mut sums = vec![([0.0; 3], 0.0); layout.problem.cones.len() * slots];
    for group in &layout.groups {
        for &cone in &group.cones {
            let of_cone = &mut sums[cone * slots + group.first_slot..(cone + 1) * slots];
            for (at, (loads, rounding)) in (group.offset..group.offset + group.columns * LANES).zip(of_cone) {
                for (load, &coefficient) in loads.iter_mut().zip(&group.coefficients) {
                    *load += coefficient as f64 * proposed[at] * shares[at];
                    *rounding += coefficient as f64 * present[at];
                }
            }
        }
    }
    let factor = |(at, (loads, rounding)): (usize, ([f64; 3], f64))| {
        let (cone, slot) = (at / slots, at % slots);
        let phasors = &layout.phasors[cone];
        let along = |row: &[f64; 3]| row.iter().zip(&loads).map(|(entry, load)| entry * load).sum::<f64>();
        let longest = phasors.iter().flatten().map(|entry| entry.abs()).fold(0.0, f64::max);
        // A load that is rounded down may make the sum longer by as much.
        let limit = layout.problem.cones[cone].by_slot[slot].max(0) as f64 * layout.problem.lengths[slot] as f64
            - 1.5 * longest * rounding;
        let sum = along(&phasors[0]).hypot(along(&phasors[1]));
        if sum > limit { limit.max(0.0) / sum } else { 1.0 }
    };
    sums.into_iter().enumerate().map(factor).collect()
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

/// Nobody charges below the topmost cone where rounding left one exceeded: nothing at all is within every limit.
pub(super) fn clear_beyond_cones(draft: &mut Draft) {
    let (layout, problem) = (draft.layout, draft.layout.problem);
    let slots = problem.slots();
    let exceeded = |(index, cone): (usize, &Cone)| {
        let holds = |slot: usize| cone.holds(draft.cone_loads(index, slot), slot, problem.lengths[slot]);
        (0..slots).map(|slot| !holds(slot)).collect::<Vec<bool>>()
    };
    let exceeded: Vec<bool> = problem.cones.iter().enumerate().flat_map(exceeded).collect();
    if !exceeded.contains(&true) {
        return;
    }
    let mut is_beyond = vec![false; problem.parents.len() * slots];
    for group in &layout.groups {
        let Some(top) = topmost(layout, group) else { continue };
        for slot in 0..slots {
            is_beyond[top * slots + slot] |= group.cones.iter().any(|cone| exceeded[cone * slots + slot]);
        }
    }
    for (position, cells) in layout.cells.iter().enumerate() {
        let Some(top) = topmost(layout, &layout.groups[cells.group]) else {
            continue;
        };
        for slot in cells.first_slot..cells.first_slot + cells.slots {
            if is_beyond[top * slots + slot] {
                let amount = draft.amount(position, slot);
                draft.shift(position, slot, -amount);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fit::fit;
    use super::super::problem::{Problem, Session};
    use super::*;

    /// A car on each of two conductors at each of two nodes below the root, and cones at these nodes.
    fn problem(product: i64) -> Problem {
        let car = |node: usize, conductor: usize| {
            let mut line = [0; 3];
            line[conductor] = 1;
            Session {
                node,
                first_slot: 0,
                end_slot: 1,
                most: 1_000_000,
                wanted: 1_000_000,
                line,
                total: 0,
                uneven: [0; 3],
                power: 1,
                penalty: 1,
            }
        };
        let cone = |node: usize| Cone {
            node,
            squares: [1, 1, 0],
            products: [product, 0, 0],
            scale: 1,
            by_slot: vec![300_000],
        };
        Problem {
            lengths: vec![1],
            prices: vec![1],
            parents: vec![None, Some(0), Some(0)],
            sessions: vec![car(1, 0), car(1, 1), car(2, 0), car(2, 1)],
            cones: vec![cone(1), cone(2)],
            ..Problem::default()
        }
    }

    /// Amounts by session.
    fn fitted(problem: &Problem, proposed: [i64; 4]) -> Vec<i64> {
        let layout = Layout::new(problem);
        let mut proposal = vec![0.0; layout.cell_count];
        for cells in &layout.cells {
            proposal[cells.offset] = (proposed[cells.session] as f64 / layout.scale.amount) as f32;
        }
        let mut draft = Draft::new(&layout);
        fit(&mut draft, &proposal);
        let plan = draft.plan();
        (0..4).map(|session| plan.of(session)[0]).collect()
    }

    #[track_caller]
    fn assert_near(found: &[i64], expected: [i64; 4]) {
        let is_near = |(found, expected): (&i64, i64)| (found - expected).abs() <= 5;
        assert!(found.iter().zip(expected).all(is_near), "{found:?} is not {expected:?}");
    }

    #[test]
    fn what_pulls_against_each_other_shrinks_alike_and_nothing_else_does() {
        // 320 and 200 thousand make 280 thousand against each other, and so make 640 and 400 twice as much.
        let proposed = [640_000, 400_000, 320_000, 200_000];
        let shrunk = |amount: i64| amount * 300 / 560;
        assert_near(
            &fitted(&problem(-1), proposed),
            [shrunk(640_000), shrunk(400_000), 320_000, 200_000],
        );
    }

    #[test]
    fn where_loads_pull_together_a_cone_shrinks_only_what_is_below_it() {
        // The cone above both is wide enough.
        let mut problem = problem(1);
        problem.cones.push(Cone {
            node: 0,
            by_slot: vec![1_000_000],
            ..problem.cones[0].clone()
        });
        // 300 and 500 thousand make 700; 150 and 150 make 260.
        let found = fitted(&problem, [300_000, 500_000, 150_000, 150_000]);
        assert_near(&found, [300_000 * 3 / 7, 500_000 * 3 / 7, 150_000, 150_000]);
    }
}
