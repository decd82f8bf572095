//! A day, played through the real service: gRPC over loopback, the journal on disk, virtual time.
//!
//! Decides when time moves: only when the engine, the gateway's stream and the cars have nothing left to do at this instant, and
//! then to the next instant at which anyone has. So the day is the same however fast the machine is.

#![expect(
    clippy::disallowed_methods,
    reason = "how long the day took to play, and how long to wait for the network, is real time"
)]

mod backend;
mod gateway;
mod journal;
mod progress;
mod stations;

use super::baseline;
use super::clock::VirtualClock;
use super::day::{Day, TENANT, Wires};
use super::report::{Report, Service, Written};
use super::yard::Yard;
use crate::access::{Access, By, NewToken, everything_of, new_tenant};
use crate::app::{self, Running};
use crate::config::{Config, Sources};
use crate::domain::access::{Grant, Scope};
use crate::domain::ids::TenantId;
use crate::units::{DeciAmps, Instant, Seconds};
use crate::wire::bearer::Bearer;
use crate::wire::proto;
use anyhow::{Context, bail};
use backend::{Backend, Seen};
use gateway::{Gateway, timestamp};
use progress::Progress;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Endpoint;

/// Meters are read every minute, on the clock: the usual setting of OCPP's sampled values.
const METER_INTERVAL: Seconds = Seconds::from_mins(1);
/// Then the gateway loses its connection, with commands on the way, and comes back: at 10:00 on the carried day.
const STREAM_LOST_AFTER: Seconds = Seconds::from_hours(7);
/// A car that draws this much less than it is offered, or than it drew, is worth an update.
const WORTH_TELLING: DeciAmps = DeciAmps::from_deciamps(20);
/// Nothing below the least pilot there is.
const LEAST_MOST: DeciAmps = DeciAmps::from_deciamps(60);
/// How long to listen for the service before looking again whether all is done.
const LISTEN: Duration = Duration::from_millis(1);
/// An instant that is not done after this long in real time will never be.
const STALL: Duration = Duration::from_secs(60);
/// Says that a folder was made by the demo, and that the store in it may be thrown away.
const MARKER: &str = ".laddplan-demo";

/// What the caller may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is played.
    pub day: Day,
    /// For the store. Made if it is not there; what an earlier demo left in it is thrown away.
    pub data: PathBuf,
    /// For the report. Made if it is not there.
    pub out: PathBuf,
    /// Of the network's delays.
    pub seed: u64,
}

/// A day that was played.
#[derive(Debug)]
pub struct Outcome {
    pub report: Report,
    pub written: Written,
    /// Where the journal of the day is kept.
    pub store: PathBuf,
}

/// Plays the day and writes its report.
pub async fn run(options: Options) -> anyhow::Result<Outcome> {
    let Options { day, data, out, seed } = options;
    let store = fresh_store(&data)?;
    let begun = tokio::time::Instant::now();
    let clock = Arc::new(VirtualClock::starting_at(day.start));
    let running = app::start(configuration(&store)?, clock.clone()).await?;
    let mut play = Play::begin(&day, seed, &running, clock).await?;
    let mut progress = Progress::new(&day);
    let played = play.play_out(&mut progress).await;
    progress.finish();
    let (figures, counts) = (play.yard.finish(), play.gateway.counts().clone());
    let stopped = running.shut_down().await;
    played?;
    stopped?;
    if let [first, ..] = counts.refused.as_slice() {
        bail!(
            "the service refused {} of the gateway's messages, first: {first}",
            counts.refused.len()
        );
    }
    let service = Service {
        rejected: counts.rejected_by_station,
        played_in: begun.elapsed(),
        ..journal::read(&store, &day).await?
    };
    let report = Report {
        laddplan: figures,
        equal_share: baseline::equal_share(&day),
        full_power: baseline::full_power(&day),
        service,
        day,
    };
    let written = report.write(&out)?;
    Ok(Outcome { report, written, store })
}

/// An empty place for the store. What the last demo left is thrown away, but never anyone else's data: the day begins in 2019, and
/// a journal does not run backwards.
fn fresh_store(folder: &Path) -> anyhow::Result<PathBuf> {
    let store = folder.join("store");
    let marker = folder.join(MARKER);
    if store.exists() {
        if !marker.exists() {
            bail!("{} was not made by the demo: choose another folder", store.display());
        }
        std::fs::remove_dir_all(&store).with_context(|| format!("cannot empty {}", store.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(&marker, "made by laddplan demo\n").with_context(|| format!("cannot write {}", marker.display()))?;
    Ok(store)
}

/// The service as it is, on a free port of loopback, with its journal in `store`.
fn configuration(store: &Path) -> anyhow::Result<Config> {
    let flags = [
        ("listen", "127.0.0.1:0".to_owned()),
        (
            "data",
            store.to_str().context("the store's path is not Unicode")?.to_owned(),
        ),
    ];
    let sources = Sources {
        flags: BTreeMap::from(flags),
        ..Sources::default()
    };
    Ok(Config::parse(&sources)?)
}

/// What happens to the yard from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Leave(usize),
    Arrive(usize),
    Cut,
    Restore,
    /// The connection between gateway and service breaks.
    LoseStream,
    ReadMeters,
}

/// Everything of the day by time; at one instant, who leaves makes room for who comes.
fn agenda(day: &Day) -> Vec<(Instant, Happening)> {
    let mut agenda = vec![
        (day.cut.from, Happening::Cut),
        (day.cut.until, Happening::Restore),
        (day.start + STREAM_LOST_AFTER, Happening::LoseStream),
    ];
    for (index, session) in day.sessions.iter().enumerate() {
        agenda.push((session.arrival, Happening::Arrive(index)));
        agenda.push((session.departure, Happening::Leave(index)));
    }
    let mut at = day.start;
    while at < day.end {
        agenda.push((at, Happening::ReadMeters));
        at = at + METER_INTERVAL;
    }
    agenda.sort_unstable();
    agenda
}

/// The day while it is played.
struct Play<'a> {
    day: &'a Day,
    running: &'a Running,
    clock: Arc<VirtualClock>,
    backend: Backend,
    gateway: Gateway,
    yard: Yard<'a>,
    /// By session, what the service was told that was seen of its car.
    seen: Vec<Option<Seen>>,
    /// What is still to come, latest first.
    agenda: Vec<(Instant, Happening)>,
    now: Instant,
}

/// Gives out the tokens of the demo's tenant.
struct Tokens<'a> {
    access: &'a Access,
    tenant: TenantId,
    now: Instant,
}

impl<'a> Tokens<'a> {
    async fn of_a_new_tenant(running: &'a Running, now: Instant) -> anyhow::Result<Self> {
        let tenant = TenantId::parse(TENANT)?;
        let access = &running.access;
        access.put_tenant(new_tenant(&tenant, now), &By::default()).await?;
        Ok(Self { access, tenant, now })
    }

    async fn with(&self, name: &str, scopes: &[Scope]) -> anyhow::Result<Bearer> {
        let new = NewToken {
            name: name.to_owned(),
            grant: Grant {
                scopes: scopes.iter().copied().collect(),
                ..everything_of(&self.tenant)
            },
            expires_at: None,
        };
        let (_, secret) = self.access.create_token(new, self.now, &By::default()).await?;
        Bearer::new(secret.show()).context("a token travels as metadata")
    }
}

impl<'a> Play<'a> {
    /// Describes the site and its tariff to the service, and connects the gateway.
    async fn begin(day: &'a Day, seed: u64, running: &'a Running, clock: Arc<VirtualClock>) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{}", running.address))?;
        let channel = endpoint.connect().await.context("cannot reach the service")?;
        let back_end = [Scope::SiteRead, Scope::PlanWrite, Scope::Limits];
        let access = Tokens::of_a_new_tenant(running, day.start).await?;
        let mut backend = Backend::new(access.with("back end", &back_end).await?.over(channel.clone()), day);
        backend.put_site(day).await?;
        backend.set_prices(day).await?;
        let mut agenda = agenda(day);
        agenda.reverse();
        Ok(Self {
            day,
            running,
            clock,
            backend,
            gateway: Gateway::new(
                access.with("gateway", &[Scope::Gateway]).await?.over(channel),
                day,
                seed,
            ),
            yard: Yard::new(day),
            seen: vec![None; day.sessions.len()],
            agenda,
            now: day.start,
        })
    }

    async fn play_out(&mut self, progress: &mut Progress<'_>) -> anyhow::Result<()> {
        while self.now < self.day.end {
            self.settle().await?;
            let next = self.next_instant();
            self.charge_until(next);
            self.now = next;
            self.clock.advance_to(next);
            self.gateway.deliver(next).await?;
            self.follow_agenda().await?;
            progress.show(next);
        }
        self.settle().await
    }

    /// Returns once nobody has anything left to do at this instant.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let all_done = async {
            while !self.is_settled() {
                self.gateway.listen(self.now, LISTEN).await?;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(STALL, all_done).await {
            Ok(done) => done,
            Err(_) => bail!(
                "the service did not come to rest at {}: {}",
                self.day.clock_time(self.now),
                self.state()
            ),
        }
    }

    /// The order matters: what the gateway said comes first, then what the engine makes of it, then what the stream carries away.
    fn is_settled(&self) -> bool {
        self.gateway.all_acknowledged()
            && self.running.engine.is_settled()
            && self.clock.earliest_sleeper().is_none_or(|wakes| wakes > self.now)
            && self.running.streams.waiting() == 0
            && self.running.streams.commands_written() == self.gateway.counts().commands
    }

    fn state(&self) -> String {
        format!(
            "all acknowledged: {}, engine settled: {}, earliest sleeper {:?} at {:?}, {} commands waiting, {} written, {} received",
            self.gateway.all_acknowledged(),
            self.running.engine.is_settled(),
            self.clock.earliest_sleeper(),
            self.now,
            self.running.streams.waiting(),
            self.running.streams.commands_written(),
            self.gateway.counts().commands,
        )
    }

    /// The next instant at which anyone has something to do; always later than now.
    fn next_instant(&self) -> Instant {
        let happens = self.agenda.last().map(|(at, _)| *at);
        let next = [happens, self.clock.earliest_sleeper(), self.gateway.next_arrival()];
        let next = next.into_iter().flatten().min().unwrap_or(self.day.end);
        next.max(self.now + Seconds::from_secs(1)).min(self.day.end)
    }

    /// Plays the yard's seconds from now until `next`, in which no message arrives anywhere.
    fn charge_until(&mut self, next: Instant) {
        let mut at = self.now;
        while at < next {
            self.yard.second(at, |evse| self.gateway.pilot(evse, at));
            at = at + Seconds::from_secs(1);
        }
    }

    async fn follow_agenda(&mut self) -> anyhow::Result<()> {
        while let Some((_, happening)) = self.agenda.pop_if(|(at, _)| *at <= self.now) {
            match happening {
                Happening::Leave(session) => self.leave(session).await?,
                Happening::Arrive(session) => self.arrive(session).await?,
                Happening::Cut => {
                    self.yard.set_grid_limit(self.now, self.day.cut.limit);
                    self.backend.cut_grid_limit(self.day).await?;
                }
                Happening::Restore => {
                    self.yard.set_grid_limit(self.now, self.day.grid_limit);
                    self.backend.restore_grid_limit().await?;
                }
                Happening::LoseStream => {
                    // With everything heard that was said; what is on its way to stations and back stays there.
                    self.settle().await?;
                    self.gateway.lose_stream();
                }
                Happening::ReadMeters => {
                    self.read_meters().await;
                    self.look_at_cars().await?;
                }
            }
        }
        Ok(())
    }

    async fn arrive(&mut self, session: usize) -> anyhow::Result<()> {
        let facts = &self.day.sessions[session];
        self.yard.plug_in(session);
        self.gateway.plug_in(facts.evse, &facts.id);
        self.backend.start_session(self.day, facts).await
    }

    async fn leave(&mut self, session: usize) -> anyhow::Result<()> {
        let facts = &self.day.sessions[session];
        self.yard.unplug(session);
        self.backend.end_session(facts, self.yard.delivered(session)).await?;
        self.gateway.unplug(facts.evse).await;
        Ok(())
    }

    /// Cars that draw less than they are offered, or nothing, are told of: drivers ask for far more than their cars take.
    async fn look_at_cars(&mut self) -> anyhow::Result<()> {
        let sessions: Vec<usize> = self.yard.sessions().collect();
        for session in sessions {
            let Some(seen) = self.look_at(session) else { continue };
            self.seen[session] = Some(seen);
            self.backend
                .update_session(self.day, &self.day.sessions[session], seen)
                .await?;
        }
        Ok(())
    }

    /// What there is to say of the car of `session` that was not said before.
    fn look_at(&self, session: usize) -> Option<Seen> {
        let evse = self.day.sessions[session].evse;
        let (offered, drawn) = (self.yard.offer(evse), self.yard.draw(evse).current);
        let before = self.seen[session];
        if drawn + WORTH_TELLING > offered || before.is_some_and(|before| before.full_at.is_some()) {
            return None;
        }
        let full = drawn == DeciAmps::ZERO;
        let news = before.is_none_or(|before| full || drawn + WORTH_TELLING <= before.most);
        news.then(|| Seen {
            most: drawn.max(LEAST_MOST),
            full_at: full.then(|| self.yard.delivered(session)),
        })
    }

    async fn read_meters(&mut self) {
        let reading = |session: usize| {
            let evse = self.day.sessions[session].evse;
            let draw = self.yard.draw(evse);
            proto::MeterReading {
                evse_id: self.day.evses[evse].id.to_string(),
                at: timestamp(self.now),
                session_energy_watt_hour: Some(self.yard.delivered(session).floor_watt_hours()),
                power_watt: Some(draw.power.watts()),
                current_deciampere: currents(&self.day.evses[evse].wires, draw.current).to_vec(),
            }
        };
        let readings: Vec<_> = self.yard.sessions().map(reading).collect();
        if !readings.is_empty() {
            self.gateway.report(readings).await;
        }
    }
}

/// What a meter shows in L1, L2, L3 as the car sees them.
fn currents(wires: &Wires, drawn: DeciAmps) -> [i64; 3] {
    let phases = wires.phases();
    [0, 1, 2].map(|phase| if phase < phases { drawn.deciamps() } else { 0 })
}
