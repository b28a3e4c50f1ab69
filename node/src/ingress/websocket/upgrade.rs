//! The opening handshake (RFC 6455, section 4.2). Pure.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::ingress::body::Body;
use crate::ingress::respond;

/// The subprotocol that MCP clients ask for.
const SUBPROTOCOL: &str = "mcp";
/// RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingress) enum Refused {
    /// It does not ask to.
    NoUpgrade,
    /// It asks for another version.
    Version,
    /// Its key is none.
    Key,
    /// It offers subprotocols, and `mcp` is not among them.
    Subprotocol,
}

impl Refused {
    /// How the client is told.
    pub(in crate::ingress) fn response(self) -> Response<Body> {
        let (status, text) = match self {
            Self::NoUpgrade => (
                StatusCode::UPGRADE_REQUIRED,
                "this path is for WebSocket, over HTTP/1.1\n",
            ),
            Self::Version => (StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 only\n"),
            Self::Key => (
                StatusCode::BAD_REQUEST,
                "`Sec-WebSocket-Key` is missing or none\n",
            ),
            Self::Subprotocol => (
                StatusCode::BAD_REQUEST,
                "the subprotocol of this path is `mcp`\n",
            ),
        };
        let mut response = respond::plain(status, text.into());
        if status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(UPGRADE, WEBSOCKET);
            headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
        }
        response
    }
}

/// The answer that turns the connection into a WebSocket.
///
/// # Errors
///
/// Fails with the first rule of the handshake that does not hold.
pub(in crate::ingress) fn accept(headers: &HeaderMap) -> Result<Response<Body>, Refused> {
    if !lists(headers, &CONNECTION, "upgrade") || !lists(headers, &UPGRADE, "websocket") {
        return Err(Refused::NoUpgrade);
    }
    if headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(Refused::Version);
    }
    let key = key(headers).ok_or(Refused::Key)?;
    let offered = headers.contains_key(SEC_WEBSOCKET_PROTOCOL);
    if offered && !lists(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(Refused::Subprotocol);
    }
    let mut response = respond::plain(StatusCode::SWITCHING_PROTOCOLS, Body::Empty);
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.insert(UPGRADE, WEBSOCKET);
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept_key(key.as_bytes())?);
    if offered {
        answer.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
    }
    Ok(response)
}

/// The key: one, 16 bytes in base64.
fn key(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().filter(|_| keys.next().is_none())?;
    let decoded = BASE64_STANDARD.decode(key.as_bytes()).ok()?;
    (decoded.len() == 16).then_some(key)
}

fn accept_key(key: &[u8]) -> Result<HeaderValue, Refused> {
    // The RFC's own hash; it proves that a WebSocket was meant, and protects nothing.
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    HeaderValue::try_from(BASE64_STANDARD.encode(hash)).map_err(|_| Refused::Key)
}

/// Whether a header that is a list of words has `word`, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(changes: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            // The example of RFC 6455, section 1.3.
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for (name, value) in good.iter().chain(changes) {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        let response = accept(&asked(&[])).unwrap();
        assert_eq!(response.status(), 101);
        let headers = response.headers();
        assert_eq!(
            headers[SEC_WEBSOCKET_ACCEPT],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(headers[UPGRADE], "websocket");
        assert!(!headers.contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn the_subprotocol_is_taken_from_the_offer() {
        let response = accept(&asked(&[("sec-websocket-protocol", "soap, mcp")])).unwrap();
        assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "mcp");
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        for (change, refused) in [
            (("connection", "keep-alive"), Refused::NoUpgrade),
            (("upgrade", "h2c"), Refused::NoUpgrade),
            (("sec-websocket-version", "8"), Refused::Version),
            (("sec-websocket-key", "c2hvcnQ="), Refused::Key),
            (("sec-websocket-key", "not base64 at all"), Refused::Key),
            (("sec-websocket-protocol", "soap"), Refused::Subprotocol),
        ] {
            assert_eq!(
                accept(&asked(&[change])).unwrap_err(),
                refused,
                "{change:?}"
            );
        }
        let mut twice = asked(&[]);
        twice.append(
            SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        assert_eq!(accept(&twice).unwrap_err(), Refused::Key);
    }

    #[test]
    fn a_client_without_an_upgrade_is_told_what_to_do() {
        let response = Refused::NoUpgrade.response();
        assert_eq!(response.status(), 426);
        assert_eq!(response.headers()[UPGRADE], "websocket");
    }
}
