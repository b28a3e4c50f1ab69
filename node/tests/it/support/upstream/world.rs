//! What the server remembers, and how it behaves.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

/// How `tools/call` is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As it should be.
    #[default]
    Serve,
    /// Executed, never answered.
    Hang,
    /// Executed, answered with something that is no MCP.
    Garbage,
    /// Executed, answered without end.
    Flood,
    /// Executed, and the connection breaks.
    DieAfterExecuting,
    /// Not executed, refused with this status.
    Refuse(u16),
}

/// What a test lets a scripted call say.
#[derive(Clone, Debug)]
pub(crate) enum Push {
    /// A progress notification.
    Progress(u64),
    /// The answer, with this text.
    Answer(&'static str),
    /// A message as it stands.
    Raw(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) mode: Mutex<Mode>,
    pub(super) executed: Mutex<HashMap<String, usize>>,
    pub(super) sessions: Mutex<HashSet<String>>,
    opened: AtomicUsize,
    /// Sessions are opened, and the answers that say so are held back.
    pub(super) holds_openings: watch::Sender<bool>,
    /// GET is refused: there are no streams beside the calls.
    pub(super) is_mute: AtomicBool,
    /// GET streams by session.
    pub(super) listeners: Mutex<HashMap<String, mpsc::Sender<String>>>,
    pub(super) scripts: Mutex<VecDeque<mpsc::Receiver<Push>>>,
    /// The same for whole methods.
    pub(super) streams: Mutex<HashMap<String, mpsc::Receiver<Push>>>,
    /// A capability, and the tool that it brings.
    pub(super) special: Mutex<Option<(Box<str>, Box<str>)>>,
    /// Sessions whose client declared it.
    pub(super) favoured: Mutex<HashSet<String>>,
    pub(super) answer: Mutex<Option<Box<str>>>,
    pub(super) answers_once: Mutex<VecDeque<Box<str>>>,
    /// Capabilities in the place of its usual ones.
    pub(super) capabilities: Mutex<Option<Value>>,
    /// Raw members of answers, by method; the last stays.
    pub(super) replies: Mutex<HashMap<String, VecDeque<Box<str>>>>,
    pub(super) bodies: Mutex<HashMap<String, Bytes>>,
    /// Messages by method, whether they were executed or not.
    pub(super) received: Mutex<HashMap<String, usize>>,
    /// Those of the last request of each method.
    pub(super) headers: Mutex<HashMap<String, http::HeaderMap>>,
}

impl World {
    pub(super) fn knows(&self, session: &str) -> bool {
        self.sessions.lock().contains(session)
    }

    pub(super) fn open_session(&self) -> String {
        let id = Self::session_id(self.opened.fetch_add(1, Ordering::Relaxed));
        self.sessions.lock().insert(id.clone());
        id
    }

    pub(super) fn session_id(number: usize) -> String {
        format!("upstream-{number}")
    }

    pub(super) fn sessions_opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// What the test wants this method to be answered.
    pub(super) fn reply(&self, method: &str) -> Option<Box<str>> {
        let mut replies = self.replies.lock();
        let queue = replies.get_mut(method)?;
        if queue.len() > 1 {
            queue.pop_front()
        } else {
            queue.front().cloned()
        }
    }

    pub(super) fn execute(&self, key: &str) {
        *self.executed.lock().entry(key.to_owned()).or_default() += 1;
    }
}
