use super::super::answer::message_of;
use super::*;

fn uris(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|uri| (*uri).to_owned()).collect()
}

#[test]
fn only_lists_that_the_server_announces_are_listened_to() {
    let filter = |capabilities: &str| Filter::lists(capabilities).map(|filter| filter.request);
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

#[tokio::test]
async fn equal_news_is_told_once_and_to_the_last_reader() {
    let mailbox = Mailbox::default();
    let message = |n: u32| {
        message_of(format!(
            r#"{{"jsonrpc":"2.0","method":"m","params":{{"n":{n}}}}}"#
        ))
        .unwrap()
    };
    let first = mailbox.read();
    mailbox.post(&message(1));
    mailbox.post(&message(2));
    mailbox.post(&message(1));
    assert_eq!(mailbox.next(first).await.unwrap().text(), message(1).text());
    let second = mailbox.read();
    assert!(mailbox.next(first).await.is_none());
    assert_eq!(
        mailbox.next(second).await.unwrap().text(),
        message(2).text()
    );
}
