//! One call whose server streams, wants input first, or has to be asked again: messages for the client, in order.
//!
//! ```text
//! Reading ──[answer]──► Done                            messages of the server pass
//!    │ ▲
//!    │ └───────────[stream]───────────┐
//!    └──[wants input]──► Asking ──[answers are here]──► Sending ──[answer]──► Done
//!                          ▲                              │
//!                          └────────[wants input]─────────┘
//! ```
//! A call that is about a task, or has become one, also has `Waiting`, between two looks at the task.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use lockgate_proto::jsonrpc::{Frame, Kind};
use lockgate_proto::mcp::{Era, code, method};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::error::UpstreamError;
use crate::upstream::catalog::List;
use crate::upstream::errand;
use crate::upstream::guarded::GuardedStream;
use crate::upstream::link::{MessageStream, Outgoing, Reply};
use crate::upstream::retry::CallClass;

use super::answer::{self, Answered, Asked, message_of};
use super::request;
use super::rounds::{Next, Serial};
use super::session::Session;
use super::tasks::Followed;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) session: Session,
    pub(super) asked: Asked,
    /// As it was sent first.
    pub(super) first: Outgoing,
    pub(super) class: CallClass,
}

impl Call {
    pub(super) async fn send(&self, out: &Outgoing) -> Result<Reply, UpstreamError> {
        self.session.dispatch(out.clone(), self.class).await
    }

    /// Sends `frame`, which is the first request or a retry of it.
    pub(super) fn sending(&self, frame: Frame) -> Sending {
        self.sending_out(Outgoing {
            headers: match &*frame.method() {
                method::TASKS_UPDATE => request::routing_headers(&frame, None),
                _ => self.first.headers.clone(),
            },
            frame,
            timeout: self.first.timeout,
        })
    }

    pub(super) fn sending_out(&self, out: Outgoing) -> Sending {
        let (session, class) = (self.session.clone(), self.class);
        Mutex::new(Box::pin(async move { session.dispatch(out, class).await }))
    }

    /// Sends `frame` with headers by the tool's present schema, which the server lists anew.
    fn refitted(&self, frame: Frame) -> Sending {
        let (session, class) = (self.session.clone(), self.class);
        let (own, timeout) = (self.first.headers.clone(), self.first.timeout);
        Mutex::new(Box::pin(async move {
            let tools = errand::tools(session.shared()).await?;
            let headers = fitting(&frame, own, &tools);
            let out = Outgoing {
                frame,
                headers,
                timeout,
            };
            session.dispatch(out, class).await
        }))
    }

    /// Raw id that its client used.
    pub(super) fn id(&self) -> &str {
        self.first.frame.id().unwrap_or("null")
    }

    fn server(&self) -> lockgate_proto::id::ServerName {
        self.session.shared().settings.name.clone()
    }
}

/// `headers` with those of routing made anew.
fn fitting(frame: &Frame, mut headers: request::Headers, tools: &List) -> request::Headers {
    headers.retain(|(name, _)| !name.as_str().starts_with("mcp-"));
    let name = frame.param_str(&["name"]);
    let tool = name.and_then(|name| tools.get(&name));
    headers.extend(request::routing_headers(frame, tool));
    headers
}

/// In a mutex that nobody locks: streams are shared among threads by reference, futures are not.
pub(super) type Sending = Mutex<Pin<Box<dyn Future<Output = Result<Reply, UpstreamError>> + Send>>>;

pub(super) enum Leg {
    /// The server streams.
    Reading(Box<GuardedStream>),
    /// The server has the word.
    Sending(Sending),
    /// The client has.
    Asking,
    /// Nobody has: the server's task goes on.
    Waiting(Instant),
    /// It is over.
    Done,
}

/// Messages of one bridged call. Dropping it gives up the rest.
pub struct UpStream {
    pub(super) call: Call,
    pub(super) serial: Serial,
    waker: Arc<Notify>,
    pub(super) queue: VecDeque<Frame>,
    pub(super) leg: Leg,
    /// What the server was sent last.
    pub(super) sent: Frame,
    /// Whether the tool's schema was fetched for this call already.
    pub(super) refitted: bool,
    /// The task that the call is about, or has become.
    pub(super) followed: Option<Followed>,
}

impl fmt::Debug for UpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpStream")
            .field("asked", &self.call.asked.method)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl UpStream {
    fn new(call: Call, followed: Option<Followed>) -> Self {
        let (serial, waker) = call.session.begin(&call, followed.as_ref());
        Self::over(call, serial, waker, followed)
    }

    /// Of a call that its session knows.
    pub(super) fn over(
        call: Call,
        serial: Serial,
        waker: Arc<Notify>,
        followed: Option<Followed>,
    ) -> Self {
        Self {
            serial,
            waker,
            queue: VecDeque::new(),
            leg: Leg::Done,
            sent: call.first.frame.clone(),
            refitted: false,
            followed,
            call,
        }
    }

    /// Of a client that waits for the result of a task.
    pub(super) fn following(call: Call, followed: Followed) -> Reply {
        let mut bridged = Self::new(call, Some(followed));
        bridged.poll();
        Reply::Stream(MessageStream::Up(Box::new(bridged)))
    }

    /// What was asked so far is over; what is asked from now on is about something else.
    pub(super) fn begin_anew(&self) {
        let session = &self.call.session;
        session.begin_anew(self.serial, &self.call, self.followed.as_ref());
    }

    /// Of a server that streams.
    pub(super) fn reading(call: Call, stream: MessageStream) -> Result<Reply, UpstreamError> {
        let mut bridged = Self::new(call, None);
        bridged.read(stream)?;
        Ok(Reply::Stream(MessageStream::Up(Box::new(bridged))))
    }

    /// Of a server whose first answer is not the last.
    pub(super) fn answered(call: Call, answered: Answered) -> Result<Reply, UpstreamError> {
        let mut bridged = Self::new(call, None);
        bridged.on_answered(answered)?;
        Ok(Reply::Stream(MessageStream::Up(Box::new(bridged))))
    }

    /// See [`MessageStream::next`].
    pub(in crate::upstream) async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        loop {
            if let Some(frame) = self.queue.pop_front() {
                return Ok(Some(frame));
            }
            match &mut self.leg {
                Leg::Done => return Ok(None),
                Leg::Reading(stream) => {
                    let got = tokio::select! {
                        biased;
                        () = self.waker.notified() => None,
                        got = stream.next() => Some(got),
                    };
                    match got {
                        Some(got) => self.on_message(got?)?,
                        None => self.check_cancelled()?,
                    }
                }
                Leg::Sending(sending) => {
                    let replied = tokio::select! {
                        biased;
                        () = self.waker.notified() => None,
                        replied = sending.get_mut() => Some(replied),
                    };
                    match replied {
                        Some(replied) => self.on_reply(replied?)?,
                        None => self.check_cancelled()?,
                    }
                }
                Leg::Asking => self.ask().await?,
                Leg::Waiting(until) => {
                    let is_over = tokio::select! {
                        biased;
                        () = self.waker.notified() => false,
                        () = sleep_until(*until) => true,
                    };
                    if is_over {
                        self.poll();
                    } else {
                        self.check_cancelled()?;
                    }
                }
            }
        }
    }

    /// One step of a call that waits for its client.
    async fn ask(&mut self) -> Result<(), UpstreamError> {
        match self.call.session.next(self.serial) {
            Next::Wait(until_ms) => match self.call.session.at(until_ms) {
                Some(until) => {
                    tokio::select! {
                        () = self.waker.notified() => {}
                        () = sleep_until(until) => {}
                    }
                }
                None => self.waker.notified().await,
            },
            Next::Retry(frame) => {
                self.sent = frame.clone();
                self.leg = Leg::Sending(self.call.sending(frame));
            }
            Next::Fail(why) => self.fail(&why),
            Next::Cancelled => return Err(self.cancelled()),
        }
        Ok(())
    }

    /// The call ends without its server: the client is told what it need not answer any more, and why.
    fn fail(&mut self, why: &str) {
        let id = self.call.id().to_owned();
        for question in self.call.session.end(self.serial) {
            let cancelled = method::CANCELLED;
            self.queue.extend(message_of(format!(
                r#"{{"jsonrpc":"2.0","method":"{cancelled}","params":{{"requestId":{question}}}}}"#
            )));
        }
        // A task that was never made has no result for a model to read.
        let called = match self.call.asked.wish {
            Some(_) => "",
            None => &*self.call.asked.method,
        };
        self.queue.extend(answer::failure(called, &id, why));
        self.leg = Leg::Done;
    }

    fn check_cancelled(&mut self) -> Result<(), UpstreamError> {
        match self.call.session.next(self.serial) {
            Next::Cancelled => Err(self.cancelled()),
            _ => Ok(()),
        }
    }

    /// What the server still does is given up.
    fn cancelled(&mut self) -> UpstreamError {
        self.leg = Leg::Done;
        UpstreamError::Cancelled {
            server: self.call.server(),
        }
    }

    fn read(&mut self, stream: MessageStream) -> Result<(), UpstreamError> {
        let Some(stream) = GuardedStream::of(stream) else {
            return Err(UpstreamError::Garbage {
                server: self.call.server(),
                what: "a call was answered by a stream that belongs to none".to_owned(),
            });
        };
        self.leg = Leg::Reading(stream);
        Ok(())
    }

    fn on_reply(&mut self, reply: Reply) -> Result<(), UpstreamError> {
        match reply {
            Reply::Single { frame, .. } => self.on_answer(frame),
            Reply::Stream(stream) => self.read(stream),
        }
    }

    fn on_message(&mut self, message: Option<Frame>) -> Result<(), UpstreamError> {
        let Some(frame) = message else {
            self.leg = Leg::Done;
            return Ok(());
        };
        match frame.kind() {
            Kind::Result | Kind::Error => self.on_answer(frame)?,
            Kind::Notification if self.passes(&frame) => self.queue.push_back(frame),
            Kind::Notification => {}
            // From 2026-07-28 on servers send none.
            Kind::Request => debug!(server = %self.call.server(), "request of a server, dropped"),
        }
        Ok(())
    }

    fn on_answer(&mut self, frame: Frame) -> Result<(), UpstreamError> {
        if self.followed.is_some() {
            return self.on_followed(&frame);
        }
        let answered = answer::translate(&self.call.asked, frame);
        self.on_answered(self.call.session.settled(&self.call, answered))
    }

    /// The last message for the client.
    pub(super) fn finish(&mut self, frame: Frame) {
        // Rounds have ids of their own, the client knows the first.
        let id = self.call.id();
        let frame = if frame.id() == Some(id) {
            frame
        } else {
            frame.with_id(id)
        };
        self.queue.push_back(frame);
        self.leg = Leg::Done;
    }

    pub(super) fn garbage(&self, what: &str) -> UpstreamError {
        UpstreamError::Garbage {
            server: self.call.server(),
            what: what.to_owned(),
        }
    }

    fn passes(&self, frame: &Frame) -> bool {
        match &*frame.method() {
            method::CANCELLED => false,
            method::LOG_MESSAGE => frame
                .param_str(&["level"])
                .is_none_or(|level| self.call.session.wants_level(&level)),
            _ => true,
        }
    }

    fn on_answered(&mut self, answered: Answered) -> Result<(), UpstreamError> {
        match answered {
            Answered::Done(frame) => self.finish(frame),
            Answered::Task(frame) => self.follow_hidden(&frame)?,
            Answered::NeedsTask(frame) => self.allow_task(frame)?,
            Answered::Wants(wanted) => {
                let (serial, first) = (self.serial, &self.call.first.frame);
                self.queue
                    .extend(self.call.session.wanted(serial, &wanted, first));
                self.leg = Leg::Asking;
            }
            Answered::Misfit { code, .. } if code == code::HEADER_MISMATCH && !self.refitted => {
                self.refitted = true;
                self.leg = Leg::Sending(self.call.refitted(self.sent.clone()));
                // The catalog is as old as the headers were.
                errand::lists_changed(self.call.session.shared(), Era::Stateless);
            }
            Answered::Misfit { code, message } => {
                return Err(UpstreamError::Refused {
                    server: self.call.server(),
                    what: format!("{message} ({code})"),
                });
            }
            Answered::Garbage(what) => return Err(self.garbage(&what)),
        }
        Ok(())
    }
}

/// Leaving a call is an event of the protocol, and a caller leaves by dropping its stream.
impl Drop for UpStream {
    fn drop(&mut self) {
        let _with_the_client = self.call.session.end(self.serial);
        self.leave_followed();
    }
}
