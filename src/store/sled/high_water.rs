//! How many journal entries were synced, noted beside sled.
//!
//! Decides whether a folder that sled opens has lost something: sled takes a cut or overwritten file for a crash and goes on with
//! what is left, sometimes with nothing. The note is written after each sync and not synced itself, so it may be too low after a
//! power cut, which only makes the check weaker; it is never too high.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The number and its CRC-32, both big-endian.
const NOTE_BYTES: usize = 12;

#[derive(Debug)]
pub struct HighWater {
    file: File,
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
        Ok(Self { file: options? })
    }

    /// At least this many entries were synced; 0 if there is no note or it is torn.
    pub fn read(&self) -> u64 {
        let mut note = [0; NOTE_BYTES];
        if self.file.read_exact_at(&mut note, 0).is_err() {
            return 0;
        }
        let [number @ .., c1, c2, c3, c4] = note;
        if crc32fast::hash(&number) != u32::from_be_bytes([c1, c2, c3, c4]) {
            return 0;
        }
        u64::from_be_bytes(number)
    }

    pub fn write(&self, entries: u64) -> io::Result<()> {
        let number = entries.to_be_bytes();
        let checksum = crc32fast::hash(&number).to_be_bytes();
        self.file.write_all_at(&[&number[..], &checksum].concat(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_is_read_and_a_torn_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let note = HighWater::open(folder.path()).unwrap();
        assert_eq!(note.read(), 0);
        note.write(300).unwrap();
        note.write(70_000).unwrap();
        assert_eq!(HighWater::open(folder.path()).unwrap().read(), 70_000);
        note.file.write_all_at(&[9], 3).unwrap();
        assert_eq!(note.read(), 0);
    }
}
