//! What the server says by itself, to one session.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::link::Link;
use super::queue::Item;
use super::session::Shared;
use crate::error::UpstreamError;
use crate::upstream::link::Heard;

/// Wait between attempts to open a channel again. Where they come from has its own back-off, which grows; this one only keeps
/// a listener from asking it in a loop.
const AGAIN: Duration = Duration::from_secs(1);

/// The listening stream of a session. It outlives the channel: where another can be opened, it is.
#[derive(Debug)]
pub(super) struct Listener {
    session: Arc<Shared>,
    reader: u64,
    /// What is listened to: another one begins with a gap. The last that holds a link detaches from its channel.
    link: Weak<Link>,
}

impl Listener {
    /// Becomes the session's listener; the one before it ends.
    pub(super) fn new(session: Arc<Shared>) -> Self {
        let reader = session.mailbox.read();
        session.set_listening(true);
        let link = Arc::downgrade(&session.link());
        Self {
            session,
            reader,
            link,
        }
    }

    /// Next message or gap.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a channel that is being opened goes on being opened.
    pub(super) async fn next(&mut self) -> Result<Option<Heard>, UpstreamError> {
        tokio::select! {
            biased;
            item = self.session.mailbox.next(self.reader) => match item {
                Item::Frame(frame) => Ok(Some(Heard::Message(frame))),
                Item::End(end) => self.session.link().channel.hub().failure(end).map_or(Ok(None), Err),
                Item::Replaced => Ok(None),
            },
            reopened = self.reopened() => {
                self.link = Arc::downgrade(&reopened?);
                Ok(Some(Heard::Gap))
            }
        }
    }

    /// Waits until the channel is another one; opens it again when it ends. Fails only if that is not this session's
    /// way.
    async fn reopened(&self) -> Result<Arc<Link>, UpstreamError> {
        loop {
            let link = self.session.link();
            if !std::ptr::eq(Arc::as_ptr(&link), self.link.as_ptr()) {
                return Ok(link);
            }
            let how = link.channel.ended().await;
            if !self.session.reopens() {
                return Err(link.channel.hub().broken(&how));
            }
            if let Err(error) = self.session.fresh().await {
                let server = link.channel.server();
                tracing::debug!(%server, cause = ?io_cause(&error), %error, "channel not opened again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn io_cause(error: &UpstreamError) -> Option<&io::Error> {
    match error {
        UpstreamError::Unreachable { source, .. } => Some(source),
        _ => None,
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.session.mailbox.is_read_by(self.reader) {
            self.session.set_listening(false);
        }
    }
}
