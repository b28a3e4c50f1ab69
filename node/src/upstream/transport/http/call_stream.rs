//! The stream that answers one POST, resumed where the session allows it.
//!
//! ```text
//! Reading ── body over, event id known ──► Waiting ── pause over ──► GET with Last-Event-ID ──► Reading
//!    │                                        ▲ │                          │
//!    │ answer                                 └─┼──── nobody there ────────┘
//!    ▼                                          ▼ refused, or too many attempts
//!   Done                                       Done
//! ```

use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::blame::Blame;
use super::events::{Events, Progress};
use super::exchange::Exchange;
use super::heard::passes_over;
use super::inbox::Inbox;
use super::pool::deadline_after;
use super::replay::Note;
use super::retry_wait::{RetryWait, jitter};
use super::session::{Attached, Origin};
use crate::error::UpstreamError;

/// Attempts in a row that bring no event before a call is given up. The silence limit usually comes first.
const ATTEMPTS_MAX: u32 = 8;

/// Messages of one call, until its answer.
#[derive(Debug)]
pub(super) struct CallStream {
    inbox: Inbox,
    state: State,
    /// Longest silence, and when the present one is too long.
    silence: Duration,
    deadline: Instant,
    retry: RetryWait,
    event_bytes_max: usize,
    blame: Blame,
    /// What the stream belongs to in the session era; streams of the stateless era cannot be resumed.
    origin: Option<Origin>,
    /// What the session remembers when the answer is a result.
    note: Option<Note>,
}

#[derive(Debug)]
enum State {
    Reading(Box<Events>),
    /// The text says how the stream broke.
    Waiting {
        until: Instant,
        what: String,
    },
    Done,
}

impl CallStream {
    /// `silence` is the longest time without a message.
    pub(super) fn new(inbox: Inbox, exchange: Exchange, silence: Duration, blame: Blame) -> Self {
        let event_bytes_max = inbox.bytes_max();
        Self {
            state: State::Reading(Box::new(Events::new(exchange, event_bytes_max))),
            ..Self::of_inbox(inbox, silence, blame)
        }
    }

    /// Of messages that are all here.
    pub(super) fn of_inbox(inbox: Inbox, silence: Duration, blame: Blame) -> Self {
        Self {
            event_bytes_max: inbox.bytes_max(),
            inbox,
            state: State::Done,
            silence,
            deadline: deadline_after(Instant::now(), silence),
            retry: RetryWait::default(),
            blame,
            origin: None,
            note: None,
        }
    }

    /// Of a session: it can be resumed, and `note` is taken when the answer is a result.
    #[must_use]
    pub(super) fn in_session(mut self, origin: Origin, note: Option<Note>) -> Self {
        self.origin = Some(origin);
        self.note = note;
        self
    }

    /// The longest silence is another, and is counted from now on.
    pub(super) fn limit_silence(&mut self, silence: Duration) {
        self.silence = silence;
        self.restart_silence();
    }

    /// The longest silence is counted from now on.
    pub(super) fn restart_silence(&mut self) {
        self.deadline = deadline_after(Instant::now(), self.silence);
    }

    /// Next message, `None` after the answer.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        loop {
            if let Some(arrived) = self.inbox.pop() {
                self.deadline = deadline_after(Instant::now(), self.silence);
                return arrived.map(|arrived| Some(arrived.frame));
            }
            if matches!(self.state, State::Done) {
                return Ok(None);
            }
            if let Ok(advanced) = timeout_at(self.deadline, self.advance()).await {
                if advanced.is_err() {
                    self.state = State::Done;
                }
                advanced?;
            } else {
                self.state = State::Done;
                return Err(self.blame.timeout(self.silence));
            }
        }
    }

    /// One step; on return the inbox has something new, or the state is another. Cancel safe.
    async fn advance(&mut self) -> Result<(), UpstreamError> {
        match &mut self.state {
            State::Reading(events) => match events.read(&mut self.inbox, &self.blame).await {
                Progress::Fed { n_events } => {
                    if n_events > 0 {
                        self.retry.on_event();
                    }
                    if self.inbox.is_over() {
                        self.finish().await;
                    }
                    Ok(())
                }
                Progress::Over(what) => self.wait(what),
            },
            State::Waiting { until, .. } => {
                sleep_until(*until).await;
                self.attach().await
            }
            State::Done => Ok(()),
        }
    }

    /// The answer is here, or something that is not MCP.
    async fn finish(&mut self) {
        let answer = self.inbox.answer().map(Frame::kind);
        let State::Reading(events) = std::mem::replace(&mut self.state, State::Done) else {
            return;
        };
        if let (Some(Kind::Result), Some(note), Some(origin)) =
            (answer, self.note.take(), &self.origin)
        {
            origin.remember(note);
        }
        if answer.is_some() {
            events.settle().await;
        }
    }

    fn wait(&mut self, what: String) -> Result<(), UpstreamError> {
        let can_resume = self.origin.is_some() && self.inbox.position().is_some();
        if !can_resume || self.retry.n_fruitless() >= ATTEMPTS_MAX {
            return Err(self.blame.broken(what));
        }
        let pause = self.retry.next(self.inbox.retry(), jitter());
        self.state = State::Waiting {
            until: Instant::now() + pause,
            what,
        };
        Ok(())
    }

    async fn attach(&mut self) -> Result<(), UpstreamError> {
        let (Some(origin), Some(position), State::Waiting { what, .. }) =
            (&self.origin, self.inbox.position(), &self.state)
        else {
            return Ok(());
        };
        match origin.attach(&position).await {
            Ok(Attached::Events(exchange)) => {
                let events = Events::new(exchange, self.event_bytes_max);
                self.state = State::Reading(Box::new(events));
                Ok(())
            }
            Ok(Attached::Refused { status }) => {
                let what = format!("{what}; resuming was refused with HTTP status {status}");
                if passes_over(status) {
                    self.wait(what)
                } else {
                    Err(self.blame.broken(what))
                }
            }
            // Whatever kept us from attaching: the call itself was sent long ago, so this is never `Unreachable`.
            Err(error) => {
                let what = format!("{what}; resuming failed: {error}");
                self.wait(what)
            }
        }
    }
}
