//! Callers, the bridge and its server, and what must hold whatever happens to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use proptest::sample::Index;
use tokio::time::sleep;

use super::super::super::digest;
use super::super::super::owned::{Key, Owned, Turned};
use super::super::super::sweep::give_up;
use super::super::State;
use super::Event;
use super::client::{self, Answers, Caller, Client, Retry};
use super::ledger::Ledger;
use super::peer::Peer;
use super::setting::{CAPABILITIES, Setting, WAIT};
use crate::upstream::shared::Shared;

/// Longer than a call gathers questions.
const QUIET: Duration = Duration::from_millis(30);
/// Time stands still while anybody has something to do: this is for the clock to say so.
const MOMENT: Duration = Duration::from_millis(1);

/// How it all ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// Clients go away, or do not come back.
    TimePasses,
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
}

impl World {
    pub(super) async fn new(setting: Setting) -> Self {
        let shared = setting.server().await;
        let mut sessions = setting.sessions(&shared, 0).await;
        sessions.extend(setting.sessions(&shared, 1).await);
        Self {
            setting,
            shared,
            sessions,
            clients: Vec::new(),
            ledger: Ledger::default(),
            n_questions: 0,
        }
    }

    pub(super) async fn on(&mut self, event: Event, is_settled: bool) {
        match event {
            Event::Begin { by, side } => self.begin(by, side),
            Event::Ask(at) => {
                self.n_questions += 1;
                let question = self.n_questions;
                self.at_peer(at, |peer| peer.ask(question));
            }
            Event::TakeBack(at) => self.at_peer(at, Peer::take_back),
            Event::Tell(at) => self.at_peer(at, Peer::tell),
            Event::Answer(at) => self.at_peer(at, Peer::answer),
            Event::Gone(at) => self.at_peer(at, |peer| peer.go()),
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
        }
        if is_settled {
            self.settle().await;
        }
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
        if !is_busy {
            self.send(by, side, None);
        }
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

    /// As a caller does that needs one more session than it may have.
    fn abandon(&self, by: usize) {
        let down = &self.shared.down;
        let capabilities = down.registry.spelling(CAPABILITIES[0]);
        let key = Key::new(&Caller::new(by).owner(), capabilities);
        let oldest = down.shelf.oldest_of(&key);
        give_up(oldest.into_iter().collect(), "the client went on");
    }

    /// A server with a call, if there is one.
    fn at_peer(&mut self, at: Index, act: impl FnOnce(&mut Peer)) {
        self.hear();
        let peers = self.sessions.iter_mut().map(|(_, peer)| peer);
        let busy = peers.filter(|peer| !peer.is_gone() && peer.open_call().is_some());
        let mut busy: Vec<&mut Peer> = busy.collect();
        if !busy.is_empty() {
            let at = at.index(busy.len());
            act(busy.swap_remove(at));
        }
    }

    /// Lets all happen that follows from what has happened.
    async fn settle(&mut self) {
        sleep(MOMENT).await;
        self.hear();
        let room = self.shared.down.shelf.room().unwrap();
        let (over, running): (Vec<_>, Vec<_>) = std::mem::take(&mut self.clients)
            .into_iter()
            .partition(|client| client.task.is_finished());
        self.clients = running;
        for mut client in over {
            let reply = (&mut client.task).now_or_never().unwrap().unwrap();
            self.ledger.on_reply(&client, reply, room);
        }
    }

    fn hear(&mut self) {
        for (_, peer) in &mut self.sessions {
            for answered in peer.hear() {
                self.ledger.on_answered(peer.caller, answered);
            }
        }
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
            let is_over = peer.is_cancelled(self.ledger.origin(call));
            assert!(!is_over, "a call that waits has not ended");
        }
        assert_eq!(parking.len(), lines.len(), "a line without a call");
        let room = shelf.room().unwrap();
        assert_eq!(room.usage_by_caller(), expected);
        let usage = room.usage();
        let sum = |(calls, bytes), (more, heavier)| (calls + more, bytes + heavier);
        let sum = expected.into_values().fold((0, 0), sum);
        assert_eq!((usage.calls, usage.bytes), sum);
        for (owned, _) in self.sessions.iter().filter(|_| self.setting.in_turns) {
            let mut mine = lines.values();
            let is_parked = mine.any(|(line, _)| Arc::ptr_eq(&line.hold.owned, owned));
            let turn = owned.turn().now_or_never();
            let seems_parked = matches!(turn, Some(Turned::Parked));
            assert_eq!(seems_parked, is_parked, "others know who has the turn");
        }
    }

    pub(super) async fn end(mut self, end: End) {
        self.settle().await;
        match end {
            End::TimePasses => {
                for client in std::mem::take(&mut self.clients) {
                    client.task.abort();
                }
            }
            End::ServerIsRemoved => {
                // Those that run are cut off with their sessions; those that wait are told of.
                let waiting = self.waiting_calls();
                self.shared.down.end().await;
                self.hear();
                for (session, request) in waiting {
                    let is_open = self.sessions[session].1.is_open(request);
                    assert!(!is_open, "a call that waited has ended");
                }
            }
        }
        // Until its expiry, and the sweep after it; a call that is given up may have its server's whole patience.
        for _ in 0..5 {
            sleep(WAIT / 3).await;
            self.settle().await;
            self.check();
        }
        self.check_end(end);
    }

    /// Calls that wait for their clients at servers that are there, by session and first request.
    fn waiting_calls(&self) -> Vec<(usize, usize)> {
        let state = self.shared.down.shelf.state.lock();
        let numbers = state.parking.iter().map(|(id, call)| {
            let owned = &state.lines[&id].0.hold.owned;
            let mut sessions = self.sessions.iter();
            let session = sessions.position(|(other, _)| Arc::ptr_eq(owned, other));
            (session.unwrap(), self.ledger.origin(call))
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
        let is_kept = matches!(end, End::TimePasses);
        for (owned, peer) in self.sessions.iter().filter(|_| is_kept) {
            let users = Arc::strong_count(owned) - 2;
            assert_eq!(users, 0, "nobody but the registry and the test");
            let turn = owned.turn().now_or_never();
            assert!(matches!(turn, Some(Turned::Go(_))), "nobody has the turn");
            let open = peer.open_call().filter(|_| !peer.is_gone());
            assert_eq!(open, None, "every call has ended");
        }
    }
}
