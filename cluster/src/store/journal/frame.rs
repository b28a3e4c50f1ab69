//! Frame of one write: its number and all of its changes behind one checksum.
//!
//! ```text
//! "LGJ1"  number u64  bytes of the changes u32  CRC-32  changes ...  zeros up to the next block
//! put:     1  index u64  bytes u32  record
//! remove:  2  first u64  end u64
//! note:    3  name u8    bytes u32  value
//! ```
//!
//! Numbers are little-endian. The checksum begins with a number that the file drew for itself: what somebody put into a
//! record can't pass for a frame.

use std::io;

use crate::store::{Change, Note};

/// Frames begin at multiples of it. A page of the kernel's cache and of the disk, so that no write has to read what it
/// leaves alone, and none touches a frame before it.
pub(super) const BLOCK: usize = 4096;
/// Kind and version. A node refuses what it doesn't know.
const MAGIC: [u8; 4] = *b"LGJ1";
const HEADER_BYTES: usize = 20;

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const NOTE: u8 = 3;

/// A frame that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Number of the write.
    pub(super) number: u64,
    /// Changes, which [`changes`] reads.
    pub(super) body: &'a [u8],
    /// What it takes in the file.
    pub(super) bytes: usize,
}

/// Puts a frame into `buffer`, in place of what is there.
pub(super) fn encode(
    buffer: &mut Vec<u8>,
    salt: u32,
    number: u64,
    changes: &[Change],
) -> io::Result<()> {
    buffer.clear();
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&number.to_le_bytes());
    buffer.resize(HEADER_BYTES, 0);
    for change in changes {
        match change {
            Change::Put(index, record) => {
                buffer.push(PUT);
                buffer.extend_from_slice(&index.to_le_bytes());
                add_bytes(buffer, record)?;
            }
            Change::Remove(range) => {
                buffer.push(REMOVE);
                buffer.extend_from_slice(&range.start.to_le_bytes());
                buffer.extend_from_slice(&range.end.to_le_bytes());
            }
            Change::Note(note, value) => {
                buffer.extend_from_slice(&[NOTE, *note as u8]);
                add_bytes(buffer, value)?;
            }
        }
    }
    let length = length(buffer.len() - HEADER_BYTES)?;
    buffer[12..16].copy_from_slice(&length);
    let crc = checksum(salt, &buffer[..16], &buffer[HEADER_BYTES..]);
    buffer[16..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    buffer.resize(buffer.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

/// The frame at the beginning of `bytes`, when there is a whole one.
pub(super) fn decode(salt: u32, bytes: &[u8]) -> Option<Frame<'_>> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    if header[..4] != MAGIC {
        return None;
    }
    let number = u64::from_le_bytes(header[4..12].try_into().ok()?);
    let length = u32::from_le_bytes(header[12..16].try_into().ok()?);
    let crc = u32::from_le_bytes(header[16..].try_into().ok()?);
    let body = rest.get(..usize::try_from(length).ok()?)?;
    (crc == checksum(salt, &header[..16], body)).then(|| Frame {
        number,
        body,
        bytes: (HEADER_BYTES + body.len()).next_multiple_of(BLOCK),
    })
}

/// Changes of a frame. `None` when this program can't read them.
pub(super) fn changes(mut body: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while let Some((kind, rest)) = body.split_first() {
        body = rest;
        changes.push(match *kind {
            PUT => Change::Put(take_u64(&mut body)?, take_bytes(&mut body)?),
            REMOVE => Change::Remove(take_u64(&mut body)?..take_u64(&mut body)?),
            NOTE => {
                let (name, rest) = body.split_first()?;
                body = rest;
                Change::Note(Note::named(*name)?, take_bytes(&mut body)?)
            }
            _ => return None,
        });
    }
    Some(changes)
}

fn add_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    buffer.extend_from_slice(&length(bytes.len())?);
    buffer.extend_from_slice(bytes);
    Ok(())
}

fn length(bytes: usize) -> io::Result<[u8; 4]> {
    let length = u32::try_from(bytes).map_err(io::Error::other)?;
    Ok(length.to_le_bytes())
}

fn take_u64(body: &mut &[u8]) -> Option<u64> {
    let (number, rest) = body.split_first_chunk()?;
    *body = rest;
    Some(u64::from_le_bytes(*number))
}

fn take_bytes(body: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = body.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    *body = rest;
    Some(bytes.to_vec())
}

fn checksum(salt: u32, fields: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(fields);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(number: u64, changes: &[Change]) -> Vec<u8> {
        let mut buffer = vec![9; 7];
        encode(&mut buffer, 5, number, changes).unwrap();
        buffer
    }

    fn a_change() -> impl Strategy<Value = Change> {
        prop_oneof![
            any::<(u64, Vec<u8>)>().prop_map(|(index, record)| Change::Put(index, record)),
            any::<(u64, u64)>().prop_map(|(start, end)| Change::Remove(start..end)),
            any::<Vec<u8>>().prop_map(|value| Change::Note(Note::Vote, value)),
        ]
    }

    #[test]
    fn the_bytes_are_these() {
        let changes = [
            Change::Put(1, b"ab".to_vec()),
            Change::Remove(2..3),
            Change::Note(Note::Purged, vec![7]),
        ];
        let bytes = encoded(6, &changes);
        assert_eq!(bytes.len(), BLOCK);
        assert_eq!(bytes[..16], *b"LGJ1\x06\0\0\0\0\0\0\0\x27\0\0\0");
        let put = b"\x01\x01\0\0\0\0\0\0\0\x02\0\0\0ab";
        let remove = b"\x02\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0";
        let note = b"\x03\x04\x01\0\0\0\x07";
        let body = [&put[..], remove, note].concat();
        assert_eq!(bytes[HEADER_BYTES..][..body.len()], body);
        assert!(bytes[HEADER_BYTES + body.len()..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_frame_of_another_file_is_none() {
        let bytes = encoded(6, &[Change::Remove(2..3)]);
        assert!(decode(5, &bytes).is_some());
        assert_eq!(decode(6, &bytes), None);
    }

    #[test]
    fn an_unknown_note_is_refused() {
        assert!(changes(&[NOTE, 4, 0, 0, 0, 0]).is_some());
        assert!(changes(&[NOTE, 5, 0, 0, 0, 0]).is_none());
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(number: u64, all in prop::collection::vec(a_change(), 0..6)) {
            let bytes = encoded(number, &all);
            let frame = decode(5, &bytes).unwrap();
            prop_assert_eq!((frame.number, frame.bytes), (number, bytes.len()));
            prop_assert_eq!(format!("{:?}", changes(frame.body).unwrap()), format!("{all:?}"));
        }

        #[test]
        fn any_changed_or_missing_byte_is_found(
            all in prop::collection::vec(a_change(), 0..6),
            at: prop::sample::Index,
            flip in 1_u8..,
        ) {
            let mut bytes = encoded(3, &all);
            let used = HEADER_BYTES + decode(5, &bytes).unwrap().body.len();
            let at = at.index(used);
            prop_assert_eq!(decode(5, &bytes[..at]), None);
            bytes[at] ^= flip;
            prop_assert_eq!(decode(5, &bytes), None);
        }

        #[test]
        fn other_bytes_are_refused_and_do_no_harm(mut bytes: Vec<u8>) {
            let _changes = changes(&bytes);
            bytes.splice(..0, MAGIC);
            prop_assert_eq!(decode(5, &bytes), None);
        }
    }
}
