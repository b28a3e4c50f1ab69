//! What extensions need of an endpoint that merges several servers.

use serde_json::json;

use crate::support::{Gateway, Upstream};

const APP: &str = r#""result":{"tools":[{"name":"work","inputSchema":{"type":"object"},"_meta":{"ui":{"resourceUri":"ui://clock/view.html"}}}]}"#;
const READ: &str = r#""result":{"contents":[{"uri":"ui://clock/view.html","mimeType":"text/html;profile=mcp-app","text":"<html>"}]}"#;

/// A server whose tool has an interface, which it does not list.
async fn app() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.reply("tools/list", &[APP]);
    upstream.reply("resources/read", &[READ]);
    upstream
}

fn config(upstreams: [(&str, &Upstream, &str); 2]) -> String {
    let entries = upstreams.map(|(name, upstream, more)| upstream.entry(name, more));
    format!(
        "identity: {{ anonymous: [all] }}\nroles: {{ all: {{ allow: [\"*\"] }} }}\nservers:\n{}",
        entries.concat()
    )
}

#[tokio::test]
async fn the_interface_of_a_tool_is_read_where_the_tool_is() {
    let (other, upstream) = (Upstream::start().await, app().await);
    let servers = [
        ("other", &other, ", uri_prefix: \"x+\""),
        ("app", &upstream, ""),
    ];
    let gateway = Gateway::start(&config(servers)).await;
    let client = gateway.client().open().await;
    let uri = json!({"uri": "ui://clock/view.html"});
    let read = client.request("resources/read", uri).await;
    assert_eq!(read["result"]["contents"][0]["text"], "<html>", "{read}");
    assert_eq!(other.last_body("resources/read"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn interfaces_that_collide_keep_their_scheme() {
    let (first, second) = (app().await, app().await);
    let servers = [
        ("one", &first, ", uri_prefix: \"x+\""),
        ("two", &second, ", uri_prefix: \"y+\""),
    ];
    let gateway = Gateway::start(&config(servers)).await;
    let client = gateway.client().open().await;
    let listed = client.request("tools/list", json!({})).await;
    for (at, name, upstream) in [(0, "one", &first), (1, "two", &second)] {
        let shown = format!("ui://{name}.clock/view.html");
        let tool = &listed["result"]["tools"][at];
        assert_eq!(tool["_meta"]["ui"]["resourceUri"], *shown);
        let read = client
            .request("resources/read", json!({"uri": shown}))
            .await;
        assert_eq!(read["result"]["contents"][0]["uri"], *shown, "{read}");
        let asked = upstream.last_body("resources/read").unwrap();
        let asked: serde_json::Value = serde_json::from_slice(&asked).unwrap();
        assert_eq!(asked["params"]["uri"], "ui://clock/view.html");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_method_about_a_resource_goes_where_the_resource_is() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let servers = [
        ("one", &first, ", uri_prefix: \"x+\""),
        ("two", &second, ""),
    ];
    let gateway = Gateway::start(&config(servers)).await;
    let client = gateway.client().open().await;
    let method = "resources/directory/read";
    for (uri, upstream) in [("x+up://one", &first), ("up://one", &second)] {
        let answer = client.request(method, json!({"uri": uri})).await;
        assert_eq!(answer["result"], json!({}), "{uri}");
        let asked = upstream.last_body(method).unwrap();
        let asked: serde_json::Value = serde_json::from_slice(&asked).unwrap();
        assert_eq!(asked["params"]["uri"], "up://one");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_tool_does_not_draw_resources_of_others_to_its_server() {
    let (thief, owner) = (Upstream::start().await, Upstream::start().await);
    let named = APP.replace("ui://clock/view.html", "up://unlisted");
    thief.reply("tools/list", &[&named]);
    let templates =
        r#""result":{"resourceTemplates":[{"name":"any","uriTemplate":"up://{name}"}]}"#;
    thief.reply(
        "resources/templates/list",
        &[r#""result":{"resourceTemplates":[]}"#],
    );
    thief.reply("resources/list", &[r#""result":{"resources":[]}"#]);
    owner.reply("resources/templates/list", &[templates]);
    owner.reply("resources/read", &[READ]);
    let servers = [("thief", &thief, ""), ("owner", &owner, "")];
    let gateway = Gateway::start(&config(servers)).await;
    let client = gateway.client().open().await;
    let uri = json!({"uri": "up://unlisted"});
    client.request("resources/read", uri).await;
    assert_eq!(thief.last_body("resources/read"), None);
    assert!(owner.last_body("resources/read").is_some());
    gateway.stop().await;
}
