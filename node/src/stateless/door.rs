//! The door of the stateless era: one POST in, one answer or one stream out. Dropping either cancels the call.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use http::HeaderMap;
use lockgate_proto::jsonrpc::{Frame, Kind};
use lockgate_proto::mcp::{Era, Revision, method};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Event, Events, error_message};
use crate::cancel::Cancel;
use crate::error::CallError;
use crate::identity::Authenticated;
use crate::pipeline::{CallStream, Incoming, Link, Outcome, Pipeline};
use crate::route::{self, Scope, Table};
use crate::seal::Sealer;
use crate::telemetry::trace::Context;
use crate::timers::Timers;

use super::look::{Look, is_about_task};
use super::own::OwnTables;
use super::{listen, rights, validate};

/// A silent call is turned into a stream after this, so that keep-alives can flow; until then the server's HTTP
/// status can still be passed on.
const COMMIT_AFTER: Duration = Duration::from_secs(15);

/// What a transport knows about one client message.
#[derive(Debug)]
pub struct Request<'a> {
    /// Who.
    pub who: Arc<Authenticated>,
    /// Server of a server-scoped path.
    pub server: Option<&'a str>,
    /// All headers; `None` where the transport has none.
    pub headers: Option<&'a HeaderMap>,
    /// Trace context of the client.
    pub trace: Option<Context>,
    /// Fires when the client cancels, where it can say so.
    pub cancel: Option<Arc<Cancel>>,
}

/// The stateless era of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) sealer: Arc<Sealer>,
    own: Arc<OwnTables>,
    /// Fires when listening streams have to end politely.
    pub(super) closing: CancellationToken,
    commit: Arc<Timers>,
}

/// One request that has passed the checks; owns what it needs, because it may outlive the POST's head.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) frame: Frame,
    pub(super) who: Arc<Authenticated>,
    pub(super) scope: Scope,
    pub(super) table: Arc<Table>,
    pub(super) trace: Option<Context>,
    cancel: Option<Arc<Cancel>>,
    params: Vec<(http::HeaderName, http::HeaderValue)>,
}

enum Started {
    Answer(u16, Frame),
    Stream(Box<Running>),
}

/// A call that has begun to stream.
struct Running {
    first: Option<Frame>,
    stream: Box<CallStream>,
    look: Look,
}

impl Door {
    /// `closing` ends listening streams.
    pub fn new(pipeline: Arc<Pipeline>, sealer: Arc<Sealer>, closing: CancellationToken) -> Self {
        Self {
            pipeline,
            sealer,
            own: Arc::default(),
            closing,
            commit: Timers::new(COMMIT_AFTER),
        }
    }

    /// Takes one message.
    pub async fn post(&self, request: Request<'_>, frame: Frame) -> Answer {
        let id = frame.id().map(str::to_owned);
        match self.take(request, frame).await {
            Ok(answer) => answer,
            Err(error) => Answer::error(id.as_deref(), &error, Era::Stateless),
        }
    }

    async fn take(&self, request: Request<'_>, frame: Frame) -> Result<Answer, CallError> {
        let table = self.pipeline.router.table(Era::Stateless);
        let scope = table.scope(request.server, &request.who)?;
        let supported = Revision::STREAMABLE_HTTP;
        if !validate::check(&frame, request.headers, &supported)? {
            return Ok(Answer::Accepted);
        }
        let table = match scope {
            Scope::All => self.own.table(&table, &request.who, &frame).await,
            Scope::Server(_) => table,
        };
        let params = request.headers.map(validate::sent_params);
        let mut ask = Ask {
            frame,
            who: request.who,
            scope,
            table,
            trace: request.trace,
            cancel: request.cancel,
            params: params.unwrap_or_default(),
        };
        let method = ask.frame.method();
        if scope == Scope::All {
            if let Some(kind) = route::kind_of(&method) {
                return self.pipeline.page(&ask.incoming(), kind, &self.sealer);
            }
            if method == method::DISCOVER {
                self.pipeline.local(&ask.incoming(), "")?;
                let result = route::discover_result(&ask.table.merged, &supported);
                return Ok(Answer::result(
                    ask.frame.id().unwrap_or("null"),
                    result.into(),
                ));
            }
        }
        self.pipeline.keep_sealed(&ask.incoming(), &self.sealer)?;
        if method == method::LISTEN {
            rights::allow(self, &ask)?;
            listen::check(&ask)?;
            return match scope {
                Scope::All => {
                    self.pipeline.local(&ask.incoming(), "")?;
                    Ok(Box::pin(listen::open(self.clone(), ask)).await)
                }
                Scope::Server(at) => {
                    let server = &ask.table.servers[at].settings.name;
                    self.pipeline.local(&ask.incoming(), server.as_str())?;
                    Box::pin(listen::open_at(self, ask, at)).await
                }
            };
        }
        drop(method);
        if let Some(tool) = called_tool(&ask) {
            match request.headers {
                Some(sent) => validate::check_params(&ask.frame, sent, tool)?,
                // Its server may want them all the same.
                None => ask.params = validate::params_of(&ask.frame, tool),
            }
        }
        let look = Look {
            ask,
            sealer: Arc::clone(&self.sealer),
        };
        Ok(run(&self.commit, Arc::clone(&self.pipeline), look).await)
    }
}

impl Ask {
    pub(super) fn incoming(&self) -> Incoming<'_> {
        Incoming {
            frame: &self.frame,
            table: &self.table,
            scope: self.scope,
            revision: Revision::V2026_07_28,
            who: &self.who,
            session: None,
            trace: self.trace.as_ref(),
            params: &self.params,
            cancel: self.cancel.as_ref(),
        }
    }
}

fn called_tool(ask: &Ask) -> Option<&crate::upstream::catalog::Item> {
    if ask.frame.method() != method::TOOLS_CALL {
        return None;
    }
    let name = ask.frame.param_str(&["name"])?;
    let (target, catalog) = match ask.scope {
        Scope::All => {
            let target = ask.table.tool(&name)?;
            (
                target.item,
                ask.table.servers.get(target.server)?.catalog.as_deref()?,
            )
        }
        Scope::Server(at) => {
            let catalog = ask.table.servers.get(at)?.catalog.as_deref()?;
            (
                catalog
                    .tools
                    .items()
                    .iter()
                    .position(|tool| *tool.key == *name)?,
                catalog,
            )
        }
    };
    catalog.tools.items().get(target)
}

type Starting = Pin<Box<dyn Future<Output = Result<Started, CallError>> + Send>>;

async fn run(commit: &Arc<Timers>, pipeline: Arc<Pipeline>, look: Look) -> Answer {
    let id = look.ask.frame.id().unwrap_or("null").to_owned();
    let mut starting: Starting = Box::pin(start(pipeline, look));
    match commit.limit(Pin::new(&mut starting)).await {
        Some(Ok(Started::Answer(status, frame))) => {
            Answer::with_status(passed_on(status), frame.bytes().clone())
        }
        Some(Ok(Started::Stream(running))) => Answer::Events(Events(Box::pin(events(id, running)))),
        Some(Err(error)) => Answer::error(Some(&id), &error, Era::Stateless),
        None => Answer::Events(Events(Box::pin(late(id, starting)))),
    }
}

/// Statuses that the specification ties to answers go on to the client. Any other one (401 above all) is a matter
/// between this gateway and the server: the client would take it for the gateway's own word.
fn passed_on(status: u16) -> u16 {
    if matches!(status, 400 | 404) {
        status
    } else {
        200
    }
}

async fn start(pipeline: Arc<Pipeline>, look: Look) -> Result<Started, CallError> {
    let ask = &look.ask;
    let task = look.task();
    let owner = |_: &str| task.clone();
    let link = async |server: usize| {
        if task.is_none() && is_about_task(&ask.frame) {
            return Err(look.no_task(&ask.table.servers[server]));
        }
        Ok(Link::Stateless)
    };
    let outcome = pipeline.call(ask.incoming(), &owner, link).await?;
    let mut stream = match outcome {
        Outcome::Done { status, frame } => return Ok(Started::Answer(status, look.at(frame))),
        Outcome::Stream(stream) => stream,
    };
    let first = Box::pin(stream.next()).await?;
    match first {
        Some(first) if is_answer(&first) => Ok(Started::Answer(200, look.at(first))),
        Some(first) => Ok(Started::Stream(Box::new(Running {
            first: Some(first),
            stream,
            look,
        }))),
        None => Err(CallError::SessionEnded),
    }
}

pub(super) fn is_answer(frame: &Frame) -> bool {
    matches!(frame.kind(), Kind::Result | Kind::Error)
}

pub(super) fn event(frame: &Frame) -> Event {
    Event {
        id: None,
        retry_ms: None,
        data: frame.line(),
    }
}

/// Events of a call that has begun to stream.
fn events(id: String, running: Box<Running>) -> impl Stream<Item = Event> + Send + 'static {
    stream::unfold((id, Some(running)), |(id, running)| async move {
        let mut running = running?;
        if let Some(first) = running.first.take() {
            return Some((event(&first), (id, Some(running))));
        }
        match running.stream.next().await {
            Ok(Some(frame)) => {
                let is_last = running.stream.is_answered();
                let frame = if is_last {
                    running.look.at(frame)
                } else {
                    frame
                };
                let rest = (!is_last).then_some(running);
                Some((event(&frame), (id, rest)))
            }
            Ok(None) => None,
            Err(error) => Some((failed(&id, &error), (id, None))),
        }
    })
}

pub(super) fn failed(id: &str, error: &CallError) -> Event {
    Event {
        id: None,
        retry_ms: None,
        data: error_message(Some(id), error, Era::Stateless),
    }
}

/// Events of a call that is silent for so long that the stream was opened without it.
fn late(id: String, starting: Starting) -> impl Stream<Item = Event> + Send + 'static {
    use futures_util::StreamExt;
    stream::once(async move {
        match starting.await {
            Ok(Started::Answer(_, frame)) => stream::iter([event(&frame)]).boxed(),
            Ok(Started::Stream(running)) => events(id, running).boxed(),
            Err(error) => stream::iter([failed(&id, &error)]).boxed(),
        }
    })
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_of_a_server_is_not_put_to_the_client() {
        for (theirs, ours) in [(200, 200), (400, 400), (404, 404)] {
            assert_eq!(passed_on(theirs), ours);
        }
        for theirs in [201, 202, 301, 401, 403, 405, 407, 429, 500, 503] {
            assert_eq!(passed_on(theirs), 200, "{theirs}");
        }
    }
}
