//! One running channel.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, ParseError};
use lockgate_proto::mcp::method;
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::handshake::{self, Agreement};
use super::hub::Hub;
use super::link::Link;
use super::losses::Losses;
use super::mux::{Owner, Sharing};
use super::queue::Queue;
use super::session::ChannelSession;
use super::stream;
use crate::error::UpstreamError;
use crate::upstream::link::{Outgoing, Reply, SessionInit};

/// One running channel. Cheap to clone; `stop` ends what carries it, and so does dropping the last handle, session and
/// stream of it.
#[derive(Clone, Debug)]
pub struct Channel(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    hub: Arc<Hub>,
    /// Longest wait for the answer to `initialize`.
    handshake_timeout: Duration,
    agreement: Mutex<Option<Agreement>>,
    /// Stops what carries it with the last handle.
    stop: DropGuard,
}

/// A handle that does not keep the channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct WeakChannel(std::sync::Weak<Handle>);

impl WeakChannel {
    pub(crate) fn upgrade(&self) -> Option<Channel> {
        self.0.upgrade().map(Channel)
    }
}

impl Channel {
    /// Over what feeds `hub` and ends when `stop` is cancelled.
    pub(crate) fn new(hub: Arc<Hub>, stop: CancellationToken, handshake_timeout: Duration) -> Self {
        Self(Arc::new(Handle {
            hub,
            handshake_timeout,
            agreement: Mutex::new(None),
            stop: stop.drop_guard(),
        }))
    }

    /// `initialize` + `initialized`; the channel then speaks the session era, with this one session.
    ///
    /// # Errors
    ///
    /// Fails when the channel ends, the server does not answer in time, or refuses.
    pub async fn open(&self, init: SessionInit) -> Result<ChannelSession, UpstreamError> {
        let mailbox = self.hub().queue();
        let link = self.initialize(&init, Sharing::Own, &mailbox).await?;
        Ok(ChannelSession::new(link, mailbox, None))
    }

    /// Like [`Self::open`], for several sessions: others join by [`Self::attach`]. Requests of the server are
    /// refused, since nobody can tell whose they are; `init` must declare no capability.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn open_shared(&self, init: SessionInit) -> Result<ChannelSession, UpstreamError> {
        let mailbox = self.hub().queue();
        let link = self.initialize(&init, Sharing::Shared, &mailbox).await?;
        Ok(ChannelSession::new(link, mailbox, None))
    }

    /// Another caller of a channel that [`Self::open_shared`] has initialised. `None` for any other, and for one
    /// that has ended.
    pub fn attach(&self) -> Option<ChannelSession> {
        let mailbox = self.hub().queue();
        let link = self.link(&mailbox)?;
        Some(ChannelSession::new(link, mailbox, None))
    }

    /// Attaches a further session.
    pub(crate) fn link(&self, mailbox: &Arc<Queue>) -> Option<Link> {
        let shared = self.hub().sharing() == Sharing::Shared && !self.hub().has_ended();
        let agreement = self.0.agreement.lock().clone().filter(|_| shared)?;
        Some(Link::new(self.clone(), mailbox, agreement))
    }

    /// Shakes hands, and attaches the first session.
    pub(crate) async fn initialize(
        &self,
        init: &SessionInit,
        sharing: Sharing,
        mailbox: &Arc<Queue>,
    ) -> Result<Link, UpstreamError> {
        let hub = self.hub();
        if !hub.claim(sharing) {
            let what = "the channel is already in use";
            return Err(hub.unreachable(io::ErrorKind::AlreadyExists, what));
        }
        // Attached from the start: some servers ask for the roots before anybody else says a word.
        let mut link = Link::new(self.clone(), mailbox, Agreement::default());
        let initialize = self.ours(handshake::initialize(init))?;
        let limit = self.0.handshake_timeout;
        let answer = self.ask(link.owner(), initialize, limit).await?;
        let agreement = handshake::agreement(&answer).map_err(|what| UpstreamError::Garbage {
            server: hub.server().clone(),
            what,
        })?;
        hub.agree(agreement.revision);
        let initialized = self.ours(handshake::notification(method::INITIALIZED))?;
        hub.announce(initialized.line(), limit).await?;
        *self.0.agreement.lock() = Some(agreement.clone());
        link.agreement = agreement;
        Ok(link)
    }

    /// The answer to a request of our own.
    pub(crate) async fn ask(
        &self,
        owner: Owner,
        frame: Frame,
        timeout: Duration,
    ) -> Result<Frame, UpstreamError> {
        stream::ask(self, owner, &frame, timeout).await
    }

    /// A message that we wrote; its parts may come from elsewhere.
    pub(crate) fn ours(&self, frame: Result<Frame, ParseError>) -> Result<Frame, UpstreamError> {
        let invalid = |error: ParseError| {
            let what = error.to_string();
            self.hub().unreachable(io::ErrorKind::InvalidInput, &what)
        };
        frame.map_err(invalid)
    }

    /// One request of the stateless era on a channel that speaks it. Dropping the future or the stream sends
    /// `notifications/cancelled`.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn call(&self, out: &Outgoing) -> Result<Reply, UpstreamError> {
        stream::call(self, Owner::NOBODY, out).await
    }

    /// Resolves when it has ended, with a description of how.
    pub async fn ended(&self) -> String {
        self.hub().ended().await.as_ref().to_owned()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.hub().has_ended()
    }

    /// Ends what carries it, and waits until that is done.
    pub async fn stop(&self) {
        self.begin_stop();
        self.hub().ended().await;
    }

    /// Begins to stop; [`Self::ended`] says when it is over.
    pub(crate) fn begin_stop(&self) {
        self.0.stop.token().cancel();
    }

    /// What was seen on the channel and not passed on.
    pub fn losses(&self) -> Losses {
        self.hub().losses()
    }

    /// Server that it belongs to.
    pub fn server(&self) -> &ServerName {
        self.hub().server()
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(crate) fn downgrade(&self) -> WeakChannel {
        WeakChannel(Arc::downgrade(&self.0))
    }
}
