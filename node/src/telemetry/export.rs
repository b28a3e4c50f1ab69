//! Sends spans to a collector by OTLP over gRPC, from a thread of its own; calls never wait for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData,
    SpanExporter as Export,
};

/// Longest time for one batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that an ended span waits for others.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// Spans that wait; beyond, new ones are dropped.
const QUEUE_MAX: usize = 8192;
/// Spans in one message.
const BATCH_MAX: usize = 512;

/// Connects lazily to `endpoint`. Must run inside the runtime that lives as long as the node: the connection is driven
/// there.
pub(super) fn provider(
    endpoint: &str,
    ratio: f64,
    node: &str,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_MAX)
        .with_max_export_batch_size(BATCH_MAX)
        .with_scheduled_delay(BATCH_DELAY)
        .build();
    let processor = BatchSpanProcessor::builder(Reporting::new(exporter))
        .with_batch_config(batches)
        .build();
    let resource = Resource::builder_empty()
        .with_service_name("lockgate")
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", node.to_owned()),
        ]);
    Ok(SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            ratio,
        ))))
        .with_resource(resource.build())
        .build())
}

/// Tells the log when a collector stops taking spans and when it takes them again; the SDK itself is silent.
#[derive(Debug)]
struct Reporting<E> {
    inner: E,
    failing: AtomicBool,
}

impl<E> Reporting<E> {
    fn new(inner: E) -> Self {
        Self {
            inner,
            failing: AtomicBool::new(false),
        }
    }

    fn report(&self, n_spans: usize, outcome: &OTelSdkResult) {
        let failed = outcome.is_err();
        match (self.failing.swap(failed, Ordering::Relaxed), outcome) {
            (false, Err(error)) => {
                tracing::warn!(%error, n_spans, "spans are not taken by the collector")
            }
            (true, Ok(())) => tracing::info!("spans are taken by the collector again"),
            (true, Err(_)) | (false, Ok(())) => {}
        }
    }
}

impl<E: Export> Export for Reporting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let n_spans = batch.len();
        let outcome = self.inner.export(batch).await;
        self.report(n_spans, &outcome);
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
