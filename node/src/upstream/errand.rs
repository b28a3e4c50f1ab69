//! What the actor of a server sends tasks out for. Each returns the message that ends it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind};
use lockgate_proto::mcp::{Era, method};
use ractor::ActorRef;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use crate::error::UpstreamError;

use super::actor::Message;
use super::bound::BoundSession;
use super::catalog::{self, Ask, Catalog, List, ServerInfo};
use super::core::{Eras, Timer};
use super::dispatch;
use super::link::{Heard, MessageStream, Outgoing, Reply};
use super::own_request;
use super::own_session::OwnSession;
use super::retry::CallClass;
use super::session_key::Owner;
use super::shared::Shared;

/// Longest silence of a stream that tells of changes; then it is opened again, which finds out a dead peer.
const LISTEN_SILENCE: Duration = Duration::from_secs(3600);

/// All lists, for `subscriptions/listen`.
const ALL_LISTS: &str = r#""notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}"#;

/// An error with all its causes, on one line.
pub(super) fn describe(error: &UpstreamError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Finds out the eras, at the first endpoint that answers.
pub(super) async fn probe(shared: Arc<Shared>) -> Message {
    let mut result = Err(shared.nowhere());
    for endpoint in &shared.endpoints {
        result = endpoint.far.probe().await.map(|verdict| Eras {
            session: Some(verdict.session.is_some()),
            stateless: Some(verdict.stateless.is_some()),
        });
        if result.is_ok() {
            break;
        }
    }
    Message::Probed(result)
}

/// Fetches the catalog of one era; in the session era over `own`, or, `anew`, over a new session in its place.
pub(super) async fn fetch(shared: Arc<Shared>, era: Era, own: OwnSession, anew: bool) -> Message {
    let span = tracing::info_span!("catalog", server = %shared.settings.name, ?era);
    let work = async {
        match era {
            Era::Session => {
                if anew && let Some(old) = own.take() {
                    old.close().await;
                }
                fetch_over_session(&shared, &own).await
            }
            Era::Stateless => fetch_stateless(&shared).await,
        }
    };
    Message::Fetched {
        era,
        result: Box::new(work.instrument(span).await),
    }
}

async fn fetch_over_session(
    shared: &Arc<Shared>,
    own: &OwnSession,
) -> Result<Catalog, UpstreamError> {
    let known = own.get().filter(|own| !own.is_of_lost_era());
    let session = match known {
        Some(own) => own,
        None => {
            if let Some(old) = own.take() {
                old.close().await;
            }
            let (init, key) = (own_request::session_init(), own_request::session_key());
            let session = BoundSession::open(Arc::clone(shared), init, key).await?;
            own.keep(session.clone());
            session
        }
    };
    let introduction = session.initialize_result();
    let caller = OverSession {
        session: &session,
        shared,
    };
    catalog::fetch(&caller, &introduction, Era::Session).await
}

async fn fetch_stateless(shared: &Arc<Shared>) -> Result<Catalog, UpstreamError> {
    let caller = Stateless { shared };
    let introduction = discover(&caller).await?;
    let introduction = introduction.body().unwrap_or_default();
    catalog::fetch(&caller, introduction, Era::Stateless).await
}

/// Asks a server of the stateless era what it is; the frame is a result.
async fn discover(caller: &Stateless<'_>) -> Result<Frame, UpstreamError> {
    let discover = own_request::frame(method::DISCOVER, "", Era::Stateless);
    let answer = caller.ask(discover).await?;
    if answer.kind() != Kind::Result {
        return Err(UpstreamError::NoEra {
            server: caller.shared.settings.name.clone(),
            era: Era::Stateless,
        });
    }
    Ok(answer)
}

/// What a server of the stateless era says of itself.
pub(super) async fn introduction(shared: &Arc<Shared>) -> Result<ServerInfo, UpstreamError> {
    let answer = discover(&Stateless { shared }).await?;
    Ok(ServerInfo::read(answer.body().unwrap_or_default()))
}

/// The tools that a server of the stateless era lists now.
pub(super) async fn tools(shared: &Arc<Shared>) -> Result<List, UpstreamError> {
    catalog::fetch_tools(&Stateless { shared }, Era::Stateless).await
}

/// A call has found that a server's lists are not what they were.
pub(super) fn lists_changed(shared: &Shared, era: Era) {
    shared.cast(Message::ListChanged(era));
}

struct OverSession<'a> {
    session: &'a BoundSession,
    shared: &'a Shared,
}

impl Ask for OverSession<'_> {
    async fn ask(&self, frame: Frame) -> Result<Frame, UpstreamError> {
        let out = own_request::outgoing(frame, Era::Session, self.shared.settings.timeout);
        let reply = self.session.call(&out, CallClass::Repeatable).await?;
        response(reply, self.shared).await
    }
}

/// The final response in `reply`; messages before it are dropped.
async fn response(reply: Reply, shared: &Shared) -> Result<Frame, UpstreamError> {
    match reply {
        Reply::Single { frame, .. } => Ok(frame),
        Reply::Stream(mut stream) => stream.answer(&shared.settings.name).await,
    }
}

async fn call_as_gateway(shared: &Arc<Shared>, out: Outgoing) -> Result<Reply, UpstreamError> {
    let principal = own_request::session_key().principal;
    let owner = Owner {
        tenant: None,
        principal: &principal,
        scoped: true,
    };
    dispatch::call_native(shared, &out, CallClass::Repeatable, &owner).await
}

struct Stateless<'a> {
    shared: &'a Arc<Shared>,
}

impl Ask for Stateless<'_> {
    async fn ask(&self, frame: Frame) -> Result<Frame, UpstreamError> {
        let out = own_request::outgoing(frame, Era::Stateless, self.shared.settings.timeout);
        let reply = call_as_gateway(self.shared, out).await?;
        response(reply, self.shared).await
    }
}

/// Follows the stream that tells of changes until it ends, and passes on what it tells.
pub(super) async fn listen(
    shared: Arc<Shared>,
    era: Era,
    own: Option<BoundSession>,
    actor: ActorRef<Message>,
) -> Message {
    let began = Instant::now();
    let opened = match (era, own) {
        (Era::Session, Some(own)) => own.listen().await,
        (Era::Session, None) => Ok(None),
        (Era::Stateless, _) => open_listen(&shared).await,
    };
    let offered = !matches!(opened, Ok(None));
    if let Ok(Some(mut stream)) = opened {
        while let Ok(Some(heard)) = stream.hear().await {
            let may_have_changed = match &heard {
                Heard::Message(frame) => is_list_change(frame),
                Heard::Gap => true,
            };
            if may_have_changed {
                // Fails only when the actor has ended, and then this task ends with it.
                let _ended = actor.cast(Message::ListChanged(era));
            }
        }
    }
    Message::ListenEnded {
        era,
        offered,
        lasted: began.elapsed(),
    }
}

/// `subscriptions/listen`. `None` when the server refuses it. A server that does not acknowledge in time is taken for
/// one that does not offer it.
async fn open_listen(shared: &Arc<Shared>) -> Result<Option<MessageStream>, UpstreamError> {
    let frame = own_request::frame(method::LISTEN, ALL_LISTS, Era::Stateless);
    let out = own_request::outgoing(frame, Era::Stateless, LISTEN_SILENCE);
    let call = call_as_gateway(shared, out);
    let Ok(reply) = timeout(shared.settings.timeout, call).await else {
        return Ok(None);
    };
    match reply {
        Ok(Reply::Stream(stream)) => Ok(Some(stream)),
        // A refusal, or an end before it began: it is not offered.
        Ok(Reply::Single { .. }) => Ok(None),
        Err(UpstreamError::Status { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_list_change(frame: &Frame) -> bool {
    frame.kind() == Kind::Notification
        && matches!(
            &*frame.method(),
            method::TOOLS_CHANGED | method::PROMPTS_CHANGED | method::RESOURCES_CHANGED
        )
}

/// Asks whether anybody is there.
pub(super) async fn check(shared: Arc<Shared>, endpoint: usize) -> Message {
    let era = if shared.published.load().eras.stateless == Some(true) {
        Era::Stateless
    } else {
        Era::Session
    };
    let far = &shared.endpoints[endpoint].far;
    let limit = shared.settings.health.timeout;
    let server = &shared.settings.name;
    // The transport has a limit of its own, but a check must end whatever the transport does.
    let result = match timeout(limit, far.is_alive(server, era, limit)).await {
        Ok(result) => result,
        Err(_) => Err(UpstreamError::Timeout {
            server: server.clone(),
            limit,
        }),
    };
    Message::Checked { endpoint, result }
}

/// Waits.
pub(super) async fn wait(timer: Timer, after: Duration) -> Message {
    sleep(after).await;
    Message::TimerOver(timer)
}
