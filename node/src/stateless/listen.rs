//! `subscriptions/listen` over several servers: one acknowledgement, one stream. List changes come from the gateway's
//! own tables, resource updates from one listen per server.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderName, HeaderValue};
use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, Kind, Splice, encode_str};
use lockgate_proto::mcp::{Era, headers, method};
use tokio::time::Instant;

use crate::answer::{Answer, Event, Events};
use crate::error::{CallError, UpstreamError};
use crate::route::{Entry, Scope, Table, changed_method, changes, prefix_notification};
use crate::upstream::link::{MessageStream, Outgoing, Reply};
use crate::upstream::subscription::{KEY as SUBSCRIPTION_KEY, tagged};
use crate::upstream::{CallClass, Owner};

use super::door::{Ask, Door, event, failed, is_answer};
use super::look::{declares_tasks, has_tasks};
use super::rights::until_over;
use super::task_names::TaskNames;
use super::validate;

/// Longest wait for a server's own acknowledgement; a slower one is left out of ours.
const ACKNOWLEDGE_WAIT: Duration = Duration::from_secs(5);
/// A listening stream may be silent for long.
const SILENCE_MAX: Duration = Duration::from_secs(30 * 86_400);
/// First wait before a server whose listen ended is asked again; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(250);
/// Longest such wait. A listen that lasted longer begins with the first wait again.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// One server's listen.
struct Part {
    entry: Entry,
    uris: Vec<String>,
    tasks: TaskNames,
    /// Raw ids, for the client, of the tasks that the server tells of.
    honoured: Vec<String>,
    messages: MessageStream,
}

/// Refuses a listen for tasks of a client that cannot follow them: "the server MUST return a JSON-RPC error specifying the
/// missing capabilities".
///
/// # Errors
///
/// [`CallError::TasksUndeclared`].
pub(super) fn check(ask: &Ask) -> Result<(), CallError> {
    if !validate::follows_tasks(&ask.frame) || declares_tasks(&ask.frame) {
        return Ok(());
    }
    let offered = match ask.scope {
        Scope::All => ask.table.servers.iter().any(has_tasks),
        Scope::Server(at) => ask.table.servers.get(at).is_some_and(has_tasks),
    };
    if offered {
        return Err(CallError::TasksUndeclared);
    }
    Ok(())
}

/// Opens the merged listen and answers with its stream.
pub(super) async fn open(door: Door, ask: Ask) -> Answer {
    let wanted = |kind: &str| {
        ask.frame
            .param(&["notifications", kind])
            .is_some_and(|span| span.of(ask.frame.text()) == "true")
    };
    let kinds: Vec<(&'static str, &'static str)> = [
        ("toolsListChanged", "tools"),
        ("promptsListChanged", "prompts"),
        ("resourcesListChanged", "resources"),
    ]
    .into_iter()
    .filter(|(flag, _)| wanted(flag))
    .collect();
    let parts = subscribe(&door, &ask).await;
    let ask = Arc::new(ask);
    let id = ask.frame.id().unwrap_or("null").to_owned();
    let acknowledged = acknowledgement(&id, &kinds, &parts);
    let capabilities = kinds.iter().map(|(_, capability)| *capability).collect();
    let updates = parts
        .into_iter()
        .map(|part| Box::pin(updates(Following::new(&door, &ask, part))));
    let events = stream::iter([acknowledged])
        .chain(stream::select(
            list_changes(door.clone(), id.clone(), capabilities),
            stream::select_all(updates),
        ))
        .take_until(until_over(door, ask))
        .chain(stream::iter([goodbye(&id)]));
    Answer::Events(Events(Box::pin(events)))
}

/// Opens the listen of a server's own route: the server's stream as it stands, however long it is silent.
///
/// # Errors
///
/// Fails when the server cannot be reached, or says nothing at all within its timeout.
pub(super) async fn open_at(door: &Door, ask: Ask, at: usize) -> Result<Answer, CallError> {
    let ask = Arc::new(ask);
    let entry = &ask.table.servers[at];
    let (server, limit) = (&entry.settings.name, entry.settings.timeout);
    let tasks = TaskNames::of(&ask, &door.sealer, server.as_str());
    let opening = async {
        let reply = call(&ask, entry, tasks.outgoing(&ask.frame)?).await?;
        let mut messages = match reply {
            Reply::Single { status, frame } => {
                return Ok(Answer::with_status(status, frame.bytes().clone()));
            }
            Reply::Stream(messages) => messages,
        };
        let first = messages.next().await?;
        let first = first.ok_or_else(|| ended_early(server))?;
        if is_answer(&first) {
            return Ok(Answer::with_status(200, first.bytes().clone()));
        }
        let first = tasks.shown(first).ok_or_else(|| ended_early(server))?;
        let opened = Opened {
            tasks,
            id: ask.frame.id().unwrap_or("null").to_owned(),
            server: server.clone(),
            messages,
            over: Box::pin(until_over(door.clone(), Arc::clone(&ask))),
        };
        let events = stream::iter([event(&first)]).chain(opened.events());
        Ok(Answer::Events(Events(Box::pin(events))))
    };
    match tokio::time::timeout(limit, opening).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            let server = server.clone();
            Err(UpstreamError::Timeout { server, limit }.into())
        }
    }
}

fn ended_early(server: &ServerName) -> CallError {
    let error = UpstreamError::Broken {
        server: server.clone(),
        what: "the stream ended without an answer".to_owned(),
    };
    error.into()
}

/// The listen of a server's own route, after its first message.
struct Opened {
    tasks: TaskNames,
    id: String,
    server: ServerName,
    messages: MessageStream,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Opened {
    fn events(self) -> impl Stream<Item = Event> + Send + 'static {
        stream::unfold(Some(self), |opened| async move {
            let mut opened = opened?;
            loop {
                let next = tokio::select! {
                    biased;
                    () = &mut opened.over => return Some((goodbye(&opened.id), None)),
                    next = opened.messages.next() => next,
                };
                let error = match next {
                    Ok(Some(frame)) => {
                        let Some(frame) = opened.tasks.shown(frame) else {
                            continue;
                        };
                        let rest = (!is_answer(&frame)).then_some(opened);
                        return Some((event(&frame), rest));
                    }
                    Ok(None) => ended_early(&opened.server),
                    Err(error) => error.into(),
                };
                return Some((failed(&opened.id, &error), None));
            }
        })
    }
}

/// Asks a server to let us listen.
async fn call(ask: &Ask, entry: &Entry, frame: Frame) -> Result<Reply, UpstreamError> {
    let mut headers = vec![(
        HeaderName::from_static(headers::METHOD),
        HeaderValue::from_static(method::LISTEN),
    )];
    headers.extend(ask.trace.iter().flat_map(|trace| trace.headers()));
    let out = Outgoing {
        frame,
        headers,
        timeout: SILENCE_MAX,
    };
    let class = CallClass::of(method::LISTEN, true);
    let owner = Owner::of(&ask.who.caller, ask.scope != Scope::All);
    entry.handle.call(&out, class, &owner).await
}

/// One listen at each server that has one of the wanted resources, or runs one of the named tasks.
async fn subscribe(door: &Door, ask: &Ask) -> Vec<Part> {
    let mut by_server: Vec<(usize, Vec<String>)> = Vec::new();
    for uri in validate::subscriptions(&ask.frame) {
        let Some(server) = ask.table.resource(&uri) else {
            continue;
        };
        match by_server.iter_mut().find(|(at, _)| *at == server) {
            Some((_, uris)) => uris.push(uri),
            None => by_server.push((server, vec![uri])),
        }
    }
    let opened = ask
        .table
        .servers
        .iter()
        .enumerate()
        .filter_map(|(at, entry)| {
            let found = by_server.iter_mut().find(|(server, _)| *server == at);
            let uris = found
                .map(|(_, uris)| std::mem::take(uris))
                .unwrap_or_default();
            let tasks = TaskNames::of(ask, &door.sealer, entry.settings.name.as_str());
            let wants_nothing = uris.is_empty() && tasks.is_empty();
            (!wants_nothing).then(|| listen_at(ask, entry.clone(), uris, tasks))
        });
    join_all(opened).await.into_iter().flatten().collect()
}

async fn listen_at(ask: &Ask, entry: Entry, uris: Vec<String>, tasks: TaskNames) -> Option<Part> {
    let own: Vec<String> = uris
        .iter()
        .map(|uri| encode_str(&entry.settings.own_uri(uri)))
        .collect();
    let mut kinds = Vec::new();
    if !own.is_empty() {
        kinds.push(format!(r#""resourceSubscriptions":[{}]"#, own.join(",")));
    }
    if !tasks.is_empty() {
        kinds.push(format!(r#""taskIds":{}"#, tasks.own()));
    }
    let params = ask.frame.params_span()?;
    let mut splice = Splice::new(ask.frame.text());
    splice.set_member(params, "notifications", &format!("{{{}}}", kinds.join(",")));
    let frame = Frame::edited(splice).ok()?;
    let opening = async {
        let Ok(Reply::Stream(mut messages)) = call(ask, &entry, frame).await else {
            return None;
        };
        // The first message is the acknowledgement; ours stands for it.
        let first = messages.next().await.ok()??;
        let honoured = tasks.honoured(&first);
        (first.method() == method::LISTEN_ACKNOWLEDGED).then_some((messages, honoured))
    };
    let opened = tokio::time::timeout(ACKNOWLEDGE_WAIT, opening)
        .await
        .ok()
        .flatten();
    if opened.is_none() {
        tracing::warn!(server = %entry.settings.name, "server takes no subscriptions");
    }
    let (messages, honoured) = opened?;
    Some(Part {
        messages,
        honoured,
        entry,
        uris,
        tasks,
    })
}

fn acknowledgement(id: &str, kinds: &[(&str, &str)], parts: &[Part]) -> Event {
    let mut honoured: Vec<String> = kinds
        .iter()
        .map(|(flag, _)| format!(r#""{flag}":true"#))
        .collect();
    let uris: Vec<String> = parts
        .iter()
        .flat_map(|part| &part.uris)
        .map(|uri| encode_str(uri))
        .collect();
    if !uris.is_empty() {
        honoured.push(format!(r#""resourceSubscriptions":[{}]"#, uris.join(",")));
    }
    let tasks: Vec<&str> = parts
        .iter()
        .flat_map(|part| part.honoured.iter().map(String::as_str))
        .collect();
    if !tasks.is_empty() {
        honoured.push(format!(r#""taskIds":[{}]"#, tasks.join(",")));
    }
    let method = method::LISTEN_ACKNOWLEDGED;
    message(format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"_meta":{{"{SUBSCRIPTION_KEY}":{id}}},"notifications":{{{}}}}}}}"#,
        honoured.join(",")
    ))
}

fn goodbye(id: &str) -> Event {
    message(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"{SUBSCRIPTION_KEY}":{id}}}}}}}"#
    ))
}

fn message(text: String) -> Event {
    Event {
        id: None,
        retry_ms: None,
        data: text.into(),
    }
}

/// Resource updates of one server, under the client's subscription id and the client's URIs.
fn updates(following: Following) -> impl Stream<Item = Event> + Send + 'static {
    stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((event, following))
    })
}

/// What keeps the client's subscriptions at one server, over restarts of that server.
struct Following {
    door: Door,
    ask: Arc<Ask>,
    id: String,
    part: Part,
    /// Resources that may have changed while nobody listened.
    missed: Vec<String>,
    since: Instant,
    wait: Duration,
}

impl Following {
    fn new(door: &Door, ask: &Arc<Ask>, part: Part) -> Self {
        Self {
            door: door.clone(),
            id: ask.frame.id().unwrap_or("null").to_owned(),
            ask: Arc::clone(ask),
            part,
            missed: Vec::new(),
            since: Instant::now(),
            wait: RETRY_MIN,
        }
    }

    /// `None` when the server was taken out of the configuration.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(uri) = self.missed.pop() {
                return Some(updated_event(&self.id, &uri));
            }
            match self.part.messages.next().await {
                Ok(Some(frame)) if frame.kind() == Kind::Notification => {
                    let Some(frame) = self.part.tasks.shown(frame) else {
                        continue;
                    };
                    let Some(frame) = tagged(&frame, &self.id) else {
                        continue;
                    };
                    let settings = &self.part.entry.settings;
                    match prefix_notification(settings, &frame) {
                        Ok(shown) => return Some(event(&shown.unwrap_or(frame))),
                        Err(error) => {
                            tracing::error!(server = %settings.name, %error, "news not told");
                            continue;
                        }
                    }
                }
                Ok(_) => {
                    tracing::debug!(server = %self.part.entry.settings.name, "listen ended");
                }
                Err(error) => {
                    tracing::warn!(server = %self.part.entry.settings.name, %error, "listen broke");
                }
            }
            self.listen_again().await?;
        }
    }

    async fn listen_again(&mut self) -> Option<()> {
        if self.since.elapsed() >= RETRY_MAX {
            self.wait = RETRY_MIN;
        }
        loop {
            tokio::time::sleep(self.wait).await;
            self.wait = (self.wait * 2).min(RETRY_MAX);
            let table = self.door.pipeline.router.table(Era::Stateless);
            let at = table.server(self.part.entry.settings.name.as_str())?;
            let entry = table.servers[at].clone();
            let (uris, tasks) = (self.part.uris.clone(), self.part.tasks.clone());
            if let Some(part) = listen_at(&self.ask, entry, uris, tasks).await {
                self.missed.clone_from(&part.uris);
                self.part = part;
                self.since = Instant::now();
                return Some(());
            }
        }
    }
}

fn updated_event(id: &str, uri: &str) -> Event {
    let (method, uri) = (method::RESOURCE_UPDATED, encode_str(uri));
    message(format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"_meta":{{"{SUBSCRIPTION_KEY}":{id}}},"uri":{uri}}}}}"#
    ))
}

/// List changes, from the gateway's own tables.
fn list_changes(
    door: Door,
    id: String,
    capabilities: Vec<&'static str>,
) -> impl Stream<Item = Event> + Send + 'static {
    let seen = door.pipeline.router.table(Era::Stateless);
    let version = door.pipeline.router.changes();
    stream::unfold(
        (door, id, capabilities, seen, version),
        |(door, id, capabilities, seen, mut version)| async move {
            let mut seen: Arc<Table> = seen;
            loop {
                version.changed().await.ok()?;
                let now = door.pipeline.router.table(Era::Stateless);
                let changed: Vec<_> = changes(&seen, &now)
                    .into_iter()
                    .map(|(_, capability)| capability)
                    .collect();
                seen = now;
                let told: Vec<Event> = capabilities
                    .iter()
                    .filter(|capability| changed.contains(capability))
                    .map(|capability| changed_event(&id, capability))
                    .collect();
                if !told.is_empty() {
                    return Some((stream::iter(told), (door, id, capabilities, seen, version)));
                }
            }
        },
    )
    .flatten()
}

fn changed_event(id: &str, capability: &str) -> Event {
    let method = changed_method(capability);
    message(format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"_meta":{{"{SUBSCRIPTION_KEY}":{id}}}}}}}"#
    ))
}
