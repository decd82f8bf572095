//! Who is let in: tenants, their tokens, and what each may take of the service.
//!
//! Decides whether a credential is good now, and keeps tenants and tokens. Everything that is looked at with a call is in memory;
//! a change is in the register, synced, before it holds here. Never keeps a secret, and never decides what a call means: which scope
//! a call needs, and which site it is about, is the API's.
//!
//! - [`Access`] is the whole of it; cheap to clone.
//! - [`Caller`] is somebody who was let in. Whoever holds one for long asks [`Access::holds`] again when [`Access::changes`] says so.
//! - `secret` is the text that calls carry; `failures` counts those who do not know it.
//! - [`room`] is what a tenant may take; [`register`] is where all of this is kept.

mod failures;
pub mod register;
pub mod room;
mod secret;

use crate::domain::access::{AccessChange, Grant, Quota, Scope, SecretDigest, Tenant, Token, check_name, names};
use crate::domain::ids::{GatewayId, RequestId, TenantId, TokenId};
use crate::domain::rejection::{Faults, Rejection};
use crate::units::{Instant, Seconds};
use failures::Failures;
use register::{Register, RegisterError, RegisterWrite};
use room::{Shares, TenantRoom};
pub use secret::Secret;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// Tenants of one service.
const MAX_TENANTS: usize = 10_000;
/// Tokens that belong to no tenant.
const MAX_TOKENS_WITHOUT_TENANT: usize = 100;
/// How long tokens that ended are shown.
const KEEP_ENDED: Seconds = Seconds::from_hours(90 * 24);
/// Tokens of one tenant that ended and are shown.
const MAX_ENDED_TOKENS: usize = 100;
/// A token that ends at once is a mistake.
const SHORTEST_LIFE: Seconds = Seconds::from_mins(1);
/// How long the older secret of a token may live on.
const LONGEST_OVERLAP: Seconds = Seconds::from_hours(30 * 24);

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

/// Held from the decision on a change until it holds.
type Changing = tokio::sync::OwnedMutexGuard<()>;

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

    // --- Letting in.

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

    // --- Tenants.

    /// Creates a tenant, or replaces what is known of it but the time of its creation.
    pub async fn put_tenant(&self, tenant: Tenant, by: &By) -> Result<Tenant, AccessRefusal> {
        tenant.check()?;
        let changing = self.begin_change().await;
        let (before, count) = {
            let tables = self.tables();
            let before = tables.tenants.get(&tenant.id).map(|known| known.tenant.clone());
            (before, tables.tenants.len())
        };
        if before.is_none() && count >= MAX_TENANTS {
            return Err(AccessRefusal::Full {
                what: "tenants",
                most: MAX_TENANTS,
            });
        }
        let now = tenant.created_at;
        let tenant = Tenant {
            created_at: before.as_ref().map_or(now, |before| before.created_at),
            ..tenant
        };
        if before.as_ref() == Some(&tenant) {
            return Ok(tenant);
        }
        let what = match &before {
            None => "tenant created",
            Some(before) if before.suspended != tenant.suspended && tenant.suspended => "tenant suspended",
            Some(before) if before.suspended != tenant.suspended => "tenant let in again",
            Some(_) => "tenant changed",
        };
        let change = by.change(now, Some(&tenant.id), what.to_owned());
        let write = RegisterWrite::PutTenant(tenant.clone());
        let (put, shares) = (tenant.clone(), self.shared.shares);
        let apply = move |tables: &mut Tables| match tables.tenants.get_mut(&put.id) {
            Some(known) => {
                known.room.set_quota(&put.quota);
                known.tenant = put;
            }
            None => {
                let room = Arc::new(TenantRoom::new(&put.quota, &shares));
                tables.tenants.insert(put.id.clone(), KnownTenant { tenant: put, room });
            }
        };
        self.commit(changing, write, change, apply).await?;
        Ok(tenant)
    }

    /// `sites` says how many it still has; none is made meanwhile.
    pub async fn remove_tenant(
        &self,
        id: &TenantId,
        sites: impl FnOnce() -> usize,
        now: Instant,
        by: &By,
    ) -> Result<(), AccessRefusal> {
        let changing = self.begin_change().await;
        let room = self.tables().tenants.get(id).map(|known| Arc::clone(&known.room));
        let room = room.ok_or_else(|| no_tenant(id))?;
        let _growing = room.growing.lock().await;
        match sites() {
            0 => {}
            some => return Err(AccessRefusal::HasSites(some)),
        }
        let change = by.change(now, Some(id), "tenant removed, with its tokens".to_owned());
        let write = RegisterWrite::RemoveTenant(id.clone());
        let id = id.clone();
        let apply = move |tables: &mut Tables| {
            tables.tenants.remove(&id);
            tables
                .tokens
                .retain(|_, known| known.token.grant.tenant.as_ref() != Some(&id));
        };
        self.commit(changing, write, change, apply).await?;
        Ok(())
    }

    pub fn tenant(&self, id: &TenantId) -> Result<Tenant, AccessRefusal> {
        let tables = self.tables();
        let known = tables.tenants.get(id);
        known.map(|known| known.tenant.clone()).ok_or_else(|| no_tenant(id))
    }

    /// By id, ascending, after `after`; at most `most`.
    pub fn tenants(&self, after: Option<&TenantId>, most: usize) -> Vec<Tenant> {
        let tables = self.tables();
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let listed = tables.tenants.range::<TenantId, _>((from, std::ops::Bound::Unbounded));
        listed.take(most).map(|(_, known)| known.tenant.clone()).collect()
    }

    /// Tokens of a tenant that are live.
    pub fn live_tokens(&self, tenant: &TenantId, now: Instant) -> usize {
        self.tables().live_tokens(Some(tenant), now)
    }

    // --- Tokens.

    /// Whether nobody can administer this service.
    pub fn has_no_administrator(&self, now: Instant) -> bool {
        self.tables().live_tokens(None, now) == 0
    }

    /// Makes a token. Its secret is in the answer and nowhere else.
    pub async fn create_token(&self, new: NewToken, now: Instant, by: &By) -> Result<(Token, Secret), AccessRefusal> {
        let mut faults = Faults::default();
        check_name(&mut faults, &new.name);
        faults.part("", new.grant.check());
        check_life(&mut faults, new.expires_at, now);
        faults.finish(())?;
        let changing = self.begin_change().await;
        let tenant = new.grant.tenant.as_ref();
        {
            let tables = self.tables();
            refuse_repeat(&tables, tenant, by)?;
            let most = match tenant {
                None => MAX_TOKENS_WITHOUT_TENANT,
                Some(id) => {
                    let known = tables.tenants.get(id).ok_or_else(|| no_tenant(id))?;
                    known.tenant.quota.tokens as usize
                }
            };
            if tables.live_tokens(tenant, now) >= most {
                return Err(AccessRefusal::Full { what: "tokens", most });
            }
        }
        let changing = self.forget_ended(changing, tenant, now, by).await?;
        let id = secret::new_token_id();
        let secret = Secret::of(&id);
        let token = Token {
            id,
            name: new.name,
            grant: new.grant,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
            secret: secret.digest(),
            old_secret: None,
            request: by.request.clone(),
        };
        let what = format!("token {} created with {}", token.id, names(&token.grant.scopes));
        self.put_token(changing, token.clone(), what, now, by).await?;
        Ok((token, secret))
    }

    /// Gives a token a new secret; the one in use lives on for `overlap`.
    pub async fn rotate_token(
        &self,
        id: &TokenId,
        owner: Option<&TenantId>,
        overlap: Seconds,
        expires_at: Option<Instant>,
        now: Instant,
        by: &By,
    ) -> Result<(Token, Secret), AccessRefusal> {
        let mut faults = Faults::default();
        let longest = LONGEST_OVERLAP.secs();
        faults.within("old_secret_seconds", "s", overlap.secs(), 0..=longest);
        check_life(&mut faults, expires_at, now);
        faults.finish(())?;
        let changing = self.begin_change().await;
        let before = self.token(id, owner)?;
        refuse_repeat(&self.tables(), before.grant.tenant.as_ref(), by)?;
        if let Some(ended) = before.ended_at(now) {
            let rule = "has ended";
            return Err(Rejection::one(
                "token_id",
                rule,
                format_args!("{id}, at {ended}"),
                "a token that is live",
            )
            .into());
        }
        let secret = Secret::of(id);
        let token = Token {
            secret: secret.digest(),
            old_secret: (overlap > Seconds::ZERO).then(|| (before.secret, now + overlap)),
            expires_at: expires_at.or(before.expires_at),
            request: by.request.clone(),
            ..before
        };
        let what = format!(
            "token {id} given a new secret; the old one ends in {} s",
            overlap.secs()
        );
        self.put_token(changing, token.clone(), what, now, by).await?;
        Ok((token, secret))
    }

    /// Ends a token at once. One that was revoked stays as it is.
    pub async fn revoke_token(
        &self,
        id: &TokenId,
        owner: Option<&TenantId>,
        now: Instant,
        by: &By,
    ) -> Result<Token, AccessRefusal> {
        let changing = self.begin_change().await;
        let before = self.token(id, owner)?;
        if before.revoked_at.is_some() {
            return Ok(before);
        }
        let token = Token {
            revoked_at: Some(now),
            old_secret: None,
            ..before
        };
        self.put_token(changing, token.clone(), format!("token {id} revoked"), now, by)
            .await?;
        Ok(token)
    }

    /// A token as `owner` may see it: a tenant's own, or, for those of no tenant, any.
    pub fn token(&self, id: &TokenId, owner: Option<&TenantId>) -> Result<Token, AccessRefusal> {
        let tables = self.tables();
        let known = tables.tokens.get(id);
        let seen = known.filter(|known| owner.is_none() || known.token.grant.tenant.as_ref() == owner);
        seen.map(|known| known.token.clone())
            .ok_or_else(|| AccessRefusal::NotFound {
                what: "token",
                id: id.to_string(),
            })
    }

    /// Those of a tenant, or of none, by id; at most `most` after `after`. With `live_at` only those that are let in then.
    pub fn tokens(
        &self,
        tenant: Option<&TenantId>,
        live_at: Option<Instant>,
        after: Option<&TokenId>,
        most: usize,
    ) -> Vec<Token> {
        let tables = self.tables();
        let listed = tables.tokens.values().map(|known| &known.token);
        let listed = listed.filter(|token| token.grant.tenant.as_ref() == tenant);
        let listed = listed.filter(|token| live_at.is_none_or(|now| token.is_live(now)));
        let mut listed: Vec<&Token> = listed
            .filter(|token| after.is_none_or(|after| token.id > *after))
            .collect();
        listed.sort_by(|one, other| one.id.cmp(&other.id));
        listed.into_iter().take(most).cloned().collect()
    }

    /// What was done to tenants and tokens, the newest first.
    pub async fn changes_made(
        &self,
        tenant: Option<&TenantId>,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<(u64, AccessChange)>, AccessRefusal> {
        Ok(self.shared.register.changes(tenant, before, most).await?)
    }

    async fn put_token(
        &self,
        changing: Changing,
        token: Token,
        what: String,
        now: Instant,
        by: &By,
    ) -> Result<(), AccessRefusal> {
        let change = by.change(now, token.grant.tenant.as_ref(), what);
        let write = RegisterWrite::PutToken(Box::new(token.clone()));
        self.commit(changing, write, change, |tables| tables.put_token(token))
            .await?;
        Ok(())
    }

    /// Removes tokens that ended long ago, and of those of `tenant` that ended the oldest where there are too many.
    async fn forget_ended(
        &self,
        changing: Changing,
        tenant: Option<&TenantId>,
        now: Instant,
        by: &By,
    ) -> Result<Changing, AccessRefusal> {
        let forgotten: Vec<TokenId> = {
            let tables = self.tables();
            let ended = tables
                .tokens
                .values()
                .filter_map(|known| Some((known.token.ended_at(now)?, &known.token)));
            let (old, recent): (Vec<_>, Vec<_>) = ended.partition(|(end, _)| *end + KEEP_ENDED <= now);
            let mut of_tenant: Vec<_> = recent
                .into_iter()
                .filter(|(_, token)| token.grant.tenant.as_ref() == tenant)
                .collect();
            of_tenant.sort_by(|one, other| other.0.cmp(&one.0));
            let too_many = of_tenant.into_iter().skip(MAX_ENDED_TOKENS);
            old.into_iter()
                .chain(too_many)
                .map(|(_, token)| token.id.clone())
                .collect()
        };
        if forgotten.is_empty() {
            return Ok(changing);
        }
        let change = by.change(now, tenant, format!("{} tokens that ended removed", forgotten.len()));
        let write = RegisterWrite::RemoveTokens(forgotten.clone());
        let apply = move |tables: &mut Tables| {
            for id in &forgotten {
                tables.tokens.remove(id);
            }
        };
        self.commit(changing, write, change, apply).await
    }

    async fn begin_change(&self) -> Changing {
        Arc::clone(&self.shared.changing).lock_owned().await
    }

    /// Brings a change to the disk, and then into memory. Once begun it is done whole, also where whoever asked waits no longer.
    async fn commit(
        &self,
        changing: Changing,
        write: RegisterWrite,
        change: AccessChange,
        apply: impl FnOnce(&mut Tables) + Send + 'static,
    ) -> Result<Changing, AccessRefusal> {
        let access = self.clone();
        let done = tokio::spawn(async move {
            access.shared.register.write(write, change).await?;
            apply(&mut access.shared.tables.write().unwrap_or_else(PoisonError::into_inner));
            access.something_ended();
            Ok(changing)
        });
        done.await.map_err(|error| RegisterError(error.to_string()))?
    }
}

/// A secret is told once, so a call of a tenant that told one cannot be answered again.
fn refuse_repeat(tables: &Tables, tenant: Option<&TenantId>, by: &By) -> Result<(), AccessRefusal> {
    let Some(request) = &by.request else { return Ok(()) };
    let told = |known: &&KnownToken| {
        known.token.request.as_ref() == Some(request) && known.token.grant.tenant.as_ref() == tenant
    };
    match tables.tokens.values().find(told) {
        Some(known) => Err(AccessRefusal::SecretWasShown(known.token.id.clone())),
        None => Ok(()),
    }
}

impl By {
    fn change(&self, at: Instant, tenant: Option<&TenantId>, what: String) -> AccessChange {
        AccessChange {
            at,
            by: self.token.clone(),
            tenant: tenant.cloned(),
            what,
        }
    }
}

fn no_tenant(id: &TenantId) -> AccessRefusal {
    AccessRefusal::NotFound {
        what: "tenant",
        id: id.to_string(),
    }
}

fn check_life(faults: &mut Faults, expires_at: Option<Instant>, now: Instant) {
    if let Some(end) = expires_at {
        faults.require(
            end >= now + SHORTEST_LIFE,
            "expires_at",
            "is too soon",
            end,
            format_args!("{} or later, as unix seconds", now + SHORTEST_LIFE),
        );
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
