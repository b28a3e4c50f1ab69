//! What the requests of one session share. Everything here is claimed or read synchronously: no message, no await.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use lockgate_proto::id::ServerName;
use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::call::Caller;
use crate::config;
use crate::error::CallError;
use crate::upstream::{BoundSession, UpstreamHandle};

use super::actor::SessionRef;
use super::claim::{Claim, InFlight};
use super::ended::EndedBytes;
use super::event_id::{EventId, StreamId};
use super::id::SessionKey;
use super::own::OwnLists;
use super::review::own_server;
use super::state::{Asked, State};
use super::stream::{Reader, StreamLog};

/// A far end, opened once, by whoever needs it first.
pub(super) type BoundSlot = Arc<OnceCell<BoundSession>>;

/// One awake session.
#[derive(Debug)]
pub struct Cell {
    /// Random key.
    pub key: SessionKey,
    /// Short name for logs.
    pub name: Arc<str>,
    /// Path that it was opened on.
    pub route: Arc<str>,
    /// Who opened it.
    pub caller: Arc<Caller>,
    /// Fires when the session ends.
    pub ended: CancellationToken,
    /// Serialisable knowledge.
    pub state: Mutex<State>,
    /// Whether servers may offer it something else than other sessions: they are told what its client can do.
    pub(super) sees_own: bool,
    pub(super) actor: SessionRef,
    /// What servers offer to this session, for clients whose capabilities change that.
    pub(super) own: Mutex<OwnLists>,
    pub(super) bound: Mutex<Vec<(ServerName, BoundSlot)>>,
    /// Sessions at servers that were replaced, until their calls have ended.
    retiring: Mutex<Vec<BoundSession>>,
    in_flight: Mutex<InFlight>,
    /// Tells of every call that ends.
    released: Notify,
    streams: Mutex<Vec<Arc<StreamLog>>>,
    ended_bytes: Arc<EndedBytes>,
    born: Instant,
    used_ms: AtomicU64,
    users: AtomicUsize,
}

/// What a cell begins with.
#[derive(Debug)]
pub(super) struct Seed {
    pub(super) key: SessionKey,
    pub(super) name: Arc<str>,
    pub(super) route: Arc<str>,
    pub(super) caller: Arc<Caller>,
    pub(super) state: State,
    pub(super) bound: Vec<(ServerName, BoundSlot)>,
    pub(super) ended_bytes: Arc<EndedBytes>,
}

impl Cell {
    pub(super) fn new(seed: Seed, actor: SessionRef, now: Instant) -> Self {
        Self {
            key: seed.key,
            name: seed.name,
            route: seed.route,
            caller: seed.caller,
            ended: CancellationToken::new(),
            sees_own: seed.state.hard.capability_bits != 0,
            state: Mutex::new(seed.state),
            actor,
            own: Mutex::default(),
            bound: Mutex::new(seed.bound),
            retiring: Mutex::default(),
            in_flight: Mutex::default(),
            released: Notify::new(),
            streams: Mutex::default(),
            ended_bytes: seed.ended_bytes,
            born: now,
            used_ms: AtomicU64::new(0),
            users: AtomicUsize::new(0),
        }
    }

    /// Whether it was opened on a server's own route.
    pub fn is_scoped(&self) -> bool {
        own_server(&self.route).is_some()
    }

    /// Notes activity.
    pub fn touch(&self, now: Instant) {
        self.used_ms
            .store(elapsed_ms(self.born, now), Ordering::Relaxed);
    }

    /// Time since the last activity.
    pub fn idle(&self, now: Instant) -> std::time::Duration {
        let used = self.used_ms.load(Ordering::Relaxed);
        std::time::Duration::from_millis(elapsed_ms(self.born, now).saturating_sub(used))
    }

    /// Claims a request id.
    ///
    /// # Errors
    ///
    /// See [`InFlight::claim`].
    pub fn claim(
        &self,
        id: &str,
        limits: &config::Limits,
        now: Instant,
    ) -> Result<Claim, CallError> {
        self.touch(now);
        self.in_flight
            .lock()
            .claim(id, limits.session_calls_max, now)
    }

    /// Ends a claim and forgets the questions that its call left open.
    pub fn release(&self, serial: u64) {
        self.in_flight.lock().release(serial);
        let closed = self.state.lock().forget_asked_by(serial);
        {
            let mut streams = self.streams.lock();
            close_questions(&streams, &closed);
            self.ended_bytes.trim(&mut streams);
        }
        self.released.notify_waiters();
    }

    /// Takes the request that the client answers. `None` for an unknown or already answered id.
    pub(super) fn answer(&self, raw_id: &str) -> Option<Asked> {
        let asked = self.state.lock().answer(raw_id)?;
        close_questions(&self.streams.lock(), &[asked.id]);
        Some(asked)
    }

    /// A server gave up its own request; returns the id towards the client.
    pub(super) fn withdraw(&self, far: u64, server_id: &str) -> Option<u64> {
        let id = self.state.lock().withdraw(far, server_id)?;
        close_questions(&self.streams.lock(), &[id]);
        Some(id)
    }

    /// The client gave up `id`.
    pub fn cancel(&self, id: &str, notification: lockgate_proto::jsonrpc::Frame, now: Instant) {
        self.in_flight.lock().cancel(id, notification, now);
    }

    /// Requests in flight.
    pub fn calls(&self) -> usize {
        self.in_flight.lock().len()
    }

    /// Opens a stream for one call.
    pub fn new_stream(&self) -> Arc<StreamLog> {
        let (id, epoch) = {
            let mut state = self.state.lock();
            (state.new_stream(), state.epoch)
        };
        let log = StreamLog::new(epoch, id, Arc::clone(&self.ended_bytes));
        self.streams.lock().push(Arc::clone(&log));
        log
    }

    /// The GET stream, made when it is first needed.
    pub fn get_stream(&self) -> Arc<StreamLog> {
        let epoch = self.state.lock().epoch;
        let mut streams = self.streams.lock();
        if let Some(log) = streams.iter().find(|log| log.id() == 0) {
            return Arc::clone(log);
        }
        let log = StreamLog::new(epoch, 0, Arc::clone(&self.ended_bytes));
        streams.push(Arc::clone(&log));
        log
    }

    /// Whether a client holds the GET stream open.
    pub fn is_listening(&self) -> bool {
        self.streams
            .lock()
            .iter()
            .any(|log| log.id() == 0 && log.attached())
    }

    /// Goes on with a stream after `event`.
    ///
    /// # Errors
    ///
    /// Fails when the stream or the event is gone, and when the stream has ended and nothing comes after the event.
    pub fn resume(&self, event: EventId) -> Result<Reader, CallError> {
        let gone = || CallError::InvalidRequest {
            what: format!("no stream can go on after event `{event}`").into(),
        };
        if event.epoch != self.state.lock().epoch {
            return Err(gone());
        }
        let log = self
            .streams
            .lock()
            .iter()
            .find(|log| log.id() == event.stream)
            .map(Arc::clone)
            .ok_or_else(gone)?;
        let reader = log.attach(Some(event.place)).ok_or_else(gone)?;
        if reader.is_over() {
            return Err(CallError::StreamOver);
        }
        Ok(reader)
    }

    /// Drops logs of ended call streams: at once when everything was handed out and nobody reads, else after `window`.
    /// The most recent few are kept for clients whose connection broke just at the end.
    pub fn expire_streams(&self, window: std::time::Duration, now: Instant) {
        const RECENT_KEPT: usize = 8;
        let mut streams = self.streams.lock();
        let newest: StreamId = streams.iter().map(|log| log.id()).max().unwrap_or(0);
        let recent = newest.saturating_sub(u32::try_from(RECENT_KEPT).unwrap_or(0));
        streams.retain(|log| match log.ended_at() {
            None => true,
            Some(at) if now.duration_since(at) >= window => false,
            Some(_) => log.id() > recent || log.attached() || !log.is_drained(),
        });
        self.ended_bytes.trim(&mut streams);
        streams.shrink_to_fit();
    }

    /// Whether nothing runs, streams or waits for a client that may still resume it. What waits is dropped after the
    /// resume window: see [`Self::expire_streams`].
    pub(super) fn is_quiet(&self) -> bool {
        let open = self
            .streams
            .lock()
            .iter()
            .any(|log| log.attached() || (log.id() != 0 && !log.is_drained()));
        !open && self.in_flight.lock().is_empty()
    }

    /// Ends calls and the GET stream. The stream of a call is ended by the call, after its last message.
    pub(super) fn end(&self, now: Instant) {
        self.ended.cancel();
        self.in_flight.lock().end();
        for log in self.streams.lock().drain(..).filter(|log| log.id() == 0) {
            log.end(now);
        }
    }

    /// Waits until no call is in flight.
    pub(super) async fn calls_ended(&self) {
        loop {
            let mut released = std::pin::pin!(self.released.notified());
            // Registered before the look, so that the last call cannot end in between unseen.
            released.as_mut().enable();
            if self.in_flight.lock().is_empty() {
                return;
            }
            released.await;
        }
    }

    /// The session's far end at a server, if it is open and nothing is to be done before it is used.
    pub(super) fn open_at(&self, handle: &UpstreamHandle) -> Option<BoundSession> {
        let server = &handle.settings().name;
        let bound = self.bound.lock();
        if self.ended.is_cancelled() {
            return None;
        }
        let (_, slot) = bound.iter().find(|(name, _)| name == server)?;
        let session = slot.get()?;
        (!session.is_outlived_by(handle)).then(|| session.clone())
    }

    /// The session's slot for a server, and the session that it held until now, when that belongs to a handle which
    /// `handle` has replaced.
    ///
    /// # Errors
    ///
    /// Fails when the session has ended: whatever came into a slot now would be closed by nobody.
    pub(super) fn slot(
        &self,
        handle: &UpstreamHandle,
    ) -> Result<(BoundSlot, Option<BoundSession>), CallError> {
        let server = &handle.settings().name;
        let mut bound = self.bound.lock();
        if self.ended.is_cancelled() {
            return Err(CallError::SessionEnded);
        }
        let Some(at) = bound.iter().position(|(name, _)| name == server) else {
            let slot = BoundSlot::default();
            bound.push((server.clone(), Arc::clone(&slot)));
            return Ok((slot, None));
        };
        let slot = &mut bound[at].1;
        let outlived = slot
            .get()
            .filter(|session| session.is_outlived_by(handle))
            .cloned();
        if let Some(outlived) = &outlived {
            *slot = BoundSlot::default();
            self.retiring.lock().push(outlived.clone());
        }
        Ok((Arc::clone(slot), outlived))
    }

    /// Forgets a session whose server was replaced and whose calls have ended.
    pub(super) fn retired(&self, session: &BoundSession) {
        let mut retiring = self.retiring.lock();
        retiring.retain(|known| !known.is_same_as(session));
    }

    /// A far end by its number, also one that retires.
    pub(super) fn far(&self, number: u64) -> Option<BoundSession> {
        let retiring = self.retiring.lock().iter().cloned().collect::<Vec<_>>();
        let bound = self.bound.lock();
        let open = bound.iter().filter_map(|(_, slot)| slot.get());
        open.chain(&retiring)
            .find(|session| session.number() == number)
            .cloned()
    }

    /// Far ends that are open.
    pub(super) fn bound(&self) -> Vec<(ServerName, BoundSession)> {
        let bound = self.bound.lock();
        bound
            .iter()
            .filter_map(|(name, slot)| Some((name.clone(), slot.get()?.clone())))
            .collect()
    }

    pub(super) fn enter(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn leave(&self) {
        self.users.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn users(&self) -> usize {
        self.users.load(Ordering::Acquire)
    }
}

/// Nobody is asked again, wherever in the past a stream is resumed.
fn close_questions(streams: &[Arc<StreamLog>], ids: &[u64]) {
    for id in ids {
        streams.iter().for_each(|log| log.close_question(*id));
    }
}

fn elapsed_ms(since: Instant, now: Instant) -> u64 {
    u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX)
}
