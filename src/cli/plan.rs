//! `laddplan plan`: one request from a file, planned in this process, remembered nowhere.

use super::failure::Failure;
use super::output::{self, Form};
use super::{input, plan_table};
use crate::domain::ids::TenantId;
use crate::engine::once;
use crate::wire::{self, proto};
use clap::Args;
use std::path::PathBuf;

/// A request that is ready to run.
const EXAMPLE: &str = include_str!("../../examples/plan_request.json");

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// A `laddplan.v1.PlanRequest` in proto3 JSON; `-` reads standard input.
    #[arg(required_unless_present = "print_example")]
    request: Option<PathBuf>,
    /// Print the `PlanResponse` as JSON.
    #[arg(long)]
    json: bool,
    /// Print a request to start from.
    #[arg(long, conflicts_with = "request")]
    print_example: bool,
}

pub fn run(args: &PlanArgs) -> Result<(), Failure> {
    let Some(path) = &args.request else {
        return output::say(EXAMPLE.trim_end());
    };
    let request: proto::PlanRequest = input::message(path)?;
    Form::of(args.json).say(&answer(&request)?, plan_table::plan)
}

fn answer(request: &proto::PlanRequest) -> Result<proto::PlanResponse, Failure> {
    let tenant = TenantId::parse("local").expect("is an id");
    let problem = wire::plan::once_request(&tenant, request)?;
    Ok(wire::plan::plan_response(&once::plan(&problem)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::site::Site;

    #[test]
    fn the_example_is_a_valid_request() {
        let request: proto::PlanRequest = wire::json::from_json(EXAMPLE).unwrap();
        let tenant = TenantId::parse("example").unwrap();
        Site::new(wire::site::site_spec(&tenant, request.site.as_ref().unwrap()).unwrap()).unwrap();
        for limit in &request.grid_limits {
            wire::site::grid_limit(limit).unwrap();
        }
        for session in &request.sessions {
            wire::session::session_spec(session.spec.as_ref().unwrap(), None).unwrap();
        }
        wire::site::prices(&request.prices).unwrap();
    }
}
