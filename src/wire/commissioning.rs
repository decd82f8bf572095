//! Checks of EVSEs: as they are shown, and as the journal keeps them.
//!
//! Decides the words of steps and findings on the wire. What they mean is decided in [`crate::domain::commissioning`].

use super::common::{list, one_of, optional_id, read, required, required_timestamp, timestamp, timestamp_message};
use super::journal::{sample, sample_message};
use super::{journal_proto, proto};
use crate::domain::commissioning::{CheckStep, EvseCheck, Finding, Running, StepResult};
use crate::domain::ids::{EvseId, SessionId};
use crate::domain::profile::Revision;
use crate::domain::rejection::Rejection;
use crate::units::Instant;

pub fn check_message(check: &EvseCheck) -> proto::EvseCheck {
    let step = check.running.as_ref().map(|running| step_message(running.step));
    proto::EvseCheck {
        evse_id: check.evse.to_string(),
        session_id: check.session.as_ref().map(ToString::to_string).unwrap_or_default(),
        begun_at: Some(timestamp_message(check.begun_at)),
        ended_at: check.ended_at.map(timestamp_message),
        aborted_because: check.aborted.clone().unwrap_or_default(),
        step: step.unwrap_or(proto::CheckStep::Unspecified).into(),
        results: check.results.iter().map(result_message).collect(),
        verdict: finding_message(check.verdict()).into(),
    }
}

pub(super) fn state_message(check: &EvseCheck) -> journal_proto::EvseCheckState {
    let running = check.running.as_ref();
    journal_proto::EvseCheckState {
        check: Some(check_message(check)),
        step_since_unix_seconds: running.map_or(0, |running| running.since.unix_secs()),
        revision_before: running.map_or(0, |running| running.revision_before.number()),
        followed_since_unix_seconds: running
            .and_then(|running| running.followed_since)
            .map(Instant::unix_secs),
        drawn: check.drawn.as_ref().map(sample_message),
    }
}

pub(super) fn state(message: &journal_proto::EvseCheckState) -> Result<EvseCheck, Rejection> {
    read(|faults| {
        let shown = required(faults, "check", message.check.as_ref(), "a check")?;
        let evse = faults.field("check.evse_id", EvseId::parse(&shown.evse_id));
        let session = optional_id(faults, "check.session_id", &shown.session_id, SessionId::parse);
        let begun_at = required_timestamp(faults, "check.begun_at", shown.begun_at.as_ref());
        let ended_at = shown.ended_at.as_ref().map(timestamp);
        let ended_at = ended_at.and_then(|at| faults.part("check.ended_at", at));
        let running = if shown.step == proto::CheckStep::Unspecified as i32 {
            None
        } else {
            Some(Running {
                step: faults.field("check.step", step(shown.step))?,
                since: Instant::from_unix_secs(message.step_since_unix_seconds),
                revision_before: Revision::new(message.revision_before),
                followed_since: message.followed_since_unix_seconds.map(Instant::from_unix_secs),
            })
        };
        let drawn = message.drawn.as_ref().map(sample);
        Some(EvseCheck {
            evse: evse?,
            session,
            begun_at: begun_at?,
            results: list(faults, "check.results", &shown.results, result),
            running,
            ended_at,
            aborted: Some(shown.aborted_because.clone()).filter(|why| !why.is_empty()),
            drawn: drawn.and_then(|drawn| faults.part("drawn", drawn)),
        })
    })
}

fn result_message(result: &StepResult) -> proto::CheckStepResult {
    proto::CheckStepResult {
        step: step_message(result.step).into(),
        finding: finding_message(result.finding).into(),
        at: Some(timestamp_message(result.at)),
        what: result.what.clone(),
    }
}

fn result(message: &proto::CheckStepResult) -> Result<StepResult, Rejection> {
    read(|faults| {
        let step = faults.field("step", step(message.step));
        let finding = faults.field("finding", finding(message.finding));
        let at = required_timestamp(faults, "at", message.at.as_ref());
        Some(StepResult {
            step: step?,
            finding: finding?,
            at: at?,
            what: message.what.clone(),
        })
    })
}

fn step(number: i32) -> Result<CheckStep, Rejection> {
    one_of(number, &CheckStep::ALL, step_message, proto::CheckStep::as_str_name)
}

const fn step_message(step: CheckStep) -> proto::CheckStep {
    match step {
        CheckStep::TakesPower => proto::CheckStep::TakesPower,
        CheckStep::FollowsLower => proto::CheckStep::FollowsLower,
        CheckStep::FollowsZero => proto::CheckStep::FollowsZero,
        CheckStep::FollowsHigher => proto::CheckStep::FollowsHigher,
        CheckStep::FallsToTail => proto::CheckStep::FallsToTail,
        CheckStep::KeepsDefault => proto::CheckStep::KeepsDefault,
    }
}

fn finding(number: i32) -> Result<Finding, Rejection> {
    let all = [Finding::Passed, Finding::Failed, Finding::NotSeen];
    one_of(number, &all, finding_message, proto::CheckFinding::as_str_name)
}

const fn finding_message(finding: Finding) -> proto::CheckFinding {
    match finding {
        Finding::Passed => proto::CheckFinding::Passed,
        Finding::Failed => proto::CheckFinding::Failed,
        Finding::NotSeen => proto::CheckFinding::NotSeen,
    }
}
