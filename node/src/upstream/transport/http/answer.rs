//! Which answer belongs to which request.

use lockgate_proto::jsonrpc::{Frame, Kind, Span, Splice, decode_str};

/// Id under which the official Python SDK reports errors of its transport.
const PYTHON_TRANSPORT_ID: &str = "\"server-error\"";

/// Integers below this are exact in every JSON reader (2^53, RFC 8259 section 6).
const EXACT_END: f64 = 9_007_199_254_740_992.0;

/// `frame` as the answer to the request with the raw id `request_id`, under exactly that id. `None` when it answers
/// something else. An error that names no request can only mean the one that it was sent back for.
pub(super) fn answering(request_id: &str, frame: Frame) -> Option<Frame> {
    match frame.id() {
        Some(id) if id == request_id => Some(frame),
        Some(id) if is_same_id(id, request_id) => Some(frame.with_id(request_id)),
        None | Some(PYTHON_TRANSPORT_ID) if frame.kind() == Kind::Error => {
            adopted(request_id, &frame)
        }
        _ => None,
    }
}

/// JSON-RPC error code of an answer.
pub(super) fn error_code(frame: &Frame) -> Option<i64> {
    if frame.kind() != Kind::Error {
        return None;
    }
    let body = frame.body()?;
    let code = lockgate_proto::jsonrpc::find(body, "code")?;
    code.of(body).parse().ok()
}

/// Message of an error answer; empty when there is none.
pub(super) fn error_message(frame: &Frame) -> String {
    let message = || {
        let body = frame.body()?;
        let message = lockgate_proto::jsonrpc::find(body, "message")?;
        decode_str(message.of(body)).map(|text| text.into_owned())
    };
    message().unwrap_or_default()
}

fn adopted(request_id: &str, frame: &Frame) -> Option<Frame> {
    let text = frame.text();
    let whole = Span {
        start: 0,
        end: u32::try_from(text.len()).ok()?,
    };
    let mut splice = Splice::new(text);
    splice.set_member(whole, "id", request_id);
    Frame::edited(splice).ok()
}

/// Whether two raw ids are the same value, spelled differently: escapes in a string, or `1.0` for `1`.
fn is_same_id(a: &str, b: &str) -> bool {
    if let (Some(a), Some(b)) = (decode_str(a), decode_str(b)) {
        return a == b;
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a == b && a.abs() < EXACT_END,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lockgate_proto::jsonrpc::Limits;

    use super::*;

    /// `expected`: the id that the answer comes back under.
    fn check(request_id: &str, answer: &str, expected: Option<&str>) {
        let text = Bytes::from(format!(r#"{{"jsonrpc":"2.0",{answer}}}"#));
        let frame = Frame::parse(text, &Limits::default()).unwrap();
        let found = answering(request_id, frame);
        assert_eq!(found.as_ref().and_then(Frame::id), expected, "{answer}");
    }

    #[test]
    fn an_answer_has_the_id_of_its_request() {
        check("1", r#""id":1,"result":{}"#, Some("1"));
        check("1", r#""id":2,"result":{}"#, None);
        check("1", r#""id":"1","result":{}"#, None);
        check("\"a\"", r#""id":"b","result":{}"#, None);
    }

    #[test]
    fn another_spelling_is_undone() {
        check(
            r#""\u0061""#,
            r#""id":"a","result":{}"#,
            Some(r#""\u0061""#),
        );
    }

    #[test]
    fn integers_that_only_floats_confuse_stay_apart() {
        check(
            "9007199254740993",
            r#""id":9007199254740992,"result":{}"#,
            None,
        );
    }

    #[test]
    fn only_an_error_may_come_without_id() {
        let error = r#""error":{"code":-32000,"message":"no"}"#;
        check("7", error, Some("7"));
        check("7", &format!(r#""id":null,{error}"#), Some("7"));
        check("7", &format!(r#""id":"server-error",{error}"#), Some("7"));
        check("7", &format!(r#""id":"other",{error}"#), None);
        check("7", r#""id":"server-error","result":{}"#, None);
    }
}
