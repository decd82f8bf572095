//! Looks at everything once, when the store is opened, and compares it with what was written.
//!
//! Decides what a store lacks. Where marks and total disagree, or the log ends before what was synced, nobody can say whose records are
//! missing, and the store is not to be used at all. Where only an owner's records disagree with its mark the finding is that owner's,
//! and the others are not to suffer. Never repairs anything.

use super::super::{codec, keys};
use super::high_water::{HighWater, Note};
use super::reader::{Reader, Record};
use super::tally::{self, Mark, Tally, Total};
use crate::engine::ports::StoreError;
use keys::{Kind, Owner};
use std::collections::{BTreeMap, HashMap};

/// What of an owner is damaged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    what: String,
    why: String,
}

impl Finding {
    pub fn error(&self) -> StoreError {
        let Self { what, why } = self.clone();
        StoreError::Damaged { what, why }
    }
}

pub type Findings = BTreeMap<Owner, Finding>;

/// An owner's mark, and its share of the total.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marked {
    pub mark: Mark,
    /// `None` before it was written for the first time.
    pub fingerprint: Option<u64>,
}

/// What a store has, and what it lacks.
#[derive(Debug)]
pub struct Audit {
    pub total: Total,
    pub marks: HashMap<Owner, Marked>,
    pub findings: Findings,
}

/// The error says what is the matter with the log as a whole.
pub fn audit(reader: &Reader, note: Option<Note>) -> Result<Audit, String> {
    let total = read_total(reader)?;
    check_reaches(&total, note)?;
    let mut marks = HashMap::new();
    let mut sum = Tally::default();
    let mut findings = Findings::new();
    for owner in reader.owners().map_err(|error| error.to_string())? {
        let marked = read_mark(reader, &owner)?;
        sum.replace(None, marked.fingerprint);
        if let Err(finding) = check_owner(reader, &owner, &marked.mark) {
            findings.insert(owner.clone(), finding);
        }
        marks.insert(owner, marked);
    }
    if sum != total.marks {
        let (found, written) = (sum.records, total.marks.records);
        return Err(match found == written {
            true => "what it says of its sites and tenants is not what was written last".to_owned(),
            false => format!("it knows {found} of {written} sites and tenants"),
        });
    }
    Ok(Audit { total, marks, findings })
}

fn read_total(reader: &Reader) -> Result<Total, String> {
    let bytes = reader.whole(keys::TOTAL).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or("it does not say how much was written")?;
    Total::decode(keys::TOTAL, &bytes).ok_or_else(|| "what it says was written fails its checksum".to_owned())
}

/// The log does not end before what was synced.
fn check_reaches(total: &Total, note: Option<Note>) -> Result<(), String> {
    let file = HighWater::FILE;
    let Some(note) = note else {
        if total.changes > 0 {
            tracing::warn!(
                "{file} is missing or damaged; whether the end of the log is missing cannot be told this time"
            );
        }
        return Ok(());
    };
    if note.changes == 0 {
        return Ok(());
    }
    if note.store != total.store {
        return Err(format!("{file} was written beside another log"));
    }
    if note.changes > total.changes {
        return Err(format!(
            "it ends after {} changes, but by {file} {} or more were synced",
            total.changes, note.changes
        ));
    }
    Ok(())
}

fn read_mark(reader: &Reader, owner: &Owner) -> Result<Marked, String> {
    let key = keys::mark(owner);
    let bytes = reader.first_chunk(&key).map_err(|error| error.to_string())?;
    // Only snapshots, which no mark counts.
    let Some(bytes) = bytes else {
        return Ok(Marked::default());
    };
    let mark = Mark::decode(&key, &bytes).ok_or_else(|| format!("its mark of {} fails its checksum", name(owner)))?;
    let fingerprint = Some(tally::fingerprint(&key, &bytes));
    Ok(Marked { mark, fingerprint })
}

fn name(owner: &Owner) -> String {
    match owner {
        Owner::Site(site) => site.to_string(),
        Owner::Tenant(tenant) => tenant.to_string(),
    }
}

fn check_owner(reader: &Reader, owner: &Owner, written: &Mark) -> Result<(), Finding> {
    match owner {
        Owner::Site(site) => {
            let journal = format!("the journal of {site}");
            let found = count_entries(reader, &keys::kind_prefix(site, Kind::Journal), &journal)?;
            compare(journal, "entries", found, written.entries)?;
            let ended = format!("the list of ended sessions of {site}");
            let found = count(reader, &keys::kind_prefix(site, Kind::EndedSession), &ended)?;
            compare(ended, "ended sessions", found, written.others)?;
            // A damaged one costs time only, but what sled cannot read it cannot write beside either.
            let snapshots = keys::kind_prefix(site, Kind::Snapshot);
            let read = reader.check_readable(&snapshots);
            read.map_err(|error| in_list(format!("the list of snapshots of {site}"), error))
        }
        Owner::Tenant(tenant) => {
            let persons = format!("the list of drivers of {tenant}");
            let found = count(reader, &keys::persons_prefix(tenant), &persons)?;
            compare(persons, "references", found, written.others)
        }
    }
}

fn count_entries(reader: &Reader, prefix: &[u8], journal: &str) -> Result<Tally, Finding> {
    let mut found = Tally::default();
    for record in reader.records(prefix.to_vec(), prefix) {
        let expected = found.records + 1;
        let entry = format!("entry {expected} of {journal}");
        let record = record.map_err(|error| in_list(entry.clone(), error))?;
        if keys::sequence(&record.key) != Some(expected) {
            let why = "it is missing, but later ones are there".to_owned();
            return Err(Finding { what: entry, why });
        }
        found.add(check(&record, &entry)?);
    }
    Ok(found)
}

fn count(reader: &Reader, prefix: &[u8], list: &str) -> Result<Tally, Finding> {
    let mut found = Tally::default();
    for record in reader.records(prefix.to_vec(), prefix) {
        let record = record.map_err(|error| in_list(list.to_owned(), error))?;
        found.add(check(&record, list)?);
    }
    Ok(found)
}

fn check(record: &Record, what: &str) -> Result<u64, Finding> {
    let finding = |why| Finding {
        what: what.to_owned(),
        why,
    };
    codec::check(&record.key, &record.bytes).map_err(finding)?;
    tally::of_record(&record.key, &record.bytes).ok_or_else(|| finding("it has no header".to_owned()))
}

fn in_list(what: String, error: StoreError) -> Finding {
    let why = match error {
        StoreError::Damaged { why, .. } => why,
        other => other.to_string(),
    };
    Finding { what, why }
}

fn compare(what: String, of_what: &str, found: Tally, written: Tally) -> Result<(), Finding> {
    if found == written {
        return Ok(());
    }
    let why = match found.records == written.records {
        true => format!("its {of_what} are not those that were written"),
        false => format!("{} of its {} {of_what} are there", found.records, written.records),
    };
    Err(Finding { what, why })
}
