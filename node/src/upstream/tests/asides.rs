//! What a server asks beside its calls, and what becomes of it when the call that it may be about ends.

use std::time::Duration;

use super::bridge::asking;
use super::fake::{Mode, QUESTION, ROOTS, World};
use super::*;

const PING: &str = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;

/// A call by a client that can be asked for forms and roots.
async fn call(handle: &UpstreamHandle) -> Reply {
    let params = r#""name":"a","_meta":{"progressToken":"t","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"roots":{}}}"#;
    let ann = Principal::new("ann");
    let owner = Owner {
        tenant: None,
        principal: &ann,
        scoped: true,
    };
    let out = request("tools/call", params);
    handle.call(&out, CallClass::Effect, &owner).await.unwrap()
}

/// Lets the server ask on the session's own stream, while nobody reads what comes for the call; returns when it was
/// heard.
async fn ask_aside(world: &World, handle: &UpstreamHandle, question: &'static str) {
    world.say(question);
    let heard = world.count("an answer");
    world.say(PING);
    until(handle, |_| world.count("an answer") > heard).await;
}

#[tokio::test]
async fn a_question_that_a_call_has_not_read_is_refused_when_its_client_leaves() {
    let (world, _fake, handle) = asking(Mode::Stream).await;
    let running = call(&handle).await;
    assert!(matches!(running, Reply::Stream(_)));
    ask_aside(&world, &handle, QUESTION).await;
    assert_eq!(world.count("a refusal"), 0);
    drop(running);
    until(&handle, |_| {
        world.count("a refusal") == 1 && world.count("notifications/cancelled") == 1
    })
    .await;
}

#[tokio::test]
async fn roots_that_a_call_has_not_read_are_the_next_calls_question() {
    let (world, _fake, handle) = asking(Mode::Stream).await;
    let running = call(&handle).await;
    ask_aside(&world, &handle, ROOTS).await;
    drop(running);
    until(&handle, |_| world.count("notifications/cancelled") == 1).await;
    assert_eq!(world.count("a refusal"), 0);
    let Reply::Single { frame, .. } = call(&handle).await else {
        panic!("not asked");
    };
    assert!(
        frame.text().contains(r#""method":"roots/list""#),
        "{}",
        frame.text()
    );
}

#[tokio::test]
async fn what_is_left_to_nobody_is_refused_also_where_the_server_has_no_stream_of_its_own() {
    let (world, _fake, handle) = asking(Mode::AskInPassing).await;
    let Reply::Single { frame, .. } = call(&handle).await else {
        panic!("no answer");
    };
    assert!(frame.text().contains(r#""resultType":"complete""#));
    assert_eq!(world.count("listening"), 0);
    assert_eq!(world.count("a refusal"), 0);
    // Half as long as the server waits for an answer of its own.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    until(&handle, |_| world.count("a refusal") == 1).await;
}
