//! Whose call it is, and whether what it names is the caller's.
//!
//! Decides that ids of others and ids that nobody has look alike. A call can only name a site or a tenant; the key by which the engine
//! is asked comes from here, so no call reaches a site without having passed.

use crate::access::Caller;
use crate::domain::ids::{SiteId, SiteKey, TenantId};
use crate::domain::rejection::{Faults, Rejection};
use crate::engine::Refusal;
use std::sync::Arc;
use tonic::{Request, Status};

/// Who made a call, and what it says.
pub(super) fn heard<M>(request: &Request<M>) -> Result<(&Arc<Caller>, &M), Status> {
    let caller = request.extensions().get().ok_or_else(not_let_in)?;
    Ok((caller, request.get_ref()))
}

/// The same, where what it says is changed or is a stream.
pub(super) fn taken<M>(request: Request<M>) -> Result<(Arc<Caller>, M), Status> {
    let caller = request.extensions().get().cloned().ok_or_else(not_let_in)?;
    Ok((caller, request.into_inner()))
}

/// The guard lets nobody through without saying who it is.
fn not_let_in() -> Status {
    Status::internal("the call was not let in")
}

/// A tenant as a call names it, or none: then the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedTenant(Option<TenantId>);

/// A site as a call names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedSite {
    tenant: NamedTenant,
    site: SiteId,
}

pub(super) fn named_tenant(faults: &mut Faults, text: &str) -> Option<NamedTenant> {
    if text.is_empty() {
        return Some(NamedTenant(None));
    }
    let named = faults.field("tenant_id", TenantId::parse(text))?;
    Some(NamedTenant(Some(named)))
}

pub(super) fn named_site(faults: &mut Faults, tenant_id: &str, site_id: &str) -> Option<NamedSite> {
    let tenant = named_tenant(faults, tenant_id);
    let site = faults.field("site_id", SiteId::parse(site_id));
    Some(NamedSite {
        tenant: tenant?,
        site: site?,
    })
}

impl NamedTenant {
    pub(super) fn site(self, site: SiteId) -> NamedSite {
        NamedSite { tenant: self, site }
    }

    /// The tenant, if the caller may act for it: his own, or any for whoever belongs to none.
    pub(super) fn of(self, caller: &Caller) -> Result<TenantId, Refusal> {
        match (self.0, &caller.grant.tenant) {
            (None, Some(own)) => Ok(own.clone()),
            (Some(named), Some(own)) if named == *own => Ok(named),
            (Some(named), None) => Ok(named),
            (Some(named), Some(_)) => Err(no_tenant(&named)),
            (None, None) => {
                let allowed = "the tenant that is meant, since the token belongs to none";
                Err(Rejection::one("tenant_id", "is required", "", allowed).into())
            }
        }
    }

    /// The same where whoever belongs to no tenant may also mean none.
    pub(super) fn or_none_of(self, caller: &Caller) -> Result<Option<TenantId>, Refusal> {
        if self.0.is_none() && caller.grant.tenant.is_none() {
            return Ok(None);
        }
        self.of(caller).map(Some)
    }
}

impl NamedSite {
    /// The site's key, if the caller may act there.
    pub(super) fn of(self, caller: &Caller) -> Result<SiteKey, Refusal> {
        let named = self.tenant.of(caller)?;
        // Whoever belongs to no tenant sees nothing of sites.
        if caller.grant.tenant.is_none() {
            return Err(no_tenant(&named));
        }
        let key = SiteKey {
            tenant: named,
            site: self.site,
        };
        if caller.grant.reaches_site(&key.site) {
            return Ok(key);
        }
        Err(Refusal::NotFound {
            what: "site",
            id: key.site.to_string(),
        })
    }
}

pub(super) fn no_tenant(id: &TenantId) -> Refusal {
    Refusal::NotFound {
        what: "tenant",
        id: id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Credential, everything_of};
    use crate::domain::access::Grant;
    use crate::domain::ids::GatewayId;

    fn caller(grant: Grant) -> Caller {
        Caller {
            credential: Credential::Certificate(GatewayId::parse("g").unwrap()),
            grant,
            room: None,
        }
    }

    fn of_acme() -> Grant {
        everything_of(&TenantId::parse("acme").unwrap())
    }

    fn found(caller: &Caller, tenant_id: &str, site_id: &str) -> Result<String, String> {
        let named = named_site(&mut Faults::default(), tenant_id, site_id).unwrap();
        named
            .of(caller)
            .map(|key| key.to_string())
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_call_is_about_the_callers_tenant_whether_it_names_it_or_not() {
        let caller = caller(of_acme());
        for named in ["", "acme"] {
            assert_eq!(found(&caller, named, "yard").as_deref(), Ok("acme/yard"));
        }
        assert_eq!(found(&caller, "other", "yard").unwrap_err(), "there is no tenant other");
    }

    #[test]
    fn a_site_out_of_reach_is_not_there() {
        let limited = caller(Grant {
            sites: Some([SiteId::parse("yard").unwrap()].into()),
            ..of_acme()
        });
        assert_eq!(found(&limited, "", "yard").as_deref(), Ok("acme/yard"));
        assert_eq!(found(&limited, "", "harbour").unwrap_err(), "there is no site harbour");
    }

    #[test]
    fn whoever_belongs_to_no_tenant_has_to_say_which_is_meant() {
        let admin = caller(Grant {
            tenant: None,
            ..of_acme()
        });
        let named = |text: &str| named_tenant(&mut Faults::default(), text).unwrap();
        assert_eq!(named("acme").of(&admin).unwrap().as_str(), "acme");
        assert!(
            named("")
                .of(&admin)
                .unwrap_err()
                .to_string()
                .starts_with("tenant_id: is required")
        );
        assert_eq!(named("").or_none_of(&admin).unwrap(), None);
    }
}
