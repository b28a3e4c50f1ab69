//! Spans of calls, exported when tracing is on.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use lockgate_proto::id::ServerName;
use lockgate_proto::mcp::method;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
    TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context as OtelContext, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::trace::Context;

/// Longest name of a tool or prompt in a span, in bytes.
const TARGET_BYTES_MAX: usize = 256;
/// W3C Trace Context level 2: the trace id is random. Passed on as it came.
const RANDOM_FLAG: u8 = 2;

/// Starts spans, or does nothing. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tracer {
    inner: Option<SdkTracer>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer")
            .field("on", &self.inner.is_some())
            .finish()
    }
}

impl Tracer {
    /// Starts nothing: contexts of clients pass through unchanged and none is made up.
    pub fn off() -> Self {
        Self::default()
    }

    pub(super) fn on(tracer: SdkTracer) -> Self {
        Self {
            inner: Some(tracer),
        }
    }

    /// Starts the span of one call. `None` when tracing is off: the call then goes on with `incoming` itself.
    ///
    /// `method` is one of MCP's own or `other`. `target` is shown for tools and prompts only: a URI may hold what
    /// nobody but the caller should see.
    pub fn start(
        &self,
        incoming: Option<&Context>,
        method: &'static str,
        target: Option<&str>,
        server: Option<&ServerName>,
    ) -> Option<CallSpan> {
        let tracer = self.inner.as_ref()?;
        let parent = match incoming.and_then(remote) {
            Some(remote) => OtelContext::new().with_remote_span_context(remote),
            None => OtelContext::new(),
        };
        let builder = SpanBuilder::from_name(method).with_kind(SpanKind::Server);
        let mut span = tracer.build_with_context(builder, &parent);
        let labels = span
            .is_recording()
            .then(|| Labels::new(method, target, server));
        if let Some(labels) = &labels {
            labels.describe(&mut span);
        }
        let random = incoming.map_or(0, |incoming| incoming.flags() & RANDOM_FLAG);
        let context = context_of(span.span_context(), random, incoming);
        Some(CallSpan {
            tracer: tracer.clone(),
            span,
            leg: None,
            labels,
            context,
        })
    }
}

/// Spans of one call: the gateway's own and, once it has gone out, that of its way to the server and back. They end
/// when they are dropped, at the latest.
pub struct CallSpan {
    tracer: SdkTracer,
    span: Span,
    leg: Option<Span>,
    /// What both are described by, if anybody records them.
    labels: Option<Labels>,
    context: Context,
}

impl fmt::Debug for CallSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallSpan")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl CallSpan {
    /// Adds the number under which audit lines and logs know the call.
    #[must_use]
    pub fn with_id(mut self, id: u64) -> Self {
        // The protocol has no unsigned numbers; a node does not live to see 2^63 calls.
        let id = i64::try_from(id).unwrap_or(i64::MAX);
        self.span
            .set_attribute(KeyValue::new("lockgate.call.id", id));
        self
    }

    /// Begins the way to the server, which is the parent of what the server does from now on. Another one begins where
    /// the one before has ended.
    pub fn depart(&mut self) {
        let parent = self.span.span_context().clone();
        let parent = OtelContext::new().with_remote_span_context(parent);
        let name = self.labels.as_ref().map(|labels| labels.name.clone());
        let name = name.unwrap_or_else(|| "call".into());
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Client);
        let mut leg = self.tracer.build_with_context(builder, &parent);
        if let Some(labels) = &self.labels {
            labels.describe(&mut leg);
        }
        let random = self.context.flags() & RANDOM_FLAG;
        self.context = context_of(leg.span_context(), random, Some(&self.context));
        self.leg = Some(leg);
    }

    /// Context for the next hop.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Ends the span. `verdict` is `ok` or what the call's other labels say.
    pub fn end(mut self, verdict: &'static str) {
        for span in self.leg.iter_mut().chain([&mut self.span]) {
            if verdict != "ok" {
                span.set_attribute(KeyValue::new("error.type", verdict));
                span.set_status(Status::error(verdict));
            }
            span.end();
        }
    }
}

/// Names by OpenTelemetry's conventions for MCP.
struct Labels {
    name: Cow<'static, str>,
    attributes: Vec<KeyValue>,
}

impl Labels {
    fn new(method: &'static str, target: Option<&str>, server: Option<&ServerName>) -> Self {
        let mut labels = Self {
            name: method.into(),
            attributes: vec![KeyValue::new("mcp.method.name", method)],
        };
        let key = match method {
            method::TOOLS_CALL => Some("gen_ai.tool.name"),
            method::PROMPTS_GET => Some("gen_ai.prompt.name"),
            _ => None,
        };
        if let (Some(key), Some(target)) = (key, target) {
            let target = &target[..target.floor_char_boundary(TARGET_BYTES_MAX)];
            labels.name = format!("{method} {target}").into();
            labels
                .attributes
                .push(KeyValue::new(key, target.to_owned()));
        }
        if let Some(server) = server {
            let server = server.as_str().to_owned();
            labels
                .attributes
                .push(KeyValue::new("lockgate.server", server));
        }
        labels
    }

    fn describe(&self, span: &mut Span) {
        span.update_name(self.name.clone());
        span.set_attributes(self.attributes.iter().cloned());
    }
}

/// The client's span as parent.
fn remote(incoming: &Context) -> Option<SpanContext> {
    let state = incoming.tracestate.as_deref();
    // A state that the SDK cannot read still travels on as text; only the exported span lacks it.
    let state = state.and_then(|text| TraceState::from_str(text).ok());
    Some(SpanContext::new(
        TraceId::from_hex(incoming.trace_id()).ok()?,
        SpanId::from_hex(incoming.parent_id()).ok()?,
        TraceFlags::new(incoming.flags()),
        true,
        state.unwrap_or_default(),
    ))
}

fn context_of(own: &SpanContext, random: u8, incoming: Option<&Context>) -> Context {
    let flags = u8::from(own.is_sampled()) | random;
    let text = format!(
        "00-{:032x}-{:016x}-{flags:02x}",
        own.trace_id(),
        own.span_id()
    );
    Context {
        traceparent: text.into(),
        tracestate: incoming.and_then(|incoming| incoming.tracestate.clone()),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
    use parking_lot::Mutex;
    use std::sync::Arc;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().extend(batch);
            Ok(())
        }
    }

    struct Collector {
        provider: SdkTracerProvider,
        kept: Kept,
    }

    impl Collector {
        fn new(ratio: f64) -> Self {
            let kept = Kept::default();
            let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
            let provider = SdkTracerProvider::builder()
                .with_simple_exporter(kept.clone())
                .with_sampler(sampler)
                .build();
            Self { provider, kept }
        }

        fn tracer(&self) -> Tracer {
            Tracer::on(self.provider.tracer("test"))
        }

        fn spans(&self) -> Vec<SpanData> {
            self.kept.0.lock().clone()
        }
    }

    fn incoming(flags: &str) -> Context {
        Context::parse(&format!("{PARENT}-{flags}"), Some("vendor=1")).unwrap()
    }

    fn attribute(span: &SpanData, key: &str) -> Option<String> {
        let found = span.attributes.iter().find(|kv| kv.key.as_str() == key)?;
        Some(found.value.to_string())
    }

    #[test]
    fn without_a_collector_nothing_is_made_up() {
        let tracer = Tracer::off();
        assert!(tracer.start(None, "tools/call", None, None).is_none());
        assert!(
            tracer
                .start(Some(&incoming("01")), "tools/call", None, None)
                .is_none()
        );
    }

    #[test]
    fn the_next_hop_is_a_child_of_the_call_in_the_clients_trace() {
        let (collector, client) = (Collector::new(0.0), incoming("01"));
        let span = collector
            .tracer()
            .start(Some(&client), "tools/call", Some("git_log"), None);
        let span = span.unwrap().with_id(7);
        let next = span.context().clone();
        span.end("ok");
        let [exported] = &collector.spans()[..] else {
            panic!("one span")
        };
        assert_eq!(next.trace_id(), client.trace_id());
        assert_eq!(
            next.parent_id(),
            exported.span_context.span_id().to_string()
        );
        assert_eq!(next.tracestate, client.tracestate);
        assert_eq!(
            Context::parse(&next.traceparent, Some("vendor=1")),
            Some(next)
        );
        assert_eq!(exported.parent_span_id.to_string(), client.parent_id());
        assert_eq!(exported.span_kind, SpanKind::Server);
        assert_eq!(exported.name, "tools/call git_log");
        assert_eq!(
            attribute(exported, "lockgate.call.id").as_deref(),
            Some("7")
        );
        assert_eq!(exported.status, Status::Unset);
    }

    #[test]
    fn the_way_to_the_server_is_a_span_of_its_own() {
        let (collector, client) = (Collector::new(0.0), incoming("01"));
        let server = ServerName::from("git");
        let tracer = collector.tracer();
        let span = tracer.start(Some(&client), "tools/call", Some("git_log"), Some(&server));
        let mut span = span.unwrap();
        span.depart();
        let next = span.context().clone();
        span.end("timeout");
        let [leg, own] = &collector.spans()[..] else {
            panic!("two spans")
        };
        assert_eq!(
            (&leg.span_kind, &own.span_kind),
            (&SpanKind::Client, &SpanKind::Server)
        );
        assert_eq!(leg.parent_span_id, own.span_context.span_id());
        assert_eq!(next.parent_id(), leg.span_context.span_id().to_string());
        assert_eq!(next.trace_id(), client.trace_id());
        assert_eq!(next.tracestate, client.tracestate);
        assert_eq!(leg.name, "tools/call git_log");
        assert_eq!(attribute(leg, "lockgate.server").as_deref(), Some("git"));
        assert_eq!(leg.status, Status::error("timeout"));
    }

    #[test]
    fn the_callers_flag_wins_over_the_ratio() {
        let collector = Collector::new(1.0);
        let span = collector
            .tracer()
            .start(Some(&incoming("00")), "tools/call", None, None);
        let span = span.unwrap();
        assert_eq!(span.context().flags(), 0);
        span.end("ok");
        assert!(collector.spans().is_empty());
    }

    #[test]
    fn the_random_flag_passes_through() {
        let collector = Collector::new(1.0);
        let tracer = collector.tracer();
        let flags = |text| {
            let span = tracer
                .start(Some(&incoming(text)), "ping", None, None)
                .unwrap();
            span.context().flags()
        };
        assert_eq!((flags("03"), flags("02"), flags("09")), (3, 2, 1));
    }

    #[test]
    fn a_root_is_sampled_by_the_ratio() {
        for (ratio, n_spans) in [(0.0, 0), (1.0, 1)] {
            let collector = Collector::new(ratio);
            let span = collector
                .tracer()
                .start(None, "tools/list", None, None)
                .unwrap();
            assert_eq!(usize::from(span.context().flags()), n_spans);
            span.end("ok");
            assert_eq!(collector.spans().len(), n_spans);
        }
    }

    #[test]
    fn a_failed_call_is_a_failed_span() {
        let collector = Collector::new(1.0);
        let server = ServerName::from("git");
        let tracer = collector.tracer();
        tracer
            .start(None, "prompts/get", Some("p"), Some(&server))
            .unwrap()
            .end("timeout");
        let [span] = &collector.spans()[..] else {
            panic!("one span")
        };
        assert_eq!(attribute(span, "error.type").as_deref(), Some("timeout"));
        assert_eq!(attribute(span, "lockgate.server").as_deref(), Some("git"));
        assert_eq!(attribute(span, "gen_ai.prompt.name").as_deref(), Some("p"));
        assert_eq!(span.status, Status::error("timeout"));
    }

    #[test]
    fn a_resource_is_not_named() {
        let collector = Collector::new(1.0);
        let uri = Some("file:///home/me/secret");
        collector
            .tracer()
            .start(None, "resources/read", uri, None)
            .unwrap()
            .end("ok");
        let spans = collector.spans();
        assert_eq!(spans[0].name, "resources/read");
        assert!(!format!("{spans:?}").contains("secret"));
    }
}
