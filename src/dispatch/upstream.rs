//! What a gateway says, read.
//!
//! Decides what is missing or has no meaning in a message. Whether the revision of an answer was ever sent is decided by the engine.

use crate::domain::event::Event;
use crate::domain::ids::{EvseId, GatewayId, SiteId, TenantId};
use crate::domain::profile::{Answer, Revision};
use crate::domain::rejection::{Faults, Rejection};
use crate::domain::session::MeterSample;
use crate::units::Instant;
use crate::wire::common::{bounded, one_of, optional_id, read};
use crate::wire::meter::meter_samples;
use crate::wire::proto;
use proto::CommandResult;
use proto::connect_request::Message;

/// A rejection's reason is kept only this far.
const MAX_REASON_CHARS: usize = 200;
/// EVSEs of one gateway, which is two of the largest sites.
const MAX_APPLIED: usize = 20_000;

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// `None`: whose token it has.
    pub(super) tenant: Option<TenantId>,
    pub(super) gateway: GatewayId,
    pub(super) fences: bool,
    /// What each EVSE follows and what is under way to it, in the order of the message.
    pub(super) known: Vec<(SiteId, Event)>,
}

/// What a message says once the hello is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    Event { site: SiteId, event: Event },
    Readings { site: SiteId, samples: Vec<MeterSample> },
    Alive,
}

impl Statement {
    /// The site it is about.
    pub(super) fn site(&self) -> Option<&SiteId> {
        match self {
            Self::Event { site, .. } | Self::Readings { site, .. } => Some(site),
            Self::Alive => None,
        }
    }
}

pub(super) fn hello(message: &proto::GatewayHello) -> Result<Hello, Rejection> {
    nested("hello", read_hello(message))
}

fn read_hello(message: &proto::GatewayHello) -> Result<Hello, Rejection> {
    read(|faults| {
        let tenant = optional_id(faults, "tenant_id", &message.tenant_id, TenantId::parse);
        let gateway = faults.field("gateway_id", GatewayId::parse(&message.gateway_id));
        let mut known = bounded(faults, "applied", &message.applied, MAX_APPLIED, applied);
        known.extend(bounded(
            faults,
            "on_its_way",
            &message.on_its_way,
            MAX_APPLIED,
            on_its_way,
        ));
        Some(Hello {
            tenant,
            gateway: gateway?,
            fences: message.fences_durably,
            known,
        })
    })
}

fn applied(message: &proto::EvseRevision) -> Result<(SiteId, Event), Rejection> {
    let (site, evse, revision) = evse_revision(message)?;
    let revision = Some(revision);
    Ok((site, Event::ActiveProfileReported { evse, revision }))
}

fn on_its_way(message: &proto::EvseRevision) -> Result<(SiteId, Event), Rejection> {
    let (site, evse, revision) = evse_revision(message)?;
    Ok((site, Event::CommandOnItsWay { evse, revision }))
}

fn evse_revision(message: &proto::EvseRevision) -> Result<(SiteId, EvseId, Revision), Rejection> {
    read(|faults| {
        let (site, evse) = site_and_evse(faults, &message.site_id, &message.evse_id);
        let revision = at_least(1, faults, "revision", message.revision);
        Some((site?, evse?, Revision::new(revision?)))
    })
}

/// `now` is the service's clock.
pub(super) fn statement(message: Option<&Message>, now: Instant) -> Result<Statement, Rejection> {
    match message {
        Some(Message::Answer(answer)) => nested("answer", command_answer(answer)),
        Some(Message::Active(active)) => nested("active", active_profile(active)),
        Some(Message::Readings(message)) => nested("readings", readings(message, now)),
        Some(Message::Heartbeat(_)) => Ok(Statement::Alive),
        Some(Message::Hello(_)) => Err(Rejection::one(
            "hello",
            "is only for the first message",
            "another hello",
            "answer, active, readings or heartbeat",
        )),
        None => Err(Rejection::one(
            "message",
            "is required",
            "",
            "answer, active, readings or heartbeat",
        )),
    }
}

fn nested<T>(field: &str, part: Result<T, Rejection>) -> Result<T, Rejection> {
    read(|faults| faults.part(field, part))
}

fn command_answer(message: &proto::CommandAnswer) -> Result<Statement, Rejection> {
    read(|faults| {
        let (site, evse) = site_and_evse(faults, &message.site_id, &message.evse_id);
        let revision = at_least(1, faults, "revision", message.revision);
        let attempt = at_least(1, faults, "attempt", message.attempt.into());
        let answer = faults.field("result", answer(message));
        Some(Statement::Event {
            site: site?,
            event: Event::CommandAnswered {
                evse: evse?,
                revision: Revision::new(revision?),
                attempt: u32::try_from(attempt?).ok()?,
                answer: answer?,
            },
        })
    })
}

fn answer(message: &proto::CommandAnswer) -> Result<Answer, Rejection> {
    let all = [
        CommandResult::Forwarded,
        CommandResult::Accepted,
        CommandResult::Rejected,
    ];
    let result = one_of(message.result, &all, |result| result, CommandResult::as_str_name)?;
    Ok(match result {
        CommandResult::Accepted => Answer::Accepted,
        CommandResult::Rejected => Answer::Rejected {
            reason: message.reason.chars().take(MAX_REASON_CHARS).collect(),
        },
        CommandResult::Forwarded | CommandResult::Unspecified => Answer::Forwarded,
    })
}

fn active_profile(message: &proto::ActiveProfile) -> Result<Statement, Rejection> {
    read(|faults| {
        let (site, evse) = site_and_evse(faults, &message.site_id, &message.evse_id);
        let revision = at_least(0, faults, "revision", message.revision)?;
        let event = Event::ActiveProfileReported {
            evse: evse?,
            revision: (revision > 0).then(|| Revision::new(revision)),
        };
        Some(Statement::Event { site: site?, event })
    })
}

fn readings(message: &proto::GatewayReadings, now: Instant) -> Result<Statement, Rejection> {
    read(|faults| {
        let site = faults.field("site_id", SiteId::parse(&message.site_id));
        let samples = faults.part("", meter_samples(&message.readings, now));
        Some(Statement::Readings {
            site: site?,
            samples: samples?,
        })
    })
}

fn site_and_evse(faults: &mut Faults, site: &str, evse: &str) -> (Option<SiteId>, Option<EvseId>) {
    let site = faults.field("site_id", SiteId::parse(site));
    let evse = faults.field("evse_id", EvseId::parse(evse));
    (site, evse)
}

fn at_least(least: u64, faults: &mut Faults, field: &str, value: i64) -> Option<u64> {
    let number = u64::try_from(value).ok().filter(|number| *number >= least);
    faults.require(
        number.is_some(),
        field,
        "is out of range",
        value,
        format_args!("{least} or more"),
    );
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults<T: std::fmt::Debug>(read: Result<T, Rejection>) -> Vec<String> {
        read.unwrap_err().faults().iter().map(ToString::to_string).collect()
    }

    fn read_answer(answer: proto::CommandAnswer) -> Result<Statement, Rejection> {
        statement(Some(&Message::Answer(answer)), Instant::from_unix_secs(0))
    }

    fn valid_answer() -> proto::CommandAnswer {
        proto::CommandAnswer {
            site_id: "s".to_owned(),
            evse_id: "e".to_owned(),
            revision: 7,
            attempt: 2,
            result: CommandResult::Rejected as i32,
            reason: "no".to_owned(),
        }
    }

    #[test]
    fn an_answer_becomes_an_event_of_its_site() {
        assert_eq!(
            read_answer(valid_answer()).unwrap(),
            Statement::Event {
                site: SiteId::parse("s").unwrap(),
                event: Event::CommandAnswered {
                    evse: EvseId::parse("e").unwrap(),
                    revision: Revision::new(7),
                    attempt: 2,
                    answer: Answer::Rejected {
                        reason: "no".to_owned()
                    },
                },
            }
        );
    }

    #[test]
    fn every_fault_of_an_answer_is_told() {
        let id = "1 to 64 printable ASCII characters without spaces";
        assert_eq!(
            faults(read_answer(proto::CommandAnswer::default())),
            [
                format!("answer.site_id: is required; got nothing, allowed: {id}"),
                format!("answer.evse_id: is required; got nothing, allowed: {id}"),
                "answer.revision: is out of range; got 0, allowed: 1 or more".to_owned(),
                "answer.attempt: is out of range; got 0, allowed: 1 or more".to_owned(),
                "answer.result: is required; got nothing, allowed: COMMAND_RESULT_FORWARDED, COMMAND_RESULT_ACCEPTED, \
                 COMMAND_RESULT_REJECTED"
                    .to_owned(),
            ]
        );
    }

    #[test]
    fn a_long_reason_is_cut() {
        let answer = proto::CommandAnswer {
            reason: "é".repeat(10_000),
            ..valid_answer()
        };
        let Ok(Statement::Event {
            event:
                Event::CommandAnswered {
                    answer: Answer::Rejected { reason },
                    ..
                },
            ..
        }) = read_answer(answer)
        else {
            panic!("the answer is valid");
        };
        assert_eq!(reason.chars().count(), MAX_REASON_CHARS);
    }

    #[test]
    fn revision_zero_is_no_profile_of_ours_where_that_means_something() {
        let active = |revision| {
            let active = proto::ActiveProfile {
                site_id: "s".to_owned(),
                evse_id: "e".to_owned(),
                revision,
            };
            statement(Some(&Message::Active(active)), Instant::from_unix_secs(0))
        };
        let reported = |revision| Statement::Event {
            site: SiteId::parse("s").unwrap(),
            event: Event::ActiveProfileReported {
                evse: EvseId::parse("e").unwrap(),
                revision,
            },
        };
        assert_eq!(active(0).unwrap(), reported(None));
        assert_eq!(active(3).unwrap(), reported(Some(Revision::new(3))));
        assert_eq!(
            faults(active(-1)),
            ["active.revision: is out of range; got -1, allowed: 0 or more"]
        );
        let entry = proto::EvseRevision {
            site_id: "s".to_owned(),
            evse_id: "e".to_owned(),
            revision: 0,
        };
        assert_eq!(
            faults(applied(&entry)),
            ["revision: is out of range; got 0, allowed: 1 or more"]
        );
    }

    #[test]
    fn a_hello_that_names_more_evses_than_any_gateway_has_is_not_read() {
        let message = proto::GatewayHello {
            tenant_id: "t".to_owned(),
            gateway_id: "g".to_owned(),
            applied: vec![proto::EvseRevision::default(); MAX_APPLIED + 1],
            ..Default::default()
        };
        assert_eq!(
            faults(hello(&message)),
            ["hello.applied: has too many items; got 20001, allowed: at most 20000"]
        );
    }

    #[test]
    fn a_second_hello_and_an_empty_message_say_nothing() {
        let now = Instant::from_unix_secs(0);
        assert_eq!(
            faults(statement(Some(&Message::Hello(proto::GatewayHello::default())), now)).len(),
            1
        );
        assert_eq!(faults(statement(None, now)).len(), 1);
    }
}
