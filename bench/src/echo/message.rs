//! What the echo reads of a message: borrowed, and no deeper than it answers.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Envelope.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    /// Absent in a notification.
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    /// Absent in an answer, which no echo ever asked for.
    #[serde(borrow, default)]
    pub(super) method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// Parameters of `tools/call`.
#[derive(Debug, Deserialize)]
pub(super) struct Call<'a> {
    /// Tool.
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Debug, Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
}

/// Arguments of the tool `progress`.
#[derive(Debug, Deserialize)]
pub(super) struct ProgressArguments {
    /// How many notifications come before the result.
    pub(super) n: usize,
}

#[derive(Debug, Deserialize)]
struct Initialize<'a> {
    #[serde(borrow, rename = "protocolVersion")]
    protocol_version: Cow<'a, str>,
}

impl<'a> Message<'a> {
    /// The call that this message makes; `None` when its parameters are no call.
    pub(super) fn call(&self) -> Option<Call<'a>> {
        serde_json::from_str(self.params?.get()).ok()
    }

    /// Revision that an `initialize` asks for.
    pub(super) fn revision(&self) -> Option<Cow<'a, str>> {
        let initialize: Initialize<'a> = serde_json::from_str(self.params?.get()).ok()?;
        Some(initialize.protocol_version)
    }
}

impl<'a> Call<'a> {
    /// Arguments as they came.
    pub(super) fn arguments(&self) -> &'a str {
        self.arguments.map_or("{}", RawValue::get)
    }

    /// Progress token as it came.
    pub(super) fn progress_token(&self) -> Option<&'a str> {
        Some(self.meta.as_ref()?.progress_token?.get())
    }
}
