//! Gateways, and the ways between them, the stations and the service.
//!
//! Decides what arrives where, when, how often and in which order. A gateway that fences refuses revisions at or below one that it
//! has applied, for ever; through one that does not, a transmission takes effect at most once.

use super::dice::Dice;
use super::faults::Kind;
use super::process::Asker;
use super::world::World;
use super::yard::gateway_id;
use crate::domain::event::Event;
use crate::domain::ids::{EvseId, GatewayId};
use crate::domain::profile::{Answer, Attempt, ProfileCommand, Revision};
use crate::domain::session::MeterSample;
use crate::engine::Readings;
use crate::engine::ports::OutgoingCommand;
use crate::engine::site_core::{Input, Question};
use crate::units::{Instant, Seconds};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Something on its way.
enum Message {
    ToStation {
        gateway: usize,
        command: ProfileCommand,
    },
    /// Over a stream, which may have ended meanwhile.
    ToService {
        stream: u64,
        event: Event,
    },
    Reading {
        stream: u64,
        sample: MeterSample,
    },
}

struct Gateway {
    fences: bool,
    applied: HashMap<EvseId, Revision>,
    /// What was refused is refused again.
    refused: HashSet<(EvseId, Revision, Attempt)>,
}

pub struct Network {
    dice: Dice,
    gateways: Vec<Gateway>,
    /// The gateway that the site has now.
    current: usize,
    /// Counts connections; what came over an older one is dropped.
    stream: u64,
    up: bool,
    reconnects_at: Option<Instant>,
    messages: BTreeMap<(Instant, u64), Message>,
    sent: u64,
    fences: bool,
}

impl Network {
    pub fn new(seed: u64, making: &mut Dice) -> Self {
        let mut network = Self {
            dice: Dice::new(seed, 2),
            gateways: Vec::new(),
            current: 0,
            stream: 0,
            up: false,
            reconnects_at: Some(Instant::FAR_PAST),
            messages: BTreeMap::new(),
            sent: 0,
            fences: making.happens(500),
        };
        network.add_gateway();
        network
    }

    pub fn add_gateway(&mut self) -> GatewayId {
        self.gateways.push(Gateway {
            fences: self.fences,
            applied: HashMap::new(),
            refused: HashSet::new(),
        });
        gateway_id(self.gateways.len() - 1)
    }

    pub fn is_up(&self) -> bool {
        self.up
    }

    pub fn is_not_of(&self, gateway: Option<&GatewayId>) -> bool {
        gateway != Some(&gateway_id(self.current))
    }

    /// What may yet reach a station, through whatever gateway.
    pub fn on_its_way<'a>(&'a self, to: &'a EvseId) -> impl Iterator<Item = &'a ProfileCommand> {
        self.messages.values().filter_map(move |message| match message {
            Message::ToStation { command, .. } if command.evse == *to => Some(command),
            _ => None,
        })
    }

    fn push(&mut self, at: Instant, message: Message) {
        self.sent += 1;
        self.messages.insert((at, self.sent), message);
    }

    /// The stream is gone; the gateway comes back after so many seconds.
    pub fn cut(&mut self, now: Instant, most: i64) {
        self.up = false;
        self.stream += 1;
        let back = now + Seconds::from_secs(self.dice.roll(1, most));
        self.reconnects_at = Some(back);
    }
}

impl World {
    /// When it arrives, or `None` if it is lost.
    fn way(&mut self, loss: Kind, late: Kind) -> Option<Instant> {
        let dice = &mut self.network.dice;
        let lost = self.faults.strikes(loss, dice);
        let is_late = self.faults.strikes(late, dice);
        let (quick, slow) = (dice.roll(0, 2), dice.roll(5, 140));
        let delay = if is_late { quick + slow } else { quick };
        (!lost).then(|| self.now + Seconds::from_secs(delay))
    }

    pub(super) fn transmit(&mut self, outgoing: OutgoingCommand) {
        let to = self
            .stations
            .iter_mut()
            .find(|station| *station.id() == outgoing.command.evse);
        if let Some(station) = to {
            station.may_follow.push(outgoing.command.clone());
        }
        let current = self.network.current;
        if !self.network.up || outgoing.gateway != gateway_id(current) {
            return;
        }
        let doubled = self.faults.may(Kind::DoubledCommand)
            && self.network.gateways[current].fences
            && self.faults.strikes(Kind::DoubledCommand, &mut self.network.dice);
        for _ in 0..if doubled { 2 } else { 1 } {
            if let Some(at) = self.way(Kind::LostCommand, Kind::LateCommand) {
                let command = outgoing.command.clone();
                self.network.push(
                    at,
                    Message::ToStation {
                        gateway: current,
                        command,
                    },
                );
            }
        }
    }

    pub(super) fn deliver(&mut self) {
        let mut asks = Vec::new();
        while let Some(first) = self.network.messages.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            match first.remove() {
                Message::ToStation { gateway, command } => self.reach_station(gateway, command),
                Message::ToService { stream, event } if stream == self.network.stream => {
                    let asker = self.who_says(&event);
                    asks.push((
                        asker,
                        Question::Submit {
                            request: None,
                            event,
                            id_was_used: Ok(false),
                        },
                    ));
                }
                Message::Reading { stream, sample } if stream == self.network.stream => {
                    asks.push((Asker::Gateway, Question::Meter(Readings::OfEvses(vec![sample]))));
                }
                Message::ToService { .. } | Message::Reading { .. } => {}
            }
        }
        if !asks.is_empty() {
            self.ask(asks);
        }
        if self.network.reconnects_at.is_some_and(|at| at <= self.now) && self.process.is_up() && self.is_described() {
            self.say_hello();
        }
    }

    fn who_says(&self, event: &Event) -> Asker {
        let Event::CommandAnswered {
            evse,
            revision,
            answer: Answer::Accepted,
            ..
        } = event
        else {
            return Asker::Gateway;
        };
        let number = self.stations.iter().position(|station| station.id() == evse);
        number.map_or(Asker::Gateway, |number| Asker::Station(number, *revision))
    }

    fn reach_station(&mut self, number: usize, command: ProfileCommand) {
        let mut refuses = self.faults.strikes(Kind::Refusal, &mut self.network.dice);
        refuses |= command.attempt > 1 && self.faults.strikes(Kind::RefusedRetry, &mut self.network.dice);
        let gateway = &mut self.network.gateways[number];
        let station = self.stations.iter_mut().find(|station| *station.id() == command.evse);
        let Some(station) = station else { return };
        let name = (command.evse.clone(), command.revision, command.attempt);
        let applied = gateway.applied.get(&command.evse).copied().unwrap_or_default();
        let again = station
            .follows
            .as_ref()
            .is_some_and(|(revision, _)| *revision == command.revision);
        let fits = station.is_at(&command.session) && *station.connector_id() == command.connector;
        let answer = if gateway.fences && again {
            Answer::Accepted
        } else if refuses || !fits || (gateway.fences && command.revision <= applied) || gateway.refused.contains(&name)
        {
            gateway.refused.insert(name);
            Answer::Rejected {
                reason: "no".to_owned(),
            }
        } else {
            gateway
                .applied
                .insert(command.evse.clone(), applied.max(command.revision));
            station.follows = Some((command.revision, command.instruction.clone()));
            Answer::Accepted
        };
        self.tell(|| {
            let (revision, attempt) = (command.revision.number(), command.attempt);
            format!(
                "{} through gateway {number}: {revision}/{attempt} is {answer:?}",
                command.evse
            )
        });
        if number != self.network.current {
            // Whoever asked through it is gone.
            return;
        }
        if self.network.dice.happens(200) {
            self.answer(&command, Answer::Forwarded);
        }
        self.answer(&command, answer.clone());
        if self.faults.strikes(Kind::DoubledAnswer, &mut self.network.dice) {
            self.answer(&command, answer);
        }
    }

    fn answer(&mut self, command: &ProfileCommand, answer: Answer) {
        let event = Event::CommandAnswered {
            evse: command.evse.clone(),
            revision: command.revision,
            attempt: command.attempt,
            answer,
        };
        self.tell_service(event);
    }

    fn tell_service(&mut self, event: Event) {
        let stream = self.network.stream;
        if let Some(at) = self.way(Kind::LostAnswer, Kind::LateAnswer) {
            self.network.push(at, Message::ToService { stream, event });
        }
    }

    pub(super) fn network_reports_nothing(&mut self, number: usize) {
        let evse = self.stations[number].id().clone();
        self.tell_service(Event::ActiveProfileReported { evse, revision: None });
    }

    pub(super) fn network_reads(&mut self, sample: MeterSample) {
        let stream = self.network.stream;
        if let Some(at) = self.way(Kind::LostReading, Kind::LateReading) {
            self.network.push(at, Message::Reading { stream, sample });
        }
    }

    pub(super) fn break_link(&mut self) {
        if !self.network.up {
            return;
        }
        self.network.cut(self.now, 60);
        let gateway = gateway_id(self.network.current);
        self.ask_of_link(vec![Event::GatewayDisconnected { gateway }]);
    }

    /// The site has another gateway; what is on its way through the old one may still arrive.
    pub(super) fn gateway_changed(&mut self) {
        self.network.current = self.network.gateways.len() - 1;
        self.network.cut(self.now, 30);
    }

    /// Says what was applied and what is on its way; of the rest that came over older streams nothing is applied any more.
    fn say_hello(&mut self) {
        self.network.up = true;
        self.network.reconnects_at = None;
        let current = self.network.current;
        let network = &mut self.network;
        let mut on_its_way = Vec::new();
        let (dice, faults) = (&mut network.dice, &mut self.faults);
        network.messages.retain(|_, message| match message {
            Message::ToStation { gateway, command } if *gateway == current => {
                let kept = faults.strikes(Kind::HelloOnTheWay, dice);
                if kept {
                    on_its_way.push(Event::CommandOnItsWay {
                        evse: command.evse.clone(),
                        revision: command.revision,
                    });
                }
                kept
            }
            _ => true,
        });
        let gateway = &network.gateways[current];
        let mut events = Vec::new();
        for station in &self.stations {
            let evse = station.id();
            if let Some(revision) = gateway.applied.get(evse) {
                events.push(Event::ActiveProfileReported {
                    evse: evse.clone(),
                    revision: Some(*revision),
                });
            }
        }
        events.extend(on_its_way);
        events.push(Event::GatewayConnected {
            gateway: gateway_id(current),
            fences: gateway.fences,
        });
        self.ask_of_link(events);
    }

    fn ask_of_link(&mut self, events: Vec<Event>) {
        let asks = events.into_iter().map(|event| {
            let question = Question::Submit {
                request: None,
                event,
                id_was_used: Ok(false),
            };
            (Asker::Link, question)
        });
        self.ask(asks.collect());
    }

    pub(super) fn work(&mut self) {
        self.make_calls();
        self.end_search();
        if self.process.is_due(self.now) {
            self.give(Input::Woke, Vec::new());
        }
    }
}
