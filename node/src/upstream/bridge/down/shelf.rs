//! Where parked calls keep what is no data: the stream of their server, and their hold on the session.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::rand;
use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::Frame;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::seal::Sealer;
use crate::upstream::bridge::clock::{Clock, as_ms};
use crate::upstream::shared::Shared;

use super::call::{Allowance, Call};
use super::digest;
use super::hold::Hold;
use super::key::Key;
use super::parking::{Bearer, Parking, Refused, Resumed, Retry};
use super::room::{NoRoom, Seat, WaitingRoom};
use super::source::Source;
use super::ticket::Ticket;

/// A running call: its state, and what it runs on.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) call: Box<Call>,
    pub(super) line: Line,
}

/// What a call runs on.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) source: Source,
    pub(super) hold: Hold,
}

/// A retry that found its call.
#[derive(Debug)]
pub(super) enum Found {
    /// It goes on: `answers` are for the server.
    On(Running, Vec<Frame>),
    /// Answers are missing: the same question again.
    Again(Frame),
    /// It is over: what its client got already, with the HTTP status.
    Over { status: u16, frame: Frame },
}

/// The parked calls of one server.
#[derive(Debug)]
pub(super) struct Shelf {
    /// Without one, nothing can be parked: whoever serves no clients has none.
    room: Option<Arc<WaitingRoom>>,
    /// What one call may ask.
    pub(super) allowance: Allowance,
    life: u64,
    clock: Clock,
    state: Mutex<State>,
    /// Tells of every call that is taken out.
    taken: Notify,
}

#[derive(Debug)]
struct State {
    parking: Parking,
    lines: HashMap<u64, (Line, Seat)>,
}

impl Shelf {
    pub(super) fn new(room: Option<Arc<WaitingRoom>>) -> Self {
        let mut life = [0; 8];
        // Without randomness no state of ours may be believed: then none is sealed either.
        let room = room.filter(|_| rand::fill(&mut life).is_ok());
        let limits = room.as_ref().map(|room| room.limits).unwrap_or_default();
        let wait_ms = as_ms(limits.wait);
        // Where nothing can wait, any time will do.
        let clock = room
            .as_ref()
            .map_or_else(|| Clock::set_to(0), |room| room.clock);
        let life = u64::from_be_bytes(life);
        Self {
            room,
            life,
            allowance: Allowance::from(&limits),
            clock,
            state: Mutex::new(State {
                parking: Parking::new(life, wait_ms),
                lines: HashMap::new(),
            }),
            taken: Notify::new(),
        }
    }

    /// Calls of `server` wait here: states lead there.
    pub(super) fn open(&self, server: &Arc<Shared>) {
        if let Some(room) = &self.room {
            room.open(self.life, server);
        }
    }

    /// What time it is for all that this server's bridge knows.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Names what this server has given out: states, and ids of tasks.
    pub(super) fn life(&self) -> u64 {
        self.life
    }

    /// Where what clients are asked has its place.
    pub(super) fn room(&self) -> Option<&Arc<WaitingRoom>> {
        self.room.as_ref()
    }

    /// Where the task runs whose id names `life`, one of `server`'s. `None` where no such server is known here.
    pub(super) fn server(&self, server: &ServerName, life: u64) -> Option<Arc<Shared>> {
        let found = self.room.as_ref()?.server(life)?;
        (found.settings.name == *server).then_some(found)
    }

    /// The server has ended.
    pub(super) fn close(&self) {
        if let Some(room) = &self.room {
            room.close(self.life);
        }
    }

    /// Where the call waits that `text`, a `requestState` for `server`, belongs to. `None` for what was not made on this
    /// node, or by a server that has ended.
    pub(super) fn keeper(&self, server: &ServerName, text: &str) -> Option<Arc<Shared>> {
        let room = self.room.as_ref()?;
        let ticket = Ticket::open(&room.sealer, server, text)?;
        room.server(ticket.life)
    }

    /// Whether `text`, a `requestState` for `server`, was sealed by this cluster, as whatever and for whomever. Where
    /// that may be of use is a question of its own; to a server it says nothing.
    pub(super) fn is_sealed(&self, server: &ServerName, text: &str) -> bool {
        // What a node of the version before has sealed tells no more than whether it is a state for this server.
        let is_sealed =
            |sealer: &Sealer| sealer.is_own(text) || Ticket::open(sealer, server, text).is_some();
        self.room
            .as_ref()
            .is_some_and(|room| is_sealed(&room.sealer))
    }

    /// Parks a call that asks its client, and makes the question.
    ///
    /// # Errors
    ///
    /// Gives the call back when there is no place for it.
    pub(super) fn park(
        &self,
        running: Running,
        bearer: Bearer,
        server: &ServerName,
    ) -> Result<Frame, (Running, NoRoom)> {
        let Some(room) = &self.room else {
            return Err((running, NoRoom::Node));
        };
        let caller = digest::of_caller(&running.line.hold.owned.key.owner());
        let seat = match room.seat(caller, running.call.n_bytes()) {
            Ok(seat) => seat,
            Err(why) => return Err((running, why)),
        };
        let Running { call, line } = running;
        let Line { mut source, hold } = line;
        let info = hold.owned.server_info.clone();
        let question = |call: &Call, ticket: &Ticket| {
            let state = ticket.seal(&room.sealer, server);
            call.input_required(&call.turn.id, &state, info.as_deref())
        };
        let mut state = self.state.lock();
        let State { parking, lines } = &mut *state;
        let (id, question) = parking.park(self.clock.now_ms(), *call, bearer, question);
        // From here on it is the client who is waited for: neither a call in flight nor a measure of the server.
        source.settle_early();
        hold.pause();
        lines.insert(id, (Line { source, hold }, seat));
        Ok(question)
    }

    /// The call that `text`, a `requestState`, belongs to.
    ///
    /// # Errors
    ///
    /// `None` for what was not made here; otherwise see [`Refused`]. Nothing has changed then.
    pub(super) fn resume(
        &self,
        server: &ServerName,
        text: &str,
        retry: Retry<'_>,
    ) -> Result<Found, Option<Refused>> {
        let room = self.room.as_ref().ok_or(None)?;
        let ticket = Ticket::open(&room.sealer, server, text).ok_or(None)?;
        let mut state = self.state.lock();
        let State { parking, lines } = &mut *state;
        let info = lines
            .get(&ticket.call)
            .and_then(|(line, _)| line.hold.owned.server_info.clone());
        let question = |call: &Call, id: &str| call.input_required(id, text, info.as_deref());
        let resumed = parking.resume(self.clock.now_ms(), &ticket, retry, question);
        let resumed = resumed.map_err(Some)?;
        match resumed {
            Resumed::Again(question) => Ok(Found::Again(question)),
            Resumed::Over { status, frame } => Ok(Found::Over { status, frame }),
            Resumed::On { id, call, answers } => {
                let (mut line, _seat) = lines.remove(&id).ok_or(Some(Refused::Used))?;
                line.source.restart_silence();
                line.hold.go_on();
                self.taken.notify_waiters();
                Ok(Found::On(Running { call, line }, answers))
            }
        }
    }

    /// A call that had been parked is over: its client was given this answer, with an HTTP status, and may have lost it.
    pub(super) fn answered(&self, call: &Call, bearer: Bearer, answer: (u16, &Frame)) {
        self.state.lock().parking.answered(call, bearer, answer);
    }

    /// Takes out the longest parked call on a session of the caller and capabilities of `key`.
    pub(super) fn oldest_of(&self, key: &Key) -> Option<Running> {
        let mut state = self.state.lock();
        let State { parking, lines } = &mut *state;
        let mine = lines.iter();
        let mine = mine.filter(|(_, (line, _))| line.hold.owned.key.in_lane(0) == key.in_lane(0));
        let id = parking.oldest(mine.map(|(id, _)| *id))?;
        let call = Box::new(parking.take(id)?);
        let (line, _seat) = lines.remove(&id)?;
        line.hold.stop_waiting();
        self.taken.notify_waiters();
        Some(Running { call, line })
    }

    /// Takes out the calls whose clients did not come back.
    pub(super) fn expire(&self) -> Vec<Running> {
        let now_ms = self.clock.now_ms();
        self.take(|parking| parking.expire(now_ms))
    }

    /// Takes out all calls.
    pub(super) fn clear(&self) -> Vec<Running> {
        self.take(Parking::clear)
    }

    fn take(&self, which: impl FnOnce(&mut Parking) -> Vec<(u64, Call)>) -> Vec<Running> {
        let mut state = self.state.lock();
        let State { parking, lines } = &mut *state;
        let over = which(parking).into_iter();
        self.taken.notify_waiters();
        over.filter_map(|(id, call)| {
            let (line, _seat) = lines.remove(&id)?;
            line.hold.stop_waiting();
            let call = Box::new(call);
            Some(Running { call, line })
        })
        .collect()
    }

    /// Waits until nothing is parked.
    pub(super) async fn until_empty(&self) {
        loop {
            let mut taken = std::pin::pin!(self.taken.notified());
            // Registered before the look, so that the last call cannot go in between unseen.
            taken.as_mut().enable();
            if self.is_empty() {
                return;
            }
            taken.await;
        }
    }

    /// Whether nothing is parked.
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().parking.len() == 0
    }

    /// Whether nothing is parked, and no answer kept.
    pub(super) fn is_swept(&self) -> bool {
        let parking = &self.state.lock().parking;
        parking.len() == 0 && !parking.keeps_answers()
    }
}

#[cfg(test)]
pub(super) mod tests;
