//! Drivers: what is kept of them, over restarts.

use super::*;
use crate::domain::driver::{Authorisation, DriverToken, Listing, Personal, TokenKind, TokenName, Whitelist};
use crate::domain::driver_group::DriverGroup;
use crate::domain::ids::{GroupId, PersonRef};
use crate::domain::session::Tier;
use crate::drivers::register::{DriverRefusal, DriverRegister, Put, Whom};
use crate::drivers::{By, Drivers};
use crate::units::{Seconds, WattSeconds};
use std::collections::HashSet;

fn id(tenant: &str) -> TenantId {
    TenantId::parse(tenant).unwrap()
}

fn group_id(group: &str) -> GroupId {
    GroupId::parse(group).unwrap()
}

fn name(kind: TokenKind, uid: &str) -> TokenName {
    let uid = Personal::parse("uid", uid).unwrap();
    TokenName { kind, uid }
}

fn rfid(uid: &str) -> TokenName {
    name(TokenKind::Rfid, uid)
}

fn contract(contract_id: &str) -> Personal {
    Personal::parse("contract_id", contract_id).unwrap()
}

fn at(secs: i64) -> Instant {
    Instant::from_unix_secs(secs)
}

/// With every column set, since a column that is not kept is seen only then.
fn token(uid: &str, updated_at: i64) -> DriverToken {
    DriverToken {
        name: rfid(uid),
        contract_id: Some(contract("NL-TNM-C1")),
        listing: Listing {
            valid: true,
            until: Some(at(9_000)),
            whitelist: Whitelist::AllowedOffline,
            group: Some(group_id("pool")),
        },
        updated_at: at(updated_at),
    }
}

fn bare_token(uid: &str, updated_at: i64) -> DriverToken {
    DriverToken {
        contract_id: None,
        listing: Listing {
            valid: false,
            until: None,
            whitelist: Whitelist::Never,
            group: None,
        },
        ..token(uid, updated_at)
    }
}

fn by() -> By {
    By {
        token: Some(TokenId::parse("t0").unwrap()),
        at: at(5),
    }
}

/// Of two tenants whose names begin alike.
async fn drivers(register: &SqliteRegister) -> Drivers {
    let tenants = ["a", "ab"].map(|id| RegisterWrite::PutTenant(tenant(id)));
    put(register, tenants.into()).await;
    Drivers::new(Arc::new(register.clone()))
}

async fn reference(drivers: &Drivers, tenant: &str, name: TokenName) -> PersonRef {
    drivers.meet(&id(tenant), name).await.unwrap().person
}

async fn forget(drivers: &Drivers, tenant: &str, name: TokenName) -> usize {
    drivers.forget(&id(tenant), Whom::Token(name), &by()).await.unwrap()
}

async fn listed(drivers: &Drivers, of: Option<&str>) -> Vec<DriverToken> {
    let of = of.map(contract);
    let tokens = drivers.tokens(&id("a"), of.as_ref(), None, 100).await.unwrap();
    let mut tokens: Vec<DriverToken> = tokens.into_iter().map(|(_, token)| token).collect();
    tokens.sort_by_key(|token| token.name.uid.folded());
    tokens
}

#[tokio::test]
async fn a_token_has_one_random_reference_in_each_tenant() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    let mut references = HashSet::new();
    for (tenant, name) in [
        ("a", rfid("b")),
        ("a", rfid("bb")),
        ("a", rfid("b ")),
        ("a", name(TokenKind::Emaid, "b")),
        ("ab", rfid("b")),
        ("a", rfid(&"x".repeat(36))),
    ] {
        let meet = || reference(&drivers, tenant, name.clone());
        let (first, second) = tokio::join!(meet(), meet());
        assert_eq!(first, second, "two at once agree");
        assert_eq!(meet().await, first);
        assert!(references.insert(first.to_string()), "no two share a reference");
    }
    let small = reference(&drivers, "a", rfid("04a1")).await;
    assert_eq!(reference(&drivers, "a", rfid("04A1")).await, small, "case says nothing");
}

#[tokio::test]
async fn a_forgotten_driver_gets_another_reference() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    assert_eq!(forget(&drivers, "a", rfid("04A1")).await, 0);
    let before = reference(&drivers, "a", rfid("04A1")).await;
    let bystander = reference(&drivers, "a", rfid("04A2")).await;
    assert_eq!(forget(&drivers, "ab", rfid("04A1")).await, 0);
    assert_eq!(forget(&drivers, "a", rfid("04a1")).await, 1);
    assert_eq!(drivers.known(&id("a"), &before).await.unwrap(), None);
    assert_ne!(reference(&drivers, "a", rfid("04A1")).await, before);
    assert_eq!(reference(&drivers, "a", rfid("04A2")).await, bystander);
}

#[tokio::test]
async fn a_contract_is_forgotten_with_all_its_tokens() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    let other = DriverToken {
        contract_id: Some(contract("NL-TNM-C2")),
        ..token("04A3", 1)
    };
    let tokens = vec![token("04A1", 1), token("04A2", 1), other.clone()];
    drivers.put_tokens(&id("a"), tokens).await.unwrap();
    let whom = Whom::Contract(contract("nl-tnm-c1"));
    assert_eq!(drivers.forget(&id("a"), whom, &by()).await.unwrap(), 2);
    assert_eq!(listed(&drivers, None).await, [other]);
}

#[tokio::test]
async fn it_is_noted_who_forgot_a_driver_but_not_whom() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    reference(&drivers, "a", rfid("04A1")).await;
    forget(&drivers, "a", rfid("04A1")).await;
    forget(&drivers, "a", rfid("04A1")).await;
    let changes = register.changes(Some(&id("a")), None, 10).await.unwrap();
    let expected = AccessChange {
        tenant: Some(id("a")),
        ..change("forgot a driver")
    };
    let changes: Vec<AccessChange> = changes.into_iter().map(|(_, change)| change).collect();
    assert_eq!(changes, [expected]);
}

#[tokio::test]
async fn what_is_listed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let register = SqliteRegister::open(folder.path()).unwrap();
    let drivers = drivers(&register).await;
    let shown = reference(&drivers, "a", rfid("04A9")).await;
    let tokens = vec![token("04A1", 7), bare_token("04A2", 8)];
    let put = drivers.put_tokens(&id("a"), tokens.clone()).await.unwrap();
    assert_eq!((put.changed.len(), put.outdated), (2, 0));
    let answer = (Authorisation::NoCredit, at(77));
    register
        .keep_answer(&id("a"), &shown, answer.0, answer.1)
        .await
        .unwrap();
    drop((drivers, register));
    let register = SqliteRegister::open(folder.path()).unwrap();
    let drivers = Drivers::new(Arc::new(register));
    assert_eq!(listed(&drivers, None).await, tokens, "and none that was only shown");
    assert_eq!(listed(&drivers, Some("nl-tnm-c1")).await, tokens[..1]);
    let known = drivers.known(&id("a"), &put.changed[0]).await.unwrap().unwrap();
    assert_eq!(
        (known.listing.as_ref(), &known.name),
        (Some(&tokens[0].listing), &tokens[0].name)
    );
    let known = drivers.meet(&id("a"), rfid("04A9")).await.unwrap();
    assert_eq!((known.person, known.listing, known.answer), (shown, None, Some(answer)));
}

#[tokio::test]
async fn what_is_older_changes_nothing_and_what_is_the_same_is_no_change() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    let person = reference(&drivers, "a", rfid("04A1")).await;
    let put = async |token: DriverToken| drivers.put_tokens(&id("a"), vec![token]).await.unwrap();
    let changed = Put {
        changed: vec![person.clone()],
        outdated: 0,
    };
    let outdated = Put {
        changed: Vec::new(),
        outdated: 1,
    };
    assert_eq!(put(token("04A1", 7)).await, changed, "its reference stays");
    assert_eq!(put(token("04A1", 7)).await, Put::default());
    assert_eq!(put(bare_token("04A1", 6)).await, outdated);
    assert_eq!(listed(&drivers, None).await, [token("04A1", 7)]);
    assert_eq!(put(bare_token("04a1", 7)).await, changed);
    assert_eq!(listed(&drivers, None).await, [bare_token("04a1", 7)]);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    let tokens: Vec<DriverToken> = (0..10).map(|number| token(&format!("04A{number}"), 1)).collect();
    drivers.put_tokens(&id("a"), tokens).await.unwrap();
    let mut seen = HashSet::new();
    let mut after = None;
    loop {
        let page = drivers.tokens(&id("a"), None, after.as_ref(), 3).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        seen.extend(page.into_iter().map(|(_, token)| token.name.uid.folded()));
    }
    assert_eq!(seen.len(), 10);
}

#[tokio::test]
async fn groups_are_kept_listed_and_removed() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    let pool = DriverGroup {
        id: group_id("pool"),
        name: "Car pool".to_owned(),
        tier: Some(Tier::from_caller(2).unwrap()),
        stay: Some(Seconds::from_hours(9)),
        need: Some(WattSeconds::from_watt_hours(12_000)),
        guaranteed: Some(WattSeconds::from_watt_hours(3_000)),
    };
    let bare = DriverGroup {
        id: group_id("guests"),
        name: String::new(),
        tier: None,
        stay: None,
        need: None,
        guaranteed: None,
    };
    for group in [&pool, &bare, &pool] {
        drivers.put_group(&id("a"), group.clone(), &by()).await.unwrap();
    }
    let groups = async |tenant: &str, after: Option<&GroupId>| drivers.groups(&id(tenant), after, 9).await.unwrap();
    assert_eq!(groups("a", None).await, [bare.clone(), pool.clone()]);
    assert_eq!(groups("a", Some(&bare.id)).await, std::slice::from_ref(&pool));
    assert!(groups("ab", None).await.is_empty());
    assert_eq!(drivers.group(&id("a"), &pool.id).await.unwrap(), Some(pool.clone()));
    assert!(!drivers.remove_group(&id("ab"), &pool.id, &by()).await.unwrap());
    assert!(drivers.remove_group(&id("a"), &pool.id, &by()).await.unwrap());
    assert_eq!(drivers.group(&id("a"), &pool.id).await.unwrap(), None);
}

#[tokio::test]
async fn drivers_go_with_their_tenant_and_there_are_none_without() {
    let register = SqliteRegister::in_memory();
    let drivers = drivers(&register).await;
    let before = reference(&drivers, "a", rfid("04A1")).await;
    let other = reference(&drivers, "ab", rfid("04A1")).await;
    put(&register, vec![RegisterWrite::RemoveTenant(id("a"))]).await;
    let refused = drivers.meet(&id("a"), rfid("04A1")).await.unwrap_err();
    assert!(matches!(refused, DriverRefusal::Unavailable(_)));
    assert!(!refused.to_string().contains("04A1"), "no error names one: {refused}");
    put(&register, vec![RegisterWrite::PutTenant(tenant("a"))]).await;
    assert_ne!(reference(&drivers, "a", rfid("04A1")).await, before);
    assert_eq!(reference(&drivers, "ab", rfid("04A1")).await, other);
}
