//! What servers say on their own account, on its way to the client.

use lockgate_proto::jsonrpc::{Frame, Kind, Span, Splice};
use lockgate_proto::mcp::{code, method};

use crate::upstream::BoundSession;

use super::cell::Cell;
use super::id::capability;

/// What becomes of a server's message.
#[derive(Debug)]
pub(super) enum Heard {
    /// Goes to the client.
    Tell(Frame),
    /// Asks the client, under this id.
    Ask(u64, Frame),
    /// Refused: this goes back to the server.
    Refuse(Frame),
    /// Nobody needs it.
    Drop,
}

/// Translates a request or notification that came on a session at a server. `call` is the serial of the call whose
/// stream it came on.
pub(super) fn hear(cell: &Cell, session: &BoundSession, frame: Frame, call: Option<u64>) -> Heard {
    let far = session.number();
    match frame.kind() {
        Kind::Request => hear_request(cell, far, &frame, call),
        Kind::Notification if frame.method() == method::CANCELLED => {
            hear_cancelled(cell, far, &frame)
        }
        Kind::Notification => Heard::Tell(frame),
        // An answer that belongs to no call of this session.
        Kind::Result | Kind::Error => Heard::Drop,
    }
}

fn hear_request(cell: &Cell, far: u64, frame: &Frame, call: Option<u64>) -> Heard {
    let Some(server_id) = frame.id().map(str::to_owned) else {
        return Heard::Drop;
    };
    let mut state = cell.state.lock();
    let declared = state.hard.capability_bits;
    let needed = match &*frame.method() {
        method::SAMPLING => capability::SAMPLING,
        method::ELICITATION => capability::ELICITATION,
        method::ROOTS_LIST => capability::ROOTS,
        _ => 0,
    };
    if declared & needed != needed {
        return refuse(
            &server_id,
            code::METHOD_NOT_FOUND,
            "the client did not declare this capability",
        );
    }
    let token = frame.param(&["_meta", "progressToken"]);
    let raw = token.map(|span| span.of(frame.text()));
    match state.ask(far, &server_id, raw, call) {
        Some(id) => ask_as(frame, id, token),
        None => refuse(
            &server_id,
            code::INTERNAL_ERROR,
            "too many requests wait for this client",
        ),
    }
}

/// The request under our id. Where the server asks for progress, the id stands for its token, too.
fn ask_as(frame: &Frame, id: u64, token: Option<Span>) -> Heard {
    let raw = id.to_string();
    let Some(token) = token else {
        return Heard::Ask(id, frame.with_id(&raw));
    };
    let mut splice = Splice::new(frame.text());
    splice.replace(token, raw.clone());
    Frame::edited(splice).map_or(Heard::Drop, |frame| Heard::Ask(id, frame.with_id(&raw)))
}

/// A server that gives up its own request names it by its own id; the client knows it by ours.
fn hear_cancelled(cell: &Cell, far: u64, frame: &Frame) -> Heard {
    let Some(span) = frame.param(&["requestId"]) else {
        return Heard::Drop;
    };
    let Some(id) = cell.withdraw(far, span.of(frame.text())) else {
        return Heard::Drop;
    };
    let mut splice = Splice::new(frame.text());
    splice.replace(span, id.to_string());
    Frame::edited(splice).map_or(Heard::Drop, Heard::Tell)
}

/// An answer to the server's request with this raw id.
pub(super) fn refuse(id: &str, code: i32, message: &str) -> Heard {
    let text =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#);
    let limits = lockgate_proto::jsonrpc::Limits::default();
    Frame::parse(text.into(), &limits).map_or(Heard::Drop, Heard::Refuse)
}
