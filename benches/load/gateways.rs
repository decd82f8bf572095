//! Gateways as the service sees them: they follow what they are told, answer every command, say that they are there, and come back
//! with what they follow when their stream is cut.
//!
//! Decides what is noted on the board: what each site's EVSEs may draw together as told, since when, and whether that was ever more
//! than the site has.

use crate::yard::{EVSE_AMPERES, TENANT, at, gateway_id, now};
use laddplan::wire::bearer::Calls;
use laddplan::wire::proto;
use proto::connect_request::Message as Up;
use proto::connect_response::Message as Down;
use proto::gateway_service_client::GatewayServiceClient;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

const HEARTBEAT: Duration = Duration::from_secs(8);

/// What a site's EVSEs may draw together, by what its gateway was told last.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    pub deciamperes: i64,
    pub since: Instant,
}

/// What all gateways saw.
pub struct Board {
    pub sites: Vec<watch::Sender<Ceiling>>,
    pub commands: AtomicUsize,
    pub welcomes: watch::Sender<usize>,
    /// Times that a site was told more than its fuse carries.
    pub over_room: AtomicUsize,
    /// Statements that the service did not take.
    pub refused: AtomicUsize,
    fuse_deciamperes: i64,
}

impl Board {
    #[expect(clippy::disallowed_methods, reason = "time is what is measured here")]
    pub fn new(sites: usize, fuse_amperes: i64) -> Arc<Self> {
        let nothing = Ceiling {
            deciamperes: 0,
            since: Instant::now(),
        };
        Arc::new(Self {
            sites: (0..sites).map(|_| watch::Sender::new(nothing)).collect(),
            commands: AtomicUsize::new(0),
            welcomes: watch::Sender::new(0),
            over_room: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            fuse_deciamperes: fuse_amperes * 10,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "time is what is measured here")]
    fn note(&self, site: &str, deciamperes: i64) {
        let since = Instant::now();
        if deciamperes > self.fuse_deciamperes {
            self.over_room.fetch_add(1, Ordering::Relaxed);
        }
        let number = site
            .strip_prefix("site-")
            .and_then(|number| number.parse::<usize>().ok());
        if let Some(site) = number.and_then(|number| self.sites.get(number)) {
            site.send_replace(Ceiling { deciamperes, since });
        }
    }
}

/// What an EVSE follows.
#[derive(Clone)]
struct Followed {
    revision: i64,
    /// From which unix second on, how much.
    ceilings: Vec<(i64, i64)>,
}

/// One gateway, with what its stations remember.
pub struct Gateway {
    number: usize,
    followed: HashMap<String, HashMap<String, Followed>>,
}

impl Gateway {
    pub fn new(number: usize) -> Self {
        Self {
            number,
            followed: HashMap::new(),
        }
    }

    /// From a hello to the end of the stream, and how it ended.
    pub async fn stay(&mut self, channel: Calls, board: &Board) -> Result<(), Status> {
        let (up, messages) = mpsc::channel(64);
        let mut number = 0;
        let mut say = |message| {
            number += 1;
            proto::ConnectRequest {
                number,
                message: Some(message),
            }
        };
        let hello = say(Up::Hello(self.hello()));
        up.try_send(hello).expect("there is room for one");
        let mut client = GatewayServiceClient::new(channel);
        let mut down = client.connect(ReceiverStream::new(messages)).await?.into_inner();
        let mut heartbeats = tokio::time::interval(HEARTBEAT);
        heartbeats.reset();
        loop {
            let message = tokio::select! {
                message = down.message() => message?,
                _ = heartbeats.tick() => {
                    // Fails where the stream has ended, which is told below.
                    let _ = up.send(say(Up::Heartbeat(proto::GatewayHeartbeat { clock: at(now()) }))).await;
                    continue;
                }
            };
            let Some(message) = message else { return Ok(()) };
            match message.message {
                Some(Down::Welcome(_)) => board.welcomes.send_modify(|welcomes| *welcomes += 1),
                Some(Down::Command(command)) => {
                    board.commands.fetch_add(1, Ordering::Relaxed);
                    self.follow(&command, board);
                    let _ = up.send(say(accepted(command))).await;
                }
                Some(Down::Refused(_)) => {
                    board.refused.fetch_add(1, Ordering::Relaxed);
                }
                Some(Down::Acknowledgement(_)) | None => {}
            }
        }
    }

    fn hello(&self) -> proto::GatewayHello {
        let applied = self.followed.iter().flat_map(|(site, evses)| {
            evses.iter().map(|(evse, followed)| proto::EvseRevision {
                site_id: site.clone(),
                evse_id: evse.clone(),
                revision: followed.revision,
            })
        });
        proto::GatewayHello {
            tenant_id: TENANT.to_owned(),
            gateway_id: gateway_id(self.number),
            fences_durably: true,
            applied: applied.collect(),
            on_its_way: vec![],
            clock: at(now()),
        }
    }

    fn follow(&mut self, command: &proto::ProfileCommand, board: &Board) {
        let evses = self.followed.entry(command.site_id.clone()).or_default();
        let followed = Followed {
            revision: command.revision,
            ceilings: ceilings(command),
        };
        evses.insert(command.evse_id.clone(), followed);
        let now = now();
        board.note(&command.site_id, evses.values().map(|followed| followed.at(now)).sum());
    }
}

impl Followed {
    /// What it allows at a unix second, in deciamperes: profiles change by themselves.
    fn at(&self, now: i64) -> i64 {
        let begun = self.ceilings.iter().rev().find(|(from, _)| *from <= now);
        begun.or(self.ceilings.first()).map_or(0, |(_, ceiling)| *ceiling)
    }
}

fn ceilings(command: &proto::ProfileCommand) -> Vec<(i64, i64)> {
    use proto::profile_command::Instruction;
    let Some(Instruction::SetChargingProfile(profile)) = &command.instruction else {
        return vec![(0, EVSE_AMPERES * 10)];
    };
    let start = chrono::DateTime::parse_from_rfc3339(&profile.start_date_time).expect("our own time");
    let periods = profile.charging_profile_period.iter().map(|period| {
        let from = start.timestamp() + i64::from(period.start_period.unwrap_or(0));
        (from, (period.limit.unwrap_or(0.0) * 10.0).round() as i64)
    });
    periods.collect()
}

fn accepted(command: proto::ProfileCommand) -> Up {
    Up::Answer(proto::CommandAnswer {
        site_id: command.site_id,
        evse_id: command.evse_id,
        revision: command.revision,
        attempt: command.attempt,
        result: proto::CommandResult::Accepted as i32,
        reason: String::new(),
    })
}
