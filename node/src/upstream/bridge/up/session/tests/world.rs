//! Callers, their sessions and the server, and what must hold whatever happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use lockgate_proto::jsonrpc::{Frame, Kind, Limits};
use proptest::sample::Index;
use tokio::time::sleep;

use super::super::Session;
use super::client::{Client, raw_id};
use super::ledger::{Ledger, Place, Reached};
use super::server::Server;
use super::setting::{self, CALLERS, LEVELS, Setting, WAIT};
use super::{End, Event};
use crate::upstream::CallClass;
use crate::upstream::copy::through_bytes;
use crate::upstream::link::{Outgoing, Reply};
use crate::upstream::shared::Shared;

/// Calls that a caller has at the same time at most.
const CALLS: usize = 2;
/// Time stands still while anybody has something to do: this is for the clock to say so.
const MOMENT: Duration = Duration::from_millis(1);
/// How long nobody looks when time passes.
const BLINK: Duration = Duration::from_millis(100);

pub(super) struct World {
    setting: Setting,
    shared: Arc<Shared>,
    server: Server,
    /// All that there have been, by number.
    sessions: Vec<Session>,
    /// Which of them is each caller's.
    current: Vec<usize>,
    /// Level of the log messages that each of the sessions wants.
    levels: BTreeMap<usize, &'static str>,
    clients: Vec<Client>,
    n_requests: usize,
    ledger: Ledger,
}

impl World {
    pub(super) async fn new(setting: Setting) -> Self {
        let shared = setting.server().await;
        let mut fars = Vec::new();
        let mut sessions = Vec::new();
        for by in 0..CALLERS.len() {
            if setting.lane(by) == fars.len() {
                fars.push(setting::connect(&shared, by).await);
            }
            sessions.push(setting::session(&shared, by, by).await);
        }
        Self {
            setting,
            shared,
            server: Server::new(setting, fars),
            current: (0..sessions.len()).collect(),
            sessions,
            levels: BTreeMap::new(),
            clients: Vec::new(),
            n_requests: 0,
            ledger: Ledger::default(),
        }
    }

    pub(super) async fn on(&mut self, event: Event, is_settled: bool) {
        match event {
            Event::Begin { by } => self.begin(by),
            Event::Tell(at) => self.at_server(at, Server::tell),
            Event::Ask(at, n) => self.at_server(at, |server, call| server.ask(call, n)),
            Event::AskTooMuch(at) => self.at_server(at, Server::ask_too_much),
            Event::Answer(at) => self.at_server(at, Server::answer),
            Event::Reply { by, at, accepts } => {
                let open = self.ledger.open_in(self.current[by]);
                if !open.is_empty() {
                    self.reply(by, at.get(&open).1, accepts);
                }
            }
            Event::Stray { by, at, accepts } => {
                let all = self.ledger.places();
                if !all.is_empty() {
                    self.reply(by, at.get(&all).1, accepts);
                }
            }
            Event::Cancel { by, at } => {
                if self.n_requests > 0 {
                    self.cancel(by, at.index(self.n_requests));
                }
            }
            Event::Leave(at) => {
                if !self.clients.is_empty() {
                    let client = at.index(self.clients.len());
                    self.clients.swap_remove(client).task.abort();
                }
            }
            Event::Look(at, reads) => {
                if !self.clients.is_empty() {
                    let client = at.index(self.clients.len());
                    self.clients[client].set_reading(reads);
                }
            }
            Event::Close { by } => self.close(by).await,
            Event::Gone { by } => self.move_lane(by).await,
            Event::Move { by } => self.move_session(by).await,
            Event::SetLevel { by, level } => self.set_level(by, LEVELS[level]).await,
            Event::Pause => self.pass(BLINK * 3).await,
            Event::Later => self.pass(WAIT / 3).await,
        }
        if is_settled {
            self.settle().await;
        }
        self.check(is_settled);
    }

    fn begin(&mut self, by: usize) {
        let mine = self.clients.iter().filter(|client| client.by == by);
        if mine.count() < CALLS {
            let (request, session) = (self.n_requests, self.current[by]);
            self.n_requests += 1;
            let level = self.levels.get(&session).copied();
            self.server.expect(request, by, level);
            let client = Client::send(&self.sessions[session], session, by, request);
            self.clients.push(client);
        }
    }

    /// In a call that waits for the server, if there is one.
    fn at_server(&mut self, at: Index, act: impl FnOnce(&mut Server, usize)) {
        self.hear();
        let open = self.server.open();
        if !open.is_empty() {
            act(&mut self.server, *at.get(&open));
        }
    }

    /// A client answers in its session a request of this id. The answer says who has given it.
    fn reply(&mut self, by: usize, id: u64, accepts: bool) {
        let body = if accepts {
            format!(r#""result":{{"action":"accept","content":{{"by":{by},"id":{id}}}}}"#)
        } else {
            r#""error":{"code":-1,"message":"no"}"#.to_owned()
        };
        let place: Place = (self.current[by], id);
        self.say(by, format!(r#"{{"jsonrpc":"2.0","id":{id},{body}}}"#));
        self.ledger.on_answer(place, accepts);
    }

    /// A client takes back in its session a request that somebody has sent.
    fn cancel(&mut self, by: usize, request: usize) {
        let id = raw_id(request);
        let method = "notifications/cancelled";
        self.say(
            by,
            format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"requestId":{id}}}}}"#),
        );
        let session = self.current[by];
        let mut clients = self.clients.iter();
        match clients.position(|client| (client.request, client.session) == (request, session)) {
            Some(at) => self.give_up(at),
            None => self.ledger.reach(Reached::CancelOfNothing),
        }
    }

    /// A client's session does not wait any more for the beginning of an answer; a stream ends by itself.
    fn give_up(&mut self, at: usize) {
        let client = &self.clients[at];
        self.ledger.cancelled.insert(client.request);
        if !client.is_streaming() && !client.task.is_finished() {
            self.clients.swap_remove(at).task.abort();
        }
    }

    fn say(&self, by: usize, text: String) {
        let frame = Frame::parse(text.into(), &Limits::default()).unwrap();
        self.sessions[self.current[by]].send(&frame);
    }

    /// A caller ends its session, and has another.
    async fn close(&mut self, by: usize) {
        let number = self.current[by];
        self.sessions[number].close().await;
        for at in (0..self.clients.len()).rev() {
            if self.clients[at].session == number {
                self.give_up(at);
            }
        }
        self.current[by] = self.sessions.len();
        let session = setting::session(&self.shared, by, self.sessions.len()).await;
        self.sessions.push(session);
    }

    /// A caller's session goes on at another node, from what was written on its own.
    async fn move_session(&mut self, by: usize) {
        self.settle().await;
        let number = self.current[by];
        let (mut mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.clients)
            .into_iter()
            .partition(|client| client.session == number);
        let mut streams = Vec::new();
        for client in &mut mine {
            streams.extend(client.put_down().await);
        }
        let session = self.sessions[number].clone();
        let (now_ms, before) = (session.now_ms(), Arc::downgrade(&session.inner));
        let state = through_bytes(&session.leave(streams).await);
        let (shared, key) = (Arc::clone(&self.shared), setting::key(by, number));
        let (session, streams) = Session::resume(shared, key, state, now_ms).await.unwrap();
        self.sessions[number] = session;
        assert_eq!(before.strong_count(), 0, "nothing is left of it elsewhere");
        self.clients = others;
        for stream in streams {
            let mut mine_left = mine.iter();
            let is_its = |client: &Client| raw_id(client.request) == stream.request_id();
            let client = mine_left.position(is_its).unwrap();
            let mut client = mine.swap_remove(client);
            client.go_on(stream);
            self.ledger.reach(Reached::Moved);
            self.clients.push(client);
        }
        for client in mine {
            let call = &self.server.calls[&client.request];
            // Of one whose client does not read, nobody has heard yet that it waits.
            let is_with_server = call.wants.is_none() || !client.is_reading();
            assert!(is_with_server, "a call that waits goes on: {call:?}");
        }
    }

    async fn set_level(&mut self, by: usize, level: &'static str) {
        // Whoever has begun to call goes by the level before.
        self.settle().await;
        let session = self.current[by];
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":"level","method":"logging/setLevel","params":{{"level":"{level}"}}}}"#
        );
        let frame = Frame::parse(text.into(), &Limits::default()).unwrap();
        let out = Outgoing::plain(frame, WAIT);
        let reply = self.sessions[session]
            .call(out, CallClass::Repeatable)
            .await;
        assert!(matches!(reply, Ok(Reply::Single { frame, .. }) if frame.kind() == Kind::Result));
        self.levels.insert(session, level);
    }

    /// The server's process ends, having read all, and another is there at once.
    async fn move_lane(&mut self, by: usize) {
        self.hear();
        let far = setting::connect(&self.shared, by).await;
        self.server.move_lane(self.setting.lane(by), far);
    }

    async fn pass(&mut self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(BLINK);
            sleep(step).await;
            self.hear();
            left -= step;
        }
    }

    /// Reads what clients and the server were sent.
    fn hear(&mut self) {
        for client in &self.clients {
            for (at, frame) in client.heard() {
                self.ledger.on_heard(client, at, &frame);
            }
        }
        for retried in self.server.hear() {
            let call = retried.call;
            let client = self.clients.iter().find(|client| client.request == call);
            // One that has left meanwhile asks nobody.
            if let Some(client) = client {
                self.ledger.on_retried(client.session, client.by, &retried);
            }
        }
    }

    /// Lets all happen that follows from what has happened.
    async fn settle(&mut self) {
        sleep(MOMENT).await;
        self.hear();
        let (over, running): (Vec<_>, Vec<_>) = std::mem::take(&mut self.clients)
            .into_iter()
            .partition(|client| client.task.is_finished());
        self.clients = running;
        for mut client in over {
            let result = (&mut client.task).now_or_never().unwrap().unwrap();
            let call = &self.server.calls[&client.request];
            self.ledger.on_end(&client, call, result);
        }
    }

    /// Sessions remember the calls that stream, and no others; the server works for those alone that wait.
    fn check(&self, is_settled: bool) {
        for (number, session) in self.sessions.iter().enumerate() {
            let known = remembered(session);
            let wakers: BTreeSet<u64> = session.inner.wakers.lock().keys().copied().collect();
            assert_eq!(known, wakers, "whoever is remembered can be woken");
            let calls: BTreeSet<u64> = session.inner.state.lock().calls.keys().copied().collect();
            assert_eq!(known, calls, "whoever is remembered can go on elsewhere");
            if is_settled {
                let mine = self
                    .clients
                    .iter()
                    .filter(|client| client.session == number);
                let n_streams = mine.filter(|client| client.is_streaming()).count();
                assert_eq!(known.len(), n_streams, "no call is left behind");
            }
        }
        if !is_settled {
            return;
        }
        for request in self.server.open() {
            let mut clients = self.clients.iter();
            let waits = clients.any(|client| client.request == request);
            assert!(waits, "the server works on {request} for nobody");
        }
        for client in self.clients.iter().filter(|client| client.is_reading()) {
            let call = &self.server.calls[&client.request];
            self.ledger
                .check_going_on(client.request, call, client.awake);
        }
    }

    /// Ends it, and returns what it has come to.
    pub(super) async fn end(mut self, end: End) -> Ledger {
        self.settle().await;
        match end {
            End::TimePasses => {}
            End::SessionsClose => {
                for by in 0..CALLERS.len() {
                    self.close(by).await;
                }
            }
            End::ClientsLeave => {
                for client in std::mem::take(&mut self.clients) {
                    client.task.abort();
                }
            }
        }
        for client in &mut self.clients {
            client.set_reading(true);
        }
        self.settle().await;
        self.check(true);
        if matches!(end, End::TimePasses) {
            // The client's time, and before it a pause, or the server's time.
            for _ in 0..4 {
                self.pass(WAIT / 3).await;
                self.settle().await;
                self.check(true);
            }
        }
        assert!(self.clients.is_empty(), "every call has ended");
        assert_eq!(self.server.open(), [0; 0]);
        assert_eq!(self.shared.calls.in_flight(), 0);
        assert_eq!(self.shared.endpoints[0].in_flight(), 0);
        for session in &self.sessions {
            assert_eq!(Arc::strong_count(&session.inner), 1, "the test alone");
        }
        self.ledger
    }
}

/// Calls that the state of a session holds.
fn remembered(session: &Session) -> BTreeSet<u64> {
    let state = serde_json::to_value(&session.inner.state.lock().rounds).unwrap();
    let calls = state["calls"].as_array().unwrap();
    let serials = calls.iter().map(|call| call["serial"].as_u64().unwrap());
    serials.collect()
}
