//! The figures as a scraper meets them: every line is read.

use crate::service::*;
use laddplan::metrics::{self, Sources};
use std::collections::{BTreeMap, BTreeSet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Head and body of the answer to one request.
async fn ask(address: std::net::SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an empty line ends the head");
    (head.to_owned(), body.to_owned())
}

type Labels = BTreeMap<String, String>;
/// Name, labels, value.
type Sample = (String, Labels, f64);
/// The ends of a histogram's steps, and how many fell in each and those before.
type Steps = Vec<(f64, f64)>;

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `name{label="value",…} 1.5`.
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let value = match value {
        "+Inf" => f64::INFINITY,
        number => number.parse().unwrap_or_else(|_| panic!("{line:?} has no number")),
    };
    let (name, mut rest) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').expect("labels end")),
        None => (series, ""),
    };
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").expect("a label has a value");
        let mut text = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("a value ends") {
                (_, '\\') => match chars.next().expect("something is escaped").1 {
                    'n' => text.push('\n'),
                    c @ ('\\' | '"') => text.push(c),
                    c => panic!("{line:?} escapes {c}"),
                },
                (at, '"') => break at + 1,
                (_, c) => text.push(c),
            }
        };
        assert!(is_name(label), "{line:?}");
        assert_eq!(
            labels.insert(label.to_owned(), text),
            None,
            "{line:?} has a label twice"
        );
        rest = after[end..].trim_start_matches(',');
    }
    assert!(is_name(name), "{line:?}");
    (name.to_owned(), labels, value)
}

/// Every sample of a text in the format 0.0.4, which has to be right in every line.
fn read(text: &str) -> Vec<Sample> {
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let mut helps = BTreeSet::new();
    let mut series = BTreeSet::new();
    let mut samples = Vec::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, _) = help.split_once(' ').expect("a help has words");
            assert!(helps.insert(name.to_owned()), "{name} is explained twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{line:?}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line:?}");
            assert_eq!(
                types.insert(name.to_owned(), kind.to_owned()),
                None,
                "{name} has two types"
            );
        } else {
            let (name, labels, value) = sample(line);
            let of_histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|end| name.strip_suffix(end))
                .find(|base| types.get(*base).is_some_and(|kind| kind == "histogram"));
            let base = of_histogram.unwrap_or(&name);
            assert!(
                types.contains_key(base) && helps.contains(base),
                "{line:?} is of no figure"
            );
            assert!(base.starts_with("laddplan_"), "{line:?}");
            assert!(series.insert((name.clone(), labels.clone())), "{line:?} is told twice");
            samples.push((name, labels, value));
        }
    }
    samples
}

/// The steps of a histogram add up: each has what those before it have, and the last has all.
fn histograms_add_up(samples: &[Sample]) -> usize {
    let mut steps: BTreeMap<(String, Labels), Steps> = BTreeMap::new();
    for (name, labels, value) in samples {
        if let Some(base) = name.strip_suffix("_bucket") {
            let mut labels = labels.clone();
            let end = labels.remove("le").expect("a step has an end");
            let end = if end == "+Inf" {
                f64::INFINITY
            } else {
                end.parse().unwrap()
            };
            steps.entry((base.to_owned(), labels)).or_default().push((end, *value));
        }
    }
    for ((base, labels), steps) in &steps {
        assert!(steps.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{base} {steps:?}");
        let (end, all) = steps.last().unwrap();
        let is_count = |(name, others, _): &&Sample| *name == format!("{base}_count") && others == labels;
        let count = samples.iter().find(is_count).expect("a count").2;
        assert_eq!((*end, *all), (f64::INFINITY, count), "{base}");
    }
    steps.len()
}

fn value(samples: &[Sample], name: &str, wanted: &[(&str, &str)]) -> f64 {
    let fits = |labels: &Labels| {
        wanted
            .iter()
            .all(|(label, value)| labels.get(*label).is_some_and(|known| known == value))
    };
    let found: Vec<f64> = (samples.iter())
        .filter(|(known, labels, _)| known == name && fits(labels))
        .map(|(_, _, value)| *value)
        .collect();
    let [value] = found[..] else {
        panic!("{name} {wanted:?} is there {} times", found.len())
    };
    value
}

#[tokio::test]
async fn a_scraper_can_read_every_line_and_finds_nobody_in_it() {
    let service = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = watch::Sender::new(false);
    let sources = Sources {
        engine: service.clock.engine.clone(),
        streams: service.streams.clone(),
    };
    let serving = tokio::spawn(metrics::serve(listener, sources, stop.subscribe()));

    service.put_site(site("a\"\\b")).await.unwrap();
    service.put_site(site(SITE)).await.unwrap();
    let mut gateway = service.connect_gateway().await;
    gateway.acknowledged().await;
    let mut person = session(1);
    person.driver_token = Some(card("Astrid"));
    service.start_session(person).await.unwrap();
    let command = gateway.command().await;
    service.set_limit(grid_limit("cut", 10)).await.unwrap();
    let lowered = gateway.command().await;
    assert!(lowered.revision > command.revision);
    service.clock.advance(35).await;

    let (head, text) = ask(address, "GET /metrics").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let samples = read(&text);
    assert_eq!(histograms_add_up(&samples), 3 * 2, "three histograms of two sites");
    let of = |name: &str, more: &[(&str, &str)]| {
        let labels = [&[("tenant", TENANT), ("site", SITE)][..], more].concat();
        value(&samples, &format!("laddplan_{name}"), &labels)
    };
    assert_eq!(of("gateway_up", &[]), 1.0);
    assert!(of("open_attempts", &[]) >= 2.0);
    // What was sent before the cut counts beside what is left of 10 A.
    assert!(of("headroom_amperes", &[("phase", "l1")]) < 0.0);
    assert!(of("reserved_unused_watts", &[]) > 0.0);
    assert_eq!(of("alarms", &[("kind", "above_available")]), 1.0);
    assert_eq!(of("alarms", &[("kind", "decreases_unsent")]), 0.0);
    assert_eq!(of("evses", &[("trust", "unknown")]), 2.0);
    assert!(of("commands_sent_total", &[("cause", "change")]) >= 2.0);
    assert_eq!(of("shed_seconds_count", &[]), 1.0, "the cut was timed");
    assert!(of("search_seconds_count", &[]) >= 1.0 && of("append_seconds_count", &[]) >= 4.0);
    assert!(of("journal_entries_total", &[]) >= 4.0);
    assert_eq!(value(&samples, "laddplan_gateway_up", &[("site", "a\"\\b")]), 1.0);
    assert_eq!(value(&samples, "laddplan_sites_left_out", &[]), 0.0);
    for name in ["Astrid", "session-1"] {
        assert!(!text.contains(name), "{name} is nobody else's");
    }

    let (head, _) = ask(address, "GET /").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    let (head, _) = ask(address, "POST /metrics").await;
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
    stop.send_replace(true);
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it listens no more");
}
