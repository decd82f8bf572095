//! Settings of TLS, and where the service may listen with and without it.
//!
//! Decides which of them belong together. Whether the files are there and what is in them is seen when they are opened.

use super::{DEFAULT_LISTEN, Given, Reader, Wrong, any_address, boolean, is_loopback, path};
use crate::tls::TrustDomain;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Whose identities are believed, unless told otherwise.
const DEFAULT_TRUST_DOMAIN: &str = "laddplan";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The service's certificate and those that lead to its root.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Roots of client certificates. Without it none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Which client certificates are revoked.
    pub client_crl: Option<PathBuf>,
    /// Of the identities in client certificates.
    pub trust_domain: TrustDomain,
    /// Whether a gateway has to show a certificate.
    pub gateways_need_certificate: bool,
}

/// The settings of TLS, if there are any, and where the service listens.
pub(super) fn read(reader: &mut Reader<'_>) -> (Option<Tls>, SocketAddr) {
    let file = |given: &Given<'_>| path(given, "the path of a file, in UTF-8").map(Some);
    let certificate: Option<PathBuf> = reader.setting("tls.certificate", None, file);
    let key = reader.setting("tls.key", None, file);
    let client_ca = reader.setting("tls.client_ca", None, file);
    let client_crl = reader.setting("tls.client_crl", None, file);
    let default = TrustDomain::parse(DEFAULT_TRUST_DOMAIN).expect("is a trust domain");
    let trust_domain = reader.setting("tls.trust_domain", default, trust_domain);
    let gateways_need_certificate = reader.setting("tls.gateways_need_certificate", false, boolean);

    let mut need = |needed: bool, there: bool, name, allowed| {
        reader
            .faults
            .require(!needed || there, name, "is required", "", allowed);
    };
    let in_parts = client_ca.is_some() || client_crl.is_some() || gateways_need_certificate;
    let (has_certificate, has_key) = (certificate.is_some(), key.is_some());
    need(
        has_key || in_parts,
        has_certificate,
        "tls.certificate",
        "a path, since other settings of TLS are given",
    );
    need(
        has_certificate || in_parts,
        has_key,
        "tls.key",
        "a path, since other settings of TLS are given",
    );
    let needs_ca = client_crl.is_some() || gateways_need_certificate;
    need(
        needs_ca,
        client_ca.is_some(),
        "tls.client_ca",
        "a path, since settings that need it are given",
    );

    let is_meant = has_certificate || has_key;
    let listen = reader.setting("listen", DEFAULT_LISTEN.parse().expect("is an address"), |given| {
        listen(given, is_meant)
    });
    let tls = certificate.zip(key).map(|(certificate, key)| Tls {
        certificate,
        key,
        client_ca,
        client_crl,
        trust_domain,
        gateways_need_certificate,
    });
    (tls, listen)
}

fn listen(given: &Given<'_>, has_tls: bool) -> Result<SocketAddr, Wrong> {
    let address = any_address(given)?;
    if !has_tls && !is_loopback(&address) {
        return Err(Wrong::new(
            "is reachable from other machines, and without TLS all is spoken in clear",
            "a loopback address (127.0.0.0/8 or [::1]), or any with tls.certificate and tls.key",
        ));
    }
    Ok(address)
}

fn trust_domain(given: &Given<'_>) -> Result<TrustDomain, Wrong> {
    let allowed = "1 to 255 lowercase letters, digits, dots, dashes and underscores";
    TrustDomain::parse(given.text()?).map_err(|_| Wrong::new("is not a trust domain", allowed))
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{mistakes, sources};
    use crate::config::{Config, Tls};
    use crate::tls::TrustDomain;
    use std::path::PathBuf;

    const PAIR: [(&str, &str); 2] = [("LADDPLAN_TLS_CERTIFICATE", "c.pem"), ("LADDPLAN_TLS_KEY", "k.pem")];

    #[test]
    fn every_setting_of_tls_is_read() {
        let file = "[tls]\ncertificate = 'c.pem'\nkey = 'k.pem'\nclient_ca = 'ca.pem'\nclient_crl = 'crl.pem'\n\
                    trust_domain = 'charging.example'\ngateways_need_certificate = true\n";
        let config = Config::parse(&sources(Some(file), &[], &[])).unwrap();
        let expected = Tls {
            certificate: PathBuf::from("c.pem"),
            key: PathBuf::from("k.pem"),
            client_ca: Some(PathBuf::from("ca.pem")),
            client_crl: Some(PathBuf::from("crl.pem")),
            trust_domain: TrustDomain::parse("charging.example").unwrap(),
            gateways_need_certificate: true,
        };
        assert_eq!(config.tls, Some(expected));
        let config = Config::parse(&sources(None, &PAIR, &[])).unwrap().tls.unwrap();
        assert_eq!(config.trust_domain.as_str(), "laddplan");
        assert!(!config.gateways_need_certificate && config.client_ca.is_none());
        assert_eq!(Config::parse(&sources(None, &[], &[])).unwrap().tls, None);
    }

    #[test]
    fn with_tls_the_service_may_listen_anywhere_and_figures_stay_on_loopback() {
        for address in ["0.0.0.0:1", "[::]:1", "192.168.1.5:1", "[::ffff:192.168.1.5]:1"] {
            let config = Config::parse(&sources(None, &PAIR, &[("listen", address)])).unwrap();
            assert_eq!(config.listen.to_string(), address);
            let given = [PAIR[0], PAIR[1], ("LADDPLAN_METRICS_LISTEN", address)];
            let lines = mistakes(&sources(None, &given, &[]));
            assert!(
                lines[0].starts_with("LADDPLAN_METRICS_LISTEN: is reachable"),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn half_a_pair_is_one_mistake_each() {
        for (given, missing) in [(PAIR[0], "tls.key"), (PAIR[1], "tls.certificate")] {
            let lines = mistakes(&sources(None, &[given], &[("listen", "0.0.0.0:1")]));
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].starts_with(&format!("{missing}: is required")), "{lines:?}");
        }
    }

    #[test]
    fn what_needs_another_setting_says_so_and_all_is_told_at_once() {
        let file =
            "listen = '0.0.0.0:1'\n[tls]\nclient_crl = ''\ngateways_need_certificate = true\ntrust_domain = 'Big'\n";
        let lines = mistakes(&sources(Some(file), &[], &[]));
        let told: Vec<&str> = lines.iter().map(|line| line.split("; ").next().unwrap()).collect();
        assert_eq!(
            told,
            [
                "laddplan.toml: tls.client_crl: is not a path",
                "laddplan.toml: tls.trust_domain: is not a trust domain",
                "tls.certificate: is required",
                "tls.key: is required",
                "tls.client_ca: is required",
                "laddplan.toml: listen: is reachable from other machines, and without TLS all is spoken in clear",
            ]
        );
        let with_crl = [PAIR[0], PAIR[1], ("LADDPLAN_TLS_CLIENT_CRL", "crl.pem")];
        assert!(mistakes(&sources(None, &with_crl, &[]))[0].starts_with("tls.client_ca: is required"));
    }
}
