//! `subscriptions/listen` over an owned session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Splice, decode_str, elements, encode_str, find, find_path};
use lockgate_proto::mcp::method;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::UpstreamError;
use crate::task::spawn_named;

use super::answer;
use super::hub::News;
use super::owned::Owned;

const SUBSCRIPTION_KEY: &str = "io.modelcontextprotocol/subscriptionId";
/// Changes of one list within this are told once: servers tell them in bursts, above all when a session begins.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Longest wait until a server has opened its own stream. One that takes longer may still tell later, so its
/// acknowledgement promises what it announced.
const OPEN_WAIT: Duration = Duration::from_secs(3);
/// Resources that one listen may follow.
const URIS_MAX: usize = 1_024;

/// Kinds of lists: flag of the filter, capability, notification.
const KINDS: [(&str, &str, &str); 3] = [
    ("toolsListChanged", "tools", method::TOOLS_CHANGED),
    ("promptsListChanged", "prompts", method::PROMPTS_CHANGED),
    (
        "resourcesListChanged",
        "resources",
        method::RESOURCES_CHANGED,
    ),
];

/// One client's listen.
#[derive(Debug)]
pub(super) struct ListenStream {
    owned: Arc<Owned>,
    /// Raw id of the listen request.
    id: Box<str>,
    honoured: [bool; 3],
    uris: Vec<String>,
    news: broadcast::Receiver<News>,
    out: VecDeque<Frame>,
    /// Lists that have changed, and when that is told.
    changed: [bool; 3],
    due: Option<Instant>,
    over: bool,
}

impl ListenStream {
    /// Subscribes to what `request` wants and the server offers; the first message acknowledges it.
    pub(super) async fn open(owned: Arc<Owned>, request: &Frame) -> Self {
        let news = owned.hub.subscribe();
        owned.follow();
        let offered = timeout(OPEN_WAIT, owned.hub.offered());
        let is_heard = offered.await.unwrap_or(true);
        let introduction = owned.session.initialize_result();
        let offers = |capability: &str, what: &str| {
            let path = ["capabilities", capability, what];
            is_heard
                && find_path(&introduction, &path)
                    .is_some_and(|span| span.of(&introduction) == "true")
        };
        let wants = |flag: &str| {
            let value = request.param(&["notifications", flag]);
            value.is_some_and(|span| span.of(request.text()) == "true")
        };
        let honoured =
            KINDS.map(|(flag, capability, _)| wants(flag) && offers(capability, "listChanged"));
        let mut stream = Self {
            id: request.id().unwrap_or("null").into(),
            honoured,
            uris: Vec::new(),
            news,
            out: VecDeque::new(),
            changed: [false; 3],
            due: None,
            over: false,
            owned,
        };
        if offers("resources", "subscribe") {
            for uri in wanted_uris(request).into_iter().take(URIS_MAX) {
                stream.owned.subscribe(&uri, &mut stream.uris).await;
            }
        }
        let acknowledgement = stream.acknowledgement();
        stream.out.push_back(acknowledgement);
        stream
    }

    /// See [`crate::upstream::link::MessageStream::next`].
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        loop {
            if let Some(frame) = self.out.pop_front() {
                return Ok(Some(frame));
            }
            if self.over {
                return Ok(None);
            }
            let due = self.due;
            let told = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.owned.hub.ended.cancelled() => {
                    self.over = true;
                    let goodbye = self.goodbye();
                    self.out.push_back(goodbye);
                }
                news = self.news.recv() => self.hear(news),
                () = told => self.tell_changes(),
            }
        }
    }

    fn hear(&mut self, news: Result<News, RecvError>) {
        match news {
            Ok(News::Told(frame)) => self.take(&frame),
            Ok(News::Gap) | Err(RecvError::Lagged(_)) => {
                self.changed = self.honoured;
                self.due.get_or_insert_with(|| Instant::now() + DEBOUNCE);
                let updates = self.uris.iter().map(|uri| {
                    let (method, uri) = (method::RESOURCE_UPDATED, encode_str(uri));
                    let meta = self.meta();
                    answer::own(&format!(
                        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{meta},"uri":{uri}}}}}"#
                    ))
                });
                let updates: Vec<Frame> = updates.collect();
                self.out.extend(updates);
            }
            // The session owns the sender, and this stream the session.
            Err(RecvError::Closed) => self.over = true,
        }
    }

    fn take(&mut self, frame: &Frame) {
        let name = frame.method();
        if name == method::RESOURCE_UPDATED {
            let uri = frame.param_str(&["uri"]).unwrap_or_default();
            if self.uris.iter().any(|known| *known == *uri) {
                self.out.extend(self.tagged(frame));
            }
            return;
        }
        let kind = KINDS.iter().position(|(_, _, changed)| *changed == name);
        if let Some(at) = kind.filter(|at| self.honoured[*at]) {
            self.changed[at] = true;
            self.due.get_or_insert_with(|| Instant::now() + DEBOUNCE);
        }
    }

    fn tell_changes(&mut self) {
        self.due = None;
        let meta = self.meta();
        for ((_, _, method), changed) in KINDS.iter().zip(std::mem::take(&mut self.changed)) {
            if changed {
                self.out.push_back(answer::own(&format!(
                    r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{meta}}}}}"#
                )));
            }
        }
    }

    fn tagged(&self, frame: &Frame) -> Option<Frame> {
        let params = frame.params_span()?;
        let mut splice = Splice::new(frame.text());
        match find(params.of(frame.text()), "_meta") {
            Some(meta) => splice.set_member(meta.shift(params.start), SUBSCRIPTION_KEY, &self.id),
            None => {
                let meta = format!(r#"{{"{SUBSCRIPTION_KEY}":{}}}"#, self.id);
                splice.set_member(params, "_meta", &meta)
            }
        };
        Frame::edited(splice).ok()
    }

    fn meta(&self) -> String {
        format!(r#""_meta":{{"{SUBSCRIPTION_KEY}":{}}}"#, self.id)
    }

    fn acknowledgement(&self) -> Frame {
        let flags = KINDS.iter().zip(self.honoured);
        let mut honoured: Vec<String> = flags
            .filter(|(_, honoured)| *honoured)
            .map(|((flag, _, _), _)| format!(r#""{flag}":true"#))
            .collect();
        if !self.uris.is_empty() {
            let uris: Vec<String> = self.uris.iter().map(|uri| encode_str(uri)).collect();
            honoured.push(format!(r#""resourceSubscriptions":[{}]"#, uris.join(",")));
        }
        let method = method::LISTEN_ACKNOWLEDGED;
        answer::own(&format!(
            r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{},"notifications":{{{}}}}}}}"#,
            self.meta(),
            honoured.join(",")
        ))
    }

    fn goodbye(&self) -> Frame {
        answer::own(&format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"complete",{}}}}}"#,
            self.id,
            self.meta()
        ))
    }
}

/// A listen ends when its stream is dropped: there is no other place to see it.
impl Drop for ListenStream {
    fn drop(&mut self) {
        let (owned, uris) = (Arc::clone(&self.owned), std::mem::take(&mut self.uris));
        if uris.is_empty() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        // Each request of it is bounded by the server's timeout.
        drop(spawn_named("end of a bridged listen", async move {
            for uri in uris {
                owned.unsubscribe(&uri).await;
            }
        }));
    }
}

/// Each URI once.
fn wanted_uris(request: &Frame) -> Vec<String> {
    let Some(span) = request.param(&["notifications", "resourceSubscriptions"]) else {
        return Vec::new();
    };
    let raw = span.of(request.text());
    let mut uris: Vec<String> = Vec::new();
    for uri in elements(raw).filter_map(|span| decode_str(span.of(raw))) {
        if !uris.iter().any(|known| *known == *uri) {
            uris.push(uri.into_owned());
        }
    }
    uris
}
