//! SHA-256 as a Merkle tree uses it (RFC 6962, section 2.1; RFC 9162, section 2.1.1).

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use serde::{Deserialize, Serialize};

/// A SHA-256 hash. Shown in hex.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Length in bytes.
    pub const BYTES: usize = 32;

    /// Hash of `bytes` as they are.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::taken(&digest::digest(&SHA256, bytes))
    }

    /// Takes over 32 bytes; `None` for any other number of them.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads 64 lower-case hex digits.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let (pairs, rest) = text.as_chunks::<2>();
        if pairs.len() != Self::BYTES || !rest.is_empty() {
            return None;
        }
        let mut bytes = [0; Self::BYTES];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(Self(bytes))
    }

    /// 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(&self) -> [u8; 64] {
        const BEHIND_NINE: u8 = b'a' - b'9' - 1;
        let mut text = [0; 64];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [byte >> 4, byte & 15];
        }
        // Without a table, so that many digits are made at once.
        for digit in &mut text {
            let letter = if *digit > 9 { BEHIND_NINE } else { 0 };
            *digit += b'0' + letter;
        }
        text
    }

    fn taken(digest: &digest::Digest) -> Self {
        // SHA-256 has 32 bytes; another length would be another algorithm, and its hash matches nothing.
        Self::from_slice(digest.as_ref()).unwrap_or_default()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands before a leaf when it is hashed, so that no leaf can be taken for a node (RFC 6962, section 2.1).
pub(crate) const LEAF_TAG: u8 = 0;

/// `SHA256(0x00 || line)` (RFC 6962, section 2.1).
///
/// Where many lines lie one behind the other, the tag before each and [`Hash::of`] cost less.
#[must_use]
pub fn leaf_hash(line: &[u8]) -> Hash {
    // Nearly all lines are short, and to copy one costs less than a digest that takes two parts.
    let mut tagged = [LEAF_TAG; 1 + SHORT_BYTES_MAX];
    if let Some(room) = tagged.get_mut(1..=line.len()) {
        room.copy_from_slice(line);
        return Hash::of(&tagged[..=line.len()]);
    }
    let mut context = digest::Context::new(&SHA256);
    context.update(&[LEAF_TAG]);
    context.update(line);
    Hash::taken(&context.finish())
}

/// Longest line that [`leaf_hash`] copies, in bytes.
const SHORT_BYTES_MAX: usize = 1023;

/// `SHA256(0x01 || left || right)` (RFC 6962, section 2.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 1 + 2 * Hash::BYTES];
    bytes[1..=Hash::BYTES].copy_from_slice(&left.0);
    bytes[1 + Hash::BYTES..].copy_from_slice(&right.0);
    Hash::of(&bytes)
}

/// Root of a tree without leaves: the hash of nothing (RFC 6962, section 2.1).
#[must_use]
pub fn empty_root() -> Hash {
    Hash::of(&[])
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_comes_back() {
        let hash = Hash::of(b"x");
        assert_eq!(Hash::from_hex(&hash.to_hex()), Some(hash));
        assert_eq!(hash.to_string().as_bytes(), hash.to_hex());
    }

    #[test]
    fn the_length_of_a_leaf_makes_no_difference_to_how_it_is_hashed() {
        for length in [0, 1, SHORT_BYTES_MAX, SHORT_BYTES_MAX + 1, 4096] {
            let tagged = vec![LEAF_TAG; 1 + length];
            assert_eq!(leaf_hash(&tagged[1..]), Hash::of(&tagged), "{length}");
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let hex = Hash::of(b"x").to_hex();
        assert_eq!(Hash::from_hex(&hex[..63]), None);
        assert_eq!(Hash::from_hex(&hex[..62]), None);
        assert_eq!(Hash::from_hex(&hex.to_ascii_uppercase()), None);
    }
}
