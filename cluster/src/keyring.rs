//! The keys that all nodes share, and the envelope in which they are stored.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// Binds an envelope to its purpose and layout: an envelope of anything else does not open as a keyring. The first
/// layout has two keys, none of them retired; it is written as long as it can say all there is.
const FIRST_LAYOUT: &[u8] = b"lockgate/keyring/v1";
const LAYOUT: &[u8] = b"lockgate/keyring/v2";
const NONCE_BYTES: usize = 12;
/// Most keys at a time, retired ones too.
const SEAL_KEYS_MAX: usize = 16;

/// Keys that all nodes share: those for sealed ids, and the pepper of API keys.
///
/// The first key seals. The second one is what will seal after the next rotation: every node has it long before
/// anything that it sealed comes along. Those behind it are retired, and only open what they have sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    pepper: Secret,
    seal_keys: Vec<SealKey>,
}

/// One key for sealed ids and cursors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealKey {
    /// Written into whatever the key seals, so that the right key opens it again.
    pub id: u8,
    /// AES-256 key.
    pub key: Secret,
    /// When it has ceased to seal, in milliseconds since 1970.
    pub retired_at_ms: Option<u64>,
}

/// The first layout.
#[derive(Serialize, Deserialize)]
struct FirstLayout {
    pepper: Secret,
    seal_keys: [(u8, Secret); 2],
}

/// Why a keyring has no successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// What retired keys have sealed is still about.
    #[error(
        "the keyring holds {SEAL_KEYS_MAX} keys, none of which may go yet; it is rotated too often"
    )]
    TooOften,
    /// The system's generator has failed.
    #[error("the system's random generator has failed")]
    NoRandomness,
}

impl Keyring {
    /// Draws all keys. `None` when the system's generator has failed.
    pub fn generate() -> Option<Self> {
        Some(Self {
            pepper: Secret::generate()?,
            seal_keys: vec![draw(1)?, draw(2)?],
        })
    }

    /// Key of the HMAC-SHA256 under which API keys are stored.
    pub fn pepper(&self) -> &Secret {
        &self.pepper
    }

    /// All keys that open. The first one seals.
    pub fn seal_keys(&self) -> &[SealKey] {
        &self.seal_keys
    }

    /// The successor at `now_ms`: the key that waited seals, another one waits, and keys that were retired more than
    /// `kept_ms` ago are gone.
    ///
    /// # Errors
    ///
    /// [`RotationError`].
    pub fn rotated(&self, now_ms: u64, kept_ms: u64) -> Result<Self, RotationError> {
        let mut keys = self.seal_keys.iter();
        let (retiring, waiting) = (keys.next(), keys.next());
        let is_needed = |key: &&SealKey| {
            let retired = key.retired_at_ms.unwrap_or(now_ms);
            retired.saturating_add(kept_ms) > now_ms
        };
        let mut kept: Vec<SealKey> = retiring
            .map(|key| SealKey {
                retired_at_ms: Some(now_ms),
                ..key.clone()
            })
            .into_iter()
            .chain(keys.filter(is_needed).cloned())
            .collect();
        if kept.len() + 2 > SEAL_KEYS_MAX {
            return Err(RotationError::TooOften);
        }
        let is_free = |id: &u8| self.seal_keys.iter().all(|key| key.id != *id);
        // There are far more numbers than keys.
        let id = (1..=u8::MAX).find(is_free).ok_or(RotationError::TooOften)?;
        let mut seal_keys: Vec<SealKey> = waiting.cloned().into_iter().collect();
        seal_keys.push(draw(id).ok_or(RotationError::NoRandomness)?);
        seal_keys.append(&mut kept);
        Ok(Self {
            pepper: self.pepper.clone(),
            seal_keys,
        })
    }

    /// Encrypts the keyring for storage: nonce, then ciphertext with its tag.
    pub(crate) fn to_envelope(&self, key: &Secret) -> Option<Vec<u8>> {
        let config = bincode::config::standard();
        let (layout, text) = match self.as_first_layout() {
            Some(first) => (FIRST_LAYOUT, bincode::serde::encode_to_vec(first, config)),
            None => (LAYOUT, bincode::serde::encode_to_vec(self, config)),
        };
        let mut text = text.ok()?;
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, key.expose()).ok()?;
        let nonce = key
            .seal_in_place_append_tag(Aad::from(layout), &mut text)
            .ok()?;
        Some([nonce.as_ref().as_slice(), &text].concat())
    }

    fn as_first_layout(&self) -> Option<FirstLayout> {
        let [first, second] = &self.seal_keys[..] else {
            return None;
        };
        let is_retired = first.retired_at_ms.or(second.retired_at_ms).is_some();
        (!is_retired).then(|| FirstLayout {
            pepper: self.pepper.clone(),
            seal_keys: [first, second].map(|key| (key.id, key.key.clone())),
        })
    }

    /// Opens an envelope. `None` when it was made under another key or was changed.
    pub(crate) fn from_envelope(envelope: &[u8], key: &Secret) -> Option<Self> {
        if let Some(keyring) = open::<Self>(envelope, key, LAYOUT) {
            return Some(keyring).filter(|keyring| keyring.seal_keys.len() >= 2);
        }
        let first = open::<FirstLayout>(envelope, key, FIRST_LAYOUT)?;
        let seal_keys = first.seal_keys.map(|(id, key)| SealKey {
            id,
            key,
            retired_at_ms: None,
        });
        Some(Self {
            pepper: first.pepper,
            seal_keys: seal_keys.to_vec(),
        })
    }
}

fn draw(id: u8) -> Option<SealKey> {
    Some(SealKey {
        id,
        key: Secret::generate()?,
        retired_at_ms: None,
    })
}

fn open<T: DeserializeOwned>(envelope: &[u8], key: &Secret, layout: &[u8]) -> Option<T> {
    let (nonce, text) = envelope.split_first_chunk::<NONCE_BYTES>()?;
    let mut text = zeroize::Zeroizing::new(text.to_vec());
    let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, key.expose()).ok()?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let plain = key
        .open_in_place(nonce, Aad::from(layout), &mut text)
        .ok()?;
    let config = bincode::config::standard();
    let (opened, used) = bincode::serde::decode_from_slice(plain, config).ok()?;
    (used == plain.len()).then_some(opened)
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

    /// Ids of the keys in their order, and which are retired.
    fn ids(keyring: &Keyring) -> Vec<(u8, bool)> {
        let keys = keyring.seal_keys().iter();
        keys.map(|key| (key.id, key.retired_at_ms.is_some()))
            .collect()
    }

    #[test]
    fn a_rotation_seals_with_the_key_that_waited_and_keeps_the_old_one() {
        let first = Keyring::generate().unwrap();
        let second = first.rotated(1_000, 500).unwrap();
        assert_eq!(ids(&second), [(2, false), (3, false), (1, true)]);
        assert_eq!(second.seal_keys()[0], first.seal_keys()[1]);
        assert_eq!(second.pepper(), first.pepper());
        let third = second.rotated(1_400, 500).unwrap();
        assert_eq!(ids(&third), [(3, false), (4, false), (2, true), (1, true)]);
        // What the first key sealed is too old to matter, and its number is free again.
        let fourth = third.rotated(1_500, 500).unwrap();
        assert_eq!(ids(&fourth), [(4, false), (5, false), (3, true), (2, true)]);
        let fifth = fourth.rotated(9_000, 500).unwrap();
        assert_eq!(ids(&fifth), [(5, false), (1, false), (4, true)]);
    }

    #[test]
    fn whoever_rotates_too_often_is_told() {
        let mut keyring = Keyring::generate().unwrap();
        for n in 0..14 {
            keyring = keyring.rotated(n, 1_000).unwrap();
        }
        assert_eq!(keyring.rotated(20, 1_000), Err(RotationError::TooOften));
        assert!(keyring.rotated(5_000, 1_000).is_ok());
    }

    #[test]
    fn a_rotated_keyring_comes_back_from_its_envelope() {
        let key = Secret::generate().unwrap();
        let rotated = Keyring::generate().unwrap().rotated(1, 10).unwrap();
        let envelope = rotated.to_envelope(&key).unwrap();
        assert_eq!(Keyring::from_envelope(&envelope, &key), Some(rotated));
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let keyring = Keyring::generate().unwrap();
        assert!(!format!("{keyring:?}").contains(&format!("{:?}", keyring.pepper().expose())));
    }
}
