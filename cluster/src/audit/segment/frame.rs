//! Frame of one record in a segment, and the header before the first.
//!
//! ```text
//! header  "LGAUDIT1"  first seq u64  chain before [32]  CRC-32 of these u32
//! frame   length u32  CRC-32 u32  key id u32  MAC [32]  line
//! ```
//!
//! Numbers are little-endian. The CRC covers seq, length, key id, MAC and line: a frame in another record's place is as
//! wrong as a flipped bit. It finds what a disk does; MAC and chain find what people do.

use crate::audit::hash::Hash;
use crate::audit::leaf::{Head, LEAF_BYTES_MAX};
use crate::audit::mac::Mac;

const MAGIC: &[u8; 8] = b"LGAUDIT1";
/// Length of the header.
pub(super) const HEADER_BYTES: usize = 8 + 8 + 32 + 4;
/// Length of a frame before its line.
pub(super) const PREFIX_BYTES: usize = 4 + 4 + 4 + 32;

/// One framed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) key_id: u32,
    pub(super) mac: Mac,
    pub(super) line: &'a [u8],
}

/// Adds the header of a segment.
pub(super) fn write_header(out: &mut Vec<u8>, first: u64, chain: &Hash) {
    let start = out.len();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&chain.0);
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// Reads the header: first seq, and chain hash before it.
pub(super) fn read_header(bytes: &[u8]) -> Result<(u64, Hash), &'static str> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err("its header is cut off");
    };
    let (fields, crc) = header.split_at(HEADER_BYTES - 4);
    if fields[..8] != *MAGIC {
        return Err("it is no audit segment of a known format");
    }
    if crc != crc32fast::hash(fields).to_le_bytes() {
        return Err("the checksum of its header does not match");
    }
    let first = fields[8..16].try_into().map(u64::from_le_bytes);
    match (first, Hash::from_slice(&fields[16..48])) {
        (Ok(first), Some(chain)) => Ok((first, chain)),
        _ => Err("its header is cut off"),
    }
}

/// Adds the frame of the record `seq`.
pub(super) fn write(out: &mut Vec<u8>, seq: u64, frame: &Frame<'_>) {
    // A leaf has 4 KiB at most.
    let length = u32::try_from(frame.line.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(seq, frame).to_le_bytes());
    out.extend_from_slice(&frame.key_id.to_le_bytes());
    out.extend_from_slice(&frame.mac.0);
    out.extend_from_slice(frame.line);
}

/// Reads the frame that should be of the record `seq`, and tells where it ends.
pub(super) fn read(bytes: &[u8], seq: u64) -> Result<(Frame<'_>, usize), &'static str> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Err("its last record is cut off");
    };
    let word = |at: usize| {
        let [a, b, c, d] = [prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]];
        u32::from_le_bytes([a, b, c, d])
    };
    let length = word(0) as usize;
    if length > LEAF_BYTES_MAX {
        return Err("a record has a length that none can have");
    }
    let Some(line) = rest.get(..length) else {
        return Err("its last record is cut off");
    };
    let mut mac = Mac([0; 32]);
    mac.0.copy_from_slice(&prefix[12..]);
    let frame = Frame {
        key_id: word(8),
        mac,
        line,
    };
    if word(4) != checksum(seq, &frame) {
        return Err("the checksum of a record does not match");
    }
    Ok((frame, PREFIX_BYTES + length))
}

/// Whether a frame stands here, of the record that its line says.
pub(super) fn is_any(bytes: &[u8]) -> bool {
    let line = split(bytes).map(|(_, line)| line);
    let head = line.and_then(Head::read);
    head.is_some_and(|head| read(bytes, head.seq).is_ok())
}

/// Whether the frame that begins here goes on behind the end.
pub(super) fn is_cut_off(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk::<4>();
    let has_length =
        length.is_some_and(|length| u32::from_le_bytes(*length) as usize <= LEAF_BYTES_MAX);
    bytes.len() < PREFIX_BYTES || (has_length && split(bytes).is_none())
}

fn split(bytes: &[u8]) -> Option<(&[u8; PREFIX_BYTES], &[u8])> {
    let (prefix, rest) = bytes.split_first_chunk::<PREFIX_BYTES>()?;
    let length = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
    Some((prefix, rest.get(..length as usize)?))
}

fn checksum(seq: u64, frame: &Frame<'_>) -> u32 {
    // In one piece: short ones are taken byte by byte.
    let mut head = [0; 8 + 8 + 4 + 32];
    head[..8].copy_from_slice(&seq.to_le_bytes());
    head[8..16].copy_from_slice(&(frame.line.len() as u64).to_le_bytes());
    head[16..20].copy_from_slice(&frame.key_id.to_le_bytes());
    head[20..].copy_from_slice(&frame.mac.0);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    hasher.update(frame.line);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_changed_or_missing_byte_is_found(line: Vec<u8>, at: proptest::sample::Index, flip in 1_u8..) {
            let frame = Frame { key_id: 7, mac: Mac([3; 32]), line: &line };
            let mut bytes = Vec::new();
            write(&mut bytes, 9, &frame);
            proptest::prop_assert_eq!(read(&bytes, 9), Ok((frame, bytes.len())));
            proptest::prop_assert!(read(&bytes, 8).is_err());
            let at = at.index(bytes.len());
            proptest::prop_assert!(read(&bytes[..at], 9).is_err());
            bytes[at] ^= flip;
            proptest::prop_assert!(read(&bytes, 9).is_err());
        }
    }

    #[test]
    fn a_header_comes_back_and_no_changed_one() {
        let mut bytes = Vec::new();
        write_header(&mut bytes, 9, &Hash([4; 32]));
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(read_header(&bytes), Ok((9, Hash([4; 32]))));
        for at in 0..bytes.len() {
            assert!(read_header(&bytes[..at]).is_err());
            bytes[at] ^= 1;
            assert!(read_header(&bytes).is_err());
            bytes[at] ^= 1;
        }
    }
}
