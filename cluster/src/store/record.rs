//! Frame of one stored record: version, index, length, CRC-32, body.
//!
//! The store beneath has checksums of its own; these are ours, so that a record which was swapped, shortened or
//! damaged above or beside them is found, and named by its index.

/// Layout of body and frame. A node refuses what it doesn't know.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 17;

/// Wraps `body`.
pub(super) fn encode(index: u64, body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
    record.push(VERSION);
    record.extend_from_slice(&index.to_le_bytes());
    // No record comes near 4 GiB; a saturated length would be refused on reading.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    record.extend_from_slice(&length.to_le_bytes());
    let crc = checksum(&record, body);
    record.extend_from_slice(&crc.to_le_bytes());
    record.extend_from_slice(body);
    record
}

/// Unwraps the record that should be `index`, or says what is wrong with it.
pub(super) fn decode(index: u64, record: &[u8]) -> Result<&[u8], String> {
    let Some((header, body)) = record.split_at_checked(HEADER_BYTES) else {
        return Err("it is cut off".to_owned());
    };
    let (fields, crc) = header.split_at(HEADER_BYTES - 4);
    if fields[0] != VERSION {
        return Err(format!(
            "it has version {}, this program reads version {VERSION}",
            fields[0]
        ));
    }
    if crc != checksum(fields, body).to_le_bytes() {
        return Err("its checksum does not match".to_owned());
    }
    if fields[9..] != u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes() {
        return Err("its length does not match".to_owned());
    }
    if fields[1..9] != index.to_le_bytes() {
        return Err("it belongs to another index".to_owned());
    }
    Ok(body)
}

fn checksum(fields: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(fields);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_decodes() {
        assert_eq!(decode(7, &encode(7, b"body")), Ok(b"body".as_slice()));
        assert_eq!(decode(7, &encode(7, b"")), Ok(b"".as_slice()));
    }

    #[test]
    fn a_record_under_another_index_is_refused() {
        assert_eq!(
            decode(8, &encode(7, b"body")),
            Err("it belongs to another index".to_owned())
        );
    }

    proptest::proptest! {
        #[test]
        fn any_changed_or_missing_byte_is_found(body: Vec<u8>, at: proptest::sample::Index, flip in 1_u8..) {
            let record = encode(3, &body);
            let at = at.index(record.len());
            let mut changed = record.clone();
            changed[at] ^= flip;
            proptest::prop_assert!(decode(3, &changed).is_err());
            proptest::prop_assert!(decode(3, &record[..at]).is_err());
        }
    }
}
