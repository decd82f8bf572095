//! Drivers in the register.
//!
//! Decides how they lie in their tables. A token lies there as it was shown, so it has to be gone from the file once its driver is
//! forgotten; it is in no error. A row is there as soon as a token was shown or listed: `reference` is what journals know of it.

use super::{SqliteRegister, instant_if_there, note, parsed, parsed_if_there};
use crate::domain::access::AccessChange;
use crate::domain::driver::{Authorisation, DriverToken, Listing, Personal, TokenKind, TokenName, Whitelist};
use crate::domain::driver_group::DriverGroup;
use crate::domain::ids::{GroupId, PersonRef, TenantId};
use crate::domain::rejection::Rejection;
use crate::domain::session::Tier;
use crate::drivers::register::{DriverRefusal, DriverRegister, Known, MAX_GROUPS, MAX_TOKENS, Put, Whom};
use crate::register::RegisterError;
use crate::units::{Instant, Seconds, WattSeconds};
use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) const SCHEMA: &str = "
    CREATE TABLE driver (
        tenant TEXT NOT NULL REFERENCES tenant(id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        -- In small letters, by which it is compared.
        folded_uid TEXT NOT NULL,
        uid TEXT NOT NULL,
        reference TEXT NOT NULL,
        -- Null with all that follows up to driver_group: the token is not listed.
        updated_at INTEGER,
        contract_id TEXT,
        folded_contract_id TEXT,
        valid INTEGER,
        valid_until INTEGER,
        whitelist TEXT,
        driver_group TEXT,
        answer TEXT,
        answered_at INTEGER,
        PRIMARY KEY (tenant, kind, folded_uid)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX driver_of_reference ON driver(tenant, reference);
    CREATE INDEX driver_of_contract ON driver(tenant, folded_contract_id) WHERE folded_contract_id IS NOT NULL;
    CREATE TABLE driver_group (
        tenant TEXT NOT NULL REFERENCES tenant(id) ON DELETE CASCADE,
        id TEXT NOT NULL,
        name TEXT NOT NULL,
        tier INTEGER,
        stay_seconds INTEGER,
        need_watt_second INTEGER,
        guaranteed_watt_second INTEGER,
        PRIMARY KEY (tenant, id)
    ) STRICT, WITHOUT ROWID;
";

const ONE: &str = "SELECT * FROM driver WHERE tenant = ?1 AND kind = ?2 AND folded_uid = ?3";

fn one(connection: &Connection, tenant: &TenantId, name: &TokenName) -> rusqlite::Result<Option<Known>> {
    let key = params![tenant.as_str(), name.kind.name(), name.uid.folded()];
    connection.query_row(ONE, key, read_known).optional()
}

fn by_reference(connection: &Connection, tenant: &TenantId, person: &PersonRef) -> rusqlite::Result<Option<Known>> {
    let of = "SELECT * FROM driver WHERE tenant = ?1 AND reference = ?2";
    connection
        .query_row(of, params![tenant.as_str(), person.as_str()], read_known)
        .optional()
}

/// What a transaction came to, other than an error of the database.
type Outcome<T> = Result<T, DriverRefusal>;

fn check_room(
    connection: &Connection,
    tenant: &TenantId,
    table: &str,
    new: usize,
    what: &'static str,
    most: usize,
) -> rusqlite::Result<Outcome<()>> {
    let count = format!("SELECT count(*) FROM {table} WHERE tenant = ?1");
    let there: i64 = connection.query_row(&count, [tenant.as_str()], |row| row.get(0))?;
    let fits = usize::try_from(there).unwrap_or(usize::MAX).saturating_add(new) <= most;
    Ok(if fits {
        Ok(())
    } else {
        Err(DriverRefusal::Full { what, most })
    })
}

fn insert(connection: &Connection, tenant: &TenantId, name: &TokenName, person: &PersonRef) -> rusqlite::Result<()> {
    let insert = "INSERT INTO driver (tenant, kind, folded_uid, uid, reference) VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(insert)?.execute(params![
        tenant.as_str(),
        name.kind.name(),
        name.uid.folded(),
        name.uid.show(),
        person.as_str()
    ])?;
    Ok(())
}

fn list(connection: &Connection, tenant: &TenantId, token: &DriverToken) -> rusqlite::Result<()> {
    let update = "
        UPDATE driver SET uid = ?4, updated_at = ?5, contract_id = ?6, folded_contract_id = ?7, valid = ?8, valid_until = ?9,
            whitelist = ?10, driver_group = ?11
        WHERE tenant = ?1 AND kind = ?2 AND folded_uid = ?3";
    let (name, listing) = (&token.name, &token.listing);
    connection.prepare_cached(update)?.execute(params![
        tenant.as_str(),
        name.kind.name(),
        name.uid.folded(),
        name.uid.show(),
        token.updated_at.unix_secs(),
        token.contract_id.as_ref().map(Personal::show),
        token.contract_id.as_ref().map(Personal::folded),
        listing.valid,
        listing.until.map(Instant::unix_secs),
        listing.whitelist.name(),
        listing.group.as_ref().map(GroupId::as_str),
    ])?;
    Ok(())
}

/// What is listed of a token; `None` where nothing is.
fn listed(
    connection: &Connection,
    tenant: &TenantId,
    name: &TokenName,
) -> rusqlite::Result<Option<(PersonRef, Option<DriverToken>)>> {
    let key = params![tenant.as_str(), name.kind.name(), name.uid.folded()];
    let read = |row: &Row<'_>| {
        let person = parsed(row, "reference", PersonRef::parse)?;
        let updated_at: Option<i64> = row.get("updated_at")?;
        let token = updated_at.map(|_| read_token(row)).transpose()?;
        Ok((person, token))
    };
    connection.prepare_cached(ONE)?.query_row(key, read).optional()
}

fn put_all(
    connection: &Connection,
    tenant: &TenantId,
    tokens: &[(DriverToken, PersonRef)],
) -> rusqlite::Result<Outcome<Put>> {
    let mut put = Put::default();
    let mut new = 0;
    for (token, reference) in tokens {
        match listed(connection, tenant, &token.name)? {
            None => {
                insert(connection, tenant, &token.name, reference)?;
                new += 1;
                list(connection, tenant, token)?;
                put.changed.push(reference.clone());
            }
            Some((_, Some(before))) if before.updated_at > token.updated_at => put.outdated += 1,
            Some((person, before)) => {
                list(connection, tenant, token)?;
                let as_before = |before: DriverToken| {
                    let updated_at = token.updated_at;
                    DriverToken { updated_at, ..before } == *token
                };
                if !before.is_some_and(as_before) {
                    put.changed.push(person);
                }
            }
        }
    }
    if new == 0 {
        return Ok(Ok(put));
    }
    // What is new is there already.
    let room = check_room(connection, tenant, "driver", 0, "tokens of drivers", MAX_TOKENS)?;
    Ok(room.map(|()| put))
}

fn answered(outcome: Result<Outcome<Put>, RegisterError>) -> Outcome<Put> {
    outcome?
}

#[async_trait]
impl DriverRegister for SqliteRegister {
    async fn meet(&self, tenant: &TenantId, name: TokenName, new: PersonRef) -> Result<Known, DriverRefusal> {
        let tenant = tenant.clone();
        self.blocking(move |connection| {
            if let Some(known) = one(connection, &tenant, &name)? {
                return Ok(Ok(known));
            }
            if let Err(full) = check_room(connection, &tenant, "driver", 1, "tokens of drivers", MAX_TOKENS)? {
                return Ok(Err(full));
            }
            insert(connection, &tenant, &name, &new)?;
            Ok(Ok(Known {
                person: new,
                name,
                listing: None,
                answer: None,
            }))
        })
        .await?
    }

    async fn known(&self, tenant: &TenantId, person: &PersonRef) -> Result<Option<Known>, RegisterError> {
        let (tenant, person) = (tenant.clone(), person.clone());
        self.blocking(move |connection| by_reference(connection, &tenant, &person))
            .await
    }

    async fn put_tokens(&self, tenant: &TenantId, tokens: Vec<(DriverToken, PersonRef)>) -> Result<Put, DriverRefusal> {
        let tenant = tenant.clone();
        let done = self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            let put = put_all(&transaction, &tenant, &tokens)?;
            if put.is_ok() {
                transaction.commit()?;
            }
            Ok(put)
        });
        answered(done.await)
    }

    async fn tokens(
        &self,
        tenant: &TenantId,
        contract: Option<&Personal>,
        after: Option<&PersonRef>,
        most: usize,
    ) -> Result<Vec<(PersonRef, DriverToken)>, RegisterError> {
        let (tenant, contract) = (tenant.clone(), contract.map(Personal::folded));
        let after = after.map(PersonRef::to_string).unwrap_or_default();
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.blocking(move |connection| {
            let read = |row: &Row<'_>| Ok((parsed(row, "reference", PersonRef::parse)?, read_token(row)?));
            let listed = "SELECT * FROM driver WHERE tenant = ?1 AND reference > ?2 AND updated_at IS NOT NULL";
            match contract {
                None => connection
                    .prepare(&format!("{listed} ORDER BY reference LIMIT ?3"))?
                    .query_map(params![tenant.as_str(), after, most], read)?
                    .collect(),
                Some(contract) => connection
                    .prepare(&format!(
                        "{listed} AND folded_contract_id = ?4 ORDER BY reference LIMIT ?3"
                    ))?
                    .query_map(params![tenant.as_str(), after, most, contract], read)?
                    .collect(),
            }
        })
        .await
    }

    async fn forget(
        &self,
        tenant: &TenantId,
        whom: Whom,
        change: AccessChange,
    ) -> Result<Vec<PersonRef>, RegisterError> {
        let tenant = tenant.clone();
        let forgetting = self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            let read = |row: &Row<'_>| parsed(row, "reference", PersonRef::parse);
            let forgotten: Vec<PersonRef> = match &whom {
                Whom::Token(name) => {
                    let delete =
                        "DELETE FROM driver WHERE tenant = ?1 AND kind = ?2 AND folded_uid = ?3 RETURNING reference";
                    let key = params![tenant.as_str(), name.kind.name(), name.uid.folded()];
                    transaction
                        .prepare(delete)?
                        .query_map(key, read)?
                        .collect::<Result<_, _>>()?
                }
                Whom::Contract(id) => {
                    let delete = "DELETE FROM driver WHERE tenant = ?1 AND folded_contract_id = ?2 RETURNING reference";
                    let key = params![tenant.as_str(), id.folded()];
                    transaction
                        .prepare(delete)?
                        .query_map(key, read)?
                        .collect::<Result<_, _>>()?
                }
            };
            if forgotten.is_empty() {
                return Ok(forgotten);
            }
            note(&transaction, &change)?;
            transaction.commit()?;
            Ok(forgotten)
        });
        let forgotten = forgetting.await?;
        if !forgotten.is_empty() {
            self.something_was_removed().await?;
        }
        Ok(forgotten)
    }

    async fn keep_answer(
        &self,
        tenant: &TenantId,
        person: &PersonRef,
        answer: Authorisation,
        at: Instant,
    ) -> Result<(), RegisterError> {
        let (tenant, person) = (tenant.clone(), person.clone());
        self.blocking(move |connection| {
            let update = "UPDATE driver SET answer = ?3, answered_at = ?4 WHERE tenant = ?1 AND reference = ?2";
            let values = params![tenant.as_str(), person.as_str(), answer.name(), at.unix_secs()];
            connection.execute(update, values).map(drop)
        })
        .await
    }

    async fn group(&self, tenant: &TenantId, id: &GroupId) -> Result<Option<DriverGroup>, RegisterError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.blocking(move |connection| {
            let one = "SELECT * FROM driver_group WHERE tenant = ?1 AND id = ?2";
            let key = params![tenant.as_str(), id.as_str()];
            connection.query_row(one, key, read_group).optional()
        })
        .await
    }

    async fn groups(
        &self,
        tenant: &TenantId,
        after: Option<&GroupId>,
        most: usize,
    ) -> Result<Vec<DriverGroup>, RegisterError> {
        let tenant = tenant.clone();
        let after = after.map(GroupId::to_string).unwrap_or_default();
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.blocking(move |connection| {
            let some = "SELECT * FROM driver_group WHERE tenant = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
            connection
                .prepare(some)?
                .query_map(params![tenant.as_str(), after, most], read_group)?
                .collect()
        })
        .await
    }

    async fn put_group(
        &self,
        tenant: &TenantId,
        group: DriverGroup,
        change: AccessChange,
    ) -> Result<(), DriverRefusal> {
        let tenant = tenant.clone();
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "INSERT OR REPLACE INTO driver_group VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    tenant.as_str(),
                    group.id.as_str(),
                    group.name,
                    group.tier.map(Tier::number),
                    group.stay.map(Seconds::secs),
                    group.need.map(WattSeconds::watt_seconds),
                    group.guaranteed.map(WattSeconds::watt_seconds),
                ],
            )?;
            if let Err(full) = check_room(
                &transaction,
                &tenant,
                "driver_group",
                0,
                "groups of drivers",
                MAX_GROUPS,
            )? {
                return Ok(Err(full));
            }
            note(&transaction, &change)?;
            transaction.commit()?;
            Ok(Ok(()))
        })
        .await?
    }

    async fn remove_group(&self, tenant: &TenantId, id: &GroupId, change: AccessChange) -> Result<bool, RegisterError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            let delete = "DELETE FROM driver_group WHERE tenant = ?1 AND id = ?2";
            if transaction.execute(delete, params![tenant.as_str(), id.as_str()])? == 0 {
                return Ok(false);
            }
            note(&transaction, &change)?;
            transaction.commit()?;
            Ok(true)
        })
        .await
    }
}

// --- Reading ----------------------------------------------------------------------------------------------------------------------

/// No error tells what lies there.
fn personal(row: &Row<'_>, column: &str) -> rusqlite::Result<Personal> {
    parsed(row, column, |text| Personal::parse("", text))
}

fn read_name(row: &Row<'_>) -> rusqlite::Result<TokenName> {
    Ok(TokenName {
        kind: parsed(row, "kind", TokenKind::parse)?,
        uid: personal(row, "uid")?,
    })
}

fn read_listing(row: &Row<'_>) -> rusqlite::Result<Listing> {
    Ok(Listing {
        valid: row.get("valid")?,
        until: instant_if_there(row, "valid_until")?,
        whitelist: parsed(row, "whitelist", Whitelist::parse)?,
        group: parsed_if_there(row, "driver_group", GroupId::parse)?,
    })
}

fn read_token(row: &Row<'_>) -> rusqlite::Result<DriverToken> {
    Ok(DriverToken {
        name: read_name(row)?,
        contract_id: parsed_if_there(row, "contract_id", |text| Personal::parse("", text))?,
        listing: read_listing(row)?,
        updated_at: row.get("updated_at").map(Instant::from_unix_secs)?,
    })
}

fn read_known(row: &Row<'_>) -> rusqlite::Result<Known> {
    let updated_at: Option<i64> = row.get("updated_at")?;
    let answer = parsed_if_there(row, "answer", Authorisation::parse)?;
    Ok(Known {
        person: parsed(row, "reference", PersonRef::parse)?,
        name: read_name(row)?,
        listing: updated_at.map(|_| read_listing(row)).transpose()?,
        answer: answer.zip(instant_if_there(row, "answered_at")?),
    })
}

fn read_group(row: &Row<'_>) -> rusqlite::Result<DriverGroup> {
    let tier: Option<u8> = row.get("tier")?;
    let tier = tier.map(|number| {
        let wrong = || {
            let why = Rejection::one("", "is not a tier", number, "1 to 9");
            super::unreadable("tier", Type::Integer, why)
        };
        Tier::from_number(number).ok_or_else(wrong)
    });
    let seconds: Option<i64> = row.get("stay_seconds")?;
    let energy = |column| -> rusqlite::Result<Option<WattSeconds>> {
        let stored: Option<i64> = row.get(column)?;
        Ok(stored.map(WattSeconds::from_watt_seconds))
    };
    Ok(DriverGroup {
        id: parsed(row, "id", GroupId::parse)?,
        name: row.get("name")?,
        tier: tier.transpose()?,
        stay: seconds.map(Seconds::from_secs),
        need: energy("need_watt_second")?,
        guaranteed: energy("guaranteed_watt_second")?,
    })
}
