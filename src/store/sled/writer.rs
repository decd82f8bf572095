//! The one thread that writes.
//!
//! Decides the order apply < flush < sync < acknowledge, and that everything that waits shares one sync. Conditions are checked
//! here, where nobody else can write in between. Nothing is written that marks and total do not tell of in the same batch, and
//! nothing to an owner that lacks something, but that a driver is forgotten.

use super::super::{KEPT_SNAPSHOTS, check_continues, keys, new_person};
use super::audit::Marked;
use super::disk::DiskSync;
use super::high_water::{HighWater, Note};
use super::push_record;
use super::reader::Reader;
use super::tally::{self, Tally, Total};
use crate::domain::ids::{PersonRef, SiteKey, TenantId};
use crate::engine::ports::StoreError;
use crate::wire::journal_proto as proto;
use keys::Owner;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Commands that wait; whoever comes when it is full waits too.
const MAX_QUEUED: usize = 1_024;
/// What one sync may be shared by.
const MAX_GROUP_COMMANDS: usize = 256;
const MAX_GROUP_BYTES: usize = 4 * 1024 * 1024;

pub type Write = (Vec<u8>, Vec<u8>);
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

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
    Append(Append, Reply<()>),
    SaveSnapshot {
        key: SiteKey,
        sequence: u64,
        writes: Vec<Write>,
        reply: Reply<()>,
    },
    Person {
        tenant: TenantId,
        record: Vec<u8>,
        reply: Reply<PersonRef>,
    },
    ForgetPerson {
        tenant: TenantId,
        record: Vec<u8>,
        reply: Reply<bool>,
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
    pub fn start(disk: Disk, reader: Reader, total: Total, marks: HashMap<Owner, Marked>) -> Self {
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

    pub async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
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
    /// What everyone has, applied or in the group at hand.
    marks: HashMap<Owner, Marked>,
    /// Whether something buffered was applied since the last sync.
    unsynced: bool,
    /// Why nothing is written any more.
    stopped: Option<String>,
}

/// Tells one caller how its group fared.
type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>)>;

/// What shares one sync.
#[derive(Default)]
struct Group {
    /// `None` removes.
    writes: HashMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
    /// Whose marks change.
    touched: HashSet<Owner>,
    /// Fingerprints of the records of this group that may replace others; `None` where there is none, or not any more.
    fingerprints: HashMap<Vec<u8>, Option<u64>>,
    /// Persons made or forgotten in this group.
    persons: HashMap<Vec<u8>, Option<PersonRef>>,
    synced: bool,
    /// Told once all of it is as durable as was asked, or why it is not.
    waiting: Vec<Acknowledge>,
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
    fn replace(&mut self, record: Vec<u8>, fingerprint: Option<u64>) -> Option<u64> {
        self.fingerprints.insert(record, fingerprint).flatten()
    }

    /// Refuses now, or answers once the group is as durable as was asked.
    fn answer<T: 'static>(&mut self, reply: Reply<T>, result: Result<T, StoreError>) {
        // Whoever no longer waits needs no answer, so a reply that cannot be sent is dropped.
        match result {
            Err(refused) => drop(reply.send(Err(refused))),
            Ok(value) => self
                .waiting
                .push(Box::new(move |result| drop(reply.send(result.map(|()| value))))),
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
            Command::Person { tenant, record, reply } => {
                let result = running.and_then(|()| self.person(group, tenant, &record));
                group.answer(reply, result);
            }
            Command::ForgetPerson { tenant, record, reply } => {
                let result = running.and_then(|()| self.forget_person(group, tenant, &record));
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
        let owner = Owner::Site(append.key);
        self.reader.check_lacks_nothing(&owner)?;
        let mut mark = self.marks.get(&owner).map(|marked| marked.mark).unwrap_or_default();
        if let (Some(first), Owner::Site(key)) = (append.first, &owner) {
            check_continues(key, mark.entries.records, first)?;
            mark.entries.join(append.entries);
        }
        for (record, _) in &append.ended_sessions {
            self.look_up(group, record)?;
        }
        // Nothing is refused from here on.
        for (record, fingerprint) in append.ended_sessions {
            mark.others
                .replace(group.replace(record, Some(fingerprint)), Some(fingerprint));
        }
        self.marks.entry(owner.clone()).or_default().mark = mark;
        group.touched.insert(owner);
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

    /// One of a tenant's records is made, or removed.
    fn replace(
        &mut self,
        group: &mut Group,
        tenant: TenantId,
        record: &[u8],
        fingerprint: Option<u64>,
    ) -> Result<(), StoreError> {
        self.look_up(group, record)?;
        let owner = Owner::Tenant(tenant);
        let marked = self.marks.entry(owner.clone()).or_default();
        let before = group.replace(record.to_vec(), fingerprint);
        marked.mark.others.replace(before, fingerprint);
        group.touched.insert(owner);
        group.synced = true;
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

    /// The reference in the group at hand or in the tree.
    fn known_person(&self, group: &Group, tenant: &TenantId, record: &[u8]) -> Result<Option<PersonRef>, StoreError> {
        match group.persons.get(record) {
            Some(in_group) => Ok(in_group.clone()),
            None => self.reader.person(tenant, record),
        }
    }

    fn person(&mut self, group: &mut Group, tenant: TenantId, record: &[u8]) -> Result<PersonRef, StoreError> {
        if let Some(person) = self.known_person(group, &tenant, record)? {
            return Ok(person);
        }
        let person = new_person();
        let message = proto::Person {
            reference: person.to_string(),
        };
        let mut writes = Vec::new();
        let fingerprint = push_record(&mut writes, record, &message)?;
        self.replace(group, tenant, record, Some(fingerprint))?;
        group.put(writes);
        group.persons.insert(record.to_vec(), Some(person.clone()));
        Ok(person)
    }

    fn forget_person(&mut self, group: &mut Group, tenant: TenantId, record: &[u8]) -> Result<bool, StoreError> {
        let stored = self.reader.chunk_keys(record)?;
        let known = match group.persons.get(record) {
            Some(in_group) => in_group.is_some(),
            // Also one whose record is damaged.
            None => !stored.is_empty(),
        };
        if known {
            self.replace(group, tenant, record, None)?;
            group.remove(stored);
            group.remove([keys::chunk(record, 0)]);
            group.persons.insert(record.to_vec(), None);
        }
        Ok(known)
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
        for answer in waiting {
            answer(self.check_running());
        }
    }

    /// Applies, and if asked brings everything applied so far to the disk.
    fn write(
        &mut self,
        writes: HashMap<Vec<u8>, Option<Vec<u8>>>,
        touched: HashSet<Owner>,
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
    fn tell_of(&mut self, touched: HashSet<Owner>, batch: &mut sled::Batch) {
        for owner in touched {
            let key = keys::mark(&owner);
            let marked = self.marks.entry(owner).or_default();
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
