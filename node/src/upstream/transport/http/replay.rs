//! What a session has told its server and must tell the next one.

use std::collections::BTreeSet;

use lockgate_proto::jsonrpc::Frame;
use lockgate_proto::mcp::method;
use serde::{Deserialize, Serialize};

/// State that a server keeps for its session besides `initialize`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Raw params of the last `logging/setLevel` that the server took.
    pub log_level: Option<String>,
    /// URIs under `resources/subscribe`.
    pub subscriptions: BTreeSet<String>,
}

/// A change of [`Replay`] that holds once the server has agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream::transport) enum Note {
    LogLevel(String),
    Subscribed(String),
    Unsubscribed(String),
}

impl Note {
    /// What a successful answer to `request` would change.
    pub(in crate::upstream::transport) fn of(request: &Frame) -> Option<Self> {
        let uri = || request.param_str(&["uri"]).map(|uri| uri.into_owned());
        match &*request.method() {
            method::SET_LEVEL => request
                .params()
                .map(|params| Self::LogLevel(params.to_owned())),
            method::SUBSCRIBE => uri().map(Self::Subscribed),
            method::UNSUBSCRIBE => uri().map(Self::Unsubscribed),
            _ => None,
        }
    }
}

impl Replay {
    pub(in crate::upstream::transport) fn apply(&mut self, note: Note) {
        match note {
            Note::LogLevel(params) => self.log_level = Some(params),
            Note::Subscribed(uri) => {
                self.subscriptions.insert(uri);
            }
            Note::Unsubscribed(uri) => {
                self.subscriptions.remove(&uri);
            }
        }
    }

    /// Requests that bring a new session to this state: method and raw params.
    pub(in crate::upstream::transport) fn requests(
        &self,
    ) -> impl Iterator<Item = (&'static str, String)> {
        let level = self
            .log_level
            .iter()
            .map(|params| (method::SET_LEVEL, params.clone()));
        let subscriptions = self.subscriptions.iter().map(|uri| {
            let uri = lockgate_proto::jsonrpc::encode_str(uri);
            (method::SUBSCRIBE, format!(r#"{{"uri":{uri}}}"#))
        });
        level.chain(subscriptions)
    }
}
