//! What passes through arrives byte for byte: unknown members, number spelling, key order, escapes, nulls.

mod spelling;

use http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::{Builder, Runtime};

use self::spelling::{id, json, object};
use crate::support::{Client, Gateway, Push, Upstream};

/// Generated exchanges of each path.
const CASES: u32 = 256;

/// One exchange as it is written on the wire.
#[derive(Clone, Debug)]
struct Exchange {
    id: String,
    /// Members that no revision knows, in the envelope and in `params`.
    unknown: String,
    arguments: String,
    /// `result` or `error`, with its key.
    answer: String,
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let answer = prop_oneof![
        9 => object().prop_map(|text| format!("\"result\":{text}")),
        1 => json().prop_map(|data| format!(
            r#""error":{{"data":{data},"code":-32099,"message":"no\u0021","more":1.0}}"#
        )),
    ];
    (id(), json(), object(), answer).prop_map(|(id, unknown, arguments, answer)| Exchange {
        id,
        unknown,
        arguments,
        answer,
    })
}

impl Exchange {
    /// The request, with `name` and `meta` as raw text.
    fn request(&self, name: &str, meta: &str) -> String {
        let Self {
            id,
            unknown,
            arguments,
            ..
        } = self;
        format!(
            r#"{{"x-first":{unknown},"jsonrpc":"2.0","id":{id},"method":"tools/call", "params": {{"x":{unknown},"name":{name} ,"_meta":{meta},"arguments":{arguments}}}}}"#
        )
    }

    /// The answer, whose result begins with `added`.
    fn response(&self, added: &str) -> String {
        let answer = match self.answer.strip_prefix(r#""result":{"#) {
            Some(rest) if !added.is_empty() => {
                let comma = if rest.trim_start() == "}" { "" } else { "," };
                format!(r#""result":{{{added}{comma}{rest}"#)
            }
            _ => self.answer.clone(),
        };
        format!(r#"{{"jsonrpc":"2.0","id":{},{answer}}}"#, self.id)
    }
}

/// How a test sends a request, and what must arrive.
struct Path {
    /// Raw name as the client writes it.
    name: &'static str,
    /// Raw name as it must arrive.
    own: &'static str,
    meta: &'static str,
    headers: &'static [(&'static str, &'static str)],
    /// What a result gets that lacks it.
    added: &'static str,
}

const SCOPED: Path = Path {
    name: r#""w\u006frk""#,
    own: r#""w\u006frk""#,
    meta: r#"{"vendor.example/x":1.0}"#,
    headers: &[],
    added: "",
};

const MERGED: Path = Path {
    name: r#""up_w\u006frk""#,
    own: r#""work""#,
    ..SCOPED
};

const STATELESS: Path = Path {
    meta: r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"x":1e0}}"#,
    headers: &[
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "up_work"),
    ],
    added: r#""resultType":"complete""#,
    ..MERGED
};

struct World {
    runtime: Runtime,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    fn new(era: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (upstream, gateway) = runtime.block_on(async {
            let upstream = Upstream::start().await;
            let gateway = Gateway::start(&upstream.config(&format!(", era: {era}"))).await;
            (upstream, gateway)
        });
        Self {
            runtime,
            upstream,
            gateway,
        }
    }

    fn client(&self, path: &str) -> Client {
        self.runtime.block_on(self.gateway.client().at(path).open())
    }

    fn check(self, client: &Client, path: &Path) {
        let mut runner = TestRunner::new(Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        });
        let run = runner.run(&exchange(), |exchange| {
            self.upstream.answer_with(&exchange.answer);
            let request = exchange.request(path.name, path.meta);
            let response = self.runtime.block_on(async {
                let answer = client.send(Method::POST, path.headers, request).await;
                answer.message_bytes().await
            });
            let arrived = self.upstream.last_body("tools/call").unwrap_or_default();
            prop_assert_eq!(as_text(&arrived), exchange.request(path.own, path.meta));
            prop_assert_eq!(as_text(&response), exchange.response(path.added));
            Ok(())
        });
        if let Err(failure) = run {
            panic!("{failure}");
        }
        self.runtime.block_on(self.gateway.stop());
    }
}

fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_server_scoped_session_passes_bytes_both_ways() {
    let world = World::new("session");
    let client = world.client("/s/up/mcp");
    world.check(&client, &SCOPED);
}

#[test]
fn a_merged_session_changes_the_name_alone() {
    let world = World::new("session");
    let client = world.client("/mcp");
    world.check(&client, &MERGED);
}

#[test]
fn a_stateless_request_changes_the_name_alone() {
    let world = World::new("stateless");
    let client = world.gateway.client();
    world.check(&client, &STATELESS);
}

#[tokio::test]
async fn messages_of_a_stream_keep_their_bytes() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let client = gateway.client().open().await;
    let script = upstream.script();
    let messages = [
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1.0,"total":1e2,"x":null}}"#,
        r#"{"x":18446744073709551616,"method":"notifications/message","jsonrpc":"2.0","params":{"data":"\u00e9","level":"info"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"z":1,"a":-0,"content":[],"isError":false,"b":0.10}}"#,
    ];
    for message in messages {
        script.send(Push::Raw(message)).await.unwrap();
    }
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"up_script","_meta":{"progressToken":"p"}}}"#;
    let mut events = client.post(call).await.events();
    for message in messages {
        assert_eq!(events.message().await.unwrap().data, message);
    }
    gateway.stop().await;
}
