//! Eras, catalogs, health and crashes.

use super::fake::{Fake, Mode, Port, World, url};
use super::*;
use crate::upstream::actor::Message;

#[tokio::test]
async fn eras_and_catalogs_are_found_out() {
    for (session, stateless) in [(true, true), (true, false), (false, true)] {
        let world = World::new(session, stateless);
        let fake = Fake::start(&world).await;
        let handle = spawn(server("jira", &[fake.url()])).await;
        assert_eq!(handle.speaks(Era::Session), Some(session));
        assert_eq!(handle.speaks(Era::Stateless), Some(stateless));
        assert!(handle.is_up());
        // Clients of the other era are shown the same, translated.
        let all = Some(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        assert_eq!(tools(&handle, Era::Session), all);
        assert_eq!(tools(&handle, Era::Stateless), all);
    }
}

#[tokio::test]
async fn a_changed_list_is_fetched_again() {
    for (session, stateless, era) in [(true, false, Era::Session), (false, true, Era::Stateless)] {
        let world = World::new(session, stateless);
        let fake = Fake::start(&world).await;
        let handle = spawn(server("jira", &[fake.url()])).await;
        until(&handle, |_| world.count("listening") > 0).await;
        world.offer(&["z"]);
        until(&handle, |handle| {
            tools(handle, era) == Some(vec!["z".to_owned()])
        })
        .await;
    }
}

#[tokio::test]
async fn a_catalog_survives_an_outage_and_is_renewed_after_it() {
    let world = World::new(true, false);
    let fake = Fake::start(&world).await;
    let handle = spawn(watched("jira", &[fake.url()])).await;
    until(&handle, |_| world.count("listening") > 0).await;
    let port = fake.stop().await;
    until(&handle, |handle| !handle.is_up()).await;
    assert_eq!(tools(&handle, Era::Session).unwrap().len(), 3);
    *world.tools.lock() = vec!["new".to_owned()];
    let _back = Fake::start_at(port, &world);
    until(&handle, |handle| {
        tools(handle, Era::Session) == Some(vec!["new".to_owned()])
    })
    .await;
    assert!(handle.is_up());
}

#[tokio::test]
async fn a_restart_that_nobody_saw_renews_the_catalog() {
    let world = World::new(true, false);
    let fake = Fake::start(&world).await;
    let mut settings = server("jira", &[fake.url()]);
    settings.health.interval = Duration::from_secs(1);
    let handle = spawn(settings).await;
    until(&handle, |_| world.count("listening") > 0).await;
    let port = fake.stop().await;
    "s-2".clone_into(&mut world.session_id.lock());
    *world.tools.lock() = vec!["new".to_owned()];
    let _back = Fake::start_at(port, &world);
    until(&handle, |handle| {
        tools(handle, Era::Session) == Some(vec!["new".to_owned()])
    })
    .await;
    assert!(handle.is_up());
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_found_later() {
    let dead = Port::reserve();
    let handle = spawn(server("jira", &[url(&dead)])).await;
    let status = handle.status();
    assert!(!status.up && status.settled);
    assert!(
        status.last_error.as_deref().unwrap().contains("jira"),
        "{status:?}"
    );
    assert_eq!(handle.speaks(Era::Session), None);
    let world = World::new(true, false);
    let _back = Fake::start_at(dead, &world);
    until(&handle, |handle| {
        handle.is_up() && tools(handle, Era::Session).is_some()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_down_at_the_end_is_looked_for_by_calls_alone() {
    let dead = Port::reserve();
    let handle = spawn(server("jira", &[url(&dead)])).await;
    assert!(!handle.status().up);
    handle.shared.rest();
    let mut others = Vec::new();
    for name in ["a", "b", "c"] {
        others.push(spawn(server(name, &[url(&dead)])).await);
    }
    let world = World::new(true, false);
    let _back = Fake::start_at(dead, &world);
    // It began to wait before all of them.
    for other in &others {
        until(other, UpstreamHandle::is_up).await;
    }
    assert!(!handle.is_up());
    handle.shared.cast(Message::Wanted);
    until(&handle, UpstreamHandle::is_up).await;
}

#[tokio::test]
async fn a_server_that_lets_the_gateway_in_no_more_is_down_and_says_why() {
    for (session, stateless) in [(true, false), (false, true)] {
        let world = World::new(session, stateless);
        // Nothing but a check has the list asked for again in time.
        world.ttl_ms.store(3_600_000, Ordering::SeqCst);
        let fake = Fake::start(&world).await;
        let handle = spawn(watched("jira", &[fake.url()])).await;
        assert!(handle.is_up());
        *world.mode.lock() = Mode::Locked;
        until(&handle, |handle| !handle.is_up()).await;
        let status = handle.status();
        let error = status.last_error.as_deref().unwrap();
        assert_eq!(error, "server `jira` answered with HTTP status 401");
        *world.mode.lock() = Mode::Well;
        until(&handle, |handle| handle.is_up()).await;
    }
}

#[tokio::test]
async fn a_server_that_refuses_checks_is_asked_for_its_lists_once() {
    let world = World::new(true, false);
    let fake = Fake::start(&world).await;
    let handle = spawn(watched("jira", &[fake.url()])).await;
    // Two pages of tools each time: at the start, and since checks are refused.
    for n_lists in [4, 6] {
        *world.mode.lock() = Mode::Guarded;
        let n_checks = world.count("ping") + 20;
        until(&handle, |_| {
            world.count("ping") >= n_checks && world.count("tools/list") >= n_lists
        })
        .await;
        assert_eq!(world.count("tools/list"), n_lists);
        assert!(handle.is_up());
        *world.mode.lock() = Mode::Well;
        let n_checks = world.count("ping") + 2;
        until(&handle, |_| world.count("ping") >= n_checks).await;
    }
}

#[tokio::test]
async fn a_decreed_era_is_taken_at_its_word() {
    let world = World::new(true, true);
    let fake = Fake::start(&world).await;
    let settings = config::Server {
        era: config::EraChoice::Session,
        ..server("jira", &[fake.url()])
    };
    let handle = spawn(settings).await;
    assert_eq!(handle.speaks(Era::Stateless), Some(false));
    assert_eq!(tools(&handle, Era::Session).unwrap().len(), 3);
    assert_eq!(world.count("server/discover"), 0);
}

#[tokio::test]
async fn a_server_that_lost_an_era_is_probed_again() {
    let both = World::new(true, true);
    let fake = Fake::start(&both).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    assert_eq!(handle.speaks(Era::Stateless), Some(true));
    let port = fake.stop().await;
    let old = World::new(true, false);
    let _other = Fake::start_at(port, &old);
    // Its refusals count as evidence once the first verdict is some seconds old.
    until(&handle, |handle| {
        handle.speaks(Era::Stateless) == Some(false)
    })
    .await;
    assert_eq!(handle.speaks(Era::Session), Some(true));
}

#[tokio::test]
async fn a_crashed_actor_starts_again_and_nobody_notices() {
    let world = World::new(true, true);
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    let session = handle.open(init(), &key()).await.unwrap();
    until(&handle, |_| world.count("listening") == 2).await;

    handle.shared.cast(Message::Crash);
    session
        .call(&request("ping", ""), CallClass::Repeatable)
        .await
        .unwrap();
    call(&handle, CallClass::Effect).await.unwrap();
    assert_eq!(tools(&handle, Era::Session).unwrap().len(), 3);

    // The new actor listens again, and keeps the catalogs current.
    until(&handle, |_| world.count("listening") >= 4).await;
    world.offer(&["z"]);
    until(&handle, |handle| {
        tools(handle, Era::Session) == Some(vec!["z".to_owned()])
    })
    .await;
}

#[tokio::test]
async fn equal_lists_are_held_once() {
    let world = World::new(true, true);
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    let session = handle.catalog(Era::Session).unwrap();
    let stateless = handle.catalog(Era::Stateless).unwrap();
    assert!(Arc::ptr_eq(&session.tools, &stateless.tools));
}

#[tokio::test]
async fn a_server_that_was_drained_has_been_left_in_order() {
    let world = World::new(true, false);
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    handle.drain(SOON).await;
    assert_ne!(world.count("initialize"), 0);
    assert_eq!(world.count("DELETE"), world.count("initialize"));
}

/// A server that is this script of the shell.
#[cfg(unix)]
fn command(script: &str) -> config::Server {
    config::Server {
        transport: config::Transport::Stdio {
            command: "sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: Vec::new(),
            cwd: None,
            scope: config::Scope::Auto,
        },
        ..server("sh", &[])
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_that_ends_when_it_is_listed_is_down_for_that_reason() {
    let script = r#"
        while read -r line; do
            id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
            case "$line" in
                *server/discover*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id" ;;
                *'"initialize"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}}\n' "$id" ;;
                *tools/list*) exit 3 ;;
            esac
        done
    "#;
    let mut settings = command(script);
    settings.breaker.failures = 1;
    let handle = spawn(settings).await;
    let status = handle.status();
    assert!(!status.up, "{status:?}");
    assert_eq!(status.endpoints[0].breaker, "open");
    // The breaker refused the second attempt, and the first is what there is to tell.
    let error = status.last_error.as_deref().unwrap();
    assert!(error.contains("exited with status 3"), "{error}");

    let refused = handle.open(init(), &key()).await.unwrap_err();
    assert!(
        matches!(refused, UpstreamError::BreakerOpen { .. }),
        "{refused:?}"
    );
    let reason = handle.shared.reason_of(&refused);
    assert!(reason.text.contains("exited with status 3"), "{reason:?}");
    assert!(!handle.shared.shut_for().is_zero());
    handle.drain(SOON).await;
}

#[cfg(unix)]
#[tokio::test]
async fn an_answer_that_nobody_could_read_ends_its_call_at_once() {
    let script = r#"
        while read -r line; do
            id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
            case "$line" in
                *server/discover*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id" ;;
                *'"initialize"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"sh","version":"1"}}}\n' "$id" ;;
                *letters*) printf '{"jsonrpc":"2.0","id":%s,"result":{"text":"\377"}}\n' "$id" ;;
                *text*|*setLevel*) printf '{"jsonrpc":"2.0","id":%s,"result":"text"}\n' "$id" ;;
            esac
        done
    "#;
    let handle = spawn(command(script)).await;
    let session = handle.open(init(), &key()).await.unwrap();
    for (name, expected) in [
        ("letters", "its answer is not JSON: invalid UTF-8"),
        ("text", "its result is no object"),
    ] {
        let mut call = request("tools/call", &format!(r#""name":"{name}""#));
        call.timeout = Duration::from_secs(3600);
        let called = session.call(&call, CallClass::Effect);
        let error = tokio::time::timeout(SOON, called).await.unwrap();
        let error = error.unwrap_err();
        assert!(matches!(error, UpstreamError::Garbage { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    // What only says that all went well may say it in any way.
    let level = request("logging/setLevel", r#""level":"info""#);
    session.call(&level, CallClass::Effect).await.unwrap();
    handle.drain(SOON).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_is_listed_called_and_started_again() {
    let script = r#"
        while read -r line; do
            id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
            case "$line" in
                *server/discover*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id" ;;
                *'"initialize"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}}\n' "$id" ;;
                *tools/list*) printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"die"}]}}\n' "$id" ;;
                *tools/call*) exit 1 ;;
                *ping*) printf '{"jsonrpc":"2.0","id":%s,"result":{}}\n' "$id" ;;
            esac
        done
    "#;
    let handle = spawn(command(script)).await;
    assert_eq!(handle.speaks(Era::Stateless), Some(false));
    assert_eq!(tools(&handle, Era::Session), Some(vec!["die".to_owned()]));
    assert_eq!(handle.status().children, 1);

    let session = handle.open(init(), &key()).await.unwrap();
    let died = session
        .call(&request("tools/call", r#""name":"die""#), CallClass::Effect)
        .await;
    assert!(
        matches!(died, Err(UpstreamError::Broken { .. })),
        "{died:?}"
    );
    session
        .call(&request("ping", ""), CallClass::Repeatable)
        .await
        .unwrap();

    handle.drain(SOON).await;
    assert_eq!(handle.status().children, 0);
}
