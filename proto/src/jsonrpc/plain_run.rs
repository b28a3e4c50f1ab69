//! The inner loop of reading strings: how far nothing special stands.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Words looked at one by one before blocks are tried: most strings are short.
const WORDS_BEFORE_BLOCKS: usize = 4;

/// Block in which LLVM compares with whole vector registers.
const BLOCK: usize = 64;

/// Offset of the first `"`, `\` or control character in `bytes` from `at` on, or the length.
pub(super) fn plain_run(bytes: &[u8], mut at: usize) -> usize {
    loop {
        for _ in 0..WORDS_BEFORE_BLOCKS {
            let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) else {
                return tail(bytes, at);
            };
            let marks = specials(u64::from_le_bytes(*word));
            if marks != 0 {
                return at + marks.trailing_zeros() as usize / 8;
            }
            at += 8;
        }
        while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>)
            && !has_special(block)
        {
            at += BLOCK;
        }
    }
}

fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

fn tail(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let run = rest.iter().position(|&byte| is_special(byte));
    at + run.unwrap_or(rest.len())
}

/// Without an early exit, so that it becomes a few vector comparisons.
fn has_special(block: &[u8; BLOCK]) -> bool {
    block
        .iter()
        .fold(0_u8, |found, &byte| found | u8::from(is_special(byte)))
        != 0
}

/// Top bit of every special byte, exact up to and including the lowest one: a subtraction borrows only from
/// bytes above a byte that is special itself (Lamport, "Multiple byte processing with full-word instructions").
fn specials(word: u64) -> u64 {
    let equals = |byte: u8| {
        let x = word ^ (LOW * u64::from(byte));
        x.wrapping_sub(LOW) & !x
    };
    let control = word.wrapping_sub(LOW * 0x20) & !word;
    (equals(b'"') | equals(b'\\') | control) & HIGH
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
            at in 0_usize..8,
        ) {
            let at = at.min(bytes.len());
            let slow = bytes[at..].iter().position(|&b| is_special(b));
            prop_assert_eq!(plain_run(&bytes, at), at + slow.unwrap_or(bytes.len() - at));
        }
    }

    #[test]
    fn every_byte_at_every_place_is_judged_alone() {
        for byte in 0..=u8::MAX {
            for place in 0..100 {
                let mut bytes = [b'x'; 100];
                bytes[place] = byte;
                let expected = if is_special(byte) { place } else { 100 };
                assert_eq!(plain_run(&bytes, 0), expected, "{byte:#x} at {place}");
            }
        }
    }
}
