//! What is there after the power went.
//!
//! The file is looked at whenever the store syncs it. Between two syncs any of its pages may reach the platter or not, in any order:
//! a cut leaves a mixture of what was synced and of what was written since. Whatever the mixture, the store opens without help, has
//! everything that was acknowledged, and of the batch that was not either all or nothing.

use super::*;
use std::path::PathBuf;
use std::sync::Mutex;

/// More by this variable, for a long run.
const POINTS: &str = "LADDPLAN_STORE_POINTS";
const USUAL_POINTS: usize = 120;
/// A run is begun anew after this many batches, so that small stores are cut as well as large ones.
const BATCHES_PER_RUN: u64 = 60;
const SITES: u64 = 3;
/// What a disk writes or does not write.
const PAGE_BYTES: usize = 4_096;

/// Knuth's generator: any spread will do, as long as it is the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// What was seen at the last two syncs.
#[derive(Default)]
struct Seen {
    /// The file, the older state first.
    logs: [Vec<u8>; 2],
    /// The note while the newer one was synced: it tells of the older one.
    note: Vec<u8>,
}

/// A disk that remembers what it was told to keep.
struct Remembering {
    folder: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

impl DiskSync for Remembering {
    fn sync(&self) -> io::Result<()> {
        let mut seen = self.seen.lock().unwrap();
        seen.logs.rotate_left(1);
        seen.logs[1] = std::fs::read(self.folder.join("db"))?;
        seen.note = std::fs::read(self.folder.join(high_water::HighWater::FILE))?;
        Ok(())
    }
}

/// Follows from its number. Some are longer than a chunk.
fn batch_of(site: u64, after: u64, dice: &mut Dice) -> Batch {
    let size = 1 + dice.roll(4) as u64;
    let entries = (after + 1..=after + size).map(|sequence| match sequence % 7 {
        0 => Recorded {
            event: Event::SessionEnded {
                session: samples::session_id(&format!("s-{site}")),
                at: samples::at(1),
                reason: "x".repeat(20_000),
            },
            ..entry(sequence)
        },
        _ => entry(sequence),
    });
    Batch {
        entries: entries.collect(),
        ..batch(1..=1)
    }
}

/// What a cut between the two states leaves.
fn cut([synced, written]: &[Vec<u8>; 2], dice: &mut Dice) -> Vec<u8> {
    let mut left = if dice.roll(2) == 0 {
        synced.clone()
    } else {
        written.clone()
    };
    let percent_written = [0, 10, 50, 90, 100][dice.roll(5)];
    for (index, page) in left.chunks_mut(PAGE_BYTES).enumerate() {
        let at = index * PAGE_BYTES;
        let of = if dice.roll(100) < percent_written {
            written
        } else {
            synced
        };
        // A page that neither has is a hole: zeros.
        let there = of.get(at..).unwrap_or_default();
        let length = there.len().min(page.len());
        page.fill(0);
        page[..length].copy_from_slice(&there[..length]);
    }
    left
}

fn copy_all_but_the_log(from: &TempDir, to: &TempDir) {
    for entry in std::fs::read_dir(from.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() && entry.file_name() != "db" {
            std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
        }
    }
}

struct Run {
    folder: TempDir,
    store: SledStore,
    seen: Arc<Mutex<Seen>>,
    /// By site: what was acknowledged before the last batch, and with it.
    ends: Vec<(u64, u64)>,
    written: Vec<Vec<Recorded>>,
}

impl Run {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let disk = Remembering {
            folder: folder.path().to_owned(),
            seen: Arc::clone(&seen),
        };
        Self {
            store: open_with(&folder, disk),
            folder,
            seen,
            ends: vec![(0, 0); SITES as usize],
            written: vec![Vec::new(); SITES as usize],
        }
    }

    async fn append(&mut self, number: u64, dice: &mut Dice) {
        for end in &mut self.ends {
            end.0 = end.1;
        }
        let index = number as usize;
        let batch = batch_of(number, self.ends[index].1, dice);
        self.ends[index].1 += batch.entries.len() as u64;
        self.written[index].extend(batch.entries.clone());
        self.store.append(&key(number), batch).await.unwrap();
        if dice.roll(9) == 0 {
            let image = image_with(self.ends[index].1, samples::journal());
            self.store.save_snapshot(&key(number), image).await.unwrap();
            for end in &mut self.ends {
                end.0 = end.1;
            }
        }
    }

    /// Opens what a cut left.
    async fn check_after_a_cut(&self, point: usize, dice: &mut Dice) {
        let after = tempfile::tempdir().unwrap();
        copy_all_but_the_log(&self.folder, &after);
        let (left, mut note) = {
            let seen = self.seen.lock().unwrap();
            (cut(&seen.logs, dice), seen.note.clone())
        };
        std::fs::write(after.path().join("db"), left).unwrap();
        // The note is not synced, and may be gone; it is written after the sync, so it knows nothing of what was not synced.
        if dice.roll(4) == 0 {
            note.clear();
        }
        std::fs::write(after.path().join(high_water::HighWater::FILE), note).unwrap();
        let store =
            SledStore::open(after.path(), DEFAULT_CACHE_BYTES).unwrap_or_else(|error| panic!("point {point}: {error}"));
        for (number, (acknowledged, written)) in (0..).zip(&self.ends) {
            let found = read_all(&store, &key(number)).await;
            let end = found.len() as u64;
            assert!(
                end == *acknowledged || end == *written,
                "point {point}, site {number}: {end} entries, {acknowledged} acknowledged, {written} written"
            );
            assert_eq!(found, self.written[number as usize][..found.len()], "point {point}");
            let stale = store.append(&key(number), batch(end..=end)).await;
            if end > 0 {
                assert!(
                    matches!(stale, Err(StoreError::Conflict { .. })),
                    "point {point}: {stale:?}"
                );
            }
            store.append(&key(number), batch(end + 1..=end + 1)).await.unwrap();
        }
    }
}

fn key(number: u64) -> SiteKey {
    site("cpo", &format!("site-{number}"))
}

#[tokio::test]
async fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let points = std::env::var(POINTS).ok().and_then(|points| points.parse().ok());
    let points = points.unwrap_or(USUAL_POINTS);
    let mut dice = Dice(7);
    let mut point = 0;
    while point < points {
        let mut run = Run::start();
        for batch in 0..BATCHES_PER_RUN {
            run.append(batch % SITES, &mut dice).await;
            if dice.roll(3) == 0 {
                run.check_after_a_cut(point, &mut dice).await;
                point += 1;
            }
        }
    }
}
