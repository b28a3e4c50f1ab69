//! HMAC beside each record: it guards the second that no checkpoint covers yet.
//!
//! Keys rotate. Which key may guard which records is fixed by the log itself, in its genesis and in the records of
//! rotations: a verifier that let any known key guard any record would accept what the holder of a retired one forges
//! (CVE-2023-31439).

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use super::guard::Mark;
use super::hash::Hash;
use crate::secret::Secret;

const MAC_DOMAIN: &[u8] = b"lockgate-audit-mac/v1\n";

/// HMAC-SHA256 of one record's place and chain hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 32]);

/// One MAC key, ready for use. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct MacKey {
    id: u32,
    key: hmac::Key,
}

impl MacKey {
    /// Prepares the key `secret` under its id.
    #[must_use]
    pub fn new(id: u32, secret: &Secret) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        Self { id, key }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// `HMAC-SHA256(key, "lockgate-audit-mac/v1\n" || u32be(id) || u64be(seq) || chain)`, where `chain` is the chain
    /// hash after the record `seq`.
    #[must_use]
    pub fn sign(&self, seq: u64, chain: &Hash) -> Mac {
        let tag = hmac::sign(&self.key, &message(self.id, seq, chain));
        // HMAC-SHA256 has 32 bytes; another length would be another algorithm, and its tag matches nothing.
        Mac(tag.as_ref().try_into().unwrap_or_default())
    }

    /// Whether `mac` is the one of the record `seq`, compared in constant time.
    #[must_use]
    pub fn verify(&self, seq: u64, chain: &Hash, mac: &Mac) -> bool {
        hmac::verify(&self.key, &message(self.id, seq, chain), &mac.0).is_ok()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacKey({})", self.id)
    }
}

/// MAC keys by id: the one in use, and retired ones for verification.
#[derive(Clone, Debug, Default)]
pub struct MacKeys {
    keys: BTreeMap<u32, MacKey>,
}

impl MacKeys {
    /// Key with this id.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&MacKey> {
        self.keys.get(&id)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Adds a key.
    pub(super) fn add(&mut self, key: MacKey) {
        self.keys.insert(key.id, key);
    }
}

impl FromIterator<MacKey> for MacKeys {
    fn from_iter<I: IntoIterator<Item = MacKey>>(keys: I) -> Self {
        let keys = keys.into_iter().map(|key| (key.id, key)).collect();
        Self { keys }
    }
}

/// Which MAC key may guard which records. A new key has a larger id than all before it and begins with the record
/// behind the one that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRanges {
    /// First record and key id, in the order of both.
    starts: Vec<(u64, u32)>,
    /// Of keys that follow from a secret of the operator, by id: which one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    guards: BTreeMap<u32, Mark>,
}

impl KeyRanges {
    /// One key from `seq` on.
    #[must_use]
    pub fn starting(seq: u64, id: u32) -> Self {
        Self {
            starts: vec![(seq, id)],
            guards: BTreeMap::new(),
        }
    }

    /// Takes over ranges that were stored: first record and key id, and from which secrets keys follow. `None` when they
    /// are empty or out of order.
    #[must_use]
    pub fn from_parts(starts: Vec<(u64, u32)>, guards: BTreeMap<u32, Mark>) -> Option<Self> {
        let ordered = starts.is_sorted_by(|a, b| a.0 <= b.0 && a.1 < b.1);
        (ordered && !starts.is_empty()).then_some(Self { starts, guards })
    }

    /// First record and key id of each range.
    #[must_use]
    pub fn starts(&self) -> &[(u64, u32)] {
        &self.starts
    }

    /// Id of the key that guards the record `seq`; before all ranges that of the first.
    #[must_use]
    pub fn at(&self, seq: u64) -> u32 {
        let after = self.starts.partition_point(|(start, _)| *start <= seq);
        self.starts
            .get(after.saturating_sub(1))
            .map_or(0, |(_, id)| *id)
    }

    /// Id of the key in use.
    #[must_use]
    pub fn current(&self) -> u32 {
        self.starts.last().map_or(0, |(_, id)| *id)
    }

    /// Secret from which the key `id` follows; `None` when that is the keyring.
    #[must_use]
    pub fn guard(&self, id: u32) -> Option<&Mark> {
        self.guards.get(&id)
    }

    /// Lets `id`, which follows from the secret `guard` or from the keyring, begin with the record `seq`. `false`, and no
    /// change, unless it is larger than every id before it.
    #[must_use]
    pub fn rotate(&mut self, seq: u64, id: u32, guard: Option<Mark>) -> bool {
        let fits = self
            .starts
            .last()
            .is_none_or(|(start, last)| *last < id && *start <= seq);
        if fits {
            self.starts.push((seq, id));
            self.guards.extend(guard.map(|guard| (id, guard)));
        }
        fits
    }
}

fn message(id: u32, seq: u64, chain: &Hash) -> [u8; MAC_DOMAIN.len() + 4 + 8 + 32] {
    const DOMAIN: usize = MAC_DOMAIN.len();
    let mut bytes = [0; DOMAIN + 4 + 8 + 32];
    bytes[..DOMAIN].copy_from_slice(MAC_DOMAIN);
    bytes[DOMAIN..DOMAIN + 4].copy_from_slice(&id.to_be_bytes());
    bytes[DOMAIN + 4..DOMAIN + 12].copy_from_slice(&seq.to_be_bytes());
    bytes[DOMAIN + 12..].copy_from_slice(&chain.0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> MacKey {
        MacKey::new(id, &Secret::from_bytes([3; 32]))
    }

    // Made with Python's hmac from the formula above.
    #[test]
    fn a_mac_has_the_bytes_of_its_format() {
        let mac = key(2).sign(9, &Hash([7; 32]));
        assert_eq!(
            Hash(mac.0).to_string(),
            "d376a25cc1f5059d490a64df17ac7be6ae06339b7d044609f6c5661385830e89"
        );
    }

    #[test]
    fn id_place_and_chain_all_count() {
        let chain = Hash([7; 32]);
        let mac = key(2).sign(9, &chain);
        assert!(key(2).verify(9, &chain, &mac));
        assert!(!key(3).verify(9, &chain, &mac));
        assert!(!key(2).verify(8, &chain, &mac));
        assert!(!key(2).verify(9, &Hash([8; 32]), &mac));
    }

    #[test]
    fn a_key_guards_the_records_behind_its_rotation_only() {
        let mut ranges = KeyRanges::starting(0, 1);
        assert!(ranges.rotate(10, 2, None));
        assert_eq!((ranges.at(0), ranges.at(9), ranges.at(10)), (1, 1, 2));
        assert_eq!(ranges.current(), 2);
    }

    #[test]
    fn a_key_that_was_used_does_not_come_back() {
        let mut ranges = KeyRanges::starting(0, 4);
        assert!(!ranges.rotate(10, 4, None) && !ranges.rotate(10, 3, None));
        assert!(ranges.rotate(10, 9, Some(Mark([1; 32]))));
        assert!(!ranges.rotate(9, 10, None));
        assert_eq!(
            (ranges.guard(4), ranges.guard(9)),
            (None, Some(&Mark([1; 32])))
        );
        assert_eq!(
            KeyRanges::from_parts(ranges.starts().to_vec(), ranges.guards.clone()),
            Some(ranges)
        );
        let backwards = vec![(0, 2), (4, 1)];
        assert_eq!(KeyRanges::from_parts(backwards, BTreeMap::new()), None);
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", key(2)), "MacKey(2)");
    }
}
