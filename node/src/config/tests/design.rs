//! Every key of the design's example is enforced or refused by name.

use super::{load, refused};
use crate::config::tree::{KeyPath, Tree, Value};

/// `DESIGN.md` section 4, as it stands there.
const EXAMPLE: &str = r#"
listen: 127.0.0.1:7777            # data plane: /mcp, /sse, /ws
admin: { listen: 127.0.0.1:7778 } # admin API, console, /metrics, /healthz, /readyz
data_dir: ./lockgate-data

cluster:                          # leave out for a single node
  node: n1
  listen: 127.0.0.1:7800          # TCP: Raft over gRPC, UDP: session plane over QUIC; both mutual TLS
  advertise: n1.internal:7800
  peers: { n1: n1.internal:7800, n2: n2.internal:7800, n3: n3.internal:7800 }
  tls: { ca: ca.pem, cert: n1.pem, key: n1.key }

identity:
  api_keys:
    - { id: ci, key_env: CI_KEY, principal: ci-bot, tenant: acme, roles: [engineer] }
  jwt:
    - { issuer: https://idp.example, audience: lockgate, jwks_url: https://idp.example/jwks, roles_claim: roles, tenant_claim: org }
  mtls: { client_ca: clients.pem, spiffe_trust_domain: example.org }
  anonymous: deny                 # or a role list, for a laptop

servers:
  github:
    url: http://127.0.0.1:8001/mcp
    headers: { Authorization: "Bearer ${GITHUB_TOKEN}" }
    timeout: 30s
    breaker: { failures: 5, open_for: 30s }
  files:
    command: npx
    args: ["-y", "@modelcontextprotocol/server-filesystem", "/srv/files"]
    env: { }                      # nothing else of the gateway's environment reaches the child
    scope: auto                   # auto | shared | session | principal (CONTINUITY.md section 6)
  search:
    endpoints: [http://a:3000/mcp, http://b:3000/mcp]
    balance: round_robin          # failover | round_robin | weighted | least_in_flight
  market:
    command: npx
    args: ["-y", "agent-toolbelt-mcp"]
    env: { UPSTREAM_API_KEY: "${UPSTREAM_API_KEY}" }
    tools:                        # per tool, globs allowed: allow | deny | approve, cost, retry, cache, checks
      stock_thesis: { action: approve, reason: "$0.05 a call", cost_usd: 0.05 }
      count_*: { action: allow, cost_usd: 0.01, retry: safe }

roles:
  analyst:  { allow: [github_list_*, github_get_*, database_query] }
  engineer: { allow: ["*"], deny: [database_drop_*] }

tenants:
  acme: { servers: [github, files], quotas: [ { per: tenant, requests: 10000, window: 1d } ] }

audit: { mode: local, hmac_key_env: LOCKGATE_AUDIT_KEY }   # quorum | local | memory
"#;

#[test]
fn what_is_not_enforced_is_refused_by_name() {
    insta::assert_snapshot!(refused(EXAMPLE), @"
    lockgate.yaml:16: identity.jwt: this key is not enforced by this version; give the callers keys in `identity.api_keys`, or check tokens in front of the gateway
    lockgate.yaml:18: identity.mtls: this key is not enforced by this version; give the callers keys in `identity.api_keys`, or end mutual TLS in front of the gateway
    lockgate.yaml:40: servers.market.tools.stock_thesis.action: `approve` is not enforced by this version; write `deny` until somebody may call it, or `allow`
    lockgate.yaml:40: servers.market.tools.stock_thesis.reason: this key is not enforced by this version; remove it, or keep it as a comment: it belongs to `action: approve`
    ");
}

#[test]
fn every_key_is_enforced_or_refused() {
    let message = refused(EXAMPLE);
    let refused: Vec<&str> = message
        .lines()
        .filter_map(|line| line.split(": ").nth(1))
        .collect();
    assert!(!message.contains("unknown key"), "{message}");

    // Without the refused keys the file is accepted, so each of the others went into the checked configuration.
    let mut tree = Tree::parse(EXAMPLE).unwrap();
    cut(&mut tree, &KeyPath::root(), &refused);
    let rest = tree.to_json().to_string();
    load(&rest).unwrap_or_else(|problems| panic!("{problems}"));
}

fn cut(tree: &mut Tree, at: &KeyPath, refused: &[&str]) {
    match &mut tree.value {
        Value::Map(entries) => {
            entries.retain(|entry| !refused.contains(&at.key(&entry.key).as_str()));
            entries
                .iter_mut()
                .for_each(|entry| cut(&mut entry.value, &at.key(&entry.key), refused));
        }
        Value::List(items) => {
            items
                .iter_mut()
                .enumerate()
                .for_each(|(index, item)| cut(item, &at.index(index), refused));
        }
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Digits(_)
        | Value::Text(_) => {}
    }
}

#[track_caller]
fn refused_by_name(text: &str, key: &str) {
    let message = refused(text);
    assert!(
        message.contains(&format!(" {key}: ")) && message.contains("not enforced"),
        "{message}"
    );
}

#[test]
fn keys_that_the_design_only_mentions_are_refused_by_name() {
    refused_by_name(
        "servers: { a: { command: x, tools: { t: { cache: 5m } } } }",
        "servers.a.tools.t.cache",
    );
    refused_by_name(
        "servers: { a: { command: x, tools: { t: { checks: [sql] } } } }",
        "servers.a.tools.t.checks",
    );
    refused_by_name(
        "identity: { api_keys: [{ id: a, key: x }] }",
        "identity.api_keys[0].key",
    );
}
