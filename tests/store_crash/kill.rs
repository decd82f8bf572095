//! kill -9 at any moment: while the store opens for the first time or after the last kill, while it appends and keeps images.
//!
//! A test starts this program again as a process that appends, kills it, and looks at what is left.

use crate::written::*;
use crate::{Dice, points};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const USUAL_KILLS: usize = 240;
/// A folder is killed this often, then the next one begins empty.
const KILLS_PER_FOLDER: usize = 12;
/// Folders under fire at the same time.
const AT_ONCE: usize = 4;
const MOST_ACKNOWLEDGED: usize = 60;
const LONGEST_LIFE_MILLIS: usize = 120;
const LONGEST_OPENING_MICROS: usize = 8_000;
/// What the process says about itself.
const OPENING: &str = "opening";
const OPENED: &str = "opened";

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    AfterAcknowledging(usize),
    /// From its start.
    AfterMillis(usize),
    /// From when it begins to open the store.
    WhileOpening(usize),
}

impl Moment {
    fn draw(dice: &mut Dice) -> Self {
        match dice.roll(10) {
            0..4 => Self::AfterAcknowledging(1 + dice.roll(MOST_ACKNOWLEDGED)),
            4..7 => Self::AfterMillis(dice.roll(LONGEST_LIFE_MILLIS)),
            _ => Self::WhileOpening(dice.roll(LONGEST_OPENING_MICROS)),
        }
    }
}

/// How many processes were killed, and doing what: a test that never hits shows nothing.
#[derive(Debug, Default)]
struct Hits {
    kills: AtomicUsize,
    first_opening: AtomicUsize,
    /// Of a store whose last process was killed as well.
    recovering: AtomicUsize,
    appending: AtomicUsize,
}

/// The process that is killed. Passes at once where nobody asked for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_until_killed() {
    let Some(folder) = folder_to_work_on() else { return };
    say(OPENING);
    let store = open(&folder).unwrap();
    say(OPENED);
    append_on_and_on(store).await;
}

#[test]
fn everything_acknowledged_is_there_after_kill_9() {
    let folders = points(USUAL_KILLS).div_ceil(KILLS_PER_FOLDER);
    let (next, hits) = (AtomicUsize::new(0), Hits::default());
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                loop {
                    let folder = next.fetch_add(1, Ordering::SeqCst);
                    if folder >= folders {
                        return;
                    }
                    kill_again_and_again(folder, &hits);
                }
            });
        }
    });
    println!("{hits:?}");
    for hit in [&hits.first_opening, &hits.recovering, &hits.appending] {
        assert!(hit.load(Ordering::SeqCst) > 0, "{hits:?}");
    }
}

fn kill_again_and_again(number: usize, hits: &Hits) {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(number as u64);
    let mut said = Said::default();
    let mut was_killed = false;
    for kill in 0..KILLS_PER_FOLDER {
        let moment = match kill {
            0 if number.is_multiple_of(2) => Moment::WhileOpening(dice.roll(LONGEST_OPENING_MICROS)),
            _ => Moment::draw(&mut dice),
        };
        let place = format!("folder {number}, kill {kill}, {moment:?}");
        let opened = run_and_kill(folder.path(), moment, &mut said);
        hits.kills.fetch_add(1, Ordering::SeqCst);
        let hit = match (opened, was_killed, kill) {
            (true, ..) => Some(&hits.appending),
            (false, true, _) => Some(&hits.recovering),
            (false, false, 0) => Some(&hits.first_opening),
            (false, false, _) => None,
        };
        hit.map(|hit| hit.fetch_add(1, Ordering::SeqCst));
        // Where nobody looks, the next process finds the store as the last one left it.
        was_killed = dice.roll(2) == 0 && kill + 1 < KILLS_PER_FOLDER;
        if !was_killed {
            let store = open(folder.path()).unwrap_or_else(|error| panic!("{place}: {error}"));
            block_on(check_all(&store, &said, &place));
            if dice.roll(2) == 0 {
                store.all_was_read();
            }
        }
    }
}

/// Returns whether the process had opened the store. What it had said until then is believed, whether it was read before the kill or
/// not.
#[expect(clippy::disallowed_methods, reason = "a kill at a random time has to wait for it")]
pub fn run_and_kill(folder: &Path, moment: Moment, said: &mut Said) -> bool {
    let mut child = start_again("kill::appends_until_killed", folder, &mut this_program());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    if let Moment::AfterMillis(millis) = moment {
        std::thread::sleep(Duration::from_millis(millis as u64));
        child.kill().unwrap();
    }
    let (mut opened, mut acknowledged) = (false, 0);
    for line in lines {
        // The last line may be cut off.
        let Ok(line) = line else { break };
        opened |= line.ends_with(&format!("{OPENED} ."));
        if said.hear(&line) {
            assert!(said.refusals.is_empty(), "{moment:?}: {:?}", said.refusals);
            acknowledged += 1;
        }
        match moment {
            Moment::WhileOpening(micros) if line.ends_with(&format!("{OPENING} .")) => {
                std::thread::sleep(Duration::from_micros(micros as u64));
                child.kill().unwrap();
            }
            Moment::AfterAcknowledging(most) if acknowledged == most => child.kill().unwrap(),
            _ => {}
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "{moment:?}: the process ended by itself");
    opened
}
