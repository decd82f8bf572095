//! Which sites name which gateway.
//!
//! Decides nothing: it is what the sites say of themselves, kept so that a gateway that comes or says that it is there need not look at
//! every site. Thousands do at once.

use crate::domain::ids::{GatewayId, SiteId, SiteKey, TenantId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

type Sites = BTreeMap<(TenantId, GatewayId), BTreeSet<SiteId>>;

#[derive(Debug, Default)]
pub(super) struct Directory(RwLock<Sites>);

impl Directory {
    /// By id.
    pub fn sites_of(&self, tenant: &TenantId, gateway: &GatewayId) -> Vec<SiteId> {
        // A panic elsewhere leaves it whole: what is done under the lock does not panic.
        let sites = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let named = sites.get(&(tenant.clone(), gateway.clone()));
        named.into_iter().flatten().cloned().collect()
    }

    pub fn names(&self, tenant: &TenantId, gateway: &GatewayId, site: &SiteId) -> bool {
        let sites = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let named = sites.get(&(tenant.clone(), gateway.clone()));
        named.is_some_and(|named| named.contains(site))
    }

    /// A site that named the gateway `before` names the gateway `now`.
    pub fn moved(&self, key: &SiteKey, before: Option<&GatewayId>, now: Option<&GatewayId>) {
        if before == now {
            return;
        }
        let place = |gateway: &GatewayId| (key.tenant.clone(), gateway.clone());
        let mut sites = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = before.map(place)
            && let Some(named) = sites.get_mut(&before)
        {
            named.remove(&key.site);
            if named.is_empty() {
                sites.remove(&before);
            }
        }
        if let Some(now) = now {
            sites.entry(place(now)).or_default().insert(key.site.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_found_by_the_gateway_that_it_names_now() {
        let directory = Directory::default();
        let tenant = TenantId::parse("t").unwrap();
        let [first, second] = ["first", "second"].map(|id| GatewayId::parse(id).unwrap());
        let key = |site: &str| SiteKey {
            tenant: tenant.clone(),
            site: SiteId::parse(site).unwrap(),
        };
        directory.moved(&key("b"), None, Some(&first));
        directory.moved(&key("a"), None, Some(&first));
        let found = |gateway| {
            let sites = directory.sites_of(&tenant, gateway);
            sites.iter().map(SiteId::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found(&first), ["a", "b"]);
        directory.moved(&key("a"), Some(&first), Some(&second));
        directory.moved(&key("b"), Some(&first), None);
        assert_eq!((found(&first), found(&second)), (vec![], vec!["a".to_owned()]));
        let other = TenantId::parse("other").unwrap();
        assert!(directory.sites_of(&other, &second).is_empty());
        assert_eq!(directory.0.read().unwrap().len(), 1, "what is empty is forgotten");
    }
}
