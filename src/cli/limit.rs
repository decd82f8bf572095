//! `laddplan limit`: limits on the nodes of a site.

use super::client::{ClientArgs, RequestArgs, every_page, refused, with_client};
use super::failure::Failure;
use super::table::{Column, table};
use super::{input, output, site};
use crate::wire::proto;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum LimitCommand {
    /// Set or replace a limit.
    Set(SetArgs),
    /// List the limits of a site.
    List(ListArgs),
    /// Remove a limit.
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub struct SetArgs {
    /// A `laddplan.v1.GridLimit` in proto3 JSON; `-` reads standard input.
    file: PathBuf,
    /// Id of the site.
    #[arg(long)]
    site: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Id of the site.
    #[arg(long)]
    site: String,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Id of the limit.
    limit: String,
    /// Id of the site.
    #[arg(long)]
    site: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(command: LimitCommand) -> Result<(), Failure> {
    match command {
        LimitCommand::Set(args) => set(args),
        LimitCommand::List(args) => list(args),
        LimitCommand::Remove(args) => remove(args),
    }
}

fn set(args: SetArgs) -> Result<(), Failure> {
    let limit: proto::GridLimit = input::message(&args.file)?;
    with_client(&args.client, async |client| {
        let request = proto::SetGridLimitRequest {
            meta: args.request.meta(),
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
            grid_limit: Some(limit),
        };
        let response = client
            .sites()
            .set_grid_limit(request)
            .await
            .map_err(refused)?
            .into_inner();
        client
            .form
            .say(&response, |response| output::receipt(response.receipt.as_ref()))
    })
}

fn list(args: ListArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let grid_limits = every_page(async |page| {
            let request = proto::ListGridLimitsRequest {
                tenant_id: args.client.tenant.clone(),
                site_id: args.site.clone(),
                page: Some(page),
            };
            let response = client
                .sites()
                .list_grid_limits(request)
                .await
                .map_err(refused)?
                .into_inner();
            Ok((response.grid_limits, response.next_page_token))
        })
        .await?;
        let all = proto::ListGridLimitsResponse {
            grid_limits,
            next_page_token: String::new(),
        };
        client.form.say(&all, |all| limits_table(&all.grid_limits))
    })
}

fn remove(args: RemoveArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::RemoveGridLimitRequest {
            meta: args.request.meta(),
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
            grid_limit_id: args.limit.clone(),
        };
        let response = client
            .sites()
            .remove_grid_limit(request)
            .await
            .map_err(refused)?
            .into_inner();
        client
            .form
            .say(&response, |response| output::receipt(response.receipt.as_ref()))
    })
}

fn limits_table(limits: &[proto::GridLimit]) -> String {
    let rows: Vec<[String; 6]> = limits
        .iter()
        .map(|limit| {
            let (line, total) = site::node_limit(limit.limit.as_ref());
            let source = source(limit).to_owned();
            [
                limit.id.clone(),
                limit.node_id.clone(),
                source,
                line,
                total,
                when(limit),
            ]
        })
        .collect();
    let columns = [
        Column::Left("limit"),
        Column::Left("node"),
        Column::Left("set by"),
        Column::Right("A per phase"),
        Column::Right("kW in total"),
        Column::Left("when"),
    ];
    table(columns, &rows)
}

fn source(limit: &proto::GridLimit) -> &'static str {
    match limit.source() {
        proto::LimitSource::Unspecified => "-",
        proto::LimitSource::Installation => "installation",
        proto::LimitSource::SiteManager => "site manager",
        proto::LimitSource::Dso => "DSO",
        proto::LimitSource::TariffGuard => "tariff guard",
    }
}

/// `2026-11-22T15:00:00Z until -`, or `Mon Tue 17:00 to 20:00`.
fn when(limit: &proto::GridLimit) -> String {
    use proto::grid_limit::When;
    match &limit.when {
        None => "-".to_owned(),
        Some(When::Once(window)) => format!(
            "{} until {}",
            output::time(window.from.as_ref()),
            output::time(window.until.as_ref())
        ),
        Some(When::Weekly(window)) => {
            let days: Vec<&str> = window.days().map(day).collect();
            let clock = |minute: i32| format!("{:02}:{:02}", minute / 60, minute % 60);
            let (from, until) = (window.from_minute_of_day, window.until_minute_of_day);
            format!("{} {} to {}", days.join(" "), clock(from), clock(until))
        }
    }
}

fn day(weekday: proto::Weekday) -> &'static str {
    match weekday {
        proto::Weekday::Unspecified => "?",
        proto::Weekday::Monday => "Mon",
        proto::Weekday::Tuesday => "Tue",
        proto::Weekday::Wednesday => "Wed",
        proto::Weekday::Thursday => "Thu",
        proto::Weekday::Friday => "Fri",
        proto::Weekday::Saturday => "Sat",
        proto::Weekday::Sunday => "Sun",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::from_json;

    #[test]
    fn limits_tell_who_set_them_and_when_they_hold() {
        let limits: Vec<proto::GridLimit> = [
            r#"{"id": "cut", "node_id": "grid", "source": "LIMIT_SOURCE_DSO", "limit": {"total_watt": 50000},
                "once": {"from": "2026-11-22T15:00:00Z"}}"#,
            r#"{"id": "evening", "node_id": "panel", "source": "LIMIT_SOURCE_SITE_MANAGER", "limit": {"line_deciampere": 635},
                "weekly": {"days": ["WEEKDAY_MONDAY", "WEEKDAY_FRIDAY"], "from_minute_of_day": 1020, "until_minute_of_day": 65}}"#,
        ]
        .into_iter()
        .map(|text| from_json(text).unwrap())
        .collect();
        assert_eq!(
            limits_table(&limits),
            "limit    node   set by        A per phase  kW in total  when\n\
             cut      grid   DSO                     -         50.0  2026-11-22T15:00:00Z until -\n\
             evening  panel  site manager         63.5            -  Mon Fri 17:00 to 01:05"
        );
    }
}
