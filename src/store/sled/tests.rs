//! What only a store on disk must do: last, sync before it answers, and notice damage.

use super::disk::DiskSync;
use super::*;
use crate::domain::event::Event;
use crate::store::conformance::{batch, conformance, entry, site};
use crate::store::image::samples::image_with;
use crate::wire::samples;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use tempfile::TempDir;

mod lacking;
mod power_cut;

conformance!(temporary());

fn temporary() -> (SledStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open(&folder), folder)
}

fn open(folder: &TempDir) -> SledStore {
    SledStore::open(folder.path(), DEFAULT_CACHE_BYTES).unwrap()
}

fn open_with(folder: &TempDir, sync: impl DiskSync) -> SledStore {
    SledStore::open_with(folder.path(), DEFAULT_CACHE_BYTES, |_| Ok(Box::new(sync))).unwrap()
}

fn buffered(batch: Batch) -> Batch {
    Batch {
        durability: Durability::Buffered,
        ..batch
    }
}

/// Counts.
struct Counting(Arc<AtomicUsize>);

impl DiskSync for Counting {
    fn sync(&self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Says that it was called and waits to be told how it went.
struct Gate {
    called: mpsc::Sender<()>,
    outcome: mpsc::Receiver<io::Result<()>>,
}

impl DiskSync for Gate {
    fn sync(&self) -> io::Result<()> {
        // A test that is over neither listens nor tells.
        let _ = self.called.send(());
        self.outcome.recv().unwrap_or(Ok(()))
    }
}

fn gated(folder: &TempDir) -> (Arc<SledStore>, mpsc::Receiver<()>, mpsc::Sender<io::Result<()>>) {
    let (called, calls) = mpsc::channel();
    let (tell, outcome) = mpsc::channel();
    let store = open_with(folder, Gate { called, outcome });
    (Arc::new(store), calls, tell)
}

/// The limit only keeps a broken store from holding up the tests for ever.
fn wait_for_sync(calls: &mpsc::Receiver<()>) {
    let limit = std::time::Duration::from_secs(60);
    calls.recv_timeout(limit).expect("the store syncs");
}

/// Lets every task that can run do so.
async fn let_others_run() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

async fn read_all(store: &SledStore, key: &SiteKey) -> Vec<Recorded> {
    store.read(key, 0, usize::MAX).await.unwrap()
}

#[tokio::test]
async fn everything_is_there_after_it_was_closed_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let key = site("cpo", "depot");
    let snapshot = image_with(3, samples::journal());
    let store = open(&folder);
    let batch_with_session = Batch {
        ended_sessions: vec![samples::ended_session()],
        ..batch(1..=3)
    };
    store.append(&key, batch_with_session).await.unwrap();
    store.append(&key, buffered(batch(4..=4))).await.unwrap();
    store.save_snapshot(&key, snapshot.clone()).await.unwrap();
    drop(store);

    let store = open(&folder);
    assert_eq!(read_all(&store, &key).await, batch(1..=4).entries);
    assert_eq!(store.load_snapshot(&key).await.unwrap(), Some(snapshot));
    assert_eq!(
        store.ended_sessions(&key, None, 9).await.unwrap(),
        [samples::ended_session()]
    );
    let conflict = store.append(&key, batch(4..=4)).await;
    assert!(matches!(conflict, Err(StoreError::Conflict { found: 4, .. })));
    store.append(&key, batch(5..=5)).await.unwrap();
}

#[tokio::test]
async fn an_append_is_applied_then_synced_then_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (store, calls, tell) = gated(&folder);
    let key = site("cpo", "depot");
    let append = tokio::spawn({
        let (store, key) = (store.clone(), key.clone());
        async move { store.append(&key, batch(1..=1)).await }
    });
    let_others_run().await;
    wait_for_sync(&calls);
    assert_eq!(read_all(&store, &key).await, [entry(1)], "applied before the sync");
    let_others_run().await;
    assert!(!append.is_finished(), "not answered before the sync is done");
    tell.send(Ok(())).unwrap();
    append.await.unwrap().unwrap();
    assert!(calls.try_recv().is_err(), "one sync");
}

#[tokio::test]
async fn a_failed_sync_is_never_acknowledged_and_ends_all_writing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _calls, tell) = gated(&folder);
    let key = site("cpo", "depot");
    tell.send(Ok(())).unwrap();
    store.append(&key, batch(1..=1)).await.unwrap();
    tell.send(Err(io::Error::other("the disk is gone"))).unwrap();
    let refused = store.append(&key, batch(2..=2)).await.unwrap_err().to_string();
    assert!(
        refused.contains("the disk is gone") && refused.contains("restart"),
        "{refused}"
    );
    // What comes later is refused too, though a sync would succeed now: what the failed one lost does not come back.
    tell.send(Ok(())).unwrap();
    let snapshot = image_with(1, Vec::new());
    for later in [
        store.append(&key, batch(2..=2)).await,
        store.append(&key, buffered(batch(3..=3))).await,
        store.append(&site("cpo", "other"), batch(1..=1)).await,
        store.save_snapshot(&key, snapshot).await,
    ] {
        let error = later.unwrap_err().to_string();
        assert!(error.contains("restart"), "{error}");
    }
}

#[tokio::test]
async fn all_that_waits_for_a_sync_shares_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let (store, calls, tell) = gated(&folder);
    let append = |name: String| {
        let store = store.clone();
        tokio::spawn(async move { store.append(&site("cpo", &name), batch(1..=1)).await })
    };
    let first = append("first".to_owned());
    let_others_run().await;
    wait_for_sync(&calls);
    let others: Vec<_> = (0..100).map(|index| append(format!("site-{index}"))).collect();
    let_others_run().await;
    // From here on every sync succeeds at once.
    drop(tell);
    first.await.unwrap().unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    wait_for_sync(&calls);
    assert!(calls.try_recv().is_err(), "a hundred appends, one sync");
}

#[tokio::test]
async fn a_buffered_append_is_not_synced_but_the_next_synced_one_takes_it_along() {
    let folder = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let store = open_with(&folder, Counting(syncs.clone()));
    let key = site("cpo", "depot");
    for sequence in 1..=5 {
        store.append(&key, buffered(batch(sequence..=sequence))).await.unwrap();
    }
    assert_eq!(syncs.load(Ordering::SeqCst), 0);
    assert_eq!(read_all(&store, &key).await.len(), 5);
    store.append(&key, batch(6..=6)).await.unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 1);
    store.append(&key, buffered(batch(7..=7))).await.unwrap();
    drop(store);
    assert_eq!(syncs.load(Ordering::SeqCst), 2, "closing syncs what was buffered");
}

#[tokio::test]
async fn a_refusal_needs_no_sync() {
    let folder = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let store = open_with(&folder, Counting(syncs.clone()));
    store.append(&site("cpo", "depot"), batch(2..=2)).await.unwrap_err();
    assert_eq!(syncs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn sled_never_makes_a_file_that_nobody_syncs() {
    let (store, folder) = temporary();
    let key = site("cpo", "depot");
    let long_reason = Event::SessionEnded {
        session: samples::session_id("s"),
        at: samples::at(1),
        reason: "x".repeat(1_000_000),
    };
    for sequence in 1..=12 {
        let entries = vec![Recorded {
            event: long_reason.clone(),
            ..entry(sequence)
        }];
        let large = Batch {
            entries: entries.clone(),
            ..batch(1..=1)
        };
        store.append(&key, large).await.unwrap();
        store.save_snapshot(&key, image_with(sequence, entries)).await.unwrap();
        let blobs = std::fs::read_dir(folder.path().join("blobs")).unwrap().count();
        assert_eq!(blobs, 0, "after entry {sequence}");
    }
}

#[tokio::test]
async fn only_two_snapshots_are_kept() {
    let (store, _folder) = temporary();
    let key = site("cpo", "depot");
    for sequence in [5, 300, 70_000] {
        let entries = samples::journal();
        store.save_snapshot(&key, image_with(sequence, entries)).await.unwrap();
    }
    assert_eq!(store.reader.snapshots(&key).unwrap(), [300, 70_000]);
}

/// Past the store, and past the checksums of sled.
fn in_sled<T>(folder: &TempDir, work: impl FnOnce(&sled::Db) -> T) -> T {
    let db = sled::open(folder.path()).unwrap();
    let result = work(&db);
    db.flush().unwrap();
    drop(db);
    disk::wait_until_let_go(folder.path());
    result
}

/// Changes the stored bytes under a key.
fn tamper(folder: &TempDir, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
    in_sled(folder, |db| {
        let mut bytes = db.get(key).unwrap().expect("there is such a record").to_vec();
        change(&mut bytes);
        db.insert(key, bytes).unwrap();
    });
}

fn remove(folder: &TempDir, key: &[u8]) {
    in_sled(folder, |db| {
        db.remove(key).unwrap().expect("there is such a record");
    });
}

#[tokio::test]
async fn a_damaged_snapshot_gives_way_to_the_one_before_and_that_to_none() {
    let folder = tempfile::tempdir().unwrap();
    let key = site("cpo", "depot");
    let snapshot = |sequence| image_with(sequence, samples::journal());
    let store = open(&folder);
    for sequence in [1, 2] {
        store.save_snapshot(&key, snapshot(sequence)).await.unwrap();
    }
    drop(store);
    let chunk = |sequence| keys::chunk(&keys::numbered(&key, keys::Kind::Snapshot, sequence), 0);
    tamper(&folder, &chunk(2), |bytes| bytes[100] ^= 1);
    let store = open(&folder);
    assert_eq!(store.load_snapshot(&key).await.unwrap(), Some(snapshot(1)));
    drop(store);
    remove(&folder, &chunk(1));
    let store = open(&folder);
    assert_eq!(store.load_snapshot(&key).await.unwrap(), None);
}

async fn check_damage(damage: impl FnOnce(&TempDir, &dyn Fn(u64, usize) -> Vec<u8>), expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let key = site("cpo", "depot");
    let store = open(&folder);
    store.append(&key, batch(1..=2)).await.unwrap();
    let large = Recorded {
        event: Event::SessionEnded {
            session: samples::session_id("s"),
            at: samples::at(1),
            reason: "x".repeat(10_000),
        },
        ..entry(3)
    };
    let large = Batch {
        entries: vec![large, entry(4)],
        ..batch(1..=1)
    };
    store.append(&key, large).await.unwrap();
    drop(store);
    let chunk = |sequence, index| keys::chunk(&keys::numbered(&key, keys::Kind::Journal, sequence), index);
    damage(&folder, &chunk);
    let store = open(&folder);
    match store.read(&key, 0, usize::MAX).await {
        Err(error @ StoreError::Damaged { .. }) => {
            let error = error.to_string();
            assert!(error.contains(expected), "{error}");
        }
        other => panic!("{expected}: {other:?}"),
    }
}

#[tokio::test]
async fn damaged_torn_and_missing_entries_are_noticed() {
    check_damage(
        |folder, chunk| tamper(folder, &chunk(2, 0), |bytes| bytes[9] ^= 4),
        "entry 2",
    )
    .await;
    check_damage(
        |folder, chunk| tamper(folder, &chunk(2, 0), |bytes| bytes.truncate(5)),
        "header",
    )
    .await;
    check_damage(
        |folder, chunk| tamper(folder, &chunk(2, 0), |bytes| bytes[0] = 9),
        "version 9",
    )
    .await;
    check_damage(
        |folder, chunk| remove(folder, &chunk(2, 0)),
        "it is missing, but later ones are there",
    )
    .await;
    check_damage(|folder, chunk| remove(folder, &chunk(3, 0)), "beginning is missing").await;
    check_damage(|folder, chunk| remove(folder, &chunk(3, 1)), "chunk 1 is missing").await;
    check_damage(|folder, chunk| remove(folder, &chunk(3, 2)), "entry 3").await;
    // A whole record in another one's place.
    let swap = |folder: &TempDir, chunk: &dyn Fn(u64, usize) -> Vec<u8>| {
        let other = in_sled(folder, |db| db.get(chunk(1, 0)).unwrap().unwrap());
        tamper(folder, &chunk(2, 0), |bytes| *bytes = other.to_vec());
    };
    check_damage(swap, "entry 2").await;
}

/// A thread of sled's may hold the file a moment longer than the store that it wrote for.
#[tokio::test]
async fn a_closed_store_has_let_go_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let key = site("cpo", "depot");
    for sequence in 1..=100 {
        let store = open(&folder);
        store.append(&key, batch(sequence..=sequence)).await.unwrap();
    }
}

#[test]
fn a_folder_in_use_is_told_with_the_process_that_uses_it() {
    let (_store, folder) = temporary();
    let error = SledStore::open(folder.path(), DEFAULT_CACHE_BYTES).unwrap_err();
    assert!(matches!(error, OpenError::Locked { process: Some(id), .. } if id == std::process::id()));
    let text = error.to_string();
    assert!(
        text.contains(folder.path().to_str().unwrap()) && text.contains("in use"),
        "{text}"
    );
}

#[test]
fn a_folder_that_another_program_opened_with_sled_is_in_use_too() {
    let folder = tempfile::tempdir().unwrap();
    let _other = sled::open(folder.path()).unwrap();
    let error = SledStore::open(folder.path(), DEFAULT_CACHE_BYTES).unwrap_err();
    assert!(matches!(error, OpenError::Locked { process: None, .. }), "{error}");
}

#[test]
fn a_folder_of_another_layout_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    tamper(&folder, keys::FORMAT, |bytes| *bytes = b"laddplan store 2".to_vec());
    let error = SledStore::open(folder.path(), DEFAULT_CACHE_BYTES)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("laddplan store 3") && error.contains("laddplan store 2"),
        "{error}"
    );
    remove(&folder, keys::FORMAT);
    in_sled(&folder, |db| {
        db.insert(b"something", b"else").unwrap();
    });
    let error = SledStore::open(folder.path(), DEFAULT_CACHE_BYTES).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn a_path_that_cannot_be_a_folder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = SledStore::open(&file, DEFAULT_CACHE_BYTES).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

/// sled itself opens most of these, with entries, sites or everything gone.
#[tokio::test]
async fn nothing_is_missing_from_a_damaged_folder_without_a_word() {
    let sites: Vec<SiteKey> = (0..20).map(|number| site("cpo", &format!("site-{number}"))).collect();
    let mut refused = 0;
    for round in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        for key in &sites {
            store.append(key, batch(1..=300)).await.unwrap();
        }
        drop(store);
        let file = folder.path().join("db");
        let mut damaged = std::fs::read(&file).unwrap();
        let place = damaged.len() * (round + 1) / 13;
        match round % 3 {
            0 => damaged.truncate(place),
            1 => damaged[place..place + 4_096].fill(0),
            _ => damaged[place] ^= 1,
        }
        std::fs::write(&file, &damaged).unwrap();
        match SledStore::open(folder.path(), DEFAULT_CACHE_BYTES) {
            Err(error @ OpenError::Damaged { .. }) => {
                let text = error.to_string();
                assert!(
                    text.contains("move the whole folder aside") && text.contains("restore"),
                    "{text}"
                );
                let kept = folder.path().join(as_found::AS_FOUND).join("db");
                assert_eq!(std::fs::read(kept).unwrap(), damaged, "round {round}: as it was found");
                refused += 1;
            }
            Err(other) => panic!("round {round}: {other}"),
            // The damage hit what sled no longer uses, or what is seen to be missing when it is read.
            Ok(store) => {
                for key in &sites {
                    match store.read(key, 0, usize::MAX).await {
                        Ok(entries) => assert_eq!(entries.len(), 300, "round {round}, {key}"),
                        Err(StoreError::Damaged { .. }) => refused += 1,
                        Err(other) => panic!("round {round}, {key}: {other}"),
                    }
                }
            }
        }
    }
    assert!(refused > 0, "no damage hit anything");
}

#[tokio::test]
async fn a_folder_emptied_of_its_file_is_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.append(&site("cpo", "depot"), batch(1..=3)).await.unwrap();
    drop(store);
    std::fs::remove_file(folder.path().join("db")).unwrap();
    let error = SledStore::open(folder.path(), DEFAULT_CACHE_BYTES).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}
