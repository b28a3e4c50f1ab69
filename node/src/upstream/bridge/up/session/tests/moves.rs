//! What goes along when a session moves, one thing after the other.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Kind, Limits};
use tokio::time::{sleep, timeout};

use super::super::{Session, State};
use super::setting::{self, LIMIT, Setting};
use crate::error::UpstreamError;
use crate::upstream::bridge::UpStream;
use crate::upstream::bridge::down::NoRoom;
use crate::upstream::copy::{through_bytes, through_text};
use crate::upstream::link::{MessageStream, Outgoing, Reply};
use crate::upstream::shared::Shared;
use crate::upstream::transport::channel::FarEnd;
use crate::upstream::{CallClass, WaitingRoom};

/// A session and its server.
struct Peers {
    shared: Arc<Shared>,
    session: Session,
    far: FarEnd,
}

impl Peers {
    async fn new() -> Self {
        Self::in_room(setting::room(9)).await
    }

    async fn in_room(room: Arc<WaitingRoom>) -> Self {
        let shared = Setting { are_apart: false }.server_in(room).await;
        let far = setting::connect(&shared, 0).await;
        let session = setting::session(&shared, 0, 0).await;
        Self {
            shared,
            session,
            far,
        }
    }

    /// A request that the server answers so, with a result, and what the client has of it.
    async fn call(&mut self, method: &str, params: &str, answer: &str) -> Reply {
        let calling = self
            .session
            .call(request(method, params), CallClass::Effect);
        let (reply, _asked) = tokio::join!(calling, answered(&mut self.far, answer));
        reply.unwrap()
    }

    /// Its session goes on at another node, from what was written on its own.
    async fn moved(&mut self, streams: Vec<UpStream>) -> Vec<UpStream> {
        let now_ms = self.session.now_ms();
        let state = written(&self.session.clone().leave(streams).await);
        let key = setting::key(0, 1);
        let resumed = Session::resume(Arc::clone(&self.shared), key, state, now_ms).await;
        let (session, streams) = resumed.unwrap();
        self.session = session;
        streams
    }
}

fn written(state: &State) -> State {
    let read = through_bytes(state);
    assert_eq!([&read, &through_text(state)], [state; 2]);
    read
}

fn frame(text: String) -> Frame {
    Frame::parse(text.into(), &Limits::default()).unwrap()
}

fn request(method: &str, params: &str) -> Outgoing {
    let text = format!(r#"{{"jsonrpc":"2.0","id":"c","method":"{method}","params":{params}}}"#);
    Outgoing::plain(frame(text), LIMIT)
}

/// The next request that the server is sent, which it answers so.
async fn answered(far: &mut FarEnd, result: &str) -> Frame {
    loop {
        let heard = hear(far).await;
        if heard.kind() == Kind::Request {
            let id = heard.id().unwrap();
            far.say(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
            ));
            return heard;
        }
        // A look at a task may be given up, the task itself may not.
        assert_eq!(heard.method(), "notifications/cancelled");
    }
}

/// What the server hears, when its client hears nothing of what comes of that.
async fn unheard(stream: &mut UpStream, heard: impl Future<Output = Frame>) -> Frame {
    let moment = Duration::from_millis(10);
    let silence = async { timeout(moment, stream.next()).await };
    let (got, heard) = tokio::join!(silence, heard);
    assert!(got.is_err(), "{got:?}");
    heard
}

/// The next message for the server, which must come.
async fn hear(far: &mut FarEnd) -> Frame {
    timeout(LIMIT, far.hear()).await.unwrap().unwrap()
}

fn streaming(reply: Reply) -> UpStream {
    match reply {
        Reply::Stream(MessageStream::Up(stream)) => *stream,
        other => panic!("{other:?}"),
    }
}

fn single(reply: Reply) -> Frame {
    match reply {
        Reply::Single { frame, .. } => frame,
        Reply::Stream(stream) => panic!("{stream:?}"),
    }
}

fn only(streams: Vec<UpStream>) -> UpStream {
    let [stream] = <[_; 1]>::try_from(streams).unwrap();
    stream
}

async fn next(stream: &mut UpStream) -> String {
    let message = stream.next().await.unwrap();
    message.map_or_else(String::new, |frame| frame.text().to_owned())
}

const CALL: &str = r#"{"name":"t"}"#;
const WORKING: &str =
    r#"{"resultType":"complete","taskId":"k","status":"working","pollIntervalMs":100}"#;
const ASKING: &str = r#"{"resultType":"complete","taskId":"k","status":"input_required","inputRequests":{"q":{"method":"elicitation/create","params":{"message":"m"}}}}"#;
const COMPLETED: &str =
    r#"{"resultType":"complete","taskId":"k","status":"completed","result":{"content":[]}}"#;

#[tokio::test(start_paused = true)]
async fn a_task_that_its_client_does_not_know_of_is_followed_on() {
    let mut peers = Peers::new().await;
    let made = WORKING.replace("complete", "task");
    let stream = streaming(peers.call("tools/call", CALL, &made).await);
    let mut stream = only(peers.moved(vec![stream]).await);
    let (last, asked) = tokio::join!(next(&mut stream), answered(&mut peers.far, COMPLETED));
    assert_eq!(asked.method(), "tasks/get");
    assert_eq!(
        last,
        r#"{"jsonrpc":"2.0","id":"c","result":{"content":[]}}"#
    );
    assert_eq!(next(&mut stream).await, "");
    drop(stream);
    sleep(Duration::from_millis(1)).await;
    assert!(peers.far.try_hear().is_none(), "nothing is cancelled");
    let left = peers.session.leave(Vec::new()).await;
    assert_eq!((left.tasks.n_bytes(), left.calls.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_client_has_answered_to_a_task_reaches_the_server_and_is_not_asked_again() {
    let mut peers = Peers::new().await;
    let wished = r#"{"name":"t","task":{}}"#;
    let made = WORKING.replace("complete", "task");
    let created = single(peers.call("tools/call", wished, &made).await);
    assert!(created.text().contains(r#""taskId":"k""#), "{created:?}");
    let task = r#"{"taskId":"k"}"#;
    let following = peers
        .session
        .call(request("tasks/result", task), CallClass::Effect);
    let mut stream = only(vec![streaming(following.await.unwrap())]);
    // The client is asked at one node, and answers at another.
    let (question, _) = tokio::join!(next(&mut stream), answered(&mut peers.far, ASKING));
    assert!(
        question.contains(r#""id":1,"method":"elicitation/create""#),
        "{question}"
    );
    let mut stream = only(peers.moved(vec![stream]).await);
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}"#;
    peers.session.send(&frame(answer.to_owned()));
    // The server is told at one node, and acknowledges at another.
    let update = tokio::select! {
        message = stream.next() => panic!("{message:?}"),
        update = hear(&mut peers.far) => update,
    };
    assert_eq!(update.method(), "tasks/update");
    let mut stream = only(peers.moved(vec![stream]).await);
    let empty = r#"{"resultType":"complete"}"#;
    let update = unheard(&mut stream, answered(&mut peers.far, empty)).await;
    assert_eq!(update.method(), "tasks/update");
    let given = update.param(&["inputResponses"]).unwrap();
    assert_eq!(given.of(update.text()), r#"{"q":{"action":"accept"}}"#);
    // It need not have seen the answer yet when it is asked, wherever that is.
    for _ in 0..2 {
        let asked = unheard(&mut stream, answered(&mut peers.far, ASKING)).await;
        assert_eq!(asked.method(), "tasks/get");
        stream = only(peers.moved(vec![stream]).await);
    }
    let (told, _) = tokio::join!(next(&mut stream), answered(&mut peers.far, COMPLETED));
    assert!(told.contains("notifications/tasks/status"), "{told}");
    assert!(next(&mut stream).await.contains(r#""id":"c","result""#));
}

#[tokio::test(start_paused = true)]
async fn a_held_answer_is_found_where_it_has_a_place() {
    let room = setting::room(1);
    let mut peers = Peers::in_room(Arc::clone(&room)).await;
    let wished = r#"{"name":"t","task":{}}"#;
    let at_once = r#"{"resultType":"complete","content":[]}"#;
    let created = single(peers.call("tools/call", wished, at_once).await);
    let task = created.body_member(&["task", "taskId"]).unwrap();
    let task = format!(r#"{{"taskId":{}}}"#, task.of(created.text()));
    let used = || (room.usage().calls, room.usage().bytes);
    let before = used();
    assert_eq!(before.0, 1);
    assert!(peers.moved(Vec::new()).await.is_empty());
    assert_eq!(used(), before);
    let asked = request("tasks/result", &task);
    let result = single(peers.session.call(asked, CallClass::Effect).await.unwrap());
    assert!(result.text().contains(r#""content":[]"#), "{result:?}");
    // Where another one has taken the place, it stays away, and can go elsewhere.
    let state = written(&peers.session.state());
    let (shared, now_ms) = (Arc::clone(&peers.shared), peers.session.now_ms());
    let refused = Session::resume(shared, setting::key(0, 2), state.clone(), now_ms).await;
    assert!(matches!(refused, Err(NoRoom::Node | NoRoom::Caller)));
    assert_eq!(used(), before);
    // It takes none for an answer whose time is over.
    let late = now_ms + 600_000;
    let resumed = Session::resume(Arc::clone(&peers.shared), setting::key(0, 2), state, late);
    assert_eq!(resumed.await.unwrap().0.state().tasks.n_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_has_not_read_is_read_elsewhere_and_once() {
    let mut peers = Peers::new().await;
    let input = r#"{"method":"elicitation/create","params":{"message":"m"}}"#;
    let asking = format!(
        r#"{{"resultType":"input_required","inputRequests":{{"p":{input},"q":{input}}},"requestState":"s"}}"#
    );
    let mut stream = streaming(peers.call("tools/call", CALL, &asking).await);
    assert!(next(&mut stream).await.contains(r#""id":1,"#));
    let mut stream = only(peers.moved(vec![stream]).await);
    assert!(next(&mut stream).await.contains(r#""id":2,"#));
    let refusal = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#;
    peers.session.send(&frame(refusal.to_owned()));
    // The call is over when it moves, but for its answer.
    let taken_back = next(&mut stream).await;
    assert!(taken_back.contains(r#""requestId":2"#), "{taken_back}");
    let mut stream = only(peers.moved(vec![stream]).await);
    let failure = next(&mut stream).await;
    assert!(failure.contains(r#""isError":true"#), "{failure}");
    assert_eq!(next(&mut stream).await, "");
    assert!(peers.moved(vec![stream]).await.is_empty());
    assert_eq!(
        peers.far.try_hear().map(|heard| heard.text().to_owned()),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_stream_is_lost_waits_on_for_its_client() {
    let mut peers = Peers::new().await;
    let input = r#"{"method":"elicitation/create","params":{"message":"m"}}"#;
    let asking = format!(
        r#"{{"resultType":"input_required","inputRequests":{{"q":{input}}},"requestState":"s"}}"#
    );
    let mut lost = streaming(peers.call("tools/call", CALL, &asking).await);
    assert!(next(&mut lost).await.contains(r#""id":1,"#));
    let mut stream = only(peers.moved(Vec::new()).await);
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}"#;
    peers.session.send(&frame(answer.to_owned()));
    let done = r#"{"resultType":"complete","content":[]}"#;
    let (last, retried) = tokio::join!(next(&mut stream), answered(&mut peers.far, done));
    assert_eq!(retried.param_str(&["requestState"]).as_deref(), Some("s"));
    assert_eq!(
        last,
        r#"{"jsonrpc":"2.0","id":"c","result":{"content":[]}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_cancelled_a_call_is_heard_where_the_call_goes_on() {
    let mut peers = Peers::new().await;
    let made = WORKING.replace("complete", "task");
    let stream = streaming(peers.call("tools/call", CALL, &made).await);
    let cancelled =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}"#;
    peers.session.send(&frame(cancelled.to_owned()));
    let mut stream = only(peers.moved(vec![stream]).await);
    let ended = stream.next().await;
    assert!(
        matches!(ended, Err(UpstreamError::Cancelled { .. })),
        "{ended:?}"
    );
    drop(stream);
    let abandoned = answered(&mut peers.far, r#"{"resultType":"complete"}"#).await;
    assert_eq!(abandoned.method(), "tasks/cancel");
}

#[tokio::test(start_paused = true)]
async fn a_session_hears_on_what_it_has_subscribed_to() {
    const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
    async fn listened(far: &mut FarEnd) -> String {
        loop {
            let heard = hear(far).await;
            if heard.method() != "subscriptions/listen" {
                continue;
            }
            let at = heard.param(&["notifications"]).unwrap();
            let filter = at.of(heard.text()).to_owned();
            let id = heard.id().unwrap();
            far.say(format!(
                r#"{{"jsonrpc":"2.0","method":"{ACKNOWLEDGED}","params":{{"notifications":{filter},"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
            ));
            return filter;
        }
    }
    let mut peers = Peers::new().await;
    let introduced = peers.session.initialize_result();
    let subscribe = request("resources/subscribe", r#"{"uri":"a:1"}"#);
    let subscribing = peers.session.call(subscribe, CallClass::Effect);
    let (done, before) = tokio::join!(subscribing, listened(&mut peers.far));
    assert_eq!(single(done.unwrap()).kind(), Kind::Result);
    peers.moved(Vec::new()).await;
    assert_eq!(peers.session.initialize_result(), introduced);
    assert_eq!(listened(&mut peers.far).await, before);
    // It may have changed on the way.
    let listener = peers.session.listen().unwrap();
    let missed = listener.next().await.unwrap();
    let updated =
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1"}}"#;
    assert_eq!(missed.text(), updated);
}
