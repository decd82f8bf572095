//! The demo's gateway: a client of `GatewayService` that carries commands to stations and answers back.
//!
//! Decides how a gateway keeps the protocol: it fences revisions, answers every attempt, and says again on the next stream what
//! was not acknowledged on the last. The way to a station and back takes one to three seconds each, in virtual time.

use super::stations::{Rejected, Station};
use crate::simulate::day::{Day, GATEWAY, TENANT};
use crate::units::{DeciAmps, Instant, Seconds};
use crate::wire::bearer::Calls;
use crate::wire::proto;
use anyhow::Context;
use proto::connect_request::Message as Up;
use proto::connect_response::Message as Down;
use proto::gateway_service_client::GatewayServiceClient;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Messages up that wait for the stream.
const UP_QUEUE: usize = 1024;
/// Streams opened in a row without one message down, before the gateway gives up.
const MAX_IDLE_STREAMS: u32 = 5;
/// The quickest and the slowest way between gateway and station.
const DELAY: std::ops::RangeInclusive<i64> = 1..=3;

/// The gateway with its stations.
pub struct Gateway {
    client: GatewayServiceClient<Calls>,
    site: String,
    /// In the order of the day's EVSEs.
    stations: Vec<Station>,
    evses: Vec<String>,
    stream: Option<Stream>,
    /// Not acknowledged yet, oldest first, without numbers: they count per stream.
    unacknowledged: VecDeque<Up>,
    /// What is on its way between gateway and stations, by when it arrives and in which order it left.
    network: BTreeMap<(Instant, u64), Delivery>,
    departures: u64,
    random: SplitMix,
    /// In real time, as the service measures silence.
    heartbeat: Duration,
    last_sent: tokio::time::Instant,
    /// Streams opened since the service last said anything.
    idle_streams: u32,
    counts: Counts,
}

/// An open stream.
struct Stream {
    up: mpsc::Sender<proto::ConnectRequest>,
    down: tonic::Streaming<proto::ConnectResponse>,
    sent: i64,
    acknowledged: i64,
}

/// What the gateway saw of the service.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub commands: u64,
    pub rejected_by_station: u64,
    /// What the service did not take of our messages, in words.
    pub refused: Vec<String>,
    /// Streams opened.
    pub streams: u32,
}

enum Delivery {
    ToStation(Box<proto::ProfileCommand>),
    ToGateway(Up),
}

impl Gateway {
    pub fn new(calls: Calls, day: &Day, seed: u64) -> Self {
        Self {
            client: GatewayServiceClient::new(calls),
            site: day.site.spec().id.to_string(),
            stations: vec![Station::default(); day.evses.len()],
            evses: day.evses.iter().map(|evse| evse.id.to_string()).collect(),
            stream: None,
            unacknowledged: VecDeque::new(),
            network: BTreeMap::new(),
            departures: 0,
            random: SplitMix(seed),
            heartbeat: Duration::from_secs(10),
            last_sent: tokio::time::Instant::now(),
            idle_streams: 0,
            counts: Counts::default(),
        }
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether everything that was said is acknowledged.
    pub fn all_acknowledged(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|stream| stream.acknowledged == stream.sent)
    }

    pub fn pilot(&self, evse: usize, at: Instant) -> DeciAmps {
        self.stations[evse].pilot(at)
    }

    pub fn plug_in(&mut self, evse: usize, session: &str) {
        self.stations[evse].plug_in(session);
    }

    /// The station ends the session and says that it follows nothing of ours any more.
    pub async fn unplug(&mut self, evse: usize) {
        self.stations[evse].unplug();
        let active = proto::ActiveProfile {
            site_id: self.site.clone(),
            evse_id: self.evses[evse].clone(),
            revision: 0,
        };
        self.say(Up::Active(active)).await;
    }

    pub async fn report(&mut self, readings: Vec<proto::MeterReading>) {
        let readings = proto::GatewayReadings {
            site_id: self.site.clone(),
            readings,
        };
        self.say(Up::Readings(readings)).await;
    }

    /// When the next message reaches a station or comes back from one.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.network.keys().next().map(|(at, _)| *at)
    }

    /// Lets what is due by `now` arrive.
    pub async fn deliver(&mut self, now: Instant) -> anyhow::Result<()> {
        while let Some(next) = self.network.first_entry().filter(|next| next.key().0 <= now) {
            match next.remove() {
                Delivery::ToStation(command) => self.command_arrives(&command, now)?,
                Delivery::ToGateway(message) => self.say(message).await,
            }
        }
        Ok(())
    }

    /// The connection breaks. What was not acknowledged is said again on the next one.
    pub fn lose_stream(&mut self) {
        self.stream = None;
    }

    /// Takes in what the service says, for at most `patience`; true if it said anything.
    pub async fn listen(&mut self, now: Instant, patience: Duration) -> anyhow::Result<bool> {
        if self.stream.is_none() {
            self.open_stream(now).await?;
        } else if self.last_sent.elapsed() >= self.heartbeat {
            self.say(Up::Heartbeat(proto::GatewayHeartbeat { clock: timestamp(now) }))
                .await;
        }
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        // Giving up waiting loses nothing: a message is taken whole or not at all.
        let Ok(heard) = tokio::time::timeout(patience, stream.down.message()).await else {
            return Ok(false);
        };
        match heard {
            Ok(Some(response)) => {
                self.idle_streams = 0;
                self.hear(response, now).await;
            }
            Ok(None) => self.stream = None,
            Err(status) => {
                tracing::warn!(%status, "the gateway's stream broke, and is opened again");
                self.stream = None;
            }
        }
        Ok(true)
    }

    /// Hello, then everything that the last stream left unacknowledged.
    async fn open_stream(&mut self, now: Instant) -> anyhow::Result<()> {
        self.counts.streams += 1;
        self.idle_streams += 1;
        anyhow::ensure!(
            self.idle_streams <= MAX_IDLE_STREAMS,
            "the service ends every gateway stream at once"
        );
        let (up, messages) = mpsc::channel(UP_QUEUE);
        let hello = Up::Hello(self.hello(now));
        up.send(numbered(1, hello)).await.context("the stream's own queue")?;
        let response = self.client.connect(ReceiverStream::new(messages)).await?;
        let mut stream = Stream {
            up,
            down: response.into_inner(),
            sent: 1,
            acknowledged: 0,
        };
        for message in &self.unacknowledged {
            stream.send(message.clone()).await;
        }
        self.last_sent = tokio::time::Instant::now();
        self.stream = Some(stream);
        Ok(())
    }

    fn hello(&self, now: Instant) -> proto::GatewayHello {
        let named = |evse: &String, revision| proto::EvseRevision {
            site_id: self.site.clone(),
            evse_id: evse.clone(),
            revision,
        };
        let revisions = self.evses.iter().zip(self.stations.iter().map(Station::applied));
        let on_its_way = self.network.values().filter_map(|delivery| match delivery {
            Delivery::ToStation(command) => Some(named(&command.evse_id, command.revision)),
            Delivery::ToGateway(_) => None,
        });
        proto::GatewayHello {
            tenant_id: TENANT.to_owned(),
            gateway_id: GATEWAY.to_owned(),
            fences_durably: true,
            applied: (revisions.filter(|(_, revision)| *revision > 0))
                .map(|(evse, revision)| named(evse, revision))
                .collect(),
            on_its_way: on_its_way.collect(),
            clock: timestamp(now),
        }
    }

    async fn hear(&mut self, response: proto::ConnectResponse, now: Instant) {
        match response.message {
            Some(Down::Welcome(welcome)) => {
                self.heartbeat = Duration::from_secs(u64::try_from(welcome.heartbeat_seconds).unwrap_or(1).max(1));
            }
            Some(Down::Command(command)) => {
                self.counts.commands += 1;
                let forwarded = answer(&command, proto::CommandResult::Forwarded, String::new());
                self.send_over_network(Delivery::ToStation(Box::new(command)), now);
                self.say(forwarded).await;
            }
            Some(Down::Acknowledgement(acknowledgement)) => self.acknowledge(acknowledgement.number),
            Some(Down::Refused(refused)) => self.refused(refused, now),
            None => {}
        }
    }

    /// A message that could not be taken is said again a little later; one that is wrong is not.
    fn refused(&mut self, refused: proto::Refused, now: Instant) {
        let message = usize::try_from(refused.number - self.first_unacknowledged()).ok();
        match message.and_then(|index| self.unacknowledged.get(index)).cloned() {
            Some(message) if refused.try_again => self.send_over_network(Delivery::ToGateway(message), now),
            _ => self.counts.refused.extend(refused.faults),
        }
    }

    /// The number that the oldest unacknowledged message has on this stream; 1 is the hello.
    fn first_unacknowledged(&self) -> i64 {
        self.stream.as_ref().map_or(2, |stream| stream.acknowledged.max(1) + 1)
    }

    fn acknowledge(&mut self, number: i64) {
        let Some(stream) = &mut self.stream else { return };
        for acknowledged in stream.acknowledged + 1..=number.min(stream.sent) {
            // Number 1 is the hello, which is not said again as it was.
            if acknowledged > 1 {
                self.unacknowledged.pop_front();
            }
            stream.acknowledged = acknowledged;
        }
    }

    async fn say(&mut self, message: Up) {
        self.last_sent = tokio::time::Instant::now();
        self.unacknowledged.push_back(message.clone());
        // Without a stream it is said when there is one.
        if let Some(stream) = &mut self.stream {
            stream.send(message).await;
        }
    }

    fn command_arrives(&mut self, command: &proto::ProfileCommand, now: Instant) -> anyhow::Result<()> {
        let evse = self
            .evses
            .iter()
            .position(|evse| *evse == command.evse_id)
            .with_context(|| format!("a command for unknown EVSE {}", command.evse_id))?;
        let answer = match self.stations[evse].apply(command) {
            Ok(()) => answer(command, proto::CommandResult::Accepted, String::new()),
            Err(Rejected(reason)) => {
                self.counts.rejected_by_station += 1;
                answer(command, proto::CommandResult::Rejected, reason)
            }
        };
        self.send_over_network(Delivery::ToGateway(answer), now);
        Ok(())
    }

    fn send_over_network(&mut self, delivery: Delivery, now: Instant) {
        let delay = Seconds::from_secs(self.random.within(DELAY));
        self.departures += 1;
        self.network.insert((now + delay, self.departures), delivery);
    }
}

impl Stream {
    async fn send(&mut self, message: Up) {
        self.sent += 1;
        // A broken stream shows when it is read; what was said is kept until it is acknowledged.
        let _ = self.up.send(numbered(self.sent, message)).await;
    }
}

fn numbered(number: i64, message: Up) -> proto::ConnectRequest {
    proto::ConnectRequest {
        number,
        message: Some(message),
    }
}

fn answer(command: &proto::ProfileCommand, result: proto::CommandResult, reason: String) -> Up {
    Up::Answer(proto::CommandAnswer {
        site_id: command.site_id.clone(),
        evse_id: command.evse_id.clone(),
        revision: command.revision,
        attempt: command.attempt,
        result: result.into(),
        reason,
    })
}

pub fn timestamp(at: Instant) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: at.unix_secs(),
        nanos: 0,
    })
}

/// Steele, Lea and Flood's SplitMix64: the same seed, the same day.
struct SplitMix(u64);

impl SplitMix {
    fn within(&mut self, range: std::ops::RangeInclusive<i64>) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let width = u64::try_from(range.end() - range.start() + 1).unwrap_or(1);
        range.start() + i64::try_from(bits % width).unwrap_or_default()
    }
}
