//! What servers say on their own account, on its way to the client.

use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, Kind, Splice};
use lockgate_proto::mcp::{code, method};

use super::cell::Cell;
use super::id::capability;

/// What becomes of a server's message.
#[derive(Debug)]
pub(super) enum Heard {
    /// Goes to the client.
    Tell(Frame),
    /// Refused: this goes back to the server.
    Refuse(Frame),
    /// Nobody needs it.
    Drop,
}

/// Translates a server's request or notification. `call` is the serial of the call whose stream it came on.
pub(super) fn hear(cell: &Cell, server: &ServerName, frame: Frame, call: Option<u64>) -> Heard {
    match frame.kind() {
        Kind::Request => hear_request(cell, server, &frame, call),
        Kind::Notification if frame.method() == method::CANCELLED => {
            hear_cancelled(cell, server, &frame)
        }
        Kind::Notification => Heard::Tell(frame),
        // An answer that belongs to no call of this session.
        Kind::Result | Kind::Error => Heard::Drop,
    }
}

fn hear_request(cell: &Cell, server: &ServerName, frame: &Frame, call: Option<u64>) -> Heard {
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
    let token = frame
        .param(&["_meta", "progressToken"])
        .map(|span| span.of(frame.text()).to_owned());
    match state.ask(server.clone(), &server_id, token.as_deref(), call) {
        Some(id) => Heard::Tell(frame.with_id(&id.to_string())),
        None => refuse(
            &server_id,
            code::INTERNAL_ERROR,
            "too many requests wait for this client",
        ),
    }
}

/// A server that gives up its own request names it by its own id; the client knows it by ours.
fn hear_cancelled(cell: &Cell, server: &ServerName, frame: &Frame) -> Heard {
    let Some(span) = frame.param(&["requestId"]) else {
        return Heard::Drop;
    };
    let Some(id) = cell.state.lock().withdraw(server, span.of(frame.text())) else {
        return Heard::Drop;
    };
    let mut splice = Splice::new(frame.text());
    splice.replace(span, id.to_string());
    Frame::edited(splice).map_or(Heard::Drop, Heard::Tell)
}

fn refuse(id: &str, code: i32, message: &str) -> Heard {
    let text =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#);
    let limits = lockgate_proto::jsonrpc::Limits::default();
    Frame::parse(text.into(), &limits).map_or(Heard::Drop, Heard::Refuse)
}
