//! The configuration file and the environment, as an operator may write them.
//!
//! Parts are divided by a NUL: the file, then variables as `NAME=value`. What is accepted lies within the bounds that a refusal
//! would name, and reads back equal from a file that says all of it.

use super::{Verdict, check_faults};
use laddplan::config::{Config, ConfigFile, LogFormat, Sources, StoreKind};
use std::ffi::OsString;
use std::path::Path;

pub fn run(data: &[u8]) -> Verdict {
    let mut parts = data.split(|byte| *byte == 0);
    let Ok(file) = std::str::from_utf8(parts.next().unwrap_or_default()) else {
        return Verdict::Refused;
    };
    let variables = parts.filter_map(|part| std::str::from_utf8(part).ok()?.split_once('='));
    let sources = Sources {
        file: Some(named(file)),
        environment: variables
            .map(|(name, value)| (format!("LADDPLAN_{name}"), OsString::from(value)))
            .collect(),
        ..Sources::default()
    };
    match Config::parse(&sources) {
        Ok(config) => {
            use_it(&config);
            Verdict::Used
        }
        Err(rejection) => {
            check_faults(rejection.faults());
            assert!(!rejection.faults().is_empty(), "a refusal says why");
            Verdict::Refused
        }
    }
}

fn named(text: &str) -> ConfigFile {
    ConfigFile {
        name: "laddplan.toml".to_owned(),
        text: text.to_owned(),
    }
}

fn use_it(config: &Config) {
    let is_loopback = config.listen.ip().to_canonical().is_loopback();
    assert!(config.tls.is_some() || is_loopback, "{}", config.listen);
    assert!((1..=256).contains(&config.planner.solver_threads));
    assert!((1..=1_000_000).contains(&config.limits.gateway_streams));
    assert!(config.limits.request_message_bytes <= 64 << 20);
    let sources = Sources {
        file: Some(named(&written(config))),
        ..Sources::default()
    };
    assert_eq!(Config::parse(&sources).as_ref(), Ok(config));
}

/// A file that says every setting.
pub fn written(config: &Config) -> String {
    use toml::Value::{Boolean, Integer, String as Text};
    let number = |number: usize| Integer(i64::try_from(number).expect("within its bounds"));
    let seconds = |length: std::time::Duration| Integer(length.as_secs().cast_signed());
    let path = |path: &Path| Text(path.to_str().expect("a path in UTF-8").to_owned());
    let limits = &config.limits;
    let table = |entries: Vec<(&str, toml::Value)>| {
        let entries = entries.into_iter().map(|(name, value)| (name.to_owned(), value));
        toml::Value::Table(entries.collect())
    };
    let store = match config.store {
        StoreKind::Sled => "sled",
        StoreKind::Memory => "memory",
    };
    let format = match config.log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let mut tls = Vec::new();
    if let Some(given) = &config.tls {
        tls.extend([
            ("certificate", path(&given.certificate)),
            ("key", path(&given.key)),
            ("trust_domain", Text(given.trust_domain.to_string())),
            ("gateways_need_certificate", Boolean(given.gateways_need_certificate)),
        ]);
        tls.extend(given.client_ca.as_deref().map(|file| ("client_ca", path(file))));
        tls.extend(given.client_crl.as_deref().map(|file| ("client_crl", path(file))));
    }
    let file = table(vec![
        ("tls", table(tls)),
        ("listen", Text(config.listen.to_string())),
        ("data", path(&config.data)),
        ("reflection", Boolean(config.reflection)),
        ("store", table(vec![("kind", Text(store.to_owned()))])),
        (
            "log",
            table(vec![
                ("filter", Text(config.log.filter.clone())),
                ("format", Text(format.to_owned())),
            ]),
        ),
        (
            "planner",
            table(vec![
                ("budget_iterations", Integer(config.planner.budget_iterations.into())),
                ("watchdog_seconds", seconds(config.planner.watchdog)),
                ("solver_threads", number(config.planner.solver_threads)),
            ]),
        ),
        (
            "limits",
            table(vec![
                ("request_message_bytes", number(limits.request_message_bytes)),
                ("response_message_bytes", number(limits.response_message_bytes)),
                ("connections", number(limits.connections)),
                ("connections_per_address", number(limits.connections_per_address)),
                ("handshakes", number(limits.handshakes)),
                ("handshake_timeout_seconds", seconds(limits.handshake_timeout)),
                ("streams_per_connection", Integer(limits.streams_per_connection.into())),
                ("in_flight_per_connection", number(limits.in_flight_per_connection)),
                ("in_flight_total", number(limits.in_flight_total)),
                ("long_calls", number(limits.long_calls)),
                ("gateway_streams", number(limits.gateway_streams)),
                ("request_timeout_seconds", seconds(limits.request_timeout)),
                ("plan_timeout_seconds", seconds(limits.plan_timeout)),
                ("meter_idle_timeout_seconds", seconds(limits.meter_idle_timeout)),
                ("watch_idle_timeout_seconds", seconds(limits.watch_idle_timeout)),
                ("heartbeat_seconds", seconds(limits.heartbeat)),
                ("keepalive_interval_seconds", seconds(limits.keepalive_interval)),
                ("keepalive_timeout_seconds", seconds(limits.keepalive_timeout)),
                ("connection_age_seconds", seconds(limits.connection_age)),
                ("header_list_bytes", Integer(limits.header_list_bytes.into())),
                ("drain_seconds", seconds(limits.drain)),
            ]),
        ),
    ]);
    toml::to_string(&file).expect("settings are TOML")
}
