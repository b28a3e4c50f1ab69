//! What a good file becomes.

use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{ENV, good};
use crate::config::{Audit, Balance, EraChoice, HttpTransport, Scope, Server, Transport};

const SERVERS: &str = r#"
tls: { cert: tls/cert.pem, key: /abs/key.pem }
audit: { file: ./audit.jsonl, hmac_key_env: LOCKGATE_AUDIT_KEY }
servers:
  zeta:
    url: https://${HOST}/mcp?x=$${HOST}
    headers: { Authorization: "Bearer ${GITHUB_TOKEN}" }
    prefix: false
    era: session
    tools: { "drop_*": { action: deny }, "*": { retry: safe } }
  alpha:
    endpoints: [http://a/mcp, { url: http://b/mcp, weight: 3 }]
    balance: weighted
    prefix: al
  files:
    command: ./bin/server
    args: [--root, "${HOST}"]
    env: { TOKEN: "${GITHUB_TOKEN}" }
    cwd: work
    scope: principal
    breaker: { sliding_window_size: 10 }
"#;

fn server(name: &str) -> Server {
    let config = good(SERVERS).config;
    let server = config
        .registry
        .servers
        .iter()
        .find(|server| server.name.as_str() == name);
    Server::clone(server.unwrap())
}

#[test]
fn servers_keep_the_order_of_the_file() {
    let config = good(SERVERS).config;
    let names: Vec<&str> = config
        .registry
        .servers
        .iter()
        .map(|server| server.name.as_str())
        .collect();
    assert_eq!(names, ["zeta", "alpha", "files"]);
}

#[test]
fn variables_are_put_in() {
    let Transport::Http {
        endpoints, headers, ..
    } = server("zeta").transport
    else {
        panic!()
    };
    assert_eq!(endpoints[0].url, "https://db.internal/mcp?x=${HOST}");
    assert_eq!(headers[0].0, "authorization");
    assert_eq!(headers[0].1.expose_secret(), "Bearer ghp_secret");
}

#[test]
fn http_settings_arrive() {
    let zeta = server("zeta");
    assert_eq!(zeta.prefix, None);
    assert_eq!(zeta.era, EraChoice::Session);
    assert_eq!(zeta.breaker.max_ejection_percent, 100);
    assert_eq!(zeta.tools[0].allow, Some(false));
    assert!(zeta.tools[0].pattern.is_match("drop_table") && zeta.tools[0].retry_safe.is_none());
    assert!(zeta.tools[1].retry_safe == Some(true) && zeta.tools[1].allow.is_none());
    let alpha = server("alpha");
    let Transport::Http {
        endpoints,
        balance,
        connect_timeout,
        ..
    } = alpha.transport
    else {
        panic!()
    };
    assert_eq!((endpoints[0].weight, endpoints[1].weight), (1, 3));
    assert_eq!(
        (balance, connect_timeout),
        (Balance::Weighted, Duration::from_secs(5))
    );
    assert_eq!(alpha.breaker.max_ejection_percent, 50);
    assert_eq!(alpha.prefix.as_deref(), Some("al"));
}

/// Transport, era and probe interval of a server with these settings beside its address.
fn spoken(settings: &str) -> (HttpTransport, EraChoice, Duration) {
    let text = format!("servers: {{ a: {{ url: http://a/mcp, {settings} }} }}");
    let server = Server::clone(&good(&text).config.registry.servers[0]);
    let Transport::Http { kind, .. } = server.transport else {
        panic!()
    };
    (kind, server.era, server.probe_interval)
}

#[test]
fn what_is_spoken_is_found_out_or_decreed() {
    let hour = Duration::from_hours(1);
    assert_eq!(spoken(""), (HttpTransport::Auto, EraChoice::Auto, hour));
    assert_eq!(
        spoken("transport: http, probe_interval: 10m"),
        (
            HttpTransport::Streamable,
            EraChoice::Auto,
            Duration::from_mins(10)
        )
    );
    assert_eq!(
        spoken("era: stateless"),
        (HttpTransport::Auto, EraChoice::Stateless, hour)
    );
    // The older transport has one era only.
    for settings in [
        "transport: sse",
        "transport: sse, era: auto",
        "transport: sse, era: session",
    ] {
        assert_eq!(
            spoken(settings),
            (HttpTransport::Sse, EraChoice::Session, hour),
            "{settings}"
        );
    }
}

#[test]
fn stdio_settings_arrive_and_paths_start_at_the_file() {
    let files = server("files");
    assert_eq!(
        (
            files.breaker.sliding_window_size,
            files.breaker.minimum_calls
        ),
        (10, 10)
    );
    let Transport::Stdio {
        command,
        args,
        env,
        cwd,
        scope,
    } = files.transport
    else {
        panic!()
    };
    assert_eq!(command, "/etc/lockgate/bin/server");
    assert_eq!(args, ["--root", "db.internal"]);
    assert_eq!(
        (env[0].0.as_str(), env[0].1.expose_secret()),
        ("TOKEN", "ghp_secret")
    );
    assert_eq!(cwd.as_deref(), Some(Path::new("/etc/lockgate/work")));
    assert_eq!(scope, Scope::Principal);
    let node = good(SERVERS).config.node;
    assert_eq!(node.guards.marks("log").len(), 2);
    assert!(!format!("{node:?}").contains("0123456789"));
    let tls = node.tls.unwrap();
    assert_eq!(
        (tls.cert.to_str(), tls.key.to_str()),
        (Some("/etc/lockgate/tls/cert.pem"), Some("/abs/key.pem"))
    );
    assert_eq!(node.audit, Audit::File("/etc/lockgate/audit.jsonl".into()));
    assert_eq!(node.data_dir, Path::new("/etc/lockgate/lockgate-data"));
}

#[test]
fn identity_arrives() {
    let loaded = good(
        "identity:\n  api_keys: [{ id: ci, key_env: CI_KEY, principal: bot, tenant: acme, roles: [all] }]\n\
         \x20 anonymous: [all]\nroles: { all: { allow: ['*'] } }\ntenants: { acme: }\n",
    );
    let identity = &loaded.config.registry.identity;
    assert_eq!(identity.api_keys[0].secret.expose_secret(), ENV[0].1);
    assert_eq!(
        identity.api_keys[0]
            .tenant
            .as_ref()
            .map(|tenant| tenant.as_str()),
        Some("acme")
    );
    assert_eq!(identity.anonymous.as_ref().map(Vec::len), Some(1));
    assert_eq!(loaded.config.registry.tenants["acme"].servers, None);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_short_key_is_a_warning() {
    let loaded = good(
        "identity: { api_keys: [{ id: a, key_env: SHORT_KEY, principal: p, roles: [all] }] }\nroles: { all: }\n",
    );
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].line, Some(1));
    assert_eq!(loaded.warnings[0].key, "identity.api_keys[0].key_env");
}

#[test]
fn an_empty_file_is_a_gateway_on_loopback_without_servers() {
    let config = good("").config;
    assert_eq!(config.node.listen.to_string(), "127.0.0.1:7777");
    assert_eq!(config.node.admin_listen.to_string(), "127.0.0.1:7778");
    assert!(config.registry.servers.is_empty() && config.registry.identity.anonymous.is_none());
}

#[test]
fn no_secret_shows_in_debug_output() {
    let text = format!("{:?}", good(SERVERS).config);
    assert!(!text.contains("ghp_secret"), "{text}");
}

#[test]
fn rules_without_arguments_are_of_no_use() {
    let loaded = good("audit: { redact: { fields: [iban] } }");
    assert!(loaded.config.node.redact.is_none());
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].key, "audit.redact");
    let loaded = good("audit: { args: redacted }");
    assert!(loaded.config.node.redact.is_some() && loaded.warnings.is_empty());
}
