//! A gateway's stream after its hello.
//!
//! Decides when a message is acknowledged (once what it says is recorded), refused (the stream goes on) or ends the stream. Never
//! decides what an answer means.

use super::GatewayKey;
use super::in_order::InOrder;
use super::outbox::Outbox;
use super::stream::GatewayApi;
use super::upstream::{Statement, statement};
use crate::domain::event::Event;
use crate::domain::ids::{GatewayId, SiteId, SiteKey};
use crate::domain::rejection::Rejection;
use crate::engine::Refusal;
use crate::wire::common::timestamp_message;
use crate::wire::proto;
use crate::wire::status::{rejected, status};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::timeout;
use tonic::Status;
use tonic::codec::Streaming;

/// The hello's number.
pub(super) const FIRST_NUMBER: i64 = 1;

/// What became of a statement.
struct Recorded {
    /// Which message said it; `None` for what the stream itself tells the sites.
    number: Option<i64>,
    /// Whether nothing of the message comes after this.
    last: bool,
    result: Result<(), Refusal>,
}

/// Reads one stream.
pub(super) struct LiveStream<'stream> {
    api: &'stream GatewayApi,
    key: &'stream GatewayKey,
    fences: bool,
    outbox: &'stream Arc<Outbox>,
    sites: BTreeSet<SiteId>,
    recording: InOrder<Recorded>,
    last_number: i64,
}

impl<'stream> LiveStream<'stream> {
    pub(super) fn new(
        api: &'stream GatewayApi,
        key: &'stream GatewayKey,
        fences: bool,
        outbox: &'stream Arc<Outbox>,
    ) -> Self {
        Self {
            api,
            key,
            fences,
            outbox,
            sites: BTreeSet::new(),
            recording: InOrder::new(),
            last_number: FIRST_NUMBER,
        }
    }

    /// Tells each site what its EVSEs follow, then that its gateway is there: in that order, so that the first commands are made
    /// knowing it.
    pub(super) async fn open(&mut self, known: Vec<(SiteId, Event)>) {
        self.sites = self.named_sites();
        self.welcome();
        for (site, event) in known {
            self.wait_for_room().await;
            self.say(FIRST_NUMBER, Statement::Event { site, event }, false);
        }
        for site in self.sites.clone() {
            self.wait_for_room().await;
            self.tell_connected(site);
        }
        self.say(FIRST_NUMBER, Statement::Alive, true);
        self.finish_recording().await;
    }

    /// Until the stream ends; returns how.
    pub(super) async fn listen(&mut self, mut upstream: Streaming<proto::ConnectRequest>) -> Option<Status> {
        let limits = self.api.limits();
        let end = loop {
            tokio::select! {
                // What was recorded is acknowledged before more is read.
                biased;
                () = self.outbox.closed() => break None,
                Some(recorded) = self.recording.next() => self.settle(recorded),
                message = timeout(limits.silence(), upstream.message()), if self.recording.len() < limits.max_recording => {
                    match message {
                        Ok(Ok(Some(message))) => {
                            if let Err(status) = self.take(&message) {
                                break Some(status);
                            }
                        }
                        // The gateway is done, or the connection broke and nobody is there to be told.
                        Ok(Ok(None) | Err(_)) => break None,
                        Err(_) => {
                            let secs = limits.silence().as_secs();
                            break Some(Status::deadline_exceeded(format!("no message for {secs} s")));
                        }
                    }
                }
            }
        };
        self.finish_recording().await;
        end
    }

    /// Tells every site that its gateway is gone.
    pub(super) async fn leave(&mut self) {
        for site in std::mem::take(&mut self.sites) {
            self.wait_for_room().await;
            let gateway = self.key.gateway.clone();
            let event = Event::GatewayDisconnected { gateway };
            self.record(None, Statement::Event { site, event }, false);
        }
        self.finish_recording().await;
    }

    fn take(&mut self, message: &proto::ConnectRequest) -> Result<(), Status> {
        if (FIRST_NUMBER..=self.last_number).contains(&message.number) {
            // Read before. Where it is still being recorded, its acknowledgement will follow.
            if self.recording.len() == 0 {
                self.outbox.acknowledge(self.last_number);
            }
            return Ok(());
        }
        check_number(message.number, self.last_number + 1)?;
        self.last_number = message.number;
        match statement(message.message.as_ref(), self.api.clock.now()) {
            Ok(statement) => {
                if statement == Statement::Alive {
                    self.refresh_sites();
                }
                self.say(message.number, statement, true);
                if self.sites.is_empty() {
                    return Err(status(&unknown_gateway(&self.key.gateway)));
                }
            }
            Err(rejection) => self.refuse(message.number, rejection, true),
        }
        Ok(())
    }

    /// Records what a message says, if it is about a site of this gateway.
    fn say(&mut self, number: i64, statement: Statement, last: bool) {
        match statement.site().filter(|site| !self.serves(site)) {
            Some(site) => {
                let rejection = Rejection::one(
                    "site_id",
                    "is not served by this gateway",
                    site,
                    "a site of the welcome",
                );
                self.refuse(number, rejection, last);
            }
            None => self.record(Some(number), statement, last),
        }
    }

    fn refuse(&mut self, number: i64, rejection: Rejection, last: bool) {
        let recorded = Recorded {
            number: Some(number),
            last,
            result: Err(rejection.into()),
        };
        // Through the queue, so that it is told in its turn.
        self.recording.push(std::future::ready(recorded));
    }

    fn record(&mut self, number: Option<i64>, statement: Statement, last: bool) {
        let engine = self.api.engine.clone();
        let tenant = self.key.tenant.clone();
        self.recording.push(async move {
            let key = |site| SiteKey { tenant, site };
            let result = match statement {
                Statement::Event { site, event } => engine.submit(&key(site), None, event).await.map(drop),
                Statement::Readings { site, samples } => {
                    let recorded = engine.meter_of_gateway(&key(site), samples).await.map(drop);
                    recorded.map_err(|refusal| match refusal {
                        Refusal::Rejected(rejection) => rejection.under("readings").into(),
                        other => other,
                    })
                }
                Statement::Alive => Ok(()),
            };
            Recorded { number, last, result }
        });
    }

    /// Acknowledges what was recorded and tells what was not.
    fn settle(&self, recorded: Recorded) {
        let Recorded { number, last, result } = recorded;
        if let Err(refusal) = result {
            tracing::info!(
                tenant = %self.key.tenant,
                gateway = %self.key.gateway,
                number,
                reason = %refusal,
                "not recorded"
            );
            if let Some(number) = number {
                self.outbox.refuse(refused(number, &refusal));
            }
        }
        if let Some(number) = number
            && last
        {
            self.outbox.acknowledge(number);
        }
    }

    async fn wait_for_room(&mut self) {
        if self.recording.len() >= self.api.limits().max_recording
            && let Some(recorded) = self.recording.next().await
        {
            self.settle(recorded);
        }
    }

    /// What was begun is recorded even if the gateway is gone by then.
    async fn finish_recording(&mut self) {
        while let Some(recorded) = self.recording.next().await {
            self.settle(recorded);
        }
    }

    fn named_sites(&self) -> BTreeSet<SiteId> {
        let sites = self.api.engine.sites_of_gateway(&self.key.tenant, &self.key.gateway);
        sites.into_iter().collect()
    }

    /// A site may have begun to name this gateway since its hello, or have ceased to.
    fn serves(&mut self, site: &SiteId) -> bool {
        let names = (self.api.engine).names_gateway(&self.key.tenant, &self.key.gateway, site);
        if names != self.sites.contains(site) {
            self.refresh_sites();
        }
        names
    }

    fn refresh_sites(&mut self) {
        let named = self.named_sites();
        if named == self.sites {
            return;
        }
        let known = std::mem::replace(&mut self.sites, named);
        self.welcome();
        for site in self.sites.clone() {
            if !known.contains(&site) {
                self.tell_connected(site);
            }
        }
    }

    fn tell_connected(&mut self, site: SiteId) {
        let event = Event::GatewayConnected {
            gateway: self.key.gateway.clone(),
            fences: self.fences,
        };
        self.record(None, Statement::Event { site, event }, false);
    }

    fn welcome(&self) {
        let heartbeat = self.api.limits().heartbeat.as_secs();
        self.outbox.welcome(proto::GatewayWelcome {
            site_ids: self.sites.iter().map(SiteId::to_string).collect(),
            heartbeat_seconds: i32::try_from(heartbeat).unwrap_or(i32::MAX),
            clock: Some(timestamp_message(self.api.clock.now())),
        });
    }
}

/// The numbers of a stream have no gap.
pub(super) fn check_number(number: i64, expected: i64) -> Result<(), Status> {
    if number == expected {
        return Ok(());
    }
    Err(rejected(&Rejection::one("number", "is not the next", number, expected)))
}

pub(super) fn unknown_gateway(gateway: &GatewayId) -> Refusal {
    Refusal::NotFound {
        what: "gateway",
        id: gateway.to_string(),
    }
}

fn refused(number: i64, refusal: &Refusal) -> proto::Refused {
    let faults = match refusal {
        Refusal::Rejected(rejection) => rejection.faults().iter().map(ToString::to_string).collect(),
        other => vec![other.to_string()],
    };
    proto::Refused {
        number,
        faults,
        try_again: matches!(refusal, Refusal::Busy { .. } | Refusal::Unavailable(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_that_is_not_the_gateways_fault_asks_to_try_again() {
        let wrong = refused(3, &Refusal::from(Rejection::one("a", "is b", "c", "d")));
        assert_eq!(
            (wrong.number, wrong.faults, wrong.try_again),
            (3, vec!["a: is b; got c, allowed: d".to_owned()], false)
        );
        assert!(refused(3, &Refusal::Busy { what: "events" }).try_again);
        assert!(refused(3, &Refusal::Unavailable("the store is gone".to_owned())).try_again);
    }

    #[test]
    fn a_number_that_skips_one_is_told_with_the_one_expected() {
        assert!(check_number(2, 2).is_ok());
        let status = check_number(4, 2).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(status.message(), "number: is not the next; got 4, allowed: 2");
    }
}
