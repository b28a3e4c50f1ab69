//! What clients were asked and have answered, and why their calls may have ended as they did.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind, find_path};
use tokio::time::Instant;

use super::client::{Client, raw_id};
use super::server::{self, Retried, Server};
use super::setting::{CALLERS, LIMIT, WAIT};
use crate::error::UpstreamError;

/// Time that what happens may be seen later than it happened.
pub(super) const BLUR: Duration = Duration::from_millis(110);

/// Ends, and ways to them, that a whole run must have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reached {
    Answered,
    AnsweredAfterRounds,
    Refused,
    Late,
    Doomed,
    Silent,
    CutOff,
    Cancelled,
    TakenBack,
    AnswerToNothing,
    CancelOfNothing,
    Moved,
}

impl Reached {
    pub(super) const ALL: [Self; 12] = [
        Self::Answered,
        Self::AnsweredAfterRounds,
        Self::Refused,
        Self::Late,
        Self::Doomed,
        Self::Silent,
        Self::CutOff,
        Self::Cancelled,
        Self::TakenBack,
        Self::AnswerToNothing,
        Self::CancelOfNothing,
        Self::Moved,
    ];
}

/// A question that a client has read.
#[derive(Debug)]
struct Asked {
    question: u64,
    call: usize,
    at: Instant,
    /// Whether it was answered since.
    is_answered: bool,
    is_taken_back: bool,
}

/// Id of a question, and the session in which it was asked.
pub(super) type Place = (usize, u64);

#[derive(Debug, Default)]
pub(super) struct Ledger {
    asked: BTreeMap<Place, Asked>,
    /// All that clients have answered, to whatever: whether they accept.
    answers: BTreeMap<Place, Vec<bool>>,
    /// Calls that their client gave up, or that ended with their session.
    pub(super) cancelled: BTreeSet<usize>,
    over: BTreeSet<usize>,
    pub(super) reached: BTreeMap<Reached, usize>,
}

impl Ledger {
    pub(super) fn reach(&mut self, what: Reached) {
        *self.reached.entry(what).or_default() += 1;
    }

    /// All questions so far.
    pub(super) fn places(&self) -> Vec<Place> {
        self.asked.keys().copied().collect()
    }

    /// Those without an answer, of a session.
    pub(super) fn open_in(&self, session: usize) -> Vec<Place> {
        let open = self.asked.iter().filter(|((at, _), asked)| {
            *at == session && !asked.is_answered && !asked.is_taken_back
        });
        open.map(|(place, _)| *place).collect()
    }

    /// A client answers a request of this id, whether or not it was asked so.
    pub(super) fn on_answer(&mut self, place: Place, accepts: bool) {
        self.answers.entry(place).or_default().push(accepts);
        match self.asked.get_mut(&place) {
            Some(asked) if !asked.is_answered => asked.is_answered = true,
            _ => self.reach(Reached::AnswerToNothing),
        }
    }

    /// A client has read a message that is not its answer.
    pub(super) fn on_heard(&mut self, client: &Client, at: Instant, frame: &Frame) {
        let text = frame.text();
        assert_is_for(client, text);
        match (frame.kind(), &*frame.method()) {
            (Kind::Request, "elicitation/create") => {
                let place = (client.session, frame.id().unwrap().parse().unwrap());
                let question = frame.param(&["question"]).unwrap();
                let asked = Asked {
                    question: question.of(text).parse().unwrap(),
                    call: client.request,
                    at,
                    is_answered: false,
                    is_taken_back: false,
                };
                let known = self.asked.insert(place, asked);
                assert!(known.is_none(), "an id asks once in a session: {text}");
            }
            (Kind::Notification, "notifications/cancelled") => {
                let id = frame.param(&["requestId"]).unwrap().of(text);
                let place = (client.session, id.parse().unwrap());
                // After a refusal the other answers come too late to count.
                let is_refused = self.has_refused(client.request);
                let asked = self.asked.get_mut(&place).unwrap();
                assert_eq!(asked.call, client.request, "a question of this call");
                let is_open = (!asked.is_answered || is_refused) && !asked.is_taken_back;
                assert!(is_open, "what is open is taken back, and once: {text}");
                asked.is_taken_back = true;
                self.reach(Reached::TakenBack);
            }
            (Kind::Notification, "notifications/progress") => {
                let token = frame.param(&["progressToken"]).unwrap().of(text);
                assert_eq!(token, raw_id(client.request), "progress of this call");
            }
            _ => panic!("nobody says this: {text}"),
        }
    }

    /// The server has answers of a client.
    pub(super) fn on_retried(&self, session: usize, by: usize, retried: &Retried) {
        for given in &retried.answers {
            assert_eq!(given.by, by, "no answer of another principal: {given:?}");
            let place = (session, given.id);
            // One whose client has not read it yet was hit by chance.
            if let Some(asked) = self.asked.get(&place) {
                let meant = (asked.call, asked.question);
                assert_eq!(meant, (retried.call, given.question), "{given:?}");
            }
            let accepted = self
                .answers
                .get(&place)
                .is_some_and(|all| all.contains(&true));
            assert!(accepted, "nobody has given this answer: {given:?}");
        }
    }

    /// Whether the client has refused a question of the call.
    fn has_refused(&self, call: usize) -> bool {
        let mut mine = self.asked.iter().filter(|(_, asked)| asked.call == call);
        mine.any(|(place, _)| {
            let answers = self.answers.get(place);
            answers.is_some_and(|all| all.contains(&false))
        })
    }

    /// What a call waits for that waits for its client.
    fn current<'a>(
        &'a self,
        request: usize,
        call: &'a server::Call,
    ) -> impl Iterator<Item = (&'a Place, &'a Asked)> {
        let questions = call.wants.iter().flat_map(|wants| &wants.questions);
        questions.filter_map(move |question| {
            let mut asked = self.asked.iter();
            asked.find(|(_, asked)| asked.call == request && asked.question == *question)
        })
    }

    /// A call goes on whose client reads: somebody must have the word, and not for too long. `awake` is since when the
    /// client reads.
    pub(super) fn check_going_on(&self, request: usize, call: &server::Call, awake: Instant) {
        let now = Instant::now();
        let in_time = |since: Instant, limit: Duration| now <= since.max(awake) + limit + BLUR;
        let gone = "a call that was given up has ended";
        assert!(!self.cancelled.contains(&request), "{request}: {gone}");
        assert!(
            !call.is_cut_off && call.answer.is_none(),
            "{request}: {call:?}"
        );
        if call.request.is_some() {
            let is_patient = in_time(call.quiet_since, LIMIT);
            assert!(is_patient, "{request}: the server was silent too long");
            return;
        }
        let wants = call.wants.as_ref();
        let wants = wants.unwrap_or_else(|| panic!("{request}: nobody has the word: {call:?}"));
        assert!(!call.is_doomed, "{request}: nobody can be asked that");
        if wants.questions.is_empty() {
            let is_pause = in_time(wants.since, Duration::from_millis(250));
            assert!(is_pause, "{request}: the pause is over");
            return;
        }
        let current: Vec<_> = self.current(request, call).collect();
        assert_eq!(
            current.len(),
            wants.questions.len(),
            "{request}: all are put"
        );
        let is_open = current.iter().any(|(_, asked)| !asked.is_answered);
        assert!(
            is_open,
            "{request}: the answers of its client are all there"
        );
        for (place, asked) in current {
            assert!(in_time(asked.at, WAIT), "{request}: it waits too long");
            // Of several answers, the first that came after the question counts.
            let is_refused = asked.is_answered && self.answers[place] == [false];
            assert!(!is_refused, "{request}: its client has refused");
        }
    }

    /// A client has its answer, or an error.
    pub(super) fn on_end(
        &mut self,
        client: &Client,
        call: &server::Call,
        result: Result<Frame, UpstreamError>,
    ) {
        let request = client.request;
        assert!(self.over.insert(request), "a call ends once");
        let frame = match result {
            Ok(frame) => frame,
            Err(error) => return self.on_error(request, call, &error),
        };
        let text = frame.text();
        assert_eq!(frame.id(), Some(&*raw_id(request)), "{text}");
        assert_is_for(client, text);
        let Some(answer) = &call.answer else {
            return self.on_failure(request, call, text);
        };
        let content = find_path(text, &["result", "content"]).unwrap();
        let expected = format!(r#"[{{"type":"text","text":"{answer}"}}]"#);
        assert_eq!(content.of(text), expected, "its own answer");
        self.reach(match call.n_wants {
            0 => Reached::Answered,
            _ => Reached::AnsweredAfterRounds,
        });
    }

    /// The gateway has ended it, in a way that a model can read.
    fn on_failure(&mut self, request: usize, call: &server::Call, text: &str) {
        let is_failure = find_path(text, &["result", "isError"]);
        assert_eq!(is_failure.map(|at| at.of(text)), Some("true"), "{text}");
        let is_refused = self.has_refused(request);
        // A client that does not read is asked all the same.
        let wants = call.wants.as_ref();
        let is_late = wants.is_some_and(|wants| wants.since.elapsed() >= WAIT);
        for (place, asked) in self.current(request, call) {
            let is_settled = asked.is_taken_back || self.answers.contains_key(place);
            assert!(is_settled, "nothing is left with the client: {asked:?}");
        }
        self.reach(match (call.is_doomed, is_refused, is_late) {
            (true, _, _) => Reached::Doomed,
            (_, true, _) => Reached::Refused,
            (_, _, true) => Reached::Late,
            _ => panic!("{request} has failed for no reason: {text}, {call:?}"),
        });
    }

    fn on_error(&mut self, request: usize, call: &server::Call, error: &UpstreamError) {
        let is_cancelled = self.cancelled.contains(&request);
        let had_answer = call.answer.is_some() && !is_cancelled;
        assert!(!had_answer, "{request} was answered: {error}");
        self.reach(match error {
            UpstreamError::Cancelled { .. } if is_cancelled => Reached::Cancelled,
            UpstreamError::Broken { .. } if call.is_cut_off => Reached::CutOff,
            UpstreamError::Timeout { .. } if call.quiet_since.elapsed() + BLUR >= LIMIT => {
                Reached::Silent
            }
            error => panic!("{request} has failed for no reason: {error:?}, {call:?}"),
        });
    }
}

#[track_caller]
fn assert_is_for(client: &Client, text: &str) {
    for other in (0..CALLERS.len()).filter(|other| *other != client.by) {
        let is_leaked = text.contains(&Server::secret(other));
        assert!(!is_leaked, "not for {}: {text}", CALLERS[client.by]);
    }
}
