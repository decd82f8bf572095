//! What is kept of a site's alarms, as part of its snapshot.
//!
//! Decides the form. What is read back equals what was written; a snapshot of before there were alarms has none, and the next entry
//! has the site judged.

use crate::domain::alarm::{Alarm, AlarmKind, Subject};
use crate::domain::ids::{EvseId, SessionId};
use crate::domain::rejection::Rejection;
use crate::engine::ports::{AlarmsImage, Contradiction, MeterWatch, Meters};
use crate::units::{Instant, WattSeconds};
use crate::wire::common::{list, optional_id, read, required};
use crate::wire::journal::{alarm, alarm_message, sample, sample_message};
use crate::wire::journal_proto as proto;
use proto::meter_watch::{Contradiction as Arm, EnergyPair};

pub fn alarms_message(image: &AlarmsImage) -> proto::Alarms {
    proto::Alarms {
        due_unix_seconds: image.due.unix_secs(),
        next_number: image.next_number,
        pending: image.pending.iter().map(pending_message).collect(),
        active: image.active.iter().map(alarm_message).collect(),
        cleared: image.cleared.iter().map(alarm_message).collect(),
        meters: (image.meters.watches())
            .map(|(_, watch)| watch_message(watch))
            .collect(),
    }
}

pub fn alarms(message: &proto::Alarms) -> Result<AlarmsImage, Rejection> {
    read(|faults| {
        let pending = list(faults, "pending", &message.pending, alarm);
        let meters = list(faults, "meters", &message.meters, watch);
        Some(AlarmsImage {
            due: Instant::from_unix_secs(message.due_unix_seconds),
            next_number: message.next_number,
            pending: (pending.into_iter())
                .map(|alarm| (alarm.kind, alarm.subject, alarm.since))
                .collect(),
            active: list(faults, "active", &message.active, alarm),
            cleared: list(faults, "cleared", &message.cleared, alarm),
            meters: Meters::new(meters),
        })
    })
}

/// Of an alarm that is yet to be, only this is known.
fn pending_message((kind, subject, since): &(AlarmKind, Subject, Instant)) -> proto::Alarm {
    alarm_message(&Alarm {
        number: 0,
        kind: *kind,
        subject: subject.clone(),
        since: *since,
        gone_since: None,
        cleared_at: None,
        times: 0,
        what: String::new(),
        evses: Vec::new(),
        until: None,
    })
}

fn watch_message(watch: &MeterWatch) -> proto::MeterWatch {
    let pair = |first: WattSeconds, second: WattSeconds| EnergyPair {
        first_watt_second: first.watt_seconds(),
        second_watt_second: second.watt_seconds(),
    };
    let (session, last) = (watch.last.as_ref()).map_or((None, None), |(session, last)| (session.as_ref(), Some(last)));
    proto::MeterWatch {
        last: last.map(sample_message),
        session_id: session.map(ToString::to_string).unwrap_or_default(),
        drawing_since_unix_seconds: watch.drawing_since.map(Instant::unix_secs),
        counted_watt_second: watch.counted.watt_seconds(),
        by_power_watt_second: watch.by_power.watt_seconds(),
        contradicted_at_unix_seconds: watch.contradiction.map(|(at, _)| at.unix_secs()),
        contradiction: watch.contradiction.map(|(_, contradiction)| match contradiction {
            Contradiction::DrawsWithoutSession => Arm::DrawsWithoutSession(true),
            Contradiction::RunsBackwards { from, to } => Arm::RunsBackwards(pair(from, to)),
            Contradiction::FarApart { counted, by_power } => Arm::FarApart(pair(counted, by_power)),
        }),
    }
}

fn watch(message: &proto::MeterWatch) -> Result<(EvseId, MeterWatch), Rejection> {
    let energy = WattSeconds::from_watt_seconds;
    read(|faults| {
        let last = required(faults, "last", message.last.as_ref(), "a reading")?;
        let last = faults.part("last", sample(last))?;
        let session = optional_id(faults, "session_id", &message.session_id, SessionId::parse);
        let contradiction = message.contradiction.map(|arm| match arm {
            Arm::DrawsWithoutSession(_) => Contradiction::DrawsWithoutSession,
            Arm::RunsBackwards(pair) => Contradiction::RunsBackwards {
                from: energy(pair.first_watt_second),
                to: energy(pair.second_watt_second),
            },
            Arm::FarApart(pair) => Contradiction::FarApart {
                counted: energy(pair.first_watt_second),
                by_power: energy(pair.second_watt_second),
            },
        });
        let contradicted_at = message.contradicted_at_unix_seconds.map(Instant::from_unix_secs);
        let watch = MeterWatch {
            last: Some((session, last.clone())),
            drawing_since: message.drawing_since_unix_seconds.map(Instant::from_unix_secs),
            counted: energy(message.counted_watt_second),
            by_power: energy(message.by_power_watt_second),
            contradiction: contradicted_at.zip(contradiction),
        };
        Some((last.evse, watch))
    })
}

/// An image in which nothing has its usual value.
#[cfg(test)]
pub(super) fn sample_image() -> AlarmsImage {
    use crate::domain::ids::{GatewayId, NodeId};
    use crate::domain::session::MeterSample;
    let at = Instant::from_unix_secs;
    let evse = |number: usize| EvseId::parse(&format!("evse-{number}")).expect("is an id");
    let gateway = Subject::Gateway(GatewayId::parse("gateway").expect("is an id"));
    let alarm = |number: u64, kind: AlarmKind, subject: Subject| Alarm {
        number,
        kind,
        subject,
        since: at(1_800_000_000),
        gone_since: Some(at(1_800_000_100)),
        cleared_at: None,
        times: 3,
        what: "201 dA of 200 dA".to_owned(),
        evses: vec![evse(1), evse(2)],
        until: Some(at(1_800_000_900)),
    };
    let (first, second) = (energy(5), energy(7));
    let contradictions = [
        Contradiction::DrawsWithoutSession,
        Contradiction::RunsBackwards {
            from: second,
            to: first,
        },
        Contradiction::FarApart {
            counted: first,
            by_power: second,
        },
    ];
    let watches = contradictions.into_iter().enumerate().map(|(number, contradiction)| {
        let last = MeterSample {
            evse: evse(number),
            at: at(1_800_000_050),
            session_energy: Some(first),
            power: None,
            currents: None,
        };
        let watch = MeterWatch {
            last: Some((SessionId::parse("session").ok().filter(|_| number > 0), last)),
            drawing_since: Some(at(1_800_000_001)),
            counted: first,
            by_power: second,
            contradiction: Some((at(1_800_000_002), contradiction)),
        };
        (evse(number), watch)
    });
    let node = Subject::Node(NodeId::parse("grid").expect("is an id"));
    let cleared = Alarm {
        cleared_at: Some(at(1_800_000_200)),
        ..alarm(1, AlarmKind::AboveAvailable, node)
    };
    AlarmsImage {
        due: at(1_800_000_051),
        next_number: 12,
        pending: vec![(AlarmKind::GatewaySilent, gateway, at(1_800_000_040))],
        active: vec![
            alarm(2, AlarmKind::EvseDisobeys, Subject::Evse(evse(3))),
            alarm(3, AlarmKind::StoreLost, Subject::Site),
        ],
        cleared: vec![cleared],
        meters: Meters::new(watches),
    }
}

#[cfg(test)]
fn energy(watt_seconds: i64) -> WattSeconds {
    WattSeconds::from_watt_seconds(watt_seconds)
}
