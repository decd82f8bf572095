//! The rows that table and page share: each figure, in words, for each way of charging.
//!
//! Decides how quantities are written for people.

use super::Report;
use crate::simulate::tally::{Figures, LimitPeriod};
use crate::units::{WattSeconds, Watts};

/// One figure, for each way of charging that it is about.
pub struct Row<const WAYS: usize> {
    pub label: String,
    pub cells: [String; WAYS],
    /// Belongs to the row before.
    pub detail: bool,
}

/// The comparison, row by row.
pub fn rows(report: &Report) -> Vec<Row<3>> {
    let possible: WattSeconds = report.day.sessions.iter().map(|session| session.energy).sum();
    let asked: WattSeconds = report.day.sessions.iter().filter_map(|session| session.requested).sum();
    let row = |label: String, cell: &dyn Fn(&Figures) -> String| Row {
        label,
        cells: report.ways().map(|(_, figures)| cell(figures)),
        detail: false,
    };
    let detail = |label: &str, cell: &dyn Fn(&Figures) -> String| Row {
        detail: true,
        ..row(label.to_owned(), cell)
    };
    let mut rows = vec![
        row("Energy delivered".to_owned(), &|figures| {
            kilowatt_hours(figures.energy())
        }),
        detail("of what the cars could take", &|figures| {
            share(figures.energy(), possible)
        }),
        detail("of what the drivers asked for", &|figures| {
            if asked == WattSeconds::ZERO {
                return "nobody said".to_owned();
            }
            share(figures.energy(), asked)
        }),
        detail("cars that got all they could take", &|figures| {
            format!("{} of {}", satisfied(report, figures), report.day.sessions.len())
        }),
        row(
            "Bill: energy of the day and power charge of the month".to_owned(),
            &|figures| money(figures.bill_micros()),
        ),
        detail("energy", &|figures| money(figures.energy_cost_micros)),
        detail("power charge", &|figures| money(figures.demand_cost_micros)),
        detail("charged on the highest quarter-hour", &|figures| {
            kilowatts(figures.peak)
        }),
    ];
    for (index, period) in report.laddplan.periods.iter().enumerate() {
        rows.push(row(
            format!(
                "Highest load while {} is allowed, {}",
                kilowatts(period.limit),
                span(report, index)
            ),
            &|figures| figures.periods.get(index).map_or_else(String::new, highest),
        ));
    }
    rows.push(row(
        "Seconds until the unannounced cut was kept".to_owned(),
        &|figures| format!("{} s", figures.seconds_to_comply()),
    ));
    rows.push(row("Seconds above any limit otherwise".to_owned(), &|figures| {
        format!("{} s", thousands(figures.seconds_above()))
    }));
    rows
}

/// From when until when the period holds.
pub fn span(report: &Report, index: usize) -> String {
    let periods = &report.laddplan.periods;
    let clock = |at| report.day.clock_time(at);
    match (index, periods.get(index + 1)) {
        (_, None) if index == 0 => "all day".to_owned(),
        (0, Some(next)) => format!("until {}", clock(next.from)),
        (_, Some(next)) => format!("{} to {}", clock(periods[index].from), clock(next.from)),
        (_, None) => format!("from {}", clock(periods[index].from)),
    }
}

/// The service's own figures.
pub fn service_rows(report: &Report) -> Vec<Row<1>> {
    let service = &report.service;
    let milliseconds = |percent| format!("{:.1} ms", service.solve_percentile(percent).as_secs_f64() * 1000.0);
    let count = |count: u64| thousands(i64::try_from(count).unwrap_or(i64::MAX));
    let row = |label: &str, cell: String| Row {
        label: label.to_owned(),
        cells: [cell],
        detail: false,
    };
    let detail = |label: &str, cell: String| Row {
        detail: true,
        ..row(label, cell)
    };
    vec![
        row(
            "Profiles sent",
            count(service.changes + service.renewals + service.retries),
        ),
        detail("that changed a ceiling", count(service.changes)),
        detail("that renewed a lease", count(service.renewals)),
        detail("that repeated an unanswered one", count(service.retries)),
        detail(
            "not followed: car gone, or overtaken by a newer one",
            count(service.rejected),
        ),
        row("Plans made", count(service.solves.len() as u64)),
        detail("search time, median", milliseconds(50)),
        detail("search time, 99 of 100 within", milliseconds(99)),
        row("Journal entries", count(service.journal_entries)),
        row(
            "The day was played in",
            format!("{:.1} s", service.played_in.as_secs_f64()),
        ),
    ]
}

fn satisfied(report: &Report, figures: &Figures) -> usize {
    let sessions = report.day.sessions.iter().zip(&figures.delivered);
    sessions
        .filter(|(session, delivered)| **delivered >= session.energy)
        .count()
}

fn highest(period: &LimitPeriod) -> String {
    kilowatts(period.highest)
}

pub fn kilowatt_hours(energy: WattSeconds) -> String {
    let tenths = energy.floor_watt_hours() / 100;
    format!("{}.{} kWh", thousands(tenths / 10), tenths % 10)
}

pub fn kilowatts(power: Watts) -> String {
    // Rounded up: a load is never shown smaller than it is.
    let tenths = (power.watts() + 99).div_euclid(100);
    format!("{}.{} kW", thousands(tenths / 10), tenths % 10)
}

pub fn money(micros: i64) -> String {
    let cents = (micros + 5_000).div_euclid(10_000);
    format!("${}.{:02}", thousands(cents / 100), cents % 100)
}

fn share(part: WattSeconds, whole: WattSeconds) -> String {
    let permille = part.watt_seconds() * 1000 / whole.watt_seconds().max(1);
    format!("{}.{} %", permille / 10, permille % 10)
}

/// `1234567` as `1 234 567`.
pub fn thousands(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if index > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_people_read_them() {
        assert_eq!(thousands(1_234_567), "1 234 567");
        assert_eq!(thousands(-123_456), "-123 456");
        assert_eq!(kilowatt_hours(WattSeconds::from_watt_hours(1_365_149)), "1 365.1 kWh");
        assert_eq!(kilowatts(Watts::from_watts(75_001)), "75.1 kW");
        assert_eq!(money(2_011_815_000), "$2 011.82");
        assert_eq!(money(1_005_000), "$1.01");
        assert_eq!(
            share(WattSeconds::from_watt_hours(999), WattSeconds::from_watt_hours(1000)),
            "99.9 %"
        );
    }
}
