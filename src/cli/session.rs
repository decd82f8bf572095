//! `laddplan session`: charging sessions of a running service.

use super::client::{ClientArgs, RequestArgs, every_page, refused, with_client};
use super::failure::Failure;
use super::table::{Column, table};
use super::{input, output};
use crate::wire::proto;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// A car plugged in.
    Start(SpecArgs),
    /// Replace what was said about a session.
    Update(SpecArgs),
    /// Boost or pause a session, hand its EVSE back to the station, or give it back to the planner.
    Override(OverrideArgs),
    /// The car left.
    End(EndArgs),
    /// Show a session.
    Get(GetArgs),
    /// List the sessions that are there.
    List(ListArgs),
}

#[derive(Debug, Args)]
pub struct SpecArgs {
    /// A `laddplan.v1.SessionSpec` in proto3 JSON; `-` reads standard input.
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
pub struct OverrideArgs {
    /// Id of the session.
    session: String,
    #[arg(value_enum)]
    to: OverrideTo,
    /// Id of the site.
    #[arg(long)]
    site: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OverrideTo {
    /// The planner decides.
    None,
    /// Before everyone else, as fast as can be.
    Boost,
    /// No charging until taken back.
    Pause,
    /// The station decides; its maximum is reserved.
    HandBack,
}

impl From<OverrideTo> for proto::SessionOverride {
    fn from(to: OverrideTo) -> Self {
        match to {
            OverrideTo::None => Self::None,
            OverrideTo::Boost => Self::Boost,
            OverrideTo::Pause => Self::Pause,
            OverrideTo::HandBack => Self::HandBack,
        }
    }
}

#[derive(Debug, Args)]
pub struct EndArgs {
    /// Id of the session.
    session: String,
    /// Id of the site.
    #[arg(long)]
    site: String,
    /// Why, in words.
    #[arg(long, default_value = "")]
    reason: String,
    /// Energy in total, in watt-hours, where known.
    #[arg(long, value_name = "WH")]
    delivered_watt_hour: Option<i64>,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// Id of the session.
    session: String,
    /// Id of the site.
    #[arg(long)]
    site: String,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Id of the site.
    #[arg(long)]
    site: String,
    /// Also those that have ended.
    #[arg(long)]
    include_ended: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(command: SessionCommand) -> Result<(), Failure> {
    match command {
        SessionCommand::Start(args) => start(args),
        SessionCommand::Update(args) => update(args),
        SessionCommand::Override(args) => override_session(args),
        SessionCommand::End(args) => end(args),
        SessionCommand::Get(args) => get(args),
        SessionCommand::List(args) => list(args),
    }
}

fn start(args: SpecArgs) -> Result<(), Failure> {
    let spec: proto::SessionSpec = input::message(&args.file)?;
    with_client(&args.client, async |client| {
        let request = proto::StartSessionRequest {
            meta: args.request.meta(),
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
            session: Some(spec),
        };
        let response = client
            .sessions()
            .start_session(request)
            .await
            .map_err(refused)?
            .into_inner();
        client
            .form
            .say(&response, |response| output::receipt(response.receipt.as_ref()))
    })
}

fn update(args: SpecArgs) -> Result<(), Failure> {
    let spec: proto::SessionSpec = input::message(&args.file)?;
    with_client(&args.client, async |client| {
        let request = proto::UpdateSessionRequest {
            meta: args.request.meta(),
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
            session: Some(spec),
        };
        let response = client
            .sessions()
            .update_session(request)
            .await
            .map_err(refused)?
            .into_inner();
        client
            .form
            .say(&response, |response| output::receipt(response.receipt.as_ref()))
    })
}

fn override_session(args: OverrideArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::OverrideSessionRequest {
            meta: args.request.meta(),
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
            session_id: args.session.clone(),
            session_override: proto::SessionOverride::from(args.to).into(),
        };
        let response = client
            .sessions()
            .override_session(request)
            .await
            .map_err(refused)?
            .into_inner();
        client
            .form
            .say(&response, |response| output::receipt(response.receipt.as_ref()))
    })
}

fn end(args: EndArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::EndSessionRequest {
            meta: args.request.meta(),
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
            session_id: args.session.clone(),
            ended_at: None,
            reason: args.reason.clone(),
            delivered_watt_hour: args.delivered_watt_hour,
        };
        let response = client
            .sessions()
            .end_session(request)
            .await
            .map_err(refused)?
            .into_inner();
        client
            .form
            .say(&response, |response| output::receipt(response.receipt.as_ref()))
    })
}

fn get(args: GetArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::GetSessionRequest {
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
            session_id: args.session.clone(),
        };
        let response = client
            .sessions()
            .get_session(request)
            .await
            .map_err(refused)?
            .into_inner();
        client
            .form
            .say(&response, |response| sessions_table(response.session.as_slice()))
    })
}

fn list(args: ListArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let sessions = every_page(async |page| {
            let request = proto::ListSessionsRequest {
                tenant_id: args.client.tenant.clone(),
                site_id: args.site.clone(),
                include_ended: args.include_ended,
                page: Some(page),
            };
            let response = client
                .sessions()
                .list_sessions(request)
                .await
                .map_err(refused)?
                .into_inner();
            Ok((response.sessions, response.next_page_token))
        })
        .await?;
        let all = proto::ListSessionsResponse {
            sessions,
            next_page_token: String::new(),
        };
        client.form.say(&all, |all| sessions_table(&all.sessions))
    })
}

fn sessions_table(sessions: &[proto::Session]) -> String {
    let rows: Vec<[String; 8]> = sessions.iter().map(session_row).collect();
    let columns = [
        Column::Left("session"),
        Column::Left("EVSE"),
        Column::Left("arrival"),
        Column::Left("departure"),
        Column::Right("asked kWh"),
        Column::Right("delivered kWh"),
        Column::Right("drawing kW"),
        Column::Left("state"),
    ];
    table(columns, &rows)
}

fn session_row(session: &proto::Session) -> [String; 8] {
    let spec = session.spec.clone().unwrap_or_default();
    [
        spec.id,
        spec.evse_id,
        output::time(spec.arrival_time.as_ref()),
        output::time(spec.departure_time.as_ref()),
        spec.need_watt_hour.map_or_else(|| "-".to_owned(), output::kwh),
        output::kwh(session.delivered_watt_hour),
        session
            .metered_at
            .map_or_else(|| "-".to_owned(), |_| output::kw(session.metered_watt)),
        state(session),
    ]
}

fn state(session: &proto::Session) -> String {
    if session.ended_at.is_some() {
        return format!("ended: {}", session.end_reason);
    }
    match (session.session_override(), session.not_admitted()) {
        (proto::SessionOverride::HandBack, _) => "handed back",
        (proto::SessionOverride::Pause, _) => "paused",
        (_, not_admitted) if not_admitted != proto::NotAdmitted::Unspecified => {
            return format!("not admitted: {}", why_not_admitted(not_admitted));
        }
        (proto::SessionOverride::Boost, _) => "boosted",
        (proto::SessionOverride::Unspecified | proto::SessionOverride::None, _) => "planned",
    }
    .to_owned()
}

fn why_not_admitted(why: proto::NotAdmitted) -> String {
    let name = why.as_str_name().trim_start_matches("NOT_ADMITTED_");
    name.to_lowercase().replace('_', " ")
}
