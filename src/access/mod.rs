//! Who is let in: tenants, their tokens, and what each may take of the service.
//!
//! Decides whether a credential is good now, and keeps tenants and tokens. Everything that is looked at with a call is in memory;
//! a change is in the register, synced, before it holds here. Never keeps a secret, and never decides what a call means: which scope
//! a call needs, and which site it is about, is the API's.
//!
//! - [`Access`] is the whole of it; cheap to clone.
//! - [`Caller`] is somebody who was let in. Whoever holds one for long asks [`Access::holds`] again when [`Access::changes`] says so.
//! - `changing` makes, changes and ends tenants and tokens.
//! - `secret` is the text that calls carry; `failures` counts those who do not know it.
//! - [`room`] is what a tenant may take; [`register`] is where all of this is kept.

mod changing;
mod failures;
pub mod register;
pub mod room;
mod secret;

use crate::domain::access::{Grant, Quota, Scope, SecretDigest, Tenant, Token};
use crate::domain::ids::{GatewayId, RequestId, TenantId, TokenId};
use crate::domain::rejection::Rejection;
use crate::register::RegisterError;
use crate::units::Instant;
use failures::Failures;
pub use failures::network;
use register::Register;
use room::{Shares, TenantRoom};
pub use secret::Secret;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// Why tenants or tokens were not changed, or not shown. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum AccessRefusal {
    #[error("{0}")]
    Rejected(#[from] Rejection),
    #[error("there is no {what} {id}")]
    NotFound { what: &'static str, id: String },
    /// A repeat of a call whose answer had a secret in it.
    #[error("this request gave token {0} its secret, which is not kept: give it another with a new request id")]
    SecretWasShown(TokenId),
    #[error("a tenant with sites is not removed; it has {0}")]
    HasSites(usize),
    #[error("there is room for {most} {what}")]
    Full { what: &'static str, most: usize },
    #[error("{0}")]
    Unavailable(#[from] RegisterError),
}

/// Why a caller was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInRefusal {
    NoCredential,
    /// Where gateways need one.
    NoCertificate,
    /// Not the text of a token.
    NotAToken,
    UnknownToken,
    WrongSecret,
    Expired,
    Revoked,
    TenantSuspended,
    UnknownTenant,
}

impl SignInRefusal {
    /// For the log.
    pub const fn why(self) -> &'static str {
        match self {
            Self::NoCredential => "no token",
            Self::NoCertificate => "no certificate that names a gateway",
            Self::NotAToken => "not the text of a token",
            Self::UnknownToken => "unknown token",
            Self::WrongSecret => "wrong secret",
            Self::Expired => "the token has expired",
            Self::Revoked => "the token was revoked",
            Self::TenantSuspended => "the tenant is suspended",
            Self::UnknownTenant => "unknown tenant",
        }
    }

    /// For the caller: more only for those who proved that they had the secret.
    pub const fn told(self) -> &'static str {
        match self {
            Self::NoCredential => "a token is needed: metadata \"authorization: Bearer laddplan_...\"",
            Self::NoCertificate => "a gateway needs a certificate that names it",
            Self::NotAToken | Self::UnknownToken | Self::WrongSecret | Self::UnknownTenant => "the token is not known",
            Self::Expired | Self::Revoked | Self::TenantSuspended => self.why(),
        }
    }
}

/// By what somebody was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Token {
        id: TokenId,
        secret: SecretDigest,
    },
    /// Of a gateway, checked when its connection began.
    Certificate(GatewayId),
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { id, .. } => write!(f, "token {id}"),
            Self::Certificate(gateway) => write!(f, "certificate of gateway {gateway}"),
        }
    }
}

/// Somebody who was let in.
pub struct Caller {
    pub credential: Credential,
    pub grant: Grant,
    /// `None` for those of no tenant.
    pub room: Option<Arc<TenantRoom>>,
}

impl Caller {
    pub fn token(&self) -> Option<&TokenId> {
        match &self.credential {
            Credential::Token { id, .. } => Some(id),
            Credential::Certificate(_) => None,
        }
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.grant.scopes.contains(&scope)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.credential)
    }
}

/// Tenants and tokens; cheap to clone.
#[derive(Clone)]
pub struct Access {
    shared: Arc<Shared>,
}

struct Shared {
    register: Arc<dyn Register>,
    shares: Shares,
    /// Held only for look-ups and insertions, never across an await.
    tables: RwLock<Tables>,
    /// One change at a time: it is decided on what is in memory, which follows the register.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Counts what may have ended somebody's access.
    changes: watch::Sender<u64>,
    /// When tokens were last used, as far as the register does not have it.
    used: Mutex<BTreeMap<TokenId, Instant>>,
    failures: Failures,
}

#[derive(Default)]
struct Tables {
    tenants: BTreeMap<TenantId, KnownTenant>,
    tokens: HashMap<TokenId, KnownToken>,
}

struct KnownTenant {
    tenant: Tenant,
    room: Arc<TenantRoom>,
}

/// A token with those who come by it, made once and not with each call.
struct KnownToken {
    token: Token,
    caller: Arc<Caller>,
    caller_by_old_secret: Option<Arc<Caller>>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub name: String,
    pub grant: Grant,
    pub expires_at: Option<Instant>,
}

/// The token that a text claims to be, for a log.
pub fn claimed(text: &str) -> Option<TokenId> {
    secret::read(text).map(|(id, _)| id)
}

/// Who asks for a change, and with which call.
#[derive(Clone, Debug, Default)]
pub struct By {
    pub token: Option<TokenId>,
    pub request: Option<RequestId>,
}

impl Tables {
    fn put_token(&mut self, token: Token) {
        let room = token.grant.tenant.as_ref().and_then(|id| self.tenants.get(id));
        let room = room.map(|known| Arc::clone(&known.room));
        let caller = |secret: SecretDigest| {
            Arc::new(Caller {
                credential: Credential::Token {
                    id: token.id.clone(),
                    secret,
                },
                grant: token.grant.clone(),
                room: room.clone(),
            })
        };
        let known = KnownToken {
            caller: caller(token.secret),
            caller_by_old_secret: token.old_secret.map(|(secret, _)| caller(secret)),
            token,
        };
        self.tokens.insert(known.token.id.clone(), known);
    }

    fn tenant_state(&self, tenant: Option<&TenantId>) -> Result<(), SignInRefusal> {
        let Some(tenant) = tenant else { return Ok(()) };
        match self.tenants.get(tenant) {
            Some(known) if known.tenant.suspended => Err(SignInRefusal::TenantSuspended),
            Some(_) => Ok(()),
            None => Err(SignInRefusal::UnknownTenant),
        }
    }

    /// Live tokens of a tenant, or of none.
    fn live_tokens(&self, tenant: Option<&TenantId>, now: Instant) -> usize {
        let of = |known: &&KnownToken| known.token.grant.tenant.as_ref() == tenant && known.token.is_live(now);
        self.tokens.values().filter(of).count()
    }
}

impl Access {
    /// Reads what is in the register.
    pub async fn open(register: Arc<dyn Register>, shares: Shares) -> Result<Self, RegisterError> {
        let contents = register.load().await?;
        let mut tables = Tables::default();
        for tenant in contents.tenants {
            let room = Arc::new(TenantRoom::new(&tenant.quota, &shares));
            tables.tenants.insert(tenant.id.clone(), KnownTenant { tenant, room });
        }
        for token in contents.tokens {
            let unsound = |why: Rejection| RegisterError(format!("token {}: {why}", token.id));
            token.grant.check().map_err(unsound)?;
            tables.put_token(token);
        }
        Ok(Self {
            shared: Arc::new(Shared {
                register,
                shares,
                tables: RwLock::new(tables),
                changing: Arc::default(),
                changes: watch::Sender::new(0),
                used: Mutex::default(),
                failures: Failures::default(),
            }),
        })
    }

    fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.shared.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom the text of a token belongs to.
    pub fn sign_in(&self, text: Option<&str>, now: Instant) -> Result<Arc<Caller>, SignInRefusal> {
        let text = text.ok_or(SignInRefusal::NoCredential)?;
        let (id, digest) = secret::read(text).ok_or(SignInRefusal::NotAToken)?;
        let tables = self.tables();
        let known = tables.tokens.get(&id).ok_or(SignInRefusal::UnknownToken)?;
        let token = &known.token;
        let by_old = token.old_secret.is_some_and(|(old, _)| secret::agree(&old, &digest));
        let caller = match &known.caller_by_old_secret {
            _ if secret::agree(&token.secret, &digest) => &known.caller,
            Some(caller) if by_old => caller,
            _ => return Err(SignInRefusal::WrongSecret),
        };
        // From here on the caller has proved that the secret was his.
        if token.revoked_at.is_some() {
            return Err(SignInRefusal::Revoked);
        }
        let is_live = if Arc::ptr_eq(caller, &known.caller) {
            token.is_live(now)
        } else {
            token.old_secret_is_live(now)
        };
        if !is_live {
            return Err(SignInRefusal::Expired);
        }
        tables.tenant_state(token.grant.tenant.as_ref())?;
        let caller = Arc::clone(caller);
        drop(tables);
        self.used().insert(id, now);
        Ok(caller)
    }

    /// Lets in a gateway whose certificate was checked when its connection began.
    pub fn let_gateway_in(&self, tenant: &TenantId, gateway: &GatewayId) -> Result<Arc<Caller>, SignInRefusal> {
        let tables = self.tables();
        tables.tenant_state(Some(tenant))?;
        let room = tables.tenants.get(tenant).map(|known| Arc::clone(&known.room));
        Ok(Arc::new(Caller {
            credential: Credential::Certificate(gateway.clone()),
            grant: Grant {
                tenant: Some(tenant.clone()),
                scopes: [Scope::Gateway].into(),
                sites: None,
                gateways: Some([gateway.clone()].into()),
            },
            room,
        }))
    }

    /// Whether somebody who was let in would be let in again.
    pub fn holds(&self, caller: &Caller, now: Instant) -> bool {
        let tables = self.tables();
        if tables.tenant_state(caller.grant.tenant.as_ref()).is_err() {
            return false;
        }
        let Credential::Token { id, secret } = &caller.credential else {
            return true;
        };
        let Some(known) = tables.tokens.get(id) else {
            return false;
        };
        let token = &known.token;
        if token.secret == *secret {
            token.is_live(now)
        } else {
            token.old_secret.is_some_and(|(old, _)| old == *secret) && token.old_secret_is_live(now)
        }
    }

    /// Changes when somebody's access may have ended.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Time has passed: whatever ended since `before` is told to those who hold a caller.
    pub fn time_passed(&self, before: Instant, now: Instant) {
        let ended = |end: Option<Instant>| end.is_some_and(|end| before < end && end <= now);
        let tables = self.tables();
        let any = tables
            .tokens
            .values()
            .any(|known| ended(known.token.expires_at) || ended(known.token.old_secret.map(|(_, end)| end)));
        drop(tables);
        if any {
            self.something_ended();
        }
    }

    /// Tells those who hold a caller to look whether he would still be let in.
    pub fn something_ended(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// Counts a failed sign-in. Whether its address has failed too often.
    pub fn failed(&self, address: IpAddr, now: Instant) -> bool {
        self.shared.failures.count(address, now)
    }

    fn used(&self) -> std::sync::MutexGuard<'_, BTreeMap<TokenId, Instant>> {
        self.shared.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings into the register when tokens were last used.
    pub async fn note_used(&self) -> Result<(), RegisterError> {
        let used = std::mem::take(&mut *self.used());
        if used.is_empty() {
            return Ok(());
        }
        {
            let mut tables = self.shared.tables.write().unwrap_or_else(PoisonError::into_inner);
            for (id, at) in &used {
                if let Some(known) = tables.tokens.get_mut(id) {
                    known.token.last_used_at = known.token.last_used_at.max(Some(*at));
                }
            }
        }
        let noted = self.shared.register.note_used(used.clone().into_iter().collect()).await;
        if noted.is_err() {
            // For the next time, where nothing newer is known by then.
            let mut kept = self.used();
            for (id, at) in used {
                kept.entry(id).or_insert(at);
            }
        }
        noted
    }
}

/// A grant that may do everything at the sites of a tenant.
pub fn everything_of(tenant: &TenantId) -> Grant {
    Grant {
        tenant: Some(tenant.clone()),
        scopes: Scope::ALL.into(),
        sites: None,
        gateways: None,
    }
}

/// A tenant as it is made where nothing is said of it.
pub fn new_tenant(id: &TenantId, now: Instant) -> Tenant {
    Tenant {
        id: id.clone(),
        name: String::new(),
        suspended: false,
        quota: Quota::DEFAULT,
        created_at: now,
    }
}

#[cfg(test)]
mod tests;
