//! Answers that may be asked for again, and the hashes of the state.

use lockgate_proto::id::NodeId;
use lockgate_proto::peer::v1;

use crate::command::wire::{WireError, array, bytes, need, outcome_from, outcome_to};
use crate::machine::hashes::{Hashes, StateHash};
use crate::machine::once::{Once, Window};

pub(super) fn to(once: &Once) -> v1::OncePart {
    let window = |(node, window): (&NodeId, &Window)| {
        let answers = window.answers.iter();
        v1::OnceWindow {
            node: node.0,
            boot: window.boot,
            floor: window.floor,
            answers: answers
                .map(|(serial, outcome)| v1::OnceAnswer {
                    serial: *serial,
                    outcome: Some(outcome_to(outcome)),
                })
                .collect(),
        }
    };
    v1::OncePart {
        windows: once.windows.iter().map(window).collect(),
    }
}

pub(super) fn from(part: v1::OncePart) -> Result<Once, WireError> {
    let mut once = Once::default();
    for stored in part.windows {
        let mut window = Window {
            boot: stored.boot,
            floor: stored.floor,
            ..Window::default()
        };
        for answer in stored.answers {
            let outcome = outcome_from(need("outcome", answer.outcome)?)?;
            window.answers.insert(answer.serial, outcome);
        }
        once.windows.insert(NodeId(stored.node), window);
    }
    Ok(once)
}

pub(crate) fn hashes_to(hashes: &Hashes) -> v1::HashesPart {
    let stored = |one: &StateHash| v1::StoredHash {
        index: one.index,
        hash: bytes(&one.hash),
    };
    v1::HashesPart {
        hashes: hashes.kept().map(stored).collect(),
    }
}

pub(crate) fn hashes_from(part: v1::HashesPart) -> Result<Hashes, WireError> {
    let mut hashes = Hashes::default();
    for one in part.hashes {
        hashes.push(one.index, array("hash", &one.hash)?);
    }
    Ok(hashes)
}
