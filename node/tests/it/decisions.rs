//! What policy decides is what the server reads, and the audit log tells it as it was.

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Upstream, eventually};

const READER: &str = "lg_0000000000000000000000000000000000000reader";
const NOBODY: &str = "lg_0000000000000000000000000000000000000nobody";
const KEYS: [(&str, &str); 2] = [("KEY_READER", READER), ("KEY_NOBODY", NOBODY)];
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    let config = format!(
        r#"
identity:
  api_keys:
    - {{ id: reader, key_env: KEY_READER, principal: reader, roles: [reader] }}
    - {{ id: nobody, key_env: KEY_NOBODY, principal: nobody, roles: [nobody] }}
roles:
  reader:
    allow: ["up_*", "up://one", "method:notifications/news"]
    deny: ["up_other"]
  nobody: {{ allow: [] }}
servers:
{}"#,
        upstream.entry("up", more)
    );
    Gateway::start_with(&config, &KEYS).await
}

/// Waits for a line that `fits`.
async fn told(gateway: &Gateway, what: &str, fits: impl Fn(&Value) -> bool) {
    eventually(what, async || gateway.audit().iter().any(&fits)).await;
}

/// Both lines of a call: the first one `fits`, the second one has `status`.
async fn pair(gateway: &Gateway, status: &str, fits: impl Fn(&Value) -> bool) {
    eventually("two lines", async || {
        let lines = gateway.audit();
        let first = lines
            .iter()
            .find(|line| line["event"] == "received" && fits(line));
        first.is_some_and(|first| {
            lines.iter().any(|line| {
                let second = line["event"] == "completed" && line["id"] == first["id"];
                second && line["status"] == status
            })
        })
    })
    .await;
}

/// A session on the server's own path, whose connection to the server is open.
async fn at_server(gateway: &Gateway, key: &str) -> Client {
    gateway.client().key(key).at("/s/up/mcp").open().await
}

#[tokio::test]
async fn a_request_without_an_id_does_not_get_around_policy() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, ", era: session").await;
    for key in [NOBODY, READER] {
        let client = at_server(&gateway, key).await;
        for (method, params) in [
            (
                "tools/call",
                json!({"name": "other", "arguments": {"key": "k"}}),
            ),
            ("resources/read", json!({"uri": "up://two"})),
            ("vendor/secret", json!({})),
        ] {
            assert_eq!(client.notify(method, params).await, 202, "{method}");
            assert!(upstream.last_body(method).is_none(), "{method}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_vendors_notification_needs_a_grant_and_is_audited() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, ", era: session").await;
    let news = "notifications/news";
    let nobody = at_server(&gateway, NOBODY).await;
    nobody.notify(news, json!({})).await;
    pair(&gateway, "denied", |line| {
        line["method"] == news && line["principal"] == "nobody" && line["decision"] == "deny"
    })
    .await;
    assert!(upstream.last_body(news).is_none());
    let reader = at_server(&gateway, READER).await;
    reader.notify(news, json!({})).await;
    pair(&gateway, "ok", |line| {
        line["method"] == news && line["rule"] == "role reader: allow method:notifications/news"
    })
    .await;
    assert!(upstream.last_body(news).is_some());
    gateway.stop().await;
}

#[tokio::test]
async fn a_name_that_two_readers_read_in_two_ways_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, ", era: session").await;
    for (path, prefix) in [("/mcp", "up_"), ("/s/up/mcp", "")] {
        let client = gateway.client().key(READER).at(path).open().await;
        for names in [
            format!(r#""name":"{prefix}other","name":"{prefix}work""#),
            format!(r#""Name":"{prefix}other","name":"{prefix}work""#),
        ] {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{{names},"arguments":{{"key":"k"}}}}}}"#
            );
            let answer = client.post(body).await.message().await;
            assert_eq!(answer["error"]["code"], -32602, "{path} {names}: {answer}");
        }
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{prefix}work"}},"Params":{{"name":"{prefix}other"}}}}"#
        );
        let answer = client.post(body).await.message().await;
        assert_eq!(answer["error"]["code"], -32600, "{path}: {answer}");
    }
    assert!(upstream.last_body("tools/call").is_none());
    gateway.stop().await;
}

#[tokio::test]
async fn a_denial_names_the_rule_that_denies() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, ", era: session").await;
    let client = gateway.client().key(READER).open().await;
    client.call("up_other", json!({})).await;
    pair(&gateway, "denied", |line| {
        line["target"] == "up_other" && line["rule"] == "role reader: deny up_other"
    })
    .await;
    let client = gateway.client().key(NOBODY).open().await;
    client.call("up_work", json!({})).await;
    pair(&gateway, "denied", |line| {
        line["target"] == "up_work" && line["rule"] == "default"
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn subscriptions_are_decided_one_by_one_and_refusals_are_audited() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, ", era: stateless").await;
    let reader = gateway.client().key(READER);
    let scoped = gateway.client().key(READER).at("/s/up/mcp");
    let listen = async |client: &Client, to: Value| {
        let params = json!({"notifications": to});
        client
            .stateless("subscriptions/listen", params)
            .await
            .message()
            .await
    };
    let both = json!({"resourceSubscriptions": ["up://one", "up://two"]});
    let answer = listen(&scoped, both).await;
    assert_eq!(answer["error"]["code"], -31403, "{answer}");
    for client in [&reader, &scoped] {
        let answer = listen(client, json!({"taskIds": ["t"]})).await;
        assert_eq!(answer["error"]["code"], -31403, "{answer}");
    }
    let listens = |line: &Value| line["method"] == "subscriptions/listen";
    pair(&gateway, "denied", |line| {
        listens(line) && line["target"] == "up://two" && line["decision"] == "deny"
    })
    .await;
    pair(&gateway, "denied", |line| {
        listens(line) && line["target"] == "tasks/get" && line["decision"] == "deny"
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn sessions_have_no_listen() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, ", era: session").await;
    let client = at_server(&gateway, READER).await;
    let params = json!({"notifications": {"resourceSubscriptions": ["up://two"]}});
    let answer = client.request("subscriptions/listen", params).await;
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
    assert!(upstream.last_body("subscriptions/listen").is_none());
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_takes_the_trace_context_of_the_message() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, ", era: session").await;
    let client = gateway.client().key(READER).open().await;
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let params = json!({"name": "up_work", "_meta": {"traceparent": parent}});
    client.request("tools/call", params).await;
    pair(&gateway, "ok", |line| {
        line["method"] == "tools/call" && line["trace_id"] == TRACE
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_refused_key_is_audited() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, ", era: session").await;
    let guess = "lg_00000000000000000000000000000000000000guess";
    for client in [gateway.client().key(guess), gateway.client()] {
        assert_eq!(
            client.initialize("2025-11-25", &json!({})).await.status,
            401
        );
    }
    for why in ["the API key is not valid", "an API key is required"] {
        told(&gateway, why, |line| {
            line["what"] == "credential_refused"
                && line["peer"] == "127.0.0.1"
                && line["detail"] == why
        })
        .await;
    }
    assert!(
        !gateway
            .audit()
            .iter()
            .any(|line| line.to_string().contains(guess))
    );
    gateway.stop().await;
}

/// Of what a role denies by the name of its method nothing is done, whatever policy would say of the tool or the resource.
#[tokio::test]
async fn a_method_that_a_role_denies_by_its_name_is_refused() {
    let upstream = Upstream::start().await;
    let entry = upstream.entry("up", "");
    let config = format!(
        "identity: {{ anonymous: [r] }}\nroles:\n  r: {{ allow: [\"*\"], deny: [\"method:*\"] }}\nservers:\n{entry}"
    );
    let gateway = Gateway::start(&config).await;
    let uri = json!({"uri": "up://one"});
    let asked = [
        ("tools/list", json!({})),
        ("tools/call", json!({"name": "up_work", "arguments": {}})),
        ("prompts/list", json!({})),
        ("prompts/get", json!({"name": "up_prompt"})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("resources/read", uri.clone()),
        ("resources/subscribe", uri),
        ("logging/setLevel", json!({"level": "info"})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "up_prompt"}, "argument": {"name": "a", "value": "b"}}),
        ),
    ];
    for path in ["/mcp", "/s/up/mcp"] {
        let client = gateway.client().at(path).open().await;
        assert_eq!(client.request("ping", json!({})).await["result"], json!({}));
        for (method, params) in &asked {
            let answer = client.request(method, params.clone()).await;
            assert_eq!(answer["error"]["code"], -31403, "{path} {method}: {answer}");
        }
        for (method, params) in &asked[..2] {
            let client = gateway.client().at(path);
            let answer = client.stateless(method, params.clone()).await;
            let answer = answer.message().await;
            assert_eq!(answer["error"]["code"], -31403, "{path} {method}: {answer}");
        }
    }
    for method in ["tools/call", "resources/read", "resources/subscribe"] {
        assert_eq!(upstream.received(method), 0);
    }
    gateway.stop().await;
}

/// A listen is denied by the name of what it asks for, too, when it opens and later.
#[tokio::test]
async fn a_listen_is_also_what_it_stands_for() {
    let upstream = Upstream::start().await;
    let entry = upstream.entry("up", ", era: stateless");
    let config = |deny: &str| {
        format!(
            "identity: {{ anonymous: [r] }}\nroles:\n  r: {{ allow: [\"*\"], deny: [{deny}] }}\nservers:\n{entry}"
        )
    };
    let (subscribe, get) = ("\"method:resources/subscribe\"", "\"method:tasks/get\"");
    let gateway = Gateway::start(&config(subscribe)).await;
    let changes = json!({"toolsListChanged": true});
    let resources = json!({"toolsListChanged": true, "resourceSubscriptions": ["up://one"]});
    for path in ["/mcp", "/s/up/mcp"] {
        let client = gateway.client().at(path);
        let listen = async |wanted: &Value| {
            let wanted = json!({"notifications": wanted});
            client.stateless("subscriptions/listen", wanted).await
        };
        // One that is not refused is a stream, without an answer for as long as it lasts.
        let is_refused = async |wanted: &Value| {
            let answer = listen(wanted).await;
            !answer.is_stream() && answer.message().await["error"]["code"] == -31403
        };
        assert!(is_refused(&resources).await, "{path}");
        let mut others = listen(&changes).await.events();
        let first = others.message().await.unwrap().json();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");

        // The methods are asked before the server is, so that it need not have tasks.
        gateway.reconfigure(&config(get));
        let tasks = json!({"taskIds": ["t"]});
        eventually("the other denial", async || is_refused(&tasks).await).await;
        let mut streams = listen(&resources).await.events();
        let first = streams.message().await.unwrap().json();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        gateway.reconfigure(&config(subscribe));
        let last = streams.message().await.unwrap().json();
        assert_eq!(last["result"]["resultType"], "complete", "{path}: {last}");
        eventually("the first denial", async || is_refused(&resources).await).await;
    }
    gateway.stop().await;
}
