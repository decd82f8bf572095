//! How far the day has come: a bar on a terminal, else a line now and then.

use crate::simulate::day::Day;
use crate::units::{Instant, Seconds};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Where progress is printed rather than drawn, once in so much virtual time.
const PRINT_INTERVAL: Seconds = Seconds::from_hours(2);
const TEMPLATE: &str = "{msg} {wide_bar} {percent:>3} %  {elapsed} gone, {eta} to go";

pub struct Progress<'day> {
    day: &'day Day,
    bar: Option<ProgressBar>,
    printed: Instant,
}

impl<'day> Progress<'day> {
    pub fn new(day: &'day Day) -> Self {
        Self {
            day,
            bar: std::io::stderr().is_terminal().then(|| bar(day)),
            printed: day.start,
        }
    }

    pub fn show(&mut self, now: Instant) {
        let message = format!("playing {}", self.day.clock_time(now));
        if let Some(bar) = &self.bar {
            bar.set_position(seconds(now - self.day.start));
            bar.set_message(message);
        } else if now - self.printed >= PRINT_INTERVAL {
            self.printed = now;
            eprintln!("{message}");
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(day: &Day) -> ProgressBar {
    let bar = ProgressBar::new(seconds(day.end - day.start));
    bar.set_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn seconds(length: Seconds) -> u64 {
    u64::try_from(length.secs()).unwrap_or_default()
}
