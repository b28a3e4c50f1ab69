//! The hash chain: every record names all records before it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lockgate_proto::jsonrpc::{decode_str, find};
use serde::{Deserialize, Serialize};

use super::hash::Hash;
use super::text;

const GENESIS_DOMAIN: &[u8] = b"lockgate-audit-genesis/v1\n";
const CHAIN_DOMAIN: &[u8] = b"lockgate-audit-chain/v1\n";

/// What a log is from its first record on: the start of its chain commits to all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// Name of the log: the cluster's id. At most [`Genesis::LOG_BYTES_MAX`] bytes, see [`Genesis::is_valid`].
    pub log: String,
    /// Id of the MAC key that guards the first records. In here so that nobody can say later that another key did.
    pub first_key_id: u32,
    /// Last checkpoint of the log that this one continues after a restore.
    pub previous: Option<Vec<u8>>,
}

impl Genesis {
    /// Longest name of a log, in bytes: it stands in every record.
    pub const LOG_BYTES_MAX: usize = 64;

    /// The beginning of the log of a cluster, which bears the cluster's id.
    #[must_use]
    pub fn of_cluster(cluster: [u8; 16], previous: Option<Vec<u8>>) -> Self {
        Self {
            log: cluster.iter().map(|byte| format!("{byte:02x}")).collect(),
            first_key_id: 1,
            previous,
        }
    }

    /// Whether the name can stand in records and checkpoints as it is: letters, digits, `-`, `_` and `.`.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=Self::LOG_BYTES_MAX).contains(&self.log.len()) && self.log.bytes().all(plain)
    }

    /// Origin line of this log's checkpoints: `lockgate.audit/<log>`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("lockgate.audit/{}", self.log)
    }

    /// One line of JSON, without a newline: `{"lockgate_audit":1,"log":"5f3a90c1","first_key_id":1}`, and `previous` in
    /// base64.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = b"{\"lockgate_audit\":1".to_vec();
        text::string(&mut line, "log", &self.log, usize::MAX);
        text::number(&mut line, "first_key_id", self.first_key_id.into());
        if let Some(previous) = &self.previous {
            let previous = BASE64.encode(previous);
            text::string(&mut line, "previous", &previous, usize::MAX);
        }
        line.push(b'}');
        line
    }

    /// Reads these members of a JSON object; others are passed over. `None` when one is missing or of another form.
    #[must_use]
    pub fn from_line(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let value = |key| find(line, key).map(|span| span.of(line));
        if value("lockgate_audit")? != "1" {
            return None;
        }
        let previous = match value("previous") {
            Some(raw) => Some(BASE64.decode(decode_str(raw)?.as_ref()).ok()?),
            None => None,
        };
        let genesis = Self {
            log: decode_str(value("log")?)?.into_owned(),
            first_key_id: value("first_key_id")?.parse().ok()?,
            previous,
        };
        genesis.is_valid().then_some(genesis)
    }

    /// Chain hash before the first record.
    #[must_use]
    pub fn head(&self) -> Hash {
        let mut bytes = GENESIS_DOMAIN.to_vec();
        let mut part = |part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        };
        part(self.log.as_bytes());
        part(&self.first_key_id.to_be_bytes());
        // No checkpoint is empty, so that none and an empty one can't be mistaken for each other.
        part(self.previous.as_deref().unwrap_or_default());
        Hash::of(&bytes)
    }
}

/// Chain hash after the record `seq`:
/// `SHA256("lockgate-audit-chain/v1\n" || before || u64be(seq) || leaf_hash)`.
#[must_use]
pub fn link(before: &Hash, seq: u64, leaf: &Hash) -> Hash {
    const DOMAIN: usize = CHAIN_DOMAIN.len();
    let mut bytes = [0; DOMAIN + 32 + 8 + 32];
    bytes[..DOMAIN].copy_from_slice(CHAIN_DOMAIN);
    bytes[DOMAIN..DOMAIN + 32].copy_from_slice(&before.0);
    bytes[DOMAIN + 32..DOMAIN + 40].copy_from_slice(&seq.to_be_bytes());
    bytes[DOMAIN + 40..].copy_from_slice(&leaf.0);
    Hash::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genesis() -> Genesis {
        Genesis {
            log: "c1".to_owned(),
            first_key_id: 1,
            previous: None,
        }
    }

    #[test]
    fn every_part_of_the_genesis_counts() {
        let mut heads = vec![genesis().head()];
        heads.push(
            Genesis {
                log: "c2".to_owned(),
                ..genesis()
            }
            .head(),
        );
        heads.push(
            Genesis {
                first_key_id: 2,
                ..genesis()
            }
            .head(),
        );
        heads.push(
            Genesis {
                previous: Some(b"note".to_vec()),
                ..genesis()
            }
            .head(),
        );
        for (at, head) in heads.iter().enumerate() {
            assert!(!heads[..at].contains(head));
        }
    }

    // Made with Python's hashlib from the formula above, so that the format can't change unseen.
    #[test]
    fn a_link_has_the_bytes_of_its_format() {
        let leaf = super::super::hash::leaf_hash(b"{}");
        assert_eq!(
            link(&Hash([7; 32]), 9, &leaf).to_string(),
            "d97c2c36a6189753663750b247096106028f9ff35afb78c164712b47be4d30ca"
        );
        assert_eq!(
            genesis().head().to_string(),
            "6122b9cb60861d27edc557de75509c1f395df43a4dc28c8cad0401f99dafdc6b"
        );
    }

    #[test]
    fn a_genesis_comes_back_from_its_line() {
        let restored = Genesis {
            previous: Some(b"note\n".to_vec()),
            ..genesis()
        };
        for genesis in [genesis(), restored] {
            let line = genesis.to_line();
            assert_eq!(Genesis::from_line(&line), Some(genesis));
            assert_eq!(Genesis::from_line(&line[1..]), None);
        }
    }

    #[test]
    fn names_that_would_break_a_record_are_refused() {
        for log in ["", "a b", "a\"", "a\n", "é", &"x".repeat(65)] {
            let genesis = Genesis {
                log: log.to_owned(),
                ..genesis()
            };
            assert!(!genesis.is_valid(), "{log:?}");
        }
        assert!(genesis().is_valid());
    }
}
