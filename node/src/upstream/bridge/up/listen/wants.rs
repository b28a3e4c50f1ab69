//! What one session hears outside of calls: all that its streams are made from, and what it has not read yet.

use std::collections::BTreeSet;

use lockgate_proto::jsonrpc::find_path;
use serde::{Deserialize, Serialize};

use super::filter::{Filter, LISTS};
use super::news::News;

/// What one session hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Wants {
    /// Lists whose changes the server announced when the session began, in the order of [`LISTS`].
    lists: [bool; LISTS.len()],
    /// Whether it took subscriptions then.
    pub(in super::super) takes_subscriptions: bool,
    /// Resources that the client wants to hear of.
    pub(in super::super) resources: BTreeSet<String>,
    /// What it was told and has not read.
    pub(super) news: News,
}

impl Wants {
    /// Those of a session that begins at a server with these raw capabilities.
    pub(in super::super) fn new(capabilities: &str) -> Self {
        let announces = |path: &[&str]| {
            find_path(capabilities, path).is_some_and(|span| span.of(capabilities) == "true")
        };
        Self {
            lists: LISTS.map(|(kind, ..)| announces(&[kind, "listChanged"])),
            takes_subscriptions: announces(&["resources", "subscribe"]),
            resources: BTreeSet::new(),
            news: News::default(),
        }
    }

    /// Whether it can never hear of anything.
    pub(super) fn is_deaf(&self) -> bool {
        !self.takes_subscriptions && !self.lists.contains(&true)
    }

    /// What the stream of the lists is to tell. `None` when it needs none.
    pub(super) fn lists(&self) -> Option<Filter> {
        Filter::lists(self.lists)
    }
}
