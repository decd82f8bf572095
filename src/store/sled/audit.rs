//! Looks at everything once, when the store is opened, and compares it with what was written.
//!
//! Decides what a store lacks. Where marks and total disagree, or the log ends before what was synced, nobody can say whose records are
//! missing, and the store is not to be used at all. Where only a site's records disagree with its mark the finding is that site's, and
//! the others are not to suffer. Never repairs anything.

use super::super::{codec, keys};
use super::high_water::{HighWater, Note};
use super::reader::{Reader, Record};
use super::tally::{self, Mark, Tally, Total};
use crate::domain::ids::SiteKey;
use crate::engine::ports::StoreError;
use keys::Kind;
use std::collections::{BTreeMap, HashMap};

/// What of a site is damaged, and how.
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

/// What a site lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    pub entries: Option<Finding>,
    pub ended_sessions: Option<Finding>,
}

impl Lacks {
    /// The first of all.
    pub fn anything(&self) -> Option<&Finding> {
        self.entries.as_ref().or(self.ended_sessions.as_ref())
    }
}

/// Of sites that lack something.
pub type Findings = BTreeMap<SiteKey, Lacks>;

/// A site's mark, and its share of the total.
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
    pub marks: HashMap<SiteKey, Marked>,
    pub findings: Findings,
}

/// The error says what is the matter with the log as a whole.
pub fn audit(reader: &Reader, note: Option<Note>) -> Result<Audit, String> {
    let total = read_total(reader)?;
    check_reaches(&total, note)?;
    let mut marks = HashMap::new();
    let mut sum = Tally::default();
    let mut findings = Findings::new();
    for site in reader.with_keys().map_err(|error| error.to_string())? {
        let marked = read_mark(reader, &site)?;
        sum.replace(None, marked.fingerprint);
        let lacks = check_site(reader, &site, &marked.mark);
        if lacks.anything().is_some() {
            findings.insert(site.clone(), lacks);
        }
        marks.insert(site, marked);
    }
    if sum != total.marks {
        let (found, written) = (sum.records, total.marks.records);
        return Err(match found == written {
            true => "what it says of its sites is not what was written last".to_owned(),
            false => format!("it knows {found} of {written} sites"),
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

fn read_mark(reader: &Reader, site: &SiteKey) -> Result<Marked, String> {
    let key = keys::mark(site);
    let bytes = reader.first_chunk(&key).map_err(|error| error.to_string())?;
    // Only snapshots, which no mark counts.
    let Some(bytes) = bytes else {
        return Ok(Marked::default());
    };
    let mark = Mark::decode(&key, &bytes).ok_or_else(|| format!("its mark of {site} fails its checksum"))?;
    let fingerprint = Some(tally::fingerprint(&key, &bytes));
    Ok(Marked { mark, fingerprint })
}

fn check_site(reader: &Reader, site: &SiteKey, written: &Mark) -> Lacks {
    Lacks {
        entries: check_journal(reader, site, written.entries).err(),
        ended_sessions: check_ended_sessions(reader, site, written.ended_sessions).err(),
    }
}

fn check_journal(reader: &Reader, site: &SiteKey, written: Tally) -> Result<(), Finding> {
    let journal = format!("the journal of {site}");
    let found = count_entries(reader, &keys::kind_prefix(site, Kind::Journal), &journal)?;
    compare(&journal, "entries", found, written)?;
    // A damaged one costs time only, but what sled cannot read it cannot write beside either.
    let read = reader.check_readable(&keys::kind_prefix(site, Kind::Snapshot));
    read.map_err(|error| in_list(&format!("the list of snapshots of {site}"), error))
}

fn check_ended_sessions(reader: &Reader, site: &SiteKey, written: Tally) -> Result<(), Finding> {
    let list = format!("the list of ended sessions of {site}");
    let prefix = keys::kind_prefix(site, Kind::EndedSession);
    let mut found = Tally::default();
    for record in reader.records(prefix.clone(), &prefix) {
        let record = record.map_err(|error| in_list(&list, error))?;
        found.add(check(&record, &list)?);
    }
    compare(&list, "ended sessions", found, written)
}

fn count_entries(reader: &Reader, prefix: &[u8], journal: &str) -> Result<Tally, Finding> {
    let mut found = Tally::default();
    for record in reader.records(prefix.to_vec(), prefix) {
        let expected = found.records + 1;
        let entry = format!("entry {expected} of {journal}");
        let record = record.map_err(|error| in_list(&entry, error))?;
        if keys::sequence(&record.key) != Some(expected) {
            let why = "it is missing, but later ones are there".to_owned();
            return Err(Finding { what: entry, why });
        }
        found.add(check(&record, &entry)?);
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

fn in_list(what: &str, error: StoreError) -> Finding {
    let why = match error {
        StoreError::Damaged { why, .. } => why,
        other => other.to_string(),
    };
    let what = what.to_owned();
    Finding { what, why }
}

fn compare(what: &str, of_what: &str, found: Tally, written: Tally) -> Result<(), Finding> {
    if found == written {
        return Ok(());
    }
    let why = match found.records == written.records {
        true => format!("its {of_what} are not those that were written"),
        false => format!("{} of its {} {of_what} are there", found.records, written.records),
    };
    let what = what.to_owned();
    Err(Finding { what, why })
}
