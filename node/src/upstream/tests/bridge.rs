//! Stateless calls at a server of the session era.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use lockgate_cluster::Keyring;
use lockgate_proto::jsonrpc::{decode_str, find_path};

use super::fake::{Fake, Mode, QUESTION, World};
use super::*;
use crate::upstream::Upstreams;
use crate::upstream::actor::Message;

/// A server that asks in mid-call, and the handle of it.
pub(super) async fn asking(mode: Mode) -> (Arc<World>, Fake, UpstreamHandle) {
    asking_within(mode, config::Bridge::default()).await
}

async fn asking_within(mode: Mode, limits: config::Bridge) -> (Arc<World>, Fake, UpstreamHandle) {
    let world = World::new(true, false);
    *world.mode.lock() = mode;
    let fake = Fake::start(&world).await;
    let sealer = Sealer::new(&Keyring::generate().unwrap()).unwrap();
    let room = WaitingRoom::new(Arc::new(sealer), limits, 0);
    let handle = spawn_with(server("jira", &[fake.url()]), Some(Arc::new(room))).await;
    (world, fake, handle)
}

async fn ask(handle: &UpstreamHandle, more: &str) -> Result<Frame, UpstreamError> {
    let params = format!(
        r#""name":"a","_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{"elicitation":{{}}}}}}{more}"#
    );
    let ann = Principal::new("ann");
    let owner = Owner {
        tenant: None,
        principal: &ann,
        scoped: true,
    };
    let out = request("tools/call", &params);
    let reply = handle.call(&out, CallClass::Effect, &owner).await?;
    match reply {
        Reply::Single { frame, .. } => Ok(frame),
        Reply::Stream(mut stream) => stream.answer(&"jira".into()).await,
    }
}

/// The retry that answers `asked`.
fn answered(asked: &Frame) -> String {
    let text = asked.text();
    let state = find_path(text, &["result", "requestState"]).unwrap();
    let state = decode_str(state.of(text)).unwrap();
    format!(r#","requestState":"{state}","inputResponses":{{"ask-1":{{"action":"accept"}}}}"#)
}

/// The tools that are shown to a caller who can be asked.
async fn own_tools(handle: &UpstreamHandle) -> Vec<String> {
    let ann = Principal::new("ann");
    let owner = Owner {
        tenant: None,
        principal: &ann,
        scoped: false,
    };
    let meta = r#""_meta":{"io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}"#;
    let list = request("tools/list", meta);
    let own = handle.own_catalog(&owner, &list.frame).await;
    let own = own.unwrap().unwrap();
    let names = own.catalog().tools.items().iter();
    names.map(|tool| tool.key.to_string()).collect()
}

#[tokio::test]
async fn what_the_gateway_finds_in_its_own_session_renews_the_lists_of_callers() {
    // There is no stream on which a caller's own session could show it, and nobody calls in that.
    let (world, fake, handle) = asking(Mode::AskInPassing).await;
    assert_eq!(own_tools(&handle).await, ["a", "b", "c"]);
    let port = fake.stop().await;
    "s-2".clone_into(&mut world.session_id.lock());
    *world.tools.lock() = vec!["new".to_owned()];
    let _back = Fake::start_at(port, &world);
    assert_eq!(own_tools(&handle).await, ["a", "b", "c"]);
    // As when the lists have become too old.
    handle.shared.cast(Message::ListChanged(Era::Session));
    let new = || Some(vec!["new".to_owned()]);
    until(&handle, |handle| tools(handle, Era::Session) == new()).await;
    assert_eq!(own_tools(&handle).await, ["new"]);
}

#[tokio::test]
async fn a_call_that_waits_for_its_client_is_no_call_in_flight() {
    let (world, _fake, handle) = asking(Mode::Ask).await;
    let asked = ask(&handle, "").await.unwrap();
    assert!(asked.text().contains(r#""resultType":"input_required""#));
    assert_eq!(handle.status().in_flight, 0);
    // More than may be in flight at once.
    for _ in 0..8 {
        ask(&handle, "").await.unwrap();
    }
    world.release.notify_one();
    let done = ask(&handle, &answered(&asked)).await.unwrap();
    assert!(done.text().contains(r#""resultType":"complete""#));
    assert_eq!(world.count("an answer"), 1);
    assert_eq!(handle.status().in_flight, 0);
}

#[tokio::test]
async fn a_question_before_the_reply_stops_the_servers_clock() {
    let (world, _fake, handle) = asking(Mode::AskApart).await;
    let asked = ask(&handle, "").await.unwrap();
    assert!(asked.text().contains(r#""resultType":"input_required""#));
    assert_eq!(handle.status().in_flight, 0);
    // Longer than the server may be silent.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    let retry = answered(&asked);
    let answering = ask(&handle, &retry);
    let release = async {
        until(&handle, |_| world.count("an answer") == 1).await;
        assert_eq!(handle.status().in_flight, 1);
        world.release.notify_one();
    };
    let (done, ()) = tokio::join!(answering, release);
    assert!(done.unwrap().text().contains(r#""resultType":"complete""#));
    assert_eq!(world.executed(), 1);
    assert_eq!(handle.status().in_flight, 0);
}

#[tokio::test]
async fn a_server_that_stays_silent_after_the_answer_is_too_late() {
    let (world, _fake, handle) = asking(Mode::AskApart).await;
    let asked = ask(&handle, "").await.unwrap();
    let retry = answered(&asked);
    let answering = ask(&handle, &retry);
    let wait = async {
        until(&handle, |_| world.count("an answer") == 1).await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(11)).await;
        tokio::time::resume();
    };
    let (late, ()) = tokio::join!(answering, wait);
    let late = late.unwrap_err();
    assert!(matches!(late, UpstreamError::Timeout { .. }), "{late:?}");
    until(&handle, |_| world.count("notifications/cancelled") == 1).await;
}

#[tokio::test]
async fn a_call_whose_client_stays_away_ends_at_its_server() {
    let (world, _fake, handle) = asking(Mode::Ask).await;
    let asked = ask(&handle, "").await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(601)).await;
    tokio::time::resume();
    until(&handle, |_| {
        world.count("notifications/cancelled") == 1 && world.count("a refusal") == 1
    })
    .await;
    let late = ask(&handle, &answered(&asked)).await.unwrap_err();
    assert!(
        matches!(
            late,
            UpstreamError::StateRefused {
                is_offence: false,
                ..
            }
        ),
        "{late:?}"
    );
}

#[tokio::test]
async fn a_thousand_calls_that_wait_end_at_their_expiry() {
    const CALLS: usize = 1_000;
    let world = World::new(true, false);
    *world.mode.lock() = Mode::Ask;
    let fake = Fake::start(&world).await;
    let sealer = Sealer::new(&Keyring::generate().unwrap()).unwrap();
    let room = Arc::new(WaitingRoom::new(
        Arc::new(sealer),
        config::Bridge::default(),
        0,
    ));
    let settings = config::Server {
        in_flight_max: 64,
        ..server("jira", &[fake.url()])
    };
    let handle = spawn_with(settings, Some(Arc::clone(&room))).await;
    let calls = stream::iter(0..CALLS).map(|_| ask(&handle, ""));
    let asked: Vec<_> = calls.buffer_unordered(32).collect().await;
    for asked in &asked {
        let text = asked.as_ref().unwrap().text();
        assert!(text.contains(r#""resultType":"input_required""#), "{text}");
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(500)).await;
    assert_eq!(room.usage().calls, CALLS);
    tokio::time::advance(Duration::from_secs(101)).await;
    tokio::time::resume();
    until(&handle, |_| {
        world.count("notifications/cancelled") == CALLS && world.count("a refusal") == CALLS
    })
    .await;
    assert_eq!((room.usage().calls, room.usage().bytes), (0, 0));
    assert_eq!(handle.status().in_flight, 0);
}

#[tokio::test]
async fn a_question_that_finds_no_room_is_refused_and_its_call_goes_on() {
    let limits = config::Bridge {
        waiting_principal_max: 1,
        ..config::Bridge::default()
    };
    let (world, _fake, handle) = asking_within(Mode::Ask, limits).await;
    let first = ask(&handle, "").await.unwrap();
    let refused = async {
        until(&handle, |_| world.count("a refusal") == 1).await;
        world.release.notify_waiters();
    };
    let (second, ()) = tokio::join!(ask(&handle, ""), refused);
    assert!(
        second
            .unwrap()
            .text()
            .contains(r#""resultType":"complete""#)
    );
    // The room is free again for the next.
    let first = ask(&handle, &answered(&first)).await.unwrap();
    assert!(first.text().contains(r#""resultType":"complete""#));
    let third = ask(&handle, "").await.unwrap();
    assert!(third.text().contains(r#""resultType":"input_required""#));
}

#[tokio::test]
async fn a_question_that_is_too_large_is_refused() {
    let limits = config::Bridge {
        question_bytes_max: QUESTION.len() - 1,
        ..config::Bridge::default()
    };
    let (world, _fake, handle) = asking_within(Mode::Ask, limits).await;
    let refused = async {
        until(&handle, |_| world.count("a refusal") == 1).await;
        world.release.notify_waiters();
    };
    let (done, ()) = tokio::join!(ask(&handle, ""), refused);
    assert!(done.unwrap().text().contains(r#""resultType":"complete""#));
}

#[tokio::test]
async fn an_answer_to_a_session_that_its_server_forgot_leaves_its_call_in_doubt() {
    let (world, _fake, handle) = asking(Mode::Ask).await;
    let asked = ask(&handle, "").await.unwrap();
    let opened = world.count("initialize");
    "s-2".clone_into(&mut world.session_id.lock());
    let retry = answered(&asked);
    let error = ask(&handle, &retry).await.unwrap_err();
    assert!(!error.nothing_sent(), "{error:?}");
    assert_eq!((world.executed(), handle.status().in_flight), (1, 0));
    // Nobody is asked again: what the state stood for is over.
    let again = ask(&handle, &retry).await.unwrap_err();
    assert!(
        matches!(
            again,
            UpstreamError::StateRefused {
                is_offence: true,
                ..
            }
        ),
        "{again:?}"
    );
    // The next call has a session that its server knows.
    let next = ask(&handle, "").await.unwrap();
    assert!(next.text().contains(r#""resultType":"input_required""#));
    assert!(world.count("initialize") > opened);
    world.release.notify_one();
    let done = ask(&handle, &answered(&next)).await.unwrap();
    assert!(done.text().contains(r#""resultType":"complete""#));
    assert_eq!((world.executed(), world.count("an answer")), (2, 1));
}

#[tokio::test]
async fn an_answer_that_cannot_be_given_leaves_its_call_in_doubt() {
    let (world, fake, handle) = asking(Mode::Ask).await;
    let asked = ask(&handle, "").await.unwrap();
    fake.stop().await;
    let error = ask(&handle, &answered(&asked)).await.unwrap_err();
    // The server has had the call for long: whoever sends it again may run it twice.
    assert!(!error.nothing_sent(), "{error:?}");
    assert_eq!(world.executed(), 1);
}

/// A listen to one resource; the reply is its stream.
async fn listen(handle: &UpstreamHandle) -> Reply {
    let ann = Principal::new("ann");
    let owner = Owner {
        tenant: None,
        principal: &ann,
        scoped: true,
    };
    let params = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"notifications":{"resourceSubscriptions":["x:1"]}"#;
    let out = request("subscriptions/listen", params);
    handle
        .call(&out, CallClass::Repeatable, &owner)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_listener_that_gives_up_takes_nobodys_subscription() {
    let (world, _fake, handle) = asking(Mode::Subscribe).await;
    let mut first = Box::pin(listen(&handle));
    tokio::select! {
        _ = &mut first => panic!("granted too soon"),
        () = until(&handle, |_| world.count("resources/subscribe") == 1) => {}
    }
    // Waits for the first one's subscription, and then no more.
    let mut second = Box::pin(listen(&handle));
    for _ in 0..3 {
        assert!(futures_util::poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
    }
    drop(second);
    world.release.notify_one();
    let first = first.await;
    let third = listen(&handle).await;
    assert_eq!(world.count("resources/subscribe"), 1);
    drop((first, third));
    until(&handle, |_| world.count("resources/unsubscribe") == 1).await;
}

#[tokio::test]
async fn a_call_that_waits_outlasts_the_change_of_its_server() {
    let world = World::new(true, false);
    *world.mode.lock() = Mode::Ask;
    let fake = Fake::start(&world).await;
    let sealer = Sealer::new(&Keyring::generate().unwrap()).unwrap();
    let room = WaitingRoom::new(Arc::new(sealer), config::Bridge::default(), 0);
    let upstreams = Upstreams::new("a_call_that_waits", 1 << 20, Some(Arc::new(room)));
    let upstreams = upstreams.await.unwrap();
    let of = |in_flight_max| {
        Arc::new(config::Server {
            in_flight_max,
            ..server("jira", &[fake.url()])
        })
    };
    upstreams.apply(&[of(4)]).await.unwrap();
    upstreams.settled(SOON).await;
    let old = upstreams.get("jira").unwrap();
    let (first, second) = (ask(&old, "").await.unwrap(), ask(&old, "").await.unwrap());
    upstreams.apply(&[of(5)]).await.unwrap();
    let new = upstreams.get("jira").unwrap();
    until(&new, |_| upstreams.serving()[0].is_same_as(&new)).await;
    // Long enough for a server that nothing waits at to leave.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    world.release.notify_one();
    let done = ask(&new, &answered(&first)).await.unwrap();
    assert!(done.text().contains(r#""resultType":"complete""#));
    // Nobody answers the other one: the old server waits for it, but not for ever.
    assert!(!old.shared.is_draining());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(601)).await;
    tokio::time::resume();
    until(&old, |old| old.shared.is_draining()).await;
    let late = ask(&new, &answered(&second)).await.unwrap_err();
    assert!(
        matches!(
            late,
            UpstreamError::StateRefused {
                is_offence: false,
                ..
            }
        ),
        "{late:?}"
    );
    assert_eq!(world.executed(), 2);
    upstreams.drain(Duration::ZERO).await;
}

#[tokio::test]
async fn a_server_that_is_taken_out_is_told_about_its_calls() {
    let (world, _fake, handle) = asking(Mode::Ask).await;
    ask(&handle, "").await.unwrap();
    handle.drain(Duration::ZERO).await;
    let seen = world.seen.lock().join(" ");
    let farewell = "tools/call a refusal notifications/cancelled DELETE DELETE";
    assert!(seen.ends_with(farewell), "{seen}");
}
