//! Where a message from the server goes.

use lockgate_proto::jsonrpc::{Frame, Kind, Legible, ParseError};
use lockgate_proto::mcp::{code, method};
use smallvec::{SmallVec, smallvec};

use super::{
    ASKED_MAX, Asked, Call, Effect, Level, Mux, Owner, Purpose, Sharing, TASKS_MAX, Task,
    canonical, is_task, number, rewrite,
};

/// Nearly always one.
pub(in super::super) type Effects = SmallVec<[Effect; 1]>;

impl Mux {
    /// A message from the server.
    pub(in super::super) fn on_frame(&mut self, frame: Frame) -> Effects {
        match frame.kind() {
            Kind::Result | Kind::Error => smallvec![self.on_answer(&frame)],
            Kind::Request => smallvec![self.on_question(frame)],
            Kind::Notification => self.on_notification(frame),
        }
    }

    /// The request could not be delivered: what the server is told instead, unless it has taken it back.
    pub(in super::super) fn on_undelivered(&mut self, request: &Frame) -> Option<Effect> {
        let id = request.id().filter(|_| request.kind() == Kind::Request)?;
        self.take_asked(&canonical(id), None)?;
        let line = rewrite::error(id, code::INTERNAL_ERROR, "the client does not read");
        Some(Effect::Reply(line))
    }

    fn on_answer(&mut self, frame: &Frame) -> Effect {
        let n = frame.id().and_then(number);
        let Some((n, call)) = n.and_then(|n| Some((n, self.forget(n)?))) else {
            // One that is late is no fault.
            return match n {
                Some(1..) if n <= Some(self.last_call) => {
                    Effect::Drop("answer to no request in flight")
                }
                _ => Effect::Stray(frame.clone()),
            };
        };
        let ok = frame.kind() == Kind::Result;
        match &call.purpose {
            Purpose::SetLevel if !ok => self.ledger.level_refused(call.owner),
            Purpose::Subscribe(uri) if ok => self.ledger.subscribe(call.owner, uri),
            Purpose::Own => return Effect::Drop("answer to a request of our own"),
            _ => {}
        }
        self.keep_task(n, &call, frame);
        if call.left {
            return Effect::Drop("answer to a caller who left");
        }
        let answer = match call.purpose {
            Purpose::Listen => rewrite::listen_answer(frame, &call.id),
            _ => rewrite::answer(frame, &call.id),
        };
        Effect::Finish(n, answer)
    }

    /// What the server said, and is no message: an answer ends its call, a request is refused.
    pub(in super::super) fn on_garbled(
        &mut self,
        said: &Legible,
        error: &ParseError,
    ) -> Option<Effect> {
        let id = match said {
            Legible::Answer(id) => id,
            Legible::Request(id) => {
                let line = rewrite::error(id, error.code(), &error.to_string());
                return Some(Effect::Reply(line));
            }
        };
        let n = number(id)?;
        let call = self.forget(n)?;
        if call.purpose == Purpose::SetLevel {
            self.ledger.level_refused(call.owner);
        }
        let what = format!("its answer is {error}");
        (!call.left).then(|| Effect::Spoil(n, what.into()))
    }

    fn keep_task(&mut self, n: u64, call: &Call, answer: &Frame) {
        let Some(token) = call.token.clone().filter(|_| is_task(answer)) else {
            return;
        };
        if self.tasks.len() == TASKS_MAX {
            self.tasks.pop_front();
        }
        let owner = call.owner;
        self.tasks.push_back(Task { n, owner, token });
    }

    fn on_question(&mut self, frame: Frame) -> Effect {
        let id = frame.id().unwrap_or("null");
        if frame.method() == method::PING {
            return Effect::Reply(rewrite::empty_result(id).into());
        }
        let owner = self.ledger.owners().next();
        let Some(owner) = owner.filter(|_| self.sharing == Sharing::Own) else {
            // No caller could be told apart (shared), or the era has no such requests (stateless).
            let line = rewrite::error(id, code::METHOD_NOT_FOUND, "Method not found");
            return Effect::Reply(line);
        };
        let asked = Asked {
            id: canonical(id),
            owner,
            call: self.place(owner),
            at: self.last_call,
        };
        let call = asked.call;
        self.take_asked(&asked.id, None);
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(asked);
        self.deliver(owner, call, frame)
    }

    fn on_notification(&mut self, frame: Frame) -> Effects {
        match &*frame.method() {
            method::CANCELLED => smallvec![self.on_cancelled(frame)],
            method::PROGRESS => smallvec![self.on_progress(&frame)],
            _ if self.sharing == Sharing::Stateless => smallvec![self.on_stateless(frame)],
            method::RESOURCE_UPDATED if self.sharing == Sharing::Shared => {
                let uri = frame.param_str(&["uri"]).unwrap_or_default();
                let owners = self.ledger.subscribers(&uri);
                post(owners.into_iter(), &frame)
            }
            method::TOOLS_CHANGED
            | method::PROMPTS_CHANGED
            | method::RESOURCES_CHANGED
            | method::RESOURCE_UPDATED => post(self.ledger.owners(), &frame),
            method::LOG_MESSAGE => self.on_log(&frame),
            name => match self.ledger.owners().next() {
                Some(owner) if self.sharing == Sharing::Own => {
                    // A task's news comes after its call.
                    let call = self.place(owner).filter(|_| name != method::TASK_STATUS);
                    smallvec![self.deliver(owner, call, frame)]
                }
                // It may carry what is meant for one session only.
                _ => smallvec![Effect::Drop("notification of no session")],
            },
        }
    }

    /// The server takes back its own request, or ends a listening stream.
    fn on_cancelled(&mut self, frame: Frame) -> Effect {
        let Some(id) = frame
            .param(&["requestId"])
            .map(|span| span.of(frame.text()))
        else {
            return Effect::Drop("cancels nothing");
        };
        if let Some(asked) = self.take_asked(&canonical(id), None) {
            let call = asked.call.filter(|n| self.is_heard(*n));
            let call = call.or_else(|| self.place(asked.owner));
            return self.deliver(asked.owner, call, frame);
        }
        let listen = number(id).filter(|n| {
            let call = self.calls.get(n);
            call.is_some_and(|call| call.purpose == Purpose::Listen)
        });
        let ended = listen.and_then(|n| Some((n, self.forget(n)?)));
        match ended.and_then(|(n, call)| Some((n, rewrite::listen_end(&call.id)?))) {
            Some((n, end)) => Effect::Finish(n, end),
            None => Effect::Drop("cancels no request of its own"),
        }
    }

    fn on_progress(&self, frame: &Frame) -> Effect {
        const PATH: [&str; 1] = ["progressToken"];
        let token = frame.param(&PATH).map(|span| span.of(frame.text()));
        let Some(n) = token.and_then(number) else {
            return Effect::Drop("progress without a token of ours");
        };
        if let Some(Call { token, left, .. }) = self.calls.get(&n) {
            let mapped = token.as_ref().filter(|_| !left);
            let mapped = mapped.and_then(|raw| rewrite::with_param_frame(frame, &PATH, raw));
            return match mapped {
                Some(frame) => Effect::Pass(n, frame),
                None => Effect::Drop("progress that nobody asked for"),
            };
        }
        let task = self.tasks.iter().find(|task| task.n == n);
        let mapped = task.and_then(|task| {
            let frame = rewrite::with_param_frame(frame, &PATH, &task.token)?;
            Some(Effect::Post(task.owner, frame))
        });
        mapped.unwrap_or(Effect::Drop("progress of no request in flight"))
    }

    /// Stateless era: a subscription says whose it is; a log message is told only if nobody else can be meant.
    fn on_stateless(&self, frame: Frame) -> Effect {
        const PATH: [&str; 2] = ["_meta", rewrite::SUBSCRIPTION];
        if let Some(span) = frame.param(&PATH) {
            let n = number(span.of(frame.text()));
            let call = n.and_then(|n| Some((n, self.calls.get(&n)?)));
            let mapped = call.and_then(|(n, call)| {
                Some((n, rewrite::with_param_frame(&frame, &PATH, &call.id)?))
            });
            return match mapped {
                Some((n, frame)) => Effect::Pass(n, frame),
                None => Effect::Drop("message of no subscription"),
            };
        }
        let mut logged = self
            .calls
            .iter()
            .filter(|(_, call)| call.purpose == Purpose::Logged);
        match (logged.next(), logged.next()) {
            (Some((n, _)), None) if frame.method() == method::LOG_MESSAGE => {
                Effect::Pass(*n, frame)
            }
            _ => Effect::Drop("notification of no request"),
        }
    }

    fn on_log(&self, frame: &Frame) -> Effects {
        let level = frame
            .param_str(&["level"])
            .and_then(|text| Level::parse(&text));
        let owners = self.ledger.owners();
        if self.sharing == Sharing::Own {
            let each = owners.map(|owner| self.deliver(owner, self.place(owner), frame.clone()));
            return each.collect();
        }
        // A session that does not listen can be told in a call; not while another's may be what the message is about.
        let of_calls = self.only_caller();
        let admitted = owners.filter(|owner| self.ledger.admits(*owner, level));
        let each = admitted.map(|owner| {
            let in_call = of_calls == Some(owner) && !self.ledger.is_listening(owner);
            let call = in_call.then(|| self.place(owner)).flatten();
            self.deliver(owner, call, frame.clone())
        });
        each.collect()
    }

    /// The session that all calls in flight belong to which may have anything to say.
    fn only_caller(&self) -> Option<Owner> {
        let heard = self.calls.values().filter(|call| call.is_heard());
        let mut owners = heard.map(|call| call.owner);
        let first = owners.next()?;
        owners.all(|owner| owner == first).then_some(first)
    }

    /// The call that a message of this session most likely belongs to; `None`: the session's own stream.
    fn place(&self, owner: Owner) -> Option<u64> {
        let mine = self.calls.iter().filter(|(_, call)| call.owner == owner);
        let mut heard = mine.filter(|(_, call)| call.is_heard()).map(|(n, _)| *n);
        let oldest = heard.next();
        if heard.next().is_some() && self.ledger.is_listening(owner) {
            return None;
        }
        oldest
    }

    fn is_heard(&self, n: u64) -> bool {
        self.calls.get(&n).is_some_and(Call::is_heard)
    }

    fn deliver(&self, owner: Owner, call: Option<u64>, frame: Frame) -> Effect {
        match call {
            Some(n) => Effect::Pass(n, frame),
            None => Effect::Post(owner, frame),
        }
    }
}

impl Call {
    fn is_heard(&self) -> bool {
        self.may_ask && !self.left && !self.cancelled
    }
}

fn post(owners: impl Iterator<Item = Owner>, frame: &Frame) -> Effects {
    owners
        .map(|owner| Effect::Post(owner, frame.clone()))
        .collect()
}
