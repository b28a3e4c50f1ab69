//! The public face of the crate against tables and against `serde_json`.

mod envelope;
mod json_oracle;
mod schema;
mod splice_oracle;
mod sse;
mod tree;
