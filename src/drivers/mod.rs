//! Drivers: what is known of their tokens, and what sessions are told of it.
//!
//! Decides that a journal, which keeps everything, knows a driver only by a random reference, so that he can be forgotten; and that a
//! session follows what its tenant lists and what the issuer of its token answers. Never decides who may draw power: that is each site's
//! policy ([`crate::domain::driver`]). Never tells whose a token is to anyone but who asks with the right to know.
//!
//! - [`Drivers`] is the whole of it; cheap to clone.
//! - [`register`] is where tokens, groups and references are kept.
//! - [`asking`] is how somebody is asked about a driver.
//! - [`following`] is the task that tells sessions.

pub mod asking;
pub mod following;
pub mod register;

use crate::domain::access::AccessChange;
use crate::domain::driver::{Authorisation, DriverToken, Personal, TokenName};
use crate::domain::driver_group::DriverGroup;
use crate::domain::ids::{GroupId, PersonRef, SiteKey, TenantId, TokenId};
use crate::register::RegisterError;
use crate::units::Instant;
use asking::Asking;
use register::{DriverRefusal, DriverRegister, Known, Put, Whom};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Who makes a change, and when.
#[derive(Clone, Debug)]
pub struct By {
    pub token: Option<TokenId>,
    pub at: Instant,
}

/// What somebody has to look at again. Bounded by what there is: sites, and drivers.
#[derive(Debug, Default)]
struct News {
    sites: BTreeSet<SiteKey>,
    people: BTreeMap<TenantId, BTreeSet<PersonRef>>,
}

/// The drivers of all tenants; cheap to clone.
#[derive(Clone)]
pub struct Drivers {
    register: Arc<dyn DriverRegister>,
    asking: Asking,
    news: Arc<(Mutex<News>, Notify)>,
}

impl Drivers {
    pub fn new(register: Arc<dyn DriverRegister>) -> Self {
        Self {
            register,
            asking: Asking::default(),
            news: Arc::default(),
        }
    }

    pub fn asking(&self) -> &Asking {
        &self.asking
    }

    /// What is known of whoever shows a token. Where nothing is, a reference is made for him, and synced.
    pub async fn meet(&self, tenant: &TenantId, name: TokenName) -> Result<Known, DriverRefusal> {
        self.register.meet(tenant, name, new_reference()).await
    }

    /// What is known of the driver for whom a reference stands; `None` once he was forgotten.
    pub async fn known(&self, tenant: &TenantId, person: &PersonRef) -> Result<Option<Known>, RegisterError> {
        self.register.known(tenant, person).await
    }

    /// Lists tokens, or changes what is listed of them. Their sessions follow.
    pub async fn put_tokens(&self, tenant: &TenantId, tokens: Vec<DriverToken>) -> Result<Put, DriverRefusal> {
        let tokens = tokens.into_iter().map(|token| (token, new_reference())).collect();
        let (this, tenant) = (self.clone(), tenant.clone());
        to_the_end(async move {
            let put = this.register.put_tokens(&tenant, tokens).await?;
            this.changed(&tenant, &put.changed);
            Ok(put)
        })
        .await
    }

    /// At most `most` listed tokens with a reference after `after`, of one contract or all.
    pub async fn tokens(
        &self,
        tenant: &TenantId,
        contract: Option<&Personal>,
        after: Option<&PersonRef>,
        most: usize,
    ) -> Result<Vec<(PersonRef, DriverToken)>, RegisterError> {
        self.register.tokens(tenant, contract, after, most).await
    }

    /// Erases drivers, so that nothing ties what was recorded to them any more. How many something was known of.
    pub async fn forget(&self, tenant: &TenantId, whom: Whom, by: &By) -> Result<usize, RegisterError> {
        // Not which: that is what is to be forgotten.
        let change = change(tenant, by, "forgot a driver".to_owned());
        let (this, tenant) = (self.clone(), tenant.clone());
        to_the_end(async move {
            let forgotten = this.register.forget(&tenant, whom, change).await?;
            this.changed(&tenant, &forgotten);
            Ok(forgotten.len())
        })
        .await
    }

    pub async fn group(&self, tenant: &TenantId, id: &GroupId) -> Result<Option<DriverGroup>, RegisterError> {
        self.register.group(tenant, id).await
    }

    /// Holds for sessions that are described later.
    pub async fn put_group(&self, tenant: &TenantId, group: DriverGroup, by: &By) -> Result<(), DriverRefusal> {
        let change = change(tenant, by, format!("put group {} of drivers", group.id));
        self.register.put_group(tenant, group, change).await
    }

    /// At most `most` groups with an id after `after`, by id.
    pub async fn groups(
        &self,
        tenant: &TenantId,
        after: Option<&GroupId>,
        most: usize,
    ) -> Result<Vec<DriverGroup>, RegisterError> {
        self.register.groups(tenant, after, most).await
    }

    /// Tokens that name the group stay as they are. True if there was one.
    pub async fn remove_group(&self, tenant: &TenantId, id: &GroupId, by: &By) -> Result<bool, RegisterError> {
        let change = change(tenant, by, format!("removed group {id} of drivers"));
        self.register.remove_group(tenant, id, change).await
    }

    /// For later sessions of the driver. Nothing is kept of one who was forgotten meanwhile.
    async fn keep_answer(
        &self,
        tenant: &TenantId,
        person: &PersonRef,
        answer: Authorisation,
        at: Instant,
    ) -> Result<(), RegisterError> {
        self.register.keep_answer(tenant, person, answer, at).await
    }

    /// A session with a driver began there, or its driver is another.
    pub fn look_at(&self, site: SiteKey) {
        self.tell(|news| {
            news.sites.insert(site);
        });
    }

    fn changed(&self, tenant: &TenantId, people: &[PersonRef]) {
        if !people.is_empty() {
            self.tell(|news| {
                news.people
                    .entry(tenant.clone())
                    .or_default()
                    .extend(people.iter().cloned())
            });
        }
    }

    fn tell(&self, what: impl FnOnce(&mut News)) {
        let (news, told) = &*self.news;
        what(&mut news.lock().unwrap_or_else(PoisonError::into_inner));
        told.notify_one();
    }

    /// Waits until there is something to look at.
    async fn news(&self) -> News {
        let (news, told) = &*self.news;
        loop {
            let taken = std::mem::take(&mut *news.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.sites.is_empty() || !taken.people.is_empty() {
                return taken;
            }
            told.notified().await;
        }
    }
}

/// Goes on where nobody waits for it any more: what was changed is told in any case.
async fn to_the_end<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<RegisterError> + Send + 'static,
{
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(RegisterError(error.to_string()).into()))
}

fn change(tenant: &TenantId, by: &By, what: String) -> AccessChange {
    AccessChange {
        at: by.at,
        by: by.token.clone(),
        tenant: Some(tenant.clone()),
        what,
    }
}

fn new_reference() -> PersonRef {
    PersonRef::parse(&uuid::Uuid::new_v4().to_string()).expect("a UUID is an id")
}

#[cfg(test)]
mod tests;
