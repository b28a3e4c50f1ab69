use lockgate_proto::mcp::Revision;
use proptest::prelude::*;

use super::*;
use crate::upstream::link::SessionInit;

/// As configured by default.
const ROUNDS_MAX: u32 = 8;
const ROUND_MS_MAX: u64 = 600_000;

fn frame(text: &str) -> Frame {
    message_of(text.to_owned()).unwrap()
}

fn profile() -> Profile {
    Profile::new(&SessionInit {
        revision: Revision::V2025_11_25,
        capabilities: r#"{"elicitation":{},"roots":{}}"#.into(),
        client_info: "{}".into(),
        now_ms: 0,
    })
}

fn call(id: &str) -> Frame {
    frame(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"a"}}}}"#
    ))
}

fn wants(body: &str) -> Frame {
    frame(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"input_required"{body}}}}}"#
    ))
}

const ROOTS: &str = r#","inputRequests":{"k":{"method":"roots/list"}},"requestState":"s\/1""#;

fn answer(id: &str, body: &str) -> Frame {
    frame(&format!(r#"{{"jsonrpc":"2.0","id":{id},{body}}}"#))
}

/// Begins a call that the server wants input for; returns the ids of its questions.
fn asked(rounds: &mut Rounds, id: &str, body: &str) -> (Serial, Vec<String>) {
    let serial = rounds.begin(id);
    let asked = rounds.on_wanted(serial, &wants(body), &call(id), &profile(), 0);
    let ids = asked.iter().map(|frame| frame.id().unwrap().to_owned());
    (serial, ids.collect())
}

#[test]
fn answers_go_back_with_the_state_as_it_was_given() {
    let mut rounds = Rounds::default();
    let (serial, ids) = asked(&mut rounds, "7", ROOTS);
    assert!(matches!(rounds.next(serial, 0), Next::Wait(ROUND_MS_MAX)));
    let given = answer(&ids[0], r#""result":{"roots":[ ]}"#);
    assert_eq!(rounds.on_answer(&given), Some(serial));
    let Next::Retry(retry) = rounds.next(serial, 5) else {
        panic!("no retry");
    };
    assert_eq!(
        retry.text(),
        r#"{"jsonrpc":"2.0","id":"7#1","method":"tools/call","params":{"name":"a","inputResponses":{"k":{"roots":[ ]}},"requestState":"s\/1"}}"#
    );
    assert!(matches!(rounds.next(serial, 5), Next::Wait(u64::MAX)));
    assert_eq!(rounds.on_answer(&given), None);
}

#[test]
fn the_next_round_begins_with_the_first_request() {
    let mut rounds = Rounds::default();
    let (serial, ids) = asked(&mut rounds, "7", ROOTS);
    rounds.on_answer(&answer(&ids[0], r#""result":{}"#));
    let Next::Retry(_) = rounds.next(serial, 0) else {
        panic!("no retry");
    };
    let more = wants(r#","inputRequests":{"z":{"method":"roots/list"}}"#);
    let asked = rounds.on_wanted(serial, &more, &call("7"), &profile(), 0);
    rounds.on_answer(&answer(asked[0].id().unwrap(), r#""result":{"roots":[]}"#));
    let Next::Retry(retry) = rounds.next(serial, 0) else {
        panic!("no retry");
    };
    assert_eq!(
        retry.text(),
        r#"{"jsonrpc":"2.0","id":"7#2","method":"tools/call","params":{"name":"a","inputResponses":{"z":{"roots":[]}}}}"#
    );
}

#[test]
fn all_questions_have_to_be_answered() {
    let mut rounds = Rounds::default();
    let two = r#","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"elicitation/create","params":{}}}"#;
    let (serial, ids) = asked(&mut rounds, "1", two);
    assert_eq!(
        rounds.on_answer(&answer(&ids[1], r#""result":{"action":"decline"}"#)),
        None
    );
    assert!(matches!(rounds.next(serial, 1), Next::Wait(_)));
    assert_eq!(rounds.end(serial), [ids[0].parse::<u64>().unwrap()]);
    assert_eq!(
        rounds,
        Rounds {
            next_serial: 1,
            next_question: 2,
            ..Rounds::default()
        }
    );
}

#[track_caller]
fn fails(mut rounds: Rounds, serial: Serial, now_ms: u64, expected: &str) {
    match rounds.next(serial, now_ms) {
        Next::Fail(why) => assert_eq!(why, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_refuses_ends_the_call_for_all_its_questions() {
    let mut rounds = Rounds::default();
    let two = r#","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}"#;
    let (serial, ids) = asked(&mut rounds, "1", two);
    let refusal = answer(&ids[0], r#""error":{"code":-1,"message":"user said no"}"#);
    assert_eq!(rounds.on_answer(&refusal), Some(serial));
    assert_eq!(rounds.clone().end(serial), [ids[1].parse::<u64>().unwrap()]);
    fails(
        rounds,
        serial,
        0,
        "the client refused what the server asked for: user said no",
    );
}

#[test]
fn patience_ends() {
    let mut rounds = Rounds::default();
    let (serial, _) = asked(&mut rounds, "1", ROOTS);
    fails(
        rounds,
        serial,
        ROUND_MS_MAX,
        "the client did not answer the server's questions in time",
    );
    let mut rounds = Rounds::default();
    let serial = rounds.begin("1");
    for _ in 0..ROUNDS_MAX {
        rounds.on_wanted(
            serial,
            &wants(r#","requestState":"s""#),
            &call("1"),
            &profile(),
            0,
        );
        assert!(matches!(
            rounds.next(serial, PAUSE_MS - 1),
            Next::Wait(PAUSE_MS)
        ));
        assert!(matches!(rounds.next(serial, PAUSE_MS), Next::Retry(_)));
    }
    rounds.on_wanted(
        serial,
        &wants(r#","requestState":"s""#),
        &call("1"),
        &profile(),
        0,
    );
    fails(
        rounds,
        serial,
        0,
        "the server asked for input more than 8 times",
    );
}

#[test]
fn what_a_client_cannot_be_asked_fails_the_call() {
    let mut rounds = Rounds::default();
    let (serial, ids) = asked(
        &mut rounds,
        "1",
        r#","inputRequests":{"a":{"method":"sampling/createMessage","params":{}}}"#,
    );
    assert!(ids.is_empty());
    fails(
        rounds,
        serial,
        0,
        "the server needs sampling, which the client did not declare",
    );
    let mut rounds = Rounds::default();
    let (serial, _) = asked(&mut rounds, "1", "");
    fails(rounds, serial, 0, "the server wants input, but names none");
}

#[test]
fn an_answer_that_cannot_be_passed_on_fails_the_call() {
    let mut rounds = Rounds::default();
    let (serial, ids) = asked(&mut rounds, "7", ROOTS);
    let deep = format!(r#""result":{}{}"#, "[".repeat(1022), "]".repeat(1022));
    assert_eq!(rounds.on_answer(&answer(&ids[0], &deep)), Some(serial));
    for _ in 0..2 {
        let Next::Fail(why) = rounds.next(serial, 0) else {
            panic!("not failed");
        };
        assert!(why.contains("cannot be passed on"), "{why}");
    }
}

#[test]
fn a_cancelled_call_asks_nothing_more() {
    let mut rounds = Rounds::default();
    let (serial, ids) = asked(&mut rounds, r#""x""#, ROOTS);
    assert_eq!(rounds.on_cancelled("7"), None);
    assert_eq!(rounds.on_cancelled(r#""x""#), Some(serial));
    assert_eq!(rounds.on_answer(&answer(&ids[0], r#""result":{}"#)), None);
    let more = rounds.on_wanted(serial, &wants(ROOTS), &call("1"), &profile(), 0);
    assert!(more.is_empty());
    assert!(matches!(rounds.next(serial, 0), Next::Cancelled));
    rounds.end(serial);
    assert!(matches!(rounds.next(serial, 0), Next::Cancelled));
}

#[test]
fn a_call_that_begins_anew_forgets_its_rounds_and_stays_cancelled() {
    let mut rounds = Rounds::default();
    let (serial, ids) = asked(&mut rounds, "7", ROOTS);
    rounds.on_answer(&answer(&ids[0], r#""result":{}"#));
    assert!(matches!(rounds.next(serial, 0), Next::Retry(_)));
    rounds.begin_anew(serial);
    let update = frame(r#"{"jsonrpc":"2.0","id":9,"method":"tasks/update","params":{}}"#);
    let asked = rounds.on_wanted(serial, &wants(ROOTS), &update, &profile(), 0);
    rounds.on_answer(&answer(asked[0].id().unwrap(), r#""result":{}"#));
    let Next::Retry(retry) = rounds.next(serial, 0) else {
        panic!("no retry");
    };
    assert_eq!(retry.method(), "tasks/update");
    assert_eq!(retry.id(), Some(r#""7#1""#));

    assert_eq!(rounds.on_cancelled("7"), Some(serial));
    rounds.begin_anew(serial);
    assert!(matches!(rounds.next(serial, 0), Next::Cancelled));
}

/// What can happen to two calls that run at the same time.
#[derive(Clone, Debug)]
enum Happens {
    Wants(usize, u8),
    /// The client answers the question with this position among all that were asked.
    Answers(usize, bool),
    Cancels(usize),
    Looks(usize),
    TimePasses(u64),
    /// The client, or the server, goes away in the middle.
    Ends(usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        (0..2_usize, 0..3_u8).prop_map(|(call, n)| Happens::Wants(call, n)),
        (0..12_usize, any::<bool>()).prop_map(|(at, ok)| Happens::Answers(at, ok)),
        (0..2_usize).prop_map(Happens::Cancels),
        (0..2_usize).prop_map(Happens::Looks),
        (0..700_000_u64).prop_map(Happens::TimePasses),
        (0..2_usize).prop_map(Happens::Ends),
    ]
}

/// One call as its shell sees it.
#[derive(Debug)]
struct Shell {
    serial: Serial,
    id: &'static str,
    over: bool,
    /// Whether the server has the word: only then it can want something.
    sent: bool,
    /// Questions of the present round and whether they were answered.
    open: Vec<(String, bool)>,
}

impl Shell {
    fn end(&mut self, rounds: &mut Rounds) {
        self.over = true;
        let left: Vec<String> = rounds.end(self.serial).iter().map(u64::to_string).collect();
        // Only what was really asked and not answered is taken back.
        for id in left {
            assert!(self.open.contains(&(id, false)));
        }
    }

    fn look(&mut self, rounds: &mut Rounds, now_ms: u64) {
        match rounds.next(self.serial, now_ms) {
            Next::Wait(until) => assert!(until > now_ms),
            Next::Retry(frame) => {
                assert!(!self.sent, "sent twice");
                assert!(self.open.iter().all(|(_, answered)| *answered));
                let own = format!("\"{}#", self.id);
                assert!(
                    frame.id().unwrap().starts_with(&own),
                    "another call's request"
                );
                // Each answer carries the call that it was meant for.
                if let Some(key) = frame.param(&["inputResponses"]) {
                    let responses = key.of(frame.text());
                    for member in members(responses) {
                        assert_eq!(member.value, format!(r#"{{"for":"{}"}}"#, self.id));
                    }
                }
                self.sent = true;
                self.open.clear();
            }
            Next::Fail(_) | Next::Cancelled => self.end(rounds),
        }
    }
}

proptest! {
    /// Any interleaving of two calls ends each once, leaves nothing behind and mixes no answers up.
    #[test]
    fn calls_end_once_and_get_their_own_answers(script in proptest::collection::vec(happens(), 0..60)) {
        let mut rounds = Rounds::default();
        let mut shells: Vec<Shell> = ["1", "2"]
            .into_iter()
            .map(|id| Shell { serial: rounds.begin(id), id, over: false, sent: true, open: Vec::new() })
            .collect();
        let mut asked: Vec<(usize, String)> = Vec::new();
        let mut now_ms = 0;
        for step in script {
            match step {
                Happens::Wants(at, n) => {
                    let shell = &mut shells[at];
                    if shell.over || !shell.sent {
                        continue;
                    }
                    let inputs: Vec<String> = (0..n).map(|k| format!(r#""k{k}":{{"method":"roots/list"}}"#)).collect();
                    let body = format!(r#","inputRequests":{{{}}},"requestState":"s""#, inputs.join(","));
                    let frames = rounds.on_wanted(shell.serial, &wants(&body), &call(shell.id), &profile(), now_ms);
                    shell.sent = false;
                    shell.open = frames.iter().map(|frame| (frame.id().unwrap().to_owned(), false)).collect();
                    asked.extend(shell.open.iter().map(|(id, _)| (at, id.clone())));
                }
                Happens::Answers(at, ok) => {
                    let Some((of, id)) = asked.get(at).cloned() else { continue };
                    let body = if ok {
                        format!(r#""result":{{"for":"{}"}}"#, shells[of].id)
                    } else {
                        r#""error":{"code":-1,"message":"no"}"#.to_owned()
                    };
                    let woken = rounds.on_answer(&answer(&id, &body));
                    prop_assert!(woken.is_none() || woken == Some(shells[of].serial));
                    if let Some(open) = shells[of].open.iter_mut().find(|(open, _)| *open == id) {
                        open.1 = true;
                    }
                    if woken.is_some() {
                        shells[of].look(&mut rounds, now_ms);
                    }
                }
                Happens::Cancels(at) => {
                    if rounds.on_cancelled(shells[at].id).is_some() {
                        prop_assert!(!shells[at].over, "cancelled after its end");
                        shells[at].look(&mut rounds, now_ms);
                        prop_assert!(shells[at].over);
                    }
                }
                Happens::Looks(at) => {
                    if !shells[at].over {
                        shells[at].look(&mut rounds, now_ms);
                    }
                }
                Happens::TimePasses(ms) => now_ms += ms,
                Happens::Ends(at) => {
                    if !shells[at].over {
                        shells[at].end(&mut rounds);
                    }
                }
            }
            let live = shells.iter().filter(|shell| !shell.over).count();
            prop_assert_eq!(rounds.calls.len(), live);
            let text = serde_json::to_string(&rounds).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Rounds>(&text).unwrap(), &rounds);
        }
        for shell in &mut shells {
            if !shell.over {
                shell.end(&mut rounds);
            }
        }
        prop_assert!(rounds.calls.is_empty());
    }
}

#[test]
fn rounds_and_waits_are_bounded_as_configured() {
    let bridge = config::Bridge {
        wait: std::time::Duration::from_secs(3),
        rounds_session_max: 1,
        ..config::Bridge::default()
    };
    let limits = Limits::from(bridge);
    assert_eq!(Rounds::new(bridge).limits, limits);
    assert_eq!((limits.rounds_max, limits.wait_ms_max), (1, 3_000));
    assert_eq!(Limits::default().wait_ms_max, ROUND_MS_MAX);
    assert_eq!(Limits::default().rounds_max, ROUNDS_MAX);
}
