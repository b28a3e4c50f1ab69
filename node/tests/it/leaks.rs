//! What is opened and left is given back.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Upstream, eventually};

/// Sessions of one round.
const SESSIONS: usize = 1_000;
/// Sessions of which each has a child of its own.
const SESSIONS_WITH_CHILD: usize = 8;
/// Clients that open sessions at the same time.
const OPENERS: usize = 8;
const ROUNDS: usize = 3;
/// Rounds at most. On a busy machine more sessions live at the same time in one round than in another, and memory
/// grows with that; what leaks grows in every round.
const ROUNDS_MAX: usize = 6;
/// Descriptors that may be open for a moment: the scrape's own, and a check of the server.
const SPARE: usize = 4;
/// Growth of memory that a round after the second may bring, in percent: the first two fill pools and arenas.
const GROWTH_PERCENT_MAX: u64 = 2;

/// Opens sessions, uses each once, and leaves them.
async fn round(gateway: &Gateway) {
    let openers = (0..OPENERS).map(async |_| {
        let mut client = gateway.client();
        for _ in 0..SESSIONS / OPENERS {
            client = reopen(client).await;
        }
    });
    futures_util::future::join_all(openers).await;
}

async fn reopen(mut client: Client) -> Client {
    client.unset("mcp-session-id");
    client.unset("mcp-protocol-version");
    let client = client.open().await;
    assert!(
        client
            .call("up_work", json!({"key": "once"}))
            .await
            .get("result")
            .is_some()
    );
    client
}

/// Live counts, as operators see them. Memory is another matter.
async fn live(gateway: &Gateway) -> Value {
    let mut counts = gateway.admin("/api/v1/runtime").await;
    counts.as_object_mut().unwrap().remove("rss_bytes");
    // The scrape itself needs a descriptor or two, and another thread may be at its own work.
    counts.as_object_mut().unwrap().remove("open_fds");
    counts
}

/// Whether the last round took more than all before it.
fn grew(memory: &[u64]) -> bool {
    let Some((last, before)) = memory.split_last() else {
        return false;
    };
    let most = before.iter().max().copied().unwrap_or_default();
    *last > most * (100 + GROWTH_PERCENT_MAX) / 100
}

#[tokio::test]
async fn abandoned_sessions_give_everything_back() {
    let upstream = Upstream::start().await;
    // Opening and using one takes milliseconds; the timeout is what a busy machine leaves of them.
    let lives = "session: { idle_timeout: 3s, passivate_after: 1s, resume_window: 1s }\n";
    let config = format!("{lives}{}", upstream.config(", era: session"));
    // A debug build has the system's allocator. Of its arenas, one for each thread that ever asked, some meet their
    // first session only in the third round.
    let gateway = Gateway::start_with(&config, &[("MALLOC_ARENA_MAX", "1")]).await;
    let own_sessions = upstream.sessions_open();
    let (before, usage) = (live(&gateway).await, gateway.process().usage());
    let mut memory: Vec<u64> = Vec::new();
    while memory.len() < ROUNDS || (grew(&memory) && memory.len() < ROUNDS_MAX) {
        round(&gateway).await;
        eventually("the sessions end", async || {
            upstream.sessions_open() == own_sessions
        })
        .await;
        eventually("live counts return to the start", async || {
            live(&gateway).await == before
        })
        .await;
        eventually("descriptors and children return to the start", async || {
            let now = gateway.process().usage();
            now.descriptors <= usage.descriptors + SPARE && now.children == usage.children
        })
        .await;
        memory.push(gateway.process().rss_kib());
    }
    assert!(!grew(&memory), "resident KiB after each round: {memory:?}");
    assert_eq!(upstream.executions("once"), memory.len() * SESSIONS);
    gateway.stop().await;
}

#[tokio::test]
async fn children_of_sessions_end_with_them() {
    let lives = "session: { idle_timeout: 1s, passivate_after: 1s, resume_window: 1s }\n";
    let demo =
        crate::support::DEMO.replace("args: [demo-server]", "args: [demo-server], scope: session");
    let gateway = Gateway::start(&format!("{lives}{demo}")).await;
    let children = || -> BTreeSet<u32> {
        let children = gateway.process().children();
        children.iter().map(|child| child.0).collect()
    };
    // Which have been there: on a busy machine the first may be gone before the last has come.
    let mut seen = BTreeSet::new();
    for _ in 0..SESSIONS_WITH_CHILD {
        let client = gateway.client().open().await;
        assert!(
            client
                .call("demo_add", json!({"a": 1, "b": 1}))
                .await
                .get("result")
                .is_some()
        );
        seen.extend(children());
    }
    eventually("a child of every session ends", async || {
        seen.difference(&children()).count() >= SESSIONS_WITH_CHILD
    })
    .await;
    gateway.assert_sound().await;
    gateway.stop().await;
}
