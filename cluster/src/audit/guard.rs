//! Secrets of operators, from which MAC keys of the audit log follow in place of the keyring: whoever has a data directory
//! with all its key files, but not the secret, makes no MAC.
//!
//! ```text
//! prk  = HKDF-Extract("lockgate-audit-secret/v1\n", secret)                           RFC 5869, HMAC-SHA256
//! K_id = HKDF-Expand(prk, "lockgate-audit-mac-key/v1\n" || log || u32be(id), 32)      `log` is the cluster's id
//! mark = HKDF-Expand(prk, "lockgate-audit-secret-mark/v1\n" || log, 32)
//! ```
//!
//! The mark stands in the log and in the replicated state: it says which secret is meant, and nobody gets from it to a key.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use serde::{Deserialize, Serialize};

use super::derive::{MAC_PURPOSE, expand};
use super::hash::Hash;
use super::mac::MacKey;
use crate::secret::Secret;

/// Shortest secret, in bytes: as long as what is made of it.
const SECRET_BYTES_MIN: usize = 32;
/// Most secrets: the one in use, and those before it.
const SECRETS_MAX: usize = 8;
const SECRET_SALT: &[u8] = b"lockgate-audit-secret/v1\n";
const MARK_PURPOSE: &[u8] = b"lockgate-audit-secret-mark/v1\n";
const JOIN_PURPOSE: &[u8] = b"lockgate-audit-join/v1\n";

/// Tells one secret of a log from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark(pub [u8; 32]);

impl Mark {
    /// Reads 64 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Hash::from_hex(text.as_bytes()).map(|Hash(bytes)| Self(bytes))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hash(self.0).fmt(f)
    }
}

/// One secret. Its `Debug` shows nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    prk: Secret,
}

impl Guard {
    fn new(secret: &str) -> Self {
        let salt = hmac::Key::new(hmac::HMAC_SHA256, SECRET_SALT);
        let prk = hmac::sign(&salt, secret.as_bytes());
        // HMAC-SHA256 has 32 bytes.
        let prk = Secret::from_bytes(prk.as_ref().try_into().unwrap_or_default());
        Self { prk }
    }

    /// Names it in the log `log`.
    #[must_use]
    pub fn mark(&self, log: &str) -> Mark {
        Mark(*expand(&self.prk, MARK_PURPOSE, log.as_bytes()).expose())
    }

    /// The MAC key `id` of the log `log`.
    #[must_use]
    pub fn mac_key(&self, log: &str, id: u32) -> MacKey {
        let subject = [log.as_bytes(), &id.to_be_bytes()].concat();
        MacKey::new(id, &expand(&self.prk, MAC_PURPOSE, &subject))
    }

    /// What a node that asks to be admitted shows: it has drawn `nonce`, and is called `name`.
    pub(crate) fn join_proof(&self, nonce: &[u8], name: &str) -> [u8; 32] {
        let subject = [nonce, name.as_bytes()].concat();
        *expand(&self.prk, JOIN_PURPOSE, &subject).expose()
    }

    /// Whether one of `proofs` is of this secret, compared in constant time.
    pub(crate) fn is_proved(&self, proofs: &[impl AsRef<[u8]>], nonce: &[u8], name: &str) -> bool {
        let wanted = self.join_proof(nonce, name);
        let same = |proof: &&[u8]| constant_time::verify_slices_are_equal(proof, &wanted).is_ok();
        proofs.iter().map(AsRef::as_ref).any(|proof| same(&proof))
    }
}

/// Why a text has no secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
    /// One of them could be guessed.
    #[error("holds a secret of {bytes} bytes, and {SECRET_BYTES_MIN} are the least")]
    Short {
        /// How long it is.
        bytes: usize,
    },
    /// More than anybody needs.
    #[error("holds more than {SECRETS_MAX} secrets")]
    TooMany,
}

/// The secrets that a node or a verifier holds. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// The first one is the one to guard with.
    guards: Arc<[Guard]>,
}

impl Guards {
    /// Reads secrets with blanks between them: the one to guard with, then former ones.
    ///
    /// # Errors
    /// [`GuardError`].
    pub fn parse(text: &str) -> Result<Self, GuardError> {
        let secrets: Vec<&str> = text.split_ascii_whitespace().collect();
        let short = secrets.iter().find(|one| one.len() < SECRET_BYTES_MIN);
        match (secrets.len(), short) {
            (0, _) => Err(GuardError::Empty),
            (_, Some(short)) => Err(GuardError::Short { bytes: short.len() }),
            (n, None) if n > SECRETS_MAX => Err(GuardError::TooMany),
            _ => Ok(Self {
                guards: secrets.into_iter().map(Guard::new).collect(),
            }),
        }
    }

    /// How a message calls the environment variable `variable` that should hold secrets. A name that is long enough to be
    /// a secret is not repeated: it may well be one, written in the wrong place.
    #[must_use]
    pub fn variable(variable: &str) -> String {
        match variable.len() < SECRET_BYTES_MIN {
            true => format!("the environment variable `{variable}`"),
            false => "the environment variable that is named here".to_owned(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }

    /// The one to guard with.
    pub(crate) fn first(&self) -> Option<&Guard> {
        self.guards.first()
    }

    /// The secret of that mark.
    #[must_use]
    pub fn find(&self, log: &str, mark: &Mark) -> Option<&Guard> {
        self.guards.iter().find(|guard| guard.mark(log) == *mark)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Guard> {
        self.guards.iter()
    }

    /// Marks of all of them; the first one is that of the secret to guard with.
    #[must_use]
    pub fn marks(&self, log: &str) -> Vec<Mark> {
        self.guards.iter().map(|guard| guard.mark(log)).collect()
    }

    /// What a node that holds them shows when it asks to be admitted.
    pub(crate) fn join_proofs(&self, nonce: &[u8], name: &str) -> Vec<[u8; 32]> {
        let guards = self.guards.iter();
        guards.map(|guard| guard.join_proof(nonce, name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "another-secret,-with-more-than-32-bytes";

    // Made with Python's hmac from the formulas above.
    #[test]
    fn marks_and_keys_have_the_bytes_of_their_formulas() {
        let guard = Guard::new(SECRET);
        assert_eq!(
            guard.mark("c1").to_string(),
            "13663c5b5a0e94e68b55ee5fd120d70b8fb20c5910c8f1f88c711ab8f6f680c2"
        );
        let mac = guard.mac_key("c1", 2).sign(9, &Hash([7; 32]));
        assert_eq!(
            Hash(mac.0).to_string(),
            "9c40b986e0dd8f56aea744cbb8afa39d54acbe5966aff7a61428a476e0d62f65"
        );
    }

    #[test]
    fn secret_log_and_id_all_count() {
        let sign = |guard: &Guard, log, id| guard.mac_key(log, id).sign(9, &Hash([7; 32]));
        let (guard, other) = (Guard::new(SECRET), Guard::new(OTHER));
        let mac = sign(&guard, "c1", 2);
        assert_ne!(mac, sign(&other, "c1", 2));
        assert_ne!(mac, sign(&guard, "c2", 2));
        assert_ne!(mac, sign(&guard, "c1", 3));
        assert_ne!(guard.mark("c1"), other.mark("c1"));
        assert_ne!(guard.mark("c1"), guard.mark("c2"));
    }

    #[test]
    fn a_mark_comes_back_from_its_text() {
        let mark = Guard::new(SECRET).mark("c1");
        let text = mark.to_string();
        assert_eq!(Mark::parse(&text), Some(mark));
        for broken in [
            "",
            &text[1..],
            &text.replace('6', "é"),
            &format!("+{}", &text[1..]),
        ] {
            assert_eq!(Mark::parse(broken), None, "{broken}");
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<usize, GuardError>) {
        let parsed = Guards::parse(text);
        assert_eq!(parsed.map(|guards| guards.marks("c1").len()), expected);
    }

    #[test]
    fn a_text_holds_the_secret_in_use_and_former_ones() {
        check(SECRET, Ok(1));
        check(&format!(" {OTHER}\n{SECRET} "), Ok(2));
        check("", Err(GuardError::Empty));
        check(" \t", Err(GuardError::Empty));
        check(&SECRET[1..], Err(GuardError::Short { bytes: 31 }));
        check(
            &format!("{SECRET} short"),
            Err(GuardError::Short { bytes: 5 }),
        );
        check(&format!("{SECRET} ").repeat(9), Err(GuardError::TooMany));
        let guards = Guards::parse(&format!("{OTHER} {SECRET}")).unwrap();
        let (guard, other) = (Guard::new(SECRET), Guard::new(OTHER));
        assert_eq!(guards.marks("c1"), [other.mark("c1"), guard.mark("c1")]);
        assert_eq!(guards.find("c1", &guard.mark("c1")), Some(&guard));
        assert_eq!(guards.find("c1", &guard.mark("c2")), None);
    }

    #[test]
    fn a_proof_is_good_for_its_name_and_attempt_only() {
        let guards = Guards::parse(&format!("{OTHER} {SECRET}")).unwrap();
        let proofs = guards.join_proofs(&[1; 16], "n2");
        let guard = Guard::new(SECRET);
        assert!(guard.is_proved(&proofs, &[1; 16], "n2"));
        assert!(!guard.is_proved(&proofs, &[2; 16], "n2"));
        assert!(!guard.is_proved(&proofs, &[1; 16], "n3"));
        assert!(!guard.is_proved(&proofs[..1], &[1; 16], "n2"));
        assert!(!guard.is_proved(&[[0; 32]; 0], &[1; 16], "n2"));
    }

    #[test]
    fn secrets_do_not_show_in_debug_output_nor_in_place_of_a_name() {
        let shown = format!("{:?}", Guards::parse(SECRET).unwrap());
        assert_eq!(shown, "Guards { guards: [Guard { prk: Secret(..) }] }");
        assert!(!Guards::variable(SECRET).contains(SECRET));
        assert!(Guards::variable("LOCKGATE_AUDIT_KEY").contains("`LOCKGATE_AUDIT_KEY`"));
    }
}
