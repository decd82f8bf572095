//! That an export holds everything, and that half of one is noticed.

use super::*;
use crate::store::conformance::{batch, entry, site};
use crate::store::memory::MemoryStore;
use crate::wire::samples;

/// Journals over a page long, every event that has a date, ended sessions.
async fn filled() -> MemoryStore {
    let store = MemoryStore::default();
    let mut journal = samples::journal();
    journal.retain(|entry| to_json(&entry_message(entry), Layout::Line).is_ok());
    for (entry, sequence) in journal.iter_mut().zip(1..) {
        entry.sequence = sequence;
    }
    let ended = |id: &str| {
        let mut session = samples::ended_session();
        session.spec.id = samples::session_id(id);
        session
    };
    let all_kinds = Batch {
        entries: journal,
        ended_sessions: vec![ended("a"), ended("b")],
        durability: Durability::Synced,
    };
    store.append(&site("cpo", "a"), all_kinds).await.unwrap();
    store.append(&site("cpo", "b"), batch(1..=600)).await.unwrap();
    store.append(&site("other", "a"), batch(1..=1)).await.unwrap();
    store
}

async fn exported(store: &dyn Store) -> (Vec<u8>, Counts) {
    let mut output = Vec::new();
    let export = export(store, &mut output).await.unwrap();
    assert_eq!(export.damaged, [""; 0]);
    (output, export.counts)
}

async fn restored(mut text: &[u8]) -> (MemoryStore, Result<Counts, ExportError>) {
    let store = MemoryStore::default();
    let result = restore(&store, &mut text).await;
    (store, result)
}

#[tokio::test]
async fn a_restored_export_is_the_same_store_and_says_that_it_was_restored() {
    let store = filled().await;
    let (text, counts) = exported(&store).await;
    let lines = text.split(|byte| *byte == b'\n').count() as u64 - 1;
    assert_eq!(lines, counts.entries + counts.ended_sessions + 1);
    let (copy, result) = restored(&text).await;
    assert_eq!(result.unwrap(), counts);
    assert_eq!(copy.sites().await.unwrap(), store.sites().await.unwrap());
    for key in store.sites().await.unwrap() {
        let original = store.read(&key, 0, usize::MAX).await.unwrap();
        let mut restored = copy.read(&key, 0, usize::MAX).await.unwrap();
        let mark = restored.pop().unwrap();
        assert_eq!(mark.event, Event::JournalRestored);
        assert_eq!(
            mark.at,
            original.last().unwrap().at,
            "the clock has nothing to say here"
        );
        assert_eq!(restored, original);
        let ended = store.ended_sessions(&key, None, usize::MAX).await.unwrap();
        assert_eq!(copy.ended_sessions(&key, None, usize::MAX).await.unwrap(), ended);
    }
}

#[tokio::test]
async fn an_empty_store_can_be_exported_and_restored() {
    let (text, counts) = exported(&MemoryStore::default()).await;
    assert_eq!(counts, Counts::default());
    assert_eq!(restored(&text).await.1.unwrap(), counts);
}

#[tokio::test]
async fn an_export_cut_off_anywhere_is_noticed() {
    let (text, _) = exported(&filled().await).await;
    for length in [0, 1, 100, text.len() / 2, text.len() - 10] {
        let error = restored(&text[..length]).await.1.expect_err("a cut export");
        assert!(
            matches!(error, ExportError::CutOff(_) | ExportError::Line { .. }),
            "{length}: {error}"
        );
    }
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let last_entry = lines.len() - 2;
    lines.remove(last_entry);
    let error = restored(&lines.concat()).await.1.expect_err("a line is missing");
    assert!(matches!(error, ExportError::CutOff(_)), "{error}");
}

#[tokio::test]
async fn a_line_that_is_none_is_told_by_its_number() {
    let (text, _) = exported(&filled().await).await;
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    lines.insert(
        2,
        b"{\"entry\":{\"tenant_id\":\"cpo\",\"site_id\":\"a\",\"entry\":{\"sequence\":3}}}\n",
    );
    let error = restored(&lines.concat()).await.1.unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("event"), "{error}");
    lines[2] = b"{\"entry\":{\"tenant_id\":\"\",\"site_id\":\"a\"}}\n";
    let error = restored(&lines.concat()).await.1.unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("tenant_id"), "{error}");
    let error = restored(b"{}\n").await.1.unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
}

#[tokio::test]
async fn a_store_that_has_something_is_not_restored_into() {
    let (text, _) = exported(&filled().await).await;
    let store = MemoryStore::default();
    store.append(&site("cpo", "a"), batch(1..=1)).await.unwrap();
    let error = restore(&store, &mut text.as_slice()).await.unwrap_err();
    assert!(matches!(error, ExportError::NotEmpty(_)), "{error}");
    assert_eq!(store.read(&site("cpo", "a"), 0, 9).await.unwrap(), [entry(1)]);
}
