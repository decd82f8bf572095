//! How long a search took, for people to read. Decides nothing: plans end by work budgets, not by this.

/// Runs `work` and measures it, in microseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the only place where elapsed time is measured; no decision depends on it"
)]
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let start = std::time::Instant::now();
    let result = work();
    (result, u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX))
}
