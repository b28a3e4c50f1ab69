//! The inner loop of reading strings: where something special stands.

use wide::u8x16;

/// Which of the next bytes are `"`, `\` or control characters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Bit 0 stands for the first byte.
    pub(super) marks: u64,
    /// Bytes that were looked at.
    pub(super) len: usize,
    /// Whether the text ends with them.
    pub(super) is_last: bool,
}

impl Block {
    /// Bytes that [`Self::long`] looks at, where the text has as many.
    pub(super) const LONG: usize = 64;

    /// Looks at 32 bytes from `at` on: most strings of a message, keys above all, are shorter.
    pub(super) fn short(bytes: &[u8], at: usize) -> Self {
        Self::of::<32>(bytes, at)
    }

    /// Looks at 64 bytes from `at` on.
    pub(super) fn long(bytes: &[u8], at: usize) -> Self {
        Self::of::<{ Self::LONG }>(bytes, at)
    }

    fn of<const N: usize>(bytes: &[u8], at: usize) -> Self {
        let rest = bytes.get(at..).unwrap_or_default();
        if let Some(block) = rest.first_chunk::<N>() {
            return Self {
                marks: marks(block),
                len: N,
                is_last: false,
            };
        }
        let marks = match bytes.last_chunk::<N>() {
            // The last whole block of the text ends where the rest ends; what stands before the rest is shifted out.
            Some(block) => {
                let before = u32::try_from(N - rest.len()).unwrap_or(u32::MAX);
                marks(block).checked_shr(before).unwrap_or(0)
            }
            None => marks_of_few(rest),
        };
        Self {
            marks,
            len: rest.len(),
            is_last: true,
        }
    }
}

/// Offset of the first `"`, `\` or control character in `bytes` from `at` on, or the length.
pub(super) fn plain_run(bytes: &[u8], mut at: usize) -> usize {
    let mut block = Block::short(bytes, at);
    loop {
        if block.marks != 0 {
            return at + block.marks.trailing_zeros() as usize;
        }
        if block.is_last {
            return bytes.len();
        }
        at = skip_plain(bytes, at + block.len);
        block = Block::long(bytes, at);
    }
}

/// Offset from `at` on at which to look for marks, for a text that has had none for a while: whole rows of blocks without
/// one are passed over.
fn skip_plain(bytes: &[u8], mut at: usize) -> usize {
    const ROW: usize = 128;
    while let Some(row) = bytes.get(at..).and_then(<[u8]>::first_chunk::<ROW>) {
        let (halves, _) = row.as_chunks();
        let specials = halves
            .iter()
            .fold(u8x16::ZERO, |found, half| found | specials(*half));
        if specials.any() {
            break;
        }
        at += ROW;
    }
    at
}

fn marks<const N: usize>(block: &[u8; N]) -> u64 {
    let (halves, _) = block.as_chunks();
    let mark = |marks, half: &[u8; 16]| marks << 16 | u64::from(specials(*half).to_bitmask());
    halves.iter().rev().fold(0, mark)
}

fn specials(half: [u8; 16]) -> u8x16 {
    let bytes = u8x16::new(half);
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    let quote = bytes.simd_eq(u8x16::splat(b'"'));
    let escape = bytes.simd_eq(u8x16::splat(b'\\'));
    control | quote | escape
}

/// Of a text that is shorter than one block.
fn marks_of_few(bytes: &[u8]) -> u64 {
    let bit = |(at, &byte): (usize, &u8)| u64::from(is_special(byte)) << at;
    bytes.iter().take(64).enumerate().map(bit).sum()
}

fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_plain_loop_finds(
            bytes in proptest::collection::vec(prop_oneof![
                20 => 0x20_u8..,
                1 => any::<u8>(),
            ], 0..400),
            at in 0_usize..80,
        ) {
            let at = at.min(bytes.len());
            let slow = bytes[at..].iter().position(|&b| is_special(b));
            prop_assert_eq!(plain_run(&bytes, at), at + slow.unwrap_or(bytes.len() - at));
        }

        #[test]
        fn a_block_marks_every_special_byte_and_no_other(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..200,
        ) {
            let at = at.min(bytes.len());
            for (block, len) in [(Block::short(&bytes, at), 32), (Block::long(&bytes, at), 64)] {
                prop_assert_eq!(block.len, (bytes.len() - at).min(len));
                prop_assert_eq!(block.is_last, bytes.len() - at < len);
                for (offset, byte) in bytes[at..].iter().take(len).enumerate() {
                    prop_assert_eq!(block.marks >> offset & 1 == 1, is_special(*byte));
                }
                prop_assert!(block.len == 64 || block.marks >> block.len == 0);
            }
        }
    }
}
