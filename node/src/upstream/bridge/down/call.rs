//! One bridged call, as data: what came from the server in, what has to happen out. No channel, no clock.
//!
//! ```text
//! Running ── request of the server ──► Asking ── quiet for a moment ──► parked (see `parking`)
//!    │ ▲                                 │                                   │
//!    │ └──────────── all answered ───────┼───────────── retry ◄──────────────┘
//!    └── answer of the server ──► over ◄─┘
//! ```

use lockgate_proto::jsonrpc::{Frame, Kind, Splice};
use lockgate_proto::mcp::{code, method};
use serde::{Deserialize, Serialize};

use crate::config;

use super::answer::{self, Question, ServerInfo};
use super::asked::{Asked, WrongShape};
use super::level;
use super::turn::Turn;

/// Requests that one call may put to its client at once.
const ASKED_MAX: usize = 16;
/// What a parked call weighs beside its texts: its state, and the stream of its server.
const FRAME_BYTES: usize = 4 << 10;

/// How much a call may ask its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Allowance {
    /// Bytes of all requests at once.
    pub(super) asked_bytes_max: usize,
    /// Rounds. A server that asks in a loop must not hold its client for ever.
    pub(super) rounds_max: u32,
}

impl From<&config::Bridge> for Allowance {
    fn from(bridge: &config::Bridge) -> Self {
        Self {
            asked_bytes_max: bridge.question_bytes_max,
            rounds_max: bridge.rounds_max,
        }
    }
}

/// A call at a session-era server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Call {
    /// Id and progress token of the request at the server.
    pub(super) n: u64,
    /// Method of the request.
    pub(super) method: Box<str>,
    uri: Option<Box<str>>,
    /// What the client wants of the present round.
    pub(super) turn: Turn,
    /// Questions without an answer, in order.
    asked: Vec<Asked>,
    n_asked: usize,
    allowance: Allowance,
    /// Rounds that were begun, the first not counted.
    pub(super) round: u32,
    /// Number under which it was parked.
    pub(super) parked: Option<u64>,
    /// Until when its last question can be answered, by the clock of those who park it.
    pub(super) expires_ms: u64,
    /// Whether the server was asked to make a task of it.
    pub(super) as_task: bool,
}

/// What becomes of a message of the server.
#[derive(Debug)]
pub(super) enum Step {
    /// Goes to the client.
    Tell(Frame),
    /// Goes back to the server.
    Send(Frame),
    /// The server asks; when nothing more comes at once, the call is to be parked.
    Asked,
    /// The final response; the call is over.
    Finish { status: u16, frame: Frame },
    /// The server has made a task of the call, which is over; as the server wrote it.
    Task(Frame),
    /// Concerns whoever listens to the server, not this call.
    News(Frame),
    /// Nobody needs it.
    Drop,
}

impl Call {
    /// A call under the number `n`.
    pub(super) fn new(n: u64, request: &Frame, turn: Turn, allowance: Allowance) -> Self {
        Self {
            n,
            method: request.method().into(),
            uri: request.param_str(&["uri"]).map(|uri| uri.into()),
            turn,
            asked: Vec::new(),
            n_asked: 0,
            allowance,
            round: 0,
            parked: None,
            expires_ms: 0,
            as_task: false,
        }
    }

    /// Whether this kind of request can be answered with a question (2026-07-28, "Multi Round-Trip Requests").
    pub(super) fn can_ask(method: &str) -> bool {
        matches!(
            method,
            method::TOOLS_CALL | method::PROMPTS_GET | method::RESOURCES_READ
        )
    }

    /// Whether the server waits for answers of the client.
    pub(super) fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// A message of the server that belongs to this call.
    pub(super) fn on_message(&mut self, frame: Frame, server: ServerInfo<'_>) -> Step {
        match frame.kind() {
            Kind::Result if self.as_task && is_task(&frame) => Step::Task(frame),
            Kind::Result | Kind::Error => {
                let question = Question {
                    method: &self.method,
                    uri: self.uri.as_deref(),
                    turn: &self.turn,
                };
                let (status, frame) = answer::translate(question, &frame, server);
                Step::Finish { status, frame }
            }
            Kind::Request => self.on_request(&frame),
            Kind::Notification => self.on_notification(frame),
        }
    }

    fn on_request(&mut self, request: &Frame) -> Step {
        let id = request.id().unwrap_or("null");
        let refuse = |code, message| Step::Send(answer::refusal(id, code, message, None));
        if request.method() == method::PING {
            return Step::Send(answer::own(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#
            )));
        }
        if let Err(refusal) = self.turn.abilities.admit(request) {
            return refuse(refusal.code, refusal.message);
        }
        if !Self::can_ask(&self.method) {
            return refuse(
                code::METHOD_NOT_FOUND,
                "the client cannot be asked during this request",
            );
        }
        if self.asked_bytes() + request.text().len() > self.allowance.asked_bytes_max {
            return refuse(code::INTERNAL_ERROR, "too much to ask the client");
        }
        if self.asked.len() >= ASKED_MAX || self.round >= self.allowance.rounds_max {
            return refuse(code::INTERNAL_ERROR, "too many requests to the client");
        }
        self.n_asked += 1;
        self.asked.push(Asked::new(self.n_asked, request));
        Step::Asked
    }

    fn asked_bytes(&self) -> usize {
        self.asked.iter().map(Asked::n_bytes).sum()
    }

    /// What is kept while the call waits for its client.
    pub(super) fn n_bytes(&self) -> usize {
        let texts = [
            Some(&self.turn.id),
            self.turn.token.as_ref(),
            self.uri.as_ref(),
        ];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        FRAME_BYTES + texts + self.asked_bytes()
    }

    fn on_notification(&mut self, frame: Frame) -> Step {
        match &*frame.method() {
            method::PROGRESS => self.on_progress(&frame),
            method::LOG_MESSAGE if level::is_unwanted(&frame, self.turn.level) => Step::Drop,
            method::CANCELLED => {
                let id = frame.param(&["requestId"]);
                let id = id.map_or("", |span| span.of(frame.text()));
                self.asked.retain(|asked| *asked.id != *id);
                Step::Drop
            }
            method::TOOLS_CHANGED
            | method::PROMPTS_CHANGED
            | method::RESOURCES_CHANGED
            | method::RESOURCE_UPDATED => Step::News(frame),
            // Gone in this era.
            method::ELICITATION_COMPLETE | method::TASK_STATUS => Step::Drop,
            _ => Step::Tell(frame),
        }
    }

    fn on_progress(&self, frame: &Frame) -> Step {
        let Some(token) = &self.turn.token else {
            return Step::Drop;
        };
        let Some(span) = frame.param(&["progressToken"]) else {
            return Step::Drop;
        };
        if !is_number(span.of(frame.text()), self.n) {
            return Step::Drop;
        }
        let mut splice = Splice::new(frame.text());
        splice.replace(span, &**token);
        Frame::edited(splice).map_or(Step::Drop, Step::Tell)
    }

    /// The client answers: with all answers the next round begins, and they are returned for the server. With some
    /// missing nothing has changed.
    ///
    /// # Errors
    ///
    /// Fails when an answer has not the shape that its question wants; nothing has changed then.
    pub(super) fn on_responses(
        &mut self,
        responses: &str,
        turn: Turn,
    ) -> Result<Option<Vec<Frame>>, WrongShape> {
        let mut answers = Vec::with_capacity(self.asked.len());
        let mut is_whole = true;
        for asked in &self.asked {
            match asked.answer(responses)? {
                Some(result) => answers.push(answer::own(&format!(
                    r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
                    asked.id
                ))),
                None => is_whole = false,
            }
        }
        if !is_whole {
            return Ok(None);
        }
        self.asked.clear();
        self.round += 1;
        self.turn = turn;
        Ok(Some(answers))
    }

    /// The question to the client of `id`; `state` brings the answer back to this call.
    pub(super) fn input_required(&self, id: &str, state: &str, server: ServerInfo<'_>) -> Frame {
        answer::input_required(id, &self.asked, Some(state), server)
    }

    /// Takes out what the client was to be asked, as the server asked it.
    pub(super) fn take_asked(&mut self) -> Vec<Frame> {
        self.asked.drain(..).map(|asked| asked.request()).collect()
    }

    /// Refuses what the client was to be asked.
    pub(super) fn refuse_asked(&mut self, message: &str) -> Vec<Frame> {
        let asked = self.asked.drain(..);
        asked
            .map(|asked| answer::refusal(&asked.id, code::INTERNAL_ERROR, message, None))
            .collect()
    }

    /// Tells the server that nobody waits for its answer any more.
    pub(super) fn cancelled(n: u64, reason: &str) -> Frame {
        let method = method::CANCELLED;
        answer::own(&format!(
            r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"requestId":{n},"reason":"{reason}"}}}}"#
        ))
    }
}

/// Whether an answer is a `CreateTaskResult` (2025-11-25).
fn is_task(answer: &Frame) -> bool {
    let id = answer.body_member(&["task", "taskId"]);
    id.is_some_and(|id| id.of(answer.text()).starts_with('"'))
}

/// Whether a raw token is our number. Some servers give a number back as a string, or as `1.0`.
pub(super) fn is_number(raw: &str, n: u64) -> bool {
    let text = raw.trim_matches('"');
    text.parse() == Ok(n) || text.parse::<f64>().is_ok_and(|value| value == n as f64)
}

#[cfg(test)]
mod tests;
