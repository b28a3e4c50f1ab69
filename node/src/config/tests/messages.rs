//! What a bad file is told: file, line, key, what is wrong, remedy.

use std::path::Path;

use super::{options, refused};
use crate::config::{load, parse, parse_server};

#[test]
fn unknown_keys_come_with_the_nearest_known_one() {
    insta::assert_snapshot!(refused("lisen: 127.0.0.1:1\nservers:\n  a:\n    url: http://a\n    timout: 3s\n    zzzzzzzz: 1\n"), @"
    lockgate.yaml:1: lisen: unknown key; did you mean `listen`?
    lockgate.yaml:5: servers.a.timout: unknown key; did you mean `timeout`?
    lockgate.yaml:6: servers.a.zzzzzzzz: unknown key; remove it: known here are url, endpoints, balance, headers, connect_timeout, transport, command, args, env, cwd, scope, timeout, prefix, uri_prefix, era, probe_interval, in_flight_max, breaker, retry, health, tools
    ");
}

#[test]
fn types_and_ranges() {
    insta::assert_snapshot!(refused(
        "listen: localhost:7777\n\
         data_dir: 5\n\
         limits:\n  body_max: 4M\n  depth_max: 7\n  read_timeout: 15\n\
         separator: ''\n\
         telemetry: { log: yaml, otlp: { ratio: 1.5 } }\n\
         servers:\n  a:\n    url: [http://a]\n    prefix: true\n    timeout: 0s\n    headers: { X-Id: 12 }\n  b/c: { command: x }\n\
         roles: [a]\n"
    ), @r#"
    lockgate.yaml:1: listen: "localhost:7777" is not an IP address with a port; write for example 127.0.0.1:7777 or [::1]:7777
    lockgate.yaml:2: data_dir: the number 5 stands where a path is expected; put it in quotes
    lockgate.yaml:4: limits.body_max: "4M" is not a size; write a whole number with KiB, MiB or GiB, for example 4MiB
    lockgate.yaml:5: limits.depth_max: 7 is out of range; write a whole number from 8 to 1000
    lockgate.yaml:6: limits.read_timeout: 15 has no unit; write the unit, for example 15s
    lockgate.yaml:7: separator: the text is empty; write a value, or remove the key
    lockgate.yaml:8: telemetry.log: "yaml" is not a choice here; write `human` or `json`
    lockgate.yaml:8: telemetry.otlp.ratio: the number 1.5 stands where a number from 0 to 1 is expected; write a number from 0 to 1
    lockgate.yaml:8: telemetry.otlp.endpoint: this key is missing; add it (OTLP/gRPC collector, for example `http://127.0.0.1:4317`)
    lockgate.yaml:11: servers.a.url: a list stands where a text is expected; write a text
    lockgate.yaml:12: servers.a.prefix: `true` says nothing; remove the key for the default, or write a name
    lockgate.yaml:13: servers.a.timeout: 0s is out of range; write a time from 1ms to 1d
    lockgate.yaml:14: servers.a.headers.X-Id: the number 12 stands where a text is expected; put it in quotes
    lockgate.yaml:15: servers.b/c: the name is not fit for URLs and tool names; use letters, digits, `_`, `-` and `.`, at most 64, starting with a letter or digit
    lockgate.yaml:16: roles: a list stands where a mapping is expected; write a mapping
    "#);
}

#[test]
fn a_bound_above_what_the_runtime_counts_is_refused() {
    let message = refused(&format!(
        "limits: {{ connections_max: {} }}\n",
        usize::MAX >> 2
    ));
    insta::assert_snapshot!(message, @"lockgate.yaml:1: limits.connections_max: 4611686018427387903 is out of range; write a whole number from 1 to 1000000");
}

#[test]
fn bounds_of_the_bridge_fit_each_other() {
    insta::assert_snapshot!(refused(
        "bridge:\n  waiting_max: 10\n  waiting_principal_max: 11\n  question_max: 64MiB\n  memory_max: 16MiB\n  wait: 0s\n"
    ), @"
    lockgate.yaml:1: bridge.memory_principal_max: is above `memory_max`; lower it, or raise `memory_max`
    lockgate.yaml:3: bridge.waiting_principal_max: is above `waiting_max`; lower it, or raise `waiting_max`
    lockgate.yaml:4: bridge.question_max: is above `memory_principal_max`; lower it, or raise `memory_principal_max`
    lockgate.yaml:6: bridge.wait: 0s is out of range; write a time from 1s to 1d
    ");
}

#[test]
fn references_must_resolve() {
    insta::assert_snapshot!(refused(
        "identity:\n  api_keys:\n    - { id: a, key_env: CI_KEY, principal: p, tenant: t, roles: [admin] }\n  anonymous: [guest]\n\
         roles: { reader: { allow: ['[', 'tool:'] } }\n\
         tenants: { acme: { servers: [nowhere] } }\n"
    ), @r#"
    lockgate.yaml:3: identity.api_keys[0].roles[0]: there is no role `admin`; add it under `roles`, known: reader
    lockgate.yaml:3: identity.api_keys[0].tenant: there is no tenant `t`; add it under `tenants`, known: acme
    lockgate.yaml:4: identity.anonymous[0]: there is no role `guest`; add it under `roles`, known: reader
    lockgate.yaml:5: roles.reader.allow[0]: "[" is not a glob: unclosed character class, missing ']'; put special characters in brackets, for example [*]
    lockgate.yaml:5: roles.reader.allow[1]: "tool:" matches nothing; write a glob, for example github_list_*
    lockgate.yaml:6: tenants.acme.servers[0]: there is no server `nowhere`; add it under `servers`, known: none
    "#);
}

#[test]
fn api_keys_must_be_there_and_differ() {
    insta::assert_snapshot!(refused(
        "roles: { r: }\nidentity:\n  api_keys:\n    - { id: a, key_env: CI_KEY, principal: p, roles: [r] }\n    - { id: a, key_env: CI_KEY, principal: p, roles: [r] }\n\
         \x20   - { id: b, key_env: UNSET_KEY, principal: p, roles: [r] }\n    - { id: c, key_env: lg_123-456, principal: p, roles: [r] }\n\
         \x20   - { id: d, key_env: SPACED_KEY, principal: p, roles: [r] }\n    - { id: e, roles: [] }\n"
    ), @"
    lockgate.yaml:5: identity.api_keys[1].id: the id `a` is there twice; give each key its own id
    lockgate.yaml:5: identity.api_keys[1].key_env: holds the same key as `a`; give each id its own key
    lockgate.yaml:6: identity.api_keys[2].key_env: the environment variable `UNSET_KEY` is not set; set `UNSET_KEY` to the key, for example: export UNSET_KEY=lg_$(openssl rand -hex 24)
    lockgate.yaml:7: identity.api_keys[3].key_env: this is not the name of an environment variable; write a name with letters, digits and `_`, and put the key into that variable
    lockgate.yaml:8: identity.api_keys[4].key_env: `SPACED_KEY` is empty, or holds characters that no header may carry; use visible ASCII without spaces
    lockgate.yaml:9: identity.api_keys[5].roles: the list is empty; add an item
    lockgate.yaml:9: identity.api_keys[5].key_env: this key is missing; add it (Environment variable that holds the key)
    lockgate.yaml:9: identity.api_keys[5].principal: this key is missing; add it (Whom the key identifies)
    ");
}

#[test]
fn secrets_of_the_audit_log_must_be_there_and_long() {
    let check = |variable: &str| {
        let message = refused(&format!("audit:\n  hmac_key_env: {variable}\n"));
        assert!(!message.contains("0123456789"), "{message}");
        message
    };
    insta::assert_snapshot!(check("UNSET_KEY"), @"lockgate.yaml:2: audit.hmac_key_env: the environment variable `UNSET_KEY` is not set; set it to the secret that all nodes share, for example what `openssl rand -hex 32` prints");
    insta::assert_snapshot!(check("BLANK_KEY"), @"lockgate.yaml:2: audit.hmac_key_env: the environment variable `BLANK_KEY` is empty; put one secret that all nodes share there, and former ones behind it, for example what `openssl rand -hex 32` prints");
    insta::assert_snapshot!(check("SHORT_KEY"), @"lockgate.yaml:2: audit.hmac_key_env: the environment variable `SHORT_KEY` holds a secret of 5 bytes, and 32 are the least; put one secret that all nodes share there, and former ones behind it, for example what `openssl rand -hex 32` prints");
    insta::assert_snapshot!(check("SHORT_AUDIT_KEYS"), @"lockgate.yaml:2: audit.hmac_key_env: the environment variable `SHORT_AUDIT_KEYS` holds a secret of 16 bytes, and 32 are the least; put one secret that all nodes share there, and former ones behind it, for example what `openssl rand -hex 32` prints");
    insta::assert_snapshot!(check("a0123456789abcdef0123456789abcdef"), @"lockgate.yaml:2: audit.hmac_key_env: the environment variable that is named here is not set; set it to the secret that all nodes share, for example what `openssl rand -hex 32` prints");
    insta::assert_snapshot!(check("0123456789abcdef-0123456789abcdef"), @"lockgate.yaml:2: audit.hmac_key_env: this is not the name of an environment variable; write a name with letters, digits and `_`, and put the secret into that variable");
}

#[test]
fn servers_are_reached_in_one_way() {
    insta::assert_snapshot!(refused(
        "servers:\n  a: { timeout: 3s }\n  b: { url: http://b, command: x }\n  c: { url: http://c, args: [x], scope: auto }\n\
         \x20 d: { command: x, headers: { A: b }, balance: failover }\n  e: { endpoints: [] }\n"
    ), @"
    lockgate.yaml:2: servers.a: it is not said how the server is reached; write exactly one of `url`, `endpoints` (HTTP) and `command` (stdio)
    lockgate.yaml:3: servers.b: it is said in more than one way how the server is reached; write exactly one of `url`, `endpoints` (HTTP) and `command` (stdio)
    lockgate.yaml:4: servers.c.args: this key has no meaning for an HTTP server; remove it
    lockgate.yaml:4: servers.c.scope: this key has no meaning for an HTTP server; remove it
    lockgate.yaml:5: servers.d.headers: this key has no meaning for a stdio server; remove it
    lockgate.yaml:5: servers.d.balance: this key has no meaning for a stdio server; remove it
    lockgate.yaml:6: servers.e.endpoints: the list is empty; add an item, or remove the key
    ");
}

#[test]
fn urls_and_headers() {
    insta::assert_snapshot!(refused(
        "servers:\n  a: { url: ftp://a/mcp }\n  b: { url: '127.0.0.1:80/mcp' }\n  c: { url: 'http://u:p@c/mcp' }\n  d: { url: 'http://${UNSET}/' }\n\
         \x20 e: { url: 'http://${GITHUB_TOKEN}@x/', headers: { 'a b': x, Host: x, X: '${NEWLINE}', Y: '${A:-b}', Z: '${A' } }\n\
         \x20 f: { endpoints: [http://f, http://f, { url: http://g, weight: 2 }] }\n  g: { endpoints: [{ weight: 2 }, http://h] }\n"
    ), @r#"
    lockgate.yaml:2: servers.a.url: "ftp://a/mcp" is not an HTTP address; write http:// or https:// with host and path, or use `command` for a stdio server
    lockgate.yaml:3: servers.b.url: "127.0.0.1:80/mcp" is not a URL; write http:// or https:// with host and path, for example http://127.0.0.1:8001/mcp
    lockgate.yaml:4: servers.c.url: the address holds a user name or password; put credentials into `headers`, for example Authorization
    lockgate.yaml:5: servers.d.url: the environment variable `UNSET` is not set; set `UNSET`, or write `$${` for a literal `${`
    lockgate.yaml:6: servers.e.url: the address holds a user name or password; put credentials into `headers`, for example Authorization
    lockgate.yaml:6: servers.e.headers."a b": "a b" is not a header name; use letters, digits and `-`
    lockgate.yaml:6: servers.e.headers.Host: the gateway writes this header itself; remove it
    lockgate.yaml:6: servers.e.headers.X: the value holds characters that no header may carry; use visible ASCII in one line
    lockgate.yaml:6: servers.e.headers.Y: `${A:-b}` does not name a variable; write `${NAME}` with letters, digits and `_`, or `$${` for a literal `${`
    lockgate.yaml:6: servers.e.headers.Z: `${` is not closed; add `}`, or write `$${` for a literal `${`
    lockgate.yaml:7: servers.f.endpoints[1]: this address is there twice; remove one, or use `weight` under `balance: weighted`
    lockgate.yaml:7: servers.f.endpoints: weights count only under `balance: weighted`; add `balance: weighted`, or remove the weights
    lockgate.yaml:8: servers.g.endpoints[0].url: this key is missing; add it (HTTP address)
    "#);
}

#[test]
fn transports() {
    insta::assert_snapshot!(refused(
        "servers:\n  a: { url: http://a/sse, transport: sse, era: stateless }\n  b: { command: b, transport: sse }\n\
         \x20 c: { url: http://c/mcp, transport: streamable-http }\n  d: { url: http://d/sse, type: sse }\n"
    ), @r#"
    lockgate.yaml:2: servers.a.era: `transport: sse` has no stateless era; write `era: session` or leave it out, or correct `transport`
    lockgate.yaml:3: servers.b.transport: this key has no meaning for a stdio server; remove it
    lockgate.yaml:4: servers.c.transport: "streamable-http" is not a choice here; write `auto` or `http` or `sse`
    lockgate.yaml:5: servers.d.type: this key is not enforced by this version; remove it, or write `transport: sse` in place of `type: sse`: `url` means HTTP and `command` means stdio
    "#);
}

#[test]
fn times_and_windows_fit_together() {
    insta::assert_snapshot!(refused(
        "session: { passivate_after: 2h, idle_timeout: 1h, age_max: 30m }\n\
         servers:\n  a:\n    command: x\n    breaker: { open_for: 10m, minimum_calls: 50, sliding_window_size: 10 }\n    tools: { '[': { action: deny } }\n"
    ), @r#"
    lockgate.yaml:1: session.passivate_after: 2h is above `idle_timeout` (1h); lower it, or raise `idle_timeout`
    lockgate.yaml:1: session.idle_timeout: 1h is above `age_max` (30m); lower it, or raise `age_max`
    lockgate.yaml:5: servers.a.breaker.open_for: 10m is above `open_for_max` (5m); lower it, or raise `open_for_max`
    lockgate.yaml:5: servers.a.breaker.minimum_calls: 50 calls never fit into a window of 10; lower it, or raise `sliding_window_size`
    lockgate.yaml:6: servers.a.tools."[": "[" is not a glob: unclosed character class, missing ']'; put special characters in brackets, for example [*]
    "#);
}

#[test]
fn variables_are_taken_only_where_they_are_said_to_be() {
    insta::assert_snapshot!(refused("data_dir: ${HOME}/data\n"), @"lockgate.yaml:1: data_dir: `${` has no meaning here; write the value itself: variables are taken in url, endpoints, headers, args and env of `servers`");
}

#[test]
fn others_are_not_let_in_without_a_key() {
    insta::assert_snapshot!(refused("listen: 0.0.0.0:7777\nadmin: { listen: '[::]:7778' }\n"), @"
    lockgate.yaml:1: listen: 0.0.0.0:7777 is reached from other machines, and nobody has to show a key; add `identity.api_keys`, listen on 127.0.0.1, or start with --unsafe-no-auth
    lockgate.yaml:2: admin.listen: [::]:7778 is reached from other machines, and nobody has to show a key; add `identity.api_keys`, listen on 127.0.0.1, or start with --unsafe-no-auth
    ");
    insta::assert_snapshot!(refused(
        "listen: 0.0.0.0:7777\nroles: { r: }\nidentity:\n  api_keys: [{ id: a, key_env: UNSET_KEY, principal: p, roles: [r] }]\n"
    ), @"lockgate.yaml:4: identity.api_keys[0].key_env: the environment variable `UNSET_KEY` is not set; set `UNSET_KEY` to the key, for example: export UNSET_KEY=lg_$(openssl rand -hex 24)");
    insta::assert_snapshot!(refused(
        "listen: 0.0.0.0:7777\nroles: { r: }\nidentity:\n  api_keys: [{ id: a, key_env: CI_KEY, principal: p, roles: [r] }]\n  anonymous: [r]\n"
    ), @"lockgate.yaml:5: identity.anonymous: `listen` is 0.0.0.0:7777, so anybody who reaches this machine would get these roles; write `deny`, listen on 127.0.0.1, or start with --unsafe-no-auth");
}

#[test]
fn the_operator_may_take_the_blame() {
    let mut options = options();
    options.unsafe_no_auth = true;
    let text = "listen: 0.0.0.0:7777\nroles: { r: }\nidentity: { anonymous: [r] }\n";
    assert!(parse(text, None, Path::new("/"), &options).is_ok());
}

#[test]
fn ports_and_audit_targets_differ() {
    insta::assert_snapshot!(refused(
        "listen: 127.0.0.1:80\nadmin: { listen: 127.0.0.1:80 }\naudit: { output: stdout, file: a }\n\
         allowed_hosts: ['http://x']\nallowed_origins: [x.example, 'https://x.example/path']\ntelemetry: { filter: 'a=b=c' }\n"
    ), @r#"
    lockgate.yaml:2: admin.listen: port 80 is taken by `listen`; give one of the two another port
    lockgate.yaml:3: audit.output: `output` and `file` are both there; keep one of them
    lockgate.yaml:4: allowed_hosts[0]: "http://x" is not a host name; write a name or name:port, without scheme, path and wildcards
    lockgate.yaml:5: allowed_origins[0]: "x.example" is not an origin; write scheme://host or scheme://host:port, without path and wildcards
    lockgate.yaml:5: allowed_origins[1]: "https://x.example/path" is not an origin; write scheme://host or scheme://host:port, without path and wildcards
    lockgate.yaml:6: telemetry.filter: "a=b=c" is not a log filter; write a level, or target=level pairs with commas, for example info,lockgate_node::upstream=debug
    "#);
}

#[test]
fn what_would_widen_or_silence_without_a_word_is_refused() {
    insta::assert_snapshot!(refused(
        "allowed_hosts: ['*', 'a:99999']\nallowed_origins: ['https://*.a']\ntelemetry: { filter: infoo }\n\
         servers:\n  a: { url: 'http://a:99999/mcp' }\n  b: { url: 'http://a:/mcp' }\n  c: { url: 'http://a/mcp', timeout: }\n  d: { url: 'http://me:planted@a:99999' }\n\
         tenants:\n  t:\n    servers:\n"
    ), @r#"
    lockgate.yaml:1: allowed_hosts[0]: "*" is not a host name; write a name or name:port, without scheme, path and wildcards
    lockgate.yaml:1: allowed_hosts[1]: "a:99999" is not a host name; write a name or name:port, without scheme, path and wildcards
    lockgate.yaml:2: allowed_origins[0]: "https://*.a" is not an origin; write scheme://host or scheme://host:port, without path and wildcards
    lockgate.yaml:3: telemetry.filter: "infoo" is not a log filter; write a level, or target=level pairs with commas, for example info,lockgate_node::upstream=debug
    lockgate.yaml:5: servers.a.url: "http://a:99999/mcp" has no port behind its colon; write a number from 1 to 65535 there, or leave the colon out for that of the scheme
    lockgate.yaml:6: servers.b.url: "http://a:/mcp" has no port behind its colon; write a number from 1 to 65535 there, or leave the colon out for that of the scheme
    lockgate.yaml:7: servers.c.timeout: there is no value behind this key; write one, or remove the key
    lockgate.yaml:8: servers.d.url: the address holds a user name or password; put credentials into `headers`, for example Authorization
    lockgate.yaml:11: tenants.t.servers: there is no value behind this key; write one, or remove the key
    "#);
    insta::assert_snapshot!(refused(
        "roles: { r: { deny: ['tools:a', 'Tool:a', ' a', 'tool: a', '!a', 'tools://a', 'resource:tools:a'] } }\n"
    ), @r#"
    lockgate.yaml:1: roles.r.deny[0]: "tools:a" begins with no kind of object; write `tool:`; put `resource:` before a URI that begins so
    lockgate.yaml:1: roles.r.deny[1]: "Tool:a" begins with no kind of object; write `tool:`; put `resource:` before a URI that begins so
    lockgate.yaml:1: roles.r.deny[2]: " a" begins or ends with a blank, which no name does; remove it
    lockgate.yaml:1: roles.r.deny[3]: "tool: a" begins or ends with a blank, which no name does; remove it
    lockgate.yaml:1: roles.r.deny[4]: "!a" begins with `!`, which negates nothing; put the glob without it into the other list
    "#);
}

#[test]
fn money_is_counted_in_millionths_and_not_rounded_to_them() {
    insta::assert_snapshot!(refused(
        "quotas:\n  - { per: tool, cost_usd: 0.0000001, window: 1d }\n\
         servers:\n  a:\n    command: x\n    tools:\n      b: { cost_usd: 0.0000016 }\n      c: { cost_usd: 0.000001 }\n      d: { cost_usd: 9999.999999 }\n"
    ), @"
    lockgate.yaml:2: quotas[0].cost_usd: 0.0000001 dollars are no whole number of millionths; write six decimal places at most, or count what is cheaper by `requests`
    lockgate.yaml:7: servers.a.tools.b.cost_usd: 0.0000016 dollars are no whole number of millionths; write six decimal places at most, or count what is cheaper by `requests`
    ");
}

#[test]
fn a_remedy_is_taken() {
    insta::assert_snapshot!(refused(
        "listen: 7777\nlimits: { body_max: 1048576, read_timeout: 1000000, depth_max: 017, batch_max: 18446744073709551616 }\naudit: { args: false, file: '~/a' }\n\
         data_dir: $HOME/x\nsession: { age_max: 367d }\n\
         identity:\n  anonymous: me\n  api_keys: [{ id: a, key_env: CI_KEY, principal: p, roles: [] }]\n\
         servers:\n  a: { url: 'http://a', headers: { A: x, a: y } }\n  b: { command: b, args: [\"a\\0b\"], cwd: ~/ }\n  c: { command: ~/bin/x, retry: { budget: 01 }, tools: { t: { cost_usd: 010 } } }\n"
    ), @r#"
    lockgate.yaml:1: listen: the number 7777 stands where an address such as 127.0.0.1:7777 is expected; write an address such as 127.0.0.1:7777
    lockgate.yaml:2: limits.body_max: 1048576 has no unit; write the unit, for example 1048576B
    lockgate.yaml:2: limits.read_timeout: 1000000 has no unit; write the unit, for example 1000000ms
    lockgate.yaml:2: limits.depth_max: the number 017 begins with a zero; write it without leading zeros
    lockgate.yaml:2: limits.batch_max: 18446744073709551616 is out of range; write a whole number from 1 to 10000
    lockgate.yaml:3: audit.args: `false` stands where `hash` or `redacted` is expected; write `hash` or `redacted`
    lockgate.yaml:3: audit.file: `~` and `$` are a shell's and mean nothing here; write the whole path, or `./` in front of it for a directory that is called so
    lockgate.yaml:4: data_dir: `~` and `$` are a shell's and mean nothing here; write the whole path, or `./` in front of it for a directory that is called so
    lockgate.yaml:5: session.age_max: 367d is out of range; write a time from 1s to 366d
    lockgate.yaml:7: identity.anonymous: the text "me" stands where `deny` or a list is expected; write `deny` or a list
    lockgate.yaml:8: identity.api_keys[0].roles: the list is empty; add an item
    lockgate.yaml:10: servers.a.headers.a: this header is there twice, in other letters; remove one
    lockgate.yaml:11: servers.b.cwd: `~` and `$` are a shell's and mean nothing here; write the whole path, or `./` in front of it for a directory that is called so
    lockgate.yaml:11: servers.b.args[0]: the value holds a NUL character; remove it
    lockgate.yaml:12: servers.c.retry.budget: the number 01 begins with a zero; write it without leading zeros
    lockgate.yaml:12: servers.c.tools.t.cost_usd: the number 010 begins with a zero; write it without leading zeros
    lockgate.yaml:12: servers.c.command: `~` and `$` are a shell's and mean nothing here; write the whole path, or `./` in front of it for a directory that is called so
    "#);
}

#[test]
fn a_collector_is_a_host_and_a_port() {
    let load = |endpoint: &str| {
        let file = format!("telemetry: {{ otlp: {{ endpoint: '{endpoint}' }} }}\n");
        super::load(&file)
    };
    for endpoint in [
        "http://127.0.0.1:4317",
        "http://otel:80/",
        "http://[::1]:4317",
    ] {
        assert!(load(endpoint).is_ok(), "{endpoint}");
    }
    for endpoint in [
        "https://127.0.0.1:4317",
        "http://127.0.0.1:4317/v1/traces",
        "http://127.0.0.1:4317?a=b",
        "http://127.0.0.1:4317#a",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://127.0.0.1",
        "localhost:4317",
        "not an address",
        "",
    ] {
        let problems = load(endpoint).expect_err(endpoint).to_string();
        let expected = format!(
            "lockgate.yaml:1: telemetry.otlp.endpoint: {endpoint:?} is not of the form http://HOST:PORT; write"
        );
        assert!(problems.starts_with(&expected), "{problems}");
    }
    let problems = load("http://me:planted@127.0.0.1:4317").unwrap_err();
    assert!(!problems.to_string().contains("planted"), "{problems}");
}

#[test]
fn duplicate_names_and_broken_yaml_name_the_line() {
    insta::assert_snapshot!(refused("servers:\n  a: { command: x }\n  a: { command: y }\n"), @"lockgate.yaml:3: the key `a` is there twice; correct the YAML");
    insta::assert_snapshot!(refused("listen: 127.0.0.1:1\n\tx: 1\n"), @"lockgate.yaml:1: while scanning a plain scalar, found a tab; correct the YAML");
    insta::assert_snapshot!(refused("- a\n- b\n"), @"lockgate.yaml:1: a list stands where a mapping is expected; write a mapping");
}

#[test]
fn a_file_that_cannot_be_read_is_told_from_a_bad_one() {
    let dir = tempfile::tempdir().unwrap();
    let message = |name: &str| {
        let problems = load(&dir.path().join(name), &options()).unwrap_err();
        problems
            .to_string()
            .replace(&dir.path().display().to_string(), "DIR")
    };
    std::fs::write(dir.path().join("latin.yaml"), b"a: \xff").unwrap();
    insta::assert_snapshot!(message("none.yaml"), @"DIR/none.yaml: there is no such file; make one with `lockgate init`, or name another with --config");
    insta::assert_snapshot!(message(""), @"DIR/: this is not a file; name a file");
    insta::assert_snapshot!(message("latin.yaml"), @"DIR/latin.yaml: the file is not UTF-8; save it as UTF-8");
}

#[test]
fn a_server_that_comes_over_the_api_is_checked_alike() {
    let check =
        |name: &str, json: serde_json::Value| parse_server(name, &json, Path::new("/"), &options());
    let good = check(
        "a",
        serde_json::json!({ "url": "http://a/mcp", "headers": { "A": "${GITHUB_TOKEN}" } }),
    );
    assert_eq!(good.unwrap().name.as_str(), "a");
    let bad = check(
        "a b",
        serde_json::json!({ "url": "x", "timout": 3, "tools": { "t": { "cache": 1 } } }),
    );
    insta::assert_snapshot!(bad.unwrap_err(), @r#"
    name: "a b" is not a name; use letters, digits, `_`, `-` and `.`, at most 64, starting with a letter or digit
    timout: unknown key; did you mean `timeout`?
    tools.t.cache: this key is not enforced by this version; remove it: answers are always fetched
    url: "x" is not an HTTP address; write http:// or https:// with host and path, or use `command` for a stdio server
    "#);
}

#[test]
fn rules_of_what_is_hidden_are_checked() {
    insta::assert_snapshot!(refused(
        "audit:\n  args: redacted\n  redact:\n    fields: [iban, a..b]\n    patterns: ['x*', '(']\n    field: [a]\n"
    ), @r#"
    lockgate.yaml:4: audit.redact.fields[1]: "a..b" can't be used: it names nothing; write a key, or a path of keys with dots
    lockgate.yaml:5: audit.redact.patterns[0]: "x*" can't be used: it matches the empty text, so it would hide everything and nothing; write what it should match
    lockgate.yaml:5: audit.redact.patterns[1]: "(" can't be used: it is no regular expression: unclosed group; write what it should match
    lockgate.yaml:6: audit.redact.field: unknown key; did you mean `fields`?
    "#);
    insta::assert_snapshot!(refused(
        "audit: { args: redacted, redact: { patterns: ['a${b}'] } }\n"
    ), @r"lockgate.yaml:1: audit.redact.patterns[0]: `${` has no meaning here; write `\$\{` for the two characters: variables are not taken in patterns");
    let long = "x".repeat(100_000);
    insta::assert_snapshot!(refused(
        &format!("audit:\n  args: redacted\n  redact:\n    fields: [iban, {long}]\n")
    ), @"lockgate.yaml:4: audit.redact.fields: the list can't be used: it takes more than 1048576 bytes of memory; write fewer keys, or shorter ones");
}
