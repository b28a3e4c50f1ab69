//! The way of single calls.

use std::time::Duration;

use lockgate_proto::jsonrpc::Kind;

use super::fake::{Fake, Mode, Port, World, url};
use super::*;
use crate::task::spawn_named;

#[tokio::test]
async fn a_call_is_answered_and_leaves_nothing_behind() {
    let world = World::new(true, true);
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    let reply = call(&handle, CallClass::Effect).await.unwrap();
    let Reply::Single { status: 200, frame } = reply else {
        panic!("{reply:?}");
    };
    assert_eq!((frame.kind(), frame.id()), (Kind::Result, Some("7")));
    assert_eq!(world.executed(), 1);
    assert_eq!(handle.status().in_flight, 0);
}

#[tokio::test]
async fn a_stateless_call_reaches_a_server_that_has_sessions_only() {
    let world = World::new(true, false);
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    let reply = call(&handle, CallClass::Effect).await.unwrap();
    let Reply::Single { status: 200, frame } = reply else {
        panic!("{reply:?}");
    };
    assert_eq!((frame.kind(), frame.id()), (Kind::Result, Some("7")));
    assert_eq!(world.executed(), 1);
}

#[tokio::test]
async fn a_stream_holds_its_place_until_its_final_response() {
    let world = World::new(false, true);
    *world.mode.lock() = Mode::Stream;
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    let Reply::Stream(mut stream) = call(&handle, CallClass::Effect).await.unwrap() else {
        panic!("not a stream");
    };
    let progress = stream.next().await.unwrap().unwrap();
    assert_eq!(progress.kind(), Kind::Notification);
    assert_eq!(handle.status().endpoints[0].in_flight, 1);
    world.release.notify_one();
    let done = stream.next().await.unwrap().unwrap();
    assert_eq!(done.kind(), Kind::Result);
    assert_eq!(handle.status().in_flight, 0);
    assert_eq!(handle.status().endpoints[0].in_flight, 0);
}

#[tokio::test]
async fn a_server_at_its_limit_refuses_until_a_place_is_free() {
    let world = World::new(false, true);
    *world.mode.lock() = Mode::Stream;
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    let mut running = Vec::new();
    for _ in 0..4 {
        running.push(call(&handle, CallClass::Effect).await.unwrap());
    }
    let refused = call(&handle, CallClass::Effect).await.unwrap_err();
    assert!(matches!(refused, UpstreamError::AtLimit { limit: 4, .. }));
    // The client goes away.
    running.pop();
    running.push(call(&handle, CallClass::Effect).await.unwrap());
    drop(running);
    assert_eq!(handle.status().in_flight, 0);
}

#[tokio::test]
async fn a_call_that_is_dropped_says_nothing_about_the_server() {
    let world = World::new(false, true);
    *world.mode.lock() = Mode::Hang;
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    for n in 1..=5 {
        tokio::select! {
            biased;
            _ = call(&handle, CallClass::Effect) => panic!("answered"),
            () = until(&handle, |_| world.executed() == n) => {}
        }
    }
    assert_eq!(handle.status().in_flight, 0);
    assert_eq!(handle.status().endpoints[0].breaker, "closed");
}

#[tokio::test]
async fn a_call_that_may_have_run_is_not_sent_twice() {
    let world = World::new(false, true);
    *world.mode.lock() = Mode::BreakOnce;
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    let broken = call(&handle, CallClass::Effect).await.unwrap_err();
    assert!(matches!(broken, UpstreamError::Broken { .. }), "{broken:?}");
    assert_eq!(world.executed(), 1);
}

#[tokio::test]
async fn a_repeatable_call_is_sent_again() {
    let world = World::new(false, true);
    *world.mode.lock() = Mode::BreakOnce;
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    call(&handle, CallClass::Repeatable).await.unwrap();
    assert_eq!(world.executed(), 2);
}

#[tokio::test]
async fn a_failing_server_is_left_alone() {
    let world = World::new(false, true);
    *world.mode.lock() = Mode::Status(500);
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    for _ in 0..3 {
        let error = call(&handle, CallClass::Effect).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Status { status: 500, .. }));
    }
    until(&handle, |handle| {
        handle.status().endpoints[0].breaker == "open"
    })
    .await;
    let rejected = call(&handle, CallClass::Effect).await.unwrap_err();
    assert!(
        matches!(rejected, UpstreamError::BreakerOpen { .. }),
        "{rejected:?}"
    );
    assert_eq!(world.executed(), 3);
}

#[tokio::test]
async fn faults_of_the_client_do_not_open_the_breaker() {
    let world = World::new(false, true);
    *world.mode.lock() = Mode::Status(403);
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    for _ in 0..9 {
        call(&handle, CallClass::Effect).await.unwrap_err();
    }
    assert_eq!(handle.status().endpoints[0].breaker, "closed");
}

#[tokio::test]
async fn a_call_outlasts_a_restart_of_the_server() {
    let world = World::new(false, true);
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    call(&handle, CallClass::Effect).await.unwrap();
    let port = fake.stop().await;
    let calling = {
        let handle = handle.clone();
        spawn_named(
            "call",
            async move { call(&handle, CallClass::Effect).await },
        )
    };
    until(&handle, |handle| !handle.status().endpoints[0].healthy).await;
    let _back = Fake::start_at(port, &world);
    calling.await.unwrap().unwrap();
    assert_eq!(world.executed(), 2);
}

#[tokio::test]
async fn the_first_call_after_a_restart_succeeds_though_the_breaker_was_open() {
    let world = World::new(false, true);
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    let port = fake.stop().await;
    while handle.status().endpoints[0].breaker != "open" {
        call(&handle, CallClass::Effect).await.unwrap_err();
    }
    let _back = Fake::start_at(port, &world);
    // What a check has said just now holds for a moment, which passes at once.
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(120)).await;
    tokio::time::resume();
    call(&handle, CallClass::Effect).await.unwrap();
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_call() {
    let world = World::new(false, true);
    let fake = Fake::start(&world).await;
    let dead = Port::reserve();
    let handle = spawn(server("jira", &[url(&dead), fake.url()])).await;
    for _ in 0..20 {
        call(&handle, CallClass::Effect).await.unwrap();
    }
    assert_eq!(world.executed(), 20);
}

#[tokio::test]
async fn the_first_endpoint_is_used_again_when_it_is_back() {
    let (first, second) = (World::new(false, true), World::new(false, true));
    let dead = Port::reserve();
    let fake = Fake::start(&second).await;
    let handle = spawn(server("jira", &[url(&dead), fake.url()])).await;
    call(&handle, CallClass::Effect).await.unwrap();
    assert_eq!(second.executed(), 1);
    let _back = Fake::start_at(dead, &first);
    until(&handle, |handle| handle.status().endpoints[0].healthy).await;
    call(&handle, CallClass::Effect).await.unwrap();
    assert_eq!((first.executed(), second.executed()), (1, 1));
}
