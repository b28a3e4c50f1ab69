//! A reader may break off and resume at any event; it hears everything once and in order.

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;

/// In the first line of readers, after event `n`.
#[expect(clippy::unnecessary_wraps, reason = "as `attach` takes it")]
fn at(n: u64) -> Option<Place> {
    Some(Place { line: 0, n })
}

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
    let mut resumed = log.attach(at(1)).unwrap();
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
    let mut again = log.attach(at(0)).unwrap();
    assert_eq!(texts(&mut again, 3).await, [all[0], all[2], all[3]]);
    log.close_question(8);
    let mut from_the_question = log.attach(at(2)).unwrap();
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
async fn what_a_second_reader_was_given_is_not_given_to_the_first_again() {
    let log = StreamLog::new(1, 0, Arc::default());
    log.push_lossy(Bytes::from_static(b"a"));
    let mut first = log.attach(None).unwrap();
    assert_eq!(texts(&mut first, 1).await, ["1-0-1=a"]);
    let mut second = log.attach(None).unwrap();
    assert_eq!(second.priming().id.unwrap(), "1-0-1-1");
    log.push_lossy(Logged::question(7, Bytes::from_static(b"ask")));
    assert_eq!(texts(&mut second, 1).await, ["1-0-2-1=ask"]);
    log.push_lossy(Bytes::from_static(b"b"));
    let mut first = log.attach(at(1)).unwrap();
    assert_eq!(texts(&mut first, 1).await, ["1-0-3=b"]);
    // The second, whose answer was lost on the way, still has its own.
    let mut second = log.attach(Some(Place { line: 1, n: 1 })).unwrap();
    assert_eq!(texts(&mut second, 1).await, ["1-0-2-1=ask"]);
    assert!(log.attach(Some(Place { line: 2, n: 1 })).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_ended_stream_is_over_for_who_has_heard_all_that_is_open() {
    let log = StreamLog::new(1, 3, Arc::default());
    log.push(Bytes::from_static(b"a")).await;
    log.push(Logged::question(7, Bytes::from_static(b"ask")))
        .await;
    let mut reader = log.attach(None).unwrap();
    texts(&mut reader, 2).await;
    assert!(!reader.is_over());
    log.end(Instant::now());
    assert!(reader.is_over());
    assert!(!log.attach(at(1)).unwrap().is_over());
    log.close_question(7);
    assert!(log.attach(at(1)).unwrap().is_over());
    assert!(!log.attach(at(0)).unwrap().is_over());
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_never_hidden() {
    let log = StreamLog::new(1, 0, Arc::default());
    drop(log.attach(None).unwrap());
    for n in 0..EVENTS_MAX + 5 {
        log.push_lossy(Bytes::from(n.to_string()));
    }
    assert!(log.attach(at(1)).is_none());
    assert!(log.attach(at(5)).is_some());
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
    assert!(log.attach(at(0)).is_none(), "the oldest events are gone");
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
                    let after = id.and_then(EventId::parse).map_or(0, |id| id.place.n);
                    reader = log.attach(at(after)).unwrap();
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

/// What a client with several streams and its server do.
#[derive(Clone, Debug)]
enum Turn {
    Say,
    /// Opens a stream beside those that it has.
    Open,
    /// Goes on with one of them, where it was.
    GoOn(usize),
    /// Takes an event on the stream that is current.
    Take,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        3 => Just(Turn::Say),
        1 => Just(Turn::Open),
        1 => (0..4_usize).prop_map(Turn::GoOn),
        3 => Just(Turn::Take),
    ];
    proptest::collection::vec(turn, 0..80)
}

proptest! {
    #[test]
    fn a_client_with_several_streams_hears_everything_once(turns in turns()) {
        let log = StreamLog::new(1, 0, Arc::default());
        let mut current = log.attach(None).unwrap();
        let mut places = vec![current.position().place];
        let (mut said, mut heard) = (0_u64, Vec::new());
        for turn in turns {
            match turn {
                Turn::Say => {
                    said += 1;
                    log.push_lossy(Bytes::from(said.to_string()));
                }
                Turn::Open => {
                    current = log.attach(None).unwrap();
                    places.push(current.position().place);
                }
                Turn::GoOn(at) => {
                    current = log.attach(Some(places[at % places.len()])).unwrap();
                }
                Turn::Take => {
                    let event = current.next().now_or_never().flatten();
                    heard.extend(event.iter().map(|event| event.data.clone()));
                    let id = event.and_then(|event| EventId::parse(&event.id.unwrap()));
                    if let Some(id) = id {
                        let line = usize::try_from(id.place.line).unwrap();
                        places[line] = id.place;
                    }
                }
            }
        }
        for place in places {
            let mut reader = log.attach(Some(place)).unwrap();
            while let Some(Some(event)) = reader.next().now_or_never() {
                heard.push(event.data);
            }
        }
        heard.sort_by_key(|data| String::from_utf8_lossy(data).parse::<u64>().unwrap());
        let expected: Vec<Bytes> = (1..=said).map(|n| Bytes::from(n.to_string())).collect();
        prop_assert_eq!(heard, expected);
    }
}
