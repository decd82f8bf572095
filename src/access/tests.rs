//! Who is let in and who is not, on a register in memory.

use super::*;
use crate::store::register::SqliteRegister;
use crate::units::Seconds;

const SHARES: Shares = Shares {
    calls: 4,
    urgent_calls: 4,
    long_calls: 4,
    gateway_streams: 4,
};

fn at(seconds: i64) -> Instant {
    Instant::from_unix_secs(1_772_438_400 + seconds)
}

fn tenant_id(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

async fn access() -> Access {
    let access = Access::open(Arc::new(SqliteRegister::in_memory()), SHARES)
        .await
        .unwrap();
    for id in ["acme", "other"] {
        let tenant = new_tenant(&tenant_id(id), at(0));
        access.put_tenant(tenant, &By::default()).await.unwrap();
    }
    access
}

fn reader(expires_at: Option<Instant>) -> NewToken {
    NewToken {
        name: "dashboard".to_owned(),
        grant: Grant {
            scopes: [Scope::SiteRead].into(),
            ..everything_of(&tenant_id("acme"))
        },
        expires_at,
    }
}

async fn made(access: &Access, new: NewToken) -> (Token, Secret) {
    access.create_token(new, at(0), &By::default()).await.unwrap()
}

/// Why the text is not let in; empty if it is.
fn why(access: &Access, text: &str, now: Instant) -> &'static str {
    access.sign_in(Some(text), now).err().map_or("", SignInRefusal::why)
}

#[tokio::test]
async fn a_token_is_let_in_with_its_secret_and_with_nothing_else() {
    let access = access().await;
    let (token, secret) = made(&access, reader(None)).await;
    let caller = access.sign_in(Some(secret.show()), at(1)).unwrap();
    assert_eq!(caller.grant, token.grant);
    assert!(caller.may(Scope::SiteRead) && !caller.may(Scope::Limits));
    assert_eq!(caller.token(), Some(&token.id));

    let forged = Secret::of(&token.id);
    let unknown = Secret::of(&secret::new_token_id());
    assert_eq!(why(&access, forged.show(), at(1)), "wrong secret");
    assert_eq!(why(&access, unknown.show(), at(1)), "unknown token");
    assert_eq!(why(&access, "x", at(1)), "not the text of a token");
    assert_eq!(access.sign_in(None, at(1)).err(), Some(SignInRefusal::NoCredential));
    let told_of = [
        SignInRefusal::WrongSecret,
        SignInRefusal::UnknownToken,
        SignInRefusal::NotAToken,
    ]
    .map(SignInRefusal::told);
    assert!(
        told_of.iter().all(|told| *told == told_of[0]),
        "whoever guesses learns nothing: {told_of:?}"
    );
}

#[tokio::test]
async fn a_token_that_expired_or_was_revoked_is_not_let_in_and_holds_no_longer() {
    let access = access().await;
    let (_, short) = made(&access, reader(Some(at(100)))).await;
    let caller = access.sign_in(Some(short.show()), at(99)).unwrap();
    assert!(access.holds(&caller, at(99)) && !access.holds(&caller, at(100)));
    assert_eq!(why(&access, short.show(), at(100)), "the token has expired");

    let (token, secret) = made(&access, reader(None)).await;
    let caller = access.sign_in(Some(secret.show()), at(1)).unwrap();
    let mut changes = access.changes();
    changes.mark_unchanged();
    let acme = tenant_id("acme");
    access
        .revoke_token(&token.id, Some(&acme), at(2), &By::default())
        .await
        .unwrap();
    assert!(changes.has_changed().unwrap(), "streams are told");
    assert!(!access.holds(&caller, at(2)));
    assert_eq!(why(&access, secret.show(), at(2)), "the token was revoked");
}

#[tokio::test]
async fn time_ends_access_and_says_so_once() {
    let access = access().await;
    made(&access, reader(Some(at(100)))).await;
    let mut changes = access.changes();
    let mut told = |before, now| {
        changes.mark_unchanged();
        access.time_passed(at(before), at(now));
        changes.has_changed().unwrap()
    };
    assert_eq!([told(0, 99), told(99, 100), told(100, 200)], [false, true, false]);
}

#[tokio::test]
async fn two_secrets_live_while_a_token_is_rotated_and_then_one() {
    let access = access().await;
    let (token, first) = made(&access, reader(None)).await;
    let by = By::default();
    let by_first = access.sign_in(Some(first.show()), at(0)).unwrap();
    let acme = tenant_id("acme");
    let rotated = access.rotate_token(&token.id, Some(&acme), Seconds::from_secs(60), None, at(10), &by);
    let (_, second) = rotated.await.unwrap();
    for secret in [&first, &second] {
        assert_eq!(why(&access, secret.show(), at(69)), "");
    }
    assert!(access.holds(&by_first, at(69)) && !access.holds(&by_first, at(70)));
    assert_eq!(why(&access, first.show(), at(70)), "the token has expired");
    assert_eq!(why(&access, second.show(), at(70)), "");

    // Rotated again, the first is over at once: never three.
    let rotated = access.rotate_token(&token.id, None, Seconds::from_secs(60), None, at(20), &by);
    let (_, third) = rotated.await.unwrap();
    assert_eq!(why(&access, first.show(), at(20)), "wrong secret");
    assert_eq!(
        [&second, &third].map(|secret| why(&access, secret.show(), at(20))),
        ["", ""]
    );
}

#[tokio::test]
async fn a_call_whose_answer_had_a_secret_is_not_answered_again() {
    let access = access().await;
    let by = By {
        token: None,
        request: Some(RequestId::parse("r1").unwrap()),
    };
    let (token, _) = access.create_token(reader(None), at(0), &by).await.unwrap();
    let again = access.create_token(reader(None), at(0), &by).await.unwrap_err();
    assert!(matches!(again, AccessRefusal::SecretWasShown(id) if id == token.id));
    assert_eq!(access.tokens(Some(&tenant_id("acme")), None, None, 10).len(), 1);
}

#[tokio::test]
async fn a_suspended_or_removed_tenant_is_shut_out_and_its_token_does_not_come_back() {
    let access = access().await;
    let (token, secret) = made(&access, reader(None)).await;
    let caller = access.sign_in(Some(secret.show()), at(1)).unwrap();
    let acme = access.tenant(&tenant_id("acme")).unwrap();
    let suspended = Tenant {
        suspended: true,
        ..acme.clone()
    };
    access.put_tenant(suspended, &By::default()).await.unwrap();
    assert!(!access.holds(&caller, at(1)));
    assert_eq!(why(&access, secret.show(), at(1)), "the tenant is suspended");
    let gateway = GatewayId::parse("g").unwrap();
    assert!(access.let_gateway_in(&acme.id, &gateway).is_err());
    access.put_tenant(acme.clone(), &By::default()).await.unwrap();
    assert_eq!(why(&access, secret.show(), at(1)), "");
    assert!(access.let_gateway_in(&acme.id, &gateway).is_ok());

    let kept = access.remove_tenant(&acme.id, || 1, at(2), &By::default()).await;
    assert!(matches!(kept, Err(AccessRefusal::HasSites(1))));
    access
        .remove_tenant(&acme.id, || 0, at(2), &By::default())
        .await
        .unwrap();
    access.put_tenant(acme.clone(), &By::default()).await.unwrap();
    assert_eq!(why(&access, secret.show(), at(3)), "unknown token");
    assert!(access.token(&token.id, None).is_err());
}

#[tokio::test]
async fn a_tenant_sees_no_token_of_another_and_the_administrator_sees_all() {
    let access = access().await;
    let (token, _) = made(&access, reader(None)).await;
    let other = tenant_id("other");
    let by = By::default();
    let foreign = access.token(&token.id, Some(&other)).unwrap_err().to_string();
    let unknown = secret::new_token_id();
    let unknown_told = access
        .token(&unknown, Some(&other))
        .unwrap_err()
        .to_string()
        .replace(unknown.as_str(), token.id.as_str());
    assert_eq!(foreign, unknown_told);
    assert!(access.revoke_token(&token.id, Some(&other), at(1), &by).await.is_err());
    let rotated = access
        .rotate_token(&token.id, Some(&other), Seconds::ZERO, None, at(1), &by)
        .await;
    assert!(rotated.is_err());
    assert_eq!(access.tokens(Some(&other), None, None, 10), []);
    assert!(access.revoke_token(&token.id, None, at(1), &by).await.is_ok());
}

#[tokio::test]
async fn a_tenant_has_no_more_tokens_than_its_quota_and_ended_ones_do_not_count() {
    let access = access().await;
    let mut acme = access.tenant(&tenant_id("acme")).unwrap();
    acme.quota.tokens = 2;
    access.put_tenant(acme, &By::default()).await.unwrap();
    let (first, _) = made(&access, reader(None)).await;
    made(&access, reader(None)).await;
    let full = access
        .create_token(reader(None), at(0), &By::default())
        .await
        .unwrap_err();
    assert_eq!(full.to_string(), "there is room for 2 tokens");
    access
        .revoke_token(&first.id, None, at(0), &By::default())
        .await
        .unwrap();
    made(&access, reader(None)).await;

    // Three months later what was revoked is not shown any more.
    let later = at(91 * 86_400);
    let mut roomy = access.tenant(&tenant_id("acme")).unwrap();
    roomy.quota.tokens = 10;
    access.put_tenant(roomy, &By::default()).await.unwrap();
    access.create_token(reader(None), later, &By::default()).await.unwrap();
    assert!(access.token(&first.id, None).is_err());
}

#[tokio::test]
async fn faults_of_a_new_token_are_told_at_once() {
    let access = access().await;
    let wrong = NewToken {
        name: "n".repeat(101),
        grant: Grant {
            scopes: [].into(),
            ..everything_of(&tenant_id("acme"))
        },
        expires_at: Some(at(59)),
    };
    let refused = access
        .create_token(wrong, at(0), &By::default())
        .await
        .unwrap_err()
        .to_string();
    for field in ["name: ", "scopes: ", "expires_at: "] {
        assert!(refused.contains(field), "{refused}");
    }
    let nobody = NewToken {
        grant: everything_of(&tenant_id("nobody")),
        ..reader(None)
    };
    let refused = access.create_token(nobody, at(0), &By::default()).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no tenant nobody");
}

#[tokio::test]
async fn what_was_done_is_noted_with_who_did_it() {
    let access = access().await;
    let admin = NewToken {
        grant: Grant {
            tenant: None,
            scopes: [Scope::Admin].into(),
            sites: None,
            gateways: None,
        },
        ..reader(None)
    };
    assert!(access.has_no_administrator(at(0)));
    let (admin, _) = made(&access, admin).await;
    assert!(!access.has_no_administrator(at(0)));
    let by = By {
        token: Some(admin.id.clone()),
        request: None,
    };
    let (token, secret) = access.create_token(reader(None), at(5), &by).await.unwrap();
    let acme = tenant_id("acme");
    let changes = access.changes_made(Some(&acme), None, 10).await.unwrap();
    let whats: Vec<&str> = changes.iter().map(|(_, change)| change.what.as_str()).collect();
    let created = format!("token {} created with site.read", token.id);
    assert_eq!(whats, [created.as_str(), "tenant created"]);
    assert_eq!(changes[0].1.by, Some(admin.id));
    assert_eq!(changes[0].1.at, at(5));
    assert!(!format!("{changes:?}").contains(secret.show()));
    let older = access.changes_made(Some(&acme), Some(changes[0].0), 10).await.unwrap();
    assert_eq!(older.len(), 1);
}

#[tokio::test]
async fn when_a_token_was_last_used_is_noted() {
    let access = access().await;
    let (token, secret) = made(&access, reader(None)).await;
    access.sign_in(Some(secret.show()), at(7)).unwrap();
    access.sign_in(Some(Secret::of(&token.id).show()), at(9)).unwrap_err();
    access.note_used().await.unwrap();
    assert_eq!(access.token(&token.id, None).unwrap().last_used_at, Some(at(7)));
}

#[tokio::test]
async fn tenants_may_use_the_same_request_ids() {
    let access = access().await;
    let by = By {
        token: None,
        request: Some(RequestId::parse("job-1").unwrap()),
    };
    access.create_token(reader(None), at(0), &by).await.unwrap();
    let others = NewToken {
        grant: everything_of(&tenant_id("other")),
        ..reader(None)
    };
    access.create_token(others, at(0), &by).await.unwrap();
}

#[tokio::test]
async fn of_tokens_that_ended_only_the_last_hundred_of_a_tenant_are_kept() {
    let access = access().await;
    let by = By::default();
    let acme = tenant_id("acme");
    let mut ids = Vec::new();
    for second in 0..103 {
        let (token, _) = access.create_token(reader(None), at(second), &by).await.unwrap();
        access.revoke_token(&token.id, None, at(second), &by).await.unwrap();
        ids.push(token.id);
    }
    let (live, _) = access.create_token(reader(None), at(200), &by).await.unwrap();
    let kept = access.tokens(Some(&acme), None, None, 1_000);
    assert_eq!(kept.len(), 101);
    assert!(kept.iter().any(|token| token.id == live.id));
    assert!(access.token(&ids[2], None).is_err() && access.token(&ids[3], None).is_ok());
    assert_eq!(access.tokens(Some(&acme), Some(at(200)), None, 1_000).len(), 1);
}

#[tokio::test]
async fn a_change_is_done_whole_also_where_whoever_asked_waits_no_longer() {
    let access = access().await;
    let (token, secret) = made(&access, reader(None)).await;
    let by = By::default();
    let mut changes = access.changes();
    changes.mark_unchanged();
    {
        let mut revoking = std::pin::pin!(access.revoke_token(&token.id, None, at(5), &by));
        // Begun, and given up at once.
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        assert!(std::future::Future::poll(revoking.as_mut(), &mut context).is_pending());
    }
    changes.changed().await.unwrap();
    assert_eq!(why(&access, secret.show(), at(5)), "the token was revoked");
    let noted = access.changes_made(None, None, 1).await.unwrap();
    assert_eq!(noted[0].1.what, format!("token {} revoked", token.id));
}
