//! Keys of one entry under `servers`.

use super::Kind::{
    Choice, False, File, Filled, Free, Int, List, Name, Object, OneOf, Ratio, Secret, Template,
    Text, Time, Url, Usd,
};
use super::{Key, key, required, with};

pub(super) const SERVER: &[Key] = &[
    key(
        "url",
        Url,
        "HTTP address. One of `url`, `endpoints` and `command` is needed.",
    ),
    key(
        "endpoints",
        Filled(&OneOf(&[Url, Object(ENDPOINT)])),
        "Several addresses of one server, each a URL or `{url, weight}`.",
    ),
    key(
        "balance",
        Choice(&["failover", "round_robin", "weighted", "least_in_flight"]),
        "How an endpoint is chosen: for each call, at servers with sessions for each session, whose calls all go there. Default: `failover`. HTTP only.",
    ),
    key(
        "headers",
        Free(&Secret),
        "Sent with every request, in place of what the client sent under that name. The client never sees them. HTTP only.",
    ),
    key(
        "connect_timeout",
        Time("1ms", "10m"),
        "Longest time to connect. Default: `5s`. HTTP only.",
    ),
    key(
        "transport",
        Choice(&["auto", "http", "sse"]),
        "Transport spoken at the addresses: `http` is Streamable HTTP, `sse` is HTTP+SSE of 2024-11-05, which has the session era only. Default: `auto`, which finds out and remembers. HTTP only.",
    ),
    key(
        "command",
        Text,
        "Program of a stdio server. A relative path with `/` starts at the file's directory, a bare name is looked up in `PATH`: that of `env`, else the gateway's.",
    ),
    key("args", List(&Template), "Arguments. stdio only."),
    key(
        "env",
        Free(&Secret),
        "Environment of the child beside a few basics (`PATH`, `HOME`, `LANG` and the like); nothing else of the gateway's environment reaches it. stdio only.",
    ),
    key("cwd", File, "Working directory of the child. stdio only."),
    key(
        "scope",
        Choice(&["auto", "shared", "session", "principal"]),
        "Who shares a child. Default: `auto`: shared by clients that take no server requests, one per session for the others. stdio only.",
    ),
    with(
        "timeout",
        Time("1ms", "1d"),
        r#""1m""#,
        "Longest time without any message from the server during a call.",
    ),
    key(
        "prefix",
        OneOf(&[False, Name]),
        "Put before tool and prompt names, followed by `separator`. Default: the server's name. `false`: no prefix.",
    ),
    key(
        "uri_prefix",
        Text,
        "Put before resource URIs, for servers whose URIs collide. Those of MCP Apps keep their scheme and get the server's name behind it: `ui://name.…`.",
    ),
    with(
        "era",
        Choice(&["auto", "session", "stateless"]),
        r#""auto""#,
        "Protocol era spoken with the server: `session` up to 2025-11-25, `stateless` from 2026-07-28. `auto` finds out and remembers; with `transport: sse` it is `session`.",
    ),
    with(
        "probe_interval",
        Time("1s", "30d"),
        r#""1h""#,
        "Time between looks at what a server speaks under `era: auto`, give or take a tenth. It is looked at sooner after an outage, a restart and an answer that casts doubt on it; always beside the sessions and processes in use.",
    ),
    with(
        "in_flight_max",
        Int(1, 1_000_000),
        "1024",
        "Most calls in flight at this server.",
    ),
    key(
        "breaker",
        Object(BREAKER),
        "Circuit breaker of each endpoint.",
    ),
    key(
        "retry",
        Object(RETRY),
        "Second attempts, only where nothing can have run twice.",
    ),
    key("health", Object(HEALTH), "Active health checks."),
    key(
        "tools",
        Free(&Object(TOOL)),
        "Rules by glob over the tool's own name (without prefix). Each key counts from the first glob that matches and has it.",
    ),
];

const ENDPOINT: &[Key] = &[
    required("url", Url, "HTTP address."),
    with(
        "weight",
        Int(1, 1000),
        "1",
        "Share of calls (of sessions, at servers with sessions) under `balance: weighted`.",
    ),
];

const BREAKER: &[Key] = &[
    with(
        "failures",
        Int(1, 10_000),
        "5",
        "Consecutive failures that open it.",
    ),
    with(
        "failure_rate_threshold",
        Ratio,
        "0.5",
        "Share of failures in the window that opens it.",
    ),
    with(
        "sliding_window_size",
        Int(1, 100_000),
        "100",
        "Calls in the window.",
    ),
    key(
        "minimum_calls",
        Int(1, 100_000),
        "Calls in the window before the share counts. Default: 20, in a smaller window all of its calls.",
    ),
    with(
        "slow_call_duration",
        Time("1ms", "1d"),
        r#""30s""#,
        "A call whose first sign of life (progress or the answer) takes longer counts as a failure.",
    ),
    with(
        "open_for",
        Time("1ms", "1d"),
        r#""30s""#,
        "First wait before trial calls. The n-th in a row is n times as long.",
    ),
    with(
        "open_for_max",
        Time("1ms", "1d"),
        r#""5m""#,
        "Longest wait before trial calls. Each wait is up to a tenth longer, so that nodes do not try at once.",
    ),
    with(
        "half_open_calls",
        Int(1, 1000),
        "3",
        "Trial calls after the wait.",
    ),
    key(
        "max_ejection_percent",
        Int(0, 100),
        "Share of the endpoints that may be out at once. Default: 100 for one endpoint, else 50.",
    ),
];

const RETRY: &[Key] = &[
    with("max_attempts", Int(1, 20), "3", "Attempts in all."),
    with(
        "budget",
        Ratio,
        "0.2",
        "Retries allowed at once as a share of calls in flight.",
    ),
    with(
        "concurrent_min",
        Int(0, 10_000),
        "3",
        "Retries that are always allowed at once.",
    ),
];

const HEALTH: &[Key] = &[
    with(
        "interval",
        Time("100ms", "1d"),
        r#""10s""#,
        "Time between checks.",
    ),
    with("timeout", Time("1ms", "10m"), r#""5s""#, "Longest check."),
];

const TOOL: &[Key] = &[
    key(
        "action",
        Choice(&["allow", "deny"]),
        "`deny` denies the tool to everyone, whatever their roles. `allow` keeps it from a later `deny`; the roles decide.",
    ),
    key(
        "retry",
        Choice(&["safe", "unsafe"]),
        "`safe`: the tool may run twice, so a call that failed on the way is tried again. `unsafe`: it may not. Default: what the server says (`readOnlyHint`, `idempotentHint`).",
    ),
    key(
        "cost_usd",
        Usd(10_000),
        "What one call costs, in dollars, down to a millionth. Counted in `lockgate usage`, and against quotas with `cost_usd`. Default: nothing.",
    ),
];
