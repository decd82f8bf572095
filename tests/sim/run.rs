//! Many worlds at once, the failing one made as small as can be, and the line that plays it again.
//!
//! Decides which worlds are played. No two threads share a world.

use super::faults::{Counts, Kind};
use super::world::{Recipe, Score, World};
use crate::rollout::WrongRule;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads that play worlds.
const THREADS: usize = 2;
/// After so many failing worlds it is clear enough.
const ENOUGH_FAILURES: usize = 20;

/// A world that was played to its end.
pub struct Played {
    pub faults: Counts,
    pub score: Score,
    pub broken: Option<String>,
    /// What two plays of one seed must have in common.
    pub trace: String,
    /// What the world was at its end.
    pub picture: String,
}

pub fn play(recipe: Recipe) -> Played {
    let mut world = World::new(recipe);
    // The roll-out checks its own output, and panics where it would break its promise.
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    if let Err(panic) = ran {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.break_promise(format!("panicked: {}", text.unwrap_or_default()));
    }
    Played {
        picture: if world.broken.is_some() {
            world.describe()
        } else {
            String::new()
        },
        trace: format!("{:?} {:?}", world.score, world.faults.counts),
        faults: world.faults.counts,
        score: world.score,
        broken: world.broken,
    }
}

/// What many worlds came to.
#[derive(Default)]
pub struct Total {
    pub worlds: u64,
    pub faults: Counts,
    pub score: Score,
    converged: Vec<i64>,
    /// The failing worlds, and why they failed.
    pub failed: Vec<(Recipe, String)>,
}

impl Total {
    fn add(&mut self, recipe: Recipe, played: Played) {
        self.worlds += 1;
        self.faults.add(&played.faults);
        self.score.seconds += played.score.seconds;
        self.score.allowed += played.score.allowed;
        self.score.wanted += played.score.wanted;
        self.score.commands += played.score.commands;
        self.score.plans += played.score.plans;
        self.converged.extend(played.score.converged_after);
        self.failed.extend(played.broken.map(|why| (recipe, why)));
    }

    /// Seconds from the last fault until the plan was followed, of so many thousandths of the worlds.
    pub fn converged_after(&self, permille: usize) -> i64 {
        let mut sorted = self.converged.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get(last * permille / 1_000).copied().unwrap_or_default()
    }
}

/// Plays seeds from 1 on, on some threads; the outcome does not depend on them.
pub fn all_seeds(seeds: u64, recipe_of: &(dyn Fn(u64) -> Recipe + Sync)) -> Total {
    let total = Mutex::new(Total::default());
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    let recipe = recipe_of(seed);
                    let played = play(recipe);
                    let mut total = total.lock().unwrap();
                    total.add(recipe, played);
                    if total.failed.len() >= ENOUGH_FAILURES {
                        return;
                    }
                }
            });
        }
    });
    let mut total = total.into_inner().unwrap();
    total.failed.sort_by_key(|(recipe, _)| recipe.seed);
    total
}

/// The first seed with which the wrong rule shows.
pub fn first_caught(seeds: u64, rule: WrongRule) -> Option<u64> {
    (1..=seeds).find(|seed| {
        let recipe = Recipe {
            rule: Some(rule),
            ..Recipe::of(*seed)
        };
        play(recipe).broken.is_some()
    })
}

/// The smallest world that still fails: fewer kinds of faults, a shorter time, fewer EVSEs.
pub fn shrunk(recipe: Recipe, why: &str) -> (Recipe, String) {
    let mut least = (recipe, why.to_owned());
    let attempt = |least: &mut (Recipe, String), smaller: Recipe| {
        if let Some(why) = play(smaller).broken {
            *least = (smaller, why);
            return true;
        }
        false
    };
    loop {
        let before = format!("{:?}", least.0);
        for kind in Kind::ALL {
            if !least.0.without.has(*kind) {
                let smaller = Recipe {
                    without: least.0.without.with(*kind),
                    ..least.0
                };
                attempt(&mut least, smaller);
            }
        }
        for evses in 1..least.0.evses {
            let smaller = Recipe { evses, ..least.0 };
            if attempt(&mut least, smaller) {
                break;
            }
        }
        let mut step = least.0.seconds / 2;
        while step > 0 {
            let seconds = least.0.seconds - step;
            let smaller = Recipe { seconds, ..least.0 };
            if seconds < 1 || !attempt(&mut least, smaller) {
                step /= 2;
            }
        }
        if format!("{:?}", least.0) == before {
            return least;
        }
    }
}

/// How to play a world again.
pub fn line(recipe: &Recipe) -> String {
    let without = recipe.without.names();
    let mut line = format!("LADDPLAN_SIM_SEED={}", recipe.seed);
    if !without.is_empty() {
        line += &format!(" LADDPLAN_SIM_WITHOUT={}", without.join(","));
    }
    if recipe.evses != Recipe::EVSES {
        line += &format!(" LADDPLAN_SIM_EVSES={}", recipe.evses);
    }
    if recipe.seconds != Recipe::SECONDS {
        line += &format!(" LADDPLAN_SIM_SECONDS={}", recipe.seconds);
    }
    line + " cargo test --lib sim::"
}
