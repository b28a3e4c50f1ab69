//! The keys that all nodes share, and the envelope in which they are stored.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// Binds an envelope to its purpose and layout: an envelope of anything else does not open as a keyring.
const ENVELOPE_AAD: &[u8] = b"lockgate/keyring/v1";
const NONCE_BYTES: usize = 12;

/// Keys that all nodes share: two live keys for sealed ids and the pepper of API keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    pepper: Secret,
    seal_keys: [SealKey; 2],
}

/// One key for sealed ids and cursors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealKey {
    /// Written into whatever the key seals, so that the right key opens it again.
    pub id: u8,
    /// AES-256 key.
    pub key: Secret,
}

impl Keyring {
    /// Draws all keys. `None` when the system's generator has failed.
    pub fn generate() -> Option<Self> {
        let draw = |id| {
            Some(SealKey {
                id,
                key: Secret::generate()?,
            })
        };
        Some(Self {
            pepper: Secret::generate()?,
            seal_keys: [draw(1)?, draw(2)?],
        })
    }

    /// Key of the HMAC-SHA256 under which API keys are stored.
    pub fn pepper(&self) -> &Secret {
        &self.pepper
    }

    /// Both live keys. The first one seals, either opens.
    pub fn seal_keys(&self) -> &[SealKey; 2] {
        &self.seal_keys
    }

    /// Encrypts the keyring for storage: nonce, then ciphertext with its tag.
    pub(crate) fn to_envelope(&self, key: &Secret) -> Option<Vec<u8>> {
        let mut text = bincode::serde::encode_to_vec(self, bincode::config::standard()).ok()?;
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, key.expose()).ok()?;
        let nonce = key
            .seal_in_place_append_tag(Aad::from(ENVELOPE_AAD), &mut text)
            .ok()?;
        Some([nonce.as_ref().as_slice(), &text].concat())
    }

    /// Opens an envelope. `None` when it was made under another key or was changed.
    pub(crate) fn from_envelope(envelope: &[u8], key: &Secret) -> Option<Self> {
        let (nonce, text) = envelope.split_first_chunk::<NONCE_BYTES>()?;
        let mut text = text.to_vec();
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, key.expose()).ok()?;
        let plain = key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(ENVELOPE_AAD),
                &mut text,
            )
            .ok()?;
        let (keyring, used) =
            bincode::serde::decode_from_slice(plain, bincode::config::standard()).ok()?;
        let whole = used == plain.len();
        zeroize::Zeroize::zeroize(&mut text);
        whole.then_some(keyring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_under_its_own_key_only() {
        let keyring = Keyring::generate().unwrap();
        let (key, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        let envelope = keyring.to_envelope(&key).unwrap();
        assert_eq!(Keyring::from_envelope(&envelope, &key), Some(keyring));
        assert_eq!(Keyring::from_envelope(&envelope, &other), None);
    }

    #[test]
    fn a_changed_envelope_does_not_open() {
        let key = Secret::generate().unwrap();
        let envelope = Keyring::generate().unwrap().to_envelope(&key).unwrap();
        for at in 0..envelope.len() {
            let mut changed = envelope.clone();
            changed[at] ^= 1;
            assert_eq!(Keyring::from_envelope(&changed, &key), None, "byte {at}");
            assert_eq!(
                Keyring::from_envelope(&envelope[..at], &key),
                None,
                "cut at {at}"
            );
        }
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let keyring = Keyring::generate().unwrap();
        assert!(!format!("{keyring:?}").contains(&format!("{:?}", keyring.pepper().expose())));
    }
}
