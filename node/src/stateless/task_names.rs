//! Tasks that a listen follows, under the ids of its client and of its server.

use lockgate_proto::jsonrpc::{Frame, Splice, decode_str, elements, encode_str};
use lockgate_proto::mcp::method;

use crate::error::CallError;
use crate::seal::Sealer;

use super::door::Ask;
use super::task_id::TaskId;

/// Where a listen, and its acknowledgement, name tasks.
const FILTER: [&str; 2] = ["notifications", "taskIds"];

/// Tasks at one server: its own id of each, and the client's.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskNames(Vec<(String, String)>);

impl TaskNames {
    /// Those in the request that its caller has begun at the server called `server`.
    pub(super) fn of(ask: &Ask, sealer: &Sealer, server: &str) -> Self {
        let Some(at) = ask.frame.param(&FILTER) else {
            return Self::default();
        };
        let raw = at.of(ask.frame.text());
        let named = elements(raw).filter_map(|at| decode_str(at.of(raw)));
        let mine = named.filter_map(|text| {
            let id = TaskId::open(sealer, &ask.who.caller, ask.scope, &text)?;
            (id.server == server).then(|| (id.own, text.into_owned()))
        });
        Self(mine.collect())
    }

    /// Tool and server of every task that the request names, as far as its caller has begun it.
    pub(super) fn tools(ask: &Ask, sealer: &Sealer) -> Vec<Option<(String, String)>> {
        let Some(at) = ask.frame.param(&FILTER) else {
            return Vec::new();
        };
        let raw = at.of(ask.frame.text());
        let named = elements(raw).map(|at| decode_str(at.of(raw)));
        named
            .map(|text| {
                let id = TaskId::open(sealer, &ask.who.caller, ask.scope, &text?)?;
                Some((id.tool, id.server))
            })
            .collect()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Raw array for the server.
    pub(super) fn own(&self) -> String {
        array(self.0.iter().map(|(own, _)| &**own))
    }

    /// Raw ids for the client of those that a server's acknowledgement honours.
    pub(super) fn honoured(&self, acknowledgement: &Frame) -> Vec<String> {
        let Some(at) = acknowledgement.param(&FILTER) else {
            return Vec::new();
        };
        let raw = at.of(acknowledgement.text());
        // No more than it was asked for: what a server says beyond is not looked at.
        let named = elements(raw).take(self.0.len());
        let honoured = named.filter_map(|at| decode_str(at.of(raw)));
        let shown = honoured.filter_map(|own| Some(encode_str(self.shown_id(&own)?)));
        shown.collect()
    }

    /// The request as its server knows the tasks.
    ///
    /// # Errors
    ///
    /// [`CallError::Unwritable`]: sealed names are of no use to a server.
    pub(super) fn outgoing(&self, request: &Frame) -> Result<Frame, CallError> {
        let Some(at) = request.param(&FILTER) else {
            return Ok(request.clone());
        };
        let mut splice = Splice::new(request.text());
        splice.replace(at, self.own());
        Frame::edited(splice).map_err(CallError::Unwritable)
    }

    /// A message of the listen as its client knows the tasks. `None` for news of a task that it did not name.
    pub(super) fn shown(&self, message: Frame) -> Option<Frame> {
        match &*message.method() {
            method::TASK_CHANGED => {
                let at = message.param(&["taskId"])?;
                let own = decode_str(at.of(message.text()))?;
                let shown = self.shown_id(&own)?;
                Some(message.with_string(at, shown))
            }
            method::LISTEN_ACKNOWLEDGED => {
                let Some(at) = message.param(&FILTER) else {
                    return Some(message);
                };
                let mut splice = Splice::new(message.text());
                splice.replace(at, format!("[{}]", self.honoured(&message).join(",")));
                Frame::edited(splice).ok()
            }
            _ => Some(message),
        }
    }

    fn shown_id(&self, own: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == own);
        found.map(|(_, shown)| &**shown)
    }
}

fn array<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let raw: Vec<String> = texts.map(encode_str).collect();
    format!("[{}]", raw.join(","))
}
