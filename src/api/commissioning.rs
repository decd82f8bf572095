//! Checks of EVSEs, of SiteService.
//!
//! Decides nothing about them: the engine says whether one may begin, and what was found.

use super::Api;
use super::caller::named_site;
use super::request::{receipt, stamp};
use crate::access::Caller;
use crate::domain::event::Event;
use crate::domain::ids::EvseId;
use crate::engine::Refusal;
use crate::wire::commissioning::check_message;
use crate::wire::common::read;
use crate::wire::proto;

impl Api {
    pub(super) async fn check(
        &self,
        caller: &Caller,
        message: &proto::CheckEvseRequest,
    ) -> Result<proto::CheckEvseResponse, Refusal> {
        let (stamp, key, evse) = read(|faults| {
            let stamp = stamp(faults, caller, message.meta.as_ref(), message);
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let evse = faults.field("evse_id", EvseId::parse(&message.evse_id));
            Some((stamp?, key?, evse?))
        })?;
        let key = key.of(caller)?;
        let event = Event::EvseCheckAsked { evse, wanted: true };
        let done = self.engine.submit(&key, Some(stamp), event).await?;
        Ok(proto::CheckEvseResponse { receipt: receipt(done) })
    }

    pub(super) async fn abort_check(
        &self,
        caller: &Caller,
        message: &proto::AbortEvseCheckRequest,
    ) -> Result<proto::AbortEvseCheckResponse, Refusal> {
        let (stamp, key, evse) = read(|faults| {
            let stamp = stamp(faults, caller, message.meta.as_ref(), message);
            let key = named_site(faults, &message.tenant_id, &message.site_id);
            let evse = faults.field("evse_id", EvseId::parse(&message.evse_id));
            Some((stamp?, key?, evse?))
        })?;
        let key = key.of(caller)?;
        let event = Event::EvseCheckAsked { evse, wanted: false };
        let done = self.engine.submit(&key, Some(stamp), event).await?;
        Ok(proto::AbortEvseCheckResponse { receipt: receipt(done) })
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
