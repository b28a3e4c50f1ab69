//! The YAML text as a tree whose nodes know their lines. Everything that is checked is checked here or on the typed
//! form of this tree, so that a problem can always say where it is.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// One value with its line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree {
    /// From 1; 0 when unknown.
    pub line: u32,
    /// Its bytes in the text; empty when unknown.
    span: Range<usize>,
    pub value: Value,
}

/// What a node says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A whole number that is too large to be one, or that begins with zeros, as it is written: readers of YAML differ on
    /// whether those make it octal.
    Digits(String),
    Text(String),
    List(Vec<Tree>),
    /// In the order of the file; keys are unique.
    Map(Vec<Entry>),
}

/// One member of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    /// Line of the key, which is where a reader looks first.
    pub line: u32,
    pub value: Tree,
}

/// Why a text is no tree.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub line: Option<u32>,
    pub what: String,
}

impl Tree {
    /// Reads YAML 1.2. A text without any content is an empty mapping.
    pub(super) fn parse(text: &str) -> Result<Self, SyntaxError> {
        let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
        let empty = Self {
            line: 1,
            span: 0..0,
            value: Value::Map(Vec::new()),
        };
        if text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
        {
            return Ok(empty);
        }
        match serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options) {
            Ok(root) => match Self::from(root) {
                Self {
                    value: Value::Null, ..
                } => Ok(empty),
                mut tree => {
                    tree.read_digits(text);
                    Ok(tree)
                }
            },
            Err(error) => Err(syntax_error(&error)),
        }
    }

    /// Looks how numbers are written that were not read as whole ones.
    fn read_digits(&mut self, text: &str) {
        match &mut self.value {
            Value::Float(_) => {
                let written = text.get(self.span.clone()).unwrap_or_default().trim();
                let digits = written.strip_prefix(['+', '-']).unwrap_or(written);
                let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
                let is_padded = digits.starts_with('0')
                    && digits[1..].starts_with(|c: char| c.is_ascii_digit());
                if !digits.is_empty() && (is_whole || is_padded) {
                    self.value = Value::Digits(written.to_owned());
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| item.read_digits(text)),
            Value::Map(entries) => {
                let values = entries.iter_mut().map(|entry| &mut entry.value);
                values.for_each(|value| value.read_digits(text));
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Digits(_) | Value::Text(_) => {}
        }
    }

    /// Takes JSON that came over the API; it has no lines.
    pub(super) fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None if number.is_u64() => Value::Digits(number.to_string()),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Self::from_json).collect()),
            Json::Object(members) => Value::Map(
                members
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        line: 0,
                        value: Self::from_json(value),
                    })
                    .collect(),
            ),
        };
        Self {
            line: 0,
            span: 0..0,
            value,
        }
    }

    /// The same without lines. Members without a value are left out: `env:` alone means what its absence means.
    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::Digits(text) | Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => Json::Object(
                entries
                    .iter()
                    .filter(|entry| entry.value.value != Value::Null)
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect(),
            ),
        }
    }

    /// Lines of all keys below this node.
    pub(super) fn lines(&self) -> Lines {
        let mut lines = Lines::default();
        lines.add(self, &KeyPath::root());
        lines
    }
}

impl From<Spanned<Value>> for Tree {
    fn from(spanned: Spanned<Value>) -> Self {
        Self {
            line: line_of(&spanned.referenced),
            // Of an alias: where its anchor is.
            span: bytes_of(&spanned.defined).unwrap_or_default(),
            value: spanned.value,
        }
    }
}

fn bytes_of(location: &serde_saphyr::Location) -> Option<Range<usize>> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let len = usize::try_from(span.byte_len()?).ok()?;
    Some(start..start.checked_add(len)?)
}

fn line_of(location: &serde_saphyr::Location) -> u32 {
    u32::try_from(location.line()).unwrap_or(0)
}

fn syntax_error(error: &serde_saphyr::Error) -> SyntaxError {
    let line = error
        .location()
        .map(|location| line_of(&location))
        .filter(|line| *line > 0);
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error {
        let what = format!(
            "the key {} is there twice",
            key.as_ref()
                .map_or_else(String::new, |key| format!("`{key}`"))
        );
        return SyntaxError { line, what };
    }
    // Values may be null, so that it is a key.
    if let serde_saphyr::Error::NullIntoString { .. } = error {
        let what = "a key is empty, `~` or `null`, which is a name in quotes only".to_owned();
        return SyntaxError { line, what };
    }
    let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    // The renderer appends the position, which the caller shows in its own form.
    let what = match text
        .split_once(" at line ")
        .or_else(|| text.split_once(" (line "))
    {
        Some((what, _)) if line.is_some() => what.to_owned(),
        _ => text,
    };
    SyntaxError {
        line,
        what: what.trim_end_matches(['.', '\n', ':', ' ']).to_owned(),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::Digits(value.to_string()), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(Tree::from(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(key) = members.next_key::<Spanned<String>>()? {
            let value = Tree::from(members.next_value::<Spanned<Value>>()?);
            if entries.iter().any(|entry| entry.key == key.value) {
                return Err(de::Error::custom(format_args!(
                    "the key `{}` is there twice",
                    key.value
                )));
            }
            entries.push(Entry {
                line: line_of(&key.referenced),
                key: key.value,
                value,
            });
        }
        Ok(Value::Map(entries))
    }
}

/// Name of a key from the root, for example `identity.api_keys[0].roles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPath(String);

impl KeyPath {
    pub(super) const fn root() -> Self {
        Self(String::new())
    }

    /// A member. Names that would be misread are quoted.
    pub(super) fn key(&self, name: &str) -> Self {
        let plain = !name.is_empty() && !name.contains(['.', '[', ' ', '"']);
        let name = if plain {
            name.to_owned()
        } else {
            format!("{name:?}")
        };
        if self.0.is_empty() {
            Self(name)
        } else {
            Self(format!("{}.{name}", self.0))
        }
    }

    /// An item of a list.
    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where keys stand in the file.
#[derive(Debug, Default)]
pub(super) struct Lines(HashMap<String, u32>);

impl Lines {
    fn add(&mut self, tree: &Tree, path: &KeyPath) {
        match &tree.value {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = path.index(index);
                    self.0.insert(path.as_str().to_owned(), item.line);
                    self.add(item, &path);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let path = path.key(&entry.key);
                    self.0.insert(path.as_str().to_owned(), entry.line);
                    self.add(&entry.value, &path);
                }
            }
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Digits(_)
            | Value::Text(_) => {}
        }
    }

    /// Line of `key`, or of the nearest key above it that is in the file.
    pub(super) fn of(&self, key: &str) -> Option<u32> {
        let mut key = key;
        loop {
            if let Some(line) = self.0.get(key) {
                return Some(*line).filter(|line| *line > 0);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "listen: 127.0.0.1:7777\nservers:\n  a.b:\n    args: [x,\n      y]\n    n: 3\n";

    #[test]
    fn every_key_knows_its_line() {
        let lines = Tree::parse(TEXT).unwrap().lines();
        assert_eq!(lines.of("listen"), Some(1));
        assert_eq!(lines.of("servers.\"a.b\".args"), Some(4));
        assert_eq!(lines.of("servers.\"a.b\".args[1]"), Some(5));
        assert_eq!(lines.of("servers.\"a.b\".n"), Some(6));
        assert_eq!(lines.of("servers.\"a.b\".missing"), Some(3));
        assert_eq!(lines.of("missing"), None);
    }

    #[test]
    fn json_keeps_order_and_types() {
        let json = Tree::parse(TEXT).unwrap().to_json();
        insta::assert_snapshot!(json, @r#"{"listen":"127.0.0.1:7777","servers":{"a.b":{"args":["x","y"],"n":3}}}"#);
    }

    #[track_caller]
    fn refused(text: &str) -> String {
        let error = Tree::parse(text).unwrap_err();
        format!("{:?}: {}", error.line, error.what)
    }

    #[test]
    fn a_broken_text_names_the_line() {
        insta::assert_snapshot!(refused("a: 1\nb: [1, 2\nc: 3\n"), @"Some(3): illegal placement of ':' indicator");
        insta::assert_snapshot!(refused("a: 1\nb: 2\na: 3\n"), @"Some(3): the key `a` is there twice");
        insta::assert_snapshot!(refused("a: *nothing\n"), @"Some(1): reference to unknown value");
        insta::assert_snapshot!(refused("a: 1\nb: { null: 2 }\n"), @"Some(2): a key is empty, `~` or `null`, which is a name in quotes only");
        insta::assert_snapshot!(refused("a: 1\n---\nb: 2\n"), @"Some(3): only single YAML document expected but multiple found");
    }

    #[test]
    fn nothing_is_an_empty_mapping() {
        for text in ["", "# only a comment\n", "---\n", "~"] {
            assert_eq!(
                Tree::parse(text).unwrap().value,
                Value::Map(Vec::new()),
                "{text:?}"
            );
        }
    }
}
