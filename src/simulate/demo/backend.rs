//! The demo's CPO back end and its site manager: clients of `SiteService` and `SessionService`.
//!
//! Decides what the service is told: the site as it is built, the tariff, who came, what the driver said, what the station sees, who
//! left. Never tells it what it could not know: how much a car will really take, and when it will really leave.

use super::gateway::timestamp;
use crate::simulate::day::{Day, DaySession, GRID_CONNECTION, TENANT};
use crate::units::{DeciAmps, WattSeconds, Watts};
use crate::wire::bearer::Calls;
use crate::wire::proto;
use crate::wire::site::{price_messages, site_message};
use proto::session_service_client::SessionServiceClient;
use proto::site_service_client::SiteServiceClient;

const CUT_ID: &str = "noon-cut";

/// Calls the API on behalf of the CPO.
pub struct Backend {
    sites: SiteServiceClient<Calls>,
    sessions: SessionServiceClient<Calls>,
    site_id: String,
    /// Updates sent, which number them.
    updates: u64,
}

/// What a back end learns of a car from its station: the meter's current, and OCPP's status SuspendedEV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// It takes no more than this, though it is offered more.
    pub most: DeciAmps,
    /// It stopped by itself, with this much energy.
    pub full_at: Option<WattSeconds>,
}

impl Backend {
    pub fn new(calls: Calls, day: &Day) -> Self {
        Self {
            sites: SiteServiceClient::new(calls.clone()),
            sessions: SessionServiceClient::new(calls),
            site_id: day.site.spec().id.to_string(),
            updates: 0,
        }
    }

    pub async fn put_site(&mut self, day: &Day) -> anyhow::Result<()> {
        let request = proto::PutSiteRequest {
            meta: meta("put-site"),
            tenant_id: TENANT.to_owned(),
            site: Some(site_message(day.site.spec())),
        };
        self.sites.put_site(request).await?;
        Ok(())
    }

    pub async fn set_prices(&mut self, day: &Day) -> anyhow::Result<()> {
        let request = proto::SetPricesRequest {
            meta: meta("set-prices"),
            tenant_id: TENANT.to_owned(),
            site_id: self.site_id.clone(),
            prices: price_messages(&day.prices),
        };
        self.sites.set_prices(request).await?;
        Ok(())
    }

    /// The site manager lowers the limit from now on, without saying until when.
    pub async fn cut_grid_limit(&mut self, day: &Day) -> anyhow::Result<()> {
        let request = proto::SetGridLimitRequest {
            meta: meta("cut"),
            tenant_id: TENANT.to_owned(),
            site_id: self.site_id.clone(),
            grid_limit: Some(proto::GridLimit {
                id: CUT_ID.to_owned(),
                node_id: GRID_CONNECTION.to_owned(),
                source: proto::LimitSource::SiteManager.into(),
                limit: Some(total_limit(day.cut.limit)),
                when: Some(proto::grid_limit::When::Once(proto::OnceWindow {
                    from: timestamp(day.cut.from),
                    until: None,
                })),
            }),
        };
        self.sites.set_grid_limit(request).await?;
        Ok(())
    }

    pub async fn restore_grid_limit(&mut self) -> anyhow::Result<()> {
        let request = proto::RemoveGridLimitRequest {
            meta: meta("restore"),
            tenant_id: TENANT.to_owned(),
            site_id: self.site_id.clone(),
            grid_limit_id: CUT_ID.to_owned(),
        };
        self.sites.remove_grid_limit(request).await?;
        Ok(())
    }

    pub async fn start_session(&mut self, day: &Day, session: &DaySession) -> anyhow::Result<()> {
        let request = proto::StartSessionRequest {
            meta: meta(&format!("start-{}", session.id)),
            tenant_id: TENANT.to_owned(),
            site_id: self.site_id.clone(),
            session: Some(spec(day, session)),
        };
        self.sessions.start_session(request).await?;
        Ok(())
    }

    /// Tells what the car was seen to do, where it differs from what its driver said.
    pub async fn update_session(&mut self, day: &Day, session: &DaySession, seen: Seen) -> anyhow::Result<()> {
        let said = spec(day, session);
        let spec = proto::SessionSpec {
            car: Some(proto::Car {
                maximum: Some(current(seen.most)),
                ..Default::default()
            }),
            need_watt_hour: seen
                .full_at
                .map_or(said.need_watt_hour, |full| Some(full.floor_watt_hours())),
            need_estimated: seen.full_at.is_some(),
            ..said
        };
        self.updates += 1;
        let request = proto::UpdateSessionRequest {
            meta: meta(&format!("update-{}", self.updates)),
            tenant_id: TENANT.to_owned(),
            site_id: self.site_id.clone(),
            session: Some(spec),
        };
        self.sessions.update_session(request).await?;
        Ok(())
    }

    pub async fn end_session(&mut self, session: &DaySession, delivered: WattSeconds) -> anyhow::Result<()> {
        let request = proto::EndSessionRequest {
            meta: meta(&format!("end-{}", session.id)),
            tenant_id: TENANT.to_owned(),
            site_id: self.site_id.clone(),
            session_id: session.id.clone(),
            ended_at: timestamp(session.departure),
            reason: "unplugged".to_owned(),
            delivered_watt_hour: Some(delivered.floor_watt_hours()),
        };
        self.sessions.end_session(request).await?;
        Ok(())
    }
}

/// What the driver said.
fn spec(day: &Day, session: &DaySession) -> proto::SessionSpec {
    proto::SessionSpec {
        id: session.id.clone(),
        evse_id: day.evses[session.evse].id.to_string(),
        arrival_time: timestamp(session.arrival),
        departure_time: session.requested_departure.and_then(timestamp),
        need_watt_hour: session.requested.map(WattSeconds::floor_watt_hours),
        ..Default::default()
    }
}

fn current(current: DeciAmps) -> proto::Rate {
    proto::Rate {
        rate: Some(proto::rate::Rate::CurrentDeciampere(current.deciamps())),
    }
}

fn meta(request_id: &str) -> Option<proto::RequestMeta> {
    Some(proto::RequestMeta {
        request_id: request_id.to_owned(),
    })
}

fn total_limit(limit: Watts) -> proto::NodeLimit {
    proto::NodeLimit {
        line_deciampere: None,
        total_watt: Some(limit.watts()),
    }
}
