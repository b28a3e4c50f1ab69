//! Passes over what stands inside of a long string, 64 bytes at a time and without a jump for each escape.
//!
//! Which bytes are escaped is computed for a whole block at once: Langdale, Lemire, "Parsing gigabytes of JSON per
//! second", section 3.1.1. The widest vectors that the processor has are used.

use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x64};

/// Bytes looked at together: one bit of a word for each.
const BLOCK: usize = 64;

/// Every second bit, from the second on.
const ODD_BITS: u64 = 0xAAAA_AAAA_AAAA_AAAA;

/// How far a string was found to be in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// Offset of what comes next: the quote that ends the string, a fault within the next block, or less than a block
    /// of text. Never the inside of an escape.
    pub(super) at: usize,
    /// Whether an escape was passed. Says nothing when a fault comes next.
    pub(super) escaped: bool,
}

/// Passes over `bytes` from `at` on, which is inside of a string and not inside of an escape.
#[inline(never)]
pub(super) fn pass(bytes: &[u8], at: usize) -> Passed {
    dispatch!(Level::new(), simd => pass_blocks(simd, bytes, at))
}

#[inline(always)]
fn pass_blocks<S: Simd>(simd: S, bytes: &[u8], mut at: usize) -> Passed {
    let mut escaped = false;
    // 1 when the first byte of the block belongs to an escape that the block before ends with.
    let mut carry = 0;
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        let marks = match Marks::of(simd, block) {
            Some(marks) => marks,
            None if carry == 0 => {
                at += BLOCK;
                continue;
            }
            None => Marks::default(),
        };
        let (letters, next_carry) = escaped_bytes(marks.escapes, carry);
        let quotes = marks.quotes & !letters;
        // The bits below the lowest quote, or all.
        let before = (quotes & quotes.wrapping_neg()).wrapping_sub(1);
        let rare = letters & before & !(marks.quotes | marks.escapes | marks.newlines);
        if marks.controls & before != 0 || (rare != 0 && !are_letters(bytes, at, rare)) {
            break;
        }
        escaped |= marks.escapes & before != 0;
        if quotes != 0 {
            at += quotes.trailing_zeros() as usize;
            return Passed { at, escaped };
        }
        carry = next_carry;
        at += BLOCK;
    }
    // Back to the backslash.
    at -= usize::from(carry != 0);
    Passed { at, escaped }
}

/// What stands where in a block; bit 0 is its first byte.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    quotes: u64,
    escapes: u64,
    controls: u64,
    /// The letter of the most frequent escape, wherever it stands.
    newlines: u64,
}

impl Marks {
    /// `None` for a block without quotes, backslashes and control characters.
    #[inline(always)]
    fn of<S: Simd>(simd: S, block: &[u8; BLOCK]) -> Option<Self> {
        let text = u8x64::load_array_ref(simd, block);
        let equal = |byte: u8| text.simd_eq(u8x64::splat(simd, byte));
        let quotes = equal(b'"');
        let escapes = equal(b'\\');
        let controls = text.min(u8x64::splat(simd, 0x1f)).simd_eq(text);
        (quotes | escapes | controls).any_true().then(|| Self {
            quotes: quotes.to_bitmask(),
            escapes: escapes.to_bitmask(),
            controls: controls.to_bitmask(),
            newlines: equal(b'n').to_bitmask(),
        })
    }
}

/// Which bytes stand behind a backslash that is not escaped itself, and 1 if the first one after the block does.
/// `carry`: the same 1 of the block before.
///
/// A run of backslashes begins an escape with every second one. Subtracted from the odd bits behind them, runs that begin
/// at an odd place and those that begin at an even one come out as their alternating bits.
#[inline(always)]
fn escaped_bytes(backslashes: u64, carry: u64) -> (u64, u64) {
    let starts = backslashes & !carry;
    let turns = (starts << 1 | ODD_BITS).wrapping_sub(starts) ^ ODD_BITS;
    (
        turns ^ (backslashes | carry),
        (turns & backslashes) >> (BLOCK - 1),
    )
}

/// Whether each of the bytes marked in the block at `at` makes an escape with the backslash before it.
fn are_letters(bytes: &[u8], at: usize, mut marked: u64) -> bool {
    while marked != 0 {
        let letter = at + marked.trailing_zeros() as usize;
        if escape_len(bytes, letter).is_none() {
            return false;
        }
        marked &= marked - 1;
    }
    true
}

/// Length of the escape whose letter, the byte behind the backslash, stands at `at`; without the backslash. Lone
/// surrogates pass: the grammar allows them, and what we don't read we don't judge.
pub(super) fn escape_len(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(1),
        b'u' => {
            let digits = bytes.get(at + 1..at + 5)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(5)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What [`pass`] does, byte by byte: to the end of the string, a fault, or the end of the text.
    fn walk(bytes: &[u8], mut at: usize) -> (usize, bool) {
        let mut escaped = false;
        loop {
            match bytes.get(at) {
                None | Some(b'"' | ..0x20) => return (at, escaped),
                Some(b'\\') => match escape_len(bytes, at + 1) {
                    Some(len) => {
                        at += 1 + len;
                        escaped = true;
                    }
                    None => return (at, escaped),
                },
                Some(_) => at += 1,
            }
        }
    }

    /// Every set of instructions that this processor has, from the least on.
    fn levels() -> Vec<Level> {
        let mut levels = vec![Level::baseline(), Level::new()];
        #[cfg(target_arch = "x86_64")]
        {
            let best = Level::new();
            levels.extend(best.as_sse4_2().map(Level::Sse4_2));
            levels.extend(best.as_avx2().map(Level::Avx2));
        }
        levels
    }

    fn pass_at(level: Level, bytes: &[u8], at: usize) -> Passed {
        dispatch!(level, simd => pass_blocks(simd, bytes, at))
    }

    #[track_caller]
    fn check(bytes: &[u8], at: usize) {
        let (end, escaped) = walk(bytes, at);
        for level in levels() {
            let passed = pass_at(level, bytes, at);
            assert!(passed.at <= end, "{passed:?} {end}");
            // What is left leads to the same end, from outside of any escape.
            let (rest_end, rest_escaped) = walk(bytes, passed.at);
            assert_eq!(rest_end, end, "{passed:?}");
            if bytes.get(end) == Some(&b'"') {
                assert_eq!(passed.escaped || rest_escaped, escaped, "{passed:?}");
            }
            // It stops where there is a reason to.
            let is_quote = bytes.get(passed.at) == Some(&b'"');
            assert!(
                passed.at == end
                    || !is_quote && end < passed.at + BLOCK + 6
                    || bytes.len() < passed.at + BLOCK + 1,
                "{passed:?} {end} of {}",
                bytes.len()
            );
        }
    }

    #[test]
    fn runs_of_backslashes_are_halved_wherever_they_stand() {
        for start in 0..70 {
            for run in 0..140 {
                let mut text = vec![b'a'; start];
                text.extend(vec![b'\\'; run]);
                text.extend_from_slice(b"n\"");
                text.extend([b'b'; 80]);
                check(&text, 0);
                let (end, _) = walk(&text, 0);
                assert_eq!(pass(&text, 0).at, end, "{run} from {start} on");
            }
        }
    }

    #[test]
    fn every_pair_is_judged_at_the_seam_of_two_blocks() {
        for start in [0, 1, 62, 63, 64, 127] {
            for letter in 0..=u8::MAX {
                let mut text = vec![b'a'; start];
                text.extend([b'\\', letter]);
                text.extend_from_slice(b"0aF9");
                text.extend([b'b'; 130]);
                check(&text, 0);
            }
        }
    }

    proptest! {
        #[test]
        fn it_passes_what_a_plain_loop_passes(
            bytes in prop::collection::vec(prop_oneof![
                12 => 0x20_u8..,
                6 => Just(b'\\'),
                4 => prop::sample::select(b"\"nu/bt".to_vec()),
                4 => prop::sample::select(b"09afAFg".to_vec()),
            ], 0..400),
            at in 0_usize..80,
        ) {
            check(&bytes, at.min(bytes.len()));
        }

        #[test]
        fn long_texts_are_passed_to_their_end(
            pieces in prop::collection::vec(prop_oneof![
                6 => "[a-z \u{e9}\u{20ac}]{0,70}",
                1 => prop::sample::select(vec!["\\n", "\\\"", "\\\\", "\\/", "\\t", "\\u00e9", "\\ud83d\\ude00"])
                    .prop_map(str::to_owned),
            ], 0..40),
            rest in "[a-z]{64,80}",
        ) {
            let text = pieces.concat();
            let bytes = [&text, "\"", &rest].concat().into_bytes();
            let escaped = text.contains('\\');
            prop_assert_eq!(pass(&bytes, 0), Passed { at: text.len(), escaped });
            check(&bytes, 0);
        }
    }
}
