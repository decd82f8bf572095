//! `laddplan tenant`: whose sites there are, and what each tenant may take of the service.

use super::client::{ConnectionArgs, RequestArgs, every_page, refused, with_connection};
use super::failure::Failure;
use super::output;
use super::table::{Column, table};
use crate::wire::proto;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Create a tenant, or replace what is known of it.
    Put(PutArgs),
    /// Show a tenant with what it has.
    Get(GetArgs),
    /// List tenants.
    List(ListArgs),
    /// Remove a tenant that has no sites, with its tokens.
    Remove(RemoveArgs),
    /// Say who changed what of tenants and tokens, the newest first.
    Changes(ChangesArgs),
}

#[derive(Debug, Args)]
pub struct PutArgs {
    /// Id of the tenant.
    tenant: String,
    /// In words.
    #[arg(long, default_value = "")]
    name: String,
    /// Let none of its tokens in. Its sites go on as they are.
    #[arg(long)]
    suspended: bool,
    /// Most sites; 0 is the default.
    #[arg(long, default_value_t = 0)]
    sites: i32,
    /// Most EVSEs of all its sites; 0 is the default.
    #[arg(long, default_value_t = 0)]
    evses: i32,
    /// Most calls each second; 0 is the default.
    #[arg(long, default_value_t = 0)]
    calls_per_second: i32,
    /// Most plans made once at a time; 0 is the default.
    #[arg(long, default_value_t = 0)]
    plans_at_once: i32,
    /// Most tokens; 0 is the default.
    #[arg(long, default_value_t = 0)]
    tokens: i32,
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
        let request = proto::PutTenantRequest {
            meta: args.request.meta(),
            tenant: Some(proto::Tenant {
                id: args.tenant.clone(),
                name: args.name.clone(),
                suspended: args.suspended,
                quota: Some(proto::Quota {
                    sites: args.sites,
                    evses: args.evses,
                    calls_per_second: args.calls_per_second,
                    plans_at_once: args.plans_at_once,
                    tokens: args.tokens,
                }),
                created_at: None,
            }),
        };
        let response = client.admin().put_tenant(request).await.map_err(refused)?.into_inner();
        client
            .form
            .say(&response, |response| tenants_table(response.tenant.as_slice()))
    })
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
