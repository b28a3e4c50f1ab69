//! Bodies of records of the log. Only this node reads them: bincode behind a version byte.
//!
//! Long ones are compressed. Nearly all of a log are batches of audit records, which are much alike, and the store
//! writes every byte more than once: as a change, and again whenever the leaf that holds it is split or joined.

use std::io;

use lz4_flex::block;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The value as it is.
const PLAIN: u8 = 1;
/// Length of the value as u32, little-endian, and an LZ4 block of it.
const COMPRESSED: u8 = 2;
/// Values that are shorter stay as they are.
const COMPRESSED_FROM: usize = 1 << 10;
/// No byte of an LZ4 block stands for more.
const RATIO_MAX: usize = 255;

pub(super) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut plain = vec![PLAIN];
    bincode::serde::encode_into_std_write(value, &mut plain, bincode::config::standard())
        .map_err(io::Error::other)?;
    if plain.len() <= COMPRESSED_FROM {
        return Ok(plain);
    }
    let packed = block::compress_prepend_size(&plain[1..]);
    if packed.len() >= plain.len() {
        return Ok(plain);
    }
    let mut compressed = Vec::with_capacity(1 + packed.len());
    compressed.push(COMPRESSED);
    compressed.extend_from_slice(&packed);
    Ok(compressed)
}

/// `None` when it is something that this program cannot read.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match bytes.split_first()? {
        (&PLAIN, value) => read(value),
        (&COMPRESSED, packed) => {
            let (length, block) = packed.split_first_chunk()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            // Room is made before anything is read.
            if length > block.len().saturating_mul(RATIO_MAX) {
                return None;
            }
            let value = block::decompress(block, length).ok()?;
            (value.len() == length).then(|| read(&value))?
        }
        _ => None,
    }
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    let (read, used) =
        bincode::serde::decode_from_slice(value, bincode::config::standard()).ok()?;
    (used == value.len()).then_some(read)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bodies_keep_their_bytes() {
        assert_eq!(encode(&"abc").unwrap(), b"\x01\x03abc");
        let alike = "x".repeat(2000);
        let body = encode(&alike).unwrap();
        // Three bytes of length and the text, of which one byte stands for all that follow it.
        assert_eq!(body[..5], [COMPRESSED, 0xd3, 0x07, 0, 0]);
        assert!(body.len() < 40, "{body:?}");
        assert_eq!(decode(&body), Some(alike));
    }

    #[test]
    fn what_does_not_get_shorter_stays_as_it_is() {
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let noise: Vec<u8> = noise.take(5000).collect();
        let body = encode(&noise).unwrap();
        assert_eq!(body[0], PLAIN);
        assert_eq!(decode(&body), Some(noise));
    }

    #[test]
    fn a_long_body_of_the_first_version_is_read() {
        let text = "x".repeat(2000);
        let mut plain = vec![PLAIN];
        let config = bincode::config::standard();
        bincode::serde::encode_into_std_write(&text, &mut plain, config).unwrap();
        assert_eq!(decode(&plain), Some(text));
    }

    #[test]
    fn a_length_that_no_block_can_have_is_refused() {
        let mut body = encode(&"x".repeat(2000)).unwrap();
        for length in [0, 2002, 2004, u32::MAX] {
            body[1..5].copy_from_slice(&length.to_le_bytes());
            assert_eq!(decode::<String>(&body), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn whatever_was_encoded_comes_back(piece: Vec<u8>, times in 0_usize..200) {
            let value = piece.repeat(times);
            prop_assert_eq!(decode(&encode(&value).unwrap()), Some(value));
        }

        #[test]
        fn other_bytes_are_refused_and_do_no_harm(version in 0_u8..4, bytes: Vec<u8>) {
            let body = [&[version], &bytes[..]].concat();
            let _value = decode::<Vec<u8>>(&body);
        }
    }
}
