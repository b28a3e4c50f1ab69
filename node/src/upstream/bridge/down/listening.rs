//! One client's `subscriptions/listen`, as data: messages of the server in, messages for the client out. No channel, no
//! clock.
//!
//! ```text
//! begun ──► acknowledged ──► telling ─┬─[update of a resource]──► told at once
//!                              │ ▲    └─[a list changes]──► due ──[its time]──► told once
//!                              │ └───────────────────────────────────────────────┘
//!                              └──[end]──► goodbye
//! ```

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};

use lockgate_proto::jsonrpc::{Frame, decode_str, elements, encode_str, find_path};
use lockgate_proto::mcp::method;
use serde::{Deserialize, Serialize};

use crate::upstream::subscription::{self, NAMED_MAX, tagged};

use super::answer;
use super::kept::Kept;

/// Changes of one list within this are told once: servers tell them in bursts, above all when a session begins. In
/// milliseconds.
const DEBOUNCE_MS: u64 = 100;

/// Kinds of lists: flag of the filter, capability, notification.
const KINDS: [(&str, &str, &str); 3] = [
    ("toolsListChanged", "tools", method::TOOLS_CHANGED),
    ("promptsListChanged", "prompts", method::PROMPTS_CHANGED),
    (
        "resourcesListChanged",
        "resources",
        method::RESOURCES_CHANGED,
    ),
];

/// What one listen knows. Its owner says what time it is, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listening {
    /// Raw id of the listen request.
    id: Box<str>,
    honoured: [bool; 3],
    /// Resources that are followed: the owner adds each to which it has subscribed, before the acknowledgement.
    pub(super) uris: Vec<String>,
    /// Lists that have changed, and when that is told.
    changed: [bool; 3],
    due_ms: Option<u64>,
    /// Messages for the client, the next one first.
    out: VecDeque<Kept>,
    is_over: bool,
}

impl Listening {
    /// Honours what `request` wants of the lists whose changes the server tells. `introduction`: its raw
    /// `InitializeResult`; `None` when it has no stream to tell them on. Returns the resources, too, that it has to be
    /// asked for.
    pub(super) fn begin(request: &Frame, introduction: Option<&str>) -> (Self, Vec<String>) {
        let offers = |capability: &str, what: &str| {
            introduction.is_some_and(|introduction| {
                find_path(introduction, &["capabilities", capability, what])
                    .is_some_and(|span| span.of(introduction) == "true")
            })
        };
        let wants = |flag: &str| {
            let value = request.param(&["notifications", flag]);
            value.is_some_and(|span| span.of(request.text()) == "true")
        };
        let listening = Self {
            id: request.id().unwrap_or("null").into(),
            honoured: KINDS
                .map(|(flag, capability, _)| wants(flag) && offers(capability, "listChanged")),
            uris: Vec::new(),
            changed: [false; 3],
            due_ms: None,
            out: VecDeque::new(),
            is_over: false,
        };
        let mut wanted = Vec::new();
        if offers("resources", "subscribe") {
            wanted = wanted_uris(request);
        }
        (listening, wanted)
    }

    /// Tells the client what it will hear of: all that was honoured, and the resources that are followed.
    pub(super) fn acknowledge(&mut self) {
        let flags = KINDS.iter().zip(self.honoured);
        let mut honoured: Vec<String> = flags
            .filter(|(_, honoured)| *honoured)
            .map(|((flag, _, _), _)| format!(r#""{flag}":true"#))
            .collect();
        if !self.uris.is_empty() {
            let uris: Vec<String> = self.uris.iter().map(|uri| encode_str(uri)).collect();
            honoured.push(format!(r#""resourceSubscriptions":[{}]"#, uris.join(",")));
        }
        let more = format!(r#","notifications":{{{}}}"#, honoured.join(","));
        self.push_own(method::LISTEN_ACKNOWLEDGED, &more);
    }

    /// A notification of the server. The next one is heard when all that came out of this one is taken.
    pub(super) fn on_message(&mut self, frame: &Frame, now_ms: u64) {
        if self.is_over {
            return;
        }
        // A server that never stops telling leaves its listener no moment to look at the time.
        self.on_time(now_ms);
        let name = frame.method();
        if name == method::RESOURCE_UPDATED {
            let uri = frame.param_str(&["uri"]).unwrap_or_default();
            if self.uris.iter().any(|known| *known == *uri) {
                self.out.extend(tagged(frame, &self.id).map(Kept));
            }
            return;
        }
        let kind = KINDS.iter().position(|(_, _, changed)| *changed == name);
        if let Some(at) = kind.filter(|at| self.honoured[*at]) {
            self.changed[at] = true;
            self.is_due_after(now_ms);
        }
    }

    /// Nobody heard the server for a while: anything may have changed.
    pub(super) fn on_gap(&mut self, now_ms: u64) {
        if self.is_over {
            return;
        }
        // As above: who falls behind all the time hears of nothing but gaps.
        self.on_time(now_ms);
        self.changed = self.honoured;
        if self.changed.contains(&true) {
            self.is_due_after(now_ms);
        }
        let uris: Vec<String> = self.uris.iter().map(|uri| encode_str(uri)).collect();
        for uri in uris {
            self.push_own(method::RESOURCE_UPDATED, &format!(r#","uri":{uri}"#));
        }
    }

    /// Time has passed: tells which lists have changed, when that is due.
    pub(super) fn on_time(&mut self, now_ms: u64) {
        if self.due_ms.is_none_or(|due_ms| due_ms > now_ms) {
            return;
        }
        self.due_ms = None;
        for ((_, _, method), changed) in KINDS.iter().zip(std::mem::take(&mut self.changed)) {
            if changed {
                self.push_own(method, "");
            }
        }
    }

    /// When [`Self::on_time`] has something to do.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// The server's session has ended: a goodbye is the last that comes out.
    pub(super) fn end(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.due_ms = None;
        self.changed = [false; 3];
        let goodbye = answer::own(&format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"complete",{}}}}}"#,
            self.id,
            self.meta()
        ));
        self.out.push_back(Kept(goodbye));
    }

    /// Whether it has ended: what can be taken out still is the last.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes out the next message for the client.
    pub(super) fn take(&mut self) -> Option<Frame> {
        self.out.pop_front().map(|kept| kept.0)
    }

    fn is_due_after(&mut self, now_ms: u64) {
        self.due_ms
            .get_or_insert_with(|| now_ms.saturating_add(DEBOUNCE_MS));
    }

    /// `more`: raw members of its params beside `_meta`, each after a comma.
    fn push_own(&mut self, method: &str, more: &str) {
        let own = answer::own(&format!(
            r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{}{more}}}}}"#,
            self.meta()
        ));
        self.out.push_back(Kept(own));
    }

    fn meta(&self) -> String {
        format!(r#""_meta":{{"{}":{}}}"#, subscription::KEY, self.id)
    }
}

/// Each URI once, as far as a listen may name any.
fn wanted_uris(request: &Frame) -> Vec<String> {
    let Some(span) = request.param(&["notifications", "resourceSubscriptions"]) else {
        return Vec::new();
    };
    let raw = span.of(request.text());
    let mut known = HashSet::new();
    elements(raw)
        .take(NAMED_MAX)
        .filter_map(|span| decode_str(span.of(raw)))
        .filter(|uri| known.insert(uri.clone()))
        .map(Cow::into_owned)
        .collect()
}

#[cfg(test)]
mod tests;
