//! Many callers on one channel, as a plain struct: ids and tokens out, ids and tokens back.
//!
//! ```text
//! on_request ─► Line(n)      n is id and progress token, unique for the child
//!            └► Answer       known here already (a resource that another session has subscribed, …)
//! on_frame   ─► Finish(n)    answer, under the caller's id
//!            ├► Spoil(n)     answer that cannot be read
//!            ├► Pass(n)      progress and what else belongs to a call
//!            ├► Post(owner)  what belongs to no call
//!            └► Reply        answered here: ping, and what a shared child may not ask
//! ```
//!
//! Caller's ids of one owner are unique among its calls in flight; whoever owns the session sees to that.
//!
//! The state can be written down and read back, in text and in bytes, and goes on as if nothing had happened. Equal
//! states are written equally.

mod ledger;
mod pairs;
mod rewrite;
mod route;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use lockgate_proto::jsonrpc::{Frame, Kind, decode_str, encode_str, find_path};
use lockgate_proto::mcp::method;
use serde::{Deserialize, Serialize};

use self::ledger::Ledger;
pub(super) use self::ledger::Level;

/// Calls that their caller left and that stay known, so that a late cancel finds its number.
const LEFT_MAX: usize = 256;

/// Tasks whose progress is still mapped after their call was answered.
const TASKS_MAX: usize = 256;

/// Requests of the server that wait for an answer; the oldest is given up for one more.
const ASKED_MAX: usize = 256;

/// A session attached to a child. Stateless callers are one owner, [`Owner::NOBODY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Owner(u32);

impl Owner {
    /// Callers that have no session.
    pub(crate) const NOBODY: Self = Self(0);
}

/// Who has the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sharing {
    /// Stateless era: requests of anybody, and no request of the server.
    Stateless,
    /// Session era, one session.
    Own,
    /// Session era, several sessions: what the server asks could be meant for any, so it may not ask.
    Shared,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Send this; messages of the call come under `call`.
    Line {
        /// Number of the call.
        call: u64,
        /// Message, on one line.
        line: Bytes,
    },
    /// Answered here.
    Answer(Frame),
}

/// What becomes of a message from the server.
#[derive(Debug)]
pub(super) enum Effect {
    /// Last message of a call.
    Finish(u64, Frame),
    /// End of a call whose answer cannot be passed on, and why.
    Spoil(u64, Arc<str>),
    /// Message of a call.
    Pass(u64, Frame),
    /// Message to a session, of no call.
    Post(Owner, Frame),
    /// Line back to the server.
    Reply(Bytes),
    /// Nobody waits for it.
    Drop(&'static str),
    /// It answers what nobody has asked.
    Stray(Frame),
}

/// What is left of a session that went.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    /// Its calls in flight, now forgotten.
    pub(super) calls: Vec<u64>,
    /// What the server has to be told.
    pub(super) lines: Vec<Bytes>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Call {
    owner: Owner,
    /// Raw id of the caller.
    id: Box<str>,
    /// Raw progress token of the caller.
    token: Option<Box<str>>,
    purpose: Purpose,
    /// Whether what the server says by itself may belong to it.
    may_ask: bool,
    left: bool,
    /// The server was told that nobody waits for it any more: it need not answer.
    cancelled: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Purpose {
    Plain,
    /// Stateless request that asked for log messages.
    Logged,
    /// `initialize`.
    Handshake,
    Listen,
    SetLevel,
    Subscribe(Box<str>),
    /// Ours: nobody waits for the answer.
    Own,
}

/// A request of the server that its owner has not answered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    id: Box<str>,
    owner: Owner,
    /// Call that carried it.
    call: Option<u64>,
    /// Latest call when it was asked.
    at: u64,
}

/// A task that goes on after its call was answered (2025-11-25): so does its progress.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Task {
    n: u64,
    owner: Owner,
    token: Box<str>,
}

/// The state of one child's channel.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mux {
    sharing: Sharing,
    last_call: u64,
    last_owner: u32,
    /// Oldest first.
    calls: BTreeMap<u64, Call>,
    /// Session era only: stateless callers never name a request again.
    #[serde(with = "pairs")]
    by_id: BTreeMap<(Owner, Box<str>), u64>,
    left: VecDeque<u64>,
    /// Oldest first.
    asked: VecDeque<Asked>,
    tasks: VecDeque<Task>,
    ledger: Ledger,
}

impl Mux {
    pub(super) fn new() -> Self {
        Self {
            sharing: Sharing::Stateless,
            last_call: 0,
            last_owner: 0,
            calls: BTreeMap::new(),
            by_id: BTreeMap::new(),
            left: VecDeque::new(),
            asked: VecDeque::new(),
            tasks: VecDeque::new(),
            ledger: Ledger::default(),
        }
    }

    pub(super) fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Takes a child that nobody has used for the session era. False when somebody has.
    pub(super) fn claim(&mut self, sharing: Sharing) -> bool {
        let unused = self.last_owner == 0 && self.last_call == 0;
        if unused {
            self.sharing = sharing;
        }
        unused
    }

    /// Adds a session.
    pub(super) fn attach(&mut self) -> Owner {
        self.last_owner += 1;
        let owner = Owner(self.last_owner);
        self.ledger.attach(owner);
        owner
    }

    /// Removes a session: its calls are cancelled, what it alone wanted is taken back.
    pub(super) fn detach(&mut self, owner: Owner) -> Farewell {
        let mine = self.calls.iter().filter(|(_, call)| call.owner == owner);
        let calls: Vec<u64> = mine.map(|(n, _)| *n).collect();
        let mut lines: Vec<Bytes> = calls.iter().filter_map(|n| self.on_expired(*n)).collect();
        self.asked.retain(|asked| asked.owner != owner);
        self.tasks.retain(|task| task.owner != owner);
        let (orphaned, level) = self.ledger.detach(owner);
        if self.sharing == Sharing::Shared {
            for uri in orphaned {
                lines.push(self.own(method::UNSUBSCRIBE, "uri", &uri));
            }
            if let Some(level) = level {
                lines.push(self.own(method::SET_LEVEL, "level", level.as_str()));
            }
        }
        Farewell { calls, lines }
    }

    /// Whether a listening stream of this session is open.
    pub(super) fn set_listening(&mut self, owner: Owner, listening: bool) {
        self.ledger.set_listening(owner, listening);
    }

    /// Whether this session listens.
    pub(super) fn is_listening(&self, owner: Owner) -> bool {
        self.ledger.is_listening(owner)
    }

    /// Whether a call can carry what the server asked its owner before.
    pub(super) fn may_ask(&self, n: u64) -> bool {
        self.calls.get(&n).is_some_and(|call| call.may_ask)
    }

    /// A caller's request. `None` when it is no request.
    pub(super) fn on_request(&mut self, owner: Owner, frame: &Frame) -> Option<Outcome> {
        let id = frame.id().filter(|_| frame.kind() == Kind::Request)?;
        let n = self.last_call + 1;
        let mut line = None;
        let purpose = match &*frame.method() {
            method::INITIALIZE => Purpose::Handshake,
            method::LISTEN if self.sharing == Sharing::Stateless => Purpose::Listen,
            _ if self.sharing == Sharing::Stateless => stateless_purpose(frame),
            method::SET_LEVEL if self.sharing == Sharing::Shared => {
                match self.shared_level(owner, frame) {
                    Some(SharedLevel::Refusable) => Purpose::Plain,
                    Some(SharedLevel::Change(level)) => {
                        line = Some(with_level(frame, n, level)?);
                        Purpose::SetLevel
                    }
                    None => return rewrite::ours(&rewrite::empty_result(id)).map(Outcome::Answer),
                }
            }
            method::SUBSCRIBE | method::UNSUBSCRIBE => match self.subscription(owner, frame) {
                Some(purpose) => purpose,
                None => return rewrite::ours(&rewrite::empty_result(id)).map(Outcome::Answer),
            },
            _ => Purpose::Plain,
        };
        let line = line.or_else(|| rewrite::request(frame, n))?;
        self.last_call = n;
        if self.sharing != Sharing::Stateless {
            self.by_id.insert((owner, canonical(id)), n);
        }
        let token = rewrite::progress_token(frame).map(|span| span.of(frame.text()).into());
        let call = Call {
            owner,
            id: id.into(),
            token,
            purpose,
            may_ask: may_ask(&frame.method()),
            left: false,
            cancelled: false,
        };
        self.calls.insert(n, call);
        Some(Outcome::Line { call: n, line })
    }

    /// A caller's notification, or its answer to a request of the server: what to send, if anything.
    pub(super) fn on_send(&mut self, owner: Owner, frame: &Frame) -> Option<Bytes> {
        match frame.kind() {
            Kind::Request => None,
            Kind::Result | Kind::Error => {
                let key = canonical(frame.id()?);
                // An answer to what was cancelled, or what another was asked, goes nowhere.
                self.take_asked(&key, Some(owner))?;
                Some(frame.line())
            }
            Kind::Notification => match &*frame.method() {
                method::CANCELLED => {
                    let id = frame.param(&["requestId"])?.of(frame.text());
                    let n = *self.by_id.get(&(owner, canonical(id)))?;
                    let line = rewrite::with_param(frame, &["requestId"], &n.to_string())?;
                    self.calls.get_mut(&n)?.cancelled = true;
                    Some(line)
                }
                // Said once, when the child was opened.
                method::INITIALIZED => None,
                method::ROOTS_CHANGED if self.sharing == Sharing::Shared => None,
                _ => Some(frame.line()),
            },
        }
    }

    /// The caller left the call's stream. Stateless era: that cancels. Session era: the call goes on unheard.
    pub(super) fn on_left(&mut self, n: u64) -> Option<Bytes> {
        if self.sharing == Sharing::Stateless {
            return self.on_expired(n);
        }
        self.calls.get_mut(&n)?.left = true;
        self.left.push_back(n);
        if self.left.len() > LEFT_MAX {
            let oldest = self.left.pop_front()?;
            self.forget(oldest);
        }
        None
    }

    /// Nobody waits for the call any more and the server is to stop: gives the line that says so.
    pub(super) fn on_expired(&mut self, n: u64) -> Option<Bytes> {
        let call = self.forget(n)?;
        // `initialize` must not be cancelled (MCP, "Cancellation").
        (call.purpose != Purpose::Handshake).then(|| rewrite::cancelled(n))
    }

    /// Whether the server waits for an answer of this call's owner, so that its silence means nothing: it asked
    /// while the call ran, and whatever call carried the question runs on and was not cancelled.
    pub(super) fn awaits_owner(&self, n: u64) -> bool {
        let Some(owner) = self.calls.get(&n).map(|call| call.owner) else {
            return false;
        };
        self.asked.iter().any(|asked| {
            let carrier = |call| self.calls.get(&call).is_some_and(|call| !call.cancelled);
            asked.owner == owner && asked.at >= n && asked.call.is_none_or(carrier)
        })
    }

    /// The unanswered question under this id, which is then no more.
    fn take_asked(&mut self, id: &str, owner: Option<Owner>) -> Option<Asked> {
        let mine = |asked: &Asked| owner.is_none_or(|owner| asked.owner == owner);
        let found = |asked: &Asked| *asked.id == *id && mine(asked);
        let at = self.asked.iter().position(found)?;
        self.asked.remove(at)
    }

    fn forget(&mut self, n: u64) -> Option<Call> {
        let call = self.calls.remove(&n)?;
        let key = (call.owner, canonical(&call.id));
        if self.by_id.get(&key) == Some(&n) {
            self.by_id.remove(&key);
        }
        if call.left {
            self.left.retain(|left| *left != n);
        }
        Some(call)
    }

    fn own(&mut self, method: &str, key: &str, value: &str) -> Bytes {
        let n = self.begin_own();
        rewrite::own_request(n, method, key, value)
    }

    /// Number of a request of our own.
    fn begin_own(&mut self) -> u64 {
        self.last_call += 1;
        let call = Call {
            owner: Owner::NOBODY,
            id: "null".into(),
            token: None,
            purpose: Purpose::Own,
            may_ask: false,
            left: false,
            cancelled: false,
        };
        self.calls.insert(self.last_call, call);
        self.last_call
    }

    /// A question that only asks for a sign of life; its answer goes nowhere.
    pub(super) fn ping(&mut self) -> Bytes {
        let n = self.begin_own();
        rewrite::ping(n)
    }

    /// `None`: the server's level stays.
    fn shared_level(&mut self, owner: Owner, frame: &Frame) -> Option<SharedLevel> {
        let level = frame
            .param_str(&["level"])
            .and_then(|text| Level::parse(&text));
        match level {
            // Not a level: the server refuses it in its own words.
            None => Some(SharedLevel::Refusable),
            Some(level) => Some(SharedLevel::Change(self.ledger.want_level(owner, level)?)),
        }
    }

    /// `None`: the server need not hear of it.
    fn subscription(&mut self, owner: Owner, frame: &Frame) -> Option<Purpose> {
        let Some(uri) = frame.param_str(&["uri"]) else {
            return Some(Purpose::Plain);
        };
        let shared = self.sharing == Sharing::Shared;
        if frame.method() == method::UNSUBSCRIBE {
            let others = self.ledger.unsubscribe(owner, &uri);
            return (!(shared && others)).then_some(Purpose::Plain);
        }
        if shared && self.ledger.is_subscribed(&uri) {
            self.ledger.subscribe(owner, &uri);
            return None;
        }
        Some(Purpose::Subscribe(uri.into()))
    }
}

enum SharedLevel {
    Refusable,
    Change(Level),
}

/// Lists and settings run no code of a tool: what the server says meanwhile has another cause, and whoever asked
/// for a list does not expect questions.
fn may_ask(name: &str) -> bool {
    const QUIET: [&str; 12] = [
        method::INITIALIZE,
        method::PING,
        method::TOOLS_LIST,
        method::PROMPTS_LIST,
        method::RESOURCES_LIST,
        method::TEMPLATES_LIST,
        method::SKILLS_LIST,
        method::SUBSCRIBE,
        method::UNSUBSCRIBE,
        method::SET_LEVEL,
        method::TASKS_LIST,
        method::TASKS_GET,
    ];
    !QUIET.contains(&name)
}

fn stateless_purpose(frame: &Frame) -> Purpose {
    match frame.param(&["_meta", rewrite::LOG_LEVEL]) {
        Some(_) => Purpose::Logged,
        None => Purpose::Plain,
    }
}

fn with_level(frame: &Frame, n: u64, level: Level) -> Option<Bytes> {
    let raw = encode_str(level.as_str());
    let frame = rewrite::with_param_frame(frame, &["level"], &raw)?;
    rewrite::request(&frame, n)
}

/// One spelling for every way to write the same id.
fn canonical(raw: &str) -> Box<str> {
    if !raw.contains('\\') {
        return raw.into();
    }
    decode_str(raw).map_or_else(|| raw.into(), |text| encode_str(&text).into())
}

/// The number under which we sent a request. Some servers give a number back as a string, or with a fraction.
fn number(raw: &str) -> Option<u64> {
    let text = decode_str(raw).unwrap_or_else(|| raw.into());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let is_whole = fraction.bytes().all(|digit| digit == b'0');
    whole.parse().ok().filter(|_| is_whole)
}

/// Whether an answer says that a task goes on.
fn is_task(frame: &Frame) -> bool {
    let body = frame.body().unwrap_or_default();
    frame.kind() == Kind::Result && find_path(body, &["task", "taskId"]).is_some()
}

#[cfg(test)]
mod tests;
