//! Sealed session ids (`CONTINUITY.md` section 1): what a front must know stands in the id, unreadable and unforgeable.

use lockgate_proto::mcp::Revision;

use crate::call::Caller;
use crate::seal::Sealer;

/// Random 128 bits that name a session.
pub type SessionKey = [u8; 16];

/// Shards of the cluster; a single node owns them all.
pub const SHARDS: u16 = 1024;

/// What an id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// Random part.
    pub key: SessionKey,
    /// Home of the session's state.
    pub shard: u16,
    /// Agreed revision.
    pub revision: Revision,
    /// Client capabilities, one bit each.
    pub capabilities: u8,
    /// Seconds since 1970 when it was issued.
    pub issued_at: u64,
}

/// Client capability bits that decide who may share a child.
pub mod capability {
    /// `sampling`
    pub const SAMPLING: u8 = 1;
    /// `elicitation`
    pub const ELICITATION: u8 = 2;
    /// `roots`
    pub const ROOTS: u8 = 4;
    /// `tasks`
    pub const TASKS: u8 = 8;
    /// Any of `extensions` or `experimental`: a server may offer more to who declares one.
    pub const EXTENSIONS: u8 = 16;
}

const VERSION: u8 = 1;
const PLAIN_LEN: usize = 1 + 16 + 2 + 1 + 1 + 8;

impl SessionId {
    /// Seals the id for one caller and route: opened for anybody else it is an unknown id.
    pub fn seal(&self, sealer: &Sealer, caller: &Caller, route: &str) -> String {
        let mut plain = Vec::with_capacity(PLAIN_LEN);
        plain.push(VERSION);
        plain.extend_from_slice(&self.key);
        plain.extend_from_slice(&self.shard.to_be_bytes());
        plain.push(revision_code(self.revision));
        plain.push(self.capabilities);
        plain.extend_from_slice(&self.issued_at.to_be_bytes());
        sealer.seal(&bound_to(caller, route), &plain)
    }

    /// Opens an id. `None` for anything that was not sealed here for this caller and route.
    pub fn open(sealer: &Sealer, caller: &Caller, route: &str, text: &str) -> Option<Self> {
        let plain = sealer.open(&bound_to(caller, route), text)?;
        let plain: &[u8; PLAIN_LEN] = plain.as_slice().try_into().ok()?;
        let (version, rest) = plain.split_first()?;
        if *version != VERSION {
            return None;
        }
        Some(Self {
            key: rest[0..16].try_into().ok()?,
            shard: u16::from_be_bytes(rest[16..18].try_into().ok()?),
            revision: Revision::ALL
                .into_iter()
                .find(|r| revision_code(*r) == rest[18])?,
            capabilities: rest[19],
            issued_at: u64::from_be_bytes(rest[20..28].try_into().ok()?),
        })
    }

    /// Public name of the session in logs, audit lines and `sessions list`: tells nothing that opens it.
    pub fn short_name(&self) -> String {
        self.key[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Shard of a key, fixed for ever: the first two bytes, which are random already.
pub fn shard_of(key: &SessionKey) -> u16 {
    u16::from_be_bytes([key[0], key[1]]) % SHARDS
}

/// Stays the same whatever order the enum has.
fn revision_code(revision: Revision) -> u8 {
    match revision {
        Revision::V2024_11_05 => 1,
        Revision::V2025_03_26 => 2,
        Revision::V2025_06_18 => 3,
        Revision::V2025_11_25 => 4,
        Revision::V2026_07_28 => 5,
    }
}

fn bound_to(caller: &Caller, route: &str) -> Vec<u8> {
    let tenant = caller.tenant.as_ref().map_or("", |tenant| tenant.as_str());
    let mut aad = Vec::with_capacity(64);
    aad.extend_from_slice(b"lockgate-session/v1\n");
    for part in [route, tenant, caller.principal.as_str()] {
        // Lengths keep ("a", "bc") and ("ab", "c") apart.
        aad.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        aad.extend_from_slice(part.as_bytes());
    }
    aad
}
