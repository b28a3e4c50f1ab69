//! A state that was written down in mid-life and read back.

use proptest::prelude::*;

use super::property::odd_message;
use super::*;
use crate::upstream::copy::{through_bytes, through_text};

/// Something that happens to a channel. Owners are told by their order, calls by their number, whether they live or not.
#[derive(Clone, Debug)]
enum Event {
    Attach,
    Detach(u32),
    Listening(u32, bool),
    Request(u32, String),
    Send(u32, String),
    Frame(String),
    Undelivered(String),
    Left(u64),
    Expired(u64),
    Ping,
}

fn request_text() -> impl Strategy<Value = String> {
    let id = prop::sample::select(vec!["1", "2", "3", "\"a\"", "\"\\u0061\"", "\"1\""]);
    let method = prop::sample::select(vec![
        method::INITIALIZE,
        method::TOOLS_CALL,
        method::TOOLS_LIST,
        method::LISTEN,
        method::SET_LEVEL,
        method::SUBSCRIBE,
        method::UNSUBSCRIBE,
    ]);
    let uri = prop::sample::select(vec!["a://x", "a://x/y"]);
    let level = prop::sample::select(vec!["debug", "info", "error", "loud"]);
    let meta = prop::sample::select(vec![
        "{}",
        r#"{"progressToken":"t"}"#,
        r#"{"progressToken":7,"io.modelcontextprotocol/logLevel":"info"}"#,
    ]);
    (id, method, uri, level, meta).prop_map(|(id, method, uri, level, meta)| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"uri":"{uri}","level":"{level}","_meta":{meta}}}}}"#
        )
    })
}

/// What a caller sends that is no request.
fn sent_text() -> impl Strategy<Value = String> {
    let id = prop::sample::select(vec!["1", "2", "\"a\"", "\"x\""]);
    let cancel = id.clone().prop_map(|id| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        )
    });
    let answer = id.prop_map(|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    prop_oneof![cancel, answer]
}

/// What a server says that concerns the calls and wants of its callers.
fn server_text() -> impl Strategy<Value = String> {
    let answer = (
        1..24_u64,
        prop::sample::select(vec!["{}", r#"{"task":{"taskId":"t"}}"#]),
    );
    let refusal = (1..24_u64).prop_map(|n| {
        format!(r#"{{"jsonrpc":"2.0","id":{n},"error":{{"code":-32603,"message":"no"}}}}"#)
    });
    let progress = (1..24_u64).prop_map(|n| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{n}}}}}"#
        )
    });
    let logged = prop::sample::select(vec!["debug", "info", "error"]);
    let told = prop::sample::select(vec!["a://x", "a://x/y", "a://z"]);
    prop_oneof![
        3 => answer.prop_map(|(n, body)| result(n, body).text().to_owned()),
        1 => refusal,
        2 => progress,
        1 => logged.prop_map(|level| super::logged(level).text().to_owned()),
        1 => told.prop_map(|uri| updated(uri).text().to_owned()),
        3 => odd_message(),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::Attach),
        1 => (1..4_u32).prop_map(Event::Detach),
        1 => (1..4_u32, any::<bool>()).prop_map(|(owner, is)| Event::Listening(owner, is)),
        8 => (0..4_u32, request_text()).prop_map(|(owner, text)| Event::Request(owner, text)),
        3 => (0..4_u32, sent_text()).prop_map(|(owner, text)| Event::Send(owner, text)),
        8 => server_text().prop_map(Event::Frame),
        1 => odd_message().prop_map(Event::Undelivered),
        1 => (1..24_u64).prop_map(Event::Left),
        1 => (1..24_u64).prop_map(Event::Expired),
        1 => Just(Event::Ping),
    ]
}

/// What comes of an event: all that a channel says to it, and all that can be asked of it then.
fn come_of(mux: &mut Mux, event: &Event) -> Vec<String> {
    let mut said: Vec<String> = match event {
        Event::Attach => vec![format!("{:?}", mux.attach())],
        Event::Detach(owner) => {
            let Farewell { calls, lines } = mux.detach(Owner(*owner));
            let lines = lines.iter().map(text);
            lines.chain([format!("{calls:?}")]).collect()
        }
        Event::Listening(owner, is) => {
            mux.set_listening(Owner(*owner), *is);
            Vec::new()
        }
        Event::Request(owner, raw) => vec![line(mux, Owner(*owner), &frame(raw))],
        Event::Send(owner, raw) => mux
            .on_send(Owner(*owner), &frame(raw))
            .iter()
            .map(text)
            .collect(),
        Event::Frame(raw) => hear(mux, &frame(raw)),
        Event::Undelivered(raw) => mux.on_undelivered(&frame(raw)).iter().map(show).collect(),
        Event::Left(n) => mux.on_left(*n).iter().map(text).collect(),
        Event::Expired(n) => mux.on_expired(*n).iter().map(text).collect(),
        Event::Ping => vec![text(&mux.ping())],
    };
    let calls = (1..24).map(|n| (mux.may_ask(n), mux.awaits_owner(n)));
    said.push(format!("{:?}", calls.collect::<Vec<_>>()));
    said
}

proptest! {
    /// Whatever happened before, the copy answers to all that happens later as the original does.
    #[test]
    fn a_copy_goes_on_as_the_original(
        sharing in prop::sample::select(vec![Sharing::Stateless, Sharing::Own, Sharing::Shared]),
        before in prop::collection::vec(event(), 0..60),
        later in prop::collection::vec(event(), 0..60),
    ) {
        let mut original = mux(sharing);
        original.attach();
        for event in &before {
            come_of(&mut original, event);
        }
        let mut copies = [through_text(&original), through_bytes(&original)];
        for copy in &copies {
            prop_assert_eq!(copy, &original);
        }
        for event in &later {
            let expected = come_of(&mut original, event);
            for copy in &mut copies {
                prop_assert_eq!(&come_of(copy, event), &expected);
            }
        }
        for copy in &copies {
            prop_assert_eq!(copy, &original);
        }
    }
}

#[test]
fn every_part_of_the_state_is_in_a_copy() {
    let mut original = mux(Sharing::Own);
    let owner = original.attach();
    original.set_listening(owner, true);
    begin(
        &mut original,
        owner,
        &request(
            "\"a\"",
            method::TOOLS_CALL,
            r#"{"_meta":{"progressToken":1}}"#,
        ),
    );
    hear(&mut original, &result(1, r#"{"task":{"taskId":"t"}}"#));
    begin(
        &mut original,
        owner,
        &request("2", method::SUBSCRIBE, r#"{"uri":"a://x"}"#),
    );
    hear(&mut original, &result(2, "{}"));
    let unheard = call(&mut original, owner, "\"a\"");
    let cancel = notification(method::CANCELLED, r#"{"requestId":"a"}"#);
    assert!(original.on_send(owner, &cancel).is_some());
    original.on_left(unheard);
    call(&mut original, owner, "7");
    hear(&mut original, &request("5", method::SAMPLING, "{}"));
    let written = serde_json::to_value(&original).unwrap();
    assert_eq!(
        written,
        serde_json::json!({
            "sharing": "Own",
            "last_call": 4,
            "last_owner": 1,
            "calls": {
                "3": {"owner": 1, "id": "\"a\"", "token": null, "purpose": "Plain", "may_ask": true, "left": true, "cancelled": true},
                "4": {"owner": 1, "id": "7", "token": null, "purpose": "Plain", "may_ask": true, "left": false, "cancelled": false},
            },
            "by_id": [[[1, "\"a\""], 3], [[1, "7"], 4]],
            "left": [3],
            "asked": [{"id": "5", "owner": 1, "call": 4, "at": 4}],
            "tasks": [{"n": 1, "owner": 1, "token": "1"}],
            "ledger": {
                "owners": {"1": {"level": null, "listening": true}},
                "subscribers": {"a://x": [1]},
                "level": null,
            },
        })
    );
    assert_eq!(through_text(&original), original);
    assert_eq!(through_bytes(&original), original);
}
