//! Whether an answer is the right one. The first is read as JSON and judged; later ones that equal
//! it byte by byte, but for the digits of their id, are right for the same reason.

use std::cell::RefCell;

use memchr::memmem;
use serde_json::Value;

use crate::wire::{Answer, messages, write_id};

/// Judge of all answers to one kind of request; shared by its connections.
pub(super) struct Expectation {
    judge: Box<Judge>,
    learned: RefCell<Learned>,
}

/// Looks at the result of call `id` and at the notifications that came before it.
type Judge = dyn Fn(u64, &Value, &[Value]) -> Result<(), String>;

impl std::fmt::Debug for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expectation").finish_non_exhaustive()
    }
}

/// An answer that was judged right, and where its id stands.
#[derive(Debug, Default)]
pub(super) struct Learned {
    body: Vec<u8>,
    ids: Vec<usize>,
}

impl Learned {
    /// Whether `body` is this answer for call `id`.
    pub(super) fn equals(&mut self, id: u64, body: &[u8]) -> bool {
        if self.body.len() != body.len() || body.is_empty() {
            return false;
        }
        write_id(&mut self.body, &self.ids, id);
        self.body == body
    }

    /// Keeps a right answer to call `id`.
    pub(super) fn keep(&mut self, id: u64, body: &[u8]) {
        body.clone_into(&mut self.body);
        self.ids = memmem::find_iter(body, id.to_string().as_bytes()).collect();
    }
}

impl Expectation {
    /// An expectation with its judge.
    pub(super) fn new(
        judge: impl Fn(u64, &Value, &[Value]) -> Result<(), String> + 'static,
    ) -> Self {
        Self {
            judge: Box::new(judge),
            learned: RefCell::default(),
        }
    }

    /// Checks the answer to call `id`.
    pub(super) fn check(&self, id: u64, answer: Answer<'_>) -> Result<(), String> {
        let mut learned = self.learned.borrow_mut();
        if answer.status == 200 && learned.equals(id, answer.body) {
            return Ok(());
        }
        let (result, notifications) = read_result(id, answer)?;
        (self.judge)(id, &result, &notifications)?;
        learned.keep(id, answer.body);
        Ok(())
    }
}

/// Result of call `id`, and the notifications before it.
pub(super) fn read_result(id: u64, answer: Answer<'_>) -> Result<(Value, Vec<Value>), String> {
    let body = std::str::from_utf8(answer.body).map_err(|_error| "body is not UTF-8".to_owned())?;
    if answer.status != 200 {
        return Err(format!("status {}: {}", answer.status, excerpt(body)));
    }
    let texts = if answer.is_event_stream {
        messages(body)
    } else {
        vec![body.to_owned()]
    };
    let mut result = None;
    let mut notifications = Vec::new();
    for text in &texts {
        let mut message: Value = serde_json::from_str(text)
            .map_err(|error| format!("message is not JSON ({error}): {}", excerpt(text)))?;
        if message.get("method").is_some() && message.get("id").is_none() {
            notifications.push(message);
        } else if message["id"].as_u64() != Some(id) {
            return Err(format!("id is not {id}: {}", excerpt(text)));
        } else if result.is_some() {
            return Err(format!("second answer: {}", excerpt(text)));
        } else {
            let taken = message.get_mut("result").map(Value::take);
            result = Some(taken.ok_or_else(|| format!("no result: {}", excerpt(text)))?);
        }
    }
    let result = result.ok_or_else(|| "no answer among the events".to_owned())?;
    Ok((result, notifications))
}

/// The beginning of a text, for an error.
fn excerpt(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::{Expectation, read_result};
    use crate::wire::Answer;

    fn answer(body: &str, is_event_stream: bool) -> Answer<'_> {
        Answer {
            status: 200,
            is_event_stream,
            session_id: None,
            closes: false,
            body: body.as_bytes(),
        }
    }

    #[test]
    fn an_answer_like_a_right_one_is_not_judged_again() {
        let n_judged = Rc::new(Cell::new(0));
        let counter = Rc::clone(&n_judged);
        let expectation = Expectation::new(move |id, result, _| {
            counter.set(counter.get() + 1);
            (result["n"] == id)
                .then_some(())
                .ok_or_else(|| "wrong n".to_owned())
        });
        for id in 1_000_000_001..1_000_000_005_u64 {
            let body = format!(r#"{{"id":{id},"result":{{"n":{id}}}}}"#);
            expectation.check(id, answer(&body, false)).unwrap();
        }
        assert_eq!(n_judged.get(), 1);
        let crossed = r#"{"id":1000000009,"result":{"n":1000000008}}"#;
        assert_eq!(
            expectation.check(1_000_000_009, answer(crossed, false)),
            Err("wrong n".to_owned())
        );
    }

    #[test]
    fn an_answer_to_another_call_is_wrong() {
        assert!(read_result(7, answer(r#"{"id":8,"result":{}}"#, false)).is_err());
        assert!(read_result(7, answer(r#"{"id":"7","result":{}}"#, false)).is_err());
    }

    #[test]
    fn an_error_is_no_result() {
        let body = r#"{"id":7,"error":{"code":-32603,"message":"no"}}"#;
        assert!(read_result(7, answer(body, false)).is_err());
    }

    #[test]
    fn notifications_come_with_the_result() {
        let body = "data: {\"method\":\"n\"}\n\ndata: {\"id\":7,\"result\":{\"a\":1}}\n\n";
        let (result, notifications) = read_result(7, answer(body, true)).unwrap();
        assert_eq!(result["a"], 1);
        assert_eq!(notifications.len(), 1);
    }

    #[test]
    fn two_answers_are_wrong() {
        let body = "data: {\"id\":7,\"result\":{}}\n\ndata: {\"id\":7,\"result\":{}}\n\n";
        assert!(read_result(7, answer(body, true)).is_err());
    }
}
