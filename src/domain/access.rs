//! Who may call, and what for: tenants, their quotas, and tokens.
//!
//! Decides what a valid tenant, quota and grant is. Knows no secret, no clock and no wire format; who is let in is decided in
//! [`crate::access`].

use super::ids::{GatewayId, RequestId, SiteId, TenantId, TokenId};
use super::rejection::{Faults, Rejection};
use crate::units::Instant;
use std::collections::BTreeSet;
use std::fmt;

/// Longest name of a tenant or token, in characters.
pub const MAX_NAME_CHARS: usize = 100;
/// Sites or gateways that one token may be limited to.
pub const MAX_NAMED: usize = 1_000;

/// What may be done with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything that only looks: sites, sessions, plans, alarms.
    SiteRead,
    /// What plans are made of: sites, sessions, prices, forecasts, meter readings, and plans made once.
    PlanWrite,
    /// Limits of nodes, and stopping a site.
    Limits,
    /// The stream of a gateway.
    Gateway,
    /// Personal data of drivers.
    Drivers,
    /// Tokens, and tenants.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 6] = [
        Self::SiteRead,
        Self::PlanWrite,
        Self::Limits,
        Self::Gateway,
        Self::Drivers,
        Self::Admin,
    ];

    /// How people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SiteRead => "site.read",
            Self::PlanWrite => "plan.write",
            Self::Limits => "limits",
            Self::Gateway => "gateway",
            Self::Drivers => "drivers",
            Self::Admin => "admin",
        }
    }

    pub fn parse(name: &str) -> Result<Self, Rejection> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == name);
        found.ok_or_else(|| Rejection::one("scope", "is not a scope", name, names(&Self::ALL)))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `site.read, limits`.
pub fn names<'a>(scopes: impl IntoIterator<Item = &'a Scope>) -> String {
    let names: Vec<&str> = scopes.into_iter().map(|scope| scope.name()).collect();
    names.join(", ")
}

/// What somebody who was let in may do, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// `None` administers tenants and tokens, and sees nothing of sites.
    pub tenant: Option<TenantId>,
    pub scopes: BTreeSet<Scope>,
    /// `None`: every site of the tenant, also later ones.
    pub sites: Option<BTreeSet<SiteId>>,
    /// Which gateways it may be; `None`: any of the tenant.
    pub gateways: Option<BTreeSet<GatewayId>>,
}

impl Grant {
    /// Checks that the parts of a grant belong together.
    pub fn check(&self) -> Result<(), Rejection> {
        let mut faults = Faults::default();
        faults.require(
            !self.scopes.is_empty(),
            "scopes",
            "is required",
            "",
            format_args!("one or more of {}", names(&Scope::ALL)),
        );
        let only_admin = self.scopes.iter().all(|scope| *scope == Scope::Admin);
        faults.require(
            self.tenant.is_some() || only_admin,
            "scopes",
            "need a tenant",
            names(&self.scopes),
            "admin alone for a token without a tenant",
        );
        let count = |sites: usize| format!("{sites} of them");
        if let Some(sites) = &self.sites {
            let wide = [Scope::Admin, Scope::Gateway, Scope::Drivers].map(|scope| self.scopes.contains(&scope));
            faults.require(
                !wide.contains(&true),
                "site_ids",
                "cannot limit these scopes",
                names(&self.scopes),
                "site.read, plan.write and limits; a gateway's sites are those that name it, drivers and tokens are the tenant's",
            );
            faults.require(
                sites.len() <= MAX_NAMED,
                "site_ids",
                "has too many items",
                count(sites.len()),
                format_args!("at most {MAX_NAMED}"),
            );
        }
        if let Some(gateways) = &self.gateways {
            faults.require(
                self.scopes.contains(&Scope::Gateway),
                "gateway_ids",
                "limits nothing",
                names(&self.scopes),
                "none without scope gateway",
            );
            faults.require(
                gateways.len() <= MAX_NAMED,
                "gateway_ids",
                "has too many items",
                count(gateways.len()),
                format_args!("at most {MAX_NAMED}"),
            );
        }
        faults.finish(())
    }

    pub fn reaches_site(&self, site: &SiteId) -> bool {
        self.sites.as_ref().is_none_or(|sites| sites.contains(site))
    }

    pub fn may_be_gateway(&self, gateway: &GatewayId) -> bool {
        self.gateways.as_ref().is_none_or(|gateways| gateways.contains(gateway))
    }
}

/// What a tenant may take of the service, so that none starves another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub sites: u32,
    /// Of all its sites.
    pub evses: u32,
    /// Calls and meter messages each second; twice as many at once. Calls that may lower what a site draws are counted apart.
    pub calls_per_second: u32,
    /// Stateless plans searched or waiting at once.
    pub plans_at_once: u32,
    /// Tokens that are not revoked.
    pub tokens: u32,
}

impl Quota {
    pub const DEFAULT: Self = Self {
        sites: 1_000,
        evses: 10_000,
        calls_per_second: 500,
        plans_at_once: 8,
        tokens: 100,
    };

    /// The least and the most of each, by field.
    pub const BOUNDS: [(&'static str, u32); 5] = [
        ("sites", 100_000),
        ("evses", 1_000_000),
        ("calls_per_second", 100_000),
        ("plans_at_once", 64),
        ("tokens", 10_000),
    ];
}

/// A CPO that owns sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    /// None of its tokens is let in; its sites go on as they are.
    pub suspended: bool,
    pub quota: Quota,
    pub created_at: Instant,
}

impl Tenant {
    pub fn check(&self) -> Result<(), Rejection> {
        let mut faults = Faults::default();
        check_name(&mut faults, &self.name);
        let quota = &self.quota;
        let given = [
            quota.sites,
            quota.evses,
            quota.calls_per_second,
            quota.plans_at_once,
            quota.tokens,
        ];
        for ((field, most), value) in Quota::BOUNDS.into_iter().zip(given) {
            let allowed = 1..=i64::from(most);
            faults.within(format!("quota.{field}"), field, i64::from(value), allowed);
        }
        faults.finish(())
    }
}

/// Names are shown in tables and logs.
pub fn check_name(faults: &mut Faults, name: &str) {
    let chars = name.chars().count();
    faults.require(
        chars <= MAX_NAME_CHARS && !name.chars().any(char::is_control),
        "name",
        "is too long or has control characters",
        format_args!("{chars} characters"),
        format_args!("up to {MAX_NAME_CHARS} characters without control characters"),
    );
}

/// The digest of a secret; what it was made of is nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretDigest(pub [u8; 32]);

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// An API token. Of its two secrets the older ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub grant: Grant,
    pub created_at: Instant,
    pub expires_at: Option<Instant>,
    pub revoked_at: Option<Instant>,
    pub last_used_at: Option<Instant>,
    pub secret: SecretDigest,
    /// The one before it, and when it ends.
    pub old_secret: Option<(SecretDigest, Instant)>,
    /// The call that gave it its newest secret: a repeat of it cannot be answered, since the secret is nowhere.
    pub request: Option<RequestId>,
}

impl Token {
    /// Whether calls with its newest secret are let in at `now`.
    pub fn is_live(&self, now: Instant) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// The same of the older secret.
    pub fn old_secret_is_live(&self, now: Instant) -> bool {
        self.is_live(now) && self.old_secret.is_some_and(|(_, end)| now < end)
    }

    /// When it ended, if it has.
    pub fn ended_at(&self, now: Instant) -> Option<Instant> {
        let expired = self.expires_at.filter(|end| *end <= now);
        match (self.revoked_at, expired) {
            (Some(revoked), Some(expired)) => Some(revoked.min(expired)),
            (revoked, expired) => revoked.or(expired),
        }
    }
}

/// Something that was done to a tenant, a token or a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessChange {
    pub at: Instant,
    /// `None`: the service itself, or somebody at its data folder.
    pub by: Option<TokenId>,
    pub tenant: Option<TenantId>,
    /// In words; never a secret, and never who a driver is.
    pub what: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(tenant: Option<&str>, scopes: &[Scope]) -> Grant {
        Grant {
            tenant: tenant.map(|id| TenantId::parse(id).unwrap()),
            scopes: scopes.iter().copied().collect(),
            sites: None,
            gateways: None,
        }
    }

    fn faults(grant: &Grant) -> Vec<String> {
        let Err(rejection) = grant.check() else {
            return Vec::new();
        };
        let line = |fault: &super::super::rejection::Fault| format!("{} {}", fault.field, fault.rule);
        rejection.faults().iter().map(line).collect()
    }

    #[test]
    fn a_scope_is_read_by_its_name() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.name()), Ok(scope));
        }
        let refused = Scope::parse("sites").unwrap_err().to_string();
        assert!(
            refused.contains("site.read, plan.write, limits, gateway, drivers, admin"),
            "{refused}"
        );
    }

    #[test]
    fn what_a_grant_says_has_to_belong_together() {
        assert_eq!(faults(&grant(None, &[Scope::Admin])), [""; 0]);
        assert_eq!(faults(&grant(Some("a"), &Scope::ALL)), [""; 0]);
        assert_eq!(faults(&grant(Some("a"), &[])), ["scopes is required"]);
        assert_eq!(
            faults(&grant(None, &[Scope::Admin, Scope::SiteRead])),
            ["scopes need a tenant"]
        );
        let site = SiteId::parse("s").unwrap();
        let limited = |scopes: &[Scope]| Grant {
            sites: Some([site.clone()].into()),
            ..grant(Some("a"), scopes)
        };
        assert_eq!(
            faults(&limited(&[Scope::SiteRead, Scope::PlanWrite, Scope::Limits])),
            [""; 0]
        );
        for wide in [Scope::Gateway, Scope::Drivers, Scope::Admin] {
            assert_eq!(
                faults(&limited(&[Scope::SiteRead, wide])),
                ["site_ids cannot limit these scopes"],
                "{wide}"
            );
        }
        let gateway = Grant {
            gateways: Some([GatewayId::parse("g").unwrap()].into()),
            ..grant(Some("a"), &[Scope::SiteRead])
        };
        assert_eq!(faults(&gateway), ["gateway_ids limits nothing"]);
    }

    #[test]
    fn a_token_ends_when_it_is_revoked_or_expires_and_its_old_secret_before() {
        let at = Instant::from_unix_secs;
        let token = Token {
            id: TokenId::parse("t").unwrap(),
            name: String::new(),
            grant: grant(Some("a"), &[Scope::SiteRead]),
            created_at: at(0),
            expires_at: Some(at(100)),
            revoked_at: None,
            last_used_at: None,
            secret: SecretDigest([1; 32]),
            old_secret: Some((SecretDigest([2; 32]), at(50))),
            request: None,
        };
        assert_eq!(
            [49, 50, 99, 100].map(|now| token.is_live(at(now))),
            [true, true, true, false]
        );
        assert_eq!([49, 50].map(|now| token.old_secret_is_live(at(now))), [true, false]);
        assert_eq!((token.ended_at(at(99)), token.ended_at(at(100))), (None, Some(at(100))));
        let revoked = Token {
            revoked_at: Some(at(20)),
            ..token
        };
        assert!(!revoked.is_live(at(30)) && !revoked.old_secret_is_live(at(30)));
        assert_eq!(revoked.ended_at(at(200)), Some(at(20)));
        assert!(!format!("{revoked:?}").contains("[1, 1"), "digests are not shown");
    }

    #[test]
    fn a_quota_has_bounds() {
        let tenant = Tenant {
            id: TenantId::parse("a").unwrap(),
            name: "A\n".to_owned(),
            suspended: false,
            quota: Quota {
                sites: 0,
                plans_at_once: 65,
                ..Quota::DEFAULT
            },
            created_at: Instant::from_unix_secs(0),
        };
        let told = tenant.check().unwrap_err().to_string();
        assert_eq!(told.lines().count(), 3, "{told}");
        for field in ["name", "quota.sites", "quota.plans_at_once"] {
            assert!(told.contains(&format!("{field}: ")), "{told}");
        }
    }
}
