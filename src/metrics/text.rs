//! The figures by name and label, in units that Prometheus knows: amperes, watts, seconds.
//!
//! Decides names, which are never changed for another meaning.

use crate::dispatch::Streams;
use crate::domain::alarm::AlarmKind;
use crate::domain::profile::Cause;
use crate::engine::tallies::{CAUSES, Figures, SiteFigures, TIME_STEPS_MICROS, TimesTaken};
use crate::engine::view::{EvseStatus, RolloutView, Trust};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

const PREFIX: &str = "laddplan";
const PHASES: [&str; 3] = ["l1", "l2", "l3"];
const TRUSTS: [(Trust, &str); 3] = [
    (Trust::Unknown, "unknown"),
    (Trust::Obeys, "obeys"),
    (Trust::Disobeys, "disobeys"),
];

/// Everything that is exported at one moment.
#[derive(Debug)]
struct Exported {
    figures: Figures,
    commands_waiting: u64,
    commands_written: u64,
}

pub fn write(figures: Figures, streams: &Streams) -> Result<String, fmt::Error> {
    // In this order: a command is counted as written before it stops to wait.
    let (commands_waiting, commands_written) = (streams.waiting() as u64, streams.commands_written());
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Exported {
        figures,
        commands_waiting,
        commands_written,
    }));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Labels of a site, and one more where there is one.
type Labels<'a> = Vec<(&'a str, &'a str)>;

/// One value of a figure with its labels.
type Value<'a, T> = (Labels<'a>, T);

/// Writes one figure after the other.
struct Writer<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
    sites: &'a [SiteFigures],
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Change => "change",
        Cause::Renewal => "renewal",
        Cause::Retry => "retry",
    }
}

fn labels<'a>(site: &'a SiteFigures, more: Option<(&'a str, &'a str)>) -> Labels<'a> {
    let mut labels = vec![("tenant", site.key.tenant.as_str()), ("site", site.key.site.as_str())];
    labels.extend(more);
    labels
}

impl<'a> Writer<'a, '_> {
    fn gauge(&mut self, name: &str, help: &str, of: impl Fn(&'a SiteFigures) -> Vec<Value<'a, f64>>) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in self.sites.iter().flat_map(of) {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A gauge of what the roll-out says of a site, where it said something.
    fn rollout_gauge(
        &mut self,
        name: &str,
        help: &str,
        of: impl Fn(&RolloutView) -> Vec<(Option<(&'static str, &'static str)>, f64)>,
    ) -> fmt::Result {
        self.gauge(name, help, |site| {
            let values = site.rollout.as_deref().map(&of).unwrap_or_default();
            values
                .into_iter()
                .map(|(more, value)| (labels(site, more), value))
                .collect()
        })
    }

    fn counter(&mut self, name: &str, help: &str, of: impl Fn(&'a SiteFigures) -> Vec<Value<'a, u64>>) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in self.sites.iter().flat_map(of) {
            metric
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn times(&mut self, name: &str, help: &str, of: impl Fn(&'a SiteFigures) -> &'a TimesTaken) -> fmt::Result {
        let mut metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        for site in self.sites {
            let taken = of(site);
            let ends = TIME_STEPS_MICROS
                .iter()
                .map(|micros| seconds(*micros))
                .chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = ends.zip(taken.steps).collect();
            let count = taken.steps.iter().sum();
            let sum = seconds(taken.sum_micros);
            let labels = labels(site, None);
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn single(&mut self, name: &str, help: &str, kind: MetricType, value: u64) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, kind)?;
        match kind {
            MetricType::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
            _ => metric.encode_gauge(&(value as f64)),
        }
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn amperes(deciamps: i64) -> f64 {
    deciamps as f64 / 10.0
}

impl Collector for Exported {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer {
            encoder: &mut encoder,
            sites: &self.figures.sites,
        };
        write_rollout(&mut writer)?;
        write_site(&mut writer)?;
        let figures = &self.figures;
        let gauge = MetricType::Gauge;
        writer.single(
            "sites_left_out",
            "Sites beyond the number that is exported",
            gauge,
            figures.left_out,
        )?;
        writer.single(
            "plans_once_waiting",
            "Stateless plans that wait for a solver or run",
            gauge,
            figures.once_waiting,
        )?;
        let counter = MetricType::Counter;
        writer.single(
            "plans_once_refused",
            "Stateless plans refused for lack of room",
            counter,
            figures.once_refused,
        )?;
        let help = "Commands that wait for a gateway to read them";
        writer.single("gateway_commands_waiting", help, gauge, self.commands_waiting)?;
        writer.single(
            "gateway_commands_written",
            "Commands written to gateways",
            counter,
            self.commands_written,
        )
    }
}

fn write_rollout(writer: &mut Writer<'_, '_>) -> fmt::Result {
    writer.rollout_gauge(
        "headroom_amperes",
        "Left at the grid connection beside the worst case of what EVSEs may be following, by line",
        |rollout| {
            let lines = rollout
                .places
                .first()
                .map(|root| root.headroom.line)
                .unwrap_or_default();
            let limited = PHASES.into_iter().zip(lines);
            let limited = limited.filter_map(|(phase, line)| Some((Some(("phase", phase)), amperes(line?.deciamps()))));
            limited.collect()
        },
    )?;
    writer.rollout_gauge(
        "headroom_watts",
        "Left at the grid connection beside the worst case of what EVSEs may be following, in total",
        |rollout| {
            let total = rollout.places.first().and_then(|root| root.headroom.total);
            total.into_iter().map(|total| (None, total.watts() as f64)).collect()
        },
    )?;
    writer.rollout_gauge(
        "open_attempts",
        "Transmissions that count and have no definite answer",
        |rollout| {
            let open: usize = rollout.evses.iter().map(EvseStatus::open_attempts).sum();
            vec![(None, open as f64)]
        },
    )?;
    writer.rollout_gauge(
        "reserved_unused_watts",
        "Power held for EVSEs beyond what their latest profiles allow",
        |rollout| vec![(None, rollout.unused().watts() as f64)],
    )?;
    writer.rollout_gauge("evses", "EVSEs by how far they have been seen to obey", |rollout| {
        let count = |trust: Trust| {
            rollout
                .evses
                .iter()
                .filter(|evse| evse.in_site && evse.trust == trust)
                .count()
        };
        let counts = TRUSTS.map(|(trust, name)| (Some(("trust", name)), count(trust) as f64));
        counts.to_vec()
    })?;
    writer.rollout_gauge("gateway_up", "Whether the site's gateway is connected", |rollout| {
        vec![(None, f64::from(u8::from(rollout.gateway_connected)))]
    })
}

fn write_site(writer: &mut Writer<'_, '_>) -> fmt::Result {
    writer.gauge("alarms", "Alarms that hold, by kind", |site| {
        let counts = AlarmKind::ALL.iter().zip(site.alarms);
        counts
            .map(|(kind, count)| (labels(site, Some(("kind", kind.name()))), count as f64))
            .collect()
    })?;
    writer.counter("commands_sent", "Commands handed to the gateway, by cause", |site| {
        let counts = CAUSES.into_iter().zip(site.commands);
        let counts = counts.map(|(of, count)| (labels(site, Some(("cause", cause(of)))), count));
        counts.collect()
    })?;
    writer.times(
        "shed_seconds",
        "From when a cut, pause or stop was asked for until the last decrease for it was sent",
        |site| &site.sheds,
    )?;
    writer.times("search_seconds", "Time that the search of a plan took", |site| {
        &site.searches
    })?;
    writer.times("append_seconds", "Time that an append to the journal took", |site| {
        &site.appends
    })?;
    writer.counter("journal_entries", "Entries appended to the journal", |site| {
        vec![(labels(site, None), site.entries)]
    })?;
    writer.counter(
        "requests_refused",
        "Requests refused because the site's queue was full",
        |site| vec![(labels(site, None), site.refused)],
    )?;
    writer.gauge("requests_waiting", "Requests that wait for the site", |site| {
        vec![(labels(site, None), site.waiting as f64)]
    })
}
