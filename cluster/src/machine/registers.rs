//! Part of the machine: registers, small values under a name that are written by compare-and-set. For settings of
//! operators, such as a breaker that is held open.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Refusal;
use super::limits::{NAME_BYTES_MAX, REGISTER, VALUE, check_bound, check_length};
use crate::command::{Expected, RegisterWrite, Reply};

/// Most registers.
const REGISTERS_MAX: usize = 4096;
/// Longest value, in bytes.
const VALUE_BYTES_MAX: usize = 4 << 10;

/// One register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// What it holds.
    pub value: Bytes,
    /// Index of the entry that wrote it last.
    pub revision: u64,
}

/// Registers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(super) by_key: BTreeMap<String, Register>,
}

impl Registers {
    pub(super) fn write(&mut self, write: RegisterWrite, index: u64) -> Result<Reply, Refusal> {
        let RegisterWrite {
            key,
            expected,
            value,
        } = write;
        check_length(REGISTER, key.as_bytes(), NAME_BYTES_MAX)?;
        let now = self.by_key.get(&key);
        let as_expected = match (&expected, now) {
            (Expected::Any, _) | (Expected::Absent, None) => true,
            (Expected::Value(value), Some(now)) => now.value == *value,
            (Expected::Revision(revision), Some(now)) => now.revision == *revision,
            (Expected::Absent, Some(_)) | (Expected::Value(_) | Expected::Revision(_), None) => {
                false
            }
        };
        if !as_expected {
            let revision = now.map_or(0, |now| now.revision);
            return Err(Refusal::StaleRegister { key, revision });
        }
        let Some(value) = value else {
            self.by_key.remove(&key);
            return Ok(Reply::Written { revision: index });
        };
        check_bound(VALUE, &value, VALUE_BYTES_MAX)?;
        if now.is_none() && self.by_key.len() == REGISTERS_MAX {
            return Err(Refusal::TooMany {
                limit: REGISTERS_MAX,
            });
        }
        let written = Register {
            value,
            revision: index,
        };
        self.by_key.insert(key, written);
        Ok(Reply::Written { revision: index })
    }

    pub(crate) fn by_key(&self) -> &BTreeMap<String, Register> {
        &self.by_key
    }
}
