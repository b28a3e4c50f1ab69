//! Text of a file: UTF-8, or UTF-16 with its mark, as Windows' shell writes it.

/// `None` if it is neither.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return String::from_utf8(bytes.to_vec()).ok(),
    };
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    rest.is_empty()
        .then(|| String::from_utf16(&units).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_8_and_marked_utf_16_are_text() {
        assert_eq!(decode("{ä".as_bytes()).as_deref(), Some("{ä"));
        let little: &[u8] = b"\xff\xfe{\0\xe4\0";
        assert_eq!(decode(little).as_deref(), Some("\u{feff}{ä"));
        let big: &[u8] = b"\xfe\xff\0{\0\xe4";
        assert_eq!(decode(big).as_deref(), Some("\u{feff}{ä"));
        for none in [&b"\xe4"[..], b"\xff\xfe{", b"\xff\xfe\0\xd8"] {
            assert_eq!(decode(none), None, "{none:?}");
        }
    }
}
