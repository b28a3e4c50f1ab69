//! One task, as data: what its server asks.

use lockgate_proto::jsonrpc::{Frame, Kind, encode_str};
use lockgate_proto::mcp::{code, method};
use serde::{Deserialize, Serialize};

use crate::upstream::bridge::tasks::{RELATED, related};

use super::super::abilities::Abilities;
use super::super::answer;
use super::super::asked::{Asked, WrongShape};
use super::super::call::Allowance;

/// Questions of one task that are open at once.
const ASKED_MAX: usize = 16;
/// Questions of one task in all: a server that asks in a loop must not hold its client for ever.
const ASKED_TOTAL_MAX: usize = 256;

/// A task at a session-era server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Task {
    /// Id that the server gave it.
    pub(super) server_id: String,
    /// What its client can be asked.
    abilities: Abilities,
    /// Open questions, in order. Their keys are "unique over the lifetime of a single task".
    asked: Vec<Asked>,
    n_asked: usize,
    /// Bytes of all open questions.
    asked_bytes_max: usize,
}

/// What becomes of a message of the server.
#[derive(Debug)]
pub(super) enum Step {
    /// Goes back to the server.
    Send(Frame),
    /// Something has changed for the client.
    News,
    /// The server has said all there is.
    Over,
    /// Nobody needs it.
    Drop,
}

impl Task {
    pub(super) fn new(server_id: String, abilities: Abilities, allowance: Allowance) -> Self {
        Self {
            server_id,
            abilities,
            asked: Vec::new(),
            n_asked: 0,
            asked_bytes_max: allowance.asked_bytes_max,
        }
    }

    /// Whether a message of the session's own stream, or of another call, is about this task.
    pub(in super::super) fn is_meant(&self, frame: &Frame) -> bool {
        let id = frame.param_str(&["_meta", RELATED, "taskId"]);
        id.is_some_and(|id| id == self.server_id)
    }

    /// A message of the server about this task.
    pub(super) fn on_message(&mut self, frame: &Frame) -> Step {
        match frame.kind() {
            Kind::Request => self.on_request(frame),
            Kind::Notification if frame.method() == method::CANCELLED => {
                let id = frame.param(&["requestId"]);
                let id = id.map_or("", |span| span.of(frame.text()));
                self.asked.retain(|asked| *asked.id != *id);
                Step::News
            }
            // "`notifications/progress` and `notifications/message` are not supported on tasks in general."
            Kind::Notification => Step::Drop,
            Kind::Result | Kind::Error => Step::Over,
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
        if let Err(refusal) = self.abilities.admit(request) {
            return refuse(refusal.code, refusal.message);
        }
        if self.asked_bytes() + request.text().len() > self.asked_bytes_max {
            return refuse(code::INTERNAL_ERROR, "too much to ask the client");
        }
        if self.asked.len() >= ASKED_MAX || self.n_asked >= ASKED_TOTAL_MAX {
            return refuse(code::INTERNAL_ERROR, "too many requests to the client");
        }
        self.n_asked += 1;
        self.asked.push(Asked::new(self.n_asked, request));
        Step::News
    }

    /// What is kept of the open questions.
    pub(super) fn asked_bytes(&self) -> usize {
        self.asked.iter().map(Asked::n_bytes).sum()
    }

    /// Refuses the newest question, for which there is no place.
    pub(super) fn refuse_newest(&mut self, message: &str) -> Option<Frame> {
        let asked = self.asked.pop()?;
        let code = code::INTERNAL_ERROR;
        Some(answer::refusal(&asked.id, code, message, None))
    }

    /// Whether its client is asked something.
    pub(super) fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Raw `inputRequests`.
    pub(super) fn questions(&self) -> String {
        let asked: Vec<String> = self.asked.iter().map(Asked::member).collect();
        format!("{{{}}}", asked.join(","))
    }

    /// The client answers some of them: returns the answers for the server. "A server MAY accept a partial set", and
    /// "SHOULD ignore" keys that are not open.
    ///
    /// # Errors
    ///
    /// Fails when an answer has not the shape that its question wants; nothing has changed then.
    pub(super) fn on_responses(&mut self, responses: &str) -> Result<Vec<Frame>, WrongShape> {
        let task = encode_str(&self.server_id);
        let mut answers = Vec::new();
        let mut answered = Vec::new();
        for asked in &self.asked {
            if let Some(result) = asked.answer(responses)? {
                answers.push(answer::own(&format!(
                    r#"{{"jsonrpc":"2.0","id":{},"result":{}}}"#,
                    asked.id,
                    related(result, &task)
                )));
                answered.push(asked.key.clone());
            }
        }
        self.asked.retain(|asked| !answered.contains(&asked.key));
        Ok(answers)
    }

    /// Refuses what its client was to be asked.
    pub(super) fn refuse_asked(&mut self, message: &str) -> Vec<Frame> {
        let asked = self.asked.drain(..);
        asked
            .map(|asked| answer::refusal(&asked.id, code::INTERNAL_ERROR, message, None))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;
    use proptest::prelude::*;

    use super::*;
    use crate::config;

    fn frame(text: &str) -> Frame {
        let text = format!(r#"{{"jsonrpc":"2.0",{text}}}"#);
        Frame::parse(text.into(), &Limits::default()).unwrap()
    }

    fn task() -> Task {
        let abilities = Abilities::of(r#"{"elicitation":{}}"#);
        Task::new(
            "s".to_owned(),
            abilities,
            Allowance::from(&config::Bridge::default()),
        )
    }

    fn form(id: u64) -> Frame {
        frame(&format!(
            r#""id":{id},"method":"elicitation/create","params":{{"message":"m","_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":"s"}}}}}}"#
        ))
    }

    #[test]
    fn a_question_is_shown_until_it_is_answered() {
        let mut task = task();
        assert!(task.is_meant(&form(1)));
        assert!(matches!(task.on_message(&form(1)), Step::News));
        assert!(matches!(task.on_message(&form(2)), Step::News));
        assert_eq!(
            task.questions(),
            r#"{"ask-1":{"method":"elicitation/create","params":{"message":"m"}},"ask-2":{"method":"elicitation/create","params":{"message":"m"}}}"#
        );
        let answers = task
            .on_responses(r#"{"ask-2":{"action":"decline"},"other":{}}"#)
            .unwrap();
        let answers: Vec<_> = answers.iter().map(Frame::text).collect();
        assert_eq!(
            answers,
            [
                r#"{"jsonrpc":"2.0","id":2,"result":{"action":"decline","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"s"}}}}"#
            ]
        );
        assert!(task.is_asking());
        assert!(
            task.on_responses(r#"{"ask-1":{"action":"perhaps"}}"#)
                .is_err()
        );
        assert!(
            task.on_responses(r#"{"ask-2":{"action":"accept"}}"#)
                .unwrap()
                .is_empty()
        );
        assert_eq!(task.refuse_asked("no").len(), 1);
        assert!(!task.is_asking());
    }

    #[test]
    fn a_server_that_takes_a_question_back_gets_no_answer() {
        let mut task = task();
        task.on_message(&form(1));
        let taken = frame(r#""method":"notifications/cancelled","params":{"requestId":1}"#);
        assert!(matches!(task.on_message(&taken), Step::News));
        assert!(!task.is_asking());
    }

    #[test]
    fn what_the_client_cannot_be_asked_is_refused_at_once() {
        let mut task = task();
        let roots = frame(r#""id":1,"method":"roots/list""#);
        let Step::Send(refusal) = task.on_message(&roots) else {
            panic!("asked");
        };
        assert!(refusal.text().contains("-32601"));
        assert!(matches!(
            task.on_message(&frame(r#""id":1,"result":{}"#)),
            Step::Over
        ));
    }

    proptest! {
        #[test]
        fn every_question_ends_once(steps in proptest::collection::vec((0_u8..4, 1_u64..40), 0..200)) {
            let mut task = task();
            let mut open = std::collections::BTreeMap::new();
            let mut n_shown = 0;
            for (what, n) in steps {
                match what {
                    0 => match task.on_message(&form(n_shown + 1_000)) {
                        Step::News => {
                            n_shown += 1;
                            open.insert(format!("ask-{n_shown}"), n_shown + 999);
                        }
                        Step::Send(_) => prop_assert!(open.len() >= ASKED_MAX || n_shown as usize >= ASKED_TOTAL_MAX),
                        step => prop_assert!(false, "{step:?}"),
                    },
                    1 => {
                        let key = format!("ask-{n}");
                        let given = format!(r#"{{"{key}":{{"action":"accept"}}}}"#);
                        let answers = task.on_responses(&given).unwrap();
                        let id = open.remove(&key).map(|id| id.to_string());
                        prop_assert_eq!(answers.first().and_then(Frame::id), id.as_deref());
                    }
                    2 => {
                        let key = format!("ask-{n}");
                        if let Some(id) = open.remove(&key) {
                            task.on_message(&frame(&format!(
                                r#""method":"notifications/cancelled","params":{{"requestId":{id}}}"#
                            )));
                        }
                    }
                    _ => {
                        let back = crate::upstream::copy::through_bytes(&task);
                        prop_assert_eq!(&back, &task);
                        task = back;
                    }
                }
                prop_assert_eq!(task.asked.len(), open.len());
            }
        }
    }
}
