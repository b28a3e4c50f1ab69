//! JSON Schema (2020-12) of the file, for editors. It lists what is enforced and nothing else.

use serde_json::{Map, Value, json};

use super::keys::{FILE, Key, Kind};

/// The schema.
pub fn schema() -> Value {
    let mut schema = object(FILE);
    if let Some(server) = schema.pointer_mut("/properties/servers/additionalProperties") {
        server["oneOf"] = ["url", "endpoints", "command"].map(way).to_vec().into();
    }
    let mut top = Map::new();
    top.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    top.insert("title".to_owned(), json!("lockgate.yaml"));
    if let Value::Object(members) = schema {
        top.extend(members);
    }
    Value::Object(top)
}

/// A server that is reached by `key`, which leaves no room for the keys of the other kind.
fn way(key: &str) -> Value {
    const STDIO_ONLY: [&str; 4] = ["args", "env", "cwd", "scope"];
    const HTTP_ONLY: [&str; 4] = ["headers", "balance", "connect_timeout", "transport"];
    let misplaced = if key == "command" {
        HTTP_ONLY
    } else {
        STDIO_ONLY
    };
    let barred = misplaced.map(|name| (name.to_owned(), json!(false)));
    json!({ "required": [key], "properties": Map::from_iter(barred) })
}

fn object(keys: &[Key]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let required: Vec<&str> = keys
        .iter()
        .filter(|key| key.required)
        .map(|key| key.name)
        .collect();
    let mut schema =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if required.is_empty() {
        // `acme:` with nothing below is a section without keys.
        schema["type"] = json!(["object", "null"]);
    } else {
        schema["required"] = json!(required);
    }
    let has = |name| keys.iter().any(|key| key.name == name);
    if has("requests") && has("cost_usd") {
        // A quota says how much in one of two ways.
        let ways = ["requests", "cost_usd"].map(|way| json!({ "required": [way] }));
        schema["oneOf"] = ways.to_vec().into();
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = kind(key.kind);
    schema["description"] = json!(key.doc);
    // A default that is no JSON would be a mistake in the table, which a test finds.
    if let Some(default) = key
        .default
        .and_then(|default| serde_json::from_str::<Value>(default).ok())
    {
        schema["default"] = default;
    }
    schema
}

fn kind(of: Kind) -> Value {
    const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$";
    match of {
        Kind::Text | Kind::Pattern | Kind::File => {
            json!({ "type": "string", "pattern": "\\S", "not": { "pattern": "\\$\\{" } })
        }
        Kind::Url => {
            json!({ "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://|\\$\\{" })
        }
        Kind::Template | Kind::Secret => json!({ "type": "string" }),
        Kind::Name => json!({ "type": "string", "pattern": NAME }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::False => json!({ "const": false }),
        Kind::Int(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Ratio => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Usd(max) => json!({ "type": "number", "minimum": 0, "maximum": max }),
        Kind::Time(..) => json!({ "type": "string", "pattern": "^[0-9]+\\s*(ms|s|m|h|d)$" }),
        Kind::Size(..) => {
            json!({ "type": "string", "pattern": "^[0-9]+\\s*(B|KB|KiB|MB|MiB|GB|GiB)$" })
        }
        Kind::Address => {
            json!({ "type": "string", "pattern": "^(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+):[0-9]{1,5}$" })
        }
        Kind::Collector => {
            json!({ "type": "string", "pattern": "^[Hh][Tt][Tt][Pp]://[^/?#@]+:[0-9]{1,5}/?$" })
        }
        Kind::List(item) => json!({ "type": "array", "items": kind(*item) }),
        Kind::Filled(item) => json!({ "type": "array", "items": kind(*item), "minItems": 1 }),
        Kind::Object(keys) => object(keys),
        Kind::Named(member) => json!({
            "type": ["object", "null"],
            "propertyNames": { "pattern": NAME },
            "additionalProperties": kind(*member),
        }),
        Kind::Free(member) => {
            json!({ "type": ["object", "null"], "additionalProperties": kind(*member) })
        }
        Kind::OneOf(kinds) => {
            json!({ "anyOf": kinds.iter().map(|of| kind(*of)).collect::<Vec<_>>() })
        }
    }
}
