//! The service on a damaged store: the site whose journal is damaged stands still and says why, the others run, and what is restored
//! or begun anew counts every EVSE at its maximum for one lease.

use crate::support::{MORNING, ManualClock, SETTINGS, TestGateway, evse, fuse_limit, session, site_spec};
use crate::written::{block_on, tenant};
use crate::{Dice, points};
use laddplan::access::{Access, By, NewToken, everything_of, new_tenant};
use laddplan::config::{Config, Sources};
use laddplan::domain::event::Event;
use laddplan::domain::ids::{GatewayId, SiteId, SiteKey};
use laddplan::domain::limits::{GridLimit, LimitWindow};
use laddplan::domain::profile::{Answer, Instruction};
use laddplan::domain::session::SessionSpec;
use laddplan::domain::site::SiteSpec;
use laddplan::engine::ports::{Clock, Gateway, Store};
use laddplan::engine::{Engine, Refusal};
use laddplan::store::export::{export, restore};
use laddplan::store::keys::{self, Kind};
use laddplan::store::memory::MemoryStore;
use laddplan::store::sled::{DEFAULT_CACHE_BYTES, SledStore};
use laddplan::units::{Instant, Seconds};
use laddplan::wire::bearer::Bearer;
use laddplan::wire::proto;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const USUAL_POINTS: usize = 32;
const SITES: usize = 3;
/// The lease of a site and how wrong clocks may be, and a little more.
const LEASE: Seconds = Seconds::from_secs(15 * 60 + 5 + 2);
/// Longer than a store may take to let go.
const LOCKED_LOOKS: usize = 5_000;

fn key(number: usize) -> SiteKey {
    SiteKey {
        tenant: tenant(),
        site: SiteId::parse(&format!("site-{number}")).unwrap(),
    }
}

fn put(number: usize) -> Event {
    Event::SitePut(Box::new(SiteSpec {
        id: key(number).site,
        ..site_spec(40, 2)
    }))
}

/// An engine on a store, and what its gateway is told.
struct Service {
    engine: Engine,
    gateway: Arc<TestGateway>,
    clock: Arc<ManualClock>,
}

impl Service {
    async fn start(store: Arc<dyn Store>, now: Instant) -> Self {
        let gateway = Arc::new(TestGateway {
            sent: Default::default(),
            diary: Arc::default(),
        });
        let clock = ManualClock::at(now);
        let engine = Engine::start(
            store,
            Arc::clone(&gateway) as Arc<dyn Gateway>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            SETTINGS,
        );
        Self {
            engine: engine.await.unwrap(),
            gateway,
            clock,
        }
    }

    async fn submit(&self, number: usize, event: Event) {
        self.engine.submit(&key(number), None, event).await.unwrap();
    }

    async fn settle(&self) {
        while !self.engine.is_settled() {
            tokio::task::yield_now().await;
        }
    }

    /// A gateway that fences nothing, so what it follows stays unknown until the lease is over.
    async fn connect(&self, number: usize) {
        let gateway = GatewayId::parse("gateway-1").unwrap();
        self.submit(number, Event::GatewayConnected { gateway, fences: false })
            .await;
        self.settle().await;
    }

    async fn accept_all(&self) {
        for outgoing in self.gateway.sent() {
            let command = outgoing.command;
            let answered = Event::CommandAnswered {
                evse: command.evse,
                revision: command.revision,
                attempt: command.attempt,
                answer: Answer::Accepted,
            };
            self.engine.submit(&outgoing.key, None, answered).await.unwrap();
        }
        self.settle().await;
    }

    /// The most that a command for a site allows at any time, in deciamperes.
    fn most_allowed(&self, number: usize) -> i64 {
        let sent = self.gateway.sent();
        let of_site = sent.iter().filter(|outgoing| outgoing.key == key(number));
        let most = of_site.filter_map(|outgoing| match &outgoing.command.instruction {
            Instruction::Set(profile) => profile.limits().points().iter().map(|(_, rate)| rate.value()).max(),
            Instruction::Clear => None,
        });
        most.max().unwrap_or(0)
    }
}

/// A folder in which a service has run sites with two cars each, and how many entries each journal has.
async fn run_for_a_while(folder: &Path) -> Vec<u64> {
    let store = Arc::new(SledStore::open(folder, DEFAULT_CACHE_BYTES).unwrap());
    let service = Service::start(store.clone(), MORNING).await;
    for number in 0..SITES {
        service.submit(number, put(number)).await;
    }
    // What a new site's EVSEs follow is unknown at first.
    service.clock.advance(LEASE);
    for number in 0..SITES {
        service.connect(number).await;
        for car in [1, 2] {
            let started = session(car, service.clock.now(), Seconds::from_hours(8), 60);
            service.submit(number, Event::SessionStarted(Box::new(started))).await;
        }
        let limit = GridLimit {
            when: LimitWindow::Once {
                from: MORNING,
                until: None,
            },
            ..fuse_limit(36)
        };
        service.submit(number, Event::GridLimitSet(limit)).await;
    }
    service.settle().await;
    service.accept_all().await;
    service.clock.advance(Seconds::from_mins(1));
    service.settle().await;
    let mut entries = Vec::new();
    for number in 0..SITES {
        assert!(service.most_allowed(number) > 0, "site {number} charges");
        entries.push(store.read(&key(number), 0, usize::MAX).await.unwrap().len() as u64);
    }
    service.engine.shut_down().await;
    entries
}

/// Damages one chunk of an entry behind the store's back.
fn damage_entry(folder: &Path, number: usize, sequence: u64, dice: &mut Dice) -> &'static str {
    let chunk = keys::chunk(&keys::numbered(&key(number), Kind::Journal, sequence), 0);
    let db = sled::open(folder).unwrap();
    let mut bytes = db.get(&chunk).unwrap().expect("there is such an entry").to_vec();
    let place = dice.roll(bytes.len());
    let what = match dice.roll(4) {
        0 => {
            bytes[place] ^= 1 << dice.roll(8);
            "a bit"
        }
        1 => {
            bytes.truncate(place);
            "cut"
        }
        2 => {
            bytes.fill(0);
            "zeroed"
        }
        _ => {
            bytes = bytes.iter().map(|_| dice.roll(256) as u8).collect();
            "overwritten"
        }
    };
    db.insert(chunk, bytes).unwrap();
    db.flush().unwrap();
    what
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// sled, which was opened without the store, does not say when it has let go.
#[expect(clippy::disallowed_methods, reason = "nobody says when the file is free")]
fn open(folder: &Path) -> Arc<SledStore> {
    use laddplan::store::sled::OpenError;
    for _ in 0..LOCKED_LOOKS {
        match SledStore::open(folder, DEFAULT_CACHE_BYTES) {
            Err(OpenError::Locked { .. }) => std::thread::sleep(std::time::Duration::from_millis(1)),
            opened => return Arc::new(opened.unwrap()),
        }
    }
    panic!("{} stays in use", folder.display());
}

#[test]
fn a_damaged_journal_stops_its_site_which_says_what_to_do() {
    block_on(async {
        let original = tempfile::tempdir().unwrap();
        let entries = run_for_a_while(original.path()).await;
        let mut dice = Dice(11);
        for point in 0..points(USUAL_POINTS) {
            let folder = tempfile::tempdir().unwrap();
            copy(original.path(), folder.path());
            let number = dice.roll(SITES);
            // Every tenth time nothing is left of the site.
            let sequence = match point % 10 {
                0 => 1,
                _ => 1 + dice.roll(entries[number] as usize) as u64,
            };
            let how = damage_entry(folder.path(), number, sequence, &mut dice);
            let place = format!(
                "point {point}, site {number}, entry {sequence} of {}, {how}",
                entries[number]
            );
            run_beside_a_damaged_site(folder.path(), number, &place).await;
            restore_what_can_be_read(folder.path(), number, sequence, &place).await;
        }
    });
}

async fn run_beside_a_damaged_site(folder: &Path, damaged: usize, place: &str) {
    let now = MORNING + Seconds::from_hours(1);
    let service = Service::start(open(folder), now).await;
    let stopped = service.engine.stopped_sites().borrow().clone();
    assert_eq!(stopped.keys().collect::<Vec<_>>(), [&key(damaged)], "{place}");
    let refusals = [
        service.engine.submit(&key(damaged), None, put(damaged)).await.map(drop),
        service.engine.site(&key(damaged)).await.map(drop),
        service.engine.watch_plan(&key(damaged)).map(drop),
    ];
    for refusal in refusals {
        let Err(Refusal::Unavailable(why)) = refusal else {
            panic!("{place}: {refusal:?}")
        };
        for word in [
            &format!("site-{damaged}"),
            "is damaged",
            "journal export",
            "docs/damaged-store.md",
        ] {
            assert!(why.contains(word), "{place}: no \"{word}\" in: {why}");
        }
    }
    service.settle().await;
    for number in (0..SITES).filter(|number| *number != damaged) {
        service.connect(number).await;
        assert!(service.most_allowed(number) > 0, "{place}: site {number} runs");
    }
    assert_eq!(
        service.most_allowed(damaged),
        0,
        "{place}: nothing is sent to what is not known"
    );
    service.engine.shut_down().await;
}

async fn restore_what_can_be_read(folder: &Path, damaged: usize, sequence: u64, place: &str) {
    let mut text = Vec::new();
    let exported = export(&*open(folder), &mut text).await.unwrap();
    assert_eq!(exported.damaged.len(), 1, "{place}: {:?}", exported.damaged);
    let said = format!("its first {} entries are exported", sequence - 1);
    assert!(exported.damaged[0].contains(&said), "{place}: {:?}", exported.damaged);
    let store = Arc::new(MemoryStore::default());
    restore(&*store, &mut text.as_slice()).await.unwrap();
    // The service stood for no time at all: whatever was sent last may still be followed.
    let now = MORNING + Seconds::from_hours(1);
    let service = Service::start(store, now).await;
    for number in 0..SITES {
        if service.engine.site(&key(number)).await.is_err() {
            assert_eq!(
                (number, sequence),
                (damaged, 1),
                "{place}: only what is lost is described anew"
            );
            service.submit(number, put(number)).await;
        }
        service.connect(number).await;
        if number == damaged {
            let started = session(9, now, Seconds::from_hours(8), 60);
            let started = SessionSpec {
                evse: evse(1),
                ..started
            };
            service.submit(number, Event::SessionStarted(Box::new(started))).await;
            service.settle().await;
        }
        // One EVSE may have what is left beside the maximum of the other: 32 A of 40 A, or of less where the cut is not lost.
        assert!(
            service.most_allowed(number) <= 80,
            "{place}: site {number} is given {} while all of it is unknown",
            service.most_allowed(number)
        );
    }
    service.clock.advance(LEASE);
    service.settle().await;
    for number in 0..SITES {
        assert!(
            service.most_allowed(number) > 0,
            "{place}: site {number} charges after the lease"
        );
    }
    service.engine.shut_down().await;
}

fn config(folder: &Path) -> Config {
    let sources = Sources {
        flags: BTreeMap::from([
            ("listen", "127.0.0.1:0".to_owned()),
            ("data", folder.to_str().unwrap().to_owned()),
        ]),
        ..Sources::default()
    };
    Config::parse(&sources).unwrap()
}

/// A new token of the tenant whose sites these are.
async fn token(access: &Access) -> Bearer {
    let by = By::default();
    let made = access.put_tenant(new_tenant(&tenant(), MORNING), &by).await;
    made.expect("the tenant is made");
    let new = NewToken {
        name: String::new(),
        grant: everything_of(&tenant()),
        expires_at: None,
    };
    let (_, secret) = access.create_token(new, MORNING, &by).await.expect("the token is made");
    Bearer::new(secret.show()).expect("a token travels as metadata")
}

#[tokio::test]
async fn health_and_api_tell_of_a_stopped_site() {
    use proto::site_service_client::SiteServiceClient;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    let folder = tempfile::tempdir().unwrap();
    run_for_a_while(folder.path()).await;
    let as_found = folder.path().join("as-found");
    for (damaged, status) in [(false, ServingStatus::Serving), (true, ServingStatus::NotServing)] {
        if damaged {
            damage_entry(folder.path(), 1, 3, &mut Dice(1));
            drop(open(folder.path()));
        }
        let running = laddplan::app::start(config(folder.path()), ManualClock::at(MORNING))
            .await
            .unwrap();
        assert_eq!(as_found.exists(), damaged, "kept as long as it is needed");
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", running.address)).unwrap();
        let channel = channel.connect().await.unwrap();
        let mut health = HealthClient::new(channel.clone());
        for (service, expected) in [("laddplan.sites", status), ("", ServingStatus::Serving)] {
            let request = tonic_health::pb::HealthCheckRequest {
                service: service.to_owned(),
            };
            let found = health.check(request).await.unwrap().into_inner().status;
            assert_eq!(found, expected as i32, "{service:?}, damaged: {damaged}");
        }
        let mut sites = SiteServiceClient::new(token(&running.access).await.over(channel));
        let request = |number: usize| proto::GetSiteRequest {
            tenant_id: tenant().to_string(),
            site_id: key(number).site.to_string(),
        };
        assert!(sites.get_site(request(0)).await.is_ok());
        if let Err(refused) = sites.get_site(request(1)).await {
            assert!(damaged, "{refused}");
            assert_eq!(refused.code(), tonic::Code::Unavailable);
            assert!(refused.message().contains("journal export"), "{}", refused.message());
        } else {
            assert!(!damaged);
        }
        running.shut_down().await.unwrap();
    }
}

#[tokio::test]
async fn a_service_does_not_start_on_a_store_that_lost_something() {
    let folder = tempfile::tempdir().unwrap();
    run_for_a_while(folder.path()).await;
    fs::remove_file(folder.path().join("db")).unwrap();
    for _ in 0..2 {
        let Err(error) = laddplan::app::start(config(folder.path()), ManualClock::at(MORNING)).await else {
            panic!("started")
        };
        let text = format!("{error:#}");
        assert!(text.contains("damaged") && text.contains("journal restore"), "{text}");
    }
}
