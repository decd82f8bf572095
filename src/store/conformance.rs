//! What every store must do, whatever it is kept in.

use super::image::samples::image_with;
use crate::domain::event::{Event, Recorded};
use crate::domain::ids::SiteKey;
use crate::domain::session::{Session, SessionSpec};
use crate::engine::ports::{Batch, Durability, Store, StoreError};
use crate::wire::samples::{self, at, ended_session, session_id, site_id, tenant};

/// Makes one test of each rule. `$make` gives a new, empty store and whatever must live as long as it.
macro_rules! conformance {
    ($make:expr) => {
        conformance!(@each $make;
            what_is_appended_is_read_back_in_order_and_in_pages,
            an_append_that_does_not_continue_the_journal_is_a_conflict,
            of_two_owners_one_loses,
            a_batch_with_a_gap_is_refused_whole,
            a_refused_batch_leaves_nothing_behind,
            tenants_and_sites_whose_names_begin_alike_are_separate,
            only_sites_with_a_journal_are_listed,
            a_record_of_many_chunks_is_read_back_whole,
            the_newest_snapshot_is_loaded,
            ended_sessions_are_listed_by_id_in_pages,
            an_ended_session_can_be_restored_without_an_entry,
        );
    };
    (@each $make:expr; $($rule:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $rule() {
                let (store, _alive) = $make;
                $crate::store::conformance::$rule(&store).await;
            }
        )*
    };
}
pub(super) use conformance;

mod memory {
    super::conformance!((crate::store::memory::MemoryStore::default(), ()));
}

pub fn site(tenant_name: &str, site: &str) -> SiteKey {
    SiteKey {
        tenant: tenant(tenant_name),
        site: site_id(site),
    }
}

pub fn entry(sequence: u64) -> Recorded {
    Recorded {
        sequence,
        at: at(1_700_000_000 + sequence as i64),
        event: Event::SiteStopped {
            stopped: sequence.is_multiple_of(2),
        },
        request: None,
    }
}

pub fn batch(sequences: std::ops::RangeInclusive<u64>) -> Batch {
    Batch {
        entries: sequences.map(entry).collect(),
        ended_sessions: Vec::new(),
        durability: Durability::Synced,
    }
}

fn session(id: &str) -> Session {
    Session {
        spec: SessionSpec {
            id: session_id(id),
            ..samples::session()
        },
        ..ended_session()
    }
}

async fn sequences(store: &impl Store, key: &SiteKey) -> Vec<u64> {
    let entries = store.read(key, 0, usize::MAX).await.unwrap();
    entries.iter().map(|entry| entry.sequence).collect()
}

pub async fn what_is_appended_is_read_back_in_order_and_in_pages(store: &impl Store) {
    let key = site("cpo", "depot");
    let mut journal = samples::journal();
    journal.extend((journal.len() as u64 + 1..=300).map(entry));
    for (index, entries) in journal.chunks(7).enumerate() {
        let durability = [Durability::Synced, Durability::Buffered][index % 2];
        let batch = Batch {
            entries: entries.to_vec(),
            ended_sessions: Vec::new(),
            durability,
        };
        store.append(&key, batch).await.unwrap();
    }
    assert_eq!(store.read(&key, 0, usize::MAX).await.unwrap(), journal);
    assert_eq!(store.read(&key, 255, 3).await.unwrap(), journal[255..258]);
    assert_eq!(store.read(&key, 299, 3).await.unwrap(), journal[299..]);
    assert_eq!(store.read(&key, 300, 3).await.unwrap(), []);
    assert_eq!(store.read(&key, u64::MAX, 3).await.unwrap(), []);
    assert_eq!(store.read(&key, 0, 0).await.unwrap(), []);
}

pub async fn an_append_that_does_not_continue_the_journal_is_a_conflict(store: &impl Store) {
    let key = site("cpo", "depot");
    store.append(&key, batch(1..=3)).await.unwrap();
    for (first, last) in [(1, 1), (3, 4), (5, 5)] {
        match store.append(&key, batch(first..=last)).await {
            Err(StoreError::Conflict {
                key: of,
                expected,
                found,
            }) => assert_eq!((of, expected, found), (key.clone(), first - 1, 3)),
            other => panic!("{first} after 3: {other:?}"),
        }
    }
    assert_eq!(sequences(store, &key).await, [1, 2, 3]);
}

pub async fn of_two_owners_one_loses(store: &impl Store) {
    let key = site("cpo", "depot");
    let (one, other) = tokio::join!(store.append(&key, batch(1..=1)), store.append(&key, batch(1..=2)));
    assert!(
        one.is_ok() != other.is_ok(),
        "exactly one append wins: {one:?}, {other:?}"
    );
    let expected: &[u64] = if one.is_ok() { &[1] } else { &[1, 2] };
    assert_eq!(sequences(store, &key).await, expected);
}

pub async fn a_batch_with_a_gap_is_refused_whole(store: &impl Store) {
    let key = site("cpo", "depot");
    for numbers in [vec![1, 3], vec![1, 1], vec![2, 1], vec![0], vec![0, 1]] {
        let gap = Batch {
            entries: numbers.iter().map(|sequence| entry(*sequence)).collect(),
            ..batch(1..=1)
        };
        match store.append(&key, gap).await {
            Err(StoreError::Write(_)) => {}
            other => panic!("{numbers:?}: {other:?}"),
        }
    }
    assert!(sequences(store, &key).await.is_empty());
    store
        .append(&key, batch(1..=1))
        .await
        .expect("a refusal breaks nothing");
}

pub async fn a_refused_batch_leaves_nothing_behind(store: &impl Store) {
    let key = site("cpo", "depot");
    let refused = Batch {
        ended_sessions: vec![session("s")],
        ..batch(2..=200)
    };
    store.append(&key, refused).await.expect_err("it does not begin at 1");
    assert!(sequences(store, &key).await.is_empty());
    assert_eq!(store.ended_session(&key, &session_id("s")).await.unwrap(), None);
    assert_eq!(store.sites().await.unwrap(), []);
}

pub async fn tenants_and_sites_whose_names_begin_alike_are_separate(store: &impl Store) {
    let keys = [
        site("a", "b"),
        site("a", "bb"),
        site("ab", "b"),
        site("a", "bJ"),
        site("aa", "b"),
        site("A", "b"),
    ];
    for (index, key) in keys.iter().enumerate() {
        let last = index as u64 + 1;
        let ended_sessions = vec![session(&format!("s{index}"))];
        let batch = Batch {
            ended_sessions,
            ..batch(1..=last)
        };
        store.append(key, batch).await.unwrap();
        let snapshot = image_with(last, vec![entry(last)]);
        store.save_snapshot(key, snapshot).await.unwrap();
    }
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(sequences(store, key).await.len(), index + 1, "{key}");
        let ended = store.ended_sessions(key, None, 10).await.unwrap();
        assert_eq!(ended, [session(&format!("s{index}"))], "{key}");
        let snapshot = store.load_snapshot(key).await.unwrap().unwrap();
        assert_eq!(snapshot.sequence, index as u64 + 1, "{key}");
    }
    let mut sorted = keys.to_vec();
    sorted.sort();
    assert_eq!(store.sites().await.unwrap(), sorted);
}

pub async fn only_sites_with_a_journal_are_listed(store: &impl Store) {
    assert_eq!(store.sites().await.unwrap(), []);
    let key = site("cpo", "depot");
    let snapshot = image_with(1, Vec::new());
    store.save_snapshot(&key, snapshot).await.unwrap();
    assert_eq!(store.sites().await.unwrap(), []);
    store.append(&key, batch(1..=1)).await.unwrap();
    assert_eq!(store.sites().await.unwrap(), [key]);
}

pub async fn a_record_of_many_chunks_is_read_back_whole(store: &impl Store) {
    let key = site("cpo", "depot");
    // Sizes around the edges of a chunk, and one far above.
    let reasons = [4_000, 4_096, 4_097, 8_192, 3_000_000].map(|size| "x".repeat(size));
    let event = |reason: String| Event::SessionEnded {
        session: session_id("s"),
        at: at(5),
        reason,
    };
    let entries: Vec<Recorded> = reasons
        .into_iter()
        .zip(1..)
        .map(|(reason, sequence)| Recorded {
            event: event(reason),
            ..entry(sequence)
        })
        .collect();
    let large = Batch {
        entries: entries.clone(),
        ..batch(1..=1)
    };
    store.append(&key, large).await.unwrap();
    assert_eq!(store.read(&key, 0, usize::MAX).await.unwrap(), entries);
    assert_eq!(store.read(&key, 4, 1).await.unwrap(), entries[4..]);
}

pub async fn the_newest_snapshot_is_loaded(store: &impl Store) {
    let key = site("cpo", "depot");
    assert_eq!(store.load_snapshot(&key).await.unwrap(), None);
    for sequence in [3, 255, 256, 70_000] {
        let snapshot = image_with(sequence, samples::journal());
        store.save_snapshot(&key, snapshot.clone()).await.unwrap();
        assert_eq!(store.load_snapshot(&key).await.unwrap(), Some(snapshot));
    }
    let shorter = image_with(70_000, vec![entry(1)]);
    store.save_snapshot(&key, shorter.clone()).await.unwrap();
    assert_eq!(store.load_snapshot(&key).await.unwrap(), Some(shorter));
}

pub async fn ended_sessions_are_listed_by_id_in_pages(store: &impl Store) {
    let key = site("cpo", "depot");
    let sorted = ["A", "AB", "B", "a", "a!", "aa", "b"].map(session);
    let mut shuffled = sorted.to_vec();
    shuffled.rotate_left(3);
    shuffled.reverse();
    let batch_of = |ended_sessions, sequence| Batch {
        ended_sessions,
        ..batch(sequence..=sequence)
    };
    store.append(&key, batch_of(shuffled, 1)).await.unwrap();
    let mut listed = Vec::new();
    loop {
        let last = listed.last().map(|session: &Session| session.spec.id.clone());
        let page = store.ended_sessions(&key, last.as_ref(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        listed.extend(page);
    }
    assert_eq!(listed, sorted);
    let between = store.ended_sessions(&key, Some(&session_id("AA")), 1).await.unwrap();
    assert_eq!(between, [session("AB")], "the id to start after need not be there");
    let again = Session {
        connector: samples::connector_id("9"),
        ..session("B")
    };
    store.append(&key, batch_of(vec![again.clone()], 2)).await.unwrap();
    let found = store.ended_session(&key, &session_id("B")).await.unwrap();
    assert_eq!(found, Some(again), "the last word counts");
    assert_eq!(store.ended_session(&key, &session_id("C")).await.unwrap(), None);
}

pub async fn an_ended_session_can_be_restored_without_an_entry(store: &impl Store) {
    let key = site("cpo", "depot");
    let only_sessions = Batch {
        entries: Vec::new(),
        ended_sessions: vec![session("s")],
        durability: Durability::Synced,
    };
    store.append(&key, only_sessions).await.unwrap();
    assert_eq!(store.ended_sessions(&key, None, 10).await.unwrap(), [session("s")]);
    store
        .append(&key, batch(1..=1))
        .await
        .expect("the journal is still empty");
}
