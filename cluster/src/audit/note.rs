//! Text with signatures below it (C2SP signed-note).
//!
//! ```text
//! lockgate.audit/5f3a90c1
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — lockgate.audit/5f3a90c1 Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5…
//! — n2 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZ…
//! ```

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::key::{VerifierKey, is_key_name};

/// Most signatures of one note. C2SP signed-note demands 16 at least; a log has one, and one for each voter.
const SIGNATURES_MAX: usize = 100;
/// Largest note, in bytes.
pub(super) const NOTE_BYTES_MAX: usize = 64 << 10;

/// Why a note or its key can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Not of the form that signed-note demands.
    #[error("the note is malformed")]
    Malformed,
    /// A key that is known, and a signature that isn't its.
    #[error("the signature of `{name}` on the note is wrong")]
    WrongSignature {
        /// Name of the key.
        name: String,
    },
    /// Signed by nobody who is known.
    #[error("the note has no signature of a known key")]
    Unsigned,
    /// Not a key of a kind that we use.
    #[error("the key of the note is malformed")]
    Key,
}

/// One signature line: `— <name> <base64 of key id and signature>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Name of the key.
    pub name: String,
    /// Id of the key.
    pub key_id: u32,
    /// What the key made: 64 bytes by a signer, eight of time before them by a cosigner.
    pub bytes: Vec<u8>,
}

impl Signature {
    /// Reads one line, without its newline.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let line = line.strip_prefix("— ").ok_or(NoteError::Malformed)?;
        let (name, encoded) = line.split_once(' ').ok_or(NoteError::Malformed)?;
        let bytes = BASE64.decode(encoded).map_err(|_| NoteError::Malformed)?;
        let Some((key_id, bytes)) = bytes.split_first_chunk::<4>() else {
            return Err(NoteError::Malformed);
        };
        if !is_key_name(name) || bytes.is_empty() {
            return Err(NoteError::Malformed);
        }
        Ok(Self {
            name: name.to_owned(),
            key_id: u32::from_be_bytes(*key_id),
            bytes: bytes.to_vec(),
        })
    }

    /// The line, without its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut bytes = self.key_id.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.bytes);
        format!("— {} {}", self.name, BASE64.encode(bytes))
    }
}

/// A text and its signatures, of which nothing was verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// A text that nobody has signed yet.
    ///
    /// # Errors
    /// When it doesn't end in a newline, or has control characters.
    pub fn new(text: &str) -> Result<Self, NoteError> {
        let control = |c: char| c < ' ' && c != '\n';
        if !text.ends_with('\n') || text.contains(control) {
            return Err(NoteError::Malformed);
        }
        Ok(Self {
            text: text.to_owned(),
            signatures: Vec::new(),
        })
    }

    /// Reads a note. Of signatures that stand there twice the first is kept.
    ///
    /// # Errors
    /// When it is not of the form of signed-note, or too large.
    pub fn parse(note: &[u8]) -> Result<Self, NoteError> {
        let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed)?;
        // The text is separated by the last empty line; it keeps its own newline.
        let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        let mut parsed = Self::new(text)?;
        if note.len() > NOTE_BYTES_MAX || lines.split('\n').count() > SIGNATURES_MAX {
            return Err(NoteError::Malformed);
        }
        for line in lines.split('\n') {
            let signature = Signature::parse(line)?;
            if !parsed.signatures.contains(&signature) {
                parsed.signatures.push(signature);
            }
        }
        Ok(parsed)
    }

    /// Text, with its last newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Signatures, in the order in which they stand there.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature, in the place of an older one of the same key.
    pub fn add(&mut self, signature: Signature) {
        let same = |old: &Signature| old.name == signature.name && old.key_id == signature.key_id;
        self.signatures.retain(|old| !same(old));
        self.signatures.push(signature);
    }

    /// Whether a signature bears the name and id of `key`. It is not verified.
    #[must_use]
    pub fn names(&self, key: &VerifierKey) -> bool {
        self.signatures
            .iter()
            .any(|signature| key.is_named_in(signature))
    }

    /// Whether `key` has signed it.
    ///
    /// # Errors
    /// When a signature bears the key's name and id, and isn't its.
    pub fn is_signed_by(&self, key: &VerifierKey) -> Result<bool, NoteError> {
        let mut signed = false;
        for signature in &self.signatures {
            if !key.is_named_in(signature) {
                continue;
            }
            if !key.verify(&self.text, signature) {
                let name = signature.name.clone();
                return Err(NoteError::WrongSignature { name });
            }
            signed = true;
        }
        Ok(signed)
    }

    /// The note as it is stored and sent.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut note = format!("{}\n", self.text);
        for signature in &self.signatures {
            // Writing to a string can't fail.
            let _infallible = writeln!(note, "{}", signature.to_line());
        }
        note
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{KeyKind, SignerKey};
    use super::*;
    use crate::secret::Secret;

    // Vectors of the reference implementation (golang.org/x/mod/sumdb/note, `note_test.go`).
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n";
    const PETER_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PETER_SEED: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const PETER: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const ENOCH_KEY: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
    const ENOCH: &str = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

    fn key(text: &str) -> VerifierKey {
        VerifierKey::parse(text).unwrap()
    }

    fn note(parts: &[&str]) -> Result<Note, NoteError> {
        Note::parse(parts.concat().as_bytes())
    }

    #[test]
    fn a_note_of_the_reference_implementation_is_made_and_read() {
        let seed = BASE64.decode(PETER_SEED).unwrap();
        let seed = Secret::from_bytes(seed[1..].try_into().unwrap());
        let peter = SignerKey::new("PeterNeumann", KeyKind::Signer, &seed).unwrap();
        assert_eq!(peter.verifier().to_string(), PETER_KEY);
        let mut made = Note::new(TEXT).unwrap();
        made.add(peter.sign(TEXT, 0));
        made.add(peter.sign(TEXT, 0));
        assert_eq!(made.to_text(), [TEXT, "\n", PETER].concat());
        assert_eq!(note(&[TEXT, "\n", PETER]), Ok(made));
    }

    #[test]
    fn signatures_of_strangers_are_passed_over() {
        let both = note(&[TEXT, "\n", PETER, ENOCH, ENOCH]).unwrap();
        assert_eq!(both.signatures().len(), 2);
        assert_eq!(both.is_signed_by(&key(PETER_KEY)), Ok(true));
        assert_eq!(both.is_signed_by(&key(ENOCH_KEY)), Ok(true));
        let one = note(&[TEXT, "\n", PETER]).unwrap();
        assert_eq!(one.is_signed_by(&key(ENOCH_KEY)), Ok(false));
    }

    #[test]
    fn a_wrong_signature_of_a_known_key_spoils_the_note() {
        let wrong = PETER.replacen("JkuBS9", "JkuBS9ABCD", 1);
        let got = note(&[TEXT, "\n", &wrong]).unwrap();
        let name = "PeterNeumann".to_owned();
        let want = Err(NoteError::WrongSignature { name });
        assert_eq!(got.is_signed_by(&key(PETER_KEY)), want);
        let other = TEXT.replace("answer", "Answer");
        let got = note(&[&other, "\n", PETER]).unwrap();
        assert_eq!(got.is_signed_by(&key(PETER_KEY)), want);
    }

    #[test]
    fn malformed_notes_are_refused() {
        let many = PETER.repeat(101);
        for parts in [
            &[TEXT] as &[&str],
            &[TEXT, "\n"],
            &[TEXT, "\n", PETER.trim_end()],
            &["\x01", TEXT, "\n", PETER],
            &[
                TEXT,
                "\n",
                "— Bad Name x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN\n",
            ],
            &[
                TEXT,
                "\n",
                "— Peter+Neumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZIn\n",
            ],
            &[TEXT, "\n", "— Peter x08g\n"],
            &[TEXT, "\n", PETER, "Unexpected line.\n"],
            &[TEXT, "\n", &many],
        ] {
            assert_eq!(note(parts), Err(NoteError::Malformed), "{parts:?}");
        }
        let mut not_utf8 = vec![0xff];
        not_utf8.extend_from_slice([TEXT, "\n", PETER].concat().as_bytes());
        assert_eq!(Note::parse(&not_utf8), Err(NoteError::Malformed));
    }

    #[test]
    fn a_text_may_have_empty_lines() {
        let text = "one\n\ntwo\n";
        let got = note(&[text, "\n", PETER]).unwrap();
        assert_eq!(got.text(), text);
    }
}
