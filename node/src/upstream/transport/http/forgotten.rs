//! How servers say that they do not know a session.

use lockgate_proto::jsonrpc::Frame;
use lockgate_proto::mcp::code;

use super::answer::{error_code, error_message};

/// Code under which the TypeScript SDK and servers built on it refuse at the transport.
const TYPESCRIPT_TRANSPORT_CODE: i64 = -32000;

/// Messages under that code with HTTP status 400 for a session that was lost, word for word: the server's route
/// handler writes the first (server-everything 2026.8.31 and the SDK's examples), the SDK's transport the second.
/// Both come before the message is dispatched, and handlers answer under status 200, so the request did not run.
const TYPESCRIPT_TRANSPORT_MESSAGES: [&str; 2] = [
    "Bad Request: No valid session ID provided",
    "Bad Request: Server not initialized",
];

/// Whether a response to a request that named its session says that the session is gone and the request was not
/// processed. `frame` is the body, if it was a message.
pub(super) fn says_so(status: u16, frame: Option<&Frame>) -> bool {
    match (status, frame) {
        // The specification's way. An unknown *method* of a known session is something else.
        (404, None) => true,
        (404, Some(frame)) => error_code(frame) != Some(i64::from(code::METHOD_NOT_FOUND)),
        (400, Some(frame)) => {
            error_code(frame) == Some(TYPESCRIPT_TRANSPORT_CODE)
                && TYPESCRIPT_TRANSPORT_MESSAGES.contains(&&*error_message(frame))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    fn check(status: u16, body: Option<&'static str>, expected: bool) {
        let frame = body.map(|text| {
            Frame::parse(Bytes::from_static(text.as_bytes()), &Limits::default()).unwrap()
        });
        assert_eq!(
            says_so(status, frame.as_ref()),
            expected,
            "{status} {body:?}"
        );
    }

    #[test]
    fn a_bare_404_does() {
        check(404, None, true);
    }

    #[test]
    fn the_sdks_404_does() {
        check(
            404,
            Some(
                r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}"#,
            ),
            true,
        );
    }

    #[test]
    fn an_unknown_method_does_not() {
        check(
            404,
            Some(
                r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":1}"#,
            ),
            false,
        );
    }

    #[test]
    fn the_everything_servers_400_does() {
        check(
            400,
            Some(
                r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#,
            ),
            true,
        );
    }

    #[test]
    fn an_uninitialized_transport_does() {
        check(
            400,
            Some(
                r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"},"id":null}"#,
            ),
            true,
        );
    }

    #[test]
    fn another_400_does_not() {
        check(
            400,
            Some(
                r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Unsupported protocol version"},"id":null}"#,
            ),
            false,
        );
        check(400, None, false);
    }

    #[test]
    fn an_error_in_band_does_not() {
        check(
            200,
            Some(
                r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"},"id":1}"#,
            ),
            false,
        );
    }
}
