//! A session of the session era at a server that knows none: everything that it is, the gateway remembers.

mod begun;
#[cfg(test)]
mod moving;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use lockgate_proto::jsonrpc::{Frame, Kind, ParseError, encode_str, find_path};
use lockgate_proto::mcp::{Era, Revision, code, method};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::UpstreamError;
use crate::upstream::bridge::clock::Clock;
use crate::upstream::bridge::down::{NoRoom, Seat};
use crate::upstream::catalog::{Catalog, ServerInfo};
use crate::upstream::link::{Outgoing, Reply, SessionInit};
use crate::upstream::retry::CallClass;
use crate::upstream::session_key::SessionKey;
use crate::upstream::shared::Shared;
use crate::upstream::{dispatch, errand};

use super::answer::{self, Answered, Asked, message_of};
use super::listen::{Ear, Refusal, UpListener, Wants};
use super::profile::{Metas, Profile, severity};
use super::rounds::{Next, Rounds, Serial};
use super::stream::{Call, UpStream};
use super::tasks::{Followed, Tasks};
use super::{catalog, request};

pub(super) use self::begun::Begun;
pub(super) use self::state::{Introduction, State};

/// A session that the server knows nothing of. Cheap to clone; all clones are the same session.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    key: SessionKey,
    revision: Revision,
    /// Whether the server makes tasks of calls.
    may_be_tasks: bool,
    /// What goes with every request; follows the log level.
    metas: ArcSwap<Metas>,
    state: Arc<Mutex<State>>,
    /// Place of the tasks that the state remembers.
    seat: Mutex<Option<Seat>>,
    /// Woken when something has happened to a call.
    wakers: Mutex<HashMap<Serial, Arc<Notify>>>,
    ear: Ear,
    clock: Clock,
}

impl Session {
    /// Opens a session without asking the server, if it has introduced itself already.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub(in crate::upstream) async fn open(
        shared: Arc<Shared>,
        init: &SessionInit,
        key: SessionKey,
    ) -> Result<Self, UpstreamError> {
        let known = shared
            .published
            .load()
            .catalog(Era::Stateless)
            .map(|catalog| catalog.server.clone());
        let server = match known {
            Some(server) => server,
            None => errand::introduction(&shared).await?,
        };
        let profile = Profile::new(init);
        let introduction = introduce(&shared, &server, profile.revision);
        let state = State {
            introduction,
            profile,
            log_level: None,
            wants: Wants::new(server.capabilities.as_deref().unwrap_or("{}")),
            rounds: Rounds::new(shared.down.limits()),
            tasks: Tasks::default(),
            calls: BTreeMap::new(),
        };
        Ok(Self::over(shared, key, state, Clock::set_to(init.now_ms)))
    }

    /// The session with this state. All else that it is follows from there.
    fn over(shared: Arc<Shared>, key: SessionKey, state: State, clock: Clock) -> Self {
        let metas = state.profile.metas(state.log_level.as_deref());
        let (revision, may_be_tasks) = (state.profile.revision, state.introduction.names_tasks());
        let state = Arc::new(Mutex::new(state));
        Self {
            inner: Arc::new(Inner {
                revision,
                may_be_tasks,
                metas: ArcSwap::from_pointee(metas),
                ear: Ear::new(Arc::clone(&state)),
                state,
                seat: Mutex::default(),
                wakers: Mutex::default(),
                clock,
                shared,
                key,
            }),
        }
    }

    /// Sends a request, or answers it where the stateless era has no such thing.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub(in crate::upstream) async fn call(
        &self,
        out: Outgoing,
        class: CallClass,
    ) -> Result<Reply, UpstreamError> {
        if out.frame.method().starts_with("tasks/") && self.has_tasks() {
            return self.task_call(out, class).await;
        }
        let answered = self.answer_here(&out.frame).await?;
        if let Some(frame) = answered {
            return Ok(Reply::Single { status: 200, frame });
        }
        let call = self.prepare(out, class)?;
        let reply = call.send(&call.first).await?;
        let (status, frame) = match reply {
            Reply::Single { status, frame } => (status, frame),
            Reply::Stream(stream) => return UpStream::reading(call, stream),
        };
        match self.settled(&call, answer::translate(&call.asked, frame)) {
            Answered::Done(frame) => Ok(Reply::Single { status, frame }),
            other => UpStream::answered(call, other),
        }
    }

    fn prepare(&self, mut out: Outgoing, class: CallClass) -> Result<Call, UpstreamError> {
        let (metas, wish) = (self.metas(), self.wish(&out.frame));
        let meta = match wish {
            Some(_) => &metas.tasks,
            None => &metas.plain,
        };
        let frame =
            request::translate(&out.frame, meta).map_err(|source| self.unwritable(source))?;
        let published = self.inner.shared.published.load();
        let catalog = published.catalog(Era::Stateless).map(|catalog| &**catalog);
        let tool = called_tool(&frame, catalog);
        out.headers.extend(request::routing_headers(&frame, tool));
        let asked = Asked {
            method: frame.method().into(),
            tool: tool.map(|tool| tool.raw.clone()),
            may_be_tasks: self.may_be_tasks(),
            wish,
            revision: self.inner.revision,
        };
        out.frame = frame;
        Ok(Call {
            session: self.clone(),
            asked,
            first: out,
            class,
        })
    }

    /// Of a request that is not sent.
    pub(super) fn unwritable(&self, source: ParseError) -> UpstreamError {
        let server = self.inner.shared.settings.name.clone();
        UpstreamError::Unwritable { server, source }
    }

    /// Sends a translated request by the session's owner.
    pub(super) async fn dispatch(
        &self,
        out: Outgoing,
        class: CallClass,
    ) -> Result<Reply, UpstreamError> {
        let owner = self.inner.key.owner();
        dispatch::call_native(&self.inner.shared, &out, class, &owner).await
    }

    /// Takes a notification, or the client's answer to a question. What a stateless server has no word for ends here.
    pub(in crate::upstream) fn send(&self, frame: &Frame) {
        let concerned = match frame.kind() {
            Kind::Result | Kind::Error => self.inner.state.lock().rounds.on_answer(frame),
            Kind::Notification if frame.method() == method::CANCELLED => {
                frame.param(&["requestId"]).and_then(|span| {
                    let id = span.of(frame.text());
                    self.inner.state.lock().rounds.on_cancelled(id)
                })
            }
            Kind::Notification | Kind::Request => None,
        };
        if let Some(serial) = concerned {
            self.wake(serial);
        }
    }

    /// Opens the stream of what the server says outside of calls. `None` when it announces nothing of that kind.
    pub(in crate::upstream) fn listen(&self) -> Option<UpListener> {
        let inner = &self.inner;
        inner.ear.listen(&inner.shared, &inner.key)
    }

    /// Ends it: its calls are cancelled, its subscriptions given up.
    pub(in crate::upstream) async fn close(&self) {
        self.inner.state.lock().rounds.cancel_all();
        for waker in self.inner.wakers.lock().values() {
            waker.notify_one();
        }
        self.inner.ear.close().await;
    }

    /// Raw `InitializeResult` that opened it.
    pub(in crate::upstream) fn initialize_result(&self) -> Arc<str> {
        Arc::clone(self.inner.state.lock().introduction.raw())
    }

    /// Revision of the session.
    pub(in crate::upstream) fn revision(&self) -> Revision {
        self.inner.revision
    }

    /// Makes the place of what is remembered of tasks as large as that is.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] of this caller, or on this node. Never when it is less than before.
    pub(super) fn weigh(&self, tasks: &Tasks) -> Result<(), NoRoom> {
        let inner = &self.inner;
        let mut seat = inner.seat.lock();
        match (tasks.n_bytes(), &mut *seat) {
            (0, _) => *seat = None,
            (bytes, Some(seat)) => seat.resize(bytes)?,
            (bytes, None) => *seat = Some(inner.shared.down.seat(&inner.key, bytes)?),
        }
        Ok(())
    }

    /// Whether the server makes tasks of calls.
    pub(super) fn may_be_tasks(&self) -> bool {
        self.inner.may_be_tasks
    }

    /// Its server.
    pub(in crate::upstream) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    // What a stream of one call needs.

    /// A call that goes on: it can be woken from now on.
    pub(super) fn begin(&self, call: &Call, followed: Option<&Followed>) -> (Serial, Arc<Notify>) {
        let begun = Begun::new(call, followed);
        let mut state = self.inner.state.lock();
        let serial = state.rounds.begin(call.id());
        state.calls.insert(serial, begun);
        // Before anybody can find the call: what happens to it from then on wakes it.
        (serial, self.waker(serial))
    }

    /// What was asked on the way of a call so far is over.
    pub(super) fn begin_anew(&self, serial: Serial, call: &Call, followed: Option<&Followed>) {
        let begun = Begun::new(call, followed);
        let mut state = self.inner.state.lock();
        state.rounds.begin_anew(serial);
        state.calls.insert(serial, begun);
    }

    /// What wakes a call.
    fn waker(&self, serial: Serial) -> Arc<Notify> {
        let waker = Arc::new(Notify::new());
        self.inner.wakers.lock().insert(serial, Arc::clone(&waker));
        waker
    }

    /// The server wants input: returns what the client is asked.
    pub(super) fn wanted(&self, serial: Serial, wanted: &Frame, first: &Frame) -> Vec<Frame> {
        let now_ms = self.now_ms();
        let mut state = self.inner.state.lock();
        let State {
            profile, rounds, ..
        } = &mut *state;
        rounds.on_wanted(serial, wanted, first, profile, now_ms)
    }

    /// What happens to a call now.
    pub(super) fn next(&self, serial: Serial) -> Next {
        let now_ms = self.now_ms();
        self.inner.state.lock().rounds.next(serial, now_ms)
    }

    /// Time in the state's milliseconds, as one of the clock; `None` for one that never comes.
    pub(super) fn at(&self, ms: u64) -> Option<Instant> {
        self.inner.clock.at(ms)
    }

    /// Forgets a call. Returns the questions that are still with the client.
    pub(super) fn end(&self, serial: Serial) -> Vec<u64> {
        self.inner.wakers.lock().remove(&serial);
        let mut state = self.inner.state.lock();
        state.calls.remove(&serial);
        state.rounds.end(serial)
    }

    /// Whether the client wants to see a log message of this severity; it sees those without one.
    pub(super) fn wants_level(&self, level: &str) -> bool {
        let state = self.inner.state.lock();
        let wanted = state.log_level.as_deref().and_then(severity);
        match (wanted, severity(level)) {
            (Some(wanted), Some(level)) => level >= wanted,
            _ => true,
        }
    }

    fn wake(&self, serial: Serial) {
        if let Some(waker) = self.inner.wakers.lock().get(&serial) {
            waker.notify_one();
        }
    }

    /// What goes with its requests.
    pub(super) fn metas(&self) -> Arc<Metas> {
        self.inner.metas.load_full()
    }

    /// What it is made of.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock()
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }

    fn has_logging(&self) -> bool {
        let state = self.inner.state.lock();
        let capabilities = state.introduction.capabilities();
        find_path(capabilities, &["logging"])
            .is_some_and(|span| !matches!(span.of(capabilities), "false" | "null"))
    }

    /// By the same rule as whether the session is heard at all: none is granted whose news nobody could read.
    fn takes_subscriptions(&self) -> bool {
        self.inner.state.lock().wants.takes_subscriptions
    }

    // What the gateway answers itself.

    /// The answer to what the stateless era has no request for.
    async fn answer_here(&self, frame: &Frame) -> Result<Option<Frame>, UpstreamError> {
        let called = frame.method();
        let id = frame.id().unwrap_or("null");
        let answer = match &*called {
            method::PING => Ok(()),
            method::SET_LEVEL if self.has_logging() => self.set_level(frame),
            method::SUBSCRIBE | method::UNSUBSCRIBE if self.takes_subscriptions() => {
                self.set_subscription(frame, *called == *method::SUBSCRIBE)
                    .await?
            }
            method::SET_LEVEL
            | method::SUBSCRIBE
            | method::UNSUBSCRIBE
            | method::INITIALIZE
            | method::DISCOVER
            | method::LISTEN => Err(Refused::no_method(&called)),
            name if name.starts_with("tasks/") => Err(Refused::no_method(name)),
            _ => return Ok(None),
        };
        Ok(message_of(match answer {
            Ok(()) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
            Err(Refused { code, message }) => format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{}}}}}"#,
                encode_str(&message)
            ),
        }))
    }

    fn set_level(&self, frame: &Frame) -> Result<(), Refused> {
        let level = frame.param_str(&["level"]);
        let Some(level) = level.filter(|level| severity(level).is_some()) else {
            return Err(Refused {
                code: code::INVALID_PARAMS,
                message: "`params.level` must be a syslog severity".to_owned(),
            });
        };
        let mut state = self.inner.state.lock();
        self.inner
            .metas
            .store(Arc::new(state.profile.metas(Some(&level))));
        state.log_level = Some(level.into_owned());
        Ok(())
    }

    async fn set_subscription(
        &self,
        frame: &Frame,
        wanted: bool,
    ) -> Result<Result<(), Refused>, UpstreamError> {
        let Some(uri) = frame.param_str(&["uri"]) else {
            return Ok(Err(Refused {
                code: code::INVALID_PARAMS,
                message: "`params.uri` must be a string".to_owned(),
            }));
        };
        let inner = &self.inner;
        // Held to the end: the state is what is followed.
        let mut turn = inner.ear.turn().await;
        let mut uris = inner.state.lock().wants.resources.clone();
        let is_new = if wanted {
            uris.insert(uri.clone().into_owned())
        } else {
            uris.remove(&*uri)
        };
        if !is_new {
            return Ok(Ok(()));
        }
        let added = wanted.then_some(&*uri);
        let refusal = turn.follow(&inner.shared, &inner.key, &uris, added).await?;
        Ok(match refusal {
            None => {
                inner.state.lock().wants.resources = uris;
                Ok(())
            }
            Some(Refusal::NotOffered) => Err(Refused::no_method(&frame.method())),
            Some(Refusal::NotThis) => Err(Refused {
                code: code::INVALID_PARAMS,
                message: "the server takes no subscription to this resource".to_owned(),
            }),
            Some(Refusal::TooMany) => Err(Refused {
                code: code::INVALID_PARAMS,
                message: "too many subscriptions in this session".to_owned(),
            }),
        })
    }
}

/// A request that the gateway refuses in the server's place.
struct Refused {
    code: i32,
    message: String,
}

impl Refused {
    fn no_method(name: &str) -> Self {
        Self {
            code: code::METHOD_NOT_FOUND,
            message: format!("method `{name}` not found"),
        }
    }
}

/// The tool that a request calls, as the server lists it.
fn called_tool<'a>(
    frame: &Frame,
    catalog: Option<&'a Catalog>,
) -> Option<&'a crate::upstream::catalog::Item> {
    if frame.method() != method::TOOLS_CALL {
        return None;
    }
    catalog?.tools.get(&frame.param_str(&["name"])?)
}

/// Raw `InitializeResult` of a server that has introduced itself otherwise.
fn introduce(shared: &Shared, server: &ServerInfo, revision: Revision) -> Introduction {
    let server = catalog::introduction(server);
    let capabilities = server.capabilities.as_deref().unwrap_or("{}");
    let name = || {
        let name = encode_str(shared.settings.name.as_str());
        // Both members are required, and the server has named neither.
        format!(r#"{{"name":{name},"version":"{}"}}"#, Revision::V2026_07_28)
    };
    let implementation = server
        .implementation
        .as_deref()
        .map_or_else(name, str::to_owned);
    let instructions = server
        .instructions
        .as_deref()
        .map_or_else(String::new, |text| format!(r#","instructions":{text}"#));
    Introduction::new(&format!(
        r#"{{"protocolVersion":"{revision}","capabilities":{capabilities},"serverInfo":{implementation}{instructions}}}"#
    ))
}

#[cfg(test)]
mod tests;
