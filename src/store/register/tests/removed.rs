//! What was removed is in no file any more, also where rows were moved about before.

use super::access::token;
use super::*;
use crate::domain::driver::{Personal, TokenKind, TokenName};
use crate::drivers::register::{DriverRegister, Whom};
use std::collections::{BTreeSet, HashMap};

/// Enough for a tree of many pages, and long enough that one row more or less moves others.
const ROWS: usize = 150;
/// Enough that some are left somewhere.
const MANY_ROWS: usize = 3_000;

/// What only one text has, and no other order than that of chance.
fn mark(number: usize) -> String {
    let mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x}")
}

/// Also half of it has the mark.
fn planted(number: usize) -> String {
    format!("{0}{1}{0}", mark(number), "x".repeat(number * 37 % 200))
}

/// Of how many something is in the register's files.
fn found(folder: &TempDir, numbers: impl Iterator<Item = usize>) -> usize {
    let files = std::fs::read_dir(folder.path().join(FOLDER)).unwrap();
    let files: Vec<Vec<u8>> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    let marks: HashMap<Vec<u8>, usize> = numbers.map(|number| (mark(number).into_bytes(), number)).collect();
    let places = files.iter().flat_map(|bytes| bytes.windows(16));
    let found: BTreeSet<usize> = places.filter_map(|place| marks.get(place)).copied().collect();
    found.len()
}

/// All in one transaction, which many syncs would only make slower.
async fn plant(register: &SqliteRegister, rows: usize, insert: &'static str) {
    let planting = register.blocking(move |connection| {
        let transaction = connection.transaction()?;
        for number in 0..rows {
            transaction.execute(insert, params![planted(number), format!("p{number}")])?;
        }
        transaction.commit()
    });
    planting.await.unwrap();
}

async fn with_tenant(folder: &TempDir) -> SqliteRegister {
    let register = SqliteRegister::open(folder.path()).unwrap();
    put(&register, vec![RegisterWrite::PutTenant(tenant("acme"))]).await;
    register
}

/// Known by its mark.
const INSERT_DRIVER: &str = "INSERT INTO driver (tenant, kind, folded_uid, uid, contract_id, reference)
    VALUES ('acme', 'RFID', substr(?1, 1, 16), substr(?1, 1, 16), ?1, ?2)";

fn shown(number: usize) -> Whom {
    Whom::Token(TokenName {
        kind: TokenKind::Rfid,
        uid: Personal::parse("uid", &mark(number)).unwrap(),
    })
}

#[tokio::test]
async fn drivers_that_were_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let register = with_tenant(&folder).await;
    plant(&register, ROWS, INSERT_DRIVER).await;
    let acme = tenant("acme").id;
    assert_eq!(found(&folder, 0..ROWS), ROWS, "they can be found while they are there");
    for number in (0..ROWS).step_by(3) {
        let forgotten = register.forget(&acme, shown(number), change("forgot")).await.unwrap();
        assert_eq!(forgotten.len(), 1);
        assert_eq!(
            found(&folder, (0..=number).step_by(3)),
            0,
            "when {number} was forgotten"
        );
    }
    assert_eq!(found(&folder, 0..ROWS), ROWS - ROWS / 3, "the others are there");
}

/// Where the process ended before the file was written anew.
#[tokio::test]
async fn drivers_that_were_forgotten_before_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let register = with_tenant(&folder).await;
    plant(&register, MANY_ROWS, INSERT_DRIVER).await;
    let deleting = register.blocking(|connection| {
        let transaction = connection.transaction()?;
        for number in (0..MANY_ROWS).step_by(3) {
            transaction.execute("DELETE FROM driver WHERE uid = ?1", [mark(number)])?;
        }
        transaction.commit()
    });
    deleting.await.unwrap();
    assert_ne!(
        found(&folder, (0..MANY_ROWS).step_by(3)),
        0,
        "what was moved left copies"
    );
    drop(register);
    let _register = SqliteRegister::open(folder.path()).unwrap();
    assert_eq!(found(&folder, (0..MANY_ROWS).step_by(3)), 0);
}

#[tokio::test]
async fn drivers_whose_tenant_was_removed() {
    let folder = tempfile::tempdir().unwrap();
    let register = with_tenant(&folder).await;
    plant(&register, ROWS, INSERT_DRIVER).await;
    put(&register, vec![RegisterWrite::RemoveTenant(tenant("acme").id)]).await;
    assert_eq!(found(&folder, 0..ROWS), 0);
}

#[tokio::test]
async fn tokens_that_were_removed() {
    let folder = tempfile::tempdir().unwrap();
    let register = SqliteRegister::open(folder.path()).unwrap();
    let insert = "INSERT INTO token (name, id, scopes, created_at, secret) VALUES (?1, ?2, 'admin', 0, zeroblob(32))";
    plant(&register, ROWS, insert).await;
    assert_eq!(found(&folder, 0..ROWS), ROWS, "they can be found while they are there");
    let removed = (0..ROWS).step_by(3).map(|number| token(&format!("p{number}"), None).id);
    put(&register, vec![RegisterWrite::RemoveTokens(removed.collect())]).await;
    assert_eq!(found(&folder, (0..ROWS).step_by(3)), 0);
}
