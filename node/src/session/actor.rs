//! The life of one awake session: listens to its servers, expires what is old, puts it to sleep, ends it.
//! Holds no rule of a call: calls go through the cell.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{find, find_path};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::route::prefix_notification;
use crate::task::spawn_named;
use crate::upstream::BoundSession;
use crate::upstream::link::{Outgoing, SEND_WAIT};

use super::cell::Cell;
use super::door::Inner;
use super::id::SessionKey;
use super::inbound::{Heard, hear};
use super::stream::Logged;

/// Everything that can happen to a session's life.
#[derive(Debug)]
pub(super) enum Message {
    /// The cell is ready.
    Begin(Weak<Cell>),
    /// The client opened its GET stream.
    Listen,
    /// A far end was opened.
    Bound(ServerName),
    /// Far ends were taken away.
    Unbound,
    /// Time to look for what is old.
    Tick,
    /// The session ends.
    End,
}

/// Actors that one session may lose before it is given up. Source: more deaths are a fault that a new actor meets, too.
pub(super) const REVIVALS_MAX: u32 = 3;

/// Casts to a session's actor. A cast to an actor that has stopped says nothing new: the session sleeps or has ended,
/// or the next tick finds the actor dead and replaces it.
#[derive(Debug)]
pub(super) struct SessionRef {
    actor: ArcSwap<ActorRef<Message>>,
    n_revived: AtomicU32,
}

impl SessionRef {
    pub(super) fn listen(&self) {
        self.cast(Message::Listen);
    }

    pub(super) fn bound(&self, server: ServerName) {
        self.cast(Message::Bound(server));
    }

    pub(super) fn unbound(&self) {
        self.cast(Message::Unbound);
    }

    /// `false` when the actor does not run any more.
    pub(super) fn tick(&self) -> bool {
        self.actor.load().cast(Message::Tick).is_ok()
    }

    /// Puts a new actor in the place of one that has died. `false` when too many have, or none can be started.
    pub(super) fn revive(&self, inner: &Arc<Inner>, cell: &Arc<Cell>) -> bool {
        if self.n_revived.fetch_add(1, Ordering::Relaxed) >= REVIVALS_MAX {
            return false;
        }
        let Ok(actor) = start(inner) else {
            return false;
        };
        self.actor.store(Arc::new(actor));
        self.cast(Message::Begin(Arc::downgrade(cell)));
        true
    }

    /// Ends the actor as a panic does: without its farewell.
    #[cfg(test)]
    pub(super) fn kill(&self) {
        self.actor.load().kill();
    }

    pub(super) fn end(&self) {
        self.cast(Message::End);
    }

    fn cast(&self, message: Message) {
        let _stopped = self.actor.load().cast(message);
    }
}

#[derive(Debug)]
struct SessionActor;

/// Counts a running actor, also one that ends by a panic.
#[derive(Debug)]
struct Running(Arc<Inner>);

impl Running {
    fn new(inner: Arc<Inner>) -> Self {
        inner.actors.fetch_add(1, Ordering::Relaxed);
        Self(inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.actors.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Life {
    running: Running,
    cell: Weak<Cell>,
    listening: bool,
    pumps: HashMap<ServerName, Pump>,
    listened_at: Instant,
}

/// Listens to one server; dropping it stops that.
#[derive(Debug)]
struct Pump {
    /// What it listens on.
    session: BoundSession,
    task: AbortOnDropHandle<()>,
}

/// Spawns the actor and makes the cell that belongs to it.
///
/// # Errors
///
/// Fails when the actor system refuses the actor.
pub(super) fn spawn(
    inner: &Arc<Inner>,
    make: impl FnOnce(SessionRef) -> Cell,
) -> Result<Arc<Cell>, ractor::SpawnErr> {
    let cell = Arc::new(make(SessionRef {
        actor: ArcSwap::from_pointee(start(inner)?),
        n_revived: AtomicU32::new(0),
    }));
    cell.actor.cast(Message::Begin(Arc::downgrade(&cell)));
    Ok(cell)
}

fn start(inner: &Arc<Inner>) -> Result<ActorRef<Message>, ractor::SpawnErr> {
    let (actor, _starting) =
        ractor::ActorRuntime::spawn_instant(None, SessionActor, Arc::clone(inner))?;
    Ok(actor)
}

impl Actor for SessionActor {
    type Msg = Message;
    type State = Life;
    type Arguments = Arc<Inner>;

    async fn pre_start(
        &self,
        _me: ActorRef<Message>,
        inner: Arc<Inner>,
    ) -> Result<Life, ActorProcessingErr> {
        Ok(Life {
            running: Running::new(inner),
            cell: Weak::new(),
            listening: false,
            pumps: HashMap::new(),
            listened_at: Instant::now(),
        })
    }

    async fn handle(
        &self,
        me: ActorRef<Message>,
        message: Message,
        life: &mut Life,
    ) -> Result<(), ActorProcessingErr> {
        if let Message::Begin(cell) = message {
            life.begin(cell);
            return Ok(());
        }
        let Some(cell) = life.cell.upgrade() else {
            me.stop(None);
            return Ok(());
        };
        match message {
            Message::Begin(_) => {}
            Message::Listen => {
                life.listening = true;
                life.listened_at = Instant::now();
                life.pump_all(&cell);
            }
            Message::Bound(server) => life.on_bound(&cell, server),
            Message::Unbound => life.pumps.retain(|server, pump| {
                bound_to(&cell, server).is_some_and(|bound| bound.is_same_as(&pump.session))
            }),
            Message::Tick => life.on_tick(&cell, &me),
            Message::End => {
                life.stop_pumps();
                me.stop(None);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<Message>,
        _event: SupervisionEvent,
        _life: &mut Life,
    ) -> Result<(), ActorProcessingErr> {
        // It has no children; the default would stop it.
        Ok(())
    }
}

impl Life {
    fn begin(&mut self, cell: Weak<Cell>) {
        if let Some(cell) = cell.upgrade() {
            // A client may listen already when this is not the session's first actor.
            self.listening = cell.state.lock().has_subscriptions() || cell.is_listening();
            self.pump_all(&cell);
        }
        self.cell = cell;
    }

    fn on_bound(&mut self, cell: &Arc<Cell>, server: ServerName) {
        // A client that takes server requests may be asked at any time; others hear nothing before they listen.
        if self.listening || cell.state.lock().hard.capability_bits != 0 {
            self.pump(cell, server);
        }
    }

    fn pump_all(&mut self, cell: &Arc<Cell>) {
        if self.listening || cell.state.lock().hard.capability_bits != 0 {
            for (server, _) in cell.bound() {
                self.pump(cell, server);
            }
        }
    }

    fn pump(&mut self, cell: &Arc<Cell>, server: ServerName) {
        let asks = cell.state.lock().hard.capability_bits != 0;
        let Some(session) = bound_to(cell, &server) else {
            return;
        };
        // A server that announces nothing to say is not listened to: a stream costs both sides a connection.
        if !asks && !speaks_unasked(&session.initialize_result()) {
            return;
        }
        // One that listens to the session of a replaced server hears nothing any more.
        let is_current =
            |pump: &Pump| !pump.task.is_finished() && pump.session.is_same_as(&session);
        if self.pumps.get(&server).is_some_and(is_current) {
            return;
        }
        let ear = Ear {
            inner: Arc::downgrade(&self.running.0),
            key: cell.key,
            session: session.clone(),
            server: server.clone(),
        };
        let pumping = ear.listen();
        let task = AbortOnDropHandle::new(spawn_named("session pump", pumping));
        self.pumps.insert(server, Pump { session, task });
    }

    fn on_tick(&mut self, cell: &Arc<Cell>, me: &ActorRef<Message>) {
        let inner = &self.running.0;
        let (now, settings) = (Instant::now(), inner.settings);
        cell.expire_streams(settings.resume_window, now);
        if cell.is_listening() {
            self.listened_at = now;
            cell.touch(now);
        }
        let quiet = cell.is_quiet();
        let idle = cell.idle(now);
        if (quiet && idle >= settings.idle_timeout) || inner.is_over_age(cell) {
            inner.end_later(&cell.key, "idle or over age");
            return;
        }
        // While a client may still resume its GET stream, its servers are listened to.
        let awaited =
            !self.pumps.is_empty() && now.duration_since(self.listened_at) < settings.resume_window;
        if quiet
            && idle >= settings.passivate_after
            && !awaited
            && inner.directory.passivate(cell, now)
        {
            self.stop_pumps();
            // `drain` and not `stop`: a cast that is under way is still handled.
            let _stopped_already = me.drain();
        }
    }

    fn stop_pumps(&mut self) {
        self.pumps.clear();
    }
}

/// Takes what one server says outside of calls and puts it on the client's GET stream.
#[derive(Debug)]
struct Ear {
    inner: Weak<Inner>,
    key: SessionKey,
    session: BoundSession,
    server: ServerName,
}

impl Ear {
    /// Ends with the session, when the server offers no stream, or when it is aborted by its owner, the session's
    /// actor.
    async fn listen(self) {
        let server = &self.server;
        let mut wait = Duration::from_millis(100);
        loop {
            let mut stream = match self.session.listen().await {
                Ok(Some(stream)) => stream,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%server, %error, "listening stream failed");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(30));
                    continue;
                }
            };
            loop {
                match stream.next().await {
                    Ok(Some(frame)) => {
                        wait = Duration::from_millis(100);
                        // By its key, which wakes a session that has just fallen asleep: its old cell is dead then.
                        let Some(inner) = self.inner.upgrade() else {
                            return;
                        };
                        let Some(cell) = inner.find(&self.key) else {
                            return;
                        };
                        if inner.may_hear(&cell, &self.session, &frame) {
                            heard(&cell, &self.session, server, frame).await;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%server, %error, "listening stream broke");
                        break;
                    }
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(30));
        }
    }
}

/// Whether a server announces that it may say something outside of calls.
fn speaks_unasked(initialize_result: &str) -> bool {
    const ANNOUNCED: [&[&str]; 7] = [
        &["tools", "listChanged"],
        &["prompts", "listChanged"],
        &["resources", "listChanged"],
        &["resources", "subscribe"],
        &["logging"],
        &["tasks"],
        &["experimental"],
    ];
    let Some(span) = find(initialize_result, "capabilities") else {
        return false;
    };
    let capabilities = span.of(initialize_result);
    let announces = |path: &&[&str]| {
        find_path(capabilities, path).is_some_and(|span| span.of(capabilities) != "false")
    };
    ANNOUNCED.iter().any(announces)
}

fn bound_to(cell: &Cell, server: &ServerName) -> Option<BoundSession> {
    cell.bound()
        .into_iter()
        .find(|(name, _)| name == server)
        .map(|(_, session)| session)
}

async fn heard(
    cell: &Arc<Cell>,
    session: &BoundSession,
    server: &ServerName,
    frame: lockgate_proto::jsonrpc::Frame,
) {
    if frame.method().ends_with("/list_changed") {
        cell.own.lock().changed(server);
    }
    match hear(cell, session, frame, None) {
        Heard::Tell(frame) => {
            // On a server's own route URIs stay as they are.
            let shown = if cell.is_scoped() {
                Ok(None)
            } else {
                prefix_notification(session.settings(), &frame)
            };
            match shown {
                Ok(shown) => cell.get_stream().push_lossy(shown.unwrap_or(frame).line()),
                Err(error) => tracing::error!(%server, %error, "news not told"),
            }
        }
        Heard::Ask(id, frame) => {
            let question = Logged::question(id, frame.line());
            cell.get_stream().push_lossy(question);
        }
        Heard::Refuse(answer) => {
            let out = Outgoing::plain(answer, SEND_WAIT);
            let _server_gone = session.send(out).await;
        }
        Heard::Drop => {}
    }
}
