//! Runs one request of a session: plain JSON when it ends soon, a resumable stream when it does not.
//!
//! ```text
//! claim ─► drive ──[answered within journal_after]──────► JSON
//!             ├────[a message before the answer]─────────► stream, followed by a task
//!             ├────[journal_after over]──────────────────► stream, followed by a task
//!             ├────[client cancels]──────────────────────► told to the server, the stream ends empty
//!             └────[session ends]────────────────────────► told to the server, one definite error
//! ```
//! A client that disconnects has not cancelled: the call goes on without it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::jsonrpc::{Frame, Kind, Limits, decode_str};
use lockgate_proto::mcp::{Era, Revision, code, method};
use tokio::time::Instant;

use crate::answer::{Answer, Events, error_message};
use crate::error::CallError;
use crate::identity::Authenticated;
use crate::pipeline::{CallStream, Incoming, Link, Outcome};
use crate::route::{Scope, Table, TaskRef};
use crate::task::{either, spawn_named};
use crate::telemetry::trace::Context;
use crate::upstream::BoundSession;
use crate::upstream::link::{Outgoing, SEND_WAIT};

use super::claim::{Claim, Reason};
use super::directory::InUse;
use super::door::Inner;
use super::inbound::{Heard, hear, refuse};
use super::stream::{Logged, StreamLog};

/// A server that was told of a cancel may still answer for this long; then its stream is given up.
const CANCEL_GRACE: Duration = Duration::from_secs(2);
/// Longest wait for a server to take the news that a call is over.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);

/// One request on its way.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) frame: Frame,
    pub(super) who: Arc<Authenticated>,
    pub(super) scope: Scope,
    pub(super) table: Arc<Table>,
    pub(super) trace: Option<Context>,
    pub(super) asked_at: Instant,
}

impl Ask {
    fn incoming<'a>(&'a self, cell: &'a InUse, revision: Revision) -> Incoming<'a> {
        Incoming {
            frame: &self.frame,
            table: &self.table,
            scope: self.scope,
            revision,
            who: &self.who,
            session: Some(&cell.name),
            trace: self.trace.as_ref(),
            params: &[],
            cancel: None,
        }
    }
}

/// A claim that is given back when the call ends, however it ends.
#[derive(Debug)]
struct Held {
    cell: InUse,
    claim: Claim,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.cell.release(self.claim.serial);
    }
}

/// How far a call has come.
enum Step {
    Done(Bytes),
    Cancelled,
    Streaming(Box<Streaming>),
}

struct Streaming {
    first: Frame,
    stream: Box<CallStream>,
    sent_on: Option<BoundSession>,
    ask: Ask,
    held: Held,
}

type Driving = Pin<Box<dyn Future<Output = Step> + Send>>;

/// A call that goes on when its client's connection is dropped.
struct Undropped(Option<Driving>);

impl Future for Undropped {
    type Output = Step;

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Step> {
        let Some(driving) = self.0.as_mut() else {
            return std::task::Poll::Pending;
        };
        let step = std::task::ready!(driving.as_mut().poll(context));
        self.0 = None;
        std::task::Poll::Ready(step)
    }
}

/// The one side effect in a `Drop` of this module: disconnection is not cancellation (MCP 2025-11-25, "Sending
/// Messages to the Server"), and a dropped future is how a disconnection shows.
impl Drop for Undropped {
    fn drop(&mut self) {
        if let Some(driving) = self.0.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            // Ends with the call, whose silence is bounded by the server's timeout.
            drop(spawn_named("call without client", async move {
                if let Step::Streaming(streaming) = driving.await {
                    let log = streaming.held.cell.new_stream();
                    follow(*streaming, log).await;
                }
            }));
        }
    }
}

/// Runs `ask` and says how to answer the client.
pub(super) async fn run(inner: &Arc<Inner>, cell: &InUse, ask: Ask) -> Answer {
    let Some(id) = ask.frame.id() else {
        return Answer::Accepted;
    };
    let claim = match cell.claim(id, &inner.limits, ask.asked_at) {
        Ok(claim) => claim,
        Err(CallError::Cancelled) => return empty_stream(),
        Err(error) => {
            if matches!(error, CallError::Overloaded { .. }) {
                inner.pipeline.metrics.limited("session");
                let revision = cell.state.lock().hard.revision;
                inner
                    .pipeline
                    .overloaded(&ask.incoming(cell, revision), &error);
            }
            return Answer::error(Some(id), &error, Era::Session);
        }
    };
    let held = Held {
        cell: cell.clone(),
        claim,
    };
    let mut driving = Undropped(Some(Box::pin(drive(Arc::clone(inner), ask, held))));
    match inner.journal.limit(Pin::new(&mut driving)).await {
        Some(Step::Done(body)) => Answer::json(body),
        Some(Step::Cancelled) => empty_stream(),
        Some(Step::Streaming(streaming)) => {
            let log = cell.new_stream();
            let answer = stream_answer(inner, cell, &log);
            // Owned by the call: ends with it.
            drop(spawn_named("streaming call", follow(*streaming, log)));
            answer
        }
        None => {
            let log = cell.new_stream();
            let answer = stream_answer(inner, cell, &log);
            // Owned by the call: ends with it.
            drop(spawn_named("long call", finish(driving, log)));
            answer
        }
    }
}

fn empty_stream() -> Answer {
    Answer::Events(Events(Box::pin(futures_util::stream::empty())))
}

fn stream_answer(inner: &Inner, cell: &InUse, log: &Arc<StreamLog>) -> Answer {
    let revision = cell.state.lock().hard.revision;
    let Some(reader) = log.attach(None) else {
        return empty_stream();
    };
    // Events without data break clients of earlier revisions.
    let priming = (revision >= Revision::V2025_11_25).then(|| reader.priming());
    inner.keep_in_use(cell, reader.into_stream(priming))
}

async fn finish(mut driving: Undropped, log: Arc<StreamLog>) {
    match (&mut driving).await {
        Step::Done(body) => log.finish(body, Instant::now()),
        Step::Cancelled => log.end(Instant::now()),
        Step::Streaming(streaming) => follow(*streaming, log).await,
    }
}

/// Drives a call to its first message, its answer, or its end for another reason.
async fn drive(inner: Arc<Inner>, ask: Ask, held: Held) -> Step {
    let sent_on = OnceLock::new();
    let started = {
        let starting = pin!(start(&inner, &ask, &held, &sent_on));
        either(starting, pin!(held.claim.cancel.signal.fired())).await
    };
    let Ok(started) = started else {
        return match Box::pin(give_up(&ask, &held, sent_on.get())).await {
            Some(error) => Step::Done(error),
            None => Step::Cancelled,
        };
    };
    match started {
        Ok(Started::Answer(frame)) => {
            settle(&held.cell, &ask, &frame);
            Step::Done(frame.bytes().clone())
        }
        Ok(Started::Stream(first, stream)) => Step::Streaming(Box::new(Streaming {
            first,
            stream,
            sent_on: sent_on.into_inner(),
            ask,
            held,
        })),
        Err(error) => {
            if error.is_refusal() {
                // Of a call that was under way, if it was sent at all.
                call_off(&ask, sent_on.get(), "not allowed any more").await;
            }
            Step::Done(error_message(ask.frame.id(), &error, Era::Session))
        }
    }
}

enum Started {
    Answer(Frame),
    Stream(Frame, Box<CallStream>),
}

async fn start(
    inner: &Arc<Inner>,
    ask: &Ask,
    held: &Held,
    sent_on: &OnceLock<BoundSession>,
) -> Result<Started, CallError> {
    let cell = &held.cell;
    let (revision, tasks) = {
        let state = cell.state.lock();
        let task = is_task_method(&ask.frame)
            .then(|| ask.frame.param_str(&["taskId"]))
            .flatten();
        (state.hard.revision, task.and_then(|id| state.task(&id)))
    };
    let owner = |_: &str| {
        let (server, tool) = tasks.clone()?;
        Some(TaskRef {
            server: ask.table.server(server.as_str())?,
            tool,
            own: None,
        })
    };
    let incoming = Incoming {
        cancel: Some(&held.claim.cancel.signal),
        ..ask.incoming(cell, revision)
    };
    let link = async |server: usize| {
        let session = inner.bound(cell, &ask.table.servers[server]).await?;
        // A call goes out on one session: it is set once.
        Ok(Link::Session(sent_on.get_or_init(|| session)))
    };
    let outcome = inner.pipeline.call(incoming, &owner, link).await?;
    let mut stream = match outcome {
        Outcome::Done { frame, .. } => return Ok(Started::Answer(frame)),
        Outcome::Stream(stream) => stream,
    };
    let first = Box::pin(stream.next()).await?;
    match first {
        Some(first) if is_answer(&first) => Ok(Started::Answer(first)),
        Some(first) => Ok(Started::Stream(first, stream)),
        None => Err(CallError::SessionEnded),
    }
}

fn is_answer(frame: &Frame) -> bool {
    matches!(frame.kind(), Kind::Result | Kind::Error)
}

fn is_task_method(frame: &Frame) -> bool {
    frame.method().starts_with("tasks/")
}

/// Follows a streaming call to its end, whether or not anybody listens.
async fn follow(mut streaming: Streaming, log: Arc<StreamLog>) {
    let cancel = Arc::clone(&streaming.held.claim.cancel);
    let last = tokio::select! {
        biased;
        last = relay(&mut streaming, &log) => last,
        () = cancel.signal.fired() => {
            let last = give_up(&streaming.ask, &streaming.held, streaming.sent_on.as_ref()).await;
            if last.is_none() {
                // An answer that crossed the cancel on its way is not wanted any more; its end is.
                let _in_time = tokio::time::timeout(CANCEL_GRACE, streaming.rest()).await;
            }
            streaming.stream.cancelled();
            last
        }
    };
    let now = Instant::now();
    streaming.held.cell.touch(now);
    match last {
        Some(last) => log.finish(last, now),
        None => log.end(now),
    }
}

/// Passes on what the server says. Returns the last message for the client, if there is one.
async fn relay(streaming: &mut Streaming, log: &StreamLog) -> Option<Bytes> {
    let first = streaming.first.clone();
    streaming.tell(first, log).await;
    loop {
        match streaming.stream.next().await {
            Ok(Some(frame)) if is_answer(&frame) => {
                settle(&streaming.held.cell, &streaming.ask, &frame);
                return Some(frame.line());
            }
            Ok(Some(frame)) => streaming.tell(frame, log).await,
            Ok(None) => return None,
            Err(error) => {
                if error.is_refusal() {
                    let sent_on = streaming.sent_on.as_ref();
                    call_off(&streaming.ask, sent_on, "not allowed any more").await;
                }
                let id = streaming.ask.frame.id();
                return Some(error_message(id, &error, Era::Session));
            }
        }
    }
}

impl Streaming {
    async fn tell(&self, frame: Frame, log: &StreamLog) {
        // Always there: what streams was sent.
        let Some(session) = &self.sent_on else { return };
        match hear(
            &self.held.cell,
            session,
            frame,
            Some(self.held.claim.serial),
        ) {
            Heard::Tell(frame) => log.push(frame.line()).await,
            Heard::Ask(id, frame) => log.push(Logged::question(id, frame.line())).await,
            Heard::Refuse(answer) => send(self.sent_on.as_ref(), answer).await,
            Heard::Drop => {}
        }
    }

    /// Waits for the end of a call that was given up. Whatever its server still asks there is refused.
    async fn rest(&mut self) {
        while let Ok(Some(frame)) = self.stream.next().await {
            if is_answer(&frame) {
                return;
            }
            if frame.kind() == Kind::Request {
                let id = frame.id().unwrap_or("null");
                let refused = refuse(id, code::INTERNAL_ERROR, "the call was cancelled");
                if let Heard::Refuse(answer) = refused {
                    send(self.sent_on.as_ref(), answer).await;
                }
            }
        }
    }
}

/// Tells the server that its answer is not wanted any more. Returns what is still owed to the client.
async fn give_up(ask: &Ask, held: &Held, sent_on: Option<&BoundSession>) -> Option<Bytes> {
    match held.claim.cancel.take_reason()? {
        Reason::Client(notification) => {
            send(sent_on, notification).await;
            None
        }
        Reason::SessionEnded => {
            call_off(ask, sent_on, "session ended").await;
            let error = CallError::SessionEnded;
            Some(error_message(ask.frame.id(), &error, Era::Session))
        }
    }
}

/// Tells the server, of the gateway's own accord, that a call is over; it has a moment to take the news.
async fn call_off(ask: &Ask, sent_on: Option<&BoundSession>, reason: &str) {
    let Some(id) = ask.frame.id() else { return };
    let method = method::CANCELLED;
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"requestId":{id},"reason":"{reason}"}}}}"#
    );
    if let Ok(notification) = Frame::parse(text.into(), &Limits::default()) {
        let told = send(sent_on, notification);
        let _in_time = tokio::time::timeout(FAREWELL_WAIT, told).await;
    }
}

/// Sends to the session that the call went out on; if it went nowhere, there is nobody to tell.
async fn send(session: Option<&BoundSession>, frame: Frame) {
    if let Some(session) = session {
        let _server_gone = session.send(Outgoing::plain(frame, SEND_WAIT)).await;
    }
}

/// Notes what an answer changed in the session.
fn settle(cell: &InUse, ask: &Ask, answer: &Frame) {
    let method = ask.frame.method();
    let changes = matches!(
        &*method,
        method::TOOLS_CALL | method::SUBSCRIBE | method::UNSUBSCRIBE | method::SET_LEVEL
    );
    if answer.kind() != Kind::Result || !changes {
        return;
    }
    if *method == *method::TOOLS_CALL && ask.frame.param(&["task"]).is_none() {
        return;
    }
    let revision = cell.state.lock().hard.revision;
    let Ok(plan) = crate::route::plan(&ask.table, ask.scope, &ask.frame, revision, &|_| None)
    else {
        return;
    };
    let server = ask.table.servers[plan.server].settings.name.clone();
    let mut state = cell.state.lock();
    match &*method {
        method::TOOLS_CALL => {
            let task = answer.body().and_then(|body| {
                let span = lockgate_proto::jsonrpc::find_path(body, &["task", "taskId"])?;
                decode_str(span.of(body))
            });
            if let Some(task) = task {
                state.note_task(&task, server, &plan.shown);
            }
        }
        method::SUBSCRIBE => state.subscribe(server, plan.own.as_deref().unwrap_or(&plan.shown)),
        method::UNSUBSCRIBE => {
            state.unsubscribe(&server, plan.own.as_deref().unwrap_or(&plan.shown));
        }
        method::SET_LEVEL => {
            let level = ask
                .frame
                .param(&["level"])
                .map(|span| span.of(ask.frame.text()).to_owned());
            state.log_level = level;
        }
        _ => {}
    }
}
