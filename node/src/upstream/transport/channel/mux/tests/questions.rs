//! What the server asks and tells by itself, on an own child.

use super::*;

/// (calls in flight, listening) -> where a question of the server goes.
fn check_place(calls: usize, listening: bool, expected: &str) {
    let mut mux = mux(Sharing::Own);
    let owner = mux.attach();
    mux.set_listening(owner, listening);
    for id in 0..calls {
        call(&mut mux, owner, &id.to_string());
    }
    let question = request("1", method::SAMPLING, "{}");
    assert_eq!(goes(&mut mux, &question), [expected], "{calls} {listening}");
}

#[test]
fn a_question_goes_to_the_only_call_then_the_listener_then_the_oldest_call() {
    check_place(1, false, "pass 1");
    check_place(1, true, "pass 1");
    check_place(2, true, "post 1");
    check_place(2, false, "pass 1");
    check_place(0, true, "post 1");
    check_place(0, false, "post 1");
}

#[test]
fn lists_and_the_handshake_are_no_calls_for_a_question_to_go_to() {
    for name in [method::INITIALIZE, method::TOOLS_LIST, method::SET_LEVEL] {
        let mut mux = mux(Sharing::Own);
        let owner = mux.attach();
        begin(&mut mux, owner, &request("0", name, "{}"));
        let question = request("1", method::ROOTS_LIST, "{}");
        assert_eq!(goes(&mut mux, &question), ["post 1"]);
        begin(&mut mux, owner, &request("0", method::TOOLS_CALL, "{}"));
        assert_eq!(goes(&mut mux, &question), ["pass 2"]);
    }
}

#[test]
fn a_question_is_answered_once_under_the_servers_id() {
    let mut mux = mux(Sharing::Own);
    let owner = mux.attach();
    let n = call(&mut mux, owner, "1");
    hear(&mut mux, &request("\"q\"", method::ELICITATION, "{}"));
    assert!(mux.awaits_owner(n));
    let answer = frame(r#"{"jsonrpc":"2.0","id":"q","result":{"action":"accept"}}"#);
    let sent = mux.on_send(owner, &answer).map(|line| text(&line));
    assert_eq!(sent.as_deref(), Some(answer.text()));
    assert!(!mux.awaits_owner(n));
    assert!(mux.on_send(owner, &answer).is_none());
}

#[test]
fn a_question_that_is_taken_back_is_told_where_it_was_asked() {
    let mut mux = mux(Sharing::Own);
    let owner = mux.attach();
    call(&mut mux, owner, "1");
    hear(&mut mux, &request("5", method::ELICITATION, "{}"));
    call(&mut mux, owner, "2");
    mux.set_listening(owner, true);
    let cancel = notification(method::CANCELLED, r#"{"requestId":5}"#);
    assert_eq!(goes(&mut mux, &cancel), ["pass 1"]);
    assert_eq!(goes(&mut mux, &cancel), ["drop cancels"]);
}

#[test]
fn the_oldest_of_too_many_questions_is_given_up() {
    let mut mux = mux(Sharing::Own);
    let owner = mux.attach();
    for id in 0..=ASKED_MAX {
        let question = request(&id.to_string(), method::SAMPLING, "{}");
        assert_eq!(goes(&mut mux, &question), ["post 1"]);
    }
    assert!(mux.on_send(owner, &result(0, "{}")).is_none());
    assert!(mux.on_send(owner, &result(1, "{}")).is_some());
}

#[test]
fn a_question_excuses_silence_only_while_its_call_runs() {
    let mut mux = mux(Sharing::Own);
    let owner = mux.attach();
    let (carrier, beside) = (call(&mut mux, owner, "1"), call(&mut mux, owner, "2"));
    hear(&mut mux, &request("5", method::ELICITATION, "{}"));
    let later = call(&mut mux, owner, "3");
    assert!(mux.awaits_owner(carrier) && mux.awaits_owner(beside));
    assert!(!mux.awaits_owner(later), "begun after the question");
    hear(&mut mux, &result(carrier, "{}"));
    assert!(!mux.awaits_owner(beside));
    assert!(
        mux.on_send(owner, &result(5, "{}")).is_some(),
        "it is still answered"
    );
}

#[test]
fn a_question_of_a_cancelled_call_excuses_no_silence() {
    let mut mux = mux(Sharing::Own);
    let owner = mux.attach();
    let (carrier, beside) = (call(&mut mux, owner, "1"), call(&mut mux, owner, "2"));
    hear(&mut mux, &request("5", method::ELICITATION, "{}"));
    let cancel = notification(method::CANCELLED, r#"{"requestId":1}"#);
    assert!(mux.on_send(owner, &cancel).is_some());
    assert!(!mux.awaits_owner(carrier) && !mux.awaits_owner(beside));
    assert!(
        mux.on_send(owner, &result(5, "{}")).is_some(),
        "a server that goes on all the same is still answered"
    );
}

#[test]
fn a_question_is_not_asked_of_a_cancelled_call() {
    let mut mux = mux(Sharing::Own);
    let owner = mux.attach();
    let (older, younger) = (call(&mut mux, owner, "1"), call(&mut mux, owner, "2"));
    let cancel = |id| notification(method::CANCELLED, &format!(r#"{{"requestId":{id}}}"#));
    mux.on_send(owner, &cancel(1));
    let question = request("5", method::ELICITATION, "{}");
    assert_eq!(goes(&mut mux, &question), [format!("pass {younger}")]);
    assert!(mux.awaits_owner(younger) && mux.may_ask(older));
    mux.on_send(owner, &cancel(2));
    let question = request("6", method::ELICITATION, "{}");
    assert_eq!(goes(&mut mux, &question), ["post 1"]);
}

#[test]
fn a_ping_is_answered_here() {
    for sharing in [Sharing::Stateless, Sharing::Own, Sharing::Shared] {
        let mut mux = mux(sharing);
        mux.attach();
        let ping = frame(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
        assert_eq!(
            hear(&mut mux, &ping),
            [r#"reply {"jsonrpc":"2.0","id":"p","result":{}}"#]
        );
    }
}

#[test]
fn news_on_an_own_child_reach_its_session() {
    let mut mux = mux(Sharing::Own);
    let owner = mux.attach();
    call(&mut mux, owner, "1");
    let vendor = notification("notifications/vendor", "{}");
    assert_eq!(goes(&mut mux, &vendor), ["pass 1"]);
    assert_eq!(goes(&mut mux, &logged("info")), ["pass 1"]);
    assert_eq!(goes(&mut mux, &updated("a://x")), ["post 1"]);
    let status = notification(method::TASK_STATUS, r#"{"taskId":"T"}"#);
    assert_eq!(goes(&mut mux, &status), ["post 1"]);
}
