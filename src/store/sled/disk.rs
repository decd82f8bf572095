//! The folder on disk: who may use it, whether it can be read, and how its contents reach the platter.
//!
//! Decides what is said when a folder cannot be opened. Never repairs, moves or deletes anything; sled itself trims a damaged file
//! when it opens it, which is why the files are copied first ([`as_found`]) and the message asks to restore into another folder.

use super::super::keys;
use super::as_found::{self, AS_FOUND};
use super::audit::{Audit, audit};
use super::high_water::{HighWater, Note};
use super::reader::Reader;
use super::tally::Total;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which layout of keys and records this program writes; the only one it reads.
const LAYOUT: &[u8] = b"laddplan store 3";
pub const LOCK_FILE: &str = "laddplan.lock";
/// sled's log.
pub const DB_FILE: &str = "db";
/// sled's settings, and what its short cuts into the log begin with. Each ends with a CRC-32 of what stands before it.
const SETTINGS_FILE: &str = "conf";
const SHORT_CUT: &str = "snap.";
/// The length of a short cut stands between it and its CRC-32.
const SHORT_CUT_LENGTH_BYTES: usize = 8;
/// How often, and how far apart, a closed store looks whether sled has let go of its file.
const LET_GO_LOOKS: usize = 5_000;
const LET_GO_PAUSE: Duration = Duration::from_millis(1);

/// Makes what was flushed last for good. The one thing between a store and a power cut, so tests can watch it and make it fail.
pub trait DiskSync: Send + 'static {
    fn sync(&self) -> io::Result<()>;
}

/// A second handle on sled's file: `fdatasync` is per file, whoever wrote.
#[derive(Debug)]
pub struct DbFile(File);

impl DbFile {
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let file = OpenOptions::new().write(true).open(folder.join(DB_FILE));
        file.map(Self).map_err(|error| OpenError::io(folder, DB_FILE, error))
    }
}

impl DiskSync for DbFile {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Why a folder could not be opened. Nothing of it is used then, and nothing in it is lost.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data folder {} is in use by another process{}; stop it, or give this one another folder",
        folder.display(), process.as_ref().map(|id| format!(" (id {id})")).unwrap_or_default())]
    Locked { folder: PathBuf, process: Option<u32> },
    #[error("the data folder {} is damaged: {why}. Nothing of it is used. Its files as they were found are in {}; move the whole folder aside, do not \
        delete it, and restore the last export into a new one: laddplan journal restore EXPORT --data NEW_FOLDER; see docs/damaged-store.md",
        folder.display(), folder.join(AS_FOUND).display())]
    Damaged { folder: PathBuf, why: String },
    #[error("the data folder {} was written by another version of laddplan: its layout is \"{found}\", this program reads \"{}\"",
        folder.display(), String::from_utf8_lossy(LAYOUT))]
    OtherLayout { folder: PathBuf, found: String },
    #[error("the data folder {} was not opened, since its files could not be copied to {} first: {why}. Free {bytes} bytes on its disk, \
        or give laddplan the right to write there", folder.display(), folder.join(AS_FOUND).display())]
    NotKept { folder: PathBuf, bytes: u64, why: String },
    #[error("the data folder {} cannot be opened: {file}: {why}. laddplan has to read and write it, and needs room on its disk", folder.display())]
    Io { folder: PathBuf, file: String, why: String },
}

impl OpenError {
    /// `file` is the one in the folder that was at hand.
    fn io(folder: &Path, file: &str, error: impl std::fmt::Display) -> Self {
        Self::Io {
            folder: folder.to_owned(),
            file: file.to_owned(),
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
    folder: PathBuf,
    /// Whether sled was let in.
    opened: bool,
    _file: File,
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        if self.opened {
            wait_until_let_go(&self.folder);
        }
    }
}

/// Waits until sled has let go of its file. A thread of sled's that wrote the last bytes may hold it a little longer than the store
/// that it wrote for, and whoever opened the folder at that moment would find it in use.
#[expect(
    clippy::disallowed_methods,
    reason = "sled does not say when it has let go, and who closes a store waits for that anyway"
)]
pub fn wait_until_let_go(folder: &Path) {
    let Ok(file) = File::open(folder.join(DB_FILE)) else {
        return;
    };
    for _ in 0..LET_GO_LOOKS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LET_GO_PAUSE),
            _ => return,
        }
    }
    tracing::warn!(folder = %folder.display(), "sled still holds its file");
}

pub struct Opened {
    pub db: sled::Db,
    pub lock: FolderLock,
}

pub fn open(folder: &Path, cache_bytes: u64) -> Result<Opened, OpenError> {
    std::fs::create_dir_all(folder).map_err(|error| OpenError::io(folder, ".", error))?;
    let mut lock = lock(folder)?;
    as_found::keep(folder).map_err(|error| OpenError::NotKept {
        folder: folder.to_owned(),
        bytes: as_found::size(folder),
        why: error.to_string(),
    })?;
    let config = sled::Config::new().path(folder).cache_capacity(cache_bytes);
    // sled panics at some damage, and a panic must stop neither the program nor the telling of it.
    let opened = std::thread::spawn(move || config.open()).join();
    lock.opened = !matches!(&opened, Ok(Err(error)) if is_held_by_another(error));
    let db = match opened {
        Ok(Ok(db)) => db,
        Ok(Err(error)) => return Err(of_sled(folder, &error)),
        Err(_) => {
            let why = format!("sled stopped while it read {}", damaged_file(folder));
            return Err(OpenError::damaged(folder, why));
        }
    };
    check_layout(folder, &db)?;
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
    let file = file.map_err(|error| OpenError::io(folder, LOCK_FILE, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let owner = std::fs::read_to_string(&path).unwrap_or_default();
            return Err(OpenError::Locked {
                folder: folder.to_owned(),
                process: owner.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(OpenError::io(folder, LOCK_FILE, error)),
    }
    // Only for the message above.
    let noted = file.set_len(0).and_then(|()| {
        use io::Write;
        writeln!(&file, "{}", std::process::id())
    });
    noted.map_err(|error| OpenError::io(folder, LOCK_FILE, error))?;
    Ok(FolderLock {
        folder: folder.to_owned(),
        opened: false,
        _file: file,
    })
}

fn is_held_by_another(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(io) if io.to_string().contains("could not acquire lock"))
}

fn of_sled(folder: &Path, error: &sled::Error) -> OpenError {
    match error {
        held if is_held_by_another(held) => OpenError::Locked {
            folder: folder.to_owned(),
            process: None,
        },
        // sled reads past the end of a file that lost its end.
        sled::Error::Io(io) if io.kind() != io::ErrorKind::UnexpectedEof => OpenError::io(folder, DB_FILE, io),
        other => OpenError::damaged(folder, format!("{}: {other}", damaged_file(folder))),
    }
}

/// The file that sled stumbled over: one of the small ones whose checksum fails, else the log.
fn damaged_file(folder: &Path) -> String {
    let small = |name: &str| name == SETTINGS_FILE || name.starts_with(SHORT_CUT);
    // What cannot be listed cannot be blamed either.
    let names = std::fs::read_dir(folder.join(AS_FOUND)).into_iter().flatten().flatten();
    let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let damaged = names.find(|name| small(name) && !is_whole(&folder.join(AS_FOUND).join(name), name));
    damaged.unwrap_or_else(|| DB_FILE.to_owned())
}

fn is_whole(path: &Path, name: &str) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    let Some((rest, checksum)) = bytes.split_last_chunk::<4>() else {
        return false;
    };
    let after = if name == SETTINGS_FILE {
        0
    } else {
        SHORT_CUT_LENGTH_BYTES
    };
    let covered = rest.len().checked_sub(after).map(|end| &rest[..end]);
    covered.is_some_and(|covered| crc32fast::hash(covered) == u32::from_le_bytes(*checksum))
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
            let mut begin = sled::Batch::default();
            begin.insert(keys::FORMAT, LAYOUT);
            begin.insert(keys::TOTAL, Total::of_a_new_store().encode(keys::TOTAL));
            let begun = db.apply_batch(begin).and_then(|()| db.flush());
            begun.map(|_| ()).map_err(|error| of_sled(folder, &error))
        }
        None => Err(OpenError::damaged(
            folder,
            format!("{DB_FILE} does not say which layout it has"),
        )),
    }
}

/// Looks at everything, and compares it with what was written and with what was noted beside it.
pub fn check_nothing_lost(folder: &Path, reader: &Reader) -> Result<(HighWater, Audit), OpenError> {
    let of_note = |error: io::Error| OpenError::io(folder, HighWater::FILE, error);
    let mut high_water = HighWater::open(folder).map_err(of_note)?;
    let note = high_water.read();
    let looking = reader.clone();
    // sled panics at some damage.
    let audit = match std::thread::spawn(move || audit(&looking, note)).join() {
        Ok(Ok(audit)) => audit,
        Ok(Err(why)) => return Err(OpenError::damaged(folder, format!("{}: {why}", damaged_file(folder)))),
        Err(_) => {
            let why = format!("sled stopped while it read {}", damaged_file(folder));
            return Err(OpenError::damaged(folder, why));
        }
    };
    if note.is_none() {
        let store = audit.total.store;
        // From here on a note that is missing was lost.
        let begun = high_water.write(Note { store, changes: 0 });
        begun.and_then(|()| high_water.sync()).map_err(of_note)?;
    }
    sync_folder(folder).map_err(|error| OpenError::io(folder, ".", error))?;
    Ok((high_water, audit))
}

/// A new file is only there after a power cut if its folder was synced.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    match folder.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
