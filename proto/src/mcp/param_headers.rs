//! Tool arguments that a client repeats as `Mcp-Param-*` headers: the `x-mcp-header` annotations of an input
//! schema (2026-07-28, "Custom Headers from Tool Parameters").

use std::collections::HashSet;

use serde_json::{Map, Value};

const ANNOTATION: &str = "x-mcp-header";

/// Keywords that hold one schema or an array of schemas.
const SCHEMAS: [&str; 16] = [
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "allOf",
    "anyOf",
    "oneOf",
    "contentSchema",
];

/// Keywords that hold an object of schemas by name.
const NAMED_SCHEMAS: [&str; 5] = [
    "patternProperties",
    "dependentSchemas",
    "dependencies",
    "$defs",
    "definitions",
];

/// One argument that goes into a header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamHeader {
    /// Name behind `Mcp-Param-`, as spelled in the schema. Header names ignore case.
    pub name: String,
    /// Where the value stands below `arguments`.
    pub path: Vec<String>,
}

/// Why a tool must be left out: its schema annotates what cannot go into a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAnnotation {
    /// The schema cannot be read.
    #[error("input schema is not readable JSON")]
    Unreadable,
    /// The annotation is not a non-empty token of RFC 9110, section 5.6.2.
    #[error("`x-mcp-header` at `{at}` is not a header name")]
    Name {
        /// Path of the property, joined by `/`.
        at: String,
    },
    /// Two properties want the same header.
    #[error("`x-mcp-header` `{name}` is used twice")]
    Duplicate {
        /// The name, as spelled the second time.
        name: String,
    },
    /// The property is not of type string, integer or boolean.
    #[error("`x-mcp-header` at `{at}` is not on a string, an integer or a boolean")]
    Type {
        /// Path of the property, joined by `/`.
        at: String,
    },
    /// The property does not have one fixed place in the arguments.
    #[error("`x-mcp-header` below `{keyword}` has no fixed place in the arguments")]
    Place {
        /// Keyword that leads away from the chain of `properties`; empty for the schema itself.
        keyword: &'static str,
    },
}

/// Reads the annotations of a tool's input schema (raw JSON), in the order of the schema.
///
/// # Errors
///
/// Fails when one of them breaks a rule; then clients must not use the tool.
pub fn annotations(input_schema_raw: &str) -> Result<Vec<ParamHeader>, InvalidAnnotation> {
    // Most schemas have none. A key may be spelled with escapes, so only text without them is let off.
    let may_annotate = input_schema_raw.contains(ANNOTATION) || input_schema_raw.contains("\\u");
    if !may_annotate {
        return Ok(Vec::new());
    }
    let schema: Value =
        serde_json::from_str(input_schema_raw).map_err(|_| InvalidAnnotation::Unreadable)?;
    let mut found = Vec::new();
    if let Value::Object(schema) = &schema {
        if schema.contains_key(ANNOTATION) {
            return Err(InvalidAnnotation::Place { keyword: "" });
        }
        walk(schema, &mut Vec::new(), &mut found)?;
    }
    let mut names = HashSet::new();
    for header in &found {
        if !names.insert(header.name.to_ascii_lowercase()) {
            let name = header.name.clone();
            return Err(InvalidAnnotation::Duplicate { name });
        }
    }
    Ok(found)
}

/// Collects below `schema`, which stands at `path`. Depth is bounded by `serde_json`, which refuses more than
/// 127 levels.
fn walk(
    schema: &Map<String, Value>,
    path: &mut Vec<String>,
    found: &mut Vec<ParamHeader>,
) -> Result<(), InvalidAnnotation> {
    refuse_elsewhere(schema)?;
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return Ok(());
    };
    for (key, property) in properties {
        let Value::Object(property) = property else {
            continue;
        };
        path.push(key.clone());
        if let Some(annotation) = property.get(ANNOTATION) {
            found.push(read(annotation, property, path)?);
        }
        walk(property, path, found)?;
        path.pop();
    }
    Ok(())
}

fn read(
    annotation: &Value,
    property: &Map<String, Value>,
    path: &[String],
) -> Result<ParamHeader, InvalidAnnotation> {
    let at = || path.join("/");
    let name = annotation.as_str().filter(|name| is_token(name));
    let name = name.ok_or_else(|| InvalidAnnotation::Name { at: at() })?;
    match property.get("type").and_then(Value::as_str) {
        Some("string" | "integer" | "boolean") => Ok(ParamHeader {
            name: name.to_owned(),
            path: path.to_vec(),
        }),
        _ => Err(InvalidAnnotation::Type { at: at() }),
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_tchar)
}

/// No annotation may stand below the other keywords of `schema` that hold schemas.
fn refuse_elsewhere(schema: &Map<String, Value>) -> Result<(), InvalidAnnotation> {
    let below = SCHEMAS.iter().chain(&NAMED_SCHEMAS);
    for &keyword in below {
        let Some(value) = schema.get(keyword) else {
            continue;
        };
        let mut schemas = Vec::new();
        push_schemas(keyword, value, &mut schemas);
        while let Some(schema) = schemas.pop() {
            if schema.contains_key(ANNOTATION) {
                return Err(InvalidAnnotation::Place { keyword });
            }
            for (key, value) in schema {
                push_schemas(key, value, &mut schemas);
            }
        }
    }
    Ok(())
}

/// Appends the schemas that `keyword` holds; none when it is not such a keyword. Values of `default`, `const` or
/// `enum` are data, where `x-mcp-header` is a key like any other.
fn push_schemas<'a>(keyword: &str, value: &'a Value, schemas: &mut Vec<&'a Map<String, Value>>) {
    let is_named = keyword == "properties" || NAMED_SCHEMAS.contains(&keyword);
    match value {
        Value::Object(named) if is_named => {
            schemas.extend(named.values().filter_map(Value::as_object));
        }
        Value::Object(schema) if SCHEMAS.contains(&keyword) => schemas.push(schema),
        Value::Array(several) if SCHEMAS.contains(&keyword) => {
            schemas.extend(several.iter().filter_map(Value::as_object));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(schema: &str, expected: &[(&str, &[&str])]) {
        let found = annotations(schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        let found: Vec<_> = found
            .iter()
            .map(|h| (h.name.as_str(), h.path.iter().map(String::as_str).collect()))
            .collect();
        let expected: Vec<(&str, Vec<&str>)> = expected
            .iter()
            .map(|(name, path)| (*name, path.to_vec()))
            .collect();
        assert_eq!(found, expected, "{schema}");
    }

    fn refuses(schema: &str, message: &str) {
        let error = annotations(schema).expect_err(schema);
        assert_eq!(error.to_string(), message, "{schema}");
    }

    #[test]
    fn annotations_are_found_along_properties() {
        accepts("{}", &[]);
        accepts(
            r#"{"type":"object","properties":{"q":{"type":"string"}}}"#,
            &[],
        );
        accepts(
            r#"{"properties":{
                "region":{"type":"string","x-mcp-header":"Region"},
                "o":{"type":"object","properties":{
                    "n":{"type":"integer","x-mcp-header":"o-n"},
                    "b":{"type":"boolean","x-mcp-he\u0061der":"B"}}}}}"#,
            &[
                ("Region", &["region"]),
                ("o-n", &["o", "n"]),
                ("B", &["o", "b"]),
            ],
        );
    }

    #[test]
    fn a_key_that_is_data_or_a_property_is_no_annotation() {
        accepts(
            r#"{"properties":{"x-mcp-header":{"type":"string"}},"default":{"x-mcp-header":1},
                "$defs":{"x-mcp-header":{"properties":{"x-mcp-header":{"enum":[{"x-mcp-header":""}]}}}}}"#,
            &[],
        );
    }

    #[test]
    fn names_are_tokens_and_unique_without_case() {
        for name in [
            r#""""#,
            r#""a b""#,
            r#""a\r\nb""#,
            r#""é""#,
            r#""a:b""#,
            "1",
            "null",
        ] {
            refuses(
                &format!(r#"{{"properties":{{"p":{{"type":"string","x-mcp-header":{name}}}}}}}"#),
                "`x-mcp-header` at `p` is not a header name",
            );
        }
        refuses(
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"Id"},
                "b":{"properties":{"c":{"type":"string","x-mcp-header":"iD"}}}}}"#,
            "`x-mcp-header` `iD` is used twice",
        );
    }

    #[test]
    fn only_strings_integers_and_booleans_are_annotated() {
        for kind in [
            r#""type":"number","#,
            r#""type":"object","#,
            r#""type":"array","#,
            r#""type":"null","#,
            r#""type":["string","null"],"#,
            "",
        ] {
            refuses(
                &format!(
                    r#"{{"properties":{{"o":{{"properties":{{"p":{{{kind}"x-mcp-header":"P"}}}}}}}}}}"#
                ),
                "`x-mcp-header` at `o/p` is not on a string, an integer or a boolean",
            );
        }
    }

    #[test]
    fn annotations_have_one_fixed_place() {
        let leaf = r#"{"type":"string","x-mcp-header":"P"}"#;
        let inner = format!(r#"{{"properties":{{"p":{leaf}}}}}"#);
        for keyword in SCHEMAS {
            for schema in [leaf, &inner, &format!("[true,{inner}]")] {
                refuses(
                    &format!(r#"{{"properties":{{"q":{{"{keyword}":{schema}}}}}}}"#),
                    &format!(
                        "`x-mcp-header` below `{keyword}` has no fixed place in the arguments"
                    ),
                );
            }
        }
        for keyword in NAMED_SCHEMAS {
            refuses(
                &format!(r#"{{"{keyword}":{{"k":{{"items":{inner}}}}}}}"#),
                &format!("`x-mcp-header` below `{keyword}` has no fixed place in the arguments"),
            );
        }
        refuses(
            leaf,
            "`x-mcp-header` below `` has no fixed place in the arguments",
        );
    }

    #[test]
    fn a_schema_that_cannot_be_read_is_refused() {
        refuses(r#"{"x-mcp-header""#, "input schema is not readable JSON");
        accepts(r#"[{"x-mcp-header":1}]"#, &[]);
    }
}
