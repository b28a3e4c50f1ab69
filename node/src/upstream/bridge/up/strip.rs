//! Removal of members of an object that was walked already: one walk serves all looks at it.

use lockgate_proto::jsonrpc::{Member, Span, Splice};

/// Removes the `found` members of the object at `object` for which `goes` holds, with their commas. `found` are all
/// its members, in order. Returns how many stay.
pub(super) fn remove(
    splice: &mut Splice<'_>,
    object: Span,
    found: &[Member<'_>],
    goes: impl Fn(&Member<'_>) -> bool,
) -> usize {
    let mut kept = 0;
    // End of the last member that stays, and start of the run of members that go.
    let (mut end_kept, mut run) = (None, None);
    for member in found {
        if goes(member) {
            run.get_or_insert(member.key_span.start);
            continue;
        }
        if let Some(start) = run.take() {
            cut(splice, object, start, member.key_span.start);
        }
        end_kept = Some(member.value_span.end);
        kept += 1;
    }
    if let (Some(start), Some(last)) = (run, found.last()) {
        cut(
            splice,
            object,
            end_kept.unwrap_or(start),
            last.value_span.end,
        );
    }
    kept
}

fn cut(splice: &mut Splice<'_>, object: Span, start: u32, end: u32) {
    splice.replace(Span { start, end }.shift(object.start), String::new());
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::members;
    use proptest::prelude::*;

    use super::*;

    fn without(text: &str, keys: &[&str]) -> String {
        let mut splice = Splice::new(text);
        let found: Vec<_> = members(text).collect();
        remove(&mut splice, Span::new(0, text.len()), &found, |member| {
            keys.contains(&&*member.key)
        });
        String::from_utf8(splice.finish().to_vec()).unwrap()
    }

    #[test]
    fn members_go_with_their_commas() {
        let text = r#"{"a":1, "b":2 ,"c":3}"#;
        assert_eq!(without(text, &["a"]), r#"{"b":2 ,"c":3}"#);
        assert_eq!(without(text, &["b"]), r#"{"a":1, "c":3}"#);
        assert_eq!(without(text, &["b", "c"]), r#"{"a":1}"#);
        assert_eq!(without(text, &["a", "c"]), r#"{"b":2}"#);
        assert_eq!(without(text, &["a", "b", "c"]), "{}");
        assert_eq!(without(text, &["x"]), text);
        assert_eq!(without("{}", &["x"]), "{}");
    }

    proptest! {
        #[test]
        fn what_stays_is_the_same_object_without_what_goes(
            keys in proptest::collection::vec("[a-e]", 0..8),
            goes in proptest::collection::vec("[a-e]", 0..4),
        ) {
            let written: Vec<String> = keys.iter().enumerate().map(|(n, k)| format!("\"{k}\":{n}")).collect();
            let text = format!("{{{}}}", written.join(" , "));
            let goes: Vec<&str> = goes.iter().map(String::as_str).collect();
            let left = without(&text, &goes);
            let found: Vec<String> = members(&left).map(|m| format!("\"{}\":{}", m.key, m.value)).collect();
            let kept: Vec<String> = written
                .iter()
                .zip(&keys)
                .filter(|(_, k)| !goes.contains(&k.as_str()))
                .map(|(w, _)| w.clone())
                .collect();
            prop_assert_eq!(found, kept);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&left).is_ok());
        }
    }
}
