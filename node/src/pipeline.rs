//! READ FIRST: the life of a call, one line a stage.
//!
//! ```text
//! ingress ─► identity ─► session | stateless ─► [ route ─► policy ─► admit ─► quota ─► audit ─► upstream ─► filter ─► audit ] ─► client
//! ```
//!
//! The part in brackets is [`Pipeline::call`]. Every stage is a pure decision or one bounded wait; every refusal is
//! a row of the table in [`crate::error`].

mod page;
mod pass;
mod plan;
mod rights;
mod serving;
mod stream;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::{HeaderName, HeaderValue};
use lockgate_cluster::Serving;
use lockgate_proto::jsonrpc::{Frame, Splice};
use lockgate_proto::mcp::{Era, Revision, headers, method};

use crate::audit::{Audit, Decision};
use crate::cancel::Cancel;
use crate::error::{CallError, Object};
use crate::identity::{Authenticated, Identities};
use crate::policy::{Quotas, Verdict};
use crate::route::{Entry, Plan, Router, Scope, Table, TaskOwner};
use crate::task::either;
use crate::telemetry::trace::Context;
use crate::telemetry::{Metrics, Tracer};
use crate::trail::{Recorders, Subject, Trail};
use crate::upstream::link::{MessageStream, Outgoing, Reply};
use crate::upstream::{BoundSession, CallClass, Owner};

use self::pass::Admitted;
use self::rights::{Question, Rights};
pub use self::stream::CallStream;
use self::stream::{Lens, View};

/// Rule in the audit line of what the gateway answers itself.
const LOCAL: Decision<'static> = Decision {
    allowed: true,
    rule: "local",
};
/// Rule in the audit line of a request that no server can be found for.
const UNROUTABLE: Decision<'static> = Decision {
    allowed: false,
    rule: "unroutable",
};
/// What every door shares.
#[derive(Debug)]
pub struct Pipeline {
    /// Names to servers.
    pub router: Router,
    /// Who may come in, and who may stay.
    pub identities: Arc<Identities>,
    /// Without a line there, no call.
    pub audit: Arc<Audit>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who may still use how much.
    pub quotas: Arc<Quotas>,
    /// Spans.
    tracer: Tracer,
    calls: Arc<AtomicUsize>,
    calls_max: usize,
    serial: AtomicU64,
    /// Without the lease of its cluster a node can't know what was taken away meanwhile.
    serving: Serving,
}

/// One client request, ready for its way.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Message as received.
    pub frame: &'a Frame,
    /// Table that it is routed by.
    pub table: &'a Table,
    /// Servers in reach.
    pub scope: Scope,
    /// Revision that the client speaks.
    pub revision: Revision,
    /// Who asks.
    pub who: &'a Arc<Authenticated>,
    /// Session by its short name.
    pub session: Option<&'a Arc<str>>,
    /// Trace context of the client.
    pub trace: Option<&'a Context>,
    /// `Mcp-Param-*` headers of the client, passed on.
    pub params: &'a [(HeaderName, HeaderValue)],
    /// Fires when the client cancels, where it can.
    pub cancel: Option<&'a Arc<Cancel>>,
}

/// Which connection a call goes out on.
#[derive(Debug)]
pub enum Link<'a> {
    /// Any connection to the server.
    Stateless,
    /// The session's own.
    Session(&'a BoundSession),
}

/// How a call goes on.
#[derive(Debug)]
pub enum Outcome {
    /// It is answered.
    Done {
        /// HTTP status towards a stateless client.
        status: u16,
        /// Answer.
        frame: Frame,
    },
    /// Messages come first.
    Stream(Box<CallStream>),
}

#[cfg(test)]
impl Pipeline {
    /// For 16 calls at a time, with its audit file in `dir`.
    pub(crate) fn in_dir(
        dir: &std::path::Path,
        clock: fn() -> std::time::SystemTime,
        identities: Arc<Identities>,
    ) -> Self {
        let audit = Arc::new(Audit::in_dir(dir, clock));
        let quotas = Arc::new(Quotas::none());
        Self::new(identities, quotas, audit, Arc::default(), Tracer::off(), 16)
    }
}

impl Pipeline {
    /// `calls_max` bounds the calls in flight on this node.
    pub fn new(
        identities: Arc<Identities>,
        quotas: Arc<Quotas>,
        audit: Arc<Audit>,
        metrics: Arc<Metrics>,
        tracer: Tracer,
        calls_max: usize,
    ) -> Self {
        Self {
            router: Router::default(),
            identities,
            audit,
            metrics,
            quotas,
            tracer,
            calls: Arc::default(),
            calls_max,
            serial: AtomicU64::new(1),
            serving: Serving::default(),
        }
    }

    /// Calls in flight.
    pub fn calls_in_flight(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Runs one request that a server has to answer. `link` opens the connection once the call is allowed.
    ///
    /// # Errors
    ///
    /// Fails when a stage refuses or the server gives no answer. An answer that is a JSON-RPC error is an answer.
    pub async fn call<'l, L>(
        &self,
        incoming: Incoming<'_>,
        tasks: TaskOwner<'_>,
        link: L,
    ) -> Result<Outcome, CallError>
    where
        L: AsyncFnOnce(usize) -> Result<Link<'l>, CallError>,
    {
        let plan = match plan::planned(&incoming, tasks) {
            Ok(plan) => plan,
            Err(error) => {
                self.permit_method(&incoming)?;
                self.refused(&incoming, UNROUTABLE, &error);
                return Err(error);
            }
        };
        let entry = &incoming.table.servers[plan.server];
        let question = Question::new(&incoming, entry, &plan);
        let (rule, passed) = self.pass(&incoming, question, entry).await;
        let decision = Decision {
            allowed: passed.is_ok(),
            rule: &rule,
        };
        let subject = Subject {
            shown: &plan.shown,
            object: plan.object,
            entry: Some(entry),
            known: plan.item.is_some(),
        };
        let mut trail = self.begin(&incoming, &subject, decision, passed.is_ok())?;
        let admitted = match passed {
            Ok(admitted) => admitted,
            Err(error) => {
                trail.failed(&error);
                return Err(error);
            }
        };
        let reply = {
            let asked = pin!(async {
                trail.settled().await?;
                let link = link(plan.server).await?;
                trail.depart();
                send(&incoming, entry, &plan, link, &trail).await
            });
            // Only when the answer does not stand there at once.
            let lost = pin!(question.lost(&self.identities, incoming.who));
            either(asked, lost).await.unwrap_or_else(Err)
        };
        answered(reply, &incoming, entry, trail, |messages, trail| {
            let rights = Rights::new(&self.identities, &incoming, question);
            let view = View::new(&incoming, entry);
            CallStream::new(messages, view, trail, rights, admitted)
        })
        .await
    }

    /// Writes the pair of audit lines for what the gateway answers itself (lists, discover, initialize).
    ///
    /// # Errors
    ///
    /// Fails when the audit log cannot take the record.
    pub fn local(&self, incoming: &Incoming<'_>, target: &str) -> Result<(), CallError> {
        self.received_here(incoming, target)?.succeeded();
        Ok(())
    }

    /// The first audit line of what the gateway answers itself, but may yet have to refuse.
    ///
    /// # Errors
    ///
    /// Fails when the audit log cannot take the record.
    pub fn received_here(&self, incoming: &Incoming<'_>, target: &str) -> Result<Trail, CallError> {
        let subject = Subject {
            shown: target,
            object: Object::Method,
            entry: None,
            known: false,
        };
        self.received(incoming, &subject, LOCAL)
    }

    /// Policy and the first audit line for a notification of a vendor's own, which goes to `entry` while the trail is
    /// open.
    ///
    /// # Errors
    ///
    /// Fails when policy says no, or when the audit log cannot take the record.
    pub fn notification(&self, incoming: &Incoming<'_>, entry: &Entry) -> Result<Trail, CallError> {
        let method = incoming.frame.method();
        let subject = Subject {
            shown: &method,
            object: Object::Method,
            entry: Some(entry),
            known: false,
        };
        let access = &incoming.who.access;
        let verdict = access.decide(Object::Method, &method, Some(&entry.settings.name));
        if !verdict.allowed {
            return Err(self.denied(incoming, &subject, verdict));
        }
        let decision = Decision {
            allowed: true,
            rule: verdict.rule,
        };
        self.received(incoming, &subject, decision)
    }

    /// Policy for one object that a request names beside others, and the pair of audit lines if it says no.
    ///
    /// # Errors
    ///
    /// [`CallError::Denied`].
    pub fn allow(
        &self,
        incoming: &Incoming<'_>,
        object: Object,
        shown: &str,
        entry: Option<&Entry>,
    ) -> Result<(), CallError> {
        let server = entry.map(|entry| &entry.settings.name);
        let verdict = incoming.who.access.decide(object, shown, server);
        if verdict.allowed {
            return Ok(());
        }
        let subject = Subject {
            shown,
            object,
            entry,
            known: false,
        };
        Err(self.denied(incoming, &subject, verdict))
    }

    /// Writes the pair of audit lines for what policy has refused, and makes the refusal.
    fn denied(
        &self,
        incoming: &Incoming<'_>,
        subject: &Subject<'_>,
        verdict: Verdict<'_>,
    ) -> CallError {
        let decision = Decision {
            allowed: false,
            rule: verdict.rule,
        };
        let error = denied(subject.object, subject.shown.to_owned(), verdict);
        // The refusal stands whether or not the log can take it: nothing is sent.
        if let Ok(trail) = self.received(incoming, subject, decision) {
            trail.failed(&error);
        }
        error
    }

    /// Writes the pair of audit lines for a request that its session has no place for.
    pub fn overloaded(&self, incoming: &Incoming<'_>, error: &CallError) {
        let rule = pass::OVERLOADED;
        let allowed = false;
        self.refused(incoming, Decision { allowed, rule }, error);
    }

    /// Writes the pair of audit lines for a request that no server was chosen for.
    fn refused(&self, incoming: &Incoming<'_>, decision: Decision<'_>, error: &CallError) {
        let shown = incoming
            .frame
            .param_str(&["name"])
            .or_else(|| incoming.frame.param_str(&["uri"]));
        let subject = Subject {
            shown: shown.as_deref().unwrap_or_default(),
            object: Object::Method,
            entry: None,
            known: false,
        };
        // The refusal stands whether or not the log can take it: nothing is called.
        if let Ok(trail) = self.received(incoming, &subject, decision) {
            trail.failed(error);
        }
    }

    fn received(
        &self,
        incoming: &Incoming<'_>,
        subject: &Subject<'_>,
        decision: Decision<'_>,
    ) -> Result<Trail, CallError> {
        self.begin(incoming, subject, decision, false)
    }

    fn begin(
        &self,
        incoming: &Incoming<'_>,
        subject: &Subject<'_>,
        decision: Decision<'_>,
        is_awaited: bool,
    ) -> Result<Trail, CallError> {
        self.check_lease()?;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let recorders = Recorders {
            audit: &self.audit,
            metrics: &self.metrics,
            tracer: &self.tracer,
        };
        Trail::begin(recorders, serial, incoming, subject, decision, is_awaited)
    }
}

fn denied(object: Object, name: String, verdict: Verdict<'_>) -> CallError {
    let rule = verdict.rule.to_owned();
    CallError::Denied { object, name, rule }
}

async fn send(
    incoming: &Incoming<'_>,
    entry: &Entry,
    plan: &Plan<'_>,
    link: Link<'_>,
    trail: &Trail,
) -> Result<Reply, CallError> {
    let out = outgoing(incoming, entry, plan, trail.context().or(incoming.trace))?;
    let method = incoming.frame.method();
    let rules = incoming.who.access.tool_rules();
    let ruled = plan
        .own
        .as_deref()
        .and_then(|own| rules.retry_safe(&entry.settings.name, own));
    let tool_safe = ruled.unwrap_or_else(|| plan.item.is_some_and(|item| item.retry_safe));
    let class = CallClass::of(&method, tool_safe);
    let reply = match link {
        Link::Stateless => {
            let owner = Owner::of(&incoming.who.caller, incoming.scope != Scope::All);
            entry.handle.call(&out, class, &owner).await
        }
        Link::Session(session) => session.call(&out, class).await,
    };
    Ok(reply?)
}

/// Undoes the prefix, passes the trace context on, makes the routing headers of the stateless era.
fn outgoing(
    incoming: &Incoming<'_>,
    entry: &Entry,
    plan: &Plan<'_>,
    trace: Option<&Context>,
) -> Result<Outgoing, CallError> {
    let frame = incoming.frame;
    let mut headers = Vec::new();
    let sent = match trace {
        Some(trace) => {
            headers.extend(trace.headers());
            traced(frame, plan, trace)?
        }
        None => match (plan.edit, plan.own.as_deref()) {
            (Some(span), Some(own)) => frame.with_string(span, own),
            _ => frame.clone(),
        },
    };
    if incoming.table.era == Era::Stateless {
        headers.push((
            HeaderName::from_static(headers::METHOD),
            value(&frame.method())?,
        ));
        if let Some(own) = &plan.own
            && !matches!(&*frame.method(), method::COMPLETE)
        {
            headers.push((
                HeaderName::from_static(headers::NAME),
                value(&headers::encode_value(own))?,
            ));
        }
        headers.extend_from_slice(incoming.params);
    }
    Ok(Outgoing {
        frame: sent,
        headers,
        timeout: entry.settings.timeout,
    })
}

/// `frame` as its server knows it, with the trace context in `_meta`.
fn traced(frame: &Frame, plan: &Plan<'_>, trace: &Context) -> Result<Frame, CallError> {
    let mut splice = Splice::new(frame.text());
    if let Some((span, own)) = plan.replacement() {
        splice.replace(span, own);
    }
    if let Some(params) = frame.params_span() {
        trace.splice_meta(frame.text(), params, &mut splice);
    }
    if splice.is_empty() {
        return Ok(frame.clone());
    }
    Frame::edited(splice).map_err(CallError::Unwritable)
}

fn value(text: &str) -> Result<HeaderValue, CallError> {
    HeaderValue::from_str(text).map_err(|_| CallError::InvalidRequest {
        what: format!("`{text}` cannot be a method name").into(),
    })
}

async fn answered(
    reply: Result<Reply, CallError>,
    incoming: &Incoming<'_>,
    entry: &Entry,
    trail: Trail,
    stream: impl FnOnce(MessageStream, Trail) -> CallStream,
) -> Result<Outcome, CallError> {
    match reply {
        Ok(Reply::Single { status, frame }) => {
            let method = incoming.frame.method();
            match Lens::new(incoming, &method, entry).answer(&frame) {
                Ok(shown) => {
                    trail.answered(&frame).await?;
                    let frame = shown.unwrap_or(frame);
                    Ok(Outcome::Done { status, frame })
                }
                Err(error) => {
                    trail.ended(&error).await;
                    Err(error)
                }
            }
        }
        Ok(Reply::Stream(messages)) => Ok(Outcome::Stream(Box::new(stream(messages, trail)))),
        Err(error) => {
            if let CallError::Upstream(error) = &error {
                entry.handle.call_failed(error);
            }
            trail.ended(&error).await;
            Err(error)
        }
    }
}
