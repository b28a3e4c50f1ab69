//! Clients that send nonsense, send slowly, or vanish.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bridge_down::{SESSION_ONLY, code};
use crate::support::{DEMO, Gateway, Mode, Push, Upstream, eventually, within};

/// Requests of the storm.
const STORM: usize = 10_000;
/// Connections that storm at the same time.
const STORMERS: usize = 8;

/// Deterministic noise (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap()
    }

    /// A sound message with one thing wrong in it, or no message at all.
    fn body(&mut self) -> Vec<u8> {
        let sound = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"demo_echo","arguments":{"message":"\u00e9"}}}"#;
        let mut body = sound.to_vec();
        let at = self.next() % body.len();
        match self.next() % 6 {
            0 => body.truncate(at),
            1 => body[at] = 0xff,
            2 => body[at] = b"{}[]\",:0\\"[self.next() % 9],
            3 => body.insert(at, 0),
            4 => body = b"[".repeat(1 + at * 10),
            _ => body = (0..at).map(|_| self.next().to_le_bytes()[0]).collect(),
        }
        body
    }
}

async fn storm(address: SocketAddr, seed: u64, n: usize) {
    let mut noise = Noise(seed);
    let client = crate::support::Client::new(address);
    for _ in 0..n {
        let answer = client.post(noise.body()).await;
        // Some mutations leave a sound message, which is refused for want of a session.
        assert!((400..500).contains(&answer.status), "{}", answer.status);
        answer.bytes().await;
    }
}

#[tokio::test]
async fn ten_thousand_malformed_requests_are_refused_one_by_one() {
    let gateway = Gateway::start(DEMO).await;
    let client = gateway.client().open().await;
    let storms =
        (1..=STORMERS as u64).map(|seed| storm(gateway.address, seed * 7919, STORM / STORMERS));
    // Each request is bounded; how many fit in a minute is the machine's affair.
    futures_util::future::join_all(storms).await;
    let answer = client.call("demo_add", json!({"a": 20, "b": 22})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "42");
    gateway.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_http_end_their_connection_only() {
    let gateway = Gateway::start(DEMO).await;
    let client = gateway.client().open().await;
    let mut noise = Noise(4711);
    let mut openings: Vec<Vec<u8>> = (0..64).map(|_| noise.body()).collect();
    openings.extend([
        b"GET /mcp HTTP/1.1\r\n\r\n".to_vec(),
        b"POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        [b"GET / HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(100_000)].concat(),
    ]);
    for opening in openings {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        // The gateway may close before it has read everything.
        let _closed = stream.write_all(&opening).await;
        let _closed = stream.shutdown().await;
        let mut answer = Vec::new();
        let _reset = within("end of the connection", stream.read_to_end(&mut answer)).await;
    }
    assert_eq!(client.request("ping", json!({})).await["result"], json!({}));
    gateway.stop().await;
}

#[tokio::test]
async fn a_slow_loris_is_cut_off_and_holds_nobody_up() {
    let gateway = Gateway::start(&format!("limits: {{ read_timeout: 1s }}\n{DEMO}")).await;
    let head = format!("POST /mcp HTTP/1.1\r\nhost: {}\r\n", gateway.address);
    let body = "content-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    let mut slow = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(body.as_bytes()).await.unwrap();
        }
        slow.push(stream);
    }
    let client = gateway.client().open().await;
    assert!(!client.tools().await.is_empty());
    for mut stream in slow {
        let mut answer = Vec::new();
        let _reset = within("end of a slow connection", stream.read_to_end(&mut answer)).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let gateway = Gateway::start(&format!("limits: {{ read_timeout: 500ms }}\n{DEMO}")).await;
    // Nothing at all, and the first bytes of either protocol.
    for start in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut answer = Vec::new();
        let _reset = within(
            "end of a silent connection",
            stream.read_to_end(&mut answer),
        )
        .await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_counted() {
    let gateway = Gateway::start(&format!("limits: {{ connections_max: 2 }}\n{DEMO}")).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    for _ in 0..3 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let mut answer = Vec::new();
        let _reset = within("end of a connection", stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
    }
    let metrics = gateway.metrics().await;
    let counted = "mcp_gateway_rate_limited_total{limit=\"connections\"} 3";
    assert!(metrics.contains(counted), "{metrics}");
    // Not once for each of them.
    let told = gateway.log().matches("limits.connections_max").count();
    assert_eq!(told, 1);
    drop(open);
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_above_the_bound_is_refused_unread() {
    let gateway = Gateway::start(&format!("limits: {{ body_max: 1KiB }}\n{DEMO}")).await;
    for length in [1025_u64, 1 << 40] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
            gateway.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        within("refusal", stream.read_exact(&mut start))
            .await
            .unwrap();
        assert_eq!(&start, b"HTTP/1.1 413");
    }
    let chunks = "x".repeat(4096);
    let answer = gateway.client().post(chunks).await;
    assert_eq!(answer.status, 413);
    gateway.stop().await;
}

#[tokio::test]
async fn a_listen_that_names_too_much_is_refused_before_anything_is_looked_up() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    // As many as a body holds by default.
    let named: Vec<String> = (0..300_000).map(|n| format!("u:{n}")).collect();
    for path in ["/mcp", "/s/up/mcp"] {
        let client = gateway.client().at(path);
        for kind in ["resourceSubscriptions", "taskIds"] {
            let params = json!({"notifications": {kind: named}});
            let refused = client.stateless("subscriptions/listen", params).await;
            assert_eq!(code(refused).await, (400, -32602), "{path} {kind}");
        }
    }
    assert_eq!(upstream.received("resources/subscribe"), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_behind() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let (client, other) = (gateway.client().open().await, gateway.client().open().await);
    other.call("up_work", json!({"key": "warm"})).await;
    client.call("up_work", json!({"key": "warm"})).await;
    let before = gateway.process().usage();
    for _ in 0..20 {
        let script = upstream.script();
        script.send(Push::Progress(1)).await.unwrap();
        let params = json!({"name": "up_script", "_meta": {"progressToken": 1}});
        let mut events = client
            .post(client.message("tools/call", &params).to_string())
            .await
            .events();
        events.message().await.unwrap();
        drop(events);
        // The call goes on without its client, and ends.
        script.send(Push::Answer("unheard")).await.unwrap();
    }
    assert!(
        other
            .call("up_work", json!({"key": "other"}))
            .await
            .get("result")
            .is_some()
    );
    eventually("descriptors are given back", async || {
        gateway.process().usage().descriptors <= before.descriptors + 2
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_stateless_client_that_vanishes_cancels_its_call() {
    let gateway = Gateway::start(DEMO).await;
    let client = gateway.client();
    let slow = json!({"name": "demo_countdown", "arguments": {"steps": 1000, "pause_ms": 50}, "_meta": {}});
    let lines = |name: &str, value: &str| {
        let audit = gateway.audit();
        audit.iter().filter(|line| line[name] == value).count()
    };
    tokio::select! {
        _answer = client.stateless("tools/call", slow) => panic!("the call still runs"),
        () = eventually("the call runs", async || lines("event", "received") > 0) => {}
    }
    eventually("the call is abandoned", async || {
        lines("status", "abandoned") > 0
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_bound_on_calls_refuses_at_once() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        "limits: {{ session_calls_max: 2 }}\n{}",
        upstream.config(", era: session, timeout: 3s")
    ))
    .await;
    let client = gateway.client().open().await;
    upstream.set(Mode::Hang);
    let call = |key: &str| {
        let params = json!({"name": "up_work", "arguments": {"key": key}});
        client.post(client.message("tools/call", &params).to_string())
    };
    let (first, second) = (call("a").await, call("b").await);
    let third = call("c").await;
    assert_eq!(
        (third.status, third.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(upstream.executions("c"), 0);
    for answer in [first, second] {
        assert_eq!(answer.message().await["error"]["code"], -31504);
    }
    gateway.stop().await;
}
