//! One WebSocket: text frames in and out, pings, and an end that says why.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::ingress::duplex::{End, Line, Outbox, Violation};

/// The client is pinged this often. Source: as HTTP/2 connections are (`http::H2_PING_EVERY`).
const PING_EVERY: Duration = Duration::from_secs(30);
/// A client of which nothing was heard for so long, not even two pongs, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(70);
/// One frame has this long to leave.
const WRITE_MAX: Duration = Duration::from_secs(30);
/// The closing handshake has this long, and so has what was sent before it to arrive.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Room for reading; larger messages get room of their own while they come in.
const READ_BUFFER_BYTES: usize = 4 << 10;

type Sink<S> = SplitSink<WebSocketStream<S>, Message>;
type Source<S> = SplitStream<WebSocketStream<S>>;

/// Serves `line` on an upgraded connection until either side ends it.
pub(in crate::ingress) async fn serve<S>(io: S, line: Arc<Line>, outbox: Outbox)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let bytes_max = line.limits().body_bytes_max;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max));
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let (mut sink, mut source) = socket.split();
    let heard = async {
        tokio::select! {
            end = hear(&line, &mut source) => end,
            end = line.mute_for(line.limits().read_timeout) => end,
        }
    };
    let writing = async {
        tokio::select! {
            // Ends early when nothing can be written any more: the queue is gone then, and the line ends by that.
            () = speak(&mut sink, outbox) => {}
            () = line.overdue(WRITE_MAX) => {}
        }
    };
    let (end, ()) = join(line.live(heard), writing).await;
    tracing::debug!(?end, "websocket ended");
    let _in_time = timeout(CLOSE_MAX, say_goodbye(sink, source, end)).await;
}

/// Reads frames until the client goes, or does what it may not.
async fn hear<S>(line: &Arc<Line>, source: &mut Source<S>) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        // The time in which a message is handled does not count as silence.
        let Ok(next) = timeout(SILENCE_MAX, source.next()).await else {
            return End::Silent;
        };
        let text: Bytes = match next {
            Some(Ok(Message::Text(text))) => text.into(),
            Some(Ok(Message::Binary(_))) => return End::Violation(Violation::Binary),
            // Pongs are sent by the protocol machine; a raw frame is never read.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Close(_))) | None => return End::Gone,
            Some(Err(error)) => return broken(&error),
        };
        if let Err(error) = line.take_own(text.clone()).await {
            line.refuse_text(&text, &error).await;
        }
    }
}

fn broken(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Violation(Violation::TooLarge),
        Error::Utf8(_) => End::Violation(Violation::Encoding),
        Error::Protocol(_) | Error::AttackAttempt => End::Violation(Violation::Framing),
        _ => End::Gone,
    }
}

/// Writes the queue, and a ping from time to time.
async fn speak<S>(sink: &mut Sink<S>, mut outbox: Outbox)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            biased;
            message = outbox.next() => match message.map(Utf8Bytes::try_from) {
                Some(Ok(text)) => Message::Text(text),
                // Messages were read as text: this one can't be anything else.
                Some(Err(error)) => {
                    tracing::error!(%error, "a message for a websocket is no text");
                    return;
                }
                None => return,
            },
            _now = pings.tick() => Message::Ping(Bytes::new()),
        };
        match timeout(WRITE_MAX, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Sends the close frame and waits until the client has seen it: an end of the connection with unread bytes in it
/// would take away from the client what it has not read yet.
async fn say_goodbye<S>(mut sink: Sink<S>, source: Source<S>, end: End)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (code, reason) = farewell(end);
    let frame = CloseFrame {
        code,
        reason: Utf8Bytes::from_static(reason),
    };
    // Fails when the client closed first: then the answer to its close frame is flushed.
    let _closed_already = sink.send(Message::Close(Some(frame))).await;
    let _flushed = sink.close().await;
    let Ok(socket) = source.reunite(sink) else {
        return;
    };
    let mut io = socket.into_inner();
    let _told = io.shutdown().await;
    let mut unread = [0; 4096];
    while io.read(&mut unread).await.is_ok_and(|n| n > 0) {}
}

/// Close code and reason (RFC 6455, section 7.4.1).
fn farewell(end: End) -> (CloseCode, &'static str) {
    match end {
        End::Gone => (CloseCode::Normal, ""),
        End::Session => (CloseCode::Normal, "the session ended"),
        End::Shutdown => (CloseCode::Away, "this node is shutting down"),
        End::Withdrawn => (CloseCode::Policy, "the credential is not valid any more"),
        End::Silent => (CloseCode::Policy, "nothing was heard"),
        End::Stalled => (CloseCode::Policy, "messages were not taken"),
        End::Violation(Violation::TooLarge) => (CloseCode::Size, "the message is over the limit"),
        End::Violation(Violation::Binary) => (CloseCode::Unsupported, "messages are text"),
        End::Violation(Violation::Encoding) => (CloseCode::Invalid, "text is UTF-8"),
        End::Violation(Violation::Framing) => (CloseCode::Protocol, "the frame cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;
    use crate::ingress::duplex::tests::{INITIALIZE, Node};

    /// The client's end of a WebSocket whose server's end is served.
    fn serving(node: &Node) -> (DuplexStream, impl Future<Output = ()> + use<>) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (line, outbox) = node.line();
        (theirs, serve(ours, line, outbox))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_no_ping_is_left() {
        let node = Node::start();
        let (mut client, served) = serving(&node);
        let begun = Instant::now();
        let talk = async {
            // A text frame with a mask of zeroes.
            let length = u16::try_from(INITIALIZE.len()).unwrap().to_be_bytes();
            let head = [&[0x81, 0x80 | 126][..], &length, &[0; 4]].concat();
            client.write_all(&head).await.unwrap();
            client.write_all(INITIALIZE.as_bytes()).await.unwrap();
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let ((), heard) = join(served, talk).await;
        let lasted = begun.elapsed().as_secs();
        assert!((70..75).contains(&lasted), "{lasted} s");
        let pings = heard.windows(2).filter(|two| two == &[0x89, 0x00]).count();
        assert_eq!(pings, 2);
        let close = heard
            .windows(4)
            .any(|four| four[0] == 0x88 && four[2..] == 1008_u16.to_be_bytes());
        assert!(close, "{heard:?}");
        assert_eq!(node.sessions(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_pings_stays() {
        let node = Node::start();
        let (client, served) = serving(&node);
        let talk = async {
            let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
            client.send(Message::text(INITIALIZE)).await.unwrap();
            while client.next().await.is_some_and(|frame| frame.is_ok()) {}
        };
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, join(served, talk)).await.is_err());
        assert_eq!(node.sessions(), 1);
    }

    #[test]
    fn broken_rules_have_their_codes() {
        let code = |violation| u16::from(farewell(End::Violation(violation)).0);
        assert_eq!(code(Violation::Framing), 1002);
        assert_eq!(code(Violation::Binary), 1003);
        assert_eq!(code(Violation::Encoding), 1007);
        assert_eq!(code(Violation::TooLarge), 1009);
        assert_eq!(u16::from(farewell(End::Shutdown).0), 1001);
        assert_eq!(u16::from(farewell(End::Withdrawn).0), 1008);
    }
}
