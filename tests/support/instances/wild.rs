//! Instances of no particular shape: any tree, limits of zero and below, nothing asked for, a single slot, stays without a slot, prices below zero.
//!
//! Decides nothing but that they are valid. What works at every real site may still trip over one of these.

use super::random::Random;
use super::{Instance, Limit, Node, Session, Unit};

/// How large a wild instance may be.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub sessions: usize,
    pub slots: usize,
    pub nodes: usize,
    /// The highest rate.
    pub most: i64,
}

pub fn generate(unit: Unit, size: Size, seed: u64) -> Instance {
    let mut random = Random::new(seed);
    let random = &mut random;
    let slots = often_all(size.slots, random).max(1);
    let nodes = 1 + random.below(size.nodes);
    let sessions = often_all(size.sessions, random);
    // From a limit that nearly always binds to one that hardly ever does.
    let highest_limit = size.most * (1 + random.below(1 + sessions) as i64);
    let asks_much = random.chance(30);
    let has_plateaus = random.chance(50);
    Instance {
        name: format!("wild_{seed}"),
        unit,
        parts: 1,
        slot_seconds: 900,
        lengths: vec![1; slots],
        prices: (0..slots).map(|_| price(has_plateaus, random)).collect(),
        demand_charge: random.between(0, 3) * 400_000,
        penalty: 10_000_000,
        nodes: (0..nodes)
            .map(|node| Node {
                parent: (node > 0).then(|| random.below(node)),
                limits: (0..unit.lines()).map(|_| limit(highest_limit, slots, random)).collect(),
            })
            .collect(),
        sessions: (0..sessions)
            .map(|_| session(unit, &size, (nodes, slots), asks_much, random))
            .collect(),
    }
}

/// `most` in half of all cases, else anything from zero.
fn often_all(most: usize, random: &mut Random) -> usize {
    match random.chance(50) {
        true => most,
        false => random.below(most + 1),
    }
}

fn price(has_plateaus: bool, random: &mut Random) -> i64 {
    match has_plateaus {
        true => random.between(-1, 3) * 100_000,
        false => random.between(-50_000, 400_000),
    }
}

fn limit(highest: i64, slots: usize, random: &mut Random) -> Limit {
    let mut one = |_: usize| match random.chance(10) {
        true => random.between(-highest / 4, 0),
        false => random.between(0, highest),
    };
    match one(0).rem_euclid(2) {
        0 => Limit::Always(one(0)),
        _ => Limit::BySlot((0..slots).map(one).collect()),
    }
}

fn session(unit: Unit, size: &Size, end: (usize, usize), asks_much: bool, random: &mut Random) -> Session {
    let (nodes, slots) = end;
    let arrival = random.below(slots);
    let most = random.between(0, size.most);
    let departure = arrival + often_all(slots - arrival, random);
    let possible = most * (departure - arrival) as i64;
    Session {
        node: random.below(nodes),
        arrival,
        departure,
        lines: match unit {
            Unit::Watt => vec![0],
            Unit::MilliampPerPhase { .. } if random.chance(40) => vec![0, 1, 2],
            Unit::MilliampPerPhase { .. } => vec![random.below(3)],
        },
        most,
        least: most / 3,
        energy: match random.chance(10) {
            true => 0,
            false if asks_much => random.between(0, 2 * possible),
            false => random.between(0, possible),
        },
    }
}
