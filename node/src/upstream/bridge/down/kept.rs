//! A message that is kept as data.

use lockgate_proto::jsonrpc::{Frame, Splice};
use serde::{Deserialize, Serialize};

/// A message within serialisable state: written as its text, and checked again when it is read back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::upstream::bridge) struct Kept(pub(in crate::upstream::bridge) Frame);

impl From<Kept> for String {
    fn from(kept: Kept) -> Self {
        kept.0.text().to_owned()
    }
}

impl TryFrom<String> for Kept {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let frame = Frame::edited(Splice::new(&text));
        frame.map(Self).map_err(|_| "a kept text is no message")
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.0.text() == other.0.text()
    }
}

impl Eq for Kept {}
