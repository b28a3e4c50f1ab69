//! Keys that belong to the node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use lockgate_cluster::audit::Guards;
use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::EnvFilter;

use super::{Context, Findings, is_at_or_below, redact};
use crate::config::checked::{Bridge, Identity, Limits, Node, Session, Telemetry, Tls};
use crate::config::interpolate::is_variable;
use crate::config::ledger::{Audit, AuditMode, AuditSync, Ledger};
use crate::config::problem::Problem;
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::config::unit::{Size, Time};

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7777);
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7778);
const SEPARATOR: &str = "_";
/// Longer separators only eat into the 64 characters that some clients allow for a tool's name.
const SEPARATOR_LEN_MAX: usize = 8;

pub(super) fn node(
    raw: raw::File,
    identity: &Identity,
    context: &Context<'_>,
    found: &mut Findings,
) -> Node {
    let listen = raw.listen.unwrap_or(LISTEN);
    let admin_listen = raw
        .admin
        .and_then(|admin| admin.listen)
        .unwrap_or(ADMIN_LISTEN);
    addresses(listen, admin_listen, identity, context, found);
    let root = KeyPath::root();
    let allowed_hosts = raw.allowed_hosts.unwrap_or_default();
    for (index, host) in allowed_hosts.iter().enumerate() {
        if host.contains("://") || !is_authority(host) {
            let at = root.key("allowed_hosts").index(index);
            found.refuse(
                &at,
                format!("{host:?} is not a host name"),
                "write a name or name:port, without scheme, path and wildcards",
            );
        }
    }
    let allowed_origins = raw.allowed_origins.unwrap_or_default();
    for (index, origin) in allowed_origins.iter().enumerate() {
        if !is_origin(origin) {
            let at = root.key("allowed_origins").index(index);
            found.refuse(
                &at,
                format!("{origin:?} is not an origin"),
                "write scheme://host or scheme://host:port, without path and wildcards",
            );
        }
    }
    Node {
        listen,
        admin_listen,
        tls: raw.tls.and_then(|tls| {
            Some(Tls {
                cert: context.path(&tls.cert?),
                key: context.path(&tls.key?),
            })
        }),
        data_dir: context.path(
            raw.data_dir
                .as_deref()
                .unwrap_or_else(|| Path::new("lockgate-data")),
        ),
        cluster: raw
            .cluster
            .and_then(|cluster| super::cluster::cluster(cluster, context, found)),
        allowed_hosts,
        allowed_origins,
        limits: limits(&raw.limits.unwrap_or_default()),
        session: session(&raw.session.unwrap_or_default(), found),
        bridge: bridge(&raw.bridge.unwrap_or_default(), found),
        ledger: ledger(raw.audit.as_ref()),
        guards: guards(raw.audit.as_ref(), context, found),
        redact: raw
            .audit
            .as_ref()
            .and_then(|raw| redact::redact(raw, found)),
        audit: audit(&raw.audit.unwrap_or_default(), context, found),
        telemetry: telemetry(raw.telemetry.unwrap_or_default(), found),
    }
}

fn addresses(
    listen: SocketAddr,
    admin: SocketAddr,
    identity: &Identity,
    context: &Context<'_>,
    found: &mut Findings,
) {
    let same_ip =
        listen.ip() == admin.ip() || listen.ip().is_unspecified() || admin.ip().is_unspecified();
    if listen.port() != 0 && listen.port() == admin.port() && same_ip {
        let at = KeyPath::root().key("admin").key("listen");
        found.refuse(
            &at,
            format!("port {} is taken by `listen`", admin.port()),
            "give one of the two another port",
        );
    }
    let mut exposed = exposure(listen, admin, identity, context.unsafe_no_auth);
    let at = KeyPath::root().key("identity").key("api_keys");
    if found.is_wrong(&at) {
        // There are keys, and what is wrong with them has been said.
        exposed.retain(|problem| is_at_or_below(&problem.key, "identity"));
    }
    found.problems.append(&mut exposed);
}

/// Refuses listeners that others reach without a key.
pub(in crate::config) fn exposure(
    listen: SocketAddr,
    admin: SocketAddr,
    identity: &Identity,
    unsafe_no_auth: bool,
) -> Vec<Problem> {
    let mut found = Findings::default();
    if unsafe_no_auth {
        return found.problems;
    }
    let root = KeyPath::root();
    let keyless = identity.api_keys.is_empty();
    for (address, at) in [
        (listen, root.key("listen")),
        (admin, root.key("admin").key("listen")),
    ] {
        if !address.ip().is_loopback() && keyless {
            found.refuse(
                &at,
                format!("{address} is reached from other machines, and nobody has to show a key"),
                "add `identity.api_keys`, listen on 127.0.0.1, or start with --unsafe-no-auth",
            );
        }
    }
    if !listen.ip().is_loopback() && identity.anonymous.is_some() {
        found.refuse(
            &root.key("identity").key("anonymous"),
            format!(
                "`listen` is {listen}, so anybody who reaches this machine would get these roles"
            ),
            "write `deny`, listen on 127.0.0.1, or start with --unsafe-no-auth",
        );
    }
    found.problems
}

fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, authority)| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
            && is_authority(authority)
    })
}

/// Whether this is a host, with a port or without.
fn is_authority(text: &str) -> bool {
    let authority = text.parse::<http::uri::Authority>();
    !text.contains(['@', '*']) && authority.is_ok_and(|authority| has_port_or_none(&authority))
}

/// Whether what stands behind the host, if anything does, is a port that can be connected to.
pub(super) fn has_port_or_none(authority: &http::uri::Authority) -> bool {
    let text = authority.as_str();
    let behind_user = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    let port = behind_user.strip_prefix(authority.host()).unwrap_or(text);
    port.is_empty() || authority.port_u16().is_some_and(|port| port > 0)
}

pub(super) fn separator(raw: Option<String>, found: &mut Findings) -> String {
    let separator = raw.unwrap_or_else(|| SEPARATOR.to_owned());
    let fit = separator
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
    if !fit || separator.len() > SEPARATOR_LEN_MAX {
        found.refuse(
            &KeyPath::root().key("separator"),
            format!("{separator:?} is not fit for tool names"),
            format!("use letters, digits, `_`, `-`, `.` and `/`, at most {SEPARATOR_LEN_MAX}"),
        );
    }
    separator
}

fn limits(raw: &raw::Limits) -> Limits {
    let bytes = |size: Option<Size>, default: usize| size.map_or(default, |size| size.0);
    Limits {
        body_bytes_max: bytes(raw.body_max, 4 << 20),
        depth_max: raw.depth_max.unwrap_or(128),
        batch_max: raw.batch_max.unwrap_or(64),
        answer_bytes_max: bytes(raw.answer_max, 16 << 20),
        connections_max: raw.connections_max.unwrap_or(16_384),
        sessions_max: raw.sessions_max.unwrap_or(100_000),
        session_calls_max: raw.session_calls_max.unwrap_or(128),
        calls_max: raw.calls_max.unwrap_or(16_384),
        read_timeout: time(raw.read_timeout, Duration::from_secs(15)),
    }
}

fn session(raw: &raw::Session, found: &mut Findings) -> Session {
    let session = Session {
        passivate_after: time(raw.passivate_after, Duration::from_mins(1)),
        idle_timeout: time(raw.idle_timeout, Duration::from_hours(1)),
        age_max: time(raw.age_max, Duration::from_hours(24)),
        journal_after: time(raw.journal_after, Duration::from_millis(100)),
        resume_window: time(raw.resume_window, Duration::from_mins(5)),
    };
    let at = KeyPath::root().key("session");
    let ordered = [
        (
            "passivate_after",
            session.passivate_after,
            "idle_timeout",
            session.idle_timeout,
        ),
        (
            "idle_timeout",
            session.idle_timeout,
            "age_max",
            session.age_max,
        ),
    ];
    for (lower, low, upper, high) in ordered {
        not_above(&at, (lower, low), (upper, high), found);
    }
    session
}

fn bridge(raw: &raw::Bridge, found: &mut Findings) -> Bridge {
    let default = Bridge::default();
    let bytes = |raw: Option<Size>, default| raw.map_or(default, |size| size.0);
    let bridge = Bridge {
        wait: time(raw.wait, default.wait),
        rounds_max: raw.rounds_max.unwrap_or(default.rounds_max),
        rounds_session_max: raw.rounds_session_max.unwrap_or(default.rounds_session_max),
        question_bytes_max: bytes(raw.question_max, default.question_bytes_max),
        waiting_max: raw.waiting_max.unwrap_or(default.waiting_max),
        waiting_principal_max: raw
            .waiting_principal_max
            .unwrap_or(default.waiting_principal_max),
        memory_bytes_max: bytes(raw.memory_max, default.memory_bytes_max),
        memory_principal_bytes_max: bytes(
            raw.memory_principal_max,
            default.memory_principal_bytes_max,
        ),
    };
    let at = KeyPath::root().key("bridge");
    let ordered = [
        (
            "waiting_principal_max",
            bridge.waiting_principal_max,
            "waiting_max",
            bridge.waiting_max,
        ),
        (
            "question_max",
            bridge.question_bytes_max,
            "memory_principal_max",
            bridge.memory_principal_bytes_max,
        ),
        (
            "memory_principal_max",
            bridge.memory_principal_bytes_max,
            "memory_max",
            bridge.memory_bytes_max,
        ),
    ];
    for (lower, low, upper, high) in ordered {
        if low > high {
            found.refuse(
                &at.key(lower),
                format!("is above `{upper}`"),
                format!("lower it, or raise `{upper}`"),
            );
        }
    }
    bridge
}

/// Refuses a time that must not be above another one.
pub(super) fn not_above(
    at: &KeyPath,
    lower: (&str, Duration),
    upper: (&str, Duration),
    found: &mut Findings,
) {
    if lower.1 > upper.1 {
        found.refuse(
            &at.key(lower.0),
            format!(
                "{} is above `{}` ({})",
                Time(lower.1),
                upper.0,
                Time(upper.1)
            ),
            format!("lower it, or raise `{}`", upper.0),
        );
    }
}

/// A time, or its default.
pub(super) fn time(raw: Option<Time>, default: Duration) -> Duration {
    raw.map_or(default, |time| time.0)
}

fn ledger(raw: Option<&raw::Audit>) -> Ledger {
    let mode = match raw.and_then(|raw| raw.mode.as_ref()) {
        Some(raw::AuditMode::Quorum) => AuditMode::Quorum,
        Some(raw::AuditMode::Memory) => AuditMode::Memory,
        Some(raw::AuditMode::Local) | None => AuditMode::Local,
    };
    let sync = match raw.and_then(|raw| raw.sync.as_ref()) {
        Some(raw::AuditSync::Each) => AuditSync::Each,
        Some(raw::AuditSync::Group) | None => AuditSync::Group,
    };
    Ledger { mode, sync }
}

fn guards(raw: Option<&raw::Audit>, context: &Context<'_>, found: &mut Findings) -> Guards {
    let Some(variable) = raw.and_then(|raw| raw.hmac_key_env.as_deref()) else {
        return Guards::default();
    };
    let at = KeyPath::root().key("audit").key("hmac_key_env");
    if !is_variable(variable) {
        // The text is not repeated: it may well be the secret itself.
        found.refuse(
            &at,
            "this is not the name of an environment variable",
            "write a name with letters, digits and `_`, and put the secret into that variable",
        );
        return Guards::default();
    }
    let called = Guards::variable(variable);
    let example = "for example what `openssl rand -hex 32` prints";
    let Some(text) = (context.env)(variable) else {
        found.refuse(
            &at,
            format!("{called} is not set"),
            format!("set it to the secret that all nodes share, {example}"),
        );
        return Guards::default();
    };
    let text = SecretString::from(text);
    Guards::parse(text.expose_secret()).unwrap_or_else(|error| {
        found.refuse(
            &at,
            format!("{called} {error}"),
            format!(
                "put one secret that all nodes share there, and former ones behind it, {example}"
            ),
        );
        Guards::default()
    })
}

fn audit(raw: &raw::Audit, context: &Context<'_>, found: &mut Findings) -> Audit {
    match (&raw.output, &raw.file) {
        (Some(raw::AuditOutput::Stdout), Some(_)) => {
            found.refuse(
                &KeyPath::root().key("audit").key("output"),
                "`output` and `file` are both there",
                "keep one of them",
            );
            Audit::Stdout
        }
        (Some(raw::AuditOutput::Stdout), None) => Audit::Stdout,
        (None, None) => Audit::None,
        (None, Some(file)) => Audit::File(context.path(file)),
    }
}

/// Whether a part of a log filter is a lone word that is no level. It would be a target: all others would be silenced.
fn is_no_level(part: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let part = part.trim();
    let is_word = !part.is_empty() && !part.contains(['=', '[', '{', ']', '}']);
    is_word && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part))
}

fn telemetry(raw: raw::Telemetry, found: &mut Findings) -> Telemetry {
    let log_filter = raw.filter.unwrap_or_else(|| "info".to_owned());
    if EnvFilter::try_new(&log_filter).is_err() || log_filter.split(',').any(is_no_level) {
        found.refuse(
            &KeyPath::root().key("telemetry").key("filter"),
            format!("{log_filter:?} is not a log filter"),
            "write a level, or target=level pairs with commas, for example info,lockgate_node::upstream=debug",
        );
    }
    let otlp = raw.otlp.unwrap_or_default();
    Telemetry {
        log_json: raw.log == Some(raw::LogFormat::Json),
        log_filter,
        trace_ratio: otlp.ratio.unwrap_or(1.0),
        otlp_endpoint: otlp.endpoint,
    }
}
