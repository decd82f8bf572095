//! Plans and the commands that carry them out, as the journal keeps them.
//!
//! Decides that a schedule is kept as runs of equal rates, which is how plans look.

use super::{proto, timeline};
use crate::domain::bounds::{MAX_EVSES_PER_SITE, MAX_SLOTS};
use crate::domain::conversion::{Rate, RateUnit};
use crate::domain::ids::{ConnectorId, EvseId, SessionId};
use crate::domain::plan::{Budget, Note, NumberedPlan, Outcome, Plan, PlanStats, Provenance, Schedule};
use crate::domain::profile::{Cause, ChargingProfile, Instruction, ProfileCommand, Revision};
use crate::domain::rejection::Rejection;
use crate::domain::snapshot::SlotGrid;
use crate::units::{Instant, MoneyMicros, Seconds, WattSeconds, Watts};
use crate::wire::common::{list, one_of, read, required};
use proto::note::Note as Arm;

/// Far above any plan's; with [`MAX_RECORDED_RATES`] keeps a message from claiming more memory than a machine has.
const MAX_RECORDED_SLOTS: i64 = 100_000;
/// All slots of all schedules: a plan of every EVSE of the largest site.
const MAX_RECORDED_RATES: i64 = (MAX_EVSES_PER_SITE * MAX_SLOTS) as i64;
const MAX_SLOT_SECONDS: i64 = 86_400;

pub fn plan_message(numbered: &NumberedPlan) -> proto::PlanMade {
    let NumberedPlan {
        provenance,
        plan,
        solve_micros,
    } = numbered;
    proto::PlanMade {
        number: provenance.number,
        parent_number: provenance.parent,
        journal_sequence: provenance.journal_sequence,
        made_at_unix_seconds: provenance.made_at.unix_secs(),
        budget_iterations: provenance.budget.iterations,
        build: provenance.build.clone(),
        watchdog_fallback: provenance.watchdog_fallback,
        solve_micros: *solve_micros,
        grid_start_unix_seconds: plan.grid.start().unix_secs(),
        slot_seconds: plan.grid.length().secs(),
        slot_count: u32::try_from(plan.grid.count()).expect("a plan has at most MAX_SLOTS slots"),
        schedules: plan.schedules.iter().map(schedule_message).collect(),
        notes: plan.notes.iter().map(note_message).collect(),
        stats: Some(stats_message(&plan.stats)),
    }
}

pub fn plan(message: &proto::PlanMade) -> Result<NumberedPlan, Rejection> {
    read(|faults| {
        let length = faults.within("slot_seconds", "s", message.slot_seconds, 1..=MAX_SLOT_SECONDS);
        let count = faults.within("slot_count", "", message.slot_count.into(), 1..=MAX_RECORDED_SLOTS);
        let rates = message.schedules.iter().map(claimed_slots).sum();
        faults.within("schedules", "slots in all", rates, 0..=MAX_RECORDED_RATES)?;
        let schedules = list(faults, "schedules", &message.schedules, schedule);
        let notes = list(faults, "notes", &message.notes, note);
        let stats = required(faults, "stats", message.stats.as_ref(), "the figures of the plan")
            .and_then(|message| faults.part("stats", stats(message)));
        let grid = SlotGrid::new(
            Instant::from_unix_secs(message.grid_start_unix_seconds),
            Seconds::from_secs(length?),
            usize::try_from(count?).ok()?,
        );
        Some(NumberedPlan {
            provenance: Provenance {
                number: message.number,
                parent: message.parent_number,
                journal_sequence: message.journal_sequence,
                made_at: Instant::from_unix_secs(message.made_at_unix_seconds),
                budget: Budget {
                    iterations: message.budget_iterations,
                },
                build: message.build.clone(),
                watchdog_fallback: message.watchdog_fallback,
            },
            plan: Plan {
                grid,
                schedules,
                notes,
                stats: stats?,
            },
            solve_micros: message.solve_micros,
        })
    })
}

fn schedule_message(schedule: &Schedule) -> proto::Schedule {
    let runs: Vec<&[Rate]> = schedule.rates.chunk_by(|left, right| left == right).collect();
    proto::Schedule {
        session_id: schedule.session.to_string(),
        evse_id: schedule.evse.to_string(),
        run_slots: runs
            .iter()
            .map(|run| u32::try_from(run.len()).expect("a plan has at most MAX_SLOTS slots"))
            .collect(),
        run_rate: runs.iter().map(|run| run[0].value()).collect(),
    }
}

fn schedule(message: &proto::Schedule) -> Result<Schedule, Rejection> {
    read(|faults| {
        let session = faults.field("session_id", SessionId::parse(&message.session_id));
        let evse = faults.field("evse_id", EvseId::parse(&message.evse_id));
        faults.require(
            message.run_slots.len() == message.run_rate.len(),
            "run_rate",
            "has a wrong length",
            message.run_rate.len(),
            message.run_slots.len(),
        );
        faults.within("run_slots", "slots", claimed_slots(message), 0..=MAX_RECORDED_SLOTS)?;
        let runs = message.run_slots.iter().zip(&message.run_rate);
        Some(Schedule {
            session: session?,
            evse: evse?,
            rates: runs
                .flat_map(|(slots, rate)| std::iter::repeat_n(Rate::new(*rate), *slots as usize))
                .collect(),
        })
    })
}

fn claimed_slots(message: &proto::Schedule) -> i64 {
    message.run_slots.iter().map(|slots| i64::from(*slots)).sum()
}

fn note_message(note: &Note) -> proto::Note {
    let missing = |session: &SessionId, missing: WattSeconds| proto::note::Missing {
        session_id: session.to_string(),
        missing_watt_second: missing.watt_seconds(),
    };
    let arm = match note {
        Note::Unserved {
            session,
            missing: energy,
        } => Arm::Unserved(missing(session, *energy)),
        Note::GuaranteeBroken {
            session,
            missing: energy,
        } => Arm::GuaranteeBroken(missing(session, *energy)),
        Note::Interrupted { session } => Arm::InterruptedSessionId(session.to_string()),
        Note::NodeOverloaded { node, from } => Arm::NodeOverloaded(proto::note::NodeOverloaded {
            node_id: node.clone(),
            from_unix_seconds: from.unix_secs(),
        }),
        Note::SearchStopped { stage, reason } => Arm::SearchStopped(proto::note::Stopped {
            stage: stage.clone(),
            reason: reason.clone(),
        }),
        Note::Withheld { session, reason } => Arm::Withheld(proto::note::Withheld {
            session_id: session.to_string(),
            reason: reason.clone(),
        }),
    };
    proto::Note { note: Some(arm) }
}

fn note(message: &proto::Note) -> Result<Note, Rejection> {
    read(|faults| {
        let arm = required(faults, "note", message.note.as_ref(), "one of the notes")?;
        let mut session = |id: &str| faults.field("session_id", SessionId::parse(id));
        Some(match arm {
            Arm::Unserved(unserved) => Note::Unserved {
                session: session(&unserved.session_id)?,
                missing: WattSeconds::from_watt_seconds(unserved.missing_watt_second),
            },
            Arm::GuaranteeBroken(broken) => Note::GuaranteeBroken {
                session: session(&broken.session_id)?,
                missing: WattSeconds::from_watt_seconds(broken.missing_watt_second),
            },
            Arm::InterruptedSessionId(id) => Note::Interrupted { session: session(id)? },
            Arm::NodeOverloaded(overloaded) => Note::NodeOverloaded {
                node: overloaded.node_id.clone(),
                from: Instant::from_unix_secs(overloaded.from_unix_seconds),
            },
            Arm::SearchStopped(stopped) => Note::SearchStopped {
                stage: stopped.stage.clone(),
                reason: stopped.reason.clone(),
            },
            Arm::Withheld(withheld) => Note::Withheld {
                session: session(&withheld.session_id)?,
                reason: withheld.reason.clone(),
            },
        })
    })
}

fn stats_message(stats: &PlanStats) -> proto::Stats {
    proto::Stats {
        outcome: outcome_message(stats.outcome).into(),
        delivered_watt_second: stats.delivered.watt_seconds(),
        unserved_watt_second: stats.unserved.watt_seconds(),
        energy_cost_micros: stats.energy_cost.micros(),
        demand_cost_micros: stats.demand_cost.micros(),
        peak_watt: stats.peak.watts(),
        relaxed_delivered_watt_second: stats.relaxed_delivered.map(WattSeconds::watt_seconds),
        relaxed_cost_micros: stats.relaxed_cost.map(MoneyMicros::micros),
        iterations: stats.iterations,
        proven: stats.proven,
    }
}

fn stats(message: &proto::Stats) -> Result<PlanStats, Rejection> {
    let all = [
        Outcome::Optimal,
        Outcome::BudgetSpent,
        Outcome::SolverFailed,
        Outcome::Greedy,
    ];
    read(|faults| {
        let outcome = one_of(message.outcome, &all, outcome_message, proto::Outcome::as_str_name);
        Some(PlanStats {
            outcome: faults.field("outcome", outcome)?,
            delivered: WattSeconds::from_watt_seconds(message.delivered_watt_second),
            unserved: WattSeconds::from_watt_seconds(message.unserved_watt_second),
            energy_cost: MoneyMicros::from_micros(message.energy_cost_micros),
            demand_cost: MoneyMicros::from_micros(message.demand_cost_micros),
            peak: Watts::from_watts(message.peak_watt),
            relaxed_delivered: message
                .relaxed_delivered_watt_second
                .map(WattSeconds::from_watt_seconds),
            relaxed_cost: message.relaxed_cost_micros.map(MoneyMicros::from_micros),
            proven: message.proven,
            iterations: message.iterations,
        })
    })
}

const fn outcome_message(outcome: Outcome) -> proto::Outcome {
    match outcome {
        Outcome::Optimal => proto::Outcome::Optimal,
        Outcome::BudgetSpent => proto::Outcome::BudgetSpent,
        Outcome::SolverFailed => proto::Outcome::SolverFailed,
        Outcome::Greedy => proto::Outcome::Greedy,
    }
}

pub fn command_message(command: &ProfileCommand) -> proto::Command {
    proto::Command {
        evse_id: command.evse.to_string(),
        session_id: command.session.to_string(),
        connector_id: command.connector.to_string(),
        revision: command.revision.number(),
        attempt: command.attempt,
        sent_at_unix_seconds: command.sent_at.unix_secs(),
        cause: cause_message(command.cause).into(),
        profile: match &command.instruction {
            Instruction::Set(profile) => Some(profile_message(profile)),
            Instruction::Clear => None,
        },
    }
}

pub fn command(message: &proto::Command) -> Result<ProfileCommand, Rejection> {
    let causes = [Cause::Change, Cause::Renewal, Cause::Retry];
    read(|faults| {
        let evse = faults.field("evse_id", EvseId::parse(&message.evse_id));
        let session = faults.field("session_id", SessionId::parse(&message.session_id));
        let connector = faults.field("connector_id", ConnectorId::parse(&message.connector_id));
        let cause = one_of(message.cause, &causes, cause_message, proto::Cause::as_str_name);
        let cause = faults.field("cause", cause);
        let instruction = match &message.profile {
            Some(message) => faults.part("profile", profile(message)).map(Instruction::Set),
            None => Some(Instruction::Clear),
        };
        Some(ProfileCommand {
            evse: evse?,
            session: session?,
            connector: connector?,
            revision: Revision::new(message.revision),
            attempt: message.attempt,
            sent_at: Instant::from_unix_secs(message.sent_at_unix_seconds),
            cause: cause?,
            instruction: instruction?,
        })
    })
}

const fn cause_message(cause: Cause) -> proto::Cause {
    match cause {
        Cause::Change => proto::Cause::Change,
        Cause::Renewal => proto::Cause::Renewal,
        Cause::Retry => proto::Cause::Retry,
    }
}

fn profile_message(profile: &ChargingProfile) -> proto::Profile {
    let points = profile.limits().points();
    proto::Profile {
        unit: unit_message(profile.unit).into(),
        start_unix_seconds: points.iter().map(|(start, _)| start.unix_secs()).collect(),
        rate: points.iter().map(|(_, rate)| rate.value()).collect(),
        lease_end_unix_seconds: profile.lease_end().unix_secs(),
    }
}

fn profile(message: &proto::Profile) -> Result<ChargingProfile, Rejection> {
    let units = [RateUnit::DeciAmpere, RateUnit::Watt];
    read(|faults| {
        let unit = one_of(message.unit, &units, unit_message, proto::RateUnit::as_str_name);
        let unit = faults.field("unit", unit);
        faults.require(
            message.start_unix_seconds.len() == message.rate.len(),
            "rate",
            "has a wrong length",
            message.rate.len(),
            message.start_unix_seconds.len(),
        );
        let points = message
            .start_unix_seconds
            .iter()
            .copied()
            .zip(message.rate.iter().copied());
        let limits = faults.part("start_unix_seconds", timeline(points))?;
        let lease_end = Instant::from_unix_secs(message.lease_end_unix_seconds);
        if lease_end <= limits.start() {
            let allowed = format_args!("after {}", limits.start());
            faults.add("lease_end_unix_seconds", "is not after the start", lease_end, allowed);
            return None;
        }
        let limits = limits.map(|rate| Rate::new(*rate));
        Some(ChargingProfile::from_parts(unit?, limits, lease_end))
    })
}

const fn unit_message(unit: RateUnit) -> proto::RateUnit {
    match unit {
        RateUnit::DeciAmpere => proto::RateUnit::Deciampere,
        RateUnit::Watt => proto::RateUnit::Watt,
    }
}
