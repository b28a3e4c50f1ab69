//! `subscriptions/listen` over an owned session.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::Frame;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{sleep_until, timeout};

use crate::error::UpstreamError;
use crate::task::spawn_named;

use super::hub::News;
use super::listening::Listening;
use super::owned::Owned;

/// Longest wait until a server has opened its own stream. One that takes longer may still tell later, so its
/// acknowledgement promises what it announced.
const OPEN_WAIT: Duration = Duration::from_secs(3);

/// Moves the messages of one client's listen.
#[derive(Debug)]
pub(super) struct ListenStream {
    owned: Arc<Owned>,
    listening: Listening,
    news: broadcast::Receiver<News>,
}

impl ListenStream {
    /// Subscribes to what `request` wants and the server offers; the first message acknowledges it.
    pub(super) async fn open(owned: Arc<Owned>, request: &Frame) -> Self {
        let news = owned.hub.subscribe();
        owned.follow();
        let offered = timeout(OPEN_WAIT, owned.hub.offered());
        let is_heard = offered.await.unwrap_or(true);
        let introduction = owned.session.initialize_result();
        let introduction = is_heard.then_some(&*introduction);
        let (listening, wanted) = Listening::begin(request, introduction);
        // From here on, dropping it takes back what was subscribed to.
        let mut stream = Self {
            owned,
            listening,
            news,
        };
        for uri in wanted {
            let Self {
                owned, listening, ..
            } = &mut stream;
            owned.subscribe(&uri, &mut listening.uris).await;
        }
        stream.listening.acknowledge();
        stream
    }

    /// See [`crate::upstream::link::MessageStream::next`].
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        loop {
            if let Some(frame) = self.listening.take() {
                return Ok(Some(frame));
            }
            if self.listening.is_over() {
                return Ok(None);
            }
            let hub = &self.owned.hub;
            let due = self.listening.due_ms().and_then(|ms| hub.clock.at(ms));
            let is_due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = hub.ended.cancelled() => self.listening.end(),
                news = self.news.recv() => {
                    let now_ms = hub.clock.now_ms();
                    match news {
                        Ok(News::Told(frame)) => self.listening.on_message(&frame, now_ms),
                        Ok(News::Gap) | Err(RecvError::Lagged(_)) => self.listening.on_gap(now_ms),
                        // Not before the session has ended: it owns the sender, and this stream the session.
                        Err(RecvError::Closed) => self.listening.end(),
                    }
                }
                () = is_due => self.listening.on_time(hub.clock.now_ms()),
            }
        }
    }
}

/// A listen ends when its stream is dropped: there is no other place to see it.
impl Drop for ListenStream {
    fn drop(&mut self) {
        let owned = Arc::clone(&self.owned);
        let uris = std::mem::take(&mut self.listening.uris);
        if uris.is_empty() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        // Each request of it is bounded by the server's timeout.
        drop(spawn_named("end of a bridged listen", async move {
            for uri in uris {
                owned.unsubscribe(&uri).await;
            }
        }));
    }
}
