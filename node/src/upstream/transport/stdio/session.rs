//! A session of the session era at a child.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use lockgate_proto::jsonrpc::Frame;
use lockgate_proto::mcp::{Revision, method};
use parking_lot::Mutex;
use tracing::debug;

use super::handshake;
use super::link::Link;
use super::listener::Listener;
use super::mux::Sharing;
use super::queue::{End, FRAMES_MAX, Queue};
use super::slot::Home;
use super::stream::{self, StdioStream};
use crate::error::UpstreamError;
use crate::task::spawn_named;
use crate::upstream::link::{MessageStream, Outgoing, Reply};

/// Longest time for each request that brings a fresh child to where the old one was.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(10);

/// A session of the session era at a child. Cheap to clone; dropping the last clone and stream leaves the child.
#[derive(Clone, Debug)]
pub struct StdioSession(Arc<Shared>);

/// What the clones of a session, its listener and its reopening share.
#[derive(Debug)]
pub(super) struct Shared {
    link: ArcSwap<Link>,
    pub(super) mailbox: Arc<Queue>,
    /// Where another child comes from.
    home: Option<Home>,
    wishes: Mutex<Wishes>,
    listening: AtomicBool,
    closed: AtomicBool,
    /// One reopening at a time.
    reopening: tokio::sync::Mutex<()>,
}

/// What the session has asked of the server for good: a fresh child is told again.
#[derive(Clone, Debug, Default)]
struct Wishes {
    level: Option<String>,
    subscriptions: BTreeSet<String>,
}

impl StdioSession {
    pub(super) fn new(link: Link, mailbox: Arc<Queue>, home: Option<Home>) -> Self {
        Self(Arc::new(Shared {
            link: ArcSwap::from_pointee(link),
            mailbox,
            home,
            wishes: Mutex::default(),
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
    pub async fn call(&self, out: Outgoing) -> Result<Reply, UpstreamError> {
        self.0.wishes.lock().note(&out.frame);
        let link = self.0.fresh().await?;
        let first = stream::call(&link.child, link.owner(), &out).await;
        match first {
            // It ended before it had the request.
            Err(error) if error.nothing_sent() && link.child.has_ended() && self.0.reopens() => {
                debug!(server = %link.child.server(), %error, "sent again to a fresh child");
                let link = self.0.fresh().await?;
                stream::call(&link.child, link.owner(), &out).await
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
        link.child
            .hub()
            .send(link.owner(), &out.frame, out.timeout)
            .await
    }

    /// See [`crate::upstream::link::UpstreamSession::listen`]. Never `None`.
    ///
    /// # Errors
    ///
    /// Fails when the session is closed, or its child has ended and no other can be opened.
    pub async fn listen(&self) -> Result<Option<MessageStream>, UpstreamError> {
        self.0.fresh().await?;
        let listener = Listener::new(Arc::clone(&self.0));
        let stream = StdioStream::listener(listener);
        Ok(Some(MessageStream::Stdio(stream)))
    }

    /// Raw `InitializeResult`.
    pub fn initialize_result(&self) -> Arc<str> {
        Arc::clone(&self.0.link().agreement.result)
    }

    /// Agreed revision.
    pub fn revision(&self) -> Revision {
        self.0.link().agreement.revision
    }

    /// Resolves when the child that this session has now has ended, with a description of how.
    pub async fn ended(&self) -> String {
        self.0.link().child.ended().await
    }

    #[cfg(test)]
    pub(super) fn mailbox(&self) -> &Queue {
        &self.0.mailbox
    }

    /// Ends an own child; leaves a shared one.
    pub async fn close(&self) {
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.0.mailbox.end(End::Done);
        let link = self.0.link();
        if link.child.hub().sharing() == Sharing::Own {
            link.child.stop().await;
        } else {
            link.child.hub().detach(link.owner());
        }
    }
}

impl Shared {
    pub(super) fn link(&self) -> Arc<Link> {
        self.link.load_full()
    }

    /// Whether another child can take the place of one that ended.
    pub(super) fn reopens(&self) -> bool {
        self.home.is_some() && !self.closed.load(Ordering::Acquire)
    }

    pub(super) fn set_listening(&self, listening: bool) {
        self.listening.store(listening, Ordering::Release);
        let link = self.link();
        link.child.hub().set_listening(link.owner(), listening);
    }

    /// The child as it is, or a fresh one when it has ended and there is a way to get one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a reopening that has begun goes on.
    pub(super) async fn fresh(self: &Arc<Self>) -> Result<Arc<Link>, UpstreamError> {
        let link = self.link();
        if self.closed.load(Ordering::Acquire) {
            let what = "the session is closed";
            return Err(link
                .child
                .hub()
                .unreachable(io::ErrorKind::NotConnected, what));
        }
        if !link.child.has_ended() || self.home.is_none() {
            return Ok(link);
        }
        let reopening = spawn_named("stdio-reopen", Arc::clone(self).reopen());
        match reopening.await {
            Ok(reopened) => reopened,
            Err(error) => Err(link
                .child
                .hub()
                .unreachable(io::ErrorKind::Other, &error.to_string())),
        }
    }

    async fn reopen(self: Arc<Self>) -> Result<Arc<Link>, UpstreamError> {
        let _one_at_a_time = self.reopening.lock().await;
        let old = self.link();
        let Some(home) = self.home.as_ref().filter(|_| old.child.has_ended()) else {
            return Ok(old);
        };
        let link = Arc::new(home.link(&self.mailbox).await?);
        let hub = link.child.hub();
        hub.set_listening(link.owner(), self.listening.load(Ordering::Acquire));
        self.replay(&link).await;
        self.link.store(Arc::clone(&link));
        if self.closed.load(Ordering::Acquire) {
            // Closed meanwhile: nobody else will.
            hub.detach(link.owner());
            if hub.sharing() == Sharing::Own {
                link.child.begin_stop();
            }
        }
        // The fresh child's lists may be others.
        for method in handshake::announced_lists(&link.agreement.result) {
            if let Ok(frame) = handshake::notification(method) {
                let _full = self.mailbox.offer(frame, FRAMES_MAX);
            }
        }
        Ok(link)
    }

    /// Brings a fresh child to where the old one was. What it refuses it would have refused before.
    async fn replay(&self, link: &Link) {
        let wishes = self.wishes.lock().clone();
        let level = wishes
            .level
            .iter()
            .map(|level| (method::SET_LEVEL, "level", level));
        let uris = wishes.subscriptions.iter();
        let uris = uris.map(|uri| (method::SUBSCRIBE, "uri", uri));
        for (method, key, value) in level.chain(uris) {
            let Ok(frame) = link.child.ours(handshake::request(method, key, value)) else {
                continue;
            };
            if let Err(error) = link.child.ask(link.owner(), frame, REPLAY_TIMEOUT).await {
                debug!(server = %link.child.server(), method, %error, "not replayed");
            }
        }
    }
}

impl Wishes {
    fn note(&mut self, request: &Frame) {
        let value = |key| request.param_str(&[key]).map(|text| text.into_owned());
        match &*request.method() {
            method::SET_LEVEL => self.level = value("level"),
            method::SUBSCRIBE => self.subscriptions.extend(value("uri")),
            method::UNSUBSCRIBE => {
                if let Some(uri) = value("uri") {
                    self.subscriptions.remove(&uri);
                }
            }
            _ => {}
        }
    }
}
