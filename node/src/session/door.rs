//! The door of the session era: a client's message in, an answer out. Transports (HTTP, stdio) stand in front of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use lockgate_proto::jsonrpc::{Batch, Frame, Kind, Limits, Unfit};
use lockgate_proto::mcp::{Era, Revision, method};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::answer::{Answer, Event, Events};
use crate::config;
use crate::error::CallError;
use crate::identity::Authenticated;
use crate::pipeline::{Incoming, Pipeline};
use crate::route::{self, Scope, Table};
use crate::seal::Sealer;
use crate::telemetry::trace::Context;
use crate::timers::Timers;

use super::batch::join_answers;
use super::call::{self, Ask};
use super::directory::{Directory, InUse};
use super::event_id::EventId;
use super::handle::FAREWELLS_MAX;
use super::id::SessionId;
use super::seen::Seen;
use super::upstreams::Need;

/// What a transport knows about one client message.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Who.
    pub who: Arc<Authenticated>,
    /// Path that the session is bound to.
    pub route: &'a str,
    /// Server of a server-scoped path.
    pub server: Option<&'a str>,
    /// `Mcp-Session-Id`.
    pub session_id: Option<&'a str>,
    /// `MCP-Protocol-Version`.
    pub version: Option<&'a str>,
    /// Trace context of the client.
    pub trace: Option<Context>,
    /// What its connection has named before; without one the id is deciphered anew.
    pub seen: Option<&'a Seen>,
}

/// What goes back.
#[derive(Debug)]
pub struct Response {
    /// Answer.
    pub answer: Answer,
    /// `Mcp-Session-Id` of a session that has just begun.
    pub session_id: Option<String>,
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            session_id: None,
        }
    }
}

/// The session era of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    pub(super) inner: Arc<Inner>,
}

/// What all sessions share.
pub(crate) struct Inner {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) directory: Directory,
    pub(super) sealer: Arc<Sealer>,
    pub(super) limits: config::Limits,
    pub(super) settings: config::Session,
    /// When an answer that has not come turns into a stream.
    pub(super) journal: Arc<Timers>,
    /// Session actors that run.
    pub(super) actors: AtomicUsize,
    /// Turns for telling servers that sessions have ended, or have come from a predecessor.
    pub(super) farewells: Semaphore,
    /// Milliseconds since 1970.
    pub(super) clock: fn() -> u64,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("sessions", &self.directory.counts())
            .finish_non_exhaustive()
    }
}

impl Door {
    /// `clock` gives milliseconds since 1970.
    pub fn new(
        pipeline: Arc<Pipeline>,
        sealer: Arc<Sealer>,
        limits: config::Limits,
        settings: config::Session,
        clock: fn() -> u64,
    ) -> Self {
        let (directory, actors) = (Directory::default(), AtomicUsize::new(0));
        let farewells = Semaphore::new(FAREWELLS_MAX);
        let journal = Timers::new(settings.journal_after);
        Self {
            inner: Arc::new(Inner {
                pipeline,
                directory,
                sealer,
                limits,
                settings,
                journal,
                actors,
                farewells,
                clock,
            }),
        }
    }

    /// Bounds on messages.
    pub fn message_limits(&self) -> Limits {
        Limits {
            body_bytes_max: self.inner.limits.body_bytes_max,
            depth_max: self.inner.limits.depth_max,
            batch_max: self.inner.limits.batch_max,
        }
    }

    /// Takes the body of one POST.
    pub async fn post(&self, request: &Request<'_>, body: Bytes) -> Response {
        let batch = match Batch::parse(body, &self.message_limits()) {
            Ok(batch) => batch,
            Err(error) => return Answer::error(None, &error.into(), Era::Session).into(),
        };
        self.post_parsed(request, batch).await
    }

    /// Takes the body of one POST that its transport has read already.
    pub async fn post_parsed(&self, request: &Request<'_>, batch: Batch) -> Response {
        match batch {
            Batch::One(frame) if is_initialize(&frame) => {
                let begun = Box::pin(self.initialize(request, &frame)).await;
                begun.unwrap_or_else(|error| Answer::error(frame.id(), &error, Era::Session).into())
            }
            Batch::One(frame) => match self.session(request) {
                Ok(cell) => self.dispatch(request, &cell, frame).await.into(),
                Err(error) => Answer::error(frame.id(), &error, Era::Session).into(),
            },
            batch @ Batch::Many(_) => Box::pin(self.take(request, batch))
                .await
                .unwrap_or_else(|error| Answer::error(None, &error, Era::Session).into()),
        }
    }

    /// Takes a batch. Each element that wants an answer has its own.
    async fn take(&self, request: &Request<'_>, batch: Batch) -> Result<Response, CallError> {
        let cell = self.session(request)?;
        if cell.state.lock().hard.revision != Revision::V2025_03_26 {
            return Err(CallError::InvalidRequest {
                what: "batches exist in revision 2025-03-26 only".into(),
            });
        }
        let wants_answer = batch.wants_answer();
        let elements = match batch {
            Batch::One(frame) => vec![Ok(frame)],
            Batch::Many(elements) => elements,
        };
        if elements.iter().flatten().any(is_initialize) {
            return Err(CallError::InvalidRequest {
                what: "`initialize` cannot be part of a batch".into(),
            });
        }
        let answers = elements.into_iter().map(async |element| match element {
            Ok(frame) => self.dispatch(request, &cell, frame).await,
            Err(Unfit { text, error }) => Answer::refused(&text, &error.into(), Era::Session),
        });
        let answers = join_all(answers).await;
        Ok(if wants_answer {
            join_answers(answers).into()
        } else {
            Answer::Accepted.into()
        })
    }

    /// Opens the GET stream, or goes on with a broken one.
    ///
    /// # Errors
    ///
    /// Fails when the session or the event is unknown, or when nothing comes after the event any more.
    pub fn listen(
        &self,
        request: &Request<'_>,
        last_event: Option<&str>,
    ) -> Result<Answer, CallError> {
        let cell = self.session(request)?;
        cell.touch(Instant::now());
        // It may have slept while a server was replaced.
        let table = self.inner.pipeline.router.table(Era::Session);
        self.inner.follow(&cell, &table);
        let reader = match last_event {
            Some(text) => {
                let event = EventId::parse(text).ok_or_else(|| CallError::InvalidRequest {
                    what: format!("`{text}` is no id of an event").into(),
                })?;
                cell.resume(event)?
            }
            None => {
                cell.actor.listen();
                let log = cell.get_stream();
                log.attach(None).ok_or(CallError::SessionEnded)?
            }
        };
        let revision = cell.state.lock().hard.revision;
        // One that goes on is primed, too: a client that knows no event of this response would lose its place.
        let priming = (revision >= Revision::V2025_11_25).then(|| reader.priming());
        let standing = self.inner.pipeline.identities.standing(&request.who);
        let events = reader.into_stream(priming);
        let events = events.take_until(standing.withdrawn());
        Ok(self.inner.keep_in_use(&cell, events))
    }

    /// Ends the session.
    ///
    /// # Errors
    ///
    /// Fails when the session is unknown.
    pub async fn end(&self, request: &Request<'_>) -> Result<(), CallError> {
        let key = self.session(request)?.key;
        self.inner.end(&key, "client").await;
        Ok(())
    }

    /// Finds the session that a request names.
    fn session(&self, request: &Request<'_>) -> Result<InUse, CallError> {
        let Some(text) = request.session_id else {
            return Err(CallError::InvalidRequest {
                what: "`Mcp-Session-Id` header is missing".into(),
            });
        };
        check_version(request.version)?;
        let (inner, caller) = (&self.inner, &request.who.caller);
        let open = || {
            let id = SessionId::open(&inner.sealer, caller, request.route, text)?;
            Some(id.key)
        };
        let key = match request.seen {
            Some(seen) => seen.key(caller, request.route, text, open),
            None => open(),
        };
        let Some(key) = key else {
            let audit = &inner.pipeline.audit;
            audit.security("session_id_refused", caller, request.route);
            return Err(CallError::UnknownSession);
        };
        // What was sealed for this caller and route is its own, and no offence: every honest client names a session that
        // it cannot know to be over, all of them after a restart.
        inner.find(&key).ok_or(CallError::UnknownSession)
    }

    async fn initialize(
        &self,
        request: &Request<'_>,
        frame: &Frame,
    ) -> Result<Response, CallError> {
        let Some(id) = frame.id() else {
            return Err(CallError::InvalidRequest {
                what: "`initialize` must be a request".into(),
            });
        };
        let table = self.inner.pipeline.router.table(Era::Session);
        let scope = table.scope(request.server, &request.who)?;
        let revision = requested_revision(frame)?;
        let incoming = Incoming {
            frame,
            table: &table,
            scope,
            revision,
            who: &request.who,
            session: None,
            trace: request.trace.as_ref(),
            params: &[],
            cancel: None,
        };
        let target = request.server.unwrap_or_default();
        let trail = self.inner.pipeline.received_here(&incoming, target)?;
        match self.begin(request, &incoming).await {
            Ok((cell, result)) => {
                trail.succeeded();
                let session_id = self.inner.seal(&cell, request);
                Ok(Response {
                    answer: Answer::result(id, result.into()),
                    session_id: Some(session_id),
                })
            }
            Err(error) => {
                trail.failed(&error);
                Err(error)
            }
        }
    }

    /// A new session, and what its client is told.
    async fn begin(
        &self,
        request: &Request<'_>,
        asked: &Incoming<'_>,
    ) -> Result<(InUse, String), CallError> {
        let (table, revision) = (asked.table, asked.revision);
        let cell = self.inner.begin(request, asked.frame, revision)?;
        let result = match asked.scope {
            Scope::All => route::initialize_result(&table.merged, revision),
            Scope::Server(at) => match self.inner.bound(&cell, &table.servers[at]).await {
                Ok(session) => {
                    // Clients of several revisions share the session of a child, which is opened for the latest.
                    let agreed = revision.min(session.revision());
                    cell.state.lock().hard.revision = agreed;
                    route::initialize_result_of(&session.initialize_result(), agreed)
                }
                Err(error) => {
                    let key = cell.key;
                    drop(cell);
                    self.inner.end(&key, "its server cannot be reached").await;
                    return Err(error);
                }
            },
        };
        Ok((cell, result))
    }

    /// One message of a session.
    async fn dispatch(&self, request: &Request<'_>, cell: &InUse, frame: Frame) -> Answer {
        match frame.kind() {
            Kind::Notification => {
                Box::pin(self.inner.notified(cell, &request.who, frame)).await;
                Answer::Accepted
            }
            Kind::Result | Kind::Error => {
                Box::pin(self.inner.answered(cell, &frame)).await;
                Answer::Accepted
            }
            Kind::Request => {
                let id = frame.id().map(str::to_owned);
                let answer = self.request(request, cell, frame).await;
                answer.unwrap_or_else(|error| Answer::error(id.as_deref(), &error, Era::Session))
            }
        }
    }

    async fn request(
        &self,
        request: &Request<'_>,
        cell: &InUse,
        frame: Frame,
    ) -> Result<Answer, CallError> {
        let inner = &self.inner;
        let shared = inner.pipeline.router.table(Era::Session);
        let scope = shared.scope(request.server, &request.who)?;
        let now = Instant::now();
        cell.touch(now);
        let id = frame.id().unwrap_or("null");
        if frame.method() == method::PING {
            return Ok(Answer::result(id, Bytes::from_static(b"{}")));
        }
        let who = Arc::clone(&request.who);
        let trace = request.trace.clone();
        let trace = trace.or_else(|| Context::of_meta(&frame));
        if scope == Scope::All {
            if let Some(kind) = route::kind_of(&frame.method()) {
                // Before servers are asked.
                let asked = incoming(cell, &frame, &shared, &who, trace.as_ref());
                inner.pipeline.permit_method(&asked)?;
                let table = Box::pin(inner.table_for(cell, &who, Need::List)).await;
                let asked = incoming(cell, &frame, &table, &who, trace.as_ref());
                return inner.pipeline.page(&asked, kind, &inner.sealer);
            }
            if frame.method() == method::SET_LEVEL {
                let asked = incoming(cell, &frame, &shared, &who, trace.as_ref());
                inner.pipeline.permit_method(&asked)?;
                inner.pipeline.local(&asked, "")?;
                return Box::pin(inner.set_level(cell, &frame)).await;
            }
        }
        let asked = Incoming {
            scope,
            ..incoming(cell, &frame, &shared, &who, trace.as_ref())
        };
        inner.pipeline.keep_sealed(&asked, &inner.sealer)?;
        let known = scope != Scope::All || !cell.sees_own || route::is_known(&shared, &frame);
        let (table, asked_at) = if known {
            (shared, now)
        } else {
            let table = Box::pin(inner.table_for(cell, &who, Need::Names)).await;
            (table, Instant::now())
        };
        Ok(call::run(
            inner,
            cell,
            Ask {
                frame,
                who,
                scope,
                table,
                trace,
                asked_at,
            },
        )
        .await)
    }
}

/// A request to the endpoint of all servers that the gateway answers itself.
fn incoming<'a>(
    cell: &'a InUse,
    frame: &'a Frame,
    table: &'a Table,
    who: &'a Arc<Authenticated>,
    trace: Option<&'a Context>,
) -> Incoming<'a> {
    Incoming {
        frame,
        table,
        scope: Scope::All,
        revision: cell.state.lock().hard.revision,
        who,
        session: Some(&cell.name),
        trace,
        params: &[],
        cancel: None,
    }
}

impl Inner {
    /// Wraps events so that the session cannot fall asleep while somebody reads them.
    pub(super) fn keep_in_use(
        &self,
        cell: &InUse,
        events: impl Stream<Item = Event> + Send + 'static,
    ) -> Answer {
        let cell = cell.clone();
        let events = events.map(move |event| {
            cell.touch(Instant::now());
            event
        });
        Answer::Events(Events(Box::pin(events)))
    }
}

fn is_initialize(frame: &Frame) -> bool {
    frame.method() == method::INITIALIZE
}

fn requested_revision(frame: &Frame) -> Result<Revision, CallError> {
    let Some(text) = frame.param_str(&["protocolVersion"]) else {
        return Err(CallError::InvalidParams {
            what: "`params.protocolVersion` must be a string".into(),
        });
    };
    // An unknown or later revision is answered with the latest that has sessions; the client decides then.
    let known = Revision::parse(&text).filter(|revision| revision.era() == Era::Session);
    Ok(known.unwrap_or(Revision::SESSION_LATEST))
}

/// After `initialize` the header names a revision of this era; absent it means 2025-03-26 or the session's own.
fn check_version(version: Option<&str>) -> Result<(), CallError> {
    match version {
        Some(text)
            if Revision::parse(text).is_none_or(|revision| revision.era() != Era::Session) =>
        {
            let what = format!("`MCP-Protocol-Version: {text}` is not supported in a session");
            Err(CallError::InvalidRequest { what: what.into() })
        }
        _ => Ok(()),
    }
}
