//! The life of a line, from its first message to the end of its session.
//!
//! ```text
//! open ─┬─[client goes, breaks a rule, or stalls]──────────────┐
//!       ├─[session ends elsewhere, credential is withdrawn]────┤
//!       └─[shutdown]─► draining ──[calls ended, or time over]──┴─► over ─► session ended, last words ─► closed
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::error::CallError;

use super::end::End;
use super::line::{Line, Stage};

/// Calls that were cut off have this long to say so.
const LAST_WORDS_MAX: Duration = Duration::from_secs(3);

impl Line {
    /// Lives until the client is gone, which `heard` tells, or until the line has to end for another reason. When this
    /// is done the session has ended and nothing more is put into the queue.
    pub(in crate::ingress) async fn live(
        self: &Arc<Self>,
        heard: impl Future<Output = End>,
    ) -> End {
        let standing = self.gateway.identities.standing(&self.peer.who);
        let end = tokio::select! {
            biased;
            () = self.over.cancelled() => End::Gone,
            () = self.out.closed() => End::Gone,
            () = standing.withdrawn() => End::Withdrawn,
            end = heard => end,
            () = self.shut_down() => End::Shutdown,
        };
        self.end(end);
        self.finish().await;
        self.reason()
    }

    /// The line has to end. The first reason counts.
    pub(in crate::ingress) fn end(&self, end: End) {
        self.end.lock().get_or_insert(end);
        self.draining.cancel();
        self.over.cancel();
    }

    /// Why the line ended.
    pub(in crate::ingress) fn reason(&self) -> End {
        self.end.lock().unwrap_or(End::Gone)
    }

    /// Resolves when the client has said nothing for `limit` since it came; never after its first message.
    pub(in crate::ingress) async fn mute_for(&self, limit: Duration) -> End {
        if timeout(limit, self.spoken.cancelled()).await.is_ok() {
            std::future::pending::<()>().await;
        }
        End::Silent
    }

    /// Resolves when what is left in the queue was not taken within `limit`.
    pub(in crate::ingress) async fn overdue(&self, limit: Duration) {
        self.closed.cancelled().await;
        tokio::time::sleep(limit).await;
    }

    /// Takes no new request and waits for the calls in flight, within the time that a shutdown gives them.
    pub(in crate::ingress) async fn drain(&self) {
        self.draining.cancel();
        self.tasks.close();
        if timeout(self.gateway.grace, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                route = self.peer.route,
                "calls were cut off at the end of the grace period"
            );
        }
    }

    async fn shut_down(&self) {
        self.gateway.closing.cancelled().await;
        self.drain().await;
    }

    /// Ends the session, lets the calls say that they were cut off, and closes the queue.
    async fn finish(&self) {
        self.tasks.close();
        let last_words = async {
            let _in_time = timeout(LAST_WORDS_MAX, self.tasks.wait()).await;
            self.closed.cancel();
        };
        // At the same time: servers may take long to say goodbye, and the client need not wait for them.
        futures_util::future::join(self.end_session(), last_words).await;
    }

    pub(super) async fn end_session(&self) {
        let stage = std::mem::take(&mut *self.session.lock());
        let id = match stage {
            Stage::Open(id) => id,
            Stage::None => return,
            Stage::Opening => {
                // Whoever opens it finds the line over, and ends it.
                *self.session.lock() = Stage::Opening;
                return;
            }
        };
        let request = self.session_request(&self.peer.who, Some(&id), None);
        if let Err(error) = self.gateway.sessions.end(&request).await
            && !matches!(error, CallError::UnknownSession)
        {
            tracing::debug!(%error, "session was not ended");
        }
    }
}
