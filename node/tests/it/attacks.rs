//! What the gateway gives its clients to give back (session ids, cursors, `requestState`) is of use to whom it was given
//! and for what it was given. Everybody else is refused, and the tamper-evident log says so.

use http::Method;
use serde_json::{Value, json};

use crate::audit_log::records;
use crate::bridge_down::{ELICIT, SESSION_ONLY, accept, code};
use crate::session_ids::is_unknown;
use crate::support::{Client, Gateway, Push, Upstream, eventually};

/// Ann of one tenant, somebody of the same name in another, and a colleague of the first.
pub(crate) const KEYS: [(&str, &str); 3] = [
    ("ANN", "lg_0000000000000000000000000000000000000000ann"),
    ("HER", "lg_0000000000000000000000000000000000000000her"),
    ("BOB", "lg_0000000000000000000000000000000000000000bob"),
];

async fn gateway(servers: &[(&str, &Upstream)]) -> Gateway {
    let servers = servers.iter();
    let servers: Vec<_> = servers
        .map(|(name, upstream)| (*name, *upstream, SESSION_ONLY))
        .collect();
    gateway_with(&servers, "").await
}

/// In front of servers with more settings each, and with more in its configuration.
pub(crate) async fn gateway_with(servers: &[(&str, &Upstream, &str)], more: &str) -> Gateway {
    let key = |(id, principal, tenant): (&str, &str, &str)| {
        format!(
            "    - {{ id: {id}, key_env: {id}, principal: {principal}, tenant: {tenant}, roles: [all] }}\n"
        )
    };
    let callers = [
        ("ANN", "ann", "acme"),
        ("HER", "ann", "other"),
        ("BOB", "bob", "acme"),
    ];
    let keys = callers.map(key).concat();
    let names: Vec<&str> = servers.iter().map(|(name, ..)| *name).collect();
    let names = names.join(", ");
    let entries = servers
        .iter()
        .map(|(name, upstream, settings)| upstream.entry(name, settings));
    let entries: String = entries.collect();
    let config = format!(
        "identity:\n  api_keys:\n{keys}roles: {{ all: {{ allow: [\"*\"] }} }}\n\
         tenants: {{ acme: {{ servers: [{names}] }}, other: {{ servers: [{names}] }} }}\nservers:\n{entries}{more}"
    );
    Gateway::start_with(&config, &KEYS).await
}

pub(crate) fn client(gateway: &Gateway, who: usize) -> Client {
    gateway.client().key(KEYS[who].1)
}

/// The same text with one letter changed in the middle.
pub(crate) fn forged(text: &str) -> String {
    let at = text.len() / 2;
    let other = if text.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

fn cut(text: &str) -> String {
    text[..text.len() - 1].to_owned()
}

/// Waits until the log of `gateway` has just this against these principals, with their tenants, in any order.
pub(crate) async fn accused(gateway: Gateway, of: &str, expected: &[&str]) {
    let data = gateway.data_dir();
    let who = |record: &Value| {
        let [principal, tenant] = ["principal", "tenant"].map(|key| record[key].as_str().unwrap());
        format!("{principal}@{tenant}")
    };
    let mut accused = Vec::new();
    // A record is in the log of the cluster soon after it was written, not at once.
    eventually("all of them are accused", async || {
        let records = records(&data);
        let told = records
            .iter()
            .filter(|record| record["kind"] == "security" && record["method"] == of);
        accused = told.map(who).collect();
        accused.len() >= expected.len()
    })
    .await;
    accused.sort();
    assert_eq!(accused, expected);
    gateway.stop().await;
}

/// Two servers, whose tools fit no common page.
pub(crate) async fn large() -> [Upstream; 2] {
    let upstreams = [Upstream::start().await, Upstream::start().await];
    for upstream in &upstreams {
        let tool = json!({"name": "t", "description": "x".repeat(2_500_000),
            "inputSchema": {"type": "object"}});
        upstream.reply(
            "tools/list",
            &[&format!(r#""result":{{"tools":[{tool}]}}"#)],
        );
    }
    upstreams
}

#[tokio::test]
async fn a_cursor_is_of_use_to_its_caller_for_its_list_alone() {
    let [one, two] = large().await;
    let gateway = gateway(&[("one", &one), ("two", &two)]).await;
    let listed = async |client: &Client, method: &str, cursor: Option<&str>| {
        let params = cursor.map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
        client.stateless(method, params).await
    };
    let ann = client(&gateway, 0);
    let first = listed(&ann, "tools/list", None).await.message().await;
    assert_eq!(first["result"]["tools"][0]["name"], "one_t");
    let cursor = first["result"]["nextCursor"].as_str().unwrap().to_owned();
    let (her, bob) = (client(&gateway, 1), client(&gateway, 2));
    for (what, client, method, cursor) in [
        ("another tenant", &her, "tools/list", cursor.clone()),
        ("another principal", &bob, "tools/list", cursor.clone()),
        ("another list", &ann, "prompts/list", cursor.clone()),
        ("forged", &ann, "tools/list", forged(&cursor)),
        ("cut", &ann, "tools/list", cut(&cursor)),
        ("invented", &ann, "tools/list", "2".to_owned()),
        ("empty", &ann, "tools/list", String::new()),
    ] {
        let refused = listed(client, method, Some(&cursor)).await;
        assert_eq!(code(refused).await, (400, -32602), "{what}");
    }
    // The endpoint of one server knows none of all servers, and that server never sees it.
    let alone = client(&gateway, 0).at("/s/one/mcp");
    let refused = listed(&alone, "tools/list", Some(&cursor)).await;
    assert_eq!(code(refused).await, (400, -32602), "another route");
    let alone = alone.open().await;
    // Lists of the two eras are two lists.
    let session = client(&gateway, 0).open().await;
    let refused = session
        .request("tools/list", json!({"cursor": cursor}))
        .await;
    assert_eq!(refused["error"]["code"], -32602);
    // Nor does one of its sessions take what another session was given for all servers.
    let first = session.request("tools/list", json!({})).await;
    let of_sessions = &first["result"]["nextCursor"];
    let refused = alone
        .request("tools/list", json!({"cursor": of_sessions}))
        .await;
    assert_eq!(refused["error"]["code"], -32602, "another route");
    // Its caller may ask for the page as often as it likes.
    for _ in 0..2 {
        let next = listed(&ann, "tools/list", Some(&cursor))
            .await
            .message()
            .await;
        assert_eq!(next["result"]["tools"][0]["name"], "two_t");
        assert_eq!(next["result"].get("nextCursor"), None);
    }
    let expected = [["ann@acme"; 8].as_slice(), &["ann@other", "bob@acme"]].concat();
    accused(gateway, "cursor_refused", &expected).await;
}

#[tokio::test]
async fn a_cursor_of_all_servers_is_shown_to_none_of_them() {
    let [one, two] = large().await;
    let gateway = gateway(&[("one", &one), ("two", &two)]).await;
    let stateless = client(&gateway, 0).stateless("tools/list", json!({})).await;
    let session = client(&gateway, 0).open().await;
    for first in [
        stateless.message().await,
        session.request("tools/list", json!({})).await,
    ] {
        let cursor = first["result"]["nextCursor"].as_str().unwrap();
        for who in 0..3 {
            for method in ["tools/list", "prompts/list"] {
                let alone = client(&gateway, who).at("/s/one/mcp");
                let params = json!({"cursor": cursor});
                let refused = alone.stateless(method, params.clone()).await;
                assert_eq!(code(refused).await, (400, -32602), "{who}: {method}");
                let refused = alone.open().await.request(method, params).await;
                assert_eq!(refused["error"]["code"], -32602, "{who}: {method}");
                let last = one.last_body(method).unwrap();
                assert!(!String::from_utf8_lossy(&last).contains(cursor));
            }
        }
    }
    let others = [["ann@other"; 8], ["bob@acme"; 8]].concat();
    let expected = [["ann@acme"; 8].as_slice(), &others].concat();
    accused(gateway, "cursor_refused", &expected).await;
}

#[tokio::test]
async fn a_cursor_given_to_a_session_is_its_callers_for_that_list() {
    let [one, two] = large().await;
    let gateway = gateway(&[("one", &one), ("two", &two)]).await;
    let mut sessions = Vec::new();
    for who in 0..3 {
        sessions.push(client(&gateway, who).open().await);
    }
    let [ann, her, bob] = &sessions[..] else {
        panic!("three callers")
    };
    let first = ann.request("tools/list", json!({})).await;
    let cursor = first["result"]["nextCursor"].as_str().unwrap().to_owned();
    for (what, session, method, cursor) in [
        ("another tenant", her, "tools/list", cursor.clone()),
        ("another principal", bob, "tools/list", cursor.clone()),
        ("another list", ann, "prompts/list", cursor.clone()),
        ("another list", ann, "resources/list", cursor.clone()),
        ("forged", ann, "tools/list", forged(&cursor)),
        ("cut", ann, "tools/list", cut(&cursor)),
        ("empty", ann, "tools/list", String::new()),
        (
            "a session id",
            ann,
            "tools/list",
            ann.session_id().to_owned(),
        ),
    ] {
        let refused = session.request(method, json!({"cursor": cursor})).await;
        assert_eq!(refused["error"]["code"], -32602, "{what}");
    }
    // It says a place in the list, which her other sessions see, too, under any name of their endpoint.
    let second = client(&gateway, 0).open().await;
    let tenants = client(&gateway, 0).at("/t/acme/mcp").open().await;
    for session in [ann, &second, &tenants] {
        let next = session
            .request("tools/list", json!({"cursor": cursor}))
            .await;
        assert_eq!(next["result"]["tools"][0]["name"], "two_t");
    }
    // Where a session id is wanted it is nothing either.
    is_unknown(&client(&gateway, 0), &cursor).await;
    let expected = [["ann@acme"; 6].as_slice(), &["ann@other", "bob@acme"]].concat();
    accused(gateway, "cursor_refused", &expected).await;
}

#[tokio::test]
async fn a_session_id_is_of_use_to_its_caller_on_its_route_until_it_ends() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&[("up", &upstream)]).await;
    let ann = client(&gateway, 0).open().await;
    let id = ann.session_id().to_owned();
    let refused = async |who: usize, path: &str, id: &str| {
        let client = client(&gateway, who).at(path);
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
        let header = [("mcp-session-id", id)];
        client.send(Method::POST, &header, ping).await.status
    };
    for (who, path, id) in [
        (1, "/mcp", &id),
        (2, "/mcp", &id),
        (0, "/s/up/mcp", &id),
        (0, "/t/acme/mcp", &id),
        (0, "/mcp", &forged(&id)),
        (0, "/mcp", &cut(&id)),
    ] {
        is_unknown(&client(&gateway, who).at(path), id).await;
    }
    assert_eq!(refused(0, "/mcp", &id).await, 200);
    assert_eq!(ann.delete().await, 200);
    // Ann may have missed the end of her own session; for Bob it never was one.
    assert_eq!(refused(0, "/mcp", &id).await, 404, "ended");
    assert_eq!(refused(2, "/mcp", &id).await, 404, "ended, and of another");
    // Each of the others came with three methods of HTTP.
    let others = [["ann@other"; 3].as_slice(), &["bob@acme"; 4]].concat();
    let expected = [["ann@acme"; 12].as_slice(), &others].concat();
    accused(gateway, "session_id_refused", &expected).await;
}

#[tokio::test]
async fn a_state_is_of_no_use_in_another_tenant_or_another_round() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&[("up", &upstream)]).await;
    let call = async |who: usize, path: &str, more: &Value| {
        let mut params = json!({"name": "script", "arguments": {"a": 1}});
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        let capabilities = json!({"elicitation": {}});
        let client = client(&gateway, who).at(path);
        client.ask(capabilities, "tools/call", params).await
    };
    let say = upstream.script();
    say.send(Push::Raw(ELICIT)).await.unwrap();
    let asked = call(0, "/s/up/mcp", &json!({})).await.message().await;
    let right = accept(&asked["result"]["requestState"]);
    for (what, who, path) in [
        ("another tenant", 1, "/s/up/mcp"),
        ("another principal", 2, "/s/up/mcp"),
    ] {
        let refused = call(who, path, &right).await;
        assert_eq!(code(refused).await, (400, -32602), "{what}");
    }
    say.send(Push::Raw(ELICIT)).await.unwrap();
    let asked = call(0, "/s/up/mcp", &right).await.message().await;
    let mut next = right.clone();
    next["requestState"] = asked["result"]["requestState"].clone();
    next["inputResponses"] = json!({"ask-2": {"action": "accept", "content": {}}});
    say.send(Push::Answer("thanks")).await.unwrap();
    // Before its call is over, and after.
    let refused = call(0, "/s/up/mcp", &right).await;
    assert_eq!(code(refused).await, (400, -32602), "the round before");
    let done = call(0, "/s/up/mcp", &next).await.message().await;
    assert_eq!(done["result"]["content"][0]["text"], "thanks");
    for (what, who, state) in [
        ("the round before", 0, &right),
        ("another principal", 2, &next),
    ] {
        let refused = call(who, "/s/up/mcp", state).await;
        assert_eq!(code(refused).await, (400, -32602), "{what}");
    }
    let expected = ["ann@acme", "ann@acme", "ann@other", "bob@acme", "bob@acme"];
    accused(gateway, "state_refused", &expected).await;
}
