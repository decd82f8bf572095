//! `laddplan tenant`: whose sites there are, and what each tenant may take of the service.

use super::client::{ConnectionArgs, RequestArgs, every_page, refused, with_connection};
use super::failure::Failure;
use super::output;
use super::table::{Column, table};
use crate::wire::proto;
use clap::{Args, Subcommand};
use tonic::Code;

#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Create a tenant, or change what is given of it.
    Put(PutArgs),
    /// Show a tenant with what it has.
    Get(GetArgs),
    /// List tenants.
    List(ListArgs),
    /// Remove a tenant that has no sites, with its tokens and drivers.
    Remove(RemoveArgs),
    /// Say who changed what of tenants and tokens, the newest first.
    Changes(ChangesArgs),
}

#[derive(Debug, Args)]
pub struct PutArgs {
    /// Id of the tenant.
    tenant: String,
    /// In words.
    #[arg(long)]
    name: Option<String>,
    /// Whether none of its tokens is let in. Its sites go on as they are.
    #[arg(long, value_name = "true|false")]
    suspended: Option<bool>,
    /// Most sites.
    #[arg(long)]
    sites: Option<i32>,
    /// Most EVSEs of all its sites.
    #[arg(long)]
    evses: Option<i32>,
    /// Most calls each second.
    #[arg(long)]
    calls_per_second: Option<i32>,
    /// Most plans made once at a time.
    #[arg(long)]
    plans_at_once: Option<i32>,
    /// Most tokens.
    #[arg(long)]
    tokens: Option<i32>,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// Id of the tenant.
    tenant: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Id of the tenant.
    tenant: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub struct ChangesArgs {
    /// Of this tenant only.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub fn run(command: TenantCommand) -> Result<(), Failure> {
    match command {
        TenantCommand::Put(args) => put(args),
        TenantCommand::Get(args) => get(args),
        TenantCommand::List(args) => list(args),
        TenantCommand::Remove(args) => remove(args),
        TenantCommand::Changes(args) => changes(args),
    }
}

fn put(args: PutArgs) -> Result<(), Failure> {
    with_connection(&args.connection, async |client| {
        let known = proto::GetTenantRequest {
            tenant_id: args.tenant.clone(),
        };
        let known = match client.admin().get_tenant(known).await {
            Ok(known) => known.into_inner().tenant,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(refused(status)),
        };
        let request = proto::PutTenantRequest {
            meta: args.request.meta(),
            tenant: Some(laid_over(known.unwrap_or_default(), &args)),
        };
        let response = client.admin().put_tenant(request).await.map_err(refused)?.into_inner();
        client
            .form
            .say(&response, |response| tenants_table(response.tenant.as_slice()))
    })
}

/// What is given, over what is known.
fn laid_over(known: proto::Tenant, args: &PutArgs) -> proto::Tenant {
    let quota = known.quota.unwrap_or_default();
    proto::Tenant {
        id: args.tenant.clone(),
        name: args.name.clone().unwrap_or(known.name),
        suspended: args.suspended.unwrap_or(known.suspended),
        quota: Some(proto::Quota {
            sites: args.sites.unwrap_or(quota.sites),
            evses: args.evses.unwrap_or(quota.evses),
            calls_per_second: args.calls_per_second.unwrap_or(quota.calls_per_second),
            plans_at_once: args.plans_at_once.unwrap_or(quota.plans_at_once),
            tokens: args.tokens.unwrap_or(quota.tokens),
        }),
        created_at: None,
    }
}

fn get(args: GetArgs) -> Result<(), Failure> {
    with_connection(&args.connection, async |client| {
        let request = proto::GetTenantRequest {
            tenant_id: args.tenant.clone(),
        };
        let response = client.admin().get_tenant(request).await.map_err(refused)?.into_inner();
        client.form.say(&response, |response| {
            let has = format!(
                "{} sites, {} EVSEs, {} tokens",
                response.sites, response.evses, response.tokens
            );
            format!("{}\nhas {has}", tenants_table(response.tenant.as_slice()))
        })
    })
}

fn list(args: ListArgs) -> Result<(), Failure> {
    with_connection(&args.connection, async |client| {
        let tenants = every_page(async |page| {
            let request = proto::ListTenantsRequest { page: Some(page) };
            let response = client
                .admin()
                .list_tenants(request)
                .await
                .map_err(refused)?
                .into_inner();
            Ok((response.tenants, response.next_page_token))
        })
        .await?;
        let all = proto::ListTenantsResponse {
            tenants,
            next_page_token: String::new(),
        };
        client.form.say(&all, |all| tenants_table(&all.tenants))
    })
}

fn remove(args: RemoveArgs) -> Result<(), Failure> {
    with_connection(&args.connection, async |client| {
        let request = proto::RemoveTenantRequest {
            meta: args.request.meta(),
            tenant_id: args.tenant.clone(),
        };
        let response = client
            .admin()
            .remove_tenant(request)
            .await
            .map_err(refused)?
            .into_inner();
        client
            .form
            .say(&response, |_| format!("tenant {} removed", args.tenant))
    })
}

fn changes(args: ChangesArgs) -> Result<(), Failure> {
    with_connection(&args.connection, async |client| {
        let changes = every_page(async |page| {
            let request = proto::ListAccessChangesRequest {
                tenant_id: args.tenant.clone().unwrap_or_default(),
                page: Some(page),
            };
            let response = client
                .admin()
                .list_access_changes(request)
                .await
                .map_err(refused)?
                .into_inner();
            Ok((response.changes, response.next_page_token))
        })
        .await?;
        let all = proto::ListAccessChangesResponse {
            changes,
            next_page_token: String::new(),
        };
        client.form.say(&all, |all| changes_table(&all.changes))
    })
}

fn tenants_table(tenants: &[proto::Tenant]) -> String {
    let rows: Vec<[String; 8]> = tenants
        .iter()
        .map(|tenant| {
            let quota = tenant.quota.unwrap_or_default();
            [
                tenant.id.clone(),
                tenant.name.clone(),
                if tenant.suspended { "suspended" } else { "let in" }.to_owned(),
                quota.sites.to_string(),
                quota.evses.to_string(),
                quota.calls_per_second.to_string(),
                quota.plans_at_once.to_string(),
                quota.tokens.to_string(),
            ]
        })
        .collect();
    let columns = [
        Column::Left("tenant"),
        Column::Left("name"),
        Column::Left("state"),
        Column::Right("sites"),
        Column::Right("EVSEs"),
        Column::Right("calls/s"),
        Column::Right("plans at once"),
        Column::Right("tokens"),
    ];
    table(columns, &rows)
}

fn changes_table(changes: &[proto::AccessChange]) -> String {
    let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    let rows: Vec<[String; 4]> = changes
        .iter()
        .map(|change| {
            [
                output::time(change.at.as_ref()),
                or_dash(&change.token_id),
                or_dash(&change.tenant_id),
                change.what.clone(),
            ]
        })
        .collect();
    let columns = [
        Column::Left("when"),
        Column::Left("by token"),
        Column::Left("tenant"),
        Column::Left("what"),
    ];
    table(columns, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_listed_with_what_it_may_take() {
        let tenant = proto::Tenant {
            id: "acme".to_owned(),
            name: "Acme".to_owned(),
            suspended: true,
            quota: Some(proto::Quota {
                sites: 1,
                evses: 20,
                calls_per_second: 300,
                plans_at_once: 4,
                tokens: 5,
            }),
            created_at: None,
        };
        assert_eq!(
            tenants_table(&[tenant]),
            "tenant  name  state      sites  EVSEs  calls/s  plans at once  tokens\n\
             acme    Acme  suspended      1     20      300              4       5"
        );
    }
}
