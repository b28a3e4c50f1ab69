//! Sessions of the session era, and how they move.

use super::fake::{Fake, Mode, World};
use super::*;
use crate::upstream::pause::Pause;

#[tokio::test]
async fn a_session_moves_to_the_endpoint_that_lives() {
    let (first, second) = (World::new(true, false), World::new(true, false));
    let (one, two) = (Fake::start(&first).await, Fake::start(&second).await);
    let handle = spawn(server("jira", &[one.url(), two.url()])).await;
    let session = handle.open(init(), &key()).await.unwrap();
    let level = request("logging/setLevel", r#""level":"debug""#);
    session.call(&level, CallClass::Repeatable).await.unwrap();
    assert_eq!(session.generation(), 0);
    one.stop().await;

    let out = request("tools/call", r#""name":"a""#);
    session.call(&out, CallClass::Effect).await.unwrap();
    assert_eq!(session.generation(), 1);
    assert_eq!((first.executed(), second.executed()), (0, 1));
    assert_eq!(second.count("logging/setLevel"), 1);
}

#[tokio::test]
async fn many_calls_move_a_session_once() {
    let (first, second) = (World::new(true, false), World::new(true, false));
    let (one, two) = (Fake::start(&first).await, Fake::start(&second).await);
    let handle = spawn(server("jira", &[one.url(), two.url()])).await;
    let session = handle.open(init(), &key()).await.unwrap();
    one.stop().await;
    let calls = (0..4).map(async |_| {
        session
            .call(&request("ping", ""), CallClass::Repeatable)
            .await
    });
    for result in futures_util::future::join_all(calls).await {
        result.unwrap();
    }
    assert_eq!(session.generation(), 1);
}

#[tokio::test]
async fn a_session_outlasts_a_restart_of_its_only_server() {
    let world = World::new(true, false);
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    let session = handle.open(init(), &key()).await.unwrap();
    let port = fake.stop().await;
    let call = request("tools/call", r#""name":"a""#);
    let (answer, _back) = tokio::join!(session.call(&call, CallClass::Effect), async {
        until(&handle, |handle| !handle.status().endpoints[0].healthy).await;
        Fake::start_at(port, &world)
    });
    answer.unwrap();
    assert_eq!(world.executed(), 1);
}

#[tokio::test]
async fn a_request_that_waits_for_somebody_else_holds_nothing_and_says_nothing_of_its_server() {
    let world = World::new(true, false);
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    let session = handle.open(init(), &key()).await.unwrap();
    *world.mode.lock() = Mode::Hang;
    for n in 1..=8 {
        let mut out = request("tools/call", r#""name":"a""#);
        out.timeout = Duration::from_millis(50);
        let pause = Pause::from_the_beginning();
        let waiting = session.call_pausable(&out, CallClass::Effect, &pause);
        let mut waiting = std::pin::pin!(waiting);
        tokio::select! {
            biased;
            replied = &mut waiting => assert!(matches!(replied, Err(UpstreamError::Timeout { .. }))),
            () = until(&handle, |_| world.executed() == n) => {
                assert_eq!(handle.status().in_flight, 0);
                let timed_out = waiting.await;
                assert!(matches!(timed_out, Err(UpstreamError::Timeout { .. })), "{timed_out:?}");
            }
        }
        assert_eq!(handle.status().in_flight, 0);
    }
    assert_eq!(handle.status().endpoints[0].breaker, "closed");
}
