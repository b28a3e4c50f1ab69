use bytes::Bytes;
use lockgate_proto::mcp::sse::{Decoder, Event, TooLarge, encode};
use proptest::prelude::*;

const MAX: usize = 1 << 20;

fn decode(chunks: &[&[u8]], max: usize) -> Result<Vec<Event>, TooLarge> {
    let mut decoder = Decoder::new(max);
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.feed(&Bytes::copy_from_slice(chunk), &mut events)?;
    }
    Ok(events)
}

/// Events of `stream`, written as `name|id|retry|data`, whole and byte by byte.
fn check(stream: &str, expected: &[&str]) {
    let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
    for chunks in [&[stream.as_bytes()][..], &bytes] {
        let found = decode(chunks, MAX).map(|events| events.iter().map(show).collect());
        let expected: Vec<String> = expected.iter().map(|&event| event.to_owned()).collect();
        assert_eq!(found, Ok(expected), "{stream:?} in {} chunks", chunks.len());
    }
}

fn show(event: &Event) -> String {
    let id = event.id.as_deref().unwrap_or("-");
    let retry = event
        .retry_ms
        .map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    let data = String::from_utf8_lossy(&event.data);
    format!("{}|{id}|{retry}|{data}", event.name)
}

#[test]
fn every_line_end_ends_a_line() {
    let expected = ["|-|-|a\nb", "|-|-|c"];
    check("data: a\ndata: b\n\ndata: c\n\n", &expected);
    check("data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", &expected);
    check("data: a\rdata: b\r\rdata: c\r\r", &expected);
    check("data: a\r\ndata: b\n\rdata: c\r\n\n", &expected);
}

#[test]
fn fields_are_read_as_the_standard_says() {
    // The standard's own examples.
    check(
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        &["|1|-|first event", "||-|second event"],
    );
    check("data\n\ndata\ndata\n\ndata:\n", &["|-|-|", "|-|-|\n"]);
    check("data:test\n\ndata: test\n\n", &["|-|-|test", "|-|-|test"]);
    check("event: a\ndata: x\n\ndata: y\n\n", &["a|-|-|x", "|-|-|y"]);
    check("event: lost\n\ndata: y\n\n", &["|-|-|y"]);
    check("DATA: x\ndata : y\nother: z\ndata: a:b\n\n", &["|-|-|a:b"]);
    check("data: cut off\n", &[]);
}

#[test]
fn ids_stay_until_changed() {
    check(
        "id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid:\ndata: d\n\n",
        &["|1|-|a", "|1|-|b", "|1|-|c", "||-|d"],
    );
    check("id: 1\n", &[]);
}

#[test]
fn retry_takes_digits_only() {
    check("retry: 3000\ndata: a\n\n", &["|-|3000|a"]);
    for bad in ["", "1.5", "-1", "1s", "+1", "99999999999999999999999"] {
        check(&format!("retry: {bad}\ndata: a\n\n"), &["|-|-|a"]);
    }
    check("retry: 1\nretry: x\ndata: a\n\n", &["|-|1|a"]);
}

#[test]
fn events_without_data_are_reported_for_their_id_or_retry() {
    check("id: p-1\ndata: \n\n", &["|p-1|-|"]);
    check("id: p-1\n\n", &["|p-1|-|"]);
    check("retry: 5\n\n", &["|-|5|"]);
    check("\n\n\r\n", &[]);
}

#[test]
fn one_byte_order_mark_is_skipped() {
    check("\u{feff}data: a\n\n", &["|-|-|a"]);
    check("\u{feff}\u{feff}data: a\n\ndata: b\n\n", &["|-|-|b"]);
    check("data: \u{feff}a\n\n", &["|-|-|\u{feff}a"]);
    // Starts like the mark and is another character.
    check("\u{fec0}data: x\n\u{feff}data: y\ndata: a\n\n", &["|-|-|a"]);
}

#[test]
fn data_of_one_line_shares_the_chunk() {
    let chunk = Bytes::from_static(b": hi\nid: 1\ndata: {\"a\":1}\n\n");
    let mut events = Vec::new();
    Decoder::new(MAX).feed(&chunk, &mut events).unwrap();
    assert!(chunk.as_ptr_range().contains(&events[0].data.as_ptr()));
}

#[test]
fn the_limit_is_per_event_and_for_good() {
    let max = 20;
    assert_eq!(
        decode(&[b"data: 1234567890abcd\n\n"], max).unwrap().len(),
        1
    );
    assert_eq!(
        decode(&[b"data: 1234567890abcde\n\n"], max),
        Err(TooLarge { max })
    );
    let tail = b"data: 1234567890".as_slice();
    assert_eq!(decode(&[tail, tail], max), Err(TooLarge { max }));
    assert_eq!(
        decode(&[b"data: 12345\ndata: 12345\n\n"], max),
        Err(TooLarge { max })
    );
    let several = b"data: 1234567890\n\n".repeat(9);
    assert_eq!(decode(&[&several], max).unwrap().len(), 9);

    let mut decoder = Decoder::new(max);
    let mut events = Vec::new();
    let long = Bytes::from(vec![b'x'; 21]);
    assert!(decoder.feed(&long, &mut events).is_err());
    let fine = Bytes::from_static(b"\n\ndata: a\n\n");
    assert_eq!(decoder.feed(&fine, &mut events), Err(TooLarge { max }));
    assert_eq!(events, []);
}

#[test]
fn comments_cost_nothing() {
    let comment = [b":".as_slice(), &[b'x'; 100], b"\n"].concat();
    let mut chunks: Vec<&[u8]> = comment.chunks(7).collect();
    chunks.push(b"data: a\n\n");
    assert_eq!(decode(&chunks, 10).unwrap().len(), 1);
}

#[test]
fn events_are_encoded_line_by_line() {
    assert_eq!(encode(None, None, b"{}"), "data: {}\n\n");
    assert_eq!(
        encode(Some("7"), Some(250), b""),
        "id: 7\nretry: 250\ndata: \n\n"
    );
    assert_eq!(
        encode(None, None, b"a\r\nb\rc\nd\n"),
        "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"
    );
    assert_eq!(encode(Some("1\ndata: x"), None, b"a"), "data: a\n\n");
}

/// The standard's algorithm, on the whole stream at once.
fn reference(stream: &str) -> Vec<String> {
    let text = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut lines) = (Vec::new(), Vec::new());
    let mut last_id = None;
    for line in text
        .split_inclusive('\n')
        .filter_map(|l| l.strip_suffix('\n'))
    {
        if !line.is_empty() {
            lines.push(line.split_once(':').unwrap_or((line, "")));
            continue;
        }
        let fields: Vec<_> = lines
            .drain(..)
            .map(|(field, value)| (field, value.strip_prefix(' ').unwrap_or(value)))
            .collect();
        let all = |name| {
            let named = fields.iter().filter(move |(field, _)| *field == name);
            named.map(|(_, value)| *value)
        };
        let id = all("id").rfind(|id| !id.contains('\0'));
        let is_digits = |v: &&str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit());
        let retry = all("retry").rfind(is_digits);
        let data: Vec<&str> = all("data").collect();
        last_id = id.or(last_id);
        if !data.is_empty() || id.is_some() || retry.is_some() {
            events.push(format!(
                "{}|{}|{}|{}",
                all("event").next_back().unwrap_or(""),
                last_id.unwrap_or("-"),
                retry.unwrap_or("-"),
                data.join("\n")
            ));
        }
    }
    events
}

fn any_stream() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => proptest::sample::select(vec!["\n", "\r", "\r\n", "\n\n"]),
        4 => proptest::sample::select(vec!["data: ", "data", ":", "id:", "id: 3", "event: e", "retry: 7"]),
        1 => proptest::sample::select(vec!["\u{feff}", "\0", " ", "é", "{\"a\":1}", "\u{fec0}"]),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_cut_gives_the_events_of_the_standard(
        stream in any_stream(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &stream.as_bytes()[w[0]..w[1]]).collect();
        let found: Vec<String> = decode(&chunks, MAX).unwrap().iter().map(show).collect();
        prop_assert_eq!(found, reference(&stream));
    }

    #[test]
    fn what_is_encoded_is_decoded(
        id in proptest::option::of("[^\r\n\0]{0,9}"),
        retry_ms: Option<u64>,
        data: Vec<u8>,
    ) {
        let events = decode(&[&encode(id.as_deref(), retry_ms, &data)], MAX).unwrap();
        prop_assert_eq!(events.len(), 1);
        prop_assert_eq!(&events[0].id, &id);
        prop_assert_eq!(events[0].retry_ms, retry_ms);
        let same_breaks = String::from_utf8_lossy(&data).replace("\r\n", "\n").replace('\r', "\n");
        prop_assert_eq!(String::from_utf8_lossy(&events[0].data), same_breaks);
    }
}
