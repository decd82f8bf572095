//! What is left at each place of a site for EVSEs: the limit in force less the base-load bound and the reserve.
//!
//! Decides the capacity that planner, verify and roll-out share. Pure.

use crate::calendar::{self, Zone};
use crate::domain::limits::{Capacity, GridLimit, NodeLimit};
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
            limit.map(|limit| less(*limit, base_loads[place], reserve_permille))
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

fn less(limit: NodeLimit, (base_line, base_total): (DeciAmps, Watts), reserve_permille: i64) -> Capacity {
    let usable = |limit: i64| limit - (limit * reserve_permille + 999) / 1000;
    Capacity {
        line: [limit
            .line
            .map(|line| DeciAmps::from_deciamps(usable(line.deciamps())) - base_line); 3],
        total: limit
            .total
            .map(|total| Watts::from_watts(usable(total.watts())) - base_total),
    }
}
