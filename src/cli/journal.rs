//! `laddplan journal`: the journals of a data folder as lines of JSON, and back.
//!
//! Works on the folder itself, which no service may have open meanwhile.

use super::failure::Failure;
use super::output;
use crate::config::DEFAULT_DATA;
use crate::store::export::{Counts, Export, ExportError, export, restore};
use crate::store::sled::{DEFAULT_CACHE_BYTES, SledStore};
use anyhow::Context;
use clap::{Args, Subcommand};
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Write every journal and every ended session, one JSON object a line. Of what is damaged, what stands before it.
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
    let export = match &args.out {
        None => export_into(&args.data, &mut std::io::stdout()).await?,
        Some(out) => export_into_file(&args.data, out).await?,
    };
    if export.damaged.is_empty() {
        return Ok(export.counts);
    }
    let Counts {
        entries,
        ended_sessions,
    } = export.counts;
    Err(Failure::Internal(format!(
        "exported the {entries} entries and {ended_sessions} ended sessions that can be read, but not all can:\n{}",
        export.damaged.join("\n")
    )))
}

/// Whoever finds the file under its name finds a whole export.
async fn export_into_file(data: &Path, out: &Path) -> Result<Export, Failure> {
    if out.exists() {
        return Err(wrong(out, "is there already; an export is a new file"));
    }
    let unfinished = unfinished(out);
    let mut file = File::create(&unfinished).map_err(|error| wrong(&unfinished, error))?;
    let export = export_into(data, &mut file).await?;
    file.sync_all()
        .and_then(|()| std::fs::rename(&unfinished, out))
        .with_context(|| format!("cannot finish {}", out.display()))?;
    Ok(export)
}

async fn export_into(data: &Path, out: &mut (dyn Write + Send)) -> Result<Export, Failure> {
    let store = open(data)?;
    let mut export = export(&store, &mut BufWriter::new(out)).await?;
    if export.damaged.is_empty() {
        store.all_was_read();
    } else if let Some(kept) = store.as_found() {
        let where_it_is = format!("the files as they were found are in {}", kept.display());
        export.damaged.push(where_it_is);
    }
    Ok(export)
}

async fn restore_from(args: &RestoreArgs) -> Result<Counts, Failure> {
    let file = File::open(&args.file).map_err(|error| wrong(&args.file, error))?;
    let is_new = match std::fs::read_dir(&args.data) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(wrong(&args.data, error)),
    };
    if !is_new {
        return Err(wrong(&args.data, "is not empty; restore into a new folder"));
    }
    // Whoever finds the folder under its name finds a whole restore.
    let unfinished = unfinished(&args.data);
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(|error| wrong(&unfinished, error))?;
    }
    let counts = restore(&open(&unfinished)?, &mut BufReader::new(file)).await?;
    std::fs::rename(&unfinished, &args.data).with_context(|| format!("cannot finish {}", args.data.display()))?;
    Ok(counts)
}

/// Where a file or folder is made before it gets its name.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
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
