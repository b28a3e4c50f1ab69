//! The settings in force, as the file would say them: defaults filled in, secrets left out.

use serde_json::{Map, Value};

use super::interpolate::is_variable;
use super::keys::{FILE, Key, Kind, REGISTRY};

/// Stands where a secret stood.
const HIDDEN: &str = "***";
/// Words that may stay beside a reference in a header: they name the scheme.
const SCHEMES: &[&str] = &["", "Bearer", "Basic", "Token", "token", "ApiKey"];

/// Fills defaults into what a file says (see [`Loaded::written`](super::Loaded)) and hides literal secrets.
/// References such as `${GITHUB_TOKEN}` stay as they are written.
pub fn redacted(written: &Value) -> Value {
    let mut written = written.clone();
    if let Some(Value::Object(servers)) = written.get_mut("servers") {
        for (name, server) in servers {
            complete(name, server);
        }
    }
    object(&written, FILE)
}

/// Writes those defaults of a server out that depend on its other keys: the table has none for them.
fn complete(name: &str, server: &mut Value) {
    let Value::Object(server) = server else {
        return;
    };
    let n_endpoints = server
        .get("endpoints")
        .and_then(Value::as_array)
        .map_or(1, Vec::len);
    fill(server, "prefix", name);
    if server.contains_key("command") {
        fill(server, "scope", "auto");
    } else {
        fill(server, "balance", "failover");
        fill(server, "connect_timeout", "5s");
        fill(server, "transport", "auto");
    }
    let era = server.get("era").and_then(Value::as_str).unwrap_or("auto");
    if era == "auto" && server.get("transport").is_some_and(|kind| kind == "sse") {
        server.insert("era".to_owned(), "session".into());
    }
    let breaker = server.entry("breaker").or_insert_with(|| Map::new().into());
    if let Value::Object(breaker) = breaker {
        let window = breaker.get("sliding_window_size").and_then(Value::as_u64);
        fill(breaker, "minimum_calls", window.unwrap_or(20).min(20));
        let ejected_max = if n_endpoints == 1 { 100 } else { 50 };
        fill(breaker, "max_ejection_percent", ejected_max);
    }
}

fn fill(keys: &mut Map<String, Value>, name: &str, default: impl Into<Value>) {
    keys.entry(name).or_insert_with(|| default.into());
}

/// Keys of the node, not of the registry, in which two files differ: a reload leaves them alone.
pub(super) fn node_changes(old: &Value, new: &Value) -> Vec<String> {
    let (old, new) = (redacted(old), redacted(new));
    let mut changed = Vec::new();
    for key in FILE.iter().filter(|key| !REGISTRY.contains(&key.name)) {
        changes(&old[key.name], &new[key.name], key.name, &mut changed);
    }
    changed
}

fn changes(old: &Value, new: &Value, path: &str, changed: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let both = old
                .keys()
                .chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in both {
                let member =
                    |map: &Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
                changes(
                    &member(old),
                    &member(new),
                    &format!("{path}.{name}"),
                    changed,
                );
            }
        }
        _ if old != new => changed.push(path.to_owned()),
        _ => {}
    }
}

fn object(written: &Value, keys: &[Key]) -> Value {
    let mut shown = Map::new();
    for key in keys {
        let value = match (written.get(key.name), key.default) {
            (Some(there), _) => value(there, key.kind),
            // A default that is no JSON would be a mistake in the table, which a test finds.
            (None, Some(default)) => serde_json::from_str(default).unwrap_or(Value::Null),
            (None, None) => match key.kind {
                Kind::Object(keys) if keys.iter().all(|key| !key.required) => {
                    object(&Value::Null, keys)
                }
                _ => continue,
            },
        };
        shown.insert(key.name.to_owned(), value);
    }
    Value::Object(shown)
}

fn value(written: &Value, kind: Kind) -> Value {
    match (kind, written) {
        (Kind::Object(keys), _) => object(written, keys),
        (Kind::Named(of) | Kind::Free(of), Value::Object(members)) => Value::Object(
            members
                .iter()
                .map(|(name, member)| (name.clone(), value(member, *of)))
                .collect(),
        ),
        (Kind::List(of) | Kind::Filled(of), Value::Array(items)) => {
            items.iter().map(|item| value(item, *of)).collect()
        }
        (Kind::OneOf(kinds), _) => {
            let is_object = |kind: &&Kind| matches!(kind, Kind::Object(_)) == written.is_object();
            kinds
                .iter()
                .find(is_object)
                .map_or(Value::Null, |kind| value(written, *kind))
        }
        (Kind::Secret, Value::String(text)) => {
            Value::from(if is_reference(text) { text } else { HIDDEN })
        }
        (Kind::Url | Kind::Template, Value::String(text)) => Value::from(without_query(text)),
        _ => written.clone(),
    }
}

/// Whether the secret itself stands elsewhere: nothing but references and the word for a scheme.
fn is_reference(text: &str) -> bool {
    let (before, after) = text.split_once("${").unwrap_or((text, ""));
    let only_references = after
        .split("${")
        .all(|part| part.strip_suffix('}').is_some_and(is_variable));
    !before.ends_with('$') && SCHEMES.contains(&before.trim_end()) && only_references
}

/// Hides what URLs carry behind `?`, where keys like to hide.
fn without_query(text: &str) -> String {
    match text.split_once('?') {
        Some((before, query)) if before.contains("://") && !is_reference(query) => {
            format!("{before}?{HIDDEN}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_secrets_are_hidden_and_references_stay() {
        for text in ["${A}", "Bearer ${A}", "${A}${B}", "Basic ${A}"] {
            assert!(is_reference(text), "{text}");
        }
        for text in [
            "",
            "abc",
            "Bearer abc",
            "Bearer ${A}x",
            "x${A}",
            "$${A}",
            "${A",
            "Bearer x${A}",
        ] {
            assert!(!is_reference(text), "{text}");
        }
        let url = |text: &str| value(&Value::from(text), Kind::Template);
        assert_eq!(url("http://a/mcp?key=abc"), "http://a/mcp?***");
        assert_eq!(url("--what?"), "--what?");
    }

    #[test]
    fn changes_of_the_node_are_named() {
        let old = serde_json::json!({ "limits": { "depth_max": 9 }, "servers": { "a": { "command": "x" } } });
        let new = serde_json::json!({ "limits": { "depth_max": 10 }, "tls": { "cert": "c", "key": "k" }, "servers": {} });
        assert_eq!(node_changes(&old, &new), ["tls", "limits.depth_max"]);
        assert!(
            node_changes(
                &serde_json::json!({}),
                &serde_json::json!({ "listen": "127.0.0.1:7777" })
            )
            .is_empty()
        );
    }
}
