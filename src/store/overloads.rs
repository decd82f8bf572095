//! What is kept of the meters of nodes, as part of a site's snapshot.
//!
//! Decides the form. What is read back equals what was written; a snapshot of before there were such meters has none.

use crate::domain::ids::NodeId;
use crate::domain::overload::{Gauge, Shed};
use crate::domain::rejection::Rejection;
use crate::engine::ports::{NodeWatch, Overloads};
use crate::units::Instant;
use crate::wire::common::{list, read};
use crate::wire::journal_proto as proto;

pub fn watch_messages(overloads: &Overloads) -> Vec<proto::NodeWatch> {
    let watches = overloads.watches().map(|(node, watch)| proto::NodeWatch {
        node_id: node.to_string(),
        last_at_unix_seconds: watch.last_at.unix_secs(),
        gauges: watch.gauges.iter().map(gauge_message).collect(),
    });
    watches.collect()
}

pub fn watch(message: &proto::NodeWatch) -> Result<(NodeId, NodeWatch), Rejection> {
    read(|faults| {
        let node = faults.field("node_id", NodeId::parse(&message.node_id));
        let gauges = list(faults, "gauges", &message.gauges, |message| Ok(gauge(message)));
        let count = gauges.len();
        let gauges = gauges.try_into().ok();
        faults.require(gauges.is_some(), "gauges", "has a wrong length", count, "four");
        let watch = NodeWatch {
            last_at: Instant::from_unix_secs(message.last_at_unix_seconds),
            gauges: gauges?,
        };
        Some((node?, watch))
    })
}

fn gauge_message(gauge: &Gauge) -> proto::Gauge {
    proto::Gauge {
        read_at_unix_seconds: gauge.last.map(|(at, _)| at.unix_secs()),
        load: gauge.last.map_or(0, |(_, load)| load),
        limit: gauge.limit,
        limit_fell_at_unix_seconds: gauge.fell_at.map(Instant::unix_secs),
        used: gauge.used,
        shed_since_unix_seconds: gauge.shed.map(|shed| shed.since.unix_secs()),
        peak: gauge.shed.map_or(0, |shed| shed.peak),
        below_since_unix_seconds: gauge.below_since.map(Instant::unix_secs),
        times: gauge.times,
    }
}

fn gauge(message: &proto::Gauge) -> Gauge {
    let at = Instant::from_unix_secs;
    Gauge {
        last: message.read_at_unix_seconds.map(|secs| (at(secs), message.load)),
        limit: message.limit,
        fell_at: message.limit_fell_at_unix_seconds.map(at),
        used: message.used,
        shed: message.shed_since_unix_seconds.map(|secs| Shed {
            since: at(secs),
            peak: message.peak,
        }),
        below_since: message.below_since_unix_seconds.map(at),
        times: message.times,
    }
}

/// Watches in which nothing has its usual value.
#[cfg(test)]
pub(super) fn sample_watches() -> Overloads {
    let at = Instant::from_unix_secs;
    let gauge = |number: i64| Gauge {
        last: Some((at(1_800_000_100), 640 + number)),
        limit: Some(630),
        fell_at: Some(at(1_800_000_090 + number)),
        used: 123_456_789 + number,
        shed: Some(Shed {
            since: at(1_800_000_099),
            peak: 650 + number,
        }),
        below_since: Some(at(1_800_000_080)),
        times: 3,
    };
    let watch = NodeWatch {
        last_at: at(1_800_000_100),
        gauges: [gauge(0), gauge(1), Gauge::default(), gauge(3)],
    };
    Overloads::new([(NodeId::parse("grid").expect("is an id"), watch)])
}
