//! A session that the gateway owns at a session-era server, on behalf of one caller who has none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind, encode_str, find, find_path};
use lockgate_proto::mcp::method;
use parking_lot::Mutex;
use tokio::sync::futures::Notified;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::DropGuard;

use crate::error::UpstreamError;
use crate::task::spawn_named;
use crate::upstream::bridge::clock::Clock;
use crate::upstream::catalog::Catalog;
#[cfg(test)]
use crate::upstream::copy::through_bytes;
use crate::upstream::link::{Heard, MessageStream, Outgoing, Reply, SEND_WAIT};
use crate::upstream::{BoundSession, CallClass};

use super::abilities::Abilities;
use super::account::Account;
use super::answer;
use super::hub::{Hub, News};
use super::key::Key;
use super::level::Level;
use super::own_catalog::Signs;

/// First wait before a stream that ended is opened again; doubles up to [`AGAIN_MAX`].
const AGAIN_MIN: Duration = Duration::from_millis(250);
/// Longest such wait.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// One owned session.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) key: Key,
    pub(super) session: BoundSession,
    /// Raw `Implementation` of the server.
    pub(super) server_info: Option<Arc<str>>,
    has_logging: bool,
    /// What it has come to.
    account: Mutex<Account>,
    /// Held while the server is asked for another level.
    raising: AsyncMutex<()>,
    /// Held while the server is asked for a resource, or asked for it no more.
    subscribing: AsyncMutex<()>,
    turns: Turns,
    /// What comes beside the calls.
    pub(super) hub: Arc<Hub>,
    /// Set when the server asks otherwise; shared by its sessions.
    asks_apart: Arc<AtomicBool>,
    /// What the server offered when it was asked last, and what said then that this would be true.
    pub(super) catalog: AsyncMutex<Option<(Signs, Arc<Catalog>)>>,
    /// Whoever serves the session ends with it, also where nobody has closed it.
    _ends: DropGuard,
}

/// One call at a time, where nothing tells whose a question of the server is.
#[derive(Debug)]
struct Turns {
    free: Arc<Semaphore>,
    parked: AtomicBool,
    news: Notify,
}

/// How a session is used.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner {
    /// One call at a time.
    pub(super) in_turns: bool,
    /// The server may ask on its own stream, where nothing tells which call it is about.
    pub(super) asks_apart: bool,
    /// Set when it does.
    pub(super) has_asked_apart: Arc<AtomicBool>,
}

/// The outcome of waiting for a turn.
#[derive(Debug)]
pub(super) enum Turned {
    /// The call may go.
    Go(Option<OwnedSemaphorePermit>),
    /// The call that has the turn waits for its client: nobody knows how long.
    Parked,
}

impl Owned {
    /// Of a session that was just opened.
    pub(super) fn new(key: Key, session: BoundSession, manner: Manner, clock: Clock) -> Self {
        let introduction = session.initialize_result();
        let info = find(&introduction, "serverInfo");
        let abilities = Abilities::of(&key.capabilities);
        // Before the server, or the call that it is about, has waited too long.
        let hold = session.settings().timeout / 2;
        let hub = Arc::new(Hub::new(abilities, hold, clock));
        let _ends = hub.ended.clone().drop_guard();
        let now_ms = clock.now_ms();
        let account = Account::new(key.clone(), manner.in_turns, !manner.asks_apart, now_ms);
        Self {
            key,
            server_info: info.map(|span| span.of(&introduction).into()),
            has_logging: find_path(&introduction, &["capabilities", "logging"]).is_some(),
            session,
            account: Mutex::new(account),
            raising: AsyncMutex::new(()),
            subscribing: AsyncMutex::new(()),
            turns: Turns {
                free: Arc::new(Semaphore::new(1)),
                parked: AtomicBool::new(false),
                news: Notify::new(),
            },
            hub,
            _ends,
            asks_apart: manner.has_asked_apart,
            catalog: AsyncMutex::default(),
        }
    }

    /// A number that no request of this session had before.
    pub(super) fn number(&self) -> u64 {
        self.account.lock().number()
    }

    /// Notes that it is in use.
    pub(super) fn touch(&self) {
        self.account.lock().touch(self.hub.clock.now_ms());
    }

    /// When it was used last, in milliseconds since 1970.
    pub(super) fn used_ms(&self) -> u64 {
        self.account.lock().used_ms()
    }

    /// Whether it does one call at a time.
    pub(super) fn has_turns(&self) -> bool {
        self.account.lock().has_turns
    }

    /// Whether a question of the server says by its stream which call it is about.
    pub(super) fn asks_in_place(&self) -> bool {
        self.account.lock().asks_in_place
    }

    /// The call's turn, if it is free.
    pub(super) fn try_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns.free).try_acquire_owned().ok()
    }

    /// Whether the call that has the turn waits for its client.
    pub(super) fn is_parked(&self) -> bool {
        self.turns.parked.load(Ordering::Acquire)
    }

    /// Tells that the call that has the turn has come to wait for its client, or does so no more.
    pub(super) fn news(&self) -> Notified<'_> {
        self.turns.news.notified()
    }

    /// The call's turn, when it comes. Whoever waits stands in a queue.
    pub(super) fn next_turn(
        &self,
    ) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + use<> {
        let free = Arc::clone(&self.turns.free);
        async move { free.acquire_owned().await.ok() }
    }

    /// Waits for the call's turn.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn turn(&self) -> Turned {
        let turns = &self.turns;
        loop {
            let mut news = std::pin::pin!(turns.news.notified());
            // Registered before the look, so that a call cannot park in between unseen.
            news.as_mut().enable();
            if let Some(permit) = self.try_turn() {
                return Turned::Go(Some(permit));
            }
            if self.is_parked() {
                return Turned::Parked;
            }
            tokio::select! {
                permit = Arc::clone(&turns.free).acquire_owned() => return Turned::Go(permit.ok()),
                () = news => {}
            }
        }
    }

    /// The call that has the turn waits for its client, or does so no more.
    pub(super) fn set_parked(&self, parked: bool) {
        self.turns.parked.store(parked, Ordering::Release);
        self.turns.news.notify_waiters();
    }

    /// Follows the server's own stream for as long as the session lives, if nobody does so yet.
    pub(super) fn follow(self: &Arc<Self>) {
        if self.hub.begin_following() {
            let (owned, hub) = (Arc::downgrade(self), Arc::clone(&self.hub));
            // Both end with the session; the second also serves one whose server has no stream of its own.
            drop(spawn_named(
                "stream of an owned session",
                follow(Weak::clone(&owned)),
            ));
            drop(spawn_named(
                "refusals of an owned session",
                refuse_nobodys(owned, hub),
            ));
        }
    }

    /// Ends it.
    pub(super) async fn close(&self) {
        self.hub.ended.cancel();
        self.session.close().await;
    }

    /// A message of the server that belongs to no call.
    pub(super) async fn hear(&self, frame: Frame) {
        let is_of_one_call = !matches!(&*frame.method(), method::PING | method::ROOTS_LIST);
        if frame.kind() == Kind::Request && is_of_one_call {
            // A server that asks here once will do so again: from now on one call at a time shows whose it is.
            self.account.lock().has_turns = true;
            self.asks_apart.store(true, Ordering::Release);
        }
        if let Some(reply) = self.hub.hear(frame) {
            let _server_gone = self.send(reply).await;
        }
    }

    /// Subscribes once for all who listen. What stands in `held` has been counted and is to be taken back by
    /// [`Self::unsubscribe`], also by a caller that gives up in between; what the server refuses does not stand there.
    pub(super) async fn subscribe(&self, uri: &str, held: &mut Vec<String>) {
        let _one_at_a_time = self.subscribing.lock().await;
        held.push(uri.to_owned());
        if !self.account.lock().subscribe(uri) {
            return;
        }
        let params = format!(r#"{{"uri":{}}}"#, encode_str(uri));
        let agreed = match self.request(method::SUBSCRIBE, &params).await {
            Ok(answer) => answer.kind() == Kind::Result,
            Err(_) => false,
        };
        if !agreed {
            self.account.lock().forget_subscription(uri);
            held.pop();
        }
    }

    /// One listener less; the last takes the subscription back.
    pub(super) async fn unsubscribe(&self, uri: &str) {
        let _one_at_a_time = self.subscribing.lock().await;
        if self.account.lock().unsubscribe(uri) {
            let params = format!(r#"{{"uri":{}}}"#, encode_str(uri));
            // A server that does not hear it tells of changes that nobody listens to.
            let _server_gone = self.request(method::UNSUBSCRIBE, &params).await;
        }
    }

    /// Makes the server log from `wanted` on, if it says less so far. It is asked for the most verbose level that any
    /// request wants; each request is told only what it wants itself.
    pub(super) async fn raise(&self, wanted: Level) {
        let says_too_little = || self.account.lock().says_too_little(wanted);
        if !self.has_logging || !says_too_little() {
            return;
        }
        let _one_at_a_time = self.raising.lock().await;
        if !says_too_little() {
            return;
        }
        let params = format!(r#"{{"level":"{}"}}"#, wanted.as_str());
        // A server that refuses logs as it likes.
        if self.request(method::SET_LEVEL, &params).await.is_ok() {
            self.account.lock().note_level(wanted);
        }
    }

    /// A request of our own, with raw params; gives its final response.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub(super) async fn request(&self, name: &str, params: &str) -> Result<Frame, UpstreamError> {
        let n = self.number();
        let frame = answer::own(&format!(
            r#"{{"jsonrpc":"2.0","id":{n},"method":"{name}","params":{params}}}"#
        ));
        let out = Outgoing::plain(frame, self.session.settings().timeout);
        let reply = self.session.call(&out, CallClass::of(name, true)).await?;
        match reply {
            Reply::Single { frame, .. } => Ok(frame),
            Reply::Stream(mut stream) => stream.answer(&self.session.settings().name).await,
        }
    }

    /// Sends a notification, or an answer.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub(super) async fn send(&self, frame: Frame) -> Result<(), UpstreamError> {
        self.session.send(Outgoing::plain(frame, SEND_WAIT)).await
    }
}

#[cfg(test)]
impl Owned {
    /// Goes on with a copy of all that is data.
    pub(super) fn copy(&self) {
        let mut account = self.account.lock();
        *account = through_bytes(&*account);
        drop(account);
        self.hub.copy();
    }
}

/// Follows the server's own stream until the session is over.
async fn follow(owned: Weak<Owned>) {
    let mut wait = AGAIN_MIN;
    let mut is_first = true;
    loop {
        let Some((session, hub)) = owned
            .upgrade()
            .map(|owned| (owned.session.clone(), Arc::clone(&owned.hub)))
        else {
            return;
        };
        let opened = tokio::select! {
            () = hub.ended.cancelled() => return,
            opened = session.listen() => opened,
        };
        let began = Instant::now();
        match opened {
            Ok(Some(mut stream)) => {
                hub.set_offered(true);
                if !is_first {
                    hub.tell(News::Gap);
                }
                is_first = false;
                tokio::select! {
                    () = hub.ended.cancelled() => return,
                    () = hear_all(&owned, &mut stream) => {}
                }
            }
            Ok(None) => {
                hub.set_offered(false);
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "owned session does not listen");
                // Those who listen have been promised news since.
                is_first = false;
            }
        }
        if began.elapsed() >= AGAIN_MAX {
            wait = AGAIN_MIN;
        }
        tokio::select! {
            () = hub.ended.cancelled() => return,
            () = sleep(wait) => wait = (wait * 2).min(AGAIN_MAX),
        }
    }
}

/// Refuses what nobody can be asked, for as long as the session lives.
async fn refuse_nobodys(owned: Weak<Owned>, hub: Arc<Hub>) {
    loop {
        let refusals = tokio::select! {
            () = hub.ended.cancelled() => return,
            refusals = hub.refusals() => refusals,
        };
        let Some(owned) = owned.upgrade() else { return };
        for refusal in refusals {
            let _server_gone = owned.send(refusal).await;
        }
    }
}

/// Hears the stream to its end.
async fn hear_all(owned: &Weak<Owned>, stream: &mut MessageStream) {
    while let Ok(Some(heard)) = stream.hear().await {
        let Some(owned) = owned.upgrade() else { return };
        match heard {
            Heard::Message(frame) => owned.hear(frame).await,
            Heard::Gap => owned.hub.tell(News::Gap),
        }
    }
}
