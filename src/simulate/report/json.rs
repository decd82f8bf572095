//! The report for machines: the same figures with their units in the names.

use super::Report;
use crate::simulate::day::Day;
use crate::simulate::tally::Figures;
use crate::units::Instant;
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

#[derive(Serialize)]
struct File<'a> {
    date: String,
    site_id: &'a str,
    time_zone: &'a str,
    currency: &'a str,
    tariff: &'a str,
    /// What the drivers typed in.
    asked_watt_hour: i64,
    /// What the cars really took that day: no way of charging can deliver more.
    possible_watt_hour: i64,
    laddplan: Way,
    equal_share: Way,
    full_power: Way,
    service: ServiceFigures,
    sessions: Vec<SessionFigures<'a>>,
}

#[derive(Serialize)]
struct Way {
    delivered_watt_hour: i64,
    energy_cost_micros: i64,
    peak_quarter_hour_watt: i64,
    demand_cost_micros: i64,
    seconds_to_comply_with_cut: i64,
    seconds_above_limit_otherwise: i64,
    limits: Vec<Limit>,
}

#[derive(Serialize)]
struct Limit {
    from: String,
    limit_watt: i64,
    highest_load_watt: i64,
    highest_load_at: String,
    seconds_to_comply: i64,
    seconds_above: i64,
}

#[derive(Serialize)]
struct ServiceFigures {
    profiles_changed: u64,
    profiles_renewed: u64,
    profiles_retried: u64,
    commands_not_followed: u64,
    plans: usize,
    solve_micros_median: u128,
    solve_micros_p99: u128,
    solve_micros_max: u128,
    journal_entries: u64,
    played_in_millis: u128,
}

#[derive(Serialize)]
struct SessionFigures<'a> {
    id: &'a str,
    evse_id: &'a str,
    arrival: String,
    departure: String,
    asked_watt_hour: Option<i64>,
    possible_watt_hour: i64,
    delivered_watt_hour: i64,
    equal_share_watt_hour: i64,
}

pub fn text(report: &Report) -> anyhow::Result<String> {
    let Report { day, service, .. } = report;
    let possible = day.sessions.iter().map(|session| session.energy.floor_watt_hours());
    let asked = day.sessions.iter().filter_map(|session| session.requested);
    let file = File {
        date: day.date.to_string(),
        site_id: day.site.spec().id.as_str(),
        time_zone: &day.site.spec().time_zone,
        currency: &day.site.spec().currency,
        tariff: &day.tariff_name,
        asked_watt_hour: asked.map(|energy| energy.floor_watt_hours()).sum(),
        possible_watt_hour: possible.sum(),
        laddplan: way(&report.laddplan),
        equal_share: way(&report.equal_share),
        full_power: way(&report.full_power),
        service: ServiceFigures {
            profiles_changed: service.changes,
            profiles_renewed: service.renewals,
            profiles_retried: service.retries,
            commands_not_followed: service.rejected,
            plans: service.solves.len(),
            solve_micros_median: service.solve_percentile(50).as_micros(),
            solve_micros_p99: service.solve_percentile(99).as_micros(),
            solve_micros_max: service.solve_percentile(100).as_micros(),
            journal_entries: service.journal_entries,
            played_in_millis: service.played_in.as_millis(),
        },
        sessions: sessions(report, day),
    };
    Ok(serde_json::to_string_pretty(&file)? + "\n")
}

fn way(figures: &Figures) -> Way {
    Way {
        delivered_watt_hour: figures.energy().floor_watt_hours(),
        energy_cost_micros: figures.energy_cost_micros,
        peak_quarter_hour_watt: figures.peak.watts(),
        demand_cost_micros: figures.demand_cost_micros,
        seconds_to_comply_with_cut: figures.seconds_to_comply(),
        seconds_above_limit_otherwise: figures.seconds_above(),
        limits: figures
            .periods
            .iter()
            .map(|period| Limit {
                from: utc(period.from),
                limit_watt: period.limit.watts(),
                highest_load_watt: period.highest.watts(),
                highest_load_at: utc(period.highest_at),
                seconds_to_comply: period.seconds_to_comply,
                seconds_above: period.seconds_above,
            })
            .collect(),
    }
}

fn sessions<'a>(report: &Report, day: &'a Day) -> Vec<SessionFigures<'a>> {
    let delivered = report.laddplan.delivered.iter().zip(&report.equal_share.delivered);
    day.sessions
        .iter()
        .zip(delivered)
        .map(|(session, (delivered, equal_share))| SessionFigures {
            id: &session.id,
            evse_id: day.evses[session.evse].id.as_str(),
            arrival: utc(session.arrival),
            departure: utc(session.departure),
            asked_watt_hour: session.requested.map(|energy| energy.floor_watt_hours()),
            possible_watt_hour: session.energy.floor_watt_hours(),
            delivered_watt_hour: delivered.floor_watt_hours(),
            equal_share_watt_hour: equal_share.floor_watt_hours(),
        })
        .collect()
}

fn utc(at: Instant) -> String {
    match DateTime::from_timestamp(at.unix_secs(), 0) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Secs, true),
        None => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::report::tests::example;

    #[test]
    fn the_file_has_the_same_figures_as_the_day() {
        let file: serde_json::Value = serde_json::from_str(&text(&example()).unwrap()).unwrap();
        assert_eq!(file["sessions"].as_array().unwrap().len(), 79);
        assert_eq!(file["full_power"]["delivered_watt_hour"], 1_365_149);
        assert_eq!(file["laddplan"]["limits"][1]["from"], "2019-11-20T20:00:00Z");
        assert_eq!(file["service"]["solve_micros_p99"], 198_000);
    }
}
