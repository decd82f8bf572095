//! `laddplan serve`: reads the settings, starts logging, runs the service until it is told to stop.
//!
//! Decides where settings come from. What the service consists of is decided in [`crate::app`].

use super::failure::Failure;
use super::input;
use crate::app;
use crate::config::{self, Config, ConfigFile, Sources};
use crate::domain::rejection::Rejection;
use crate::telemetry;
use anyhow::Context;
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Threads that read from the store at once, beside the solvers'. What else is to be read waits.
const STORE_READERS: usize = 32;

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Settings, in TOML.
    #[arg(long, value_name = "FILE", env = config::CONFIG_VARIABLE)]
    config: Option<PathBuf>,
    /// Address to listen on; wins over file and environment.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Folder of the store; wins over file and environment.
    #[arg(long, value_name = "FOLDER")]
    data: Option<String>,
    /// Where a first token goes, instead of to standard output. A file that only its owner may read.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
}

pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let config = Config::parse(&sources(args)?)?;
    telemetry::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(config.planner.solver_threads + STORE_READERS)
        .build()
        .context("no runtime")?;
    runtime
        .block_on(app::run(config, args.admin_token_file.as_deref()))
        .map_err(failure)
}

/// A certificate that cannot be used is a mistake in the settings too.
fn failure(error: anyhow::Error) -> Failure {
    match error.downcast::<Rejection>() {
        Ok(rejection) => rejection.into(),
        Err(error) => error.into(),
    }
}

fn sources(args: &ServeArgs) -> Result<Sources, Failure> {
    let file = match &args.config {
        Some(path) => Some(ConfigFile {
            name: path.display().to_string(),
            text: input::text_up_to(path, config::MAX_FILE_BYTES)?,
        }),
        None => None,
    };
    let flags = [("listen", &args.listen), ("data", &args.data)];
    Ok(Sources {
        file,
        environment: environment(),
        flags: flags
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect(),
    })
}

fn environment() -> BTreeMap<String, std::ffi::OsString> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(config::ENVIRONMENT_PREFIX))
        .collect()
}
