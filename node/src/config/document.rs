//! The registry as several nodes share it: the part of a file that all of them must see alike, `${VAR}` as written.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::checked::{Registry, Unusable};
use super::keys::{FILE, Kind, REGISTRY};
use super::load::{Options, parse_entry, parse_tree};
use super::problem::{Problem, Problems, Rigour};
use super::shape;
use super::tree::{KeyPath, Tree};

/// The registry part of what a file says.
pub fn document(written: &Value) -> Value {
    let kept = REGISTRY.iter().filter_map(|key| {
        let value = written.get(*key)?;
        Some(((*key).to_owned(), value.clone()))
    });
    Value::Object(kept.collect::<Map<_, _>>())
}

/// Whether `written` is a file at all, of which [`document`] takes a part: nothing at all, or a key that is misspelt, must
/// not pass for a registry that has nothing in it.
///
/// # Errors
///
/// It is no mapping, has keys that no file has, or none that [`document`] takes.
pub fn check_written(written: &Value) -> Result<(), Problems> {
    if !written.is_object() {
        let what = "this is no mapping of keys, but nothing, a list or a single value".to_owned();
        return Err(Problems::one(None, what, "name a configuration"));
    }
    if REGISTRY.iter().all(|key| written.get(*key).is_none()) {
        let what = format!(
            "none of the keys is there that nodes share: {}",
            REGISTRY.join(", ")
        );
        let remedy = "name a configuration that has them; write `roles: {}` for a registry that lets nobody in";
        return Err(Problems::one(None, what, remedy));
    }
    let mut tree = Tree::from_json(written);
    let (root, rigour) = (KeyPath::root(), Rigour::Written);
    let list = shape::check(&mut tree, Kind::Object(FILE), &root, &[], rigour).problems;
    match list.is_empty() {
        true => Ok(()),
        false => Err(Problems { file: None, list }),
    }
}

/// What a file or a document says, with the relative paths of its servers made absolute, so that it says the same
/// wherever it is read. They start at `dir`; a path that begins with a variable is each node's own affair.
pub fn rooted(written: &Value, dir: &Path) -> Value {
    let mut rooted = written.clone();
    if let Some(Value::Object(servers)) = rooted.get_mut("servers") {
        for server in servers.values_mut() {
            root(server, "cwd", dir, |_path| true);
            // A name without a slash is looked for in the search path.
            root(server, "command", dir, |command| command.contains('/'));
        }
    }
    rooted
}

fn root(server: &mut Value, key: &str, dir: &Path, is_path: impl Fn(&str) -> bool) {
    let Some(Value::String(text)) = server.get_mut(key) else {
        return;
    };
    let path = Path::new(text.as_str());
    if path.is_relative() && !text.starts_with("${") && is_path(text) {
        let path = dir.join(path.strip_prefix(".").unwrap_or(path));
        // What is no text can't be said in JSON; it stays relative to wherever it is read.
        if let Some(absolute) = path.to_str() {
            *text = absolute.to_owned();
        }
    }
}

/// Checks a registry document and completes it with the variables of this node. Relative paths start at `dir`.
///
/// A server that can't be used here, for example because this node lacks a variable, is left out and stands in
/// [`Registry::unusable`]; so is an API key whose variable is missing here, which is logged.
///
/// # Errors
///
/// Everything else that is wrong.
pub fn parse_document(json: &Value, dir: &Path, options: &Options) -> Result<Registry, Problems> {
    let (registry, _none) = parse_shared(json, dir, options, Rigour::Written)?;
    Ok(registry)
}

/// [`parse_document`] of the one that a cluster runs with, so that a node of this version takes what an earlier one took
/// and let be applied. What would be refused of whoever writes it now comes beside the registry.
///
/// # Errors
///
/// Everything else that is wrong.
pub fn parse_document_in_force(
    json: &Value,
    dir: &Path,
    options: &Options,
) -> Result<(Registry, Vec<Problem>), Problems> {
    parse_shared(json, dir, options, Rigour::InForce)
}

fn parse_shared(
    json: &Value,
    dir: &Path,
    options: &Options,
    rigour: Rigour,
) -> Result<(Registry, Vec<Problem>), Problems> {
    let mut json = json.clone();
    let taken = take_servers(&mut json, dir, options, rigour);
    let mut unusable = Vec::new();
    let mut kept = Map::new();
    for (name, settings, why_not) in taken {
        match why_not {
            None => {
                kept.insert(name, settings);
            }
            Some(why) => unusable.push(why),
        }
    }
    forget(&mut json, &unusable);
    drop_keys_without_value(&mut json, options);
    if !kept.is_empty() {
        json["servers"] = Value::Object(kept);
    }
    let parsed = parse_tree(Tree::from_json(&json), None, dir, options, rigour)?;
    let mut registry = parsed.config.registry;
    registry.unusable = unusable;
    Ok((registry, parsed.tolerated))
}

/// Name, settings, and why it can't be used.
type Taken = (String, Value, Option<Unusable>);

/// Takes the servers out, each checked for itself.
fn take_servers(json: &mut Value, dir: &Path, options: &Options, rigour: Rigour) -> Vec<Taken> {
    let Some(Value::Object(servers)) = json.get_mut("servers") else {
        // What is no mapping is refused with the rest.
        return Vec::new();
    };
    let servers = std::mem::take(servers);
    if let Value::Object(json) = json {
        json.shift_remove("servers");
    }
    let checked = servers.into_iter().map(|(name, settings)| {
        let lacks = Arc::new(Mutex::new(Vec::new()));
        let watched = noting(options, Arc::clone(&lacks));
        let server = parse_entry(&name, &settings, dir, &watched, rigour);
        let why_not = server.err().map(|problems| Unusable {
            name: name.as_str().into(),
            why: problems.to_string(),
            lacks: std::mem::take(&mut *lacks.lock().unwrap_or_else(PoisonError::into_inner)),
        });
        (name, settings, why_not)
    });
    checked.collect()
}

/// The same options, noting which variables are missing.
fn noting(options: &Options, lacks: Arc<Mutex<Vec<String>>>) -> Options {
    let env = Arc::clone(&options.env);
    Options {
        unsafe_no_auth: options.unsafe_no_auth,
        env: Arc::new(move |name| {
            let value = env(name);
            if value.is_none() {
                let mut lacks = lacks.lock().unwrap_or_else(PoisonError::into_inner);
                lacks.push(name.to_owned());
            }
            value
        }),
    }
}

/// Tenants may name servers that can't be used here.
fn forget(json: &mut Value, unusable: &[Unusable]) {
    let Some(Value::Object(tenants)) = json.get_mut("tenants") else {
        return;
    };
    for tenant in tenants.values_mut() {
        if let Some(Value::Array(names)) = tenant.get_mut("servers") {
            names.retain(|name| {
                let gone = |one: &Unusable| name.as_str() == Some(one.name.as_str());
                !unusable.iter().any(gone)
            });
        }
    }
}

/// A key without a value opens nothing here; the others still do.
fn drop_keys_without_value(json: &mut Value, options: &Options) {
    let Some(Value::Array(keys)) = json.pointer_mut("/identity/api_keys") else {
        return;
    };
    keys.retain(|key| {
        let variable = key.get("key_env").and_then(Value::as_str);
        let lacking = variable.filter(|name| (options.env)(name).is_none());
        if let Some(variable) = lacking {
            let id = key.get("id").and_then(Value::as_str).unwrap_or_default();
            tracing::warn!(id, variable, "this node lacks the variable of an API key");
        }
        lacking.is_none()
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(json: &Value) -> Result<Registry, Problems> {
        let options = Options {
            unsafe_no_auth: false,
            env: Arc::new(|name| (name == "HERE").then(|| "0123456789abcdef-here".to_owned())),
        };
        parse_document(json, Path::new("/"), &options)
    }

    #[test]
    fn only_what_nodes_share_is_in_it() {
        let written = json!({"listen": "127.0.0.1:1", "roles": {}, "audit": {}, "servers": {}});
        assert_eq!(document(&written), json!({"servers": {}, "roles": {}}));
    }

    #[test]
    fn what_is_no_file_is_no_empty_registry() {
        for wrong in [
            json!(null),
            json!(5),
            json!("x"),
            json!([]),
            json!({}),
            json!({"listen": "127.0.0.1:1"}),
            json!({"severs": {}}),
            json!({"severs": {}, "roles": {}}),
            json!({"roles": []}),
        ] {
            assert!(check_written(&wrong).is_err(), "{wrong}");
        }
        for right in [
            json!({"roles": {}}),
            json!({"listen": "127.0.0.1:1", "servers": {}}),
        ] {
            assert!(check_written(&right).is_ok(), "{right}");
        }
    }

    #[test]
    fn what_this_node_lacks_takes_only_that_away() {
        let registry = parse(&json!({
            "identity": {"api_keys": [
                {"id": "a", "key_env": "HERE", "principal": "p", "roles": ["r"]},
                {"id": "b", "key_env": "ELSEWHERE", "principal": "p", "roles": ["r"]},
            ]},
            "servers": {
                "b": {"url": "http://127.0.0.1:1/mcp", "headers": {"X": "${ELSEWHERE}"}},
                "a": {"url": "http://127.0.0.1:1/mcp", "headers": {"X": "${HERE}"}},
            },
            "roles": {"r": {"allow": ["*"]}},
            "tenants": {"t": {"servers": ["a", "b"]}},
        }));
        let registry = registry.unwrap();
        assert_eq!(registry.servers.len(), 1);
        assert_eq!(registry.servers[0].name.as_str(), "a");
        assert_eq!(registry.unusable.len(), 1);
        assert_eq!(registry.unusable[0].name.as_str(), "b");
        assert_eq!(registry.unusable[0].lacks, ["ELSEWHERE"]);
        assert_eq!(registry.identity.api_keys.len(), 1);
        let tenant = registry.tenants.values().next().unwrap();
        assert_eq!(tenant.servers.as_ref().unwrap().len(), 1);
    }

    #[test]
    fn what_is_in_force_is_taken_as_an_earlier_version_took_it() {
        let written = json!({
            "roles": {"r": {"allow": ["*"], "deny": ["tools:a", " b", "!c"]}, "s": {"allow": null}, "t": {"deny": [" "]}},
            "quotas": [{"per": "tenant", "cost_usd": 0.000_000_7, "window": "1h"}],
            "tenants": {"t": {"servers": null}},
            "servers": {"a": {
                "url": "http://127.0.0.1:1/mcp",
                "prefix": null,
                "headers": {"X-A": "1", "x-a": "2"},
                "tools": {"x": {"cost_usd": 0.000_000_4}},
            }},
        });
        let options = Options {
            unsafe_no_auth: false,
            env: Arc::new(|_name| None),
        };
        let (registry, tolerated) =
            parse_document_in_force(&written, Path::new("/"), &options).unwrap();
        assert!(registry.unusable.is_empty() && registry.servers.len() == 1);
        assert_eq!(registry.quotas[0].amount, 1);
        let mut keys: Vec<&str> = tolerated.iter().map(|one| one.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "quotas[0].cost_usd",
                "roles.r.deny[0]",
                "roles.r.deny[1]",
                "roles.r.deny[2]",
                "roles.s.allow",
                "roles.t.deny[0]",
                "roles.t.deny[0]",
                "servers.a.headers.x-a",
                "servers.a.prefix",
                "servers.a.tools.x.cost_usd",
                "tenants.t.servers",
            ]
        );
        // Whoever writes it now hears of each, of blanks once; a server is left out for itself.
        let refused = parse(&written).unwrap_err().list;
        assert_eq!(refused.len(), keys.len() - 4, "{refused:?}");
        let settings = json!({"servers": {"a": written["servers"]["a"]}});
        assert_eq!(parse(&settings).unwrap().unusable.len(), 1);
        let mut broken = written;
        broken["roles"]["r"]["allow"] = json!(["["]);
        assert!(parse_document_in_force(&broken, Path::new("/"), &options).is_err());
    }

    #[test]
    fn servers_keep_their_order() {
        let entry = json!({"url": "http://127.0.0.1:1/mcp"});
        let registry = parse(&json!({"servers": {"z": entry, "a": entry, "m": entry}})).unwrap();
        let names = registry.servers.iter().map(|server| server.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["z", "a", "m"]);
    }

    #[test]
    fn a_mistake_is_no_lack() {
        let registry = parse(&json!({"servers": {"a": {"urls": "x"}}})).unwrap();
        assert!(registry.unusable[0].lacks.is_empty());
        assert!(parse(&json!({"roles": {"r": {"alow": []}}})).is_err());
        assert!(parse(&json!({"listen": "127.0.0.1:70000"})).is_err());
        assert!(parse(&json!([])).is_err());
    }
}
