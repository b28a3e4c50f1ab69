//! Ids, tokens and cancels.

use super::*;

#[test]
fn a_request_gets_a_number_and_keeps_the_rest() {
    let mut mux = mux(Sharing::Stateless);
    let sent = line(
        &mut mux,
        Owner::NOBODY,
        &request(
            "\"a\"",
            "m",
            r#"{"_meta":{"progressToken":"t","y":null},"n":1.50}"#,
        ),
    );
    assert_eq!(
        sent,
        r#"{"x":1.0,"id":1,"jsonrpc":"2.0","method":"m","params":{"_meta":{"progressToken":1,"y":null},"n":1.50}}"#
    );
}

#[test]
fn a_request_goes_out_on_one_line() {
    let mut mux = mux(Sharing::Stateless);
    let pretty = frame("{\r\n \"jsonrpc\": \"2.0\",\n \"id\": 5, \"method\": \"a\\nb\"\n}");
    assert_eq!(
        line(&mut mux, Owner::NOBODY, &pretty),
        "{   \"jsonrpc\": \"2.0\",  \"id\": 1, \"method\": \"a\\nb\" }"
    );
}

#[test]
fn an_answer_gets_the_callers_spelling_back() {
    for id in [
        "7",
        "-0",
        "\"7\"",
        "\"\\u0061\"",
        "123456789012345678901234567890",
    ] {
        let mut mux = mux(Sharing::Stateless);
        let n = call(&mut mux, Owner::NOBODY, id);
        let seen = hear(&mut mux, &result(n, "{\"v\":1.0}"));
        assert_eq!(
            seen,
            [format!(
                "finish {n} {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"v\":1.0}}}}"
            )]
        );
    }
}

#[test]
fn a_number_given_back_as_a_string_is_understood() {
    let mut mux = mux(Sharing::Stateless);
    call(&mut mux, Owner::NOBODY, "9");
    let answer = frame(r#"{"jsonrpc":"2.0","id":"1","result":{}}"#);
    assert_eq!(
        hear(&mut mux, &answer),
        [r#"finish 1 {"jsonrpc":"2.0","id":9,"result":{}}"#]
    );
}

#[test]
fn a_second_answer_is_dropped() {
    let mut mux = mux(Sharing::Stateless);
    let n = call(&mut mux, Owner::NOBODY, "1");
    assert_eq!(goes(&mut mux, &result(n, "{}")), ["finish 1"]);
    assert_eq!(
        hear(&mut mux, &result(n, "{}")),
        ["drop answer to no request in flight"]
    );
}

#[test]
fn an_answer_to_what_was_never_asked_is_a_stray() {
    let mut mux = mux(Sharing::Stateless);
    call(&mut mux, Owner::NOBODY, "1");
    for id in [r#""nope""#, "0", "2", "-1"] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        assert_eq!(hear(&mut mux, &frame(&text)), [format!("stray {text}")]);
    }
}

#[test]
fn an_answer_that_cannot_be_passed_on_ends_its_call_once() {
    let mut mux = mux(Sharing::Stateless);
    call(&mut mux, Owner::NOBODY, "1");
    call(&mut mux, Owner::NOBODY, "2");
    let error = ParseError::Envelope { what: "odd" };
    let mut said = |said: Legible| mux.on_garbled(&said, &error).as_ref().map(show);
    let spoilt = |n| format!("spoil {n} its answer is not a JSON-RPC message: odd");
    for id in ["3", "1.5", r#""a""#] {
        assert_eq!(said(Legible::Answer(id.into())), None, "{id}");
    }
    assert_eq!(said(Legible::Answer("1".into())), Some(spoilt(1)));
    assert_eq!(said(Legible::Answer("1".into())), None);
    assert_eq!(said(Legible::Answer("2.0".into())), Some(spoilt(2)));
}

#[test]
fn a_question_that_cannot_be_read_is_refused() {
    let mut mux = mux(Sharing::Own);
    let error = ParseError::Envelope { what: "odd" };
    let refused = mux.on_garbled(&Legible::Request("1".into()), &error);
    assert_eq!(
        refused.as_ref().map(show).unwrap(),
        r#"reply {"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"not a JSON-RPC message: odd"}}"#
    );
}

#[test]
fn progress_finds_its_call_by_token() {
    let mut mux = mux(Sharing::Stateless);
    let with = |id: &str| request(id, "tools/call", r#"{"_meta":{"progressToken":"same"}}"#);
    begin(&mut mux, Owner::NOBODY, &with("1"));
    begin(&mut mux, Owner::NOBODY, &with("1"));
    let progress = |n| {
        notification(
            method::PROGRESS,
            &format!(r#"{{"progressToken":{n},"progress":1}}"#),
        )
    };
    for n in [2, 1] {
        assert_eq!(
            hear(&mut mux, &progress(n)),
            [format!(
                r#"pass {n} {{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"same","progress":1}}}}"#
            )]
        );
    }
    assert_eq!(goes(&mut mux, &progress(3)), ["drop progress"]);
}

#[test]
fn progress_of_a_task_outlives_its_call() {
    let mut mux = mux(Sharing::Own);
    let owner = mux.attach();
    let n = begin(
        &mut mux,
        owner,
        &request(
            "1",
            "tools/call",
            r#"{"_meta":{"progressToken":"t"},"task":{}}"#,
        ),
    );
    hear(
        &mut mux,
        &result(n, r#"{"task":{"taskId":"T","status":"working"}}"#),
    );
    let progress = notification(method::PROGRESS, r#"{"progressToken":1,"progress":2}"#);
    assert_eq!(
        hear(&mut mux, &progress),
        [
            r#"post 1 {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":2}}"#
        ]
    );
}

#[test]
fn a_cancel_names_the_number_and_only_ones_own_call() {
    let mut mux = mux(Sharing::Shared);
    let (one, two) = (mux.attach(), mux.attach());
    call(&mut mux, one, "\"a\"");
    let n = call(&mut mux, two, "\"a\"");
    let cancel = |id| {
        notification(
            method::CANCELLED,
            &format!(r#"{{"requestId":{id},"reason":"r"}}"#),
        )
    };
    let sent = mux
        .on_send(two, &cancel("\"\\u0061\""))
        .map(|line| text(&line));
    assert_eq!(
        sent.as_deref(),
        Some(
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2,"reason":"r"}}"#
        )
    );
    hear(&mut mux, &result(n, "{}"));
    assert!(mux.on_send(two, &cancel("\"a\"")).is_none(), "answered");
    assert!(mux.on_send(one, &cancel("\"b\"")).is_none(), "never sent");
}

#[test]
fn leaving_cancels_in_the_stateless_era_only() {
    let mut stateless = mux(Sharing::Stateless);
    let n = call(&mut stateless, Owner::NOBODY, "1");
    assert_eq!(
        stateless.on_left(n).map(|line| text(&line)).as_deref(),
        Some(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
    );
    let mut own = mux(Sharing::Own);
    let owner = own.attach();
    let n = call(&mut own, owner, "1");
    assert!(own.on_left(n).is_none());
    let cancel = notification(method::CANCELLED, r#"{"requestId":1}"#);
    assert!(
        own.on_send(owner, &cancel).is_some(),
        "a late cancel still finds it"
    );
    assert_eq!(goes(&mut own, &result(n, "{}")), ["drop answer"]);
}

#[test]
fn calls_that_were_left_are_not_kept_without_end() {
    let mut mux = mux(Sharing::Own);
    let owner = mux.attach();
    for id in 0..10 * LEFT_MAX {
        let n = call(&mut mux, owner, &id.to_string());
        mux.on_left(n);
    }
    assert_eq!(mux.calls.len(), LEFT_MAX);
    assert_eq!(mux.by_id.len(), LEFT_MAX);
}

#[test]
fn a_handshake_is_never_cancelled() {
    let mut mux = mux(Sharing::Own);
    let owner = mux.attach();
    let n = begin(&mut mux, owner, &request("0", method::INITIALIZE, "{}"));
    assert!(mux.on_expired(n).is_none());
}
