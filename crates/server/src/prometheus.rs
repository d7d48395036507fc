//! Metrics: the process-wide recorder and its Prometheus text.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Bounds of latency histograms in seconds: from a fast sync to a commit that has given up hope.
const LATENCY_BOUNDS_SECONDS: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// The recorder behind the `metrics` facade.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

/// Why metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[error("cannot install the metrics recorder: {0}")]
pub struct RecorderError(String);

impl Recorder {
    /// Installs the recorder; once per process, before anything is counted.
    ///
    /// # Errors
    /// When there is one already.
    pub fn install() -> Result<Self, RecorderError> {
        PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_BOUNDS_SECONDS)
            .and_then(PrometheusBuilder::install_recorder)
            .map(Self)
            .map_err(|error| RecorderError(error.to_string()))
    }

    /// All metrics in the Prometheus text format
    /// (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds samples into their histograms, so that memory stays flat when nobody scrapes. Call it
    /// every few seconds.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}
