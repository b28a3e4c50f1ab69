//! Counters that the call path touches. Writing never blocks on a reader.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockgate_proto::id::{ServerName, Tenant};
use papaya::HashMap;

use super::exposition::{CONTENT_TYPE, Exposition, Kind};
use super::gauges::Gauges;
use super::names;
use super::process::Process;
use super::series::Calls;
use super::{audit, quota, raft};

/// Labels of one finished call. All values are bounded: `tool` is a name from a catalog or empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallLabels<'a> {
    /// Server, or empty when none was chosen.
    pub server: Option<&'a ServerName>,
    /// Method from MCP's own list, or `other`.
    pub method: &'static str,
    /// Tool, when the call was for one that a catalog knows.
    pub tool: Option<&'a str>,
    /// Tenant.
    pub tenant: Option<&'a Tenant>,
    /// `ok`, `tool_error`, or the verdict of the error table.
    pub verdict: &'static str,
}

/// How long a call took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTimes {
    /// From the accepted request to the end of its answer.
    pub whole: Duration,
    /// From when it went out to its server to what that answered, or first asked the client. `None` when no server was
    /// asked, or none has answered yet.
    pub server: Option<Duration>,
}

/// All metrics of a node.
#[derive(Debug, Default)]
pub struct Metrics {
    calls: Calls,
    limited: HashMap<&'static str, AtomicU64>,
    auth_failed: AtomicU64,
}

impl Metrics {
    /// Content type of what [`Self::render`] returns.
    pub const CONTENT_TYPE: &'static str = CONTENT_TYPE;

    /// With all counters at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a finished call, also for the server that it went to.
    pub fn call_ended(&self, labels: CallLabels<'_>, times: CallTimes, request_bytes: usize) {
        self.calls.record(labels, times, request_bytes);
    }

    /// Counts a refused credential.
    pub fn auth_failed(&self) {
        self.auth_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what a limit has refused; the labels are those of [`names::RATE_LIMITED`].
    pub fn limited(&self, limit: &'static str) {
        let limited = self.limited.pin();
        limited
            .get_or_insert_with(limit, AtomicU64::default)
            .fetch_add(1, Ordering::Relaxed);
    }

    /// All metrics in the Prometheus text format. Walks every series: run it where a few milliseconds hurt nobody.
    pub fn render(&self, gauges: &Gauges, process: Process) -> String {
        let mut out = Exposition::default();
        self.render_calls(&mut out);
        self.render_servers(&mut out, gauges);
        self.render_refusals(&mut out, gauges);
        render_waiting(&mut out, gauges);
        render_sessions(&mut out, gauges);
        if let Some((from, until)) = gauges.certificate {
            let help = "First second of the certificate of the data plane, since 1970.";
            out.family(names::TLS_CERTIFICATE_START, Kind::Gauge, help);
            out.sample(&[], since_epoch(from).as_secs());
            let help = "Last second of the certificate of the data plane, since 1970.";
            out.family(names::TLS_CERTIFICATE_END, Kind::Gauge, help);
            out.sample(&[], since_epoch(until).as_secs());
        }
        let help =
            "Whether the node's file says something else than the registry that the nodes share.";
        out.family(names::CONFIG_FILE_DIFFERS, Kind::Gauge, help);
        out.sample(&[], u64::from(gauges.file_differs));
        raft::render(&mut out, &gauges.raft);
        quota::render(&mut out, &gauges.quotas);
        audit::render(&mut out, &gauges.audit);
        render_process(&mut out, gauges, process);
        out.finish()
    }

    fn render_calls(&self, out: &mut Exposition) {
        out.family(names::REQUESTS, Kind::Counter, "Calls that have ended.");
        for (key, count) in self.calls.counts() {
            let labels = key.labels();
            let labels = [
                ("server", labels.server.map_or("", ServerName::as_str)),
                ("method", labels.method),
                ("tool", labels.tool.unwrap_or_default()),
                ("tenant", labels.tenant.map_or("", Tenant::as_str)),
                ("verdict", labels.verdict),
            ];
            out.sample(&labels, count);
        }
        let routes = self.calls.routes();
        out.family(
            names::REQUEST_DURATION,
            Kind::Histogram,
            "Time from the accepted request to the end of its answer.",
        );
        for ((server, method), series) in &routes {
            let server = server.as_ref().map_or("", ServerName::as_str);
            let labels = [("server", server), ("method", *method)];
            out.histogram(&labels, &series.duration.read());
        }
        out.family(names::REQUEST_SIZE, Kind::Histogram, "Size of requests.");
        for ((server, method), series) in &routes {
            let server = server.as_ref().map_or("", ServerName::as_str);
            let labels = [("server", server), ("method", *method)];
            out.histogram(&labels, &series.size.read());
        }
    }

    fn render_servers(&self, out: &mut Exposition, gauges: &Gauges) {
        out.family(
            names::SERVER_LATENCY,
            Kind::Histogram,
            "Time that a server took to answer, or to ask the client.",
        );
        for (name, latency) in self.calls.latencies() {
            out.histogram(&[("server", name.as_str())], &latency.read());
        }
        out.family(
            names::SERVER_UP,
            Kind::Gauge,
            "Whether a server answered when last asked.",
        );
        for server in &gauges.servers {
            out.sample(&[("server", &server.name)], u8::from(server.up));
        }
        out.family(
            names::HIDDEN_ITEMS,
            Kind::Gauge,
            "Items that a name collision hides from clients.",
        );
        for server in &gauges.servers {
            out.sample(&[("server", &server.name)], server.hidden);
        }
        out.family(
            names::BREAKER_STATE,
            Kind::Gauge,
            "Breaker of an endpoint: 0 closed, 1 open, 2 half open.",
        );
        for server in &gauges.servers {
            for endpoint in &server.endpoints {
                let labels = [("server", &*server.name), ("endpoint", &*endpoint.address)];
                out.sample(&labels, endpoint.breaker_value());
            }
        }
    }

    fn render_refusals(&self, out: &mut Exposition, gauges: &Gauges) {
        out.family(
            names::RATE_LIMITED,
            Kind::Counter,
            "Calls that were refused by a limit.",
        );
        let limited = self.limited.pin();
        let mut limited: Vec<_> = limited.iter().collect();
        limited.sort_by_key(|(limit, _)| **limit);
        for (limit, count) in limited {
            out.sample(&[("limit", limit)], count.load(Ordering::Relaxed));
        }
        out.sample(&[("limit", "waiting")], gauges.waiting_refused);
        out.family(
            names::AUTH_FAILURES,
            Kind::Counter,
            "Requests without a valid credential.",
        );
        out.sample(&[], self.auth_failed.load(Ordering::Relaxed));
    }
}

fn render_waiting(out: &mut Exposition, gauges: &Gauges) {
    let help = "Calls that wait for their clients to answer a server.";
    out.family(names::WAITING_CALLS, Kind::Gauge, help);
    out.sample(&[], gauges.waiting_calls);
    let help = "What the calls that wait for their clients keep.";
    out.family(names::WAITING_SIZE, Kind::Gauge, help);
    out.sample(&[], gauges.waiting_bytes);
}

fn render_sessions(out: &mut Exposition, gauges: &Gauges) {
    out.family(
        names::SESSIONS,
        Kind::Gauge,
        "Live sessions: active ones have an actor, passive ones sleep.",
    );
    out.sample(&[("state", "active")], gauges.sessions_active);
    out.sample(&[("state", "passive")], gauges.sessions_passive);
}

/// A clock before 1970 reads as 1970.
fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn render_process(out: &mut Exposition, gauges: &Gauges, process: Process) {
    if let Some(bytes) = process.rss_bytes {
        let help = "Memory of this process that is in RAM.";
        out.family(names::PROCESS_RESIDENT_MEMORY, Kind::Gauge, help);
        out.sample(&[], bytes);
    }
    if let Some(fds) = process.open_fds {
        let help = "File descriptors that this process holds.";
        out.family(names::PROCESS_OPEN_FDS, Kind::Gauge, help);
        out.sample(&[], fds);
    }
    let started = since_epoch(gauges.started);
    let help = "Start of this process in seconds since 1970.";
    out.family(names::PROCESS_START_TIME, Kind::Gauge, help);
    out.sample(
        &[],
        format_args!("{}.{:03}", started.as_secs(), started.subsec_millis()),
    );
}
