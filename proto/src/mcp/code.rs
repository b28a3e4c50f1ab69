//! JSON-RPC error codes, standard and MCP's own (2026-07-28, "Error codes").

/// Text is not JSON.
pub const PARSE_ERROR: i32 = -32700;
/// Not a JSON-RPC message, or one that is not allowed here.
pub const INVALID_REQUEST: i32 = -32600;
/// No such method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// Bad parameters; unknown tool, prompt, resource or cursor.
pub const INVALID_PARAMS: i32 = -32602;
/// The other side failed.
pub const INTERNAL_ERROR: i32 = -32603;
/// Resource not found, up to 2025-11-25.
pub const RESOURCE_NOT_FOUND: i32 = -32002;
/// Routing header missing, malformed or unlike the body (2026-07-28).
pub const HEADER_MISMATCH: i32 = -32020;
/// A capability that the request needs was not declared (2026-07-28).
pub const MISSING_CAPABILITY: i32 = -32021;
/// Protocol version not spoken here (2026-07-28).
pub const UNSUPPORTED_VERSION: i32 = -32022;
/// The user must visit a URL first (2025-11-25).
pub const URL_ELICITATION_REQUIRED: i32 = -32042;
