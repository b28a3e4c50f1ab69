//! Sealed texts: session ids, cursors and states that a client carries and only this cluster can have made.
//!
//! Layout before base64url: version (1 byte), key id (1), nonce (12), ciphertext, tag (16). Version and key id are part
//! of the additional data. What a text is bound to (what it is for, and for whom) says nobody who does not know it: in
//! version 1 it is additional data, too; in version 2 its SHA-256 stands before the content. So a text of version 2 is
//! known for one of ours by whoever has the key, also where it is of no use. Nodes of the version before know version 1
//! alone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{self, SHA256, SHA256_OUTPUT_LEN};
use aws_lc_rs::rand;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lockgate_cluster::{Keyring, SealKey};
use lockgate_proto::peer::compat::Formats;
use smallvec::SmallVec;

/// What a text is bound to is additional data.
const BOUND: u8 = 1;
/// A digest of it stands inside.
const INSIDE: u8 = 2;
/// Format of what crosses nodes from which on all of them open [`INSIDE`].
const INSIDE_SINCE: u32 = 2;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 2;
/// Longest additional data that is put together without an allocation.
const AAD_BYTES_INLINE: usize = 128;
/// Texts whose bytes are no more than this are opened without an allocation.
const TEXT_BYTES_INLINE: usize = 256;
/// Contents up to this size are opened without an allocation.
pub const SEALED_BYTES_INLINE: usize = 64;

/// Bits of a nonce that count what this sealer has sealed; the others are drawn at random when it is made.
///
/// A key must never see a nonce twice. Random nonces would collide with a chance of 2^-32 after 2^32 texts. This way one
/// sealer never repeats itself (44 bits last for 200 days at a million texts a second), and two of them, of other nodes
/// or other lives of this one, draw the same start with a chance of 2^-52.
const NONCE_COUNTER_BITS: u32 = 44;

/// Seals and opens with the keys of the cluster's keyring, prepared once.
pub struct Sealer {
    keys: ArcSwap<Vec<Prepared>>,
    nonce_start: u128,
    n_sealed: AtomicU64,
    /// All nodes open [`INSIDE`].
    is_inside: AtomicBool,
}

struct Prepared {
    id: u8,
    key: LessSafeKey,
}

impl Sealer {
    /// Prepares all live keys. `None` when the system's random generator has failed.
    pub fn new(keyring: &Keyring) -> Option<Self> {
        let keys = prepare_all(keyring)?;
        let mut start = [0; 16];
        rand::fill(&mut start[4..]).ok()?;
        let nonce_start = u128::from_be_bytes(start) >> NONCE_COUNTER_BITS << NONCE_COUNTER_BITS;
        Some(Self {
            keys: ArcSwap::from_pointee(keys),
            nonce_start,
            n_sealed: AtomicU64::new(0),
            is_inside: AtomicBool::new(true),
        })
    }

    /// Seals and opens with the keys of this keyring from now on. `false` when they cannot be used; then nothing
    /// changes.
    pub fn replace(&self, keyring: &Keyring) -> bool {
        let keys = prepare_all(keyring);
        let usable = keys.is_some();
        if let Some(keys) = keys {
            self.keys.store(Arc::new(keys));
        }
        usable
    }

    /// Seals from now on as all nodes understand it that `formats` are common to. Older texts are opened all the same.
    pub fn speak(&self, formats: Formats) {
        let all_know = formats.wire >= INSIDE_SINCE;
        self.is_inside.store(all_know, Ordering::Relaxed);
    }

    /// Encrypts `plain` and binds it to `to`: visible ASCII, base64url.
    pub fn seal(&self, to: &[u8], plain: &[u8]) -> String {
        let keys = self.keys.load();
        // A keyring without keys is refused when it is prepared.
        let Some(Prepared { id, key }) = keys.first() else {
            return String::new();
        };
        let version = match self.is_inside.load(Ordering::Relaxed) {
            true => INSIDE,
            false => BOUND,
        };
        let nonce = self.next_nonce();
        let mut sealed: SmallVec<[u8; 256]> = SmallVec::new();
        sealed.extend_from_slice(&[version, *id]);
        sealed.extend_from_slice(&nonce);
        if version == INSIDE {
            sealed.extend_from_slice(digest::digest(&SHA256, to).as_ref());
        }
        sealed.extend_from_slice(plain);
        let body = &mut sealed[HEADER_BYTES + NONCE_LEN..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(additional(version, *id, to));
        // AES-GCM refuses nothing below 64 GiB. What could not be sealed must not leave in the clear: an empty text
        // opens nowhere.
        let Ok(tag) = key.seal_in_place_separate_tag(nonce, aad, body) else {
            return String::new();
        };
        sealed.extend_from_slice(tag.as_ref());
        BASE64_URL_SAFE_NO_PAD.encode(&sealed)
    }

    fn next_nonce(&self) -> [u8; NONCE_LEN] {
        let count = self.n_sealed.fetch_add(1, Ordering::Relaxed) & ((1 << NONCE_COUNTER_BITS) - 1);
        let [_, _, _, _, nonce @ ..] = (self.nonce_start | u128::from(count)).to_be_bytes();
        nonce
    }

    /// Decrypts what [`Sealer::seal`] made and bound to the same. `None` for anything else.
    pub fn open(&self, to: &[u8], text: &str) -> Option<SmallVec<[u8; SEALED_BYTES_INLINE]>> {
        self.decrypt(to, text, |version, plain| {
            if version == BOUND {
                return Some(SmallVec::from_slice(plain));
            }
            let (bound, plain) = plain.split_first_chunk::<SHA256_OUTPUT_LEN>()?;
            (digest::digest(&SHA256, to).as_ref() == bound).then(|| SmallVec::from_slice(plain))
        })
    }

    /// Whether a text was sealed by this cluster, whatever it is bound to. One of version 1 does not tell.
    pub fn is_own(&self, text: &str) -> bool {
        let found = self.decrypt(&[], text, |version, _| (version == INSIDE).then_some(()));
        found.is_some()
    }

    /// What `read` makes of the version and the plain text.
    fn decrypt<T>(
        &self,
        to: &[u8],
        text: &str,
        read: impl FnOnce(u8, &[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut inline = [0; TEXT_BYTES_INLINE];
        let mut long = Vec::new();
        let room = match inline.get_mut(..base64::decoded_len_estimate(text.len())) {
            Some(room) => room,
            None => {
                long.resize(base64::decoded_len_estimate(text.len()), 0);
                &mut long
            }
        };
        let length = BASE64_URL_SAFE_NO_PAD.decode_slice(text, room).ok()?;
        let sealed = room.get_mut(..length)?;
        let (&mut [version, id], rest) = sealed.split_first_chunk_mut::<HEADER_BYTES>()?;
        let (nonce, body) = rest.split_first_chunk_mut::<NONCE_LEN>()?;
        if !matches!(version, BOUND | INSIDE) || body.len() < TAG_BYTES {
            return None;
        }
        let keys = self.keys.load();
        let Prepared { key, .. } = keys.iter().find(|prepared| prepared.id == id)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(additional(version, id, to));
        let plain = key.open_in_place(nonce, aad, body).ok()?;
        read(version, plain)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

fn prepare_all(keyring: &Keyring) -> Option<Vec<Prepared>> {
    let keys: Option<Vec<Prepared>> = keyring.seal_keys().iter().map(prepare).collect();
    keys.filter(|keys| !keys.is_empty())
}

fn prepare(seal_key: &SealKey) -> Option<Prepared> {
    let key = UnboundKey::new(&AES_256_GCM, seal_key.key.expose()).ok()?;
    Some(Prepared {
        id: seal_key.id,
        key: LessSafeKey::new(key),
    })
}

/// Additional data of a text of this version that is bound to `to`.
fn additional(version: u8, key_id: u8, to: &[u8]) -> SmallVec<[u8; AAD_BYTES_INLINE]> {
    let mut data = SmallVec::new();
    data.extend_from_slice(&[version, key_id]);
    if version == BOUND {
        data.extend_from_slice(to);
    }
    data
}

#[cfg(test)]
mod tests {
    use lockgate_proto::peer::compat::OURS;
    use proptest::prelude::*;

    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&Keyring::generate().unwrap()).unwrap()
    }

    #[test]
    fn what_was_sealed_before_and_after_a_rotation_opens_on_nodes_that_know_of_it_and_that_do_not()
    {
        let before = Keyring::generate().unwrap();
        let after = before.rotated(1, 1_000).unwrap();
        let (late, early) = (Sealer::new(&before).unwrap(), Sealer::new(&before).unwrap());
        assert!(early.replace(&after));
        let texts = [late.seal(b"aad", b"old"), early.seal(b"aad", b"new")];
        for sealer in [&late, &early] {
            let opened = texts.each_ref().map(|text| sealer.open(b"aad", text));
            assert_eq!(opened[0].as_deref(), Some(&b"old"[..]));
            assert_eq!(opened[1].as_deref(), Some(&b"new"[..]));
        }
        let mut keyring = after;
        for n in 2..4 {
            keyring = keyring.rotated(n * 10_000, 1_000).unwrap();
        }
        assert!(early.replace(&keyring));
        assert_eq!(early.open(b"aad", &texts[0]), None, "its key is gone");
    }

    #[test]
    fn a_text_of_another_cluster_does_not_open() {
        let text = sealer().seal(b"aad", b"plain");
        assert_eq!(sealer().open(b"aad", &text), None);
        assert!(!sealer().is_own(&text));
    }

    #[test]
    fn before_all_nodes_know_the_new_version_the_old_one_is_sealed_and_both_are_opened() {
        let keyring = Keyring::generate().unwrap();
        let [new, other] = [(); 2].map(|()| Sealer::new(&keyring).unwrap());
        let version = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()[0];
        let before = Formats {
            wire: INSIDE_SINCE - 1,
            ..OURS
        };
        new.speak(before);
        let old = new.seal(b"to", b"plain");
        assert_eq!(version(&old), BOUND);
        new.speak(OURS);
        let text = new.seal(b"to", b"plain");
        assert_eq!(version(&text), INSIDE);
        other.speak(before);
        for sealer in [&new, &other] {
            assert_eq!([&old, &text].map(|text| sealer.is_own(text)), [false, true]);
            for text in [&old, &text] {
                assert_eq!(sealer.open(b"to", text).as_deref(), Some(&b"plain"[..]));
                assert_eq!(sealer.open(b"another", text), None);
            }
        }
    }

    #[test]
    fn a_text_of_the_version_before_is_opened() {
        // Key and text of a program that knew no other: what is given out before an upgrade is good after it.
        let keyring = Keyring::generate().unwrap();
        let [SealKey { id, key, .. }, ..] = keyring.seal_keys() else {
            panic!("a keyring has a key")
        };
        let key = UnboundKey::new(&AES_256_GCM, key.expose()).unwrap();
        let mut body = b"plain".to_vec();
        let aad = Aad::from([&[1, *id], &b"to"[..]].concat());
        let nonce = Nonce::assume_unique_for_key([7; NONCE_LEN]);
        let key = LessSafeKey::new(key);
        key.seal_in_place_append_tag(nonce, aad, &mut body).unwrap();
        let text = BASE64_URL_SAFE_NO_PAD.encode([&[1, *id], &[7; NONCE_LEN][..], &body].concat());
        let opened = Sealer::new(&keyring).unwrap().open(b"to", &text);
        assert_eq!(opened.as_deref(), Some(&b"plain"[..]));
    }

    #[test]
    fn the_same_content_never_looks_the_same() {
        let sealer = sealer();
        assert_ne!(sealer.seal(b"", b"x"), sealer.seal(b"", b"x"));
    }

    #[test]
    fn no_nonce_comes_twice() {
        let sealer = sealer();
        let nonces: std::collections::HashSet<_> =
            (0..1_000).map(|_| sealer.next_nonce()).collect();
        assert_eq!(nonces.len(), 1_000);
        assert_ne!(sealer.nonce_start, self::sealer().nonce_start);
    }

    proptest! {
        #[test]
        fn only_the_whole_text_opens_and_only_for_its_aad(
            aad: Vec<u8>, plain: Vec<u8>, at: prop::sample::Index, by in 1_u8..64, wire in 1..=INSIDE_SINCE,
        ) {
            let sealer = sealer();
            sealer.speak(Formats { wire, ..OURS });
            let text = sealer.seal(&aad, &plain);
            sealer.speak(OURS);
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(sealer.open(&aad, &text).map(SmallVec::into_vec), Some(plain));

            prop_assert_eq!(sealer.is_own(&text), wire >= INSIDE_SINCE);

            prop_assert_eq!(sealer.open(&[&aad[..], b"x"].concat(), &text), None);
            let at = at.index(text.len());
            prop_assert_eq!(sealer.open(&aad, &text[..at]), None);
            prop_assert!(!sealer.is_own(&text[..at]));
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let mut changed = text.into_bytes();
            let digit = alphabet.iter().position(|b| *b == changed[at]).unwrap();
            changed[at] = alphabet[(digit + usize::from(by)) % 64];
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(sealer.open(&aad, &changed), None);
            prop_assert!(!sealer.is_own(&changed));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            prop_assert_eq!(sealer().open(b"", &text), None);
            prop_assert!(!sealer().is_own(&text));
        }
    }
}
