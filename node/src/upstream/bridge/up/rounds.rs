//! Calls that wait for their client: what a server asked for on their way, and what the client has answered. Pure: no
//! clock, no channel, no socket; serialisable, so that a session can go on elsewhere.
//!
//! ```text
//! begun ──[server wants input]──► asking ──[last answer]──► ready ──[taken: sent again]──► begun
//!   │                               │  ├───[client refuses, too late, unwritable]──► failed
//!   │                               │  └───[nothing asked]──► pausing ──[pause over]──► ready
//!   └───────[client cancels]────────┴─────────────────────────────► cancelled
//! ```
//! The end of a call, however it comes, is [`Rounds::end`]: nothing of it is left. There are never more than the
//! session may have in flight, and all of them have a place under the node's own bound.

use std::fmt::Write as _;

use lockgate_proto::jsonrpc::{Frame, Kind, decode_str, encode_str, find, find_path, members};
use serde::{Deserialize, Serialize};

use crate::config;

use super::answer::message_of;
use super::profile::Profile;
use super::question;
use super::request;

/// Pause before a server that asks for nothing but patience is asked again, in milliseconds. Source: the official
/// TypeScript SDK, when it stands between the eras.
const PAUSE_MS: u64 = 250;
/// Questions of one round. More would be a fault, or an attack on the client's patience.
const QUESTIONS_MAX: usize = 32;

/// Name of a call within its session.
pub(super) type Serial = u64;

/// All calls of one session that are more than a question and an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rounds {
    limits: Limits,
    next_serial: Serial,
    next_question: u64,
    calls: Vec<Call>,
}

/// How often, and how long, a call waits for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Limits {
    rounds_max: u32,
    /// In one round, in milliseconds.
    wait_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(config::Bridge::default())
    }
}

impl From<config::Bridge> for Limits {
    fn from(bridge: config::Bridge) -> Self {
        Self {
            rounds_max: bridge.rounds_session_max,
            wait_ms_max: u64::try_from(bridge.wait.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Call {
    serial: Serial,
    /// Raw id that the client used.
    id: String,
    /// The request as it was sent first, once it has to be sent again.
    request: Option<String>,
    round: u32,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// The server has the word.
    Begun,
    /// The client has.
    Asking {
        questions: Vec<Question>,
        /// Raw `requestState`.
        state: Option<String>,
        until_ms: u64,
    },
    /// Nobody has.
    Pausing {
        state: Option<String>,
        until_ms: u64,
    },
    Failed {
        why: String,
        /// Questions that are still with the client.
        open: Vec<u64>,
    },
    Cancelled,
}

impl Phase {
    fn failed(why: impl Into<String>) -> Self {
        Self::Failed {
            why: why.into(),
            open: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    /// Id towards the client.
    id: u64,
    /// Key that the server gave it.
    key: String,
    /// Raw result of the client.
    answer: Option<String>,
}

/// What happens next to a call.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing before the client speaks, or before this time in milliseconds.
    Wait(u64),
    /// The request is sent again.
    Retry(Frame),
    /// The call has failed; why, for its client.
    Fail(String),
    /// The client wants no answer any more.
    Cancelled,
}

impl Rounds {
    /// Without calls yet; those to come wait within the bounds of `bridge`.
    pub(super) fn new(bridge: config::Bridge) -> Self {
        Self {
            limits: bridge.into(),
            ..Self::default()
        }
    }

    /// A call whose server has not answered at once.
    pub(super) fn begin(&mut self, id: &str) -> Serial {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.calls.push(Call {
            serial,
            id: id.to_owned(),
            request: None,
            round: 0,
            phase: Phase::Begun,
        });
        serial
    }

    /// What was asked so far is over; what is asked from now on is about something else. A call that its client has taken
    /// back stays so.
    pub(super) fn begin_anew(&mut self, serial: Serial) {
        let call = self.calls.iter_mut().find(|call| call.serial == serial);
        if let Some(call) = call.filter(|call| call.phase != Phase::Cancelled) {
            call.request = None;
            call.round = 0;
            call.phase = Phase::Begun;
        }
    }

    /// The server wants input: returns what the client is asked. `request` is the message that was sent first.
    pub(super) fn on_wanted(
        &mut self,
        serial: Serial,
        wanted: &Frame,
        request: &Frame,
        profile: &Profile,
        now_ms: u64,
    ) -> Vec<Frame> {
        let Some(at) = self.calls.iter().position(|call| call.serial == serial) else {
            return Vec::new();
        };
        if self.calls[at].phase == Phase::Cancelled {
            return Vec::new();
        }
        let body = wanted.body().unwrap_or_default();
        let state = find(body, "requestState")
            .map(|span| span.of(body).to_owned())
            .filter(|raw| raw != "null");
        let asked = self.questions(body, profile);
        let Limits {
            rounds_max,
            wait_ms_max,
        } = self.limits;
        let call = &mut self.calls[at];
        call.round += 1;
        call.request
            .get_or_insert_with(|| request.text().to_owned());
        if call.round > rounds_max {
            call.phase = Phase::failed(format!(
                "the server asked for input more than {rounds_max} times"
            ));
            return Vec::new();
        }
        let (questions, frames) = match asked {
            Ok(asked) => asked.into_iter().unzip(),
            Err(why) => {
                call.phase = Phase::failed(why);
                return Vec::new();
            }
        };
        let questions: Vec<Question> = questions;
        call.phase = match (questions.is_empty(), &state) {
            (true, None) => Phase::failed("the server wants input, but names none"),
            (true, Some(_)) => Phase::Pausing {
                state,
                until_ms: now_ms + PAUSE_MS,
            },
            (false, _) => Phase::Asking {
                questions,
                state,
                until_ms: now_ms.saturating_add(wait_ms_max),
            },
        };
        frames
    }

    /// Questions of an `InputRequiredResult`, each with its request to the client.
    fn questions(
        &mut self,
        body: &str,
        profile: &Profile,
    ) -> Result<Vec<(Question, Frame)>, String> {
        let Some(inputs) = find(body, "inputRequests").map(|span| span.of(body)) else {
            return Ok(Vec::new());
        };
        let mut asked = Vec::new();
        for input in members(inputs) {
            if asked.len() >= QUESTIONS_MAX {
                return Err(format!(
                    "the server asks more than {QUESTIONS_MAX} questions at once"
                ));
            }
            self.next_question += 1;
            let id = self.next_question;
            let mark = format!("lockgate-{id}");
            let text = question::request(input.value, id, &mark, profile)
                .map_err(|unaskable| unaskable.to_string())?;
            let frame =
                message_of(text).ok_or_else(|| "the server asks what cannot be read".to_owned())?;
            let question = Question {
                id,
                key: input.key.into_owned(),
                answer: None,
            };
            asked.push((question, frame));
        }
        Ok(asked)
    }

    /// The client answers a question. Returns the call that it belongs to, when something follows from it; an answer
    /// to a question that is not open says nothing.
    pub(super) fn on_answer(&mut self, answer: &Frame) -> Option<Serial> {
        let id: u64 = answer.id()?.parse().ok()?;
        for call in &mut self.calls {
            let Phase::Asking { questions, .. } = &mut call.phase else {
                continue;
            };
            let Some(question) = questions.iter_mut().find(|question| question.id == id) else {
                continue;
            };
            if question.answer.is_some() {
                return None;
            }
            let body = answer.body().unwrap_or("{}");
            if answer.kind() == Kind::Error {
                let (why, answered) = (refusal(body), question.id);
                let open = questions
                    .iter()
                    .filter(|question| question.answer.is_none() && question.id != answered)
                    .map(|question| question.id)
                    .collect();
                call.phase = Phase::Failed { why, open };
                return Some(call.serial);
            }
            question.answer = Some(body.to_owned());
            let complete = questions.iter().all(|question| question.answer.is_some());
            return complete.then_some(call.serial);
        }
        None
    }

    /// The client takes back the call with this raw id.
    pub(super) fn on_cancelled(&mut self, id: &str) -> Option<Serial> {
        let call = self.calls.iter_mut().find(|call| call.id == id)?;
        call.phase = Phase::Cancelled;
        Some(call.serial)
    }

    /// The session ends: its calls end with it.
    pub(super) fn cancel_all(&mut self) {
        for call in &mut self.calls {
            call.phase = Phase::Cancelled;
        }
    }

    /// What happens to a call at this time. A retry is handed out once.
    pub(super) fn next(&mut self, serial: Serial, now_ms: u64) -> Next {
        let Some(call) = self.calls.iter_mut().find(|call| call.serial == serial) else {
            return Next::Cancelled;
        };
        match &call.phase {
            Phase::Begun => Next::Wait(u64::MAX),
            Phase::Cancelled => Next::Cancelled,
            Phase::Failed { why, .. } => Next::Fail(why.clone()),
            Phase::Pausing { until_ms, .. } if *until_ms > now_ms => Next::Wait(*until_ms),
            Phase::Pausing { state, .. } => {
                let state = state.clone();
                call.retry(None, state.as_deref())
            }
            Phase::Asking {
                questions,
                state,
                until_ms,
            } => {
                if let Some(responses) = responses(questions) {
                    let state = state.clone();
                    return call.retry(Some(&responses), state.as_deref());
                }
                if *until_ms > now_ms {
                    return Next::Wait(*until_ms);
                }
                let why = "the client did not answer the server's questions in time";
                Next::Fail(why.to_owned())
            }
        }
    }

    /// Whether a call waits for its client, or for nobody, and not for the server.
    #[cfg(test)]
    pub(super) fn is_with_client(&self, serial: Serial) -> bool {
        let call = self.calls.iter().find(|call| call.serial == serial);
        call.is_some_and(|call| call.phase != Phase::Begun)
    }

    /// Forgets a call. Returns the questions that the client need not answer any more.
    pub(super) fn end(&mut self, serial: Serial) -> Vec<u64> {
        let Some(at) = self.calls.iter().position(|call| call.serial == serial) else {
            return Vec::new();
        };
        let call = self.calls.swap_remove(at);
        match call.phase {
            Phase::Asking { questions, .. } => {
                let open = questions.into_iter().filter(|q| q.answer.is_none());
                open.map(|question| question.id).collect()
            }
            Phase::Failed { open, .. } => open,
            Phase::Begun | Phase::Pausing { .. } | Phase::Cancelled => Vec::new(),
        }
    }
}

impl Call {
    fn retry(&mut self, responses: Option<&str>, state: Option<&str>) -> Next {
        let request = self.request.clone().and_then(message_of);
        let Some(request) = request else {
            return Next::Cancelled;
        };
        let id = request::round_id(&self.id, self.round);
        match request::retry(&request, &id, responses, state) {
            Ok(retry) => {
                self.phase = Phase::Begun;
                Next::Retry(retry)
            }
            Err(error) => {
                let why = format!("what the client answered cannot be passed on: {error}");
                self.phase = Phase::failed(&*why);
                Next::Fail(why)
            }
        }
    }
}

/// Raw `inputResponses`, when nothing is missing.
fn responses(questions: &[Question]) -> Option<String> {
    let mut object = String::from("{");
    for (n, question) in questions.iter().enumerate() {
        let answer = question.answer.as_deref()?;
        let comma = if n == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _written = write!(object, "{comma}{}:{answer}", encode_str(&question.key));
    }
    object.push('}');
    Some(object)
}

/// What a client's error means to the call that asked it.
fn refusal(error: &str) -> String {
    let message = find_path(error, &["message"]).and_then(|span| decode_str(span.of(error)));
    match message.as_deref() {
        Some(message) if !message.is_empty() => {
            format!("the client refused what the server asked for: {message}")
        }
        _ => "the client refused what the server asked for".to_owned(),
    }
}

#[cfg(test)]
mod tests;
