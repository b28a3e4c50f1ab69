//! The GET stream of a session: messages that belong to no call.
//!
//! It lasts as long as the session. When it breaks it is attached again after the last event; when the server forgot
//! the session, it goes on in the new one. Where it cannot go on from the last event, it says so: there is a gap.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::events::{Events, Progress};
use super::exchange::Exchange;
use super::heard::passes_over;
use super::inbox::{Arrived, Inbox};
use super::retry_wait::{RetryWait, jitter};
use super::session::{Attached, HttpSession, Signals};
use crate::error::UpstreamError;
use crate::upstream::link::Heard;

/// Wait before the second attempt when the server names none (as the official SDKs do).
const RETRY_DEFAULT: Duration = Duration::from_secs(1);

/// Messages that belong to no call.
#[derive(Debug)]
pub(super) struct ListenStream {
    session: HttpSession,
    signals: watch::Receiver<Signals>,
    turn: u64,
    generation: u64,
    inbox: Inbox,
    state: State,
    retry: RetryWait,
    /// Was attached again, but not where it broke, and that was not said yet.
    has_gap: bool,
}

#[derive(Debug)]
enum State {
    Reading(Box<Events>),
    Waiting { until: Instant },
    Done,
}

/// What an attempt to attach came to.
enum Attempt {
    Attached {
        exchange: Exchange,
        generation: u64,
    },
    /// The server has no such stream.
    NotOffered,
    /// Worth another attempt.
    Later(UpstreamError),
}

impl ListenStream {
    /// Opens the stream; `None` when the server offers none.
    pub(super) async fn open(
        session: HttpSession,
        turn: u64,
    ) -> Result<Option<Self>, UpstreamError> {
        let signals = session.signals();
        let (exchange, generation) = match attach(&session, None).await? {
            Attempt::Attached {
                exchange,
                generation,
            } => (exchange, generation),
            Attempt::NotOffered => return Ok(None),
            Attempt::Later(error) => return Err(error),
        };
        let endpoint = session.endpoint();
        let inbox = Inbox::of_listener(endpoint.limits(), endpoint.blame().clone()).with_batches();
        Ok(Some(Self {
            state: State::Reading(Box::new(Events::new(exchange, inbox.bytes_max()))),
            session,
            signals,
            turn,
            generation,
            inbox,
            retry: RetryWait::default(),
            has_gap: false,
        }))
    }

    /// Next message or gap; `None` once the session was closed, another stream took over, or the server offers none any
    /// more.
    pub(super) async fn next(&mut self) -> Result<Option<Heard>, UpstreamError> {
        loop {
            match self.inbox.pop() {
                Some(Ok(Arrived { frame, event_id })) => {
                    self.session.note_event(event_id);
                    return Ok(Some(Heard::Message(frame)));
                }
                Some(Err(error)) => {
                    self.state = State::Done;
                    return Err(error);
                }
                None => {}
            }
            // After what came before it.
            if std::mem::take(&mut self.has_gap) {
                return Ok(Some(Heard::Gap));
            }
            if matches!(self.state, State::Done) {
                return Ok(None);
            }
            let advanced = self.advance().await;
            if advanced.is_err() {
                self.state = State::Done;
            }
            advanced?;
        }
    }

    /// One step, ended early by a change of the session. Cancel safe.
    async fn advance(&mut self) -> Result<(), UpstreamError> {
        let signals = *self.signals.borrow_and_update();
        if signals.closed || signals.turn != self.turn {
            self.state = State::Done;
            return Ok(());
        }
        if signals.generation != self.generation && matches!(self.state, State::Reading(_)) {
            self.state = State::Waiting {
                until: Instant::now(),
            };
        }
        let blame = self.session.endpoint().blame();
        tokio::select! {
            biased;
            // The sender lives in the session that `self` holds, so this cannot fail.
            _ = self.signals.changed() => return Ok(()),
            step = step(&mut self.state, &mut self.inbox, blame) => match step {
                Step::Fed { n_events } => {
                    if n_events > 0 {
                        self.retry.on_event();
                    }
                    return Ok(());
                }
                Step::Over(what) => {
                    debug!(what, "listening stream broke");
                    self.wait();
                    return Ok(());
                }
                Step::Due => {}
            }
        }
        self.attach().await
    }

    async fn attach(&mut self) -> Result<(), UpstreamError> {
        let is_same_session = self.session.sight().live.generation == self.generation;
        let position = self.inbox.position().filter(|_| is_same_session);
        match attach(&self.session, position.as_ref()).await? {
            Attempt::Attached {
                exchange,
                generation,
            } => {
                let is_other_session = generation != self.generation;
                if is_other_session {
                    self.generation = generation;
                    self.inbox.forget_position();
                }
                self.has_gap |= is_other_session || position.is_none();
                let events = Events::new(exchange, self.inbox.bytes_max());
                self.state = State::Reading(Box::new(events));
            }
            Attempt::NotOffered => self.state = State::Done,
            Attempt::Later(error) => {
                debug!(%error, "listening stream could not be attached yet");
                self.wait();
            }
        }
        Ok(())
    }

    fn wait(&mut self) {
        let asked = self.inbox.retry().unwrap_or(RETRY_DEFAULT);
        let until = Instant::now() + self.retry.next(Some(asked), jitter());
        self.state = State::Waiting { until };
    }
}

enum Step {
    Fed {
        n_events: usize,
    },
    Over(String),
    /// The wait is over.
    Due,
}

async fn step(state: &mut State, inbox: &mut Inbox, blame: &super::blame::Blame) -> Step {
    match state {
        State::Reading(events) => match events.read(inbox, blame).await {
            Progress::Fed { n_events } => Step::Fed { n_events },
            Progress::Over(what) => Step::Over(what),
        },
        State::Waiting { until } => {
            sleep_until(*until).await;
            Step::Due
        }
        // `next` looks before it asks for a step.
        State::Done => std::future::pending().await,
    }
}

/// One GET; a forgotten session is opened again first.
async fn attach(
    session: &HttpSession,
    position: Option<&HeaderValue>,
) -> Result<Attempt, UpstreamError> {
    let sight = session.sight();
    let mut answer = session.attach(&sight.live, position).await;
    let mut live = Arc::clone(&sight.live);
    if matches!(answer, Ok((_, true))) {
        live = match session.reopened(&sight).await {
            Ok(live) => live,
            Err(error) => return later(error),
        };
        answer = session.attach(&live, None).await;
    }
    match answer {
        Ok((Attached::Events(exchange), _)) => Ok(Attempt::Attached {
            exchange,
            generation: live.generation,
        }),
        // 405 is the specification's word for it; the others are what routers say that never heard of the GET.
        Ok((
            Attached::Refused {
                status: 404 | 405 | 501,
            },
            _,
        )) => Ok(Attempt::NotOffered),
        Ok((Attached::Refused { status }, _)) => later(session.endpoint().blame().status(status)),
        Err(error) => later(error),
    }
}

/// Tells what may pass from what will not.
fn later(error: UpstreamError) -> Result<Attempt, UpstreamError> {
    match error {
        UpstreamError::Unreachable { .. }
        | UpstreamError::Broken { .. }
        | UpstreamError::Timeout { .. } => Ok(Attempt::Later(error)),
        UpstreamError::Status { status, .. } if passes_over(status) => Ok(Attempt::Later(error)),
        _ => Err(error),
    }
}
