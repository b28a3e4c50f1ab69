//! Where a session gets another connection from.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lockgate_proto::mcp::Revision;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::connection::connect;
use crate::error::UpstreamError;
use crate::upstream::link::SessionInit;
use crate::upstream::transport::channel::{Backoff, Home, Link, Queue, Sharing, nothing_sent};
use crate::upstream::transport::http::HttpEndpoint;

/// A caller waits for an attempt that is this near; for a later one it gets an error at once.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Opens the connections of one session, one after the other.
#[derive(Debug)]
pub(super) struct SseHome {
    http: HttpEndpoint,
    init: SessionInit,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the connection was opened that the session has now.
    opened: Option<Instant>,
    backoff: Backoff,
    /// What the client's side of the session speaks since the first connection.
    revision: Option<Revision>,
}

impl SseHome {
    pub(super) fn new(http: HttpEndpoint, init: SessionInit) -> Self {
        Self {
            http,
            init,
            state: Mutex::default(),
        }
    }

    async fn open(&self, mailbox: &Arc<Queue>) -> Result<Link, UpstreamError> {
        let mut state = self.state.lock().await;
        if let Some(opened) = state.opened.take() {
            // Another is asked for when the former has ended: a server that drops every stream must not make us spin.
            state.backoff.on_ended(opened, Instant::now());
        }
        let wait = state.backoff.wait(Instant::now());
        if wait > WAIT_MAX {
            let ends = state.backoff.ends();
            let what = format!("the event stream ended {ends} times in a row; next in {wait:?}");
            return Err(self.http.blame().unreachable(io::Error::other(what)));
        }
        sleep(wait).await;
        state.opened = Some(Instant::now());
        let link = self.shake_hands(state.revision, mailbox).await?;
        state.revision = Some(link.agreement.revision);
        Ok(link)
    }

    async fn shake_hands(
        &self,
        spoken: Option<Revision>,
        mailbox: &Arc<Queue>,
    ) -> Result<Link, UpstreamError> {
        let channel = connect(&self.http).await?;
        let init = SessionInit {
            revision: spoken.unwrap_or(self.init.revision),
            ..self.init.clone()
        };
        let link = channel.initialize(&init, Sharing::Own, mailbox).await?;
        let agreed = link.agreement.revision;
        if spoken.is_some_and(|spoken| spoken != agreed) {
            return Err(self.http.blame().garbage(format_args!(
                "the server now speaks {agreed}, the session {}",
                init.revision
            )));
        }
        Ok(link)
    }
}

impl Home for SseHome {
    fn link<'a>(&'a self, mailbox: &'a Arc<Queue>) -> BoxFuture<'a, Result<Link, UpstreamError>> {
        Box::pin(async move { self.open(mailbox).await.map_err(nothing_sent) })
    }
}
