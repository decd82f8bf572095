//! Files that are cut, overwritten, mixed up or gone.
//!
//! A store of such files is opened and is right, or opens and says which journals are damaged, or does not open and says which file is at
//! fault and what to do. It never gives a wrong entry, never takes a gap for the end, and keeps the files as it found them.

use crate::kill::{Moment, run_and_kill};
use crate::written::*;
use crate::{Dice, points};
use laddplan::store::sled::OpenError;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

const USUAL_POINTS: usize = 320;
/// Points looked at at the same time.
const AT_ONCE: usize = 3;
const PAGE_BYTES: usize = 4_096;
const LOG: &str = "db";
const AS_FOUND: &str = "as-found";

/// The files of a folder, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// A sound store, and what its process said.
struct Original {
    files: Files,
    said: Said,
}

impl Original {
    /// `orderly`: it was opened and closed again after its process was killed.
    fn make(acknowledged: usize, orderly: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut said = Said::default();
        run_and_kill(folder.path(), Moment::AfterAcknowledging(acknowledged), &mut said);
        if orderly {
            let store = open(folder.path()).unwrap();
            block_on(check_all(&store, &said, "an original"));
            store.all_was_read();
        }
        Self {
            files: files(folder.path()),
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

/// Does something to the files and says what.
fn damage(files: &mut Files, of_another: &Files, dice: &mut Dice) -> String {
    let kind = dice.roll(14);
    let names: Vec<String> = files.keys().cloned().collect();
    let any = names[dice.roll(names.len())].clone();
    let log = files.get_mut(LOG).unwrap();
    let place = dice.roll(log.len());
    match kind {
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
            let end = log.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            let begin = end.saturating_sub(dice.roll(40_000));
            log[begin..=end].fill(0);
            format!("the log's last records zeroed from {begin} to {end}")
        }
        3 => {
            let begin = place / PAGE_BYTES * PAGE_BYTES;
            let end = log.len().min(begin + PAGE_BYTES);
            log[begin..end].fill(0);
            format!("the log's page at {begin} zeroed")
        }
        4..7 => {
            let end = log.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            let place = dice.roll(end + 1);
            log[place] ^= 1 << dice.roll(8);
            format!("a bit of the log at {place}")
        }
        7 => {
            let pages = log.len() / PAGE_BYTES;
            let (one, other) = (dice.roll(pages) * PAGE_BYTES, dice.roll(pages) * PAGE_BYTES);
            for offset in 0..PAGE_BYTES {
                log.swap(one + offset, other + offset);
            }
            format!("the log's pages at {one} and {other} in each other's place")
        }
        8 => {
            let end = log.len().min(place + 1 + dice.roll(2_000));
            log[place..end].iter_mut().for_each(|byte| *byte = dice.roll(256) as u8);
            format!("the log overwritten from {place} to {end}")
        }
        9 => {
            files.remove(&any);
            format!("{any} gone")
        }
        10 => {
            files.insert(any.clone(), Vec::new());
            format!("{any} empty")
        }
        11 => {
            let length = dice.roll(40_000);
            files.insert(any.clone(), (0..length).map(|_| dice.roll(256) as u8).collect());
            format!("{any} replaced by {length} random bytes")
        }
        12 => {
            let bytes = files.get_mut(&any).unwrap();
            let place = dice.roll(bytes.len());
            bytes[place] ^= 1 << dice.roll(8);
            format!("a bit of {any} at {place}")
        }
        _ => {
            files.insert(LOG.to_owned(), of_another[LOG].clone());
            "the log of another time".to_owned()
        }
    }
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

// What it found and is not mended: with two pages of the log in each other's place sled takes the earlier one for the end of the log, so that
// the rest is gone and nothing says so; and some refusals do not name the file.
#[test]
#[ignore = "pages of the log in each other's place are not noticed"]
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
                    let original = &originals[1 + point % (originals.len() - 1)];
                    damage_once(point, original, &originals[0], &outcomes);
                }
            });
        }
    });
    println!("{outcomes:?}");
    for outcome in [&outcomes.refused, &outcomes.whole] {
        assert!(outcome.load(Ordering::SeqCst) > 0, "{outcomes:?}");
    }
}

fn damage_once(point: usize, original: &Original, other: &Original, outcomes: &Outcomes) {
    let mut dice = Dice(point as u64);
    let mut damaged = original.files.clone();
    let what = damage(&mut damaged, &other.files, &mut dice);
    let place = format!("point {point}, {what}");
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in &damaged {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    // A second start finds what the first one left.
    for _ in 0..=dice.roll(2) {
        let outcome = match open(folder.path()) {
            Ok(store) => match block_on(check_damaged(&store, &original.said, &place)) {
                0 => &outcomes.whole,
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
