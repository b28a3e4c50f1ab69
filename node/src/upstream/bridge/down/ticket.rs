//! What a `requestState` says once it is opened (`CONTINUITY.md` section 4).

use lockgate_proto::id::ServerName;

use crate::seal::Sealer;

use super::digest::Digest;

/// Layout of the sealed fields.
const VERSION: u8 = 1;
const BYTES: usize = 1 + 8 + 8 + 4 + 8 + 32 + 32;

/// The sealed fields. The key id is in the seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Life of the bridge that parked the call: numbers of calls begin anew with each.
    pub(super) life: u64,
    /// Number of the parked call in that life.
    pub(super) call: u64,
    /// Round that the state belongs to.
    pub(super) round: u32,
    /// When it ends, in milliseconds since 1970.
    pub(super) expires_ms: u64,
    /// Tenant, principal and route.
    pub(super) owner: Digest,
    /// Method and parameters.
    pub(super) request: Digest,
}

impl Ticket {
    /// Seals it for one server.
    pub(super) fn seal(&self, sealer: &Sealer, server: &ServerName) -> String {
        let mut plain = Vec::with_capacity(BYTES);
        plain.push(VERSION);
        plain.extend(self.life.to_be_bytes());
        plain.extend(self.call.to_be_bytes());
        plain.extend(self.round.to_be_bytes());
        plain.extend(self.expires_ms.to_be_bytes());
        plain.extend(self.owner);
        plain.extend(self.request);
        sealer.seal(&purpose(server), &plain)
    }

    /// Opens what [`Self::seal`] made for the same server. `None` for anything else.
    pub(super) fn open(sealer: &Sealer, server: &ServerName, text: &str) -> Option<Self> {
        let plain = sealer.open(&purpose(server), text)?;
        let (&[VERSION], rest) = plain.split_first_chunk::<1>()? else {
            return None;
        };
        let (life, rest) = rest.split_first_chunk()?;
        let (call, rest) = rest.split_first_chunk()?;
        let (round, rest) = rest.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (owner, request) = rest.split_first_chunk()?;
        Some(Self {
            life: u64::from_be_bytes(*life),
            call: u64::from_be_bytes(*call),
            round: u32::from_be_bytes(*round),
            expires_ms: u64::from_be_bytes(*expires),
            owner: *owner,
            request: request.try_into().ok()?,
        })
    }
}

/// Sealed texts of other kinds, and of other servers, do not open as this one's.
fn purpose(server: &ServerName) -> Vec<u8> {
    [b"requestState\0", server.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use lockgate_cluster::Keyring;

    use super::*;

    #[test]
    fn it_opens_whole_and_for_its_server_only() {
        let sealer = Sealer::new(&Keyring::generate().unwrap()).unwrap();
        let ticket = Ticket {
            life: 1,
            call: u64::MAX,
            round: 3,
            expires_ms: 4,
            owner: [5; 32],
            request: [6; 32],
        };
        let (a, b) = (ServerName::from("a"), ServerName::from("b"));
        let text = ticket.seal(&sealer, &a);
        assert_eq!(Ticket::open(&sealer, &a, &text), Some(ticket));
        assert_eq!(Ticket::open(&sealer, &b, &text), None);
        for cut in 0..text.len() {
            assert_eq!(Ticket::open(&sealer, &a, &text[..cut]), None);
        }
        let other = sealer.seal(b"cursor", text.as_bytes());
        assert_eq!(Ticket::open(&sealer, &a, &other), None);
        let short = sealer.seal(&purpose(&a), &[VERSION; BYTES - 1]);
        assert_eq!(Ticket::open(&sealer, &a, &short), None);
    }
}
