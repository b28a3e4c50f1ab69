//! JSON as a tree of raw scalars: what a message means, number spelling and key order included.

use lockgate_proto::jsonrpc::{decode_str, elements, encode_str, members};
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    /// `null`, `true`, `false` or a number, as spelled.
    Word(String),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Tree {
    /// Any tree of a few levels.
    pub(crate) fn any() -> BoxedStrategy<Self> {
        let leaf = prop_oneof![
            prop_oneof![Just("null"), Just("true"), Just("false")]
                .prop_map(|word| Self::Word(word.to_owned())),
            "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?".prop_map(Self::Word),
            any::<String>().prop_map(Self::Text),
            "[a-z\"\\\\\n]{0,90}".prop_map(Self::Text),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Self::Array),
                proptest::collection::vec((any_key(), inner), 0..8).prop_map(Self::Object),
            ]
        })
        .boxed()
    }

    /// Writes it with `blanks` between the tokens, in turn.
    pub(crate) fn write(&self, blanks: &[&str]) -> String {
        let mut out = String::new();
        self.write_to(&mut out, &mut blanks.iter().copied().cycle());
        out
    }

    fn write_to<'a>(&self, out: &mut String, blanks: &mut impl Iterator<Item = &'a str>) {
        let mut token = |out: &mut String, token: &str| {
            out.push_str(token);
            out.push_str(blanks.next().unwrap_or_default());
        };
        match self {
            Self::Word(word) => token(out, word),
            Self::Text(text) => token(out, &encode_str(text)),
            Self::Array(items) => {
                token(out, "[");
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write_to(out, blanks);
                }
                out.push(']');
            }
            Self::Object(items) => {
                token(out, "{");
                for (i, (key, item)) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    out.push_str(&encode_str(key));
                    out.push(':');
                    item.write_to(out, blanks);
                }
                out.push('}');
            }
        }
    }

    /// Reads it back through the shallow views.
    pub(crate) fn read(raw: &str) -> Self {
        match raw.as_bytes().first() {
            Some(b'"') => decode_str(raw).map_or_else(
                || Self::Word(raw.to_owned()),
                |text| Self::Text(text.into_owned()),
            ),
            Some(b'[') => Self::Array(elements(raw).map(|span| Self::read(span.of(raw))).collect()),
            Some(b'{') => Self::Object(
                members(raw)
                    .map(|m| (m.key.into_owned(), Self::read(m.value)))
                    .collect(),
            ),
            _ => Self::Word(raw.to_owned()),
        }
    }
}

pub(crate) fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-d]", 1 => any::<String>()]
}

pub(crate) fn any_blanks() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(
        prop_oneof![Just(""), Just(" "), Just("\n\t"), Just("\r\n")],
        1..9,
    )
}
