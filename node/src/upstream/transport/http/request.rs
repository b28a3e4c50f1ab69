//! One request as it goes on the wire.

use std::fmt;
use std::io::Cursor;

use bytes::{Buf, Bytes};

/// A body up to this size is copied behind its head: one buffer costs the kernel less than two.
const JOINED_BYTES_MAX: usize = 4 << 10;

/// Head and body, ready to be written.
pub(in crate::upstream::transport) struct Request {
    /// The head, and the body where that is short.
    pub(super) first: Cursor<Vec<u8>>,
    /// The rest of the body.
    pub(super) rest: Bytes,
}

impl Request {
    /// How many bytes of `body` come to stand behind the head.
    pub(super) fn joined(body: &Bytes) -> usize {
        if body.len() <= JOINED_BYTES_MAX {
            body.len()
        } else {
            0
        }
    }

    /// `head` lacks the length of the body and the empty line. `None`: the method has no body.
    pub(super) fn new(mut head: Vec<u8>, body: Option<&Bytes>) -> Self {
        let mut rest = Bytes::new();
        match body {
            None => head.extend_from_slice(b"\r\n"),
            Some(body) => {
                head.extend_from_slice(b"content-length: ");
                push_number(&mut head, body.len());
                head.extend_from_slice(b"\r\n\r\n");
                match Self::joined(body) {
                    0 => rest = body.clone(),
                    _ => head.extend_from_slice(body),
                }
            }
        }
        Self {
            first: Cursor::new(head),
            rest,
        }
    }

    /// Bytes that are left to write.
    pub(super) fn remaining(&self) -> usize {
        self.first.remaining() + self.rest.len()
    }

    /// `n` bytes were written.
    pub(super) fn advance(&mut self, n: usize) {
        let of_first = n.min(self.first.remaining());
        self.first.advance(of_first);
        self.rest.advance(n - of_first);
    }
}

/// Neither headers, which hold credentials, nor arguments belong in logs.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("bytes", &self.remaining())
            .finish_non_exhaustive()
    }
}

fn push_number(text: &mut Vec<u8>, number: usize) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    // Below 10, so that it fits.
    text.push(b'0' + (number % 10) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body: Option<&str>) -> (String, String) {
        let body = body.map(|body| Bytes::from(body.to_owned()));
        let request = Request::new(b"X / HTTP/1.1\r\n".to_vec(), body.as_ref());
        (
            String::from_utf8(request.first.into_inner()).unwrap(),
            String::from_utf8(request.rest.to_vec()).unwrap(),
        )
    }

    #[test]
    fn a_short_body_stands_behind_its_head() {
        let (first, rest) = written(Some("0123456789"));
        assert_eq!(
            first,
            "X / HTTP/1.1\r\ncontent-length: 10\r\n\r\n0123456789"
        );
        assert_eq!(rest, "");
        assert_eq!(written(None).0, "X / HTTP/1.1\r\n\r\n");
        assert_eq!(
            written(Some("")).0,
            "X / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_long_body_is_not_copied() {
        let body = "x".repeat(JOINED_BYTES_MAX + 1);
        let (first, rest) = written(Some(&body));
        assert!(first.ends_with("content-length: 4097\r\n\r\n"));
        assert_eq!(rest, body);
    }

    #[test]
    fn what_is_written_is_gone_from_both_parts() {
        let body = Bytes::from(vec![b'x'; JOINED_BYTES_MAX + 1]);
        let mut request = Request::new(b"X / HTTP/1.1\r\n".to_vec(), Some(&body));
        let head = request.first.remaining();
        request.advance(head - 1);
        request.advance(3);
        assert_eq!(
            (request.first.remaining(), request.rest.len()),
            (0, body.len() - 2)
        );
        request.advance(request.remaining());
        assert_eq!(request.remaining(), 0);
    }
}
