//! A session of the session era at a channel.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use lockgate_proto::mcp::Revision;
use parking_lot::Mutex;
use tracing::debug;

use super::handshake;
use super::home::Home;
use super::link::Link;
use super::listener::Listener;
use super::mux::Sharing;
use super::queue::{End, FRAMES_MAX, Queue};
use super::stream::{self, ChannelStream};
use crate::error::UpstreamError;
use crate::task::spawn_named;
use crate::upstream::link::{MessageStream, Outgoing, Reply};
use crate::upstream::transport::http::{Note, Replay};

/// Longest time for each request that brings a fresh channel to where the old one was.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(10);

/// A session of the session era at a channel. Cheap to clone; dropping the last clone and stream leaves the channel.
#[derive(Clone, Debug)]
pub struct ChannelSession(Arc<Shared>);

/// What the clones of a session, its listener and its reopening share.
#[derive(Debug)]
pub(super) struct Shared {
    link: ArcSwap<Link>,
    pub(super) mailbox: Arc<Queue>,
    /// Where another channel comes from.
    home: Option<Box<dyn Home>>,
    /// What the session has asked of the server for good: a fresh channel is told again.
    replay: Mutex<Replay>,
    listening: AtomicBool,
    closed: AtomicBool,
    /// One reopening at a time.
    reopening: tokio::sync::Mutex<()>,
}

impl ChannelSession {
    pub(crate) fn new(link: Link, mailbox: Arc<Queue>, home: Option<Box<dyn Home>>) -> Self {
        Self(Arc::new(Shared {
            link: ArcSwap::from_pointee(link),
            mailbox,
            home,
            replay: Mutex::default(),
            listening: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            reopening: tokio::sync::Mutex::new(()),
        }))
    }

    /// See [`crate::upstream::link::UpstreamSession::call`]. Dropping the stream gives up the answer and does not
    /// cancel: in this era the client says so.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn call(&self, out: &Outgoing) -> Result<Reply, UpstreamError> {
        if let Some(note) = Note::of(&out.frame) {
            self.0.replay.lock().apply(note);
        }
        let link = self.0.fresh().await?;
        let first = stream::call(&link.channel, link.owner(), out).await;
        match first {
            // It ended before it had the request.
            Err(error) if error.nothing_sent() && link.channel.has_ended() && self.0.reopens() => {
                debug!(server = %link.channel.server(), %error, "sent again to a fresh channel");
                let link = self.0.fresh().await?;
                stream::call(&link.channel, link.owner(), out).await
            }
            other => other,
        }
    }

    /// See [`crate::upstream::link::UpstreamSession::send`].
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn send(&self, out: Outgoing) -> Result<(), UpstreamError> {
        let link = self.0.link();
        link.channel
            .hub()
            .send(link.owner(), &out.frame, out.timeout)
            .await
    }

    /// See [`crate::upstream::link::UpstreamSession::listen`]. Never `None`.
    ///
    /// # Errors
    ///
    /// Fails when the session is closed, or its channel has ended and no other can be opened.
    pub async fn listen(&self) -> Result<Option<MessageStream>, UpstreamError> {
        self.0.fresh().await?;
        let listener = Listener::new(Arc::clone(&self.0));
        let stream = ChannelStream::listener(listener);
        Ok(Some(MessageStream::Channel(stream)))
    }

    /// Raw `InitializeResult`.
    pub fn initialize_result(&self) -> Arc<str> {
        Arc::clone(&self.0.link().agreement.result)
    }

    /// Agreed revision.
    pub fn revision(&self) -> Revision {
        self.0.link().agreement.revision
    }

    /// Resolves when the channel that this session has now has ended, with a description of how.
    pub async fn ended(&self) -> String {
        self.0.link().channel.ended().await
    }

    /// What the server keeps for the session.
    pub fn replay(&self) -> Replay {
        self.0.replay.lock().clone()
    }

    #[cfg(test)]
    pub(crate) fn mailbox(&self) -> &Queue {
        &self.0.mailbox
    }

    /// Ends an own channel; leaves a shared one.
    pub async fn close(&self) {
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.0.mailbox.end(End::Done);
        let link = self.0.link();
        if link.channel.hub().sharing() == Sharing::Own {
            link.channel.stop().await;
        } else {
            link.channel.hub().detach(link.owner());
        }
    }
}

impl Shared {
    pub(super) fn link(&self) -> Arc<Link> {
        self.link.load_full()
    }

    /// Whether another channel can take the place of one that ended.
    pub(super) fn reopens(&self) -> bool {
        self.home.is_some() && !self.closed.load(Ordering::Acquire)
    }

    pub(super) fn set_listening(&self, listening: bool) {
        self.listening.store(listening, Ordering::Release);
        let link = self.link();
        link.channel.hub().set_listening(link.owner(), listening);
    }

    /// The channel as it is, or a fresh one when it has ended and there is a way to get one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a reopening that has begun goes on.
    pub(super) async fn fresh(self: &Arc<Self>) -> Result<Arc<Link>, UpstreamError> {
        let link = self.link();
        if self.closed.load(Ordering::Acquire) {
            let what = "the session is closed";
            return Err(link
                .channel
                .hub()
                .unreachable(io::ErrorKind::NotConnected, what));
        }
        if !link.channel.has_ended() || self.home.is_none() {
            return Ok(link);
        }
        let reopening = spawn_named("channel-reopen", Arc::clone(self).reopen());
        match reopening.await {
            Ok(reopened) => reopened,
            Err(error) => Err(link
                .channel
                .hub()
                .unreachable(io::ErrorKind::Other, &error.to_string())),
        }
    }

    async fn reopen(self: Arc<Self>) -> Result<Arc<Link>, UpstreamError> {
        let _one_at_a_time = self.reopening.lock().await;
        let old = self.link();
        let Some(home) = self.home.as_ref().filter(|_| old.channel.has_ended()) else {
            return Ok(old);
        };
        let link = Arc::new(home.link(&self.mailbox).await?);
        let hub = link.channel.hub();
        hub.set_listening(link.owner(), self.listening.load(Ordering::Acquire));
        self.replay(&link).await;
        self.link.store(Arc::clone(&link));
        if self.closed.load(Ordering::Acquire) {
            // Closed meanwhile: nobody else will.
            hub.detach(link.owner());
            if hub.sharing() == Sharing::Own {
                link.channel.begin_stop();
            }
        }
        // The fresh server's lists may be others.
        for method in handshake::announced_lists(&link.agreement.result) {
            if let Ok(frame) = handshake::notification(method) {
                let _full = self.mailbox.offer(frame, FRAMES_MAX);
            }
        }
        Ok(link)
    }

    /// Brings a fresh channel to where the old one was. What it refuses it would have refused before.
    async fn replay(&self, link: &Link) {
        let replay = self.replay.lock().clone();
        for (method, params) in replay.requests() {
            let Ok(frame) = link.channel.ours(handshake::request(method, &params)) else {
                continue;
            };
            let asked = link.channel.ask(link.owner(), frame, REPLAY_TIMEOUT);
            if let Err(error) = asked.await {
                debug!(server = %link.channel.server(), method, %error, "not replayed");
            }
        }
    }
}
