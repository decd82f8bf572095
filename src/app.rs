//! Wires everything together: configuration in, a running service out, and back down in order.
//!
//! Decides the order of start and stop. Starting: certificates, store, engine, gateway streams, then the listener. Stopping: no new calls, streams
//! end, every site finishes what it was given, the store is closed last.

use crate::access::room::Shares;
use crate::access::{Access, By, NewToken, Secret};
use crate::api::{self, ServeError, Services};
use crate::config::{Config, StoreKind};
use crate::dispatch::{self, GatewayApi, Streams};
use crate::domain::access::{Grant, Scope};
use crate::domain::plan::Budget;
use crate::drivers::Drivers;
use crate::drivers::following::Following;
use crate::engine::ports::{Clock, Store};
use crate::engine::{Engine, Settings};
use crate::metrics;
use crate::store::memory::MemoryStore;
use crate::store::register::SqliteRegister;
use crate::store::sled::{DEFAULT_CACHE_BYTES, SledStore};
use crate::tls;
use crate::units::{Instant, Seconds};
use anyhow::Context;
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// After a cut every decrease leaves within a second; half of it is for the search.
const CUT_WATCHDOG: Duration = Duration::from_millis(500);
/// The wall clock may step, so a sleeper looks at it at least this often.
const LONGEST_SLEEP: Seconds = Seconds::from_secs(5);
/// How soon what time ends is ended.
const LOOK_AT_ACCESS_EVERY: Duration = Duration::from_secs(1);
/// How exact it is when a token was last used.
const NOTE_USED_EVERY: Seconds = Seconds::from_mins(1);
/// For whoever administers tokens without a service.
pub const NO_SHARES: Shares = Shares {
    calls: 1,
    urgent_calls: 1,
    long_calls: 1,
    gateway_streams: 1,
};

/// The wall clock of the machine.
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one clock from which all time comes")]
    fn now(&self) -> Instant {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Instant::from_unix_secs(i64::try_from(since_epoch.as_secs()).unwrap_or(0))
    }

    #[expect(clippy::disallowed_methods, reason = "the one clock from which all time comes")]
    async fn sleep_until(&self, instant: Instant) {
        loop {
            let left = instant - self.now();
            if left <= Seconds::ZERO {
                return;
            }
            let nap = left.min(LONGEST_SLEEP).secs();
            tokio::time::sleep(Duration::from_secs(nap.unsigned_abs())).await;
        }
    }
}

/// A service that is up.
pub struct Running {
    pub engine: Engine,
    pub access: Access,
    pub streams: Streams,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where figures are to be had, if anywhere.
    pub metrics_address: Option<SocketAddr>,
    metrics: Option<JoinHandle<()>>,
    watching: JoinHandle<Infallible>,
    following: JoinHandle<Infallible>,
    stop_metrics: watch::Sender<bool>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ServeError>>,
}

/// Brings the service up on `clock`. When this returns, it listens.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Running> {
    let tls = open_certificates(&config, &clock).await?;
    let (store, on_disk) = open_store(&config)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr().context("the listener has no address")?;
    let metrics_listener = match config.metrics_listen {
        Some(address) => Some(listen_for_scrapers(address).await?),
        None => None,
    };
    let register = Arc::new(open_register(&config)?);
    let access = Access::open(register.clone(), shares(&config)).await?;
    let drivers = Drivers::new(register);
    let streams = Streams::new(dispatch_limits(&config));
    let settings = Settings {
        budget: Budget {
            iterations: config.planner.budget_iterations,
        },
        watchdog: config.planner.watchdog,
        cut_watchdog: CUT_WATCHDOG.min(config.planner.watchdog),
        solver_threads: config.planner.solver_threads,
    };
    let gateway = Arc::new(streams.clone());
    let engine = Engine::start(store, gateway, Arc::clone(&clock), settings)
        .await
        .context("the journals could not be read")?;
    if let Some(store) = on_disk {
        keep_as_found_if_needed(&engine, &store);
    }
    let gateways = GatewayApi::new(streams.clone(), engine.clone(), Arc::clone(&clock));
    let services = Services {
        engine: engine.clone(),
        access: access.clone(),
        drivers: drivers.clone(),
        clock: Arc::clone(&clock),
        gateways,
        reflection: config.reflection,
    };
    let stop_metrics = watch::Sender::new(false);
    let (metrics_address, metrics) = match metrics_listener {
        Some((listener, address)) => {
            let sources = metrics::Sources {
                engine: engine.clone(),
                streams: streams.clone(),
            };
            let serving = tokio::spawn(metrics::serve(listener, sources, stop_metrics.subscribe()));
            tracing::info!(scrapers = %address, "listening for scrapers");
            (Some(address), Some(serving))
        }
        None => (None, None),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let closing = streams.clone();
    let shutdown = async move {
        // The sender is dropped only with the service itself.
        let _ = stopped.await;
        closing.close();
    };
    let in_clear = tls.is_none();
    let port = api::Port { listener, tls };
    let server = tokio::spawn(api::serve(port, services, api_limits(&config), shutdown));
    let watching = tokio::spawn(watch_access(access.clone(), Arc::clone(&clock)));
    let following = tokio::spawn(Following::new(drivers, engine.clone(), clock).follow());
    tracing::info!(%address, in_clear, data = %config.data.display(), "listening");
    Ok(Running {
        engine,
        access,
        watching,
        following,
        streams,
        address,
        metrics_address,
        metrics,
        stop_metrics,
        stop,
        server,
    })
}

impl Running {
    /// Stops in order: callers first, then the sites, then the store.
    pub async fn shut_down(self) -> anyhow::Result<()> {
        // A server that ended by itself has dropped its end.
        let _ = self.stop.send(());
        let served = self.server.await.context("the server broke")?;
        // Figures are to be had to the end, since that is when they are wanted.
        self.stop_metrics.send_replace(true);
        if let Some(metrics) = self.metrics {
            metrics.await.context("the server of figures broke")?;
        }
        self.following.abort();
        self.engine.shut_down().await;
        self.watching.abort();
        self.access.note_used().await?;
        tracing::info!("stopped");
        Ok(served?)
    }

    /// Ends when the server ends by itself, which it should not.
    async fn broken(&mut self) -> anyhow::Error {
        match (&mut self.server).await {
            Ok(Ok(())) => anyhow::anyhow!("the server ended by itself"),
            Ok(Err(error)) => error.into(),
            Err(error) => error.into(),
        }
    }
}

/// Runs the service until it is told to stop. A first token goes to `token_file`, or to standard output.
pub async fn run(config: Config, token_file: Option<&Path>) -> anyhow::Result<()> {
    let mut running = start(config, Arc::new(SystemClock)).await?;
    let now = SystemClock.now();
    if running.access.has_no_administrator(now) {
        let secret = administrator(&running.access, now, &By::default()).await?;
        if let Err(error) = hand_over(&secret, token_file) {
            // Charging goes on without; "laddplan token admin" makes another.
            tracing::error!("the first token could not be handed over: {error:#}");
        }
    }
    tell_of_unknown_tenants(&running).await;
    tokio::select! {
        signal = stop_signal() => tracing::info!(signal = signal?, "stopping"),
        error = running.broken() => return Err(error),
    }
    running.shut_down().await
}

/// Where the register is another than that of the journals, or was lost, nobody may call what is there.
async fn tell_of_unknown_tenants(running: &Running) {
    let mut told = BTreeSet::new();
    for key in running.engine.keys() {
        let is_known = running.access.tenant(&key.tenant).is_ok() || told.contains(&key.tenant);
        // One that was deleted is of nobody any more.
        if is_known || running.engine.site(&key).await.is_err() {
            continue;
        }
        tracing::warn!(
            unknown_tenant = %key.tenant,
            "there are sites of a tenant that the register does not know: charging goes on, and \"laddplan tenant put\" makes the tenant \
             known; its tokens and drivers are gone"
        );
        told.insert(key.tenant);
    }
}

/// Where nothing else is said, standard output: for a person, who reads it once.
fn hand_over(secret: &Secret, file: Option<&Path>) -> anyhow::Result<()> {
    let Some(file) = file else {
        let shown = writeln!(std::io::stdout(), "{}", how_to_begin(secret));
        return shown.context("standard output takes nothing");
    };
    // Whoever finds the file under its name finds all of it, and nobody else reads it meanwhile.
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = Path::new(&unfinished);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut written = options
        .open(unfinished)
        .with_context(|| format!("cannot make {}", unfinished.display()))?;
    writeln!(written, "{}", secret.show())
        .and_then(|()| written.sync_all())
        .context("cannot write it")?;
    std::fs::rename(unfinished, file).with_context(|| format!("cannot make {}", file.display()))
}

/// Makes a token that administers tenants and tokens.
pub async fn administrator(access: &Access, now: Instant, by: &By) -> anyhow::Result<Secret> {
    let new = NewToken {
        name: "administrator".to_owned(),
        grant: Grant {
            tenant: None,
            scopes: [Scope::Admin].into(),
            sites: None,
            gateways: None,
        },
        expires_at: None,
    };
    let (_, secret) = access.create_token(new, now, by).await?;
    Ok(secret)
}

/// What whoever starts a service is told once.
pub fn how_to_begin(secret: &Secret) -> String {
    let secret = secret.show();
    format!(
        "This token administers the service. It is shown this once; \"laddplan token admin\" makes another if it is lost.\n\n  \
         export LADDPLAN_TOKEN={secret}\n\n\
         It sees nothing of sites. What works with sites is a token of a tenant:\n\n  \
         laddplan tenant put acme\n  \
         laddplan token create --tenant acme --scope site.read --scope plan.write --scope limits\n"
    )
}

/// Ends what time ends, and keeps when tokens were used. Never ends by itself.
///
/// It looks in real time and not when the clock says, which may step back: then nobody stays for as long as it was ahead.
async fn watch_access(access: Access, clock: Arc<dyn Clock>) -> Infallible {
    let mut looks = tokio::time::interval(LOOK_AT_ACCESS_EVERY);
    let mut before = clock.now();
    let mut noted = before;
    loop {
        looks.tick().await;
        let now = clock.now();
        if now < before {
            // Somebody's time may have ended while the clock was ahead.
            access.something_ended();
            noted = now;
        }
        access.time_passed(before, now);
        if now >= noted + NOTE_USED_EVERY {
            if let Err(error) = access.note_used().await {
                tracing::warn!(%error, "when tokens were used was not noted");
            }
            noted = now;
        }
        before = now;
    }
}

/// Waits for the signal of a terminal or of a service manager, and names it.
async fn stop_signal() -> anyhow::Result<&'static str> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| "interrupt").context("cannot wait for signals"),
            _ = terminate.recv() => Ok("terminate"),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c()
        .await
        .map(|()| "interrupt")
        .context("cannot wait for signals")
}

/// The certificates, which are kept up to date as long as they are used.
async fn open_certificates(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Option<tls::Tls>> {
    let Some(settings) = &config.tls else {
        return Ok(None);
    };
    let files = tls::Files {
        certificate: settings.certificate.clone(),
        key: settings.key.clone(),
        client_ca: settings.client_ca.clone(),
        client_crl: settings.client_crl.clone(),
    };
    let (tls, keeper) = tls::open(files, settings.trust_domain.clone(), Arc::clone(clock)).await?;
    let (tell, told) = mpsc::channel(1);
    pass_on_hangups(tell)?;
    tokio::spawn(keeper.keep(told));
    Ok(Some(tls))
}

/// The signal by which services are told to read their files again; without TLS it ends them, as ever.
#[cfg(unix)]
fn pass_on_hangups(tell: mpsc::Sender<()>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangups = signal(SignalKind::hangup()).context("cannot wait for signals")?;
    tokio::spawn(async move {
        loop {
            let told = tokio::select! {
                () = tell.closed() => return,
                told = hangups.recv() => told,
            };
            // One that waits already is as good as another.
            if told.is_none() || matches!(tell.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                return;
            }
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn pass_on_hangups(_: mpsc::Sender<()>) -> anyhow::Result<()> {
    Ok(())
}

async fn listen_for_scrapers(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen for scrapers on {address}"))?;
    let address = listener.local_addr().context("the listener has no address")?;
    Ok((listener, address))
}

/// The store, and the same once more where it is files that were copied before they were opened.
type OpenedStore = (Arc<dyn Store>, Option<Arc<SledStore>>);

fn open_store(config: &Config) -> anyhow::Result<OpenedStore> {
    Ok(match config.store {
        StoreKind::Memory => (Arc::new(MemoryStore::default()), None),
        StoreKind::Sled => {
            let store = Arc::new(SledStore::open(&config.data, DEFAULT_CACHE_BYTES)?);
            (store.clone(), Some(store))
        }
    })
}

/// The folder is there: the store was opened before.
fn open_register(config: &Config) -> anyhow::Result<SqliteRegister> {
    Ok(match config.store {
        StoreKind::Memory => SqliteRegister::in_memory(),
        StoreKind::Sled => SqliteRegister::open(&config.data)?,
    })
}

/// What of the room of all one tenant may take.
fn shares(config: &Config) -> Shares {
    let limits = &config.limits;
    let share = |all: usize| (all * limits.tenant_share_percent / 100).max(1);
    Shares {
        calls: share(limits.in_flight_total),
        urgent_calls: share(limits.urgent_in_flight_total),
        long_calls: share(limits.long_calls),
        gateway_streams: share(limits.gateway_streams),
    }
}

/// The store's files as they were found are needed no more once every journal was read.
fn keep_as_found_if_needed(engine: &Engine, store: &SledStore) {
    let stopped = engine.stopped_sites().borrow().len();
    if stopped == 0 {
        store.all_was_read();
    } else if let Some(kept) = store.as_found() {
        tracing::error!(stopped, kept = %kept.display(), "journals are damaged; the store's files are kept as they were found");
    }
}

fn api_limits(config: &Config) -> api::Limits {
    let limits = &config.limits;
    api::Limits {
        max_request_bytes: limits.request_message_bytes,
        max_response_bytes: limits.response_message_bytes,
        max_connections: limits.connections,
        max_connections_per_address: limits.connections_per_address,
        max_handshakes: limits.handshakes,
        max_streams_per_connection: limits.streams_per_connection,
        max_in_flight_per_connection: limits.in_flight_per_connection,
        max_in_flight: limits.in_flight_total,
        max_urgent_in_flight: limits.urgent_in_flight_total,
        max_long_calls: limits.long_calls,
        handshake_timeout: limits.handshake_timeout,
        call_timeout: limits.request_timeout,
        plan_timeout: limits.plan_timeout,
        meter_idle_timeout: limits.meter_idle_timeout,
        watch_idle_timeout: limits.watch_idle_timeout,
        keepalive_interval: limits.keepalive_interval,
        keepalive_timeout: limits.keepalive_timeout,
        max_connection_age: limits.connection_age,
        gateways_need_certificate: config.tls.as_ref().is_some_and(|tls| tls.gateways_need_certificate),
        max_header_bytes: limits.header_list_bytes,
        shutdown_grace: limits.drain,
    }
}

fn dispatch_limits(config: &Config) -> dispatch::Limits {
    dispatch::Limits {
        max_streams: config.limits.gateway_streams,
        heartbeat: config.limits.heartbeat,
        ..dispatch::Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn without_settings_the_limits_are_those_of_the_parts() {
        let config = Config::parse(&Sources::default()).unwrap();
        assert_eq!(api_limits(&config), api::Limits::default());
        assert_eq!(dispatch_limits(&config), dispatch::Limits::default());
    }
}
