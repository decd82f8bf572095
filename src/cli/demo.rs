//! `laddplan demo`: one real workplace day, through the service as it is.

use super::failure::Failure;
use super::output;
use crate::config::{Log, LogFormat};
use crate::simulate::demo::{self, Options};
use crate::telemetry;
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for the store of the demo; made anew.
    #[arg(long, value_name = "FOLDER", default_value = "laddplan-demo/data")]
    data: PathBuf,
    /// Folder for the report.
    #[arg(long, value_name = "FOLDER", default_value = "laddplan-demo")]
    out: PathBuf,
    /// Of the network's delays; another seed is another day on the wire.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

pub fn run(args: DemoArgs) -> Result<(), Failure> {
    telemetry::start(&Log {
        filter: "warn".to_owned(),
        format: LogFormat::Text,
    })?;
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    let outcome = runtime.block_on(demo::run(Options {
        data: args.data,
        out: args.out,
        seed: args.seed,
    }))?;
    output::say(&format!(
        "{}\n\nReport:  {}\nFigures: {}\nJournal: {}",
        outcome.report.table(),
        outcome.written.html.display(),
        outcome.written.json.display(),
        outcome.store.display()
    ))
}
