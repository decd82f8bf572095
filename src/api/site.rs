//! SiteService: sites, their limits, what energy costs there.
//!
//! Decides which calls are changes of a site and what they change. Whether a site may carry a limit is decided by the engine.

use super::caller::{heard, named_site, named_tenant};
use super::request::{cut, page, receipt, request_id, stamp};
use super::{Answer, Api, answer, answer_change};
use crate::access::Caller;
use crate::domain::event::Event;
use crate::domain::ids::{EvseId, GridLimitId, SiteId, SiteKey, TenantId};
use crate::domain::limits::Capacity;
use crate::domain::rejection::Faults;
use crate::engine::Refusal;
use crate::wire::common::{read, required, timestamp_message};
use crate::wire::meter::node_readings;
use crate::wire::proto;
use crate::wire::rollout::{evse_message, place_message};
use crate::wire::site::{
    forecast, forecast_kind, grid_limit, grid_limit_message, prices, site_message, valid_grid_limit, valid_site_spec,
};
use prost::Message;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;
use tonic::Request;

#[tonic::async_trait]
impl proto::site_service_server::SiteService for Api {
    async fn put_site(&self, request: Request<proto::PutSiteRequest>) -> Answer<proto::PutSiteResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(request_id(message.meta.as_ref()), self.put(caller, message).await)
    }

    async fn get_site(&self, request: Request<proto::GetSiteRequest>) -> Answer<proto::GetSiteResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.get(caller, message).await)
    }

    async fn get_rollout(&self, request: Request<proto::GetRolloutRequest>) -> Answer<proto::GetRolloutResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.rollout(caller, message).await)
    }

    async fn list_sites(&self, request: Request<proto::ListSitesRequest>) -> Answer<proto::ListSitesResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.list(caller, message).await)
    }

    async fn delete_site(&self, request: Request<proto::DeleteSiteRequest>) -> Answer<proto::DeleteSiteResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(request_id(message.meta.as_ref()), self.delete(caller, message).await)
    }

    async fn stop_site(&self, request: Request<proto::StopSiteRequest>) -> Answer<proto::StopSiteResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(request_id(message.meta.as_ref()), self.stop(caller, message).await)
    }

    async fn set_grid_limit(
        &self,
        request: Request<proto::SetGridLimitRequest>,
    ) -> Answer<proto::SetGridLimitResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(request_id(message.meta.as_ref()), self.set_limit(caller, message).await)
    }

    async fn list_grid_limits(
        &self,
        request: Request<proto::ListGridLimitsRequest>,
    ) -> Answer<proto::ListGridLimitsResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.list_limits(caller, message).await)
    }

    async fn remove_grid_limit(
        &self,
        request: Request<proto::RemoveGridLimitRequest>,
    ) -> Answer<proto::RemoveGridLimitResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(
            request_id(message.meta.as_ref()),
            self.remove_limit(caller, message).await,
        )
    }

    async fn report_node_meter(
        &self,
        request: Request<proto::ReportNodeMeterRequest>,
    ) -> Answer<proto::ReportNodeMeterResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.meter_nodes(caller, message).await)
    }

    async fn check_evse(&self, request: Request<proto::CheckEvseRequest>) -> Answer<proto::CheckEvseResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(request_id(message.meta.as_ref()), self.check(caller, message).await)
    }

    async fn abort_evse_check(
        &self,
        request: Request<proto::AbortEvseCheckRequest>,
    ) -> Answer<proto::AbortEvseCheckResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(
            request_id(message.meta.as_ref()),
            self.abort_check(caller, message).await,
        )
    }

    async fn get_evse_check(
        &self,
        request: Request<proto::GetEvseCheckRequest>,
    ) -> Answer<proto::GetEvseCheckResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.last_check(caller, message).await)
    }

    async fn set_prices(&self, request: Request<proto::SetPricesRequest>) -> Answer<proto::SetPricesResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(request_id(message.meta.as_ref()), self.price(caller, message).await)
    }

    async fn set_forecast(&self, request: Request<proto::SetForecastRequest>) -> Answer<proto::SetForecastResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(request_id(message.meta.as_ref()), self.foresee(caller, message).await)
    }
}

impl Api {
    async fn put(&self, caller: &Caller, message: &proto::PutSiteRequest) -> Result<proto::PutSiteResponse, Refusal> {
        let (stamp, tenant, spec) = read(|faults| {
            let stamp = stamp(faults, caller, message.meta.as_ref(), message);
            let tenant = named_tenant(faults, &message.tenant_id);
            let site = required(faults, "site", message.site.as_ref(), "a site");
            // The site's own faults are told even where the tenant has one.
            let nobody = || TenantId::parse("unknown").expect("this is an id");
            let owner = caller.grant.tenant.clone().unwrap_or_else(nobody);
            let spec = site.and_then(|site| faults.part("site", valid_site_spec(&owner, site)));
            Some((stamp?, tenant?, spec?))
        })?;
        let key = tenant.site(spec.id.clone()).of(caller)?;
        let evses = spec.stations.iter().map(|station| station.evses.len()).sum();
        let growing = self.room_to_grow(caller, &key, evses).await?;
        let event = Event::SitePut(Box::new(spec));
        let (engine, drivers) = (self.engine.clone(), self.drivers.clone());
        // Until it is done, also where nobody waits for it any more: two that grow at once would each find room.
        let done = tokio::spawn(async move {
            let _growing = growing;
            let done = engine.submit(&key, Some(stamp), event).await;
            // It may ask now about drivers who are there already.
            drivers.look_at(key);
            done
        });
        let done = done.await.map_err(|error| Refusal::Unavailable(error.to_string()))??;
        Ok(proto::PutSiteResponse { receipt: receipt(done) })
    }

    /// Whether a site with so many EVSEs fits into what its tenant may have. One that does not grow always fits.
    async fn room_to_grow(
        &self,
        caller: &Caller,
        key: &SiteKey,
        evses: usize,
    ) -> Result<Option<OwnedMutexGuard<()>>, Refusal> {
        let Some(room) = &caller.room else { return Ok(None) };
        let size = |except| self.engine.size_of(&key.tenant, except);
        let grows = || {
            let (with, without) = (size(None), size(Some(&key.site)));
            with.sites == without.sites || without.evses + evses > with.evses
        };
        let growing = Arc::clone(&room.growing).lock_owned().await;
        let (quota, others) = (self.access.tenant(&key.tenant)?.quota, size(Some(&key.site)));
        let wanted = [
            ("sites", others.sites + 1, quota.sites),
            ("EVSEs", others.evses + evses, quota.evses),
        ];
        match wanted.into_iter().find(|(_, wanted, most)| *wanted > *most as usize) {
            Some((what, wanted, most)) if grows() => {
                let sees_all = caller.grant.sites.is_none();
                let tenant = &key.tenant;
                Err(Refusal::NotNow(if sees_all {
                    format!("tenant {tenant} would have {wanted} {what}; its quota is {most}")
                } else {
                    format!("tenant {tenant} has no room for more {what}")
                }))
            }
            _ => Ok(Some(growing)),
        }
    }

    async fn get(&self, caller: &Caller, message: &proto::GetSiteRequest) -> Result<proto::GetSiteResponse, Refusal> {
        let key = read(|faults| named_site(faults, &message.tenant_id, &message.site_id))?.of(caller)?;
        let view = self.engine.site(&key).await?;
        Ok(proto::GetSiteResponse {
            site: Some(site_message(view.site.spec())),
            stopped: view.stopped,
            sequence: view.sequence.cast_signed(),
            not_controlled_because: view.not_controlled_because.clone().unwrap_or_default(),
        })
    }

    async fn rollout(
        &self,
        caller: &Caller,
        message: &proto::GetRolloutRequest,
    ) -> Result<proto::GetRolloutResponse, Refusal> {
        const LIST: &str = "rollout";
        let (key, page) = read(|faults| {
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let page = page(faults, LIST, message.page.as_ref(), EvseId::parse);
            Some((key?, page?))
        })?;
        let key = key.of(caller)?;
        let view = self.engine.rollout(&key).await?;
        let limited = view
            .places
            .iter()
            .filter(|place| place.available != Capacity::UNLIMITED || place.meter.is_some());
        let mut response = proto::GetRolloutResponse {
            at: Some(timestamp_message(view.at)),
            gateway_connected: view.gateway_connected,
            places: limited.filter(|_| page.after.is_none()).map(place_message).collect(),
            ..Default::default()
        };
        let left = self.limits.max_response_bytes.saturating_sub(response.encoded_len());
        let wanted = (view.evses.iter()).filter(|status| page.after.as_ref().is_none_or(|after| status.evse > *after));
        let evses = wanted.map(|status| {
            let session = view.sessions.get(&status.evse);
            let check = view.checks.get(&status.evse);
            (status.evse.to_string(), evse_message(status, session, check))
        });
        (response.evses, response.next_page_token) = cut(LIST, evses, page.size, left);
        Ok(response)
    }

    async fn list(
        &self,
        caller: &Caller,
        message: &proto::ListSitesRequest,
    ) -> Result<proto::ListSitesResponse, Refusal> {
        const LIST: &str = "sites";
        let (tenant, page) = read(|faults| {
            let tenant = named_tenant(faults, &message.tenant_id);
            let page = page(faults, LIST, message.page.as_ref(), SiteId::parse);
            Some((tenant?, page?))
        })?;
        let tenant = tenant.of(caller)?;
        let ids = match &caller.grant.sites {
            None => self.engine.sites(&tenant, page.after.as_ref(), page.size + 1),
            Some(reached) => (reached.iter())
                .filter(|site| page.after.as_ref().is_none_or(|after| *site > after))
                .take(page.size + 1)
                .cloned()
                .collect(),
        };
        let mut sites = Vec::with_capacity(ids.len());
        for site in ids {
            let key = SiteKey {
                tenant: tenant.clone(),
                site,
            };
            match self.engine.site(&key).await {
                Ok(view) => sites.push((key.site.to_string(), site_message(view.site.spec()))),
                // Deleted since it was listed, or only named by the token.
                Err(Refusal::NotFound { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        let (sites, next_page_token) = cut(LIST, sites, page.size, self.limits.max_response_bytes);
        Ok(proto::ListSitesResponse { sites, next_page_token })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: &proto::DeleteSiteRequest,
    ) -> Result<proto::DeleteSiteResponse, Refusal> {
        let (stamp, key) = read(|faults| {
            let stamp = stamp(faults, caller, message.meta.as_ref(), message);
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            Some((stamp?, key?))
        })?;
        let key = key.of(caller)?;
        let done = self.engine.submit(&key, Some(stamp), Event::SiteDeleted).await?;
        Ok(proto::DeleteSiteResponse { receipt: receipt(done) })
    }

    async fn stop(
        &self,
        caller: &Caller,
        message: &proto::StopSiteRequest,
    ) -> Result<proto::StopSiteResponse, Refusal> {
        let (stamp, key) = read(|faults| {
            let stamp = stamp(faults, caller, message.meta.as_ref(), message);
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            Some((stamp?, key?))
        })?;
        let key = key.of(caller)?;
        let event = Event::SiteStopped {
            stopped: message.stopped,
        };
        let done = self.engine.submit(&key, Some(stamp), event).await?;
        Ok(proto::StopSiteResponse { receipt: receipt(done) })
    }

    async fn set_limit(
        &self,
        caller: &Caller,
        message: &proto::SetGridLimitRequest,
    ) -> Result<proto::SetGridLimitResponse, Refusal> {
        let mut faults = Faults::default();
        let stamp = stamp(&mut faults, caller, message.meta.as_ref(), message);
        let key = named_site(&mut faults, &message.tenant_id, &message.site_id);
        let key = key.map(|key| key.of(caller)).transpose()?;
        let told = required(&mut faults, "grid_limit", message.grid_limit.as_ref(), "a grid limit");
        let (Some(stamp), Some(key), Some(Ok(limit))) = (stamp, &key, told.map(grid_limit)) else {
            // Held against the site as well, only to tell every fault at once: else the engine decides.
            let view = match &key {
                Some(key) => self.engine.site(key).await.ok(),
                None => None,
            };
            if let Some(told) = told {
                let site = view.as_ref().map(|view| &view.site);
                faults.part("grid_limit", valid_grid_limit(told, site));
            }
            return Err(faults.into_rejection().into());
        };
        let event = Event::GridLimitSet(limit);
        let done = self.engine.submit(key, Some(stamp), event).await?;
        Ok(proto::SetGridLimitResponse { receipt: receipt(done) })
    }

    async fn list_limits(
        &self,
        caller: &Caller,
        message: &proto::ListGridLimitsRequest,
    ) -> Result<proto::ListGridLimitsResponse, Refusal> {
        const LIST: &str = "grid_limits";
        let (key, page) = read(|faults| {
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let page = page(faults, LIST, message.page.as_ref(), GridLimitId::parse);
            Some((key?, page?))
        })?;
        let key = key.of(caller)?;
        let view = self.engine.site(&key).await?;
        let rest = view
            .grid_limits
            .iter()
            .filter(|limit| page.after.as_ref().is_none_or(|after| limit.id > *after))
            .map(|limit| (limit.id.to_string(), grid_limit_message(limit)));
        let (grid_limits, next_page_token) = cut(LIST, rest, page.size, self.limits.max_response_bytes);
        Ok(proto::ListGridLimitsResponse {
            grid_limits,
            next_page_token,
        })
    }

    async fn remove_limit(
        &self,
        caller: &Caller,
        message: &proto::RemoveGridLimitRequest,
    ) -> Result<proto::RemoveGridLimitResponse, Refusal> {
        let (stamp, key, limit) = read(|faults| {
            let stamp = stamp(faults, caller, message.meta.as_ref(), message);
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let limit = faults.field("grid_limit_id", GridLimitId::parse(&message.grid_limit_id));
            Some((stamp?, key?, limit?))
        })?;
        let key = key.of(caller)?;
        let event = Event::GridLimitRemoved(limit);
        let done = self.engine.submit(&key, Some(stamp), event).await?;
        Ok(proto::RemoveGridLimitResponse { receipt: receipt(done) })
    }

    async fn meter_nodes(
        &self,
        caller: &Caller,
        message: &proto::ReportNodeMeterRequest,
    ) -> Result<proto::ReportNodeMeterResponse, Refusal> {
        let now = self.clock.now();
        let (key, readings) = read(|faults| {
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let readings = faults.part("", node_readings(&message.readings, now));
            Some((key?, readings?))
        })?;
        let key = key.of(caller)?;
        let done = self.engine.meter_nodes(&key, readings).await?;
        Ok(proto::ReportNodeMeterResponse {
            recorded: i64::try_from(done.recorded).unwrap_or(i64::MAX),
            dropped: i64::try_from(done.dropped).unwrap_or(i64::MAX),
        })
    }

    async fn price(
        &self,
        caller: &Caller,
        message: &proto::SetPricesRequest,
    ) -> Result<proto::SetPricesResponse, Refusal> {
        let (stamp, key, prices) = read(|faults| {
            let stamp = stamp(faults, caller, message.meta.as_ref(), message);
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let prices = faults.part("prices", prices(&message.prices));
            Some((stamp?, key?, prices?))
        })?;
        let key = key.of(caller)?;
        let done = self.engine.submit(&key, Some(stamp), Event::PricesSet(prices)).await?;
        Ok(proto::SetPricesResponse { receipt: receipt(done) })
    }

    async fn foresee(
        &self,
        caller: &Caller,
        message: &proto::SetForecastRequest,
    ) -> Result<proto::SetForecastResponse, Refusal> {
        let (stamp, key, event) = read(|faults| {
            let stamp = stamp(faults, caller, message.meta.as_ref(), message);
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let kind = faults.field("kind", forecast_kind(message.kind));
            let power = faults.part("points", forecast(&message.points));
            let event = Event::ForecastSet {
                kind: kind?,
                power: power?,
            };
            Some((stamp?, key?, event))
        })?;
        let key = key.of(caller)?;
        let done = self.engine.submit(&key, Some(stamp), event).await?;
        Ok(proto::SetForecastResponse { receipt: receipt(done) })
    }
}
