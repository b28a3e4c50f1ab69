//! One request of a caller, and the stream that it reads.

use std::sync::Arc;

use lockgate_proto::jsonrpc::{Frame, Kind, Limits};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::Session;
use super::setting::LIMIT;
use crate::error::UpstreamError;
use crate::task::spawn_named;
use crate::upstream::CallClass;
use crate::upstream::bridge::UpStream;
use crate::upstream::link::{MessageStream, Outgoing, Reply};

/// Member of `_meta` by which the server knows the request that began a call: on the way its id is another.
pub(super) const REQUEST: &str = "test/request";

/// A request that has no answer yet. To drop it is to go away.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) request: usize,
    pub(super) by: usize,
    /// Number of its session.
    pub(super) session: usize,
    heard: Arc<Mutex<Heard>>,
    /// Where its stream is while nobody reads.
    stream: Slot,
    /// Whether it reads its stream.
    reads: watch::Sender<bool>,
    /// Since when it does, or did.
    pub(super) awake: Instant,
    pub(super) task: JoinHandle<Result<Frame, UpstreamError>>,
}

/// Holds a stream, so that it outlives whoever reads it.
type Slot = Arc<tokio::sync::Mutex<Option<MessageStream>>>;

#[derive(Debug, Default)]
struct Heard {
    /// Whether the answer has begun to come, as a stream.
    is_streaming: bool,
    /// What came before the answer and was not looked at, and when it was read.
    frames: Vec<(Instant, Frame)>,
}

impl Client {
    pub(super) fn send(session: &Session, number: usize, by: usize, request: usize) -> Self {
        let (reads, reading) = watch::channel(true);
        let (heard, stream) = (Arc::<Mutex<Heard>>::default(), Slot::default());
        let (hearing, slot) = (Arc::clone(&heard), Arc::clone(&stream));
        let call = run(session.clone(), request, hearing, slot, reading);
        Self {
            request,
            by,
            session: number,
            heard,
            stream,
            reads,
            awake: Instant::now(),
            task: spawn_named("a client", call),
        }
    }

    /// What it was sent since the last look.
    pub(super) fn heard(&self) -> Vec<(Instant, Frame)> {
        std::mem::take(&mut self.heard.lock().frames)
    }

    /// Stops reading, and gives the stream that it read, if it has one.
    pub(super) async fn put_down(&mut self) -> Option<UpStream> {
        self.task.abort();
        let stopped = (&mut self.task).await;
        assert!(stopped.is_err_and(|error| error.is_cancelled()));
        let stream = self.stream.lock().await.take();
        stream.map(|stream| match stream {
            MessageStream::Up(stream) => *stream,
            other => panic!("not of this bridge: {other:?}"),
        })
    }

    /// Goes on with another stream of the same call.
    pub(super) fn go_on(&mut self, stream: UpStream) {
        let stream = MessageStream::Up(Box::new(stream));
        self.stream = Arc::new(tokio::sync::Mutex::new(Some(stream)));
        let (heard, slot) = (Arc::clone(&self.heard), Arc::clone(&self.stream));
        let reading = self.reads.subscribe();
        self.task = spawn_named("a client", read(heard, slot, reading));
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.heard.lock().is_streaming
    }

    pub(super) fn is_reading(&self) -> bool {
        *self.reads.borrow()
    }

    /// Goes on to read, or does not for a while.
    pub(super) fn set_reading(&mut self, reads: bool) {
        if reads && !self.is_reading() {
            self.awake = Instant::now();
        }
        self.reads.send_replace(reads);
    }
}

/// Raw id of a request. Clients use numbers and strings.
pub(super) fn raw_id(request: usize) -> String {
    if request.is_multiple_of(2) {
        request.to_string()
    } else {
        format!("\"r{request}\"")
    }
}

fn call(request: usize) -> Outgoing {
    let id = raw_id(request);
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t","_meta":{{"progressToken":{id},"{REQUEST}":{request}}}}}}}"#
    );
    let frame = Frame::parse(text.into(), &Limits::default()).unwrap();
    Outgoing::plain(frame, LIMIT)
}

async fn run(
    session: Session,
    request: usize,
    heard: Arc<Mutex<Heard>>,
    slot: Slot,
    reading: watch::Receiver<bool>,
) -> Result<Frame, UpstreamError> {
    let reply = session.call(call(request), CallClass::Effect).await?;
    // The session may move while its calls go on.
    drop(session);
    match reply {
        Reply::Single { frame, .. } => return Ok(frame),
        Reply::Stream(stream) => *slot.lock().await = Some(stream),
    }
    heard.lock().is_streaming = true;
    read(heard, slot, reading).await
}

/// Reads a stream to its end; then it is gone.
async fn read(
    heard: Arc<Mutex<Heard>>,
    slot: Slot,
    mut reading: watch::Receiver<bool>,
) -> Result<Frame, UpstreamError> {
    let mut held = slot.lock().await;
    let stream = held.as_mut().unwrap();
    let answer = loop {
        match next(stream, &mut reading).await {
            Ok(frame) if matches!(frame.kind(), Kind::Result | Kind::Error) => {
                let more = stream.next().await;
                assert!(matches!(more, Ok(None)), "{more:?} after the answer");
                break Ok(frame);
            }
            Ok(frame) => heard.lock().frames.push((Instant::now(), frame)),
            Err(error) => break Err(error),
        }
    };
    *held = None;
    answer
}

/// The next message, once it is looked for. What is not read is not lost, nor does it come twice.
async fn next(
    stream: &mut MessageStream,
    reading: &mut watch::Receiver<bool>,
) -> Result<Frame, UpstreamError> {
    loop {
        reading.wait_for(|reads| *reads).await.map(drop).unwrap();
        let got = tokio::select! {
            biased;
            _changed = reading.changed() => continue,
            got = stream.next() => got?,
        };
        return Ok(got.expect("a call ends with an answer"));
    }
}
