//! What the metrics count, and for whom.

use serde_json::json;

use crate::audit_tail::metric;
use crate::support::{Gateway, Mode, Upstream, eventually};

#[tokio::test]
async fn a_servers_latency_is_of_calls_that_it_was_sent() {
    let upstream = Upstream::start().await;
    let config = upstream
        .config("")
        .replace("allow: [\"*\"]", "allow: [\"*\"], deny: [\"up_script\"]");
    let gateway = Gateway::start(&config).await;
    let client = gateway.client().open().await;
    let refused = client.call("up_script", json!({})).await;
    assert_eq!(refused["error"]["code"], -31403, "{refused}");
    let text = gateway.metrics().await;
    let name = r#"mcp_server_latency_seconds_count{server="up"}"#;
    assert!(!text.contains(&format!("{name} 1")), "{text}");
    let done = client.call("up_work", json!({"key": "k"})).await;
    assert!(done["result"].is_object(), "{done}");
    assert!((metric(&gateway.metrics().await, name) - 1.0).abs() < 0.5);
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_refused_at_a_limit_of_sessions_is_counted_as_refused() {
    let upstream = Upstream::start().await;
    let limits = "limits: { sessions_max: 1, session_calls_max: 1 }\n";
    let gateway = Gateway::start(&format!("{limits}{}", upstream.config(""))).await;
    let client = gateway.client().open().await;
    let full = gateway.client().initialize("2025-11-25", &json!({})).await;
    assert_eq!(full.status, 503);
    upstream.set(Mode::Hang);
    let work = |key: &str| json!({"name": "up_work", "arguments": {"key": key}});
    let running = client.message("tools/call", &work("a")).to_string();
    // The answer becomes a stream when the call lasts.
    let running = client.post(running).await;
    let busy = client.message("tools/call", &work("b")).to_string();
    let busy = client.post(busy).await;
    assert_eq!(busy.status, 503);
    let text = gateway.metrics().await;
    let of = |method: &str, verdict: &str| {
        format!(
            r#"mcp_gateway_requests_total{{server="",method="{method}",tool="",tenant="",verdict="{verdict}"}}"#
        )
    };
    for (method, verdict) in [
        ("initialize", "ok"),
        ("initialize", "overloaded"),
        ("tools/call", "overloaded"),
    ] {
        let n = metric(&text, &of(method, verdict));
        assert!((n - 1.0).abs() < 0.5, "{method} {verdict}: {n}");
    }
    let is_refusal = |line: &serde_json::Value| line["status"] == "overloaded";
    eventually("both refusals are in the audit log", async || {
        gateway
            .audit()
            .iter()
            .filter(|line| is_refusal(line))
            .count()
            == 2
    })
    .await;
    drop(running);
}

#[tokio::test]
async fn why_a_call_failed_at_its_server_is_told_to_the_operator() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config("")).await;
    let client = gateway.client().open().await;
    upstream.set(Mode::Refuse(401));
    for _ in 0..3 {
        let refused = client.call("up_work", json!({"key": "k"})).await;
        assert_eq!(refused["error"]["code"], -31502, "{refused}");
    }
    let server = gateway.admin("/api/v1/servers").await["servers"][0].clone();
    assert_eq!(
        server["last_call_error"], "server `up` answered with HTTP status 401",
        "{server}"
    );
    assert!(server["last_call_error_secs_ago"].is_u64(), "{server}");
    let log = gateway.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("call failed at its server"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("HTTP status 401"), "{lines:?}");
    gateway.stop().await;
}
