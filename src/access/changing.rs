//! Tenants and tokens as they are made, changed and ended.
//!
//! Decides what may be changed and by which request, one change at a time: a change is in the register, synced, before it holds in
//! memory, and is done whole once it was begun. Never decides who may ask for it: that is the API's.

use super::register::RegisterWrite;
use super::room::TenantRoom;
use super::{Access, AccessRefusal, By, KnownTenant, KnownToken, NewToken, Secret, Tables, secret};
use crate::domain::access::{AccessChange, Tenant, Token, check_name, names};
use crate::domain::ids::{TenantId, TokenId};
use crate::domain::rejection::{Faults, Rejection};
use crate::register::RegisterError;
use crate::units::{Instant, Seconds};
use std::sync::{Arc, PoisonError};

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

/// Held from the decision on a change until it holds.
type Changing = tokio::sync::OwnedMutexGuard<()>;

impl Access {
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
        let growing = Arc::clone(&room.growing).lock_owned().await;
        match sites() {
            0 => {}
            some => return Err(AccessRefusal::HasSites(some)),
        }
        let change = by.change(now, Some(id), "tenant removed, with its tokens and drivers".to_owned());
        let write = RegisterWrite::RemoveTenant(id.clone());
        let id = id.clone();
        let apply = move |tables: &mut Tables| {
            // Until here no site is made.
            let _growing = growing;
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
            of_tenant.sort_by_key(|(end, _)| std::cmp::Reverse(*end));
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
