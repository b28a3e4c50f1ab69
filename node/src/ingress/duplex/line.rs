//! One client on a channel in both directions: what becomes of its messages.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lockgate_proto::jsonrpc::{Batch, Frame, Kind};
use lockgate_proto::mcp::{Era, method};
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, error::SendTimeoutError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{Answer, asked, error_message};
use crate::cancel::Cancel;
use crate::config;
use crate::error::CallError;
use crate::identity::Authenticated;
use crate::ingress::service::Gateway;
use crate::task::spawn_named;
use crate::telemetry::trace::Context;
use crate::{session, stateless};

use super::end::End;
use super::outbox::Outbox;

/// Messages that wait for a slow client; calls wait for room.
const QUEUE_MAX: usize = 64;
/// A client that makes no room for so long has stalled. Source: the bound of `session::stream`, after which a stream
/// loses events: a line, which nobody can resume, ends before that happens.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Requests that may be in flight beside the calls of a session, so that lists and pings pass while all calls are taken.
const SPARE_PLACES: usize = 16;
/// How long a notification or an answer holds back what the client says next. Within it order is kept; a server that
/// takes nothing must not keep the client from the others.
const TURN_MAX: Duration = Duration::from_millis(100);

/// What a request of the session era is told before there is a session.
const NO_SESSION: &str = "`initialize` comes first on a connection, or `_meta` in every request";

/// Who is at the other end.
#[derive(Debug)]
pub(in crate::ingress) struct Peer {
    /// Who opened the line.
    pub(in crate::ingress) who: Arc<Authenticated>,
    /// Path that its session is bound to.
    pub(in crate::ingress) route: String,
    /// Server of a server-scoped path.
    pub(in crate::ingress) server: Option<String>,
}

/// One client on a channel in both directions. It has at most one session.
#[derive(Debug)]
pub(in crate::ingress) struct Line {
    pub(super) gateway: Arc<Gateway>,
    pub(super) peer: Peer,
    pub(super) out: mpsc::Sender<Bytes>,
    pub(super) session: Mutex<Stage>,
    seen: session::Seen,
    /// Stateless requests in flight, by a number of ours: a client that has heard the answer may use the id again
    /// before we have noticed that the request is over.
    running: Mutex<HashMap<u64, Running>>,
    n_alone: AtomicU64,
    places: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
    /// Fires when no new request is taken.
    pub(super) draining: CancellationToken,
    /// Fires with the first reason to end.
    pub(super) over: CancellationToken,
    pub(super) end: Mutex<Option<End>>,
    /// Fires when nothing more goes into the queue.
    pub(super) closed: CancellationToken,
    /// Fires with the first message.
    pub(super) spoken: CancellationToken,
}

/// A stateless request in flight.
#[derive(Debug)]
struct Running {
    /// Raw id.
    id: String,
    /// Fires when the client gives it up.
    cancel: Arc<Cancel>,
    listens: bool,
}

/// The number of a stateless request, and how it learns that it was given up.
type Ticket = (u64, Arc<Cancel>);

/// How far the session of a line is.
#[derive(Debug, Default)]
pub(super) enum Stage {
    #[default]
    None,
    /// `initialize` is on its way.
    Opening,
    /// Its id.
    Open(Arc<str>),
}

impl Line {
    /// A line of `peer`, and the queue of what it is told.
    pub(in crate::ingress) fn open(gateway: Arc<Gateway>, peer: Peer) -> (Arc<Self>, Outbox) {
        let (out, queue) = mpsc::channel(QUEUE_MAX);
        let closed = CancellationToken::new();
        let places = gateway
            .limits
            .session_calls_max
            .saturating_add(SPARE_PLACES);
        let line = Self {
            gateway,
            peer,
            out,
            session: Mutex::default(),
            seen: session::Seen::default(),
            running: Mutex::default(),
            n_alone: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            over: CancellationToken::new(),
            end: Mutex::default(),
            closed: closed.clone(),
            spoken: CancellationToken::new(),
        };
        (Arc::new(line), Outbox::new(queue, closed))
    }

    /// Who opened it.
    pub(in crate::ingress) fn opener(&self) -> &Arc<Authenticated> {
        &self.peer.who
    }

    /// Takes one message of whoever opened the line, under the rights that they have now.
    ///
    /// # Errors
    ///
    /// See [`Self::take`].
    pub(in crate::ingress) async fn take_own(
        self: &Arc<Self>,
        text: Bytes,
    ) -> Result<(), CallError> {
        match self.gateway.identities.renew(Arc::clone(&self.peer.who)) {
            Ok(who) => self.take(who, None, text).await,
            Err(_not_good_any_more) => {
                self.end(End::Withdrawn);
                Ok(())
            }
        }
    }

    /// Bounds of what clients send.
    pub(in crate::ingress) fn limits(&self) -> &config::Limits {
        &self.gateway.limits
    }

    /// Takes one message of `who`. Its answer, if it has one, goes through the queue.
    ///
    /// # Errors
    ///
    /// Fails when the text is no message: see [`Self::refuse_text`].
    pub(in crate::ingress) async fn take(
        self: &Arc<Self>,
        who: Arc<Authenticated>,
        trace: Option<Context>,
        text: Bytes,
    ) -> Result<(), CallError> {
        let batch = Batch::parse(text.clone(), &self.gateway.sessions.message_limits())?;
        self.spoken.cancel();
        let message = Message { who, trace, text };
        match batch {
            Batch::One(frame) if frame.kind() == Kind::Request => {
                self.request(message, frame).await;
            }
            Batch::One(frame) if *frame.method() == *method::CANCELLED && self.cancel(&frame) => {}
            batch @ Batch::Many(_) if batch.wants_answer() => match self.admit() {
                Ok(place) => self.run(message, None, place),
                Err(error) => self.refuse(None, &error).await,
            },
            Batch::One(_) | Batch::Many(_) => self.statement(message).await,
        }
        Ok(())
    }

    /// Tells the client that `text` is no message, and which of its requests that was to be, where it is legible: nobody
    /// need wait for another answer.
    pub(in crate::ingress) async fn refuse_text(&self, text: &[u8], error: &CallError) {
        self.refuse(asked(text).as_deref(), error).await;
    }

    /// Refuses a request.
    async fn refuse(&self, id: Option<&str>, error: &CallError) {
        let _reader_gone = self.say(error_message(id, error, Era::Session)).await;
    }

    async fn request(self: &Arc<Self>, message: Message, frame: Frame) {
        let place = match self.admit() {
            Ok(place) => place,
            Err(error) => return self.refuse(frame.id(), &error).await,
        };
        if stateless::claims_stateless(None, &frame) {
            // Known before the next message is read, which may cancel it.
            let (line, ticket) = (Arc::clone(self), self.register(&frame));
            return self.spawn(async move {
                line.alone(message, frame, ticket).await;
                drop(place);
            });
        }
        if frame.method() == method::INITIALIZE {
            return self.initialize(message, &frame).await;
        }
        let id = frame.id().map(str::to_owned);
        self.run(message, id, place);
    }

    /// Runs a message of the session that has something to answer.
    fn run(self: &Arc<Self>, message: Message, id: Option<String>, place: OwnedSemaphorePermit) {
        let line = Arc::clone(self);
        self.spawn(async move {
            match line.in_session(message).await {
                Ok(response) => line.pour(response.answer).await,
                Err(error) => line.refuse(id.as_deref(), &error).await,
            }
            drop(place);
        });
    }

    /// A notification, or the answer to a request of a server.
    async fn statement(self: &Arc<Self>, message: Message) {
        let line = Arc::clone(self);
        let handled = spawn_named(
            "line statement",
            self.tasks.track_future(async move {
                // Nobody waits for an answer to it.
                drop(line.in_session(message).await);
            }),
        );
        let _in_turn = timeout(TURN_MAX, handled).await;
    }

    /// Opens the session. What the client says next is read when it is open.
    async fn initialize(self: &Arc<Self>, message: Message, frame: &Frame) {
        let begun = {
            let mut stage = self.session.lock();
            let begins = matches!(*stage, Stage::None);
            if begins {
                *stage = Stage::Opening;
            }
            begins
        };
        if !begun {
            let error = CallError::InvalidRequest {
                what: "this connection has its session; another one needs another connection"
                    .into(),
            };
            return self.refuse(frame.id(), &error).await;
        }
        let line = Arc::clone(self);
        let opened = spawn_named(
            "line initialize",
            // A task of its own: an opening that is cut off in the middle would leave a session that nobody knows.
            self.tasks
                .track_future(async move { line.open_session(message).await }),
        );
        let _panicked = opened.await;
    }

    async fn open_session(self: Arc<Self>, message: Message) {
        let request = self.session_request(&message.who, None, message.trace);
        let response = self.gateway.sessions.post(&request, message.text).await;
        *self.session.lock() = match &response.session_id {
            Some(id) => Stage::Open(id.as_str().into()),
            None => Stage::None,
        };
        let opened = response.session_id.is_some();
        self.pour(response.answer).await;
        if opened {
            self.listen(&message.who);
        }
        if self.over.is_cancelled() {
            self.end_session().await;
        }
    }

    /// What servers say outside of calls goes through the same queue.
    fn listen(self: &Arc<Self>, who: &Arc<Authenticated>) {
        let Some(id) = self.session_id() else { return };
        let request = self.session_request(who, Some(&id), None);
        let Ok(answer) = self.gateway.sessions.listen(&request, None) else {
            return self.end(self.lost_session());
        };
        let line = Arc::clone(self);
        // Ends with the line. Not among those that a drain waits for: it carries no call.
        drop(spawn_named("line listener", async move {
            tokio::select! {
                () = line.over.cancelled() => {}
                // The session ended, or its events could not be taken in time: no line can go on after a gap.
                () = line.pour(answer) => line.end(line.lost_session()),
            }
        }));
    }

    /// Why the session has ended without our doing.
    fn lost_session(&self) -> End {
        match self.gateway.identities.renew(Arc::clone(&self.peer.who)) {
            Ok(_) => End::Session,
            Err(_) => End::Withdrawn,
        }
    }

    async fn in_session(&self, message: Message) -> Result<session::Response, CallError> {
        let id = self.session_id().ok_or(CallError::InvalidRequest {
            what: Cow::Borrowed(NO_SESSION),
        })?;
        let request = self.session_request(&message.who, Some(&id), message.trace);
        Ok(self.gateway.sessions.post(&request, message.text).await)
    }

    /// How a message of this line is put to the door.
    pub(super) fn session_request<'a>(
        &'a self,
        who: &Arc<Authenticated>,
        session_id: Option<&'a str>,
        trace: Option<Context>,
    ) -> session::Request<'a> {
        session::Request {
            who: Arc::clone(who),
            route: &self.peer.route,
            server: self.peer.server.as_deref(),
            session_id,
            version: None,
            trace,
            seen: Some(&self.seen),
        }
    }

    pub(super) fn session_id(&self) -> Option<Arc<str>> {
        match &*self.session.lock() {
            Stage::Open(id) => Some(Arc::clone(id)),
            Stage::None | Stage::Opening => None,
        }
    }

    /// Notes a request that stands alone.
    fn register(&self, frame: &Frame) -> Ticket {
        let cancel = Arc::new(Cancel::default());
        let serial = self.n_alone.fetch_add(1, Ordering::Relaxed);
        let running = Running {
            id: frame.id().unwrap_or_default().to_owned(),
            cancel: Arc::clone(&cancel),
            listens: frame.method() == method::LISTEN,
        };
        self.running.lock().insert(serial, running);
        (serial, cancel)
    }

    /// Runs a request that stands alone.
    async fn alone(&self, message: Message, frame: Frame, (serial, cancel): Ticket) {
        let id = frame.id().unwrap_or_default().to_owned();
        let request = stateless::Request {
            who: message.who,
            server: self.peer.server.as_deref(),
            headers: None,
            trace: message.trace.or_else(|| Context::of_meta(&frame)),
            cancel: Some(Arc::clone(&cancel)),
        };
        let run = async {
            // Boxed: a call nests deeper than the compiler lays out in one piece.
            let answer = Box::pin(self.gateway.stateless.post(request, frame)).await;
            self.pour(answer).await;
        };
        let cut = tokio::select! {
            biased;
            () = cancel.fired() => false,
            () = run => false,
            () = self.over.cancelled() => true,
        };
        self.running.lock().remove(&serial);
        if cut {
            let error = CallError::SessionEnded;
            let _reader_gone = self
                .say(error_message(Some(&id), &error, Era::Stateless))
                .await;
        }
    }

    /// Cancels a stateless request. `false` when none has that id.
    fn cancel(&self, frame: &Frame) -> bool {
        let Some(span) = frame.param(&["requestId"]) else {
            return false;
        };
        let id = span.of(frame.text());
        let running = self.running.lock();
        let found: Vec<_> = running.values().filter(|one| one.id == id).collect();
        for one in &found {
            one.cancel.fire();
        }
        !found.is_empty()
    }

    /// Ends the listens of a client that says nothing more: only it could have ended them.
    pub(in crate::ingress) fn end_listens(&self) {
        let running = self.running.lock();
        for listen in running.values().filter(|running| running.listens) {
            listen.cancel.fire();
        }
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit, CallError> {
        if self.draining.is_cancelled() {
            return Err(CallError::Draining);
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_| CallError::Overloaded {
            what: "this connection has too many requests in flight",
        })
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Owned by the line: its end waits for them, or cuts them off.
        drop(spawn_named("line request", self.tasks.track_future(work)));
    }

    async fn pour(&self, answer: Answer) {
        match answer {
            Answer::Accepted => {}
            Answer::Json { mut chunks, .. } => {
                let whole = match chunks.len() {
                    1 => chunks.swap_remove(0),
                    _ => chunks.concat().into(),
                };
                let _reader_gone = self.say(one_line(whole)).await;
            }
            Answer::Events(mut events) => {
                while let Some(event) = events.0.next().await {
                    if !event.data.is_empty() && !self.say(one_line(event.data)).await {
                        return;
                    }
                }
            }
        }
    }

    /// Puts a message into the queue, and waits for room. `false` when nobody will take it.
    async fn say(&self, message: Bytes) -> bool {
        let put = self.out.send_timeout(message, STALL_MAX).await;
        if let Err(SendTimeoutError::Timeout(_)) = put {
            self.end(End::Stalled);
        }
        put.is_ok()
    }
}

/// One message of a client.
struct Message {
    who: Arc<Authenticated>,
    trace: Option<Context>,
    text: Bytes,
}

/// Line breaks in JSON text can stand between tokens only.
fn one_line(text: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &text).is_none() {
        return text;
    }
    let mut text = text.to_vec();
    for byte in &mut text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text.into()
}
