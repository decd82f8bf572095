//! A store that lacks something without sled knowing: each way is told, of the right owner, and of nobody else.

use super::high_water::{HighWater, Note};
use super::*;
use keys::Kind;

fn with_ended(sequences: std::ops::RangeInclusive<u64>) -> Batch {
    Batch {
        ended_sessions: vec![samples::ended_session()],
        ..batch(sequences)
    }
}

/// Two sites with three entries and an ended session each.
async fn store_of_two_sites() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for name in ["one", "two"] {
        store.append(&site("cpo", name), with_ended(1..=3)).await.unwrap();
    }
    drop(store);
    folder
}

/// Only the first site is damaged, and it says so in these words; whether of its list of ended sessions as well.
async fn check_told(folder: &TempDir, expected: &str, of_list: bool) {
    let (damaged, whole) = (site("cpo", "one"), site("cpo", "two"));
    let store = open(folder);
    assert_eq!(store.sites().await.unwrap(), [damaged.clone(), whole.clone()]);
    let mut told = vec![
        store.read(&damaged, 0, usize::MAX).await.map(drop),
        store.append(&damaged, batch(4..=4)).await,
        store.append(&damaged, batch(1..=1)).await,
    ];
    let listed = store.ended_sessions(&damaged, None, 9).await.map(|list| list.len());
    let no_such = store.ended_session(&damaged, &samples::session_id("no-such")).await;
    if of_list {
        told.extend([listed.map(drop), no_such.map(drop)]);
    } else {
        assert_eq!((listed.unwrap(), no_such.unwrap()), (1, None));
    }
    for told in told {
        let error = told.expect_err(expected);
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        let file = folder.path().join("db").display().to_string();
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains(&file), "{error}");
    }
    assert_eq!(read_all(&store, &whole).await, batch(1..=3).entries);
    assert_eq!(store.ended_sessions(&whole, None, 9).await.unwrap().len(), 1);
    store.append(&whole, batch(4..=4)).await.unwrap();
    store.all_was_read();
    assert!(store.as_found().is_some(), "kept as long as something is lacking");
    drop(store);
    let store = open(folder);
    assert_eq!(read_all(&store, &whole).await, batch(1..=4).entries);
}

fn entry_chunk(sequence: u64) -> Vec<u8> {
    keys::chunk(&keys::numbered(&site("cpo", "one"), Kind::Journal, sequence), 0)
}

fn ended_session_chunk() -> Vec<u8> {
    let session = samples::ended_session();
    keys::chunk(&keys::ended_session(&site("cpo", "one"), &session.spec.id), 0)
}

#[tokio::test]
async fn a_journal_without_its_end_is_told() {
    let folder = store_of_two_sites().await;
    remove(&folder, &entry_chunk(3));
    check_told(
        &folder,
        "the journal of cpo/one is damaged: 2 of its 3 entries are there",
        false,
    )
    .await;
}

#[tokio::test]
async fn a_journal_of_which_nothing_is_left_is_told() {
    let folder = store_of_two_sites().await;
    for sequence in 1..=3 {
        remove(&folder, &entry_chunk(sequence));
    }
    check_told(&folder, "0 of its 3 entries are there", false).await;
}

#[tokio::test]
async fn a_missing_ended_session_is_told() {
    let folder = store_of_two_sites().await;
    remove(&folder, &ended_session_chunk());
    check_told(
        &folder,
        "the list of ended sessions of cpo/one is damaged: 0 of its 1 ended",
        true,
    )
    .await;
}

/// It is sound in itself, but not what was written here.
#[tokio::test]
async fn a_stale_entry_is_told() {
    let folder = store_of_two_sites().await;
    let record = keys::numbered(&site("cpo", "one"), Kind::Journal, 2);
    let other = Recorded {
        at: samples::at(1),
        ..entry(2)
    };
    let other = codec::encode(&record, &entry_message(&other)).unwrap();
    tamper(&folder, &entry_chunk(2), |bytes| *bytes = other);
    check_told(&folder, "its entries are not those that were written", false).await;
}

fn refusal(folder: &TempDir) -> String {
    let refused = SledStore::open(folder.path(), DEFAULT_CACHE_BYTES);
    let error = refused.expect_err("it lacks something of nobody knows whom");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_store_whose_marks_do_not_add_up_is_refused() {
    let mark = keys::chunk(&keys::mark(&site("cpo", "one")), 0);
    let folder = store_of_two_sites().await;
    let before = in_sled(&folder, |db| db.get(&mark).unwrap().unwrap());
    open(&folder).append(&site("cpo", "one"), batch(4..=4)).await.unwrap();
    tamper(&folder, &mark, |bytes| *bytes = before.to_vec());
    remove(&folder, &entry_chunk(4));
    let stale = refusal(&folder);
    assert!(
        stale.contains("is damaged: db: what it says of its sites is not what was written last"),
        "{stale}"
    );
    tamper(&folder, &mark, |bytes| bytes[7] ^= 1);
    let torn = refusal(&folder);
    assert!(torn.contains("db: its mark of cpo/one fails its checksum"), "{torn}");
    remove(&folder, &mark);
    let missing = refusal(&folder);
    assert!(missing.contains("db: it knows 1 of 2 sites"), "{missing}");
    tamper(&folder, keys::TOTAL, |bytes| bytes[7] ^= 1);
    let torn = refusal(&folder);
    assert!(
        torn.contains("db: what it says was written fails its checksum"),
        "{torn}"
    );
    remove(&folder, keys::TOTAL);
    let missing = refusal(&folder);
    assert!(
        missing.contains("db: it does not say how much was written"),
        "{missing}"
    );
}

#[tokio::test]
async fn a_log_that_ends_before_what_was_synced_is_refused_and_no_other() {
    let folder = store_of_two_sites().await;
    let mut high_water = HighWater::open(folder.path()).unwrap();
    let note = high_water.read().unwrap();
    assert_eq!(note.changes, 2, "two appends");
    let noted = |store, changes| Note { store, changes };
    for (sound, note) in [
        (true, noted(note.store, 1)),
        (true, noted(note.store, 0)),
        // Noted before the log that it was for reached the disk.
        (true, noted(note.store ^ 1, 0)),
        (true, note),
        (false, noted(note.store, 3)),
        (false, noted(note.store ^ 1, 1)),
    ] {
        std::fs::write(folder.path().join(HighWater::FILE), b"").unwrap();
        high_water.write(note).unwrap();
        assert_eq!(
            SledStore::open(folder.path(), DEFAULT_CACHE_BYTES).is_ok(),
            sound,
            "{note:?}"
        );
    }
    let of_another = refusal(&folder);
    assert!(
        of_another.contains("db: high-water was written beside another log"),
        "{of_another}"
    );
    high_water.write(noted(note.store, 3)).unwrap();
    let cut = refusal(&folder);
    assert!(
        cut.contains("db: it ends after 2 changes, but by high-water 3 or more were synced"),
        "{cut}"
    );
    // What a loss of power may do to a file that is not synced.
    std::fs::remove_file(folder.path().join(HighWater::FILE)).unwrap();
    open(&folder);
}

#[tokio::test]
async fn what_was_replaced_is_not_missed() {
    let folder = store_of_two_sites().await;
    let key = site("cpo", "one");
    for round in 0..3 {
        let store = open(&folder);
        assert!(store.reader.findings().is_empty(), "round {round}");
        // Twice in one group, and once more in another.
        let longer = Session {
            ended: Some(crate::domain::session::Ended {
                at: samples::at(round),
                reason: "x".repeat(9_000),
            }),
            ..samples::ended_session()
        };
        let twice = Batch {
            ended_sessions: vec![samples::ended_session(), longer],
            ..batch(4 + 2 * round as u64..=4 + 2 * round as u64)
        };
        store.append(&key, twice).await.unwrap();
        store
            .append(&key, buffered(with_ended(5 + 2 * round as u64..=5 + 2 * round as u64)))
            .await
            .unwrap();
        store
            .save_snapshot(&key, image_with(round as u64, Vec::new()))
            .await
            .unwrap();
    }
    assert!(open(&folder).reader.findings().is_empty());
}
