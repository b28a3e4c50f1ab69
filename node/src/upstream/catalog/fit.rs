//! What entries of a list must be for clients to take the list: many refuse all of it for one entry that breaks the
//! schema of MCP, and a merged list is that of all servers.

use std::borrow::Cow;

use lockgate_proto::jsonrpc::{Span, Splice, elements, find};
use lockgate_proto::mcp::Era;

use super::ListKind;
use super::item::Unfit;

/// What a tool takes that does not say it: arguments are an object in any case.
const ANY_OBJECT: &str = r#"{"type":"object"}"#;

/// So many elements of one list are mended. Where more are not what they must be the list goes: each costs as much as
/// there are before it.
const MENDED_MAX: usize = 64;

/// What MCP says of a value.
#[derive(Clone, Copy, Debug)]
enum Form {
    Text,
    Flag,
    Number,
    Texts,
    /// An object, and what its members may be.
    Object(&'static [Member]),
    /// Objects, the member that names each, and what the others may be.
    List(&'static str, &'static [Member]),
}

type Member = (&'static str, Form);

const ICONS: Form = Form::List(
    "src",
    &[
        ("mimeType", Form::Text),
        ("sizes", Form::Texts),
        ("theme", Form::Text),
    ],
);
const META: Form = Form::Object(&[]);
const SCHEMA: &[Member] = &[("properties", Form::Object(&[])), ("required", Form::Texts)];

const TOOL: &[Member] = &[
    ("title", Form::Text),
    ("description", Form::Text),
    ("annotations", Form::Object(TOOL_ANNOTATIONS)),
    ("execution", Form::Object(&[("taskSupport", Form::Text)])),
    ("icons", ICONS),
    ("_meta", META),
];
const TOOL_ANNOTATIONS: &[Member] = &[
    ("title", Form::Text),
    ("readOnlyHint", Form::Flag),
    ("destructiveHint", Form::Flag),
    ("idempotentHint", Form::Flag),
    ("openWorldHint", Form::Flag),
];
const PROMPT: &[Member] = &[
    ("title", Form::Text),
    ("description", Form::Text),
    ("arguments", Form::List("name", PROMPT_ARGUMENT)),
    ("icons", ICONS),
    ("_meta", META),
];
const PROMPT_ARGUMENT: &[Member] = &[
    ("title", Form::Text),
    ("description", Form::Text),
    ("required", Form::Flag),
];
const RESOURCE: &[Member] = &[
    ("title", Form::Text),
    ("description", Form::Text),
    ("mimeType", Form::Text),
    ("size", Form::Number),
    ("annotations", Form::Object(ANNOTATIONS)),
    ("icons", ICONS),
    ("_meta", META),
];
const ANNOTATIONS: &[Member] = &[
    ("audience", Form::Texts),
    ("priority", Form::Number),
    ("lastModified", Form::Text),
];

/// The entry as MCP has it, and which of its members had to be changed for that: what may be left out and is not what it
/// must be goes, and what must be there and can only be one thing is added.
///
/// # Errors
///
/// Fails where neither helps.
pub(super) fn fit(
    kind: ListKind,
    era: Era,
    entry: &str,
) -> Result<(Cow<'_, str>, Vec<String>), Unfit> {
    let members = match kind {
        ListKind::Tools => TOOL,
        ListKind::Prompts => PROMPT,
        ListKind::Resources | ListKind::Templates => RESOURCE,
        // An extension says what they are.
        ListKind::Skills => return Ok((Cow::Borrowed(entry), Vec::new())),
    };
    let mut mend = Mend {
        text: entry,
        splice: Splice::new(entry),
        changed: Vec::new(),
    };
    let whole = Span::new(0, entry.len());
    mend.members(whole, members, "");
    match kind {
        ListKind::Tools => {
            mend.input(whole)?;
            mend.output(whole, era);
        }
        ListKind::Resources | ListKind::Templates => mend.name(whole, kind.key()),
        ListKind::Prompts | ListKind::Skills => {}
    }
    if mend.splice.is_empty() {
        return Ok((Cow::Borrowed(entry), Vec::new()));
    }
    // A splice of text is text.
    let fitting = String::from_utf8_lossy(&mend.splice.finish()).into_owned();
    Ok((Cow::Owned(fitting), mend.changed))
}

#[derive(Debug)]
struct Mend<'a> {
    text: &'a str,
    splice: Splice<'a>,
    changed: Vec<String>,
}

impl<'a> Mend<'a> {
    fn at(&self, object: Span, key: &str) -> Option<Span> {
        Some(find(object.of(self.text), key)?.shift(object.start))
    }

    /// Removes what must not be there as it is; `path` is that of the object.
    fn members(&mut self, object: Span, members: &[Member], path: &str) {
        for (key, form) in members {
            let Some(value) = self.at(object, key) else {
                continue;
            };
            let path = format!("{path}{key}");
            let flawed = match form {
                Form::List(_, members) => self.flawed(value, members),
                _ => Vec::new(),
            };
            if !is(value.of(self.text), *form) || flawed.len() > MENDED_MAX {
                self.splice.remove_member(object, key);
                self.change(path);
                continue;
            }
            match form {
                Form::Object(members) => self.members(value, members, &format!("{path}.")),
                Form::List(_, members) => {
                    for element in flawed {
                        self.members(element, members, &format!("{path}."));
                    }
                }
                Form::Text | Form::Flag | Form::Number | Form::Texts => {}
            }
        }
    }

    /// Elements of `list` with a member that is not what it must be, no more than one above the bound. None of them has
    /// objects or lists of its own to look into.
    fn flawed(&self, list: Span, members: &[Member]) -> Vec<Span> {
        let elements = elements(list.of(self.text)).map(|span| span.shift(list.start));
        let is_flawed = |element: &Span| {
            members.iter().any(|(key, form)| {
                let value = self.at(*element, key);
                value.is_some_and(|value| !is(value.of(self.text), *form))
            })
        };
        elements.filter(is_flawed).take(MENDED_MAX + 1).collect()
    }

    /// Names what was changed, once.
    fn change(&mut self, path: String) {
        if !self.changed.contains(&path) {
            self.changed.push(path);
        }
    }

    fn input(&mut self, tool: Span) -> Result<(), Unfit> {
        let path = "inputSchema";
        let schema = self.at(tool, path);
        let Some(schema) = schema.filter(|schema| schema.of(self.text) != "null") else {
            self.splice.set_member(tool, path, ANY_OBJECT);
            self.change(path.to_owned());
            return Ok(());
        };
        if self.is_of_objects(schema) {
            self.schema(schema, path);
            return Ok(());
        }
        Err(Unfit::Schema {
            entry: self.key_of(tool, ListKind::Tools.key()),
            member: path,
        })
    }

    /// From 2026-07-28 on any schema will do (SEP-2106).
    fn output(&mut self, tool: Span, era: Era) {
        let path = "outputSchema";
        let Some(schema) = self.at(tool, path) else {
            return;
        };
        let is_object = schema.of(self.text).starts_with('{');
        match era {
            Era::Stateless if is_object => {}
            Era::Session if self.is_of_objects(schema) => self.schema(schema, path),
            Era::Session | Era::Stateless => {
                self.splice.remove_member(tool, path);
                self.change(path.to_owned());
            }
        }
    }

    /// Whether it is a schema that says, or may as well say, that it is about objects.
    fn is_of_objects(&self, schema: Span) -> bool {
        let kind = self.at(schema, "type").map(|kind| kind.of(self.text));
        schema.of(self.text).starts_with('{') && matches!(kind, None | Some("null" | "\"object\""))
    }

    fn schema(&mut self, schema: Span, path: &str) {
        self.members(schema, SCHEMA, &format!("{path}."));
        let kind = self.at(schema, "type");
        if kind.is_none_or(|kind| kind.of(self.text) == "null") {
            self.splice.set_member(schema, "type", "\"object\"");
            self.change(format!("{path}.type"));
        }
    }

    /// What has a URI can be told from others without a name, which is for people.
    fn name(&mut self, entry: Span, key: &str) {
        let is_named = self
            .at(entry, "name")
            .is_some_and(|name| is(name.of(self.text), Form::Text));
        if let Some(uri) = self.at(entry, key).filter(|_| !is_named) {
            self.splice.set_member(entry, "name", uri.of(self.text));
            self.change("name".to_owned());
        }
    }

    fn key_of(&self, entry: Span, key: &str) -> Box<str> {
        let raw = self.at(entry, key).map_or("", |key| key.of(self.text));
        raw.trim_matches('"').into()
    }
}

fn is(raw: &str, form: Form) -> bool {
    match form {
        Form::Text => raw.starts_with('"'),
        Form::Flag => matches!(raw, "true" | "false"),
        Form::Number => raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()),
        Form::Texts => raw.starts_with('[') && elements(raw).all(|one| is(one.of(raw), Form::Text)),
        Form::Object(_) => raw.starts_with('{'),
        Form::List(name, _) => {
            let is_named = |one: &str| find(one, name).is_some_and(|at| is(at.of(one), Form::Text));
            raw.starts_with('[') && elements(raw).all(|one| is_named(one.of(raw)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPED: &str = r#""inputSchema":{"type":"object"}"#;

    #[track_caller]
    fn check(kind: ListKind, era: Era, entry: &str, expected: &str, changed: &[&str]) {
        let (found, what) = fit(kind, era, entry).unwrap();
        assert_eq!(
            (&*found, what),
            (expected, changed.iter().map(|&s| s.to_owned()).collect())
        );
        let again = fit(kind, era, &found).unwrap();
        assert!(matches!(again, (Cow::Borrowed(_), _)), "{found} fits");
    }

    #[track_caller]
    fn tool(more: &str, expected: &str, changed: &[&str]) {
        let entry = |more: &str| format!(r#"{{"name":"t"{more}}}"#);
        check(
            ListKind::Tools,
            Era::Session,
            &entry(more),
            &entry(expected),
            changed,
        );
    }

    #[test]
    fn what_mcp_allows_stays_as_it_is() {
        for more in [
            "",
            r#","title":"T","description":"","annotations":{"readOnlyHint":true,"x":null},"x":null,"_meta":{"y":null}"#,
            r#","icons":[{"src":"a"}],"execution":{"taskSupport":"optional"},"outputSchema":{"type":"object"}"#,
        ] {
            let more = format!(",{TYPED}{more}");
            tool(&more, &more, &[]);
        }
        let schema = r#","inputSchema":{"type":"object","properties":{"a":{}},"required":["a"],"default":null}"#;
        tool(schema, schema, &[]);
        let any = r#"{"name":"t","inputSchema":{"type":"object"},"outputSchema":{"type":"array"}}"#;
        check(ListKind::Tools, Era::Stateless, any, any, &[]);
    }

    #[test]
    fn what_may_be_left_out_goes_when_it_is_something_else() {
        let ok = format!(",{TYPED}");
        tool(
            &format!(r#","description":null{ok},"annotations":null"#),
            &ok,
            &["description", "annotations"],
        );
        tool(
            &format!(r#","title":7,"icons":[{{}}]{ok}"#),
            &ok,
            &["title", "icons"],
        );
        tool(
            &format!(r#"{ok},"annotations":{{"title":null,"readOnlyHint":true}}"#),
            &format!(r#"{ok},"annotations":{{"readOnlyHint":true}}"#),
            &["annotations.title"],
        );
        tool(
            &format!(r#"{ok},"outputSchema":{{"type":"array"}}"#),
            &ok,
            &["outputSchema"],
        );
        let prompt = r#"{"name":"p","description":null,"arguments":[{"name":"a","description":null},{"name":"b"}]}"#;
        check(
            ListKind::Prompts,
            Era::Session,
            prompt,
            r#"{"name":"p","arguments":[{"name":"a"},{"name":"b"}]}"#,
            &["description", "arguments.description"],
        );
    }

    #[test]
    fn what_must_be_there_is_added_where_it_can_be_one_thing_only() {
        let any = format!(",{TYPED}");
        tool("", &any, &["inputSchema"]);
        tool(r#","inputSchema":null"#, &any, &["inputSchema"]);
        tool(r#","inputSchema":{}"#, &any, &["inputSchema.type"]);
        tool(
            r#","inputSchema":{"properties":[],"required":null,"type":null,"x":1}"#,
            r#","inputSchema":{"type":"object","x":1}"#,
            &[
                "inputSchema.properties",
                "inputSchema.required",
                "inputSchema.type",
            ],
        );
        tool(
            &format!(r#"{any},"outputSchema":{{}}"#),
            &format!(r#"{any},"outputSchema":{{"type":"object"}}"#),
            &["outputSchema.type"],
        );
        check(
            ListKind::Resources,
            Era::Session,
            r#"{"uri":"x:1","mimeType":null}"#,
            r#"{"uri":"x:1","name":"x:1"}"#,
            &["mimeType", "name"],
        );
        check(
            ListKind::Templates,
            Era::Session,
            r#"{"uriTemplate":"x:{a}","name":null}"#,
            r#"{"uriTemplate":"x:{a}","name":"x:{a}"}"#,
            &["name"],
        );
    }

    #[test]
    fn a_tool_whose_arguments_are_no_object_is_unfit() {
        for schema in [
            "[]",
            "true",
            "\"object\"",
            r#"{"type":"string"}"#,
            r#"{"type":["object"]}"#,
        ] {
            let entry = format!(r#"{{"name":"t","inputSchema":{schema}}}"#);
            let unfit = fit(ListKind::Tools, Era::Session, &entry).unwrap_err();
            assert_eq!(
                unfit.to_string(),
                "`inputSchema` of tool `t` is no schema of an object"
            );
        }
    }

    #[test]
    fn a_list_of_too_many_flaws_goes_as_a_whole() {
        let prompt = |n: usize, argument: &str| {
            let arguments = vec![argument; n].join(",");
            format!(r#"{{"name":"p","arguments":[{arguments}]}}"#)
        };
        let flawed = r#"{"name":"a","title":1}"#;
        check(
            ListKind::Prompts,
            Era::Session,
            &prompt(MENDED_MAX, flawed),
            &prompt(MENDED_MAX, r#"{"name":"a"}"#),
            &["arguments.title"],
        );
        for n in [MENDED_MAX + 1, 200_000] {
            check(
                ListKind::Prompts,
                Era::Session,
                &prompt(n, flawed),
                r#"{"name":"p"}"#,
                &["arguments"],
            );
        }
    }
}
