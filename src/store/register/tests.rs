//! What the register keeps, over restarts and in its files.

use super::*;
use crate::access::register::{Register, RegisterContents, RegisterWrite};
use crate::domain::access::{Grant, Quota, Scope, SecretDigest, Tenant, Token};
use crate::domain::ids::{RequestId, SiteId};
use crate::units::Instant;
use tempfile::TempDir;

mod access;
mod drivers;
mod removed;

fn tenant(id: &str) -> Tenant {
    Tenant {
        id: TenantId::parse(id).unwrap(),
        name: "Ac'me; DROP TABLE tenant".to_owned(),
        suspended: true,
        quota: Quota {
            sites: 1,
            evses: 2,
            calls_per_second: 3,
            plans_at_once: 4,
            tokens: 5,
        },
        created_at: Instant::from_unix_secs(1),
    }
}

fn change(what: &str) -> AccessChange {
    AccessChange {
        at: Instant::from_unix_secs(5),
        by: Some(TokenId::parse("t0").unwrap()),
        tenant: None,
        what: what.to_owned(),
    }
}

async fn put(register: &SqliteRegister, writes: Vec<RegisterWrite>) {
    for write in writes {
        register.write(write, change("put")).await.unwrap();
    }
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let _register = SqliteRegister::open(folder.path()).unwrap();
    let mode = std::fs::metadata(folder.path().join(FOLDER).join(FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_of_another_version_or_of_another_kind_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteRegister::open(folder.path()).unwrap());
    let path = folder.path().join(FOLDER).join(FILE);
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
    drop(connection);
    let refused = SqliteRegister::open(folder.path()).unwrap_err().to_string();
    assert!(
        refused.contains(FILE) && refused.contains("another version (9"),
        "{refused}"
    );
    std::fs::write(
        &path,
        b"this is no register, but a text that is long enough to be looked at",
    )
    .unwrap();
    let refused = SqliteRegister::open(folder.path()).unwrap_err().to_string();
    assert!(
        refused.contains(FILE) && refused.contains("not a database"),
        "{refused}"
    );
}
