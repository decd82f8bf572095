//! A site's state as a record, so that a start need not read the whole journal.
//!
//! Decides the form: facts and the roll-out's ledger are journal entries, sessions are kept as ended ones are. What is read back
//! equals what was written.

use super::alarms::{alarms, alarms_message};
use super::overloads::{watch, watch_messages};
use crate::domain::event::{Event, ForecastKind, Receipt, Recorded};
use crate::domain::ids::SessionId;
use crate::domain::rejection::Rejection;
use crate::engine::ports::{AlarmsImage, Overloads, SiteImage};
use crate::units::{Instant, WattSeconds, Watts};
use crate::wire::common::{list, read};
use crate::wire::journal::{ended_session, ended_session_message, entry_message, recorded, request, request_message};
use crate::wire::journal_proto as proto;

pub fn snapshot_message(image: &SiteImage) -> proto::Snapshot {
    let entry = |at: Instant, event: Event| {
        entry_message(&Recorded {
            sequence: image.sequence,
            at,
            event,
            request: None,
        })
    };
    proto::Snapshot {
        last_at_unix_seconds: image.last_at.unix_secs(),
        facts: facts(image)
            .into_iter()
            .map(|event| entry(image.last_at, event))
            .collect(),
        ledger: image
            .ledger
            .iter()
            .map(|(at, event)| entry(*at, event.clone()))
            .collect(),
        sessions: image.sessions.iter().map(ended_session_message).collect(),
        assumed: image
            .assumed
            .iter()
            .map(|(session, energy)| proto::AssumedEnergy {
                session_id: session.to_string(),
                watt_second: energy.watt_seconds(),
            })
            .collect(),
        peak_seen_watt: image.peak_seen.watts(),
        requests: image
            .requests
            .iter()
            .map(|(stamp, receipt)| proto::RememberedRequest {
                request: Some(request_message(stamp, &receipt.warnings)),
                sequence: receipt.sequence,
                recorded_at_unix_seconds: receipt.recorded_at.unix_secs(),
            })
            .collect(),
        alarms: Some(alarms_message(&image.alarms)),
        node_watches: watch_messages(&image.overloads),
    }
}

/// What is known about the site, as the events that would say so.
fn facts(image: &SiteImage) -> Vec<Event> {
    let mut facts = Vec::new();
    facts.extend(image.site.clone().map(|spec| Event::SitePut(Box::new(spec))));
    facts.push(Event::SiteStopped { stopped: image.stopped });
    facts.extend(image.grid_limits.iter().cloned().map(Event::GridLimitSet));
    facts.extend(image.prices.clone().map(Event::PricesSet));
    let forecasts = [
        (ForecastKind::BaseLoad, &image.base_load),
        (ForecastKind::Solar, &image.solar),
    ];
    for (kind, power) in forecasts {
        facts.extend(power.clone().map(|power| Event::ForecastSet { kind, power }));
    }
    facts.extend(image.plan.clone().map(|plan| Event::PlanMade(Box::new(plan))));
    let checks = image.evse_checks.iter().cloned();
    facts.extend(checks.map(|check| Event::EvseCheckWentOn(Box::new(check))));
    facts
}

pub fn image(sequence: u64, message: &proto::Snapshot) -> Result<SiteImage, Rejection> {
    read(|faults| {
        let ledger = list(faults, "ledger", &message.ledger, recorded);
        let mut image = SiteImage {
            sequence,
            last_at: Instant::from_unix_secs(message.last_at_unix_seconds),
            site: None,
            ledger: ledger.into_iter().map(|entry| (entry.at, entry.event)).collect(),
            stopped: false,
            grid_limits: Vec::new(),
            prices: None,
            base_load: None,
            solar: None,
            sessions: list(faults, "sessions", &message.sessions, ended_session),
            assumed: list(faults, "assumed", &message.assumed, |assumed| {
                let session = SessionId::parse(&assumed.session_id)?;
                Ok((session, WattSeconds::from_watt_seconds(assumed.watt_second)))
            }),
            plan: None,
            peak_seen: Watts::from_watts(message.peak_seen_watt),
            requests: list(faults, "requests", &message.requests, |remembered| {
                let (stamp, warnings) = request(remembered.request.as_ref().unwrap_or(&proto::Request::default()))?;
                let receipt = Receipt {
                    sequence: remembered.sequence,
                    recorded_at: Instant::from_unix_secs(remembered.recorded_at_unix_seconds),
                    warnings,
                };
                Ok((stamp, receipt))
            }),
            alarms: match &message.alarms {
                Some(message) => faults.part("alarms", alarms(message))?,
                None => AlarmsImage::default(),
            },
            evse_checks: Vec::new(),
            overloads: Overloads::new(list(faults, "node_watches", &message.node_watches, watch)),
        };
        for fact in list(faults, "facts", &message.facts, recorded) {
            take_in(&mut image, fact.event);
        }
        Some(image)
    })
}

fn take_in(image: &mut SiteImage, fact: Event) {
    match fact {
        Event::SitePut(spec) => image.site = Some(*spec),
        Event::SiteStopped { stopped } => image.stopped = stopped,
        Event::GridLimitSet(limit) => image.grid_limits.push(limit),
        Event::PricesSet(prices) => image.prices = Some(prices),
        Event::ForecastSet { kind, power } => match kind {
            ForecastKind::BaseLoad => image.base_load = Some(power),
            ForecastKind::Solar => image.solar = Some(power),
        },
        Event::PlanMade(plan) => image.plan = Some(*plan),
        Event::EvseCheckWentOn(check) => image.evse_checks.push(*check),
        // No other event is written as a fact.
        _ => {}
    }
}

#[cfg(test)]
pub mod samples {
    use super::*;
    use crate::domain::event::RequestStamp;
    use crate::domain::ids::RequestId;
    use crate::wire::samples;

    /// An image in which nothing has its usual value, with a ledger of these entries.
    pub fn image_with(sequence: u64, ledger: Vec<Recorded>) -> SiteImage {
        let mut facts = SiteImage {
            sequence,
            last_at: samples::at(1_800_000_123),
            site: Some(samples::site()),
            ledger: ledger.into_iter().map(|entry| (entry.at, entry.event)).collect(),
            stopped: true,
            grid_limits: vec![samples::once_limit(), samples::weekly_limit()],
            prices: None,
            base_load: None,
            solar: None,
            sessions: vec![samples::ended_session()],
            assumed: vec![(samples::session().id, WattSeconds::from_watt_seconds(4_321))],
            plan: None,
            peak_seen: Watts::from_watts(98_765),
            requests: vec![(
                RequestStamp {
                    id: RequestId::parse("call-1").expect("is an id"),
                    body_hash: [7; 32],
                    by: None,
                },
                Receipt {
                    sequence: 3,
                    recorded_at: samples::at(1_800_000_001),
                    warnings: vec!["mind the gap".to_owned()],
                },
            )],
            alarms: crate::store::alarms::sample_image(),
            overloads: crate::store::overloads::sample_watches(),
            evse_checks: Vec::new(),
        };
        for event in samples::events() {
            if matches!(
                event,
                Event::PricesSet(_) | Event::ForecastSet { .. } | Event::PlanMade(_) | Event::EvseCheckWentOn(_)
            ) {
                take_in(&mut facts, event);
            }
        }
        facts
    }

    #[test]
    fn an_image_is_read_back_as_it_was_written() {
        let written = image_with(42, samples::journal());
        assert!(written.prices.is_some() && written.plan.is_some() && written.evse_checks.len() == 2);
        assert!(written.base_load.is_some() || written.solar.is_some());
        assert_eq!(image(42, &snapshot_message(&written)).unwrap(), written);
    }
}
