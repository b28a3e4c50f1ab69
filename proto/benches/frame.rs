//! Nanoseconds to read, edit and look into one message, beside a `serde_json` envelope of `RawValue`s.
//! Run with `cargo bench -p lockgate-proto`; each figure is the median of several rounds.
#![expect(
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a benchmark reads the real clock and prints its figures"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockgate_proto::jsonrpc::{Frame, Limits, Splice, elements, encode_str, find};
use lockgate_proto::mcp::sse;
use serde::Deserialize;
use serde_json::value::RawValue;

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(20);

/// What a borrowed envelope costs with `serde_json`: the yardstick.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: &'a RawValue,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

fn main() {
    let messages = [
        ("small call", small_call()),
        (
            "64 KiB result, plain",
            result(&"lorem ipsum dolor sit ".repeat(2979)),
        ),
        (
            "64 KiB result, lines",
            result(&"fn main() { \"x\" }\n".repeat(2978)),
        ),
        (
            "64 KiB result, prose",
            result(&"a line of prose as it stands in many documents\n".repeat(1394)),
        ),
        (
            "64 KiB result, Cyrillic",
            result(&"Привет, мир. ".repeat(2978)),
        ),
        ("100-tool list", tool_list()),
    ];
    for (name, text) in messages {
        let bytes = Bytes::from(text);
        println!("{name}, {} bytes", bytes.len());
        report("Frame::parse", || {
            Frame::parse(bytes.clone(), &Limits::default()).is_ok()
        });
        report("serde_json RawValue", || {
            serde_json::from_slice::<Envelope<'_>>(&bytes).is_ok_and(|e| {
                black_box((e.jsonrpc, e.id, e.method, e.params, e.result));
                true
            })
        });
    }
    views();
}

fn views() {
    let limits = Limits::default();
    let (Ok(call), Ok(list)) = (
        Frame::parse(small_call().into(), &limits),
        Frame::parse(tool_list().into(), &limits),
    ) else {
        return;
    };
    println!("views, edits and codecs");
    report("small call: param_str name", || {
        call.param_str(&["name"]).is_some()
    });
    report("small call: with_id", || {
        call.with_id("12345").id().is_some()
    });
    report("small call: new name, re-read", || {
        let mut splice = Splice::new(call.text());
        if let Some(name) = call.param(&["name"]) {
            splice.replace(name, "\"search\"");
        }
        Frame::edited(splice).is_ok()
    });
    report("100-tool list: name of each tool", || {
        let tools = list.body().unwrap_or_default();
        let tools = find(tools, "tools").map_or("", |span| span.of(tools));
        elements(tools).all(|tool| find(tool.of(tools), "name").is_some())
    });
    let event = sse::encode(None, None, list.bytes());
    report("100-tool list: SSE event decoded", || {
        let mut events = Vec::new();
        let mut decoder = sse::Decoder::new(1 << 20);
        decoder.feed(&event, &mut events).is_ok() && events.len() == 1
    });
}

/// Prints the median time of one call.
fn report(name: &str, mut run: impl FnMut() -> bool) {
    let mut n_calls = 1_u32;
    let mut rounds = Vec::with_capacity(ROUNDS);
    while rounds.len() < ROUNDS {
        let start = Instant::now();
        for _ in 0..n_calls {
            assert!(black_box(run()), "{name} failed");
        }
        let taken = start.elapsed();
        if taken < ROUND {
            n_calls *= 2;
        } else {
            rounds.push(taken / n_calls);
        }
    }
    rounds.sort_unstable();
    println!("  {name:<36} {:>9} ns", rounds[ROUNDS / 2].as_nanos());
}

fn small_call() -> String {
    concat!(
        r#"{"jsonrpc":"2.0","id":4711,"method":"tools/call","params":{"name":"docs_search","arguments":"#,
        r#"{"query":"how to rotate the signing key without downtime","limit":10,"filters":{"lang":["en","de"],"#,
        r#""since":"2026-01-01","exact":false,"score":0.75}},"_meta":{"progressToken":"p-4711","#,
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":"#,
        r#"{"elicitation":{"form":{}}},"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}"#,
    )
    .to_owned()
}

fn result(text: &str) -> String {
    let text = encode_str(text);
    format!(
        r#"{{"jsonrpc":"2.0","id":4711,"result":{{"content":[{{"type":"text","text":{text}}}],"isError":false}}}}"#
    )
}

fn tool_list() -> String {
    let tools: Vec<String> = (0..100).map(tool).collect();
    format!(
        r#"{{"jsonrpc":"2.0","id":4711,"result":{{"tools":[{}]}}}}"#,
        tools.join(",")
    )
}

fn tool(n: usize) -> String {
    format!(
        concat!(
            r#"{{"name":"tool_{n}","title":"Tool {n}","description":"Searches the index number {n} and "#,
            r#"returns the best matches with their place, newest first.","inputSchema":{{"type":"object","#,
            r#""properties":{{"query":{{"type":"string","description":"What to look for"}},"limit":"#,
            r#"{{"type":"integer","minimum":1,"maximum":100,"default":10}},"exact":{{"type":"boolean"}}}},"#,
            r#""required":["query"],"additionalProperties":false}},"annotations":{{"readOnlyHint":true}}}}"#,
        ),
        n = n
    )
}
