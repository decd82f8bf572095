//! Alarms as they are kept in a snapshot.

use super::proto;
use crate::domain::alarm::{Alarm, Subject};
use crate::domain::ids::{EvseId, GatewayId, NodeId};
use crate::domain::rejection::Rejection;
use crate::units::Instant;
use crate::wire::alarm::{alarm_kind, alarm_kind_message};
use crate::wire::common::{list, read};
use proto::alarm::Subject as Arm;

pub fn alarm_message(alarm: &Alarm) -> proto::Alarm {
    proto::Alarm {
        number: alarm.number,
        kind: alarm_kind_message(alarm.kind).into(),
        subject: match &alarm.subject {
            Subject::Site => None,
            Subject::Gateway(id) => Some(Arm::GatewayId(id.to_string())),
            Subject::Node(id) => Some(Arm::NodeId(id.to_string())),
            Subject::Evse(id) => Some(Arm::EvseId(id.to_string())),
        },
        since_unix_seconds: alarm.since.unix_secs(),
        gone_since_unix_seconds: alarm.gone_since.map(Instant::unix_secs),
        cleared_at_unix_seconds: alarm.cleared_at.map(Instant::unix_secs),
        times: alarm.times,
        what: alarm.what.clone(),
        evse_ids: alarm.evses.iter().map(ToString::to_string).collect(),
        until_unix_seconds: alarm.until.map(Instant::unix_secs),
    }
}

pub fn alarm(message: &proto::Alarm) -> Result<Alarm, Rejection> {
    read(|faults| {
        let kind = faults.field("kind", alarm_kind(message.kind));
        let subject = match &message.subject {
            None => Some(Subject::Site),
            Some(Arm::GatewayId(id)) => faults.field("gateway_id", GatewayId::parse(id)).map(Subject::Gateway),
            Some(Arm::NodeId(id)) => faults.field("node_id", NodeId::parse(id)).map(Subject::Node),
            Some(Arm::EvseId(id)) => faults.field("evse_id", EvseId::parse(id)).map(Subject::Evse),
        };
        let evses = list(faults, "evse_ids", &message.evse_ids, |id| EvseId::parse(id));
        Some(Alarm {
            number: message.number,
            kind: kind?,
            subject: subject?,
            since: Instant::from_unix_secs(message.since_unix_seconds),
            gone_since: message.gone_since_unix_seconds.map(Instant::from_unix_secs),
            cleared_at: message.cleared_at_unix_seconds.map(Instant::from_unix_secs),
            times: message.times,
            what: message.what.clone(),
            evses,
            until: message.until_unix_seconds.map(Instant::from_unix_secs),
        })
    })
}
