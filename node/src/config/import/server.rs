//! One server of a client's file.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::secrets::{is_secret, looks_secret, split_scheme};
use crate::config::interpolate::{escape, is_variable};
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

pub(super) struct Importer {
    /// VS Code's `${input:ID}` to what it asks for.
    inputs: BTreeMap<String, String>,
    /// Variable to what it is for.
    variables: BTreeMap<String, String>,
    /// Secret to the variable that stands for it: one secret, one variable.
    known: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl Importer {
    pub(super) fn new(inputs: Option<&Value>) -> Self {
        let inputs = inputs
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|input| {
                let about = input["description"]
                    .as_str()
                    .unwrap_or("asked for by the client");
                Some((input["id"].as_str()?.to_owned(), about.to_owned()))
            });
        Self {
            inputs: inputs.collect(),
            variables: BTreeMap::new(),
            known: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> (BTreeMap<String, String>, Vec<String>) {
        (self.variables, self.notes)
    }

    /// Name and settings. `None` for what cannot be taken over, which is noted.
    pub(super) fn server(
        &mut self,
        name: &str,
        server: &Value,
        taken: &Map<String, Value>,
    ) -> Option<(String, Value)> {
        if server["disabled"] == true || server["enabled"] == false {
            self.notes
                .push(format!("`{name}` is left out: it is disabled"));
            return None;
        }
        let kind = server["type"]
            .as_str()
            .or_else(|| server["transport"].as_str())
            .unwrap_or("");
        if matches!(kind, "ws" | "websocket") {
            self.notes.push(format!(
                "`{name}` is left out: it speaks {kind}; name its Streamable HTTP address instead"
            ));
            return None;
        }
        let url = ["url", "serverUrl", "httpUrl"]
            .iter()
            .find_map(|key| server[*key].as_str());
        let settings = match (url, server["command"].as_str()) {
            (Some(url), _) => {
                let mut settings = self.http(name, url, server);
                // Other words for it, or none, leave it to be found out.
                if kind == "sse" {
                    settings.insert("transport".to_owned(), Value::from("sse"));
                }
                settings
            }
            (None, Some(command)) => self.stdio(name, command, server),
            (None, None) => {
                self.notes.push(format!(
                    "`{name}` is left out: it has neither `command` nor `url`"
                ));
                return None;
            }
        };
        self.note_rest(name, server);
        Some((self.fit_name(name, taken), Value::Object(settings)))
    }

    fn http(&mut self, name: &str, url: &str, server: &Value) -> Map<String, Value> {
        let mut settings = Map::new();
        settings.insert("url".to_owned(), Value::from(self.url(name, url)));
        let headers: Map<String, Value> = members(&server["headers"])
            .map(|(key, value)| (key.clone(), Value::from(self.text(name, key, &value))))
            .collect();
        if !headers.is_empty() {
            settings.insert("headers".to_owned(), Value::Object(headers));
        }
        settings
    }

    fn stdio(&mut self, name: &str, command: &str, server: &Value) -> Map<String, Value> {
        let mut settings = Map::new();
        settings.insert("command".to_owned(), Value::from(command));
        let mut args = Vec::new();
        let mut option = "";
        for arg in server["args"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            args.push(Value::from(self.arg(name, option, arg)));
            option = if arg.starts_with('-') { arg } else { "" };
        }
        if !args.is_empty() {
            settings.insert("args".to_owned(), Value::from(args));
        }
        let env: Map<String, Value> = members(&server["env"])
            .map(|(key, value)| (key.clone(), Value::from(self.text(name, key, &value))))
            .collect();
        if !env.is_empty() {
            settings.insert("env".to_owned(), Value::Object(env));
        }
        if let Some(cwd) = server["cwd"].as_str().filter(|cwd| !cwd.contains("${")) {
            settings.insert("cwd".to_owned(), Value::from(cwd));
        }
        settings
    }

    /// `--api-key=abc`, `--token abc`, `API_KEY=abc` (behind Docker's `-e`) and `--header "Authorization: Bearer abc"`.
    fn arg(&mut self, server: &str, option: &str, arg: &str) -> String {
        if let Some((key, value)) = arg
            .split_once('=')
            .filter(|(key, _)| key.starts_with('-') || is_variable(key))
        {
            return format!("{}={}", escape(key), self.text(server, key, value));
        }
        if let Some((header, value)) = arg
            .split_once(": ")
            .filter(|(header, value)| is_secret(header, value))
        {
            return format!("{}: {}", escape(header), self.text(server, header, value));
        }
        if looks_secret(arg) || (!arg.starts_with('-') && !option.contains('=')) {
            return self.text(server, option, arg);
        }
        self.references(arg)
    }

    /// The query is where keys hide.
    fn url(&mut self, server: &str, url: &str) -> String {
        let Some((before, query)) = url.split_once('?') else {
            return self.references(url);
        };
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((key, value)) => format!("{}={}", escape(key), self.text(server, key, value)),
                None => self.references(pair),
            })
            .collect();
        format!("{}?{}", self.references(before), pairs.join("&"))
    }

    /// A value under a name: a secret becomes a variable, references take our form, the rest stays.
    fn text(&mut self, server: &str, name: &str, value: &str) -> String {
        if value.contains("${") || !is_secret(name, value) {
            return self.references(value);
        }
        let (scheme, secret) = split_scheme(value);
        let variable = self.variable(server, name, secret);
        if let (false, Some(about)) = (scheme.is_empty(), self.variables.get_mut(&variable)) {
            // Whoever copied the whole value would send the scheme twice.
            let hint = format!(
                ", without `{}`, which stands in the file",
                scheme.trim_end()
            );
            if !about.ends_with(&hint) {
                about.push_str(&hint);
            }
        }
        format!("{scheme}${{{variable}}}")
    }

    fn variable(&mut self, server: &str, name: &str, secret: &str) -> String {
        if let Some(variable) = self.known.get(secret) {
            return variable.clone();
        }
        let own = upper(name.trim_start_matches('-'));
        let full = upper(&format!("{server}_{own}"));
        // A variable of an environment is known by its own name; a header's or option's name alone says little.
        let is_env = own == name && own.contains('_');
        let mut variable = if is_env && !self.variables.contains_key(&own) {
            own
        } else {
            full
        };
        while self.variables.contains_key(&variable) {
            variable.push('_');
        }
        self.variables
            .insert(variable.clone(), format!("`{name}` of `{server}`"));
        self.known.insert(secret.to_owned(), variable.clone());
        variable
    }

    /// `${input:ID}`, `${env:NAME}` and `${NAME:-default}` become `${NAME}`; what is no reference is escaped.
    fn references(&mut self, text: &str) -> String {
        let mut ours = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            ours.push_str(before);
            let Some((inside, after)) = after.split_once('}') else {
                return ours + &escape(&format!("${{{after}"));
            };
            match self.reference(inside) {
                Some(name) => ours.push_str(&format!("${{{name}}}")),
                None => ours.push_str(&format!("$${{{inside}}}")),
            }
            rest = after;
        }
        ours + rest
    }

    fn reference(&mut self, inside: &str) -> Option<String> {
        let (name, about) = if let Some(id) = inside.strip_prefix("input:") {
            (
                upper(id),
                self.inputs
                    .get(id)
                    .cloned()
                    .unwrap_or_else(|| format!("input `{id}` of the client")),
            )
        } else if let Some(name) = inside.strip_prefix("env:") {
            (name.to_owned(), "taken from the environment".to_owned())
        } else if let Some((name, default)) = inside.split_once(":-") {
            (
                name.to_owned(),
                format!("taken from the environment; the client falls back to {default:?}"),
            )
        } else if inside == "userHome" {
            return Some("HOME".to_owned());
        } else if inside.starts_with("workspaceFolder") {
            (
                upper(inside),
                "directory that the client calls its workspace".to_owned(),
            )
        } else {
            (inside.to_owned(), "taken from the environment".to_owned())
        };
        if !is_variable(&name) {
            self.notes.push(format!(
                "`${{{inside}}}` has no counterpart and stays as text; write the value"
            ));
            return None;
        }
        self.variables.entry(name.clone()).or_insert(about);
        Some(name)
    }

    fn note_rest(&mut self, name: &str, server: &Value) {
        const TAKEN: &[&str] = &[
            "command",
            "args",
            "env",
            "url",
            "serverUrl",
            "httpUrl",
            "headers",
            "cwd",
            "disabled",
            "enabled",
        ];
        let rest = server.as_object().into_iter().flat_map(Map::keys);
        let rest: Vec<&str> = rest
            .map(String::as_str)
            .filter(|key| !TAKEN.contains(key) && !IGNORED.contains(key))
            .collect();
        if !rest.is_empty() {
            self.notes
                .push(format!("`{name}`: not taken over: {}", rest.join(", ")));
        }
        if server["cwd"].as_str().is_some_and(|cwd| cwd.contains("${")) {
            self.notes.push(format!(
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
        while taken.contains_key(&fit) {
            fit.push('x');
        }
        debug_assert!(is_name(&fit), "made of fit characters");
        if fit != name {
            self.notes.push(format!(
                "`{name}` is called `{fit}`: names go into URLs and tool names"
            ));
        }
        fit
    }
}

/// Members of a mapping with values as text; clients accept numbers and booleans there.
fn members(value: &Value) -> impl Iterator<Item = (&String, String)> {
    value.as_object().into_iter().flatten().map(|(key, value)| {
        (
            key,
            value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned),
        )
    })
}

/// A variable's name in the usual form.
fn upper(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert(0, 'V');
    }
    name
}
