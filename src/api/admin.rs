//! AdminService: tenants and tokens.
//!
//! Decides who may administer what: whoever belongs to no tenant all of them, a tenant's own administrators its tokens. A secret leaves
//! here once, in the answer to the call that made it.

use super::caller::{heard, named_tenant};
use super::request::{Page, cut, page, request_id};
use super::{Answer, Api, answer_change};
use crate::access::{AccessRefusal, By, Caller, NewToken};
use crate::domain::ids::{RequestId, TenantId, TokenId};
use crate::domain::rejection::{Faults, Rejection};
use crate::engine::Refusal;
use crate::units::Seconds;
use crate::wire::access::{change_message, expiry, grant, grant_messages, tenant, tenant_message, token_message};
use crate::wire::common::read;
use crate::wire::proto;
use tonic::{Request, Response, Status};

/// How long the older secret of a rotated token lives on, unless the call says.
const OVERLAP: Seconds = Seconds::from_hours(24);

#[tonic::async_trait]
impl proto::admin_service_server::AdminService for Api {
    async fn get_caller(&self, request: Request<proto::GetCallerRequest>) -> Answer<proto::GetCallerResponse> {
        let (caller, _) = heard(&request)?;
        let (scopes, site_ids, gateway_ids) = grant_messages(&caller.grant);
        Ok(Response::new(proto::GetCallerResponse {
            credential: caller.credential.to_string(),
            tenant_id: caller
                .grant
                .tenant
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            scopes,
            site_ids,
            gateway_ids,
        }))
    }

    async fn put_tenant(&self, request: Request<proto::PutTenantRequest>) -> Answer<proto::PutTenantResponse> {
        let (caller, message) = heard(&request)?;
        only_without_tenant(caller)?;
        answer_change(
            request_id(message.meta.as_ref()),
            self.put_tenant_of(caller, message).await,
        )
    }

    async fn get_tenant(&self, request: Request<proto::GetTenantRequest>) -> Answer<proto::GetTenantResponse> {
        let (caller, message) = heard(&request)?;
        super::answer(self.get_tenant_of(caller, message))
    }

    async fn list_tenants(&self, request: Request<proto::ListTenantsRequest>) -> Answer<proto::ListTenantsResponse> {
        let (caller, message) = heard(&request)?;
        super::answer(self.list_tenants_of(caller, message))
    }

    async fn remove_tenant(&self, request: Request<proto::RemoveTenantRequest>) -> Answer<proto::RemoveTenantResponse> {
        let (caller, message) = heard(&request)?;
        only_without_tenant(caller)?;
        answer_change(
            request_id(message.meta.as_ref()),
            self.remove_tenant_of(caller, message).await,
        )
    }

    async fn create_token(&self, request: Request<proto::CreateTokenRequest>) -> Answer<proto::CreateTokenResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(
            request_id(message.meta.as_ref()),
            self.create_token_of(caller, message).await,
        )
    }

    async fn list_tokens(&self, request: Request<proto::ListTokensRequest>) -> Answer<proto::ListTokensResponse> {
        let (caller, message) = heard(&request)?;
        super::answer(self.list_tokens_of(caller, message))
    }

    async fn rotate_token(&self, request: Request<proto::RotateTokenRequest>) -> Answer<proto::RotateTokenResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(
            request_id(message.meta.as_ref()),
            self.rotate_token_of(caller, message).await,
        )
    }

    async fn revoke_token(&self, request: Request<proto::RevokeTokenRequest>) -> Answer<proto::RevokeTokenResponse> {
        let (caller, message) = heard(&request)?;
        answer_change(
            request_id(message.meta.as_ref()),
            self.revoke_token_of(caller, message).await,
        )
    }

    async fn list_access_changes(
        &self,
        request: Request<proto::ListAccessChangesRequest>,
    ) -> Answer<proto::ListAccessChangesResponse> {
        let (caller, message) = heard(&request)?;
        super::answer(self.list_changes_of(caller, message).await)
    }
}

/// Tenants are made, changed and removed by whoever belongs to none.
fn only_without_tenant(caller: &Caller) -> Result<(), Status> {
    if caller.grant.tenant.is_none() {
        return Ok(());
    }
    Err(Status::permission_denied(
        "this call needs a token that belongs to no tenant",
    ))
}

impl From<AccessRefusal> for Refusal {
    fn from(refusal: AccessRefusal) -> Self {
        match refusal {
            AccessRefusal::Rejected(rejection) => rejection.into(),
            AccessRefusal::NotFound { what, id } => Self::NotFound { what, id },
            AccessRefusal::SecretWasShown(_) => Self::Done(refusal.to_string()),
            AccessRefusal::HasSites(_) | AccessRefusal::Full { .. } => Self::NotNow(refusal.to_string()),
            AccessRefusal::Unavailable(_) => Self::Unavailable(refusal.to_string()),
        }
    }
}

/// Who makes a change, and with which call.
fn by(faults: &mut Faults, caller: &Caller, meta: Option<&proto::RequestMeta>) -> Option<By> {
    let request = faults.field("meta.request_id", RequestId::parse(request_id(meta)))?;
    Some(By {
        token: caller.token().cloned(),
        request: Some(request),
    })
}

impl Api {
    async fn put_tenant_of(
        &self,
        caller: &Caller,
        message: &proto::PutTenantRequest,
    ) -> Result<proto::PutTenantResponse, Refusal> {
        let (by, tenant) = read(|faults| {
            let by = by(faults, caller, message.meta.as_ref());
            let tenant = faults.part("", tenant(message.tenant.as_ref(), self.clock.now()));
            Some((by?, tenant?))
        })?;
        let tenant = self.access.put_tenant(tenant, &by).await?;
        Ok(proto::PutTenantResponse {
            tenant: Some(tenant_message(&tenant)),
        })
    }

    fn get_tenant_of(
        &self,
        caller: &Caller,
        message: &proto::GetTenantRequest,
    ) -> Result<proto::GetTenantResponse, Refusal> {
        let id = read(|faults| named_tenant(faults, &message.tenant_id))?.of(caller)?;
        let tenant = self.access.tenant(&id)?;
        let size = self.engine.size_of(&id, None);
        let count = |items: usize| i32::try_from(items).unwrap_or(i32::MAX);
        Ok(proto::GetTenantResponse {
            tenant: Some(tenant_message(&tenant)),
            sites: count(size.sites),
            evses: count(size.evses),
            tokens: count(self.access.live_tokens(&id, self.clock.now())),
        })
    }

    fn list_tenants_of(
        &self,
        caller: &Caller,
        message: &proto::ListTenantsRequest,
    ) -> Result<proto::ListTenantsResponse, Refusal> {
        const LIST: &str = "tenants";
        let page = read(|faults| page(faults, LIST, message.page.as_ref(), TenantId::parse))?;
        let tenants = match &caller.grant.tenant {
            None => self.access.tenants(page.after.as_ref(), page.size + 1),
            Some(own) => vec![self.access.tenant(own)?],
        };
        let items = tenants
            .iter()
            .map(|tenant| (tenant.id.to_string(), tenant_message(tenant)));
        let (tenants, next_page_token) = cut(LIST, items, page.size, self.limits.max_response_bytes);
        Ok(proto::ListTenantsResponse {
            tenants,
            next_page_token,
        })
    }

    async fn remove_tenant_of(
        &self,
        caller: &Caller,
        message: &proto::RemoveTenantRequest,
    ) -> Result<proto::RemoveTenantResponse, Refusal> {
        let (by, named) = read(|faults| {
            let by = by(faults, caller, message.meta.as_ref());
            let named = named_tenant(faults, &message.tenant_id);
            Some((by?, named?))
        })?;
        let id = named.of(caller)?;
        let sites = || self.engine.size_of(&id, None).sites;
        self.access.remove_tenant(&id, sites, self.clock.now(), &by).await?;
        Ok(proto::RemoveTenantResponse {})
    }

    async fn create_token_of(
        &self,
        caller: &Caller,
        message: &proto::CreateTokenRequest,
    ) -> Result<proto::CreateTokenResponse, Refusal> {
        let (by, named, grant, expires_at) = read(|faults| {
            let by = by(faults, caller, message.meta.as_ref());
            let named = named_tenant(faults, &message.tenant_id);
            let grant = grant(faults, &message.scopes, &message.site_ids, &message.gateway_ids);
            let expires_at = expiry(faults, message.expires_at.as_ref());
            Some((by?, named?, grant, expires_at?))
        })?;
        let new = NewToken {
            name: message.name.clone(),
            grant: grant(named.or_none_of(caller)?),
            expires_at,
        };
        let now = self.clock.now();
        let (token, secret) = self.access.create_token(new, now, &by).await?;
        Ok(proto::CreateTokenResponse {
            token: Some(token_message(&token, now)),
            secret: secret.show().to_owned(),
        })
    }

    fn list_tokens_of(
        &self,
        caller: &Caller,
        message: &proto::ListTokensRequest,
    ) -> Result<proto::ListTokensResponse, Refusal> {
        const LIST: &str = "tokens";
        let (named, page) = read(|faults| {
            let named = named_tenant(faults, &message.tenant_id);
            let page = page(faults, LIST, message.page.as_ref(), TokenId::parse);
            Some((named?, page?))
        })?;
        let tenant = named.or_none_of(caller)?;
        if let Some(tenant) = &tenant {
            self.access.tenant(tenant)?;
        }
        let now = self.clock.now();
        let live_at = (!message.include_ended).then_some(now);
        let tokens = (self.access).tokens(tenant.as_ref(), live_at, page.after.as_ref(), page.size + 1);
        let items = tokens
            .iter()
            .map(|token| (token.id.to_string(), token_message(token, now)));
        let (tokens, next_page_token) = cut(LIST, items, page.size, self.limits.max_response_bytes);
        Ok(proto::ListTokensResponse {
            tokens,
            next_page_token,
        })
    }

    async fn rotate_token_of(
        &self,
        caller: &Caller,
        message: &proto::RotateTokenRequest,
    ) -> Result<proto::RotateTokenResponse, Refusal> {
        let (by, id, expires_at) = read(|faults| {
            let by = by(faults, caller, message.meta.as_ref());
            let id = faults.field("token_id", TokenId::parse(&message.token_id));
            let expires_at = expiry(faults, message.expires_at.as_ref());
            Some((by?, id?, expires_at?))
        })?;
        let overlap = message.old_secret_seconds;
        let overlap = overlap.map_or(OVERLAP, |seconds| Seconds::from_secs(seconds.into()));
        let now = self.clock.now();
        let owner = caller.grant.tenant.as_ref();
        let rotated = self.access.rotate_token(&id, owner, overlap, expires_at, now, &by);
        let (token, secret) = rotated.await?;
        Ok(proto::RotateTokenResponse {
            token: Some(token_message(&token, now)),
            secret: secret.show().to_owned(),
        })
    }

    async fn revoke_token_of(
        &self,
        caller: &Caller,
        message: &proto::RevokeTokenRequest,
    ) -> Result<proto::RevokeTokenResponse, Refusal> {
        let (by, id) = read(|faults| {
            let by = by(faults, caller, message.meta.as_ref());
            let id = faults.field("token_id", TokenId::parse(&message.token_id));
            Some((by?, id?))
        })?;
        let now = self.clock.now();
        let token = self
            .access
            .revoke_token(&id, caller.grant.tenant.as_ref(), now, &by)
            .await?;
        Ok(proto::RevokeTokenResponse {
            token: Some(token_message(&token, now)),
        })
    }

    async fn list_changes_of(
        &self,
        caller: &Caller,
        message: &proto::ListAccessChangesRequest,
    ) -> Result<proto::ListAccessChangesResponse, Refusal> {
        const LIST: &str = "access_changes";
        let (named, page): (_, Page<u64>) = read(|faults| {
            let named = named_tenant(faults, &message.tenant_id);
            let page = page(faults, LIST, message.page.as_ref(), number);
            Some((named?, page?))
        })?;
        let tenant = named.or_none_of(caller)?;
        let changes = self
            .access
            .changes_made(tenant.as_ref(), page.after, page.size + 1)
            .await?;
        let items = changes
            .iter()
            .map(|(number, change)| (number.to_string(), change_message(*number, change)));
        let (changes, next_page_token) = cut(LIST, items, page.size, self.limits.max_response_bytes);
        Ok(proto::ListAccessChangesResponse {
            changes,
            next_page_token,
        })
    }
}

fn number(text: &str) -> Result<u64, Rejection> {
    text.parse()
        .map_err(|_| Rejection::one("", "is no number", text, "the number of a change"))
}
