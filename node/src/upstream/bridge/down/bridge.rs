//! The way of one stateless request to a session-era server.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::{HeaderName, HeaderValue};
use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, decode_str};
use lockgate_proto::mcp::{code, method};

use crate::config;
use crate::error::UpstreamError;
use crate::upstream::admission::Place;
use crate::upstream::guarded::GuardedStream;
use crate::upstream::link::{Outgoing, Reply};
use crate::upstream::shared::Shared;
use crate::upstream::{CallClass, Owner, SessionKey};

use super::answer;
use super::call::{Call, Step};
use super::digest;
use super::discover;
use super::hold::Hold;
use super::listen::ListenStream;
use super::own_catalog::OwnCatalog;
use super::owned::Owned;
use super::parking::{Bearer, Refused, Retry};
use super::registry::Registry;
use super::room::{NoRoom, Seat, WaitingRoom};
use super::shelf::{Found, Line, Running, Shelf};
use super::source::Source;
use super::stream::{BridgedStream, CallStream};
use super::tasks::{Desk, Manner, undeclared};
use super::turn::{Envelope, Turn};

/// One request on its way.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) owner: &'a Owner<'a>,
    pub(super) out: &'a Outgoing,
    class: CallClass,
    pub(super) envelope: Envelope<'a>,
}

/// Stateless clients' view of one session-era server.
#[derive(Debug)]
pub(in crate::upstream) struct Bridge {
    pub(super) registry: Registry,
    pub(super) shelf: Shelf,
    pub(super) desk: Desk,
    pub(super) sweeping: AtomicBool,
}

impl Bridge {
    /// Without sessions yet. Without a room no call can wait for its client.
    pub(in crate::upstream) fn new(room: Option<Arc<WaitingRoom>>) -> Self {
        let shelf = Shelf::new(room);
        Self {
            registry: Registry::new(shelf.clock()),
            desk: Desk::new(shelf.life(), shelf.room().cloned(), shelf.clock()),
            shelf,
            sweeping: AtomicBool::new(false),
        }
    }

    /// How often and how long calls wait for their clients, also for those of the other direction.
    pub(in crate::upstream) fn limits(&self) -> config::Bridge {
        self.shelf
            .room()
            .map(|room| room.limits)
            .unwrap_or_default()
    }

    /// `server`, which this is the bridge of, begins.
    pub(in crate::upstream) fn begin_for(&self, server: &Arc<Shared>) {
        self.shelf.open(server);
    }

    /// Whether a request is for the bridge, though the server needs none: because it is about a task of a server that
    /// this one has replaced, or brings what the gateway sealed as its `requestState`. The call of that may wait at a
    /// replaced server, too; where it does not, no server is to see it.
    pub(in crate::upstream) fn takes(&self, request: &Frame, server: &ServerName) -> bool {
        if is_about_task(&request.method()) {
            let task = request.param_str(&["taskId"]);
            return task.is_some_and(|task| self.keeper_of_task(server, &task).is_some());
        }
        if !Call::can_ask(&request.method()) {
            return false;
        }
        let state = request.param_str(&["requestState"]);
        state.is_some_and(|state| self.shelf.is_sealed(server, &state))
    }

    /// Where the task runs that one of `server`'s clients knows by this id.
    pub(super) fn keeper_of_task(&self, server: &ServerName, task: &str) -> Option<Arc<Shared>> {
        self.shelf.server(server, Desk::life_of(task)?)
    }

    /// Waits until no call waits for its client, and every task has ended.
    pub(in crate::upstream) async fn until_none_waits(&self) {
        self.shelf.until_empty().await;
        self.desk.until_none_is_open().await;
    }

    /// Sends a request by `owner`.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the stream of the reply, cancels the request at the server.
    pub(in crate::upstream) async fn call(
        &self,
        shared: &Arc<Shared>,
        out: Outgoing,
        class: CallClass,
        owner: &Owner<'_>,
    ) -> Result<Reply, UpstreamError> {
        let ask = Ask {
            shared,
            owner,
            out: &out,
            class,
            envelope: Envelope::read(&out.frame),
        };
        let envelope = &ask.envelope;
        let id = out.frame.id().unwrap_or("null");
        let Ok(turn) = envelope.turn() else {
            let message = "`logLevel` is not a level of RFC 5424";
            return Ok(refused(400, id, code::INVALID_PARAMS, message));
        };
        let method = out.frame.method();
        match &*method {
            method::DISCOVER => {
                let hold = self.hold(shared, owner, envelope, false).await?;
                let result = discover::result(&hold.owned.session.initialize_result());
                let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
                return Ok(Reply::Single {
                    status: 200,
                    frame: answer::own(&text),
                });
            }
            method::LISTEN => {
                let hold = self.hold(shared, owner, envelope, false).await?;
                let owned = Arc::clone(&hold.owned);
                let stream = ListenStream::open(owned, &out.frame).await;
                return Ok(BridgedStream::of_listen(stream));
            }
            name if is_about_task(name) => {
                return self.task_call(&ask, turn).await;
            }
            _ => {}
        }
        if let Some(state) = envelope.state.filter(|_| Call::can_ask(&method)) {
            let responses = envelope.responses.unwrap_or("{}");
            return self.resume(&ask, turn, (state, responses)).await;
        }
        let manner = self.manner(shared, &ask)?;
        let place = match manner {
            Manner::Call => None,
            Manner::Task(place) => Some(place),
            Manner::Unfollowed => return Ok(undeclared(id)),
        };
        let mut hold = self
            .hold(shared, owner, envelope, !is_quiet(&method))
            .await?;
        hold.place = place.map(Box::new);
        self.begin(&ask, turn, hold).await
    }

    /// What `owner` is offered, as the capabilities in `request` have it. `None` when it declares none: then it is
    /// offered what everybody is.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub(in crate::upstream) async fn own_catalog(
        &self,
        shared: &Arc<Shared>,
        owner: &Owner<'_>,
        request: &Frame,
    ) -> Result<Option<OwnCatalog>, UpstreamError> {
        let envelope = Envelope::read(request);
        if &*self.registry.spelling(envelope.capabilities) == "{}" {
            return Ok(None);
        }
        let hold = self.hold(shared, owner, &envelope, false).await?;
        OwnCatalog::fetch(&hold.owned, shared).await.map(Some)
    }

    /// Sends a new call.
    async fn begin(
        &self,
        ask: &Ask<'_>,
        turn: Turn,
        mut hold: Hold,
    ) -> Result<Reply, UpstreamError> {
        let Ask {
            shared, out, class, ..
        } = *ask;
        if let Some(level) = turn.level {
            hold.owned.raise(level).await;
        }
        let n = hold.owned.number();
        let as_task = hold.place.is_some();
        let frame =
            ask.envelope
                .for_session(n, as_task)
                .map_err(|source| UpstreamError::Unwritable {
                    server: shared.settings.name.clone(),
                    source,
                })?;
        let translated = Outgoing {
            frame,
            headers: kept_headers(&out.headers),
            timeout: out.timeout,
        };
        let mut call = Call::new(n, &out.frame, turn, self.shelf.allowance);
        call.as_task = as_task;
        hold.begin(n, Call::can_ask(&call.method));
        if hold.inbox.is_some() {
            let source = Source::replying(hold.owned.session.clone(), translated, class);
            return stream_of(shared, out, Box::new(call), Line { source, hold }).await;
        }
        let reply = hold.owned.session.call(&translated, class).await;
        let stream = match reply {
            Ok(Reply::Stream(stream)) => stream,
            Ok(Reply::Single { status, frame }) => {
                let reply = self.single(shared, &mut call, (status, frame), &mut hold);
                hold.end();
                return Ok(reply);
            }
            Err(error) => {
                if !matches!(error, UpstreamError::Timeout { .. }) {
                    hold.end();
                }
                if matches!(error, UpstreamError::SessionLost { .. }) {
                    self.forget(&hold.owned);
                }
                return Err(error);
            }
        };
        let source = GuardedStream::of(stream).ok_or_else(|| UpstreamError::Broken {
            server: shared.settings.name.clone(),
            what: "a session gave a stream of another kind".to_owned(),
        })?;
        let source = Source::Stream(source);
        stream_of(shared, out, Box::new(call), Line { source, hold }).await
    }

    /// An answer that came without a stream.
    fn single(
        &self,
        shared: &Arc<Shared>,
        call: &mut Call,
        (status, frame): (u16, Frame),
        hold: &mut Hold,
    ) -> Reply {
        let info = hold.owned.server_info.clone();
        let (status, frame) = match call.on_message(frame.clone(), info.as_deref()) {
            Step::Finish { status, frame } => (status, frame),
            Step::Task(frame) => match self.created(shared, call, hold, &frame) {
                Some(created) => created,
                None => (status, frame),
            },
            // A transport gives nothing but answers here.
            _ => (status, frame),
        };
        Reply::Single { status, frame }
    }

    /// Goes on with a parked call.
    async fn resume(
        &self,
        ask: &Ask<'_>,
        turn: Turn,
        (state, responses): (&str, &str),
    ) -> Result<Reply, UpstreamError> {
        let Ask { shared, out, .. } = *ask;
        let server = &shared.settings.name;
        let state = decode_str(state).ok_or_else(|| state_refused(shared, None))?;
        // A server that was replaced keeps its calls until they have ended.
        let keeper = self.shelf.keeper(server, &state);
        let shared = keeper.as_ref().unwrap_or(shared);
        let place = Place::take(shared)?;
        let bearer = Bearer {
            owner: digest::of_owner(ask.owner),
            request: digest::of_request(&out.frame),
        };
        let retry = Retry {
            bearer,
            responses,
            turn,
        };
        let found = shared.down.shelf.resume(server, &state, retry);
        let found = found.map_err(|why| state_refused(shared, why))?;
        let (running, answers) = match found {
            Found::Again(frame) => return Ok(Reply::Single { status: 200, frame }),
            Found::Over { status, frame } => return Ok(Reply::Single { status, frame }),
            Found::On(running, answers) => (running, answers),
        };
        for answer in answers {
            // A call whose answers are lost is given up: it is never begun again, and nobody is asked again.
            let owned = &running.line.hold.owned;
            if let Err(error) = owned.send(answer).await {
                if matches!(error, UpstreamError::SessionLost { .. }) {
                    shared.down.forget(owned);
                }
                return Err(begun(error, shared));
            }
        }
        // A call that is only sent now takes a place of its own.
        let place = (!running.line.source.is_unsent()).then_some(place);
        let stream = CallStream::new(shared, out.frame.clone(), running, place);
        Box::new(stream).open().await
    }

    /// Parks a call.
    ///
    /// # Errors
    ///
    /// Gives it back when there is no place.
    pub(super) fn park(
        &self,
        shared: &Arc<Shared>,
        running: Running,
        bearer: Bearer,
    ) -> Result<Frame, (Running, NoRoom)> {
        let question = self.shelf.park(running, bearer, &shared.settings.name)?;
        self.keep_swept(shared);
        Ok(question)
    }

    /// A call that had been parked is over: its client was given this answer, with an HTTP status, and may have lost it.
    pub(super) fn answered(
        &self,
        shared: &Arc<Shared>,
        call: &Call,
        bearer: Bearer,
        answer: (u16, &Frame),
    ) {
        self.shelf.answered(call, bearer, answer);
        self.keep_swept(shared);
    }

    /// A place for what is kept for a session of the session era.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]; also where nothing can wait for a client.
    pub(in crate::upstream::bridge) fn seat(
        &self,
        key: &SessionKey,
        bytes: usize,
    ) -> Result<Seat, NoRoom> {
        let room = self.shelf.room().ok_or(NoRoom::Node)?;
        let owner = Owner {
            tenant: key.tenant.as_ref(),
            principal: &key.principal,
            scoped: false,
        };
        room.seat(digest::of_caller(&owner), bytes)
    }

    /// A session that its server lost is not used again.
    pub(super) fn forget(&self, owned: &Arc<Owned>) {
        self.registry.forget(owned);
    }
}

/// An error of a call that its server has had for long: that nobody is there now does not mean that nothing was done.
fn begun(error: UpstreamError, shared: &Shared) -> UpstreamError {
    if !error.nothing_sent() {
        return error;
    }
    UpstreamError::Broken {
        server: shared.settings.name.clone(),
        what: format!("the answer could not be given to the call that waited for it: {error}"),
    }
}

/// The reply of a call whose messages come on `line`.
async fn stream_of(
    shared: &Arc<Shared>,
    out: &Outgoing,
    call: Box<Call>,
    line: Line,
) -> Result<Reply, UpstreamError> {
    let running = Running { call, line };
    let stream = CallStream::new(shared, out.frame.clone(), running, None);
    Box::new(stream).open().await
}

pub(super) fn refused(status: u16, id: &str, code: i32, message: &str) -> Reply {
    Reply::Single {
        status,
        frame: answer::refusal(id, code, message, None),
    }
}

fn state_refused(shared: &Shared, why: Option<Refused>) -> UpstreamError {
    let server = shared.settings.name.clone();
    let (why, is_offence) = match why {
        Some(Refused::Shape(wrong)) => {
            let what = format!(
                "`inputResponses[\"{}\"]` must be {}",
                wrong.key, wrong.wants
            );
            return UpstreamError::InputRefused { server, what };
        }
        // Whose it is, and for what, is not told to whoever must not have it.
        None | Some(Refused::OtherOwner) => ("it was not made for this caller and server", true),
        Some(Refused::OtherRequest) => ("it was made for another request", true),
        // Who answers late, or after a restart of the gateway, has done no wrong.
        Some(Refused::Expired) => ("it has expired", false),
        Some(Refused::OtherLife) => ("its call has ended", false),
        Some(Refused::Used) => ("it was used already, or its call has ended", true),
    };
    UpstreamError::StateRefused {
        server,
        why,
        is_offence,
    }
}

/// Routing headers are of the stateless era alone.
fn kept_headers(headers: &[(HeaderName, HeaderValue)]) -> Vec<(HeaderName, HeaderValue)> {
    let kept = headers
        .iter()
        .filter(|(name, _)| !name.as_str().starts_with("mcp-"));
    kept.cloned().collect()
}

fn is_about_task(name: &str) -> bool {
    matches!(
        name,
        method::TASKS_GET | method::TASKS_UPDATE | method::TASKS_CANCEL
    )
}

/// Lists run no code of a tool: no question belongs to them.
fn is_quiet(name: &str) -> bool {
    matches!(
        name,
        method::TOOLS_LIST
            | method::PROMPTS_LIST
            | method::RESOURCES_LIST
            | method::TEMPLATES_LIST
            | method::SKILLS_LIST
    )
}
