//! Where drivers are kept.
//!
//! Decides the contract: what is acknowledged is on disk, and who was forgotten is in none of its files any more. A driver is personal
//! data, so no error names one.

use crate::domain::access::AccessChange;
use crate::domain::driver::{Admits, Authorisation, Driver, DriverPolicy, DriverToken, Listing, Personal, TokenName};
use crate::domain::driver_group::DriverGroup;
use crate::domain::ids::{GroupId, PersonRef, TenantId};
use crate::register::RegisterError;
use crate::units::Instant;
use async_trait::async_trait;

/// Tokens of a tenant of which something is known.
pub const MAX_TOKENS: usize = 1_000_000;
/// Groups of a tenant.
pub const MAX_GROUPS: usize = 1_000;

/// Why nothing was done or told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverRefusal {
    #[error("there is room for {most} {what} of a tenant")]
    Full { what: &'static str, most: usize },
    #[error("{0}")]
    Unavailable(#[from] RegisterError),
}

/// All that is known of a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub person: PersonRef,
    pub name: TokenName,
    pub listing: Option<Listing>,
    /// The last answer about him, and when it came.
    pub answer: Option<(Authorisation, Instant)>,
}

impl Known {
    /// What a session of his knows that begins now: an answer counts as long as the site's policy remembers it.
    pub fn driver(&self, policy: &DriverPolicy, now: Instant) -> Driver {
        let remembered = |(_, at): &(Authorisation, Instant)| match policy.admits {
            Admits::Authorised { remember, .. } => *at <= now && now < *at + remember,
            Admits::Everybody | Admits::Listed | Admits::Groups(_) => false,
        };
        Driver {
            person: self.person.clone(),
            listing: self.listing.clone(),
            answer: self.answer.filter(remembered).map(|(answer, _)| answer),
        }
    }
}

/// Who is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    Token(TokenName),
    /// Whoever has a token that is listed with it.
    Contract(Personal),
}

/// What came of listing tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    pub changed: Vec<PersonRef>,
    /// Those that were older than what is listed.
    pub outdated: usize,
}

#[async_trait]
pub trait DriverRegister: Send + Sync + 'static {
    /// What is known of whoever shows a token. Where nothing is yet, `new` is his reference, synced.
    async fn meet(&self, tenant: &TenantId, name: TokenName, new: PersonRef) -> Result<Known, DriverRefusal>;

    async fn known(&self, tenant: &TenantId, person: &PersonRef) -> Result<Option<Known>, RegisterError>;

    /// All of them or none, each with the reference it gets where it has none.
    async fn put_tokens(&self, tenant: &TenantId, tokens: Vec<(DriverToken, PersonRef)>) -> Result<Put, DriverRefusal>;

    /// At most `most` listed tokens with a reference after `after`, by reference.
    async fn tokens(
        &self,
        tenant: &TenantId,
        contract: Option<&Personal>,
        after: Option<&PersonRef>,
        most: usize,
    ) -> Result<Vec<(PersonRef, DriverToken)>, RegisterError>;

    /// Erases drivers and notes the change, together or not at all. Nothing is noted if there is no such driver.
    async fn forget(
        &self,
        tenant: &TenantId,
        whom: Whom,
        change: AccessChange,
    ) -> Result<Vec<PersonRef>, RegisterError>;

    /// When and what was answered last about a driver. Does nothing if he is not known.
    async fn keep_answer(
        &self,
        tenant: &TenantId,
        person: &PersonRef,
        answer: Authorisation,
        at: Instant,
    ) -> Result<(), RegisterError>;

    async fn group(&self, tenant: &TenantId, id: &GroupId) -> Result<Option<DriverGroup>, RegisterError>;

    async fn groups(
        &self,
        tenant: &TenantId,
        after: Option<&GroupId>,
        most: usize,
    ) -> Result<Vec<DriverGroup>, RegisterError>;

    async fn put_group(&self, tenant: &TenantId, group: DriverGroup, change: AccessChange)
    -> Result<(), DriverRefusal>;

    async fn remove_group(&self, tenant: &TenantId, id: &GroupId, change: AccessChange) -> Result<bool, RegisterError>;
}
