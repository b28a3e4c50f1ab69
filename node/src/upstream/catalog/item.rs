//! One tool, prompt, resource or template.

use bytes::Bytes;
use lockgate_proto::jsonrpc::{Span, decode_str, find, find_path};
use lockgate_proto::mcp::Era;
use lockgate_proto::mcp::param_headers::{InvalidAnnotation, ParamHeader, annotations};

use super::ListKind;

/// One entry of a list: the raw object as the server wrote it, and where its name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Name, URI or URI template, escapes decoded.
    pub key: Box<str>,
    /// The whole raw JSON object.
    pub raw: Bytes,
    /// Where the key stands in `raw`, with its quotes.
    pub key_span: Span,
    /// Whether the tool says that a second execution does no harm (`readOnlyHint` or `idempotentHint`).
    /// Hints of a server are taken at their word, as the configuration that names the server is.
    pub retry_safe: bool,
    /// Arguments that are repeated as `Mcp-Param-*` headers; empty for all but some tools of the stateless era.
    pub param_headers: Box<[ParamHeader]>,
}

/// Why an entry of a list was left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::upstream) enum Unfit {
    /// Without a key it can neither be called nor hidden.
    #[error("entry without `{0}`")]
    NoKey(&'static str),
    /// A client over HTTP must leave such tools out (2026-07-28, "Custom Headers from Tool Parameters").
    #[error("tool `{tool}` wants headers that cannot be")]
    Annotation {
        /// Its name.
        tool: Box<str>,
        /// What is wrong.
        #[source]
        source: InvalidAnnotation,
    },
    /// Clients refuse the whole list for it.
    #[error("`{member}` of tool `{entry}` is no schema of an object")]
    Schema {
        /// Its name.
        entry: Box<str>,
        /// Where the schema is to stand.
        member: &'static str,
    },
}

impl Item {
    /// Reads one raw element of a list.
    pub(in crate::upstream) fn read(kind: ListKind, era: Era, raw: Bytes) -> Result<Self, Unfit> {
        let no_key = || Unfit::NoKey(kind.key());
        let text = std::str::from_utf8(&raw).map_err(|_| no_key())?;
        let key_span = find(text, kind.key()).ok_or_else(no_key)?;
        let key: Box<str> = decode_str(key_span.of(text)).ok_or_else(no_key)?.into();
        let is_tool = kind == ListKind::Tools;
        let schema = find(text, "inputSchema").filter(|_| is_tool && era == Era::Stateless);
        let param_headers = match schema {
            Some(schema) => annotations(schema.of(text)).map_err(|source| Unfit::Annotation {
                tool: key.clone(),
                source,
            })?,
            None => Vec::new(),
        };
        Ok(Self {
            retry_safe: is_tool && is_retry_safe(text),
            param_headers: param_headers.into(),
            key,
            key_span,
            raw,
        })
    }
}

fn is_retry_safe(tool: &str) -> bool {
    ["readOnlyHint", "idempotentHint"].iter().any(|hint| {
        find_path(tool, &["annotations", hint]).is_some_and(|span| span.of(tool) == "true")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(era: Era, text: &str) -> Result<Item, Unfit> {
        Item::read(
            ListKind::Tools,
            era,
            Bytes::copy_from_slice(text.as_bytes()),
        )
    }

    #[test]
    fn the_key_is_decoded_and_its_place_is_kept() {
        let item = tool(Era::Session, r#"{"x":1,"name":"a\u0062","y":null}"#).unwrap();
        assert_eq!(&*item.key, "ab");
        let text = std::str::from_utf8(&item.raw).unwrap();
        assert_eq!(item.key_span.of(text), r#""a\u0062""#);
    }

    #[test]
    fn an_entry_without_a_name_is_unfit() {
        for text in ["{}", r#"{"name":7}"#, r#""name""#, "null"] {
            assert_eq!(
                tool(Era::Session, text),
                Err(Unfit::NoKey("name")),
                "{text}"
            );
        }
    }

    #[test]
    fn hints_make_a_tool_repeatable() {
        let safe = |annotations: &str| {
            let text = format!(r#"{{"name":"t","annotations":{annotations}}}"#);
            tool(Era::Session, &text).unwrap().retry_safe
        };
        assert!(safe(r#"{"readOnlyHint":true}"#));
        assert!(safe(r#"{"idempotentHint": true}"#));
        assert!(!safe(r#"{"readOnlyHint":false}"#));
        assert!(!safe(r#"{"readOnlyHint":"true"}"#));
        assert!(!safe("{}"));
    }

    #[test]
    fn header_annotations_count_in_the_stateless_era_only() {
        let annotated = |name: &str| {
            format!(
                r#"{{"name":"t","inputSchema":{{"type":"object","properties":{{"a":{{"type":"string","x-mcp-header":"{name}"}}}}}}}}"#
            )
        };
        let item = tool(Era::Stateless, &annotated("Region")).unwrap();
        assert_eq!(item.param_headers[0].name, "Region");
        assert!(
            tool(Era::Session, &annotated("Region"))
                .unwrap()
                .param_headers
                .is_empty()
        );
        assert!(tool(Era::Session, &annotated("no token")).is_ok());
        let unfit = tool(Era::Stateless, &annotated("no token")).unwrap_err();
        assert!(matches!(unfit, Unfit::Annotation { tool, .. } if &*tool == "t"));
    }
}
