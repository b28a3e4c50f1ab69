//! Which process a caller gets, and what happens when it ends.

use super::super::probe;
use super::*;
use lockgate_proto::id::Principal;

use crate::config::Scope;
use crate::task::spawn_named;
use crate::upstream::session_key::Owner;
use crate::upstream::transport::stdio::{ChildKey, Children};
use tempfile::TempDir;

fn children(script: &str) -> Children {
    Children::new(program(script), Scope::Auto, 8)
}

fn owner(principal: &Principal) -> Owner<'_> {
    Owner {
        tenant: None,
        principal,
        scoped: false,
    }
}

fn own(name: &str) -> ChildKey {
    ChildKey::Session(name.into())
}

async fn open(children: &Children, key: ChildKey) -> ChannelSession {
    soon(children.session(key, init())).await.unwrap()
}

/// A pool whose children write what is set for good into a file.
fn logging() -> (Children, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let settings = program_with(SERVER, &[("LOG", path.to_str().unwrap())]);
    (Children::new(settings, Scope::Auto, 8), dir)
}

fn logged(dir: &TempDir) -> Vec<String> {
    let text = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn set(method: &str, key: &str, value: &str) -> Outgoing {
    out(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"{key}":"{value}"}}}}"#
    ))
}

#[tokio::test]
async fn sessions_share_or_own_by_key() {
    let children = children(SERVER);
    let keys = [
        ChildKey::Shared,
        ChildKey::Shared,
        own("a"),
        own("b"),
        ChildKey::Principal(None, "ann".into()),
        ChildKey::Principal(None, "ann".into()),
        ChildKey::Principal(None, "bob".into()),
    ];
    let opening = keys.map(|key| open(&children, key));
    let sessions = futures_util::future::join_all(opening).await;
    let mut pids = Vec::new();
    for session in &sessions {
        pids.push(pid(session).await);
    }
    assert_eq!(pids[0], pids[1]);
    assert_eq!(pids[4], pids[5]);
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 5);
    assert_eq!(children.counts().live, 5);
    children.stop().await;
    assert_eq!(children.counts().live, 0);
    assert!(pids.into_iter().all(is_gone));
}

#[tokio::test]
async fn many_who_come_at_once_start_one_child() {
    let children = children(SERVER);
    let all = (0..16).map(|_| children.session(ChildKey::Shared, init()));
    let sessions = soon(futures_util::future::join_all(all)).await;
    assert!(sessions.iter().all(Result::is_ok));
    assert_eq!(children.counts().live, 1);
    children.stop().await;
}

#[tokio::test]
async fn no_more_children_than_the_bound() {
    let children = Children::new(program(SERVER), Scope::Session, 1);
    let first = open(&children, own("a")).await;
    let error = soon(children.session(own("b"), init())).await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::AtLimit { limit: 1, .. }),
        "{error:?}"
    );
    first.close().await;
    open(&children, own("b")).await;
}

#[tokio::test]
async fn children_of_sessions_end_with_them() {
    let children = children(SERVER);
    let shared = open(&children, ChildKey::Shared).await;
    let principal = open(&children, ChildKey::Principal(None, "ann".into())).await;
    let session = open(&children, own("a")).await;
    drop((shared, principal, session));
    becomes_true(|| children.counts().live == 1).await;
    children.stop().await;
}

#[tokio::test]
async fn nothing_starts_after_the_stop() {
    let children = children(SERVER);
    children.stop().await;
    let error = soon(children.session(ChildKey::Shared, init()))
        .await
        .unwrap_err();
    assert!(error.nothing_sent());
}

async fn a_new_child_takes_over(key: ChildKey) {
    let (children, dir) = logging();
    let session = open(&children, key).await;
    ask(&session, set("logging/setLevel", "level", "warning")).await;
    ask(&session, set("resources/subscribe", "uri", "a://x")).await;
    ask(&session, set("resources/subscribe", "uri", "a://gone")).await;
    ask(&session, set("resources/unsubscribe", "uri", "a://gone")).await;
    let before = logged(&dir).len();
    assert_eq!(before, 4);
    let old = pid(&session).await;
    kill(old);
    soon(session.ended()).await;
    assert_ne!(pid(&session).await, old);
    let replayed = logged(&dir).split_off(before);
    assert_eq!(replayed.len(), 2, "{replayed:?}");
    assert!(replayed[0].contains(r#""level":"warning""#));
    assert!(replayed[1].contains(r#""uri":"a://x""#));
    children.stop().await;
}

#[tokio::test]
async fn the_next_call_opens_an_own_child_again() {
    a_new_child_takes_over(own("a")).await;
}

#[tokio::test]
async fn the_next_call_opens_a_shared_child_again() {
    a_new_child_takes_over(ChildKey::Shared).await;
}

#[tokio::test]
async fn a_listener_outlives_its_child_and_hears_that_lists_may_have_changed() {
    let children = children(SERVER);
    let session = open(&children, own("a")).await;
    let mut listener = session.listen().await.unwrap().unwrap();
    let old = pid(&session).await;
    kill(old);
    let told = next(&mut listener).await.unwrap().unwrap();
    assert!(told.contains("tools/list_changed"), "{told}");
    assert_ne!(pid(&session).await, old);
    ask(&session, tool("1", "change")).await;
    assert!(next(&mut listener).await.unwrap().is_some());
    session.close().await;
    assert!(next(&mut listener).await.unwrap().is_none());
    assert_eq!(children.counts().live, 0);
}

#[tokio::test]
async fn a_call_in_flight_is_not_sent_twice() {
    let children = children(SERVER);
    let session = open(&children, own("a")).await;
    let error = soon(session.call(&tool("1", "exit"))).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
    pid(&session).await;
}

#[tokio::test]
async fn the_stateless_era_has_a_child_of_its_own() {
    let children = children(SERVER);
    let (ann, bob) = ("ann".into(), "bob".into());
    let session = open(&children, ChildKey::Shared).await;
    let child = soon(children.stateless(&owner(&ann))).await.unwrap();
    let again = soon(children.stateless(&owner(&bob))).await.unwrap();
    let said =
        |child: Channel| async move { answer(child.call(&tool("1", "pid")).await).await.unwrap() };
    assert_eq!(said(child.clone()).await, said(again).await);
    assert_eq!(children.counts().live, 2);
    child.stop().await;
    pid(&session).await;
    let fresh = soon(children.stateless(&owner(&ann))).await.unwrap();
    assert!(!fresh.has_ended());
    children.stop().await;
}

#[tokio::test]
async fn a_quiet_principal_gives_way_to_another() {
    let children = Children::new(program(SERVER), Scope::Principal, 2);
    let mut pids = Vec::new();
    for name in ["ann", "bob", "ann", "cy"] {
        let child = soon(children.stateless(&owner(&name.into())))
            .await
            .unwrap();
        let said = answer(child.call(&tool("1", "pid")).await).await.unwrap();
        let pid: i32 = frame(&said).body().unwrap().parse().unwrap();
        pids.push(pid);
    }
    assert_eq!(pids[0], pids[2]);
    assert!(is_gone(pids[1]), "bob was quiet for longest");
    assert!(!is_dead(pids[0]));
    children.stop().await;
}

#[tokio::test]
async fn a_restart_ends_what_runs_and_calls_go_on() {
    let children = children(SERVER);
    let session = open(&children, own("a")).await;
    let old = pid(&session).await;
    soon(children.restart()).await;
    assert!(is_gone(old));
    assert_ne!(pid(&session).await, old);
    children.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_does_not_come_up_is_not_started_in_a_loop() {
    let settings = ChildSettings {
        command: "/nowhere/program".to_owned(),
        ..ChildSettings::clone(&program(""))
    };
    let children = Children::new(Arc::new(settings), Scope::Auto, 8);
    let mut causes = Vec::new();
    for _ in 0..8 {
        let error = children
            .session(ChildKey::Shared, init())
            .await
            .unwrap_err();
        let UpstreamError::Unreachable { source, .. } = error else {
            panic!("{error:?}");
        };
        causes.push(source.to_string());
    }
    // 0.1 s, 0.2 s … are waited for; 3.2 s is not.
    let refused = causes
        .iter()
        .filter(|cause| cause.contains("6 times in a row"));
    assert_eq!(refused.count(), 2, "{causes:?}");
}

#[tokio::test]
async fn a_child_that_never_answers_its_opening_does_not_hold_up_the_end() {
    let children = children("while :; do read_line; done");
    let opening = children.clone();
    let opening = spawn_named("opening", async move {
        opening.session(ChildKey::Shared, init()).await
    });
    soon(async {
        while children.counts().live == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(children.stop()).await;
    assert_eq!(children.counts().live, 0);
    assert!(soon(opening).await.unwrap().is_err());
    let late = children.session(ChildKey::Shared, init()).await;
    assert!(late.unwrap_err().nothing_sent());
}

#[tokio::test]
async fn a_probe_asks_each_era_on_a_process_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    // Refuses whatever comes second, as some servers do.
    let script = r#"
    read_line
    case $line in
        *'"server/discover"'*) result "$id" '{"resultType":"complete","supportedVersions":["2026-07-28"]}' ;;
        *'"initialize"'*) agree ;;
    esac
    echo start >> "$LOG"
    cat > /dev/null
    "#;
    let settings = program_with(script, &[("LOG", path.to_str().unwrap())]);
    let verdict = soon(probe(settings)).await.unwrap();
    assert!(verdict.stateless.unwrap().contains("2026-07-28"));
    assert!(verdict.session.unwrap().contains("2025-11-25"));
    assert_eq!(logged(&dir).len(), 2);
}

async fn check_probe(script: &str, stateless: bool, session: bool) {
    let verdict = soon(probe(program(script))).await.unwrap();
    assert_eq!(
        (verdict.stateless.is_some(), verdict.session.is_some()),
        (stateless, session)
    );
}

#[tokio::test]
async fn a_probe_understands_servers_of_one_era() {
    let refuse =
        r#"say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{\"code\":-32601,\"message\":\"no\"}}""#;
    let legacy =
        format!("read_line; case $line in *'\"initialize\"'*) agree ;; *) {refuse} ;; esac; cat");
    check_probe(&legacy, false, true).await;
    // Ends on whatever comes before `initialize`.
    check_probe(
        "read_line; case $line in *'\"initialize\"'*) agree ;; esac",
        false,
        true,
    )
    .await;
    let modern = format!(
        r#"read_line; case $line in *discover*) result "$id" '{{"supportedVersions":["2026-07-28"]}}' ;; *) {refuse} ;; esac; cat"#
    );
    check_probe(&modern, true, false).await;
    // Answers `server/discover` and speaks the session era only.
    let both = r#"read_line; case $line in *discover*) result "$id" '{"supportedVersions":["2025-11-25"]}' ;; *) agree ;; esac; cat"#;
    check_probe(both, false, true).await;
}

#[tokio::test]
async fn a_probe_of_a_program_that_ends_at_once_is_an_error() {
    assert!(soon(probe(program("exit 1"))).await.is_err());
}
