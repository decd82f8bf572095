//! Reading records back out of sled's tree.
//!
//! Decides when what is read is damage: a chunk, an entry or a checksum that is missing or wrong, or an end where the store was found
//! to lack something when it was opened ([`super::audit`]). Damage is an error that names the record, never a panic and never a
//! silent gap.

use super::super::image::image;
use super::super::{codec, keys};
use super::audit::{Finding, Findings, Lacks};
use crate::domain::event::Recorded;
use crate::domain::ids::{SessionId, SiteKey};
use crate::domain::session::Session;
use crate::engine::ports::{SiteImage, StoreError};
use crate::wire::journal::{ended_session, recorded};
use crate::wire::journal_proto as proto;
use keys::Kind;
use prost::Message;
use std::fmt;
use std::sync::Arc;

/// Reads; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    tree: sled::Tree,
    findings: Arc<Findings>,
}

impl fmt::Debug for Reader {
    /// sled's own would print everything that is stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// A record put together from its chunks.
pub struct Record {
    pub key: Vec<u8>,
    pub bytes: Vec<u8>,
}

impl Record {
    fn decode<M: Message + Default>(&self, what: impl FnOnce() -> String) -> Result<M, StoreError> {
        codec::decode(&self.key, &self.bytes).map_err(|why| StoreError::Damaged { what: what(), why })
    }
}

impl Reader {
    pub fn new(tree: sled::Tree) -> Self {
        let findings = Arc::default();
        Self { tree, findings }
    }

    /// The same, with what was found to be damaged.
    pub fn knowing(self, findings: Findings) -> Self {
        let findings = Arc::new(findings);
        Self { findings, ..self }
    }

    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Refuses what can only be done with a site that lacks nothing: to say where its journal ends, and to go on with it.
    pub fn check_lacks_nothing(&self, key: &SiteKey) -> Result<(), StoreError> {
        refuse(self.findings.get(key).and_then(Lacks::anything))
    }

    /// Refuses what can only be told of a whole list of ended sessions: where it ends, and what is not in it.
    fn check_lacks_no_ended_session(&self, key: &SiteKey) -> Result<(), StoreError> {
        refuse(self.findings.get(key).and_then(|lacks| lacks.ended_sessions.as_ref()))
    }

    pub fn entries(&self, key: &SiteKey, after: u64, most: usize) -> Result<Vec<Recorded>, StoreError> {
        let Some(first) = after.checked_add(1) else {
            return Ok(Vec::new());
        };
        let from = keys::numbered(key, Kind::Journal, first);
        let mut entries = Vec::new();
        for record in self.records(from, &keys::kind_prefix(key, Kind::Journal)).take(most) {
            let expected = first + entries.len() as u64;
            let what = || format!("entry {expected} of the journal of {key}");
            let damaged = |why: String| StoreError::Damaged { what: what(), why };
            let record = record?;
            let found = keys::sequence(&record.key);
            if found != Some(expected) {
                return Err(damaged("it is missing, but later ones are there".to_owned()));
            }
            let entry = recorded(&record.decode::<proto::Entry>(what)?).map_err(|error| damaged(error.to_string()))?;
            if entry.sequence != expected {
                return Err(damaged(format!("it says it is entry {}", entry.sequence)));
            }
            entries.push(entry);
        }
        if entries.len() < most {
            self.check_lacks_nothing(key)?;
        }
        Ok(entries)
    }

    /// The last entry's sequence; 0 for an empty journal.
    pub fn last_sequence(&self, key: &SiteKey) -> Result<u64, StoreError> {
        let prefix = keys::kind_prefix(key, Kind::Journal);
        let Some(last) = self.tree.scan_prefix(&prefix).keys().next_back() else {
            return Ok(0);
        };
        let last = last.map_err(read_failed)?;
        keys::split_chunk(&last)
            .and_then(|(record, _)| keys::sequence(record))
            .ok_or_else(|| no_key_of_ours(&last))
    }

    /// Every site with a key. One look into the tree for each, however much they have.
    pub fn with_keys(&self) -> Result<Vec<SiteKey>, StoreError> {
        let mut sites = Vec::new();
        let mut from = keys::FIRST_OF_SITES.to_vec();
        while let Some(next) = self.tree.range(from..).keys().next() {
            let next = next.map_err(read_failed)?;
            let site = keys::site(&next).ok_or_else(|| no_key_of_ours(&next))?;
            from = keys::after_site(&site);
            sites.push(site);
        }
        Ok(sites)
    }

    /// By tenant, then site. Also those that should have a journal.
    pub fn sites(&self) -> Result<Vec<SiteKey>, StoreError> {
        let mut sites = Vec::new();
        for site in self.with_keys()? {
            if self.findings.contains_key(&site) || self.last_sequence(&site)? > 0 {
                sites.push(site);
            }
        }
        // Their keys lie by length first.
        sites.sort();
        Ok(sites)
    }

    /// The sequences of a site's snapshots, ascending.
    pub fn snapshots(&self, key: &SiteKey) -> Result<Vec<u64>, StoreError> {
        let prefix = keys::kind_prefix(key, Kind::Snapshot);
        let mut sequences = Vec::new();
        let mut from = prefix.clone();
        while let Some(next) = self.first_from(&from, &prefix)? {
            let sequence = keys::split_chunk(&next)
                .and_then(|(record, _)| keys::sequence(record))
                .ok_or_else(|| no_key_of_ours(&next))?;
            sequences.push(sequence);
            match sequence.checked_add(1) {
                Some(above) => from = keys::numbered(key, Kind::Snapshot, above),
                None => break,
            }
        }
        Ok(sequences)
    }

    /// The newest that is whole: a damaged one costs time at the next start, no more.
    pub fn newest_snapshot(&self, key: &SiteKey) -> Result<Option<SiteImage>, StoreError> {
        for sequence in self.snapshots(key)?.into_iter().rev() {
            match self.snapshot(key, sequence) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(StoreError::Damaged { what, why }) => {
                    tracing::warn!(site = %key, what, why, "snapshot is damaged, trying an older one");
                }
                Err(other) => return Err(other),
            }
        }
        Ok(None)
    }

    fn snapshot(&self, key: &SiteKey, sequence: u64) -> Result<SiteImage, StoreError> {
        let what = || format!("snapshot {sequence} of {key}");
        let record = self.record(&keys::numbered(key, Kind::Snapshot, sequence))?;
        let Some(record) = record else {
            return Err(StoreError::Damaged {
                what: what(),
                why: "its beginning is missing".to_owned(),
            });
        };
        image(sequence, &record.decode(what)?).map_err(|error| StoreError::Damaged {
            what: what(),
            why: error.to_string(),
        })
    }

    pub fn ended_session(&self, key: &SiteKey, session: &SessionId) -> Result<Option<Session>, StoreError> {
        let record = self.record(&keys::ended_session(key, session))?;
        if record.is_none() {
            self.check_lacks_no_ended_session(key)?;
        }
        record.map(|record| ended(key, &record)).transpose()
    }

    pub fn ended_sessions(
        &self,
        key: &SiteKey,
        after: Option<&SessionId>,
        most: usize,
    ) -> Result<Vec<Session>, StoreError> {
        let prefix = keys::kind_prefix(key, Kind::EndedSession);
        let from = after
            .and_then(|session| keys::after(&keys::ended_session(key, session)))
            .unwrap_or_else(|| prefix.clone());
        let sessions = self
            .records(from, &prefix)
            .take(most)
            .map(|record| ended(key, &record?))
            .collect::<Result<Vec<_>, _>>()?;
        if sessions.len() < most {
            self.check_lacks_no_ended_session(key)?;
        }
        Ok(sessions)
    }

    /// Every key of the chunks of a record.
    pub fn chunk_keys(&self, record: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        self.tree
            .scan_prefix(record)
            .keys()
            .map(|key| key.map(|key| key.to_vec()).map_err(read_failed))
            .collect()
    }

    /// Whether sled can read what is below a prefix, whatever that is.
    pub fn check_readable(&self, prefix: &[u8]) -> Result<(), StoreError> {
        let mut chunks = self.tree.scan_prefix(prefix);
        chunks.try_for_each(|chunk| chunk.map(drop).map_err(read_failed))
    }

    /// What a record begins with.
    pub fn first_chunk(&self, record: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.tree.get(keys::chunk(record, 0)).map_err(read_failed)
    }

    /// The bytes under a key that is cut into no chunks.
    pub fn whole(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.tree.get(key).map_err(read_failed)
    }

    fn first_from(&self, from: &[u8], prefix: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        let first = self.tree.range(from..).keys().next().transpose().map_err(read_failed)?;
        Ok(first.filter(|key| key.starts_with(prefix)))
    }

    fn record(&self, key: &[u8]) -> Result<Option<Record>, StoreError> {
        self.records(key.to_vec(), key).next().transpose()
    }

    /// The records from `from` on whose keys begin with `prefix`, in order. Ends after the first damaged one.
    pub fn records(&self, from: Vec<u8>, prefix: &[u8]) -> impl Iterator<Item = Result<Record, StoreError>> + use<> {
        let mut chunks = match keys::after(prefix) {
            Some(end) => self.tree.range(from..end),
            None => self.tree.range(from..),
        }
        .peekable();
        let mut failed = false;
        std::iter::from_fn(move || {
            let next = (!failed).then(|| next_record(&mut chunks))?.transpose();
            failed = matches!(next, Some(Err(_)));
            next
        })
    }
}

type Chunks = std::iter::Peekable<sled::Iter>;

/// Puts the next record together. Chunks past its end are left over from a longer record that it replaced.
fn next_record(chunks: &mut Chunks) -> Result<Option<Record>, StoreError> {
    let Some(first) = chunks.next() else {
        return Ok(None);
    };
    let (first_key, first_value) = first.map_err(read_failed)?;
    let (key, index) = keys::split_chunk(&first_key).ok_or_else(|| no_key_of_ours(&first_key))?;
    let damaged = |why: String| StoreError::Damaged {
        what: format!("the record under key {}", shown(key)),
        why,
    };
    if index != 0 {
        return Err(damaged("its beginning is missing".to_owned()));
    }
    let length = codec::record_length(&first_value).map_err(damaged)?;
    let mut bytes = first_value.to_vec();
    let mut expected_index = 1;
    while let Some(chunk) = chunks.next_if(|chunk| belongs_to(chunk, key)) {
        let (chunk_key, value) = chunk.map_err(read_failed)?;
        if bytes.len() >= length {
            continue;
        }
        if keys::split_chunk(&chunk_key).is_none_or(|(_, index)| index != expected_index) {
            return Err(damaged(format!("its chunk {expected_index} is missing")));
        }
        expected_index += 1;
        bytes.extend_from_slice(&value);
    }
    Ok(Some(Record {
        key: key.to_vec(),
        bytes,
    }))
}

fn belongs_to(chunk: &sled::Result<(sled::IVec, sled::IVec)>, record: &[u8]) -> bool {
    match chunk {
        Ok((key, _)) => keys::split_chunk(key).is_some_and(|(of, _)| of == record),
        Err(_) => true,
    }
}

fn ended(key: &SiteKey, record: &Record) -> Result<Session, StoreError> {
    let what = || format!("an ended session of {key}");
    ended_session(&record.decode::<proto::EndedSession>(what)?).map_err(|error| StoreError::Damaged {
        what: what(),
        why: error.to_string(),
    })
}

fn refuse(finding: Option<&Finding>) -> Result<(), StoreError> {
    finding.map_or(Ok(()), |finding| Err(finding.error()))
}

fn read_failed(error: sled::Error) -> StoreError {
    let is_damage = match &error {
        sled::Error::Corruption { .. } => true,
        // sled reads past the end of a file that lost its end.
        sled::Error::Io(io) => io.kind() == std::io::ErrorKind::UnexpectedEof,
        _ => false,
    };
    match is_damage {
        true => StoreError::Damaged {
            what: "the data folder".to_owned(),
            why: error.to_string(),
        },
        false => StoreError::Read(error.to_string()),
    }
}

fn no_key_of_ours(key: &[u8]) -> StoreError {
    StoreError::Damaged {
        what: format!("the key {}", shown(key)),
        why: "it is no key of this layout".to_owned(),
    }
}

fn shown(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
