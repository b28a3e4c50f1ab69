//! Snapshot of the whole machine: a row of protobuf records, the header first, one part after the other. The same
//! state gives the same bytes on every node, which is what the hash of the state is taken from.

mod approvals;
mod nodes;
mod once;
mod registry;
mod shards;

pub(crate) use self::once::{hashes_from as hashes_from_wire, hashes_to as hashes_to_wire};

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use lockgate_proto::peer::compat::OURS;
use lockgate_proto::peer::v1::snapshot_record::Part;
use lockgate_proto::peer::v1::{SnapshotHeader, SnapshotRecord};
use prost::Message;

use super::quota::Quota;
use super::{Machine, Position};
use crate::command::wire::{WireError, need};
use crate::guarding;

const WHAT: &str = "snapshot";
/// Format of a state that every version reads.
const FORMAT: u32 = 1;
/// Format of a state whose audit log a secret guards. A version that knows nothing of that would guard it wrongly, so it
/// must not read this. No node of one is a member then: every member has announced the secret.
const FORMAT_GUARDED: u32 = 2;

/// Records of the snapshot of `machine`, in their order. Each is encoded when it is asked for, so that only one is in
/// memory at a time.
pub(crate) fn records(machine: &Machine) -> impl Iterator<Item = Bytes> + '_ {
    let encode = |part| SnapshotRecord { part: Some(part) }.encode_to_vec().into();
    parts(machine).chain(memory(machine)).map(encode)
}

/// Rebuilds a machine from the records of its snapshot.
///
/// # Errors
///
/// [`WireError`] when a record can't be read, is unknown or stands where it can't.
pub(crate) fn restore<E: From<WireError>>(
    records: impl IntoIterator<Item = Result<Bytes, E>>,
) -> Result<Machine, E> {
    let mut restored = None;
    for record in records {
        let record = SnapshotRecord::decode(record?)
            .map_err(|source| WireError::Malformed { what: WHAT, source })?;
        let part = need("part of the snapshot", record.part)?;
        match (&mut restored, part) {
            (None, Part::Header(header)) => restored = Some(begin(&header)?),
            (None, _) => return Err(misplaced().into()),
            (Some(machine), part) => put(machine, part)?,
        }
    }
    let machine = need("header of the snapshot", restored)?;
    registry::check(&machine.parts.registry)?;
    Ok(machine)
}

/// SHA-256 of the state: of all records but the hashes themselves, each behind its length.
pub(super) fn hash(machine: &Machine) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut buffer = Vec::new();
    for part in parts(machine) {
        // Named by their digests in the history.
        if matches!(part, Part::Document(_)) {
            continue;
        }
        buffer.clear();
        let record = SnapshotRecord { part: Some(part) };
        // Writing to a growing buffer can't run out of room.
        let _written = record.encode_length_delimited(&mut buffer);
        context.update(&buffer);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn parts(machine: &Machine) -> impl Iterator<Item = Part> + '_ {
    let state = &machine.parts;
    let header = SnapshotHeader {
        format: match guarding::in_force(state) {
            None => FORMAT,
            Some(_) => FORMAT_GUARDED,
        },
        index: state.position.index,
        term: state.position.term,
    };
    [
        Part::Header(header),
        Part::Nodes(nodes::to(&state.nodes)),
        Part::Secrets(registry::secrets_to(&state.secrets)),
        Part::Registry(registry::to(&state.registry)),
        Part::Registers(registry::registers_to(&state.registers)),
        Part::Shards(shards::to(&state.shards)),
        Part::Approvals(approvals::to(&state.approvals)),
        Part::Quota(state.quota.to_wire()),
        Part::Audit((&*state.audit).into()),
        Part::Once(once::to(&machine.once)),
    ]
    .into_iter()
    .chain(registry::documents_to(&state.registry).map(Part::Document))
}

fn memory(machine: &Machine) -> impl Iterator<Item = Part> + '_ {
    std::iter::once_with(|| Part::Hashes(once::hashes_to(&machine.parts.hashes)))
}

fn begin(header: &SnapshotHeader) -> Result<Machine, WireError> {
    if header.format > OURS.snapshot {
        return Err(WireError::Newer {
            what: WHAT,
            format: header.format,
            known: OURS.snapshot,
        });
    }
    let mut machine = Machine::default();
    machine.parts.position = Position {
        term: header.term,
        index: header.index,
    };
    Ok(machine)
}

fn put(machine: &mut Machine, part: Part) -> Result<(), WireError> {
    let state = &mut machine.parts;
    match part {
        Part::Header(_) => return Err(misplaced()),
        Part::Nodes(part) => state.nodes = Arc::new(nodes::from(part)?),
        Part::Secrets(part) => state.secrets = Arc::new(registry::secrets_from(&part)),
        Part::Registry(part) => state.registry = Arc::new(registry::from(part)?),
        Part::Document(one) => {
            registry::put_document(Arc::make_mut(&mut state.registry), one.document);
        }
        Part::Registers(part) => state.registers = Arc::new(registry::registers_from(part)),
        Part::Shards(part) => state.shards = Arc::new(shards::from(part)?),
        Part::Approvals(part) => state.approvals = Arc::new(approvals::from(part)?),
        Part::Quota(part) => {
            let quota = need("quota", Quota::from_wire(part))?;
            state.quota = Arc::new(quota);
        }
        Part::Audit(part) => state.audit = Arc::new(part.try_into().map_err(WireError::from)?),
        Part::Once(part) => machine.once = Arc::new(once::from(part)?),
        Part::Hashes(part) => state.hashes = Arc::new(once::hashes_from(part)?),
    }
    Ok(())
}

fn misplaced() -> WireError {
    WireError::Field {
        field: "order of the snapshot",
    }
}
