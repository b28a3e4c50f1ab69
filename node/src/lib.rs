//! Lockgate: the gateway that AI agents reach their MCP servers through.
//!
//! Start reading at [`pipeline`]: the life of a call, one line a stage. [`app`] is the only place
//! where the parts are put together.

pub mod admin;
pub mod answer;
pub mod app;
pub mod audit;
pub mod call;
pub mod cancel;
pub mod cli;
pub mod coalesce;
pub mod config;
pub mod demo;
pub mod error;
pub mod first_request;
pub mod identity;
pub mod ingress;
pub mod pipeline;
pub mod policy;
#[cfg(test)]
#[path = "../tests/it/support/port.rs"]
mod port;
mod room;
pub mod route;
pub mod seal;
pub mod session;
mod stamp;
pub mod stateless;
pub mod task;
pub mod telemetry;
pub mod timers;
pub mod trail;
pub mod upstream;
