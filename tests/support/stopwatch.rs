//! How long this process computed: processor time where the system tells it, which others on the machine do not lengthen.
#![allow(dead_code, reason = "each bench and example uses its part of it")]

pub struct Stopwatch(f64);

impl Stopwatch {
    pub fn start() -> Self {
        Self(now())
    }

    pub fn seconds(&self) -> f64 {
        now() - self.0
    }
}

#[cfg(unix)]
fn now() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(not(unix))]
#[expect(clippy::disallowed_methods, reason = "a stopwatch that decides nothing")]
fn now() -> f64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    BEGIN.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// The most memory this process had, where Linux tells it.
pub fn peak_rss_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
