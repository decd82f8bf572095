//! The files of a folder as they were found, kept while sled works on them.
//!
//! Decides that no start destroys evidence: sled overwrites what it takes for the torn end of a crash, which in a damaged file may be
//! much more. So every file is copied before sled sees it. The copy goes once everything was read; else it stays, and while it is
//! there no other is made, since it is nearest to what was written. Never reads a copy and never puts it back: that is for a person.

use super::disk::LOCK_FILE;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The copy, within the folder.
pub const AS_FOUND: &str = "as-found";
/// A copy that is not whole: being made, or being removed.
const UNFINISHED: &str = "as-found.unfinished";
/// sled keeps large values here, where a folder has some.
const BLOBS: &str = "blobs";

/// Copies the files of `folder`, unless a copy is there already or there is nothing to copy.
pub fn keep(folder: &Path) -> io::Result<()> {
    let unfinished = folder.join(UNFINISHED);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    let kept = folder.join(AS_FOUND);
    if kept.exists() {
        return Ok(());
    }
    let files = files(folder)?;
    if files.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(unfinished.join(BLOBS))?;
    for file in files {
        let copy = unfinished.join(&file);
        fs::copy(folder.join(file), &copy)?;
        File::open(copy)?.sync_all()?;
    }
    for written in [unfinished.join(BLOBS), unfinished.clone()] {
        File::open(written)?.sync_all()?;
    }
    fs::rename(unfinished, kept)?;
    File::open(folder)?.sync_all()
}

/// Removes the copy: what it is kept for was not needed.
pub fn discard(folder: &Path) -> io::Result<()> {
    let unfinished = folder.join(UNFINISHED);
    // Half a copy must not be taken for a whole one after a crash.
    match fs::rename(folder.join(AS_FOUND), &unfinished) {
        Ok(()) => fs::remove_dir_all(unfinished),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

pub fn is_kept(folder: &Path) -> bool {
    folder.join(AS_FOUND).exists()
}

/// Bytes that a copy takes.
pub fn size(folder: &Path) -> u64 {
    let sizes = files(folder).unwrap_or_default();
    let sizes = sizes.iter().map(|file| fs::metadata(folder.join(file)));
    sizes.flatten().map(|file| file.len()).sum()
}

/// The files to copy, by their paths within the folder.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for within in ["", BLOBS] {
        let entries = match fs::read_dir(folder.join(within)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() && entry.file_name() != LOCK_FILE {
                files.push(Path::new(within).join(entry.file_name()));
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(BLOBS)).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn kept(folder: &tempfile::TempDir, name: &str) -> String {
        fs::read_to_string(folder.path().join(AS_FOUND).join(name)).unwrap()
    }

    #[test]
    fn the_first_copy_stays_until_it_is_discarded() {
        let folder = folder_with(&[("db", "one"), ("blobs/7", "large"), (LOCK_FILE, "1")]);
        keep(folder.path()).unwrap();
        fs::write(folder.path().join("db"), "two").unwrap();
        keep(folder.path()).unwrap();
        assert_eq!(
            (kept(&folder, "db"), kept(&folder, "blobs/7")),
            ("one".into(), "large".into())
        );
        assert!(!folder.path().join(AS_FOUND).join(LOCK_FILE).exists());
        discard(folder.path()).unwrap();
        assert!(!is_kept(folder.path()));
        discard(folder.path()).expect("nothing to discard is no fault");
        keep(folder.path()).unwrap();
        assert_eq!(kept(&folder, "db"), "two");
    }

    #[test]
    fn half_a_copy_is_made_again() {
        let folder = folder_with(&[("db", "one")]);
        fs::create_dir(folder.path().join(UNFINISHED)).unwrap();
        fs::write(folder.path().join(UNFINISHED).join("db"), "o").unwrap();
        keep(folder.path()).unwrap();
        assert_eq!(kept(&folder, "db"), "one");
        assert!(!folder.path().join(UNFINISHED).exists());
    }

    #[test]
    fn a_new_folder_has_nothing_to_keep() {
        let folder = folder_with(&[(LOCK_FILE, "1")]);
        keep(folder.path()).unwrap();
        assert!(!is_kept(folder.path()));
    }
}
