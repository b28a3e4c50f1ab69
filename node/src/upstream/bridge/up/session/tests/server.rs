//! The server: what it was sent, over whichever channel, and what it says. It knows no sessions.

use std::collections::BTreeMap;

use lockgate_proto::jsonrpc::{Frame, Kind, find_path, members};
use tokio::time::Instant;

use super::client::REQUEST;
use super::setting::{CALLERS, ROUNDS_MAX, Setting};
use crate::upstream::transport::channel::FarEnd;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Open,
    Answered,
    Cancelled,
}

/// What the server wants before it goes on with a call.
#[derive(Debug)]
pub(super) struct Wants {
    /// It takes the call for its own again by this, once.
    state: String,
    /// Without questions it wants time alone.
    pub(super) questions: Vec<u64>,
    pub(super) since: Instant,
}

/// One call, over all its rounds.
#[derive(Debug)]
pub(super) struct Call {
    by: usize,
    /// Log level that its client wants.
    level: Option<&'static str>,
    /// Lane and number of the request that has no answer yet.
    pub(super) request: Option<(usize, u64)>,
    pub(super) wants: Option<Wants>,
    pub(super) n_wants: u32,
    /// What it was answered at last.
    pub(super) answer: Option<String>,
    /// Whether it has wanted what its client cannot be asked, or too often.
    pub(super) is_doomed: bool,
    /// Whether its channel ended while a request was open.
    pub(super) is_cut_off: bool,
    /// When either side said something last.
    pub(super) quiet_since: Instant,
}

/// A request that goes on with a call: which question has the answer that somebody gave to a request of this id.
#[derive(Debug)]
pub(super) struct Retried {
    pub(super) call: usize,
    pub(super) answers: Vec<Given>,
}

/// An answer as it came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) question: u64,
    pub(super) by: usize,
    pub(super) id: u64,
}

#[derive(Debug)]
pub(super) struct Server {
    setting: Setting,
    /// One for each lane.
    fars: Vec<FarEnd>,
    requests: BTreeMap<(usize, u64), Sent>,
    /// By the client's request.
    pub(super) calls: BTreeMap<usize, Call>,
    n_questions: u64,
    n_said: u64,
}

impl Server {
    pub(super) fn new(setting: Setting, fars: Vec<FarEnd>) -> Self {
        Self {
            setting,
            fars,
            requests: BTreeMap::new(),
            calls: BTreeMap::new(),
            n_questions: 0,
            n_said: 0,
        }
    }

    /// What stands in all that is said to this caller, and to no other.
    pub(super) fn secret(caller: usize) -> String {
        format!("secret of {}", CALLERS[caller])
    }

    /// Somebody calls, by this request.
    pub(super) fn expect(&mut self, request: usize, by: usize, level: Option<&'static str>) {
        let call = Call {
            by,
            level,
            request: None,
            wants: None,
            n_wants: 0,
            answer: None,
            is_doomed: false,
            is_cut_off: false,
            quiet_since: Instant::now(),
        };
        self.calls.insert(request, call);
    }

    /// Reads all that was sent; gives what goes on with calls.
    pub(super) fn hear(&mut self) -> Vec<Retried> {
        let mut retried = Vec::new();
        for lane in 0..self.fars.len() {
            while let Some(frame) = self.fars[lane].try_hear() {
                match frame.kind() {
                    Kind::Request => retried.extend(self.on_request(lane, &frame)),
                    Kind::Notification => self.on_cancelled(lane, &frame),
                    Kind::Result | Kind::Error => panic!("an answer to nothing: {}", frame.text()),
                }
            }
        }
        retried
    }

    fn on_request(&mut self, lane: usize, frame: &Frame) -> Option<Retried> {
        let text = frame.text();
        assert_eq!(frame.method(), "tools/call");
        let number = frame.id().unwrap().parse().unwrap();
        let known = self.requests.insert((lane, number), Sent::Open);
        assert_eq!(known, None, "a number is used once");
        let origin = frame.param(&["_meta", REQUEST]).unwrap();
        let origin: usize = origin.of(text).parse().unwrap();
        let call = self.calls.get_mut(&origin).unwrap();
        assert_eq!(lane, self.setting.lane(call.by), "a caller's own channel");
        assert_eq!(call.request, None, "one request at a time goes on: {text}");
        assert!(!call.is_cut_off, "nothing is sent twice: {text}");
        call.request = Some((lane, number));
        call.quiet_since = Instant::now();
        let level = frame.param_str(&["_meta", "io.modelcontextprotocol/logLevel"]);
        assert_eq!(level.as_deref(), call.level, "its client's own level");
        let state = frame.param_str(&["requestState"]);
        let answers = frame.param(&["inputResponses"]).map(|at| at.of(text));
        let Some(wants) = call.wants.take() else {
            let is_first = call.n_wants == 0 && state.is_none() && answers.is_none();
            assert!(is_first, "a state goes on with its call once: {text}");
            return None;
        };
        assert!(!call.is_doomed, "{text}");
        assert_eq!(state.as_deref(), Some(&*wants.state), "a call's own state");
        let answers: Vec<Given> = members(answers.unwrap_or("{}"))
            .map(|answer| {
                let said = |key: &str| -> u64 {
                    let at = find_path(answer.value, &["content", key]).unwrap();
                    at.of(answer.value).parse().unwrap()
                };
                Given {
                    question: answer.key.parse().unwrap(),
                    by: usize::try_from(said("by")).unwrap(),
                    id: said("id"),
                }
            })
            .collect();
        let answered: Vec<u64> = answers.iter().map(|given| given.question).collect();
        assert_eq!(answered, wants.questions, "each question has its answer");
        let call = origin;
        Some(Retried { call, answers })
    }

    fn on_cancelled(&mut self, lane: usize, frame: &Frame) {
        assert_eq!(frame.method(), "notifications/cancelled");
        let number = frame.param(&["requestId"]).unwrap().of(frame.text());
        let request = (lane, number.parse().unwrap());
        let before = self.requests.insert(request, Sent::Cancelled);
        assert_eq!(before, Some(Sent::Open), "a request ends once: {request:?}");
        let mut calls = self.calls.values_mut();
        let call = calls.find(|call| call.request == Some(request)).unwrap();
        call.request = None;
    }

    /// Calls with a request that has no answer.
    pub(super) fn open(&self) -> Vec<usize> {
        let open = self.calls.iter().filter(|(_, call)| call.request.is_some());
        open.map(|(origin, _)| *origin).collect()
    }

    pub(super) fn tell(&mut self, origin: usize) {
        let call = self.calls.get_mut(&origin).unwrap();
        let (lane, number) = call.request.unwrap();
        call.quiet_since = Instant::now();
        self.n_said += 1;
        let (n, secret) = (self.n_said, Self::secret(call.by));
        self.fars[lane].say(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{number},"progress":{n},"message":"{secret}"}}}}"#
        ));
    }

    pub(super) fn answer(&mut self, origin: usize) {
        self.n_said += 1;
        let by = self.calls[&origin].by;
        let answer = format!("{}, {}", Self::secret(by), self.n_said);
        self.reply(
            origin,
            &format!(r#""resultType":"complete","content":[{{"type":"text","text":"{answer}"}}]"#),
        );
        self.calls.get_mut(&origin).unwrap().answer = Some(answer);
    }

    /// Wants answers to so many questions, or time where it has none.
    pub(super) fn ask(&mut self, origin: usize, n_questions: u64) {
        let first = self.n_questions + 1;
        self.n_questions += n_questions;
        let questions: Vec<u64> = (first..=self.n_questions).collect();
        let secret = Self::secret(self.calls[&origin].by);
        let inputs: Vec<String> = questions
            .iter()
            .map(|q| {
                format!(
                    r#""{q}":{{"method":"elicitation/create","params":{{"message":"{secret}","question":{q}}}}}"#
                )
            })
            .collect();
        self.want(origin, questions, &inputs.join(","));
    }

    /// Wants what clients do not declare here.
    pub(super) fn ask_too_much(&mut self, origin: usize) {
        let input = r#""x":{"method":"sampling/createMessage","params":{}}"#;
        self.want(origin, Vec::new(), input);
        self.calls.get_mut(&origin).unwrap().is_doomed = true;
    }

    fn want(&mut self, origin: usize, questions: Vec<u64>, inputs: &str) {
        self.n_said += 1;
        let state = format!("state {} of {origin}", self.n_said);
        self.reply(
            origin,
            &format!(
                r#""resultType":"input_required","inputRequests":{{{inputs}}},"requestState":"{state}""#
            ),
        );
        let call = self.calls.get_mut(&origin).unwrap();
        call.n_wants += 1;
        call.is_doomed = call.n_wants > ROUNDS_MAX;
        call.wants = Some(Wants {
            state,
            questions,
            since: Instant::now(),
        });
    }

    fn reply(&mut self, origin: usize, result: &str) {
        let call = self.calls.get_mut(&origin).unwrap();
        let (lane, number) = call.request.take().unwrap();
        call.quiet_since = Instant::now();
        self.requests.insert((lane, number), Sent::Answered);
        self.fars[lane].say(format!(
            r#"{{"jsonrpc":"2.0","id":{number},"result":{{{result}}}}}"#
        ));
    }

    /// A lane's channel ends with all that goes on there, and another is in its place. It must have been heard before.
    pub(super) fn move_lane(&mut self, lane: usize, far: FarEnd) {
        self.fars[lane].end();
        self.fars[lane] = far;
        self.requests.retain(|(at, _), _| *at != lane);
        for call in self.calls.values_mut() {
            if call.request.take_if(|(at, _)| *at == lane).is_some() {
                call.is_cut_off = true;
            }
        }
    }
}
