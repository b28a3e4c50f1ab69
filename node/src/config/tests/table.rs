//! The table of keys, the raw types, the schema and the defaults say the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::good;
use crate::config::keys::{FILE, Key, Kind};
use crate::config::raw::{
    Admin, ApiKey, Audit, Breaker, Bridge, Cluster, ClusterTls, File, Health, Identity, Limits,
    Otlp, Quota, Redact, Retry, Role, Server, Session, Telemetry, Tenant, Tls, Tool,
    WeightedEndpoint,
};
use crate::config::unit::{Size, Time};
use crate::config::{redacted, schema};

/// Which type reads which section; `*` stands for names and items.
const RAW: &[(&str, &[&str])] = &[
    ("", File::KEYS),
    ("admin", Admin::KEYS),
    ("audit", Audit::KEYS),
    ("audit.redact", Redact::KEYS),
    ("bridge", Bridge::KEYS),
    ("cluster", Cluster::KEYS),
    ("cluster.tls", ClusterTls::KEYS),
    ("identity", Identity::KEYS),
    ("identity.api_keys.*", ApiKey::KEYS),
    ("limits", Limits::KEYS),
    ("quotas.*", Quota::KEYS),
    ("roles.*", Role::KEYS),
    ("servers.*", Server::KEYS),
    ("servers.*.breaker", Breaker::KEYS),
    ("servers.*.endpoints.*", WeightedEndpoint::KEYS),
    ("servers.*.health", Health::KEYS),
    ("servers.*.retry", Retry::KEYS),
    ("servers.*.tools.*", Tool::KEYS),
    ("session", Session::KEYS),
    ("telemetry", Telemetry::KEYS),
    ("telemetry.otlp", Otlp::KEYS),
    ("tenants.*", Tenant::KEYS),
    ("tenants.*.quotas.*", Quota::KEYS),
    ("tls", Tls::KEYS),
];

type Sections = BTreeMap<String, BTreeSet<String>>;

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn of_table(path: &str, kind: Kind, sections: &mut Sections) {
    match kind {
        Kind::Object(keys) => {
            sections.insert(
                path.to_owned(),
                keys.iter().map(|key| key.name.to_owned()).collect(),
            );
            keys.iter()
                .for_each(|key| of_table(&join(path, key.name), key.kind, sections));
        }
        Kind::Named(of) | Kind::Free(of) | Kind::List(of) | Kind::Filled(of) => {
            of_table(&join(path, "*"), *of, sections);
        }
        Kind::OneOf(kinds) => kinds.iter().for_each(|of| of_table(path, *of, sections)),
        _ => {}
    }
}

fn of_schema(path: &str, schema: &Value, sections: &mut Sections) {
    if let Some(properties) = schema["properties"].as_object() {
        assert_eq!(schema["additionalProperties"], false, "{path}");
        sections.insert(path.to_owned(), properties.keys().cloned().collect());
        properties
            .iter()
            .for_each(|(name, schema)| of_schema(&join(path, name), schema, sections));
    }
    for below in [&schema["items"], &schema["additionalProperties"]]
        .into_iter()
        .filter(|below| below.is_object())
    {
        of_schema(&join(path, "*"), below, sections);
    }
    schema["anyOf"]
        .as_array()
        .into_iter()
        .flatten()
        .for_each(|schema| of_schema(path, schema, sections));
}

#[test]
fn table_schema_and_raw_types_take_the_same_keys() {
    let raw: Sections = RAW
        .iter()
        .map(|(path, keys)| {
            (
                (*path).to_owned(),
                keys.iter().map(|key| (*key).to_owned()).collect(),
            )
        })
        .collect();
    let (mut table, mut listed) = (Sections::new(), Sections::new());
    of_table("", Kind::Object(FILE), &mut table);
    of_schema("", &schema(), &mut listed);
    assert_eq!(table, raw);
    assert_eq!(listed, raw);
}

fn each_key(keys: &'static [Key], visit: &mut impl FnMut(&'static Key)) {
    for key in keys {
        visit(key);
        let mut kinds = vec![key.kind];
        while let Some(kind) = kinds.pop() {
            match kind {
                Kind::Object(keys) => each_key(keys, visit),
                Kind::Named(of) | Kind::Free(of) | Kind::List(of) | Kind::Filled(of) => {
                    kinds.push(*of)
                }
                Kind::OneOf(of) => kinds.extend(of),
                _ => {}
            }
        }
    }
}

#[test]
fn every_key_is_documented_in_sentences_and_every_default_is_json() {
    each_key(FILE, &mut |key| {
        assert!(key.doc.ends_with('.'), "{}: {}", key.name, key.doc);
        assert!(
            !key.doc.contains('|'),
            "{} would break the reference's tables",
            key.name
        );
        let readable = match key.kind {
            Kind::Time(min, max) => {
                Time::parse(min) < Time::parse(max) && Time::parse(min).is_some()
            }
            Kind::Size(min, max) => {
                Size::parse(min) < Size::parse(max) && Size::parse(min).is_some()
            }
            _ => true,
        };
        assert!(readable, "{}: the bounds", key.name);
        if let Some(default) = key.default {
            assert!(
                serde_json::from_str::<Value>(default).is_ok(),
                "{}: {default}",
                key.name
            );
        }
    });
}

/// Writes the table's defaults into a file and finds that they change nothing.
#[test]
fn the_tables_defaults_are_those_of_the_checks() {
    let short = json!({
        "servers": {
            "a": { "url": "http://a/mcp" },
            "b": { "command": "b" },
            "c": { "endpoints": ["http://c"] },
            "d": { "endpoints": ["http://d", "http://e"], "transport": "sse", "breaker": { "sliding_window_size": 10 } },
        },
        "roles": { "r": {} },
        "tenants": { "t": {} },
    });
    let mut long = redacted(&short);
    for (name, key, value) in [
        ("a", "balance", "failover"),
        ("a", "connect_timeout", "5s"),
        ("a", "transport", "auto"),
        ("a", "prefix", "a"),
        ("b", "scope", "auto"),
        ("d", "era", "session"),
    ] {
        assert_eq!(long["servers"][name][key], value, "{name}.{key}");
    }
    let breaker = |name: &str| {
        let breaker = &long["servers"][name]["breaker"];
        (
            breaker["minimum_calls"].as_u64(),
            breaker["max_ejection_percent"].as_u64(),
        )
    };
    assert_eq!(breaker("c"), (Some(20), Some(100)));
    assert_eq!(breaker("d"), (Some(10), Some(50)));
    long["servers"]["c"]["endpoints"] = json!([{ "url": "http://c", "weight": 1 }]);
    let config = |json: &Value| format!("{:#?}", good(&json.to_string()).config);
    assert_eq!(config(&short), config(&long));
    assert_ne!(short, long);
}

#[test]
fn what_is_shown_holds_no_secret() {
    let loaded = good(
        "servers:\n  a:\n    url: http://a/mcp?key=planted\n    headers: { Authorization: \"Bearer ${GITHUB_TOKEN}\", X: planted }\n\
         \x20 b: { command: b, env: { A: planted, B: \"${GITHUB_TOKEN}\" } }\n\
         identity: { api_keys: [{ id: a, key_env: CI_KEY, principal: p, roles: [r] }] }\nroles: { r: }\n",
    );
    let shown = redacted(&loaded.written);
    let text = shown.to_string();
    assert!(
        !text.contains("planted") && !text.contains("ghp_secret") && !text.contains("lg_0123"),
        "{text}"
    );
    insta::assert_snapshot!(serde_json::to_string_pretty(&shown["servers"]["b"]).unwrap(), @r#"
    {
      "command": "b",
      "env": {
        "A": "***",
        "B": "${GITHUB_TOKEN}"
      },
      "scope": "auto",
      "timeout": "1m",
      "prefix": "b",
      "era": "auto",
      "probe_interval": "1h",
      "in_flight_max": 1024,
      "breaker": {
        "failures": 5,
        "failure_rate_threshold": 0.5,
        "sliding_window_size": 100,
        "minimum_calls": 20,
        "slow_call_duration": "30s",
        "open_for": "30s",
        "open_for_max": "5m",
        "half_open_calls": 3,
        "max_ejection_percent": 100
      },
      "retry": {
        "max_attempts": 3,
        "budget": 0.2,
        "concurrent_min": 3
      },
      "health": {
        "interval": "10s",
        "timeout": "5s"
      }
    }
    "#);
    assert_eq!(
        shown["servers"]["a"]["headers"]["Authorization"],
        "Bearer ${GITHUB_TOKEN}"
    );
}
