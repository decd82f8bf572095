//! Drivers: what is kept of them, over restarts.

use super::*;
use crate::drivers::Drivers;
use std::collections::HashSet;

fn id(tenant: &str) -> TenantId {
    TenantId::parse(tenant).unwrap()
}

/// Of two tenants whose names begin alike.
async fn drivers(register: &SqliteRegister) -> Drivers {
    let tenants = ["a", "ab"].map(|id| RegisterWrite::PutTenant(tenant(id)));
    put(register, tenants.into()).await;
    Drivers::new(Arc::new(register.clone()))
}

async fn forget(drivers: &Drivers, tenant: &str, driver: &str) -> bool {
    let by = TokenId::parse("t0").unwrap();
    let now = Instant::from_unix_secs(5);
    drivers.forget(&id(tenant), driver, now, Some(&by)).await.unwrap()
}

#[tokio::test]
async fn a_driver_has_one_random_reference_in_each_tenant() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    let long = "x".repeat(100_000);
    let mut references = HashSet::new();
    for (tenant, driver) in [
        ("a", "b"),
        ("a", ""),
        ("a", "bb"),
        ("a", "B"),
        ("a", "b "),
        ("a", "b\0"),
        ("ab", "b"),
        ("a", &long),
    ] {
        let tenant = id(tenant);
        let (first, second) = tokio::join!(drivers.reference(&tenant, driver), drivers.reference(&tenant, driver));
        let reference = first.unwrap();
        assert_eq!(reference, second.unwrap(), "two at once agree");
        assert_eq!(drivers.reference(&tenant, driver).await.unwrap(), reference);
        assert!(
            references.insert(reference.to_string()),
            "no two drivers share a reference"
        );
    }
}

#[tokio::test]
async fn a_forgotten_driver_gets_another_reference() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    assert!(!forget(&drivers, "a", "driver").await);
    let before = drivers.reference(&id("a"), "driver").await.unwrap();
    let bystander = drivers.reference(&id("a"), "other").await.unwrap();
    assert!(!forget(&drivers, "ab", "driver").await);
    assert!(forget(&drivers, "a", "driver").await);
    assert!(!forget(&drivers, "a", "driver").await);
    assert_ne!(drivers.reference(&id("a"), "driver").await.unwrap(), before);
    assert_eq!(drivers.reference(&id("a"), "other").await.unwrap(), bystander);
}

#[tokio::test]
async fn it_is_noted_who_forgot_a_driver_but_not_whom() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    drivers.reference(&id("a"), "driver").await.unwrap();
    forget(&drivers, "a", "driver").await;
    forget(&drivers, "a", "driver").await;
    let changes = register.changes(Some(&id("a")), None, 10).await.unwrap();
    let expected = AccessChange {
        tenant: Some(id("a")),
        ..change("forgot a driver")
    };
    assert_eq!(
        changes.into_iter().map(|(_, change)| change).collect::<Vec<_>>(),
        [expected]
    );
}

#[tokio::test]
async fn a_reference_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let register = SqliteRegister::open(folder.path()).unwrap();
    let before = drivers(&register).await.reference(&id("a"), "driver").await.unwrap();
    drop(register);
    let register = SqliteRegister::open(folder.path()).unwrap();
    let after = drivers(&register).await.reference(&id("a"), "driver").await.unwrap();
    assert_eq!(after, before);
}

#[tokio::test]
async fn drivers_go_with_their_tenant_and_there_are_none_without() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    let before = drivers.reference(&id("a"), "driver").await.unwrap();
    let other = drivers.reference(&id("ab"), "driver").await.unwrap();
    put(&register, vec![RegisterWrite::RemoveTenant(id("a"))]).await;
    let refused = drivers.reference(&id("a"), "driver").await.unwrap_err().to_string();
    assert!(!refused.contains("driver "), "no error names one: {refused}");
    put(&register, vec![RegisterWrite::PutTenant(tenant("a"))]).await;
    assert_ne!(drivers.reference(&id("a"), "driver").await.unwrap(), before);
    assert_eq!(drivers.reference(&id("ab"), "driver").await.unwrap(), other);
}
