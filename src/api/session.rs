//! SessionService: charging sessions, what their meters say, and what operators decide about them.
//!
//! Decides how personal data is kept out: a driver is turned into a random reference before anything is recorded.

use super::caller::{heard, named_site, taken};
use super::request::{cut, page, receipt, request_id, stamp, under};
use super::{Answer, Api, answer, answer_change, stopping};
use crate::access::Caller;
use crate::access::room::CallKind;
use crate::domain::bounds::{MAX_ENERGY_WATT_HOURS, MAX_EVENT_AGE};
use crate::domain::driver::DriverPolicy;
use crate::domain::event::{Event, Receipt, RequestStamp};
use crate::domain::ids::{GroupId, SessionId, SiteKey, TenantId};
use crate::domain::rejection::{Faults, Rejection};
use crate::domain::session::{MeterSample, Override, Session, SessionSpec};
use crate::engine::view::SiteView;
use crate::engine::{MeterReceipt, Refusal};
use crate::units::{Instant, Seconds, WattSeconds};
use crate::wire::common::{read, required, timestamp, timestamp_message};
use crate::wire::driver::{not_admitted_message, token_name};
use crate::wire::meter::meter_samples;
use crate::wire::proto;
use crate::wire::session::{read_session, session_override, session_override_message, session_spec_message};
use crate::wire::status::status;
use std::collections::BTreeMap;
use tokio::time::timeout;
use tonic::codec::Streaming;
use tonic::{Request, Response, Status};

const MAX_REASON_CHARS: usize = 200;
/// A caller's clock may be a little ahead of ours.
const MAX_AHEAD: Seconds = Seconds::from_mins(5);

#[tonic::async_trait]
impl proto::session_service_server::SessionService for Api {
    async fn start_session(&self, request: Request<proto::StartSessionRequest>) -> Answer<proto::StartSessionResponse> {
        let (caller, message) = taken(request)?;
        let id = request_id(message.meta.as_ref()).to_owned();
        answer_change(&id, self.start(&caller, message).await)
    }

    async fn update_session(
        &self,
        request: Request<proto::UpdateSessionRequest>,
    ) -> Answer<proto::UpdateSessionResponse> {
        let (caller, message) = taken(request)?;
        let id = request_id(message.meta.as_ref()).to_owned();
        answer_change(&id, self.update(&caller, message).await)
    }

    async fn override_session(
        &self,
        request: Request<proto::OverrideSessionRequest>,
    ) -> Answer<proto::OverrideSessionResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(
            request_id(message.meta.as_ref()),
            self.override_one(caller, message).await,
        )
    }

    async fn report_meter(
        &self,
        request: Request<Streaming<proto::ReportMeterRequest>>,
    ) -> Answer<proto::ReportMeterResponse> {
        let (caller, readings) = taken(request)?;
        let _room = self.long_call(&caller)?;
        let recorded = self.record_all(&caller, readings).await?;
        Ok(Response::new(proto::ReportMeterResponse {
            recorded: i64::try_from(recorded.recorded).unwrap_or(i64::MAX),
            dropped: i64::try_from(recorded.dropped).unwrap_or(i64::MAX),
        }))
    }

    async fn end_session(&self, request: Request<proto::EndSessionRequest>) -> Answer<proto::EndSessionResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(request_id(message.meta.as_ref()), self.end(caller, message).await)
    }

    async fn get_session(&self, request: Request<proto::GetSessionRequest>) -> Answer<proto::GetSessionResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.get_one(caller, message).await)
    }

    async fn list_sessions(&self, request: Request<proto::ListSessionsRequest>) -> Answer<proto::ListSessionsResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.list_some(caller, message).await)
    }
}

/// A call that says something about a session.
struct Saying<'call> {
    tenant_id: &'call str,
    site_id: &'call str,
    session: Option<&'call proto::SessionSpec>,
    driver: Option<&'call proto::DriverTokenName>,
}

/// What was said.
struct Said {
    stamp: RequestStamp,
    key: SiteKey,
    spec: SessionSpec,
}

/// Takes the driver out of a session, so that he enters neither an event nor the hash of the call, from which he could be guessed.
fn take_driver(session: Option<&mut proto::SessionSpec>) -> Option<proto::DriverTokenName> {
    session.and_then(|session| session.driver_token.take())
}

impl Api {
    async fn start(
        &self,
        caller: &Caller,
        mut message: proto::StartSessionRequest,
    ) -> Result<proto::StartSessionResponse, Refusal> {
        let driver = take_driver(message.session.as_mut());
        let saying = Saying {
            tenant_id: &message.tenant_id,
            site_id: &message.site_id,
            session: message.session.as_ref(),
            driver: driver.as_ref(),
        };
        let fits =
            |spec: &SessionSpec, view: &SiteView, now: Instant| Session::start(spec.clone(), &view.site, now).map(drop);
        let stamp = |faults: &mut Faults| stamp(faults, caller, message.meta.as_ref(), &message);
        let said = self.hear(caller, saying, stamp, fits).await?;
        let done = self.record_session(said, Event::SessionStarted).await?;
        Ok(proto::StartSessionResponse { receipt: receipt(done) })
    }

    async fn update(
        &self,
        caller: &Caller,
        mut message: proto::UpdateSessionRequest,
    ) -> Result<proto::UpdateSessionResponse, Refusal> {
        let driver = take_driver(message.session.as_mut());
        let saying = Saying {
            tenant_id: &message.tenant_id,
            site_id: &message.site_id,
            session: message.session.as_ref(),
            driver: driver.as_ref(),
        };
        let fits = |spec: &SessionSpec, view: &SiteView, now: Instant| {
            let session = view.sessions.iter().find(|session| session.spec.id == spec.id);
            let session =
                session.ok_or_else(|| Rejection::one("id", "names no session", &spec.id, "one that is there"))?;
            session.update(spec.clone(), &view.site, now).map(drop)
        };
        let stamp = |faults: &mut Faults| stamp(faults, caller, message.meta.as_ref(), &message);
        let said = self.hear(caller, saying, stamp, fits).await?;
        let done = self.record_session(said, Event::SessionUpdated).await?;
        Ok(proto::UpdateSessionResponse { receipt: receipt(done) })
    }

    /// What is known of the driver may have changed since it was read, or somebody has to be asked about him: he is looked at again.
    async fn record_session(&self, said: Said, event: impl Fn(Box<SessionSpec>) -> Event) -> Result<Receipt, Refusal> {
        let has_driver = said.spec.driver.is_some();
        let event = event(Box::new(said.spec));
        let (engine, drivers) = (self.engine.clone(), self.drivers.clone());
        // Both, also where nobody waits for the answer any more.
        let done = tokio::spawn(async move {
            let done = engine.submit(&said.key, Some(said.stamp), event).await;
            if has_driver {
                drivers.look_at(said.key);
            }
            done
        });
        done.await.map_err(|error| Refusal::Unavailable(error.to_string()))?
    }

    /// Reads a call, turns its driver into what a journal may know of him, and fills in what his group says.
    ///
    /// `fits` is asked only to tell every fault at once and to keep a driver out of the register whose session is refused. The engine
    /// decides: it knows more, among others whether the call was made before.
    async fn hear(
        &self,
        caller: &Caller,
        saying: Saying<'_>,
        stamp: impl Fn(&mut Faults) -> Option<RequestStamp>,
        fits: impl Fn(&SessionSpec, &SiteView, Instant) -> Result<(), Rejection>,
    ) -> Result<Said, Refusal> {
        let mut faults = Faults::default();
        let stamp = stamp(&mut faults);
        let key = named_site(&mut faults, saying.tenant_id, saying.site_id);
        let key = key.map(|key| key.of(caller)).transpose()?;
        let name = saying.driver.map(token_name);
        let name = name.and_then(|name| faults.part("session.driver_token", name));
        let mut shape = Faults::default();
        let session = required(&mut faults, "session", saying.session, "a session");
        let spec = session.and_then(|session| read_session(&mut shape, session, None));
        if let Err(mut rejection) = shape.finish(()) {
            if let (Some(key), Some(spec)) = (&key, &spec)
                && let Ok(view) = self.engine.site(key).await
                && let Err(more) = fits(spec, &view, self.clock.now())
            {
                rejection = rejection.and(more);
            }
            faults.nest("session", rejection);
        }
        let (Some(stamp), Some(key), Some(mut spec), true) = (stamp, key, spec, faults.is_empty()) else {
            return Err(faults.into_rejection().into());
        };
        let view = self.engine.site(&key).await?;
        let now = self.clock.now();
        if let Some(name) = name
            && fits(&spec, &view, now).is_ok()
        {
            let known = self.drivers.meet(&key.tenant, name).await?;
            spec.driver = Some(known.driver(&view.site.spec().drivers, now));
        }
        if let Some(session) = session {
            let before = view.sessions.iter().find(|other| other.spec.id == spec.id);
            let driver = spec
                .driver
                .as_ref()
                .or(before.and_then(|before| before.spec.driver.as_ref()));
            let group = driver.and_then(|driver| driver.listing.as_ref()?.group.clone());
            self.fill_in(&key.tenant, group, session, &mut spec).await?;
        }
        Ok(Said { stamp, key, spec })
    }

    /// What the driver's group says holds where the caller says nothing.
    async fn fill_in(
        &self,
        tenant: &TenantId,
        group: Option<GroupId>,
        said: &proto::SessionSpec,
        spec: &mut SessionSpec,
    ) -> Result<(), Refusal> {
        let Some(id) = group else { return Ok(()) };
        spec.group.get_or_insert_with(|| id.clone());
        if let Some(group) = self.drivers.group(tenant, &id).await? {
            group.fill_in(spec, said.tier != 0, said.guaranteed_watt_hour != 0);
        }
        Ok(())
    }

    async fn override_one(
        &self,
        caller: &Caller,
        message: &proto::OverrideSessionRequest,
    ) -> Result<proto::OverrideSessionResponse, Refusal> {
        let (stamp, key, event) = read(|faults| {
            let stamp = stamp(faults, caller, message.meta.as_ref(), message);
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let session = faults.field("session_id", SessionId::parse(&message.session_id));
            let overridden = faults.field("session_override", session_override(message.session_override));
            let event = Event::SessionOverridden {
                session: session?,
                overridden: overridden?,
            };
            Some((stamp?, key?, event))
        })?;
        let key = key.of(caller)?;
        let done = self.engine.submit(&key, Some(stamp), event).await?;
        Ok(proto::OverrideSessionResponse { receipt: receipt(done) })
    }

    async fn record_all(
        &self,
        caller: &Caller,
        mut readings: Streaming<proto::ReportMeterRequest>,
    ) -> Result<MeterReceipt, Status> {
        let mut total = MeterReceipt::default();
        for index in 0_u64.. {
            let message = tokio::select! {
                () = self.stopped() => return Err(stopping()),
                message = timeout(self.limits.meter_idle_timeout, readings.message()) => message,
            };
            let Ok(message) = message else {
                return Err(Status::deadline_exceeded("no readings for too long"));
            };
            let Some(message) = message? else { break };
            self.wait_for_turn(caller).await?;
            // Faults name the message, as `requests[2]`: what those before it said is recorded.
            let place = format!("requests[{index}]");
            let recorded = self
                .record(caller, &message)
                .await
                .map_err(|refusal| status(&under(&place, refusal)))?;
            total.recorded += recorded.recorded;
            total.dropped += recorded.dropped;
        }
        Ok(total)
    }

    /// Each message of a stream counts as a call. One that comes too soon waits, and with it the stream.
    #[expect(clippy::disallowed_methods, reason = "the pace of a tenant is kept in real time")]
    async fn wait_for_turn(&self, caller: &Caller) -> Result<(), Status> {
        let Some(room) = &caller.room else { return Ok(()) };
        while let Err(wait) = room.count(CallKind::Ordinary) {
            tokio::select! {
                () = self.stopped() => return Err(stopping()),
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    async fn record(&self, caller: &Caller, message: &proto::ReportMeterRequest) -> Result<MeterReceipt, Refusal> {
        let (key, samples) = read(|faults| {
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let samples = faults.part("", meter_samples(&message.readings, self.clock.now()));
            Some((key?, samples?))
        })?;
        let key = key.of(caller)?;
        self.engine.meter(&key, samples).await
    }

    /// The final energy is recorded first: once the session has ended, a reading of its EVSE is another session's.
    async fn end(
        &self,
        caller: &Caller,
        message: &proto::EndSessionRequest,
    ) -> Result<proto::EndSessionResponse, Refusal> {
        let now = self.clock.now();
        let (stamp, key, ending) = read(|faults| {
            let stamp = stamp(faults, caller, message.meta.as_ref(), message);
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let ending = ending(faults, message, now);
            Some((stamp?, key?, ending?))
        })?;
        let key = key.of(caller)?;
        if let Some(energy) = ending.energy {
            let view = self.engine.site(&key).await?;
            let session = view.sessions.iter().find(|session| session.spec.id == ending.session);
            // Where it is not there, the engine knows the call already, or refuses it.
            if let Some(session) = session.filter(|session| session.spec.arrival <= ending.at) {
                let sample = final_sample(session, ending.at, energy);
                self.engine.meter(&key, vec![sample]).await?;
            }
        }
        let event = Event::SessionEnded {
            session: ending.session,
            at: ending.at,
            reason: message.reason.clone(),
        };
        let done = self.engine.submit(&key, Some(stamp), event).await?;
        Ok(proto::EndSessionResponse { receipt: receipt(done) })
    }

    async fn get_one(
        &self,
        caller: &Caller,
        message: &proto::GetSessionRequest,
    ) -> Result<proto::GetSessionResponse, Refusal> {
        let (key, id) = read(|faults| {
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let id = faults.field("session_id", SessionId::parse(&message.session_id));
            Some((key?, id?))
        })?;
        let key = key.of(caller)?;
        let view = self.engine.site(&key).await?;
        let there = view.sessions.iter().find(|session| session.spec.id == id).cloned();
        let session = match there {
            Some(session) => Some(session),
            None => self.engine.ended_session(&key, &id).await?,
        };
        let policy = &view.site.spec().drivers;
        let session = session.ok_or_else(|| Refusal::NotFound {
            what: "session",
            id: id.to_string(),
        })?;
        Ok(proto::GetSessionResponse {
            session: Some(session_message(&session, policy, self.clock.now())),
        })
    }

    async fn list_some(
        &self,
        caller: &Caller,
        message: &proto::ListSessionsRequest,
    ) -> Result<proto::ListSessionsResponse, Refusal> {
        const LIST: &str = "sessions";
        let (key, page) = read(|faults| {
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let page = page(faults, LIST, message.page.as_ref(), SessionId::parse);
            Some((key?, page?))
        })?;
        let key = key.of(caller)?;
        let view = self.engine.site(&key).await?;
        let rest = view
            .sessions
            .iter()
            .filter(|session| page.after.as_ref().is_none_or(|after| session.spec.id > *after));
        let mut sessions: BTreeMap<String, Session> = rest
            .map(|session| (session.spec.id.to_string(), session.clone()))
            .collect();
        if message.include_ended {
            let ended = self
                .engine
                .ended_sessions(&key, page.after.as_ref(), page.size + 1)
                .await?;
            // One that ended since the view was taken is shown as ended.
            sessions.extend(ended.into_iter().map(|session| (session.spec.id.to_string(), session)));
        }
        let (policy, now) = (&view.site.spec().drivers, self.clock.now());
        let items = sessions
            .into_iter()
            .map(|(id, session)| (id, session_message(&session, policy, now)));
        let (sessions, next_page_token) = cut(LIST, items, page.size, self.limits.max_response_bytes);
        Ok(proto::ListSessionsResponse {
            sessions,
            next_page_token,
        })
    }
}

/// How a session ends.
struct Ending {
    session: SessionId,
    at: Instant,
    energy: Option<WattSeconds>,
}

fn ending(faults: &mut Faults, message: &proto::EndSessionRequest, now: Instant) -> Option<Ending> {
    let session = faults.field("session_id", SessionId::parse(&message.session_id));
    let at = match &message.ended_at {
        None => Some(now),
        Some(at) => faults.part("ended_at", end_time(at, now)),
    };
    let length = message.reason.chars().count();
    faults.require(
        length <= MAX_REASON_CHARS && !message.reason.chars().any(char::is_control),
        "reason",
        "is too long or has control characters",
        format_args!("{length} characters"),
        format_args!("up to {MAX_REASON_CHARS} characters without control characters"),
    );
    let energy = match message.delivered_watt_hour {
        None => Some(None),
        Some(energy) => faults
            .within("delivered_watt_hour", "Wh", energy, 0..=MAX_ENERGY_WATT_HOURS)
            .map(|energy| Some(WattSeconds::from_watt_hours(energy))),
    };
    Some(Ending {
        session: session?,
        at: at?,
        energy: energy?,
    })
}

fn end_time(message: &prost_types::Timestamp, now: Instant) -> Result<Instant, Rejection> {
    let at = timestamp(message)?;
    let allowed = now - MAX_EVENT_AGE..=now + MAX_AHEAD;
    if allowed.contains(&at) {
        return Ok(at);
    }
    let said = format_args!("{} to {}, as unix seconds", allowed.start(), allowed.end()).to_string();
    Err(Rejection::one("", "is too far from the service's clock", at, said))
}

/// What the session got in all. Newer than the last reading, or it would be dropped.
fn final_sample(session: &Session, at: Instant, energy: WattSeconds) -> MeterSample {
    let last = session.last_sample.as_ref();
    let after_last = last.map_or(at, |sample| sample.at + Seconds::from_secs(1));
    MeterSample {
        evse: session.spec.evse.clone(),
        at: at.max(after_last),
        session_energy: Some(energy),
        power: None,
        currents: None,
    }
}

/// `policy` is that of its site.
fn session_message(session: &Session, policy: &DriverPolicy, now: Instant) -> proto::Session {
    let sample = session.last_sample.as_ref();
    let ended = session.ended.as_ref();
    let driver = session.spec.driver.as_ref();
    let is_turned_away = session.is_active() && session.overridden != Override::HandBack;
    let not_admitted = policy.verdict(driver, now).err().filter(|_| is_turned_away);
    proto::Session {
        spec: Some(proto::SessionSpec {
            connector_id: session.connector.to_string(),
            ..session_spec_message(&session.spec)
        }),
        driver_ref: driver.map(|driver| driver.person.to_string()).unwrap_or_default(),
        session_override: session_override_message(session.overridden) as i32,
        delivered_watt_hour: session.delivered.floor_watt_hours(),
        metered_at: sample.map(|sample| timestamp_message(sample.at)),
        metered_watt: sample.and_then(|sample| sample.power).map_or(0, |power| power.watts()),
        ended_at: ended.map(|ended| timestamp_message(ended.at)),
        end_reason: ended.map(|ended| ended.reason.clone()).unwrap_or_default(),
        not_admitted: not_admitted
            .map_or(proto::NotAdmitted::Unspecified, not_admitted_message)
            .into(),
    }
}
