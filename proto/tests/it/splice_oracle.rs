use lockgate_proto::jsonrpc::{Span, Splice, find_path};
use proptest::prelude::*;

use crate::tree::{Tree, any_blanks, any_key};

/// A change to the outer object (`inner == false`) or to the object below its member `in`.
#[derive(Clone, Debug)]
struct Change {
    inner: bool,
    key: String,
    value: Option<Tree>,
}

fn any_change() -> impl Strategy<Value = Change> {
    (any::<bool>(), any_key(), proptest::option::of(Tree::any()))
        .prop_map(|(inner, key, value)| Change { inner, key, value })
}

/// What an editor of trees would do.
fn apply(members: &mut Vec<(String, Tree)>, key: &str, value: Option<&Tree>) {
    let last = members.iter().rposition(|(k, _)| k == key);
    if let (Some(last), Some(value)) = (last, value) {
        members[last].1 = value.clone();
    }
    let mut at = 0;
    members.retain(|(k, _)| {
        at += 1;
        k != key || (value.is_some() && Some(at - 1) == last)
    });
    if let (None, Some(value)) = (last, value) {
        members.push((key.to_owned(), value.clone()));
    }
}

proptest! {
    #[test]
    fn edits_of_the_text_are_edits_of_the_tree(
        outer in proptest::collection::vec((any_key(), Tree::any()), 0..6),
        inner in proptest::collection::vec((any_key(), Tree::any()), 0..6),
        place in any::<proptest::sample::Index>(),
        blanks in any_blanks(),
        changes in proptest::collection::vec(any_change(), 0..8),
    ) {
        let mut outer = outer;
        let mut inner = inner;
        let place = place.index(outer.len() + 1);
        outer.insert(place, ("in".to_owned(), Tree::Object(inner.clone())));
        let text = Tree::Object(outer.clone()).write(&blanks);
        let outer_span = Span { start: 0, end: u32::try_from(text.len()).unwrap() };
        let inner_span = find_path(&text, &["in"]).unwrap();

        let mut splice = Splice::new(&text);
        for Change { inner: is_inner, key, value } in &changes {
            let span = if *is_inner { inner_span } else { outer_span };
            match value {
                Some(value) => splice.set_member(span, key, &value.write(&blanks)),
                None => splice.remove_member(span, key),
            };
        }
        // One change per key holds in the end: the last one, at the place of the first.
        for (is_inner, members) in [(true, &mut inner), (false, &mut outer)] {
            let mine = || changes.iter().filter(|c| c.inner == is_inner);
            let mut keys: Vec<&str> = Vec::new();
            for change in mine() {
                // A new key that is removed again leaves its place.
                let is_new = members.iter().all(|(key, _)| *key != change.key);
                if change.value.is_none() && is_new {
                    keys.retain(|key| *key != change.key);
                } else if !keys.contains(&change.key.as_str()) {
                    keys.push(&change.key);
                }
            }
            for key in keys {
                let last = mine().rfind(|c| c.key == key).unwrap();
                apply(members, key, last.value.as_ref());
            }
        }
        let at = outer.iter().position(|(key, _)| key == "in").unwrap();
        outer[at].1 = Tree::Object(inner);

        let edited = String::from_utf8(splice.finish().to_vec()).unwrap();
        prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&edited).is_ok());
        let read = Tree::read(edited.trim_end());
        prop_assert_eq!(read, Tree::Object(outer));
    }
}
