//! The journal's messages: every event, written so that reading gives it back exactly.
//!
//! Decides how an event is kept for ever. What is read was checked when it happened, so only what would have no meaning is
//! refused; bounds that a later version tightens do not make an old journal unreadable. Never writes a driver's token.

mod alarms;
mod plan;
#[cfg(test)]
mod tests;

pub use alarms::{alarm, alarm_message};

use super::commissioning::{state, state_message};
use super::common::{list, one_of, optional_id, read, required};
use super::driver::{driver, driver_message};
use super::session::{session_override, session_override_message, session_spec, session_spec_message};
use super::site::{
    forecast_kind, forecast_kind_message, forecast_messages, grid_limit, grid_limit_message, price_messages,
    site_message, site_spec,
};
use super::{journal_proto as proto, proto as v1};
use crate::domain::event::{Event, Recorded, RequestStamp};
use crate::domain::ids::{
    ConnectorId, EvseId, GatewayId, GridLimitId, NodeId, RequestId, SessionId, TenantId, TokenId,
};
use crate::domain::overload::NodeReading;
use crate::domain::profile::{Answer, Revision};
use crate::domain::rejection::{Faults, Rejection};
use crate::domain::session::{Ended, MeterSample, Session, SessionSpec, Stated};
use crate::domain::timeline::Timeline;
use crate::units::{DeciAmps, Instant, MicrosPerKwh, WattSeconds, Watts};
use prost_types::Timestamp;
use proto::entry::Event as Arm;

const WATT_SECONDS_PER_WATT_HOUR: i64 = 3_600;

pub fn entry_message(recorded: &Recorded) -> proto::Entry {
    proto::Entry {
        sequence: recorded.sequence,
        at_unix_seconds: recorded.at.unix_secs(),
        request: recorded
            .request
            .as_ref()
            .map(|(stamp, warnings)| request_message(stamp, warnings)),
        event: Some(event_message(&recorded.event)),
    }
}

pub fn recorded(message: &proto::Entry) -> Result<Recorded, Rejection> {
    read(|faults| {
        let request = message.request.as_ref().map(request);
        let request = request.map_or(Some(None), |request| faults.part("request", request).map(Some));
        let arm = required(faults, "event", message.event.as_ref(), "one of the events")?;
        let event = event(faults, arm);
        Some(Recorded {
            sequence: message.sequence,
            at: Instant::from_unix_secs(message.at_unix_seconds),
            event: event?,
            request: request?,
        })
    })
}

pub fn request_message(stamp: &RequestStamp, warnings: &[String]) -> proto::Request {
    proto::Request {
        id: stamp.id.to_string(),
        body_hash: stamp.body_hash.to_vec(),
        warnings: warnings.to_vec(),
        by: stamp.by.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

pub fn request(message: &proto::Request) -> Result<(RequestStamp, Vec<String>), Rejection> {
    read(|faults| {
        let id = faults.field("id", RequestId::parse(&message.id));
        let body_hash = <[u8; 32]>::try_from(message.body_hash.as_slice());
        faults.require(
            body_hash.is_ok(),
            "body_hash",
            "has a wrong length",
            format_args!("{} bytes", message.body_hash.len()),
            "32 bytes",
        );
        let stamp = RequestStamp {
            id: id?,
            body_hash: body_hash.ok()?,
            by: optional_id(faults, "by", &message.by, TokenId::parse),
        };
        Some((stamp, message.warnings.clone()))
    })
}

fn event_message(event: &Event) -> Arm {
    match event {
        Event::SitePut(spec) => Arm::SitePut(proto::SitePut {
            tenant_id: spec.tenant.to_string(),
            site: Some(site_message(spec)),
        }),
        Event::SiteDeleted => Arm::SiteDeleted(proto::SiteDeleted {}),
        Event::SiteStopped { stopped } => Arm::SiteStopped(proto::SiteStopped { stopped: *stopped }),
        Event::GridLimitSet(limit) => Arm::GridLimitSet(grid_limit_message(limit)),
        Event::GridLimitRemoved(id) => Arm::GridLimitRemoved(proto::GridLimitRemoved {
            grid_limit_id: id.to_string(),
        }),
        Event::PricesSet(prices) => Arm::PricesSet(proto::PricesSet {
            prices: price_messages(prices),
        }),
        Event::ForecastSet { kind, power } => Arm::ForecastSet(proto::ForecastSet {
            kind: forecast_kind_message(*kind).into(),
            points: forecast_messages(power),
        }),
        Event::SessionStarted(spec) => Arm::SessionStarted(stated_message(spec)),
        Event::SessionUpdated(spec) => Arm::SessionUpdated(stated_message(spec)),
        Event::SessionOverridden { session, overridden } => Arm::SessionOverridden(proto::SessionOverridden {
            session_id: session.to_string(),
            session_override: session_override_message(*overridden).into(),
        }),
        Event::DriverKnown { session, driver } => Arm::DriverKnown(proto::DriverKnown {
            session_id: session.to_string(),
            driver: Some(driver_message(driver)),
        }),
        Event::SessionEnded { session, at, reason } => Arm::SessionEnded(proto::SessionEnded {
            session_id: session.to_string(),
            at_unix_seconds: at.unix_secs(),
            reason: reason.clone(),
        }),
        Event::Metered(samples) => Arm::Metered(proto::Metered {
            samples: samples.iter().map(sample_message).collect(),
        }),
        Event::NodesMetered(readings) => Arm::NodesMetered(proto::NodesMetered {
            samples: readings.iter().map(node_sample_message).collect(),
        }),
        Event::EvseCheckAsked { evse, wanted } => Arm::EvseCheckAsked(proto::EvseCheckAsked {
            evse_id: evse.to_string(),
            wanted: *wanted,
        }),
        Event::EvseCheckWentOn(check) => Arm::EvseCheckWentOn(state_message(check)),
        Event::PlanMade(plan) => Arm::PlanMade(plan::plan_message(plan)),
        Event::CommandsIssued(commands) => Arm::CommandsIssued(proto::CommandsIssued {
            commands: commands.iter().map(plan::command_message).collect(),
        }),
        Event::CommandAnswered {
            evse,
            revision,
            attempt,
            answer,
        } => Arm::CommandAnswered(answered_message(evse, *revision, *attempt, answer)),
        Event::ActiveProfileReported { evse, revision } => Arm::ActiveProfileReported(proto::ActiveProfileReported {
            evse_id: evse.to_string(),
            revision: revision.map(Revision::number),
        }),
        Event::CommandOnItsWay { evse, revision } => Arm::CommandOnItsWay(proto::CommandOnItsWay {
            evse_id: evse.to_string(),
            revision: revision.number(),
        }),
        Event::GatewayConnected { gateway, fences } => Arm::GatewayConnected(proto::GatewayConnected {
            gateway_id: gateway.to_string(),
            fences: *fences,
        }),
        Event::GatewayDisconnected { gateway } => Arm::GatewayDisconnected(proto::GatewayDisconnected {
            gateway_id: gateway.to_string(),
        }),
        Event::JournalRestored => Arm::JournalRestored(proto::JournalRestored {}),
    }
}

fn event(faults: &mut Faults, arm: &Arm) -> Option<Event> {
    match arm {
        Arm::SitePut(put) => {
            let tenant = faults.field("site_put.tenant_id", TenantId::parse(&put.tenant_id));
            let site = required(faults, "site_put.site", put.site.as_ref(), "a site")?;
            let spec = faults.part("site_put.site", site_spec(&tenant?, site))?;
            Some(Event::SitePut(Box::new(spec)))
        }
        Arm::SiteDeleted(_) => Some(Event::SiteDeleted),
        Arm::SiteStopped(stop) => Some(Event::SiteStopped { stopped: stop.stopped }),
        Arm::GridLimitSet(limit) => faults
            .part("grid_limit_set", grid_limit(limit))
            .map(Event::GridLimitSet),
        Arm::GridLimitRemoved(removed) => {
            let id = GridLimitId::parse(&removed.grid_limit_id);
            faults
                .field("grid_limit_removed.grid_limit_id", id)
                .map(Event::GridLimitRemoved)
        }
        Arm::PricesSet(set) => {
            let points = set.prices.iter().map(|point| (point.from, point.micros_per_kwh));
            let prices = faults.part("prices_set.prices", stamped(points))?;
            Some(Event::PricesSet(
                prices.map(|price| MicrosPerKwh::from_micros_per_kwh(*price)),
            ))
        }
        Arm::ForecastSet(set) => {
            let kind = faults.field("forecast_set.kind", forecast_kind(set.kind));
            let points = set.points.iter().map(|point| (point.from, point.power_watt));
            let power = faults.part("forecast_set.points", stamped(points));
            Some(Event::ForecastSet {
                kind: kind?,
                power: power?.map(|watts| Watts::from_watts(*watts)),
            })
        }
        Arm::SessionStarted(message) => {
            let spec = faults.part("session_started", stated(message))?;
            Some(Event::SessionStarted(Box::new(spec)))
        }
        Arm::SessionUpdated(message) => {
            let spec = faults.part("session_updated", stated(message))?;
            Some(Event::SessionUpdated(Box::new(spec)))
        }
        Arm::SessionOverridden(message) => {
            let session = faults.field("session_overridden.session_id", SessionId::parse(&message.session_id));
            let overridden = session_override(message.session_override);
            let overridden = faults.field("session_overridden.session_override", overridden);
            Some(Event::SessionOverridden {
                session: session?,
                overridden: overridden?,
            })
        }
        Arm::DriverKnown(known) => {
            let session = faults.field("driver_known.session_id", SessionId::parse(&known.session_id));
            let driver = required(faults, "driver_known.driver", known.driver.as_ref(), "a driver")
                .and_then(|known| faults.part("driver_known.driver", driver(known)));
            Some(Event::DriverKnown {
                session: session?,
                driver: driver?,
            })
        }
        Arm::SessionEnded(ended) => {
            let session = faults.field("session_ended.session_id", SessionId::parse(&ended.session_id))?;
            Some(Event::SessionEnded {
                session,
                at: Instant::from_unix_secs(ended.at_unix_seconds),
                reason: ended.reason.clone(),
            })
        }
        Arm::Metered(metered) => Some(Event::Metered(list(
            faults,
            "metered.samples",
            &metered.samples,
            sample,
        ))),
        Arm::NodesMetered(metered) => Some(Event::NodesMetered(list(
            faults,
            "nodes_metered.samples",
            &metered.samples,
            node_sample,
        ))),
        Arm::EvseCheckAsked(asked) => {
            let evse = faults.field("evse_check_asked.evse_id", EvseId::parse(&asked.evse_id))?;
            let wanted = asked.wanted;
            Some(Event::EvseCheckAsked { evse, wanted })
        }
        Arm::EvseCheckWentOn(message) => {
            let check = faults.part("evse_check_went_on", state(message))?;
            Some(Event::EvseCheckWentOn(Box::new(check)))
        }
        Arm::PlanMade(message) => {
            let plan = faults.part("plan_made", plan::plan(message))?;
            Some(Event::PlanMade(Box::new(plan)))
        }
        Arm::CommandsIssued(issued) => {
            let commands = list(faults, "commands_issued.commands", &issued.commands, plan::command);
            Some(Event::CommandsIssued(commands))
        }
        Arm::CommandAnswered(message) => faults.part("command_answered", answered(message)),
        Arm::ActiveProfileReported(report) => {
            let evse = faults.field("active_profile_reported.evse_id", EvseId::parse(&report.evse_id))?;
            Some(Event::ActiveProfileReported {
                evse,
                revision: report.revision.map(Revision::new),
            })
        }
        Arm::CommandOnItsWay(message) => {
            let evse = faults.field("command_on_its_way.evse_id", EvseId::parse(&message.evse_id))?;
            let revision = Revision::new(message.revision);
            Some(Event::CommandOnItsWay { evse, revision })
        }
        Arm::GatewayConnected(connected) => {
            let id = GatewayId::parse(&connected.gateway_id);
            let gateway = faults.field("gateway_connected.gateway_id", id)?;
            Some(Event::GatewayConnected {
                gateway,
                fences: connected.fences,
            })
        }
        Arm::GatewayDisconnected(disconnected) => {
            let id = GatewayId::parse(&disconnected.gateway_id);
            let gateway = faults.field("gateway_disconnected.gateway_id", id)?;
            Some(Event::GatewayDisconnected { gateway })
        }
        Arm::JournalRestored(_) => Some(Event::JournalRestored),
    }
}

fn stamped(points: impl ExactSizeIterator<Item = (Option<Timestamp>, i64)>) -> Result<Timeline<i64>, Rejection> {
    timeline(points.map(|(from, value)| (from.unwrap_or_default().seconds, value)))
}

/// A timeline of unix seconds and values, of any length and at any time.
fn timeline(points: impl ExactSizeIterator<Item = (i64, i64)>) -> Result<Timeline<i64>, Rejection> {
    let points: Vec<(Instant, i64)> = points
        .map(|(from, value)| (Instant::from_unix_secs(from), value))
        .collect();
    let ascending = points.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if points.is_empty() || !ascending {
        let allowed = "one point or more, strictly increasing in time";
        return Err(Rejection::one(
            "",
            "is not a timeline",
            format_args!("{} points", points.len()),
            allowed,
        ));
    }
    Ok(Timeline::from_points(points))
}

fn stated_message(spec: &SessionSpec) -> proto::SessionStated {
    let rest = |energy: WattSeconds| energy.watt_seconds().rem_euclid(WATT_SECONDS_PER_WATT_HOUR);
    let has_rates = spec.car.maximum.is_some() || spec.car.minimum.is_some();
    proto::SessionStated {
        spec: Some(session_spec_message(spec)),
        driver: spec.driver.as_ref().map(driver_message),
        need_rest_watt_second: spec.need.value().map_or(0, rest),
        guaranteed_rest_watt_second: rest(spec.guaranteed),
        car_rates_in_any_unit: has_rates && spec.car.unit.is_none(),
    }
}

fn stated(message: &proto::SessionStated) -> Result<SessionSpec, Rejection> {
    read(|faults| {
        let known = message.driver.as_ref().map(driver);
        let known = known.map_or(Some(None), |known| faults.part("driver", known).map(Some));
        let whole: &v1::SessionSpec = required(faults, "spec", message.spec.as_ref(), "a session")?;
        let mut spec = faults.part("spec", session_spec(whole, known?))?;
        let mut rest = |field, value| {
            faults
                .within(field, "Ws", value, 0..=WATT_SECONDS_PER_WATT_HOUR - 1)
                .map(WattSeconds::from_watt_seconds)
        };
        let need_rest = rest("need_rest_watt_second", message.need_rest_watt_second)?;
        spec.need = match spec.need {
            Stated::Given(need) => Stated::Given(need + need_rest),
            Stated::Estimated(need) => Stated::Estimated(need + need_rest),
            Stated::Unknown => Stated::Unknown,
        };
        spec.guaranteed += rest("guaranteed_rest_watt_second", message.guaranteed_rest_watt_second)?;
        if message.car_rates_in_any_unit {
            spec.car.unit = None;
        }
        Some(spec)
    })
}

fn node_sample_message(reading: &NodeReading) -> proto::NodeSample {
    let currents = reading.currents.map(|currents| currents.map(DeciAmps::deciamps));
    proto::NodeSample {
        node_id: reading.node.to_string(),
        at_unix_seconds: reading.at.unix_secs(),
        current_deciampere: currents.map(Vec::from).unwrap_or_default(),
        power_watt: reading.power.map(Watts::watts),
    }
}

fn node_sample(message: &proto::NodeSample) -> Result<NodeReading, Rejection> {
    read(|faults| {
        let node = faults.field("node_id", NodeId::parse(&message.node_id));
        let currents = currents(faults, &message.current_deciampere);
        Some(NodeReading {
            node: node?,
            at: Instant::from_unix_secs(message.at_unix_seconds),
            currents,
            power: message.power_watt.map(Watts::from_watts),
        })
    })
}

/// Of three lines, or of none.
fn currents(faults: &mut Faults, values: &[i64]) -> Option<[DeciAmps; 3]> {
    match *values {
        [] => None,
        [l1, l2, l3] => Some([l1, l2, l3].map(DeciAmps::from_deciamps)),
        ref other => {
            faults.add("current_deciampere", "has a wrong length", other.len(), "none or three");
            None
        }
    }
}

pub fn sample_message(sample: &MeterSample) -> proto::Sample {
    let currents = sample
        .currents
        .as_ref()
        .map(|currents| currents.map(DeciAmps::deciamps));
    proto::Sample {
        evse_id: sample.evse.to_string(),
        at_unix_seconds: sample.at.unix_secs(),
        session_energy_watt_second: sample.session_energy.map(WattSeconds::watt_seconds),
        power_watt: sample.power.map(Watts::watts),
        current_deciampere: currents.map(Vec::from).unwrap_or_default(),
    }
}

pub fn sample(message: &proto::Sample) -> Result<MeterSample, Rejection> {
    read(|faults| {
        let evse = faults.field("evse_id", EvseId::parse(&message.evse_id));
        let currents = currents(faults, &message.current_deciampere);
        Some(MeterSample {
            evse: evse?,
            at: Instant::from_unix_secs(message.at_unix_seconds),
            session_energy: message.session_energy_watt_second.map(WattSeconds::from_watt_seconds),
            power: message.power_watt.map(Watts::from_watts),
            currents,
        })
    })
}

fn answered_message(evse: &EvseId, revision: Revision, attempt: u32, answer: &Answer) -> proto::CommandAnswered {
    let (kind, reason) = match answer {
        Answer::Forwarded => (proto::AnswerKind::Forwarded, ""),
        Answer::Accepted => (proto::AnswerKind::Accepted, ""),
        Answer::Rejected { reason } => (proto::AnswerKind::Rejected, reason.as_str()),
    };
    proto::CommandAnswered {
        evse_id: evse.to_string(),
        revision: revision.number(),
        attempt,
        kind: kind.into(),
        reason: reason.to_owned(),
    }
}

fn answered(message: &proto::CommandAnswered) -> Result<Event, Rejection> {
    use proto::AnswerKind::{Accepted, Forwarded, Rejected};
    read(|faults| {
        let evse = faults.field("evse_id", EvseId::parse(&message.evse_id));
        let all = [Forwarded, Accepted, Rejected];
        let kind = one_of(message.kind, &all, |kind| kind, proto::AnswerKind::as_str_name);
        let answer = match faults.field("kind", kind)? {
            Accepted => Answer::Accepted,
            Rejected => Answer::Rejected {
                reason: message.reason.clone(),
            },
            Forwarded | proto::AnswerKind::Unspecified => Answer::Forwarded,
        };
        Some(Event::CommandAnswered {
            evse: evse?,
            revision: Revision::new(message.revision),
            attempt: message.attempt,
            answer,
        })
    })
}

pub fn ended_session_message(session: &Session) -> proto::EndedSession {
    proto::EndedSession {
        stated: Some(stated_message(&session.spec)),
        connector_id: session.connector.to_string(),
        delivered_watt_second: session.delivered.watt_seconds(),
        session_override: session_override_message(session.overridden).into(),
        last_sample: session.last_sample.as_ref().map(sample_message),
        idle_since_unix_seconds: session.idle_since.map(Instant::unix_secs),
        ended: session.ended.as_ref().map(|ended| proto::ended_session::Ended {
            at_unix_seconds: ended.at.unix_secs(),
            reason: ended.reason.clone(),
        }),
    }
}

pub fn ended_session(message: &proto::EndedSession) -> Result<Session, Rejection> {
    read(|faults| {
        let spec = required(faults, "stated", message.stated.as_ref(), "a session")
            .and_then(|message| faults.part("stated", stated(message)));
        let connector = faults.field("connector_id", ConnectorId::parse(&message.connector_id));
        let overridden = faults.field("session_override", session_override(message.session_override));
        let last_sample = message.last_sample.as_ref().map(sample);
        let last_sample = last_sample.and_then(|sample| faults.part("last_sample", sample));
        Some(Session {
            spec: spec?,
            connector: connector?,
            delivered: WattSeconds::from_watt_seconds(message.delivered_watt_second),
            last_sample,
            idle_since: message.idle_since_unix_seconds.map(Instant::from_unix_secs),
            overridden: overridden?,
            ended: message.ended.as_ref().map(|ended| Ended {
                at: Instant::from_unix_secs(ended.at_unix_seconds),
                reason: ended.reason.clone(),
            }),
        })
    })
}
