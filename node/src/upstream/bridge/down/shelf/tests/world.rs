//! Callers, the bridge and its server, and what must hold whatever happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use proptest::sample::Index;
use tokio::time::sleep;

use super::Event;
use super::client::{self, Answers, Caller, Client, Reply, Retry};
use super::ledger::Ledger;
use super::peer::{FORM, Peer, ROOTS};
use super::reached::Reached;
use super::setting::{CAPABILITIES, QUIET, Setting, Sharing, WAIT};
use crate::error::UpstreamError;
use crate::upstream::bridge::down::digest;
use crate::upstream::bridge::down::key::Key;
use crate::upstream::bridge::down::owned::{Owned, Turned};
use crate::upstream::bridge::down::shelf::State;
use crate::upstream::bridge::down::sweep::give_up;
use crate::upstream::copy::through_bytes;
use crate::upstream::shared::Shared;

/// Time stands still while anybody has something to do: this is for the clock to say so.
const MOMENT: Duration = Duration::from_millis(1);

/// Thirds of a call's wait until everything is over: a call may wait for its turn in each of three sessions, be begun,
/// and be given up, each for as long as its server may be silent.
const LAST_THIRDS: usize = 12;

/// How it all ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// Nobody does anything more.
    TimePasses,
    /// Clients go away, or do not come back.
    ClientsLeave,
    /// Whoever runs the gateway takes the server out.
    ServerIsRemoved,
}

pub(super) struct World {
    setting: Setting,
    shared: Arc<Shared>,
    sessions: Vec<(Arc<Owned>, Peer)>,
    clients: Vec<Client>,
    ledger: Ledger,
    n_questions: u64,
    pub(super) reached: Reached,
}

impl World {
    pub(super) async fn new(setting: Setting) -> Self {
        let shared = setting.server().await;
        let reached = Reached::default();
        let mut sessions = setting.sessions(&shared, 0, &reached).await;
        sessions.extend(setting.sessions(&shared, 1, &reached).await);
        Self {
            setting,
            shared,
            sessions,
            clients: Vec::new(),
            ledger: Ledger::new(reached.clone()),
            n_questions: 0,
            reached,
        }
    }

    pub(super) async fn on(&mut self, event: Event, is_settled: bool) {
        match event {
            Event::Begin { by, side } => self.begin(by, side),
            Event::Ask { at, is_roots } => self.ask(at, is_roots, is_settled).await,
            Event::TakeBack(at) => self.at_call(at, |peer, _| peer.take_back()),
            Event::Tell(at) => self.at_call(at, |peer, _| peer.tell()),
            Event::Answer(at) => self.at_call(at, Peer::answer),
            Event::Gone(at) => self.at_call(at, |peer, _| peer.go()),
            Event::Leave(at) => {
                if !self.clients.is_empty() {
                    let client = at.index(self.clients.len());
                    self.clients.swap_remove(client).task.abort();
                }
            }
            Event::Abandon { by } => self.abandon(by),
            Event::Retry {
                state,
                by,
                side,
                answers,
            } => {
                if !self.ledger.rounds.is_empty() {
                    let round = state.index(self.ledger.rounds.len());
                    self.retry(round, (by, side), answers, is_settled).await;
                }
            }
            Event::Resume(state, answers) => {
                let waiting: Vec<usize> = (0..self.ledger.rounds.len())
                    .filter(|round| self.is_waiting(*round))
                    .collect();
                if !waiting.is_empty() {
                    let round = *state.get(&waiting);
                    let asked = &self.ledger.rounds[round];
                    let who = (asked.by, asked.side);
                    self.retry(round, who, answers, is_settled).await;
                }
            }
            Event::Quiet => sleep(QUIET).await,
            Event::Later => sleep(WAIT / 3).await,
            Event::Expiry => self.expiry().await,
            Event::Written => self.write(),
        }
        if is_settled {
            self.settle().await;
        }
        self.hear();
        self.check();
    }

    fn begin(&mut self, by: usize, side: usize) {
        let is_busy = self
            .clients
            .iter()
            .any(|client| (client.by, client.side) == (by, side))
            || (0..self.ledger.rounds.len()).any(|round| {
                let asked = &self.ledger.rounds[round];
                (asked.by, asked.side) == (by, side) && self.is_waiting(round)
            });
        if !is_busy && !self.would_blur(by, side) {
            self.send(by, side, None);
        }
    }

    /// Whether a call would share its session with one that waits, whose client has left without its question: where
    /// sessions are not shared, a question says by its stream whose it is, and a channel has but one.
    fn would_blur(&self, by: usize, side: usize) -> bool {
        let (_, capabilities) = self.setting.lane_of(side);
        let spelling = self
            .shared
            .down
            .registry
            .spelling(CAPABILITIES[capabilities]);
        let key = Key::new(&Caller::new(by).owner(), spelling);
        let state = self.shared.down.shelf.state.lock();
        let mut waiting = state.lines.values().map(|(line, _)| &line.hold.owned.key);
        self.setting.sharing == Sharing::OwnSessions && waiting.any(|other| other.in_lane(0) == key)
    }

    fn send(&mut self, by: usize, side: usize, retry: Option<Retry>) {
        let request = self.ledger.request();
        let mut more = String::new();
        let mut call_side = side;
        if let Some(retry) = retry {
            let round = &self.ledger.rounds[retry.round];
            more = retry.answers.members(&round.state, &round.keys, request);
            call_side = round.side;
            self.ledger.note_retry(request, by, retry);
        }
        let out = client::request(self.setting, side, request, &more);
        let task = client::send(&self.shared, Caller::new(by), out);
        self.clients.push(Client {
            request,
            by,
            side: call_side,
            retry,
            task,
        });
    }

    async fn retry(
        &mut self,
        round: usize,
        (by, side): (usize, usize),
        answers: Answers,
        is_settled: bool,
    ) {
        let asked = &self.ledger.rounds[round];
        let is_like = self.setting.are_alike || side == asked.side;
        let retry = Retry {
            round,
            is_own: by == asked.by && is_like,
            is_late: self.is_over(round),
            is_after: asked.is_last,
            answers,
        };
        let goes_on = retry.is_own && answers.suffice();
        // One that is still on its way may go on before this one.
        let mut others = self.clients.iter().filter_map(|client| client.retry);
        let is_first = others.all(|other| other.round != round);
        let was_waiting = is_first && self.is_waiting(round);
        self.send(by, side, Some(retry));
        if !is_settled {
            return;
        }
        self.settle().await;
        if was_waiting && !self.is_over(round) {
            assert_eq!(
                self.is_waiting(round),
                !goes_on,
                "a call goes on when its own caller answers, and for nothing else: {retry:?}"
            );
        }
    }

    async fn expiry(&self) {
        let shelf = &self.shared.down.shelf;
        let first = {
            let state = shelf.state.lock();
            let ends = state.parking.iter().map(|(_, call)| call.expires_ms);
            ends.min()
        };
        let left_ms = first.map_or(0, |first| first.saturating_sub(shelf.clock.now_ms()));
        sleep(Duration::from_millis(left_ms)).await;
    }

    fn write(&self) {
        let mut state = self.shared.down.shelf.state.lock();
        state.parking = through_bytes(&state.parking);
        for (owned, peer) in &self.sessions {
            owned.copy();
            peer.copy();
        }
    }

    /// As a caller does that needs one more session than it may have.
    fn abandon(&self, by: usize) {
        let down = &self.shared.down;
        let capabilities = down.registry.spelling(CAPABILITIES[0]);
        let key = Key::new(&Caller::new(by).owner(), capabilities);
        let oldest = down.shelf.oldest_of(&key);
        give_up(oldest.into_iter().collect(), "the client went on");
    }

    /// A call at its server, if there is one.
    fn at_call(&mut self, at: Index, act: impl FnOnce(&mut Peer, u64)) {
        self.hear();
        let mut calls = Vec::new();
        for (session, peer) in self.there() {
            calls.extend(peer.open_calls().map(|n| (session, n)));
        }
        if !calls.is_empty() {
            let (session, n) = *at.get(&calls);
            act(&mut self.sessions[session].1, n);
        }
    }

    /// A server asks: for roots also while it has no call. Whose question it is is certain only where nothing else is
    /// on its way.
    async fn ask(&mut self, at: Index, is_roots: bool, is_alone: bool) {
        if is_alone {
            self.settle().await;
        }
        self.hear();
        let needs_call = !is_roots || !self.setting.sharing.asks_apart();
        let can_ask = self.there();
        let can_ask = can_ask.filter(|(_, peer)| !needs_call || peer.open_calls().next().is_some());
        let can_ask: Vec<usize> = can_ask.map(|(session, _)| session).collect();
        if can_ask.is_empty() {
            return;
        }
        let session = *at.get(&can_ask);
        self.n_questions += 1;
        let method = if is_roots { ROOTS } else { FORM };
        let running = is_alone.then(|| self.running(session));
        let (_, peer) = &mut self.sessions[session];
        peer.ask(self.n_questions, method, running);
    }

    /// The servers that are not gone.
    fn there(&self) -> impl Iterator<Item = (usize, &Peer)> {
        let peers = self.sessions.iter().map(|(_, peer)| peer);
        peers.enumerate().filter(|(_, peer)| !peer.is_gone())
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
            let reply = (&mut client.task).now_or_never().unwrap().unwrap();
            self.on_reply(&client, &reply);
        }
        for (_, peer) in &self.sessions {
            peer.check_prompt();
        }
        for client in &self.clients {
            let origin = self.ledger.origin_of(client.request);
            if let Some((peer, n)) = self.sent(origin) {
                let waits = peer.is_open(n) && !peer.is_gone();
                assert!(waits, "whoever waits has a call: {client:?}");
            }
        }
    }

    fn on_reply(&mut self, client: &Client, (at, reply): &Reply) {
        let n_rounds = self.ledger.rounds.len();
        let room = self.shared.down.shelf.room().unwrap();
        self.ledger.on_reply(client, reply, room);
        let origin = self.ledger.origin_of(client.request);
        if let Some(round) = self.ledger.rounds.get(n_rounds) {
            for question in &round.questions {
                let mut peers = self.sessions.iter().map(|(_, peer)| peer);
                let peer = peers.find(|peer| peer.has_asked(*question)).unwrap();
                peer.check_put(*question, origin);
            }
            return;
        }
        match reply {
            Ok(frame) if frame.body_member(&["requestState"]).is_some() => {}
            Ok(frame) => {
                let (peer, n) = self.sent(origin).expect("an answer is a server's");
                let words = peer.words(n);
                let text = frame.text();
                assert!(text.contains(&words), "{words} is not in {text}");
            }
            Err(UpstreamError::StateRefused { .. } | UpstreamError::InputRefused { .. }) => {}
            Err(error) => {
                let Some((peer, n)) = self.sent(origin).filter(|(peer, _)| !peer.is_gone()) else {
                    return;
                };
                // Of two things at one moment either may be the first.
                let is_silence = matches!(error, UpstreamError::Timeout { .. });
                let answered = peer.answered_at(n);
                let is_lost = answered.is_some_and(|answered| answered < *at || !is_silence);
                assert!(!is_lost, "the answer is lost: {error}");
            }
        }
    }

    /// Where the call is that `request` has begun, if it was sent.
    fn sent(&self, request: usize) -> Option<(&Peer, u64)> {
        let mut peers = self.sessions.iter().map(|(_, peer)| peer);
        peers.find_map(|peer| Some((peer, peer.number(request)?)))
    }

    fn hear(&mut self) {
        for (_, peer) in &mut self.sessions {
            for answered in peer.hear() {
                self.ledger.on_answered(peer.caller, answered);
            }
        }
        for session in 0..self.sessions.len() {
            let running = self.running(session);
            self.sessions[session].1.note_running(&running);
        }
    }

    /// The calls of a session that do not wait for their clients.
    fn running(&self, session: usize) -> BTreeSet<u64> {
        let (owned, peer) = &self.sessions[session];
        let state = self.shared.down.shelf.state.lock();
        let calls = state.parking.iter();
        let mine = calls.filter(|(id, _)| Arc::ptr_eq(&state.lines[id].0.hold.owned, owned));
        let waiting = mine.filter_map(|(_, call)| peer.number(self.ledger.origin(call)));
        let waiting: BTreeSet<u64> = waiting.collect();
        peer.open_calls().filter(|n| !waiting.contains(n)).collect()
    }

    /// Whether a call waits for the answer to this question.
    fn is_waiting(&self, round: usize) -> bool {
        let ticket = &self.ledger.rounds[round].ticket;
        let state = self.shared.down.shelf.state.lock();
        let mut calls = state.parking.iter();
        calls.any(|(id, call)| (id, call.round) == (ticket.call, ticket.round))
    }

    /// Whether the time for its answer is over.
    fn is_over(&self, round: usize) -> bool {
        self.ledger.rounds[round].ticket.expires_ms <= self.shared.down.shelf.clock.now_ms()
    }

    /// Every parked call has its line and its seat, and there is no other line or seat.
    fn check(&self) {
        let shelf = &self.shared.down.shelf;
        let state = shelf.state.lock();
        let State { parking, lines } = &*state;
        let mut expected = BTreeMap::<_, (usize, usize)>::new();
        for (id, call) in parking.iter() {
            let Some((line, _)) = lines.get(&id) else {
                panic!("call {id} has no line");
            };
            let owned = &line.hold.owned;
            let share = expected.entry(digest::of_caller(&owned.key.owner()));
            let share = share.or_default();
            *share = (share.0 + 1, share.1 + call.n_bytes());
            let mut sessions = self.sessions.iter();
            let session = sessions.find(|(other, _)| Arc::ptr_eq(owned, other));
            let (_, peer) = session.unwrap();
            let n = peer.number(self.ledger.origin(call));
            let is_over = n.is_some_and(|n| peer.is_cancelled(n));
            assert!(!is_over, "a call that waits has not ended");
        }
        assert_eq!(parking.len(), lines.len(), "a line without a call");
        let room = shelf.room().unwrap();
        assert_eq!(room.usage_by_caller(), expected);
        let usage = room.usage();
        let sum = |(calls, bytes), (more, heavier)| (calls + more, bytes + heavier);
        let sum = expected.into_values().fold((0, 0), sum);
        assert_eq!((usage.calls, usage.bytes), sum);
        for (owned, _) in self.sessions.iter().filter(|(owned, _)| owned.has_turns()) {
            let mut mine = lines.values().map(|(line, _)| &line.hold);
            let is_parked = mine.any(|hold| hold.has_turn() && Arc::ptr_eq(&hold.owned, owned));
            let turn = owned.turn().now_or_never();
            let seems_parked = matches!(turn, Some(Turned::Parked));
            assert_eq!(seems_parked, is_parked, "others know who has the turn");
        }
    }

    pub(super) async fn end(mut self, end: End) {
        self.settle().await;
        match end {
            End::TimePasses => {}
            End::ClientsLeave => {
                for client in std::mem::take(&mut self.clients) {
                    client.task.abort();
                }
            }
            End::ServerIsRemoved => {
                // Those that run are cut off with their sessions; those that wait are told of.
                let waiting = self.waiting_calls();
                self.shared.down.end().await;
                self.hear();
                for (session, n) in waiting {
                    let is_open = self.sessions[session].1.is_open(n);
                    assert!(!is_open, "a call that waited has ended");
                }
            }
        }
        for _ in 0..LAST_THIRDS {
            sleep(WAIT / 3).await;
            self.settle().await;
            self.check();
        }
        self.check_end(end);
    }

    /// Calls that wait for their clients at servers that are there, by session and number.
    fn waiting_calls(&self) -> Vec<(usize, u64)> {
        let state = self.shared.down.shelf.state.lock();
        let numbers = state.parking.iter().filter_map(|(id, call)| {
            let owned = &state.lines[&id].0.hold.owned;
            let mut sessions = self.sessions.iter();
            let session = sessions.position(|(other, _)| Arc::ptr_eq(owned, other));
            let session = session.unwrap();
            let n = self.sessions[session].1.number(self.ledger.origin(call));
            Some((session, n?))
        });
        let there = numbers.filter(|(session, _)| !self.sessions[*session].1.is_gone());
        there.collect()
    }

    fn check_end(&self, end: End) {
        assert!(self.clients.is_empty(), "every request has ended");
        assert!(self.shared.down.shelf.is_swept());
        let room = self.shared.down.shelf.room().unwrap();
        assert_eq!((room.usage().calls, room.usage().bytes), (0, 0));
        assert!(room.usage_by_caller().is_empty());
        assert_eq!(self.shared.calls.in_flight(), 0);
        assert_eq!(self.shared.endpoints[0].in_flight(), 0);
        let is_kept = !matches!(end, End::ServerIsRemoved);
        for (owned, peer) in self.sessions.iter().filter(|_| is_kept) {
            let users = Arc::strong_count(owned) - 2;
            assert_eq!(users, 0, "nobody but the registry and the test");
            let turn = owned.turn().now_or_never();
            assert!(matches!(turn, Some(Turned::Go(_))), "nobody has the turn");
            if peer.is_gone() {
                continue;
            }
            let open = peer.open_calls().next();
            assert_eq!(open, None, "every call has ended");
            let unanswered = peer.unanswered();
            assert!(unanswered.is_empty(), "no answer to {unanswered:?}");
        }
    }
}
