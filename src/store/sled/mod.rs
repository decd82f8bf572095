//! The embedded store, on sled 0.34.7.
//!
//! Decides how a journal lies in sled's one tree, and who may touch it: any number of readers, one writer thread. sled's `flush`
//! does not reach the disk on Linux, so the writer syncs sled's file itself before it acknowledges ([`disk::DiskSync`]).
//! sled goes on with what is left of a damaged log, so what must be there is counted (`tally`), noted beside it (`high_water`), and
//! compared when the store is opened (`audit`).
//! After a write or sync that failed, what is on disk is unknown, so nothing is acknowledged until a restart.

mod as_found;
mod audit;
mod disk;
mod high_water;
mod reader;
mod tally;
mod writer;

#[cfg(test)]
mod tests;

use super::image::snapshot_message;
use super::{codec, keys, sequences};
use crate::domain::event::Recorded;
use crate::domain::ids::{SessionId, SiteKey};
use crate::domain::session::Session;
use crate::engine::ports::{Batch, Durability, SiteImage, Store, StoreError};
use crate::wire::journal::{ended_session_message, entry_message};
use async_trait::async_trait;
pub use disk::{DiskSync, OpenError};
use reader::Reader;
use std::path::{Path, PathBuf};
use tally::Tally;
use writer::{Append, Command, Reply, Write, Writer};

/// sled's own default of 1 GiB is more than a small machine has.
pub const DEFAULT_CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// A store in a folder. Dropping it waits for what was begun, and frees the folder.
#[derive(Debug)]
pub struct SledStore {
    // Before the folder's lock: fields are dropped in this order.
    writer: Writer,
    reader: Reader,
    folder: PathBuf,
    _lock: disk::FolderLock,
}

impl SledStore {
    /// Opens the store in `folder`, which is made if it is not there. sled keeps up to `cache_bytes` of it in memory.
    pub fn open(folder: &Path, cache_bytes: u64) -> Result<Self, OpenError> {
        Self::open_with(folder, cache_bytes, |folder| Ok(Box::new(disk::DbFile::open(folder)?)))
    }

    fn open_with(
        folder: &Path,
        cache_bytes: u64,
        sync: impl FnOnce(&Path) -> Result<Box<dyn DiskSync>, OpenError>,
    ) -> Result<Self, OpenError> {
        let opened = disk::open(folder, cache_bytes)?;
        let reader = Reader::new((*opened.db).clone());
        let (high_water, audit) = disk::check_nothing_lost(folder, &reader)?;
        for finding in audit.findings.values().filter_map(audit::Lacks::anything) {
            tracing::error!(folder = %folder.display(), "{}; the rest of the store is used", finding.error());
        }
        let reader = reader.knowing(audit.findings);
        let disk = writer::Disk {
            db: opened.db,
            sync: sync(folder)?,
            high_water,
        };
        Ok(Self {
            writer: Writer::start(disk, reader.clone(), audit.total, audit.marks),
            reader,
            folder: folder.to_owned(),
            _lock: opened.lock,
        })
    }

    /// Everything that was to be read could be: the copy of the files as they were found is not needed any more, unless the store
    /// lacks something that nobody asked for.
    pub fn all_was_read(&self) {
        if !self.reader.findings().is_empty() {
            return;
        }
        if let Err(error) = as_found::discard(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "the copy of the files as they were found could not be removed");
        }
    }

    /// Where the files are as they were found, if something in them could not be read, or nobody said yet that all could.
    pub fn as_found(&self) -> Option<PathBuf> {
        as_found::is_kept(&self.folder).then(|| self.folder.join(as_found::AS_FOUND))
    }

    /// Reads on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.reader.clone();
        let read = tokio::task::spawn_blocking(move || read(&reader)).await;
        let read = read.unwrap_or_else(|error| {
            // sled panics at some damage, which is not to stop the sites whose journals are whole.
            Err(StoreError::Damaged {
                what: "the data folder".to_owned(),
                why: format!("sled stopped: {error}"),
            })
        });
        self.naming_the_file(read)
    }

    /// Whoever is told of damage is told where it is.
    fn naming_the_file<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.map_err(|error| match error {
            StoreError::Damaged { what, why } => StoreError::Damaged {
                what,
                why: format!("{why}, in {}", self.folder.join(disk::DB_FILE).display()),
            },
            other => other,
        })
    }

    async fn write(&self, command: impl FnOnce(Reply) -> Command) -> Result<(), StoreError> {
        self.naming_the_file(self.writer.ask(command).await)
    }
}

#[async_trait]
impl Store for SledStore {
    async fn append(&self, key: &SiteKey, batch: Batch) -> Result<(), StoreError> {
        let sequences = sequences(&batch)?;
        let mut writes = Vec::new();
        let mut entries = Tally::default();
        for recorded in &batch.entries {
            // What would read back as something else must be found in a test, not at a restart.
            debug_assert_eq!(
                crate::wire::journal::recorded(&entry_message(recorded)).as_ref(),
                Ok(recorded)
            );
            let record = keys::numbered(key, keys::Kind::Journal, recorded.sequence);
            entries.add(push_record(&mut writes, &record, &entry_message(recorded))?);
        }
        let mut ended_sessions = Vec::new();
        for session in &batch.ended_sessions {
            let record = keys::ended_session(key, &session.spec.id);
            let fingerprint = push_record(&mut writes, &record, &ended_session_message(session))?;
            ended_sessions.push((record, fingerprint));
        }
        let append = Append {
            key: key.clone(),
            first: sequences.map(|(first, _)| first),
            entries,
            ended_sessions,
            writes,
            synced: batch.durability == Durability::Synced,
        };
        self.write(|reply| Command::Append(append, reply)).await
    }

    async fn read(&self, key: &SiteKey, after: u64, most: usize) -> Result<Vec<Recorded>, StoreError> {
        let key = key.clone();
        self.blocking(move |reader| reader.entries(&key, after, most)).await
    }

    async fn sites(&self) -> Result<Vec<SiteKey>, StoreError> {
        self.blocking(Reader::sites).await
    }

    async fn save_snapshot(&self, key: &SiteKey, image: SiteImage) -> Result<(), StoreError> {
        let (key, sequence) = (key.clone(), image.sequence);
        let record = keys::numbered(&key, keys::Kind::Snapshot, sequence);
        let mut writes = Vec::new();
        push_record(&mut writes, &record, &snapshot_message(&image))?;
        let command = |reply| Command::SaveSnapshot {
            key,
            sequence,
            writes,
            reply,
        };
        self.write(command).await
    }

    async fn load_snapshot(&self, key: &SiteKey) -> Result<Option<SiteImage>, StoreError> {
        let key = key.clone();
        self.blocking(move |reader| reader.newest_snapshot(&key)).await
    }

    async fn ended_session(&self, key: &SiteKey, session: &SessionId) -> Result<Option<Session>, StoreError> {
        let (key, session) = (key.clone(), session.clone());
        self.blocking(move |reader| reader.ended_session(&key, &session)).await
    }

    async fn ended_sessions(
        &self,
        key: &SiteKey,
        after: Option<&SessionId>,
        most: usize,
    ) -> Result<Vec<Session>, StoreError> {
        let (key, after) = (key.clone(), after.cloned());
        self.blocking(move |reader| reader.ended_sessions(&key, after.as_ref(), most))
            .await
    }
}

/// The chunks that make up the record of `message`. Returns its fingerprint.
fn push_record(writes: &mut Vec<Write>, record: &[u8], message: &impl prost::Message) -> Result<u64, StoreError> {
    let bytes = codec::encode(record, message).map_err(StoreError::Write)?;
    let fingerprint = tally::of_record(record, &bytes).expect("a record begins with its header");
    writes.extend(
        bytes
            .chunks(codec::CHUNK_BYTES)
            .enumerate()
            .map(|(index, chunk)| (keys::chunk(record, index), chunk.to_vec())),
    );
    Ok(fingerprint)
}
