//! What came back for one HTTP request.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Uri};
use lockgate_proto::jsonrpc::{Batch, Frame, Limits, ParseError, Unfit};

use super::answer::answering;
use super::blame::Blame;
use super::exchange::{BodyError, Exchange};
use super::head::{Head, Media};
use crate::error::UpstreamError;

/// Largest body that is read for nothing else than to keep the connection.
pub(super) const DISCARD_BYTES_MAX: usize = 64 << 10;

/// A response, its body read as far as it is not a stream.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) status: u16,
    /// `Mcp-Session-Id` of the response.
    pub(super) session_id: Option<HeaderValue>,
    /// When and where the server wants to be asked instead.
    pub(super) elsewhere: Elsewhere,
    pub(super) body: Content,
}

/// When and where a server wants to be asked that did not do what it was asked.
#[derive(Debug, Default)]
pub(in crate::upstream::transport) struct Elsewhere {
    pub(super) retry_after: Option<Duration>,
    /// Of a redirect.
    pub(super) location: Option<Box<Uri>>,
}

/// What the body was.
#[derive(Debug)]
pub(super) enum Content {
    /// One message.
    Message(Frame),
    /// An array of messages (2025-03-26).
    Batch(Vec<Frame>),
    /// Server-sent events, still to come.
    Events(Exchange),
    /// No message.
    Nothing,
}

impl Heard {
    /// Reads what `head` announces.
    ///
    /// # Errors
    ///
    /// `Garbage` and `Broken`; a body that is no message is an error only under a status that promises one.
    pub(super) async fn read(
        head: Head,
        exchange: Exchange,
        limits: &Limits,
        blame: &Blame,
    ) -> Result<Self, UpstreamError> {
        let is_accepted = matches!(head.status.as_u16(), 202 | 204);
        if let Some(coding) = head
            .coding
            .filter(|_| head.status.is_success() && !is_accepted)
        {
            return Err(blame.garbage(format_args!(
                "its answer is compressed ({coding}), which it was asked not to do"
            )));
        }
        let body = match (head.status.is_success(), head.media) {
            (true, Media::Events) => Content::Events(exchange),
            // Accepted, with nothing to say: a body, such as a framework's "Accepted", is no message.
            (true, _) if is_accepted => Box::pin(discard(exchange)).await,
            (true, media) => promised(exchange, media, limits, blame).await?,
            (false, Media::Json) => Box::pin(refusal(exchange, limits)).await,
            (false, _) => Box::pin(discard(exchange)).await,
        };
        Ok(Self {
            status: head.status.as_u16(),
            session_id: head.session_id,
            elsewhere: Elsewhere {
                retry_after: head.retry_after,
                location: head.location.filter(|_| head.status.is_redirection()),
            },
            body,
        })
    }

    /// The one message that answers the request with the raw id `request_id`.
    ///
    /// # Errors
    ///
    /// `Status` when the server refused without a message, `Garbage` when it answered something else.
    pub(super) fn settle(
        status: u16,
        frame: Frame,
        request_id: &str,
        blame: &Blame,
    ) -> Result<Frame, UpstreamError> {
        answering(request_id, frame).ok_or_else(|| {
            if is_success(status) {
                blame.garbage("the answer has another id than the request")
            } else {
                blame.status(status)
            }
        })
    }

    pub(super) fn is_success(&self) -> bool {
        is_success(self.status)
    }

    /// Error of a response that carries no message where one is needed.
    pub(super) fn missing(status: u16, elsewhere: Elsewhere, blame: &Blame) -> UpstreamError {
        if is_success(status) {
            blame.garbage(format_args!("HTTP status {status} without an answer"))
        } else {
            blame.turned_away(status, elsewhere)
        }
    }
}

/// Whether a status speaks of the caller's credential or of the server's present state, and so not of what was asked.
pub(super) fn turns_away(status: u16) -> bool {
    matches!(status, 401 | 403 | 407 | 408 | 425 | 429 | 500..=599)
}

/// Whether the same GET may succeed a moment later. 409: the server has not noticed yet that the former stream broke.
pub(super) fn passes_over(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..=599)
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

async fn discard(exchange: Exchange) -> Content {
    // Only the connection is wanted, and it is lost when the body is too long or breaks.
    let _text = exchange.read_all(DISCARD_BYTES_MAX).await;
    Content::Nothing
}

async fn promised(
    exchange: Exchange,
    media: Media,
    limits: &Limits,
    blame: &Blame,
) -> Result<Content, UpstreamError> {
    let text = exchange
        .read_all(limits.body_bytes_max)
        .await
        .map_err(|error| match error {
            BodyError::Broken(what) => blame.broken(what),
            BodyError::TooLarge { max } => {
                blame.garbage(format_args!("the answer is over the limit of {max} bytes"))
            }
        })?;
    if text.trim_ascii().is_empty() {
        return Ok(Content::Nothing);
    }
    if media == Media::Other {
        return Err(blame.garbage("the answer is neither JSON nor an event stream"));
    }
    parse(text, limits).map_err(|error| blame.garbage(error))
}

async fn refusal(exchange: Exchange, limits: &Limits) -> Content {
    let Ok(text) = exchange.read_all(limits.body_bytes_max).await else {
        return Content::Nothing;
    };
    // JSON that is no JSON-RPC, as web frameworks write it, leaves the status to speak for itself.
    parse(text, limits).unwrap_or(Content::Nothing)
}

/// The messages of a batch that has nothing else: of a server that answers with what is no message nothing is passed on.
pub(super) fn whole(elements: Vec<Result<Frame, Unfit>>) -> Result<Vec<Frame>, ParseError> {
    let messages = elements.into_iter().collect::<Result<_, _>>();
    messages.map_err(|unfit: Unfit| unfit.error)
}

fn parse(text: Bytes, limits: &Limits) -> Result<Content, ParseError> {
    if text.trim_ascii_start().first() != Some(&b'[') {
        return Frame::parse(text, limits).map(Content::Message);
    }
    Ok(match Batch::parse(text, limits)? {
        Batch::One(frame) => Content::Message(frame),
        Batch::Many(elements) => Content::Batch(whole(elements)?),
    })
}
