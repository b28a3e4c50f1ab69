//! A changed file: grants that are taken away bite at once, and a bad file changes nothing.

use serde_json::{Value, json};

use crate::support::{BINARY, Client, Gateway, Upstream, eventually};

fn config(allow: &str, more: &str) -> String {
    format!(
        r#"
identity: {{ anonymous: [some] }}
roles: {{ some: {{ allow: [{allow}] }} }}
servers:
  demo: {{ command: "{BINARY}", args: [demo-server] }}
{more}"#
    )
}

fn is_denied(answer: &Value) -> bool {
    answer["error"]["code"] == -31403
}

#[tokio::test]
async fn a_revoked_grant_bites_in_sessions_that_are_open() {
    let gateway = Gateway::start(&config("\"demo_*\"", "")).await;
    let client = gateway.client().open().await;
    let echo = async || client.call("demo_echo", json!({"message": "x"})).await;
    assert!(!is_denied(&echo().await));
    gateway.reconfigure(&config("\"demo_add\"", ""));
    eventually("the grant is gone", async || is_denied(&echo().await)).await;
    assert_eq!(client.tools().await, ["demo_add"]);
    let scoped = gateway.client().at("/s/demo/mcp").open().await;
    assert!(is_denied(
        &scoped.call("echo", json!({"message": "x"})).await
    ));
    gateway.stop().await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_reported() {
    let gateway = Gateway::start(&config("\"demo_*\"", "")).await;
    let client = gateway.client().open().await;
    for (bad, named) in [
        ("servers: [", "unclosed bracket"),
        (
            &*config("\"demo_add\"", "  demo: { command: x }\n"),
            "twice",
        ),
        (&*config("\"demo_add\"", "nonsense: 1\n"), "nonsense"),
        (
            &*config(
                "\"demo_add\"",
                "  x: { url: \"http://${NO_SUCH_VARIABLE}/\" }\n",
            ),
            "NO_SUCH_VARIABLE",
        ),
    ] {
        let from = gateway.log().len();
        gateway.reconfigure(bad);
        eventually("the problem is reported", async || {
            gateway.log()[from..].contains(named)
        })
        .await;
        let answer = client.call("demo_echo", json!({"message": "x"})).await;
        assert!(answer.get("result").is_some(), "{answer}");
    }
    // The next good file is taken, whatever came between.
    gateway.reconfigure(&config("\"demo_add\"", ""));
    let echo = async || client.call("demo_echo", json!({"message": "x"})).await;
    eventually("the good file holds", async || is_denied(&echo().await)).await;
    gateway.stop().await;
}

/// Whoever writes with `>` empties the file first.
#[tokio::test]
async fn an_emptied_file_takes_nothing_away() {
    let gateway = Gateway::start(&config("\"demo_*\"", "")).await;
    let client = gateway.client().open().await;
    gateway.empty_configuration();
    eventually("the problem is reported", async || {
        gateway.log().contains("the file is empty")
    })
    .await;
    let answer = client.call("demo_echo", json!({"message": "x"})).await;
    assert!(answer.get("result").is_some(), "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn servers_come_and_go_while_sessions_stay() {
    let gateway = Gateway::start(&config("\"*\"", "")).await;
    let client = gateway.client().open().await;
    assert!(
        client
            .call("demo_add", json!({"a": 1, "b": 1}))
            .await
            .get("result")
            .is_some()
    );
    let children = gateway.process().children().len();
    let more = format!("  more: {{ command: \"{BINARY}\", args: [demo-server] }}\n");
    gateway.reconfigure(&config("\"*\"", &more));
    eventually("the new server is listed", async || {
        client.tools().await.contains(&"more_add".to_owned())
    })
    .await;
    let answer = client.call("more_add", json!({"a": 1, "b": 1})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "2");
    gateway.reconfigure(&config("\"*\"", ""));
    eventually("the server is gone", async || {
        !client.tools().await.contains(&"more_add".to_owned())
    })
    .await;
    let answer = client.call("more_add", json!({"a": 1, "b": 1})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(
        client
            .call("demo_add", json!({"a": 1, "b": 1}))
            .await
            .get("result")
            .is_some()
    );
    eventually("its child has ended", async || {
        gateway.process().children().len() <= children
    })
    .await;
    gateway.stop().await;
}

/// Calls without a pause, in a session and, if there are such, without one, until `stop`; every call succeeds.
struct Load<'a> {
    sessions: Vec<&'a Client>,
    stateless: Option<&'a Client>,
    tool: &'a str,
    arguments: Value,
    stop: tokio::sync::watch::Receiver<bool>,
}

impl Load<'_> {
    async fn run(self) -> usize {
        let mut n_calls = 0;
        while !*self.stop.borrow() {
            let params = json!({"name": self.tool, "arguments": self.arguments});
            for client in &self.sessions {
                let answer = client.request("tools/call", params.clone()).await;
                assert!(answer.get("result").is_some(), "call {n_calls}: {answer}");
                n_calls += 1;
            }
            if let Some(client) = self.stateless {
                let answer = client.stateless("tools/call", params).await;
                let answer = answer.message().await;
                assert!(answer.get("result").is_some(), "call {n_calls}: {answer}");
                n_calls += 1;
            }
        }
        n_calls
    }
}

#[tokio::test]
async fn no_call_fails_while_a_server_is_replaced() {
    let upstream = Upstream::start().await;
    let config = |n: usize| upstream.config(&format!(", headers: {{ X-Generation: \"{n}\" }}"));
    let gateway = Gateway::start(&config(0)).await;
    let (one, two) = (
        gateway.client().open().await,
        gateway
            .client()
            .open_with("2025-11-25", json!({"roots": {}}))
            .await,
    );
    let stateless = gateway.client();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = Load {
        sessions: vec![&one, &two],
        stateless: Some(&stateless),
        tool: "up_work",
        arguments: json!({"key": "load"}),
        stop: stopped,
    };
    let reloads = async {
        let mut before = Vec::new();
        for n in 1..=3 {
            before = upstream.open_sessions();
            gateway.reconfigure(&config(n));
            eventually("calls go to the successor", async || {
                let now = upstream
                    .last_headers("tools/call")
                    .get("x-generation")
                    .cloned();
                now.is_some_and(|now| now == n.to_string().as_str())
            })
            .await;
        }
        eventually(
            "the last but one has left, with all that it was asked",
            async || !before.iter().any(|session| upstream.is_open(session)),
        )
        .await;
        stop.send_replace(true);
    };
    let (n_calls, ()) = tokio::join!(load.run(), reloads);
    assert_eq!(upstream.executions("load"), n_calls);
    gateway.stop().await;
}

#[tokio::test]
async fn no_call_fails_while_a_child_is_replaced() {
    let with = |n: usize| {
        let env = format!("args: [demo-server], env: {{ GENERATION: \"{n}\" }}");
        config("\"*\"", "").replace("args: [demo-server]", &env)
    };
    let gateway = Gateway::start(&with(0)).await;
    let client = gateway.client().open().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = Load {
        sessions: vec![&client],
        stateless: None,
        tool: "demo_add",
        arguments: json!({"a": 1, "b": 1}),
        stop: stopped,
    };
    let reloads = async {
        eventually("a call was made", async || {
            !gateway.process().children().is_empty()
        })
        .await;
        let before = gateway.process().children();
        assert!(!before.is_empty());
        gateway.reconfigure(&with(1));
        eventually("the old children have gone", async || {
            before.iter().all(|child| child.state().is_none())
        })
        .await;
        stop.send_replace(true);
    };
    let (n_calls, ()) = tokio::join!(load.run(), reloads);
    assert!(n_calls > 10, "{n_calls}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_only_listens_hears_the_successor_of_its_server() {
    let upstream = Upstream::start().await;
    let config = |n: usize| {
        upstream.config(&format!(
            ", era: session, headers: {{ X-Generation: \"{n}\" }}"
        ))
    };
    let gateway = Gateway::start(&config(0)).await;
    let client = gateway.client().open().await;
    let mut events = client.listen(None).await;
    let subscribe = "resources/subscribe";
    client.request(subscribe, json!({"uri": "up://one"})).await;
    let old = upstream.last_session(subscribe).unwrap();
    upstream.listened_by(&old).await;
    gateway.reconfigure(&config(1));
    eventually("the subscription has moved", async || {
        upstream.last_session(subscribe).unwrap() != old
    })
    .await;
    let new = upstream.last_session(subscribe).unwrap();
    upstream.listened_by(&new).await;
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
        "params": {"uri": "up://one"}});
    upstream.say(&new, &updated).await;
    assert_eq!(events.message().await.unwrap().json(), updated);
    gateway.stop().await;
}

/// The one that was added rests then, and comes back when the file lets go of the name.
#[tokio::test]
async fn a_server_of_the_file_takes_the_place_of_one_that_was_added() {
    let gateway = Gateway::start(&config("\"*\"", "")).await;
    let admin = gateway.admin_url();
    let cli = async |args: &[&str]| {
        let run = tokio::process::Command::new(BINARY)
            .args(["--admin", &admin])
            .args(args)
            .output();
        run.await.unwrap()
    };
    let added = cli(&["servers", "add", "dyn", "--", BINARY, "demo-server"]).await;
    assert!(added.status.success(), "{added:?}");
    let source = async || {
        let servers = gateway.admin("/api/v1/servers").await;
        let servers = servers["servers"].as_array().unwrap().clone();
        let found = servers.into_iter().find(|server| server["name"] == "dyn");
        found.map(|server| server["source"].as_str().unwrap().to_owned())
    };
    assert_eq!(source().await.as_deref(), Some("registry"));
    let of_file = format!("  dyn: {{ command: \"{BINARY}\", args: [demo-server], timeout: 7s }}");
    gateway.reconfigure(&config("\"*\"", &of_file));
    eventually("the file's runs", async || {
        source().await.as_deref() == Some("file")
    })
    .await;
    let refused = cli(&["servers", "remove", "dyn"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    gateway.reconfigure(&config("\"*\"", ""));
    eventually("the added one runs again", async || {
        source().await.as_deref() == Some("registry")
    })
    .await;
    gateway.stop().await;
}

/// The restart that the changed keys wait for would refuse it.
#[tokio::test]
async fn a_file_whose_certificate_cannot_be_used_is_refused() {
    let gateway = Gateway::start(&config("\"demo_*\"", "")).await;
    let client = gateway.client().open().await;
    let tools = client.tools().await;
    let tls = "tls: { cert: nope.pem, key: nope.key }\n";
    gateway.reconfigure(&config("\"demo_add\"", tls));
    eventually("the problem is reported", async || {
        let log = gateway.log();
        log.contains("configuration file refused") && log.contains("nope.pem")
    })
    .await;
    assert_eq!(client.tools().await, tools);
    let shown = gateway.admin("/api/v1/config").await;
    let error = shown["last_error"].to_string();
    assert!(error.contains("nope.pem"), "{shown}");
    gateway.stop().await;
}
