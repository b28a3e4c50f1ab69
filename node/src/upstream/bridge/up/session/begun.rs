//! A call whose server has not answered at once, as data.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::upstream::bridge::down::Kept;
use crate::upstream::bridge::up::answer::Asked;
use crate::upstream::bridge::up::stream::Call;
use crate::upstream::bridge::up::tasks::Followed;
use crate::upstream::link::Outgoing;
use crate::upstream::retry::CallClass;

/// What a stream of the call is made from. What was asked on its way stands in the session's rounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Begun {
    pub(in super::super) asked: Asked,
    pub(in super::super) first: First,
    pub(in super::super) class: CallClass,
    /// The task that it is about, or has become.
    pub(in super::super) followed: Option<Followed>,
    /// What its stream alone knew, once that has been left.
    pub(in super::super) left: Option<Left>,
}

/// What the stream of a call alone knows while it runs. Lost when it ends without being left: then what the client has
/// not read is neither asked nor told again, and answers that the server has not acknowledged are asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Left {
    /// Whether the tool's schema was fetched for the call already.
    pub(in super::super) is_refitted: bool,
    /// The client's answers for the followed task, which the server has not acknowledged.
    pub(in super::super) update: Option<Kept>,
    /// What the client has not read.
    pub(in super::super) unread: Vec<Kept>,
}

impl Begun {
    pub(super) fn new(call: &Call, followed: Option<&Followed>) -> Self {
        Self {
            asked: call.asked.clone(),
            first: First(call.first.clone()),
            class: call.class,
            followed: followed.cloned(),
            left: None,
        }
    }
}

/// The request as it was sent first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(in super::super) struct First(pub(in super::super) Outgoing);

/// A request in words that can be written.
#[derive(Serialize, Deserialize)]
struct Written {
    frame: Kept,
    headers: Vec<(String, Vec<u8>)>,
    timeout: Duration,
}

impl From<First> for Written {
    fn from(First(out): First) -> Self {
        let headers = out.headers.into_iter();
        Self {
            frame: Kept(out.frame),
            headers: headers
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
            timeout: out.timeout,
        }
    }
}

impl TryFrom<Written> for First {
    type Error = http::Error;

    fn try_from(written: Written) -> Result<Self, http::Error> {
        let headers = written.headers.into_iter().map(|(name, value)| {
            let name = HeaderName::try_from(name)?;
            Ok((name, HeaderValue::try_from(value)?))
        });
        Ok(Self(Outgoing {
            frame: written.frame.0,
            headers: headers.collect::<Result<_, http::Error>>()?,
            timeout: written.timeout,
        }))
    }
}

impl PartialEq for First {
    fn eq(&self, other: &Self) -> bool {
        let (Self(one), Self(other)) = (self, other);
        one.frame.text() == other.frame.text()
            && one.headers == other.headers
            && one.timeout == other.timeout
    }
}

impl Eq for First {}
