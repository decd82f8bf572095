//! Drivers in the register.
//!
//! Decides how they lie in their table. A driver lies there as he was named, so he has to be gone from the file once he is forgotten;
//! he is in no error.

use super::{SqliteRegister, note, parsed, write_anew};
use crate::domain::access::AccessChange;
use crate::domain::ids::{PersonRef, TenantId};
use crate::drivers::register::DriverRegister;
use crate::register::RegisterError;
use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

pub(super) const SCHEMA: &str = "
    CREATE TABLE person (
        tenant TEXT NOT NULL REFERENCES tenant(id) ON DELETE CASCADE,
        driver TEXT NOT NULL,
        reference TEXT NOT NULL,
        PRIMARY KEY (tenant, driver)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX person_of_reference ON person(reference);
";

#[async_trait]
impl DriverRegister for SqliteRegister {
    async fn reference(&self, tenant: &TenantId, driver: &str, new: PersonRef) -> Result<PersonRef, RegisterError> {
        let (tenant, driver) = (tenant.clone(), driver.to_owned());
        self.blocking(move |connection| {
            let known = "SELECT reference FROM person WHERE tenant = ?1 AND driver = ?2";
            let read = |row: &rusqlite::Row<'_>| parsed(row, "reference", PersonRef::parse);
            let known = connection.query_row(known, params![tenant.as_str(), driver], read);
            if let Some(known) = known.optional()? {
                return Ok(known);
            }
            let insert = "INSERT INTO person (tenant, driver, reference) VALUES (?1, ?2, ?3)";
            connection.execute(insert, params![tenant.as_str(), driver, new.as_str()])?;
            Ok(new)
        })
        .await
    }

    async fn forget(&self, tenant: &TenantId, driver: &str, change: AccessChange) -> Result<bool, RegisterError> {
        let (tenant, driver) = (tenant.clone(), driver.to_owned());
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            let delete = "DELETE FROM person WHERE tenant = ?1 AND driver = ?2";
            if transaction.execute(delete, params![tenant.as_str(), driver])? == 0 {
                return Ok(false);
            }
            note(&transaction, &change)?;
            transaction.commit()?;
            write_anew(connection);
            Ok(true)
        })
        .await
    }
}
