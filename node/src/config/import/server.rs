//! One server of a client's file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::hide::{Hider, REFERENCE};
use super::place::Place;
use super::url::Parts;
use super::variables::Variables;
use crate::config::interpolate::escape;
use crate::config::shape::is_name;

/// Keys of clients that need no counterpart.
const IGNORED: &[&str] = &[
    "type",
    "transport",
    "description",
    "gallery",
    "version",
    "dev",
    "icon",
];
/// Where clients write the address.
const ADDRESSES: &[&str] = &["url", "serverUrl", "httpUrl"];

pub(super) struct Importer {
    variables: Variables,
    notes: Vec<String>,
}

/// The server at hand.
struct Source<'a> {
    name: &'a str,
    server: &'a Value,
    /// Variables of its own environment, which a command reads itself.
    own: BTreeSet<&'a str>,
}

impl<'a> Source<'a> {
    fn new(name: &'a str, server: &'a Value) -> Self {
        let env = server["env"].as_object().into_iter().flatten();
        // `"A": "${A}"` hands a variable of the client on.
        let own = env.filter(|(name, value)| {
            !value
                .as_str()
                .is_some_and(|value| value.contains(&format!("${{{name}}}")))
        });
        Self {
            name,
            server,
            own: own.map(|(name, _)| name.as_str()).collect(),
        }
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.server[key]
            .as_str()
            .filter(|text| !text.trim().is_empty())
    }
}

impl Importer {
    /// `servers` are all that will be taken: the names that they take from the environment are no secret's.
    pub(super) fn new<'a>(
        inputs: Option<&Value>,
        servers: impl Iterator<Item = (&'a str, &'a Value)>,
    ) -> Self {
        let mut variables = Variables::new(inputs);
        for (name, server) in servers {
            let source = Source::new(name, server);
            let args = server["args"].as_array().into_iter().flatten();
            for arg in args.filter_map(Value::as_str) {
                variables.reserve(arg, &source.own);
            }
            let named = ["env", "headers"]
                .into_iter()
                .flat_map(|key| server[key].as_object().into_iter().flatten())
                .filter_map(|(_, value)| value.as_str());
            let urls = ADDRESSES.iter().filter_map(|key| server[*key].as_str());
            for text in named.chain(urls) {
                variables.reserve(text, &BTreeSet::new());
            }
        }
        Self {
            variables,
            notes: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> (BTreeMap<String, String>, Vec<String>) {
        (self.variables.finish(), self.notes)
    }

    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Name and settings. `None` for what cannot be taken over, which is noted.
    pub(super) fn server(
        &mut self,
        name: &str,
        server: &Value,
        taken: &Map<String, Value>,
    ) -> Option<(String, Value)> {
        if server["disabled"] == true || server["enabled"] == false {
            self.note(format!("`{name}` is left out: it is disabled"));
            return None;
        }
        let source = Source::new(name, server);
        let kind = (source.text("type").or_else(|| source.text("transport"))).unwrap_or("");
        if matches!(kind, "ws" | "websocket") {
            self.note(format!(
                "`{name}` is left out: it speaks {kind}; name its Streamable HTTP address instead"
            ));
            return None;
        }
        let url = ADDRESSES.iter().find_map(|key| source.text(key));
        let settings = match (url, source.text("command")) {
            (Some(url), command) => {
                if command.is_some() {
                    self.note(format!(
                        "`{name}` has an address and a `command`: the address is taken"
                    ));
                }
                let mut settings = self.http(&source, url);
                // Other words for it, or none, leave it to be found out.
                if kind == "sse" {
                    settings.insert("transport".to_owned(), Value::from("sse"));
                }
                settings
            }
            (None, Some(command)) => self.stdio(&source, command),
            (None, None) => {
                self.note(format!(
                    "`{name}` is left out: it has neither `command` nor `url`"
                ));
                return None;
            }
        };
        self.note_rest(&source, url.is_some());
        Some((self.fit_name(name, taken), Value::Object(settings)))
    }

    fn http(&mut self, source: &Source<'_>, url: &str) -> Map<String, Value> {
        let mut settings = Map::new();
        let mut headers = Map::new();
        let parts = Parts::new(url);
        let bare = match parts.login {
            Some(login) if !parts.scheme.contains("${") => {
                self.login(source, login, &mut headers);
                [parts.scheme, parts.host, parts.path, parts.query].concat()
            }
            _ => url.to_owned(),
        };
        let bare = self.hidden(source, &Place::url(), &bare);
        settings.insert("url".to_owned(), Value::from(bare));
        for (key, value) in self.members(source, "headers") {
            let value = self.hidden(source, &Place::named(&key), &value);
            headers.insert(key, Value::from(value));
        }
        if !headers.is_empty() {
            settings.insert("headers".to_owned(), Value::Object(headers));
        }
        settings
    }

    /// User and password of an address, which ours has not: clients send them as a header.
    fn login(&mut self, source: &Source<'_>, login: &str, headers: &mut Map<String, Value>) {
        let name = source.name;
        let other = source.server["headers"].as_object().is_some_and(|headers| {
            headers
                .keys()
                .any(|key| key.eq_ignore_ascii_case("authorization"))
        });
        if other || login.contains("${") {
            self.note(format!(
                "`{name}`: user and password of the address are left out; write them as a header"
            ));
            return;
        }
        let place = "base64 of `USER:PASSWORD` in the address";
        let variable = self.variables.secret(name, "Authorization", place, login);
        self.variables
            .hint(&variable, ", without `Basic`, which stands in the file");
        headers.insert(
            "Authorization".to_owned(),
            Value::from(format!("Basic ${{{variable}}}")),
        );
    }

    fn stdio(&mut self, source: &Source<'_>, command: &str) -> Map<String, Value> {
        let name = source.name;
        let mut settings = Map::new();
        settings.insert("command".to_owned(), Value::from(command));
        if command.contains("${") {
            self.note(format!(
                "`{name}`: `command` takes no variables; write the program"
            ));
        } else if command.contains(char::is_whitespace) && !command.contains(['/', '\\']) {
            self.note(format!(
                "`{name}`: `command` is one program; write its arguments into `args`"
            ));
        }
        self.note_doubts_in_command(source, command);
        let args = self.args(source);
        if !args.is_empty() {
            settings.insert("args".to_owned(), Value::from(args));
        }
        let mut env = Map::new();
        for (key, value) in self.members(source, "env") {
            let value = self.hidden(source, &Place::env(&key), &value);
            env.insert(key, Value::from(value));
        }
        if !env.is_empty() {
            settings.insert("env".to_owned(), Value::Object(env));
        }
        if let Some(cwd) = source.text("cwd").filter(|cwd| !cwd.contains("${")) {
            settings.insert("cwd".to_owned(), Value::from(cwd));
        }
        settings
    }

    fn args(&mut self, source: &Source<'_>) -> Vec<Value> {
        let name = source.name;
        let list = match &source.server["args"] {
            Value::Array(list) => list.as_slice(),
            Value::Null => return Vec::new(),
            _ => {
                self.note(format!(
                    "`{name}`: `args` is no list and is not taken over; write one text for each argument"
                ));
                return Vec::new();
            }
        };
        let mut args = Vec::new();
        let mut option = String::new();
        for (index, arg) in list.iter().enumerate() {
            let Some(arg) = scalar(arg) else {
                let number = index + 1;
                self.note(format!(
                    "`{name}`: argument {number} is left out: it is neither text nor number"
                ));
                continue;
            };
            // An option is no secret by the option before it.
            let before = if arg.starts_with('-') { "" } else { &option };
            let place = Place::argument(index, before);
            args.push(Value::from(self.hidden(source, &place, &arg)));
            option = if arg.starts_with('-') && !arg.contains('=') {
                arg
            } else {
                String::new()
            };
        }
        args
    }

    /// Members of a mapping with values as text; clients accept numbers and booleans there.
    fn members(&mut self, source: &Source<'_>, key: &str) -> Vec<(String, String)> {
        let name = source.name;
        let members = match &source.server[key] {
            Value::Object(members) => members,
            Value::Null => return Vec::new(),
            _ => {
                self.note(format!(
                    "`{name}`: `{key}` is no object and is not taken over"
                ));
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        for (member, value) in members {
            match scalar(value) {
                Some(text) => texts.push((member.clone(), text)),
                None => self.note(format!(
                    "`{name}`: `{member}` of `{key}` is left out: it is neither text nor number"
                )),
            }
        }
        texts
    }

    /// A text with its secrets hidden and its references in our form; what is no reference is escaped.
    fn hidden(&mut self, source: &Source<'_>, place: &Place, text: &str) -> String {
        let text = text.replace(REFERENCE, "\u{fffd}");
        let mut plain = String::with_capacity(text.len());
        let mut references = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            let Some((inside, after)) = after.split_once('}') else {
                break;
            };
            plain.push_str(before);
            plain.push(REFERENCE);
            // A variable behind a `$` cannot be written in our form.
            let is_literal = before.ends_with('$');
            references.push(self.reference(source, place, inside, is_literal));
            rest = after;
        }
        plain.push_str(rest);
        let mut hider = Hider {
            variables: &mut self.variables,
            server: source.name,
            doubts: Vec::new(),
        };
        let hidden = hider.hide(place, &plain);
        let doubts = hider.doubts;
        for doubt in doubts {
            self.note_doubt(source.name, &doubt);
        }
        let mut pieces = hidden.split(REFERENCE);
        let mut ours = pieces.next().unwrap_or("").to_owned();
        for (piece, reference) in pieces.zip(references) {
            ours.push_str(&reference);
            ours.push_str(piece);
        }
        ours
    }

    /// Our form of the client's `${inside}`.
    fn reference(
        &mut self,
        source: &Source<'_>,
        place: &Place,
        inside: &str,
        is_literal: bool,
    ) -> String {
        if place.is_argument() && source.own.contains(inside) {
            // `mcp-remote` completes `Authorization:${AUTH_HEADER}` itself.
            let name = source.name;
            self.note(format!(
                "`{name}`: `${{{inside}}}` in `args` stays as text, for the command to read from its `env`"
            ));
        } else if !is_literal && let Some(name) = self.variables.reference(inside) {
            return format!("${{{name}}}");
        } else {
            self.note(format!(
                "`${{{inside}}}` has no counterpart and stays as text; write the value"
            ));
        }
        format!("$${{{inside}}}")
    }

    /// A command takes no variables, so what is secret in it cannot be taken out.
    fn note_doubts_in_command(&mut self, source: &Source<'_>, command: &str) {
        let mut variables = self.variables.clone();
        let mut hider = Hider {
            variables: &mut variables,
            server: source.name,
            doubts: Vec::new(),
        };
        let place = Place::named("command");
        if hider.hide(&place, command) != escape(command) || !hider.doubts.is_empty() {
            self.note_doubt(source.name, place.label());
        }
    }

    fn note_doubt(&mut self, server: &str, place: &str) {
        self.note(format!(
            "`{server}`: {place} may hold a secret and stays in the file; look before you commit it"
        ));
    }

    fn note_rest(&mut self, source: &Source<'_>, is_http: bool) {
        const TAKEN: &[&str] = &["disabled", "enabled", "command"];
        let of_kind: &[&str] = if is_http {
            &["headers"]
        } else {
            &["args", "env", "cwd"]
        };
        let name = source.name;
        let rest = source.server.as_object().into_iter().flat_map(Map::keys);
        let rest: Vec<&str> = rest
            .map(String::as_str)
            .filter(|key| {
                ![TAKEN, of_kind, ADDRESSES, IGNORED]
                    .iter()
                    .any(|known| known.contains(key))
            })
            .collect();
        if !rest.is_empty() {
            self.note(format!("`{name}`: not taken over: {}", rest.join(", ")));
        }
        if source.text("cwd").is_some_and(|cwd| cwd.contains("${")) {
            self.note(format!(
                "`{name}`: `cwd` takes no variables; write the directory"
            ));
        }
    }

    fn fit_name(&mut self, name: &str, taken: &Map<String, Value>) -> String {
        let mut fit: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "_-.".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .take(60)
            .collect();
        if !fit.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            fit.insert(0, 's');
        }
        if fit != name {
            self.note(format!(
                "`{name}` is called `{fit}`: names go into URLs and tool names"
            ));
        }
        let first = fit.clone();
        for number in 2_u64.. {
            if !taken.contains_key(&fit) {
                break;
            }
            fit = format!("{first}-{number}");
        }
        if fit != first {
            self.note(format!(
                "another `{first}` is called `{fit}`: two servers have that name"
            ));
        }
        debug_assert!(is_name(&fit), "made of fit characters");
        fit
    }
}

/// Numbers and booleans as text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(on.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
