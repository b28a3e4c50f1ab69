//! One upstream.

use std::path::Path;
use std::time::Duration;

use globset::Glob;
use http::{HeaderName, HeaderValue, Uri};
use lockgate_proto::id::ServerName;
use secrecy::SecretString;

use super::node::{has_port_or_none, not_above, time};
use super::{Context, Findings, address};
use crate::config::checked::{
    Balance, Breaker, Endpoint, EraChoice, Health, HttpTransport, Retry, Scope, Server, ToolRule,
    Transport,
};
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::config::{SHELLS, SHELLS_REMEDY, begins_like_a_shells};

/// Headers that the transport writes itself: another value would break framing or the protocol.
const OWN_HEADERS: &[&str] = &[
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const NUL: &str = "the value holds a NUL character";

pub(super) fn all(
    raw: Option<raw::Ordered<raw::Server>>,
    context: &Context<'_>,
    found: &mut Findings,
) -> Vec<Server> {
    let at = KeyPath::root().key("servers");
    let servers = raw.map(|servers| servers.0).unwrap_or_default();
    servers
        .into_iter()
        .filter_map(|(name, raw)| one(&name, raw, &at.key(&name), context, found))
        .collect()
}

/// `None` when the transport is not usable, which has been reported.
pub(super) fn one(
    name: &str,
    mut raw: raw::Server,
    at: &KeyPath,
    context: &Context<'_>,
    found: &mut Findings,
) -> Option<Server> {
    let balance = raw.balance;
    let transport = transport(&mut raw, at, context, found);
    let endpoints = match &transport {
        Some(Transport::Http { endpoints, .. }) => endpoints.len(),
        _ => 1,
    };
    let server = Server {
        name: ServerName::new(name),
        timeout: time(raw.timeout, Duration::from_mins(1)),
        prefix: match raw.prefix {
            None => Some(name.to_owned()),
            Some(raw::Prefix::Off(on)) => on.then(|| name.to_owned()),
            Some(raw::Prefix::Name(prefix)) => Some(prefix),
        },
        uri_prefix: raw.uri_prefix,
        breaker: breaker(
            &raw.breaker.unwrap_or_default(),
            endpoints,
            &at.key("breaker"),
            found,
        ),
        retry: retry(&raw.retry.unwrap_or_default()),
        in_flight_max: raw.in_flight_max.unwrap_or(1024),
        health: health(&raw.health.unwrap_or_default()),
        era: era(raw.era, transport.as_ref(), at, found),
        probe_interval: time(raw.probe_interval, Duration::from_hours(1)),
        tools: tools(raw.tools, &at.key("tools"), found),
        transport: transport?,
    };
    if let Transport::Http { endpoints, .. } = &server.transport
        && balance != Some(raw::Balance::Weighted)
        && endpoints.iter().any(|endpoint| endpoint.weight != 1)
    {
        found.refuse(
            &at.key("endpoints"),
            "weights count only under `balance: weighted`",
            "add `balance: weighted`, or remove the weights",
        );
    }
    Some(server)
}

/// HTTP+SSE is older than the stateless era: there is nothing to find out.
fn era(
    raw: Option<raw::Era>,
    transport: Option<&Transport>,
    at: &KeyPath,
    found: &mut Findings,
) -> EraChoice {
    let is_sse = matches!(
        transport,
        Some(Transport::Http {
            kind: HttpTransport::Sse,
            ..
        })
    );
    match raw {
        Some(raw::Era::Stateless) => {
            if is_sse {
                found.refuse(
                    &at.key("era"),
                    "`transport: sse` has no stateless era",
                    "write `era: session` or leave it out, or correct `transport`",
                );
            }
            EraChoice::Stateless
        }
        Some(raw::Era::Session) => EraChoice::Session,
        None | Some(raw::Era::Auto) if is_sse => EraChoice::Session,
        None | Some(raw::Era::Auto) => EraChoice::Auto,
    }
}

fn transport(
    raw: &mut raw::Server,
    at: &KeyPath,
    context: &Context<'_>,
    found: &mut Findings,
) -> Option<Transport> {
    const NEEDED: &str = "write exactly one of `url`, `endpoints` (HTTP) and `command` (stdio)";
    let mut misplaced = |keys: &[(&str, bool)], kind: &str| {
        for (key, _) in keys.iter().filter(|(_, there)| *there) {
            found.refuse(
                &at.key(key),
                format!("this key has no meaning for {kind} server"),
                "remove it",
            );
        }
    };
    let stdio_only = [
        ("args", raw.args.is_some()),
        ("env", raw.env.is_some()),
        ("cwd", raw.cwd.is_some()),
        ("scope", raw.scope.is_some()),
    ];
    let http_only = [
        ("headers", raw.headers.is_some()),
        ("balance", raw.balance.is_some()),
        ("connect_timeout", raw.connect_timeout.is_some()),
        ("transport", raw.transport.is_some()),
    ];
    match (raw.url.take(), raw.endpoints.take(), raw.command.take()) {
        (Some(url), None, None) => {
            misplaced(&stdio_only, "an HTTP");
            http(vec![(at.key("url"), url, None)], raw, at, context, found)
        }
        (None, Some(list), None) => {
            misplaced(&stdio_only, "an HTTP");
            let at_list = at.key("endpoints");
            let endpoint = |(index, endpoint)| match endpoint {
                raw::Endpoint::Url(url) => Some((at_list.index(index), url, None)),
                raw::Endpoint::Weighted(long) => {
                    Some((at_list.index(index).key("url"), long.url?, long.weight))
                }
            };
            http(
                list.into_iter().enumerate().filter_map(endpoint).collect(),
                raw,
                at,
                context,
                found,
            )
        }
        (None, None, Some(command)) => {
            misplaced(&http_only, "a stdio");
            stdio(&command, raw, at, context, found)
        }
        (None, None, None) => {
            found.refuse(at, "it is not said how the server is reached", NEEDED);
            None
        }
        _ => {
            found.refuse(
                at,
                "it is said in more than one way how the server is reached",
                NEEDED,
            );
            None
        }
    }
}

fn http(
    urls: Vec<(KeyPath, String, Option<u32>)>,
    raw: &mut raw::Server,
    at: &KeyPath,
    context: &Context<'_>,
    found: &mut Findings,
) -> Option<Transport> {
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(urls.len());
    let mut sound = true;
    for (at, text, weight) in urls {
        let Some(url) = url(&text, &at, context, found) else {
            sound = false;
            continue;
        };
        if endpoints.iter().any(|other| other.url == url) {
            found.refuse(
                &at,
                "this address is there twice",
                "remove one, or use `weight` under `balance: weighted`",
            );
        }
        endpoints.push(Endpoint {
            address: address::shown(&text, &url).into(),
            url,
            weight: weight.unwrap_or(1),
        });
    }
    let headers = raw
        .headers
        .take()
        .map(|headers| headers.0)
        .unwrap_or_default();
    let headers = all_headers(headers, &at.key("headers"), context, found);
    sound.then(|| Transport::Http {
        endpoints,
        kind: match raw.transport {
            None | Some(raw::HttpTransport::Auto) => HttpTransport::Auto,
            Some(raw::HttpTransport::Http) => HttpTransport::Streamable,
            Some(raw::HttpTransport::Sse) => HttpTransport::Sse,
        },
        balance: match raw.balance {
            None | Some(raw::Balance::Failover) => Balance::Failover,
            Some(raw::Balance::RoundRobin) => Balance::RoundRobin,
            Some(raw::Balance::Weighted) => Balance::Weighted,
            Some(raw::Balance::LeastInFlight) => Balance::LeastInFlight,
        },
        headers,
        connect_timeout: time(raw.connect_timeout, Duration::from_secs(5)),
    })
}

fn url(text: &str, at: &KeyPath, context: &Context<'_>, found: &mut Findings) -> Option<Uri> {
    let full = found.interpolate(text, at, context.env)?;
    // Messages show the text of the file: the completed one may hold a secret.
    let Ok(url) = full.parse::<Uri>() else {
        found.refuse(
            at,
            format!("{text:?} is not a URL"),
            "write http:// or https:// with host and path, for example http://127.0.0.1:8001/mcp",
        );
        return None;
    };
    let Some(authority) = url
        .authority()
        .filter(|_| matches!(url.scheme_str(), Some("http" | "https")))
    else {
        found.refuse(
            at,
            format!("{text:?} is not an HTTP address"),
            "write http:// or https:// with host and path, or use `command` for a stdio server",
        );
        return None;
    };
    if authority.as_str().contains('@') {
        found.refuse(
            at,
            "the address holds a user name or password",
            "put credentials into `headers`, for example Authorization",
        );
        return None;
    }
    if !has_port_or_none(authority) {
        let what = format!("{text:?} has no port behind its colon");
        let remedy =
            "write a number from 1 to 65535 there, or leave the colon out for that of the scheme";
        let is_taken = found.slip(super::problem(at, what, remedy));
        return is_taken.then_some(url);
    }
    Some(url)
}

/// Names differ in more than the case of their letters: the second would replace the first.
fn all_headers(
    written: Vec<(String, String)>,
    at: &KeyPath,
    context: &Context<'_>,
    found: &mut Findings,
) -> Vec<(HeaderName, SecretString)> {
    let mut headers: Vec<(HeaderName, SecretString)> = Vec::with_capacity(written.len());
    for (name, value) in written {
        let Some(next) = header(&name, &value, at, context, found) else {
            continue;
        };
        if headers.iter().any(|(other, _)| *other == next.0) {
            let what = "this header is there twice, in other letters";
            found.slip(super::problem(&at.key(&name), what, "remove one"));
        }
        headers.push(next);
    }
    headers
}

fn header(
    name: &str,
    value: &str,
    at: &KeyPath,
    context: &Context<'_>,
    found: &mut Findings,
) -> Option<(HeaderName, SecretString)> {
    let at = at.key(name);
    let Ok(parsed) = name.parse::<HeaderName>() else {
        found.refuse(
            &at,
            format!("{name:?} is not a header name"),
            "use letters, digits and `-`",
        );
        return None;
    };
    if OWN_HEADERS.contains(&parsed.as_str()) {
        found.refuse(&at, "the gateway writes this header itself", "remove it");
        return None;
    }
    let full = found.interpolate(value, &at, context.env)?;
    if HeaderValue::from_str(&full).is_err() {
        found.refuse(
            &at,
            "the value holds characters that no header may carry",
            "use visible ASCII in one line",
        );
        return None;
    }
    Some((parsed, SecretString::from(full)))
}

fn stdio(
    command: &str,
    raw: &mut raw::Server,
    at: &KeyPath,
    context: &Context<'_>,
    found: &mut Findings,
) -> Option<Transport> {
    let before = found.problems.len();
    let args = raw.args.take().unwrap_or_default();
    let at_args = at.key("args");
    let args = args
        .iter()
        .enumerate()
        .filter_map(|(index, arg)| {
            let at = at_args.index(index);
            let arg = found.interpolate(arg, &at, context.env)?;
            if arg.contains('\0') {
                found.refuse(&at, NUL, "remove it");
            }
            Some(arg)
        })
        .collect();
    let mut env = Vec::new();
    for (name, value) in raw.env.take().map(|env| env.0).unwrap_or_default() {
        let at = at.key("env").key(&name);
        if name.is_empty() || name.contains(['=', '\0']) {
            found.refuse(
                &at,
                format!("{name:?} is not the name of a variable"),
                "use letters, digits and `_`",
            );
        } else if let Some(value) = found.interpolate(&value, &at, context.env) {
            if value.contains('\0') {
                found.refuse(&at, NUL, "remove it");
            }
            env.push((name, SecretString::from(value)));
        }
    }
    if command.contains('/') && begins_like_a_shells(command) {
        found.refuse(&at.key("command"), SHELLS, SHELLS_REMEDY);
    }
    let relative = command.contains('/') && Path::new(command).is_relative();
    let command = if relative {
        context
            .path(Path::new(command))
            .to_string_lossy()
            .into_owned()
    } else {
        command.to_owned()
    };
    (found.problems.len() == before).then(|| Transport::Stdio {
        command,
        args,
        env,
        cwd: raw.cwd.as_deref().map(|cwd| context.path(cwd)),
        scope: match raw.scope {
            None | Some(raw::Scope::Auto) => Scope::Auto,
            Some(raw::Scope::Shared) => Scope::Shared,
            Some(raw::Scope::Session) => Scope::Session,
            Some(raw::Scope::Principal) => Scope::Principal,
        },
    })
}

fn breaker(raw: &raw::Breaker, endpoints: usize, at: &KeyPath, found: &mut Findings) -> Breaker {
    let breaker = Breaker {
        failures: raw.failures.unwrap_or(5),
        failure_rate_threshold: raw.failure_rate_threshold.unwrap_or(0.5),
        sliding_window_size: raw.sliding_window_size.unwrap_or(100),
        // A smaller window lowers the default with it: 20 calls never fit into 10.
        minimum_calls: raw
            .minimum_calls
            .unwrap_or_else(|| raw.sliding_window_size.unwrap_or(100).min(20)),
        slow_call_duration: time(raw.slow_call_duration, Duration::from_secs(30)),
        open_for: time(raw.open_for, Duration::from_secs(30)),
        open_for_max: time(raw.open_for_max, Duration::from_mins(5)),
        half_open_calls: raw.half_open_calls.unwrap_or(3),
        max_ejection_percent: raw.max_ejection_percent.unwrap_or(if endpoints == 1 {
            100
        } else {
            50
        }),
    };
    not_above(
        at,
        ("open_for", breaker.open_for),
        ("open_for_max", breaker.open_for_max),
        found,
    );
    if breaker.minimum_calls > breaker.sliding_window_size {
        found.refuse(
            &at.key("minimum_calls"),
            format!(
                "{} calls never fit into a window of {}",
                breaker.minimum_calls, breaker.sliding_window_size
            ),
            "lower it, or raise `sliding_window_size`",
        );
    }
    breaker
}

fn retry(raw: &raw::Retry) -> Retry {
    Retry {
        max_attempts: raw.max_attempts.unwrap_or(3),
        budget: raw.budget.unwrap_or(0.2),
        concurrent_min: raw.concurrent_min.unwrap_or(3),
    }
}

fn health(raw: &raw::Health) -> Health {
    Health {
        interval: time(raw.interval, Duration::from_secs(10)),
        timeout: time(raw.timeout, Duration::from_secs(5)),
    }
}

fn tools(
    raw: Option<raw::Ordered<raw::Tool>>,
    at: &KeyPath,
    found: &mut Findings,
) -> Vec<ToolRule> {
    let mut rules = Vec::new();
    for (glob, tool) in raw.map(|tools| tools.0).unwrap_or_default() {
        let cost_at = at.key(&glob).key("cost_usd");
        let cost_micros = tool
            .cost_usd
            .map(|usd| super::quota::micros(usd, &cost_at, found));
        match Glob::new(&glob) {
            Ok(pattern) => rules.push(ToolRule {
                pattern: pattern.compile_matcher(),
                allow: tool.action.map(|action| action == raw::ToolAction::Allow),
                retry_safe: tool.retry.map(|retry| retry == raw::ToolRetry::Safe),
                cost_micros,
            }),
            Err(error) => found.refuse(
                &at.key(&glob),
                format!("{glob:?} is not a glob: {}", super::reason(&error)),
                "put special characters in brackets, for example [*]",
            ),
        }
    }
    rules
}
