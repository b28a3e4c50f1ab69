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

/// How many calls each of two addresses executes of one session and of another, begun at the one and the other, when
/// the breakers of both are open.
async fn after_failures(max_ejection_percent: u8) -> [(usize, usize); 2] {
    let worlds = [World::new(true, false), World::new(true, false)];
    let fakes = [Fake::start(&worlds[0]).await, Fake::start(&worlds[1]).await];
    let mut settings = server("jira", &[fakes[0].url(), fakes[1].url()]);
    settings.breaker.failures = 1;
    settings.breaker.max_ejection_percent = max_ejection_percent;
    if let config::Transport::Http { balance, .. } = &mut settings.transport {
        *balance = config::Balance::RoundRobin;
    }
    let handle = spawn(settings).await;
    let out = request("tools/call", r#""name":"a""#);
    let mut sessions = Vec::new();
    for failed in 1..=2 {
        // At the one that is still in service.
        for world in &worlds {
            *world.mode.lock() = Mode::Well;
        }
        let session = handle.open(init(), &key()).await.unwrap();
        for world in &worlds {
            *world.mode.lock() = Mode::Status(500);
        }
        let _status_500 = session.call(&out, CallClass::Effect).await;
        sessions.push(session);
        until(&handle, |handle| {
            let status = handle.status();
            let open = status.endpoints.iter().filter(|one| one.breaker == "open");
            open.count() == failed
        })
        .await;
    }
    let mut executed = [(0, 0); 2];
    for (session, executed) in sessions.iter().zip(&mut executed) {
        let before = worlds.each_ref().map(|world| world.executed());
        for _ in 0..3 {
            let _failed = session.call(&out, CallClass::Effect).await;
        }
        *executed = (
            worlds[0].executed() - before[0],
            worlds[1].executed() - before[1],
        );
    }
    executed
}

#[tokio::test]
async fn sessions_stay_where_no_more_may_be_ejected() {
    let mut all_kept = after_failures(0).await;
    all_kept.sort_unstable();
    assert_eq!(all_kept, [(0, 3), (3, 0)]);
    assert_eq!(after_failures(100).await, [(0, 0), (0, 0)]);
}

#[tokio::test]
async fn sessions_of_the_ejected_go_where_one_is_kept() {
    let [one, other] = after_failures(50).await;
    assert_eq!(one, other);
    assert!(one == (0, 3) || one == (3, 0), "{one:?}");
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
