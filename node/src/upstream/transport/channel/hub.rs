//! The shell round the [`super::mux::Mux`]: queues of the callers on one side, the port on the other.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Batch, Frame, Kind, Legible, Limits, ParseError, Unfit};
use lockgate_proto::mcp::Revision;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::line::{Down, Up, excerpt};
use super::losses::Losses;
use super::mux::{Effect, Outcome, Owner, Sharing};
use super::outbox::{NoPlace, Outbox, Place, Queued};
use super::queue::{Admission, End, FRAMES_MAX, Queue};
use super::state::{Pending, State};
use crate::error::UpstreamError;
use crate::upstream::transport::http::Blame;

/// Notifications kept for a session that does not listen yet. Its requests are kept up to [`FRAMES_MAX`].
const UNHEARD_MAX: usize = 16;

/// A request that was accepted.
#[derive(Debug)]
pub(super) enum Begun {
    /// On its way.
    Call {
        /// Number.
        call: u64,
        /// Its messages.
        queue: Arc<Queue>,
    },
    /// Answered without the server.
    Answer(Frame),
}

/// Shared by the callers of a channel and the tasks that carry it.
#[derive(Debug)]
pub(crate) struct Hub {
    server: ServerName,
    limits: Limits,
    state: Mutex<State>,
    outbox: Outbox,
    /// Highest [`Down::n`] that we have.
    taken: AtomicU64,
    stray_lines: AtomicU64,
    dropped: AtomicU64,
    ended: watch::Sender<Option<Arc<str>>>,
    revision: OnceLock<Revision>,
}

impl Hub {
    /// A hub, and the lines that its far end has to take.
    pub(crate) fn new(
        server: ServerName,
        answer_bytes_max: usize,
    ) -> (Arc<Self>, mpsc::Receiver<Queued>) {
        let (outbox, lines) = Outbox::new();
        let hub = Self {
            server,
            limits: Limits {
                body_bytes_max: answer_bytes_max,
                ..Limits::default()
            },
            state: Mutex::new(State::new()),
            outbox,
            taken: AtomicU64::new(0),
            stray_lines: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            ended: watch::Sender::new(None),
            revision: OnceLock::new(),
        };
        (Arc::new(hub), lines)
    }

    pub(crate) fn server(&self) -> &ServerName {
        &self.server
    }

    /// The revision that both sides speak from now on.
    pub(super) fn agree(&self, revision: Revision) {
        // Agreed once: a hub has one handshake.
        let _first = self.revision.set(revision);
    }

    /// The revision agreed, if any yet.
    pub(crate) fn revision(&self) -> Option<Revision> {
        self.revision.get().copied()
    }

    pub(crate) fn losses(&self) -> Losses {
        Losses {
            stray_lines: self.stray_lines.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    /// A queue as long as the server's messages allow.
    pub(crate) fn queue(&self) -> Arc<Queue> {
        Arc::new(Queue::new(self.limits.body_bytes_max))
    }

    // Sessions.

    pub(crate) fn sharing(&self) -> Sharing {
        self.state.lock().mux.sharing()
    }

    /// Takes a channel that nobody has used. False when somebody has.
    pub(crate) fn claim(&self, sharing: Sharing) -> bool {
        self.state.lock().mux.claim(sharing)
    }

    /// Adds a session whose own messages go to `mailbox`.
    pub(super) fn attach(&self, mailbox: Arc<Queue>) -> Owner {
        let mut state = self.state.lock();
        let owner = state.mux.attach();
        state.mailboxes.insert(owner, mailbox);
        owner
    }

    /// Removes a session.
    pub(super) fn detach(&self, owner: Owner) {
        let mut state = self.state.lock();
        let farewell = state.mux.detach(owner);
        state.mailboxes.remove(&owner);
        let what: Arc<str> = "the session ended".into();
        for call in farewell.calls {
            if let Some(pending) = state.calls.remove(&call) {
                pending.queue.end(End::Broken(Arc::clone(&what)));
            }
        }
        for line in farewell.lines {
            self.send_own(&mut state, line);
        }
    }

    pub(super) fn set_listening(&self, owner: Owner, listening: bool) {
        self.state.lock().mux.set_listening(owner, listening);
    }

    // Callers.

    /// Queues a request; waits for room at most `limit`.
    ///
    /// # Errors
    ///
    /// Fails when the channel has ended or the server does not read: nothing was sent.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing has happened before it returns.
    pub(super) async fn request(
        &self,
        owner: Owner,
        frame: &Frame,
        limit: Duration,
    ) -> Result<Begun, UpstreamError> {
        let place = self.place(limit).await?;
        let mut state = self.state.lock();
        if let Some(how) = &state.ended {
            return Err(self.unreachable(io::ErrorKind::BrokenPipe, how));
        }
        let Some(outcome) = state.mux.on_request(owner, frame) else {
            return Err(self.unreachable(io::ErrorKind::InvalidInput, "not a request"));
        };
        let (call, line) = match outcome {
            Outcome::Answer(frame) => return Ok(Begun::Answer(frame)),
            Outcome::Line { call, line } => (call, line),
        };
        let queue = self.queue();
        if state.mux.may_ask(call) {
            self.hand_over(owner, &state, &queue);
        }
        let up = self.push(&mut state, line, place);
        let pending = Pending {
            queue: Arc::clone(&queue),
            up,
            returned: false,
        };
        state.calls.insert(call, pending);
        Ok(Begun::Call { call, queue })
    }

    /// What the server asked while nobody listened goes to the first call that can carry it.
    fn hand_over(&self, owner: Owner, state: &State, queue: &Queue) {
        let mailbox = state.mailboxes.get(&owner);
        let Some(mailbox) = mailbox.filter(|_| !state.mux.is_listening(owner)) else {
            return;
        };
        for request in mailbox.take_requests() {
            // A new queue has the room that the mailbox had.
            let _taken = queue.offer(request, FRAMES_MAX);
        }
    }

    /// Queues a notification, or an answer to the server; waits for room at most `limit`.
    ///
    /// # Errors
    ///
    /// Fails when the channel has ended or the server does not read: nothing was sent.
    pub(super) async fn send(
        &self,
        owner: Owner,
        frame: &Frame,
        limit: Duration,
    ) -> Result<(), UpstreamError> {
        let place = self.place(limit).await?;
        let mut state = self.state.lock();
        if let Some(how) = &state.ended {
            return Err(self.unreachable(io::ErrorKind::BrokenPipe, how));
        }
        if let Some(line) = state.mux.on_send(owner, frame) {
            self.push(&mut state, line, place);
        }
        Ok(())
    }

    /// Queues a notification of our own.
    ///
    /// # Errors
    ///
    /// Fails when the channel has ended or the server does not read.
    pub(super) async fn announce(&self, line: Bytes, limit: Duration) -> Result<(), UpstreamError> {
        let place = self.place(limit).await?;
        self.push(&mut self.state.lock(), line, place);
        Ok(())
    }

    async fn place(&self, limit: Duration) -> Result<Place, UpstreamError> {
        let place = self.outbox.place(limit).await;
        place.map_err(|refusal| match refusal {
            NoPlace::Closed => {
                let how = self.ended.borrow().clone().unwrap_or_default();
                self.unreachable(io::ErrorKind::BrokenPipe, &how)
            }
            NoPlace::Full => self.unreachable(io::ErrorKind::TimedOut, "the server does not read"),
        })
    }

    /// The caller left the stream of its call. `unread`, which the server asked there and nobody has read, is refused, so
    /// that it does not wait in vain.
    pub(super) fn leave(&self, call: u64, unread: Vec<Frame>) {
        let mut state = self.state.lock();
        state.calls.remove(&call);
        if let Some(line) = state.mux.on_left(call) {
            self.send_own(&mut state, line);
        }
        for request in unread {
            if let Some(Effect::Reply(line)) = state.mux.on_undelivered(&request) {
                self.send_own(&mut state, line);
            }
        }
    }

    /// The server was silent for too long: the call is over, unless it is the client that keeps it waiting.
    pub(super) fn expire(&self, call: u64) -> bool {
        let mut state = self.state.lock();
        if state.mux.awaits_owner(call) {
            return false;
        }
        state.calls.remove(&call);
        if let Some(line) = state.mux.on_expired(call) {
            self.send_own(&mut state, line);
        }
        true
    }

    // The port.

    /// Takes a line of the server. Never waits, so that one which does not read is still read itself.
    pub(crate) fn on_down(&self, down: Down) {
        // After a break a far end gives again what it does not know to be taken.
        let taken = self.taken.fetch_max(down.n, Ordering::AcqRel);
        if down.n <= taken {
            return;
        }
        let excerpt = down.line.clone();
        match Batch::parse(down.line, &self.limits) {
            Ok(Batch::One(frame)) => self.on_frame(frame),
            Ok(Batch::Many(elements)) => elements.into_iter().for_each(|element| match element {
                Ok(frame) => self.on_frame(frame),
                Err(Unfit { text, error }) => self.on_garbled(&text, &error),
            }),
            Err(error) => self.on_garbled(&excerpt, &error),
        }
    }

    /// What is no message may still say whose it is: nobody need wait for another.
    fn on_garbled(&self, line: &[u8], error: &ParseError) {
        self.on_stray(line, error);
        let legible = Legible::read(line);
        let mut state = self.state.lock();
        if let Some(effect) = legible.and_then(|it| state.mux.on_garbled(&it, error)) {
            self.perform(&mut state, effect);
        }
    }

    fn on_frame(&self, frame: Frame) {
        let mut state = self.state.lock();
        for effect in state.mux.on_frame(frame) {
            self.perform(&mut state, effect);
        }
    }

    fn perform(&self, state: &mut State, effect: Effect) {
        match effect {
            Effect::Finish(call, frame) => {
                if let Some(pending) = state.calls.remove(&call) {
                    pending.queue.finish(frame);
                }
            }
            Effect::Spoil(call, what) => {
                if let Some(pending) = state.calls.remove(&call) {
                    pending.queue.end(End::Garbled(what));
                }
            }
            Effect::Pass(call, frame) => {
                let queue = state.calls.get(&call).map(|p| Arc::clone(&p.queue));
                self.put(state, queue.as_deref(), frame, FRAMES_MAX);
            }
            Effect::Post(owner, frame) => {
                let heard = state.mux.is_listening(owner) || frame.kind() == Kind::Request;
                let room = if heard { FRAMES_MAX } else { UNHEARD_MAX };
                let queue = state.mailboxes.get(&owner).cloned();
                self.put(state, queue.as_deref(), frame, room);
            }
            Effect::Reply(line) => self.send_own(state, line),
            Effect::Drop(why) => debug!(server = %self.server, why, "message dropped"),
            Effect::Stray(frame) => {
                let what = "an answer to no request of ours";
                self.on_stray(frame.bytes(), &ParseError::Envelope { what });
            }
        }
    }

    /// Results always have room; what only informs is dropped when its reader is too slow, and what the server
    /// asks is then refused, so that it does not wait in vain.
    fn put(&self, state: &mut State, queue: Option<&Queue>, frame: Frame, room: usize) {
        let request = (frame.kind() == Kind::Request).then(|| frame.clone());
        let admission = queue.map_or(Admission::Closed, |queue| queue.offer(frame, room));
        if admission == Admission::Taken {
            return;
        }
        let Some(request) = request else {
            let n = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if n.is_power_of_two() {
                warn!(server = %self.server, dropped = n, "notification dropped: its reader is slow");
            }
            return;
        };
        if let Some(Effect::Reply(line)) = state.mux.on_undelivered(&request) {
            self.send_own(state, line);
        }
    }

    fn on_stray(&self, line: &[u8], error: &ParseError) {
        let n = self.stray_lines.fetch_add(1, Ordering::Relaxed) + 1;
        // A banner shows; a program that prints without end does not fill the log.
        if n <= 8 || n.is_power_of_two() {
            let text = excerpt(line);
            warn!(server = %self.server, stray_lines = n, %error, text, "line is not MCP");
        }
    }

    /// Asks the server for a sign of life, which shows as a line like any other.
    pub(crate) fn ping(&self) {
        let mut state = self.state.lock();
        let line = state.mux.ping();
        self.send_own(&mut state, line);
    }

    /// The far end has every line up to `n`.
    pub(crate) fn on_delivered(&self, n: u64) {
        self.outbox.on_delivered(n);
    }

    /// The far end refused request `n`, and the server did not look at it: its call ends so. Of a line that is no
    /// request nobody hears.
    pub(crate) fn on_refused(&self, n: u64, end: End) {
        let mut state = self.state.lock();
        let Some(call) = state.call_of(n) else {
            return;
        };
        // The server does not know of it, so it need not be told that it is over.
        let _unsent = state.mux.on_expired(call);
        if let Some(pending) = state.calls.remove(&call) {
            pending.queue.end(end);
        }
    }

    /// The far end has no use for line `n` and the channel is about to end: its call can be sent again over another.
    pub(crate) fn on_returned(&self, n: u64) {
        let mut state = self.state.lock();
        let call = state.call_of(n);
        if let Some(pending) = call.and_then(|call| state.calls.get_mut(&call)) {
            pending.returned = true;
        }
    }

    /// The channel has ended, and nothing more comes from it.
    pub(crate) fn on_ended(&self, how: &str) {
        let how: Arc<str> = how.into();
        let mut state = self.state.lock();
        // Before the calls hear of it: whoever does may ask at once for another channel.
        self.ended.send_replace(Some(Arc::clone(&how)));
        for (_, pending) in state.calls.drain() {
            let how = Arc::clone(&how);
            let may_have_acted = self.outbox.has_delivered(pending.up) && !pending.returned;
            pending.queue.end(if may_have_acted {
                End::Broken(how)
            } else {
                End::NotSent(how)
            });
        }
        state.mailboxes.clear();
        state.ended = Some(how);
        drop(state);
        self.outbox.close();
    }

    /// Whether no call is in flight.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state.lock().calls.is_empty()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Resolves when it has ended, with a description of how.
    pub(crate) async fn ended(&self) -> Arc<str> {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            // The sender is ours and lives as long as `self`.
            Err(_closed) => Arc::default(),
        }
    }

    /// Goes on with a copy of all that is data.
    #[cfg(test)]
    pub(super) fn copy(&self) {
        let mut state = self.state.lock();
        state.mux = crate::upstream::copy::through_bytes(&state.mux);
    }

    fn send_own(&self, state: &mut State, line: Bytes) {
        match self.outbox.own_place() {
            Some(place) => {
                self.push(state, line, place);
            }
            None => debug!(server = %self.server, "the server does not read: line dropped"),
        }
    }

    fn push(&self, state: &mut State, line: Bytes, place: Place) -> u64 {
        state.up += 1;
        let n = state.up;
        self.outbox.push(Up { n, line }, place);
        n
    }

    /// An error for something that was not sent.
    pub(crate) fn unreachable(&self, kind: io::ErrorKind, what: &str) -> UpstreamError {
        UpstreamError::Unreachable {
            server: self.server.clone(),
            source: io::Error::new(kind, what.to_owned()),
        }
    }

    /// The error that an abnormal end means to a caller.
    pub(super) fn failure(&self, end: End) -> Option<UpstreamError> {
        match end {
            End::Done => None,
            End::NotSent(how) => Some(self.unreachable(io::ErrorKind::BrokenPipe, &how)),
            End::Broken(how) => Some(self.broken(&how)),
            End::Garbled(what) => Some(UpstreamError::Garbage {
                server: self.server.clone(),
                what: what.to_string(),
            }),
            End::Refused(status) => Some(Blame::new(self.server.clone()).status(status)),
        }
    }

    /// An error for something that the server may have acted on.
    pub(crate) fn broken(&self, what: &str) -> UpstreamError {
        UpstreamError::Broken {
            server: self.server.clone(),
            what: what.to_owned(),
        }
    }
}
