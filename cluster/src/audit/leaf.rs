//! A leaf of the tree: one record with its place in the log, as one line of JSON. The bytes that are hashed are those
//! that are stored and exported; nothing is ever encoded again to verify them.
//!
//! ```json
//! {"v":1,"log":"5f3a90c1","seq":1041,"ts":"2026-11-21T00:28:40.131Z","at":"2026-11-21T00:28:40.123Z","node":"n1",
//!  "boot":7,"local_seq":42,"kind":"call",…,"prev":"a3f1…"}
//! ```
//!
//! The node writes all but `log`, `seq`, `ts` and `prev`. The log puts those in front and behind, with two copies and no
//! parser: it does so for every record, on every node, in the order of the log.

use super::fields;
use super::hash::Hash;
use super::record::{Kind, NODE_BYTES_MAX, Origin};
use super::text;
use super::time::STAMP_BYTES;

/// Longest leaf, in bytes.
pub const LEAF_BYTES_MAX: usize = 4096;
/// Longest line of a node: a leaf, less what the log adds.
pub const PREPARED_BYTES_MAX: usize = 3840;

/// Fields of a leaf, in their order. A record leaves out what it has no value for.
///
/// `intent` and `credential` came to those that were decided first: the one ties a result to the record of its intent,
/// the other says which of a principal's keys was used.
pub const FIELDS: [&str; 28] = [
    "v",
    "log",
    "seq",
    "ts",
    "at",
    "node",
    "boot",
    "local_seq",
    "kind",
    "intent",
    "trace_id",
    "tenant",
    "principal",
    "credential",
    "session",
    "server",
    "endpoint",
    "tool",
    "method",
    "decision",
    "status",
    "latency_us",
    "args_sha256",
    "args",
    "result_sha256",
    "result_bytes",
    "cost_micros",
    "prev",
];

/// The fields that the log adds.
pub(super) const PLACED: [&str; 4] = ["log", "seq", "ts", "prev"];
/// What both a line of a node and a leaf begin with.
const VERSION: &[u8] = b"{\"v\":1,";
const PREV_KEY: &[u8] = b",\"prev\":\"";
/// `,"prev":"<64 digits>"}`
const PREV_BYTES: usize = PREV_KEY.len() + 64 + 2;

/// What is wrong with a node's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineFault {
    /// Longer than [`PREPARED_BYTES_MAX`].
    #[error("it is too long")]
    TooLong,
    /// Not one line of UTF-8.
    #[error("it is not one line of text")]
    NotALine,
    /// Its first fields are not version, time, and the origin that it was sent under.
    #[error("it does not begin as its sender and number demand")]
    Head,
    /// Not JSON, or not with the known fields in their order.
    #[error("its fields are not those of a record, in their order")]
    Fields,
}

impl LineFault {
    /// Its word in answers of the machine.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::NotALine => "not_a_line",
            Self::Head => "head",
            Self::Fields => "fields",
        }
    }

    /// Fault with this word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        const ALL: [LineFault; 4] = [
            LineFault::TooLong,
            LineFault::NotALine,
            LineFault::Head,
            LineFault::Fields,
        ];
        ALL.into_iter().find(|fault| fault.word() == word)
    }
}

/// Checks a line as a node sent it. What is in the log stays there, so that it must be readable by everybody: one JSON
/// object, each field once and in its order, and none of those that the log adds.
///
/// # Errors
/// When it is something else.
pub fn check_prepared(line: &[u8], origin: &Origin<'_>) -> Result<(), LineFault> {
    if line.len() > PREPARED_BYTES_MAX {
        return Err(LineFault::TooLong);
    }
    let text = std::str::from_utf8(line).map_err(|_| LineFault::NotALine)?;
    // No early end, so that it becomes a few wide comparisons.
    if line.iter().fold(false, |any, byte| any | (*byte < b' ')) {
        return Err(LineFault::NotALine);
    }
    let mut cursor = Cursor(line);
    let head = cursor.literal(VERSION).and_then(|()| cursor.body());
    if head.is_none_or(|head| head.origin != *origin) {
        return Err(LineFault::Head);
    }
    match fields::are_in_order(text, line.len() - cursor.0.len()) {
        true => Ok(()),
        false => Err(LineFault::Fields),
    }
}

/// Whether `name` can stand in a record as the name of a node: letters, digits, `-`, `_` and `.`.
#[must_use]
pub fn is_node_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NODE_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// Place of a record in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Name of the log.
    pub log: &'a str,
    /// Number of the record, from 0: its index in the tree.
    pub seq: u64,
    /// Time of the log: never before that of the record in front.
    pub ts: &'a [u8; STAMP_BYTES],
    /// Chain hash before it.
    pub prev: Hash,
}

impl Place<'_> {
    /// Bytes by which a leaf is longer than its line, at most.
    pub(crate) fn added_bytes(log: &str) -> usize {
        const KEYS: usize = ",\"log\":\"\",\"seq\":,\"ts\":\"\"".len();
        const SEQ_BYTES_MAX: usize = 20;
        log.len() + KEYS + SEQ_BYTES_MAX + STAMP_BYTES + PREV_BYTES
    }
}

/// Adds the leaf of a line that [`check_prepared`] let pass: at most [`Place::added_bytes`] more.
pub(crate) fn splice(leaf: &mut Vec<u8>, line: &[u8], place: &Place<'_>) {
    // A valid genesis has a name that needs no escape.
    leaf.extend_from_slice(b"{\"v\":1,\"log\":\"");
    leaf.extend_from_slice(place.log.as_bytes());
    leaf.extend_from_slice(b"\",\"seq\":");
    text::digits(leaf, place.seq);
    leaf.extend_from_slice(b",\"ts\":\"");
    leaf.extend_from_slice(place.ts);
    leaf.extend_from_slice(b"\",");
    let body = line.strip_prefix(VERSION).unwrap_or(line);
    leaf.extend_from_slice(body.strip_suffix(b"}").unwrap_or(body));
    leaf.extend_from_slice(PREV_KEY);
    leaf.extend_from_slice(&place.prev.to_hex());
    leaf.extend_from_slice(b"\"}");
}

/// What verification needs of a leaf, borrowed from its bytes: its place and its first fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Name of the log.
    pub log: &'a str,
    /// Number of the record.
    pub seq: u64,
    /// Time of the log.
    pub ts: &'a str,
    /// The node's own time.
    pub at: &'a str,
    /// Who wrote it.
    pub origin: Origin<'a>,
    /// What it is about.
    pub kind: &'a str,
    /// Chain hash before it.
    pub prev: Hash,
}

impl<'a> Head<'a> {
    /// Reads the first fields and the last one. Those between are not looked at. `None` when it is no leaf.
    #[must_use]
    pub fn read(leaf: &'a [u8]) -> Option<Self> {
        if leaf.len() > LEAF_BYTES_MAX {
            return None;
        }
        let mut cursor = Cursor(leaf);
        cursor.literal(VERSION)?;
        let log = cursor.text(b"\"log\":\"")?;
        cursor.literal(b",")?;
        let seq = cursor.number(b"\"seq\":")?;
        cursor.literal(b",")?;
        let ts = cursor.text(b"\"ts\":\"")?;
        cursor.literal(b",")?;
        let Body { at, origin, kind } = cursor.body()?;
        let prev = cursor.0.last_chunk::<PREV_BYTES>()?;
        let prev = prev.strip_prefix(PREV_KEY)?.strip_suffix(b"\"}")?;
        if ts.len() != STAMP_BYTES {
            return None;
        }
        Some(Self {
            log,
            seq,
            ts,
            at,
            origin,
            kind,
            prev: Hash::from_hex(prev)?,
        })
    }
}

struct Body<'a> {
    at: &'a str,
    origin: Origin<'a>,
    kind: &'a str,
}

/// Reads what is where it must be.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    /// A string without escapes: stamps, names of logs and nodes, and kinds have none.
    fn text(&mut self, key: &[u8]) -> Option<&'a str> {
        self.literal(key)?;
        let end = self
            .0
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(text).ok()
    }

    /// A number in its one spelling.
    fn number(&mut self, key: &[u8]) -> Option<u64> {
        self.literal(key)?;
        let end = self.0.iter().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = self.0.split_at(end);
        if digits.is_empty() || (digits.len() > 1 && digits[0] == b'0') {
            return None;
        }
        self.0 = rest;
        digits.iter().try_fold(0_u64, |value, digit| {
            value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
    }

    fn body(&mut self) -> Option<Body<'a>> {
        let at = self.text(b"\"at\":\"")?;
        let node = self.text(b",\"node\":\"")?;
        let boot = self.number(b",\"boot\":")?;
        let local_seq = self.number(b",\"local_seq\":")?;
        let kind = self.text(b",\"kind\":\"")?;
        if at.len() != STAMP_BYTES || Kind::from_word(kind).is_none() {
            return None;
        }
        let origin = Origin {
            node,
            boot,
            local_seq,
        };
        Some(Body { at, origin, kind })
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::members;

    use super::super::record::{Decision, Effect, Record};
    use super::super::time::stamp_bytes;
    use super::*;

    const ORIGIN: Origin<'_> = Origin {
        node: "n1",
        boot: 7,
        local_seq: 42,
    };

    fn line<'a>(fill: impl FnOnce(&mut Record<'a>)) -> Vec<u8> {
        let mut record = Record::new(ORIGIN, 1_709_210_096_007, Kind::Call);
        fill(&mut record);
        let mut line = Vec::new();
        record.write(&mut line);
        line
    }

    fn place(prev: Hash) -> Vec<u8> {
        let place = Place {
            log: "c1",
            seq: 1041,
            ts: b"2026-11-21T00:28:40.131Z",
            prev,
        };
        let line = line(|record| record.method = Some("tools/call"));
        let mut leaf = Vec::new();
        splice(&mut leaf, &line, &place);
        leaf
    }

    #[track_caller]
    fn check(line: &str, want: Result<(), LineFault>) {
        assert_eq!(check_prepared(line.as_bytes(), &ORIGIN), want, "{line}");
    }

    fn short() -> String {
        String::from_utf8(line(|_| {})).unwrap()
    }

    #[test]
    fn a_leaf_has_the_fields_in_their_order() {
        let leaf = String::from_utf8(place(Hash::default())).unwrap();
        let want = format!(
            "{{\"v\":1,\"log\":\"c1\",\"seq\":1041,\"ts\":\"2026-11-21T00:28:40.131Z\",\
             \"at\":\"2024-02-29T12:34:56.007Z\",\"node\":\"n1\",\"boot\":7,\"local_seq\":42,\"kind\":\"call\",\
             \"method\":\"tools/call\",\"prev\":\"{}\"}}",
            "0".repeat(64)
        );
        assert_eq!(leaf, want);
        let keys: Vec<_> = members(&leaf).map(|member| member.key).collect();
        assert!(keys.iter().all(|key| FIELDS.contains(&key.as_ref())));
    }

    #[test]
    fn a_head_reads_what_was_placed() {
        let leaf = place(Hash([9; 32]));
        let head = Head::read(&leaf).unwrap();
        assert_eq!((head.log, head.seq, head.origin), ("c1", 1041, ORIGIN));
        assert_eq!(head.ts, "2026-11-21T00:28:40.131Z");
        assert_eq!(head.at, "2024-02-29T12:34:56.007Z");
        assert_eq!((head.kind, head.prev), ("call", Hash([9; 32])));
    }

    #[test]
    fn no_part_of_a_leaf_is_a_leaf() {
        let leaf = place(Hash([9; 32]));
        for end in 0..leaf.len() {
            assert_eq!(Head::read(&leaf[..end]), None, "{end}");
        }
        assert_eq!(Head::read(&[&leaf[..], b" "].concat()), None);
    }

    #[test]
    fn the_longest_record_is_a_leaf() {
        let long = "\u{1}ä\"".repeat(2000);
        let args = format!("[{}]", "1,".repeat(510) + "\n1");
        let node = "n".repeat(NODE_BYTES_MAX);
        let origin = Origin {
            node: &node,
            boot: u64::MAX,
            local_seq: u64::MAX,
        };
        let rule = long.as_str();
        let long = Some(rule);
        let record = Record {
            intent: Some(u64::MAX),
            trace_id: long,
            tenant: long,
            principal: long,
            credential: long,
            session: long,
            server: long,
            endpoint: long,
            tool: long,
            method: long,
            decision: Some(Decision {
                effect: Effect::Approve,
                rule,
                policy: u64::MAX,
            }),
            status: long,
            latency_us: Some(u64::MAX),
            args_sha256: Some(Hash::default()),
            args: Some(&args),
            result_sha256: Some(Hash::default()),
            result_bytes: Some(u64::MAX),
            cost_micros: Some(u64::MAX),
            ..Record::new(origin, u64::MAX, Kind::Decision)
        };
        let mut line = Vec::new();
        record.write(&mut line);
        assert_eq!(check_prepared(&line, &origin), Ok(()));
        assert!(String::from_utf8_lossy(&line).contains("\"args\":[1,"));
        let place = Place {
            log: &"l".repeat(64),
            seq: u64::MAX,
            ts: &stamp_bytes(u64::MAX),
            prev: Hash::default(),
        };
        let mut leaf = Vec::new();
        splice(&mut leaf, &line, &place);
        assert!(leaf.len() <= line.len() + Place::added_bytes(place.log));
        assert!(Head::read(&leaf).is_some(), "{}", leaf.len());
    }

    #[test]
    fn arguments_that_are_too_long_are_left_out() {
        let args = format!("\"{}\"", "x".repeat(2000));
        let line = line(|record| record.args = Some(&args));
        assert_eq!(line, short().into_bytes());
    }

    #[test]
    fn lines_that_are_no_records_are_refused() {
        check(&short(), Ok(()));
        let ends = |with: &str| short().replace("\"call\"}", &format!("\"call\"{with}"));
        for (with, fault) in [
            ("", LineFault::Fields),
            (",}", LineFault::Fields),
            (" }", LineFault::Fields),
            ("} ", LineFault::Fields),
            ("}{}", LineFault::Fields),
            (",\"status\":}", LineFault::Fields),
            (",\"status\":\"ok\",\"tool\":\"x\"}", LineFault::Fields),
            (",\"status\":\"ok\",\"status\":\"ok\"}", LineFault::Fields),
            (
                ",\"status\":\"ok\",\"st\\u0061tus\":\"ok\"}",
                LineFault::Fields,
            ),
            (",\"other\":1}", LineFault::Fields),
            (",\"prev\":\"\"}", LineFault::Fields),
            (",\"status\":\n\"ok\"}", LineFault::NotALine),
        ] {
            check(&ends(with), Err(fault));
        }
        check(
            &ends(&format!(",\"status\":\"{}\"}}", "x".repeat(4000))),
            Err(LineFault::TooLong),
        );
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1,", "\"v\":1,\"log\":\"c1\","),
            ("\"v\":1,", "\"v\":1,\"seq\":1,"),
            ("n1", "n2"),
            ("\"boot\":7", "\"boot\":8"),
            ("\"boot\":7", "\"boot\":07"),
            ("\"local_seq\":42", "\"local_seq\":43"),
            ("\"call\"", "\"other\""),
            ("2024-", "024-"),
        ] {
            check(&short().replacen(from, to, 1), Err(LineFault::Head));
        }
    }

    #[test]
    fn names_that_would_break_a_record_are_no_nodes() {
        assert!(is_node_name("n-1.eu_west"));
        for name in ["", "@cluster", "a b", "a\"", "é", &"x".repeat(65)] {
            assert!(!is_node_name(name), "{name:?}");
        }
    }
}
