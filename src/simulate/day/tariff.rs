//! What energy costs at the site: a price by the hour of the day, and a charge on the highest quarter-hour of the month.
//!
//! Decides nothing; restates a public price list.

use super::local_hour;
use crate::domain::timeline::Timeline;
use crate::units::MicrosPerKwh;
use anyhow::Context;
use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use serde::Deserialize;

/// Days with prices: the one that is played, and those that a plan made then looks into.
const DAYS: u64 = 4;

#[derive(Deserialize)]
pub struct Tariff {
    name: String,
    pub currency: String,
    season: String,
    demand_usd_per_kw_month: f64,
    start_hours: Vec<i64>,
    usd_per_kwh: Vec<f64>,
}

impl Tariff {
    pub fn read(json: &str) -> anyhow::Result<Self> {
        serde_json::from_str(json).context("tariff")
    }

    pub fn title(&self) -> String {
        format!("{} ({})", self.name, self.season)
    }

    pub fn demand_micros_per_kw(&self) -> i64 {
        micros(self.demand_usd_per_kw_month)
    }

    /// By local hour, from the start of `date` on.
    pub fn prices(&self, zone: Tz, date: NaiveDate) -> anyhow::Result<Timeline<MicrosPerKwh>> {
        let mut points = Vec::new();
        for day in 0..DAYS {
            let date = date
                .checked_add_days(Days::new(day))
                .context("the date has no next day")?;
            for (hour, usd) in self.start_hours.iter().zip(&self.usd_per_kwh) {
                points.push((
                    local_hour(zone, date, *hour)?,
                    MicrosPerKwh::from_micros_per_kwh(micros(*usd)),
                ));
            }
        }
        Ok(Timeline::from_points(points))
    }
}

fn micros(amount: f64) -> i64 {
    (amount * 1e6).round() as i64
}
