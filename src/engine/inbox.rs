//! What waits for one site's task, in two lanes.
//!
//! Decides which lane a message goes by and which is taken next. What may lower ceilings or free room is urgent and never waits behind
//! the rest by more than one group. The rest is taken after each group of urgent messages, so that it is late but never left out. Each
//! lane is bounded: one message more is refused.
//!
//! The journal has messages in the order in which they are taken. All that a gateway says goes by one lane, in the order in which it
//! was said. Whoever waits for an answer before he asks again is answered in order too.

use super::site_task::Message;
use crate::domain::event::Event;
use tokio::sync::mpsc::{self, error::TrySendError};

/// Urgent messages that wait for one site. A gateway has at most 64 of them under way (`max_recording`), so that there is room for
/// cuts.
const URGENT_QUEUE: usize = 256;
/// Other messages that wait for one site.
const ORDINARY_QUEUE: usize = 1_024;
/// At most this many urgent messages are recorded together.
const URGENT_GROUP: usize = 256;
/// At most this many others are: what comes in meanwhile and is urgent waits for them.
const ORDINARY_GROUP: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Urgent,
    Ordinary,
}

impl Lane {
    /// By what it may lead to, whoever submits it.
    pub fn of(event: &Event) -> Self {
        match event {
            // Limits, and what operators stop or hand back.
            Event::SitePut(_)
            | Event::SiteDeleted
            | Event::SiteStopped { .. }
            | Event::GridLimitSet(_)
            | Event::GridLimitRemoved(_)
            | Event::SessionOverridden { .. }
            | Event::DriverKnown { .. }
            // What may have everyone lowered.
            | Event::NodesMetered(_)
            | Event::EvseCheckAsked { wanted: false, .. }
            // What gateways say.
            | Event::CommandAnswered { .. }
            | Event::ActiveProfileReported { .. }
            | Event::CommandOnItsWay { .. }
            | Event::GatewayConnected { .. }
            | Event::GatewayDisconnected { .. } => Self::Urgent,
            Event::PricesSet(_)
            | Event::ForecastSet { .. }
            | Event::SessionStarted(_)
            | Event::SessionUpdated(_)
            | Event::SessionEnded { .. }
            | Event::Metered(_)
            | Event::EvseCheckAsked { wanted: true, .. }
            | Event::EvseCheckWentOn(_)
            | Event::PlanMade(_)
            | Event::CommandsIssued(_)
            | Event::JournalRestored => Self::Ordinary,
        }
    }

    /// What a caller is told who found the lane full.
    pub fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent requests for this site",
            Self::Ordinary => "requests for this site",
        }
    }
}

/// The way to a site's task.
#[derive(Clone)]
pub(super) struct Outlet {
    urgent: mpsc::Sender<Message>,
    ordinary: mpsc::Sender<Message>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Too many wait.
    Full,
    /// The site's task has ended.
    Gone,
}

impl Outlet {
    pub fn try_send(&self, lane: Lane, message: Message) -> Result<(), NotTaken> {
        let taken = match lane {
            Lane::Urgent => self.urgent.try_send(message),
            Lane::Ordinary => self.ordinary.try_send(message),
        };
        taken.map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Full,
            TrySendError::Closed(_) => NotTaken::Gone,
        })
    }
}

pub(super) struct Inbox {
    urgent: mpsc::Receiver<Message>,
    ordinary: mpsc::Receiver<Message>,
    /// The last group was urgent: the others are next, if there are any by then.
    ordinary_is_next: bool,
}

/// A site's lanes, both ends.
pub(super) fn lanes() -> (Outlet, Inbox) {
    let (urgent, urgent_messages) = mpsc::channel(URGENT_QUEUE);
    let (ordinary, ordinary_messages) = mpsc::channel(ORDINARY_QUEUE);
    let inbox = Inbox {
        urgent: urgent_messages,
        ordinary: ordinary_messages,
        ordinary_is_next: false,
    };
    (Outlet { urgent, ordinary }, inbox)
}

impl Inbox {
    /// What is to be recorded together next: messages of one lane. Empty once all outlets are gone and everything was taken. May be
    /// dropped while it waits: nothing is lost.
    pub async fn next_group(&mut self) -> Vec<Message> {
        let mut group = Vec::new();
        if std::mem::take(&mut self.ordinary_is_next)
            && let Ok(first) = self.ordinary.try_recv()
        {
            group.push(first);
            while group.len() < ORDINARY_GROUP
                && let Ok(next) = self.ordinary.try_recv()
            {
                group.push(next);
            }
            return group;
        }
        let mut others = Vec::new();
        tokio::select! {
            biased;
            taken = self.urgent.recv_many(&mut group, URGENT_GROUP) => {
                if taken > 0 {
                    self.ordinary_is_next = true;
                    return group;
                }
            }
            taken = self.ordinary.recv_many(&mut others, ORDINARY_GROUP) => {
                if taken > 0 {
                    return others;
                }
            }
        }
        // The outlets are gone; what they left is taken to its end.
        if self.urgent.recv_many(&mut group, URGENT_GROUP).await == 0 {
            self.ordinary.recv_many(&mut group, ORDINARY_GROUP).await;
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Readings;
    use tokio::sync::oneshot;

    /// A message that can be told from others by the size of its batch.
    fn message(number: usize) -> Message {
        let sample = crate::domain::session::MeterSample {
            evse: crate::domain::ids::EvseId::parse("e").unwrap(),
            at: crate::units::Instant::from_unix_secs(0),
            session_energy: None,
            power: None,
            currents: None,
        };
        Message::Meter {
            readings: Readings::OfEvses(vec![sample; number]),
            reply: oneshot::channel().0,
        }
    }

    fn numbers(group: &[Message]) -> Vec<usize> {
        let number = |message: &Message| match message {
            Message::Meter { readings, .. } => readings.len(),
            Message::Submit { .. } | Message::View { .. } | Message::Rollout { .. } => {
                unreachable!("only batches are sent here")
            }
        };
        group.iter().map(number).collect()
    }

    fn send(outlet: &Outlet, lane: Lane, numbers: std::ops::Range<usize>) {
        for number in numbers {
            assert!(outlet.try_send(lane, message(number)).is_ok());
        }
    }

    #[tokio::test]
    async fn an_urgent_message_passes_a_full_lane_of_others() {
        let (outlet, mut inbox) = lanes();
        send(&outlet, Lane::Ordinary, 0..ORDINARY_QUEUE);
        assert!(outlet.try_send(Lane::Ordinary, message(0)).is_err());
        send(&outlet, Lane::Urgent, 7..9);
        assert_eq!(numbers(&inbox.next_group().await), [7, 8]);
        // Then one group of the others, whatever is urgent by then, and not more than one.
        send(&outlet, Lane::Urgent, 9..10);
        assert_eq!(
            numbers(&inbox.next_group().await),
            (0..ORDINARY_GROUP).collect::<Vec<_>>()
        );
        assert_eq!(numbers(&inbox.next_group().await), [9]);
        // A turn that nobody needed is not saved up.
        while inbox.ordinary.try_recv().is_ok() {}
        send(&outlet, Lane::Urgent, 10..11);
        assert_eq!(numbers(&inbox.next_group().await), [10]);
        send(&outlet, Lane::Ordinary, 0..2);
        assert_eq!(numbers(&inbox.next_group().await), [0, 1]);
        send(&outlet, Lane::Ordinary, 2..3);
        send(&outlet, Lane::Urgent, 11..12);
        assert_eq!(numbers(&inbox.next_group().await), [11]);
    }

    #[tokio::test]
    async fn a_flood_of_urgent_messages_leaves_no_other_out() {
        let (outlet, mut inbox) = lanes();
        send(&outlet, Lane::Ordinary, 0..1);
        let mut taken = Vec::new();
        for _ in 0..4 {
            send(&outlet, Lane::Urgent, 1..2);
            taken.push(numbers(&inbox.next_group().await));
        }
        assert_eq!(taken, [vec![1], vec![0], vec![1, 1], vec![1]]);
    }

    #[tokio::test]
    async fn what_was_sent_is_taken_to_its_end_when_the_outlets_are_gone() {
        let (outlet, mut inbox) = lanes();
        send(&outlet, Lane::Ordinary, 0..ORDINARY_GROUP + 1);
        send(&outlet, Lane::Urgent, 0..1);
        drop(outlet);
        let mut left = Vec::new();
        loop {
            let group = inbox.next_group().await;
            if group.is_empty() {
                break;
            }
            left.push(group.len());
        }
        assert_eq!(left, [1, ORDINARY_GROUP, 1]);
    }
}
