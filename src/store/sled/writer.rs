//! The one thread that writes.
//!
//! Decides the order apply < flush < sync < acknowledge, and that everything that waits shares one sync. Conditions are checked
//! here, where nobody else can write in between. Nothing is written that marks and total do not tell of in the same batch, and
//! nothing to a site that lacks something.

use super::super::{KEPT_SNAPSHOTS, check_continues, keys};
use super::audit::Marked;
use super::disk::DiskSync;
use super::high_water::{HighWater, Note};
use super::reader::Reader;
use super::tally::{self, Tally, Total};
use crate::domain::ids::SiteKey;
use crate::engine::ports::StoreError;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Commands that wait; whoever comes when it is full waits too.
const MAX_QUEUED: usize = 1_024;
/// What one sync may be shared by.
const MAX_GROUP_COMMANDS: usize = 256;
const MAX_GROUP_BYTES: usize = 4 * 1024 * 1024;

pub type Write = (Vec<u8>, Vec<u8>);
pub type Reply = oneshot::Sender<Result<(), StoreError>>;

#[derive(Debug)]
pub struct Append {
    pub key: SiteKey,
    /// Sequence of the first entry; `None` if there are only ended sessions.
    pub first: Option<u64>,
    pub entries: Tally,
    /// Their records and fingerprints.
    pub ended_sessions: Vec<(Vec<u8>, u64)>,
    pub writes: Vec<Write>,
    pub synced: bool,
}

#[derive(Debug)]
pub enum Command {
    Append(Append, Reply),
    SaveSnapshot {
        key: SiteKey,
        sequence: u64,
        writes: Vec<Write>,
        reply: Reply,
    },
}

/// The way to the writing thread. Dropping it waits until everything asked for is done.
#[derive(Debug)]
pub struct Writer {
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// `total` and `marks` are what the store has.
    pub fn start(disk: Disk, reader: Reader, total: Total, marks: HashMap<SiteKey, Marked>) -> Self {
        let (commands, mut queue) = mpsc::channel(MAX_QUEUED);
        let mut state = State {
            disk,
            reader,
            total,
            marks,
            unsynced: false,
            stopped: None,
        };
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let thread = thread.spawn(move || state.run(&mut queue));
        Self {
            commands: Some(commands),
            thread: Some(thread.expect("the system has room for one thread")),
        }
    }

    pub async fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<(), StoreError> {
        let gone = || StoreError::Write("the store's writer has stopped; restart laddplan".to_owned());
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or_else(gone)?;
        commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has told so, and everyone who waited was refused.
            let _ = thread.join();
        }
    }
}

/// What is written to.
pub struct Disk {
    pub db: sled::Db,
    pub sync: Box<dyn DiskSync>,
    pub high_water: HighWater,
}

struct State {
    disk: Disk,
    reader: Reader,
    /// What was applied.
    total: Total,
    /// What every site has, applied or in the group at hand.
    marks: HashMap<SiteKey, Marked>,
    /// Whether something buffered was applied since the last sync.
    unsynced: bool,
    /// Why nothing is written any more.
    stopped: Option<String>,
}

/// Whoever no longer waits needs no answer.
fn tell(reply: Reply, result: Result<(), StoreError>) {
    drop(reply.send(result));
}

/// What shares one sync.
#[derive(Default)]
struct Group {
    /// `None` removes.
    writes: HashMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
    /// Sites whose marks change.
    touched: HashSet<SiteKey>,
    /// Fingerprints of the records of this group that may replace others; `None` where there is none.
    fingerprints: HashMap<Vec<u8>, Option<u64>>,
    synced: bool,
    /// Told once all of it is as durable as was asked, or why it is not.
    waiting: Vec<Reply>,
}

impl Group {
    fn put(&mut self, writes: impl IntoIterator<Item = Write>) {
        for (key, value) in writes {
            self.bytes += key.len() + value.len();
            self.writes.insert(key, Some(value));
        }
    }

    fn remove(&mut self, keys: impl IntoIterator<Item = Vec<u8>>) {
        self.writes.extend(keys.into_iter().map(|key| (key, None)));
    }

    /// Returns the fingerprint that was looked up before.
    fn replace(&mut self, record: Vec<u8>, fingerprint: u64) -> Option<u64> {
        self.fingerprints.insert(record, Some(fingerprint)).flatten()
    }

    /// Refuses now, or answers once the group is as durable as was asked.
    fn answer(&mut self, reply: Reply, result: Result<(), StoreError>) {
        match result {
            Err(refused) => tell(reply, Err(refused)),
            Ok(()) => self.waiting.push(reply),
        }
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_GROUP_COMMANDS || self.bytes >= MAX_GROUP_BYTES
    }
}

impl State {
    fn run(&mut self, queue: &mut mpsc::Receiver<Command>) {
        while let Some(command) = queue.blocking_recv() {
            let mut group = Group::default();
            self.join(&mut group, command);
            while !group.is_full()
                && let Ok(command) = queue.try_recv()
            {
                self.join(&mut group, command);
            }
            self.commit(group);
        }
        self.close();
    }

    fn join(&mut self, group: &mut Group, command: Command) {
        let running = self.check_running();
        match command {
            Command::Append(append, reply) => {
                let result = running.and_then(|()| self.append(group, append));
                group.answer(reply, result);
            }
            Command::SaveSnapshot {
                key,
                sequence,
                writes,
                reply,
            } => {
                let result = running.and_then(|()| self.save_snapshot(group, &key, sequence, writes));
                group.answer(reply, result);
            }
        }
    }

    fn check_running(&self) -> Result<(), StoreError> {
        match &self.stopped {
            None => Ok(()),
            Some(why) => Err(StoreError::Write(format!(
                "writing stopped because {why}; what is on disk is unknown until laddplan is restarted"
            ))),
        }
    }

    fn append(&mut self, group: &mut Group, append: Append) -> Result<(), StoreError> {
        let key = append.key;
        self.reader.check_lacks_nothing(&key)?;
        let mut mark = self.marks.get(&key).map(|marked| marked.mark).unwrap_or_default();
        if let Some(first) = append.first {
            check_continues(&key, mark.entries.records, first)?;
            mark.entries.join(append.entries);
        }
        for (record, _) in &append.ended_sessions {
            self.look_up(group, record)?;
        }
        // Nothing is refused from here on.
        for (record, fingerprint) in append.ended_sessions {
            mark.ended_sessions
                .replace(group.replace(record, fingerprint), Some(fingerprint));
        }
        self.marks.entry(key.clone()).or_default().mark = mark;
        group.touched.insert(key);
        group.put(append.writes);
        group.synced |= append.synced;
        Ok(())
    }

    /// The group knows the fingerprint of what it may replace.
    fn look_up(&self, group: &mut Group, record: &[u8]) -> Result<(), StoreError> {
        if !group.fingerprints.contains_key(record) {
            let stored = self.reader.first_chunk(record)?;
            let fingerprint = stored.and_then(|beginning| tally::of_record(record, &beginning));
            group.fingerprints.insert(record.to_vec(), fingerprint);
        }
        Ok(())
    }

    fn save_snapshot(
        &self,
        group: &mut Group,
        key: &SiteKey,
        sequence: u64,
        writes: Vec<Write>,
    ) -> Result<(), StoreError> {
        let mut kept: BTreeSet<u64> = self.reader.snapshots(key)?.into_iter().collect();
        kept.insert(sequence);
        group.put(writes);
        while kept.len() > KEPT_SNAPSHOTS {
            let Some(oldest) = kept.pop_first() else { break };
            let record = keys::numbered(key, keys::Kind::Snapshot, oldest);
            group.remove(self.reader.chunk_keys(&record)?);
        }
        group.synced = true;
        Ok(())
    }

    fn commit(&mut self, group: Group) {
        let Group {
            writes,
            touched,
            synced,
            waiting,
            ..
        } = group;
        if self.stopped.is_none()
            && let Err(why) = self.write(writes, touched, synced)
        {
            tracing::error!(why, "the store stops writing");
            self.stopped = Some(why);
        }
        for reply in waiting {
            tell(reply, self.check_running());
        }
    }

    /// Applies, and if asked brings everything applied so far to the disk.
    fn write(
        &mut self,
        writes: HashMap<Vec<u8>, Option<Vec<u8>>>,
        touched: HashSet<SiteKey>,
        synced: bool,
    ) -> Result<(), String> {
        if !writes.is_empty() {
            let mut batch = sled::Batch::default();
            for (key, value) in writes {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            self.tell_of(touched, &mut batch);
            let applied = self.disk.db.apply_batch(batch);
            applied.map_err(|error| format!("a write failed: {error}"))?;
            self.unsynced = true;
        }
        if synced { self.sync() } else { Ok(()) }
    }

    /// The marks that changed, and the total.
    fn tell_of(&mut self, touched: HashSet<SiteKey>, batch: &mut sled::Batch) {
        for site in touched {
            let key = keys::mark(&site);
            let marked = self.marks.entry(site).or_default();
            let bytes = marked.mark.encode(&key);
            let before = marked.fingerprint.replace(tally::fingerprint(&key, &bytes));
            self.total.marks.replace(before, marked.fingerprint);
            batch.insert(keys::chunk(&key, 0), bytes);
        }
        self.total.changes += 1;
        batch.insert(keys::TOTAL, self.total.encode(keys::TOTAL));
    }

    fn sync(&mut self) -> Result<(), String> {
        self.disk
            .db
            .flush()
            .map_err(|error| format!("a flush failed: {error}"))?;
        self.disk
            .sync
            .sync()
            .map_err(|error| format!("a sync failed: {error}"))?;
        self.unsynced = false;
        // Only the check at the next start suffers.
        let Total { store, changes, .. } = self.total;
        if let Err(error) = self.disk.high_water.write(Note { store, changes }) {
            tracing::warn!(%error, "could not note how much was synced");
        }
        Ok(())
    }

    /// Buffered entries were acknowledged; a stop that is not a crash keeps them.
    fn close(&mut self) {
        if self.stopped.is_none()
            && self.unsynced
            && let Err(why) = self.sync()
        {
            tracing::error!(why, "the last buffered entries may be lost");
        }
        if let Err(error) = self.disk.high_water.sync() {
            tracing::warn!(%error, "could not note for good how much was synced");
        }
    }
}
