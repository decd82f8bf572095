//! How much of the store was synced, noted beside sled.
//!
//! Decides whether the end of the log is missing: sled takes a cut or overwritten file, or pages in each other's place, for a crash
//! and goes on with what stands before, sometimes with nothing, and what is left agrees with itself. The note is written after each
//! sync and not synced with it, so after a power cut it may be too low, which only makes the check weaker; it is never too high.
//!
//! Never says what is missing: a note is two numbers, and only the log knew more.

use super::tally::{seal, unseal};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Two numbers and a checksum.
const NOTE_BYTES: usize = 20;
/// Notes are written here in turn, each in a sector of its own, so that one that is torn leaves the one before.
const PLACES: [u64; 2] = [0, 512];

/// A count of changes, and the store whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    pub store: u64,
    /// At least this many batches were synced.
    pub changes: u64,
}

#[derive(Debug)]
pub struct HighWater {
    file: File,
    /// Which place is written next.
    next: usize,
}

impl HighWater {
    pub const FILE: &str = "high-water";

    pub fn open(folder: &Path) -> io::Result<Self> {
        let options = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(folder.join(Self::FILE));
        let mut note = Self {
            file: options?,
            next: 0,
        };
        // The newer one is not overwritten first.
        if note.in_place(0).map(|note| note.changes) > note.in_place(1).map(|note| note.changes) {
            note.next = 1;
        }
        Ok(note)
    }

    /// The newest note; `None` if there is none that is whole.
    pub fn read(&self) -> Option<Note> {
        let notes = (0..PLACES.len()).filter_map(|place| self.in_place(place));
        notes.max_by_key(|note| note.changes)
    }

    fn in_place(&self, place: usize) -> Option<Note> {
        let mut bytes = [0; NOTE_BYTES];
        self.file.read_exact_at(&mut bytes, PLACES[place]).ok()?;
        let [store, changes] = unseal(Self::FILE.as_bytes(), &bytes)?;
        Some(Note { store, changes })
    }

    pub fn write(&mut self, note: Note) -> io::Result<()> {
        let bytes = seal(Self::FILE.as_bytes(), [note.store, note.changes]);
        self.file.write_all_at(&bytes, PLACES[self.next])?;
        self.next = (self.next + 1) % PLACES.len();
        Ok(())
    }

    /// Makes the last note last past a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_is_read_and_a_torn_one_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let note = |changes| Note { store: 7, changes };
        let mut high_water = HighWater::open(folder.path()).unwrap();
        assert_eq!(high_water.read(), None);
        for changes in [300, 70_000] {
            high_water.write(note(changes)).unwrap();
            assert_eq!(high_water.read(), Some(note(changes)));
        }
        // Every new handle goes on beside the newest.
        for changes in 70_001..70_009 {
            let mut high_water = HighWater::open(folder.path()).unwrap();
            high_water.write(note(changes)).unwrap();
            let newest = PLACES[(high_water.next + 1) % PLACES.len()];
            high_water.file.write_all_at(&[9], newest + 3).unwrap();
            assert_eq!(high_water.read(), Some(note(changes - 1)), "what was torn is no note");
            high_water.next = (high_water.next + 1) % PLACES.len();
            high_water.write(note(changes)).unwrap();
            assert_eq!(HighWater::open(folder.path()).unwrap().read(), Some(note(changes)));
        }
        for place in PLACES {
            high_water.file.write_all_at(&[9], place + 3).unwrap();
        }
        assert_eq!(high_water.read(), None);
    }
}
