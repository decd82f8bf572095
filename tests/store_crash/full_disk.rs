//! Disks that are full, and folders that may not be written.
//!
//! A process of its own has a limit on the size of its files: a write past it fails as on a full disk.

use crate::written::*;
use crate::{Dice, points};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const USUAL_POINTS: usize = 24;
/// In blocks of 512 bytes: what a shell's `ulimit -f` counts in.
const MOST_BLOCKS: usize = 6_000;
/// Nobody in particular.
const NOBODY: u32 = 65_534;

/// The process whose disk is full. Passes at once where nobody asked for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_until_refused() {
    let Some(folder) = folder_to_work_on() else { return };
    match open(&folder) {
        Ok(store) => append_on_and_on(store).await,
        Err(error) => say(&format!("refused: {error}")),
    }
}

fn run(folder: &Path, program: &mut Command) -> Said {
    let mut child = start_again("full_disk::appends_until_refused", folder, program);
    let (mut said, mut late) = (Said::default(), 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let refused = !said.refusals.is_empty();
        said.hear(&line);
        // What each other site was told before may be said a moment later, but no more than that.
        late += usize::from(refused && line.contains("acknowledged "));
        assert!(late < SITES as usize, "acknowledged after a refusal: {line}");
    }
    child.wait().unwrap();
    said
}

fn with_room_for(blocks: usize) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap());
    shell
}

#[test]
fn a_full_disk_is_refused_and_loses_nothing_acknowledged() {
    let mut dice = Dice(3);
    let (mut at_opening, mut at_appending) = (0, 0);
    for point in 0..points(USUAL_POINTS) {
        let folder = tempfile::tempdir().unwrap();
        // Small ones are full before the store is open.
        let most = if point.is_multiple_of(3) { 4 } else { MOST_BLOCKS };
        let blocks = dice.roll(most);
        let said = run(folder.path(), &mut with_room_for(blocks));
        let place = format!("point {point}, {blocks} blocks");
        let refusals = said.refusals.join("\n");
        assert!(!refusals.is_empty(), "{place}: nothing was refused");
        match said.entries.is_empty() {
            true => at_opening += 1,
            false => {
                at_appending += 1;
                assert_eq!(said.refusals.len(), 2, "{place}: {refusals}");
                assert!(
                    refusals.contains("could not write") && refusals.contains("restart"),
                    "{place}: {refusals}"
                );
            }
        }
        let store = open(folder.path()).unwrap_or_else(|error| panic!("{place}: {error}, after {refusals}"));
        block_on(check_all(&store, &said, &place));
    }
    assert!(
        at_opening > 0 && at_appending > 0,
        "{at_opening} at opening, {at_appending} at appending"
    );
}

#[test]
fn a_store_that_cannot_be_copied_first_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &mut with_room_for(MOST_BLOCKS));
    let before = fs::read(folder.path().join("db")).unwrap();
    let refused = run(folder.path(), &mut with_room_for(100));
    assert!(refused.entries.is_empty());
    let text = refused.refusals.join("\n");
    assert!(
        text.contains("could not be copied") && text.contains("Free ") && text.contains("bytes"),
        "{text}"
    );
    assert!(fs::read(folder.path().join("db")).unwrap() == before);
    block_on(check_all(&open(folder.path()).unwrap(), &said, "with room again"));
}

#[test]
fn a_folder_that_may_not_be_written_is_told_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let said = run(&data, &mut with_room_for(1_000));
    let before = fs::read(data.join("db")).unwrap();
    // Whoever may do anything needs somebody else to be refused, who in turn needs a program that he may read.
    let program = folder.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for (path, mode) in [(folder.path(), 0o755), (&program, 0o755), (&data, 0o555)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for file in fs::read_dir(&data).unwrap() {
        let file = file.unwrap();
        let mode = if file.file_type().unwrap().is_dir() {
            0o555
        } else {
            0o444
        };
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
    }
    let may_do_anything = fs::write(data.join("probe"), "").is_ok();
    let mut program = Command::new(program);
    if may_do_anything {
        fs::remove_file(data.join("probe")).unwrap();
        program.uid(NOBODY).gid(NOBODY);
    }
    let refused = run(&data, &mut program);
    let text = refused.refusals.join("\n");
    assert!(
        text.contains("laddplan.lock") && text.contains("denied") && text.contains("read and write"),
        "{text}"
    );
    assert!(fs::read(data.join("db")).unwrap() == before);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    for file in fs::read_dir(&data).unwrap() {
        fs::set_permissions(file.unwrap().path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    block_on(check_all(&open(&data).unwrap(), &said, "writable again"));
}
