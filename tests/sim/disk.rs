//! A disk that tears: what was synced stays, and of the rest a crash leaves some beginning, perhaps damaged.
//!
//! Decides what survives. The bytes are those of the real codec, and are read back by it and by the real recovery.

use super::dice::Dice;
use super::yard::site_key;
use crate::domain::event::{Event, Recorded};
use crate::domain::ids::{EvseId, SessionId, SiteKey};
use crate::domain::profile::{Attempt, Revision};
use crate::domain::session::Session;
use crate::engine::ports::{Batch, Durability, SiteImage, Store, StoreError};
use crate::store::keys::Kind;
use crate::store::{codec, image, keys};
use crate::wire::journal;
use async_trait::async_trait;
use std::collections::{BTreeMap, HashSet};

/// One batch on the disk: how many records it has, then the records.
const COUNT_BYTES: usize = 4;

#[derive(Clone, Debug, Default)]
pub struct Disk {
    bytes: Vec<u8>,
    /// How many of the bytes survive anything.
    synced: usize,
    /// What [`Disk::bytes`] hold, as the process that wrote them knows it.
    entries: Vec<Recorded>,
    snapshot: Option<(u64, Vec<u8>)>,
    ended: BTreeMap<SessionId, Session>,
    /// The commands in synced records.
    issued: HashSet<(EvseId, Revision, Attempt)>,
    last_synced: u64,
}

impl Disk {
    /// Writes a batch; synced or not, as it asks.
    pub fn append(&mut self, batch: &Batch) {
        self.write(batch);
        if batch.durability == Durability::Synced {
            self.sync();
        }
    }

    /// Writes a batch and leaves it to chance how much of it a crash that follows will leave.
    pub fn write(&mut self, batch: &Batch) {
        let count = u32::try_from(batch.entries.len()).expect("a batch is bounded");
        self.bytes.extend(count.to_be_bytes());
        for entry in &batch.entries {
            let last = self.entries.last().map_or(0, |last| last.sequence);
            assert_eq!(entry.sequence, last + 1, "the journal has no gap");
            let key = keys::numbered(&site_key(), Kind::Journal, entry.sequence);
            let record = codec::encode(&key, &journal::entry_message(entry)).expect("an entry is small");
            self.bytes.extend(record);
            self.entries.push(entry.clone());
        }
        let ended = batch.ended_sessions.iter();
        self.ended
            .extend(ended.map(|session| (session.spec.id.clone(), session.clone())));
    }

    fn sync(&mut self) {
        self.synced = self.bytes.len();
        let news = self
            .entries
            .iter()
            .rev()
            .take_while(|entry| entry.sequence > self.last_synced);
        for entry in news {
            if let Event::CommandsIssued(commands) = &entry.event {
                let names = commands
                    .iter()
                    .map(|command| (command.evse.clone(), command.revision, command.attempt));
                self.issued.extend(names);
            }
        }
        self.last_synced = self.entries.last().map_or(0, |last| last.sequence);
    }

    /// Whether the command is in the synced journal.
    pub fn has_issued(&self, evse: &EvseId, revision: Revision, attempt: Attempt) -> bool {
        self.issued.contains(&(evse.clone(), revision, attempt))
    }

    /// The last entry that survives anything.
    pub fn last_synced(&self) -> u64 {
        self.last_synced
    }

    pub fn last_written(&self) -> u64 {
        self.entries.last().map_or(0, |last| last.sequence)
    }

    pub fn save_snapshot(&mut self, kept: &SiteImage) {
        let key = keys::numbered(&site_key(), Kind::Snapshot, kept.sequence);
        let record = codec::encode(&key, &image::snapshot_message(kept)).expect("a snapshot is small");
        self.snapshot = Some((kept.sequence, record));
    }

    /// One bit of the snapshot is another.
    pub fn damage_snapshot(&mut self, dice: &mut Dice) {
        if let Some((_, record)) = &mut self.snapshot {
            let bit = dice.roll(0, record.len() as i64 * 8 - 1) as usize;
            record[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// The machine stops. Of what was not synced a beginning is left, `torn` or up to the end of a batch.
    pub fn crash(&mut self, torn: bool, dice: &mut Dice) {
        let loose = self.bytes.len() - self.synced;
        let kept = if torn {
            dice.roll(0, loose as i64) as usize
        } else {
            *dice.pick(&[0, loose])
        };
        self.bytes.truncate(self.synced + kept);
        if torn && kept > 0 && dice.happens(500) {
            let bit = dice.roll(0, kept as i64 * 8 - 1) as usize;
            self.bytes[self.synced + bit / 8] ^= 1 << (bit % 8);
        }
        self.read_back();
    }

    /// Reads what is there with the real codec, up to the first batch that is not whole, and goes on from there.
    pub fn read_back(&mut self) {
        let (mut entries, mut whole) = (Vec::new(), 0);
        while let Some((batch, length)) = read_batch(&self.bytes[whole..], entries.len() as u64) {
            entries.extend(batch);
            whole += length;
        }
        assert!(whole >= self.synced, "what was synced is there");
        assert!(entries.len() as u64 >= self.last_synced, "what was synced is read");
        self.bytes.truncate(whole);
        self.entries = entries;
        let last = self.last_written();
        if self.snapshot.as_ref().is_some_and(|(sequence, _)| *sequence > last) {
            self.snapshot = None;
        }
        self.sync();
    }
}

fn read_batch(bytes: &[u8], before: u64) -> Option<(Vec<Recorded>, usize)> {
    let (count, _) = bytes.split_first_chunk::<COUNT_BYTES>()?;
    let mut at = COUNT_BYTES;
    let mut entries = Vec::new();
    for number in 0..u64::from(u32::from_be_bytes(*count)) {
        let rest = &bytes[at..];
        let length = codec::record_length(rest).ok()?;
        let record = rest.get(..length)?;
        let key = keys::numbered(&site_key(), Kind::Journal, before + number + 1);
        let message = codec::decode(&key, record).ok()?;
        entries.push(journal::recorded(&message).expect("what was recorded can be read"));
        at += length;
    }
    Some((entries, at))
}

#[async_trait]
impl Store for Disk {
    async fn append(&self, _: &SiteKey, _: Batch) -> Result<(), StoreError> {
        unreachable!("the world appends by itself")
    }

    async fn read(&self, _: &SiteKey, after: u64, most: usize) -> Result<Vec<Recorded>, StoreError> {
        let after = usize::try_from(after).expect("it is in memory");
        Ok(self.entries.iter().skip(after).take(most).cloned().collect())
    }

    async fn sites(&self) -> Result<Vec<SiteKey>, StoreError> {
        Ok(vec![site_key()])
    }

    async fn save_snapshot(&self, _: &SiteKey, _: SiteImage) -> Result<(), StoreError> {
        unreachable!("the world keeps snapshots by itself")
    }

    async fn load_snapshot(&self, _: &SiteKey) -> Result<Option<SiteImage>, StoreError> {
        let Some((sequence, record)) = &self.snapshot else {
            return Ok(None);
        };
        let key = keys::numbered(&site_key(), Kind::Snapshot, *sequence);
        let message = codec::decode(&key, record).ok();
        Ok(message.map(|message| image::image(*sequence, &message).expect("what was kept can be read")))
    }

    async fn ended_session(&self, _: &SiteKey, session: &SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.ended.get(session).cloned())
    }

    async fn ended_sessions(&self, _: &SiteKey, _: Option<&SessionId>, _: usize) -> Result<Vec<Session>, StoreError> {
        Ok(Vec::new())
    }
}
