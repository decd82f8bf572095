//! Where drivers are kept.
//!
//! Decides the contract: what is acknowledged is on disk, and who was forgotten is in none of its files any more. A driver is personal
//! data, so no error names one.

use super::{DriverRefusal, Known};
use crate::domain::access::AccessChange;
use crate::domain::driver::{Authorisation, DriverGroup, DriverToken, Personal, TokenName};
use crate::domain::ids::{GroupId, PersonRef, TenantId};
use crate::register::RegisterError;
use crate::units::Instant;
use async_trait::async_trait;

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
