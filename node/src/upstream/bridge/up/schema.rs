//! Output schemas and structured content. Up to 2025-11-25 both have an object at their root, from 2026-07-28 on they
//! may be anything: what is not an object becomes the member `result` of one.

use lockgate_proto::jsonrpc::{Span, Splice, decode_str, elements, encode_str, find, members};

/// Where the server's own schema stands in the schema that clients are shown.
const PLACE: &str = "#/properties/result";

/// Keywords that hold an object of schemas by name.
const NAMED: [&str; 6] = [
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
    "$defs",
    "definitions",
];
/// Keywords that hold data, in which `$ref` is a key like any other.
const DATA: [&str; 4] = ["const", "default", "enum", "examples"];
/// Keywords that refer to a schema by its place.
const REFERENCES: [&str; 2] = ["$ref", "$dynamicRef"];

/// Whether clients of the session era can take the schema as it is.
pub(super) fn is_object(schema: &str) -> bool {
    find(schema, "type").is_some_and(|kind| kind.of(schema) == "\"object\"")
}

/// The raw schema of an object whose member `result` the raw `schema` describes.
pub(super) fn wrapped(schema: &str) -> String {
    let dialect = find(schema, "$schema").map(|span| span.of(schema));
    let head = dialect.map_or_else(String::new, |dialect| format!(r#""$schema":{dialect},"#));
    let mut splice = Splice::new(schema);
    if dialect.is_some() {
        // The dialect is that of a whole document.
        splice.remove_member(Span::new(0, schema.len()), "$schema");
    }
    rebase(schema, &mut splice);
    let inner = splice.finish();
    format!(
        r#"{{{head}"type":"object","properties":{{"result":{}}},"required":["result"]}}"#,
        String::from_utf8_lossy(&inner)
    )
}

/// Turns references to places in `schema` into references to the same places in the document that will hold it.
/// Below an `$id` places count from there, and nothing changes.
fn rebase(schema: &str, splice: &mut Splice<'_>) {
    // Values still to be looked at, and whether their members are schemas by name.
    let mut open = vec![(Span::new(0, schema.len()), false)];
    while let Some((at, by_name)) = open.pop() {
        let text = at.of(schema);
        if text.starts_with('[') {
            open.extend(elements(text).map(|span| (span.shift(at.start), false)));
            continue;
        }
        if !by_name && find(text, "$id").is_some() {
            continue;
        }
        for member in members(text) {
            let value = member.value_span.shift(at.start);
            let is_reference = !by_name && REFERENCES.contains(&&*member.key);
            if is_reference {
                if let Some(moved) = decode_str(member.value).and_then(|place| moved(&place)) {
                    splice.replace(value, encode_str(&moved));
                }
            } else if by_name || !DATA.contains(&&*member.key) {
                open.push((value, !by_name && NAMED.contains(&&*member.key)));
            }
        }
    }
}

/// A reference to the root or to a place below it. Names of anchors hold for the whole document.
fn moved(reference: &str) -> Option<String> {
    let place = reference.strip_prefix('#')?;
    (place.is_empty() || place.starts_with('/')).then(|| format!("{PLACE}{place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schema: &str, inner: &str) {
        let expected = format!(
            r#"{{"type":"object","properties":{{"result":{inner}}},"required":["result"]}}"#
        );
        assert_eq!(wrapped(schema), expected);
    }

    #[test]
    fn a_schema_becomes_that_of_a_member() {
        check(r#"{"type":"string"}"#, r#"{"type":"string"}"#);
        check("true", "true");
        assert_eq!(
            wrapped(r#"{"$schema":"http://x","type":"array"}"#),
            r#"{"$schema":"http://x","type":"object","properties":{"result":{"type":"array"}},"required":["result"]}"#
        );
    }

    #[test]
    fn references_follow_what_they_refer_to() {
        check(
            r##"{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#"}],"$defs":{"a":{"$ref":"#anchor"}}}"##,
            r##"{"anyOf":[{"$ref":"#/properties/result/$defs/a"},{"$ref":"#/properties/result"}],"$defs":{"a":{"$ref":"#anchor"}}}"##,
        );
        let elsewhere = r#"{"items":{"$ref":"https://example.com/s.json#/a"}}"#;
        check(elsewhere, elsewhere);
    }

    #[test]
    fn data_and_names_are_no_references() {
        let kept = r##"{"const":{"$ref":"#"},"enum":[{"$ref":"#"}],"properties":{"$ref":{"type":"string"}}}"##;
        check(kept, kept);
        let own_base = r##"{"$id":"https://example.com/s","items":{"$ref":"#"}}"##;
        check(own_base, own_base);
    }

    #[test]
    fn objects_are_told_by_their_type() {
        assert!(is_object(r#"{"type":"object"}"#));
        assert!(!is_object(r#"{"type":["object","null"]}"#));
        assert!(!is_object(r#"{"anyOf":[]}"#));
        assert!(!is_object("true"));
    }
}
