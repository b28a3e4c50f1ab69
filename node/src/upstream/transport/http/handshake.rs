//! `initialize` and `notifications/initialized`: how a session starts.

use std::sync::Arc;

use http::HeaderValue;
use lockgate_proto::jsonrpc::{Frame, Kind, decode_str, find};
use lockgate_proto::mcp::{Era, Revision, code};
use tracing::debug;

use super::answer::{error_code, error_message};
use super::call_stream::CallStream;
use super::endpoint::HttpEndpoint;
use super::heard::{Content, Heard, turns_away};
use super::inbox::Inbox;
use super::template::{PROTOCOL_VERSION, SESSION_ID, Template};
use crate::error::UpstreamError;
use crate::upstream::link::{Outgoing, SessionInit};

/// Prefix of the ids of our own requests, which share a session with the client's.
pub(super) const OWN_ID: &str = "lockgate-";

/// A session as its server knows it. Replaced as a whole when the server forgot it.
#[derive(Debug)]
pub(super) struct Live {
    /// Counts the sessions that were opened under one handle.
    pub(super) generation: u64,
    pub(super) template: Template,
    pub(super) session_id: Option<HeaderValue>,
    pub(super) revision: Revision,
    pub(super) initialize_result: Arc<str>,
}

/// Opens a session and asks for `revision`.
///
/// # Errors
///
/// `NoEra` when the server refuses or agrees to no revision that we speak.
pub(super) async fn shake_hands(
    endpoint: &HttpEndpoint,
    init: &SessionInit,
    revision: Revision,
    generation: u64,
) -> Result<Live, UpstreamError> {
    let out = endpoint.own(format!(
        r#"{{"jsonrpc":"2.0","id":"{OWN_ID}initialize","method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{},"clientInfo":{}}}}}"#,
        init.capabilities, init.client_info
    ))?;
    let heard = endpoint.converse(endpoint.plain(), &out).await?;
    if turns_away(heard.status) {
        return Err(endpoint.blame().status(heard.status));
    }
    let session_id = heard.session_id.clone();
    let answer = final_answer(endpoint, heard, &out).await?;
    let result = initialize_result(endpoint, &answer)?;
    let revision = agreed_revision(result).ok_or_else(|| {
        endpoint
            .blame()
            .garbage("no known protocolVersion in the initialize result")
    })?;
    let mut template = endpoint.plain().clone();
    if let Some(id) = &session_id {
        template = template.with(SESSION_ID, id.clone());
    }
    if revision >= Revision::V2025_06_18 {
        let value = HeaderValue::from_static(revision.as_str());
        template = template.with(PROTOCOL_VERSION, value);
    }
    let live = Live {
        generation,
        template,
        session_id,
        revision,
        initialize_result: result.into(),
    };
    let initialized =
        endpoint.own(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned())?;
    let heard = endpoint.converse(&live.template, &initialized).await?;
    if !heard.is_success() {
        return Err(endpoint.blame().status(heard.status));
    }
    Ok(live)
}

/// The answer to `out`, wherever it comes; what comes before it on a stream is of no use here.
pub(super) async fn final_answer(
    endpoint: &HttpEndpoint,
    heard: Heard,
    out: &Outgoing,
) -> Result<Frame, UpstreamError> {
    let blame = endpoint.blame();
    let request_id = out.frame.id().unwrap_or_default();
    let inbox = || Inbox::of_call(request_id, endpoint.limits(), blame.clone()).with_batches();
    let mut stream = match heard.body {
        Content::Message(frame) => return Heard::settle(heard.status, frame, request_id, blame),
        Content::Nothing => return Err(Heard::missing(heard.status, heard.elsewhere, blame)),
        Content::Events(exchange) => CallStream::new(inbox(), exchange, out.timeout, blame.clone()),
        Content::Batch(frames) => {
            let mut inbox = inbox();
            inbox.take_frames(frames);
            CallStream::of_inbox(inbox, out.timeout, blame.clone())
        }
    };
    while let Some(frame) = stream.next().await? {
        if matches!(frame.kind(), Kind::Result | Kind::Error) {
            return Ok(frame);
        }
    }
    Err(blame.garbage("no answer among the messages"))
}

fn initialize_result<'a>(
    endpoint: &HttpEndpoint,
    answer: &'a Frame,
) -> Result<&'a str, UpstreamError> {
    let blame = endpoint.blame();
    if let Some(code) = error_code(answer) {
        let message = error_message(answer);
        debug!(code, message, "initialize refused");
        return Err(if code == i64::from(code::INTERNAL_ERROR) {
            blame.broken(format_args!("initialize failed: {message}"))
        } else {
            blame.no_era(Era::Session)
        });
    }
    answer
        .body()
        .ok_or_else(|| blame.garbage("an answer to initialize without a result"))
}

fn agreed_revision(result: &str) -> Option<Revision> {
    let version = decode_str(find(result, "protocolVersion")?.of(result))?;
    Revision::parse(&version).filter(|revision| revision.era() == Era::Session)
}
