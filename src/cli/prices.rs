//! `laddplan prices`: energy prices of a site.

use super::client::{ClientArgs, RequestArgs, refused, with_client};
use super::failure::Failure;
use super::{input, output};
use crate::wire::proto;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum PricesCommand {
    /// From the first point on replace the prices known before.
    Set(SetArgs),
}

#[derive(Debug, Args)]
pub struct SetArgs {
    /// A `laddplan.v1.SetPricesRequest` in proto3 JSON, of which only `prices` counts; `-` reads standard input.
    file: PathBuf,
    /// Id of the site.
    #[arg(long)]
    site: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    client: ClientArgs,
}

pub fn run(command: PricesCommand) -> Result<(), Failure> {
    match command {
        PricesCommand::Set(args) => set(args),
    }
}

fn set(args: SetArgs) -> Result<(), Failure> {
    let given: proto::SetPricesRequest = input::message(&args.file)?;
    with_client(&args.client, async |client| {
        let request = proto::SetPricesRequest {
            meta: args.request.meta(),
            tenant_id: args.client.tenant.clone(),
            site_id: args.site.clone(),
            prices: given.prices,
        };
        let response = client.sites().set_prices(request).await.map_err(refused)?.into_inner();
        client
            .form
            .say(&response, |response| output::receipt(response.receipt.as_ref()))
    })
}
