//! JSON texts whose spelling is not what a serialiser would choose.

use std::fmt::Write as _;

use proptest::prelude::*;

/// Any value.
pub(super) fn json() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        number(),
        string(),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let item =
            (inner.clone(), space()).prop_map(|(text, space)| format!("{space}{text}{space}"));
        let list = proptest::collection::vec(item, 0..5);
        prop_oneof![
            list.prop_map(|items| format!("[{}]", items.join(","))),
            object_of(inner)
        ]
    })
    .boxed()
}

/// Any object.
pub(super) fn object() -> BoxedStrategy<String> {
    object_of(json()).boxed()
}

/// A request id; numbers beyond 64 bits and escapes among them.
pub(super) fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        Just("18446744073709551616".to_owned()),
        "\"[a-z]{1,8}\"",
        Just(r#""\u0069d""#.to_owned()),
    ]
}

/// Members in the order in which they were drawn.
fn object_of(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    proptest::collection::vec((string(), value, space()), 0..5).prop_map(|members| {
        let mut text = String::from("{");
        for (n, (key, value, space)) in members.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            // The number keeps keys apart, whatever was drawn.
            let key = &key[1..key.len() - 1];
            write!(text, "{comma}{space}\"{n}{key}\"{space}:{value}").unwrap();
        }
        text + "}"
    })
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        proptest::sample::select(vec!["1", "1.0", "-0", "1E+2", "0.10", "1e-400"])
            .prop_map(str::to_owned),
        "[1-9][0-9]{18,60}",
        "-?[1-9][0-9]{0,5}\\.[0-9]{1,30}[eE][-+]?[0-9]{1,2}",
    ]
}

fn string() -> impl Strategy<Value = String> {
    let escape = [
        r"\u00e9",
        r"\u00E9",
        r"\ud83d\ude00",
        r"\u0000",
        r"\/",
        r#"\"\\\b\f\n\r\t"#,
    ];
    let piece = prop_oneof![
        "[ -!#-\\[\\]-~]{0,8}",
        "[äé漢🚪\u{2028}\u{7f}]{1,3}",
        proptest::sample::select(escape.to_vec()).prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn space() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["", " ", "\t  "])
}
