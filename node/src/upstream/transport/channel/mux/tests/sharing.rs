//! Several sessions on one child.

use super::*;

#[test]
fn a_shared_child_may_not_ask() {
    for sharing in [Sharing::Stateless, Sharing::Shared] {
        let mut mux = mux(sharing);
        let owner = mux.attach();
        call(&mut mux, owner, "1");
        let question = request("3", method::SAMPLING, "{}");
        assert_eq!(
            hear(&mut mux, &question),
            [
                r#"reply {"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"Method not found"}}"#
            ]
        );
    }
}

/// Subscribes and lets the server confirm; `None` when the server need not hear of it.
fn subscribe(mux: &mut Mux, owner: Owner, uri: &str) -> Option<u64> {
    let params = format!(r#"{{"uri":"{uri}"}}"#);
    match mux.on_request(owner, &request("1", method::SUBSCRIBE, &params)) {
        Some(Outcome::Line { call, .. }) => {
            hear(mux, &result(call, "{}"));
            Some(call)
        }
        _ => None,
    }
}

#[test]
fn the_second_subscriber_is_answered_here_and_hears_of_changes() {
    let mut mux = mux(Sharing::Shared);
    let (one, two, _three) = (mux.attach(), mux.attach(), mux.attach());
    assert!(subscribe(&mut mux, one, "a://x").is_some());
    let answer = line(
        &mut mux,
        two,
        &request("\"s\"", method::SUBSCRIBE, r#"{"uri":"a://x"}"#),
    );
    assert_eq!(answer, r#"answer {"jsonrpc":"2.0","id":"s","result":{}}"#);
    assert_eq!(goes(&mut mux, &updated("a://x")), ["post 1", "post 2"]);
    assert_eq!(goes(&mut mux, &updated("a://x/part")), ["post 1", "post 2"]);
    assert!(goes(&mut mux, &updated("a://xy")).is_empty());
}

#[test]
fn a_subscription_that_was_refused_is_none() {
    let mut mux = mux(Sharing::Shared);
    let (one, two) = (mux.attach(), mux.attach());
    let n = begin(
        &mut mux,
        one,
        &request("1", method::SUBSCRIBE, r#"{"uri":"a://x"}"#),
    );
    let refusal =
        format!(r#"{{"jsonrpc":"2.0","id":{n},"error":{{"code":-32602,"message":"no"}}}}"#);
    hear(&mut mux, &frame(&refusal));
    assert!(goes(&mut mux, &updated("a://x")).is_empty());
    assert!(
        subscribe(&mut mux, two, "a://x").is_some(),
        "asks the server again"
    );
}

#[test]
fn only_the_last_subscriber_unsubscribes_at_the_server() {
    let mut mux = mux(Sharing::Shared);
    let (one, two) = (mux.attach(), mux.attach());
    subscribe(&mut mux, one, "a://x");
    subscribe(&mut mux, two, "a://x");
    let off = request("1", method::UNSUBSCRIBE, r#"{"uri":"a://x"}"#);
    assert!(line(&mut mux, one, &off).starts_with("answer"));
    assert_eq!(goes(&mut mux, &updated("a://x")), ["post 2"]);
    assert!(line(&mut mux, two, &off).contains("unsubscribe"));
}

#[test]
fn a_session_that_goes_takes_its_wishes_along() {
    let mut mux = mux(Sharing::Shared);
    let (one, two) = (mux.attach(), mux.attach());
    subscribe(&mut mux, one, "a://both");
    subscribe(&mut mux, two, "a://both");
    subscribe(&mut mux, one, "a://one");
    begin(&mut mux, one, &level("debug"));
    begin(&mut mux, one, &request("9", "tools/call", "{}"));
    // Does not change the server's level: `debug` admits it.
    assert!(line(&mut mux, two, &level("error")).starts_with("answer"));
    let farewell = mux.detach(one);
    let lines: Vec<String> = farewell.lines.iter().map(text).collect();
    assert_eq!(
        lines,
        [
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}"#,
            r#"{"jsonrpc":"2.0","id":5,"method":"resources/unsubscribe","params":{"uri":"a://one"}}"#,
            r#"{"jsonrpc":"2.0","id":6,"method":"logging/setLevel","params":{"level":"error"}}"#,
        ]
    );
    assert_eq!(
        hear(&mut mux, &result(5, "{}")),
        ["drop answer to a request of our own"]
    );
}

fn level(name: &str) -> Frame {
    request("1", method::SET_LEVEL, &format!(r#"{{"level":"{name}"}}"#))
}

#[test]
fn the_server_gets_the_most_verbose_level_and_each_session_its_own() {
    let mut mux = mux(Sharing::Shared);
    let (one, two, _quiet) = (mux.attach(), mux.attach(), mux.attach());
    assert_eq!(
        goes(&mut mux, &logged("debug")).len(),
        3,
        "no level was set"
    );
    assert!(line(&mut mux, one, &level("error")).contains(r#""level":"error""#));
    assert!(line(&mut mux, two, &level("warning")).contains(r#""level":"warning""#));
    assert!(line(&mut mux, one, &level("alert")).starts_with("answer"));
    assert_eq!(goes(&mut mux, &logged("debug")), [""; 0]);
    assert_eq!(goes(&mut mux, &logged("info")), ["post 3"]);
    assert_eq!(goes(&mut mux, &logged("warning")), ["post 2", "post 3"]);
    assert_eq!(goes(&mut mux, &logged("emergency")).len(), 3);
}

#[test]
fn a_session_that_does_not_listen_hears_the_log_in_its_call() {
    let mut mux = mux(Sharing::Shared);
    let (one, two) = (mux.attach(), mux.attach());
    mux.set_listening(two, true);
    let call = |id: &str| request(id, "tools/call", "{}");
    let first = begin(&mut mux, one, &call("1"));
    let seen = goes(&mut mux, &logged("info"));
    assert_eq!(seen, [format!("pass {first}"), "post 2".to_owned()]);
    // Of two calls of one session, the older.
    begin(&mut mux, one, &call("2"));
    assert_eq!(goes(&mut mux, &logged("info"))[0], format!("pass {first}"));
    // It may be about another's call.
    begin(&mut mux, two, &call("1"));
    assert_eq!(goes(&mut mux, &logged("info")), ["post 1", "post 2"]);
}

#[test]
fn what_is_no_level_is_for_the_server_to_refuse() {
    let mut mux = mux(Sharing::Shared);
    let owner = mux.attach();
    assert!(line(&mut mux, owner, &level("loud")).contains(r#""level":"loud""#));
}

#[test]
fn changes_of_lists_go_to_every_session_and_unknown_news_to_none() {
    let mut mux = mux(Sharing::Shared);
    mux.attach();
    mux.attach();
    let changed = frame(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    assert_eq!(goes(&mut mux, &changed), ["post 1", "post 2"]);
    let news = notification("notifications/vendor", "{}");
    assert_eq!(goes(&mut mux, &news), ["drop notification"]);
}
