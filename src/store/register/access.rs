//! Tenants and tokens in the register, and what was done to them.
//!
//! Decides how they lie in their tables. Never decides what may be changed.

use super::{SqliteRegister, instant_if_there, note, parsed, parsed_if_there};
use crate::access::register::{Register, RegisterContents, RegisterWrite};
use crate::domain::access::{AccessChange, Grant, Quota, Scope, SecretDigest, Tenant, Token};
use crate::domain::ids::{GatewayId, RequestId, SiteId, TenantId, TokenId};
use crate::domain::rejection::Rejection;
use crate::register::RegisterError;
use crate::units::Instant;
use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
use std::collections::BTreeSet;

pub(super) const SCHEMA: &str = "
    CREATE TABLE tenant (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        suspended INTEGER NOT NULL,
        sites INTEGER NOT NULL,
        evses INTEGER NOT NULL,
        calls_per_second INTEGER NOT NULL,
        plans_at_once INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE token (
        id TEXT PRIMARY KEY,
        tenant TEXT REFERENCES tenant(id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        -- Names, sites and gateways apart by spaces, which no id has.
        scopes TEXT NOT NULL,
        sites TEXT,
        gateways TEXT,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        revoked_at INTEGER,
        last_used_at INTEGER,
        secret BLOB NOT NULL,
        old_secret BLOB,
        old_secret_ends_at INTEGER,
        request TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX token_of_tenant ON token(tenant);
";

#[async_trait]
impl Register for SqliteRegister {
    async fn load(&self) -> Result<RegisterContents, RegisterError> {
        self.blocking(|connection| {
            let mut tenants = connection.prepare("SELECT * FROM tenant")?;
            let mut tokens = connection.prepare("SELECT * FROM token")?;
            Ok(RegisterContents {
                tenants: tenants.query_map([], read_tenant)?.collect::<Result<_, _>>()?,
                tokens: tokens.query_map([], read_token)?.collect::<Result<_, _>>()?,
            })
        })
        .await
    }

    async fn write(&self, write: RegisterWrite, change: AccessChange) -> Result<(), RegisterError> {
        let removes = matches!(write, RegisterWrite::RemoveTenant(_) | RegisterWrite::RemoveTokens(_));
        let writing = self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            match &write {
                RegisterWrite::PutTenant(tenant) => put_tenant(&transaction, tenant)?,
                RegisterWrite::RemoveTenant(tenant) => {
                    transaction.execute("DELETE FROM tenant WHERE id = ?1", [tenant.as_str()])?;
                }
                RegisterWrite::PutToken(token) => put_token(&transaction, token)?,
                RegisterWrite::RemoveTokens(tokens) => {
                    for token in tokens {
                        transaction.execute("DELETE FROM token WHERE id = ?1", [token.as_str()])?;
                    }
                }
            }
            note(&transaction, &change)?;
            transaction.commit()
        });
        writing.await?;
        if removes {
            self.something_was_removed().await?;
        }
        Ok(())
    }

    async fn note_used(&self, used: Vec<(TokenId, Instant)>) -> Result<(), RegisterError> {
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            let later = "UPDATE token SET last_used_at = max(coalesce(last_used_at, ?2), ?2) WHERE id = ?1";
            for (token, at) in &used {
                transaction.execute(later, params![token.as_str(), at.unix_secs()])?;
            }
            transaction.commit()
        })
        .await
    }

    async fn changes(
        &self,
        tenant: Option<&TenantId>,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<(u64, AccessChange)>, RegisterError> {
        let tenant = tenant.map(ToString::to_string);
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.blocking(move |connection| {
            let of_all = "SELECT * FROM change WHERE number < ?1 ORDER BY number DESC LIMIT ?2";
            let of_one = "SELECT * FROM change WHERE number < ?1 AND tenant = ?3 ORDER BY number DESC LIMIT ?2";
            match tenant {
                None => connection
                    .prepare(of_all)?
                    .query_map(params![before, most], read_change)?
                    .collect(),
                Some(tenant) => {
                    let mut listed = connection.prepare(of_one)?;
                    listed.query_map(params![before, most, tenant], read_change)?.collect()
                }
            }
        })
        .await
    }
}

fn put_tenant(connection: &Connection, tenant: &Tenant) -> rusqlite::Result<()> {
    let quota = &tenant.quota;
    connection.execute(
        "INSERT INTO tenant VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT(id) DO UPDATE SET (name, suspended, sites, evses, calls_per_second, plans_at_once, tokens)
             = (excluded.name, excluded.suspended, excluded.sites, excluded.evses, excluded.calls_per_second,
                excluded.plans_at_once, excluded.tokens)",
        params![
            tenant.id.as_str(),
            tenant.name,
            tenant.suspended,
            quota.sites,
            quota.evses,
            quota.calls_per_second,
            quota.plans_at_once,
            quota.tokens,
            tenant.created_at.unix_secs(),
        ],
    )?;
    Ok(())
}

fn put_token(connection: &Connection, token: &Token) -> rusqlite::Result<()> {
    let grant = &token.grant;
    let seconds = |at: Option<Instant>| at.map(Instant::unix_secs);
    let (old_secret, old_secret_ends_at) = token.old_secret.unzip();
    connection.execute(
        "INSERT OR REPLACE INTO token VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            token.id.as_str(),
            grant.tenant.as_ref().map(TenantId::as_str),
            token.name,
            joined(grant.scopes.iter().map(|scope| scope.name())),
            grant
                .sites
                .as_ref()
                .map(|sites| joined(sites.iter().map(SiteId::as_str))),
            grant
                .gateways
                .as_ref()
                .map(|gateways| joined(gateways.iter().map(GatewayId::as_str))),
            token.created_at.unix_secs(),
            seconds(token.expires_at),
            seconds(token.revoked_at),
            seconds(token.last_used_at),
            token.secret.0,
            old_secret.map(|secret| secret.0),
            seconds(old_secret_ends_at),
            token.request.as_ref().map(RequestId::as_str),
        ],
    )?;
    Ok(())
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(" ")
}

fn parsed_set<T: Ord>(
    row: &Row<'_>,
    column: &str,
    parse: impl Fn(&str) -> Result<T, Rejection>,
) -> rusqlite::Result<Option<BTreeSet<T>>> {
    parsed_if_there(row, column, |text| text.split_ascii_whitespace().map(&parse).collect())
}

fn instant(row: &Row<'_>, column: &str) -> rusqlite::Result<Instant> {
    row.get(column).map(Instant::from_unix_secs)
}

fn read_tenant(row: &Row<'_>) -> rusqlite::Result<Tenant> {
    Ok(Tenant {
        id: parsed(row, "id", TenantId::parse)?,
        name: row.get("name")?,
        suspended: row.get("suspended")?,
        quota: Quota {
            sites: row.get("sites")?,
            evses: row.get("evses")?,
            calls_per_second: row.get("calls_per_second")?,
            plans_at_once: row.get("plans_at_once")?,
            tokens: row.get("tokens")?,
        },
        created_at: instant(row, "created_at")?,
    })
}

fn read_token(row: &Row<'_>) -> rusqlite::Result<Token> {
    let old_secret: Option<[u8; 32]> = row.get("old_secret")?;
    let old_secret_ends_at = instant_if_there(row, "old_secret_ends_at")?;
    Ok(Token {
        id: parsed(row, "id", TokenId::parse)?,
        name: row.get("name")?,
        grant: Grant {
            tenant: parsed_if_there(row, "tenant", TenantId::parse)?,
            scopes: parsed_set(row, "scopes", Scope::parse)?.unwrap_or_default(),
            sites: parsed_set(row, "sites", SiteId::parse)?,
            gateways: parsed_set(row, "gateways", GatewayId::parse)?,
        },
        created_at: instant(row, "created_at")?,
        expires_at: instant_if_there(row, "expires_at")?,
        revoked_at: instant_if_there(row, "revoked_at")?,
        last_used_at: instant_if_there(row, "last_used_at")?,
        secret: SecretDigest(row.get("secret")?),
        old_secret: old_secret.map(SecretDigest).zip(old_secret_ends_at),
        request: parsed_if_there(row, "request", RequestId::parse)?,
    })
}

fn read_change(row: &Row<'_>) -> rusqlite::Result<(u64, AccessChange)> {
    let change = AccessChange {
        at: instant(row, "at")?,
        by: parsed_if_there(row, "by_token", TokenId::parse)?,
        tenant: parsed_if_there(row, "tenant", TenantId::parse)?,
        what: row.get("what")?,
    };
    let number: i64 = row.get("number")?;
    Ok((number.unsigned_abs(), change))
}
