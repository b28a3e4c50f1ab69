//! A request prepared once; only the digits of its id change from call to call.

use memchr::memmem;

/// First call id. Ids have ten digits from here on, so no length ever changes.
pub(crate) const ID_FIRST: u64 = 1_000_000_000;
/// What stands for the id in a text that becomes a request.
const ID_MARK: &str = "{id}";
const ID_DIGITS: usize = 10;

/// Bytes of a request, and where its id stands in them.
#[derive(Clone, Debug)]
pub(crate) struct PreparedRequest {
    bytes: Vec<u8>,
    ids: Vec<usize>,
}

impl PreparedRequest {
    /// Joins request line, headers and body. Every `{id}` in the body becomes the call's id.
    pub(crate) fn new(line: &str, headers: &[(String, String)], body: &str) -> Self {
        let body = body.replace(ID_MARK, &ID_FIRST.to_string());
        let mut text = format!("{line} HTTP/1.1\r\n");
        for (name, value) in headers {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        }
        if !body.is_empty() {
            text.push_str("content-type: application/json\r\ncontent-length: ");
            text.push_str(&body.len().to_string());
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        let head = text.len();
        text.push_str(&body);
        let ids = memmem::find_iter(&text.as_bytes()[head..], &digits(ID_FIRST))
            .map(|at| head + at)
            .collect();
        Self {
            bytes: text.into_bytes(),
            ids,
        }
    }

    /// The bytes for call `id`.
    pub(crate) fn for_call(&mut self, id: u64) -> &[u8] {
        write_id(&mut self.bytes, &self.ids, id);
        &self.bytes
    }
}

/// Writes the ten digits of `id` at each of `places`.
pub(crate) fn write_id(bytes: &mut [u8], places: &[usize], id: u64) {
    let digits = digits(id);
    for &at in places {
        if let Some(place) = bytes.get_mut(at..at + ID_DIGITS) {
            place.copy_from_slice(&digits);
        }
    }
}

/// The last ten decimal digits of `id`.
pub(super) fn digits(mut id: u64) -> [u8; ID_DIGITS] {
    let mut digits = [b'0'; ID_DIGITS];
    for digit in digits.iter_mut().rev() {
        // A remainder of ten fits a byte.
        *digit = b'0' + (id % 10) as u8;
        id /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::{ID_FIRST, PreparedRequest, digits};

    #[test]
    fn every_mark_in_the_body_carries_the_id() {
        let mut request = PreparedRequest::new("POST /mcp", &[], r#"{"id":{id},"n":{id}}"#);
        let bytes = request.for_call(ID_FIRST + 42).to_vec();
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.ends_with(r#"{"id":1000000042,"n":1000000042}"#),
            "{text}"
        );
        assert!(text.contains("content-length: 32\r\n"), "{text}");
    }

    #[test]
    fn a_request_without_a_body_has_no_length() {
        let headers = [("a".to_owned(), "b".to_owned())];
        let mut request = PreparedRequest::new("GET /mcp", &headers, "");
        assert_eq!(
            request.for_call(ID_FIRST),
            b"GET /mcp HTTP/1.1\r\na: b\r\n\r\n"
        );
    }

    #[test]
    fn digits_are_decimal() {
        assert_eq!(&digits(1_234_567_890), b"1234567890");
    }
}
