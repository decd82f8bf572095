//! Plans as people read them: who gets how much, when, what is sent to the station, and what had to give way.

use super::output::{kw, kwh, rate, time};
use super::table::{Column, table};
use crate::wire::proto;

/// A plan that was made once.
pub fn plan(plan: &proto::PlanResponse) -> String {
    let mut parts = vec![sessions(plan)];
    if plan.sessions.iter().any(|session| !session.schedule.is_empty()) {
        parts.push(schedules(plan));
    }
    if plan.sessions.iter().any(|session| session.charging_profile.is_some()) {
        parts.push(profiles(plan));
    }
    if !plan.notes.is_empty() {
        parts.push(notes(plan));
    }
    if let Some(stats) = &plan.stats {
        parts.push(figures(stats));
    }
    parts.join("\n\n")
}

/// The plan in force at a site, with its origin.
pub fn plan_in_force(response: &proto::GetPlanResponse) -> String {
    let body = response.plan.as_ref().map_or_else(|| "no plan yet".to_owned(), plan);
    let Some(origin) = &response.provenance else {
        return body;
    };
    let fallback = if origin.watchdog_fallback {
        ", greedy: the search took too long"
    } else {
        ""
    };
    format!(
        "plan {} made {} from entry {} by {}{fallback}\n\n{body}",
        origin.number,
        time(origin.made_at.as_ref()),
        origin.journal_sequence,
        origin.build,
    )
}

fn sessions(plan: &proto::PlanResponse) -> String {
    let rows: Vec<[String; 4]> = plan
        .sessions
        .iter()
        .map(|session| {
            [
                session.session_id.clone(),
                session.evse_id.clone(),
                kwh(session.expected_watt_hour),
                kwh(session.missing_watt_hour),
            ]
        })
        .collect();
    let columns = [
        Column::Left("session"),
        Column::Left("EVSE"),
        Column::Right("gets kWh"),
        Column::Right("misses kWh"),
    ];
    table(columns, &rows)
}

fn schedules(plan: &proto::PlanResponse) -> String {
    let rows: Vec<[String; 4]> = plan
        .sessions
        .iter()
        .flat_map(|session| session.schedule.iter().map(move |entry| (session, entry)))
        .map(|(session, entry)| {
            [
                session.session_id.clone(),
                time(entry.from.as_ref()),
                time(entry.until.as_ref()),
                rate(entry.rate.as_ref()),
            ]
        })
        .collect();
    let columns = [
        Column::Left("session"),
        Column::Left("from"),
        Column::Left("until"),
        Column::Right("at most"),
    ];
    table(columns, &rows)
}

fn profiles(plan: &proto::PlanResponse) -> String {
    let rows: Vec<[String; 3]> = plan
        .sessions
        .iter()
        .filter_map(|session| Some((session, session.charging_profile.as_ref()?)))
        .map(|(session, profile)| {
            let periods: Vec<String> = profile
                .charging_profile_period
                .iter()
                .map(|period| {
                    let (start, limit) = (period.start_period.unwrap_or(0), period.limit.unwrap_or(0.0));
                    format!("+{start} s: {limit} {}", profile.charging_rate_unit)
                })
                .collect();
            let start = profile.start_date_time.clone();
            [session.session_id.clone(), start, periods.join(", ")]
        })
        .collect();
    let columns = [
        Column::Left("session"),
        Column::Left("profile from"),
        Column::Left("periods"),
    ];
    table(columns, &rows)
}

fn notes(plan: &proto::PlanResponse) -> String {
    let about = |note: &proto::PlanNote| match note.session_id.as_str() {
        "" => String::new(),
        session => format!("{session}: "),
    };
    let lines = plan
        .notes
        .iter()
        .map(|note| format!("note: {}{}", about(note), note.text));
    lines.collect::<Vec<_>>().join("\n")
}

fn figures(stats: &proto::PlanStats) -> String {
    let outcome = match stats.outcome() {
        proto::PlanOutcome::Unspecified => "-",
        proto::PlanOutcome::Optimal => "optimal before rounding",
        proto::PlanOutcome::BudgetSpent => "best within the budget",
        proto::PlanOutcome::SolverFailed => "best before the solver gave up",
        proto::PlanOutcome::Greedy => "greedy",
    };
    let mut lines = vec![
        format!(
            "delivers {} kWh, leaves {} kWh unserved, peak {} kW",
            kwh(stats.delivered_watt_hour),
            kwh(stats.unserved_watt_hour),
            kw(stats.peak_watt)
        ),
        format!(
            "energy costs {}, power charge {}",
            money(stats.energy_cost_micros),
            money(stats.demand_cost_micros)
        ),
    ];
    if let (Some(most), Some(gap)) = (stats.relaxed_delivered_watt_hour, stats.energy_gap_ppm) {
        let bound = if stats.bounds_proven { "" } else { "about " };
        lines.push(format!(
            "no plan delivers more than {bound}{} kWh: gap {gap} ppm",
            kwh(most)
        ));
    }
    if let (Some(least), Some(gap)) = (stats.relaxed_cost_micros, stats.cost_gap_ppm) {
        lines.push(format!("that energy costs at least {}: gap {gap} ppm", money(least)));
    }
    let verified = if stats.verified {
        "every limit kept, checked independently"
    } else {
        "NOT VERIFIED"
    };
    lines.push(format!(
        "{outcome}, {} iterations, {} ms; {verified}",
        stats.iterations,
        (stats.solve_micros + 500) / 1_000
    ));
    lines.join("\n")
}

/// `12.35`, from micros, rounded to the nearest hundredth.
fn money(micros: i64) -> String {
    let hundredths = (micros + 5_000).div_euclid(10_000);
    let sign = if hundredths < 0 { "-" } else { "" };
    let magnitude = hundredths.unsigned_abs();
    format!("{sign}{}.{:02}", magnitude / 100, magnitude % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::from_json;

    #[test]
    fn money_is_rounded_to_the_nearest_hundredth() {
        assert_eq!(
            [money(0), money(12_345_678), money(-4_999), money(-15_000)],
            ["0.00", "12.35", "0.00", "-0.01"]
        );
    }

    #[test]
    fn a_plan_tells_who_gets_what_when_and_what_gave_way() {
        let response: proto::PlanResponse = from_json(
            r#"{
              "sessions": [{
                "session_id": "s1", "evse_id": "e1", "expected_watt_hour": 11040, "missing_watt_hour": 960,
                "schedule": [{"from": "2026-11-22T15:45:00Z", "until": "2026-11-22T16:45:00Z", "rate": {"current_deciampere": 160}}],
                "charging_profile": {"start_date_time": "2026-11-22T15:45:00Z", "charging_rate_unit": "A", "min_charging_rate": 6,
                  "charging_profile_period": [{"start_period": 0, "limit": 16.1}, {"start_period": 900, "limit": 0}]}
              }],
              "notes": [{"kind": "unserved", "session_id": "s1", "text": "1.0 kWh less than needed"}],
              "stats": {"outcome": "PLAN_OUTCOME_OPTIMAL", "delivered_watt_hour": 11040, "unserved_watt_hour": 960,
                "energy_cost_micros": 2208000, "peak_watt": 11040, "relaxed_delivered_watt_hour": 11040, "energy_gap_ppm": 0,
                "relaxed_cost_micros": 2200000, "cost_gap_ppm": 3637, "bounds_proven": true, "solve_micros": 1499, "iterations": 12, "verified": true}
            }"#,
        )
        .unwrap();
        assert_eq!(
            plan(&response),
            "session  EVSE  gets kWh  misses kWh\n\
             s1       e1        11.0         1.0\n\
             \n\
             session  from                  until                 at most\n\
             s1       2026-11-22T15:45:00Z  2026-11-22T16:45:00Z   16.0 A\n\
             \n\
             session  profile from          periods\n\
             s1       2026-11-22T15:45:00Z  +0 s: 16.1 A, +900 s: 0 A\n\
             \n\
             note: s1: 1.0 kWh less than needed\n\
             \n\
             delivers 11.0 kWh, leaves 1.0 kWh unserved, peak 11.0 kW\n\
             energy costs 2.21, power charge 0.00\n\
             no plan delivers more than 11.0 kWh: gap 0 ppm\n\
             that energy costs at least 2.20: gap 3637 ppm\n\
             optimal before rounding, 12 iterations, 1 ms; every limit kept, checked independently"
        );
    }

    #[test]
    fn a_plan_that_failed_its_check_cannot_be_overlooked() {
        assert!(figures(&proto::PlanStats::default()).contains("NOT VERIFIED"));
    }
}
