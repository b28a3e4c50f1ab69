//! What one call leaves behind: two audit lines, counters, and a trace span.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, Kind};
use lockgate_proto::mcp::method;
use tokio::time::Instant;

use crate::audit::{Audit, Completed, Decision, Intent, Received};
use crate::cancel::Cancel;
use crate::error::{CallError, Object};
use crate::identity::Authenticated;
use crate::pipeline::Incoming;
use crate::route::Entry;
use crate::telemetry::metrics::{CallLabels, CallTimes};
use crate::telemetry::trace::Context;
use crate::telemetry::{CallSpan, Metrics, Tracer};

/// What a call is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Prefixed name, URI or method.
    pub shown: &'a str,
    /// Kind.
    pub object: Object,
    /// Server that was chosen.
    pub entry: Option<&'a Entry>,
    /// Whether a catalog knows it: only then it may become a label.
    pub known: bool,
}

/// Where a call leaves its marks.
#[derive(Clone, Copy, Debug)]
pub struct Recorders<'a> {
    /// Audit lines.
    pub audit: &'a Arc<Audit>,
    /// Counters.
    pub metrics: &'a Arc<Metrics>,
    /// Spans.
    pub tracer: &'a Tracer,
}

/// An open intent: the first line is written, the second is owed.
#[derive(Debug)]
pub struct Trail {
    audit: Arc<Audit>,
    metrics: Arc<Metrics>,
    // Boxed: with tracing off, which is usual, a call carries no room for it.
    span: Option<Box<CallSpan>>,
    serial: u64,
    intent: Option<Intent>,
    started: Instant,
    /// Its time at the server.
    exchange: Exchange,
    method: &'static str,
    server: Option<ServerName>,
    tool: Option<Box<str>>,
    who: Arc<Authenticated>,
    session: Option<Arc<str>>,
    request_bytes: usize,
    cancel: Option<Arc<Cancel>>,
    closed: bool,
}

/// A call's time at its server.
#[derive(Clone, Copy, Debug)]
enum Exchange {
    /// It is not there yet.
    Before,
    /// It is there.
    Since(Instant),
    /// The server has had its say.
    Took(Duration),
}

impl Exchange {
    fn time(self) -> Option<Duration> {
        match self {
            Self::Before => None,
            Self::Since(departed) => Some(departed.elapsed()),
            Self::Took(time) => Some(time),
        }
    }
}

impl Trail {
    /// Writes the first line. `is_awaited` when nothing is sent for the call before [`Self::settled`].
    ///
    /// # Errors
    ///
    /// Fails when the audit log cannot take it: no audit, no call.
    pub fn begin(
        recorders: Recorders<'_>,
        serial: u64,
        incoming: &Incoming<'_>,
        subject: &Subject<'_>,
        decision: Decision<'_>,
        is_awaited: bool,
    ) -> Result<Self, CallError> {
        let frame = incoming.frame;
        let method = frame.method();
        let server = subject.entry.map(|entry| entry.settings.name.clone());
        let target = (!subject.shown.is_empty()).then_some(subject.shown);
        let label = known_method(&method);
        let span = recorders
            .tracer
            .start(incoming.trace, label, target, server.as_ref());
        let span = span.map(|span| Box::new(span.with_id(serial)));
        let trace = span.as_deref().map(CallSpan::context).or(incoming.trace);
        let arguments = frame.param(&["arguments"]);
        let intent = recorders.audit.received(&Received {
            serial,
            caller: &incoming.who.caller,
            session: incoming.session.map(|name| &**name),
            method: &method,
            target,
            server: server.as_ref(),
            arguments: arguments.map(|span| span.of(frame.text())),
            decision,
            trace_id: trace.map(Context::trace_id),
            is_awaited,
        })?;
        let tool = (subject.known && subject.object == Object::Tool).then(|| subject.shown.into());
        Ok(Self {
            audit: Arc::clone(recorders.audit),
            metrics: Arc::clone(recorders.metrics),
            span,
            serial,
            intent,
            started: Instant::now(),
            exchange: Exchange::Before,
            method: label,
            server,
            tool,
            who: Arc::clone(incoming.who),
            session: incoming.session.cloned(),
            request_bytes: frame.bytes().len(),
            cancel: incoming.cancel.cloned(),
            closed: false,
        })
    }

    /// The call goes out to its server.
    pub fn depart(&mut self) {
        self.exchange = Exchange::Since(Instant::now());
        if let Some(span) = &mut self.span {
            span.depart();
        }
    }

    /// The server has asked the client: from now on it is not the server alone that is waited for.
    pub fn asked(&mut self) {
        if let Exchange::Since(departed) = self.exchange {
            self.exchange = Exchange::Took(departed.elapsed());
        }
    }

    /// Trace context for the next hop; `None` when nothing is traced here.
    pub fn context(&self) -> Option<&Context> {
        self.span.as_deref().map(CallSpan::context)
    }

    /// Waits until the first line is as safe as it must be before the call goes out.
    ///
    /// # Errors
    ///
    /// Fails when the audit log does not take it in time.
    pub async fn settled(&self) -> Result<(), CallError> {
        let local_seq = self.intent.map(|intent| intent.local_seq);
        self.audit.settled(local_seq).await
    }

    /// The server answered. Resolves when the second line is as safe as it must be before the answer goes out.
    ///
    /// # Errors
    ///
    /// Fails when the audit log does not take it in time.
    pub fn answered(
        mut self,
        answer: &Frame,
    ) -> impl Future<Output = Result<(), CallError>> + Send + use<> {
        let status = match answer.kind() {
            Kind::Error => "server_error",
            _ if self.method == method::TOOLS_CALL && is_tool_error(answer) => "tool_error",
            _ => "ok",
        };
        let told = self.close(status, self.exchange.time());
        async move { self.audit.settled(told).await }
    }

    /// The gateway answered.
    pub fn succeeded(mut self) {
        self.close("ok", None);
    }

    /// The call ended without an answer of the server. Resolves as [`Self::answered`] does, or when that takes too long:
    /// the error stands either way.
    pub fn ended(mut self, error: &CallError) -> impl Future<Output = ()> + Send + use<> {
        self.accuse(error);
        let told = self.close(error.wire().verdict, self.time_until(error));
        // A log that did not take the first line in time is not waited for again.
        let awaited = told.filter(|_| !matches!(error, CallError::AuditUnavailable));
        async move {
            let _late = self.audit.settled(awaited).await;
        }
    }

    /// As [`Self::ended`], where nothing went out or nobody waits.
    pub fn failed(mut self, error: &CallError) {
        self.accuse(error);
        self.close(error.wire().verdict, self.time_until(error));
    }

    /// Records what the caller has tried, where that is a matter of security.
    fn accuse(&self, error: &CallError) {
        let Some(what) = error.offence() else { return };
        let method = self.method;
        let detail = match &self.server {
            Some(server) => format!("{method} at {server}: {error}"),
            None => format!("{method}: {error}"),
        };
        self.audit.security(what, &self.who.caller, &detail);
    }

    /// How long the server had until it failed. `None` where it was not it that failed, or nothing was sent.
    fn time_until(&self, error: &CallError) -> Option<Duration> {
        match error {
            CallError::Upstream(error) if error.is_of_server() => self.exchange.time(),
            _ => None,
        }
    }

    /// `exchange` is how long the server took, if it was asked.
    fn close(&mut self, status: &'static str, exchange: Option<Duration>) -> Option<u64> {
        if std::mem::replace(&mut self.closed, true) {
            return None;
        }
        let took = self.started.elapsed();
        let told = self.audit.completed(&Completed {
            serial: self.serial,
            intent: self.intent,
            caller: &self.who.caller,
            session: self.session.as_deref(),
            method: self.method,
            tool: self.tool.as_deref(),
            server: self.server.as_ref(),
            status,
            took,
        });
        let labels = CallLabels {
            server: self.server.as_ref(),
            method: self.method,
            tool: self.tool.as_deref(),
            tenant: self.who.caller.tenant.as_ref(),
            verdict: status,
        };
        let times = CallTimes {
            whole: took,
            server: exchange,
        };
        self.metrics.call_ended(labels, times, self.request_bytes);
        if let Some(span) = self.span.take() {
            span.end(status);
        }
        told
    }
}

/// A call that is dropped on its way (its client cancelled it, or closed the connection) still owes its second line.
impl Drop for Trail {
    fn drop(&mut self) {
        let cancelled = self
            .cancel
            .as_ref()
            .is_some_and(|cancel| cancel.has_fired());
        self.close(if cancelled { "cancelled" } else { "abandoned" }, None);
    }
}

fn is_tool_error(answer: &Frame) -> bool {
    let flag = answer.body_member(&["isError"]);
    flag.is_some_and(|span| span.of(answer.text()) == "true")
}

/// Method as a label: one of MCP and its extensions, or `other`.
fn known_method(name: &str) -> &'static str {
    const KNOWN: [&str; 24] = [
        method::TOOLS_CALL,
        method::TOOLS_LIST,
        method::PROMPTS_LIST,
        method::PROMPTS_GET,
        method::RESOURCES_LIST,
        method::TEMPLATES_LIST,
        method::RESOURCES_READ,
        method::SKILLS_LIST,
        method::SKILLS_GET,
        method::DIRECTORY_READ,
        method::SUBSCRIBE,
        method::UNSUBSCRIBE,
        method::COMPLETE,
        method::SET_LEVEL,
        method::PING,
        method::INITIALIZE,
        method::DISCOVER,
        method::LISTEN,
        method::TASKS_GET,
        method::TASKS_RESULT,
        method::TASKS_LIST,
        method::TASKS_CANCEL,
        method::TASKS_UPDATE,
        method::CANCELLED,
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == name)
        .unwrap_or("other")
}
