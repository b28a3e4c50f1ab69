//! `JoinToken`: lets one node join, once.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

const PREFIX: &str = "lgj1";
const ID_BYTES: usize = 9;

/// `lgj1.<id>.<secret>.<SHA-256 of the CA certificate>`, the parts in base64url. The cluster keeps the id and a hash of
/// the secret; the node that joins knows by the last part that it talks to the right cluster before it tells the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    id: String,
    secret: Secret,
    ca_sha256: [u8; 32],
}

/// Why a text is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a join token; expected `lgj1.<id>.<secret>.<hash>` as `lockgate cluster token create` prints it"
)]
pub struct TokenError;

impl JoinToken {
    /// Draws one for the cluster with this CA. `None` when the system's generator has failed.
    pub fn generate(ca_sha256: [u8; 32]) -> Option<Self> {
        let mut id = [0; ID_BYTES];
        rand::fill(&mut id).ok()?;
        Some(Self {
            id: URL_SAFE_NO_PAD.encode(id),
            secret: Secret::generate()?,
            ca_sha256,
        })
    }

    /// Public half.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the cluster stores of the secret half. The secret is random, so a plain hash is enough.
    pub fn digest(&self) -> [u8; 32] {
        digest_of(self.secret.expose())
    }

    /// SHA-256 of the CA certificate (DER).
    pub fn ca_sha256(&self) -> [u8; 32] {
        self.ca_sha256
    }

    /// The token itself, for the one person who passes it on.
    pub fn expose(&self) -> String {
        let secret = URL_SAFE_NO_PAD.encode(self.secret.expose());
        let ca = URL_SAFE_NO_PAD.encode(self.ca_sha256);
        format!("{PREFIX}.{}.{secret}.{ca}", self.id)
    }

    /// Secret half, for the request to join.
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }
}

/// What is stored of the secret half of a token.
pub(super) fn digest_of(secret: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret).as_ref());
    hash
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(id), Some(secret), Some(ca), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(TokenError);
        };
        if bytes::<ID_BYTES>(id).is_none() {
            return Err(TokenError);
        }
        Ok(Self {
            id: id.to_owned(),
            secret: Secret::from_bytes(bytes(secret).ok_or(TokenError)?),
            ca_sha256: bytes(ca).ok_or(TokenError)?,
        })
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text() {
        let token = JoinToken::generate([5; 32]).unwrap();
        let text = token.expose();
        assert_eq!(text.parse::<JoinToken>().unwrap(), token);
        assert_eq!(format!(" {text}\n").parse::<JoinToken>().unwrap(), token);
        assert_ne!(JoinToken::generate([5; 32]).unwrap(), token);
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let good = JoinToken::generate([5; 32]).unwrap().expose();
        for bad in [
            String::new(),
            "lgj1".to_owned(),
            good.replace("lgj1", "lgj2"),
            format!("{good}.x"),
            good[..good.len() - 1].to_owned(),
            good.replacen('.', "..", 1),
        ] {
            assert_eq!(bad.parse::<JoinToken>(), Err(TokenError), "{bad}");
        }
    }

    #[test]
    fn the_secret_shows_in_no_debug_output() {
        let token = JoinToken::generate([5; 32]).unwrap();
        let secret = URL_SAFE_NO_PAD.encode(token.secret().expose());
        assert!(token.expose().contains(&secret));
        assert!(!format!("{token:?}").contains(&secret));
    }
}
