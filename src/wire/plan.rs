//! Plans: a whole problem read from a request, and a plan shown.
//!
//! Decides how a plan is told in watt-hours and words: what is delivered rounds down, what is missing rounds up.

use super::common::{bounded, narrow, rate_message, read, required, required_timestamp, timestamp_message};
use super::profile::{charging_profile, utc_text};
use super::proto;
use super::session::{read_session, session_override};
use super::site::{forecast, prices, valid_grid_limit, valid_site_spec};
use crate::domain::bounds::{MAX_ENERGY_WATT_HOURS, MAX_EVSES_PER_SITE, MAX_GRID_LIMITS_PER_SITE, MAX_SLOTS};
use crate::domain::ids::TenantId;
use crate::domain::plan::{Budget, Note, Outcome, PlanStats, Provenance};
use crate::domain::rejection::{Faults, Rejection};
use crate::domain::session::{Override, Session};
use crate::domain::site::Site;
use crate::domain::timeline::Timeline;
use crate::engine::view::{OnceRequest, OnceSession, PlanView, SessionPlan};
use crate::units::{Instant, WattSeconds};

const DEFAULT_ITERATIONS: u32 = 2_000;
/// More would only keep a solver busy: a search that has not ended by then will not.
const MAX_ITERATIONS: i64 = 100_000;

/// A problem, or everything that is wrong with it, in shape and by the rules of the site; that no EVSE has two sessions is decided by
/// who plans.
pub fn once_request(tenant: &TenantId, message: &proto::PlanRequest) -> Result<OnceRequest, Rejection> {
    read(|faults| {
        let site = required(faults, "site", message.site.as_ref(), "a site");
        let site = site.and_then(|site| faults.part("site", valid_site_spec(tenant, site)));
        let known = site.clone().and_then(|spec| Site::new(spec).ok());
        let now = required_timestamp(faults, "now", message.now.as_ref());
        let slot_count = match message.slot_count {
            0 => Some(None),
            count => narrow(faults, "slot_count", "slots", count, 1..=MAX_SLOTS as i64).map(Some),
        };
        let iterations = match message.budget_iterations {
            0 => Some(DEFAULT_ITERATIONS),
            count => narrow(faults, "budget_iterations", "iterations", count, 1..=MAX_ITERATIONS),
        };
        let most_limits = MAX_GRID_LIMITS_PER_SITE;
        let grid_limits = bounded(faults, "grid_limits", &message.grid_limits, most_limits, |limit| {
            valid_grid_limit(limit, known.as_ref())
        });
        let prices = points(faults, "prices", &message.prices, prices);
        let base_load = points(faults, "base_load", &message.base_load, forecast);
        let solar = points(faults, "solar", &message.solar, forecast);
        let sessions = bounded(faults, "sessions", &message.sessions, MAX_EVSES_PER_SITE, |session| {
            once_session(session, known.as_ref().zip(now))
        });
        Some(OnceRequest {
            site: site?,
            now: now?,
            slot_count: slot_count?,
            grid_limits,
            prices,
            base_load,
            solar,
            sessions,
            budget: Budget {
                iterations: iterations?,
            },
        })
    })
}

/// `known` is the site and the time of the plan, where they could be read.
fn once_session(message: &proto::PlanSession, known: Option<(&Site, Instant)>) -> Result<OnceSession, Rejection> {
    read(|faults| {
        let spec = required(faults, "spec", message.spec.as_ref(), "a session");
        let mut shape = Faults::default();
        // A plan that is not kept needs no reference to a person.
        let spec = spec.and_then(|spec| read_session(&mut shape, spec, None));
        let breaks_rules = spec
            .clone()
            .zip(known)
            .and_then(|(spec, (site, now))| Session::expected(spec, site, now).err());
        match (shape.finish(()), breaks_rules) {
            (Ok(()), None) => {}
            (Ok(()), Some(fault)) | (Err(fault), None) => faults.nest("spec", fault),
            (Err(fault), Some(more)) => faults.nest("spec", fault.and(more)),
        }
        let delivered = faults.within(
            "delivered_watt_hour",
            "Wh",
            message.delivered_watt_hour,
            0..=MAX_ENERGY_WATT_HOURS,
        );
        let overridden = match message.session_override {
            0 => Some(Override::None),
            number => faults.field("session_override", session_override(number)),
        };
        Some(OnceSession {
            spec: spec?,
            delivered: WattSeconds::from_watt_hours(delivered?),
            overridden: overridden?,
        })
    })
}

/// A series that may be left out.
fn points<M, T>(
    faults: &mut Faults,
    field: &str,
    messages: &[M],
    series: impl Fn(&[M]) -> Result<Timeline<T>, Rejection>,
) -> Option<Timeline<T>> {
    if messages.is_empty() {
        return None;
    }
    faults.part(field, series(messages))
}

pub fn plan_response(view: &PlanView) -> proto::PlanResponse {
    proto::PlanResponse {
        sessions: view.sessions.iter().map(session_plan).collect(),
        stats: Some(stats(view)),
        notes: view.notes.iter().map(note).collect(),
    }
}

pub fn provenance(provenance: &Provenance) -> proto::PlanProvenance {
    proto::PlanProvenance {
        number: provenance.number.cast_signed(),
        parent_number: provenance.parent.unwrap_or(0).cast_signed(),
        journal_sequence: provenance.journal_sequence.cast_signed(),
        made_at: Some(timestamp_message(provenance.made_at)),
        budget_iterations: provenance.budget.iterations.cast_signed(),
        build: provenance.build.clone(),
        watchdog_fallback: provenance.watchdog_fallback,
    }
}

fn session_plan(plan: &SessionPlan) -> proto::SessionPlan {
    proto::SessionPlan {
        session_id: plan.session.to_string(),
        evse_id: plan.evse.to_string(),
        schedule: schedule(plan),
        charging_profile: Some(charging_profile(&plan.profile, plan.minimum)),
        expected_watt_hour: plan.expected.floor_watt_hours(),
        missing_watt_hour: ceil_watt_hours(plan.missing),
    }
}

/// One entry for each rate but the last, which is zero and holds for ever.
fn schedule(plan: &SessionPlan) -> Vec<proto::ScheduleEntry> {
    plan.rates
        .points()
        .windows(2)
        .map(|pair| proto::ScheduleEntry {
            from: Some(timestamp_message(pair[0].0)),
            until: Some(timestamp_message(pair[1].0)),
            rate: Some(rate_message(pair[0].1, plan.unit)),
        })
        .collect()
}

fn stats(view: &PlanView) -> proto::PlanStats {
    let stats = &view.stats;
    proto::PlanStats {
        outcome: outcome(stats.outcome) as i32,
        delivered_watt_hour: stats.delivered.floor_watt_hours(),
        unserved_watt_hour: ceil_watt_hours(stats.unserved),
        energy_cost_micros: stats.energy_cost.micros(),
        demand_cost_micros: stats.demand_cost.micros(),
        peak_watt: stats.peak.watts(),
        relaxed_delivered_watt_hour: stats.relaxed_delivered.map(WattSeconds::floor_watt_hours),
        relaxed_cost_micros: stats.relaxed_cost.map(|cost| cost.micros()),
        energy_gap_ppm: energy_gap_ppm(stats),
        cost_gap_ppm: cost_gap_ppm(stats),
        bounds_proven: stats.proven,
        solve_micros: i64::try_from(view.solve_micros).unwrap_or(i64::MAX),
        iterations: stats.iterations.cast_signed(),
        verified: view.verified,
    }
}

/// How much more the plan costs than the relaxation, in parts per million of the relaxation, rounded up.
fn cost_gap_ppm(stats: &PlanStats) -> Option<i64> {
    let relaxed = i128::from(stats.relaxed_cost?.micros());
    let more = i128::from((stats.energy_cost + stats.demand_cost).micros()) - relaxed;
    (relaxed > 0).then(|| i64::try_from(-(-more * 1_000_000).div_euclid(relaxed)).ok())?
}

/// How much less the plan delivers than the relaxation, in parts per million of the relaxation, rounded up; zero where it delivers no less.
fn energy_gap_ppm(stats: &PlanStats) -> Option<i64> {
    let relaxed = i128::from(stats.relaxed_delivered?.watt_seconds());
    let less = relaxed - i128::from(stats.delivered.watt_seconds());
    if relaxed <= 0 || less <= 0 {
        return Some(0);
    }
    i64::try_from((less * 1_000_000 + relaxed - 1) / relaxed).ok()
}

const fn outcome(outcome: Outcome) -> proto::PlanOutcome {
    match outcome {
        Outcome::Optimal => proto::PlanOutcome::Optimal,
        Outcome::BudgetSpent => proto::PlanOutcome::BudgetSpent,
        Outcome::SolverFailed => proto::PlanOutcome::SolverFailed,
        Outcome::Greedy => proto::PlanOutcome::Greedy,
    }
}

fn note(note: &Note) -> proto::PlanNote {
    let (kind, session, text) = match note {
        Note::Unserved { session, missing } => (
            "unserved",
            Some(session),
            format!("gets {} less than it needs", watt_hours_text(*missing)),
        ),
        Note::GuaranteeBroken { session, missing } => (
            "guarantee_broken",
            Some(session),
            format!("gets {} less than was promised", watt_hours_text(*missing)),
        ),
        Note::Interrupted { session } => (
            "interrupted",
            Some(session),
            "must pause though it should not".to_owned(),
        ),
        Note::NodeOverloaded { node, from } => ("node_overloaded", None, overloaded_text(node, *from)),
        Note::SearchStopped { stage, reason } => (
            "search_stopped",
            None,
            format!("the search stopped at {stage}: {reason}"),
        ),
        Note::Withheld { session, reason } => ("withheld", Some(session), reason.clone()),
    };
    proto::PlanNote {
        kind: kind.to_owned(),
        session_id: session.map(ToString::to_string).unwrap_or_default(),
        text,
    }
}

fn overloaded_text(node: &str, from: Instant) -> String {
    format!(
        "the rest of the site alone takes more than {node} may carry from {}",
        utc_text(from)
    )
}

fn watt_hours_text(energy: WattSeconds) -> String {
    format!("{} Wh", ceil_watt_hours(energy))
}

fn ceil_watt_hours(energy: WattSeconds) -> i64 {
    -(-energy).floor_watt_hours()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conversion::{Rate, RateUnit};
    use crate::domain::ids::{EvseId, SessionId};
    use crate::domain::profile::ChargingProfile;
    use crate::units::{MoneyMicros, Watts};

    fn at(secs: i64) -> Instant {
        Instant::from_unix_secs(secs)
    }

    fn view(rates: &[(i64, i64)]) -> PlanView {
        let rates = Timeline::from_points(rates.iter().map(|(secs, rate)| (at(*secs), Rate::new(*rate))));
        let session = SessionPlan {
            session: SessionId::parse("s1").unwrap(),
            evse: EvseId::parse("e1").unwrap(),
            unit: RateUnit::DeciAmpere,
            minimum: Rate::new(60),
            profile: ChargingProfile::cut(RateUnit::DeciAmpere, &rates, at(0), at(900), Rate::ZERO),
            rates,
            expected: WattSeconds::from_watt_seconds(3_601),
            missing: WattSeconds::from_watt_seconds(3_601),
        };
        PlanView {
            provenance: None,
            sessions: vec![session],
            notes: vec![Note::Unserved {
                session: SessionId::parse("s1").unwrap(),
                missing: WattSeconds::from_watt_seconds(3_601),
            }],
            stats: PlanStats {
                outcome: Outcome::Optimal,
                delivered: WattSeconds::from_watt_hours(999),
                unserved: WattSeconds::ZERO,
                energy_cost: MoneyMicros::ZERO,
                demand_cost: MoneyMicros::ZERO,
                peak: Watts::ZERO,
                relaxed_delivered: Some(WattSeconds::from_watt_hours(1_000)),
                relaxed_cost: None,
                proven: false,
                iterations: 3,
            },
            solve_micros: 7,
            verified: true,
        }
    }

    fn entries(message: &proto::PlanResponse) -> Vec<(i64, i64, Option<proto::Rate>)> {
        let seconds = |time: &Option<prost_types::Timestamp>| time.unwrap().seconds;
        message.sessions[0]
            .schedule
            .iter()
            .map(|entry| (seconds(&entry.from), seconds(&entry.until), entry.rate))
            .collect()
    }

    #[test]
    fn a_schedule_lists_every_rate_but_the_zero_that_holds_for_ever() {
        let message = plan_response(&view(&[(0, 160), (900, 0), (1_800, 60), (2_700, 0)]));
        let rate = |value| Some(rate_message(Rate::new(value), RateUnit::DeciAmpere));
        assert_eq!(
            entries(&message),
            [(0, 900, rate(160)), (900, 1_800, rate(0)), (1_800, 2_700, rate(60))]
        );
    }

    #[test]
    fn a_session_that_gets_nothing_has_no_schedule_but_a_profile() {
        let message = plan_response(&view(&[(0, 0)]));
        assert!(message.sessions[0].schedule.is_empty());
        let profile = message.sessions[0].charging_profile.as_ref().unwrap();
        assert_eq!(profile.charging_profile_period.len(), 1);
    }

    #[test]
    fn gaps_are_told_apart_and_round_up() {
        let mut view = view(&[(0, 0)]);
        view.stats.relaxed_cost = Some(MoneyMicros::from_micros(3_000_000));
        view.stats.energy_cost = MoneyMicros::from_micros(3_000_001);
        view.stats.proven = true;
        let stats = plan_response(&view).stats.unwrap();
        assert_eq!((stats.energy_gap_ppm, stats.cost_gap_ppm), (Some(1_000), Some(1)));
        assert!(stats.bounds_proven);
        view.stats.relaxed_cost = Some(MoneyMicros::ZERO);
        assert_eq!(plan_response(&view).stats.unwrap().cost_gap_ppm, None);
    }

    #[test]
    fn what_is_delivered_rounds_down_and_what_is_missing_up() {
        let message = plan_response(&view(&[(0, 0)]));
        assert_eq!(message.sessions[0].expected_watt_hour, 1);
        assert_eq!(message.sessions[0].missing_watt_hour, 2);
        assert_eq!(message.notes[0].text, "gets 2 Wh less than it needs");
    }

    #[test]
    fn the_gap_is_told_in_parts_per_million_and_never_below_zero() {
        let mut plan = view(&[(0, 0)]);
        assert_eq!(stats(&plan).energy_gap_ppm, Some(1_000));
        plan.stats.delivered = WattSeconds::from_watt_hours(1_001);
        assert_eq!(stats(&plan).energy_gap_ppm, Some(0));
        plan.stats.relaxed_delivered = None;
        assert_eq!(stats(&plan).energy_gap_ppm, None);
    }
}
