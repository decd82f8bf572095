//! Tenants and tokens: what is kept of them, over restarts.

use super::*;

pub(super) fn token(id: &str, tenant: Option<&str>) -> Token {
    Token {
        id: TokenId::parse(id).unwrap(),
        name: "the one at the gate".to_owned(),
        grant: Grant {
            tenant: tenant.map(|id| TenantId::parse(id).unwrap()),
            scopes: Scope::ALL.into(),
            sites: Some(["a", "b"].map(|id| SiteId::parse(id).unwrap()).into()),
            gateways: None,
        },
        created_at: Instant::from_unix_secs(10),
        expires_at: Some(Instant::from_unix_secs(20)),
        revoked_at: None,
        last_used_at: Some(Instant::from_unix_secs(15)),
        secret: SecretDigest([7; 32]),
        old_secret: Some((SecretDigest([8; 32]), Instant::from_unix_secs(18))),
        request: Some(RequestId::parse("r").unwrap()),
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_reads_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let writes = vec![
        RegisterWrite::PutTenant(tenant("acme")),
        RegisterWrite::PutToken(Box::new(token("t1", Some("acme")))),
        RegisterWrite::PutToken(Box::new(token("t2", None))),
    ];
    put(&SqliteRegister::open(folder.path()).unwrap(), writes).await;
    let register = SqliteRegister::open(folder.path()).unwrap();
    let contents = register.load().await.unwrap();
    assert_eq!(contents.tenants, [tenant("acme")]);
    assert_eq!(contents.tokens, [token("t1", Some("acme")), token("t2", None)]);
    let changes = register.changes(None, None, 10).await.unwrap();
    assert_eq!(changes.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(changes[0].1, change("put"));
}

#[tokio::test]
async fn a_tenant_goes_with_its_tokens_and_a_change_of_it_leaves_them() {
    let register = SqliteRegister::in_memory();
    let writes = vec![
        RegisterWrite::PutTenant(tenant("acme")),
        RegisterWrite::PutTenant(tenant("other")),
        RegisterWrite::PutToken(Box::new(token("t1", Some("acme")))),
        RegisterWrite::PutToken(Box::new(token("t2", Some("other")))),
        RegisterWrite::PutTenant(Tenant {
            suspended: false,
            ..tenant("acme")
        }),
    ];
    put(&register, writes).await;
    let contents = register.load().await.unwrap();
    assert_eq!((contents.tenants.len(), contents.tokens.len()), (2, 2));
    assert!(!contents.tenants[0].suspended);
    put(&register, vec![RegisterWrite::RemoveTenant(tenant("acme").id)]).await;
    let contents = register.load().await.unwrap();
    assert_eq!(contents.tenants, [tenant("other")]);
    assert_eq!(contents.tokens, [token("t2", Some("other"))]);
    put(&register, vec![RegisterWrite::RemoveTokens(vec![token("t2", None).id])]).await;
    assert_eq!(register.load().await.unwrap().tokens, []);
}

#[tokio::test]
async fn a_write_that_fails_leaves_nothing_behind() {
    let register = SqliteRegister::in_memory();
    let of_nobody = RegisterWrite::PutToken(Box::new(token("t1", Some("nobody"))));
    assert!(register.write(of_nobody, change("put")).await.is_err());
    assert_eq!(register.load().await.unwrap(), RegisterContents::default());
    assert_eq!(register.changes(None, None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_use_is_never_noted_backwards_nor_for_what_is_gone() {
    let register = SqliteRegister::in_memory();
    put(&register, vec![RegisterWrite::PutToken(Box::new(token("t1", None)))]).await;
    let used = |id: &str, at| (TokenId::parse(id).unwrap(), Instant::from_unix_secs(at));
    register
        .note_used(vec![used("t1", 14), used("gone", 20)])
        .await
        .unwrap();
    let last_used = async || register.load().await.unwrap().tokens[0].last_used_at;
    assert_eq!(last_used().await, Some(Instant::from_unix_secs(15)));
    register.note_used(vec![used("t1", 16)]).await.unwrap();
    assert_eq!(last_used().await, Some(Instant::from_unix_secs(16)));
}
