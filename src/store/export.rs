//! A whole store as lines of JSON, and back.
//!
//! Decides that an export is every entry of every journal and every ended session, then a last line that counts them. Snapshots
//! are left out because they can be made again; whom a driver's reference stands for is not in the store. Of what is damaged
//! an export has what stands before it, and the caller is told. Every journal that is restored ends in an entry that says so, since
//! what was sent after the export is not in it.
//! Streams: memory is bounded by a page and the number of sites, whatever the store holds.

#[cfg(test)]
mod tests;

use crate::domain::event::{Event, Recorded};
use crate::domain::ids::{SessionId, SiteId, SiteKey, TenantId};
use crate::domain::rejection::Rejection;
use crate::engine::ports::{Batch, Durability, Store, StoreError};
use crate::units::Instant;
use crate::wire::journal::{ended_session, ended_session_message, entry_message, recorded};
use crate::wire::journal_proto as proto;
use crate::wire::json::{JsonError, Layout, from_json, to_json};
use proto::exported::Line;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

/// Read from the store at once, and appended to it at once.
const PAGE_ENTRIES: usize = 256;
/// Longest line: a record in JSON is a few times as long as in protobuf.
const MAX_LINE_BYTES: u64 = 512 * 1024 * 1024;

/// What was exported or restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub entries: u64,
    pub ended_sessions: u64,
}

/// What an export has, and what it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    pub counts: Counts,
    /// What could not be read, each with what of it is in the export.
    pub damaged: Vec<String>,
}

/// Why an export or a restore stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("could not write the export: {0}")]
    Output(io::Error),
    #[error("could not read the export: {0}")]
    Input(io::Error),
    #[error("an entry cannot be said in JSON: {0}")]
    Json(JsonError),
    #[error("the store is not empty: it has the journal of {0}; restore into a new folder")]
    NotEmpty(SiteKey),
    #[error("line {line} is not a line of an export: {why}")]
    Line { line: u64, why: String },
    #[error("the export is cut off: {0}. What was restored is not whole; remove it and restore a whole export")]
    CutOff(String),
}

/// Writes everything in `store` that can be read to `output`, one JSON object a line.
pub async fn export(store: &dyn Store, output: &mut (dyn Write + Send)) -> Result<Export, ExportError> {
    let mut export = Export::default();
    for key in store.sites().await? {
        export_journal(store, &key, output, &mut export).await?;
        export_ended_sessions(store, &key, output, &mut export).await?;
    }
    let end = proto::ExportEnd {
        entries: export.counts.entries,
        ended_sessions: export.counts.ended_sessions,
    };
    write_line(output, Line::End(end))?;
    output.flush().map_err(ExportError::Output)?;
    Ok(export)
}

async fn export_journal(
    store: &dyn Store,
    key: &SiteKey,
    output: &mut (dyn Write + Send),
    export: &mut Export,
) -> Result<(), ExportError> {
    let mut last = 0;
    let mut most = PAGE_ENTRIES;
    loop {
        let page = match store.read(key, last, most).await {
            // Up to the damaged entry, one by one.
            Err(StoreError::Damaged { .. }) if most > 1 => {
                most = 1;
                continue;
            }
            Err(error @ StoreError::Damaged { .. }) => {
                export
                    .damaged
                    .push(format!("{error}; its first {last} entries are exported"));
                return Ok(());
            }
            page => page?,
        };
        let Some(newest) = page.last() else {
            return Ok(());
        };
        last = newest.sequence;
        export.counts.entries += page.len() as u64;
        for entry in &page {
            let line = proto::ExportedEntry {
                tenant_id: key.tenant.to_string(),
                site_id: key.site.to_string(),
                entry: Some(entry_message(entry)),
            };
            write_line(output, Line::Entry(line))?;
        }
    }
}

async fn export_ended_sessions(
    store: &dyn Store,
    key: &SiteKey,
    output: &mut (dyn Write + Send),
    export: &mut Export,
) -> Result<(), ExportError> {
    let mut count = 0;
    let mut most = PAGE_ENTRIES;
    let mut last: Option<SessionId> = None;
    loop {
        let page = match store.ended_sessions(key, last.as_ref(), most).await {
            Err(StoreError::Damaged { .. }) if most > 1 => {
                most = 1;
                continue;
            }
            Err(error @ StoreError::Damaged { .. }) => {
                let note = format!("{error}; the first {count} ended sessions of {key} are exported");
                export.damaged.push(note);
                return Ok(());
            }
            page => page?,
        };
        let Some(newest) = page.last() else {
            return Ok(());
        };
        last = Some(newest.spec.id.clone());
        count += page.len();
        export.counts.ended_sessions += page.len() as u64;
        for session in &page {
            let line = proto::ExportedSession {
                tenant_id: key.tenant.to_string(),
                site_id: key.site.to_string(),
                session: Some(ended_session_message(session)),
            };
            write_line(output, Line::EndedSession(line))?;
        }
    }
}

fn write_line(output: &mut (dyn Write + Send), line: Line) -> Result<(), ExportError> {
    let json = to_json(&proto::Exported { line: Some(line) }, Layout::Line).map_err(ExportError::Json)?;
    writeln!(output, "{json}").map_err(ExportError::Output)
}

/// Reads an export into `store`, which must be empty. Whatever went wrong, what was restored until then must not be used.
pub async fn restore(store: &dyn Store, input: &mut (dyn BufRead + Send)) -> Result<Counts, ExportError> {
    if let Some(key) = store.sites().await?.into_iter().next() {
        return Err(ExportError::NotEmpty(key));
    }
    let mut counts = Counts::default();
    let mut page: Option<(SiteKey, Batch)> = None;
    let mut ends = BTreeMap::new();
    let mut number = 0;
    while let Some(text) = read_line(input)? {
        number += 1;
        let at_line = |why: String| ExportError::Line { line: number, why };
        let message: proto::Exported = from_json(&text).map_err(|error| at_line(error.to_string()))?;
        let (tenant, site) = match &message.line {
            Some(Line::Entry(line)) => (&line.tenant_id, &line.site_id),
            Some(Line::EndedSession(line)) => (&line.tenant_id, &line.site_id),
            Some(Line::End(end)) => {
                write_page(store, page, &mut ends).await?;
                let counts = check_end(counts, end)?;
                mark_as_restored(store, ends).await?;
                return Ok(counts);
            }
            None => return Err(at_line("it is empty".to_owned())),
        };
        let key = site_key(tenant, site).map_err(|error| at_line(error.to_string()))?;
        if page.as_ref().is_some_and(|(of, batch)| *of != key || is_full(batch)) {
            write_page(store, page.take(), &mut ends).await?;
        }
        let (_, batch) = page.get_or_insert_with(|| (key, empty_batch()));
        add_line(batch, &mut counts, message).map_err(|error| at_line(error.to_string()))?;
    }
    Err(ExportError::CutOff(format!(
        "it ends after line {number}, which is not its last"
    )))
}

fn site_key(tenant: &str, site: &str) -> Result<SiteKey, Rejection> {
    Ok(SiteKey {
        tenant: TenantId::parse(tenant)?,
        site: SiteId::parse(site)?,
    })
}

const fn empty_batch() -> Batch {
    Batch {
        entries: Vec::new(),
        ended_sessions: Vec::new(),
        durability: Durability::Synced,
    }
}

fn is_full(batch: &Batch) -> bool {
    batch.entries.len() + batch.ended_sessions.len() >= PAGE_ENTRIES
}

fn add_line(batch: &mut Batch, counts: &mut Counts, message: proto::Exported) -> Result<(), Rejection> {
    match message.line {
        Some(Line::Entry(line)) => {
            batch.entries.push(recorded(&line.entry.unwrap_or_default())?);
            counts.entries += 1;
        }
        Some(Line::EndedSession(line)) => {
            batch
                .ended_sessions
                .push(ended_session(&line.session.unwrap_or_default())?);
            counts.ended_sessions += 1;
        }
        Some(Line::End(_)) | None => {}
    }
    Ok(())
}

/// The last entry of each journal: its sequence and its time.
type Ends = BTreeMap<SiteKey, (u64, Instant)>;

async fn write_page(store: &dyn Store, page: Option<(SiteKey, Batch)>, ends: &mut Ends) -> Result<(), StoreError> {
    let Some((key, batch)) = page else { return Ok(()) };
    let end = batch.entries.last().map(|last| (last.sequence, last.at));
    store.append(&key, batch).await?;
    ends.extend(end.map(|end| (key, end)));
    Ok(())
}

async fn mark_as_restored(store: &dyn Store, ends: Ends) -> Result<(), StoreError> {
    for (key, (sequence, at)) in ends {
        let mut batch = empty_batch();
        batch.entries.push(Recorded {
            sequence: sequence + 1,
            at,
            event: Event::JournalRestored,
            request: None,
        });
        store.append(&key, batch).await?;
    }
    Ok(())
}

fn check_end(found: Counts, end: &proto::ExportEnd) -> Result<Counts, ExportError> {
    let told = Counts {
        entries: end.entries,
        ended_sessions: end.ended_sessions,
    };
    if found == told {
        return Ok(found);
    }
    Err(ExportError::CutOff(format!(
        "it has {found:?} and should have {told:?}"
    )))
}

fn read_line(input: &mut (dyn BufRead + Send)) -> Result<Option<String>, ExportError> {
    let mut line = String::new();
    let read = input
        .take(MAX_LINE_BYTES)
        .read_line(&mut line)
        .map_err(ExportError::Input)?;
    Ok((read > 0).then_some(line))
}
