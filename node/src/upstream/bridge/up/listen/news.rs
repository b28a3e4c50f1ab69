//! What one session was told and has not read.

use std::collections::VecDeque;

use lockgate_proto::jsonrpc::Frame;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::answer::message_of;
use super::SUBSCRIPTIONS_MAX;

/// Messages kept for a session that does not read. Equal ones are kept once, so that only a server that says more
/// than it was asked for can pass it.
const NEWS_MAX: usize = SUBSCRIPTIONS_MAX + 16;

/// Messages that wait to be read, oldest first. Written as their texts.
#[derive(Clone, Debug, Default)]
pub(super) struct News(VecDeque<Frame>);

impl News {
    /// Takes a message, unless an equal one waits already.
    pub(super) fn post(&mut self, frame: &Frame) {
        // It says that something is new, and says it once however often that happens.
        let is_known = self.texts().any(|known| known == frame.text());
        if !is_known && self.0.len() < NEWS_MAX {
            self.0.push_back(frame.clone());
        }
    }

    /// The oldest message, which then waits no more.
    pub(super) fn take(&mut self) -> Option<Frame> {
        self.0.pop_front()
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Frame::text)
    }
}

impl PartialEq for News {
    fn eq(&self, other: &Self) -> bool {
        self.texts().eq(other.texts())
    }
}

impl Eq for News {}

impl Serialize for News {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.texts())
    }
}

impl<'de> Deserialize<'de> for News {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts: Vec<String> = Vec::deserialize(deserializer)?;
        let read = |text| message_of(text).ok_or_else(|| D::Error::custom("not a message"));
        texts
            .into_iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}
