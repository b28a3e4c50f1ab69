//! Messages of one call, or those that belong to no call.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind, find};
use lockgate_proto::mcp::code;
use tokio::time::{Instant, timeout_at};

use super::handle::Channel;
use super::hub::Begun;
use super::listener::Listener;
use super::mux::Owner;
use super::queue::{Item, Queue};
use crate::error::UpstreamError;
use crate::upstream::link::{Heard, MessageStream, Outgoing, Reply};

/// Messages of one call, or those that belong to no call.
#[derive(Debug)]
pub struct ChannelStream(Inner);

#[derive(Debug)]
enum Inner {
    Call(CallStream),
    Listener(Listener),
}

impl ChannelStream {
    pub(super) fn listener(listener: Listener) -> Self {
        Self(Inner::Listener(listener))
    }

    /// The silence that ends a call is so long from now on.
    pub fn limit_silence(&mut self, limit: Duration) {
        if let Inner::Call(stream) = &mut self.0 {
            stream.limit = limit;
        }
        self.restart_silence();
    }

    /// The silence that ends a call is counted from now on.
    pub fn restart_silence(&mut self) {
        if let Inner::Call(stream) = &mut self.0 {
            stream.quiet_until = Instant::now() + stream.limit;
        }
    }

    /// See [`MessageStream::next`].
    pub async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        match &mut self.0 {
            Inner::Call(stream) => stream.next().await,
            Inner::Listener(listener) => loop {
                match listener.next().await? {
                    Some(Heard::Message(frame)) => return Ok(Some(frame)),
                    Some(Heard::Gap) => {}
                    None => return Ok(None),
                }
            },
        }
    }

    /// See [`MessageStream::hear`].
    pub async fn hear(&mut self) -> Result<Option<Heard>, UpstreamError> {
        match &mut self.0 {
            Inner::Call(stream) => Ok(stream.next().await?.map(Heard::Message)),
            Inner::Listener(listener) => listener.next().await,
        }
    }
}

/// Sends a request and waits for its first message: the answer, or the start of a stream.
///
/// # Cancel safety
///
/// Dropping it gives up the call.
pub(super) async fn call(
    channel: &Channel,
    owner: Owner,
    out: &Outgoing,
) -> Result<Reply, UpstreamError> {
    let started = CallStream::begin(channel, owner, &out.frame, out.timeout).await?;
    let mut stream = match started {
        Started::Stream(stream) => stream,
        Started::Answer(frame) => return Ok(single(frame)),
    };
    let first = stream.next().await?;
    match first {
        Some(frame) if is_answer(&frame) => Ok(single(frame)),
        first => {
            stream.first = first;
            let stream = ChannelStream(Inner::Call(stream));
            Ok(Reply::Stream(MessageStream::Channel(stream)))
        }
    }
}

/// Sends a request of our own and waits for its answer; whatever comes before is passed over.
pub(super) async fn ask(
    channel: &Channel,
    owner: Owner,
    frame: &Frame,
    limit: Duration,
) -> Result<Frame, UpstreamError> {
    let started = CallStream::begin(channel, owner, frame, limit).await?;
    let mut stream = match started {
        Started::Stream(stream) => stream,
        Started::Answer(frame) => return Ok(frame),
    };
    loop {
        let next = stream.next().await?;
        match next {
            Some(frame) if is_answer(&frame) => return Ok(frame),
            Some(_) => {}
            None => return Err(channel.hub().broken("the call ended without an answer")),
        }
    }
}

fn single(frame: Frame) -> Reply {
    let status = http_status(&frame);
    Reply::Single { status, frame }
}

/// HTTP status that 2026-07-28 ties to an error code ("Streamable HTTP", "Error responses"); a channel has none to give.
fn http_status(frame: &Frame) -> u16 {
    let code = frame
        .body()
        .filter(|_| frame.kind() == Kind::Error)
        .and_then(|error| find(error, "code")?.of(error).parse::<i32>().ok());
    match code {
        Some(code::METHOD_NOT_FOUND) => 404,
        Some(
            code::PARSE_ERROR
            | code::INVALID_REQUEST
            | code::INVALID_PARAMS
            | code::HEADER_MISMATCH
            | code::MISSING_CAPABILITY
            | code::UNSUPPORTED_VERSION,
        ) => 400,
        _ => 200,
    }
}

fn is_answer(frame: &Frame) -> bool {
    matches!(frame.kind(), Kind::Result | Kind::Error)
}

/// Messages of one call.
#[derive(Debug)]
struct CallStream {
    channel: Channel,
    call: u64,
    queue: Arc<Queue>,
    first: Option<Frame>,
    limit: Duration,
    quiet_until: Instant,
    over: bool,
}

enum Started {
    Stream(CallStream),
    Answer(Frame),
}

impl CallStream {
    async fn begin(
        channel: &Channel,
        owner: Owner,
        frame: &Frame,
        limit: Duration,
    ) -> Result<Started, UpstreamError> {
        let begun = channel.hub().request(owner, frame, limit).await?;
        Ok(match begun {
            Begun::Answer(frame) => Started::Answer(frame),
            Begun::Call { call, queue } => Started::Stream(Self {
                channel: channel.clone(),
                call,
                queue,
                first: None,
                limit,
                quiet_until: Instant::now() + limit,
                over: false,
            }),
        })
    }

    async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        if let Some(frame) = self.first.take() {
            return Ok(Some(frame));
        }
        if self.over {
            return Ok(None);
        }
        loop {
            let Ok(item) = timeout_at(self.quiet_until, self.queue.next(0)).await else {
                self.on_silence()?;
                continue;
            };
            return self.on_item(item);
        }
    }

    fn on_item(&mut self, item: Item) -> Result<Option<Frame>, UpstreamError> {
        match item {
            Item::Frame(frame) => {
                self.over = is_answer(&frame);
                self.quiet_until = Instant::now() + self.limit;
                Ok(Some(frame))
            }
            Item::End(end) => {
                self.over = true;
                self.channel.hub().failure(end).map_or(Ok(None), Err)
            }
            // The queue of a call has one reader only.
            Item::Replaced => Ok(None),
        }
    }

    fn on_silence(&mut self) -> Result<(), UpstreamError> {
        if !self.channel.hub().expire(self.call) {
            // The server waits for the client: its silence means nothing.
            self.quiet_until = Instant::now() + self.limit;
            return Ok(());
        }
        self.over = true;
        Err(UpstreamError::Timeout {
            server: self.channel.hub().server().clone(),
            limit: self.limit,
        })
    }
}

/// Leaving a call is an event of the protocol, and a caller leaves by dropping its future: there is no other place
/// to see it.
impl Drop for CallStream {
    fn drop(&mut self) {
        // What was read ahead of an answer was not read by anybody either.
        let first = self.first.take();
        if !self.over {
            let first = first.filter(|frame| frame.kind() == Kind::Request);
            let unread = first.into_iter().chain(self.queue.take_requests());
            self.channel.hub().leave(self.call, unread.collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::id::ServerName;
    use lockgate_proto::jsonrpc::Limits;
    use lockgate_proto::mcp::method;

    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::super::hub::Hub;
    use super::super::line::Down;
    use super::super::mux::Sharing;
    use super::super::outbox::Queued;
    use super::*;

    fn frame(text: &str) -> Frame {
        Frame::parse(text.to_owned().into(), &Limits::default()).unwrap()
    }

    /// What the server was sent: kinds and ids.
    fn sent(lines: &mut mpsc::Receiver<Queued>) -> Vec<(Kind, String)> {
        let sent = std::iter::from_fn(|| lines.try_recv().ok());
        let sent = sent.map(|queued| Frame::parse(queued.up.line, &Limits::default()).unwrap());
        sent.map(|frame| (frame.kind(), frame.id().unwrap().to_owned()))
            .collect()
    }

    /// (messages of the server, whether one is read ahead) -> questions that are refused when the caller leaves.
    #[tokio::test]
    async fn a_question_that_nobody_has_read_is_refused_when_its_caller_leaves() {
        let question = |id: u64| {
            let ask = method::ELICITATION;
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{ask}"}}"#)
        };
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned();
        for (said, reads_ahead, refused) in [
            (vec![question(7)], false, vec![7]),
            (vec![question(7), question(8)], true, vec![7, 8]),
            (vec![question(7), answer], false, vec![7]),
        ] {
            let (hub, mut lines) = Hub::new(ServerName::new("s"), 1 << 20);
            assert!(hub.claim(Sharing::Own));
            let owner = hub.attach(hub.queue());
            let channel = Channel::new(
                Arc::clone(&hub),
                CancellationToken::new(),
                Duration::from_secs(5),
            );
            let request = frame(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#);
            let begun = CallStream::begin(&channel, owner, &request, Duration::from_secs(5)).await;
            let Ok(Started::Stream(mut stream)) = begun else {
                panic!("not sent");
            };
            assert_eq!(sent(&mut lines), [(Kind::Request, "1".to_owned())]);
            for (n, line) in (1..).zip(said) {
                let line = line.into();
                hub.on_down(Down { n, line });
            }
            if reads_ahead {
                stream.first = stream.next().await.unwrap();
            }
            drop(stream);
            let refused: Vec<_> = refused
                .into_iter()
                .map(|id| (Kind::Error, id.to_string()))
                .collect();
            assert_eq!(sent(&mut lines), refused);
        }
    }
}
