//! What clients were asked and answered, and what they may be told again.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use lockgate_proto::jsonrpc::{Frame, decode_str, find, find_path, members};

use super::client::{Client, Retry};
use super::peer::{Answered, Peer};
use super::reached::{Goal, Reached};
use crate::error::UpstreamError;
use crate::upstream::bridge::down::call::Call;
use crate::upstream::bridge::down::room::WaitingRoom;
use crate::upstream::bridge::down::ticket::Ticket;

/// One question to a client, and the state that came with it.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) state: String,
    pub(super) ticket: Ticket,
    pub(super) by: usize,
    pub(super) side: usize,
    /// The request that has begun the call.
    pub(super) origin: usize,
    pub(super) keys: Vec<String>,
    pub(super) questions: Vec<u64>,
    /// The request whose answers the server got.
    went_on_by: Option<usize>,
    /// Whether a client went on from here to the call's answer.
    pub(super) is_last: bool,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) rounds: Vec<Round>,
    /// Every retry, by its request.
    retries: HashMap<usize, (usize, Retry)>,
    /// Answers of calls that had been parked, by the number under which they were.
    answers: HashMap<u64, String>,
    n_requests: usize,
    over: HashSet<usize>,
    reached: Reached,
}

impl Ledger {
    pub(super) fn new(reached: Reached) -> Self {
        Self {
            reached,
            ..Self::default()
        }
    }

    /// Id of a new request.
    pub(super) fn request(&mut self) -> usize {
        self.n_requests += 1;
        self.n_requests
    }

    pub(super) fn note_retry(&mut self, request: usize, by: usize, retry: Retry) {
        self.retries.insert(request, (by, retry));
    }

    /// The request that has begun a call.
    pub(super) fn origin(&self, call: &Call) -> usize {
        self.origin_of(call.turn.id.parse().unwrap())
    }

    /// The request that has begun the call which this one may go on with.
    pub(super) fn origin_of(&self, request: usize) -> usize {
        let retry = self.retries.get(&request);
        retry.map_or(request, |(_, retry)| self.rounds[retry.round].origin)
    }

    /// The server got an answer in a session of `caller`.
    pub(super) fn on_answered(&mut self, caller: usize, answered: Answered) {
        let (by, retry) = self.retries[&answered.by];
        let round = &mut self.rounds[retry.round];
        assert!(
            retry.is_own && by == caller && by == round.by,
            "no answer of another caller, or to another request: {answered:?}"
        );
        assert!(!retry.is_late, "nothing goes on after its time");
        assert!(retry.answers.suffice());
        assert!(round.questions.contains(&answered.question));
        let first = *round.went_on_by.get_or_insert(answered.by);
        assert_eq!(first, answered.by, "a state continues its call once");
    }

    /// A client has its answer, or its question, or an error.
    pub(super) fn on_reply(
        &mut self,
        client: &Client,
        reply: &Result<Frame, UpstreamError>,
        room: &WaitingRoom,
    ) {
        assert!(self.over.insert(client.request), "a request ends once");
        let frame = match reply {
            Ok(frame) => frame,
            Err(error) => return self.on_error(client, error),
        };
        let text = frame.text();
        assert_eq!(frame.id(), Some(&*client.request.to_string()), "{text}");
        for other in (0..2).filter(|other| *other != client.by) {
            let is_leaked = text.contains(&Peer::secret(other));
            assert!(!is_leaked, "not for caller {}: {text}", client.by);
        }
        let is_own = client.retry.is_none_or(|retry| retry.is_own);
        assert!(is_own, "another's state gives nothing: {text}");
        match find_path(text, &["result", "requestState"]) {
            Some(state) => {
                let state = decode_str(state.of(text)).unwrap();
                self.on_question(client, frame, &state, room);
            }
            None => self.on_end(client, frame),
        }
    }

    fn on_error(&self, client: &Client, error: &UpstreamError) {
        if matches!(error, UpstreamError::Timeout { .. }) {
            self.reached.note(Goal::Silent);
        }
        let is_refused = matches!(error, UpstreamError::StateRefused { .. });
        let Some(retry) = client.retry else {
            assert!(!is_refused, "{error}");
            return;
        };
        if is_refused && !retry.is_own {
            self.reached.note(Goal::Stranger);
        } else if is_refused && retry.is_late {
            self.reached.note(Goal::Late);
        }
        let is_answered = retry.is_own && !retry.is_late && retry.is_after;
        assert!(!is_answered, "a lost answer is given again: {error}");
    }

    fn on_question(&mut self, client: &Client, frame: &Frame, state: &str, room: &WaitingRoom) {
        let asked = client.retry.map(|retry| &self.rounds[retry.round]);
        if asked.is_some_and(|round| round.state == *state) {
            let suffice = client.retry.is_some_and(|retry| retry.answers.suffice());
            assert!(!suffice, "whole answers are not asked for again");
            return;
        }
        let text = frame.text();
        let requests = find_path(text, &["result", "inputRequests"]).unwrap();
        let mut round = Round {
            state: state.to_owned(),
            ticket: Ticket::open(&room.sealer, &"jira".into(), state).unwrap(),
            by: client.by,
            // A call stays where it began, whichever of two like requests goes on with it.
            side: asked.map_or(client.side, |round| round.side),
            origin: asked.map_or(client.request, |round| round.origin),
            keys: Vec::new(),
            questions: Vec::new(),
            went_on_by: None,
            is_last: false,
        };
        if asked.is_some() {
            self.reached.note(Goal::SecondRound);
        }
        for member in members(requests.of(text)) {
            let question = find_path(member.value, &["params", "question"]).unwrap();
            round.keys.push(member.key.into_owned());
            let question = question.of(member.value).parse().unwrap();
            round.questions.push(question);
        }
        let is_new = self.rounds.iter().all(|known| known.state != round.state);
        assert!(is_new, "every question has a state of its own");
        self.rounds.push(round);
    }

    fn on_end(&mut self, client: &Client, frame: &Frame) {
        let text = frame.text();
        let Some(body) = find(text, "result") else {
            panic!("no server has refused a call: {text}");
        };
        let body = body.of(text);
        let Some(retry) = client.retry else { return };
        let round = &mut self.rounds[retry.round];
        round.is_last = true;
        let known = self.answers.entry(round.ticket.call);
        if matches!(known, Entry::Occupied(_)) {
            self.reached.note(Goal::AnsweredAgain);
        }
        let first = known.or_insert_with(|| body.to_owned());
        assert_eq!(
            first, body,
            "a call has one answer, however often it is given"
        );
    }
}
