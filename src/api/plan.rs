//! PlanService: one plan for one problem, and the plans in force at sites.
//!
//! Decides how plans are watched: the newest is sent as soon as the watcher can take it, older ones are skipped.

use super::caller::{heard, named_site};
use super::{Answer, Api, answer, stopping};
use crate::access::Caller;
use crate::domain::ids::{SiteKey, TenantId};
use crate::engine::Refusal;
use crate::engine::view::PlanView;
use crate::wire::common::read;
use crate::wire::plan::{once_request, plan_response, provenance};
use crate::wire::proto;
use crate::wire::status::status;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

type Plans = watch::Receiver<Option<Arc<PlanView>>>;
type Watcher = mpsc::Sender<Result<proto::WatchPlanResponse, Status>>;

#[tonic::async_trait]
impl proto::plan_service_server::PlanService for Api {
    type WatchPlanStream = ReceiverStream<Result<proto::WatchPlanResponse, Status>>;

    async fn plan(&self, request: Request<proto::PlanRequest>) -> Answer<proto::PlanResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.plan_once(caller, message).await)
    }

    async fn get_plan(&self, request: Request<proto::GetPlanRequest>) -> Answer<proto::GetPlanResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.plan_in_force(caller, message))
    }

    async fn watch_plan(&self, request: Request<proto::WatchPlanRequest>) -> Answer<Self::WatchPlanStream> {
        let (caller, message) = heard(&request)?;
        let room = self.long_call(caller)?;
        let key = read(|faults| named_site(faults, &message.tenant_id, &message.site_id));
        let watched = key
            .map_err(Refusal::from)
            .and_then(|key| key.of(caller))
            .and_then(|key| Ok((self.engine.watch_plan(&key)?, key)));
        let (plans, key) = watched.map_err(|refusal| status(&refusal))?;
        // One plan ahead: more would be old by the time they are read.
        let (watcher, responses) = mpsc::channel(1);
        let api = self.clone();
        tokio::spawn(async move {
            api.show(&key, plans, watcher).await;
            drop(room);
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

impl Api {
    async fn plan_once(&self, caller: &Caller, message: &proto::PlanRequest) -> Result<proto::PlanResponse, Refusal> {
        // The problem belongs to nobody; a site has to have an owner.
        let nobody = TenantId::parse("nobody").expect("this is an id");
        let request = once_request(&nobody, message)?;
        let tenant = caller.grant.tenant.as_ref().unwrap_or(&nobody);
        let _place = match &caller.room {
            None => None,
            Some(room) => Some(room.enter_plan().ok_or(Refusal::Busy {
                what: "plans of this tenant",
            })?),
        };
        Ok(plan_response(&self.engine.plan_once(tenant, request).await?))
    }

    fn plan_in_force(
        &self,
        caller: &Caller,
        message: &proto::GetPlanRequest,
    ) -> Result<proto::GetPlanResponse, Refusal> {
        let key = read(|faults| named_site(faults, &message.tenant_id, &message.site_id))?.of(caller)?;
        let plan = self.engine.watch_plan(&key)?.borrow().clone();
        let plan = plan.ok_or_else(|| no_plan(&key))?;
        Ok(proto::GetPlanResponse {
            provenance: plan.provenance.as_ref().map(provenance),
            plan: Some(plan_response(&plan)),
        })
    }

    /// Shows the plan in force and each new one, until the site is deleted, the watcher goes or nothing happens for too long.
    async fn show(&self, key: &SiteKey, mut plans: Plans, watcher: Watcher) {
        plans.mark_changed();
        let end = loop {
            let changed = tokio::select! {
                () = watcher.closed() => return,
                () = self.stopped() => break Some(stopping()),
                changed = timeout(self.limits.watch_idle_timeout, plans.changed()) => changed,
            };
            match changed {
                Ok(Ok(())) => {}
                // The engine has stopped.
                Ok(Err(_)) => break Some(stopping()),
                Err(_) => break Some(Status::deadline_exceeded("no new plan for too long; watch again")),
            }
            let Some(plan) = plans.borrow_and_update().clone() else {
                if self.engine.watch_plan(key).is_err() {
                    // The site was deleted.
                    break None;
                }
                continue;
            };
            let response = proto::WatchPlanResponse {
                provenance: plan.provenance.as_ref().map(provenance),
                plan: Some(plan_response(&plan)),
            };
            let sent = tokio::select! {
                sent = watcher.send(Ok(response)) => sent.is_ok(),
                () = self.stopped() => break Some(stopping()),
            };
            if !sent {
                return;
            }
        };
        if let Some(status) = end {
            tracing::info!(method = "WatchPlan", code = ?status.code(), "watcher dismissed");
            // Fails if the watcher has gone; then nobody is there to be told.
            let _ = watcher.send(Err(status)).await;
        }
    }
}

fn no_plan(key: &SiteKey) -> Refusal {
    Refusal::NotFound {
        what: "plan of site",
        id: key.site.to_string(),
    }
}
