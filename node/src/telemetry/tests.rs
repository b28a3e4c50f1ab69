//! The text that a scrape gets, read back strictly.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use lockgate_proto::id::{ServerName, Tenant};

use super::metrics::{CallLabels, CallTimes};
use super::{
    AuditGauges, EndpointGauge, Gauges, Metrics, Process, QuotaGauges, RaftGauges, ServerGauge,
};

fn gauges() -> Gauges {
    let endpoint = |breaker| EndpointGauge {
        address: format!("http://{breaker}/mcp"),
        breaker,
    };
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    Gauges {
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
        sessions_active: 3,
        sessions_passive: 4,
        waiting_calls: 5,
        waiting_bytes: 6_000,
        waiting_refused: 7,
        servers: vec![ServerGauge {
            name: "git".to_owned(),
            up: true,
            hidden: 2,
            endpoints: vec![endpoint("closed"), endpoint("open"), endpoint("half_open")],
        }],
        certificate: Some((at(1_792_000_000), at(1_800_000_000))),
        file_differs: false,
        raft: RaftGauges::default(),
        quotas: QuotaGauges {
            accounts: 8,
            grants: 9,
            batches: 10,
            expiries: 11,
            ..QuotaGauges::default()
        },
        audit: AuditGauges::default(),
    }
}

const PROCESS: Process = Process {
    rss_bytes: Some(4096),
    open_fds: Some(7),
};

/// Of a call that spent all its time at its server.
fn times(took: Duration) -> CallTimes {
    CallTimes {
        whole: took,
        server: Some(took),
    }
}

fn call(metrics: &Metrics, tool: &str, verdict: &'static str, took_ms: u64) {
    let (server, tenant) = (ServerName::from("git"), Tenant::from("acme"));
    let labels = CallLabels {
        server: Some(&server),
        method: "tools/call",
        tool: Some(tool),
        tenant: Some(&tenant),
        verdict,
    };
    metrics.call_ended(labels, times(Duration::from_millis(took_ms)), 300);
}

/// One sample: name with its labels in the order of the text, and value.
type Sample = (String, Vec<(String, String)>, f64);

/// Reads the text as the format's description demands, and panics at anything it does not allow.
fn parse(text: &str) -> (HashMap<String, String>, Vec<Sample>) {
    assert!(
        text.ends_with('\n'),
        "the last line must end in a line feed"
    );
    let (mut types, mut samples) = (HashMap::new(), Vec::new());
    let (mut helped, mut family) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("help");
            assert!(is_name(name) && !help.is_empty(), "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("type");
            assert_eq!(name, helped, "HELP comes right before TYPE");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let again = types.insert(name.to_owned(), kind.to_owned());
            assert_eq!(again, None, "family `{name}` stands twice");
            family = name.to_owned();
        } else {
            let sample = parse_sample(line);
            let suffix = sample
                .0
                .strip_prefix(&family)
                .expect("sample of its family");
            let suffixes: &[&str] = match &*types[&family] {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{line}");
            samples.push(sample);
        }
    }
    let distinct: HashSet<_> = samples
        .iter()
        .map(|(name, labels, _)| (name, labels))
        .collect();
    assert_eq!(distinct.len(), samples.len(), "a series stands twice");
    (types, samples)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn parse_sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("name");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    while let Some(after) = rest.strip_prefix(if labels.is_empty() { '{' } else { ',' }) {
        let (label, quoted) = after.split_once("=\"").expect("label");
        assert!(is_name(label), "{line}");
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        rest = loop {
            match chars.next().expect("closing quote") {
                (at, '"') => break &quoted[at + 1..],
                (_, '\\') => value.push(match chars.next().expect("escape").1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("unknown escape {c:?} in {line}"),
                }),
                (_, c) => value.push(c),
            }
        };
        labels.push((label.to_owned(), value));
    }
    let rest = if labels.is_empty() {
        rest
    } else {
        rest.strip_prefix('}').expect("brace")
    };
    let value = rest
        .strip_prefix(' ')
        .expect("one space")
        .parse()
        .expect("value");
    (name.to_owned(), labels, value)
}

fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |sample: &&Sample| {
        let all =
            |(name, value): &(&str, &str)| sample.1.iter().any(|(n, v)| n == name && v == value);
        sample.0 == name && labels.iter().all(all)
    };
    samples.iter().find(has).map(|(_, _, value)| *value)
}

#[test]
fn the_text_is_what_the_format_asks_for() {
    let metrics = Metrics::new();
    call(&metrics, "log", "ok", 2);
    call(&metrics, "log", "ok", 3);
    call(&metrics, "we\"ird\\na\nme", "tool_error", 700);
    metrics.auth_failed();
    metrics.limited("node");
    metrics.limited("node");
    let (types, samples) = parse(&metrics.render(&gauges(), PROCESS));
    assert_eq!(types["mcp_gateway_requests_total"], "counter");
    assert_eq!(types["mcp_gateway_request_duration_seconds"], "histogram");
    let all = [
        ("tool", "log"),
        ("server", "git"),
        ("tenant", "acme"),
        ("verdict", "ok"),
    ];
    assert_eq!(
        value(&samples, "mcp_gateway_requests_total", &all),
        Some(2.0)
    );
    let weird = [("tool", "we\"ird\\na\nme")];
    assert_eq!(
        value(&samples, "mcp_gateway_requests_total", &weird),
        Some(1.0)
    );
    let route = [("server", "git"), ("method", "tools/call")];
    let sum = value(&samples, "mcp_gateway_request_duration_seconds_sum", &route);
    assert_eq!(sum, Some(0.705));
    assert_eq!(
        value(&samples, "mcp_gateway_request_size_bytes_sum", &route),
        Some(900.0)
    );
    assert_eq!(
        value(
            &samples,
            "mcp_server_latency_seconds_count",
            &[("server", "git")]
        ),
        Some(3.0)
    );
    assert_eq!(
        value(
            &samples,
            "mcp_gateway_rate_limited_total",
            &[("limit", "node")]
        ),
        Some(2.0)
    );
    assert_eq!(
        value(&samples, "mcp_gateway_auth_failures_total", &[]),
        Some(1.0)
    );
}

#[test]
fn a_call_that_reached_no_server_says_nothing_of_one() {
    let metrics = Metrics::new();
    let server = ServerName::from("git");
    let labels = CallLabels {
        server: Some(&server),
        method: "tools/call",
        tool: None,
        tenant: None,
        verdict: "denied",
    };
    let whole = Duration::from_millis(1);
    for server in [None, Some(Duration::from_millis(40))] {
        metrics.call_ended(labels, CallTimes { whole, server }, 300);
    }
    let (_, samples) = parse(&metrics.render(&gauges(), PROCESS));
    let of = |name| value(&samples, name, &[("server", "git")]);
    assert_eq!(of("mcp_gateway_requests_total"), Some(2.0));
    assert_eq!(of("mcp_server_latency_seconds_count"), Some(1.0));
    assert_eq!(of("mcp_server_latency_seconds_sum"), Some(0.04));
}

#[test]
fn gauges_show_the_moment() {
    let (_, samples) = parse(&Metrics::new().render(&gauges(), PROCESS));
    let state = |endpoint| {
        value(
            &samples,
            "mcp_gateway_breaker_state",
            &[("endpoint", endpoint)],
        )
    };
    assert_eq!(state("http://closed/mcp"), Some(0.0));
    assert_eq!(state("http://open/mcp"), Some(1.0));
    assert_eq!(state("http://half_open/mcp"), Some(2.0));
    assert_eq!(
        value(&samples, "mcp_server_up", &[("server", "git")]),
        Some(1.0)
    );
    assert_eq!(
        value(&samples, "mcp_gateway_sessions", &[("state", "active")]),
        Some(3.0)
    );
    assert_eq!(
        value(&samples, "mcp_gateway_sessions", &[("state", "passive")]),
        Some(4.0)
    );
    for (name, labels, expected) in [
        ("mcp_gateway_waiting_calls", &[][..], 5.0),
        ("mcp_gateway_waiting_size_bytes", &[], 6_000.0),
        (
            "mcp_gateway_rate_limited_total",
            &[("limit", "waiting")],
            7.0,
        ),
    ] {
        assert_eq!(value(&samples, name, labels), Some(expected), "{name}");
    }
    assert_eq!(
        value(&samples, "process_resident_memory_bytes", &[]),
        Some(4096.0)
    );
    assert_eq!(value(&samples, "process_open_fds", &[]), Some(7.0));
    let started = value(&samples, "process_start_time_seconds", &[]);
    assert_eq!(started, Some(1_700_000_000.25));
}

#[test]
fn buckets_only_grow_and_end_in_the_count() {
    let metrics = Metrics::new();
    for took_ms in [0, 1, 1, 40, 99_000] {
        call(&metrics, "log", "ok", took_ms);
    }
    let (_, samples) = parse(&metrics.render(&gauges(), PROCESS));
    let name = "mcp_server_latency_seconds_bucket";
    let buckets: Vec<_> = samples.iter().filter(|(n, _, _)| n == name).collect();
    assert!(buckets.is_sorted_by_key(|(_, _, count)| *count as u64));
    let bounds = buckets.iter().map(|(_, labels, _)| {
        labels
            .iter()
            .find(|(name, _)| name == "le")
            .unwrap()
            .1
            .parse::<f64>()
            .unwrap()
    });
    assert!(bounds.is_sorted());
    let (_, labels, last) = buckets.last().unwrap();
    assert!(labels.contains(&("le".to_owned(), "+Inf".to_owned())));
    assert_eq!(*last, 5.0);
    assert_eq!(value(&samples, name, &[("le", "0.001")]), Some(3.0));
    assert_eq!(value(&samples, name, &[("le", "60")]), Some(4.0));
}

/// Prints what one call costs; the budget is 400 ns. Run it in a release build:
/// `cargo test --release -p lockgate-node --lib cost_of_a_call -- --ignored --nocapture`
#[test]
#[expect(clippy::print_stderr, reason = "the figure is for whoever runs it")]
#[ignore = "measures time, which a loaded machine makes meaningless"]
fn cost_of_a_call() {
    const ROUNDS: u32 = 1_000_000;
    let metrics = Metrics::new();
    let (server, tenant) = (ServerName::from("github"), Tenant::from("acme"));
    let labels = CallLabels {
        server: Some(&server),
        method: "tools/call",
        tool: Some("github_list_repositories"),
        tenant: Some(&tenant),
        verdict: "ok",
    };
    let took = Duration::from_micros(350);
    for threads in [1, 2] {
        let started = tokio::time::Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        metrics.call_ended(labels, times(took), 512);
                    }
                });
            }
        });
        let each = started.elapsed() / ROUNDS;
        eprintln!("{threads} thread(s): {each:?} a call");
        assert!(each < Duration::from_nanos(400));
    }
}
