//! A reader may break off and resume at any event; it hears everything once and in order.

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;

async fn texts(reader: &mut Reader, n: usize) -> Vec<String> {
    let mut got = Vec::new();
    for _ in 0..n {
        let event = reader.next().await.unwrap();
        got.push(format!(
            "{}={}",
            event.id.unwrap(),
            String::from_utf8_lossy(&event.data)
        ));
    }
    got
}

#[tokio::test(start_paused = true)]
async fn a_resumed_reader_gets_what_comes_after_its_event() {
    let log = StreamLog::new(1, 3, Arc::default());
    for text in ["a", "b", "c"] {
        log.push(Bytes::from_static(text.as_bytes())).await;
    }
    let mut reader = log.attach(None).unwrap();
    assert_eq!(texts(&mut reader, 2).await, ["1-3-1=a", "1-3-2=b"]);
    drop(reader);
    let mut resumed = log.attach(Some(1)).unwrap();
    assert_eq!(texts(&mut resumed, 2).await, ["1-3-2=b", "1-3-3=c"]);
    log.end(Instant::now());
    assert!(resumed.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_closed_question_is_not_shown_again() {
    let log = StreamLog::new(1, 3, Arc::default());
    log.push(Bytes::from_static(b"a")).await;
    for id in [7, 8] {
        log.push(Logged::question(id, Bytes::from(format!("ask {id}"))))
            .await;
    }
    log.push(Bytes::from_static(b"b")).await;
    let mut reader = log.attach(None).unwrap();
    let all = ["1-3-1=a", "1-3-2=ask 7", "1-3-3=ask 8", "1-3-4=b"];
    assert_eq!(texts(&mut reader, 4).await, all);
    log.close_question(7);
    let mut again = log.attach(Some(0)).unwrap();
    assert_eq!(texts(&mut again, 3).await, [all[0], all[2], all[3]]);
    log.close_question(8);
    let mut from_the_question = log.attach(Some(2)).unwrap();
    assert_eq!(texts(&mut from_the_question, 1).await, [all[3]]);
    assert_eq!(log.bytes(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_closes_unread_leaves_nothing_behind() {
    let ended = Arc::default();
    let log = StreamLog::new(1, 3, Arc::clone(&ended));
    log.push(Logged::question(7, Bytes::from_static(b"ask")))
        .await;
    log.end(Instant::now());
    log.close_question(7);
    log.close_question(7);
    let mut reader = log.attach(None).unwrap();
    assert!(reader.next().await.is_none());
    assert!(log.is_drained());
    drop((reader, log));
    assert_eq!(Arc::try_unwrap(ended).unwrap().bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_reader_ends_the_first() {
    let log = StreamLog::new(1, 0, Arc::default());
    let mut first = log.attach(None).unwrap();
    let _second = log.attach(None).unwrap();
    assert!(first.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_never_hidden() {
    let log = StreamLog::new(1, 0, Arc::default());
    for n in 0..EVENTS_MAX + 5 {
        log.push_lossy(Bytes::from(n.to_string()));
    }
    assert!(log.attach(Some(1)).is_none());
    assert!(log.attach(Some(5)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_full_log_holds_the_producer_until_a_reader_takes_events() {
    let log = StreamLog::new(1, 1, Arc::default());
    let mut reader = log.attach(None).unwrap();
    fill(&log).await;
    let mut blocked = Box::pin(log.push(Bytes::from_static(b"y")));
    assert!(futures_util::poll!(blocked.as_mut()).is_pending());
    reader.next().await.unwrap();
    blocked.await;
}

async fn fill(log: &StreamLog) {
    for _ in 0..EVENTS_MAX {
        log.push(Bytes::from_static(b"x")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_leaves_lets_the_producer_go() {
    let log = StreamLog::new(1, 1, Arc::default());
    let reader = log.attach(None).unwrap();
    fill(&log).await;
    let mut blocked = Box::pin(log.push(Bytes::from_static(b"y")));
    assert!(futures_util::poll!(blocked.as_mut()).is_pending());
    drop(reader);
    let start = Instant::now();
    blocked.await;
    log.push(Bytes::from_static(b"z")).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(log.attach(Some(0)).is_none(), "the oldest events are gone");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_holds_the_producer_for_a_bounded_time() {
    let log = StreamLog::new(1, 1, Arc::default());
    let _reader = log.attach(None).unwrap();
    fill(&log).await;
    let start = Instant::now();
    log.push(Bytes::from_static(b"y")).await;
    assert_eq!(start.elapsed(), STALL_MAX);
}

#[tokio::test(start_paused = true)]
async fn the_last_message_has_room_in_a_full_log() {
    let log = StreamLog::new(1, 1, Arc::default());
    let mut reader = log.attach(None).unwrap();
    fill(&log).await;
    log.finish(Bytes::from_static(b"answer"), Instant::now());
    let got = texts(&mut reader, EVENTS_MAX + 1).await;
    assert!(got.last().unwrap().ends_with("=answer"));
    assert!(reader.next().await.is_none());
}

/// What a client and its server do to one stream.
#[derive(Clone, Debug)]
enum Deed {
    Say,
    /// Take events, and acknowledge each by remembering its id.
    Take(usize),
    /// The connection breaks: events that were taken last are lost on the way.
    Break(usize),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        3 => Just(Deed::Say),
        2 => (1..6_usize).prop_map(Deed::Take),
        1 => (0..4_usize).prop_map(Deed::Break),
    ];
    proptest::collection::vec(deed, 0..80)
}

proptest! {
    #[test]
    fn a_client_that_resumes_hears_everything_once_and_in_order(deeds in deeds()) {
        let log = StreamLog::new(1, 1, Arc::default());
        let mut reader = log.attach(None).unwrap();
        let (mut said, mut heard) = (0_u64, Vec::new());
        for deed in deeds {
            match deed {
                Deed::Say => {
                    said += 1;
                    let data = Bytes::from(said.to_string());
                    prop_assert!(log.push(data).now_or_never().is_some(), "room for all");
                }
                Deed::Take(n) => {
                    for _ in 0..n {
                        heard.extend(reader.next().now_or_never().flatten());
                    }
                }
                Deed::Break(n_lost) => {
                    heard.truncate(heard.len().saturating_sub(n_lost));
                    drop(reader);
                    let id = heard.last().and_then(|event: &Event| event.id.as_deref());
                    let after = id.and_then(EventId::parse).map_or(0, |id| id.n);
                    reader = log.attach(Some(after)).unwrap();
                }
            }
        }
        log.end(Instant::now());
        while let Some(Some(event)) = reader.next().now_or_never() {
            heard.push(event);
        }
        let texts = heard.iter().map(|event| String::from_utf8_lossy(&event.data).into_owned());
        let expected: Vec<String> = (1..=said).map(|n| n.to_string()).collect();
        prop_assert_eq!(texts.collect::<Vec<_>>(), expected);
        prop_assert!(log.is_drained());
    }
}

#[test]
fn event_ids_round_trip() {
    let id = EventId {
        epoch: 1,
        stream: 2,
        n: 3,
    };
    assert_eq!(EventId::parse(&id.to_string()), Some(id));
    for bad in ["", "1-2", "1-2-3-4", "a-b-c", "1--3"] {
        assert_eq!(EventId::parse(bad), None, "{bad}");
    }
}
