//! What holds whatever goes wrong, and that these tests would notice if it did not.

use super::world::{Faults, World};
use crate::rollout::may_follow::WrongRule;

const SEEDS: u64 = 2000;
const SECONDS: i64 = 900;

fn run(seed: u64, wrong: Option<WrongRule>) -> World {
    let mut world = World::new(seed, wrong);
    world.run(SECONDS);
    world
}

#[test]
fn nothing_that_goes_wrong_makes_us_overload_the_site() {
    let mut faults = Faults::default();
    let (mut sent, mut energy) = ([0; 3], 0);
    for seed in 1..=SEEDS {
        let world = run(seed, None);
        assert_eq!(world.overload, None, "seed {seed}");
        faults.add(&world.faults);
        energy += world.energy / 3600;
        for (all, more) in sent.iter_mut().zip(world.sent) {
            *all += more;
        }
    }
    println!(
        "{SEEDS} seeds of {SECONDS} s: {energy} Wh, {sent:?} changes, renewals, retries; {:?}",
        faults.named()
    );
    assert!(energy > 0, "a roll-out that gives nothing is safe and useless");
    for (name, count) in faults.named() {
        assert!(count > 0, "no {name} happened: the test shows less than it says");
    }
}

#[test]
fn every_wrong_rule_is_noticed() {
    for wrong in WrongRule::ALL {
        let caught = (1..=SEEDS).find(|seed| run(*seed, Some(wrong)).overload.is_some());
        println!("{wrong:?}: first noticed with seed {caught:?}");
        assert!(caught.is_some(), "{wrong:?} went unnoticed in {SEEDS} worlds");
    }
}
