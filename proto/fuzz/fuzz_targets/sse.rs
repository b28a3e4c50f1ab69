//! Any bytes as an event stream: how it is cut into chunks changes nothing.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use lockgate_proto::mcp::sse::{Decoder, Event, encode};

const BYTES_MAX: usize = 512;

fuzz_target!(|data: &[u8]| {
    // The first byte says where the stream is cut.
    let Some((&seed, stream)) = data.split_first() else {
        return;
    };
    let whole = decode(stream, stream.len().max(1));
    let cut = decode(stream, usize::from(seed % 16) + 1);
    assert_eq!(whole.0, cut.0);
    // Where an endless line is refused depends on the chunks, but not that it is refused.
    assert_eq!(whole.1, cut.1);
    for event in whole.0 {
        check_encode(&event);
    }
});

fn decode(stream: &[u8], chunk: usize) -> (Vec<Event>, bool) {
    let mut decoder = Decoder::new(BYTES_MAX);
    let mut events = Vec::new();
    for chunk in stream.chunks(chunk) {
        if decoder
            .feed(&Bytes::copy_from_slice(chunk), &mut events)
            .is_err()
        {
            return (events, true);
        }
    }
    (events, false)
}

/// What we encode is what we decode, unless the line ends of `data` were ambiguous.
fn check_encode(event: &Event) {
    let text = encode(event.id.as_deref(), event.retry_ms, &event.data);
    let mut decoder = Decoder::new(usize::MAX);
    let mut events = Vec::new();
    decoder.feed(&text, &mut events).expect("no limit");
    let [decoded] = events.as_slice() else {
        panic!("one event became {}", events.len());
    };
    assert_eq!(decoded.data, event.data);
    assert_eq!(decoded.id, event.id);
    assert_eq!(decoded.retry_ms, event.retry_ms);
}
