use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// Read once: that takes longer than all else here.
static RULES: LazyLock<Redact> = LazyLock::new(|| {
    Redact::with(
        &["iban", "user.*.name"],
        &[r"\b\d{16}\b", "customer-[0-9]+"],
    )
});

#[track_caller]
fn check(args: &str, want: &str) {
    let is_whole = !want.contains(HIDDEN) && !want.contains(CUT);
    let found = redact(&RULES, args);
    assert_eq!(found.json, want);
    assert_eq!(found.is_whole, is_whole, "{args}");
}

#[test]
fn what_nothing_hides_keeps_its_bytes_and_order() {
    let args = r#"{"z":1.0,"a":[true,null,-1e3,{}],"text":"a\nb"}"#;
    check(args, args);
    check(
        r#" { "b" : [ 1 , 2 ] , "a" : "x" } "#,
        r#"{"b":[1,2],"a":"x"}"#,
    );
    check("null", "null");
}

#[test]
fn values_of_named_keys_are_hidden_wherever_they_stand() {
    check(r#"{"password":"x"}"#, r#"{"password":"[redacted]"}"#);
    check(
        r#"{"a":[[{"Client-Secret":{"b":[1]}}],2]}"#,
        r#"{"a":[[{"Client-Secret":"[redacted]"}],2]}"#,
    );
    check(
        r#"{"user":[{"a":{"name":"x"}}],"name":"y"}"#,
        r#"{"user":[{"a":{"name":"[redacted]"}}],"name":"y"}"#,
    );
}

#[test]
fn a_key_is_what_it_reads_as() {
    check(r#"{"\u0070assword":1}"#, r#"{"password":"[redacted]"}"#);
    check(
        r#"{"pa\u017f\u017fword":1}"#,
        "{\"pa\u{17f}\u{17f}word\":\"[redacted]\"}",
    );
    check(
        r#"{"iban":1,"IBAN":2,"iban":3}"#,
        r#"{"iban":"[redacted]","IBAN":"[redacted]","iban":"[redacted]"}"#,
    );
}

#[test]
fn parts_of_texts_keys_and_numbers_are_hidden_by_pattern() {
    check(
        r#"{"a":"of customer-12, \u0063ustomer-13"}"#,
        r#"{"a":"of [redacted], [redacted]"}"#,
    );
    check(r#"{"customer-12":1}"#, r#"{"[redacted]":1}"#);
    check(r#"[1234567812345678,12]"#, r#"["[redacted]",12]"#);
}

#[test]
fn a_name_beside_a_value_is_as_a_key() {
    check(
        r#"[{"value":"x","name":"Authorization"},{"name":"a","value":"y"}]"#,
        r#"[{"value":"[redacted]","name":"Authorization"},{"name":"a","value":"y"}]"#,
    );
    check(
        r#"["--password","x","--path","y"]"#,
        r#"["--password","[redacted]","--path","y"]"#,
    );
    check(
        r#"["--pin",1234,"--otp",true,["token",{"a":1}]]"#,
        r#"["--pin","[redacted]","--otp","[redacted]",["token",{"a":1}]]"#,
    );
    let escaped: String = "Authorization"
        .chars()
        .map(|letter| format!("\\u{:04x}", u32::from(letter)))
        .collect();
    check(
        &format!(r#"[{{"name":"{escaped}","value":"x"}},["{escaped}","x"]]"#),
        r#"[{"name":"Authorization","value":"[redacted]"},["Authorization","[redacted]"]]"#,
    );
}

#[test]
fn json_in_a_text_is_looked_into() {
    check(
        r#"{"body":"{\"iban\":\"x\",\"in\":\"[{\\\"otp\\\":1}]\"}"}"#,
        r#"{"body":"{\"iban\":\"[redacted]\",\"in\":\"[{\\\"otp\\\":\\\"[redacted]\\\"}]\"}"}"#,
    );
}

#[test]
fn json_in_a_text_in_a_text_is_looked_into() {
    let twice = json!({ "body": json!("{\"iban\":\"x\"}").to_string() });
    let want = json!({ "body": json!("{\"iban\":\"[redacted]\"}").to_string() });
    check(&twice.to_string(), &want.to_string());
}

#[test]
fn half_a_character_hides_its_text() {
    check(r#"["\ud800customer-1"]"#, r#"["[redacted]"]"#);
}

#[test]
fn what_does_not_fit_is_left_out_visibly() {
    let long = "x".repeat(300);
    check(&format!("\"{long}\""), &format!("\"{}…\"", &long[..256]));
    check(&format!("[\"{}\"]", "x".repeat(5000)), r#"["…"]"#);
    check(&format!("[{}]", "1".repeat(41)), r#"["…"]"#);
    let members: Vec<String> = (0..400).map(|n| format!("\"k{n}\":{n}")).collect();
    let found = redact(&RULES, &format!("{{{}}}", members.join(",")));
    assert!(found.json.ends_with(r#","…":"…"}"#), "{}", found.json);
    assert!(found.json.len() > ARGS_BYTES_MAX - 20 && found.json.len() <= ARGS_BYTES_MAX);
    assert!(!found.is_whole);
    let deep = format!("{}1{}", "[".repeat(30), "]".repeat(30));
    check(&deep, &format!("{}\"…\"{}", "[".repeat(16), "]".repeat(16)));
    let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(16), "]".repeat(16));
    check(&deep(r#""{\"iban\":1}""#), &deep("\"…\""));
    check(&deep("\"x\""), &deep("\"x\""));
}

#[test]
fn a_short_secret_that_was_left_out_spoils_the_whole() {
    let filler: Vec<String> = (0..125).map(|n| format!("\"k{n:03}\":1")).collect();
    let args = format!(r#"{{{},"pin":"1234"}}"#, filler.join(","));
    let found = redact(&RULES, &args);
    assert!(found.json.ends_with(r#","…":"…"}"#), "{}", found.json);
    assert!(!found.is_whole);
    let text = format!("\"{}1234\"", "x ".repeat(128));
    let found = redact(&RULES, &text);
    assert_eq!(found.json, format!("\"{}…\"", "x ".repeat(128)));
    assert!(!found.is_whole);
}

#[test]
fn a_secret_is_hidden_before_its_text_is_cut() {
    let text = format!("\"{}customer-12\"", "x ".repeat(125));
    let found = redact(&RULES, &text);
    assert_eq!(found.json, format!("\"{}[redac…\"", "x ".repeat(125)));
    assert!(!found.is_whole);
}

#[test]
fn what_is_no_value_is_not_shown() {
    for text in ["", "tru", "1 2", "x"] {
        check(text, "\"…\"");
    }
}

const SECRET: &str = "hunter2-hunter2";

/// JSON in which every leaf and some keys are harmless.
fn harmless() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-f]{0,6}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// `value` with the secret under a hidden key, on top, in a list or in a text, as `way` says.
fn planted(value: Value, way: u8, key: &str) -> Value {
    let secret = json!({ key: { "x": [SECRET, 1] } });
    match (value, way % 4) {
        (Value::Object(mut members), 0) => {
            members.insert(key.to_owned(), json!(SECRET));
            Value::Object(members)
        }
        (Value::Array(mut items), 1) => {
            items.push(secret);
            Value::Array(items)
        }
        (value, 2) => json!([value, { "b": secret.to_string() }]),
        (value, 3) => json!([[{ "name": key, "value": SECRET }], value]),
        (value, _) => json!({ "a": value, "b": [[secret]] }),
    }
}

/// JSON without words of the grammar, with every `every`th letter of its keys and texts as an escape.
fn escaped(text: &str, every: usize) -> String {
    let mut n = 0;
    text.chars().fold(String::new(), |mut out, letter| {
        n += usize::from(letter.is_ascii_lowercase());
        match letter.is_ascii_lowercase() && n % every == 0 {
            true => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            false => out.push(letter),
        }
        out
    })
}

proptest! {
    #[test]
    fn a_planted_secret_is_never_shown(
        value in harmless(),
        way: u8,
        key in prop::sample::select(vec!["password", "API-KEY", "db_Token", "iban", "Set-Cookie"]),
    ) {
        let text = planted(value, way, key).to_string();
        let found = redact(&RULES, &text);
        prop_assert!(!found.json.contains("hunter2"), "{}", found.json);
        prop_assert!(found.json.len() <= ARGS_BYTES_MAX);
        prop_assert!(serde_json::from_str::<Value>(&found.json).is_ok());
    }

    #[test]
    fn escapes_hide_nothing_from_the_rules(texts in prop::collection::vec("[a-z]{1,8}", 1..4), every in 1_usize..4) {
        let list = json!([texts, { "password": SECRET, "deep": [{ "iban": SECRET }] }]).to_string();
        let found = redact(&RULES, &escaped(&list, every));
        prop_assert!(!found.json.contains("hunter2"), "{}", found.json);
        prop_assert!(serde_json::from_str::<Value>(&found.json).is_ok());
    }

    #[test]
    fn any_text_is_survived(text in ".{0,200}") {
        let found = redact(&RULES, &text);
        prop_assert!(found.json.len() <= ARGS_BYTES_MAX);
        prop_assert!(serde_json::from_str::<IgnoredAny>(&found.json).is_ok());
    }
}
