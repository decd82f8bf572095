//! Checks of EVSEs, of SiteService.
//!
//! Decides nothing about them: the engine says whether one may begin, and what was found.

use super::Api;
use super::caller::named_site;
use super::request::{receipt, stamp};
use crate::access::Caller;
use crate::domain::event::{Event, Receipt};
use crate::domain::ids::EvseId;
use crate::engine::Refusal;
use crate::wire::commissioning::check_message;
use crate::wire::common::read;
use crate::wire::proto;
use prost::{Message, Name};

impl Api {
    pub(super) async fn check(
        &self,
        caller: &Caller,
        message: &proto::CheckEvseRequest,
    ) -> Result<proto::CheckEvseResponse, Refusal> {
        let meta = message.meta.as_ref();
        let place = [&message.tenant_id, &message.site_id, &message.evse_id].map(String::as_str);
        let done = self.want_check(caller, meta, message, place, true).await?;
        Ok(proto::CheckEvseResponse { receipt: receipt(done) })
    }

    pub(super) async fn abort_check(
        &self,
        caller: &Caller,
        message: &proto::AbortEvseCheckRequest,
    ) -> Result<proto::AbortEvseCheckResponse, Refusal> {
        let meta = message.meta.as_ref();
        let place = [&message.tenant_id, &message.site_id, &message.evse_id].map(String::as_str);
        let done = self.want_check(caller, meta, message, place, false).await?;
        Ok(proto::AbortEvseCheckResponse { receipt: receipt(done) })
    }

    /// Begins a check, or ends it.
    async fn want_check<M: Message + Name>(
        &self,
        caller: &Caller,
        meta: Option<&proto::RequestMeta>,
        message: &M,
        [tenant_id, site_id, evse_id]: [&str; 3],
        wanted: bool,
    ) -> Result<Receipt, Refusal> {
        let (stamp, key, evse) = read(|faults| {
            let stamp = stamp(faults, caller, meta, message);
            let key = named_site(faults, tenant_id, site_id);
            let evse = faults.field("evse_id", EvseId::parse(evse_id));
            Some((stamp?, key?, evse?))
        })?;
        let event = Event::EvseCheckAsked { evse, wanted };
        self.engine.submit(&key.of(caller)?, Some(stamp), event).await
    }

    pub(super) async fn last_check(
        &self,
        caller: &Caller,
        message: &proto::GetEvseCheckRequest,
    ) -> Result<proto::GetEvseCheckResponse, Refusal> {
        let (key, evse) = read(|faults| {
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let evse = faults.field("evse_id", EvseId::parse(&message.evse_id));
            Some((key?, evse?))
        })?;
        let key = key.of(caller)?;
        let view = self.engine.site(&key).await?;
        let check = view.evse_checks.iter().find(|check| check.evse == evse);
        let check = check.ok_or_else(|| Refusal::NotFound {
            what: "check of EVSE",
            id: evse.to_string(),
        })?;
        Ok(proto::GetEvseCheckResponse {
            check: Some(check_message(check)),
        })
    }
}
