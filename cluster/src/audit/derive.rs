//! Keys of the audit log that all nodes share. They follow from the pepper of the keyring, which stays in its envelope
//! and never changes, so that a node that opens the keyring can guard and sign, and so that one of them can be handed
//! to an auditor without the others. Where the operator gave the nodes a secret, MAC keys follow from that instead.

use aws_lc_rs::hmac;

use super::chain::Genesis;
use super::guard::Guards;
use super::key::{KeyKind, SignerKey};
use super::mac::{KeyRanges, MacKey, MacKeys};
use super::note::NoteError;
use crate::keyring::Keyring;
use crate::secret::Secret;

pub(super) const MAC_PURPOSE: &[u8] = b"lockgate-audit-mac-key/v1\n";
const SIGNER_PURPOSE: &[u8] = b"lockgate-audit-signer/v1\n";

/// MAC keys of all ranges, but for those that follow from a secret which is not among `guards`. A log that begins anew in
/// a restored cluster has others, though its keyring is the same.
#[must_use]
pub fn mac_keys(
    keyring: &Keyring,
    guards: &Guards,
    genesis: &Genesis,
    ranges: &KeyRanges,
) -> MacKeys {
    let ids = ranges.starts().iter().map(|(_, id)| *id);
    ids.filter_map(|id| match ranges.guard(id) {
        Some(mark) => Some(guards.find(&genesis.log, mark)?.mac_key(&genesis.log, id)),
        None => {
            let subject = [genesis.log.as_bytes(), &id.to_be_bytes()].concat();
            Some(MacKey::new(id, &derive(keyring, MAC_PURPOSE, &subject)))
        }
    })
    .collect()
}

/// Key that signs checkpoints for the log.
///
/// # Errors
/// When the name of the log can't stand in a signature.
pub fn log_signer(keyring: &Keyring, genesis: &Genesis) -> Result<SignerKey, NoteError> {
    let seed = derive(keyring, SIGNER_PURPOSE, genesis.log.as_bytes());
    SignerKey::new(&genesis.origin(), KeyKind::Signer, &seed)
}

/// One key of the keyring.
fn derive(keyring: &Keyring, purpose: &[u8], subject: &[u8]) -> Secret {
    expand(keyring.pepper(), purpose, subject)
}

/// One key for one purpose and subject: HKDF-Expand (RFC 5869) for a single block of output.
pub(super) fn expand(secret: &Secret, purpose: &[u8], subject: &[u8]) -> Secret {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    let mut context = hmac::Context::with_key(&key);
    context.update(purpose);
    context.update(subject);
    context.update(&[1]);
    // HMAC-SHA256 has 32 bytes.
    Secret::from_bytes(context.sign().as_ref().try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_purpose_and_subject_and_come_again() {
        let keyring = Keyring::generate().unwrap();
        let seed = |purpose, subject: &[u8]| *derive(&keyring, purpose, subject).expose();
        assert_eq!(seed(MAC_PURPOSE, b"a"), seed(MAC_PURPOSE, b"a"));
        assert_ne!(seed(MAC_PURPOSE, b"a"), seed(MAC_PURPOSE, b"b"));
        assert_ne!(seed(MAC_PURPOSE, b"a"), seed(SIGNER_PURPOSE, b"a"));
        assert_ne!(seed(MAC_PURPOSE, b"a"), *keyring.pepper().expose());
    }
}
