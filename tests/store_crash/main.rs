//! The store under fire: processes killed at any moment, files damaged in any way, disks that are full, and what the service says of
//! what was lost.
//!
//! Whatever happens, what was acknowledged is there, or the store says that it is not, which file is at fault and what to do, and
//! keeps the files as it found them. `LADDPLAN_STORE_POINTS` sets how many points of each kind are tried, for a long run.

mod damage;
mod full_disk;
mod kill;
mod service;
mod written;

#[path = "../support/mod.rs"]
mod support;

/// How many points a test tries.
fn points(usual: usize) -> usize {
    let wanted = std::env::var("LADDPLAN_STORE_POINTS").ok();
    wanted.and_then(|points| points.parse().ok()).unwrap_or(usual)
}

/// Knuth's generator: any spread will do, as long as it is the same every time.
struct Dice(u64);

impl Dice {
    /// From 0 to `sides` - 1.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}
