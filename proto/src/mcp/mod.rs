//! MCP's own names, per revision, and its small codecs.

pub mod code;
pub mod headers;
pub mod method;
pub mod param_headers;
mod revision;
pub mod sse;
pub mod tool_name;

pub use self::revision::{Era, Revision};
