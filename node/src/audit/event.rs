//! What is told of a call.

use std::time::Duration;

use lockgate_cluster::audit::record;
use lockgate_cluster::audit::{Hash, Kind, Record};
use lockgate_proto::id::ServerName;

use super::ledger::Intent;
use super::line::{Line, key};
use crate::call::Caller;

/// Longest name of a principal, tenant, session, method or server in a line, in bytes before escaping.
const NAME_BYTES_MAX: usize = 256;
/// Longest tool name, prompt name or URI.
const TARGET_BYTES_MAX: usize = 2048;
/// Longest word in an event of operation or security.
pub(super) const WORD_BYTES_MAX: usize = 512;

/// A call has come in and nothing was sent for it yet.
///
/// ```json
/// {"event":"received","ts":"2026-11-21T00:28:40.123Z","at":"n1/7","id":42,"principal":"ci-bot","credential":"ci",
///  "tenant":"acme","session":"5e0f","method":"tools/call","target":"github_get_repo","server":"github",
///  "args_sha256":"44136fa3…","decision":"allow","rule":"role engineer: allow *","trace_id":"4bf92f35…"}
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Number of the call in this process; the second line has it, too.
    pub serial: u64,
    /// Who calls.
    pub caller: &'a Caller,
    /// Session by its short name.
    pub session: Option<&'a str>,
    /// Method as the client wrote it.
    pub method: &'a str,
    /// Tool, prompt or URI as the client wrote it.
    pub target: Option<&'a str>,
    /// Server that was chosen.
    pub server: Option<&'a ServerName>,
    /// Raw text of the `arguments` member. Unless the configuration says otherwise, only its SHA-256 is kept: it ties the
    /// line to the call without telling what was in it.
    pub arguments: Option<&'a str>,
    /// What policy said.
    pub decision: Decision<'a>,
    /// W3C trace id.
    pub trace_id: Option<&'a str>,
    /// Whether nothing is sent for it before [`super::Audit::settled`] has said that it may be.
    pub is_awaited: bool,
}

/// A call was answered, whatever the answer.
///
/// ```json
/// {"event":"completed","ts":"2026-11-21T00:28:40.130Z","at":"n1/7","id":42,"principal":"ci-bot","credential":"ci",
///  "tenant":"acme","session":"5e0f","method":"tools/call","target":"github_get_repo","server":"github",
///  "status":"ok","latency_us":6912}
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Completed<'a> {
    /// Number of the call, as in [`Received`].
    pub serial: u64,
    /// What [`super::Audit::received`] has returned for it.
    pub intent: Option<Intent>,
    /// Who called.
    pub caller: &'a Caller,
    /// Session by its short name.
    pub session: Option<&'a str>,
    /// Method.
    pub method: &'a str,
    /// Tool by its prefixed name.
    pub tool: Option<&'a str>,
    /// Server that was chosen.
    pub server: Option<&'a ServerName>,
    /// `ok`, `tool_error`, `server_error`, or the word of the error table.
    pub status: &'a str,
    /// From the request to its answer.
    pub took: Duration,
}

/// An operator changes something: told before it is done, and once more, with the outcome, when it has ended.
///
/// ```json
/// {"event":"admin","ts":"2026-11-21T00:28:40.130Z","at":"n1/7","who":"local:127.0.0.1","action":"keys.create",
///  "target":"ci"}
/// {"event":"admin","ts":"2026-11-21T00:28:40.133Z","at":"n1/7","who":"local:127.0.0.1","action":"keys.create",
///  "target":"ci","status":"key_exists"}
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// Who.
    pub who: &'a str,
    /// What is done.
    pub action: &'a str,
    /// To what.
    pub target: &'a str,
}

/// What policy said, and which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Yes or no.
    pub allowed: bool,
    /// Rule that decided.
    pub rule: &'a str,
}

/// SHA-256 in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArgsHash([u8; 64]);

impl ArgsHash {
    pub(super) fn of(hash: &Hash) -> Self {
        Self(hash.to_hex())
    }

    fn as_str(&self) -> &str {
        // Made of hex digits only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Received<'_> {
    /// `args`: made before the buffer was locked.
    pub(super) fn write(&self, line: &mut Line<'_>, args: Option<&ArgsHash>) {
        line.number(key!("id"), self.serial);
        write_caller(line, self.caller);
        line.optional(key!("session"), self.session, NAME_BYTES_MAX);
        line.text(key!("method"), self.method, NAME_BYTES_MAX);
        line.optional(key!("target"), self.target, TARGET_BYTES_MAX);
        line.optional(
            key!("server"),
            self.server.map(AsRef::as_ref),
            NAME_BYTES_MAX,
        );
        if let Some(args) = args {
            line.plain(key!("args_sha256"), args.as_str());
        }
        line.plain(
            key!("decision"),
            if self.decision.allowed {
                "allow"
            } else {
                "deny"
            },
        );
        line.text(key!("rule"), self.decision.rule, NAME_BYTES_MAX);
        line.optional(key!("trace_id"), self.trace_id, NAME_BYTES_MAX);
    }
}

impl<'a> Received<'a> {
    /// The same as a record of the log. `shown`: the arguments, redacted.
    pub(super) fn fill(&self, record: &mut Record<'a>, args: Option<Hash>, shown: Option<&'a str>) {
        fill_caller(record, self.caller);
        record.trace_id = self.trace_id;
        record.session = self.session;
        record.server = self.server.map(AsRef::as_ref);
        record.tool = self.target;
        record.method = Some(self.method);
        record.decision = Some(record::Decision {
            effect: if self.decision.allowed {
                record::Effect::Allow
            } else {
                record::Effect::Deny
            },
            rule: self.decision.rule,
            policy: 0,
        });
        record.args_sha256 = args;
        record.args = shown;
    }
}

impl<'a> Completed<'a> {
    /// The same as a record of the log.
    pub(super) fn fill(&self, record: &mut Record<'a>) {
        fill_caller(record, self.caller);
        record.session = self.session;
        record.server = self.server.map(AsRef::as_ref);
        record.tool = self.tool;
        record.method = Some(self.method);
        record.status = Some(self.status);
        record.latency_us = Some(u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX));
    }
}

impl<'a> Deed<'a> {
    pub(super) fn kind(&self) -> Kind {
        match self.action.starts_with("keys") {
            true => Kind::Key,
            false => Kind::Admin,
        }
    }

    pub(super) fn write(&self, line: &mut Line<'_>, status: Option<&str>) {
        line.text(key!("who"), self.who, WORD_BYTES_MAX);
        line.text(key!("action"), self.action, WORD_BYTES_MAX);
        line.text(key!("target"), self.target, WORD_BYTES_MAX);
        line.optional(key!("status"), status, WORD_BYTES_MAX);
    }

    /// The same as a record of the log.
    pub(super) fn fill(&self, record: &mut Record<'a>, status: Option<&'a str>) {
        record.principal = Some(self.who);
        record.method = Some(self.action);
        record.tool = Some(self.target);
        record.status = status;
    }
}

/// Fields that say who.
pub(super) fn fill_caller<'a>(record: &mut Record<'a>, caller: &'a Caller) {
    record.principal = Some(caller.principal.as_str());
    record.credential = Some(&caller.credential);
    record.tenant = caller.tenant.as_ref().map(AsRef::as_ref);
}

impl Completed<'_> {
    pub(super) fn write(&self, line: &mut Line<'_>) {
        line.number(key!("id"), self.serial);
        write_caller(line, self.caller);
        line.optional(key!("session"), self.session, NAME_BYTES_MAX);
        line.text(key!("method"), self.method, NAME_BYTES_MAX);
        line.optional(key!("target"), self.tool, TARGET_BYTES_MAX);
        line.optional(
            key!("server"),
            self.server.map(AsRef::as_ref),
            NAME_BYTES_MAX,
        );
        line.text(key!("status"), self.status, NAME_BYTES_MAX);
        line.number(
            key!("latency_us"),
            u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
        );
    }
}

/// Members that say who.
pub(super) fn write_caller(line: &mut Line<'_>, caller: &Caller) {
    let members = || {
        Line::fragment(|line| {
            line.text(key!("principal"), caller.principal.as_str(), NAME_BYTES_MAX);
            line.text(key!("credential"), &caller.credential, NAME_BYTES_MAX);
            line.optional(
                key!("tenant"),
                caller.tenant.as_ref().map(AsRef::as_ref),
                NAME_BYTES_MAX,
            );
        })
    };
    line.members(caller.in_audit.get_or_init(members));
}
