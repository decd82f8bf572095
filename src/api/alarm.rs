//! AlarmService: what operators should know of.
//!
//! Decides how alarms are watched: each look tells what differs from what the watcher was told before.

use super::caller::{NamedSite, NamedTenant, heard, named_site, named_tenant};
use super::request::{cut, page};
use super::{Answer, Api, answer, stopping};
use crate::access::Caller;
use crate::domain::alarm::{Alarm, SiteAlarm};
use crate::domain::ids::{SiteId, TenantId};
use crate::domain::rejection::{Faults, Rejection};
use crate::engine::{Engine, Refusal};
use crate::wire::alarm::alarm_message;
use crate::wire::common::read;
use crate::wire::proto;
use crate::wire::status::status;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

type Watcher = mpsc::Sender<Result<proto::WatchAlarmsResponse, Status>>;

#[tonic::async_trait]
impl proto::alarm_service_server::AlarmService for Api {
    type WatchAlarmsStream = ReceiverStream<Result<proto::WatchAlarmsResponse, Status>>;

    async fn list_alarms(&self, request: Request<proto::ListAlarmsRequest>) -> Answer<proto::ListAlarmsResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.alarms(caller, message))
    }

    async fn watch_alarms(&self, request: Request<proto::WatchAlarmsRequest>) -> Answer<Self::WatchAlarmsStream> {
        let (caller, message) = heard(&request)?;
        let room = self.long_call(caller)?;
        let named = read(|faults| named(faults, &message.tenant_id, &message.site_id)).map_err(Refusal::from);
        let wanted = named.and_then(|named| named.of(caller));
        // A site that is not there is told at once.
        let wanted = wanted.and_then(|wanted| wanted.alarms(&self.engine).map(|_| wanted));
        let wanted = wanted.map_err(|refusal| status(&refusal))?;
        let (watcher, responses) = mpsc::channel(1);
        let api = self.clone();
        tokio::spawn(async move {
            api.tell_alarms(&wanted, watcher).await;
            drop(room);
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

/// Whose alarms a call names: of all sites of a tenant, or of one.
enum Named {
    Tenant(NamedTenant),
    Site(NamedSite),
}

fn named(faults: &mut Faults, tenant_id: &str, site_id: &str) -> Option<Named> {
    Some(if site_id.is_empty() {
        Named::Tenant(named_tenant(faults, tenant_id)?)
    } else {
        Named::Site(named_site(faults, tenant_id, site_id)?)
    })
}

/// The same, as far as the caller may see them.
struct Wanted {
    tenant: TenantId,
    site: Option<SiteId>,
    caller: Arc<Caller>,
}

impl Named {
    fn of(self, caller: &Arc<Caller>) -> Result<Wanted, Refusal> {
        let (tenant, site) = match self {
            Self::Tenant(tenant) => (tenant.of(caller)?, None),
            Self::Site(site) => {
                let key = site.of(caller)?;
                (key.tenant, Some(key.site))
            }
        };
        let caller = Arc::clone(caller);
        Ok(Wanted { tenant, site, caller })
    }
}

impl Wanted {
    fn alarms(&self, engine: &Engine) -> Result<Vec<SiteAlarm>, Refusal> {
        let mut alarms = engine.alarms(&self.tenant, self.site.as_ref())?;
        alarms.retain(|told| self.caller.grant.reaches_site(&told.key.site));
        Ok(alarms)
    }
}

/// An alarm's place in a list.
type Place = (SiteId, u64);

fn place(told: &SiteAlarm) -> Place {
    (told.key.site.clone(), told.alarm.number)
}

fn read_place(text: &str) -> Result<Place, Rejection> {
    let parts = text.rsplit_once('/');
    let number = parts.and_then(|(_, number)| number.parse().ok());
    let wrong = || Rejection::one("", "names no alarm", text, "a site's id, a slash and a number");
    Ok((SiteId::parse(parts.ok_or_else(wrong)?.0)?, number.ok_or_else(wrong)?))
}

/// What a watcher has been told.
#[derive(Default)]
struct Told {
    /// Those that are active.
    active: BTreeMap<Place, Alarm>,
    /// Of each site the highest number.
    highest: BTreeMap<SiteId, u64>,
    /// Whether anything was told before: what was cleared before that is old.
    begun: bool,
}

impl Told {
    /// What of `alarms` the watcher does not know yet.
    fn news(&mut self, alarms: Vec<SiteAlarm>) -> Vec<SiteAlarm> {
        let begun = std::mem::replace(&mut self.begun, true);
        let mut before = std::mem::take(&mut self.active);
        let mut news = Vec::new();
        for told in alarms {
            let known = before.remove(&place(&told));
            let highest = self.highest.entry(told.key.site.clone()).or_default();
            let is_new = begun && told.alarm.number > *highest;
            *highest = told.alarm.number.max(*highest);
            let is_news = match known {
                Some(known) => known != told.alarm,
                None => told.alarm.is_active() || is_new,
            };
            if told.alarm.is_active() {
                self.active.insert(place(&told), told.alarm.clone());
            }
            if is_news {
                news.push(told);
            }
        }
        news
    }
}

impl Api {
    fn alarms(
        &self,
        caller: &Arc<Caller>,
        message: &proto::ListAlarmsRequest,
    ) -> Result<proto::ListAlarmsResponse, Refusal> {
        const LIST: &str = "alarms";
        let (named, page) = read(|faults| {
            let named = named(faults, &message.tenant_id, &message.site_id);
            let page = page(faults, LIST, message.page.as_ref(), read_place);
            Some((named?, page?))
        })?;
        let alarms = named.of(caller)?.alarms(&self.engine)?;
        let now = self.clock.now();
        let wanted = alarms
            .iter()
            .filter(|told| message.include_cleared || told.alarm.is_active())
            .filter(|told| page.after.as_ref().is_none_or(|after| place(told) > *after));
        let items = wanted.map(|told| {
            let (site, number) = place(told);
            (format!("{site}/{number}"), alarm_message(told, now))
        });
        let (alarms, next_page_token) = cut(LIST, items, page.size, self.limits.max_response_bytes);
        Ok(proto::ListAlarmsResponse {
            alarms,
            next_page_token,
        })
    }

    /// Tells what holds, then each change, until the watcher goes or nothing happens for too long.
    async fn tell_alarms(&self, wanted: &Wanted, watcher: Watcher) {
        let mut changes = self.engine.watch_alarms();
        changes.mark_changed();
        let mut told = Told::default();
        // Whatever happens elsewhere, a watcher without news for so long is dismissed.
        let idle = self.limits.watch_idle_timeout;
        let status = loop {
            let news = timeout(idle, async {
                loop {
                    // Fails if the engine is gone, and then the service stops.
                    changes.changed().await.ok()?;
                    changes.borrow_and_update();
                    let news = told.news(wanted.alarms(&self.engine).unwrap_or_default());
                    if !news.is_empty() {
                        return Some(news);
                    }
                }
            });
            let news = tokio::select! {
                () = watcher.closed() => return,
                () = self.stopped() => break stopping(),
                news = news => news,
            };
            let news = match news {
                Ok(Some(news)) => news,
                Ok(None) => break stopping(),
                Err(_) => break Status::deadline_exceeded("no change for too long; watch again"),
            };
            let now = self.clock.now();
            for told in &news {
                let response = proto::WatchAlarmsResponse {
                    alarm: Some(alarm_message(told, now)),
                };
                tokio::select! {
                    sent = watcher.send(Ok(response)) => if sent.is_err() { return },
                    () = self.stopped() => return,
                }
            }
        };
        tracing::info!(method = "WatchAlarms", code = ?status.code(), "watcher dismissed");
        // Fails if the watcher has gone; then nobody is there to be told.
        let _ = watcher.send(Err(status)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alarm::{AlarmKind, Subject};
    use crate::domain::ids::SiteKey;
    use crate::units::Instant;

    fn alarm(number: u64, what: &str, cleared: bool) -> SiteAlarm {
        let at = Instant::from_unix_secs;
        SiteAlarm {
            key: SiteKey {
                tenant: TenantId::parse("cpo").unwrap(),
                site: SiteId::parse("a/b").unwrap(),
            },
            alarm: Alarm {
                number,
                kind: AlarmKind::GatewaySilent,
                subject: Subject::Site,
                since: at(1),
                gone_since: None,
                cleared_at: cleared.then(|| at(9)),
                times: 1,
                what: what.to_owned(),
                evses: Vec::new(),
                until: None,
            },
        }
    }

    #[test]
    fn a_watcher_is_told_what_holds_and_then_every_change_once() {
        let mut told = Told::default();
        let mut news = |alarms: &[SiteAlarm]| {
            let news = told.news(alarms.to_vec()).into_iter();
            news.map(|told| (told.alarm.number, told.alarm.is_active()))
                .collect::<Vec<_>>()
        };
        let old = alarm(1, "old", true);
        assert_eq!(news(&[old.clone(), alarm(2, "a", false)]), [(2, true)]);
        assert_eq!(news(&[old.clone(), alarm(2, "a", false)]), []);
        assert_eq!(news(&[old.clone(), alarm(2, "b", false)]), [(2, true)]);
        // Another came and went between two looks.
        let both = [old.clone(), alarm(2, "b", true), alarm(3, "c", true)];
        assert_eq!(news(&both), [(2, false), (3, false)]);
        assert_eq!(news(&both), []);
    }

    #[test]
    fn an_alarm_is_found_again_by_its_place_in_the_list() {
        let one = alarm(17, "", false);
        let (site, number) = place(&one);
        assert_eq!(read_place(&format!("{site}/{number}")).unwrap(), place(&one));
        for bad in ["", "a", "a/", "/1", "a/x"] {
            assert!(read_place(bad).is_err(), "{bad:?}");
        }
    }
}
