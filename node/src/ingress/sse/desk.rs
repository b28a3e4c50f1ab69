//! Open streams, and the way from a POST to the stream of its client.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode, Uri};
use lockgate_proto::mcp::Era;
use parking_lot::Mutex;

use crate::error::CallError;
use crate::identity::Authenticated;
use crate::ingress::body::Body;
use crate::ingress::duplex::{Line, Peer};
use crate::ingress::respond;
use crate::ingress::service::Gateway;
use crate::task::spawn_named;
use crate::telemetry::trace::Context;

use super::body::StreamBody;

/// Names the stream in the URL of a POST.
const PARAMETER: &str = "sessionId";

/// The open streams of this node.
#[derive(Clone, Debug, Default)]
pub(in crate::ingress) struct Desk {
    open: Arc<Mutex<HashMap<String, Stream>>>,
}

/// An open stream. A POST must come from the same caller, on the path beside the stream's.
#[derive(Clone, Debug)]
struct Stream {
    line: Arc<Line>,
    base: String,
}

impl Desk {
    /// Opens a stream for `peer` and names `{base}/messages` as the place for its messages.
    ///
    /// # Errors
    ///
    /// Fails when this node has too many streams, or no random numbers.
    pub(in crate::ingress) fn open(
        &self,
        gateway: &Arc<Gateway>,
        peer: Peer,
        base: &str,
    ) -> Result<Response<Body>, CallError> {
        if self.open.lock().len() >= gateway.limits.sessions_max {
            gateway.metrics.limited("sessions");
            return Err(CallError::Overloaded {
                what: "this node has too many event streams",
            });
        }
        let id = unguessable()?;
        let (line, outbox) = Line::open(Arc::clone(gateway), peer);
        let stream = Stream {
            line: Arc::clone(&line),
            base: base.to_owned(),
        };
        self.open.lock().insert(id.clone(), stream);
        let endpoint = format!("{base}/messages?{PARAMETER}={id}");
        let body = StreamBody::new(&endpoint, outbox);
        let (desk, limit) = (self.clone(), gateway.limits.read_timeout);
        // Ends with the stream: when the client drops it, the line finds its queue gone.
        drop(spawn_named("sse line", async move {
            let end = line.live(line.mute_for(limit)).await;
            desk.open.lock().remove(&id);
            tracing::debug!(?end, "event stream ended");
        }));
        Ok(stream_response(body))
    }

    /// Takes the body of a POST.
    ///
    /// # Errors
    ///
    /// Fails when there is no such stream for this caller.
    pub(in crate::ingress) async fn post(
        &self,
        gateway: &Gateway,
        post: Post<'_>,
        text: Bytes,
    ) -> Result<Response<Body>, CallError> {
        let line = self.find(gateway, &post)?;
        Ok(match line.take(post.who, post.trace, text.clone()).await {
            Ok(()) => respond::plain(StatusCode::ACCEPTED, Body::Empty),
            Err(no_message) => respond::error_of(&text, &no_message, Era::Session),
        })
    }

    fn find(&self, gateway: &Gateway, post: &Post<'_>) -> Result<Arc<Line>, CallError> {
        let Some(id) = parameter(post.uri) else {
            return Err(CallError::InvalidRequest {
                what: format!("the parameter `{PARAMETER}` is missing").into(),
            });
        };
        let stream = self.open.lock().get(id).cloned();
        let stream = stream.ok_or(CallError::UnknownSession)?;
        let (opener, caller) = (&stream.line.opener().caller, &post.who.caller);
        let same = opener.principal == caller.principal && opener.tenant == caller.tenant;
        if same && stream.base == post.base {
            return Ok(stream.line);
        }
        let path = post.uri.path();
        gateway.audit.security("session_id_refused", caller, path);
        Err(CallError::UnknownSession)
    }
}

/// What is known of a POST before its body is read.
#[derive(Debug)]
pub(in crate::ingress) struct Post<'a> {
    pub(in crate::ingress) who: Arc<Authenticated>,
    pub(in crate::ingress) uri: &'a Uri,
    /// The path without `/messages`.
    pub(in crate::ingress) base: &'a str,
    pub(in crate::ingress) trace: Option<Context>,
}

fn parameter(uri: &Uri) -> Option<&str> {
    let pairs = uri.query()?.split('&');
    let mut values =
        pairs.filter_map(|pair| pair.split_once('=').filter(|(name, _)| *name == PARAMETER));
    values.next().map(|(_, value)| value)
}

/// 128 random bits.
fn unguessable() -> Result<String, CallError> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| CallError::Overloaded {
        what: "the system gives no random numbers",
    })?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(id))
}

fn stream_response(body: StreamBody) -> Response<Body> {
    let mut response = respond::plain(StatusCode::OK, Body::Stream(Box::new(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_named_by_one_parameter() {
        let named = |uri: &'static str| parameter(&Uri::from_static(uri)).map(str::to_owned);
        assert_eq!(named("/messages?sessionId=abc").unwrap(), "abc");
        assert_eq!(named("/messages?a=1&sessionId=abc&b=2").unwrap(), "abc");
        assert_eq!(named("/messages?sessionid=abc"), None);
        assert_eq!(named("/messages"), None);
    }

    #[test]
    fn ids_do_not_repeat() {
        assert_ne!(unguessable().unwrap(), unguessable().unwrap());
    }
}
