//! The seeds: what our own encoders make of our own examples.
//!
//! Decides which inputs a fuzzer starts from: for each way in, of every kind one that is accepted, and some that are not.

use crate::fuzzing::Verdict::{self, Refused, Used};
use crate::fuzzing::api::{Call, KNOWN};
use crate::fuzzing::files::{self, File};
use crate::fuzzing::gateway;
use crate::fuzzing::journal::Part;
use crate::fuzzing::ocpi;
use crate::fuzzing::{Cursor, config};
use laddplan::config::{Config, Sources};
use laddplan::domain::event::{Event, Recorded};
use laddplan::engine::ports::Store;
use laddplan::ocpi::check::Kind;
use laddplan::store::export::export;
use laddplan::store::memory::MemoryStore;
use laddplan::store::{codec, keys};
use laddplan::wire::journal::{ended_session_message, entry_message};
use laddplan::wire::json::from_json;
use laddplan::wire::session::session_spec_message;
use laddplan::wire::{journal_proto, proto};
use prost::Message;
use prost_types::Timestamp;
use std::path::Path;
use std::sync::Arc;

const SITE: &str = include_str!("../../examples/site.json");
const REQUEST: &str = include_str!("../../examples/plan_request.json");
const SESSIONS: &str = include_str!("../../src/simulate/data/jpl_2019-11-20.csv");
const NETWORK: &str = include_str!("../../src/simulate/data/jpl_network.json");

pub struct Example {
    pub name: String,
    pub input: Vec<u8>,
    /// Where it is known.
    pub expected: Option<Verdict>,
}

fn used(name: &str, input: Vec<u8>) -> Example {
    Example {
        name: name.to_owned(),
        input,
        expected: Some(Used),
    }
}

fn any(name: &str, input: Vec<u8>) -> Example {
    Example {
        expected: None,
        ..used(name, input)
    }
}

fn refused(name: &str, input: Vec<u8>) -> Example {
    Example {
        expected: Some(Refused),
        ..used(name, input)
    }
}

pub fn examples(target: &str) -> Vec<Example> {
    match target {
        "api" => api(),
        "gateway" => scripts(),
        "ocpi" => objects(),
        "journal" => records(),
        "config" => settings(),
        "files" => user_files(),
        "planted" => {
            let session = proto::SessionSpec {
                departure_time: Some(at(7_200)),
                need_watt_hour: Some(20_000),
                guaranteed_watt_hour: 5_000,
                ..session_with_everything()
            };
            vec![any("start-session", start(session).encode_to_vec())]
        }
        other => panic!("no target is named {other}"),
    }
}

fn start(spec: proto::SessionSpec) -> proto::StartSessionRequest {
    proto::StartSessionRequest {
        meta: meta(),
        tenant_id: "cpo".to_owned(),
        site_id: "workplace".to_owned(),
        session: Some(proto::SessionSpec {
            arrival_time: Some(at(0)),
            ..spec
        }),
    }
}

fn meta() -> Option<proto::RequestMeta> {
    Some(proto::RequestMeta {
        request_id: "request-1".to_owned(),
    })
}

fn at(seconds: i64) -> Timestamp {
    Timestamp {
        seconds: KNOWN.now.unix_secs() + seconds,
        nanos: 0,
    }
}

fn amperes(amperes: i64) -> Option<proto::Rate> {
    Some(proto::Rate {
        rate: Some(proto::rate::Rate::CurrentDeciampere(amperes * 10)),
    })
}

fn watts(watts: i64) -> Option<proto::Rate> {
    Some(proto::Rate {
        rate: Some(proto::rate::Rate::PowerWatt(watts)),
    })
}

/// Every wiring, limits of every kind, three levels.
fn site_with_everything() -> proto::Site {
    use proto::connector::Wiring;
    let ac = |id: &str, wiring| proto::Connector {
        id: id.to_owned(),
        wiring: Some(wiring),
        nominal_volt: 230,
        minimum: amperes(6),
        maximum: amperes(32),
        default_rate: amperes(0),
        ..Default::default()
    };
    let evse = |id: &str, connectors| proto::Evse {
        id: id.to_owned(),
        metered: true,
        uncontrollable: false,
        connectors,
    };
    let l1 = proto::Phase::L1 as i32;
    let pair = proto::PhasePair::L3L1 as i32;
    let dc = proto::Connector {
        minimum: watts(5_000),
        maximum: watts(50_000),
        default_rate: None,
        step: watts(100),
        ..ac(
            "dc",
            Wiring::Dc(proto::DcWiring {
                efficiency_percent: 95,
                standby_watt: 150,
            }),
        )
    };
    let listed = proto::Connector {
        allowed_rates: vec![amperes(8).expect("a rate"), amperes(16).expect("a rate")],
        max_profile_periods: 12,
        ..ac(
            "listed",
            Wiring::StarUnknown(proto::StarUnknownWiring { phase_count: 2 }),
        )
    };
    let node = |id: &str, parent: &str, amperes: i64| proto::Node {
        id: id.to_owned(),
        parent_id: parent.to_owned(),
        limit: Some(proto::NodeLimit {
            line_deciampere: Some(amperes * 10),
            total_watt: Some(amperes * 600),
        }),
        ..Default::default()
    };
    proto::Site {
        id: "depot".to_owned(),
        time_zone: "Europe/Oslo".to_owned(),
        currency: "NOK".to_owned(),
        mode: proto::SiteMode::Control.into(),
        lease_seconds: 600,
        clock_skew_seconds: Some(7),
        reserve_permille: Some(45),
        slot_seconds: 300,
        trust_unmetered: true,
        fairness: proto::Fairness::FirstCome.into(),
        demand_charge_micros_per_kw: Some(81_250_000),
        peak_so_far_watt: 41_000,
        gateway_id: "gateway-1".to_owned(),
        drivers: Some(proto::DriverPolicy {
            admits: Some(proto::driver_policy::Admits::Authorized(proto::AdmitAuthorized {
                offline: proto::OfflineRule::Listed.into(),
                remember_seconds: 3_600,
            })),
            limit_otherwise_watt: 4_200,
        }),
        nodes: vec![
            proto::Node {
                base_load_line_deciampere: 50,
                base_load_total_watt: 3_000,
                unbalance_deciampere: Some(200),
                metered: true,
                overload_curve: vec![proto::OverloadPoint {
                    load_percent: 125,
                    tolerated_seconds: 60,
                }],
                ..node("grid", "", 400)
            },
            proto::Node {
                primary_line_deciampere: Some(1_805),
                turns_ratio_permille: Some(4_000),
                ..node("transformer", "grid", 300)
            },
            node("panel", "transformer", 100),
        ],
        stations: vec![
            proto::Station {
                id: "station-1".to_owned(),
                node_id: "panel".to_owned(),
                limit: Some(proto::NodeLimit {
                    line_deciampere: None,
                    total_watt: Some(30_000),
                }),
                evses: vec![
                    evse(
                        "evse-1",
                        vec![ac("star", Wiring::Star(proto::StarWiring { phases: vec![l1] })), listed],
                    ),
                    evse("evse-2", vec![ac("delta", Wiring::Delta(proto::DeltaWiring { pair }))]),
                ],
            },
            proto::Station {
                id: "station-2".to_owned(),
                node_id: "transformer".to_owned(),
                limit: None,
                evses: vec![proto::Evse {
                    uncontrollable: true,
                    ..evse("evse-3", vec![dc])
                }],
            },
        ],
    }
}

fn session_with_everything() -> proto::SessionSpec {
    proto::SessionSpec {
        not_interruptible: true,
        tier: 2,
        group_id: "pool".to_owned(),
        car: Some(proto::Car {
            phase_count: 1,
            maximum: amperes(16),
            minimum: amperes(8),
        }),
        ocpi: Some(proto::OcpiSession {
            peer: "peer".to_owned(),
            country_code: "SE".to_owned(),
            party_id: "ABC".to_owned(),
            session_id: "ocpi-1".to_owned(),
        }),
        ..session_spec_message(&KNOWN.problem.sessions[0].spec)
    }
}

fn limits() -> [proto::GridLimit; 2] {
    let limit = |when| proto::GridLimit {
        id: "limit-1".to_owned(),
        node_id: "garage".to_owned(),
        source: proto::LimitSource::Dso.into(),
        limit: Some(proto::NodeLimit {
            line_deciampere: Some(160),
            total_watt: Some(9_000),
        }),
        when: Some(when),
    };
    [
        limit(proto::grid_limit::When::Once(proto::OnceWindow {
            from: Some(at(0)),
            until: Some(at(3_600)),
        })),
        limit(proto::grid_limit::When::Weekly(proto::WeeklyWindow {
            days: vec![1, 3, 7],
            from_minute_of_day: 1_020,
            until_minute_of_day: 60,
        })),
    ]
}

fn price_points() -> Vec<proto::PricePoint> {
    let point = |(seconds, micros_per_kwh)| proto::PricePoint {
        from: Some(at(seconds)),
        micros_per_kwh,
    };
    [(0, 120_000), (3_600, -5_000), (7_200, 310_000)].map(point).to_vec()
}

fn api() -> Vec<Example> {
    let put = |site| {
        Call::PutSite.input(&proto::PutSiteRequest {
            meta: meta(),
            tenant_id: "cpo".to_owned(),
            site: Some(site),
        })
    };
    let set_limit = |limit| {
        Call::SetGridLimit.input(&proto::SetGridLimitRequest {
            grid_limit: Some(limit),
            ..Default::default()
        })
    };
    let point = |(seconds, power_watt)| proto::ForecastPoint {
        from: Some(at(seconds)),
        power_watt,
    };
    let whole = session_spec_message(&KNOWN.problem.sessions[0].spec);
    let odd = proto::SessionSpec {
        departure_time: None,
        need_watt_hour: None,
        ..session_with_everything()
    };
    let [once, weekly] = limits();
    let mut examples = vec![
        used("put-site-example", put(from_json(SITE).expect("the example"))),
        used(
            "put-site-of-the-request",
            put(KNOWN.request.site.clone().expect("a site")),
        ),
        used("put-site-with-everything", put(site_with_everything())),
        any("put-site-empty", put(proto::Site::default())),
        used("set-grid-limit-once", set_limit(once.clone())),
        used("set-grid-limit-weekly", set_limit(weekly.clone())),
        used(
            "set-prices",
            Call::SetPrices.input(&proto::SetPricesRequest {
                prices: price_points(),
                ..Default::default()
            }),
        ),
        used(
            "set-forecast",
            Call::SetForecast.input(&proto::SetForecastRequest {
                kind: proto::ForecastKind::Solar.into(),
                points: [(0, 3_000), (3_600, 0)].map(point).to_vec(),
                ..Default::default()
            }),
        ),
        used("start-session", Call::StartSession.input(&start(whole.clone()))),
        used(
            "start-session-of-which-little-is-known",
            Call::StartSession.input(&start(odd)),
        ),
        any(
            "start-session-empty",
            Call::StartSession.input(&proto::StartSessionRequest::default()),
        ),
        used(
            "update-session",
            Call::UpdateSession.input(&proto::UpdateSessionRequest {
                session: Some(proto::SessionSpec {
                    need_watt_hour: Some(3_000),
                    guaranteed_watt_hour: 1_000,
                    ..whole
                }),
                ..Default::default()
            }),
        ),
        used(
            "report-meter",
            Call::ReportMeter.input(&proto::ReportMeterRequest {
                readings: vec![proto::MeterReading {
                    evse_id: "garage-1-left".to_owned(),
                    at: Some(at(60)),
                    session_energy_watt_hour: Some(42),
                    power_watt: Some(7_000),
                    current_deciampere: vec![101, 0, -1],
                }],
                ..Default::default()
            }),
        ),
        used(
            "report-node-meter",
            Call::ReportNodeMeter.input(&proto::ReportNodeMeterRequest {
                readings: [(0, 900), (40, 640), (100, 0)]
                    .map(|(after, deciamps)| proto::NodeMeterReading {
                        node_id: "grid".to_owned(),
                        at: Some(at(after)),
                        current_deciampere: vec![deciamps, 0, -1],
                        power_watt: Some(40_000),
                    })
                    .to_vec(),
                ..Default::default()
            }),
        ),
        used("plan", Call::Plan.input(&KNOWN.request)),
        used(
            "put-tenant",
            Call::PutTenant.input(&proto::PutTenantRequest {
                meta: None,
                tenant: Some(proto::Tenant {
                    id: "acme".to_owned(),
                    name: "Acme".to_owned(),
                    quota: Some(proto::Quota {
                        sites: 5,
                        calls_per_second: 50,
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
            }),
        ),
        used(
            "create-token",
            Call::CreateToken.input(&proto::CreateTokenRequest {
                name: format!("laddplan_{}_{}", "5f".repeat(8), "0a".repeat(32)),
                scopes: vec![proto::Scope::Gateway.into(), proto::Scope::SiteRead.into()],
                gateway_ids: vec!["gateway-1".to_owned()],
                ..Default::default()
            }),
        ),
        used(
            "plan-with-everything",
            Call::Plan.input(&proto::PlanRequest {
                site: Some(site_with_everything()),
                grid_limits: vec![],
                prices: price_points(),
                sessions: vec![proto::PlanSession {
                    spec: Some(proto::SessionSpec {
                        id: "car".to_owned(),
                        evse_id: "evse-1".to_owned(),
                        connector_id: "listed".to_owned(),
                        arrival_time: Some(at(0)),
                        departure_time: Some(at(7_200)),
                        need_watt_hour: Some(5_000),
                        ..Default::default()
                    }),
                    delivered_watt_hour: 100,
                    session_override: 2,
                }],
                slot_count: 6,
                budget_iterations: 20,
                ..KNOWN.request.clone()
            }),
        ),
        used(
            "plan-under-limits",
            Call::Plan.input(&proto::PlanRequest {
                grid_limits: vec![once, weekly],
                ..KNOWN.request.clone()
            }),
        ),
    ];
    for number in 1..=4 {
        let request = proto::OverrideSessionRequest {
            session_id: "session".to_owned(),
            session_override: number,
            ..Default::default()
        };
        examples.push(used(
            &format!("override-{number}"),
            Call::OverrideSession.input(&request),
        ));
    }
    examples
}

fn scripts() -> Vec<Example> {
    let scripts = gateway::examples().into_iter();
    scripts
        .map(|(name, steps)| {
            let mut script = Vec::new();
            steps.iter().for_each(|step| step.write(&mut script));
            let expected = ["is-nobody", "out-of-order"].contains(&name);
            Example {
                expected: (!expected).then_some(Used),
                ..used(name, script)
            }
        })
        .collect()
}

/// The golden files of the strict check.
fn objects() -> Vec<Example> {
    let mut examples = Vec::new();
    for folder in ["right", "wrong"] {
        let folder_path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden/ocpi")
            .join(folder);
        let files = std::fs::read_dir(folder_path).expect("golden files");
        for path in files.map(|file| file.expect("a folder can be read").path()) {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("a golden file");
            let input = ocpi::input(None, &text);
            examples.push(match folder {
                "right" => used(&format!("right-{stem}"), input),
                _ => any(&format!("wrong-{stem}"), input),
            });
        }
    }
    examples.sort_by(|one, other| one.name.cmp(&other.name));
    let profile = r#"{"charging_rate_unit":"A","start_date_time":"2026-11-22T15:45:00Z","min_charging_rate":6.0,"charging_profile_period":[{"start_period":0,"limit":16.1},{"start_period":900,"limit":0}]}"#;
    let profile_input = |text: &str| ocpi::input(Some(Kind::ChargingProfile), text);
    examples.push(used("profile", profile_input(profile)));
    let name = format!("{{\"{}\": 1, \"charging_rate_unit\": \"A\"}}", "\\u0001".repeat(300));
    examples.push(refused("profile-with-a-long-name", profile_input(&name)));
    // What a float does not carry, and a year that cannot be written.
    let digits = profile.replace("16.1", "12345678901234567");
    examples.push(refused("profile-with-17-digits", profile_input(&digits)));
    let year = profile.replace("2026-11-22T15:45:00Z", "9999-12-31T23:59:59-23:59");
    examples.push(refused("profile-of-the-year-10000", profile_input(&year)));
    examples
}

/// A world in which a gateway does what it should, and its journal.
fn world() -> (Arc<MemoryStore>, Vec<Recorded>) {
    let mut input = Vec::new();
    for name in ["two-cars-and-a-cut", "without-fences"] {
        let (_, steps) = gateway::examples()
            .into_iter()
            .find(|(of, _)| *of == name)
            .expect("an example");
        steps.iter().for_each(|step| step.write(&mut input));
    }
    let store = gateway::store_after(&mut Cursor(&input));
    let journal = files::ready(store.read(&gateway::key(), 0, usize::MAX)).expect("a store in memory");
    (store, journal)
}

fn kind_of(event: &Event) -> String {
    let text = format!("{event:?}");
    let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let dashed = name.chars().map(|c| {
        if c.is_uppercase() {
            format!("-{}", c.to_lowercase())
        } else {
            c.to_string()
        }
    });
    dashed.collect::<String>().trim_start_matches('-').to_owned()
}

fn records() -> Vec<Example> {
    let (store, journal) = world();
    let mut examples: Vec<Example> = Vec::new();
    let mut told: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in &journal {
        let kind = kind_of(&entry.event);
        let bytes = entry_message(entry).encode_to_vec();
        match told.iter_mut().find(|(known, _)| *known == kind) {
            // The longest says the most.
            Some((_, kept)) if kept.len() < bytes.len() => *kept = bytes,
            Some(_) => {}
            None => told.push((kind, bytes)),
        }
    }
    let others = [
        Event::PricesSet(KNOWN.problem.prices.clone().expect("the example has prices")),
        Event::SiteStopped { stopped: true },
        Event::SiteDeleted,
    ];
    for event in others {
        let kind = kind_of(&event);
        let entry = Recorded {
            event,
            ..journal[0].clone()
        };
        told.push((kind, entry_message(&entry).encode_to_vec()));
    }
    for (kind, bytes) in &told {
        examples.push(used(&format!("entry-{kind}"), Part::Entry.input(bytes)));
    }
    let ended = files::ready(store.ended_sessions(&gateway::key(), None, 1)).expect("a store in memory");
    let ended = ended_session_message(&ended[0]);
    examples.push(used("ended-session", Part::EndedSession.input(&ended.encode_to_vec())));
    let of_kind = |wanted: fn(&Event) -> bool| {
        let found = journal.iter().filter(|entry| wanted(&entry.event)).take(2);
        found.map(entry_message).collect::<Vec<_>>()
    };
    let snapshot = journal_proto::Snapshot {
        alarms: None,
        node_watches: vec![journal_proto::NodeWatch {
            node_id: "grid".to_owned(),
            last_at_unix_seconds: 1_772_438_390,
            gauges: vec![
                journal_proto::Gauge {
                    read_at_unix_seconds: Some(1_772_438_390),
                    load: 700,
                    limit: Some(630),
                    used: 1_000_000,
                    ..Default::default()
                };
                4
            ],
        }],
        last_at_unix_seconds: 1_772_438_400,
        facts: of_kind(|event| matches!(event, Event::SitePut(_) | Event::GridLimitSet(_) | Event::PlanMade(_))),
        ledger: of_kind(|event| matches!(event, Event::CommandsIssued(_) | Event::CommandAnswered { .. })),
        sessions: vec![ended],
        assumed: vec![journal_proto::AssumedEnergy {
            session_id: "car-1".to_owned(),
            watt_second: 4_321,
        }],
        peak_seen_watt: 9_000,
        requests: vec![journal_proto::RememberedRequest {
            request: Some(journal_proto::Request {
                id: "call-1".to_owned(),
                body_hash: vec![7; 32],
                warnings: vec!["mind the gap".to_owned()],
                by: "token-1".to_owned(),
            }),
            sequence: 3,
            recorded_at_unix_seconds: 1_772_438_401,
        }],
    };
    examples.push(used("snapshot", Part::Snapshot.input(&snapshot.encode_to_vec())));
    let small = &told[told.len() - 1].1;
    examples.push(used(
        "damaged",
        Part::Damaged.input(&[&[12, 0, 1, 0, 0], small.as_slice()].concat()),
    ));
    examples.push(used(
        "cut-off",
        Part::Damaged.input(&[&[0, 0, 0, 2, 0], small.as_slice()].concat()),
    ));
    let key = keys::numbered(&gateway::key(), keys::Kind::Journal, 1);
    let record = codec::encode(&key, &entry_message(&journal[0])).expect("a short record");
    examples.push(any("record", Part::Record.input(&record)));
    examples.push(used("key", Part::Key.input(&keys::chunk(&key, 0))));
    examples
}

fn settings() -> Vec<Example> {
    let defaults = Config::parse(&Sources::default()).expect("the defaults are valid");
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        used("every-setting", text(&config::written(&defaults))),
        used("nothing", text("")),
        used(
            "dotted",
            text("planner.solver_threads = 4\nlimits.drain_seconds = 0\nlog.filter = \"info,laddplan=debug\"\n"),
        ),
        used(
            "tls",
            text(
                "listen = \"0.0.0.0:0\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\nclient_ca = \"ca.pem\"\ngateways_need_certificate = true\n",
            ),
        ),
        any(
            "half-a-pair",
            text("[tls]\nkey = \"k.pem\"\nclient_crl = \"crl.pem\"\ntrust_domain = \"A\"\n"),
        ),
        used(
            "environment",
            text("[store]\nkind = \"memory\"\n\0LOG_FORMAT=json\0LISTEN=[::1]:0\0SERVICE_HOST=10.0.0.1"),
        ),
        any(
            "wrong-types",
            text("listen = 5\nreflection = \"yes\"\n[limits]\nconnections = 0\n"),
        ),
        any(
            "not-ours",
            text("[planer]\nthreads = 1\n[limits.more]\n\0WHAT=1\0LISTEN=0.0.0.0:80"),
        ),
        any("not-toml", text("listen = \n[[")),
    ]
}

/// The first sessions at EVSEs of a small part of the carried network.
fn user_files() -> Vec<Example> {
    let lines: Vec<&str> = SESSIONS.lines().take(4).collect();
    let sessions = lines.join("\n") + "\n";
    let mut network: serde_json::Value = serde_json::from_str(NETWORK).expect("the carried network");
    let wanted: Vec<&str> = lines[1..].iter().filter_map(|line| line.split(',').nth(1)).collect();
    network.as_object_mut().expect("an object").remove("about");
    let site = &mut network["sites"][0];
    assert_eq!(site["site"], files::SITE);
    let evses = site["evses"].as_array_mut().expect("a list");
    evses.retain(|evse| wanted.iter().any(|wanted| evse["id"] == *wanted));
    let network = format!("{network}\0{sessions}");
    let beyond = |number: &str| network.replacen(number, &i64::MAX.to_string(), 1);
    let (store, _) = world();
    let mut lines = Vec::new();
    files::ready(export(store.as_ref(), &mut lines)).expect("a store in memory");
    let whole = String::from_utf8(lines).expect("JSON");
    let few = few_lines(&whole);
    let set_prices = laddplan::wire::json::to_json(
        &proto::SetPricesRequest {
            prices: price_points(),
            ..Default::default()
        },
        laddplan::wire::json::Layout::Pretty,
    );
    vec![
        used("sessions", File::Sessions.input(&sessions)),
        used("network", File::Network.input(&network)),
        refused("network-with-volts-beyond-reason", File::Network.input(&beyond("208"))),
        refused("network-with-pilots-beyond-reason", File::Network.input(&beyond("32"))),
        used("plan-request", File::PlanRequest.input(REQUEST)),
        used("site", File::Site.input(SITE)),
        used("prices", File::Prices.input(&set_prices.expect("JSON"))),
        used("export", File::Export.input(&few)),
        any("export-cut-off", File::Export.input(&few[..few.len() / 2])),
    ]
}

/// The beginning of an export, as if that were all.
fn few_lines(export: &str) -> String {
    let entries: Vec<&str> = export
        .lines()
        .filter(|line| line.starts_with("{\"entry\""))
        .take(3)
        .collect();
    let count = entries.len();
    format!("{}\n{{\"end\":{{\"entries\":{count}}}}}\n", entries.join("\n"))
}
