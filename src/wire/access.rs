//! Tenants, tokens and scopes as messages.
//!
//! Decides how they are read and written; what is valid is decided in [`crate::domain::access`]. A secret passes through nothing here.

use super::common::{bounded, narrow, one_of, required, timestamp, timestamp_message};
use super::proto;
use crate::domain::access::{AccessChange, Grant, MAX_NAMED, Quota, Scope, Tenant, Token};
use crate::domain::ids::{GatewayId, SiteId, TenantId};
use crate::domain::rejection::{Faults, Rejection};
use crate::units::Instant;
use std::collections::BTreeSet;

pub const fn scope_message(scope: Scope) -> proto::Scope {
    match scope {
        Scope::SiteRead => proto::Scope::SiteRead,
        Scope::PlanWrite => proto::Scope::PlanWrite,
        Scope::Limits => proto::Scope::Limits,
        Scope::Gateway => proto::Scope::Gateway,
        Scope::Drivers => proto::Scope::Drivers,
        Scope::Admin => proto::Scope::Admin,
    }
}

fn scope(number: &i32) -> Result<Scope, Rejection> {
    one_of(*number, &Scope::ALL, scope_message, proto::Scope::as_str_name)
}

/// Reads what a token may do; whose it is comes from elsewhere. Empty lists limit nothing.
pub fn grant(
    faults: &mut Faults,
    scopes: &[i32],
    site_ids: &[String],
    gateway_ids: &[String],
) -> impl FnOnce(Option<TenantId>) -> Grant + use<> {
    let scopes = bounded(faults, "scopes", scopes, Scope::ALL.len(), scope);
    let sites = bounded(faults, "site_ids", site_ids, MAX_NAMED, |id| unnamed(SiteId::parse(id)));
    let gateways = bounded(faults, "gateway_ids", gateway_ids, MAX_NAMED, |id| {
        unnamed(GatewayId::parse(id))
    });
    move |tenant| Grant {
        tenant,
        scopes: scopes.into_iter().collect(),
        sites: (!sites.is_empty()).then(|| sites.into_iter().collect()),
        gateways: (!gateways.is_empty()).then(|| gateways.into_iter().collect()),
    }
}

/// The id of an item of a list, whose faults are told by the item's place.
fn unnamed<T>(id: Result<T, Rejection>) -> Result<T, Rejection> {
    let mut faults = Faults::default();
    match faults.field("", id) {
        Some(id) => Ok(id),
        None => Err(faults.into_rejection()),
    }
}

fn id_messages<T: ToString>(ids: Option<&BTreeSet<T>>) -> Vec<String> {
    ids.into_iter().flatten().map(ToString::to_string).collect()
}

pub fn grant_messages(grant: &Grant) -> (Vec<i32>, Vec<String>, Vec<String>) {
    (
        grant.scopes.iter().map(|scope| scope_message(*scope) as i32).collect(),
        id_messages(grant.sites.as_ref()),
        id_messages(grant.gateways.as_ref()),
    )
}

/// Reads a tenant; its `created_at` is `now`, unless it was there before.
pub fn tenant(message: Option<&proto::Tenant>, now: Instant) -> Result<Tenant, Rejection> {
    let mut faults = Faults::default();
    let tenant = required(&mut faults, "tenant", message, "a tenant").and_then(|message| {
        let id = faults.field("tenant.id", TenantId::parse(&message.id));
        let quota = quota(&mut faults, message.quota.as_ref());
        Some(Tenant {
            id: id?,
            name: message.name.clone(),
            suspended: message.suspended,
            quota: quota?,
            created_at: now,
        })
    });
    if let Some(Err(rejection)) = tenant.as_ref().map(Tenant::check) {
        faults.nest("tenant", rejection);
    }
    match tenant {
        Some(tenant) => faults.finish(tenant),
        None => Err(faults.into_rejection()),
    }
}

/// Zero is the default.
fn quota(faults: &mut Faults, message: Option<&proto::Quota>) -> Option<Quota> {
    let Some(message) = message else {
        return Some(Quota::DEFAULT);
    };
    let given = [
        (message.sites, Quota::DEFAULT.sites),
        (message.evses, Quota::DEFAULT.evses),
        (message.calls_per_second, Quota::DEFAULT.calls_per_second),
        (message.plans_at_once, Quota::DEFAULT.plans_at_once),
        (message.tokens, Quota::DEFAULT.tokens),
    ];
    let mut read = given
        .into_iter()
        .zip(Quota::BOUNDS)
        .map(|((value, default), (field, most))| {
            if value == 0 {
                return Some(default);
            }
            narrow(
                faults,
                &format!("tenant.quota.{field}"),
                field,
                value,
                1..=i64::from(most),
            )
        });
    let [sites, evses, calls_per_second, plans_at_once, tokens] = [(); 5].map(|()| read.next().flatten());
    Some(Quota {
        sites: sites?,
        evses: evses?,
        calls_per_second: calls_per_second?,
        plans_at_once: plans_at_once?,
        tokens: tokens?,
    })
}

fn count(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

pub fn tenant_message(tenant: &Tenant) -> proto::Tenant {
    let quota = &tenant.quota;
    proto::Tenant {
        id: tenant.id.to_string(),
        name: tenant.name.clone(),
        suspended: tenant.suspended,
        quota: Some(proto::Quota {
            sites: count(quota.sites),
            evses: count(quota.evses),
            calls_per_second: count(quota.calls_per_second),
            plans_at_once: count(quota.plans_at_once),
            tokens: count(quota.tokens),
        }),
        created_at: Some(timestamp_message(tenant.created_at)),
    }
}

/// A token as it is at `now`.
pub fn token_message(token: &Token, now: Instant) -> proto::Token {
    let (scopes, site_ids, gateway_ids) = grant_messages(&token.grant);
    let old_secret = token.old_secret.filter(|_| token.old_secret_is_live(now));
    proto::Token {
        id: token.id.to_string(),
        tenant_id: token.grant.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        name: token.name.clone(),
        scopes,
        site_ids,
        gateway_ids,
        created_at: Some(timestamp_message(token.created_at)),
        expires_at: token.expires_at.map(timestamp_message),
        revoked_at: token.revoked_at.map(timestamp_message),
        last_used_at: token.last_used_at.map(timestamp_message),
        old_secret_ends_at: old_secret.map(|(_, end)| timestamp_message(end)),
    }
}

/// When a token is to expire.
pub fn expiry(faults: &mut Faults, message: Option<&prost_types::Timestamp>) -> Option<Option<Instant>> {
    match message {
        None => Some(None),
        Some(message) => faults.part("expires_at", timestamp(message)).map(Some),
    }
}

pub fn change_message(number: u64, change: &AccessChange) -> proto::AccessChange {
    proto::AccessChange {
        number: number.cast_signed(),
        at: Some(timestamp_message(change.at)),
        token_id: change.by.as_ref().map(ToString::to_string).unwrap_or_default(),
        tenant_id: change.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        what: change.what.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: proto::Tenant) -> Result<Tenant, String> {
        tenant(Some(&message), Instant::from_unix_secs(5)).map_err(|rejection| rejection.to_string())
    }

    #[test]
    fn a_tenant_reads_back_as_it_was_written_and_zeros_are_defaults() {
        let message = proto::Tenant {
            id: "acme".to_owned(),
            quota: Some(proto::Quota {
                evses: 7,
                ..Default::default()
            }),
            ..Default::default()
        };
        let read_back = read(message).unwrap();
        assert_eq!(
            (read_back.quota.evses, read_back.quota.sites),
            (7, Quota::DEFAULT.sites)
        );
        assert_eq!(read(tenant_message(&read_back)), Ok(read_back));
    }

    #[test]
    fn every_fault_of_a_tenant_is_told_by_its_field() {
        let message = proto::Tenant {
            id: "a b".to_owned(),
            quota: Some(proto::Quota {
                sites: -1,
                tokens: 1_000_000,
                ..Default::default()
            }),
            ..Default::default()
        };
        let told = read(message).unwrap_err();
        for field in ["tenant.id: ", "tenant.quota.sites: ", "tenant.quota.tokens: "] {
            assert!(told.contains(field), "{told}");
        }
        assert!(
            read(proto::Tenant::default())
                .unwrap_err()
                .contains("tenant.id: is required")
        );
        let none = tenant(None, Instant::from_unix_secs(5)).unwrap_err().to_string();
        assert!(none.starts_with("tenant: is required"), "{none}");
    }

    #[test]
    fn a_grant_is_read_with_the_place_of_each_fault() {
        let mut faults = Faults::default();
        let _ = grant(
            &mut faults,
            &[1, 99],
            &["ok".to_owned(), "no t".to_owned()],
            &[String::new()],
        );
        let told = faults.into_rejection().to_string();
        for field in [
            "scopes[1]: is not known",
            "site_ids[1]: ",
            "gateway_ids[0]: is required",
        ] {
            assert!(told.contains(field), "{told}");
        }
        let mut faults = Faults::default();
        let read = grant(&mut faults, &[1, 4], &[], &["g".to_owned()])(TenantId::parse("acme").ok());
        assert!(faults.is_empty());
        assert_eq!(grant_messages(&read), (vec![1, 4], vec![], vec!["g".to_owned()]));
        assert_eq!(read.sites, None, "an empty list limits nothing");
    }
}
