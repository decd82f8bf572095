//! What waits for one gateway's stream.
//!
//! Decides the order: welcome, refusals and acknowledgements, then commands that lower anything, then what else changes a ceiling, then
//! retries and renewals; over all sites of the gateway. A newer command for the same EVSE takes the place of one that waits. Bounded:
//! a gateway that does not read loses its stream.

use super::Limits;
use super::downstream::profile_command;
use crate::domain::ids::{EvseId, SiteId};
use crate::domain::profile::Cause;
use crate::engine::ports::OutgoingCommand;
use crate::wire::proto;
use proto::connect_response::Message;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tonic::Status;

/// Commands of all streams.
#[derive(Debug, Default)]
pub(super) struct Counters {
    waiting: AtomicUsize,
    written: AtomicU64,
}

impl Counters {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }
}

/// The first lane that is not empty goes first; within a lane first come, first served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// An EVSE may be drawing more than this allows, whether it is told for the first time or again.
    Lower,
    Change,
    Again,
}

impl Lane {
    fn of(outgoing: &OutgoingCommand) -> Self {
        match outgoing.command.cause {
            _ if outgoing.lowers => Self::Lower,
            Cause::Change => Self::Change,
            Cause::Renewal | Cause::Retry => Self::Again,
        }
    }
}

type Place = (Lane, u64);

#[derive(Debug, Default)]
struct Queue {
    welcome: Option<proto::GatewayWelcome>,
    refused: VecDeque<proto::Refused>,
    acknowledged: Option<i64>,
    commands: BTreeMap<Place, OutgoingCommand>,
    places: HashMap<(SiteId, EvseId), Place>,
    next_place: u64,
    /// How the stream ends, once it does; no status is a good end.
    end: Option<Option<Status>>,
}

/// Nothing comes after this on the stream. No status is a good end.
#[derive(Debug)]
pub(super) struct End(pub(super) Option<Status>);

/// Filled by the engine and the task that reads the stream, emptied by the task that writes it.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    closed: watch::Sender<bool>,
    counters: Arc<Counters>,
    max_commands: usize,
    max_refusals: usize,
}

impl Outbox {
    pub(super) fn new(limits: &Limits, counters: Arc<Counters>) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            closed: watch::Sender::new(false),
            counters,
            max_commands: limits.max_waiting_commands,
            max_refusals: limits.max_waiting_refusals,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds the queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn welcome(&self, welcome: proto::GatewayWelcome) {
        self.queue().welcome = Some(welcome);
        self.filled.notify_one();
    }

    /// Everything up to `number`; a later acknowledgement replaces one that waits.
    pub(super) fn acknowledge(&self, number: i64) {
        let mut queue = self.queue();
        queue.acknowledged = queue.acknowledged.max(Some(number));
        drop(queue);
        self.filled.notify_one();
    }

    pub(super) fn refuse(&self, refused: proto::Refused) {
        let mut queue = self.queue();
        if queue.refused.len() >= self.max_refusals {
            drop(queue);
            return self.overflow("refusals");
        }
        queue.refused.push_back(refused);
        drop(queue);
        self.filled.notify_one();
    }

    /// Takes a command in place of any older one for its EVSE. Dropped if the stream has ended.
    pub(super) fn put(&self, command: OutgoingCommand) {
        let mut queue = self.queue();
        if queue.end.is_some() {
            return;
        }
        let evse = (command.key.site.clone(), command.command.evse.clone());
        let mut place = (Lane::of(&command), queue.next_place);
        queue.next_place += 1;
        if let Some(older) = queue.places.get(&evse).copied() {
            // What was urgent stays urgent: whatever replaces a change or a decrease that waits carries it.
            place = place.min(older);
            queue.commands.remove(&older);
        } else if queue.commands.len() >= self.max_commands {
            drop(queue);
            return self.overflow("commands");
        } else {
            self.counters.waiting.fetch_add(1, Ordering::SeqCst);
        }
        queue.places.insert(evse, place);
        queue.commands.insert(place, command);
        drop(queue);
        self.filled.notify_one();
    }

    fn overflow(&self, what: &str) {
        let reason = format!("too many {what} wait: the gateway does not read its stream");
        self.close(Some(Status::resource_exhausted(reason)));
    }

    /// Ends the stream: refusals and acknowledgements still go out, commands do not. The first reason stands.
    pub(super) fn close(&self, status: Option<Status>) {
        let mut queue = self.queue();
        if queue.end.is_none() {
            queue.end = Some(status);
            let dropped = queue.commands.len();
            queue.commands.clear();
            queue.places.clear();
            self.counters.waiting.fetch_sub(dropped, Ordering::SeqCst);
        }
        drop(queue);
        self.closed.send_replace(true);
        self.filled.notify_one();
    }

    /// Waits for the end of the stream.
    pub(super) async fn closed(&self) {
        // The sender is in `self`, so this cannot fail.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Waits for what comes next.
    pub(super) async fn next(&self) -> Result<Message, End> {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Option<Result<Message, End>> {
        let mut queue = self.queue();
        if let Some(welcome) = queue.welcome.take() {
            return Some(Ok(Message::Welcome(welcome)));
        }
        if let Some(refused) = queue.refused.pop_front() {
            return Some(Ok(Message::Refused(refused)));
        }
        if let Some(number) = queue.acknowledged.take() {
            return Some(Ok(Message::Acknowledgement(proto::Acknowledgement { number })));
        }
        if let Some((_, command)) = queue.commands.pop_first() {
            let evse = (command.key.site.clone(), command.command.evse.clone());
            queue.places.remove(&evse);
            // In this order, so that the command is never in neither count.
            self.counters.written.fetch_add(1, Ordering::SeqCst);
            self.counters.waiting.fetch_sub(1, Ordering::SeqCst);
            drop(queue);
            return Some(Ok(Message::Command(profile_command(&command))));
        }
        queue.end.clone().map(|status| Err(End(status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conversion::Rate;
    use crate::domain::ids::{ConnectorId, GatewayId, SessionId, SiteKey, TenantId};
    use crate::domain::profile::{Instruction, ProfileCommand, Revision};
    use crate::units::Instant;

    fn command(evse: &str, revision: u64, cause: Cause) -> OutgoingCommand {
        OutgoingCommand {
            key: SiteKey {
                tenant: TenantId::parse("t").unwrap(),
                site: SiteId::parse("s").unwrap(),
            },
            gateway: GatewayId::parse("g").unwrap(),
            command: ProfileCommand {
                evse: EvseId::parse(evse).unwrap(),
                session: SessionId::parse("x").unwrap(),
                connector: ConnectorId::parse("1").unwrap(),
                revision: Revision::new(revision),
                attempt: 1,
                sent_at: Instant::from_unix_secs(0),
                cause,
                instruction: Instruction::Clear,
            },
            ocpi: None,
            minimum: Rate::new(60),
            lowers: false,
        }
    }

    fn lowering(evse: &str, revision: u64, cause: Cause) -> OutgoingCommand {
        OutgoingCommand {
            lowers: true,
            ..command(evse, revision, cause)
        }
    }

    /// The same for another site of the gateway.
    fn elsewhere(mut command: OutgoingCommand) -> OutgoingCommand {
        command.key.site = SiteId::parse("other").unwrap();
        command
    }

    fn outbox(limits: &Limits) -> Outbox {
        Outbox::new(limits, Arc::default())
    }

    /// Everything that can be taken now, in words.
    fn drain(outbox: &Outbox) -> Vec<String> {
        let mut taken = Vec::new();
        while let Some(next) = outbox.take() {
            match next {
                Ok(Message::Welcome(_)) => taken.push("welcome".to_owned()),
                Ok(Message::Refused(refused)) => taken.push(format!("refused {}", refused.number)),
                Ok(Message::Acknowledgement(ack)) => taken.push(format!("ack {}", ack.number)),
                Ok(Message::Command(command)) => {
                    taken.push(format!("{} r{}", command.evse_id, command.revision));
                }
                Err(End(status)) => {
                    taken.push(format!("end {:?}", status.map(|status| status.code())));
                    break;
                }
            }
        }
        taken
    }

    fn refused(number: i64) -> proto::Refused {
        proto::Refused {
            number,
            ..Default::default()
        }
    }

    #[test]
    fn the_newest_command_of_an_evse_replaces_one_that_waits() {
        let outbox = outbox(&Limits::default());
        outbox.put(command("a", 1, Cause::Change));
        outbox.put(command("b", 1, Cause::Change));
        outbox.put(command("a", 2, Cause::Change));
        assert_eq!(outbox.counters.waiting(), 2);
        assert_eq!(drain(&outbox), ["a r2", "b r1"]);
        assert_eq!((outbox.counters.waiting(), outbox.counters.written()), (0, 2));
    }

    #[test]
    fn changes_go_before_renewals_and_stay_urgent_when_renewed() {
        let outbox = outbox(&Limits::default());
        outbox.put(command("a", 1, Cause::Renewal));
        outbox.put(command("b", 1, Cause::Retry));
        outbox.put(command("c", 1, Cause::Change));
        outbox.put(command("c", 2, Cause::Renewal));
        outbox.put(command("b", 2, Cause::Change));
        assert_eq!(drain(&outbox), ["c r2", "b r2", "a r1"]);
    }

    #[test]
    fn what_lowers_goes_before_all_that_only_raises_at_any_site_of_the_gateway() {
        let outbox = outbox(&Limits::default());
        outbox.put(command("a", 1, Cause::Change));
        outbox.put(command("b", 1, Cause::Renewal));
        outbox.put(elsewhere(command("a", 1, Cause::Change)));
        outbox.put(elsewhere(lowering("c", 1, Cause::Retry)));
        outbox.put(lowering("d", 1, Cause::Change));
        assert_eq!(drain(&outbox), ["c r1", "d r1", "a r1", "a r1", "b r1"]);
    }

    #[test]
    fn what_replaces_a_decrease_that_waits_is_as_urgent() {
        let outbox = outbox(&Limits::default());
        outbox.put(command("a", 1, Cause::Change));
        outbox.put(lowering("b", 1, Cause::Change));
        outbox.put(lowering("c", 1, Cause::Change));
        // Raised again, but what the station has may still be more than both.
        outbox.put(command("b", 2, Cause::Change));
        outbox.put(command("c", 2, Cause::Renewal));
        // What becomes a decrease later is one from then on.
        outbox.put(lowering("a", 2, Cause::Change));
        assert_eq!(drain(&outbox), ["b r2", "c r2", "a r2"]);
    }

    #[test]
    fn a_refusal_goes_before_the_acknowledgement_that_covers_it() {
        let outbox = outbox(&Limits::default());
        outbox.put(command("a", 1, Cause::Change));
        outbox.acknowledge(2);
        outbox.refuse(refused(3));
        outbox.acknowledge(3);
        outbox.welcome(proto::GatewayWelcome::default());
        assert_eq!(drain(&outbox), ["welcome", "refused 3", "ack 3", "a r1"]);
    }

    #[test]
    fn a_closed_stream_still_acknowledges_but_sends_no_command() {
        let outbox = outbox(&Limits::default());
        outbox.put(command("a", 1, Cause::Change));
        outbox.acknowledge(7);
        outbox.close(None);
        outbox.put(command("b", 1, Cause::Change));
        outbox.close(Some(Status::aborted("later")));
        assert_eq!(drain(&outbox), ["ack 7", "end None"]);
        assert_eq!((outbox.counters.waiting(), outbox.counters.written()), (0, 0));
    }

    #[test]
    fn a_gateway_that_does_not_read_loses_its_stream() {
        let limits = Limits {
            max_waiting_commands: 2,
            max_waiting_refusals: 1,
            ..Limits::default()
        };
        let commands = outbox(&limits);
        for evse in ["a", "b", "b", "c"] {
            commands.put(command(evse, 1, Cause::Change));
        }
        assert_eq!(drain(&commands), ["end Some(ResourceExhausted)"]);
        assert_eq!(commands.counters.waiting(), 0);

        let refusals = outbox(&limits);
        refusals.refuse(refused(1));
        refusals.refuse(refused(2));
        assert_eq!(drain(&refusals), ["refused 1", "end Some(ResourceExhausted)"]);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let outbox = Arc::new(outbox(&Limits::default()));
        let waiter = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.next().await }
        });
        outbox.acknowledge(1);
        assert!(waiter.await.unwrap().is_ok());
        outbox.close(None);
        outbox.closed().await;
    }
}
