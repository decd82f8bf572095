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
            let amount = room.min(draft.amount(position, from));
            draft.shift(position, from, -amount);
            draft.shift(position, to, amount);
            room -= amount;
        }
    }
}
