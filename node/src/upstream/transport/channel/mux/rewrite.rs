//! Edits of single messages: ids and tokens, and nothing else.

use bytes::Bytes;
use lockgate_proto::jsonrpc::{Frame, Kind, Limits, Span, Splice, encode_str, find_path};

/// Key of a stateless notification's request (`MCP.md` A2).
pub(super) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Key of the log level that a stateless request asks for.
pub(super) const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// The request under number `n`, which is its progress token too, on one line. `None` without an id.
pub(super) fn request(frame: &Frame, n: u64) -> Option<Bytes> {
    let mut splice = Splice::new(frame.text());
    splice.replace(frame.id_span()?, n.to_string());
    if let Some(token) = progress_token(frame) {
        splice.replace(token, n.to_string());
    }
    Some(one_line(splice.finish()))
}

/// Where a request says its progress token.
pub(super) fn progress_token(frame: &Frame) -> Option<Span> {
    let span = frame.param(&["_meta", "progressToken"])?;
    // `null` is no token; it stays as it is.
    (span.of(frame.text()) != "null").then_some(span)
}

/// The message with the value at `path` below params replaced, on one line.
pub(super) fn with_param(frame: &Frame, path: &[&str], raw: &str) -> Option<Bytes> {
    let mut splice = Splice::new(frame.text());
    splice.replace(frame.param(path)?, raw);
    Some(one_line(splice.finish()))
}

/// The message with the value at `path` below params replaced.
pub(super) fn with_param_frame(frame: &Frame, path: &[&str], raw: &str) -> Option<Frame> {
    let mut splice = Splice::new(frame.text());
    splice.replace(frame.param(path)?, raw);
    Frame::edited(splice).ok()
}

/// The answer with the id that its request had.
pub(super) fn answer(frame: &Frame, id: &str) -> Frame {
    frame.with_id(id)
}

/// The answer to a `subscriptions/listen`: its id stands in `_meta` as well.
pub(super) fn listen_answer(frame: &Frame, id: &str) -> Frame {
    let answer = frame.with_id(id);
    let Some(body) = answer.body_span() else {
        return answer;
    };
    let at = find_path(body.of(answer.text()), &["_meta", SUBSCRIPTION]);
    let Some(at) = at.filter(|_| answer.kind() == Kind::Result) else {
        return answer;
    };
    let mut splice = Splice::new(answer.text());
    splice.replace(at.shift(body.start), id);
    // Cannot fail: an id was put in the place of a value. Unedited it would name our number, which tells nothing.
    Frame::edited(splice).unwrap_or(answer)
}

/// How a `subscriptions/listen` ends in order (`MCP.md` A7), for a server that only says it is cancelled.
pub(super) fn listen_end(id: &str) -> Option<Frame> {
    ours(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"{SUBSCRIPTION}":{id}}}}}}}"#
    ))
}

/// An empty result.
pub(super) fn empty_result(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}

/// An error answer.
pub(super) fn error(id: &str, code: i32, message: &str) -> Bytes {
    let message = encode_str(message);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#).into()
}

/// The notification that cancels request `n`.
pub(super) fn cancelled(n: u64) -> Bytes {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{n}}}}}"#
    )
    .into()
}

/// A request of our own whose only parameter is a string.
pub(super) fn own_request(n: u64, method: &str, key: &str, value: &str) -> Bytes {
    let value = encode_str(value);
    format!(r#"{{"jsonrpc":"2.0","id":{n},"method":"{method}","params":{{"{key}":{value}}}}}"#)
        .into()
}

/// A `ping` of our own.
pub(super) fn ping(n: u64) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{n},"method":"ping"}}"#).into()
}

/// Reads a message that we wrote ourselves.
pub(super) fn ours(text: &str) -> Option<Frame> {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).ok()
}

/// Line breaks stand only between tokens (in a string they are escaped), where a blank means the same.
fn one_line(text: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &text).is_none() {
        return text;
    }
    let blank = |byte: &u8| match *byte {
        b'\n' | b'\r' => b' ',
        other => other,
    };
    text.iter().map(blank).collect()
}
