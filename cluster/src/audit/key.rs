//! Keys that sign notes: Ed25519, plain (C2SP signed-note, type `0x01`) or with a time as a cosigner's (C2SP
//! tlog-cosignature, type `0x04`).

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::note::{NoteError, Signature};
use crate::secret::Secret;

const PUBLIC_KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const TIME_BYTES: usize = 8;

/// What a key's signatures say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The text is the log's own: C2SP signed-note, type `0x01`.
    Signer,
    /// Its tree was recomputed by somebody else at a certain time: C2SP tlog-cosignature, type `0x04`.
    Cosigner,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            Self::Signer => 1,
            Self::Cosigner => 4,
        }
    }
}

/// Public key that verifies signatures of a note. Written `<name>+<key id in hex>+<base64>`, as signed-note's vkey:
/// `n1+5f3a90c1+BHJcQUPD…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    id: u32,
    public: [u8; PUBLIC_KEY_BYTES],
}

impl VerifierKey {
    /// Names a public key.
    ///
    /// # Errors
    /// When the name is empty or has a space or `+` in it.
    pub fn new(
        name: &str,
        kind: KeyKind,
        public: [u8; PUBLIC_KEY_BYTES],
    ) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::Key);
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            id: key_id(name, kind, &public),
            public,
        })
    }

    /// Reads a vkey.
    ///
    /// # Errors
    /// When it is of another form or algorithm, or its id is not that of name and key.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, id, kind, public) = parse_key(text)?;
        let key = Self::new(name, kind, public)?;
        if key.id != id {
            return Err(NoteError::Key);
        }
        Ok(key)
    }

    /// Name in signature lines.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures say.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Id in signature lines.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether `signature` bears this key's name and id. Says nothing of whether it is right.
    #[must_use]
    pub fn is_named_in(&self, signature: &Signature) -> bool {
        signature.name == self.name && signature.key_id == self.id
    }

    /// Whether `signature` is this key's over `text`.
    #[must_use]
    pub fn verify(&self, text: &str, signature: &Signature) -> bool {
        if !self.is_named_in(signature) {
            return false;
        }
        let key = UnparsedPublicKey::new(&ED25519, &self.public);
        match self.kind {
            KeyKind::Signer => key.verify(text.as_bytes(), &signature.bytes).is_ok(),
            KeyKind::Cosigner => {
                let Some((time, bytes)) = signature.bytes.split_first_chunk::<TIME_BYTES>() else {
                    return false;
                };
                let message = cosigned(u64::from_be_bytes(*time), text);
                key.verify(message.as_bytes(), bytes).is_ok()
            }
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(&self.public);
        write!(f, "{}+{:08x}+{}", self.name, self.id, BASE64.encode(bytes))
    }
}

/// Private key that signs notes. Its `Debug` shows no secret.
pub struct SignerKey {
    verifier: VerifierKey,
    pair: Ed25519KeyPair,
}

impl SignerKey {
    /// Makes the key from its seed (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// When the name can't stand in a note.
    pub fn new(name: &str, kind: KeyKind, seed: &Secret) -> Result<Self, NoteError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| NoteError::Key)?;
        let public = pair.public_key().as_ref();
        let public = public.try_into().map_err(|_| NoteError::Key)?;
        let verifier = VerifierKey::new(name, kind, public)?;
        Ok(Self { verifier, pair })
    }

    /// Its public half.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs `text`. `at_secs`, in seconds since 1970, stands in a cosigner's signature; another has no time.
    #[must_use]
    pub fn sign(&self, text: &str, at_secs: u64) -> Signature {
        let bytes = match self.verifier.kind {
            KeyKind::Signer => self.pair.sign(text.as_bytes()).as_ref().to_vec(),
            KeyKind::Cosigner => {
                let mut bytes = Vec::with_capacity(TIME_BYTES + SIGNATURE_BYTES);
                bytes.extend_from_slice(&at_secs.to_be_bytes());
                let signature = self.pair.sign(cosigned(at_secs, text).as_bytes());
                bytes.extend_from_slice(signature.as_ref());
                bytes
            }
        };
        Signature {
            name: self.verifier.name.clone(),
            key_id: self.verifier.id,
            bytes,
        }
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignerKey").field(&self.verifier).finish()
    }
}

/// What a cosigner signs (C2SP tlog-cosignature, "Ed25519 signed message").
fn cosigned(at_secs: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {at_secs}\n{text}")
}

/// `SHA-256(name || "\n" || type || public key)[:4]` (C2SP signed-note, "Signatures").
fn key_id(name: &str, kind: KeyKind, public: &[u8; PUBLIC_KEY_BYTES]) -> u32 {
    let mut context = digest::Context::new(&SHA256);
    context.update(name.as_bytes());
    context.update(&[b'\n', kind.byte()]);
    context.update(public);
    let digest = context.finish();
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    u32::from_be_bytes(first)
}

/// Whether `name` can stand in a signature line: not empty, no Unicode space, no `+`.
pub(super) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

fn parse_key(text: &str) -> Result<(&str, u32, KeyKind, [u8; PUBLIC_KEY_BYTES]), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::Key);
    };
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if id.len() != 8 || !id.bytes().all(lower) {
        return Err(NoteError::Key);
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| NoteError::Key)?;
    let bytes = BASE64.decode(key).map_err(|_| NoteError::Key)?;
    let (kind, public) = match bytes.split_first() {
        Some((1, public)) => (KeyKind::Signer, public),
        Some((4, public)) => (KeyKind::Cosigner, public),
        _ => return Err(NoteError::Key),
    };
    let public = public.try_into().map_err(|_| NoteError::Key)?;
    Ok((name, id, kind, public))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn a_vkey_of_the_reference_implementation_comes_back() {
        let key = VerifierKey::parse(VKEY).unwrap();
        assert_eq!((key.name(), key.id()), ("PeterNeumann", 0xc74f_20a3));
        assert_eq!(key.kind(), KeyKind::Signer);
        assert_eq!(key.to_string(), VKEY);
    }

    #[test]
    fn no_part_and_no_change_of_a_vkey_is_one() {
        for start in 0..VKEY.len() {
            for end in start + 1..=VKEY.len() {
                let whole = start == 0 && end == VKEY.len();
                assert_eq!(VerifierKey::parse(&VKEY[start..end]).is_ok(), whole);
            }
        }
        for at in 0..VKEY.len() {
            let mut bytes = VKEY.as_bytes().to_vec();
            bytes[at] += 1;
            let text = String::from_utf8(bytes).unwrap();
            assert!(VerifierKey::parse(&text).is_err(), "{text}");
        }
    }

    // Both with the id that name and key have.
    #[test]
    fn keys_of_another_length_or_algorithm_are_refused() {
        for key in [
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        ] {
            assert!(VerifierKey::parse(key).is_err());
        }
    }

    #[test]
    fn a_cosignature_covers_time_and_text() {
        let key = SignerKey::new("n1", KeyKind::Cosigner, &Secret::from_bytes([5; 32])).unwrap();
        let signature = key.sign("text\n", 1_679_315_147);
        assert_eq!(signature.bytes.len(), 72);
        assert!(key.verifier().verify("text\n", &signature));
        assert!(!key.verifier().verify("texT\n", &signature));
        let mut later = signature.clone();
        later.bytes[7] += 1;
        assert!(!key.verifier().verify("text\n", &later));
        let mut short = signature;
        short.bytes.truncate(4);
        assert!(!key.verifier().verify("text\n", &short));
    }

    #[test]
    fn one_seed_has_another_id_for_each_kind() {
        let seed = Secret::from_bytes([5; 32]);
        let signer = SignerKey::new("n1", KeyKind::Signer, &seed).unwrap();
        let cosigner = SignerKey::new("n1", KeyKind::Cosigner, &seed).unwrap();
        assert_ne!(signer.verifier().id(), cosigner.verifier().id());
        let text = cosigner.verifier().to_string();
        assert_eq!(VerifierKey::parse(&text), Ok(cosigner.verifier().clone()));
    }
}
