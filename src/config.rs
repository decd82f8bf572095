//! Settings of the service: what may be set, by which name, within which bounds, and which source wins.
//!
//! Decides precedence (default, then file, then environment, then command line) and lists every mistake of every source at once.
//! Reads only what it is handed: opens no file, looks at no environment, binds nothing.

mod tls;

use crate::domain::rejection::{Faults, Rejection, echo};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use tls::Tls;

/// What every variable of ours begins with.
pub const ENVIRONMENT_PREFIX: &str = "LADDPLAN_";
/// The variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "LADDPLAN_CONFIG";
/// The variables that the clients on the command line read.
pub const SERVER_VARIABLE: &str = "LADDPLAN_SERVER";
pub const TENANT_VARIABLE: &str = "LADDPLAN_TENANT";
pub const TOKEN_VARIABLE: &str = "LADDPLAN_TOKEN";
pub const CA_VARIABLE: &str = "LADDPLAN_CA";
/// Where `serve` listens and clients look, unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:50051";
pub const DEFAULT_DATA: &str = "laddplan-data";
/// Largest configuration file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Kubernetes sets these for a service named laddplan; they are not meant for us.
const FOREIGN_PREFIXES: [&str; 2] = ["LADDPLAN_SERVICE_", "LADDPLAN_PORT"];

/// Everything that can be set, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub listen: SocketAddr,
    /// Without it all is spoken in clear, on loopback.
    pub tls: Option<Tls>,
    /// Folder of the sled store.
    pub data: PathBuf,
    pub store: StoreKind,
    pub log: Log,
    /// Whether the gRPC reflection services answer.
    pub reflection: bool,
    pub planner: Planner,
    pub limits: Limits,
    /// Where Prometheus may ask for figures; `None` is nowhere.
    pub metrics_listen: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// On disk, in the data folder.
    Sled,
    /// Nothing survives a restart.
    Memory,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives such as `info,laddplan::engine=debug`.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planner {
    /// Solver iterations for one plan; 0 takes the greedy plan.
    pub budget_iterations: u32,
    /// A search that takes longer is given up for the greedy plan.
    pub watchdog: Duration,
    /// Searches that run at once.
    pub solver_threads: usize,
}

/// What one caller, and all of them together, may take of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub request_message_bytes: usize,
    pub response_message_bytes: usize,
    pub connections: usize,
    /// Of one address; an IPv6 network of 64 bits counts as one.
    pub connections_per_address: usize,
    /// Connections at once that have not said their first words yet.
    pub handshakes: usize,
    /// From the start of a connection to its first words, the TLS handshake included.
    pub handshake_timeout: Duration,
    /// Streams open at once on one connection.
    pub streams_per_connection: u32,
    /// Calls being answered at once, of one connection and of all.
    pub in_flight_per_connection: usize,
    pub in_flight_total: usize,
    /// The same of calls that may lower what a site draws, which have room of their own.
    pub urgent_in_flight_total: usize,
    /// Plan and alarm watchers and meter streams at once, of all connections.
    pub long_calls: usize,
    /// Gateway streams at once, of all tenants.
    pub gateway_streams: usize,
    /// What of calls, long calls and gateway streams one tenant may have at once, in percent.
    pub tenant_share_percent: usize,
    /// A unary call that takes longer is answered with DEADLINE_EXCEEDED.
    pub request_timeout: Duration,
    /// The same for a stateless plan, which solves a whole problem.
    pub plan_timeout: Duration,
    /// A meter stream without a reading for this long is closed.
    pub meter_idle_timeout: Duration,
    /// A watched plan that does not change for this long ends its stream, and so do alarms.
    pub watch_idle_timeout: Duration,
    /// A gateway says something at least this often. Its stream is closed after three of these without a word.
    pub heartbeat: Duration,
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
    /// Clients are asked to connect anew after this long.
    pub connection_age: Duration,
    /// Size of all headers of a call.
    pub header_list_bytes: u32,
    /// How long calls may finish after the service was told to stop.
    pub drain: Duration,
}

/// Where settings come from, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub file: Option<ConfigFile>,
    /// Every variable that begins with [`ENVIRONMENT_PREFIX`].
    pub environment: BTreeMap<String, OsString>,
    /// By the name of the setting.
    pub flags: BTreeMap<&'static str, String>,
}

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// For messages.
    pub name: String,
    pub text: String,
}

impl Config {
    /// The settings, or every mistake in every source.
    pub fn parse(sources: &Sources) -> Result<Self, Rejection> {
        let mut reader = Reader::new(sources);
        let (tls, listen) = tls::read(&mut reader);
        let config = Self {
            listen,
            tls,
            data: reader.setting("data", PathBuf::from(DEFAULT_DATA), |given| {
                path(given, "the path of a folder, in UTF-8")
            }),
            store: reader.choice(
                "store.kind",
                StoreKind::Sled,
                &[("sled", StoreKind::Sled), ("memory", StoreKind::Memory)],
            ),
            log: Log {
                filter: reader.setting("log.filter", "info".to_owned(), filter),
                format: reader.choice(
                    "log.format",
                    LogFormat::Text,
                    &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                ),
            },
            reflection: reader.setting("reflection", true, boolean),
            planner: Planner {
                budget_iterations: reader.number("planner.budget_iterations", 2_000, (0, 1_000_000)),
                watchdog: reader.seconds("planner.watchdog_seconds", 20, (1, 600)),
                solver_threads: reader.number("planner.solver_threads", 2, (1, 256)),
            },
            limits: Limits::read(&mut reader),
            metrics_listen: reader.setting("metrics.listen", None, |given| own_address(given).map(Some)),
        };
        reader.finish(config)
    }
}

impl Limits {
    fn read(reader: &mut Reader<'_>) -> Self {
        const MIB: i64 = 1 << 20;
        Self {
            request_message_bytes: reader.number("limits.request_message_bytes", 4 * MIB, (1_024, 64 * MIB)),
            response_message_bytes: reader.number("limits.response_message_bytes", 4 * MIB, (1_024, 256 * MIB)),
            connections: reader.number("limits.connections", 10_000, (1, 1_000_000)),
            connections_per_address: reader.number("limits.connections_per_address", 256, (1, 1_000_000)),
            handshakes: reader.number("limits.handshakes", 5_000, (1, 1_000_000)),
            handshake_timeout: reader.seconds("limits.handshake_timeout_seconds", 5, (1, 600)),
            streams_per_connection: reader.number("limits.streams_per_connection", 100, (1, 10_000)),
            in_flight_per_connection: reader.number("limits.in_flight_per_connection", 64, (1, 10_000)),
            in_flight_total: reader.number("limits.in_flight_total", 1_024, (1, 1_000_000)),
            urgent_in_flight_total: reader.number("limits.urgent_in_flight_total", 512, (1, 1_000_000)),
            long_calls: reader.number("limits.long_calls", 2_000, (1, 1_000_000)),
            gateway_streams: reader.number("limits.gateway_streams", 10_000, (1, 1_000_000)),
            tenant_share_percent: reader.number("limits.tenant_share_percent", 50, (1, 100)),
            request_timeout: reader.seconds("limits.request_timeout_seconds", 10, (1, 3_600)),
            plan_timeout: reader.seconds("limits.plan_timeout_seconds", 60, (1, 3_600)),
            meter_idle_timeout: reader.seconds("limits.meter_idle_timeout_seconds", 60, (1, 86_400)),
            watch_idle_timeout: reader.seconds("limits.watch_idle_timeout_seconds", 7_200, (3_600, 604_800)),
            heartbeat: reader.seconds("limits.heartbeat_seconds", 10, (1, 3_600)),
            keepalive_interval: reader.seconds("limits.keepalive_interval_seconds", 30, (1, 3_600)),
            keepalive_timeout: reader.seconds("limits.keepalive_timeout_seconds", 10, (1, 3_600)),
            connection_age: reader.seconds("limits.connection_age_seconds", 1_800, (60, 86_400)),
            header_list_bytes: reader.number("limits.header_list_bytes", 16 * 1_024, (1_024, MIB)),
            drain: reader.seconds("limits.drain_seconds", 10, (0, 600)),
        }
    }
}

/// A value as one source gives it.
enum Given<'a> {
    File(&'a toml::Value),
    /// From the environment or the command line.
    Text(&'a str),
}

/// What is wrong with a value.
struct Wrong {
    rule: &'static str,
    allowed: String,
}

impl Wrong {
    fn new(rule: &'static str, allowed: impl Display) -> Self {
        Self {
            rule,
            allowed: allowed.to_string(),
        }
    }

    fn wrong_type(allowed: impl Display) -> Self {
        Self::new("has the wrong type", allowed)
    }
}

impl Given<'_> {
    fn text(&self) -> Result<&str, Wrong> {
        match self {
            Self::Text(text) => Ok(text),
            Self::File(value) => value.as_str().ok_or_else(|| Wrong::wrong_type("a text")),
        }
    }

    fn integer(&self, allowed: &str) -> Result<i64, Wrong> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::File(value) => value.as_integer(),
        }
        .ok_or_else(|| Wrong::wrong_type(allowed))
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::File(toml::Value::String(text)) => text.clone(),
            Self::File(value) => value.to_string(),
        }
    }
}

/// Reads settings one by one, and remembers which names there are.
struct Reader<'a> {
    sources: &'a Sources,
    /// The file's values by dotted name.
    file: BTreeMap<String, toml::Value>,
    known: BTreeSet<&'static str>,
    faults: Faults,
}

impl<'a> Reader<'a> {
    fn new(sources: &'a Sources) -> Self {
        let mut reader = Self {
            sources,
            file: BTreeMap::new(),
            known: BTreeSet::new(),
            faults: Faults::default(),
        };
        if let Some(file) = &sources.file {
            match file.text.parse::<toml::Table>() {
                Ok(table) => flatten("", table, &mut reader.file),
                Err(error) => {
                    let line = error.span().map_or(1, |span| line_of(&file.text, span.start));
                    reader.faults.add(
                        &file.name,
                        "is not TOML",
                        error.message(),
                        format_args!("TOML; see line {line}"),
                    );
                }
            }
        }
        reader
    }

    /// The value of a setting: from each source that gives one, in turn, so that a mistake in any of them is seen.
    fn setting<T>(&mut self, name: &'static str, default: T, parse: impl Fn(&Given<'_>) -> Result<T, Wrong>) -> T {
        self.known.insert(name);
        let mut value = default;
        let mut take = |place: String, given: Given<'_>| match parse(&given) {
            Ok(parsed) => value = parsed,
            Err(wrong) => self.faults.add(place, wrong.rule, given.shown(), wrong.allowed),
        };
        if let (Some(file), Some(given)) = (&self.sources.file, self.file.get(name)) {
            take(format!("{}: {name}", file.name), Given::File(given));
        }
        let variable = variable(name);
        if let Some(given) = self.sources.environment.get(&variable) {
            // What is not UTF-8 becomes a replacement character, which no setting but a path allows; a path is refused below.
            take(variable, Given::Text(&given.to_string_lossy()));
        }
        if let Some(given) = self.sources.flags.get(name) {
            take(format!("--{name}"), Given::Text(given));
        }
        value
    }

    fn choice<T: Copy>(&mut self, name: &'static str, default: T, choices: &[(&str, T)]) -> T {
        self.setting(name, default, |given| {
            let text = given.text()?;
            let chosen = choices.iter().find(|(choice, _)| *choice == text);
            chosen.map(|(_, value)| *value).ok_or_else(|| {
                let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
                Wrong::new("is not one of the allowed values", names.join(", "))
            })
        })
    }

    fn number<T: TryFrom<i64>>(&mut self, name: &'static str, default: i64, bounds: (i64, i64)) -> T {
        self.in_bounds(name, default, bounds)
            .try_into()
            .unwrap_or_else(|_| panic!("the bounds of {name} fit its type"))
    }

    fn seconds(&mut self, name: &'static str, default: i64, bounds: (i64, i64)) -> Duration {
        Duration::from_secs(self.in_bounds(name, default, bounds).unsigned_abs())
    }

    fn in_bounds(&mut self, name: &'static str, default: i64, (least, most): (i64, i64)) -> i64 {
        self.setting(name, default, |given| {
            let allowed = format!("a whole number from {least} to {most}");
            let value = given.integer(&allowed)?;
            if (least..=most).contains(&value) {
                Ok(value)
            } else {
                Err(Wrong::new("is out of range", allowed))
            }
        })
    }

    fn finish(mut self, config: Config) -> Result<Config, Rejection> {
        if let Some(file) = &self.sources.file {
            for (name, value) in &self.file {
                let is_known = match value {
                    toml::Value::Table(_) => self.known.iter().any(|known| known.starts_with(&format!("{name}."))),
                    _ => self.known.contains(name.as_str()),
                };
                let place = format!("{}: {}", file.name, echo(name));
                let allowed = self.nearest(name);
                self.faults.require(is_known, place, "is not a setting", value, allowed);
            }
        }
        let variables: BTreeSet<String> = self.known.iter().map(|name| variable(name)).collect();
        for (name, value) in &self.sources.environment {
            let is_known = variables.contains(name)
                || [
                    CONFIG_VARIABLE,
                    SERVER_VARIABLE,
                    TENANT_VARIABLE,
                    TOKEN_VARIABLE,
                    CA_VARIABLE,
                ]
                .contains(&name.as_str())
                || FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            let allowed = variables.iter().cloned().collect::<Vec<_>>().join(", ");
            let got = value.to_string_lossy();
            self.faults
                .require(is_known, echo(name), "is not a setting", got, allowed);
        }
        self.faults.finish(config)
    }

    /// The settings of the same table, as a help for a misspelt name.
    fn nearest(&self, name: &str) -> String {
        let table = name.rsplit_once('.').map_or("", |(table, _)| table);
        let of_table = |known: &&&str| known.rsplit_once('.').map_or("", |(of, _)| of) == table;
        let siblings: Vec<&str> = self.known.iter().filter(of_table).copied().collect();
        let all = || self.known.iter().copied().collect();
        if siblings.is_empty() { all() } else { siblings }.join(", ")
    }
}

/// `planner.solver_threads` is `LADDPLAN_PLANNER_SOLVER_THREADS`.
fn variable(name: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", name.replace('.', "_").to_uppercase())
}

/// Leaves by dotted name; an empty table is a leaf too.
fn flatten(prefix: &str, table: toml::Table, leaves: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        let name = if prefix.is_empty() {
            key
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => flatten(&name, inner, leaves),
            leaf => {
                leaves.insert(name, leaf);
            }
        }
    }
}

fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}

fn any_address(given: &Given<'_>) -> Result<SocketAddr, Wrong> {
    let allowed = format!("an IP address and a port, such as {DEFAULT_LISTEN}");
    given
        .text()?
        .parse()
        .map_err(|_| Wrong::new("is not an address", &allowed))
}

/// In every notation.
fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// One that only this machine reaches.
fn own_address(given: &Given<'_>) -> Result<SocketAddr, Wrong> {
    let address = any_address(given)?;
    if !is_loopback(&address) {
        return Err(Wrong::new(
            "is reachable from other machines, and nobody is asked who he is there",
            "a loopback address: 127.0.0.0/8 or [::1]",
        ));
    }
    Ok(address)
}

fn path(given: &Given<'_>, allowed: &str) -> Result<PathBuf, Wrong> {
    let text = given.text()?;
    if text.is_empty() || text.contains(['\0', char::REPLACEMENT_CHARACTER]) {
        return Err(Wrong::new("is not a path", allowed));
    }
    Ok(PathBuf::from(text))
}

fn boolean(given: &Given<'_>) -> Result<bool, Wrong> {
    match given {
        Given::Text("true") | Given::File(toml::Value::Boolean(true)) => Ok(true),
        Given::Text("false") | Given::File(toml::Value::Boolean(false)) => Ok(false),
        _ => Err(Wrong::wrong_type("true or false")),
    }
}

fn filter(given: &Given<'_>) -> Result<String, Wrong> {
    let text = given.text()?;
    let allowed = "error, warn, info, debug, trace, or directives such as info,laddplan::engine=debug";
    if text.trim().is_empty() || tracing_subscriber::EnvFilter::try_new(text).is_err() {
        return Err(Wrong::new("is not a log filter", allowed));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sources(file: Option<&str>, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Sources {
        let file = file.map(|text| ConfigFile {
            name: "laddplan.toml".to_owned(),
            text: text.to_owned(),
        });
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Sources {
            file,
            environment,
            flags,
        }
    }

    pub(crate) fn mistakes(sources: &Sources) -> Vec<String> {
        let rejection = Config::parse(sources).unwrap_err();
        rejection.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn without_any_source_the_service_stays_on_loopback() {
        let config = Config::parse(&Sources::default()).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:50051");
        assert_eq!(config.store, StoreKind::Sled);
        assert_eq!(config.limits.request_message_bytes, 4 << 20);
        assert!(config.reflection);
    }

    #[test]
    fn the_command_line_wins_over_the_environment_over_the_file_over_the_default() {
        let file = "listen = '127.0.0.1:1'\ndata = 'file'\n[planner]\nsolver_threads = 3\nbudget_iterations = 5\n";
        let config = Config::parse(&sources(
            Some(file),
            &[
                ("LADDPLAN_LISTEN", "127.0.0.1:2"),
                ("LADDPLAN_DATA", "environment"),
                ("LADDPLAN_PLANNER_SOLVER_THREADS", "4"),
            ],
            &[("listen", "[::1]:3")],
        ))
        .unwrap();
        assert_eq!(config.listen.to_string(), "[::1]:3");
        assert_eq!(config.data, PathBuf::from("environment"));
        assert_eq!(config.planner.solver_threads, 4);
        assert_eq!(config.planner.budget_iterations, 5);
        assert_eq!(config.planner.watchdog, Duration::from_secs(20));
    }

    #[test]
    fn three_mistakes_are_three_lines() {
        let file = "listen = '0.0.0.0:50051'\nreflecton = true\n[planner]\nsolver_threads = 'two'\n";
        assert_eq!(
            mistakes(&sources(Some(file), &[], &[])),
            [
                "laddplan.toml: listen: is reachable from other machines, and without TLS all is spoken in clear; got 0.0.0.0:50051, \
                 allowed: a loopback address (127.0.0.0/8 or [::1]), or any with tls.certificate and tls.key",
                "laddplan.toml: planner.solver_threads: has the wrong type; got two, allowed: a whole number from 1 to 256",
                "laddplan.toml: reflecton: is not a setting; got true, allowed: data, listen, reflection",
            ]
        );
    }

    #[test]
    fn a_mistake_is_told_even_where_a_higher_source_hides_it() {
        let lines = mistakes(&sources(
            Some("[limits]\nin_flight_total = 0\n"),
            &[
                ("LADDPLAN_LIMITS_IN_FLIGHT_TOTAL", "many"),
                ("LADDPLAN_STORE_KIND", "postgres"),
                ("LADDPLAN_LISTN", "127.0.0.1:2"),
            ],
            &[("listen", "localhost")],
        ));
        let places: Vec<&str> = lines.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(
            places,
            [
                "--listen",
                "LADDPLAN_STORE_KIND",
                "laddplan.toml",
                "LADDPLAN_LIMITS_IN_FLIGHT_TOTAL",
                "LADDPLAN_LISTN"
            ]
        );
    }

    #[test]
    fn a_file_that_is_not_toml_does_not_hide_the_other_mistakes() {
        let lines = mistakes(&sources(
            Some("[log]\nformat = json\n"),
            &[("LADDPLAN_REFLECTION", "maybe"), ("LADDPLAN_LOG_FILTER", "a=b=c")],
            &[],
        ));
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[0].starts_with("laddplan.toml: is not TOML") && lines[0].ends_with("see line 2"),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with("LADDPLAN_LOG_FILTER: is not a log filter"),
            "{lines:?}"
        );
        assert!(
            lines[2].starts_with("LADDPLAN_REFLECTION: has the wrong type"),
            "{lines:?}"
        );
    }

    #[test]
    fn addresses_off_loopback_are_refused_in_every_notation() {
        for refused in [
            "0.0.0.0:1",
            "[::]:1",
            "192.168.1.5:1",
            "[::ffff:192.168.1.5]:1",
            "[fe80::1]:1",
        ] {
            let lines = mistakes(&sources(None, &[], &[("listen", refused)]));
            assert!(lines[0].contains("reachable from other machines"), "{refused}");
            let lines = mistakes(&sources(None, &[("LADDPLAN_METRICS_LISTEN", refused)], &[]));
            assert!(lines[0].contains("reachable from other machines"), "{refused}");
        }
        for accepted in ["127.0.0.1:0", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            Config::parse(&sources(None, &[], &[("listen", accepted)])).unwrap();
        }
    }

    #[test]
    fn unknown_tables_are_told_and_variables_of_others_are_not_ours() {
        let lines = mistakes(&sources(Some("[limit]\nx = 1\n[empty]\n[log]\n"), &[], &[]));
        assert_eq!(lines.len(), 2, "{lines:?}");
        Config::parse(&sources(
            None,
            &[
                ("LADDPLAN_PORT", "tcp://10.0.0.1:50051"),
                ("LADDPLAN_SERVICE_HOST", "10.0.0.1"),
                ("LADDPLAN_CONFIG", "x"),
                ("LADDPLAN_TENANT", "acme"),
                ("LADDPLAN_CA", "ca.pem"),
            ],
            &[],
        ))
        .unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let mut given = Sources::default();
        let name = "LADDPLAN_DATA".to_owned();
        given.environment.insert(name, OsString::from_vec(vec![b'a', 0xff]));
        assert!(mistakes(&given)[0].contains("is not a path"));
    }
}
