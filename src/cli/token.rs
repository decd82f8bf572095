//! `laddplan token`: what calls carry.

use super::client::{ClientArgs, RequestArgs, every_page, refused, with_client};
use super::failure::Failure;
use super::output;
use super::table::{Column, table};
use crate::access::{Access, By};
use crate::app;
use crate::config::DEFAULT_DATA;
use crate::domain::access::Scope;
use crate::domain::rejection::Rejection;
use crate::engine::ports::Clock;
use crate::store::register::SqliteRegister;
use crate::wire::access::scope_message;
use crate::wire::proto;
use anyhow::Context;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token. Its secret is shown this once.
    Create(CreateArgs),
    /// List tokens.
    List(ListArgs),
    /// Give a token a new secret, shown this once; the old one lives on for a while.
    Rotate(RotateArgs),
    /// End a token at once.
    Revoke(RevokeArgs),
    /// Say whose token is in use, and what it may do.
    Show(ShowArgs),
    /// Make a token that administers everything, at the data folder of a service that does not run: for whoever lost the first one.
    Admin(AdminArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What it is for, in words.
    #[arg(long, default_value = "")]
    name: String,
    /// What may be done with it: site.read, plan.write, limits, gateway, drivers, admin. May repeat.
    #[arg(long = "scope", required = true, value_parser = scope)]
    scopes: Vec<Scope>,
    /// A site it is limited to. May repeat; all of the tenant if there is none.
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<String>,
    /// A gateway it may be, with scope gateway. May repeat; any of the tenant if there is none.
    #[arg(long = "gateway", value_name = "GATEWAY")]
    gateways: Vec<String>,
    /// Ends after so many days.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: Option<u16>,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Those that were revoked or have expired as well.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Id of the token.
    token: String,
    /// How long the secret in use lives on.
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u16).range(0..=720))]
    old_secret_hours: u16,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Id of the token.
    token: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
pub struct AdminArgs {
    /// The data folder.
    #[arg(long, value_name = "FOLDER", default_value = DEFAULT_DATA)]
    data: PathBuf,
}

fn scope(name: &str) -> Result<Scope, Rejection> {
    Scope::parse(name)
}

pub fn run(command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(args) => create(args),
        TokenCommand::List(args) => list(args),
        TokenCommand::Rotate(args) => rotate(args),
        TokenCommand::Revoke(args) => revoke(args),
        TokenCommand::Show(args) => show(args),
        TokenCommand::Admin(args) => admin(&args),
    }
}

fn create(args: CreateArgs) -> Result<(), Failure> {
    let now = app::SystemClock.now();
    let expires_at = args.days.map(|days| prost_types::Timestamp {
        seconds: now.unix_secs() + i64::from(days) * 86_400,
        nanos: 0,
    });
    with_client(&args.client, async |client| {
        let request = proto::CreateTokenRequest {
            meta: args.request.meta(),
            tenant_id: args.client.tenant.clone(),
            name: args.name.clone(),
            scopes: args.scopes.iter().map(|scope| scope_message(*scope) as i32).collect(),
            site_ids: args.sites.clone(),
            gateway_ids: args.gateways.clone(),
            expires_at,
        };
        let response = client
            .admin()
            .create_token(request)
            .await
            .map_err(refused)?
            .into_inner();
        client.form.say(&response, |response| {
            secret_of(response.token.as_ref(), &response.secret)
        })
    })
}

fn rotate(args: RotateArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::RotateTokenRequest {
            meta: args.request.meta(),
            token_id: args.token.clone(),
            old_secret_seconds: Some(i32::from(args.old_secret_hours) * 3_600),
            expires_at: None,
        };
        let response = client
            .admin()
            .rotate_token(request)
            .await
            .map_err(refused)?
            .into_inner();
        client.form.say(&response, |response| {
            secret_of(response.token.as_ref(), &response.secret)
        })
    })
}

/// Alone on the last line, so that scripts find it.
fn secret_of(token: Option<&proto::Token>, secret: &str) -> String {
    let id = token.map_or("", |token| token.id.as_str());
    format!("token {id}; its secret is shown this once:\n{secret}")
}

fn list(args: ListArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let tokens = every_page(async |page| {
            let request = proto::ListTokensRequest {
                tenant_id: args.client.tenant.clone(),
                include_ended: args.all,
                page: Some(page),
            };
            let response = client.admin().list_tokens(request).await.map_err(refused)?.into_inner();
            Ok((response.tokens, response.next_page_token))
        })
        .await?;
        let all = proto::ListTokensResponse {
            tokens,
            next_page_token: String::new(),
        };
        client.form.say(&all, |all| tokens_table(&all.tokens))
    })
}

fn revoke(args: RevokeArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::RevokeTokenRequest {
            meta: args.request.meta(),
            token_id: args.token.clone(),
        };
        let response = client
            .admin()
            .revoke_token(request)
            .await
            .map_err(refused)?
            .into_inner();
        client.form.say(&response, |response| {
            let revoked = response.token.as_ref().and_then(|token| token.revoked_at.as_ref());
            format!("token {} revoked {}", args.token, output::time(revoked))
        })
    })
}

fn show(args: ShowArgs) -> Result<(), Failure> {
    with_client(&args.client, async |client| {
        let request = proto::GetCallerRequest {};
        let response = client.admin().get_caller(request).await.map_err(refused)?.into_inner();
        client.form.say(&response, caller)
    })
}

fn caller(caller: &proto::GetCallerResponse) -> String {
    let of = match caller.tenant_id.as_str() {
        "" => "no tenant".to_owned(),
        tenant => format!("tenant {tenant}"),
    };
    let mut lines = vec![format!("{} of {of}", caller.credential)];
    lines.push(format!("scopes: {}", scope_names(caller.scopes())));
    if !caller.site_ids.is_empty() {
        lines.push(format!("sites: {}", caller.site_ids.join(", ")));
    }
    if !caller.gateway_ids.is_empty() {
        lines.push(format!("gateways: {}", caller.gateway_ids.join(", ")));
    }
    lines.join("\n")
}

fn scope_names(scopes: impl Iterator<Item = proto::Scope>) -> String {
    let known = |message: proto::Scope| Scope::ALL.into_iter().find(|scope| scope_message(*scope) == message);
    let names: Vec<&str> = scopes.map(|scope| known(scope).map_or("?", Scope::name)).collect();
    names.join(", ")
}

fn tokens_table(tokens: &[proto::Token]) -> String {
    let rows: Vec<[String; 6]> = tokens
        .iter()
        .map(|token| {
            let limits = [token.site_ids.join(" "), token.gateway_ids.join(" ")].join(" ");
            let limits = if limits.trim().is_empty() { "-" } else { limits.trim() };
            let ends = token.revoked_at.as_ref().or(token.expires_at.as_ref());
            [
                token.id.clone(),
                token.name.clone(),
                scope_names(token.scopes()),
                limits.to_owned(),
                output::time(token.last_used_at.as_ref()),
                output::time(ends),
            ]
        })
        .collect();
    let columns = [
        Column::Left("token"),
        Column::Left("for"),
        Column::Left("scopes"),
        Column::Left("limited to"),
        Column::Left("last used"),
        Column::Left("ends"),
    ];
    table(columns, &rows)
}

fn admin(args: &AdminArgs) -> Result<(), Failure> {
    if !args.data.is_dir() {
        return Err(Failure::BadInput(format!(
            "--data: {} is not a folder",
            args.data.display()
        )));
    }
    let register = SqliteRegister::open(&args.data).context("is the service still running?")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let secret = runtime.block_on(async {
        let access = Access::open(Arc::new(register), app::NO_SHARES).await?;
        app::administrator(&access, app::SystemClock.now(), &By::default()).await
    });
    output::say(&app::how_to_begin(&secret?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_listed_with_what_it_may_do_and_until_when() {
        let token = proto::Token {
            id: "5f0c".to_owned(),
            name: "the gate".to_owned(),
            scopes: vec![proto::Scope::SiteRead.into(), proto::Scope::Limits.into()],
            site_ids: vec!["depot".to_owned()],
            expires_at: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            ..Default::default()
        };
        assert_eq!(
            tokens_table(&[token]),
            "token  for       scopes             limited to  last used  ends\n\
             5f0c   the gate  site.read, limits  depot       -          1970-01-01T00:00:00Z"
        );
    }

    #[test]
    fn a_secret_stands_alone_on_the_last_line() {
        let token = proto::Token {
            id: "5f0c".to_owned(),
            ..Default::default()
        };
        assert_eq!(secret_of(Some(&token), "laddplan_x").lines().last(), Some("laddplan_x"));
    }
}
