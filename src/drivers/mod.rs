//! Drivers: the random reference that stands for each.
//!
//! Decides that a reference says nothing of whom it stands for, so that it may be in journals, which keep everything, while the driver
//! can be forgotten. Never decides who may ask, and never keeps or tells a driver itself: that is the register's.
//!
//! - [`Drivers`] is the whole of it; cheap to clone.
//! - [`register`] is where drivers are kept.

pub mod register;

use crate::domain::access::AccessChange;
use crate::domain::ids::{PersonRef, TenantId, TokenId};
use crate::register::RegisterError;
use crate::units::Instant;
use register::DriverRegister;
use std::sync::Arc;

/// The drivers of all tenants; cheap to clone.
#[derive(Clone)]
pub struct Drivers {
    register: Arc<dyn DriverRegister>,
}

impl Drivers {
    pub fn new(register: Arc<dyn DriverRegister>) -> Self {
        Self { register }
    }

    /// What stands for a driver of this tenant; made and synced if there is nothing yet.
    pub async fn reference(&self, tenant: &TenantId, driver: &str) -> Result<PersonRef, RegisterError> {
        self.register.reference(tenant, driver, new_reference()).await
    }

    /// Erases a driver, so that nothing ties what was recorded to him any more. True if he was known; then it is noted who asked.
    pub async fn forget(
        &self,
        tenant: &TenantId,
        driver: &str,
        now: Instant,
        by: Option<&TokenId>,
    ) -> Result<bool, RegisterError> {
        let change = AccessChange {
            at: now,
            by: by.cloned(),
            tenant: Some(tenant.clone()),
            // Not which: that is what is to be forgotten.
            what: "forgot a driver".to_owned(),
        };
        self.register.forget(tenant, driver, change).await
    }
}

fn new_reference() -> PersonRef {
    PersonRef::parse(&uuid::Uuid::new_v4().to_string()).expect("a UUID is an id")
}
