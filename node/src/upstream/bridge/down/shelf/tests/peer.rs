//! The server in one session: what it was sent, and what it says.

use std::collections::BTreeMap;

use lockgate_proto::jsonrpc::{Frame, Kind, find_path};

use super::client::REQUEST;
use crate::upstream::transport::channel::FarEnd;

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Open,
    TakenBack,
    /// Answered, or refused.
    Over,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Called {
    Open,
    Answered,
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
    /// Whether calls take turns there.
    in_turns: bool,
    calls: BTreeMap<u64, Called>,
    /// Its calls, by the requests that began them.
    numbers: BTreeMap<usize, u64>,
    questions: BTreeMap<u64, (Asked, u64)>,
}

impl Peer {
    pub(super) fn new(far: FarEnd, caller: usize, in_turns: bool) -> Self {
        Self {
            far,
            caller,
            in_turns,
            calls: BTreeMap::new(),
            numbers: BTreeMap::new(),
            questions: BTreeMap::new(),
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
        let is_free = !self.in_turns || self.open_call().is_none();
        assert!(is_free, "one call at a time has the session");
        let n = frame.id().unwrap().parse().unwrap();
        let known = self.calls.insert(n, Called::Open);
        let request = frame.param(&["_meta", REQUEST]).unwrap();
        let request = request.of(frame.text()).parse().unwrap();
        let sent = self.numbers.insert(request, n);
        assert_eq!((known, sent), (None, None), "a call is sent once");
    }

    fn on_cancelled(&mut self, frame: &Frame) {
        assert_eq!(frame.method(), "notifications/cancelled");
        let n = frame.param(&["requestId"]).unwrap().of(frame.text());
        let call = self.calls.get_mut(&n.parse().unwrap());
        let before = call.map(|call| std::mem::replace(call, Called::Cancelled));
        assert_eq!(before, Some(Called::Open), "a call ends once: {n}");
    }

    fn on_answer(&mut self, frame: &Frame) -> Option<Answered> {
        let question: u64 = frame.id().unwrap().parse().unwrap();
        let (asked, _) = self.questions.get_mut(&question).unwrap();
        let before = std::mem::replace(asked, Asked::Over);
        assert_eq!(before, Asked::Open, "a question is answered once");
        let by = find_path(frame.text(), &["result", "content", "by"])?;
        let by = by.of(frame.text()).parse().unwrap();
        Some(Answered { question, by })
    }

    /// The call that is under way.
    pub(super) fn open_call(&self) -> Option<u64> {
        let mut open = self.calls.iter().filter(|(_, call)| **call == Called::Open);
        open.next().map(|(n, _)| *n)
    }

    fn call_of(&self, request: usize) -> Option<Called> {
        self.calls.get(self.numbers.get(&request)?).copied()
    }

    /// Whether the call that `request` has begun was given up.
    pub(super) fn is_cancelled(&self, request: usize) -> bool {
        self.call_of(request) == Some(Called::Cancelled)
    }

    /// Whether it is under way.
    pub(super) fn is_open(&self, request: usize) -> bool {
        self.call_of(request) == Some(Called::Open)
    }

    pub(super) fn ask(&mut self, question: u64) {
        let Some(call) = self.open_call() else { return };
        let secret = Self::secret(self.caller);
        self.questions.insert(question, (Asked::Open, call));
        self.far.say(format!(
            r#"{{"jsonrpc":"2.0","id":{question},"method":"elicitation/create","params":{{"message":"{secret}","question":{question}}}}}"#
        ));
    }

    pub(super) fn take_back(&mut self) {
        let mut open = self.questions.iter_mut().rev();
        let last = open.find(|(_, (asked, _))| *asked == Asked::Open);
        if let Some((id, (asked, _))) = last {
            *asked = Asked::TakenBack;
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

    pub(super) fn answer(&mut self) {
        let Some(n) = self.open_call() else { return };
        self.calls.insert(n, Called::Answered);
        let secret = Self::secret(self.caller);
        self.far.say(format!(
            r#"{{"jsonrpc":"2.0","id":{n},"result":{{"content":[{{"type":"text","text":"{secret}, {n}"}}]}}}}"#
        ));
    }

    /// The server is gone, and says no more.
    pub(super) fn go(&self) {
        self.far.end();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.far.has_ended()
    }
}
