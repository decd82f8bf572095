//! What a caller has to show: the text of a token.
//!
//! Decides its form and how it is compared. The text exists only while it is shown or checked; what is kept is its digest.
//!
//! ```text
//! laddplan_5f0c2a9b7d3e8146_9a…(64 hexadecimal digits)
//!          the token's id    256 random bits
//! ```
//!
//! 256 random bits cannot be guessed, so a plain SHA-256 of them is enough: slow hashes are for what people think up. The fixed
//! beginning is there for programs that look for secrets where none should be.

use crate::domain::access::SecretDigest;
use crate::domain::ids::TokenId;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};
use subtle::ConstantTimeEq;

const PREFIX: &str = "laddplan_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// The text of a token. Never printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Secret {
    /// A new secret for a token.
    pub fn of(token: &TokenId) -> Self {
        Self(format!("{PREFIX}{token}_{}", random_hex(SECRET_BYTES)))
    }

    /// To hand it to its owner.
    pub fn show(&self) -> &str {
        &self.0
    }

    pub fn digest(&self) -> SecretDigest {
        digest(&self.0)
    }
}

/// An id for a new token.
pub fn new_token_id() -> TokenId {
    TokenId::parse(&random_hex(ID_BYTES)).expect("hexadecimal digits are an id")
}

/// The token that `text` claims to be, and the digest by which that is seen. `None` if it is no text of ours.
pub fn read(text: &str) -> Option<(TokenId, SecretDigest)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex =
        |part: &str, bytes: usize| part.len() == 2 * bytes && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex(id, ID_BYTES) || !is_hex(secret, SECRET_BYTES) {
        return None;
    }
    Some((TokenId::parse(id).ok()?, digest(text)))
}

/// Takes as long whether they agree or not.
pub fn agree(one: &SecretDigest, other: &SecretDigest) -> bool {
    bool::from(one.0.ct_eq(&other.0))
}

fn digest(text: &str) -> SecretDigest {
    SecretDigest(Sha256::digest(text.as_bytes()).into())
}

fn random_hex(bytes: usize) -> String {
    let mut random = vec![0_u8; bytes];
    getrandom::fill(&mut random).expect("the system has randomness");
    let mut text = String::with_capacity(2 * bytes);
    for byte in random {
        write!(text, "{byte:02x}").expect("a text takes what is written to it");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_names_its_token_and_is_known_by_its_digest() {
        let id = new_token_id();
        let secret = Secret::of(&id);
        let (claimed, digest) = read(secret.show()).unwrap();
        assert_eq!(claimed, id);
        assert!(agree(&digest, &secret.digest()));
        assert!(!agree(&digest, &Secret::of(&id).digest()), "no two secrets are alike");
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }

    #[test]
    fn what_is_no_secret_of_ours_is_not_looked_up() {
        let secret = Secret::of(&new_token_id());
        let text = secret.show();
        let short = &text[..text.len() - 1];
        let long = format!("{text}0");
        let odd = text.replacen('_', "-", 2);
        let not_hex = format!("{short}g");
        for bad in ["", "laddplan_", "laddplan__", short, &long, &odd, &not_hex, &text[1..]] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
