//! What a session knows, as one serialisable struct. Pure: passivation, hand-over and restart are all this struct
//! in another place (`CONTINUITY.md` section 1).

use std::sync::Arc;

use lockgate_proto::id::ServerName;
use lockgate_proto::mcp::Revision;
use serde::{Deserialize, Serialize};

/// Requests of servers that one session may have open.
const ASKED_MAX: usize = 256;
/// Tasks remembered per session; the oldest goes first.
const TASKS_MAX: usize = 1024;

/// What was agreed when the session began. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hard {
    /// Agreed revision.
    pub revision: Revision,
    /// Capability bits (see [`super::id::capability`]).
    pub capability_bits: u8,
    /// Raw `ClientCapabilities`.
    pub capabilities: Arc<str>,
    /// Raw `Implementation` of the client.
    pub client_info: Arc<str>,
    /// Milliseconds since 1970.
    pub created_ms: u64,
}

/// A request of a server that waits for the client's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Id towards the client, and, if the server wants to hear of progress, the token of that, too.
    pub id: u64,
    /// Session at the server that it was asked on, by its number.
    pub far: u64,
    /// Raw id that the server used.
    pub server_id: String,
    /// Raw progress token that the server used.
    pub token: Option<String>,
    /// Call that it came with, by the serial of its claim; `None` from the listening stream.
    pub call: Option<u64>,
}

/// A task that a call of this session started (2025-11-25).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Task {
    id: String,
    server: ServerName,
    tool: String,
}

/// Everything about a session but its open streams and calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Fixed part.
    pub hard: Hard,
    /// How often the session's home changed or it woke, from 1.
    pub epoch: u32,
    /// Level of the last `logging/setLevel`, raw JSON.
    pub log_level: Option<String>,
    next_stream: u32,
    next_ask: u64,
    asked: Vec<Asked>,
    tasks: Vec<Task>,
    subscriptions: Vec<(ServerName, String)>,
}

impl State {
    /// A session that has just begun.
    pub fn new(hard: Hard) -> Self {
        Self {
            hard,
            epoch: 1,
            log_level: None,
            next_stream: 1,
            next_ask: 1,
            asked: Vec::new(),
            tasks: Vec::new(),
            subscriptions: Vec::new(),
        }
    }

    /// Number for a new stream.
    pub fn new_stream(&mut self) -> u32 {
        let id = self.next_stream;
        self.next_stream = self.next_stream.wrapping_add(1).max(1);
        id
    }

    /// Notes a server's request and returns its id towards the client. `None` when too many are open.
    ///
    /// Servers count their ids and tokens each for themselves; towards the client both are replaced by ours.
    pub fn ask(
        &mut self,
        far: u64,
        server_id: &str,
        token: Option<&str>,
        call: Option<u64>,
    ) -> Option<u64> {
        if self.asked.len() >= ASKED_MAX {
            return None;
        }
        let id = self.next_ask;
        self.next_ask += 1;
        let (server_id, token) = (server_id.to_owned(), token.map(str::to_owned));
        self.asked.push(Asked {
            id,
            far,
            server_id,
            token,
            call,
        });
        Some(id)
    }

    /// Takes the request that the client answers. `None` for an unknown or already answered id.
    pub fn answer(&mut self, raw_id: &str) -> Option<Asked> {
        let at = self
            .asked
            .iter()
            .position(|asked| asked.id.to_string() == raw_id)?;
        Some(self.asked.remove(at))
    }

    /// The server gave up its own request; returns the id towards the client.
    pub fn withdraw(&mut self, far: u64, server_id: &str) -> Option<u64> {
        let at = self
            .asked
            .iter()
            .position(|asked| asked.far == far && asked.server_id == server_id)?;
        Some(self.asked.remove(at).id)
    }

    /// Takes out what a call left open, when it has ended; gives the ids towards the client.
    pub fn forget_asked_by(&mut self, call: u64) -> Vec<u64> {
        let of_call = self.asked.extract_if(.., |asked| asked.call == Some(call));
        of_call.map(|asked| asked.id).collect()
    }

    /// Session that waits for the progress that the client reports under `token` (raw), and the token that its server
    /// used.
    pub fn progress_for(&self, token: &str) -> Option<(u64, &str)> {
        let mut asked = self.asked.iter();
        let asked = asked.find(|asked| asked.id.to_string() == token)?;
        Some((asked.far, asked.token.as_deref()?))
    }

    /// Notes a task and the tool that started it.
    pub fn note_task(&mut self, id: &str, server: ServerName, tool: &str) {
        if self.tasks.len() >= TASKS_MAX {
            self.tasks.remove(0);
        }
        self.tasks.push(Task {
            id: id.to_owned(),
            server,
            tool: tool.to_owned(),
        });
    }

    /// Who runs a task, and the tool that started it.
    pub fn task(&self, id: &str) -> Option<(ServerName, String)> {
        let task = self.tasks.iter().find(|task| task.id == id)?;
        Some((task.server.clone(), task.tool.clone()))
    }

    /// Notes a subscription to a URI as the server knows it.
    pub fn subscribe(&mut self, server: ServerName, uri: &str) {
        if !self
            .subscriptions
            .iter()
            .any(|(s, u)| *s == server && u == uri)
        {
            self.subscriptions.push((server, uri.to_owned()));
        }
    }

    /// Forgets a subscription.
    pub fn unsubscribe(&mut self, server: &ServerName, uri: &str) {
        self.subscriptions.retain(|(s, u)| s != server || u != uri);
    }

    /// What the client subscribed to at a server, by the server's own URIs.
    pub fn subscriptions(&self, server: &ServerName) -> impl Iterator<Item = &str> {
        let of_server = self.subscriptions.iter().filter(move |(s, _)| s == server);
        of_server.map(|(_, uri)| uri.as_str())
    }

    /// Whether a server has something to tell by itself.
    pub fn has_subscriptions(&self) -> bool {
        !self.subscriptions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new(Hard {
            revision: Revision::V2025_11_25,
            capability_bits: 0,
            capabilities: "{}".into(),
            client_info: "{}".into(),
            created_ms: 0,
        })
    }

    #[test]
    fn an_answer_is_taken_once() {
        let mut state = state();
        let id = state.ask(1, "7", None, Some(1)).unwrap();
        assert_eq!(state.answer(&id.to_string()).unwrap().server_id, "7");
        assert_eq!(state.answer(&id.to_string()), None);
    }

    #[test]
    fn equal_ids_of_two_servers_stay_apart() {
        let mut state = state();
        let a = state.ask(1, "1", None, None).unwrap();
        let b = state.ask(2, "1", None, None).unwrap();
        assert_ne!(a, b);
        assert_eq!(state.withdraw(2, "1"), Some(b));
        assert_eq!(state.answer(&a.to_string()).unwrap().far, 1);
    }

    #[test]
    fn equal_progress_tokens_of_two_servers_stay_apart() {
        let mut state = state();
        let a = state.ask(1, "1", Some("5"), None).unwrap().to_string();
        let b = state.ask(2, "1", Some("\"5\""), None).unwrap().to_string();
        let silent = state.ask(2, "2", None, None).unwrap().to_string();
        assert_eq!(state.progress_for(&a), Some((1, "5")));
        assert_eq!(state.progress_for(&b), Some((2, "\"5\"")));
        assert_eq!(state.progress_for(&silent), None);
        state.answer(&a);
        assert_eq!(state.progress_for(&a), None);
    }

    #[test]
    fn a_call_takes_its_questions_with_it() {
        let mut state = state();
        let id = state.ask(1, "1", Some("5"), Some(9)).unwrap().to_string();
        assert_eq!(state.forget_asked_by(9), [1]);
        assert_eq!(state.progress_for(&id), None);
        assert_eq!(state.answer(&id), None);
    }

    #[test]
    fn questions_are_bounded() {
        let mut state = state();
        for n in 0..ASKED_MAX {
            assert!(state.ask(1, &n.to_string(), None, None).is_some());
        }
        assert_eq!(state.ask(1, "x", None, None), None);
    }

    proptest::proptest! {
        #[test]
        fn survives_passivation(asks in proptest::collection::vec("[a-z0-9]{1,4}", 0..20), level in "[a-z]{0,6}") {
            let mut state = state();
            for ask in &asks {
                state.ask(1, ask, None, None);
                state.note_task(ask, "s".into(), "tool");
                state.subscribe("s".into(), ask);
            }
            state.log_level = Some(level);
            let bytes = bincode::serde::encode_to_vec(&state, bincode::config::standard()).unwrap();
            let (back, _): (State, usize) =
                bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
            proptest::prop_assert_eq!(back, state);
        }
    }
}
