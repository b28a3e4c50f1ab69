//! What the metrics count, and for whom.

use serde_json::json;

use crate::audit_tail::metric;
use crate::support::{Gateway, Upstream};

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
