//! The server in one session: what it was sent, and what it says.

use std::collections::{BTreeMap, BTreeSet};

use lockgate_proto::jsonrpc::{Frame, Kind, find_path};
use tokio::time::Instant;

use super::client::REQUEST;
use super::reached::{Goal, Reached};
use super::setting::{QUIET, Sharing};
use crate::upstream::transport::channel::FarEnd;

/// What any call's client can be asked: all have the same.
pub(super) const ROOTS: &str = "roots/list";
/// What the client of one call is asked.
pub(super) const FORM: &str = "elicitation/create";

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Open,
    TakenBack,
    /// Answered, or refused.
    Over,
}

/// A question that was asked.
#[derive(Debug)]
struct Question {
    asked: Asked,
    method: &'static str,
    /// Whose it can be; `None` where that depends on what comes first.
    whose: Option<Whose>,
}

/// The calls that a question can be of.
#[derive(Debug)]
struct Whose {
    /// Those that ran when it was asked.
    ran: BTreeSet<u64>,
    /// Those of them that have run ever since.
    run_on: BTreeSet<u64>,
    /// Since when that is one.
    clear_since: Option<Instant>,
    /// Whether it comes with its call, and is lost with it when the server itself ends it.
    is_with_call: bool,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Called {
    Open,
    Answered(Instant),
    Cancelled,
}

/// A question that has its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) question: u64,
    /// The request that has brought it.
    pub(super) by: usize,
}

#[derive(Debug)]
pub(super) struct Peer {
    far: FarEnd,
    /// Whose session it is.
    pub(super) caller: usize,
    sharing: Sharing,
    /// Whether calls take turns there.
    in_turns: bool,
    calls: BTreeMap<u64, Called>,
    /// Its calls, by the requests that began them.
    numbers: BTreeMap<usize, u64>,
    questions: BTreeMap<u64, Question>,
    reached: Reached,
}

impl Peer {
    /// In `lane` of the caller's sessions.
    pub(super) fn new(
        far: FarEnd,
        caller: usize,
        (sharing, lane): (Sharing, u8),
        reached: Reached,
    ) -> Self {
        Self {
            far,
            caller,
            sharing,
            in_turns: sharing.takes_turns(lane),
            calls: BTreeMap::new(),
            numbers: BTreeMap::new(),
            questions: BTreeMap::new(),
            reached,
        }
    }

    /// What stands in all that is said to this caller, and to no other.
    pub(super) fn secret(caller: usize) -> String {
        format!("secret of {caller}")
    }

    pub(super) async fn shake_hands(&mut self) {
        let initialize = self.far.hear().await.unwrap();
        let id = initialize.id().unwrap();
        self.far.say(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"2025-11-25","capabilities":{{}},"serverInfo":{{"name":"s","version":"1"}}}}}}"#
        ));
        let initialized = self.far.hear().await.unwrap();
        assert_eq!(initialized.method(), "notifications/initialized");
    }

    /// Reads all that was sent; gives the answers of clients.
    pub(super) fn hear(&mut self) -> Vec<Answered> {
        let mut answers = Vec::new();
        while let Some(frame) = self.far.try_hear() {
            match frame.kind() {
                Kind::Request => self.on_call(&frame),
                Kind::Notification => self.on_cancelled(&frame),
                Kind::Result | Kind::Error => answers.extend(self.on_answer(&frame)),
            }
        }
        answers
    }

    fn on_call(&mut self, frame: &Frame) {
        assert_eq!(frame.method(), "tools/call");
        let Some(request) = frame.param(&["_meta", REQUEST]) else {
            // One of those that never end.
            return;
        };
        let is_free = !self.in_turns || self.open_calls().next().is_none();
        assert!(is_free, "one call at a time has the session");
        let n = frame.id().unwrap().parse().unwrap();
        let known = self.calls.insert(n, Called::Open);
        let request = request.of(frame.text()).parse().unwrap();
        let sent = self.numbers.insert(request, n);
        assert_eq!((known, sent), (None, None), "a call is sent once");
        if self.open_calls().count() > 1 {
            self.reached.note(Goal::AtOnce);
        }
    }

    fn on_cancelled(&mut self, frame: &Frame) {
        assert_eq!(frame.method(), "notifications/cancelled");
        self.reached.note(Goal::of_words(frame.text()));
        let n = frame.param(&["requestId"]).unwrap().of(frame.text());
        let call = self.calls.get_mut(&n.parse().unwrap());
        let before = call.map(|call| std::mem::replace(call, Called::Cancelled));
        assert_eq!(before, Some(Called::Open), "a call ends once: {n}");
    }

    fn on_answer(&mut self, frame: &Frame) -> Option<Answered> {
        let number: u64 = frame.id().unwrap().parse().unwrap();
        let question = self.questions.get_mut(&number).unwrap();
        let before = std::mem::replace(&mut question.asked, Asked::Over);
        assert_eq!(before, Asked::Open, "a question is answered once");
        if frame.kind() == Kind::Error {
            self.reached.note(Goal::of_words(frame.text()));
        }
        let by = find_path(frame.text(), &["result", "content", "by"])?;
        let by = by.of(frame.text()).parse().unwrap();
        Some(Answered {
            question: number,
            by,
        })
    }

    /// The calls that are under way, the oldest first.
    pub(super) fn open_calls(&self) -> impl Iterator<Item = u64> {
        let open = self.calls.iter();
        let open = open.filter(|(_, call)| **call == Called::Open);
        open.map(|(n, _)| *n)
    }

    /// The call that `request` has begun, if it was sent here.
    pub(super) fn number(&self, request: usize) -> Option<u64> {
        self.numbers.get(&request).copied()
    }

    /// Whether the call was given up.
    pub(super) fn is_cancelled(&self, n: u64) -> bool {
        self.calls.get(&n) == Some(&Called::Cancelled)
    }

    /// Whether it is under way.
    pub(super) fn is_open(&self, n: u64) -> bool {
        self.calls.get(&n) == Some(&Called::Open)
    }

    /// When it was answered.
    pub(super) fn answered_at(&self, n: u64) -> Option<Instant> {
        match self.calls.get(&n)? {
            Called::Answered(at) => Some(*at),
            Called::Open | Called::Cancelled => None,
        }
    }

    /// Asks; `running` are the calls that run and do not wait for their clients, where nothing is on its way.
    pub(super) fn ask(
        &mut self,
        question: u64,
        method: &'static str,
        running: Option<BTreeSet<u64>>,
    ) {
        let open: Vec<u64> = self.open_calls().collect();
        let with_call = match (self.sharing, &*open) {
            (Sharing::OwnSessions | Sharing::InTurns, [oldest, ..])
            | (Sharing::AtOnce, [oldest]) => Some(BTreeSet::from([*oldest])),
            _ => None,
        };
        let is_with_call = with_call.is_some();
        let ran = with_call.or_else(|| running.filter(|_| method != ROOTS));
        let whose = ran.map(|ran| Whose {
            run_on: ran.clone(),
            ran,
            clear_since: None,
            is_with_call,
        });
        let asked = Question {
            asked: Asked::Open,
            method,
            whose,
        };
        self.questions.insert(question, asked);
        let secret = Self::secret(self.caller);
        self.far.say(format!(
            r#"{{"jsonrpc":"2.0","id":{question},"method":"{method}","params":{{"message":"{secret}","question":{question}}}}}"#
        ));
    }

    /// These calls run and do not wait for their clients.
    pub(super) fn note_running(&mut self, running: &BTreeSet<u64>) {
        for question in self.questions.values_mut() {
            if let Some(whose) = &mut question.whose {
                whose.run_on.retain(|n| running.contains(n));
                if whose.run_on.len() == 1 {
                    whose.clear_since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// A question does not wait here once it is clear whose it is: its call waits for it, or the server was refused.
    pub(super) fn check_prompt(&self) {
        let open = self.questions.iter();
        let open = open.filter(|(_, question)| question.asked == Asked::Open);
        for (number, question) in open {
            let Some(whose) = question.whose.as_ref().filter(|_| !self.is_gone()) else {
                continue;
            };
            let is_late = whose.clear_since.is_some_and(|at| at.elapsed() > QUIET);
            let runs_on = whose.run_on.first();
            assert!(
                !is_late || runs_on.is_none(),
                "{runs_on:?} is not asked {number}"
            );
        }
    }

    /// Whether the question was asked here.
    pub(super) fn has_asked(&self, question: u64) -> bool {
        self.questions.contains_key(&question)
    }

    /// The question was put to the client of the call that `request` has begun.
    pub(super) fn check_put(&self, question: u64, request: usize) {
        let asked = &self.questions[&question];
        let Some(n) = self.number(request) else {
            if self.is_gone() {
                // The call may have been on its way.
                return;
            }
            assert_eq!(asked.method, ROOTS, "only roots are asked before a call");
            self.reached.note(Goal::Unsent);
            return;
        };
        // Roots that a call leaves are asked of the next.
        let whose = asked.whose.as_ref().filter(|_| asked.method != ROOTS);
        let Some(Whose { ran, run_on, .. }) = whose else {
            return;
        };
        assert!(
            ran.contains(&n),
            "question {question} is put to a call that ran when it was asked: {n}, {ran:?}"
        );
        let mut others = run_on.iter().filter(|other| **other != n);
        assert_eq!(
            others.next(),
            None,
            "question {question} is not put to {n} while it may be another's"
        );
        if ran.len() > 1 {
            self.reached.note(Goal::LastLeft);
        }
    }

    /// Questions that nobody has answered, though no call that was given up can have had them.
    pub(super) fn unanswered(&self) -> Vec<u64> {
        let open = self.questions.iter();
        let open = open.filter(|(_, question)| question.asked == Asked::Open);
        let kept = open.filter(|(_, question)| {
            let mut calls = self.calls.iter();
            !calls.any(|(n, call)| match (&question.whose, call) {
                (_, Called::Open) => false,
                (None, Called::Cancelled) => true,
                (None, Called::Answered(_)) => false,
                (Some(whose), Called::Cancelled) => whose.ran.contains(n),
                (Some(whose), Called::Answered(_)) => whose.is_with_call && whose.ran.contains(n),
            })
        });
        kept.map(|(number, _)| *number).collect()
    }

    pub(super) fn take_back(&mut self) {
        let mut open = self.questions.iter_mut().rev();
        let last = open.find(|(_, question)| question.asked == Asked::Open);
        if let Some((id, question)) = last {
            question.asked = Asked::TakenBack;
            self.far.say(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            ));
        }
    }

    pub(super) fn tell(&mut self) {
        let secret = Self::secret(self.caller);
        self.far.say(format!(
            r#"{{"jsonrpc":"2.0","method":"vendor/news","params":{{"news":"{secret}"}}}}"#
        ));
    }

    pub(super) fn answer(&mut self, n: u64) {
        self.calls.insert(n, Called::Answered(Instant::now()));
        let answer = self.words(n);
        self.far.say(format!(
            r#"{{"jsonrpc":"2.0","id":{n},"result":{{"content":[{{"type":"text","text":"{answer}"}}]}}}}"#
        ));
    }

    /// What the call is answered, and no other is.
    pub(super) fn words(&self, n: u64) -> String {
        format!("{}, call {n}.", Self::secret(self.caller))
    }

    /// The channel goes on with a copy of all that is data.
    pub(super) fn copy(&self) {
        self.far.copy();
    }

    /// The server is gone, and says no more.
    pub(super) fn go(&self) {
        self.far.end();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.far.has_ended()
    }
}
