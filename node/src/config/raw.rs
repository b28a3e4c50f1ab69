//! What the file says: every key optional, nothing checked beyond its type.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::unit::{Size, Time};

macro_rules! raw {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default, rename_all = "snake_case")]
        pub(super) struct $name {
            $(pub $field: Option<$type>,)*
        }

        #[cfg(test)]
        impl $name {
            /// For the test that holds the table of keys and these types together.
            pub(super) const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    };
}

raw! {
    /// Whole file.
    File {
        listen: SocketAddr,
        admin: Admin,
        tls: Tls,
        data_dir: PathBuf,
        cluster: Cluster,
        allowed_hosts: Vec<String>,
        allowed_origins: Vec<String>,
        limits: Limits,
        session: Session,
        bridge: Bridge,
        audit: Audit,
        telemetry: Telemetry,
        identity: Identity,
        servers: Ordered<Server>,
        separator: String,
        roles: BTreeMap<String, Role>,
        tenants: BTreeMap<String, Tenant>,
        quotas: Vec<Quota>,
    }
}

raw! {
    /// `admin`.
    Admin { listen: SocketAddr, }
}

raw! {
    /// `tls`.
    Tls { cert: PathBuf, key: PathBuf, }
}

raw! {
    /// `cluster`.
    Cluster {
        node: String,
        listen: SocketAddr,
        advertise: String,
        peers: BTreeMap<String, String>,
        tls: ClusterTls,
    }
}

raw! {
    /// `cluster.tls`.
    ClusterTls { ca: PathBuf, cert: PathBuf, key: PathBuf, ca_key: PathBuf, }
}

raw! {
    /// `limits`.
    Limits {
        body_max: Size,
        depth_max: u16,
        batch_max: usize,
        answer_max: Size,
        connections_max: usize,
        sessions_max: usize,
        session_calls_max: usize,
        calls_max: usize,
        read_timeout: Time,
    }
}

raw! {
    /// `session`.
    Session {
        passivate_after: Time,
        idle_timeout: Time,
        age_max: Time,
        journal_after: Time,
        resume_window: Time,
    }
}

raw! {
    /// `bridge`.
    Bridge {
        wait: Time,
        rounds_max: u32,
        rounds_session_max: u32,
        question_max: Size,
        waiting_max: usize,
        waiting_principal_max: usize,
        memory_max: Size,
        memory_principal_max: Size,
    }
}

raw! {
    /// `audit`.
    Audit {
        mode: AuditMode,
        sync: AuditSync,
        output: AuditOutput,
        file: PathBuf,
        args: AuditArgs,
        redact: Redact,
        hmac_key_env: String,
    }
}

raw! {
    /// `audit.redact`.
    Redact { fields: Vec<String>, patterns: Vec<String>, }
}

raw! {
    /// `telemetry`.
    Telemetry { log: LogFormat, filter: String, otlp: Otlp, }
}

raw! {
    /// `telemetry.otlp`.
    Otlp { endpoint: String, ratio: f64, }
}

raw! {
    /// `identity`.
    Identity { api_keys: Vec<ApiKey>, anonymous: Anonymous, }
}

raw! {
    /// One of `identity.api_keys`.
    ApiKey {
        id: String,
        key_env: String,
        principal: String,
        tenant: String,
        roles: Vec<String>,
    }
}

raw! {
    /// One of `roles`.
    Role { allow: Vec<String>, deny: Vec<String>, }
}

raw! {
    /// One of `tenants`.
    Tenant { servers: Vec<String>, quotas: Vec<Quota>, }
}

raw! {
    /// One of `quotas` or `tenants.*.quotas`.
    Quota {
        per: QuotaPer,
        requests: u64,
        cost_usd: f64,
        window: Time,
        burst: u64,
        safe_rate: u64,
    }
}

raw! {
    /// One of `servers`.
    Server {
        url: String,
        endpoints: Vec<Endpoint>,
        balance: Balance,
        headers: Ordered<String>,
        connect_timeout: Time,
        transport: HttpTransport,
        command: String,
        args: Vec<String>,
        env: Ordered<String>,
        cwd: PathBuf,
        scope: Scope,
        timeout: Time,
        prefix: Prefix,
        uri_prefix: String,
        era: Era,
        probe_interval: Time,
        in_flight_max: usize,
        breaker: Breaker,
        retry: Retry,
        health: Health,
        tools: Ordered<Tool>,
    }
}

raw! {
    /// One of `servers.*.endpoints`, in its long form.
    WeightedEndpoint { url: String, weight: u32, }
}

raw! {
    /// `servers.*.breaker`.
    Breaker {
        failures: u32,
        failure_rate_threshold: f64,
        sliding_window_size: u32,
        minimum_calls: u32,
        slow_call_duration: Time,
        open_for: Time,
        open_for_max: Time,
        half_open_calls: u32,
        max_ejection_percent: u8,
    }
}

raw! {
    /// `servers.*.retry`.
    Retry { max_attempts: u32, budget: f64, concurrent_min: u32, }
}

raw! {
    /// `servers.*.health`.
    Health { interval: Time, timeout: Time, }
}

raw! {
    /// One of `servers.*.tools`.
    Tool { action: ToolAction, retry: ToolRetry, cost_usd: f64, }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($word:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum $name {
            $($word,)*
        }
    };
}

words! {
    /// `audit.output`.
    AuditOutput { Stdout, }
}
words! {
    /// `audit.mode`.
    AuditMode { Quorum, Local, Memory, }
}
words! {
    /// `audit.sync`.
    AuditSync { Group, Each, }
}
words! {
    /// `audit.args`.
    AuditArgs { Hash, Redacted, }
}
words! {
    /// `telemetry.log`.
    LogFormat { Human, Json, }
}
words! {
    /// `servers.*.balance`.
    Balance { Failover, RoundRobin, Weighted, LeastInFlight, }
}
words! {
    /// `servers.*.transport`.
    HttpTransport { Auto, Http, Sse, }
}
words! {
    /// `servers.*.scope`.
    Scope { Auto, Shared, Session, Principal, }
}
words! {
    /// `servers.*.era`.
    Era { Auto, Session, Stateless, }
}
words! {
    /// `quotas.*.per`.
    QuotaPer { Tenant, Principal, Server, Tool, }
}
words! {
    /// `servers.*.tools.*.action`.
    ToolAction { Allow, Deny, }
}
words! {
    /// `servers.*.tools.*.retry`.
    ToolRetry { Safe, Unsafe, }
}

/// `identity.anonymous`: the word `deny`, or roles.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Anonymous {
    Word(Deny),
    Roles(Vec<String>),
}

words! {
    /// The word.
    Deny { Deny, }
}

/// `servers.*.prefix`: `false` (the only boolean that passes the shape check), or a name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Prefix {
    Off(bool),
    Name(String),
}

/// One of `servers.*.endpoints`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Endpoint {
    Url(String),
    Weighted(WeightedEndpoint),
}

/// A mapping in the order of the file.
#[derive(Debug)]
pub(super) struct Ordered<T>(pub Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OrderedVisitor(PhantomData))
    }
}

struct OrderedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OrderedVisitor<T> {
    type Value = Ordered<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_entry()? {
            list.push(member);
        }
        Ok(Ordered(list))
    }
}
