//! `laddplan journal`: the journals of a data folder as lines of JSON, and back.
//!
//! Works on the folder itself, which no service may have open meanwhile.

use super::failure::Failure;
use super::output;
use crate::config::DEFAULT_DATA;
use crate::store::export::{Counts, ExportError, export, restore};
use crate::store::sled::{DEFAULT_CACHE_BYTES, SledStore};
use anyhow::Context;
use clap::{Args, Subcommand};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Write every journal and every ended session, one JSON object a line.
    Export(ExportArgs),
    /// Read an export into a new data folder.
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of the store.
    #[arg(long, value_name = "FOLDER", default_value = DEFAULT_DATA)]
    data: PathBuf,
    /// A new file; standard output if not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// An export.
    file: PathBuf,
    /// Folder of the store; must not hold one yet.
    #[arg(long, value_name = "FOLDER", default_value = DEFAULT_DATA)]
    data: PathBuf,
}

pub fn run(command: JournalCommand) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    let (done, counts) = match command {
        JournalCommand::Export(args) => ("exported", runtime.block_on(export_to(&args))?),
        JournalCommand::Restore(args) => ("restored", runtime.block_on(restore_from(&args))?),
    };
    output::complain(&format!(
        "{done} {} entries and {} ended sessions",
        counts.entries, counts.ended_sessions
    ));
    Ok(())
}

async fn export_to(args: &ExportArgs) -> Result<Counts, Failure> {
    if !args.data.is_dir() {
        return Err(wrong(&args.data, "is not a folder"));
    }
    let mut out: Box<dyn Write + Send> = match &args.out {
        Some(path) => Box::new(File::create_new(path).map_err(|error| wrong(path, error))?),
        None => Box::new(std::io::stdout()),
    };
    let mut out = BufWriter::new(&mut out);
    Ok(export(&open(&args.data)?, &mut out).await?)
}

async fn restore_from(args: &RestoreArgs) -> Result<Counts, Failure> {
    let file = File::open(&args.file).map_err(|error| wrong(&args.file, error))?;
    Ok(restore(&open(&args.data)?, &mut BufReader::new(file)).await?)
}

fn open(data: &Path) -> anyhow::Result<SledStore> {
    SledStore::open(data, DEFAULT_CACHE_BYTES).with_context(|| format!("cannot open {}", data.display()))
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::BadInput(format!("{}: {why}", path.display()))
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::NotEmpty(_) | ExportError::Line { .. } | ExportError::CutOff(_) | ExportError::Input(_) => {
                Self::BadInput(error.to_string())
            }
            ExportError::Store(_) | ExportError::Output(_) | ExportError::Json(_) => Self::Internal(error.to_string()),
        }
    }
}
