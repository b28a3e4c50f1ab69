//! Any order of events.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Call { owner: usize, id: u8 },
    Answer(prop::sample::Index),
    Leave(prop::sample::Index),
    Expire(prop::sample::Index),
    Progress(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pick = any::<prop::sample::Index>;
    let step = prop_oneof![
        4 => (0..3_usize, any::<u8>()).prop_map(|(owner, id)| Step::Call { owner, id }),
        3 => pick().prop_map(Step::Answer),
        1 => pick().prop_map(Step::Leave),
        1 => pick().prop_map(Step::Expire),
        2 => pick().prop_map(Step::Progress),
    ];
    prop::collection::vec(step, 1..120)
}

/// What the test knows of a call in flight.
#[derive(Debug)]
struct Known {
    id: String,
    left: bool,
}

fn one(mux: &mut Mux, frame: Frame) -> Effect {
    let mut effects = mux.on_frame(frame);
    assert_eq!(effects.len(), 1);
    effects.remove(0)
}

fn leave_nothing(mut mux: Mux, owners: [Owner; 3]) {
    for owner in owners {
        mux.detach(owner);
    }
    let mut rest = mux.calls.values();
    assert!(rest.all(|call| call.purpose == Purpose::Own));
    assert!(mux.asked.is_empty() && mux.by_id.is_empty());
}

proptest! {
    /// Whatever the order: every answer and progress goes to the call it belongs to, under the caller's id, once;
    /// and nothing is kept of what is over.
    #[test]
    fn every_answer_finds_its_caller(steps in steps(), shared in any::<bool>()) {
        let mut mux = mux(if shared { Sharing::Shared } else { Sharing::Stateless });
        let owners = [mux.attach(), mux.attach(), mux.attach()];
        let mut known: HashMap<u64, Known> = HashMap::new();
        let mut order: Vec<u64> = Vec::new();
        for step in steps {
            if let Step::Call { owner, id } = step {
                let id = format!("\"{id}-{}\"", order.len());
                let params = format!(r#"{{"_meta":{{"progressToken":{id}}}}}"#);
                let n = begin(&mut mux, owners[owner], &request(&id, "tools/call", &params));
                let earlier = known.insert(n, Known { id, left: false });
                prop_assert!(earlier.is_none());
                order.push(n);
                continue;
            }
            let (Step::Answer(at) | Step::Leave(at) | Step::Expire(at) | Step::Progress(at)) = step else {
                continue;
            };
            if order.is_empty() {
                continue;
            }
            let n = *at.get(&order);
            let call = known.get(&n).map(|call| (call.id.clone(), call.left));
            match step {
                Step::Answer(_) => {
                    let effect = show(&one(&mut mux, result(n, "{}")));
                    match call {
                        Some((id, false)) => prop_assert_eq!(
                            effect,
                            format!(r#"finish {n} {{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
                        ),
                        _ => prop_assert!(effect.starts_with("drop")),
                    }
                    known.remove(&n);
                }
                Step::Progress(_) => {
                    let params = format!(r#"{{"progressToken":{n}}}"#);
                    let effect = show(&one(&mut mux, notification(method::PROGRESS, &params)));
                    match call {
                        Some((id, false)) => {
                            let place = format!("pass {n} ");
                            prop_assert!(effect.starts_with(&place));
                            prop_assert!(effect.contains(&id));
                        }
                        _ => prop_assert!(effect.starts_with("drop")),
                    }
                }
                Step::Leave(_) => {
                    // A stream is left once.
                    if let Some((_, false)) = call {
                        let line = mux.on_left(n);
                        prop_assert_eq!(line.is_some(), !shared);
                        match known.get_mut(&n).filter(|_| shared) {
                            Some(call) => call.left = true,
                            None => drop(known.remove(&n)),
                        }
                    }
                }
                Step::Expire(_) => {
                    prop_assert_eq!(mux.on_expired(n).is_some(), call.is_some());
                    known.remove(&n);
                }
                Step::Call { .. } => {}
            }
            prop_assert_eq!(mux.calls.len(), known.len());
            prop_assert_eq!(mux.by_id.len(), if shared { known.len() } else { 0 });
            prop_assert_eq!(mux.left.len(), known.values().filter(|call| call.left).count());
        }
        leave_nothing(mux, owners);
    }
}

/// Messages with members of the wrong kind, or none.
pub(super) fn odd_message() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "null",
        "1",
        "2",
        "-1",
        "18446744073709551616",
        "\"1\"",
        "\"\\u0031\"",
        "{}",
        "[]",
        "true",
    ]);
    let name = prop::sample::select(vec![
        "requestId",
        "progressToken",
        "uri",
        "level",
        "_meta",
        "io.modelcontextprotocol/subscriptionId",
    ]);
    let params = (name.clone(), value.clone(), name, value.clone()).prop_map(|(a, x, b, y)| {
        format!(
            r#"{{"{a}":{x},"{b}":{y},"_meta":{{"io.modelcontextprotocol/subscriptionId":{x}}}}}"#
        )
    });
    let methods = prop::sample::select(vec![
        method::CANCELLED,
        method::PROGRESS,
        method::LOG_MESSAGE,
        method::RESOURCE_UPDATED,
        method::TASK_STATUS,
        method::PING,
        method::SAMPLING,
        "",
    ]);
    let id = prop::sample::select(vec!["0", "1", "2", "3", "\"1\"", "\"x\""]);
    prop_oneof![
        (methods.clone(), params.clone())
            .prop_map(|(m, p)| format!(r#"{{"jsonrpc":"2.0","method":"{m}","params":{p}}}"#)),
        (methods, params, id.clone()).prop_map(|(m, p, id)| format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{m}","params":{p}}}"#
        )),
        (id, value).prop_map(|(id, v)| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{v}}}"#)),
    ]
}

proptest! {
    /// Whatever the server says, each call ends at most once and what goes on is a message.
    #[test]
    fn a_server_that_talks_nonsense_breaks_nothing(
        messages in prop::collection::vec(odd_message(), 1..60),
        sharing in prop::sample::select(vec![Sharing::Stateless, Sharing::Own, Sharing::Shared]),
    ) {
        let mut mux = mux(sharing);
        let owner = mux.attach();
        begin(&mut mux, owner, &request("1", method::TOOLS_CALL, r#"{"_meta":{"progressToken":1}}"#));
        begin(&mut mux, owner, &request("2", method::LISTEN, "{}"));
        begin(&mut mux, owner, &request("3", method::SUBSCRIBE, r#"{"uri":"1"}"#));
        let mut finished = Vec::new();
        for text in messages {
            for effect in mux.on_frame(frame(&text)) {
                if let Effect::Finish(n, _) = effect {
                    prop_assert!(!finished.contains(&n));
                    finished.push(n);
                }
                if let Effect::Reply(line) = effect {
                    let reply = Frame::parse(line, &Limits::default());
                    prop_assert!(reply.is_ok());
                }
            }
        }
    }
}
