use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::node::{CONFIG, Node};
use crate::admin::Readiness;
use crate::config::Registry;
use crate::session;

fn code(answer: &(http::StatusCode, Value)) -> (u16, &str) {
    (
        answer.0.as_u16(),
        answer.1["error"]["code"].as_str().unwrap_or_default(),
    )
}

async fn create(node: &Node, body: &Value) -> (String, String) {
    let (status, made) = node.ask("POST", "/api/v1/keys", &body.to_string()).await;
    assert_eq!(status, 201, "{made}");
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

#[tokio::test]
async fn a_key_opens_until_it_is_revoked() {
    let node = Node::start(None).await;
    let wanted =
        json!({ "principal": "bob", "tenant": "acme", "roles": ["engineer"], "id": "bobs" });
    let (id, key) = create(&node, &wanted).await;
    assert!(id == "bobs" && node.opens(&key));
    let (status, rotated) = node.ask("POST", "/api/v1/keys/bobs/rotate", "").await;
    let new = rotated["key"].as_str().unwrap();
    assert!(status == 200 && node.opens(new) && !node.opens(&key));
    assert_eq!(node.ask("DELETE", "/api/v1/keys/bobs", "").await.0, 204);
    assert!(!node.opens(new));
    assert_eq!(
        code(&node.ask("POST", "/api/v1/keys/bobs/rotate", "").await),
        (409, "key_revoked")
    );
    assert_eq!(
        node.n_applied.load(Ordering::Relaxed),
        3,
        "every change is in force when answered"
    );
    let deeds = [
        ("keys.create", "ok"),
        ("keys.rotate", "ok"),
        ("keys.revoke", "ok"),
        ("keys.rotate", "key_revoked"),
    ];
    let deeds = deeds.map(|(deed, status)| {
        let begun = format!("local:127.0.0.1 {deed} bobs");
        [format!("{begun}: {status}"), begun]
    });
    let mut told = node.deeds();
    told.chunks_mut(2).for_each(<[String]>::reverse);
    assert_eq!(told, deeds.concat());
}

#[tokio::test]
async fn keys_are_listed_without_their_values() {
    let node = Node::start(None).await;
    let (id, key) = create(&node, &json!({ "principal": "bob", "roles": ["engineer"] })).await;
    let (_, listed) = node.ask("GET", "/api/v1/keys", "").await;
    let expected = json!({ "keys": [
        { "id": "of-file", "principal": "ci-bot", "tenant": "acme", "roles": ["engineer"],
          "source": "file", "created_at": null, "revoked": false,
          "missing_roles": [], "is_tenant_missing": false },
        { "id": id, "principal": "bob", "tenant": null, "roles": ["engineer"],
          "source": "registry", "created_at": "2027-01-15T08:00:00.000Z", "revoked": false,
          "missing_roles": [], "is_tenant_missing": false },
    ]});
    assert_eq!(listed, expected);
    assert!(!listed.to_string().contains(&key));

    let mut registry = Registry::clone(&node.parts.registry.load());
    registry.roles.clear();
    registry.tenants.clear();
    node.parts.registry.store(registry.into());
    let (_, listed) = node.ask("GET", "/api/v1/keys", "").await;
    for (at, has_tenant) in [(0, true), (1, false)] {
        let key = &listed["keys"][at];
        assert_eq!(key["missing_roles"], json!(["engineer"]));
        assert_eq!(key["is_tenant_missing"], has_tenant);
    }
}

#[tokio::test]
async fn mistakes_in_a_key_are_named() {
    let node = Node::start(None).await;
    let cases = [
        ("{", (400, "invalid_json")),
        (r#"{"principal":"b"}"#, (422, "invalid_body")),
        (
            r#"{"principal":"b","roles":["engineer"],"rolls":1}"#,
            (422, "invalid_body"),
        ),
        (
            r#"{"principal":" ","roles":["engineer"]}"#,
            (422, "invalid_name"),
        ),
        (r#"{"principal":"b","roles":[]}"#, (422, "no_roles")),
        (
            r#"{"principal":"b","roles":["root"]}"#,
            (422, "unknown_role"),
        ),
        (
            r#"{"principal":"b","roles":["engineer"],"tenant":"evil"}"#,
            (422, "unknown_tenant"),
        ),
        (
            r#"{"principal":"b","roles":["engineer"],"id":"of-file"}"#,
            (409, "key_exists"),
        ),
        (
            r#"{"principal":"b","roles":["engineer"],"id":"a\nb"}"#,
            (422, "invalid_name"),
        ),
        (
            r#"{"principal":"b","roles":["engineer"],"id":"bad id"}"#,
            (422, "invalid_name"),
        ),
        (
            r#"{"principal":"b","roles":["engineer"],"id":"a/b?c#d"}"#,
            (422, "invalid_name"),
        ),
        (
            r#"{"principal":"b","roles":["engineer"],"id":".."}"#,
            (422, "invalid_name"),
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(
            code(&node.ask("POST", "/api/v1/keys", body).await),
            expected,
            "{body}"
        );
    }
    let large = format!("\"{}\"", "x".repeat(300 << 10));
    assert_eq!(
        code(&node.ask("POST", "/api/v1/keys", &large).await),
        (413, "body_too_large")
    );
    assert_eq!(
        code(&node.ask("DELETE", "/api/v1/keys/none", "").await),
        (404, "unknown_key")
    );
    assert_eq!(
        code(&node.ask("DELETE", "/api/v1/keys/of-file", "").await),
        (409, "file_key")
    );
    assert!(node.n_applied.load(Ordering::Relaxed) == 0);
}

#[tokio::test]
async fn a_change_that_is_not_in_force_is_no_success() {
    let node = Node::start(None).await;
    node.broken.store(true, Ordering::Relaxed);
    let body = r#"{"principal":"b","roles":["engineer"],"id":"b"}"#;
    let answer = node.ask("POST", "/api/v1/keys", body).await;
    assert_eq!(code(&answer), (500, "not_applied"));
    assert!(
        answer.1["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no room")
    );
}

#[tokio::test]
async fn a_server_comes_and_goes() {
    let node = Node::start(None).await;
    let body = r#"{"name":"extra","url":"http://127.0.0.1:9/other","timeout":"3s"}"#;
    let added = node.ask("POST", "/api/v1/servers", body).await;
    assert_eq!((added.0.as_u16(), &added.1["name"]), (201, &json!("extra")));
    let tried = &added.1["server"];
    assert_eq!(
        (&tried["settled"], &tried["up"]),
        (&json!(true), &json!(false))
    );
    assert!(tried["last_error"].is_string(), "{tried}");
    let (_, listed) = node.ask("GET", "/api/v1/servers", "").await;
    let shown = |at: usize| {
        let server = &listed["servers"][at];
        (
            server["name"].clone(),
            server["source"].clone(),
            server["endpoints"][0]["breaker"].clone(),
        )
    };
    assert_eq!(shown(0), (json!("down"), json!("file"), json!("closed")));
    assert_eq!(
        shown(1),
        (json!("extra"), json!("registry"), json!("closed"))
    );
    assert_eq!(
        code(&node.ask("POST", "/api/v1/servers", body).await),
        (409, "server_exists")
    );
    assert_eq!(
        node.ask("POST", "/api/v1/servers/extra/restart", "")
            .await
            .0,
        202
    );
    assert_eq!(node.ask("DELETE", "/api/v1/servers/extra", "").await.0, 204);
    assert_eq!(node.parts.upstreams.all().len(), 1);
    assert_eq!(
        code(&node.ask("DELETE", "/api/v1/servers/extra", "").await),
        (404, "unknown_server")
    );
    assert_eq!(
        code(&node.ask("DELETE", "/api/v1/servers/down", "").await),
        (409, "file_server")
    );
    let none = node.ask("POST", "/api/v1/servers/none/restart", "").await;
    assert_eq!(code(&none), (404, "unknown_server"));
}

#[tokio::test]
async fn mistakes_in_a_server_are_named() {
    let node = Node::start(None).await;
    for body in [r#"{"url":"http://a/mcp"}"#, r#"{"name":7}"#, "[]"] {
        let answer = node.ask("POST", "/api/v1/servers", body).await;
        assert_eq!(code(&answer), (422, "invalid_body"), "{body}");
    }
    let body = r#"{"name":"a","url":"http://a/mcp","tiemout":"3s"}"#;
    let answer = node.ask("POST", "/api/v1/servers", body).await;
    assert_eq!(code(&answer), (422, "invalid_server"));
    assert!(
        answer.1["error"]["message"]
            .as_str()
            .unwrap()
            .contains("tiemout"),
        "{}",
        answer.1
    );
    let taken = r#"{"name":"down","url":"http://a/mcp"}"#;
    assert_eq!(
        code(&node.ask("POST", "/api/v1/servers", taken).await),
        (409, "server_exists")
    );
}

#[tokio::test]
async fn an_added_server_that_does_not_run_is_listed_with_the_reason() {
    let node = Node::start(None).await;
    let command = lockgate_cluster::RegistryCommand::AddServer {
        name: "lost".into(),
        settings: r#"{"url":"http://a/mcp","headers":{"X":"${MISSING}"}}"#.to_owned(),
    };
    node.parts.cluster.propose(command.into()).await.unwrap();
    let (_, listed) = node.ask("GET", "/api/v1/servers", "").await;
    let lost = &listed["servers"][1];
    assert_eq!(
        (&lost["name"], &lost["up"]),
        (&json!("lost"), &json!(false))
    );
    assert!(
        lost["last_error"].as_str().unwrap().contains("MISSING"),
        "{lost}"
    );
}

#[tokio::test]
async fn a_node_without_sessions_and_tools_says_so() {
    let node = Node::start(None).await;
    assert_eq!(
        node.ask("GET", "/api/v1/sessions", "").await.1,
        json!({ "sessions": [] })
    );
    let untold = node.ask("GET", "/api/v1/tools?server=down", "").await.1;
    assert_eq!(untold["tools"], json!([]));
    assert_eq!(untold["missing"][0]["server"], "down");
    assert_eq!(untold["missing"].as_array().map(Vec::len), Some(1));
    let unknown = node.ask("GET", "/api/v1/tools?server=none", "").await;
    assert_eq!(code(&unknown), (404, "unknown_server"));
    for method in ["GET", "DELETE"] {
        let answer = node.ask(method, "/api/v1/sessions/none", "").await;
        assert_eq!(code(&answer), (404, "unknown_session"));
    }
}

#[tokio::test]
async fn a_session_is_shown_by_its_short_name_and_ended() {
    let node = Node::start(None).await;
    let request = session::Request {
        who: node.caller("lg_of-the-file").unwrap(),
        route: "/mcp",
        server: None,
        session_id: None,
        version: None,
        trace: None,
        seen: None,
    };
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let opened = node.parts.sessions.post(&request, initialize.into()).await;
    let sealed = opened.session_id.unwrap();
    let (_, listed) = node.ask("GET", "/api/v1/sessions", "").await;
    let summary = &listed["sessions"][0];
    assert_eq!(
        (&summary["principal"], &summary["state"]),
        (&json!("ci-bot"), &json!("active"))
    );
    assert!(
        !listed.to_string().contains(&sealed),
        "the id that opens it stays secret"
    );
    let path = format!("/api/v1/sessions/{}", summary["id"].as_str().unwrap());
    assert_eq!(node.ask("GET", &path, "").await.1["client"]["name"], "t");
    let active =
        async || node.ask("GET", "/api/v1/runtime", "").await.1["sessions"]["active"].clone();
    assert_eq!(active().await, 1);
    assert_eq!(node.ask("DELETE", &path, "").await.0, 204);
    assert_eq!(active().await, 0);
    assert_eq!(
        code(&node.ask("GET", &path, "").await),
        (404, "unknown_session")
    );
}

#[tokio::test]
async fn the_configuration_is_shown_without_secrets_and_reloaded() {
    let node = Node::start(None).await;
    let (_, shown) = node.ask("GET", "/api/v1/config", "").await;
    assert_eq!(
        (&shown["version"], &shown["last_error"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(
        shown["config"]["servers"]["down"]["url"],
        "http://127.0.0.1:9/mcp"
    );
    assert!(!shown.to_string().contains("literal-secret"));
    let file = node.dir.path().join("lockgate.yaml");
    std::fs::write(&file, CONFIG.replace("[\"*\"]", "[\"a\"]")).unwrap();
    let (status, reloaded) = node.ask("POST", "/api/v1/config/reload", "").await;
    assert_eq!((status.as_u16(), &reloaded["version"]), (200, &json!(2)));
    std::fs::write(&file, CONFIG.replace("servers:", "severs:")).unwrap();
    let refused = node.ask("POST", "/api/v1/config/reload", "").await;
    assert_eq!(code(&refused), (422, "config_refused"));
    let (_, shown) = node.ask("GET", "/api/v1/config", "").await;
    assert_eq!(shown["version"], 2);
    assert!(shown["last_error"].as_str().unwrap().contains("severs"));
    assert_eq!(
        node.deeds(),
        [
            "local:127.0.0.1 config.reload ",
            "local:127.0.0.1 config.reload : ok",
            "local:127.0.0.1 config.reload ",
            "local:127.0.0.1 config.reload : config_refused",
        ]
    );
}

#[tokio::test]
async fn info_and_runtime_say_what_is_there() {
    let node = Node::start(None).await;
    let (_, info) = node.ask("GET", "/api/v1/info", "").await;
    let expected = json!({
        "listen": "127.0.0.1:7777", "tls": false, "version": env!("CARGO_PKG_VERSION"), "node": "n1", "boot": 1,
        "config_version": 1, "started_at": "2027-01-15T08:00:00.000Z",
    });
    assert_eq!(info, expected);
    let (_, runtime) = node.ask("GET", "/api/v1/runtime", "").await;
    assert_eq!(runtime["sessions"], json!({ "active": 0, "passive": 0 }));
    let counts = ["session_actors", "calls_in_flight", "children"].map(|key| runtime[key].clone());
    assert_eq!(counts, [json!(0), json!(0), json!(0)]);
    assert_eq!(runtime["connections"], 5);
}

#[tokio::test]
async fn readiness_follows_the_node() {
    let node = Node::start(Some("s3cret")).await;
    let (status, ready) = node.ask("GET", "/readyz", "").await;
    assert_eq!((status.as_u16(), &ready["status"]), (200, &json!("ready")));
    assert_eq!(ready["servers"][0]["name"], "down");
    for (readiness, word) in [
        (Readiness::Starting, "starting"),
        (Readiness::Draining, "draining"),
    ] {
        node.readiness.send_replace(readiness);
        let (status, ready) = node.ask("GET", "/readyz", "").await;
        assert_eq!((status.as_u16(), &ready["status"]), (503, &json!(word)));
    }
    let (status, _, body) = node.send("10.0.0.9:1", &[], "GET", "/readyz", "").await;
    assert_eq!(
        (status.as_u16(), &*body),
        (503, &br#"{"status":"draining"}"#[..])
    );
}

#[tokio::test]
async fn from_elsewhere_only_the_token_opens() {
    let node = Node::start(Some("s3cret")).await;
    let far = "10.0.0.9:1";
    for path in [
        "/api/v1/keys",
        "/metrics",
        "/openapi.json",
        "/",
        "/no/such/path",
    ] {
        let (status, headers, body) = node.send(far, &[], "GET", path, "").await;
        assert_eq!(status, 401, "{path}");
        assert!(headers.contains_key("www-authenticate"));
        assert!(!body.windows(6).any(|window| window == b"s3cret"));
    }
    let token = [("authorization", "Bearer s3cret")];
    let body = r#"{"principal":"b","roles":["engineer"],"id":"b"}"#;
    let (status, _, _) = node.send(far, &token, "POST", "/api/v1/keys", body).await;
    assert_eq!(status, 201);
    assert_eq!(
        node.deeds(),
        [
            "token:10.0.0.9 keys.create b",
            "token:10.0.0.9 keys.create b: ok",
        ]
    );
    assert_eq!(node.send(far, &[], "GET", "/healthz", "").await.0, 200);
    let (_, _, metrics) = node.send(far, &token, "GET", "/metrics", "").await;
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    assert!(
        metrics.contains("\nmcp_gateway_auth_failures_total 5\n"),
        "{metrics}"
    );
    assert!(metrics.contains("\nmcp_server_up{server=\"down\"} 0\n"));
}

#[tokio::test]
async fn registers_of_the_nodes_are_not_written_from_outside() {
    let node = Node::start(None).await;
    for (key, wanted) in [
        ("audit%2Fguard%2Fn1", (422, "reserved_key")),
        ("audit%2F", (422, "reserved_key")),
        ("audit", (200, "")),
        ("mine%2Faudit%2Fn1", (200, "")),
    ] {
        let path = format!("/api/v1/registers/{key}");
        let written = node.ask("PUT", &path, r#"{"value":"x"}"#).await;
        assert_eq!(code(&written), wanted, "{key}");
        let shown = node.ask("GET", &path, "").await;
        let is_there = shown.0 == 200;
        assert_eq!(is_there, wanted.0 == 200, "{key}");
    }
    assert!(!node.deeds().iter().any(|deed| deed.contains("guard")));
}

#[tokio::test]
async fn other_methods_and_paths_are_refused_in_form() {
    let node = Node::start(None).await;
    assert_eq!(
        code(&node.ask("GET", "/api/v2/keys", "").await),
        (404, "no_such_path")
    );
    let put = node.ask("PUT", "/api/v1/keys", "").await;
    assert_eq!(code(&put), (405, "method_not_allowed"));
    let (_, headers, _) = node
        .send("127.0.0.1:5", &[], "PUT", "/api/v1/keys", "")
        .await;
    assert_eq!(headers["allow"], "GET, POST");
    assert_eq!(headers["cache-control"], "no-store");
}
