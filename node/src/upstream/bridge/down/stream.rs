//! The shell of one running call: moves messages between its server's stream, its data and its client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind};
use lockgate_proto::mcp::method;
use tokio::time::{Instant, timeout_at};

use crate::error::UpstreamError;
use crate::upstream::admission::Place;
use crate::upstream::link::{MessageStream, Reply};
use crate::upstream::shared::Shared;

use super::call::Step;
use super::digest;
use super::hold::pass_on;
use super::hub::News;
use super::listen::ListenStream;
use super::parking::Bearer;
use super::shelf::Running;

/// Messages for a client of the stateless era, from a server of the session era.
#[derive(Debug)]
pub struct BridgedStream(Kinds);

#[derive(Debug)]
enum Kinds {
    Call(Box<CallStream>),
    Listen(ListenStream),
}

impl BridgedStream {
    fn of_call(stream: Box<CallStream>) -> Reply {
        Reply::Stream(MessageStream::Bridged(Box::new(Self(Kinds::Call(stream)))))
    }

    pub(super) fn of_listen(stream: ListenStream) -> Reply {
        Reply::Stream(MessageStream::Bridged(Box::new(Self(Kinds::Listen(
            stream,
        )))))
    }

    /// See [`MessageStream::next`].
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        match &mut self.0 {
            Kinds::Call(stream) => stream.next().await,
            Kinds::Listen(stream) => stream.next().await,
        }
    }
}

/// A server that asks several things at once does so within this, on a busy machine, too; a later question makes a
/// round of its own. Whoever answers is a person or a model, to whom this is nothing.
const GATHER_WAIT: Duration = Duration::from_millis(20);

/// Messages of a bridged call, until its answer or its question.
#[derive(Debug)]
pub(super) struct CallStream {
    shared: Arc<Shared>,
    request: Frame,
    /// Until the answer or the question.
    running: Option<Running>,
    /// A message that was read ahead.
    first: Option<Frame>,
    /// Answers of our own to the server, which must have gone out before more is read.
    outbox: VecDeque<Frame>,
    gather_until: Option<Instant>,
    /// HTTP status of the answer.
    status: u16,
    /// Of a call that goes on after a question; otherwise the source has one.
    _place: Option<Place>,
}

impl CallStream {
    /// Of a call on its way; `request` as the client sent it.
    pub(super) fn new(
        shared: &Arc<Shared>,
        request: Frame,
        running: Running,
        place: Option<Place>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            request,
            running: Some(running),
            first: None,
            outbox: VecDeque::new(),
            gather_until: None,
            status: 200,
            _place: place,
        }
    }

    /// Waits for the first message: the answer, or the start of a stream. Only an answer that comes first can have an
    /// HTTP status of its own.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub(super) async fn open(mut self: Box<Self>) -> Result<Reply, UpstreamError> {
        let first = self.next().await?;
        match first {
            Some(frame) if is_answer(&frame) => Ok(Reply::Single {
                status: self.status,
                frame,
            }),
            first => {
                self.first = first;
                Ok(BridgedStream::of_call(self))
            }
        }
    }

    /// See [`MessageStream::next`].
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            let Some(running) = &mut self.running else {
                return Ok(None);
            };
            while let Some(frame) = self.outbox.front() {
                // A server that does not take it will miss it by itself.
                if let Err(error) = running.line.hold.owned.send(frame.clone()).await {
                    tracing::debug!(%error, "answer to a server was not taken");
                }
                self.outbox.pop_front();
            }
            if !running.call.is_asking() {
                // The server has taken its questions back.
                self.gather_until = None;
            } else if running.line.source.is_unsent() {
                // Asked before, and of any call: this one is sent when the server has its answer.
                match self.park() {
                    Some(question) => return Ok(Some(question)),
                    None => continue,
                }
            }
            let line = &mut running.line;
            let got = match self.gather_until {
                None => line.next().await,
                Some(until) => match timeout_at(until, line.next()).await {
                    Ok(got) => got,
                    Err(_quiet) => match self.park() {
                        Some(question) => return Ok(Some(question)),
                        None => continue,
                    },
                },
            };
            match got {
                Ok(Some(frame)) => {
                    if let Some(frame) = self.take(frame) {
                        return Ok(Some(frame));
                    }
                }
                Ok(None) => {
                    self.end();
                    return Ok(None);
                }
                Err(error) => {
                    self.fail(&error);
                    return Err(error);
                }
            }
        }
    }

    /// A message of the server; returns what the client gets.
    fn take(&mut self, frame: Frame) -> Option<Frame> {
        let running = self.running.as_mut()?;
        let owned = &running.line.hold.owned;
        if let Some(task) = owned.hub.task_of(&frame) {
            self.outbox.extend(task.hear(&frame));
            return None;
        }
        if frame.kind() == Kind::Notification && frame.method() == method::CANCELLED {
            owned.hub.take_back(&frame);
        }
        match running.call.on_message(frame, owned.server_info.as_deref()) {
            Step::Tell(frame) => Some(frame),
            Step::Send(frame) => {
                self.outbox.push_back(frame);
                None
            }
            Step::Asked => {
                let until = || Instant::now() + GATHER_WAIT;
                self.gather_until.get_or_insert_with(until);
                None
            }
            Step::Finish { status, frame } => {
                self.answer(status, &frame);
                Some(frame)
            }
            Step::Task(frame) => {
                let down = &self.shared.down;
                let hold = &mut running.line.hold;
                let created = down.created(&self.shared, &running.call, hold, &frame);
                let (status, frame) = created.unwrap_or((200, frame));
                self.answer(status, &frame);
                Some(frame)
            }
            Step::News(frame) => {
                owned.hub.tell(News::Told(frame));
                None
            }
            Step::Drop => None,
        }
    }

    /// Parks the call; returns the question. `None` when there is no place: the server is refused, and goes on.
    fn park(&mut self) -> Option<Frame> {
        self.gather_until = None;
        let running = self.running.take()?;
        let bearer = self.bearer(&running);
        let server = &self.shared.settings.name;
        match self.shared.down.park(&self.shared, running, bearer) {
            Ok(question) => Some(question),
            Err((mut running, why)) => {
                let why = why.as_str();
                tracing::warn!(%server, why, "a call cannot wait for its client");
                let refused = running.call.refuse_asked(why);
                self.outbox.extend(refused);
                self.running = Some(running);
                None
            }
        }
    }

    /// Who goes on with the call when it is parked.
    fn bearer(&self, running: &Running) -> Bearer {
        Bearer {
            owner: digest::of_owner(&running.line.hold.owned.key.owner()),
            request: digest::of_request(&self.request),
        }
    }

    /// The call ends with this answer.
    fn answer(&mut self, status: u16, frame: &Frame) {
        self.status = status;
        if let Some(running) = self
            .running
            .as_ref()
            .filter(|running| running.call.parked.is_some())
        {
            let bearer = self.bearer(running);
            let down = &self.shared.down;
            down.answered(&self.shared, &running.call, bearer, (status, frame));
        }
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.line.hold.end();
            // What the client was not asked any more.
            pass_on(&running.line.hold.owned, running.call.take_asked());
        }
    }

    fn fail(&mut self, error: &UpstreamError) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        // A server that is only slow is told that nobody waits any more: its hold says so when it goes.
        if !matches!(error, UpstreamError::Timeout { .. }) {
            running.line.hold.end();
        }
        if matches!(error, UpstreamError::SessionLost { .. }) {
            self.shared.down.forget(&running.line.hold.owned);
            return;
        }
        pass_on(&running.line.hold.owned, running.call.take_asked());
    }
}

/// A client leaves by dropping its stream. What it was to be asked and never will be, its server learns here: it may be
/// another call's, and whoever waits for an answer is not measured by its silence.
impl Drop for CallStream {
    fn drop(&mut self) {
        let Some(Running { mut call, line }) = self.running.take() else {
            return;
        };
        let owned = Arc::clone(&line.hold.owned);
        // The call is over first: none of its questions comes back to it.
        drop(line);
        pass_on(&owned, call.take_asked());
    }
}

fn is_answer(frame: &Frame) -> bool {
    matches!(frame.kind(), Kind::Result | Kind::Error)
}
