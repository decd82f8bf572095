//! Where tenants, tokens and what was done to them are kept.
//!
//! Decides the contract: what is acknowledged is on disk, a change and the note of it together or not at all. The register is small,
//! and what is removed from it is gone from its files too: the journals, which keep everything, have none of this.

use crate::domain::access::{AccessChange, Tenant, Token};
use crate::domain::ids::{TenantId, TokenId};
use crate::register::RegisterError;
use crate::units::Instant;
use async_trait::async_trait;

/// What is done to the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterWrite {
    PutTenant(Tenant),
    /// Its tokens and its drivers go with it.
    RemoveTenant(TenantId),
    PutToken(Box<Token>),
    /// Tokens that ended long ago.
    RemoveTokens(Vec<TokenId>),
}

/// Everything that is looked at with each call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterContents {
    pub tenants: Vec<Tenant>,
    pub tokens: Vec<Token>,
}

#[async_trait]
pub trait Register: Send + Sync + 'static {
    async fn load(&self) -> Result<RegisterContents, RegisterError>;

    /// Writes, and notes the change. Synced when it returns.
    async fn write(&self, write: RegisterWrite, change: AccessChange) -> Result<(), RegisterError>;

    /// When tokens were last used. Of those that are gone by now nothing is kept.
    async fn note_used(&self, used: Vec<(TokenId, Instant)>) -> Result<(), RegisterError>;

    /// At most `most` changes before number `before`, the newest first; of all tenants, or of one.
    async fn changes(
        &self,
        tenant: Option<&TenantId>,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<(u64, AccessChange)>, RegisterError>;
}
