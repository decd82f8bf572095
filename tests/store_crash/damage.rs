//! Files that are cut, overwritten, mixed up or gone.
//!
//! A store of such files is opened and is right, or opens and says which journals are damaged, or does not open and says which file is at
//! fault and what to do. It never gives a wrong entry, never takes a gap for the end, and keeps the files as it found them.
//! One thing is damaged at a time, as a failing disk or a hand does it; where the log and the note beside it are both set back nobody
//! can tell.

use crate::kill::{Moment, run_and_kill};
use crate::written::*;
use crate::{Dice, points};
use laddplan::engine::ports::{Store, StoreError};
use laddplan::store::export::export;
use laddplan::store::sled::{OpenError, SledStore};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

const USUAL_POINTS: usize = 400;
/// Points looked at at the same time.
const AT_ONCE: usize = 4;
const PAGE_BYTES: usize = 4_096;
const LOG: &str = "db";
const NOTE: &str = "high-water";
const AS_FOUND: &str = "as-found";

/// The files of a folder, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// A sound store, and what its processes said.
struct Original {
    files: Files,
    /// The same store half way.
    earlier: Files,
    said: Said,
}

impl Original {
    /// `orderly`: it was opened and closed again after its last process was killed.
    fn make(acknowledged: usize, orderly: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut said = Said::default();
        let half = Moment::AfterAcknowledging(acknowledged / 2);
        run_and_kill(folder.path(), half, &mut said);
        let earlier = files(folder.path());
        run_and_kill(folder.path(), half, &mut said);
        if orderly {
            let store = open(folder.path()).unwrap();
            block_on(check_all(&store, &said, "an original"));
            store.all_was_read();
        }
        Self {
            files: files(folder.path()),
            earlier,
            said,
        }
    }
}

fn files(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let entries = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named
        .filter(|(name, _)| name != "laddplan.lock")
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// Where the log's last record that is not zeros ends.
fn end_of(log: &[u8]) -> usize {
    log.iter().rposition(|byte| *byte != 0).unwrap_or(0)
}

/// Puts what `of` has at a page of the log in its place.
fn put_page(log: &mut [u8], of: &[u8], page: usize) {
    let begin = page * PAGE_BYTES;
    let there = of.get(begin..).unwrap_or_default();
    for (index, byte) in log[begin..].iter_mut().take(PAGE_BYTES).enumerate() {
        *byte = there.get(index).copied().unwrap_or(0);
    }
}

const KINDS: usize = 18;

/// Does something to the files and says what. `other` is another store.
fn damage(kind: usize, original: &Original, other: &Original, dice: &mut Dice) -> (Files, String) {
    let mut files = original.files.clone();
    let names: Vec<String> = files.keys().cloned().collect();
    let any = names[dice.roll(names.len())].clone();
    let log = files.get_mut(LOG).unwrap();
    let end = end_of(log);
    let place = dice.roll(log.len());
    let what = match kind {
        0 => {
            log.truncate(place);
            format!("the log cut at {place}")
        }
        1 => {
            let end = log.len() - log.len().min(1 + dice.roll(20_000));
            log.truncate(end);
            format!("the log's end cut at {end}")
        }
        2 => {
            let begin = end.saturating_sub(dice.roll(40_000));
            log[begin..=end].fill(0);
            format!("the log's last records zeroed from {begin} to {end}")
        }
        3 => {
            let begin = dice.roll(end + 1) / PAGE_BYTES * PAGE_BYTES;
            let end = log.len().min(begin + PAGE_BYTES);
            log[begin..end].fill(0);
            format!("the log's page at {begin} zeroed")
        }
        4..7 => {
            let place = dice.roll(end + 1);
            log[place] ^= 1 << dice.roll(8);
            format!("a bit of the log at {place}")
        }
        7..9 => {
            let pages = end / PAGE_BYTES + 1;
            let (one, another) = (dice.roll(pages) * PAGE_BYTES, dice.roll(pages) * PAGE_BYTES);
            let length = PAGE_BYTES.min(log.len() - one.max(another));
            for offset in 0..length {
                log.swap(one + offset, another + offset);
            }
            format!("the log's pages at {one} and {another} in each other's place")
        }
        9 => {
            let end = log.len().min(place + 1 + dice.roll(2_000));
            log[place..end].iter_mut().for_each(|byte| *byte = dice.roll(256) as u8);
            format!("the log overwritten from {place} to {end}")
        }
        10 => {
            files.remove(&any);
            format!("{any} gone")
        }
        11 => {
            files.insert(any.clone(), Vec::new());
            format!("{any} empty")
        }
        12 => {
            let length = dice.roll(40_000);
            files.insert(any.clone(), (0..length).map(|_| dice.roll(256) as u8).collect());
            format!("{any} replaced by {length} random bytes")
        }
        13 => {
            let bytes = files.get_mut(&any).unwrap();
            let place = dice.roll(bytes.len());
            bytes[place] ^= 1 << dice.roll(8);
            format!("a bit of {any} at {place}")
        }
        14 => {
            files.insert(LOG.to_owned(), other.files[LOG].clone());
            "the log of another store".to_owned()
        }
        15 => {
            let page = dice.roll(end / PAGE_BYTES + 1);
            put_page(log, &original.earlier[LOG], page);
            format!("page {page} of the log as it was earlier")
        }
        16 => {
            files.insert(LOG.to_owned(), original.earlier[LOG].clone());
            "the log as it was earlier".to_owned()
        }
        _ => {
            let note = files.remove(NOTE);
            files = original.earlier.clone();
            files.extend(note.map(|note| (NOTE.to_owned(), note)));
            "all but the note as it was earlier".to_owned()
        }
    };
    (files, what)
}

/// What became of the damaged stores.
#[derive(Debug, Default)]
struct Outcomes {
    refused: AtomicUsize,
    /// Opened, with journals that are told to be damaged.
    in_part: AtomicUsize,
    /// Opened whole: what was damaged is not used.
    whole: AtomicUsize,
}

#[test]
fn damage_is_told_and_never_made_worse() {
    let originals: Vec<Original> = [(8, false), (60, true), (60, false), (400, true), (400, false)]
        .into_iter()
        .map(|(acknowledged, orderly)| Original::make(acknowledged, orderly))
        .collect();
    let points = points(USUAL_POINTS);
    let (next, outcomes) = (AtomicUsize::new(0), Outcomes::default());
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                loop {
                    let point = next.fetch_add(1, Ordering::SeqCst);
                    if point >= points {
                        return;
                    }
                    damage_once(point, &originals, &outcomes);
                }
            });
        }
    });
    println!("{outcomes:?}");
    for outcome in [&outcomes.refused, &outcomes.whole] {
        assert!(outcome.load(Ordering::SeqCst) > 0, "{outcomes:?}");
    }
}

fn damage_once(point: usize, originals: &[Original], outcomes: &Outcomes) {
    let mut dice = Dice(point as u64);
    // Every kind of damage to every store, in turn.
    let kind = point % KINDS;
    let (index, another) = (point / KINDS % originals.len(), 1 + dice.roll(originals.len() - 1));
    let original = &originals[index];
    let other = &originals[(index + another) % originals.len()];
    let (damaged, what) = damage(kind, original, other, &mut dice);
    let place = format!("point {point}, store {index}, {what}");
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in &damaged {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    // A second start finds what the first one left.
    for _ in 0..=dice.roll(2) {
        let outcome = match open(folder.path()) {
            Ok(store) => match block_on(check_opened(&store, &original.said, folder.path(), &place)) {
                0 => {
                    assert!(store.as_found().is_none(), "{place}: all was read");
                    &outcomes.whole
                }
                _ => &outcomes.in_part,
            },
            Err(error) => {
                check_says_what_to_do(&error, folder.path(), &place);
                &outcomes.refused
            }
        };
        if !std::ptr::eq(outcome, &outcomes.whole) {
            let kept = files(&folder.path().join(AS_FOUND));
            for (name, bytes) in &damaged {
                assert!(
                    kept.get(name) == Some(bytes),
                    "{place}: {name} is not kept as it was found"
                );
            }
        }
        outcome.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a damaged store gives is right as far as it goes, and where it does not go on it says so: of how much.
async fn check_opened(store: &SledStore, said: &Said, folder: &Path, place: &str) -> usize {
    let mut damaged = 0;
    for number in 0..SITES {
        let checked = match check_site(store, number).await {
            Ok(last) => {
                let acknowledged = said.acknowledged(number);
                assert!(
                    last >= acknowledged,
                    "{place}, site {number}: {last} of {acknowledged}, and nothing was said"
                );
                check_beside(store, number, last).await
            }
            damaged => damaged.map(drop),
        };
        if let Err(error) = checked {
            check_names_the_file(&error, folder, place);
            let goes_on = store
                .append(&site(number), batch(number, said.acknowledged(number)))
                .await;
            assert!(
                matches!(goes_on, Err(StoreError::Damaged { .. })),
                "{place}: a damaged journal goes on: {goes_on:?}"
            );
            damaged += 1;
        }
    }
    check_export(store, damaged, place).await;
    store.all_was_read();
    damaged
}

fn check_names_the_file(error: &StoreError, folder: &Path, place: &str) {
    let text = error.to_string();
    assert!(matches!(error, StoreError::Damaged { .. }), "{place}: {text}");
    let log = folder.join(LOG).display().to_string();
    assert!(text.contains(&log), "{place}: which file? {text}");
}

/// What can be read can be saved, and of the rest it is said that it cannot.
async fn check_export(store: &SledStore, damaged: usize, place: &str) {
    let mut lines = Vec::new();
    let exported = export(store, &mut lines).await;
    let exported = exported.unwrap_or_else(|error| panic!("{place}: {error}"));
    // Persons are not exported.
    assert!(exported.damaged.len() <= 2 * damaged, "{place}: {:?}", exported.damaged);
    assert!(
        damaged <= exported.damaged.len() + 1,
        "{place}: {damaged} are damaged, but {:?}",
        exported.damaged
    );
}

fn check_says_what_to_do(error: &OpenError, folder: &Path, place: &str) {
    let text = error.to_string();
    assert!(matches!(error, OpenError::Damaged { .. }), "{place}: {text}");
    let folder = folder.display().to_string();
    for word in [
        &*folder,
        AS_FOUND,
        "move the whole folder aside",
        "journal restore",
        "docs/damaged-store.md",
    ] {
        assert!(text.contains(word), "{place}: no \"{word}\" in: {text}");
    }
    let names = ["db", "conf", "snap."]
        .map(|name| [format!("damaged: {name}"), format!("it read {name}")])
        .concat();
    assert!(
        names.iter().any(|name| text.contains(name.as_str())),
        "{place}: which file? {text}"
    );
}
