//! SiteService: sites, their limits, what energy costs there.
//!
//! Decides which calls are changes of a site and what they change. Whether a site may carry a limit is decided by the engine.

use super::request::{cut, page, receipt, request_id, site_key, stamp, tenant};
use super::{Answer, Api, answer, answer_change};
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
use tonic::Request;

#[tonic::async_trait]
impl proto::site_service_server::SiteService for Api {
    async fn put_site(&self, request: Request<proto::PutSiteRequest>) -> Answer<proto::PutSiteResponse> {
        let message = request.get_ref();
        answer_change(request_id(message.meta.as_ref()), self.put(message).await)
    }

    async fn get_site(&self, request: Request<proto::GetSiteRequest>) -> Answer<proto::GetSiteResponse> {
        answer(self.get(request.get_ref()).await)
    }

    async fn get_rollout(&self, request: Request<proto::GetRolloutRequest>) -> Answer<proto::GetRolloutResponse> {
        answer(self.rollout(request.get_ref()).await)
    }

    async fn list_sites(&self, request: Request<proto::ListSitesRequest>) -> Answer<proto::ListSitesResponse> {
        answer(self.list(request.get_ref()).await)
    }

    async fn delete_site(&self, request: Request<proto::DeleteSiteRequest>) -> Answer<proto::DeleteSiteResponse> {
        let message = request.get_ref();
        answer_change(request_id(message.meta.as_ref()), self.delete(message).await)
    }

    async fn stop_site(&self, request: Request<proto::StopSiteRequest>) -> Answer<proto::StopSiteResponse> {
        let message = request.get_ref();
        answer_change(request_id(message.meta.as_ref()), self.stop(message).await)
    }

    async fn set_grid_limit(
        &self,
        request: Request<proto::SetGridLimitRequest>,
    ) -> Answer<proto::SetGridLimitResponse> {
        let message = request.get_ref();
        answer_change(request_id(message.meta.as_ref()), self.set_limit(message).await)
    }

    async fn list_grid_limits(
        &self,
        request: Request<proto::ListGridLimitsRequest>,
    ) -> Answer<proto::ListGridLimitsResponse> {
        answer(self.list_limits(request.get_ref()).await)
    }

    async fn remove_grid_limit(
        &self,
        request: Request<proto::RemoveGridLimitRequest>,
    ) -> Answer<proto::RemoveGridLimitResponse> {
        let message = request.get_ref();
        answer_change(request_id(message.meta.as_ref()), self.remove_limit(message).await)
    }

    async fn report_node_meter(
        &self,
        request: Request<proto::ReportNodeMeterRequest>,
    ) -> Answer<proto::ReportNodeMeterResponse> {
        answer(self.meter_nodes(request.get_ref()).await)
    }

    async fn check_evse(&self, request: Request<proto::CheckEvseRequest>) -> Answer<proto::CheckEvseResponse> {
        let message = request.get_ref();
        answer_change(request_id(message.meta.as_ref()), self.check(message).await)
    }

    async fn abort_evse_check(
        &self,
        request: Request<proto::AbortEvseCheckRequest>,
    ) -> Answer<proto::AbortEvseCheckResponse> {
        let message = request.get_ref();
        answer_change(request_id(message.meta.as_ref()), self.abort_check(message).await)
    }

    async fn get_evse_check(
        &self,
        request: Request<proto::GetEvseCheckRequest>,
    ) -> Answer<proto::GetEvseCheckResponse> {
        answer(self.last_check(request.get_ref()).await)
    }

    async fn set_prices(&self, request: Request<proto::SetPricesRequest>) -> Answer<proto::SetPricesResponse> {
        let message = request.get_ref();
        answer_change(request_id(message.meta.as_ref()), self.price(message).await)
    }

    async fn set_forecast(&self, request: Request<proto::SetForecastRequest>) -> Answer<proto::SetForecastResponse> {
        let message = request.get_ref();
        answer_change(request_id(message.meta.as_ref()), self.foresee(message).await)
    }
}

impl Api {
    async fn put(&self, message: &proto::PutSiteRequest) -> Result<proto::PutSiteResponse, Refusal> {
        let (stamp, spec) = read(|faults| {
            let stamp = stamp(faults, message.meta.as_ref(), message);
            let tenant = tenant(faults, &message.tenant_id);
            let site = required(faults, "site", message.site.as_ref(), "a site");
            // The site's own faults are told even where the tenant has one.
            let placeholder = TenantId::parse("unknown").expect("this is an id");
            let owner = tenant.clone().unwrap_or(placeholder);
            let spec = site.and_then(|site| faults.part("site", valid_site_spec(&owner, site)));
            tenant?;
            Some((stamp?, spec?))
        })?;
        let key = SiteKey {
            tenant: spec.tenant.clone(),
            site: spec.id.clone(),
        };
        let event = Event::SitePut(Box::new(spec));
        let done = self.engine.submit(&key, Some(stamp), event).await?;
        Ok(proto::PutSiteResponse { receipt: receipt(done) })
    }

    async fn get(&self, message: &proto::GetSiteRequest) -> Result<proto::GetSiteResponse, Refusal> {
        let key = read(|faults| site_key(faults, &message.tenant_id, &message.site_id))?;
        let view = self.engine.site(&key).await?;
        Ok(proto::GetSiteResponse {
            site: Some(site_message(view.site.spec())),
            stopped: view.stopped,
            sequence: view.sequence.cast_signed(),
            not_controlled_because: view.not_controlled_because.clone().unwrap_or_default(),
        })
    }

    async fn rollout(&self, message: &proto::GetRolloutRequest) -> Result<proto::GetRolloutResponse, Refusal> {
        const LIST: &str = "rollout";
        let (key, page) = read(|faults| {
            let key = site_key(faults, &message.tenant_id, &message.site_id);
            let page = page(faults, LIST, message.page.as_ref(), EvseId::parse);
            Some((key?, page?))
        })?;
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

    async fn list(&self, message: &proto::ListSitesRequest) -> Result<proto::ListSitesResponse, Refusal> {
        const LIST: &str = "sites";
        let (tenant, page) = read(|faults| {
            let tenant = tenant(faults, &message.tenant_id);
            let page = page(faults, LIST, message.page.as_ref(), SiteId::parse);
            Some((tenant?, page?))
        })?;
        let ids = self.engine.sites(&tenant, page.after.as_ref(), page.size + 1);
        let mut sites = Vec::with_capacity(ids.len());
        for site in ids {
            let key = SiteKey {
                tenant: tenant.clone(),
                site,
            };
            match self.engine.site(&key).await {
                Ok(view) => sites.push((key.site.to_string(), site_message(view.site.spec()))),
                // Deleted since it was listed.
                Err(Refusal::NotFound { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        let (sites, next_page_token) = cut(LIST, sites, page.size, self.limits.max_response_bytes);
        Ok(proto::ListSitesResponse { sites, next_page_token })
    }

    async fn delete(&self, message: &proto::DeleteSiteRequest) -> Result<proto::DeleteSiteResponse, Refusal> {
        let (stamp, key) = read(|faults| {
            let stamp = stamp(faults, message.meta.as_ref(), message);
            let key = site_key(faults, &message.tenant_id, &message.site_id);
            Some((stamp?, key?))
        })?;
        let done = self.engine.submit(&key, Some(stamp), Event::SiteDeleted).await?;
        Ok(proto::DeleteSiteResponse { receipt: receipt(done) })
    }

    async fn stop(&self, message: &proto::StopSiteRequest) -> Result<proto::StopSiteResponse, Refusal> {
        let (stamp, key) = read(|faults| {
            let stamp = stamp(faults, message.meta.as_ref(), message);
            let key = site_key(faults, &message.tenant_id, &message.site_id);
            Some((stamp?, key?))
        })?;
        let event = Event::SiteStopped {
            stopped: message.stopped,
        };
        let done = self.engine.submit(&key, Some(stamp), event).await?;
        Ok(proto::StopSiteResponse { receipt: receipt(done) })
    }

    async fn set_limit(&self, message: &proto::SetGridLimitRequest) -> Result<proto::SetGridLimitResponse, Refusal> {
        let mut faults = Faults::default();
        let stamp = stamp(&mut faults, message.meta.as_ref(), message);
        let key = site_key(&mut faults, &message.tenant_id, &message.site_id);
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
        message: &proto::ListGridLimitsRequest,
    ) -> Result<proto::ListGridLimitsResponse, Refusal> {
        const LIST: &str = "grid_limits";
        let (key, page) = read(|faults| {
            let key = site_key(faults, &message.tenant_id, &message.site_id);
            let page = page(faults, LIST, message.page.as_ref(), GridLimitId::parse);
            Some((key?, page?))
        })?;
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
        message: &proto::RemoveGridLimitRequest,
    ) -> Result<proto::RemoveGridLimitResponse, Refusal> {
        let (stamp, key, limit) = read(|faults| {
            let stamp = stamp(faults, message.meta.as_ref(), message);
            let key = site_key(faults, &message.tenant_id, &message.site_id);
            let limit = faults.field("grid_limit_id", GridLimitId::parse(&message.grid_limit_id));
            Some((stamp?, key?, limit?))
        })?;
        let event = Event::GridLimitRemoved(limit);
        let done = self.engine.submit(&key, Some(stamp), event).await?;
        Ok(proto::RemoveGridLimitResponse { receipt: receipt(done) })
    }

    async fn meter_nodes(
        &self,
        message: &proto::ReportNodeMeterRequest,
    ) -> Result<proto::ReportNodeMeterResponse, Refusal> {
        let now = self.clock.now();
        let (key, readings) = read(|faults| {
            let key = site_key(faults, &message.tenant_id, &message.site_id);
            let readings = faults.part("", node_readings(&message.readings, now));
            Some((key?, readings?))
        })?;
        let done = self.engine.meter_nodes(&key, readings).await?;
        Ok(proto::ReportNodeMeterResponse {
            recorded: i64::try_from(done.recorded).unwrap_or(i64::MAX),
            dropped: i64::try_from(done.dropped).unwrap_or(i64::MAX),
        })
    }

    async fn price(&self, message: &proto::SetPricesRequest) -> Result<proto::SetPricesResponse, Refusal> {
        let (stamp, key, prices) = read(|faults| {
            let stamp = stamp(faults, message.meta.as_ref(), message);
            let key = site_key(faults, &message.tenant_id, &message.site_id);
            let prices = faults.part("prices", prices(&message.prices));
            Some((stamp?, key?, prices?))
        })?;
        let done = self.engine.submit(&key, Some(stamp), Event::PricesSet(prices)).await?;
        Ok(proto::SetPricesResponse { receipt: receipt(done) })
    }

    async fn foresee(&self, message: &proto::SetForecastRequest) -> Result<proto::SetForecastResponse, Refusal> {
        let (stamp, key, event) = read(|faults| {
            let stamp = stamp(faults, message.meta.as_ref(), message);
            let key = site_key(faults, &message.tenant_id, &message.site_id);
            let kind = faults.field("kind", forecast_kind(message.kind));
            let power = faults.part("points", forecast(&message.points));
            let event = Event::ForecastSet {
                kind: kind?,
                power: power?,
            };
            Some((stamp?, key?, event))
        })?;
        let done = self.engine.submit(&key, Some(stamp), event).await?;
        Ok(proto::SetForecastResponse { receipt: receipt(done) })
    }
}
