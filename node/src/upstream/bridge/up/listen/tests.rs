use std::collections::BTreeMap;

use lockgate_proto::mcp::Revision;
use proptest::prelude::*;

use super::super::answer::message_of;
use super::super::profile::Profile;
use super::super::rounds::Rounds;
use super::super::tasks::Tasks;
use super::*;
use crate::upstream::copy::{through_bytes, through_text};
use crate::upstream::link::SessionInit;

fn uris(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|uri| (*uri).to_owned()).collect()
}

#[test]
fn only_lists_that_the_server_announces_are_listened_to() {
    let filter = |capabilities: &str| Some(Wants::new(capabilities).lists()?.request);
    assert_eq!(
        filter(r#"{"tools":{"listChanged":true},"prompts":{},"resources":{"listChanged":true}}"#)
            .as_deref(),
        Some(r#""notifications":{"toolsListChanged":true,"resourcesListChanged":true}"#)
    );
    assert_eq!(filter(r#"{"tools":{"listChanged":false}}"#), None);
    assert_eq!(filter("{}"), None);
}

#[test]
fn what_was_missed_is_all_that_was_wanted() {
    let filter = Filter::resources(&uris(&["b:\"2\"", "a:1"]));
    assert_eq!(
        filter.request,
        r#""notifications":{"resourceSubscriptions":["a:1","b:\"2\""]}"#
    );
    assert_eq!(
        filter.missed,
        [
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"b:\"2\""}}"#,
        ]
    );
}

#[test]
fn a_server_that_does_not_name_a_resource_does_not_honour_it() {
    let honoured = r#"{"resourceSubscriptions":["a:1","b:\/2"]}"#;
    assert!(honours(honoured, "b:/2"));
    assert!(!honours(honoured, "c:3"));
    assert!(!honours("{}", "a:1"));
}

#[test]
fn a_session_hears_if_lists_or_resources_can_change() {
    let is_deaf = |capabilities: &str| Wants::new(capabilities).is_deaf();
    assert!(!is_deaf(r#"{"tools":{"listChanged":true}}"#));
    assert!(!is_deaf(r#"{"resources":{"subscribe":true}}"#));
    assert!(is_deaf(r#"{"tools":{},"resources":{"subscribe":false}}"#));
    assert!(is_deaf(r#"{"resources":{"subscribe":{}}}"#));
}

fn news(n: u8) -> Frame {
    message_of(format!(
        r#"{{"jsonrpc":"2.0","method":"m","params":{{"n":{n}}}}}"#
    ))
    .unwrap()
}

fn state() -> State {
    State {
        introduction: "{}".to_owned().into(),
        profile: Profile::new(&SessionInit {
            revision: Revision::V2025_11_25,
            capabilities: "{}".into(),
            client_info: "{}".into(),
            now_ms: 0,
        }),
        log_level: None,
        wants: Wants::new(r#"{"tools":{"listChanged":true},"resources":{"subscribe":true}}"#),
        rounds: Rounds::default(),
        tasks: Tasks::default(),
        calls: BTreeMap::new(),
    }
}

fn copied(state: &State) -> [State; 2] {
    [through_text(state), through_bytes(state)]
}

#[tokio::test]
async fn equal_news_is_told_once_and_to_the_last_reader() {
    let mailbox = Mailbox::new(Arc::new(Mutex::new(state())));
    let first = mailbox.read();
    mailbox.post(&news(1));
    mailbox.post(&news(2));
    mailbox.post(&news(1));
    assert_eq!(mailbox.next(first).await.unwrap().text(), news(1).text());
    let second = mailbox.read();
    assert!(mailbox.next(first).await.is_none());
    assert_eq!(mailbox.next(second).await.unwrap().text(), news(2).text());
}

#[tokio::test]
async fn what_was_not_read_is_read_from_a_copy_of_the_state() {
    let mailbox = Mailbox::new(Arc::new(Mutex::new(state())));
    mailbox.post(&news(1));
    mailbox.post(&news(2));
    mailbox.next(mailbox.read()).await.unwrap();
    let copies = copied(&mailbox.state().lock());
    for copy in copies {
        let moved = Mailbox::new(Arc::new(Mutex::new(copy)));
        let read = moved.next(moved.read()).await.unwrap();
        assert_eq!(read.text(), news(2).text());
    }
}

#[test]
fn news_that_is_no_message_is_not_taken_for_some() {
    assert!(serde_json::from_str::<Wants>(
        r#"{"lists":[true,false,false],"takes_subscriptions":true,"resources":[],"news":["{}"]}"#
    )
    .is_err());
}

/// What a session and its server do to what it hears.
#[derive(Clone, Copy, Debug)]
enum Step {
    Subscribe(u8),
    Unsubscribe(u8),
    Post(u8),
    Take,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..6_u8).prop_map(Step::Subscribe),
        (0..6_u8).prop_map(Step::Unsubscribe),
        (0..6_u8).prop_map(Step::Post),
        Just(Step::Take),
    ];
    prop::collection::vec(step, 0..40)
}

fn step(wants: &mut Wants, step: Step) -> Option<String> {
    match step {
        Step::Subscribe(n) => drop(wants.resources.insert(format!("a:\"{n}"))),
        Step::Unsubscribe(n) => drop(wants.resources.remove(&format!("a:\"{n}"))),
        Step::Post(n) => wants.news.post(&news(n)),
        Step::Take => return wants.news.take().map(|frame| frame.text().to_owned()),
    }
    None
}

proptest! {
    /// Whatever came before, a copy wants the same of the server, and has the same to tell.
    #[test]
    fn a_copy_hears_what_the_original_hears(before in steps(), later in steps()) {
        let mut original = state();
        for each in before {
            step(&mut original.wants, each);
        }
        let mut copies = copied(&original);
        for each in later {
            let expected = step(&mut original.wants, each);
            for copy in &mut copies {
                prop_assert_eq!(&step(&mut copy.wants, each), &expected);
            }
        }
        for copy in &copies {
            prop_assert_eq!(copy, &original);
            prop_assert_eq!(copy.wants.lists(), original.wants.lists());
            let resources = |of: &State| Filter::resources(&of.wants.resources);
            prop_assert_eq!(resources(copy), resources(&original));
        }
    }
}
