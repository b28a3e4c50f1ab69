//! Listening in the stateless era: streams that are silent for long, and servers that restart.

use serde_json::{Value, json};

use crate::bridge_down::SESSION_ONLY;
use crate::support::{Gateway, Upstream};

const LISTEN: &str = "subscriptions/listen";

fn one() -> Value {
    json!({"notifications": {"resourceSubscriptions": ["up://one"]}})
}

fn updated() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
        "params": {"uri": "up://one"}})
}

#[tokio::test]
async fn a_silent_listen_of_a_servers_own_route_outlives_the_timeout_of_calls() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: stateless, timeout: 300ms")).await;
    let client = gateway.client().at("/s/up/mcp");
    let mut events = client.stateless(LISTEN, one()).await.events();
    let first = events.message().await.unwrap().json();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    // The silence is what is tested.
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    upstream.say("up://one", &updated()).await;
    assert_eq!(events.message().await.unwrap().json(), updated());
    gateway.stop().await;
}

#[tokio::test]
async fn subscriptions_outlive_a_restart_of_their_server() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: stateless")).await;
    let client = gateway.client();
    let mut events = client.stateless(LISTEN, one()).await.events();
    let first = events.message().await.unwrap().json();
    assert_eq!(
        first["params"]["notifications"]["resourceSubscriptions"],
        json!(["up://one"])
    );
    upstream.kill().await;
    upstream.restart();
    // What may have been missed is told first, then the server is heard again.
    let missed = events.message().await.unwrap().json();
    assert_eq!(missed["method"], "notifications/resources/updated");
    assert_eq!(missed["params"]["uri"], "up://one");
    upstream.say("up://one", &updated()).await;
    let heard = events.message().await.unwrap().json();
    assert_eq!(heard["params"]["uri"], "up://one");
    gateway.stop().await;
}

#[tokio::test]
async fn a_listen_hears_of_a_restart_of_a_server_that_has_sessions() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let listen = async |path: &str| {
        let params = json!({"notifications": {
            "toolsListChanged": true, "resourceSubscriptions": ["up://one"]}});
        let client = gateway.client().at(path);
        let mut events = client.ask(json!({}), LISTEN, params).await.events();
        let first = events.message().await.unwrap().json();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        events
    };
    let mut listens = [listen("/s/up/mcp").await, listen("/mcp").await];
    assert_eq!(upstream.executions("resources/subscribe"), 2);
    upstream.kill().await;
    let other = r#""result":{"tools":[{"name":"late","inputSchema":{"type":"object"}}]}"#;
    upstream.reply("tools/list", &[other]);
    upstream.restart();
    // What may have been missed is told first, then the server is heard again.
    for events in &mut listens {
        let mut missed = Vec::new();
        for _ in 0..2 {
            let told = events.message().await.unwrap().json();
            missed.push(told["method"].as_str().unwrap().to_owned());
        }
        missed.sort();
        let lists = "notifications/tools/list_changed";
        assert_eq!(missed, ["notifications/resources/updated", lists]);
    }
    assert_eq!(upstream.executions("resources/subscribe"), 4);
    upstream.say_to_all(&updated()).await;
    for events in &mut listens {
        let heard = events.message().await.unwrap().json();
        assert_eq!(heard["params"]["uri"], "up://one");
    }
    gateway.stop().await;
}
