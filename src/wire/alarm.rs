//! Alarms as they are told.
//!
//! Decides the words of kinds and subjects on the wire. What an alarm means is said in [`crate::domain::alarm`].

use super::common::{one_of, timestamp_message};
use super::proto;
use crate::domain::alarm::{AlarmKind, Severity, SiteAlarm, Subject};
use crate::domain::rejection::Rejection;
use crate::units::Instant;

pub fn alarm_message(told: &SiteAlarm, now: Instant) -> proto::Alarm {
    use proto::alarm::Subject as Arm;
    let alarm = &told.alarm;
    proto::Alarm {
        site_id: told.key.site.to_string(),
        number: alarm.number.cast_signed(),
        kind: alarm_kind_message(alarm.kind).into(),
        severity: severity_message(alarm.kind.severity()).into(),
        subject: match &alarm.subject {
            Subject::Site => None,
            Subject::Gateway(id) => Some(Arm::GatewayId(id.to_string())),
            Subject::Node(id) => Some(Arm::NodeId(id.to_string())),
            Subject::Evse(id) => Some(Arm::EvseId(id.to_string())),
        },
        since: Some(timestamp_message(alarm.since)),
        last_seen: Some(timestamp_message(alarm.last_seen(now))),
        cleared_at: alarm.cleared_at.map(timestamp_message),
        times: i32::try_from(alarm.times).unwrap_or(i32::MAX),
        what: alarm.what.clone(),
        evse_ids: alarm.evses.iter().map(ToString::to_string).collect(),
        until: alarm.until.map(timestamp_message),
        meaning: alarm.kind.meaning().to_owned(),
        advice: alarm.kind.advice().to_owned(),
    }
}

pub fn alarm_kind(number: i32) -> Result<AlarmKind, Rejection> {
    one_of(number, &AlarmKind::ALL, alarm_kind_message, |kind| kind.as_str_name())
}

pub fn alarm_kind_message(kind: AlarmKind) -> proto::AlarmKind {
    match kind {
        AlarmKind::JournalDamaged => proto::AlarmKind::JournalDamaged,
        AlarmKind::SiteBroke => proto::AlarmKind::SiteBroke,
        AlarmKind::StoreLost => proto::AlarmKind::StoreLost,
        AlarmKind::DecreasesUnsent => proto::AlarmKind::DecreasesUnsent,
        AlarmKind::AboveAvailable => proto::AlarmKind::AboveAvailable,
        AlarmKind::LimitCannotBeMet => proto::AlarmKind::LimitCannotBeMet,
        AlarmKind::GatewaySilent => proto::AlarmKind::GatewaySilent,
        AlarmKind::OverloadMeasured => proto::AlarmKind::OverloadMeasured,
        AlarmKind::EvseDisobeys => proto::AlarmKind::EvseDisobeys,
        AlarmKind::MeterDisagrees => proto::AlarmKind::MeterDisagrees,
        AlarmKind::NodeMeterSilent => proto::AlarmKind::NodeMeterSilent,
    }
}

fn severity_message(severity: Severity) -> proto::AlarmSeverity {
    match severity {
        Severity::Warning => proto::AlarmSeverity::Warning,
        Severity::Critical => proto::AlarmSeverity::Critical,
    }
}
