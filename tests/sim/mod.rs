//! The service in a world where everything goes wrong that can: its real core, roll-out, planner, check and store codec, on a
//! simulated clock, network, disk, and stations with cars.
//!
//! First faults happen, and nothing may be drawn that the site does not have; then they stop, and the plan must be followed
//! everywhere within three leases. Every world comes from one seed. A seed that fails is shrunk and printed with the line that plays
//! it again:
//!
//! ```text
//! LADDPLAN_SIM_SEED=17 LADDPLAN_SIM_WITHOUT=crash,cut LADDPLAN_SIM_EVSES=2 LADDPLAN_SIM_SECONDS=200 cargo test --lib sim::
//! LADDPLAN_SIM_SEEDS=200000 cargo test --lib sim::          # a longer run
//! ```
//!
//! It is part of the library's unit tests, so that it can follow the roll-out's wrong rules and see the core from inside.

mod backend;
mod dice;
mod disk;
mod faults;
mod network;
mod process;
mod real_day;
mod run;
mod station;
mod truth;
mod world;
mod yard;

use faults::{Kind, Kinds};
use run::{Total, all_seeds, first_caught, play, shrunk};
use world::Recipe;

use crate::rollout::WrongRule;

/// Worlds in a normal run.
const SEEDS: u64 = 2_000;
/// Faults that have to happen in as many.
const FAULTS: u64 = 500_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

/// The one world that the environment asks for.
fn asked_for() -> Option<Recipe> {
    Some(plain(number("LADDPLAN_SIM_SEED")?))
}

/// The world of a seed, with what the environment says of all.
fn plain(seed: u64) -> Recipe {
    let mut recipe = Recipe::of(seed);
    if let Ok(list) = std::env::var("LADDPLAN_SIM_WITHOUT") {
        recipe.without = recipe.without.and(Kinds::parse(&list));
    }
    if let Some(evses) = number("LADDPLAN_SIM_EVSES") {
        recipe.evses = evses as usize;
    }
    if let Some(seconds) = number("LADDPLAN_SIM_SECONDS") {
        recipe.seconds = seconds as i64;
    }
    recipe
}

fn report(total: &Total) {
    println!(
        "{} worlds, {} faults, {} h of site time, {} commands, {} plans",
        total.worlds,
        total.faults.sum(),
        total.score.seconds / 3_600,
        total.score.commands,
        total.score.plans,
    );
    println!(
        "utilisation under faults {} ‰ of what the plans wanted; followed {} s after the last fault at the median, {} s at the latest",
        total.score.allowed * 1_000 / total.score.wanted.max(1),
        total.converged_after(500),
        total.converged_after(1_000),
    );
    for kind in Kind::ALL {
        println!("{:>20} {}", kind.name(), total.faults.of(*kind));
    }
}

#[test]
fn nothing_that_goes_wrong_overloads_the_site_and_the_plan_is_followed_when_it_stops() {
    if let Some(recipe) = asked_for() {
        let played = play(recipe);
        println!("{:?}", played.score);
        if let Some(why) = played.broken {
            let (least, why_least) = shrunk(recipe, &why);
            println!("{}", play(Recipe { told: true, ..least }).picture);
            panic!("{why}\nshrunk: {why_least}\n{}", run::line(&least));
        }
        return;
    }
    let seeds = number("LADDPLAN_SIM_SEEDS").unwrap_or(SEEDS);
    let total = all_seeds(seeds, &plain);
    report(&total);
    for (recipe, why) in &total.failed {
        println!("seed {}: {why}", recipe.seed);
    }
    if let Some((recipe, why)) = total.failed.first() {
        let (least, why_least) = shrunk(*recipe, why);
        let count = total.failed.len();
        panic!(
            "{count} seeds failed; the first: {why}\nshrunk: {why_least}\n{}",
            run::line(&least)
        );
    }
    assert!(
        total.faults.sum() * SEEDS >= FAULTS * seeds,
        "too few faults to show what this says"
    );
    for kind in Kind::ALL {
        assert!(total.faults.of(*kind) > 0, "no {} happened", kind.name());
    }
}

/// Wrong rules that a world of the whole service must notice.
const CAUGHT_HERE: &[WrongRule] = &[
    WrongRule::OnlyTheNewest,
    WrongRule::DropOnAnyAcceptance,
    WrongRule::IgnoreDefaults,
    WrongRule::NoClockSkew,
    WrongRule::RejectedRetryCancels,
    WrongRule::ForgetTails,
];

#[test]
fn every_wrong_rule_is_noticed_within_a_normal_run() {
    if asked_for().is_some() {
        return;
    }
    let caught = CAUGHT_HERE.iter().map(|rule| (rule, first_caught(SEEDS, *rule)));
    let caught: Vec<_> = caught
        .inspect(|(rule, seed)| println!("{rule:?}: first noticed with seed {seed:?}"))
        .collect();
    let unnoticed: Vec<_> = caught.iter().filter(|(_, seed)| seed.is_none()).collect();
    assert!(unnoticed.is_empty(), "unnoticed in {SEEDS} worlds: {unnoticed:?}");
}

#[test]
fn the_same_seed_makes_the_same_world() {
    for seed in 1..=5 {
        let [one, other] = [play(Recipe::of(seed)), play(Recipe::of(seed))];
        assert_eq!((one.trace, one.broken), (other.trace, other.broken));
    }
}
