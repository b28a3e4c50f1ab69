//! JSON with comments and trailing commas, as editors write it.

/// Replaces comments and trailing commas by nothing; texts stay as they are.
pub(super) fn strip(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.trim_start_matches('\u{feff}');
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => text_length(rest),
            '/' if rest.starts_with("//") => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
                continue;
            }
            '}' | ']' => {
                let kept = plain.trim_end().trim_end_matches(',').len();
                if plain.trim_end().ends_with(',') {
                    plain.truncate(kept);
                }
                1
            }
            other => other.len_utf8(),
        };
        let (piece, after) = rest.split_at(length);
        plain.push_str(piece);
        rest = after;
    }
    plain
}

/// Bytes of the string literal at the start of `rest`, quotes included; all of `rest` if it does not end.
pub(super) fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(strip(text), expected);
    }

    #[test]
    fn comments_and_trailing_commas_go() {
        check("{\"a\": 1, // x\n}", "{\"a\": 1}");
        check("[1, /* , ] */ 2, ]", "[1,  2]");
        check("\u{feff}{}", "{}");
        check("/* open", "");
    }

    #[test]
    fn texts_stay() {
        check(r#"{"a": "http://x, // ,]"}"#, r#"{"a": "http://x, // ,]"}"#);
        check(r#"["\"//", "\\"]"#, r#"["\"//", "\\"]"#);
    }

    proptest::proptest! {
        #[test]
        fn plain_json_stays(text in r#"[ -~]{0,12}"#) {
            let json = serde_json::json!({ text.clone(): [text] }).to_string();
            proptest::prop_assert_eq!(strip(&json), json);
        }
    }
}
