//! Starts logs and traces, once per process.

use std::io::{self, IsTerminal};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::export;
use super::logs::{self, Format};
use super::tracer::Tracer;
use crate::config;

/// Why logs or traces could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The filter is none.
    #[error("log filter `{filter}` cannot be read")]
    Filter {
        /// As configured.
        filter: String,
        /// Cause.
        #[source]
        source: ParseError,
    },
    /// Something else in this process has taken the log.
    #[error("the log of this process was started already")]
    Taken(#[from] TryInitError),
    /// The exporter cannot be made.
    #[error("trace collector `{endpoint}` cannot be used")]
    Exporter {
        /// As configured.
        endpoint: String,
        /// Cause.
        #[source]
        source: ExporterBuildError,
    },
    /// Called outside of a runtime, which the connection to the collector needs.
    #[error("traces need a running runtime")]
    NoRuntime,
}

/// Lines of an actor would carry its number otherwise. The engine repeats several times a second that a node is away,
/// which `lockgate_cluster` says once. A filter that names a crate or module comes after and wins.
const QUIET: &str = "ractor=warn,openraft=warn,openraft::replication=error,openraft::core::heartbeat=error,\
                     openraft::engine::handler::replication_handler=error";

/// Logs and traces of this process.
#[derive(Debug)]
pub struct Telemetry {
    tracer: Tracer,
    provider: Option<SdkTracerProvider>,
}

/// Starts the log of this process on standard error, and the export of traces when a collector is configured. `node`
/// names this node to the collector. Call it inside the runtime.
///
/// # Errors
///
/// See [`InitError`].
pub fn init(settings: &config::Telemetry, node: &str) -> Result<Telemetry, InitError> {
    let filter = format!("{QUIET},{}", settings.log_filter);
    let filter = EnvFilter::try_new(filter).map_err(|source| InitError::Filter {
        filter: settings.log_filter.clone(),
        source,
    })?;
    let ansi = io::stderr().is_terminal();
    let format = if settings.log_json {
        Format::Json
    } else {
        Format::Human { ansi }
    };
    logs::subscriber(format, filter, io::stderr).try_init()?;
    Telemetry::traces(settings, node)
}

impl Telemetry {
    /// Starts the export of traces alone.
    ///
    /// # Errors
    ///
    /// See [`InitError`].
    pub fn traces(settings: &config::Telemetry, node: &str) -> Result<Self, InitError> {
        let Some(endpoint) = &settings.otlp_endpoint else {
            return Ok(Self {
                tracer: Tracer::off(),
                provider: None,
            });
        };
        tokio::runtime::Handle::try_current().map_err(|_| InitError::NoRuntime)?;
        let provider =
            export::provider(endpoint, settings.trace_ratio, node).map_err(|source| {
                InitError::Exporter {
                    endpoint: endpoint.clone(),
                    source,
                }
            })?;
        let tracer = Tracer::on(provider.tracer("lockgate"));
        Ok(Self {
            tracer,
            provider: Some(provider),
        })
    }

    /// Starts spans.
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Sends what waits, for at most `limit`, and ends the export. Blocks the thread.
    pub fn shut_down(&self, limit: Duration) {
        let Some(provider) = &self.provider else {
            return;
        };
        if let Err(error) = provider.shutdown_with_timeout(limit) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}
