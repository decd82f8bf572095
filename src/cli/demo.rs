//! `laddplan demo`: one real workplace day, through the service as it is.

use super::failure::Failure;
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
}

pub fn run(args: DemoArgs) -> Result<(), Failure> {
    let _ = (args.data, args.out);
    Err(Failure::Internal("MERGE: simulate::demo".to_owned()))
}
