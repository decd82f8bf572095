//! Records of the store, as a damaged disk or another program may leave them.
//!
//! The first byte chooses what the rest is. What decodes is written again and reads back equal, through the record's envelope and
//! its chunks too. A damaged envelope is noticed. A key that says whose it is lies where that site's keys lie.

use super::{Verdict, check_rejection};
use laddplan::domain::bounds::{MAX_EVSES_PER_SITE, MAX_SLOTS};
use laddplan::domain::event::Event;
use laddplan::domain::rejection::Rejection;
use laddplan::store::codec::{CHUNK_BYTES, HEADER_BYTES, decode, encode, record_length};
use laddplan::store::image::{image, snapshot_message};
use laddplan::store::keys;
use laddplan::wire::journal::{ended_session, ended_session_message, entry_message, recorded};
use laddplan::wire::journal_proto as proto;
use laddplan::wire::json::{Layout, from_json, to_json};
use prost::Message;
use std::fmt::Debug;

const KEY: &[u8] = b"\x03cpo\x07harbourJ\0\0\0\0\0\0\0\x01";
/// What a first byte chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Entry,
    EndedSession,
    Snapshot,
    /// Where to damage the record of the entry that follows, and the entry.
    Damaged,
    /// A whole record.
    Record,
    Key,
}

impl Part {
    pub const ALL: [Self; 6] = [
        Self::Entry,
        Self::EndedSession,
        Self::Snapshot,
        Self::Damaged,
        Self::Record,
        Self::Key,
    ];

    pub fn input(self, bytes: &[u8]) -> Vec<u8> {
        [&[self as u8], bytes].concat()
    }
}

pub fn run(data: &[u8]) -> Verdict {
    let Some((first, rest)) = data.split_first() else {
        return Verdict::Refused;
    };
    let done = match Part::ALL[usize::from(*first) % Part::ALL.len()] {
        Part::Entry => read(rest, entry),
        Part::EndedSession => read(rest, session),
        Part::Snapshot => read(rest, snapshot),
        Part::Damaged => damaged(rest),
        Part::Record => record(rest),
        Part::Key => key(rest),
    };
    match done {
        None => Verdict::Refused,
        Some(Ok(())) => Verdict::Used,
        Some(Err(rejection)) => {
            check_rejection(&rejection);
            Verdict::Refused
        }
    }
}

type Done = Result<(), Rejection>;

fn read<M: Message + Default>(bytes: &[u8], take: impl FnOnce(&M) -> Done) -> Option<Done> {
    let message = M::decode(bytes).ok()?;
    Some(take(&message))
}

fn entry(message: &proto::Entry) -> Done {
    let entry = recorded(message)?;
    if let Event::PlanMade(made) = &entry.event {
        let slots: usize = made.plan.schedules.iter().map(|schedule| schedule.rates.len()).sum();
        assert!(slots <= MAX_EVSES_PER_SITE * MAX_SLOTS, "{slots} slots");
    }
    let written = entry_message(&entry);
    assert_eq!(recorded(&written).as_ref(), Ok(&entry));
    through_the_store(&written);
    // Times of a year that no calendar has cannot be said in JSON.
    if let Ok(json) = to_json(&written, Layout::Line) {
        let told: proto::Entry = from_json(&json).expect("our own JSON");
        assert_eq!(recorded(&told).as_ref(), Ok(&entry), "{json}");
    }
    Ok(())
}

fn session(message: &proto::EndedSession) -> Done {
    let session = ended_session(message)?;
    let written = ended_session_message(&session);
    assert_eq!(ended_session(&written).as_ref(), Ok(&session));
    through_the_store(&written);
    Ok(())
}

fn snapshot(message: &proto::Snapshot) -> Done {
    let kept = image(7, message)?;
    let written = snapshot_message(&kept);
    assert_eq!(image(7, &written).as_ref(), Ok(&kept));
    through_the_store(&written);
    Ok(())
}

/// Through the envelope, cut into chunks and put together again.
fn through_the_store<M: Message + Default + PartialEq + Debug>(message: &M) {
    let record = encode(KEY, message).expect("far below the limit");
    let chunks: Vec<&[u8]> = record.chunks(CHUNK_BYTES).collect();
    for (index, _) in chunks.iter().enumerate() {
        assert_eq!(keys::split_chunk(&keys::chunk(KEY, index)), Some((KEY, index)));
    }
    let joined = chunks.concat();
    assert_eq!(record_length(chunks[0]), Ok(joined.len()));
    assert_eq!(decode::<M>(KEY, &joined).as_ref(), Ok(message));
}

/// Two bytes say where, one what; two more where it is cut.
fn damaged(bytes: &[u8]) -> Option<Done> {
    let (&[p1, p2, change, c1, c2], rest) = bytes.split_first_chunk::<5>()?;
    let message = proto::Entry::decode(rest).ok()?;
    let whole = encode(KEY, &message).expect("far below the limit");
    let mut record = whole.clone();
    let place = usize::from(u16::from_le_bytes([p1, p2])) % record.len();
    record[place] ^= change;
    record.truncate(record.len() - usize::from(u16::from_le_bytes([c1, c2])) % record.len());
    let found = decode::<proto::Entry>(KEY, &record);
    if record == whole {
        assert_eq!(found.as_ref(), Ok(&message));
    } else {
        let why = found.expect_err("damage is noticed");
        assert!(!why.is_empty() && why.len() < 200, "{why}");
    }
    decode::<proto::Entry>(b"another key", &record).expect_err("a record lies under its own key");
    Some(Ok(()))
}

fn record(bytes: &[u8]) -> Option<Done> {
    let length = record_length(bytes);
    let found = decode::<proto::Entry>(KEY, bytes);
    assert!(found.is_err() || length == Ok(bytes.len()));
    let message = found.ok()?;
    assert!(bytes.len() >= HEADER_BYTES);
    Some(entry(&message))
}

fn key(bytes: &[u8]) -> Option<Done> {
    if let Some(end) = keys::after(bytes) {
        assert!(end.as_slice() > bytes && !end.starts_with(bytes));
    }
    keys::sequence(bytes);
    let site = keys::site(bytes)?;
    let prefix = keys::kind_prefix(&site, keys::Kind::Journal);
    assert!(bytes.starts_with(&prefix[..prefix.len() - 1]));
    Some(Ok(()))
}
