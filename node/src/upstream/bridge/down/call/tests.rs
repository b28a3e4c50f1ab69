use lockgate_proto::jsonrpc::Limits;

use super::super::abilities::Abilities;
use super::super::level::Level;
use super::*;

const ALLOWANCE: Allowance = Allowance {
    asked_bytes_max: 1 << 10,
    rounds_max: 2,
};

fn frame(text: &str) -> Frame {
    let text = format!(r#"{{"jsonrpc":"2.0",{text}}}"#);
    Frame::parse(text.into(), &Limits::default()).unwrap()
}

fn call(method: &str, token: Option<&str>, level: Option<Level>) -> Call {
    let request = frame(&format!(
        r#""id":1,"method":"{method}","params":{{"uri":"x:1"}}"#
    ));
    let turn = Turn {
        id: "\"mine\"".into(),
        token: token.map(Into::into),
        level,
        abilities: Abilities::of(r#"{"elicitation":{},"roots":{}}"#),
    };
    Call::new(5, &request, turn, ALLOWANCE)
}

/// First word: what becomes of the message.
fn check(call: &mut Call, message: &str, expected: &str) {
    let seen = match call.on_message(frame(message), None) {
        Step::Tell(frame) => format!("tell {}", frame.text()),
        Step::Send(frame) => format!("send {}", frame.text()),
        Step::Asked => "asked".to_owned(),
        Step::Finish { status, frame } => format!("finish {status} {}", frame.text()),
        Step::Task(frame) => format!("task {}", frame.text()),
        Step::News(_) => "news".to_owned(),
        Step::Drop => "drop".to_owned(),
    };
    let expected = expected.replace('#', r#"{"jsonrpc":"2.0","#);
    assert_eq!(seen, expected, "{message}");
}

#[test]
fn progress_comes_under_the_clients_token() {
    let progress = |token: &str| {
        format!(
            r#""method":"notifications/progress","params":{{"progress":1.0,"progressToken":{token}}}"#
        )
    };
    let mut asked_for = call("tools/call", Some("\"t\""), None);
    for ours in ["5", "\"5\"", "5.0"] {
        check(
            &mut asked_for,
            &progress(ours),
            r#"tell #"method":"notifications/progress","params":{"progress":1.0,"progressToken":"t"}}"#,
        );
    }
    check(&mut asked_for, &progress("6"), "drop");
    check(&mut call("tools/call", None, None), &progress("5"), "drop");
}

#[test]
fn log_messages_are_told_from_the_wanted_level_on() {
    let log =
        |level: &str| format!(r#""method":"notifications/message","params":{{"level":"{level}"}}"#);
    let mut silent = call("tools/call", None, None);
    let mut some = call("tools/call", None, Some(Level::Warning));
    check(&mut silent, &log("emergency"), "drop");
    check(&mut some, &log("notice"), "drop");
    for level in ["warning", "alert", "loud"] {
        let message = log(level);
        check(&mut some, &message, &format!("tell #{message}}}"));
    }
}

#[test]
fn questions_are_for_those_who_can_be_asked() {
    let roots = r#""id":"q","method":"roots/list""#;
    let mut tool = call("tools/call", None, None);
    check(&mut tool, roots, "asked");
    assert!(tool.is_asking());
    check(
        &mut tool,
        r#""id":8,"method":"sampling/createMessage","params":{}"#,
        r#"send #"id":8,"error":{"code":-32601,"message":"the client did not declare this capability"}}"#,
    );
    check(
        &mut tool,
        r#""id":9,"method":"ping""#,
        r#"send #"id":9,"result":{}}"#,
    );
    check(
        &mut call("completion/complete", None, None),
        roots,
        r#"send #"id":"q","error":{"code":-32601,"message":"the client cannot be asked during this request"}}"#,
    );
}

#[test]
fn questions_are_bounded() {
    let mut tool = call("tools/call", None, None);
    for id in 0..ASKED_MAX {
        check(
            &mut tool,
            &format!(r#""id":{id},"method":"roots/list""#),
            "asked",
        );
    }
    check(
        &mut tool,
        r#""id":99,"method":"roots/list""#,
        r#"send #"id":99,"error":{"code":-32603,"message":"too many requests to the client"}}"#,
    );
}

/// A question of this size on the wire.
fn question(id: u64, bytes: usize) -> String {
    let frame = |message: &str| {
        format!(r#""id":{id},"method":"elicitation/create","params":{{"message":"{message}"}}"#)
    };
    let rest = r#"{"jsonrpc":"2.0",}"#.len() + frame("").len();
    frame(&"x".repeat(bytes - rest))
}

#[test]
fn what_is_asked_at_once_is_bounded_in_bytes() {
    let refused = |id| {
        format!(
            r#"send #"id":{id},"error":{{"code":-32603,"message":"too much to ask the client"}}}}"#
        )
    };
    let mut tool = call("tools/call", None, None);
    check(&mut tool, &question(1, (1 << 10) + 1), &refused(1));
    assert!(!tool.is_asking());
    check(&mut tool, &question(2, 1 << 10), "asked");
    check(&mut tool, &question(3, 200), &refused(3));
    // What was refused before does not count.
    let before = tool.n_bytes();
    let again = tool.on_responses(r#"{"ask-1":{"action":"accept"}}"#, tool.turn.clone());
    assert_eq!(again.unwrap().map(|answers| answers.len()), Some(1));
    assert!(
        tool.n_bytes() + 900 < before,
        "what is answered weighs nothing"
    );
    check(&mut tool, &question(4, 1 << 10), "asked");
}

#[test]
fn rounds_are_bounded() {
    let mut tool = call("tools/call", None, None);
    for n in 1..=2 {
        check(
            &mut tool,
            r#""id":"q","method":"elicitation/create""#,
            "asked",
        );
        let responses = format!(r#"{{"ask-{n}":{{"action":"accept"}}}}"#);
        let on = tool.on_responses(&responses, tool.turn.clone()).unwrap();
        assert!(on.is_some());
    }
    check(
        &mut tool,
        r#""id":"q","method":"elicitation/create""#,
        r#"send #"id":"q","error":{"code":-32603,"message":"too many requests to the client"}}"#,
    );
}

#[test]
fn a_question_that_is_taken_back_is_not_put() {
    let mut tool = call("tools/call", None, None);
    check(&mut tool, r#""id":"q","method":"roots/list""#, "asked");
    let cancel =
        |id: &str| format!(r#""method":"notifications/cancelled","params":{{"requestId":{id}}}"#);
    check(&mut tool, &cancel("\"other\""), "drop");
    assert!(tool.is_asking());
    check(&mut tool, &cancel("\"q\""), "drop");
    assert!(!tool.is_asking());
}

#[test]
fn what_concerns_all_goes_to_listeners_and_what_is_gone_to_nobody() {
    let mut tool = call("tools/call", None, None);
    check(
        &mut tool,
        r#""method":"notifications/tools/list_changed""#,
        "news",
    );
    check(
        &mut tool,
        r#""method":"notifications/resources/updated""#,
        "news",
    );
    check(
        &mut tool,
        r#""method":"notifications/elicitation/complete""#,
        "drop",
    );
    check(
        &mut tool,
        r#""method":"vendor/news""#,
        r#"tell #"method":"vendor/news"}"#,
    );
}

#[test]
fn the_answer_comes_under_the_clients_id() {
    check(
        &mut call("resources/read", None, None),
        r#""id":5,"error":{"code":-32002,"message":"m"}"#,
        r#"finish 400 #"id":"mine","error":{"code":-32602,"message":"m","data":{"uri":"x:1"}}}"#,
    );
}

#[test]
fn a_call_becomes_a_task_only_where_it_was_asked_to() {
    let created = r#""id":5,"result":{"task":{"taskId":"s"}}"#;
    let mut plain = call("tools/call", None, None);
    check(
        &mut plain,
        created,
        r#"finish 200 #"id":"mine","result":{"task":{"taskId":"s"},"resultType":"complete","content":[]}}"#,
    );
    let mut wished = call("tools/call", None, None);
    wished.as_task = true;
    check(&mut wished, created, &format!("task #{created}}}"));
    check(
        &mut wished,
        r#""id":5,"result":{"content":[],"task":{}}"#,
        r#"finish 200 #"id":"mine","result":{"content":[],"task":{},"resultType":"complete"}}"#,
    );
}
