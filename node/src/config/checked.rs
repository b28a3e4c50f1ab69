//! Checked configuration: every value is in range, every name is unique, every reference resolves.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use globset::GlobMatcher;
use http::{HeaderName, Uri};
use lockgate_cluster::audit::Guards;
use lockgate_proto::id::{NodeName, Principal, RoleName, ServerName, Tenant};
use secrecy::SecretString;

/// Scheme of the resources that are interfaces of tools (MCP Apps).
const UI_SCHEME: &str = "ui://";

use super::{Audit, Ledger, Quota, Redact};

/// Whole file.
#[derive(Clone, Debug)]
pub struct Config {
    /// Keys that belong to this node alone. A change needs a restart.
    pub node: Node,
    /// Keys that a reload replaces as a whole. Among several nodes they come from the cluster.
    pub registry: Registry,
}

/// Node-local settings.
#[derive(Clone, Debug)]
pub struct Node {
    /// Data plane address. Default 127.0.0.1:7777. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Admin plane address. Default 127.0.0.1:7778.
    pub admin_listen: SocketAddr,
    /// TLS of the data plane.
    pub tls: Option<Tls>,
    /// Directory for keys, registry and spools. Created when missing.
    pub data_dir: PathBuf,
    /// Its place among others. `None`: a cluster of one.
    pub cluster: Option<ClusterNode>,
    /// `Host` names that are accepted beside the listen address and, on loopback, `localhost`.
    pub allowed_hosts: Vec<String>,
    /// `Origin` values that are accepted beside those of the listen address.
    pub allowed_origins: Vec<String>,
    /// Bounds on what clients send.
    pub limits: Limits,
    /// Life of sessions.
    pub session: Session,
    /// Bounds on calls that ask clients without sessions something.
    pub bridge: Bridge,
    /// Where lines about calls go besides.
    pub audit: Audit,
    /// How records reach the audit log of the cluster.
    pub ledger: Ledger,
    /// Secrets that guard that log.
    pub guards: Guards,
    /// What is hidden in arguments before they are recorded. `None` when they are not recorded.
    pub redact: Option<Arc<Redact>>,
    /// Log format and trace export.
    pub telemetry: Telemetry,
}

/// Place of a node among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its name.
    pub node: NodeName,
    /// Where it listens for the others, TCP and UDP.
    pub listen: SocketAddr,
    /// Where the others reach it: host and port. Empty for the address that it listens on.
    pub advertise: String,
    /// Nodes by name, with host and port.
    pub peers: BTreeMap<String, String>,
    /// Its certificates.
    pub tls: ClusterTls,
}

/// Certificate files of a node among others, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterTls {
    /// CA of the cluster.
    pub ca: PathBuf,
    /// Certificate of the node.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Key of the CA, on a node that may sign certificates.
    pub ca_key: Option<PathBuf>,
}

/// Certificate files of a TLS listener, re-read when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// Bounds on what clients send and hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Request body. Default 4 MiB.
    pub body_bytes_max: usize,
    /// JSON nesting. Default 128.
    pub depth_max: u16,
    /// Messages in one batch. Default 64.
    pub batch_max: usize,
    /// One SSE event from an upstream, and one upstream body. Default 16 MiB.
    pub answer_bytes_max: usize,
    /// Concurrent client connections. Default 16384.
    pub connections_max: usize,
    /// Live sessions. Default 100000.
    pub sessions_max: usize,
    /// Calls in flight in one session. Default 128.
    pub session_calls_max: usize,
    /// Calls in flight on this node. Default 16384.
    pub calls_max: usize,
    /// Time for a client to send its head and body. Default 15 s.
    pub read_timeout: Duration,
}

/// Life of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// An idle session's actor stops after this; its state stays. Default 60 s.
    pub passivate_after: Duration,
    /// An idle session ends after this. Default 1 h.
    pub idle_timeout: Duration,
    /// No session lives longer. Default 24 h (`CONTINUITY.md` 1).
    pub age_max: Duration,
    /// A call that lasts longer is answered as a resumable stream. Default 100 ms.
    pub journal_after: Duration,
    /// Events of a broken stream are kept this long. Default 5 min.
    pub resume_window: Duration,
}

/// Bounds on calls that are asked something on the way between the eras. All of them hold for clients without sessions
/// at servers that have them, but for `rounds_session_max`; in the other direction it holds with `wait` and the bounds on
/// memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// A call waits so long for its client, in each round. Default 10 min: people answer forms, and visit pages, in
    /// minutes. The official SDKs give each leg the same time.
    pub wait: Duration,
    /// Rounds of questions in one call. Default 64: a server with sessions may ask without end, and where both have
    /// sessions nothing counts it. So this is no limit on what is sensible, but an end to what is not.
    pub rounds_max: u32,
    /// Rounds of questions of a stateless server to a client with a session, in one call. Default 8, as in the official
    /// TypeScript SDK where it does the same.
    pub rounds_session_max: u32,
    /// What one call asks at once. Default 1 MiB: a sample may come with a picture.
    pub question_bytes_max: usize,
    /// Calls that wait on this node. Default 4096.
    pub waiting_max: usize,
    /// Calls of one principal that wait on this node. Default 1024.
    pub waiting_principal_max: usize,
    /// What all waiting calls keep. Default 256 MiB.
    pub memory_bytes_max: usize,
    /// What the waiting calls of one principal keep. Default 32 MiB.
    pub memory_principal_bytes_max: usize,
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            wait: Duration::from_mins(10),
            rounds_max: 64,
            rounds_session_max: 8,
            question_bytes_max: 1 << 20,
            waiting_max: 4_096,
            waiting_principal_max: 1_024,
            memory_bytes_max: 256 << 20,
            memory_principal_bytes_max: 32 << 20,
        }
    }
}

/// Log format and trace export.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// JSON lines instead of human text on standard error.
    pub log_json: bool,
    /// `tracing` filter directive. Default `info`.
    pub log_filter: String,
    /// OTLP/gRPC collector, for example `http://127.0.0.1:4317`.
    pub otlp_endpoint: Option<String>,
    /// Share of root calls that are traced, 0 to 1. A caller's sampled flag wins.
    pub trace_ratio: f64,
}

/// What a reload replaces.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Who may come in.
    pub identity: Identity,
    /// Upstreams, in the order of the file (the first keeps a name on collision).
    pub servers: Vec<Arc<Server>>,
    /// Roles by name.
    pub roles: BTreeMap<RoleName, Role>,
    /// Tenants by name.
    pub tenants: BTreeMap<Tenant, TenantSettings>,
    /// Quotas over all callers and over those of each tenant. No two have the same id.
    pub quotas: Vec<Quota>,
    /// Stands between a server's prefix and a tool's name. Default `_`.
    pub separator: String,
    /// Servers that this node can't use.
    pub unusable: Vec<Unusable>,
}

/// A server of the registry that this node can't use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Which.
    pub name: ServerName,
    /// Why not.
    pub why: String,
    /// Variables that are missing here. Empty: its settings are wrong on every node.
    pub lacks: Vec<String>,
}

/// Who may come in.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Keys of the file. Keys made by `lockgate keys create` live in the registry store.
    pub api_keys: Vec<ApiKey>,
    /// Roles of callers without a credential. `None` refuses them.
    pub anonymous: Option<Vec<RoleName>>,
}

/// One API key of the file.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Name in logs and audit lines.
    pub id: String,
    /// Value, read from the environment variable that the file names.
    pub secret: SecretString,
    /// Whom it identifies.
    pub principal: Principal,
    /// Where that principal belongs.
    pub tenant: Option<Tenant>,
    /// What it may do.
    pub roles: Vec<RoleName>,
}

/// Globs over tool and prompt names (prefixed), resource URIs and method names; `deny` wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Allowed patterns. A pattern may be typed: `tool:`, `prompt:`, `resource:`, `method:`.
    pub allow: Vec<String>,
    /// Denied patterns, same form.
    pub deny: Vec<String>,
}

/// Limits of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantSettings {
    /// Servers that the tenant's principals may reach. `None`: all.
    pub servers: Option<Vec<ServerName>>,
}

/// One upstream.
#[derive(Clone, Debug)]
pub struct Server {
    /// Key in the file.
    pub name: ServerName,
    /// How it is reached.
    pub transport: Transport,
    /// Longest time without any message from the server during a call. Default 60 s.
    pub timeout: Duration,
    /// Prefix of its tools and prompts, without separator. Default: its name. `None`: no prefix.
    pub prefix: Option<String>,
    /// Put before its resource URIs where two servers collide; those of apps carry the server's name instead.
    pub uri_prefix: Option<String>,
    /// Trips on failures.
    pub breaker: Breaker,
    /// Second attempts.
    pub retry: Retry,
    /// Calls in flight at once. Default 1024.
    pub in_flight_max: usize,
    /// Active checks. Default: every 10 s.
    pub health: Health,
    /// Which era to speak. Default `Auto`; `Session` where the transport has no other.
    pub era: EraChoice,
    /// Time between looks at what it speaks. Default 1 h.
    pub probe_interval: Duration,
    /// Rules for single tools, in the order of the file; the first match counts.
    pub tools: Vec<ToolRule>,
}

impl Server {
    /// A resource URI as clients of the merged endpoints see it. That of an app keeps its scheme, by which hosts know
    /// it (MCP Apps 2026-01-26, "UI Resource Format"), and carries the server's name behind it.
    pub fn shown_uri(&self, uri: &str) -> String {
        let Some(prefix) = &self.uri_prefix else {
            return uri.to_owned();
        };
        match uri.strip_prefix(UI_SCHEME) {
            Some(rest) => format!("{UI_SCHEME}{}.{rest}", self.name),
            None => format!("{prefix}{uri}"),
        }
    }

    /// A resource URI as the server knows it. Leaves one alone that is not as [`Self::shown_uri`] makes it.
    pub fn own_uri<'u>(&self, uri: &'u str) -> Cow<'u, str> {
        let Some(prefix) = &self.uri_prefix else {
            return Cow::Borrowed(uri);
        };
        let app = || {
            let rest = uri.strip_prefix(UI_SCHEME)?;
            rest.strip_prefix(self.name.as_str())?.strip_prefix('.')
        };
        match app() {
            Some(rest) => Cow::Owned(format!("{UI_SCHEME}{rest}")),
            None => Cow::Borrowed(uri.strip_prefix(&**prefix).unwrap_or(uri)),
        }
    }
}

/// How an upstream is reached.
#[derive(Clone, Debug)]
pub enum Transport {
    /// HTTP.
    Http {
        /// At least one.
        endpoints: Vec<Endpoint>,
        /// Which of its transports. Default `Auto`.
        kind: HttpTransport,
        /// How an endpoint is chosen. Default `Failover`.
        balance: Balance,
        /// Sent with every request; replaces whatever the client sent under that name.
        headers: Vec<(HeaderName, SecretString)>,
        /// Longest time to connect. Default 5 s.
        connect_timeout: Duration,
    },
    /// A child process.
    Stdio {
        /// Program.
        command: String,
        /// Arguments.
        args: Vec<String>,
        /// Whole environment beside `PATH` and `HOME`-like basics named in the reference.
        env: Vec<(String, SecretString)>,
        /// Working directory.
        cwd: Option<PathBuf>,
        /// Who shares a child.
        scope: Scope,
    },
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`.
    pub url: Uri,
    /// That for people, metrics and logs: without query, variables of the path by their names.
    pub address: Box<str>,
    /// Share under `Weighted`. Default 1.
    pub weight: u32,
}

/// Which HTTP transport to speak with an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpTransport {
    /// Find out and remember.
    #[default]
    Auto,
    /// Streamable HTTP.
    Streamable,
    /// HTTP+SSE of 2024-11-05.
    Sse,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The first that is healthy.
    #[default]
    Failover,
    /// One after the other.
    RoundRobin,
    /// By weight.
    Weighted,
    /// The one with the fewest calls.
    LeastInFlight,
}

/// Who shares a child process (`CONTINUITY.md` 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Shared for clients that take no server requests, one per session for the others.
    #[default]
    Auto,
    /// One per node.
    Shared,
    /// One per session.
    Session,
    /// One per principal.
    Principal,
}

/// Which era to speak with an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EraChoice {
    /// Find out and remember.
    #[default]
    Auto,
    /// Session era only.
    Session,
    /// Stateless era only.
    Stateless,
}

/// Circuit breaker; names and defaults as in resilience4j and Envoy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// Consecutive failures that open it. Default 5.
    pub failures: u32,
    /// Share of failures in the window that opens it, 0 to 1. Default 0.5.
    pub failure_rate_threshold: f64,
    /// Calls in the window. Default 100.
    pub sliding_window_size: u32,
    /// Calls before the rate counts. Default 20.
    pub minimum_calls: u32,
    /// A slower call counts as failure. Default 30 s.
    pub slow_call_duration: Duration,
    /// First wait; the n-th is n times as long, with jitter. Default 30 s.
    pub open_for: Duration,
    /// Longest wait. Default 300 s.
    pub open_for_max: Duration,
    /// Trial calls when half open. Default 3.
    pub half_open_calls: u32,
    /// Share of endpoints that may be ejected at once, percent. Default 100 for one endpoint, else 50.
    pub max_ejection_percent: u8,
}

/// Second attempts, only where nothing can have run twice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Attempts in all. Default 3.
    pub max_attempts: u32,
    /// Retries allowed as a share of calls in flight, 0 to 1. Default 0.2.
    pub budget: f64,
    /// Retries that are always allowed at once. Default 3.
    pub concurrent_min: u32,
}

/// Active checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Time between checks. Default 10 s.
    pub interval: Duration,
    /// Longest check. Default 5 s.
    pub timeout: Duration,
}

/// Rule for tools of one server.
#[derive(Clone, Debug)]
pub struct ToolRule {
    /// Glob over the tool's own name (no prefix).
    pub pattern: GlobMatcher,
    /// Set by `action:`. `Some(false)` denies the tool to everyone.
    pub allow: Option<bool>,
    /// Set by `retry:`, over what the server says of the tool.
    pub retry_safe: Option<bool>,
    /// What one call costs, in millionths of a dollar. Set by `cost_usd:`.
    pub cost_micros: Option<u64>,
}
