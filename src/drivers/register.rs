//! Where drivers are kept.
//!
//! Decides the contract: what is acknowledged is on disk, and who was forgotten is in none of its files any more. A driver is personal
//! data, so no error names one.

use crate::domain::access::AccessChange;
use crate::domain::ids::{PersonRef, TenantId};
use crate::register::RegisterError;
use async_trait::async_trait;

#[async_trait]
pub trait DriverRegister: Send + Sync + 'static {
    /// The reference of a driver of this tenant, which is known. Where there is none yet it is `new`, synced.
    async fn reference(&self, tenant: &TenantId, driver: &str, new: PersonRef) -> Result<PersonRef, RegisterError>;

    /// Erases a driver and notes the change, together or not at all. False, and nothing noted, if there is no such driver.
    async fn forget(&self, tenant: &TenantId, driver: &str, change: AccessChange) -> Result<bool, RegisterError>;
}
