//! The client's side of a session: one POST for each message.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::HeaderValue;
use lockgate_proto::jsonrpc::find;
use lockgate_proto::mcp::Revision;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use crate::error::UpstreamError;
use crate::upstream::transport::channel::{End, Hub, Queued};
use crate::upstream::transport::http::{HttpEndpoint, PROTOCOL_VERSION, Template};

/// POSTs of one session that may be under way at once: some servers answer one only when they have done what it asks.
const POSTS_MAX: usize = 32;

/// A notification speaks of what was said before it (`cancelled`), and what comes after may rest on it
/// (`initialized`). Separate connections keep no order, so it waits for what is under way, and what follows for it, but
/// not longer than this for a server that answers late.
const ORDER_WAIT: Duration = Duration::from_millis(250);

/// Sends the messages of one session.
#[derive(Debug)]
pub(super) struct Posts {
    http: HttpEndpoint,
    template: Template,
}

/// How the POST of a numbered line went.
type Posted = (u64, Result<u16, UpstreamError>);
type UnderWay<'a> = FuturesUnordered<BoxFuture<'a, Posted>>;

impl Posts {
    /// To the target of `template`.
    pub(super) fn new(http: HttpEndpoint, template: Template) -> Self {
        Self { http, template }
    }

    /// Sends what is queued, until the server has forgotten the session; returns that in words.
    pub(super) async fn send(&self, mut lines: mpsc::Receiver<Queued>, hub: &Hub) -> String {
        let mut under_way = UnderWay::new();
        loop {
            let queued = tokio::select! {
                biased;
                Some(posted) = under_way.next() => {
                    if let Err(how) = settle(hub, posted) {
                        return how;
                    }
                    continue;
                }
                queued = lines.recv(), if under_way.len() < POSTS_MAX => queued,
            };
            let Some(queued) = queued else {
                return "nobody is left to say anything".to_owned();
            };
            if let Err(how) = self.begin(queued, &mut under_way, hub).await {
                return how;
            }
        }
    }

    async fn begin<'a>(
        &'a self,
        queued: Queued,
        under_way: &mut UnderWay<'a>,
        hub: &Hub,
    ) -> Result<(), String> {
        let is_notification =
            std::str::from_utf8(&queued.up.line).is_ok_and(|text| find(text, "id").is_none());
        if is_notification {
            settle_all(under_way, hub).await?;
        }
        // From here on the server may have it.
        hub.on_delivered(queued.up.n);
        under_way.push(Box::pin(self.post(queued, hub.revision())));
        if is_notification {
            settle_all(under_way, hub).await?;
        }
        Ok(())
    }

    /// Holds the line's place in the queue until it is over, so that a slow server slows its callers.
    async fn post(&self, queued: Queued, revision: Option<Revision>) -> Posted {
        let limit = self.http.timeout();
        let line = queued.up.line.clone();
        let revision = revision.filter(|revision| *revision >= Revision::V2025_06_18);
        let posted = match revision {
            // Asked for by later revisions on any HTTP; the official SDKs send it on this transport, too.
            Some(revision) => {
                let value = HeaderValue::from_static(revision.as_str());
                let template = self.template.with(PROTOCOL_VERSION, value);
                self.http.deliver(&template, line, limit).await
            }
            None => self.http.deliver(&self.template, line, limit).await,
        };
        (queued.up.n, posted)
    }
}

async fn settle_all(under_way: &mut UnderWay<'_>, hub: &Hub) -> Result<(), String> {
    let settled = timeout(ORDER_WAIT, async {
        while let Some(posted) = under_way.next().await {
            settle(hub, posted)?;
        }
        Ok(())
    });
    // Those that take longer stay under way.
    settled.await.unwrap_or(Ok(()))
}

/// Tells the call what became of its request. An error ends the session.
fn settle(hub: &Hub, (n, posted): Posted) -> Result<(), String> {
    match posted {
        Ok(200..300) => {}
        Ok(status @ (404 | 410)) => {
            hub.on_returned(n);
            return Err(format!(
                "the server does not know the session (HTTP status {status})"
            ));
        }
        Ok(status) => {
            debug!(server = %hub.server(), status, "message refused");
            hub.on_refused(n, End::Refused(status));
        }
        Err(UpstreamError::Unreachable { source, .. }) => {
            debug!(server = %hub.server(), error = %source, "message not sent");
            hub.on_refused(n, End::NotSent(source.to_string().into()));
        }
        // The server may have it: the answer, if any, comes on the event stream.
        Err(error) => debug!(server = %hub.server(), %error, "message not acknowledged"),
    }
    Ok(())
}
