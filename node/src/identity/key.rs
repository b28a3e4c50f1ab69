//! API keys: how one is made, and the keyed hash under which it is known.

use std::fmt;

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lockgate_cluster::{KeyMac, Secret};
use secrecy::SecretString;
use zeroize::Zeroize;

/// Tells keys of this gateway from other secrets, for people and for scanners of leaked ones.
const PREFIX: &str = "lg_";

/// Draws a new API key: `lg_` and 43 characters of base64url, 256 random bits. `None` when the system's generator
/// has failed.
#[must_use = "the key is shown once"]
pub fn generate_key() -> Option<SecretString> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).ok()?;
    let mut key = String::with_capacity(PREFIX.len() + 43);
    key.push_str(PREFIX);
    BASE64_URL_SAFE_NO_PAD.encode_string(bytes, &mut key);
    bytes.zeroize();
    Some(SecretString::from(key))
}

/// Hashes API keys with the cluster's pepper; whoever steals the registry has no keys and can't guess any.
#[derive(Clone)]
pub struct KeyHasher(hmac::Key);

impl KeyHasher {
    /// Prepares the pepper once.
    pub fn new(pepper: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, pepper.expose()))
    }

    /// Hash of one key.
    pub fn mac(&self, key: &str) -> KeyMac {
        let tag = hmac::sign(&self.0, key.as_bytes());
        let mut mac = [0; 32];
        mac.copy_from_slice(tag.as_ref());
        KeyMac(mac)
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(..)")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn keys_have_the_documented_form_and_differ() {
        let (one, two) = (generate_key().unwrap(), generate_key().unwrap());
        let text = one.expose_secret();
        assert_eq!(text.len(), 46);
        let body = text.strip_prefix("lg_").unwrap();
        assert!(
            body.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        assert_ne!(text, two.expose_secret());
    }

    #[test]
    fn the_hash_is_hmac_sha256() {
        // RFC 4231, test case 2, with the key padded to 32 bytes, which HMAC does anyway.
        let mut pepper = [0; 32];
        pepper[..4].copy_from_slice(b"Jefe");
        let mac = KeyHasher::new(&Secret::from_bytes(pepper)).mac("what do ya want for nothing?");
        let hex: String = mac.0.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
