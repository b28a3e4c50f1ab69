//! A session of the session era.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use lockgate_proto::jsonrpc::{Frame, Kind};
use lockgate_proto::mcp::Revision;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::binding::Binding;
use super::call_stream::CallStream;
use super::endpoint::HttpEndpoint;
use super::exchange::Exchange;
use super::forgotten;
use super::handshake::{Live, OWN_ID, final_answer, shake_hands};
use super::heard::{Content, Heard};
use super::inbox::Inbox;
use super::listen_stream::ListenStream;
use super::replay::{Note, Replay};
use super::stream::HttpStream;
use crate::error::UpstreamError;
use crate::upstream::link::{MessageStream, Outgoing, Reply, SessionInit};

/// Nobody waits longer for a server to hear that its session is over, where its timeout is not shorter anyway. Source:
/// half of what a node that goes down has for all its sessions; a server under load was seen to need more than one
/// second.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// What a server did beside forgetting the session.
const REFUSED: &str = "refused a new one";

/// A session of the session era over HTTP.
#[derive(Clone, Debug)]
pub struct HttpSession(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    endpoint: HttpEndpoint,
    init: SessionInit,
    live: ArcSwap<Live>,
    /// Held while a forgotten session is opened again; keeps how that last failed: of the connection, when there was
    /// none, otherwise because the server refused.
    reopening: tokio::sync::Mutex<Option<std::io::ErrorKind>>,
    n_failed: AtomicU64,
    replay: Mutex<Replay>,
    last_event_id: Mutex<Option<String>>,
    signals: watch::Sender<Signals>,
}

/// What a listening stream has to know about the session that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signals {
    /// Of [`Live`].
    pub(super) generation: u64,
    /// Counts `listen`: only the latest stream goes on.
    pub(super) turn: u64,
    /// The session was closed by us.
    pub(super) closed: bool,
}

/// The session that a request was sent in. Requests that saw the same one share the attempt to open the next.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) live: Arc<Live>,
    /// Attempts that had failed by then.
    n_failed: u64,
}

/// How a GET went.
#[derive(Debug)]
pub(super) enum Attached {
    Events(Exchange),
    Refused { status: u16 },
}

/// The session that a call's stream belongs to, as it was when the call was sent.
#[derive(Debug)]
pub(super) struct Origin {
    session: HttpSession,
    live: Arc<Live>,
}

impl HttpSession {
    pub(super) async fn open(
        endpoint: HttpEndpoint,
        init: SessionInit,
    ) -> Result<Self, UpstreamError> {
        let live = shake_hands(&endpoint, &init, init.revision, 0).await?;
        let signals = Signals {
            generation: 0,
            turn: 0,
            closed: false,
        };
        Ok(Self(Arc::new(Shared {
            endpoint,
            init,
            live: ArcSwap::from_pointee(live),
            reopening: tokio::sync::Mutex::new(None),
            n_failed: AtomicU64::new(0),
            replay: Mutex::default(),
            last_event_id: Mutex::default(),
            signals: watch::Sender::new(signals),
        })))
    }

    /// See [`crate::upstream::link::UpstreamSession::call`].
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn call(&self, out: &Outgoing) -> Result<Reply, UpstreamError> {
        let (live, heard) = self.converse(out).await?;
        let blame = self.0.endpoint.blame();
        let request_id = out.frame.id().unwrap_or_default();
        let inbox =
            || Inbox::of_call(request_id, self.0.endpoint.limits(), blame.clone()).with_batches();
        let stream = match heard.body {
            Content::Message(frame) => {
                let frame = Heard::settle(heard.status, frame, request_id, blame)?;
                if frame.kind() == Kind::Result
                    && let Some(note) = Note::of(&out.frame)
                {
                    self.0.replay.lock().apply(note);
                }
                return Ok(Reply::Single {
                    status: heard.status,
                    frame,
                });
            }
            Content::Nothing => return Err(Heard::missing(heard.status, heard.elsewhere, blame)),
            Content::Batch(frames) => {
                let mut inbox = inbox();
                inbox.take_frames(frames);
                CallStream::of_inbox(inbox, out.timeout, blame.clone())
            }
            Content::Events(exchange) => {
                CallStream::new(inbox(), exchange, out.timeout, blame.clone())
            }
        };
        let origin = Origin {
            session: self.clone(),
            live,
        };
        let stream = stream.in_session(origin, Note::of(&out.frame));
        Ok(Reply::Stream(MessageStream::Http(Box::new(
            HttpStream::call(stream),
        ))))
    }

    /// See [`crate::upstream::link::UpstreamSession::send`].
    ///
    /// # Errors
    ///
    /// `SessionLost` for an answer to a request of a session that the server forgot; see [`UpstreamError`].
    pub async fn send(&self, out: Outgoing) -> Result<(), UpstreamError> {
        let blame = self.0.endpoint.blame();
        let heard = if out.frame.kind() == Kind::Notification {
            self.converse(&out).await?.1
        } else {
            // A new session has no use for answers to the old one's questions.
            let live = self.0.live.load_full();
            let heard = self.0.endpoint.converse(&live.template, &out).await?;
            if is_forgotten(&live, &heard) {
                return Err(blame.session_lost("with it what this answers"));
            }
            heard
        };
        if heard.is_success() {
            Ok(())
        } else {
            Err(blame.status(heard.status))
        }
    }

    /// See [`crate::upstream::link::UpstreamSession::listen`].
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn listen(&self) -> Result<Option<MessageStream>, UpstreamError> {
        let mut turn = 0;
        self.0.signals.send_modify(|signals| {
            signals.turn += 1;
            turn = signals.turn;
        });
        let stream = ListenStream::open(self.clone(), turn).await?;
        Ok(stream.map(|stream| MessageStream::Http(Box::new(HttpStream::listen(stream)))))
    }

    /// Raw `InitializeResult`.
    pub fn initialize_result(&self) -> Arc<str> {
        Arc::clone(&self.0.live.load().initialize_result)
    }

    /// Agreed revision.
    pub fn revision(&self) -> Revision {
        self.0.live.load().revision
    }

    /// The session as data, for whoever goes on with it.
    pub fn binding(&self) -> Binding {
        let live = self.0.live.load();
        let session_id = live.session_id.as_ref().and_then(|id| id.to_str().ok());
        Binding {
            url: self.0.endpoint.url(),
            session_id: session_id.map(str::to_owned),
            revision: live.revision,
            replay: self.0.replay.lock().clone(),
            last_event_id: self.0.last_event_id.lock().clone(),
        }
    }

    /// DELETE, once more where that fails, within 5 s or the server's timeout. Ends the listening stream.
    pub async fn close(&self) {
        self.0.signals.send_modify(|signals| signals.closed = true);
        let live = self.0.live.load_full();
        if live.session_id.is_none() {
            return;
        }
        let endpoint = &self.0.endpoint;
        let limit = CLOSE_MAX.min(endpoint.timeout());
        let delete = async || match endpoint.tell(|| live.template.delete(), limit).await {
            Ok(status) if status >= 500 => Err(endpoint.blame().status(status)),
            told => told,
        };
        let told = timeout(limit, async {
            match delete().await {
                // A session that is ended twice is ended.
                Err(_) => delete().await,
                told => told,
            }
        });
        let server = endpoint.server();
        match told.await {
            // 405: the server ends sessions by itself.
            Ok(Ok(status)) => debug!(%server, status, "upstream session ended"),
            Ok(Err(error)) => warn!(%server, %error, "upstream session left to its server"),
            Err(_) => warn!(%server, "upstream session left to its slow server"),
        }
    }

    pub(super) fn endpoint(&self) -> &HttpEndpoint {
        &self.0.endpoint
    }

    pub(super) fn sight(&self) -> Sight {
        Sight {
            live: self.0.live.load_full(),
            n_failed: self.0.n_failed.load(Ordering::Acquire),
        }
    }

    pub(super) fn signals(&self) -> watch::Receiver<Signals> {
        self.0.signals.subscribe()
    }

    /// What the listening stream has handed on.
    pub(super) fn note_event(&self, id: Option<String>) {
        *self.0.last_event_id.lock() = id;
    }

    /// GET of a stream of `live`, and whether the session is forgotten; it is not opened again here.
    pub(super) async fn attach(
        &self,
        live: &Live,
        position: Option<&HeaderValue>,
    ) -> Result<(Attached, bool), UpstreamError> {
        let endpoint = &self.0.endpoint;
        let heard = endpoint
            .hear(|| live.template.get(position), endpoint.timeout())
            .await?;
        let is_forgotten = is_forgotten(live, &heard);
        let attached = match heard.body {
            Content::Events(exchange) => Attached::Events(exchange),
            _ => Attached::Refused {
                status: heard.status,
            },
        };
        Ok((attached, is_forgotten))
    }

    /// The session that takes the place of the forgotten one in `sight`. All who saw that one share one attempt,
    /// also when it fails.
    pub(super) async fn reopened(&self, sight: &Sight) -> Result<Arc<Live>, UpstreamError> {
        let mut failure = self.0.reopening.lock().await;
        let live = self.0.live.load_full();
        if live.generation != sight.live.generation {
            return Ok(live);
        }
        let blame = self.0.endpoint.blame();
        if self.0.signals.borrow().closed {
            return Err(blame.session_lost("it is over here, too"));
        }
        if self.0.n_failed.load(Ordering::Acquire) != sight.n_failed {
            return Err(match *failure {
                Some(kind) => blame.unreachable(kind.into()),
                None => blame.session_lost(REFUSED),
            });
        }
        let error = match self.open_again(&live).await {
            Ok(live) => return Ok(live),
            Err(error) => error,
        };
        *failure = match &error {
            UpstreamError::Unreachable { source, .. } => Some(source.kind()),
            _ => None,
        };
        self.0.n_failed.fetch_add(1, Ordering::AcqRel);
        if failure.is_some() {
            return Err(error);
        }
        warn!(%error, "forgotten upstream session could not be opened again");
        Err(blame.session_lost(REFUSED))
    }

    async fn open_again(&self, old: &Live) -> Result<Arc<Live>, UpstreamError> {
        let endpoint = &self.0.endpoint;
        // The revision that the client's side already speaks, even if the server has learned a newer one.
        let generation = old.generation + 1;
        let live = shake_hands(endpoint, &self.0.init, old.revision, generation).await?;
        if live.revision != old.revision {
            return Err(endpoint.blame().garbage(format_args!(
                "the server now speaks {}, the session {}",
                live.revision, old.revision
            )));
        }
        self.replay(&live).await?;
        let live = Arc::new(live);
        self.0.live.store(Arc::clone(&live));
        *self.0.last_event_id.lock() = None;
        self.0
            .signals
            .send_modify(|signals| signals.generation = generation);
        debug!(generation, "upstream session opened again");
        Ok(live)
    }

    async fn replay(&self, live: &Live) -> Result<(), UpstreamError> {
        let endpoint = &self.0.endpoint;
        let replay = self.0.replay.lock().clone();
        for (n, (method, params)) in replay.requests().enumerate() {
            let out = endpoint.own(format!(
                r#"{{"jsonrpc":"2.0","id":"{OWN_ID}replay-{n}","method":"{method}","params":{params}}}"#
            ))?;
            let heard = endpoint.converse(&live.template, &out).await?;
            let answer = final_answer(endpoint, heard, &out).await?;
            if answer.kind() == Kind::Error {
                // A resource that is gone since must not keep the session from going on.
                warn!(
                    method,
                    "server refused what it had granted to the forgotten session"
                );
            }
        }
        Ok(())
    }

    /// Sends a message; opens the session again when it is forgotten, and sends once more. Safe, because a server
    /// that does not know the session has not looked at the message.
    async fn converse(&self, out: &Outgoing) -> Result<(Arc<Live>, Heard), UpstreamError> {
        let endpoint = &self.0.endpoint;
        let sight = self.sight();
        let heard = endpoint.converse(&sight.live.template, out).await?;
        if !is_forgotten(&sight.live, &heard) {
            return Ok((sight.live, heard));
        }
        let live = Box::pin(self.reopened(&sight)).await?;
        let heard = Box::pin(endpoint.converse(&live.template, out)).await?;
        if is_forgotten(&live, &heard) {
            return Err(endpoint.blame().session_lost("says so of a new one, too"));
        }
        Ok((live, heard))
    }
}

impl Origin {
    /// GET of the call's stream from after `position`. The session must still be the same.
    pub(super) async fn attach(&self, position: &HeaderValue) -> Result<Attached, UpstreamError> {
        let (attached, _) = self.session.attach(&self.live, Some(position)).await?;
        Ok(attached)
    }

    pub(super) fn remember(&self, note: Note) {
        self.session.0.replay.lock().apply(note);
    }
}

fn is_forgotten(live: &Live, heard: &Heard) -> bool {
    let frame: Option<&Frame> = match &heard.body {
        Content::Message(frame) => Some(frame),
        Content::Nothing => None,
        Content::Batch(_) | Content::Events(_) => return false,
    };
    live.session_id.is_some() && forgotten::says_so(heard.status, frame)
}
