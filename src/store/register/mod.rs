//! The register, in SQLite.
//!
//! Decides how it is kept: one small file beside the journals, or memory. It is not in sled since what is removed here has to be gone
//! from the files too, while a log only forgets where things were. SQLite overwrites what is deleted (`secure_delete`), its rollback
//! journal is truncated after each change, and after a removal the file is written anew, without the copies that rows leave behind
//! where they were moved from. Never holds a secret, only digests.
//!
//! - `access` keeps tenants and tokens, `drivers` the drivers of tenants; here are the file, and the notes of what was changed.

mod access;
mod drivers;

use crate::domain::access::AccessChange;
use crate::domain::ids::{TenantId, TokenId};
use crate::domain::rejection::Rejection;
use crate::register::RegisterError;
use crate::units::Instant;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// In the data folder, apart from the journals, which are copied before each start.
const FOLDER: &str = "register";
const FILE: &str = "register.sqlite";
/// What this program writes. A file with another number is another program's.
const VERSION: i64 = 2;
/// Changes that are kept of each tenant, and of none; older ones go.
const MAX_CHANGES: i64 = 10_000;

const SCHEMA: &str = "
    CREATE TABLE change (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        by_token TEXT,
        tenant TEXT,
        what TEXT NOT NULL
    ) STRICT;
    CREATE INDEX change_of_tenant ON change(tenant, number);
";

/// The register in a file or in memory; cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteRegister {
    connection: Arc<Mutex<Connection>>,
    removals: Arc<Removals>,
}

/// One writing anew serves all removals before it.
#[derive(Debug, Default)]
struct Removals {
    made: AtomicU64,
    /// As many of them are in the file no more; held while it is written anew.
    gone: tokio::sync::Mutex<u64>,
}

impl From<rusqlite::Error> for RegisterError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

impl SqliteRegister {
    /// Opens the register of the data folder `data`, which is there. One that is not there is made. Nobody else opens it meanwhile.
    pub fn open(data: &Path) -> Result<Self, RegisterError> {
        let path = data.join(FOLDER).join(FILE);
        make_private(&path).map_err(|error| RegisterError(format!("{}: {error}", path.display())))?;
        let opened = Connection::open(&path).map_err(RegisterError::from);
        let opened = opened.and_then(Self::with);
        opened.map_err(|RegisterError(why)| RegisterError(format!("{}: {why}", path.display())))
    }

    /// Nothing of it survives.
    pub fn in_memory() -> Self {
        let opened = Connection::open_in_memory().map_err(RegisterError::from);
        opened.and_then(Self::with).expect("memory holds an empty register")
    }

    fn with(connection: Connection) -> Result<Self, RegisterError> {
        connection.pragma_update(None, "secure_delete", true)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What is in memory follows the file, so nobody else may write it.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "TRUNCATE")?;
        // Where the file is written anew no copy of it is made outside the data folder.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // Synced before a change is answered.
        connection.pragma_update(None, "synchronous", "FULL")?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => {
                let made = connection.unchecked_transaction()?;
                for schema in [access::SCHEMA, drivers::SCHEMA, SCHEMA] {
                    made.execute_batch(schema)?;
                }
                made.pragma_update(None, "user_version", VERSION)?;
                made.commit()?;
            }
            VERSION => {}
            other => {
                let why = format!("it was written by another version ({other}, this one writes {VERSION})");
                return Err(RegisterError(why));
            }
        }
        // The last removal may not have come so far.
        write_anew(&connection);
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            removals: Arc::default(),
        })
    }

    /// Returns once what the caller removed is in the file no more.
    async fn something_was_removed(&self) -> Result<(), RegisterError> {
        let own = self.removals.made.fetch_add(1, Ordering::SeqCst) + 1;
        let mut gone = self.removals.gone.lock().await;
        if *gone >= own {
            return Ok(());
        }
        let made = self.removals.made.load(Ordering::SeqCst);
        self.blocking(|connection| {
            write_anew(connection);
            Ok(())
        })
        .await?;
        *gone = made;
        Ok(())
    }

    /// Works on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, RegisterError> {
        let connection = Arc::clone(&self.connection);
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        });
        Ok(done.await.map_err(|error| RegisterError(error.to_string()))??)
    }
}

/// Makes the file if it is not there. Only its owner may read it.
fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// To be done after a removal. `secure_delete` overwrites a row where it lies, but not the copies of it that are left in a page where
/// SQLite moved rows to another one. Time and work grow with the file: 0.3 s for 100 000 drivers.
fn write_anew(connection: &Connection) {
    if let Err(error) = connection.execute_batch("VACUUM") {
        // The removal holds all the same.
        tracing::warn!(%error, "what was removed from the register may be in its file until the next removal or start");
    }
}

fn note(connection: &Connection, change: &AccessChange) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO change (at, by_token, tenant, what) VALUES (?1, ?2, ?3, ?4)",
        params![
            change.at.unix_secs(),
            change.by.as_ref().map(TokenId::as_str),
            change.tenant.as_ref().map(TenantId::as_str),
            change.what,
        ],
    )?;
    connection.execute(
        "DELETE FROM change WHERE tenant IS ?1 AND number <=
             (SELECT number FROM change WHERE tenant IS ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        params![change.tenant.as_ref().map(TenantId::as_str), MAX_CHANGES],
    )?;
    Ok(())
}

/// What is stored and cannot be read, as SQLite's own errors of that kind.
fn unreadable(column: &str, kind: Type, why: impl ToString) -> rusqlite::Error {
    let why = format!("column {column}: {}", why.to_string());
    rusqlite::Error::FromSqlConversionFailure(0, kind, why.into())
}

fn parsed<T>(row: &Row<'_>, column: &str, parse: impl Fn(&str) -> Result<T, Rejection>) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).map_err(|why| unreadable(column, Type::Text, why))
}

fn parsed_if_there<T>(
    row: &Row<'_>,
    column: &str,
    parse: impl Fn(&str) -> Result<T, Rejection>,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    let parsed = text.map(|text| parse(&text)).transpose();
    parsed.map_err(|why| unreadable(column, Type::Text, why))
}

fn instant_if_there(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Instant>> {
    let seconds: Option<i64> = row.get(column)?;
    Ok(seconds.map(Instant::from_unix_secs))
}

#[cfg(test)]
mod tests;
