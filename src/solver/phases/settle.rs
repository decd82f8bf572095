//! Each session by itself: its own energy from its dearer slots to its cheaper ones, wherever there is room.
//!
//! The search's proposal spreads energy over slots between which it has not yet decided, and scaling leaves room behind. One pass over
//! all sessions takes both back. Nobody loses energy and every limit is kept, so the plan can only become cheaper.

use super::draft::Draft;

/// One pass over all sessions.
pub(super) fn settle(draft: &mut Draft) {
    let mut order = Vec::new();
    for position in 0..draft.layout.cells.len() {
        let cells = &draft.layout.cells[position];
        order.clear();
        order.extend(cells.first_slot..cells.first_slot + cells.slots);
        let prices = &draft.layout.problem.prices;
        order.sort_unstable_by_key(|&slot| (prices[slot], slot));
        settle_session(draft, position, &order);
    }
}

/// `order`: the slots of the stay, the cheapest first.
fn settle_session(draft: &mut Draft, position: usize, order: &[usize]) {
    let prices = &draft.layout.problem.prices;
    let mut dear = order.len();
    for (cheap, &to) in order.iter().enumerate() {
        if draft.spare_rate(position, to) == 0 {
            continue;
        }
        // From the dearest slot downwards: what is not dearer stays where it is.
        let mut room = draft.room(position, to);
        while room > 0 {
            while dear > cheap + 1 && draft.amount(position, order[dear - 1]) == 0 {
                dear -= 1;
            }
            if dear <= cheap + 1 || prices[order[dear - 1]] <= prices[to] {
                break;
            }
            let from = order[dear - 1];
            let amount = room.min(draft.removable(position, from));
            if amount == 0 {
                break;
            }
            draft.shift(position, from, -amount);
            draft.shift(position, to, amount);
            room -= amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Layout;
    use super::super::reroute::serve_what_is_left;
    use super::super::testing::{Shape, keeps_all_limits, random};
    use super::*;

    #[test]
    fn nobody_loses_energy_and_nothing_becomes_dearer() {
        let mut cheaper = 0;
        for seed in 0..60 {
            let mut problem = random(seed, Shape::General, false);
            let layout = Layout::new(&problem);
            let mut draft = Draft::new(&layout);
            serve_what_is_left(&mut draft, &vec![1.0; layout.group_length], 1_000);
            let (before, left, plan) = (draft.value(), draft.left.clone(), draft.plan());
            // The same plan when the prices have turned round.
            problem.prices.reverse();
            let layout = Layout::new(&problem);
            let mut draft = Draft::new(&layout);
            for (position, cells) in layout.cells.iter().enumerate() {
                draft.replace(position, plan.of(cells.session).iter().copied());
            }
            draft.sum_loads(|_| true);
            let turned = draft.value();
            settle(&mut draft);
            let after = draft.value();
            assert!(
                after.cost <= turned.cost && after.unserved == before.unserved,
                "seed {seed}"
            );
            assert_eq!(draft.left, left, "seed {seed}");
            assert!(keeps_all_limits(&problem, &draft.plan()), "seed {seed}");
            cheaper += usize::from(after.cost < turned.cost);
        }
        assert!(cheaper > 20, "only {cheaper} became cheaper");
    }
}
