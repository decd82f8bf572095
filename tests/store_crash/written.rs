//! What the tests write, and how they know it again: every record follows from its site and its number.

use crate::support::{MORNING, session, site_spec};
use laddplan::domain::event::{Event, Receipt, Recorded, RequestStamp};
use laddplan::domain::ids::{RequestId, SessionId, SiteId, SiteKey, TenantId};
use laddplan::domain::session::{Ended, Session, SessionSpec};
use laddplan::domain::site::Site;
use laddplan::engine::image::SiteImage;
use laddplan::engine::ports::{Batch, Durability, Store, StoreError};
use laddplan::store::sled::{DEFAULT_CACHE_BYTES, OpenError, SledStore};
use laddplan::units::{Instant, Seconds, Watts};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Names the folder to a process that a test starts.
pub const FOLDER: &str = "LADDPLAN_STORE_CRASH_FOLDER";
pub const SITES: u64 = 4;
/// Entries between two images of a site.
const IMAGE_EVERY: u64 = 24;
/// Every batch that ends with a multiple of this ends a session.
const END_EVERY: u64 = 5;
/// A process that was killed holds its files a moment longer, and so does one that was just started from this one.
const LOCKED_LOOKS: usize = 5_000;

pub fn site(number: u64) -> SiteKey {
    SiteKey {
        tenant: tenant(),
        site: SiteId::parse(&format!("site-{number}")).unwrap(),
    }
}

pub fn tenant() -> TenantId {
    TenantId::parse("cpo").unwrap()
}

/// Some are longer than a chunk, and at some the site is deleted.
pub fn entry(site: u64, sequence: u64) -> Recorded {
    let length = if sequence.is_multiple_of(9) { 9_000 } else { 100 };
    let event = if sequence.is_multiple_of(17) {
        Event::SiteDeleted
    } else {
        Event::SessionEnded {
            session: SessionId::parse(&format!("s-{site}-{sequence}")).unwrap(),
            at: Instant::from_unix_secs(sequence as i64),
            reason: "x".repeat(length),
        }
    };
    Recorded {
        sequence,
        at: Instant::from_unix_secs(1_700_000_000 + sequence as i64),
        event,
        request: None,
    }
}

/// The session that the entry with this sequence ends, if it does.
pub fn ended_session(site: u64, sequence: u64) -> Option<Session> {
    if !sequence.is_multiple_of(END_EVERY) {
        return None;
    }
    let spec = SessionSpec {
        id: SessionId::parse(&format!("ended-{site}-{sequence}")).unwrap(),
        ..session(1, MORNING, Seconds::from_hours(1), 20)
    };
    let mut session = Session::start(spec, &Site::new(site_spec(40, 2)).unwrap(), MORNING).unwrap();
    session.ended = Some(Ended {
        at: MORNING + Seconds::from_secs(sequence as i64),
        reason: "left".to_owned(),
    });
    Some(session)
}

/// Continues the journal of a site after this entry.
pub fn batch(site: u64, after: u64) -> Batch {
    let size = 1 + after % 3;
    let sequences = after + 1..=after + size;
    Batch {
        entries: sequences.clone().map(|sequence| entry(site, sequence)).collect(),
        ended_sessions: sequences.filter_map(|sequence| ended_session(site, sequence)).collect(),
        durability: Durability::Synced,
    }
}

/// Several dozen KiB.
fn image(site: u64, sequence: u64) -> SiteImage {
    let remembered = |number: u64| {
        let stamp = RequestStamp {
            id: RequestId::parse(&format!("call-{site}-{number}")).unwrap(),
            body_hash: [number as u8; 32],
            by: None,
        };
        let receipt = Receipt {
            sequence: number,
            recorded_at: MORNING,
            warnings: vec!["mind the gap ".repeat(10)],
        };
        (stamp, receipt)
    };
    SiteImage {
        sequence,
        last_at: MORNING,
        site: Some(site_spec(40, 2)),
        ledger: Vec::new(),
        stopped: false,
        grid_limits: Vec::new(),
        prices: None,
        base_load: None,
        solar: None,
        sessions: Vec::new(),
        assumed: Vec::new(),
        plan: None,
        peak_seen: Watts::from_watts(sequence as i64),
        requests: (1..=200).map(remembered).collect(),
        alarms: Default::default(),
        overloads: Default::default(),
        evse_checks: Vec::new(),
    }
}

/// Appends to every site at once, until it is killed or an append is refused. Says what was acknowledged, and last why it ended.
pub async fn append_on_and_on(store: SledStore) {
    let store = std::sync::Arc::new(store);
    let mut sites = tokio::task::JoinSet::new();
    for number in 0..SITES {
        let store = store.clone();
        sites.spawn(async move {
            let mut last = check_site(&*store, number).await.unwrap();
            loop {
                append_once(&store, number, &mut last).await?;
            }
        });
    }
    let end: Result<(), StoreError> = sites.join_next().await.unwrap().unwrap();
    say(&format!("refused: {}", end.unwrap_err()));
    let again = store.append(&site(0), batch(0, 0)).await.unwrap_err();
    say(&format!("refused again: {again}"));
}

async fn append_once(store: &SledStore, number: u64, last: &mut u64) -> Result<(), StoreError> {
    let mut batch = batch(number, *last);
    if *last % 7 == 3 {
        // Acknowledged, but to survive only with what is synced after it.
        batch.durability = Durability::Buffered;
    }
    let durability = batch.durability;
    let before = *last;
    *last += batch.entries.len() as u64;
    store.append(&site(number), batch).await?;
    if durability == Durability::Synced {
        say(&format!("acknowledged {number} {last}"));
    }
    if *last / IMAGE_EVERY != before / IMAGE_EVERY {
        store.save_snapshot(&site(number), image(number, *last)).await?;
        say(&format!("image {number} {last}"));
    }
    Ok(())
}

/// One line, whole or not at all believed.
pub fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more where the parent has gone.
    let _ = writeln!(out, "{what} .").and_then(|()| out.flush());
}

/// What a process said before it ended.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// By site: the last entry that was acknowledged as synced.
    pub entries: BTreeMap<u64, u64>,
    /// By site: the newest image.
    images: BTreeMap<u64, u64>,
    pub refusals: Vec<String>,
}

impl Said {
    /// The last entry of a site that was acknowledged as synced.
    pub fn acknowledged(&self, site: u64) -> u64 {
        self.entries.get(&site).copied().unwrap_or_default()
    }

    /// False for a line that is not whole, and for what the test harness says.
    pub fn hear(&mut self, line: &str) -> bool {
        let Some(line) = line.strip_suffix(" .") else {
            return false;
        };
        // The first line stands behind the name of the test.
        let words: Vec<&str> = line.split(' ').collect();
        let words = words
            .iter()
            .position(|word| ["acknowledged", "image", "refused:", "refused"].contains(word))
            .map_or(&words[..], |start| &words[start..]);
        match *words {
            ["acknowledged", site, sequence] => {
                self.entries.insert(site.parse().unwrap(), sequence.parse().unwrap());
            }
            ["image", site, sequence] => {
                self.images.insert(site.parse().unwrap(), sequence.parse().unwrap());
            }
            ["refused:" | "refused", ..] => self.refusals.push(line.to_owned()),
            _ => return false,
        }
        true
    }
}

/// Every entry of a site is the right one and none is missing before the last: returns how many there are, or where it is damaged.
pub async fn check_site(store: &dyn Store, number: u64) -> Result<u64, StoreError> {
    let mut last = 0;
    loop {
        let page = store.read(&site(number), last, 100).await?;
        if page.is_empty() {
            return Ok(last);
        }
        for found in page {
            assert_eq!(found, entry(number, last + 1), "site {number}");
            last += 1;
        }
    }
}

/// What belongs to the first `last` entries of a site.
pub async fn check_beside(store: &dyn Store, number: u64, last: u64) -> Result<(), StoreError> {
    for sequence in (END_EVERY..=last).step_by(END_EVERY as usize) {
        let expected = ended_session(number, sequence).unwrap();
        let found = store.ended_session(&site(number), &expected.spec.id).await?;
        assert_eq!(found, Some(expected), "site {number}");
    }
    if let Some(found) = store.load_snapshot(&site(number)).await? {
        assert!(found.sequence <= last, "an image of what is not there");
        assert_eq!(found, image(number, found.sequence), "site {number}");
    }
    Ok(())
}

/// Everything that was said is there, and the store goes on from where it ended.
pub async fn check_all(store: &SledStore, said: &Said, place: &str) {
    for number in 0..SITES {
        let last = check_site(store, number)
            .await
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        let acknowledged = said.acknowledged(number);
        assert!(last >= acknowledged, "{place}, site {number}: {last} of {acknowledged}");
        check_beside(store, number, last).await.unwrap();
        let newest = store.load_snapshot(&site(number)).await.unwrap();
        let newest = newest.map_or(0, |image| image.sequence);
        let kept = said.images.get(&number).copied().unwrap_or_default();
        assert!(newest >= kept, "{place}, site {number}: image {newest} of {kept}");
        check_fence(store, number, last, place).await;
    }
}

/// A writer that does not know the journal's end is refused.
async fn check_fence(store: &SledStore, number: u64, last: u64, place: &str) {
    for stale in [last.saturating_sub(1), last + 1]
        .into_iter()
        .filter(|after| *after != last)
    {
        let refused = store.append(&site(number), batch(number, stale)).await;
        assert!(
            matches!(&refused, Err(StoreError::Conflict { found, .. }) if *found == last),
            "{place}, site {number}: after {stale} of {last}: {refused:?}"
        );
    }
}

/// The test `name` of this program again, in a process of its own that works on `folder`.
pub fn start_again(name: &str, folder: &Path, program: &mut Command) -> Child {
    program
        .args(["--exact", name, "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

pub fn this_program() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// The folder that this process was started to work on.
pub fn folder_to_work_on() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Processes that are started at the same time hold this one's files for a moment, so a folder may be in use by nobody.
#[expect(clippy::disallowed_methods, reason = "nobody says when the other process has let go")]
pub fn open(folder: &Path) -> Result<SledStore, OpenError> {
    for _ in 1..LOCKED_LOOKS {
        match SledStore::open(folder, DEFAULT_CACHE_BYTES) {
            Err(OpenError::Locked { .. }) => std::thread::sleep(Duration::from_millis(1)),
            opened => return opened,
        }
    }
    SledStore::open(folder, DEFAULT_CACHE_BYTES)
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}
