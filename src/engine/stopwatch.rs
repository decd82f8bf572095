//! How long things took, for people to read. Decides nothing: plans end by work budgets, not by this.

/// Time since it was started.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "elapsed time is measured in this file only; no decision depends on it"
    )]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Microseconds.
    pub fn micros(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Runs `work` and measures it, in microseconds.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let start = Stopwatch::start();
    let result = work();
    (result, start.micros())
}
