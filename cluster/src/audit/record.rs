//! What a node writes down: one record, all but its place in the log.

use super::hash::Hash;
use super::text::{digits, quoted};
use super::time::push_stamp;

/// Longest name of a node, in bytes.
pub(crate) const NODE_BYTES_MAX: usize = 64;
/// Longest name of a tenant, credential or server, in bytes with escapes.
const NAME_BYTES_MAX: usize = 128;
/// Longest principal, endpoint or rule.
const LONG_NAME_BYTES_MAX: usize = 256;
/// Longest tool or prompt name, or URI.
const TOOL_BYTES_MAX: usize = 480;
/// Longest trace id, session or status.
const WORD_BYTES_MAX: usize = 64;
/// Longest redacted arguments, in bytes. Longer ones are left out; their hash stands there all the same.
pub const ARGS_BYTES_MAX: usize = 1024;
/// Length of a usual line without arguments.
const LINE_BYTES_USUAL: usize = 512;

/// Who wrote a record. One life of one node counts its records from 1, without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// Which of its lives.
    pub boot: u64,
    /// Number of the record in that life.
    pub local_seq: u64,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call's intent or its result.
    Call,
    /// What policy said where no call follows.
    Decision,
    /// Who came in, or didn't.
    Auth,
    /// An operator changed something.
    Admin,
    /// A life of an API or MAC key.
    Key,
    /// A person approved or denied.
    Approval,
    /// An attack or a misuse that was refused.
    Security,
    /// A node came, went or was lost; a gap in its records.
    Node,
}

impl Kind {
    /// Its word in a record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Decision => "decision",
            Self::Auth => "auth",
            Self::Admin => "admin",
            Self::Key => "key",
            Self::Approval => "approval",
            Self::Security => "security",
            Self::Node => "node",
        }
    }

    /// Kind with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        const ALL: [Kind; 8] = [
            Kind::Call,
            Kind::Decision,
            Kind::Auth,
            Kind::Admin,
            Kind::Key,
            Kind::Approval,
            Kind::Security,
            Kind::Node,
        ];
        ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What policy said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Yes, no, or yes by a person.
    pub effect: Effect,
    /// Rule that decided.
    pub rule: &'a str,
    /// Version of the policy that has the rule.
    pub policy: u64,
}

/// Yes, no, or yes by a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `allow`
    Allow,
    /// `deny`
    Deny,
    /// `approve`
    Approve,
}

impl Effect {
    fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Approve => "approve",
        }
    }
}

/// One record as a node writes it, without its place in the log, which the log gives it.
///
/// ```json
/// {"v":1,"at":"2026-11-21T00:28:40.123Z","node":"n1","boot":7,"local_seq":42,"kind":"call",
///  "trace_id":"4bf92f35…","tenant":"acme","principal":"ci-bot","credential":"ci","session":"5e0f","server":"github",
///  "endpoint":"https://…","tool":"get_repo","method":"tools/call",
///  "decision":{"effect":"allow","rule":"role engineer: allow *","policy":3},"status":"ok","latency_us":6912,
///  "args_sha256":"44136fa3…","args":{"repo":"x"},"result_sha256":"9f86d081…","result_bytes":512,"cost_micros":20}
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Who writes it.
    pub origin: Origin<'a>,
    /// The node's own time, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it is about.
    pub kind: Kind,
    /// `local_seq` of the record in the same life that said what was intended and that this one closes.
    pub intent: Option<u64>,
    /// W3C trace id.
    pub trace_id: Option<&'a str>,
    /// Tenant of the principal.
    pub tenant: Option<&'a str>,
    /// On whose behalf.
    pub principal: Option<&'a str>,
    /// Which of the principal's keys or tokens opened the door.
    pub credential: Option<&'a str>,
    /// Session by its short name.
    pub session: Option<&'a str>,
    /// Server that was chosen.
    pub server: Option<&'a str>,
    /// Where that server was reached.
    pub endpoint: Option<&'a str>,
    /// Tool, prompt or URI.
    pub tool: Option<&'a str>,
    /// MCP method, or what was done.
    pub method: Option<&'a str>,
    /// What policy said.
    pub decision: Option<Decision<'a>>,
    /// How it went.
    pub status: Option<&'a str>,
    /// How long it took.
    pub latency_us: Option<u64>,
    /// SHA-256 of the arguments as they were sent.
    pub args_sha256: Option<Hash>,
    /// Arguments, redacted: raw JSON.
    pub args: Option<&'a str>,
    /// SHA-256 of the result as it was sent.
    pub result_sha256: Option<Hash>,
    /// Its length.
    pub result_bytes: Option<u64>,
    /// What the call cost, in millionths of the currency.
    pub cost_micros: Option<u64>,
}

impl<'a> Record<'a> {
    /// A record that says nothing yet but who wrote it, when and about what.
    #[must_use]
    pub fn new(origin: Origin<'a>, at_ms: u64, kind: Kind) -> Self {
        Self {
            origin,
            at_ms,
            kind,
            intent: None,
            trace_id: None,
            tenant: None,
            principal: None,
            credential: None,
            session: None,
            server: None,
            endpoint: None,
            tool: None,
            method: None,
            decision: None,
            status: None,
            latency_us: None,
            args_sha256: None,
            args: None,
            result_sha256: None,
            result_bytes: None,
            cost_micros: None,
        }
    }

    /// Adds the line to `out`, without a newline. Texts are cut, and arguments left out, so that it is never longer
    /// than [`super::leaf::PREPARED_BYTES_MAX`].
    pub fn write(&self, out: &mut Vec<u8>) {
        let args = self.args.filter(|args| args.len() <= ARGS_BYTES_MAX);
        self.write_with(out, args);
    }

    /// As [`Record::write`], with arguments whose bound the caller knows.
    pub(crate) fn write_with(&self, out: &mut Vec<u8>, args: Option<&str>) {
        // As long as nearly all of them are, so that the buffer grows once if it has to.
        out.reserve(LINE_BYTES_USUAL);
        out.extend_from_slice(b"{\"v\":1,\"at\":\"");
        push_stamp(out, self.at_ms);
        out.extend_from_slice(b"\",\"node\":");
        quoted(out, self.origin.node, NODE_BYTES_MAX);
        count(out, b",\"boot\":", Some(self.origin.boot));
        count(out, b",\"local_seq\":", Some(self.origin.local_seq));
        out.extend_from_slice(b",\"kind\":\"");
        out.extend_from_slice(self.kind.as_str().as_bytes());
        out.push(b'"');
        count(out, b",\"intent\":", self.intent);
        word(out, b",\"trace_id\":", self.trace_id, WORD_BYTES_MAX);
        word(out, b",\"tenant\":", self.tenant, NAME_BYTES_MAX);
        word(out, b",\"principal\":", self.principal, LONG_NAME_BYTES_MAX);
        word(out, b",\"credential\":", self.credential, NAME_BYTES_MAX);
        word(out, b",\"session\":", self.session, WORD_BYTES_MAX);
        word(out, b",\"server\":", self.server, NAME_BYTES_MAX);
        word(out, b",\"endpoint\":", self.endpoint, LONG_NAME_BYTES_MAX);
        word(out, b",\"tool\":", self.tool, TOOL_BYTES_MAX);
        word(out, b",\"method\":", self.method, NAME_BYTES_MAX);
        if let Some(decision) = &self.decision {
            out.extend_from_slice(b",\"decision\":{\"effect\":\"");
            out.extend_from_slice(decision.effect.as_str().as_bytes());
            out.extend_from_slice(b"\",\"rule\":");
            quoted(out, decision.rule, LONG_NAME_BYTES_MAX);
            count(out, b",\"policy\":", Some(decision.policy));
            out.push(b'}');
        }
        word(out, b",\"status\":", self.status, WORD_BYTES_MAX);
        count(out, b",\"latency_us\":", self.latency_us);
        hash(out, b",\"args_sha256\":\"", self.args_sha256);
        if let Some(args) = args {
            out.extend_from_slice(b",\"args\":");
            // Raw JSON has control bytes only between its tokens, where a blank says the same and ends no line.
            out.extend(args.bytes().map(|byte| byte.max(b' ')));
        }
        hash(out, b",\"result_sha256\":\"", self.result_sha256);
        count(out, b",\"result_bytes\":", self.result_bytes);
        count(out, b",\"cost_micros\":", self.cost_micros);
        out.push(b'}');
    }
}

// Members come with the comma before and the colon behind their key, as texts whose length the compiler knows: they are
// stored, not copied by a call.

#[inline(always)]
fn word<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: Option<&str>, limit: usize) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        quoted(out, value, limit);
    }
}

#[inline(always)]
fn count<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: Option<u64>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        digits(out, value);
    }
}

/// `key` has the opening quote of the value, too.
#[inline(always)]
fn hash<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], value: Option<Hash>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        out.extend_from_slice(&value.to_hex());
        out.push(b'"');
    }
}
