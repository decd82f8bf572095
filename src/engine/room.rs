//! What is left at each place of a site for EVSEs: the limit in force less the base-load bound and the reserve.
//!
//! Decides the capacity that planner, verify and roll-out share. Pure.
//!
//! The base load takes nothing of an unbalance limit: its own unbalance is not ours to make good, and what charging adds to it is
//! what the limit is for. So no base load leaves less than nothing there. Between two lines, for a transformer's primary, it counts
//! with its current in both.

use crate::calendar::{self, Zone};
use crate::domain::limits::{Capacity, FixedLimits, GridLimit, NodeLimit};
use crate::domain::site::Site;
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, Watts};

/// One timeline per place of the site: what all EVSEs below it may draw together. Negative where the rest takes more.
pub fn available(
    site: &Site,
    zone: &Zone,
    limits: &[GridLimit],
    from: Instant,
    until: Instant,
) -> Vec<Timeline<Capacity>> {
    let base_loads = base_loads(site);
    calendar::node_limits(site, zone, limits, from, until)
        .iter()
        .enumerate()
        .map(|(place, limit)| {
            let reserve_permille = if place == 0 {
                i64::from(site.spec().reserve_permille)
            } else {
                0
            };
            let fixed = &site.places()[place].fixed;
            limit.map(|limit| less(*limit, fixed, base_loads[place], reserve_permille))
        })
        .collect()
}

/// The most that everything but charging may draw at and below each place.
fn base_loads(site: &Site) -> Vec<(DeciAmps, Watts)> {
    let places = site.places();
    let mut sums: Vec<(DeciAmps, Watts)> = places
        .iter()
        .map(|place| (place.base_load_line, place.base_load_total))
        .collect();
    // Parents come before children, so a child's sum is whole before it is added.
    for place in (1..places.len()).rev() {
        let (line, total) = sums[place];
        let parent = places[place].parent.expect("only the first place has no parent");
        sums[parent].0 += line;
        sums[parent].1 += total;
    }
    sums
}

fn less(
    limit: NodeLimit,
    fixed: &FixedLimits,
    (base_line, base_total): (DeciAmps, Watts),
    reserve_permille: i64,
) -> Capacity {
    let usable = |limit: i64| limit - (limit * reserve_permille + 999) / 1000;
    let current = |limit: DeciAmps| DeciAmps::from_deciamps(usable(limit.deciamps()));
    let built = Capacity::from(limit).with_fixed(fixed);
    Capacity {
        line: built.line.map(|line| line.map(|limit| current(limit) - base_line)),
        total: (built.total).map(|total| Watts::from_watts(usable(total.watts())) - base_total),
        unbalance: built.unbalance.map(|limits| limits.map(current)),
        difference: (built.difference).map(|limits| limits.map(|limit| current(limit) - base_line - base_line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limits::PrimaryLimit;

    #[test]
    fn the_base_load_takes_of_lines_and_primary_but_not_of_the_unbalance() {
        let deciamps = DeciAmps::from_deciamps;
        let limit = NodeLimit {
            line: Some(deciamps(1_000)),
            total: None,
        };
        let fixed = FixedLimits {
            unbalance: Some(deciamps(200)),
            primary: Some(PrimaryLimit {
                line: deciamps(300),
                turns_ratio_permille: 4_000,
            }),
        };
        let left = less(limit, &fixed, (deciamps(700), Watts::ZERO), 30);
        // 3 % of each are the reserve: 30, 6 and 36 dA.
        assert_eq!(left.line, [Some(deciamps(270)); 3]);
        assert_eq!(left.unbalance, Some([deciamps(194); 3]));
        assert_eq!(left.difference, Some([deciamps(1_164 - 1_400); 3]));
    }
}
