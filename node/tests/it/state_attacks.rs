//! Several calls wait for one caller: each `requestState` goes on with its own call, for its own request, at its own
//! server, in its time.

use http::Method;
use serde_json::{Value, json};

use crate::attacks::{accused, client, forged, gateway_with, large};
use crate::bridge_down::{SESSION_ONLY, code};
use crate::session_ids::is_unknown;
use crate::support::{Answer, Client, Gateway, Push, Upstream, eventually};
use crate::tasks_down;

const STATELESS: &str = "2026-07-28";

/// A call that waits for its client.
struct Waiting {
    method: &'static str,
    params: Value,
    /// Id that the server gave its question.
    question: u64,
    /// What the server says next.
    say: tokio::sync::mpsc::Sender<Push>,
    state: Value,
}

impl Waiting {
    /// Calls, and is asked for a form.
    async fn begin(
        client: &Client,
        upstream: &Upstream,
        method: &'static str,
        params: Value,
        question: u64,
    ) -> Self {
        let form = json!({"mode": "form", "message": "who?",
            "requestedSchema": {"type": "object", "properties": {}}});
        let asks = ("elicitation/create", form);
        Self::begin_with(client, upstream, (method, params), (question, asks)).await
    }

    async fn begin_with(
        client: &Client,
        upstream: &Upstream,
        (method, params): (&'static str, Value),
        (question, (asks, form)): (u64, (&str, Value)),
    ) -> Self {
        let say = match method {
            "tools/call" => upstream.script(),
            _ => upstream.script_of(method),
        };
        let message = json!({"jsonrpc": "2.0", "id": question, "method": asks, "params": form});
        let message = message.to_string().leak();
        say.send(Push::Raw(message)).await.unwrap();
        let asked = ask(client, method, params.clone()).await.message().await;
        let state = asked["result"]["requestState"].clone();
        assert!(state.is_string(), "{asked}");
        Self {
            method,
            params,
            question,
            say,
            state,
        }
    }

    /// Its request once more, with a state and its own answer.
    async fn retry(&self, client: &Client, state: &Value) -> Answer {
        self.retry_with(client, state, self.form()).await
    }

    async fn retry_with(&self, client: &Client, state: &Value, answer: Value) -> Answer {
        let mut params = self.params.clone();
        params["requestState"] = state.clone();
        params["inputResponses"] = json!({"ask-1": answer});
        ask(client, self.method, params).await
    }

    /// What the client fills in, which tells whose answer it is.
    fn form(&self) -> Value {
        json!({"action": "accept", "content": {"of": self.question}})
    }

    /// Goes on with its own state, and ends; its server is given this answer and nothing else.
    async fn ends_with(&self, client: &Client, upstream: &Upstream, answer: Value) {
        let (n_answers, n_calls) = (upstream.received(""), upstream.received(self.method));
        self.say.send(Push::Answer("thanks")).await.unwrap();
        let done = self.retry_with(client, &self.state, answer.clone()).await;
        let done = done.message().await;
        assert_eq!(done["result"]["content"][0]["text"], "thanks", "{done}");
        assert_eq!(given(upstream), (self.question, answer));
        assert_eq!(upstream.received(""), n_answers + 1);
        assert_eq!(upstream.received(self.method), n_calls);
    }
}

/// A request of a client that can be asked for forms and roots.
async fn ask(client: &Client, method: &str, params: Value) -> Answer {
    let capabilities = json!({"elicitation": {}, "roots": {}});
    client.ask(capabilities, method, params).await
}

/// The last answer that the server was given, and the id of its question.
fn given(upstream: &Upstream) -> (u64, Value) {
    let body = upstream.last_body("").unwrap();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    (answer["id"].as_u64().unwrap(), answer["result"].clone())
}

fn script(a: u64) -> Value {
    json!({"name": "script", "arguments": {"a": a}})
}

/// Waits until so many calls were refused for their state.
async fn refused_calls(gateway: &Gateway, n: usize) {
    let is_refused = |line: &Value| line["event"] == "completed" && line["status"] == "bad_state";
    eventually("every refusal is recorded", async || {
        gateway.audit().into_iter().filter(is_refused).count() == n
    })
    .await;
}

#[tokio::test]
async fn calls_that_wait_do_not_go_on_with_each_others_states() {
    let upstream = Upstream::start().await;
    let gateway = gateway_with(&[("up", &upstream, SESSION_ONLY)], "").await;
    let ann = client(&gateway, 0).at("/s/up/mcp");
    let mut waiting = Vec::new();
    for (question, method, params) in [
        (11, "tools/call", script(1)),
        (12, "tools/call", script(2)),
        (13, "prompts/get", script(1)),
        (14, "resources/read", json!({"uri": "up://one"})),
    ] {
        waiting.push(Waiting::begin(&ann, &upstream, method, params, question).await);
    }
    let received = || {
        let methods = ["", "tools/call", "prompts/get", "resources/read"];
        methods.map(|method| upstream.received(method))
    };
    assert_eq!(received(), [0, 2, 1, 1]);
    let mut n_refused = 0;
    for own in &waiting {
        for other in waiting.iter().filter(|other| other.state != own.state) {
            let what = format!("{} with the state of {}", own.question, other.question);
            let refused = own.retry(&ann, &other.state).await;
            assert_eq!(code(refused).await, (400, -32602), "{what}");
            n_refused += 1;
        }
    }
    assert_eq!(
        received(),
        [0, 2, 1, 1],
        "no server was told of any of that"
    );
    for own in &waiting {
        own.ends_with(&ann, &upstream, own.form()).await;
    }
    refused_calls(&gateway, n_refused).await;
    accused(gateway, "state_refused", &vec!["ann@acme"; n_refused]).await;
}

#[tokio::test]
async fn an_answer_to_another_question_of_a_like_call_is_given_to_none() {
    let upstream = Upstream::start().await;
    let gateway = gateway_with(&[("up", &upstream, SESSION_ONLY)], "").await;
    let ann = client(&gateway, 0).at("/s/up/mcp");
    let form = Waiting::begin(&ann, &upstream, "tools/call", script(1), 11).await;
    let call = ("tools/call", script(1));
    let asks = (12, ("roots/list", json!({})));
    let roots = Waiting::begin_with(&ann, &upstream, call, asks).await;
    let (filled, listed) = (form.form(), json!({"roots": [{"uri": "file:///srv"}]}));
    for (own, answer) in [(&form, &listed), (&roots, &filled)] {
        let refused = own.retry_with(&ann, &own.state, answer.clone()).await;
        assert_eq!(code(refused).await, (400, -32602), "{}", own.question);
    }
    assert_eq!(upstream.received(""), 0);
    let is_refused = |line: &Value| line["event"] == "completed" && line["status"] == "invalid";
    eventually("both refusals are recorded", async || {
        gateway.audit().into_iter().filter(is_refused).count() == 2
    })
    .await;
    form.ends_with(&ann, &upstream, filled).await;
    roots.ends_with(&ann, &upstream, listed).await;
    // The states were right: nobody is accused but who comes after them with one that is not his.
    let bob = client(&gateway, 2).at("/s/up/mcp");
    assert_eq!(code(form.retry(&bob, &form.state).await).await.0, 400);
    accused(gateway, "state_refused", &["bob@acme"]).await;
}

/// Nothing but the state tells the retry of one call from that of another that is the same to the letter, so it alone
/// says which of them goes on.
#[tokio::test]
async fn of_two_like_calls_the_one_goes_on_whose_state_it_is() {
    let upstream = Upstream::start().await;
    let gateway = gateway_with(&[("up", &upstream, SESSION_ONLY)], "").await;
    let ann = client(&gateway, 0).at("/s/up/mcp");
    let one = Waiting::begin(&ann, &upstream, "tools/call", script(1), 11).await;
    let two = Waiting::begin(&ann, &upstream, "tools/call", script(1), 12).await;
    two.say.send(Push::Answer("of the second")).await.unwrap();
    let mut texts = Vec::new();
    for _ in 0..2 {
        let done = one.retry(&ann, &two.state).await.message().await;
        texts.push(done["result"]["content"][0]["text"].clone());
    }
    // The second time it was given again: nothing has gone on, the first call least of all.
    assert_eq!(texts, ["of the second"; 2]);
    assert_eq!(given(&upstream), (two.question, one.form()));
    assert_eq!(
        (upstream.received(""), upstream.received("tools/call")),
        (1, 2)
    );
    one.ends_with(&ann, &upstream, one.form()).await;
    // Nobody is accused of that but who has no call here.
    let bob = client(&gateway, 2).at("/s/up/mcp");
    assert_eq!(code(two.retry(&bob, &two.state).await).await.0, 400);
    accused(gateway, "state_refused", &["bob@acme"]).await;
}

#[tokio::test]
async fn an_expired_state_is_of_no_use_to_anybody() {
    let upstream = Upstream::start().await;
    let servers = [("up", &upstream, SESSION_ONLY)];
    let gateway = gateway_with(&servers, "bridge: { wait: 1s }\n").await;
    let [ann, her, bob] = [0, 1, 2].map(|who| client(&gateway, who).at("/s/up/mcp"));
    let one = Waiting::begin(&ann, &upstream, "tools/call", script(1), 11).await;
    let two = Waiting::begin(&ann, &upstream, "tools/call", script(2), 12).await;
    let told = || {
        let methods = ["tools/call", "notifications/cancelled", ""];
        methods.map(|method| upstream.received(method))
    };
    eventually("the server knows that nobody answers", async || {
        told() == [2, 2, 2]
    })
    .await;
    // Her own client is told what has become of it, nobody else anything.
    let late = one.retry(&ann, &one.state).await;
    assert_eq!(late.status, 400);
    let late = late.message().await;
    let error = json!({"code": -32602, "message": "`requestState` is refused: it has expired",
        "data": {"server": "up", "outcome": "unknown"}});
    assert_eq!(late["error"], error);
    let state = one.state.as_str().unwrap();
    for (what, client, own, state) in [
        ("of another call", &ann, &two, state.to_owned()),
        ("of another principal", &bob, &one, state.to_owned()),
        ("of another tenant", &her, &one, state.to_owned()),
        ("forged", &ann, &one, forged(state)),
    ] {
        let refused = own.retry(client, &json!(state)).await.message().await;
        let error = &refused["error"];
        assert_eq!(error["code"], -32602, "{what}");
        let text = error["message"].as_str().unwrap();
        assert!(!text.contains("expired"), "{what}: {text}");
    }
    assert_eq!(told(), [2, 2, 2], "nothing has come of any of that");
    refused_calls(&gateway, 5).await;
    // Who only comes late has done no wrong.
    let expected = ["ann@acme", "ann@acme", "ann@other", "bob@acme"];
    accused(gateway, "state_refused", &expected).await;
}

#[tokio::test]
async fn a_state_is_no_other_sealed_text_and_none_of_them_is_a_state() {
    let upstream = Upstream::start().await;
    let gateway = gateway_with(&[("up", &upstream, SESSION_ONLY)], "").await;
    let ann = client(&gateway, 0).at("/s/up/mcp");
    let own = Waiting::begin(&ann, &upstream, "tools/call", script(1), 11).await;
    let state = own.state.as_str().unwrap();
    is_unknown(&ann, state).await;
    let merged = client(&gateway, 0);
    let refused = merged
        .stateless("tools/list", json!({"cursor": state}))
        .await;
    assert_eq!(code(refused).await, (400, -32602));
    let session = client(&gateway, 0).at("/s/up/mcp").open().await;
    let refused = own.retry(&ann, &json!(session.session_id())).await;
    assert_eq!(code(refused).await, (400, -32602));
    assert_eq!(upstream.received(""), 0);
    own.ends_with(&ann, &upstream, own.form()).await;
    accused(gateway, "state_refused", &["ann@acme"]).await;
}

#[tokio::test]
async fn a_state_is_shown_to_no_server_that_keeps_its_own() {
    let (upstream, native) = (Upstream::start().await, Upstream::start().await);
    let servers = [
        ("up", &upstream, SESSION_ONLY),
        ("native", &native, ", era: stateless"),
    ];
    let gateway = gateway_with(&servers, "").await;
    let ann = client(&gateway, 0).at("/s/up/mcp");
    let own = Waiting::begin(&ann, &upstream, "tools/call", script(1), 11).await;
    let bob = client(&gateway, 2).at("/s/native/mcp");
    let merged = client(&gateway, 0);
    for (what, client, name) in [
        ("her own", &ann.at("/s/native/mcp"), "script"),
        ("of another principal", &bob, "script"),
        ("through all servers", &merged, "native_script"),
    ] {
        let params = json!({"name": name, "arguments": {"a": 1}, "requestState": own.state});
        let refused = ask(client, "tools/call", params).await;
        assert_eq!(code(refused).await, (400, -32602), "{what}");
    }
    assert_eq!(native.received("tools/call"), 0);
    // What that server has sealed itself is its own affair.
    let params = json!({"name": "work", "arguments": {"key": "k"}, "requestState": "its own"});
    let done = ask(&bob, "tools/call", params).await.message().await;
    assert_eq!(done["result"]["content"][0]["text"], "done");
    let sent: Value = serde_json::from_slice(&native.last_body("tools/call").unwrap()).unwrap();
    assert_eq!(sent["params"]["requestState"], "its own");
    // With a session there are no states.
    let params = json!({"name": "work", "arguments": {"key": "k"}, "requestState": "its own",
        "inputResponses": {"ask-1": own.form()}});
    let session = client(&gateway, 2).at("/s/native/mcp").open().await;
    let done = session.request("tools/call", params).await;
    assert_eq!(done["result"]["content"][0]["text"], "done");
    let sent: Value = serde_json::from_slice(&native.last_body("tools/call").unwrap()).unwrap();
    for key in ["requestState", "inputResponses"] {
        assert_eq!(sent["params"].get(key), None);
    }
    let ann = client(&gateway, 0).at("/s/up/mcp");
    own.ends_with(&ann, &upstream, own.form()).await;
    let expected = ["ann@acme", "ann@acme", "bob@acme"];
    accused(gateway, "state_refused", &expected).await;
}

/// Whatever it is, whoever it was given to, and in whichever place of a request it is tried.
#[tokio::test]
async fn nothing_that_was_sealed_here_is_shown_to_a_server_as_its_own() {
    let (upstream, native) = (Upstream::start().await, Upstream::start().await);
    let ([one, two], tasks) = (large().await, tasks_down::upstream().await);
    let servers = [
        ("up", &upstream, SESSION_ONLY),
        ("native", &native, ", era: stateless"),
        ("one", &one, SESSION_ONLY),
        ("two", &two, SESSION_ONLY),
        ("tasks", &tasks, tasks_down::SESSION),
    ];
    let gateway = gateway_with(&servers, "").await;
    let [ann, merged, followed] =
        ["/s/up/mcp", "/mcp", "/s/tasks/mcp"].map(|path| client(&gateway, 0).at(path));
    let own = Waiting::begin(&ann, &upstream, "tools/call", script(1), 11).await;
    let first = merged.stateless("tools/list", json!({})).await;
    let sealed = [
        own.state.as_str().unwrap().to_owned(),
        first.message().await["result"]["nextCursor"]
            .as_str()
            .unwrap()
            .to_owned(),
        tasks_down::begin(&followed, "work").await,
        merged.open().await.session_id().to_owned(),
    ];
    for (who, path) in [(0, "/s/native/mcp"), (2, "/s/native/mcp"), (1, "/s/up/mcp")] {
        let stateless = client(&gateway, who).at(path);
        let session = client(&gateway, who).at(path).open().await;
        for text in &sealed {
            let params = json!({"name": "script", "arguments": {"a": 1}, "requestState": text});
            let refused = ask(&stateless, "tools/call", params.clone()).await;
            assert_eq!(code(refused).await, (400, -32602), "{path}: {text}");
            let refused = session.request("tools/call", params).await;
            assert_eq!(refused["error"]["code"], -32602, "{path}: {text}");
            let params = json!({"cursor": text});
            let refused = stateless.stateless("tools/list", params.clone()).await;
            assert_eq!(code(refused).await, (400, -32602), "{path}: {text}");
            for method in ["tools/list", "tasks/list", "resources/directory/read"] {
                let refused = session.request(method, params.clone()).await;
                assert_eq!(refused["error"]["code"], -32602, "{path}: {method}: {text}");
            }
        }
    }
    let called = [&upstream, &native].map(|server| server.received("tools/call"));
    assert_eq!(called, [1, 0]);
    let is_refused = |line: &Value| line["event"] == "security" && line["what"] == "state_refused";
    eventually("every state is in the audit log", async || {
        gateway.audit().into_iter().filter(is_refused).count() == 3 * 4 * 2
    })
    .await;
    own.ends_with(&ann, &upstream, own.form()).await;
    let expected = [
        ["ann@acme"; 4 * 4].as_slice(),
        &["ann@other"; 4 * 4],
        &["bob@acme"; 4 * 4],
    ]
    .concat();
    accused(gateway, "cursor_refused", &expected).await;
}

/// Of a repeated key one reader takes the first and another the last, and there are some for whom letters are all alike.
#[tokio::test]
async fn a_state_or_cursor_that_reads_in_two_ways_reaches_no_server() {
    let (upstream, native) = (Upstream::start().await, Upstream::start().await);
    let servers = [
        ("up", &upstream, SESSION_ONLY),
        ("native", &native, ", era: stateless"),
    ];
    let gateway = gateway_with(&servers, "").await;
    let ann = client(&gateway, 0).at("/s/up/mcp");
    let own = Waiting::begin(&ann, &upstream, "tools/call", script(1), 11).await;
    let state = own.state.as_str().unwrap();
    let stateless = client(&gateway, 0).at("/s/native/mcp");
    let session = client(&gateway, 0).at("/s/native/mcp").open().await;
    let headers = |method| {
        let version = ("mcp-protocol-version", STATELESS);
        let name = if method == "tools/call" { "work" } else { "" };
        [version, ("mcp-method", method), ("mcp-name", name)]
    };
    let meta = json!({"io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientCapabilities": {}});
    for (method, key, other) in [
        ("tools/call", "requestState", "requestState"),
        ("tools/call", "requestState", "requeststate"),
        ("tools/call", "RequestState", "x"),
        ("tools/call", "requestState", "reque\u{17f}tState"),
        ("tools/list", "cursor", "cursor"),
        ("tools/list", "Cursor", "x"),
    ] {
        let body = |meta: &Value| {
            let params = format!(r#""name":"work","{key}":"{state}","{other}":"x","_meta":{meta}"#);
            format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}}}}}"#)
        };
        let headers = headers(method);
        let refused = stateless.send(Method::POST, &headers, body(&meta)).await;
        assert_eq!(code(refused).await, (400, -32602), "{key}, {other}");
        let refused = session.post(body(&json!({}))).await.message().await;
        assert_eq!(refused["error"]["code"], -32602, "{key}, {other}");
        let seen = native.last_body(method).unwrap_or_default();
        let seen = String::from_utf8_lossy(&seen);
        assert!(!seen.contains(state), "{key}, {other}");
    }
    own.ends_with(&ann, &upstream, own.form()).await;
    gateway.stop().await;
}
