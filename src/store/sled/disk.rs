//! The folder on disk: who may use it, whether it can be read, and how its contents reach the platter.
//!
//! Decides what is said when a folder cannot be opened. Never repairs, moves or deletes anything; sled itself may trim a damaged
//! file when it opens it, which is why the message asks to keep the folder and to restore into another one.

use super::super::keys;
use super::high_water::HighWater;
use super::reader::Reader;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Which layout of keys and records this program writes; the only one it reads.
const LAYOUT: &[u8] = b"laddplan store 1";
const LOCK_FILE: &str = "laddplan.lock";

/// Makes what was flushed last for good. The one thing between a store and a power cut, so tests can watch it and make it fail.
pub trait DiskSync: Send + 'static {
    fn sync(&self) -> io::Result<()>;
}

/// A second handle on sled's file: `fdatasync` is per file, whoever wrote.
#[derive(Debug)]
pub struct DbFile(File);

impl DbFile {
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let file = OpenOptions::new().write(true).open(folder.join("db"));
        file.map(Self).map_err(|error| OpenError::io(folder, error))
    }
}

impl DiskSync for DbFile {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Why a folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data folder {} is in use by another process{}; stop it, or give this one another folder",
        folder.display(), process.as_ref().map(|id| format!(" (id {id})")).unwrap_or_default())]
    Locked { folder: PathBuf, process: Option<u32> },
    #[error("the data folder {} is damaged: {why}. Move it aside, do not delete it, and restore the last export into a new folder; until then \
        nothing of it is used", folder.display())]
    Damaged { folder: PathBuf, why: String },
    #[error("the data folder {} was written by another version of laddplan: its layout is \"{found}\", this program reads \"{}\"",
        folder.display(), String::from_utf8_lossy(LAYOUT))]
    OtherLayout { folder: PathBuf, found: String },
    #[error("the data folder {} cannot be opened: {why}", folder.display())]
    Io { folder: PathBuf, why: String },
}

impl OpenError {
    fn io(folder: &Path, error: impl std::fmt::Display) -> Self {
        Self::Io {
            folder: folder.to_owned(),
            why: error.to_string(),
        }
    }

    fn damaged(folder: &Path, why: impl std::fmt::Display) -> Self {
        Self::Damaged {
            folder: folder.to_owned(),
            why: why.to_string(),
        }
    }
}

/// Held while the folder is in use; the operating system frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

pub struct Opened {
    pub db: sled::Db,
    pub lock: FolderLock,
}

pub fn open(folder: &Path, cache_bytes: u64) -> Result<Opened, OpenError> {
    std::fs::create_dir_all(folder).map_err(|error| OpenError::io(folder, error))?;
    let lock = lock(folder)?;
    let config = sled::Config::new().path(folder).cache_capacity(cache_bytes);
    // sled panics at some damage, and a panic must stop neither the program nor the telling of it.
    let opened = std::thread::spawn(move || config.open()).join();
    let db = match opened {
        Ok(Ok(db)) => db,
        Ok(Err(error)) => return Err(of_sled(folder, &error)),
        Err(_) => return Err(OpenError::damaged(folder, "sled stopped while it read it")),
    };
    check_layout(folder, &db)?;
    sync_folder(folder).map_err(|error| OpenError::io(folder, error))?;
    Ok(Opened { db, lock })
}

/// Taken before sled touches anything.
fn lock(folder: &Path) -> Result<FolderLock, OpenError> {
    let path = folder.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path);
    let file = file.map_err(|error| OpenError::io(folder, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let owner = std::fs::read_to_string(&path).unwrap_or_default();
            return Err(OpenError::Locked {
                folder: folder.to_owned(),
                process: owner.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(OpenError::io(folder, error)),
    }
    // Only for the message above.
    let noted = file.set_len(0).and_then(|()| {
        use io::Write;
        writeln!(&file, "{}", std::process::id())
    });
    noted.map_err(|error| OpenError::io(folder, error))?;
    Ok(FolderLock { _file: file })
}

fn of_sled(folder: &Path, error: &sled::Error) -> OpenError {
    match error {
        sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => OpenError::Locked {
            folder: folder.to_owned(),
            process: None,
        },
        // sled reads past the end of a file that lost its end.
        sled::Error::Io(io) if io.kind() != io::ErrorKind::UnexpectedEof => OpenError::io(folder, io),
        other => OpenError::damaged(folder, other),
    }
}

fn check_layout(folder: &Path, db: &sled::Db) -> Result<(), OpenError> {
    let found = db.get(keys::FORMAT).map_err(|error| of_sled(folder, &error))?;
    match found {
        Some(layout) if layout == LAYOUT => Ok(()),
        Some(other) => Err(OpenError::OtherLayout {
            folder: folder.to_owned(),
            found: String::from_utf8_lossy(&other).into_owned(),
        }),
        None if db.is_empty() => {
            let noted = db.insert(keys::FORMAT, LAYOUT).and_then(|_| db.flush());
            noted.map(|_| ()).map_err(|error| of_sled(folder, &error))
        }
        None => Err(OpenError::damaged(folder, "it does not say which layout it has")),
    }
}

/// Compares how many journal entries are there, which it returns, with how many were noted when they were synced.
pub fn check_nothing_lost(folder: &Path, reader: &Reader) -> Result<(HighWater, u64), OpenError> {
    let high_water = HighWater::open(folder).map_err(|error| OpenError::io(folder, error))?;
    let there = reader
        .count_entries()
        .map_err(|error| OpenError::damaged(folder, error))?;
    let noted = high_water.read();
    if there < noted {
        let why = format!("it has {there} journal entries, but {noted} or more were written");
        return Err(OpenError::damaged(folder, why));
    }
    Ok((high_water, there))
}

/// A new file is only there after a power cut if its folder was synced.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    match folder.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
