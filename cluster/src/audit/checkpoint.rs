//! Checkpoints: how large the tree is and what its root is, signed by the leader and cosigned by voters (C2SP
//! tlog-checkpoint, tlog-cosignature).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::hash::Hash;
use super::key::{KeyKind, SignerKey, VerifierKey};
use super::note::{Note, NoteError};

/// Records that one checkpoint covers, if it need not wait for the one before it.
pub(crate) const RECORDS_MAX: u64 = 1024;

/// State of the tree at one moment: origin, size and root, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: [`super::Genesis::origin`].
    pub origin: String,
    /// Number of records.
    pub size: u64,
    /// Root of the tree of these records.
    pub root: Hash,
}

impl Checkpoint {
    /// Text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let root = BASE64.encode(self.root.0);
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// Reads a text. Lines behind the third are extensions, which nobody here makes and which say nothing.
    ///
    /// # Errors
    /// When one of the three lines is missing or of another form.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), Some(_)) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Malformed);
        };
        // One spelling each, so that no two texts say the same.
        let canonical = size == "0" || !size.starts_with('0');
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
        let size = size.parse().map_err(|_| NoteError::Malformed)?;
        let root = BASE64.decode(root).ok();
        let root = root.and_then(|root| Hash::from_slice(&root));
        match root {
            Some(root) if digits && canonical && !origin.is_empty() => Ok(Self {
                origin: origin.to_owned(),
                size,
                root,
            }),
            _ => Err(NoteError::Malformed),
        }
    }

    /// Makes the note of this checkpoint, with the log's signature.
    ///
    /// # Errors
    /// When the origin can't stand in a note.
    pub fn sign(&self, key: &SignerKey) -> Result<Note, NoteError> {
        let text = self.text();
        let mut note = Note::new(&text)?;
        note.add(key.sign(&text, 0));
        Ok(note)
    }
}

/// Who may vouch for a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signers {
    log: VerifierKey,
    cosigners: Vec<VerifierKey>,
}

impl Signers {
    /// The key of the log, and those of the voters. Of a key that stands there twice one counts.
    ///
    /// # Errors
    /// When a key is of the wrong kind for its place.
    pub fn new(log: VerifierKey, cosigners: Vec<VerifierKey>) -> Result<Self, NoteError> {
        let fits = log.kind() == KeyKind::Signer
            && cosigners.iter().all(|key| key.kind() == KeyKind::Cosigner);
        if !fits {
            return Err(NoteError::Key);
        }
        let mut once: Vec<VerifierKey> = Vec::with_capacity(cosigners.len());
        for key in cosigners {
            if !once.contains(&key) {
                once.push(key);
            }
        }
        Ok(Self {
            log,
            cosigners: once,
        })
    }

    /// Key of the log.
    #[must_use]
    pub fn log(&self) -> &VerifierKey {
        &self.log
    }

    /// Keys of the voters.
    #[must_use]
    pub fn cosigners(&self) -> &[VerifierKey] {
        &self.cosigners
    }

    /// Cosignatures that make a checkpoint good: more than half. None, when there are no cosigners.
    #[must_use]
    pub fn majority(&self) -> usize {
        match self.cosigners.len() {
            0 => 0,
            voters => voters / 2 + 1,
        }
    }

    /// When the last of them has cosigned the note, in seconds since 1970, as it says itself. Nothing is verified.
    #[must_use]
    pub fn cosigned_at(&self, note: &Note) -> Option<u64> {
        let of = |key: &VerifierKey| {
            let mut signatures = note.signatures().iter();
            let signature = signatures.find(|signature| key.is_named_in(signature))?;
            let time = signature.bytes.first_chunk::<8>()?;
            Some(u64::from_be_bytes(*time))
        };
        self.cosigners.iter().filter_map(of).max()
    }

    /// Counts the cosigners whose names stand under a note. Nothing is verified.
    #[must_use]
    pub(crate) fn named_in(&self, note: &Note) -> usize {
        let cosigners = self.cosigners.iter();
        cosigners.filter(|key| note.names(key)).count()
    }

    /// Reads a checkpoint that the log has signed, and counts its cosignatures.
    ///
    /// # Errors
    /// When it is no checkpoint of `origin`, the log hasn't signed it, or a signature of a known key is wrong.
    pub fn open(&self, origin: &str, note: &Note) -> Result<(Checkpoint, usize), NoteError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != origin {
            return Err(NoteError::Malformed);
        }
        if !note.is_signed_by(&self.log)? {
            return Err(NoteError::Unsigned);
        }
        let mut cosigned = 0;
        for key in &self.cosigners {
            cosigned += usize::from(note.is_signed_by(key)?);
        }
        Ok((checkpoint, cosigned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn signer(name: &str, kind: KeyKind, seed: u8) -> SignerKey {
        SignerKey::new(name, kind, &Secret::from_bytes([seed; 32])).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: "lockgate.audit/c1".to_owned(),
            size: 20_852_163,
            root: Hash::of(b"x"),
        }
    }

    #[test]
    fn a_text_comes_back() {
        assert_eq!(Checkpoint::parse(&checkpoint().text()), Ok(checkpoint()));
    }

    // The example of C2SP tlog-checkpoint.
    #[test]
    fn the_example_of_the_specification_is_read() {
        let text =
            "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let read = Checkpoint::parse(text).unwrap();
        assert_eq!(
            (read.origin.as_str(), read.size),
            ("example.com/behind-the-sofa", 20_852_163)
        );
        assert_eq!(read.text(), text);
    }

    #[test]
    fn other_spellings_are_refused() {
        let text = checkpoint().text();
        for (from, to) in [
            ("20852163", "020852163"),
            ("20852163", "+20852163"),
            ("20852163", ""),
            ("20852163", "99999999999999999999"),
            ("lockgate.audit/c1", ""),
            ("=\n", "\n"),
            ("=\n", "="),
        ] {
            let changed = text.replacen(from, to, 1);
            assert!(Checkpoint::parse(&changed).is_err(), "{changed:?}");
        }
    }

    #[test]
    fn a_majority_of_the_cosigners_is_counted() {
        let log = signer("lockgate.audit/c1", KeyKind::Signer, 1);
        let voters = [2, 3, 4].map(|seed| signer(&format!("n{seed}"), KeyKind::Cosigner, seed));
        let keys = voters.iter().map(|key| key.verifier().clone()).collect();
        let signers = Signers::new(log.verifier().clone(), keys).unwrap();
        assert_eq!(signers.majority(), 2);

        let mut note = checkpoint().sign(&log).unwrap();
        let text = note.text().to_owned();
        note.add(signer("n9", KeyKind::Cosigner, 9).sign(&text, 7));
        for (cosigned, voter) in voters.iter().enumerate() {
            let opened = signers.open("lockgate.audit/c1", &note).unwrap();
            assert_eq!(opened, (checkpoint(), cosigned));
            note.add(voter.sign(&text, 7));
            note.add(voter.sign(&text, 8));
        }
        assert!(signers.open("lockgate.audit/c2", &note).is_err());
    }

    #[test]
    fn a_checkpoint_that_the_log_has_not_signed_is_refused() {
        let log = signer("lockgate.audit/c1", KeyKind::Signer, 1);
        let other = signer("lockgate.audit/c1", KeyKind::Signer, 2);
        let signers = Signers::new(log.verifier().clone(), Vec::new()).unwrap();
        let note = checkpoint().sign(&other).unwrap();
        assert_eq!(
            signers.open("lockgate.audit/c1", &note),
            Err(NoteError::Unsigned)
        );
    }

    #[test]
    fn keys_of_the_wrong_kind_are_refused() {
        let log = signer("log", KeyKind::Signer, 1).verifier().clone();
        let voter = signer("n1", KeyKind::Cosigner, 1).verifier().clone();
        assert!(Signers::new(voter.clone(), Vec::new()).is_err());
        assert!(Signers::new(log.clone(), vec![log.clone()]).is_err());
        let twice = Signers::new(log, vec![voter.clone(), voter]).unwrap();
        assert_eq!(twice.cosigners().len(), 1);
    }
}
