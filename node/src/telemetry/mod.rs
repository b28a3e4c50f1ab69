//! Metrics, logs and traces. Every name stands in `names`.
//!
//! The call path writes counters and spans and never waits for whoever reads them: a scrape walks atomics, spans go to
//! the collector from a thread of their own.

mod audit;
mod export;
mod exposition;
mod gauges;
mod histogram;
mod init;
mod logs;
pub mod metrics;
pub mod names;
mod process;
mod quota;
mod raft;
mod series;
pub mod trace;
mod tracer;

pub use self::gauges::{
    AuditGauges, EndpointGauge, Gauges, LatencyGauge, QuotaGauges, RaftGauges, ServerGauge,
};
pub use self::init::{InitError, Telemetry, init};
pub use self::metrics::Metrics;
pub use self::process::Process;
pub use self::tracer::{CallSpan, Tracer};

#[cfg(test)]
mod tests;
