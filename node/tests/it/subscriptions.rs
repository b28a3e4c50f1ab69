//! Listening in the stateless era: streams that are silent for long, and servers that restart.

use serde_json::{Value, json};

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
