//! `laddplan site`: sites of a running service, and the plan in force at one.

use super::client::{ClientArgs, RequestArgs, every_page, refused, with_client};
use super::failure::Failure;
use super::table::{Column, table};
use super::{commissioning, input, meter, output, plan_table, rollout};
use crate::wire::proto;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Create a site, or replace its description.
    Put(PutArgs),
    /// Show a site.
    Get(OneSiteArgs),
    /// List the sites.
    List(ListArgs),
    /// Stop planning a site and forget it; its journal is kept.
    Delete(ChangeArgs),
    /// Stop all charging at a site.
    Stop(ChangeArgs),
    /// Allow charging again.
    Resume(ChangeArgs),
    /// Show the plan in force at a site.
    Plan(OneSiteArgs),
    /// Show what each EVSE may be following, why room is held for it, and what is left.
    Rollout(rollout::RolloutArgs),
    /// Tell what a meter at a node shows now.
    Meter(meter::MeterArgs),
    /// Check whether an EVSE does by itself what the site says, and whether it obeys.
    Check(commissioning::CheckArgs),
}

#[derive(Debug, Args)]
pub struct PutArgs {
    /// A `laddplan.v1.Site` in proto3 JSON; `-` reads standard input.
    file: PathBuf,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct OneSiteArgs {
    /// Id of the site.
    site: String,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// Id of the site.
    site: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(command: SiteCommand) -> Result<(), Failure> {
    match command {
        SiteCommand::Put(args) => put(args),
        SiteCommand::Get(args) => get(args),
        SiteCommand::List(args) => list(args),
        SiteCommand::Delete(args) => delete(args),
        SiteCommand::Stop(args) => stop(args, true),
        SiteCommand::Resume(args) => stop(args, false),
        SiteCommand::Plan(args) => plan(args),
        SiteCommand::Rollout(args) => rollout::run(args),
        SiteCommand::Meter(args) => meter::run(args),
        SiteCommand::Check(args) => commissioning::run(args),
    }
}

fn put(args: PutArgs) -> Result<(), Failure> {
    let site: proto::Site = input::message(&args.file)?;
    with_client(&args.client, async |client| {
        let request = proto::PutSiteRequest {
            meta: args.request.meta(),
            tenant_id: args.client.tenant.clone(),
            site: Some(site),
        };
        let response = client.sites().put_site(request).await.map_err(refused)?.into_inner();
        client
            .form
            .say(&response, |response| output::receipt(response.receipt.as_ref()))
    })
}

fn get(args: OneSiteArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::GetSiteRequest {
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
        };
        let response = client.sites().get_site(request).await.map_err(refused)?.into_inner();
        client.form.say(&response, described)
    })
}

fn list(args: ListArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let sites = every_page(async |page| {
            let request = proto::ListSitesRequest {
                tenant_id: args.client.tenant.clone(),
                page: Some(page),
            };
            let response = client.sites().list_sites(request).await.map_err(refused)?.into_inner();
            Ok((response.sites, response.next_page_token))
        })
        .await?;
        let all = proto::ListSitesResponse {
            sites,
            next_page_token: String::new(),
        };
        client.form.say(&all, |all| sites_table(&all.sites))
    })
}

fn delete(args: ChangeArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::DeleteSiteRequest {
            meta: args.request.meta(),
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
        };
        let response = client.sites().delete_site(request).await.map_err(refused)?.into_inner();
        client
            .form
            .say(&response, |response| output::receipt(response.receipt.as_ref()))
    })
}

fn stop(args: ChangeArgs, stopped: bool) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::StopSiteRequest {
            meta: args.request.meta(),
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
            stopped,
        };
        let response = client.sites().stop_site(request).await.map_err(refused)?.into_inner();
        client
            .form
            .say(&response, |response| output::receipt(response.receipt.as_ref()))
    })
}

fn plan(args: OneSiteArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::GetPlanRequest {
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
        };
        let response = client.plans().get_plan(request).await.map_err(refused)?.into_inner();
        client.form.say(&response, plan_table::plan_in_force)
    })
}

fn mode(site: &proto::Site) -> &'static str {
    match site.mode() {
        proto::SiteMode::Unspecified => "-",
        proto::SiteMode::Off => "off",
        proto::SiteMode::Shadow => "shadow",
        proto::SiteMode::Control => "control",
    }
}

fn evses(site: &proto::Site) -> impl Iterator<Item = (&proto::Station, &proto::Evse)> {
    site.stations
        .iter()
        .flat_map(|station| station.evses.iter().map(move |evse| (station, evse)))
}

fn sites_table(sites: &[proto::Site]) -> String {
    let rows: Vec<[String; 5]> = sites
        .iter()
        .map(|site| {
            [
                site.id.clone(),
                mode(site).to_owned(),
                site.time_zone.clone(),
                evses(site).count().to_string(),
                site.gateway_id.clone(),
            ]
        })
        .collect();
    let columns = [
        Column::Left("site"),
        Column::Left("mode"),
        Column::Left("time zone"),
        Column::Right("EVSEs"),
        Column::Left("gateway"),
    ];
    table(columns, &rows)
}

fn described(response: &proto::GetSiteResponse) -> String {
    let Some(site) = &response.site else {
        return "no description".to_owned();
    };
    let mut lines = vec![format!(
        "site {}, {}, {}, mode {}{}, entry {}",
        site.id,
        site.time_zone,
        site.currency,
        mode(site),
        if response.stopped { ", STOPPED" } else { "" },
        response.sequence
    )];
    if !response.not_controlled_because.is_empty() {
        lines.push(format!("not controlled: {}", response.not_controlled_because));
    }
    lines.push(String::new());
    lines.push(nodes_table(site));
    lines.push(String::new());
    lines.push(evses_table(site));
    lines.join("\n")
}

fn nodes_table(site: &proto::Site) -> String {
    let rows: Vec<[String; 6]> = site
        .nodes
        .iter()
        .map(|node| {
            let (line, total) = node_limit(node.limit.as_ref());
            let (unbalance, primary) = (node.unbalance_deciampere, node.primary_line_deciampere);
            let [id, parent] = [&node.id, &node.parent_id].map(String::clone);
            [id, parent, line, total, amperes(unbalance), amperes(primary)]
        })
        .collect();
    let columns = [
        Column::Left("node"),
        Column::Left("fed from"),
        Column::Right("A per phase"),
        Column::Right("kW in total"),
        Column::Right("A of unbalance"),
        Column::Right("A on the primary"),
    ];
    table(columns, &rows)
}

fn evses_table(site: &proto::Site) -> String {
    let rows: Vec<[String; 6]> = evses(site)
        .flat_map(|(station, evse)| evse.connectors.iter().map(move |connector| (station, evse, connector)))
        .map(|(station, evse, connector)| {
            [
                evse.id.clone(),
                connector.id.clone(),
                station.node_id.clone(),
                output::rate(connector.minimum.as_ref()),
                output::rate(connector.maximum.as_ref()),
                if evse.uncontrollable { "no" } else { "yes" }.to_owned(),
            ]
        })
        .collect();
    let columns = [
        Column::Left("EVSE"),
        Column::Left("connector"),
        Column::Left("fed from"),
        Column::Right("least"),
        Column::Right("most"),
        Column::Left("controllable"),
    ];
    table(columns, &rows)
}

/// Amperes per phase and kilowatts in total; `-` is no limit.
pub fn node_limit(limit: Option<&proto::NodeLimit>) -> (String, String) {
    let line = limit.and_then(|limit| limit.line_deciampere);
    let total = limit.and_then(|limit| limit.total_watt);
    (amperes(line), total.map_or_else(none, output::kw))
}

fn amperes(limit: Option<i64>) -> String {
    limit.map_or_else(none, |deciamps| crate::ocpi::decimal::Tenths::new(deciamps).to_string())
}

fn none() -> String {
    "-".to_owned()
}
