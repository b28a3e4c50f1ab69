//! Traces reach a collector by OTLP over gRPC.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic with a backtrace"
)]

use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use lockgate_node::config;
use lockgate_node::task::spawn_named;
use lockgate_node::telemetry::Telemetry;
use lockgate_node::telemetry::trace::Context;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tonic::Status;

use crate::support::PATIENCE;

/// A collector on a port of the kernel's choice.
pub(crate) struct Collector {
    /// What `telemetry.otlp.endpoint` says.
    pub(crate) endpoint: String,
    received: mpsc::Receiver<Vec<ResourceSpans>>,
}

struct Service(mpsc::Sender<Vec<ResourceSpans>>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans;
        self.0
            .send(spans)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (send, received) = mpsc::channel(64);
        let service = TowerToHyperService::new(TraceServiceServer::new(Service(send)));
        let serve = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let connection = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service.clone());
                // Ends when the exporter closes the connection.
                drop(spawn_named("collector connection", connection));
            }
        };
        // Ends with the runtime of the test.
        drop(spawn_named("collector", serve));
        Self { endpoint, received }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Vec<ResourceSpans> {
        let received = tokio::time::timeout(PATIENCE, self.received.recv());
        received
            .await
            .expect("spans in time")
            .expect("collector runs")
    }
}

fn settings(endpoint: &str, trace_ratio: f64) -> config::Telemetry {
    config::Telemetry {
        log_json: false,
        log_filter: "info".to_owned(),
        otlp_endpoint: Some(endpoint.to_owned()),
        trace_ratio,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_arrives_at_the_collector_as_a_server_span() {
    let mut collector = Collector::start().await;
    let telemetry = Telemetry::traces(&settings(&collector.endpoint, 0.0), "n1").unwrap();
    let client = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let client = Context::parse(client, None).unwrap();
    let tracer = telemetry.tracer();
    let call = tracer.start(
        Some(&client),
        "tools/call",
        Some("git_log"),
        Some(&"git".into()),
    );
    let call = call.unwrap();
    let next_hop = call.context().clone();
    call.end("ok");
    let unsampled = tracer.start(None, "tools/list", None, None).unwrap();
    unsampled.end("ok");
    // Flushes: it must not wait for the batch's own time.
    let flush = tokio::task::spawn_blocking(move || telemetry.shut_down(Duration::from_secs(10)));

    let message = collector.next().await;
    flush.await.unwrap();
    let resource = message[0].resource.as_ref().unwrap();
    let resource = format!("{:?}", resource.attributes);
    assert!(
        resource.contains("lockgate") && resource.contains("n1"),
        "{resource}"
    );
    let spans = &message[0].scope_spans[0].spans;
    assert_eq!(
        spans.len(),
        1,
        "the root that the ratio leaves out is not sent"
    );
    let hex = |id: &[u8]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&spans[0].trace_id), client.trace_id());
    assert_eq!(hex(&spans[0].parent_span_id), client.parent_id());
    assert_eq!(hex(&spans[0].span_id), next_hop.parent_id());
    assert_eq!(spans[0].kind(), SpanKind::Server);
    assert_eq!(spans[0].name, "tools/call git_log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let telemetry = Telemetry::traces(&settings(&endpoint, 1.0), "n1").unwrap();
    let started = tokio::time::Instant::now();
    for _ in 0..20_000 {
        telemetry
            .tracer()
            .start(None, "ping", None, None)
            .unwrap()
            .end("ok");
    }
    // One refused connection for each would take longer by far, also on a busy machine.
    assert!(started.elapsed() < Duration::from_secs(30));
    let flush = tokio::task::spawn_blocking(move || telemetry.shut_down(Duration::from_secs(2)));
    tokio::time::timeout(PATIENCE, flush)
        .await
        .unwrap()
        .unwrap();
}

/// The built binary with its demo server behind it.
struct Gateway {
    child: Child,
    listen: String,
    _dir: TempDir,
}

impl Gateway {
    async fn start(collector: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let (binary, at) = (env!("CARGO_BIN_EXE_lockgate"), dir.path().display());
        let config = format!(
            r#"listen: 127.0.0.1:0
admin: {{ listen: 127.0.0.1:0 }}
data_dir: "{at}/data"
identity: {{ anonymous: [all] }}
roles: {{ all: {{ allow: ["*"] }} }}
audit: {{ file: "{at}/audit.jsonl" }}
telemetry: {{ otlp: {{ endpoint: "{collector}", ratio: 0 }} }}
servers: {{ demo: {{ command: "{binary}", args: [demo-server] }} }}
"#
        );
        let file = dir.path().join("lockgate.yaml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(binary)
            .args(["serve", "--ready-json", "--config"])
            .arg(file)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = tokio::time::timeout(PATIENCE, lines.next_line());
        let ready = ready.await.unwrap().unwrap().unwrap();
        let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
        let listen = ready["listen"].as_str().unwrap().to_owned();
        Self {
            child,
            listen,
            _dir: dir,
        }
    }

    async fn post(&self, headers: &[(&str, &str)], body: &'static str) -> Response<Bytes> {
        let stream = TcpStream::connect(&self.listen).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        // Ends with `sender`.
        drop(spawn_named("client", connection));
        let mut request = Request::post("/mcp")
            .header("host", &self.listen)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from_static(body.as_bytes())));
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    /// SIGTERM, and the exit status.
    async fn end(mut self) -> std::process::ExitStatus {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.child.wait());
        ended.await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_sends_the_sampled_call_of_a_client_and_no_other() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut collector = Collector::start().await;
    let gateway = Gateway::start(&collector.endpoint).await;
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let opened = gateway.post(&[], initialize).await;
    assert_eq!(opened.status(), StatusCode::OK, "{:?}", opened.body());
    let session = opened.headers()["mcp-session-id"].to_str().unwrap();
    let call = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"demo_add","arguments":{"a":2,"b":4017}}}"#;
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let headers = [
        ("mcp-session-id", session),
        ("mcp-protocol-version", "2025-06-18"),
        ("traceparent", &*traceparent),
    ];
    let answer = gateway.post(&headers, call).await;
    assert_eq!(answer.status(), StatusCode::OK, "{:?}", answer.body());
    let answer = String::from_utf8(answer.into_body().to_vec()).unwrap();
    assert!(answer.contains("4019"), "{answer}");
    assert!(gateway.end().await.success());

    // The gateway has sent what it had before it ended.
    let message = collector.next().await;
    let spans = &message[0].scope_spans[0].spans;
    let [leg, span] = &spans[..] else {
        panic!("two spans, not {spans:#?}")
    };
    assert_eq!(leg.parent_span_id, span.span_id, "the way to the server");
    assert_eq!(
        (leg.kind, span.kind),
        (SpanKind::Client.into(), SpanKind::Server.into())
    );
    assert_eq!(leg.name, span.name);
    let hex = |id: &[u8]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(span.name, "tools/call demo_add");
    let attributes = format!("{:?}", span.attributes);
    assert!(attributes.contains("demo"), "{attributes}");
    assert!(
        !attributes.contains("4017"),
        "arguments stay out: {attributes}"
    );
    assert!(
        collector.received.try_recv().is_err(),
        "nothing else is sent"
    );
}
