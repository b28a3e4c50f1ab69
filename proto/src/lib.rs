//! What crosses a wire, as pure data: no runtime, no actor, no I/O.
//!
//! `jsonrpc` holds the lossless envelope (borrowed, never re-serialised), `mcp` the protocol's
//! names and codecs, `peer` what nodes replicate and say to each other, `id` the words that every other crate uses.

pub mod id;
pub mod jsonrpc;
pub mod mcp;
pub mod peer;
