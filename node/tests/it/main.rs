//! Outside tests of the binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod admin;
mod audit_cluster;
mod audit_log;
mod bridge_asks;
mod bridge_down;
mod bridge_up;
mod children;
mod cluster;
mod cluster_operators;
mod decisions;
mod event_stream;
mod extensions;
mod faults;
mod hostile_clients;
mod leaks;
mod lossless;
mod operators;
mod otlp;
mod passivation;
mod protocol;
mod questions;
mod quotas;
mod reload;
mod restarts;
mod resume;
mod revocation;
mod roles;
mod session_ids;
mod shutdown;
mod stdio;
mod subscriptions;
mod support;
mod tasks_down;
mod tasks_up;
mod websocket;
