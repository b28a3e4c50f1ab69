//! One address that speaks HTTP+SSE.

use std::sync::Arc;

use lockgate_proto::mcp::Revision;

use super::home::SseHome;
use crate::error::UpstreamError;
use crate::upstream::link::SessionInit;
use crate::upstream::transport::channel::{ChannelSession, Home, Queue, own_client_info};
use crate::upstream::transport::http::HttpEndpoint;

/// One address that speaks HTTP+SSE. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SseEndpoint(HttpEndpoint);

impl SseEndpoint {
    /// Over the connections, credentials and limits of `http`.
    pub fn new(http: HttpEndpoint) -> Self {
        Self(http)
    }

    /// Opens a session with an event stream of its own. A stream that ends is opened again by the next call, and by a
    /// listener at once: log level and subscriptions are replayed.
    ///
    /// # Errors
    ///
    /// `Status` and `Garbage` from what does not speak this transport; see [`UpstreamError`] for the rest.
    pub async fn open(&self, init: SessionInit) -> Result<ChannelSession, UpstreamError> {
        let home = SseHome::new(self.0.clone(), init);
        let mailbox = Arc::new(Queue::new(self.0.settings().answer_bytes_max));
        let link = home.link(&mailbox).await?;
        Ok(ChannelSession::new(link, mailbox, Some(Box::new(home))))
    }

    /// Finds out whether the address speaks this transport, by a short session: the raw `InitializeResult`.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn probe(&self) -> Result<Arc<str>, UpstreamError> {
        let init = SessionInit {
            revision: Revision::SESSION_LATEST,
            capabilities: "{}".into(),
            client_info: own_client_info(),
            now_ms: 0,
        };
        let session = self.open(init).await?;
        let result = session.initialize_result();
        session.close().await;
        Ok(result)
    }
}
