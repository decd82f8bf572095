//! A ledger written as the shortest list of events that makes it again.
//!
//! Decides what of the past a ledger still needs, so that a site's journal can be cut there. What is made from it is never laxer than
//! the ledger was; it may have to be shown obedience once more, and what was sent counts as any car's until it is sent again.

use super::entry::{Entry, Order, Reply, Transmission};
use super::ledger::{Ledger, Link};
use super::may_follow::MayFollow;
use crate::domain::event::Event;
use crate::domain::profile::{Answer, ProfileCommand};
use crate::units::Instant;

/// An event in the order in which the ledger was told.
struct Told {
    order: Order,
    at: Instant,
    event: Event,
    /// For commands: whether the gateway fenced then.
    fenced: Option<bool>,
}

impl Ledger {
    /// Something happened. What is no concern of the ledger's changes nothing.
    ///
    /// An answer to nothing is to be refused before it is recorded ([`Ledger::was_sent`]).
    pub fn tell(&mut self, event: &Event, now: Instant) {
        match event {
            Event::CommandsIssued(commands) => commands.iter().for_each(|command| self.issued(command)),
            Event::CommandAnswered {
                evse,
                revision,
                attempt,
                answer,
            } => {
                let _ = self.answered(evse, *revision, *attempt, answer, now);
            }
            Event::ActiveProfileReported { evse, revision } => self.active_reported(evse, *revision, now),
            Event::CommandOnItsWay { evse, revision } => self.on_its_way(evse, *revision, now),
            Event::GatewayConnected { gateway, fences } => self.gateway_connected(gateway, *fences, now),
            Event::GatewayDisconnected { gateway } => self.gateway_disconnected(gateway),
            Event::Metered(samples) => samples.iter().for_each(|sample| self.metered(sample, now)),
            Event::SessionStarted(spec) => {
                self.session_started(&spec.evse, &spec.id, now);
                self.car_described(&spec.evse, &spec.id, spec.car.phases, now);
            }
            _ => {}
        }
    }

    /// The events from which [`Ledger::new`] for the site as it is becomes a ledger like this one, in order.
    ///
    /// `None` while something counts that no such event can tell: a reservation of an EVSE that the site no longer has, or a station
    /// of which nothing is known for a lease. Keep the journal until then.
    pub fn history(&self) -> Option<Vec<(Instant, Event)>> {
        let cannot_tell =
            |record: &MayFollow| record.unknown_until.is_some() || (!record.in_site && record.is_reserved());
        if self.records().iter().any(cannot_tell) {
            return None;
        }
        let mut told: Vec<Told> = self
            .records()
            .iter()
            .filter(|record| record.in_site)
            .flat_map(of_record)
            .collect();
        // Stable, so that what was learnt at once stays in the order in which it is listed.
        told.sort_by_key(|told| told.order);
        let last = told.last().map_or(Instant::FAR_PAST, |told| told.at);
        let mut fenced_now = false;
        let mut events = Vec::new();
        for told in told {
            if let Some(fences) = told.fenced.filter(|fenced| *fenced != fenced_now) {
                events.extend(self.hello(fences, told.at));
                fenced_now = fences;
            }
            events.push((told.at, told.event));
        }
        events.extend(self.link_now(last));
        Some(events)
    }

    fn hello(&self, fences: bool, at: Instant) -> Option<(Instant, Event)> {
        let gateway = self.gateway()?.clone();
        Some((at, Event::GatewayConnected { gateway, fences }))
    }

    fn link_now(&self, at: Instant) -> Vec<(Instant, Event)> {
        let hello = self.hello(self.terms().gateway_fences, at);
        match (self.link(), self.gateway()) {
            (Link::Unheard, _) | (_, None) => Vec::new(),
            (Link::Up { .. }, Some(_)) => hello.into_iter().collect(),
            (Link::Down, Some(gateway)) => {
                let gone = Event::GatewayDisconnected {
                    gateway: gateway.clone(),
                };
                hello.into_iter().chain([(at, gone)]).collect()
            }
        }
    }
}

fn of_record(record: &MayFollow) -> Vec<Told> {
    let evse = &record.evse.id;
    let active = |order, at, revision| Told {
        order,
        at,
        event: Event::ActiveProfileReported {
            evse: evse.clone(),
            revision,
        },
        fenced: None,
    };
    let foreign = record
        .foreign_revision
        .map(|(revision, order, at)| active(order, at, Some(revision)));
    let lost = record.lost_profile.map(|(order, at)| active(order, at, None));
    let seen = record.entries().iter().filter_map(|entry| {
        let (order, at) = entry.seen_active?;
        Some(active(order, at, Some(entry.command.revision)))
    });
    let disobeyed = record.disobeyed.as_ref().map(|(order, sample)| Told {
        order: *order,
        at: sample.at,
        event: Event::Metered(vec![sample.clone()]),
        fenced: None,
    });
    let sent = record.entries().iter().flat_map(of_entry);
    foreign
        .into_iter()
        .chain(lost)
        .chain(seen)
        .chain(disobeyed)
        .chain(sent)
        .collect()
}

fn of_entry(entry: &Entry) -> Vec<Told> {
    let mut told = Vec::new();
    for sent in &entry.transmissions {
        // Where entries were merged, the whole of them is what was sent.
        let command = ProfileCommand {
            instruction: entry.command.instruction.clone(),
            connector: entry.command.connector.clone(),
            ..sent.command.clone()
        };
        told.push(Told {
            order: sent.sent,
            at: command.sent_at,
            event: Event::CommandsIssued(vec![ProfileCommand {
                session: entry.command.session.clone(),
                revision: entry.command.revision,
                ..command.clone()
            }]),
            fenced: Some(sent.fenced),
        });
        told.extend(answers(sent).map(|(order, at, answer)| Told {
            order,
            at,
            event: Event::CommandAnswered {
                evse: command.evse.clone(),
                revision: entry.command.revision,
                attempt: command.attempt,
                answer,
            },
            fenced: None,
        }));
    }
    told
}

/// What came back for it, each when it did: told all at once, a contradiction would for a moment be a refusal or an acceptance alone, and
/// free what it does not.
fn answers(sent: &Transmission) -> impl Iterator<Item = (Order, Instant, Answer)> {
    let rejected = |reason: &str| Answer::Rejected {
        reason: reason.to_owned(),
    };
    let first = sent.contradicted.clone();
    let was_accepted = (first.as_ref()).is_some_and(|(reply, _, _)| *reply == Reply::Accepted);
    let replies = first
        .into_iter()
        .chain([(sent.reply.clone(), sent.replied, sent.replied_at)]);
    replies.filter_map(move |(reply, order, at)| {
        let answer = match reply {
            Reply::Nothing => return None,
            Reply::Forwarded => Answer::Forwarded,
            Reply::Accepted => Answer::Accepted,
            Reply::Rejected { reason } => rejected(&reason),
            Reply::Contradicted if was_accepted => rejected("contradicted"),
            Reply::Contradicted => Answer::Accepted,
        };
        Some((order, at, answer))
    })
}
