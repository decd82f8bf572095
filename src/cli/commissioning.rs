//! `laddplan site check`: commissions an EVSE, and tells step by step what was measured.
//!
//! Decides the words. What is looked at and found is the service's.

use super::client::{ClientArgs, RequestArgs, refused, with_client};
use super::failure::Failure;
use super::output::{self, Form};
use crate::wire::proto;
use clap::Args;
use std::time::Duration;

/// How often the service is asked how far it is.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// No check takes so long: beyond, the service is gone or its clock stands.
const MAX_ASKS: u32 = 3_600;

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Id of the site.
    site: String,
    /// Id of the EVSE. A car that charges has to be plugged in, and the EVSE metered.
    evse: String,
    /// End the check that is under way.
    #[arg(long, conflicts_with = "last")]
    abort: bool,
    /// Show the last check, and begin none.
    #[arg(long)]
    last: bool,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(args: CheckArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let mut sites = client.sites();
        let (tenant_id, site_id, evse_id) = (args.client.tenant.clone(), args.site.clone(), args.evse.clone());
        if args.abort {
            let request = proto::AbortEvseCheckRequest {
                meta: args.request.meta(),
                tenant_id,
                site_id,
                evse_id,
            };
            let response = sites.abort_evse_check(request).await.map_err(refused)?.into_inner();
            return client
                .form
                .say(&response, |response| output::receipt(response.receipt.as_ref()));
        }
        if !args.last {
            let request = proto::CheckEvseRequest {
                meta: args.request.meta(),
                tenant_id: tenant_id.clone(),
                site_id: site_id.clone(),
                evse_id: evse_id.clone(),
            };
            sites.check_evse(request).await.map_err(refused)?;
        }
        let mut told = 0;
        let mut ticks = tokio::time::interval(ASK_EVERY);
        for _ in 0..MAX_ASKS {
            ticks.tick().await;
            let request = proto::GetEvseCheckRequest {
                tenant_id: tenant_id.clone(),
                site_id: site_id.clone(),
                evse_id: evse_id.clone(),
            };
            let response = sites.get_evse_check(request).await.map_err(refused)?.into_inner();
            let check = response.check.unwrap_or_default();
            if client.form == Form::Human {
                for result in check.results.iter().skip(told) {
                    output::say(&line(result))?;
                }
                told = check.results.len();
            }
            if check.ended_at.is_some() || args.last {
                client.form.say(&check, verdict)?;
                return match check.verdict() {
                    proto::CheckFinding::Failed => Err(Failure::Invalid),
                    _ => Ok(()),
                };
            }
        }
        Err(Failure::Internal("the check does not end".to_owned()))
    })
}

fn line(result: &proto::CheckStepResult) -> String {
    let finding = finding(result.finding());
    format!("{finding:<8}  {}: {}", step(result.step()), result.what)
}

fn verdict(check: &proto::EvseCheck) -> String {
    let evse = &check.evse_id;
    if check.ended_at.is_none() {
        return format!("the check of {evse} is under way: {}", step(check.step()));
    }
    let at = output::time(check.ended_at.as_ref());
    if !check.aborted_because.is_empty() {
        return format!("the check of {evse} ended early at {at}: {}", check.aborted_because);
    }
    let verdict = match check.verdict() {
        proto::CheckFinding::Failed => "FAILED",
        proto::CheckFinding::Passed => "passed",
        _ => "has nothing against it, but not all could be seen",
    };
    format!("{evse} {verdict}, at {at}")
}

/// For the table of the roll-out: when, and what came of it.
pub fn in_short(check: &proto::EvseCheck) -> String {
    let failed = check
        .results
        .iter()
        .find(|result| result.finding() == proto::CheckFinding::Failed);
    match (check.ended_at.as_ref(), failed) {
        (None, _) => format!("under way: {}", step(check.step())),
        (at, Some(failed)) => format!("{} FAILED: {}", output::time(at), failed.what),
        (at, None) if check.verdict() == proto::CheckFinding::Passed => format!("{} passed", output::time(at)),
        (at, None) => format!("{} not all seen", output::time(at)),
    }
}

fn finding(finding: proto::CheckFinding) -> &'static str {
    match finding {
        proto::CheckFinding::Passed => "passed",
        proto::CheckFinding::Failed => "FAILED",
        proto::CheckFinding::NotSeen | proto::CheckFinding::Unspecified => "not seen",
    }
}

fn step(step: proto::CheckStep) -> &'static str {
    match step {
        proto::CheckStep::Unspecified => "-",
        proto::CheckStep::TakesPower => "the car takes power",
        proto::CheckStep::FollowsLower => "it follows a lower ceiling",
        proto::CheckStep::FollowsZero => "zero is zero",
        proto::CheckStep::FollowsHigher => "it follows a higher ceiling again",
        proto::CheckStep::FallsToTail => "it stops when its lease is over",
        proto::CheckStep::KeepsDefault => "without a profile it keeps to its default",
    }
}
