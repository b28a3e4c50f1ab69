//! One running process.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, ParseError};
use lockgate_proto::mcp::method;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::handshake::{self, Agreement};
use super::hub::{Hub, Losses};
use super::link::Link;
use super::mux::{Owner, Sharing};
use super::process;
use super::queue::Queue;
use super::session::StdioSession;
use super::settings::ChildSettings;
use super::stream;
use super::supervise::Supervisor;
use crate::error::UpstreamError;
use crate::upstream::link::{Outgoing, Reply, SessionInit};
use crate::upstream::transport::http::Verdict;

/// Longest time for `initialize`: a package runner may have to fetch the program first.
const INITIALIZE_TIMEOUT: Duration = Duration::from_secs(60);

/// One running process. Cheap to clone; `stop` ends the process group, and so does dropping the last handle,
/// session and stream of it.
#[derive(Clone, Debug)]
pub struct Child(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    hub: Arc<Hub>,
    agreement: Mutex<Option<Agreement>>,
    /// Stops the process with the last handle.
    stop: DropGuard,
}

/// A handle that does not keep the process.
#[derive(Clone, Debug, Default)]
pub(super) struct WeakChild(std::sync::Weak<Handle>);

impl WeakChild {
    pub(super) fn upgrade(&self) -> Option<Child> {
        self.0.upgrade().map(Child)
    }
}

impl Child {
    /// Starts the process; speaks no MCP yet.
    ///
    /// # Errors
    ///
    /// Fails when the program cannot be started.
    pub async fn start(settings: Arc<ChildSettings>) -> Result<Self, UpstreamError> {
        Self::start_in(settings, None).await
    }

    /// Starts the process, which holds `place` until it is reaped.
    pub(super) async fn start_in(
        settings: Arc<ChildSettings>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, UpstreamError> {
        let line_bytes_max = settings.answer_bytes_max;
        let (hub, lines) = Hub::new(settings.server.clone(), line_bytes_max);
        let started = process::start(settings).await;
        let started = started.map_err(|source| UpstreamError::Unreachable {
            server: hub.server().clone(),
            source,
        })?;
        let stop = CancellationToken::new();
        let supervisor = Supervisor {
            hub: Arc::clone(&hub),
            stop: stop.clone(),
            place,
        };
        supervisor.spawn(started, lines, line_bytes_max);
        Ok(Self(Arc::new(Handle {
            hub,
            agreement: Mutex::new(None),
            stop: stop.drop_guard(),
        })))
    }

    /// `initialize` + `initialized`; the process then speaks the session era, with this one session.
    ///
    /// # Errors
    ///
    /// Fails when the program ends, does not answer within 60 s, or refuses.
    pub async fn open(&self, init: SessionInit) -> Result<StdioSession, UpstreamError> {
        let mailbox = self.hub().queue();
        let link = self.initialize(&init, Sharing::Own, &mailbox).await?;
        Ok(StdioSession::new(link, mailbox, None))
    }

    /// Like [`Self::open`], for several sessions: others join by [`Self::attach`]. Requests of the server are
    /// refused, since nobody can tell whose they are; `init` must declare no capability.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn open_shared(&self, init: SessionInit) -> Result<StdioSession, UpstreamError> {
        let mailbox = self.hub().queue();
        let link = self.initialize(&init, Sharing::Shared, &mailbox).await?;
        Ok(StdioSession::new(link, mailbox, None))
    }

    /// Another caller of a child that [`Self::open_shared`] has initialised. `None` for any other, and for one
    /// that has ended.
    pub fn attach(&self) -> Option<StdioSession> {
        let mailbox = self.hub().queue();
        let link = self.link(&mailbox)?;
        Some(StdioSession::new(link, mailbox, None))
    }

    /// Attaches a further session.
    pub(super) fn link(&self, mailbox: &Arc<Queue>) -> Option<Link> {
        let shared = self.hub().sharing() == Sharing::Shared && !self.hub().has_ended();
        let agreement = self.0.agreement.lock().clone().filter(|_| shared)?;
        Some(Link::new(self.clone(), mailbox, agreement))
    }

    /// Shakes hands, and attaches the first session.
    pub(super) async fn initialize(
        &self,
        init: &SessionInit,
        sharing: Sharing,
        mailbox: &Arc<Queue>,
    ) -> Result<Link, UpstreamError> {
        let hub = self.hub();
        if !hub.claim(sharing) {
            let what = "the program is already in use";
            return Err(hub.unreachable(io::ErrorKind::AlreadyExists, what));
        }
        // Attached from the start: some servers ask for the roots before anybody else says a word.
        let mut link = Link::new(self.clone(), mailbox, Agreement::default());
        let initialize = self.ours(handshake::initialize(init))?;
        let answer = self
            .ask(link.owner(), initialize, INITIALIZE_TIMEOUT)
            .await?;
        let agreement = handshake::agreement(&answer).map_err(|what| UpstreamError::Garbage {
            server: hub.server().clone(),
            what,
        })?;
        let initialized = self.ours(handshake::notification(method::INITIALIZED))?;
        hub.announce(initialized.line(), INITIALIZE_TIMEOUT).await?;
        *self.0.agreement.lock() = Some(agreement.clone());
        link.agreement = agreement;
        Ok(link)
    }

    /// The answer to a request of our own.
    pub(super) async fn ask(
        &self,
        owner: Owner,
        frame: Frame,
        timeout: Duration,
    ) -> Result<Frame, UpstreamError> {
        stream::ask(self, owner, &frame, timeout).await
    }

    /// A message that we wrote; its parts may come from elsewhere.
    pub(super) fn ours(&self, frame: Result<Frame, ParseError>) -> Result<Frame, UpstreamError> {
        let invalid = |error: ParseError| {
            let what = error.to_string();
            self.hub().unreachable(io::ErrorKind::InvalidInput, &what)
        };
        frame.map_err(invalid)
    }

    /// One request of the stateless era on a child that speaks it. Dropping the future or the stream sends
    /// `notifications/cancelled`.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn call(&self, out: Outgoing) -> Result<Reply, UpstreamError> {
        stream::call(self, Owner::NOBODY, &out).await
    }

    /// Resolves when the process has ended, with a description of how.
    pub async fn ended(&self) -> String {
        self.hub().ended().await.as_ref().to_owned()
    }

    /// Whether the process has ended.
    pub fn has_ended(&self) -> bool {
        self.hub().has_ended()
    }

    /// Closes stdin, waits 2 s, SIGTERM, waits 2 s, SIGKILL to the group. Reaps.
    pub async fn stop(&self) {
        self.begin_stop();
        self.hub().ended().await;
    }

    /// Begins to stop; [`Self::ended`] says when it is over.
    pub(super) fn begin_stop(&self) {
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

    /// Finds out which eras the program speaks, on disposable siblings.
    ///
    /// # Errors
    ///
    /// Fails when the program cannot be started, or ends or stays silent without a word of MCP.
    pub async fn probe(settings: Arc<ChildSettings>) -> Result<Verdict, UpstreamError> {
        super::probe::probe(settings).await
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(super) fn downgrade(&self) -> WeakChild {
        WeakChild(Arc::downgrade(&self.0))
    }
}
