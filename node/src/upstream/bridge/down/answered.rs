//! Answers of calls whose clients were asked, for a while after they were given: whoever lost one on the way brings the
//! state of the last round once more and gets it, and nothing runs twice.

use std::collections::VecDeque;

use lockgate_proto::jsonrpc::Frame;
use serde::{Deserialize, Serialize};

use super::answer;
use super::parking::Bearer;
use super::ticket::Ticket;

/// Answers that one server's calls leave; the oldest make room.
const ANSWERS_MAX: usize = 256;
/// Bytes of all of them. One that is larger than a quarter of it is not kept.
const BYTES_MAX: usize = 4 << 20;

/// Answers that were given.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Answered {
    /// From the oldest on.
    answers: VecDeque<Answer>,
    bytes: usize,
}

/// The round that an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastRound {
    /// Number of the call.
    pub(super) call: u64,
    pub(super) round: u32,
    /// Until when its ticket is good.
    pub(super) expires_ms: u64,
    pub(super) bearer: Bearer,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    of: LastRound,
    status: u16,
    text: Box<str>,
}

impl Answered {
    /// Keeps the answer that the client got in its last round, with its HTTP status.
    pub(super) fn keep(&mut self, of: LastRound, status: u16, answer: &Frame) {
        let text: Box<str> = answer.text().into();
        if text.len() > BYTES_MAX / 4 {
            return;
        }
        self.bytes += text.len();
        self.answers.push_back(Answer { of, status, text });
        while self.answers.len() > ANSWERS_MAX || self.bytes > BYTES_MAX {
            self.drop_oldest();
        }
    }

    /// The answer that the bearer of `ticket` got, for its new id. That the ticket is its own, and still good, has been
    /// looked at.
    pub(super) fn again(&self, ticket: &Ticket, bearer: &Bearer, id: &str) -> Option<(u16, Frame)> {
        let mut answers = self.answers.iter();
        let found = answers.find(|answer| {
            let of = &answer.of;
            (of.call, of.round, of.bearer) == (ticket.call, ticket.round, *bearer)
        })?;
        Some((found.status, answer::own(&found.text).with_id(id)))
    }

    /// Drops what no ticket is good for any more.
    pub(super) fn expire(&mut self, now_ms: u64) {
        self.answers.retain(|answer| answer.of.expires_ms > now_ms);
        self.bytes = self.answers.iter().map(|answer| answer.text.len()).sum();
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.answers.pop_front() {
            self.bytes -= oldest.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEARER: Bearer = Bearer {
        owner: [1; 32],
        request: [2; 32],
    };

    fn answer(bytes: usize) -> Frame {
        let text = "x".repeat(bytes);
        answer::own(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"t":"{text}"}}}}"#
        ))
    }

    fn of(call: u64) -> LastRound {
        LastRound {
            call,
            round: 3,
            expires_ms: 100 + call,
            bearer: BEARER,
        }
    }

    fn ticket(call: u64, round: u32) -> Ticket {
        Ticket {
            life: 7,
            call,
            round,
            expires_ms: 100 + call,
            owner: BEARER.owner,
            request: BEARER.request,
        }
    }

    fn has(answered: &Answered, call: u64) -> bool {
        answered.again(&ticket(call, 3), &BEARER, "9").is_some()
    }

    #[test]
    fn the_bearer_of_the_last_round_gets_the_answer_again() {
        let mut answered = Answered::default();
        answered.keep(of(1), 400, &answer(1));
        let (status, again) = answered.again(&ticket(1, 3), &BEARER, "9").unwrap();
        assert_eq!(status, 400);
        assert_eq!(
            again.text(),
            r#"{"jsonrpc":"2.0","id":9,"result":{"t":"x"}}"#
        );
        assert!(answered.again(&ticket(1, 2), &BEARER, "9").is_none());
        assert!(answered.again(&ticket(2, 3), &BEARER, "9").is_none());
        let other = Bearer {
            owner: [5; 32],
            ..BEARER
        };
        assert!(answered.again(&ticket(1, 3), &other, "9").is_none());
    }

    #[test]
    fn answers_go_with_their_tickets() {
        let mut answered = Answered::default();
        answered.keep(of(1), 200, &answer(1));
        answered.keep(of(2), 200, &answer(1));
        answered.expire(101);
        assert!(!has(&answered, 1) && has(&answered, 2));
        answered.expire(102);
        assert!(answered.is_empty());
        assert_eq!(answered.bytes, 0);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut answered = Answered::default();
        let most = ANSWERS_MAX as u64;
        for call in 0..=most {
            answered.keep(of(call), 200, &answer(1));
        }
        assert!(!has(&answered, 0) && has(&answered, 1) && has(&answered, most));
        let large = BYTES_MAX / 5;
        for call in 1000..1005 {
            answered.keep(of(call), 200, &answer(large));
        }
        assert!(!has(&answered, most) && !has(&answered, 1000) && has(&answered, 1001));
        answered.keep(of(2000), 200, &answer(BYTES_MAX / 4));
        assert!(!has(&answered, 2000) && has(&answered, 1001));
        assert!(answered.bytes <= BYTES_MAX);
    }
}
