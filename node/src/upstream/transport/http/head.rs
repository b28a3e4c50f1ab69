//! Head of a response: what of it matters to us, and how the body behind it ends. Pure.

use std::mem::MaybeUninit;
use std::time::Duration;

use http::{HeaderValue, StatusCode, Uri};
use httparse::{Header, ParserConfig, Response, Status};
use lockgate_proto::mcp::headers;

use super::body::Body;

/// A server that asks for more is asked again after a day: longer waits are no use to anybody who waits.
const RETRY_AFTER_MAX_S: u64 = 86_400;

/// Longest head. Answers of MCP servers have some 200 bytes; cookies of balancers in front of them come on top.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;

/// Most headers of a response, as in hyper.
const HEADERS_MAX: usize = 100;

/// As much of a `Content-Encoding` is shown. Its registered names are shorter.
const CODING_BYTES_MAX: usize = 32;

/// Kind of body by `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`.
    Json,
    /// `text/event-stream`.
    Events,
    /// No header.
    Unnamed,
    /// Something else.
    Other,
}

/// A response without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) media: Media,
    /// `Mcp-Session-Id`, with memory of its own: a session would keep the connection's read buffer alive.
    pub(super) session_id: Option<HeaderValue>,
    /// `Content-Encoding`, if the body is not plain.
    pub(super) coding: Option<Box<str>>,
    /// `Retry-After`, where it is a number of seconds.
    pub(super) retry_after: Option<Duration>,
    /// `Location`, as far as it can be one of MCP.
    pub(super) location: Option<Box<Uri>>,
    /// How long the server keeps the connection, if it says so.
    pub(super) keep_alive: Option<Duration>,
    /// Whether the connection takes another request after this one.
    pub(super) is_last: bool,
}

/// What stands at the beginning of the text.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Less than a head.
    Partial,
    /// A head that another one follows, and its length.
    Interim(usize),
    /// The head, how its body is framed, and its length.
    Whole(Head, Body, usize),
}

/// Reads the head at the beginning of `text`.
///
/// # Errors
///
/// Says what is wrong with it.
pub(super) fn parse(text: &[u8]) -> Result<Parsed, &'static str> {
    let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, text, &mut room)
        .map_err(describe)?;
    let Status::Complete(len) = parsed else {
        return if text.len() < HEAD_BYTES_MAX {
            Ok(Parsed::Partial)
        } else {
            Err("the response head is too long")
        };
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or("the response has no valid status")?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err("the server switches protocols unasked");
    }
    if status.is_informational() {
        return Ok(Parsed::Interim(len));
    }
    let mut notes = Notes::default();
    for header in &*response.headers {
        notes.note(header)?;
    }
    let is_http_10 = response.version == Some(0);
    let body = notes.body(status, is_http_10);
    let head = Head {
        status,
        media: notes.media.unwrap_or(Media::Unnamed),
        session_id: notes.session_id,
        coding: notes.coding,
        retry_after: notes.retry_after,
        location: notes.location,
        keep_alive: notes.keep_alive,
        is_last: notes.closes || (is_http_10 && !notes.stays) || body.is_until_close(),
    };
    Ok(Parsed::Whole(head, body, len))
}

fn describe(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::TooManyHeaders => "the response has too many headers",
        httparse::Error::Version | httparse::Error::Status => "the answer is not HTTP/1",
        _ => "the response head is malformed",
    }
}

/// Headers as they come.
#[derive(Debug, Default)]
struct Notes {
    media: Option<Media>,
    session_id: Option<HeaderValue>,
    coding: Option<Box<str>>,
    retry_after: Option<Duration>,
    location: Option<Box<Uri>>,
    keep_alive: Option<Duration>,
    length: Option<u64>,
    encoding: Option<Encoding>,
    closes: bool,
    stays: bool,
}

/// `Transfer-Encoding`, by its last coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Chunked,
    Other,
}

impl Notes {
    fn note(&mut self, header: &Header<'_>) -> Result<(), &'static str> {
        let (name, value) = (header.name, header.value);
        // Most headers are none of these, and most of those differ in length already.
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            8 if is("location") => self.location = Uri::try_from(value).ok().map(Box::new),
            10 if is("connection") => {
                self.closes |= has_token(value, b"close");
                self.stays |= has_token(value, b"keep-alive");
            }
            10 if is("keep-alive") => self.keep_alive = announced_timeout(value),
            11 if is("retry-after") => {
                let seconds = length(value).map(|seconds| seconds.min(RETRY_AFTER_MAX_S));
                self.retry_after = seconds.map(Duration::from_secs);
            }
            12 if is("content-type") => {
                self.media.get_or_insert_with(|| media(value));
            }
            14 if is("content-length") => {
                let length = length(value).ok_or("the response has an invalid length")?;
                if self
                    .length
                    .replace(length)
                    .is_some_and(|other| other != length)
                {
                    return Err("the response has two lengths");
                }
            }
            14 if is(headers::SESSION_ID) => {
                let id = HeaderValue::from_bytes(value);
                self.session_id = Some(id.map_err(|_| "the session id is no header value")?);
            }
            16 if is("content-encoding") => self.coding = coding(value),
            17 if is("transfer-encoding") => {
                let last = value
                    .rsplit(|&byte| byte == b',')
                    .next()
                    .unwrap_or_default();
                self.encoding = Some(if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    Encoding::Chunked
                } else {
                    Encoding::Other
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112 section 6.3. A length beside an encoding counts for nothing, and neither does an encoding in HTTP/1.0;
    /// such a connection is not used again. Neither is one whose server frames a body where there is none: it may send
    /// it all the same, as the beginning of the next answer.
    fn body(&mut self, status: StatusCode, is_http_10: bool) -> Body {
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            self.closes |= self.encoding.is_some() || self.length.is_some_and(|length| length > 0);
            return Body::ended();
        }
        self.closes |= self.encoding.is_some() && (is_http_10 || self.length.is_some());
        match (self.encoding, self.length) {
            (Some(Encoding::Chunked), _) if !is_http_10 => Body::chunked(),
            (None, Some(length)) => Body::of_length(length),
            _ => Body::until_close(),
        }
    }
}

/// Digits only: no sign, no list.
fn length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

fn media(value: &[u8]) -> Media {
    let name = value.split(|&byte| byte == b';').next().unwrap_or_default();
    let name = name.trim_ascii();
    if name.eq_ignore_ascii_case(b"application/json") {
        Media::Json
    } else if name.eq_ignore_ascii_case(b"text/event-stream") {
        Media::Events
    } else {
        Media::Other
    }
}

/// A `Content-Encoding` that changes the body, as far as it is shown to people.
fn coding(value: &[u8]) -> Option<Box<str>> {
    let value = value.trim_ascii();
    if value.is_empty() || value.eq_ignore_ascii_case(b"identity") {
        return None;
    }
    let value = value.get(..CODING_BYTES_MAX).unwrap_or(value);
    Some(String::from_utf8_lossy(value).into())
}

/// `timeout` of a `Keep-Alive` value such as `timeout=5, max=100`.
fn announced_timeout(value: &[u8]) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?;
    value.split(',').find_map(|part| {
        let (name, seconds) = part.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("timeout") {
            return None;
        }
        seconds.trim().parse().ok().map(Duration::from_secs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(headers: &str) -> (Head, Body) {
        let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\nrest");
        match parse(text.as_bytes()) {
            Ok(Parsed::Whole(head, body, len)) => {
                assert_eq!(&text[len..], "rest");
                (head, body)
            }
            other => panic!("{headers:?}: {other:?}"),
        }
    }

    #[track_caller]
    fn check(headers: &str, body: Body, is_last: bool) {
        let (head, found) = whole(headers);
        assert_eq!((found, head.is_last), (body, is_last), "{headers:?}");
    }

    #[track_caller]
    fn refused(text: &str) {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }

    #[test]
    fn the_framing_is_that_of_rfc_9112() {
        check("content-length: 12\r\n", Body::of_length(12), false);
        check("Content-Length: 0\r\n", Body::of_length(0), false);
        check(
            "content-length: 5\r\ncontent-length: 5\r\n",
            Body::of_length(5),
            false,
        );
        check("transfer-encoding: chunked\r\n", Body::chunked(), false);
        check(
            "Transfer-Encoding: gzip, Chunked\r\n",
            Body::chunked(),
            false,
        );
        check("transfer-encoding: gzip\r\n", Body::until_close(), true);
        check(
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
            Body::chunked(),
            true,
        );
        check("", Body::until_close(), true);
    }

    #[test]
    fn a_connection_ends_when_either_side_says_so() {
        check(
            "content-length: 1\r\nconnection: close\r\n",
            Body::of_length(1),
            true,
        );
        check(
            "content-length: 1\r\nConnection: foo, Close\r\n",
            Body::of_length(1),
            true,
        );
        check(
            "content-length: 1\r\nconnection: keep-alive\r\n",
            Body::of_length(1),
            false,
        );
        let old = |headers: &str| {
            let text = format!("HTTP/1.0 200 OK\r\n{headers}\r\n");
            match parse(text.as_bytes()) {
                Ok(Parsed::Whole(head, body, _)) => (body, head.is_last),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(old("content-length: 1\r\n"), (Body::of_length(1), true));
        assert_eq!(
            old("content-length: 1\r\nconnection: keep-alive\r\n"),
            (Body::of_length(1), false)
        );
        assert_eq!(
            old("transfer-encoding: chunked\r\nconnection: keep-alive\r\n"),
            (Body::until_close(), true)
        );
    }

    #[test]
    fn some_statuses_have_no_body() {
        for (headers, is_last) in [
            ("", false),
            ("content-length: 0\r\n", false),
            ("content-length: 7\r\n", true),
            ("transfer-encoding: chunked\r\n", true),
        ] {
            for status in [204, 304] {
                let text = format!("HTTP/1.1 {status} X\r\n{headers}\r\n");
                let Ok(Parsed::Whole(head, body, _)) = parse(text.as_bytes()) else {
                    panic!("{text}");
                };
                assert_eq!((body, head.is_last), (Body::ended(), is_last), "{text}");
            }
        }
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert!(matches!(parse(interim.as_bytes()), Ok(Parsed::Interim(25))));
    }

    #[test]
    fn a_head_is_whole_with_its_empty_line() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n";
        for end in 0..text.len() {
            let parsed = parse(&text.as_bytes()[..end]);
            assert!(matches!(parsed, Ok(Parsed::Partial)), "{end}");
        }
    }

    #[test]
    fn what_is_not_http_is_refused() {
        refused("SSH-2.0-OpenSSH\r\n");
        refused("HTTP/2 200\r\n\r\n");
        refused("HTTP/1.1 20 OK\r\n\r\n");
        refused("HTTP/1.1 101 Switching Protocols\r\n\r\n");
        for length in ["-1", "+1", "1,1", "0x1", "", "99999999999999999999"] {
            refused(&format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
            ));
        }
        refused("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n");
        refused(&format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "a: b\r\n".repeat(101)
        ));
        refused(&format!(
            "HTTP/1.1 200 OK\r\na: {}",
            "b".repeat(HEAD_BYTES_MAX)
        ));
    }

    #[test]
    fn what_matters_is_noted() {
        let (head, _) = whole(
            "Content-Type: text/event-stream; charset=utf-8\r\nMCP-Session-Id: s1\r\nKeep-Alive: timeout=5, max=9\r\n",
        );
        assert_eq!(head.media, Media::Events);
        assert_eq!(head.session_id.unwrap(), "s1");
        assert_eq!(head.keep_alive, Some(Duration::from_secs(5)));
        assert_eq!(whole("").0.media, Media::Unnamed);
        assert_eq!((head.coding, head.retry_after), (None, None));
        let wait = |value: &str| whole(&format!("Retry-After: {value}\r\n")).0.retry_after;
        assert_eq!(wait("17"), Some(Duration::from_secs(17)));
        let day = Duration::from_secs(RETRY_AFTER_MAX_S);
        assert_eq!(wait(&u64::MAX.to_string()), Some(day));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        let coding = |value: &str| whole(&format!("Content-Encoding: {value}\r\n")).0.coding;
        assert_eq!(coding("gzip").as_deref(), Some("gzip"));
        assert_eq!(coding("Identity"), None);
        assert_eq!(coding(&"x".repeat(99)).unwrap().len(), CODING_BYTES_MAX);
        assert_eq!(
            whole("content-type: APPLICATION/json\r\n").0.media,
            Media::Json
        );
        assert_eq!(whole("content-type: text/html\r\n").0.media, Media::Other);
    }
}
