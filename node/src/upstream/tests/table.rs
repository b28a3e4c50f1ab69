//! The table of servers, as reloads change it.

use super::fake::{Fake, Mode, World};
use super::*;
use crate::task::spawn_named;
use crate::upstream::{Diff, Upstreams};

fn names(upstreams: &Upstreams) -> Vec<String> {
    let table = upstreams.all();
    table
        .iter()
        .map(|handle| handle.settings().name.to_string())
        .collect()
}

#[tokio::test]
async fn a_reload_touches_only_what_changed() {
    let world = World::new(true, true);
    let fake = Fake::start(&world).await;
    let upstreams = Upstreams::new("a_reload", 1 << 20, None).await.unwrap();
    let of = |name: &str| Arc::new(server(name, &[fake.url()]));
    let diff = upstreams
        .apply(&[of("kept"), of("changed"), of("removed")])
        .await
        .unwrap();
    assert_eq!(diff.added.len(), 3);
    upstreams.settled(SOON).await;
    let kept = upstreams.get("kept").unwrap();
    let changed = upstreams.get("changed").unwrap();

    let other = config::Server {
        in_flight_max: 9,
        ..server("changed", &[fake.url()])
    };
    // Rules for single tools are no matter of the connection.
    let rule = config::ToolRule {
        pattern: globset::Glob::new("drop_*").unwrap().compile_matcher(),
        allow: Some(false),
        retry_safe: None,
        cost_micros: None,
    };
    let ruled = config::Server {
        tools: vec![rule],
        ..server("kept", &[fake.url()])
    };
    let diff = upstreams
        .apply(&[of("added"), Arc::new(other), Arc::new(ruled)])
        .await
        .unwrap();
    let want = Diff {
        added: vec!["added".into()],
        changed: vec!["changed".into()],
        removed: vec!["removed".into()],
    };
    assert_eq!(diff, want);
    assert_eq!(names(&upstreams), ["added", "changed", "kept"]);
    assert!(upstreams.get("kept").unwrap().is_same_as(&kept));
    assert!(!upstreams.get("changed").unwrap().is_same_as(&changed));
    assert!(upstreams.get("removed").is_none());
}

#[tokio::test]
async fn a_removed_server_finishes_its_calls_and_takes_no_new_ones() {
    let world = World::new(false, true);
    *world.mode.lock() = Mode::Stream;
    let fake = Fake::start(&world).await;
    let upstreams = Upstreams::new("a_removal", 1 << 20, None).await.unwrap();
    upstreams
        .apply(&[Arc::new(server("jira", &[fake.url()]))])
        .await
        .unwrap();
    upstreams.settled(SOON).await;
    let handle = upstreams.get("jira").unwrap();
    let Reply::Stream(mut running) = call(&handle, CallClass::Effect).await.unwrap() else {
        panic!("not a stream");
    };
    upstreams.apply(&[]).await.unwrap();
    until(&handle, |handle| handle.shared.is_draining()).await;
    let refused = call(&handle, CallClass::Effect).await.unwrap_err();
    assert!(refused.nothing_sent(), "{refused:?}");

    world.release.notify_one();
    let server = "jira".into();
    running.answer(&server).await.unwrap();
}

#[tokio::test]
async fn a_drain_waits_for_the_last_call() {
    let world = World::new(false, true);
    *world.mode.lock() = Mode::Stream;
    let fake = Fake::start(&world).await;
    let handle = spawn(server("jira", &[fake.url()])).await;
    let Reply::Stream(mut running) = call(&handle, CallClass::Effect).await.unwrap() else {
        panic!("not a stream");
    };
    let draining = {
        let handle = handle.clone();
        spawn_named("drain", async move { handle.drain(SOON).await })
    };
    until(&handle, |handle| handle.shared.is_draining()).await;
    assert!(!draining.is_finished());
    world.release.notify_one();
    running.answer(&"jira".into()).await.unwrap();
    draining.await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_work_changes_nothing() {
    let world = World::new(true, true);
    let fake = Fake::start(&world).await;
    let upstreams = Upstreams::new("a_refusal", 1 << 20, None).await.unwrap();
    upstreams
        .apply(&[Arc::new(server("good", &[fake.url()]))])
        .await
        .unwrap();
    let mut bad = server("bad", &[fake.url()]);
    if let config::Transport::Http { headers, .. } = &mut bad.transport {
        let name = http::header::AUTHORIZATION;
        headers.push((name, "line\nbreak".to_owned().into()));
    }
    upstreams
        .apply(&[Arc::new(server("new", &[fake.url()])), Arc::new(bad)])
        .await
        .unwrap_err();
    assert_eq!(names(&upstreams), ["good"]);
}
