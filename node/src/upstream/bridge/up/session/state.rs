//! What a session is made of: data, all that another node needs to go on with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockgate_proto::jsonrpc::find_path;
use serde::{Deserialize, Serialize};

use super::begun::Begun;
use crate::upstream::bridge::up::listen::Wants;
use crate::upstream::bridge::up::profile::Profile;
use crate::upstream::bridge::up::rounds::{Rounds, Serial};
use crate::upstream::bridge::up::tasks::Tasks;

/// All of a session but its key, which names it on one node. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct State {
    pub(in super::super) introduction: Introduction,
    pub(in super::super) profile: Profile,
    /// Level of the client's last `logging/setLevel`.
    pub(in super::super) log_level: Option<String>,
    /// What it hears outside of calls; the streams of that are made again from here.
    pub(in super::super) wants: Wants,
    pub(in super::super) rounds: Rounds,
    pub(in super::super) tasks: Tasks,
    /// Calls that are more than a question and an answer, each as long as its stream.
    pub(in super::super) calls: BTreeMap<Serial, Begun>,
}

/// Raw `InitializeResult` that opened the session. What its client was told then holds to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(in super::super) struct Introduction(Arc<str>);

impl Introduction {
    pub(super) fn new(raw: &str) -> Self {
        Self(raw.into())
    }

    /// As the client reads it.
    pub(super) fn raw(&self) -> &Arc<str> {
        &self.0
    }

    /// Raw `ServerCapabilities`.
    pub(super) fn capabilities(&self) -> &str {
        find_path(&self.0, &["capabilities"]).map_or("{}", |span| span.of(&self.0))
    }

    /// Whether the server makes tasks of calls: they are introduced where it has the extension, and nowhere else.
    pub(super) fn names_tasks(&self) -> bool {
        find_path(self.capabilities(), &["tasks"]).is_some()
    }
}

impl From<String> for Introduction {
    fn from(raw: String) -> Self {
        Self(raw.into())
    }
}

impl From<Introduction> for String {
    fn from(introduction: Introduction) -> Self {
        introduction.0.as_ref().to_owned()
    }
}
