//! Requests that the gateway makes on its own behalf.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use lockgate_proto::id::Principal;
use lockgate_proto::jsonrpc::{Frame, Limits};
use lockgate_proto::mcp::{Era, Revision, headers};

use super::link::{Outgoing, SessionInit};
use super::session_key::SessionKey;

/// Bounds that nothing passes which came in through the bounds of a transport.
const WIDE: Limits = Limits {
    body_bytes_max: u32::MAX as usize,
    depth_max: 1024,
    batch_max: 1,
};

/// Raw `Implementation` of this gateway.
const CLIENT_INFO: &str = concat!(
    r#"{"name":"lockgate","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

/// Whose session the gateway's own is.
pub(super) fn session_key() -> SessionKey {
    SessionKey {
        session: "lockgate".into(),
        principal: Principal::new("lockgate"),
        tenant: None,
    }
}

/// What the gateway's own session is opened with: it declares nothing, so the server asks nothing of it.
pub(super) fn session_init() -> SessionInit {
    SessionInit {
        revision: Revision::SESSION_LATEST,
        capabilities: "{}".into(),
        client_info: CLIENT_INFO.into(),
        now_ms: 0,
    }
}

/// A request with the id `"lockgate"`: transports that share a channel give each call its own id anyway.
/// `members` are raw members of its params, without braces.
pub(super) fn frame(method: &'static str, members: &str, era: Era) -> Frame {
    let comma = if members.is_empty() { "" } else { "," };
    let meta = match era {
        Era::Session => String::new(),
        Era::Stateless => format!(
            r#"{comma}"_meta":{{"io.modelcontextprotocol/protocolVersion":"{}","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{CLIENT_INFO}}}"#,
            Revision::V2026_07_28
        ),
    };
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":"lockgate","method":"{method}","params":{{{members}{meta}}}}}"#
    );
    // Cannot fail: every part was made by us or was read as JSON before, within narrower limits than these.
    Frame::parse(Bytes::from(text), &WIDE).expect("own requests are messages")
}

/// The same, ready to be sent.
pub(super) fn outgoing(frame: Frame, era: Era, timeout: Duration) -> Outgoing {
    let headers = match era {
        Era::Session => Vec::new(),
        Era::Stateless => HeaderValue::from_str(&frame.method())
            .map(|method| (HeaderName::from_static(headers::METHOD), method))
            .into_iter()
            .collect(),
    };
    Outgoing {
        frame,
        headers,
        timeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_a_message() {
        for era in [Era::Session, Era::Stateless] {
            for members in ["", r#""cursor":"a\"b""#] {
                let frame = frame("tools/list", members, era);
                assert_eq!(frame.method(), "tools/list");
                assert_eq!(frame.param(&["_meta"]).is_some(), era == Era::Stateless);
                assert_eq!(frame.param(&["cursor"]).is_some(), !members.is_empty());
            }
        }
    }
}
