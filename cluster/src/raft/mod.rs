//! Raft: what makes several nodes agree on one log. Nothing of the engine leaves this room.

mod types;
