//! Keys of the whole file but `servers`.

use super::Kind::{
    Address, Choice, Collector, File, Filled, Int, List, Name, Named, Object, OneOf, Pattern,
    Ratio, Size, Text, Time, Usd,
};
use super::{Key, key, required, server, with};

pub(super) const FILE: &[Key] = &[
    with(
        "listen",
        Address,
        r#""127.0.0.1:7777""#,
        "Address of the data plane (`/mcp`). Port 0 lets the system choose. Another address than loopback needs `identity.api_keys`.",
    ),
    key("admin", Object(ADMIN), "Admin API, metrics and health."),
    key(
        "tls",
        Object(TLS),
        "TLS of the data plane. The files are read again when they change.",
    ),
    with(
        "data_dir",
        File,
        r#""./lockgate-data""#,
        "Directory for keys, registry and spools. Created when missing.",
    ),
    key(
        "cluster",
        Object(CLUSTER),
        "Makes this node one of several. Without this section it is a cluster of one. `lockgate cluster init` makes the cluster; the registry (`identity`, `servers`, `separator`, `roles`, `tenants`, `quotas`) then lives in it, and this file's seeds it once.",
    ),
    with(
        "allowed_hosts",
        List(&Text),
        "[]",
        "`Host` names that are accepted beside the listen address (any address where that is `0.0.0.0` or `[::]`) and, on loopback, `localhost`. Guards against DNS rebinding. With none, a gateway off loopback whose callers all have keys takes any name.",
    ),
    with(
        "allowed_origins",
        List(&Text),
        "[]",
        "`Origin` values whose pages may call from a browser and read the answers (CORS), for example `https://app.example`. Taken without being listed: on loopback `localhost` and loopback addresses with any scheme and port, because whoever serves pages there could as well call without a browser; elsewhere the gateway's own `Host`, if all callers have keys. Browsers let pages of another origin than the gateway's read nothing of those answers but on `/ws`.",
    ),
    key(
        "limits",
        Object(LIMITS),
        "Bounds on what clients and servers send and hold.",
    ),
    key("session", Object(SESSION), "Life of sessions."),
    key(
        "bridge",
        Object(BRIDGE),
        "Bounds on calls that a server interrupts to ask the client something, where one of the two has sessions and the other has none (2026-07-28). `wait` and the bounds on memory hold in both directions, `rounds_session_max` where the client has sessions, the others where it has none.",
    ),
    key(
        "audit",
        Object(AUDIT),
        "How calls are recorded in the log of the cluster, and where lines about them go besides.",
    ),
    key(
        "telemetry",
        Object(TELEMETRY),
        "Log format and trace export.",
    ),
    key("identity", Object(IDENTITY), "Who may come in."),
    key(
        "servers",
        Named(&Object(server::SERVER)),
        "MCP servers by name. When two offer a tool of the same full name, the first in the file keeps it.",
    ),
    with(
        "separator",
        Text,
        r#""_""#,
        "Stands between a server's prefix and a tool's or prompt's name.",
    ),
    key(
        "roles",
        Named(&Object(ROLE)),
        "Roles by name. What no role allows is denied.",
    ),
    key("tenants", Named(&Object(TENANT)), "Tenants by name."),
    with(
        "quotas",
        List(&Object(QUOTA)),
        "[]",
        "Quotas over all callers. A call is refused as soon as one of its quotas has no more.",
    ),
];

const ADMIN: &[Key] = &[with(
    "listen",
    Address,
    r#""127.0.0.1:7778""#,
    "Address of the admin plane. Port 0 lets the system choose. Another address than loopback needs `identity.api_keys`.",
)];

const CLUSTER: &[Key] = &[
    required(
        "node",
        Name,
        "Name of this node. Its certificate bears it, and so do log and audit lines.",
    ),
    required(
        "listen",
        Address,
        "Address for other nodes: TCP and UDP, both with mutual TLS. Port 0 lets the system choose.",
    ),
    key(
        "advertise",
        Text,
        "Where other nodes reach this one: host and port. The default is its entry in `peers`, else `listen`.",
    ),
    with(
        "peers",
        Named(&Text),
        "{}",
        "Nodes by name, with host and port. A new node asks them to admit it; a certificate that bears a name of this list needs no token.",
    ),
    required("tls", Object(CLUSTER_TLS), "Certificates of this node."),
];

const CLUSTER_TLS: &[Key] = &[
    required("ca", File, "CA of the cluster, PEM."),
    required(
        "cert",
        File,
        "Certificate of this node, PEM, with the name `spiffe://<trust domain>/node/<node>`. A node that joins with a token gets it then.",
    ),
    required("key", File, "Private key of this node, PEM, mode 0600."),
    key(
        "ca_key",
        File,
        "Private key of the CA, PEM, mode 0600. A node that has it signs the certificates of nodes that join with a token.",
    ),
];

const TLS: &[Key] = &[
    required("cert", File, "Certificate chain, PEM."),
    required("key", File, "Private key, PEM."),
];

const LIMITS: &[Key] = &[
    with(
        "body_max",
        Size("1KiB", "1GiB"),
        r#""4MiB""#,
        "Largest request body.",
    ),
    // What a client says may stand some levels deeper on its way to a server, and no message is read beyond 1024.
    with(
        "depth_max",
        Int(8, 1_000),
        "128",
        "Deepest nesting of JSON.",
    ),
    with(
        "batch_max",
        Int(1, 10_000),
        "64",
        "Most messages in one batch.",
    ),
    with(
        "answer_max",
        Size("1KiB", "1GiB"),
        r#""16MiB""#,
        "Largest body and largest SSE event of a server.",
    ),
    with(
        "connections_max",
        Int(1, 1_000_000),
        "16384",
        "Most client connections at once.",
    ),
    with(
        "sessions_max",
        Int(1, 10_000_000),
        "100000",
        "Most live sessions.",
    ),
    with(
        "session_calls_max",
        Int(1, 65_536),
        "128",
        "Most calls in flight in one session.",
    ),
    with(
        "calls_max",
        Int(1, 1_000_000),
        "16384",
        "Most calls in flight on this node.",
    ),
    with(
        "read_timeout",
        Time("100ms", "1h"),
        r#""15s""#,
        "Time for a client to send head and body of a request.",
    ),
];

const SESSION: &[Key] = &[
    with(
        "passivate_after",
        Time("1s", "1d"),
        r#""1m""#,
        "An idle session's actor stops after this; its state stays and wakes on the next message.",
    ),
    with(
        "idle_timeout",
        Time("1s", "30d"),
        r#""1h""#,
        "An idle session ends after this.",
    ),
    with(
        "age_max",
        Time("1s", "366d"),
        r#""1d""#,
        "No session lives longer.",
    ),
    with(
        "journal_after",
        Time("1ms", "1h"),
        r#""100ms""#,
        "A call that lasts longer is answered as a stream that can be resumed.",
    ),
    with(
        "resume_window",
        Time("1s", "1d"),
        r#""5m""#,
        "Events of a broken stream are kept this long.",
    ),
];

const BRIDGE: &[Key] = &[
    with(
        "wait",
        Time("1s", "1d"),
        r#""10m""#,
        "A call waits so long for its client's answer, in each round. Then its server is told that nobody answers.",
    ),
    with(
        "rounds_max",
        Int(1, 1_000),
        "64",
        "Most rounds of questions in one call. A question beyond is refused to its server.",
    ),
    with(
        "rounds_session_max",
        Int(1, 1_000),
        "8",
        "The same of a client with a session, which gives its answers in mid-call. A call that wants another round fails.",
    ),
    with(
        "question_max",
        Size("1KiB", "64MiB"),
        r#""1MiB""#,
        "Largest sum of what one call asks its client at once. More is refused to the server.",
    ),
    with(
        "waiting_max",
        Int(1, 1_000_000),
        "4096",
        "Most calls that wait for their clients on this node. Where there is no room, the server's question is refused and the call goes on.",
    ),
    with(
        "waiting_principal_max",
        Int(1, 1_000_000),
        "1024",
        "Most calls of one principal that wait for their clients on this node.",
    ),
    with(
        "memory_max",
        Size("1MiB", "1024GiB"),
        r#""256MiB""#,
        "Most memory of all calls and tasks that wait for their clients on this node, and of results that are held for clients which wanted a task.",
    ),
    with(
        "memory_principal_max",
        Size("64KiB", "1024GiB"),
        r#""32MiB""#,
        "The same of one principal.",
    ),
];

const AUDIT: &[Key] = &[
    with(
        "mode",
        Choice(&["quorum", "local", "memory"]),
        r#""local""#,
        "How safe the record of a call is before it goes out: `quorum` in the log of the cluster, also before its answer; `local` in the spool of this node; `memory` nowhere but in memory, and `/readyz` says so.",
    ),
    with(
        "sync",
        Choice(&["group", "each"]),
        r#""group""#,
        "In the mode `local`: `group` brings records to the disk at most 10 ms later, `each` before the call goes out.",
    ),
    key(
        "output",
        Choice(&["stdout"]),
        "`stdout`: besides the log of the cluster, two JSON lines a call on standard output.",
    ),
    key(
        "file",
        File,
        "Appends these lines to this file. Not together with `output`.",
    ),
    with(
        "args",
        Choice(&["hash", "redacted"]),
        r#""hash""#,
        "What a record in the log says of arguments: `hash` their SHA-256, `redacted` also the arguments themselves, up to 1 KiB, without what `redact` hides. Where something was hidden or left out there is no SHA-256: beside the rest it would let a short secret be guessed.",
    ),
    key(
        "redact",
        Object(REDACT),
        "What `args: redacted` hides besides the keys and texts that are always hidden: passwords, tokens, keys, cookies and the like.",
    ),
    key(
        "hmac_key_env",
        Text,
        "Environment variable that holds a secret of at least 32 bytes, the same on all nodes. The MACs beside records follow from it instead of from what lies in data directories: whoever has those, but not the secret, forges no record that no checkpoint covers yet. It is in force when all nodes have it, and is not taken back. To change it, put the new one in front of the former one, with a blank between, on one node after the other.",
    ),
];

const REDACT: &[Key] = &[
    with(
        "fields",
        List(&Text),
        "[]",
        "Keys whose values are hidden, with `*` and `?`: names (`iban`, `*_nr`) at any depth, paths (`user.*.name`, `card.**.number`) from the outermost object on, lists left out. Upper and lower case, `_` and `-` are the same.",
    ),
    with(
        "patterns",
        List(&Pattern),
        "[]",
        "Regular expressions; what they match in texts, keys and numbers is hidden.",
    ),
];

const TELEMETRY: &[Key] = &[
    with(
        "log",
        Choice(&["human", "json"]),
        r#""human""#,
        "Format of the log on standard error.",
    ),
    with(
        "filter",
        Text,
        r#""info""#,
        "What is logged, as a `tracing` directive, for example `info,lockgate_node::upstream=debug`.",
    ),
    key("otlp", Object(OTLP), "Trace export."),
];

const OTLP: &[Key] = &[
    required(
        "endpoint",
        Collector,
        "OTLP/gRPC collector, for example `http://127.0.0.1:4317`. It is spoken to in the clear; one that wants TLS or credentials needs an agent on this machine.",
    ),
    with(
        "ratio",
        Ratio,
        "1.0",
        "Share of root calls that are traced. A caller's sampled flag wins.",
    ),
];

const IDENTITY: &[Key] = &[
    with(
        "api_keys",
        List(&Object(API_KEY)),
        "[]",
        "API keys whose values come from the environment. Further keys are made with `lockgate keys create`.",
    ),
    with(
        "anonymous",
        OneOf(&[Choice(&["deny"]), Filled(&Name)]),
        r#""deny""#,
        "Callers without a credential: `deny`, or the roles they get. Roles are for a laptop: they are refused when `listen` is not a loopback address.",
    ),
];

const API_KEY: &[Key] = &[
    required("id", Name, "Name of the key in logs and audit lines."),
    required(
        "key_env",
        Text,
        "Environment variable that holds the key. The key itself never stands in the file.",
    ),
    required("principal", Text, "Whom the key identifies."),
    key("tenant", Name, "Tenant of the principal, one of `tenants`."),
    required(
        "roles",
        Filled(&Name),
        "What the principal may do: names of `roles`.",
    ),
];

const ROLE: &[Key] = &[
    with(
        "allow",
        List(&Text),
        "[]",
        "Globs over tool and prompt names (with prefix), resource URIs and method names. `tool:`, `prompt:`, `resource:` or `method:` in front narrows a glob to that kind. The methods of MCP ask for no grant of their own.",
    ),
    with(
        "deny",
        List(&Text),
        "[]",
        "Same form. `deny` wins over `allow`. `method:` in front denies a method of MCP, too, whatever it is about: `method:completion/complete`, `method:*/list`; but not `initialize`, `server/discover` and `ping`. A stateless client's `subscriptions/listen` is also `resources/subscribe` where it names resources, and `tasks/get` where it names tasks.",
    ),
];

const TENANT: &[Key] = &[
    key(
        "servers",
        List(&Name),
        "Servers that the tenant's principals reach. Without this key: all.",
    ),
    with(
        "quotas",
        List(&Object(QUOTA)),
        "[]",
        "Quotas over the tenant's own callers.",
    ),
];

const QUOTA: &[Key] = &[
    required(
        "per",
        Choice(&["tenant", "principal", "server", "tool"]),
        "What is counted apart. `tool` counts `tools/call` by the name that clients see, the others every request that goes to a server. Callers without a tenant count as one.",
    ),
    key(
        "requests",
        Int(0, 1_000_000_000_000),
        "Requests in each `window`. One of `requests` and `cost_usd` is needed.",
    ),
    key(
        "cost_usd",
        Usd(1_000_000),
        "Dollars in each `window`, as `servers.*.tools.*.cost_usd` says what a call costs.",
    ),
    required(
        "window",
        Time("1s", "31d"),
        "Without `burst` windows begin at whole multiples of it since 1970 in UTC, and nothing of one goes over to the next.",
    ),
    key(
        "burst",
        Int(1, 1_000_000_000),
        "Makes a token bucket of it: `requests` flow in evenly over `window`, and at most so many are there at once. With `requests` only.",
    ),
    key(
        "safe_rate",
        Int(1, 1_000_000),
        "What a node may let through per second when it gets no answer from a leader and has spent what it held, until its lease in the cluster ends (1.5 s): requests, or millionths of a dollar. It goes beyond the quota. Default: nothing.",
    ),
];
