//! What the day came to: figures for a site manager, a page to print, and a file for machines.
//!
//! Decides which figures are shown and in which words. Computes nothing that [`super::tally`] did not count.

mod figures;
mod html;
mod json;
mod plot;
mod table;

use super::day::Day;
use super::tally::Figures;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A played day, with the same day under simpler rules.
#[derive(Clone, Debug)]
pub struct Report {
    pub day: Day,
    pub laddplan: Figures,
    pub equal_share: Figures,
    pub full_power: Figures,
    pub service: Service,
}

/// What the service did during the day, from its own journal.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Profiles whose ceiling differs from what was sent before.
    pub changes: u64,
    /// Same ceiling, new lease.
    pub renewals: u64,
    /// Sent again, because no answer came.
    pub retries: u64,
    /// Commands that a station did not follow: the car had left, or a newer one had overtaken it.
    pub rejected: u64,
    /// Real time each search took, ascending.
    pub solves: Vec<Duration>,
    /// Real time the whole day took to play.
    pub played_in: Duration,
    pub journal_entries: u64,
}

impl Service {
    /// The search time that `percent` of all searches stay within.
    pub fn solve_percentile(&self, percent: usize) -> Duration {
        let rank = (self.solves.len() * percent).div_ceil(100);
        self.solves.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Where a report was written.
#[derive(Clone, Debug)]
pub struct Written {
    pub html: PathBuf,
    pub json: PathBuf,
}

impl Report {
    /// The three ways of charging, with their names.
    fn ways(&self) -> [(&'static str, &Figures); 3] {
        [
            ("laddplan", &self.laddplan),
            ("equal share", &self.equal_share),
            ("full power", &self.full_power),
        ]
    }

    /// A table for a terminal.
    pub fn table(&self) -> String {
        table::text(self)
    }

    /// Writes `report.html` and `report.json` into `folder`.
    pub fn write(&self, folder: &Path) -> anyhow::Result<Written> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let written = Written {
            html: folder.join("report.html"),
            json: folder.join("report.json"),
        };
        let write = |path: &Path, text: String| {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write(&written.html, html::page(self))?;
        write(&written.json, json::text(self)?)?;
        Ok(written)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::simulate::baseline;

    /// A report whose first column is equal share, too.
    pub fn example() -> Report {
        let day = Day::carried().unwrap();
        let equal_share = baseline::equal_share(&day);
        Report {
            laddplan: equal_share.clone(),
            equal_share,
            full_power: baseline::full_power(&day),
            service: Service {
                changes: 12,
                renewals: 3456,
                solves: (1..=200).map(Duration::from_millis).collect(),
                ..Default::default()
            },
            day,
        }
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let service = example().service;
        assert_eq!(service.solve_percentile(50), Duration::from_millis(100));
        assert_eq!(service.solve_percentile(99), Duration::from_millis(198));
        assert_eq!(Service::default().solve_percentile(99), Duration::ZERO);
    }
}
