//! Edits on raw JSON text: everything that is not edited keeps its bytes.

use bytes::Bytes;

use super::{Member, Span, encode_str, members};

/// A list of edits against one text, applied in one copy by [`Splice::finish`].
///
/// Spans refer to the original text. Where two edits overlap (asserted in debug builds), the one that starts
/// first stands and the other is ignored. Changes to one object may come in any order and number: per key
/// the last one holds.
#[derive(Debug)]
pub struct Splice<'a> {
    text: &'a str,
    edits: Vec<(Span, String)>,
    objects: Vec<Changes>,
}

/// What shall become of the members of one object.
#[derive(Debug)]
struct Changes {
    object: Span,
    /// Key and new value; `None` removes the member. In order of first mention, each key once.
    members: Vec<(String, Option<String>)>,
}

impl<'a> Splice<'a> {
    /// Starts with no edits.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            edits: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// Replaces `span` by `with`.
    pub fn replace(&mut self, span: Span, with: impl Into<String>) -> &mut Self {
        self.edits.push((span, with.into()));
        self
    }

    /// Sets member `key` of the object at `object` to `value` (raw JSON): replaces the value or adds the member
    /// at the end. Of a repeated key the last one is replaced and the others go, so that every reader finds
    /// the new value. What is not an object stays as it is.
    pub fn set_member(&mut self, object: Span, key: &str, value: &str) -> &mut Self {
        if object.of(self.text).starts_with('{') {
            self.change(object, key, Some(value.to_owned()));
        }
        self
    }

    /// Removes member `key` of the object at `object`, with its comma, as often as it is there.
    /// No member, no edit.
    pub fn remove_member(&mut self, object: Span, key: &str) -> &mut Self {
        if members(object.of(self.text)).any(|m| m.key == key) {
            self.change(object, key, None);
            return self;
        }
        // It may have been added before; then nothing is left to do.
        for changes in self.objects.iter_mut().filter(|c| c.object == object) {
            changes.members.retain(|(k, _)| k != key);
        }
        self.objects.retain(|c| !c.members.is_empty());
        self
    }

    fn change(&mut self, object: Span, key: &str, value: Option<String>) {
        let at = self.objects.iter().position(|c| c.object == object);
        let changes = match at.and_then(|at| self.objects.get_mut(at)) {
            Some(changes) => changes,
            None => self.objects.push_mut(Changes {
                object,
                members: Vec::new(),
            }),
        };
        match changes.members.iter_mut().find(|(k, _)| k == key) {
            Some((_, earlier)) => *earlier = value,
            None => changes.members.push((key.to_owned(), value)),
        }
    }

    /// Whether nothing was edited.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty() && self.objects.is_empty()
    }

    /// Applies the edits: one allocation, one copy.
    pub fn finish(self) -> Bytes {
        self.finish_text().into()
    }

    /// [`Self::finish`], with the proof that it is text.
    pub(super) fn finish_text(mut self) -> String {
        for changes in &self.objects {
            changes.resolve(self.text, &mut self.edits);
        }
        // Stable: insertions at one place keep their order, and come before what is replaced there.
        self.edits.sort_by_key(|(span, _)| *span);
        let added: usize = self.edits.iter().map(|(_, with)| with.len()).sum();
        let mut out = String::with_capacity(self.text.len() + added);
        let mut done = 0;
        for (span, with) in &self.edits {
            let range = span.range();
            let kept = self.text.get(done..range.start);
            debug_assert!(kept.is_some(), "edit at {range:?} overlaps one before it");
            if let Some(kept) = kept {
                out.push_str(kept);
                out.push_str(with);
                done = range.end;
            }
        }
        out.push_str(self.text.get(done..).unwrap_or_default());
        out
    }
}

impl Changes {
    /// Turns the changes into edits of `text`, with the commas that they need.
    fn resolve(&self, text: &str, edits: &mut Vec<(Span, String)>) {
        let found: Vec<Member<'_>> = members(self.object.of(text)).collect();
        let mut last_kept = None;
        for (i, member) in found.iter().enumerate() {
            let repeated = || found.iter().skip(i + 1).any(|m| m.key == member.key);
            match self.members.iter().find(|(key, _)| *key == member.key) {
                None => last_kept = Some(i),
                Some((_, Some(value))) if !repeated() => {
                    last_kept = Some(i);
                    edits.push((member.value_span.shift(self.object.start), value.clone()));
                }
                Some(_) => {
                    let gap = removal(&found, i, last_kept.is_some());
                    edits.push((gap.shift(self.object.start), String::new()));
                }
            }
        }
        self.append(&found, last_kept.is_some(), edits);
    }

    fn append(&self, found: &[Member<'_>], mut comma: bool, edits: &mut Vec<(Span, String)>) {
        let mut added = String::new();
        for (key, value) in &self.members {
            let Some(value) = value else { continue };
            if found.iter().any(|m| m.key == *key) {
                continue;
            }
            if comma {
                added.push(',');
            }
            comma = true;
            added.push_str(&encode_str(key));
            added.push(':');
            added.push_str(value);
        }
        if added.is_empty() {
            return;
        }
        // Behind the last member, or behind the bracket.
        let at = found.last().map_or(1, |m| m.value_span.end) + self.object.start;
        edits.push((Span { start: at, end: at }, added));
    }
}

/// What goes with member `i`: the comma before it when a member stays before it, or else the comma behind it.
/// Neighbouring removals touch, but never overlap.
fn removal(found: &[Member<'_>], i: usize, follows_kept: bool) -> Span {
    let before = i.checked_sub(1).and_then(|i| found.get(i));
    match (before, found.get(i), found.get(i + 1)) {
        (Some(before), Some(member), _) if follows_kept => Span {
            start: before.value_span.end,
            end: member.value_span.end,
        },
        (_, Some(member), Some(next)) => Span {
            start: member.key_span.start,
            end: next.key_span.start,
        },
        (_, Some(member), None) => Span {
            start: member.key_span.start,
            end: member.value_span.end,
        },
        (_, None, _) => Span { start: 0, end: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies `script` to the outermost object: `+k=v` sets, `-k` removes.
    fn check(text: &str, script: &str, expected: &str) {
        let object = Span::new(0, text.len());
        let mut splice = Splice::new(text);
        for step in script.split_whitespace() {
            let (op, rest) = step.split_at(1);
            match (op, rest.split_once('=')) {
                ("+", Some((key, value))) => splice.set_member(object, key, value),
                _ => splice.remove_member(object, rest),
            };
        }
        assert_eq!(splice.is_empty(), text == expected, "{text} {script}");
        assert_eq!(splice.finish(), expected.as_bytes(), "{text} {script}");
    }

    #[test]
    fn members_are_added_at_the_end() {
        check("{}", "+a=1", r#"{"a":1}"#);
        check("{ }", "+a=1 +b=2", r#"{"a":1,"b":2 }"#);
        check("{\"x\": 0\n}", "+a=1 +b=2", "{\"x\": 0,\"a\":1,\"b\":2\n}");
    }

    #[test]
    fn the_last_change_of_a_key_holds() {
        check("{}", "+a=1 +a=2", r#"{"a":2}"#);
        check(r#"{"a":0}"#, "+a=1 +a=2", r#"{"a":2}"#);
        check(r#"{"a":0}"#, "+a=1 -a", "{}");
        check(r#"{"a":0}"#, "-a +a=1", r#"{"a":1}"#);
        check("{}", "+a=1 -a", "{}");
        check("{}", "+b=2 +a=1 -a", r#"{"b":2}"#);
    }

    #[test]
    fn values_are_replaced_where_they_stand() {
        check(
            r#"{ "a" : 1 , "b":2}"#,
            "+b=[] +a=null",
            r#"{ "a" : null , "b":[]}"#,
        );
        check(r#"{"\u0061":1}"#, "+a=2", r#"{"\u0061":2}"#);
    }

    #[test]
    fn members_go_with_one_comma() {
        let text = r#"{"a":1, "b":2 ,"c":3}"#;
        check(text, "-a", r#"{"b":2 ,"c":3}"#);
        check(text, "-b", r#"{"a":1 ,"c":3}"#);
        check(text, "-c", r#"{"a":1, "b":2}"#);
        check(text, "-a -b", r#"{"c":3}"#);
        check(text, "-c -b", r#"{"a":1}"#);
        check(text, "-a -c", r#"{"b":2}"#);
        check(text, "-b -a -c", "{}");
        check(text, "-x", text);
        check("[1]", "-a +a=1", "[1]");
    }

    #[test]
    fn removals_and_additions_meet() {
        check(r#"{"a":1}"#, "-a +b=2", r#"{"b":2}"#);
        check(r#"{"a":1,"b":2}"#, "-b +c=3 +d=4", r#"{"a":1,"c":3,"d":4}"#);
        check(r#"{"a":1,"b":2}"#, "-a -b +c=3", r#"{"c":3}"#);
        check(r#"{"a":1,"b":2}"#, "-a +b=3 +c=4", r#"{"b":3,"c":4}"#);
    }

    #[test]
    fn repeated_keys_become_one() {
        check(r#"{"a":1,"b":2,"a":3}"#, "+a=4", r#"{"b":2,"a":4}"#);
        check(r#"{"a":1,"b":2,"a":3}"#, "-a", r#"{"b":2}"#);
        check(r#"{"a":1,"a":3}"#, "+a=4", r#"{"a":4}"#);
    }

    #[test]
    fn edits_of_several_objects_meet_in_one_text() {
        let text = r#"{"id":1,"params":{"name":"s_t","_meta":{"x":0}}}"#;
        let at = |path: &[&str]| super::super::find_path(text, path).unwrap();
        let mut splice = Splice::new(text);
        splice
            .set_member(at(&["params", "_meta"]), "k", "true")
            .set_member(at(&["params"]), "name", "\"t\"")
            .replace(at(&["id"]), "\"g-7\"")
            .remove_member(at(&["params", "_meta"]), "x");
        assert_eq!(
            splice.finish(),
            &br#"{"id":"g-7","params":{"name":"t","_meta":{"k":true}}}"#[..]
        );
    }

    #[test]
    fn insertions_at_one_place_keep_their_order() {
        let at = Span { start: 1, end: 1 };
        let mut splice = Splice::new("ab");
        splice
            .replace(Span { start: 1, end: 2 }, "B")
            .replace(at, "1")
            .replace(at, "2");
        assert_eq!(splice.finish(), "a12B");
    }
}
