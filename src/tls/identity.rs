//! Which gateway a client certificate stands for.
//!
//! Decides the one form in which a certificate names a gateway: a single URI among its alternative names,
//! `spiffe://<trust domain>/tenant/<tenant>/gateway/<gateway>`, by the rules of SPIFFE: one spelling for each identity, so no percent
//! signs. Never verifies anything: the handshake has.

use crate::domain::ids::{GatewayId, TenantId};
use crate::domain::rejection::{Rejection, echo};
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::sync::Arc;

/// Longest name of a trust domain, by the rules of SPIFFE.
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// A gateway, as a verified certificate names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatewayIdentity {
    pub tenant: TenantId,
    pub gateway: GatewayId,
}

impl fmt::Display for GatewayIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.gateway)
    }
}

/// Whose identities are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Accepts what SPIFFE does: lowercase letters, digits, dots, dashes and underscores.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let allowed = "1 to 255 lowercase letters, digits, dots, dashes and underscores";
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if text.is_empty() || text.len() > MAX_TRUST_DOMAIN_BYTES || !text.bytes().all(is_allowed) {
            return Err(Rejection::one("trust_domain", "is not a trust domain", text, allowed));
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a certificate that verifies names no gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error("the certificate has no URI among its alternative names")]
    NoUri,
    #[error("the certificate has {0} URIs among its alternative names, where one is allowed")]
    ManyUris(usize),
    #[error("{0} is not a SPIFFE id")]
    NotSpiffe(String),
    #[error("{got} is of another trust domain than {ours}")]
    OtherTrustDomain { got: String, ours: TrustDomain },
    #[error("{0} does not end in /tenant/<tenant>/gateway/<gateway>")]
    NotAGateway(String),
    #[error(
        "{0} has other characters than letters, digits, dots, dashes and underscores; percent-encoding is not allowed either"
    )]
    Characters(String),
    #[error("{0} has a name that is too long")]
    TooLong(String),
}

/// The gateway that `certificate` names.
pub(super) fn read(
    certificate: &CertificateDer<'_>,
    trust_domain: &TrustDomain,
) -> Result<GatewayIdentity, NoIdentity> {
    let certificate = webpki::EndEntityCert::try_from(certificate).map_err(|_| NoIdentity::Unreadable)?;
    let uris: Vec<&str> = certificate.valid_uri_names().collect();
    match uris[..] {
        [] => Err(NoIdentity::NoUri),
        [uri] => from_uri(uri, trust_domain),
        _ => Err(NoIdentity::ManyUris(uris.len())),
    }
}

fn from_uri(uri: &str, trust_domain: &TrustDomain) -> Result<GatewayIdentity, NoIdentity> {
    let shown = || echo(uri);
    let rest = uri
        .strip_prefix("spiffe://")
        .ok_or_else(|| NoIdentity::NotSpiffe(shown()))?;
    let mut parts = rest.split('/');
    if parts.next() != Some(trust_domain.as_str()) {
        return Err(NoIdentity::OtherTrustDomain {
            got: shown(),
            ours: trust_domain.clone(),
        });
    }
    let path: Vec<&str> = parts.collect();
    let ["tenant", tenant, "gateway", gateway] = path[..] else {
        return Err(NoIdentity::NotAGateway(shown()));
    };
    if ![tenant, gateway].into_iter().all(is_segment) {
        return Err(NoIdentity::Characters(shown()));
    }
    // What a segment may hold an id may hold too, so that only its length is left to be wrong.
    let too_long = |_| NoIdentity::TooLong(shown());
    Ok(GatewayIdentity {
        tenant: TenantId::parse(tenant).map_err(too_long)?,
        gateway: GatewayId::parse(gateway).map_err(too_long)?,
    })
}

/// A part of a SPIFFE path. `.` and `..` are none, lest somebody resolves them.
fn is_segment(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed) && text != "." && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::certificate_with;

    fn ours() -> TrustDomain {
        TrustDomain::parse("laddplan").unwrap()
    }

    #[test]
    fn a_gateway_is_named_in_one_form() {
        let named = from_uri("spiffe://laddplan/tenant/acme_se/gateway/yard-1.north", &ours()).unwrap();
        assert_eq!(named.to_string(), "acme_se/yard-1.north");
    }

    #[test]
    fn every_other_form_names_nobody() {
        use NoIdentity::{Characters, NotAGateway, NotSpiffe, TooLong};
        let long = format!("spiffe://laddplan/tenant/acme/gateway/{}", "g".repeat(65));
        type Kind = fn(String) -> NoIdentity;
        for (uri, kind) in [
            ("https://laddplan/tenant/acme/gateway/yard", NotSpiffe as Kind),
            ("SPIFFE://laddplan/tenant/acme/gateway/yard", NotSpiffe),
            ("spiffe://laddplan", NotAGateway),
            ("spiffe://laddplan/tenant/acme", NotAGateway),
            ("spiffe://laddplan/tenant/acme/gateway/yard/", NotAGateway),
            ("spiffe://laddplan/tenant/acme/gateway/yard/x", NotAGateway),
            ("spiffe://laddplan//tenant/acme/gateway/yard", NotAGateway),
            ("spiffe://laddplan/Tenant/acme/gateway/yard", NotAGateway),
            ("spiffe://laddplan/gateway/yard/tenant/acme", NotAGateway),
            ("spiffe://laddplan/tenant/acme/gateway/", Characters),
            ("spiffe://laddplan/tenant//gateway/yard", Characters),
            ("spiffe://laddplan/tenant/../gateway/yard", Characters),
            ("spiffe://laddplan/tenant/acme/gateway/.", Characters),
            ("spiffe://laddplan/tenant/ac%6De/gateway/yard", Characters),
            ("spiffe://laddplan/tenant/acme/gateway/yard%2Fother", Characters),
            ("spiffe://laddplan/tenant/acme/gateway/yard?x", Characters),
            ("spiffe://laddplan/tenant/acme/gateway/yard#x", Characters),
            ("spiffe://laddplan/tenant/åcme/gateway/yard", Characters),
            (&long, TooLong),
        ] {
            assert_eq!(from_uri(uri, &ours()), Err(kind(echo(uri))), "{uri}");
        }
        for uri in [
            "spiffe://other/tenant/acme/gateway/yard",
            "spiffe://laddplan.evil/tenant/acme/gateway/yard",
            "spiffe://laddplan:443/tenant/acme/gateway/yard",
            "spiffe://x@laddplan/tenant/acme/gateway/yard",
            "spiffe://LADDPLAN/tenant/acme/gateway/yard",
            "spiffe:///tenant/acme/gateway/yard",
        ] {
            let refused = from_uri(uri, &ours());
            assert!(
                matches!(refused, Err(NoIdentity::OtherTrustDomain { .. })),
                "{uri}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_certificate_names_a_gateway_by_its_only_uri() {
        let good = "spiffe://laddplan/tenant/acme/gateway/yard";
        let named = read(&certificate_with(&[good]), &ours()).unwrap();
        assert_eq!(named.to_string(), "acme/yard");
        let none: Result<_, _> = read(&certificate_with(&[]), &ours());
        assert_eq!(none, Err(NoIdentity::NoUri));
        let two = read(&certificate_with(&[good, good]), &ours());
        assert_eq!(two, Err(NoIdentity::ManyUris(2)));
        assert_eq!(read(&vec![0x30, 0].into(), &ours()), Err(NoIdentity::Unreadable));
    }

    #[test]
    fn a_trust_domain_has_one_spelling() {
        for refused in ["", "Laddplan", "a b", "a/b", "a:1", "x@y", "ü"] {
            assert!(TrustDomain::parse(refused).is_err(), "{refused}");
        }
        assert!(TrustDomain::parse(&"a".repeat(256)).is_err());
        assert!(TrustDomain::parse("charging.example-1_x").is_ok());
    }
}
