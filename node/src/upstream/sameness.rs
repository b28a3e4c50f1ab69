//! Whether a reload changed a server. Settings hold secrets and compiled globs, which have no equality of their own.

use secrecy::{ExposeSecret, SecretString};

use crate::config::{Server, Transport};

/// Whether `a` and `b` are the same server with the same settings. Rules for single tools are policy's, which reads
/// them from the configuration itself: a changed rule costs no session and no child.
///
/// Taken apart without `..`, so that a new setting cannot be forgotten here.
pub(crate) fn is_same(a: &Server, b: &Server) -> bool {
    let Server {
        name,
        transport,
        timeout,
        prefix,
        uri_prefix,
        breaker,
        retry,
        in_flight_max,
        health,
        era,
        probe_interval,
        tools: _,
    } = a;
    *name == b.name
        && is_same_transport(transport, &b.transport)
        && *timeout == b.timeout
        && *prefix == b.prefix
        && *uri_prefix == b.uri_prefix
        && *breaker == b.breaker
        && *retry == b.retry
        && *in_flight_max == b.in_flight_max
        && *health == b.health
        && *era == b.era
        && *probe_interval == b.probe_interval
}

fn is_same_transport(a: &Transport, b: &Transport) -> bool {
    match (a, b) {
        (
            Transport::Http {
                endpoints,
                kind,
                balance,
                headers,
                connect_timeout,
            },
            Transport::Http {
                endpoints: other_endpoints,
                kind: other_kind,
                balance: other_balance,
                headers: other_headers,
                connect_timeout: other_timeout,
            },
        ) => {
            endpoints == other_endpoints
                && kind == other_kind
                && balance == other_balance
                && are_same_secrets(headers, other_headers)
                && connect_timeout == other_timeout
        }
        (
            Transport::Stdio {
                command,
                args,
                env,
                cwd,
                scope,
            },
            Transport::Stdio {
                command: other_command,
                args: other_args,
                env: other_env,
                cwd: other_cwd,
                scope: other_scope,
            },
        ) => {
            command == other_command
                && args == other_args
                && are_same_secrets(env, other_env)
                && cwd == other_cwd
                && scope == other_scope
        }
        (Transport::Http { .. }, Transport::Stdio { .. })
        | (Transport::Stdio { .. }, Transport::Http { .. }) => false,
    }
}

fn are_same_secrets<N: PartialEq>(a: &[(N, SecretString)], b: &[(N, SecretString)]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|((name, secret), (other_name, other))| {
                name == other_name && secret.expose_secret() == other.expose_secret()
            })
}
