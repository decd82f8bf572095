//! Names of things. Each kind of id is a type of its own, so that a session cannot be looked up by an EVSE's name.
//!
//! Ids are given by the caller, kept exactly as given and compared exactly; OCPI's case-insensitive ids live in [`super::session::OcpiSession`].

use super::rejection::Rejection;
use std::fmt;
use std::sync::Arc;

/// Longest id, in bytes.
pub const MAX_ID_BYTES: usize = 64;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Accepts 1 to 64 printable ASCII characters without spaces.
            pub fn parse(text: &str) -> Result<Self, Rejection> {
                check($field, text)?;
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(/// A CPO: the owner of sites. Leads every key in the store.
    TenantId, "tenant_id");
id!(/// A charging site of a tenant.
    SiteId, "site_id");
id!(/// A node of a site's tree: grid connection, transformer, feeder or panel.
    NodeId, "node_id");
id!(/// A charging station: a box with one or more EVSEs.
    StationId, "station_id");
id!(/// The unit that charges one car at a time.
    EvseId, "evse_id");
id!(/// A plug or cable of an EVSE.
    ConnectorId, "connector_id");
id!(/// One car at one EVSE, from plug-in to plug-out. Unique within a site.
    SessionId, "session_id");
id!(/// The client that applies profiles to stations.
    GatewayId, "gateway_id");
id!(/// A limit set on a node for a window of time. Unique within a site.
    GridLimitId, "grid_limit_id");
id!(/// A group of drivers, such as a car pool.
    GroupId, "group_id");
id!(/// Names one mutating call, so that a repeat of it is recognised.
    RequestId, "request_id");
id!(/// An API token, without its secret.
    TokenId, "token_id");
id!(/// Random reference that stands for a person wherever something is kept for ever. What it stands for can be erased.
    PersonRef, "person_ref");

fn check(field: &str, text: &str) -> Result<(), Rejection> {
    let allowed = format!("1 to {MAX_ID_BYTES} printable ASCII characters without spaces");
    if text.is_empty() {
        return Err(Rejection::one(field, "is required", "", allowed));
    }
    if text.len() > MAX_ID_BYTES {
        return Err(Rejection::one(
            field,
            "is too long",
            format_args!("{} bytes", text.len()),
            allowed,
        ));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Rejection::one(
            field,
            "has characters that are not allowed",
            text,
            allowed,
        ));
    }
    Ok(())
}

/// A site, found from anywhere: the tenant comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteKey {
    pub tenant: TenantId,
    pub site: SiteId,
}

impl fmt::Display for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.site)
    }
}
