//! Servers that were added at run time.

use lockgate_proto::id::ServerName;

use crate::machine::limits::{NAME_BYTES_MAX, SERVER, SETTINGS, check_length};
use crate::machine::{Refusal, Stamp};

/// Longest settings of one server, in bytes.
const SETTINGS_BYTES_MAX: usize = 64 << 10;
/// Most servers. Nobody lists tools of that many in one catalog.
const SERVERS_MAX: usize = 4096;

/// One server that was added at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicServer {
    /// Its name.
    pub name: ServerName,
    /// Raw JSON object with the keys that the configuration has for a server.
    pub settings: String,
    /// When it was added, in milliseconds since 1970.
    pub added_at_ms: u64,
}

/// Added servers, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Servers {
    pub(in crate::machine) in_order: Vec<DynamicServer>,
}

impl Servers {
    pub(crate) fn in_order(&self) -> &[DynamicServer] {
        &self.in_order
    }

    pub(super) fn add(
        &mut self,
        name: ServerName,
        settings: String,
        stamp: Stamp,
    ) -> Result<(), Refusal> {
        check_length(SERVER, name.as_str().as_bytes(), NAME_BYTES_MAX)?;
        check_length(SETTINGS, settings.as_bytes(), SETTINGS_BYTES_MAX)?;
        if self.in_order.iter().any(|server| server.name == name) {
            return Err(Refusal::ServerExists { name });
        }
        if self.in_order.len() == SERVERS_MAX {
            return Err(Refusal::TooMany { limit: SERVERS_MAX });
        }
        self.in_order.push(DynamicServer {
            name,
            settings,
            added_at_ms: stamp.at_ms,
        });
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &ServerName) -> Result<(), Refusal> {
        let at = self.in_order.iter().position(|server| server.name == *name);
        let at = at.ok_or_else(|| Refusal::UnknownServer { name: name.clone() })?;
        self.in_order.remove(at);
        Ok(())
    }

    /// Returns how many there were.
    pub(super) fn remove_all(&mut self) -> u32 {
        let removed = u32::try_from(self.in_order.len()).unwrap_or(u32::MAX);
        self.in_order.clear();
        removed
    }
}
