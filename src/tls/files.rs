//! From files to what a handshake is taken with.
//!
//! Decides what the files may hold, and tells all that is wrong with all of them at once, by name. Of a key file nothing is told but its
//! name, and what was read of it has no other way out than into the handshake.

use super::{Files, HTTP_2, Time};
use crate::domain::rejection::{Faults, Rejection};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Largest file of each kind. Handshakes carry the chain, and lists of revoked certificates are held in memory.
pub const MAX_CERTIFICATE_BYTES: u64 = 256 << 10;
pub const MAX_KEY_BYTES: u64 = 64 << 10;
pub const MAX_CLIENT_CA_BYTES: u64 = 1 << 20;
pub const MAX_CLIENT_CRL_BYTES: u64 = 4 << 20;

/// So long before it expires a certificate is warned of.
const EXPIRES_SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A file as it was found.
struct Found {
    setting: &'static str,
    path: String,
    /// The bytes, or what is wrong with the file, and what would be right.
    bytes: Result<Vec<u8>, (&'static str, String, String)>,
    readable_by_all: bool,
}

impl Found {
    fn read(setting: &'static str, path: &Path, most: u64) -> Self {
        let (bytes, readable_by_all) = match read(path, most) {
            Ok((bytes, _)) if bytes.is_empty() => {
                let wrong = ("is empty", "0 bytes".to_owned(), "PEM".to_owned());
                (Err(wrong), false)
            }
            Ok((bytes, _)) if bytes.len() as u64 > most => {
                let wrong = ("is too large", "more".to_owned(), format!("up to {most} bytes"));
                (Err(wrong), false)
            }
            Ok((bytes, readable_by_all)) => (Ok(bytes), readable_by_all),
            Err(error) => {
                let allowed = "a file that the service may read".to_owned();
                (Err(("cannot be read", error.to_string(), allowed)), false)
            }
        };
        Self {
            setting,
            path: path.display().to_string(),
            bytes,
            readable_by_all,
        }
    }

    /// For messages: the setting and the file.
    fn name(&self) -> String {
        format!("{} ({})", self.setting, self.path)
    }

    /// Every section of one kind.
    fn sections<T: PemObject>(&self, what: &str, faults: &mut Faults) -> Vec<T> {
        let bytes = match &self.bytes {
            Ok(bytes) => bytes,
            Err((rule, got, allowed)) => {
                faults.add(self.name(), *rule, got, allowed);
                return Vec::new();
            }
        };
        let sections: Result<Vec<T>, PemError> = T::pem_slice_iter(bytes).collect();
        match sections {
            Ok(sections) => {
                let allowed = format!("{what} in PEM");
                faults.require(
                    !sections.is_empty(),
                    self.name(),
                    "holds none",
                    "no such section",
                    allowed,
                );
                sections
            }
            Err(error) => {
                faults.add(self.name(), "is not PEM", broken(&error), format_args!("{what} in PEM"));
                Vec::new()
            }
        }
    }
}

/// What is wrong with PEM. The error itself may hold what is in the file.
fn broken(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "a section without its end",
        PemError::IllegalSectionStart { .. } => "a section with a broken first line",
        PemError::Base64Decode(_) => "a section that is not base64",
        _ => "something else",
    }
}

/// At most one byte more than allowed, and whether everybody on the machine may read the file.
fn read(path: &Path, most: u64) -> io::Result<(Vec<u8>, bool)> {
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a file"));
    }
    let file = File::open(path)?;
    let readable_by_all = readable_by_all(&file)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes, readable_by_all))
}

#[cfg(unix)]
fn readable_by_all(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn readable_by_all(_: &File) -> io::Result<bool> {
    Ok(false)
}

/// All files as they were found at one time.
pub(super) struct Contents {
    certificate: Found,
    key: Found,
    client_ca: Option<Found>,
    client_crl: Option<Found>,
}

/// Tells contents apart; says nothing of what they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Contents {
    /// Waits for the disk.
    pub(super) fn read(files: &Files) -> Self {
        let optional = |setting, path: &Option<_>, most| path.as_deref().map(|path| Found::read(setting, path, most));
        Self {
            certificate: Found::read("tls.certificate", &files.certificate, MAX_CERTIFICATE_BYTES),
            key: Found::read("tls.key", &files.key, MAX_KEY_BYTES),
            client_ca: optional("tls.client_ca", &files.client_ca, MAX_CLIENT_CA_BYTES),
            client_crl: optional("tls.client_crl", &files.client_crl, MAX_CLIENT_CRL_BYTES),
        }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut whole = Sha256::new();
        let all = [
            Some(&self.certificate),
            Some(&self.key),
            self.client_ca.as_ref(),
            self.client_crl.as_ref(),
        ];
        for found in all.into_iter().flatten() {
            // Each part by its own hash, so that bytes which move from one file to the next are seen.
            let part: [u8; 32] = match &found.bytes {
                Ok(bytes) => Sha256::digest(bytes).into(),
                Err((rule, got, _)) => Sha256::digest(format!("{rule}: {got}")).into(),
            };
            whole.update(part);
        }
        Fingerprint(whole.finalize().into())
    }

    /// What handshakes are taken with, or all that is wrong. Time is asked at each handshake.
    pub(super) fn build(&self, time: Time) -> Result<Loaded, Rejection> {
        let provider = Arc::new(default_provider());
        let mut faults = Faults::default();
        let certified = self.certified(&provider, &mut faults);
        let verifier = self.verifier(&provider, &mut faults);
        let (Some(certified), Some(verifier), true) = (certified, verifier, faults.is_empty()) else {
            return Err(faults.into_rejection());
        };
        let own = certified.cert[0].clone();
        let config = ServerConfig::builder_with_details(provider, Arc::new(time))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map(|builder| builder.with_client_cert_verifier(verifier))
            .map(|builder| builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified))));
        let mut config = config.expect("the provider has ciphers for both versions");
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        // A session that is taken up again is not verified again, and would outlive the certificate that it began with.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Loaded {
            config: Arc::new(config),
            own,
            certificate: self.certificate.name(),
            key_readable_by_all: self.key.readable_by_all.then(|| self.key.name()),
        })
    }

    fn certified(&self, provider: &CryptoProvider, faults: &mut Faults) -> Option<CertifiedKey> {
        let chain: Vec<CertificateDer<'static>> = self.certificate.sections("certificates", faults);
        for (number, certificate) in chain.iter().enumerate() {
            if webpki::EndEntityCert::try_from(certificate).is_err() {
                let got = format!("certificate {} of {}", number + 1, chain.len());
                faults.add(
                    self.certificate.name(),
                    "holds what is no certificate",
                    got,
                    "X.509, version 3",
                );
            }
        }
        let mut keys: Vec<PrivateKeyDer<'static>> = self.key.sections("one private key, not encrypted,", faults);
        if keys.len() > 1 {
            faults.add(self.key.name(), "holds several keys", keys.len(), "one private key");
            return None;
        }
        let key = provider.key_provider.load_private_key(keys.pop()?);
        let Ok(key) = key else {
            let allowed = "RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519";
            faults.add(self.key.name(), "is not a key that can be used", "another key", allowed);
            return None;
        };
        if chain.is_empty() {
            return None;
        }
        let certified = CertifiedKey::new(chain, key);
        if let Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) = certified.keys_match() {
            let allowed = format!("the key of the first certificate in {}", self.certificate.path);
            faults.add(self.key.name(), "does not fit the certificate", "another key", allowed);
        }
        Some(certified)
    }

    /// Lets in who shows no certificate; one that is shown has to verify.
    fn verifier(&self, provider: &Arc<CryptoProvider>, faults: &mut Faults) -> Option<Arc<dyn ClientCertVerifier>> {
        let Some(client_ca) = &self.client_ca else {
            return Some(WebPkiClientVerifier::no_client_auth());
        };
        let mut roots = RootCertStore::empty();
        for root in client_ca.sections("certificates", faults) {
            if roots.add(root).is_err() {
                let allowed = "X.509, version 3";
                faults.add(
                    client_ca.name(),
                    "holds what is no certificate",
                    "something else",
                    allowed,
                );
            }
        }
        let crls: Vec<CertificateRevocationListDer<'static>> = match &self.client_crl {
            Some(client_crl) => client_crl.sections("lists of revoked certificates", faults),
            None => Vec::new(),
        };
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        match (
            builder.allow_unauthenticated().with_crls(crls).build(),
            &self.client_crl,
        ) {
            (Ok(verifier), _) => Some(verifier),
            (Err(VerifierBuilderError::InvalidCrl(why)), Some(client_crl)) => {
                let allowed = "whole lists by the issuers themselves, X.509, version 2";
                faults.add(
                    client_crl.name(),
                    "holds a list that cannot be used",
                    format_args!("{why:?}"),
                    allowed,
                );
                None
            }
            // No roots, which was told above.
            (Err(_), _) => None,
        }
    }
}

/// What handshakes are taken with, and what an operator should know of it.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    own: CertificateDer<'static>,
    certificate: String,
    key_readable_by_all: Option<String>,
}

impl Loaded {
    /// What is no fault and still not well.
    pub(super) fn warnings(&self, now: UnixTime) -> Vec<String> {
        let key = self.key_readable_by_all.as_ref();
        let mut warnings: Vec<String> = key
            .map(|key| format!("{key}: everybody on this machine may read the key"))
            .into_iter()
            .collect();
        let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + EXPIRES_SOON);
        let problem = match self.validity(now) {
            Validity::Good => match self.validity(soon) {
                Validity::Expired => "expires within 7 days".to_owned(),
                _ => return warnings,
            },
            Validity::Expired => "has expired: clients refuse it".to_owned(),
            Validity::NotYet => "is not valid yet: clients refuse it".to_owned(),
            Validity::Wrong(why) => format!("may be refused by clients: {why}"),
        };
        warnings.push(format!("{}: the certificate {problem}", self.certificate));
        warnings
    }

    /// The verdict of a client that trusts nobody: it looks at the certificate itself before it looks for who issued it.
    fn validity(&self, time: UnixTime) -> Validity {
        use webpki::Error::{CertExpired, CertNotValidYet, UnknownIssuer};
        let algorithms = default_provider().signature_verification_algorithms.all;
        let usage = webpki::KeyUsage::server_auth();
        let verdict = webpki::EndEntityCert::try_from(&self.own).and_then(|own| {
            own.verify_for_usage(algorithms, &[], &[], time, usage, None, None)
                .map(|_| ())
        });
        match verdict {
            Ok(()) | Err(UnknownIssuer) => Validity::Good,
            Err(CertExpired { .. }) => Validity::Expired,
            Err(CertNotValidYet { .. }) => Validity::NotYet,
            Err(other) => Validity::Wrong(other.to_string()),
        }
    }
}

enum Validity {
    Good,
    Expired,
    NotYet,
    Wrong(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Authority, Folder, IN_2026, Pair, StandingClock, files, set_mode};
    use crate::units::Instant;

    const IN_1999: Instant = Instant::from_unix_secs(920_000_000);
    /// Two days before the end of 2099, when certificates end.
    const END_OF_2099: Instant = Instant::from_unix_secs(4_102_272_000);
    const IN_2101: Instant = Instant::from_unix_secs(4_140_000_000);

    fn time(instant: Instant) -> Time {
        Time(Arc::new(StandingClock::at(instant)))
    }

    /// What is wrong, without the folder's name.
    fn faults(folder: &Folder, files: &Files) -> Vec<String> {
        let Err(rejection) = Contents::read(files).build(time(IN_2026)) else {
            panic!("nothing is wrong");
        };
        let folder = format!("{}/", folder.path("").display()).replace("//", "/");
        let lines = rejection.to_string();
        lines.lines().map(|line| line.replace(&folder, "")).collect()
    }

    fn with_clients(folder: &Folder) -> Files {
        Files {
            client_ca: Some(folder.path("client-ca.pem")),
            client_crl: Some(folder.path("client-crl.pem")),
            ..files(folder)
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_and_by_file() {
        let folder = Folder::new();
        folder.write("certificate.pem", "");
        folder.write(
            "client-ca.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        folder.write("client-crl.pem", "-----BEGIN X509 CRL-----\nAAAA\n");
        assert_eq!(
            faults(&folder, &with_clients(&folder)),
            [
                "tls.certificate (certificate.pem): is empty; got 0 bytes, allowed: PEM",
                "tls.key (key.pem): cannot be read; got No such file or directory (os error 2), allowed: a file that the service may read",
                "tls.client_ca (client-ca.pem): holds what is no certificate; got something else, allowed: X.509, version 3",
                "tls.client_crl (client-crl.pem): is not PEM; got a section without its end, allowed: lists of revoked certificates in PEM",
            ]
        );
    }

    #[test]
    fn each_file_holds_what_it_is_for() {
        let authority = Authority::new("ours");
        let [pair, other] = [1, 2].map(|serial| authority.server(serial));
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (certificate, key, told) in [
            (
                &pair.certificate,
                &other.key,
                "tls.key (key.pem): does not fit the certificate",
            ),
            (&pair.certificate, &pair.certificate, "tls.key (key.pem): holds none"),
            (
                &pair.certificate,
                &[&*pair.key, &*other.key].concat(),
                "tls.key (key.pem): holds several keys",
            ),
            (
                &pair.certificate,
                &bad.replace("CERTIFICATE", "PRIVATE KEY"),
                "tls.key (key.pem): is not a key that can be used",
            ),
            (
                &pair.certificate,
                &"-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n".to_owned(),
                "tls.key (key.pem): is not PEM",
            ),
            (&pair.key, &pair.key, "tls.certificate (certificate.pem): holds none"),
            (
                &[&*pair.certificate, bad].concat(),
                &pair.key,
                "tls.certificate (certificate.pem): holds what is no certificate; got certificate 2 of 2",
            ),
        ] {
            let folder = Folder::new();
            folder.put(&Pair {
                certificate: certificate.clone(),
                key: key.clone(),
            });
            let lines = faults(&folder, &files(&folder));
            assert!(lines.len() == 1 && lines[0].starts_with(told), "{lines:?}, not {told}");
        }
    }

    #[test]
    fn a_file_has_a_largest_size_and_is_a_file() {
        let folder = Folder::new();
        folder.put(&Authority::new("ours").server(1));
        folder.write("client-ca.pem", &Authority::new("clients").pem());
        folder.write("client-crl.pem", "");
        for (name, most) in [
            ("certificate.pem", MAX_CERTIFICATE_BYTES),
            ("key.pem", MAX_KEY_BYTES),
            ("client-ca.pem", MAX_CLIENT_CA_BYTES),
            ("client-crl.pem", MAX_CLIENT_CRL_BYTES),
        ] {
            let before = std::fs::read_to_string(folder.path(name)).unwrap();
            for (size, told) in [(most, "is too large"), (most + 1, "is too large")] {
                folder.write(name, &" ".repeat(usize::try_from(size).unwrap()));
                let lines = faults(&folder, &with_clients(&folder));
                let is_told = lines.iter().any(|line| line.contains(&format!("({name}): {told}")));
                assert_eq!(is_told, size > most, "{lines:?}");
            }
            folder.write(name, &before);
        }
        let as_folder = Files {
            key: folder.path(""),
            ..files(&folder)
        };
        assert!(
            faults(&folder, &as_folder)[0]
                .ends_with("cannot be read; got is not a file, allowed: a file that the service may read")
        );
    }

    #[test]
    fn nothing_of_a_key_is_told() {
        let pair = Authority::new("ours").server(1);
        let secret = pair.key.lines().nth(1).unwrap();
        // Errors of PEM show lines as numbers.
        let as_numbers = format!(" 32, {}, {}", secret.as_bytes()[0], secret.as_bytes()[1]);
        for key in [
            pair.key.replace("-----END", ""),
            pair.key
                .replace("-----BEGIN PRIVATE KEY-----", &format!("-----BEGIN {secret}")),
            pair.key.replace(secret, &format!("!{secret}")),
        ] {
            let folder = Folder::new();
            folder.put(&Pair { key, ..pair.clone() });
            let told = faults(&folder, &files(&folder)).join(" ");
            assert!(
                told.contains("key.pem") && !told.contains(&secret[..8]) && !told.contains(&as_numbers),
                "{told}"
            );
        }
    }

    #[test]
    fn what_is_no_fault_and_still_not_well_is_warned_of() {
        let folder = Folder::new();
        folder.put(&Authority::new("ours").server(1));
        let warned = |instant| {
            let loaded = Contents::read(&files(&folder)).build(time(instant)).ok().unwrap();
            let warnings = loaded.warnings(time(instant).now());
            let told: Vec<String> = warnings
                .iter()
                .map(|warning| warning.split("): ").nth(1).unwrap().to_owned())
                .collect();
            told
        };
        assert!(warned(IN_2026).is_empty());
        assert_eq!(warned(IN_1999), ["the certificate is not valid yet: clients refuse it"]);
        assert_eq!(warned(END_OF_2099), ["the certificate expires within 7 days"]);
        assert_eq!(warned(IN_2101), ["the certificate has expired: clients refuse it"]);
        set_mode(&folder.path("key.pem"), 0o640);
        assert!(warned(IN_2026).is_empty());
        #[cfg(unix)]
        {
            set_mode(&folder.path("key.pem"), 0o644);
            assert_eq!(warned(IN_2026), ["everybody on this machine may read the key"]);
        }
        let authority = Authority::new("ours");
        folder.put(&authority.own());
        let told = warned(IN_2026);
        assert!(
            told.len() == 1 && told[0].starts_with("the certificate may be refused by clients"),
            "{told:?}"
        );
    }
}
