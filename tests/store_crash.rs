//! What was acknowledged is there after `kill -9` and after a full disk.
//!
//! The test starts itself again as a process that appends and prints what was acknowledged, and then looks at what is left.

use laddplan::domain::event::{Event, Recorded};
use laddplan::domain::ids::{SessionId, SiteId, SiteKey, TenantId};
use laddplan::engine::ports::{Batch, Durability, Store};
use laddplan::store::sled::{DEFAULT_CACHE_BYTES, SledStore};
use laddplan::units::Instant;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const FOLDER: &str = "LADDPLAN_STORE_CRASH_FOLDER";
const SITES: u64 = 4;
const ROUNDS: u64 = 20;

fn site(number: u64) -> SiteKey {
    SiteKey {
        tenant: TenantId::parse("cpo").unwrap(),
        site: SiteId::parse(&format!("site-{number}")).unwrap(),
    }
}

/// Follows from its number, so that a wrong one is noticed. Every ninth is longer than a chunk.
fn entry(site: u64, sequence: u64) -> Recorded {
    let length = if sequence.is_multiple_of(9) { 9_000 } else { 100 };
    Recorded {
        sequence,
        at: Instant::from_unix_secs(1_700_000_000 + sequence as i64),
        event: Event::SessionEnded {
            session: SessionId::parse(&format!("s-{site}-{sequence}")).unwrap(),
            at: Instant::from_unix_secs(sequence as i64),
            reason: "x".repeat(length),
        },
        request: None,
    }
}

fn batch(site: u64, after: u64) -> Batch {
    let size = 1 + after % 3;
    Batch {
        entries: (after + 1..=after + size)
            .map(|sequence| entry(site, sequence))
            .collect(),
        ended_sessions: Vec::new(),
        durability: Durability::Synced,
    }
}

/// Checks every entry of a site and returns how many there are.
async fn check_entries(store: &SledStore, number: u64) -> u64 {
    let mut last = 0;
    loop {
        let page = store.read(&site(number), last, 100).await.unwrap();
        if page.is_empty() {
            return last;
        }
        for found in page {
            assert_eq!(found, entry(number, last + 1));
            last += 1;
        }
    }
}

/// Says how far `site` got; the parent believes only whole lines.
fn print_acknowledged(site: u64, sequence: u64) {
    println!("acknowledged {site} {sequence} .");
}

fn read_acknowledged(line: &str) -> Option<(u64, u64)> {
    let rest = line.split_once("acknowledged ")?.1;
    let (site, rest) = rest.split_once(' ')?;
    let (sequence, _) = rest.split_once(" .")?;
    Some((site.parse().ok()?, sequence.parse().ok()?))
}

fn start_again(test: &str, folder: &Path, program: &mut Command) -> Child {
    program
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// The process that is killed. Passes at once where nobody asked for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = Arc::new(SledStore::open(folder.as_ref(), DEFAULT_CACHE_BYTES).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..SITES {
        let store = store.clone();
        tasks.spawn(async move {
            let mut last = check_entries(&store, number).await;
            loop {
                let batch = batch(number, last);
                last += batch.entries.len() as u64;
                store.append(&site(number), batch).await.unwrap();
                print_acknowledged(number, last);
            }
        });
    }
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<u64, u64> = HashMap::new();
    let mut random = 12_345_u64;
    for round in 0..ROUNDS {
        // Knuth's generator: any spread of stopping points will do.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let stop_after = 1 + (random >> 33) % 150;
        let mut child = start_again("appends_until_killed", folder.path(), &mut this_program());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        // What was printed before the kill but not yet read counts as well.
        for line in lines {
            if let Some((site, sequence)) = line.ok().as_deref().and_then(read_acknowledged) {
                acknowledged.insert(site, sequence);
                seen += 1;
                if seen == stop_after {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(
            seen >= stop_after,
            "round {round}: the process ended by itself after {seen}"
        );
        let store = SledStore::open(folder.path(), DEFAULT_CACHE_BYTES).unwrap();
        for (number, sequence) in &acknowledged {
            let found = check_entries(&store, *number).await;
            assert!(
                found >= *sequence,
                "round {round}, site {number}: {found} of {sequence}"
            );
        }
    }
    assert_eq!(acknowledged.len() as u64, SITES, "every site got on");
}

/// The process whose disk is full: no file may grow beyond a limit set by its parent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_until_refused() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = SledStore::open(folder.as_ref(), DEFAULT_CACHE_BYTES).unwrap();
    let mut last = 0;
    loop {
        let batch = batch(0, last);
        let size = batch.entries.len() as u64;
        if let Err(error) = store.append(&site(0), batch.clone()).await {
            println!("refused: {error} .");
            let again = store.append(&site(0), batch).await.unwrap_err();
            println!("refused again: {again} .");
            return;
        }
        last += size;
        print_acknowledged(0, last);
    }
}

#[tokio::test]
async fn a_full_disk_is_refused_and_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    // A write past the limit fails as on a full disk once its signal is ignored.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\""])
        .arg(program);
    let mut child = start_again("appends_until_refused", folder.path(), &mut shell);
    let mut acknowledged = 0;
    let mut refusals = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, sequence)) = read_acknowledged(&line) {
            assert!(refusals.is_empty(), "acknowledged after a refusal: {line}");
            acknowledged = sequence;
        } else if line.starts_with("refused") {
            refusals.push(line);
        }
    }
    child.wait().unwrap();
    assert!(acknowledged > 0);
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    for refusal in &refusals {
        assert!(
            refusal.contains("could not write") && refusal.contains("restart"),
            "{refusal}"
        );
    }
    let store = SledStore::open(folder.path(), DEFAULT_CACHE_BYTES).unwrap();
    let found = check_entries(&store, 0).await;
    assert!(found >= acknowledged, "{found} of {acknowledged}");
}
