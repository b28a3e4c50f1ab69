//! W3C trace context: in by header or `_meta`, out the same two ways.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use lockgate_proto::jsonrpc::{Frame, Span, Splice, encode_str, find};

/// Trace context of one call as it goes on to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// `traceparent` header value for the next hop.
    pub traceparent: Arc<str>,
    /// `tracestate`, passed on unchanged.
    pub tracestate: Option<Arc<str>>,
}

impl Context {
    /// Reads a `traceparent` (W3C Trace Context, section 3.2). Malformed ones are ignored, as the standard asks.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let parts: Vec<&str> = traceparent.split('-').collect();
        let [version, trace, span, flags, ..] = parts.as_slice() else {
            return None;
        };
        let hex = |text: &str, len| {
            text.len() == len
                && text
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let zero = |text: &str| text.bytes().all(|b| b == b'0');
        let fits = hex(version, 2) && *version != "ff" && (*version != "00" || parts.len() == 4);
        if !fits || !hex(trace, 32) || zero(trace) || !hex(span, 16) || zero(span) || !hex(flags, 2)
        {
            return None;
        }
        Some(Self {
            traceparent: traceparent.into(),
            tracestate: tracestate.map(Into::into),
        })
    }

    /// Reads `params._meta`, which is where hops without headers carry it.
    pub fn of_meta(message: &Frame) -> Option<Self> {
        let parent = message.param_str(&["_meta", "traceparent"])?;
        let state = message.param_str(&["_meta", "tracestate"]);
        Self::parse(&parent, state.as_deref())
    }

    /// Trace id, 32 hex digits.
    pub fn trace_id(&self) -> &str {
        // `parse` checked that the id stands at 3..35.
        self.traceparent.get(3..35).unwrap_or_default()
    }

    /// Span id of whoever sent the context, 16 hex digits.
    pub fn parent_id(&self) -> &str {
        // `parse` checked that the id stands at 36..52.
        self.traceparent.get(36..52).unwrap_or_default()
    }

    /// Trace flags; 1 is `sampled`.
    pub fn flags(&self) -> u8 {
        // `parse` checked that two hex digits stand at 53..55.
        let digits = self.traceparent.get(53..55).unwrap_or_default();
        u8::from_str_radix(digits, 16).unwrap_or(0)
    }

    /// Sets the context in `params._meta`, beside whatever stands there. `params` stands in `text`.
    pub(crate) fn splice_meta(&self, text: &str, params: Span, splice: &mut Splice<'_>) {
        let traceparent = encode_str(&self.traceparent);
        match find(params.of(text), "_meta") {
            Some(meta) => {
                splice.set_member(meta.shift(params.start), "traceparent", &traceparent);
            }
            None => {
                let meta = format!(r#"{{"traceparent":{traceparent}}}"#);
                splice.set_member(params, "_meta", &meta);
            }
        }
    }

    /// Headers for the next hop.
    pub(crate) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let state = self
            .tracestate
            .as_deref()
            .map(|state| ("tracestate", state));
        [Some(("traceparent", &*self.traceparent)), state]
            .into_iter()
            .flatten()
            .filter_map(|(name, text)| {
                Some((
                    HeaderName::from_static(name),
                    HeaderValue::from_str(text).ok()?,
                ))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, good: bool) {
        assert_eq!(Context::parse(text, None).is_some(), good, "{text}");
    }

    #[test]
    fn only_well_formed_contexts_are_taken() {
        check(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            true,
        );
        check(
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes-later",
            true,
        );
        check(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            false,
        );
        check(
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            false,
        );
        check(
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            false,
        );
        check(
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            false,
        );
        check(
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            false,
        );
        check(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            false,
        );
        check("", false);
    }

    #[test]
    fn the_parts_are_found() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";
        let context = Context::parse(text, None).unwrap();
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.parent_id(), "b7ad6b7169203331");
        assert_eq!(context.flags(), 3);
    }
}
